/* SPDX-License-Identifier: MIT
 *
 * The hypercall page: Xen writes it when it is given the address, 32 bytes of code for each hypercall
 * (xen/include/public/arch-x86/cpuid.h, "Leaf 3"). Until then, and where there is no Xen, a call stops here.
 */
    .text
    .balign 4096
    .globl xen_hypercall_page
    .type xen_hypercall_page, @function
xen_hypercall_page:
    .rept 4096 / 2
    ud2
    .endr
    .size xen_hypercall_page, . - xen_hypercall_page
    .section .note.GNU-stack, "", @progbits
