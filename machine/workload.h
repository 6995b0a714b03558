/* SPDX-License-Identifier: MIT
 *
 * The guest's workload: its CPUs allocate and free frames as a stream of operations says, and know what is in
 * every frame that they hold.
 *
 * A block that is allocated is stamped: eight words of every frame get values that belong to this allocation
 * alone. The stamp is checked when the block is freed, after each migration and at the end, so that a frame
 * that was lost, handed out twice or copied in part can't go unseen. Now and then a CPU stamps one of its
 * blocks anew, as programs write to their memory: so a migration that reads while somebody writes is seen
 * too.
 *
 * The stream is a recorded trace or a synthetic one. A trace is shared out by slots: CPU n of N does the
 * operations of the slots n, n + N, n + 2N ..., so that a block's free never has to wait for another CPU; of
 * a synthetic workload each CPU has a stream of its own. One in so many frees is handed to the next CPU,
 * because frames are often freed by somebody else than who allocated them.
 *
 * Three owners stand behind the frames: "user" (movable), "kernel" (unmovable), "slab" (reclaimable).
 */
#ifndef PLEAT_MACHINE_WORKLOAD_H
#define PLEAT_MACHINE_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include <pleat/pleat.h>

#include "machine/clock.h"
#include "machine/fault.h"
#include "machine/machine.h"
#include "machine/message.h"
#include "machine/operations.h"
#include "machine/synthetic.h"

struct pleat_workload;

struct pleat_workload_setup {
    struct pleat *core;
    /** Where frame 0 of the guest is in this process; frames of 4 KiB follow each other. */
    unsigned char *memory;
    unsigned cpus; /**< guest CPUs that take part, 1 to PLEAT_MACHINE_CPUS_MAX */
    /** The stream: one of the two. Both must outlive the workload. */
    const struct pleat_operations *operations;
    const struct pleat_synthetic_config *synthetic;
    uint64_t frames; /**< of which a synthetic workload fills its share */
    const char *name;
    uint64_t speed_ppm; /**< 0: as fast as it goes */
    bool repeat;
    uint32_t remote_free;
    uint64_t seed;
    const struct pleat_clock *clock;
    struct pleat_faults *faults;
    /** Hears once, on the thread that found it, that a stamp was wrong. May be NULL. */
    void (*broken)(void *context, const char *line);
    void *context;
};

/** Registers the owners. Errors: NO_MEMORY, INVALID. */
int pleat_workload_create(const struct pleat_workload_setup *setup, struct pleat_workload **workload,
                          struct pleat_message *message);

/** Frees the host's memory; the guest's frames go with the core. NULL is allowed. */
void pleat_workload_destroy(struct pleat_workload *workload);

/**
 * Does what is due on this CPU, at most `operations` of it; the calling thread is that CPU. Returns the time
 * at which it wants to be called again: now or earlier when there is more to do, UINT64_MAX when it has
 * ended.
 */
uint64_t pleat_workload_run(struct pleat_workload *workload, unsigned cpu, uint64_t operations);

/** For pleat_config.reclaim: frees reclaimable blocks of about so many frames. */
uint64_t pleat_workload_reclaim(struct pleat_workload *workload, uint64_t frames);

/**
 * Checks the stamps of all that is held, and that no frame is held twice. Only while nothing of the guest
 * runs. `held_frames` receives how many frames are held. PROTOCOL: the first thing that was ever wrong.
 */
int pleat_workload_check(struct pleat_workload *workload, uint64_t *held_frames,
                         struct pleat_message *message);

/** Any thread. */
void pleat_workload_info(struct pleat_workload *workload, struct pleat_workload_info *info);

#endif
