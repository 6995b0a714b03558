/* SPDX-License-Identifier: MIT
 *
 * Entry of CPU 0 (at EL1, MMU off, x0: the device tree or 0) and of the others (by PSCI, x0: their number),
 * exceptions, and the few instructions that may fault and are survived. Code runs on SP_EL0, exceptions on
 * SP_EL1, so that the end of a stack can be told of.
 *
 * The first page tables are constants: 1 GiB of registers, 1 GiB of RAM as the machine has it. paging.c
 * replaces them.
 */
#include "start.h"

#define TABLE         3
#define BLOCK_DEVICE  0x60000000000401 /* not executable, accessed, attribute 0 */
#define BLOCK_NORMAL  0x00000000000705 /* accessed, inner shareable, attribute 1 */

    .section .text.start, "ax", %progbits
    .globl start
    .type start, %function
start:
    mov x20, x0
    adrp x1, boot_l0
    mov x2, xzr
    adrp x3, boot_stack_top
    b enter
    .size start, . - start

    .globl start_secondary
    .type start_secondary, %function
start_secondary:
    mov x2, x0
    adrp x1, paging_root
    ldr x1, [x1, :lo12:paging_root]
    adrp x3, cpu_stacks
    add x3, x3, :lo12:cpu_stacks
    add x4, x2, #1
    mov x5, #CPU_STACK_BYTES
    madd x3, x4, x5, x3
    b enter
    .size start_secondary, . - start_secondary

/* x1: page tables, x2: the CPU's number, x3: stack, x20: kept. */
    .type enter, %function
enter:
    msr daifset, #0xf
    msr tpidr_el1, x2
    /* Attribute 0: device memory without gathering, reordering or early acknowledgement; 1: write-back. */
    mov x4, #0xff00
    msr mair_el1, x4
    /* 48 bits of address in 4 KiB pages by TTBR0, nothing by TTBR1, 40 bits of physical address. */
    ldr x4, =TCR_VALUE
    msr tcr_el1, x4
    msr ttbr0_el1, x1
    adrp x4, vectors
    add x4, x4, :lo12:vectors
    msr vbar_el1, x4
    tlbi vmalle1
    dsb ish
    isb
    mrs x4, sctlr_el1
    mov x5, #0x1005 /* MMU, data cache, instruction cache */
    orr x4, x4, x5
    bic x4, x4, #2  /* words needn't be aligned */
    msr sctlr_el1, x4
    isb
    adrp x4, exception_stacks
    add x5, x2, #1
    add x4, x4, x5, lsl #12
    mov sp, x4
    msr spsel, #0
    mov sp, x3
    mov x29, xzr
    mov x30, xzr
    cbnz x2, 1f
    mov x0, x20
    bl boot
1:  mov x0, x2
    bl secondary
    brk #0
    .size enter, . - enter

/* --- What may fault ------------------------------------------------------------------------------------- */

    .text
    /* bool touch_byte(volatile unsigned char *byte, bool write) */
    .globl touch_byte
    .type touch_byte, %function
touch_byte:
    cbnz w1, 1f
    .globl touch_load
touch_load:
    ldrb w2, [x0]
    b 2f
1:
    .globl touch_store
touch_store:
    strb wzr, [x0]
2:  mov w0, #1
    ret
    .globl touch_fault
touch_fault:
    mov w0, wzr
    ret
    .size touch_byte, . - touch_byte

    /* void semihosting(unsigned long operation, const void *argument): does nothing where there is none. */
    .globl semihosting
    .type semihosting, %function
semihosting:
    .globl semihosting_call
semihosting_call:
    hlt #0xf000
    .globl semihosting_none
semihosting_none:
    ret
    .size semihosting, . - semihosting

    /* long psci_hvc(unsigned long function, unsigned long, unsigned long, unsigned long), and by smc. */
    .globl psci_hvc
    .type psci_hvc, %function
psci_hvc:
    hvc #0
    ret
    .size psci_hvc, . - psci_hvc
    .globl psci_smc
    .type psci_smc, %function
psci_smc:
    smc #0
    ret
    .size psci_smc, . - psci_smc

/* --- Exceptions ----------------------------------------------------------------------------------------- */

    .macro vector number
    .balign 128
    sub sp, sp, #FRAME_BYTES
    stp x0, x1, [sp]
    mov x1, #\number
    b exception_entry
    .endm

    .balign 2048
vectors:
    .set number, 0
    .rept 16
    vector number
    .set number, number + 1
    .endr

    .type exception_entry, %function
exception_entry:
    stp x2, x3, [sp, #16]
    stp x4, x5, [sp, #32]
    stp x6, x7, [sp, #48]
    stp x8, x9, [sp, #64]
    stp x10, x11, [sp, #80]
    stp x12, x13, [sp, #96]
    stp x14, x15, [sp, #112]
    stp x16, x17, [sp, #128]
    stp x18, x29, [sp, #144]
    mrs x2, elr_el1
    stp x30, x2, [sp, #160]
    mrs x2, esr_el1
    mrs x3, far_el1
    stp x2, x3, [sp, #176]
    mrs x2, spsr_el1
    str x2, [sp, #192]
    mov x0, sp
    bl exception
    ldr x2, [sp, #192]
    msr spsr_el1, x2
    ldp x30, x2, [sp, #160]
    msr elr_el1, x2
    ldp x18, x29, [sp, #144]
    ldp x16, x17, [sp, #128]
    ldp x14, x15, [sp, #112]
    ldp x12, x13, [sp, #96]
    ldp x10, x11, [sp, #80]
    ldp x8, x9, [sp, #64]
    ldp x6, x7, [sp, #48]
    ldp x4, x5, [sp, #32]
    ldp x2, x3, [sp, #16]
    ldp x0, x1, [sp]
    add sp, sp, #FRAME_BYTES
    eret
    .size exception_entry, . - exception_entry

/* --- Data ----------------------------------------------------------------------------------------------- */

    .data
    .balign 4096
boot_l0:
    .quad boot_l1 + TABLE
    .skip 4096 - 8
boot_l1:
    .quad BLOCK_DEVICE
    .quad 0x40000000 + BLOCK_NORMAL
    .skip 4096 - 16

    /* The linker script puts it right above what can't be written. */
    .section .stack, "aw", %progbits
    .balign 4096
    .skip 64 * 1024
boot_stack_top:

    .bss
    .balign 4096
exception_stacks:
    .skip EXCEPTION_STACK_BYTES * START_CPUS
    .section .note.GNU-stack, "", %progbits
