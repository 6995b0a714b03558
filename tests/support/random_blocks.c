/* SPDX-License-Identifier: MIT
 *
 * Random operations on ranges and memory blocks, and what listeners do.
 */
#include "random_machine.h"

#include <stdio.h>

/* --- Listeners ------------------------------------------------------------------------------------------ */

static int hear(void *context, enum pleat_event event, uint64_t start_pfn, uint64_t frames, unsigned node,
                enum pleat_zone_kind zone)
{
    struct test_listener *listener = context;
    struct run *run = listener->run;
    must(run, listener->registered, "an event for a listener that isn't there");
    must(run, frames == run->plain.block_frames && start_pfn % frames == 0 && start_pfn < run->plain.frames,
         "event %d for a block that isn't one: PFN 0x%llx, %llu frames", (int)event, X(start_pfn), X(frames));
    const struct plain_block *block = plain_block_of(&run->plain, start_pfn);
    if (block->state != PLEAT_BLOCK_NONE)
        must(run, block->node == node, "event %d for another node", (int)event);
    must(run, (unsigned)zone < PLEAT_ZONE_KINDS, "event %d for no zone", (int)event);

    if (event == run->last_event && start_pfn == run->last_event_pfn)
        must(run, listener->listener.priority <= run->last_priority, "a lower priority heard first");
    run->last_event = event;
    run->last_event_pfn = start_pfn;
    run->last_priority = listener->listener.priority;

    enum heard *heard = &listener->heard[start_pfn / frames];
    bool going = event == PLEAT_GOING_ONLINE || event == PLEAT_GOING_OFFLINE;
    enum heard wanted = going                                                   ? QUIET
                        : event == PLEAT_ONLINE || event == PLEAT_CANCEL_ONLINE ? ASKED_ONLINE
                                                                                : ASKED_OFFLINE;
    must(run, *heard == wanted, "event %d for PFN 0x%llx, of which it heard %d", (int)event, X(start_pfn),
         (int)*heard);
    if (!going) {
        *heard = QUIET;
        /* An error means nothing here. */
        return run_chance(run, 50) ? 0 : PLEAT_E_BUSY;
    }
    if (run->refuse_now || run_chance(run, listener->refuse_percent)) {
        run_note(run, "listener %d refuses event %d of 0x%llx", listener->listener.priority, (int)event,
                 X(start_pfn));
        run->refused_block = start_pfn / frames;
        return PLEAT_E_BUSY;
    }
    *heard = event == PLEAT_GOING_ONLINE ? ASKED_ONLINE : ASKED_OFFLINE;
    return 0;
}

void run_listeners(struct run *run)
{
    struct test_listener *listener = &run->listeners[run_draw(run, LISTENERS)];
    int wanted = listener->registered ? PLEAT_OK : PLEAT_E_NOT_FOUND;
    if (listener->registered || run_chance(run, 20)) {
        run_note(run, "listener_remove");
        must(run, pleat_listener_remove(&run->pleat, &listener->listener) == wanted, "listener_remove");
        listener->registered = false;
        return;
    }
    listener->listener =
        (struct pleat_listener){.event = hear, .context = listener, .priority = (int)run_draw(run, 5) - 2};
    listener->refuse_percent = run_chance(run, 50) ? 0 : (unsigned)run_draw(run, 30);
    listener->registered = true;
    /* It comes too late for what is under way, and will hear of the end. */
    for (uint64_t i = 0; i < run->plain.blocks; i++) {
        const struct plain_block *block = &run->plain.block[i];
        listener->heard[i] =
            block->state == PLEAT_BLOCK_GOING_OFFLINE && !block->held ? ASKED_OFFLINE : QUIET;
    }
    run_note(run, "listener_add priority %d, refuses %u %%", listener->listener.priority,
             listener->refuse_percent);
    pleat_listener_add(&run->pleat, &listener->listener);
}

static bool anybody_listens(const struct run *run)
{
    for (unsigned i = 0; i < LISTENERS; i++) {
        if (run->listeners[i].registered)
            return true;
    }
    return false;
}

/* --- Ranges and blocks ---------------------------------------------------------------------------------- */

