/* SPDX-License-Identifier: MIT
 *
 * The virtio-mem driver and a device that is silent, broken or hostile: whatever it does, memory that the
 * guest uses stays plugged and untouched, and the driver either gets back to work or ends with a reason.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/driver_fixture.h"

#define SECOND_NS UINT64_C(1000000000)

/* --- X6: silence --------------------------------------------------------------------------------------- */

static void silence(bool carried_out, uint64_t first, uint64_t then)
{
    struct script_plan plan;
    struct fixture *f = fixture_start(NULL, first);
    script_plan_answer(&f->device, &plan, PLUGS | UNPLUGS, 0, 1, 0);
    plan.action = carried_out ? SCRIPT_DO_SILENT : SCRIPT_SILENT;
    scripted_device_request(&f->device, then);
    fixture_run_until_waiting(f);
    assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_AT_TIME);
    assert_int_equal(pleat_virtio_mem_driver_wake_ns(f->driver), f->model.clock_ns + 30 * SECOND_NS);
    /* One nanosecond before the time-out nothing happens. */
    f->model.clock_ns += 30 * SECOND_NS - 1;
    fixture_run_until_waiting(f);
    assert_int_equal(f->device.resets, 1);
    f->model.clock_ns += 1;
    fixture_run(f);
    fixture_assert_at(f, then);
    assert_int_equal(f->device.resets, 2);
    assert_int_equal(fixture_statistics(f).resets, 1);
    /* What was in doubt was asked before anything else. */
    const struct scripted_request *lost = NULL;
    for (unsigned i = 0; i < f->device.logged; i++) {
        if (f->device.log[i].answer == 99) {
            lost = &f->device.log[i];
        }
    }
    assert_non_null(lost);
    assert_int_equal(lost[1].type, PLEAT_VIRTIO_MEM_REQ_STATE);
    assert_int_equal(lost[1].address, lost[0].address);
    assert_int_equal(lost[1].blocks, lost[0].blocks);
    fixture_free(f);
}

static void X6_silence_leads_to_a_reset_to_STATE_and_on(void **state)
{
    (void)state;
    silence(false, 1 * MIB, 3 * MIB);
    silence(true, 1 * MIB, 3 * MIB);
    silence(false, 3 * MIB, 1 * MIB);
    silence(true, 3 * MIB, 1 * MIB);
    silence(true, 3 * MIB, 2 * MIB + 512 * KIB);
}

/* The device stops the program where shared memory changes between reset_begin and the end of the reset. */
static void X6_no_buffer_is_used_again_before_the_reset_is_complete(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    script_plan_answer(&f->device, &plan, PLUGS, 0, 1, 0);
    plan.action = SCRIPT_SILENT;
    f->device.reset_polls = 50;
    fixture_request(f, 3 * MIB);
    fixture_assert_at(f, 3 * MIB);
    fixture_free(f);
}

static void X6_a_reset_that_never_ends_is_said_and_waited_for(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    script_plan_answer(&f->device, &plan, PLUGS, 0, 1, 0);
    plan.action = SCRIPT_SILENT;
    f->device.reset_polls = FOREVER;
    scripted_device_request(&f->device, 3 * MIB);
    for (unsigned i = 0; i < 70; i++) {
        fixture_run_until_waiting(f);
        assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_AT_TIME);
        f->model.clock_ns += SECOND_NS;
    }
    assert_int_equal(f->device.resets, 2);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_SILENT);
    assert_string_equal(fixture_line(f),
                        "held up at 1 MiB of 3 MiB wanted: device silent: it doesn't complete a reset");
    assert_int_equal(model_count(&f->model, MODEL_FREE) * MODEL_FRAME_BYTES, 1 * MIB - FIXTURE_METADATA);
    f->device.reset_polls_left = 0;
    fixture_run(f);
    fixture_assert_at(f, 3 * MIB);
    fixture_free(f);
}

