/* SPDX-License-Identifier: MIT
 *
 * The core with all at once: CPUs allocate and free without a break, while others add, online, take, give,
 * offline and remove the blocks that they do it in. Content is stamped, owners have locks, and what is
 * removed is made inaccessible, so that a walker into metadata that is gone faults. Meant for
 * ThreadSanitizer, and part of every run.
 *
 * PLEAT_STEPS sets how often each range comes and goes, PLEAT_SEED what is drawn.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <pleat/hosted.h>
#include <pleat/pleat.h>

#include "tests/support/random.h"

#define PAGEBLOCK    PLEAT_PAGEBLOCK_FRAMES
#define BLOCK_FRAMES (UINT64_C(8) * PAGEBLOCK)
#define BOOT_BLOCKS  4
#define AREA_BLOCKS  3
#define CHANGERS     2 /* CPUs that change ranges, each one of its own */
#define WORKERS      3
#define HELPERS      2 /* CPUs that help whoever takes */
#define CPUS         (CHANGERS + WORKERS + HELPERS)
#define RECORDS      320 /* of a worker */
#define MAILBOXES    8
#define WITHHELD     40u /* single frames that a changer has withheld at once */

/** What is known of an allocation. The lock is held while it is moved, changed or freed. */
struct record {
    pthread_mutex_t lock;
    uint64_t generation; /**< part of the cookie: an old cookie is no longer this record's */
    bool live;
    uint64_t pfn;
    unsigned order;
    uint64_t id;
};

struct machine {
    struct pleat pleat;
    struct pleat_hosted *hosted;
    int patient; /**< owner that locks its frame from isolate to migrate or putback */
    int hasty;   /**< owner that may free a frame in between */
    int fixed;   /**< owner of unmovable frames */
    struct record records[WORKERS][RECORDS];
    /** Records change hands here, so that frames are freed on other CPUs than they were allocated on. */
    _Atomic(struct record *) mailbox[MAILBOXES];
    atomic_uint changers_left;
    atomic_uint broken;
    atomic_ulong allocated, migrated, removed, offline_failed, withheld, helped;
    uint64_t seed;
    unsigned long cycles;
};

/** Says so, and fails the test at its end: cmocka's own way out is for its own thread only. */
static void broken(struct machine *machine, const char *what, uint64_t pfn)
{
    if (atomic_fetch_add(&machine->broken, 1) < 10)
        fprintf(stderr, "# PLEAT_SEED=%llu: %s, PFN 0x%llx\n", (unsigned long long)machine->seed, what,
                (unsigned long long)pfn);
}

static uint64_t draw(uint64_t *random, uint64_t limit)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return (*random >> 11) % limit;
}

/* --- Content -------------------------------------------------------------------------------------------- */

static uint64_t *content(struct machine *machine, uint64_t pfn)
{
    return pleat_hosted_pointer(machine->hosted, pfn);
}

static void write_stamps(struct machine *machine, uint64_t pfn, uint64_t frames, uint64_t id)
{
    for (uint64_t i = 0; i < frames; i++) {
        content(machine, pfn + i)[0] = id ^ i;
        content(machine, pfn + i)[511] = ~(id ^ i);
    }
}

static void check_stamps(struct machine *machine, uint64_t pfn, uint64_t frames, uint64_t id)
{
    for (uint64_t i = 0; i < frames; i++) {
        if (content(machine, pfn + i)[0] != (id ^ i) || content(machine, pfn + i)[511] != ~(id ^ i))
            broken(machine, "a frame has lost its content", pfn + i);
    }
}

/* --- Owners --------------------------------------------------------------------------------------------- */

static uint64_t cookie_of(struct machine *machine, const struct record *record)
{
    uint64_t index = (uint64_t)(record - &machine->records[0][0]);
    return index | (record->generation & 0xffffffff) << 12;
}

static struct record *record_of(struct machine *machine, uint64_t cookie)
{
    uint64_t index = cookie & 0xfff;
    return &machine->records[index / RECORDS][index % RECORDS];
}

/** Locks the record of a cookie; NULL if it isn't there (not yet, or no longer), and nothing is locked. */
static struct record *lock_record(struct machine *machine, uint64_t pfn, unsigned order, uint64_t cookie)
{
    struct record *record = record_of(machine, cookie);
    pthread_mutex_lock(&record->lock);
    if (record->live && record->pfn == pfn && record->order == order && cookie_of(machine, record) == cookie)
        return record;
    pthread_mutex_unlock(&record->lock);
    return NULL;
}

