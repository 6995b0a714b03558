/* SPDX-License-Identifier: MIT
 *
 * A random run of the virtio-mem driver against the model memory and the scripted device: sizes change,
 * frames come and go, an administrator onlines and offlines, the guest restarts, and the device answers
 * BUSY, NACK, ERROR, nonsense or not at all, whether or not it has done what it was asked.
 *
 * After every step the driver's invariants and the memory's rules hold (the model memory and the device stop
 * the program at the first breach). Whenever the driver is quiet, its books and the device's blocks agree.
 * When all faults are over and nothing is in the way, the driver comes to the target.
 *
 * A failing seed is printed; PLEAT_SEED=n runs it alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "tests/support/driver_fixture.h"
#include "tests/support/random.h"

enum { SEEDS = 150, OPERATIONS = 250 };

struct run {
    struct test_random random;
    struct fixture *fixture;
    struct fixture_shape shape;
    unsigned fault_percent;
};

static uint64_t below(struct run *run, uint64_t limit)
{
    return test_random_below(&run->random, limit);
}

static bool percent(struct run *run, unsigned chance)
{
    return below(run, 100) < chance;
}

static uint64_t one_of(struct run *run, const uint64_t *values, unsigned count)
{
    return values[below(run, count)];
}

/* --- The device's faults ------------------------------------------------------------------------------- */

static enum script_action random_fault(void *context, const struct scripted_request *request,
                                       struct scripted_answer *answer)
{
    struct run *run = context;
    (void)request;
    if (!percent(run, run->fault_percent)) {
        return SCRIPT_HONEST;
    }
    switch (below(run, 8)) {
    case 0:
    case 1:
        scripted_answer(answer, PLEAT_VIRTIO_MEM_RESP_BUSY, 0);
        return SCRIPT_ANSWER;
    case 2:
        scripted_answer(answer, PLEAT_VIRTIO_MEM_RESP_NACK, 0);
        return SCRIPT_ANSWER;
    case 3:
        scripted_answer(answer, PLEAT_VIRTIO_MEM_RESP_ERROR, 0);
        return SCRIPT_ANSWER;
    case 4:
        scripted_answer(answer, PLEAT_VIRTIO_MEM_RESP_ERROR, 0);
        return SCRIPT_DO_ANSWER;
    case 5:
        return SCRIPT_SILENT;
    case 6:
        return SCRIPT_DO_SILENT;
    default:
        scripted_answer(answer, (unsigned)below(run, 2) * 77, 5);
        answer->length = (uint32_t)below(run, 2) * 10;
        return percent(run, 50) ? SCRIPT_ANSWER : SCRIPT_DO_ANSWER;
    }
}

/* An ACK of nothing done, or a STATE that isn't so, can't be told from the truth: not among the faults. */
static enum script_action believable_fault(void *context, const struct scripted_request *request,
                                           struct scripted_answer *answer)
{
    const enum script_action action = random_fault(context, request, answer);
    const bool lies = action == SCRIPT_ANSWER && answer->length == 10 && pleat_read_le16(answer->bytes) == 0;
    return lies ? SCRIPT_HONEST : action;
}

/* --- The shape of things ------------------------------------------------------------------------------- */

static void choose_shape(struct run *run)
{
    static const uint64_t device_blocks[] = {16 * KIB, 64 * KIB, 64 * KIB, 256 * KIB, MIB, 2 * MIB};
    static const uint64_t metadata[] = {FIXTURE_METADATA, 4 * KIB, 64 * KIB, UINT64_MAX};
    struct fixture_shape *shape = &run->shape;
    memset(shape, 0, sizeof(*shape));
    shape->device_block_bytes = one_of(run, device_blocks, 6);
    shape->metadata_bytes = one_of(run, metadata, 4);
    shape->region_bytes = (2 + 2 * below(run, 4)) * MIB;
    if (shape->device_block_bytes < MIB && percent(run, 20)) {
        shape->region_offset = below(run, MIB / shape->device_block_bytes) * shape->device_block_bytes;
    }
}

static void create(struct run *run)
{
    struct fixture *f = run->fixture;
    f->config.start = percent(run, 20) ? PLEAT_VIRTIO_MEM_START_UNPLUG_ALL : PLEAT_VIRTIO_MEM_START_ADOPT;
    f->config.resets_max = 1000000;
    f->device.torn_reads = 0;
    f->model.online_on_add = percent(run, 80);
    fixture_create(f);
}

