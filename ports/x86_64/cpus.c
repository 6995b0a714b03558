/* SPDX-License-Identifier: MIT
 *
 * The CPUs.
 */
#include "cpus.h"

#include "pleat_port.h"
#include "registers.h"

#define MSR_GS_BASE 0xc0000101u

_Static_assert(offsetof(struct cpu, number) == X86_CPU_NUMBER, "pleat_port.h");
_Static_assert(offsetof(struct cpu, flags) == X86_CPU_FLAGS, "pleat_port.h");
_Static_assert(offsetof(struct cpu, answered) == X86_CPU_ANSWERED, "pleat_port.h");

struct cpu cpus[PLATFORM_CPUS];
unsigned long x86_asked;

void cpus_boot(void)
{
    msr_write(MSR_GS_BASE, (uintptr_t)&cpus[0]);
}

void x86_answer(void)
{
    cpus[pleat_port_cpu()].answered = x86_asked;
}
