/* SPDX-License-Identifier: MIT
 *
 * What a CPU knows of itself.
 */
#ifndef PORTS_X86_64_CPUS_H
#define PORTS_X86_64_CPUS_H

#include <stdint.h>

#include "ports/bare/platform.h"

struct cpu {
    unsigned number;
    unsigned apic_id;
    /* Flags from before the pin. */
    uint64_t flags;
    /* How much of x86_asked this CPU has answered. */
    unsigned long answered;
};

extern struct cpu cpus[PLATFORM_CPUS];

/* Makes this CPU know that it is CPU 0. */
void cpus_boot(void);

#endif
