/* SPDX-License-Identifier: MIT
 *
 * Blocks of frames that this image holds, each full of a pattern of its own, so that a block that was lost,
 * given out twice or torn while it moved has the wrong one.
 */
#ifndef IMAGES_CORE_HELD_H
#define IMAGES_CORE_HELD_H

#include <stdbool.h>
#include <stdint.h>

#include <pleat/pleat.h>

#define HELD_MAX 32768u

struct held {
    struct pleat *pleat;
    unsigned owner;
    unsigned slots; /* that were used since all were free; the cookie of a block is its slot */
    uint64_t moved; /* blocks, since held_begin() */
    struct {
        uint64_t pfn; /* 0: the slot is unused */
        unsigned order;
        uint64_t stamp;
    } blocks[HELD_MAX];
};

/* Registers the owner of the movable ones; `held` stays where it is. Errors: pleat_owner_register()'s. */
int held_begin(struct held *held, struct pleat *pleat);
/* Allocates one more. False: there is no room, or pleat_alloc() failed. */
bool held_allocate(struct held *held, unsigned order, unsigned flags);
/* Every block has its own pattern, and is known by its tag. */
bool held_is_whole(struct held *held);
/* How many have a frame in the range. */
unsigned held_inside(const struct held *held, uint64_t start_pfn, uint64_t frames);
/* Frees those in every `step`th slot, or all (1). False: a free failed. */
bool held_free(struct held *held, unsigned step);

#endif
