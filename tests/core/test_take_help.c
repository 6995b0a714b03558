/* SPDX-License-Identifier: MIT
 *
 * Other CPUs help a take: what they move, what they leave to the step, and that they are gone when it ends.
 * The helper is a thread that works while the core tells that help is welcome and the stepping thread waits
 * for it, so that each run is the same; tests/core/test_core_concurrency.c has helpers that come at any time.
 */
#include "core_fixture.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#define COOKIES     (BLOCK_FRAMES + 1)
#define ALL_COOKIES (8 * BLOCK_FRAMES)

static const char owner;

struct play {
    struct fixture *f;
    struct mover mover;
    struct pleat_range_config range;
    unsigned used;        /* movable frames in the range */
    uint64_t help_budget; /* of each call of the helper */
    unsigned help_calls;  /* of the helper each time that it is told, at most */
    uint64_t gone_over;   /* by the helper */
    unsigned told;
    bool ends;
    /* The helper's first migration lasts until the step has found no room for a frame of its own. */
    bool holds, owes;
    sem_t wanted, done, inside, go;
    pthread_t thread;
};

static void *help(void *context)
{
    struct play *play = context;

    pleat_hosted_cpu_set(1);
    for (;;) {
        sem_wait(&play->wanted);
        if (play->ends)
            return NULL;
        for (unsigned i = 0; i < play->help_calls; i++) {
            uint64_t frames = pleat_take_help(&play->f->pleat, play->help_budget);

            play->gone_over += frames;
            if (!frames)
                break;
        }
        sem_post(&play->done);
    }
}

static void tell(void *context)
{
    struct play *play = context;

    play->told++;
    if (play->owes)
        sem_wait(&play->done);
    play->owes = play->holds;
    sem_post(&play->wanted);
    sem_wait(play->owes ? &play->inside : &play->done);
}

static int isolate(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    struct play *play = context;

    return mover_isolate(&play->mover, pfn, order, cookie);
}

static int migrate(void *context, uint64_t from, uint64_t to, unsigned order, uint64_t cookie)
{
    struct play *play = context;

    if (play->holds) {
        play->holds = false;
        sem_post(&play->inside);
        sem_wait(&play->go);
    }
    return mover_migrate(&play->mover, from, to, order, cookie);
}

static void putback(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    struct play *play = context;

    (void)pfn;
    (void)order;
    (void)cookie;
    if (pleat_hosted_cpu() == 0)
        sem_post(&play->go);
}

static const struct pleat_owner_ops ops = {.isolate = isolate, .migrate = migrate, .putback = putback};

static struct play *told_play;

static void with_help(struct pleat_config *config)
{
    config->help = tell;
    config->help_context = told_play;
}

/* Boot memory, a helper and an owner. */
static struct play *play_begin(const struct pleat_boot_span *span,
                               void (*change)(struct pleat_config *config))
{
    struct play *play = calloc(1, sizeof(*play));
    int number;

    assert_non_null(play);
    told_play = play;
    play->f = fixture_new(span, span ? 1 : 0, change);
    play->help_budget = 512;
    play->help_calls = 1000;
    sem_init(&play->wanted, 0, 0);
    sem_init(&play->done, 0, 0);
    sem_init(&play->inside, 0, 0);
    sem_init(&play->go, 0, 0);
    assert_int_equal(pthread_create(&play->thread, NULL, help, play), 0);
    number = pleat_owner_register(&play->f->pleat, "mover", &ops, play);
    assert_true(number > 0);
    play->mover.owner = (unsigned)number;
    play->mover.where = calloc(ALL_COOKIES, sizeof(uint64_t));
    assert_non_null(play->mover.where);
    return play;
}

/* And a block behind it, in which every second frame is in use and can be moved. */
static struct play *play_new(const struct pleat_boot_span *span)
{
    struct play *play = play_begin(span, with_help);

