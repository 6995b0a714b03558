/* SPDX-License-Identifier: MIT
 *
 * The boot map: firmware's list in whatever state becomes spans that pleat_init() takes, frame by frame what
 * the header promises.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "ports/bare/boot_map.h"
#include "tests/support/firmware_memory.h"
#include "tests/support/random.h"

#define COUNT(array) ((unsigned)(sizeof(array) / sizeof((array)[0])))

static struct firmware_memory memory;
static struct pleat_boot_span spans[PLATFORM_SPANS];
static struct platform_area areas[PLATFORM_AREAS];

static int begin(void **state)
{
    (void)state;
    firmware_memory_init(&memory);
    return 0;
}

static void expect_span(unsigned index, uint64_t start_pfn, uint64_t end_pfn, unsigned node,
                        enum pleat_boot_use use)
{
    assert_int_equal(spans[index].start_pfn, start_pfn);
    assert_int_equal(spans[index].start_pfn + spans[index].frames, end_pfn);
    assert_int_equal(spans[index].node, node);
    assert_int_equal(spans[index].use, use);
}

/*
 *     firmware:  RAM 0..9fc00 | reserved ..a0000 |  reserved f0000..100000 RAM 100000..7fe0000 ACPI ..8000000
 *     taken:     frame 0                                    image 1000000..1234567
 */
static void a_pc_is_cut_up_as_it_should_be(void **state)
{
    (void)state;
    const struct boot_memory entries[] = {
        {0x100000, 0x7ee0000, BOOT_MEMORY_RAM},   {0, 0x9fc00, BOOT_MEMORY_RAM},
        {0x9fc00, 0x400, BOOT_MEMORY_RESERVED},   {0x7fe0000, 0x20000, BOOT_MEMORY_ACPI},
        {0xf0000, 0x10000, BOOT_MEMORY_RESERVED}, {0xb0000000, 0x10000000, BOOT_MEMORY_RESERVED}};
    const struct boot_range taken[] = {{0, 1}, {0x1000000, 0x234567}};
    const struct boot_map map = {entries, COUNT(entries), taken, COUNT(taken), NULL, 0, 12, 1 << 28};
    assert_int_equal(boot_map_spans(&map, &memory.firmware, spans, PLATFORM_SPANS), 6);
    firmware_said_nothing(&memory);
    expect_span(0, 0, 1, 0, PLEAT_BOOT_RESERVED);
    expect_span(1, 1, 0x9f, 0, PLEAT_BOOT_FREE);
    expect_span(2, 0x100, 0x1000, 0, PLEAT_BOOT_FREE);
    expect_span(3, 0x1000, 0x1235, 0, PLEAT_BOOT_RESERVED);
    expect_span(4, 0x1235, 0x7fe0, 0, PLEAT_BOOT_FREE);
    expect_span(5, 0x7fe0, 0x8000, 0, PLEAT_BOOT_RESERVED);
    assert_int_equal(boot_map_highest_pfn(spans, 6, NULL, 0, 12), 0x8000);
}

static void ram_that_anything_else_claims_is_reserved(void **state)
{
    (void)state;
    static const uint32_t types[] = {0, 2, 3, 4, 5, 6, 7, UINT32_MAX};
    for (unsigned i = 0; i < COUNT(types); i++) {
        const struct boot_memory entries[] = {{0x3001, 0x10, types[i]}, {0, 0x8000, BOOT_MEMORY_RAM}};
        const struct boot_map map = {
            .memory = entries, .memory_count = 2, .frame_shift = 12, .limit_pfn = 100};
        assert_int_equal(boot_map_spans(&map, &memory.firmware, spans, PLATFORM_SPANS), 3);
        expect_span(0, 0, 3, 0, PLEAT_BOOT_FREE);
        expect_span(1, 3, 4, 0, PLEAT_BOOT_RESERVED);
        expect_span(2, 4, 8, 0, PLEAT_BOOT_FREE);
    }
}

