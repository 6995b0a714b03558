/* SPDX-License-Identifier: MIT
 *
 * Runs of clear bits in a pageblock. See bits.h.
 */
#include "bits.h"

static uint64_t load(_Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

/*
 * Two CPUs that free the two halves of a run which lie in different words each look for the run after they
 * cleared their half. In one order of all of this, the later one sees both.
 */
static uint64_t load_in_order(_Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_seq_cst);
}

/* Orders 7 and 8: whole words, 2 or 4 in a row. */
static unsigned find_words(_Atomic uint64_t *bits, unsigned words)
{
    for (unsigned at = 0; at < WORD_COUNT; at += words) {
        uint64_t used = 0;

        for (unsigned i = 0; i < words; i++)
            used |= load(&bits[at + i]);
        if (!used)
            return at * 64;
    }
    return FRAMES;
}

unsigned bits_find_run(_Atomic uint64_t *bits, unsigned order, unsigned from)
{
    if (order > 6)
        return find_words(bits, 1u << (order - 6));
    for (unsigned i = 0; i < WORD_COUNT; i++) {
        unsigned at = (from + i) % WORD_COUNT;
        uint64_t used = load(&bits[at]);
        uint64_t runs, larger;

        if (!~used)
            continue;
        runs = runs_in_word(used, order);
        if (!runs)
            continue;
        if (order < 6) {
            /* Runs that are a half of a larger run, both halves of it. */
            larger = runs_in_word(used, order + 1);
            larger |= larger << (1u << order);
            if (runs & ~larger)
                runs &= ~larger;
        }
        return at * 64 + word_lowest(runs);
    }
    return FRAMES;
}

unsigned bits_largest_run(_Atomic uint64_t *bits)
{
    unsigned best = 0;
    uint64_t free_words = 0;

    for (unsigned i = 0; i < WORD_COUNT; i++) {
        uint64_t used = load_in_order(&bits[i]);

        if (!used)
            free_words |= (uint64_t)1 << i;
        else if (~used) {
            unsigned order = largest_run_in_word(used);

            best = order > best ? order : best;
        }
    }
    if (!free_words)
        return best;
    /* Now the same, a level up: WORD_COUNT bits, each for 64 frames. */
    free_words = ~free_words | ~(uint64_t)0xff;
    return 6 + (runs_in_word(free_words, 3)   ? 3
                : runs_in_word(free_words, 2) ? 2
                : runs_in_word(free_words, 1) ? 1
                                              : 0);
}

unsigned bits_set_run(_Atomic uint64_t *bits, unsigned place, unsigned order)
{
    unsigned wrong = 0;

    if (order < 6) {
        uint64_t mask = mask_of(place % 64, place % 64 + (1u << order));
        uint64_t old = atomic_fetch_or_explicit(&bits[place / 64], mask, memory_order_acquire);

        return word_count(old & mask);
    }
    for (unsigned i = 0; i < 1u << (order - 6); i++)
        wrong +=
            word_count(atomic_exchange_explicit(&bits[place / 64 + i], ~(uint64_t)0, memory_order_acquire));
    return wrong;
}

unsigned bits_clear_run(_Atomic uint64_t *bits, unsigned place, unsigned order)
{
    unsigned wrong = 0;

    if (order < 6) {
        uint64_t mask = mask_of(place % 64, place % 64 + (1u << order));
        uint64_t old = atomic_fetch_and_explicit(&bits[place / 64], ~mask, memory_order_seq_cst);

        return (1u << order) - word_count(old & mask);
    }
    for (unsigned i = 0; i < 1u << (order - 6); i++)
        wrong += 64 - word_count(atomic_exchange_explicit(&bits[place / 64 + i], 0, memory_order_seq_cst));
    return wrong;
}

unsigned bits_count_clear(_Atomic uint64_t *bits)
{
    unsigned clear = 0;

    for (unsigned i = 0; i < WORD_COUNT; i++)
        clear += 64 - word_count(load(&bits[i]));
    return clear;
}
