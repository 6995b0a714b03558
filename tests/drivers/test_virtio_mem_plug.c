/* SPDX-License-Identifier: MIT
 *
 * The virtio-mem driver grows: where it plugs, in which order, and what it does when it can't.
 *
 * Pictures are of units of 16 subblocks: M holds the unit's metadata, # is plugged, . isn't.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "tests/support/driver_fixture.h"

static void V_OP8_requested_size_is_followed(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 3 * MIB);
    fixture_assert_at(f, 3 * MIB);
    fixture_request(f, 5 * MIB + 192 * KIB);
    fixture_assert_at(f, 5 * MIB + 192 * KIB);
    fixture_request(f, 1 * MIB + 192 * KIB);
    fixture_assert_at(f, 1 * MIB + 192 * KIB);
    fixture_request(f, 0);
    fixture_assert_at(f, 0);
    assert_int_equal(fixture_status(f).units_added, 0);
    fixture_free(f);
}

static void V_OP8_requested_size_is_followed_when_it_changes_in_mid_work(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 0);
    scripted_device_request(&f->device, 8 * MIB);
    for (unsigned i = 0; i < 3; i++) {
        (void)fixture_step(f, 1);
    }
    assert_in_range(fixture_status(f).plugged_bytes, 0, 7 * MIB);
    fixture_request(f, 2 * MIB);
    fixture_assert_at(f, 2 * MIB);
    fixture_free(f);
}

/* Is the n-th request of this type, with these bounds? */
static void assert_request(const struct fixture *f, unsigned n, unsigned type, uint64_t address,
                           uint64_t blocks)
{
    assert_in_range(n, 0, f->device.logged - 1);
    assert_int_equal(f->device.log[n].type, type);
    assert_int_equal(f->device.log[n].address, address);
    assert_int_equal(f->device.log[n].blocks, blocks);
}

static void neighbouring_blocks_are_one_request_up_to_a_unit(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 4 * MIB);
    assert_int_equal(f->device.logged, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_request(f, i, PLEAT_VIRTIO_MEM_REQ_PLUG, FIXTURE_ADDRESS + i * MIB, 16);
    }
    fixture_free(f);
}

/*   unit 0            unit 1
 *   M###............  ................   at 256 KiB
 *   M###++++++++++++  ................   the first helping fills it
 *   M###############  M...............   and only then the next one is opened                          */
static void partly_plugged_units_are_filled_first(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 256 * KIB);
    fixture_assert_at(f, 256 * KIB);
    fixture_request(f, 1 * MIB + 64 * KIB);
    assert_int_equal(f->device.logged, 3);
    assert_request(f, 1, PLEAT_VIRTIO_MEM_REQ_PLUG, FIXTURE_ADDRESS + 256 * KIB, 12);
    assert_request(f, 2, PLEAT_VIRTIO_MEM_REQ_PLUG, FIXTURE_ADDRESS + 1 * MIB, 1);
    fixture_assert_at(f, 1 * MIB + 64 * KIB);
    fixture_free(f);
}

/* The model memory stops the program at an add whose metadata isn't mapped. Here metadata takes two
 * subblocks; two alone are not worth a unit, three are. */
static void metadata_is_plugged_first_and_not_for_nothing(void **state)
{
    (void)state;
    const struct fixture_shape shape = {.metadata_bytes = 128 * KIB};
    struct fixture *f = fixture_start(&shape, 128 * KIB);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_REMAINDER);
    assert_int_equal(f->device.logged, 0);
    fixture_request(f, 192 * KIB);
    fixture_assert_at(f, 192 * KIB);
    assert_request(f, 0, PLEAT_VIRTIO_MEM_REQ_PLUG, FIXTURE_ADDRESS, 3);
    assert_int_equal(model_count(&f->model, MODEL_METADATA) * MODEL_FRAME_BYTES, 128 * KIB);
    assert_int_equal(model_count(&f->model, MODEL_FREE) * MODEL_FRAME_BYTES, 64 * KIB);
    fixture_free(f);
}