static void memory_is_of_the_node_that_firmware_says(void **state)
{
    (void)state;
    const struct boot_memory entries[] = {{0, 0x10000, BOOT_MEMORY_RAM}, {0x10000, 0x10000, BOOT_MEMORY_RAM}};
    const struct boot_affinity affinity[] = {
        {0x8000, 0x8000, 1, false}, {0, 0x8000, 0, false}, {0x10000, 0x4000, 1, false}};
    const struct boot_map map = {entries, 2, NULL, 0, affinity, COUNT(affinity), 12, 100};
    assert_int_equal(boot_map_spans(&map, &memory.firmware, spans, PLATFORM_SPANS), 3);
    firmware_said(&memory, "memory map: of no node, so of node 0: 0xc000 bytes at 0x14000");
    expect_span(0, 0, 8, 0, PLEAT_BOOT_FREE);
    expect_span(1, 8, 0x14, 1, PLEAT_BOOT_FREE);
    expect_span(2, 0x14, 0x20, 0, PLEAT_BOOT_FREE);
}

static void frames_may_be_larger(void **state)
{
    (void)state;
    const struct boot_memory entries[] = {{0x1000, 0x4f000, BOOT_MEMORY_RAM}};
    const struct boot_map map = {.memory = entries, .memory_count = 1, .frame_shift = 16, .limit_pfn = 100};
    assert_int_equal(boot_map_spans(&map, &memory.firmware, spans, PLATFORM_SPANS), 1);
    expect_span(0, 1, 5, 0, PLEAT_BOOT_FREE);
}

static void entries_that_wrap_are_left_out(void **state)
{
    (void)state;
    const struct boot_memory entries[] = {{0x2000, UINT64_MAX - 0x1000, BOOT_MEMORY_RAM},
                                          {0, 0x5000, BOOT_MEMORY_RAM},
                                          {0x100000, 0, BOOT_MEMORY_RAM}};
    const struct boot_range taken[] = {{UINT64_MAX, 2}, {0x1000, 0}};
    const struct boot_map map = {entries, COUNT(entries), taken, COUNT(taken), NULL, 0, 12, 1 << 20};
    assert_int_equal(boot_map_spans(&map, &memory.firmware, spans, PLATFORM_SPANS), 1);
    firmware_said(&memory, "left out: 0xffffffffffffefff bytes at 0x2000, past the end of all addresses");
    expect_span(0, 0, 5, 0, PLEAT_BOOT_FREE);
}

static void memory_out_of_reach_is_left_out(void **state)
{
    (void)state;
    const struct boot_memory entries[] = {{0x2000, UINT64_MAX - 0x2000 + 1, BOOT_MEMORY_RAM}};
    const struct boot_map map = {.memory = entries, .memory_count = 1, .frame_shift = 12, .limit_pfn = 0x100};
    assert_int_equal(boot_map_spans(&map, &memory.firmware, spans, PLATFORM_SPANS), 1);
    firmware_said(&memory, "out of reach, in part or all: 0xffffffffffffe000 bytes at 0x2000");
    expect_span(0, 2, 0x100, 0, PLEAT_BOOT_FREE);
}

static void nothing_at_all_makes_no_spans(void **state)
{
    (void)state;
    const struct boot_map map = {.frame_shift = 12, .limit_pfn = UINT64_C(1) << 52};
    assert_int_equal(boot_map_spans(&map, &memory.firmware, spans, PLATFORM_SPANS), 0);
    assert_int_equal(boot_map_areas(&map, &memory.firmware, areas, PLATFORM_AREAS), 0);
    assert_int_equal(boot_map_highest_pfn(spans, 0, areas, 0, 12), 0);
}

