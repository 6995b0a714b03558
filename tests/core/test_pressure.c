/* SPDX-License-Identifier: MIT
 *
 * When memory is nearly out, or time is: the watermark, the reclaim callback, the deadline of a take.
 */
#include "core_fixture.h"

#define WATERMARK 1000u

static const char owner;

/* What the reclaim callback can free, and how it was asked. */
static struct {
    struct fixture *f;
    unsigned order;
    unsigned count;
    uint64_t pfn[4096];
    unsigned asked;
    uint64_t frames; /* asked for last */
} stash;

static uint64_t reclaim(void *context, unsigned node, uint64_t frames)
{
    uint64_t freed = 0;

    assert_ptr_equal(context, &stash);
    assert_int_equal(node, 0);
    stash.asked++;
    stash.frames = frames;
    while (freed < frames && stash.count) {
        assert_int_equal(pleat_free(&stash.f->pleat, stash.pfn[--stash.count], stash.order), 0);
        freed += UINT64_C(1) << stash.order;
    }
    return freed;
}

static uint64_t now_ns;

static uint64_t clock_ns(void *context)
{
    (void)context;
    return now_ns;
}

/* The fixture's machine, booted again with another clock, or none. */
static void boot_again(struct fixture *f, struct pleat_port *port, uint64_t (*clock)(void *context))
{
    static const struct pleat_boot_span whole = {.start_pfn = 0, .frames = GIB_FRAMES};

    *port = *f->config.port;
    port->clock_ns = clock;
    f->config.port = port;
    memset(&f->pleat, 0, sizeof(f->pleat));
    assert_int_equal(pleat_init(&f->pleat, &f->config, &whole, 1), 0);
}

static void with_watermark(struct pleat_config *config)
{
    config->cpus = 1;
    config->watermark_frames = WATERMARK;
}

static void with_reclaim(struct pleat_config *config)
{
    config->reclaim = reclaim;
    config->reclaim_context = &stash;
}

static void stash_begin(struct fixture *f)
{
    memset(&stash, 0, sizeof(stash));
    stash.f = f;
}

static void stash_add(unsigned order, unsigned flags)
{
    int64_t pfn = pleat_alloc(&stash.f->pleat, order, flags, PLEAT_NO_TAG);

    assert_true(pfn >= 0);
    stash.order = order;
    stash.pfn[stash.count++] = (uint64_t)pfn;
}

static void exhaust(struct fixture *f, unsigned order, unsigned flags)
{
    while (pleat_alloc(&f->pleat, order, flags | PLEAT_ALLOC_NO_RECLAIM, PLEAT_NO_TAG) >= 0)
        continue;
}

/* --- the watermark -------------------------------------------------------------------------------------- */

static void the_watermark_is_kept_for_those_who_may_use_it(void **state)
{
    (void)state;
    for (unsigned order = 0; order <= 9; order++) {
        struct fixture *f = fixture_new(NULL, 0, with_watermark);
        uint64_t left;

        exhaust(f, order, 0);
        left = pleat_free_frames(&f->pleat);
        /* Single frames come from a cache that was filled before. */
        assert_in_range(left, WATERMARK - (order ? 0 : 64), WATERMARK + (1u << order));
        assert_true(pleat_alloc(&f->pleat, 1, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG) >= 0);
        exhaust(f, 0, PLEAT_ALLOC_RESERVE);
        assert_int_equal(pleat_free_frames(&f->pleat), 0);
        fixture_free(f);
    }
}

static void without_a_wish_the_watermark_is_a_part_of_boot_memory(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_port port;

    (void)state;
    f->config.watermark_frames = 0;
    boot_again(f, &port, NULL);
    exhaust(f, 1, 0);
    assert_in_range(pleat_free_frames(&f->pleat), GIB_FRAMES / 256 - 8, GIB_FRAMES / 256 + 2);
    fixture_free(f);
}

/* --- reclaim -------------------------------------------------------------------------------------------- */

