/* SPDX-License-Identifier: MIT
 *
 * The driver's ring against callers that ask for what can't be, and against a hostile device: the tests
 * write into the device's part of shared memory by hand. Whatever is there, the driver believes only what
 * its own books allow, and a ring that was lied to stays broken until it is set up anew.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support/ring_pair.h"

static const struct ring_pair_shape split_shape = {.size = 8};
static const struct ring_pair_shape packed_shape = {.packed = true, .size = 8};

static struct ring_pair pair;

static int set_up(void **state)
{
    ring_pair_create(&pair, *state);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ring_pair_destroy(&pair);
    return 0;
}

/* ---- A device by hand ---- */

static void split_set_used(uint16_t place, uint32_t id, uint32_t length)
{
    uint8_t *element = pair.ring.device_area + 4 + 8u * place;
    pleat_write_le32(element, id);
    pleat_write_le32(element + 4, length);
}

static void split_set_used_index(uint16_t index)
{
    pleat_write_le16(pair.ring.device_area + 2, index);
}

static void packed_set_slot(uint16_t slot, uint16_t id, uint32_t length, uint16_t flags)
{
    uint8_t *bytes = pair.ring.descriptor_area + 16u * slot;
    pleat_write_le32(bytes + 8, length);
    pleat_write_le16(bytes + 12, id);
    pleat_write_le16(bytes + 14, flags);
}

#define USED_FIRST_LAP (PLEAT_VIRTQ_DESC_F_AVAILABLE | PLEAT_VIRTQ_DESC_F_USED)

/** Marks `id` as used in the next place that the driver looks at: `nth` chain of one slot since start. */
static void device_uses(uint16_t nth, uint32_t id, uint32_t length)
{
    if (pair.shape.packed) {
        packed_set_slot(nth, (uint16_t)id, length, USED_FIRST_LAP | PLEAT_VIRTQ_DESC_F_WRITE);
    } else {
        split_set_used(nth, id, length);
        split_set_used_index((uint16_t)(nth + 1u));
    }
}

/* ---- A driver in short ---- */

static int add(uint32_t readable, uint32_t writable, uint64_t token)
{
    struct pleat_virtio_buffer buffers[2];
    uint16_t count = 0;
    if (readable) {
        buffers[count++] = (struct pleat_virtio_buffer){SCRATCH, readable, false};
    }
    if (writable) {
        buffers[count++] = (struct pleat_virtio_buffer){SCRATCH + 4096, writable, true};
    }
    return pleat_virtio_ring_add(&pair.ring, buffers, count, token);
}

static int poll(void)
{
    uint64_t token;
    return pleat_virtio_ring_poll(&pair.ring, &token, NULL);
}

static void assert_broken(void)
{
    uint64_t token = 77;
    assert_true(pleat_virtio_ring_is_broken(&pair.ring));
    assert_int_equal(pleat_virtio_ring_poll(&pair.ring, &token, NULL), PLEAT_E_PROTOCOL);
    assert_int_equal(token, 77);
    assert_int_equal(add(16, 0, 1), PLEAT_E_PROTOCOL);
    pleat_virtio_ring_publish(&pair.ring);
    assert_false(pleat_virtio_ring_should_notify(&pair.ring));
    assert_true(pleat_virtio_ring_enable_interrupts(&pair.ring));
    assert_true(pleat_virtio_ring_is_valid(&pair.ring));
    ring_pair_restart(&pair);
    assert_false(pleat_virtio_ring_is_broken(&pair.ring));
    assert_int_equal(pleat_virtio_ring_free_slots(&pair.ring), pair.shape.size);
    assert_int_equal(add(16, 0, 1), PLEAT_OK);
    assert_true(pleat_virtio_ring_is_valid(&pair.ring));
}

/* ---- What a caller may ask for ---- */

static int try_needs(uint64_t features, uint16_t size, uint16_t tables, uint16_t segments)
{
    const struct pleat_virtio_ring_config config = {features, size, tables, segments};
    struct pleat_virtio_ring_needs needs = {1, 2};
    const int result = pleat_virtio_ring_needs(&config, &needs);
    if (result) {
        assert_int_equal(needs.shared_bytes, 1);
        assert_int_equal(needs.private_bytes, 2);
    }
    return result;
}

