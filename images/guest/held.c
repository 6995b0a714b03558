/* SPDX-License-Identifier: MIT
 *
 * The table of what is held, and what the core's calls to the owner of movable frames mean here. See held.h.
 */
#include "held.h"

#include "pleat_port.h"

#include "ports/bare/print.h"
#include "random.h"

#define STAMP_WORDS 8u
/* Chunks of every frame size are used as if frames were the smallest. */
#define SLOTS_PER_CHUNK ((PLEAT_PAGEBLOCK_FRAMES << 12) / sizeof(struct held_slot))

/* The word of a slot. */
#define LOCKED         1u
#define STATE_SHIFT    1u
#define STATE_MASK     (7u << STATE_SHIFT)
#define ORDER_SHIFT    4u
#define ORDER_MASK     (15u << ORDER_SHIFT)
#define MOBILITY_SHIFT 8u
#define MOBILITY_MASK  (3u << MOBILITY_SHIFT)

enum slot_state { UNUSED = 0, EMPTY, HELD, ISOLATED, FREEING };

static const char *const owner_names[HELD_MOBILITIES] = {
    [PLEAT_UNMOVABLE] = "kernel", [PLEAT_RECLAIMABLE] = "slab", [PLEAT_MOVABLE] = "user"};

#define ADD(counter, value) atomic_fetch_add_explicit(&(counter), (value), memory_order_relaxed)
#define GET(counter)        atomic_load_explicit(&(counter), memory_order_relaxed)

static struct held_counters *my_counters(struct held *held)
{
    return &held->counters[pleat_port_cpu()];
}

static struct held_slot *slot_of(const struct held *held, uint64_t number)
{
    return &held->chunks[number / SLOTS_PER_CHUNK][number % SLOTS_PER_CHUNK];
}

/* --- a slot's word ----------------------------------------------------------------------------------------
 */

/* Returns the word as it was, without the lock. */
static unsigned lock(struct held_slot *slot)
{
    unsigned word;

    while ((word = atomic_fetch_or_explicit(&slot->word, LOCKED, memory_order_acquire)) & LOCKED)
        pleat_port_pause();
    return word;
}

/* Leaves the slot with this word. */
static void unlock(struct held_slot *slot, unsigned word)
{
    atomic_store_explicit(&slot->word, word, memory_order_release);
}

static enum slot_state state_of(unsigned word)
{
    return (enum slot_state)((word & STATE_MASK) >> STATE_SHIFT);
}

static unsigned with_state(unsigned word, enum slot_state state)
{
    return (word & ~STATE_MASK) | (unsigned)state << STATE_SHIFT;
}

static unsigned order_of(unsigned word)
{
    return (word & ORDER_MASK) >> ORDER_SHIFT;
}

static unsigned mobility_of(unsigned word)
{
    return (word & MOBILITY_MASK) >> MOBILITY_SHIFT;
}

/* --- stamps -----------------------------------------------------------------------------------------------
 */

static uint64_t key_of(const struct held *held, uint64_t number, uint32_t generation)
{
    return random_mix(held->seed ^ (number << 32 | generation));
}

static struct held_block block_of(const struct held *held, uint64_t number, const struct held_slot *slot,
                                  unsigned word)
{
    return (struct held_block){.pfn = slot->pfn,
                               .key = key_of(held, number, slot->generation),
                               .order = (uint8_t)order_of(word),
                               .mobility = (uint8_t)mobility_of(word)};
}

static volatile uint64_t *words_of(const struct held *held, uint64_t pfn)
{
    return held->port->frame_pointer(held->port->context, pfn);
}

static uint64_t stamp_value(uint64_t key, uint64_t index)
{
    return key + index * UINT64_C(0x9e3779b97f4a7c15);
}

/* Stamp word `index` of a block is so many words behind its start. */
static uint64_t stamp_offset(const struct held *held, uint64_t index)
{
    return index * (held->frame_bytes / STAMP_WORDS / sizeof(uint64_t));
}

static void stamp(const struct held *held, const struct held_block *block)
{
    volatile uint64_t *words = words_of(held, block->pfn);

    for (uint64_t index = 0; index < (uint64_t)STAMP_WORDS << block->order; index++)
        words[stamp_offset(held, index)] = stamp_value(block->key, index);
}

