/* SPDX-License-Identifier: MIT
 *
 * Random numbers for tests that must be repeatable: xorshift64*, and a seed that is printed and can be
 * given by PLEAT_SEED.
 */
#ifndef PLEAT_TESTS_RANDOM_H
#define PLEAT_TESTS_RANDOM_H

#include <stdint.h>

struct test_random {
    uint64_t state;
};

/* Spreads a seed, 0 included, over the whole state. */
static inline void test_random_seed(struct test_random *random, uint64_t seed)
{
    seed += UINT64_C(0x9e3779b97f4a7c15);
    seed = (seed ^ seed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    seed = (seed ^ seed >> 27) * UINT64_C(0x94d049bb133111eb);
    random->state = (seed ^ seed >> 31) | 1;
}

static inline uint64_t test_random_next(struct test_random *random)
{
    random->state ^= random->state >> 12;
    random->state ^= random->state << 25;
    random->state ^= random->state >> 27;
    return random->state * UINT64_C(0x2545f4914f6cdd1d);
}

/* 0 to limit - 1. */
static inline uint64_t test_random_below(struct test_random *random, uint64_t limit)
{
    return (test_random_next(random) >> 11) % limit;
}

/*
 * The seeds to run: PLEAT_SEED alone where it is set (decimal or 0x...), else `count` of them from `first`
 * on. Call it with 0, 1, 2 ...; 0 is returned when there are no more. Calls the two functions below.
 */
int test_random_seed_number(unsigned number, uint64_t first, unsigned count, uint64_t *seed);

/*
 * What runs now runs with this seed. However the program ends before test_random_seed_done(), by a failed
 * assertion, a signal, a sanitizer or a time-out, it says on stderr how to run this seed alone.
 */
void test_random_seed_runs(uint64_t seed);
void test_random_seed_done(void);

#endif