struct test_range *run_range_of(struct run *run, const struct plain_block *block)
{
    return block->range < 0 ? NULL : &run->ranges[block->range];
}

struct test_range *run_range_by_owner(struct run *run, const void *owner)
{
    for (unsigned i = 0; i < RANGES; i++) {
        if (run->ranges[i].used && run->ranges[i].config.owner == owner)
            return &run->ranges[i];
    }
    return NULL;
}

const void *run_owner_of(struct run *run, const struct plain_block *block)
{
    const struct test_range *range = run_range_of(run, block);
    return range ? range->config.owner : NULL;
}

/** Frames at the start of a range's block that hold memmaps, as the mode says. */
static uint64_t prefix_frames(struct run *run, const struct pleat_range_config *config, uint64_t block)
{
    uint64_t each = pleat_memmap_frames(&run->pleat);
    if (config->memmap_mode == PLEAT_MEMMAP_BLOCK)
        return each;
    if (config->memmap_mode == PLEAT_MEMMAP_NORMAL)
        return 0;
    uint64_t total = config->frames / run->plain.block_frames * each,
             before = block * run->plain.block_frames;
    uint64_t left = total > before ? total - before : 0;
    return left < run->plain.block_frames ? left : run->plain.block_frames;
}

/** How an owner hands frames over, directly or as a driver. */
struct giving {
    struct run *run;
    void (*give)(void *context, uint64_t pfn, uint64_t frames);
    void *context;
};

static void give_piece(const struct giving *giving, uint64_t pfn, uint64_t frames)
{
    struct plain *plain = &giving->run->plain;
    run_map(giving->run, pfn, frames);
    giving->give(giving->context, pfn, frames);
    for (uint64_t i = pfn; i < pfn + frames; i++) {
        if (plain->kind[i] == PLAIN_WITHHELD)
            plain_set(plain, i, 1, PLAIN_FREE);
    }
}

void run_range_online(struct test_range *range, uint64_t start_pfn, uint64_t frames,
                      void (*give)(void *context, uint64_t pfn, uint64_t frames), void *context)
{
    struct run *run = range->run;
    struct giving giving = {run, give, context};
    must(run,
         range->used && range->own_ops && frames == run->plain.block_frames && start_pfn % frames == 0 &&
             start_pfn >= range->config.start_pfn &&
             start_pfn < range->config.start_pfn + range->config.frames,
         "online of PFN 0x%llx, %llu frames", X(start_pfn), X(frames));
    for (uint64_t pfn = start_pfn; pfn < start_pfn + frames; pfn++) {
        must(run, run->plain.kind[pfn] == PLAIN_OFFLINE || run->plain.kind[pfn] == PLAIN_MEMMAP,
             "online of PFN 0x%llx, which isn't offline but %d", X(pfn), run->plain.kind[pfn]);
        if (run->plain.kind[pfn] == PLAIN_OFFLINE)
            plain_set(&run->plain, pfn, 1, PLAIN_WITHHELD);
    }
    if (run_chance(run, 10)) {
        give_piece(&giving, start_pfn, frames);
        return;
    }
    for (uint64_t pfn = start_pfn; pfn < start_pfn + frames; pfn += PAGEBLOCK) {
        if (!run_chance(run, range->give_percent))
            continue;
        /* Without owners' words, only whole pageblocks can be told apart. */
        if (!run->blind && run_chance(run, 15)) {
            uint64_t from = run_draw(run, PAGEBLOCK), length = 1 + run_draw(run, PAGEBLOCK - from);
            give_piece(&giving, pfn + from, length);
        } else {
            give_piece(&giving, pfn, PAGEBLOCK);
        }
    }
}

void run_range_offline(struct test_range *range, uint64_t start_pfn, uint64_t frames)
{
    struct run *run = range->run;
    run->offline_calls++;
    must(run,
         range->used && frames == run->plain.block_frames && start_pfn % frames == 0 &&
             plain_block_of(&run->plain, start_pfn)->state == PLEAT_BLOCK_GOING_OFFLINE,
         "offline of PFN 0x%llx", X(start_pfn));
}

static void give_directly(void *context, uint64_t pfn, uint64_t frames)
{
    pleat_online_give(context, pfn, frames);
}

