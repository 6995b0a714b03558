/* SPDX-License-Identifier: MIT
 *
 * start_info, field by field. All integers are little-endian. Offsets:
 *
 *      0 magic        8 flags     16 address of the module list     32 address of the RSDP
 *      4 version     12 modules   24 address of the command line    40 address of the memory map (version 1)
 *                                                                   48 its entries (version 1)
 */
#include <pleat/wire/little_endian.h>

#include "pvh.h"

#define MAGIC        0x336ec578u
#define BYTES_0      40u
#define BYTES_1      56u
#define MODULE_BYTES 32u
#define MEMORY_BYTES 24u

static void report(struct firmware_report *about, const char *text, uint64_t number)
{
    struct firmware_line line = firmware_line("start_info: ");
    firmware_line_text(&line, text);
    firmware_line_hex(&line, number);
    firmware_report(about, &line);
}

/* Byte by byte, because the end may lie just below memory that can't be read. */
static void read_command_line(struct firmware_report *about, uint64_t address, struct pvh_start *start)
{
    char *text = start->command_line;
    for (unsigned i = 0; address; i++) {
        if (i == PVH_COMMAND_LINE) {
            text[PVH_COMMAND_LINE - 1] = '\0';
            report(about, "the command line is cut: no end within bytes ", PVH_COMMAND_LINE);
            return;
        }
        if (!firmware_read(about->firmware, address + i, &text[i], 1)) {
            for (unsigned j = 0; j <= i; j++)
                text[j] = '\0';
            report(about, "left out: the command line can't be read at ", address + i);
            return;
        }
        if (!text[i])
            return;
    }
}

static void read_memory(struct firmware_report *about, uint64_t address, uint32_t entries,
                        struct pvh_start *start)
{
    if (entries > PVH_MEMORY) {
        report(about, "only some of the memory map is used; its entries are ", entries);
        entries = PVH_MEMORY;
    }
    for (uint32_t i = 0; i < entries; i++) {
        uint8_t raw[MEMORY_BYTES];
        if (!address || address + (uint64_t)i * MEMORY_BYTES < address ||
            !firmware_read(about->firmware, address + (uint64_t)i * MEMORY_BYTES, raw, sizeof(raw))) {
            report(about, "the memory map ends early: can't be read at ",
                   address + (uint64_t)i * MEMORY_BYTES);
            return;
        }
        start->memory[start->memory_count++] = (struct boot_memory){.start = pleat_read_le64(raw),
                                                                    .bytes = pleat_read_le64(raw + 8),
                                                                    .type = pleat_read_le32(raw + 16)};
    }
}

static void read_modules(struct firmware_report *about, uint64_t address, uint32_t modules,
                         struct pvh_start *start)
{
    if (modules > PVH_MODULES) {
        report(about, "only some of the modules are known; there are ", modules);
        modules = PVH_MODULES;
    }
    for (uint32_t i = 0; i < modules; i++) {
        uint8_t raw[MODULE_BYTES];
        if (!address || address + (uint64_t)i * MODULE_BYTES < address ||
            !firmware_read(about->firmware, address + (uint64_t)i * MODULE_BYTES, raw, sizeof(raw))) {
            report(about, "the list of modules ends early: can't be read at ",
                   address + (uint64_t)i * MODULE_BYTES);
            return;
        }
        start->modules[start->module_count++] =
            (struct boot_range){.start = pleat_read_le64(raw), .bytes = pleat_read_le64(raw + 8)};
    }
}

int pvh_read(const struct firmware *firmware, uint64_t address, struct pvh_start *start)
{
    struct firmware_report about = {.firmware = firmware};
    uint8_t raw[BYTES_1] = {0};
    *start = (struct pvh_start){0};
    if (!address || !firmware_read(firmware, address, raw, BYTES_0)) {
        report(&about, "can't be read at ", address);
        return PLEAT_E_INVALID;
    }
    if (pleat_read_le32(raw) != MAGIC) {
        report(&about, "isn't one; it begins with ", pleat_read_le32(raw));
        return PLEAT_E_INVALID;
    }
    start->version = pleat_read_le32(raw + 4);
    start->flags = pleat_read_le32(raw + 8);
    start->rsdp = pleat_read_le64(raw + 32);
    read_command_line(&about, pleat_read_le64(raw + 24), start);
    read_modules(&about, pleat_read_le64(raw + 16), pleat_read_le32(raw + 12), start);
    /* Later versions only add to the end. */
    if (start->version >= 1) {
        if (firmware_read(firmware, address, raw, BYTES_1))
            read_memory(&about, pleat_read_le64(raw + 40), pleat_read_le32(raw + 48), start);
        else
            report(&about, "is cut off before its memory map, at ", address);
    }
    return PLEAT_OK;
}
