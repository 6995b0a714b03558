/* SPDX-License-Identifier: MIT
 *
 * The guest's Xen balloon: it follows the target that the toolstack writes into memory/target, or the
 * embedder sets, by taking free frames out of use and giving them back to Xen, and by having Xen put memory
 * behind them again.
 *
 * The words, besides those of pleat.h:
 *
 *   hole      a frame of the guest's map with nothing behind it: ballooned out, or never populated
 *   held      out of use and populated; on its way between the two
 *   lent      a hole that somebody has to map foreign frames into (pleat_xen_balloon_holes())
 *   capacity  all frames that the balloon knows: those of the boot map, and those of the blocks that it added
 *
 * How big the guest is to be is reckoned by what the toolstack says alone: boot_bytes less static-max plus
 * target. Xen's own count of the guest's frames isn't asked, because with populate-on-demand it counts what
 * is in store for frames that the guest hasn't touched.
 *
 * It keeps its own books of what is populated, a state for each frame: Xen accepts a populate over a frame
 * that has memory, and what was there is lost, unseen. Memory goes out in pieces of 2 MiB where whole ones
 * are free, else as single frames; it comes back so, too. What comes is cleared before it goes into use.
 * Partial results are taken as they are: what Xen did counts, the rest goes back to where it was. What can't
 * be done now is tried again after a pause that doubles, and pleat_xen_balloon_reason() says why.
 *
 * When the target is more than the capacity, the balloon adds memory blocks with nothing behind them, in the
 * range of addresses that the config names. It populates the frames of the block's own metadata first, so
 * that growing takes nothing from memory that is short already; it forces them online, whatever the
 * administrator's policy is; and no other frame is in use until Xen has put memory behind it. The blocks
 * stay: when the guest shrinks, their frames are ballooned out like others, and used first when it grows
 * again.
 *
 * Release under pressure: a guest that runs short may call pleat_xen_balloon_release() from its reclaim
 * callback, and the balloon populates up to so many frames more than the target says. Fighting the host for
 * memory for ever would end with one of the two dead, so there are limits: no more than release_limit_bytes
 * over the target, never over static-max, and only a loan: when the guest has had twice the floor free for
 * release_hold_ns, the frames go out again. Where Xen refuses (a toolstack's `xl mem-set` lowers the maximum,
 * too), nothing more is asked for until a pause is over.
 *
 * An instance lies in storage of the caller. It never waits: call pleat_xen_balloon_step(), and it does a
 * bounded piece of work. The hypervisor's answers and the store's texts are checked before they are believed.
 */
#ifndef PLEAT_XEN_BALLOON_H
#define PLEAT_XEN_BALLOON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/error.h>
#include <pleat/xen_wake.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pleat_memory;
struct pleat_xen;
struct pleat_xen_holes;
struct pleat_xen_store;
struct pleat_xen_balloon;

/** Alignment of the storage. */
#define PLEAT_XEN_BALLOON_ALIGNMENT 64u
/** Most extents in a hypercall: what there is room for. */
#define PLEAT_XEN_BALLOON_BATCH_MAX 512u

/** Everything zero means the default; memory, xen, storage and boot_bytes have to be there. */
struct pleat_xen_balloon_config {
    const struct pleat_memory *memory; /**< frames of 4 KiB; must outlive the instance */
    const struct pleat_xen *xen;       /**< must outlive the instance */
    /** Where static-max and target come from; stepped by its owner. NULL: nowhere, there is only
     * pleat_xen_balloon_set_target(). Must outlive the instance. */
    struct pleat_xen_store *store;
    void *storage; /**< aligned; private to the balloon, and must stay for as long as the memory does */
    size_t storage_bytes; /**< at least what pleat_xen_balloon_storage_bytes() says */
    const char *name;     /**< of the blocks that it adds, and in the log; NULL: "xen-balloon" */

    uint64_t boot_bytes; /**< memory in the guest's boot map; all of it populated (or on demand) */
    uint64_t boot_end;   /**< first address above all of it */
    /** Where blocks may be added: from boot_end on, below memory->highest_address; what somebody else has
     * added there already is left out. What of it isn't aligned to blocks isn't used. growth_bytes 0: the
     * guest doesn't grow over its boot size. */
    uint64_t growth_address;
    uint64_t growth_bytes;
    unsigned node; /**< of added blocks */

