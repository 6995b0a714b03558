/* SPDX-License-Identifier: MIT
 *
 * The virtio-mem device as a plain state machine, for a VMM to link: VIRTIO 1.4, section 5.15, from the
 * device's side. It keeps the books of one region of guest memory (which blocks are plugged, how much is
 * requested, how much of the region is usable), answers one request at a time, and asks its embedder
 * through five callbacks to make the host's memory follow. It knows no rings, no threads and no event loop,
 * allocates nothing, and needs storage of a size that it tells beforehand.
 *
 *   region      guest-physical addresses that belong to the device, fixed at create
 *   block       the unit of plug and unplug, a power of two of bytes
 *   plugged     the host has put memory behind it; the guest may use it
 *   requested   what the host wants plugged_bytes to become
 *   usable      the leading part of the region in which blocks can be plugged by now
 *   offset      an address less the start of the region, in bytes
 *
 * Invariants, at every return:
 *   plugged_bytes == block_bytes * number of plugged blocks
 *   plugged blocks lie below usable_bytes; requested_bytes <= usable_bytes <= region_bytes
 *   the embedder has mapped plugged blocks and nothing else
 *
 * The guest is hostile. Requests may hold anything; an answer is always found. A request is checked in
 * this order: its range, the state of its blocks, the quota (requested_bytes); so a wrong range or state is
 * ERROR and only what remains can be NACK. The books change after the host's memory has, and not at all
 * when that failed: the answer is BUSY then.
 *
 * Calls for one device come from one thread at a time. Callbacks run inside of these calls and don't call
 * back into the same device. A table with unmap or map_zeroes has map too.
 *
 * Order of calls: create, accept, then handle / set_requested / queries in any order; reset returns to
 * before accept; destroy ends it.
 */
#ifndef PLEAT_VIRTIO_MEM_DEVICE_H
#define PLEAT_VIRTIO_MEM_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/error.h>
#include <pleat/wire/virtio_mem.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One device; it lives in the caller's storage. */
struct pleat_virtio_mem_device;

/**
 * What the device asks of its embedder. Offsets and sizes are multiples of block_bytes inside the region.
 * A function that returns int returns 0, or a negative error and has then changed nothing: each call is
 * all or nothing. Which error it is makes no difference to the guest, which gets BUSY.
 */
struct pleat_virtio_mem_device_ops {
    /**
     * Memory at [offset, offset + bytes) is about to be plugged: make it readable and writable for the
     * guest, with what it holds undefined. NULL: all of the region always is.
     */
    int (*map)(void *context, uint64_t offset, uint64_t bytes);

    /**
     * Make memory at [offset, offset + bytes) inaccessible, so that a guest that touches it faults: it is
     * about to be unplugged, or was mapped as zeroes, or (after an attempt that failed half-way) is
     * inaccessible already. What it holds must stay until discard(), since map() may follow to undo. NULL:
     * unplugged memory isn't enforced.
     */
    int (*unmap)(void *context, uint64_t offset, uint64_t bytes);

    /**
     * The memory behind [offset, offset + bytes), which is unmapped by now, goes back to the host. After an
     * error its content must be as it was. NULL: the host keeps it.
     */
    int (*discard)(void *context, uint64_t offset, uint64_t bytes);

    /**
     * In place of unmap(), and for memory that becomes usable, while a driver is served that hasn't
     * negotiated UNPLUGGED_INACCESSIBLE and so may read unplugged memory (D-OP5, X15): map zeroes,
     * read-only, that take no host memory; what was there must stay until discard(). unmap() or map() end
     * it. NULL: such drivers can't be served and are refused, whatever the config says.
     */
    int (*map_zeroes)(void *context, uint64_t offset, uint64_t bytes);

    /** The config space has changed: interrupt the driver. NULL: there is nobody to interrupt. */
    void (*config_interrupt)(void *context);

    /** plugged_bytes has changed, by the guest or by a reset; no interrupt goes with it. May be NULL. */
    void (*plugged_changed)(void *context, uint64_t plugged_bytes);

    /** A monotonic clock, in nanoseconds, for the latencies in the statistics. NULL: they stay 0. */
    uint64_t (*clock_ns)(void *context);
};