static void an_allocation_asks_before_it_fails(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, with_reclaim);

    (void)state;
    stash_begin(f);
    stash_add(4, PLEAT_RECLAIMABLE);
    exhaust(f, 4, PLEAT_ALLOC_RESERVE);
    assert_int_equal(stash.asked, 0);
    assert_true(pleat_alloc(&f->pleat, 4, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG) >= 0);
    assert_int_equal(stash.asked, 1);
    assert_int_equal(stash.frames, 16);
    assert_int_equal(pleat_alloc(&f->pleat, 4, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG), PLEAT_E_NO_MEMORY);
    assert_int_equal(stash.asked, 2);
    fixture_free(f);
}

static struct pleat_range_config added_range(struct fixture *f)
{
    struct pleat_range_config range = {.name = "test",
                                       .owner = &owner,
                                       .start_pfn = GIB_FRAMES,
                                       .frames = BLOCK_FRAMES,
                                       .flags = PLEAT_ADD_FORCE_ONLINE,
                                       .force_zone = PLEAT_ZONE_NORMAL};

    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    return range;
}

static void reclaimable_frames_are_asked_for_before_a_take_fails(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, with_reclaim);
    struct pleat_range_config range;
    struct pleat_take_config config = {.goal = PLEAT_TAKE_TO_OFFLINE, .owner = &owner};
    struct pleat_look look;
    struct pleat_take take;
    uint64_t moved;
    int result;

    (void)state;
    stash_begin(f);
    exhaust(f, 9, PLEAT_ALLOC_RESERVE);
    range = added_range(f);
    config.start_pfn = range.start_pfn;
    config.frames = range.frames;
    for (unsigned i = 0; i < 3; i++) {
        stash_add(9, PLEAT_RECLAIMABLE | PLEAT_ALLOC_RESERVE);
        assert_true(stash.pfn[i] >= range.start_pfn);
    }
    stash.asked = 0;
    assert_int_equal(pleat_take_begin(&f->pleat, &take, &config), 0);
    assert_int_equal(stash.asked, 1);
    assert_int_equal(stash.frames, 3 * 512);
    do
        result = pleat_take_step(&f->pleat, &take, 1000);
    while (result == PLEAT_MORE);
    assert_int_equal(result, 0);

    /* Who can't free them all hasn't helped. */
    assert_int_equal(pleat_online(&f->pleat, range.start_pfn, range.frames, PLEAT_ZONE_NORMAL), 0);
    stash_add(9, PLEAT_RECLAIMABLE | PLEAT_ALLOC_RESERVE);
    assert_true(pleat_alloc(&f->pleat, 9, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG) >= (int64_t)range.start_pfn);
    assert_int_equal(pleat_take_begin(&f->pleat, &take, &config), PLEAT_E_UNMOVABLE);
    pleat_take_report(&take, &moved, &look);
    assert_int_equal(look.unmovable, 512);
    fixture_free(f);
}

static void an_evacuation_asks_for_room_before_it_fails(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, with_reclaim);
    struct pleat_range_config range;
    struct pleat_take_config config = {.goal = PLEAT_TAKE_TO_OFFLINE, .owner = &owner};
    struct pleat_block_info info;
    struct pleat_look look;
    struct pleat_take take;
    struct mover mover;
    uint64_t moved;
    int result;

    (void)state;
    stash_begin(f);
    mover_init(&mover, &f->pleat, 300);
    for (unsigned i = 0; i < 2; i++)
        stash_add(9, PLEAT_ALLOC_RESERVE);
    exhaust(f, 0, PLEAT_ALLOC_RESERVE);
    range = added_range(f);
    config.start_pfn = range.start_pfn;
    config.frames = range.frames;
    for (unsigned i = 0; i < 300; i++) {
        int64_t pfn =
            pleat_alloc(&f->pleat, 2, PLEAT_MOVABLE | PLEAT_ALLOC_RESERVE, pleat_tag_make(mover.owner, i));

        assert_true(pfn >= (int64_t)range.start_pfn);
        mover.where[i] = (uint64_t)pfn;
    }
    /* 1200 frames have to go; there is room for 1024. */
    assert_int_equal(pleat_take_begin(&f->pleat, &take, &config), 0);
    do
        result = pleat_take_step(&f->pleat, &take, 100);
    while (result == PLEAT_MORE);
    assert_int_equal(result, PLEAT_E_NO_MEMORY);
    pleat_take_report(&take, &moved, &look);
    assert_int_equal(moved, 1024);
    assert_int_equal(stash.asked, 3);
    assert_int_equal(pleat_block_info(&f->pleat, range.start_pfn, &info), 0);
    assert_int_equal(info.state, PLEAT_BLOCK_ONLINE);
    assert_true(pleat_is_valid(&f->pleat));
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(pleat_free(&f->pleat, mover.where[i], 2), 0);
    free(mover.where);
    fixture_free(f);
}

