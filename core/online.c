/* SPDX-License-Identifier: MIT
 *
 * Memory blocks going online and offline: states, listeners, the zones that policies choose.
 *
 * How the frames of a block go online belongs to its range: online_frames() hands over the parts that have
 * memory behind them, the rest is fake-offline (WITHHELD). Frames that hold memmaps are passed over in any
 * case.
 */
#include "bits.h"
#include "block.h"
#include "check.h"
#include "cpu.h"
#include "index.h"

void hotplug_lock(struct core *core)
{
    while (atomic_exchange_explicit(&core->hotplug_lock, 1, memory_order_acquire)) {
        while (atomic_load_explicit(&core->hotplug_lock, memory_order_relaxed))
            pleat_port_pause();
    }
}

void hotplug_unlock(struct core *core)
{
    atomic_store_explicit(&core->hotplug_lock, 0, memory_order_release);
}

/* --- listeners ----------------------------------------------------------------------------------------- */

void pleat_listener_add(struct pleat *pleat, struct pleat_listener *listener)
{
    struct core *core = core_of(pleat);
    struct pleat_listener **at = &core->listeners;

    hotplug_lock(core);
    while (*at && (*at)->priority >= listener->priority)
        at = &(*at)->next;
    listener->next = *at;
    *at = listener;
    hotplug_unlock(core);
}

int pleat_listener_remove(struct pleat *pleat, struct pleat_listener *listener)
{
    struct core *core = core_of(pleat);
    int error = PLEAT_E_NOT_FOUND;

    hotplug_lock(core);
    for (struct pleat_listener **at = &core->listeners; *at; at = &(*at)->next) {
        if (*at == listener) {
            *at = listener->next;
            error = PLEAT_OK;
            break;
        }
    }
    hotplug_unlock(core);
    return error;
}

int listeners_tell(struct core *core, enum pleat_event event, struct block *block, struct zone *zone)
{
    bool may_refuse = event == PLEAT_GOING_ONLINE || event == PLEAT_GOING_OFFLINE;
    enum pleat_event cancel = event == PLEAT_GOING_ONLINE ? PLEAT_CANCEL_ONLINE : PLEAT_CANCEL_OFFLINE;
    enum pleat_zone_kind kind = (enum pleat_zone_kind)zone->kind;
    uint64_t start = block_start(core, block);
    struct pleat_listener *refused;
    int error = PLEAT_OK;

    for (refused = core->listeners; refused; refused = refused->next) {
        error = refused->event(refused->context, event, start, block_frames(core), zone->node, kind);
        if (error && may_refuse)
            break;
    }
    if (!refused)
        return PLEAT_OK;
    for (struct pleat_listener *told = core->listeners; told != refused; told = told->next)
        told->event(told->context, cancel, start, block_frames(core), zone->node, kind);
    return PLEAT_E_REFUSED;
}

/* --- zones by policy ----------------------------------------------------------------------------------- */

unsigned zone_by_address(const struct core *core, const struct block *block)
{
    uint64_t end = block_start(core, block) + block_frames(core);

    return end <= core->dma_end_pfn     ? PLEAT_ZONE_DMA
           : end <= core->dma32_end_pfn ? PLEAT_ZONE_DMA32
                                        : PLEAT_ZONE_NORMAL;
}

bool zone_can_hold(const struct core *core, uint64_t end_pfn, unsigned kind)
{
    return kind == PLEAT_ZONE_DMA     ? end_pfn <= core->dma_end_pfn
           : kind == PLEAT_ZONE_DMA32 ? end_pfn <= core->dma32_end_pfn
                                      : true;
}

uint64_t node_online_frames(struct core *core, unsigned node, unsigned first, unsigned last)
{
    uint64_t frames = 0;

    for (unsigned kind = first; kind <= last; kind++)
        frames += zone_of(core, node, kind)->online_frames;
    return frames;
}

