/* SPDX-License-Identifier: MIT
 *
 * The trace reader: what it reads, and that a file which isn't a trace is refused with the reason.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine/trace.h"
#include "tests/machine/trace_builder.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("expected \"%s\" in \"%s\"", part, text);
}

/* Three blocks, one of which was there before, and one free after a bulk allocation. */
static const struct test_record small[] = {
    {'a', 16, 2, 1, 0, 0, 100},   /* 16..19 */
    {'a', 512, 9, 0, 1, 5, 101},  /* 512..1023 */
    {'f', 64, 0, 0, 1, 7, 102},   /* from before */
    {'f', 16, 2, 0, 0, 1, 100},   /* */
    {'f', 17, 0, 0, 0, 0, 100},   /* touched: bulk */
    {'a', 64, 0, 3, 1, 2, 103},   /* */
    {'f', 2048, 3, 0, 0, 10, 104} /* from before */
};

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

/* Loads FILE, which must be refused, and says why. */
static struct pleat_message refused(const unsigned char *bytes, size_t count)
{
    struct pleat_trace trace;
    struct pleat_message message = {""};
    assert_int_equal(pleat_trace_load_bytes(&trace, "bad.ptr", bytes, count, &message), PLEAT_E_PROTOCOL);
    assert_null(trace.bytes);
    assert_null(trace.name);
    assert_int_equal(trace.records, 0);
    assert_contains(message.text, "bad.ptr: offset ");
    return message;
}

/* ---- reading ---- */

static void records_come_out_as_they_went_in(void **state)
{
    (void)state;
    struct pleat_trace trace = load(small, COUNT(small));
    assert_int_equal(trace.records, COUNT(small));
    assert_int_equal(trace.start_ns, 5000000);
    assert_int_equal(trace.cpus, 2);
    assert_int_equal(trace.pfn_limit, 4096);
    assert_int_equal(trace.palette_entries, 5);
    struct pleat_trace_cursor cursor = {.trace = &trace};
    struct pleat_trace_record record;
    uint64_t time_ns = 0;
    for (size_t i = 0; i < COUNT(small); i++) {
        assert_true(pleat_trace_next(&cursor, &record));
        time_ns += small[i].dt * 1000;
        assert_int_equal(record.time_ns, time_ns);
        assert_int_equal(record.pfn, small[i].pfn);
        assert_int_equal(record.order, small[i].order);
        assert_int_equal(record.cpu, small[i].cpu);
        assert_int_equal(record.thread, small[i].thread);
        assert_int_equal(record.is_free, small[i].kind == 'f');
        assert_int_equal(record.palette_index, small[i].gfp);
    }
    assert_false(pleat_trace_next(&cursor, &record));
    assert_false(pleat_trace_next(&cursor, &record));
    pleat_trace_free(&trace);
    pleat_trace_free(&trace);
}

static void migrate_types_and_gfp_become_mobility_and_zone(void **state)
{
    (void)state;
    assert_int_equal(pleat_trace_flags(0x400cc0), PLEAT_UNMOVABLE);
    assert_int_equal(pleat_trace_flags(1u << 28 | 0x140cca), PLEAT_MOVABLE);
    assert_int_equal(pleat_trace_flags(2u << 28 | 0xd2050), PLEAT_RECLAIMABLE);
    assert_int_equal(pleat_trace_flags(0xcc1), PLEAT_UNMOVABLE | PLEAT_ALLOC_DMA);
    assert_int_equal(pleat_trace_flags(0xcc4), PLEAT_UNMOVABLE | PLEAT_ALLOC_DMA32);
    assert_int_equal(pleat_trace_flags(0xcc5), PLEAT_UNMOVABLE | PLEAT_ALLOC_DMA);
    assert_int_equal(pleat_trace_flags(1u << 28 | 0x14), PLEAT_MOVABLE | PLEAT_ALLOC_DMA32);
    struct pleat_trace trace = load(small, COUNT(small));
    struct pleat_trace_cursor cursor = {.trace = &trace};
    struct pleat_trace_record record;
    assert_true(pleat_trace_next(&cursor, &record));
    assert_int_equal(record.flags, PLEAT_MOVABLE);
    assert_int_equal(record.gfp, 0x140cca);
    pleat_trace_free(&trace);
}

