/* SPDX-License-Identifier: MIT
 *
 * Random operations that take ranges back.
 */
#include "random_machine.h"

/** In a set of errors: it may come off all the same. */
#define MAY_SUCCEED 1u

/** Whether whole blocks go. */
static bool goes_offline(const struct pleat_take_config *config)
{
    return config->goal == PLEAT_TAKE_TO_OFFLINE || config->goal == PLEAT_TAKE_TO_REMOVED;
}

/** What a take of the range has to deal with: nothing in blocks that are OFFLINE already. */
static void look_for_take(const struct run *run, const struct pleat_take_config *config,
                          struct pleat_look *look)
{
    uint64_t size = run->plain.block_frames;
    uint64_t end = config->start_pfn + config->frames;
    *look = (struct pleat_look){0};
    for (uint64_t pfn = config->start_pfn, next; pfn < end; pfn = next) {
        struct pleat_look part;
        next = (pfn / size + 1) * size < end ? (pfn / size + 1) * size : end;
        if (!plain_is_online(plain_block_of(&run->plain, pfn)))
            continue;
        plain_look(&run->plain, pfn, next - pfn, &part);
        if (!look->unmovable)
            look->first_obstacle_pfn = part.first_obstacle_pfn;
        look->free += part.free;
        look->movable += part.movable;
        look->unmovable += part.unmovable;
        look->memmap += part.memmap;
        look->fake_offline += part.fake_offline;
        look->absent += part.absent;
    }
}

/** What pleat_take_begin() may answer, as a set of bits 1 << -error; 0: it has to come off. */
static unsigned take_errors(struct run *run, const struct test_take *take)
{
    const struct pleat_take_config *config = &take->config;
    uint64_t first = config->start_pfn / run->plain.block_frames;
    uint64_t blocks = config->frames / run->plain.block_frames;
    bool removes = config->goal == PLEAT_TAKE_TO_REMOVED;
    uint64_t unit = goes_offline(config)                         ? run->plain.block_frames
                    : config->goal == PLEAT_TAKE_TO_FAKE_OFFLINE ? PAGEBLOCK
                                                                 : 1;
    unsigned errors = 0;
    struct pleat_look look;
    if (!config->frames || config->start_pfn % unit || config->frames % unit || (removes && !config->owner))
        errors |= 1u << -PLEAT_E_INVALID;
    if (config->start_pfn >= run->plain.frames || config->frames > run->plain.frames - config->start_pfn)
        return errors | 1u << -PLEAT_E_NOT_FOUND;
    if (!goes_offline(config) && config->frames &&
        plain_block_of(&run->plain, config->start_pfn) !=
            plain_block_of(&run->plain, config->start_pfn + config->frames - 1))
        errors |= 1u << -PLEAT_E_INVALID;
    if (errors)
        return errors;
    for (uint64_t pfn = config->start_pfn; pfn < config->start_pfn + config->frames; pfn++) {
        const struct plain_block *block = plain_block_of(&run->plain, pfn);
        /* For fake-offline, nobody isn't everybody. */
        bool owned = config->owner || config->goal == PLEAT_TAKE_TO_FAKE_OFFLINE;
        if (block->state == PLEAT_BLOCK_NONE)
            errors |= 1u << -PLEAT_E_NOT_FOUND;
        else if ((owned && run_owner_of(run, block) != config->owner) ||
                 (goes_offline(config) && !block->removable) ||
                 (removes &&
                  !run_may_remove(run, pfn / run->plain.block_frames, config->owner, first, blocks)))
            errors |= 1u << -PLEAT_E_NOT_OWNER;
        if (block->state == PLEAT_BLOCK_OFFLINE && !removes)
            errors |= 1u << -PLEAT_E_STATE;
        if (block->state == PLEAT_BLOCK_GOING_OFFLINE || plain_is_isolated(&run->plain, pfn, 1))
            errors |= 1u << -PLEAT_E_BUSY;
        if (pfn % run->plain.block_frames == 0 && block->state == PLEAT_BLOCK_NONE)
            pfn += run->plain.block_frames - 1;
    }
    look_for_take(run, config, &look);
    if (config->goal == PLEAT_TAKE_TO_ALLOCATED && (look.memmap || look.fake_offline || look.absent))
        errors |= 1u << -PLEAT_E_STATE;
    if (look.unmovable)
        errors |= 1u << -PLEAT_E_UNMOVABLE;
    /* Without owners' words, what is passed over can look as if it were in use. */
    if (run->blind && (look.memmap || look.absent))
        errors |= 1u << -PLEAT_E_UNMOVABLE | (errors ? 0 : MAY_SUCCEED);
    return errors;
}