static void V_OP9_only_the_usable_region_is_plugged(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->device.usable_bytes = 2 * MIB + 320 * KIB;
    fixture_go(f, 6 * MIB);
    assert_int_equal(fixture_status(f).plugged_bytes, 2 * MIB + 320 * KIB);
    for (unsigned i = 0; i < f->device.logged; i++) {
        const struct scripted_request *r = &f->device.log[i];
        assert_true(r->address + r->blocks * 64 * KIB <= FIXTURE_ADDRESS + 2 * MIB + 320 * KIB);
        assert_int_equal(r->answer, PLEAT_VIRTIO_MEM_RESP_ACK);
    }
    fixture_request(f, 6 * MIB + 64 * KIB);
    fixture_assert_at(f, 6 * MIB + 64 * KIB);
    fixture_free(f);
}

/* Device blocks of 16 KiB in subblocks of 64 KiB. */
static void V_OP10_what_is_less_than_a_subblock_is_left_and_said(void **state)
{
    (void)state;
    const struct fixture_shape shape = {.device_block_bytes = 16 * KIB};
    struct fixture *f = fixture_start(&shape, 1 * MIB + 80 * KIB);
    assert_int_equal(fixture_status(f).plugged_bytes, 1 * MIB + 64 * KIB);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_REMAINDER);
    assert_string_equal(fixture_line(f), "growth stopped at 1088 KiB of 1104 KiB wanted: "
                                         "the rest is less than can go at a time, 64 KiB");
    fixture_request(f, 1 * MIB + 16 * KIB);
    assert_int_equal(fixture_status(f).plugged_bytes, 1 * MIB + 64 * KIB);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_REMAINDER);
    fixture_assert_agree(f);
    fixture_free(f);
}

static void device_blocks_larger_than_memory_blocks_are_units(void **state)
{
    (void)state;
    const struct fixture_shape shape = {.device_block_bytes = 4 * MIB, .region_bytes = 16 * MIB};
    struct fixture *f = fixture_start(&shape, 8 * MIB);
    fixture_assert_at(f, 8 * MIB);
    assert_int_equal(fixture_status(f).unit_bytes, 4 * MIB);
    assert_int_equal(f->device.logged, 2);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(model_state(&f->model, FIXTURE_ADDRESS + i * MIB), PLEAT_BLOCK_ONLINE);
    }
    fixture_request(f, 4 * MIB);
    fixture_assert_at(f, 4 * MIB);
    assert_int_equal(model_state(&f->model, FIXTURE_ADDRESS + 4 * MIB), PLEAT_BLOCK_NONE);
    fixture_free(f);
}

/*        region
 *   ..xx|xxxxxxxx|xxxxxxxx|...      only whole memory blocks inside it are used                        */
static void a_region_that_isnt_aligned_is_used_between_its_ends(void **state)
{
    (void)state;
    const struct fixture_shape shape = {.region_offset = 512 * KIB, .region_bytes = 3 * MIB};
    struct fixture *f = fixture_start(&shape, 3 * MIB);
    assert_string_equal(f->model.last_line, "virtio-mem: growth stopped at 2 MiB of 3 MiB wanted: "
                                            "no subblock is left to plug in 3 MiB of usable region");
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_NO_ROOM);
    assert_int_equal(fixture_status(f).plugged_bytes, 2 * MIB);
    assert_int_equal(fixture_status(f).units, 2);
    assert_int_equal(fixture_status(f).first_unit_address, FIXTURE_ADDRESS + MIB);
    fixture_free(f);
}

