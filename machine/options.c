/* SPDX-License-Identifier: MIT
 *
 * Options in QEMU's key=value form. The text is split once into a buffer of its own size; values are
 * numbers with an optional decimal fraction times a unit, computed without floating point so that
 * nothing is rounded: what can't be met exactly is refused.
 */
#include "machine/options.h"

#include <stdlib.h>
#include <string.h>

/* ---- single values ---- */

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 16;
}

/* Reads digits of BASE at *AT and moves it behind them; false if there is none or the number overflows. */
static bool read_digits(const char **at, unsigned base, uint64_t *result)
{
    const char *start = *at;
    uint64_t number = 0;
    while ((unsigned)digit_of(**at) < base) {
        unsigned digit = (unsigned)digit_of(**at);
        if (number > (UINT64_MAX - digit) / base)
            return false;
        number = number * base + digit;
        ++*at;
    }
    *result = number;
    return *at != start;
}

static bool read_number(const char **at, uint64_t *result)
{
    if ((*at)[0] == '0' && ((*at)[1] == 'x' || (*at)[1] == 'X')) {
        *at += 2;
        return read_digits(at, 16, result);
    }
    return read_digits(at, 10, result);
}

/* A decimal number with an optional fraction of at most 18 digits: whole + part / scale. */
struct decimal {
    uint64_t whole, part, scale;
};

static bool read_decimal(const char **at, struct decimal *result)
{
    *result = (struct decimal){.scale = 1};
    if (!read_digits(at, 10, &result->whole))
        return false;
    if (**at != '.')
        return true;
    const char *start = ++*at;
    if (!read_digits(at, 10, &result->part) || *at - start > 18)
        return false;
    for (const char *digit = start; digit < *at; digit++)
        result->scale *= 10;
    return true;
}

/* DECIMAL times UNIT, exactly; false if it overflows or isn't whole. */
static bool scale_decimal(const struct decimal *decimal, uint64_t unit, uint64_t *result)
{
    unsigned __int128 part = (unsigned __int128)decimal->part * unit;
    if (part % decimal->scale)
        return false;
    unsigned __int128 all = (unsigned __int128)decimal->whole * unit + part / decimal->scale;
    if (all > UINT64_MAX)
        return false;
    *result = (uint64_t)all;
    return true;
}

static int refuse(struct pleat_message *message, const char *expected, const char *found)
{
    char quoted[PLEAT_QUOTE_BYTES];
    return pleat_message_set(message, PLEAT_E_INVALID, "expects %s, found %s", expected,
                             pleat_quote(quoted, found));
}

static const char number_form[] = "a number from 0 to 2^64 - 1";
static const char size_form[] =
    "a size below 2^64 in whole bytes with an optional suffix B, K, M, G, T, P or E";
static const char on_off_form[] = "'on' or 'off'";
static const char percent_form[] = "a percentage from 0% to 100% with at most four decimals";
static const char duration_form[] = "a time in whole nanoseconds with a unit ns, us, ms or s";
static const char range_form[] = "a number or a range FIRST-LAST with FIRST not above LAST";
static const char string_form[] = "a text that isn't empty";

int pleat_parse_number(const char *text, uint64_t *result, struct pleat_message *message)
{
    const char *at = text;
    uint64_t number;
    if (!read_number(&at, &number) || *at)
        return refuse(message, number_form, text);
    *result = number;
    return PLEAT_OK;
}

/* The factor of a size suffix, or 0. */
static uint64_t suffix_bytes(char suffix)
{
    static const char order[] = "bkmgtpe";
    const char *place = suffix ? strchr(order, suffix | 0x20) : NULL;
    return place ? (uint64_t)1 << (10 * (place - order)) : 0;
}

int pleat_parse_size(const char *text, uint64_t default_unit_bytes, uint64_t *result_bytes,
                     struct pleat_message *message)
{
    const char *at = text;
    struct decimal decimal = {.scale = 1};
    uint64_t unit = default_unit_bytes ? default_unit_bytes : 1;
    bool hexadecimal = text[0] == '0' && (text[1] | 0x20) == 'x';
    bool read = hexadecimal ? read_number(&at, &decimal.whole) : read_decimal(&at, &decimal);
    if (read && !hexadecimal && suffix_bytes(*at))
        unit = suffix_bytes(*at++);
    uint64_t bytes;
    if (!read || *at || !scale_decimal(&decimal, unit, &bytes))
        return refuse(message, size_form, text);
    *result_bytes = bytes;
    return PLEAT_OK;
}

