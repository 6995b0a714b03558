/* SPDX-License-Identifier: MIT
 *
 * The boot map, by walking from one boundary to the next: between two neighbouring boundaries of all entries
 * every frame is the same, so each stretch is asked for once, with no sorting and no storage.
 */
#include "boot_map.h"

/* Frames [start, end); empty if start >= end. */
struct frames {
    uint64_t start, end;
};

static bool wraps(uint64_t start, uint64_t bytes)
{
    return bytes && start + bytes - 1 < start;
}

/* Frames that lie in the bytes as a whole, or that they touch. What wraps is nothing. */
static struct frames inside(const struct boot_map *map, uint64_t start, uint64_t bytes)
{
    uint64_t mask = ((uint64_t)1 << map->frame_shift) - 1;
    if (!bytes || wraps(start, bytes))
        return (struct frames){0, 0};
    uint64_t last = start + (bytes - 1);
    uint64_t first_frame = (start >> map->frame_shift) + ((start & mask) != 0);
    uint64_t end_frame = (last >> map->frame_shift) + ((last & mask) == mask);
    return (struct frames){first_frame, end_frame};
}

static struct frames touched(const struct boot_map *map, uint64_t start, uint64_t bytes)
{
    if (!bytes || wraps(start, bytes))
        return (struct frames){0, 0};
    return (struct frames){start >> map->frame_shift, ((start + (bytes - 1)) >> map->frame_shift) + 1};
}

static struct frames memory_frames(const struct boot_map *map, const struct boot_memory *memory)
{
    return memory->type == BOOT_MEMORY_RAM ? inside(map, memory->start, memory->bytes)
                                           : touched(map, memory->start, memory->bytes);
}

/* What the frames from a PFN up to `end` are, all alike. */
struct stretch {
    uint64_t end;
    bool memory;  /* there at boot */
    bool touched; /* by an entry that isn't RAM, or taken */
    bool affine;  /* an entry of affinity covers it */
    uint8_t node;
    bool pluggable;
};

/* Whether `pfn` is in the range; the stretch ends where that changes. */
static bool covers(struct frames range, uint64_t pfn, struct stretch *stretch)
{
    if (range.start >= range.end)
        return false;
    if (pfn < range.start) {
        if (range.start < stretch->end)
            stretch->end = range.start;
        return false;
    }
    if (pfn >= range.end)
        return false;
    if (range.end < stretch->end)
        stretch->end = range.end;
    return true;
}

static struct stretch look(const struct boot_map *map, uint64_t pfn)
{
    struct stretch stretch = {.end = map->limit_pfn};
    for (unsigned i = 0; i < map->memory_count; i++) {
        uint32_t type = map->memory[i].type;
        if (!covers(memory_frames(map, &map->memory[i]), pfn, &stretch))
            continue;
        if (type == BOOT_MEMORY_RAM || type == BOOT_MEMORY_ACPI || type == BOOT_MEMORY_NVS)
            stretch.memory = true;
        if (type != BOOT_MEMORY_RAM)
            stretch.touched = true;
    }
    for (unsigned i = 0; i < map->taken_count; i++) {
        if (covers(touched(map, map->taken[i].start, map->taken[i].bytes), pfn, &stretch))
            stretch.touched = true;
    }
    for (unsigned i = 0; i < map->affinity_count; i++) {
        const struct boot_affinity *affinity = &map->affinity[i];
        if (covers(inside(map, affinity->start, affinity->bytes), pfn, &stretch) && !stretch.affine) {
            stretch.affine = true;
            stretch.node = affinity->node;
            stretch.pluggable = affinity->pluggable;
        }
    }
    return stretch;
}

static void report_range(struct firmware_report *report, const char *what, uint64_t start, uint64_t bytes,
                         const char *why)
{
    struct firmware_line line = firmware_line("memory map: ");
    firmware_line_text(&line, what);
    firmware_line_hex(&line, bytes);
    firmware_line_text(&line, " bytes at ");
    firmware_line_hex(&line, start);
    firmware_line_text(&line, why);
    firmware_report(report, &line);
}

static bool above_limit(const struct boot_map *map, const struct boot_memory *memory)
{
    return memory->type == BOOT_MEMORY_RAM && memory_frames(map, memory).end > map->limit_pfn;
}

