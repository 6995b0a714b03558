/* SPDX-License-Identifier: MIT
 *
 * What start.S and the C files of this port agree on.
 */
#ifndef PORTS_AARCH64_START_H
#define PORTS_AARCH64_START_H

#define CPU_STACK_BYTES       32768
#define EXCEPTION_STACK_BYTES 4096
/* Each has its stacks in the image. */
#define START_CPUS 64
/* struct exception_frame, a multiple of 16. */
#define FRAME_BYTES 208

/* Size of TTBR0's part 16 (48 bits), walks cached and inner shareable, TTBR1 off, 40 bits of physical
 * address. */
#define TCR_VALUE 0x280903510

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stdint.h>

#include "ports/bare/platform.h"

struct exception_frame {
    uint64_t x0_to_x18[19];
    uint64_t x29, x30, elr, esr, far, spsr, padding;
};
_Static_assert(START_CPUS <= PLATFORM_CPUS, "start.S");
_Static_assert(sizeof(struct exception_frame) == FRAME_BYTES, "start.S");

bool touch_byte(volatile unsigned char *byte, bool write);
extern char touch_load[], touch_store[], touch_fault[];

void semihosting(unsigned long operation, const void *argument);
extern char semihosting_call[], semihosting_none[];

long psci_hvc(unsigned long function, unsigned long a, unsigned long b, unsigned long c);
long psci_smc(unsigned long function, unsigned long a, unsigned long b, unsigned long c);
void start_secondary(void);
extern char image_start[], image_constants[], image_data[], image_end[];

/* Called by start.S. */
_Noreturn void boot(uint64_t device_tree);
_Noreturn void secondary(unsigned cpu);
void exception(struct exception_frame *frame, unsigned vector);
extern uint64_t paging_root;
extern unsigned char cpu_stacks[];
#endif
#endif