    play->range = (struct pleat_range_config){.name = "test",
                                              .owner = &owner,
                                              .start_pfn = GIB_FRAMES,
                                              .frames = BLOCK_FRAMES,
                                              .flags = PLEAT_ADD_FORCE_ONLINE,
                                              .force_zone = PLEAT_ZONE_MOVABLE};
    assert_int_equal(pleat_add(&play->f->pleat, &play->range), 0);
    /* Zone MOVABLE comes first, and is used up before others are. */
    for (unsigned i = 1; i < COOKIES; i++) {
        int64_t pfn = pleat_alloc(&play->f->pleat, 0, PLEAT_MOVABLE, pleat_tag_make(play->mover.owner, i));

        assert_true(pfn >= 0);
        play->mover.where[i] = (uint64_t)pfn;
        if ((uint64_t)pfn < play->range.start_pfn)
            break;
    }
    for (unsigned i = 1; i < COOKIES && play->mover.where[i]; i++) {
        if (play->mover.where[i] >= play->range.start_pfn && play->mover.where[i] % 2) {
            play->used++;
            continue;
        }
        assert_int_equal(pleat_free(&play->f->pleat, play->mover.where[i], 0), 0);
        play->mover.where[i] = 0;
    }
    assert_true(play->used > BLOCK_FRAMES / 2 - 1024);
    return play;
}

static void play_free(struct play *play)
{
    play->ends = true;
    sem_post(&play->wanted);
    assert_int_equal(pthread_join(play->thread, NULL), 0);
    sem_destroy(&play->wanted);
    sem_destroy(&play->done);
    sem_destroy(&play->inside);
    sem_destroy(&play->go);
    free(play->mover.where);
    fixture_free(play->f);
    free(play);
}

static int begin(struct play *play, struct pleat_take *take)
{
    const struct pleat_take_config config = {.start_pfn = play->range.start_pfn,
                                             .frames = play->range.frames,
                                             .goal = PLEAT_TAKE_TO_OFFLINE,
                                             .owner = &owner};

    return pleat_take_begin(&play->f->pleat, take, &config);
}

static int finish(struct play *play, struct pleat_take *take)
{
    int result;

    do
        result = pleat_take_step(&play->f->pleat, take, 512);
    while (result == PLEAT_MORE);
    return result;
}

static uint64_t moved(const struct pleat_take *take, struct pleat_look *look)
{
    uint64_t frames;

    pleat_take_report(take, &frames, look);
    return frames;
}

static void nobody_is_helped_when_nobody_takes(void **state)
{
    struct play *play = play_new(NULL);
    struct pleat_take take;

    (void)state;
    assert_int_equal(pleat_take_help(&play->f->pleat, 512), 0);
    assert_int_equal(begin(play, &take), 0);
    assert_int_equal(pleat_take_help(&play->f->pleat, 512), 0); /* between steps, too */
    pleat_take_cancel(&play->f->pleat, &take);
    assert_int_equal(pleat_take_help(&play->f->pleat, 512), 0);
    assert_int_equal(play->told, 0);
    play_free(play);
}

static void a_helper_moves_all_but_what_the_step_does(void **state)
{
    struct play *play = play_new(NULL);
    struct pleat_look look;
    struct pleat_take take;

    (void)state;
    assert_int_equal(begin(play, &take), 0);
    assert_int_equal(pleat_take_step(&play->f->pleat, &take, 1), PLEAT_MORE);
    /* It has gone over everything but the 64 frames or fewer next to the step. */
    assert_int_equal(play->told, 1);
    assert_true(play->gone_over >= BLOCK_FRAMES - 128 && play->gone_over < BLOCK_FRAMES);
    assert_true(moved(&take, &look) >= play->used - 64);
    assert_int_equal(finish(play, &take), 0);
    assert_int_equal(moved(&take, &look), play->used);
    assert_int_equal(play->mover.moves, play->used); /* each once */
    assert_int_equal(play->told, 1);                 /* there was nothing to help with any more */
    for (unsigned i = 1; i < COOKIES; i++)
        assert_true(play->mover.where[i] < play->range.start_pfn);
    play_free(play);
}

static void a_helper_keeps_to_its_budget(void **state)
{
    struct play *play = play_new(NULL);
    struct pleat_look look;
    struct pleat_take take;

    (void)state;
    play->help_budget = 65;
    play->help_calls = 1;
    assert_int_equal(begin(play, &take), 0);
    assert_int_equal(pleat_take_step(&play->f->pleat, &take, 1), PLEAT_MORE);
    assert_int_equal(play->gone_over, 128);
    assert_int_equal(moved(&take, &look), 64);
    assert_int_equal(pleat_take_step(&play->f->pleat, &take, 1), PLEAT_MORE);
    assert_int_equal(play->gone_over, 256);
    assert_int_equal(finish(play, &take), 0);
    assert_int_equal(play->mover.moves, play->used);
    play_free(play);
}