static void fail(struct held *held, const char *line)
{
    ADD(held->wrong, 1);
    while (atomic_exchange_explicit(&held->failure_lock, 1, memory_order_acquire))
        pleat_port_pause();
    const bool first = !held->failure[0];
    if (first)
        format_text(held->failure, sizeof held->failure, "%s", line);
    atomic_store_explicit(&held->failure_lock, 0, memory_order_release);
    if (first)
        print("content: %s\n", line);
}

static bool check(struct held *held, const struct held_block *block, const char *when)
{
    volatile const uint64_t *words = words_of(held, block->pfn);

    ADD(my_counters(held)->checked, 1);
    for (uint64_t index = 0; index < (uint64_t)STAMP_WORDS << block->order; index++) {
        const uint64_t expected = stamp_value(block->key, index);
        const uint64_t found = words[stamp_offset(held, index)];
        char line[HELD_LINE_BYTES];
        if (found == expected)
            continue;
        format_text(
            line, sizeof line,
            "%s: PFN 0x%lx of a block of order %u, owner \"%s\", holds 0x%016lx at byte %lu, expected "
            "0x%016lx",
            when, block->pfn + index / STAMP_WORDS, block->order, owner_names[block->mobility], found,
            index % STAMP_WORDS * (held->frame_bytes / STAMP_WORDS), expected);
        fail(held, line);
        return false;
    }
    return true;
}

/* --- the owner of movable frames --------------------------------------------------------------------------
 */

static struct held_slot *slot_of_cookie(const struct held *held, uint64_t cookie)
{
    return cookie < held->slots ? slot_of(held, cookie) : NULL;
}

static int isolate(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    struct held_slot *slot = slot_of_cookie(context, cookie);

    if (!slot)
        return PLEAT_E_INVALID;
    const unsigned word = lock(slot);
    const bool held = state_of(word) == HELD && slot->pfn == pfn && order_of(word) == order;
    unlock(slot, held ? with_state(word, ISOLATED) : word);
    return held ? PLEAT_OK : PLEAT_E_BUSY;
}

/* Eight words a turn: under emulation, three times as fast as one instruction that copies all. */
static void copy(uint64_t *to, const uint64_t *from, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes / sizeof(*to); i += 8) {
        const uint64_t a = from[i], b = from[i + 1], c = from[i + 2], d = from[i + 3];
        const uint64_t e = from[i + 4], f = from[i + 5], g = from[i + 6], h = from[i + 7];
        to[i] = a;
        to[i + 1] = b;
        to[i + 2] = c;
        to[i + 3] = d;
        to[i + 4] = e;
        to[i + 5] = f;
        to[i + 6] = g;
        to[i + 7] = h;
    }
}

static int migrate(void *context, uint64_t from_pfn, uint64_t to_pfn, unsigned order, uint64_t cookie)
{
    struct held *held = context;
    struct held_slot *slot = slot_of_cookie(held, cookie);

    if (!slot)
        return PLEAT_E_INVALID;
    const unsigned word = lock(slot);
    if (state_of(word) != ISOLATED || slot->pfn != from_pfn || order_of(word) != order) {
        unlock(slot, word);
        ADD(my_counters(held)->failed_migrations, 1);
        return PLEAT_E_BUSY;
    }
    copy(held->port->frame_pointer(held->port->context, to_pfn),
         held->port->frame_pointer(held->port->context, from_pfn), held->frame_bytes << order);
    slot->pfn = to_pfn;
    const struct held_block block = block_of(held, cookie, slot, word);
    check(held, &block, "after a migration");
    unlock(slot, with_state(word, HELD));
    ADD(my_counters(held)->migrated_frames, UINT64_C(1) << order);
    return PLEAT_OK;
}

static void putback(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    struct held_slot *slot = slot_of_cookie(context, cookie);

    (void)order;
    if (!slot)
        return;
    const unsigned word = lock(slot);
    unlock(slot, state_of(word) == ISOLATED && slot->pfn == pfn ? with_state(word, HELD) : word);
}

static const struct pleat_owner_ops movable_ops = {
    .isolate = isolate, .migrate = migrate, .putback = putback};

/* --- setting up -------------------------------------------------------------------------------------------
 */

int held_begin(struct held *held, struct pleat *core, const struct pleat_port *port, uint64_t seed)
{
    held->core = core;
    held->port = port;
    held->seed = seed;
    held->frame_bytes = UINT64_C(1) << pleat_frame_shift(core);
    for (unsigned mobility = 0; mobility < HELD_MOBILITIES; mobility++) {
        const int owner = pleat_owner_register(core, owner_names[mobility],
                                               mobility == PLEAT_MOVABLE ? &movable_ops : NULL, held);
        if (owner < 0)
            return owner;
        held->owner[mobility] = (unsigned)owner;
    }
    return PLEAT_OK;
}

