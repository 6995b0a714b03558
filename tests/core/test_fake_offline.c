/* SPDX-License-Identifier: MIT
 *
 * Frames of online blocks that are withheld and given back, by the pageblock and one by one.
 */
#include "core_fixture.h"

#define PAGEBLOCK PLEAT_PAGEBLOCK_FRAMES

static const char owner_a, owner_b;

static struct pleat_zone_info zone(struct fixture *f, enum pleat_zone_kind kind)
{
    struct pleat_zone_info info;

    assert_int_equal(pleat_zone_info(&f->pleat, 0, kind, &info), 0);
    return info;
}

static struct pleat_look look(struct fixture *f, uint64_t pfn, uint64_t frames)
{
    struct pleat_look found;

    assert_int_equal(pleat_look(&f->pleat, pfn, frames, &found), 0);
    return found;
}

static void add(struct fixture *f, const void *owner, uint64_t start_pfn, enum pleat_zone_kind kind)
{
    const struct pleat_range_config range = {.name = owner == &owner_a ? "a" : "b",
                                             .owner = owner,
                                             .start_pfn = start_pfn,
                                             .frames = BLOCK_FRAMES,
                                             .flags = PLEAT_ADD_FORCE_ONLINE,
                                             .force_zone = kind};

    assert_int_equal(pleat_add(&f->pleat, &range), 0);
}

static uint64_t withhold(struct fixture *f, const void *owner, uint64_t frames)
{
    int64_t pfn = pleat_withhold(&f->pleat, owner, frames);

    assert_true(pfn >= 0);
    assert_int_equal((uint64_t)pfn % frames, 0);
    assert_int_equal(look(f, (uint64_t)pfn, frames).fake_offline, frames);
    return (uint64_t)pfn;
}

static void the_counters_follow(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    uint64_t free_frames = pleat_free_frames(&f->pleat), online = pleat_online_frames(&f->pleat);
    struct pleat_zone_info before = zone(f, PLEAT_ZONE_NORMAL), now;
    uint64_t frame = withhold(f, NULL, 1), whole = withhold(f, NULL, PAGEBLOCK);

    (void)state;
    now = zone(f, PLEAT_ZONE_NORMAL);
    assert_int_equal(pleat_free_frames(&f->pleat), free_frames - 513);
    assert_int_equal(pleat_online_frames(&f->pleat), online - 513);
    assert_int_equal(now.fake_offline_frames, 513);
    assert_int_equal(now.online_frames, before.online_frames - 513);
    assert_int_equal(now.free_frames, before.free_frames - 513);
    assert_int_equal(now.free_pageblocks, before.free_pageblocks - 1);
    assert_true(pleat_is_valid(&f->pleat));
    assert_int_equal(pleat_free(&f->pleat, frame, 0), PLEAT_E_MISUSE);
    assert_int_equal(pleat_give(&f->pleat, NULL, frame, 1), 0);
    assert_int_equal(pleat_give(&f->pleat, NULL, whole, PAGEBLOCK), 0);
    now = zone(f, PLEAT_ZONE_NORMAL);
    assert_memory_equal(&now, &before, sizeof(now));
    assert_int_equal(pleat_free_frames(&f->pleat), free_frames);
    assert_int_equal(pleat_online_frames(&f->pleat), online);
    fixture_free(f);
}

static void single_frames_leave_whole_pageblocks_whole(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    uint64_t whole = zone(f, PLEAT_ZONE_NORMAL).free_pageblocks, partial, first;

    (void)state;
    partial = pleat_free_frames(&f->pleat) - whole * PAGEBLOCK;
    assert_in_range(partial, 1, 2000);
    for (uint64_t i = 0; i < partial; i++)
        withhold(f, NULL, 1);
    assert_int_equal(zone(f, PLEAT_ZONE_NORMAL).free_pageblocks, whole);
    /* One has to be opened now, and then all come from that one, also after another was opened. */
    first = withhold(f, NULL, 1);
    assert_int_equal(zone(f, PLEAT_ZONE_NORMAL).free_pageblocks, whole - 1);
    for (unsigned i = 1; i < PAGEBLOCK; i++)
        assert_int_equal(withhold(f, NULL, 1) / PAGEBLOCK, first / PAGEBLOCK);
    assert_int_equal(zone(f, PLEAT_ZONE_NORMAL).free_pageblocks, whole - 1);
    fixture_free(f);
}

