/* SPDX-License-Identifier: MIT
 *
 * Taking ranges back: where the memmap is in an unusual state (never written, isolated, holes between runs),
 * and to be removed at once.
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

/* Two frames of each pageblock, one in each half: no run of 256 is left in it, though its count is high. */
static void ranges_that_were_taken_dont_hide_the_runs_of_other_pageblocks(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    uint64_t start = 2 * BLOCK_FRAMES;

    (void)state;
    for (unsigned i = 0; i < 60; i++) {
        assert_int_equal(pleat_alloc_range(&f->pleat, start + i * 512 + 100, 1, PLEAT_NO_TAG), 0);
        assert_int_equal(pleat_alloc_range(&f->pleat, start + i * 512 + 300, 1, PLEAT_NO_TAG), 0);
    }
    for (unsigned i = 0; i < 20; i++)
        assert_true(pleat_alloc(&f->pleat, 8, PLEAT_UNMOVABLE, PLEAT_NO_TAG) >= 0);
    fixture_free(f);
}

static void a_pageblock_that_becomes_free_while_isolated_isnt_unmovable_afterwards(void **state)
{
    const struct pleat_boot_span span = {.start_pfn = 0, .frames = 4 * 512};
    struct fixture *f = fixture_new(&span, 1, NULL);
    struct pleat_range_config range = used_range(f);
    struct pleat_take_config config = {
        .start_pfn = range.start_pfn, .frames = range.frames, .goal = PLEAT_TAKE_TO_OFFLINE, .owner = &owner};
    struct pleat_block_info info;
    struct pleat_take job;
    int64_t pfn[4096];

    (void)state;
    for (unsigned i = 0; i < 4096; i++) {
        pfn[i] = pleat_alloc(&f->pleat, 0, PLEAT_UNMOVABLE, PLEAT_NO_TAG);
        assert_true(pfn[i] >= 0);
    }
    assert_int_equal(pleat_block_info(&f->pleat, range.start_pfn, &info), 0);
    assert_true(info.unmovable_pageblocks > 4);
    for (unsigned i = 0; i < 4096; i++)
        assert_int_equal(pleat_free(&f->pleat, (uint64_t)pfn[i], 0), 0);
    assert_int_equal(pleat_take_begin(&f->pleat, &job, &config), 0);
    pleat_take_cancel(&f->pleat, &job);
    pleat_drain(&f->pleat);
    assert_int_equal(pleat_block_info(&f->pleat, range.start_pfn, &info), 0);
    assert_int_equal(info.unmovable_pageblocks, 0);
    fixture_free(f);
}

struct told {
    unsigned count, orders[8];
    uint64_t pfns[8];
};

static int tell(void *context, uint64_t pfn, unsigned order, unsigned of)
{
    struct told *told = context;

    assert_int_equal(of, 0);
    if (told->count < 8) {
        told->pfns[told->count] = pfn;
        told->orders[told->count] = order;
    }
    told->count++;
    return 0;
}

static void each_unmovable_allocation_is_told_once(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    uint64_t start = 2 * BLOCK_FRAMES;
    struct pleat_look look;
    struct told told = {0};
    int64_t huge, few;

    (void)state;
    /* One pageblock's frames one by one: more than are told in one go. */
    assert_int_equal(pleat_alloc_range(&f->pleat, start, 512, PLEAT_NO_TAG), 0);
    assert_int_equal(pleat_obstacles(&f->pleat, start, 1024, tell, &told), 0);
    assert_int_equal(told.count, 512);
    assert_int_equal(told.pfns[7], start + 7);
    assert_int_equal(pleat_free_range(&f->pleat, start, 512), 0);
    assert_int_equal(pleat_look(&f->pleat, start, 512, &look), 0);
    assert_int_equal(look.free, 512);

    /* An allocation of four pageblocks, wholly inside of what is looked at; then from its third on. */
    huge = pleat_alloc(&f->pleat, 11, PLEAT_UNMOVABLE, PLEAT_NO_TAG);
    few = pleat_alloc(&f->pleat, 5, PLEAT_UNMOVABLE, PLEAT_NO_TAG);
    assert_true(huge >= 0 && few >= 0);
    told = (struct told){0};
    assert_int_equal(pleat_obstacles(&f->pleat, (uint64_t)huge, 2048, tell, &told), 0);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.pfns[0], huge);
    assert_int_equal(told.orders[0], 11);
    told = (struct told){0};
    assert_int_equal(pleat_obstacles(&f->pleat, (uint64_t)huge + 1030, 1018, tell, &told), 0);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.pfns[0], huge + 1030);
    told = (struct told){0};
    assert_int_equal(pleat_obstacles(&f->pleat, (uint64_t)few, 32, tell, &told), 0);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.orders[0], 5);
    assert_int_equal(pleat_look(&f->pleat, (uint64_t)huge, 2048, &look), 0);
    assert_int_equal(look.unmovable, 2048);

    assert_int_equal(pleat_look(&f->pleat, 0, 0, &look), PLEAT_E_INVALID);
    assert_int_equal(pleat_look(&f->pleat, 16, UINT64_MAX - 8, &look), PLEAT_E_INVALID);
    assert_int_equal(pleat_look(&f->pleat, GIB_FRAMES - 1, 2, &look), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_obstacles(&f->pleat, 16, UINT64_MAX - 8, tell, &told), PLEAT_E_INVALID);
    assert_int_equal(pleat_obstacles(&f->pleat, GIB_FRAMES, 1, tell, &told), PLEAT_E_NOT_FOUND);
    fixture_free(f);
}

