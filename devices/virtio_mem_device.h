/* SPDX-License-Identifier: MIT
 *
 * What the files of the virtio-mem device share: its books, and the few operations on them that both
 * requests and a load need.
 */
#ifndef PLEAT_DEVICES_VIRTIO_MEM_DEVICE_H
#define PLEAT_DEVICES_VIRTIO_MEM_DEVICE_H

#include <pleat/virtio_mem_device.h>

struct pleat_virtio_mem_device {
    struct pleat_virtio_mem_device_config config;
    const struct pleat_virtio_mem_device_ops *ops;
    void *context;

    uint64_t block_count; /* == region_bytes / block_bytes */
    uint64_t plugged_bytes;
    uint64_t requested_bytes;
    uint64_t usable_bytes;

    bool accepted;            /* a driver has negotiated; requests are handled */
    uint64_t driver_features; /* of the device's own bits; 0 unless accepted */
    bool serves_reader;       /* accepted, and without UNPLUGGED_INACCESSIBLE */
    /* Unplugged memory below this may be mapped as zeroes; >= usable_bytes while serves_reader. */
    uint64_t zeroes_bytes;

    struct pleat_virtio_mem_device_statistics statistics;

    uint64_t plugged[]; /* a bit for each block */
};

/** Blocks below `bytes`. */
static inline uint64_t pleat_virtio_mem_device_blocks(const struct pleat_virtio_mem_device *device,
                                                      uint64_t bytes)
{
    return bytes / device->config.block_bytes;
}

/** What is usable when `requested` bytes are requested, were the region to be sized anew. */
uint64_t pleat_virtio_mem_device_usable_rule(const struct pleat_virtio_mem_device_config *config,
                                             uint64_t requested_bytes);

/** 0, REFUSED or PROTOCOL: could a driver with these features be accepted? Changes nothing. */
int pleat_virtio_mem_device_check_features(const struct pleat_virtio_mem_device *device,
                                           uint64_t driver_features);

/** ops->map of blocks [first, end), counted. */
int pleat_virtio_mem_device_map(struct pleat_virtio_mem_device *device, uint64_t first, uint64_t end);

/** Undoes a map of blocks that were never plugged: unmapped and given back, failures only counted. */
void pleat_virtio_mem_device_undo_map(struct pleat_virtio_mem_device *device, uint64_t first, uint64_t end);

/** Maps unplugged memory of [from_bytes, to_bytes) as zeroes, all or nothing; zeroes_bytes covers it then. */
int pleat_virtio_mem_device_add_zeroes(struct pleat_virtio_mem_device *device, uint64_t from_bytes,
                                       uint64_t to_bytes);

/** Unmaps the zeroes from `from_bytes` on; zeroes_bytes stays as it is when that fails. */
int pleat_virtio_mem_device_end_zeroes(struct pleat_virtio_mem_device *device, uint64_t from_bytes);

/** ops->plugged_changed, if plugged_bytes isn't `before` any more. */
void pleat_virtio_mem_device_tell(struct pleat_virtio_mem_device *device, uint64_t before);

#ifdef PLEAT_DEBUG
#include <assert.h>
#define PLEAT_VIRTIO_MEM_DEVICE_CHECK(device) assert(pleat_virtio_mem_device_is_valid(device))
#else
#define PLEAT_VIRTIO_MEM_DEVICE_CHECK(device) ((void)(device))
#endif

#endif
