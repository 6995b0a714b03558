/* SPDX-License-Identifier: MIT
 *
 * Random machines: the core beside a plain model, random operations on both, every answer compared, every
 * frame's content stamped and checked, so that a lost, doubled or torn frame can't go unseen.
 *
 *   random_machine.c   chance, content, mapping, configurations and boot maps
 *   random_frames.c    allocating and freeing, and what owners of frames do
 *   random_blocks.c    ranges and memory blocks, and what listeners do
 *   random_withheld.c  withholding free frames, giving fake-offline ones
 *   random_unpopulated.c  frames that are no memory
 *   random_takes.c     taking ranges back
 *   random_driver.c    the same requests as a driver makes them, through struct pleat_memory_ops
 *   random_checks.c    comparing all that there is
 *
 * An operation draws its arguments, foretells the answer from the model, asks the core, compares, and lets
 * the model follow. A run repeats from its seed.
 */
#ifndef TESTS_RANDOM_MACHINE_H
#define TESTS_RANDOM_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include <pleat/hosted.h>
#include <pleat/pleat.h>
#include <pleat/unpopulated.h>

#include "plain_model.h"

#define PAGEBLOCK PLEAT_PAGEBLOCK_FRAMES
#define OWNERS    4
#define RANGES    10
#define TAKES     3
#define LISTENERS 3
#define HISTORY   40
/** Unpopulated frames that are in use at once, at most. */
#define UNPOPULATED 4000

struct run;

/** An owner of frames: what its operations do is drawn. */
struct test_owner {
    struct run *run;
    int number; /**< of the core */
    bool moves; /**< has operations */
    unsigned pin_percent, fail_percent, free_percent;
};

/** A range that was added and not wholly removed. */
struct test_range {
    struct run *run;
    bool used;
    bool own_ops;
    bool by_driver;        /**< added through struct pleat_memory_ops; its owner is memory_owner then */
    unsigned give_percent; /**< of pageblocks, when a block goes online by own_ops */
    struct pleat_range_config config;
    struct pleat_memory_owner memory_owner;
    char name[16];
};

/** A take in progress. */
struct test_take {
    bool active;
    bool by_driver; /**< `job` in place of `take` */
    struct pleat_take take;
    struct pleat_memory_job job;
    struct pleat_take_config config;
    uint64_t steps;
    uint64_t moved;
    uint64_t refusals; /**< of owners, since it began */
};

/** A listener, and what it has heard of each block last. */
enum heard { QUIET, ASKED_ONLINE, ASKED_OFFLINE };
struct test_listener {
    struct run *run;
    bool registered;
    unsigned refuse_percent;
    struct pleat_listener listener;
    enum heard *heard;
};

/** One random machine. */
struct run {
    uint64_t seed, random;
    unsigned long step;
    struct pleat pleat;
    struct pleat_memory memory; /**< the same, as drivers see it */
    struct pleat_config config;
    struct pleat_hosted *hosted;
    uint8_t cpu_node[PLEAT_MAX_CPUS];
    uint8_t distance[PLEAT_MAX_NODES * PLEAT_MAX_NODES];
    bool blind; /**< without owners' words, nothing tells what single frames are that aren't free */
    uint64_t now_ns;
    uint64_t boot_blocks;
    unsigned movable_percent; /**< of allocations */
    enum pleat_online_policy policy;
    unsigned policy_ratio;

    struct plain plain;
    struct test_owner owners[OWNERS];
    struct test_range ranges[RANGES];
    struct test_take takes[TAKES];
    struct test_take *stepping; /**< its owners' operations may be called now */
    struct test_listener listeners[LISTENERS];
    int last_priority; /**< of the listener that heard the last event, and that event */
    enum pleat_event last_event;
    uint64_t last_event_pfn;
    bool refuse_now;             /**< the next GOING_ event is refused by the first who may */
    uint64_t refused_block;      /**< the block of the last refusal, UINT64_MAX: none */
    uint64_t offline_calls;      /**< of offline_frames() in this step */
    uint64_t freed_isolated[16]; /**< cookies of frames that their owner freed while isolated */
    unsigned freed_isolated_next;
    unsigned fatals; /**< wrong frees so far */

    struct pleat_unpopulated_range named; /**< where unpopulated frames come from */
    uint64_t sections;                    /**< that the pool has */
    unsigned unpopulated_count;           /**< frames that somebody has; their PFNs */
    uint64_t unpopulated[UNPOPULATED];

    bool trace;
    char history[HISTORY][200];
    unsigned long noted;
};

/* --- random_machine.c ----------------------------------------------------------------------------------- */

/** A line of history, shown when something is broken. */
__attribute__((format(printf, 2, 3))) void run_note(struct run *run, const char *format, ...);
/** Fails the test: shows the history, the seed and what is broken. */
__attribute__((format(printf, 2, 3))) void run_broken(struct run *run, const char *format, ...);

#define must(run, condition, ...)                                                                            \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            run_broken(run, __VA_ARGS__);                                                                    \
    } while (0)

/** For %llu and %llx. */
#define X(number) ((unsigned long long)(number))

uint64_t run_draw64(struct run *run);
/** 0 to limit - 1. */
uint64_t run_draw(struct run *run, uint64_t limit);
bool run_chance(struct run *run, unsigned percent);

/** The content of a frame. */
volatile uint64_t *run_content(struct run *run, uint64_t pfn);
/** Stamps the first and the last word of each frame with what `id` and its place ask for; and checks them. */
void run_write_stamps(struct run *run, uint64_t pfn, uint64_t frames, uint64_t id);
void run_check_stamps(struct run *run, uint64_t pfn, uint64_t frames, uint64_t id);
/** Fills whole frames with garbage: what memory holds before it is Pleat's. */
void run_fill_garbage(struct run *run, uint64_t pfn, uint64_t frames);

