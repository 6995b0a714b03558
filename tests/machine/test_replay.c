/* SPDX-License-Identifier: MIT
 *
 * Replay against a plain allocator of the test's own, and against the core: every block is freed where it was
 * allocated, refused allocations have no frees, and the counts of placement are true.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "machine/replay_core.h"
#include "machine/synthetic.h"

/* ---- a plain allocator: first fit in a table of frames, which remembers who has what ---- */

enum { PLAIN_FRAMES = 8192 };

struct plain {
    uint64_t first_pfn;
    uint64_t allocations, frees;
    uint64_t refuse_after;          /* so many allocations succeed */
    uint8_t order_of[PLAIN_FRAMES]; /* 1 + order at the first frame of a block, 255 at its others */
    uint32_t slot_of[PLAIN_FRAMES];
    bool flags_seen[256];
};

static int64_t plain_alloc(void *context, unsigned order, unsigned flags, uint32_t slot)
{
    struct plain *plain = context;
    uint32_t size = 1u << order;
    plain->flags_seen[flags & 255] = true;
    if (plain->allocations == plain->refuse_after)
        return PLEAT_E_NO_MEMORY;
    for (uint32_t start = 0; start < PLAIN_FRAMES; start += size) {
        uint32_t used = 0;
        for (uint32_t i = start; i < start + size; i++)
            used += plain->order_of[i];
        if (used)
            continue;
        memset(plain->order_of + start, 255, size);
        plain->order_of[start] = (uint8_t)(1 + order);
        plain->slot_of[start] = slot;
        plain->allocations++;
        return (int64_t)(plain->first_pfn + start);
    }
    return PLEAT_E_NO_MEMORY;
}

static int plain_free(void *context, uint64_t pfn, unsigned order)
{
    struct plain *plain = context;
    if (pfn < plain->first_pfn || pfn >= plain->first_pfn + PLAIN_FRAMES ||
        plain->order_of[pfn - plain->first_pfn] != 1 + order)
        return PLEAT_E_MISUSE;
    memset(plain->order_of + (pfn - plain->first_pfn), 0, (size_t)1 << order);
    plain->frees++;
    return PLEAT_OK;
}

static struct plain *plain_new(void)
{
    struct plain *plain = calloc(1, sizeof(*plain));
    assert_non_null(plain);
    plain->refuse_after = UINT64_MAX;
    return plain;
}

static struct pleat_operations workload(const char *text, uint64_t frames, uint64_t count)
{
    struct pleat_synthetic_config config;
    struct pleat_operations operations = {0};
    struct pleat_message message = {""};
    if (pleat_synthetic_parse(text, &config, &message) ||
        pleat_synthetic_prepare(&config, frames, count, &operations, &message))
        fail_msg("%s", message.text);
    return operations;
}

static void assert_sum(const struct pleat_replay_result *result)
{
    assert_int_equal(result->operations, result->allocations + result->refused + result->frees +
                                             result->unknown_frees + result->skipped_frees);
}

static void all_operations_reach_the_allocator(void **state)
{
    (void)state;
    struct plain *plain = plain_new();
    const struct pleat_replay_allocator allocator = {plain, plain_alloc, plain_free};
    struct pleat_operations operations =
        workload("fill=50%,unmovable=30%,orders=0:9/2:1", PLAIN_FRAMES, 6000);
    struct pleat_replay replay;
    struct pleat_replay_result before = {0}, result = {0};
    assert_int_equal(pleat_replay_begin(&replay, &operations), 0);
    pleat_replay_run(&replay, &allocator, 0, operations.before, &before);
    assert_int_equal(before.allocations, operations.before);
    pleat_replay_run(&replay, &allocator, operations.before, operations.count, &result);
    assert_sum(&result);
    assert_int_equal(result.operations, 6000);
    assert_int_equal(result.refused + result.unknown_frees + result.skipped_frees, 0);
    assert_int_equal(before.allocations + result.allocations, operations.counts.allocations);
    assert_int_equal(result.frees, operations.counts.frees);
    assert_true(result.total_ns > 0);
    for (int flags = 0; flags < 256; flags++)
        assert_int_equal(plain->flags_seen[flags], flags < PLEAT_MOBILITIES);
    /* What is live is where its slot says. */
    uint64_t live = 0;
    for (uint32_t i = 0; i < PLAIN_FRAMES; i++) {
        if (plain->order_of[i] && plain->order_of[i] != 255) {
            assert_int_equal(replay.pfns[plain->slot_of[i]], i);
            live++;
        }
    }
    assert_int_equal(live, operations.counts.live_blocks);
    assert_int_equal(pleat_replay_release(&replay, &allocator, operations.count), 0);
    assert_int_equal(plain->frees, plain->allocations);
    assert_int_equal(pleat_replay_release(&replay, &allocator, operations.count), 0);
    assert_int_equal(plain->frees, plain->allocations);
    pleat_replay_end(&replay);
    pleat_operations_free(&operations);
    free(plain);
}

