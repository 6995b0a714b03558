/* SPDX-License-Identifier: MIT
 *
 * A hostile device against the driver's ring. The input is the layout, then commands: the driver adds,
 * publishes, asks and polls; the device writes any byte of shared memory. What must hold: private memory
 * never becomes inconsistent (_is_valid), poll returns only tokens that are out and no more bytes than were
 * given, a broken ring stays broken until it is set up anew.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <pleat/virtio_driver_ring.h>

#include "fuzz/input.h"

#define SHARED_BYTES_MAX 4096u
#define BASE             UINT64_C(0x10000)
#define TOKENS           32u

struct fuzz {
    struct input input;
    struct pleat_virtio_ring_config config;
    struct pleat_virtio_ring_memory memory;
    struct pleat_virtio_ring ring;
    /** 0: not out; else the bytes that the device may write, plus 1. */
    uint32_t added[TOKENS];
    bool published[TOKENS];
};

static void add(struct fuzz *fuzz)
{
    struct pleat_virtio_buffer buffers[4];
    const uint32_t token = next_byte(&fuzz->input) % TOKENS;
    const uint8_t form = next_byte(&fuzz->input);
    const uint16_t count = (uint16_t)(form % 5);
    uint32_t writable = 0;
    for (uint16_t i = 0; i < count; i++) {
        buffers[i].physical = BASE + 0x100000u + 256u * i;
        buffers[i].length_bytes = next_byte(&fuzz->input);
        buffers[i].device_writable = form >> (4 + i) & 1;
        writable += buffers[i].device_writable ? buffers[i].length_bytes : 0;
    }
    if (fuzz->added[token]) {
        return;
    }
    const uint16_t before = pleat_virtio_ring_free_slots(&fuzz->ring);
    if (pleat_virtio_ring_add(&fuzz->ring, buffers, count, token) == PLEAT_OK) {
        fuzz->added[token] = writable + 1;
    } else {
        demand(pleat_virtio_ring_free_slots(&fuzz->ring) == before);
    }
}

static void publish(struct fuzz *fuzz)
{
    if (pleat_virtio_ring_is_broken(&fuzz->ring)) {
        return;
    }
    pleat_virtio_ring_publish(&fuzz->ring);
    for (uint32_t i = 0; i < TOKENS; i++) {
        fuzz->published[i] = fuzz->added[i] != 0;
    }
}

static void poll(struct fuzz *fuzz)
{
    uint64_t token = UINT64_MAX;
    uint32_t written = UINT32_MAX;
    const bool was_broken = pleat_virtio_ring_is_broken(&fuzz->ring);
    const int result = pleat_virtio_ring_poll(&fuzz->ring, &token, &written);
    demand(!was_broken || result == PLEAT_E_PROTOCOL);
    demand((result == PLEAT_E_PROTOCOL) == pleat_virtio_ring_is_broken(&fuzz->ring));
    if (result == 1) {
        demand(token < TOKENS && fuzz->published[token] && written < fuzz->added[token]);
        fuzz->added[token] = 0;
        fuzz->published[token] = false;
    }
}

static void device_writes(struct fuzz *fuzz)
{
    const size_t at =
        ((size_t)next_byte(&fuzz->input) << 8 | next_byte(&fuzz->input)) % fuzz->memory.shared_bytes;
    ((uint8_t *)fuzz->memory.shared)[at] = next_byte(&fuzz->input);
}

/** Writes where it hurts most: the next used element or slot. */
static void device_uses(struct fuzz *fuzz)
{
    const uint8_t id = next_byte(&fuzz->input);
    const uint8_t length = next_byte(&fuzz->input);
    struct pleat_virtio_ring *ring = &fuzz->ring;
    demand(ring->descriptor_area && ring->device_area);
    if (ring->packed) {
        uint8_t *slot = ring->descriptor_area + 16u * ring->next_used;
        pleat_write_le32(slot + 8, length);
        pleat_write_le16(slot + 12, id);
        pleat_write_le16(slot + 14, ring->used_wrap ? 0x8082u : 2u);
    } else {
        uint8_t *element = ring->device_area + 4 + 8u * (ring->next_used & (ring->size - 1u));
        pleat_write_le32(element, id);
        pleat_write_le32(element + 4, length);
        pleat_write_le16(ring->device_area + 2, (uint16_t)(ring->next_used + 1u));
    }
}

static void restart(struct fuzz *fuzz)
{
    demand(pleat_virtio_ring_init(&fuzz->ring, &fuzz->config, &fuzz->memory) == PLEAT_OK);
    memset(fuzz->added, 0, sizeof(fuzz->added));
    memset(fuzz->published, 0, sizeof(fuzz->published));
}

static void run(struct fuzz *fuzz)
{
    restart(fuzz);
    while (fuzz->input.left > 0) {
        switch (next_byte(&fuzz->input) % 12) {
        case 0:
        case 1:
        case 2:
            add(fuzz);
            break;
        case 3:
            publish(fuzz);
            break;
        case 4:
        case 5:
            poll(fuzz);
            break;
        case 6:
            device_writes(fuzz);
            break;
        case 7:
        case 8:
            device_uses(fuzz);
            break;
        case 9:
            pleat_virtio_ring_should_notify(&fuzz->ring);
            break;
        case 10:
            pleat_virtio_ring_enable_interrupts(&fuzz->ring);
            break;
        default:
            if (next_byte(&fuzz->input) % 8 == 0) {
                restart(fuzz);
            } else {
                pleat_virtio_ring_disable_interrupts(&fuzz->ring);
            }
            break;
        }
        demand(pleat_virtio_ring_is_valid(&fuzz->ring));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz fuzz;
    struct pleat_virtio_ring_needs needs;
    memset(&fuzz, 0, sizeof(fuzz));
    fuzz.input = (struct input){data, size};
    const uint8_t flags = next_byte(&fuzz.input);
    fuzz.config.features = (flags & 1 ? PLEAT_VIRTIO_F_RING_PACKED : 0) |
                           (flags & 2 ? PLEAT_VIRTIO_F_EVENT_IDX : 0) |
                           (flags & 4 ? PLEAT_VIRTIO_F_INDIRECT_DESC : 0);
    fuzz.config.size = next_byte(&fuzz.input) % 33;
    fuzz.config.indirect_tables = flags >> 3 & 3;
    fuzz.config.indirect_segments = flags >> 5;
    if (pleat_virtio_ring_needs(&fuzz.config, &needs) != PLEAT_OK) {
        return 0;
    }
    demand(needs.shared_bytes <= SHARED_BYTES_MAX);
    fuzz.memory.shared = aligned_alloc(16, (needs.shared_bytes + 15) / 16 * 16);
    fuzz.memory.shared_physical = BASE;
    fuzz.memory.shared_bytes = needs.shared_bytes;
    fuzz.memory.private_storage = malloc(needs.private_bytes);
    fuzz.memory.private_bytes = needs.private_bytes;
    if (fuzz.memory.shared && fuzz.memory.private_storage) {
        run(&fuzz);
    }
    free(fuzz.memory.shared);
    free(fuzz.memory.private_storage);
    return 0;
}
