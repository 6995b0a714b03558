/* SPDX-License-Identifier: MIT
 *
 * The flattened device tree (Devicetree Specification 0.4, chapters 2, 3 and 5), as far as a port needs it:
 * command line, memory and what of it is reserved, CPUs, nodes, console, the generic PCI host.
 */
#ifndef PLEAT_PORTS_BARE_FDT_H
#define PLEAT_PORTS_BARE_FDT_H

#include "boot_map.h"
#include "firmware.h"
#include "platform.h"

#define FDT_MEMORY  48u
#define FDT_WINDOWS 4u

enum fdt_psci {
    FDT_PSCI_NONE,
    FDT_PSCI_HVC,
    FDT_PSCI_SMC,
};

struct fdt_cpu {
    uint64_t id; /* what the architecture starts it by: MPIDR, hart */
    uint8_t node;
};

/* Memory space of a PCI host: what is at `bus` for devices is at `address` for CPUs. */
struct fdt_window {
    uint64_t bus, address, bytes;
    bool wide;         /* its addresses may have more than 32 bits */
    bool prefetchable; /* only such BARs go there */
};

/* The first generic host with ECAM ("pci-host-ecam-generic"); ecam_bytes 0: there is none. */
struct fdt_pci {
    uint64_t ecam, ecam_bytes;
    uint16_t segment;
    uint8_t first_bus, last_bus;
    struct fdt_window windows[FDT_WINDOWS];
    unsigned window_count;
};

struct fdt {
    uint64_t bytes; /* of the tree itself */
    char command_line[1024];
    /* Memory as RAM, and over it what is reserved, the tree itself included. */
    struct boot_memory memory[FDT_MEMORY];
    unsigned memory_count;
    struct boot_affinity affinity[PLATFORM_NODES * 2];
    unsigned affinity_count;
    unsigned nodes; /* 1 more than the highest numa-node-id that is below PLATFORM_NODES; at least 1 */
    struct fdt_cpu cpus[PLATFORM_CPUS];
    unsigned cpu_count;
    uint64_t timebase_hz; /* of RISC-V's clock; 0: not said */
    enum fdt_psci psci;
    uint64_t pl011, ns16550; /* registers of the first of each kind; 0: there is none */
    uint64_t reset;          /* of "sifive,test0", by which QEMU's RISC-V machine ends; 0: there is none */
    struct fdt_pci pci;
};

/* Reads the tree at `address`. False: there is none, or it doesn't hold together from some point on; *fdt
 * then holds what came before. Entries that make no sense, or for which there is no room, are left out with a
 * line. Effort: linear in the tree, of which not more than 2 MiB are read. */
bool fdt_read(const struct firmware *firmware, uint64_t address, struct fdt *fdt);

#endif