int pleat_parse_on_off(const char *text, bool *result, struct pleat_message *message)
{
    static const char *const words[2][3] = {{"off", "no", "false"}, {"on", "yes", "true"}};
    for (int on = 0; on < 2; on++) {
        for (int i = 0; i < 3; i++) {
            if (!strcmp(text, words[on][i])) {
                *result = on;
                return PLEAT_OK;
            }
        }
    }
    return refuse(message, on_off_form, text);
}

int pleat_parse_percent(const char *text, uint64_t *result_ppm, struct pleat_message *message)
{
    const char *at = text;
    struct decimal decimal;
    uint64_t ppm = 0;
    bool read = read_decimal(&at, &decimal);
    if (read && *at == '%')
        at++;
    if (!read || *at || !scale_decimal(&decimal, PLEAT_PPM / 100, &ppm) || ppm > PLEAT_PPM)
        return refuse(message, percent_form, text);
    *result_ppm = ppm;
    return PLEAT_OK;
}

int pleat_parse_duration(const char *text, uint64_t *result_ns, struct pleat_message *message)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};
    const char *at = text;
    struct decimal decimal;
    if (read_decimal(&at, &decimal)) {
        uint64_t ns;
        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
            if (!strcmp(at, units[i].name) && scale_decimal(&decimal, units[i].ns, &ns)) {
                *result_ns = ns;
                return PLEAT_OK;
            }
        }
        if (!*at && !decimal.whole && !decimal.part) {
            *result_ns = 0;
            return PLEAT_OK;
        }
    }
    return refuse(message, duration_form, text);
}

int pleat_parse_range(const char *text, uint64_t *first, uint64_t *last, struct pleat_message *message)
{
    const char *at = text;
    uint64_t from = 0, to;
    bool read = read_number(&at, &from);
    to = from;
    if (read && *at == '-') {
        at++;
        read = read_number(&at, &to);
    }
    if (!read || *at || from > to)
        return refuse(message, range_form, text);
    *first = from;
    *last = to;
    return PLEAT_OK;
}