static void a_region_above_the_highest_address_is_cut(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->model.memory.highest_address = FIXTURE_ADDRESS + 2 * MIB + 1;
    f->device.requested_bytes = 8 * MIB;
    fixture_create(f);
    assert_non_null(strstr(f->model.last_line, "isn't aligned"));
    fixture_run(f);
    assert_int_equal(fixture_status(f).plugged_bytes, 2 * MIB);
    f->model.memory.highest_address = FIXTURE_ADDRESS;
    fixture_restart_guest(f);
    f->model.memory.highest_address = FIXTURE_ADDRESS;
    fixture_create(f);
    assert_non_null(strstr(f->model.last_line, "no whole memory block"));
    fixture_run(f);
    assert_int_equal(fixture_status(f).units, 0);
    /* What was plugged can't be used by this guest, and is given back. */
    assert_int_equal(scripted_device_plugged_bytes(&f->device), 0);
    fixture_free(f);
}

/* --- The guest's side fails ---------------------------------------------------------------------------- */

static void memory_that_nobody_onlines_is_limited(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->model.online_on_add = false;
    f->config.offline_limit_bytes = 2 * MIB;
    fixture_go(f, 8 * MIB);
    assert_int_equal(fixture_status(f).plugged_bytes, 2 * MIB);
    assert_int_equal(fixture_status(f).offline_bytes, 2 * MIB);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_OFFLINE);
    assert_string_equal(fixture_line(f), "growth stopped at 2 MiB of 8 MiB wanted: "
                                         "2 MiB are added and not online; online them first");
    assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_ON_INTERRUPT);

    /* The administrator onlines one of them: one more is added, and no more. */
    assert_int_equal(model_online(&f->model, FIXTURE_ADDRESS), 0);
    fixture_run(f);
    assert_int_equal(fixture_status(f).plugged_bytes, 3 * MIB);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_OFFLINE);
    for (unsigned i = 1; i < 8; i++) {
        assert_int_equal(model_online(&f->model, FIXTURE_ADDRESS + i * MIB), 0);
        fixture_run(f);
    }
    fixture_assert_at(f, 8 * MIB);
    fixture_free(f);
}

static void the_default_limit_is_1_GiB_or_two_units(void **state)
{
    (void)state;
    const struct fixture_shape shape = {
        .device_block_bytes = 512 * MIB, .block_bytes = 512 * MIB, .region_bytes = 2048 * MIB};
    struct fixture *f = fixture_prepare(&shape);
    f->model.online_on_add = false;
    f->device.requested_bytes = 2048 * MIB;
    fixture_create(f);
    while (fixture_reason(f) != PLEAT_VIRTIO_MEM_REASON_OFFLINE) {
        (void)pleat_virtio_mem_driver_step(f->driver, 0);
    }
    assert_int_equal(fixture_status(f).plugged_bytes, 1024 * MIB);
    fixture_free(f);
}

static void force_online_isnt_limited(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->model.online_on_add = false;
    f->config.offline_limit_bytes = 1 * MIB;
    f->config.add_flags = PLEAT_ADD_FORCE_ONLINE;
    fixture_go(f, 8 * MIB);
    fixture_assert_at(f, 8 * MIB);
    fixture_free(f);
}

static void partly_plugged_offline_units_are_filled_and_go_online_whole(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->model.online_on_add = false;
    fixture_go(f, 256 * KIB);
    fixture_request(f, 512 * KIB);
    fixture_assert_at(f, 512 * KIB);
    assert_int_equal(fixture_status(f).units_added, 1);
    assert_int_equal(model_online(&f->model, FIXTURE_ADDRESS), 0);
    assert_int_equal(model_count(&f->model, MODEL_FREE) * MODEL_FRAME_BYTES, 512 * KIB - FIXTURE_METADATA);
    fixture_request(f, 1 * MIB);
    fixture_assert_at(f, 1 * MIB);
    assert_int_equal(model_count(&f->model, MODEL_FREE) * MODEL_FRAME_BYTES, 1 * MIB - FIXTURE_METADATA);
    fixture_free(f);
}

