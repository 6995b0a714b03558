/* SPDX-License-Identifier: MIT
 *
 * The core through struct pleat_memory_ops: takes of blocks of which some are offline.
 */
#include "core_fixture.h"

#define MIB (1024u * 1024u)

static int owner_context;
static const struct pleat_memory_owner owner = {.context = &owner_context};

static const uint64_t start = 1024 * (uint64_t)MIB, block = 128 * (uint64_t)MIB;

static struct fixture *three_blocks(struct pleat_memory *memory)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    const struct pleat_memory_range range = {
        .address = start, .bytes = 3 * block, .name = "test", .owner = &owner};

    pleat_memory_init(&f->pleat, memory);
    assert_int_equal(pleat_set_policy(&f->pleat, PLEAT_POLICY_OFFLINE, 0), 0);
    assert_int_equal(memory->ops->add(memory->context, &range), 0);
    return f;
}

static int step_to_the_end(struct pleat_memory *memory, struct pleat_memory_job *job)
{
    int result;

    do
        result = memory->ops->take_step(memory->context, job, MIB);
    while (result == PLEAT_MORE);
    return result;
}

static void blocks_that_are_offline_go_with_the_rest(void **state)
{
    struct pleat_memory memory;
    struct fixture *f = three_blocks(&memory);
    struct pleat_memory_job job;

    (void)state;
    assert_int_equal(pleat_online(&f->pleat, GIB_FRAMES + BLOCK_FRAMES, BLOCK_FRAMES, PLEAT_ZONE_NORMAL), 0);
    assert_int_equal(
        memory.ops->take_begin(memory.context, &job, &owner, PLEAT_TAKE_BLOCKS, start, 3 * block, 0), 0);
    /* Nobody brings one of them online meanwhile. */
    assert_int_equal(pleat_online(&f->pleat, GIB_FRAMES, BLOCK_FRAMES, PLEAT_ZONE_NORMAL), PLEAT_E_STATE);
    assert_int_equal(memory.ops->remove(memory.context, &owner, start, block), PLEAT_E_STATE);
    assert_true(pleat_is_valid(&f->pleat));
    assert_int_equal(step_to_the_end(&memory, &job), 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(memory.ops->block_state(memory.context, start + i * block), PLEAT_BLOCK_NONE);
    fixture_free(f);
}

static void a_take_that_ends_leaves_offline_blocks_offline(void **state)
{
    struct pleat_memory memory;
    struct fixture *f = three_blocks(&memory);
    struct pleat_memory_report report;
    struct pleat_memory_job job;
    struct pleat_range_info info;
    int64_t pfn[2] = {0};

    (void)state;
    assert_int_equal(pleat_online(&f->pleat, GIB_FRAMES + BLOCK_FRAMES, BLOCK_FRAMES, PLEAT_ZONE_NORMAL), 0);
    assert_int_equal(
        memory.ops->take_begin(memory.context, &job, &owner, PLEAT_TAKE_BLOCKS, start, 3 * block, 0), 0);
    assert_int_equal(memory.ops->block_state(memory.context, start), PLEAT_BLOCK_GOING_OFFLINE);
    assert_int_equal(pleat_range_info(&f->pleat, GIB_FRAMES, &info), 0);
    assert_int_equal(info.online_frames, BLOCK_FRAMES);
    memory.ops->take_cancel(memory.context, &job);
    assert_int_equal(memory.ops->block_state(memory.context, start), PLEAT_BLOCK_OFFLINE);
    assert_int_equal(memory.ops->block_state(memory.context, start + block), PLEAT_BLOCK_ONLINE);
    assert_int_equal(memory.ops->block_state(memory.context, start + 2 * block), PLEAT_BLOCK_OFFLINE);

    /* What fails at once has held nothing. */
    while ((pfn[0] = pleat_alloc(&f->pleat, 9, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG)) >= 0)
        pfn[1] = pfn[0];
    assert_true((uint64_t)pfn[1] >= GIB_FRAMES);
    assert_int_equal(
        memory.ops->take_begin(memory.context, &job, &owner, PLEAT_TAKE_BLOCKS, start, 3 * block, 0),
        PLEAT_E_UNMOVABLE);
    memory.ops->take_report(memory.context, &job, &report);
    assert_true(report.bytes_unmovable > 0);
    assert_string_equal(report.obstacle_owner, "anonymous");
    assert_int_equal(memory.ops->block_state(memory.context, start), PLEAT_BLOCK_OFFLINE);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_that_are_offline_go_with_the_rest),
        cmocka_unit_test(a_take_that_ends_leaves_offline_blocks_offline),
    };
    return cmocka_run_group_tests_name("memory_ops", tests, NULL, NULL);
}
