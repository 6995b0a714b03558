/* SPDX-License-Identifier: MIT
 *
 * The hosted port: the guest side as a part of an ordinary Linux process. Threads are the CPUs, a reserved
 * range of addresses is the guest's physical memory.
 *
 * It is the strictest port. Frames that aren't mapped are inaccessible, and a touch of one is named before
 * it ends the process. In strict builds (PLEAT_STRICT, on with PLEAT_DEBUG) pinning is checked too: a pin
 * inside of a pin, an unpin without a pin, and a thread that is no CPU are named and end the process.
 */
#ifndef PLEAT_HOSTED_H
#define PLEAT_HOSTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- Threads as CPUs ---------------------------------------------------------------------------------- */

/** The CPU number of a thread that isn't a CPU: what every thread starts with. */
#define PLEAT_HOSTED_NO_CPU 0xffffffffu

/** What the port keeps for each thread. Only pleat_port.h and the port itself use the fields. */
struct pleat_hosted_thread {
    unsigned cpu;    /**< PLEAT_HOSTED_NO_CPU, or the number */
    unsigned pinned; /**< 1 from pin to unpin; kept in strict builds only */
    unsigned pauses; /**< pause hints so far: a long spin gives the host CPU away */
};

/*
 * Initial-exec is the cheapest model that works both ways: in a program the linker turns it into one
 * %fs-relative (or the like) access, in a shared library it is one load more, and never a call.
 */
__extension__ extern __thread struct pleat_hosted_thread pleat_hosted_thread
    __attribute__((tls_model("initial-exec")));

/**
 * Makes the calling thread CPU `cpu`, or no CPU with PLEAT_HOSTED_NO_CPU. A thread is to call it before it
 * allocates or frees; no two threads that use one instance may have the same number. Not while pinned.
 */
void pleat_hosted_cpu_set(unsigned cpu);

/** The calling thread's CPU number, or PLEAT_HOSTED_NO_CPU. */
unsigned pleat_hosted_cpu(void);

/** Lets another thread run: what a long spin comes to, since the thread that it waits for may have no host
 * CPU. */
void pleat_hosted_yield(void);

/** Hears of misuse found on the calling thread: `line` says which. It may leave with longjmp(); if it
 * returns, the port goes on as if nothing were. */
typedef void pleat_hosted_misuse_fn(void *context, const char *line);

/** Who hears of misuse on the calling thread, for tests. NULL: the line is printed with a backtrace, and the
 * process ends by abort(). */
void pleat_hosted_on_misuse(pleat_hosted_misuse_fn *hear, void *context);

/** Says that the calling thread did what it mustn't. */
void pleat_hosted_misuse(const char *line);

#ifdef __cplusplus
}
#endif
#endif
