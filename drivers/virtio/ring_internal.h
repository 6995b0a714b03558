/* SPDX-License-Identifier: MIT
 *
 * What the files of the driver's ring share: the private book-keeping of chains, and the two layouts behind
 * one set of functions. ring.c checks arguments and the book-keeping that both layouts have; ring_split.c
 * and ring_packed.c know how a ring lies in memory.
 */
#ifndef PLEAT_DRIVERS_VIRTIO_RING_INTERNAL_H
#define PLEAT_DRIVERS_VIRTIO_RING_INTERNAL_H

#include <pleat/virtio_driver_ring.h>
#include <pleat/wire/ring_memory.h>

/** No slot, no table: above every number that there can be. */
#define RING_NONE 0xffffu

/** Bytes of a descriptor of either layout. */
#define RING_DESCRIPTOR_BYTES 16u

enum chain_state {
    /** No chain begins here. */
    CHAIN_NONE = 0,
    /** Added, not published: the device doesn't know of it. */
    CHAIN_ADDED,
    /** Published: the device may return it. */
    CHAIN_OUT
};

/**
 * Book-keeping of a slot of the ring. The fields of a chain are those of its first slot (split) or of its
 * buffer id (packed, where the slot that it lies in doesn't matter).
 */
struct pleat_virtio_ring_slot {
    uint64_t token;
    /** Bytes that the device may write in this chain. */
    uint32_t writable_bytes;
    /** The next free slot or id; split: also the next slot of the chain. */
    uint16_t next;
    /** Slots that the chain takes; 1 with an indirect table. */
    uint16_t slots;
    /** The indirect table that the chain has, or RING_NONE. */
    uint16_t table;
    /** The chain that was added after this one, while both are unpublished. */
    uint16_t next_unpublished;
    uint8_t state;
};

/* The invariants, after whatever changes the book-keeping; in debug builds only. */
#ifdef PLEAT_DEBUG
#define RING_CHECK(ring) (pleat_virtio_ring_is_valid(ring) ? (void)0 : __builtin_trap())
#else
#define RING_CHECK(ring) ((void)(ring))
#endif

/** Flags of a descriptor for buffers[i] of a chain that isn't in a table. */
static inline uint16_t ring_descriptor_flags(const struct pleat_virtio_buffer *buffers, uint16_t i,
                                             uint16_t count)
{
    return (uint16_t)((i + 1u < count ? PLEAT_VIRTQ_DESC_F_NEXT : 0u) |
                      (buffers[i].device_writable ? PLEAT_VIRTQ_DESC_F_WRITE : 0u));
}

/** Where indirect table `table` lies, for us and for the device. */
static inline uint8_t *ring_table(const struct pleat_virtio_ring *ring, uint16_t table)
{
    return ring->indirect_area + (size_t)table * ring->indirect_segments * RING_DESCRIPTOR_BYTES;
}

static inline uint64_t ring_table_physical(const struct pleat_virtio_ring *ring, uint16_t table)
{
    return ring->indirect_physical + (uint64_t)table * ring->indirect_segments * RING_DESCRIPTOR_BYTES;
}

/* Each layout has these. `table` is RING_NONE, or the indirect table to lay the buffers into; there is room
 * for the chain. Returned is the index of the struct pleat_virtio_ring_slot that keeps it. */
uint16_t pleat_ring_split_add(struct pleat_virtio_ring *ring, const struct pleat_virtio_buffer *buffers,
                              uint16_t count, uint16_t table);
uint16_t pleat_ring_packed_add(struct pleat_virtio_ring *ring, const struct pleat_virtio_buffer *buffers,
                               uint16_t count, uint16_t table);

void pleat_ring_split_publish(struct pleat_virtio_ring *ring);
void pleat_ring_packed_publish(struct pleat_virtio_ring *ring);

/* `count` > 0 chains or slots were published since this was last asked. */
bool pleat_ring_split_should_notify(struct pleat_virtio_ring *ring, uint32_t count);
bool pleat_ring_packed_should_notify(struct pleat_virtio_ring *ring, uint32_t count);

/* The next used element: 1, its id and length as the device says; 0 if there is none; -1 if the device
 * claims more than it has (split; the caller finds that out by the id otherwise). */
int pleat_ring_split_look(struct pleat_virtio_ring *ring, uint32_t *id, uint32_t *length);
int pleat_ring_packed_look(struct pleat_virtio_ring *ring, uint32_t *id, uint32_t *length);

/* That element was believed: steps past it and frees the slots of chain `id`. */
void pleat_ring_split_take(struct pleat_virtio_ring *ring, uint16_t id);
void pleat_ring_packed_take(struct pleat_virtio_ring *ring, uint16_t id);

/* Ask for an interrupt, look whether it is too late; ask for none. */
bool pleat_ring_split_enable_interrupts(struct pleat_virtio_ring *ring);
bool pleat_ring_packed_enable_interrupts(struct pleat_virtio_ring *ring);
void pleat_ring_split_disable_interrupts(struct pleat_virtio_ring *ring);
void pleat_ring_packed_disable_interrupts(struct pleat_virtio_ring *ring);

#endif
