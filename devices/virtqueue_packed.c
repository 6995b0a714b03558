/* SPDX-License-Identifier: MIT
 *
 * The device's side of the packed layout (VIRTIO 2.8). A chain's buffer id is in its last slot, and where
 * the next chain starts follows from how many slots this one takes: so a chain is followed to its end even
 * after something wrong was found in it, and one without an end breaks the queue.
 */
#include "devices/virtqueue_internal.h"

static uint8_t *ring_area(const struct pleat_virtqueue *queue, bool write)
{
    return queue_pointer(queue, queue->config.descriptor_physical,
                         pleat_virtq_packed_descriptor_bytes(queue->config.size), write);
}

static uint8_t *flags_of(uint8_t *ring, uint16_t slot)
{
    return ring + (size_t)slot * QUEUE_DESCRIPTOR_BYTES +
           offsetof(struct pleat_virtq_packed_descriptor, flags);
}

static bool is_available(const struct pleat_virtqueue *queue, uint16_t flags)
{
    const bool available = flags & PLEAT_VIRTQ_DESC_F_AVAILABLE;
    const bool used = flags & PLEAT_VIRTQ_DESC_F_USED;
    return available != used && available == queue->available_wrap;
}

/** All entries of an indirect table, in order. WRITE is the only flag that has a meaning there (2.8.7). */
static void walk_table(const struct pleat_virtqueue *queue, struct pleat_virtqueue_chain *chain,
                       const uint8_t *table, uint32_t entries)
{
    for (uint32_t i = 0; i < entries && !chain->fault; i++) {
        struct pleat_virtq_packed_descriptor descriptor;
        queue_copy_once(&descriptor, table + (size_t)i * QUEUE_DESCRIPTOR_BYTES, sizeof(descriptor));
        const uint16_t flags = pleat_le16_get(descriptor.flags);
        pleat_virtqueue_chain_add(queue, chain, pleat_le64_get(descriptor.address),
                                  pleat_le32_get(descriptor.length), flags & PLEAT_VIRTQ_DESC_F_WRITE);
    }
}

/** Takes what one slot adds to the chain, and its id; returns whether the chain goes on. */
static bool take_slot(const struct pleat_virtqueue *queue, struct pleat_virtqueue_chain *chain,
                      const uint8_t *slot)
{
    struct pleat_virtq_packed_descriptor descriptor;
    queue_copy_once(&descriptor, slot, sizeof(descriptor));
    const uint64_t address = pleat_le64_get(descriptor.address);
    const uint32_t length = pleat_le32_get(descriptor.length);
    const uint16_t flags = pleat_le16_get(descriptor.flags);
    chain->id = pleat_le16_get(descriptor.id);
    if (flags & PLEAT_VIRTQ_DESC_F_INDIRECT) {
        uint32_t entries = 0;
        const uint8_t *table =
            pleat_virtqueue_chain_table(queue, chain, address, length, flags, false, &entries);
        if (table) {
            walk_table(queue, chain, table, entries);
        }
    } else if (!chain->fault) {
        pleat_virtqueue_chain_add(queue, chain, address, length, flags & PLEAT_VIRTQ_DESC_F_WRITE);
    }
    return flags & PLEAT_VIRTQ_DESC_F_NEXT;
}

/** Moves a place of the ring on by `slots`, at most the ring's size. */
static void step(const struct pleat_virtqueue *queue, uint16_t *place, bool *wrap, uint16_t slots)
{
    const uint32_t next = (uint32_t)*place + slots;
    const bool passes_end = next >= queue->config.size;
    *place = (uint16_t)(passes_end ? next - queue->config.size : next);
    *wrap = *wrap != passes_end;
}

int pleat_virtqueue_packed_pop(struct pleat_virtqueue *queue, struct pleat_virtqueue_chain *chain)
{
    const uint16_t size = queue->config.size;
    uint8_t *ring = ring_area(queue, false);
    if (!ring) {
        return queue_break(queue, PLEAT_VIRTQUEUE_FAULT_RING_MEMORY);
    }
    if (!is_available(queue, pleat_ring_load16_acquire(flags_of(ring, queue->next_available)))) {
        return 0;
    }
    if (queue->in_flight == size) {
        return queue_break(queue, PLEAT_VIRTQUEUE_FAULT_OVERRUN);
    }
    uint16_t slot = queue->next_available;
    uint16_t slots = 1;
    while (take_slot(queue, chain, ring + (size_t)slot * QUEUE_DESCRIPTOR_BYTES)) {
        if ((uint32_t)queue->in_flight + slots == size) {
            return queue_break(queue, PLEAT_VIRTQUEUE_FAULT_ENDLESS);
        }
        slots++;
        slot = slot + 1u < size ? (uint16_t)(slot + 1u) : 0;
    }
    chain->slots = slots;
    step(queue, &queue->next_available, &queue->available_wrap, slots);
    queue->in_flight = (uint16_t)(queue->in_flight + slots);
    return 1;
}

