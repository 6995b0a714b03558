/* SPDX-License-Identifier: MIT
 *
 * The structures of the core, from the smallest up:
 *
 *   owner's word   64 bits a frame: who has it, whether it can be moved (may be left out)
 *   bits           512 a pageblock, one cache line: set = not free (or absent, withheld, in a CPU's cache)
 *   huge owner     64 bits a pageblock: the owner's word of a pageblock that is allocated whole; beside the
 *                  words, because owners' words of pageblocks' first frames would share a few cache sets
 *   word           32 bits a pageblock: free count, mobility, flags, where it stands in the index
 *   block          the head of a memory block's memmap: masks of its pageblocks by class
 *   zone           sets of blocks by class, so that a search costs the same in any amount of memory
 *   cpu            what one CPU has taken for itself: caches of frames, pageblocks ("slots")
 *   core           the instance
 *   section        the head of the memmap of unpopulated frames, which aren't memory (unpopulated.h)
 *
 * A memmap is one piece of memory: owners' words of the first `colour` pageblocks, then the hot part (bits,
 * words, head), then the other owners' words. The colour differs from block to block so that the hot parts
 * of all blocks, which begin at equal addresses modulo a block, don't meet in the same cache sets.
 *
 * Invariants:
 *   - a pageblock that isn't initialised has neither bits nor owners' words: what its flags don't say is
 *     free, but for the memmap frames at the block's start
 *   - bits clear in an initialised pageblock = word.count + count of the slot that has it (when nobody is
 *     inside), and no free run of it is of a larger order than word.hint, unless a slot has it
 *   - word.class != NONE = not owned, isolated, huge, withheld, absent, offline, and count > 0
 *   - a pageblock with a class stands in at least one mask of its block (stale extra places are allowed)
 *   - a mask that isn't empty has its block in the zone's set (stale extra places are allowed)
 *   - free frames = core.free_base + sum over CPUs (free_delta + cached + counts of slots)
 */
#ifndef PLEAT_CORE_TYPES_H
#define PLEAT_CORE_TYPES_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/pleat.h>
#include <pleat/port.h>
#include <pleat/resource.h>

#include "pleat_port.h"

#include "word.h"

#if UINTPTR_MAX < UINT64_MAX
#error "Pleat needs a 64-bit target: frame numbers and pointers to metadata are 64 bits wide"
#endif

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define FRAMES      PLEAT_PAGEBLOCK_FRAMES
#define WORD_COUNT  (FRAMES / 64) /* 64-bit words of bits in a pageblock */
#define BITS_BYTES  (FRAMES / 8)
#define CACHE_LINE  64u
#define MOBILITIES  3u
#define BUCKETS     4u
#define OWNERS      512u
#define OWNER_FIRST 8u

/* --- owner's word: state 2 | order 4 | reclaimable 1 | owner 9 | cookie 48 ----------------------------- */

enum owner_state {
    STATE_FREE = 0,      /* free, or in a CPU's cache: then its bit is still set, and a second free is seen */
    STATE_UNMOVABLE = 1, /* allocated, and stays */
    STATE_MOVABLE = 2,   /* allocated, and may be moved by its owner's operations */
    STATE_ISOLATING = 3  /* somebody evacuates it; a free that meets this leaves ORDER_FREED behind */
};
#define OWNER_STATE(word)  ((unsigned)((word)&3))
#define OWNER_ORDER(word)  ((unsigned)((word) >> 2 & 15))
#define OWNER_INDEX(word)  ((unsigned)((word) >> 7 & (OWNERS - 1)))
#define OWNER_COOKIE(word) ((word) >> 16)
#define OWNER_RECLAIMABLE  ((uint64_t)1 << 6)
#define OWNER_KIND_MASK    ((uint64_t)0x7f) /* state, order, reclaimable */
#define TAG_MASK           (~OWNER_KIND_MASK)
/* An isolating frame that its owner has freed meanwhile; whoever isolates completes the free. */
#define OWNER_FREED ((uint64_t)STATE_ISOLATING | (uint64_t)OWNER_RECLAIMABLE)

/* Frames of these owners are in nobody's hands; they are unmovable to the allocator and passed over by a
 * take. */
