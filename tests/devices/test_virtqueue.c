/* SPDX-License-Identifier: MIT
 *
 * The device's queue against a hostile guest: the tests write descriptors, rings and indices by hand. What
 * is wrong with one chain must cost that chain alone, and the device completes it; what is wrong with the
 * ring must break the queue, and stay so. Nothing may be touched that isn't guest memory, also when it was
 * guest memory a moment ago.
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

enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };

#define SIZE  8u
#define TABLE (SCRATCH + 65536u)

static const struct ring_pair_shape split = {.size = SIZE, .indirect_tables = 1, .indirect_segments = 2};
static const struct ring_pair_shape packed = {
    .packed = true, .size = SIZE, .indirect_tables = 1, .indirect_segments = 2};

static struct ring_pair pair;
static struct pleat_virtqueue_chain chain;
/** Chains offered since start; packed: slots. */
static uint16_t offered;

static int set_up(void **state)
{
    ring_pair_create(&pair, *state);
    chain = ring_pair_chain(&pair);
    offered = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ring_pair_destroy(&pair);
    return 0;
}

/* ---- A guest by hand ---- */

struct part {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    /** Split: the next one in the table. */
    uint16_t next;
};

static void write_part(uint8_t *to, const struct part *part, uint16_t id, uint16_t more_flags)
{
    pleat_write_le64(to, part->address);
    pleat_write_le32(to + 8, part->length);
    if (pair.shape.packed) {
        pleat_write_le16(to + 12, id);
        pleat_write_le16(to + 14, part->flags | more_flags);
    } else {
        pleat_write_le16(to + 12, part->flags);
        pleat_write_le16(to + 14, part->next);
    }
}

static uint8_t *slot_bytes(uint16_t slot)
{
    return pair.ring.descriptor_area + 16u * slot;
}

/** Puts the parts of one chain into the ring, in order from slot `at`, and makes it available. */
static void offer_at(uint16_t at, const struct part *parts, uint16_t count)
{
    for (uint16_t i = 0; i < count; i++) {
        if (pair.shape.packed) {
            const uint16_t slot = offered % SIZE;
            const bool wrap = offered / SIZE % 2 == 0;
            write_part(slot_bytes(slot), &parts[i], (uint16_t)(40 + at), wrap ? 0x80 : 0x8000);
            offered++;
        } else {
            write_part(slot_bytes((uint16_t)(at + i)), &parts[i], 0, 0);
        }
    }
    if (!pair.shape.packed) {
        pleat_write_le16(pair.ring.driver_area + 4 + 2u * (offered % SIZE), at);
        pleat_write_le16(pair.ring.driver_area + 2, ++offered);
    }
}

static void write_table(const struct part *parts, uint16_t count)
{
    for (uint16_t i = 0; i < count; i++) {
        write_part(guest_at(&pair.guest, TABLE + 16u * i), &parts[i], 0, 0);
    }
}

static int pop(void)
{
    return pleat_virtqueue_pop(&pair.queue, &chain);
}

/** The chain just offered is refused for `fault`, can be completed, and the next one is fine. */
static void assert_refused(enum pleat_virtqueue_fault fault)
{
    assert_int_equal(pop(), PLEAT_E_REFUSED);
    assert_int_equal(chain.fault, fault);
    assert_int_equal(chain.readable + chain.writable, 0);
    assert_int_equal(chain.readable_bytes + chain.writable_bytes, 0);
    assert_int_equal(pleat_virtqueue_push(&pair.queue, &chain, 1), PLEAT_E_INVALID);
    assert_int_equal(pleat_virtqueue_push(&pair.queue, &chain, 0), PLEAT_OK);
    assert_int_equal(pair.queue.in_flight, 0);
    assert_int_equal(pop(), 0);
    const struct part good[] = {{SCRATCH, 16, NEXT, 1}, {SCRATCH + 64, 8, WRITE, 0}};
    offer_at(0, good, 2);
    assert_int_equal(pop(), 1);
    assert_int_equal(chain.readable_bytes, 16);
    assert_int_equal(chain.writable_bytes, 8);
    assert_int_equal(pleat_virtqueue_push(&pair.queue, &chain, 8), PLEAT_OK);
}