static void X6_a_device_that_stays_silent_is_given_up_and_memory_stays(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    script_plan_answer(&f->device, &plan, PLUGS | UNPLUGS | STATES, 0, FOREVER, 0);
    plan.action = SCRIPT_SILENT;
    scripted_device_request(&f->device, 3 * MIB);
    for (unsigned i = 0; i < 10; i++) {
        fixture_run(f);
    }
    assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_NEVER);
    assert_int_equal(fixture_status(f).phase, PLEAT_VIRTIO_MEM_GIVEN_UP);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_SILENT);
    assert_string_equal(fixture_line(f),
                        "given up at 1 MiB of 3 MiB wanted: device silent: no response in time");
    assert_int_equal(f->device.resets, 6);
    assert_int_equal(fixture_status(f).ready_bytes, 1 * MIB);
    assert_int_equal(pleat_virtio_mem_driver_detach_begin(f->driver, PLEAT_VIRTIO_MEM_DETACH_GIVE_BACK),
                     PLEAT_E_STATE);
    /* It gets well; somebody says so. */
    f->device.script = NULL;
    fixture_attach(f);
    fixture_assert_at(f, 3 * MIB);
    fixture_free(f);
}

static void X6_the_timeout_can_be_turned_off(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->config.response_timeout_ns = PLEAT_VIRTIO_MEM_OFF;
    fixture_create(f);
    fixture_run(f);
    f->device.deferred = true;
    fixture_request(f, 1 * MIB);
    assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_ON_INTERRUPT);
    f->model.clock_ns += 100000 * SECOND_NS;
    fixture_run(f);
    assert_int_equal(f->device.resets, 1);
    f->device.deferred = false;
    scripted_device_run(&f->device);
    fixture_run(f);
    fixture_assert_at(f, 1 * MIB);
    fixture_free(f);
}

static void giving_back_to_a_device_that_goes_silent_ends_too(void **state)
{
    (void)state;
    char line[256];
    struct script_plan plan;
    struct fixture *f = fixture_start(NULL, 2 * MIB);
    script_plan_answer(&f->device, &plan, UNPLUGS | STATES, 0, FOREVER, 0);
    plan.action = SCRIPT_SILENT;
    assert_int_equal(pleat_virtio_mem_driver_detach_begin(f->driver, PLEAT_VIRTIO_MEM_DETACH_GIVE_BACK), 0);
    for (unsigned i = 0; i < 10; i++) {
        fixture_run(f);
    }
    assert_int_equal(pleat_virtio_mem_driver_detach_result(f->driver, line, sizeof(line)), PLEAT_E_DEVICE);
    assert_non_null(strstr(line, "device silent"));
    /* Leaving is still possible. */
    assert_int_equal(pleat_virtio_mem_driver_detach_begin(f->driver, PLEAT_VIRTIO_MEM_DETACH_LEAVE), 0);
    fixture_run(f);
    assert_int_equal(pleat_virtio_mem_driver_detach_result(f->driver, line, sizeof(line)), 0);
    fixture_free(f);
}

/* --- Responses that can't be --------------------------------------------------------------------------- */

/* The first may be a mishap; a device that needs another at once is left in peace for a while. */
static void the_second_reset_in_a_row_waits(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    script_plan_answer(&f->device, &plan, PLUGS | STATES, 0, 3, 77);
    scripted_device_request(&f->device, 3 * MIB);
    fixture_run_until_waiting(f);
    assert_int_equal(plan.seen, 2);
    assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_AT_TIME);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_PROTOCOL);
    assert_int_equal(fixture_statistics(f).resets, 1);
    fixture_run(f);
    fixture_assert_at(f, 3 * MIB);
    assert_int_equal(fixture_statistics(f).resets, 3);
    fixture_free(f);
}

