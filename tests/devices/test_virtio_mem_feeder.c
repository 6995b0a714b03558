/* SPDX-License-Identifier: MIT
 *
 * The virtio-mem device behind a virtqueue, split and packed: each good request is answered by 10 bytes and
 * used length 10, each bad chain costs itself alone.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pleat/virtio_mem_feeder.h>

#include "tests/support/fake_host.h"
#include "tests/support/ring_pair.h"

#define BLOCK    UINT64_C(0x200000)
#define ADDRESS  UINT64_C(0x240000000)
#define BLOCKS   64u
#define REQUEST  SCRATCH
#define RESPONSE (SCRATCH + 4096)
#define INACC    (UINT64_C(1) << PLEAT_VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE)

enum {
    PLUG = PLEAT_VIRTIO_MEM_REQ_PLUG,
    UNPLUG = PLEAT_VIRTIO_MEM_REQ_UNPLUG,
    ACK = PLEAT_VIRTIO_MEM_RESP_ACK,
    ERROR = PLEAT_VIRTIO_MEM_RESP_ERROR
};

static struct bench {
    struct ring_pair pair;
    struct fake_host host;
    struct pleat_virtio_mem_device *device;
    struct pleat_virtio_mem_feeder feeder;
    uint64_t storage[256];
    /* With registers only. */
    struct pleat_virtio_device *registers;
    unsigned queue_interrupts, config_interrupts;
} bench;

static void create_device(void)
{
    const struct pleat_virtio_mem_device_config config = {
        .address = ADDRESS, .region_bytes = BLOCKS * BLOCK, .requested_bytes = BLOCKS * BLOCK};
    fake_host_init(&bench.host, BLOCK, BLOCKS);
    assert_int_equal(pleat_virtio_mem_device_create(&config, &fake_host_ops, &bench.host, bench.storage,
                                                    sizeof(bench.storage), &bench.device),
                     0);
    pleat_virtio_mem_feeder_init(&bench.feeder, bench.device);
}

static int setup(void **state)
{
    memset(&bench, 0, sizeof(bench));
    ring_pair_create(&bench.pair, *state);
    create_device();
    return pleat_virtio_mem_device_accept(bench.device, INACC);
}

static int teardown(void **state)
{
    (void)state;
    pleat_virtio_device_destroy(bench.registers);
    pleat_virtio_mem_device_destroy(bench.device);
    ring_pair_destroy(&bench.pair);
    return 0;
}

static void write_request(uint64_t physical, unsigned type, uint64_t address, unsigned blocks)
{
    struct pleat_virtio_mem_request request;
    memset(&request, 0, sizeof(request));
    request.type = pleat_le16((uint16_t)type);
    request.address = pleat_le64(address);
    request.block_count = pleat_le16((uint16_t)blocks);
    memcpy(guest_at(&bench.pair.guest, physical), &request, sizeof(request));
}

static unsigned answer_at(uint64_t physical)
{
    return pleat_read_le16(guest_at(&bench.pair.guest, physical));
}

/* Offers a chain to the device and serves it; returns the used length. */
static uint32_t serve(const struct pleat_virtio_buffer *buffers, uint16_t count)
{
    uint64_t token;
    uint32_t written = UINT32_MAX;
    assert_int_equal(pleat_virtio_ring_add(&bench.pair.ring, buffers, count, 77), 0);
    pleat_virtio_ring_publish(&bench.pair.ring);
    assert_int_equal(pleat_virtio_mem_feeder_step(&bench.feeder, &bench.pair.queue), 1);
    assert_int_equal(pleat_virtio_mem_feeder_step(&bench.feeder, &bench.pair.queue), 0);
    assert_int_equal(pleat_virtio_ring_poll(&bench.pair.ring, &token, &written), 1);
    assert_int_equal(token, 77);
    return written;
}

/* A well-formed chain. */
static unsigned ask(unsigned type, unsigned first, unsigned blocks)
{
    const struct pleat_virtio_buffer buffers[] = {{REQUEST, 24, false}, {RESPONSE, 10, true}};
    write_request(REQUEST, type, ADDRESS + first * BLOCK, blocks);
    memset(guest_at(&bench.pair.guest, RESPONSE), 0xee, 16);
    assert_int_equal(serve(buffers, 2), 10);
    return answer_at(RESPONSE);
}

static uint64_t plugged_blocks(void)
{
    return pleat_virtio_mem_device_plugged_bytes(bench.device) / BLOCK;
}