static void what_is_refused_is_not_freed(void **state)
{
    (void)state;
    struct plain *plain = plain_new();
    const struct pleat_replay_allocator allocator = {plain, plain_alloc, plain_free};
    struct pleat_operations operations = workload("fill=50%,orders=0:1", PLAIN_FRAMES, 20000);
    struct pleat_replay replay;
    struct pleat_replay_result result = {0};
    plain->refuse_after = 1000;
    assert_int_equal(pleat_replay_begin(&replay, &operations), 0);
    pleat_replay_run(&replay, &allocator, 0, operations.count, &result);
    assert_sum(&result);
    assert_int_equal(result.allocations, 1000);
    assert_int_equal(result.allocations + result.refused, operations.counts.allocations);
    assert_int_equal(result.frees + result.skipped_frees, operations.counts.frees);
    assert_int_equal(result.unknown_frees, 0);
    assert_true(result.skipped_frees > 0);
    assert_int_equal(pleat_replay_release(&replay, &allocator, operations.count), 0);
    assert_int_equal(plain->frees, 1000);
    pleat_replay_end(&replay);
    pleat_operations_free(&operations);
    free(plain);
}

static void frames_that_are_too_far_up_go_back(void **state)
{
    (void)state;
    struct plain *plain = plain_new();
    const struct pleat_replay_allocator allocator = {plain, plain_alloc, plain_free};
    struct pleat_operations operations = workload("fill=5%,orders=0:1", PLAIN_FRAMES, 1000);
    struct pleat_replay replay;
    struct pleat_replay_result result = {0};
    /* Two frames below the limit. */
    plain->first_pfn = (uint64_t)UINT32_MAX - 2;
    assert_int_equal(pleat_replay_begin(&replay, &operations), 0);
    pleat_replay_run(&replay, &allocator, 0, operations.count, &result);
    assert_sum(&result);
    assert_true(result.refused > 0 && result.allocations > 0);
    assert_int_equal(result.unknown_frees, 0);
    pleat_replay_release(&replay, &allocator, operations.count);
    assert_int_equal(plain->frees, plain->allocations);
    pleat_replay_end(&replay);
    pleat_operations_free(&operations);
    free(plain);
}

static int forgetful_free(void *context, uint64_t pfn, unsigned order)
{
    (void)plain_free(context, pfn, order);
    return PLEAT_E_MISUSE;
}

static void frees_that_the_allocator_refuses_are_counted(void **state)
{
    (void)state;
    struct plain *plain = plain_new();
    const struct pleat_replay_allocator allocator = {plain, plain_alloc, forgetful_free};
    struct pleat_operations operations = workload("fill=5%,orders=0:1", PLAIN_FRAMES, 1000);
    struct pleat_replay replay;
    struct pleat_replay_result result = {0};
    assert_int_equal(pleat_replay_begin(&replay, &operations), 0);
    pleat_replay_run(&replay, &allocator, 0, operations.count, &result);
    assert_sum(&result);
    assert_int_equal(result.unknown_frees, operations.counts.frees);
    assert_int_equal(pleat_replay_release(&replay, &allocator, operations.count),
                     operations.counts.live_blocks);
    pleat_replay_end(&replay);
    pleat_operations_free(&operations);
    free(plain);
}

/* ---- the core ---- */

