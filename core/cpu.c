/* SPDX-License-Identifier: MIT
 *
 * Caches and slots of the CPUs: filling, emptying, draining. See cpu.h for the protocol.
 */
#include "cpu.h"

#include "bits.h"
#include "check.h"

/* --- entering ------------------------------------------------------------------------------------------ */

_Noreturn void cpu_misuse(struct core *core, const char *line)
{
    if (core->port.fatal)
        core->port.fatal(core->port.context, line);
    __builtin_trap();
}

void word_wait(struct cpu *cpu)
{
    do {
        while (atomic_load_explicit(&cpu->word, memory_order_relaxed))
            pleat_port_pause();
    } while (atomic_exchange_explicit(&cpu->word, 1, memory_order_acquire));
}

/* Enters each CPU's word in turn and does `work` there, if there is any. */
static void visit_all(struct core *core, void (*work)(struct core *core, struct cpu *cpu, bool only_isolated),
                      bool only_isolated)
{
    atomic_fetch_add(&core->visitors, 1);
    if (core->port.fence_cpus)
        core->port.fence_cpus(core->port.context);
    for (unsigned i = 0; i < core->cpu_count; i++) {
        struct cpu *cpu = &core->cpus[i];

        /* Pinned, so that nothing on this CPU waits for a word that this thread holds. */
        pleat_port_pin();
        word_take(cpu);
        while (atomic_load_explicit(&cpu->inside, memory_order_acquire))
            pleat_port_pause();
        if (work)
            work(core, cpu, only_isolated);
        word_give(cpu);
        pleat_port_unpin();
    }
    atomic_fetch_sub_explicit(&core->visitors, 1, memory_order_release);
}

/* --- frames back to their pageblocks ------------------------------------------------------------------- */

static void prefetch(struct core *core, uint64_t pfn)
{
    uint64_t entry = entry_of(core, pfn);
    unsigned char *hot = entry_hot(core, entry);
    uint64_t offset = pfn & (block_frames(core) - 1);

    __builtin_prefetch(hot + offset / 8, 1);
    __builtin_prefetch(hot + core->words_offset + offset / FRAMES * sizeof(uint32_t), 1);
}

void frames_return(struct core *core, struct cpu *cpu, const uint64_t *pfn, unsigned frames)
{
    unsigned i = 0;

    for (unsigned k = 0; k < frames; k++)
        prefetch(core, pfn[k]);
    while (i < frames) {
        uint64_t first = pfn[i] / FRAMES;
        struct block *block = block_of(core, pfn[i]);
        unsigned pageblock = (unsigned)(first & (core->block_pageblocks - 1));
        unsigned count = 0, order = 0;

        /* Neighbours in the cache are often neighbours in memory: one step for all in a word, one count for
         * all in a pageblock. */
        while (i < frames && pfn[i] / FRAMES == first) {
            uint64_t place = pfn[i] / 64;
            uint64_t mask = 0, old;
            unsigned run;

            while (i < frames && pfn[i] / 64 == place)
                mask |= (uint64_t)1 << (pfn[i++] % 64);
            old = atomic_fetch_and_explicit(&block_bits(block, pageblock)[place % WORD_COUNT], ~mask,
                                            memory_order_seq_cst);
            CHECK((old & mask) == mask);
            count += word_count(mask);
            run = largest_run_in_word(old & ~mask);
            if (run == 6)
                run = bits_largest_run(block_bits(block, pageblock));
            order = run > order ? run : order;
        }
        pageblock_return(block, pageblock, count, order);
    }
    cpu_count_free(cpu, frames);
}

/* --- slots --------------------------------------------------------------------------------------------- */

void slot_release(struct cpu *cpu, struct slot *slot)
{
    struct block *block = slot->block;
    unsigned pageblock = slot->pageblock;
    uint32_t count = counter_get(&slot->count);
    uint32_t old, now;

    if (!block)
        return;
    old = pageblock_word(block, pageblock);
    do {
        unsigned order = bits_largest_run(block_bits(block, pageblock));

        now = (old + count) & ~(WORD_OWNED | 15u << WORD_HINT_SHIFT);
        if (WORD_FREE_COUNT(now) == FRAMES) {
            order = PLEAT_PAGEBLOCK_ORDER;
            /* Nobody else can open it while it is ours. */
            block_unmovable_clear(block, pageblock);
        }
        now = word_classified(now | (uint32_t)order << WORD_HINT_SHIFT);
        CHECK(word_is_valid(now));
    } while (!atomic_compare_exchange_weak(&block->words[pageblock], &old, now));
    index_move(block, pageblock, old, now);
    counter_set(&slot->count, 0);
    slot->block = NULL;
    if (cpu)
        cpu_count_free(cpu, count);
}