static void report_entries(const struct boot_map *map, struct firmware_report *report)
{
    for (unsigned i = 0; i < map->memory_count; i++) {
        const struct boot_memory *memory = &map->memory[i];
        if (wraps(memory->start, memory->bytes))
            report_range(report, "left out: ", memory->start, memory->bytes,
                         ", past the end of all addresses");
        else if (above_limit(map, memory))
            report_range(report, "out of reach, in part or all: ", memory->start, memory->bytes, "");
    }
}

/* Makes room for one more by leaving out the smallest: what is absent is as unused as what is reserved. */
static void drop_smallest(const struct boot_map *map, struct firmware_report *report,
                          struct pleat_boot_span *spans, unsigned count)
{
    unsigned victim = 0;
    for (unsigned i = 1; i < count; i++) {
        bool reserved = spans[i].use == PLEAT_BOOT_RESERVED;
        bool victim_reserved = spans[victim].use == PLEAT_BOOT_RESERVED;
        if (reserved != victim_reserved ? reserved : spans[i].frames < spans[victim].frames)
            victim = i;
    }
    if (spans[victim].use == PLEAT_BOOT_FREE)
        report_range(report, "too many pieces, left out: ", spans[victim].start_pfn << map->frame_shift,
                     spans[victim].frames << map->frame_shift, "");
    for (unsigned i = victim; i + 1 < count; i++)
        spans[i] = spans[i + 1];
}

unsigned boot_map_spans(const struct boot_map *map, const struct firmware *firmware,
                        struct pleat_boot_span *spans, unsigned most)
{
    struct firmware_report report = {.firmware = firmware};
    unsigned count = 0;
    bool strangers = false;
    report_entries(map, &report);
    struct stretch stretch;
    for (uint64_t pfn = 0; pfn < map->limit_pfn && most; pfn = stretch.end) {
        stretch = look(map, pfn);
        if (!stretch.memory)
            continue;
        struct pleat_boot_span span = {.start_pfn = pfn,
                                       .frames = stretch.end - pfn,
                                       .node = stretch.node,
                                       .use = stretch.touched ? PLEAT_BOOT_RESERVED : PLEAT_BOOT_FREE};
        if (map->affinity_count && !stretch.affine && span.use == PLEAT_BOOT_FREE && !strangers) {
            strangers = true;
            report_range(&report, "of no node, so of node 0: ", pfn << map->frame_shift,
                         span.frames << map->frame_shift, "");
        }
        struct pleat_boot_span *last = count ? &spans[count - 1] : NULL;
        if (last && last->start_pfn + last->frames == pfn && last->node == span.node &&
            last->use == span.use) {
            last->frames += span.frames;
            continue;
        }
        if (count == most)
            drop_smallest(map, &report, spans, count--);
        spans[count++] = span;
    }
    return count;
}

unsigned boot_map_areas(const struct boot_map *map, const struct firmware *firmware,
                        struct platform_area *areas, unsigned most)
{
    struct firmware_report report = {.firmware = firmware};
    unsigned count = 0;
    struct stretch stretch;
    for (uint64_t pfn = 0; pfn < map->limit_pfn; pfn = stretch.end) {
        stretch = look(map, pfn);
        if (!stretch.pluggable || stretch.memory || stretch.touched)
            continue;
        uint64_t start = pfn << map->frame_shift, bytes = (stretch.end - pfn) << map->frame_shift;
        struct platform_area *last = count ? &areas[count - 1] : NULL;
        if (last && last->start + last->bytes == start && last->node == stretch.node) {
            last->bytes += bytes;
        } else if (count == most) {
            report_range(&report, "too many areas, memory can't be plugged into ", start, bytes, "");
        } else {
            areas[count++] = (struct platform_area){.start = start, .bytes = bytes, .node = stretch.node};
        }
    }
    return count;
}

uint64_t boot_map_highest_pfn(const struct pleat_boot_span *spans, unsigned span_count,
                              const struct platform_area *areas, unsigned area_count, unsigned frame_shift)
{
    uint64_t highest = 0;
    for (unsigned i = 0; i < span_count; i++) {
        uint64_t end = spans[i].start_pfn + spans[i].frames;
        highest = end > highest ? end : highest;
    }
    for (unsigned i = 0; i < area_count; i++) {
        uint64_t end = (areas[i].start + areas[i].bytes) >> frame_shift;
        highest = end > highest ? end : highest;
    }
    return highest;
}
