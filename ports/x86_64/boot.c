/* SPDX-License-Identifier: MIT
 *
 * What CPU 0 does from long mode to image_main().
 */
#include <stdint.h>

#include "ports/bare/acpi.h"
#include "ports/bare/console_port.h"
#include "ports/bare/platform.h"
#include "ports/bare/print.h"
#include "ports/bare/pvh.h"

#include "apic.h"
#include "clock.h"
#include "console.h"
#include "cpus.h"
#include "interrupts.h"
#include "ioapic.h"
#include "paging.h"
#include "pci.h"
#include "xen.h"

#define FRAME_SHIFT 12u
/* All that start.S has mapped. */
#define BOOT_MAPPED (UINT64_C(1) << 32)
#define LOW_END     UINT64_C(0x100000)
/* Of addresses under Xen; a GiB of them costs a frame of page tables. Half of the least is for pages of
 * others. */
#define UNUSED_LEAST UINT64_C(0x40000000)
#define UNUSED_MOST  (UINT64_C(64) << 30)
/* A flag of start_info (SIF_INITDOMAIN). */
#define START_INITIAL_DOMAIN 2u

struct platform platform;

/* Called by start.S; returns the upper end of the stack to go on with. */
uint64_t boot_memory(uint64_t start_info);
/* Called by start.S on that stack. */
_Noreturn void boot(void);

extern char image_start[], image_end[];

static struct pvh_start start;
static struct acpi acpi;

static bool read_physical(void *context, uint64_t address, void *to, size_t bytes)
{
    (void)context;
    if (address >= BOOT_MAPPED || bytes > BOOT_MAPPED - address)
        return false;
    __builtin_memcpy(to, (const void *)(uintptr_t)address, bytes);
    return true;
}

static void port_fence(void *context)
{
    (void)context;
    cpus_fence();
}

static void find_memory(const struct firmware *firmware)
{
    /* The image; and frame 0, so that no frame's number is 0. */
    const struct boot_range taken[] = {
        {(uintptr_t)image_start, (uintptr_t)image_end - (uintptr_t)image_start},
        {0, UINT64_C(1) << FRAME_SHIFT},
    };
    const struct boot_map map = {
        .memory = start.memory,
        .memory_count = start.memory_count,
        .taken = taken,
        .taken_count = sizeof(taken) / sizeof(taken[0]),
        .affinity = acpi.affinity,
        .affinity_count = acpi.affinity_count,
        .frame_shift = FRAME_SHIFT,
        .limit_pfn = DIRECT_MAP_BYTES >> FRAME_SHIFT,
    };
    platform.span_count = boot_map_spans(&map, firmware, platform.spans, PLATFORM_SPANS);
    platform.area_count = boot_map_areas(&map, firmware, platform.areas, PLATFORM_AREAS);
    platform.highest_pfn = boot_map_highest_pfn(platform.spans, platform.span_count, platform.areas,
                                                platform.area_count, FRAME_SHIFT);
}

uint64_t boot_memory(uint64_t start_info)
{
    const struct firmware firmware = {.read = read_physical, .log = console_port_line};

    cpus_boot();
    xen_find();
    console_init();
    if (pvh_read(&firmware, start_info, &start)) {
        print("boot: no start_info at 0x%lx\n", start_info);
        platform_exit(PLATFORM_EXIT_EXCEPTION);
    }
    if (!start.memory_count)
        start.memory_count = xen_memory_map(&firmware, start.memory, PVH_MEMORY);
    acpi_read(&firmware, start.rsdp, &acpi);
    platform.command_line = start.command_line;
    platform.architecture = "x86_64";
    platform.cpus = 1;
    platform.nodes = acpi.nodes;
    for (unsigned i = 0; i < acpi.nodes; i++)
        platform.proximity[i] = acpi.proximity[i];
    find_memory(&firmware);
    console_port(&platform.port);
    platform.port.fence_cpus = port_fence;
    paging_start();
    xen_console_map();
    for (unsigned i = 0; i < platform.area_count; i++)
        paging_add_area(&platform.areas[i]);
    cpus_make_stacks(&cpus[0]);
    return cpus[0].stack;
}

/* A free frame below 1 MiB: for a moment, because the core isn't there yet. */
static uint64_t low_frame(void)
{
    for (unsigned i = 0; i < platform.span_count; i++) {
        const struct pleat_boot_span *span = &platform.spans[i];
        if (span->use == PLEAT_BOOT_FREE && span->start_pfn < LOW_END >> FRAME_SHIFT)
            return span->start_pfn;
    }
    return 0;
}

/* A guest of Xen needs addresses for what Xen may give it, and for other domains' pages. */
static void find_unused(void)
{
    uint64_t memory = 0, bytes = UNUSED_LEAST;

    if (!platform_xen())
        return;
    for (unsigned i = 0; i < platform.span_count; i++)
        memory += platform.spans[i].frames;
    uint64_t growth = xen_growth_frames(memory);
    while ((bytes - UNUSED_LEAST / 2) >> FRAME_SHIFT < growth && bytes < UNUSED_MOST)
        bytes *= 2;
    platform.unused.start = pci_free_addresses(bytes);
    if (!platform.unused.start) {
        print("xen: there are no addresses for more memory\n");
        return;
    }
    platform.unused.bytes = bytes;
    paging_add_area(&platform.unused);
    if (platform.highest_pfn < (platform.unused.start + bytes) >> FRAME_SHIFT)
        platform.highest_pfn = (platform.unused.start + bytes) >> FRAME_SHIFT;
}

_Noreturn void boot(void)
{
    interrupts_start(&cpus[0]);
    xen_start(start.flags & START_INITIAL_DOMAIN);
    apic_find();
    apic_start();
    clock_start();
    apic_measure_timer();
    ioapic_find(&acpi);
    pci_find(&acpi);
    pci_assign(&acpi, start.memory, start.memory_count);
    find_unused();
    cpus_start(&acpi, low_frame());
    __asm__ volatile("sti");
    platform_exit((unsigned)image_main());
}
