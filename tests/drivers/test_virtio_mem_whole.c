/* SPDX-License-Identifier: MIT
 *
 * The virtio-mem driver against Pleat's own device, through real rings and registers: model memory, driver,
 * transport in the same process, virtqueue, feeder, device. What is tested is that the two halves, which
 * share nothing but wire formats, understand each other, whatever the device is configured to do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pleat/virtio_device.h>
#include <pleat/virtio_in_process.h>
#include <pleat/virtio_mem_device.h>
#include <pleat/virtio_mem_driver.h>
#include <pleat/virtio_mem_feeder.h>

#include "tests/support/driver_fixture.h"
#include "tests/support/random.h"

#define SHARED_PHYSICAL UINT64_C(0x20000)
enum { SHARED_BYTES = 4096, STEPS_MAX = 100000 };

struct whole {
    struct model_memory model;
    struct pleat_virtio_mem_device *device;
    struct pleat_virtio_device *registers;
    struct pleat_virtio_mem_feeder feeder;
    struct pleat_virtio_transport transport;
    struct pleat_virtio_mem_driver_config config;
    struct pleat_virtio_mem_driver *driver;
    struct test_random random;
    unsigned fault_percent;
    void *device_storage;
    uint8_t shared[SHARED_BYTES] __attribute__((aligned(64)));
};

/* --- Host ---------------------------------------------------------------------------------------------- */

static bool is_plugged(void *context, uint64_t address, uint64_t bytes)
{
    const struct whole *whole = context;
    return pleat_virtio_mem_device_is_plugged(whole->device, address - FIXTURE_ADDRESS, bytes);
}

static int host_map(void *context, uint64_t offset, uint64_t bytes)
{
    struct whole *whole = context;
    if (whole->fault_percent > 0 && test_random_below(&whole->random, 100) < whole->fault_percent) {
        return PLEAT_E_NO_MEMORY;
    }
    model_memory_plugged(&whole->model, FIXTURE_ADDRESS + offset, bytes);
    return 0;
}

static int host_unmap(void *context, uint64_t offset, uint64_t bytes)
{
    struct whole *whole = context;
    model_memory_check_unused(&whole->model, FIXTURE_ADDRESS + offset, bytes);
    return whole->fault_percent > 0 && test_random_below(&whole->random, 100) < whole->fault_percent
               ? PLEAT_E_NO_MEMORY
               : 0;
}

static void show_config(struct whole *whole, bool interrupt)
{
    struct pleat_virtio_mem_config space;
    pleat_virtio_mem_device_config_space(whole->device, &space);
    assert_int_equal(pleat_virtio_device_set_config(whole->registers, 0, &space, sizeof(space), interrupt),
                     0);
}

static void host_config_interrupt(void *context)
{
    show_config(context, true);
}

static const struct pleat_virtio_mem_device_ops host_ops = {
    .map = host_map, .unmap = host_unmap, .config_interrupt = host_config_interrupt};

/* --- Registers ----------------------------------------------------------------------------------------- */

static bool accept_features(void *context, uint64_t features)
{
    struct whole *whole = context;
    return pleat_virtio_mem_device_accept(whole->device, features) == 0;
}

static void serve(struct whole *whole)
{
    (void)pleat_virtio_mem_feeder_serve(&whole->feeder, 0, 100);
}

static void driver_ok(void *context)
{
    serve(context);
}

static void notified(void *context, uint16_t index)
{
    assert_int_equal(index, 0);
    serve(context);
}

static void reset(void *context)
{
    struct whole *whole = context;
    assert_int_equal(pleat_virtio_mem_device_reset(whole->device), 0);
    pleat_virtio_device_complete_reset(whole->registers);
}

static const struct pleat_virtio_device_handler handler = {
    .accept_features = accept_features, .driver_ok = driver_ok, .notify = notified, .reset = reset};

static void *guest_pointer(void *context, uint64_t physical, uint64_t length, bool write)
{
    struct whole *whole = context;
    (void)write;
    if (physical < SHARED_PHYSICAL || length > SHARED_BYTES ||
        physical - SHARED_PHYSICAL > SHARED_BYTES - length) {
        return NULL;
    }
    return whole->shared + (physical - SHARED_PHYSICAL);
}

static void interrupt(void *context, uint32_t cause, uint16_t queue)
{
    struct whole *whole = context;
    (void)queue;
    if (whole->driver != NULL) {
        pleat_virtio_mem_driver_interrupt(whole->driver, cause);
    }
}

