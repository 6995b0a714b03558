/* SPDX-License-Identifier: MIT
 *
 * A hostile guest against the device's queue. The input is the layout, then the guest's memory with the ring
 * and all else in it, then commands: pop, push, copy, change a byte of memory, save and load. What must hold:
 * nothing outside of guest memory is touched (AddressSanitizer; the memory has exactly its size), segments
 * lie inside of it, a broken queue stays broken, and a refused chain can be pushed.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <pleat/virtio_device_ring.h>

#include "fuzz/input.h"

#define BASE     UINT64_C(0x10000)
#define BYTES    4096u
#define OUT_MAX  8u
#define SEGMENTS 12u

struct fuzz {
    uint8_t *memory;
    struct input input;
    /** No memory from here on. */
    uint64_t end;
    struct pleat_virtqueue queue;
    uint32_t out;
    struct pleat_virtqueue_chain chains[OUT_MAX];
    struct pleat_virtqueue_segment segments[OUT_MAX][SEGMENTS];
};

static uint16_t next_word(struct fuzz *fuzz)
{
    const uint16_t low = next_byte(&fuzz->input);
    return (uint16_t)(low | (uint16_t)(next_byte(&fuzz->input) << 8));
}

static void *guest_pointer(void *context, uint64_t physical, uint64_t length, bool write)
{
    const struct fuzz *fuzz = context;
    (void)write;
    demand(length > 0);
    if (physical < BASE || length > fuzz->end || physical - BASE > fuzz->end - length) {
        return NULL;
    }
    return fuzz->memory + (physical - BASE);
}

static void check_chain(const struct pleat_virtqueue_chain *chain)
{
    uint64_t readable = 0;
    uint64_t writable = 0;
    demand(chain->readable + (uint32_t)chain->writable <= SEGMENTS);
    for (uint32_t i = 0; i < chain->readable + (uint32_t)chain->writable; i++) {
        const struct pleat_virtqueue_segment *segment = &chain->segments[i];
        demand(segment->length_bytes > 0 && segment->physical >= BASE &&
               segment->physical + segment->length_bytes <= BASE + BYTES);
        *(i < chain->readable ? &readable : &writable) += segment->length_bytes;
    }
    demand(readable == chain->readable_bytes && writable == chain->writable_bytes);
}

static void pop(struct fuzz *fuzz)
{
    struct pleat_virtqueue_chain spare = {.segments = NULL, .capacity = 0};
    struct pleat_virtqueue_chain *chain = fuzz->out < OUT_MAX ? &fuzz->chains[fuzz->out] : &spare;
    const bool was_broken = fuzz->queue.fault != PLEAT_VIRTQUEUE_FAULT_NONE;
    if (fuzz->out < OUT_MAX) {
        chain->segments = fuzz->segments[fuzz->out];
        chain->capacity = SEGMENTS;
    }
    const int result = pleat_virtqueue_pop(&fuzz->queue, chain);
    demand(!was_broken || result == PLEAT_E_PROTOCOL);
    demand((result == PLEAT_E_PROTOCOL) == (fuzz->queue.fault != PLEAT_VIRTQUEUE_FAULT_NONE));
    demand((result == PLEAT_E_REFUSED) == (chain->fault != PLEAT_VIRTQUEUE_FAULT_NONE) || result < 0);
    check_chain(chain);
    if (result == PLEAT_E_REFUSED) {
        const int pushed = pleat_virtqueue_push(&fuzz->queue, chain, 0);
        demand(pushed == PLEAT_OK || fuzz->queue.fault == PLEAT_VIRTQUEUE_FAULT_RING_MEMORY);
    } else if (result == 1 && chain != &spare) {
        fuzz->out++;
    }
}

static void push(struct fuzz *fuzz)
{
    if (fuzz->out == 0) {
        return;
    }
    struct pleat_virtqueue_chain *chain = &fuzz->chains[fuzz->out - 1];
    const uint32_t written = next_byte(&fuzz->input);
    const bool fits = written <= chain->writable_bytes;
    const int result = pleat_virtqueue_push(&fuzz->queue, chain, written);
    demand(result == PLEAT_OK || result == PLEAT_E_PROTOCOL || (result == PLEAT_E_INVALID && !fits));
    fuzz->out -= result != PLEAT_E_INVALID;
}

