/* SPDX-License-Identifier: MIT
 *
 * Fake-offline frames of online blocks: free ones are withheld, withheld ones are given back.
 *
 * A pageblock is withheld as a whole (WITHHELD in its word), or frames of it are, one by one: then their
 * owners' words say so and their bits are set, so that allocators pass them by, while the rest is in use as
 * ever. Both change under the hotplug lock alone, so that what was checked there holds. One whose last frame
 * is withheld becomes WITHHELD; one that is WITHHELD and given in part becomes one of the other kind.
 */
#include "bits.h"
#include "block.h"
#include "check.h"
#include "cpu.h"
#include "index.h"

bool pageblock_is_all_withheld(const struct core *core, const struct block *block, unsigned pageblock)
{
    uint64_t start = (uint64_t)pageblock * FRAMES;

    for (uint64_t offset = start + pageblock_prefix(block, pageblock); offset < start + FRAMES; offset++) {
        if (!core->owner_shift || owner_get(core, block, offset) != owner_word_special(OWNER_WITHHELD))
            return false;
    }
    return true;
}

/* --- withholding ---------------------------------------------------------------------------------------- */

/* A part of a pageblock: what can't be anything else soon comes first. */
static bool find_partial(struct core *core, struct zone *zone, const void *owner, struct slot *slot)
{
    static const uint8_t sides[MOBILITIES] = {PLEAT_MOVABLE, PLEAT_RECLAIMABLE, PLEAT_UNMOVABLE};

    for (unsigned side = 0; side < MOBILITIES; side++) {
        for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
            if (index_take_for_owner(core, zone, MASK_PARTIAL(sides[side], bucket), owner, slot))
                return true;
        }
    }
    return false;
}

/* What few allocations need first: the zones of movable frames, and zone DMA only when all else is out. */
static bool find_in_zones(struct core *core, bool low, bool whole, const void *owner, struct slot *slot)
{
    static const uint8_t high_kinds[] = {PLEAT_ZONE_MOVABLE, PLEAT_ZONE_PREFER_MOVABLE, PLEAT_ZONE_NORMAL,
                                         PLEAT_ZONE_DMA32};
    static const uint8_t low_kinds[] = {PLEAT_ZONE_DMA};
    const uint8_t *kinds = low ? low_kinds : high_kinds;
    unsigned count = low ? sizeof(low_kinds) : sizeof(high_kinds);

    for (unsigned i = 0; i < count; i++) {
        for (unsigned node = 0; node < core->node_count; node++) {
            struct zone *zone = zone_of(core, node, kinds[i]);

            if (whole ? index_take_for_owner(core, zone, MASK_FREE, owner, slot)
                      : find_partial(core, zone, owner, slot))
                return true;
        }
    }
    return false;
}

static bool find(struct core *core, const void *owner, bool whole, struct slot *slot)
{
    for (unsigned low = 0; low < 2; low++) {
        /* A single frame opens a free pageblock only when no other has a frame left. */
        if ((!whole && find_in_zones(core, low, false, owner, slot)) ||
            find_in_zones(core, low, true, owner, slot))
            return true;
    }
    return false;
}

/* The slot's pageblock, none of whose frames is anybody's. */
static void withhold_whole(struct slot *slot)
{
    block_unmovable_clear(slot->block, slot->pageblock);
    pageblock_flags(slot->block, slot->pageblock, WORD_WITHHELD, WORD_OWNED | WORD_INITIALISED);
    slot->block = NULL;
}

static uint64_t withhold_frame(struct core *core, struct cpu *cpu, struct slot *slot)
{
    struct block *block = slot->block;
    int64_t pfn;

    if (!(pageblock_word(block, slot->pageblock) & WORD_INITIALISED))
        pageblock_initialise(core, block, slot->pageblock);
    pfn = slot_take(core, slot, 0);
    CHECK(pfn >= 0);
    owner_set(core, block, (uint64_t)pfn & core->block_mask, owner_word_special(OWNER_WITHHELD));
    if (!counter_get(&slot->count) && pageblock_is_all_withheld(core, block, slot->pageblock))
        withhold_whole(slot);
    else
        slot_release(cpu, slot);
    return (uint64_t)pfn;
}

static int64_t withhold(struct core *core, const void *owner, bool whole)
{
    struct cpu *cpu = cpu_begin(core);
    struct slot slot = {0};
    struct block *block;
    uint64_t pfn;

    if (!find(core, owner, whole, &slot)) {
        /* What there is may lie in CPUs' caches and slots. */
        cpu_end(cpu);
        core_drain(core, false);
        cpu = cpu_begin(core);
        if (!find(core, owner, whole, &slot)) {
            cpu_end(cpu);
            return PLEAT_E_NO_MEMORY;
        }
    }
    block = slot.block;
    cpu_count_free(cpu, -(int64_t)counter_get(&slot.count));
    if (whole) {
        pfn = block_start(core, block) + (uint64_t)slot.pageblock * FRAMES;
        withhold_whole(&slot);
    } else {
        pfn = withhold_frame(core, cpu, &slot);
    }
    cpu_end(cpu);
    online_count(core, block->zone, whole ? -(int64_t)FRAMES : -1);
    return (int64_t)pfn;
}

