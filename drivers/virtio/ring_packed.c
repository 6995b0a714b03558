/* SPDX-License-Identifier: MIT
 *
 * The driver's side of the packed layout (VIRTIO 2.8): one ring of slots that both sides go round, the
 * driver filling slots, the device overwriting the first slot of what it gives back. Two flags in a slot,
 * set against a wrap counter that toggles at each lap, say whose it is.
 *
 * The device goes through slots in order, so that a later chain isn't seen before an earlier one: only the
 * flags of the first slot of the first unpublished chain are held back until publish.
 *
 * Buffer ids are the driver's own names for chains. They come from a list, because chains are used in any
 * order, while slots are taken and freed in the order of the ring.
 */
#include "ring_internal.h"

#define BOTH_FLAGS (PLEAT_VIRTQ_DESC_F_AVAILABLE | PLEAT_VIRTQ_DESC_F_USED)

static uint16_t available_flags(bool wrap)
{
    return wrap ? PLEAT_VIRTQ_DESC_F_AVAILABLE : PLEAT_VIRTQ_DESC_F_USED;
}

static uint8_t *descriptor(const struct pleat_virtio_ring *ring, uint16_t slot)
{
    return ring->descriptor_area + (size_t)slot * RING_DESCRIPTOR_BYTES;
}

/** Everything but the flags. */
static void write_buffer(uint8_t *to, const struct pleat_virtio_buffer *buffer, uint16_t id)
{
    pleat_ring_store64_plain(to + offsetof(struct pleat_virtq_packed_descriptor, address), buffer->physical);
    pleat_ring_store32_plain(to + offsetof(struct pleat_virtq_packed_descriptor, length),
                             buffer->length_bytes);
    pleat_ring_store16_plain(to + offsetof(struct pleat_virtq_packed_descriptor, id), id);
}

static void write_flags(uint8_t *to, uint16_t flags)
{
    pleat_ring_store16_plain(to + offsetof(struct pleat_virtq_packed_descriptor, flags), flags);
}

/** Puts a buffer into the next slot and steps past it. */
static void fill_slot(struct pleat_virtio_ring *ring, const struct pleat_virtio_buffer *buffer,
                      uint16_t flags, uint16_t id)
{
    uint8_t *to = descriptor(ring, ring->next_available);
    flags |= available_flags(ring->available_wrap);
    write_buffer(to, buffer, id);
    if (ring->next_available == ring->published) {
        ring->held_back_flags = flags;
    } else {
        write_flags(to, flags);
    }
    if (++ring->next_available == ring->size) {
        ring->next_available = 0;
        ring->available_wrap = !ring->available_wrap;
    }
}

uint16_t pleat_ring_packed_add(struct pleat_virtio_ring *ring, const struct pleat_virtio_buffer *buffers,
                               uint16_t count, uint16_t table)
{
    const uint16_t id = ring->first_free;
    ring->first_free = ring->slots[id].next;
    if (table != RING_NONE) {
        uint8_t *entries = ring_table(ring, table);
        for (uint16_t i = 0; i < count; i++) {
            uint8_t *entry = entries + (size_t)i * RING_DESCRIPTOR_BYTES;
            write_buffer(entry, &buffers[i], 0);
            write_flags(entry, buffers[i].device_writable ? PLEAT_VIRTQ_DESC_F_WRITE : 0);
        }
        const struct pleat_virtio_buffer whole = {ring_table_physical(ring, table),
                                                  (uint32_t)count * RING_DESCRIPTOR_BYTES, false};
        fill_slot(ring, &whole, PLEAT_VIRTQ_DESC_F_INDIRECT, id);
        ring->slots[id].slots = 1;
    } else {
        for (uint16_t i = 0; i < count; i++) {
            fill_slot(ring, &buffers[i], ring_descriptor_flags(buffers, i, count), id);
        }
        ring->slots[id].slots = count;
    }
    ring->free_slots = (uint16_t)(ring->free_slots - ring->slots[id].slots);
    return id;
}

/** How many slots lie between two places of the ring, each with its wrap counter. */
static uint16_t distance(const struct pleat_virtio_ring *ring, uint16_t from, bool from_wrap, uint16_t to,
                         bool to_wrap)
{
    return (uint16_t)(to - from + (from_wrap != to_wrap ? ring->size : 0u));
}

