/* SPDX-License-Identifier: MIT
 *
 * The fast half of the hosted port: what <pleat/port.h> wants inlined, for threads as CPUs.
 *
 * A thread is a CPU and nothing else runs on it, so that pinning has nothing to do. In strict builds it
 * checks instead; release builds pay nothing for it. This file is included by freestanding code.
 */
#ifndef PLEAT_PORT_INLINE_H
#define PLEAT_PORT_INLINE_H

#include <pleat/hosted.h>

#if defined(PLEAT_DEBUG) && !defined(PLEAT_STRICT)
#define PLEAT_STRICT 1
#endif

static inline unsigned pleat_port_cpu(void)
{
#ifdef PLEAT_STRICT
    if (pleat_hosted_thread.cpu == PLEAT_HOSTED_NO_CPU)
        pleat_hosted_misuse("asked for the CPU number on a thread that is no CPU");
#endif
    return pleat_hosted_thread.cpu;
}

static inline void pleat_port_pin(void)
{
#ifdef PLEAT_STRICT
    if (pleat_hosted_thread.cpu == PLEAT_HOSTED_NO_CPU)
        pleat_hosted_misuse("pin on a thread that is no CPU");
    if (pleat_hosted_thread.pinned)
        pleat_hosted_misuse("pin inside of a pin");
    pleat_hosted_thread.pinned = 1;
#endif
}

static inline void pleat_port_unpin(void)
{
#ifdef PLEAT_STRICT
    if (!pleat_hosted_thread.pinned)
        pleat_hosted_misuse("unpin without a pin");
    pleat_hosted_thread.pinned = 0;
#endif
}

static inline void pleat_port_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
    if (++pleat_hosted_thread.pauses % 64 == 0)
        pleat_hosted_yield();
}

#endif