static void the_smallest_spans_go_when_there_are_too_many(void **state)
{
    (void)state;
    /* Sizes 3, 1, 8, 2, ... frames with holes between, and a reserved one of 20. */
    const struct boot_memory entries[] = {{0x0000, 0x3000, BOOT_MEMORY_RAM},
                                          {0x10000, 0x1000, BOOT_MEMORY_RAM},
                                          {0x20000, 0x8000, BOOT_MEMORY_RAM},
                                          {0x30000, 0x14000, BOOT_MEMORY_ACPI},
                                          {0x50000, 0x2000, BOOT_MEMORY_RAM}};
    const struct boot_map map = {
        .memory = entries, .memory_count = COUNT(entries), .frame_shift = 12, .limit_pfn = 1000};
    assert_int_equal(boot_map_spans(&map, &memory.firmware, spans, 4), 4);
    firmware_said_nothing(&memory);
    expect_span(0, 0, 3, 0, PLEAT_BOOT_FREE);
    expect_span(1, 0x10, 0x11, 0, PLEAT_BOOT_FREE);
    expect_span(3, 0x50, 0x52, 0, PLEAT_BOOT_FREE);
    assert_int_equal(boot_map_spans(&map, &memory.firmware, spans, 3), 3);
    firmware_said(&memory, "memory map: too many pieces, left out: 0x1000 bytes at 0x10000");
    expect_span(0, 0, 3, 0, PLEAT_BOOT_FREE);
    expect_span(1, 0x20, 0x28, 0, PLEAT_BOOT_FREE);
    expect_span(2, 0x50, 0x52, 0, PLEAT_BOOT_FREE);
}

/*
 *     pluggable:  |8000 .......................... 20000|   of node 1
 *     boot RAM:   |8000 .. c000|
 *     registers:                  |10000 .. 10010|
 */
static void an_area_is_where_nothing_is_yet(void **state)
{
    (void)state;
    const struct boot_memory entries[] = {{0, 0xc000, BOOT_MEMORY_RAM},
                                          {0x10000, 0x10, BOOT_MEMORY_RESERVED}};
    const struct boot_affinity affinity[] = {{0, 0x8000, 0, false}, {0x8000, 0x18000, 1, true}};
    const struct boot_map map = {entries, 2, NULL, 0, affinity, 2, 12, 0x1000};
    assert_int_equal(boot_map_areas(&map, &memory.firmware, areas, PLATFORM_AREAS), 2);
    firmware_said_nothing(&memory);
    assert_true(areas[0].start == 0xc000 && areas[0].bytes == 0x4000 && areas[0].node == 1);
    assert_true(areas[1].start == 0x11000 && areas[1].bytes == 0xf000 && areas[1].node == 1);
    assert_int_equal(boot_map_highest_pfn(NULL, 0, areas, 2, 12), 0x20);
    assert_int_equal(boot_map_areas(&map, &memory.firmware, areas, 1), 1);
    firmware_said(&memory, "too many areas, memory can't be plugged into 0xf000 bytes at 0x11000");
}

/* --- Against going through all bytes of a small address space --------------------------------------------
 */

#define SMALL_FRAMES 64u
#define SMALL_SHIFT  4u

struct frame_truth {
    bool memory, reserved, pluggable;
    unsigned node;
};

static bool all_bytes(uint64_t pfn, uint64_t start, uint64_t bytes)
{
    for (uint64_t byte = pfn << SMALL_SHIFT; byte < (pfn + 1) << SMALL_SHIFT; byte++) {
        if (byte < start || byte - start >= bytes)
            return false;
    }
    return true;
}

static bool any_byte(uint64_t pfn, uint64_t start, uint64_t bytes)
{
    for (uint64_t byte = pfn << SMALL_SHIFT; byte < (pfn + 1) << SMALL_SHIFT; byte++) {
        if (byte >= start && byte - start < bytes)
            return true;
    }
    return false;
}

static struct frame_truth truth(const struct boot_map *map, uint64_t pfn)
{
    struct frame_truth frame = {0};
    for (unsigned i = 0; i < map->memory_count; i++) {
        const struct boot_memory *entry = &map->memory[i];
        if (entry->type == BOOT_MEMORY_RAM) {
            frame.memory |= all_bytes(pfn, entry->start, entry->bytes);
        } else if (any_byte(pfn, entry->start, entry->bytes)) {
            frame.reserved = true;
            frame.memory |= entry->type == BOOT_MEMORY_ACPI || entry->type == BOOT_MEMORY_NVS;
        }
    }
    for (unsigned i = 0; i < map->taken_count; i++)
        frame.reserved |= any_byte(pfn, map->taken[i].start, map->taken[i].bytes);
    for (unsigned i = map->affinity_count; i-- > 0;) {
        if (all_bytes(pfn, map->affinity[i].start, map->affinity[i].bytes)) {
            frame.node = map->affinity[i].node;
            frame.pluggable = map->affinity[i].pluggable;
        }
    }
    return frame;
}