static void sizes_outside_the_specification_are_refused(void **state)
{
    (void)state;
    const uint64_t packed = PLEAT_VIRTIO_F_RING_PACKED;
    const uint64_t indirect = PLEAT_VIRTIO_F_INDIRECT_DESC;
    assert_int_equal(try_needs(0, 0, 0, 0), PLEAT_E_INVALID);
    assert_int_equal(try_needs(packed, 0, 0, 0), PLEAT_E_INVALID);
    assert_int_equal(try_needs(0, 3, 0, 0), PLEAT_E_INVALID);
    assert_int_equal(try_needs(packed, 3, 0, 0), PLEAT_OK);
    assert_int_equal(try_needs(0, 32768, 0, 0), PLEAT_OK);
    assert_int_equal(try_needs(packed, 32768, 0, 0), PLEAT_OK);
    assert_int_equal(try_needs(packed, 32769, 0, 0), PLEAT_E_INVALID);
    assert_int_equal(try_needs(indirect, 8, 4, 1), PLEAT_E_INVALID);
    assert_int_equal(try_needs(indirect, 8, 4, 9), PLEAT_E_INVALID);
    assert_int_equal(try_needs(indirect, 8, 32769, 8), PLEAT_E_INVALID);
    assert_int_equal(try_needs(indirect, 8, 4, 8), PLEAT_OK);
    /* Not negotiated: nobody looks at them. */
    assert_int_equal(try_needs(0, 8, 4, 1), PLEAT_OK);
}

static void memory_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    const struct pleat_virtio_ring_config config = {0, 8, 0, 0};
    const struct pleat_virtio_ring_memory good = pair.memory;
    struct pleat_virtio_ring ring;
    memset(&ring, 0x5a, sizeof(ring));
    const struct pleat_virtio_ring before = ring;
    for (int what = 0; what < 8; what++) {
        struct pleat_virtio_ring_memory memory = good;
        switch (what) {
        case 0:
            memory.shared = NULL;
            break;
        case 1:
            memory.private_storage = NULL;
            break;
        case 2:
            memory.shared_bytes--;
            break;
        case 3:
            memory.private_bytes--;
            break;
        case 4:
            memory.shared = (uint8_t *)memory.shared + 8;
            break;
        case 5:
            memory.shared_physical += 8;
            break;
        case 6:
            memory.private_storage = (uint8_t *)memory.private_storage + 4;
            break;
        default:
            memory.shared_physical = UINT64_MAX - 15;
            break;
        }
        assert_int_equal(pleat_virtio_ring_init(&ring, &config, &memory), PLEAT_E_INVALID);
        assert_memory_equal(&ring, &before, sizeof(ring));
    }
}

static void areas_are_aligned_and_apart(void **state)
{
    (void)state;
    const struct pleat_virtio_queue_addresses at = pleat_virtio_ring_addresses(&pair.ring);
    const bool packed = pair.shape.packed;
    const uint32_t size = pair.shape.size;
    const uint32_t driver_bytes = packed ? 4 : 6 + 2 * size;
    const uint32_t device_bytes = packed ? 4 : 6 + 8 * size;
    assert_int_equal(at.descriptor_physical % 16, 0);
    assert_int_equal(at.driver_physical % 4, 0);
    assert_int_equal(at.device_physical % 4, 0);
    assert_true(at.descriptor_physical >= GUEST_BASE);
    assert_true(at.driver_physical >= at.descriptor_physical + 16 * size);
    assert_true(at.device_physical >= at.driver_physical + driver_bytes);
    assert_true(at.device_physical + device_bytes <= GUEST_BASE + pair.memory.shared_bytes);
}

