/* SPDX-License-Identifier: MIT
 *
 * What the files of the device's ring share. virtqueue.c has what both layouts have in common: the checks of
 * a chain's parts, and copying out of and into chains; virtqueue_split.c and virtqueue_packed.c know how a
 * ring lies in memory.
 */
#ifndef PLEAT_DEVICES_VIRTQUEUE_INTERNAL_H
#define PLEAT_DEVICES_VIRTQUEUE_INTERNAL_H

#include <string.h>

#include <pleat/virtio_device_ring.h>
#include <pleat/wire/ring_memory.h>

/** Bytes of a descriptor of either layout. */
#define QUEUE_DESCRIPTOR_BYTES 16u

/** The host's pointer to a part of the ring, or NULL. */
static inline void *queue_pointer(const struct pleat_virtqueue *queue, uint64_t physical, uint64_t length,
                                  bool write)
{
    return queue->memory.guest_pointer(queue->memory.context, physical, length, write);
}

/**
 * Copies out of guest memory, once: the compiler may not read it again after this, though it sees that
 * nothing of ours writes there.
 */
static inline void queue_copy_once(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/** The queue is broken from now on. */
static inline int queue_break(struct pleat_virtqueue *queue, enum pleat_virtqueue_fault fault)
{
    queue->fault = fault;
    return PLEAT_E_PROTOCOL;
}

/** The first fault of a chain is kept. */
static inline void queue_chain_fault(struct pleat_virtqueue_chain *chain, enum pleat_virtqueue_fault fault)
{
    if (chain->fault == PLEAT_VIRTQUEUE_FAULT_NONE) {
        chain->fault = fault;
    }
}

/** Adds a buffer to a chain, or notes what is wrong with it. */
void pleat_virtqueue_chain_add(const struct pleat_virtqueue *queue, struct pleat_virtqueue_chain *chain,
                               uint64_t physical, uint32_t length, bool writable);

/**
 * The indirect table that a descriptor with `flags` points to: the pointer, and its length in entries; or
 * NULL, and what is wrong is noted. `nested`: the descriptor is itself in a table.
 */
const uint8_t *pleat_virtqueue_chain_table(const struct pleat_virtqueue *queue,
                                           struct pleat_virtqueue_chain *chain, uint64_t physical,
                                           uint32_t length, uint16_t flags, bool nested, uint32_t *entries);

/* Each layout has these, for queues that aren't broken. */
int pleat_virtqueue_split_pop(struct pleat_virtqueue *queue, struct pleat_virtqueue_chain *chain);
int pleat_virtqueue_packed_pop(struct pleat_virtqueue *queue, struct pleat_virtqueue_chain *chain);

int pleat_virtqueue_split_push(struct pleat_virtqueue *queue, const struct pleat_virtqueue_chain *chain,
                               uint32_t written_bytes);
int pleat_virtqueue_packed_push(struct pleat_virtqueue *queue, const struct pleat_virtqueue_chain *chain,
                                uint32_t written_bytes);

/* `count` > 0 chains or slots were pushed since this was last asked. */
bool pleat_virtqueue_split_should_interrupt(struct pleat_virtqueue *queue, uint32_t count);
bool pleat_virtqueue_packed_should_interrupt(struct pleat_virtqueue *queue, uint32_t count);

bool pleat_virtqueue_split_enable_notifications(struct pleat_virtqueue *queue);
bool pleat_virtqueue_packed_enable_notifications(struct pleat_virtqueue *queue);
void pleat_virtqueue_split_disable_notifications(struct pleat_virtqueue *queue);
void pleat_virtqueue_packed_disable_notifications(struct pleat_virtqueue *queue);

#endif