static void move_content(struct machine *machine, struct record *record, uint64_t to)
{
    uint64_t frames = UINT64_C(1) << record->order;
    check_stamps(machine, record->pfn, frames, record->id);
    for (uint64_t i = 0; i < frames; i++)
        memcpy(content(machine, to + i), content(machine, record->pfn + i), 4096);
    record->pfn = to;
    atomic_fetch_add(&machine->migrated, frames);
}

/** The lock is taken here and given back in migrate or putback. */
static int patient_isolate(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    return lock_record(context, pfn, order, cookie) ? 0 : PLEAT_E_BUSY;
}

static int patient_migrate(void *context, uint64_t from, uint64_t to, unsigned order, uint64_t cookie)
{
    struct machine *machine = context;
    struct record *record = record_of(machine, cookie);
    if (!record->live || record->pfn != from || record->order != order)
        broken(machine, "a locked frame has changed", from);
    move_content(machine, record, to);
    pthread_mutex_unlock(&record->lock);
    return 0;
}

static void patient_putback(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    struct machine *machine = context;
    (void)pfn;
    (void)order;
    pthread_mutex_unlock(&record_of(machine, cookie)->lock);
}

static int hasty_isolate(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    struct record *record = lock_record(context, pfn, order, cookie);
    if (!record)
        return PLEAT_E_BUSY;
    pthread_mutex_unlock(&record->lock);
    sched_yield();
    return 0;
}

static int hasty_migrate(void *context, uint64_t from, uint64_t to, unsigned order, uint64_t cookie)
{
    struct record *record = lock_record(context, from, order, cookie);
    if (!record)
        return PLEAT_E_STATE;
    move_content(context, record, to);
    pthread_mutex_unlock(&record->lock);
    return 0;
}

static void hasty_putback(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    (void)context;
    (void)pfn;
    (void)order;
    (void)cookie;
}

static const struct pleat_owner_ops patient_ops = {patient_isolate, patient_migrate, patient_putback};
static const struct pleat_owner_ops hasty_ops = {hasty_isolate, hasty_migrate, hasty_putback};

/* --- CPUs that allocate and free ------------------------------------------------------------------------ */

struct worker {
    struct machine *machine;
    uint64_t random;
    struct record *held[RECORDS + MAILBOXES];
    unsigned held_count;
    struct record *spare[RECORDS + MAILBOXES];
    unsigned spare_count;
};

static void worker_free(struct worker *worker, unsigned at)
{
    struct machine *machine = worker->machine;
    struct record *record = worker->held[at];
    worker->held[at] = worker->held[--worker->held_count];

    pthread_mutex_lock(&record->lock);
    uint64_t pfn = record->pfn;
    check_stamps(machine, pfn, UINT64_C(1) << record->order, record->id);
    record->live = false;
    record->generation++;
    pthread_mutex_unlock(&record->lock);
    if (pleat_free(&machine->pleat, pfn, record->order))
        broken(machine, "a free was refused", pfn);
    worker->spare[worker->spare_count++] = record;
}

static void worker_allocate(struct worker *worker)
{
    struct machine *machine = worker->machine;
    if (!worker->spare_count)
        return;
    struct record *record = worker->spare[worker->spare_count - 1];
    unsigned kind = (unsigned)draw(&worker->random, 10);
    unsigned flags = kind < 8 ? PLEAT_MOVABLE : kind == 8 ? PLEAT_UNMOVABLE : PLEAT_RECLAIMABLE;
    int owner = kind < 4 ? machine->patient : kind < 8 ? machine->hasty : machine->fixed;
    unsigned order = draw(&worker->random, 3) ? 0 : (unsigned)draw(&worker->random, 6);
    if (draw(&worker->random, 200) == 0)
        order = PLEAT_PAGEBLOCK_ORDER;
    if (draw(&worker->random, 8) == 0)
        flags |= PLEAT_ALLOC_NODE(draw(&worker->random, 2));

    uint64_t cookie = cookie_of(machine, record);
    int64_t pfn = pleat_alloc(&machine->pleat, order, flags, pleat_tag_make((unsigned)owner, cookie));
    if (pfn < 0) {
        if (pfn != PLEAT_E_NO_MEMORY)
            broken(machine, "an allocation was refused", 0);
        return;
    }
    atomic_fetch_add_explicit(&machine->allocated, 1, memory_order_relaxed);
    /* Until the record is live, its owner refuses to move it. */
    uint64_t id = draw(&worker->random, UINT64_MAX);
    write_stamps(machine, (uint64_t)pfn, UINT64_C(1) << order, id);
    pthread_mutex_lock(&record->lock);
    record->pfn = (uint64_t)pfn;
    record->order = order;
    record->id = id;
    record->live = true;
    pthread_mutex_unlock(&record->lock);
    worker->spare_count--;
    worker->held[worker->held_count++] = record;
}

