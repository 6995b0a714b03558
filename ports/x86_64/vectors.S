/* SPDX-License-Identifier: MIT
 *
 * Where the CPU goes for each vector, and the only instructions that may fault.
 */
    .altmacro
    .text
    .macro stub vector
    .balign 16
    .if (\vector == 8) || ((\vector >= 10) && (\vector <= 14)) || (\vector == 17) || (\vector == 21)
    /* The CPU has pushed an error code. */
    .else
    pushq $0
    .endif
    pushq $\vector
    jmp interrupt_common
    .endm

    .balign 16
    .globl interrupt_stubs
interrupt_stubs:
    .set vector, 0
    .rept 256
    stub %vector
    .set vector, vector + 1
    .endr

    .type interrupt_common, @function
interrupt_common:
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    movq %rsp, %rdi
    movq %rsp, %rbx
    andq $-16, %rsp
    call interrupt
    movq %rbx, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rbp
    popq %rbx
    popq %rdx
    popq %rcx
    popq %rax
    addq $16, %rsp
    iretq
    .size interrupt_common, . - interrupt_common

/* bool touch_byte(volatile unsigned char *byte, bool write): interrupts.c goes on at touch_failed when one of the
 * two accesses faults. A write leaves the byte as it is. */
    .globl touch_byte, touch_begin, touch_end, touch_failed
    .type touch_byte, @function
touch_byte:
    movl $1, %eax
    testb %sil, %sil
    jnz 1f
touch_begin:
    movb (%rdi), %cl
    ret
1:  lock orb $0, (%rdi)
touch_end:
    ret
touch_failed:
    xorl %eax, %eax
    ret
    .size touch_byte, . - touch_byte

/* void halt(void): interrupts on, until one has come, and off again. STI holds them back for one instruction, so that
 * none comes between it and HLT and leaves the CPU asleep; where one comes there all the same, interrupts.c goes on at
 * halted. */
    .globl halt, halt_at, halted
    .type halt, @function
halt:
    sti
halt_at:
    hlt
halted:
    cli
    ret
    .size halt, . - halt
    .section .note.GNU-stack, "", @progbits
