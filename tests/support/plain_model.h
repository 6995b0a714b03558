/* SPDX-License-Identifier: MIT
 *
 * A small, obvious model of a page-frame manager: an array with what each frame is, an array of memory
 * blocks, an array of allocations. It decides nothing; it is told what happened, and answers what there is by
 * counting. Random tests drive it beside the core and compare.
 */
#ifndef TESTS_PLAIN_MODEL_H
#define TESTS_PLAIN_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include <pleat/pleat.h>

enum plain_kind {
    PLAIN_NOWHERE = 0,   /**< no block was added there */
    PLAIN_OFFLINE,       /**< in an OFFLINE block, to go online with it */
    PLAIN_ABSENT,        /**< a hole of the boot map */
    PLAIN_MEMMAP,        /**< of a block; in the block itself or at the start of its range */
    PLAIN_MEMMAP_NORMAL, /**< of a block elsewhere, taken from online memory */
    PLAIN_TABLES,        /**< the core's own */
    PLAIN_RESERVED,      /**< boot memory that is never allocated */
    PLAIN_BOOT_IN_USE,   /**< boot memory that isn't released yet */
    PLAIN_WITHHELD,      /**< fake-offline */
    PLAIN_FREE,
    PLAIN_ALLOCATED, /**< part of the allocation that plain.owner[pfn] says */
    PLAIN_TAKEN,     /**< allocated by a take, frame by frame */
    PLAIN_KINDS
};

struct plain_block {
    enum pleat_block_state state; /**< PLEAT_BLOCK_NONE: not added */
    unsigned node;
    enum pleat_zone_kind zone; /**< only if not OFFLINE */
    bool removable;
    bool held; /**< GOING_OFFLINE, but it was OFFLINE before: it only is to stay so */
    int range; /**< the test's own number of its range, -1 for boot memory */
};

struct plain_allocation {
    bool live;
    bool isolated; /**< between its owner's isolate() and migrate() or putback() */
    uint64_t pfn;
    unsigned order;
    unsigned mobility;
    pleat_tag tag;
    uint64_t id;    /**< never used twice; its stamp */
    uint32_t place; /**< in plain.live */
};

struct plain {
    uint64_t frames; /**< all PFNs are below */
    uint64_t block_frames;
    uint64_t blocks;
    uint8_t *kind;     /**< of each frame */
    uint32_t *owner;   /**< of each ALLOCATED frame, the index of its allocation */
    uint8_t *isolated; /**< of each pageblock, by how many takes */
    struct plain_block *block;
    uint64_t count[PLAIN_KINDS]; /**< frames of each kind */

    struct plain_allocation *allocation;
    uint32_t allocations; /**< used so far, live or not */
    uint32_t room;
    uint32_t *live; /**< indices of the live ones, in any order */
    uint32_t live_count;
    uint32_t *spare; /**< indices of dead ones, to use again */
    uint32_t spare_count;
    uint64_t next_id;
};

void plain_create(struct plain *plain, uint64_t frames, uint64_t block_frames);
void plain_destroy(struct plain *plain);

/** Says what frames are from now on (not ALLOCATED). */
void plain_set(struct plain *plain, uint64_t pfn, uint64_t frames, enum plain_kind kind);

/** Notes an allocation of frames that are FREE; returns its index. */
uint32_t plain_allocate(struct plain *plain, uint64_t pfn, unsigned order, unsigned mobility, pleat_tag tag);
void plain_free(struct plain *plain, uint32_t index);
void plain_move(struct plain *plain, uint32_t index, uint64_t to_pfn);

/** The live allocation whose first frame is `pfn`, or NULL. */
struct plain_allocation *plain_head(struct plain *plain, uint64_t pfn);

/** Whether all frames are of the kind. */
bool plain_all(const struct plain *plain, uint64_t pfn, uint64_t frames, enum plain_kind kind);

/** Frames of the kind in a range. */
uint64_t plain_count(const struct plain *plain, uint64_t pfn, uint64_t frames, enum plain_kind kind);

/** What pleat_look() should answer. */
void plain_look(const struct plain *plain, uint64_t pfn, uint64_t frames, struct pleat_look *look);

/** Marks the pageblocks that the frames lie in as isolated once more, or once less. */
void plain_isolate(struct plain *plain, uint64_t pfn, uint64_t frames, int by);
bool plain_is_isolated(const struct plain *plain, uint64_t pfn, uint64_t frames);

/** Whether 2^order free frames, aligned, not isolated, lie in one ONLINE block that `allowed` agrees to. */
bool plain_fits(const struct plain *plain, unsigned order,
                bool (*allowed)(const void *context, const struct plain_block *block), const void *context);

/** Whether its frames are in the allocator, or in somebody's hands. */
static inline bool plain_is_online(const struct plain_block *block)
{
    return block->state == PLEAT_BLOCK_ONLINE || (block->state == PLEAT_BLOCK_GOING_OFFLINE && !block->held);
}

static inline struct plain_block *plain_block_of(const struct plain *plain, uint64_t pfn)
{
    return &plain->block[pfn / plain->block_frames];
}

#endif