/** One record for another, or for none. */
static void worker_trade(struct worker *worker)
{
    struct machine *machine = worker->machine;
    struct record *mine = NULL;
    if (worker->held_count)
        mine = worker->held[--worker->held_count];
    struct record *theirs = atomic_exchange(&machine->mailbox[draw(&worker->random, MAILBOXES)], mine);
    if (theirs)
        worker->held[worker->held_count++] = theirs;
}

static void work(struct machine *machine, unsigned number)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    worker->machine = machine;
    worker->random = machine->seed * 31 + number + 1;
    for (unsigned i = 0; i < RECORDS; i++)
        worker->spare[worker->spare_count++] = &machine->records[number][i];

    while (atomic_load(&machine->changers_left)) {
        unsigned burst = 1 + (unsigned)draw(&worker->random, 40);
        bool grow = worker->held_count < draw(&worker->random, RECORDS);
        for (unsigned i = 0; i < burst; i++) {
            if (grow)
                worker_allocate(worker);
            else if (worker->held_count)
                worker_free(worker, (unsigned)draw(&worker->random, worker->held_count));
        }
        worker_trade(worker);
        if (draw(&worker->random, 300) == 0)
            pleat_drain(&machine->pleat);
    }
    while (worker->held_count)
        worker_free(worker, worker->held_count - 1);
    free(worker);
}

/* --- CPUs that change ranges ---------------------------------------------------------------------------- */

struct changer {
    struct machine *machine;
    uint64_t random;
    uint64_t start_pfn;
    struct pleat_range_config range;
};

static void map(struct machine *machine, uint64_t pfn, uint64_t frames)
{
    const struct pleat_port *port = pleat_hosted_port(machine->hosted);
    if (port->map(port->context, pfn, frames))
        broken(machine, "the host can't map", pfn);
}

static void unmap(struct machine *machine, uint64_t pfn, uint64_t frames)
{
    const struct pleat_port *port = pleat_hosted_port(machine->hosted);
    port->unmap(port->context, pfn, frames);
}

/** All but the second and the last pageblock of a block. */
static void give_most(struct pleat *pleat, void *context, uint64_t start_pfn, uint64_t frames,
                      struct pleat_online *online)
{
    (void)pleat;
    (void)context;
    pleat_online_give(online, start_pfn, PAGEBLOCK);
    pleat_online_give(online, start_pfn + 2 * PAGEBLOCK, frames - 3 * PAGEBLOCK);
}

static const struct pleat_range_ops give_most_ops = {give_most, NULL};

/** Takes with a bounded effort. */
static int take(struct changer *changer, uint64_t pfn, uint64_t frames, enum pleat_take_goal goal)
{
    struct pleat *pleat = &changer->machine->pleat;
    struct pleat_take storage;
    struct pleat_take_config config = {.start_pfn = pfn, .frames = frames, .goal = goal, .owner = changer};
    int result = pleat_take_begin(pleat, &storage, &config);
    for (unsigned steps = 0; !result || result == PLEAT_MORE; steps++) {
        if (steps == 2000 || draw(&changer->random, 200) == 0) {
            pleat_take_cancel(pleat, &storage);
            return PLEAT_E_CANCELLED;
        }
        result = pleat_take_step(pleat, &storage, 1 + draw(&changer->random, 300));
        if (!result)
            return PLEAT_OK;
    }
    return result;
}

