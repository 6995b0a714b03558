/* SPDX-License-Identifier: MIT
 *
 * Zones by address and by wish, fallback by zone and by node, and who is asked to reclaim for which node.
 */
#include "core_fixture.h"

static const char owner;

/* Node 0: DMA to 16 MiB, DMA32 to 256 MiB, NORMAL to 512 MiB. Node 1: 512 MiB to 1 GiB. CPU 1 is on node 1.
 */
static const struct pleat_boot_span spans[] = {
    {.start_pfn = 0, .frames = GIB_FRAMES / 2, .node = 0},
    {.start_pfn = GIB_FRAMES / 2, .frames = GIB_FRAMES / 2, .node = 1},
};

static uint64_t asked_frames;
static unsigned asked_node, asked;

static uint64_t reclaim(void *context, unsigned node, uint64_t frames)
{
    (void)context;
    asked++;
    asked_node = node;
    asked_frames = frames;
    return 0;
}

static void two_nodes(struct pleat_config *config)
{
    static const uint8_t cpu_node[] = {0, 1};

    config->nodes = 2;
    config->cpu_node = cpu_node;
    config->block_pageblocks = 8;
    config->dma_end_pfn = 16 * MIB_FRAMES;
    config->dma32_end_pfn = 256 * MIB_FRAMES;
    config->reclaim = reclaim;
}

static void two_nodes_without_dma32(struct pleat_config *config)
{
    two_nodes(config);
    config->dma32_end_pfn = 0;
}

static enum pleat_zone_kind zone_of(struct fixture *f, int64_t pfn, unsigned *node)
{
    struct pleat_block_info info;

    assert_true(pfn >= 0);
    assert_int_equal(pleat_block_info(&f->pleat, (uint64_t)pfn, &info), 0);
    *node = info.node;
    return info.zone;
}

static void each_wish_gets_its_zone(void **state)
{
    static const struct {
        unsigned flags, node;
        enum pleat_zone_kind zone;
    } wishes[] = {
        {0, 0, PLEAT_ZONE_NORMAL},
        {PLEAT_ALLOC_DMA, 0, PLEAT_ZONE_DMA},
        {PLEAT_ALLOC_DMA32, 0, PLEAT_ZONE_DMA32},
        {PLEAT_ALLOC_NODE(1), 1, PLEAT_ZONE_NORMAL},
        {PLEAT_ALLOC_NODE(1) | PLEAT_ALLOC_DMA, 0, PLEAT_ZONE_DMA},
        {PLEAT_RECLAIMABLE, 0, PLEAT_ZONE_NORMAL},
    };
    struct fixture *f = fixture_new(spans, 2, two_nodes);
    unsigned node;

    (void)state;
    for (unsigned i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
        for (unsigned order = 0; order <= 10; order += 3) {
            int64_t pfn = pleat_alloc(&f->pleat, order, wishes[i].flags, PLEAT_NO_TAG);

            assert_int_equal(zone_of(f, pfn, &node), wishes[i].zone);
            assert_int_equal(node, wishes[i].node);
            assert_int_equal(pleat_free(&f->pleat, (uint64_t)pfn, order), 0);
        }
    }
    assert_int_equal(pleat_alloc(&f->pleat, 0, PLEAT_ALLOC_NODE(1) | PLEAT_ALLOC_DMA | PLEAT_ALLOC_THIS_NODE,
                                 PLEAT_NO_TAG),
                     PLEAT_E_NO_MEMORY);
    assert_int_equal(pleat_alloc(&f->pleat, 0, PLEAT_ALLOC_NODE(2), PLEAT_NO_TAG), PLEAT_E_INVALID);
    assert_int_equal(pleat_alloc(&f->pleat, 0, 1 << 15, PLEAT_NO_TAG), PLEAT_E_INVALID);
    assert_int_equal(pleat_alloc(&f->pleat, 0, 3, PLEAT_NO_TAG), PLEAT_E_INVALID);
    fixture_free(f);
}