/** Flags of struct pleat_virtio_mem_device_config. */
enum {
    /** node_id is meant: offer ACPI_PXM. Off by default. */
    PLEAT_VIRTIO_MEM_DEVICE_NODE = 1 << 0,
    /** The machine keeps plugged memory over suspend and wake: offer PERSISTENT_SUSPEND. Off by default. */
    PLEAT_VIRTIO_MEM_DEVICE_PERSISTENT_SUSPEND = 1 << 1,
    /** Serve drivers without UNPLUGGED_INACCESSIBLE too (needs map_zeroes). By default they are refused. */
    PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS = 1 << 2,
    /** Don't offer UNPLUGGED_INACCESSIBLE; needs SERVE_READERS. By default it is offered. */
    PLEAT_VIRTIO_MEM_DEVICE_HIDE_INACCESSIBLE = 1 << 3,
    /**
     * NACK an UNPLUG that would take plugged_bytes below requested_bytes (X8): a guest that unplugs and
     * plugs at will chooses which of the host's frames it gets. UNPLUG_ALL stays allowed. Off by default.
     */
    PLEAT_VIRTIO_MEM_DEVICE_REFUSE_UNREQUESTED = 1 << 4,
    /** The usable region is exactly as large as what is requested; usable_extra_bytes isn't looked at. */
    PLEAT_VIRTIO_MEM_DEVICE_USABLE_EXACT = 1 << 5
};

/** Sizes that stand in where the config says 0. */
#define PLEAT_VIRTIO_MEM_DEVICE_DEFAULT_BLOCK_BYTES (UINT64_C(2) << 20)
/**
 * QEMU's VIRTIO_MEM_USABLE_EXTENT for x86-64 (hw/virtio/virtio-mem.c): two of Linux' memory sections of 128
 * MiB, because Linux adds a section only when it lies in the usable region as a whole.
 */
#define PLEAT_VIRTIO_MEM_DEVICE_DEFAULT_USABLE_EXTRA_BYTES (UINT64_C(256) << 20)
/** The smallest block: no machine has smaller frames. */
#define PLEAT_VIRTIO_MEM_DEVICE_MIN_BLOCK_BYTES UINT64_C(4096)

/** What a device is created with. Zeroed means the defaults, but region_bytes has none. */
struct pleat_virtio_mem_device_config {
    uint64_t address;         /**< guest-physical start of the region; multiple of block_bytes */
    uint64_t region_bytes;    /**< multiple of block_bytes, not 0; address + region_bytes <= 2^64 - 1 */
    uint64_t block_bytes;     /**< power of two from 4096; 0: 2 MiB */
    uint64_t requested_bytes; /**< at first; multiple of block_bytes, <= region_bytes; 0: nothing */
    /**
     * How much of the region is usable beyond what is requested: usable_bytes is requested_bytes plus this,
     * rounded up to block_bytes, at most region_bytes. It grows with each larger request and shrinks at
     * UNPLUG_ALL and at a system reset only (D-CFG8). 0: 256 MiB; UINT64_MAX: all of the region, always;
     * none: the flag USABLE_EXACT.
     */
    uint64_t usable_extra_bytes;
    uint16_t node_id; /**< ACPI proximity domain; only with PLEAT_VIRTIO_MEM_DEVICE_NODE */
    uint32_t flags;   /**< PLEAT_VIRTIO_MEM_DEVICE_... */
};

/**
 * Bytes of storage that a device with this config needs; a bit for each block and a few hundred bytes.
 * Returns 0 if the config is one that create refuses. Effort: constant.
 */
size_t pleat_virtio_mem_device_storage_bytes(const struct pleat_virtio_mem_device_config *config);

/**
 * Creates a device with all blocks unplugged, none of the region mapped, no driver accepted and no
 * interrupt raised. The config is copied; `ops` and `context` must outlive the device.
 *
 * storage: aligned to 8, of at least pleat_virtio_mem_device_storage_bytes() bytes, the caller's before and
 * after; it must not move while the device lives.
 *
 * Returns 0 and the device in *device. INVALID: the config is outside what its comments allow, flags
 * contradict each other, ops has unmap or map_zeroes without map, or storage is NULL or misaligned.
 * NO_MEMORY: storage_bytes is too small. Effort: clears the storage.
 */
int pleat_virtio_mem_device_create(const struct pleat_virtio_mem_device_config *config,
                                   const struct pleat_virtio_mem_device_ops *ops, void *context,
                                   void *storage, size_t storage_bytes,
                                   struct pleat_virtio_mem_device **device);

/**
 * Ends the device: it calls nobody and unmaps nothing, since the memory is the embedder's. The storage may
 * be used again afterwards. NULL is allowed.
 */
void pleat_virtio_mem_device_destroy(struct pleat_virtio_mem_device *device);

/** Feature bits to offer, as a mask: bit PLEAT_VIRTIO_MEM_F_ACPI_PXM and so on. */
uint64_t pleat_virtio_mem_device_features(const struct pleat_virtio_mem_device *device);

/**
 * The driver has chosen its features (FEATURES_OK). Bits 24 and higher are the transport's and not looked
 * at. For a driver without UNPLUGGED_INACCESSIBLE that is served, the unplugged usable memory is mapped as
 * zeroes now.
 *
 * Returns 0: requests are handled from now on. PROTOCOL: a bit that wasn't offered. REFUSED: without
 * UNPLUGGED_INACCESSIBLE, and such drivers aren't served (D-INIT1, X15). STATE: a driver is accepted
 * already; reset comes first. Another error: map_zeroes() returned it. After an error the device has no
 * driver, and a transport leaves FEATURES_OK clear.
 */