/* --- where evacuated frames go ---------------------------------------------------------------------------
 */

#define MOVED 3000u

/* How many of them are in the block behind `start_pfn`. */
static unsigned count_in_block(const struct mover *mover, uint64_t start_pfn)
{
    unsigned count = 0;

    for (unsigned i = 0; i < MOVED; i++)
        count += mover->where[i] - start_pfn < BLOCK_FRAMES;
    return count;
}

/* Takes the upper one of two movable blocks, where all of the mover's frames are. */
static void take_upper(struct fixture *f, struct mover *mover, uint64_t leaving_frames)
{
    struct pleat_take_config config = {.start_pfn = GIB_FRAMES + BLOCK_FRAMES,
                                       .frames = BLOCK_FRAMES,
                                       .goal = PLEAT_TAKE_TO_REMOVED,
                                       .owner = &owner,
                                       .leaving_pfn = GIB_FRAMES,
                                       .leaving_frames = leaving_frames};
    struct pleat_range_config range = {.name = "upper",
                                       .owner = &owner,
                                       .start_pfn = config.start_pfn,
                                       .frames = BLOCK_FRAMES,
                                       .flags = PLEAT_ADD_FORCE_ONLINE,
                                       .force_zone = PLEAT_ZONE_MOVABLE};
    struct pleat_take job;
    int result;

    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    for (unsigned i = 0; i < MOVED; i++) {
        int64_t pfn = pleat_alloc(&f->pleat, 0, PLEAT_MOVABLE, pleat_tag_make(mover->owner, i));

        assert_true(pfn >= (int64_t)config.start_pfn);
        mover->where[i] = (uint64_t)pfn;
    }
    range.start_pfn = GIB_FRAMES;
    range.name = "lower";
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    assert_int_equal(pleat_take_begin(&f->pleat, &job, &config), 0);
    do
        result = pleat_take_step(&f->pleat, &job, 100);
    while (result == PLEAT_MORE);
    assert_int_equal(result, 0);
    assert_int_equal(mover->moves, MOVED);
}

static void free_all(struct fixture *f, struct mover *mover)
{
    for (unsigned i = 0; i < MOVED; i++)
        assert_int_equal(pleat_free(&f->pleat, mover->where[i], 0), 0);
    free(mover->where);
    fixture_free(f);
}

static void what_moves_goes_into_the_movable_zone_first(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct mover mover;

    (void)state;
    mover_init(&mover, &f->pleat, MOVED);
    take_upper(f, &mover, 0);
    assert_int_equal(count_in_block(&mover, GIB_FRAMES), MOVED);
    free_all(f, &mover);
}

static void what_moves_avoids_what_will_be_taken_as_well(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct mover mover;

    (void)state;
    mover_init(&mover, &f->pleat, MOVED);
    take_upper(f, &mover, 2 * BLOCK_FRAMES);
    assert_int_equal(count_in_block(&mover, GIB_FRAMES), 0);
    free_all(f, &mover);
}

/* Boot memory has room for two pageblocks' worth of them. */
static void what_finds_no_other_room_goes_there_even_so(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct mover mover;
    int64_t pfn[2];

    (void)state;
    for (unsigned i = 0; i < 2; i++)
        pfn[i] = pleat_alloc(&f->pleat, 9, PLEAT_UNMOVABLE, PLEAT_NO_TAG);
    while (pleat_alloc(&f->pleat, 0, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG) >= 0)
        ;
    mover_init(&mover, &f->pleat, MOVED);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pleat_free(&f->pleat, (uint64_t)pfn[i], 9), 0);
    take_upper(f, &mover, 2 * BLOCK_FRAMES);
    assert_int_equal(count_in_block(&mover, GIB_FRAMES), MOVED - 1024);
    free_all(f, &mover);
}

/* --- taken and removed in one --------------------------------------------------------------------------- */

struct heard {
    enum pleat_event last;
    unsigned events;
    bool refuse;
};

