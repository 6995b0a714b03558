/* SPDX-License-Identifier: MIT
 *
 * Proves that the workload follows its stream, that its frames survive being moved, and that a frame that is
 * torn, lost or handed out twice doesn't go unseen. One thread plays all CPUs here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pleat/hosted.h>
#include <pleat/pleat.h>

#include "machine/workload.h"

#define FRAMES 16384u /* 64 MiB */
#define CPUS   4u

struct lab {
    struct pleat core;
    struct pleat_hosted *hosted;
    struct pleat_clock clock;
    struct pleat_faults *faults;
    struct pleat_workload *workload;
    struct pleat_operations operations;
    struct pleat_workload_setup setup;
    char broken[256];
    unsigned broken_count;
    uint64_t used_before;
};

static void broken(void *context, const char *line)
{
    struct lab *lab = context;

    lab->broken_count++;
    snprintf(lab->broken, sizeof lab->broken, "%s", line);
}

static uint64_t reclaim(void *context, unsigned node, uint64_t frames)
{
    struct lab *lab = context;

    (void)node;
    return pleat_workload_reclaim(lab->workload, frames);
}

static struct lab *lab_make(void)
{
    struct lab *lab = calloc(1, sizeof *lab);
    assert_non_null(lab);
    const struct pleat_hosted_config hosted = {.frames = FRAMES, .accessible = true};
    assert_int_equal(pleat_hosted_create(&lab->hosted, &hosted), PLEAT_OK);
    const struct pleat_config config = {
        .port = pleat_hosted_port(lab->hosted),
        .cpus = CPUS + 1,
        .highest_pfn = FRAMES,
        .block_pageblocks = 4,
        .reclaim = reclaim,
        .reclaim_context = lab,
    };
    const struct pleat_boot_span span = {0, FRAMES, 0, PLEAT_BOOT_FREE};
    pleat_hosted_cpu_set(0);
    assert_int_equal(pleat_init(&lab->core, &config, &span, 1), PLEAT_OK);
    pleat_clock_start(&lab->clock, true);
    lab->faults = pleat_faults_create();
    lab->setup = (struct pleat_workload_setup){
        .core = &lab->core,
        .memory = pleat_hosted_pointer(lab->hosted, 0),
        .cpus = CPUS,
        .frames = FRAMES,
        .name = "test",
        .repeat = true,
        .remote_free = 4,
        .clock = &lab->clock,
        .faults = lab->faults,
        .broken = broken,
        .context = lab,
    };
    lab->used_before = pleat_online_frames(&lab->core) - pleat_free_frames(&lab->core);
    return lab;
}

static void lab_begin(struct lab *lab)
{
    struct pleat_message message;

    if (pleat_workload_create(&lab->setup, &lab->workload, &message))
        fail_msg("%s", message.text);
}

static void lab_fault(struct lab *lab, const char *text)
{
    struct pleat_fault fault;

    assert_int_equal(pleat_fault_parse(text, &fault, NULL), PLEAT_OK);
    assert_int_equal(pleat_faults_add(lab->faults, &fault, NULL), PLEAT_OK);
}

/* Each CPU in turn does a few operations. */
static void lab_run(struct lab *lab, unsigned rounds)
{
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned cpu = 0; cpu < lab->setup.cpus; cpu++) {
            pleat_hosted_cpu_set(cpu);
            pleat_workload_run(lab->workload, cpu, 16);
        }
        pleat_clock_advance(&lab->clock, lab->clock.virtual_ns + 1000000);
    }
}

static struct pleat_workload_info info_of(struct lab *lab)
{
    struct pleat_workload_info info;

    pleat_workload_info(lab->workload, &info);
    return info;
}

/* What the workload holds, and that it is all that isn't free. */
static uint64_t checked(struct lab *lab)
{
    struct pleat_message message;
    uint64_t held;

    if (pleat_workload_check(lab->workload, &held, &message))
        fail_msg("%s", message.text);
    pleat_drain(&lab->core);
    assert_int_equal(pleat_online_frames(&lab->core) - pleat_free_frames(&lab->core) - lab->used_before,
                     held);
    assert_true(pleat_is_valid(&lab->core));
    return held;
}