static void a_trace_survives_compression(void **state)
{
    (void)state;
    struct pleat_trace trace = load(small, COUNT(small)), again;
    unsigned char *bytes;
    size_t count;
    assert_int_equal(pleat_trace_compress(&trace, &bytes, &count, NULL), 0);
    assert_memory_equal(bytes,
                        "\xfd"
                        "7zXZ",
                        5);
    struct pleat_message message = {""};
    if (pleat_trace_load_bytes(&again, "again", bytes, count, &message))
        fail_msg("%s", message.text);
    assert_int_equal(again.bytes_count, trace.bytes_count);
    assert_memory_equal(again.bytes, trace.bytes, trace.bytes_count);
    pleat_trace_free(&again);
    free(bytes);
    pleat_trace_free(&trace);
}

/* ---- hostile files ---- */

static void every_field_of_the_header_is_checked_and_named(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        int bytes;
        uint64_t value;
        const char *expected;
    } spoils[] = {
        {AT_MAGIC, 1, 'X', "offset 0: magic is 'XGTRACE2', expected 'PGTRACE2'"},
        {AT_RECORDS, 8, 0, "offset 8: number of records is 0, expected at least 1"},
        {AT_RECORDS, 8, UINT64_MAX, "number of records is 18446744073709551615, expected at most 71582715"},
        {AT_RECORDS, 8, (uint64_t)1 << 60, "number of records is 1152921504606846976, expected at most"},
        {AT_RECORDS, 8, 0x1111111111111112, "number of records is 1229782938247303442, expected at most"},
        {AT_RECORDS, 8, 8, "offset 1193: size of the trace is 1193 bytes, expected 1208 for 8 records"},
        {AT_RECORDS, 8, 6,
         "offset 1178: size of the trace is at least 1193 bytes, expected 1178 for 6 records"},
        {AT_RECORDS, 8, 71582715, "size of the trace is 1193 bytes, expected 1073741813"},
        {AT_CPUS, 4, 0, "offset 24: number of CPUs is 0, expected at least 1"},
        {AT_CPUS, 4, 17, "offset 24: number of CPUs is 17, expected at most 16"},
        {AT_PFN_LIMIT, 4, 0, "offset 28: highest PFN + 1 is 0, expected at least 1"},
        {AT_PFN_LIMIT, 4, 0x10000001, "offset 28: highest PFN + 1 is 268435457, expected at most 268435456"},
        {AT_PALETTE_ENTRIES, 4, 257, "offset 32: number of palette entries is 257, expected at most 256"},
        {AT_PALETTE_ENTRIES, 4, 0, "number of palette entries is 0, expected at least 1 for the allocation"},
        {AT_UNIT, 4, 0, "offset 36: nanoseconds per time unit is 0, expected at least 1"},
        {AT_UNIT, 4, 1000000001, "nanoseconds per time unit is 1000000001, expected at most 1000000000"},
        {AT_RESERVED, 1, 1, "offset 40: reserved byte is 1, expected at most 0"},
        {AT_COLUMNS - 4 - 1024, 4, 9, "offset 60: reserved byte is 9"},
        {AT_PALETTE + 4, 4, 3u << 28, "offset 68: migrate type of a palette entry is 3, expected at most 2"},
        {AT_PALETTE + 1020, 4, 15u << 28, "offset 1084: migrate type of a palette entry is 15"},
    };
    for (size_t i = 0; i < COUNT(spoils); i++) {
        struct test_trace file = build_trace(small, COUNT(small));
        put_le(file.bytes + spoils[i].at, spoils[i].value, spoils[i].bytes);
        struct pleat_message message = refused(file.bytes, file.count);
        assert_contains(message.text, spoils[i].expected);
        free(file.bytes);
    }
}