static void draw_take(struct run *run, struct pleat_take_config *config)
{
    uint64_t block_frames = run->plain.block_frames;
    *config = (struct pleat_take_config){.goal = (enum pleat_take_goal)run_draw(run, 4)};
    uint64_t block = run_draw_block(run, PLEAT_BLOCK_ONLINE);
    for (unsigned i = 0; i < 10 && !run->plain.block[block].removable; i++)
        block = run_draw_block(run, PLEAT_BLOCK_ONLINE);
    if (run_chance(run, 20))
        block = run_draw(run, run->plain.blocks);
    config->start_pfn = block * block_frames;
    switch (config->goal) {
    case PLEAT_TAKE_TO_OFFLINE:
    case PLEAT_TAKE_TO_REMOVED:
        config->frames = (run_chance(run, 70) ? 1 : 1 + run_draw(run, 3)) * block_frames;
        if (run_chance(run, config->goal == PLEAT_TAKE_TO_OFFLINE ? 60 : 95))
            config->owner = run_owner_of(run, &run->plain.block[block]);
        break;
    case PLEAT_TAKE_TO_FAKE_OFFLINE:
        config->start_pfn += run_draw(run, block_frames / PAGEBLOCK) * PAGEBLOCK;
        config->frames = (run_chance(run, 70) ? 1 : 1 + run_draw(run, block_frames / PAGEBLOCK)) * PAGEBLOCK;
        config->owner = run_owner_of(run, &run->plain.block[block]);
        if (!config->owner && run_chance(run, 10))
            config->owner = &run->ranges[0];
        break;
    case PLEAT_TAKE_TO_ALLOCATED:
        config->start_pfn += run_draw(run, block_frames);
        config->frames = 1 + run_draw(run, run_chance(run, 50)   ? 32
                                           : run_chance(run, 50) ? PAGEBLOCK
                                                                 : 4 * PAGEBLOCK);
        unsigned owner;
        config->tag = run_draw_tag(run, PLEAT_UNMOVABLE, &owner);
        break;
    }
    if (run_chance(run, 5))
        config->owner = &run->ranges[run_draw(run, RANGES)];
    if (run_chance(run, 2))
        config->start_pfn++;
    if (run_chance(run, 2))
        config->frames = 0;
    if (run_chance(run, 20))
        config->deadline_ns = run->now_ns + 1 + run_draw(run, 40);
    if (run_chance(run, 30)) {
        config->leaving_pfn = run_draw_block(run, PLEAT_BLOCK_ONLINE) * block_frames;
        config->leaving_frames = run_draw(run, 4 * block_frames);
    }
    if (run_chance(run, 2))
        config->leaving_frames = UINT64_MAX - run_draw(run, 2);
}

void run_check_look(struct run *run, const struct pleat_look *look, const struct pleat_look *wanted,
                    const char *whose)
{
    if (run->blind) {
        /* Nothing tells what single frames are. */
        must(run, look->free == wanted->free && look->movable == 0, "%s: free %llu, should be %llu", whose,
             X(look->free), X(wanted->free));
        return;
    }
    must(run,
         look->free == wanted->free && look->movable == wanted->movable &&
             look->unmovable == wanted->unmovable && look->memmap == wanted->memmap &&
             look->fake_offline == wanted->fake_offline && look->absent == wanted->absent,
         "%s: free %llu movable %llu unmovable %llu memmap %llu fake %llu absent %llu, should be "
         "%llu %llu %llu %llu %llu %llu",
         whose, X(look->free), X(look->movable), X(look->unmovable), X(look->memmap), X(look->fake_offline),
         X(look->absent), X(wanted->free), X(wanted->movable), X(wanted->unmovable), X(wanted->memmap),
         X(wanted->fake_offline), X(wanted->absent));
    if (wanted->unmovable)
        must(run, look->first_obstacle_pfn == wanted->first_obstacle_pfn,
             "%s: the first obstacle is 0x%llx, should be 0x%llx", whose, X(look->first_obstacle_pfn),
             X(wanted->first_obstacle_pfn));
}

