/* SPDX-License-Identifier: MIT
 *
 * Allocation and free: every order, every frame, misuse, watermark, reclaim.
 */
#include "core_fixture.h"

static void every_frame_can_be_allocated_once(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    uint64_t free_frames = pleat_free_frames(&f->pleat);
    unsigned char *seen = calloc(GIB_FRAMES, 1);
    uint64_t count = 0;
    int64_t pfn;

    (void)state;
    while ((pfn = pleat_alloc(&f->pleat, 0, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG)) >= 0) {
        assert_true(pfn < GIB_FRAMES);
        assert_int_equal(seen[pfn]++, 0);
        count++;
    }
    assert_int_equal(pfn, PLEAT_E_NO_MEMORY);
    assert_int_equal(count, free_frames);
    assert_int_equal(pleat_free_frames(&f->pleat), 0);
    assert_true(pleat_is_valid(&f->pleat));
    for (uint64_t i = 0; i < GIB_FRAMES; i++) {
        if (seen[i])
            assert_int_equal(pleat_free(&f->pleat, i, 0), 0);
    }
    assert_int_equal(pleat_free_frames(&f->pleat), free_frames);
    free(seen);
    fixture_free(f);
}

static void every_order_is_aligned_and_comes_back(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    uint64_t free_frames = pleat_free_frames(&f->pleat);

    (void)state;
    for (unsigned order = 0; order <= PLEAT_MAX_ORDER; order++) {
        int64_t pfn[3];

        for (unsigned i = 0; i < 3; i++) {
            pfn[i] =
                pleat_alloc(&f->pleat, order, i == 1 ? PLEAT_RECLAIMABLE : PLEAT_UNMOVABLE, PLEAT_NO_TAG);
            assert_true(pfn[i] >= 0);
            assert_int_equal(pfn[i] & ((1ll << order) - 1), 0);
        }
        assert_int_equal(pleat_free_frames(&f->pleat), free_frames - 3 * (1ull << order));
        assert_true(pleat_is_valid(&f->pleat));
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(pleat_free(&f->pleat, (uint64_t)pfn[i], order), 0);
        assert_int_equal(pleat_free_frames(&f->pleat), free_frames);
    }
    assert_int_equal(pleat_alloc(&f->pleat, PLEAT_MAX_ORDER + 1, 0, 0), PLEAT_E_INVALID);
    fixture_free(f);
}

static void misuse_is_named_and_changes_nothing(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    int64_t a = pleat_alloc(&f->pleat, 0, 0, PLEAT_NO_TAG);
    int64_t b = pleat_alloc(&f->pleat, 3, 0, PLEAT_NO_TAG);
    int64_t c = pleat_alloc(&f->pleat, 9, 0, PLEAT_NO_TAG);
    uint64_t before = pleat_free_frames(&f->pleat);

    (void)state;
    assert_int_equal(pleat_free(&f->pleat, (uint64_t)b, 2), PLEAT_E_MISUSE);
    assert_non_null(strstr(pleat_hosted_last_fatal(f->hosted), "another order"));
    assert_int_equal(pleat_free(&f->pleat, (uint64_t)b, 0), PLEAT_E_MISUSE);
    assert_int_equal(pleat_free(&f->pleat, (uint64_t)b + 1, 0), PLEAT_E_MISUSE);
    assert_int_equal(pleat_free(&f->pleat, (uint64_t)c, 10), PLEAT_E_MISUSE);
    assert_int_equal(pleat_free(&f->pleat, (uint64_t)c, 0), PLEAT_E_MISUSE);
    assert_int_equal(pleat_free(&f->pleat, (uint64_t)c + 512, 9), PLEAT_E_MISUSE);
    assert_int_equal(pleat_free(&f->pleat, 10 * GIB_FRAMES, 0), PLEAT_E_MISUSE);
    assert_int_equal(pleat_free(&f->pleat, 2 * GIB_FRAMES, 0), PLEAT_E_MISUSE);
    assert_int_equal(pleat_free(&f->pleat, (uint64_t)a, 77), PLEAT_E_MISUSE);
    assert_int_equal(pleat_free_frames(&f->pleat), before);
    assert_int_equal(pleat_free(&f->pleat, (uint64_t)a, 0), 0);
    assert_int_equal(pleat_free(&f->pleat, (uint64_t)a, 0), PLEAT_E_MISUSE);
    assert_non_null(strstr(pleat_hosted_last_fatal(f->hosted), "freed already"));
    assert_int_equal(pleat_free(&f->pleat, (uint64_t)b, 3), 0);
    assert_int_equal(pleat_free(&f->pleat, (uint64_t)b, 3), PLEAT_E_MISUSE);
    assert_int_equal(pleat_free(&f->pleat, (uint64_t)c, 9), 0);
    assert_int_equal(pleat_free(&f->pleat, (uint64_t)c, 9), PLEAT_E_MISUSE);
    fixture_free(f);
}

