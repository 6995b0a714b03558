/* SPDX-License-Identifier: MIT
 *
 * Pairing frees with allocations: contradictions are named, blocks from before the trace are found, what the
 * kernel took in bulk is skipped, and a cut keeps what was live. The recorded traces, where they are given,
 * are held against the table that came with them.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/trace.h"
#include "tests/machine/trace_builder.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("expected \"%s\" in \"%s\"", part, text);
}

static struct pleat_trace load(const struct test_record *records, size_t n)
{
    struct test_trace file = build_trace(records, n);
    struct pleat_trace trace;
    struct pleat_message message = {""};
    if (pleat_trace_load_bytes(&trace, "small", file.bytes, file.count, &message))
        fail_msg("%s", message.text);
    free(file.bytes);
    return trace;
}

static const struct test_record small[] = {
    {'a', 16, 2, 1, 0, 0, 100}, {'a', 512, 9, 0, 1, 5, 101},   {'f', 64, 0, 0, 1, 7, 102},
    {'f', 16, 2, 0, 0, 1, 100}, {'f', 17, 0, 0, 0, 0, 100}, /* was touched, isn't live: taken in bulk */
    {'a', 64, 0, 3, 1, 2, 103}, {'f', 2048, 3, 0, 0, 10, 104}, {'f', 32, 0, 0, 0, 1, 105},
};

static void frees_are_paired_told_apart_and_counted(void **state)
{
    (void)state;
    struct pleat_trace trace = load(small, COUNT(small));
    struct pleat_trace_summary summary;
    assert_int_equal(pleat_trace_summarize(&trace, &summary, NULL), 0);
    assert_int_equal(summary.records, 8);
    assert_int_equal(summary.duration_ns, 26000);
    assert_int_equal(summary.before_blocks, 3);
    assert_int_equal(summary.before_frames, 10);
    assert_int_equal(summary.skipped_frees, 1);
    assert_int_equal(summary.paired_frees, 1);
    assert_int_equal(summary.counts.allocations, 3);
    assert_int_equal(summary.counts.peak_live_frames, 516);
    assert_int_equal(summary.counts.live_frames, 513);
    assert_int_equal(summary.peak_live_frames_with_before, 526);
    assert_int_equal(summary.counts.allocations_by_order[9], 1);
    assert_int_equal(summary.counts.allocations_by_mobility[PLEAT_MOVABLE], 1);
    assert_int_equal(summary.counts.allocations_by_mobility[PLEAT_UNMOVABLE], 2);
    pleat_trace_free(&trace);
}

static void operations_begin_with_what_was_there_before(void **state)
{
    (void)state;
    struct pleat_trace trace = load(small, COUNT(small));
    struct pleat_operations operations;
    struct pleat_message message = {""};
    assert_int_equal(pleat_trace_prepare(&trace, &operations, &message), 0);
    if (!pleat_operations_is_valid(&operations, &message))
        fail_msg("%s", message.text);
    assert_int_equal(operations.before, 3);
    /* 3 before, and all records but the skipped one */
    assert_int_equal(operations.count, 10);
    assert_int_equal(operations.cpus, 2);
    assert_int_equal(operations.slots, 5);
    /* In the order of frame numbers: 32, 64, 2048. */
    assert_int_equal(operations.items[0].order, 0);
    assert_int_equal(operations.items[1].order, 0);
    assert_int_equal(operations.items[2].order, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(operations.items[i].is_free, 0);
        assert_int_equal(operations.items[i].flags, PLEAT_MOVABLE);
        assert_int_equal(operations.time_ns[i], 0);
    }
    /* The free of PFN 64 is of the second block; a free has its allocation's flags. */
    assert_true(operations.items[5].is_free);
    assert_int_equal(operations.items[5].slot, operations.items[1].slot);
    assert_int_equal(operations.items[5].flags, PLEAT_MOVABLE);
    assert_int_equal(operations.items[5].cpu, 1);
    assert_int_equal(operations.time_ns[5], 12000);
    assert_int_equal(operations.items[7].flags, PLEAT_UNMOVABLE | PLEAT_ALLOC_DMA);
    assert_int_equal(operations.counts.peak_live_frames, 526);
    assert_int_equal(operations.counts.live_frames, 513);
    pleat_operations_free(&operations);
    pleat_trace_free(&trace);
}

