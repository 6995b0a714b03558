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

#include <pleat/port.h>

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

/**
 * Lets another thread run: what a long spin comes to, since the thread that it waits for may have no host
 * CPU. A spin that lasts for pleat_hosted_spin_limit() is misuse: nobody inside of Pleat waits that long, so
 * that a callback has called what takes the lock that it runs under, or a thread ended inside of the core.
 */
void pleat_hosted_yield(void);

/** Sets, for all threads, how long a spin may last; 0: the default of 30 s. */
void pleat_hosted_spin_limit(unsigned milliseconds);

/** Hears of misuse found on the calling thread: `line` says which. It may leave with longjmp(); if it
 * returns, the port goes on as if nothing were. */
typedef void pleat_hosted_misuse_fn(void *context, const char *line);

/** Who hears of misuse on the calling thread, for tests. NULL: the line is printed with a backtrace, and the
 * process ends by abort(). */
void pleat_hosted_on_misuse(pleat_hosted_misuse_fn *hear, void *context);

/** Says that the calling thread did what it mustn't. */
void pleat_hosted_misuse(const char *line);

/**
 * Runs `run` on `cpus` threads at once, thread n being CPU n, and returns when all have returned. Where this
 * process may use that many host CPUs, each thread keeps to one of its own. Errors: INVALID (no CPU, or more
 * than PLEAT_MAX_CPUS), NO_MEMORY (the host has no thread left; nothing ran).
 */
int pleat_hosted_run_cpus(unsigned cpus, void (*run)(void *context, unsigned cpu), void *context);

/* --- Guest memory, and the table of functions --------------------------------------------------------- */

/** One machine's memory in this process, and the port that reaches it. */
struct pleat_hosted;

/**
 * What a port of threads as CPUs may have as its fence_cpus: membarrier(). NULL where the host's kernel
 * doesn't allow it.
 */
void (*pleat_hosted_fence(void))(void *context);

/** What the port's fatal() does. */
enum pleat_hosted_fatal {
    PLEAT_HOSTED_FATAL_STOPS = 0,  /**< it is misuse: see pleat_hosted_on_misuse() */
    PLEAT_HOSTED_FATAL_RECORDS = 1 /**< the line is kept, and the call that met it fails */
};

/** A touch of guest memory that isn't there. */
struct pleat_hosted_touch {
    uint64_t pfn;
    uint64_t offset_bytes; /**< in the frame */
    bool write;            /**< false also where the host's CPU doesn't tell */
    bool mapped;           /**< the port had mapped it, and the host had no memory behind it */
    const char *line;      /**< all of it in words, without a newline */
};

/** Everything zero means the defaults; only frames has to be there. */
struct pleat_hosted_config {
    uint64_t first_pfn;   /**< of the guest's physical memory */
    uint64_t frames;      /**< that there can ever be; addresses are reserved for all of them */
    unsigned frame_shift; /**< log2 of the bytes of a frame; 0: 12; not less than a host page */
    /** The caller's own mapping of all those frames, which must outlive the port; frame first_pfn is at its
     * start. NULL: the port makes one over a memfd. */
    void *memory;
    /** All memory is accessible from the start and for good: the port has no map and unmap. Else no frame is
     * accessible before it is mapped, and a caller's mapping is made so too, unless `map` is given. */
    bool accessible;
    /** In place of the port's own (mprotect); as in <pleat/port.h>. Both or none. */
    int (*map)(void *context, uint64_t pfn, uint64_t frames);
    void (*unmap)(void *context, uint64_t pfn, uint64_t frames);
    /** A clock in place of the host's. NULL: CLOCK_MONOTONIC. */
    uint64_t (*clock_ns)(void *context);
    /** In place of a line on stderr. */
    void (*log)(void *context, enum pleat_log_level level, const char *line);
    unsigned log_levels; /**< that are logged: 1 is errors only, 4 is all; 0: 2, errors and warnings */
    enum pleat_hosted_fatal fatal;
    /** Says what is known of a frame, for the line that names a touch: the state of its block, its owner.
     * Writes at most `bytes` of text with a NUL. Called in a signal handler, on any thread, with any lock
     * held: it may only read, and what it reads may be half changed. NULL: nothing more is said. */
    void (*describe)(void *context, uint64_t pfn, char *text, size_t bytes);
    /** Hears of a touch, in the signal handler, and leaves it with siglongjmp(). If it returns, or is NULL,
     * the line and a backtrace are printed and the process ends by abort(). */
    void (*touched)(void *context, const struct pleat_hosted_touch *touch);
    /** Memory that comes on demand: hears of a touch before anybody else. True: the frame is accessible now,
     * and the touch is to be repeated. In the signal handler, so it calls what may be called there. NULL: no
     * memory comes so. */
    bool (*bring)(void *context, uint64_t pfn, bool write);
    void *context; /**< handed to all of these */
};

/**
 * Reserves the addresses and makes the port. Touches of frames that aren't accessible are caught from then
 * on, by a handler of SIGSEGV and SIGBUS for the whole process; a fault elsewhere goes to the handler that
 * was there before. Errors: INVALID, NO_MEMORY (addresses, memfd), BUSY (64 of them exist already), with
 * `*hosted` NULL.
 */
int pleat_hosted_create(struct pleat_hosted **hosted, const struct pleat_hosted_config *config);

/** Puts the handler on top again, for a process in which somebody else has put one there since. */
void pleat_hosted_guard(void);

/** Gives all back; a caller's mapping stays as it is then. NULL is allowed. */
void pleat_hosted_destroy(struct pleat_hosted *hosted);

/** The port, to hand to pleat_init(); it lives as long as `hosted`. */
const struct pleat_port *pleat_hosted_port(struct pleat_hosted *hosted);

/** Where frame `pfn` is, accessible or not; NULL if it lies outside of the guest's memory. */
void *pleat_hosted_pointer(struct pleat_hosted *hosted, uint64_t pfn);

/** Whether the port has mapped the frame. */
bool pleat_hosted_is_mapped(struct pleat_hosted *hosted, uint64_t pfn);

/** Gives the host memory of frames back; they read as zeroes afterwards. Only for the port's own memory.
 * Errors: INVALID, UNSUPPORTED (a caller's mapping). */
int pleat_hosted_discard(struct pleat_hosted *hosted, uint64_t pfn, uint64_t frames);

/** How often fatal() was called with PLEAT_HOSTED_FATAL_RECORDS. */
unsigned pleat_hosted_fatals(struct pleat_hosted *hosted);

/** The last line that was recorded (cut after 255 characters), or "". Valid until the next one. */
const char *pleat_hosted_last_fatal(struct pleat_hosted *hosted);

#ifdef __cplusplus
}
#endif
#endif
