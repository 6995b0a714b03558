/* SPDX-License-Identifier: MIT
 *
 * A bit for each block, and runs of equal bits. All functions look at 64 bits at a time; a range is
 * [first, end) and lies inside of what the caller has bits for; it may be empty.
 */
#ifndef PLEAT_DEVICES_BLOCK_BITS_H
#define PLEAT_DEVICES_BLOCK_BITS_H

#include <stdbool.h>
#include <stdint.h>

/** Words that hold `bits` bits. */
static inline uint64_t pleat_block_bits_words(uint64_t bits)
{
    return bits / 64 + (bits % 64 != 0);
}

/** The first position in [first, end) whose bit is `value`; end if there is none. */
uint64_t pleat_block_bits_find(const uint64_t *words, uint64_t first, uint64_t end, bool value);

/** Gives all bits of [first, end) the value. */
void pleat_block_bits_fill(uint64_t *words, uint64_t first, uint64_t end, bool value);

/** How many bits of [first, end) are set. */
uint64_t pleat_block_bits_count(const uint64_t *words, uint64_t first, uint64_t end);

/**
 * The next run of bits of one value in [*first, end): moves *first to its start and sets *run_end. False:
 * there is none. To visit all runs, set *first to *run_end and ask again.
 */
static inline bool pleat_block_bits_run(const uint64_t *words, uint64_t *first, uint64_t end, bool value,
                                        uint64_t *run_end)
{
    *first = pleat_block_bits_find(words, *first, end, value);
    if (*first == end)
        return false;
    *run_end = pleat_block_bits_find(words, *first, end, !value);
    return true;
}

#endif