/* Frames that were freed into the slot's pageblock since it was taken. */
static bool slot_regain(struct cpu *cpu, struct slot *slot)
{
    uint32_t old = atomic_fetch_and_explicit(&slot->block->words[slot->pageblock], ~WORD_COUNT_MASK,
                                             memory_order_acquire);
    uint32_t count = WORD_FREE_COUNT(old);

    counter_set(&slot->count, counter_get(&slot->count) + count);
    cpu_count_free(cpu, -(int64_t)count);
    return count != 0;
}

int64_t slot_take(struct core *core, struct slot *slot, unsigned order)
{
    uint32_t count = counter_get(&slot->count);
    _Atomic uint64_t *bits;
    unsigned place;

    if (!slot->block || count < 1u << order)
        return PLEAT_E_NO_MEMORY;
    bits = block_bits(slot->block, slot->pageblock);
    place = bits_find_run(bits, order, slot->cursor);
    if (place == FRAMES)
        return PLEAT_E_NO_MEMORY;
    if (bits_set_run(bits, place, order))
        CHECK(false);
    slot->cursor = place / 64;
    counter_set(&slot->count, count - (1u << order));
    return (int64_t)(block_start(core, slot->block) + (uint64_t)slot->pageblock * FRAMES + place);
}

/* --- finding a pageblock for a slot -------------------------------------------------------------------- */

static const uint8_t zones_movable[] = {PLEAT_ZONE_MOVABLE, PLEAT_ZONE_PREFER_MOVABLE, PLEAT_ZONE_NORMAL,
                                        PLEAT_ZONE_DMA32, PLEAT_ZONE_DMA};

struct zone *wish_zone(struct core *core, const struct wish *wish, unsigned node, unsigned *at)
{
    static const uint8_t zones_unmovable[] = {PLEAT_ZONE_NORMAL, PLEAT_ZONE_PREFER_MOVABLE, PLEAT_ZONE_DMA32,
                                              PLEAT_ZONE_DMA};
    bool movable = wish->mobility == PLEAT_MOVABLE;
    const uint8_t *kinds = movable ? zones_movable : zones_unmovable;
    unsigned count = movable ? sizeof(zones_movable) : sizeof(zones_unmovable);

    while (*at < count) {
        struct zone *zone = &core->zones[node * PLEAT_ZONE_KINDS + kinds[*at]];

        ++*at;
        if (zone->kind <= wish->zone_limit && atomic_load_explicit(&zone->blocks, memory_order_relaxed))
            return zone;
    }
    return NULL;
}

/* Fullest first, so that the emptiest have the chance to become free as a whole; the nearly full ones, which
 * cost a search for a few frames, just before a new pageblock is opened. */
static bool fill_from_partial(struct core *core, struct zone *zone, const struct wish *wish,
                              struct slot *slot)
{
    static const uint8_t buckets[BUCKETS] = {1, 2, 3, 0};

    for (unsigned i = 0; i < BUCKETS; i++) {
        if (index_take_partial(core, zone, wish->mobility, wish, buckets[i], false, slot))
            return true;
    }
    return false;
}

static bool fill_from_own(struct core *core, struct cpu *cpu, struct zone *zone, const struct wish *wish,
                          struct slot *slot)
{
    return fill_from_partial(core, zone, wish, slot) || index_take_free(core, zone, wish, cpu, slot);
}

/* The zone has no free pageblock: look among all partial ones of the same mobility, then among the others,
 * emptiest first, so that few pageblocks become mixed. */
static bool fill_from_others(struct core *core, struct zone *zone, const struct wish *wish, struct slot *slot)
{
    static const uint8_t sides[MOBILITIES][MOBILITIES] = {
        {PLEAT_UNMOVABLE, PLEAT_RECLAIMABLE, PLEAT_MOVABLE},
        {PLEAT_RECLAIMABLE, PLEAT_UNMOVABLE, PLEAT_MOVABLE},
        {PLEAT_MOVABLE, PLEAT_RECLAIMABLE, PLEAT_UNMOVABLE}};

    for (unsigned i = 0; i < MOBILITIES; i++) {
        for (unsigned bucket = BUCKETS; bucket-- > 0;) {
            if (index_take_partial(core, zone, sides[wish->mobility][i], wish, bucket, true, slot))
                return true;
        }
    }
    return false;
}

