/* SPDX-License-Identifier: MIT
 *
 * Synthetic workloads: a heap of live blocks by the operation that frees them.
 */
#include "machine/synthetic.h"

#include <stdlib.h>
#include <string.h>

#include "machine/options.h"

/* ---- reading the options ---- */

static const struct pleat_option_key keys[] = {
    {.name = "workload", .type = PLEAT_OPTION_CHOICE, .choices = "synthetic"},
    {.name = "preset",
     .type = PLEAT_OPTION_CHOICE,
     .choices = "5|20|50",
     .help = "so many percent unmovable, 2% reclaimable, the rest movable"},
    {.name = "fill", .type = PLEAT_OPTION_PERCENT, .minimum = 1, .help = "of the frames are held (60%)"},
    {.name = "unmovable", .type = PLEAT_OPTION_PERCENT, .help = "of the allocations (5%)"},
    {.name = "reclaimable",
     .type = PLEAT_OPTION_PERCENT,
     .help = "of the allocations (2%); the rest is movable"},
    {.name = "orders",
     .help = "ORDER:WEIGHT/ORDER:WEIGHT...: how often each is asked for (0:96/1:2/2:1/3:1)"},
    {.name = "lifetime",
     .type = PLEAT_OPTION_CHOICE,
     .choices = "exponential|fixed|bimodal",
     .help = "(exponential)"},
    {.name = "mean", .help = "lifetime: operations, or a time such as 2s (such that everything turns over)"},
    {.name = "long-mean", .help = "bimodal: that of the long-lived (100 times the mean)"},
    {.name = "long-share", .type = PLEAT_OPTION_PERCENT, .help = "bimodal: of the allocations (10%)"},
    {.name = "rate",
     .type = PLEAT_OPTION_NUMBER,
     .minimum = 1,
     .maximum = 1000000000,
     .help = "operations a second (50000)"},
    {.name = "cpus", .type = PLEAT_OPTION_NUMBER, .minimum = 1, .maximum = 256, .help = "that take part (1)"},
    {.name = "remote", .type = PLEAT_OPTION_PERCENT, .help = "of the frees, by another CPU (0%)"},
    {.name = "seed", .type = PLEAT_OPTION_NUMBER, .help = "of the random numbers (1)"},
};

static const char option_name[] = "-workload synthetic";

static const char orders_form[] =
    "ORDER:WEIGHT/ORDER:WEIGHT... with each order from 0 to 9 at most once and weights from 1 to 1000000";

/* Reads "0:96/1:2". */
static int parse_orders(const char *text, uint32_t weights[PLEAT_OPERATION_ORDERS],
                        struct pleat_message *message)
{
    char quoted[PLEAT_QUOTE_BYTES];
    memset(weights, 0, PLEAT_OPERATION_ORDERS * sizeof(*weights));
    for (const char *at = text;; at++) {
        unsigned order = (unsigned)(*at - '0');
        uint64_t weight = 0;
        size_t digits = order < PLEAT_OPERATION_ORDERS && at[1] == ':' ? strspn(at + 2, "0123456789") : 0;
        for (size_t i = 0; i < digits && weight <= 1000000; i++)
            weight = weight * 10 + (uint64_t)(at[2 + i] - '0');
        if (weight == 0 || weight > 1000000 || weights[order] || (at[2 + digits] && at[2 + digits] != '/'))
            return pleat_message_set(message, PLEAT_E_INVALID, "%s: Parameter 'orders' expects %s, found %s",
                                     option_name, orders_form, pleat_quote(quoted, text));
        weights[order] = (uint32_t)weight;
        at += 2 + digits;
        if (!*at)
            return PLEAT_OK;
    }
}

