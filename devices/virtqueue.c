/* SPDX-License-Identifier: MIT
 *
 * The device's side of a virtqueue, as far as both layouts are the same: set-up, the checks of what a chain
 * consists of, copying out of and into chains, save and load. Guest memory is asked for at each access, so
 * that no pointer outlives what it points to.
 */
#include "devices/virtqueue_internal.h"

/** A table is at most as long as the largest ring: beyond that, somebody wants to keep the device busy. */
#define TABLE_ENTRIES_MAX PLEAT_VIRTQ_SIZE_MAX

const char *pleat_virtqueue_fault_text(enum pleat_virtqueue_fault fault)
{
    switch (fault) {
    case PLEAT_VIRTQUEUE_FAULT_NONE:
        return "no fault";
    case PLEAT_VIRTQUEUE_FAULT_ADDRESS:
        return "a buffer isn't guest memory";
    case PLEAT_VIRTQUEUE_FAULT_TOO_LONG:
        return "a chain has too many buffers";
    case PLEAT_VIRTQUEUE_FAULT_TOO_BIG:
        return "a chain has too many bytes";
    case PLEAT_VIRTQUEUE_FAULT_LOOP:
        return "a chain comes back to itself";
    case PLEAT_VIRTQUEUE_FAULT_NEXT:
        return "a chain leads out of its table";
    case PLEAT_VIRTQUEUE_FAULT_ORDER:
        return "a readable buffer comes after a writable one";
    case PLEAT_VIRTQUEUE_FAULT_TABLE:
        return "an indirect table isn't guest memory, or its length is wrong";
    case PLEAT_VIRTQUEUE_FAULT_INDIRECT:
        return "an indirect table where none may be";
    case PLEAT_VIRTQUEUE_FAULT_RING_MEMORY:
        return "the ring isn't guest memory";
    case PLEAT_VIRTQUEUE_FAULT_INDEX:
        return "the available index is too far ahead";
    case PLEAT_VIRTQUEUE_FAULT_HEAD:
        return "a chain starts outside the table";
    case PLEAT_VIRTQUEUE_FAULT_OVERRUN:
        return "more chains are out than the ring holds";
    case PLEAT_VIRTQUEUE_FAULT_ENDLESS:
        return "a chain has no end";
    }
    return "unknown fault";
}

/** Is an area aligned, in the guest's addresses and in ours, and memory? */
static bool area_is_good(const struct pleat_guest_memory *memory, uint64_t physical, uint64_t bytes,
                         uint32_t alignment, bool write)
{
    if (physical % alignment != 0) {
        return false;
    }
    const void *pointer = memory->guest_pointer(memory->context, physical, bytes, write);
    return pointer && (uintptr_t)pointer % alignment == 0;
}

static bool config_is_good(const struct pleat_virtqueue_config *config,
                           const struct pleat_guest_memory *memory)
{
    const uint16_t size = config->size;
    if (size == 0 || size > PLEAT_VIRTQ_SIZE_MAX) {
        return false;
    }
    if (config->features & PLEAT_VIRTIO_F_RING_PACKED) {
        const uint32_t event_bytes = sizeof(struct pleat_virtq_packed_event);
        return area_is_good(memory, config->descriptor_physical, pleat_virtq_packed_descriptor_bytes(size),
                            PLEAT_VIRTQ_PACKED_DESCRIPTOR_ALIGNMENT, true) &&
               area_is_good(memory, config->driver_physical, event_bytes, PLEAT_VIRTQ_PACKED_EVENT_ALIGNMENT,
                            false) &&
               area_is_good(memory, config->device_physical, event_bytes, PLEAT_VIRTQ_PACKED_EVENT_ALIGNMENT,
                            true);
    }
    return (size & (size - 1u)) == 0 &&
           area_is_good(memory, config->descriptor_physical, pleat_virtq_split_descriptor_bytes(size),
                        PLEAT_VIRTQ_SPLIT_DESCRIPTOR_ALIGNMENT, false) &&
           area_is_good(memory, config->driver_physical, pleat_virtq_split_driver_bytes(size),
                        PLEAT_VIRTQ_SPLIT_DRIVER_ALIGNMENT, false) &&
           area_is_good(memory, config->device_physical, pleat_virtq_split_device_bytes(size),
                        PLEAT_VIRTQ_SPLIT_DEVICE_ALIGNMENT, true);
}

