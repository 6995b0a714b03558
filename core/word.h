/* SPDX-License-Identifier: MIT
 *
 * Counting and finding bits in a word. Where the processor has no instruction for it a compiler's builtin
 * may call the compiler's own library, which a kernel doesn't link; there it is arithmetic.
 */
#ifndef PLEAT_CORE_WORD_H
#define PLEAT_CORE_WORD_H

#include <stdint.h>

/* clang never calls its library for these, gcc does. */
#if defined(__clang__) || defined(__POPCNT__) || (defined(__aarch64__) && defined(__ARM_NEON)) ||            \
    defined(__riscv_zbb)
#define WORD_COUNT_BY_BUILTIN 1
#else
#define WORD_COUNT_BY_BUILTIN 0
#endif
#if defined(__clang__) || !defined(__riscv) || defined(__riscv_zbb)
#define WORD_FIND_BY_BUILTIN 1
#else
#define WORD_FIND_BY_BUILTIN 0
#endif

static inline unsigned word_count_by_arithmetic(uint64_t word)
{
    /* Sums of pairs, of nibbles, of bytes; the multiplication adds the bytes up in the highest. */
    word -= word >> 1 & 0x5555555555555555u;
    word = (word & 0x3333333333333333u) + (word >> 2 & 0x3333333333333333u);
    word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (unsigned)(word * 0x0101010101010101u >> 56);
}

/* Set bits of the word. */
static inline unsigned word_count(uint64_t word)
{
    return WORD_COUNT_BY_BUILTIN ? (unsigned)__builtin_popcountll(word) : word_count_by_arithmetic(word);
}

static inline unsigned word_lowest_by_arithmetic(uint64_t word)
{
    /* The bits below the lowest that is set. */
    return word_count_by_arithmetic((word & -word) - 1);
}

/* The place of the lowest set bit; the word isn't 0. */
static inline unsigned word_lowest(uint64_t word)
{
    return WORD_FIND_BY_BUILTIN ? (unsigned)__builtin_ctzll(word) : word_lowest_by_arithmetic(word);
}

static inline unsigned word_highest_by_arithmetic(uint64_t word)
{
    for (unsigned shift = 1; shift < 64; shift *= 2)
        word |= word >> shift;
    return word_count_by_arithmetic(word) - 1;
}

/* The place of the highest set bit; the word isn't 0. */
static inline unsigned word_highest(uint64_t word)
{
    return WORD_FIND_BY_BUILTIN ? 63 - (unsigned)__builtin_clzll(word) : word_highest_by_arithmetic(word);
}

#endif
