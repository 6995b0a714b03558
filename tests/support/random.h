/* SPDX-License-Identifier: MIT
 *
 * Random numbers for tests that must be repeatable: xorshift64*, and a seed that is printed and can be
 * given by PLEAT_SEED.
 */
#ifndef PLEAT_TESTS_RANDOM_H
#define PLEAT_TESTS_RANDOM_H

#include <stdint.h>
#include <stdlib.h>

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
 * on. Call it with 0, 1, 2 ...; 0 is returned when there are no more.
 */
static inline int test_random_seed_number(unsigned number, uint64_t first, unsigned count, uint64_t *seed)
{
    const char *given = getenv("PLEAT_SEED");
    if (given) {
        *seed = strtoull(given, NULL, 0);
        return number == 0;
    }
    *seed = first + number;
    return number < count;
}

#endif