enum special_owner {
    OWNER_ANONYMOUS = 0,
    OWNER_MEMMAP = 1,   /* a block's memmap */
    OWNER_TABLES = 2,   /* the core's own tables */
    OWNER_RESERVED = 3, /* reserved in the boot map */
    OWNER_BOOT = 4,     /* in use in the boot map */
    OWNER_ABSENT = 5,   /* no memory at all */
    OWNER_WITHHELD = 6, /* fake-offline */
    OWNER_LAST_SPECIAL = 7
};

static inline uint64_t owner_word(unsigned mobility, unsigned order, pleat_tag tag)
{
    uint64_t kind = mobility == PLEAT_MOVABLE ? STATE_MOVABLE : STATE_UNMOVABLE | (uint64_t)mobility << 6;
    return (tag & TAG_MASK) | (uint64_t)order << 2 | kind;
}

static inline uint64_t owner_word_special(enum special_owner owner)
{
    return (uint64_t)owner << 7;
}

/* Free, in a CPU's cache, or inside of an allocation that begins before it; the owner's number that may stand
 * there is that of the last one, so that a second free can name him. */
static inline bool owner_word_is_free(uint64_t word)
{
    return OWNER_STATE(word) == STATE_FREE &&
           (OWNER_INDEX(word) == OWNER_ANONYMOUS || OWNER_INDEX(word) >= OWNER_LAST_SPECIAL);
}

/* What a free leaves behind. */
static inline uint64_t owner_word_freed(uint64_t word)
{
    return word & (uint64_t)(OWNERS - 1) << 7;
}

static inline unsigned owner_mobility(uint64_t word)
{
    return OWNER_STATE(word) == STATE_MOVABLE ? PLEAT_MOVABLE : (unsigned)(word >> 6 & 1);
}

/* --- pageblock's word ----------------------------------------------------------------------------------- */

#define WORD_COUNT_MASK     0x3ffu
#define WORD_MOBILITY_SHIFT 10
#define WORD_CLASS_SHIFT    12
#define WORD_HINT_SHIFT     15
#define WORD_OWNED          (1u << 19) /* a CPU's slot has it */
#define WORD_HUGE           (1u << 20) /* allocated whole; the owner's word of its first frame says how */
#define WORD_TAIL           (1u << 21) /* with HUGE: not the first of an allocation larger than a pageblock */
#define WORD_ISOLATED       (1u << 22) /* nothing in it may be newly allocated */
#define WORD_WITHHELD       (1u << 23) /* fake-offline as a whole */
#define WORD_ABSENT         (1u << 24) /* no memory behind any of it */
#define WORD_OFFLINE        (1u << 25) /* its block isn't online */
#define WORD_INITIALISED    (1u << 26) /* its bits and owners' words have been written */
#define WORD_NO_CLASS       (WORD_OWNED | WORD_HUGE | WORD_ISOLATED | WORD_WITHHELD | WORD_ABSENT | WORD_OFFLINE)

#define WORD_FREE_COUNT(word) ((word)&WORD_COUNT_MASK)
#define WORD_MOBILITY(word)   ((word) >> WORD_MOBILITY_SHIFT & 3)
#define WORD_CLASS(word)      ((word) >> WORD_CLASS_SHIFT & 7)
#define WORD_HINT(word)       ((word) >> WORD_HINT_SHIFT & 15) /* no free run is of a larger order than it */

enum pageblock_class {
    CLASS_NONE = 0,
    CLASS_FREE = 1,   /* all 512 frames */
    CLASS_PARTIAL = 2 /* plus the bucket: 0 is the fullest */
};

/* Masks of a block: FREE, then for each mobility the buckets. Sets of a zone: the same, but FREE is split. */
#define MASK_FREE                      0u
#define MASK_PARTIAL(mobility, bucket) (1u + (mobility)*BUCKETS + (bucket))
#define MASKS                          (1u + MOBILITIES * BUCKETS)
#define SET_FREE_CLEAN                 0u /* blocks that could be removed as they are: no unmovable frame */
#define SET_FREE_HOME                  1u /* blocks that hold unmovable frames or are never removed */
#define SET_OF_MASK(mask)              ((mask) + 1u) /* for the partial ones */
#define SETS                           (MASKS + 1u)

