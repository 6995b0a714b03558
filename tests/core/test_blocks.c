/* SPDX-License-Identifier: MIT
 *
 * Memory blocks: add, online, give, take, offline, remove; listeners; policies; memmap modes.
 */
#include "core_fixture.h"

static const char owner_a, owner_b;

static struct pleat_range_config range_at(unsigned block, unsigned blocks)
{
    return (struct pleat_range_config){.name = "test",
                                       .owner = &owner_a,
                                       .start_pfn = GIB_FRAMES + block * BLOCK_FRAMES,
                                       .frames = blocks * BLOCK_FRAMES};
}

static int take(struct fixture *f, struct pleat_take *take, uint64_t start, uint64_t frames,
                enum pleat_take_goal goal)
{
    struct pleat_take_config config = {.start_pfn = start, .frames = frames, .goal = goal, .owner = &owner_a};
    int result = pleat_take_begin(&f->pleat, take, &config);

    while (result == PLEAT_OK || result == PLEAT_MORE) {
        result = pleat_take_step(&f->pleat, take, 1000);
        if (result == PLEAT_OK)
            return result;
    }
    return result;
}

static void a_block_lives_through_all_states(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_range_config range = range_at(0, 2);
    uint64_t before = pleat_free_frames(&f->pleat);
    struct pleat_block_info info;
    struct pleat_take t;

    (void)state;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    assert_int_equal(pleat_add(&f->pleat, &range), PLEAT_E_EXISTS);
    assert_int_equal(pleat_free_frames(&f->pleat), before + 2 * (BLOCK_FRAMES - 66));
    assert_true(pleat_is_valid(&f->pleat));
    assert_int_equal(pleat_block_info(&f->pleat, range.start_pfn, &info), 0);
    assert_int_equal(info.state, PLEAT_BLOCK_ONLINE);
    assert_int_equal(info.memmap_frames, 66);
    assert_int_equal(info.free_pageblocks, 63);
    assert_int_equal(pleat_remove(&f->pleat, &owner_a, range.start_pfn, BLOCK_FRAMES), PLEAT_E_STATE);
    assert_int_equal(take(f, &t, range.start_pfn, BLOCK_FRAMES, PLEAT_TAKE_TO_OFFLINE), 0);
    assert_true(pleat_is_valid(&f->pleat));
    assert_int_equal(pleat_free_frames(&f->pleat), before + BLOCK_FRAMES - 66);
    assert_int_equal(pleat_remove(&f->pleat, &owner_b, range.start_pfn, BLOCK_FRAMES), PLEAT_E_NOT_OWNER);
    assert_int_equal(pleat_online(&f->pleat, range.start_pfn, BLOCK_FRAMES, PLEAT_ZONE_MOVABLE), 0);
    assert_int_equal(pleat_block_info(&f->pleat, range.start_pfn, &info), 0);
    assert_int_equal(info.zone, PLEAT_ZONE_MOVABLE);
    assert_int_equal(take(f, &t, range.start_pfn, 2 * BLOCK_FRAMES, PLEAT_TAKE_TO_OFFLINE), 0);
    assert_int_equal(pleat_remove(&f->pleat, &owner_a, range.start_pfn, 2 * BLOCK_FRAMES), 0);
    assert_int_equal(pleat_block_info(&f->pleat, range.start_pfn, &info), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_free_frames(&f->pleat), before);
    fixture_free(f);
}

static void pieces_are_withheld_and_given(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_range_config range = range_at(0, 1);
    uint64_t piece = range.start_pfn + 10 * 512;
    uint64_t before;
    struct pleat_block_info info;
    struct pleat_take t;

    (void)state;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    before = pleat_free_frames(&f->pleat);
    assert_int_equal(pleat_give(&f->pleat, &owner_a, piece, 512), PLEAT_E_STATE);
    assert_int_equal(take(f, &t, piece, 4 * 512, PLEAT_TAKE_TO_FAKE_OFFLINE), 0);
    assert_int_equal(take(f, &t, range.start_pfn, 512, PLEAT_TAKE_TO_FAKE_OFFLINE), 0);
    assert_true(pleat_is_valid(&f->pleat));
    assert_int_equal(pleat_free_frames(&f->pleat), before - 4 * 512 - (512 - 66));
    assert_int_equal(pleat_block_info(&f->pleat, piece, &info), 0);
    assert_int_equal(info.fake_offline_frames, 5 * 512 - 66);
    assert_int_equal(pleat_give(&f->pleat, &owner_b, piece, 512), PLEAT_E_NOT_OWNER);
    assert_int_equal(pleat_give(&f->pleat, &owner_a, piece, 4 * 512), 0);
    assert_int_equal(pleat_give(&f->pleat, &owner_a, range.start_pfn, 512), 0);
    assert_int_equal(pleat_free_frames(&f->pleat), before);
    assert_true(pleat_is_valid(&f->pleat));
    fixture_free(f);
}

