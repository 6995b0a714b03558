/* SPDX-License-Identifier: MIT
 *
 * Telling what there is: zones, blocks, ranges, single frames; and the slow recount against the fast
 * counters.
 */
#include "bits.h"
#include "block.h"
#include "cpu.h"
#include "index.h"
#include "look.h"
#include "text.h"
#include "unpopulated.h"

/* Under the hotplug lock. */
static void block_info(struct core *core, struct block *block, struct pleat_block_info *info)
{
    struct pleat_look look = {0};

    *info = (struct pleat_block_info){.start_pfn = block_start(core, block),
                                      .frames = block_frames(core),
                                      .state = block_state(block),
                                      .node = block->range.node,
                                      .removable = block->range.removable};
    if (!block->zone) {
        info->memmap_frames = block->prefix_frames;
        return;
    }
    info->zone = (enum pleat_zone_kind)block->zone->kind;
    look_block(core, block, 0, block_frames(core), &look);
    info->free_frames = look.free;
    info->fake_offline_frames = look.fake_offline;
    info->absent_frames = look.absent;
    info->memmap_frames = look.memmap;
    info->unmovable_pageblocks = word_count(atomic_load(&block->unmovable));
    for (unsigned i = 0; i < core->block_pageblocks; i++) {
        uint32_t word = pageblock_word(block, i);

        if (WORD_FREE_COUNT(word) == FRAMES)
            info->free_pageblocks++;
    }
}

int pleat_block_info(struct pleat *pleat, uint64_t pfn, struct pleat_block_info *info)
{
    struct core *core = core_of(pleat);
    struct block *block;

    hotplug_lock(core);
    block = block_of(core, pfn);
    if (block)
        block_info(core, block, info);
    hotplug_unlock(core);
    return block ? PLEAT_OK : PLEAT_E_NOT_FOUND;
}

int pleat_zone_info(struct pleat *pleat, unsigned node, enum pleat_zone_kind kind,
                    struct pleat_zone_info *info)
{
    struct core *core = core_of(pleat);

    if (node >= core->node_count || (unsigned)kind >= PLEAT_ZONE_KINDS)
        return PLEAT_E_NOT_FOUND;
    *info = (struct pleat_zone_info){.node = node, .kind = kind};
    hotplug_lock(core);
    info->blocks = atomic_load(&zone_of(core, node, kind)->blocks);
    for (uint64_t i = 0, seen = 0; i < core->block_count && seen < info->blocks; i++) {
        struct block *block = block_of(core, i << core->block_order);
        struct pleat_block_info one;

        if (!block || block->zone != zone_of(core, node, kind))
            continue;
        seen++;
        block_info(core, block, &one);
        info->online_frames += one.frames - one.memmap_frames - one.absent_frames - one.fake_offline_frames;
        info->free_frames += one.free_frames;
        info->free_pageblocks += one.free_pageblocks;
        info->fake_offline_frames += one.fake_offline_frames;
        info->memmap_frames += one.memmap_frames;
        info->absent_frames += one.absent_frames;
    }
    hotplug_unlock(core);
    return PLEAT_OK;
}

static bool same_range(const struct range *a, const struct range *b)
{
    return a->owner == b->owner && a->name == b->name && a->removable == b->removable && a->node == b->node &&
           a->memmap_mode == b->memmap_mode && (!a->removable || a->start_pfn == b->start_pfn);
}

int pleat_range_info(struct pleat *pleat, uint64_t pfn, struct pleat_range_info *info)
{
    struct core *core = core_of(pleat);
    const struct range *range = NULL;
    uint64_t number;

    hotplug_lock(core);
    for (number = pfn >> core->block_order; number < core->block_count; number++) {
        struct block *block = block_of(core, number << core->block_order);
        struct pleat_block_info one;

        if (!block && !range)
            continue;
        if (!block || (range && !same_range(range, &block->range)))
            break;
        if (!range) {
            range = &block->range;
            *info = (struct pleat_range_info){.name = range->name,
                                              .owner = range->owner,
                                              .start_pfn = number << core->block_order,
                                              .node = range->node,
                                              .memmap_mode = (enum pleat_memmap_mode)range->memmap_mode,
                                              .flags = range->flags,
                                              .force_zone = (enum pleat_zone_kind)range->force_zone,
                                              .removable = range->removable,
                                              .own_online_ops = range->ops && range->ops->online_frames};
        }
        info->frames += block_frames(core);
        if (!block->zone)
            continue;
        block_info(core, block, &one);
        info->online_frames += one.frames;
        info->fake_offline_frames += one.fake_offline_frames;
        info->populated_frames += one.frames - one.fake_offline_frames - one.absent_frames;
    }
    hotplug_unlock(core);
    return range ? PLEAT_OK : PLEAT_E_NOT_FOUND;
}

