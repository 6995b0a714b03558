/* SPDX-License-Identifier: MIT
 *
 * Benchmarks of the guest core: allocation, recorded traces, adding memory, taking it back.
 *
 * The guest's memory is an anonymous mapping of address space; where only metadata matters, only the memmaps
 * are ever touched, so that a terabyte fits into a small host.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <pleat/hosted.h>
#include <pleat/pleat.h>

#include "bench/support/guest.h"
#include "bench/support/measure.h"
#include "machine/trace.h"

/* --- patterns, on one CPU or on two at once ------------------------------------------------------------ */

struct pattern {
    struct guest *guest;
    struct pattern *apart; /* the same with an instance of its own, for CPU 1 */
    unsigned order, mobility;
    uint64_t count;   /* frames, or picks, for each CPU */
    uint64_t batch;   /* random: frees, then allocations, so many at a time */
    uint64_t *pfn[2]; /* for each CPU */
    uint64_t seed;
    double (*run)(struct pattern *pattern, unsigned cpu); /* ns per pair */
};

static double repeat(struct pattern *pattern, unsigned cpu)
{
    const uint64_t count = 2000000;
    uint64_t start = thread_ns();

    (void)cpu;
    for (uint64_t i = 0; i < count; i++)
        guest_free(pattern->guest, guest_allocate(pattern->guest, pattern->order, pattern->mobility, 0),
                   pattern->order);
    return (double)(thread_ns() - start) / (double)count;
}

static double bulk(struct pattern *pattern, unsigned cpu)
{
    uint64_t *pfn = pattern->pfn[cpu];
    uint64_t rounds = 1 + 500000 / pattern->count;
    uint64_t start = thread_ns();

    for (uint64_t round = 0; round < rounds; round++) {
        for (uint64_t i = 0; i < pattern->count; i++)
            pfn[i] = guest_allocate(pattern->guest, pattern->order, pattern->mobility, i);
        for (uint64_t i = 0; i < pattern->count; i++)
            guest_free(pattern->guest, pfn[i], pattern->order);
    }
    return (double)(thread_ns() - start) / (double)(pattern->count * rounds);
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Frees random ones of what is held and allocates as many. They are picked beforehand, so that the time is
 * the allocator's. */
static double random_pairs(struct pattern *pattern, unsigned cpu)
{
    const uint64_t most = pattern->count / 2 < 1000000 ? pattern->count / 2 : 1000000;
    const uint64_t picks = most / pattern->batch * pattern->batch;
    uint64_t *held = pattern->pfn[cpu];
    uint64_t *picked = malloc(picks * sizeof(*picked));
    uint64_t state = pattern->seed + cpu + 1, start, spent;

    for (uint64_t i = 0; i < picks; i++) {
        uint64_t from = i + next_random(&state) % (pattern->count - i);
        uint64_t pfn = held[from];

        held[from] = held[i];
        held[i] = pfn;
    }
    memcpy(picked, held, picks * sizeof(*picked));
    start = thread_ns();
    for (uint64_t i = 0; i < picks; i += pattern->batch) {
        for (uint64_t k = i; k < i + pattern->batch; k++)
            guest_free(pattern->guest, picked[k], 0);
        for (uint64_t k = i; k < i + pattern->batch; k++)
            picked[k] = guest_allocate(pattern->guest, 0, pattern->mobility, 0);
    }
    spent = thread_ns() - start;
    memcpy(held, picked, picks * sizeof(*picked));
    free(picked);
    pattern->seed += 1000;
    return (double)spent / (double)picks;
}

struct side {
    struct pattern *pattern;
    pthread_barrier_t *barrier;
    unsigned cpu;
    double result;
};

static void *side_run(void *context)
{
    struct side *side = context;

    become_cpu(side->cpu);
    pthread_barrier_wait(side->barrier);
    side->result = side->pattern->run(side->pattern, side->cpu);
    return NULL;
}

static double once_on_one(void *context)
{
    struct pattern *pattern = context;

    return pattern->run(pattern, 0);
}

/* Both CPUs at once; the slower one counts. */
static double both(struct pattern *first, struct pattern *second)
{
    pthread_barrier_t barrier;
    struct side sides[2] = {{.pattern = first, .barrier = &barrier, .cpu = 0},
                            {.pattern = second, .barrier = &barrier, .cpu = 1}};
    pthread_t threads[2];

    pthread_barrier_init(&barrier, NULL, 2);
    for (unsigned i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, side_run, &sides[i]);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&barrier);
    return sides[0].result > sides[1].result ? sides[0].result : sides[1].result;
}