static void movable_frames_move_out_and_none_is_lost(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_range_config range = range_at(0, 1);
    const unsigned count = 20000;
    struct pleat_take t;
    struct pleat_look look;
    struct mover mover;
    uint64_t moved, before;

    (void)state;
    range.flags = PLEAT_ADD_FORCE_ONLINE;
    range.force_zone = PLEAT_ZONE_MOVABLE;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    before = pleat_free_frames(&f->pleat);
    mover_init(&mover, &f->pleat, count);
    for (unsigned i = 0; i < count; i++) {
        int64_t pfn = pleat_alloc(&f->pleat, 0, PLEAT_MOVABLE, pleat_tag_make(mover.owner, i));

        assert_true(pfn >= (int64_t)range.start_pfn);
        mover.where[i] = (uint64_t)pfn;
    }
    assert_int_equal(pleat_look(&f->pleat, range.start_pfn, BLOCK_FRAMES, &look), 0);
    assert_int_equal(look.movable, count);
    assert_int_equal(take(f, &t, range.start_pfn, BLOCK_FRAMES, PLEAT_TAKE_TO_OFFLINE), 0);
    pleat_take_report(&t, &moved, &look);
    assert_int_equal(moved, count);
    assert_int_equal(mover.moves, count);
    for (unsigned i = 0; i < count; i++) {
        assert_true(mover.where[i] < GIB_FRAMES);
        assert_int_equal(pleat_free(&f->pleat, mover.where[i], 0), 0);
    }
    assert_int_equal(pleat_free_frames(&f->pleat), before - (BLOCK_FRAMES - 66));
    free(mover.where);
    fixture_free(f);
}

static void an_unmovable_frame_fails_the_take_before_anything_moves(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_range_config range = range_at(0, 1);
    struct mover mover;
    struct pleat_take t;
    struct pleat_look look;
    uint64_t moved;
    int kernel = pleat_owner_register(&f->pleat, "kernel stack", NULL, NULL);
    int64_t pfn;

    (void)state;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    mover_init(&mover, &f->pleat, 1);
    pfn = pleat_alloc(&f->pleat, 0, PLEAT_MOVABLE, pleat_tag_make(mover.owner, 0));
    assert_true(pfn >= (int64_t)range.start_pfn);
    mover.where[0] = (uint64_t)pfn;
    assert_int_equal(
        pleat_alloc_range(&f->pleat, range.start_pfn + 5000, 1, pleat_tag_make((unsigned)kernel, 0)), 0);
    assert_int_equal(take(f, &t, range.start_pfn, BLOCK_FRAMES, PLEAT_TAKE_TO_OFFLINE), PLEAT_E_UNMOVABLE);
    pleat_take_report(&t, &moved, &look);
    assert_int_equal(moved, 0);
    assert_int_equal(mover.moves, 0);
    assert_int_equal(look.unmovable, 1);
    assert_int_equal(look.first_obstacle_pfn, range.start_pfn + 5000);
    assert_string_equal(pleat_owner_name(&f->pleat, look.first_obstacle_owner), "kernel stack");
    assert_int_equal(pleat_free_range(&f->pleat, range.start_pfn + 5000, 1), 0);
    assert_int_equal(take(f, &t, range.start_pfn, BLOCK_FRAMES, PLEAT_TAKE_TO_OFFLINE), 0);
    free(mover.where);
    fixture_free(f);
}

