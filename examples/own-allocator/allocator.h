/* SPDX-License-Identifier: MIT
 *
 * An operating system's own page allocator, as plain as can be: a bitmap of the frames that it has, and one
 * of those that are in use. It stands for the allocator that you have already. pleat_memory_ops over it are
 * in allocator_ops.c.
 */
#ifndef OWN_ALLOCATOR_H
#define OWN_ALLOCATOR_H

#include <stdbool.h>
#include <stdint.h>

#include <pleat/memory_ops.h>

#define FRAME_BYTES UINT64_C(4096)
#define PIECE_BYTES (UINT64_C(256) << 10)
#define BLOCK_BYTES (UINT64_C(4) << 20)
/** Of a part of the address space that memory may come and go in. */
#define AREA_ADDRESS UINT64_C(0x100000000)
#define AREA_BYTES   (UINT64_C(64) << 20)
#define AREA_FRAMES  (AREA_BYTES / FRAME_BYTES)
#define AREA_BLOCKS  (AREA_BYTES / BLOCK_BYTES)

enum frame_state {
    FRAME_NONE, /* not ours (any more, or yet) */
    FRAME_FREE,
    FRAME_USED
};

struct allocator {
    uint64_t ours[AREA_FRAMES / 64]; /* a bit for each frame */
    uint64_t used[AREA_FRAMES / 64]; /* only of frames that are ours */
    bool added[AREA_BLOCKS];
    uint64_t free_frames;
};

/* Frames by number, from the start of the area. */
enum frame_state allocator_state(const struct allocator *allocator, uint64_t frame);
void allocator_set_state(struct allocator *allocator, uint64_t frame, enum frame_state state);

/* The address of a free frame, which is now used; 0: there is none. */
uint64_t allocator_get(struct allocator *allocator);
void allocator_put(struct allocator *allocator, uint64_t address);

/* Fills in `memory` for a driver. plug_only: as an allocator that can't take memory back. `allocator` and
 * `memory` must stay where they are. */
void allocator_memory(struct allocator *allocator, struct pleat_memory *memory, bool plug_only);

#endif
