/* SPDX-License-Identifier: MIT
 *
 * pleat-core.elf: the core by itself on a bare machine, whatever its architecture, with no device: as TAP on
 * the console.
 *
 *     plugged=MIB     the first so many MiB of the first area have memory behind them, in whole memory
 * blocks: they are mapped, added, filled, emptied and removed again. 0: that is skipped.
 */
#include <stddef.h>

#include "ports/bare/platform.h"
#include "ports/bare/print.h"

#include "held.h"

#define FRAME_SHIFT 12u
#define MIB_FRAMES  256u
#define ROUNDS      4u

static struct pleat core;
static struct held held;
static struct pleat_port port;
static unsigned fatal_count;

static unsigned count, failed;

static void ok(bool passes, const char *name)
{
    /* After each step all that the core counts has to agree with what it finds when it counts again. */
    bool valid = pleat_is_valid(&core);
    print("%sok %u - %s\n", passes && valid ? "" : "not ", ++count, name);
    if (!valid)
        print("# the core isn't valid\n");
    failed += !passes || !valid;
}

static unsigned argument(const char *name)
{
    for (const char *at = platform.command_line; *at;) {
        unsigned i = 0, number = 0;
        while (name[i] && at[i] == name[i])
            i++;
        if (!name[i] && at[i] == '=') {
            for (at += i + 1; *at >= '0' && *at <= '9'; at++)
                number = number * 10 + (unsigned)(*at - '0');
            return number;
        }
        while (*at && *at != ' ')
            at++;
        while (*at == ' ')
            at++;
    }
    return 0;
}

static void hear_fatal(void *context, const char *line)
{
    (void)context;
    fatal_count++;
    print("# fatal, as wanted: %s\n", line);
}

static uint64_t free_frames(void)
{
    pleat_drain(&core);
    return pleat_free_frames(&core);
}

/* --- Boot memory -----------------------------------------------------------------------------------------
 */

static void boot_map_becomes_memory(void)
{
    uint64_t frames = 0;
    for (unsigned i = 0; i < platform.span_count; i++) {
        if (platform.spans[i].use == PLEAT_BOOT_FREE)
            frames += platform.spans[i].frames;
    }
    uint64_t free = free_frames();
    print("# %lu of %lu free frames of the boot map are free\n", free, frames);
    /* Metadata takes less than a hundredth. */
    ok(free <= frames && free > frames - frames / 100, "free boot memory is in the allocator");
}

static void every_order_holds_what_is_written(unsigned mobility, unsigned most, const char *name)
{
    uint64_t before = free_frames();
    bool good = true;
    /* The largest only once: each takes a whole memory block. */
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned order = 0; order <= (round ? PLEAT_PAGEBLOCK_ORDER : most); order++)
            good = held_allocate(&held, order, mobility) && good;
    }
    for (unsigned i = 0; i < held.slots; i++)
        good = held.blocks[i].pfn % (UINT64_C(1) << held.blocks[i].order) == 0 && good;
    good = held_is_whole(&held) && good;
    good = held_free(&held, 2) && held_is_whole(&held) && good;
    good = held_free(&held, 1) && good;
    ok(good && free_frames() == before, name);
}

static void memory_runs_out_and_comes_back(void)
{
    uint64_t before = free_frames(), first = 0, got = 0;
    int64_t pfn;
    /* A chain through the frames themselves: no list could be long enough. */
    while ((pfn = pleat_alloc(&core, 0, PLEAT_UNMOVABLE | PLEAT_ALLOC_RESERVE, PLEAT_NO_TAG)) > 0) {
        *(uint64_t *)port.frame_pointer(port.context, (uint64_t)pfn) = first;
        first = (uint64_t)pfn;
        got++;
    }
    print("# %lu of %lu frames\n", got, before);
    ok(pfn == PLEAT_E_NO_MEMORY && got == before, "every free frame can be had, one by one");
    while (first) {
        uint64_t next = *(uint64_t *)port.frame_pointer(port.context, first);
        got -= pleat_free(&core, first, 0) == PLEAT_OK;
        first = next;
    }
    ok(!got && free_frames() == before, "and comes back");
}

static void a_wrong_free_is_refused(void)
{
    int64_t pfn = pleat_alloc(&core, 3, PLEAT_UNMOVABLE, PLEAT_NO_TAG);
    unsigned before = fatal_count;
    bool good = pfn > 0 && pleat_free(&core, (uint64_t)pfn, 2) == PLEAT_E_MISUSE;
    good = good && pleat_free(&core, (uint64_t)pfn, 3) == PLEAT_OK;
    good = good && pleat_free(&core, (uint64_t)pfn, 3) == PLEAT_E_MISUSE;
    ok(good && fatal_count == before + 2, "a free of the wrong order and a second free are refused");
}

