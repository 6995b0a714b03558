/* SPDX-License-Identifier: MIT
 *
 * Pin interrupts.
 */
#ifndef PORTS_X86_64_IOAPIC_H
#define PORTS_X86_64_IOAPIC_H

#include "ports/bare/acpi.h"

/* Maps the controllers that the table names, and masks all their pins. */
void ioapic_find(const struct acpi *acpi);
/* Calls all handlers of pin interrupts. */
void ioapic_interrupt(void);

#endif
