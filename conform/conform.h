/* SPDX-License-Identifier: MIT
 *
 * Checks of a virtio-mem device as its guest sees it, against the demands of docs/CONFORMANCE.md. They know
 * nothing of the device but its transport: they send it raw requests, right and wrong ones, read its config
 * space, touch its memory, and say of each demand that it is met, that it isn't (with what was sent, what
 * came back and what was expected), or that it couldn't be seen here and why.
 *
 * Freestanding: whatever else is needed comes through struct conform_environment. Nothing is allocated.
 *
 *   window   the first blocks of the region, at most 64, that checks plug and unplug
 *   quota    how many blocks the host is asked to request while checks run
 *   books    what is plugged according to the device's own answers, a bit for each block of the window
 *
 * Before: nobody uses the device or its memory; what is plugged is lost. After: nothing is plugged, the
 * requested size is as it was, and the device is reset.
 */
#ifndef PLEAT_CONFORM_CONFORM_H
#define PLEAT_CONFORM_CONFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/virtio_transport.h>

#define CONFORM_WINDOW 64u

/* Shared memory that suffices, and private memory for the ring's books. */
#define CONFORM_SHARED_BYTES  16384u
#define CONFORM_PRIVATE_BYTES 4096u

enum conform_verdict { CONFORM_PASS = 0, CONFORM_FAIL = 1, CONFORM_SKIP = 2 };

/* What came of one check. The texts are good during the call only. */
struct conform_result {
    unsigned number;     /* from 1 */
    const char *ids;     /* "D-PLUG1 D-PLUG2" */
    const char *title;   /* the demand, in words */
    const char *section; /* of VIRTIO 1.4; or "beyond the letter" */
    bool should;         /* a SHOULD of the specification, not a MUST */
    enum conform_verdict verdict;
    /* Fail: what was sent, what came back, what was expected. Skip: the reason. Pass: what else was seen, or
     * nothing. Lines end with a newline, but for the last. */
    const char *seen;
};

/* What outlives a system reset in a guest that doesn't. */
struct conform_kept {
    uint64_t magic;
    uint64_t bytes; /* of this struct */
    uint64_t first_requested_bytes;
    uint64_t features;
    uint64_t books;
    uint32_t number;
    uint32_t passed;
    uint32_t failed;
    uint32_t skipped;
    uint64_t sum; /* of all before it */
};

struct conform_environment {
    const struct pleat_virtio_transport *transport;
    void *context; /* handed to each function below */

    /* CONFORM_SHARED_BYTES that the device reads and writes, aligned to 64, and its address for it. */
    void *shared;
    uint64_t shared_physical;
    /* CONFORM_PRIVATE_BYTES, aligned to 8. */
    void *private_storage;

    /* Monotonic, in nanoseconds. */
    uint64_t (*clock_ns)(void *context);
    /* Called again and again while a check waits. NULL: it spins. */
    void (*relax)(void *context);
    /* How long an answer, a reset or the host may take; 0: 5 s. */
    uint64_t patience_ns;

    /* Whether MSI-X has been set up is the environment's: PLEAT_VIRTIO_INTERRUPT_ bits of what came since
     * the last call, queue interrupts included. NULL: interrupts can't be seen here. */
    uint32_t (*interrupts)(void *context);
    /* Called after each reset of the device and before its queue is set up: transports with vectors need
     * them set again. NULL: nothing to do. */
    int (*set_vectors)(void *context);

    /* Reads one byte of the device's region, or writes it. PLEAT_OK; PLEAT_E_REFUSED: the access faulted;
     * PLEAT_E_UNSUPPORTED: it can't be tried here. NULL: none can. */
    int (*touch)(void *context, uint64_t physical, uint8_t *byte, bool write);

    /* Asks the host to request another size; that it came shows in the config space, later or never. NULL:
     * nobody to ask. */
    void (*ask_requested)(void *context, uint64_t bytes);

    /* Asks the host to reset the machine. PLEAT_OK: it has been, and this guest survived. A guest that
     * doesn't keeps *kept and calls conform_resume() when it is back. Another value: it wasn't. NULL: nobody
     * to ask. */
    int (*system_reset)(void *context, const struct conform_kept *kept);

    /* Takes each result. */
    void (*result)(void *context, const struct conform_result *result);

    /* Features of the transport to accept where offered: RING_PACKED, EVENT_IDX. */
    uint64_t features;
};

struct conform_counts {
    unsigned passed;
    unsigned failed;
    unsigned skipped;
};

/*
 * Runs all checks, or, with `only` not NULL, those that have this text in their ids. PLEAT_OK: all have
 * had a result. PLEAT_E_NOT_FOUND: the transport has no virtio-mem device. PLEAT_E_DEVICE: it couldn't be
 * brought up at all; the check "bring-up" has failed and says why.
 */
int conform_run(const struct conform_environment *environment, const char *only,
                struct conform_counts *counts);

/* Is this what a run has kept over a system reset? */
bool conform_is_kept(const struct conform_kept *kept);

/* Goes on after a system reset that the guest didn't survive. PLEAT_E_INVALID: that isn't what was kept. */
int conform_resume(const struct conform_environment *environment, const struct conform_kept *kept,
                   struct conform_counts *counts);

/* A result as TAP: a line, and what was seen in lines with # before them. `write` may be called often. */
void conform_print_tap(const struct conform_result *result,
                       void (*write)(void *context, const char *text, size_t bytes), void *context);

#endif
