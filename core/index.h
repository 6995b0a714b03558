/* SPDX-License-Identifier: MIT
 *
 * The index: which pageblocks have free frames, by class, found in the same time in any amount of memory.
 *
 *   pageblock's word   says its class: FREE, or PARTIAL by mobility and by how full it is
 *   block's masks      a bit a pageblock for each class
 *   zone's sets        a bit a block for each class, with a summary
 *
 * The word is the truth and changes by compare-and-swap; masks and sets are hints that follow. Whoever wins
 * a change of class clears the old place and then sets the new one. Two winners on different CPUs can
 * overlap, so a stale place may remain set: whoever looks there finds the word saying otherwise, sets the
 * right place, clears the wrong one, and looks at the word again. A place is never lost: the last step of all
 * changes is a set, and one who clears outside of a change looks again afterwards.
 */
#ifndef PLEAT_CORE_INDEX_H
#define PLEAT_CORE_INDEX_H

#include "memmap.h"

/* What an allocation asks for, decoded. */
struct wish {
    uint8_t node;
    uint8_t mobility;
    uint8_t order;
    uint8_t zone_limit; /* no zone above it (DMA, DMA32), or PLEAT_ZONE_MOVABLE */
    bool this_node;
    /* Numbers of blocks that don't serve; none where the count is 0. */
    uint64_t avoided_block;
    uint64_t avoided_blocks;
};

/* The class that a word's count and flags ask for, put into it. */
uint32_t word_classified(uint32_t word);

/* Says whether the fields of a word can be together. */
bool word_is_valid(uint32_t word);

/* After a word went from `old` to `now`: moves the pageblock in the masks and the block in the zone's sets.
 */
void index_move(struct block *block, unsigned pageblock, uint32_t old, uint32_t now);

/* The mask that a word's class puts its pageblock in; MASKS if in none. */
unsigned mask_of_word(uint32_t word);

/* Puts the pageblocks of a block that goes online into its masks, which are empty, and the block into its
 * zone's sets. */
void index_publish(struct block *block, const uint64_t masks[MASKS]);

/* `count` frames, whose bits are clear by now, come back to a pageblock; the largest free run is of `order`.
 * Returns the new word. */
uint32_t pageblock_return(struct block *block, unsigned pageblock, uint32_t count, unsigned order);

/* Sets and clears flags of a word and lets the index follow. Returns the word before. */
uint32_t pageblock_flags(struct block *block, unsigned pageblock, uint32_t set, uint32_t clear);

/* The pageblock now holds, or no longer holds, frames that can't be moved. */
void block_unmovable_set(struct block *block, unsigned pageblock);
void block_unmovable_clear(struct block *block, unsigned pageblock);

/* Takes all of a block's places out of its zone's sets; it is isolated, its masks are empty. */
void index_forget_block(struct block *block);

/*
 * Takes a whole pageblock of a class for a slot: its word becomes OWNED, its count goes to *slot. The wish
 * says which mobility it is wanted for. For a partial class, one whose runs can't hold the wish's order is
 * passed over, after a few of which the search gives up unless `thorough`.
 */
bool index_take_free(struct core *core, struct zone *zone, const struct wish *wish, struct cpu *cpu,
                     struct slot *slot);
/* The same, only from blocks that are never removed. */
bool index_take_free_fixed(struct core *core, struct zone *zone, const struct wish *wish, struct slot *slot);
bool index_take_partial(struct core *core, struct zone *zone, unsigned side, const struct wish *wish,
                        unsigned bucket, bool thorough, struct slot *slot);

/* Takes this very pageblock, if it has a class. */
bool index_take_this(struct block *block, unsigned pageblock, unsigned mobility, struct slot *slot);

/* Takes some pageblock of a mask, of boot memory or of a range of `owner` (NULL: boot memory only), but not
 * to allocate from it: a free one counts as movable from then on, a partial one as before. */
bool index_take_for_owner(struct core *core, struct zone *zone, unsigned mask, const void *owner,
                          struct slot *slot);

/* Takes 2^(order-9) whole pageblocks as one huge allocation; with home_only from blocks that hold unmovable
 * frames or are never removed. Returns its first PFN, or PLEAT_E_NO_MEMORY. */
int64_t index_take_huge(struct core *core, struct zone *zone, const struct wish *wish, struct cpu *cpu,
                        bool home_only);

/* Sets of blocks. */
uint64_t block_set_words(uint64_t blocks);
void block_set_add(struct block_set *set, uint64_t number);
void block_set_remove(struct block_set *set, uint64_t number);
/* The first member at or after `from`, or `blocks` if there is none. */
uint64_t block_set_next(const struct block_set *set, uint64_t from, uint64_t blocks);

#endif