static void assert_broken(enum pleat_virtqueue_fault fault)
{
    assert_int_equal(pop(), PLEAT_E_PROTOCOL);
    assert_int_equal(pair.queue.fault, fault);
    assert_int_equal(chain.readable + chain.writable, 0);
    const struct pleat_virtqueue before = pair.queue;
    assert_int_equal(pop(), PLEAT_E_PROTOCOL);
    chain.slots = 1;
    assert_int_equal(pleat_virtqueue_push(&pair.queue, &chain, 0), PLEAT_E_PROTOCOL);
    assert_false(pleat_virtqueue_should_interrupt(&pair.queue));
    assert_true(pleat_virtqueue_enable_notifications(&pair.queue));
    pleat_virtqueue_disable_notifications(&pair.queue);
    assert_memory_equal(&pair.queue, &before, offsetof(struct pleat_virtqueue, pushed_since_asked));
}

/* ---- Set-up ---- */

static void queues_that_can_not_be_are_refused(void **state)
{
    (void)state;
    const struct pleat_guest_memory memory = guest_memory(&pair.guest);
    const struct pleat_virtqueue_config good = pair.queue.config;
    const bool is_packed = pair.shape.packed;
    struct pleat_virtqueue queue;
    memset(&queue, 0x5a, sizeof(queue));
    const struct pleat_virtqueue before = queue;
    for (int what = 0; what < 9; what++) {
        struct pleat_virtqueue_config config = good;
        switch (what) {
        case 0:
            config.size = 0;
            break;
        case 1:
            config.size = is_packed ? 32769 : 7;
            break;
        case 2:
            config.descriptor_physical += 8;
            break;
        case 3:
            config.driver_physical += is_packed ? 2 : 1;
            break;
        case 4:
            config.device_physical += 2;
            break;
        case 5:
            config.descriptor_physical = GUEST_BASE + GUEST_BYTES - 16 * (SIZE - 1);
            break;
        case 6:
            config.driver_physical = 0;
            break;
        case 7:
            config.device_physical = UINT64_MAX - 3;
            break;
        default:
            config.size = 0xffff;
            break;
        }
        assert_int_equal(pleat_virtqueue_init(&queue, &config, &memory), PLEAT_E_INVALID);
        assert_memory_equal(&queue, &before, sizeof(queue));
    }
    /* What the device writes may not be read-only. */
    pair.guest.read_only = good.device_physical;
    pair.guest.read_only_bytes = 4;
    assert_int_equal(pleat_virtqueue_init(&queue, &good, &memory), PLEAT_E_INVALID);
}

/* ---- Chains that are wrong ---- */

static void address_outside_memory_is_refused(void **state)
{
    (void)state;
    const struct part bad[] = {
        {0, 16, 0, 0},
        {GUEST_BASE - 1, 2, 0, 0},
        {GUEST_BASE + GUEST_BYTES - 15, 16, 0, 0},
        {GUEST_BASE + GUEST_BYTES, 1, WRITE, 0},
        {UINT64_MAX - 7, 16, 0, 0},
        {UINT64_MAX, UINT32_MAX, WRITE, 0},
        {SCRATCH, UINT32_MAX, WRITE, 0},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        offer_at(2, &bad[i], 1);
        assert_refused(PLEAT_VIRTQUEUE_FAULT_ADDRESS);
    }
}

static void bad_part_in_mid_chain_costs_the_chain_only(void **state)
{
    (void)state;
    const struct part parts[] = {{SCRATCH, 16, NEXT, 3}, {0, 16, NEXT, 4}, {SCRATCH, 8, WRITE, 0}};
    offer_at(2, parts, 3);
    assert_refused(PLEAT_VIRTQUEUE_FAULT_ADDRESS);
}

static void writing_to_read_only_memory_is_refused(void **state)
{
    (void)state;
    pair.guest.read_only = SCRATCH + 4096;
    pair.guest.read_only_bytes = 4096;
    const struct part read = {SCRATCH + 5000, 16, 0, 0};
    const struct part write = {SCRATCH + 5000, 16, WRITE, 0};
    offer_at(0, &read, 1);
    assert_int_equal(pop(), 1);
    assert_int_equal(pleat_virtqueue_push(&pair.queue, &chain, 0), PLEAT_OK);
    offer_at(0, &write, 1);
    assert_refused(PLEAT_VIRTQUEUE_FAULT_ADDRESS);
}

static void readable_after_writable_is_refused(void **state)
{
    (void)state;
    const struct part parts[] = {{SCRATCH, 16, NEXT | WRITE, 3}, {SCRATCH, 16, 0, 0}};
    offer_at(2, parts, 2);
    assert_refused(PLEAT_VIRTQUEUE_FAULT_ORDER);
}