static void a_pageblock_withheld_frame_by_frame_is_as_one_withheld_whole(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_take take;
    uint64_t whole, start;

    (void)state;
    add(f, &owner_a, GIB_FRAMES, PLEAT_ZONE_MOVABLE);
    whole = zone(f, PLEAT_ZONE_MOVABLE).free_pageblocks;
    /* The rest of the memmap's pageblock goes first. */
    do
        start = withhold(f, &owner_a, 1);
    while (zone(f, PLEAT_ZONE_MOVABLE).free_pageblocks == whole);
    assert_int_equal(look(f, GIB_FRAMES, PAGEBLOCK).free, 0);
    for (unsigned i = 1; i < PAGEBLOCK; i++)
        withhold(f, &owner_a, 1);
    start = start / PAGEBLOCK * PAGEBLOCK;
    /* It says so: the recount holds it against the frames. */
    assert_true(pleat_is_valid(&f->pleat));
    assert_int_equal(look(f, start, PAGEBLOCK).fake_offline, PAGEBLOCK);
    /* Taken over as it is; then given whole, and the memmap's pageblock with it. */
    assert_int_equal(pleat_take_begin(&f->pleat, &take,
                                      &(struct pleat_take_config){.start_pfn = GIB_FRAMES,
                                                                  .frames = 2 * PAGEBLOCK,
                                                                  .goal = PLEAT_TAKE_TO_FAKE_OFFLINE,
                                                                  .owner = &owner_a}),
                     0);
    while (pleat_take_step(&f->pleat, &take, 512) == PLEAT_MORE)
        ;
    assert_int_equal(look(f, GIB_FRAMES, BLOCK_FRAMES).fake_offline,
                     2 * PAGEBLOCK - pleat_memmap_frames(&f->pleat));
    assert_int_equal(pleat_give(&f->pleat, &owner_a, GIB_FRAMES, 2 * PAGEBLOCK), 0);
    assert_int_equal(zone(f, PLEAT_ZONE_MOVABLE).free_pageblocks, whole);
    assert_int_equal(zone(f, PLEAT_ZONE_MOVABLE).fake_offline_frames, 0);
    fixture_free(f);
}

static void what_is_taken_of_a_partly_withheld_pageblock_is_withheld_whole(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_take take;
    uint64_t start;

    (void)state;
    start = withhold(f, NULL, PAGEBLOCK);
    assert_int_equal(pleat_give(&f->pleat, NULL, start + 7, 300), 0);
    assert_true(pleat_is_valid(&f->pleat));
    assert_int_equal(pleat_take_begin(&f->pleat, &take,
                                      &(struct pleat_take_config){.start_pfn = start,
                                                                  .frames = PAGEBLOCK,
                                                                  .goal = PLEAT_TAKE_TO_FAKE_OFFLINE}),
                     0);
    /* Whoever takes it has it to himself. */
    assert_int_equal(pleat_give(&f->pleat, NULL, start, 1), PLEAT_E_STATE);
    while (pleat_take_step(&f->pleat, &take, 512) == PLEAT_MORE)
        ;
    assert_true(pleat_is_valid(&f->pleat));
    assert_int_equal(look(f, start, PAGEBLOCK).fake_offline, PAGEBLOCK);
    assert_int_equal(pleat_give(&f->pleat, NULL, start, PAGEBLOCK), 0);
    fixture_free(f);
}

static void frames_come_from_boot_memory_or_the_owners_own(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    unsigned from_boot = 0, from_a = 0;
    struct pleat_zone_info movable;
    int64_t pfn;

    (void)state;
    add(f, &owner_b, GIB_FRAMES, PLEAT_ZONE_MOVABLE);
    add(f, &owner_a, GIB_FRAMES + BLOCK_FRAMES, PLEAT_ZONE_MOVABLE);
    movable = zone(f, PLEAT_ZONE_MOVABLE);
    /* One frame in a CPU's cache isn't lost. */
    pfn = pleat_alloc(&f->pleat, 0, PLEAT_UNMOVABLE, PLEAT_NO_TAG);
    assert_int_equal(pleat_free(&f->pleat, (uint64_t)pfn, 0), 0);
    for (uint64_t frames = PAGEBLOCK; frames; frames = frames == 1 ? 0 : 1) {
        while ((pfn = pleat_withhold(&f->pleat, &owner_a, frames)) >= 0) {
            assert_true((uint64_t)pfn < GIB_FRAMES || (uint64_t)pfn >= GIB_FRAMES + BLOCK_FRAMES);
            *((uint64_t)pfn < GIB_FRAMES ? &from_boot : &from_a) += frames;
        }
        assert_int_equal(pfn, PLEAT_E_NO_MEMORY);
    }
    assert_int_equal(from_a, BLOCK_FRAMES - pleat_memmap_frames(&f->pleat));
    assert_in_range(from_boot, GIB_FRAMES - 4096, GIB_FRAMES);
    assert_int_equal(zone(f, PLEAT_ZONE_MOVABLE).free_frames, movable.free_frames / 2);
    assert_int_equal(pleat_free_frames(&f->pleat), movable.free_frames / 2);
    assert_true(pleat_is_valid(&f->pleat));
    /* Boot memory goes back as nobody's, the rest as its owner's. */
    assert_int_equal(pleat_give(&f->pleat, NULL, GIB_FRAMES + BLOCK_FRAMES, BLOCK_FRAMES), PLEAT_E_NOT_OWNER);
    assert_int_equal(pleat_give(&f->pleat, &owner_a, GIB_FRAMES + BLOCK_FRAMES, BLOCK_FRAMES), 0);
    assert_int_equal(pleat_give(&f->pleat, &owner_a, 0, 1), PLEAT_E_NOT_OWNER);
    assert_int_equal(pleat_give(&f->pleat, NULL, 0, BLOCK_FRAMES), 0);
    assert_int_equal(zone(f, PLEAT_ZONE_MOVABLE).free_frames, movable.free_frames);
    fixture_free(f);
}

