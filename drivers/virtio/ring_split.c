/* SPDX-License-Identifier: MIT
 *
 * The driver's side of the split layout (VIRTIO 2.7): a table of descriptors; a ring in which the driver
 * puts the heads of chains for the device, its index running freely; a ring in which the device puts them
 * back. The links between descriptors are kept twice: in the table for the device, and in private slots for
 * the driver, which never reads the table.
 */
#include "ring_internal.h"

static void write_descriptor(uint8_t *to, const struct pleat_virtio_buffer *buffer, uint16_t flags,
                             uint16_t next)
{
    pleat_ring_store64_plain(to + offsetof(struct pleat_virtq_split_descriptor, address), buffer->physical);
    pleat_ring_store32_plain(to + offsetof(struct pleat_virtq_split_descriptor, length),
                             buffer->length_bytes);
    pleat_ring_store16_plain(to + offsetof(struct pleat_virtq_split_descriptor, flags), flags);
    pleat_ring_store16_plain(to + offsetof(struct pleat_virtq_split_descriptor, next), next);
}

static uint8_t *descriptor(const struct pleat_virtio_ring *ring, uint16_t slot)
{
    return ring->descriptor_area + (size_t)slot * RING_DESCRIPTOR_BYTES;
}

static uint16_t used_index(const struct pleat_virtio_ring *ring)
{
    return pleat_ring_load16_acquire(ring->device_area + PLEAT_VIRTQ_SPLIT_INDEX_OFFSET);
}

uint16_t pleat_ring_split_add(struct pleat_virtio_ring *ring, const struct pleat_virtio_buffer *buffers,
                              uint16_t count, uint16_t table)
{
    const uint16_t head = ring->first_free;
    uint16_t last = head;
    if (table != RING_NONE) {
        uint8_t *entries = ring_table(ring, table);
        for (uint16_t i = 0; i < count; i++) {
            const uint16_t flags = ring_descriptor_flags(buffers, i, count);
            const uint16_t next = flags & PLEAT_VIRTQ_DESC_F_NEXT ? (uint16_t)(i + 1u) : 0;
            write_descriptor(entries + (size_t)i * RING_DESCRIPTOR_BYTES, &buffers[i], flags, next);
        }
        const struct pleat_virtio_buffer whole = {ring_table_physical(ring, table),
                                                  (uint32_t)count * RING_DESCRIPTOR_BYTES, false};
        write_descriptor(descriptor(ring, head), &whole, PLEAT_VIRTQ_DESC_F_INDIRECT, 0);
        ring->slots[head].slots = 1;
    } else {
        for (uint16_t i = 0, slot = head; i < count; i++) {
            const uint16_t flags = ring_descriptor_flags(buffers, i, count);
            const uint16_t next = flags & PLEAT_VIRTQ_DESC_F_NEXT ? ring->slots[slot].next : 0;
            write_descriptor(descriptor(ring, slot), &buffers[i], flags, next);
            last = slot;
            slot = ring->slots[slot].next;
        }
        ring->slots[head].slots = count;
    }
    ring->first_free = ring->slots[last].next;
    ring->free_slots = (uint16_t)(ring->free_slots - ring->slots[head].slots);

    const size_t place = (size_t)(ring->next_available & (ring->size - 1u));
    pleat_ring_store16_plain(ring->driver_area + PLEAT_VIRTQ_SPLIT_RING_OFFSET + 2u * place, head);
    ring->next_available++;
    return head;
}

void pleat_ring_split_publish(struct pleat_virtio_ring *ring)
{
    ring->published_since_asked += (uint16_t)(ring->next_available - ring->published);
    ring->published = ring->next_available;
    pleat_ring_store16_ordered(ring->driver_area + PLEAT_VIRTQ_SPLIT_INDEX_OFFSET, ring->next_available);
}

bool pleat_ring_split_should_notify(struct pleat_virtio_ring *ring, uint32_t count)
{
    if (!ring->event_index) {
        const uint16_t flags = pleat_ring_load16_ordered(ring->device_area + PLEAT_VIRTQ_SPLIT_FLAGS_OFFSET);
        return !(flags & PLEAT_VIRTQ_USED_F_NO_NOTIFY);
    }
    if (count > UINT16_MAX) {
        return true;
    }
    const uint16_t event =
        pleat_ring_load16_ordered(ring->device_area + pleat_virtq_split_available_event_offset(ring->size));
    return pleat_virtq_need_event(event, ring->published, (uint16_t)(ring->published - count));
}

int pleat_ring_split_look(struct pleat_virtio_ring *ring, uint32_t *id, uint32_t *length)
{
    const uint16_t waiting = (uint16_t)(used_index(ring) - ring->next_used);
    if (waiting == 0) {
        return 0;
    }
    if (waiting > ring->outstanding) {
        return -1;
    }
    const size_t place = (size_t)(ring->next_used & (ring->size - 1u));
    const uint8_t *element = ring->device_area + PLEAT_VIRTQ_SPLIT_RING_OFFSET +
                             place * sizeof(struct pleat_virtq_split_used_element);
    *id = pleat_ring_load32_plain(element + offsetof(struct pleat_virtq_split_used_element, id));
    *length = pleat_ring_load32_plain(element + offsetof(struct pleat_virtq_split_used_element, length));
    return 1;
}

void pleat_ring_split_take(struct pleat_virtio_ring *ring, uint16_t id)
{
    uint16_t last = id;
    for (uint16_t i = 1; i < ring->slots[id].slots; i++) {
        last = ring->slots[last].next;
    }
    ring->slots[last].next = ring->first_free;
    ring->first_free = id;
    ring->next_used++;
}

bool pleat_ring_split_enable_interrupts(struct pleat_virtio_ring *ring)
{
    if (ring->event_index) {
        pleat_ring_store16_ordered(ring->driver_area + pleat_virtq_split_used_event_offset(ring->size),
                                   ring->next_used);
    } else {
        pleat_ring_store16_ordered(ring->driver_area + PLEAT_VIRTQ_SPLIT_FLAGS_OFFSET, 0);
    }
    return pleat_ring_load16_ordered(ring->device_area + PLEAT_VIRTQ_SPLIT_INDEX_OFFSET) != ring->next_used;
}

void pleat_ring_split_disable_interrupts(struct pleat_virtio_ring *ring)
{
    if (ring->event_index) {
        /* The flag has no meaning here; the index just passed is the one that comes again last. */
        pleat_ring_store16_plain(ring->driver_area + pleat_virtq_split_used_event_offset(ring->size),
                                 (uint16_t)(ring->next_used - 1u));
    } else {
        pleat_ring_store16_plain(ring->driver_area + PLEAT_VIRTQ_SPLIT_FLAGS_OFFSET,
                                 PLEAT_VIRTQ_AVAILABLE_F_NO_INTERRUPT);
    }
}
