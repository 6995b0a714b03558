/* SPDX-License-Identifier: MIT
 *
 * Frames that are no memory: where they come from, what they have, and who never sees them.
 */
#include "core_fixture.h"

#include <pleat/unpopulated.h>

#define PAGEBLOCK PLEAT_PAGEBLOCK_FRAMES

/* Over all of what the fixture has, and far above it. */
static const struct pleat_unpopulated_range everywhere[] = {
    {.start_pfn = 0, .frames = 4 * GIB_FRAMES},
    {.start_pfn = (uint64_t)1 << 40, .frames = 2 * BLOCK_FRAMES + 5},
};

static struct fixture *machine(void (*change)(struct pleat_config *config))
{
    const struct pleat_unpopulated_config config = {.ranges = everywhere, .range_count = 2};
    struct fixture *f = fixture_new(NULL, 0, change);

    assert_int_equal(pleat_unpopulated_init(&f->pleat, &config), 0);
    return f;
}

static void sixteen_bytes(struct pleat_config *config)
{
    config->owner_bytes = 16;
}

static void no_owner_words(struct pleat_config *config)
{
    config->owner_bytes = PLEAT_NO_OWNER_WORD;
}

static uint64_t alloc_one(struct fixture *f, pleat_tag tag)
{
    uint64_t pfn = 0;

    assert_int_equal(pleat_alloc_unpopulated(&f->pleat, 1, &pfn, tag), 0);
    return pfn;
}

static void they_have_a_tag_and_data_as_others(void **state)
{
    struct fixture *f = machine(sixteen_bytes);
    int owner = pleat_owner_register(&f->pleat, "grants", NULL, NULL);
    uint64_t pfn = alloc_one(f, pleat_tag_make((unsigned)owner, 0xabc));
    pleat_tag tag = 0;
    unsigned order = 7;

    (void)state;
    assert_int_equal(pleat_frame_tag(&f->pleat, pfn, &tag, &order), 0);
    assert_int_equal(tag, pleat_tag_make((unsigned)owner, 0xabc));
    assert_int_equal(order, 0);
    assert_non_null(pleat_frame_data(&f->pleat, pfn));
    *pleat_frame_data(&f->pleat, pfn) = 0x1234;
    assert_int_equal(pleat_frame_data(&f->pleat, pfn) + 2 == pleat_frame_data(&f->pleat, pfn + 1), 1);
    assert_null(pleat_frame_data(&f->pleat, pfn + BLOCK_FRAMES));
    assert_int_equal(pleat_frame_tag(&f->pleat, pfn + 1, &tag, &order), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_free_unpopulated(&f->pleat, 1, &pfn), 0);
    assert_int_equal(pleat_frame_tag(&f->pleat, pfn, &tag, &order), PLEAT_E_NOT_FOUND);
    fixture_free(f);
}

static int refuse(void *context, enum pleat_event event, uint64_t start_pfn, uint64_t frames, unsigned node,
                  enum pleat_zone_kind zone)
{
    ++*(unsigned *)context;
    (void)event;
    (void)start_pfn;
    (void)frames;
    (void)node;
    (void)zone;
    return PLEAT_E_BUSY;
}

static void nothing_that_looks_for_memory_finds_them(void **state)
{
    struct fixture *f = machine(NULL);
    unsigned heard = 0;
    struct pleat_listener listener = {.event = refuse, .context = &heard};
    uint64_t free_before = pleat_free_frames(&f->pleat), online_before = pleat_online_frames(&f->pleat);
    uint64_t memmap = pleat_memmap_frames(&f->pleat), pfn;
    struct pleat_range_info range;
    struct pleat_block_info block;
    struct pleat_take take;
    struct pleat_look look;
    int64_t frame;

    (void)state;
    pleat_listener_add(&f->pleat, &listener);
    pfn = alloc_one(f, PLEAT_NO_TAG);
    assert_int_equal(heard, 0);
    assert_int_equal(pleat_block_info(&f->pleat, pfn, &block), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_range_info(&f->pleat, GIB_FRAMES, &range), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_look(&f->pleat, pfn, 1, &look), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_online(&f->pleat, pfn, BLOCK_FRAMES, PLEAT_ZONE_NORMAL), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_remove(&f->pleat, &heard, pfn, BLOCK_FRAMES), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_give(&f->pleat, NULL, pfn, 1), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_alloc_range(&f->pleat, pfn, 1, PLEAT_NO_TAG), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_take_begin(&f->pleat, &take,
                                      &(struct pleat_take_config){.start_pfn = pfn,
                                                                  .frames = BLOCK_FRAMES,
                                                                  .goal = PLEAT_TAKE_TO_OFFLINE}),
                     PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_free(&f->pleat, pfn, 0), PLEAT_E_MISUSE);
    /* All that it cost is a memmap, which is metadata. */
    assert_int_equal(pleat_free_frames(&f->pleat), free_before - memmap);
    assert_int_equal(pleat_online_frames(&f->pleat), online_before - memmap);
    /* Its frames don't come out of the allocator of memory. */
    do
        frame = pleat_alloc(&f->pleat, 0, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG);
    while (frame >= 0 && frame < GIB_FRAMES);
    assert_int_equal(frame, PLEAT_E_NO_MEMORY);
    fixture_free(f);
}