/* Faults on the way, besides those of the host. */
static int handle(void *context, const void *request, size_t request_bytes,
                  uint8_t response[PLEAT_VIRTIO_MEM_RESPONSE_BYTES])
{
    struct whole *whole = context;
    if (test_random_below(&whole->random, 100) < whole->fault_percent) {
        if (test_random_below(&whole->random, 2) == 0) {
            return PLEAT_E_TIMEOUT;
        }
        memset(response, 0, PLEAT_VIRTIO_MEM_RESPONSE_BYTES);
        pleat_write_le16(response, (uint16_t)(1 + test_random_below(&whole->random, 3)));
        return pleat_read_le16(response);
    }
    return pleat_virtio_mem_device_handle(whole->device, request, request_bytes, response);
}

/* --- Together ------------------------------------------------------------------------------------------ */

static void make_device(struct whole *whole, const struct pleat_virtio_mem_device_config *config)
{
    const size_t bytes = pleat_virtio_mem_device_storage_bytes(config);
    assert_int_not_equal(bytes, 0);
    whole->device_storage = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_int_equal(pleat_virtio_mem_device_create(config, &host_ops, whole, whole->device_storage, bytes,
                                                    &whole->device),
                     0);
    const struct pleat_virtio_device_config registers = {
        .device_id = PLEAT_VIRTIO_MEM_DEVICE_ID,
        .features = pleat_virtio_mem_device_features(whole->device) | PLEAT_VIRTIO_F_RING_PACKED |
                    PLEAT_VIRTIO_F_EVENT_IDX | PLEAT_VIRTIO_F_INDIRECT_DESC,
        .queues = 1,
        .queue_size_max = {64},
        .config_bytes = PLEAT_VIRTIO_MEM_CONFIG_BYTES,
        .memory = {.guest_pointer = guest_pointer, .context = whole},
        .handler = &handler,
        .handler_context = whole,
        .interrupt = interrupt,
        .interrupt_context = whole};
    assert_int_equal(pleat_virtio_device_create(&registers, &whole->registers), 0);
    whole->transport = pleat_virtio_in_process(whole->registers);
    pleat_virtio_mem_feeder_init(&whole->feeder, whole->device);
    whole->feeder.registers = whole->registers;
    whole->feeder.handle = handle;
    whole->feeder.handle_context = whole;
    show_config(whole, false);
}

static void make_driver(struct whole *whole)
{
    struct pleat_virtio_mem_driver_needs needs;
    assert_int_equal(pleat_virtio_mem_driver_measure(&whole->transport, &whole->model.memory, &needs), 0);
    whole->config.memory = &whole->model.memory;
    whole->config.transport = &whole->transport;
    whole->config.storage = aligned_alloc(64, needs.storage_bytes);
    whole->config.storage_bytes = needs.storage_bytes;
    whole->config.shared = whole->shared;
    whole->config.shared_physical = SHARED_PHYSICAL;
    whole->config.shared_bytes = SHARED_BYTES;
    whole->config.floor_bytes = PLEAT_VIRTIO_MEM_OFF;
    assert_int_equal(pleat_virtio_mem_driver_create(&whole->config, &whole->driver), 0);
}

static struct whole *begin(uint64_t features_refused, uint32_t device_flags, uint64_t block_bytes)
{
    struct whole *whole = aligned_alloc(64, (sizeof(*whole) + 63) / 64 * 64);
    assert_non_null(whole);
    memset(whole, 0, sizeof(*whole));
    test_random_seed(&whole->random, 1);
    const struct model_shape shape = {.address = FIXTURE_ADDRESS,
                                      .bytes = FIXTURE_REGION,
                                      .block_bytes = FIXTURE_BLOCK,
                                      .piece_bytes = FIXTURE_PIECE,
                                      .metadata_bytes = FIXTURE_METADATA};
    model_memory_init(&whole->model, &shape);
    whole->model.is_plugged = is_plugged;
    whole->model.context = whole;
    const struct pleat_virtio_mem_device_config config = {.address = FIXTURE_ADDRESS,
                                                          .region_bytes = FIXTURE_REGION,
                                                          .block_bytes = block_bytes,
                                                          .usable_extra_bytes = 1 * MIB,
                                                          .flags = device_flags};
    make_device(whole, &config);
    whole->config.features_refused = features_refused;
    make_driver(whole);
    return whole;
}

static void end(struct whole *whole)
{
    assert_true(pleat_virtio_mem_device_is_valid(whole->device));
    pleat_virtio_device_destroy(whole->registers);
    pleat_virtio_mem_device_destroy(whole->device);
    free(whole->device_storage);
    free(whole->config.storage);
    model_memory_free(&whole->model);
    free(whole);
}