static void responses_that_cant_be_lead_to_a_reset_and_to_STATE(void **state)
{
    (void)state;
    static const struct {
        unsigned type, answer_state;
        uint32_t written, length;
        unsigned to;
    } rows[] = {
        {4, 0, 10, 10, PLUGS},                        /* no such type */
        {0xffff, 0, 10, 10, PLUGS | UNPLUGS},         /* likewise */
        {PLEAT_VIRTIO_MEM_RESP_ACK, 0, 0, 0, PLUGS},  /* nothing was written */
        {PLEAT_VIRTIO_MEM_RESP_ACK, 0, 10, 0, PLUGS}, /* nothing, it says */
        {PLEAT_VIRTIO_MEM_RESP_ACK, 0, 0, 10, PLUGS}, /* something, it says; what lay there isn't an answer */
        {PLEAT_VIRTIO_MEM_RESP_ACK, 0, 1, 1, UNPLUGS}, /* half a type */
        {PLEAT_VIRTIO_MEM_RESP_ACK, 0, 10, 1, UNPLUGS},
        {PLEAT_VIRTIO_MEM_RESP_ACK, 3, 10, 10, STATES}, /* no such state */
        {PLEAT_VIRTIO_MEM_RESP_ACK, 0, 8, 8, STATES},   /* no state at all */
        {PLEAT_VIRTIO_MEM_RESP_ACK, 0, 10, 8, STATES},
        {PLEAT_VIRTIO_MEM_RESP_ACK, 0, 0, 0, STATES},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (unsigned carried_out = 0; carried_out < 2; carried_out++) {
            struct script_plan plan;
            struct fixture *f = fixture_start(NULL, 2 * MIB);
            script_plan_answer(&f->device, &plan, rows[i].to, 0, 2, 0);
            scripted_answer(&plan.answer, rows[i].type, rows[i].answer_state);
            plan.answer.written = rows[i].written;
            plan.answer.length = rows[i].length;
            plan.action = carried_out ? SCRIPT_DO_ANSWER : SCRIPT_ANSWER;
            if (rows[i].to == STATES) {
                assert_int_equal(fixture_detach(f, PLEAT_VIRTIO_MEM_DETACH_LEAVE), 0);
                assert_int_equal(pleat_virtio_mem_driver_attach(f->driver), 0);
            }
            fixture_request(f, 3 * MIB);
            fixture_request(f, 1 * MIB);
            fixture_request(f, 3 * MIB);
            fixture_assert_at(f, 3 * MIB);
            const struct pleat_virtio_mem_statistics statistics = fixture_statistics(f);
            uint64_t malformed = 0;
            for (unsigned type = 0; type < 4; type++) {
                malformed += statistics.requests[type][PLEAT_VIRTIO_MEM_ANSWER_MALFORMED];
            }
            assert_int_equal(malformed, 2);
            fixture_free(f);
        }
    }
}

static void one_block_that_is_MIXED_cant_be(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    script_plan_answer(&f->device, &plan, STATES, 0, FOREVER, PLEAT_VIRTIO_MEM_RESP_ACK);
    scripted_answer(&plan.answer, PLEAT_VIRTIO_MEM_RESP_ACK, PLEAT_VIRTIO_MEM_STATE_MIXED);
    assert_int_equal(pleat_virtio_mem_driver_detach_begin(f->driver, PLEAT_VIRTIO_MEM_DETACH_LEAVE), 0);
    fixture_run(f);
    fixture_attach(f);
    fixture_run(f);
    assert_int_equal(fixture_status(f).phase, PLEAT_VIRTIO_MEM_GIVEN_UP);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_PROTOCOL);
    assert_non_null(strstr(fixture_line(f), "one block is MIXED"));
    assert_int_equal(fixture_status(f).ready_bytes, 1 * MIB);
    fixture_free(f);
}

static void memory_in_use_that_is_said_to_be_unplugged_ends_it_untouched(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_start(NULL, 2 * MIB);
    script_plan_answer(&f->device, &plan, STATES, 0, FOREVER, PLEAT_VIRTIO_MEM_RESP_ACK);
    scripted_answer(&plan.answer, PLEAT_VIRTIO_MEM_RESP_ACK, PLEAT_VIRTIO_MEM_STATE_UNPLUGGED);
    assert_int_equal(pleat_virtio_mem_driver_detach_begin(f->driver, PLEAT_VIRTIO_MEM_DETACH_LEAVE), 0);
    fixture_run(f);
    fixture_attach(f);
    assert_int_equal(fixture_status(f).phase, PLEAT_VIRTIO_MEM_GIVEN_UP);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_LOST);
    assert_non_null(strstr(fixture_line(f), "memory in use is unplugged, it says"));
    assert_int_equal(fixture_status(f).ready_bytes, 2 * MIB);
    assert_int_equal(model_count(&f->model, MODEL_FREE) * MODEL_FRAME_BYTES, 2 * MIB - 2 * FIXTURE_METADATA);
    fixture_free(f);
}