/* The queue isn't wedged: a good request is served as if nothing had been. */
static void assert_serves_on(void)
{
    assert_int_equal(ask(PLUG, 63, 1), ACK);
    assert_int_equal(ask(UNPLUG, 63, 1), ACK);
}

static void X9_an_answer_is_exactly_10_bytes_and_used_length_says_so(void **state)
{
    (void)state;
    /* Room for more than an answer: no more is written. */
    const struct pleat_virtio_buffer buffers[] = {{REQUEST, 24, false}, {RESPONSE, 64, true}};
    uint8_t *response = guest_at(&bench.pair.guest, RESPONSE);
    write_request(REQUEST, PLUG, ADDRESS, 3);
    memset(response, 0xee, 64);
    assert_int_equal(serve(buffers, 2), 10);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(response[i], 0);
    for (unsigned i = 10; i < 64; i++)
        assert_int_equal(response[i], 0xee);
    assert_int_equal(plugged_blocks(), 3);
    assert_int_equal(bench.feeder.answered, 1);
}

static void a_request_may_be_in_any_pieces(void **state)
{
    (void)state;
    for (uint32_t cut = 1; cut < 24; cut++)
        for (uint32_t answer_cut = 1; answer_cut < 10; answer_cut++) {
            const struct pleat_virtio_buffer buffers[] = {{REQUEST, cut, false},
                                                          {REQUEST + cut, 24 - cut, false},
                                                          {RESPONSE, answer_cut, true},
                                                          {RESPONSE + 100, 10 - answer_cut, true}};
            write_request(REQUEST, plugged_blocks() ? UNPLUG : PLUG, ADDRESS, 5);
            memset(guest_at(&bench.pair.guest, RESPONSE), 0xee, 200);
            assert_int_equal(serve(buffers, 4), 10);
            assert_int_equal(*(uint8_t *)guest_at(&bench.pair.guest, RESPONSE), ACK);
        }
    assert_int_equal(bench.feeder.answered, 23 * 9);
}

static void an_answer_may_lie_over_its_request(void **state)
{
    (void)state;
    const struct pleat_virtio_buffer buffers[] = {{REQUEST, 24, false}, {REQUEST, 10, true}};
    write_request(REQUEST, PLUG, ADDRESS, 5);
    assert_int_equal(serve(buffers, 2), 10);
    assert_int_equal(answer_at(REQUEST), ACK);
    assert_int_equal(plugged_blocks(), 5);
}

static void X4_a_short_request_is_answered_with_error(void **state)
{
    (void)state;
    for (uint32_t bytes = 1; bytes < 24; bytes++) {
        const struct pleat_virtio_buffer buffers[] = {{REQUEST, bytes, false}, {RESPONSE, 10, true}};
        write_request(REQUEST, PLUG, ADDRESS, 1);
        assert_int_equal(serve(buffers, 2), 10);
        assert_int_equal(answer_at(RESPONSE), ERROR);
    }
    /* And one that is nothing but room for an answer. */
    const struct pleat_virtio_buffer only_answer[] = {{RESPONSE, 10, true}};
    assert_int_equal(serve(only_answer, 1), 10);
    assert_int_equal(answer_at(RESPONSE), ERROR);
    assert_int_equal(plugged_blocks(), 0);
    assert_serves_on();
}

static void X4_an_unknown_type_is_answered_with_error(void **state)
{
    (void)state;
    for (unsigned type = 4; type < 0x10000; type += 4099)
        assert_int_equal(ask(type, 0, 1), ERROR);
    assert_serves_on();
}

static void X4_a_request_without_room_for_its_answer_is_not_handled(void **state)
{
    (void)state;
    for (uint32_t bytes = 0; bytes < 10; bytes++) {
        const struct pleat_virtio_buffer buffers[] = {{REQUEST, 24, false}, {RESPONSE, bytes, true}};
        write_request(REQUEST, PLUG, ADDRESS, 1);
        assert_int_equal(serve(buffers, bytes ? 2 : 1), 0);
    }
    assert_int_equal(plugged_blocks(), 0);
    assert_int_equal(bench.feeder.unanswered, 10);
    assert_serves_on();
}

