/* SPDX-License-Identifier: MIT
 *
 * Every size of frame, of memory block and of owner's word: each runs through a block's whole life, and boot
 * memory from 2 MiB up is enough for small configurations.
 */
#include "core_fixture.h"

static const char owner;

static unsigned frame_shift, block_pageblocks, owner_bytes;
static uint64_t highest_pfn;

static void chosen(struct pleat_config *config)
{
    config->frame_shift = frame_shift;
    config->block_pageblocks = block_pageblocks;
    config->owner_bytes = owner_bytes;
    config->highest_pfn = highest_pfn;
}

static int take(struct fixture *f, uint64_t start_pfn, uint64_t frames, enum pleat_take_goal goal)
{
    struct pleat_take_config config = {
        .start_pfn = start_pfn, .frames = frames, .goal = goal, .owner = &owner};
    struct pleat_take job;
    int result = pleat_take_begin(&f->pleat, &job, &config);

    for (unsigned i = 0; i < 10000 && (i == 0 ? result == PLEAT_OK : result == PLEAT_MORE); i++)
        result = pleat_take_step(&f->pleat, &job, 512);
    return result;
}

/* Allocates one of each order that fits into a block, looks at the second half of its data, frees all. */
static void allocate_all_orders(struct fixture *f)
{
    int64_t pfn[PLEAT_MAX_ORDER + 1];

    for (unsigned order = 0; order <= PLEAT_MAX_ORDER; order++) {
        pfn[order] = pleat_alloc(&f->pleat, order, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG);
        /* The first block has memmaps and tables in it; of one pageblock that may be all. */
        if (1u << order < pleat_block_frames(&f->pleat))
            assert_true(pfn[order] >= 0);
        if (pfn[order] < 0)
            continue;
        assert_int_equal(pfn[order] & ((1 << order) - 1), 0);
        if (owner_bytes == 16)
            *pleat_frame_data(&f->pleat, (uint64_t)pfn[order]) = ~(uint64_t)order;
        else
            assert_null(pleat_frame_data(&f->pleat, (uint64_t)pfn[order]));
    }
    assert_true(pleat_is_valid(&f->pleat));
    for (unsigned order = 0; order <= PLEAT_MAX_ORDER; order++) {
        if (pfn[order] < 0)
            continue;
        if (owner_bytes == 16)
            assert_int_equal(*pleat_frame_data(&f->pleat, (uint64_t)pfn[order]), ~(uint64_t)order);
        assert_int_equal(pleat_free(&f->pleat, (uint64_t)pfn[order], order), 0);
    }
}

static void live_through(struct fixture *f)
{
    uint64_t size = pleat_block_frames(&f->pleat);
    uint64_t before = pleat_free_frames(&f->pleat);
    struct pleat_range_config range = {.name = "test",
                                       .owner = &owner,
                                       .start_pfn = GIB_FRAMES,
                                       .frames = 3 * size,
                                       .flags = PLEAT_ADD_FORCE_ONLINE,
                                       .force_zone = PLEAT_ZONE_MOVABLE};
    uint64_t usable = 3 * (size - pleat_memmap_frames(&f->pleat));

    assert_int_equal(pleat_memmap_frames(&f->pleat),
                     (pleat_memmap_bytes(&f->pleat) + (1 << frame_shift) - 1) >> frame_shift);
    allocate_all_orders(f);
    assert_int_equal(pleat_free_frames(&f->pleat), before);
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    assert_int_equal(pleat_free_frames(&f->pleat), before + usable);
    assert_int_equal(take(f, GIB_FRAMES + size, 512, PLEAT_TAKE_TO_FAKE_OFFLINE), 0);
    assert_int_equal(pleat_give(&f->pleat, &owner, GIB_FRAMES + size, 512), 0);
    assert_int_equal(pleat_free_frames(&f->pleat), before + usable);
    assert_int_equal(take(f, GIB_FRAMES + 2 * size - 9, 9, PLEAT_TAKE_TO_ALLOCATED), 0);
    assert_true(pleat_is_valid(&f->pleat));
    assert_int_equal(pleat_free_range(&f->pleat, GIB_FRAMES + 2 * size - 9, 9), 0);
    assert_int_equal(take(f, GIB_FRAMES, 3 * size, PLEAT_TAKE_TO_OFFLINE), 0);
    assert_int_equal(pleat_remove(&f->pleat, &owner, GIB_FRAMES + size, size), 0);
    assert_int_equal(pleat_remove(&f->pleat, &owner, GIB_FRAMES, 3 * size), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_remove(&f->pleat, &owner, GIB_FRAMES, size), 0);
    assert_int_equal(pleat_remove(&f->pleat, &owner, GIB_FRAMES + 2 * size, size), 0);
    assert_int_equal(pleat_free_frames(&f->pleat), before);
}

