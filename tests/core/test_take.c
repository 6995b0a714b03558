/* SPDX-License-Identifier: MIT
 *
 * Taking ranges back, where the memmap is in an unusual state: never written, isolated, holes between runs.
 */
#include "core_fixture.h"

static const char owner;

/* A block of 128 MiB behind the boot memory whose memmap held something else before. */
static struct pleat_range_config used_range(struct fixture *f)
{
    struct pleat_range_config range = {
        .name = "test", .owner = &owner, .start_pfn = GIB_FRAMES, .frames = BLOCK_FRAMES};

    memset(pleat_hosted_pointer(f->hosted, range.start_pfn), 0xff, (size_t)pleat_memmap_bytes(&f->pleat));
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    return range;
}

/* Steps at most `steps` times. */
static int take(struct fixture *f, uint64_t start_pfn, uint64_t frames, enum pleat_take_goal goal,
                unsigned steps)
{
    struct pleat_take_config config = {
        .start_pfn = start_pfn, .frames = frames, .goal = goal, .owner = &owner};
    struct pleat_take job;
    int result = pleat_take_begin(&f->pleat, &job, &config);

    for (unsigned i = 0; i < steps && (i == 0 ? result == PLEAT_OK : result == PLEAT_MORE); i++)
        result = pleat_take_step(&f->pleat, &job, 1000);
    pleat_take_cancel(&f->pleat, &job);
    return result;
}

static void the_last_frame_of_an_unused_pageblock_can_be_taken(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_range_config range = used_range(f);
    uint64_t last = range.start_pfn + 20 * 512 + 511;

    (void)state;
    assert_int_equal(take(f, last, 1, PLEAT_TAKE_TO_ALLOCATED, 10), 0);
    assert_int_equal(pleat_free_range(&f->pleat, last, 1), 0);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_frame_of_an_unused_pageblock_can_be_taken),
    };
    return cmocka_run_group_tests_name("take", tests, NULL, NULL);
}