static void X4_buffers_that_are_not_guest_memory_cost_their_chain_alone(void **state)
{
    (void)state;
    static const struct {
        uint64_t request, response;
    } cases[] = {
        {REQUEST, 0},
        {0, RESPONSE},
        {REQUEST, UINT64_MAX - 100},
        {UINT64_MAX - 100, RESPONSE},
        {REQUEST, GUEST_BASE + GUEST_BYTES - 5}, /* half of the answer beyond the end */
        {GUEST_BASE + GUEST_BYTES - 12, RESPONSE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct pleat_virtio_buffer buffers[] = {{cases[i].request, 24, false},
                                                      {cases[i].response, 10, true}};
        write_request(REQUEST, PLUG, ADDRESS, 1);
        assert_int_equal(serve(buffers, 2), 0);
        assert_int_equal(plugged_blocks(), 0);
        assert_serves_on();
    }
    /* An answer that may only be read. */
    bench.pair.guest.read_only = RESPONSE;
    bench.pair.guest.read_only_bytes = 4096;
    const struct pleat_virtio_buffer buffers[] = {{REQUEST, 24, false}, {RESPONSE, 10, true}};
    write_request(REQUEST, PLUG, ADDRESS, 1);
    assert_int_equal(serve(buffers, 2), 0);
    assert_int_equal(plugged_blocks(), 0);
    bench.pair.guest.read_only_bytes = 0;
    assert_serves_on();
}

/* The memory of the answer goes away while its request is handled, as a guest can bring about. */
static int handle_and_lose_memory(void *context, const void *request, size_t bytes,
                                  uint8_t response[PLEAT_VIRTIO_MEM_RESPONSE_BYTES])
{
    bench.pair.guest.hole = RESPONSE;
    bench.pair.guest.hole_bytes = 4096;
    return pleat_virtio_mem_device_handle(context, request, bytes, response);
}

static void X4_an_answer_that_loses_its_memory_costs_its_chain_alone(void **state)
{
    (void)state;
    const struct pleat_virtio_buffer buffers[] = {{REQUEST, 24, false}, {RESPONSE, 10, true}};
    bench.feeder.handle = handle_and_lose_memory;
    bench.feeder.handle_context = bench.device;
    write_request(REQUEST, PLUG, ADDRESS, 1);
    assert_int_equal(serve(buffers, 2), 0);
    assert_int_equal(plugged_blocks(), 1);
    bench.feeder.handle = NULL;
    bench.pair.guest.hole_bytes = 0;
    assert_serves_on();
}

static int keep(void *context, const void *request, size_t bytes,
                uint8_t response[PLEAT_VIRTIO_MEM_RESPONSE_BYTES])
{
    (void)context;
    (void)request;
    (void)bytes;
    (void)response;
    return -1;
}

static void a_request_can_stay_unanswered_and_others_are_served(void **state)
{
    (void)state;
    const struct pleat_virtio_buffer buffers[] = {{REQUEST, 24, false}, {RESPONSE, 10, true}};
    uint64_t token;
    bench.feeder.handle = keep;
    assert_int_equal(pleat_virtio_ring_add(&bench.pair.ring, buffers, 2, 1), 0);
    pleat_virtio_ring_publish(&bench.pair.ring);
    assert_int_equal(pleat_virtio_mem_feeder_step(&bench.feeder, &bench.pair.queue), 1);
    assert_int_equal(pleat_virtio_ring_poll(&bench.pair.ring, &token, NULL), 0);
    assert_int_equal(bench.feeder.kept, 1);
    bench.feeder.handle = NULL;
    assert_serves_on();
}

static void a_broken_queue_is_told(void **state)
{
    const struct ring_pair_shape *shape = *state;
    if (shape->packed)
        return; /* a split ring shows it with one store */
    pleat_write_le16(bench.pair.ring.driver_area + 2, 0x7fff);
    assert_int_equal(pleat_virtio_mem_feeder_step(&bench.feeder, &bench.pair.queue), PLEAT_E_PROTOCOL);
}

static void X4_random_chains_never_wedge_the_queue(void **state)
{
    (void)state;
    struct test_random random;
    uint64_t seed;
    for (unsigned number = 0; test_random_seed_number(number, 1, 200, &seed); number++) {
        test_random_seed(&random, seed);
        for (unsigned step = 0; step < 50; step++) {
            struct pleat_virtio_buffer buffers[6];
            const uint16_t readable = (uint16_t)test_random_below(&random, 4);
            const uint16_t writable = (uint16_t)(test_random_below(&random, 3) + !readable);
            uint8_t *scratch = guest_at(&bench.pair.guest, SCRATCH);
            for (unsigned i = 0; i < 64; i++)
                scratch[i] = (uint8_t)test_random_next(&random);
            pleat_write_le16(scratch, (uint16_t)test_random_below(&random, 5));
            pleat_write_le64(scratch + 8, ADDRESS + test_random_below(&random, BLOCKS) * BLOCK);
            pleat_write_le16(scratch + 16, (uint16_t)test_random_below(&random, 8));
            for (uint16_t i = 0; i < readable + writable; i++) {
                buffers[i].physical =
                    test_random_below(&random, 20)
                        ? SCRATCH + (i < readable ? 0 : 4096) + (i ? test_random_below(&random, 4096) : 0)
                        : test_random_next(&random);
                buffers[i].length_bytes = (uint32_t)(1 + test_random_below(&random, 30));
                buffers[i].device_writable = i >= readable;
            }
            const uint32_t written = serve(buffers, (uint16_t)(readable + writable));
            if (written != 0 && written != 10)
                fail_msg("PLEAT_SEED=%" PRIu64 " step %u: used length %u", seed, step, written);
            const char *wrong = fake_host_compare(&bench.host, bench.device, FAKE_INACCESSIBLE);
            if (wrong)
                fail_msg("PLEAT_SEED=%" PRIu64 " step %u: %s", seed, step, wrong);
        }
    }
    assert_true(getenv("PLEAT_SEED") || (bench.feeder.unanswered > 100 && bench.feeder.answered > 100));
}

/* ---- With registers ------------------------------------------------------------------------------- */

static void interrupt(void *context, uint32_t cause, uint16_t queue)
{
    (void)context;
    (void)queue;
    if (cause == PLEAT_VIRTIO_INTERRUPT_QUEUE)
        bench.queue_interrupts++;
    else
        bench.config_interrupts++;
}

static bool accept_features(void *context, uint64_t features)
{
    (void)context;
    return pleat_virtio_mem_device_accept(bench.device, features) == 0;
}

static const struct pleat_virtio_device_handler handler = {.accept_features = accept_features};

static int setup_registers(void **state)
{
    memset(&bench, 0, sizeof(bench));
    ring_pair_create(&bench.pair, *state);
    create_device();
    const uint64_t features = ring_pair_features(&bench.pair.shape) | INACC;
    const struct pleat_virtio_device_config config = {
        .device_id = PLEAT_VIRTIO_MEM_DEVICE_ID,
        .features = features,
        .queues = 1,
        .queue_size_max = {bench.pair.shape.size},
        .config_bytes = PLEAT_VIRTIO_MEM_CONFIG_BYTES,
        .memory = guest_memory(&bench.pair.guest),
        .handler = &handler,
        .interrupt = interrupt,
    };
    assert_int_equal(pleat_virtio_device_create(&config, &bench.registers), 0);
    bench.feeder.registers = bench.registers;
    assert_int_equal(pleat_virtio_mem_feeder_serve(&bench.feeder, 0, 1), PLEAT_E_STATE);

    struct pleat_virtio_device *registers = bench.registers;
    const struct pleat_virtio_queue_addresses at = pleat_virtio_ring_addresses(&bench.pair.ring);
    pleat_virtio_device_write_status(registers, PLEAT_VIRTIO_STATUS_ACKNOWLEDGE | PLEAT_VIRTIO_STATUS_DRIVER);
    assert_int_equal(pleat_virtio_device_write_features(registers, features), 0);
    pleat_virtio_device_write_status(registers, PLEAT_VIRTIO_STATUS_FEATURES_OK);
    assert_int_equal(pleat_virtio_device_queue_setup(registers, 0, bench.pair.shape.size,
                                                     at.descriptor_physical, at.driver_physical,
                                                     at.device_physical),
                     0);
    assert_int_equal(pleat_virtio_device_queue_enable(registers, 0), 0);
    pleat_virtio_device_write_status(registers, PLEAT_VIRTIO_STATUS_DRIVER_OK);
    return 0;
}

static void offer(unsigned number, unsigned type, unsigned first, unsigned blocks)
{
    const uint64_t at = SCRATCH + number * 64;
    const struct pleat_virtio_buffer buffers[] = {{at, 24, false}, {at + 32, 10, true}};
    write_request(at, type, ADDRESS + first * BLOCK, blocks);
    assert_int_equal(pleat_virtio_ring_add(&bench.pair.ring, buffers, 2, number), 0);
}

static void all_chains_are_served_within_the_budget_and_the_guest_is_interrupted(void **state)
{
    (void)state;
    uint64_t token;
    for (unsigned i = 0; i < 4; i++)
        offer(i, PLUG, 2 * i, 1);
    pleat_virtio_ring_publish(&bench.pair.ring);
    assert_int_equal(pleat_virtio_mem_feeder_serve(&bench.feeder, 0, 3), PLEAT_MORE);
    assert_int_equal(plugged_blocks(), 3);
    assert_int_equal(pleat_virtio_mem_feeder_serve(&bench.feeder, 0, 3), 0);
    assert_int_equal(plugged_blocks(), 4);
    assert_true(bench.queue_interrupts > 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pleat_virtio_ring_poll(&bench.pair.ring, &token, NULL), 1);
}

static void D_PLUG6_the_config_space_says_plugged_before_the_answer_is_seen(void **state)
{
    (void)state;
    struct pleat_virtio_mem_config space;
    offer(0, PLUG, 0, 7);
    pleat_virtio_ring_publish(&bench.pair.ring);
    assert_int_equal(pleat_virtio_mem_feeder_serve(&bench.feeder, 0, 10), 0);
    assert_int_equal(pleat_virtio_device_config_read(bench.registers, 0, &space, sizeof(space)), 0);
    assert_int_equal(pleat_le64_get(space.plugged_size), 7 * BLOCK);
    /* D-CFG10: with no interrupt for it. */
    assert_int_equal(bench.config_interrupts, 0);
}

static void a_broken_queue_needs_a_reset(void **state)
{
    const struct ring_pair_shape *shape = *state;
    if (shape->packed)
        return; /* as above */
    pleat_write_le16(bench.pair.ring.driver_area + 2, 0x7fff);
    assert_int_equal(pleat_virtio_mem_feeder_serve(&bench.feeder, 0, 10), PLEAT_E_PROTOCOL);
    assert_true(pleat_virtio_device_read_status(bench.registers) & PLEAT_VIRTIO_STATUS_NEEDS_RESET);
    assert_int_equal(pleat_virtio_mem_feeder_serve(&bench.feeder, 0, 10), PLEAT_E_STATE);
}

static const struct ring_pair_shape shapes[] = {
    {.size = 16},
    {.size = 16, .event_index = true, .indirect_tables = 16, .indirect_segments = 4},
    {.packed = true, .size = 16},
    {.packed = true, .size = 16, .event_index = true, .indirect_tables = 16, .indirect_segments = 4},
};

static const struct {
    const char *name;
    CMUnitTestFunction function;
    CMFixtureFunction setup;
} each[] = {
#define RING(test)                                                                                           \
    {                                                                                                        \
#test, test, setup                                                                                   \
    }
#define REGISTERS(test)                                                                                      \
    {                                                                                                        \
#test, test, setup_registers                                                                         \
    }
    RING(X9_an_answer_is_exactly_10_bytes_and_used_length_says_so),
    RING(a_request_may_be_in_any_pieces),
    RING(an_answer_may_lie_over_its_request),
    RING(X4_a_short_request_is_answered_with_error),
    RING(X4_an_unknown_type_is_answered_with_error),
    RING(X4_a_request_without_room_for_its_answer_is_not_handled),
    RING(X4_buffers_that_are_not_guest_memory_cost_their_chain_alone),
    RING(X4_an_answer_that_loses_its_memory_costs_its_chain_alone),
    RING(a_request_can_stay_unanswered_and_others_are_served),
    RING(a_broken_queue_is_told),
    RING(X4_random_chains_never_wedge_the_queue),
    REGISTERS(all_chains_are_served_within_the_budget_and_the_guest_is_interrupted),
    REGISTERS(D_PLUG6_the_config_space_says_plugged_before_the_answer_is_seen),
    REGISTERS(a_broken_queue_needs_a_reset),
};

int main(void)
{
    enum { SHAPES = sizeof(shapes) / sizeof(*shapes), EACH = sizeof(each) / sizeof(*each) };
    static struct CMUnitTest tests[SHAPES * EACH];
    static char names[SHAPES * EACH][160];
    size_t count = 0;

    for (size_t shape = 0; shape < SHAPES; shape++)
        for (size_t test = 0; test < EACH; test++) {
            snprintf(names[count], sizeof(names[count]), "%s (%s%s)", each[test].name,
                     shapes[shape].packed ? "packed" : "split",
                     shapes[shape].event_index ? ", event index, indirect" : "");
            tests[count] = (struct CMUnitTest){.name = names[count],
                                               .test_func = each[test].function,
                                               .setup_func = each[test].setup,
                                               .teardown_func = teardown,
                                               .initial_state = (void *)(uintptr_t)&shapes[shape]};
            count++;
        }
    return cmocka_run_group_tests_name("virtio-mem feeder", tests, NULL, NULL);
}
