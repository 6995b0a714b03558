/* SPDX-License-Identifier: MIT
 *
 * Random numbers of the guest's workloads: splitmix64, as Vigna describes it (https://prng.di.unimi.it), one
 * word of state, the same for the same seed on every machine.
 */
#ifndef PLEAT_IMAGES_GUEST_RANDOM_H
#define PLEAT_IMAGES_GUEST_RANDOM_H

#include <stdint.h>

static inline uint64_t random_mix(uint64_t value)
{
    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

static inline uint64_t random_next(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    return random_mix(*state);
}

/** 0 to limit - 1 (limit isn't 0), each as likely as the others to within limit / 2^64. */
static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
    return (uint64_t)((unsigned __int128)random_next(state) * limit >> 64);
}

#endif
