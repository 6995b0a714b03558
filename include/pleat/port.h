/* SPDX-License-Identifier: MIT
 *
 * What a host owes the guest side: the core and the drivers call nothing else.
 *
 * The debts are of two kinds.
 *
 * 1. Inlined, because they are on the fast path. The embedder puts a header named "pleat_port.h" on the
 *    include path with these four functions (see ports/template/pleat_port.h):
 *
 *        static inline unsigned pleat_port_cpu(void);
 *            The number of the CPU that runs this, from 0 to pleat_config.cpus - 1. It has to stay true
 *            from pleat_port_pin() to pleat_port_unpin().
 *        static inline void pleat_port_pin(void);
 *            From here to pleat_port_unpin(), this thread stays on its CPU and nothing else runs there
 *            that could call pleat_alloc() or pleat_free(): no preemption, no interrupt handler that
 *            allocates. Pinned stretches are short (the longest empty a CPU's caches, or search when
 *            memory is nearly out) and don't nest. Where a thread is a CPU, it does nothing.
 *        static inline void pleat_port_unpin(void);
 *            Ends it.
 *        static inline void pleat_port_pause(void);
 *            A hint that this CPU spins on another one (x86: pause). May do nothing.
 *
 * 2. In a table of functions with a context, one for each instance, because they are cold.
 *
 * The smallest useful port has the four inline functions and frame_pointer. One that several CPUs use in
 * earnest has fence_cpus too: it makes every pleat_alloc() and pleat_free() cheaper.
 */
#ifndef PLEAT_PORT_H
#define PLEAT_PORT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum pleat_log_level {
    PLEAT_LOG_ERROR = 0,   /**< something is lost or broken */
    PLEAT_LOG_WARNING = 1, /**< a request could not be met; everything goes on */
    PLEAT_LOG_INFO = 2,    /**< what a person wants to know of a normal run */
    PLEAT_LOG_DEBUG = 3    /**< each step */
};

struct pleat_port {
    /** Handed to every function below. */
    void *context;

    /**
     * Where the core can read and write the content of frame `pfn`. The core asks only for frames that it
     * keeps metadata in (tables and memmaps) and that were given to it; consecutive frames of one boot span
     * or of one added range are consecutive through the pointer too, and it stays valid until the frames
     * are removed. Called under the hotplug lock. Never fails. Required.
     */
    void *(*frame_pointer)(void *context, uint64_t pfn);

    /**
     * Makes `frames` frames from `pfn` accessible (page tables), or no longer. map() may fail with a
     * negative pleat_error and has then changed nothing. unmap() must not fail, and returns after no CPU can
     * reach the frames any more (it does the TLB shootdown). Both NULL: memory that is plugged is always
     * accessible.
     */
    int (*map)(void *context, uint64_t pfn, uint64_t frames);
    void (*unmap)(void *context, uint64_t pfn, uint64_t frames);

    /** A monotonic clock in nanoseconds, for deadlines. NULL: deadlines are refused as unsupported. */
    uint64_t (*clock_ns)(void *context);

    /**
     * One line of text without a newline, valid during the call. May be called under the hotplug lock, never
     * from pleat_alloc() or pleat_free() on their fast paths. NULL: nothing is logged.
     */
    void (*log)(void *context, enum pleat_log_level level, const char *line);

    /**
     * A broken invariant of Pleat's own was found, or the embedder gave a frame back that isn't allocated
     * that way: `line` says which. A strict port stops here. If it returns, the call that met it fails with
     * PLEAT_E_MISUSE and changes nothing. NULL: as if it returned.
     */
    void (*fatal)(void *context, const char *line);

    /**
     * Returns after every CPU has passed a full memory barrier: what each of them did before is seen by the
     * caller then, and what the caller did before is seen by each of them from its barrier on. An interrupt
     * to every CPU does it, or membarrier() on Linux; with one CPU, nothing does. Where it is there, a CPU
     * enters its own caches with plain stores, and who wants into another CPU's calls this first; NULL: each
     * entry is an atomic read-modify-write.
     *
     * Called by who adds, takes, removes, drains, or allocates when memory is nearly out; never pinned, maybe
     * under the hotplug lock, and with interrupts off if the caller of pleat_alloc() had them off. Several
     * CPUs may be in it at once: whoever waits in it for others answers their fences meanwhile, and so must
     * pleat_port_pause() if it can be called with interrupts off. Never fails.
     */
    void (*fence_cpus)(void *context);
};

#ifdef __cplusplus
}
#endif
#endif