/* Reads operations, or a time that the rate turns into operations. */
static int parse_lifetime(const struct pleat_options *options, const char *key, uint64_t rate_per_second,
                          uint64_t *operations, struct pleat_message *message)
{
    const char *text = pleat_options_text(options, key, NULL);
    uint64_t number, time_ns;
    if (!text)
        return PLEAT_OK;
    if (pleat_parse_number(text, &number, NULL)) {
        if (pleat_parse_duration(text, &time_ns, NULL)) {
            char quoted[PLEAT_QUOTE_BYTES];
            return pleat_message_set(
                message, PLEAT_E_INVALID,
                "%s: Parameter '%s' expects a number of operations, or a time such as 2s, "
                "found %s",
                option_name, key, pleat_quote(quoted, text));
        }
        unsigned __int128 product = (unsigned __int128)time_ns * rate_per_second / 1000000000;
        number = product < UINT64_MAX ? (uint64_t)product : UINT64_MAX;
    }
    if (number < 1 || number > PLEAT_SYNTHETIC_MEAN_MAX)
        return pleat_message_set(
            message, PLEAT_E_INVALID, "%s: Parameter '%s' expects 1 to %llu operations, found %llu",
            option_name, key, (unsigned long long)PLEAT_SYNTHETIC_MEAN_MAX, (unsigned long long)number);
    *operations = number;
    return PLEAT_OK;
}

static int read_lifetimes(const struct pleat_options *options, struct pleat_synthetic_config *config,
                          struct pleat_message *message)
{
    config->lifetime =
        (enum pleat_lifetime)pleat_options_number(options, "lifetime", PLEAT_LIFETIME_EXPONENTIAL);
    config->long_share_ppm = (uint32_t)pleat_options_number(options, "long-share", 100000);
    int error = parse_lifetime(options, "mean", config->rate_per_second, &config->mean_operations, message);
    if (error)
        return error;
    const char *needs = NULL;
    if (config->lifetime != PLEAT_LIFETIME_BIMODAL && pleat_options_find(options, "long-mean"))
        needs = "Parameter 'long-mean' expects lifetime=bimodal";
    else if (config->lifetime != PLEAT_LIFETIME_BIMODAL && pleat_options_find(options, "long-share"))
        needs = "Parameter 'long-share' expects lifetime=bimodal";
    else if (config->lifetime == PLEAT_LIFETIME_BIMODAL && !config->mean_operations)
        needs = "Parameter 'lifetime' is bimodal, which expects a mean";
    if (needs)
        return pleat_message_set(message, PLEAT_E_INVALID, "%s: %s", option_name, needs);
    if (config->lifetime == PLEAT_LIFETIME_BIMODAL)
        config->long_mean_operations = config->mean_operations * 100;
    return parse_lifetime(options, "long-mean", config->rate_per_second, &config->long_mean_operations,
                          message);
}

static int read_config(const struct pleat_options *options, struct pleat_synthetic_config *config,
                       struct pleat_message *message)
{
    static const uint32_t presets_ppm[] = {50000, 200000, 500000};
    uint64_t preset = pleat_options_number(options, "preset", 0);
    config->fill_ppm = (uint32_t)pleat_options_number(options, "fill", 600000);
    config->unmovable_ppm = (uint32_t)pleat_options_number(options, "unmovable", presets_ppm[preset]);
    config->reclaimable_ppm = (uint32_t)pleat_options_number(options, "reclaimable", 20000);
    config->rate_per_second = pleat_options_number(options, "rate", 50000);
    config->cpus = (uint32_t)pleat_options_number(options, "cpus", 1);
    config->remote_ppm = (uint32_t)pleat_options_number(options, "remote", 0);
    config->seed = pleat_options_number(options, "seed", 1);
    /* Asked for explicitly, unmovable=100% leaves no room for the default of the other. */
    if (!pleat_options_find(options, "reclaimable") &&
        config->unmovable_ppm > PLEAT_PPM - config->reclaimable_ppm)
        config->reclaimable_ppm = PLEAT_PPM - config->unmovable_ppm;
    if (config->unmovable_ppm + config->reclaimable_ppm > PLEAT_PPM)
        return pleat_message_set(
            message, PLEAT_E_INVALID,
            "%s: Parameters 'unmovable' and 'reclaimable' expect at most 100%% together, "
            "found %g%%",
            option_name, (config->unmovable_ppm + config->reclaimable_ppm) / 10000.0);
    int error = parse_orders(pleat_options_text(options, "orders", "0:96/1:2/2:1/3:1"), config->order_weights,
                             message);
    return error ? error : read_lifetimes(options, config, message);
}

