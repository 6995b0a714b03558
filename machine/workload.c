/* SPDX-License-Identifier: MIT
 *
 * The workload: slots, stamps, and what the core's calls to the owner of movable frames mean here.
 *
 * A slot holds a block or nothing. Its lock is held for short steps only and never across a call into the
 * core, because the core calls isolate, migrate and putback with locks of its own held:
 *
 *   EMPTY     nothing is held, or what was is on its way back to the core; its CPU may fill the slot anew
 *   HELD      the block is ours, and may be stamped anew
 *   ISOLATED  held, and the core is about to move it: nobody writes to it
 *
 * A CPU frees its own blocks even while they are ISOLATED; the core completes such a free.
 */
#include "machine/workload.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <pleat/hosted.h>

#include "machine/layout.h"
#include "machine/options.h"

#define FRAME_BYTES     (1u << PLEAT_LAYOUT_FRAME_SHIFT)
#define STAMP_WORDS     8u
#define STAMP_STRIDE    (FRAME_BYTES / STAMP_WORDS)
#define MAILBOX_BLOCKS  256u
#define RESTAMP_EVERY   16u
#define SPINS_PER_YIELD 64u
#define SLOT_BITS       32u
/* The core's own counters for what the service thread does stand behind those of the CPUs. */
#define COUNTERS (PLEAT_MACHINE_CPUS_MAX + 1u)

enum slot_state { EMPTY = 0, HELD, ISOLATED };

/* What is held in one allocation. */
struct block {
    uint64_t pfn;
    uint64_t key; /* of its stamp */
    uint8_t order;
    uint8_t flags;
};

struct slot {
    atomic_uint lock;
    uint8_t state; /* enum slot_state */
    struct block block;
};

/* What one thread of the guest has done; only that thread adds. */
struct counters {
    _Alignas(64) atomic_uint_fast64_t operations, allocations, frees, refused, remote_frees;
    atomic_int_fast64_t held[PLEAT_MOBILITIES]; /* may be negative in one thread; the sum isn't */
    atomic_uint_fast64_t migrated, failed_migrations, reclaimed, checked;
};

/* Blocks that other CPUs want freed here. */
struct mailbox {
    pthread_mutex_t lock;
    atomic_uint count;
    struct block blocks[MAILBOX_BLOCKS];
};

/* A CPU's part of the work. */
struct workload_cpu {
    struct slot *slots;
    uint64_t slot_count;
    atomic_uint_fast64_t slots_used; /* those from here on were never used */
    /* The trace: the next operation to look at. The synthetic stream: the next one to do. */
    size_t next;
    struct pleat_synthetic synthetic;
    struct pleat_operation operation;
    uint64_t operation_ns;
    bool has_operation;
    uint64_t pass_start_ns;
    bool started, ended;
    uint64_t next_key, frees_until_remote, until_restamp, restamp_hand;
    atomic_uint_fast64_t passes, late_ns;
    struct mailbox mailbox;
};

struct pleat_workload {
    struct counters *counters; /* [COUNTERS] */
    struct pleat_workload_setup setup;
    char name[128];
    unsigned owner[PLEAT_MOBILITIES];
    struct workload_cpu *cpu; /* [setup.cpus] */
    atomic_uint reclaim_cpu;
    atomic_uint_fast64_t reclaim_slot;
    atomic_uint_fast64_t wrong;
    pthread_mutex_t failure_lock;
    char failure[256]; /* the first one; "" while there is none */
};

static const char *const owner_names[PLEAT_MOBILITIES] = {
    [PLEAT_UNMOVABLE] = "kernel", [PLEAT_RECLAIMABLE] = "slab", [PLEAT_MOVABLE] = "user"};

/* ---- counting ---- */

static struct counters *my_counters(struct pleat_workload *workload)
{
    const unsigned cpu = pleat_hosted_cpu();

    return &workload->counters[cpu < COUNTERS ? cpu : COUNTERS - 1];
}

#define ADD(counter, value) atomic_fetch_add_explicit(&(counter), (value), memory_order_relaxed)