static void records_that_contradict_each_other_are_named(void **state)
{
    (void)state;
    static const struct {
        struct test_record records[3];
        const char *expected;
    } bad[] = {
        {{{'a', 8, 3, 0, 0, 0, 0}, {'a', 9, 0, 0, 0, 0, 0}, {'a', 100, 0, 0, 0, 0, 0}},
         "small: offset 1104: record 1 allocates PFN 9 order 0, which meets the block at PFN 8 order 3, live "
         "since record 0, expected no live frame"},
        {{{'a', 100, 0, 0, 0, 0, 0}, {'a', 9, 0, 0, 0, 0, 0}, {'a', 8, 3, 0, 0, 0, 0}},
         "record 2 allocates PFN 8 order 3, which meets the block at PFN 9 order 0, live since record 1"},
        {{{'a', 8, 3, 0, 0, 0, 0}, {'f', 8, 2, 0, 0, 0, 0}, {'a', 100, 0, 0, 0, 0, 0}},
         "record 1 frees PFN 8 order 2, which meets the block at PFN 8 order 3, live since record 0, "
         "expected the "
         "same PFN and order"},
        {{{'a', 8, 3, 0, 0, 0, 0}, {'f', 12, 0, 0, 0, 0, 0}, {'a', 100, 0, 0, 0, 0, 0}},
         "record 1 frees PFN 12 order 0, which meets the block at PFN 8 order 3"},
        {{{'a', 8, 0, 0, 0, 0, 0}, {'a', 11, 0, 0, 0, 0, 0}, {'f', 8, 2, 0, 0, 0, 0}},
         "record 2 frees PFN 8 order 2, which meets the block at PFN 11 order 0, live since record 1"},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct pleat_trace trace = load(bad[i].records, 3), cut;
        struct pleat_trace_summary summary = {.records = 77};
        struct pleat_operations operations;
        struct pleat_message message = {""};
        assert_int_equal(pleat_trace_summarize(&trace, &summary, &message), PLEAT_E_PROTOCOL);
        assert_contains(message.text, bad[i].expected);
        assert_int_equal(summary.records, 77);
        assert_int_equal(pleat_trace_prepare(&trace, &operations, &message), PLEAT_E_PROTOCOL);
        assert_null(operations.items);
        assert_int_equal(pleat_trace_cut(&trace, 0, 3, &cut, &message), PLEAT_E_PROTOCOL);
        assert_null(cut.bytes);
        pleat_trace_free(&trace);
    }
}

static void the_slow_check_finds_spoilt_operations(void **state)
{
    (void)state;
    struct pleat_trace trace = load(small, COUNT(small));
    struct pleat_operations operations;
    struct pleat_message message = {""};
    assert_int_equal(pleat_trace_prepare(&trace, &operations, NULL), 0);
    const struct {
        size_t at;
        struct pleat_operation spoilt;
        const char *expected;
    } spoils[] = {
        {4, {.slot = 9, .order = 9, .cpu = 1}, "operation 4: its slot is beyond the last"},
        {4, {.slot = 4, .order = 9, .cpu = 2}, "operation 4: its CPU is beyond the last"},
        {4, {.slot = 4, .order = 10}, "operation 4: its order is above 9"},
        {4, {.slot = 4, .order = 9, .flags = 3}, "operation 4: its mobility is unknown"},
        {4, {.slot = 3, .order = 9, .cpu = 1}, "operation 4: it fills a slot that is in use"},
        {5,
         {.slot = 4, .order = 0, .cpu = 1, .is_free = 1},
         "operation 5: it frees what its slot doesn't hold"},
        {9, {.slot = 0, .order = 0, .cpu = 1, .flags = PLEAT_MOVABLE}, "operation 9: it fills a slot"},
        {4, {.slot = 4, .order = 8, .cpu = 1}, "the counts differ from a recount"},
    };
    for (size_t i = 0; i < COUNT(spoils); i++) {
        struct pleat_operation before = operations.items[spoils[i].at];
        operations.items[spoils[i].at] = spoils[i].spoilt;
        assert_false(pleat_operations_is_valid(&operations, &message));
        assert_contains(message.text, spoils[i].expected);
        operations.items[spoils[i].at] = before;
    }
    operations.time_ns[6] = 0;
    assert_false(pleat_operations_is_valid(&operations, &message));
    assert_string_equal(message.text, "operation 6: its time goes back");
    pleat_operations_free(&operations);
    pleat_trace_free(&trace);
}

/* ---- cutting ---- */

static struct pleat_trace cut_of(const struct pleat_trace *trace, uint64_t first, uint64_t count)
{
    struct pleat_trace cut;
    struct pleat_message message = {""};
    if (pleat_trace_cut(trace, first, count, &cut, &message))
        fail_msg("%s", message.text);
    return cut;
}