static void online_frames(struct pleat *pleat, void *context, uint64_t start_pfn, uint64_t frames,
                          struct pleat_online *online)
{
    struct test_range *range = context;
    must(range->run, pleat == &range->run->pleat, "online_frames of another machine");
    run_range_online(range, start_pfn, frames, give_directly, online);
}

static void offline_frames(struct pleat *pleat, void *context, uint64_t start_pfn, uint64_t frames)
{
    struct test_range *range = context;
    must(range->run, pleat == &range->run->pleat, "offline_frames of another machine");
    run_range_offline(range, start_pfn, frames);
}

static const struct pleat_range_ops range_ops = {online_frames, offline_frames};

enum pleat_zone_kind run_zone_by_address(const struct run *run, uint64_t start_pfn)
{
    uint64_t end = start_pfn + run->plain.block_frames;
    return end <= run->config.dma_end_pfn     ? PLEAT_ZONE_DMA
           : end <= run->config.dma32_end_pfn ? PLEAT_ZONE_DMA32
                                              : PLEAT_ZONE_NORMAL;
}

static void map_whole_block(struct run *run, uint64_t start_pfn)
{
    const struct test_range *range = run_range_of(run, plain_block_of(&run->plain, start_pfn));
    if (!range->own_ops)
        run_map(run, start_pfn, run->plain.block_frames);
}

/** A block that was OFFLINE is online by the core: the model follows. */
static void follow_online(struct run *run, uint64_t start_pfn, enum pleat_zone_kind zone)
{
    struct plain_block *block = plain_block_of(&run->plain, start_pfn);
    block->state = PLEAT_BLOCK_ONLINE;
    block->zone = zone;
    if (run_range_of(run, block)->own_ops)
        return;
    for (uint64_t pfn = start_pfn; pfn < start_pfn + run->plain.block_frames; pfn++) {
        if (run->plain.kind[pfn] == PLAIN_OFFLINE)
            plain_set(&run->plain, pfn, 1, PLAIN_FREE);
    }
}

uint64_t run_usable_frames(const struct run *run, uint64_t block)
{
    uint64_t frames = 0;
    for (uint64_t pfn = block * run->plain.block_frames; pfn < (block + 1) * run->plain.block_frames; pfn++) {
        switch ((enum plain_kind)run->plain.kind[pfn]) {
        case PLAIN_MEMMAP:
        case PLAIN_MEMMAP_NORMAL:
        case PLAIN_ABSENT:
        case PLAIN_WITHHELD:
        case PLAIN_OFFLINE:
        case PLAIN_NOWHERE:
            break;
        default:
            frames++;
        }
    }
    return frames;
}

/** Whether the zone that a block was put into follows from the policy, give or take a block. */
static bool zone_follows_policy(const struct run *run, uint64_t start_pfn, unsigned node,
                                enum pleat_zone_kind zone)
{
    enum pleat_zone_kind by_address = run_zone_by_address(run, start_pfn);
    uint64_t in_zone[PLEAT_ZONE_KINDS] = {0}, slack = run->plain.block_frames;
    bool one_node = run->policy == PLEAT_POLICY_PREFER_MOVABLE;
    enum pleat_zone_kind wished = PLEAT_ZONE_MOVABLE;
    uint64_t ratio_percent = run->policy_ratio;

