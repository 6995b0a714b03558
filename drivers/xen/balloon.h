/* SPDX-License-Identifier: MIT
 *
 * What the files of the balloon share: the instance and its books.
 *
 * The books have three bits for each frame of the boot map and of the growth range:
 *
 *     guest populated lent
 *       1       1      0    the guest's: in use, free, or in an offline block
 *       0       1      0    held: out of use, on its way in or out
 *       0       0      0    hole; in a block that isn't added: nothing at all
 *       0       0      1    lent
 *
 *     guest's --withhold--> held --decrease--> hole --populate--> held --clear, give--> guest's
 *
 * An administrator may online or offline an added block at any time, on another CPU, under the hotplug lock
 * of the memory. Our callback then reads `guest`, and gives what it says; the balloon's own context alone
 * writes it. Before a give() the bit is set: either the block is online and give() does it, or give() fails
 * with STATE and the callback has done it or will. After a withhold() the bit is cleared, and then `onlines`
 * looked at: if a block went online in between, its callback may have given what was just withheld, and all
 * of it is put back. Both are sequentially consistent atomics, so at least one of the two sees the other's
 * store.
 */
#ifndef PLEAT_DRIVERS_XEN_BALLOON_H
#define PLEAT_DRIVERS_XEN_BALLOON_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/error.h>
#include <pleat/memory_ops.h>
#include <pleat/port.h>
#include <pleat/xen.h>
#include <pleat/xen_balloon.h>
#include <pleat/xen_grants.h>
#include <pleat/xen_store.h>

/** Xen's frames, whatever the guest's are. */
#define FRAME_BYTES UINT64_C(4096)
/** The larger of the two orders that it is asked for. */
#define PIECE_ORDER  9u
#define PIECE_FRAMES UINT64_C(512)
#define PIECE_BYTES  (PIECE_FRAMES * FRAME_BYTES)
/** What a hypercall, and a piece that isn't touched, count in the budget of a step. */
#define CALL_BYTES 65536
#define NOWHERE    UINT64_MAX

enum growth_block {
    BLOCK_UNTRIED = 0,
    BLOCK_ADDED,
    BLOCK_TAKEN /**< somebody else has something there */
};

enum frame_state { FRAME_GUESTS, FRAME_HELD, FRAME_HOLE, FRAME_LENT };

/** A point in time; without a clock, any later step. */
struct timer {
    bool set;
    uint64_t at_ns;
    uint64_t step;
};

/** Why work has stopped. */
struct stop {
    enum pleat_xen_balloon_reason reason; /**< NONE: it hasn't */
    bool growing;
    int error;          /**< what Xen or pleat_memory_ops said; 0: nothing in particular */
    const char *detail; /**< a few words, or NULL */
    uint64_t at_frames; /**< populated then */
    uint64_t wanted_frames;
    uint64_t number; /**< what the reason is about: bytes of a floor, frames of a maximum */
};

/** What the store is to be asked. */
enum asking { ASK_NOTHING, ASK_SOON, ASKED };

struct pleat_xen_balloon {
    struct pleat_xen_balloon_config config; /**< defaults filled in */
    struct pleat_memory_owner owner;

    /* The books. Frames by index: those of the boot map by their PFN, those of the growth range after them.
     */
    uint64_t boot_index_frames; /**< up to boot_end, rounded up to pieces */
    uint64_t growth_pfn;
    uint64_t growth_frames; /**< whole blocks */
    uint64_t block_frames;
    uint64_t metadata_frames;
    uint64_t pieces; /**< of all indices */
    _Atomic uint64_t *guest;
    uint64_t *populated;
    uint64_t *lent;
    uint16_t *piece_holes; /**< for each piece: holes in it; 0 where nothing is added */
    uint8_t *blocks;       /**< enum growth_block */
    uint64_t boot_frames;
    uint64_t capacity_frames; /**< == boot_frames + block_frames * blocks_added */
    uint64_t blocks_added;
    uint64_t hole_frames;  /**< == holes in what is known == sum of piece_holes */
    uint64_t lent_frames;  /**< == set bits of `lent` */
    uint64_t held_frames;  /**< == held ones in what is known */
    uint64_t stray_frames; /**< populated in blocks that aren't added: Xen didn't take them back */
    uint64_t whole_holes;  /**< pieces with PIECE_FRAMES holes */
    uint64_t hole_cursor;  /**< a piece: the search for holes goes on there */
    _Atomic uint64_t onlines;

    /* What is wanted. */
    bool target_known;
    uint64_t static_max_frames;
    uint64_t target_frames;
    uint64_t released_frames; /**< over what the target says */
    struct timer release_timer;
    struct timer release_pause; /**< Xen gave less than was released: nothing is, before it is due */
    uint64_t release_pause_ns;
    _Atomic uint64_t posted_target; /**< bytes, by set_target(); NOWHERE: none */
    _Atomic uint64_t posted_release;
    _Atomic uint64_t release_requests;
    _Atomic uint64_t releasable;     /**< frames that release() may promise */
    _Atomic uint32_t memory_changed; /**< not 0: it has; a byte would need a library on some targets */
    _Atomic bool pending;            /**< something was posted since the last step began */

    /* The store. */
    int watch; /**< negative: there is none */
    enum asking asking_static_max;
    enum asking asking_target;
    bool static_max_known;
    const char *store_flaw; /**< what it says that can't be */
    int store_error;        /**< of the last read or watch */
    struct timer store_timer;
    uint64_t store_pause_ns;

