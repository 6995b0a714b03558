/* SPDX-License-Identifier: MIT
 *
 * The requests of random operations as a driver makes them: in bytes and addresses, through struct
 * pleat_memory_ops, with an owner that is told when its blocks go online and offline.
 */
#include "random_machine.h"

#include <string.h>

static uint64_t bytes_of(const struct run *run, uint64_t frames)
{
    return frames << run->config.frame_shift;
}

/* --- The owner ------------------------------------------------------------------------------------------ */

struct giver {
    struct run *run;
    pleat_memory_give_fn *give;
    void *context;
};

static void give(void *context, uint64_t pfn, uint64_t frames)
{
    const struct giver *giver = context;
    giver->give(giver->context, bytes_of(giver->run, pfn), bytes_of(giver->run, frames));
}

static void go_online(void *context, uint64_t address, uint64_t bytes, pleat_memory_give_fn *give_bytes,
                      void *give_context)
{
    struct test_range *range = context;
    struct giver giver = {range->run, give_bytes, give_context};
    unsigned shift = range->run->config.frame_shift;
    run_range_online(range, address >> shift, bytes >> shift, give, &giver);
}

static void go_offline(void *context, uint64_t address, uint64_t bytes)
{
    struct test_range *range = context;
    unsigned shift = range->run->config.frame_shift;
    run_range_offline(range, address >> shift, bytes >> shift);
}

/* --- Requests ------------------------------------------------------------------------------------------- */

int run_ask_add(struct run *run, struct test_range *range)
{
    const struct pleat_range_config *config = &range->config;
    if (!range->by_driver)
        return pleat_add(&run->pleat, config);
    range->memory_owner = (struct pleat_memory_owner){
        .context = range, .online = range->own_ops ? go_online : NULL, .offline = go_offline};
    struct pleat_memory_range memory_range = {
        .address = bytes_of(run, config->start_pfn),
        .bytes = bytes_of(run, config->frames),
        .node = config->node,
        .name = config->name,
        .owner = config->owner,
        .memmap_mode = config->memmap_mode,
        .flags = config->flags,
        .force_zone = config->force_zone,
    };
    return run->memory.ops->add(run->memory.context, &memory_range);
}

/** Whether a request of this owner's goes the driver's way. */
static bool asks_as_driver(struct run *run, const void *owner)
{
    const struct test_range *range = run_range_by_owner(run, owner);
    return range && range->by_driver && run_chance(run, 70);
}

int run_ask_remove(struct run *run, const void *owner, uint64_t pfn, uint64_t frames)
{
    if (asks_as_driver(run, owner))
        return run->memory.ops->remove(run->memory.context, owner, bytes_of(run, pfn), bytes_of(run, frames));
    return pleat_remove(&run->pleat, owner, pfn, frames);
}

int64_t run_ask_withhold(struct run *run, const void *owner, uint64_t frames)
{
    uint64_t address = 0;
    int error;
    if (!asks_as_driver(run, owner))
        return pleat_withhold(&run->pleat, owner, frames);
    error = run->memory.ops->withhold(run->memory.context, owner, bytes_of(run, frames), &address);
    return error ? error : (int64_t)(address >> run->config.frame_shift);
}

int run_ask_give(struct run *run, const void *owner, uint64_t pfn, uint64_t frames)
{
    if (asks_as_driver(run, owner))
        return run->memory.ops->give(run->memory.context, owner, bytes_of(run, pfn), bytes_of(run, frames));
    return pleat_give(&run->pleat, owner, pfn, frames);
}

int run_ask_take_begin(struct run *run, struct test_take *take)
{
    const struct pleat_take_config *config = &take->config;
    take->by_driver = (config->goal == PLEAT_TAKE_TO_FAKE_OFFLINE || config->goal == PLEAT_TAKE_TO_REMOVED) &&
                      asks_as_driver(run, config->owner);
    if (!take->by_driver)
        return pleat_take_begin(&run->pleat, &take->take, config);
    return run->memory.ops->take_begin(
        run->memory.context, &take->job, config->owner,
        config->goal == PLEAT_TAKE_TO_REMOVED ? PLEAT_TAKE_BLOCKS : PLEAT_TAKE_PIECE,
        bytes_of(run, config->start_pfn), bytes_of(run, config->frames), config->deadline_ns);
}

