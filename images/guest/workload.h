/* SPDX-License-Identifier: MIT
 *
 * The guest's workload: each CPU allocates until its share of the memory is filled to a target, then frees a
 * block and allocates others in its place, at a rate.
 *
 * The words are those of `pleat run`. Lifetimes need no list of due times here: blocks with an exponential
 * lifetime all have the same chance to be the next one to go, whatever their age, so the next one is drawn;
 * of a bimodal mixture the class is drawn first; with a fixed lifetime the oldest goes. Of 1,000 neighbouring
 * slots so many are short-lived, so many long-lived, and the rest stays for good, so that what comes and goes
 * is mixed evenly with what stays.
 *
 * Slots of CPU n of N are n, n + N, n + 2N ... One in so many frees is handed to the next CPU, because frames
 * are often freed by somebody else than who allocated them.
 */
#ifndef PLEAT_IMAGES_GUEST_WORKLOAD_H
#define PLEAT_IMAGES_GUEST_WORKLOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "held.h"
#include "options.h"

#define WORKLOAD_CPUS          64u
#define WORKLOAD_MAIL          64u
#define WORKLOAD_GROUP         1000u
#define WORKLOAD_RESTAMP_EVERY 16u

/* Blocks that other CPUs want freed here. */
struct workload_mail {
    _Alignas(64) atomic_uint lock;
    atomic_uint count;
    struct held_block blocks[WORKLOAD_MAIL];
};

/* A CPU's part of the work; that CPU's alone, but for its mail. */
struct workload_cpu {
    _Alignas(64) uint64_t random;
    uint32_t made;             /* slots of this CPU that were ever used */
    uint32_t slots;            /* that it may use */
    uint32_t first_unused;     /* of those made: a list through their notes, ends with `slots` */
    uint32_t oldest, to_write; /* where the oldest block is, and the next one to write to */
    uint64_t live_frames, target_frames;
    uint64_t operations; /* since the target was reached for the first time */
    uint64_t start_ns;
    uint32_t until_restamp, until_remote;
    bool filled;
    struct workload_mail mail;
};

/** Zero it before workload_begin(). */
struct workload {
    struct held *held;
    struct workload_options options;
    unsigned cpus;
    uint64_t rate_per_second; /* of one CPU; 0: as fast as it goes */
    uint32_t group_short,
        group_all;      /* of a group: below the first short-lived, below the second long-lived */
    uint64_t short_ppm; /* of what goes, so much is short-lived */
    struct workload_cpu cpu[WORKLOAD_CPUS];
};

/**
 * Begins a workload over `frames` frames on `cpus` CPUs. `held` has been begun, and is the workload's alone.
 * Errors: INVALID (the fill of so few frames isn't even one for each CPU), NO_MEMORY (room for the table).
 */
int workload_begin(struct workload *workload, struct held *held, const struct workload_options *options,
                   uint64_t frames, unsigned cpus);

/**
 * Does what is due on this CPU, at most `operations` of it. Returns when it wants to be called again: now_ns
 * or earlier while there is more to do.
 */
uint64_t workload_run(struct workload *workload, unsigned cpu, uint64_t now_ns, uint64_t operations);

/** Frees what is in the mail of all CPUs; only while no other CPU works. */
void workload_settle(struct workload *workload);

bool workload_is_filled(const struct workload *workload);

#endif