static void begin(struct run *run, uint64_t seed)
{
    test_random_seed(&run->random, seed);
    choose_shape(run);
    run->fixture = fixture_prepare(&run->shape);
    run->fault_percent = percent(run, 30) ? 0 : (unsigned)below(run, 30);
    run->fixture->device.script = believable_fault;
    run->fixture->device.script_context = run;
    run->fixture->device.refuse_below_request = percent(run, 20);
    if (percent(run, 40)) {
        run->fixture->device.features_offered |= PLEAT_VIRTIO_F_RING_PACKED;
    }
    if (percent(run, 20)) {
        run->fixture->device.usable_bytes =
            below(run, run->shape.region_bytes / run->fixture->device.block_bytes + 1) *
            run->fixture->device.block_bytes;
    }
    create(run);
}

/* --- Operations ---------------------------------------------------------------------------------------- */

static void request(struct run *run)
{
    struct scripted_device *device = &run->fixture->device;
    scripted_device_request(device,
                            below(run, device->region_bytes / device->block_bytes + 1) * device->block_bytes);
}

static void administrate(struct run *run)
{
    struct model_memory *model = &run->fixture->model;
    const uint64_t blocks = model->frames * MODEL_FRAME_BYTES / model->memory.block_bytes;
    const uint64_t address = model->address + below(run, blocks) * model->memory.block_bytes;
    (void)(percent(run, 60) ? model_online(model, address) : model_offline(model, address));
}

static void disturb_memory(struct run *run)
{
    static const enum model_frame kinds[] = {MODEL_MOVABLE, MODEL_MOVABLE, MODEL_UNMOVABLE, MODEL_PINNED};
    struct model_memory *model = &run->fixture->model;
    switch (below(run, 4)) {
    case 0:
        model_release(model, below(run, model->frames), below(run, 400));
        pleat_virtio_mem_driver_memory_changed(run->fixture->driver);
        break;
    case 1:
        if (run->fault_percent > 0) {
            model_fail(model, (enum model_call)below(run, MODEL_CALLS), PLEAT_E_NO_MEMORY,
                       (unsigned)below(run, 5), (unsigned)below(run, 3));
        }
        break;
    default:
        model_allocate(model, below(run, model->frames), below(run, 200), kinds[below(run, 4)]);
        break;
    }
}

static void leave_and_come_back(struct run *run)
{
    struct fixture *f = run->fixture;
    const enum pleat_virtio_mem_phase phase = fixture_status(f).phase;
    if (phase == PLEAT_VIRTIO_MEM_DETACHED || phase == PLEAT_VIRTIO_MEM_GIVEN_UP) {
        assert_int_equal(pleat_virtio_mem_driver_attach(f->driver), 0);
        return;
    }
    (void)pleat_virtio_mem_driver_detach_begin(
        f->driver, percent(run, 50) ? PLEAT_VIRTIO_MEM_DETACH_LEAVE : PLEAT_VIRTIO_MEM_DETACH_GIVE_BACK);
}

static void restart_guest(struct run *run)
{
    fixture_restart_guest(run->fixture);
    create(run);
}

static void disturb_device(struct run *run)
{
    struct scripted_device *device = &run->fixture->device;
    switch (below(run, 4)) {
    case 0:
        device->deferred = !device->deferred;
        break;
    case 1:
        device->torn_reads = (unsigned)below(run, 40);
        break;
    case 2:
        device->reset_polls = (unsigned)below(run, 4);
        break;
    default:
        if (run->fault_percent > 0 && percent(run, 30)) {
            device->status |= PLEAT_VIRTIO_STATUS_NEEDS_RESET;
        }
        device->interrupts |= PLEAT_VIRTIO_INTERRUPT_CONFIG;
        break;
    }
    if (!device->deferred || percent(run, 50)) {
        scripted_device_run(device);
    }
}

static bool is_quiet(const struct run *run)
{
    const struct pleat_virtio_mem_status status = fixture_status(run->fixture);
    return run->fixture->wake != PLEAT_VIRTIO_MEM_WAKE_NOW && !status.in_flight &&
           status.phase == PLEAT_VIRTIO_MEM_WORKING;
}