static double once_on_two(void *context)
{
    return both(context, context);
}

static double once_apart(void *context)
{
    struct pattern *pattern = context;

    return both(pattern, pattern->apart);
}

/* The unit, one CPU, two, and two that share nothing, in turn. What the last ones lose against one is the
 * host's doing: its CPUs may be threads of one core. */
static void pattern_row(struct table *table, struct pattern *pattern, const char *what,
                        const struct measure *unit, const char *unit_name, double reach)
{
    const struct measure measures[] = {
        *unit, {once_on_one, pattern}, {once_on_two, pattern}, {once_apart, pattern}};
    double medians[4], ratios[4];

    pattern->apart->order = pattern->order;
    pattern->apart->mobility = pattern->mobility;
    pattern->apart->count = pattern->count;
    pattern->apart->batch = pattern->batch;
    pattern->apart->run = pattern->run;
    medians_in_turn(measures, 4, medians, ratios);
    table_row(table, what, medians[1], "ns", medians[1] / ratios[1], unit_name, reach, false);
    table_row(table, "  on two CPUs", medians[2], "ns", medians[2] / ratios[2], "of one", 1.1, false);
    table_row(table, "  ... of two that share nothing", medians[2], "ns", medians[2] * ratios[3], "of those",
              1.1, false);
}

/* Touches all metadata once: what is measured afterwards is warm. */
static void warm_up(struct guest *guest, uint64_t *pfn, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        pfn[i] = guest_allocate(guest, 0, PLEAT_UNMOVABLE, 0);
    for (uint64_t i = 0; i < count; i++)
        guest_free(guest, pfn[i], 0);
}

static void bench_patterns(struct table *table)
{
    struct guest *guest = malloc(sizeof(*guest)), *other = malloc(sizeof(*other));
    const uint64_t frames = 8 * GIB_FRAMES, most = frames * 15 / 16 / 2;
    struct pattern apart = {.guest = other, .seed = 1};
    struct pattern pattern = {.guest = guest, .apart = &apart, .count = most, .seed = 1, .batch = 1};

    guest_init(guest, frames, frames);
    guest_init(other, frames, frames);
    for (unsigned i = 0; i < 2; i++) {
        pattern.pfn[i] = malloc(frames * sizeof(uint64_t));
        memset(pattern.pfn[i], 0, frames * sizeof(uint64_t));
    }
    apart.pfn[1] = pattern.pfn[1];
    warm_up(guest, pattern.pfn[0], frames * 15 / 16);
    warm_up(other, pattern.pfn[1], frames * 15 / 16);
    pattern.run = repeat;
    pattern_row(table, &pattern, "order 0, one frame again and again, unmovable, per pair", &measure_atomic,
                "A", 3);
    pattern.mobility = PLEAT_MOVABLE;
    pattern_row(table, &pattern, "order 0, one frame again and again, movable, per pair", &measure_atomic,
                "A", 4);
    pattern.run = bulk;
    pattern_row(table, &pattern, "order 0, allocate all then free all, movable, per pair", &measure_atomic,
                "A", 8);
    pattern.mobility = PLEAT_UNMOVABLE;
    pattern_row(table, &pattern, "order 0, allocate all then free all, unmovable, per pair", &measure_atomic,
                "A", 8);
    pattern.order = 9;
    pattern.count = frames / 512 * 15 / 16 / 2;
    pattern_row(table, &pattern, "order 9, allocate all then free all, per pair", &measure_atomic, "A", 9);
    free(pattern.pfn[0]);
    free(pattern.pfn[1]);
    guest_end(guest);
    guest_end(other);
    free(guest);
    free(other);
}