int pleat_virtio_mem_device_accept(struct pleat_virtio_mem_device *device, uint64_t driver_features);

/**
 * Handles one request: `request_bytes` bytes at `request`, which must be a copy that the guest can't write
 * any more, into exactly 10 bytes at `response`. Whatever the bytes are, there is an answer: fewer than 24
 * bytes, an unknown type and any request before a driver is accepted get ERROR; bytes beyond 24 and padding
 * aren't looked at.
 *
 *   PLUG        ERROR: misaligned, no block, not all in the usable region, or one is plugged already.
 *               NACK: plugged_bytes would exceed requested_bytes. BUSY: map() failed; nothing has changed.
 *   UNPLUG      ERROR: the same, or one is unplugged already. NACK: only with REFUSE_UNREQUESTED.
 *               BUSY: unmap() or discard() failed; nothing has changed.
 *   UNPLUG_ALL  BUSY: unmap() failed, or discard() before any memory was given back; nothing has changed.
 *               ACK: all are unplugged; the usable region shrinks to what is requested plus the extra, and
 *               no interrupt is raised.
 *   STATE       ERROR: as PLUG's range. ACK with PLUGGED, UNPLUGGED or MIXED.
 *
 * "Nothing has changed" has one exception, when the host fails twice: blocks that map() can't bring back
 * after an unmap() that has to be undone are inaccessible, and the books say so: they are unplugged. And
 * when discard() fails after other memory of the same request was given back, the request goes on: the
 * blocks are unplugged, and statistics.undiscarded_bytes counts what the host didn't get.
 *
 * Returns the response's type, PLEAT_VIRTIO_MEM_RESP_..., never an error. Effort: a bit for each block of
 * the request (64 at a time) and what the callbacks cost. Source: VIRTIO 1.4, 5.15.6.
 */
int pleat_virtio_mem_device_handle(struct pleat_virtio_mem_device *device, const void *request,
                                   size_t request_bytes, uint8_t response[PLEAT_VIRTIO_MEM_RESPONSE_BYTES]);

/** The config space as the driver sees it now. node_id is 0 unless ACPI_PXM is offered. */
void pleat_virtio_mem_device_config_space(const struct pleat_virtio_mem_device *device,
                                          struct pleat_virtio_mem_config *space);

/**
 * Reads `bytes` bytes of the config space at `offset` to `to`, for a transport that gets such reads.
 * INVALID: beyond its 56 bytes; nothing is written.
 */
int pleat_virtio_mem_device_read_config(const struct pleat_virtio_mem_device *device, uint64_t offset,
                                        void *to, size_t bytes);

/**
 * The host wants plugged_bytes to become `bytes`. The usable region grows where it must, and the driver is
 * interrupted once if anything changed. What the driver makes of it shows in plugged_bytes later, or never.
 *
 * INVALID: no multiple of block_bytes, or more than region_bytes. Another error: map_zeroes() returned it
 * for memory that would become usable. Nothing has changed then.
 */
int pleat_virtio_mem_device_set_requested(struct pleat_virtio_mem_device *device, uint64_t bytes);

/**
 * The driver resets the device (it writes 0 to the status): its features are forgotten, zeroes that were
 * mapped for it are unmapped, all blocks keep their state and content (D-INIT2, D-INIT3). An error is that
 * of an unmap() of zeroes: the driver is gone all the same, and those zeroes stay readable until a driver
 * is accepted or a reset succeeds.
 */
int pleat_virtio_mem_device_reset(struct pleat_virtio_mem_device *device);

/**
 * The machine is reset: as pleat_virtio_mem_device_reset(), and all blocks are unplugged (D-OP7), and the
 * usable region becomes what is requested plus the extra. No interrupt is raised.
 *
 * BUSY: as for UNPLUG_ALL; blocks are plugged still, as the books say, and the usable region hasn't shrunk.
 * Call it again, or go on: the next driver finds them plugged and asks for UNPLUG_ALL.
 */
int pleat_virtio_mem_device_system_reset(struct pleat_virtio_mem_device *device);

/* What the device knows; no effort but where said. */

/** The config that it was created with, defaults filled in; requested_bytes is the one at create. */
const struct pleat_virtio_mem_device_config *
pleat_virtio_mem_device_config(const struct pleat_virtio_mem_device *device);
/** Bytes plugged now. */
uint64_t pleat_virtio_mem_device_plugged_bytes(const struct pleat_virtio_mem_device *device);
/** Bytes requested now. */
uint64_t pleat_virtio_mem_device_requested_bytes(const struct pleat_virtio_mem_device *device);
/** Bytes usable now. */
uint64_t pleat_virtio_mem_device_usable_bytes(const struct pleat_virtio_mem_device *device);
/** True between a successful accept and the next reset. */
bool pleat_virtio_mem_device_accepted(const struct pleat_virtio_mem_device *device);

