/* SPDX-License-Identifier: MIT
 *
 * The seed of a random test, said by whatever way the program ends.
 */
#include "tests/support/random.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Sanitizers end a program in their own way. */
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

/* Empty while nothing runs; a text already, because it is said in signal handlers. */
static char current[64];

static void say(void)
{
    if (current[0] && write(STDERR_FILENO, current, strlen(current)) < 0)
        return;
}

static void say_and_die(int number)
{
    say();
    current[0] = '\0';
    signal(number, SIG_DFL);
    raise(number);
}

void test_random_seed_runs(uint64_t seed)
{
    static int prepared;

    snprintf(current, sizeof(current), "# repeat with PLEAT_SEED=%" PRIu64 "\n", seed);
    if (prepared++)
        return;
    /* cmocka catches the signals of bad instructions and addresses, and goes on to the end. */
    atexit(say);
    signal(SIGABRT, say_and_die);
    signal(SIGTERM, say_and_die);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(say);
}

void test_random_seed_done(void)
{
    current[0] = '\0';
}

int test_random_seed_number(unsigned number, uint64_t first, unsigned count, uint64_t *seed)
{
    const char *given = getenv("PLEAT_SEED");

    *seed = given ? strtoull(given, NULL, 0) : first + number;
    if (number >= (given ? 1 : count)) {
        test_random_seed_done();
        return 0;
    }
    test_random_seed_runs(*seed);
    return 1;
}