int held_reserve(struct held *held, uint32_t slots)
{
    while (held->slots < slots) {
        const int64_t pfn = held->chunk_count < HELD_CHUNKS
                                ? pleat_alloc(held->core, HELD_CHUNK_ORDER, PLEAT_UNMOVABLE,
                                              pleat_tag_make(held->owner[PLEAT_UNMOVABLE], 0))
                                : PLEAT_E_NO_MEMORY;
        if (pfn < 0)
            return (int)pfn;
        struct held_slot *chunk = held->port->frame_pointer(held->port->context, (uint64_t)pfn);
        __builtin_memset(chunk, 0, SLOTS_PER_CHUNK * sizeof(struct held_slot));
        held->chunk_pfns[held->chunk_count] = (uint64_t)pfn;
        held->chunks[held->chunk_count++] = chunk;
        held->slots += SLOTS_PER_CHUNK;
    }
    return PLEAT_OK;
}

void held_end(struct held *held)
{
    while (held->chunk_count)
        (void)pleat_free(held->core, held->chunk_pfns[--held->chunk_count], HELD_CHUNK_ORDER);
    held->slots = 0;
    atomic_store(&held->used, 0);
}

uint64_t held_table_frames(const struct held *held)
{
    return (uint64_t)held->chunk_count << HELD_CHUNK_ORDER;
}

/* --- holding ----------------------------------------------------------------------------------------------
 */

static void note_use(struct held *held, uint32_t number)
{
    unsigned used = GET(held->used);

    while (number >= used && !atomic_compare_exchange_weak_explicit(
                                 &held->used, &used, number + 1, memory_order_release, memory_order_relaxed))
        ;
}

bool held_allocate(struct held *held, uint32_t number, unsigned order, unsigned mobility)
{
    struct held_slot *slot = slot_of(held, number);
    struct held_counters *counters = my_counters(held);
    unsigned word = order << ORDER_SHIFT | mobility << MOBILITY_SHIFT;

    note_use(held, number);
    const int64_t pfn =
        pleat_alloc(held->core, order, mobility, pleat_tag_make(held->owner[mobility], number));
    if (pfn < 0) {
        ADD(counters->refused, 1);
        (void)lock(slot);
        unlock(slot, with_state(word, EMPTY));
        return false;
    }
    struct held_block block = {.pfn = (uint64_t)pfn,
                               .key = key_of(held, number, slot->generation + 1),
                               .order = (uint8_t)order,
                               .mobility = (uint8_t)mobility};
    stamp(held, &block);
    (void)lock(slot);
    slot->generation++;
    slot->pfn = block.pfn;
    unlock(slot, with_state(word, HELD));
    ADD(counters->allocations, 1);
    ADD(counters->held[mobility], (int64_t)1 << order);
    return true;
}

void held_release(struct held *held, const struct held_block *block)
{
    struct held_counters *counters = my_counters(held);

    check(held, block, "at free");
    const int error = pleat_free(held->core, block->pfn, block->order);
    if (error) {
        char line[HELD_LINE_BYTES];
        format_text(line, sizeof line, "at free: the core refused PFN 0x%lx, order %u: %s", block->pfn,
                    block->order, pleat_error_text(error));
        fail(held, line);
    }
    ADD(counters->frees, 1);
    ADD(counters->held[block->mobility], -((int64_t)1 << block->order));
}

/* Takes the block out, and leaves the slot in this state. */
static bool take_out(struct held *held, uint32_t number, unsigned only, enum slot_state then,
                     struct held_block *block)
{
    struct held_slot *slot = slot_of(held, number);
    unsigned word = lock(slot);
    const bool is_held = (state_of(word) == HELD || state_of(word) == ISOLATED) &&
                         (only == HELD_MOBILITIES || mobility_of(word) == only);

    if (is_held) {
        *block = block_of(held, number, slot, word);
        word = with_state(word, then);
    }
    unlock(slot, word);
    return is_held;
}

bool held_take_out(struct held *held, uint32_t slot, struct held_block *block)
{
    return take_out(held, slot, HELD_MOBILITIES, EMPTY, block);
}

