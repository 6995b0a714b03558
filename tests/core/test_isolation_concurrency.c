/* SPDX-License-Identifier: MIT
 *
 * Blocks go online and offline while another CPU allocates and frees in them: nothing that is on its way
 * counts as an obstacle, and no pageblock gets lost to the searches.
 */
#include "core_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

static const char owner;

struct play {
    struct fixture *f;
    _Atomic uint64_t where; /* the one frame of the other CPU; 0: none */
    _Atomic unsigned round; /* odd: the other CPU is to rest */
    _Atomic unsigned rested;
    atomic_bool done;
    const char *_Atomic wrong; /* what a thread found wrong; cmocka's assertions are for the main thread */
    unsigned owner;
    unsigned count; /* of frames that the other CPU holds */
    uint64_t held[8];
    struct pleat_range_config range;
};

static void expect(struct play *play, bool is_so, const char *what)
{
    const char *none = NULL;

    if (is_so)
        return;
    atomic_compare_exchange_strong(&play->wrong, &none, what);
    atomic_store(&play->done, true);
}

/* --- stops at any instruction --------------------------------------------------------------------------- */

static atomic_bool stops_done;

static void sleep_ns(long ns)
{
    const struct timespec time = {.tv_nsec = ns};

    nanosleep(&time, NULL);
}

static void stop_here(int number)
{
    (void)number;
    sleep_ns(20000);
}

static void *send_stops(void *context)
{
    const pthread_t *thread = context;

    while (!atomic_load(&stops_done)) {
        pthread_kill(*thread, SIGUSR1);
        sleep_ns(10000);
    }
    return NULL;
}

/* From here on this thread is stopped for a moment, at places that it doesn't choose, as a host does it. */
static pthread_t stops_begin(pthread_t *self)
{
    pthread_t sender;

    *self = pthread_self();
    signal(SIGUSR1, stop_here);
    atomic_store(&stops_done, false);
    assert_int_equal(pthread_create(&sender, NULL, send_stops, self), 0);
    return sender;
}

static void stops_end(pthread_t sender)
{
    atomic_store(&stops_done, true);
    assert_int_equal(pthread_join(sender, NULL), 0);
}

/* --- huge frames that move ------------------------------------------------------------------------------ */

static int isolate(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    (void)context;
    (void)pfn;
    (void)order;
    (void)cookie;
    return PLEAT_OK;
}

static int migrate(void *context, uint64_t from, uint64_t to, unsigned order, uint64_t cookie)
{
    struct play *play = context;

    (void)order;
    (void)cookie;
    return atomic_compare_exchange_strong(&play->where, &from, to) ? PLEAT_OK : PLEAT_E_BUSY;
}

static void putback(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    (void)context;
    (void)pfn;
    (void)order;
    (void)cookie;
}

static const struct pleat_owner_ops ops = {.isolate = isolate, .migrate = migrate, .putback = putback};

static void allocate_and_free_huge(struct play *play)
{
    while (!atomic_load(&play->done)) {
        int64_t pfn = pleat_alloc(&play->f->pleat, 9, PLEAT_MOVABLE, pleat_tag_make(play->owner, 1));

        expect(play, pfn > 0, "there is no huge frame");
        if (pfn <= 0)
            break;
        atomic_store(&play->where, (uint64_t)pfn);
        expect(play, pleat_free(&play->f->pleat, atomic_exchange(&play->where, 0), 9) == 0, "a free fails");
    }
}

static int offline(struct play *play)
{
    const struct pleat_port *port = pleat_hosted_port(play->f->hosted);
    struct pleat_take_config config = {.start_pfn = play->range.start_pfn,
                                       .frames = play->range.frames,
                                       .goal = PLEAT_TAKE_TO_OFFLINE,
                                       .owner = &owner,
                                       .deadline_ns = port->clock_ns(port->context) + 20000000000u};
    struct pleat_take take;
    int result = pleat_take_begin(&play->f->pleat, &take, &config);

    if (result == PLEAT_OK)
        do
            result = pleat_take_step(&play->f->pleat, &take, 512);
        while (result == PLEAT_MORE);
    return result;
}

static void offline_and_online(struct play *play)
{
    pthread_t self, sender = stops_begin(&self);

    for (unsigned i = 0; i < 400 && !atomic_load(&play->done); i++) {
        expect(play, offline(play) == PLEAT_OK, "the block doesn't go offline");
        expect(play,
               !pleat_online(&play->f->pleat, play->range.start_pfn, play->range.frames, PLEAT_ZONE_MOVABLE),
               "the block doesn't go online");
    }
    stops_end(sender);
    atomic_store(&play->done, true);
}

static void run_huge(void *context, unsigned cpu)
{
    if (cpu)
        allocate_and_free_huge(context);
    else
        offline_and_online(context);
}