int pleat_synthetic_parse(const char *text, struct pleat_synthetic_config *config,
                          struct pleat_message *message)
{
    struct pleat_options options;
    struct pleat_synthetic_config result = {0};
    int error = pleat_options_parse(&options, option_name, text, "workload", message);
    if (!error)
        error = pleat_options_check(&options, keys, sizeof(keys) / sizeof(keys[0]), message);
    if (!error)
        error = read_config(&options, &result, message);
    pleat_options_free(&options);
    if (!error)
        *config = result;
    return error;
}

void pleat_synthetic_help(FILE *out)
{
    /* The first is the word that names the workload. */
    pleat_options_print_help(out, keys + 1, sizeof(keys) / sizeof(keys[0]) - 1);
}

/* ---- the heap of live blocks ---- */

/* Slots break ties, so that the order doesn't depend on how the heap has grown. */
static bool is_before(const struct pleat_synthetic_block *a, const struct pleat_synthetic_block *b)
{
    return a->due != b->due ? a->due < b->due : a->slot < b->slot;
}

static void heap_push(struct pleat_synthetic *synthetic, struct pleat_synthetic_block block)
{
    struct pleat_synthetic_block *heap = synthetic->blocks;
    size_t at = synthetic->block_count++;
    while (at && is_before(&block, &heap[(at - 1) / 2])) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = block;
}

static void heap_pop(struct pleat_synthetic *synthetic)
{
    struct pleat_synthetic_block *heap = synthetic->blocks;
    size_t count = --synthetic->block_count, at = 0;
    struct pleat_synthetic_block last = heap[count];
    for (size_t child = 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && is_before(&heap[child + 1], &heap[child]))
            child++;
        if (is_before(&last, &heap[child]))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
}

/* ---- drawing ---- */

static bool draw_share(struct pleat_synthetic *synthetic, uint32_t ppm)
{
    return pleat_random_below(&synthetic->random, PLEAT_PPM) < ppm;
}

static uint8_t draw_order(struct pleat_synthetic *synthetic)
{
    const uint32_t *weights = synthetic->config.order_weights;
    uint64_t all = 0;
    for (unsigned order = 0; order < PLEAT_OPERATION_ORDERS; order++)
        all += weights[order];
    uint64_t place = pleat_random_below(&synthetic->random, all);
    uint8_t order = 0;
    while (place >= weights[order])
        place -= weights[order++];
    return order;
}

static uint8_t draw_mobility(struct pleat_synthetic *synthetic)
{
    uint64_t place = pleat_random_below(&synthetic->random, PLEAT_PPM);
    if (place < synthetic->config.unmovable_ppm)
        return PLEAT_UNMOVABLE;
    return place - synthetic->config.unmovable_ppm < synthetic->config.reclaimable_ppm ? PLEAT_RECLAIMABLE
                                                                                       : PLEAT_MOVABLE;
}

static uint64_t draw_lifetime(struct pleat_synthetic *synthetic)
{
    double mean = synthetic->mean_operations;
    if (synthetic->config.lifetime == PLEAT_LIFETIME_BIMODAL &&
        draw_share(synthetic, synthetic->config.long_share_ppm))
        mean = synthetic->long_mean_operations;
    if (synthetic->config.lifetime != PLEAT_LIFETIME_FIXED)
        mean = pleat_random_exponential(&synthetic->random, mean);
    return 1 + (uint64_t)mean;
}

