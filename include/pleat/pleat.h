/* SPDX-License-Identifier: MIT
 *
 * The guest core: a page-frame manager that memory can be added to and removed from while it runs.
 *
 * The words, one meaning each:
 *
 *   frame, PFN    one base page of physical memory (4 KiB by default), and its number
 *   pageblock     512 frames: the unit of mobility and of isolation; free as a whole it is a huge frame
 *   memory block  the unit of add, online, offline, remove: a power of two of pageblocks, 64 by default
 *   subblock      the part of a memory block that a device plugs or unplugs by itself
 *   range         what one owner added in one call; it names its owner, its operations, its granularity
 *   memmap        the metadata that the core needs for a memory block
 *   plugged       the host has put memory behind it
 *   added         the core knows it, with a memmap
 *   online        its frames are in the allocator, or in someone's hands who got them there
 *   fake-offline  inside an online block, withheld from the allocator: an unplugged subblock, for example
 *   absent        a frame number inside a block with no memory at all: a hole in the boot map
 *   zone          frames of one node that are allocated under one rule
 *   movable       its owner can move the content to another frame when asked
 *   isolated      nothing in it may be newly allocated
 *   unpopulated   has a memmap and an address, but isn't memory (unpopulated.h)
 *
 * One `struct pleat` is one machine's memory; any number may live in a process. The core owns no memory
 * that it wasn't given: the boot map carries its tables and the memmaps of its own blocks; every later
 * range carries its own.
 *
 * Context: pleat_alloc() and pleat_free() may be called on every CPU at any time, with no lock held that
 * an owner's or listener's callback takes. Everything else takes the hotplug lock of the instance, a spin
 * lock that is held for a bounded time, unless its comment says otherwise; listeners, owners' and ranges'
 * operations run under it unless their comment says otherwise, and must not call back into the functions that
 * take it.
 */
#ifndef PLEAT_PLEAT_H
#define PLEAT_PLEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/error.h>
#include <pleat/memory_ops.h>
#include <pleat/port.h>
#include <pleat/resource.h>

#if UINTPTR_MAX < UINT64_MAX
#error "Pleat's core needs a 64-bit target"
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define PLEAT_PAGEBLOCK_ORDER  9
#define PLEAT_PAGEBLOCK_FRAMES (1u << PLEAT_PAGEBLOCK_ORDER)
/** The largest order of pleat_alloc(); larger pieces come from pleat_take_begin(). */
#define PLEAT_MAX_ORDER 15
#define PLEAT_MAX_CPUS  256
#define PLEAT_MAX_NODES 16

/** One machine's memory. Zero it before pleat_init(). */
struct pleat {
    uint64_t opaque[104];
};

/* --- Setting up ---------------------------------------------------------------------------------------- */

/** What becomes of blocks that are added without PLEAT_ADD_FORCE_ONLINE: the administrator's choice. */
enum pleat_online_policy {
    PLEAT_POLICY_ONLINE = 0,     /**< online, NORMAL (or DMA, DMA32 by address) */
    PLEAT_POLICY_OFFLINE,        /**< stay OFFLINE until pleat_online() */
    PLEAT_POLICY_ONLINE_KERNEL,  /**< the same as ONLINE, never MOVABLE, also where a later default differs */
    PLEAT_POLICY_ONLINE_MOVABLE, /**< MOVABLE */
    PLEAT_POLICY_AUTO_MOVABLE,   /**< MOVABLE while MOVABLE : the rest stays <= ratio, else NORMAL */
    PLEAT_POLICY_PREFER_MOVABLE  /**< for each node, NORMAL : PREFER_MOVABLE in the ratio 1 : ratio */
};

enum pleat_boot_use {
    PLEAT_BOOT_FREE = 0,     /**< goes into the allocator, less what the core needs for itself */
    PLEAT_BOOT_RESERVED = 1, /**< memory that is never allocated: firmware, the kernel's image */
    PLEAT_BOOT_IN_USE = 2    /**< in use now; pleat_release_boot() gives it to the allocator later */
};

/** A piece of the boot map; frames that no span covers are absent. */
struct pleat_boot_span {
    uint64_t start_pfn;
    uint64_t frames;
    unsigned node;
    enum pleat_boot_use use;
};

