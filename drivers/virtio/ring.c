/* SPDX-License-Identifier: MIT
 *
 * The driver's ring, as far as both layouts are the same: how its memory is divided, what a caller may ask
 * for, which chains are out, and what a device may claim. A claim is compared with private book-keeping; one
 * that can't be true breaks the ring for good, because nothing that follows could be trusted either.
 */
#include "ring_internal.h"

/** Areas start on lines of their own, so that the two sides don't write to one line (if the memory does). */
#define AREA_ALIGNMENT 64u

/** Offsets in the shared memory, and what there is in all. */
struct division {
    uint64_t indirect;
    uint64_t driver;
    uint64_t device;
    uint64_t shared_bytes;
    uint64_t private_bytes;
    uint16_t tables;
};

static uint64_t round_up(uint64_t value, uint64_t multiple)
{
    return (value + multiple - 1u) / multiple * multiple;
}

static bool size_is_allowed(uint16_t size, bool packed)
{
    return size >= 1u && size <= PLEAT_VIRTQ_SIZE_MAX && (packed || (size & (size - 1u)) == 0);
}

static int divide(const struct pleat_virtio_ring_config *config, struct division *division)
{
    const bool packed = config->features & PLEAT_VIRTIO_F_RING_PACKED;
    const uint16_t size = config->size;
    if (!size_is_allowed(size, packed)) {
        return PLEAT_E_INVALID;
    }
    division->tables = config->features & PLEAT_VIRTIO_F_INDIRECT_DESC ? config->indirect_tables : 0;
    if (division->tables > 0 && (config->indirect_segments < 2u || config->indirect_segments > size ||
                                 division->tables > PLEAT_VIRTQ_SIZE_MAX)) {
        return PLEAT_E_INVALID;
    }
    const uint64_t table_bytes = (uint64_t)config->indirect_segments * RING_DESCRIPTOR_BYTES;
    const uint64_t event_bytes = sizeof(struct pleat_virtq_packed_event);
    division->indirect = (uint64_t)size * RING_DESCRIPTOR_BYTES;
    division->driver = round_up(division->indirect + division->tables * table_bytes, AREA_ALIGNMENT);
    division->device = round_up(
        division->driver + (packed ? event_bytes : pleat_virtq_split_driver_bytes(size)), AREA_ALIGNMENT);
    division->shared_bytes = division->device + (packed ? event_bytes : pleat_virtq_split_device_bytes(size));
    division->private_bytes =
        round_up((uint64_t)size * sizeof(struct pleat_virtio_ring_slot) + division->tables * sizeof(uint16_t),
                 PLEAT_VIRTIO_RING_PRIVATE_ALIGNMENT);
    return division->shared_bytes > SIZE_MAX ? PLEAT_E_INVALID : PLEAT_OK;
}

int pleat_virtio_ring_needs(const struct pleat_virtio_ring_config *config,
                            struct pleat_virtio_ring_needs *needs)
{
    struct division division;
    const int error = divide(config, &division);
    if (error) {
        return error;
    }
    needs->shared_bytes = (size_t)division.shared_bytes;
    needs->private_bytes = (size_t)division.private_bytes;
    return PLEAT_OK;
}

static bool memory_is_good(const struct pleat_virtio_ring_memory *memory, const struct division *division)
{
    return memory->shared && memory->private_storage && memory->shared_bytes >= division->shared_bytes &&
           memory->private_bytes >= division->private_bytes &&
           (uintptr_t)memory->shared % PLEAT_VIRTIO_RING_SHARED_ALIGNMENT == 0 &&
           memory->shared_physical % PLEAT_VIRTIO_RING_SHARED_ALIGNMENT == 0 &&
           (uintptr_t)memory->private_storage % PLEAT_VIRTIO_RING_PRIVATE_ALIGNMENT == 0 &&
           memory->shared_physical <= UINT64_MAX - division->shared_bytes;
}

/** Lists all slots, and all tables, as free. */
static void free_everything(struct pleat_virtio_ring *ring)
{
    for (uint16_t i = 0; i < ring->size; i++) {
        ring->slots[i].next = i + 1u < ring->size ? (uint16_t)(i + 1u) : RING_NONE;
    }
    for (uint16_t i = 0; i < ring->indirect_tables; i++) {
        ring->table_links[i] = i + 1u < ring->indirect_tables ? (uint16_t)(i + 1u) : RING_NONE;
    }
    ring->free_slots = ring->size;
    ring->first_free = 0;
    ring->first_free_table = ring->indirect_tables ? 0 : RING_NONE;
    ring->first_unpublished = RING_NONE;
    ring->last_unpublished = RING_NONE;
}