static void movable_frames_make_way(void)
{
    uint64_t before = free_frames();
    for (unsigned i = 0; i < 4096; i++)
        held_allocate(&held, 0, PLEAT_MOVABLE);
    held_free(&held, 2);
    uint64_t start = held.blocks[1].pfn & ~(uint64_t)(PLEAT_PAGEBLOCK_FRAMES - 1);
    unsigned inside = held_inside(&held, start, PLEAT_PAGEBLOCK_FRAMES);
    uint64_t moved = held.moved;
    int error = pleat_alloc_range(&core, start, PLEAT_PAGEBLOCK_FRAMES, PLEAT_NO_TAG);
    print("# %lu of %u movable frames moved out of a pageblock: %s\n", held.moved - moved, inside,
          pleat_error_text(error));
    ok(!error && inside && held.moved - moved == inside && held_is_whole(&held) &&
           !held_inside(&held, start, PLEAT_PAGEBLOCK_FRAMES),
       "a pageblock with movable frames is emptied, and their content is what it was");
    bool good = pleat_free_range(&core, start, PLEAT_PAGEBLOCK_FRAMES) == PLEAT_OK;
    good = held_free(&held, 1) && good;
    ok(good && free_frames() == before, "no frame is lost by it");
}

/* --- Memory that comes and goes --------------------------------------------------------------------------
 */

static const char owner;

/* Steps until it ends, in small pieces. */
static int take(uint64_t start_pfn, uint64_t frames, enum pleat_take_goal goal)
{
    static struct pleat_take job;
    const struct pleat_take_config config = {
        .start_pfn = start_pfn, .frames = frames, .goal = goal, .owner = &owner};
    int result = pleat_take_begin(&core, &job, &config);
    if (result)
        return result;
    while ((result = pleat_take_step(&core, &job, 512)) == PLEAT_MORE)
        ;
    return result;
}

static bool touches(uint64_t pfn)
{
    return platform_touch(port.frame_pointer(port.context, pfn), true);
}

static struct pleat_range_config range_of(uint64_t start_pfn, uint64_t frames, enum pleat_memmap_mode mode)
{
    return (struct pleat_range_config){.name = "plugged",
                                       .owner = &owner,
                                       .start_pfn = start_pfn,
                                       .frames = frames,
                                       .node = platform.areas[0].node,
                                       .memmap_mode = mode,
                                       .flags = PLEAT_ADD_FORCE_ONLINE,
                                       .force_zone = PLEAT_ZONE_MOVABLE};
}

/* Adds the range, fills it with movable frames, evacuates it into boot memory and removes it. */
static bool comes_and_goes(uint64_t start_pfn, uint64_t frames, enum pleat_memmap_mode mode, bool in_one_step)
{
    const struct pleat_range_config range = range_of(start_pfn, frames, mode);
    uint64_t before = free_frames();
    bool good = !port.map || !port.map(port.context, start_pfn, frames);
    good = good && touches(start_pfn) && touches(start_pfn + frames - 1);
    good = good && pleat_add(&core, &range) == PLEAT_OK;
    if (!good)
        return false;
    uint64_t added = free_frames() - before;
    good = added <= frames && added > frames - frames / 100;
    for (unsigned i = 0; i < HELD_MAX / 2; i++)
        good = held_allocate(&held, i % 97 ? 0 : 4, PLEAT_MOVABLE) && good;
    uint64_t moved = held.moved;
    unsigned inside = held_inside(&held, start_pfn, frames);
    good = pleat_is_valid(&core) && inside && good;
    if (in_one_step)
        good = take(start_pfn, frames, PLEAT_TAKE_TO_REMOVED) == PLEAT_OK && good;
    else
        good = take(start_pfn, frames, PLEAT_TAKE_TO_OFFLINE) == PLEAT_OK &&
               pleat_remove(&core, &owner, start_pfn, frames) == PLEAT_OK && good;
    good = held.moved - moved == inside && !held_inside(&held, start_pfn, frames) && good;
    if (port.unmap) {
        port.unmap(port.context, start_pfn, frames);
        good = !touches(start_pfn) && !touches(start_pfn + frames - 1) && good;
    }
    /* Read after the unmap: nothing of it may be left there. */
    good = held_is_whole(&held) && good;
    good = held_free(&held, 1) && good;
    if (free_frames() != before)
        print("# %lu free frames, %lu before\n", free_frames(), before);
    return good && free_frames() == before;
}