/** Everything zero means the defaults; cpus, highest_pfn and port.frame_pointer have to be there. */
struct pleat_config {
    const struct pleat_port *port; /**< copied; its context must outlive the instance */
    unsigned cpus;                 /**< 1 to PLEAT_MAX_CPUS */
    unsigned nodes;                /**< 1 to PLEAT_MAX_NODES; 0: 1 */
    unsigned frame_shift;          /**< log2 of the bytes of a frame: 12, 14 or 16; 0: 12 */
    unsigned block_pageblocks;     /**< pageblocks of a memory block: power of two, 1 to 64; 0: 64 */
    /** Bytes of owner's word for each frame: 8 or 16, 0: 8; PLEAT_NO_OWNER_WORD: none, and then nothing
     * is movable, and frees aren't checked. Of 16, the second 8 are the embedder's own. */
    unsigned owner_bytes;
    uint64_t highest_pfn;    /**< no frame at or above it is ever added; 8 bytes of table a memory block */
    uint64_t dma_end_pfn;    /**< first frame above zone DMA; 0: there is no such zone */
    uint64_t dma32_end_pfn;  /**< first frame above zone DMA32; 0: there is no such zone */
    const uint8_t *cpu_node; /**< node of each CPU; copied; NULL: all on node 0 */
    /** nodes * nodes distances, row by row, as ACPI's SLIT; copied; NULL: 10 to itself, 20 to others. */
    const uint8_t *node_distance;
    enum pleat_online_policy policy;
    unsigned policy_ratio;     /**< of AUTO_MOVABLE in percent, of PREFER_MOVABLE as 1 : n; 0: 300, 4 */
    uint64_t watermark_frames; /**< free frames kept for PLEAT_ALLOC_RESERVE; 0: 1/256 of boot memory, at
                                  least 16 */
    /** Asked to free about `frames` frames before an allocation or an evacuation fails; returns how many it
     * freed (0: can't). Called with no lock held and not pinned, unless an owner's migrate allocates; it may
     * call pleat_free(). NULL: nobody to ask. */
    uint64_t (*reclaim)(void *context, unsigned node, uint64_t frames);
    void *reclaim_context;
    /** Tells that a step of a take begins that has work for more than one CPU: others may call
     * pleat_take_help() from now on. Called under the hotplug lock: it mustn't wait. NULL: nobody is told. */
    void (*help)(void *context);
    void *help_context;
};

#define PLEAT_NO_OWNER_WORD 0xffu

/**
 * Makes an instance from the boot map. `spans` are sorted by start, don't overlap, and needn't be aligned
 * to anything; 2 MiB of free memory is enough for small configurations. The core's tables and the memmaps of
 * the boot blocks are placed in free spans. All boot memory is online and never removable. Errors: INVALID (a
 * config or span that can't be; the log names it), NO_MEMORY (the tables don't fit).
 */
int pleat_init(struct pleat *pleat, const struct pleat_config *config, const struct pleat_boot_span *spans,
               unsigned span_count);

/** Gives frames of an IN_USE span to the allocator. Errors: INVALID (no frames), NOT_FOUND (not all of it is
 * boot memory in use), UNSUPPORTED (without owner's word nothing tells which frames are in use). */
int pleat_release_boot(struct pleat *pleat, uint64_t start_pfn, uint64_t frames);

/** Changes the administrator's policy for blocks added from now on; ratio as in the config, 0: default. */
int pleat_set_policy(struct pleat *pleat, enum pleat_online_policy policy, unsigned ratio);

/** Fills in `memory` so that drivers reach this instance through it. The instance must outlive it. */
void pleat_memory_init(struct pleat *pleat, struct pleat_memory *memory);

/* --- Owners -------------------------------------------------------------------------------------------- */

/**
 * What the owner of movable frames does when one of them has to go elsewhere. Called by whoever runs
 * pleat_take_step(), under the hotplug lock, not pinned; and where there are CPUs that call
 * pleat_take_help(), by them as well, at the same time, for other frames: then somebody else has the hotplug
 * lock and waits for them. `cookie` is what the frame was allocated with.
 */