    switch (run->policy) {
    case PLEAT_POLICY_ONLINE:
    case PLEAT_POLICY_ONLINE_KERNEL:
        return zone == by_address;
    case PLEAT_POLICY_OFFLINE:
        return false;
    case PLEAT_POLICY_ONLINE_MOVABLE:
        return zone == PLEAT_ZONE_MOVABLE;
    case PLEAT_POLICY_PREFER_MOVABLE:
        wished = PLEAT_ZONE_PREFER_MOVABLE;
        ratio_percent *= 100;
        break;
    case PLEAT_POLICY_AUTO_MOVABLE:
        break;
    }
    for (uint64_t i = 0; i < run->plain.blocks; i++) {
        const struct plain_block *block = &run->plain.block[i];
        if (plain_is_online(block) && (!one_node || block->node == node))
            in_zone[block->zone] += run_usable_frames(run, i);
    }
    uint64_t movable = in_zone[wished], rest = 0;
    for (unsigned kind = 0; kind < PLEAT_ZONE_KINDS; kind++) {
        if (kind != PLEAT_ZONE_MOVABLE && kind != (unsigned)wished)
            rest += in_zone[kind];
    }
    if (run->policy == PLEAT_POLICY_AUTO_MOVABLE)
        rest = in_zone[PLEAT_ZONE_DMA] + in_zone[PLEAT_ZONE_DMA32] + in_zone[PLEAT_ZONE_NORMAL] +
               in_zone[PLEAT_ZONE_PREFER_MOVABLE];
    if (zone == wished)
        return movable * 100 <= rest * ratio_percent + slack * 100;
    return zone == by_address && (movable + 2 * slack) * 100 > rest * ratio_percent;
}

/** Follows the blocks of a range that was just added. */
static void follow_add(struct run *run, struct test_range *range)
{
    uint64_t end = range->config.start_pfn + range->config.frames;
    for (uint64_t pfn = range->config.start_pfn; pfn < end; pfn += run->plain.block_frames) {
        struct pleat_block_info info;
        must(run, !pleat_block_info(&run->pleat, pfn, &info), "an added block isn't there");
        bool forced = range->config.flags & PLEAT_ADD_FORCE_ONLINE;
        if (info.state == PLEAT_BLOCK_OFFLINE) {
            must(run, (!forced && run->policy == PLEAT_POLICY_OFFLINE) || anybody_listens(run),
                 "an added block stayed OFFLINE, and nobody asked for that");
            continue;
        }
        must(run, info.state == PLEAT_BLOCK_ONLINE, "an added block is in state %d", (int)info.state);
        if (forced)
            must(run, info.zone == range->config.force_zone, "another zone than was forced");
        else
            must(run, zone_follows_policy(run, pfn, range->config.node, info.zone),
                 "zone %d doesn't follow from policy %d, ratio %u", (int)info.zone, (int)run->policy,
                 run->policy_ratio);
        follow_online(run, pfn, info.zone);
    }
}

void run_learn_memmaps(struct run *run)
{
    uint64_t wanted = run->sections * pleat_memmap_frames(&run->pleat);
    if (run->blind)
        pleat_drain(&run->pleat);
    for (uint64_t i = 0; i < run->plain.blocks; i++) {
        const struct plain_block *block = &run->plain.block[i];
        const struct test_range *range = run_range_of(run, block);
        if (range && range->config.memmap_mode == PLEAT_MEMMAP_NORMAL)
            wanted += pleat_memmap_frames(&run->pleat);
    }
    for (uint64_t pfn = 0; pfn < run->plain.frames; pfn++) {
        const struct plain_block *block = plain_block_of(&run->plain, pfn);
        uint8_t kind = run->plain.kind[pfn];
        struct pleat_look look, expected;
        if (block->state == PLEAT_BLOCK_NONE || block->removable) {
            pfn += run->plain.block_frames - 1;
            continue;
        }
        if (pfn % PAGEBLOCK == 0) {
            plain_look(&run->plain, pfn, PAGEBLOCK, &expected);
            must(run, !pleat_look(&run->pleat, pfn, PAGEBLOCK, &look), "boot memory can't be looked at");
            if (expected.free == look.free &&
                !plain_count(&run->plain, pfn, PAGEBLOCK, PLAIN_MEMMAP_NORMAL)) {
                pfn += PAGEBLOCK - 1;
                continue;
            }
        }
        if (kind != PLAIN_FREE && kind != PLAIN_MEMMAP_NORMAL)
            continue;
        must(run, !pleat_look(&run->pleat, pfn, 1, &look), "boot memory can't be looked at");
        bool memmap = run->blind ? look.unmovable : look.memmap;
        must(run, memmap + look.free == 1, "PFN 0x%llx was free or a memmap, and now it isn't", X(pfn));
        must(run, kind != PLAIN_FREE || !memmap || !plain_is_isolated(&run->plain, pfn, 1),
             "a memmap was put into isolated PFN 0x%llx", X(pfn));
        if ((kind == PLAIN_MEMMAP_NORMAL) != memmap)
            plain_set(&run->plain, pfn, 1, memmap ? PLAIN_MEMMAP_NORMAL : PLAIN_FREE);
    }
    must(run, run->plain.count[PLAIN_MEMMAP_NORMAL] == wanted, "%llu frames hold memmaps in place of %llu",
         X(run->plain.count[PLAIN_MEMMAP_NORMAL]), X(wanted));
}