/* Holds a quarter of an instance's memory on behalf of a CPU. */
static uint64_t *hold_quarter(struct guest *guest, unsigned cpu, uint64_t frames)
{
    uint64_t *pfn = malloc(frames / 4 * sizeof(uint64_t));

    become_cpu(cpu);
    for (uint64_t i = 0; i < frames / 4; i++)
        pfn[i] = guest_allocate(guest, 0, PLEAT_UNMOVABLE, 0);
    return pfn;
}

static void bench_random(struct table *table, uint64_t gib)
{
    struct guest *guest = malloc(sizeof(*guest)), *other = malloc(sizeof(*other));
    const uint64_t frames = gib * GIB_FRAMES;
    struct pattern apart = {.guest = other, .seed = 1};
    struct pattern pattern = {
        .guest = guest, .apart = &apart, .count = frames / 4, .seed = 1, .batch = 1, .run = random_pairs};
    struct measure miss;
    double miss_ns;
    char name[96];

    guest_init(guest, frames, frames);
    guest_init(other, frames, frames);
    miss = measure_miss(frames / BLOCK_FRAMES * pleat_memmap_bytes(&guest->pleat));
    miss_ns = median_of_runs(&miss);
    for (unsigned i = 0; i < 2; i++)
        pattern.pfn[i] = hold_quarter(guest, i, frames);
    /* As full as the first one, of which CPU 0 works on its quarter while CPU 1 works here. */
    free(hold_quarter(other, 0, frames));
    apart.pfn[1] = hold_quarter(other, 1, frames);
    become_cpu(0);
    if (gib == 8) {
        snprintf(name, sizeof(name), "order 0, random at half full, %llu GiB, per pair",
                 (unsigned long long)gib);
        pattern_row(table, &pattern, name, &measure_atomic, "A", 20);
    }
    snprintf(name, sizeof(name), "order 0, random at half full, %llu GiB, per pair (M = %.0f ns)",
             (unsigned long long)gib, miss_ns);
    pattern_row(table, &pattern, name, &miss, "M", 3);
    pattern.batch = 1000;
    snprintf(name, sizeof(name), "  the same, 1,000 frees then 1,000 allocations, %llu GiB",
             (unsigned long long)gib);
    pattern_row(table, &pattern, name, &miss, "M", 3);
    measure_miss_end(&miss);
    free(pattern.pfn[0]);
    free(pattern.pfn[1]);
    free(apart.pfn[1]);
    guest_end(guest);
    guest_end(other);
    free(guest);
    free(other);
}

/* --- recorded traces ----------------------------------------------------------------------------------- */

/* Whole free pageblocks out of those that there could be, at the end of a replay. */
static double whole_free(struct guest *guest)
{
    uint64_t could = 0, are = 0;

    pleat_drain(&guest->pleat);
    for (uint64_t pfn = 0; pfn < guest->frames; pfn += 512) {
        struct pleat_look look;

        if (pleat_look(&guest->pleat, pfn, 512, &look))
            guest_failed("look", PLEAT_E_NOT_FOUND);
        if (look.memmap || look.first_obstacle_owner == 2)
            continue;
        could += look.free;
        are += look.free == 512;
    }
    could /= 512;
    return (double)are / (double)could;
}

