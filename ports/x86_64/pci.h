/* SPDX-License-Identifier: MIT
 *
 * PCI; what images use of it is in platform.h.
 */
#ifndef PORTS_X86_64_PCI_H
#define PORTS_X86_64_PCI_H

#include "ports/bare/acpi.h"

/* Finds configuration space: as the table says, or by the ports of old. */
void pci_find(const struct acpi *acpi);

#endif