static void bad_chains_are_refused_and_change_nothing(void **state)
{
    (void)state;
    const struct {
        uint16_t count;
        struct pleat_virtio_buffer buffers[2];
    } bad[] = {
        {0, {{SCRATCH, 1, false}}},
        {9, {{SCRATCH, 1, false}}},
        {1, {{SCRATCH, 0, false}}},
        {2, {{SCRATCH, 1, false}, {SCRATCH, 0, true}}},
        {2, {{SCRATCH, 1, true}, {SCRATCH, 1, false}}},
        {2, {{SCRATCH, UINT32_MAX, false}, {SCRATCH, 1, true}}},
        {1, {{UINT64_MAX, 2, false}}},
    };
    struct pleat_virtio_buffer nine[9];
    const struct pleat_virtio_ring before = pair.ring;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (size_t k = 0; k < 9; k++) {
            nine[k] = bad[i].buffers[k < 2 ? k : 0];
        }
        assert_int_equal(pleat_virtio_ring_add(&pair.ring, nine, bad[i].count, 1), PLEAT_E_INVALID);
        assert_memory_equal(&pair.ring, &before, sizeof(before));
    }
}

static void full_ring_refuses_and_goes_on_after_a_poll(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(add(16, 0, 100 + i), PLEAT_OK);
    }
    assert_int_equal(add(16, 0, 1), PLEAT_E_NO_MEMORY);
    pleat_virtio_ring_publish(&pair.ring);
    device_uses(0, 3, 0);
    uint64_t token = 0;
    assert_int_equal(pleat_virtio_ring_poll(&pair.ring, &token, NULL), 1);
    assert_int_equal(token, 103);
    assert_int_equal(pleat_virtio_ring_free_slots(&pair.ring), 1);
    assert_int_equal(add(16, 16, 1), PLEAT_E_NO_MEMORY);
    assert_int_equal(add(16, 0, 1), PLEAT_OK);
    assert_true(pleat_virtio_ring_is_valid(&pair.ring));
}

static void nothing_is_visible_before_publish(void **state)
{
    (void)state;
    struct pleat_virtqueue_chain chain = ring_pair_chain(&pair);
    assert_int_equal(add(16, 16, 1), PLEAT_OK);
    assert_int_equal(add(16, 16, 2), PLEAT_OK);
    assert_int_equal(pleat_virtqueue_pop(&pair.queue, &chain), 0);
    assert_false(pleat_virtio_ring_should_notify(&pair.ring));
    pleat_virtio_ring_publish(&pair.ring);
    assert_int_equal(pleat_virtqueue_pop(&pair.queue, &chain), 1);
    assert_int_equal(pleat_virtqueue_pop(&pair.queue, &chain), 1);
    assert_int_equal(pleat_virtqueue_pop(&pair.queue, &chain), 0);
}

/* ---- A hostile device ---- */

static void id_beyond_the_ring_breaks_it(void **state)
{
    (void)state;
    const uint32_t ids[] = {8, 9, 0x7fff, 0xffff, 0x10000, UINT32_MAX};
    for (size_t i = 0; i < (pair.shape.packed ? 4 : 6); i++) {
        assert_int_equal(add(16, 16, 1), PLEAT_OK);
        pleat_virtio_ring_publish(&pair.ring);
        device_uses(0, ids[i], 0);
        assert_int_equal(poll(), PLEAT_E_PROTOCOL);
        assert_broken();
        ring_pair_restart(&pair);
    }
}

static void id_that_is_not_out_breaks_it(void **state)
{
    (void)state;
    assert_int_equal(add(16, 0, 1), PLEAT_OK);
    pleat_virtio_ring_publish(&pair.ring);
    device_uses(0, 5, 0);
    assert_int_equal(poll(), PLEAT_E_PROTOCOL);
    assert_broken();
}

static void id_of_a_later_part_of_a_chain_breaks_it(void **state)
{
    (void)state;
    assert_int_equal(add(16, 16, 1), PLEAT_OK);
    pleat_virtio_ring_publish(&pair.ring);
    device_uses(0, 1, 0);
    assert_int_equal(poll(), PLEAT_E_PROTOCOL);
    assert_broken();
}

static void chain_given_back_twice_breaks_it(void **state)
{
    (void)state;
    assert_int_equal(add(16, 0, 1), PLEAT_OK);
    assert_int_equal(add(16, 0, 2), PLEAT_OK);
    pleat_virtio_ring_publish(&pair.ring);
    device_uses(0, 0, 0);
    assert_int_equal(poll(), 1);
    device_uses(1, 0, 0);
    assert_int_equal(poll(), PLEAT_E_PROTOCOL);
    assert_broken();
}