/** A pageblock goes out of use, is unplugged, plugged and given back. */
static void change_piece(struct changer *changer)
{
    struct machine *machine = changer->machine;
    uint64_t pfn = changer->start_pfn + draw(&changer->random, AREA_BLOCKS * 8) * PAGEBLOCK;
    if (changer->range.memmap_mode != PLEAT_MEMMAP_NORMAL && pfn % BLOCK_FRAMES == 0)
        pfn += PAGEBLOCK; /* the memmap isn't to be unplugged */
    struct pleat_look look;
    if (pleat_look(&machine->pleat, pfn, PAGEBLOCK, &look) || look.fake_offline)
        return;
    if (take(changer, pfn, PAGEBLOCK, PLEAT_TAKE_TO_FAKE_OFFLINE))
        return;
    unmap(machine, pfn, PAGEBLOCK);
    sched_yield();
    map(machine, pfn, PAGEBLOCK);
    if (pleat_give(&machine->pleat, changer, pfn, PAGEBLOCK))
        broken(machine, "a piece can't be given back", pfn);
}

static void give_back(struct changer *changer, uint64_t pfn, uint64_t frames)
{
    struct machine *machine = changer->machine;
    bool boot = pfn < BOOT_BLOCKS * BLOCK_FRAMES;
    map(machine, pfn, frames);
    if (pleat_give(&machine->pleat, boot ? NULL : changer, pfn, frames))
        broken(machine, "what was withheld can't be given back", pfn);
}

/** Free frames go out of use as a balloon takes them, wherever they are, and come back in another order. */
static void change_withheld(struct changer *changer)
{
    struct machine *machine = changer->machine;
    uint64_t pfns[WITHHELD], whole = UINT64_MAX;
    unsigned count = 0;
    int64_t pfn = pleat_withhold(&machine->pleat, changer, PAGEBLOCK);
    if (pfn >= 0)
        unmap(machine, whole = (uint64_t)pfn, PAGEBLOCK);
    while (count < WITHHELD && (pfn = pleat_withhold(&machine->pleat, changer, 1)) >= 0)
        unmap(machine, pfns[count++] = (uint64_t)pfn, 1);
    atomic_fetch_add(&machine->withheld, count);
    sched_yield();
    for (unsigned i = 0; i < count; i++)
        give_back(changer, pfns[count - 1 - i], 1);
    if (whole == UINT64_MAX)
        return;
    give_back(changer, whole + 100, 30);
    give_back(changer, whole, 100);
    give_back(changer, whole + 130, PAGEBLOCK - 130);
}

/** Any frames become the changer's for a moment. */
static void change_any(struct changer *changer)
{
    struct machine *machine = changer->machine;
    uint64_t pfn = changer->start_pfn + draw(&changer->random, AREA_BLOCKS) * BLOCK_FRAMES +
                   draw(&changer->random, BLOCK_FRAMES - 100);
    uint64_t frames = 1 + draw(&changer->random, 100);
    if (pleat_alloc_range(&machine->pleat, pfn, frames, PLEAT_NO_TAG))
        return;
    write_stamps(machine, pfn, frames, pfn);
    sched_yield();
    check_stamps(machine, pfn, frames, pfn);
    if (pleat_free_range(&machine->pleat, pfn, frames))
        broken(machine, "a range can't be freed", pfn);
}

/** Offline with patience: workers let go of their unmovable frames some time. */
static bool offline(struct changer *changer, uint64_t pfn)
{
    for (unsigned tries = 0; tries < 3000; tries++) {
        if (!take(changer, pfn, BLOCK_FRAMES, PLEAT_TAKE_TO_OFFLINE))
            return true;
        sched_yield();
    }
    atomic_fetch_add(&changer->machine->offline_failed, 1);
    return false;
}

static void add(struct changer *changer)
{
    struct machine *machine = changer->machine;
    changer->range = (struct pleat_range_config){
        .name = "coming and going",
        .owner = changer,
        .ops = draw(&changer->random, 2) ? &give_most_ops : NULL,
        .start_pfn = changer->start_pfn,
        .frames = AREA_BLOCKS * BLOCK_FRAMES,
        .node = (unsigned)draw(&changer->random, 2),
        .memmap_mode = (enum pleat_memmap_mode)draw(&changer->random, 3),
        .flags = PLEAT_ADD_FORCE_ONLINE,
        .force_zone = (enum pleat_zone_kind)(PLEAT_ZONE_NORMAL + draw(&changer->random, 3)),
    };
    map(machine, changer->start_pfn, AREA_BLOCKS * BLOCK_FRAMES);
    int error = pleat_add(&machine->pleat, &changer->range);
    if (error == PLEAT_E_NO_MEMORY && changer->range.memmap_mode == PLEAT_MEMMAP_NORMAL) {
        changer->range.memmap_mode = PLEAT_MEMMAP_BLOCK;
        error = pleat_add(&machine->pleat, &changer->range);
    }
    if (error)
        broken(machine, "a range can't be added", changer->start_pfn);
}