static unsigned mobility_of(const struct block *block)
{
    return block->flags & PLEAT_MOBILITY_MASK;
}

static uint64_t frames_of(const struct block *block)
{
    return UINT64_C(1) << block->order;
}

/* ---- stamps ---- */

static uint64_t mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

static volatile uint64_t *stamp_word(const struct pleat_workload *workload, uint64_t pfn, unsigned word)
{
    return (volatile uint64_t *)(workload->setup.memory + pfn * FRAME_BYTES + word * STAMP_STRIDE);
}

static uint64_t stamp_value(uint64_t key, uint64_t frame, unsigned word)
{
    return key + (frame * STAMP_WORDS + word) * UINT64_C(0x9e3779b97f4a7c15);
}

static void stamp(const struct pleat_workload *workload, const struct block *block)
{
    for (uint64_t frame = 0; frame < frames_of(block); frame++)
        for (unsigned word = 0; word < STAMP_WORDS; word++)
            *stamp_word(workload, block->pfn + frame, word) = stamp_value(block->key, frame, word);
}

static void fail(struct pleat_workload *workload, const char *line)
{
    ADD(workload->wrong, 1);
    pthread_mutex_lock(&workload->failure_lock);
    const bool first = !workload->failure[0];
    if (first)
        snprintf(workload->failure, sizeof workload->failure, "%s", line);
    pthread_mutex_unlock(&workload->failure_lock);
    if (first && workload->setup.broken)
        workload->setup.broken(workload->setup.context, line);
}

/* Is the stamp of the block as it was made? What is wrong is kept and told. */
static bool check(struct pleat_workload *workload, const struct block *block, const char *when)
{
    ADD(my_counters(workload)->checked, 1);
    for (uint64_t frame = 0; frame < frames_of(block); frame++) {
        for (unsigned word = 0; word < STAMP_WORDS; word++) {
            const uint64_t expected = stamp_value(block->key, frame, word);
            const uint64_t found = *stamp_word(workload, block->pfn + frame, word);
            char line[256];
            if (found == expected)
                continue;
            snprintf(line, sizeof line,
                     "%s: frame %" PRIu64 " of the block of order %u at PFN 0x%" PRIx64
                     ", owner \"%s\", holds "
                     "0x%016" PRIx64 " at byte %u, expected 0x%016" PRIx64,
                     when, frame, block->order, block->pfn, owner_names[mobility_of(block)], found,
                     word * STAMP_STRIDE, expected);
            fail(workload, line);
            return false;
        }
    }
    return true;
}

/* ---- slots ---- */

static void lock_slot(struct slot *slot)
{
    for (unsigned spins = 1; atomic_exchange_explicit(&slot->lock, 1, memory_order_acquire); spins++)
        if (spins % SPINS_PER_YIELD == 0)
            pleat_hosted_yield();
}

static void unlock_slot(struct slot *slot)
{
    atomic_store_explicit(&slot->lock, 0, memory_order_release);
}

static struct slot *slot_of_cookie(struct pleat_workload *workload, uint64_t cookie)
{
    const uint64_t cpu = cookie >> SLOT_BITS, number = cookie & ((UINT64_C(1) << SLOT_BITS) - 1);

    if (cpu >= workload->setup.cpus || number >= workload->cpu[cpu].slot_count)
        return NULL;
    return &workload->cpu[cpu].slots[number];
}

/* ---- the owner of movable frames ---- */

static int isolate(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    struct pleat_workload *workload = context;
    struct slot *slot = slot_of_cookie(workload, cookie);

    if (!slot)
        return PLEAT_E_INVALID;
    if (pleat_fault_hits(workload->setup.faults, PLEAT_FAULT_ISOLATE_FAILS, NULL,
                         pleat_clock_now_ns(workload->setup.clock), NULL))
        return PLEAT_E_BUSY;
    lock_slot(slot);
    const bool held = slot->state == HELD && slot->block.pfn == pfn && slot->block.order == order;
    if (held)
        slot->state = ISOLATED;
    unlock_slot(slot);
    return held ? PLEAT_OK : PLEAT_E_BUSY;
}