int pleat_virtqueue_init(struct pleat_virtqueue *queue, const struct pleat_virtqueue_config *config,
                         const struct pleat_guest_memory *memory)
{
    if (!config_is_good(config, memory)) {
        return PLEAT_E_INVALID;
    }
    memset(queue, 0, sizeof(*queue));
    queue->memory = *memory;
    queue->config = *config;
    queue->packed = config->features & PLEAT_VIRTIO_F_RING_PACKED;
    queue->event_index = config->features & PLEAT_VIRTIO_F_EVENT_IDX;
    queue->indirect = config->features & PLEAT_VIRTIO_F_INDIRECT_DESC;
    queue->available_wrap = true;
    queue->used_wrap = true;
    return PLEAT_OK;
}

void pleat_virtqueue_chain_add(const struct pleat_virtqueue *queue, struct pleat_virtqueue_chain *chain,
                               uint64_t physical, uint32_t length, bool writable)
{
    if (!writable && chain->writable > 0) {
        queue_chain_fault(chain, PLEAT_VIRTQUEUE_FAULT_ORDER);
        return;
    }
    if (length == 0) {
        return;
    }
    if ((uint64_t)chain->readable_bytes + chain->writable_bytes + length > UINT32_MAX) {
        queue_chain_fault(chain, PLEAT_VIRTQUEUE_FAULT_TOO_BIG);
        return;
    }
    if ((uint32_t)chain->readable + chain->writable >= chain->capacity) {
        queue_chain_fault(chain, PLEAT_VIRTQUEUE_FAULT_TOO_LONG);
        return;
    }
    if (!queue_pointer(queue, physical, length, writable)) {
        queue_chain_fault(chain, PLEAT_VIRTQUEUE_FAULT_ADDRESS);
        return;
    }
    struct pleat_virtqueue_segment *segment = &chain->segments[chain->readable + chain->writable];
    segment->physical = physical;
    segment->length_bytes = length;
    if (writable) {
        chain->writable++;
        chain->writable_bytes += length;
    } else {
        chain->readable++;
        chain->readable_bytes += length;
    }
}

const uint8_t *pleat_virtqueue_chain_table(const struct pleat_virtqueue *queue,
                                           struct pleat_virtqueue_chain *chain, uint64_t physical,
                                           uint32_t length, uint16_t flags, bool nested, uint32_t *entries)
{
    if (nested || !queue->indirect || flags & PLEAT_VIRTQ_DESC_F_NEXT) {
        queue_chain_fault(chain, PLEAT_VIRTQUEUE_FAULT_INDIRECT);
        return NULL;
    }
    const uint8_t *table = NULL;
    if (length > 0 && length % QUEUE_DESCRIPTOR_BYTES == 0 &&
        length / QUEUE_DESCRIPTOR_BYTES <= TABLE_ENTRIES_MAX) {
        table = queue_pointer(queue, physical, length, false);
    }
    if (!table) {
        queue_chain_fault(chain, PLEAT_VIRTQUEUE_FAULT_TABLE);
        return NULL;
    }
    *entries = length / QUEUE_DESCRIPTOR_BYTES;
    return table;
}

/** What a chain has in it: nothing. */
static void empty_chain(struct pleat_virtqueue_chain *chain)
{
    chain->readable = 0;
    chain->writable = 0;
    chain->readable_bytes = 0;
    chain->writable_bytes = 0;
}

int pleat_virtqueue_pop(struct pleat_virtqueue *queue, struct pleat_virtqueue_chain *chain)
{
    empty_chain(chain);
    chain->id = 0;
    chain->slots = 0;
    chain->fault = PLEAT_VIRTQUEUE_FAULT_NONE;
    if (queue->fault) {
        return PLEAT_E_PROTOCOL;
    }
    const int result =
        queue->packed ? pleat_virtqueue_packed_pop(queue, chain) : pleat_virtqueue_split_pop(queue, chain);
    if (result == 1 && !chain->fault) {
        return 1;
    }
    empty_chain(chain);
    return result == 1 ? PLEAT_E_REFUSED : result;
}

int pleat_virtqueue_push(struct pleat_virtqueue *queue, const struct pleat_virtqueue_chain *chain,
                         uint32_t written_bytes)
{
    if (queue->fault) {
        return PLEAT_E_PROTOCOL;
    }
    if (written_bytes > chain->writable_bytes || chain->slots == 0 || chain->slots > queue->in_flight) {
        return PLEAT_E_INVALID;
    }
    return queue->packed ? pleat_virtqueue_packed_push(queue, chain, written_bytes)
                         : pleat_virtqueue_split_push(queue, chain, written_bytes);
}

bool pleat_virtqueue_should_interrupt(struct pleat_virtqueue *queue)
{
    const uint32_t count = queue->pushed_since_asked;
    queue->pushed_since_asked = 0;
    if (queue->fault || count == 0) {
        return false;
    }
    return queue->packed ? pleat_virtqueue_packed_should_interrupt(queue, count)
                         : pleat_virtqueue_split_should_interrupt(queue, count);
}