static void every_configuration_lives_through_a_blocks_states(void **state)
{
    static const unsigned owners[] = {8, 16, PLEAT_NO_OWNER_WORD};
    const struct pleat_boot_span span = {.start_pfn = 0, .frames = 3 * BLOCK_FRAMES};

    (void)state;
    highest_pfn = 2 * GIB_FRAMES;
    for (frame_shift = 12; frame_shift <= 16; frame_shift += 2) {
        for (block_pageblocks = 1; block_pageblocks <= 64; block_pageblocks *= 2) {
            for (unsigned i = 0; i < 3; i++) {
                struct fixture *f;

                owner_bytes = owners[i];
                f = fixture_new(&span, 1, chosen);
                live_through(f);
                fixture_free(f);
            }
        }
    }
}

static void two_mib_of_boot_memory_are_enough(void **state)
{
    /* With a hole, a part in use, and an end that no block has. */
    const struct pleat_boot_span spans[] = {
        {.start_pfn = 16, .frames = 300},
        {.start_pfn = 400, .frames = 10, .use = PLEAT_BOOT_IN_USE},
        {.start_pfn = 410, .frames = 202},
        {.start_pfn = 700, .frames = 3, .use = PLEAT_BOOT_RESERVED},
    };
    struct pleat_zone_info info;
    struct fixture *f;
    uint64_t before;

    (void)state;
    frame_shift = 12;
    owner_bytes = 8;
    highest_pfn = 8 * 512;
    for (block_pageblocks = 1; block_pageblocks <= 8; block_pageblocks *= 2) {
        f = fixture_new(spans, 4, chosen);
        before = pleat_free_frames(&f->pleat);
        assert_in_range(before, 256, 502);
        assert_int_equal(pleat_zone_info(&f->pleat, 0, PLEAT_ZONE_NORMAL, &info), 0);
        assert_int_equal(info.free_frames, before);
        assert_int_equal(info.online_frames, pleat_online_frames(&f->pleat));
        assert_int_equal(info.online_frames + info.memmap_frames, 300 + 10 + 202 + 3);
        assert_int_equal(pleat_release_boot(&f->pleat, 399, 2), PLEAT_E_NOT_FOUND);
        assert_int_equal(pleat_release_boot(&f->pleat, 409, 2), PLEAT_E_NOT_FOUND);
        assert_int_equal(pleat_release_boot(&f->pleat, 700, 1), PLEAT_E_NOT_FOUND);
        assert_int_equal(pleat_release_boot(&f->pleat, 400, UINT64_MAX), PLEAT_E_NOT_FOUND);
        assert_int_equal(pleat_release_boot(&f->pleat, UINT64_MAX, 3), PLEAT_E_NOT_FOUND);
        assert_int_equal(pleat_release_boot(&f->pleat, 400, 0), PLEAT_E_INVALID);
        assert_int_equal(pleat_free_frames(&f->pleat), before);
        assert_int_equal(pleat_release_boot(&f->pleat, 400, 10), 0);
        assert_int_equal(pleat_free_frames(&f->pleat), before + 10);
        assert_int_equal(pleat_release_boot(&f->pleat, 400, 1), PLEAT_E_NOT_FOUND);
        while (pleat_alloc(&f->pleat, 0, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG) >= 0)
            before--;
        assert_int_equal(before + 10, 0);
        fixture_free(f);
    }
}

static void two_mib_are_enough_in_frames_of_any_size(void **state)
{
    static const unsigned owners[] = {8, 16, PLEAT_NO_OWNER_WORD};

    (void)state;
    highest_pfn = 64 * 512;
    for (frame_shift = 12; frame_shift <= 16; frame_shift += 2) {
        for (block_pageblocks = 1; block_pageblocks <= 64; block_pageblocks *= 8) {
            for (unsigned i = 0; i < 3; i++) {
                const struct pleat_boot_span span = {.start_pfn = 3, .frames = (2u << 20) >> frame_shift};
                struct fixture *f;
                uint64_t frames = 0;

                owner_bytes = owners[i];
                f = fixture_new(&span, 1, chosen);
                /* What isn't free holds memmaps and tables. */
                assert_true(pleat_free_frames(&f->pleat) > span.frames / 2);
                while (pleat_alloc(&f->pleat, 0, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG) >= 0)
                    frames++;
                assert_int_equal(pleat_free_frames(&f->pleat), 0);
                assert_in_range(frames, span.frames / 2 + 1, span.frames - 2);
                fixture_free(f);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_configuration_lives_through_a_blocks_states),
        cmocka_unit_test(two_mib_of_boot_memory_are_enough),
        cmocka_unit_test(two_mib_are_enough_in_frames_of_any_size),
    };
    return cmocka_run_group_tests_name("configurations", tests, NULL, NULL);
}
