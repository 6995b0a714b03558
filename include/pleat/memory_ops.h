/* SPDX-License-Identifier: MIT
 *
 * How a driver reaches the memory of its guest: add and remove memory blocks, take pieces of them out of
 * use and give them back, map and unmap. Pleat's core is one implementation (pleat_memory_init() in
 * pleat.h); an OS with an allocator of its own writes another and uses the drivers alone. One that can't
 * take memory back leaves `take_begin` NULL: drivers then only plug.
 *
 * Everything here is in bytes and guest-physical addresses, because that is how devices speak.
 *
 *   memory block   the unit of add and remove, block_bytes, aligned to it
 *   piece          any multiple of piece_bytes inside one memory block, aligned to piece_bytes
 *
 * A piece of an online block is in use (its frames are the allocator's or somebody's) or fake-offline
 * (withheld). take: in use -> fake-offline. give: fake-offline -> in use.
 *
 * Nothing here waits: what is long has _begin, _step and _cancel. All calls for one memory come from one
 * context at a time (the driver's); callbacks to the driver (struct pleat_memory_owner) come from inside of
 * these calls, or from an administrator's online or offline request, under the implementation's hotplug
 * lock: they must not call back into struct pleat_memory_ops, but for the `give` that they are handed.
 */
#ifndef PLEAT_MEMORY_OPS_H
#define PLEAT_MEMORY_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include <pleat/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Zones by name, for force_zone. */
enum pleat_zone_kind {
    PLEAT_ZONE_DMA = 0,            /**< below pleat_config.dma_end_pfn */
    PLEAT_ZONE_DMA32 = 1,          /**< below pleat_config.dma32_end_pfn */
    PLEAT_ZONE_NORMAL = 2,         /**< anything goes */
    PLEAT_ZONE_PREFER_MOVABLE = 3, /**< movable first; unmovable only when NORMAL is out */
    PLEAT_ZONE_MOVABLE = 4,        /**< movable only */
    PLEAT_ZONE_KINDS = 5
};

/** Where the metadata of an added block lives. */
enum pleat_memmap_mode {
    PLEAT_MEMMAP_BLOCK = 0, /**< at the start of each memory block; blocks come and go one by one */
    PLEAT_MEMMAP_RANGE = 1, /**< at the start of the range; removable only as a whole */
    PLEAT_MEMMAP_NORMAL = 2 /**< in online memory that isn't removable, on the same node */
};

/** Flags of pleat_memory_range and pleat_range_config. */
enum {
    /** Online the blocks at once, to `force_zone`, whatever the administrator's policy is. */
    PLEAT_ADD_FORCE_ONLINE = 1 << 0,
    /** If the memmap mode can't be served: another node, then another mode, in place of an error. */
    PLEAT_MEMMAP_HINT = 1 << 1
};

enum pleat_block_state {
    PLEAT_BLOCK_OFFLINE = 0,      /**< the core has its memmap; no frame of it is in the allocator */
    PLEAT_BLOCK_GOING_ONLINE = 1, /**< listeners are being asked; any of them may refuse */
    PLEAT_BLOCK_ONLINE = 2,       /**< its frames are in one zone, except memmap, absent, fake-offline ones */
    PLEAT_BLOCK_GOING_OFFLINE = 3, /**< isolated and being evacuated; may return to ONLINE */
    PLEAT_BLOCK_NONE = 4           /**< not added */
};

/**
 * Hands a piece of the block that is going online to the allocator; the rest of the block stays
 * fake-offline. Only to be called from pleat_memory_owner.online, with the context that came with it.
 */
typedef void pleat_memory_give_fn(void *give_context, uint64_t address, uint64_t bytes);

/** What the owner of a range does when its blocks change state. */
struct pleat_memory_owner {
    /** Handed to both functions; it is also the identity of the owner: never NULL, one for each owner. */
    void *context;

    /**
     * One memory block goes online: call give() for each piece of it that has memory behind it. The part
     * that holds the block's own metadata is left out by the implementation, given or not. NULL: all of the
     * block is given.
     */
    void (*online)(void *context, uint64_t address, uint64_t bytes, pleat_memory_give_fn *give,
                   void *give_context);

    /** One memory block went offline; none of its frames is in use any more. NULL: the owner doesn't care. */
    void (*offline)(void *context, uint64_t address, uint64_t bytes);

    /**
     * What the owner means to take back, in this take and after it: content that has to move goes there only
     * when there is room nowhere else, so that it doesn't move twice. A hint for take_begin, changed by the
     * owner between its own calls; 0 bytes: nothing.
     */
    uint64_t leaving_address;
    uint64_t leaving_bytes;
};

/** Memory blocks to add, all or none. */
struct pleat_memory_range {
    uint64_t address;                       /**< multiple of block_bytes */
    uint64_t bytes;                         /**< multiple of block_bytes, not 0 */
    unsigned node;                          /**< NUMA node */
    const char *name;                       /**< shown to people; must outlive the range */
    const struct pleat_memory_owner *owner; /**< must outlive the range */
    enum pleat_memmap_mode memmap_mode;
    unsigned flags; /**< PLEAT_ADD_FORCE_ONLINE, PLEAT_MEMMAP_HINT */
    enum pleat_zone_kind force_zone;
};

/** What is in a piece, from a look that takes no lock and may be old when it is returned. */
struct pleat_memory_look {
    uint64_t free_bytes;
    uint64_t movable_bytes;   /**< in use, and could be moved */
    uint64_t unmovable_bytes; /**< in use, and can't be moved */
    uint64_t withheld_bytes;  /**< fake-offline, absent or metadata */
};