static void huge_frames_on_their_way_are_no_obstacle(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, NULL);
    struct play play = {.f = f};
    int number = pleat_owner_register(&f->pleat, "huge", &ops, &play);

    (void)state;
    /* PFN 0 stands for none. */
    assert_int_equal(pleat_alloc_range(&f->pleat, 0, 512, PLEAT_NO_TAG), 0);
    play.owner = (unsigned)number;
    play.range = (struct pleat_range_config){.name = "test",
                                             .owner = &owner,
                                             .start_pfn = GIB_FRAMES,
                                             .frames = BLOCK_FRAMES,
                                             .flags = PLEAT_ADD_FORCE_ONLINE,
                                             .force_zone = PLEAT_ZONE_MOVABLE};
    assert_int_equal(pleat_add(&f->pleat, &play.range), 0);
    assert_int_equal(pleat_hosted_run_cpus(2, run_huge, &play), 0);
    assert_string_equal(play.wrong ? play.wrong : "", "");
    pleat_hosted_cpu_set(0);
    fixture_free(f);
}

/* --- a block that is used as soon as it is there -------------------------------------------------------- */

#define SMALL_BLOCK 2048u /* 8 MiB */

static void small_blocks(struct pleat_config *config)
{
    config->block_pageblocks = SMALL_BLOCK / PLEAT_PAGEBLOCK_FRAMES;
    config->highest_pfn = 16 * SMALL_BLOCK;
}

static void use_at_once(struct play *play)
{
    unsigned round;

    while (!atomic_load(&play->done)) {
        int64_t pfn = pleat_alloc(&play->f->pleat, 8, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG);

        if (pfn >= 0) {
            play->held[play->count++] = (uint64_t)pfn;
            pleat_drain(&play->f->pleat);
        }
        round = atomic_load(&play->round);
        atomic_store(&play->rested, round);
        if (round % 2 == 0)
            continue;
        while (atomic_load(&play->round) == round && !atomic_load(&play->done))
            pleat_hosted_yield();
    }
}

/* Calls the other CPU to rest, and back. */
static void rest(struct play *play)
{
    unsigned round = atomic_fetch_add(&play->round, 1) + 1;

    while (atomic_load(&play->rested) != round && !atomic_load(&play->done))
        pleat_hosted_yield();
}

/* The other CPU is at work again when this returns. */
static void go_on(struct play *play)
{
    unsigned round = atomic_fetch_add(&play->round, 1) + 1;

    while (atomic_load(&play->rested) != round && !atomic_load(&play->done))
        pleat_hosted_yield();
}

static void online_and_recount(struct play *play)
{
    struct pleat *pleat = &play->f->pleat;
    pthread_t self, sender = stops_begin(&self);

    for (unsigned i = 0; i < 1000 && !atomic_load(&play->done); i++) {
        expect(play, !pleat_online(pleat, play->range.start_pfn, play->range.frames, PLEAT_ZONE_NORMAL),
               "the block doesn't go online");
        rest(play);
        expect(play, pleat_is_valid(pleat), "the recount differs");
        while (play->count)
            expect(play, pleat_free(pleat, play->held[--play->count], 8) == 0, "a free fails");
        expect(play, offline(play) == PLEAT_OK, "the block doesn't go offline");
        go_on(play);
    }
    stops_end(sender);
    atomic_store(&play->done, true);
}

static void run_online(void *context, unsigned cpu)
{
    if (cpu)
        use_at_once(context);
    else
        online_and_recount(context);
}

static void pageblocks_that_are_used_while_their_block_goes_online_are_found_again(void **state)
{
    const struct pleat_boot_span span = {.start_pfn = 0, .frames = SMALL_BLOCK};
    struct fixture *f = fixture_new(&span, 1, small_blocks);
    struct play play = {.f = f};

    (void)state;
    /* Nothing is left but what comes. */
    while (pleat_alloc(&f->pleat, 0, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG) >= 0)
        continue;
    play.range = (struct pleat_range_config){
        .name = "test", .owner = &owner, .start_pfn = 2 * SMALL_BLOCK, .frames = SMALL_BLOCK};
    assert_int_equal(pleat_set_policy(&f->pleat, PLEAT_POLICY_OFFLINE, 0), 0);
    assert_int_equal(pleat_add(&f->pleat, &play.range), 0);
    assert_int_equal(pleat_hosted_run_cpus(2, run_online, &play), 0);
    assert_string_equal(play.wrong ? play.wrong : "", "");
    pleat_hosted_cpu_set(0);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(huge_frames_on_their_way_are_no_obstacle),
        cmocka_unit_test(pageblocks_that_are_used_while_their_block_goes_online_are_found_again),
    };
    return cmocka_run_group_tests_name("isolation, on two CPUs", tests, NULL, NULL);
}