/* --- block ---------------------------------------------------------------------------------------------- */

/* What the owner of a range said when it added it; each block has a copy, so that a range needs no storage of
 * its own and blocks can go one by one. */
struct range {
    const char *name;
    const void *owner;
    const struct pleat_range_ops *ops;
    void *context;
    uint64_t start_pfn;
    uint64_t frames;
    uint8_t node;
    uint8_t memmap_mode;
    uint8_t flags;
    uint8_t removable;
    uint8_t force_zone;
};

struct block {
    _Atomic uint64_t masks[MASKS];
    _Atomic uint64_t unmovable; /* pageblocks opened to unmovable or reclaimable frames, and not free since */
    _Atomic(struct zone *) zone; /* NULL while OFFLINE; searches look at it without the hotplug lock */
    uint64_t number;             /* start_pfn / frames of a block */
    _Atomic uint32_t *words;
    _Atomic uint64_t *bits;
    _Atomic uint64_t *huge_owners; /* owner's word of a pageblock that is allocated whole */
    uint64_t memmap_pfn;           /* where this memmap lies */
    uint32_t prefix_frames;        /* so many frames at the block's start hold memmaps */
    uint32_t absent_frames;
    uint32_t isolated_count;     /* pageblocks isolated; under the hotplug lock */
    _Atomic uint8_t state;       /* enum pleat_block_state */
    _Atomic uint16_t taking_cpu; /* 1 + the CPU that takes free pageblocks from here; a hint */
    struct range range;
    struct pleat_resource resource; /* of a contiguous piece of a range, if this is its first block */
};

/* --- sets of blocks, zones ----------------------------------------------------------------------------- */

/* A set of block numbers with a summary bit for each 64; bits may be set too much, never too little. */
struct block_set {
    _Atomic uint64_t *leaf;
    _Atomic uint64_t *summary;
};

struct zone {
    struct block_set sets[SETS];
    uint64_t
        online_frames; /* under the hotplug lock: frames of online blocks, less memmap, absent, withheld */
    _Atomic uint64_t blocks;
    _Atomic uint64_t unmovable_pageblocks; /* of zone DMA32: how worn it is */
    uint8_t node;
    uint8_t kind;
};

/* --- cpu ----------------------------------------------------------------------------------------------- */

/* A pageblock that a CPU (or a take) has to itself: its count is here, nobody else sets bits in it. */
struct slot {
    struct block *block; /* NULL: none */
    uint32_t pageblock;
    uint32_t cursor; /* the 64-bit word of bits to look at first */
    _Atomic uint32_t count;
    uint8_t node, zone_limit; /* what the wish said that it was filled for */
};

enum slot_kind {
    SLOT_SMALL = 0,   /* order 0, home node: fills the cache */
    SLOT_LARGE = 1,   /* orders 1 to 8, home node */
    SLOT_FOREIGN = 2, /* another node, or a zone that was asked for */
    SLOT_KINDS = 3
};

#define CACHE_FRAMES 128u
#define CACHE_REFILL 64u

struct cache {
    _Atomic uint32_t count;
    uint64_t pfn[CACHE_FRAMES];
};

struct cpu {
    alignas(128) _Atomic uint32_t inside; /* 1 while its own CPU is inside that has met no visitor */
    _Atomic uint32_t
        word;      /* 1 while a visitor is inside, or its own CPU that has met one; guards all below */
    uint32_t home; /* directory attribute of the frames that its caches may hold */
    uint32_t node;
    uint32_t number;
    _Atomic int64_t free_delta; /* frames that came to (went from) pageblocks' words by this CPU */
    int64_t allowance;          /* frames that it may take before it looks at the watermark again */
    struct block *taking_block; /* where it takes free pageblocks, for movable frames and whole */
    struct slot slots[SLOT_KINDS][MOBILITIES];
    alignas(64) struct cache caches[MOBILITIES];
};

/* --- instance ------------------------------------------------------------------------------------------ */