/** Why a take stopped, or how far it is. */
struct pleat_memory_report {
    uint64_t bytes_total;
    uint64_t bytes_moved;      /**< content moved elsewhere so far */
    uint64_t bytes_unmovable;  /**< in the way for good */
    uint64_t bytes_pinned;     /**< movable, but their owners refused now */
    uint64_t obstacle_address; /**< the first frame in the way; only if one of the two above isn't 0 */
    char obstacle_owner[32];   /**< the name of its owner, ends with NUL; may be cut */
};

/** A take in progress; storage of the caller, at the same place from _begin until it ended. */
struct pleat_memory_job {
    uint64_t opaque[64];
};

enum pleat_take_kind {
    PLEAT_TAKE_PIECE = 0, /**< the piece ends fake-offline */
    /** Whole memory blocks go offline and are removed, with nobody in between who could bring one of them
     * online again. */
    PLEAT_TAKE_BLOCKS = 1
};

struct pleat_memory_ops {
    /** Adds memory blocks, and onlines them as the policy or the flags say. The memory that holds the
     * blocks' metadata must be plugged and mapped before. Errors: INVALID, EXISTS, NO_MEMORY (no room for
     * metadata), UNSUPPORTED (mode), REFUSED never: a block that a listener refused stays OFFLINE. */
    int (*add)(void *context, const struct pleat_memory_range *range);

    /** Removes OFFLINE blocks that `owner` added. Errors: NOT_FOUND, NOT_OWNER, STATE (not all OFFLINE). */
    int (*remove)(void *context, const struct pleat_memory_owner *owner, uint64_t address, uint64_t bytes);

    /**
     * Starts to take a piece out of use (PLEAT_TAKE_PIECE, inside one online block), or to offline and
     * remove one or several neighbouring blocks, all or none (PLEAT_TAKE_BLOCKS; some of them may be OFFLINE
     * already, where the implementation can do that). deadline_ns: of the port's clock, 0 for none.
     * Returns 0, or UNMOVABLE at once, before anything has moved, with the report filled in; or BUSY,
     * NOT_FOUND, NOT_OWNER, STATE. After an error there is no job. NULL: this OS can't take memory back.
     */
    int (*take_begin)(void *context, struct pleat_memory_job *job, const struct pleat_memory_owner *owner,
                      enum pleat_take_kind kind, uint64_t address, uint64_t bytes, uint64_t deadline_ns);
    /**
     * Goes on for at most about `budget_bytes` of content moved or looked at. PLEAT_MORE: call again. 0:
     * done, taken. UNMOVABLE, NO_MEMORY (nowhere to move to), TIMEOUT, CANCELLED, REFUSED: it failed and
     * ended; all is in use as before (what was moved stays moved).
     */
    int (*take_step)(void *context, struct pleat_memory_job *job, uint64_t budget_bytes);
    /** Ends an unfinished take; all is in use as before. */
    void (*take_cancel)(void *context, struct pleat_memory_job *job);
    /** How far it is, or why it failed; also after the end of the job, until its storage is used again. */
    void (*take_report)(void *context, const struct pleat_memory_job *job,
                        struct pleat_memory_report *report);

    /** A fake-offline piece of an online block, or single frames, go into use; they must be plugged and
     * mapped. Errors, before anything has changed: NOT_FOUND, NOT_OWNER, STATE (not fake-offline, not
     * online), UNSUPPORTED (single frames can't be told apart). */
    int (*give)(void *context, const struct pleat_memory_owner *owner, uint64_t address, uint64_t bytes);

    /**
     * Takes a free piece out of use, wherever it costs least: boot memory, or memory of `owner` (NULL: boot
     * memory only), never another owner's. `bytes` is frame_bytes or piece_bytes, and the piece is aligned to
     * that. It is fake-offline then, at *address, until give() puts it (all of it or frame by frame) back;
     * for boot memory with owner NULL. Nothing moves for it. NO_MEMORY: no such piece is free. NULL: this OS
     * can't.
     */
    int (*withhold)(void *context, const struct pleat_memory_owner *owner, uint64_t bytes, uint64_t *address);

    /** Makes plugged memory accessible, before it is added or given; or inaccessible, before it is unplugged.
     * NULL both: not needed. map() can fail with NO_MEMORY and has then changed nothing. */
    int (*map)(void *context, uint64_t address, uint64_t bytes);
    void (*unmap)(void *context, uint64_t address, uint64_t bytes);

    /** The state of the block at `address`. */
    enum pleat_block_state (*block_state)(void *context, uint64_t address);

    /** What is in a piece of an online block; effort: a cache line a pageblock when nothing of it is in use.
     */
    int (*look)(void *context, uint64_t address, uint64_t bytes, struct pleat_memory_look *look);

    /** Bytes that the guest has free now, in all its memory. */
    uint64_t (*free_bytes)(void *context);

    /** A monotonic clock in nanoseconds, and a line for people; both may be NULL. */
    uint64_t (*clock_ns)(void *context);
    void (*log)(void *context, int level, const char *line);
};

/** A guest's memory, as a driver sees it. */
struct pleat_memory {
    const struct pleat_memory_ops *ops;
    void *context;
    uint64_t block_bytes;     /**< power of two */
    uint64_t piece_bytes;     /**< power of two, <= block_bytes (a pageblock, in the core) */
    uint64_t metadata_bytes;  /**< at the start of each block with PLEAT_MEMMAP_BLOCK; 0: kept elsewhere */
    uint64_t highest_address; /**< first address that can never be added */
    unsigned nodes;           /**< nodes are 0 to nodes - 1 */
    uint64_t frame_bytes;     /**< of a frame, for PFNs in messages to people; 0: 4096 */
};

#ifdef __cplusplus
}
#endif
#endif