/* Allocates pageblocks until there are none; the zones of each node have to come in this order. */
static void unmovable_frames_fall_back_by_zone_then_by_node(void **state)
{
    static const struct {
        unsigned node;
        enum pleat_zone_kind zone;
    } order[] = {
        {0, PLEAT_ZONE_NORMAL},
        {0, PLEAT_ZONE_PREFER_MOVABLE},
        {0, PLEAT_ZONE_DMA},
        {1, PLEAT_ZONE_NORMAL},
    };
    struct fixture *f = fixture_new(spans, 2, two_nodes_without_dma32);
    struct pleat_range_config range = {.name = "test",
                                       .owner = &owner,
                                       .start_pfn = GIB_FRAMES,
                                       .frames = 4096 * 2,
                                       .flags = PLEAT_ADD_FORCE_ONLINE,
                                       .force_zone = PLEAT_ZONE_PREFER_MOVABLE};
    unsigned at = 0, seen = 0;
    int64_t pfn;

    (void)state;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    range.start_pfn += range.frames;
    range.force_zone = PLEAT_ZONE_MOVABLE;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    while ((pfn = pleat_alloc(&f->pleat, 9, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG)) >= 0) {
        unsigned node;
        enum pleat_zone_kind zone = zone_of(f, pfn, &node);

        while (at < 4 && (order[at].node != node || order[at].zone != zone))
            at++, seen = 0;
        assert_true(at < 4);
        seen++;
    }
    assert_int_equal(at, 3);
    assert_true(seen);
    fixture_free(f);
}

static void movable_frames_fall_back_from_movable_zones_on(void **state)
{
    static const enum pleat_zone_kind order[] = {PLEAT_ZONE_MOVABLE, PLEAT_ZONE_PREFER_MOVABLE,
                                                 PLEAT_ZONE_NORMAL, PLEAT_ZONE_DMA32, PLEAT_ZONE_DMA};
    struct fixture *f = fixture_new(spans, 2, two_nodes);
    struct pleat_range_config range = {.name = "test",
                                       .owner = &owner,
                                       .start_pfn = GIB_FRAMES,
                                       .frames = 4096 * 2,
                                       .flags = PLEAT_ADD_FORCE_ONLINE,
                                       .force_zone = PLEAT_ZONE_PREFER_MOVABLE};
    struct mover mover;
    unsigned at = 0;
    int64_t pfn;

    (void)state;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    range.start_pfn += range.frames;
    range.force_zone = PLEAT_ZONE_MOVABLE;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    mover_init(&mover, &f->pleat, 2);
    while ((pfn = pleat_alloc(&f->pleat, 9, PLEAT_MOVABLE | PLEAT_ALLOC_RESERVE | PLEAT_ALLOC_THIS_NODE,
                              pleat_tag_make(mover.owner, 1))) >= 0) {
        unsigned node;
        enum pleat_zone_kind zone = zone_of(f, pfn, &node);

        assert_int_equal(node, 0);
        while (at < 5 && order[at] != zone)
            at++;
        assert_true(at < 5);
    }
    assert_int_equal(at, 4);
    free(mover.where);
    fixture_free(f);
}

/* Nodes 0, 1, 2 and 3 of 256 MiB each, in a row of which the ends are far apart. */
static void four_nodes(struct pleat_config *config)
{
    static const uint8_t distances[] = {
        10, 30, 20, 40, /* as node 0 sees it */
        20, 10, 30, 20, /* two are equally near: the first of them comes first */
        20, 30, 10, 40, /* */
        40, 30, 20, 10,
    };

    config->nodes = 4;
    config->node_distance = distances;
}

