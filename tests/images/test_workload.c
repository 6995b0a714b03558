/* SPDX-License-Identifier: MIT
 *
 * The guest image's workload and its fills, over hosted memory: they hold what they should hold, and no lost,
 * doubled or torn frame goes unseen.
 */
#include <stdio.h>

#include "images/guest/fill.h"
#include "images/guest/workload.h"
#include "ports/bare/platform.h"
#include "tests/core/core_fixture.h"

/* What the guest would have said on its console. */
static char written[4096];

void platform_write(const char *text, size_t bytes)
{
    if (strlen(written) + bytes < sizeof written)
        strncat(written, text, bytes);
}

struct bed {
    struct fixture *fixture;
    struct held held;
    struct workload workload;
};

static struct bed *bed_new(void)
{
    struct bed *bed = aligned_alloc(64, (sizeof *bed + 63) / 64 * 64);

    assert_non_null(bed);
    memset(bed, 0, sizeof *bed);
    written[0] = '\0';
    bed->fixture = fixture_new(NULL, 0, NULL);
    assert_int_equal(held_begin(&bed->held, &bed->fixture->pleat, bed->fixture->config.port, 1), 0);
    return bed;
}

static void bed_free(struct bed *bed)
{
    held_free_all(&bed->held);
    held_end(&bed->held);
    fixture_free(bed->fixture);
    free(bed);
}

static struct workload_options options_of(const char *text)
{
    struct guest_options options;
    char message[256] = "", line[200];

    snprintf(line, sizeof line, "workload=synthetic,%s", text);
    if (options_parse(line, &options, message, sizeof message))
        fail_msg("%s", message);
    return options.workload;
}

/* Runs so many operations on each CPU in turn, as if an hour had passed. */
static void run(struct bed *bed, uint64_t operations)
{
    for (uint64_t done = 0; done < operations; done += 50)
        for (unsigned cpu = 0; cpu < bed->workload.cpus; cpu++)
            workload_run(&bed->workload, cpu, UINT64_C(3600000000000), 50);
    workload_settle(&bed->workload);
}

static uint64_t share_ppm(const struct held_sums *sums, unsigned mobility)
{
    return sums->held_frames[mobility] * 1000000 /
           (sums->held_frames[0] + sums->held_frames[1] + sums->held_frames[2]);
}

static void a_workload_fills_to_its_target_with_its_mixture(void **state)
{
    static const char *const texts[] = {
        "preset=20,fill=30%,speed=max", "preset=20,fill=30%,speed=max,lifetime=fixed,mean=20000",
        "preset=20,fill=30%,speed=max,lifetime=bimodal,mean=100,long-mean=30000"};

    (void)state;
    for (unsigned i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct bed *bed = bed_new();
        const struct workload_options options = options_of(texts[i]);
        struct held_sums sums;
        assert_int_equal(workload_begin(&bed->workload, &bed->held, &options, 100000, 2), 0);
        assert_false(workload_is_filled(&bed->workload));
        run(bed, 100000);
        assert_true(workload_is_filled(&bed->workload));
        held_sum(&bed->held, &sums);
        const uint64_t all = sums.held_frames[0] + sums.held_frames[1] + sums.held_frames[2];
        assert_in_range(all, 29500, 30600);
        assert_in_range(share_ppm(&sums, PLEAT_UNMOVABLE), 180000, 220000);
        assert_in_range(share_ppm(&sums, PLEAT_RECLAIMABLE), 14000, 26000);
        assert_true(sums.frees > 30000);
        assert_true(held_check(&bed->held));
        assert_int_equal(sums.wrong, 0);
        bed_free(bed);
    }
}

static void only_so_many_blocks_turn_over(void **state)
{
    struct bed *bed = bed_new();
    const struct workload_options options =
        options_of("fill=30%,speed=max,orders=0:1,mean=2000,remote-free=0");
    struct held_sums sums;
    unsigned stayed = 0;

    (void)state;
    assert_int_equal(workload_begin(&bed->workload, &bed->held, &options, 100000, 1), 0);
    run(bed, 200000);
    held_sum(&bed->held, &sums);
    /* 1,000 of 30,000 blocks turn over, about 85 times each: what stays was never allocated again. */
    for (uint32_t slot = 0; slot < 30000; slot++)
        stayed += slot % WORKLOAD_GROUP >= bed->workload.group_all;
    assert_in_range(stayed, 28500, 29500);
    assert_in_range(sums.frees, 80000, 90000);
    bed_free(bed);
}