static void chain_not_yet_published_breaks_it(void **state)
{
    (void)state;
    assert_int_equal(add(16, 0, 1), PLEAT_OK);
    pleat_virtio_ring_publish(&pair.ring);
    assert_int_equal(add(16, 0, 2), PLEAT_OK);
    device_uses(0, 1, 0);
    assert_int_equal(poll(), PLEAT_E_PROTOCOL);
    assert_broken();
}

static void nothing_is_out_and_something_comes_back_breaks_it(void **state)
{
    (void)state;
    device_uses(0, 0, 0);
    assert_int_equal(poll(), PLEAT_E_PROTOCOL);
    assert_broken();
}

static void more_written_than_given_breaks_it(void **state)
{
    (void)state;
    const uint32_t lengths[] = {17, 33, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(add(16, 16, 1), PLEAT_OK);
        pleat_virtio_ring_publish(&pair.ring);
        device_uses(0, 0, lengths[i]);
        assert_int_equal(poll(), PLEAT_E_PROTOCOL);
        assert_broken();
        ring_pair_restart(&pair);
    }
    assert_int_equal(add(16, 16, 1), PLEAT_OK);
    pleat_virtio_ring_publish(&pair.ring);
    device_uses(0, 0, 16);
    assert_int_equal(poll(), 1);
}

static void anything_written_to_a_readable_chain_breaks_it(void **state)
{
    (void)state;
    assert_int_equal(add(16, 0, 1), PLEAT_OK);
    pleat_virtio_ring_publish(&pair.ring);
    device_uses(0, 0, 1);
    assert_int_equal(poll(), PLEAT_E_PROTOCOL);
    assert_broken();
}

static void used_index_that_jumps_breaks_it(void **state)
{
    (void)state;
    const uint16_t jumps[] = {2, 9, 0x8000, 0xffff};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(add(16, 0, 1), PLEAT_OK);
        pleat_virtio_ring_publish(&pair.ring);
        assert_int_equal(add(16, 0, 2), PLEAT_OK);
        split_set_used_index(jumps[i]);
        assert_int_equal(poll(), PLEAT_E_PROTOCOL);
        assert_broken();
        ring_pair_restart(&pair);
    }
}

static void used_index_that_goes_back_breaks_it(void **state)
{
    (void)state;
    assert_int_equal(add(16, 0, 1), PLEAT_OK);
    assert_int_equal(add(16, 0, 2), PLEAT_OK);
    pleat_virtio_ring_publish(&pair.ring);
    device_uses(0, 0, 0);
    assert_int_equal(poll(), 1);
    split_set_used_index(0);
    assert_int_equal(poll(), PLEAT_E_PROTOCOL);
    assert_broken();
}

static void length_without_the_write_flag_may_be_left_over(void **state)
{
    (void)state;
    uint64_t token;
    uint32_t written = 1;
    /* A device that writes nothing may leave there the length that the driver gave. */
    assert_int_equal(add(16, 0, 1), PLEAT_OK);
    pleat_virtio_ring_publish(&pair.ring);
    packed_set_slot(0, 0, 16, USED_FIRST_LAP);
    assert_int_equal(pleat_virtio_ring_poll(&pair.ring, &token, &written), 1);
    assert_int_equal(written, 0);
    /* QEMU never sets the flag and means the length. */
    assert_int_equal(add(16, 10, 2), PLEAT_OK);
    pleat_virtio_ring_publish(&pair.ring);
    packed_set_slot(1, 0, 10, USED_FIRST_LAP);
    assert_int_equal(pleat_virtio_ring_poll(&pair.ring, &token, &written), 1);
    assert_int_equal(written, 10);
}

static void scribbled_descriptors_do_not_matter_to_the_driver(void **state)
{
    (void)state;
    assert_int_equal(add(16, 16, 1), PLEAT_OK);
    assert_int_equal(add(16, 16, 2), PLEAT_OK);
    pleat_virtio_ring_publish(&pair.ring);
    memset(pair.ring.descriptor_area, 0xff, 16u * 8u);
    memset(pair.ring.driver_area, 0xff, 6u + 2u * 8u);
    device_uses(0, 2, 0);
    assert_int_equal(poll(), 1);
    device_uses(1, 0, 0);
    assert_int_equal(poll(), 1);
    assert_true(pleat_virtio_ring_is_valid(&pair.ring));
    assert_int_equal(pleat_virtio_ring_free_slots(&pair.ring), 8);
}