static void pinned_frames_are_reported_and_put_back(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_range_config range = range_at(0, 1);
    struct mover mover;
    struct pleat_take t;
    struct pleat_look look;
    uint64_t moved;

    (void)state;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    mover_init(&mover, &f->pleat, 10);
    for (unsigned i = 0; i < 10; i++)
        mover.where[i] = (uint64_t)pleat_alloc(&f->pleat, 1, PLEAT_MOVABLE, pleat_tag_make(mover.owner, i));
    mover.pin_from = 3;
    mover.pin_to = 5;
    assert_int_equal(take(f, &t, range.start_pfn, BLOCK_FRAMES, PLEAT_TAKE_TO_OFFLINE), PLEAT_E_UNMOVABLE);
    pleat_take_report(&t, &moved, &look);
    assert_int_equal(moved, 16);
    assert_int_equal(look.pinned, 4);
    assert_int_equal(look.first_obstacle_owner, mover.owner);
    assert_true(pleat_is_valid(&f->pleat));
    mover.pin_to = 0;
    assert_int_equal(take(f, &t, range.start_pfn, BLOCK_FRAMES, PLEAT_TAKE_TO_OFFLINE), 0);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(pleat_free(&f->pleat, mover.where[i], 1), 0);
    free(mover.where);
    fixture_free(f);
}

static void memmap_modes_and_their_granularity(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    uint64_t before = pleat_free_frames(&f->pleat);
    struct pleat_range_config range = range_at(0, 4);
    struct pleat_take t;

    (void)state;
    range.memmap_mode = PLEAT_MEMMAP_RANGE;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    assert_int_equal(pleat_free_frames(&f->pleat), before + 4 * (BLOCK_FRAMES - 66));
    assert_true(pleat_is_valid(&f->pleat));
    assert_int_equal(take(f, &t, range.start_pfn, 4 * BLOCK_FRAMES, PLEAT_TAKE_TO_OFFLINE), 0);
    assert_int_equal(pleat_remove(&f->pleat, &owner_a, range.start_pfn, BLOCK_FRAMES), PLEAT_E_NOT_OWNER);
    assert_int_equal(pleat_remove(&f->pleat, &owner_a, range.start_pfn + BLOCK_FRAMES, 3 * BLOCK_FRAMES),
                     PLEAT_E_NOT_OWNER);
    assert_int_equal(pleat_remove(&f->pleat, &owner_a, range.start_pfn, 4 * BLOCK_FRAMES), 0);
    assert_int_equal(pleat_free_frames(&f->pleat), before);
    range.memmap_mode = PLEAT_MEMMAP_NORMAL;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    assert_int_equal(pleat_free_frames(&f->pleat), before + 4 * BLOCK_FRAMES - 4 * 66);
    assert_true(pleat_is_valid(&f->pleat));
    assert_int_equal(take(f, &t, range.start_pfn + BLOCK_FRAMES, BLOCK_FRAMES, PLEAT_TAKE_TO_OFFLINE), 0);
    assert_int_equal(pleat_remove(&f->pleat, &owner_a, range.start_pfn + BLOCK_FRAMES, BLOCK_FRAMES), 0);
    assert_int_equal(pleat_free_frames(&f->pleat), before + 3 * BLOCK_FRAMES - 3 * 66);
    fixture_free(f);
}

struct hearer {
    struct pleat_listener listener;
    char heard[64];
    unsigned count;
    enum pleat_event refuse;
};

static int hear(void *context, enum pleat_event event, uint64_t start_pfn, uint64_t frames, unsigned node,
                enum pleat_zone_kind zone)
{
    struct hearer *hearer = context;

    (void)start_pfn;
    (void)frames;
    (void)node;
    (void)zone;
    hearer->heard[hearer->count++ % 63] = "GOCgoc"[event];
    return event == hearer->refuse ? PLEAT_E_REFUSED : PLEAT_OK;
}

