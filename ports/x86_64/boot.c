/* SPDX-License-Identifier: MIT
 *
 * What CPU 0 does from long mode to image_main().
 */
#include <stdint.h>

#include "ports/bare/platform.h"
#include "ports/bare/print.h"
#include "ports/bare/spans.h"

#include "console.h"
#include "cpus.h"

struct platform platform;

/* Called by start.S. */
_Noreturn void boot(uint64_t start_info);

extern char image_start[], image_end[];

/* Xen's public/arch-x86/hvm/start_info.h. */
#define START_INFO_MAGIC 0x336ec578u
struct start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr;
    uint64_t memmap_paddr; /* from version 1 on */
    uint32_t memmap_entries, reserved;
};
struct memmap_entry {
    uint64_t addr, size;
    uint32_t type, reserved;
};
#define MEMORY_RAM  1u
#define MEMORY_ACPI 3u
#define MEMORY_NVS  4u

static char command_line[2048];

static void read_start_info(const struct start_info *info)
{
    platform.command_line = command_line;
    if (info->magic != START_INFO_MAGIC) {
        print("start_info: wrong magic %x\n", info->magic);
        return;
    }
    if (info->cmdline_paddr) {
        const char *line = (const char *)(uintptr_t)info->cmdline_paddr;
        for (unsigned i = 0; i + 1 < sizeof(command_line) && line[i]; i++)
            command_line[i] = line[i];
    }
    if (info->version < 1)
        return;
    const struct memmap_entry *entry = (const struct memmap_entry *)(uintptr_t)info->memmap_paddr;
    for (uint32_t i = 0; i < info->memmap_entries; i++, entry++) {
        if (entry->type == MEMORY_RAM)
            spans_set(entry->addr, entry->addr + entry->size, PLEAT_BOOT_FREE, 0);
        else if (entry->type == MEMORY_ACPI || entry->type == MEMORY_NVS)
            spans_set(entry->addr, entry->addr + entry->size, PLEAT_BOOT_RESERVED, 0);
    }
    /* Frame 0 is nobody's, so that no frame number is 0. */
    spans_set_use(0, 4096, PLEAT_BOOT_RESERVED);
    spans_set_use((uintptr_t)image_start, (uintptr_t)image_end, PLEAT_BOOT_RESERVED);
}

void boot(uint64_t start_info)
{
    cpus_boot();
    console_init();
    platform.architecture = "x86_64";
    platform.cpus = 1;
    platform.nodes = 1;
    read_start_info((const struct start_info *)(uintptr_t)start_info);
    platform_exit((unsigned)image_main());
}
