/* SPDX-License-Identifier: MIT
 *
 * What the guest's workloads hold: a table of slots, each empty or with a block of frames whose content is
 * known.
 *
 * A block is stamped when it is allocated: eight words of every frame get values that belong to this
 * allocation alone. They are checked when it is freed, after each migration, and at the end, so that a frame
 * that was lost, handed out twice or copied in part can't go unseen. Three owners stand behind the frames:
 * "user" (movable), "kernel" (unmovable), "slab" (reclaimable).
 *
 * A slot is changed under a lock of its own, which is held for short steps only and never across a call into
 * the core, because the core calls isolate, migrate and putback with locks of its own held:
 *
 *   UNUSED    nothing, and nobody expects anything
 *   EMPTY     a block was wanted; its allocation was refused, or it was reclaimed
 *   HELD      the block is ours, and may be stamped anew
 *   ISOLATED  held, and the core is about to move it: nobody writes to it
 *   FREEING   on its way back to the core: a migration doesn't look at its content any more
 */
#ifndef PLEAT_IMAGES_GUEST_HELD_H
#define PLEAT_IMAGES_GUEST_HELD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <pleat/pleat.h>

#define HELD_MOBILITIES  3u
#define HELD_CHUNK_ORDER PLEAT_PAGEBLOCK_ORDER
#define HELD_CHUNKS      2048u
#define HELD_LINE_BYTES  256u

struct held_slot {
    atomic_uint word;    /* lock, state, order and mobility */
    uint32_t generation; /* with the slot's number, the key of the stamp */
    uint64_t pfn;
};

/* What one CPU has done; only that CPU adds. */
struct held_counters {
    _Alignas(64) atomic_uint_fast64_t allocations, frees, refused, migrated_frames, failed_migrations,
        reclaimed_frames, checked;
    atomic_int_fast64_t held[HELD_MOBILITIES]; /* may be negative for one CPU; the sum isn't */
};

struct held_sums {
    uint64_t allocations, frees, refused, migrated_frames, failed_migrations, reclaimed_frames, checked,
        wrong;
    uint64_t held_frames[HELD_MOBILITIES];
};

/** Zero it before held_begin(). */
struct held {
    struct pleat *core;
    const struct pleat_port *port;
    uint64_t seed;
    uint64_t frame_bytes;
    unsigned owner[HELD_MOBILITIES];
    struct held_slot *chunks[HELD_CHUNKS];
    uint64_t chunk_pfns[HELD_CHUNKS];
    unsigned chunk_count;
    uint32_t slots;   /* that there is room for */
    atomic_uint used; /* slots from here on have never held anything */
    atomic_uint reclaim_hand;
    atomic_uint_fast64_t wrong;
    atomic_uint failure_lock;
    char failure[HELD_LINE_BYTES]; /* the first one; "" while there is none */
    struct held_counters counters[PLEAT_MAX_CPUS];
};

/** A block outside of the table, on its way from a slot back to the core. */
struct held_block {
    uint64_t pfn;
    uint64_t key;
    uint8_t order;
    uint8_t mobility;
};

/** Registers the owners; `port` is the core's and must outlive it. Errors: NO_MEMORY. */
int held_begin(struct held *held, struct pleat *core, const struct pleat_port *port, uint64_t seed);

/** Makes room for so many slots, out of the core's memory. Nobody else uses the table meanwhile. Errors:
 * NO_MEMORY (what there was stays). */
int held_reserve(struct held *held, uint32_t slots);

/** Allocates and stamps a block into an UNUSED or EMPTY slot. False: refused, and the slot is EMPTY. */
bool held_allocate(struct held *held, uint32_t slot, unsigned order, unsigned mobility);

/** Takes the block out of a slot, which is EMPTY then. False: there was none. */
bool held_take_out(struct held *held, uint32_t slot, struct held_block *block);
/** Checks it and gives it back to the core; any CPU. */
void held_release(struct held *held, const struct held_block *block);

/** Both, and a migration in between finds the slot FREEING. False: there was nothing. */
bool held_free(struct held *held, uint32_t slot);

/** A slot that is EMPTY becomes UNUSED, and keeps a number for its caller. */
void held_forget(struct held *held, uint32_t slot, uint64_t note);
uint64_t held_note(const struct held *held, uint32_t slot);
bool held_is_unused(const struct held *held, uint32_t slot);

/** Where the block of a slot is, or was last; it may move meanwhile. */
uint64_t held_pfn(const struct held *held, uint32_t slot);

/** The order and mobility of what a slot holds, or held last. */
unsigned held_order(const struct held *held, uint32_t slot);
unsigned held_mobility(const struct held *held, uint32_t slot);

/** Checks a HELD block and stamps it anew, as programs write to their memory. */
void held_restamp(struct held *held, uint32_t slot);

/** For pleat_config.reclaim: frees reclaimable blocks of about so many frames, once round at the most. */
uint64_t held_reclaim(struct held *held, uint64_t frames);

/** Checks the stamps of all that is held; only while no other CPU works on it. False: something was wrong,
 * now or ever; held->failure says what. */
bool held_check(struct held *held);

/** Frees all that is held. */
void held_free_all(struct held *held);

/** Gives the table's frames back; nothing may be held. */
void held_end(struct held *held);

void held_sum(const struct held *held, struct held_sums *sums);

/** Frames that the table itself takes. */
uint64_t held_table_frames(const struct held *held);

#endif