static void every_field_of_a_record_is_checked_and_named(void **state)
{
    (void)state;
    const size_t n = COUNT(small);
    const struct {
        size_t at;
        int bytes;
        uint64_t value;
        const char *expected;
    } spoils[] = {
        {AT_COLUMNS + 4 * n, 4, 4096, "offset 1116: last PFN of record 0 is 4099, expected at most 4095"},
        {AT_COLUMNS + 4 * n, 4, 0xfffffffc, "last PFN of record 0 is 4294967295, expected at most 4095"},
        {AT_COLUMNS + 4 * n, 4, 18, "PFN modulo the size of its block of record 0 is 2, expected at most 0"},
        {AT_COLUMNS + 12 * n + 2, 1, 2, "offset 1174: kind of record 2 is 2, expected at most 1"},
        {AT_COLUMNS + 12 * n + 2, 1, 0xf1, "offset 1174: CPU of record 2 is 15, expected at most 1"},
        {AT_COLUMNS + 13 * n + 6, 1, 10, "offset 1185: order of record 6 is 10, expected at most 9"},
        {AT_COLUMNS + 13 * n + 6, 1, 255, "order of record 6 is 255, expected at most 9"},
        {AT_COLUMNS + 14 * n + 1, 1, 5, "offset 1187: palette index of record 1 is 5, expected at most 4"},
        {AT_COLUMNS + 14 * n + 1, 1, 255, "palette index of record 1 is 255, expected at most 4"},
        {AT_COLUMNS + 14 * n + 2, 1, 0, "palette index of a free of record 2 is 0, expected at least 255"},
    };
    for (size_t i = 0; i < COUNT(spoils); i++) {
        struct test_trace file = build_trace(small, n);
        put_le(file.bytes + spoils[i].at, spoils[i].value, spoils[i].bytes);
        struct pleat_message message = refused(file.bytes, file.count);
        assert_contains(message.text, spoils[i].expected);
        free(file.bytes);
    }
}

static void a_time_that_overflows_is_refused(void **state)
{
    (void)state;
    struct test_record records[5];
    for (size_t i = 0; i < COUNT(records); i++)
        records[i] = (struct test_record){'a', (uint32_t)i, 0, 0, 0, UINT32_MAX, 0};
    struct test_trace file = build_trace(records, COUNT(records));
    put_le(file.bytes + AT_UNIT, 1000000000, 4);
    struct pleat_message message = refused(file.bytes, file.count);
    assert_contains(message.text, "sum of all time units is 21474836475, expected at most 18446744073");
    free(file.bytes);
}

static void a_plain_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct test_trace file = build_trace(small, COUNT(small));
    for (size_t count = 0; count < file.count; count++)
        refused(file.bytes, count);
    unsigned char *longer = calloc(file.count + 1, 1);
    memcpy(longer, file.bytes, file.count);
    struct pleat_message message = refused(longer, file.count + 1);
    assert_contains(message.text, "size of the trace is at least 1194 bytes, expected 1193");
    free(longer);
    free(file.bytes);
}

static void a_compressed_file_cut_or_damaged_anywhere_is_refused(void **state)
{
    (void)state;
    struct pleat_trace trace = load(small, COUNT(small));
    unsigned char *bytes;
    size_t count;
    assert_int_equal(pleat_trace_compress(&trace, &bytes, &count, NULL), 0);
    for (size_t cut = 0; cut < count; cut++)
        refused(bytes, cut);
    struct pleat_message message = refused(bytes, count - 1);
    assert_contains(message.text, "of the .xz file, after ");
    assert_contains(message.text, "found the end of the file, expected more");
    for (size_t i = 0; i < count; i++) {
        bytes[i] ^= 0x10;
        refused(bytes, count);
        bytes[i] ^= 0x10;
    }
    unsigned char *longer = calloc(count + 5, 1);
    memcpy(longer, bytes, count);
    memset(longer + count, 'x', 5);
    refused(longer, count + 5);
    free(longer);
    free(bytes);
    pleat_trace_free(&trace);
}

/* Compresses anything; the caller frees it. */
static unsigned char *compress(const unsigned char *bytes, size_t bytes_count, uint32_t preset, size_t *count)
{
    size_t bound = lzma_stream_buffer_bound(bytes_count);
    unsigned char *out = malloc(bound);
    *count = 0;
    assert_int_equal(
        lzma_easy_buffer_encode(preset, LZMA_CHECK_CRC32, NULL, bytes, bytes_count, out, count, bound),
        LZMA_OK);
    return out;
}

static void a_compressed_file_can_not_make_us_take_memory_for_what_it_claims(void **state)
{
    (void)state;
    /* 64 MiB of zeros behind a header that claims 7 records; a header that claims 1 GiB and has nothing. */
    struct test_trace file = build_trace(small, COUNT(small));
    size_t bomb_count = (size_t)64 << 20, count;
    unsigned char *bomb = calloc(bomb_count, 1);
    memcpy(bomb, file.bytes, file.count);
    unsigned char *packed = compress(bomb, bomb_count, 0, &count);
    free(bomb);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    long before_kib = usage.ru_maxrss;
    struct pleat_message message = refused(packed, count);
    assert_contains(message.text, "size of the trace is at least 1194 bytes, expected 1193 for 7 records");
    free(packed);
    put_le(file.bytes + AT_RECORDS, 71582715, 8);
    packed = compress(file.bytes, file.count, 0, &count);
    message = refused(packed, count);
    assert_contains(message.text, "size of the trace is 1193 bytes, expected 1073741813");
    getrusage(RUSAGE_SELF, &usage);
    assert_true(usage.ru_maxrss - before_kib < 16384);
    free(packed);
    free(file.bytes);
}