static int migrate(void *context, uint64_t from_pfn, uint64_t to_pfn, unsigned order, uint64_t cookie)
{
    struct pleat_workload *workload = context;
    struct slot *slot = slot_of_cookie(workload, cookie);
    int error = PLEAT_OK;

    if (!slot)
        return PLEAT_E_INVALID;
    if (pleat_fault_hits(workload->setup.faults, PLEAT_FAULT_MIGRATE_FAILS, NULL,
                         pleat_clock_now_ns(workload->setup.clock), NULL))
        error = PLEAT_E_BUSY;
    lock_slot(slot);
    if (slot->state != ISOLATED || slot->block.pfn != from_pfn || slot->block.order != order)
        error = PLEAT_E_BUSY;
    if (!error) {
        memcpy(workload->setup.memory + to_pfn * FRAME_BYTES, workload->setup.memory + from_pfn * FRAME_BYTES,
               (size_t)FRAME_BYTES << order);
        slot->block.pfn = to_pfn;
        slot->state = HELD;
        check(workload, &slot->block, "after a migration");
    }
    unlock_slot(slot);
    if (error)
        ADD(my_counters(workload)->failed_migrations, 1);
    else
        ADD(my_counters(workload)->migrated, UINT64_C(1) << order);
    return error;
}

static void putback(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    struct slot *slot = slot_of_cookie(context, cookie);

    (void)order;
    if (!slot)
        return;
    lock_slot(slot);
    if (slot->state == ISOLATED && slot->block.pfn == pfn)
        slot->state = HELD;
    unlock_slot(slot);
}

static const struct pleat_owner_ops movable_ops = {isolate, migrate, putback};

/* ---- operations ---- */

static bool fault(struct pleat_workload *workload, enum pleat_fault_place place)
{
    return pleat_fault_hits(workload->setup.faults, place, NULL, pleat_clock_now_ns(workload->setup.clock),
                            NULL);
}

static void allocate(struct pleat_workload *workload, unsigned cpu_number, uint32_t number,
                     const struct pleat_operation *operation)
{
    struct workload_cpu *cpu = &workload->cpu[cpu_number];
    struct slot *slot = &cpu->slots[number];
    struct counters *counters = my_counters(workload);
    struct block block = {.order = operation->order, .flags = operation->flags};
    const uint64_t cookie = (uint64_t)cpu_number << SLOT_BITS | number;

    if (number >= atomic_load_explicit(&cpu->slots_used, memory_order_relaxed))
        atomic_store_explicit(&cpu->slots_used, number + 1, memory_order_release);
    int64_t pfn = fault(workload, PLEAT_FAULT_ALLOCATION_REFUSED)
                      ? PLEAT_E_NO_MEMORY
                      : pleat_alloc(workload->setup.core, block.order, block.flags,
                                    pleat_tag_make(workload->owner[mobility_of(&block)], cookie));
    if (pfn < 0) {
        ADD(counters->refused, 1);
        return;
    }
    block.pfn = (uint64_t)pfn;
    block.key = mix(workload->setup.seed + (uint64_t)cpu_number * UINT64_C(0x100000001b3) + cpu->next_key++);
    stamp(workload, &block);
    lock_slot(slot);
    slot->block = block;
    slot->state = HELD;
    unlock_slot(slot);
    ADD(counters->allocations, 1);
    ADD(counters->held[mobility_of(&block)], (int64_t)frames_of(&block));
}

/* Gives a block that is in nobody's slot any more back to the core. */
static void release(struct pleat_workload *workload, const struct block *block)
{
    struct counters *counters = my_counters(workload);

    check(workload, block, "at free");
    const int error = pleat_free(workload->setup.core, block->pfn, block->order);
    if (error) {
        char line[160];
        snprintf(line, sizeof line, "at free: the core refused PFN 0x%" PRIx64 ", order %u: %s", block->pfn,
                 block->order, pleat_error_text(error));
        fail(workload, line);
    }
    ADD(counters->frees, 1);
    ADD(counters->held[mobility_of(block)], -(int64_t)frames_of(block));
}

