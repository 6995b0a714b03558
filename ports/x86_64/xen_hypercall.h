/* SPDX-License-Identifier: MIT
 *
 * Hypercalls, by the page of xen_hypercall.S, and the numbers and structures that they take: Xen's own public
 * headers. Nothing outside ports/x86_64 sees those.
 */
#ifndef PORTS_X86_64_XEN_HYPERCALL_H
#define PORTS_X86_64_XEN_HYPERCALL_H

#include <stdint.h>

/* The interface of Xen 4.13, without what has been renamed since. */
#define __XEN_INTERFACE_VERSION__ 0x00040d00
#include <xen/xen.h>

extern char xen_hypercall_page[];

/* Arguments go into rdi, rsi, rdx, r10, and what of these Xen uses it may overwrite. Returns what Xen does:
 * an error of <xen/errno.h>, negated, or something else. */
static inline long xen_hypercall(unsigned number, uint64_t first, uint64_t second, uint64_t third)
{
    long result;
    __asm__ volatile("call *%[entry]"
                     : "=a"(result), "+D"(first), "+S"(second), "+d"(third)
                     : [entry] "r"(xen_hypercall_page + (uintptr_t)number * 32)
                     : "memory", "rcx", "r8", "r9", "r10", "r11");
    return result;
}

static inline long xen_memory_op(unsigned operation, void *arguments)
{
    return xen_hypercall(__HYPERVISOR_memory_op, operation, (uintptr_t)arguments, 0);
}

static inline long xen_event_op(unsigned operation, void *arguments)
{
    return xen_hypercall(__HYPERVISOR_event_channel_op, operation, (uintptr_t)arguments, 0);
}

static inline long xen_grant_op(unsigned operation, void *arguments, unsigned count)
{
    return xen_hypercall(__HYPERVISOR_grant_table_op, operation, (uintptr_t)arguments, count);
}

static inline long xen_hvm_op(unsigned operation, void *arguments)
{
    return xen_hypercall(__HYPERVISOR_hvm_op, operation, (uintptr_t)arguments, 0);
}

static inline long xen_sched_op(unsigned operation, void *arguments)
{
    return xen_hypercall(__HYPERVISOR_sched_op, operation, (uintptr_t)arguments, 0);
}

static inline long xen_console_io(unsigned operation, uint64_t bytes, void *buffer)
{
    return xen_hypercall(__HYPERVISOR_console_io, operation, bytes, (uintptr_t)buffer);
}

#endif