static void more_parts_than_the_device_takes_is_refused(void **state)
{
    (void)state;
    const struct part parts[] = {{SCRATCH, 1, NEXT, 1}, {SCRATCH, 1, NEXT, 2}, {SCRATCH, 1, 0, 0}};
    offer_at(0, parts, 3);
    chain.capacity = 2;
    assert_refused(PLEAT_VIRTQUEUE_FAULT_TOO_LONG);
}

static void device_that_takes_no_part_refuses_all(void **state)
{
    (void)state;
    const struct part part = {SCRATCH, 1, 0, 0};
    offer_at(0, &part, 1);
    chain.capacity = 0;
    chain.segments = NULL;
    assert_int_equal(pop(), PLEAT_E_REFUSED);
    assert_int_equal(chain.fault, PLEAT_VIRTQUEUE_FAULT_TOO_LONG);
}

static void sum_beyond_32_bits_is_refused(void **state)
{
    (void)state;
    const struct part parts[] = {{SCRATCH, 1, NEXT, 1}, {SCRATCH, UINT32_MAX, 0, 0}};
    offer_at(0, parts, 2);
    assert_refused(PLEAT_VIRTQUEUE_FAULT_TOO_BIG);
}

static void parts_without_bytes_are_passed_over(void **state)
{
    (void)state;
    const struct part parts[] = {
        {0, 0, NEXT, 1}, {SCRATCH, 16, NEXT, 2}, {UINT64_MAX, 0, NEXT | WRITE, 3}, {SCRATCH, 8, WRITE, 0}};
    offer_at(0, parts, 4);
    assert_int_equal(pop(), 1);
    assert_int_equal(chain.readable, 1);
    assert_int_equal(chain.writable, 1);
    assert_int_equal(chain.readable_bytes, 16);
}

static void loop_is_refused(void **state)
{
    (void)state;
    const struct part parts[] = {{SCRATCH, 1, NEXT, 3}, {SCRATCH, 1, NEXT, 2}};
    offer_at(2, parts, 2);
    assert_refused(PLEAT_VIRTQUEUE_FAULT_LOOP);
    const struct part self = {SCRATCH, 1, NEXT, 5};
    offer_at(5, &self, 1);
    assert_refused(PLEAT_VIRTQUEUE_FAULT_LOOP);
    /* One without bytes, so that no sum ends it. */
    const struct part nothing = {SCRATCH, 0, NEXT, 5};
    offer_at(5, &nothing, 1);
    assert_refused(PLEAT_VIRTQUEUE_FAULT_LOOP);
}

static void next_outside_the_table_is_refused(void **state)
{
    (void)state;
    const uint16_t nexts[] = {SIZE, 0x7fff, 0xffff};
    for (size_t i = 0; i < 3; i++) {
        const struct part part = {SCRATCH, 1, NEXT, nexts[i]};
        offer_at(0, &part, 1);
        assert_refused(PLEAT_VIRTQUEUE_FAULT_NEXT);
    }
}

/* ---- Indirect tables ---- */

static void table_is_followed(void **state)
{
    (void)state;
    const struct part table[] = {{SCRATCH, 3, NEXT, 1}, {SCRATCH, 4, NEXT, 2}, {SCRATCH, 5, WRITE, 0}};
    write_table(table, 3);
    const struct part whole = {TABLE, 48, INDIRECT, 0};
    offer_at(0, &whole, 1);
    assert_int_equal(pop(), 1);
    assert_int_equal(chain.readable, 2);
    assert_int_equal(chain.readable_bytes, 7);
    assert_int_equal(chain.writable_bytes, 5);
    assert_int_equal(chain.slots, 1);
}

static void table_after_plain_parts_is_followed(void **state)
{
    (void)state;
    const struct part table[] = {{SCRATCH, 4, NEXT, 1}, {SCRATCH, 5, WRITE, 0}};
    write_table(table, 2);
    const struct part parts[] = {{SCRATCH, 3, NEXT, 1}, {TABLE, 32, INDIRECT, 0}};
    offer_at(0, parts, 2);
    assert_int_equal(pop(), 1);
    assert_int_equal(chain.readable_bytes, 7);
    assert_int_equal(chain.writable_bytes, 5);
}