static struct test_range *spare_range(struct run *run)
{
    for (unsigned i = 0; i < RANGES; i++) {
        if (!run->ranges[i].used)
            return &run->ranges[i];
    }
    return NULL;
}

/** Blocks that a memmap of this node can lie in. */
static bool normal_memmap_allowed(const void *context, const struct plain_block *block)
{
    const unsigned *node = context;
    return !block->removable && block->node == *node;
}

uint64_t run_draw_block(struct run *run, enum pleat_block_state state)
{
    uint64_t block = run_draw(run, run->plain.blocks);
    for (unsigned i = 0; i < 30 && run->plain.block[block].state != state; i++)
        block = run_draw(run, run->plain.blocks);
    return block;
}

/** Spoils a config in one way or another. */
static void spoil(struct run *run, struct pleat_range_config *config)
{
    switch (run_draw(run, 9)) {
    case 0:
        config->start_pfn++;
        break;
    case 1:
        config->frames--;
        break;
    case 2:
        config->frames = 0;
        break;
    case 3:
        config->node = run->config.nodes;
        break;
    case 4:
        config->owner = NULL;
        break;
    case 5:
        config->name = NULL;
        break;
    case 6:
        config->memmap_mode = (enum pleat_memmap_mode)3;
        break;
    case 7:
        config->frames = -run->plain.block_frames;
        break;
    default:
        config->start_pfn = -run->plain.block_frames;
    }
}

static void draw_range(struct run *run, struct test_range *range)
{
    uint64_t block_frames = run->plain.block_frames;
    struct pleat_range_config *config = &range->config;
    range->own_ops = run_chance(run, 50);
    range->by_driver = run_chance(run, 40);
    range->give_percent = (unsigned)run_draw(run, 101);
    snprintf(range->name, sizeof(range->name), "range %u", (unsigned)(range - run->ranges));
    *config = (struct pleat_range_config){
        .name = range->name,
        .owner = range->by_driver ? (const void *)&range->memory_owner : range,
        .context = range,
        .start_pfn = run_draw_block(run, PLEAT_BLOCK_NONE) * block_frames,
        .frames = block_frames,
        .node = (unsigned)run_draw(run, run->config.nodes),
        .memmap_mode = (enum pleat_memmap_mode)run_draw(run, 3),
        .flags = (unsigned)run_draw(run, 4),
        .force_zone = (enum pleat_zone_kind)(PLEAT_ZONE_NORMAL + run_draw(run, 3)),
    };
    for (uint64_t more = run_draw(run, 4); more; more--) {
        uint64_t next = (config->start_pfn + config->frames) / block_frames;
        if (next < run->plain.blocks &&
            (run->plain.block[next].state == PLEAT_BLOCK_NONE || run_chance(run, 5)))
            config->frames += block_frames;
    }
    if (run_chance(run, 10)) {
        range->by_driver = false;
        spoil(run, config);
    }
    /* What may end as another mode is plugged as a whole. */
    if (config->flags & PLEAT_MEMMAP_HINT && config->memmap_mode != PLEAT_MEMMAP_BLOCK)
        range->own_ops = false;
    config->ops = range->own_ops ? &range_ops : NULL;
}

/** What pleat_add() is to answer, room for memmaps aside. */
static int add_error(struct run *run, const struct pleat_range_config *config)
{
    uint64_t block_frames = run->plain.block_frames;
    if (!config->name || !config->owner || !config->frames || config->start_pfn % block_frames ||
        config->frames % block_frames || config->node >= run->config.nodes ||
        config->memmap_mode > PLEAT_MEMMAP_NORMAL || config->start_pfn >= run->plain.frames ||
        config->frames > run->plain.frames - config->start_pfn)
        return PLEAT_E_INVALID;
    for (uint64_t pfn = config->start_pfn; pfn < config->start_pfn + config->frames; pfn += block_frames) {
        if (plain_block_of(&run->plain, pfn)->state != PLEAT_BLOCK_NONE || run_is_unpopulated(run, pfn))
            return PLEAT_E_EXISTS;
    }
    return PLEAT_OK;
}

