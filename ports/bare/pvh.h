/* SPDX-License-Identifier: MIT
 *
 * What a PVH boot hands over: start_info, version 0 and 1 (Xen:
 * xen/include/public/arch-x86/hvm/start_info.h). Everything that a port needs of it is copied out, so that
 * its memory may be used once it was read.
 *
 * How a port gets from start_info to `platform`:
 *
 *     static struct pvh_start start;
 *     static struct acpi acpi;
 *     const struct firmware firmware = {.read = copy_from_physical, .log = print};
 *     if (pvh_read(&firmware, ebx, &start)) stop();
 *     acpi_read(&firmware, start.rsdp, &acpi);
 *     platform.command_line = start.command_line;
 *     platform.nodes = acpi.nodes;                        and proximity, cpus, cpu_node: see acpi.h
 *     const struct boot_map map = {start.memory, start.memory_count, taken, taken_count,
 *                                  acpi.affinity, acpi.affinity_count, 12, end_of_direct_map >> 12};
 *     platform.span_count = boot_map_spans(&map, &firmware, platform.spans, PLATFORM_SPANS);
 *     platform.area_count = boot_map_areas(&map, &firmware, platform.areas, PLATFORM_AREAS);
 *     platform.highest_pfn = boot_map_highest_pfn(platform.spans, platform.span_count, platform.areas,
 *                                                 platform.area_count, 12);
 *
 * `taken` names the image, whatever else the port keeps where firmware says RAM (page tables outside the
 * image, the trampoline of the other CPUs), and the modules below that it wants to keep. Frame 0 is RAM to
 * most firmware: a port to which address 0 is no pointer takes it, too.
 *
 * A start_info of version 0 has no memory map (memory_count is 0): ask the hypervisor for it, and put it in
 * memory[] the same way.
 */
#ifndef PLEAT_PORTS_BARE_PVH_H
#define PLEAT_PORTS_BARE_PVH_H

#include "boot_map.h"

#define PVH_MEMORY       128u
#define PVH_MODULES      8u
#define PVH_COMMAND_LINE 2048u

struct pvh_start {
    uint32_t version;
    uint32_t flags;                      /* 1: privileged (dom0), 2: the initial domain */
    uint64_t rsdp;                       /* physical address for acpi_read(); 0: none was given */
    char command_line[PVH_COMMAND_LINE]; /* empty if none was given; ends with NUL */
    struct boot_memory memory[PVH_MEMORY];
    unsigned memory_count;
    struct boot_range modules[PVH_MODULES];
    unsigned module_count;
};

/*
 * Reads the start_info at physical `address`. A command line that can't be read is empty, a longer one is
 * cut, entries of memory map and modules for which there is no room are left out: each with a line.
 * PLEAT_E_INVALID: there is no start_info; `start` is all zero then.
 */
int pvh_read(const struct firmware *firmware, uint64_t address, struct pvh_start *start);

#endif