static void lab_end(struct lab *lab)
{
    pleat_workload_destroy(lab->workload);
    pleat_operations_free(&lab->operations);
    pleat_faults_destroy(lab->faults);
    pleat_hosted_destroy(lab->hosted);
    pleat_hosted_cpu_set(PLEAT_HOSTED_NO_CPU);
    free(lab);
}

/* So many blocks of mixed order and mobility come, then all go, in the order they came. */
static void lab_stream(struct lab *lab, uint32_t blocks, uint64_t step_ns)
{
    for (uint32_t i = 0; i < 2 * blocks; i++) {
        const uint32_t slot = i % blocks;
        const struct pleat_operation operation = {
            .slot = slot, .flags = (uint8_t)(slot % 3), .order = (uint8_t)(slot % 4), .is_free = i >= blocks};
        assert_int_equal(pleat_operations_append(&lab->operations, &operation, i * step_ns), PLEAT_OK);
    }
    lab->setup.operations = &lab->operations;
}

static struct pleat_synthetic_config synthetic(void)
{
    struct pleat_synthetic_config config;

    assert_int_equal(pleat_synthetic_parse("fill=50%,unmovable=10%,reclaimable=10%", &config, NULL),
                     PLEAT_OK);
    return config;
}

static void a_stream_is_shared_out_to_all_CPUs_and_repeated(void **state)
{
    (void)state;
    struct lab *lab = lab_make();
    lab_stream(lab, 1000, 0);
    lab_begin(lab);
    lab_run(lab, 16);
    checked(lab);
    struct pleat_workload_info info = info_of(lab);
    assert_int_equal(info.operations, 16 * 16 * CPUS);
    assert_int_equal(info.passes, 0);

    lab_run(lab, 100);
    info = info_of(lab);
    assert_true(info.passes >= 2);
    assert_int_equal(info.refused_allocations, 0);
    assert_true(info.remote_frees > 0);
    assert_int_equal(info.stamps_wrong, 0);
    assert_true(info.stamps_checked >= info.frees);
    const uint64_t held = checked(lab);
    assert_int_equal(info.held_frames[0] + info.held_frames[1] + info.held_frames[2], held);
    lab_end(lab);
}

static void without_repeat_it_ends_with_all_freed(void **state)
{
    (void)state;
    struct lab *lab = lab_make();
    lab_stream(lab, 200, 0);
    lab->setup.repeat = false;
    lab_begin(lab);
    lab_run(lab, 200);
    assert_int_equal(checked(lab), 0);
    pleat_hosted_cpu_set(1);
    assert_true(pleat_workload_run(lab->workload, 1, 1) == UINT64_MAX);
    assert_int_equal(info_of(lab).passes, 1);
    lab_end(lab);
}

static void operations_wait_for_their_time(void **state)
{
    (void)state;
    struct lab *lab = lab_make();
    lab_stream(lab, 1000, 1000000); /* one a millisecond */
    lab->setup.speed_ppm = 2000000;
    lab->setup.cpus = 1;
    lab_begin(lab);
    pleat_hosted_cpu_set(0);
    assert_int_equal(pleat_workload_run(lab->workload, 0, 1000), 500000);
    assert_int_equal(info_of(lab).operations, 1);
    pleat_clock_advance(&lab->clock, 10000000);
    assert_int_equal(pleat_workload_run(lab->workload, 0, 1000), 10500000);
    assert_int_equal(info_of(lab).operations, 21);
    pleat_clock_advance(&lab->clock, 20000000);
    assert_int_equal(pleat_workload_run(lab->workload, 0, 1), 20000000);
    assert_int_equal(info_of(lab).late_ns, 9000000);
    lab_end(lab);
}