static void the_rate_is_kept(void **state)
{
    struct bed *bed = bed_new();
    const struct workload_options options = options_of("fill=1%,rate=1000");
    struct held_sums before, after;

    (void)state;
    assert_int_equal(workload_begin(&bed->workload, &bed->held, &options, 100000, 1), 0);
    while (!workload_is_filled(&bed->workload))
        workload_run(&bed->workload, 0, 1000, 1);
    workload_run(&bed->workload, 0, 1000, 1); /* from here on at the rate */
    held_sum(&bed->held, &before);
    const uint64_t then = UINT64_C(2000001000);
    const uint64_t next = workload_run(&bed->workload, 0, then, 1000000);
    held_sum(&bed->held, &after);
    assert_in_range(after.allocations + after.frees - before.allocations - before.frees, 1990, 2010);
    assert_in_range(next, then, then + 10000000);
    bed_free(bed);
}

static void reclaim_frees_reclaimable_blocks_only(void **state)
{
    struct bed *bed = bed_new();
    const struct workload_options options = options_of("fill=30%,reclaimable=10%,speed=max");
    struct held_sums before, after;

    (void)state;
    assert_int_equal(workload_begin(&bed->workload, &bed->held, &options, 100000, 1), 0);
    run(bed, 40000);
    held_sum(&bed->held, &before);
    assert_true(held_reclaim(&bed->held, 500) >= 500);
    held_sum(&bed->held, &after);
    assert_int_equal(after.held_frames[PLEAT_MOVABLE], before.held_frames[PLEAT_MOVABLE]);
    assert_int_equal(after.held_frames[PLEAT_UNMOVABLE], before.held_frames[PLEAT_UNMOVABLE]);
    assert_true(after.held_frames[PLEAT_RECLAIMABLE] + 500 <= before.held_frames[PLEAT_RECLAIMABLE]);
    run(bed, 40000);
    assert_true(held_check(&bed->held));
    bed_free(bed);
}

static void a_torn_frame_is_seen(void **state)
{
    struct bed *bed = bed_new();

    (void)state;
    assert_int_equal(held_reserve(&bed->held, 10), 0);
    assert_true(held_allocate(&bed->held, 3, 2, PLEAT_MOVABLE));
    struct held_block block;
    assert_true(held_take_out(&bed->held, 3, &block));
    unsigned char *frame = bed->held.port->frame_pointer(bed->held.port->context, block.pfn + 1);
    frame[4096 / 8 * 5] ^= 1;
    held_release(&bed->held, &block);
    assert_false(held_check(&bed->held));
    assert_non_null(strstr(written, "content: at free: PFN"));
    assert_non_null(strstr(written, "owner \"user\""));
    bed_free(bed);
}

static void a_frame_that_is_held_twice_is_seen(void **state)
{
    struct bed *bed = bed_new();
    struct held other = {0};

    (void)state;
    assert_int_equal(held_reserve(&bed->held, 10), 0);
    assert_true(held_allocate(&bed->held, 0, 0, PLEAT_UNMOVABLE));
    /* Somebody else stamps the same frame. */
    assert_int_equal(held_begin(&other, &bed->fixture->pleat, bed->fixture->config.port, 2), 0);
    assert_int_equal(held_reserve(&other, 10), 0);
    assert_true(held_allocate(&other, 0, 0, PLEAT_UNMOVABLE));
    memcpy(bed->held.port->frame_pointer(bed->held.port->context, bed->held.chunks[0][0].pfn),
           other.port->frame_pointer(other.port->context, other.chunks[0][0].pfn), 4096);
    assert_false(held_check(&bed->held));
    assert_true(held_check(&other));
    held_free_all(&other);
    held_end(&other);
    bed_free(bed);
}

