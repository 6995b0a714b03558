/* SPDX-License-Identifier: MIT
 *
 * What the parts of the riscv64 port know of each other, and the addresses of QEMU's machine `virt`, which
 * start.S needs before it could read them from a device tree.
 */
#ifndef PORTS_RISCV64_RISCV_H
#define PORTS_RISCV64_RISCV_H

#define RISCV_EXIT 0x100000   /* "sifive,test0" */
#define RISCV_UART 0x10000000 /* "ns16550a" */

/* A write of these to RISCV_EXIT ends QEMU: with 0, or with the code in the upper half. */
#define RISCV_EXIT_PASS 0x5555
#define RISCV_EXIT_FAIL 0x3333

#define RISCV_STACK_BYTES 0x10000

#ifndef __ASSEMBLER__

#include <stdbool.h>
#include <stdint.h>

#include "ports/bare/platform.h"

/* --- start.S, trap.S -------------------------------------------------------------------------------------
 */

extern char image_start[], image_constants[], image_data[], image_end[];
/* A page that is mapped nowhere, below the stack. */
extern char riscv_stack_guard[];
/* The first instruction of a trap; what it calls; what it may have been doing. */
extern char riscv_trap_entry[], riscv_touch_begin[], riscv_touch_end[], riscv_touch_failed[];
bool riscv_touch(volatile unsigned char *byte, bool write);

struct riscv_frame {
    uint64_t x[32]; /* x[0]: where it happened (sepc), goes on from there */
    uint64_t cause, value;
};
void riscv_trap(struct riscv_frame *frame);

/* Called by start.S in supervisor mode, with paging off. */
_Noreturn void boot(uint64_t device_tree);

/* --- paging.c --------------------------------------------------------------------------------------------
 */

/*
 * The address space, Sv39:
 *
 *     0                     nothing: null pointers fault
 *     1 MiB, 256 MiB        registers of exit and console
 *     2 GiB                 the image, each part with the rights that it needs
 *     0xffffffc000000000    the direct map: frame PFN at base + PFN * 4096, where there is memory now
 */
#define RISCV_DIRECT_MAP       UINT64_C(0xffffffc000000000)
#define RISCV_DIRECT_MAP_BYTES (UINT64_C(1) << 37)

/* Maps all that platform.spans cover, and switches paging on; fills in platform.port's functions. */
void riscv_paging_start(void);

#endif
#endif
