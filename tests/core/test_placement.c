/* SPDX-License-Identifier: MIT
 *
 * Where frames go: unmovable ones into few blocks and into memory that stays, movable ones out of each
 * other's CPU's way.
 */
#include "core_fixture.h"

#define SMALL_BLOCK 4096u /* 16 MiB */
#define BLOCKS      16u

static const char owner;

static void small_blocks(struct pleat_config *config)
{
    config->block_pageblocks = SMALL_BLOCK / PLEAT_PAGEBLOCK_FRAMES;
}

static struct fixture *blocks_behind(uint64_t boot_frames, struct mover *mover, unsigned cookies)
{
    const struct pleat_boot_span span = {.start_pfn = 0, .frames = boot_frames};
    struct fixture *f = fixture_new(&span, 1, small_blocks);
    const struct pleat_range_config range = {
        .name = "test", .owner = &owner, .start_pfn = GIB_FRAMES, .frames = BLOCKS * SMALL_BLOCK};

    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    mover_init(mover, &f->pleat, cookies);
    return f;
}

static unsigned blocks_with_unmovable(struct fixture *f)
{
    struct pleat_block_info info;
    unsigned count = 0;

    for (unsigned i = 0; i < BLOCKS; i++) {
        assert_int_equal(pleat_block_info(&f->pleat, GIB_FRAMES + i * SMALL_BLOCK, &info), 0);
        count += info.unmovable_pageblocks != 0;
    }
    return count;
}

static unsigned next_random(unsigned *state, unsigned limit)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % limit;
}

/*
 * 24,000 frames come and go, one of six unmovable: about 4,000 that stay, a block's worth. Boot memory of 8
 * MiB holds half of them at the most.
 */
static void unmovable_frames_gather_in_few_blocks(void **state)
{
    enum { COUNT = 24000 };
    struct mover mover;
    struct fixture *f = blocks_behind(SMALL_BLOCK, &mover, COUNT);
    int64_t *pfn = malloc(COUNT * sizeof(*pfn));
    unsigned random = 1;

    (void)state;
    assert_non_null(pfn);
    for (unsigned i = 0; i < COUNT; i++)
        pfn[i] = -1;
    for (unsigned i = 0; i < 10 * COUNT; i++) {
        unsigned at = next_random(&random, COUNT);
        bool movable = at % 6 != 0;

        if (pfn[at] >= 0) {
            assert_int_equal(pleat_free(&f->pleat, (uint64_t)pfn[at], 0), 0);
            pfn[at] = -1;
            continue;
        }
        pfn[at] = pleat_alloc(&f->pleat, 0, movable ? PLEAT_MOVABLE : PLEAT_UNMOVABLE,
                              movable ? pleat_tag_make(mover.owner, at) : PLEAT_NO_TAG);
        assert_true(pfn[at] >= 0);
    }
    assert_in_range(blocks_with_unmovable(f), 0, 2);
    free(pfn);
    free(mover.where);
    fixture_free(f);
}

static void unmovable_frames_go_to_memory_that_stays_first(void **state)
{
    struct mover mover;
    struct fixture *f = blocks_behind(8 * SMALL_BLOCK, &mover, 2);

    (void)state;
    for (unsigned i = 0; i < 6 * SMALL_BLOCK; i++) {
        int64_t pfn = pleat_alloc(&f->pleat, 0, i % 2 ? PLEAT_UNMOVABLE : PLEAT_RECLAIMABLE, PLEAT_NO_TAG);

        assert_in_range(pfn, 0, 8 * SMALL_BLOCK - 1);
    }
    for (unsigned i = 0; i < 6 * SMALL_BLOCK; i++) {
        int64_t pfn = pleat_alloc(&f->pleat, 0, PLEAT_MOVABLE, pleat_tag_make(mover.owner, 1));

        assert_true(pfn >= GIB_FRAMES);
    }
    assert_int_equal(blocks_with_unmovable(f), 0);
    free(mover.where);
    fixture_free(f);
}

static void movable_frames_of_two_cpus_come_from_two_blocks(void **state)
{
    struct mover mover;
    struct fixture *f = blocks_behind(SMALL_BLOCK, &mover, 2);
    unsigned used[2][BLOCKS] = {{0}};

    (void)state;
    for (unsigned i = 0; i < 4000; i++) {
        int64_t pfn;

        pleat_hosted_cpu_set(i % 2);
        pfn = pleat_alloc(&f->pleat, 0, PLEAT_MOVABLE, pleat_tag_make(mover.owner, 1));
        assert_true(pfn >= GIB_FRAMES);
        used[i % 2][((uint64_t)pfn - GIB_FRAMES) / SMALL_BLOCK]++;
    }
    pleat_hosted_cpu_set(0);
    /* The first pageblock of each block, cut by its memmap, is in a class that they share. */
    for (unsigned i = 0; i < BLOCKS; i++)
        assert_true(used[0][i] < 512 || used[1][i] < 512);
    /* When there is no other block left they share. */
    for (unsigned i = 0; i < 12 * SMALL_BLOCK; i++)
        assert_true(pleat_alloc(&f->pleat, 0, PLEAT_MOVABLE, pleat_tag_make(mover.owner, 1)) >= 0);
    free(mover.where);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unmovable_frames_gather_in_few_blocks),
        cmocka_unit_test(unmovable_frames_go_to_memory_that_stays_first),
        cmocka_unit_test(movable_frames_of_two_cpus_come_from_two_blocks),
    };
    return cmocka_run_group_tests_name("placement", tests, NULL, NULL);
}
