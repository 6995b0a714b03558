/* SPDX-License-Identifier: MIT
 *
 * What the files of the hosted port share.
 *
 * The guest's memory is one reserved range of addresses. A bit for each frame says whether the port has
 * mapped it; the bits are what the guard reads in a signal handler, so they are atomic, and they stand in
 * memory that the host provides a page at a time.
 */
#ifndef PORTS_HOSTED_H
#define PORTS_HOSTED_H

#include <pthread.h>
#include <stdatomic.h>

#include <pleat/error.h>
#include <pleat/hosted.h>

struct pleat_hosted {
    struct pleat_hosted_config config;
    struct pleat_port port;
    unsigned char *memory;
    uint64_t bytes;
    int memfd; /**< -1: a caller's mapping */
    _Atomic uint64_t *mapped;
    size_t mapped_bytes;
    pthread_mutex_t lock; /**< of what follows */
    unsigned fatals;
    char last_fatal[256];
};

/** The host's monotonic clock. */
uint64_t hosted_now_ns(void);

/** write(2) to stderr, all of it: for places where stdio isn't allowed. */
void hosted_print(const char *text);

/** `what: line`, a backtrace of the caller, abort(). */
_Noreturn void hosted_stop(const char *what, const char *line);

/** The guard: from here on, touches of this memory are named. */
int hosted_guard_add(struct pleat_hosted *hosted);
void hosted_guard_remove(struct pleat_hosted *hosted);

/** Whether the bit of the frame that is the index-th is set. */
static inline bool hosted_bit(const struct pleat_hosted *hosted, uint64_t index)
{
    return atomic_load_explicit(&hosted->mapped[index / 64], memory_order_relaxed) >> index % 64 & 1;
}

#endif