static void a_usable_region_that_shrinks_below_memory_in_use_is_found_out(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 2 * MIB);
    f->device.usable_bytes = 1 * MIB;
    f->device.requested_bytes = 1 * MIB;
    assert_int_equal(pleat_virtio_mem_driver_detach_begin(f->driver, PLEAT_VIRTIO_MEM_DETACH_LEAVE), 0);
    fixture_run(f);
    fixture_attach(f);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_LOST);
    fixture_free(f);
}

/* --- The ring ------------------------------------------------------------------------------------------ */

/* Breaks the ring when the first request of a kind has been answered; the device's own side doesn't mind. */
struct vandal {
    struct fixture *fixture;
    unsigned how;
    unsigned times;
};

static void vandalise(void *context, const struct scripted_request *request)
{
    struct vandal *vandal = context;
    struct scripted_device *device = &vandal->fixture->device;
    const uint64_t at = device->queue_config.device_physical - device->shared_physical;
    (void)request;
    if (vandal->times == 0) {
        return;
    }
    vandal->times--;
    switch (vandal->how) {
    case 0: /* an index that jumps */
        pleat_write_le16(device->shared + at + 2, 0x7000);
        break;
    case 1: /* all of it */
        memset(device->shared + at, 0xff, 64);
        break;
    default: /* a chain that isn't out */
        pleat_write_le32(device->shared + at + 4, 3);
        pleat_write_le16(device->shared + at + 2, (uint16_t)(pleat_read_le16(device->shared + at + 2) + 1));
        break;
    }
}

static void a_broken_ring_leads_to_a_reset_and_on(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 3; how++) {
        struct fixture *f = fixture_prepare(NULL);
        struct vandal vandal = {f, how, 1};
        struct script_plan plan = {
            .types = PLUGS, .times = 1, .action = SCRIPT_DO_SILENT, .before = vandalise, .context = &vandal};
        f->device.features_offered = PLEAT_VIRTIO_F_VERSION_1;
        f->device.script = script_plan;
        f->device.script_context = &plan;
        fixture_go(f, 3 * MIB);
        fixture_assert_at(f, 3 * MIB);
        assert_int_equal(fixture_statistics(f).resets, 1);
        /* It was found at once, not by waiting. */
        assert_true(f->model.clock_ns < 20 * SECOND_NS);
        fixture_free(f);
    }
}

static void a_ring_that_is_broken_again_and_again_ends_it(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    struct vandal vandal = {f, 1, FOREVER};
    struct script_plan plan = {.types = PLUGS | STATES,
                               .times = FOREVER,
                               .action = SCRIPT_SILENT,
                               .before = vandalise,
                               .context = &vandal};
    f->device.script = script_plan;
    f->device.script_context = &plan;
    fixture_request(f, 3 * MIB);
    fixture_run(f);
    assert_int_equal(fixture_status(f).phase, PLEAT_VIRTIO_MEM_GIVEN_UP);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_PROTOCOL);
    assert_non_null(strstr(fixture_line(f), "protocol broken: the ring is broken"));
    assert_int_equal(fixture_status(f).ready_bytes, 1 * MIB);
    fixture_free(f);
}

static void a_device_that_asks_to_be_reset_is_reset(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    f->device.status |= PLEAT_VIRTIO_STATUS_NEEDS_RESET;
    fixture_request(f, 3 * MIB);
    fixture_assert_at(f, 3 * MIB);
    assert_int_equal(f->device.resets, 2);
    fixture_free(f);
}

/* --- Config changes in mid-request -----------------------------------------------------------------------
 */

