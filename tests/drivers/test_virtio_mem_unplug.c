/* SPDX-License-Identifier: MIT
 *
 * The virtio-mem driver shrinks: what it takes first, what it leaves, and why it stops.
 *
 * Pictures are of units of 16 subblocks: M holds the unit's metadata, # is in use, o is plugged and free,
 * . isn't plugged.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/driver_fixture.h"

/* The n-th of all UNPLUG requests; NULL: there are fewer. */
static const struct scripted_request *unplug_request(const struct fixture *f, unsigned n)
{
    for (unsigned i = 0; i < f->device.logged; i++) {
        if (f->device.log[i].type == PLEAT_VIRTIO_MEM_REQ_UNPLUG && n-- == 0) {
            return &f->device.log[i];
        }
    }
    return NULL;
}

static void assert_unplug(const struct fixture *f, unsigned n, uint64_t address, uint64_t bytes)
{
    const struct scripted_request *request = unplug_request(f, n);
    assert_non_null(request);
    assert_int_equal(request->address, address);
    assert_int_equal(request->blocks * f->device.block_bytes, bytes);
}

static void use(struct fixture *f, uint64_t offset, uint64_t bytes, enum model_frame state)
{
    model_use(&f->model, FIXTURE_ADDRESS + offset, bytes, state);
}

/* A movable piece in the middle of each of the first subblocks. */
static void use_each_sub(struct fixture *f, unsigned subs, uint64_t bytes)
{
    for (unsigned i = 0; i < subs; i++) {
        use(f, i * 64 * KIB + 32 * KIB, bytes, MODEL_MOVABLE);
    }
}

/* --- Order --------------------------------------------------------------------------------------------- */

/* 128 MiB blocks, pieces and device blocks of 2 MiB, as in the field. */
static void one_GiB_of_free_memory_is_8_requests_and_no_work_by_frames(void **state)
{
    (void)state;
    const struct fixture_shape shape = {.device_block_bytes = 2 * MIB,
                                        .block_bytes = 128 * MIB,
                                        .piece_bytes = 2 * MIB,
                                        .metadata_bytes = 266496,
                                        .region_bytes = 2048 * MIB};
    struct fixture *f = fixture_prepare(&shape);
    f->device.requested_bytes = 2048 * MIB;
    fixture_create(f);
    enum pleat_virtio_mem_wake wake;
    do {
        wake = pleat_virtio_mem_driver_step(f->driver, 0);
    } while (wake == PLEAT_VIRTIO_MEM_WAKE_NOW);
    assert_int_equal(f->device.logged, 16);
    f->model.looks = 0;
    scripted_device_request(&f->device, 1024 * MIB);
    pleat_virtio_mem_driver_interrupt(f->driver, PLEAT_VIRTIO_INTERRUPT_CONFIG);
    do {
        wake = pleat_virtio_mem_driver_step(f->driver, 0);
    } while (wake == PLEAT_VIRTIO_MEM_WAKE_NOW);
    fixture_assert_at(f, 1024 * MIB);
    assert_int_equal(f->device.logged, 24);
    for (unsigned i = 0; i < 8; i++) {
        assert_unplug(f, i, FIXTURE_ADDRESS + (15 - i) * 128 * MIB, 128 * MIB);
    }
    assert_int_equal(f->model.looks, 8);
    assert_int_equal(f->model.calls[MODEL_TAKE_BEGIN], 8);
    assert_int_equal(f->model.moved_frames, 0);
    fixture_free(f);
}

/* What is moved shouldn't have to move again: the memory is told what the hunt is after. */
static void what_will_be_taken_is_named_before_anything_moves(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 4 * MIB);
    for (unsigned unit = 0; unit < 4; unit++) {
        use(f, unit * MIB + 512 * KIB, 4 * KIB, MODEL_MOVABLE);
    }
    fixture_request(f, 1 * MIB + 512 * KIB);
    assert_int_equal(f->model.leaving_address, FIXTURE_ADDRESS + 2 * MIB);
    assert_int_equal(f->model.leaving_address + f->model.leaving_bytes, FIXTURE_ADDRESS + FIXTURE_REGION);
    fixture_request(f, 0);
    assert_int_equal(f->model.leaving_address, FIXTURE_ADDRESS);
    assert_int_equal(f->model.leaving_bytes, FIXTURE_REGION);
    fixture_assert_at(f, 0);
    fixture_free(f);
}

/*   unit 0            unit 1            unit 2
 *   Moooooooooooooooo Moooooooooooooooo Mooo............   partly plugged and free: goes first, as a whole */
static void free_partly_plugged_units_go_before_full_ones(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 2 * MIB + 256 * KIB);
    fixture_request(f, 1 * MIB);
    fixture_assert_at(f, 1 * MIB);
    assert_unplug(f, 0, FIXTURE_ADDRESS + 2 * MIB, 256 * KIB);
    assert_unplug(f, 1, FIXTURE_ADDRESS + 1 * MIB, 1 * MIB);
    assert_null(unplug_request(f, 2));
    fixture_free(f);
}

