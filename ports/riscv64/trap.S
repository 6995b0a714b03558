/* SPDX-License-Identifier: MIT
 *
 * Traps, on a stack of their own, because the end of the other one may be why they are here. sscratch holds its
 * upper end always, so that a trap inside of a trap begins there again; it doesn't return.
 */
#include "riscv.h"

#define FRAME_BYTES (34 * 8)

    .section .text, "ax", @progbits
    .globl riscv_trap_entry
    .type riscv_trap_entry, @function
    .balign 4
riscv_trap_entry:
    csrrw sp, sscratch, sp
    addi sp, sp, -FRAME_BYTES
    sd x1, 1 * 8(sp)
    .irp n, 3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    sd x\n, \n * 8(sp)
    .endr
    addi t1, sp, FRAME_BYTES
    csrrw t0, sscratch, t1
    sd t0, 2 * 8(sp)
    csrr t0, sepc
    sd t0, 0(sp)
    csrr t0, scause
    sd t0, 32 * 8(sp)
    csrr t0, stval
    sd t0, 33 * 8(sp)
    mv a0, sp
    call riscv_trap
    ld t0, 0(sp)
    csrw sepc, t0
    ld x1, 1 * 8(sp)
    .irp n, 3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ld x\n, \n * 8(sp)
    .endr
    ld sp, 2 * 8(sp)
    sret
    .size riscv_trap_entry, . - riscv_trap_entry

/* bool riscv_touch(volatile unsigned char *byte, bool write): traps.c goes on at riscv_touch_failed when one of the
 * two accesses faults. A write leaves the byte as it is. */
    .globl riscv_touch, riscv_touch_begin, riscv_touch_end, riscv_touch_failed
    .type riscv_touch, @function
riscv_touch:
    andi t0, a0, -4
    bnez a1, 1f
riscv_touch_begin:
    lbu t1, 0(a0)
    li a0, 1
    ret
1:  amoor.w t1, zero, (t0)
riscv_touch_end:
    li a0, 1
    ret
riscv_touch_failed:
    li a0, 0
    ret
    .size riscv_touch, . - riscv_touch
    .section .note.GNU-stack, "", @progbits