static void the_target_may_change_while_a_request_is_with_the_device(void **state)
{
    (void)state;
    static const uint64_t targets[] = {0, 512 * KIB, 1 * MIB, 1 * MIB + 64 * KIB, 4 * MIB, 8 * MIB};
    for (unsigned from = 0; from < 6; from++) {
        for (unsigned to = 0; to < 6; to++) {
            struct fixture *f = fixture_start(NULL, 2 * MIB);
            f->device.deferred = true;
            scripted_device_request(&f->device, targets[from]);
            fixture_run_until_waiting(f);
            scripted_device_request(&f->device, targets[to]);
            fixture_run_until_waiting(f);
            f->device.deferred = false;
            scripted_device_run(&f->device);
            fixture_run(f);
            fixture_assert_at(f, targets[to]);
            fixture_free(f);
        }
    }
}

static void a_fixed_field_that_changes_in_mid_request_leads_to_a_reset(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 2 * MIB);
    f->device.deferred = true;
    scripted_device_request(&f->device, 1 * MIB);
    fixture_run_until_waiting(f);
    f->device.region_bytes = 4 * MIB;
    f->device.usable_bytes = 4 * MIB;
    pleat_virtio_mem_driver_interrupt(f->driver, PLEAT_VIRTIO_INTERRUPT_CONFIG);
    (void)fixture_step(f, 1);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_CONFIG);
    assert_non_null(strstr(fixture_line(f), "region_size has changed"));
    f->device.region_bytes = 8 * MIB;
    f->device.usable_bytes = 8 * MIB;
    f->device.deferred = false;
    fixture_run(f);
    fixture_assert_at(f, 1 * MIB);
    fixture_free(f);
}

static void node_id_that_changes_is_a_fault_with_ACPI_PXM(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->device.features_offered |= UINT64_C(1) << PLEAT_VIRTIO_MEM_F_ACPI_PXM;
    fixture_create(f);
    fixture_run(f);
    f->device.node = 1;
    scripted_device_request(&f->device, 1 * MIB);
    (void)fixture_step(f, 1);
    assert_non_null(strstr(fixture_line(f), "node_id has changed"));
    f->device.node = 0;
    fixture_run(f);
    fixture_assert_at(f, 1 * MIB);
    fixture_free(f);
}

/* --- Books ---------------------------------------------------------------------------------------------- */

static void a_plugged_size_that_contradicts_the_books_is_looked_into(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    /* The device plugs by itself, which it mustn't; the next comparison finds it. */
    for (unsigned i = 0; i < 16; i++) {
        f->device.plugged[5 * 16 + i] = true;
    }
    fixture_request(f, 4 * MIB);
    assert_int_equal(fixture_status(f).plugged_bytes, scripted_device_plugged_bytes(&f->device));
    fixture_assert_agree(f);
    fixture_free(f);
}

static void a_plugged_size_that_lies_for_good_is_left_at_that(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    f->device.plugged_lie = 64 * KIB;
    fixture_request(f, 2 * MIB);
    assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_ON_INTERRUPT);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_NONE);
    assert_non_null(strstr(f->model.last_line, "plugged_size contradicts what STATE says"));
    fixture_request(f, 3 * MIB);
    assert_int_equal(fixture_status(f).plugged_bytes, 3 * MIB);
    fixture_free(f);
}

/* --- An administrator in between -------------------------------------------------------------------------
 */

/* Calls of the memory during which an administrator onlines or offlines a block, as if on another CPU. */
struct meddler {
    struct fixture *fixture;
    struct pleat_memory_ops ops;
    unsigned at_call;
    unsigned calls;
    uint64_t address;
};

static struct meddler meddler;

static void meddle(void)
{
    struct model_memory *model = &meddler.fixture->model;
    if (meddler.calls++ != meddler.at_call) {
        return;
    }
    if (model_state(model, meddler.address) == PLEAT_BLOCK_OFFLINE) {
        (void)model_online(model, meddler.address);
    } else if (model_state(model, meddler.address) == PLEAT_BLOCK_ONLINE) {
        (void)model_offline(model, meddler.address);
    }
}

static int meddled_map(void *context, uint64_t address, uint64_t bytes)
{
    meddle();
    const int error = meddler.ops.map(context, address, bytes);
    meddle();
    return error;
}