static int section_tag(struct core *core, uint64_t pfn, pleat_tag *tag, unsigned *order)
{
    const struct section *section = section_of(core, pfn);
    uint64_t word =
        section ? atomic_load_explicit(section_owner(core, section, pfn), memory_order_acquire) : 0;

    if (OWNER_STATE(word) == STATE_FREE)
        return PLEAT_E_NOT_FOUND;
    *tag = word & TAG_MASK;
    *order = OWNER_ORDER(word);
    return PLEAT_OK;
}

int pleat_frame_tag(struct pleat *pleat, uint64_t pfn, pleat_tag *tag, unsigned *order)
{
    struct core *core = core_of(pleat);
    uint64_t offset = pfn & (block_frames(core) - 1);
    struct block *block;
    struct piece piece;
    struct cpu *cpu;
    int error = PLEAT_E_NOT_FOUND;

    if (!core->owner_shift)
        return PLEAT_E_UNSUPPORTED;
    cpu = cpu_begin(core);
    block = block_of(core, pfn);
    if (block && !(pageblock_word(block, (unsigned)(offset / FRAMES)) & WORD_OFFLINE)) {
        piece = piece_at(core, block, offset);
        if (piece.head == offset && OWNER_STATE(piece.word) != STATE_FREE && piece.word != OWNER_FREED) {
            *tag = piece.word & TAG_MASK;
            *order = OWNER_ORDER(piece.word);
            error = PLEAT_OK;
        }
    }
    cpu_end(cpu);
    return block ? error : section_tag(core, pfn, tag, order);
}

uint64_t *pleat_frame_data(struct pleat *pleat, uint64_t pfn)
{
    struct core *core = core_of(pleat);
    uint64_t entry = entry_of(core, pfn);
    const struct section *section;

    if (core->owner_shift != 4)
        return NULL;
    if (unlikely(!entry_memmap(entry))) {
        section = section_of(core, pfn);
        return section ? (uint64_t *)(void *)(section_owner(core, section, pfn) + 1) : NULL;
    }
    return (uint64_t *)(void *)(entry_owner(core, entry, pfn & (block_frames(core) - 1)) + 1);
}

const char *pleat_owner_name(struct pleat *pleat, unsigned owner)
{
    return core_owner_name(core_of(pleat), owner);
}

uint64_t pleat_online_frames(struct pleat *pleat)
{
    return core_of(pleat)->online_frames;
}

unsigned pleat_frame_shift(const struct pleat *pleat)
{
    return ((const struct core *)(const void *)pleat)->frame_shift;
}

uint64_t pleat_block_frames(const struct pleat *pleat)
{
    return block_frames((const struct core *)(const void *)pleat);
}

uint64_t pleat_memmap_bytes(struct pleat *pleat)
{
    return core_of(pleat)->memmap_bytes;
}

uint64_t pleat_memmap_frames(struct pleat *pleat)
{
    return core_of(pleat)->memmap_frames;
}

uint64_t pleat_table_bytes(struct pleat *pleat)
{
    return core_of(pleat)->table_bytes;
}

/* --- recount ------------------------------------------------------------------------------------------- */

static bool wrong(struct core *core, const char *what, uint64_t pfn, uint64_t found, uint64_t expected)
{
    struct text text;

    text_begin(&text);
    text_add(&text, "recount: ");
    text_add(&text, what);
    text_add(&text, " at PFN 0x");
    text_hex(&text, pfn);
    text_add(&text, " is ");
    text_number(&text, found);
    text_add(&text, ", counted ");
    text_number(&text, expected);
    core_log(core, PLEAT_LOG_ERROR, text.line);
    return false;
}