static void set_state(struct held *held, uint32_t number, enum slot_state state)
{
    struct held_slot *slot = slot_of(held, number);
    const unsigned word = lock(slot);

    unlock(slot, with_state(word, state));
}

static bool free_only(struct held *held, uint32_t number, unsigned only)
{
    struct held_block block;

    if (!take_out(held, number, only, FREEING, &block))
        return false;
    held_release(held, &block);
    set_state(held, number, EMPTY);
    return true;
}

bool held_free(struct held *held, uint32_t slot)
{
    return free_only(held, slot, HELD_MOBILITIES);
}

void held_forget(struct held *held, uint32_t number, uint64_t note)
{
    struct held_slot *slot = slot_of(held, number);
    const unsigned word = lock(slot);

    slot->pfn = note;
    unlock(slot, with_state(word, UNUSED));
}

uint64_t held_note(const struct held *held, uint32_t slot)
{
    return slot_of(held, slot)->pfn;
}

bool held_is_unused(const struct held *held, uint32_t slot)
{
    return state_of(GET(slot_of(held, slot)->word)) == UNUSED;
}

uint64_t held_pfn(const struct held *held, uint32_t slot)
{
    return ((volatile const struct held_slot *)slot_of(held, slot))->pfn;
}

unsigned held_order(const struct held *held, uint32_t slot)
{
    return order_of(GET(slot_of(held, slot)->word));
}

unsigned held_mobility(const struct held *held, uint32_t slot)
{
    return mobility_of(GET(slot_of(held, slot)->word));
}

void held_restamp(struct held *held, uint32_t number)
{
    struct held_slot *slot = slot_of(held, number);
    const unsigned word = lock(slot);

    if (state_of(word) == HELD) {
        struct held_block block = block_of(held, number, slot, word);
        check(held, &block, "while held");
        slot->generation++;
        block = block_of(held, number, slot, word);
        stamp(held, &block);
    }
    unlock(slot, word);
}

uint64_t held_reclaim(struct held *held, uint64_t frames)
{
    const uint32_t used = atomic_load_explicit(&held->used, memory_order_acquire);
    uint64_t reclaimed = 0;

    for (uint32_t i = 0; i < used && reclaimed < frames; i++) {
        const uint32_t number = ADD(held->reclaim_hand, 1) % used;
        if (held_mobility(held, number) == PLEAT_RECLAIMABLE && free_only(held, number, PLEAT_RECLAIMABLE))
            reclaimed += UINT64_C(1) << held_order(held, number);
    }
    ADD(my_counters(held)->reclaimed_frames, reclaimed);
    return reclaimed;
}

/* --- the end ----------------------------------------------------------------------------------------------
 */

bool held_check(struct held *held)
{
    const uint32_t used = GET(held->used);

    for (uint32_t number = 0; number < used; number++) {
        const struct held_slot *slot = slot_of(held, number);
        const unsigned word = GET(slot->word);
        if (state_of(word) != HELD && state_of(word) != ISOLATED)
            continue;
        const struct held_block block = block_of(held, number, slot, word);
        check(held, &block, "at the end");
    }
    return GET(held->wrong) == 0;
}

void held_free_all(struct held *held)
{
    const uint32_t used = GET(held->used);

    for (uint32_t number = 0; number < used; number++)
        (void)held_free(held, number);
}

void held_sum(const struct held *held, struct held_sums *sums)
{
    int64_t frames[HELD_MOBILITIES] = {0};

    *sums = (struct held_sums){.wrong = GET(held->wrong)};
    for (unsigned i = 0; i < PLEAT_MAX_CPUS; i++) {
        const struct held_counters *counters = &held->counters[i];
        sums->allocations += GET(counters->allocations);
        sums->frees += GET(counters->frees);
        sums->refused += GET(counters->refused);
        sums->migrated_frames += GET(counters->migrated_frames);
        sums->failed_migrations += GET(counters->failed_migrations);
        sums->reclaimed_frames += GET(counters->reclaimed_frames);
        sums->checked += GET(counters->checked);
        for (unsigned mobility = 0; mobility < HELD_MOBILITIES; mobility++)
            frames[mobility] += GET(counters->held[mobility]);
    }
    for (unsigned mobility = 0; mobility < HELD_MOBILITIES; mobility++)
        sums->held_frames[mobility] = frames[mobility] > 0 ? (uint64_t)frames[mobility] : 0;
}