static void copy(struct fuzz *fuzz)
{
    if (fuzz->out == 0) {
        return;
    }
    uint8_t bytes[64] = {0};
    const struct pleat_virtqueue_chain *chain = &fuzz->chains[fuzz->out - 1];
    const uint32_t offset = next_byte(&fuzz->input);
    const uint32_t length = next_byte(&fuzz->input) % sizeof(bytes);
    const int64_t read = pleat_virtqueue_read(&fuzz->queue, chain, offset, bytes, length);
    const int64_t written = pleat_virtqueue_write(&fuzz->queue, chain, offset, bytes, length);
    demand(read <= (int64_t)length && written <= (int64_t)length);
}

static void migrate(struct fuzz *fuzz)
{
    const struct pleat_virtqueue_state state = pleat_virtqueue_save(&fuzz->queue);
    const struct pleat_virtqueue_config config = fuzz->queue.config;
    const struct pleat_guest_memory memory = fuzz->queue.memory;
    if (fuzz->queue.fault == PLEAT_VIRTQUEUE_FAULT_NONE &&
        pleat_virtqueue_init(&fuzz->queue, &config, &memory) == PLEAT_OK) {
        demand(pleat_virtqueue_load(&fuzz->queue, &state) == PLEAT_OK);
    }
}

static void load_anything(struct fuzz *fuzz)
{
    const uint16_t available = next_word(fuzz);
    const uint16_t used = next_word(fuzz);
    const struct pleat_virtqueue_state state = {available, used, next_byte(&fuzz->input)};
    if (pleat_virtqueue_load(&fuzz->queue, &state) == PLEAT_OK) {
        fuzz->out = 0;
    }
}

static void run(struct fuzz *fuzz)
{
    while (fuzz->input.left > 0) {
        switch (next_byte(&fuzz->input) % 10) {
        case 0:
        case 1:
            pop(fuzz);
            break;
        case 2:
            push(fuzz);
            break;
        case 3:
            copy(fuzz);
            break;
        case 4: {
            const uint16_t at = next_word(fuzz) % BYTES;
            fuzz->memory[at] = next_byte(&fuzz->input);
            break;
        }
        case 5:
            pleat_virtqueue_should_interrupt(&fuzz->queue);
            break;
        case 6:
            pleat_virtqueue_enable_notifications(&fuzz->queue);
            break;
        case 7:
            pleat_virtqueue_disable_notifications(&fuzz->queue);
            break;
        case 8:
            migrate(fuzz);
            break;
        default:
            if (next_byte(&fuzz->input) % 2) {
                load_anything(fuzz);
            } else {
                fuzz->end = next_word(fuzz) % (BYTES + 1u);
            }
            break;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz fuzz;
    memset(&fuzz, 0, sizeof(fuzz));
    fuzz.input = (struct input){data, size};
    fuzz.end = BYTES;
    fuzz.memory = aligned_alloc(4096, BYTES);
    if (!fuzz.memory) {
        return 0;
    }
    memset(fuzz.memory, 0, BYTES);
    const uint8_t flags = next_byte(&fuzz.input);
    const uint8_t areas = next_byte(&fuzz.input);
    struct pleat_virtqueue_config config = {(flags & 1 ? PLEAT_VIRTIO_F_RING_PACKED : 0) |
                                                (flags & 2 ? PLEAT_VIRTIO_F_EVENT_IDX : 0) |
                                                (flags & 4 ? PLEAT_VIRTIO_F_INDIRECT_DESC : 0),
                                            (uint16_t)(1u << (flags >> 3 & 3)), BASE, BASE + 256, BASE + 512};
    if (flags & 0x80) {
        /* Anywhere, also on top of each other. */
        config.size = next_byte(&fuzz.input);
        config.driver_physical = BASE + 2u * (areas & 15);
        config.device_physical = BASE + 4u * (areas >> 4);
    }
    const uint16_t filled = next_word(&fuzz) % (BYTES / 2);
    for (uint16_t i = 0; i < filled && fuzz.input.left > 16; i++) {
        fuzz.memory[i] = next_byte(&fuzz.input);
    }
    const struct pleat_guest_memory memory = {guest_pointer, &fuzz};
    if (pleat_virtqueue_init(&fuzz.queue, &config, &memory) == PLEAT_OK) {
        run(&fuzz);
    }
    free(fuzz.memory);
    return 0;
}