struct owner {
    const struct pleat_owner_ops *ops;
    void *context;
    const char *name;
};

/* An entry of the directory is the address of a memmap, which is aligned to 4096, with attributes below. */
#define ENTRY_COLOURS      32u
#define ENTRY_COLOUR_MASK  (ENTRY_COLOURS - 1)
#define ENTRY_NODE_SHIFT   5
#define ENTRY_MOVABLE_ONLY (1u << 9)  /* zone MOVABLE: no unmovable frame of it may stay in a cache */
#define ENTRY_UNCACHED     (1u << 10) /* its frames don't go into caches: a zone for special wishes */
#define ENTRY_ISOLATED     (1u << 11) /* some pageblock of it is isolated, or it isn't online */
/* Where no block is: no address, and an attribute that keeps fast paths away. */
#define ENTRY_EMPTY      ((uint64_t)ENTRY_ISOLATED)
#define ENTRY_ATTRIBUTES 0xfffu
#define ENTRY_HOME_MASK  (ENTRY_ATTRIBUTES & ~(ENTRY_COLOUR_MASK | ENTRY_MOVABLE_ONLY))
_Static_assert(PLEAT_MAX_NODES << ENTRY_NODE_SHIFT <= ENTRY_MOVABLE_ONLY, "nodes don't fit into an entry");

struct pleat_unpopulated_range;
struct section;
struct take;

struct core {
    /* read on every allocation */
    struct cpu *cpus;
    _Atomic uint64_t *directory;
    uint64_t block_count; /* entries of the directory */
    uint64_t block_mask;  /* frames of a block, less one */
    struct owner *owners;
    uint32_t block_order;               /* log2 of the frames of a block */
    uint32_t owner_shift;               /* log2 of the bytes of an owner's word; 0: there are none */
    uint32_t hot_bytes;                 /* of the hot part of a memmap */
    uint32_t words_offset, head_offset; /* in the hot part */
    _Atomic uint32_t visitors; /* who want into other CPUs' words; for ever 1 more if the port has no fence */
    /* the rest is cold */
    struct pleat_port port;
    uint64_t highest_pfn;
    uint64_t dma_end_pfn, dma32_end_pfn;
    uint64_t memmap_frames, memmap_bytes;
    uint64_t huge_offset; /* in the hot part */
    uint32_t cpu_count;
    uint64_t table_pfn, table_bytes;
    uint64_t watermark;
    uint64_t (*reclaim)(void *context, unsigned node, uint64_t frames);
    void *reclaim_context;
    struct zone *zones;              /* nodes * PLEAT_ZONE_KINDS */
    uint8_t *fallback;               /* nodes * nodes, nearest first */
    struct pleat_resource resources; /* the root of the range tree */
    struct pleat_listener *listeners;
    _Atomic int64_t free_base;
    _Atomic uint64_t online_frames;
    uint32_t node_count;
    uint32_t frame_shift;
    uint32_t block_pageblocks;
    uint32_t owner_count;
    uint32_t policy, policy_ratio;
    _Atomic uint32_t hotplug_lock;
    /* Other CPUs' part in a take. */
    void (*help)(void *context);
    void *help_context;
    _Atomic(struct take *) helped; /* whose step is on; NULL: there is nothing to help with */
    _Atomic uint32_t helpers;      /* CPUs that may be looking at it */
    /* Unpopulated frames. */
    _Atomic uint32_t pool_lock;
    _Atomic(const struct pleat_unpopulated_range *) pool_ranges; /* NULL: there is no pool */
    uint32_t pool_range_count, pool_node;
    uint64_t pool_free;                 /* frames that are free in all sections, and not reserved */
    _Atomic(struct section *) sections; /* the oldest one */
    struct section *last_section;
};

_Static_assert(sizeof(struct core) <= sizeof(struct pleat), "struct pleat is too small for struct core");
_Static_assert(sizeof(struct block) <= 384, "a block's head must fit beside the bits in two frames");

static inline struct core *core_of(struct pleat *pleat)
{
    return (struct core *)(void *)pleat;
}

static inline struct pleat *pleat_of(struct core *core)
{
    return (struct pleat *)(void *)core;
}

#endif
