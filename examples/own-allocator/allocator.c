/* SPDX-License-Identifier: MIT
 *
 * First fit over two bitmaps.
 */
#include "allocator.h"

static bool bit(const uint64_t *bitmap, uint64_t frame)
{
    return bitmap[frame / 64] >> frame % 64 & 1;
}

static void set_bit(uint64_t *bitmap, uint64_t frame, bool value)
{
    const uint64_t mask = UINT64_C(1) << frame % 64;
    bitmap[frame / 64] = value ? bitmap[frame / 64] | mask : bitmap[frame / 64] & ~mask;
}

enum frame_state allocator_state(const struct allocator *allocator, uint64_t frame)
{
    if (!bit(allocator->ours, frame)) {
        return FRAME_NONE;
    }
    return bit(allocator->used, frame) ? FRAME_USED : FRAME_FREE;
}

void allocator_set_state(struct allocator *allocator, uint64_t frame, enum frame_state state)
{
    allocator->free_frames -= allocator_state(allocator, frame) == FRAME_FREE;
    allocator->free_frames += state == FRAME_FREE;
    set_bit(allocator->ours, frame, state != FRAME_NONE);
    set_bit(allocator->used, frame, state == FRAME_USED);
}

uint64_t allocator_get(struct allocator *allocator)
{
    for (uint64_t word = 0; word < AREA_FRAMES / 64; word++) {
        const uint64_t free = allocator->ours[word] & ~allocator->used[word];
        if (free != 0) {
            const uint64_t frame = word * 64 + (unsigned)__builtin_ctzll(free);
            allocator_set_state(allocator, frame, FRAME_USED);
            return AREA_ADDRESS + frame * FRAME_BYTES;
        }
    }
    return 0;
}

void allocator_put(struct allocator *allocator, uint64_t address)
{
    allocator_set_state(allocator, (address - AREA_ADDRESS) / FRAME_BYTES, FRAME_FREE);
}