int run_ask_take_step(struct run *run, struct test_take *take, uint64_t budget)
{
    if (take->by_driver)
        return run->memory.ops->take_step(run->memory.context, &take->job, bytes_of(run, budget));
    return pleat_take_step(&run->pleat, &take->take, budget);
}

void run_ask_take_cancel(struct run *run, struct test_take *take)
{
    if (take->by_driver)
        run->memory.ops->take_cancel(run->memory.context, &take->job);
    else
        pleat_take_cancel(&run->pleat, &take->take);
}

void run_ask_take_report(struct run *run, struct test_take *take, uint64_t *moved, struct pleat_look *look)
{
    if (!take->by_driver) {
        pleat_take_report(&take->take, moved, look);
        return;
    }
    struct pleat_memory_report report;
    memset(&report, 0xff, sizeof(report));
    run->memory.ops->take_report(run->memory.context, &take->job, &report);
    must(run, report.bytes_total == bytes_of(run, take->config.frames), "the report is of %llu bytes",
         X(report.bytes_total));
    must(run, memchr(report.obstacle_owner, 0, sizeof(report.obstacle_owner)), "the owner's name has no end");
    unsigned shift = run->config.frame_shift;
    *moved = report.bytes_moved >> shift;
    *look = (struct pleat_look){.unmovable = report.bytes_unmovable >> shift,
                                .pinned = report.bytes_pinned >> shift,
                                .first_obstacle_pfn = report.obstacle_address >> shift};
    if (!report.bytes_unmovable && !report.bytes_pinned)
        return;
    /* Still there, or the owner has freed it since. */
    uint64_t pfn = look->first_obstacle_pfn;
    must(run, pfn < run->plain.frames, "the obstacle is at PFN 0x%llx", X(pfn));
    if (run->plain.kind[pfn] == PLAIN_ALLOCATED && report.bytes_unmovable && !run->blind) {
        const struct plain_allocation *allocation = &run->plain.allocation[run->plain.owner[pfn]];
        const char *name = pleat_owner_name(&run->pleat, (unsigned)(allocation->tag >> 7 & 511));
        must(run, !strcmp(report.obstacle_owner, name), "the obstacle's owner is \"%s\", should be \"%s\"",
             report.obstacle_owner, name);
    }
}

/* --- What there is -------------------------------------------------------------------------------------- */

void run_check_driver(struct run *run)
{
    const struct pleat_memory *memory = &run->memory;
    must(run, memory->ops->free_bytes(memory->context) == bytes_of(run, run->plain.count[PLAIN_FREE]),
         "the driver is told of other free bytes");
    for (uint64_t i = 0; i < run->plain.blocks; i++) {
        uint64_t address = bytes_of(run, i * run->plain.block_frames);
        enum pleat_block_state state = memory->ops->block_state(memory->context, address);
        must(run, state == run->plain.block[i].state, "block 0x%llx is in state %d for the driver, and %d",
             X(i * run->plain.block_frames), (int)state, (int)run->plain.block[i].state);
        if (state != PLEAT_BLOCK_ONLINE || !run_chance(run, 30))
            continue;
        uint64_t pfn =
            i * run->plain.block_frames + run_draw(run, run->plain.block_frames / PAGEBLOCK) * PAGEBLOCK;
        struct pleat_memory_look look;
        struct pleat_look wanted;
        must(run, !memory->ops->look(memory->context, bytes_of(run, pfn), memory->piece_bytes, &look),
             "the driver can't look");
        plain_look(&run->plain, pfn, PAGEBLOCK, &wanted);
        must(run, look.free_bytes == bytes_of(run, wanted.free), "the driver sees other free bytes");
        must(run,
             run->blind ||
                 (look.movable_bytes == bytes_of(run, wanted.movable) &&
                  look.unmovable_bytes == bytes_of(run, wanted.unmovable) &&
                  look.withheld_bytes == bytes_of(run, wanted.memmap + wanted.fake_offline + wanted.absent)),
             "the driver sees another use of memory");
    }
    must(run, memory->ops->block_state(memory->context, memory->highest_address) == PLEAT_BLOCK_NONE,
         "a block beyond the highest address");
}