struct pleat_owner_ops {
    /** Stop changing this frame until migrate or putback. 0: done; any error: pinned now, leave it.
     * The owner may free the frame at any time even so; the core completes that free. */
    int (*isolate)(void *context, uint64_t pfn, unsigned order, uint64_t cookie);
    /** Copy the content and use `to_pfn` (already allocated, same order, same tag) from now on. After 0 the
     * core frees `from_pfn`. After an error nothing has changed; the core calls putback next. An owner who
     * has freed `from_pfn` since isolate, or is about to, returns an error: he'd never free `to_pfn`. With 16
     * bytes of owner's word, pleat_frame_data() of `to_pfn` is undefined as the content is: copy it too if
     * you use it, for each frame. pleat_alloc() may be called, and may then call reclaim, under the hotplug
     * lock. */
    int (*migrate)(void *context, uint64_t from_pfn, uint64_t to_pfn, unsigned order, uint64_t cookie);
    /** The frame stays where it is. */
    void (*putback)(void *context, uint64_t pfn, unsigned order, uint64_t cookie);
};

/** What a frame was allocated with: its owner's number and the owner's cookie (48 bits). */
typedef uint64_t pleat_tag;
#define PLEAT_COOKIE_BITS 48
/** Owner 0 is "anonymous": unmovable frames of nobody in particular. */
#define PLEAT_NO_TAG ((pleat_tag)0)

static inline pleat_tag pleat_tag_make(unsigned owner, uint64_t cookie)
{
    return cookie << 16 | (uint64_t)owner << 7;
}

/**
 * Makes an owner known. `ops` NULL: it owns unmovable frames only. `name` and `ops` must outlive the
 * instance. Returns its number (8 to 511), or NO_MEMORY when there are none left.
 */
int pleat_owner_register(struct pleat *pleat, const char *name, const struct pleat_owner_ops *ops,
                         void *context);

/* --- Allocation ---------------------------------------------------------------------------------------- */

/** Flags of pleat_alloc(). */
enum {
    PLEAT_UNMOVABLE = 0,   /**< the content stays where it is for good */
    PLEAT_RECLAIMABLE = 1, /**< it stays, but its owner can free it when asked */
    PLEAT_MOVABLE = 2,     /**< the owner of the tag moves it when asked; needs an owner with ops */
    PLEAT_MOBILITY_MASK = 3,
    PLEAT_ALLOC_DMA = 1 << 2,        /**< from zone DMA only */
    PLEAT_ALLOC_DMA32 = 1 << 3,      /**< from zones DMA32 and DMA only */
    PLEAT_ALLOC_RESERVE = 1 << 4,    /**< may use the frames that the watermark keeps */
    PLEAT_ALLOC_NO_RECLAIM = 1 << 5, /**< don't call the reclaim callback */
    PLEAT_ALLOC_THIS_NODE = 1 << 6   /**< no other node than the wished one */
};
/** The node wished for; without it, the CPU's own. Nearest first is the order of fallback. */
#define PLEAT_ALLOC_NODE(node) (((unsigned)(node) + 1) << 16)

/**
 * Allocates 2^order frames, aligned to their size. Order 0 to 9 come from one pageblock, larger ones (to
 * PLEAT_MAX_ORDER) from neighbouring pageblocks of one memory block; those are unmovable. The content is
 * undefined. Returns the first PFN; or INVALID (order, flags, movable without owner's word or ops),
 * NO_MEMORY. Context: any CPU, not pinned. Effort: order 0 out of the CPU's
 * cache takes a few loads and stores, and one atomic read-modify-write where the port has no fence_cpus.
 */
int64_t pleat_alloc(struct pleat *pleat, unsigned order, unsigned flags, pleat_tag tag);

/**
 * Frees what pleat_alloc() gave. Errors: MISUSE (not allocated so: never, already freed, another order; the
 * port's fatal() has heard of it, nothing has changed). Context and effort as pleat_alloc().
 */
int pleat_free(struct pleat *pleat, uint64_t pfn, unsigned order);

/** The tag of an allocated frame's head, and its order; NOT_FOUND if nothing is allocated there, UNSUPPORTED
 * without owner's word. Meaningful only while the caller knows that the frame isn't being freed or moved. */
