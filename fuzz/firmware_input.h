/* SPDX-License-Identifier: MIT
 *
 * A fuzzer's input as the physical memory that readers of firmware (ports/bare/) look at: every read is a
 * sound question and is answered within bounds, and the lines that are said are few and printable.
 */
#ifndef PLEAT_FUZZ_FIRMWARE_INPUT_H
#define PLEAT_FUZZ_FIRMWARE_INPUT_H

#include <string.h>

#include "fuzz/input.h"
#include "ports/bare/firmware.h"

struct firmware_input {
    uint64_t address; /* of the first byte */
    const uint8_t *bytes;
    size_t size;
    unsigned lines; /* said so far */
};

static inline bool firmware_input_read(void *context, uint64_t address, void *to, size_t bytes)
{
    const struct firmware_input *input = context;
    demand(bytes && address + (bytes - 1) >= address);
    if (address < input->address || address - input->address > input->size ||
        bytes > input->size - (address - input->address))
        return false;
    memcpy(to, input->bytes + (address - input->address), bytes);
    return true;
}

static inline void firmware_input_hear(void *context, const char *line)
{
    struct firmware_input *input = context;
    demand(line[0] && ++input->lines <= FIRMWARE_LINES);
    for (; *line; line++)
        demand(*line >= 0x20 && *line < 0x7f);
}

#endif