void pleat_ring_packed_publish(struct pleat_virtio_ring *ring)
{
    uint8_t *first = descriptor(ring, ring->published);
    ring->published_since_asked +=
        distance(ring, ring->published, ring->published_wrap, ring->next_available, ring->available_wrap);
    ring->published = ring->next_available;
    ring->published_wrap = ring->available_wrap;
    pleat_ring_store16_ordered(first + offsetof(struct pleat_virtq_packed_descriptor, flags),
                               ring->held_back_flags);
}

bool pleat_ring_packed_should_notify(struct pleat_virtio_ring *ring, uint32_t count)
{
    /* Both fields in one load: the device may be changing them. */
    const uint32_t event = pleat_ring_load32_ordered(ring->device_area);
    const uint16_t offset_wrap = (uint16_t)event;
    switch (event >> 16 & PLEAT_VIRTQ_EVENT_FLAGS_MASK) {
    case PLEAT_VIRTQ_EVENT_DISABLE:
        return false;
    case PLEAT_VIRTQ_EVENT_AT_SLOT:
        break;
    default:
        return true;
    }
    if (!ring->event_index || count > ring->size) {
        return true;
    }
    uint16_t slot = offset_wrap & PLEAT_VIRTQ_EVENT_OFFSET_MASK;
    if ((offset_wrap & PLEAT_VIRTQ_EVENT_WRAP_BIT ? true : false) != ring->published_wrap) {
        slot = (uint16_t)(slot - ring->size);
    }
    return pleat_virtq_need_event(slot, ring->published, (uint16_t)(ring->published - count));
}

/** Do these flags say that the device has used the slot where the next used chain is expected? */
static bool is_used(const struct pleat_virtio_ring *ring, uint16_t flags)
{
    return (flags & BOTH_FLAGS) == (ring->used_wrap ? BOTH_FLAGS : 0u);
}

int pleat_ring_packed_look(struct pleat_virtio_ring *ring, uint32_t *id, uint32_t *length)
{
    const uint8_t *slot = descriptor(ring, ring->next_used);
    const uint16_t flags =
        pleat_ring_load16_acquire(slot + offsetof(struct pleat_virtq_packed_descriptor, flags));
    if (!is_used(ring, flags)) {
        return 0;
    }
    *id = pleat_ring_load16_plain(slot + offsetof(struct pleat_virtq_packed_descriptor, id));
    *length = pleat_ring_load32_plain(slot + offsetof(struct pleat_virtq_packed_descriptor, length));
    /* Without WRITE the length is reserved, says the specification (2.8.4), and a device may leave there what
     * the driver wrote; but QEMU gives a true length and never sets WRITE. What can't be true isn't meant. */
    const bool is_written = flags & PLEAT_VIRTQ_DESC_F_WRITE;
    if (!is_written && *id < ring->size && ring->slots[*id].writable_bytes < *length) {
        *length = 0;
    }
    return 1;
}

void pleat_ring_packed_take(struct pleat_virtio_ring *ring, uint16_t id)
{
    const uint32_t next = (uint32_t)ring->next_used + ring->slots[id].slots;
    if (next >= ring->size) {
        ring->next_used = (uint16_t)(next - ring->size);
        ring->used_wrap = !ring->used_wrap;
    } else {
        ring->next_used = (uint16_t)next;
    }
    ring->slots[id].next = ring->first_free;
    ring->first_free = id;
}

bool pleat_ring_packed_enable_interrupts(struct pleat_virtio_ring *ring)
{
    uint32_t event = (uint32_t)PLEAT_VIRTQ_EVENT_ENABLE << 16;
    if (ring->event_index) {
        event = (uint32_t)PLEAT_VIRTQ_EVENT_AT_SLOT << 16 |
                (ring->used_wrap ? PLEAT_VIRTQ_EVENT_WRAP_BIT : 0u) | ring->next_used;
    }
    pleat_ring_store32_ordered(ring->driver_area, event);
    const uint16_t flags = pleat_ring_load16_ordered(descriptor(ring, ring->next_used) +
                                                     offsetof(struct pleat_virtq_packed_descriptor, flags));
    return is_used(ring, flags);
}

void pleat_ring_packed_disable_interrupts(struct pleat_virtio_ring *ring)
{
    pleat_ring_store32_plain(ring->driver_area, (uint32_t)PLEAT_VIRTQ_EVENT_DISABLE << 16);
}