/* A block turns over when fewer do than should, for as many blocks as there are now. */
static bool should_turn_over(const struct pleat_synthetic *synthetic)
{
    double share = (double)(synthetic->block_count + 1) / synthetic->target_blocks;
    double turning = synthetic->turning_blocks * (share < 1 ? share : 1);
    return (double)synthetic->turning_count < turning;
}

/* ---- the stream ---- */

void pleat_synthetic_resize(struct pleat_synthetic *synthetic, uint64_t frames)
{
    const struct pleat_synthetic_config *config = &synthetic->config;
    synthetic->target_frames = (uint64_t)((unsigned __int128)frames * config->fill_ppm / PLEAT_PPM);
    double weights = 0, weighted_frames = 0;
    for (unsigned order = 0; order < PLEAT_OPERATION_ORDERS; order++) {
        weights += config->order_weights[order];
        weighted_frames += (double)config->order_weights[order] * (1u << order);
    }
    synthetic->target_blocks = (double)synthetic->target_frames * weights / weighted_frames;
    if (synthetic->target_blocks < 1)
        synthetic->target_blocks = 1;
    double long_share = (double)config->long_share_ppm / PLEAT_PPM;
    synthetic->mean_operations = (double)config->mean_operations;
    synthetic->long_mean_operations = (double)config->long_mean_operations;
    if (!config->mean_operations)
        synthetic->mean_operations = 2 * synthetic->target_blocks;
    double mean = synthetic->mean_operations;
    if (config->lifetime == PLEAT_LIFETIME_BIMODAL)
        mean = mean * (1 - long_share) + synthetic->long_mean_operations * long_share;
    synthetic->turning_blocks = mean / 2 < synthetic->target_blocks ? mean / 2 : synthetic->target_blocks;
    if (synthetic->turning_blocks < 1)
        synthetic->turning_blocks = 1;
}

int pleat_synthetic_begin(struct pleat_synthetic *synthetic, const struct pleat_synthetic_config *config,
                          uint64_t frames, struct pleat_message *message)
{
    *synthetic = (struct pleat_synthetic){.config = *config};
    pleat_random_seed(&synthetic->random, config->seed);
    pleat_synthetic_resize(synthetic, frames);
    if (synthetic->target_frames)
        return PLEAT_OK;
    return pleat_message_set(message, PLEAT_E_INVALID,
                             "%s: Parameter 'fill' expects at least one frame, found %g%% of %llu",
                             option_name, config->fill_ppm / 10000.0, (unsigned long long)frames);
}

/* Makes room for one more block in the heap, and for what is allocated in SLOT. */
static int make_room(struct pleat_synthetic *synthetic, uint32_t slot)
{
    if (synthetic->block_count == synthetic->block_capacity) {
        size_t capacity = synthetic->block_capacity ? synthetic->block_capacity * 2 : 1024;
        struct pleat_synthetic_block *blocks = realloc(synthetic->blocks, capacity * sizeof(*blocks));
        if (!blocks)
            return PLEAT_E_NO_MEMORY;
        synthetic->blocks = blocks;
        synthetic->block_capacity = capacity;
    }
    if (slot >= synthetic->allocation_capacity) {
        size_t capacity = synthetic->allocation_capacity ? synthetic->allocation_capacity * 2 : 1024;
        struct pleat_operation *allocations =
            realloc(synthetic->allocations, capacity * sizeof(*allocations));
        if (!allocations)
            return PLEAT_E_NO_MEMORY;
        synthetic->allocations = allocations;
        synthetic->allocation_capacity = capacity;
    }
    return PLEAT_OK;
}