static void low_zones(struct pleat_config *config)
{
    config->dma_end_pfn = BLOCK_FRAMES;
    config->dma32_end_pfn = 2 * BLOCK_FRAMES;
}

static void added_movable_memory_goes_first_and_zone_dma_last(void **state)
{
    const struct pleat_boot_span span = {.start_pfn = 0, .frames = 4 * BLOCK_FRAMES};
    struct fixture *f = fixture_new(&span, 1, low_zones);
    int64_t pfn;

    (void)state;
    add(f, &owner_a, GIB_FRAMES, PLEAT_ZONE_MOVABLE);
    for (unsigned i = 0; i < 63; i++)
        assert_true(withhold(f, &owner_a, PAGEBLOCK) >= GIB_FRAMES);
    while (zone(f, PLEAT_ZONE_NORMAL).free_pageblocks)
        assert_in_range(withhold(f, &owner_a, PAGEBLOCK), 2 * BLOCK_FRAMES, 4 * BLOCK_FRAMES);
    while (zone(f, PLEAT_ZONE_DMA32).free_pageblocks)
        assert_in_range(withhold(f, &owner_a, PAGEBLOCK), BLOCK_FRAMES, 2 * BLOCK_FRAMES);
    while ((pfn = pleat_withhold(&f->pleat, NULL, PAGEBLOCK)) >= 0)
        assert_in_range(pfn, 0, BLOCK_FRAMES);
    assert_int_equal(zone(f, PLEAT_ZONE_DMA).free_frames, 0);
    fixture_free(f);
}

static void parts_of_a_pageblock_are_given_while_others_use_the_rest(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    uint64_t whole, start, free_frames = pleat_free_frames(&f->pleat);
    int64_t pfn;

    (void)state;
    whole = zone(f, PLEAT_ZONE_NORMAL).free_pageblocks;
    start = withhold(f, NULL, PAGEBLOCK);
    assert_int_equal(pleat_give(&f->pleat, NULL, start + 64, 4), 0);
    assert_true(pleat_is_valid(&f->pleat));
    assert_int_equal(look(f, start, PAGEBLOCK).fake_offline, PAGEBLOCK - 4);
    assert_int_equal(look(f, start + 64, 4).free, 4);
    /* Free ones among them: nothing is given. */
    assert_int_equal(pleat_give(&f->pleat, NULL, start + 67, 2), PLEAT_E_STATE);
    assert_int_equal(pleat_give(&f->pleat, NULL, start, PAGEBLOCK), PLEAT_E_STATE);
    assert_int_equal(pleat_give(&f->pleat, NULL, start + 64, 1), PLEAT_E_STATE);
    assert_int_equal(look(f, start, PAGEBLOCK).fake_offline, PAGEBLOCK - 4);
    assert_int_equal(pleat_alloc_range(&f->pleat, start + 64, 4, PLEAT_NO_TAG), 0);
    assert_int_equal(pleat_give(&f->pleat, NULL, start + 64, 1), PLEAT_E_STATE);
    assert_int_equal(pleat_give(&f->pleat, NULL, start, 64), 0);
    assert_int_equal(pleat_give(&f->pleat, NULL, start + 68, PAGEBLOCK - 68), 0);
    assert_true(pleat_is_valid(&f->pleat));
    assert_int_equal(zone(f, PLEAT_ZONE_NORMAL).free_pageblocks, whole - 1);
    assert_int_equal(pleat_free_range(&f->pleat, start + 64, 4), 0);
    pleat_drain(&f->pleat);
    assert_int_equal(zone(f, PLEAT_ZONE_NORMAL).free_pageblocks, whole);
    assert_int_equal(pleat_free_frames(&f->pleat), free_frames);
    /* Whole again, it is a huge frame; and stale owners' words in it mean nothing. */
    for (unsigned i = 0; i < whole; i++) {
        pfn = pleat_alloc(&f->pleat, PLEAT_PAGEBLOCK_ORDER, PLEAT_UNMOVABLE, PLEAT_NO_TAG);
        assert_true(pfn >= 0);
        if ((uint64_t)pfn == start)
            break;
    }
    assert_int_equal(pfn, start);
    assert_int_equal(pleat_give(&f->pleat, NULL, start + 100, 1), PLEAT_E_STATE);
    fixture_free(f);
}