unsigned zone_by_policy(struct core *core, const struct block *block)
{
    unsigned fixed = zone_by_address(core, block);
    uint64_t frames = block_frames(core) - block->prefix_frames;
    uint64_t kernel = 0, movable = 0;
    unsigned node = block->range.node;

    switch (core->policy) {
    case PLEAT_POLICY_OFFLINE:
        return PLEAT_ZONE_KINDS;
    case PLEAT_POLICY_ONLINE_MOVABLE:
        return PLEAT_ZONE_MOVABLE;
    case PLEAT_POLICY_AUTO_MOVABLE:
        for (unsigned i = 0; i < core->node_count; i++) {
            kernel += node_online_frames(core, i, PLEAT_ZONE_DMA, PLEAT_ZONE_PREFER_MOVABLE);
            movable += node_online_frames(core, i, PLEAT_ZONE_MOVABLE, PLEAT_ZONE_MOVABLE);
        }
        return (movable + frames) * 100 <= kernel * core->policy_ratio ? PLEAT_ZONE_MOVABLE : fixed;
    case PLEAT_POLICY_PREFER_MOVABLE:
        kernel = node_online_frames(core, node, PLEAT_ZONE_DMA, PLEAT_ZONE_NORMAL);
        movable = node_online_frames(core, node, PLEAT_ZONE_PREFER_MOVABLE, PLEAT_ZONE_PREFER_MOVABLE);
        return movable + frames <= kernel * core->policy_ratio ? PLEAT_ZONE_PREFER_MOVABLE : fixed;
    default:
        return fixed;
    }
}

int pleat_set_policy(struct pleat *pleat, enum pleat_online_policy policy, unsigned ratio)
{
    struct core *core = core_of(pleat);

    if ((unsigned)policy > PLEAT_POLICY_PREFER_MOVABLE)
        return PLEAT_E_INVALID;
    hotplug_lock(core);
    core->policy = policy;
    core->policy_ratio = ratio ? ratio : policy == PLEAT_POLICY_AUTO_MOVABLE ? 300 : 4;
    hotplug_unlock(core);
    return PLEAT_OK;
}

/* --- going online -------------------------------------------------------------------------------------- */

/* The order of the largest aligned run when the last `count` frames of a pageblock are free. */
static unsigned fresh_run(unsigned count)
{
    unsigned order = 0;

    while (order < PLEAT_PAGEBLOCK_ORDER && 2u << order <= count)
        order++;
    return order;
}

static unsigned free_frames(struct block *block, unsigned pageblock)
{
    if (pageblock_word(block, pageblock) & WORD_INITIALISED)
        return bits_count_clear(block_bits(block, pageblock));
    return pageblock_fresh_count(block, pageblock);
}

/* The word of a pageblock with `count` frames free. */
static uint32_t published_word(struct block *block, unsigned pageblock, unsigned count, uint32_t flags)
{
    uint32_t old = pageblock_word(block, pageblock);
    unsigned order =
        old & WORD_INITIALISED ? bits_largest_run(block_bits(block, pageblock)) : fresh_run(count);
    /* The rest of a boot pageblock lies beside frames that stay for good, unless they are withheld. */
    uint32_t mobility = block->range.removable || old & WORD_WITHHELD ? PLEAT_MOVABLE : PLEAT_UNMOVABLE;

    return word_classified(count | flags | (old & WORD_INITIALISED) | order << WORD_HINT_SHIFT |
                           mobility << WORD_MOBILITY_SHIFT);
}

unsigned pageblock_publish(struct block *block, unsigned pageblock, uint32_t flags)
{
    unsigned count = flags & (WORD_ABSENT | WORD_WITHHELD) ? 0 : free_frames(block, pageblock);
    uint32_t now = published_word(block, pageblock, count, flags);

    CHECK(word_is_valid(now));
    atomic_store_explicit(&block->words[pageblock], now, memory_order_release);
    index_move(block, pageblock, word_classified(WORD_OFFLINE), now);
    return count;
}

struct pleat_online {
    struct core *core;
    struct block *block;
    uint64_t given;   /* whole pageblocks */
    uint64_t touched; /* pageblocks given in parts: their bits say which */
};

void bits_write(struct block *block, uint64_t from, uint64_t to, bool set)
{
    while (from < to) {
        uint64_t end = (from / 64 + 1) * 64 < to ? (from / 64 + 1) * 64 : to;
        uint64_t mask = mask_of(from % 64, (unsigned)(end - from / 64 * 64));
        uint64_t word = atomic_load_explicit(&block->bits[from / 64], memory_order_relaxed);

        atomic_store_explicit(&block->bits[from / 64], set ? word | mask : word & ~mask,
                              memory_order_relaxed);
        from = end;
    }
}

