/* SPDX-License-Identifier: MIT
 *
 * A driver's ring and a device's queue over one guest memory: see the header.
 */
#include "tests/support/ring_pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static bool overlaps(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
    return a < b + b_bytes && b < a + a_bytes;
}

static void *guest_pointer(void *context, uint64_t physical, uint64_t length, bool write)
{
    const struct guest *guest = context;
    if (physical < GUEST_BASE || length > GUEST_BYTES || physical - GUEST_BASE > GUEST_BYTES - length) {
        return NULL;
    }
    if (overlaps(physical, length, guest->hole, guest->hole_bytes) ||
        (write && overlaps(physical, length, guest->read_only, guest->read_only_bytes))) {
        return NULL;
    }
    return guest->bytes + (physical - GUEST_BASE);
}

struct pleat_guest_memory guest_memory(struct guest *guest)
{
    const struct pleat_guest_memory memory = {guest_pointer, guest};
    return memory;
}

void *guest_at(struct guest *guest, uint64_t physical)
{
    assert_in_range(physical, GUEST_BASE, GUEST_BASE + GUEST_BYTES - 1);
    return guest->bytes + (physical - GUEST_BASE);
}

uint64_t ring_pair_features(const struct ring_pair_shape *shape)
{
    return PLEAT_VIRTIO_F_VERSION_1 | (shape->packed ? PLEAT_VIRTIO_F_RING_PACKED : 0) |
           (shape->event_index ? PLEAT_VIRTIO_F_EVENT_IDX : 0) |
           (shape->indirect_tables ? PLEAT_VIRTIO_F_INDIRECT_DESC : 0);
}

const char *ring_pair_name(const char *test, const struct ring_pair_shape *shape)
{
    /* They last as long as the program, as names of tests do. */
    static char names[256][200];
    static size_t count;
    assert_in_range(count, 0, sizeof(names) / sizeof(names[0]) - 1);
    char *name = names[count++];
    snprintf(name, sizeof(names[0]), "%s: %s%s%s, size %u", test, shape->packed ? "packed" : "split",
             shape->event_index ? ", event index" : "", shape->indirect_tables ? ", indirect" : "",
             shape->size);
    return name;
}

static struct pleat_virtio_ring_config ring_config(const struct ring_pair_shape *shape)
{
    const struct pleat_virtio_ring_config config = {ring_pair_features(shape), shape->size,
                                                    shape->indirect_tables, shape->indirect_segments};
    return config;
}

void ring_pair_restart(struct ring_pair *pair)
{
    const struct pleat_virtio_ring_config config = ring_config(&pair->shape);
    assert_int_equal(pleat_virtio_ring_init(&pair->ring, &config, &pair->memory), PLEAT_OK);
    const struct pleat_virtio_queue_addresses addresses = pleat_virtio_ring_addresses(&pair->ring);
    const struct pleat_virtqueue_config queue = {config.features, config.size, addresses.descriptor_physical,
                                                 addresses.driver_physical, addresses.device_physical};
    const struct pleat_guest_memory memory = guest_memory(&pair->guest);
    assert_int_equal(pleat_virtqueue_init(&pair->queue, &queue, &memory), PLEAT_OK);
}

void ring_pair_create(struct ring_pair *pair, const struct ring_pair_shape *shape)
{
    memset(pair, 0, sizeof(*pair));
    pair->shape = *shape;
    pair->guest.bytes = aligned_alloc(4096, GUEST_BYTES);
    assert_non_null(pair->guest.bytes);
    memset(pair->guest.bytes, 0, GUEST_BYTES);

    const struct pleat_virtio_ring_config config = ring_config(shape);
    struct pleat_virtio_ring_needs needs;
    assert_int_equal(pleat_virtio_ring_needs(&config, &needs), PLEAT_OK);
    assert_true(needs.shared_bytes <= SCRATCH_OFFSET);
    pair->memory.shared = pair->guest.bytes;
    pair->memory.shared_physical = GUEST_BASE;
    pair->memory.shared_bytes = needs.shared_bytes;
    pair->memory.private_storage = malloc(needs.private_bytes);
    pair->memory.private_bytes = needs.private_bytes;
    assert_non_null(pair->memory.private_storage);
    ring_pair_restart(pair);
}

void ring_pair_destroy(struct ring_pair *pair)
{
    free(pair->memory.private_storage);
    free(pair->guest.bytes);
}

struct pleat_virtqueue_chain ring_pair_chain(struct ring_pair *pair)
{
    struct pleat_virtqueue_chain chain = {0};
    chain.segments = pair->segments;
    chain.capacity = sizeof(pair->segments) / sizeof(pair->segments[0]);
    return chain;
}

void ring_test_seed(struct test_random *random, uint64_t otherwise)
{
    const char *given = getenv("PLEAT_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : otherwise;
    print_message("# seed %#llx\n", (unsigned long long)seed);
    test_random_seed(random, seed);
}