static void listeners_hear_in_order_and_can_refuse(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct hearer first = {.refuse = PLEAT_CANCEL_OFFLINE}, second = {.refuse = PLEAT_CANCEL_OFFLINE};
    struct pleat_range_config range = range_at(0, 1);
    struct pleat_block_info info;
    struct pleat_take t;

    (void)state;
    first.listener = (struct pleat_listener){.event = hear, .context = &first, .priority = 5};
    second.listener = (struct pleat_listener){.event = hear, .context = &second, .priority = 1};
    pleat_listener_add(&f->pleat, &second.listener);
    pleat_listener_add(&f->pleat, &first.listener);
    second.refuse = PLEAT_GOING_ONLINE;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    assert_int_equal(pleat_block_info(&f->pleat, range.start_pfn, &info), 0);
    assert_int_equal(info.state, PLEAT_BLOCK_OFFLINE);
    assert_string_equal(first.heard, "GC");
    assert_string_equal(second.heard, "G");
    assert_int_equal(pleat_online(&f->pleat, range.start_pfn, BLOCK_FRAMES, PLEAT_ZONE_NORMAL),
                     PLEAT_E_REFUSED);
    second.refuse = PLEAT_GOING_OFFLINE;
    assert_int_equal(pleat_online(&f->pleat, range.start_pfn, BLOCK_FRAMES, PLEAT_ZONE_NORMAL), 0);
    assert_int_equal(take(f, &t, range.start_pfn, BLOCK_FRAMES, PLEAT_TAKE_TO_OFFLINE), PLEAT_E_REFUSED);
    assert_string_equal(first.heard, "GCGCGOgc");
    assert_string_equal(second.heard, "GGGOg");
    assert_true(pleat_is_valid(&f->pleat));
    assert_int_equal(pleat_listener_remove(&f->pleat, &second.listener), 0);
    assert_int_equal(pleat_listener_remove(&f->pleat, &second.listener), PLEAT_E_NOT_FOUND);
    assert_int_equal(take(f, &t, range.start_pfn, BLOCK_FRAMES, PLEAT_TAKE_TO_OFFLINE), 0);
    assert_string_equal(first.heard, "GCGCGOgcgo");
    fixture_free(f);
}

static void policies_choose_zones_and_force_online_overrules(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_block_info info;

    (void)state;
    assert_int_equal(pleat_set_policy(&f->pleat, PLEAT_POLICY_OFFLINE, 0), 0);
    for (unsigned i = 0; i < 2; i++) {
        struct pleat_range_config range = range_at(i, 1);

        range.flags = i ? PLEAT_ADD_FORCE_ONLINE : 0;
        range.force_zone = PLEAT_ZONE_MOVABLE;
        assert_int_equal(pleat_add(&f->pleat, &range), 0);
        assert_int_equal(pleat_block_info(&f->pleat, range.start_pfn, &info), 0);
        assert_int_equal(info.state, i ? PLEAT_BLOCK_ONLINE : PLEAT_BLOCK_OFFLINE);
    }
    /* 8 blocks of boot memory are NORMAL: with 1 : 1, eight blocks are PREFER_MOVABLE, then one more is
     * NORMAL. */
    assert_int_equal(pleat_set_policy(&f->pleat, PLEAT_POLICY_PREFER_MOVABLE, 1), 0);
    for (unsigned i = 2; i < 12; i++) {
        struct pleat_range_config range = range_at(i, 1);

        assert_int_equal(pleat_add(&f->pleat, &range), 0);
        assert_int_equal(pleat_block_info(&f->pleat, range.start_pfn, &info), 0);
        assert_int_equal(info.zone, i < 10 || i == 11 ? PLEAT_ZONE_PREFER_MOVABLE : PLEAT_ZONE_NORMAL);
    }
    assert_int_equal(pleat_set_policy(&f->pleat, PLEAT_POLICY_AUTO_MOVABLE, 12), 0);
    {
        struct pleat_range_config range = range_at(12, 1);

        assert_int_equal(pleat_add(&f->pleat, &range), 0);
        assert_int_equal(pleat_block_info(&f->pleat, range.start_pfn, &info), 0);
        assert_int_equal(info.zone, PLEAT_ZONE_MOVABLE);
        range = range_at(13, 1);
        assert_int_equal(pleat_add(&f->pleat, &range), 0);
        assert_int_equal(pleat_block_info(&f->pleat, range.start_pfn, &info), 0);
        assert_int_equal(info.zone, PLEAT_ZONE_NORMAL);
    }
    fixture_free(f);
}