static void pinned_frames_are_left_to_the_step(void **state)
{
    struct play *play = play_new(NULL);
    struct pleat_look look;
    struct pleat_take take;
    unsigned pinned = 0;

    (void)state;
    play->mover.pin_from = 10000;
    play->mover.pin_to = 10200;
    for (unsigned i = play->mover.pin_from; i < play->mover.pin_to; i++)
        pinned += play->mover.where[i] != 0;
    assert_true(pinned > 50);
    assert_int_equal(begin(play, &take), 0);
    assert_int_equal(finish(play, &take), PLEAT_E_UNMOVABLE);
    assert_int_equal(moved(&take, &look), play->used - pinned);
    assert_int_equal(look.pinned, pinned);
    assert_int_equal(look.first_obstacle_owner, play->mover.owner);
    /* They may go now, and the range with them. */
    play->mover.pin_to = 0;
    assert_int_equal(begin(play, &take), 0);
    assert_int_equal(finish(play, &take), 0);
    assert_int_equal(play->mover.moves, play->used);
    play_free(play);
}

static void without_room_a_helper_stops_and_the_step_says_so(void **state)
{
    const struct pleat_boot_span span = {.start_pfn = 0, .frames = 8 * 512};
    struct play *play = play_new(&span);
    uint64_t room = pleat_free_frames(&play->f->pleat) - (BLOCK_FRAMES - play->used);
    struct pleat_look look;
    struct pleat_take take;

    (void)state;
    assert_int_equal(begin(play, &take), 0);
    assert_int_equal(finish(play, &take), PLEAT_E_NO_MEMORY);
    assert_true(moved(&take, &look) > 0);
    assert_true(moved(&take, &look) <= room + 512);
    assert_int_equal(play->mover.moves, moved(&take, &look));
    play_free(play);
}

/* Frees all but the first and the last `count` of what is in use in the range. */
static void leave_few(struct play *play, unsigned count)
{
    unsigned seen = 0, used = play->used;

    for (unsigned i = 1; i < COOKIES; i++) {
        if (!play->mover.where[i])
            continue;
        seen++;
        if (seen <= count || seen > used - count)
            continue;
        assert_int_equal(pleat_free(&play->f->pleat, play->mover.where[i], 0), 0);
        play->mover.where[i] = 0;
        play->used--;
    }
}

/* Takes all memory outside of the range, and gives `count` frames of one pageblock back. */
static void leave_room(struct play *play, unsigned count)
{
    static int64_t pfn[8 * 512];
    unsigned got = 0, freed = 0;

    while (got < 8 * 512 &&
           (pfn[got] = pleat_alloc(&play->f->pleat, 0, PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG)) >= 0)
        got++;
    assert_true(got > 2 * 512 && got < 8 * 512);
    for (unsigned i = 0; i < got && freed < count; i++) {
        if ((uint64_t)pfn[i] / 512 != (uint64_t)pfn[got / 2] / 512)
            continue;
        assert_int_equal(pleat_free(&play->f->pleat, (uint64_t)pfn[i], 0), 0);
        freed++;
    }
    assert_int_equal(freed, count);
    pleat_drain(&play->f->pleat);
}

static void room_that_a_helper_has_for_a_moment_is_found_again(void **state)
{
    const struct pleat_boot_span span = {.start_pfn = 0, .frames = 8 * 512};
    struct play *play = play_new(&span);
    struct pleat_look look;
    struct pleat_take take;

    (void)state;
    leave_few(play, 40);
    leave_room(play, 100);
    play->holds = true;
    assert_int_equal(begin(play, &take), 0);
    assert_int_equal(pleat_take_step(&play->f->pleat, &take, 512), PLEAT_MORE);
    assert_int_equal(play->told, 1);
    assert_int_equal(finish(play, &take), 0);
    assert_int_equal(moved(&take, &look), 80);
    assert_int_equal(play->mover.moves, 80);
    play_free(play);
}

