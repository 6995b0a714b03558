/* SPDX-License-Identifier: MIT
 *
 * The core held against the plain model.
 */
#include "random_machine.h"

#include <string.h>

static int see_obstacle(void *context, uint64_t pfn, unsigned order, unsigned owner)
{
    struct run *run = context;
    (void)owner;
    (void)order;
    must(run, pfn < run->plain.frames, "an obstacle at 0x%llx", X(pfn));
    switch ((enum plain_kind)run->plain.kind[pfn]) {
    case PLAIN_ALLOCATED:
        must(run, run->blind || run->plain.allocation[run->plain.owner[pfn]].mobility != PLEAT_MOVABLE,
             "movable PFN 0x%llx is called an obstacle", X(pfn));
        break;
    case PLAIN_TAKEN:
    case PLAIN_TABLES:
    case PLAIN_RESERVED:
    case PLAIN_BOOT_IN_USE:
        break;
    default:
        must(run, run->blind, "PFN 0x%llx, kind %d, is called an obstacle", X(pfn), run->plain.kind[pfn]);
    }
    return 0;
}

void run_look(struct run *run)
{
    uint64_t pfn = run_draw(run, run->plain.frames),
             frames = 1 + run_draw(run, run_chance(run, 50) ? 40 : 3000);
    bool online = true;
    if (frames > run->plain.frames - pfn)
        frames = run->plain.frames - pfn;
    for (uint64_t i = pfn / run->plain.block_frames; i <= (pfn + frames - 1) / run->plain.block_frames; i++)
        online &= plain_is_online(&run->plain.block[i]);
    struct pleat_look look, wanted;
    /* What is in a CPU's cache can't be told from what is in use without owners' words. */
    if (run->blind)
        pleat_drain(&run->pleat);
    run_note(run, "look 0x%llx, %llu frames", X(pfn), X(frames));
    int error = pleat_look(&run->pleat, pfn, frames, &look);
    must(run, error == (online ? 0 : PLEAT_E_NOT_FOUND), "look was answered with %d", error);
    if (!online)
        return;
    plain_look(&run->plain, pfn, frames, &wanted);
    run_check_look(run, &look, &wanted, "look");
    must(run, !pleat_obstacles(&run->pleat, pfn, frames, see_obstacle, run), "obstacles");
}

void run_tags(struct run *run)
{
    for (unsigned i = 0; i < 20; i++) {
        uint64_t pfn = run_draw(run, run->plain.frames);
        if (run_is_unpopulated(run, pfn))
            continue;
        if (run_chance(run, 50) && run->plain.live_count)
            pfn = run->plain.allocation[run->plain.live[run_draw(run, run->plain.live_count)]].pfn;
        pleat_tag tag;
        unsigned order;
        int error = pleat_frame_tag(&run->pleat, pfn, &tag, &order);
        const struct plain_allocation *head = plain_head(&run->plain, pfn);
        if (run->blind) {
            must(run, error == PLEAT_E_UNSUPPORTED, "frame_tag was answered with %d", error);
        } else if (head) {
            must(run, !error && tag == head->tag && order == head->order, "PFN 0x%llx has another tag",
                 X(pfn));
        } else if (run->plain.kind[pfn] == PLAIN_TAKEN) {
            must(run, !error && order == 0, "PFN 0x%llx, which was taken, has no tag", X(pfn));
        } else {
            must(run, error == PLEAT_E_NOT_FOUND, "PFN 0x%llx, kind %d, has a tag: %d", X(pfn),
                 run->plain.kind[pfn], error);
        }
    }
}