const char *pleat_format_size(char buffer[32], uint64_t bytes)
{
    static const char suffixes[] = "\0KMGTPE";
    unsigned unit = 0;
    while (unit < 6 && bytes && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    snprintf(buffer, 32, "%llu%.1s", (unsigned long long)bytes, suffixes + unit);
    return buffer;
}

/* ---- the form ---- */

/* Copies one piece of TEXT to TO, `,,` as one comma, up to a single comma; returns where it ended. */
static const char *copy_value(const char *text, char **to)
{
    while (*text) {
        if (*text == ',') {
            if (text[1] != ',')
                break;
            text++;
        }
        *(*to)++ = *text++;
    }
    *(*to)++ = '\0';
    return text;
}

/* Reads the piece at *AT into ITEM, its strings at *TO. FIRST_KEY is the implied key or NULL. */
static int read_item(const char *name, const char **at, char **to, const char *implied_key,
                     struct pleat_option *item, struct pleat_message *message)
{
    const char *start = *at;
    size_t key_length = strcspn(start, "=,");
    char quoted[PLEAT_QUOTE_BYTES];
    *item = (struct pleat_option){0};
    if (implied_key && start[key_length] != '=') {
        item->key = implied_key;
        item->value = *to;
        *at = copy_value(start, to);
        if (!*item->value)
            return pleat_message_set(message, PLEAT_E_INVALID, "%s: Parameter '%s' is missing before the ','",
                                     name, implied_key);
        return PLEAT_OK;
    }
    if (key_length == 0)
        return pleat_message_set(message, PLEAT_E_INVALID, "%s: expected KEY=VALUE, found %s", name,
                                 *start ? pleat_quote(quoted, start) : "nothing after the last ','");
    item->key = *to;
    memcpy(*to, start, key_length);
    *to += key_length;
    *(*to)++ = '\0';
    *at = start + key_length;
    if (**at == '=') {
        item->value = *to;
        *at = copy_value(*at + 1, to);
    }
    return PLEAT_OK;
}

int pleat_options_parse(struct pleat_options *options, const char *name, const char *text,
                        const char *implied_key, struct pleat_message *message)
{
    *options = (struct pleat_options){.name = name};
    size_t length = strnlen(text, PLEAT_OPTIONS_TEXT_BYTES_MAX + 1);
    if (length > PLEAT_OPTIONS_TEXT_BYTES_MAX)
        return pleat_message_set(message, PLEAT_E_INVALID, "%s: expected at most %d bytes, found more", name,
                                 PLEAT_OPTIONS_TEXT_BYTES_MAX);
    if (length == 0)
        return PLEAT_OK;
    size_t pieces = 1;
    for (const char *at = text; *at; at++)
        pieces += *at == ',';
    /* A piece becomes at most two strings: what was '=' and ',' has room for their two zeros. */
    options->storage = malloc(length + 2);
    options->items = calloc(pieces, sizeof(*options->items));
    int error = options->storage && options->items ? PLEAT_OK : PLEAT_E_NO_MEMORY;
    if (error)
        pleat_message_set(message, error, "%s: %s", name, pleat_error_text(error));
    const char *at = text;
    char *to = options->storage;
    while (!error) {
        error = read_item(name, &at, &to, options->count ? NULL : implied_key,
                          &options->items[options->count], message);
        if (error)
            break;
        options->count++;
        if (!*at)
            return PLEAT_OK;
        at++;
    }
    pleat_options_free(options);
    return error;
}

void pleat_options_free(struct pleat_options *options)
{
    free(options->items);
    free(options->storage);
    options->items = NULL;
    options->storage = NULL;
    options->count = 0;
}

/* ---- the meaning ---- */

static int find_choice(const char *choices, const char *text, uint64_t *result, struct pleat_message *message)
{
    size_t length = strlen(text);
    uint64_t place = 0;
    for (const char *word = choices;; place++) {
        size_t word_length = strcspn(word, "|");
        if (length && word_length == length && !memcmp(word, text, length)) {
            *result = place;
            return PLEAT_OK;
        }
        if (!word[word_length])
            break;
        word += word_length + 1;
    }
    char expected[256];
    snprintf(expected, sizeof(expected), "one of %s", choices);
    return refuse(message, expected, text);
}

static int parse_value(const struct pleat_option_key *key, struct pleat_option *item,
                       struct pleat_message *message)
{
    bool on = true;
    if (!item->value && key->type != PLEAT_OPTION_ON_OFF)
        return pleat_message_set(message, PLEAT_E_INVALID, "needs a value: %s=VALUE", key->name);
    int error = PLEAT_OK;
    switch (key->type) {
    case PLEAT_OPTION_STRING:
        return *item->value ? PLEAT_OK : refuse(message, string_form, item->value);
    case PLEAT_OPTION_NUMBER:
        error = pleat_parse_number(item->value, &item->number, message);
        break;
    case PLEAT_OPTION_SIZE:
        error = pleat_parse_size(item->value, key->default_unit_bytes, &item->number, message);
        break;
    case PLEAT_OPTION_ON_OFF:
        if (item->value)
            error = pleat_parse_on_off(item->value, &on, message);
        item->number = on;
        break;
    case PLEAT_OPTION_PERCENT:
        error = pleat_parse_percent(item->value, &item->number, message);
        break;
    case PLEAT_OPTION_DURATION:
        error = pleat_parse_duration(item->value, &item->number, message);
        break;
    case PLEAT_OPTION_RANGE:
        return pleat_parse_range(item->value, &item->number, &item->last, message);
    case PLEAT_OPTION_CHOICE:
        error = find_choice(key->choices ? key->choices : "", item->value, &item->number, message);
        break;
    }
    if (!error)
        item->last = item->number;
    return error;
}

/* A number of the key's type as people write it. */
static const char *show_number(const struct pleat_option_key *key, uint64_t number, char buffer[32])
{
    if (key->type == PLEAT_OPTION_SIZE)
        return pleat_format_size(buffer, number);
    if (key->type == PLEAT_OPTION_PERCENT)
        snprintf(buffer, 32, "%g%%", (double)number * 100 / PLEAT_PPM);
    else
        snprintf(buffer, 32, "%llu%s", (unsigned long long)number,
                 key->type == PLEAT_OPTION_DURATION ? "ns" : "");
    return buffer;
}

static int check_limits(const struct pleat_option_key *key, const struct pleat_option *item,
                        struct pleat_message *message)
{
    char limit[32], quoted[PLEAT_QUOTE_BYTES];
    const char *value = pleat_quote(quoted, item->value ? item->value : "on");
    if (key->type == PLEAT_OPTION_STRING || key->type == PLEAT_OPTION_CHOICE)
        return PLEAT_OK;
    if (item->number < key->minimum)
        return pleat_message_set(message, PLEAT_E_INVALID, "expects at least %s, found %s",
                                 show_number(key, key->minimum, limit), value);
    if (key->maximum && item->last > key->maximum)
        return pleat_message_set(message, PLEAT_E_INVALID, "expects at most %s, found %s",
                                 show_number(key, key->maximum, limit), value);
    if (key->multiple_of && item->number % key->multiple_of)
        return pleat_message_set(message, PLEAT_E_INVALID, "expects a multiple of %s, found %s",
                                 show_number(key, key->multiple_of, limit), value);
    return PLEAT_OK;
}

static int refuse_unknown(const struct pleat_options *options, const struct pleat_option_key *keys,
                          size_t count, const char *key, struct pleat_message *message)
{
    char quoted[PLEAT_QUOTE_BYTES];
    char known[300] = "no parameter at all";
    size_t at = 0;
    for (size_t i = 0; i < count && at < sizeof(known); i++)
        at += (size_t)snprintf(known + at, sizeof(known) - at, "%s%s", i ? ", " : "", keys[i].name);
    return pleat_message_set(message, PLEAT_E_INVALID, "%s: Invalid parameter %s, expected %s%s",
                             options->name, pleat_quote(quoted, key), count > 1 ? "one of " : "", known);
}

int pleat_options_check(struct pleat_options *options, const struct pleat_option_key *keys, size_t count,
                        struct pleat_message *message)
{
    for (size_t i = 0; i < options->count; i++) {
        struct pleat_option *item = &options->items[i];
        const struct pleat_option_key *key = NULL;
        for (size_t k = 0; k < count && !key; k++)
            key = strcmp(keys[k].name, item->key) ? NULL : &keys[k];
        if (!key)
            return refuse_unknown(options, keys, count, item->key, message);
        if (!(key->flags & PLEAT_OPTION_REPEATS) && pleat_options_find(options, item->key) != item)
            return pleat_message_set(message, PLEAT_E_INVALID,
                                     "%s: Parameter '%s' is there twice, expected once", options->name,
                                     key->name);
        int error = parse_value(key, item, message);
        if (!error)
            error = check_limits(key, item, message);
        if (error) {
            pleat_message_prefix(message, "%s: Parameter '%s' ", options->name, key->name);
            return error;
        }
    }
    for (size_t k = 0; k < count; k++) {
        if ((keys[k].flags & PLEAT_OPTION_REQUIRED) && !pleat_options_find(options, keys[k].name))
            return pleat_message_set(message, PLEAT_E_INVALID, "%s: Parameter '%s' is missing", options->name,
                                     keys[k].name);
    }
    return PLEAT_OK;
}

const struct pleat_option *pleat_options_next(const struct pleat_options *options, const char *key,
                                              const struct pleat_option *after)
{
    for (size_t i = after ? (size_t)(after - options->items) + 1 : 0; i < options->count; i++) {
        if (!strcmp(options->items[i].key, key))
            return &options->items[i];
    }
    return NULL;
}

const struct pleat_option *pleat_options_find(const struct pleat_options *options, const char *key)
{
    return pleat_options_next(options, key, NULL);
}

const char *pleat_options_text(const struct pleat_options *options, const char *key, const char *fallback)
{
    const struct pleat_option *item = pleat_options_find(options, key);
    return item && item->value ? item->value : fallback;
}

uint64_t pleat_options_number(const struct pleat_options *options, const char *key, uint64_t fallback)
{
    const struct pleat_option *item = pleat_options_find(options, key);
    return item ? item->number : fallback;
}

bool pleat_options_on(const struct pleat_options *options, const char *key, bool fallback)
{
    return pleat_options_number(options, key, fallback) != 0;
}

void pleat_options_print_help(FILE *out, const struct pleat_option_key *keys, size_t count)
{
    static const char *const forms[] = {"TEXT", "NUMBER", "SIZE", "on|off", "PERCENT", "TIME", "FIRST-LAST"};
    for (size_t i = 0; i < count; i++) {
        char left[120];
        const char *form = keys[i].type == PLEAT_OPTION_CHOICE ? keys[i].choices : forms[keys[i].type];
        snprintf(left, sizeof(left), "%s=%s", keys[i].name, form);
        fprintf(out, "  %-28s %s\n", left, keys[i].help ? keys[i].help : "");
    }
}