static int meddled_give(void *context, const struct pleat_memory_owner *owner, uint64_t address,
                        uint64_t bytes)
{
    meddle();
    const int error = meddler.ops.give(context, owner, address, bytes);
    meddle();
    return error;
}

static int meddled_remove(void *context, const struct pleat_memory_owner *owner, uint64_t address,
                          uint64_t bytes)
{
    meddle();
    return meddler.ops.remove(context, owner, address, bytes);
}

static int meddled_look(void *context, uint64_t address, uint64_t bytes, struct pleat_memory_look *look)
{
    meddle();
    return meddler.ops.look(context, address, bytes, look);
}

static int meddled_take_begin(void *context, struct pleat_memory_job *job,
                              const struct pleat_memory_owner *owner, enum pleat_take_kind kind,
                              uint64_t address, uint64_t bytes, uint64_t deadline_ns)
{
    meddle();
    return meddler.ops.take_begin(context, job, owner, kind, address, bytes, deadline_ns);
}

static void online_and_offline_requests_at_any_moment_do_no_harm(void **state)
{
    (void)state;
    for (unsigned at = 0; at < 120; at++) {
        struct fixture *f = fixture_start(NULL, 1 * MIB + 512 * KIB);
        if (at % 3 == 0) {
            assert_int_equal(model_offline(&f->model, FIXTURE_ADDRESS + MIB), 0);
        }
        meddler = (struct meddler){.fixture = f,
                                   .ops = f->model.ops,
                                   .at_call = at / 6,
                                   .address = FIXTURE_ADDRESS + (at % 2) * MIB};
        f->model.ops.map = meddled_map;
        f->model.ops.give = meddled_give;
        f->model.ops.remove = meddled_remove;
        f->model.ops.look = meddled_look;
        f->model.ops.take_begin = meddled_take_begin;
        f->model.online_on_add = at % 5 != 0;
        fixture_request(f, 2 * MIB);
        fixture_request(f, 1 * MIB + 128 * KIB);
        fixture_request(f, 1 * MIB + 256 * KIB);
        fixture_assert_at(f, 1 * MIB + 256 * KIB);
        fixture_request(f, 0);
        fixture_assert_at(f, 0);
        fixture_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(X6_silence_leads_to_a_reset_to_STATE_and_on),
        cmocka_unit_test(X6_no_buffer_is_used_again_before_the_reset_is_complete),
        cmocka_unit_test(X6_a_reset_that_never_ends_is_said_and_waited_for),
        cmocka_unit_test(X6_a_device_that_stays_silent_is_given_up_and_memory_stays),
        cmocka_unit_test(X6_the_timeout_can_be_turned_off),
        cmocka_unit_test(giving_back_to_a_device_that_goes_silent_ends_too),
        cmocka_unit_test(the_second_reset_in_a_row_waits),
        cmocka_unit_test(responses_that_cant_be_lead_to_a_reset_and_to_STATE),
        cmocka_unit_test(one_block_that_is_MIXED_cant_be),
        cmocka_unit_test(memory_in_use_that_is_said_to_be_unplugged_ends_it_untouched),
        cmocka_unit_test(a_usable_region_that_shrinks_below_memory_in_use_is_found_out),
        cmocka_unit_test(a_broken_ring_leads_to_a_reset_and_on),
        cmocka_unit_test(a_ring_that_is_broken_again_and_again_ends_it),
        cmocka_unit_test(a_device_that_asks_to_be_reset_is_reset),
        cmocka_unit_test(the_target_may_change_while_a_request_is_with_the_device),
        cmocka_unit_test(a_fixed_field_that_changes_in_mid_request_leads_to_a_reset),
        cmocka_unit_test(node_id_that_changes_is_a_fault_with_ACPI_PXM),
        cmocka_unit_test(a_plugged_size_that_contradicts_the_books_is_looked_into),
        cmocka_unit_test(a_plugged_size_that_lies_for_good_is_left_at_that),
        cmocka_unit_test(online_and_offline_requests_at_any_moment_do_no_harm),
    };
    return cmocka_run_group_tests_name("virtio-mem driver: recovery", tests, NULL, NULL);
}
