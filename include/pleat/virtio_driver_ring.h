/* SPDX-License-Identifier: MIT
 *
 * The driver's side of a virtqueue, split or packed (VIRTIO 2.7, 2.8), in the caller's storage. A driver
 * adds chains of buffers, publishes them, notifies the device through its transport if it should, and polls
 * for chains that the device has used.
 *
 * The memory has two parts. `shared` is what the device sees: the ring's three areas and, where asked for,
 * indirect tables. `private` is the driver's own book-keeping, which the device never sees: the driver
 * decides by it alone, and what the device writes is only compared with it. The device is hostile: an index
 * that jumps, an id that isn't outstanding, a length beyond what it was given to write makes the ring
 * broken. A broken ring answers PLEAT_E_PROTOCOL to add and poll until it is set up again with
 * pleat_virtio_ring_init(), which the driver may do only after the device was reset: until then the device
 * still owns the buffers.
 *
 * Addresses are what the device is told: guest-physical ones, or what stands for them where the platform
 * translates (ACCESS_PLATFORM); the caller then gives bounce memory.
 *
 * Concurrency: one thread at a time for each ring; the device may run at the same time on another CPU.
 * Nothing waits. The guarantee towards the device: stores of the caller into buffers and of this code into
 * descriptors come before the publish that shows them; what the device wrote before it marked a chain used
 * is visible after the poll that returns it; and publish, then should_notify, as well as enable_interrupts
 * and its look at the ring, are ordered as store before load, so that no wake-up is lost. All of this is
 * between CPUs (C11 atomics); a device that isn't a CPU needs ORDER_PLATFORM, which isn't offered here.
 */
#ifndef PLEAT_VIRTIO_DRIVER_RING_H
#define PLEAT_VIRTIO_DRIVER_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/error.h>
#include <pleat/virtio_transport.h>
#include <pleat/wire/virtio.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Alignment of the shared memory, as pointer and as address (64 keeps the two sides' lines apart), and of
 * the private memory. */
#define PLEAT_VIRTIO_RING_SHARED_ALIGNMENT  16u
#define PLEAT_VIRTIO_RING_PRIVATE_ALIGNMENT 8u

/** How a ring shall be. Zero in the last two means no indirect tables. */
struct pleat_virtio_ring_config {
    /** As negotiated; RING_PACKED, EVENT_IDX and INDIRECT_DESC are looked at. */
    uint64_t features;
    /** Descriptors: 1 to PLEAT_VIRTQ_SIZE_MAX, not above the transport's queue_size_max; split: 2^n. */
    uint16_t size;
    /** How many indirect tables; 0: none. More than `size` are of no use. Used only with INDIRECT_DESC. */
    uint16_t indirect_tables;
    /** Buffers that one table can hold: 2 to size. */
    uint16_t indirect_segments;
};

/** What memory a ring takes. */
struct pleat_virtio_ring_needs {
    size_t shared_bytes;
    size_t private_bytes;
};

/** Memory that a ring is given; it stays the caller's and must outlive the ring. */
struct pleat_virtio_ring_memory {
    /** Contiguous in guest-physical addresses; content doesn't matter, init clears it. */
    void *shared;
    /** The address of `shared` as the device is told it. */
    uint64_t shared_physical;
    size_t shared_bytes;
    /** Never shared with the device. */
    void *private_storage;
    size_t private_bytes;
};

/** One buffer of a chain. */
struct pleat_virtio_buffer {
    uint64_t physical;
    /** At least 1; all of a chain together at most 2^32 - 1. */
    uint32_t length_bytes;
    /** true: the device writes it. All of these come after those that the device reads. */
    bool device_writable;
};

/** Internal: what the driver remembers of a chain or a slot. */
struct pleat_virtio_ring_slot;

/**
 * A ring. Fields are for this library only (they are here so that the caller can give the storage), all
 * of them the driver's own, none of them written by the device.
 */