static void moved_frames_keep_their_content(void **state)
{
    struct bed *bed = bed_new();
    struct held_sums sums;

    (void)state;
    assert_int_equal(held_reserve(&bed->held, 2000), 0);
    for (uint32_t slot = 0; slot < 2000; slot++)
        assert_true(held_allocate(&bed->held, slot, 0, PLEAT_MOVABLE));
    const uint64_t pfn = bed->held.chunks[0][700].pfn & ~(uint64_t)(PLEAT_PAGEBLOCK_FRAMES - 1);
    assert_int_equal(pleat_alloc_range(&bed->fixture->pleat, pfn, PLEAT_PAGEBLOCK_FRAMES, PLEAT_NO_TAG), 0);
    held_sum(&bed->held, &sums);
    assert_true(sums.migrated_frames > 0);
    assert_true(held_check(&bed->held));
    assert_int_equal(pleat_free_range(&bed->fixture->pleat, pfn, PLEAT_PAGEBLOCK_FRAMES), 0);
    bed_free(bed);
}

static void fills_free_what_they_say(void **state)
{
    (void)state;
    for (unsigned kind = FILL_MOVABLE; kind <= FILL_UNMOVABLE; kind++) {
        struct bed *bed = bed_new();
        struct fill fill = {0};
        struct held_sums full, left;
        assert_int_equal(fill_begin(&fill, &bed->held, (enum fill_objects)kind, 500000, 200 << 20, 2), 0);
        fill_allocate(&fill, 0);
        fill_allocate(&fill, 1);
        held_sum(&bed->held, &full);
        fill_free(&fill, 0);
        fill_free(&fill, 1);
        held_sum(&bed->held, &left);
        const uint64_t movable = kind == FILL_MOVABLE ? 51200 : kind == FILL_MIXED ? 40960 : 0;
        assert_int_equal(full.held_frames[PLEAT_MOVABLE], movable);
        assert_int_equal(full.held_frames[PLEAT_UNMOVABLE], 51200 - movable);
        assert_in_range(left.held_frames[PLEAT_MOVABLE], movable * 48 / 100, movable * 52 / 100);
        /* Metadata goes with the last of its four objects: one in sixteen. */
        if (kind == FILL_MIXED)
            assert_in_range(left.held_frames[PLEAT_UNMOVABLE], 10240 * 92 / 100, 10240 * 95 / 100);
        assert_true(held_check(&bed->held));
        bed_free(bed);
    }
}

static void the_bound_counts_what_could_have_been_elsewhere(void **state)
{
    struct fill_bound bound = {.boot_frames = 10240,
                               .plugged_frames = 10240,
                               .peak_unmovable_frames = 1000,
                               .used_frames = 5000,
                               .floor_frames = 240};

    (void)state;
    assert_int_equal(fill_bound_frames(&bound), 10240);
    bound.used_frames = 11024; /* with the floor, 1,024 more than fit */
    assert_int_equal(fill_bound_frames(&bound), 10240 - 1024);
    bound.used_frames = 11025; /* a pageblock goes as a whole */
    assert_int_equal(fill_bound_frames(&bound), 10240 - 1536);
    bound.peak_unmovable_frames = 10240 + 5120; /* had to be in the device's memory */
    assert_int_equal(fill_bound_frames(&bound), 10240 - 5120);
    bound.used_frames = 30000;
    assert_int_equal(fill_bound_frames(&bound), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_workload_fills_to_its_target_with_its_mixture),
        cmocka_unit_test(only_so_many_blocks_turn_over),
        cmocka_unit_test(the_rate_is_kept),
        cmocka_unit_test(reclaim_frees_reclaimable_blocks_only),
        cmocka_unit_test(a_torn_frame_is_seen),
        cmocka_unit_test(a_frame_that_is_held_twice_is_seen),
        cmocka_unit_test(moved_frames_keep_their_content),
        cmocka_unit_test(fills_free_what_they_say),
        cmocka_unit_test(the_bound_counts_what_could_have_been_elsewhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