/** The range's blocks are GOING_OFFLINE, or no longer. Who removes them may have asked for OFFLINE ones. */
static void set_going_offline(struct run *run, const struct pleat_take_config *config, bool going)
{
    for (uint64_t pfn = config->start_pfn; pfn < config->start_pfn + config->frames;
         pfn += run->plain.block_frames) {
        struct plain_block *block = plain_block_of(&run->plain, pfn);
        if (going)
            block->held = block->state == PLEAT_BLOCK_OFFLINE;
        block->state = going         ? PLEAT_BLOCK_GOING_OFFLINE
                       : block->held ? PLEAT_BLOCK_OFFLINE
                                     : PLEAT_BLOCK_ONLINE;
        block->held &= going;
    }
}

/** The take has come off: the frames are what its goal says. */
static void follow_taken(struct run *run, const struct test_take *take)
{
    const struct pleat_take_config *config = &take->config;
    uint64_t end = config->start_pfn + config->frames;
    for (uint64_t pfn = config->start_pfn; pfn < end; pfn++) {
        uint8_t kind = run->plain.kind[pfn];
        if (kind == PLAIN_MEMMAP || kind == PLAIN_MEMMAP_NORMAL || kind == PLAIN_ABSENT ||
            kind == PLAIN_WITHHELD || kind == PLAIN_OFFLINE) {
            if (goes_offline(config) && kind == PLAIN_WITHHELD)
                plain_set(&run->plain, pfn, 1, PLAIN_OFFLINE);
            continue;
        }
        must(run, kind == PLAIN_FREE, "a range was taken in which PFN 0x%llx is in use", X(pfn));
        plain_set(&run->plain, pfn, 1,
                  config->goal == PLEAT_TAKE_TO_ALLOCATED      ? PLAIN_TAKEN
                  : config->goal == PLEAT_TAKE_TO_FAKE_OFFLINE ? PLAIN_WITHHELD
                                                               : PLAIN_OFFLINE);
        if (config->goal == PLEAT_TAKE_TO_ALLOCATED)
            run_write_stamps(run, pfn, 1, pfn);
    }
    if (goes_offline(config)) {
        for (uint64_t pfn = config->start_pfn; pfn < end; pfn += run->plain.block_frames) {
            plain_block_of(&run->plain, pfn)->state = PLEAT_BLOCK_OFFLINE;
            run_unmap_block(run, pfn);
        }
        if (config->goal == PLEAT_TAKE_TO_REMOVED)
            run_follow_removed(run, config->start_pfn / run->plain.block_frames,
                               config->frames / run->plain.block_frames);
    } else if (config->goal == PLEAT_TAKE_TO_FAKE_OFFLINE && config->owner) {
        /* Unplugged: a touch is caught from now on. */
        for (uint64_t pfn = config->start_pfn; pfn < end; pfn++) {
            if (run->plain.kind[pfn] == PLAIN_WITHHELD && pleat_hosted_is_mapped(run->hosted, pfn))
                run_unmap(run, pfn, 1);
        }
    }
}

/** A running take has ended, one way or the other. */
static void take_over(struct run *run, struct test_take *take)
{
    take->active = false;
    plain_isolate(&run->plain, take->config.start_pfn, take->config.frames, -1);
    if (goes_offline(&take->config))
        set_going_offline(run, &take->config, false);
}

void run_take_cancel(struct run *run, struct test_take *take)
{
    run_note(run, "cancel of 0x%llx", X(take->config.start_pfn));
    run_ask_take_cancel(run, take);
    take_over(run, take);
}

/** Whether the answer to a step that failed is true. */
static void check_step_failed(struct run *run, const struct test_take *take, int result)
{
    const struct pleat_take_config *config = &take->config;
    bool nowhere = false;
    switch (result) {
    case PLEAT_E_UNMOVABLE:
        /* Who was in the way at the last pass may be gone by now. */
        must(run, take->refusals, "UNMOVABLE, though nobody refused");
        break;
    case PLEAT_E_TIMEOUT:
        must(run, config->deadline_ns && run->now_ns >= config->deadline_ns, "TIMEOUT before the deadline");
        break;
    case PLEAT_E_NO_MEMORY:
        for (uint64_t pfn = config->start_pfn; pfn < config->start_pfn + config->frames && !nowhere; pfn++) {
            if (run->plain.kind[pfn] != PLAIN_ALLOCATED)
                continue;
            unsigned order = run->plain.allocation[run->plain.owner[pfn]].order;
            nowhere = !run_movable_fits(run, order, plain_block_of(&run->plain, pfn));
        }
        must(run, nowhere, "NO_MEMORY, though there is somewhere to move to");
        break;
    default:
        run_broken(run, "a step was answered with %d", result);
    }
}

