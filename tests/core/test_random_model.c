/* SPDX-License-Identifier: MIT
 *
 * The core beside a plain model: random operations on random machines (tests/support/random_machine.h).
 *
 * The machines are the same each time, unless PLEAT_SEEDS asks for so many new ones. PLEAT_SEED reruns one
 * alone, PLEAT_STEPS sets how many operations each sees, PLEAT_TRACE prints each operation.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <time.h>

#include "tests/support/random.h"
#include "tests/support/random_machine.h"

static const struct {
    void (*run)(struct run *run);
    unsigned weight;
} operations[] = {
    {run_alloc_some, 30},
    {run_free_some, 22},
    {run_wrong_free, 6},
    {run_add, 7},
    {run_remove, 5},
    {run_online, 8},
    {run_give, 6},
    {run_policy, 2},
    {run_release_boot, 2},
    {run_take_begin, 12},
    {run_take_step, 12},
    {run_alloc_range, 6},
    {run_free_range, 6},
    {run_clear_block, 8},
    {run_look, 6},
    {run_tags, 3},
    {run_listeners, 2},
    {run_withhold, 8},
    {run_alloc_unpopulated, 2},
    {run_free_unpopulated, 2},
};

static void one_operation(struct run *run)
{
    unsigned total = 0;
    for (unsigned i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
        total += operations[i].weight;
    uint64_t at = run_draw(run, total);
    unsigned i = 0;
    while (at >= operations[i].weight)
        at -= operations[i++].weight;
    pleat_hosted_cpu_set((unsigned)run_draw(run, run->config.cpus));
    run->last_event_pfn = UINT64_MAX;
    operations[i].run(run);
    run->now_ns += run_draw(run, 3);
}

/** Everything is given back: then all that was free at first, or came in, is free again. */
static void wind_up(struct run *run)
{
    for (unsigned i = 0; i < TAKES; i++) {
        if (run->takes[i].active)
            run_take_cancel(run, &run->takes[i]);
    }
    run_check_content(run);
    while (run->plain.live_count)
        run_free_live(run, run->plain.live[run->plain.live_count - 1]);
    for (uint64_t pfn = 0; pfn < run->plain.frames; pfn++) {
        if (run->plain.kind[pfn] != PLAIN_TAKEN)
            continue;
        must(run, !pleat_free_range(&run->pleat, pfn, 1), "free_range of PFN 0x%llx", X(pfn));
        plain_set(&run->plain, pfn, 1, PLAIN_FREE);
    }
    run_check_all(run);
}

static void run_machine(uint64_t seed, unsigned long steps)
{
    struct run *run = calloc(1, sizeof(*run));
    assert_non_null(run);
    test_random_seed_runs(seed);
    run->seed = seed;
    run->random = seed;
    run->now_ns = 1000;
    run->trace = getenv("PLEAT_TRACE") != NULL;
    run_boot(run);
    run_check_all(run);
    /* A slow recount is worth more often where it is cheap. */
    unsigned long between = 4 + (unsigned long)(run->plain.frames / 2048);
    for (run->step = 1; run->step <= steps; run->step++) {
        one_operation(run);
        if (run->step % between == 0)
            run_check_all(run);
        if (run->step % (50 * between) == 0)
            run_check_content(run);
    }
    wind_up(run);
    run_end(run);
    free(run);
    test_random_seed_done();
}

static unsigned long number_from(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    return text ? strtoul(text, NULL, 0) : otherwise;
}

static void core_agrees_with_the_plain_model(void **state)
{
    (void)state;
    unsigned long steps = number_from("PLEAT_STEPS", 600), seeds = number_from("PLEAT_SEEDS", 10);
    if (getenv("PLEAT_SEED")) {
        run_machine(number_from("PLEAT_SEED", 0), steps);
        return;
    }
    /* The same machines in every test run, so that one that fails has to do with the change at hand; whoever
     * asks for a number of machines gets new ones. */
    uint64_t first = getenv("PLEAT_SEEDS") ? (uint64_t)time(NULL) * 1000 : 1000;
    print_message("# seeds %llu to %llu\n", X(first), X(first + seeds - 1));
    for (unsigned long i = 0; i < seeds; i++)
        run_machine(first + i, steps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(core_agrees_with_the_plain_model)};
    return cmocka_run_group_tests_name("core beside a plain model", tests, NULL, NULL);
}
