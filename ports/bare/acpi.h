/* SPDX-License-Identifier: MIT
 *
 * What ACPI's static tables say (ACPI 6.5, chapter 5; MCFG: PCI Firmware Specification 3.3, 4.1.2): where
 * PCI's configuration space is, the CPUs, interrupt controllers, nodes of memory and of CPUs, distances, the
 * areas where memory may be plugged, the timer, the reset register. No AML.
 *
 * How a port uses it: acpi_read(&firmware, rsdp, &acpi) once (see pvh.h), then
 *
 *     platform.nodes = acpi.nodes, platform.proximity from acpi.proximity;
 *     CPUs: acpi.cpus[], those that are `enabled`; the one whose apic_id is the boot CPU's own becomes CPU 0.
 *         cpu_node[] from cpus[].node. cpu_count is 0 without a MADT: run on the boot CPU alone, node 0;
 *     spans and areas: boot_map_spans(), boot_map_areas() with acpi.affinity;
 *     pleat_config.node_distance = acpi.has_distances ? acpi.distances : NULL, which is nodes * nodes;
 *     PCI: acpi.ecam[]; bus b, device d, function f of a segment at
 *         address + ((uint64_t)(b - first_bus) << 20 | d << 15 | f << 12);
 *     ISA interrupt n is global interrupt acpi_isa_interrupt(&acpi, n, &low, &level).
 *
 * A table that is damaged (length, checksum, an entry of length 0 or past the end, another table's memory)
 * is left out as a whole; an entry that is odd by itself (a duplicate, one too many, a range that wraps) is
 * left out alone. Either way there is a line, and what was left out reads as if it hadn't been there. So no
 * RSDP, or rsdp 0, makes: one node, no CPUs, no ECAM, nothing pluggable.
 */
#ifndef PLEAT_PORTS_BARE_ACPI_H
#define PLEAT_PORTS_BARE_ACPI_H

#include "boot_map.h"

#define ACPI_ECAMS     8u
#define ACPI_IOAPICS   16u
#define ACPI_OVERRIDES 16u
#define ACPI_AFFINITY  64u

/* Configuration space of a segment's buses, memory-mapped. */
struct acpi_ecam {
    uint64_t address; /* of first_bus */
    uint16_t segment;
    uint8_t first_bus, last_bus;
};

struct acpi_cpu {
    uint32_t apic_id;
    bool enabled;        /* can be started now */
    bool online_capable; /* not enabled, but may become so */
    uint8_t node;
};

struct acpi_ioapic {
    uint8_t id;
    uint32_t address;
    uint32_t first_interrupt; /* the global system interrupt of its pin 0 */
};

/* ISA interrupt `source` is global system interrupt `interrupt`. */
struct acpi_override {
    uint8_t source;
    uint32_t interrupt;
    bool low, level; /* polarity and trigger; otherwise high, edge */
};

/* A generic address: space 0 is memory, 1 is I/O ports; bits 0: it isn't there. */
struct acpi_register {
    uint64_t address;
    uint8_t space;
    uint8_t bits;
};

struct acpi {
    struct acpi_ecam ecam[ACPI_ECAMS];
    unsigned ecam_count;

    struct acpi_cpu
        cpus[PLATFORM_CPUS]; /* enabled or online_capable, each apic_id once, in the table's order */
    unsigned cpu_count;
    uint64_t local_apic; /* physical address; 0 without a MADT */
    bool has_8259;       /* legacy interrupt controllers, to be masked */
    struct acpi_ioapic ioapics[ACPI_IOAPICS];
    unsigned ioapic_count;
    struct acpi_override overrides[ACPI_OVERRIDES];
    unsigned override_count;

    /* Nodes are the proximity domains that enabled memory or a CPU above belongs to, in ascending order. At
     * least one; without an SRAT, node 0 is domain 0. */
    unsigned nodes;
    uint32_t proximity[PLATFORM_NODES];
    struct boot_affinity affinity[ACPI_AFFINITY]; /* they don't overlap */
    unsigned affinity_count;

    bool has_distances;
    uint8_t distances[PLATFORM_NODES * PLATFORM_NODES]; /* nodes * nodes, row by row; 255: unreachable */

    struct acpi_register pm_timer; /* counts at 3,579,545 Hz; bits is the counter's width, 24 or 32 */
    struct acpi_register reset;    /* writing reset_value resets the machine; one byte wide */
    uint8_t reset_value;
};

/* Reads all that is known here of the tables under the RSDP at physical `rsdp`, 0: there is none. */
void acpi_read(const struct firmware *firmware, uint64_t rsdp, struct acpi *acpi);

/* The global system interrupt of ISA interrupt `source`, and how it is signalled. */
uint32_t acpi_isa_interrupt(const struct acpi *acpi, uint8_t source, bool *low, bool *level);

#endif
