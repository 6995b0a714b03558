/* SPDX-License-Identifier: MIT
 *
 * The memmap of a memory block: its layout, and its first content.
 */
#include "memmap.h"

#include "index.h"

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

bool memmap_measure(struct core *core)
{
    uint64_t pageblocks = core->block_pageblocks;
    uint64_t frame_bytes = (uint64_t)1 << core->frame_shift;
    uint64_t owners = core->owner_shift ? pageblocks * FRAMES << core->owner_shift : 0;

    core->words_offset = pageblocks * BITS_BYTES;
    core->huge_offset = round_up(core->words_offset + pageblocks * sizeof(uint32_t), CACHE_LINE);
    core->head_offset = core->huge_offset;
    if (core->owner_shift)
        core->head_offset = round_up(core->huge_offset + pageblocks * sizeof(uint64_t), CACHE_LINE);
    core->hot_bytes = (uint32_t)round_up(core->head_offset + sizeof(struct block), CACHE_LINE);
    core->memmap_bytes = owners + core->hot_bytes;
    core->memmap_frames = round_up(core->memmap_bytes, frame_bytes) / frame_bytes;
    return core->memmap_frames < block_frames(core);
}

/* A multiple of an odd number spreads neighbours over the places that there are. */
static uint64_t colour_of(const struct core *core, uint64_t number)
{
    uint64_t places = core->block_pageblocks < ENTRY_COLOURS ? core->block_pageblocks : ENTRY_COLOURS;

    return core->owner_shift ? number * 11 % places : 0;
}

void memmap_prefetch(const struct core *core, const unsigned char *memmap, uint64_t number)
{
    const unsigned char *hot =
        memmap + (core->owner_shift ? colour_of(core, number) * FRAMES << core->owner_shift : 0);

    for (uint64_t at = core->words_offset; at < core->huge_offset; at += CACHE_LINE)
        __builtin_prefetch(hot + at, 1);
    for (uint64_t at = core->head_offset; at < core->hot_bytes; at += CACHE_LINE)
        __builtin_prefetch(hot + at, 1);
}

struct block *memmap_create(struct core *core, unsigned char *memmap, uint64_t memmap_pfn, uint64_t number,
                            const struct range *range, uint32_t prefix_frames, uint64_t *entry)
{
    uint32_t pageblocks = core->block_pageblocks;
    uint64_t attributes =
        colour_of(core, number) | (uint64_t)range->node << ENTRY_NODE_SHIFT | ENTRY_ISOLATED;
    unsigned char *hot;
    struct block *block;

    *entry = (uint64_t)(uintptr_t)memmap | attributes;
    hot = entry_hot(core, *entry);
    block = (struct block *)(void *)(hot + core->head_offset);
    __builtin_memset((void *)block, 0, sizeof(*block));
    block->number = number;
    block->memmap_pfn = memmap_pfn;
    block->prefix_frames = prefix_frames;
    block->range = *range;
    block->bits = (_Atomic uint64_t *)(void *)hot;
    block->huge_owners = (_Atomic uint64_t *)(void *)(hot + core->huge_offset);
    block->words = (_Atomic uint32_t *)(void *)(hot + core->words_offset);
    for (uint32_t i = 0; i < pageblocks; i++)
        atomic_store_explicit(&block->words[i], WORD_OFFLINE, memory_order_relaxed);
    atomic_store_explicit(&block->state, PLEAT_BLOCK_OFFLINE, memory_order_relaxed);
    return block;
}

void pageblock_initialise(struct core *core, struct block *block, unsigned pageblock)
{
    uint64_t start = (uint64_t)pageblock * FRAMES;
    unsigned prefix = pageblock_prefix(block, pageblock);
    _Atomic uint64_t *bits = block_bits(block, pageblock);

    for (unsigned i = 0; i < WORD_COUNT; i++) {
        uint64_t word = prefix >= (i + 1) * 64 ? ~(uint64_t)0
                        : prefix > i * 64      ? mask_of(0, prefix - i * 64)
                                               : 0;

        atomic_store_explicit(&bits[i], word, memory_order_relaxed);
    }
    if (core->owner_shift) {
        _Atomic uint64_t *words = block_owner(core, block, start);

        __builtin_memset((void *)words, 0, (size_t)FRAMES << core->owner_shift);
        for (unsigned i = 0; i < prefix; i++)
            owner_set(core, block, start + i, owner_word_special(OWNER_MEMMAP));
    }
    atomic_fetch_or_explicit(&block->words[pageblock], WORD_INITIALISED, memory_order_release);
}
