/* SPDX-License-Identifier: MIT
 *
 * The contract of a port: what <pleat/port.h> promises to the guest side, as checks that any port can run.
 *
 * Freestanding, so that a bare-metal image runs the same checks as the tests of the hosted port: a check
 * returns NULL, or a text that says which promise was broken. What a check can't do by itself (survive a
 * fault, run on several CPUs) the port's test program brings; where it doesn't, that promise isn't checked.
 */
#ifndef TESTS_PORTS_CONTRACT_H
#define TESTS_PORTS_CONTRACT_H

#include <stdbool.h>
#include <stdint.h>

#include <pleat/port.h>

/** The most CPUs that the checks use. */
#define CONTRACT_CPUS 8

/** A port, and what its test program can do. */
struct contract {
    const struct pleat_port *port;
    unsigned frame_shift;
    /** One span of memory that the checks may write to; with map, none of it is mapped. At least 8 frames. */
    uint64_t start_pfn;
    uint64_t frames;
    unsigned cpus; /**< at most CONTRACT_CPUS */

    /** Runs `run` on all CPUs at once, and returns when all have returned. NULL: only this one. */
    void (*on_all_cpus)(void *context, void (*run)(void *argument, unsigned cpu), void *argument);
    /** Reads a byte, or writes to it; returns false if that faulted. NULL: faults can't be survived. */
    bool (*touch)(void *context, volatile unsigned char *byte, bool write);
    /** The last line that reached the people who read the log, or NULL. NULL: it can't be read back. */
    const char *(*last_line)(void *context);
    void *context;
};

struct contract_check {
    const char *name;
    const char *(*check)(const struct contract *contract);
};

/** All checks; the last one has a NULL name. */
extern const struct contract_check contract_checks[];

#endif