static void each_policy_has_its_zone(void **state)
{
    static const struct {
        enum pleat_online_policy policy;
        enum pleat_block_state state;
        enum pleat_zone_kind zone;
    } policies[] = {
        {PLEAT_POLICY_ONLINE, PLEAT_BLOCK_ONLINE, PLEAT_ZONE_NORMAL},
        {PLEAT_POLICY_OFFLINE, PLEAT_BLOCK_OFFLINE, PLEAT_ZONE_NORMAL},
        {PLEAT_POLICY_ONLINE_KERNEL, PLEAT_BLOCK_ONLINE, PLEAT_ZONE_NORMAL},
        {PLEAT_POLICY_ONLINE_MOVABLE, PLEAT_BLOCK_ONLINE, PLEAT_ZONE_MOVABLE},
        {PLEAT_POLICY_AUTO_MOVABLE, PLEAT_BLOCK_ONLINE, PLEAT_ZONE_MOVABLE},
        {PLEAT_POLICY_PREFER_MOVABLE, PLEAT_BLOCK_ONLINE, PLEAT_ZONE_PREFER_MOVABLE},
    };
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_block_info info;

    (void)state;
    for (unsigned i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
        struct pleat_range_config range = range_at(2 * i, 1);

        assert_int_equal(pleat_set_policy(&f->pleat, policies[i].policy, 0), 0);
        assert_int_equal(pleat_add(&f->pleat, &range), 0);
        assert_int_equal(pleat_block_info(&f->pleat, range.start_pfn, &info), 0);
        assert_int_equal(info.state, policies[i].state);
        if (info.state == PLEAT_BLOCK_ONLINE)
            assert_int_equal(info.zone, policies[i].zone);
        /* An owner who can't work otherwise isn't asked what the administrator's choice is. */
        range = range_at(2 * i + 1, 1);
        range.flags = PLEAT_ADD_FORCE_ONLINE;
        range.force_zone = i % 2 ? PLEAT_ZONE_NORMAL : PLEAT_ZONE_MOVABLE;
        assert_int_equal(pleat_add(&f->pleat, &range), 0);
        assert_int_equal(pleat_block_info(&f->pleat, range.start_pfn, &info), 0);
        assert_int_equal(info.state, PLEAT_BLOCK_ONLINE);
        assert_int_equal(info.zone, range.force_zone);
    }
    assert_int_equal(
        pleat_set_policy(&f->pleat, (enum pleat_online_policy)(PLEAT_POLICY_PREFER_MOVABLE + 1), 0),
        PLEAT_E_INVALID);
    fixture_free(f);
}

static void two_nodes(struct pleat_config *config)
{
    config->nodes = 2;
    config->policy = PLEAT_POLICY_OFFLINE;
}

static void a_memmap_mode_that_cant_be_served_is_an_error_unless_hinted(void **state)
{
    /* All boot memory is on node 0. */
    struct fixture *f = fixture_new(NULL, 0, two_nodes);
    uint64_t before = pleat_free_frames(&f->pleat);
    struct pleat_range_config range = range_at(0, 3);
    struct pleat_range_info info;
    struct pleat_look look;

    (void)state;
    range.node = 1;
    range.memmap_mode = PLEAT_MEMMAP_NORMAL;
    assert_int_equal(pleat_add(&f->pleat, &range), PLEAT_E_NO_MEMORY);
    assert_int_equal(pleat_range_info(&f->pleat, range.start_pfn, &info), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_free_frames(&f->pleat), before);

    /* First another node ... */
    range.flags = PLEAT_MEMMAP_HINT;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    assert_int_equal(pleat_range_info(&f->pleat, range.start_pfn, &info), 0);
    assert_int_equal(info.memmap_mode, PLEAT_MEMMAP_NORMAL);
    assert_int_equal(pleat_free_frames(&f->pleat), before - 3 * 66);
    assert_int_equal(pleat_remove(&f->pleat, &owner_a, range.start_pfn, range.frames), 0);
    assert_int_equal(pleat_free_frames(&f->pleat), before);

    /* ... then another mode. There is room for two memmaps, which doesn't stay with them. */
    while (pleat_alloc(&f->pleat, 7, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG) >= 0)
        continue;
    while (pleat_alloc(&f->pleat, 0, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG) >= 0)
        continue;
    assert_int_equal(pleat_look(&f->pleat, 0, 1024, &look), 0);
    assert_int_equal(look.unmovable, 1024);
    for (uint64_t pfn = 0; pfn < 256; pfn += 128)
        assert_int_equal(pleat_free(&f->pleat, pfn, 7), 0);
    range.node = 0;
    range.flags = 0;
    assert_int_equal(pleat_add(&f->pleat, &range), PLEAT_E_NO_MEMORY);
    assert_int_equal(pleat_free_frames(&f->pleat), 256);
    assert_true(pleat_is_valid(&f->pleat));
    range.flags = PLEAT_MEMMAP_HINT;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    assert_int_equal(pleat_range_info(&f->pleat, range.start_pfn, &info), 0);
    assert_int_equal(info.memmap_mode, PLEAT_MEMMAP_BLOCK);
    assert_int_equal(pleat_free_frames(&f->pleat), 256);
    assert_int_equal(pleat_remove(&f->pleat, &owner_a, range.start_pfn, BLOCK_FRAMES), 0);
    fixture_free(f);
}

