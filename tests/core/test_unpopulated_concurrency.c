/* SPDX-License-Identifier: MIT
 *
 * All CPUs allocate and free unpopulated frames at once, while the pool grows and memory comes and goes: no
 * frame is two CPUs' at a time, and none is lost.
 */
#include "core_fixture.h"

#include <stdatomic.h>

#include <pleat/unpopulated.h>

#define SMALL_BLOCK 1024u /* so that the pool grows often */
#define SECTIONS    12u
#define FRAMES      (SECTIONS * SMALL_BLOCK)
#define CPUS        4u
#define ROUNDS      3000u
#define BASE        (8 * SMALL_BLOCK)

struct play {
    struct fixture *f;
    _Atomic uint8_t owner[FRAMES]; /* 1 + the CPU that has the frame */
    const char *_Atomic wrong;     /* cmocka's assertions are for the main thread */
    _Atomic unsigned refused;
};

static void expect(struct play *play, bool is_so, const char *what)
{
    const char *none = NULL;

    if (!is_so)
        atomic_compare_exchange_strong(&play->wrong, &none, what);
}

static void claim(struct play *play, unsigned cpu, const uint64_t *pfns, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        pleat_tag tag = 0;
        unsigned order;

        expect(play, pfns[i] >= BASE && pfns[i] < BASE + FRAMES, "a frame that nobody named");
        expect(play, !atomic_exchange(&play->owner[pfns[i] - BASE], (uint8_t)(cpu + 1)),
               "a frame is two CPUs'");
        expect(play,
               !pleat_frame_tag(&play->f->pleat, pfns[i], &tag, &order) && tag == pleat_tag_make(0, cpu + 1),
               "another tag");
    }
}

static void let_go(struct play *play, unsigned cpu, const uint64_t *pfns, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        expect(play, atomic_exchange(&play->owner[pfns[i] - BASE], 0) == cpu + 1, "a frame changed hands");
    expect(play, !pleat_free_unpopulated(&play->f->pleat, count, pfns), "a frame can't be freed");
}

static void use(struct play *play, unsigned cpu)
{
    static _Thread_local uint64_t held[FRAMES];
    unsigned count = 0;
    uint64_t random = cpu + 1;

    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned some;

        random = random * UINT64_C(6364136223846793005) + 1;
        some = 1 + (unsigned)(random >> 40) % 700;
        if (random >> 61 < 5 || count < some) {
            int result = count + some > FRAMES ? PLEAT_E_NO_MEMORY
                                               : pleat_alloc_unpopulated(&play->f->pleat, some, held + count,
                                                                         pleat_tag_make(0, cpu + 1));

            expect(play, !result || result == PLEAT_E_NO_MEMORY, "another answer");
            if (!result)
                claim(play, cpu, held + count, some);
            else
                atomic_fetch_add(&play->refused, 1);
            count += result ? 0 : some;
        } else {
            count -= some;
            let_go(play, cpu, held + count, some);
        }
    }
    let_go(play, cpu, held, count);
}

static void add_and_remove(struct play *play)
{
    static const char owner;
    const struct pleat_range_config range = {
        .name = "memory", .owner = &owner, .start_pfn = BASE + FRAMES, .frames = SMALL_BLOCK};

    for (unsigned i = 0; i < ROUNDS; i++) {
        expect(play, !pleat_add(&play->f->pleat, &range), "memory can't be added");
        expect(play, !pleat_remove(&play->f->pleat, &owner, range.start_pfn, range.frames),
               "memory can't be removed");
    }
}

static void run(void *context, unsigned cpu)
{
    if (cpu)
        use(context, cpu);
    else
        add_and_remove(context);
}

static void small_blocks(struct pleat_config *config)
{
    config->cpus = CPUS;
    config->block_pageblocks = SMALL_BLOCK / PLEAT_PAGEBLOCK_FRAMES;
    config->policy = PLEAT_POLICY_OFFLINE;
}

static void no_frame_is_two_cpus_and_none_is_lost(void **state)
{
    static struct play play;
    static const struct pleat_unpopulated_range named = {.start_pfn = BASE, .frames = FRAMES};
    const struct pleat_unpopulated_config config = {.ranges = &named, .range_count = 1};
    const struct pleat_boot_span span = {.start_pfn = 0, .frames = BASE};
    struct pleat_unpopulated_info info;
    unsigned sections = 0;

    (void)state;
    play.f = fixture_new(&span, 1, small_blocks);
    assert_int_equal(pleat_unpopulated_init(&play.f->pleat, &config), 0);
    assert_int_equal(pleat_hosted_run_cpus(CPUS, run, &play), 0);
    assert_string_equal(play.wrong ? play.wrong : "", "");
    pleat_hosted_cpu_set(0);
    for (uint64_t pfn = 0; !pleat_unpopulated_info(&play.f->pleat, pfn, &info);
         pfn = info.start_pfn + info.frames) {
        assert_int_equal(info.used_frames, 0);
        sections++;
    }
    assert_int_equal(sections, SECTIONS);
    assert_true(play.refused > 0);
    fixture_free(play.f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_frame_is_two_cpus_and_none_is_lost),
    };
    return cmocka_run_group_tests_name("unpopulated frames, on all CPUs", tests, NULL, NULL);
}
