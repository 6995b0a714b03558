/* SPDX-License-Identifier: MIT
 *
 * Synthetic workloads: allocations and frees drawn from distributions, the same for the same seed.
 *
 * A workload keeps the memory filled to a target. First it allocates until the target is reached; then
 * it frees the block whose time has come and allocates others in its place. How many frames turn over
 * follows from the mean lifetime: of two operations one is an allocation, so blocks that live for L
 * operations on average are L / 2 at a time. Where the target is more than that, the rest stays for good,
 * mixed evenly with what comes and goes; where it is less, lifetimes are cut short in proportion.
 *
 * The keys, in the form of options.h (pleat_synthetic_help() prints them):
 *
 *   preset=5|20|50        so many percent unmovable, 2 % reclaimable, the rest movable
 *   fill=PERCENT          of the frames: the target (60%)
 *   unmovable=PERCENT, reclaimable=PERCENT    of the allocations (5%, 2%); the rest is movable
 *   orders=ORDER:WEIGHT/ORDER:WEIGHT...       how often each order is asked for (0:96/1:2/2:1/3:1)
 *   lifetime=exponential|fixed|bimodal        (exponential)
 *   mean=LIFETIME         a number of operations, or a time such as 2s (such that everything turns over)
 *   long-mean=LIFETIME, long-share=PERCENT    bimodal: the mean and the share of the long-lived (100 times
 *                                             the mean, 10%)
 *   rate=NUMBER           operations a second (50000)
 *   cpus=NUMBER           that take part (1)
 *   remote=PERCENT        of the frees, by another CPU than the one that allocated (0%)
 *   seed=NUMBER           (1)
 */
#ifndef PLEAT_MACHINE_SYNTHETIC_H
#define PLEAT_MACHINE_SYNTHETIC_H

#include <stdint.h>
#include <stdio.h>

#include "machine/message.h"
#include "machine/operations.h"
#include "machine/random.h"

enum pleat_lifetime { PLEAT_LIFETIME_EXPONENTIAL = 0, PLEAT_LIFETIME_FIXED, PLEAT_LIFETIME_BIMODAL };

/** What a text asks for; pleat_synthetic_parse() fills in what it doesn't name. */
struct pleat_synthetic_config {
    uint32_t fill_ppm;
    uint32_t unmovable_ppm, reclaimable_ppm; /**< together at most PLEAT_PPM */
    uint32_t order_weights[PLEAT_OPERATION_ORDERS];
    enum pleat_lifetime lifetime;
    uint64_t mean_operations;      /**< 0: such that everything turns over */
    uint64_t long_mean_operations; /**< for BIMODAL, with mean_operations; not 0 */
    uint32_t long_share_ppm;
    uint64_t rate_per_second;
    uint32_t cpus; /**< 1 to 256 */
    uint32_t remote_ppm;
    uint64_t seed;
};

/** A lifetime is at most so many operations. */
#define PLEAT_SYNTHETIC_MEAN_MAX ((uint64_t)1 << 40)

/**
 * Reads a text such as "synthetic,fill=60%,unmovable=5%"; the word in front may be left out, and an empty
 * text asks for the defaults. Errors, with CONFIG unchanged: PLEAT_E_INVALID, the message names the key.
 */
int pleat_synthetic_parse(const char *text, struct pleat_synthetic_config *config,
                          struct pleat_message *message);

/** Prints the keys and what they mean. */
void pleat_synthetic_help(FILE *out);

/** A block that the workload holds. */
struct pleat_synthetic_block {
    /** The operation that frees it; UINT64_MAX: stays. */
    uint64_t due;
    uint32_t slot;
};

/** A workload as it goes on; pleat_synthetic_end() gives its storage back. Zeroed: ended. */
struct pleat_synthetic {
    struct pleat_synthetic_config config;
    struct pleat_random random;
    struct pleat_slots slots;
    /** A heap by `due`: the least is the first; live blocks, and of those the ones that turn over. */
    struct pleat_synthetic_block *blocks;
    size_t block_count, block_capacity;
    size_t turning_count;
    /** By slot, what was allocated there. */
    struct pleat_operation *allocations;
    size_t allocation_capacity;
    uint64_t target_frames, live_frames;
    /** Blocks that the target comes to, and how many of them turn over. */
    double target_blocks, turning_blocks;
    double mean_operations, long_mean_operations;
    /** Operations since the target was reached for the first time, and whether it was. */
    uint64_t operations;
    bool filled;
};

/**
 * Begins a workload over FRAMES frames. Errors, with SYNTHETIC ended: PLEAT_E_INVALID (the fill of so few
 * frames isn't even one).
 */
int pleat_synthetic_begin(struct pleat_synthetic *synthetic, const struct pleat_synthetic_config *config,
                          uint64_t frames, struct pleat_message *message);

/** The memory has grown or shrunk to FRAMES: the target follows, and the next operations go there. */
void pleat_synthetic_resize(struct pleat_synthetic *synthetic, uint64_t frames);

/**
 * The next operation, and when it is to be done: 0 while the target hasn't been reached for the first time,
 * then at the config's rate. The stream has no end, and doesn't hear whether an allocation succeeded: whoever
 * does the operations passes over the free of a slot that stayed empty. Errors, with nothing changed:
 * PLEAT_E_NO_MEMORY. Effort: logarithmic in the live blocks.
 */
int pleat_synthetic_next(struct pleat_synthetic *synthetic, struct pleat_operation *operation,
                         uint64_t *time_ns);

/** Gives the storage back. */
void pleat_synthetic_end(struct pleat_synthetic *synthetic);

/**
 * Makes a stream of operations: those that reach the target, as if from before a recording, and COUNT more.
 * Errors, with OPERATIONS empty: those of begin and next.
 */
int pleat_synthetic_prepare(const struct pleat_synthetic_config *config, uint64_t frames, uint64_t count,
                            struct pleat_operations *operations, struct pleat_message *message);

#endif