    /** "Call step soon": from the store's step, from any context that calls release() or set_target(), or
     * from an administrator's request under the hotplug lock; it must only note it. NULL: nobody needs to be
     * told. */
    void (*wake)(void *context);
    /** Writes zeros: from an address of the guest's map, populated and in nobody's hands. NULL: frames come
     * into use with whatever Xen's last owner of them left. */
    void (*clear)(void *context, uint64_t address, uint64_t bytes);
    void *context;        /**< for wake and clear */
    bool clear_what_goes; /**< clears frames before Xen gets them, too; not for a guest with
                                populate-on-demand, for which each touch takes memory out of the pool */

    /** Bytes of free memory that are left to the guest. 0: 16 MiB; PLEAT_XEN_OFF: none. Not heeded without
     * pleat_memory_ops.free_bytes. */
    uint64_t floor_bytes;
    /** Extents in a hypercall, 1 to PLEAT_XEN_BALLOON_BATCH_MAX; 0: as many as that. */
    unsigned batch;
    /** First and longest pause before what failed is tried again; it doubles in between. 0: 50 ms, 30 s. */
    uint64_t retry_first_ns;
    uint64_t retry_longest_ns;
    /** Most that release() may have over the target. 0: 64 MiB; PLEAT_XEN_OFF: nothing is ever released. */
    uint64_t release_limit_bytes;
    /** How long the guest must have had enough before that goes back. 0: 10 s; PLEAT_XEN_OFF: for ever. */
    uint64_t release_hold_ns;
};

/** Why the guest isn't at the target (now). */
enum pleat_xen_balloon_reason {
    PLEAT_XEN_BALLOON_REASON_NONE = 0,  /**< it is at the target, to less than what can be done at a time */
    PLEAT_XEN_BALLOON_REASON_STARTING,  /**< no target is known yet: the guest stays as it is */
    PLEAT_XEN_BALLOON_REASON_WORKING,   /**< on the way */
    PLEAT_XEN_BALLOON_REASON_FLOOR,     /**< a shrink would leave the guest too little free memory */
    PLEAT_XEN_BALLOON_REASON_NO_FREE,   /**< a shrink finds no free frame that it may take */
    PLEAT_XEN_BALLOON_REASON_HOST,      /**< Xen gives no more: it has none, or the domain's maximum is met */
    PLEAT_XEN_BALLOON_REASON_REFUSED,   /**< Xen takes no frame back */
    PLEAT_XEN_BALLOON_REASON_ERROR,     /**< Xen answers a hypercall with an error, or with what can't be */
    PLEAT_XEN_BALLOON_REASON_NO_ROOM,   /**< the growth range is used up, or there is none */
    PLEAT_XEN_BALLOON_REASON_OFFLINE,   /**< the holes that are left lie in blocks that aren't online */
    PLEAT_XEN_BALLOON_REASON_NO_MEMORY, /**< a block can't be added: no page tables or metadata */
    PLEAT_XEN_BALLOON_REASON_PRESSURE,  /**< frames were released to a guest that ran short */
    PLEAT_XEN_BALLOON_REASON_LENT,      /**< holes that the guest is to get back are lent */
    PLEAT_XEN_BALLOON_REASON_TARGET, /**< memory/target or static-max says what can't be; the last one holds
                                      */
    PLEAT_XEN_BALLOON_REASON_STORE,  /**< the store is away or broken; the last target holds */
    PLEAT_XEN_BALLOON_REASONS
};

/** Counters since create. The first index of calls is 0 for order 0, 1 for order 9. */
struct pleat_xen_balloon_statistics {
    uint64_t decrease_calls[2];
    uint64_t populate_calls[2];
    uint64_t decreased_frames; /**< out */
    uint64_t populated_frames; /**< in */
    uint64_t partial_results;  /**< hypercalls that did less than they were asked for, none included */
    uint64_t call_errors;      /**< hypercalls that answered with an error or with what can't be */
    uint64_t retries;          /**< pauses that were made before trying again */
    uint64_t cleared_frames;
    uint64_t blocks_added;
    uint64_t add_failures;
    uint64_t targets;          /**< targets taken over */
    uint64_t targets_refused;  /**< texts in the store that are no target */
    uint64_t release_requests; /**< calls of release() */
    uint64_t released_frames;  /**< that went to the guest over the target */
    uint64_t steps;
};

/** What the balloon knows now. Frames: capacity = populated + holes + lent. */
struct pleat_xen_balloon_status {
    bool target_known;
    uint64_t static_max_bytes; /**< of the store; without one boot_bytes */
    uint64_t target_bytes;     /**< as the toolstack wants it, on the same scale */
    uint64_t goal_bytes; /**< what is to be populated: the target on the scale of the boot map, plus loans */
    uint64_t populated_bytes; /**< by the balloon's own books */
    uint64_t hole_bytes;
    uint64_t lent_bytes;
    uint64_t held_bytes;     /**< of the populated ones, out of use: could be given neither way */
    uint64_t released_bytes; /**< over the target, because the guest ran short */
    uint64_t capacity_bytes;
    uint64_t whole_holes;  /**< aligned pieces of 2 MiB that are holes */
    uint64_t blocks_added; /**< now */
};