struct pleat_virtio_ring {
    struct pleat_virtio_ring_slot *slots;
    /** table_links[t]: the next free indirect table after t. */
    uint16_t *table_links;
    /* Shared with the device. */
    uint8_t *descriptor_area;
    uint8_t *driver_area;
    uint8_t *device_area;
    uint8_t *indirect_area;
    struct pleat_virtio_queue_addresses addresses;
    uint64_t indirect_physical;
    uint16_t size;
    uint16_t indirect_tables;
    uint16_t indirect_segments;
    /** free_slots + slots of all chains that were added and not polled == size */
    uint16_t free_slots;
    /** The list of free slots (split) or buffer ids (packed), and that of free tables. */
    uint16_t first_free;
    uint16_t first_free_table;
    /** Chains that were published and not polled: those that the device may return. */
    uint16_t outstanding;
    /** Chains that were added and not published: a list, and how many. */
    uint16_t unpublished;
    uint16_t first_unpublished;
    uint16_t last_unpublished;
    /** Where the next chain is made available, and where the next used one is expected. Split: indices that
     * run freely; packed: slots, each with its wrap counter. */
    uint16_t next_available;
    uint16_t next_used;
    /** What the device can have seen of next_available. */
    uint16_t published;
    /** Packed: the flags of the first unpublished chain's first slot, held back until publish. */
    uint16_t held_back_flags;
    /** Published since should_notify was last asked; chains (split) or slots (packed). */
    uint32_t published_since_asked;
    bool available_wrap;
    bool used_wrap;
    bool published_wrap;
    bool packed;
    bool event_index;
    bool broken;
};

/**
 * How much memory `config` takes. PLEAT_E_INVALID: a size or a table length outside its range; *needs isn't
 * touched. Any context.
 */
int pleat_virtio_ring_needs(const struct pleat_virtio_ring_config *config,
                            struct pleat_virtio_ring_needs *needs);

/**
 * Sets the ring up in `memory` (all of it is cleared), empty, interrupts enabled. Also the way back from
 * broken, after a device reset; what was outstanding is forgotten. The device must not know of this memory
 * yet: call it before queue_setup. PLEAT_E_INVALID: as pleat_virtio_ring_needs, or memory too small,
 * misaligned, or wrapping round the end of the address space; nothing has changed. Effort: linear in bytes.
 */
int pleat_virtio_ring_init(struct pleat_virtio_ring *ring, const struct pleat_virtio_ring_config *config,
                           const struct pleat_virtio_ring_memory *memory);

/** The areas' addresses, for the transport's queue_setup. */
struct pleat_virtio_queue_addresses pleat_virtio_ring_addresses(const struct pleat_virtio_ring *ring);

/**
 * Adds a chain of `count` buffers, 1 to the ring's size; `token` comes back from poll. The device doesn't
 * see it before publish. A chain of two or more takes an indirect table, and one slot, where there is a
 * free table that is long enough; else a slot for each buffer. The array isn't kept; the buffers are the
 * device's from publish until poll returns them.
 *
 * PLEAT_E_INVALID: count, a length or the order is wrong. PLEAT_E_NO_MEMORY: not enough slots; poll first.
 * PLEAT_E_PROTOCOL: the ring is broken. Nothing has changed. Effort: linear in count.
 */
int pleat_virtio_ring_add(struct pleat_virtio_ring *ring, const struct pleat_virtio_buffer *buffers,
                          uint16_t count, uint64_t token);

/** Shows all chains added so far to the device; nothing if there are none. */
void pleat_virtio_ring_publish(struct pleat_virtio_ring *ring);

/**
 * After publish: does the device want to be notified of what was published since this was last asked? The
 * caller then calls the transport's notify. False on a broken ring.
 */
bool pleat_virtio_ring_should_notify(struct pleat_virtio_ring *ring);

/**
 * Takes the next used chain. 1: *token is the one given at add, *written_bytes (may be NULL) how many bytes
 * the device says that it wrote, never more than the chain's device-writable bytes; their content isn't
 * checked. 0: nothing new. PLEAT_E_PROTOCOL: the ring is, or has now become, broken. Effort: linear in the
 * slots of the chain.
 */
int pleat_virtio_ring_poll(struct pleat_virtio_ring *ring, uint64_t *token, uint32_t *written_bytes);

/**
 * Asks the device to interrupt at the next used chain. True: one came in the meantime, or the ring is
 * broken; poll again, the interrupt may not come. After an interrupt they stay enabled only without
 * EVENT_IDX: call it again when poll returned 0.
 */
bool pleat_virtio_ring_enable_interrupts(struct pleat_virtio_ring *ring);

/** Asks the device not to interrupt. A hint: interrupts may still come. */
void pleat_virtio_ring_disable_interrupts(struct pleat_virtio_ring *ring);

/** Slots that are free for chains. */
uint16_t pleat_virtio_ring_free_slots(const struct pleat_virtio_ring *ring);

/** True after the device broke the protocol, until init. */
bool pleat_virtio_ring_is_broken(const struct pleat_virtio_ring *ring);

/**
 * The invariants: free and taken slots add up, the free lists are free of loops, indices are in range.
 * Effort: linear in size. For assertions and tests; looks at private memory only.
 */
bool pleat_virtio_ring_is_valid(const struct pleat_virtio_ring *ring);

#ifdef __cplusplus
}
#endif
#endif