/** Plugs and unplugs: frames that aren't mapped can't be touched. */
void run_map(struct run *run, uint64_t pfn, uint64_t frames);
void run_unmap(struct run *run, uint64_t pfn, uint64_t frames);
void run_map_withheld(struct run *run, uint64_t start_pfn, uint64_t frames);
/** All of a block but its memmap. */
void run_unmap_block(struct run *run, uint64_t start_pfn);

/** Draws a machine and boots it. */
void run_boot(struct run *run);
void run_end(struct run *run);

/* --- random_frames.c ------------------------------------------------------------------------------------ */

extern const struct pleat_owner_ops run_owner_ops;
uint64_t run_reclaim(void *context, unsigned node, uint64_t frames);
pleat_tag run_draw_tag(struct run *run, unsigned mobility, unsigned *owner);
void run_free_live(struct run *run, uint32_t index);
/** Whether a movable allocation in block `from` could go elsewhere. */
bool run_movable_fits(const struct run *run, unsigned order, const struct plain_block *from);

void run_alloc_some(struct run *run);
void run_free_some(struct run *run);
/** Frees what isn't allocated that way: nothing may change but the count of fatal lines. */
void run_wrong_free(struct run *run);

/* --- random_blocks.c ------------------------------------------------------------------------------------ */

/** A listener comes or goes. */
void run_listeners(struct run *run);

/** The range of a block; NULL for boot memory. */
struct test_range *run_range_of(struct run *run, const struct plain_block *block);
/** The range that has this owner, or NULL. */
struct test_range *run_range_by_owner(struct run *run, const void *owner);
/** The owner of a block, as pleat_range_config has it; NULL for boot memory. */
const void *run_owner_of(struct run *run, const struct plain_block *block);
enum pleat_zone_kind run_zone_by_address(const struct run *run, uint64_t start_pfn);
/** Frames of a block that are in the allocator or in somebody's hands. */
uint64_t run_usable_frames(const struct run *run, uint64_t block);
/** A block in that state, if a few attempts find one. */
uint64_t run_draw_block(struct run *run, enum pleat_block_state state);
/** Whether an owner may remove a block together with blocks first .. first + blocks - 1. */
bool run_may_remove(struct run *run, uint64_t block, const void *owner, uint64_t first, uint64_t blocks);
/** Blocks were removed: the model follows, and they are unplugged. */
void run_follow_removed(struct run *run, uint64_t first, uint64_t blocks);
/** What the range's owner does when one of its blocks changes state. */
void run_range_online(struct test_range *range, uint64_t start_pfn, uint64_t frames,
                      void (*give)(void *context, uint64_t pfn, uint64_t frames), void *context);
void run_range_offline(struct test_range *range, uint64_t start_pfn, uint64_t frames);

void run_add(struct run *run);
void run_remove(struct run *run);
void run_online(struct run *run);
void run_policy(struct run *run);
/** Finds out which frames of boot memory hold memmaps of other blocks, after that has changed. */
void run_learn_memmaps(struct run *run);
void run_release_boot(struct run *run);

/* --- random_withheld.c ---------------------------------------------------------------------------------- */

void run_withhold(struct run *run);
void run_give(struct run *run);

/* --- random_unpopulated.c ------------------------------------------------------------------------------- */

/** Names addresses: the last memory block, which may be added before, and some above all memory. */
void run_name_unpopulated(struct run *run);
void run_alloc_unpopulated(struct run *run);
void run_free_unpopulated(struct run *run);
/** Whether a section lies there. */
bool run_is_unpopulated(struct run *run, uint64_t pfn);
void run_check_unpopulated(struct run *run);

/* --- random_takes.c ------------------------------------------------------------------------------------- */

/** Compares what the core says that a range holds. */
void run_check_look(struct run *run, const struct pleat_look *look, const struct pleat_look *wanted,
                    const char *whose);
/** Gives a take in progress up. */
void run_take_cancel(struct run *run, struct test_take *take);

void run_take_begin(struct run *run);
void run_take_step(struct run *run);
void run_alloc_range(struct run *run);
void run_free_range(struct run *run);
/** Frees what is unmovable in a block, so that it can go. */
void run_clear_block(struct run *run);

/* --- random_driver.c ------------------------------------------------------------------------------------ */

/** Each asks by struct pleat_memory_ops where its range was added so, else (or by chance) directly. */
int run_ask_add(struct run *run, struct test_range *range);
int run_ask_remove(struct run *run, const void *owner, uint64_t pfn, uint64_t frames);
int64_t run_ask_withhold(struct run *run, const void *owner, uint64_t frames);
int run_ask_give(struct run *run, const void *owner, uint64_t pfn, uint64_t frames);
/** Decides take->by_driver. */
int run_ask_take_begin(struct run *run, struct test_take *take);
int run_ask_take_step(struct run *run, struct test_take *take, uint64_t budget);
void run_ask_take_cancel(struct run *run, struct test_take *take);
/** As pleat_take_report(), with what drivers are told compared. */
void run_ask_take_report(struct run *run, struct test_take *take, uint64_t *moved, struct pleat_look *look);
/** Compares a look, free bytes and states in the driver's words. */
void run_check_driver(struct run *run);

/* --- random_checks.c ------------------------------------------------------------------------------------ */

void run_look(struct run *run);
void run_tags(struct run *run);
/** The slow recount, and every counter of blocks, zones and ranges. */
void run_check_all(struct run *run);
/** Every frame that somebody has. */
void run_check_content(struct run *run);

#endif