    /* What goes on. */
    uint64_t last_goal;
    struct stop stop; /**< holds until something moves or the goal changes */
    struct stop said; /**< the last one in the log */
    bool waiting;     /**< for the pause, or where it isn't set for another goal */
    struct timer pause;
    uint64_t pause_ns;
    uint64_t onlines_then; /**< in the last step */
    bool pieces_out_fail;  /**< Xen took no piece since the last pause */
    bool pieces_in_fail;   /**< the same of giving one */
    bool pieces_only;      /**< the guest can't tell single frames apart */
    bool reached_said;

    uint64_t now_ns;
    int64_t budget;
    struct timer wake;
    struct pleat_xen_balloon_statistics statistics;
    uint64_t pfns[PLEAT_XEN_BALLOON_BATCH_MAX];
};

/** What a part of a step comes to. */
enum outcome { DONE_SOMETHING, NOTHING_TO_DO, MUST_WAIT };

/* --- balloon_books.c ------------------------------------------------------------------------------------ */

/** The index of a frame; NOWHERE: unknown. */
uint64_t pleat_xen_balloon_index(const struct pleat_xen_balloon *balloon, uint64_t pfn);
uint64_t pleat_xen_balloon_pfn(const struct pleat_xen_balloon *balloon, uint64_t index);
/** Who gives a frame back: NULL for boot memory. */
const struct pleat_memory_owner *pleat_xen_balloon_owner(const struct pleat_xen_balloon *balloon,
                                                         uint64_t pfn);
/** Are all of these frames in this state? */
bool pleat_xen_balloon_are(const struct pleat_xen_balloon *balloon, uint64_t index, uint64_t frames,
                           enum frame_state state);
/** Sets the state of frames of the boot map or of added blocks. */
void pleat_xen_balloon_mark(struct pleat_xen_balloon *balloon, uint64_t index, uint64_t frames,
                            enum frame_state state);
/** The block at `block` has been added; all of it is a hole but for what is populated already. */
void pleat_xen_balloon_mark_added(struct pleat_xen_balloon *balloon, uint64_t block);
void pleat_xen_balloon_books_create(struct pleat_xen_balloon *balloon);
/** Up to `most` holes that can be populated, as pieces or as single frames, into pfns. */
unsigned pleat_xen_balloon_find_holes(struct pleat_xen_balloon *balloon, bool pieces, unsigned most);
/** A frame in this state from `index` on; NOWHERE: none. */
uint64_t pleat_xen_balloon_find(const struct pleat_xen_balloon *balloon, uint64_t index,
                                enum frame_state state);
uint64_t pleat_xen_balloon_populated_frames(const struct pleat_xen_balloon *balloon);
bool pleat_xen_balloon_online_block(const struct pleat_xen_balloon *balloon, uint64_t index);

/* --- balloon_move.c ------------------------------------------------------------------------------------- */

enum outcome pleat_xen_balloon_shrink(struct pleat_xen_balloon *balloon, uint64_t excess);
enum outcome pleat_xen_balloon_grow(struct pleat_xen_balloon *balloon, uint64_t missing);
enum outcome pleat_xen_balloon_settle_held(struct pleat_xen_balloon *balloon);

/* --- balloon_growth.c ----------------------------------------------------------------------------------- */

/** Adds one block, if at least `missing` frames of it would be of use. */
enum outcome pleat_xen_balloon_add_block(struct pleat_xen_balloon *balloon, uint64_t missing);
void pleat_xen_balloon_owner_create(struct pleat_xen_balloon *balloon);

/* --- balloon_target.c ----------------------------------------------------------------------------------- */

/** Asks the store what is to be asked, and takes over what was posted. */
void pleat_xen_balloon_follow(struct pleat_xen_balloon *balloon);
int pleat_xen_balloon_listen(struct pleat_xen_balloon *balloon);
/** What is to be populated by the target alone, on the scale of the boot map. */
uint64_t pleat_xen_balloon_base_frames(const struct pleat_xen_balloon *balloon);
/** The same with what is released. */
uint64_t pleat_xen_balloon_wanted_frames(const struct pleat_xen_balloon *balloon);
/** How much release() may promise from now on. */
void pleat_xen_balloon_promise(struct pleat_xen_balloon *balloon);
/** Xen has given no more: what was to be released, and isn't, won't be. */
void pleat_xen_balloon_cut_release(struct pleat_xen_balloon *balloon);

/* --- balloon.c ------------------------------------------------------------------------------------------ */

void pleat_xen_balloon_timer_start(const struct pleat_xen_balloon *balloon, struct timer *timer,
                                   uint64_t length_ns);
bool pleat_xen_balloon_timer_due(const struct pleat_xen_balloon *balloon, const struct timer *timer);
/** A pause that is twice as long as the one before, from retry_first_ns to retry_longest_ns. */
void pleat_xen_balloon_pause(const struct pleat_xen_balloon *balloon, struct timer *timer,
                             uint64_t *length_ns);
void pleat_xen_balloon_wait_for(struct pleat_xen_balloon *balloon, const struct timer *timer);
void pleat_xen_balloon_kick(struct pleat_xen_balloon *balloon);
/** Work stops for this reason; with `again`, after a pause that doubles it is tried again. */
enum outcome pleat_xen_balloon_stop(struct pleat_xen_balloon *balloon, struct stop stop, bool again);
/** Something has moved: what stopped before doesn't count any more. */
void pleat_xen_balloon_moved(struct pleat_xen_balloon *balloon);

/* --- balloon_reason.c ----------------------------------------------------------------------------------- */

void pleat_xen_balloon_say_stop(struct pleat_xen_balloon *balloon);
void pleat_xen_balloon_say_size(struct pleat_xen_balloon *balloon, const char *what, uint64_t frames);

#endif
