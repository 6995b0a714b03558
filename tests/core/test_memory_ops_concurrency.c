/* SPDX-License-Identifier: MIT
 *
 * A driver takes its blocks back while an administrator brings them online as often as he can: there is no
 * moment between offline and removed in which he could.
 */
#include "core_fixture.h"

#include <stdatomic.h>

#define SMALL_BLOCK 2048u /* 8 MiB */
#define BLOCKS      4u
#define ROUNDS      3000u
#define MEETINGS    300u /* blocks that the administrator brings online, at least */

static int owner_context;
static const struct pleat_memory_owner owner = {.context = &owner_context};

struct play {
    struct fixture *f;
    struct pleat_memory memory;
    uint64_t start_pfn;
    atomic_bool done;
    _Atomic unsigned onlined;
    const char *_Atomic wrong; /* what a thread found wrong; cmocka's assertions are for the main thread */
};

static void expect(struct play *play, bool is_so, const char *what)
{
    const char *none = NULL;

    if (is_so)
        return;
    atomic_compare_exchange_strong(&play->wrong, &none, what);
    atomic_store(&play->done, true);
}

static void small_blocks(struct pleat_config *config)
{
    config->block_pageblocks = SMALL_BLOCK / PLEAT_PAGEBLOCK_FRAMES;
    config->highest_pfn = 16 * SMALL_BLOCK;
    config->policy = PLEAT_POLICY_OFFLINE;
}

static void add_and_take(struct play *play)
{
    const struct pleat_memory_ops *ops = play->memory.ops;
    void *context = play->memory.context;
    const struct pleat_memory_range range = {.address = play->start_pfn << 12,
                                             .bytes = BLOCKS * play->memory.block_bytes,
                                             .name = "test",
                                             .owner = &owner};
    struct pleat_memory_job job;
    int result;

    for (unsigned i = 0; !atomic_load(&play->done); i++) {
        if (i >= ROUNDS && atomic_load(&play->onlined) >= MEETINGS)
            break;
        expect(play, i < 1000 * ROUNDS, "the administrator brings hardly any block online");
        expect(play, !ops->add(context, &range), "the blocks can't be added");
        if (i % 8 == 0)
            pleat_hosted_yield();
        result = ops->take_begin(context, &job, &owner, PLEAT_TAKE_BLOCKS, range.address, range.bytes, 0);
        expect(play, !result, "the take doesn't begin");
        if (result)
            break;
        do
            result = ops->take_step(context, &job, SMALL_BLOCK << 12);
        while (result == PLEAT_MORE);
        expect(play, !result, "the take fails");
        expect(play, ops->block_state(context, range.address) == PLEAT_BLOCK_NONE, "the blocks are there");
    }
    atomic_store(&play->done, true);
}

static void bring_online(struct play *play)
{
    for (unsigned i = 0; !atomic_load(&play->done); i++) {
        uint64_t pfn = play->start_pfn + i % BLOCKS * SMALL_BLOCK;
        int result = pleat_online(&play->f->pleat, pfn, SMALL_BLOCK, PLEAT_ZONE_NORMAL);

        expect(play, !result || result == PLEAT_E_NOT_FOUND || result == PLEAT_E_STATE, "another answer");
        if (!result)
            atomic_fetch_add(&play->onlined, 1);
    }
}

static void run(void *context, unsigned cpu)
{
    if (cpu)
        bring_online(context);
    else
        add_and_take(context);
}

static void nobody_brings_online_what_is_being_removed(void **state)
{
    const struct pleat_boot_span span = {.start_pfn = 0, .frames = SMALL_BLOCK};
    struct fixture *f = fixture_new(&span, 1, small_blocks);
    struct play play = {.f = f, .start_pfn = 2 * SMALL_BLOCK};

    (void)state;
    pleat_memory_init(&f->pleat, &play.memory);
    assert_int_equal(pleat_hosted_run_cpus(2, run, &play), 0);
    assert_string_equal(play.wrong ? play.wrong : "", "");
    pleat_hosted_cpu_set(0);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_brings_online_what_is_being_removed),
    };
    return cmocka_run_group_tests_name("memory_ops, on two CPUs", tests, NULL, NULL);
}
