/* SPDX-License-Identifier: MIT
 *
 * Random machines: chance, content, mapping, boot maps.
 */
#include "random_machine.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Saying what happened ------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) void run_note(struct run *run, const char *format, ...)
{
    char *line = run->history[run->noted++ % HISTORY];
    int length = snprintf(line, sizeof(run->history[0]), "%lu: ", run->step);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + length, sizeof(run->history[0]) - (size_t)length, format, arguments);
    va_end(arguments);
    if (run->trace)
        print_message("# %s\n", line);
}

__attribute__((format(printf, 2, 3))) void run_broken(struct run *run, const char *format, ...)
{
    char what[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    for (unsigned long i = run->noted > HISTORY ? run->noted - HISTORY : 0; i < run->noted; i++)
        print_message("# %s\n", run->history[i % HISTORY]);
    print_message("# frames of %u bytes, %u pageblocks a block, owner bytes %u, %u CPUs, %u nodes\n",
                  1u << run->config.frame_shift, run->config.block_pageblocks, run->config.owner_bytes,
                  run->config.cpus, run->config.nodes);
    fail_msg("PLEAT_SEED=%llu, step %lu: %s", (unsigned long long)run->seed, run->step, what);
}

#define must(run, condition, ...)                                                                            \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            run_broken(run, __VA_ARGS__);                                                                    \
    } while (0)

#define X(number) ((unsigned long long)(number))

/* --- Chance --------------------------------------------------------------------------------------------- */

