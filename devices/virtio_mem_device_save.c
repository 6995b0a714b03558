/* SPDX-License-Identifier: MIT
 *
 * The virtio-mem device's state as bytes, to save a machine and to move it. Little-endian:
 *
 *   offset bytes
 *        0     8  "PleatVMm"
 *        8     4  version, 1
 *       12     4  flags: bit 0, a driver is accepted
 *       16     8  address of the region
 *       24     8  region_bytes
 *       32     8  block_bytes
 *       40     8  requested_bytes
 *       48     8  usable_bytes
 *       56     8  plugged_bytes
 *       64     8  the driver's features, 0 if there is none
 *       72     n  a bit for each block, set if it is plugged; least significant bit first
 *
 * Address, region and block are there to be compared, not to be taken over: a state is loaded into a device
 * that was created with the same config. Whoever wrote the bytes is not trusted: each field is held against
 * the others and against the device before a single block is mapped.
 */
#include <string.h>

#include "devices/block_bits.h"
#include "devices/virtio_mem_device.h"

struct saved_state {
    uint8_t magic[8];
    struct pleat_le32 version;
    struct pleat_le32 flags;
    struct pleat_le64 address;
    struct pleat_le64 region_bytes;
    struct pleat_le64 block_bytes;
    struct pleat_le64 requested_bytes;
    struct pleat_le64 usable_bytes;
    struct pleat_le64 plugged_bytes;
    struct pleat_le64 driver_features;
};

PLEAT_WIRE_SIZE(saved_state, 72);

enum { VERSION = 1, FLAG_ACCEPTED = 1 };

static const uint8_t magic[8] = {'P', 'l', 'e', 'a', 't', 'V', 'M', 'm'};

static size_t bitmap_bytes(const struct pleat_virtio_mem_device *device)
{
    return (size_t)(device->block_count / 8 + (device->block_count % 8 != 0));
}

size_t pleat_virtio_mem_device_save_bytes(const struct pleat_virtio_mem_device *device)
{
    return sizeof(struct saved_state) + bitmap_bytes(device);
}

int pleat_virtio_mem_device_save(const struct pleat_virtio_mem_device *device, void *to, size_t bytes)
{
    if (bytes < pleat_virtio_mem_device_save_bytes(device))
        return PLEAT_E_NO_MEMORY;

    struct saved_state state;
    memcpy(state.magic, magic, sizeof(magic));
    state.version = pleat_le32(VERSION);
    state.flags = pleat_le32(device->accepted ? FLAG_ACCEPTED : 0);
    state.address = pleat_le64(device->config.address);
    state.region_bytes = pleat_le64(device->config.region_bytes);
    state.block_bytes = pleat_le64(device->config.block_bytes);
    state.requested_bytes = pleat_le64(device->requested_bytes);
    state.usable_bytes = pleat_le64(device->usable_bytes);
    state.plugged_bytes = pleat_le64(device->plugged_bytes);
    state.driver_features = pleat_le64(device->driver_features);
    memcpy(to, &state, sizeof(state));

    uint8_t *bitmap = (uint8_t *)to + sizeof(state);
    for (size_t byte = 0; byte < bitmap_bytes(device); byte++)
        bitmap[byte] = (uint8_t)(device->plugged[byte / 8] >> byte % 8 * 8);
    return PLEAT_OK;
}

/* Up to 8 bytes of the bitmap from `byte` on, as a word. */
static uint64_t bitmap_word(const uint8_t *bitmap, size_t byte, size_t bytes)
{
    uint64_t word = 0;
    for (size_t i = 0; i < 8 && byte + i < bytes; i++)
        word |= (uint64_t)bitmap[byte + i] << i * 8;
    return word;
}

/* The plugged bytes that the bitmap says; UINT64_MAX if a block beyond `usable_blocks` is plugged. */
static uint64_t bitmap_plugged(const struct pleat_virtio_mem_device *device, const uint8_t *bitmap,
                               uint64_t usable_blocks)
{
    const size_t bytes = bitmap_bytes(device);
    uint64_t blocks = 0;

    for (size_t byte = 0; byte < bytes; byte += 8) {
        const uint64_t word = bitmap_word(bitmap, byte, bytes);
        const uint64_t first_block = (uint64_t)byte * 8;
        const uint64_t left = usable_blocks > first_block ? usable_blocks - first_block : 0;
        if (left < 64 && word >> left)
            return UINT64_MAX;
        blocks += (unsigned)__builtin_popcountll(word);
    }
    return blocks * device->config.block_bytes;
}