/** Blocks one by one where the range allows it, else all at the end. Returns whether all are gone. */
static bool take_away(struct changer *changer)
{
    struct machine *machine = changer->machine;
    bool one_by_one = changer->range.memmap_mode == PLEAT_MEMMAP_BLOCK, gone = true;
    for (unsigned i = AREA_BLOCKS; i-- > 0;) {
        uint64_t pfn = changer->start_pfn + i * BLOCK_FRAMES;
        struct pleat_block_info info;
        if (pleat_block_info(&machine->pleat, pfn, &info))
            continue;
        if (info.state != PLEAT_BLOCK_OFFLINE && !offline(changer, pfn)) {
            gone = false;
            continue;
        }
        if (!one_by_one)
            continue;
        if (pleat_remove(&machine->pleat, changer, pfn, BLOCK_FRAMES))
            broken(machine, "an offline block can't be removed", pfn);
        unmap(machine, pfn, BLOCK_FRAMES);
        atomic_fetch_add(&machine->removed, 1);
    }
    if (gone && !one_by_one) {
        if (pleat_remove(&machine->pleat, changer, changer->start_pfn, AREA_BLOCKS * BLOCK_FRAMES))
            broken(machine, "an offline range can't be removed", changer->start_pfn);
        unmap(machine, changer->start_pfn, AREA_BLOCKS * BLOCK_FRAMES);
        atomic_fetch_add(&machine->removed, AREA_BLOCKS);
    }
    return gone;
}

/** Returns whether the range is there at the end. */
static bool change(struct changer *changer)
{
    bool there = false;
    for (unsigned long cycle = 0; cycle < changer->machine->cycles; cycle++) {
        if (!there)
            add(changer);
        for (unsigned i = 0; i < 8; i++) {
            switch (draw(&changer->random, 3)) {
            case 0:
                change_piece(changer);
                break;
            case 1:
                change_withheld(changer);
                break;
            default:
                change_any(changer);
            }
        }
        there = !take_away(changer);
    }
    return there;
}

/* --- All at once ---------------------------------------------------------------------------------------- */

static void help(struct machine *machine)
{
    uint64_t random = machine->seed;
    while (atomic_load(&machine->changers_left)) {
        uint64_t frames = pleat_take_help(&machine->pleat, 1 + draw(&random, 300));
        atomic_fetch_add(&machine->helped, frames);
        if (!frames)
            sched_yield();
    }
}

struct everybody {
    struct machine *machine;
    struct changer changers[CHANGERS];
    bool there[CHANGERS];
};

static void run_cpu(void *context, unsigned cpu)
{
    struct everybody *everybody = context;
    if (cpu >= CHANGERS + WORKERS) {
        help(everybody->machine);
        return;
    }
    if (cpu >= CHANGERS) {
        work(everybody->machine, cpu - CHANGERS);
        return;
    }
    everybody->there[cpu] = change(&everybody->changers[cpu]);
    atomic_fetch_sub(&everybody->machine->changers_left, 1);
}

/* Without a fence, every CPU enters its word as a visitor does. */
static struct machine *machine_new(bool fence)
{
    static const uint8_t cpu_node[CPUS] = {0, 1, 0, 1, 0, 1, 0};
    static const struct pleat_boot_span spans[] = {
        {.start_pfn = 0, .frames = 2 * BLOCK_FRAMES, .node = 0},
        {.start_pfn = 2 * BLOCK_FRAMES, .frames = 2 * BLOCK_FRAMES, .node = 1}};
    const uint64_t highest = (BOOT_BLOCKS + CHANGERS * AREA_BLOCKS) * BLOCK_FRAMES;
    struct pleat_hosted_config hosted = {.frames = highest, .log_levels = 1};
    struct machine *machine = calloc(1, sizeof(*machine));
    assert_non_null(machine);
    const char *seed = getenv("PLEAT_SEED"), *steps = getenv("PLEAT_STEPS");
    machine->seed = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
    machine->cycles = steps ? strtoul(steps, NULL, 0) : 12;
    test_random_seed_runs(machine->seed);
    print_message("# seed %llu\n", (unsigned long long)machine->seed);