static enum pleat_virtio_mem_wake step(struct whole *whole)
{
    const enum pleat_virtio_mem_wake wake = pleat_virtio_mem_driver_step(whole->driver, 0);
    assert_true(pleat_virtio_mem_driver_is_valid(whole->driver));
    model_memory_check(&whole->model);
    return wake;
}

static void run(struct whole *whole)
{
    const uint64_t end_ns = whole->model.clock_ns + UINT64_C(100000000000);
    for (unsigned steps = 0;; steps++) {
        assert_true(steps < STEPS_MAX);
        const enum pleat_virtio_mem_wake wake = step(whole);
        if (wake == PLEAT_VIRTIO_MEM_WAKE_NOW) {
            continue;
        }
        if (wake != PLEAT_VIRTIO_MEM_WAKE_AT_TIME || whole->model.clock_ns > end_ns) {
            return;
        }
        whole->model.clock_ns = pleat_virtio_mem_driver_wake_ns(whole->driver);
    }
}

static void request(struct whole *whole, uint64_t bytes)
{
    assert_int_equal(pleat_virtio_mem_device_set_requested(whole->device, bytes), 0);
    run(whole);
}

static void assert_at(struct whole *whole, uint64_t bytes)
{
    char line[256];
    struct pleat_virtio_mem_status status;
    pleat_virtio_mem_driver_status(whole->driver, &status);
    if (pleat_virtio_mem_driver_reason(whole->driver, line, sizeof(line)) != PLEAT_VIRTIO_MEM_REASON_NONE) {
        fail_msg("%s", line);
    }
    assert_int_equal(status.plugged_bytes, bytes);
    assert_int_equal(status.ready_bytes, bytes);
    assert_int_equal(pleat_virtio_mem_device_plugged_bytes(whole->device), bytes);
    const uint64_t block = status.block_bytes;
    for (uint64_t offset = 0; offset < FIXTURE_REGION; offset += block) {
        assert_int_equal(pleat_virtio_mem_driver_is_plugged(whole->driver, FIXTURE_ADDRESS + offset),
                         pleat_virtio_mem_device_is_plugged(whole->device, offset, block));
    }
}

/* --- Tests --------------------------------------------------------------------------------------------- */

static const uint64_t layouts[] = {
    0,
    PLEAT_VIRTIO_F_EVENT_IDX,
    PLEAT_VIRTIO_F_RING_PACKED,
    PLEAT_VIRTIO_F_RING_PACKED | PLEAT_VIRTIO_F_EVENT_IDX,
};

static void V_OP8_both_halves_agree_over_every_ring_layout(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {3 * MIB, 8 * MIB, 64 * KIB, 0, 2 * MIB + 448 * KIB, 1 * MIB, 0};
    for (unsigned layout = 0; layout < 4; layout++) {
        struct whole *whole = begin(layouts[layout], 0, 64 * KIB);
        run(whole);
        for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            request(whole, sizes[i]);
            assert_at(whole, sizes[i]);
        }
        end(whole);
    }
}

static void V_OP9_a_usable_region_that_grows_with_the_request_is_followed(void **state)
{
    (void)state;
    struct whole *whole = begin(0, PLEAT_VIRTIO_MEM_DEVICE_USABLE_EXACT, 64 * KIB);
    for (uint64_t bytes = 64 * KIB; bytes <= 8 * MIB; bytes += 448 * KIB) {
        request(whole, bytes);
        assert_at(whole, bytes);
    }
    end(whole);
}

static void large_device_blocks_work(void **state)
{
    (void)state;
    struct whole *whole = begin(0, 0, 4 * MIB);
    request(whole, 8 * MIB);
    assert_at(whole, 8 * MIB);
    request(whole, 4 * MIB);
    assert_at(whole, 4 * MIB);
    end(whole);
}

static void X8_a_device_that_refuses_to_go_below_the_request_is_no_obstacle(void **state)
{
    (void)state;
    struct whole *whole = begin(0, PLEAT_VIRTIO_MEM_DEVICE_REFUSE_UNREQUESTED, 64 * KIB);
    request(whole, 4 * MIB);
    assert_at(whole, 4 * MIB);
    request(whole, 1 * MIB);
    assert_at(whole, 1 * MIB);
    /* Giving back is refused by the device, and the guest keeps what it has. */
    assert_int_equal(pleat_virtio_mem_driver_detach_begin(whole->driver, PLEAT_VIRTIO_MEM_DETACH_GIVE_BACK),
                     0);
    run(whole);
    assert_int_equal(pleat_virtio_mem_driver_detach_result(whole->driver, NULL, 0), PLEAT_E_REFUSED);
    assert_at(whole, 1 * MIB);
    request(whole, 0);
    assert_int_equal(pleat_virtio_mem_driver_detach_begin(whole->driver, PLEAT_VIRTIO_MEM_DETACH_GIVE_BACK),
                     0);
    run(whole);
    assert_int_equal(pleat_virtio_mem_driver_detach_result(whole->driver, NULL, 0), 0);
    end(whole);
}