int pleat_virtqueue_packed_push(struct pleat_virtqueue *queue, const struct pleat_virtqueue_chain *chain,
                                uint32_t written_bytes)
{
    uint8_t *ring = ring_area(queue, true);
    if (!ring) {
        return queue_break(queue, PLEAT_VIRTQUEUE_FAULT_RING_MEMORY);
    }
    uint8_t *slot = ring + (size_t)queue->next_used * QUEUE_DESCRIPTOR_BYTES;
    pleat_ring_store16_plain(slot + offsetof(struct pleat_virtq_packed_descriptor, id), chain->id);
    pleat_ring_store32_plain(slot + offsetof(struct pleat_virtq_packed_descriptor, length), written_bytes);
    const uint16_t wrap_flags =
        queue->used_wrap ? PLEAT_VIRTQ_DESC_F_AVAILABLE | PLEAT_VIRTQ_DESC_F_USED : 0u;
    const uint16_t flags = (uint16_t)(wrap_flags | (written_bytes ? PLEAT_VIRTQ_DESC_F_WRITE : 0u));
    step(queue, &queue->next_used, &queue->used_wrap, chain->slots);
    queue->in_flight = (uint16_t)(queue->in_flight - chain->slots);
    queue->pushed_since_asked += chain->slots;
    pleat_ring_store16_ordered(slot + offsetof(struct pleat_virtq_packed_descriptor, flags), flags);
    return PLEAT_OK;
}

bool pleat_virtqueue_packed_should_interrupt(struct pleat_virtqueue *queue, uint32_t count)
{
    const void *event_area =
        queue_pointer(queue, queue->config.driver_physical, sizeof(struct pleat_virtq_packed_event), false);
    if (!event_area) {
        return true;
    }
    /* Both fields in one load: the driver may be changing them. */
    const uint32_t event = pleat_ring_load32_ordered(event_area);
    const uint16_t offset_wrap = (uint16_t)event;
    switch (event >> 16 & PLEAT_VIRTQ_EVENT_FLAGS_MASK) {
    case PLEAT_VIRTQ_EVENT_DISABLE:
        return false;
    case PLEAT_VIRTQ_EVENT_AT_SLOT:
        break;
    default:
        return true;
    }
    if (!queue->event_index || count > queue->config.size) {
        return true;
    }
    uint16_t slot = offset_wrap & PLEAT_VIRTQ_EVENT_OFFSET_MASK;
    const bool wrap = offset_wrap & PLEAT_VIRTQ_EVENT_WRAP_BIT;
    if (wrap != queue->used_wrap) {
        slot = (uint16_t)(slot - queue->config.size);
    }
    return pleat_virtq_need_event(slot, queue->next_used, (uint16_t)(queue->next_used - count));
}

bool pleat_virtqueue_packed_enable_notifications(struct pleat_virtqueue *queue)
{
    uint8_t *ring = ring_area(queue, false);
    void *event_area =
        queue_pointer(queue, queue->config.device_physical, sizeof(struct pleat_virtq_packed_event), true);
    if (!ring || !event_area) {
        queue_break(queue, PLEAT_VIRTQUEUE_FAULT_RING_MEMORY);
        return true;
    }
    uint32_t event = (uint32_t)PLEAT_VIRTQ_EVENT_ENABLE << 16;
    if (queue->event_index) {
        event = (uint32_t)PLEAT_VIRTQ_EVENT_AT_SLOT << 16 |
                (queue->available_wrap ? PLEAT_VIRTQ_EVENT_WRAP_BIT : 0u) | queue->next_available;
    }
    pleat_ring_store32_ordered(event_area, event);
    return is_available(queue, pleat_ring_load16_ordered(flags_of(ring, queue->next_available)));
}

void pleat_virtqueue_packed_disable_notifications(struct pleat_virtqueue *queue)
{
    void *event_area =
        queue_pointer(queue, queue->config.device_physical, sizeof(struct pleat_virtq_packed_event), true);
    if (!event_area) {
        queue_break(queue, PLEAT_VIRTQUEUE_FAULT_RING_MEMORY);
    } else {
        pleat_ring_store32_plain(event_area, (uint32_t)PLEAT_VIRTQ_EVENT_DISABLE << 16);
    }
}