int pleat_virtio_ring_init(struct pleat_virtio_ring *ring, const struct pleat_virtio_ring_config *config,
                           const struct pleat_virtio_ring_memory *memory)
{
    struct division division;
    const int error = divide(config, &division);
    if (error) {
        return error;
    }
    if (!memory_is_good(memory, &division)) {
        return PLEAT_E_INVALID;
    }
    __builtin_memset(ring, 0, sizeof(*ring));
    __builtin_memset(memory->shared, 0, memory->shared_bytes);
    __builtin_memset(memory->private_storage, 0, memory->private_bytes);

    uint8_t *shared = (uint8_t *)memory->shared;
    ring->descriptor_area = shared;
    ring->indirect_area = shared + division.indirect;
    ring->driver_area = shared + division.driver;
    ring->device_area = shared + division.device;
    ring->addresses.descriptor_physical = memory->shared_physical;
    ring->indirect_physical = memory->shared_physical + division.indirect;
    ring->addresses.driver_physical = memory->shared_physical + division.driver;
    ring->addresses.device_physical = memory->shared_physical + division.device;

    ring->slots = (struct pleat_virtio_ring_slot *)memory->private_storage;
    ring->table_links = (uint16_t *)(void *)(ring->slots + config->size);
    ring->size = config->size;
    ring->indirect_tables = division.tables;
    ring->indirect_segments = config->indirect_segments;
    ring->packed = config->features & PLEAT_VIRTIO_F_RING_PACKED;
    ring->event_index = config->features & PLEAT_VIRTIO_F_EVENT_IDX;
    ring->available_wrap = true;
    ring->used_wrap = true;
    ring->published_wrap = true;
    free_everything(ring);
    return PLEAT_OK;
}

struct pleat_virtio_queue_addresses pleat_virtio_ring_addresses(const struct pleat_virtio_ring *ring)
{
    return ring->addresses;
}

/** Lengths, order and sums of a chain; its device-writable bytes. */
static int check_chain(const struct pleat_virtio_buffer *buffers, uint16_t count, uint32_t *writable_bytes)
{
    uint64_t total = 0;
    uint64_t writable = 0;
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t length = buffers[i].length_bytes;
        if (length == 0 || buffers[i].physical > UINT64_MAX - (length - 1u)) {
            return PLEAT_E_INVALID;
        }
        if (i > 0 && buffers[i - 1].device_writable && !buffers[i].device_writable) {
            return PLEAT_E_INVALID;
        }
        total += length;
        writable += buffers[i].device_writable ? length : 0;
    }
    *writable_bytes = (uint32_t)writable;
    return total <= UINT32_MAX ? PLEAT_OK : PLEAT_E_INVALID;
}

/** A table for a chain of `count`, off the list; RING_NONE where a table wouldn't help or there is none. */
static uint16_t take_table(struct pleat_virtio_ring *ring, uint16_t count)
{
    const uint16_t table = ring->first_free_table;
    if (table == RING_NONE || count < 2u || count > ring->indirect_segments) {
        return RING_NONE;
    }
    ring->first_free_table = ring->table_links[table];
    return table;
}

int pleat_virtio_ring_add(struct pleat_virtio_ring *ring, const struct pleat_virtio_buffer *buffers,
                          uint16_t count, uint64_t token)
{
    uint32_t writable_bytes = 0;
    if (ring->broken) {
        return PLEAT_E_PROTOCOL;
    }
    if (count == 0 || count > ring->size || check_chain(buffers, count, &writable_bytes)) {
        return PLEAT_E_INVALID;
    }
    if (ring->free_slots == 0) {
        return PLEAT_E_NO_MEMORY;
    }
    const uint16_t table = take_table(ring, count);
    if (table == RING_NONE && count > ring->free_slots) {
        return PLEAT_E_NO_MEMORY;
    }
    const uint16_t id = ring->packed ? pleat_ring_packed_add(ring, buffers, count, table)
                                     : pleat_ring_split_add(ring, buffers, count, table);
    struct pleat_virtio_ring_slot *chain = &ring->slots[id];
    chain->token = token;
    chain->writable_bytes = writable_bytes;
    chain->table = table;
    chain->state = CHAIN_ADDED;
    chain->next_unpublished = RING_NONE;
    if (ring->unpublished++ == 0) {
        ring->first_unpublished = id;
    } else {
        ring->slots[ring->last_unpublished].next_unpublished = id;
    }
    ring->last_unpublished = id;
    RING_CHECK(ring);
    return PLEAT_OK;
}

void pleat_virtio_ring_publish(struct pleat_virtio_ring *ring)
{
    if (ring->broken || ring->unpublished == 0) {
        return;
    }
    /* First, because the device may return them as soon as it sees them. */
    for (uint16_t id = ring->first_unpublished; id != RING_NONE; id = ring->slots[id].next_unpublished) {
        ring->slots[id].state = CHAIN_OUT;
    }
    ring->outstanding = (uint16_t)(ring->outstanding + ring->unpublished);
    ring->unpublished = 0;
    ring->first_unpublished = RING_NONE;
    ring->last_unpublished = RING_NONE;
    if (ring->packed) {
        pleat_ring_packed_publish(ring);
    } else {
        pleat_ring_split_publish(ring);
    }
    RING_CHECK(ring);
}

