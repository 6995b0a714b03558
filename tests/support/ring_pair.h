/* SPDX-License-Identifier: MIT
 *
 * A driver's ring and a device's queue joined over a small guest memory, for the tests of both. Guest memory
 * starts at an address that isn't 0, and one stretch of it can be made to vanish, as unplugged memory does.
 *
 *     GUEST_BASE                                       GUEST_BASE + GUEST_BYTES
 *     | the ring's shared memory (to SCRATCH_OFFSET) | scratch: buffers, tables |
 */
#ifndef PLEAT_TESTS_SUPPORT_RING_PAIR_H
#define PLEAT_TESTS_SUPPORT_RING_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/virtio_device_ring.h>
#include <pleat/virtio_driver_ring.h>

#include "tests/support/random.h"

#define GUEST_BASE     UINT64_C(0x140000000)
#define GUEST_BYTES    (1024u * 1024u)
#define SCRATCH_OFFSET (512u * 1024u)
#define SCRATCH        (GUEST_BASE + SCRATCH_OFFSET)

struct guest {
    uint8_t *bytes;
    /** No memory: [hole, hole + hole_bytes). */
    uint64_t hole;
    uint64_t hole_bytes;
    /** Only readable for the device: likewise. */
    uint64_t read_only;
    uint64_t read_only_bytes;
};

/** What a pair is made with: one row of a test's table. */
struct ring_pair_shape {
    bool packed;
    bool event_index;
    uint16_t size;
    uint16_t indirect_tables;
    uint16_t indirect_segments;
};

struct ring_pair {
    struct guest guest;
    struct ring_pair_shape shape;
    struct pleat_virtio_ring_memory memory;
    struct pleat_virtio_ring ring;
    struct pleat_virtqueue queue;
    /** For pops that don't bring their own. */
    struct pleat_virtqueue_segment segments[64];
};

uint64_t ring_pair_features(const struct ring_pair_shape *shape);

/** "packed, event index, indirect, size 64", in a buffer of its own that lives as long as the program. */
const char *ring_pair_name(const char *test, const struct ring_pair_shape *shape);

/** Asserts that all goes well. */
void ring_pair_create(struct ring_pair *pair, const struct ring_pair_shape *shape);
void ring_pair_destroy(struct ring_pair *pair);

/** Both sides anew, as after a device reset. */
void ring_pair_restart(struct ring_pair *pair);

/** Guest memory as the pleat_guest_memory of `guest`. */
struct pleat_guest_memory guest_memory(struct guest *guest);

/** The host's pointer for a test's own use: no holes. */
void *guest_at(struct guest *guest, uint64_t physical);

/** An empty chain for pop, with the pair's segments. */
struct pleat_virtqueue_chain ring_pair_chain(struct ring_pair *pair);

/** Starts `random` from PLEAT_SEED of the environment, else from `otherwise`, and prints which. */
void ring_test_seed(struct test_random *random, uint64_t otherwise);

#endif