static void a_wrong_call_changes_nothing(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_zone_info before, now;
    uint64_t start = withhold(f, NULL, PAGEBLOCK);

    (void)state;
    before = zone(f, PLEAT_ZONE_NORMAL);
    assert_int_equal(pleat_withhold(&f->pleat, NULL, 0), PLEAT_E_INVALID);
    assert_int_equal(pleat_withhold(&f->pleat, NULL, 2), PLEAT_E_INVALID);
    assert_int_equal(pleat_withhold(&f->pleat, NULL, 2 * PAGEBLOCK), PLEAT_E_INVALID);
    assert_int_equal(pleat_give(&f->pleat, NULL, start, 0), PLEAT_E_INVALID);
    assert_int_equal(pleat_give(&f->pleat, NULL, 2 * GIB_FRAMES, 1), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_give(&f->pleat, NULL, BLOCK_FRAMES - 1, 2), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_give(&f->pleat, NULL, start, UINT64_MAX - start), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_give(&f->pleat, NULL, UINT64_MAX, 1), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_give(&f->pleat, &owner_a, start, 1), PLEAT_E_NOT_OWNER);
    now = zone(f, PLEAT_ZONE_NORMAL);
    assert_memory_equal(&now, &before, sizeof(now));
    fixture_free(f);
}

static void no_owner_words(struct pleat_config *config)
{
    config->owner_bytes = PLEAT_NO_OWNER_WORD;
}

static void without_owners_words_only_whole_pageblocks_can_be_told(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, no_owner_words);
    uint64_t start = withhold(f, NULL, PAGEBLOCK);

    (void)state;
    assert_int_equal(pleat_withhold(&f->pleat, NULL, 1), PLEAT_E_UNSUPPORTED);
    assert_int_equal(pleat_give(&f->pleat, NULL, start, 1), PLEAT_E_UNSUPPORTED);
    assert_int_equal(pleat_give(&f->pleat, NULL, start + 1, PAGEBLOCK), PLEAT_E_UNSUPPORTED);
    assert_int_equal(look(f, start, PAGEBLOCK).fake_offline, PAGEBLOCK);
    assert_int_equal(pleat_give(&f->pleat, NULL, start, PAGEBLOCK), 0);
    fixture_free(f);
}

static void drivers_withhold_in_bytes(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    uint64_t frame = 0, piece = 0, free_bytes;
    struct pleat_memory memory;

    (void)state;
    pleat_memory_init(&f->pleat, &memory);
    free_bytes = memory.ops->free_bytes(memory.context);
    assert_int_equal(memory.ops->withhold(memory.context, NULL, memory.frame_bytes, &frame), 0);
    assert_int_equal(memory.ops->withhold(memory.context, NULL, memory.piece_bytes, &piece), 0);
    assert_int_equal(piece % memory.piece_bytes, 0);
    assert_int_equal(memory.ops->withhold(memory.context, NULL, memory.block_bytes, &piece), PLEAT_E_INVALID);
    assert_int_equal(memory.ops->withhold(memory.context, NULL, 100, &piece), PLEAT_E_INVALID);
    assert_int_equal(memory.ops->free_bytes(memory.context),
                     free_bytes - memory.frame_bytes - memory.piece_bytes);
    assert_int_equal(memory.ops->give(memory.context, NULL, frame, memory.frame_bytes), 0);
    for (uint64_t at = 0; at < memory.piece_bytes; at += memory.frame_bytes)
        assert_int_equal(memory.ops->give(memory.context, NULL, piece + at, memory.frame_bytes), 0);
    assert_int_equal(memory.ops->free_bytes(memory.context), free_bytes);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_counters_follow),
        cmocka_unit_test(single_frames_leave_whole_pageblocks_whole),
        cmocka_unit_test(a_pageblock_withheld_frame_by_frame_is_as_one_withheld_whole),
        cmocka_unit_test(what_is_taken_of_a_partly_withheld_pageblock_is_withheld_whole),
        cmocka_unit_test(frames_come_from_boot_memory_or_the_owners_own),
        cmocka_unit_test(added_movable_memory_goes_first_and_zone_dma_last),
        cmocka_unit_test(parts_of_a_pageblock_are_given_while_others_use_the_rest),
        cmocka_unit_test(a_wrong_call_changes_nothing),
        cmocka_unit_test(without_owners_words_only_whole_pageblocks_can_be_told),
        cmocka_unit_test(drivers_withhold_in_bytes),
    };
    return cmocka_run_group_tests_name("fake-offline frames", tests, NULL, NULL);
}
