/* SPDX-License-Identifier: MIT
 *
 * Runs of clear bits in the 512 bits of a pageblock: an allocation of order k needs 2^k of them, aligned.
 */
#ifndef PLEAT_CORE_BITS_H
#define PLEAT_CORE_BITS_H

#include "memmap.h"

/* Bits of `word` at multiples of 2^order where 2^order bits in a row are clear; order 0 to 6. */
static inline uint64_t runs_in_word(uint64_t word, unsigned order)
{
    static const uint64_t aligned[7] = {~(uint64_t)0,
                                        0x5555555555555555u,
                                        0x1111111111111111u,
                                        0x0101010101010101u,
                                        0x0001000100010001u,
                                        0x0000000100000001u,
                                        1u};
    uint64_t clear = ~word;

    for (unsigned i = 0; i < order; i++)
        clear &= clear >> (1u << i);
    return clear & aligned[order];
}

/* The order of the largest aligned run of clear bits in a word; only if there is any. */
static inline unsigned largest_run_in_word(uint64_t word)
{
    unsigned order = 0;

    while (order < 6 && runs_in_word(word, order + 1))
        order++;
    return order;
}

/*
 * The place of an aligned run of 2^order clear bits, order 0 to 8, or FRAMES. Looks from 64-bit word `from`
 * on and round. Of two runs in one word, the one beside used frames is preferred, so that larger runs last.
 */
unsigned bits_find_run(_Atomic uint64_t *bits, unsigned order, unsigned from);

/* The order of the largest aligned run of clear bits, 0 to 9; 0 too if there is none. */
unsigned bits_largest_run(_Atomic uint64_t *bits);

/* Sets, or clears, 2^order bits at `place`. Returns how many of them were so already: 0 unless misused. */
unsigned bits_set_run(_Atomic uint64_t *bits, unsigned place, unsigned order);
unsigned bits_clear_run(_Atomic uint64_t *bits, unsigned place, unsigned order);

/* Clear bits in all. */
unsigned bits_count_clear(_Atomic uint64_t *bits);

#endif