int pleat_frame_tag(struct pleat *pleat, uint64_t pfn, pleat_tag *tag, unsigned *order);

/** The embedder's own 8 bytes of a frame, with 16 bytes of owner's word; else NULL. The frame must be added,
 * or unpopulated. */
uint64_t *pleat_frame_data(struct pleat *pleat, uint64_t pfn);

/** Gives all frames in the CPUs' caches back to their pageblocks; for statistics and before a look. */
void pleat_drain(struct pleat *pleat);

/* --- Ranges and memory blocks -------------------------------------------------------------------------- */

struct pleat_online;

/** How the frames of a range go online and offline. */
struct pleat_range_ops {
    /** A block goes online: hand the parts that have memory behind them to pleat_online_give(online, ...);
     * the rest stays fake-offline. NULL: all of it is given. */
    void (*online_frames)(struct pleat *pleat, void *context, uint64_t start_pfn, uint64_t frames,
                          struct pleat_online *online);
    /** A block went offline. NULL: nothing to do. */
    void (*offline_frames)(struct pleat *pleat, void *context, uint64_t start_pfn, uint64_t frames);
};

/** Only from online_frames: these frames go into the allocator. Frames of the memmap are passed over. */
void pleat_online_give(struct pleat_online *online, uint64_t start_pfn, uint64_t frames);

struct pleat_range_config {
    const char *name;                  /**< shown to people; must outlive the range */
    const void *owner;                 /**< identity: who may remove it; not NULL */
    const struct pleat_range_ops *ops; /**< NULL: all frames go online and offline together */
    void *context;                     /**< for ops */
    uint64_t start_pfn;                /**< multiple of a memory block */
    uint64_t frames;                   /**< multiple of a memory block, not 0 */
    unsigned node;
    enum pleat_memmap_mode memmap_mode;
    unsigned flags; /**< PLEAT_ADD_FORCE_ONLINE, PLEAT_MEMMAP_HINT */
    enum pleat_zone_kind force_zone;
};

/**
 * Adds a range: writes its memmap, then onlines its blocks as flags or policy say (a block that a listener
 * refuses stays OFFLINE; that isn't an error). The frames that hold the memmap must be accessible.
 * Errors: INVALID (also a forced zone DMA or DMA32 that ends below), EXISTS (the log names what is there),
 * NO_MEMORY (room for the memmap), UNSUPPORTED (a mode that can't serve). Effort: about half a KiB written
 * for a block of 128 MiB.
 */
int pleat_add(struct pleat *pleat, const struct pleat_range_config *range);

/**
 * Removes OFFLINE blocks that `owner` added; with PLEAT_MEMMAP_RANGE only the whole range.
 * Errors: NOT_FOUND, NOT_OWNER (also another granularity than the range was added for), STATE (not all
 * OFFLINE).
 */
int pleat_remove(struct pleat *pleat, const void *owner, uint64_t start_pfn, uint64_t frames);

/** Onlines OFFLINE blocks to a zone. All or none: a refused block takes those of this call back.
 * Errors: NOT_FOUND, STATE, REFUSED (a listener), INVALID (the zone can't hold them: DMA by address). */
int pleat_online(struct pleat *pleat, uint64_t start_pfn, uint64_t frames, enum pleat_zone_kind zone);

/**
 * Withholds free memory, so that it is fake-offline until pleat_give(): one frame, or PLEAT_PAGEBLOCK_FRAMES,
 * a pageblock that is free as a whole. It comes from boot memory or from ranges of `owner` (NULL: boot memory
 * only), added movable memory first and zone DMA last; a single frame from a pageblock that is in use in
 * part, so that whole ones last. Nothing moves for it, and the watermark isn't looked at. A pageblock whose
 * frames were all withheld one by one is as one that was withheld whole. Returns the first PFN; or INVALID
 * (another number of frames), UNSUPPORTED (one frame without owner's word), NO_MEMORY (nothing like it is
 * free, CPUs' caches included). Effort: that of a look into each zone's index; what belongs to others there
 * costs a step a memory block.
 */
int64_t pleat_withhold(struct pleat *pleat, const void *owner, uint64_t frames);