/*   unit 0            unit 1
 *   Moo#ooooooooooooo Mo#o#ooooooo#ooo    512 KiB less: the run of 7 in the higher unit doesn't count
 *   Moo#ooooo........ Mo#o#ooooooo#ooo    as a bigger piece than 8 of the lower one                     */
static void free_subblocks_go_before_occupied_ones_and_bigger_runs_first(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 2 * MIB);
    use(f, 3 * 64 * KIB, 4 * KIB, MODEL_MOVABLE);
    use(f, 1 * MIB + 2 * 64 * KIB, 4 * KIB, MODEL_MOVABLE);
    use(f, 1 * MIB + 4 * 64 * KIB, 4 * KIB, MODEL_MOVABLE);
    use(f, 1 * MIB + 12 * 64 * KIB, 4 * KIB, MODEL_MOVABLE);
    fixture_request(f, 1 * MIB + 512 * KIB);
    fixture_assert_at(f, 1 * MIB + 512 * KIB);
    assert_int_equal(f->model.moved_frames, 0);
    assert_unplug(f, 0, FIXTURE_ADDRESS + 8 * 64 * KIB, 512 * KIB);
    assert_null(unplug_request(f, 1));
    /* Now more than is free in one piece: the rest of the runs, still without moving anything. */
    fixture_request(f, 512 * KIB);
    fixture_assert_at(f, 512 * KIB);
    assert_int_equal(f->model.moved_frames, 0);
    fixture_free(f);
}

/* With little more than metadata left, units end by going as a whole, metadata last. */
static void metadata_is_unplugged_last_with_its_unit(void **state)
{
    (void)state;
    const struct fixture_shape shape = {.metadata_bytes = 128 * KIB};
    struct fixture *f = fixture_start(&shape, 2 * MIB);
    use(f, 1 * MIB + 5 * 64 * KIB, 4 * KIB, MODEL_UNMOVABLE);
    fixture_request(f, 0);
    /* The unit with the unmovable frame keeps that subblock and its metadata, and nothing else. */
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_UNMOVABLE);
    assert_int_equal(fixture_status(f).plugged_bytes, 3 * 64 * KIB);
    assert_true(pleat_virtio_mem_driver_is_plugged(f->driver, FIXTURE_ADDRESS + 1 * MIB));
    assert_true(pleat_virtio_mem_driver_is_plugged(f->driver, FIXTURE_ADDRESS + 1 * MIB + 64 * KIB));
    assert_true(pleat_virtio_mem_driver_is_plugged(f->driver, FIXTURE_ADDRESS + 1 * MIB + 5 * 64 * KIB));
    use(f, 1 * MIB + 5 * 64 * KIB, 4 * KIB, MODEL_FREE);
    pleat_virtio_mem_driver_memory_changed(f->driver);
    fixture_run(f);
    fixture_assert_at(f, 0);
    fixture_free(f);
}

static void offline_units_go_first_and_cost_nothing(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 3 * MIB);
    assert_int_equal(model_offline(&f->model, FIXTURE_ADDRESS + 1 * MIB), 0);
    fixture_request(f, 2 * MIB + 512 * KIB);
    fixture_assert_at(f, 2 * MIB + 512 * KIB);
    assert_unplug(f, 0, FIXTURE_ADDRESS + 1 * MIB + 512 * KIB, 512 * KIB);
    assert_int_equal(f->model.calls[MODEL_TAKE_BEGIN], 0);
    /* What is left of it goes online without what was unplugged. */
    assert_int_equal(model_online(&f->model, FIXTURE_ADDRESS + 1 * MIB), 0);
    model_memory_check(&f->model);
    assert_int_equal(model_offline(&f->model, FIXTURE_ADDRESS + 1 * MIB), 0);
    fixture_request(f, 2 * MIB);
    fixture_assert_at(f, 2 * MIB);
    assert_int_equal(model_state(&f->model, FIXTURE_ADDRESS + 1 * MIB), PLEAT_BLOCK_NONE);
    assert_int_equal(f->model.calls[MODEL_TAKE_BEGIN], 0);
    fixture_free(f);
}

/* --- Evacuation ---------------------------------------------------------------------------------------- */

static void V_OP6_memory_in_use_is_evacuated_before_it_is_unplugged(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 2 * MIB);
    use_each_sub(f, 32, 4 * KIB);
    fixture_request(f, 0);
    fixture_assert_at(f, 0);
    assert_int_equal(f->model.moved_frames, 32);
    assert_int_equal(fixture_statistics(f).moved_bytes, 32 * 4 * KIB);
    fixture_free(f);
}

