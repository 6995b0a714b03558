/* SPDX-License-Identifier: MIT
 *
 * The fast half of the riscv64 port: what <pleat/port.h> wants inlined. This port runs one hart and enables
 * no interrupt, so that nothing ever runs between two instructions of it.
 */
#ifndef PLEAT_PORT_INLINE_H
#define PLEAT_PORT_INLINE_H

static inline unsigned pleat_port_cpu(void)
{
    return 0;
}

static inline void pleat_port_pin(void)
{
}

static inline void pleat_port_unpin(void)
{
}

static inline void pleat_port_pause(void)
{
    /* The instruction "pause"; a hint, so that harts which don't know it pass over it. */
    __asm__ volatile(".word 0x0100000f" ::: "memory");
}

#endif