/* Takes the block out of the slot; false if there is none. */
static bool take_out(struct slot *slot, unsigned only_mobility, struct block *block)
{
    lock_slot(slot);
    const bool held = (slot->state == HELD || slot->state == ISOLATED) &&
                      (only_mobility == PLEAT_MOBILITIES || mobility_of(&slot->block) == only_mobility);
    if (held) {
        *block = slot->block;
        slot->state = EMPTY;
    }
    unlock_slot(slot);
    return held;
}

/* Puts a block into the next CPU's mailbox; false if there is no room. */
static bool hand_over(struct pleat_workload *workload, unsigned cpu_number, const struct block *block)
{
    struct mailbox *mailbox = &workload->cpu[(cpu_number + 1) % workload->setup.cpus].mailbox;
    bool room;

    pthread_mutex_lock(&mailbox->lock);
    const unsigned count = atomic_load_explicit(&mailbox->count, memory_order_relaxed);
    room = count < MAILBOX_BLOCKS;
    if (room) {
        mailbox->blocks[count] = *block;
        atomic_store_explicit(&mailbox->count, count + 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&mailbox->lock);
    return room;
}

static void empty_mailbox(struct pleat_workload *workload, unsigned cpu_number)
{
    struct mailbox *mailbox = &workload->cpu[cpu_number].mailbox;
    struct block blocks[MAILBOX_BLOCKS];

    if (!atomic_load_explicit(&mailbox->count, memory_order_relaxed))
        return;
    pthread_mutex_lock(&mailbox->lock);
    const unsigned count = atomic_load_explicit(&mailbox->count, memory_order_relaxed);
    memcpy(blocks, mailbox->blocks, count * sizeof blocks[0]);
    atomic_store_explicit(&mailbox->count, 0, memory_order_relaxed);
    pthread_mutex_unlock(&mailbox->lock);
    for (unsigned i = 0; i < count; i++)
        release(workload, &blocks[i]);
    ADD(my_counters(workload)->remote_frees, count);
}

static void free_slot(struct pleat_workload *workload, unsigned cpu_number, uint32_t number)
{
    struct workload_cpu *cpu = &workload->cpu[cpu_number];
    struct slot *slot = &cpu->slots[number];
    struct block block;

    if (!take_out(slot, PLEAT_MOBILITIES, &block))
        return; /* its allocation was refused, or it was reclaimed */
    bool gone = false;
    if (workload->setup.remote_free && workload->setup.cpus > 1 && !--cpu->frees_until_remote) {
        cpu->frees_until_remote = workload->setup.remote_free;
        gone = hand_over(workload, cpu_number, &block);
    }
    if (fault(workload, PLEAT_FAULT_FRAME_LOST)) {
        ADD(my_counters(workload)->held[mobility_of(&block)], -(int64_t)frames_of(&block));
        gone = true;
    }
    if (!gone)
        release(workload, &block);
}

/* Writes to one of the blocks that this CPU holds. */
static void restamp(struct pleat_workload *workload, unsigned cpu_number)
{
    struct workload_cpu *cpu = &workload->cpu[cpu_number];
    const uint64_t used = atomic_load_explicit(&cpu->slots_used, memory_order_relaxed);

    if (!used || --cpu->until_restamp)
        return;
    cpu->until_restamp = RESTAMP_EVERY;
    cpu->restamp_hand = (cpu->restamp_hand + 1) % used;
    struct slot *slot = &cpu->slots[cpu->restamp_hand];
    lock_slot(slot);
    if (slot->state == HELD) {
        check(workload, &slot->block, "while held");
        slot->block.key = mix(slot->block.key);
        stamp(workload, &slot->block);
        if (fault(workload, PLEAT_FAULT_FRAME_TORN))
            *stamp_word(workload, slot->block.pfn, STAMP_WORDS / 2) ^= 1;
    }
    unlock_slot(slot);
}

static void do_operation(struct pleat_workload *workload, unsigned cpu_number, uint32_t number,
                         const struct pleat_operation *operation)
{
    if (operation->is_free)
        free_slot(workload, cpu_number, number);
    else
        allocate(workload, cpu_number, number, operation);
    ADD(my_counters(workload)->operations, 1);
    restamp(workload, cpu_number);
}

/* ---- the stream ---- */

/* Makes sure that the CPU's next operation is there; false at the end of the stream. */
static bool find_next(struct pleat_workload *workload, unsigned cpu_number)
{
    struct workload_cpu *cpu = &workload->cpu[cpu_number];
    const struct pleat_operations *operations = workload->setup.operations;

    if (cpu->has_operation)
        return true;
    if (workload->setup.synthetic) {
        cpu->has_operation = !pleat_synthetic_next(&cpu->synthetic, &cpu->operation, &cpu->operation_ns);
        return cpu->has_operation;
    }
    for (; cpu->next < operations->count; cpu->next++) {
        if (operations->items[cpu->next].slot % workload->setup.cpus != cpu_number)
            continue;
        cpu->operation = operations->items[cpu->next];
        cpu->operation.slot /= workload->setup.cpus;
        cpu->operation_ns = operations->time_ns[cpu->next];
        cpu->next++;
        cpu->has_operation = true;
        return true;
    }
    return false;
}

/* The end of the stream: everything is freed, and it begins again where it shall. */
static void end_pass(struct pleat_workload *workload, unsigned cpu_number, uint64_t now_ns)
{
    struct workload_cpu *cpu = &workload->cpu[cpu_number];

    const uint64_t used = atomic_load_explicit(&cpu->slots_used, memory_order_relaxed);

    ADD(cpu->passes, 1);
    /* A CPU that found nothing to do in the whole stream won't the next time either. */
    if (!workload->setup.repeat || workload->setup.synthetic || !used) {
        cpu->ended = true;
        return;
    }
    for (uint64_t number = 0; number < used; number++)
        free_slot(workload, cpu_number, (uint32_t)number);
    cpu->next = 0;
    cpu->pass_start_ns = now_ns;
}

static uint64_t due_ns(const struct pleat_workload *workload, const struct workload_cpu *cpu)
{
    if (!workload->setup.speed_ppm)
        return 0;
    return cpu->pass_start_ns +
           (uint64_t)((unsigned __int128)cpu->operation_ns * PLEAT_PPM / workload->setup.speed_ppm);
}

uint64_t pleat_workload_run(struct pleat_workload *workload, unsigned cpu_number, uint64_t operations)
{
    if (cpu_number >= workload->setup.cpus)
        return UINT64_MAX;
    struct workload_cpu *cpu = &workload->cpu[cpu_number];
    const uint64_t now_ns = pleat_clock_now_ns(workload->setup.clock);

    if (!cpu->started) {
        cpu->started = true;
        cpu->pass_start_ns = now_ns;
    }
    empty_mailbox(workload, cpu_number);
    while (!cpu->ended) {
        if (!find_next(workload, cpu_number)) {
            end_pass(workload, cpu_number, now_ns);
            continue;
        }
        const uint64_t due = due_ns(workload, cpu);
        atomic_store_explicit(&cpu->late_ns, due && due < now_ns ? now_ns - due : 0, memory_order_relaxed);
        if (due > now_ns)
            return due;
        if (!operations--)
            return now_ns;
        cpu->has_operation = false;
        if (cpu->operation.slot < cpu->slot_count)
            do_operation(workload, cpu_number, cpu->operation.slot, &cpu->operation);
    }
    return UINT64_MAX;
}

uint64_t pleat_workload_reclaim(struct pleat_workload *workload, uint64_t frames)
{
    uint64_t reclaimed = 0;

    /* Once round all slots at the most, on from where the last call ended. */
    for (unsigned turns = 0; turns <= workload->setup.cpus && reclaimed < frames; turns++) {
        struct workload_cpu *cpu = &workload->cpu[atomic_load(&workload->reclaim_cpu) % workload->setup.cpus];
        const uint64_t used = atomic_load_explicit(&cpu->slots_used, memory_order_acquire);
        uint64_t number;
        while ((number = atomic_fetch_add(&workload->reclaim_slot, 1)) < used && reclaimed < frames) {
            struct slot *slot = &cpu->slots[number];
            struct block block;
            if (!take_out(slot, PLEAT_RECLAIMABLE, &block))
                continue;
            release(workload, &block);
            reclaimed += frames_of(&block);
        }
        if (number >= used) {
            atomic_store(&workload->reclaim_slot, 0);
            atomic_fetch_add(&workload->reclaim_cpu, 1);
        }
    }
    ADD(my_counters(workload)->reclaimed, reclaimed);
    return reclaimed;
}

/* ---- the end ---- */

static int compare_blocks(const void *left, const void *right)
{
    const struct block *a = left, *b = right;

    return a->pfn < b->pfn ? -1 : a->pfn > b->pfn;
}

/* All that is held, mailboxes included, sorted by PFN; *count of them, or NULL without memory. */
static struct block *collect(struct pleat_workload *workload, size_t *count)
{
    size_t room = 1;

    for (unsigned i = 0; i < workload->setup.cpus; i++)
        room += workload->cpu[i].slots_used + MAILBOX_BLOCKS;
    struct block *blocks = malloc(room * sizeof *blocks);
    *count = 0;
    for (unsigned i = 0; blocks && i < workload->setup.cpus; i++) {
        struct workload_cpu *cpu = &workload->cpu[i];
        for (uint64_t number = 0; number < cpu->slots_used; number++)
            if (cpu->slots[number].state != EMPTY)
                blocks[(*count)++] = cpu->slots[number].block;
        for (unsigned n = 0; n < cpu->mailbox.count; n++)
            blocks[(*count)++] = cpu->mailbox.blocks[n];
    }
    if (blocks)
        qsort(blocks, *count, sizeof *blocks, compare_blocks);
    return blocks;
}

int pleat_workload_check(struct pleat_workload *workload, uint64_t *held_frames,
                         struct pleat_message *message)
{
    size_t count;
    struct block *blocks = collect(workload, &count);

    *held_frames = 0;
    if (!blocks)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
    for (size_t i = 0; i < count; i++) {
        *held_frames += frames_of(&blocks[i]);
        if (i && blocks[i - 1].pfn + frames_of(&blocks[i - 1]) > blocks[i].pfn) {
            char line[160];
            snprintf(line, sizeof line, "at the end: the frame at PFN 0x%" PRIx64 " is held twice",
                     blocks[i].pfn);
            fail(workload, line);
        }
        check(workload, &blocks[i], "at the end");
    }
    free(blocks);
    if (workload->failure[0])
        return pleat_message_set(message, PLEAT_E_PROTOCOL, "%s", workload->failure);
    return PLEAT_OK;
}

void pleat_workload_info(struct pleat_workload *workload, struct pleat_workload_info *info)
{
    memset(info, 0, sizeof *info);
    memcpy(info->name, workload->name, sizeof info->name);
    int64_t held[PLEAT_MOBILITIES] = {0};
    for (unsigned i = 0; i < COUNTERS; i++) {
        struct counters *counters = &workload->counters[i];
        info->operations += counters->operations;
        info->allocations += counters->allocations;
        info->frees += counters->frees;
        info->refused_allocations += counters->refused;
        info->remote_frees += counters->remote_frees;
        info->migrated_frames += counters->migrated;
        info->failed_migrations += counters->failed_migrations;
        info->reclaimed_frames += counters->reclaimed;
        info->stamps_checked += counters->checked;
        for (unsigned mobility = 0; mobility < PLEAT_MOBILITIES; mobility++)
            held[mobility] += counters->held[mobility];
    }
    for (unsigned mobility = 0; mobility < PLEAT_MOBILITIES; mobility++)
        info->held_frames[mobility] = held[mobility] > 0 ? (uint64_t)held[mobility] : 0;
    info->stamps_wrong = workload->wrong;
    info->passes = UINT64_MAX;
    for (unsigned i = 0; i < workload->setup.cpus; i++) {
        if (workload->cpu[i].passes < info->passes)
            info->passes = workload->cpu[i].passes;
        if (workload->cpu[i].late_ns > info->late_ns)
            info->late_ns = workload->cpu[i].late_ns;
    }
}

/* ---- making it ---- */

static int begin_cpu(struct pleat_workload *workload, unsigned cpu_number, struct pleat_message *message)
{
    const struct pleat_workload_setup *setup = &workload->setup;
    struct workload_cpu *cpu = &workload->cpu[cpu_number];

    pthread_mutex_init(&cpu->mailbox.lock, NULL);
    cpu->frees_until_remote = setup->remote_free;
    cpu->until_restamp = RESTAMP_EVERY;
    if (setup->synthetic) {
        struct pleat_synthetic_config config = *setup->synthetic;
        /* Each CPU has its share of the memory and of the rate; handing over is done here. */
        config.cpus = 1;
        config.remote_ppm = 0;
        config.rate_per_second = config.rate_per_second / setup->cpus + 1;
        config.seed += cpu_number;
        cpu->slot_count = setup->frames / setup->cpus + 1;
        int error = pleat_synthetic_begin(&cpu->synthetic, &config, setup->frames / setup->cpus, message);
        if (error)
            return error;
    } else {
        cpu->slot_count = setup->operations->slots / setup->cpus + 1;
    }
    /* Only the slots that are used take host memory. */
    cpu->slots = mmap(NULL, cpu->slot_count * sizeof *cpu->slots, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cpu->slots == MAP_FAILED) {
        cpu->slots = NULL;
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "workload: %s",
                                 pleat_error_text(PLEAT_E_NO_MEMORY));
    }
    return PLEAT_OK;
}

