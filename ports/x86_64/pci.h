/* SPDX-License-Identifier: MIT
 *
 * PCI; what images use of it is in platform.h.
 */
#ifndef PORTS_X86_64_PCI_H
#define PORTS_X86_64_PCI_H

#include "ports/bare/acpi.h"

/* Finds configuration space: as the table says, or by the ports of old. */
void pci_find(const struct acpi *acpi);
/* Gives addresses to functions that have none, where neither firmware's map of memory nor another function
 * has anything. Before anybody uses them. */
void pci_assign(const struct acpi *acpi, const struct boot_memory *memory, unsigned memory_count);

/* After that: addresses above 4 GiB that nothing has, and nothing is given from then on. `bytes` is a power
 * of two, and the place a multiple of it. 0: there are none. */
uint64_t pci_free_addresses(uint64_t bytes);

#endif