static void give_part(struct pleat_online *online, unsigned pageblock, uint64_t from, uint64_t to)
{
    uint64_t bit = (uint64_t)1 << pageblock;
    uint64_t start = (uint64_t)pageblock * FRAMES;
    unsigned prefix = pageblock_prefix(online->block, pageblock);

    /* Without owners' words nothing says which frames of a pageblock are withheld. */
    if (!online->core->owner_shift || online->given & bit)
        return;
    if (!(online->touched & bit)) {
        pageblock_initialise(online->core, online->block, pageblock);
        bits_write(online->block, start + prefix, start + FRAMES, true);
        online->touched |= bit;
    }
    from = from < start + prefix ? start + prefix : from;
    bits_write(online->block, from, to, false);
}

void pleat_online_give(struct pleat_online *online, uint64_t start_pfn, uint64_t frames)
{
    uint64_t base = block_start(online->core, online->block);
    uint64_t size = block_frames(online->core);
    uint64_t from = start_pfn < base ? 0 : start_pfn - base;
    uint64_t to = start_pfn + frames < base ? 0 : start_pfn + frames - base;

    to = to > size ? size : to;
    while (from < to) {
        unsigned pageblock = (unsigned)(from / FRAMES);
        uint64_t end = (pageblock + 1) * (uint64_t)FRAMES;

        if (from % FRAMES == 0 && end <= to)
            online->given |= (uint64_t)1 << pageblock;
        else
            give_part(online, pageblock, from, end < to ? end : to);
        from = end;
    }
}

/* Writes the owners' words where given frames and others meet. Returns the word's flags. */
static uint32_t prepare_pageblock(struct pleat_online *online, unsigned pageblock)
{
    struct core *core = online->core;
    struct block *block = online->block;
    uint64_t bit = (uint64_t)1 << pageblock;
    uint64_t start = (uint64_t)pageblock * FRAMES;
    unsigned prefix = pageblock_prefix(block, pageblock);

    if (online->given & bit) {
        if (online->touched & bit)
            atomic_fetch_and_explicit(&block->words[pageblock], ~WORD_INITIALISED, memory_order_relaxed);
        return 0;
    }
    if (!(online->touched & bit))
        return prefix == FRAMES ? 0 : WORD_WITHHELD;
    for (uint64_t offset = start + prefix; offset < start + FRAMES; offset++) {
        if (bit_get(block, offset))
            owner_set(core, block, offset, owner_word_special(OWNER_WITHHELD));
    }
    if (prefix == FRAMES || !pageblock_is_all_withheld(core, block, pageblock))
        return 0;
    /* What was given of it holds the memmap. */
    atomic_fetch_and_explicit(&block->words[pageblock], ~WORD_INITIALISED, memory_order_relaxed);
    return WORD_WITHHELD;
}

/* All pageblocks of a block at once: nobody can be in it yet, so that masks need no read-modify-write. */
static uint64_t publish_block(struct pleat_online *online)
{
    struct block *block = online->block;
    uint64_t masks[MASKS] = {0};
    uint64_t total = 0;

    for (unsigned i = 0; i < online->core->block_pageblocks; i++) {
        uint32_t flags = prepare_pageblock(online, i);
        unsigned count = flags & WORD_WITHHELD ? 0 : free_frames(block, i);
        uint32_t now = published_word(block, i, count, flags);
        unsigned mask = mask_of_word(now);

        CHECK(word_is_valid(now));
        atomic_store_explicit(&block->words[i], now, memory_order_release);
        if (mask < MASKS)
            masks[mask] |= (uint64_t)1 << i;
        total += count;
    }
    index_publish(block, masks);
    return total;
}