static void an_unmovable_frame_stands_in_the_way(uint64_t start_pfn, uint64_t frames)
{
    struct pleat_range_config range = range_of(start_pfn, frames, PLEAT_MEMMAP_BLOCK);
    range.force_zone = PLEAT_ZONE_NORMAL;
    bool good = !port.map || !port.map(port.context, start_pfn, frames);
    good = good && pleat_add(&core, &range) == PLEAT_OK;
    /* Boot memory is taken first: the frame that is wanted comes when that is nearly gone. */
    uint64_t first = 0, next;
    int64_t pfn = 0;
    while (good && (pfn = pleat_alloc(&core, 9, PLEAT_UNMOVABLE, PLEAT_NO_TAG)) > 0) {
        *(uint64_t *)port.frame_pointer(port.context, (uint64_t)pfn) = first;
        first = (uint64_t)pfn;
        if (first >= start_pfn && first < start_pfn + frames)
            break;
    }
    uint64_t inside = pfn > 0 ? (uint64_t)pfn : 0;
    good = good && inside && take(start_pfn, frames, PLEAT_TAKE_TO_REMOVED) == PLEAT_E_UNMOVABLE;
    ok(good, "a range with an unmovable frame in it stays");
    for (; first; first = next) {
        next = *(uint64_t *)port.frame_pointer(port.context, first);
        good = pleat_free(&core, first, 9) == PLEAT_OK && good;
    }
    good = take(start_pfn, frames, PLEAT_TAKE_TO_REMOVED) == PLEAT_OK && good;
    if (port.unmap)
        port.unmap(port.context, start_pfn, frames);
    ok(good, "and goes when that is free");
}

static void area_comes_and_goes(void)
{
    static const struct {
        enum pleat_memmap_mode mode;
        const char *name;
    } modes[] = {{PLEAT_MEMMAP_BLOCK, "memory comes and goes with each block's metadata in it"},
                 {PLEAT_MEMMAP_RANGE, "memory comes and goes with all its metadata at its start"},
                 {PLEAT_MEMMAP_NORMAL, "memory comes and goes with its metadata in boot memory"}};
    uint64_t block = pleat_block_frames(&core);
    uint64_t frames = argument("plugged") * (uint64_t)MIB_FRAMES / block * block;

    if (!frames || !platform.area_count || platform.areas[0].bytes >> FRAME_SHIFT < frames) {
        print("ok %u - memory comes and goes # SKIP no area with memory behind it\n", ++count);
        return;
    }
    uint64_t start = ((platform.areas[0].start >> FRAME_SHIFT) + block - 1) / block * block;
    ok(!port.map || (!touches(start) && !touches(start + frames - 1)), "what isn't plugged can't be reached");
    for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        bool good = true;
        for (unsigned round = 0; round < ROUNDS && good; round++)
            good = comes_and_goes(start, frames, modes[i].mode, round % 2);
        ok(good, modes[i].name);
    }
    an_unmovable_frame_stands_in_the_way(start, frames);
}

int image_main(void)
{
    static const char *const names[] = {"unmovable blocks of order 0 to 15 hold what is written to them",
                                        "reclaimable blocks of order 0 to 9 hold what is written to them",
                                        "movable blocks of order 0 to 9 hold what is written to them"};
    port = platform.port;
    port.fatal = hear_fatal;
    const struct pleat_config config = {.port = &port,
                                        .cpus = platform.cpus,
                                        .nodes = platform.nodes,
                                        .highest_pfn = platform.highest_pfn,
                                        .cpu_node = platform.cpu_node};
    print("# %s, %u CPUs\n", platform.architecture, platform.cpus);
    int error = pleat_init(&core, &config, platform.spans, platform.span_count);
    if (!error)
        error = held_begin(&held, &core);
    if (error) {
        print("Bail out! The core doesn't start: %s\n", pleat_error_text(error));
        return 1;
    }
    boot_map_becomes_memory();
    every_order_holds_what_is_written(PLEAT_UNMOVABLE, PLEAT_MAX_ORDER, names[0]);
    every_order_holds_what_is_written(PLEAT_RECLAIMABLE, PLEAT_PAGEBLOCK_ORDER, names[1]);
    every_order_holds_what_is_written(PLEAT_MOVABLE, PLEAT_PAGEBLOCK_ORDER, names[2]);
    a_wrong_free_is_refused();
    movable_frames_make_way();
    memory_runs_out_and_comes_back();
    area_comes_and_goes();
    print("1..%u\n", count);
    return failed != 0;
}
