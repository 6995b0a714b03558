/* SPDX-License-Identifier: MIT
 *
 * Physical memory for tests of the readers in ports/bare.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support/firmware_memory.h"

static bool read_memory(void *context, uint64_t address, void *to, size_t bytes)
{
    struct firmware_memory *memory = context;
    uint64_t offset = address - FIRMWARE_BASE;
    assert_true(bytes && address + (bytes - 1) >= address);
    if (address < FIRMWARE_BASE || offset > memory->readable || bytes > memory->readable - offset)
        return false;
    memcpy(to, memory->bytes + offset, bytes);
    return true;
}

static void keep_line(void *context, const char *line)
{
    struct firmware_memory *memory = context;
    assert_true(memory->line_count < sizeof(memory->lines) / sizeof(memory->lines[0]));
    assert_true(strlen(line) < sizeof(memory->lines[0]));
    for (const char *c = line; *c; c++)
        assert_true(*c >= 0x20 && *c < 0x7f);
    strcpy(memory->lines[memory->line_count++], line);
}

void firmware_memory_init(struct firmware_memory *memory)
{
    memset(memory, 0, sizeof(*memory));
    memory->firmware = (struct firmware){.context = memory, .read = read_memory, .log = keep_line};
    memory->readable = FIRMWARE_BYTES;
}

uint8_t *firmware_at(struct firmware_memory *memory, uint64_t address)
{
    assert_true(address >= FIRMWARE_BASE && address - FIRMWARE_BASE < FIRMWARE_BYTES);
    return memory->bytes + (address - FIRMWARE_BASE);
}

void firmware_put(struct firmware_memory *memory, uint64_t address, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        *firmware_at(memory, address + i) = (uint8_t)(value >> 8 * i);
}

uint64_t firmware_get(struct firmware_memory *memory, uint64_t address, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)*firmware_at(memory, address + i) << 8 * i;
    return value;
}

void firmware_fix_sum(struct firmware_memory *memory, uint64_t address, uint32_t bytes, uint32_t offset)
{
    uint8_t sum = 0;
    firmware_put(memory, address + offset, 0, 1);
    for (uint32_t i = 0; i < bytes; i++)
        sum = (uint8_t)(sum + *firmware_at(memory, address + i));
    firmware_put(memory, address + offset, (uint8_t)-sum, 1);
}

void firmware_put_table(struct firmware_memory *memory, uint64_t address, const char *signature,
                        uint8_t revision, uint32_t bytes)
{
    memcpy(firmware_at(memory, address), signature, 4);
    firmware_put(memory, address + 4, bytes, 4);
    firmware_put(memory, address + 8, revision, 1);
    firmware_fix_table(memory, address);
}

void firmware_fix_table(struct firmware_memory *memory, uint64_t address)
{
    firmware_fix_sum(memory, address, (uint32_t)firmware_get(memory, address + 4, 4), 9);
}

static void show_lines(struct firmware_memory *memory)
{
    for (unsigned i = 0; i < memory->line_count; i++)
        print_error("said: %s\n", memory->lines[i]);
}

void firmware_said(struct firmware_memory *memory, const char *text)
{
    if (memory->line_count != 1 || !strstr(memory->lines[0], text)) {
        show_lines(memory);
        fail_msg("expected one line with '%s', not %u lines", text, memory->line_count);
    }
    memory->line_count = 0;
}

void firmware_said_nothing(struct firmware_memory *memory)
{
    if (memory->line_count) {
        show_lines(memory);
        fail_msg("expected no line, not %u", memory->line_count);
    }
}