static int check(const struct pleat_virtio_mem_device *device, const struct saved_state *state,
                 const uint8_t *bitmap)
{
    const struct pleat_virtio_mem_device_config *config = &device->config;
    const uint64_t requested = pleat_le64_get(state->requested_bytes);
    const uint64_t usable = pleat_le64_get(state->usable_bytes);
    const uint64_t features = pleat_le64_get(state->driver_features);
    const uint32_t flags = pleat_le32_get(state->flags);

    if (pleat_le64_get(state->address) != config->address ||
        pleat_le64_get(state->region_bytes) != config->region_bytes ||
        pleat_le64_get(state->block_bytes) != config->block_bytes)
        return PLEAT_E_PROTOCOL;
    if ((requested | usable) & (config->block_bytes - 1) || usable > config->region_bytes ||
        requested > usable)
        return PLEAT_E_PROTOCOL;
    if (bitmap_plugged(device, bitmap, usable / config->block_bytes) != pleat_le64_get(state->plugged_bytes))
        return PLEAT_E_PROTOCOL;
    if (flags & ~(uint32_t)FLAG_ACCEPTED)
        return PLEAT_E_PROTOCOL;
    if (!(flags & FLAG_ACCEPTED))
        return features ? PLEAT_E_PROTOCOL : PLEAT_OK;
    /* save() writes the device's own bits only. */
    if (features >> 24)
        return PLEAT_E_PROTOCOL;
    return pleat_virtio_mem_device_check_features(device, features);
}

/* Unplugs blocks below `end` that a load has mapped, and forgets the bits. */
static void undo(struct pleat_virtio_mem_device *device, uint64_t end)
{
    uint64_t run_end;
    for (uint64_t run = 0; pleat_block_bits_run(device->plugged, &run, end, true, &run_end); run = run_end)
        pleat_virtio_mem_device_undo_map(device, run, run_end);
    pleat_block_bits_fill(device->plugged, 0, device->block_count, false);
}

int pleat_virtio_mem_device_load(struct pleat_virtio_mem_device *device, const void *from, size_t bytes)
{
    struct saved_state state;
    int error;

    if (device->accepted || device->plugged_bytes)
        return PLEAT_E_STATE;
    if (bytes < sizeof(state))
        return PLEAT_E_PROTOCOL;
    memcpy(&state, from, sizeof(state));
    if (memcmp(state.magic, magic, sizeof(magic)) != 0)
        return PLEAT_E_PROTOCOL;
    if (pleat_le32_get(state.version) != VERSION)
        return PLEAT_E_UNSUPPORTED;
    if (bytes != pleat_virtio_mem_device_save_bytes(device))
        return PLEAT_E_PROTOCOL;
    const uint8_t *bitmap = (const uint8_t *)from + sizeof(state);
    error = check(device, &state, bitmap);
    if (error)
        return error;
    error = pleat_virtio_mem_device_end_zeroes(device, 0);
    if (error)
        return error;

    for (size_t byte = 0; byte < bitmap_bytes(device); byte += 8)
        device->plugged[byte / 8] = bitmap_word(bitmap, byte, bitmap_bytes(device));
    uint64_t run_end;
    for (uint64_t run = 0; pleat_block_bits_run(device->plugged, &run, device->block_count, true, &run_end);
         run = run_end) {
        error = pleat_virtio_mem_device_map(device, run, run_end);
        if (error) {
            undo(device, run);
            return error;
        }
    }
    const uint64_t features = pleat_le64_get(state.driver_features);
    const bool accepted = pleat_le32_get(state.flags) & FLAG_ACCEPTED;
    const bool reader = accepted && !(features & UINT64_C(1) << PLEAT_VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE);
    if (reader) {
        error = pleat_virtio_mem_device_add_zeroes(device, 0, pleat_le64_get(state.usable_bytes));
        if (error) {
            undo(device, device->block_count);
            return error;
        }
    }
    device->requested_bytes = pleat_le64_get(state.requested_bytes);
    device->usable_bytes = pleat_le64_get(state.usable_bytes);
    device->plugged_bytes = pleat_le64_get(state.plugged_bytes);
    device->accepted = accepted;
    device->driver_features = features;
    device->serves_reader = reader;
    PLEAT_VIRTIO_MEM_DEVICE_CHECK(device);
    pleat_virtio_mem_device_tell(device, 0);
    return PLEAT_OK;
}