static void a_CPU_without_a_part_has_nothing_to_do(void **state)
{
    (void)state;
    struct lab *lab = lab_make();
    lab_stream(lab, 2, 0);
    lab_begin(lab);
    pleat_hosted_cpu_set(3);
    assert_true(pleat_workload_run(lab->workload, 3, 100) == UINT64_MAX);
    pleat_hosted_cpu_set(CPUS);
    assert_true(pleat_workload_run(lab->workload, CPUS, 100) == UINT64_MAX);
    lab_end(lab);
}

/* Takes all movable memory blocks to pieces, again and again, while the workload goes on. */
static void frames_are_whole_after_they_were_moved(void **state)
{
    (void)state;
    struct lab *lab = lab_make();
    const struct pleat_synthetic_config config = synthetic();
    lab->setup.synthetic = &config;
    lab_begin(lab);
    lab_run(lab, 600);
    unsigned taken = 0;
    for (unsigned turn = 0; turn < 64; turn++) {
        const uint64_t pfn = turn * 256u % FRAMES;
        pleat_hosted_cpu_set(CPUS);
        if (!pleat_alloc_range(&lab->core, pfn, 256, PLEAT_NO_TAG)) {
            taken++;
            memset(pleat_hosted_pointer(lab->hosted, pfn), 0xa5, 256 * 4096);
            assert_int_equal(pleat_free_range(&lab->core, pfn, 256), PLEAT_OK);
        }
        lab_run(lab, 4);
    }
    assert_true(taken > 0);
    const struct pleat_workload_info info = info_of(lab);
    assert_true(info.migrated_frames > 0);
    assert_int_equal(info.stamps_wrong, 0);
    assert_int_equal(lab->broken_count, 0);
    checked(lab);
    lab_end(lab);
}

static void a_migration_that_fails_leaves_all_in_place(void **state)
{
    (void)state;
    struct lab *lab = lab_make();
    const struct pleat_synthetic_config config = synthetic();
    lab->setup.synthetic = &config;
    lab_begin(lab);
    lab_run(lab, 600);
    lab_fault(lab, "migrate-fails:every=2");
    lab_fault(lab, "isolate-fails:every=3");
    pleat_hosted_cpu_set(CPUS);
    for (uint64_t pfn = 0; pfn < FRAMES; pfn += 512)
        if (!pleat_alloc_range(&lab->core, pfn, 512, PLEAT_NO_TAG))
            assert_int_equal(pleat_free_range(&lab->core, pfn, 512), PLEAT_OK);
    assert_true(info_of(lab).failed_migrations > 0);
    lab_run(lab, 10);
    checked(lab);
    lab_end(lab);
}

static void reclaimable_frames_are_given_when_asked_for(void **state)
{
    (void)state;
    struct lab *lab = lab_make();
    const struct pleat_synthetic_config config = synthetic();
    lab->setup.synthetic = &config;
    lab_begin(lab);
    lab_run(lab, 600);
    const uint64_t before = info_of(lab).held_frames[PLEAT_RECLAIMABLE];
    assert_true(before > 100);
    pleat_hosted_cpu_set(2);
    const uint64_t got = pleat_workload_reclaim(lab->workload, 100);
    assert_in_range(got, 100, 107);
    assert_int_equal(info_of(lab).held_frames[PLEAT_RECLAIMABLE], before - got);
    assert_int_equal(pleat_workload_reclaim(lab->workload, FRAMES), before - got);
    assert_int_equal(pleat_workload_reclaim(lab->workload, 1), 0);
    checked(lab);
    lab_run(lab, 100);
    checked(lab);
    lab_end(lab);
}

static void a_refused_allocation_is_passed_over(void **state)
{
    (void)state;
    struct lab *lab = lab_make();
    lab_stream(lab, 1000, 0);
    lab_fault(lab, "allocation-refused:every=3");
    lab_begin(lab);
    lab_run(lab, 50);
    assert_true(info_of(lab).refused_allocations > 100);
    checked(lab);
    lab_end(lab);
}