/* Four units with frames all over, two of them to go: each frame moves at most once. */
static void neighbouring_units_are_emptied_together(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 4 * MIB);
    f->model.elsewhere_free = 0;
    use_each_sub(f, 64, 8 * KIB);
    fixture_request(f, 2 * MIB);
    fixture_assert_at(f, 2 * MIB);
    assert_int_equal(f->model.moved_frames, 64);
    assert_int_equal(fixture_statistics(f).takes, 1);
    assert_unplug(f, 0, FIXTURE_ADDRESS + 3 * MIB, 1 * MIB);
    assert_unplug(f, 1, FIXTURE_ADDRESS + 2 * MIB, 1 * MIB);
    fixture_free(f);
}

static void several_at_once_that_fail_are_tried_one_by_one(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 4 * MIB);
    use_each_sub(f, 64, 4 * KIB);
    use(f, 2 * MIB + 640 * KIB, 4 * KIB, MODEL_PINNED);
    fixture_request(f, 2 * MIB);
    fixture_assert_at(f, 2 * MIB);
    assert_true(pleat_virtio_mem_driver_is_plugged(f->driver, FIXTURE_ADDRESS + 2 * MIB + 640 * KIB));
    fixture_free(f);
}

static void a_take_that_isnt_wanted_any_more_is_cancelled(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 2 * MIB);
    use_each_sub(f, 32, 4 * KIB);
    scripted_device_request(&f->device, 1 * MIB);
    while (f->model.isolated_bytes == 0) {
        (void)fixture_step(f, 1);
    }
    fixture_request(f, 2 * MIB);
    fixture_assert_at(f, 2 * MIB);
    assert_null(unplug_request(f, 0));
    assert_int_equal(f->model.isolated_bytes, 0);
    assert_int_equal(fixture_statistics(f).units_removed, 0);
    fixture_free(f);
}

static void a_long_evacuation_is_done_in_steps(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    use(f, 64 * KIB, 15 * 64 * KIB, MODEL_MOVABLE);
    scripted_device_request(&f->device, 0);
    unsigned steps = 0;
    do {
        const uint64_t before = f->model.moved_frames;
        (void)fixture_step(f, 16 * KIB);
        assert_in_range(f->model.moved_frames - before, 0, 4);
        /* How far it is can be seen all the while. */
        const struct pleat_virtio_mem_status status = fixture_status(f);
        const uint64_t moved_bytes = f->model.moved_frames * MODEL_FRAME_BYTES;
        assert_int_equal(fixture_statistics(f).moved_bytes, moved_bytes);
        assert_int_equal(status.evacuating_bytes, status.evacuating ? 1 * MIB : 0);
        assert_int_equal(status.evacuating_moved_bytes, status.evacuating ? moved_bytes : 0);
        steps++;
    } while (f->wake == PLEAT_VIRTIO_MEM_WAKE_NOW);
    fixture_assert_at(f, 0);
    assert_true(steps > 15 * 16 / 4);
    fixture_free(f);
}

/* --- Why it stops -------------------------------------------------------------------------------------- */

static void unmovable_frames_stop_it_with_who_and_where(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 256 * KIB);
    use(f, 2 * 64 * KIB + 16 * KIB, 12 * KIB, MODEL_UNMOVABLE);
    use(f, 3 * 64 * KIB, 8 * KIB, MODEL_UNMOVABLE);
    fixture_request(f, 64 * KIB);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_UNMOVABLE);
    assert_string_equal(fixture_line(f), "shrink stopped at 192 KiB of 64 KiB wanted: 5 frames unmovable, "
                                         "first at PFN 0x140024, owner \"slab\"");
    assert_non_null(strstr(f->model.last_line, fixture_line(f)));
    assert_int_equal(f->model.moved_frames, 0);
    /* It is tried again by itself, less and less often, and said once. */
    const unsigned lines = f->model.lines;
    fixture_run(f);
    assert_int_equal(f->model.lines, lines);
    assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_AT_TIME);
    model_use(&f->model, FIXTURE_ADDRESS + 2 * 64 * KIB, 128 * KIB, MODEL_FREE);
    fixture_run(f);
    fixture_assert_at(f, 64 * KIB);
    fixture_free(f);
}

static void pinned_frames_stop_it_with_who_and_where(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 256 * KIB);
    use(f, 64 * KIB + 16 * KIB, 4 * KIB, MODEL_PINNED);
    use(f, 2 * 64 * KIB, 4 * KIB, MODEL_PINNED);
    use(f, 3 * 64 * KIB, 4 * KIB, MODEL_PINNED);
    fixture_request(f, 0);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_PINNED);
    assert_non_null(strstr(fixture_line(f), "frames pinned, first at PFN 0x1400"));
    assert_non_null(strstr(fixture_line(f), "owner \"pinner\""));
    fixture_assert_agree(f);
    fixture_free(f);
}