static void bench_trace(struct table *table, const char *label, const char *path, double reach_ns,
                        double reach_free)
{
    struct pleat_message message = {0};
    struct pleat_trace trace = {0};
    struct pleat_operations operations = {0};
    double times[RUNS], whole = 0;
    uint64_t *slots;
    char name[96];

    if (pleat_trace_load(&trace, path, &message) || pleat_trace_prepare(&trace, &operations, &message)) {
        printf("%-66s not measured: %s\n", label, message.text);
        return;
    }
    slots = malloc(operations.slots * sizeof(*slots));
    memset(slots, 0, operations.slots * sizeof(*slots));
    for (unsigned run = 0; run < RUNS; run++) {
        struct guest *guest = malloc(sizeof(*guest));
        uint64_t start = 0;

        guest_init(guest, 8 * GIB_FRAMES, 8 * GIB_FRAMES);
        madvise(guest->memory, 64 << 20, MADV_POPULATE_WRITE);
        for (size_t i = 0; i < operations.count; i++) {
            const struct pleat_operation *o = &operations.items[i];

            if (i == operations.before)
                start = thread_ns();
            if (o->is_free)
                guest_free(guest, slots[o->slot], o->order);
            else
                slots[o->slot] = guest_allocate(guest, o->order, o->flags & PLEAT_MOBILITY_MASK, o->slot);
        }
        times[run] = (double)(thread_ns() - start) / (double)(operations.count - operations.before);
        whole = whole_free(guest);
        guest_end(guest);
        free(guest);
    }
    snprintf(name, sizeof(name), "trace %s in 8 GiB, one thread, per operation", label);
    table_row(table, name, median(times, RUNS), "ns", 1, "ns", reach_ns, false);
    table_row(table, "  whole free pageblocks at the end, of those that there could be", whole * 100, "%", 1,
              "%", reach_free, true);
    free(slots);
    pleat_operations_free(&operations);
    pleat_trace_free(&trace);
}

/* --- adding and taking back ---------------------------------------------------------------------------- */

static void take(struct guest *guest, uint64_t start_pfn, uint64_t frames)
{
    int error = guest_take(guest, start_pfn, frames);

    if (error)
        guest_failed("take", error);
}

static void bench_add(struct table *table)
{
    struct guest *guest = malloc(sizeof(*guest));
    const uint64_t tib = 1024 * GIB_FRAMES;
    struct pleat_range_config range;
    double times[RUNS];
    uint64_t lines = 0, frames;

    guest_init(guest, GIB_FRAMES, GIB_FRAMES + tib);
    frames = pleat_memmap_frames(&guest->pleat);
    /* What an add writes: lines of poisoned memmaps that are poisoned no more. */
    for (uint64_t pfn = GIB_FRAMES; pfn < GIB_FRAMES + tib; pfn += BLOCK_FRAMES)
        memset(guest->memory + pfn * 4096, 0xa5, frames * 4096);
    range = guest_range(guest, GIB_FRAMES, tib);
    for (unsigned run = 0; run < RUNS; run++) {
        uint64_t start = thread_ns();
        int error = pleat_add(&guest->pleat, &range);

        times[run] = (double)(thread_ns() - start) / 1e6;
        if (error)
            guest_failed("add", error);
        for (uint64_t pfn = GIB_FRAMES; !run && pfn < GIB_FRAMES + tib; pfn += BLOCK_FRAMES) {
            const unsigned char *memmap = guest->memory + pfn * 4096;
            unsigned char poison[64];

            memset(poison, 0xa5, sizeof(poison));
            for (uint64_t at = 0; at < frames * 4096; at += 64)
                lines += memcmp(memmap + at, poison, 64) != 0;
        }
        take(guest, GIB_FRAMES, tib);
    }
    table_row(table, "add and online 1 TiB, warm", median(times, RUNS), "ms", 1, "ms", 10, false);
    table_row(table, "  written by it", (double)lines * 64 / (1 << 20), "MiB", 1, "MiB", 40, false);
    table_row(table, "metadata with 8 bytes of owner's word", (double)frames * 100 / (double)BLOCK_FRAMES,
              "%", 1, "%", 0.21, false);
    guest_end(guest);
    free(guest);
}

