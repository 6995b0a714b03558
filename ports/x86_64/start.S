/* SPDX-License-Identifier: MIT
 *
 * Entry by PVH (32-bit, paging off, %ebx: physical address of the start_info) and the way into long mode.
 *
 * The page tables made here show the first 4 GiB as they are, which is all that a 32-bit entry can have been
 * handed; paging.c replaces them.
 */
#define PAGE_PRESENT_WRITE 0x003
#define PAGE_LARGE         0x080
#define CR0_PG_WP_PE       0x80010001
#define CR4_PAE            0x020
#define EFER               0xc0000080
#define EFER_LME_NXE       0x900

    /* XEN_ELFNOTE_PHYS32_ENTRY; eight bytes, because QEMU reads as many. */
    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad start

    .section .text.start, "ax", @progbits
    .code32
    .globl start
    .type start, @function
start:
    cli
    cld
    movl $boot_stack_top, %esp

    movl $boot_pdpt + PAGE_PRESENT_WRITE, boot_pml4
    movl $boot_pd + PAGE_PRESENT_WRITE, %eax
    xorl %ecx, %ecx
1:  movl %eax, boot_pdpt(, %ecx, 8)
    addl $4096, %eax
    incl %ecx
    cmpl $4, %ecx
    jne 1b
    movl $PAGE_PRESENT_WRITE + PAGE_LARGE, %eax
    xorl %ecx, %ecx
2:  movl %eax, boot_pd(, %ecx, 8)
    addl $0x200000, %eax
    incl %ecx
    cmpl $4 * 512, %ecx
    jne 2b

    movl %cr4, %eax
    orl $CR4_PAE, %eax
    movl %eax, %cr4
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $EFER, %ecx
    rdmsr
    orl $EFER_LME_NXE, %eax
    wrmsr
    movl $CR0_PG_WP_PE, %eax
    movl %eax, %cr0
    lgdt boot_gdt_pointer
    ljmp $0x08, $start_long
    .size start, . - start

    .code64
    .type start_long, @function
start_long:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl $boot_stack_top, %esp
    xorl %ebp, %ebp
    movl %ebx, %edi
    call boot_memory
    movq %rax, %rsp
    xorl %ebp, %ebp
    call boot
    ud2
    .size start_long, . - start_long

    .section .rodata, "a", @progbits
    .balign 8
    .globl boot_gdt
boot_gdt:
    .quad 0
    .quad 0x00af9a000000ffff /* 0x08: 64-bit code */
    .quad 0x00cf92000000ffff /* 0x10: data */
    .quad 0x00cf9a000000ffff /* 0x18: 32-bit code */
boot_gdt_end:
boot_gdt_pointer:
    .word boot_gdt_end - boot_gdt - 1
    .quad boot_gdt

    .bss
    .balign 4096
boot_pml4:
    .skip 4096
boot_pdpt:
    .skip 4096
boot_pd:
    .skip 4 * 4096
    /* What boots CPU 0; its work is done on a stack with a guard page. */
    .skip 16384
boot_stack_top:
    .section .note.GNU-stack, "", @progbits