/** Anything at all in shared memory: no poll returns what wasn't out, and the books stay in order. */
static void random_device_never_upsets_the_books(void **state)
{
    (void)state;
    struct test_random seed;
    ring_test_seed(&seed, 0x1234567u + pair.shape.size);
    for (int round = 0; round < 3000; round++) {
        bool out[8] = {false};
        ring_pair_restart(&pair);
        for (int step = 0; step < 30; step++) {
            const uint64_t token_to_add = test_random_below(&seed, 8);
            if (!out[token_to_add] && add(16, test_random_below(&seed, 2) * 16, token_to_add) == PLEAT_OK) {
                out[token_to_add] = true;
            }
            if (test_random_below(&seed, 2)) {
                pleat_virtio_ring_publish(&pair.ring);
            }
            if (pair.shape.packed) {
                static const uint16_t flags[] = {0, 2, USED_FIRST_LAP, USED_FIRST_LAP | 2, 0x80, 0x8000};
                packed_set_slot((uint16_t)test_random_below(&seed, 8), (uint16_t)test_random_below(&seed, 9),
                                test_random_below(&seed, 18), flags[test_random_below(&seed, 6)]);
            } else {
                split_set_used((uint16_t)test_random_below(&seed, 8), test_random_below(&seed, 9),
                               test_random_below(&seed, 18));
                split_set_used_index((uint16_t)(pair.ring.next_used + test_random_below(&seed, 3)));
            }
            uint64_t token = UINT64_MAX;
            uint32_t written = 0;
            if (pleat_virtio_ring_poll(&pair.ring, &token, &written) == 1) {
                assert_true(token < 8 && out[token] && written <= 16);
                out[token] = false;
            }
            assert_true(pleat_virtio_ring_is_valid(&pair.ring));
        }
    }
}

/* ---- Waking the device, exactly ---- */

static bool publish_and_ask(uint16_t chains)
{
    for (uint16_t i = 0; i < chains; i++) {
        assert_int_equal(add(16, 0, i), PLEAT_OK);
    }
    pleat_virtio_ring_publish(&pair.ring);
    return pleat_virtio_ring_should_notify(&pair.ring);
}

static void flag_of_the_device_suppresses_notifications(void **state)
{
    (void)state;
    assert_true(publish_and_ask(1));
    assert_false(pleat_virtio_ring_should_notify(&pair.ring));
    if (pair.shape.packed) {
        pleat_write_le16(pair.ring.device_area + 2, PLEAT_VIRTQ_EVENT_DISABLE);
    } else {
        pleat_write_le16(pair.ring.device_area, PLEAT_VIRTQ_USED_F_NO_NOTIFY);
    }
    assert_false(publish_and_ask(1));
    /* Only AT_SLOT without EVENT_IDX, and 3, have no meaning: better to notify once too often. */
    for (uint16_t flags = 2; pair.shape.packed && flags < 4; flags++) {
        pleat_write_le16(pair.ring.device_area + 2, flags);
        assert_true(publish_and_ask(1));
    }
}

static void split_event_index_of_the_device_is_met_exactly(void **state)
{
    (void)state;
    uint8_t *event = pair.ring.device_area + 4 + 8u * 8u;
    pleat_write_le16(event, 2);
    assert_false(publish_and_ask(1));
    assert_false(publish_and_ask(1));
    assert_true(publish_and_ask(1));
    assert_false(publish_and_ask(1));
    pleat_write_le16(event, 5);
    assert_true(publish_and_ask(3));
}

