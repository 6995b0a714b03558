/* SPDX-License-Identifier: MIT
 *
 * From reset to boot(): QEMU's reset vector comes here in machine mode with the device tree in a1. All that
 * supervisor mode can deal with is delegated to it, and it runs from then on. Harts other than 0 wait for ever.
 */
#include "riscv.h"

#define MSTATUS_MPP        0x1800
#define MSTATUS_SUPERVISOR 0x0800
/* All exceptions but calls from supervisor and machine mode; the supervisor's interrupts. */
#define DELEGATED_EXCEPTIONS 0xb1ff
#define DELEGATED_INTERRUPTS 0x0222
/* Any address, readable, writable and executable: one region up to the end. */
#define PMP_ALL 0x1f
/* Cycles, time and instructions can be read in supervisor mode. */
#define COUNTERS 7
#define MACHINE_TRAP_CODE 98

    .section .text.start, "ax", @progbits
    .globl start
    .type start, @function
start:
    csrr t0, mhartid
    bnez t0, park
    la t0, machine_trap
    csrw mtvec, t0
    csrw satp, zero
    li t0, -1
    csrw pmpaddr0, t0
    li t0, PMP_ALL
    csrw pmpcfg0, t0
    li t0, DELEGATED_EXCEPTIONS
    csrw medeleg, t0
    li t0, DELEGATED_INTERRUPTS
    csrw mideleg, t0
    csrw mie, zero
    li t0, COUNTERS
    csrw mcounteren, t0
    li t0, MSTATUS_MPP
    csrc mstatus, t0
    li t0, MSTATUS_SUPERVISOR
    csrs mstatus, t0
    la t0, supervisor
    csrw mepc, t0
    mret
park:
    wfi
    j park

/* Nothing should get here, and there is nothing to print with: the code says so. */
    .balign 4
machine_trap:
    li t0, RISCV_EXIT
    li t1, MACHINE_TRAP_CODE << 16 | RISCV_EXIT_FAIL
    sw t1, 0(t0)
    j park

supervisor:
    la t0, trap_stack_top
    csrw sscratch, t0
    la t0, riscv_trap_entry
    csrw stvec, t0
    la sp, stack_top
    mv a0, a1
    mv fp, zero
    call boot
    unimp
    .size start, . - start

    .bss
    .balign 4096
    .globl riscv_stack_guard
riscv_stack_guard:
    .skip 4096
    .skip RISCV_STACK_BYTES
stack_top:
    .skip 8192
trap_stack_top:
    .section .note.GNU-stack, "", @progbits
