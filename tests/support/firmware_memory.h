/* SPDX-License-Identifier: MIT
 *
 * Physical memory in which a test builds what firmware leaves behind, and what the readers of ports/bare had
 * to say about it.
 */
#ifndef TESTS_FIRMWARE_MEMORY_H
#define TESTS_FIRMWARE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "ports/bare/firmware.h"

#define FIRMWARE_BASE  UINT64_C(0x10000)
#define FIRMWARE_BYTES 0x20000u

struct firmware_memory {
    struct firmware firmware; /* reads only from FIRMWARE_BASE to FIRMWARE_BASE + readable */
    uint64_t readable;
    uint8_t bytes[FIRMWARE_BYTES];
    char lines[FIRMWARE_LINES * 4][160];
    unsigned line_count;
};

/* All zero, all readable, nothing said. */
void firmware_memory_init(struct firmware_memory *memory);

/* Where physical `address` is, which has to be in the memory. */
uint8_t *firmware_at(struct firmware_memory *memory, uint64_t address);
void firmware_put(struct firmware_memory *memory, uint64_t address, uint64_t value, unsigned bytes);
uint64_t firmware_get(struct firmware_memory *memory, uint64_t address, unsigned bytes);

/* Makes the sum of the bytes zero by the one at `address` + `offset`. */
void firmware_fix_sum(struct firmware_memory *memory, uint64_t address, uint32_t bytes, uint32_t offset);

/* An ACPI table's header, for `bytes` in all; what is behind the header stays. The checksum is made right. */
void firmware_put_table(struct firmware_memory *memory, uint64_t address, const char *signature,
                        uint8_t revision, uint32_t bytes);
/* After a change: the checksum of a table with the length that its header says. */
void firmware_fix_table(struct firmware_memory *memory, uint64_t address);

/* Exactly one line was said since the last call, and it has the text; else the test fails. */
void firmware_said(struct firmware_memory *memory, const char *text);
/* Nothing was said since the last call. */
void firmware_said_nothing(struct firmware_memory *memory);

#endif
