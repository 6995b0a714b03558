/* SPDX-License-Identifier: MIT
 *
 * Ranges: adding memory blocks with their metadata, and removing them.
 *
 * A range's description stands in the head of each of its blocks, so that a range needs no storage outside of
 * what it brought, and blocks can be removed one by one.
 */
#include "bits.h"
#include "block.h"
#include "check.h"
#include "claims.h"
#include "cpu.h"
#include "index.h"
#include "text.h"

/* --- memmaps in online memory (PLEAT_MEMMAP_NORMAL) ---------------------------------------------------- */

/* A slot on some pageblock of a block that is never removed, with a free run of an order. */
static bool fixed_slot(struct core *core, unsigned node, bool any_node, unsigned order, struct slot *slot)
{
    for (uint64_t number = 0; number < core->block_count; number++) {
        struct block *block = block_of(core, number << core->block_order);

        if (!block || block->range.removable || (block->range.node != node && !any_node) ||
            block_state(block) != PLEAT_BLOCK_ONLINE)
            continue;
        for (unsigned i = 0; i < core->block_pageblocks; i++) {
            uint32_t word = pageblock_word(block, i);

            if (WORD_CLASS(word) == CLASS_NONE || WORD_HINT(word) < order ||
                WORD_FREE_COUNT(word) < 1u << order)
                continue;
            if (index_take_this(block, i, PLEAT_UNMOVABLE, slot))
                return true;
        }
    }
    return false;
}

static void metadata_free(struct core *core, struct cpu *cpu, uint64_t pfn, uint64_t frames)
{
    struct block *block = block_of(core, pfn);

    for (uint64_t i = 0; i < frames; i++) {
        uint64_t offset = (pfn + i) & (block_frames(core) - 1);

        if (core->owner_shift)
            owner_set(core, block, offset, 0);
        frames_free_inside(cpu, block, offset, 0);
    }
}

int64_t metadata_allocate(struct core *core, unsigned node, bool any_node)
{
    unsigned order = 0;
    struct slot slot = {0};
    struct cpu *cpu;
    int64_t pfn = PLEAT_E_NO_MEMORY;

    while ((uint64_t)1 << order < core->memmap_frames)
        order++;
    if (order >= PLEAT_PAGEBLOCK_ORDER)
        return PLEAT_E_UNSUPPORTED;
    cpu = cpu_begin(core);
    if (!fixed_slot(core, node, false, order, &slot)) {
        /* What there is may lie in CPUs' caches and slots; that comes before another node. */
        cpu_end(cpu);
        core_drain(core, false);
        cpu = cpu_begin(core);
    }
    if (slot.block || fixed_slot(core, node, false, order, &slot) ||
        (any_node && fixed_slot(core, node, true, order, &slot))) {
        cpu_count_free(cpu, -(int64_t)counter_get(&slot.count));
        if (!(pageblock_word(slot.block, slot.pageblock) & WORD_INITIALISED))
            pageblock_initialise(core, slot.block, slot.pageblock);
        pfn = slot_take(core, &slot, order);
        slot_release(cpu, &slot);
    }
    if (pfn >= 0) {
        struct block *block = block_of(core, (uint64_t)pfn);
        uint64_t offset = (uint64_t)pfn & (block_frames(core) - 1);

        for (uint64_t i = 0; core->owner_shift && i < core->memmap_frames; i++)
            owner_set(core, block, offset + i, owner_word_special(OWNER_MEMMAP));
        metadata_free(core, cpu, (uint64_t)pfn + core->memmap_frames,
                      ((uint64_t)1 << order) - core->memmap_frames);
        online_count(core, block->zone, -(int64_t)core->memmap_frames);
    }
    cpu_end(cpu);
    return pfn;
}

static void metadata_release(struct core *core, uint64_t pfn)
{
    struct cpu *cpu = cpu_begin(core);

    metadata_free(core, cpu, pfn, core->memmap_frames);
    online_count(core, block_of(core, pfn)->zone, (int64_t)core->memmap_frames);
    cpu_end(cpu);
}

/* --- adding --------------------------------------------------------------------------------------------- */

