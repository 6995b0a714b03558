/* SPDX-License-Identifier: MIT
 *
 * Vectors and who handles them.
 */
#ifndef PORTS_X86_64_INTERRUPTS_H
#define PORTS_X86_64_INTERRUPTS_H

#include "cpus.h"

#define VECTOR_MESSAGES     0x40u /* the first; those of devices */
#define VECTOR_MESSAGES_END 0xe0u
#define VECTOR_PINS         0xe0u /* all pins of PCI functions */
#define VECTOR_TIMER        0xf0u
#define VECTOR_WAKE         0xf1u
#define VECTOR_ASK          0xf2u /* x86_ask() */
#define VECTOR_EVENTS       0xf3u /* Xen's; the local APIC has no part in it */
#define VECTOR_SPURIOUS     0xffu

#define SELECTOR_CODE 0x08u
#define SELECTOR_DATA 0x10u

/* Loads the interrupt table, the segments and the stacks for faults of this CPU. Its stacks have to be there.
 */
void interrupts_start(struct cpu *cpu);

/* With interrupts off: halts until one has come, however soon, and returns with interrupts off. vectors.S */
void halt(void);

#endif
