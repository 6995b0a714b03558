/* SPDX-License-Identifier: MIT
 *
 * The core as an allocator to replay against: one node, one CPU, all memory there from the start, and movable
 * frames whose owner would move them if he were asked.
 *
 * Placement is judged by the whole free pageblocks that are left: as many as there are free frames for would
 * be perfect. Pageblocks that hold memmap or other frames of the core's own are left out of both counts.
 */
#ifndef PLEAT_MACHINE_REPLAY_CORE_H
#define PLEAT_MACHINE_REPLAY_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include <pleat/pleat.h>

#include "machine/message.h"
#include "machine/replay.h"

struct pleat_replay_core;

/** Least and greatest memory; frames are 4 KiB. */
#define PLEAT_REPLAY_CORE_BYTES_MIN ((uint64_t)4 << 20)
#define PLEAT_REPLAY_CORE_BYTES_MAX ((uint64_t)1 << 40)

/**
 * Reserves addresses for so many bytes of guest memory, a multiple of 2 MiB; host memory is taken only for
 * the core's metadata. With ZONES there are zones DMA (128 MiB) and DMA32 (below 4 GiB) as on a PC, for
 * streams that ask for them; without, all of it is NORMAL. The core is ready for use. Errors, with *CORE
 * NULL: PLEAT_E_INVALID, PLEAT_E_NO_MEMORY; the message says what.
 */
int pleat_replay_core_create(struct pleat_replay_core **core, uint64_t memory_bytes, bool zones,
                             struct pleat_message *message);

/** Begins with an empty core in the same memory, which has been touched by now. Errors: as create. */
int pleat_replay_core_reset(struct pleat_replay_core *core, struct pleat_message *message);

/** Gives everything back; NULL is fine. */
void pleat_replay_core_destroy(struct pleat_replay_core *core);

/** The core itself. */
struct pleat *pleat_replay_core_pleat(struct pleat_replay_core *core);

/** pleat_replay_run() with direct calls into the core, on the calling thread as CPU 0. */
void pleat_replay_core_run(struct pleat_replay_core *core, struct pleat_replay *replay, size_t first,
                           size_t end, struct pleat_replay_result *result);

/** Frees what the replay's first COUNT operations left live; returns what the core didn't know. */
uint64_t pleat_replay_core_release(struct pleat_replay_core *core, struct pleat_replay *replay, size_t count);

struct pleat_replay_placement {
    uint64_t free_frames;         /**< outside of pageblocks with memmap */
    uint64_t free_pageblocks;     /**< free as a whole */
    uint64_t possible_pageblocks; /**< free_frames / 512, rounded down */
    uint64_t left_out_pageblocks; /**< those with memmap or tables */
};

/** Counts; CPU caches are drained first. Effort: a look at every pageblock. Errors: those of pleat_look(). */
int pleat_replay_core_placement(struct pleat_replay_core *core, struct pleat_replay_placement *placement);

#endif