static int range_check(struct core *core, const struct pleat_range_config *config)
{
    uint64_t mask = block_frames(core) - 1;

    if (!config->name || !config->owner || !config->frames || config->start_pfn & mask ||
        config->frames & mask || config->node >= core->node_count ||
        (unsigned)config->memmap_mode > PLEAT_MEMMAP_NORMAL ||
        config->flags & ~(unsigned)(PLEAT_ADD_FORCE_ONLINE | PLEAT_MEMMAP_HINT) ||
        (config->flags & PLEAT_ADD_FORCE_ONLINE && (unsigned)config->force_zone >= PLEAT_ZONE_KINDS))
        return PLEAT_E_INVALID;
    if (config->start_pfn >= core->highest_pfn || config->frames > core->highest_pfn - config->start_pfn)
        return PLEAT_E_INVALID;
    if (config->flags & PLEAT_ADD_FORCE_ONLINE &&
        !zone_can_hold(core, config->start_pfn + config->frames, (unsigned)config->force_zone))
        return PLEAT_E_INVALID;
    if (claims_check(core, config->start_pfn, config->frames))
        return PLEAT_E_EXISTS;
    if (config->memmap_mode == PLEAT_MEMMAP_RANGE &&
        config->frames >> core->block_order >= config->frames / core->memmap_frames)
        return PLEAT_E_UNSUPPORTED;
    return PLEAT_OK;
}

/* Frames at the start of the range's block `i` that hold memmaps. */
static uint32_t memmap_prefix(const struct core *core, const struct range *range, uint64_t i)
{
    uint64_t total = (range->frames >> core->block_order) * core->memmap_frames;
    uint64_t before = i << core->block_order;

    switch (range->memmap_mode) {
    case PLEAT_MEMMAP_BLOCK:
        return (uint32_t)core->memmap_frames;
    case PLEAT_MEMMAP_RANGE:
        if (total <= before)
            return 0;
        return (uint32_t)(total - before < block_frames(core) ? total - before : block_frames(core));
    default:
        return 0;
    }
}

void blocks_remove(struct core *core, uint64_t start_pfn, uint64_t blocks)
{
    uint64_t first = start_pfn >> core->block_order;

    for (uint64_t i = 0; i < blocks; i++) {
        struct block *block = block_of(core, (first + i) << core->block_order);
        bool normal = block->range.memmap_mode == PLEAT_MEMMAP_NORMAL;
        uint64_t memmap_pfn = block->memmap_pfn;

        claims_remove_block(core, block);

        atomic_store_explicit(&core->directory[first + i], ENTRY_EMPTY, memory_order_release);
        if (normal) {
            core_wait_all(core);
            metadata_release(core, memmap_pfn);
        }
    }
    /* From here on nobody is inside the memmaps; those in the blocks themselves may go. */
    core_wait_all(core);
}

/* Puts a block that was added online, if the flags or the policy say so and no listener refuses. */
static void online_added(struct core *core, const struct pleat_range_config *config, struct block *block)
{
    unsigned kind =
        config->flags & PLEAT_ADD_FORCE_ONLINE ? (unsigned)config->force_zone : zone_by_policy(core, block);
    struct zone *zone;

    if (kind == PLEAT_ZONE_KINDS)
        return;
    zone = zone_of(core, block->range.node, kind);
    if (!listeners_tell(core, PLEAT_GOING_ONLINE, block, zone))
        block_go_online(core, block, zone);
}

static struct block *link_block(struct core *core, const struct range *range, uint64_t i, uint64_t memmap_pfn)
{
    unsigned char *memmap = core->port.frame_pointer(core->port.context, memmap_pfn);
    uint64_t number = (range->start_pfn >> core->block_order) + i;
    struct block *block;
    uint64_t entry;

    block = memmap_create(core, memmap, memmap_pfn, number, range, memmap_prefix(core, range, i), &entry);
    atomic_store(&core->directory[number], entry);
    claims_add_block(core, block);
    return block;
}

/* The metadata comes from memory that may run out: all blocks are there before the first goes online. */
static int add_with_memmap_elsewhere(struct core *core, const struct pleat_range_config *config,
                                     const struct range *range)
{
    uint64_t blocks = range->frames >> core->block_order;

    for (uint64_t i = 0; i < blocks; i++) {
        int64_t place = metadata_allocate(core, range->node, (range->flags & PLEAT_MEMMAP_HINT) != 0);

        if (place < 0) {
            blocks_remove(core, range->start_pfn, i);
            return (int)place;
        }
        link_block(core, range, i, (uint64_t)place);
    }
    for (uint64_t i = 0; i < blocks; i++)
        online_added(core, config, block_of(core, range->start_pfn + (i << core->block_order)));
    return PLEAT_OK;
}

