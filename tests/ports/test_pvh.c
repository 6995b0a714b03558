/* SPDX-License-Identifier: MIT
 *
 * start_info of PVH, both versions, and each kind of damage to it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "ports/bare/pvh.h"
#include "tests/support/firmware_memory.h"

#define START   UINT64_C(0x10040)
#define COMMAND UINT64_C(0x10200)
#define MAP     UINT64_C(0x12000)
#define MODULES UINT64_C(0x14000)
#define END     (FIRMWARE_BASE + FIRMWARE_BYTES)

static struct firmware_memory memory;
static struct pvh_start start;

static void put(uint64_t address, uint64_t value, unsigned bytes)
{
    firmware_put(&memory, address, value, bytes);
}

static int read_again(void)
{
    memory.line_count = 0;
    memset(&start, 0xa5, sizeof(start));
    return pvh_read(&memory.firmware, START, &start);
}

static void put_memory(unsigned index, uint64_t address, uint64_t bytes, uint32_t type)
{
    put(MAP + 24 * index, address, 8);
    put(MAP + 24 * index + 8, bytes, 8);
    put(MAP + 24 * index + 16, type, 4);
}

static int build_start(void **state)
{
    (void)state;
    firmware_memory_init(&memory);
    put(START, 0x336ec578, 4);
    put(START + 4, 1, 4);
    put(START + 8, 3, 4);
    put(START + 12, 1, 4);
    put(START + 16, MODULES, 8);
    put(START + 24, COMMAND, 8);
    put(START + 32, 0xf5a30, 8);
    put(START + 40, MAP, 8);
    put(START + 48, 3, 4);
    strcpy((char *)firmware_at(&memory, COMMAND), "run test=all");
    put(MODULES, 0x2000000, 8);
    put(MODULES + 8, 0x1234, 8);
    put_memory(0, 0, 0x9fc00, 1);
    put_memory(1, 0x9fc00, 0x400, 2);
    put_memory(2, 0x100000, 0x3fee0000, 1);
    return 0;
}

static void expect_all_but_memory(void)
{
    assert_int_equal(start.flags, 3);
    assert_int_equal(start.rsdp, 0xf5a30);
    assert_string_equal(start.command_line, "run test=all");
    assert_int_equal(start.module_count, 1);
    assert_int_equal(start.modules[0].start, 0x2000000);
    assert_int_equal(start.modules[0].bytes, 0x1234);
}

static void expect_map(void)
{
    assert_int_equal(start.memory_count, 3);
    assert_int_equal(start.memory[1].start, 0x9fc00);
    assert_int_equal(start.memory[1].bytes, 0x400);
    assert_int_equal(start.memory[1].type, BOOT_MEMORY_RESERVED);
    assert_int_equal(start.memory[2].bytes, 0x3fee0000);
}

static void version_1_is_read_as_it_was_built(void **state)
{
    (void)state;
    assert_int_equal(read_again(), PLEAT_OK);
    firmware_said_nothing(&memory);
    assert_int_equal(start.version, 1);
    expect_all_but_memory();
    expect_map();
}

static void version_0_has_no_memory_map(void **state)
{
    (void)state;
    put(START + 4, 0, 4);
    assert_int_equal(read_again(), PLEAT_OK);
    firmware_said_nothing(&memory);
    expect_all_but_memory();
    assert_int_equal(start.memory_count, 0);
}

static void a_later_version_is_read_as_version_1(void **state)
{
    (void)state;
    put(START + 4, 9, 4);
    assert_int_equal(read_again(), PLEAT_OK);
    expect_all_but_memory();
    expect_map();
}

static void what_is_no_start_info_is_refused(void **state)
{
    (void)state;
    struct pvh_start zero = {0};
    put(START, 0x12345678, 4);
    assert_int_equal(read_again(), PLEAT_E_INVALID);
    firmware_said(&memory, "isn't one; it begins with 0x12345678");
    assert_memory_equal(&start, &zero, sizeof(zero));
    assert_int_equal(pvh_read(&memory.firmware, 0, &start), PLEAT_E_INVALID);
    firmware_said(&memory, "can't be read at 0x0");
    assert_int_equal(pvh_read(&memory.firmware, UINT64_MAX - 10, &start), PLEAT_E_INVALID);
    firmware_said(&memory, "can't be read at");
    assert_int_equal(pvh_read(&memory.firmware, END - 39, &start), PLEAT_E_INVALID);
    firmware_said(&memory, "can't be read at");
}

static void one_that_is_cut_off_has_no_memory_map(void **state)
{
    (void)state;
    memory.readable = START + 40 - FIRMWARE_BASE;
    put(START + 24, 0, 8);
    put(START + 12, 0, 4);
    assert_int_equal(read_again(), PLEAT_OK);
    firmware_said(&memory, "is cut off before its memory map");
    assert_int_equal(start.memory_count, 0);
    assert_int_equal(start.rsdp, 0xf5a30);
}

static void without_a_command_line_it_is_empty(void **state)
{
    (void)state;
    put(START + 24, 0, 8);
    assert_int_equal(read_again(), PLEAT_OK);
    firmware_said_nothing(&memory);
    assert_string_equal(start.command_line, "");
    put(START + 24, UINT64_C(0x123456789000), 8);
    assert_int_equal(read_again(), PLEAT_OK);
    firmware_said(&memory, "the command line can't be read at 0x123456789000");
    assert_string_equal(start.command_line, "");
    expect_map();
    put(START + 24, END - 3, 8);
    memcpy(firmware_at(&memory, END - 3), "run", 3);
    assert_int_equal(read_again(), PLEAT_OK);
    firmware_said(&memory, "the command line can't be read at 0x30000");
    assert_string_equal(start.command_line, "");
}

static void a_command_line_at_the_end_of_memory_is_read(void **state)
{
    (void)state;
    put(START + 24, END - 4, 8);
    memcpy(firmware_at(&memory, END - 4), "run", 4);
    assert_int_equal(read_again(), PLEAT_OK);
    firmware_said_nothing(&memory);
    assert_string_equal(start.command_line, "run");
}

static void a_longer_command_line_is_cut(void **state)
{
    (void)state;
    memset(firmware_at(&memory, COMMAND), 'x', PVH_COMMAND_LINE - 1);
    put(COMMAND + PVH_COMMAND_LINE - 1, 0, 1);
    assert_int_equal(read_again(), PLEAT_OK);
    firmware_said_nothing(&memory);
    assert_int_equal(strlen(start.command_line), PVH_COMMAND_LINE - 1);
    put(COMMAND + PVH_COMMAND_LINE - 1, 'x', 1);
    assert_int_equal(read_again(), PLEAT_OK);
    firmware_said(&memory, "the command line is cut");
    assert_int_equal(strlen(start.command_line), PVH_COMMAND_LINE - 1);
    expect_map();
}

static void entries_beyond_the_room_are_left_out(void **state)
{
    (void)state;
    put(START + 48, PVH_MEMORY + 1, 4);
    put(START + 12, PVH_MODULES + 1, 4);
    assert_int_equal(read_again(), PLEAT_OK);
    assert_int_equal(memory.line_count, 2);
    assert_non_null(strstr(memory.lines[0], "only some of the modules are known; there are 0x9"));
    assert_non_null(strstr(memory.lines[1], "only some of the memory map is used; its entries are 0x81"));
    assert_int_equal(start.memory_count, PVH_MEMORY);
    assert_int_equal(start.module_count, PVH_MODULES);
    put(START + 12, 0, 4);
    put(START + 48, UINT32_MAX, 4);
    assert_int_equal(read_again(), PLEAT_OK);
    firmware_said(&memory, "its entries are 0xffffffff");
    assert_int_equal(start.memory_count, PVH_MEMORY);
}

static void lists_that_cannot_be_read_end_there(void **state)
{
    (void)state;
    static const uint64_t odd[] = {0, 0x400000000, UINT64_MAX, UINT64_MAX - 24};
    for (unsigned i = 0; i < 4; i++) {
        build_start(NULL);
        put(START + 40, odd[i], 8);
        assert_int_equal(read_again(), PLEAT_OK);
        firmware_said(&memory, "the memory map ends early: can't be read at");
        assert_int_equal(start.memory_count, 0);
        expect_all_but_memory();
        build_start(NULL);
        put(START + 16, odd[i], 8);
        assert_int_equal(read_again(), PLEAT_OK);
        firmware_said(&memory, "the list of modules ends early: can't be read at");
        assert_int_equal(start.module_count, 0);
        expect_map();
    }
    build_start(NULL);
    memcpy(firmware_at(&memory, END - 48), firmware_at(&memory, MAP), 48);
    put(START + 40, END - 48, 8);
    assert_int_equal(read_again(), PLEAT_OK);
    firmware_said(&memory, "the memory map ends early: can't be read at 0x30000");
    assert_int_equal(start.memory_count, 2);
}

static void a_port_may_do_without_lines(void **state)
{
    (void)state;
    memory.firmware.log = NULL;
    put(START + 24, UINT64_MAX, 8);
    assert_int_equal(read_again(), PLEAT_OK);
    expect_map();
}

#define TEST(name) cmocka_unit_test_setup(name, build_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(version_1_is_read_as_it_was_built),
        TEST(version_0_has_no_memory_map),
        TEST(a_later_version_is_read_as_version_1),
        TEST(what_is_no_start_info_is_refused),
        TEST(one_that_is_cut_off_has_no_memory_map),
        TEST(without_a_command_line_it_is_empty),
        TEST(a_command_line_at_the_end_of_memory_is_read),
        TEST(a_longer_command_line_is_cut),
        TEST(entries_beyond_the_room_are_left_out),
        TEST(lists_that_cannot_be_read_end_there),
        TEST(a_port_may_do_without_lines),
    };
    return cmocka_run_group_tests_name("pvh", tests, NULL, NULL);
}