/** Says to the model that the range is there, OFFLINE, and plugs what has to be plugged for that. */
static void follow_range(struct run *run, struct test_range *range)
{
    uint64_t block_frames = run->plain.block_frames;
    range->used = true;
    for (uint64_t i = 0; i < range->config.frames / block_frames; i++) {
        uint64_t start = range->config.start_pfn + i * block_frames;
        uint64_t prefix = prefix_frames(run, &range->config, i);
        *plain_block_of(&run->plain, start) = (struct plain_block){.state = PLEAT_BLOCK_OFFLINE,
                                                                   .node = range->config.node,
                                                                   .removable = true,
                                                                   .range = (int)(range - run->ranges)};
        plain_set(&run->plain, start, block_frames, PLAIN_OFFLINE);
        plain_set(&run->plain, start, prefix, PLAIN_MEMMAP);
        if (prefix) {
            run_map(run, start, prefix);
            run_fill_garbage(run, start, prefix);
        }
        map_whole_block(run, start);
    }
}

bool run_may_remove(struct run *run, uint64_t block, const void *owner, uint64_t first, uint64_t blocks)
{
    const struct test_range *range = run_range_of(run, &run->plain.block[block]);
    if (!range || range->config.owner != owner)
        return false;
    return range->config.memmap_mode != PLEAT_MEMMAP_RANGE ||
           (range->config.start_pfn >= first * run->plain.block_frames &&
            range->config.start_pfn + range->config.frames <= (first + blocks) * run->plain.block_frames);
}

void run_follow_removed(struct run *run, uint64_t first, uint64_t blocks)
{
    bool normal = false;
    for (uint64_t i = first; i < first + blocks; i++) {
        normal |= run_range_of(run, &run->plain.block[i])->config.memmap_mode == PLEAT_MEMMAP_NORMAL;
        run->plain.block[i] = (struct plain_block){.state = PLEAT_BLOCK_NONE, .range = -1};
    }
    plain_set(&run->plain, first * run->plain.block_frames, blocks * run->plain.block_frames, PLAIN_NOWHERE);
    run_unmap(run, first * run->plain.block_frames, blocks * run->plain.block_frames);
    if (normal)
        run_learn_memmaps(run);
    for (unsigned i = 0; i < RANGES; i++) {
        bool left = false;
        for (uint64_t j = 0; j < run->plain.blocks; j++)
            left |= run->plain.block[j].range == (int)i;
        run->ranges[i].used &= left;
    }
}

/** The only way to fail for a config that is sound: no room for memmaps in memory that stays. */
static void check_no_room(struct run *run, const struct pleat_range_config *config, int error)
{
    unsigned node = config->node, order = 0;
    while (UINT64_C(1) << order < pleat_memmap_frames(&run->pleat))
        order++;
    must(run,
         config->memmap_mode == PLEAT_MEMMAP_NORMAL && !(config->flags & PLEAT_MEMMAP_HINT) &&
             error == PLEAT_E_NO_MEMORY,
         "add was answered with %d", error);
    /* One fitted perhaps, but not all of them. */
    must(run,
         config->frames > run->plain.block_frames ||
             !plain_fits(&run->plain, order, normal_memmap_allowed, &node),
         "no memory for a memmap, though some is free");
}

/** With the hint, the core has chosen the mode. */
static void follow_mode(struct run *run, struct test_range *range)
{
    struct pleat_range_config *config = &range->config;
    struct pleat_range_info info;
    must(run, !pleat_range_info(&run->pleat, config->start_pfn, &info) && info.owner == config->owner,
         "an added range isn't there");
    if (info.memmap_mode == config->memmap_mode)
        return;
    must(run, config->flags & PLEAT_MEMMAP_HINT && config->memmap_mode != PLEAT_MEMMAP_BLOCK,
         "the memmap is in another mode than was asked for");
    config->memmap_mode = info.memmap_mode;
    for (uint64_t i = 0; i < config->frames / run->plain.block_frames; i++) {
        uint64_t start = config->start_pfn + i * run->plain.block_frames;
        plain_set(&run->plain, start, run->plain.block_frames, PLAIN_OFFLINE);
        plain_set(&run->plain, start, prefix_frames(run, config, i), PLAIN_MEMMAP);
    }
}