static void a_dictionary_that_is_too_large_is_refused(void **state)
{
    (void)state;
    struct test_trace file = build_trace(small, COUNT(small));
    size_t bound = lzma_stream_buffer_bound(file.count), count = 0;
    unsigned char *packed = malloc(bound);
    lzma_options_lzma options;
    lzma_lzma_preset(&options, 0);
    options.dict_size = (uint32_t)128 << 20;
    lzma_filter filters[] = {{LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, NULL}};
    assert_int_equal(lzma_stream_buffer_encode(filters, LZMA_CHECK_CRC32, NULL, file.bytes, file.count,
                                               packed, &count, bound),
                     LZMA_OK);
    struct pleat_message message = refused(packed, count);
    assert_contains(message.text, "found a dictionary of more than 64 MiB");
    free(packed);
    free(file.bytes);
}

static void files_that_can_not_be_read_are_named(void **state)
{
    (void)state;
    struct pleat_trace trace;
    struct pleat_message message = {""};
    assert_int_equal(pleat_trace_load(&trace, "/nonexistent/x.ptr", &message), PLEAT_E_NOT_FOUND);
    assert_string_equal(message.text, "/nonexistent/x.ptr: No such file or directory");
    assert_int_equal(pleat_trace_load(&trace, "/", &message), PLEAT_E_NOT_FOUND);
    assert_string_equal(message.text, "/: expected a regular file");
    char path[] = "/tmp/pleat-trace-XXXXXX";
    assert_non_null(mkdtemp(path));
    char fifo[64];
    snprintf(fifo, sizeof(fifo), "%s/fifo", path);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(pleat_trace_load(&trace, fifo, &message), PLEAT_E_NOT_FOUND);
    assert_contains(message.text, "expected a regular file");
    unlink(fifo);
    rmdir(path);
}

static void a_file_is_loaded_by_its_path(void **state)
{
    (void)state;
    char path[] = "/tmp/pleat-trace-XXXXXX";
    int file = mkstemp(path);
    struct test_trace bytes = build_trace(small, COUNT(small));
    assert_int_equal(write(file, bytes.bytes, bytes.count), bytes.count);
    struct pleat_trace trace;
    struct pleat_message message = {""};
    if (pleat_trace_load(&trace, path, &message))
        fail_msg("%s", message.text);
    assert_int_equal(trace.records, COUNT(small));
    assert_string_equal(trace.name, path);
    pleat_trace_free(&trace);
    assert_int_equal(ftruncate(file, 1100), 0);
    assert_int_equal(pleat_trace_load(&trace, path, &message), PLEAT_E_PROTOCOL);
    assert_int_equal(ftruncate(file, ((off_t)1 << 30) + 1), 0);
    assert_int_equal(pleat_trace_load(&trace, path, &message), PLEAT_E_PROTOCOL);
    assert_contains(message.text, "size of the file is 1073741825, expected at most 1073741824");
    close(file);
    unlink(path);
    free(bytes.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_out_as_they_went_in),
        cmocka_unit_test(migrate_types_and_gfp_become_mobility_and_zone),
        cmocka_unit_test(a_trace_survives_compression),
        cmocka_unit_test(every_field_of_the_header_is_checked_and_named),
        cmocka_unit_test(every_field_of_a_record_is_checked_and_named),
        cmocka_unit_test(a_time_that_overflows_is_refused),
        cmocka_unit_test(a_plain_file_cut_anywhere_is_refused),
        cmocka_unit_test(a_compressed_file_cut_or_damaged_anywhere_is_refused),
        cmocka_unit_test(a_compressed_file_can_not_make_us_take_memory_for_what_it_claims),
        cmocka_unit_test(a_dictionary_that_is_too_large_is_refused),
        cmocka_unit_test(files_that_can_not_be_read_are_named),
        cmocka_unit_test(a_file_is_loaded_by_its_path),
    };
    return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