/* A memory that tries pinned frames until the deadline doesn't keep the driver from looking elsewhere. */
static void pinned_frames_are_waited_for_a_little(void **state)
{
    (void)state;
    for (unsigned clock = 0; clock < 2; clock++) {
        struct fixture *f = fixture_start(NULL, 2 * MIB);
        f->model.pins_wait = true;
        if (clock == 0) {
            f->model.ops.clock_ns = NULL;
        }
        use(f, 1 * MIB + 64 * KIB, 4 * KIB, MODEL_PINNED);
        use(f, 512 * KIB, 4 * KIB, MODEL_UNMOVABLE);
        const uint64_t begin_ns = f->model.clock_ns;
        fixture_request(f, 192 * KIB);
        assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_UNMOVABLE);
        assert_int_equal(fixture_status(f).plugged_bytes, 4 * 64 * KIB);
        use(f, 512 * KIB, 4 * KIB, MODEL_FREE);
        pleat_virtio_mem_driver_memory_changed(f->driver);
        fixture_run(f);
        fixture_assert_at(f, 192 * KIB);
        fixture_request(f, 0);
        assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_PINNED);
        assert_non_null(strstr(fixture_line(f), "1 frame pinned"));
        /* It frees while it is waited for. */
        scripted_device_request(&f->device, 64 * KIB);
        while (!fixture_status(f).evacuating || f->wake != PLEAT_VIRTIO_MEM_WAKE_AT_TIME) {
            (void)fixture_step(f, 0);
        }
        use(f, 1 * MIB + 64 * KIB, 4 * KIB, MODEL_FREE);
        fixture_run(f);
        fixture_assert_at(f, 64 * KIB);
        assert_true(f->model.clock_ns > begin_ns);
        fixture_free(f);
    }
}

static void nowhere_to_move_to_stops_it(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    f->model.elsewhere_free = 0;
    use(f, 64 * KIB, 15 * 64 * KIB, MODEL_MOVABLE);
    fixture_request(f, 0);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_NO_MEMORY);
    assert_non_null(strstr(fixture_line(f), "nowhere to move content to"));
    fixture_free(f);
}

static void a_deadline_stops_it(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    use(f, 64 * KIB, 15 * 64 * KIB, MODEL_MOVABLE);
    f->model.tick_ns = UINT64_C(11000000000);
    scripted_device_request(&f->device, 0);
    for (unsigned i = 0; fixture_reason(f) != PLEAT_VIRTIO_MEM_REASON_SLOW; i++) {
        assert_true(i < 1000);
        (void)fixture_step(f, 16 * KIB);
    }
    f->model.tick_ns = 0;
    fixture_run(f);
    fixture_assert_at(f, 0);
    fixture_free(f);
}

static void a_refusal_in_the_guest_stops_it(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    model_fail(&f->model, MODEL_TAKE_BEGIN, PLEAT_E_BUSY, 0, FOREVER);
    fixture_request(f, 0);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_REFUSED);
    assert_non_null(strstr(fixture_line(f), pleat_error_text(PLEAT_E_BUSY)));
    model_fail(&f->model, MODEL_TAKE_BEGIN, 0, 0, 0);
    fixture_run(f);
    fixture_assert_at(f, 0);
    fixture_free(f);
}

static void a_refusal_at_the_end_of_a_take_leaves_all_in_use(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    model_fail(&f->model, MODEL_TAKE_STEP, PLEAT_E_REFUSED, 0, 3);
    fixture_request(f, 0);
    fixture_assert_at(f, 0);
    assert_int_equal(fixture_statistics(f).takes_failed, 3);
    fixture_free(f);
}

/* 1 MiB elsewhere is free, 2 MiB are the device's, 1.5 MiB is the floor. */
static void X14_a_shrink_stops_at_the_floor_and_goes_on_when_memory_frees_up(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->config.floor_bytes = 1536 * KIB;
    f->model.elsewhere_free = 256;
    fixture_go(f, 2 * MIB);
    fixture_request(f, 0);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_FLOOR);
    assert_non_null(strstr(fixture_line(f), "the guest would have less than 1536 KiB free"));
    const uint64_t free = f->model.ops.free_bytes(&f->model);
    assert_in_range(free, 1536 * KIB, 1536 * KIB + 64 * KIB);
    f->model.elsewhere_free += 512;
    pleat_virtio_mem_driver_memory_changed(f->driver);
    fixture_run(f);
    fixture_assert_at(f, 0);
    fixture_free(f);
}

static void X14_the_default_floor_is_64_MiB(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->config.floor_bytes = 0;
    f->model.elsewhere_free = 64 * 256 - 1;
    fixture_go(f, 1 * MIB);
    fixture_request(f, 0);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_FLOOR);
    assert_non_null(strstr(fixture_line(f), "less than 64 MiB free"));
    f->model.elsewhere_free += 64;
    fixture_run(f);
    fixture_assert_at(f, 0);
    fixture_free(f);
}