static void table_longer_than_the_ring_is_followed(void **state)
{
    (void)state;
    for (uint16_t i = 0; i < 3 * SIZE; i++) {
        const struct part part = {SCRATCH, 2, i + 1u < 3 * SIZE ? NEXT : 0, (uint16_t)(i + 1u)};
        write_part(guest_at(&pair.guest, TABLE + 16u * i), &part, 0, 0);
    }
    const struct part whole = {TABLE, 16 * 3 * SIZE, INDIRECT, 0};
    offer_at(0, &whole, 1);
    assert_int_equal(pop(), 1);
    assert_int_equal(chain.readable, 3 * SIZE);
}

static void table_of_a_wrong_length_or_place_is_refused(void **state)
{
    (void)state;
    const struct part bad[] = {
        {TABLE, 0, INDIRECT, 0},
        {TABLE, 15, INDIRECT, 0},
        {TABLE, 17, INDIRECT, 0},
        {TABLE, 16u * 32769u, INDIRECT, 0},
        {TABLE, 0xfffffff0, INDIRECT, 0},
        {0, 16, INDIRECT, 0},
        {GUEST_BASE + GUEST_BYTES - 16, 32, INDIRECT, 0},
        {UINT64_MAX - 15, 16, INDIRECT, 0},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        offer_at(1, &bad[i], 1);
        assert_refused(PLEAT_VIRTQUEUE_FAULT_TABLE);
    }
}

static void table_in_a_table_is_refused(void **state)
{
    (void)state;
    const struct part table[] = {{SCRATCH, 3, NEXT, 1}, {TABLE, 32, INDIRECT, 0}};
    write_table(table, 2);
    const struct part whole = {TABLE, 32, INDIRECT, 0};
    offer_at(0, &whole, 1);
    assert_refused(PLEAT_VIRTQUEUE_FAULT_INDIRECT);
}

static void flags_in_a_table_have_no_meaning_but_for_write(void **state)
{
    (void)state;
    const struct part table[] = {{SCRATCH, 3, INDIRECT, 0}, {SCRATCH, 4, 0x8080 | WRITE, 0}};
    write_table(table, 2);
    const struct part whole = {TABLE, 32, INDIRECT | WRITE, 0};
    offer_at(0, &whole, 1);
    assert_int_equal(pop(), 1);
    assert_int_equal(chain.readable_bytes, 3);
    assert_int_equal(chain.writable_bytes, 4);
}

static void table_with_a_part_behind_it_is_refused(void **state)
{
    (void)state;
    const struct part table = {SCRATCH, 3, 0, 0};
    write_table(&table, 1);
    const struct part parts[] = {{TABLE, 16, INDIRECT | NEXT, 1}, {SCRATCH, 3, 0, 0}};
    offer_at(0, parts, 2);
    assert_refused(PLEAT_VIRTQUEUE_FAULT_INDIRECT);
}

static void table_that_was_not_negotiated_is_refused(void **state)
{
    (void)state;
    pair.shape.indirect_tables = 0;
    ring_pair_restart(&pair);
    const struct part table = {SCRATCH, 3, 0, 0};
    write_table(&table, 1);
    const struct part whole = {TABLE, 16, INDIRECT, 0};
    offer_at(0, &whole, 1);
    assert_refused(PLEAT_VIRTQUEUE_FAULT_INDIRECT);
}

static void loop_in_a_table_is_refused(void **state)
{
    (void)state;
    const struct part table[] = {{SCRATCH, 3, NEXT, 1}, {SCRATCH, 3, NEXT, 0}};
    write_table(table, 2);
    const struct part whole = {TABLE, 32, INDIRECT, 0};
    offer_at(0, &whole, 1);
    assert_refused(PLEAT_VIRTQUEUE_FAULT_LOOP);
    const struct part out = {SCRATCH, 3, NEXT, 2};
    write_table(&out, 1);
    offer_at(0, &whole, 1);
    assert_refused(PLEAT_VIRTQUEUE_FAULT_NEXT);
}

/* ---- Rings that are wrong ---- */

static void index_too_far_ahead_breaks_it(void **state)
{
    (void)state;
    const uint16_t indices[] = {SIZE + 1, 0x8000, 0xffff};
    for (size_t i = 0; i < 3; i++) {
        pleat_write_le16(pair.ring.driver_area + 2, indices[i]);
        assert_broken(PLEAT_VIRTQUEUE_FAULT_INDEX);
        ring_pair_restart(&pair);
    }
}