static void compare(const struct boot_map *map)
{
    unsigned count = boot_map_spans(map, &memory.firmware, spans, PLATFORM_SPANS);
    struct platform_area many[SMALL_FRAMES];
    unsigned area_count = boot_map_areas(map, &memory.firmware, many, SMALL_FRAMES);
    memory.line_count = 0;
    unsigned span = 0, area = 0;
    for (uint64_t pfn = 0; pfn < SMALL_FRAMES; pfn++) {
        struct frame_truth frame = truth(map, pfn);
        while (span < count && spans[span].start_pfn + spans[span].frames <= pfn)
            span++;
        bool in_span = span < count && spans[span].start_pfn <= pfn;
        assert_int_equal(in_span, frame.memory);
        if (in_span) {
            assert_int_equal(spans[span].use, frame.reserved ? PLEAT_BOOT_RESERVED : PLEAT_BOOT_FREE);
            assert_int_equal(spans[span].node, frame.node);
        }
        while (area < area_count && (many[area].start + many[area].bytes) >> SMALL_SHIFT <= pfn)
            area++;
        bool in_area = area < area_count && many[area].start >> SMALL_SHIFT <= pfn;
        assert_int_equal(in_area, frame.pluggable && !frame.memory && !frame.reserved);
        if (in_area)
            assert_int_equal(many[area].node, frame.node);
    }
    for (unsigned i = 1; i < count; i++)
        assert_true(spans[i - 1].start_pfn + spans[i - 1].frames <= spans[i].start_pfn);
}

static void any_map_is_frame_by_frame_what_its_entries_say(void **state)
{
    (void)state;
    const uint64_t all = SMALL_FRAMES << SMALL_SHIFT;
    uint64_t seed;
    for (unsigned number = 0; test_random_seed_number(number, 1, 3000, &seed); number++) {
        test_random_seed_runs(seed);
        struct test_random random;
        test_random_seed(&random, seed);
        struct boot_memory entries[12];
        struct boot_range taken[3];
        struct boot_affinity affinity[4];
        unsigned entry_count = (unsigned)test_random_below(&random, 13);
        unsigned taken_count = (unsigned)test_random_below(&random, 4);
        unsigned affinity_count = (unsigned)test_random_below(&random, 5);
        for (unsigned i = 0; i < entry_count; i++) {
            entries[i].start = test_random_below(&random, all);
            entries[i].bytes = test_random_below(&random, all / 4);
            entries[i].type =
                test_random_below(&random, 2) ? BOOT_MEMORY_RAM : (uint32_t)test_random_below(&random, 7);
        }
        for (unsigned i = 0; i < taken_count; i++) {
            taken[i].start = test_random_below(&random, all);
            taken[i].bytes = test_random_below(&random, all / 8);
        }
        for (unsigned i = 0; i < affinity_count; i++) {
            affinity[i].start = test_random_below(&random, all);
            affinity[i].bytes = test_random_below(&random, all);
            affinity[i].node = (uint8_t)test_random_below(&random, 3);
            affinity[i].pluggable = test_random_below(&random, 2) != 0;
        }
        compare(&(struct boot_map){entries, entry_count, taken, taken_count, affinity, affinity_count,
                                   SMALL_SHIFT, SMALL_FRAMES});
        test_random_seed_done();
    }
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_pc_is_cut_up_as_it_should_be),
        TEST(ram_that_anything_else_claims_is_reserved),
        TEST(memory_is_of_the_node_that_firmware_says),
        TEST(frames_may_be_larger),
        TEST(entries_that_wrap_are_left_out),
        TEST(memory_out_of_reach_is_left_out),
        TEST(nothing_at_all_makes_no_spans),
        TEST(the_smallest_spans_go_when_there_are_too_many),
        TEST(an_area_is_where_nothing_is_yet),
        TEST(any_map_is_frame_by_frame_what_its_entries_say),
    };
    return cmocka_run_group_tests_name("boot_map", tests, NULL, NULL);
}
