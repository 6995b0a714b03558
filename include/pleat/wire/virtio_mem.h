/* SPDX-License-Identifier: MIT
 *
 * What virtio-mem's driver and device say to each other: VIRTIO 1.4, section 5.15 "Memory Device". One
 * queue carries requests (24 bytes, the driver's) and responses (10 bytes, the device's); the config space
 * (56 bytes) says where the region lies and how much of it is wanted. All fields are little-endian, all
 * structures have alignment 1 and can be laid over a buffer at any address, once it has been copied out of
 * memory that the peer can write.
 */
#ifndef PLEAT_WIRE_VIRTIO_MEM_H
#define PLEAT_WIRE_VIRTIO_MEM_H

#include <stdint.h>

#include <pleat/wire/layout.h>
#include <pleat/wire/little_endian.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Constants of the device (5.15.1, 5.15.2). */
enum {
    PLEAT_VIRTIO_MEM_DEVICE_ID = 24,
    PLEAT_VIRTIO_MEM_QUEUE_REQUEST = 0, /**< the guest-request queue, the only one */
    PLEAT_VIRTIO_MEM_QUEUES = 1,
    PLEAT_VIRTIO_MEM_REQUEST_BYTES = 24,
    PLEAT_VIRTIO_MEM_RESPONSE_BYTES = 10,
    PLEAT_VIRTIO_MEM_CONFIG_BYTES = 56,
    /** The largest nb_blocks that a request can carry. */
    PLEAT_VIRTIO_MEM_MAX_BLOCKS = 65535
};

/** Numbers of the feature bits (5.15.3). */
enum {
    /** node_id of the config space is valid. */
    PLEAT_VIRTIO_MEM_F_ACPI_PXM = 0,
    /** The driver promises never to touch unplugged memory, not even to read it. */
    PLEAT_VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE = 1,
    /** Plugged memory keeps its state and content over suspend and wake. */
    PLEAT_VIRTIO_MEM_F_PERSISTENT_SUSPEND = 2
};

/** Types of requests (5.15.6). */
enum {
    PLEAT_VIRTIO_MEM_REQ_PLUG = 0,
    PLEAT_VIRTIO_MEM_REQ_UNPLUG = 1,
    PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL = 2,
    PLEAT_VIRTIO_MEM_REQ_STATE = 3
};

/** Types of responses (5.15.6). */
enum {
    PLEAT_VIRTIO_MEM_RESP_ACK = 0,  /**< done */
    PLEAT_VIRTIO_MEM_RESP_NACK = 1, /**< not now: it would miss the requested size by more */
    PLEAT_VIRTIO_MEM_RESP_BUSY = 2, /**< the device can't now; try again later */
    PLEAT_VIRTIO_MEM_RESP_ERROR = 3 /**< the request is wrong */
};

/** States in the response to a STATE request (5.15.6.5). */
enum {
    PLEAT_VIRTIO_MEM_STATE_PLUGGED = 0,   /**< all of the blocks are plugged */
    PLEAT_VIRTIO_MEM_STATE_UNPLUGGED = 1, /**< none of them is */
    PLEAT_VIRTIO_MEM_STATE_MIXED = 2      /**< some of them are */
};

/**
 * The driver's half of a chain. PLUG, UNPLUG and STATE share the form of the rest; UNPLUG_ALL ignores it.
 * Padding says nothing: 0 when written, not looked at when read.
 */
struct pleat_virtio_mem_request {
    struct pleat_le16 type; /**< PLEAT_VIRTIO_MEM_REQ_... */
    struct pleat_le16 padding[3];
    struct pleat_le64 address;     /**< guest-physical address of the first block */
    struct pleat_le16 block_count; /**< nb_blocks: how many of block_size bytes, not 0 */
    struct pleat_le16 tail_padding[3];
};

PLEAT_WIRE_SIZE(pleat_virtio_mem_request, 24);
PLEAT_WIRE_OFFSET(pleat_virtio_mem_request, type, 0);
PLEAT_WIRE_OFFSET(pleat_virtio_mem_request, padding, 2);
PLEAT_WIRE_OFFSET(pleat_virtio_mem_request, address, 8);
PLEAT_WIRE_OFFSET(pleat_virtio_mem_request, block_count, 16);
PLEAT_WIRE_OFFSET(pleat_virtio_mem_request, tail_padding, 18);

/** The device's half of a chain. */
struct pleat_virtio_mem_response {
    struct pleat_le16 type; /**< PLEAT_VIRTIO_MEM_RESP_... */
    struct pleat_le16 padding[3];
    struct pleat_le16 state; /**< PLEAT_VIRTIO_MEM_STATE_..., only for an ACK to STATE */
};

PLEAT_WIRE_SIZE(pleat_virtio_mem_response, 10);
PLEAT_WIRE_OFFSET(pleat_virtio_mem_response, type, 0);
PLEAT_WIRE_OFFSET(pleat_virtio_mem_response, padding, 2);
PLEAT_WIRE_OFFSET(pleat_virtio_mem_response, state, 8);

/** The config space (5.15.4); the driver reads it and never writes it. All sizes are in bytes. */
struct pleat_virtio_mem_config {
    struct pleat_le64 block_size; /**< a power of two: the unit of plug, unplug and every field below */
    struct pleat_le16 node_id;    /**< ACPI proximity domain; valid with ACPI_PXM only */
    uint8_t padding[6];
    struct pleat_le64 address;            /**< guest-physical start of the region */
    struct pleat_le64 region_size;        /**< of the whole region; never changes but at a system reset */
    struct pleat_le64 usable_region_size; /**< blocks beyond it can't be plugged yet */
    struct pleat_le64 plugged_size;       /**< the sum of all plugged blocks */
    struct pleat_le64 requested_size;     /**< what plugged_size should become */
};

PLEAT_WIRE_SIZE(pleat_virtio_mem_config, 56);
PLEAT_WIRE_OFFSET(pleat_virtio_mem_config, block_size, 0);
PLEAT_WIRE_OFFSET(pleat_virtio_mem_config, node_id, 8);
PLEAT_WIRE_OFFSET(pleat_virtio_mem_config, padding, 10);
PLEAT_WIRE_OFFSET(pleat_virtio_mem_config, address, 16);
PLEAT_WIRE_OFFSET(pleat_virtio_mem_config, region_size, 24);
PLEAT_WIRE_OFFSET(pleat_virtio_mem_config, usable_region_size, 32);
PLEAT_WIRE_OFFSET(pleat_virtio_mem_config, plugged_size, 40);
PLEAT_WIRE_OFFSET(pleat_virtio_mem_config, requested_size, 48);

#ifdef __cplusplus
}
#endif
#endif
