/* SPDX-License-Identifier: MIT
 *
 * What the files of the aarch64 port offer each other.
 */
#ifndef PORTS_AARCH64_MACHINE_H
#define PORTS_AARCH64_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "ports/bare/fdt.h"
#include "ports/bare/platform.h"

/* --- paging.c --------------------------------------------------------------------------------------------
 */

/* The direct map and all mappings are of such pieces. */
#define PAGING_PIECE UINT64_C(0x200000)
/* What the page tables can show: 40 bits. */
#define PAGING_END (UINT64_C(1) << 40)

enum paging_kind {
    PAGING_MEMORY,    /* read and write */
    PAGING_TEXT,      /* read and execute */
    PAGING_CONSTANTS, /* read */
    PAGING_REGISTERS, /* uncached */
};

/* Makes tables of the boot map and of the image, with `console` in them, and uses them from then on. False:
 * there aren't enough tables. */
bool paging_begin(uint64_t console);
/* Shows the pieces that start to end lie in. False: out of range, not enough tables, or a piece is shown as
 * another kind already; nothing has changed then. */
bool paging_show(uint64_t start, uint64_t end, enum paging_kind kind);
/* Hides them on all CPUs. */
void paging_hide(uint64_t start, uint64_t end);

/* --- console.c -------------------------------------------------------------------------------------------
 */

void console_init(uint64_t pl011);

/* --- cpus.c ----------------------------------------------------------------------------------------------
 */

/* Brings up the CPUs that the tree names; those that don't answer are left out. */
void cpus_begin(const struct fdt *fdt);
/* Calls PSCI; a negative number where there is none. */
long psci_call(unsigned long function, unsigned long a, unsigned long b, unsigned long c);

/* --- pci.c -----------------------------------------------------------------------------------------------
 */

/* Maps configuration space and gives the BARs of all functions on the first bus an address. */
void pci_begin(const struct fdt_pci *host);

#endif