static void X14_no_floor_without_a_count_of_free_memory(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->config.floor_bytes = 1024 * MIB;
    f->model.ops.free_bytes = NULL;
    fixture_go(f, 1 * MIB);
    fixture_request(f, 0);
    fixture_assert_at(f, 0);
    fixture_free(f);
}

static void plug_only_says_so_when_asked_to_shrink(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->model.ops.take_begin = NULL;
    f->model.ops.take_step = NULL;
    f->model.ops.take_cancel = NULL;
    f->model.ops.take_report = NULL;
    f->model.ops.look = NULL;
    f->model.ops.remove = NULL;
    fixture_go(f, 2 * MIB);
    fixture_assert_at(f, 2 * MIB);
    fixture_request(f, 1 * MIB);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_PLUG_ONLY);
    assert_string_equal(fixture_line(f),
                        "shrink stopped at 2 MiB of 1 MiB wanted: this guest can't take memory back");
    assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_ON_INTERRUPT);
    fixture_request(f, 3 * MIB);
    fixture_assert_at(f, 3 * MIB);
    fixture_free(f);
}

static int (*begin_before)(void *context, struct pleat_memory_job *job,
                           const struct pleat_memory_owner *owner, enum pleat_take_kind kind,
                           uint64_t address, uint64_t bytes, uint64_t deadline_ns);

/* The frame in the way is freed between the look and the take, as another CPU may do. */
static int free_and_begin(void *context, struct pleat_memory_job *job, const struct pleat_memory_owner *owner,
                          enum pleat_take_kind kind, uint64_t address, uint64_t bytes, uint64_t deadline_ns)
{
    struct model_memory *model = context;
    if (model_bytes(model, address, bytes, MODEL_UNMOVABLE) > 0) {
        model_use(model, FIXTURE_ADDRESS + 3 * 64 * KIB + 16 * KIB, 4 * KIB, MODEL_FREE);
    }
    return begin_before(context, job, owner, kind, address, bytes, deadline_ns);
}

static void what_was_in_the_way_and_is_free_by_now_is_taken(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 256 * KIB);
    use(f, 3 * 64 * KIB + 16 * KIB, 4 * KIB, MODEL_UNMOVABLE);
    begin_before = f->model.ops.take_begin;
    f->model.ops.take_begin = free_and_begin;
    const uint64_t now_ns = f->model.clock_ns;
    fixture_request(f, 0);
    fixture_assert_at(f, 0);
    assert_int_equal(f->model.clock_ns, now_ns);
    fixture_free(f);
}

static void a_memory_that_forgets_to_say_offline_is_coped_with(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->model.forgets_offline = true;
    f->config.offline_limit_bytes = 1 * MIB;
    fixture_go(f, 4 * MIB);
    for (unsigned i = 0; i < 4; i++) {
        fixture_request(f, 1 * MIB);
        fixture_request(f, 4 * MIB);
        fixture_assert_at(f, 4 * MIB);
    }
    fixture_free(f);
}

/* BUSY leaves a whole unit aside; then only a part of it is too much. */
static void of_memory_kept_aside_only_what_is_too_much_is_unplugged(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_start(NULL, 2 * MIB);
    script_plan_answer(&f->device, &plan, UNPLUGS, 0, 1, PLEAT_VIRTIO_MEM_RESP_BUSY);
    scripted_device_request(&f->device, 1 * MIB);
    fixture_run_until_waiting(f);
    fixture_request(f, 1 * MIB + 768 * KIB);
    fixture_assert_at(f, 1 * MIB + 768 * KIB);
    assert_unplug(f, 1, FIXTURE_ADDRESS + 1 * MIB + 768 * KIB, 256 * KIB);
    assert_null(unplug_request(f, 2));
    fixture_free(f);
}

/* --- The device says no -------------------------------------------------------------------------------- */

static void NACK_to_an_unplug_gives_the_memory_back_to_the_guest(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_start(NULL, 2 * MIB);
    script_plan_answer(&f->device, &plan, UNPLUGS, 0, 1, PLEAT_VIRTIO_MEM_RESP_NACK);
    fixture_request(f, 1 * MIB);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_NACK);
    assert_int_equal(fixture_status(f).plugged_bytes, 2 * MIB);
    assert_int_equal(fixture_status(f).ready_bytes, 2 * MIB);
    assert_int_equal(plan.seen, 1);
    fixture_request(f, 512 * KIB);
    fixture_assert_at(f, 512 * KIB);
    fixture_free(f);
}