static int hear(void *context, enum pleat_event event, uint64_t start_pfn, uint64_t frames, unsigned node,
                enum pleat_zone_kind zone)
{
    struct heard *heard = context;

    (void)start_pfn;
    (void)frames;
    (void)node;
    (void)zone;
    heard->last = event;
    heard->events++;
    return heard->refuse ? PLEAT_E_REFUSED : PLEAT_OK;
}

static void blocks_are_removed_in_the_step_that_takes_them(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_range_config range = used_range(f);
    struct heard heard = {0};
    struct pleat_listener listener = {.event = hear, .context = &heard};
    struct pleat_block_info info;

    (void)state;
    pleat_listener_add(&f->pleat, &listener);
    heard.refuse = true;
    assert_int_equal(take(f, range.start_pfn, range.frames, PLEAT_TAKE_TO_REMOVED, 0), PLEAT_E_REFUSED);
    heard.refuse = false;
    assert_int_equal(take(f, range.start_pfn, range.frames, PLEAT_TAKE_TO_REMOVED, 0), 0);
    assert_int_equal(heard.last, PLEAT_CANCEL_OFFLINE);
    assert_int_equal(pleat_block_info(&f->pleat, range.start_pfn, &info), 0);
    assert_int_equal(info.state, PLEAT_BLOCK_ONLINE);

    assert_int_equal(take(f, range.start_pfn, range.frames, PLEAT_TAKE_TO_REMOVED, 100), 0);
    assert_int_equal(heard.last, PLEAT_OFFLINE);
    assert_int_equal(pleat_block_info(&f->pleat, range.start_pfn, &info), PLEAT_E_NOT_FOUND);

    /* What is offline already goes without anybody being asked. */
    assert_int_equal(pleat_set_policy(&f->pleat, PLEAT_POLICY_OFFLINE, 0), 0);
    range = used_range(f);
    heard.events = 0;
    assert_int_equal(take(f, range.start_pfn, range.frames, PLEAT_TAKE_TO_REMOVED, 100), 0);
    assert_int_equal(heard.events, 0);
    assert_int_equal(pleat_block_info(&f->pleat, range.start_pfn, &info), PLEAT_E_NOT_FOUND);
    fixture_free(f);
}

static void only_what_its_owner_may_remove_is_taken_to_be_removed(void **state)
{
    static const char other;
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_range_config range = {.name = "whole",
                                       .owner = &owner,
                                       .start_pfn = GIB_FRAMES,
                                       .frames = 2 * BLOCK_FRAMES,
                                       .memmap_mode = PLEAT_MEMMAP_RANGE};
    struct pleat_take_config config = {.start_pfn = range.start_pfn, .goal = PLEAT_TAKE_TO_REMOVED};
    struct pleat_take job;

    (void)state;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    config.frames = range.frames;
    assert_int_equal(pleat_take_begin(&f->pleat, &job, &config), PLEAT_E_INVALID);
    config.owner = &other;
    assert_int_equal(pleat_take_begin(&f->pleat, &job, &config), PLEAT_E_NOT_OWNER);
    config.owner = &owner;
    config.frames = 3 * BLOCK_FRAMES;
    assert_int_equal(pleat_take_begin(&f->pleat, &job, &config), PLEAT_E_NOT_FOUND);
    /* Its memmaps are at the start of the range: half of it doesn't go, nor is it taken offline for nothing.
     */
    config.frames = BLOCK_FRAMES;
    assert_int_equal(pleat_take_begin(&f->pleat, &job, &config), PLEAT_E_NOT_OWNER);
    config.start_pfn = 0;
    assert_int_equal(pleat_take_begin(&f->pleat, &job, &config), PLEAT_E_NOT_OWNER);
    assert_int_equal(take(f, range.start_pfn, range.frames, PLEAT_TAKE_TO_REMOVED, 1000), 0);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_frame_of_an_unused_pageblock_can_be_taken),
        cmocka_unit_test(ranges_that_were_taken_dont_hide_the_runs_of_other_pageblocks),
        cmocka_unit_test(a_pageblock_that_becomes_free_while_isolated_isnt_unmovable_afterwards),
        cmocka_unit_test(each_unmovable_allocation_is_told_once),
        cmocka_unit_test(what_moves_goes_into_the_movable_zone_first),
        cmocka_unit_test(what_moves_avoids_what_will_be_taken_as_well),
        cmocka_unit_test(what_finds_no_other_room_goes_there_even_so),
        cmocka_unit_test(blocks_are_removed_in_the_step_that_takes_them),
        cmocka_unit_test(only_what_its_owner_may_remove_is_taken_to_be_removed),
    };
    return cmocka_run_group_tests_name("take", tests, NULL, NULL);
}