static void the_core_gets_all_frames_back(void **state)
{
    (void)state;
    struct pleat_replay_core *core;
    struct pleat_message message = {""};
    if (pleat_replay_core_create(&core, (uint64_t)64 << 20, false, &message))
        fail_msg("%s", message.text);
    struct pleat_replay_placement empty, used, after;
    assert_int_equal(pleat_replay_core_placement(core, &empty), 0);
    assert_int_equal(empty.free_pageblocks + empty.left_out_pageblocks, 32);
    assert_int_equal(empty.possible_pageblocks, empty.free_pageblocks);
    assert_int_equal(empty.free_frames, empty.free_pageblocks * 512);

    struct pleat_operations operations = workload("fill=50%,orders=0:20/3:1", 16384, 100000);
    struct pleat_replay replay;
    struct pleat_replay_result result = {0};
    assert_int_equal(pleat_replay_begin(&replay, &operations), 0);
    pleat_replay_core_run(core, &replay, 0, operations.count, &result);
    assert_sum(&result);
    assert_int_equal(result.refused + result.unknown_frees + result.skipped_frees, 0);
    assert_true(pleat_is_valid(pleat_replay_core_pleat(core)));
    assert_int_equal(pleat_replay_core_placement(core, &used), 0);
    /* Blocks may lie in the pageblocks that are left out, so at least so many are free elsewhere. */
    assert_true(used.free_frames >= empty.free_frames - operations.counts.live_frames);
    assert_true(used.free_pageblocks <= used.possible_pageblocks);
    assert_int_equal(used.possible_pageblocks, used.free_frames / 512);

    assert_int_equal(pleat_replay_core_release(core, &replay, operations.count), 0);
    assert_int_equal(pleat_replay_core_placement(core, &after), 0);
    assert_memory_equal(&after, &empty, sizeof(empty));
    assert_int_equal(pleat_replay_core_reset(core, &message), 0);
    assert_int_equal(pleat_replay_core_placement(core, &after), 0);
    assert_memory_equal(&after, &empty, sizeof(empty));
    pleat_replay_end(&replay);
    pleat_operations_free(&operations);
    pleat_replay_core_destroy(core);
    pleat_replay_core_destroy(NULL);
}

static void zones_are_there_when_asked_for(void **state)
{
    (void)state;
    static const uint8_t flags[] = {PLEAT_MOVABLE | PLEAT_ALLOC_DMA32, PLEAT_UNMOVABLE | PLEAT_ALLOC_DMA};
    for (int zones = 0; zones < 2; zones++) {
        struct pleat_replay_core *core;
        assert_int_equal(pleat_replay_core_create(&core, (uint64_t)256 << 20, zones, NULL), 0);
        struct pleat_operations operations = {0};
        for (uint32_t i = 0; i < 2; i++) {
            const struct pleat_operation operation = {.slot = i, .flags = flags[i]};
            assert_int_equal(pleat_operations_append(&operations, &operation, i), 0);
        }
        struct pleat_replay replay;
        struct pleat_replay_result result = {0};
        assert_int_equal(pleat_replay_begin(&replay, &operations), 0);
        pleat_replay_core_run(core, &replay, 0, 2, &result);
        assert_int_equal(result.allocations, zones ? 2 : 0);
        assert_true(!zones || replay.pfns[1] < (128 << 20) / 4096);
        pleat_replay_end(&replay);
        pleat_operations_free(&operations);
        pleat_replay_core_destroy(core);
    }
}

static void memory_that_can_not_be_is_refused(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 2 << 20, (8 << 20) + 4096, ((uint64_t)1 << 40) + (2 << 20),
                                     UINT64_MAX};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct pleat_replay_core *core;
        struct pleat_message message = {""};
        assert_int_equal(pleat_replay_core_create(&core, sizes[i], false, &message), PLEAT_E_INVALID);
        assert_null(core);
        assert_non_null(strstr(message.text, "expected 4M to 1T in multiples of 2M"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_operations_reach_the_allocator),
        cmocka_unit_test(what_is_refused_is_not_freed),
        cmocka_unit_test(frames_that_are_too_far_up_go_back),
        cmocka_unit_test(frees_that_the_allocator_refuses_are_counted),
        cmocka_unit_test(the_core_gets_all_frames_back),
        cmocka_unit_test(zones_are_there_when_asked_for),
        cmocka_unit_test(memory_that_can_not_be_is_refused),
    };
    return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