static void BUSY_at_an_unplug_keeps_the_memory_aside_and_tries_again(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_start(NULL, 2 * MIB);
    script_plan_answer(&f->device, &plan, UNPLUGS, 0, 2, PLEAT_VIRTIO_MEM_RESP_BUSY);
    scripted_device_request(&f->device, 1 * MIB);
    fixture_run_until_waiting(f);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_BUSY);
    assert_int_equal(fixture_status(f).ready_bytes, 1 * MIB);
    fixture_run(f);
    fixture_assert_at(f, 1 * MIB);
    assert_int_equal(f->model.calls[MODEL_TAKE_BEGIN], 1);
    fixture_free(f);
}

static void memory_kept_aside_is_used_again_when_the_target_rises(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_start(NULL, 2 * MIB);
    script_plan_answer(&f->device, &plan, UNPLUGS, 0, 1, PLEAT_VIRTIO_MEM_RESP_BUSY);
    scripted_device_request(&f->device, 1 * MIB);
    fixture_run_until_waiting(f);
    assert_int_equal(fixture_status(f).units_loose, 1);
    fixture_request(f, 2 * MIB);
    fixture_assert_at(f, 2 * MIB);
    assert_int_equal(plan.seen, 1);
    fixture_free(f);
}

static void X13_a_removed_block_that_cant_be_unplugged_stays_known_and_is_tried_again(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_start(NULL, 2 * MIB);
    script_plan_answer(&f->device, &plan, UNPLUGS, 0, 1, PLEAT_VIRTIO_MEM_RESP_ERROR);
    scripted_device_request(&f->device, 1 * MIB);
    while (plan.seen == 0) {
        (void)fixture_step(f, 1);
    }
    (void)fixture_step(f, 1);
    assert_int_equal(model_state(&f->model, FIXTURE_ADDRESS + 1 * MIB), PLEAT_BLOCK_NONE);
    assert_int_equal(fixture_status(f).units_loose, 1);
    assert_int_equal(fixture_status(f).plugged_bytes, 2 * MIB);
    fixture_run(f);
    fixture_assert_at(f, 1 * MIB);
    fixture_free(f);
}

static void X13_for_ever_so_long(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    script_plan_answer(&f->device, &plan, UNPLUGS, 0, 30, PLEAT_VIRTIO_MEM_RESP_ERROR);
    fixture_request(f, 0);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_ERROR);
    assert_int_equal(fixture_status(f).units_loose, 1);
    for (unsigned i = 0; i < 20; i++) {
        fixture_run(f);
    }
    fixture_assert_at(f, 0);
    fixture_free(f);
}

static void V_UNPLUG1_only_the_type_of_a_response_counts(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_start(NULL, 3 * MIB);
    script_plan_type_alone(&f->device, &plan, UNPLUGS);
    fixture_request(f, 1 * MIB);
    fixture_assert_at(f, 1 * MIB);
    assert_int_equal(plan.seen, 2);
    fixture_free(f);
}

/* --- Large device blocks -------------------------------------------------------------------------------- */

static const struct fixture_shape large_blocks = {.device_block_bytes = 4 * MIB, .region_bytes = 16 * MIB};

static void large_device_blocks_are_evacuated_as_a_whole(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(&large_blocks, 12 * MIB);
    use(f, 5 * MIB + 64 * KIB, 64 * KIB, MODEL_MOVABLE);
    use(f, 9 * MIB + 64 * KIB, 4 * KIB, MODEL_UNMOVABLE);
    fixture_request(f, 4 * MIB);
    fixture_assert_at(f, 4 * MIB);
    assert_true(pleat_virtio_mem_driver_is_plugged(f->driver, FIXTURE_ADDRESS + 8 * MIB));
    fixture_request(f, 0);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_UNMOVABLE);
    assert_string_equal(fixture_line(f), "shrink stopped at 4 MiB of 0 bytes wanted: 1 frame unmovable, "
                                         "first at PFN 0x140910, owner \"slab\"");
    fixture_free(f);
}

static void large_device_blocks_may_be_offline_in_part(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(&large_blocks, 8 * MIB);
    assert_int_equal(model_offline(&f->model, FIXTURE_ADDRESS + 5 * MIB), 0);
    assert_int_equal(model_offline(&f->model, FIXTURE_ADDRESS + 7 * MIB), 0);
    use(f, 64 * KIB, 4 * KIB, MODEL_UNMOVABLE);
    use(f, 4 * MIB + 64 * KIB, 64 * KIB, MODEL_MOVABLE);
    fixture_request(f, 4 * MIB);
    fixture_assert_at(f, 4 * MIB);
    assert_int_equal(model_state(&f->model, FIXTURE_ADDRESS + 4 * MIB), PLEAT_BLOCK_NONE);
    fixture_request(f, 8 * MIB);
    for (unsigned i = 4; i < 8; i++) {
        assert_int_equal(model_offline(&f->model, FIXTURE_ADDRESS + i * MIB), 0);
    }
    assert_int_equal(fixture_status(f).offline_bytes, 4 * MIB);
    fixture_request(f, 4 * MIB);
    fixture_assert_at(f, 4 * MIB);
    fixture_free(f);
}