static void they_collide_with_nothing(void **state)
{
    struct fixture *f = machine(NULL);
    static const char owner;
    struct pleat_range_config range = {
        .name = "added", .owner = &owner, .start_pfn = GIB_FRAMES + BLOCK_FRAMES, .frames = BLOCK_FRAMES};
    struct pleat_resource device = {0};
    uint64_t pfn;

    (void)state;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    assert_int_equal(
        pleat_resource_describe(&device, "device", (uint64_t)(GIB_FRAMES + 3 * BLOCK_FRAMES) << 12, 8192), 0);
    assert_int_equal(pleat_claim(&f->pleat, &device, NULL), 0);
    /* Above RAM, between RAM and the device, and above the device. */
    pfn = alloc_one(f, PLEAT_NO_TAG);
    assert_int_equal(pfn, GIB_FRAMES);
    for (unsigned i = 1; i < BLOCK_FRAMES; i++)
        assert_int_equal(alloc_one(f, PLEAT_NO_TAG), GIB_FRAMES + i);
    assert_int_equal(alloc_one(f, PLEAT_NO_TAG), GIB_FRAMES + 2 * BLOCK_FRAMES);
    for (unsigned i = 1; i < BLOCK_FRAMES; i++)
        alloc_one(f, PLEAT_NO_TAG);
    assert_int_equal(alloc_one(f, PLEAT_NO_TAG), GIB_FRAMES + 4 * BLOCK_FRAMES);
    /* And nothing is added over them. */
    range.start_pfn = GIB_FRAMES;
    assert_int_equal(pleat_add(&f->pleat, &range), PLEAT_E_EXISTS);
    range.frames = 8 * BLOCK_FRAMES;
    assert_int_equal(pleat_add(&f->pleat, &range), PLEAT_E_EXISTS);
    fixture_free(f);
}

static int find(void *context, const struct pleat_resource *root, const struct pleat_resource *node)
{
    char line[80];

    pleat_resource_format(root, node, line, sizeof(line));
    return strcmp(line, context) == 0;
}

static void they_are_shown_as_unpopulated(void **state)
{
    struct fixture *f = machine(NULL);
    char line[] = "40000000-47ffffff : unpopulated";
    struct pleat_unpopulated_info info;
    uint64_t pfn;

    (void)state;
    assert_int_equal(pleat_unpopulated_info(&f->pleat, 0, &info), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_resources(&f->pleat, find, line), 0);
    pfn = alloc_one(f, PLEAT_NO_TAG);
    assert_int_equal(pleat_resources(&f->pleat, find, line), 1);
    assert_int_equal(pleat_unpopulated_info(&f->pleat, 0, &info), 0);
    assert_int_equal(info.start_pfn, GIB_FRAMES);
    assert_int_equal(info.frames, BLOCK_FRAMES);
    assert_int_equal(info.used_frames, 1);
    assert_int_equal(pleat_unpopulated_info(&f->pleat, info.start_pfn + info.frames, &info),
                     PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_free_unpopulated(&f->pleat, 1, &pfn), 0);
    /* A section stays for good. */
    assert_int_equal(pleat_unpopulated_info(&f->pleat, 0, &info), 0);
    assert_int_equal(info.used_frames, 0);
    fixture_free(f);
}