static void a_cut_begins_with_what_is_live_there(void **state)
{
    (void)state;
    struct pleat_trace trace = load(small, COUNT(small));
    /* Records 3 to 6. Live then: 16..19 and 512..1023 by the trace, 32 from before and freed later, 2048 from
     * before and freed in the window. Record 4 is a bulk free. */
    struct pleat_trace cut = cut_of(&trace, 3, 4);
    static const struct test_record expected[] = {
        {'a', 32, 0, 1, 0, 0, 0},   {'a', 16, 2, 1, 0, 0, 100}, {'a', 512, 9, 0, 1, 0, 101},
        {'f', 16, 2, 0, 0, 0, 100}, {'a', 64, 0, 3, 1, 2, 103}, {'f', 2048, 3, 0, 0, 10, 104},
    };
    assert_int_equal(cut.records, COUNT(expected));
    assert_int_equal(cut.start_ns, 5013000);
    struct pleat_trace_cursor cursor = {.trace = &cut};
    struct pleat_trace_record record;
    uint64_t time_ns = 0;
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_true(pleat_trace_next(&cursor, &record));
        time_ns += expected[i].dt * 1000;
        assert_int_equal(record.is_free, expected[i].kind == 'f');
        assert_int_equal(record.pfn, expected[i].pfn);
        assert_int_equal(record.order, expected[i].order);
        assert_int_equal(record.palette_index, expected[i].gfp);
        assert_int_equal(record.cpu, expected[i].cpu);
        assert_int_equal(record.thread, expected[i].thread);
        assert_int_equal(record.time_ns, time_ns);
    }
    struct pleat_trace_summary summary;
    assert_int_equal(pleat_trace_summarize(&cut, &summary, NULL), 0);
    assert_int_equal(summary.before_frames, 8);
    assert_int_equal(summary.skipped_frees, 0);
    pleat_trace_free(&cut);
    pleat_trace_free(&trace);
}

static void a_cut_of_everything_loses_only_bulk_frees(void **state)
{
    (void)state;
    struct pleat_trace trace = load(small, COUNT(small));
    struct pleat_trace cut = cut_of(&trace, 0, UINT64_MAX);
    struct pleat_trace_summary whole, part;
    assert_int_equal(pleat_trace_summarize(&trace, &whole, NULL), 0);
    assert_int_equal(pleat_trace_summarize(&cut, &part, NULL), 0);
    assert_int_equal(part.records, whole.records - 1);
    assert_int_equal(part.skipped_frees, 0);
    assert_int_equal(part.duration_ns, whole.duration_ns);
    assert_int_equal(part.peak_live_frames_with_before, whole.peak_live_frames_with_before);
    assert_memory_equal(&part.counts, &whole.counts, sizeof(whole.counts));
    pleat_trace_free(&cut);
    pleat_trace_free(&trace);
}

static void an_empty_window_is_refused(void **state)
{
    (void)state;
    struct pleat_trace trace = load(small, COUNT(small)), cut;
    struct pleat_message message = {""};
    assert_int_equal(pleat_trace_cut(&trace, 8, 1, &cut, &message), PLEAT_E_INVALID);
    assert_contains(message.text,
                    "small: a window of 1 records from record 8 on is empty, expected one in its 8");
    assert_int_equal(pleat_trace_cut(&trace, 0, 0, &cut, &message), PLEAT_E_INVALID);
    assert_int_equal(pleat_trace_cut(&trace, UINT64_MAX, UINT64_MAX, &cut, &message), PLEAT_E_INVALID);
    assert_null(cut.bytes);
    pleat_trace_free(&trace);
}

static void a_palette_without_a_movable_entry_gets_one(void **state)
{
    (void)state;
    static const struct test_record records[] = {{'a', 1, 0, 0, 0, 0, 0}, {'f', 9, 0, 0, 0, 0, 0}};
    struct test_trace file = build_trace(records, 2);
    put_le(file.bytes + AT_PALETTE_ENTRIES, 1, 4);
    memset(file.bytes + AT_PALETTE + 4, 0, 16);
    struct pleat_trace trace;
    assert_int_equal(pleat_trace_load_bytes(&trace, "one entry", file.bytes, file.count, NULL), 0);
    struct pleat_trace cut = cut_of(&trace, 0, 1);
    assert_int_equal(cut.palette_entries, 2);
    struct pleat_trace_cursor cursor = {.trace = &cut};
    struct pleat_trace_record record;
    assert_true(pleat_trace_next(&cursor, &record));
    assert_int_equal(record.pfn, 9);
    assert_int_equal(record.flags, PLEAT_MOVABLE);
    pleat_trace_free(&cut);
    pleat_trace_free(&trace);
    free(file.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frees_are_paired_told_apart_and_counted),
        cmocka_unit_test(operations_begin_with_what_was_there_before),
        cmocka_unit_test(records_that_contradict_each_other_are_named),
        cmocka_unit_test(the_slow_check_finds_spoilt_operations),
        cmocka_unit_test(a_cut_begins_with_what_is_live_there),
        cmocka_unit_test(a_cut_of_everything_loses_only_bulk_frees),
        cmocka_unit_test(an_empty_window_is_refused),
        cmocka_unit_test(a_palette_without_a_movable_entry_gets_one),
    };
    return cmocka_run_group_tests_name("trace pairing", tests, NULL, NULL);
}