static void head_outside_the_table_breaks_it(void **state)
{
    (void)state;
    const uint16_t heads[] = {SIZE, 0xffff};
    for (size_t i = 0; i < 2; i++) {
        pleat_write_le16(pair.ring.driver_area + 4, heads[i]);
        pleat_write_le16(pair.ring.driver_area + 2, 1);
        assert_broken(PLEAT_VIRTQUEUE_FAULT_HEAD);
        ring_pair_restart(&pair);
    }
}

static void more_chains_than_the_ring_holds_break_it(void **state)
{
    (void)state;
    const struct part part = {SCRATCH, 1, 0, 0};
    for (uint16_t i = 0; i < SIZE; i++) {
        offer_at(i, &part, 1);
        assert_int_equal(pop(), 1);
    }
    assert_int_equal(pop(), 0);
    offer_at(0, &part, 1);
    assert_broken(PLEAT_VIRTQUEUE_FAULT_OVERRUN);
}

static void chain_without_an_end_breaks_it(void **state)
{
    (void)state;
    struct part parts[SIZE];
    for (uint16_t i = 0; i < SIZE; i++) {
        parts[i] = (struct part){SCRATCH, 1, NEXT, 0};
    }
    offer_at(0, parts, SIZE);
    assert_broken(PLEAT_VIRTQUEUE_FAULT_ENDLESS);
}

static void chain_into_slots_that_are_out_breaks_it(void **state)
{
    (void)state;
    const struct part one = {SCRATCH, 1, 0, 0};
    offer_at(0, &one, 1);
    assert_int_equal(pop(), 1);
    struct part parts[SIZE];
    for (uint16_t i = 0; i < SIZE; i++) {
        parts[i] = (struct part){SCRATCH, 1, i + 1u < SIZE ? NEXT : 0, 0};
    }
    /* Its last part lies in the slot of the chain that is out. */
    offer_at(1, parts, SIZE);
    assert_broken(PLEAT_VIRTQUEUE_FAULT_ENDLESS);
}

static void chain_as_long_as_the_ring_is_fine(void **state)
{
    (void)state;
    struct part parts[SIZE];
    for (uint16_t i = 0; i < SIZE; i++) {
        parts[i] = (struct part){SCRATCH, 1, i + 1u < SIZE ? NEXT : 0, (uint16_t)(i + 1u)};
    }
    for (int lap = 0; lap < 3; lap++) {
        offer_at(0, parts, SIZE);
        assert_int_equal(pop(), 1);
        assert_int_equal(chain.readable, SIZE);
        assert_int_equal(chain.slots, pair.shape.packed ? SIZE : 1);
        assert_int_equal(pleat_virtqueue_push(&pair.queue, &chain, 0), PLEAT_OK);
    }
}

/* ---- Memory that goes away ---- */

static void ring_that_was_unplugged_breaks_it(void **state)
{
    (void)state;
    const struct pleat_virtqueue_config at = pair.queue.config;
    const uint64_t areas[] = {at.descriptor_physical, at.driver_physical, at.device_physical};
    const struct part part = {SCRATCH, 1, 0, 0};
    for (size_t i = 0; i < 3; i++) {
        pair.guest.hole_bytes = 0;
        ring_pair_restart(&pair);
        offered = 0;
        offer_at(0, &part, 1);
        assert_int_equal(pop(), 1);
        pair.guest.hole = areas[i];
        pair.guest.hole_bytes = 1;
        const int pushed = pleat_virtqueue_push(&pair.queue, &chain, 0);
        const bool woken = pleat_virtqueue_enable_notifications(&pair.queue);
        pleat_virtqueue_disable_notifications(&pair.queue);
        pleat_virtqueue_should_interrupt(&pair.queue);
        if (pushed == PLEAT_E_PROTOCOL) {
            assert_true(woken);
            assert_int_equal(pair.queue.fault, PLEAT_VIRTQUEUE_FAULT_RING_MEMORY);
        }
        const bool needed_by_pop = pair.shape.packed ? i == 0 : i < 2;
        if (needed_by_pop) {
            assert_broken(PLEAT_VIRTQUEUE_FAULT_RING_MEMORY);
        }
    }
}