static void freed_frames_are_used_first_and_the_pool_grows_by_sections(void **state)
{
    struct fixture *f = machine(NULL);
    static uint64_t pfns[3 * BLOCK_FRAMES];
    struct pleat_unpopulated_info info;
    uint64_t pfn;

    (void)state;
    assert_int_equal(pleat_alloc_unpopulated(&f->pleat, 1000, pfns, PLEAT_NO_TAG), 0);
    for (unsigned i = 1; i < 1000; i++)
        assert_int_equal(pfns[i], pfns[0] + i);
    assert_int_equal(pleat_free_unpopulated(&f->pleat, 300, pfns + 500), 0);
    assert_true(pleat_is_valid(&f->pleat));
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(alloc_one(f, PLEAT_NO_TAG), pfns[500] + i);
    assert_int_equal(alloc_one(f, PLEAT_NO_TAG), pfns[0] + 1000);
    pfn = pfns[0] + 1000;
    assert_int_equal(pleat_free_unpopulated(&f->pleat, 1, &pfn), 0);
    assert_int_equal(pleat_free_unpopulated(&f->pleat, 1000, pfns), 0);
    /* More than a section at once; then the oldest is used first again. */
    assert_int_equal(pleat_alloc_unpopulated(&f->pleat, 2 * BLOCK_FRAMES + 7, pfns, PLEAT_NO_TAG), 0);
    assert_true(pleat_is_valid(&f->pleat));
    assert_int_equal(pleat_unpopulated_info(&f->pleat, GIB_FRAMES + 2 * BLOCK_FRAMES, &info), 0);
    assert_int_equal(info.used_frames, 7);
    assert_int_equal(pleat_free_unpopulated(&f->pleat, 2 * BLOCK_FRAMES + 7, pfns), 0);
    assert_int_equal(alloc_one(f, PLEAT_NO_TAG), GIB_FRAMES);
    fixture_free(f);
}

static void a_wrong_free_changes_nothing(void **state)
{
    struct fixture *f = machine(NULL);
    struct pleat_unpopulated_info info;
    uint64_t pfns[5];

    (void)state;
    assert_int_equal(pleat_alloc_unpopulated(&f->pleat, 3, pfns, PLEAT_NO_TAG), 0);
    pfns[3] = pfns[2] + 1;
    assert_int_equal(pleat_free_unpopulated(&f->pleat, 4, pfns), PLEAT_E_MISUSE);
    assert_string_equal(pleat_hosted_last_fatal(f->hosted),
                        "free of PFN 0x40003, order 0: it is unpopulated and isn't allocated");
    pfns[3] = 0;
    assert_int_equal(pleat_free_unpopulated(&f->pleat, 4, pfns), PLEAT_E_MISUSE);
    assert_string_equal(pleat_hosted_last_fatal(f->hosted), "free of PFN 0x0, order 0: it isn't unpopulated");
    assert_int_equal(pleat_unpopulated_info(&f->pleat, 0, &info), 0);
    assert_int_equal(info.used_frames, 3);
    /* Twice the same: those before the second are free. */
    pfns[3] = pfns[1];
    assert_int_equal(pleat_free_unpopulated(&f->pleat, 4, pfns), PLEAT_E_MISUSE);
    assert_int_equal(pleat_unpopulated_info(&f->pleat, 0, &info), 0);
    assert_int_equal(info.used_frames, 0);
    assert_int_equal(pleat_hosted_fatals(f->hosted), 3);
    assert_int_equal(pleat_free_unpopulated(&f->pleat, 0, pfns), 0);
    fixture_free(f);
}

static void the_addresses_are_checked(void **state)
{
    static const struct pleat_unpopulated_range bad[] = {
        {.start_pfn = 5, .frames = 0},
        {.start_pfn = (uint64_t)1 << 52, .frames = 1},
        {.start_pfn = ((uint64_t)1 << 52) - 1, .frames = 2},
        {.start_pfn = 1, .frames = UINT64_MAX},
    };
    static const struct pleat_unpopulated_range top = {.start_pfn = ((uint64_t)1 << 52) - 2 * BLOCK_FRAMES,
                                                       .frames = 2 * BLOCK_FRAMES};
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct pleat_unpopulated_config config = {.ranges = bad};
    uint64_t pfn;

    (void)state;
    assert_int_equal(pleat_alloc_unpopulated(&f->pleat, 1, &pfn, PLEAT_NO_TAG), PLEAT_E_UNSUPPORTED);
    assert_int_equal(pleat_unpopulated_init(&f->pleat, &config), PLEAT_E_INVALID);
    config.range_count = 1;
    for (unsigned i = 0; i < 4; i++) {
        config.ranges = &bad[i];
        assert_int_equal(pleat_unpopulated_init(&f->pleat, &config), PLEAT_E_INVALID);
    }
    config.ranges = &top;
    config.node = 1;
    assert_int_equal(pleat_unpopulated_init(&f->pleat, &config), PLEAT_E_INVALID);
    config.node = 0;
    assert_int_equal(pleat_unpopulated_init(&f->pleat, &config), 0);
    assert_int_equal(pleat_unpopulated_init(&f->pleat, &config), PLEAT_E_STATE);
    assert_int_equal(alloc_one(f, PLEAT_NO_TAG), top.start_pfn);
    assert_int_equal(pleat_alloc_unpopulated(&f->pleat, 0, &pfn, PLEAT_NO_TAG), PLEAT_E_INVALID);
    fixture_free(f);
}

