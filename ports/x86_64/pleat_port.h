/* SPDX-License-Identifier: MIT
 *
 * The fast half of the x86-64 port: what <pleat/port.h> wants inlined, for the CPUs of a bare machine.
 *
 * %gs points to what a CPU knows of itself (struct cpu in cpus.h), so that its number is one load. Interrupt
 * handlers may allocate: pinning keeps them out.
 */
#ifndef PLEAT_PORT_INLINE_H
#define PLEAT_PORT_INLINE_H

/* Offsets in struct cpu, asserted in cpus.c. */
#define X86_CPU_NUMBER   0
#define X86_CPU_FLAGS    8
#define X86_CPU_ANSWERED 16
#define X86_FLAGS_IF     0x200ul

/* Answers what other CPUs wait for: see cpus.h. */
void x86_answer(void);
extern unsigned long x86_asked;

static inline unsigned pleat_port_cpu(void)
{
    unsigned cpu;
    /* Not volatile: what runs on a CPU stays there, so that the compiler may keep the number. */
    __asm__("movl %%gs:%c1, %0" : "=r"(cpu) : "i"(X86_CPU_NUMBER));
    return cpu;
}

static inline void pleat_port_pin(void)
{
    unsigned long flags;
    __asm__ volatile("pushfq; popq %0; cli; movq %0, %%gs:%c1" : "=r"(flags) : "i"(X86_CPU_FLAGS) : "memory");
}

static inline void pleat_port_unpin(void)
{
    unsigned long flags;
    __asm__ volatile("movq %%gs:%c1, %0" : "=r"(flags) : "i"(X86_CPU_FLAGS) : "memory");
    if (flags & X86_FLAGS_IF)
        __asm__ volatile("sti" ::: "memory");
}

/* With interrupts off, nothing else would answer a CPU that waits for this one. */
static inline void pleat_port_pause(void)
{
    unsigned long answered;
    __asm__ volatile("movq %%gs:%c1, %0" : "=r"(answered) : "i"(X86_CPU_ANSWERED));
    if (__atomic_load_n(&x86_asked, __ATOMIC_RELAXED) != answered)
        x86_answer();
    else
        __builtin_ia32_pause();
}

#endif