int64_t pleat_withhold(struct pleat *pleat, const void *owner, uint64_t frames)
{
    struct core *core = core_of(pleat);
    int64_t pfn;

    if (frames != 1 && frames != FRAMES)
        return PLEAT_E_INVALID;
    /* Nothing else would say of a single frame what it is. */
    if (frames == 1 && !core->owner_shift)
        return PLEAT_E_UNSUPPORTED;
    hotplug_lock(core);
    pfn = withhold(core, owner, frames == FRAMES);
    hotplug_unlock(core);
    return pfn;
}

/* --- giving --------------------------------------------------------------------------------------------- */

/* Part of a block inside one pageblock. */
struct part {
    struct block *block;
    unsigned pageblock;
    uint64_t from, to; /* places in the block */
    bool whole;        /* all of the pageblock but its prefix, if not that too */
};

static struct part part_at(struct block *block, uint64_t from, uint64_t end)
{
    struct part part = {.block = block, .pageblock = (unsigned)(from / FRAMES), .from = from};
    uint64_t start = (uint64_t)part.pageblock * FRAMES;

    part.to = start + FRAMES < end ? start + FRAMES : end;
    part.whole = from <= start + pageblock_prefix(block, part.pageblock) && part.to == start + FRAMES;
    return part;
}

/* Everything in it is withheld, or nobody's for other reasons; and something is withheld. */
static bool part_is_withheld(struct core *core, const struct part *part)
{
    uint32_t word = pageblock_word(part->block, part->pageblock);
    bool withheld = false;

    if (word & WORD_ISOLATED)
        return false;
    if (word & WORD_WITHHELD)
        return part->to > (uint64_t)part->pageblock * FRAMES + pageblock_prefix(part->block, part->pageblock);
    if (word & (WORD_HUGE | WORD_ABSENT) || !(word & WORD_INITIALISED) || !core->owner_shift)
        return false;
    for (uint64_t offset = part->from; offset < part->to; offset++) {
        uint64_t owner = owner_get(core, part->block, offset);

        if (owner == owner_word_special(OWNER_WITHHELD))
            withheld = true;
        else if (owner != owner_word_special(OWNER_MEMMAP) && owner != owner_word_special(OWNER_ABSENT))
            return false;
    }
    return withheld;
}

/* A pageblock that is WITHHELD as a whole, where nobody is. Returns how many frames became free. */
static unsigned open_withheld(struct core *core, const struct part *part)
{
    struct block *block = part->block;
    uint64_t start = (uint64_t)part->pageblock * FRAMES;
    uint64_t first = start + pageblock_prefix(block, part->pageblock);
    uint64_t from = part->from > first ? part->from : first;

    if (part->whole) {
        /* Its bits and owners' words are from before it was withheld. */
        atomic_fetch_and_explicit(&block->words[part->pageblock], ~WORD_INITIALISED, memory_order_relaxed);
        return pageblock_publish(block, part->pageblock, 0);
    }
    pageblock_initialise(core, block, part->pageblock);
    for (uint64_t offset = first; offset < start + FRAMES; offset++) {
        if (offset < from || offset >= part->to)
            owner_set(core, block, offset, owner_word_special(OWNER_WITHHELD));
    }
    bits_write(block, first, start + FRAMES, true);
    bits_write(block, from, part->to, false);
    return pageblock_publish(block, part->pageblock, 0);
}

static uint64_t give_part(struct core *core, const struct part *part)
{
    uint64_t count = 0;
    struct cpu *cpu;

    if (pageblock_word(part->block, part->pageblock) & WORD_WITHHELD) {
        count = open_withheld(core, part);
        atomic_fetch_add_explicit(&core->free_base, (int64_t)count, memory_order_relaxed);
        return count;
    }
    /* Others may be in it, so that this is like a free. */
    cpu = cpu_begin(core);
    for (uint64_t offset = part->from; offset < part->to; offset++) {
        if (owner_get(core, part->block, offset) != owner_word_special(OWNER_WITHHELD))
            continue;
        owner_set(core, part->block, offset, 0);
        frames_free_inside(cpu, part->block, offset, 0);
        count++;
    }
    cpu_end(cpu);
    return count;
}

static int give(struct core *core, const void *owner, uint64_t start_pfn, uint64_t frames)
{
    struct block *block = block_of(core, start_pfn);
    uint64_t offset = start_pfn & core->block_mask;
    uint64_t end = offset + frames;
    uint64_t total = 0;
    struct part part;

    if (!block || frames > block_frames(core) - offset)
        return PLEAT_E_NOT_FOUND;
    if (!block_is_owned(block, owner))
        return PLEAT_E_NOT_OWNER;
    if (block_state(block) != PLEAT_BLOCK_ONLINE)
        return PLEAT_E_STATE;
    for (uint64_t from = offset; from < end; from = part.to) {
        part = part_at(block, from, end);
        if (!part_is_withheld(core, &part))
            return PLEAT_E_STATE;
    }
    for (uint64_t from = offset; from < end; from = part.to) {
        part = part_at(block, from, end);
        total += give_part(core, &part);
    }
    online_count(core, block->zone, (int64_t)total);
    CHECK(block_state_is_valid(core, block));
    return PLEAT_OK;
}

int pleat_give(struct pleat *pleat, const void *owner, uint64_t start_pfn, uint64_t frames)
{
    struct core *core = core_of(pleat);
    int error;

    if (!frames)
        return PLEAT_E_INVALID;
    if ((start_pfn | frames) % FRAMES && !core->owner_shift)
        return PLEAT_E_UNSUPPORTED;
    hotplug_lock(core);
    error = give(core, owner, start_pfn, frames);
    hotplug_unlock(core);
    return error;
}