static void with_help_and_dma32(struct pleat_config *config)
{
    with_help(config);
    config->dma32_end_pfn = GIB_FRAMES + BLOCK_FRAMES;
}

/* Allocates all that there is from a cookie on, and keeps every eighth frame of a block. Returns the next
 * cookie. */
static unsigned use_some(struct play *play, unsigned cookie, unsigned flags, uint64_t block_pfn)
{
    const unsigned first = cookie;
    int64_t pfn;

    while ((pfn = pleat_alloc(&play->f->pleat, 0, PLEAT_MOVABLE | PLEAT_ALLOC_RESERVE | flags,
                              pleat_tag_make(play->mover.owner, cookie))) >= 0) {
        play->mover.where[cookie++] = (uint64_t)pfn;
        assert_true(cookie < ALL_COOKIES);
    }
    for (unsigned i = first; i < cookie; i++) {
        if (play->mover.where[i] - block_pfn < BLOCK_FRAMES && play->mover.where[i] % 8 == 0) {
            play->used++;
            continue;
        }
        assert_int_equal(pleat_free(&play->f->pleat, play->mover.where[i], 0), 0);
        play->mover.where[i] = 0;
    }
    return cookie;
}

/* The helper comes from above: what it has taken there is no place for frames of the zone below. */
static void frames_below_a_limit_stay_below_it(void **state)
{
    const struct pleat_boot_span span = {.start_pfn = 0, .frames = 16 * 512};
    struct play *play = play_begin(&span, with_help_and_dma32);
    const uint64_t limit = GIB_FRAMES + BLOCK_FRAMES;
    struct pleat_take take;
    unsigned low, below = 0;

    (void)state;
    play->range = (struct pleat_range_config){
        .name = "test", .owner = &owner, .start_pfn = GIB_FRAMES, .frames = UINT64_C(3) * BLOCK_FRAMES};
    assert_int_equal(pleat_add(&play->f->pleat, &play->range), 0);
    low = use_some(play, 1, PLEAT_ALLOC_DMA32, GIB_FRAMES);
    assert_true(play->used > 1000);
    use_some(play, low, 0, limit);
    play->range.frames = UINT64_C(2) * BLOCK_FRAMES;
    play->help_budget = 704; /* not a part of a block: one call goes over the limit */
    assert_int_equal(begin(play, &take), 0);
    assert_int_equal(pleat_take_step(&play->f->pleat, &take, 1), PLEAT_MORE);
    assert_true(play->mover.moves > play->used - 64);
    assert_int_equal(finish(play, &take), 0);
    for (unsigned i = 1; i < low; i++)
        below += play->mover.where[i] && play->mover.where[i] < limit;
    for (unsigned i = 1; i < low; i++)
        assert_true(play->mover.where[i] < limit);
    assert_true(below > 1000);
    play_free(play);
}

/* The step has one pageblock to go over: there is nothing to share. */
static void short_ranges_ask_nobody(void **state)
{
    struct play *play = play_new(NULL);
    struct pleat_take take;
    const struct pleat_take_config config = {.start_pfn = play->range.start_pfn + 20 * 512,
                                             .frames = 512,
                                             .goal = PLEAT_TAKE_TO_FAKE_OFFLINE,
                                             .owner = &owner};

    (void)state;
    assert_int_equal(pleat_take_begin(&play->f->pleat, &take, &config), 0);
    assert_int_equal(finish(play, &take), 0);
    assert_int_equal(play->told, 0);
    assert_int_equal(play->gone_over, 0);
    play_free(play);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_helped_when_nobody_takes),
        cmocka_unit_test(a_helper_moves_all_but_what_the_step_does),
        cmocka_unit_test(a_helper_keeps_to_its_budget),
        cmocka_unit_test(pinned_frames_are_left_to_the_step),
        cmocka_unit_test(without_room_a_helper_stops_and_the_step_says_so),
        cmocka_unit_test(room_that_a_helper_has_for_a_moment_is_found_again),
        cmocka_unit_test(frames_below_a_limit_stay_below_it),
        cmocka_unit_test(short_ranges_ask_nobody),
    };
    return cmocka_run_group_tests_name("takes with helpers", tests, NULL, NULL);
}