/** Blocks that go offline and whose owner wants to know. */
static uint64_t owners_to_tell(struct run *run, const struct pleat_take_config *config)
{
    uint64_t count = 0;
    for (uint64_t pfn = config->start_pfn; pfn < config->start_pfn + config->frames;
         pfn += run->plain.block_frames) {
        const struct plain_block *block = plain_block_of(&run->plain, pfn);
        const struct test_range *range = run_range_of(run, block);
        count += !block->held && (range->own_ops || range->by_driver);
    }
    return count;
}

/** One step. Returns its answer. */
static int step_take(struct run *run, struct test_take *take, uint64_t budget)
{
    uint64_t moved;
    struct pleat_look look;
    run->stepping = take;
    run->offline_calls = 0;
    int result = run_ask_take_step(run, take, budget);
    run->stepping = NULL;
    run_note(run, "step of 0x%llx, budget %llu -> %d", X(take->config.start_pfn), X(budget), result);
    run_ask_take_report(run, take, &moved, &look);
    must(run, moved == take->moved, "%llu frames moved, the report says %llu", X(take->moved), X(moved));
    if (result == PLEAT_MORE) {
        must(run, ++take->steps < 20 * take->config.frames + 1000 || take->config.deadline_ns,
             "a take doesn't come to an end");
        return result;
    }
    /* A callback of reclaim may free frames after the step has failed; it frees more, never less. */
    if (!result) {
        uint64_t own = goes_offline(&take->config) ? owners_to_tell(run, &take->config) : 0;
        must(run, run->offline_calls == own,
             "%llu owners were told that a block is offline, in place of %llu", X(run->offline_calls),
             X(own));
        take_over(run, take);
        follow_taken(run, take);
    } else {
        check_step_failed(run, take, result);
        take_over(run, take);
    }
    return result;
}

void run_take_begin(struct run *run)
{
    struct test_take *take = &run->takes[run_draw(run, TAKES)];
    if (take->active)
        return;
    draw_take(run, &take->config);
    take->steps = take->moved = take->refusals = 0;
    run->refuse_now = run_chance(run, 5);
    run->refused_block = UINT64_MAX;
    const struct pleat_take_config *config = &take->config;
    int result = run_ask_take_begin(run, take);
    run->refuse_now = false;
    run_note(run, "take%s 0x%llx, %llu frames, goal %d, deadline %llu -> %d",
             take->by_driver ? " by a driver" : "", X(config->start_pfn), X(config->frames),
             (int)config->goal, X(config->deadline_ns), result);
    unsigned errors = take_errors(run, take);
    if ((!errors || errors & MAY_SUCCEED) && run->refused_block != UINT64_MAX)
        errors = (errors & ~MAY_SUCCEED) | 1u << -PLEAT_E_REFUSED;
    if (result) {
        must(run, result < 0 && errors >> -result & 1,
             "a take was answered with %d, and not with one of 0x%x", result, errors);
        if (result == PLEAT_E_UNMOVABLE) {
            struct pleat_look look, wanted;
            uint64_t moved;
            run_ask_take_report(run, take, &moved, &look);
            look_for_take(run, config, &wanted);
            if (take->by_driver)
                must(run,
                     run->blind || (look.unmovable == wanted.unmovable &&
                                    look.first_obstacle_pfn == wanted.first_obstacle_pfn),
                     "the driver is told of other obstacles");
            /* Without owners' words, what reclaim has just freed can't be told from what is in use. */
            else if (!run->blind)
                run_check_look(run, &look, &wanted, "report");
        }
        return;
    }
    must(run, !errors || errors & MAY_SUCCEED, "a take began in spite of 0x%x", errors);
    take->active = true;
    plain_isolate(&run->plain, config->start_pfn, config->frames, 1);
    if (goes_offline(config))
        set_going_offline(run, config, true);
    if (run_chance(run, 50)) {
        while (step_take(run, take, 1 + run_draw(run, 2000)) == PLEAT_MORE)
            run->now_ns += run_draw(run, 2);
    }
}

void run_take_step(struct run *run)
{
    struct test_take *take = &run->takes[run_draw(run, TAKES)];
    if (!take->active) {
        must(run, pleat_take_step(&run->pleat, &take->take, 1) == PLEAT_E_STATE || !take->take.opaque[0],
             "a take that has ended goes on");
        pleat_take_cancel(&run->pleat, &take->take);
    } else if (run_chance(run, 15)) {
        run_take_cancel(run, take);
    } else {
        step_take(run, take, run_draw(run, run_chance(run, 70) ? 64 : 2000));
    }
}