static void frame_0_and_parts_of_sections_are_never_used(void **state)
{
    /* RAM is above: frame 0 is in nobody's way. */
    const struct pleat_boot_span span = {.start_pfn = 4 * BLOCK_FRAMES, .frames = BLOCK_FRAMES};
    static const struct pleat_unpopulated_range low = {.start_pfn = 0, .frames = 3 * BLOCK_FRAMES - 1};
    const struct pleat_unpopulated_config config = {.ranges = &low, .range_count = 1};
    struct fixture *f = fixture_new(&span, 1, NULL);
    static uint64_t pfns[BLOCK_FRAMES];
    struct pleat_unpopulated_info info;

    (void)state;
    assert_int_equal(pleat_unpopulated_init(&f->pleat, &config), 0);
    assert_int_equal(pleat_alloc_unpopulated(&f->pleat, BLOCK_FRAMES, pfns, PLEAT_NO_TAG), 0);
    assert_int_equal(pfns[0], BLOCK_FRAMES);
    /* One more isn't to be had; and all or none. */
    assert_int_equal(pleat_alloc_unpopulated(&f->pleat, 1, pfns, PLEAT_NO_TAG), PLEAT_E_NO_MEMORY);
    assert_int_equal(pleat_free_unpopulated(&f->pleat, 10, pfns), 0);
    assert_int_equal(pleat_alloc_unpopulated(&f->pleat, 11, pfns, PLEAT_NO_TAG), PLEAT_E_NO_MEMORY);
    assert_int_equal(pleat_unpopulated_info(&f->pleat, 0, &info), 0);
    assert_int_equal(info.used_frames, BLOCK_FRAMES - 10);
    assert_int_equal(pleat_alloc_unpopulated(&f->pleat, 10, pfns, PLEAT_NO_TAG), 0);
    fixture_free(f);
}

static void without_room_for_a_memmap_there_are_none(void **state)
{
    struct fixture *f = machine(NULL);
    struct pleat_unpopulated_info info;
    uint64_t pfn;

    (void)state;
    while (pleat_alloc(&f->pleat, 3, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG) >= 0)
        ;
    assert_int_equal(pleat_alloc_unpopulated(&f->pleat, 1, &pfn, PLEAT_NO_TAG), PLEAT_E_NO_MEMORY);
    assert_int_equal(pleat_unpopulated_info(&f->pleat, 0, &info), PLEAT_E_NOT_FOUND);
    fixture_free(f);
}

static void without_owners_words_they_are_counted_all_the_same(void **state)
{
    struct fixture *f = machine(no_owner_words);
    uint64_t pfns[3];
    pleat_tag tag;
    unsigned order;

    (void)state;
    assert_int_equal(pleat_alloc_unpopulated(&f->pleat, 3, pfns, PLEAT_NO_TAG), 0);
    assert_int_equal(pleat_frame_tag(&f->pleat, pfns[0], &tag, &order), PLEAT_E_UNSUPPORTED);
    assert_null(pleat_frame_data(&f->pleat, pfns[0]));
    assert_int_equal(pleat_free_unpopulated(&f->pleat, 3, pfns), 0);
    assert_int_equal(pleat_free_unpopulated(&f->pleat, 1, pfns), PLEAT_E_MISUSE);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_have_a_tag_and_data_as_others),
        cmocka_unit_test(nothing_that_looks_for_memory_finds_them),
        cmocka_unit_test(they_collide_with_nothing),
        cmocka_unit_test(they_are_shown_as_unpopulated),
        cmocka_unit_test(freed_frames_are_used_first_and_the_pool_grows_by_sections),
        cmocka_unit_test(a_wrong_free_changes_nothing),
        cmocka_unit_test(the_addresses_are_checked),
        cmocka_unit_test(frame_0_and_parts_of_sections_are_never_used),
        cmocka_unit_test(without_room_for_a_memmap_there_are_none),
        cmocka_unit_test(without_owners_words_they_are_counted_all_the_same),
    };
    return cmocka_run_group_tests_name("unpopulated frames", tests, NULL, NULL);
}
