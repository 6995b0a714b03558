/* SPDX-License-Identifier: MIT
 *
 * Where another CPU begins: in real mode, on a page below 1 MiB that this was copied to; then in the image.
 */
#define CR0_PE       0x00000001
#define CR0_PG_WP_PE 0x80010001
#define CR4_PAE      0x020
#define EFER         0xc0000080
#define EFER_LME_NXE 0x900

    .section .rodata, "a", @progbits
    .code16
    .globl trampoline_start, trampoline_end
trampoline_start:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl trampoline_gdt - trampoline_start
    movl $CR0_PE, %eax
    movl %eax, %cr0
    ljmpl $0x18, $start_protected
    .balign 4
trampoline_gdt:
    .word 4 * 8 - 1
    .long boot_gdt
trampoline_end:

    .text
    .code32
    .type start_protected, @function
start_protected:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %cr4, %eax
    orl $CR4_PAE, %eax
    movl %eax, %cr4
    movl trampoline_root, %eax
    movl %eax, %cr3
    movl $EFER, %ecx
    rdmsr
    orl $EFER_LME_NXE, %eax
    wrmsr
    movl $CR0_PG_WP_PE, %eax
    movl %eax, %cr0
    ljmp $0x08, $start_other_long
    .size start_protected, . - start_protected

    .code64
    .type start_other_long, @function
start_other_long:
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movq trampoline_stack, %rsp
    movq trampoline_cpu, %rdi
    xorl %ebp, %ebp
    call cpu_main
    ud2
    .size start_other_long, . - start_other_long
    .section .note.GNU-stack, "", @progbits