static void packed_event_slot_of_the_device_is_met_exactly_in_each_lap(void **state)
{
    (void)state;
    uint64_t token;
    for (int lap = 0; lap < 5; lap++) {
        const bool wrap = lap % 2 == 0;
        pleat_write_le16(pair.ring.device_area, (uint16_t)(2u | (wrap ? 0x8000u : 0u)));
        pleat_write_le16(pair.ring.device_area + 2, PLEAT_VIRTQ_EVENT_AT_SLOT);
        for (uint16_t slot = 0; slot < 8; slot++) {
            assert_int_equal(publish_and_ask(1), slot == 2);
            packed_set_slot(slot, 0, 0, wrap ? USED_FIRST_LAP : 0);
            assert_int_equal(pleat_virtio_ring_poll(&pair.ring, &token, NULL), 1);
        }
    }
    /* A chain across the end of the ring, event in the next lap. */
    for (uint16_t slot = 0; slot < 7; slot++) {
        publish_and_ask(1);
        packed_set_slot(slot, 0, 0, 0);
        assert_int_equal(pleat_virtio_ring_poll(&pair.ring, &token, NULL), 1);
    }
    pleat_write_le16(pair.ring.device_area, 0x8000u);
    assert_true(publish_and_ask(2));
}

static void disabled_means_quiet_on_both_sides(void **state)
{
    const struct ring_pair_shape *shape = *state;
    struct pleat_virtqueue_chain chain = ring_pair_chain(&pair);
    for (int i = 0; i < 3 * shape->size; i++) {
        pleat_virtqueue_disable_notifications(&pair.queue);
        assert_false(publish_and_ask(1));
        pleat_virtio_ring_disable_interrupts(&pair.ring);
        assert_int_equal(pleat_virtqueue_pop(&pair.queue, &chain), 1);
        assert_int_equal(pleat_virtqueue_push(&pair.queue, &chain, 0), PLEAT_OK);
        assert_false(pleat_virtqueue_should_interrupt(&pair.queue));
        assert_int_equal(poll(), 1);
    }
    assert_false(pleat_virtqueue_enable_notifications(&pair.queue));
    assert_true(publish_and_ask(1));
    assert_false(pleat_virtio_ring_enable_interrupts(&pair.ring));
    assert_int_equal(pleat_virtqueue_pop(&pair.queue, &chain), 1);
    assert_int_equal(pleat_virtqueue_push(&pair.queue, &chain, 0), PLEAT_OK);
    assert_true(pleat_virtqueue_should_interrupt(&pair.queue));
}

static void event_is_passed_when_it_lies_in_what_was_added(void **state)
{
    (void)state;
    assert_true(pleat_virtq_need_event(0, 1, 0));
    assert_false(pleat_virtq_need_event(1, 1, 0));
    assert_false(pleat_virtq_need_event(0, 0, 0));
    assert_true(pleat_virtq_need_event(0xffff, 1, 0xfffe));
    assert_true(pleat_virtq_need_event(0, 1, 0xfffe));
    assert_false(pleat_virtq_need_event(1, 1, 0xfffe));
    assert_false(pleat_virtq_need_event(0xfffd, 1, 0xfffe));
}

/* ---- Indices that come round ---- */

static void indices_come_round(void **state)
{
    const struct ring_pair_shape *shape = *state;
    struct pleat_virtqueue_chain chain = ring_pair_chain(&pair);
    /* As many as bring a 16-bit index back to where it was: two equal indices must not mean nothing. */
    const uint32_t rounds = 2 * 65536 / shape->size;
    uint64_t next = 0;
    uint64_t expected = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint16_t i = 0; i < shape->size; i++) {
            assert_int_equal(add(16, 0, next++), PLEAT_OK);
            pleat_virtio_ring_publish(&pair.ring);
        }
        for (uint16_t i = 0; i < shape->size; i++) {
            assert_int_equal(pleat_virtqueue_pop(&pair.queue, &chain), 1);
            assert_int_equal(pleat_virtqueue_push(&pair.queue, &chain, 0), PLEAT_OK);
        }
        for (uint16_t i = 0; i < shape->size; i++) {
            uint64_t token = 0;
            assert_int_equal(pleat_virtio_ring_poll(&pair.ring, &token, NULL), 1);
            assert_int_equal(token, expected++);
        }
    }
    /* More than an index can count went by since anybody asked: somebody must be woken. */
    assert_true(pleat_virtio_ring_should_notify(&pair.ring));
    assert_true(pleat_virtqueue_should_interrupt(&pair.queue));
}

