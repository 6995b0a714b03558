/* SPDX-License-Identifier: MIT
 *
 * A starting point for a port of your own: the fast half. Copy this folder, then change what the comments
 * name. As it stands it serves one CPU that isn't interrupted by anything that allocates.
 *
 * The guest side is compiled with this folder on the include path, so that these functions end up inside
 * of pleat_alloc() and pleat_free(). Only the compiler's own headers are there.
 */
#ifndef PLEAT_PORT_INLINE_H
#define PLEAT_PORT_INLINE_H

/**
 * The number of the CPU that runs this, from 0 to pleat_config.cpus - 1.
 *
 * With several CPUs: read it from where your kernel keeps it, as cheaply as can be (a word behind %gs on
 * x86-64, behind TPIDR_EL1 on arm64, behind tp on RISC-V).
 */
static inline unsigned pleat_port_cpu(void)
{
    return 0;
}

/**
 * From here to unpin, this thread stays on its CPU, and nothing that allocates or frees runs there.
 *
 * With threads that are preempted: forbid preemption. With interrupt handlers that allocate or free: forbid
 * interrupts, and keep what was there before in a word of the CPU, for unpin. Pins don't nest.
 */
static inline void pleat_port_pin(void)
{
}

static inline void pleat_port_unpin(void)
{
}

/** This CPU spins on another one; with a hypervisor below, a hint saves it from spinning for long. */
static inline void pleat_port_pause(void)
{
}

#endif
