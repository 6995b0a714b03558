/* SPDX-License-Identifier: MIT
 *
 * Random numbers that are the same on every machine for the same seed.
 *
 * The generator is xoshiro256**, seeded by splitmix64, both as Blackman and Vigna describe them
 * (https://prng.di.unimi.it). It is for workloads and tests; nothing here is secret.
 */
#ifndef PLEAT_MACHINE_RANDOM_H
#define PLEAT_MACHINE_RANDOM_H

#include <stdint.h>

/** A generator; the state must not be all zero, which pleat_random_seed() sees to. */
struct pleat_random {
    uint64_t state[4];
};

/** The next number of splitmix64, whose whole state is *SEED: also good for making seeds out of a seed. */
uint64_t pleat_random_split(uint64_t *seed);

/** Begins anew from SEED, any value. */
void pleat_random_seed(struct pleat_random *random, uint64_t seed);

/** 0 to 2^64 - 1. */
uint64_t pleat_random_next(struct pleat_random *random);

/** 0 to LIMIT - 1, all equally likely; LIMIT isn't 0. */
uint64_t pleat_random_below(struct pleat_random *random, uint64_t limit);

/** Above 0 and at most 1. */
double pleat_random_unit(struct pleat_random *random);

/** Exponentially distributed with this mean. */
double pleat_random_exponential(struct pleat_random *random, double mean);

#endif