void block_go_online(struct core *core, struct block *block, struct zone *zone)
{
    struct pleat_online online = {.core = core, .block = block};
    uint64_t start = block_start(core, block);
    uint64_t attributes =
        block_entry(core, block) & ~(uint64_t)(ENTRY_ISOLATED | ENTRY_UNCACHED | ENTRY_MOVABLE_ONLY);
    uint64_t count;

    atomic_store_explicit(&block->state, PLEAT_BLOCK_GOING_ONLINE, memory_order_relaxed);
    block->zone = zone;
    if (block->range.ops && block->range.ops->online_frames)
        block->range.ops->online_frames(pleat_of(core), block->range.context, start, block_frames(core),
                                        &online);
    else
        online.given = ~(uint64_t)0;
    if (zone->kind == PLEAT_ZONE_DMA)
        attributes |= ENTRY_UNCACHED;
    if (zone->kind == PLEAT_ZONE_MOVABLE)
        attributes |= ENTRY_MOVABLE_ONLY;
    /* Before the first frame can be allocated: a free has to find the attributes that the zone asks for. */
    atomic_store(&core->directory[block->number], attributes);
    count = publish_block(&online);
    atomic_fetch_add_explicit(&zone->blocks, 1, memory_order_relaxed);
    online_count(core, zone, (int64_t)count);
    atomic_fetch_add_explicit(&core->free_base, (int64_t)count, memory_order_relaxed);
    atomic_store_explicit(&block->state, PLEAT_BLOCK_ONLINE, memory_order_relaxed);
    CHECK(block_state_is_valid(core, block));
    listeners_tell(core, PLEAT_ONLINE, block, zone);
}

static int online_blocks(struct core *core, uint64_t first, uint64_t count, unsigned kind)
{
    for (uint64_t i = 0; i < count; i++) {
        struct block *block = block_of(core, (first + i) << core->block_order);

        if (!block)
            return PLEAT_E_NOT_FOUND;
        if (block_state(block) != PLEAT_BLOCK_OFFLINE)
            return PLEAT_E_STATE;
        if (!zone_can_hold(core, block_start(core, block) + block_frames(core), kind))
            return PLEAT_E_INVALID;
    }
    for (uint64_t i = 0; i < count; i++) {
        struct block *block = block_of(core, (first + i) << core->block_order);

        if (!listeners_tell(core, PLEAT_GOING_ONLINE, block, zone_of(core, block->range.node, kind)))
            continue;
        while (i-- > 0) {
            block = block_of(core, (first + i) << core->block_order);
            listeners_tell(core, PLEAT_CANCEL_ONLINE, block, zone_of(core, block->range.node, kind));
        }
        return PLEAT_E_REFUSED;
    }
    for (uint64_t i = 0; i < count; i++) {
        struct block *block = block_of(core, (first + i) << core->block_order);

        block_go_online(core, block, zone_of(core, block->range.node, kind));
    }
    return PLEAT_OK;
}

int pleat_online(struct pleat *pleat, uint64_t start_pfn, uint64_t frames, enum pleat_zone_kind zone)
{
    struct core *core = core_of(pleat);
    uint64_t mask = block_frames(core) - 1;
    int error;

    if (!frames || start_pfn & mask || frames & mask || (unsigned)zone >= PLEAT_ZONE_KINDS)
        return PLEAT_E_INVALID;
    if (start_pfn >= core->highest_pfn || frames > core->highest_pfn - start_pfn)
        return PLEAT_E_NOT_FOUND;
    hotplug_lock(core);
    error = online_blocks(core, start_pfn >> core->block_order, frames >> core->block_order, (unsigned)zone);
    hotplug_unlock(core);
    return error;
}

/* --- going offline ------------------------------------------------------------------------------------- */

void block_go_offline(struct core *core, struct block *block)
{
    struct zone *zone = block->zone;
    uint64_t count = 0;

    for (unsigned i = 0; i < core->block_pageblocks; i++) {
        count += WORD_FREE_COUNT(pageblock_word(block, i));
        atomic_store_explicit(&block->words[i], WORD_OFFLINE, memory_order_release);
    }
    index_forget_block(block);
    block->isolated_count = 0;
    block->zone = NULL;
    atomic_fetch_sub_explicit(&zone->blocks, 1, memory_order_relaxed);
    online_count(core, zone, -(int64_t)count);
    atomic_fetch_sub_explicit(&core->free_base, (int64_t)count, memory_order_relaxed);
    atomic_store_explicit(&block->state, PLEAT_BLOCK_OFFLINE, memory_order_relaxed);
    CHECK(block_state_is_valid(core, block));
    if (block->range.ops && block->range.ops->offline_frames)
        block->range.ops->offline_frames(pleat_of(core), block->range.context, block_start(core, block),
                                         block_frames(core));
    listeners_tell(core, PLEAT_OFFLINE, block, zone);
}
