/* SPDX-License-Identifier: MIT
 *
 * First fit over an array of bytes.
 */
#include "allocator.h"

uint64_t allocator_get(struct allocator *allocator)
{
    for (uint64_t i = 0; i < AREA_FRAMES; i++) {
        if (allocator->frame[i] == FRAME_FREE) {
            allocator->frame[i] = FRAME_USED;
            allocator->free_frames--;
            return AREA_ADDRESS + i * FRAME_BYTES;
        }
    }
    return 0;
}

void allocator_put(struct allocator *allocator, uint64_t address)
{
    allocator->frame[(address - AREA_ADDRESS) / FRAME_BYTES] = FRAME_FREE;
    allocator->free_frames++;
}
