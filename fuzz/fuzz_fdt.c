/* SPDX-License-Identifier: MIT
 *
 * A hostile device tree: it is read within bounds, the lines about it are few and printable, and what is kept
 * doesn't contradict itself, whether it holds together or not. An input is the tree.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "fuzz/firmware_input.h"
#include "ports/bare/fdt.h"

#define BASE UINT64_C(0x40000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fdt fdt;
    struct firmware_input input = {BASE, data, size, 0};
    const struct firmware firmware = {&input, firmware_input_read, firmware_input_hear};

    const bool whole = fdt_read(&firmware, BASE, &fdt);
    demand(!whole || (fdt.bytes >= 40 && fdt.bytes <= 2u << 20));
    demand(memchr(fdt.command_line, 0, sizeof(fdt.command_line)) != NULL);
    demand(fdt.nodes >= 1 && fdt.nodes <= PLATFORM_NODES);
    demand(fdt.cpu_count <= PLATFORM_CPUS);
    for (unsigned i = 0; i < fdt.cpu_count; i++)
        demand(fdt.cpus[i].node < fdt.nodes);
    demand(fdt.memory_count <= FDT_MEMORY);
    for (unsigned i = 0; i < fdt.memory_count; i++)
        demand(fdt.memory[i].bytes && fdt.memory[i].start + (fdt.memory[i].bytes - 1) >= fdt.memory[i].start);
    demand(fdt.affinity_count <= sizeof(fdt.affinity) / sizeof(fdt.affinity[0]));
    for (unsigned i = 0; i < fdt.affinity_count; i++)
        demand(fdt.affinity[i].node < fdt.nodes);

    const struct fdt_pci *pci = &fdt.pci;
    demand(pci->first_bus <= pci->last_bus);
    if (pci->ecam_bytes) {
        demand(pci->ecam + (pci->ecam_bytes - 1) >= pci->ecam);
        demand((uint64_t)(pci->last_bus - pci->first_bus + 1) << 20 <= pci->ecam_bytes);
    }
    demand(pci->window_count <= FDT_WINDOWS);
    for (unsigned i = 0; i < pci->window_count; i++) {
        const struct fdt_window *window = &pci->windows[i];
        const uint64_t last = window->bytes - 1;
        demand(window->bytes && window->bus + last >= window->bus &&
               window->address + last >= window->address);
        demand(window->wide || window->bus + last <= UINT32_MAX);
    }

    /* And the boot map that a port makes of it is one that pleat_init() takes. */
    struct pleat_boot_span spans[PLATFORM_SPANS];
    const struct boot_map map = {.memory = fdt.memory,
                                 .memory_count = fdt.memory_count,
                                 .affinity = fdt.affinity,
                                 .affinity_count = fdt.affinity_count,
                                 .frame_shift = 12,
                                 .limit_pfn = UINT64_C(1) << 28};
    input.lines = 0;
    const unsigned count = boot_map_spans(&map, &firmware, spans, PLATFORM_SPANS);
    uint64_t last = 0;
    for (unsigned i = 0; i < count; i++) {
        demand(spans[i].frames && spans[i].start_pfn >= last && spans[i].node < fdt.nodes);
        last = spans[i].start_pfn + spans[i].frames;
        demand(last <= map.limit_pfn);
    }
    return 0;
}