/** Bytes of storage: three bits a frame below boot_end and in the growth range, and about 6 KiB. 0: no such
 * guest can be served. Any context. */
size_t pleat_xen_balloon_storage_bytes(const struct pleat_memory *memory, uint64_t boot_end,
                                       uint64_t growth_address, uint64_t growth_bytes);

/**
 * Makes an instance and, with a store, watches memory/target there. Nothing else happens before
 * pleat_xen_balloon_step(). Errors: INVALID (a field that can't be, storage too small or misaligned),
 * UNSUPPORTED (frames that aren't of 4 KiB; no give in memory->ops), NO_MEMORY (no watch is left in the
 * store). *balloon is unchanged then.
 */
int pleat_xen_balloon_create(const struct pleat_xen_balloon_config *config,
                             struct pleat_xen_balloon **balloon);

/**
 * Does a piece of work. budget_bytes: about how many bytes may come in, or go out as single frames; each
 * hypercall, and each piece of 2 MiB that goes, counts for 64 KiB; 0: 16 MiB. At least one hypercall's worth
 * is done. Context: one step of an instance at a time, and not from a callback of struct pleat_memory_ops;
 * the other functions, but for those that say so, not at the same time either.
 */
enum pleat_xen_wake pleat_xen_balloon_step(struct pleat_xen_balloon *balloon, uint64_t budget_bytes);

/** When step() returned WAKE_AT_TIME: the time, by pleat_memory_ops.clock_ns. Without a clock it is 0: call
 * about ten times a second (each call tries again what is to be tried again). */
uint64_t pleat_xen_balloon_wake_ns(const struct pleat_xen_balloon *balloon);

/** Sets the target, in bytes of the guest, in place of the store: it holds until the store says another. Any
 * context, at any time. */
void pleat_xen_balloon_set_target(struct pleat_xen_balloon *balloon, uint64_t bytes);

/** The guest is short of `frames`: see above. Only notes it and calls config.wake: the frames come with the
 * next step. Returns how many may come at most; 0: none, all that may be released is. Any context, at any
 * time, as for the reclaim callback of pleat_config under the hotplug lock. */
uint64_t pleat_xen_balloon_release(struct pleat_xen_balloon *balloon, uint64_t frames);

/** Memory was freed: what the guest's side stopped is tried again now. Any context, at any time. */
void pleat_xen_balloon_memory_changed(struct pleat_xen_balloon *balloon);

/**
 * An allocator of holes for pleat_xen_grants: it lends holes that there are, and balloons out single frames
 * where there are too few (not below the floor: then alloc fails with NO_MEMORY). A guest pays for these
 * with memory; frames that never were memory are the better way. Its functions are called from the context of
 * step(), between steps; frames that come back are holes, and populated again when the target says so.
 */
void pleat_xen_balloon_holes(struct pleat_xen_balloon *balloon, struct pleat_xen_holes *holes);

/**
 * Why the guest isn't at the target. text, if not NULL, receives one line that ends with NUL and is cut to
 * `text_bytes`; 192 are enough. Example: growth stopped at 192 MiB of 256 MiB wanted: Xen gives no more
 * (maximum 49152 frames); again in 400 ms.
 */
enum pleat_xen_balloon_reason pleat_xen_balloon_reason(const struct pleat_xen_balloon *balloon, char *text,
                                                       size_t text_bytes);

/** A reason in a word or two; never NULL. Any context. */
const char *pleat_xen_balloon_reason_text(enum pleat_xen_balloon_reason reason);

/** The counters, and what the balloon knows. */
void pleat_xen_balloon_statistics(const struct pleat_xen_balloon *balloon,
                                  struct pleat_xen_balloon_statistics *statistics);
void pleat_xen_balloon_status(const struct pleat_xen_balloon *balloon,
                              struct pleat_xen_balloon_status *status);

/** Is there memory behind this frame, by the balloon's books? False for frames that it doesn't know. */
bool pleat_xen_balloon_is_populated(const struct pleat_xen_balloon *balloon, uint64_t pfn);

/** The invariants: the counters against a recount. Effort: linear in the frames. For assertions and tests. */
bool pleat_xen_balloon_is_valid(const struct pleat_xen_balloon *balloon);

#ifdef __cplusplus
}
#endif
#endif