static void buffer_that_was_unplugged_is_not_touched(void **state)
{
    (void)state;
    const struct part parts[] = {{SCRATCH, 16, NEXT, 1}, {SCRATCH + 4096, 16, WRITE, 0}};
    offer_at(0, parts, 2);
    assert_int_equal(pop(), 1);
    uint8_t bytes[16] = {0};
    pair.guest.hole = SCRATCH;
    pair.guest.hole_bytes = 8192;
    assert_int_equal(pleat_virtqueue_read(&pair.queue, &chain, 0, bytes, 16), PLEAT_E_PROTOCOL);
    assert_int_equal(pleat_virtqueue_write(&pair.queue, &chain, 0, bytes, 16), PLEAT_E_PROTOCOL);
    assert_int_equal(pleat_virtqueue_push(&pair.queue, &chain, 0), PLEAT_OK);
}

static void what_the_guest_changes_after_pop_makes_no_difference(void **state)
{
    (void)state;
    const struct part parts[] = {{SCRATCH, 16, NEXT, 1}, {SCRATCH + 4096, 16, WRITE, 0}};
    offer_at(0, parts, 2);
    assert_int_equal(pop(), 1);
    memset(pair.ring.descriptor_area, 0xff, 16u * SIZE);
    memset(guest_at(&pair.guest, SCRATCH), 7, 16);
    uint8_t bytes[32];
    assert_int_equal(pleat_virtqueue_read(&pair.queue, &chain, 0, bytes, 32), 16);
    assert_int_equal(bytes[15], 7);
    assert_int_equal(pleat_virtqueue_write(&pair.queue, &chain, 0, bytes, 32), 16);
    assert_memory_equal(guest_at(&pair.guest, SCRATCH + 4096), bytes, 16);
}

/* ---- Copying ---- */

static void copies_cross_segments_from_any_offset(void **state)
{
    (void)state;
    const struct part parts[] = {{SCRATCH, 3, NEXT, 1},
                                 {SCRATCH + 100, 1, NEXT, 2},
                                 {SCRATCH + 200, 5, NEXT, 3},
                                 {SCRATCH + 300, 2, NEXT | WRITE, 4},
                                 {SCRATCH + 400, 7, WRITE, 0}};
    const uint64_t starts[] = {SCRATCH, SCRATCH + 100, SCRATCH + 200, SCRATCH + 300, SCRATCH + 400};
    uint8_t expected[9];
    for (uint32_t i = 0, at = 0; i < 3; i++) {
        for (uint32_t b = 0; b < parts[i].length; b++, at++) {
            expected[at] = (uint8_t)(at + 1);
            *(uint8_t *)guest_at(&pair.guest, starts[i] + b) = expected[at];
        }
    }
    offer_at(0, parts, 5);
    assert_int_equal(pop(), 1);
    for (uint32_t offset = 0; offset <= 10; offset++) {
        for (uint32_t length = 0; length <= 11; length++) {
            uint8_t bytes[12];
            memset(bytes, 0xee, sizeof(bytes));
            const uint32_t there = offset < 9 ? 9 - offset : 0;
            const uint32_t got = there < length ? there : length;
            assert_int_equal(pleat_virtqueue_read(&pair.queue, &chain, offset, bytes, length), got);
            if (got) {
                assert_memory_equal(bytes, expected + offset, got);
            }
            assert_int_equal(bytes[got], 0xee);
        }
    }
    for (uint32_t offset = 0; offset <= 10; offset++) {
        memset(guest_at(&pair.guest, SCRATCH + 300), 0, 200);
        const uint32_t there = offset < 9 ? 9 - offset : 0;
        assert_int_equal(pleat_virtqueue_write(&pair.queue, &chain, offset, expected, 9), there);
        for (uint32_t b = 0; b < 9; b++) {
            const uint64_t at = b < 2 ? SCRATCH + 300 + b : SCRATCH + 400 + b - 2;
            assert_int_equal(*(uint8_t *)guest_at(&pair.guest, at), b < offset ? 0 : expected[b - offset]);
        }
        assert_int_equal(*(uint8_t *)guest_at(&pair.guest, SCRATCH + 302), 0);
        assert_int_equal(*(uint8_t *)guest_at(&pair.guest, SCRATCH + 407), 0);
    }
}

static void push_of_what_is_not_out_is_refused(void **state)
{
    (void)state;
    const struct part part = {SCRATCH, 16, WRITE, 0};
    assert_int_equal(pop(), 0);
    assert_int_equal(pleat_virtqueue_push(&pair.queue, &chain, 0), PLEAT_E_INVALID);
    offer_at(0, &part, 1);
    assert_int_equal(pop(), 1);
    assert_int_equal(pleat_virtqueue_push(&pair.queue, &chain, 17), PLEAT_E_INVALID);
    assert_int_equal(pleat_virtqueue_push(&pair.queue, &chain, 16), PLEAT_OK);
    assert_int_equal(pleat_virtqueue_push(&pair.queue, &chain, 16), PLEAT_E_INVALID);
}