/* What was plugged for a unit that can't be added goes back to the host, and is tried again later. */
static void a_unit_that_cant_be_added_is_given_back(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->device.requested_bytes = 3 * MIB;
    fixture_create(f);
    model_fail(&f->model, MODEL_ADD, PLEAT_E_NO_MEMORY, 1, 1);
    fixture_run_until_waiting(f);
    assert_int_equal(scripted_device_plugged_bytes(&f->device), 1 * MIB);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_NO_MEMORY);
    assert_string_equal(fixture_line(f), "growth stopped at 2 MiB of 3 MiB wanted: "
                                         "no room for metadata or page tables");
    fixture_run(f);
    fixture_assert_at(f, 3 * MIB);
    fixture_free(f);
}

static void a_map_that_fails_is_given_back_too(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 256 * KIB);
    model_fail(&f->model, MODEL_MAP, PLEAT_E_NO_MEMORY, 0, 2);
    scripted_device_request(&f->device, 3 * MIB);
    fixture_run_until_waiting(f);
    assert_int_equal(scripted_device_plugged_bytes(&f->device), 256 * KIB);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_NO_MEMORY);
    fixture_run(f);
    fixture_assert_at(f, 3 * MIB);
    fixture_free(f);
}

static void a_refused_add_is_said_with_its_error(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->device.requested_bytes = 1 * MIB;
    fixture_create(f);
    model_fail(&f->model, MODEL_ADD, PLEAT_E_EXISTS, 0, 1);
    fixture_run_until_waiting(f);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_REFUSED);
    assert_non_null(strstr(fixture_line(f), pleat_error_text(PLEAT_E_EXISTS)));
    fixture_run(f);
    fixture_assert_at(f, 1 * MIB);
    fixture_free(f);
}

static void memory_changed_ends_the_pause(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->device.requested_bytes = 1 * MIB;
    fixture_create(f);
    model_fail(&f->model, MODEL_ADD, PLEAT_E_NO_MEMORY, 0, 1);
    fixture_run_until_waiting(f);
    assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_AT_TIME);
    const uint64_t then_ns = f->model.clock_ns;
    pleat_virtio_mem_driver_memory_changed(f->driver);
    fixture_run_until_waiting(f);
    fixture_assert_at(f, 1 * MIB);
    assert_int_equal(f->model.clock_ns, then_ns);
    fixture_free(f);
}

/* Frees memory, as another CPU may do, in the very step that stops for lack of it. */
static struct pleat_virtio_mem_driver *to_be_told;

static void free_when_it_stops(void *context, int level, const char *line)
{
    (void)context;
    (void)level;
    if (to_be_told != NULL && strstr(line, "growth stopped") != NULL) {
        pleat_virtio_mem_driver_memory_changed(to_be_told);
        to_be_told = NULL;
    }
}

static void what_happens_during_a_step_isnt_slept_over(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->model.ops.log = free_when_it_stops;
    f->device.requested_bytes = 1 * MIB;
    fixture_create(f);
    to_be_told = f->driver;
    model_fail(&f->model, MODEL_ADD, PLEAT_E_NO_MEMORY, 0, 1);
    const uint64_t then_ns = f->model.clock_ns;
    while (to_be_told != NULL) {
        (void)fixture_step(f, 0);
    }
    assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_NOW);
    fixture_run_until_waiting(f);
    fixture_assert_at(f, 1 * MIB);
    assert_int_equal(f->model.clock_ns, then_ns);
    fixture_free(f);
}

/* --- The device's side says no -------------------------------------------------------------------------- */

