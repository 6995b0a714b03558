/* SPDX-License-Identifier: MIT
 *
 * splitmix64 and xoshiro256**.
 */
#include "machine/random.h"

#include <math.h>

uint64_t pleat_random_split(uint64_t *seed)
{
    *seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *seed;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

void pleat_random_seed(struct pleat_random *random, uint64_t seed)
{
    /* Four outputs in a row of splitmix64 are never all zero. */
    for (int i = 0; i < 4; i++)
        random->state[i] = pleat_random_split(&seed);
}

static uint64_t rotate_left(uint64_t value, int by)
{
    return value << by | value >> (64 - by);
}

uint64_t pleat_random_next(struct pleat_random *random)
{
    uint64_t *s = random->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t pleat_random_below(struct pleat_random *random, uint64_t limit)
{
    /* The greatest multiple of LIMIT is where numbers begin that would favour the small results. */
    uint64_t surplus = (UINT64_MAX % limit + 1) % limit;
    uint64_t number;
    do
        number = pleat_random_next(random);
    while (number > UINT64_MAX - surplus);
    return number % limit;
}

double pleat_random_unit(struct pleat_random *random)
{
    return (double)((pleat_random_next(random) >> 11) + 1) * 0x1p-53;
}

double pleat_random_exponential(struct pleat_random *random, double mean)
{
    return -mean * log(pleat_random_unit(random));
}