/**
 * Puts fake-offline frames of one online block into the allocator, whether they were withheld, taken or not
 * given when it went online; `owner` NULL: of boot memory. Memmap and absent frames among them are passed
 * over. Errors, before anything has changed: INVALID (no frames), NOT_FOUND (not all in one block that is
 * there), NOT_OWNER, STATE (not online, being taken, frames that aren't fake-offline, or a pageblock's part
 * with nothing that is), UNSUPPORTED (parts of pageblocks without owner's word).
 */
int pleat_give(struct pleat *pleat, const void *owner, uint64_t start_pfn, uint64_t frames);

/* --- Taking a range back ------------------------------------------------------------------------------- */

/** What a range holds. All in frames; the sum is the range's size. */
struct pleat_look {
    uint64_t free;
    uint64_t movable;
    uint64_t unmovable; /**< reclaimable ones and frames larger than a pageblock included */
    uint64_t pinned;    /**< movable, but the owner refused; only after a take */
    uint64_t memmap;
    uint64_t fake_offline;
    uint64_t absent;
    uint64_t first_obstacle_pfn; /**< of unmovable or pinned ones, if there are any */
    unsigned first_obstacle_owner;
};

/** Looks, without a lock: may be old when it returns. Errors: INVALID (no frames, or the end wraps),
 * NOT_FOUND (not all of it online); what was seen until then is counted. Effort: a cache line for a free
 * pageblock, up to 4 KiB of owner's words for a used one. */
int pleat_look(struct pleat *pleat, uint64_t start_pfn, uint64_t frames, struct pleat_look *look);

/** The name of an owner's number; "unknown" for one that isn't registered. */
const char *pleat_owner_name(struct pleat *pleat, unsigned owner);

/** Calls `each` for every unmovable allocation in an online range, until it returns nonzero; it may call
 * anything. `pfn` is its first frame inside the range. The range is looked at without a lock. Errors: INVALID
 * (no frames, or the end wraps), NOT_FOUND (not all of it online; `each` may have been called before that).
 */
int pleat_obstacles(struct pleat *pleat, uint64_t start_pfn, uint64_t frames,
                    int (*each)(void *context, uint64_t pfn, unsigned order, unsigned owner), void *context);

/** What a range that was taken becomes. */
enum pleat_take_goal {
    PLEAT_TAKE_TO_FAKE_OFFLINE = 0, /**< withheld until pleat_give(); whole pageblocks of one block */
    PLEAT_TAKE_TO_ALLOCATED = 1,    /**< the caller's; any frames inside one block; pleat_free_range() */
    PLEAT_TAKE_TO_OFFLINE = 2,      /**< whole memory blocks; listeners are asked first */
    /** As TO_OFFLINE, and then pleat_remove(), with nobody in between who could bring a block online again.
     * Blocks of the range may be OFFLINE already: they are held so until the take ends. */
    PLEAT_TAKE_TO_REMOVED = 3
};

struct pleat_take_config {
    uint64_t start_pfn;
    uint64_t frames;
    enum pleat_take_goal goal;
    pleat_tag tag; /**< of what is allocated */
    /** Who added the range. NULL for TO_FAKE_OFFLINE: boot memory; for TO_ALLOCATED and TO_OFFLINE:
     * anybody's; not for TO_REMOVED. */
    const void *owner;
    uint64_t deadline_ns; /**< of the port's clock; 0: none */
    /** What the caller means to take afterwards, any range: what is evacuated goes to blocks in it only when
     * there is room nowhere else, so that it doesn't have to move twice. 0 frames: nothing. */
    uint64_t leaving_pfn;
    uint64_t leaving_frames;
};

/** A take in progress; storage of the caller, at the same place until it ended. */
struct pleat_take {
    uint64_t opaque[48];
};

/**
 * Looks and isolates. An unmovable frame in the way fails it at once, before anything has moved.
 * Errors: INVALID, NOT_FOUND, NOT_OWNER (TO_REMOVED: also another granularity than the range was added for),
 * STATE, BUSY (another take is at work there), UNMOVABLE, REFUSED (a listener), UNSUPPORTED (deadline without
 * clock). After an error there is no take to end; the report
 * is filled in for UNMOVABLE.
 */