static void slot_given_back_says_whether_it_was_written(void **state)
{
    (void)state;
    const struct part part = {SCRATCH, 16, WRITE, 0};
    for (uint16_t i = 0; i < 3 * SIZE; i++) {
        const uint32_t written = i % 2 ? 5 : 0;
        offer_at(1, &part, 1);
        assert_int_equal(pop(), 1);
        assert_int_equal(pleat_virtqueue_push(&pair.queue, &chain, written), PLEAT_OK);
        const uint8_t *slot = slot_bytes(i % SIZE);
        assert_int_equal(pleat_read_le32(slot + 8), written);
        assert_int_equal(pleat_read_le16(slot + 12), 41);
        assert_int_equal(pleat_read_le16(slot + 14), (i / SIZE % 2 ? 0 : 0x8080) | (written ? WRITE : 0));
    }
}

/* ---- Saving and loading ---- */

static void saved_state_continues_where_it_was(void **state)
{
    (void)state;
    const struct part part = {SCRATCH, 16, WRITE, 0};
    const struct pleat_virtqueue_config config = pair.queue.config;
    const struct pleat_guest_memory memory = guest_memory(&pair.guest);
    for (uint16_t i = 0; i < 3 * SIZE; i++) {
        offer_at(i % SIZE, &part, 1);
        assert_int_equal(pop(), 1);
        const struct pleat_virtqueue_state saved = pleat_virtqueue_save(&pair.queue);
        assert_int_equal(saved.in_flight, 1);
        assert_int_equal(pleat_virtqueue_init(&pair.queue, &config, &memory), PLEAT_OK);
        assert_int_equal(pleat_virtqueue_load(&pair.queue, &saved), PLEAT_OK);
        assert_int_equal(pleat_virtqueue_push(&pair.queue, &chain, 3), PLEAT_OK);
        assert_true(pleat_virtqueue_should_interrupt(&pair.queue));
        assert_int_equal(pop(), 0);
    }
}

static void states_that_can_not_be_are_refused(void **state)
{
    (void)state;
    const struct pleat_virtqueue_state split_bad[] = {{1, 0, 0}, {0, 1, 1}, {9, 0, 9}, {0, 0, 1}};
    const struct pleat_virtqueue_state packed_bad[] = {
        {0x8001, 0x8000, 0}, {0x8000, 0x8001, 1}, {0x8000, 0, 0},     {0x8008, 0x8008, 0},
        {0x0001, 0x8000, 9}, {0x8000, 0x8000, 1}, {0x0003, 0xffff, 0}};
    const struct pleat_virtqueue before = pair.queue;
    const size_t count = pair.shape.packed ? 7 : 4;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(
            pleat_virtqueue_load(&pair.queue, pair.shape.packed ? &packed_bad[i] : &split_bad[i]),
            PLEAT_E_INVALID);
        assert_memory_equal(&pair.queue, &before, sizeof(before));
    }
}

/* ---- Waking the guest, exactly ---- */

static bool push_and_ask(uint16_t chains)
{
    const struct part part = {SCRATCH, 16, 0, 0};
    for (uint16_t i = 0; i < chains; i++) {
        offer_at(i, &part, 1);
        assert_int_equal(pop(), 1);
        assert_int_equal(pleat_virtqueue_push(&pair.queue, &chain, 0), PLEAT_OK);
    }
    return pleat_virtqueue_should_interrupt(&pair.queue);
}

static void flag_of_the_guest_suppresses_interrupts(void **state)
{
    (void)state;
    assert_true(push_and_ask(1));
    assert_false(pleat_virtqueue_should_interrupt(&pair.queue));
    pleat_write_le16(pair.ring.driver_area + (pair.shape.packed ? 2 : 0), 1);
    assert_false(push_and_ask(1));
    pleat_write_le16(pair.ring.driver_area + (pair.shape.packed ? 2 : 0), 0);
    assert_true(push_and_ask(1));
}