bool pleat_virtio_ring_should_notify(struct pleat_virtio_ring *ring)
{
    const uint32_t count = ring->published_since_asked;
    ring->published_since_asked = 0;
    if (ring->broken || count == 0) {
        return false;
    }
    return ring->packed ? pleat_ring_packed_should_notify(ring, count)
                        : pleat_ring_split_should_notify(ring, count);
}

static int break_ring(struct pleat_virtio_ring *ring)
{
    ring->broken = true;
    return PLEAT_E_PROTOCOL;
}

int pleat_virtio_ring_poll(struct pleat_virtio_ring *ring, uint64_t *token, uint32_t *written_bytes)
{
    uint32_t id = 0;
    uint32_t length = 0;
    if (ring->broken) {
        return PLEAT_E_PROTOCOL;
    }
    const int found =
        ring->packed ? pleat_ring_packed_look(ring, &id, &length) : pleat_ring_split_look(ring, &id, &length);
    if (found == 0) {
        return 0;
    }
    if (found < 0 || id >= ring->size) {
        return break_ring(ring);
    }
    struct pleat_virtio_ring_slot *chain = &ring->slots[id];
    if (chain->state != CHAIN_OUT || length > chain->writable_bytes) {
        return break_ring(ring);
    }
    *token = chain->token;
    if (written_bytes) {
        *written_bytes = length;
    }
    if (ring->packed) {
        pleat_ring_packed_take(ring, (uint16_t)id);
    } else {
        pleat_ring_split_take(ring, (uint16_t)id);
    }
    if (chain->table != RING_NONE) {
        ring->table_links[chain->table] = ring->first_free_table;
        ring->first_free_table = chain->table;
    }
    ring->free_slots = (uint16_t)(ring->free_slots + chain->slots);
    ring->outstanding--;
    chain->state = CHAIN_NONE;
    RING_CHECK(ring);
    return 1;
}

bool pleat_virtio_ring_enable_interrupts(struct pleat_virtio_ring *ring)
{
    if (ring->broken) {
        return true;
    }
    return ring->packed ? pleat_ring_packed_enable_interrupts(ring)
                        : pleat_ring_split_enable_interrupts(ring);
}

void pleat_virtio_ring_disable_interrupts(struct pleat_virtio_ring *ring)
{
    if (ring->packed) {
        pleat_ring_packed_disable_interrupts(ring);
    } else {
        pleat_ring_split_disable_interrupts(ring);
    }
}

uint16_t pleat_virtio_ring_free_slots(const struct pleat_virtio_ring *ring)
{
    return ring->free_slots;
}

bool pleat_virtio_ring_is_broken(const struct pleat_virtio_ring *ring)
{
    return ring->broken;
}

/** How long the list is that starts at `first`; more than `most` if it has a loop or leaves its range. */
static uint32_t list_length(const struct pleat_virtio_ring *ring, uint16_t first, uint16_t most, bool tables)
{
    uint32_t length = 0;
    for (uint16_t i = first; i != RING_NONE && length <= most; length++) {
        if (i >= most) {
            return (uint32_t)most + 1u;
        }
        i = tables ? ring->table_links[i] : ring->slots[i].next;
    }
    return length;
}

bool pleat_virtio_ring_is_valid(const struct pleat_virtio_ring *ring)
{
    uint32_t taken = 0;
    uint32_t tables = 0;
    uint32_t chains[3] = {0, 0, 0};
    for (uint16_t i = 0; i < ring->size; i++) {
        const struct pleat_virtio_ring_slot *chain = &ring->slots[i];
        if (chain->state > CHAIN_OUT) {
            return false;
        }
        chains[chain->state]++;
        if (chain->state != CHAIN_NONE) {
            taken += chain->slots;
            tables += chain->table != RING_NONE;
        }
    }
    const uint32_t out = chains[CHAIN_ADDED] + chains[CHAIN_OUT];
    const uint32_t free_list = ring->packed ? ring->size - out : ring->free_slots;
    return size_is_allowed(ring->size, ring->packed) && taken + ring->free_slots == ring->size &&
           chains[CHAIN_ADDED] == ring->unpublished && chains[CHAIN_OUT] == ring->outstanding &&
           list_length(ring, ring->first_free, ring->size, false) == free_list &&
           list_length(ring, ring->first_free_table, ring->indirect_tables, true) + tables ==
               ring->indirect_tables &&
           (!ring->packed || (ring->next_available < ring->size && ring->next_used < ring->size));
}