#define WITH(test, shape)                                                                                    \
    {                                                                                                        \
#test, test, set_up, tear_down, (void *)(uintptr_t)(shape)                                           \
    }
#define SPLIT(test)                                                                                          \
    {                                                                                                        \
        "split_" #test, test, set_up, tear_down, (void *)(uintptr_t)&split_shape                             \
    }
#define PACKED(test)                                                                                         \
    {                                                                                                        \
        "packed_" #test, test, set_up, tear_down, (void *)(uintptr_t)&packed_shape                           \
    }
#define BOTH(test) SPLIT(test), PACKED(test)

int main(void)
{
    static const struct ring_pair_shape split_event = {.size = 8, .event_index = true};
    static const struct ring_pair_shape packed_event = {.packed = true, .size = 8, .event_index = true};
    static const struct ring_pair_shape come_round[] = {
        {.size = 1},
        {.size = 4, .event_index = true},
        {.size = 256, .event_index = true},
        {.packed = true, .size = 1, .event_index = true},
        {.packed = true, .size = 3},
        {.packed = true, .size = 256, .event_index = true},
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_outside_the_specification_are_refused),
        SPLIT(memory_that_does_not_fit_is_refused),
        BOTH(areas_are_aligned_and_apart),
        BOTH(bad_chains_are_refused_and_change_nothing),
        BOTH(full_ring_refuses_and_goes_on_after_a_poll),
        BOTH(nothing_is_visible_before_publish),
        BOTH(id_beyond_the_ring_breaks_it),
        BOTH(id_that_is_not_out_breaks_it),
        BOTH(id_of_a_later_part_of_a_chain_breaks_it),
        BOTH(chain_given_back_twice_breaks_it),
        BOTH(chain_not_yet_published_breaks_it),
        BOTH(nothing_is_out_and_something_comes_back_breaks_it),
        BOTH(more_written_than_given_breaks_it),
        BOTH(anything_written_to_a_readable_chain_breaks_it),
        SPLIT(used_index_that_jumps_breaks_it),
        SPLIT(used_index_that_goes_back_breaks_it),
        PACKED(length_without_the_write_flag_may_be_left_over),
        SPLIT(scribbled_descriptors_do_not_matter_to_the_driver),
        BOTH(random_device_never_upsets_the_books),
        BOTH(flag_of_the_device_suppresses_notifications),
        WITH(split_event_index_of_the_device_is_met_exactly, &split_event),
        WITH(packed_event_slot_of_the_device_is_met_exactly_in_each_lap, &packed_event),
        BOTH(disabled_means_quiet_on_both_sides),
        {"split_event_index_disabled_means_quiet_on_both_sides", disabled_means_quiet_on_both_sides, set_up,
         tear_down, (void *)(uintptr_t)&split_event},
        {"packed_event_index_disabled_means_quiet_on_both_sides", disabled_means_quiet_on_both_sides, set_up,
         tear_down, (void *)(uintptr_t)&packed_event},
        cmocka_unit_test(event_is_passed_when_it_lies_in_what_was_added),
        {"split_size_1_indices_come_round", indices_come_round, set_up, tear_down,
         (void *)(uintptr_t)&come_round[0]},
        {"split_size_4_event_index_indices_come_round", indices_come_round, set_up, tear_down,
         (void *)(uintptr_t)&come_round[1]},
        {"split_size_256_event_index_indices_come_round", indices_come_round, set_up, tear_down,
         (void *)(uintptr_t)&come_round[2]},
        {"packed_size_1_event_index_indices_come_round", indices_come_round, set_up, tear_down,
         (void *)(uintptr_t)&come_round[3]},
        {"packed_size_3_indices_come_round", indices_come_round, set_up, tear_down,
         (void *)(uintptr_t)&come_round[4]},
        {"packed_size_256_event_index_indices_come_round", indices_come_round, set_up, tear_down,
         (void *)(uintptr_t)&come_round[5]},
    };
    return cmocka_run_group_tests_name("virtio ring, the driver's side", tests, NULL, NULL);
}