/**
 * True if all of [offset, offset + bytes) is plugged; any offset and size, also ones that aren't aligned or
 * lie outside of the region (false then). 0 bytes: true inside the region. Effort: a bit for each block.
 */
bool pleat_virtio_mem_device_is_plugged(const struct pleat_virtio_mem_device *device, uint64_t offset,
                                        uint64_t bytes);

/**
 * The first run of plugged blocks at or after `offset`, cut at `offset` if it began before: its offset and
 * size. False: there is none, and nothing is written. To visit all runs, begin with 0 and go on with
 * *run_offset + *run_bytes. Effort: a bit for each block that is passed.
 */
bool pleat_virtio_mem_device_next_plugged(const struct pleat_virtio_mem_device *device, uint64_t offset,
                                          uint64_t *run_offset, uint64_t *run_bytes);

/** Operations that are counted. */
enum pleat_virtio_mem_device_operation {
    PLEAT_VIRTIO_MEM_DEVICE_PLUG = 0,
    PLEAT_VIRTIO_MEM_DEVICE_UNPLUG = 1,
    PLEAT_VIRTIO_MEM_DEVICE_UNPLUG_ALL = 2,
    PLEAT_VIRTIO_MEM_DEVICE_STATE = 3,
    PLEAT_VIRTIO_MEM_DEVICE_UNKNOWN = 4, /**< unknown types, short requests, requests before accept */
    PLEAT_VIRTIO_MEM_DEVICE_OPERATIONS = 5
};

/** One kind of operation since create. */
struct pleat_virtio_mem_device_counter {
    uint64_t answers[4]; /**< how many were answered ACK, NACK, BUSY, ERROR; their sum is all of them */
    uint64_t blocks;     /**< blocks of ACKed requests; for UNPLUG_ALL those that were plugged */
    uint64_t ns_total;   /**< time in handle(), callbacks included; 0 without a clock */
    uint64_t ns_min;     /**< of one; 0 if there was none */
    uint64_t ns_max;
};

/** All that is counted; never reset, never saved. */
struct pleat_virtio_mem_device_statistics {
    struct pleat_virtio_mem_device_counter operations[PLEAT_VIRTIO_MEM_DEVICE_OPERATIONS];
    uint64_t map_failures;      /**< map() or map_zeroes() returned an error */
    uint64_t unmap_failures;    /**< unmap() did, or map_zeroes() in its place */
    uint64_t discard_failures;  /**< discard() did */
    uint64_t undiscarded_bytes; /**< unplugged, and the host didn't get them back; see handle() */
    uint64_t config_interrupts; /**< raised */
    uint64_t refused_drivers;   /**< accept returned REFUSED or PROTOCOL */
};

/** Copies the statistics. */
void pleat_virtio_mem_device_statistics(const struct pleat_virtio_mem_device *device,
                                        struct pleat_virtio_mem_device_statistics *statistics);

/** Bytes that save writes. */
size_t pleat_virtio_mem_device_save_bytes(const struct pleat_virtio_mem_device *device);

/**
 * Writes the device's state (not the memory's content, not the statistics) to `to`: little-endian, versioned,
 * the same bytes for the same state on every machine.
 *
 * Returns 0; NO_MEMORY: fewer than pleat_virtio_mem_device_save_bytes() bytes, nothing is written.
 */
int pleat_virtio_mem_device_save(const struct pleat_virtio_mem_device *device, void *to, size_t bytes);

/**
 * Takes over a saved state: requested and usable size, the driver's features, and plugged blocks, which are
 * mapped through map(); their content is the embedder's to restore. The device is as it was created, or
 * after a system reset (nothing plugged, no driver). The bytes are hostile: all are checked before anything
 * changes. No interrupt is raised.
 *
 * UNSUPPORTED: another version. PROTOCOL: truncated or too long, not from a device of this address, region
 * and block size, or it says something that can't be (bits beyond the region, sums that don't match,
 * features that aren't offered). REFUSED: a driver that this device doesn't serve. STATE: the device isn't
 * as created. Another error: map() or map_zeroes() returned it, and what was mapped is unmapped again.
 * After an error nothing has changed.
 */
int pleat_virtio_mem_device_load(struct pleat_virtio_mem_device *device, const void *from, size_t bytes);

/** True if the invariants at the head of this file hold, recounted bit by bit; for tests and assertions. */
bool pleat_virtio_mem_device_is_valid(const struct pleat_virtio_mem_device *device);

#ifdef __cplusplus
}
#endif
#endif