#define PREFETCH_BLOCKS 4u

static int add_blocks(struct core *core, const struct pleat_range_config *config, const struct range *range)
{
    uint64_t blocks = range->frames >> core->block_order;
    uint64_t stride = range->memmap_mode == PLEAT_MEMMAP_BLOCK ? block_frames(core) : core->memmap_frames;

    if (range->memmap_mode == PLEAT_MEMMAP_NORMAL)
        return add_with_memmap_elsewhere(core, config, range);
    for (uint64_t i = 0; i < blocks; i++) {
        if ((uintptr_t)core->port.frame_pointer(core->port.context, range->start_pfn + i * stride) &
            ENTRY_ATTRIBUTES)
            return PLEAT_E_INVALID;
    }
    if (range->memmap_mode == PLEAT_MEMMAP_BLOCK) {
        /* One block after the other, so that its metadata is still in the caches when it goes online. */
        for (uint64_t i = 0; i < blocks; i++) {
            /* Each memmap is in pages of its own: what costs is to find them, so that is begun early. */
            if (i + PREFETCH_BLOCKS < blocks) {
                uint64_t pfn = range->start_pfn + (i + PREFETCH_BLOCKS) * stride;

                memmap_prefetch(core, core->port.frame_pointer(core->port.context, pfn),
                                pfn >> core->block_order);
            }
            online_added(core, config, link_block(core, range, i, range->start_pfn + i * stride));
        }
        return PLEAT_OK;
    }
    for (uint64_t i = 0; i < blocks; i++)
        link_block(core, range, i, range->start_pfn + i * stride);
    for (uint64_t i = 0; i < blocks; i++)
        online_added(core, config, block_of(core, range->start_pfn + (i << core->block_order)));
    return PLEAT_OK;
}

int pleat_add(struct pleat *pleat, const struct pleat_range_config *config)
{
    struct core *core = core_of(pleat);
    struct range range = {.name = config->name,
                          .owner = config->owner,
                          .ops = config->ops,
                          .context = config->context,
                          .start_pfn = config->start_pfn,
                          .frames = config->frames,
                          .node = (uint8_t)config->node,
                          .memmap_mode = (uint8_t)config->memmap_mode,
                          .flags = (uint8_t)config->flags,
                          .removable = true,
                          .force_zone = (uint8_t)config->force_zone};
    bool hint = (config->flags & PLEAT_MEMMAP_HINT) != 0;
    int error;

    hotplug_lock(core);
    error = range_check(core, config);
    if (!error)
        error = add_blocks(core, config, &range);
    if (hint && (error == PLEAT_E_UNSUPPORTED || error == PLEAT_E_NO_MEMORY)) {
        range.memmap_mode = PLEAT_MEMMAP_BLOCK;
        error = add_blocks(core, config, &range);
    }
    hotplug_unlock(core);
    return error;
}

/* --- removing ------------------------------------------------------------------------------------------- */

static int remove_check(struct core *core, const void *owner, uint64_t start_pfn, uint64_t frames)
{
    for (uint64_t pfn = start_pfn; pfn < start_pfn + frames; pfn += block_frames(core)) {
        struct block *block = block_of(core, pfn);

        if (!block)
            return PLEAT_E_NOT_FOUND;
        if (!block->range.removable || block->range.owner != owner)
            return PLEAT_E_NOT_OWNER;
        if (!block_goes_with(block, start_pfn, start_pfn + frames))
            return PLEAT_E_NOT_OWNER;
        if (block_state(block) != PLEAT_BLOCK_OFFLINE)
            return PLEAT_E_STATE;
    }
    return PLEAT_OK;
}

int pleat_remove(struct pleat *pleat, const void *owner, uint64_t start_pfn, uint64_t frames)
{
    struct core *core = core_of(pleat);
    uint64_t mask = block_frames(core) - 1;
    int error;

    if (!frames || start_pfn & mask || frames & mask)
        return PLEAT_E_INVALID;
    if (start_pfn >= core->highest_pfn || frames > core->highest_pfn - start_pfn)
        return PLEAT_E_NOT_FOUND;
    hotplug_lock(core);
    error = remove_check(core, owner, start_pfn, frames);
    if (!error)
        blocks_remove(core, start_pfn, frames >> core->block_order);
    hotplug_unlock(core);
    return error;
}