bool pleat_virtqueue_enable_notifications(struct pleat_virtqueue *queue)
{
    if (queue->fault) {
        return true;
    }
    return queue->packed ? pleat_virtqueue_packed_enable_notifications(queue)
                         : pleat_virtqueue_split_enable_notifications(queue);
}

void pleat_virtqueue_disable_notifications(struct pleat_virtqueue *queue)
{
    if (queue->fault) {
        return;
    }
    if (queue->packed) {
        pleat_virtqueue_packed_disable_notifications(queue);
    } else {
        pleat_virtqueue_split_disable_notifications(queue);
    }
}

static uint16_t place_with_wrap(uint16_t place, bool wrap)
{
    return (uint16_t)(place | (wrap ? PLEAT_VIRTQ_EVENT_WRAP_BIT : 0u));
}

struct pleat_virtqueue_state pleat_virtqueue_save(const struct pleat_virtqueue *queue)
{
    struct pleat_virtqueue_state state = {queue->next_available, queue->next_used, queue->in_flight};
    if (queue->packed) {
        state.next_available = place_with_wrap(queue->next_available, queue->available_wrap);
        state.next_used = place_with_wrap(queue->next_used, queue->used_wrap);
    }
    return state;
}

int pleat_virtqueue_load(struct pleat_virtqueue *queue, const struct pleat_virtqueue_state *state)
{
    const uint16_t size = queue->config.size;
    uint16_t available = state->next_available;
    uint16_t used = state->next_used;
    bool available_wrap = true;
    bool used_wrap = true;
    uint32_t between = (uint16_t)(available - used);
    if (queue->packed) {
        available_wrap = available & PLEAT_VIRTQ_EVENT_WRAP_BIT;
        used_wrap = used & PLEAT_VIRTQ_EVENT_WRAP_BIT;
        available &= PLEAT_VIRTQ_EVENT_OFFSET_MASK;
        used &= PLEAT_VIRTQ_EVENT_OFFSET_MASK;
        if (available >= size || used >= size) {
            return PLEAT_E_INVALID;
        }
        between = (uint32_t)available + (available_wrap != used_wrap ? size : 0u) - used;
    }
    if (between != state->in_flight || between > size) {
        return PLEAT_E_INVALID;
    }
    queue->next_available = available;
    queue->next_used = used;
    queue->available_wrap = available_wrap;
    queue->used_wrap = used_wrap;
    queue->in_flight = state->in_flight;
    /* As if everything had been pushed since the guest was last told. */
    queue->pushed_since_asked = (uint32_t)UINT16_MAX + 1u;
    return PLEAT_OK;
}

/**
 * How many of `length` bytes lie in `segment` from `*offset` on; 0 where the offset is beyond it, which it is
 * then made to count from the next segment.
 */
static uint32_t part_in_segment(const struct pleat_virtqueue_segment *segment, uint32_t *offset,
                                uint32_t length)
{
    if (*offset >= segment->length_bytes) {
        *offset -= segment->length_bytes;
        return 0;
    }
    const uint32_t here = segment->length_bytes - *offset;
    return here < length ? here : length;
}

int64_t pleat_virtqueue_read(const struct pleat_virtqueue *queue, const struct pleat_virtqueue_chain *chain,
                             uint32_t offset, void *to, uint32_t length)
{
    uint8_t *bytes = to;
    uint32_t done = 0;
    for (uint16_t i = 0; i < chain->readable && done < length; i++) {
        const struct pleat_virtqueue_segment *segment = &chain->segments[i];
        const uint32_t part = part_in_segment(segment, &offset, length - done);
        if (part == 0) {
            continue;
        }
        const uint8_t *guest = queue_pointer(queue, segment->physical + offset, part, false);
        if (!guest) {
            return PLEAT_E_PROTOCOL;
        }
        queue_copy_once(bytes + done, guest, part);
        done += part;
        offset = 0;
    }
    return done;
}

int64_t pleat_virtqueue_write(const struct pleat_virtqueue *queue, const struct pleat_virtqueue_chain *chain,
                              uint32_t offset, const void *from, uint32_t length)
{
    const uint8_t *bytes = from;
    uint32_t done = 0;
    for (uint16_t i = 0; i < chain->writable && done < length; i++) {
        const struct pleat_virtqueue_segment *segment = &chain->segments[chain->readable + i];
        const uint32_t part = part_in_segment(segment, &offset, length - done);
        if (part == 0) {
            continue;
        }
        uint8_t *guest = queue_pointer(queue, segment->physical + offset, part, true);
        if (!guest) {
            return PLEAT_E_PROTOCOL;
        }
        memcpy(guest, bytes + done, part);
        done += part;
        offset = 0;
    }
    return done;
}