    assert_int_equal(pleat_hosted_create(&machine->hosted, &hosted), 0);
    struct pleat_port port = *pleat_hosted_port(machine->hosted);
    struct pleat_config config = {.port = &port,
                                  .cpus = CPUS,
                                  .nodes = 2,
                                  .cpu_node = cpu_node,
                                  .block_pageblocks = (unsigned)(BLOCK_FRAMES / PAGEBLOCK),
                                  .highest_pfn = highest,
                                  .watermark_frames = 16};
    if (!fence)
        port.fence_cpus = NULL;
    map(machine, 0, BOOT_BLOCKS * BLOCK_FRAMES);
    pleat_hosted_cpu_set(0);
    assert_int_equal(pleat_init(&machine->pleat, &config, spans, 2), 0);
    machine->patient = pleat_owner_register(&machine->pleat, "patient", &patient_ops, machine);
    machine->hasty = pleat_owner_register(&machine->pleat, "hasty", &hasty_ops, machine);
    machine->fixed = pleat_owner_register(&machine->pleat, "fixed", NULL, NULL);
    for (unsigned i = 0; i < WORKERS * RECORDS; i++)
        pthread_mutex_init(&machine->records[i / RECORDS][i % RECORDS].lock, NULL);
    return machine;
}

static void machine_end(struct machine *machine)
{
    for (unsigned i = 0; i < WORKERS * RECORDS; i++)
        pthread_mutex_destroy(&machine->records[i / RECORDS][i % RECORDS].lock);
    pleat_hosted_destroy(machine->hosted);
    pleat_hosted_cpu_set(PLEAT_HOSTED_NO_CPU);
    free(machine);
    test_random_seed_done();
}

static void come_and_go(bool fence)
{
    struct machine *machine = machine_new(fence);
    struct everybody *everybody = calloc(1, sizeof(*everybody));
    everybody->machine = machine;
    uint64_t free_before = pleat_free_frames(&machine->pleat);
    for (unsigned i = 0; i < CHANGERS; i++) {
        everybody->changers[i].machine = machine;
        everybody->changers[i].random = machine->seed * 77 + i + 1;
        everybody->changers[i].start_pfn = (BOOT_BLOCKS + i * AREA_BLOCKS) * BLOCK_FRAMES;
    }
    atomic_store(&machine->changers_left, CHANGERS);
    assert_int_equal(pleat_hosted_run_cpus(CPUS, run_cpu, everybody), 0);

    /* Those that are still on their way between two CPUs. */
    for (unsigned i = 0; i < MAILBOXES; i++) {
        struct record *record = atomic_load(&machine->mailbox[i]);
        if (!record)
            continue;
        check_stamps(machine, record->pfn, UINT64_C(1) << record->order, record->id);
        assert_int_equal(pleat_free(&machine->pleat, record->pfn, record->order), 0);
    }
    /* Nobody has anything any more: what could not go, goes now. */
    for (unsigned i = 0; i < CHANGERS; i++) {
        while (everybody->there[i])
            everybody->there[i] = !take_away(&everybody->changers[i]);
    }
    print_message("# %lu allocations, %lu frames moved, %lu gone over by helpers, %lu withheld, "
                  "%lu blocks removed, %lu given up\n",
                  atomic_load(&machine->allocated), atomic_load(&machine->migrated),
                  atomic_load(&machine->helped), atomic_load(&machine->withheld),
                  atomic_load(&machine->removed), atomic_load(&machine->offline_failed));
    assert_int_equal(atomic_load(&machine->broken), 0);
    assert_true(pleat_is_valid(&machine->pleat));
    assert_int_equal(pleat_free_frames(&machine->pleat), free_before);
    assert_true(atomic_load(&machine->removed) > 0);
    assert_true(atomic_load(&machine->withheld) > 0);
    assert_true(atomic_load(&machine->helped) > 0);
    free(everybody);
    machine_end(machine);
}

static void ranges_come_and_go_while_all_cpus_allocate_and_free(void **state)
{
    (void)state;
    come_and_go(true);
}

static void ranges_come_and_go_where_the_port_has_no_fence(void **state)
{
    (void)state;
    come_and_go(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranges_come_and_go_while_all_cpus_allocate_and_free),
                                       cmocka_unit_test(ranges_come_and_go_where_the_port_has_no_fence)};
    return cmocka_run_group_tests_name("core, all at once", tests, NULL, NULL);
}