static void an_offline_unit_of_one_block_that_cant_be_removed_stays_as_it_is(void **state)
{
    (void)state;
    const struct fixture_shape shape = {.device_block_bytes = 1 * MIB};
    struct fixture *f = fixture_start(&shape, 2 * MIB);
    assert_int_equal(model_offline(&f->model, FIXTURE_ADDRESS + 1 * MIB), 0);
    model_fail(&f->model, MODEL_REMOVE, PLEAT_E_STATE, 0, 1);
    model_use(&f->model, FIXTURE_ADDRESS + 64 * KIB, 4 * KIB, MODEL_UNMOVABLE);
    scripted_device_request(&f->device, 1 * MIB);
    fixture_run_until_waiting(f);
    assert_int_equal(scripted_device_plugged_bytes(&f->device), 2 * MIB);
    fixture_run(f);
    fixture_assert_at(f, 1 * MIB);
    fixture_free(f);
}

/* --- Detach -------------------------------------------------------------------------------------------- */

static void detach_gives_everything_back(void **state)
{
    (void)state;
    char line[256];
    struct fixture *f = fixture_start(NULL, 3 * MIB + 256 * KIB);
    use(f, 1 * MIB + 128 * KIB, 256 * KIB, MODEL_MOVABLE);
    assert_int_equal(pleat_virtio_mem_driver_detach_result(f->driver, line, sizeof(line)), PLEAT_E_STATE);
    assert_int_equal(pleat_virtio_mem_driver_detach_begin(f->driver, PLEAT_VIRTIO_MEM_DETACH_GIVE_BACK), 0);
    assert_true(fixture_status(f).detaching);
    assert_int_equal(pleat_virtio_mem_driver_detach_result(f->driver, line, sizeof(line)), PLEAT_MORE);
    fixture_run(f);
    assert_int_equal(pleat_virtio_mem_driver_detach_result(f->driver, line, sizeof(line)), 0);
    assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_NEVER);
    assert_int_equal(scripted_device_plugged_bytes(&f->device), 0);
    assert_int_equal(f->device.status, 0);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_DETACHED);
    assert_string_equal(fixture_line(f), "detached at 0 bytes");
    assert_int_equal(pleat_virtio_mem_driver_detach_begin(f->driver, PLEAT_VIRTIO_MEM_DETACH_LEAVE),
                     PLEAT_E_STATE);
    fixture_attach(f);
    fixture_assert_at(f, 3 * MIB + 256 * KIB);
    assert_int_equal(pleat_virtio_mem_driver_attach(f->driver), PLEAT_E_STATE);
    fixture_free(f);
}

static void detach_that_cant_be_is_refused_with_a_line(void **state)
{
    (void)state;
    char line[256];
    struct fixture *f = fixture_start(NULL, 3 * MIB);
    use(f, 1 * MIB + 128 * KIB, 4 * KIB, MODEL_UNMOVABLE);
    assert_int_equal(pleat_virtio_mem_driver_detach_begin(f->driver, PLEAT_VIRTIO_MEM_DETACH_GIVE_BACK), 0);
    fixture_run(f);
    assert_int_equal(pleat_virtio_mem_driver_detach_result(f->driver, line, sizeof(line)), PLEAT_E_REFUSED);
    assert_string_equal(line, "shrink stopped at 128 KiB of 0 bytes wanted: 1 frame unmovable, "
                              "first at PFN 0x140120, owner \"slab\"");
    fixture_assert_at(f, 3 * MIB);
    fixture_free(f);
}

static void detach_can_be_cancelled(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 3 * MIB);
    assert_int_equal(pleat_virtio_mem_driver_detach_cancel(f->driver), PLEAT_E_STATE);
    assert_int_equal(pleat_virtio_mem_driver_detach_begin(f->driver, PLEAT_VIRTIO_MEM_DETACH_GIVE_BACK), 0);
    while (scripted_device_plugged_bytes(&f->device) > 1 * MIB) {
        (void)fixture_step(f, 1);
    }
    assert_int_equal(pleat_virtio_mem_driver_detach_cancel(f->driver), 0);
    fixture_run(f);
    fixture_assert_at(f, 3 * MIB);
    fixture_free(f);
}