static void check_blocks(struct run *run)
{
    /* Without owners' words, nothing tells what single frames are that aren't free. */
    for (uint64_t i = 0; i < run->plain.blocks; i++) {
        const struct plain_block *block = &run->plain.block[i];
        uint64_t start = i * run->plain.block_frames, frames = run->plain.block_frames;
        struct pleat_block_info info;
        int error = pleat_block_info(&run->pleat, start + run_draw(run, frames), &info);
        if (block->state == PLEAT_BLOCK_NONE) {
            must(run, error == PLEAT_E_NOT_FOUND, "a block that wasn't added is there: 0x%llx", X(start));
            continue;
        }
        must(run, !error && info.start_pfn == start && info.frames == frames, "block_info of 0x%llx",
             X(start));
        must(run, info.state == block->state, "block 0x%llx is in state %d, should be %d", X(start),
             (int)info.state, (int)block->state);
        must(run, info.node == block->node && info.removable == block->removable, "node, removable");
        must(run,
             info.memmap_frames == plain_count(&run->plain, start, frames, PLAIN_MEMMAP) ||
                 info.memmap_frames == plain_count(&run->plain, start, frames, PLAIN_MEMMAP) +
                                           plain_count(&run->plain, start, frames, PLAIN_MEMMAP_NORMAL),
             "block 0x%llx has %llu memmap frames", X(start), X(info.memmap_frames));
        must(run, run->blind || info.absent_frames == plain_count(&run->plain, start, frames, PLAIN_ABSENT),
             "block 0x%llx has %llu absent frames", X(start), X(info.absent_frames));
        if (!plain_is_online(block))
            continue;
        must(run, info.zone == block->zone, "block 0x%llx is in zone %d, should be in %d", X(start),
             (int)info.zone, (int)block->zone);
        must(run, info.free_frames == plain_count(&run->plain, start, frames, PLAIN_FREE),
             "block 0x%llx has %llu free frames, should have %llu", X(start), X(info.free_frames),
             X(plain_count(&run->plain, start, frames, PLAIN_FREE)));
        must(run, info.fake_offline_frames == plain_count(&run->plain, start, frames, PLAIN_WITHHELD),
             "block 0x%llx has %llu fake-offline frames, should have %llu", X(start),
             X(info.fake_offline_frames), X(plain_count(&run->plain, start, frames, PLAIN_WITHHELD)));
        unsigned free_pageblocks = 0;
        for (uint64_t pfn = start; pfn < start + frames; pfn += PAGEBLOCK)
            free_pageblocks += plain_all(&run->plain, pfn, PAGEBLOCK, PLAIN_FREE);
        must(run, info.free_pageblocks == free_pageblocks,
             "block 0x%llx has %u free pageblocks, should have %u", X(start), info.free_pageblocks,
             free_pageblocks);
    }
}

static void check_zones(struct run *run)
{
    for (unsigned node = 0; node < run->config.nodes; node++) {
        for (unsigned kind = 0; kind < PLEAT_ZONE_KINDS; kind++) {
            struct pleat_zone_info info, wanted = {.node = node, .kind = (enum pleat_zone_kind)kind};
            for (uint64_t i = 0; i < run->plain.blocks; i++) {
                const struct plain_block *block = &run->plain.block[i];
                uint64_t start = i * run->plain.block_frames, frames = run->plain.block_frames;
                if (!plain_is_online(block) || block->node != node || block->zone != kind)
                    continue;
                wanted.blocks++;
                wanted.online_frames += run_usable_frames(run, i);
                wanted.free_frames += plain_count(&run->plain, start, frames, PLAIN_FREE);
                wanted.fake_offline_frames += plain_count(&run->plain, start, frames, PLAIN_WITHHELD);
                wanted.absent_frames += plain_count(&run->plain, start, frames, PLAIN_ABSENT);
                for (uint64_t pfn = start; pfn < start + frames; pfn += PAGEBLOCK)
                    wanted.free_pageblocks += plain_all(&run->plain, pfn, PAGEBLOCK, PLAIN_FREE);
            }
            must(run, !pleat_zone_info(&run->pleat, node, (enum pleat_zone_kind)kind, &info), "zone_info");
            must(run,
                 info.node == node && info.kind == kind && info.blocks == wanted.blocks &&
                     info.free_frames == wanted.free_frames &&
                     info.fake_offline_frames == wanted.fake_offline_frames &&
                     (run->blind || (info.absent_frames == wanted.absent_frames &&
                                     info.online_frames == wanted.online_frames)) &&
                     info.free_pageblocks == wanted.free_pageblocks,
                 "zone %u of node %u: blocks %llu online %llu free %llu fake %llu absent %llu pageblocks "
                 "%llu, "
                 "should be %llu %llu %llu %llu %llu %llu",
                 kind, node, X(info.blocks), X(info.online_frames), X(info.free_frames),
                 X(info.fake_offline_frames), X(info.absent_frames), X(info.free_pageblocks),
                 X(wanted.blocks), X(wanted.online_frames), X(wanted.free_frames),
                 X(wanted.fake_offline_frames), X(wanted.absent_frames), X(wanted.free_pageblocks));
        }
    }
    struct pleat_zone_info info;
    must(run, pleat_zone_info(&run->pleat, run->config.nodes, PLEAT_ZONE_NORMAL, &info) == PLEAT_E_NOT_FOUND,
         "a zone of a node that isn't there");
}