static void BUSY_is_tried_again_with_pauses_that_double(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_prepare(NULL);
    f->config.retry_first_ns = 1000;
    f->config.retry_longest_ns = 5000;
    script_plan_answer(&f->device, &plan, PLUGS, 0, 5, PLEAT_VIRTIO_MEM_RESP_BUSY);
    f->device.requested_bytes = 1 * MIB;
    fixture_create(f);
    const uint64_t pauses[] = {1000, 2000, 4000, 5000, 5000};
    for (unsigned i = 0; i < 5; i++) {
        fixture_run_until_waiting(f);
        assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_AT_TIME);
        assert_int_equal(pleat_virtio_mem_driver_wake_ns(f->driver), f->model.clock_ns + pauses[i]);
        assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_BUSY);
        assert_string_equal(fixture_line(f), "held up at 0 bytes of 1 MiB wanted: the device is busy");
        /* Too early: nothing happens. */
        f->model.clock_ns += pauses[i] - 1;
        fixture_run_until_waiting(f);
        assert_int_equal(plan.seen, i + 1);
        f->model.clock_ns += 1;
    }
    fixture_run_until_waiting(f);
    fixture_assert_at(f, 1 * MIB);
    assert_int_equal(fixture_statistics(f).requests[PLEAT_VIRTIO_MEM_REQ_PLUG][PLEAT_VIRTIO_MEM_ANSWER_BUSY],
                     5);
    assert_int_equal(fixture_statistics(f).retries, 5);
    fixture_free(f);
}

static void NACK_stops_until_the_config_changes(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_prepare(NULL);
    script_plan_answer(&f->device, &plan, PLUGS, 2, 1, PLEAT_VIRTIO_MEM_RESP_NACK);
    fixture_go(f, 4 * MIB);
    assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_ON_INTERRUPT);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_NACK);
    assert_string_equal(fixture_line(f), "growth stopped at 2 MiB of 4 MiB wanted: the device refuses");
    assert_int_equal(plan.seen, 3);
    /* An interrupt without a change is no reason to try again (D-CFG11). */
    pleat_virtio_mem_driver_interrupt(f->driver, PLEAT_VIRTIO_INTERRUPT_CONFIG);
    fixture_run(f);
    assert_int_equal(plan.seen, 3);
    fixture_request(f, 5 * MIB);
    fixture_assert_at(f, 5 * MIB);
    fixture_free(f);
}

static void NACK_that_the_config_explains_is_no_stop(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->device.requested_bytes = 4 * MIB;
    fixture_create(f);
    f->device.deferred = true;
    fixture_run_until_waiting(f);
    /* The request for a whole MiB is on its way; now less is wanted, and no interrupt says so. */
    f->device.requested_bytes = 512 * KIB;
    f->device.deferred = false;
    scripted_device_run(&f->device);
    fixture_run(f);
    assert_int_equal(f->device.log[0].answer, PLEAT_VIRTIO_MEM_RESP_NACK);
    fixture_assert_at(f, 512 * KIB);
    fixture_free(f);
}

/* config_reads at the last PLUG and at the last STATE request. */
static unsigned reads_at[4];

static void note_reads(void *context, const struct scripted_request *request)
{
    const struct scripted_device *device = context;
    reads_at[request->type] = device->config_reads;
}

static void X7_ERROR_leads_to_config_STATE_and_on(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_prepare(NULL);
    script_plan_answer(&f->device, &plan, PLUGS, 1, 1, PLEAT_VIRTIO_MEM_RESP_ERROR);
    plan.before = note_reads;
    plan.context = &f->device;
    f->device.requested_bytes = 3 * MIB;
    fixture_create(f);
    while (f->device.logged < 3) {
        (void)fixture_step(f, 1);
    }
    /* Between the two, and not only once the work is done. */
    assert_true(reads_at[PLEAT_VIRTIO_MEM_REQ_STATE] > reads_at[PLEAT_VIRTIO_MEM_REQ_PLUG]);
    fixture_run(f);
    fixture_assert_at(f, 3 * MIB);
    /* STATE was asked about exactly what the ERROR was about; and the driver went on elsewhere. */
    assert_request(f, 1, PLEAT_VIRTIO_MEM_REQ_PLUG, FIXTURE_ADDRESS + 1 * MIB, 16);
    assert_request(f, 2, PLEAT_VIRTIO_MEM_REQ_STATE, FIXTURE_ADDRESS + 1 * MIB, 16);
    assert_request(f, 3, PLEAT_VIRTIO_MEM_REQ_PLUG, FIXTURE_ADDRESS + 2 * MIB, 16);
    fixture_free(f);
}