static void detach_may_leave_all_in_place_and_attach_finds_it_again(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 3 * MIB);
    use(f, 1 * MIB + 128 * KIB, 4 * KIB, MODEL_UNMOVABLE);
    assert_int_equal(fixture_detach(f, PLEAT_VIRTIO_MEM_DETACH_LEAVE), 0);
    assert_int_equal(f->device.status, 0);
    assert_int_equal(scripted_device_plugged_bytes(&f->device), 3 * MIB);
    assert_int_equal(model_count(&f->model, MODEL_UNMOVABLE), 1);
    /* An administrator may go on meanwhile. */
    assert_int_equal(model_offline(&f->model, FIXTURE_ADDRESS), 0);
    assert_int_equal(model_online(&f->model, FIXTURE_ADDRESS), 0);
    f->device.requested_bytes = 4 * MIB;
    fixture_attach(f);
    fixture_assert_at(f, 4 * MIB);
    fixture_free(f);
}

static void detach_may_leave_in_the_middle_of_anything(void **state)
{
    (void)state;
    for (unsigned at = 1; at < 60; at++) {
        struct fixture *f = fixture_start(NULL, 3 * MIB);
        use(f, 1 * MIB + 128 * KIB, 256 * KIB, MODEL_MOVABLE);
        scripted_device_request(&f->device, at % 2 == 0 ? 512 * KIB : 7 * MIB);
        for (unsigned i = 0; i < at; i++) {
            (void)fixture_step(f, 1);
        }
        assert_int_equal(fixture_detach(f, PLEAT_VIRTIO_MEM_DETACH_LEAVE), 0);
        fixture_attach(f);
        fixture_assert_at(f, at % 2 == 0 ? 512 * KIB : 7 * MIB);
        fixture_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_GiB_of_free_memory_is_8_requests_and_no_work_by_frames),
        cmocka_unit_test(what_will_be_taken_is_named_before_anything_moves),
        cmocka_unit_test(free_partly_plugged_units_go_before_full_ones),
        cmocka_unit_test(free_subblocks_go_before_occupied_ones_and_bigger_runs_first),
        cmocka_unit_test(metadata_is_unplugged_last_with_its_unit),
        cmocka_unit_test(offline_units_go_first_and_cost_nothing),
        cmocka_unit_test(V_OP6_memory_in_use_is_evacuated_before_it_is_unplugged),
        cmocka_unit_test(neighbouring_units_are_emptied_together),
        cmocka_unit_test(several_at_once_that_fail_are_tried_one_by_one),
        cmocka_unit_test(a_take_that_isnt_wanted_any_more_is_cancelled),
        cmocka_unit_test(a_long_evacuation_is_done_in_steps),
        cmocka_unit_test(unmovable_frames_stop_it_with_who_and_where),
        cmocka_unit_test(pinned_frames_stop_it_with_who_and_where),
        cmocka_unit_test(pinned_frames_are_waited_for_a_little),
        cmocka_unit_test(nowhere_to_move_to_stops_it),
        cmocka_unit_test(a_deadline_stops_it),
        cmocka_unit_test(a_refusal_in_the_guest_stops_it),
        cmocka_unit_test(a_refusal_at_the_end_of_a_take_leaves_all_in_use),
        cmocka_unit_test(X14_a_shrink_stops_at_the_floor_and_goes_on_when_memory_frees_up),
        cmocka_unit_test(X14_the_default_floor_is_64_MiB),
        cmocka_unit_test(X14_no_floor_without_a_count_of_free_memory),
        cmocka_unit_test(plug_only_says_so_when_asked_to_shrink),
        cmocka_unit_test(what_was_in_the_way_and_is_free_by_now_is_taken),
        cmocka_unit_test(a_memory_that_forgets_to_say_offline_is_coped_with),
        cmocka_unit_test(of_memory_kept_aside_only_what_is_too_much_is_unplugged),
        cmocka_unit_test(NACK_to_an_unplug_gives_the_memory_back_to_the_guest),
        cmocka_unit_test(BUSY_at_an_unplug_keeps_the_memory_aside_and_tries_again),
        cmocka_unit_test(memory_kept_aside_is_used_again_when_the_target_rises),
        cmocka_unit_test(X13_a_removed_block_that_cant_be_unplugged_stays_known_and_is_tried_again),
        cmocka_unit_test(X13_for_ever_so_long),
        cmocka_unit_test(V_UNPLUG1_only_the_type_of_a_response_counts),
        cmocka_unit_test(large_device_blocks_are_evacuated_as_a_whole),
        cmocka_unit_test(large_device_blocks_may_be_offline_in_part),
        cmocka_unit_test(an_offline_unit_of_one_block_that_cant_be_removed_stays_as_it_is),
        cmocka_unit_test(detach_gives_everything_back),
        cmocka_unit_test(detach_that_cant_be_is_refused_with_a_line),
        cmocka_unit_test(detach_can_be_cancelled),
        cmocka_unit_test(detach_may_leave_all_in_place_and_attach_finds_it_again),
        cmocka_unit_test(detach_may_leave_in_the_middle_of_anything),
    };
    return cmocka_run_group_tests_name("virtio-mem driver: unplug", tests, NULL, NULL);
}