void run_add(struct run *run)
{
    struct test_range *range = spare_range(run);
    if (!range)
        return;
    struct pleat_range_config *config = &range->config;
    draw_range(run, range);
    int wanted = add_error(run, config);
    /* The model is told before, because callbacks ask it. */
    if (!wanted)
        follow_range(run, range);
    run_note(run, "add 0x%llx, %llu frames, node %u, memmap mode %d, flags %u, zone %d, %s, %s",
             X(config->start_pfn), X(config->frames), config->node, (int)config->memmap_mode, config->flags,
             (int)config->force_zone, range->own_ops ? "own ops" : "no ops",
             range->by_driver ? "by a driver" : "directly");
    int error = run_ask_add(run, range);
    run_note(run, "... add -> %d", error);
    if (wanted) {
        must(run, error == wanted, "add was answered with %d", error);
    } else if (error) {
        check_no_room(run, config, error);
        run_follow_removed(run, config->start_pfn / run->plain.block_frames,
                           config->frames / run->plain.block_frames);
    } else {
        follow_mode(run, range);
        if (config->memmap_mode == PLEAT_MEMMAP_NORMAL)
            run_learn_memmaps(run);
        follow_add(run, range);
    }
}

void run_remove(struct run *run)
{
    uint64_t block_frames = run->plain.block_frames;
    uint64_t first =
        run_chance(run, 80) ? run_draw_block(run, PLEAT_BLOCK_OFFLINE) : run_draw(run, run->plain.blocks);
    uint64_t blocks = 1 + run_draw(run, 3);
    const struct test_range *range = run_range_of(run, &run->plain.block[first]);
    const void *owner = range ? range->config.owner : &run->ranges[0];
    if (range && run_chance(run, 50)) {
        first = range->config.start_pfn / block_frames;
        blocks = range->config.frames / block_frames;
    }
    if (run_chance(run, 10))
        owner = &run->ranges[run_draw(run, RANGES)];
    if (run_chance(run, 5))
        owner = NULL;
    if (first + blocks > run->plain.blocks)
        blocks = run->plain.blocks - first;

    bool missing = false, foreign = false, busy = false;
    for (uint64_t i = first; i < first + blocks; i++) {
        const struct plain_block *block = &run->plain.block[i];
        missing |= block->state == PLEAT_BLOCK_NONE;
        foreign |= block->state != PLEAT_BLOCK_NONE && !run_may_remove(run, i, owner, first, blocks);
        busy |= block->state != PLEAT_BLOCK_NONE && block->state != PLEAT_BLOCK_OFFLINE;
    }
    run_note(run, "remove 0x%llx, %llu blocks", X(first * block_frames), X(blocks));
    int error = run_ask_remove(run, owner, first * block_frames, blocks * block_frames);
    run_note(run, "... remove -> %d", error);
    if (missing || foreign || busy) {
        must(run,
             (missing && error == PLEAT_E_NOT_FOUND) || (foreign && error == PLEAT_E_NOT_OWNER) ||
                 (busy && error == PLEAT_E_STATE),
             "remove of missing %d, foreign %d, busy %d blocks was answered with %d", missing, foreign, busy,
             error);
        return;
    }
    must(run, !error, "remove was answered with %d", error);
    run_follow_removed(run, first, blocks);
}