static void X7_ERROR_everywhere_is_tried_again_for_ever(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    script_plan_answer(&f->device, &plan, PLUGS, 0, 40, PLEAT_VIRTIO_MEM_RESP_ERROR);
    scripted_device_request(&f->device, 3 * MIB);
    for (unsigned i = 0; i < 20; i++) {
        fixture_run_until_waiting(f);
        assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_AT_TIME);
        assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_ERROR);
        f->model.clock_ns = pleat_virtio_mem_driver_wake_ns(f->driver);
    }
    for (unsigned i = 0; i < 20; i++) {
        fixture_run(f);
    }
    fixture_assert_at(f, 3 * MIB);
    fixture_free(f);
}

/* The device did plug, and says ERROR: STATE brings it to light, and the memory is used. */
static void X7_what_an_ERROR_has_plugged_is_used(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_prepare(NULL);
    script_plan_answer(&f->device, &plan, PLUGS, 0, 1, PLEAT_VIRTIO_MEM_RESP_ERROR);
    plan.action = SCRIPT_DO_ANSWER;
    fixture_go(f, 1 * MIB);
    fixture_assert_at(f, 1 * MIB);
    assert_int_equal(plan.seen, 1);
    fixture_free(f);
}

static void V_PLUG1_only_the_type_of_a_response_counts(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_prepare(NULL);
    script_plan_type_alone(&f->device, &plan, PLUGS);
    fixture_go(f, 2 * MIB);
    fixture_assert_at(f, 2 * MIB);
    assert_int_equal(plan.seen, 2);
    fixture_free(f);
}

/* --- Budgets and waking --------------------------------------------------------------------------------- */

static void a_step_with_the_smallest_budget_does_one_thing(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 0);
    scripted_device_request(&f->device, 8 * MIB);
    unsigned steps = 0;
    do {
        const unsigned before = f->device.logged;
        (void)fixture_step(f, 1);
        assert_in_range(f->device.logged - before, 0, 1);
        steps++;
    } while (f->wake == PLEAT_VIRTIO_MEM_WAKE_NOW);
    fixture_assert_at(f, 8 * MIB);
    assert_in_range(steps, 16, 64);
    fixture_free(f);
}

static void at_most_one_request_is_in_flight(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 0);
    f->device.deferred = true;
    scripted_device_request(&f->device, 8 * MIB);
    for (unsigned i = 1; i <= 8; i++) {
        fixture_run_until_waiting(f);
        assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_AT_TIME);
        (void)fixture_step(f, 0);
        assert_int_equal(f->device.logged, i - 1);
        scripted_device_run(&f->device);
        assert_int_equal(f->device.logged, i);
        /* Nothing else would wake the driver before the time-out. */
        assert_int_equal(f->device.interrupts & PLEAT_VIRTIO_INTERRUPT_QUEUE, PLEAT_VIRTIO_INTERRUPT_QUEUE);
    }
    fixture_run(f);
    fixture_assert_at(f, 8 * MIB);
    fixture_free(f);
}

static void count_wakes(void *context)
{
    ++*(unsigned *)context;
}