/* At most three quarters of DMA32 go to unmovable frames that could lie elsewhere. */
bool low_zone_is_worn(struct core *core, const struct zone *zone)
{
    uint64_t pageblocks = atomic_load_explicit(&zone->blocks, memory_order_relaxed) * core->block_pageblocks;

    return atomic_load_explicit(&zone->unmovable_pageblocks, memory_order_relaxed) >= pageblocks / 4 * 3;
}

/*
 * What can't move goes to memory that stays, be it NORMAL or DMA32: a guest whose boot memory all lies below
 * 4 GiB would else put every unmovable frame into memory that was added, and could give none of it back.
 */
static bool fill_from_fixed(struct core *core, const struct wish *wish, unsigned node, struct slot *slot)
{
    static const uint8_t kinds[] = {PLEAT_ZONE_NORMAL, PLEAT_ZONE_DMA32};

    for (unsigned i = 0; i < sizeof(kinds); i++) {
        struct zone *zone = &core->zones[node * PLEAT_ZONE_KINDS + kinds[i]];

        if (wish->zone_limit < PLEAT_ZONE_NORMAL ||
            !atomic_load_explicit(&zone->blocks, memory_order_relaxed) ||
            (kinds[i] == PLEAT_ZONE_DMA32 && low_zone_is_worn(core, zone)))
            continue;
        if (fill_from_partial(core, zone, wish, slot) || index_take_free_fixed(core, zone, wish, slot))
            return true;
    }
    return false;
}

static bool fill_in_node(struct core *core, struct cpu *cpu, const struct wish *wish, unsigned node,
                         struct slot *slot)
{
    struct zone *zone;
    unsigned at = 0;

    if (wish->mobility != PLEAT_MOVABLE) {
        if (fill_from_fixed(core, wish, node, slot))
            return true;
        /* A zone is used up, mixing included, before the next one: PREFER_MOVABLE only when NORMAL is out. */
        while ((zone = wish_zone(core, wish, node, &at)) != NULL) {
            if (fill_from_own(core, cpu, zone, wish, slot) || fill_from_others(core, zone, wish, slot))
                return true;
        }
        return false;
    }
    while ((zone = wish_zone(core, wish, node, &at)) != NULL) {
        if (fill_from_own(core, cpu, zone, wish, slot))
            return true;
    }
    at = 0;
    while ((zone = wish_zone(core, wish, node, &at)) != NULL) {
        if (fill_from_others(core, zone, wish, slot))
            return true;
    }
    return false;
}

int slot_fill(struct core *core, struct cpu *cpu, const struct wish *wish, struct slot *slot)
{
    unsigned nodes = wish->this_node ? 1 : core->node_count;

    for (unsigned i = 0; i < nodes; i++) {
        unsigned node = core->fallback[wish->node * core->node_count + i];

        if (!fill_in_node(core, cpu, wish, node, slot))
            continue;
        slot->node = wish->node;
        slot->zone_limit = wish->zone_limit;
        if (!(pageblock_word(slot->block, slot->pageblock) & WORD_INITIALISED))
            pageblock_initialise(core, slot->block, slot->pageblock);
        if (cpu)
            cpu_count_free(cpu, -(int64_t)counter_get(&slot->count));
        return PLEAT_OK;
    }
    return PLEAT_E_NO_MEMORY;
}

/* --- caches --------------------------------------------------------------------------------------------- */

static void cache_claim(struct core *core, struct slot *slot, struct cache *cache)
{
    _Atomic uint64_t *bits = block_bits(slot->block, slot->pageblock);
    uint64_t start = block_start(core, slot->block) + (uint64_t)slot->pageblock * FRAMES;
    uint32_t left = counter_get(&slot->count);
    uint32_t have = counter_get(&cache->count);

    for (unsigned i = 0; i < WORD_COUNT && left && have <= CACHE_FRAMES - 64 && have < CACHE_REFILL / 2;
         i++) {
        unsigned at = (slot->cursor + i) % WORD_COUNT;
        uint64_t clear = ~atomic_load_explicit(&bits[at], memory_order_relaxed);

        if (!clear)
            continue;
        /* Frames that are being freed may be clear already, but their count isn't ours yet. */
        while (word_count(clear) > left)
            clear &= clear - 1;
        atomic_fetch_or_explicit(&bits[at], clear, memory_order_acquire);
        left -= word_count(clear);
        for (; clear; clear &= ~((uint64_t)1 << word_highest(clear)))
            cache->pfn[have++] = start + at * 64 + word_highest(clear);
    }
    counter_set(&slot->count, left);
    counter_set(&cache->count, have);
}

