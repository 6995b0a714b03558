/* SPDX-License-Identifier: MIT
 *
 * What all fuzzers have: an input that is used up byte by byte, and a demand whose breach is a finding.
 */
#ifndef PLEAT_FUZZ_INPUT_H
#define PLEAT_FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at;
    size_t left;
};

/* What is used up reads as 0. */
static inline uint8_t next_byte(struct input *input)
{
    if (!input->left)
        return 0;
    input->left--;
    return *input->at++;
}

static inline void demand(bool holds)
{
    if (!holds)
        abort();
}

#endif
