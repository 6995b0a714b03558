/* SPDX-License-Identifier: MIT
 *
 * The device's side of the split layout (VIRTIO 2.7). A chain's place is known by its head before anything
 * of it is looked at, so that whatever is wrong inside of it, it can be given back. Only the available ring
 * itself can lead nowhere: an index too far ahead, a head outside the table.
 */
#include "devices/virtqueue_internal.h"

static uint8_t *driver_area(const struct pleat_virtqueue *queue)
{
    return queue_pointer(queue, queue->config.driver_physical,
                         pleat_virtq_split_driver_bytes(queue->config.size), false);
}

static uint8_t *device_area(const struct pleat_virtqueue *queue)
{
    return queue_pointer(queue, queue->config.device_physical,
                         pleat_virtq_split_device_bytes(queue->config.size), true);
}

/** Follows a chain through the ring's table and, where it ends in one, an indirect table. */
static void walk(const struct pleat_virtqueue *queue, struct pleat_virtqueue_chain *chain,
                 const uint8_t *table)
{
    uint32_t entries = queue->config.size;
    uint32_t index = chain->id;
    uint32_t steps = 0;
    bool nested = false;
    for (;;) {
        struct pleat_virtq_split_descriptor descriptor;
        queue_copy_once(&descriptor, table + (size_t)index * QUEUE_DESCRIPTOR_BYTES, sizeof(descriptor));
        const uint64_t address = pleat_le64_get(descriptor.address);
        const uint32_t length = pleat_le32_get(descriptor.length);
        const uint16_t flags = pleat_le16_get(descriptor.flags);
        if (flags & PLEAT_VIRTQ_DESC_F_INDIRECT) {
            table = pleat_virtqueue_chain_table(queue, chain, address, length, flags, nested, &entries);
            if (!table) {
                return;
            }
            nested = true;
            index = 0;
            steps = 0;
            continue;
        }
        pleat_virtqueue_chain_add(queue, chain, address, length, flags & PLEAT_VIRTQ_DESC_F_WRITE);
        if (chain->fault || !(flags & PLEAT_VIRTQ_DESC_F_NEXT)) {
            return;
        }
        index = pleat_le16_get(descriptor.next);
        if (index >= entries) {
            queue_chain_fault(chain, PLEAT_VIRTQUEUE_FAULT_NEXT);
            return;
        }
        if (++steps >= entries) {
            queue_chain_fault(chain, PLEAT_VIRTQUEUE_FAULT_LOOP);
            return;
        }
    }
}

int pleat_virtqueue_split_pop(struct pleat_virtqueue *queue, struct pleat_virtqueue_chain *chain)
{
    const uint16_t size = queue->config.size;
    const uint8_t *available = driver_area(queue);
    const uint8_t *table = queue_pointer(queue, queue->config.descriptor_physical,
                                         pleat_virtq_split_descriptor_bytes(size), false);
    if (!available || !table) {
        return queue_break(queue, PLEAT_VIRTQUEUE_FAULT_RING_MEMORY);
    }
    const uint16_t index = pleat_ring_load16_acquire(available + PLEAT_VIRTQ_SPLIT_INDEX_OFFSET);
    const uint16_t waiting = (uint16_t)(index - queue->next_available);
    if (waiting == 0) {
        return 0;
    }
    if (waiting > size) {
        return queue_break(queue, PLEAT_VIRTQUEUE_FAULT_INDEX);
    }
    if ((uint32_t)queue->in_flight + waiting > size) {
        return queue_break(queue, PLEAT_VIRTQUEUE_FAULT_OVERRUN);
    }
    const size_t place = (size_t)(queue->next_available & (size - 1u));
    const uint16_t head = pleat_ring_load16_plain(available + PLEAT_VIRTQ_SPLIT_RING_OFFSET + 2u * place);
    if (head >= size) {
        return queue_break(queue, PLEAT_VIRTQUEUE_FAULT_HEAD);
    }
    queue->next_available++;
    queue->in_flight++;
    chain->id = head;
    chain->slots = 1;
    walk(queue, chain, table);
    return 1;
}

int pleat_virtqueue_split_push(struct pleat_virtqueue *queue, const struct pleat_virtqueue_chain *chain,
                               uint32_t written_bytes)
{
    uint8_t *used = device_area(queue);
    if (!used) {
        return queue_break(queue, PLEAT_VIRTQUEUE_FAULT_RING_MEMORY);
    }
    const size_t place = (size_t)(queue->next_used & (queue->config.size - 1u));
    uint8_t *element =
        used + PLEAT_VIRTQ_SPLIT_RING_OFFSET + place * sizeof(struct pleat_virtq_split_used_element);
    pleat_ring_store32_plain(element + offsetof(struct pleat_virtq_split_used_element, id), chain->id);
    pleat_ring_store32_plain(element + offsetof(struct pleat_virtq_split_used_element, length),
                             written_bytes);
    queue->next_used++;
    queue->in_flight--;
    queue->pushed_since_asked++;
    pleat_ring_store16_ordered(used + PLEAT_VIRTQ_SPLIT_INDEX_OFFSET, queue->next_used);
    return PLEAT_OK;
}

bool pleat_virtqueue_split_should_interrupt(struct pleat_virtqueue *queue, uint32_t count)
{
    const uint8_t *available = driver_area(queue);
    if (!available) {
        return true;
    }
    if (!queue->event_index) {
        const uint16_t flags = pleat_ring_load16_ordered(available + PLEAT_VIRTQ_SPLIT_FLAGS_OFFSET);
        return !(flags & PLEAT_VIRTQ_AVAILABLE_F_NO_INTERRUPT);
    }
    if (count > UINT16_MAX) {
        return true;
    }
    const uint16_t event =
        pleat_ring_load16_ordered(available + pleat_virtq_split_used_event_offset(queue->config.size));
    return pleat_virtq_need_event(event, queue->next_used, (uint16_t)(queue->next_used - count));
}

bool pleat_virtqueue_split_enable_notifications(struct pleat_virtqueue *queue)
{
    const uint8_t *available = driver_area(queue);
    uint8_t *used = device_area(queue);
    if (!available || !used) {
        queue_break(queue, PLEAT_VIRTQUEUE_FAULT_RING_MEMORY);
        return true;
    }
    if (queue->event_index) {
        pleat_ring_store16_ordered(used + pleat_virtq_split_available_event_offset(queue->config.size),
                                   queue->next_available);
    } else {
        pleat_ring_store16_ordered(used + PLEAT_VIRTQ_SPLIT_FLAGS_OFFSET, 0);
    }
    return pleat_ring_load16_ordered(available + PLEAT_VIRTQ_SPLIT_INDEX_OFFSET) != queue->next_available;
}

void pleat_virtqueue_split_disable_notifications(struct pleat_virtqueue *queue)
{
    uint8_t *used = device_area(queue);
    if (!used) {
        queue_break(queue, PLEAT_VIRTQUEUE_FAULT_RING_MEMORY);
    } else if (queue->event_index) {
        /* The flag has no meaning here; the index just passed is the one that comes again last. */
        pleat_ring_store16_plain(used + pleat_virtq_split_available_event_offset(queue->config.size),
                                 (uint16_t)(queue->next_available - 1u));
    } else {
        pleat_ring_store16_plain(used + PLEAT_VIRTQ_SPLIT_FLAGS_OFFSET, PLEAT_VIRTQ_USED_F_NO_NOTIFY);
    }
}
