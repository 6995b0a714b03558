/* SPDX-License-Identifier: MIT
 *
 * From the memory map as firmware gives it (in any order, overlapping, aligned to nothing) to the sorted
 * spans of pleat_init(), and to the areas where memory may be plugged.
 *
 * A frame is memory if an entry of type RAM covers all of it, or one of type ACPI or NVS any of it. It is
 * RESERVED if any other entry or any range that the port has taken touches it, or if it is ACPI's; otherwise
 * it is FREE. What is memory to no entry (registers that firmware lists as reserved, for example) is in no
 * span: it costs no metadata, and the core never hands it out.
 */
#ifndef PLEAT_PORTS_BARE_BOOT_MAP_H
#define PLEAT_PORTS_BARE_BOOT_MAP_H

#include "firmware.h"
#include "platform.h"

/* The numbers are those of E820 and of PVH; any other is as good as RESERVED. */
enum boot_memory_type {
    BOOT_MEMORY_RAM = 1,
    BOOT_MEMORY_RESERVED = 2,
    BOOT_MEMORY_ACPI = 3,
    BOOT_MEMORY_NVS = 4,
    BOOT_MEMORY_UNUSABLE = 5,
};

/* An entry of the firmware's map, in bytes. */
struct boot_memory {
    uint64_t start;
    uint64_t bytes;
    uint32_t type;
};

/* A piece of physical memory, in bytes. */
struct boot_range {
    uint64_t start;
    uint64_t bytes;
};

/* Which node memory belongs to; `pluggable`: memory may be plugged there. */
struct boot_affinity {
    uint64_t start;
    uint64_t bytes;
    uint8_t node;
    bool pluggable;
};

/* All of it is the caller's and only read. Entries that are empty don't count; ones that run past the end of
 * the address space are left out, with a line. */
struct boot_map {
    const struct boot_memory *memory;
    unsigned memory_count;
    const struct boot_range *taken; /* the image, the CPUs' trampoline, modules: never FREE */
    unsigned taken_count;
    const struct boot_affinity *affinity; /* the first entry that covers a frame counts; none: node 0 */
    unsigned affinity_count;
    unsigned frame_shift;
    uint64_t limit_pfn; /* frames from here on can't be reached by the port, and are left out */
};

/* Fills in at most `most` spans, sorted by start and apart, ready for pleat_init(); returns how many. If
 * there are more, the smallest are left out, reserved ones before free ones, with a line. Effort: square of
 * the number of entries. */
unsigned boot_map_spans(const struct boot_map *map, const struct firmware *firmware,
                        struct pleat_boot_span *spans, unsigned most);

/* Fills in at most `most` areas, whole frames: what is pluggable in the map's affinity and neither memory at
 * boot nor touched by any entry or taken range. Sorted by start and apart; returns how many. More of them are
 * left out with a line. Effort as boot_map_spans(). */
unsigned boot_map_areas(const struct boot_map *map, const struct firmware *firmware,
                        struct platform_area *areas, unsigned most);

/* The first PFN above all of them, for platform.highest_pfn. */
uint64_t boot_map_highest_pfn(const struct pleat_boot_span *spans, unsigned span_count,
                              const struct platform_area *areas, unsigned area_count, unsigned frame_shift);

#endif
