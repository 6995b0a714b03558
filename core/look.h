/* SPDX-License-Identifier: MIT
 *
 * Telling what each frame of an online block is: one walk for looks, takes, reports and recounts.
 */
#ifndef PLEAT_CORE_LOOK_H
#define PLEAT_CORE_LOOK_H

#include "memmap.h"

enum frame_kind {
    FRAME_FREE,         /* in the allocator, its bit clear */
    FRAME_SETTLING,     /* nobody's with its bit set: in a CPU's cache, or on its way to or from an owner */
    FRAME_MOVABLE,      /* allocated, its owner can move it */
    FRAME_UNMOVABLE,    /* allocated, and it stays; or reserved */
    FRAME_ISOLATING,    /* movable, somebody evacuates it now */
    FRAME_MEMMAP,       /* holds a memmap */
    FRAME_FAKE_OFFLINE, /* withheld */
    FRAME_ABSENT        /* no memory */
};

/* Frames of one kind in a row: an allocation, or the rest of a pageblock that is all the same. */
struct piece {
    enum frame_kind kind;
    unsigned order;  /* of an allocation */
    uint64_t frames; /* from where the look began to the end of the piece */
    uint64_t head;   /* place in the block of the first frame of the allocation */
    uint64_t word;   /* its owner's word, 0 without */
};

/* What begins at (or reaches over) the place `offset` of a block; at most up to the end of its pageblock, but
 * for allocations larger than that. Inside a CPU's word, or under the hotplug lock. */
struct piece piece_at(struct core *core, struct block *block, uint64_t offset);

/* Adds a piece, cut to `frames`, to a look. */
void look_add(struct core *core, struct block *block, struct pleat_look *look, const struct piece *piece,
              uint64_t offset, uint64_t frames);

/* Looks at part of a block, under the hotplug lock. */
void look_block(struct core *core, struct block *block, uint64_t offset, uint64_t frames,
                struct pleat_look *look);

#endif