int pleat_workload_create(const struct pleat_workload_setup *setup, struct pleat_workload **result,
                          struct pleat_message *message)
{
    struct pleat_workload *workload = calloc(1, sizeof *workload);
    int error = PLEAT_OK;

    *result = NULL;
    if (workload) {
        workload->cpu = calloc(setup->cpus, sizeof *workload->cpu);
        workload->counters = aligned_alloc(_Alignof(struct counters), COUNTERS * sizeof *workload->counters);
    }
    if (!workload || !workload->cpu || !workload->counters) {
        if (workload) {
            free(workload->cpu);
            free(workload->counters);
        }
        free(workload);
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "workload: %s",
                                 pleat_error_text(PLEAT_E_NO_MEMORY));
    }
    memset(workload->counters, 0, COUNTERS * sizeof *workload->counters);
    workload->setup = *setup;
    snprintf(workload->name, sizeof workload->name, "%s", setup->name);
    workload->setup.name = workload->name;
    pthread_mutex_init(&workload->failure_lock, NULL);
    for (unsigned i = 0; i < setup->cpus && !error; i++)
        error = begin_cpu(workload, i, message);
    for (unsigned mobility = 0; mobility < PLEAT_MOBILITIES && !error; mobility++) {
        const int owner = pleat_owner_register(setup->core, owner_names[mobility],
                                               mobility == PLEAT_MOVABLE ? &movable_ops : NULL, workload);
        if (owner < 0)
            error = pleat_message_set(message, owner, "workload: no owner's number is left");
        else
            workload->owner[mobility] = (unsigned)owner;
    }
    if (error) {
        pleat_workload_destroy(workload);
        return error;
    }
    *result = workload;
    return PLEAT_OK;
}

void pleat_workload_destroy(struct pleat_workload *workload)
{
    if (!workload)
        return;
    for (unsigned i = 0; i < workload->setup.cpus; i++) {
        struct workload_cpu *cpu = &workload->cpu[i];
        pleat_synthetic_end(&cpu->synthetic);
        pthread_mutex_destroy(&cpu->mailbox.lock);
        if (cpu->slots)
            munmap(cpu->slots, cpu->slot_count * sizeof *cpu->slots);
    }
    pthread_mutex_destroy(&workload->failure_lock);
    free(workload->counters);
    free(workload->cpu);
    free(workload);
}