static void check_ranges(struct run *run)
{
    uint64_t online[RANGES] = {0}, fake[RANGES] = {0}, populated[RANGES] = {0};
    bool seen[RANGES] = {false};
    struct pleat_range_info info;
    uint64_t pfn = 0;
    int error;
    while (!(error = pleat_range_info(&run->pleat, pfn, &info))) {
        must(run, info.start_pfn + info.frames > pfn && info.frames, "range_info goes back");
        pfn = info.start_pfn + info.frames;
        if (!info.removable)
            continue;
        const struct test_range *range = run_range_by_owner(run, info.owner);
        must(run, range, "a range of nobody's");
        long number = range - run->ranges;
        must(run,
             !strcmp(info.name, range->name) && info.node == range->config.node &&
                 info.memmap_mode == range->config.memmap_mode && info.flags == range->config.flags &&
                 (!(info.flags & PLEAT_ADD_FORCE_ONLINE) || info.force_zone == range->config.force_zone) &&
                 info.own_online_ops == (range->own_ops || range->by_driver),
             "range_info of \"%s\"", info.name);
        seen[number] = true;
        online[number] += info.online_frames;
        fake[number] += info.fake_offline_frames;
        populated[number] += info.populated_frames;
    }
    must(run, error == PLEAT_E_NOT_FOUND, "range_info was answered with %d", error);
    for (int number = 0; number < RANGES; number++) {
        uint64_t its_online = 0, its_fake = 0;
        must(run, seen[number] == run->ranges[number].used, "range %d is missing, or there too much", number);
        for (uint64_t i = 0; i < run->plain.blocks; i++) {
            const struct plain_block *block = &run->plain.block[i];
            uint64_t start = i * run->plain.block_frames;
            if (block->range != number)
                continue;
            its_online += block->state == PLEAT_BLOCK_ONLINE ? run->plain.block_frames : 0;
            its_fake += plain_count(&run->plain, start, run->plain.block_frames, PLAIN_WITHHELD);
        }
        /* Whether a block that is GOING_OFFLINE counts isn't said. */
        bool going = false;
        for (unsigned i = 0; i < TAKES; i++)
            going |= run->takes[i].active;
        must(run,
             going || (online[number] == its_online && fake[number] == its_fake &&
                       populated[number] == its_online - its_fake),
             "range %d has %llu frames online, %llu fake-offline, should have %llu and %llu", number,
             X(online[number]), X(fake[number]), X(its_online), X(its_fake));
    }
}

void run_check_all(struct run *run)
{
    run_note(run, "check");
    must(run, pleat_is_valid(&run->pleat), "is_valid");
    must(run, pleat_free_frames(&run->pleat) == run->plain.count[PLAIN_FREE],
         "%llu frames are free, should be %llu", X(pleat_free_frames(&run->pleat)),
         X(run->plain.count[PLAIN_FREE]));
    must(run, pleat_hosted_fatals(run->hosted) == run->fatals, "%s", pleat_hosted_last_fatal(run->hosted));
    /* Pageblocks are free as a whole, and single frames told apart, when no CPU has some of them. */
    pleat_drain(&run->pleat);
    must(run, pleat_free_frames(&run->pleat) == run->plain.count[PLAIN_FREE], "the drain lost frames");
    check_blocks(run);
    check_zones(run);
    check_ranges(run);
    run_check_driver(run);
    run_check_unpopulated(run);
    uint64_t online = 0;
    if (run->blind)
        online -= run->boot_blocks * pleat_memmap_frames(&run->pleat); /* the model takes them for tables */
    for (uint64_t i = 0; i < run->plain.blocks; i++) {
        if (plain_is_online(&run->plain.block[i]))
            online += run_usable_frames(run, i);
    }
    must(run, pleat_online_frames(&run->pleat) == online, "%llu frames are online, should be %llu",
         X(pleat_online_frames(&run->pleat)), X(online));
}

void run_check_content(struct run *run)
{
    for (uint32_t i = 0; i < run->plain.live_count; i++) {
        const struct plain_allocation *allocation = &run->plain.allocation[run->plain.live[i]];
        run_check_stamps(run, allocation->pfn, UINT64_C(1) << allocation->order, allocation->id);
    }
    for (uint64_t pfn = 0; pfn < run->plain.frames; pfn++) {
        if (run->plain.kind[pfn] == PLAIN_TAKEN)
            run_check_stamps(run, pfn, 1, pfn);
    }
}
