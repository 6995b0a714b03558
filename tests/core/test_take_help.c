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

#define COOKIES (BLOCK_FRAMES + 1)

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
    sem_t wanted, done;
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
    sem_post(&play->wanted);
    sem_wait(&play->done);
}

static struct play *told_play;

static void with_help(struct pleat_config *config)
{
    config->help = tell;
    config->help_context = told_play;
}

/* A block behind the boot memory, in which every second frame is in use and can be moved. */
static struct play *play_new(const struct pleat_boot_span *span)
{
    struct play *play = calloc(1, sizeof(*play));

    assert_non_null(play);
    told_play = play;
    play->f = fixture_new(span, span ? 1 : 0, with_help);
    play->help_budget = 512;
    play->help_calls = 1000;
    sem_init(&play->wanted, 0, 0);
    sem_init(&play->done, 0, 0);
    assert_int_equal(pthread_create(&play->thread, NULL, help, play), 0);
    mover_init(&play->mover, &play->f->pleat, COOKIES);
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
        cmocka_unit_test(short_ranges_ask_nobody),
    };
    return cmocka_run_group_tests_name("takes with helpers", tests, NULL, NULL);
}