/* --- the deadline --------------------------------------------------------------------------------------- */

static void a_take_ends_at_its_deadline_with_all_in_use_as_before(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_range_config range;
    struct pleat_take_config config = {.goal = PLEAT_TAKE_TO_OFFLINE, .owner = &owner, .deadline_ns = 500};
    struct pleat_block_info info;
    struct pleat_look look;
    struct pleat_take take;
    struct mover mover;
    struct pleat_port port;
    uint64_t moved, before;

    (void)state;
    boot_again(f, &port, clock_ns);
    range = added_range(f);
    config.start_pfn = range.start_pfn;
    config.frames = range.frames;
    mover_init(&mover, &f->pleat, 10);
    for (unsigned i = 0; i < 10; i++)
        mover.where[i] = (uint64_t)pleat_alloc(&f->pleat, 1, PLEAT_MOVABLE, pleat_tag_make(mover.owner, i));
    before = pleat_free_frames(&f->pleat);
    mover.pin_from = 9;
    mover.pin_to = 10;
    now_ns = 100;
    assert_int_equal(pleat_take_begin(&f->pleat, &take, &config), 0);
    /* While there is time, pinned frames are tried again and again. */
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(pleat_take_step(&f->pleat, &take, 10000), PLEAT_MORE);
    now_ns = 499;
    assert_int_equal(pleat_take_step(&f->pleat, &take, 10000), PLEAT_MORE);
    now_ns = 500;
    assert_int_equal(pleat_take_step(&f->pleat, &take, 10000), PLEAT_E_TIMEOUT);
    pleat_take_report(&take, &moved, &look);
    assert_int_equal(moved, 18);
    assert_int_equal(look.pinned, 2);
    assert_int_equal(look.first_obstacle_pfn, mover.where[9]);
    assert_int_equal(pleat_block_info(&f->pleat, range.start_pfn, &info), 0);
    assert_int_equal(info.state, PLEAT_BLOCK_ONLINE);
    assert_int_equal(pleat_free_frames(&f->pleat), before);
    assert_int_equal(pleat_take_step(&f->pleat, &take, 10000), PLEAT_E_STATE);
    free(mover.where);
    fixture_free(f);
}

static void without_a_clock_a_deadline_is_refused(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_take_config config = {.goal = PLEAT_TAKE_TO_OFFLINE, .owner = &owner, .deadline_ns = 500};
    struct pleat_memory memory;
    struct pleat_port port;
    struct pleat_take take;

    (void)state;
    boot_again(f, &port, NULL);
    config.start_pfn = added_range(f).start_pfn;
    config.frames = BLOCK_FRAMES;
    assert_int_equal(pleat_take_begin(&f->pleat, &take, &config), PLEAT_E_UNSUPPORTED);
    config.deadline_ns = 0;
    assert_int_equal(pleat_take_begin(&f->pleat, &take, &config), 0);
    pleat_take_cancel(&f->pleat, &take);
    pleat_memory_init(&f->pleat, &memory);
    assert_null(memory.ops->clock_ns);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_watermark_is_kept_for_those_who_may_use_it),
        cmocka_unit_test(without_a_wish_the_watermark_is_a_part_of_boot_memory),
        cmocka_unit_test(an_allocation_asks_before_it_fails),
        cmocka_unit_test(reclaimable_frames_are_asked_for_before_a_take_fails),
        cmocka_unit_test(an_evacuation_asks_for_room_before_it_fails),
        cmocka_unit_test(a_take_ends_at_its_deadline_with_all_in_use_as_before),
        cmocka_unit_test(without_a_clock_a_deadline_is_refused),
    };
    return cmocka_run_group_tests_name("pressure", tests, NULL, NULL);
}
