/* SPDX-License-Identifier: MIT
 *
 * A small, obvious guest memory behind struct pleat_memory_ops, for tests of drivers: one byte of state for
 * each frame of a region, and a count of frames elsewhere. It checks what a driver does with it, and stops
 * the program at the first breach: a map of memory that isn't plugged, an add without mapped metadata, an
 * unmap of memory in use. Errors can be injected.
 */
#ifndef PLEAT_TESTS_MODEL_MEMORY_H
#define PLEAT_TESTS_MODEL_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include <pleat/memory_ops.h>

#define MODEL_FRAME_BYTES UINT64_C(4096)

enum model_frame {
    MODEL_NONE = 0, /* of no added block */
    MODEL_METADATA,
    MODEL_WITHHELD,
    MODEL_FREE,
    MODEL_MOVABLE,
    MODEL_UNMOVABLE,
    MODEL_PINNED /* movable, but its owner refuses */
};

/* Calls that can be made to fail. */
enum model_call {
    MODEL_ADD,
    MODEL_REMOVE,
    MODEL_MAP,
    MODEL_GIVE,
    MODEL_TAKE_BEGIN,
    MODEL_TAKE_STEP,
    MODEL_WITHHOLD,
    MODEL_CALLS
};

struct model_block {
    enum pleat_block_state state;
    const struct pleat_memory_owner *owner;
    unsigned node;
};

struct model_memory {
    struct pleat_memory memory;
    struct pleat_memory_ops ops; /* tests may take functions out */
    uint64_t address;
    uint64_t frames;
    uint64_t boot_bytes;
    uint64_t withheld_last; /* a frame: the next one is looked for below it */
    uint8_t *frame;         /* enum model_frame */
    bool *dirty;            /* for each frame: plugged since anybody has written it */
    bool *mapped;           /* for each piece */
    struct model_block *block;
    uint64_t elsewhere_free; /* frames outside of the region */
    bool online_on_add;
    uint64_t clock_ns;
    uint64_t tick_ns; /* the clock goes on by this at each take_step */

    int error[MODEL_CALLS]; /* what the call answers, if not 0 ... */
    unsigned after[MODEL_CALLS];
    unsigned times[MODEL_CALLS]; /* ... so often, after so many good ones */
    uint64_t calls[MODEL_CALLS];
    bool forgets_offline;      /* a take of blocks doesn't tell the owner that they went offline */
    bool pins_wait;            /* pinned frames are tried again for as long as the take goes on */
    uint64_t isolated_address; /* by the take in progress */
    uint64_t isolated_bytes;
    uint64_t leaving_address; /* what its owner meant to take back, as of the last take */
    uint64_t leaving_bytes;
    uint64_t looks;
    uint64_t moved_frames;

    /* What the device says. */
    bool (*is_plugged)(void *context, uint64_t address, uint64_t bytes);
    void *context;
    char last_line[320];
    unsigned lines;
};

struct model_shape {
    uint64_t address;
    uint64_t bytes; /* whole blocks */
    uint64_t block_bytes;
    uint64_t piece_bytes;
    uint64_t metadata_bytes;
};

void model_memory_init(struct model_memory *model, const struct model_shape *shape);
void model_memory_free(struct model_memory *model);
/* The first `bytes` of the region (whole blocks) are boot memory, mapped and free. From now on single frames
 * may be given. */
void model_boot(struct model_memory *model, uint64_t bytes);

/* Stops the program unless all that is in use is mapped and plugged, and nothing else is mapped. */
void model_memory_check(const struct model_memory *model);
/* The same for one range that the device is about to unplug: nothing of it is in use or mapped. */
void model_memory_check_unused(const struct model_memory *model, uint64_t address, uint64_t bytes);

/* What is plugged there now holds anything. */
void model_memory_plugged(struct model_memory *model, uint64_t address, uint64_t bytes);

/* Sets frames that are in the allocator (free or used) to another such state. */
void model_use(struct model_memory *model, uint64_t address, uint64_t bytes, enum model_frame state);
/* Sets up to `frames` free frames, from a random one on, to `state`; returns how many. */
uint64_t model_allocate(struct model_memory *model, uint64_t random, uint64_t frames, enum model_frame state);
/* Frees up to `frames` used frames, from a random one on. */
uint64_t model_release(struct model_memory *model, uint64_t random, uint64_t frames);
uint64_t model_count(const struct model_memory *model, enum model_frame state);
/* In the range, in bytes. */
uint64_t model_bytes(const struct model_memory *model, uint64_t address, uint64_t bytes,
                     enum model_frame state);

/* The administrator: errors as pleat_online() and an offline would have. */
int model_online(struct model_memory *model, uint64_t address);
int model_offline(struct model_memory *model, uint64_t address);
enum pleat_block_state model_state(const struct model_memory *model, uint64_t address);

/* Makes a call fail `times` times after `after` good ones. */
void model_fail(struct model_memory *model, enum model_call call, int error, unsigned after, unsigned times);

#endif
