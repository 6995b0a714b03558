/* SPDX-License-Identifier: MIT
 *
 * Bits for blocks; each loop takes one word, with the bits outside of the range masked off.
 */
#include "devices/block_bits.h"

/* The bits of word `word` that lie in [first, end). */
static uint64_t word_mask(uint64_t word, uint64_t first, uint64_t end)
{
    uint64_t mask = ~UINT64_C(0);
    if (word == first / 64)
        mask <<= first % 64;
    if (word == end / 64)
        mask &= (UINT64_C(1) << end % 64) - 1;
    return mask;
}

uint64_t pleat_block_bits_find(const uint64_t *words, uint64_t first, uint64_t end, bool value)
{
    if (first >= end)
        return end;
    for (uint64_t word = first / 64; word <= (end - 1) / 64; word++) {
        const uint64_t wanted = (value ? words[word] : ~words[word]) & word_mask(word, first, end);
        if (wanted)
            return word * 64 + (unsigned)__builtin_ctzll(wanted);
    }
    return end;
}

void pleat_block_bits_fill(uint64_t *words, uint64_t first, uint64_t end, bool value)
{
    if (first >= end)
        return;
    for (uint64_t word = first / 64; word <= (end - 1) / 64; word++) {
        const uint64_t mask = word_mask(word, first, end);
        words[word] = value ? words[word] | mask : words[word] & ~mask;
    }
}

uint64_t pleat_block_bits_count(const uint64_t *words, uint64_t first, uint64_t end)
{
    uint64_t count = 0;
    if (first >= end)
        return 0;
    for (uint64_t word = first / 64; word <= (end - 1) / 64; word++)
        count += (unsigned)__builtin_popcountll(words[word] & word_mask(word, first, end));
    return count;
}
