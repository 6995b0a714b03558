/* SPDX-License-Identifier: MIT
 *
 * The command line. See options.h.
 */
#include "options.h"

#include "ports/bare/print.h"

#define WORD_BYTES   256u
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Where a message goes. */
struct reader {
    struct guest_options options;
    char *message;
    size_t bytes;
};

static int complain(const struct reader *reader, const char *key, const char *expected, const char *found)
{
    format_text(reader->message, reader->bytes, "command line: %s: expected %s, found \"%s\"", key, expected,
                found);
    return PLEAT_E_INVALID;
}

static bool is_same(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* --- values: each returns where it ended, or NULL ---------------------------------------------------------
 */

static const char *read_number(const char *at, uint64_t *number)
{
    if (!is_digit(*at))
        return NULL;
    for (*number = 0; is_digit(*at); at++) {
        const uint64_t digit = (uint64_t)(*at - '0');
        if (*number > (UINT64_MAX - digit) / 10)
            return NULL;
        *number = *number * 10 + digit;
    }
    return at;
}

static bool is_number(const char *text, uint64_t least, uint64_t most, uint64_t *number)
{
    const char *end = read_number(text, number);

    return end && !*end && *number >= least && *number <= most;
}

/* Bytes without a suffix, or with one of K, M, G, T. */
static bool is_size(const char *text, uint64_t *bytes)
{
    static const char suffixes[] = "KMGT";
    const char *end = read_number(text, bytes);

    for (unsigned i = 0; end && *end && suffixes[i]; i++)
        if (*end == suffixes[i] && !end[1] && *bytes <= UINT64_MAX >> (10 * (i + 1))) {
            *bytes <<= 10 * (i + 1);
            return true;
        }
    return end && !*end;
}

/* "12.5%" is 125000; up to four places, so that it is exact. */
static bool is_percent(const char *text, uint32_t *ppm)
{
    uint64_t number;
    uint32_t place = OPTION_MILLION / 100;
    const char *end = read_number(text, &number);

    if (!end || number > 100)
        return false;
    *ppm = (uint32_t)number * place;
    if (*end == '.')
        for (end++; is_digit(*end) && place > 1; end++)
            *ppm += (uint32_t)(*end - '0') * (place /= 10);
    return end[0] == '%' && !end[1] && *ppm <= OPTION_MILLION;
}

static bool is_choice(const char *text, const char *const *choices, unsigned count, unsigned *choice)
{
    for (*choice = 0; *choice < count; ++*choice)
        if (is_same(text, choices[*choice]))
            return true;
    return false;
}

static bool are_weights(const char *text, uint32_t weights[OPTION_ORDERS])
{
    __builtin_memset(weights, 0, OPTION_ORDERS * sizeof(weights[0]));
    for (const char *at = text;; at++) {
        uint64_t order, weight;
        at = read_number(at, &order);
        if (!at || order >= OPTION_ORDERS || *at != ':' || weights[order])
            return false;
        at = read_number(at + 1, &weight);
        if (!at || !weight || weight > OPTION_MILLION || (*at && *at != '/'))
            return false;
        weights[order] = (uint32_t)weight;
        if (!*at)
            return true;
    }
}

/* Operations, or a time ("2s", "100ms") that the rate makes operations of. */
static bool is_lifetime(const char *text, uint64_t rate_per_second, uint64_t *operations)
{
    const char *end = read_number(text, operations);

    if (!end)
        return false;
    if (*end && *operations < UINT64_C(1) << 30) {
        *operations *= rate_per_second;
        if (is_same(end, "ms"))
            *operations /= 1000;
        else if (!is_same(end, "s"))
            return false;
        end = "";
    }
    return !*end && *operations && *operations <= UINT64_C(1) << 40;
}

/* --- items: KEY=VALUE between commas ----------------------------------------------------------------------
 */

/* Cuts the next item off *rest, which is "" at the end. Returns its value, "" without one. */
static char *next_item(char **rest, char **key)
{
    char *at = *rest;
    char *value = NULL;

    *key = at;
    for (; *at && *at != ','; at++)
        if (*at == '=' && !value) {
            *at = '\0';
            value = at + 1;
        }
    *rest = *at ? at + 1 : at;
    *at = '\0';
    return value ? value : at;
}

/* Lifetimes are read at the end, because a time depends on the rate. */
struct lifetimes {
    const char *mean, *long_mean;
    bool has_reclaimable, has_long_share;
};

static const char percent_form[] = "a percentage from 0% to 100%";

static int read_workload_item(const struct reader *reader, struct workload_options *workload,
                              struct lifetimes *lifetimes, const char *key, const char *value)
{
    static const char *const lifetime_names[] = {"exponential", "fixed", "bimodal"};
    uint64_t number;
    unsigned choice;

    if (is_same(key, "preset")) {
        if (!is_number(value, 5, 50, &number) || (number != 5 && number != 20 && number != 50))
            return complain(reader, key, "5, 20 or 50", value);
        workload->unmovable_ppm = (uint32_t)number * (OPTION_MILLION / 100);
    } else if (is_same(key, "fill")) {
        if (!is_percent(value, &workload->fill_ppm) || !workload->fill_ppm)
            return complain(reader, key, percent_form, value);
    } else if (is_same(key, "unmovable")) {
        if (!is_percent(value, &workload->unmovable_ppm))
            return complain(reader, key, percent_form, value);
    } else if (is_same(key, "reclaimable")) {
        if (!is_percent(value, &workload->reclaimable_ppm))
            return complain(reader, key, percent_form, value);
        lifetimes->has_reclaimable = true;
    } else if (is_same(key, "orders")) {
        if (!are_weights(value, workload->order_weights))
            return complain(reader, key, "ORDER:WEIGHT/ORDER:WEIGHT... with orders from 0 to 9", value);
    } else if (is_same(key, "lifetime")) {
        if (!is_choice(value, lifetime_names, COUNT(lifetime_names), &choice))
            return complain(reader, key, "exponential, fixed or bimodal", value);
        workload->lifetime = (enum lifetime)choice;
    } else if (is_same(key, "mean")) {
        lifetimes->mean = value;
    } else if (is_same(key, "long-mean")) {
        lifetimes->long_mean = value;
    } else if (is_same(key, "long-share")) {
        if (!is_percent(value, &workload->long_share_ppm))
            return complain(reader, key, percent_form, value);
        lifetimes->has_long_share = true;
    } else if (is_same(key, "rate")) {
        if (!is_number(value, 1, 1000000000, &workload->rate_per_second))
            return complain(reader, key, "1 to 1000000000 operations a second", value);
    } else if (is_same(key, "cpus")) {
        if (!is_number(value, 1, PLEAT_MAX_CPUS, &number))
            return complain(reader, key, "a number of CPUs", value);
        workload->cpus = (unsigned)number;
    } else if (is_same(key, "remote-free")) {
        if (!is_number(value, 0, OPTION_MILLION, &number))
            return complain(reader, key, "0 to 1000000", value);
        workload->remote_free = (uint32_t)number;
    } else if (is_same(key, "seed")) {
        if (!is_number(value, 0, UINT64_MAX, &workload->seed))
            return complain(reader, key, "a number", value);
    } else if (is_same(key, "speed")) {
        if (!is_same(value, "max") && !is_same(value, "1"))
            return complain(reader, key, "max or 1", value);
    } else {
        return complain(reader, "workload", "a key of synthetic workloads", key);
    }
    return PLEAT_OK;
}

static int finish_workload(const struct reader *reader, struct workload_options *workload,
                           const struct lifetimes *lifetimes)
{
    static const char lifetime_form[] = "a number of operations, or a time such as 2s or 100ms";

    if (!lifetimes->has_reclaimable && workload->unmovable_ppm > OPTION_MILLION - workload->reclaimable_ppm)
        workload->reclaimable_ppm = OPTION_MILLION - workload->unmovable_ppm;
    if (workload->unmovable_ppm + workload->reclaimable_ppm > OPTION_MILLION)
        return complain(reader, "workload", "unmovable and reclaimable of at most 100% together", "more");
    if (*lifetimes->mean &&
        !is_lifetime(lifetimes->mean, workload->rate_per_second, &workload->mean_operations))
        return complain(reader, "mean", lifetime_form, lifetimes->mean);
    if (workload->lifetime != LIFETIME_BIMODAL) {
        if (*lifetimes->long_mean || lifetimes->has_long_share)
            return complain(reader, "workload", "lifetime=bimodal beside long-mean and long-share", "none");
        workload->long_share_ppm = 0;
        return PLEAT_OK;
    }
    if (!workload->mean_operations)
        return complain(reader, "workload", "a mean beside lifetime=bimodal", "none");
    workload->long_mean_operations = workload->mean_operations * 100;
    if (*lifetimes->long_mean &&
        !is_lifetime(lifetimes->long_mean, workload->rate_per_second, &workload->long_mean_operations))
        return complain(reader, "long-mean", lifetime_form, lifetimes->long_mean);
    return PLEAT_OK;
}

static int read_workload(struct reader *reader, char *text)
{
    struct workload_options workload = {.fill_ppm = 600000,
                                        .unmovable_ppm = 50000,
                                        .reclaimable_ppm = 20000,
                                        .order_weights = {96, 2, 1, 1},
                                        .long_share_ppm = 100000,
                                        .rate_per_second = 50000,
                                        .remote_free = 8,
                                        .seed = 1};
    struct lifetimes lifetimes = {.mean = "", .long_mean = ""};
    bool as_fast_as_it_goes = false;
    char *key;
    const char *value = next_item(&text, &key);

    if (!is_same(key, "synthetic") || *value)
        return complain(reader, "workload", "synthetic first", key);
    while (*text) {
        value = next_item(&text, &key);
        const int error = read_workload_item(reader, &workload, &lifetimes, key, value);
        if (error)
            return error;
        as_fast_as_it_goes |= is_same(key, "speed") && is_same(value, "max");
    }
    const int error = finish_workload(reader, &workload, &lifetimes);
    if (error)
        return error;
    if (as_fast_as_it_goes)
        workload.rate_per_second = 0;
    reader->options.has_workload = true;
    reader->options.workload = workload;
    return PLEAT_OK;
}

static int read_tests(struct reader *reader, char *text)
{
    static const char *const names[] = {
        "core",       "cpus",       "device",      "faults",          "xen-memory",
        "xen-events", "xen-grants", "xen-balloon", "xen-unpopulated", "all"};

    reader->options.mode = MODE_TEST;
    do {
        unsigned choice;
        char *key;
        const char *value = next_item(&text, &key);
        if (*value || !is_choice(key, names, COUNT(names), &choice))
            return complain(reader, "test",
                            "core, cpus, device, faults, xen-memory, xen-events, xen-grants, xen-balloon, "
                            "xen-unpopulated or all",
                            key);
        reader->options.tests |= choice == COUNT(names) - 1 ? (unsigned)TEST_ALL : 1u << choice;
    } while (*text);
    return PLEAT_OK;
}

static int read_policy(struct reader *reader, char *text)
{
    /* In the order of enum pleat_online_policy. */
    static const char *const names[] = {"online",         "offline",      "online_kernel",
                                        "online_movable", "auto_movable", "prefer_movable"};
    unsigned choice;
    uint64_t ratio = 0;
    char *key;
    const char *value = next_item(&text, &key);

    if (*value || !is_choice(key, names, COUNT(names), &choice))
        return complain(reader, "policy",
                        "online, offline, online_kernel, online_movable, auto_movable or prefer_movable",
                        key);
    if (*text) {
        value = next_item(&text, &key);
        if (!is_same(key, "ratio") || choice < PLEAT_POLICY_AUTO_MOVABLE || *text ||
            !is_number(value, 1, 1000000, &ratio))
            return complain(reader, "policy", "ratio=NUMBER beside auto_movable or prefer_movable", key);
    }
    reader->options.policy = (enum pleat_online_policy)choice;
    reader->options.policy_ratio = (unsigned)ratio;
    return PLEAT_OK;
}

static int read_floor(struct reader *reader, const char *value)
{
    if (is_same(value, "off"))
        reader->options.floor_bytes = UINT64_MAX;
    else if (!is_size(value, &reader->options.floor_bytes))
        return complain(reader, "floor", "a size such as 64M, or off", value);
    else if (!reader->options.floor_bytes)
        reader->options.floor_bytes = UINT64_MAX; /* to the driver, 0 is its default */
    return PLEAT_OK;
}

/* DOMAIN:FIRST:COUNT */
static int read_grants(struct reader *reader, const char *value)
{
    struct guest_options *options = &reader->options;
    const char *end = read_number(value, &options->grants_domain);

    if (end && *end == ':')
        end = read_number(end + 1, &options->grants_first);
    else
        end = NULL;
    if (!end || *end != ':' || !is_number(end + 1, 1, OPTION_GRANTS, &options->grants_count) ||
        options->grants_domain >= PLEAT_XEN_DOMAIN_SELF || options->grants_first > UINT32_MAX - OPTION_GRANTS)
        return complain(reader, "grants", "DOMAIN:FIRST:COUNT, a count from 1 to 1024", value);
    return PLEAT_OK;
}

static int read_word(struct reader *reader, char *word)
{
    static const char *const modes[] = {"run", "test", "bench", "stray"};
    static const char *const kinds[] = {"movable", "mixed", "unmovable"};
    static const char *const ways[] = {"msix", "intx", "none"};
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    struct guest_options *options = &reader->options;
    unsigned choice;
    char *value = word;

    while (*value && *value != '=')
        value++;
    if (!*value) {
        if (!is_choice(word, modes, COUNT(modes), &choice) || choice == MODE_TEST)
            return complain(reader, "word", "run, bench, stray, or KEY=VALUE", word);
        options->mode = (enum guest_mode)choice;
        return PLEAT_OK;
    }
    *value++ = '\0';
    if (is_same(word, "test"))
        return read_tests(reader, value);
    if (is_same(word, "workload"))
        return read_workload(reader, value);
    if (is_same(word, "policy"))
        return read_policy(reader, value);
    if (is_same(word, "floor"))
        return read_floor(reader, value);
    if (is_same(word, "grants"))
        return read_grants(reader, value);
    if (is_same(word, "fill")) {
        if (!is_size(value, &options->fill_bytes) || !options->fill_bytes)
            return complain(reader, word, "a size such as 512M", value);
    } else if (is_same(word, "target")) {
        if (!is_size(value, &options->target_bytes) || !options->target_bytes)
            return complain(reader, word, "a size such as 96M", value);
    } else if (is_same(word, "unpopulated")) {
        if (!is_same(value, "off"))
            return complain(reader, word, "off", value);
        options->no_unpopulated = true;
    } else if (is_same(word, "free")) {
        if (!is_percent(value, &options->free_ppm))
            return complain(reader, word, percent_form, value);
    } else if (is_same(word, "objects")) {
        if (!is_choice(value, kinds, COUNT(kinds), &choice))
            return complain(reader, word, "movable, mixed or unmovable", value);
        options->objects = (enum fill_objects)choice;
    } else if (is_same(word, "help")) {
        if (!is_same(value, "off"))
            return complain(reader, word, "off", value);
        options->no_help = true;
    } else if (is_same(word, "blocks")) {
        if (!is_same(value, "tell"))
            return complain(reader, word, "tell", value);
        options->tells_blocks = true;
    } else if (is_same(word, "interrupts")) {
        if (!is_choice(value, ways, COUNT(ways), &choice))
            return complain(reader, word, "msix, intx or none", value);
        options->interrupts = (enum guest_interrupts)choice;
    } else if (is_same(word, "log")) {
        if (!is_choice(value, levels, COUNT(levels), &choice))
            return complain(reader, word, "error, warning, info or debug", value);
        options->log_level = (enum pleat_log_level)choice;
    } else {
        return complain(reader, "word", "a known key before the =", word);
    }
    return PLEAT_OK;
}

int options_parse(const char *command_line, struct guest_options *options, char *message, size_t bytes)
{
    struct reader reader = {
        .options = {.free_ppm = OPTION_MILLION / 2},
        .message = message,
        .bytes = bytes,
    };
    char word[WORD_BYTES];

    for (const char *at = command_line; *at;) {
        size_t length = 0;
        if (*at == ' ') {
            at++;
            continue;
        }
        for (; *at && *at != ' '; at++) {
            if (length + 1 == sizeof word) {
                word[length] = '\0';
                return complain(&reader, "word", "at most 255 characters", word);
            }
            word[length++] = *at;
        }
        word[length] = '\0';
        const int error = read_word(&reader, word);
        if (error)
            return error;
    }
    *options = reader.options;
    return PLEAT_OK;
}