int pleat_take_begin(struct pleat *pleat, struct pleat_take *take, const struct pleat_take_config *config);

/**
 * Goes on: at most about `budget` frames are looked at or moved, besides what helpers do. PLEAT_MORE: call
 * again. 0: done. UNMOVABLE, NO_MEMORY (nowhere to move to), TIMEOUT: failed and ended, isolation lifted, no
 * frame lost; what was moved stays moved. Pinned frames are tried again while there is a deadline that hasn't
 * passed; without one three times. STATE: there is no unfinished take.
 */
int pleat_take_step(struct pleat *pleat, struct pleat_take *take, uint64_t budget);

/**
 * For a CPU that has nothing better to do: helps whoever is inside pleat_take_step() with moving what is
 * movable, from the end of the range towards it, until the step ends or about `budget` frames were gone over.
 * Returns how many; 0: there is nothing to help with now. What it can't move it leaves to the step. Not
 * pinned, without the hotplug lock, and not from a callback of the core; the step spins until its helpers
 * have left, which they do after at most 64 frames, or one allocation if that is larger. As the holder of the
 * hotplug lock, a helper mustn't be preempted by somebody who spins for it. Any number of CPUs at once.
 * Effort with nothing to do: one load.
 */
uint64_t pleat_take_help(struct pleat *pleat, uint64_t budget);

/** Ends an unfinished take: the isolation is lifted. No effect on one that has ended. */
void pleat_take_cancel(struct pleat *pleat, struct pleat_take *take);

/**
 * How far it came, at any time from _begin on: frames moved so far, of those that were movable when it began
 * (look->movable), and what stands in the way, as of the last time that the range was gone over
 * (look->unmovable, look->pinned, look->first_obstacle_pfn). The rest of `look` is as it was at _begin.
 */
void pleat_take_report(const struct pleat_take *take, uint64_t *moved, struct pleat_look *look);

/** Any range inside one block, free frames or not, allocated in one go: begins a take TO_ALLOCATED, without a
 * deadline, and steps until it ends; pinned frames are tried three times. The frames are unmovable, of order
 * 0 and with `tag`, and are freed together or one by one. Errors as those. The hotplug lock is free between
 * two stretches of about 512 frames. */
int pleat_alloc_range(struct pleat *pleat, uint64_t start_pfn, uint64_t frames, pleat_tag tag);

/** Frees frames that a take allocated, or a part of them. Errors: MISUSE (not all are allocated so; nothing
 * was freed, unless others free the same frames meanwhile). */
int pleat_free_range(struct pleat *pleat, uint64_t start_pfn, uint64_t frames);

/* --- Listeners ----------------------------------------------------------------------------------------- */

enum pleat_event {
    PLEAT_GOING_ONLINE, /**< may be refused */
    PLEAT_ONLINE,
    PLEAT_CANCEL_ONLINE, /**< to those who had been told GOING_ONLINE, somebody refused */
    PLEAT_GOING_OFFLINE, /**< may be refused */
    PLEAT_OFFLINE,
    PLEAT_CANCEL_OFFLINE /**< refused or failed */
};

/** Hears of memory blocks; storage of the embedder while it is registered. */
struct pleat_listener {
    /** Returns 0, or for the two GOING_ events any error, to refuse. Runs under the hotplug lock. */
    int (*event)(void *context, enum pleat_event event, uint64_t start_pfn, uint64_t frames, unsigned node,
                 enum pleat_zone_kind zone);
    void *context;
    int priority;                /**< higher ones hear first */
    struct pleat_listener *next; /**< the core's */
};

void pleat_listener_add(struct pleat *pleat, struct pleat_listener *listener);
/** Errors: NOT_FOUND. */
int pleat_listener_remove(struct pleat *pleat, struct pleat_listener *listener);

/* --- What there is ------------------------------------------------------------------------------------- */

struct pleat_zone_info {
    unsigned node;
    enum pleat_zone_kind kind;
    uint64_t online_frames;   /**< online blocks, less memmap, absent and fake-offline frames */
    uint64_t free_frames;     /**< in pageblocks, caches and reservations */
    uint64_t free_pageblocks; /**< free as a whole */
    uint64_t fake_offline_frames;
    uint64_t memmap_frames;
    uint64_t absent_frames;
    uint64_t blocks;
};