uint64_t run_draw64(struct run *run)
{
    uint64_t z = run->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/** 0 to limit - 1. */
uint64_t run_draw(struct run *run, uint64_t limit)
{
    return run_draw64(run) % limit;
}

bool run_chance(struct run *run, unsigned percent)
{
    return run_draw(run, 100) < percent;
}

/* --- Content -------------------------------------------------------------------------------------------- */

volatile uint64_t *run_content(struct run *run, uint64_t pfn)
{
    return pleat_hosted_pointer(run->hosted, pfn);
}

static uint64_t stamp(uint64_t id, uint64_t index)
{
    return (id << 20 ^ index) * UINT64_C(0x9e3779b97f4a7c15);
}

void run_write_stamps(struct run *run, uint64_t pfn, uint64_t frames, uint64_t id)
{
    uint64_t last = (UINT64_C(1) << run->config.frame_shift) / 8 - 1;
    for (uint64_t i = 0; i < frames; i++) {
        run_content(run, pfn + i)[0] = stamp(id, i);
        run_content(run, pfn + i)[last] = ~stamp(id, i);
    }
}

void run_check_stamps(struct run *run, uint64_t pfn, uint64_t frames, uint64_t id)
{
    uint64_t last = (UINT64_C(1) << run->config.frame_shift) / 8 - 1;
    for (uint64_t i = 0; i < frames; i++) {
        must(run,
             run_content(run, pfn + i)[0] == stamp(id, i) && run_content(run, pfn + i)[last] == ~stamp(id, i),
             "PFN 0x%llx, frame %llu of allocation %llu, has lost its content", X(pfn + i), X(i), X(id));
    }
}

/** Fills whole frames with garbage: what memory holds before it is Pleat's. */
void run_fill_garbage(struct run *run, uint64_t pfn, uint64_t frames)
{
    uint64_t words = (UINT64_C(1) << run->config.frame_shift) / 8;
    uint64_t kind = run_draw(run, 3);
    for (uint64_t i = 0; i < frames; i++) {
        for (uint64_t word = 0; word < words; word++)
            run_content(run, pfn + i)[word] = kind == 0 ? UINT64_MAX : kind == 1 ? run_draw64(run) : 1;
    }
}

/* --- Mapping: only what is plugged can be reached ------------------------------------------------------- */

void run_map(struct run *run, uint64_t pfn, uint64_t frames)
{
    const struct pleat_port *port = pleat_hosted_port(run->hosted);
    must(run, !port->map(port->context, pfn, frames), "the host can't map");
}

void run_unmap(struct run *run, uint64_t pfn, uint64_t frames)
{
    const struct pleat_port *port = pleat_hosted_port(run->hosted);
    port->unmap(port->context, pfn, frames);
}

/** Maps what is withheld: it was plugged. */
void run_map_withheld(struct run *run, uint64_t start_pfn, uint64_t frames)
{
    for (uint64_t pfn = start_pfn; pfn < start_pfn + frames;) {
        uint64_t end = pfn;
        while (end < start_pfn + frames && run->plain.kind[end] == PLAIN_WITHHELD)
            end++;
        if (end > pfn)
            run_map(run, pfn, end - pfn);
        pfn = end + 1;
    }
}

/** Unmaps what in a block isn't memmap: it was unplugged. */
void run_unmap_block(struct run *run, uint64_t start_pfn)
{
    for (uint64_t pfn = start_pfn; pfn < start_pfn + run->plain.block_frames;) {
        uint64_t end = pfn;
        while (end < start_pfn + run->plain.block_frames && run->plain.kind[end] != PLAIN_MEMMAP)
            end++;
        if (end > pfn)
            run_unmap(run, pfn, end - pfn);
        pfn = end + 1;
    }
}

/* --- Machines ------------------------------------------------------------------------------------------- */

#define SPANS 64

static uint64_t own_clock(void *context)
{
    return ((struct run *)context)->now_ns;
}

static void own_log(void *context, enum pleat_log_level level, const char *line)
{
    run_note(context, "log %d: %s", (int)level, line);
}

/** Draws a boot map over the first blocks; returns the number of spans. */
static unsigned draw_boot_map(struct run *run, uint64_t boot_blocks, struct pleat_boot_span *spans)
{
    uint64_t end = boot_blocks * run->plain.block_frames;
    uint64_t last = end - (run_chance(run, 50) ? 0 : run_draw(run, run->plain.block_frames / 2));
    uint64_t pfn = run_chance(run, 50) ? 0 : run_draw(run, 300);
    unsigned count = 0;
    while (pfn < last && count < SPANS - 1) {
        uint64_t left = run->plain.block_frames - pfn % run->plain.block_frames;
        uint64_t frames = 1 + run_draw(run, run_chance(run, 30) ? 200 : left + 200);
        unsigned node = run->plain.block[pfn / run->plain.block_frames].node;
        if (frames > left && run->config.nodes > 1)
            frames = left;
        if (frames > last - pfn)
            frames = last - pfn;
        unsigned use = (unsigned)run_draw(run, 10);
        if (use != 9) {
            spans[count++] = (struct pleat_boot_span){.start_pfn = pfn,
                                                      .frames = frames,
                                                      .node = node,
                                                      .use = use == 8   ? PLEAT_BOOT_RESERVED
                                                             : use == 7 ? PLEAT_BOOT_IN_USE
                                                                        : PLEAT_BOOT_FREE};
        }
        pfn += frames;
    }
    return count;
}

/** Frames of the largest free span: what the tables and memmaps have to fit into at worst. */
static uint64_t largest_free(const struct pleat_boot_span *spans, unsigned count)
{
    uint64_t largest = 0;
    for (unsigned i = 0; i < count; i++) {
        if (spans[i].use == PLEAT_BOOT_FREE && spans[i].frames > largest)
            largest = spans[i].frames;
    }
    return largest;
}

static bool every_block_has_a_span(const struct run *run, uint64_t boot_blocks,
                                   const struct pleat_boot_span *spans, unsigned count)
{
    for (uint64_t block = 0; block < boot_blocks; block++) {
        bool any = false;
        for (unsigned i = 0; i < count; i++)
            any |= spans[i].start_pfn < (block + 1) * run->plain.block_frames &&
                   spans[i].start_pfn + spans[i].frames > block * run->plain.block_frames;
        if (!any)
            return false;
    }
    return true;
}

/** Tells the model what the boot map says, and asks the core where it has put its own things. */
static void learn_boot(struct run *run, uint64_t boot_blocks, const struct pleat_boot_span *spans,
                       unsigned count)
{
    for (uint64_t i = 0; i < boot_blocks; i++) {
        struct plain_block *block = &run->plain.block[i];
        *block = (struct plain_block){.state = PLEAT_BLOCK_ONLINE,
                                      .node = block->node,
                                      .zone = run_zone_by_address(run, i * run->plain.block_frames),
                                      .range = -1};
    }
    plain_set(&run->plain, 0, boot_blocks * run->plain.block_frames, PLAIN_ABSENT);
    for (unsigned i = 0; i < count; i++) {
        plain_set(&run->plain, spans[i].start_pfn, spans[i].frames,
                  spans[i].use == PLEAT_BOOT_FREE       ? PLAIN_FREE
                  : spans[i].use == PLEAT_BOOT_RESERVED ? PLAIN_RESERVED
                                                        : PLAIN_BOOT_IN_USE);
    }
    for (uint64_t pfn = 0; pfn < boot_blocks * run->plain.block_frames; pfn++) {
        struct pleat_look look;
        if (run->plain.kind[pfn] != PLAIN_FREE)
            continue;
        must(run, !pleat_look(&run->pleat, pfn, 1, &look), "boot memory can't be looked at");
        must(run, look.free + look.memmap + look.unmovable == 1, "free boot memory is something else");
        if (look.memmap)
            plain_set(&run->plain, pfn, 1, PLAIN_MEMMAP);
        else if (look.unmovable)
            plain_set(&run->plain, pfn, 1, PLAIN_TABLES);
    }
    uint64_t frame_bytes = UINT64_C(1) << run->config.frame_shift;
    uint64_t own = (run->plain.count[PLAIN_TABLES] + run->plain.count[PLAIN_MEMMAP]) * frame_bytes;
    uint64_t needed = pleat_table_bytes(&run->pleat) + boot_blocks * pleat_memmap_bytes(&run->pleat);
    must(run, own >= needed && own < needed + (boot_blocks + 2) * frame_bytes,
         "the core keeps %llu bytes of boot memory, and needs %llu", X(own), X(needed));
}

static void draw_config(struct run *run)
{
    static const unsigned shifts[] = {12, 12, 14, 16}, bytes[] = {8, 8, 16, 16, 0, PLEAT_NO_OWNER_WORD};
    static const unsigned pageblocks[] = {1, 1, 2, 2, 4, 4, 8, 16, 32, 64};
    struct pleat_config *config = &run->config;
    config->frame_shift = shifts[run_draw(run, 4)];
    config->block_pageblocks = pageblocks[run_draw(run, 10)];
    config->owner_bytes = bytes[run_draw(run, 6)];
    config->cpus = 1 + (unsigned)run_draw(run, 6);
    config->nodes = 1 + (unsigned)run_draw(run, 3);
    for (unsigned i = 0; i < config->cpus; i++)
        run->cpu_node[i] = (uint8_t)run_draw(run, config->nodes);
    config->cpu_node = run->cpu_node;
    for (unsigned i = 0; i < config->nodes * config->nodes; i++)
        run->distance[i] = (uint8_t)(i % (config->nodes + 1) ? 11 + run_draw(run, 30) : 10);
    config->node_distance = run_chance(run, 50) ? run->distance : NULL;
    config->watermark_frames = 1 + run_draw(run, 64);
    run->movable_percent = (unsigned)run_draw(run, 101);
    if (run_chance(run, 50)) {
        config->reclaim = run_reclaim;
        config->reclaim_context = run;
    }
}

void run_boot(struct run *run)
{
    struct pleat_boot_span spans[SPANS];
    unsigned count;
    draw_config(run);
    uint64_t block_frames = (uint64_t)run->config.block_pageblocks * PAGEBLOCK;
    uint64_t boot_blocks =
        run->config.block_pageblocks >= 16 ? 1 : 1 + run_draw(run, 8 / run->config.block_pageblocks + 1);
    if (boot_blocks * block_frames < 3 * PAGEBLOCK)
        boot_blocks = 3 * PAGEBLOCK / block_frames + 1;
    uint64_t blocks = boot_blocks + 2 + run_draw(run, run->config.block_pageblocks >= 32 ? 2 : 10);
    plain_create(&run->plain, blocks * block_frames, block_frames);
    run->config.highest_pfn = blocks * block_frames;
    if (run_chance(run, 40))
        run->config.dma_end_pfn = run_draw(run, (boot_blocks + 1) * block_frames);
    if (run_chance(run, 40))
        run->config.dma32_end_pfn = run->config.dma_end_pfn + run_draw(run, (boot_blocks + 2) * block_frames);

    for (uint64_t i = 0; i < boot_blocks; i++)
        run->plain.block[i].node = (unsigned)run_draw(run, run->config.nodes);
    do
        count = draw_boot_map(run, boot_blocks, spans);
    while (largest_free(spans, count) < 64 + boot_blocks * (2 * run->config.block_pageblocks + 4) ||
           !every_block_has_a_span(run, boot_blocks, spans, count));

    struct pleat_hosted_config hosted = {.frames = run->config.highest_pfn,
                                         .frame_shift = run->config.frame_shift,
                                         .clock_ns = own_clock,
                                         .log = own_log,
                                         .log_levels = 4,
                                         .fatal = PLEAT_HOSTED_FATAL_RECORDS,
                                         .context = run};
    must(run, !pleat_hosted_create(&run->hosted, &hosted), "the host has no room");
    run->config.port = pleat_hosted_port(run->hosted);
    uint64_t filled = 0;
    for (unsigned i = 0; i < count; i++) {
        run_map(run, spans[i].start_pfn, spans[i].frames);
        uint64_t fill = spans[i].frames < 3000 - filled ? spans[i].frames : 3000 - filled;
        if (spans[i].use == PLEAT_BOOT_FREE) {
            run_fill_garbage(run, spans[i].start_pfn, fill);
            filled += fill;
        }
        run_note(run, "span 0x%llx, %llu frames, node %u, use %d", X(spans[i].start_pfn), X(spans[i].frames),
                 spans[i].node, (int)spans[i].use);
    }

    pleat_hosted_cpu_set(0);
    run->blind = run->config.owner_bytes == PLEAT_NO_OWNER_WORD;
    int error = pleat_init(&run->pleat, &run->config, spans, count);
    must(run, !error, "init was answered with %d", error);
    run->boot_blocks = boot_blocks;
    pleat_memory_init(&run->pleat, &run->memory);
    learn_boot(run, boot_blocks, spans, count);
    run->policy = PLEAT_POLICY_ONLINE;
    run->policy_ratio = 4;
    for (unsigned i = 0; i < OWNERS; i++) {
        static const char *const names[OWNERS] = {"mover", "pinner", "stumbler", "stayer"};
        run->owners[i] = (struct test_owner){.run = run, .moves = i < 3};
        run->owners[i].pin_percent = i == 1 ? 30 : i == 0 ? 0 : 2;
        run->owners[i].fail_percent = i == 2 ? 30 : 0;
        run->owners[i].free_percent = i == 0 ? 0 : 5;
        run->owners[i].number =
            pleat_owner_register(&run->pleat, names[i], i < 3 ? &run_owner_ops : NULL, &run->owners[i]);
        must(run, run->owners[i].number >= 8 && run->owners[i].number < 512, "owner_register");
        must(run, !strcmp(pleat_owner_name(&run->pleat, (unsigned)run->owners[i].number), names[i]),
             "owner_name");
    }
    run_name_unpopulated(run);
    for (unsigned i = 0; i < RANGES; i++)
        run->ranges[i].run = run;
    for (unsigned i = 0; i < LISTENERS; i++) {
        run->listeners[i].run = run;
        run->listeners[i].heard = calloc(run->plain.blocks, sizeof(*run->listeners[i].heard));
    }
}

void run_end(struct run *run)
{
    pleat_hosted_cpu_set(PLEAT_HOSTED_NO_CPU);
    pleat_hosted_destroy(run->hosted);
    plain_destroy(&run->plain);
    for (unsigned i = 0; i < LISTENERS; i++)
        free(run->listeners[i].heard);
}
