/* SPDX-License-Identifier: MIT
 *
 * The fast half of the aarch64 port. TPIDR_EL1 holds the CPU's number. Devices are polled and interrupts stay
 * masked, so that nothing has to be kept out by a pin.
 */
#ifndef PLEAT_PORT_INLINE_H
#define PLEAT_PORT_INLINE_H

static inline unsigned pleat_port_cpu(void)
{
    unsigned long cpu;
    /* Not volatile: what runs on a CPU stays there, so that the compiler may keep the number. */
    __asm__("mrs %0, tpidr_el1" : "=r"(cpu));
    return (unsigned)cpu;
}

static inline void pleat_port_pin(void)
{
    __asm__ volatile("" ::: "memory");
}

static inline void pleat_port_unpin(void)
{
    __asm__ volatile("" ::: "memory");
}

static inline void pleat_port_pause(void)
{
    __asm__ volatile("yield" ::: "memory");
}

#endif