/** Counts a zone by a walk over its blocks. Errors: NOT_FOUND (no such node or kind). */
int pleat_zone_info(struct pleat *pleat, unsigned node, enum pleat_zone_kind kind,
                    struct pleat_zone_info *info);

struct pleat_block_info {
    uint64_t start_pfn;
    uint64_t frames;
    enum pleat_block_state state;
    unsigned node;
    enum pleat_zone_kind zone; /**< only if not OFFLINE */
    uint64_t free_frames;
    uint64_t fake_offline_frames;
    uint64_t absent_frames;
    uint64_t memmap_frames;
    unsigned free_pageblocks;
    unsigned unmovable_pageblocks; /**< pageblocks that hold, or were opened for, unmovable frames */
    bool removable;                /**< was added, not part of the boot map */
};

/** The added block that holds `pfn`. Errors: NOT_FOUND. */
int pleat_block_info(struct pleat *pleat, uint64_t pfn, struct pleat_block_info *info);

struct pleat_range_info {
    const char *name;
    const void *owner;
    uint64_t start_pfn;
    uint64_t frames;
    unsigned node;
    enum pleat_memmap_mode memmap_mode;
    unsigned flags; /**< without PLEAT_ADD_FORCE_ONLINE, the policy decides how its blocks go online */
    enum pleat_zone_kind force_zone; /**< only with PLEAT_ADD_FORCE_ONLINE */
    bool removable;
    bool own_online_ops;    /**< its owner says which frames of a block go online; else all do */
    uint64_t online_frames; /**< frames of its ONLINE blocks, fake-offline ones included */
    uint64_t fake_offline_frames;
    uint64_t populated_frames; /**< frames of its ONLINE blocks that have memory: neither fake-offline nor
                                  absent */
};

/** The first range that ends above `pfn`; walk with info.start_pfn + info.frames. NOT_FOUND: no more. */
int pleat_range_info(struct pleat *pleat, uint64_t pfn, struct pleat_range_info *info);

/**
 * Puts a name on addresses in the instance's range tree, which holds the boot map and the added ranges: the
 * region of a device that memory will be added in, for example. `node` is described by then
 * (pleat_resource_describe()) and stays the caller's; what lies inside already becomes its children. Errors,
 * with `*conflict` (may be NULL) the node in the way: as pleat_resource_insert_over(). Context: not from
 * callbacks under the hotplug lock.
 */
int pleat_claim(struct pleat *pleat, struct pleat_resource *node, struct pleat_resource **conflict);
/** Takes the name away; what lies inside stays. Errors: NOT_FOUND. */
int pleat_unclaim(struct pleat *pleat, struct pleat_resource *node);
/** Calls `each` for all nodes in the order of printing (pleat_resource_format() makes a line of one), until
 * it returns nonzero, and returns that. Under the hotplug lock. */
int pleat_resources(struct pleat *pleat,
                    int (*each)(void *context, const struct pleat_resource *root,
                                const struct pleat_resource *node),
                    void *context);

/** Free frames of all zones: a sum over CPUs and zones, not a walk; close, exact only when all is quiet. */
uint64_t pleat_free_frames(struct pleat *pleat);
/** Frames of all online blocks that are in the allocator or in someone's hands. */
uint64_t pleat_online_frames(struct pleat *pleat);
/** log2 of the bytes of a frame, frames of a memory block. */
unsigned pleat_frame_shift(const struct pleat *pleat);
uint64_t pleat_block_frames(const struct pleat *pleat);
/** Bytes of metadata of one block, and frames of it (rounded up). */
uint64_t pleat_memmap_bytes(struct pleat *pleat);
uint64_t pleat_memmap_frames(struct pleat *pleat);
/** Bytes of the core's own tables in boot memory. */
uint64_t pleat_table_bytes(struct pleat *pleat);

/**
 * Recounts everything the slow way and holds it against the fast counters and the invariants. Only when no
 * other CPU is inside. Returns true, or false and the reason through the port's log.
 */
bool pleat_is_valid(struct pleat *pleat);

#ifdef __cplusplus
}
#endif
#endif