static void nearer_nodes_come_first(void **state)
{
    static const uint8_t order[4][4] = {{0, 2, 1, 3}, {1, 0, 3, 2}, {2, 0, 1, 3}, {3, 2, 1, 0}};
    struct pleat_boot_span quarters[4];

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        quarters[i] =
            (struct pleat_boot_span){.start_pfn = i * (GIB_FRAMES / 4), .frames = GIB_FRAMES / 4, .node = i};
    for (unsigned home = 0; home < 4; home++) {
        struct fixture *f = fixture_new(quarters, 4, four_nodes);
        unsigned at = 0;
        int64_t pfn;

        while ((pfn = pleat_alloc(&f->pleat, 9, PLEAT_ALLOC_RESERVE | PLEAT_ALLOC_NODE(home),
                                  PLEAT_NO_TAG)) >= 0) {
            unsigned node;

            (void)zone_of(f, pfn, &node);
            while (at < 4 && order[home][at] != node)
                at++;
            assert_true(at < 4);
        }
        assert_int_equal(at, 3);
        fixture_free(f);
    }
}

static void the_nodes_own_cpu_decides_where_reclaim_is_asked(void **state)
{
    struct fixture *f = fixture_new(spans, 2, two_nodes);

    (void)state;
    while (pleat_alloc(&f->pleat, 9, PLEAT_ALLOC_RESERVE | PLEAT_ALLOC_NO_RECLAIM, PLEAT_NO_TAG) >= 0)
        continue;
    asked = 0;
    assert_int_equal(pleat_alloc(&f->pleat, 9, 0, PLEAT_NO_TAG), PLEAT_E_NO_MEMORY);
    assert_int_equal(asked, 1);
    assert_int_equal(asked_node, 0);
    assert_int_equal(asked_frames, 512);
    pleat_hosted_cpu_set(1);
    assert_int_equal(pleat_alloc(&f->pleat, 9, 0, PLEAT_NO_TAG), PLEAT_E_NO_MEMORY);
    assert_int_equal(asked_node, 1);
    assert_int_equal(pleat_alloc(&f->pleat, 9, PLEAT_ALLOC_NODE(0), PLEAT_NO_TAG), PLEAT_E_NO_MEMORY);
    assert_int_equal(asked_node, 0);
    pleat_hosted_cpu_set(0);
    fixture_free(f);
}

static void memory_above_a_limit_isnt_forced_into_its_zone(void **state)
{
    struct fixture *f = fixture_new(spans, 2, two_nodes);
    struct pleat_range_config range = {.name = "test",
                                       .owner = &owner,
                                       .start_pfn = GIB_FRAMES,
                                       .frames = 4096,
                                       .flags = PLEAT_ADD_FORCE_ONLINE,
                                       .force_zone = PLEAT_ZONE_DMA};
    struct pleat_block_info info;

    (void)state;
    assert_int_equal(pleat_add(&f->pleat, &range), PLEAT_E_INVALID);
    range.force_zone = PLEAT_ZONE_DMA32;
    assert_int_equal(pleat_add(&f->pleat, &range), PLEAT_E_INVALID);
    assert_int_equal(pleat_block_info(&f->pleat, GIB_FRAMES, &info), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_set_policy(&f->pleat, PLEAT_POLICY_OFFLINE, 0), 0);
    range.flags = 0;
    assert_int_equal(pleat_add(&f->pleat, &range), 0);
    assert_int_equal(pleat_online(&f->pleat, GIB_FRAMES, 4096, PLEAT_ZONE_DMA32), PLEAT_E_INVALID);
    assert_int_equal(pleat_online(&f->pleat, GIB_FRAMES, 4096, PLEAT_ZONE_NORMAL), 0);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_wish_gets_its_zone),
        cmocka_unit_test(unmovable_frames_fall_back_by_zone_then_by_node),
        cmocka_unit_test(movable_frames_fall_back_from_movable_zones_on),
        cmocka_unit_test(nearer_nodes_come_first),
        cmocka_unit_test(the_nodes_own_cpu_decides_where_reclaim_is_asked),
        cmocka_unit_test(memory_above_a_limit_isnt_forced_into_its_zone),
    };
    return cmocka_run_group_tests_name("zones", tests, NULL, NULL);
}
