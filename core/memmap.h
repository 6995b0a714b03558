/* SPDX-License-Identifier: MIT
 *
 * Finding the metadata of a frame: directory -> memmap -> owner's word, bits, word.
 *
 * A walker may follow these only inside a CPU's word (see cpu.h), under the hotplug lock, or while the lock's
 * holder waits for him (pleat_take_help()): a memmap goes away after its block was unlinked and every CPU's
 * word was taken once.
 */
#ifndef PLEAT_CORE_MEMMAP_H
#define PLEAT_CORE_MEMMAP_H

#include "types.h"

static inline uint64_t block_frames(const struct core *core)
{
    return (uint64_t)1 << core->block_order;
}

/* ENTRY_EMPTY when nothing is added there, or the PFN is beyond the directory. */
static inline uint64_t entry_of(const struct core *core, uint64_t pfn)
{
    uint64_t number = pfn >> core->block_order;

    if (unlikely(number >= core->block_count))
        return ENTRY_EMPTY;
    return atomic_load_explicit(&core->directory[number], memory_order_acquire);
}

/* The same for a frame that is known to be in a block. */
static inline uint64_t entry_of_block(const struct core *core, uint64_t pfn)
{
    return atomic_load_explicit(&core->directory[pfn >> core->block_order], memory_order_acquire);
}

static inline unsigned entry_node(uint64_t entry)
{
    return entry >> ENTRY_NODE_SHIFT & (PLEAT_MAX_NODES - 1);
}

static inline unsigned char *entry_memmap(uint64_t entry)
{
    return (unsigned char *)(uintptr_t)(entry &
                                        ~(uint64_t)ENTRY_ATTRIBUTES); // NOLINT(performance-no-int-to-ptr)
}

/* The hot part begins after the owners' words of `colour` pageblocks. */
static inline uint64_t hot_offset(const struct core *core, uint64_t entry)
{
    return core->owner_shift ? (entry & ENTRY_COLOUR_MASK) * FRAMES << core->owner_shift : 0;
}

static inline unsigned char *entry_hot(const struct core *core, uint64_t entry)
{
    return entry_memmap(entry) + hot_offset(core, entry);
}

/* Only with owners' words. `offset` is the frame's place in its block. */
static inline _Atomic uint64_t *entry_owner(const struct core *core, uint64_t entry, uint64_t offset)
{
    /* Without a branch: which side of the hot part a frame's word lies on, nothing predicts. */
    uint64_t behind = -(uint64_t)(offset >= (entry & ENTRY_COLOUR_MASK) * FRAMES);

    return (_Atomic uint64_t *)(void *)(entry_memmap(entry) + (offset << core->owner_shift) +
                                        (core->hot_bytes & behind));
}

static inline uint32_t entry_word(const struct core *core, uint64_t entry, uint64_t offset)
{
    unsigned char *words = entry_hot(core, entry) + core->words_offset;

    return atomic_load_explicit((_Atomic uint32_t *)(void *)words + offset / FRAMES, memory_order_relaxed);
}

static inline struct block *entry_block(const struct core *core, uint64_t entry)
{
    return (struct block *)(void *)(entry_hot(core, entry) + core->head_offset);
}

/* The block that holds a frame, or NULL. */
static inline struct block *block_of(const struct core *core, uint64_t pfn)
{
    uint64_t entry = entry_of(core, pfn);

    return entry_memmap(entry) ? entry_block(core, entry) : NULL;
}

static inline uint64_t block_start(const struct core *core, const struct block *block)
{
    return block->number << core->block_order;
}

static inline uint64_t block_entry(const struct core *core, const struct block *block)
{
    return atomic_load_explicit(&core->directory[block->number], memory_order_relaxed);
}

static inline _Atomic uint64_t *block_bits(struct block *block, unsigned pageblock)
{
    return block->bits + (size_t)pageblock * WORD_COUNT;
}

static inline _Atomic uint64_t *block_owner(const struct core *core, const struct block *block,
                                            uint64_t offset)
{
    return entry_owner(core, block_entry(core, block), offset);
}

/* Whoever finds an owner's number in it finds the owner registered. */
static inline uint64_t owner_get(const struct core *core, const struct block *block, uint64_t offset)
{
    return atomic_load_explicit(block_owner(core, block, offset), memory_order_acquire);
}

static inline void owner_set(const struct core *core, const struct block *block, uint64_t offset,
                             uint64_t word)
{
    atomic_store_explicit(block_owner(core, block, offset), word, memory_order_release);
}

/* The owner's word of an allocation of `order` whose first frame is at `offset`. */
static inline _Atomic uint64_t *head_owner(const struct core *core, const struct block *block,
                                           uint64_t offset, unsigned order)
{
    return order < PLEAT_PAGEBLOCK_ORDER ? block_owner(core, block, offset)
                                         : &block->huge_owners[offset / FRAMES];
}

static inline uint32_t pageblock_word(const struct block *block, unsigned pageblock)
{
    return atomic_load_explicit(&block->words[pageblock], memory_order_acquire);
}

static inline bool bit_get(struct block *block, uint64_t offset)
{
    return atomic_load_explicit(&block->bits[offset / 64], memory_order_relaxed) >> (offset % 64) & 1;
}

/* Bits from..to-1 of a 64-bit word, 0 <= from < to <= 64. */
static inline uint64_t mask_of(unsigned from, unsigned to)
{
    return ~(uint64_t)0 >> (64 - (to - from)) << from;
}

/* Frames of a pageblock that hold memmaps: the first ones, where the block's prefix reaches into it. */
static inline unsigned pageblock_prefix(const struct block *block, unsigned pageblock)
{
    uint64_t before = (uint64_t)pageblock * FRAMES;

    if (block->prefix_frames <= before)
        return 0;
    return block->prefix_frames - before < FRAMES ? (unsigned)(block->prefix_frames - before) : FRAMES;
}

/* Free frames of a pageblock that nobody has used yet. */
static inline unsigned pageblock_fresh_count(const struct block *block, unsigned pageblock)
{
    return FRAMES - pageblock_prefix(block, pageblock);
}

/*
 * Writes the bits and the owners' words of a pageblock that nobody has used yet: free ones, and the memmap's.
 * Called by the CPU that takes the pageblock first (which owns it then), or under the hotplug lock before
 * it's online. So an add writes a word a pageblock, and the rest is written when it is needed, where it is
 * needed.
 */
void pageblock_initialise(struct core *core, struct block *block, unsigned pageblock);

/* Brings what memmap_create() and going online will write of a memmap nearer. */
void memmap_prefetch(const struct core *core, const unsigned char *memmap, uint64_t number);

/* Lays a memmap out at `memmap` and fills in its head; all pageblocks are OFFLINE, all bits clear. */
struct block *memmap_create(struct core *core, unsigned char *memmap, uint64_t memmap_pfn, uint64_t number,
                            const struct range *range, uint32_t prefix_frames, uint64_t *entry);

/* Sizes of everything in a memmap, from the config; called once. Returns false if it doesn't fit its block.
 */
bool memmap_measure(struct core *core);

#endif