/* The count that a CPU's slot holds of a pageblock. */
static uint32_t slot_count(struct core *core, const struct block *block, unsigned pageblock)
{
    for (unsigned i = 0; i < core->cpu_count; i++) {
        for (unsigned kind = 0; kind < SLOT_KINDS; kind++) {
            for (unsigned mobility = 0; mobility < MOBILITIES; mobility++) {
                struct slot *slot = &core->cpus[i].slots[kind][mobility];

                if (slot->block == block && slot->pageblock == pageblock)
                    return counter_get(&slot->count);
            }
        }
    }
    return 0;
}

/* In any mask: after two changes of class that overlapped it may be the one before the last; a search finds
 * it there and mends that. */
static bool has_a_place(struct block *block, unsigned pageblock)
{
    for (unsigned mask = 0; mask < MASKS; mask++) {
        if (atomic_load(&block->masks[mask]) >> pageblock & 1)
            return true;
    }
    return false;
}

/* Frames that are withheld one by one are nobody else's, and not all that a pageblock has: that would be
 * withheld as a whole. */
static bool withheld_are_valid(struct core *core, struct block *block, unsigned pageblock)
{
    uint64_t start = (uint64_t)pageblock * FRAMES;

    for (uint64_t offset = start; offset < start + FRAMES; offset++) {
        if (owner_get(core, block, offset) == owner_word_special(OWNER_WITHHELD) && !bit_get(block, offset))
            return wrong(core, "the bit of a withheld frame", block_start(core, block) + offset, 0, 1);
    }
    if (pageblock_fresh_count(block, pageblock) && pageblock_is_all_withheld(core, block, pageblock))
        return wrong(core, "the flag of a pageblock all of which is withheld",
                     block_start(core, block) + start, 0, 1);
    return true;
}

static bool pageblock_is_valid(struct core *core, struct block *block, unsigned pageblock, uint64_t *free)
{
    uint64_t pfn = block_start(core, block) + (uint64_t)pageblock * FRAMES;
    uint32_t word = pageblock_word(block, pageblock);
    bool initialised = (word & WORD_INITIALISED) != 0;
    unsigned clear = initialised ? bits_count_clear(block_bits(block, pageblock))
                     : word & (WORD_ABSENT | WORD_WITHHELD | WORD_HUGE)
                         ? 0
                         : pageblock_fresh_count(block, pageblock);
    unsigned mask = mask_of_word(word);
    uint32_t slot = slot_count(core, block, pageblock);

    if (!word_is_valid(word))
        return wrong(core, "a pageblock's word", pfn, word, word_classified(word));
    if (slot && !(word & WORD_OWNED))
        return wrong(core, "a slot's count of a pageblock that isn't owned", pfn, slot, 0);
    *free += WORD_FREE_COUNT(word);
    if (word & WORD_HUGE)
        return clear == 0 || clear == FRAMES ? true : wrong(core, "a huge frame's clear bits", pfn, clear, 0);
    if (clear != WORD_FREE_COUNT(word) + slot)
        return wrong(core, "a pageblock's count", pfn, WORD_FREE_COUNT(word) + slot, clear);
    if (core->owner_shift && initialised && !(word & (WORD_WITHHELD | WORD_ABSENT)) &&
        !withheld_are_valid(core, block, pageblock))
        return false;
    if (mask < MASKS && !has_a_place(block, pageblock))
        return wrong(core, "a pageblock's place in its block's masks", pfn, 0, 1);
    if (clear && initialised && !(word & WORD_OWNED) &&
        WORD_HINT(word) < bits_largest_run(block_bits(block, pageblock)))
        return wrong(core, "a pageblock's longest run", pfn, WORD_HINT(word),
                     bits_largest_run(block_bits(block, pageblock)));
    return true;
}