static void boot_maps_may_have_holes_and_odd_edges(void **state)
{
    static const struct pleat_boot_span spans[] = {
        {.start_pfn = 1, .frames = 158, .use = PLEAT_BOOT_FREE},
        {.start_pfn = 159, .frames = 97, .use = PLEAT_BOOT_RESERVED},
        {.start_pfn = 256, .frames = 1000, .use = PLEAT_BOOT_IN_USE},
        {.start_pfn = 1256, .frames = 5003, .use = PLEAT_BOOT_FREE},
        {.start_pfn = 40001, .frames = 1000, .use = PLEAT_BOOT_FREE},
    };
    struct fixture *f = fixture_new(spans, 5, NULL);
    struct pleat_block_info info;
    uint64_t before = pleat_free_frames(&f->pleat);

    (void)state;
    assert_int_equal(pleat_block_info(&f->pleat, 0, &info), 0);
    assert_int_equal(info.absent_frames, BLOCK_FRAMES - (158 + 97 + 1000 + 5003));
    assert_int_equal(pleat_block_info(&f->pleat, 40001, &info), 0);
    assert_int_equal(info.absent_frames, BLOCK_FRAMES - 1000);
    assert_false(info.removable);
    assert_int_equal(pleat_release_boot(&f->pleat, 255, 10), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_release_boot(&f->pleat, 256, 1001), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_free_frames(&f->pleat), before);
    assert_int_equal(pleat_release_boot(&f->pleat, 256, 1000), 0);
    assert_int_equal(pleat_release_boot(&f->pleat, 256, 1000), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_free_frames(&f->pleat), before + 1000);
    for (;;) {
        int64_t pfn = pleat_alloc(&f->pleat, 0, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG);

        if (pfn < 0)
            break;
        assert_true((pfn >= 1 && pfn < 159) || (pfn >= 256 && pfn < 6259) || (pfn >= 40001 && pfn < 41001));
    }
    fixture_free(f);
}

static void any_range_can_be_allocated_and_freed(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_range_config range = range_at(0, 1);
    uint64_t start = range.start_pfn + 1000, before;
    struct mover mover;

    (void)state;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    before = pleat_free_frames(&f->pleat);
    mover_init(&mover, &f->pleat, 5000);
    for (unsigned i = 0; i < 5000; i++)
        mover.where[i] = (uint64_t)pleat_alloc(&f->pleat, 0, PLEAT_MOVABLE, pleat_tag_make(mover.owner, i));
    assert_int_equal(pleat_alloc_range(&f->pleat, start, 3333, PLEAT_NO_TAG), 0);
    assert_int_equal(pleat_alloc_range(&f->pleat, start + 3332, 1, PLEAT_NO_TAG), PLEAT_E_UNMOVABLE);
    assert_int_equal(pleat_alloc_range(&f->pleat, range.start_pfn, 100, PLEAT_NO_TAG), PLEAT_E_STATE);
    assert_true(mover.moves > 0);
    assert_true(pleat_is_valid(&f->pleat));
    for (unsigned i = 0; i < 5000; i++) {
        assert_true(mover.where[i] < start || mover.where[i] >= start + 3333);
        assert_int_equal(pleat_free(&f->pleat, mover.where[i], 0), 0);
    }
    assert_int_equal(pleat_free_range(&f->pleat, start, 3333), 0);
    assert_int_equal(pleat_free_frames(&f->pleat), before);
    free(mover.where);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_lives_through_all_states),
        cmocka_unit_test(pieces_are_withheld_and_given),
        cmocka_unit_test(movable_frames_move_out_and_none_is_lost),
        cmocka_unit_test(an_unmovable_frame_fails_the_take_before_anything_moves),
        cmocka_unit_test(pinned_frames_are_reported_and_put_back),
        cmocka_unit_test(memmap_modes_and_their_granularity),
        cmocka_unit_test(listeners_hear_in_order_and_can_refuse),
        cmocka_unit_test(policies_choose_zones_and_force_online_overrules),
        cmocka_unit_test(each_policy_has_its_zone),
        cmocka_unit_test(a_memmap_mode_that_cant_be_served_is_an_error_unless_hinted),
        cmocka_unit_test(boot_maps_may_have_holes_and_odd_edges),
        cmocka_unit_test(any_range_can_be_allocated_and_freed),
    };
    return cmocka_run_group_tests_name("blocks", tests, NULL, NULL);
}