void run_online(struct run *run)
{
    uint64_t block_frames = run->plain.block_frames;
    uint64_t first =
        run_chance(run, 80) ? run_draw_block(run, PLEAT_BLOCK_OFFLINE) : run_draw(run, run->plain.blocks);
    uint64_t blocks = 1 + run_draw(run, 2);
    enum pleat_zone_kind zone =
        (enum pleat_zone_kind)(run_chance(run, 90) ? PLEAT_ZONE_NORMAL + run_draw(run, 3) : run_draw(run, 2));
    bool missing = false, busy = false, high = false;
    if (first + blocks > run->plain.blocks)
        blocks = 1;
    for (uint64_t i = first; i < first + blocks; i++) {
        const struct plain_block *block = &run->plain.block[i];
        missing |= block->state == PLEAT_BLOCK_NONE;
        busy |= block->state != PLEAT_BLOCK_NONE && block->state != PLEAT_BLOCK_OFFLINE;
        high |= zone < PLEAT_ZONE_NORMAL && run_zone_by_address(run, i * block_frames) > zone;
        if (block->state == PLEAT_BLOCK_OFFLINE)
            map_whole_block(run, i * block_frames);
    }
    run->refuse_now = run_chance(run, 10);
    run->refused_block = UINT64_MAX;
    run_note(run, "online 0x%llx, %llu blocks, zone %d", X(first * block_frames), X(blocks), (int)zone);
    int error = pleat_online(&run->pleat, first * block_frames, blocks * block_frames, zone);
    run_note(run, "... online -> %d", error);
    run->refuse_now = false;
    if (missing || busy || high) {
        must(run,
             (missing && error == PLEAT_E_NOT_FOUND) || (busy && error == PLEAT_E_STATE) ||
                 (high && error == PLEAT_E_INVALID),
             "online of missing %d, busy %d, high %d blocks was answered with %d", missing, busy, high,
             error);
    } else if (run->refused_block != UINT64_MAX) {
        must(run, error == PLEAT_E_REFUSED, "online that was refused was answered with %d", error);
    } else {
        must(run, !error, "online was answered with %d", error);
        for (uint64_t i = first; i < first + blocks; i++)
            follow_online(run, i * block_frames, zone);
        return;
    }
    for (uint64_t i = first; i < first + blocks; i++) {
        if (run->plain.block[i].state == PLEAT_BLOCK_OFFLINE)
            run_unmap_block(run, i * block_frames);
    }
}

void run_policy(struct run *run)
{
    enum pleat_online_policy policy = (enum pleat_online_policy)run_draw(run, 6);
    unsigned ratio = run_chance(run, 50) ? 0 : 1 + (unsigned)run_draw(run, 500);
    if (policy == PLEAT_POLICY_PREFER_MOVABLE)
        ratio %= 8;
    run_note(run, "set_policy %d, ratio %u", (int)policy, ratio);
    must(run, !pleat_set_policy(&run->pleat, policy, ratio), "set_policy");
    must(run, pleat_set_policy(&run->pleat, (enum pleat_online_policy)6, 0) == PLEAT_E_INVALID, "set_policy");
    run->policy = policy;
    run->policy_ratio = ratio ? ratio : policy == PLEAT_POLICY_AUTO_MOVABLE ? 300 : 4;
}

void run_release_boot(struct run *run)
{
    uint64_t pfn = run_draw(run, run->plain.frames);
    for (unsigned i = 0; i < 200 && run->plain.kind[pfn] != PLAIN_BOOT_IN_USE; i++)
        pfn = run_draw(run, run->plain.frames);
    uint64_t frames = 1 + run_draw(run, run_chance(run, 50) ? 8 : 2000);
    if (frames > run->plain.frames - pfn)
        frames = run->plain.frames - pfn;
    bool in_use = plain_all(&run->plain, pfn, frames, PLAIN_BOOT_IN_USE);
    bool isolated = plain_is_isolated(&run->plain, pfn, frames);
    run_note(run, "release_boot 0x%llx, %llu frames", X(pfn), X(frames));
    int error = pleat_release_boot(&run->pleat, pfn, frames);
    run_note(run, "... release_boot -> %d", error);
    if (run->blind) {
        must(run, error == PLEAT_E_UNSUPPORTED, "release_boot was answered with %d", error);
        return;
    }
    must(run, error == (in_use ? 0 : PLEAT_E_NOT_FOUND) || (in_use && isolated && error == PLEAT_E_BUSY),
         "release_boot was answered with %d", error);
    if (!error)
        plain_set(&run->plain, pfn, frames, PLAIN_FREE);
}