static void event_index_of_the_guest_is_met_exactly(void **state)
{
    (void)state;
    pair.shape.event_index = true;
    ring_pair_restart(&pair);
    uint8_t *event = pair.ring.driver_area + 4 + 2u * SIZE;
    pleat_write_le16(event, 2);
    assert_false(push_and_ask(1));
    assert_false(push_and_ask(1));
    assert_true(push_and_ask(1));
    assert_false(push_and_ask(1));
    pleat_write_le16(event, 5);
    assert_true(push_and_ask(3));
}

static void event_slot_of_the_guest_is_met_exactly_in_each_lap(void **state)
{
    (void)state;
    pair.shape.event_index = true;
    ring_pair_restart(&pair);
    pleat_write_le16(pair.ring.driver_area + 2, PLEAT_VIRTQ_EVENT_AT_SLOT);
    for (int lap = 0; lap < 5; lap++) {
        pleat_write_le16(pair.ring.driver_area, (uint16_t)(2u | (lap % 2 == 0 ? 0x8000u : 0u)));
        for (uint16_t slot = 0; slot < SIZE; slot++) {
            assert_int_equal(push_and_ask(1), slot == 2);
        }
    }
}

static void every_fault_has_a_text_of_its_own(void **state)
{
    (void)state;
    for (int a = PLEAT_VIRTQUEUE_FAULT_NONE; a <= PLEAT_VIRTQUEUE_FAULT_ENDLESS; a++) {
        for (int b = a + 1; b <= PLEAT_VIRTQUEUE_FAULT_ENDLESS + 1; b++) {
            assert_string_not_equal(pleat_virtqueue_fault_text((enum pleat_virtqueue_fault)a),
                                    pleat_virtqueue_fault_text((enum pleat_virtqueue_fault)b));
        }
    }
}

#define SPLIT(test)                                                                                          \
    {                                                                                                        \
        "split_" #test, test, set_up, tear_down, (void *)(uintptr_t)&split                                   \
    }
#define PACKED(test)                                                                                         \
    {                                                                                                        \
        "packed_" #test, test, set_up, tear_down, (void *)(uintptr_t)&packed                                 \
    }
#define BOTH(test) SPLIT(test), PACKED(test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(queues_that_can_not_be_are_refused),
        BOTH(address_outside_memory_is_refused),
        BOTH(bad_part_in_mid_chain_costs_the_chain_only),
        BOTH(writing_to_read_only_memory_is_refused),
        BOTH(readable_after_writable_is_refused),
        BOTH(more_parts_than_the_device_takes_is_refused),
        BOTH(device_that_takes_no_part_refuses_all),
        BOTH(sum_beyond_32_bits_is_refused),
        BOTH(parts_without_bytes_are_passed_over),
        SPLIT(loop_is_refused),
        SPLIT(next_outside_the_table_is_refused),
        BOTH(table_is_followed),
        BOTH(table_after_plain_parts_is_followed),
        BOTH(table_longer_than_the_ring_is_followed),
        BOTH(table_of_a_wrong_length_or_place_is_refused),
        SPLIT(table_in_a_table_is_refused),
        PACKED(flags_in_a_table_have_no_meaning_but_for_write),
        BOTH(table_with_a_part_behind_it_is_refused),
        BOTH(table_that_was_not_negotiated_is_refused),
        SPLIT(loop_in_a_table_is_refused),
        SPLIT(index_too_far_ahead_breaks_it),
        SPLIT(head_outside_the_table_breaks_it),
        BOTH(more_chains_than_the_ring_holds_break_it),
        PACKED(chain_without_an_end_breaks_it),
        PACKED(chain_into_slots_that_are_out_breaks_it),
        BOTH(chain_as_long_as_the_ring_is_fine),
        BOTH(ring_that_was_unplugged_breaks_it),
        BOTH(buffer_that_was_unplugged_is_not_touched),
        BOTH(what_the_guest_changes_after_pop_makes_no_difference),
        BOTH(copies_cross_segments_from_any_offset),
        BOTH(push_of_what_is_not_out_is_refused),
        PACKED(slot_given_back_says_whether_it_was_written),
        BOTH(saved_state_continues_where_it_was),
        BOTH(states_that_can_not_be_are_refused),
        BOTH(flag_of_the_guest_suppresses_interrupts),
        SPLIT(event_index_of_the_guest_is_met_exactly),
        PACKED(event_slot_of_the_guest_is_met_exactly_in_each_lap),
        cmocka_unit_test(every_fault_has_a_text_of_its_own),
    };
    return cmocka_run_group_tests_name("virtqueue, the device's side", tests, NULL, NULL);
}
