/* SPDX-License-Identifier: MIT
 *
 * Filling memory with small objects, and freeing some of them at random: what makes a shrink hard.
 *
 *   movable     objects of 1 to 16 frames, as files of 4 to 64 KiB in a page cache
 *   mixed       objects of one movable frame; four of them share an unmovable frame of metadata, which goes
 *               with the last of the four
 *   unmovable   objects of 1 to 16 unmovable frames
 */
#ifndef PLEAT_IMAGES_GUEST_FILL_H
#define PLEAT_IMAGES_GUEST_FILL_H

#include <stdbool.h>
#include <stdint.h>

#include "held.h"
#include "options.h"

/** Zero it before fill_begin(). */
struct fill {
    struct held *held;
    enum fill_objects objects;
    uint32_t free_ppm;
    uint64_t seed;
    uint32_t slots; /* a frame has one */
    unsigned cpus;
};

/** Makes the table for so many bytes. `held` has been begun, and is the fill's alone. Errors: NO_MEMORY,
 * INVALID (more than 2^32 frames, or none). */
int fill_begin(struct fill *fill, struct held *held, enum fill_objects objects, uint32_t free_ppm,
               uint64_t bytes, unsigned cpus);

/** This CPU's share of the filling, or of the freeing; each CPU does its own. */
void fill_allocate(struct fill *fill, unsigned cpu);
void fill_free(struct fill *fill, unsigned cpu);

/** What could leave the devices' memory, at best, in frames. */
struct fill_bound {
    uint64_t boot_frames;    /* online at boot */
    uint64_t plugged_frames; /* of the devices, plugged */
    /* What couldn't be elsewhere than in the devices' memory when it was allocated, can't move, and so keeps
     * the pageblocks that it fills. */
    uint64_t peak_unmovable_frames;
    uint64_t used_frames;  /* now, of all memory */
    uint64_t floor_frames; /* that a shrink leaves free */
};

/** How many of the plugged frames could go. */
uint64_t fill_bound_frames(const struct fill_bound *bound);

#endif
