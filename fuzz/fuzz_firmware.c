/* SPDX-License-Identifier: MIT
 *
 * What firmware leaves behind: whatever is in memory, start_info, ACPI's tables and the memory map are read
 * within bounds, nothing that is kept contradicts itself, and the spans are ones that pleat_init() takes.
 *
 * An input is physical memory from BASE on, behind a byte of flags: start_info at BASE, and the RSDP where
 * that says, or else at BASE + 64.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/firmware_input.h"
#include "ports/bare/acpi.h"
#include "ports/bare/pvh.h"

#define BASE UINT64_C(0x10000)
/* A fuzzer can't guess sums; without them right it would see nothing but their check. */
#define FIX_SUMS 1u

static void fix_sum(uint8_t *bytes, size_t count, size_t at)
{
    uint8_t sum = 0;
    bytes[at] = 0;
    for (size_t i = 0; i < count; i++)
        sum = (uint8_t)(sum + bytes[i]);
    bytes[at] = (uint8_t)-sum;
}

static void fix_sums(uint8_t *memory, size_t size)
{
    static const char tables[][5] = {"RSDT", "XSDT", "APIC", "SRAT", "SLIT", "MCFG", "FACP"};
    for (size_t at = 0; at + 36 <= size; at += 4) {
        uint8_t *bytes = memory + at;
        uint32_t length;
        memcpy(&length, bytes + 4, 4);
        for (unsigned i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
            if (!memcmp(bytes, tables[i], 4) && length >= 36 && length <= size - at)
                fix_sum(bytes, length, 9);
        }
        if (!memcmp(bytes, "RSD PTR ", 8)) {
            fix_sum(bytes, 20, 8);
            fix_sum(bytes, 36, 32);
        }
    }
}

static void demand_acpi(const struct acpi *acpi)
{
    demand(acpi->nodes >= 1 && acpi->nodes <= PLATFORM_NODES && acpi->cpu_count <= PLATFORM_CPUS);
    demand(acpi->ecam_count <= ACPI_ECAMS && acpi->ioapic_count <= ACPI_IOAPICS);
    demand(acpi->override_count <= ACPI_OVERRIDES && acpi->affinity_count <= ACPI_AFFINITY);
    for (unsigned i = 0; i < acpi->cpu_count; i++) {
        demand(acpi->cpus[i].node < acpi->nodes && acpi->cpus[i].enabled != acpi->cpus[i].online_capable);
        for (unsigned j = 0; j < i; j++)
            demand(acpi->cpus[i].apic_id != acpi->cpus[j].apic_id);
    }
    for (unsigned i = 1; i < acpi->nodes; i++)
        demand(acpi->proximity[i - 1] < acpi->proximity[i]);
    for (unsigned i = 0; i < acpi->affinity_count; i++) {
        const struct boot_affinity *one = &acpi->affinity[i];
        demand(one->node < acpi->nodes && one->bytes && one->start + (one->bytes - 1) >= one->start);
        for (unsigned j = 0; j < i; j++) {
            const struct boot_affinity *other = &acpi->affinity[j];
            demand(one->start > other->start + (other->bytes - 1) ||
                   other->start > one->start + (one->bytes - 1));
        }
    }
    for (unsigned i = 0; i < acpi->ecam_count; i++)
        demand(acpi->ecam[i].first_bus <= acpi->ecam[i].last_bus && acpi->ecam[i].address);
    for (unsigned i = 0; acpi->has_distances && i < acpi->nodes * acpi->nodes; i++)
        demand(i % (acpi->nodes + 1) ? acpi->distances[i] > 10 : acpi->distances[i] == 10);
}

static void demand_map(const struct boot_map *map, const struct firmware *firmware, unsigned nodes,
                       unsigned most)
{
    struct firmware_input *input = firmware->context;
    struct pleat_boot_span spans[PLATFORM_SPANS];
    struct platform_area areas[PLATFORM_AREAS];
    input->lines = 0;
    unsigned span_count = boot_map_spans(map, firmware, spans, most);
    input->lines = 0;
    unsigned area_count = boot_map_areas(map, firmware, areas, most < PLATFORM_AREAS ? most : PLATFORM_AREAS);
    demand(span_count <= most && area_count <= PLATFORM_AREAS);
    for (unsigned i = 0; i < span_count; i++) {
        demand(spans[i].frames && spans[i].node < nodes);
        demand(spans[i].start_pfn < map->limit_pfn && spans[i].frames <= map->limit_pfn - spans[i].start_pfn);
        demand(!i || spans[i - 1].start_pfn + spans[i - 1].frames <= spans[i].start_pfn);
    }
    for (unsigned i = 0; i < area_count; i++) {
        demand(areas[i].bytes && areas[i].node < nodes);
        demand(!i || areas[i - 1].start + areas[i - 1].bytes <= areas[i].start);
        for (unsigned j = 0; j < span_count; j++)
            demand(areas[i].start >= (spans[j].start_pfn + spans[j].frames) << map->frame_shift ||
                   areas[i].start + areas[i].bytes <= spans[j].start_pfn << map->frame_shift);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint8_t *memory = malloc(size - 1);
    demand(memory != NULL);
    memcpy(memory, data + 1, size - 1);
    if (data[0] & FIX_SUMS)
        fix_sums(memory, size - 1);
    struct firmware_input input = {.address = BASE, .bytes = memory, .size = size - 1};
    const struct firmware firmware = {
        .context = &input, .read = firmware_input_read, .log = firmware_input_hear};

    static struct pvh_start start;
    static struct acpi acpi;
    int status = pvh_read(&firmware, BASE, &start);
    demand(status == PLEAT_OK || status == PLEAT_E_INVALID);
    demand(start.memory_count <= PVH_MEMORY && start.module_count <= PVH_MODULES);
    demand(memchr(start.command_line, 0, sizeof(start.command_line)) != NULL);
    input.lines = 0;
    acpi_read(&firmware, status ? BASE + 64 : start.rsdp, &acpi);
    demand_acpi(&acpi);
    const struct boot_map map = {start.memory,
                                 start.memory_count,
                                 start.modules,
                                 start.module_count,
                                 acpi.affinity,
                                 acpi.affinity_count,
                                 12,
                                 UINT64_C(1) << 40};
    demand_map(&map, &firmware, acpi.nodes, data[0] & 2 ? 3 : PLATFORM_SPANS);
    free(memory);
    return 0;
}