static void a_torn_frame_is_named(void **state)
{
    (void)state;
    struct lab *lab = lab_make();
    struct pleat_message message;
    uint64_t held;
    lab_stream(lab, 1000, 0);
    lab_fault(lab, "frame-torn:after=5,count=1");
    lab_begin(lab);
    lab_run(lab, 30);
    assert_int_equal(pleat_workload_check(lab->workload, &held, &message), PLEAT_E_PROTOCOL);
    assert_non_null(strstr(message.text, "holds 0x"));
    assert_non_null(strstr(message.text, "at byte 2048"));
    assert_int_equal(lab->broken_count, 1);
    assert_true(info_of(lab).stamps_wrong > 0);
    lab_end(lab);
}

static void a_lost_frame_leaves_a_gap_in_the_sum(void **state)
{
    (void)state;
    struct lab *lab = lab_make();
    struct pleat_message message;
    uint64_t held;
    lab_stream(lab, 1000, 0);
    lab_fault(lab, "frame-lost:count=1");
    lab_begin(lab);
    lab_run(lab, 30);
    assert_int_equal(pleat_workload_check(lab->workload, &held, &message), PLEAT_OK);
    pleat_drain(&lab->core);
    assert_true(pleat_online_frames(&lab->core) - pleat_free_frames(&lab->core) - lab->used_before > held);
    lab_end(lab);
}

/* The core is made to hand frames out a second time: they are freed behind the workload's back. */
static void a_doubled_frame_is_seen(void **state)
{
    (void)state;
    struct lab *lab = lab_make();
    struct pleat_message message;
    uint64_t held;
    lab_stream(lab, 1000, 0);
    lab->setup.cpus = 1;
    lab->setup.remote_free = 0;
    lab_begin(lab);
    lab_run(lab, 20);
    /* The last block of order 3 is freed without the workload's knowledge; the next one gets its frames. */
    pleat_hosted_cpu_set(0);
    unsigned found = 0;
    for (uint64_t pfn = 0; pfn < FRAMES && !found; pfn += 8) {
        pleat_tag tag;
        unsigned order;
        if (!pleat_frame_tag(&lab->core, pfn, &tag, &order) && order == 3) {
            assert_int_equal(pleat_free(&lab->core, pfn, 3), PLEAT_OK);
            found = 1;
        }
    }
    assert_int_equal(found, 1);
    lab_run(lab, 15);
    assert_int_equal(pleat_workload_check(lab->workload, &held, &message), PLEAT_E_PROTOCOL);
    assert_int_equal(lab->broken_count, 1);
    lab_end(lab);
}

static void the_same_seed_gives_the_same_run(void **state)
{
    (void)state;
    struct pleat_workload_info runs[3];
    struct pleat_synthetic_config config = synthetic();
    for (unsigned i = 0; i < 3; i++) {
        struct lab *lab = lab_make();
        config.seed = i < 2 ? 7 : 8;
        lab->setup.synthetic = &config;
        lab->setup.seed = config.seed;
        lab_begin(lab);
        lab_run(lab, 700);
        runs[i] = info_of(lab);
        lab_end(lab);
    }
    assert_memory_equal(&runs[0], &runs[1], sizeof runs[0]);
    assert_memory_not_equal(&runs[0], &runs[2], sizeof runs[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_is_shared_out_to_all_CPUs_and_repeated),
        cmocka_unit_test(without_repeat_it_ends_with_all_freed),
        cmocka_unit_test(operations_wait_for_their_time),
        cmocka_unit_test(a_CPU_without_a_part_has_nothing_to_do),
        cmocka_unit_test(frames_are_whole_after_they_were_moved),
        cmocka_unit_test(a_migration_that_fails_leaves_all_in_place),
        cmocka_unit_test(reclaimable_frames_are_given_when_asked_for),
        cmocka_unit_test(a_refused_allocation_is_passed_over),
        cmocka_unit_test(a_torn_frame_is_named),
        cmocka_unit_test(a_lost_frame_leaves_a_gap_in_the_sum),
        cmocka_unit_test(a_doubled_frame_is_seen),
        cmocka_unit_test(the_same_seed_gives_the_same_run),
    };
    return cmocka_run_group_tests_name("machine workload", tests, NULL, NULL);
}
