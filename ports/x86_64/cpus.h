/* SPDX-License-Identifier: MIT
 *
 * The CPUs: what each knows of itself, how they are started, and how they ask each other for a barrier.
 */
#ifndef PORTS_X86_64_CPUS_H
#define PORTS_X86_64_CPUS_H

#include <stdbool.h>
#include <stdint.h>

#include "ports/bare/acpi.h"
#include "ports/bare/platform.h"

#define CPU_STACK_BYTES       49152u
#define CPU_FAULT_STACK_BYTES 4096u

/* In cache lines of its own: others spin on `answered`. */
struct cpu {
    _Alignas(64) unsigned number;
    uint32_t apic_id;
    /* Flags from before the pin. */
    uint64_t flags;
    /* The number of x86_asked that this CPU has answered last. */
    unsigned long answered;
    /* The number of flushes that its TLB has seen. */
    unsigned long flushed;
    /* Upper ends of its stacks. The second fault stack is below the first one. */
    uint64_t stack, fault_stack;
    bool running;
    /* Since its last barrier it has done nothing, and won't before its next one. */
    bool asleep;
    /* An interrupt has come since platform_wake_begin(). */
    bool woken;
    /* What it was given to run; NULL: it idles. */
    void (*run)(void *context, unsigned cpu);
    void *context;
};

extern struct cpu cpus[PLATFORM_CPUS];

/* This CPU is CPU 0, from here on. */
void cpus_boot(void);
/* Gives CPU 0 its stacks. */
void cpus_make_stacks(struct cpu *cpu);
/* Starts all others that the table names; `page` is a frame below 1 MiB that may be written to. 0: there is
 * none. */
void cpus_start(const struct acpi *acpi, uint64_t page);

/* The first thing in an interrupt: it may have ended this CPU's sleep. */
void cpus_awake(struct cpu *me);

/* Every CPU has passed a full barrier when this returns, and with flush its TLB has forgotten all that isn't
 * global. Any number of CPUs may be in it at once, with interrupts on or off. */
void cpus_fence(void);
void cpus_flush(void);

#endif