bool block_state_is_valid(struct core *core, struct block *block)
{
    uint64_t pfn = block_start(core, block);
    unsigned isolated = 0;

    if (block_state(block) == PLEAT_BLOCK_OFFLINE && block->zone)
        return wrong(core, "the zone of an offline block", pfn, 1, 0);
    if (!block->zone)
        return true;
    for (unsigned i = 0; i < core->block_pageblocks; i++)
        isolated += (pageblock_word(block, i) & WORD_ISOLATED) != 0;
    if (isolated != block->isolated_count)
        return wrong(core, "a block's isolated pageblocks", pfn, block->isolated_count, isolated);
    if ((isolated != 0) != ((block_entry(core, block) & ENTRY_ISOLATED) != 0))
        return wrong(core, "the isolated attribute of a block", pfn, !isolated, isolated != 0);
    return true;
}

static bool block_is_valid(struct core *core, struct block *block, uint64_t *free)
{
    uint64_t pfn = block_start(core, block);

    if (!block_state_is_valid(core, block))
        return false;
    if (!block->zone)
        return true;
    for (unsigned i = 0; i < core->block_pageblocks; i++) {
        if (!pageblock_is_valid(core, block, i, free))
            return false;
    }
    for (unsigned mask = 1; mask < MASKS; mask++) {
        if (atomic_load(&block->masks[mask]) &&
            block_set_next(&block->zone->sets[SET_OF_MASK(mask)], block->number, block->number + 1) !=
                block->number)
            return wrong(core, "a block's place in its zone's set", pfn, 0, mask);
    }
    if (atomic_load(&block->masks[MASK_FREE]) &&
        block_set_next(&block->zone->sets[SET_FREE_CLEAN], block->number, block->number + 1) !=
            block->number &&
        block_set_next(&block->zone->sets[SET_FREE_HOME], block->number, block->number + 1) != block->number)
        return wrong(core, "a block's place in its zone's free sets", pfn, 0, 1);
    return true;
}

/* Frames in use or free, and what each zone counts of them. Without owners' words nothing says what single
 * frames are. */
static bool online_is_valid(struct core *core)
{
    uint64_t zones = (uint64_t)core->node_count * PLEAT_ZONE_KINDS;
    uint64_t total = 0;

    for (uint64_t i = 0; i < zones && core->owner_shift; i++) {
        uint64_t found = 0;

        for (uint64_t number = 0; number < core->block_count; number++) {
            struct block *block = block_of(core, number << core->block_order);
            struct pleat_look look = {0};

            if (!block || block->zone != &core->zones[i])
                continue;
            look_block(core, block, 0, block_frames(core), &look);
            found += block_frames(core) - look.memmap - look.absent - look.fake_offline;
        }
        if (found != core->zones[i].online_frames)
            return wrong(core, "the online frames of a zone", i, core->zones[i].online_frames, found);
        total += found;
    }
    return !core->owner_shift || total == core->online_frames ||
           wrong(core, "the sum of online frames", 0, core->online_frames, total);
}

bool pleat_is_valid(struct pleat *pleat)
{
    struct core *core = core_of(pleat);
    uint64_t in_words = 0;
    int64_t counted = 0;
    bool valid = true;

    hotplug_lock(core);
    for (uint64_t i = 0; valid && i < core->block_count; i++) {
        struct block *block = block_of(core, i << core->block_order);

        if (block)
            valid = block_is_valid(core, block, &in_words);
    }
    counted = (int64_t)in_words;
    for (unsigned i = 0; i < core->cpu_count; i++) {
        for (unsigned mobility = 0; mobility < MOBILITIES; mobility++) {
            counted += counter_get(&core->cpus[i].caches[mobility].count);
            for (unsigned kind = 0; kind < SLOT_KINDS; kind++)
                counted += counter_get(&core->cpus[i].slots[kind][mobility].count);
        }
    }
    if (valid && counted != core_free_frames(core))
        valid = wrong(core, "the sum of free frames", 0, (uint64_t)core_free_frames(core), (uint64_t)counted);
    valid = valid && online_is_valid(core) && unpopulated_is_valid(core);
    hotplug_unlock(core);
    return valid;
}