void run_alloc_range(struct run *run)
{
    struct test_take take = {.active = true};
    draw_take(run, &take.config);
    take.config.goal = PLEAT_TAKE_TO_ALLOCATED;
    take.config.owner = NULL;
    take.config.deadline_ns = 0;
    uint64_t fits = run->plain.block_frames - take.config.start_pfn % run->plain.block_frames;
    if (take.config.frames > fits)
        take.config.frames = fits;
    if (take.config.start_pfn >= run->plain.frames)
        return;
    /* Its isolation lasts for the call; the owners' operations ask the model for it. */
    unsigned before = take_errors(run, &take);
    run->stepping = &take;
    if (take.config.frames)
        plain_isolate(&run->plain, take.config.start_pfn, take.config.frames, 1);
    run_note(run, "alloc_range 0x%llx, %llu frames", X(take.config.start_pfn), X(take.config.frames));
    int result = pleat_alloc_range(&run->pleat, take.config.start_pfn, take.config.frames, take.config.tag);
    run->stepping = NULL;
    run_note(run, "... alloc_range -> %d", result);
    if (take.config.frames) {
        if (result < 0 && (!before || before & MAY_SUCCEED) && !(before >> -result & 1))
            check_step_failed(run, &take, result);
        plain_isolate(&run->plain, take.config.start_pfn, take.config.frames, -1);
    }
    unsigned errors = take_errors(run, &take);
    if (!result) {
        must(run, !errors || errors & MAY_SUCCEED, "alloc_range came off in spite of 0x%x", errors);
        follow_taken(run, &take);
    } else {
        must(run, !before || errors >> -result & 1 || before >> -result & 1,
             "alloc_range was answered with %d, and not with one of 0x%x", result, before);
    }
}

void run_free_range(struct run *run)
{
    uint64_t pfn = run_draw(run, run->plain.frames);
    for (unsigned i = 0; i < 300 && run->plain.kind[pfn] != PLAIN_TAKEN; i++)
        pfn = run_draw(run, run->plain.frames);
    if (run->plain.kind[pfn] != PLAIN_TAKEN)
        return;
    uint64_t frames = 0, most = 1 + run_draw(run, 600);
    while (pfn + frames < run->plain.frames && frames < most &&
           run->plain.kind[pfn + frames] == PLAIN_TAKEN) {
        run_check_stamps(run, pfn + frames, 1, pfn + frames);
        frames++;
    }
    run_note(run, "free_range 0x%llx, %llu frames", X(pfn), X(frames));
    if (!run->blind && run_chance(run, 10) && pfn + frames < run->plain.frames &&
        run->plain.kind[pfn + frames] != PLAIN_TAKEN && run->plain.kind[pfn + frames] != PLAIN_ALLOCATED) {
        /* One too many: it is refused, and nothing has changed. */
        must(run, pleat_free_range(&run->pleat, pfn, frames + 1) == PLEAT_E_MISUSE,
             "free_range of one frame too many");
        must(run, pleat_hosted_fatals(run->hosted) > run->fatals, "the port hasn't heard of it");
        run->fatals = pleat_hosted_fatals(run->hosted);
        return;
    }
    int error = pleat_free_range(&run->pleat, pfn, frames);
    must(run, !error, "free_range was answered with %d", error);
    plain_set(&run->plain, pfn, frames, PLAIN_FREE);
}

/** Frees what is unmovable in a block, so that it can go. */
void run_clear_block(struct run *run)
{
    uint64_t block = run_draw_block(run, PLEAT_BLOCK_ONLINE);
    for (unsigned i = 0; i < 10 && !run->plain.block[block].removable; i++)
        block = run_draw_block(run, PLEAT_BLOCK_ONLINE);
    uint64_t start = block * run->plain.block_frames, end = start + run->plain.block_frames;
    run_note(run, "clear 0x%llx", X(start));
    for (uint64_t pfn = start; pfn < end; pfn++) {
        const struct plain_allocation *head = plain_head(&run->plain, pfn);
        if (head && head->mobility != PLEAT_MOVABLE) {
            run_free_live(run, run->plain.owner[pfn]);
        } else if (run->plain.kind[pfn] == PLAIN_TAKEN) {
            run_check_stamps(run, pfn, 1, pfn);
            must(run, !pleat_free(&run->pleat, pfn, 0), "free of a frame that was taken");
            plain_set(&run->plain, pfn, 1, PLAIN_FREE);
        }
    }
}
