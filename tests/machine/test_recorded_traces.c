/* SPDX-License-Identifier: MIT
 *
 * The recorded traces that lie beside the project are as the table that came with them says. Where they
 * aren't given, all of it is skipped; PLEAT_TRACES names another folder for them.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "machine/trace.h"

static const char *const files[] = {"a-compile.ptr.xz", "b-pagecache.ptr.xz"};

static const char *path_of(const char *file, char buffer[512])
{
    const char *folder = getenv("PLEAT_TRACES");
    snprintf(buffer, 512, "%s/%s", folder ? folder : "../shared/traces", file);
    return buffer;
}

static struct pleat_trace load_recorded(const char *file)
{
    char path[512];
    struct pleat_trace trace;
    struct pleat_message message = {""};
    if (pleat_trace_load(&trace, path_of(file, path), &message))
        fail_msg("%s", message.text);
    return trace;
}

static void check_recorded(const char *file, uint64_t records, uint64_t peak_frames, uint64_t before_blocks)
{
    struct pleat_trace trace = load_recorded(file);
    struct pleat_trace_summary summary;
    struct pleat_message message = {""};
    assert_int_equal(trace.records, records);
    if (pleat_trace_summarize(&trace, &summary, &message))
        fail_msg("%s", message.text);
    assert_int_equal(summary.before_blocks, before_blocks);
    assert_int_equal(summary.counts.peak_live_frames, peak_frames);
    assert_in_range(summary.duration_ns, 59900000000, 60100000000);
    /* "At most 0.05 %", rounded as the table rounds. */
    assert_true(summary.skipped_frees * 10000 < 6 * summary.paired_frees);
    struct pleat_operations operations;
    if (pleat_trace_prepare(&trace, &operations, &message) ||
        !pleat_operations_is_valid(&operations, &message))
        fail_msg("%s", message.text);
    assert_int_equal(operations.before, before_blocks);
    assert_int_equal(operations.count, records - summary.skipped_frees + before_blocks);
    assert_int_equal(operations.counts.peak_live_frames, summary.peak_live_frames_with_before);
    assert_int_equal(operations.counts.live_frames, summary.counts.live_frames);
    assert_int_equal(operations.slots, operations.counts.peak_live_blocks);
    pleat_operations_free(&operations);
    pleat_trace_free(&trace);
}

static void recorded_a_compile_is_as_its_table_says(void **state)
{
    (void)state;
    check_recorded(files[0], 3393111, 71562, 34334);
}

static void recorded_b_pagecache_is_as_its_table_says(void **state)
{
    (void)state;
    check_recorded(files[1], 3227151, 681562, 81735);
}

static void a_cut_of_a_recorded_trace_has_its_live_frames(void **state)
{
    (void)state;
    struct pleat_trace trace = load_recorded(files[0]);
    const uint64_t first = 1000000, count = 200000;
    struct pleat_operations whole, part;
    struct pleat_trace cut;
    struct pleat_trace_summary summary;
    struct pleat_message message = {""};
    if (pleat_trace_cut(&trace, first, count, &cut, &message))
        fail_msg("%s", message.text);
    assert_int_equal(pleat_trace_summarize(&cut, &summary, &message), 0);
    assert_int_equal(summary.skipped_frees, 0);
    assert_int_equal(pleat_trace_prepare(&trace, &whole, &message), 0);
    assert_int_equal(pleat_trace_prepare(&cut, &part, &message), 0);
    if (!pleat_operations_is_valid(&part, &message))
        fail_msg("%s", message.text);
    /* Count the whole up to the window's end; bulk frees are in no stream, so go by time. */
    uint64_t end_ns = cut.start_ns + summary.duration_ns - trace.start_ns;
    struct pleat_operation_counts counts = {0};
    for (size_t i = 0; i < whole.count && whole.time_ns[i] <= end_ns; i++)
        pleat_operation_counts_add(&counts, &whole.items[i]);
    /* Some records of the window's last microsecond may lie behind it. */
    assert_in_range(part.counts.live_frames, counts.live_frames - 32, counts.live_frames + 32);
    pleat_operations_free(&whole);
    pleat_operations_free(&part);
    pleat_trace_free(&cut);
    pleat_trace_free(&trace);
}

int main(void)
{
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[512];
        if (access(path_of(files[i], path), R_OK)) {
            printf("1..0 # SKIP %s isn't there (PLEAT_TRACES=FOLDER names another folder)\n", path);
            return 0;
        }
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_a_compile_is_as_its_table_says),
        cmocka_unit_test(recorded_b_pagecache_is_as_its_table_says),
        cmocka_unit_test(a_cut_of_a_recorded_trace_has_its_live_frames),
    };
    return cmocka_run_group_tests_name("recorded traces", tests, NULL, NULL);
}