static int allocate(struct pleat_synthetic *synthetic, struct pleat_operation *operation)
{
    uint32_t slot;
    int error = pleat_slots_take(&synthetic->slots, &slot);
    if (error)
        return error;
    if (make_room(synthetic, slot)) {
        /* There is room for it: it was taken just now, or is new. */
        (void)pleat_slots_give(&synthetic->slots, slot);
        return PLEAT_E_NO_MEMORY;
    }
    *operation = (struct pleat_operation){
        .slot = slot,
        .order = draw_order(synthetic),
        .flags = draw_mobility(synthetic),
        .cpu = (uint8_t)pleat_random_below(&synthetic->random, synthetic->config.cpus)};
    struct pleat_synthetic_block block = {.due = UINT64_MAX, .slot = slot};
    if (should_turn_over(synthetic)) {
        block.due = synthetic->operations + draw_lifetime(synthetic);
        synthetic->turning_count++;
    }
    synthetic->allocations[slot] = *operation;
    synthetic->live_frames += (uint64_t)1 << operation->order;
    heap_push(synthetic, block);
    return PLEAT_OK;
}

static int release(struct pleat_synthetic *synthetic, struct pleat_operation *operation)
{
    struct pleat_synthetic_block block = synthetic->blocks[0];
    int error = pleat_slots_give(&synthetic->slots, block.slot);
    if (error)
        return error;
    *operation = synthetic->allocations[block.slot];
    operation->is_free = 1;
    if (synthetic->config.cpus > 1 && draw_share(synthetic, synthetic->config.remote_ppm)) {
        uint64_t step = 1 + pleat_random_below(&synthetic->random, synthetic->config.cpus - 1);
        operation->cpu = (uint8_t)((operation->cpu + step) % synthetic->config.cpus);
    }
    synthetic->turning_count -= block.due != UINT64_MAX;
    synthetic->live_frames -= (uint64_t)1 << operation->order;
    heap_pop(synthetic);
    return PLEAT_OK;
}

int pleat_synthetic_next(struct pleat_synthetic *synthetic, struct pleat_operation *operation,
                         uint64_t *time_ns)
{
    bool full = synthetic->live_frames >= synthetic->target_frames;
    int error =
        full && synthetic->block_count ? release(synthetic, operation) : allocate(synthetic, operation);
    if (error)
        return error;
    synthetic->filled = synthetic->filled || full;
    *time_ns = 0;
    if (synthetic->filled) {
        *time_ns = (uint64_t)((unsigned __int128)synthetic->operations * 1000000000 /
                              synthetic->config.rate_per_second);
        synthetic->operations++;
    }
    return PLEAT_OK;
}

void pleat_synthetic_end(struct pleat_synthetic *synthetic)
{
    pleat_slots_free(&synthetic->slots);
    free(synthetic->blocks);
    free(synthetic->allocations);
    *synthetic = (struct pleat_synthetic){0};
}

/* Appends operations until COUNT have been done since the target was reached. */
static int prepare(struct pleat_synthetic *synthetic, uint64_t count, struct pleat_operations *operations)
{
    for (;;) {
        bool filled = synthetic->live_frames >= synthetic->target_frames || synthetic->filled;
        if (filled && !synthetic->filled)
            operations->before = operations->count;
        if (filled && synthetic->operations >= count)
            return PLEAT_OK;
        struct pleat_operation operation;
        uint64_t time_ns;
        int error = pleat_synthetic_next(synthetic, &operation, &time_ns);
        if (!error)
            error = pleat_operations_append(operations, &operation, time_ns);
        if (error)
            return error;
    }
}

int pleat_synthetic_prepare(const struct pleat_synthetic_config *config, uint64_t frames, uint64_t count,
                            struct pleat_operations *operations, struct pleat_message *message)
{
    struct pleat_synthetic synthetic;
    *operations = (struct pleat_operations){0};
    int error = pleat_synthetic_begin(&synthetic, config, frames, message);
    if (error)
        return error;
    error = prepare(&synthetic, count, operations);
    pleat_synthetic_end(&synthetic);
    if (error) {
        pleat_operations_free(operations);
        return pleat_message_set(message, error, "%s: no memory for its operations", option_name);
    }
    return PLEAT_OK;
}