static void some_steps(struct run *run)
{
    static const uint64_t budgets[] = {1, 1, 8 * KIB, 64 * KIB, 0};
    struct fixture *f = run->fixture;
    for (uint64_t i = below(run, 12); i > 0; i--) {
        (void)fixture_step(f, one_of(run, budgets, 5));
        if (f->wake == PLEAT_VIRTIO_MEM_WAKE_AT_TIME && percent(run, 60)) {
            const uint64_t wake_ns = pleat_virtio_mem_driver_wake_ns(f->driver);
            f->model.clock_ns = wake_ns > f->model.clock_ns ? wake_ns : f->model.clock_ns;
        }
    }
    if (is_quiet(run)) {
        fixture_assert_agree(f);
    }
}

static void operate(struct run *run)
{
    switch (below(run, 20)) {
    case 0:
    case 1:
    case 2:
        request(run);
        break;
    case 3:
    case 4:
        administrate(run);
        break;
    case 5:
    case 6:
    case 7:
        disturb_memory(run);
        break;
    case 8:
        disturb_device(run);
        break;
    case 9:
        if (percent(run, 20)) {
            leave_and_come_back(run);
        }
        break;
    case 10:
        if (percent(run, 10)) {
            restart_guest(run);
        }
        break;
    default:
        break;
    }
    some_steps(run);
}

/* --- The end ------------------------------------------------------------------------------------------- */

static void make_peace(struct run *run)
{
    struct fixture *f = run->fixture;
    run->fault_percent = 0;
    f->device.deferred = false;
    f->device.torn_reads = 0;
    f->device.refuse_below_request = false;
    f->device.usable_bytes = f->device.region_bytes;
    /* A NACK lasts until the config changes. */
    scripted_device_request(&f->device, f->device.requested_bytes == 0 ? f->device.block_bytes : 0);
    f->device.status &= (uint8_t)~PLEAT_VIRTIO_STATUS_NEEDS_RESET;
    scripted_device_run(&f->device);
    memset(f->model.times, 0, sizeof(f->model.times));
    model_release(&f->model, 0, f->model.frames);
    f->model.online_on_add = true;
    fixture_run(f);
    if (fixture_status(f).phase == PLEAT_VIRTIO_MEM_DETACHED) {
        assert_int_equal(pleat_virtio_mem_driver_attach(f->driver), 0);
    }
    (void)pleat_virtio_mem_driver_detach_cancel(f->driver);
    pleat_virtio_mem_driver_memory_changed(f->driver);
    fixture_run(f);
}

/* A target that can be met: whole subblocks, in units, as many as metadata leaves sense in. */
static uint64_t reachable_target(struct run *run)
{
    const struct pleat_virtio_mem_status status = fixture_status(run->fixture);
    const uint64_t subs = status.units * status.unit_bytes / status.subblock_bytes;
    return below(run, subs + 1) * status.subblock_bytes;
}

/* With metadata that fills subblocks whole, a unit of metadata alone is neither plugged nor left. */
static uint64_t tolerance(const struct run *run)
{
    return run->shape.metadata_bytes == 64 * KIB ? 64 * KIB : 0;
}

static void converge(struct run *run)
{
    struct fixture *f = run->fixture;
    for (unsigned i = 0; i < 4; i++) {
        const uint64_t target = reachable_target(run);
        fixture_request(f, target);
        const uint64_t plugged = fixture_status(f).plugged_bytes;
        fixture_assert_agree(f);
        if (plugged != target &&
            (fixture_reason(f) != PLEAT_VIRTIO_MEM_REASON_REMAINDER ||
             (plugged > target ? plugged - target : target - plugged) > tolerance(run))) {
            fail_msg("%s", fixture_line(f));
        }
    }
    fixture_request(f, 0);
    fixture_assert_at(f, 0);
}

static void a_random_run_keeps_to_the_rules_and_converges(void **state)
{
    (void)state;
    uint64_t seed;
    for (unsigned number = 0; test_random_seed_number(number, 1, SEEDS, &seed); number++) {
        struct run run;
        begin(&run, seed);
        for (unsigned i = 0; i < OPERATIONS; i++) {
            operate(&run);
        }
        make_peace(&run);
        converge(&run);
        fixture_free(run.fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_random_run_keeps_to_the_rules_and_converges),
    };
    return cmocka_run_group_tests_name("virtio-mem driver: random", tests, NULL, NULL);
}