static void V_INIT1_a_driver_without_the_promise_is_refused_and_says_so(void **state)
{
    (void)state;
    struct whole *whole = begin(UINT64_C(1) << PLEAT_VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE, 0, 64 * KIB);
    run(whole);
    assert_int_equal(pleat_virtio_mem_driver_reason(whole->driver, NULL, 0),
                     PLEAT_VIRTIO_MEM_REASON_UNSUPPORTED);
    end(whole);
}

static void X12_a_new_guest_adopts_what_the_old_one_left(void **state)
{
    (void)state;
    struct whole *whole = begin(0, 0, 64 * KIB);
    request(whole, 5 * MIB + 192 * KIB);
    assert_at(whole, 5 * MIB + 192 * KIB);
    const struct model_shape shape = {.address = FIXTURE_ADDRESS,
                                      .bytes = FIXTURE_REGION,
                                      .block_bytes = FIXTURE_BLOCK,
                                      .piece_bytes = FIXTURE_PIECE,
                                      .metadata_bytes = FIXTURE_METADATA};
    model_memory_free(&whole->model);
    model_memory_init(&whole->model, &shape);
    whole->model.is_plugged = is_plugged;
    whole->model.context = whole;
    free(whole->config.storage);
    whole->driver = NULL;
    make_driver(whole);
    run(whole);
    assert_at(whole, 5 * MIB + 192 * KIB);
    struct pleat_virtio_mem_statistics statistics;
    pleat_virtio_mem_driver_statistics(whole->driver, &statistics);
    assert_int_equal(statistics.plugged_bytes, 0);
    assert_int_equal(statistics.unplugged_bytes, 0);
    end(whole);
}

static void random_sizes_with_faults_on_the_way_converge(void **state)
{
    (void)state;
    uint64_t seed;
    for (unsigned number = 0; test_random_seed_number(number, 1, 40, &seed); number++) {
        struct whole *whole = begin(layouts[seed % 4], 0, seed % 3 == 0 ? 16 * KIB : 64 * KIB);
        test_random_seed(&whole->random, seed);
        for (unsigned i = 0; i < 40; i++) {
            whole->fault_percent = (unsigned)test_random_below(&whole->random, 30);
            model_allocate(&whole->model, test_random_below(&whole->random, whole->model.frames),
                           test_random_below(&whole->random, 60), MODEL_MOVABLE);
            const uint64_t subs = test_random_below(&whole->random, 129);
            assert_int_equal(pleat_virtio_mem_device_set_requested(whole->device, subs * FIXTURE_PIECE), 0);
            for (uint64_t steps = test_random_below(&whole->random, 20); steps > 0; steps--) {
                (void)step(whole);
                whole->model.clock_ns += test_random_below(&whole->random, 2) * UINT64_C(10000000000);
            }
        }
        whole->fault_percent = 0;
        run(whole);
        struct pleat_virtio_mem_status status;
        pleat_virtio_mem_driver_status(whole->driver, &status);
        if (status.phase == PLEAT_VIRTIO_MEM_GIVEN_UP) {
            assert_int_equal(pleat_virtio_mem_driver_attach(whole->driver), 0);
            run(whole);
        }
        request(whole, 3 * MIB);
        request(whole, 2 * MIB);
        assert_at(whole, 2 * MIB);
        end(whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(V_OP8_both_halves_agree_over_every_ring_layout),
        cmocka_unit_test(V_OP9_a_usable_region_that_grows_with_the_request_is_followed),
        cmocka_unit_test(large_device_blocks_work),
        cmocka_unit_test(X8_a_device_that_refuses_to_go_below_the_request_is_no_obstacle),
        cmocka_unit_test(V_INIT1_a_driver_without_the_promise_is_refused_and_says_so),
        cmocka_unit_test(X12_a_new_guest_adopts_what_the_old_one_left),
        cmocka_unit_test(random_sizes_with_faults_on_the_way_converge),
    };
    return cmocka_run_group_tests_name("virtio-mem driver and device", tests, NULL, NULL);
}