static void interrupts_only_note_and_wake(void **state)
{
    (void)state;
    unsigned wakes = 0;
    struct fixture *f = fixture_prepare(NULL);
    f->config.wake = count_wakes;
    f->config.context = &wakes;
    fixture_create(f);
    fixture_run(f);
    assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_ON_INTERRUPT);
    const unsigned before = wakes;
    f->device.requested_bytes = 1 * MIB;
    pleat_virtio_mem_driver_interrupt(f->driver, 0);
    assert_int_equal(wakes, before);
    pleat_virtio_mem_driver_interrupt(f->driver, PLEAT_VIRTIO_INTERRUPT_CONFIG);
    pleat_virtio_mem_driver_interrupt(f->driver, PLEAT_VIRTIO_INTERRUPT_QUEUE);
    pleat_virtio_mem_driver_memory_changed(f->driver);
    assert_int_equal(wakes, before + 3);
    assert_int_equal(f->device.logged, 0);
    fixture_run(f);
    fixture_assert_at(f, 1 * MIB);
    fixture_free(f);
}

static void without_a_clock_each_call_tries_again(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_prepare(NULL);
    f->model.ops.clock_ns = NULL;
    script_plan_answer(&f->device, &plan, PLUGS, 0, 3, PLEAT_VIRTIO_MEM_RESP_BUSY);
    f->device.requested_bytes = 1 * MIB;
    fixture_create(f);
    for (unsigned i = 1; i <= 3; i++) {
        (void)fixture_step(f, 0);
        assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_AT_TIME);
        assert_int_equal(pleat_virtio_mem_driver_wake_ns(f->driver), 0);
        assert_int_equal(plan.seen, i);
    }
    (void)fixture_step(f, 0);
    fixture_assert_at(f, 1 * MIB);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(V_OP8_requested_size_is_followed),
        cmocka_unit_test(V_OP8_requested_size_is_followed_when_it_changes_in_mid_work),
        cmocka_unit_test(neighbouring_blocks_are_one_request_up_to_a_unit),
        cmocka_unit_test(partly_plugged_units_are_filled_first),
        cmocka_unit_test(metadata_is_plugged_first_and_not_for_nothing),
        cmocka_unit_test(V_OP9_only_the_usable_region_is_plugged),
        cmocka_unit_test(V_OP10_what_is_less_than_a_subblock_is_left_and_said),
        cmocka_unit_test(device_blocks_larger_than_memory_blocks_are_units),
        cmocka_unit_test(a_region_that_isnt_aligned_is_used_between_its_ends),
        cmocka_unit_test(a_region_above_the_highest_address_is_cut),
        cmocka_unit_test(memory_that_nobody_onlines_is_limited),
        cmocka_unit_test(the_default_limit_is_1_GiB_or_two_units),
        cmocka_unit_test(force_online_isnt_limited),
        cmocka_unit_test(partly_plugged_offline_units_are_filled_and_go_online_whole),
        cmocka_unit_test(a_unit_that_cant_be_added_is_given_back),
        cmocka_unit_test(a_map_that_fails_is_given_back_too),
        cmocka_unit_test(a_refused_add_is_said_with_its_error),
        cmocka_unit_test(memory_changed_ends_the_pause),
        cmocka_unit_test(what_happens_during_a_step_isnt_slept_over),
        cmocka_unit_test(BUSY_is_tried_again_with_pauses_that_double),
        cmocka_unit_test(NACK_stops_until_the_config_changes),
        cmocka_unit_test(NACK_that_the_config_explains_is_no_stop),
        cmocka_unit_test(X7_ERROR_leads_to_config_STATE_and_on),
        cmocka_unit_test(X7_ERROR_everywhere_is_tried_again_for_ever),
        cmocka_unit_test(X7_what_an_ERROR_has_plugged_is_used),
        cmocka_unit_test(V_PLUG1_only_the_type_of_a_response_counts),
        cmocka_unit_test(a_step_with_the_smallest_budget_does_one_thing),
        cmocka_unit_test(at_most_one_request_is_in_flight),
        cmocka_unit_test(interrupts_only_note_and_wake),
        cmocka_unit_test(without_a_clock_each_call_tries_again),
    };
    return cmocka_run_group_tests_name("virtio-mem driver: plug", tests, NULL, NULL);
}