int cache_fill(struct core *core, struct cpu *cpu, const struct wish *wish)
{
    struct slot *slot = &cpu->slots[SLOT_SMALL][wish->mobility];
    struct cache *cache = &cpu->caches[wish->mobility];

    if (slot->block && !counter_get(&slot->count) && !slot_regain(cpu, slot))
        slot_release(cpu, slot);
    if (!slot->block && slot_fill(core, cpu, wish, slot))
        return PLEAT_E_NO_MEMORY;
    cache_claim(core, slot, cache);
    CHECK(counter_get(&cache->count));
    return PLEAT_OK;
}

void cache_empty_half(struct core *core, struct cpu *cpu, struct cache *cache)
{
    uint32_t half = CACHE_FRAMES / 2;

    frames_return(core, cpu, cache->pfn, half);
    __builtin_memmove(cache->pfn, cache->pfn + half, (CACHE_FRAMES - half) * sizeof(cache->pfn[0]));
    counter_set(&cache->count, CACHE_FRAMES - half);
}

int64_t slot_allocate(struct core *core, struct cpu *cpu, const struct wish *wish, struct slot *slot)
{
    int64_t pfn = slot_take(core, slot, wish->order);

    if (pfn >= 0)
        return pfn;
    if (slot->block && slot_regain(cpu, slot)) {
        pfn = slot_take(core, slot, wish->order);
        if (pfn >= 0)
            return pfn;
    }
    slot_release(cpu, slot);
    /* What the hint promised may be gone when the pageblock is ours; then its hint is right afterwards. */
    for (unsigned tries = 0; tries < 4 && !slot_fill(core, cpu, wish, slot); tries++) {
        pfn = slot_take(core, slot, wish->order);
        if (pfn >= 0)
            return pfn;
        slot_release(cpu, slot);
    }
    return PLEAT_E_NO_MEMORY;
}

/* --- draining ------------------------------------------------------------------------------------------- */

static bool frame_is_isolated(struct core *core, uint64_t pfn)
{
    return (entry_of(core, pfn) & ENTRY_ISOLATED) != 0;
}

static void cache_drain(struct core *core, struct cpu *cpu, struct cache *cache, bool only_isolated)
{
    uint32_t count = counter_get(&cache->count);
    uint32_t kept = 0, start = 0;

    if (!only_isolated) {
        frames_return(core, cpu, cache->pfn, count);
        counter_set(&cache->count, 0);
        return;
    }
    for (uint32_t i = 0; i <= count; i++) {
        if (i < count && frame_is_isolated(core, cache->pfn[i]))
            continue;
        if (i > start)
            frames_return(core, cpu, cache->pfn + start, i - start);
        if (i < count)
            cache->pfn[kept++] = cache->pfn[i];
        start = i + 1;
    }
    counter_set(&cache->count, kept);
}

static bool block_is_isolated(struct core *core, const struct block *block)
{
    return (block_entry(core, block) & ENTRY_ISOLATED) != 0;
}

static void cpu_drain(struct core *core, struct cpu *cpu, bool only_isolated)
{
    for (unsigned mobility = 0; mobility < MOBILITIES; mobility++) {
        cache_drain(core, cpu, &cpu->caches[mobility], only_isolated);
        for (unsigned kind = 0; kind < SLOT_KINDS; kind++) {
            struct slot *slot = &cpu->slots[kind][mobility];

            if (slot->block && (!only_isolated || block_is_isolated(core, slot->block)))
                slot_release(cpu, slot);
        }
    }
    cpu->allowance = 0;
    if (cpu->taking_block && (!only_isolated || block_is_isolated(core, cpu->taking_block))) {
        atomic_store_explicit(&cpu->taking_block->taking_cpu, 0, memory_order_relaxed);
        cpu->taking_block = NULL;
    }
}

void core_drain(struct core *core, bool only_isolated)
{
    visit_all(core, cpu_drain, only_isolated);
}

void core_wait_all(struct core *core)
{
    visit_all(core, NULL, false);
}

int64_t core_free_frames(struct core *core)
{
    int64_t sum = atomic_load_explicit(&core->free_base, memory_order_relaxed);

    for (unsigned i = 0; i < core->cpu_count; i++) {
        struct cpu *cpu = &core->cpus[i];

        sum += atomic_load_explicit(&cpu->free_delta, memory_order_relaxed);
        for (unsigned mobility = 0; mobility < MOBILITIES; mobility++) {
            sum += counter_get(&cpu->caches[mobility].count);
            for (unsigned kind = 0; kind < SLOT_KINDS; kind++)
                sum += counter_get(&cpu->slots[kind][mobility].count);
        }
    }
    return sum;
}