static void a_double_free_names_who_had_the_frame_last(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    unsigned owner = (unsigned)pleat_owner_register(&f->pleat, "page cache", NULL, NULL);

    (void)state;
    for (unsigned order = 0; order <= 9; order += 3) {
        int64_t pfn = pleat_alloc(&f->pleat, order, PLEAT_UNMOVABLE, pleat_tag_make(owner, 5));
        assert_int_equal(pleat_free(&f->pleat, (uint64_t)pfn, order), 0);
        assert_int_equal(pleat_free(&f->pleat, (uint64_t)pfn, order), PLEAT_E_MISUSE);
        if (order < 9)
            assert_non_null(strstr(pleat_hosted_last_fatal(f->hosted), "(last owner \"page cache\")"));
        pleat_drain(&f->pleat);
    }
    assert_true(pleat_is_valid(&f->pleat));
    fixture_free(f);
}

static void movable_needs_an_owner_with_operations(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    int owner = pleat_owner_register(&f->pleat, "no operations", NULL, NULL);
    pleat_tag tag;
    unsigned order;
    struct mover mover;
    int64_t pfn;

    (void)state;
    assert_int_equal(pleat_alloc(&f->pleat, 0, PLEAT_MOVABLE, PLEAT_NO_TAG), PLEAT_E_INVALID);
    assert_int_equal(pleat_alloc(&f->pleat, 0, PLEAT_MOVABLE, pleat_tag_make((unsigned)owner, 1)),
                     PLEAT_E_INVALID);
    mover_init(&mover, &f->pleat, 4);
    assert_int_equal(pleat_alloc(&f->pleat, 10, PLEAT_MOVABLE, pleat_tag_make(mover.owner, 1)),
                     PLEAT_E_INVALID);
    pfn = pleat_alloc(&f->pleat, 2, PLEAT_MOVABLE, pleat_tag_make(mover.owner, 0xabcdef012345));
    assert_true(pfn >= 0);
    assert_int_equal(pleat_frame_tag(&f->pleat, (uint64_t)pfn, &tag, &order), 0);
    assert_int_equal(tag, pleat_tag_make(mover.owner, 0xabcdef012345));
    assert_int_equal(order, 2);
    assert_int_equal(pleat_free(&f->pleat, (uint64_t)pfn, 2), 0);
    assert_int_equal(pleat_frame_tag(&f->pleat, (uint64_t)pfn, &tag, &order), PLEAT_E_NOT_FOUND);
    free(mover.where);
    fixture_free(f);
}

static void without_owners_words(struct pleat_config *config)
{
    config->owner_bytes = PLEAT_NO_OWNER_WORD;
}

static void without_owners_words_all_orders_work(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, without_owners_words);
    uint64_t free_frames = pleat_free_frames(&f->pleat);

    (void)state;
    assert_int_equal(pleat_memmap_frames(&f->pleat), 2);
    for (unsigned order = 0; order <= PLEAT_MAX_ORDER; order++) {
        int64_t pfn = pleat_alloc(&f->pleat, order, 0, PLEAT_NO_TAG);

        assert_true(pfn >= 0);
        assert_int_equal(pleat_free(&f->pleat, (uint64_t)pfn, order), 0);
    }
    assert_int_equal(pleat_free_frames(&f->pleat), free_frames);
    fixture_free(f);
}

static void a_memmap_of_128_mib_takes_66_frames(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);

    (void)state;
    assert_int_equal(pleat_memmap_frames(&f->pleat), 66);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_frame_can_be_allocated_once),
        cmocka_unit_test(every_order_is_aligned_and_comes_back),
        cmocka_unit_test(misuse_is_named_and_changes_nothing),
        cmocka_unit_test(a_double_free_names_who_had_the_frame_last),
        cmocka_unit_test(movable_needs_an_owner_with_operations),
        cmocka_unit_test(without_owners_words_all_orders_work),
        cmocka_unit_test(a_memmap_of_128_mib_takes_66_frames),
    };
    return cmocka_run_group_tests_name("alloc", tests, NULL, NULL);
}