static void bench_take(struct table *table)
{
    struct guest *guest = malloc(sizeof(*guest));
    const uint64_t start_pfn = 2 * GIB_FRAMES, used = GIB_FRAMES * 3 / 10;
    struct pleat_range_config range;
    double idle[RUNS], busy[RUNS], plain[RUNS], copy_ms, idle_ms;
    uint64_t *order = malloc(GIB_FRAMES * sizeof(*order));
    uint64_t state = 7;

    guest_init(guest, 2 * GIB_FRAMES, 3 * GIB_FRAMES);
    memset(guest->memory + (1 << 20), 1, (size_t)3 * GIB_FRAMES * 4096 - (1 << 20) - 0);
    guest_end(guest);
    guest_init(guest, 2 * GIB_FRAMES, 3 * GIB_FRAMES);
    madvise(guest->memory, 3 * GIB_FRAMES * 4096, MADV_POPULATE_WRITE);
    guest->where = malloc(GIB_FRAMES * sizeof(uint64_t));
    range = guest_range(guest, start_pfn, GIB_FRAMES);
    for (unsigned run = 0; run < RUNS; run++) {
        uint64_t begin, count = 0;

        if (pleat_add(&guest->pleat, &range))
            guest_failed("add", PLEAT_E_INVALID);
        begin = thread_ns();
        take(guest, start_pfn, GIB_FRAMES);
        idle[run] = (double)(thread_ns() - begin) / 1e6;
        /* 30 % in use, scattered: all is allocated, then seven tenths are freed at random. */
        if (pleat_add(&guest->pleat, &range))
            guest_failed("add", PLEAT_E_INVALID);
        while (count < GIB_FRAMES - 8 * 66)
            guest->where[count] = guest_allocate(guest, 0, PLEAT_MOVABLE, count), count++;
        for (uint64_t i = 0; i < count; i++)
            order[i] = i;
        for (uint64_t i = count - 1; i > 0; i--) {
            uint64_t other = next_random(&state) % (i + 1), value = order[i];

            order[i] = order[other];
            order[other] = value;
        }
        for (uint64_t i = used; i < count; i++)
            guest_free(guest, guest->where[order[i]], 0);
        begin = thread_ns();
        for (uint64_t i = 0; i < used; i++)
            memcpy(guest->memory + (GIB_FRAMES / 2 + i) * 4096, guest->memory + guest->where[order[i]] * 4096,
                   4096);
        plain[run] = (double)(thread_ns() - begin) / 1e6;
        begin = thread_ns();
        take(guest, start_pfn, GIB_FRAMES);
        busy[run] = (double)(thread_ns() - begin) / 1e6;
        for (uint64_t i = 0; i < used; i++)
            guest_free(guest, guest->where[order[i]], 0);
    }
    idle_ms = median(idle, RUNS);
    copy_ms = median(plain, RUNS);
    table_row(table, "take 1 GiB of free memory back", idle_ms, "ms", 1, "ms", 1, false);
    table_row(table, "take 1 GiB back of which 30 % is movable and in use, less that",
              median(busy, RUNS) - idle_ms, "ms", copy_ms, "of plain copies", 1.3, false);
    free(guest->where);
    free(order);
    guest_end(guest);
    free(guest);
}

int main(int argc, char **argv)
{
    struct bench_options options = bench_options(argc, argv);
    struct table *table =
        table_new("The core (median of 7 runs; A: an atomic read-modify-write, M: one that misses)");

    become_cpu(0);
    printf("A = %.2f ns\n", median_of_runs(&measure_atomic));
    if (bench_wants(&options, "patterns"))
        bench_patterns(table);
    for (uint64_t gib = 8; gib <= 1024 && bench_wants(&options, "random"); gib = gib == 8 ? 64 : gib * 16)
        bench_random(table, gib);
    if (bench_wants(&options, "traces")) {
        bench_trace(table, "a-compile", "../shared/traces/a-compile.ptr.xz", 25, 98);
        bench_trace(table, "b-pagecache", "../shared/traces/b-pagecache.ptr.xz", 30, 92);
    }
    if (bench_wants(&options, "add"))
        bench_add(table);
    if (bench_wants(&options, "take"))
        bench_take(table);
    table_end(table, options.json);
    return 0;
}
