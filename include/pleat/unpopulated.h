/* SPDX-License-Identifier: MIT
 *
 * Unpopulated frames: addresses with a memmap, but no memory of the guest's own, to map someone else's memory
 * into: pages that another domain grants, for example. To take them from memory that was ballooned out would
 * waste that memory.
 *
 * The platform names addresses in which nothing is. The pool takes a memory block's worth of them (a section)
 * at a time, aligned, where the instance's range tree has nothing: no memory, no region that somebody
 * claimed. It never gives a section back, and uses frames that were freed before others. A section isn't
 * memory: it has no memory block, no listener hears of it, no policy applies, none of its frames is ever
 * online, and no function of pleat.h sees it but these: pleat_frame_tag() and pleat_frame_data() know its
 * frames, pleat_resources() shows it as "unpopulated", pleat_add() refuses to add memory there, and
 * pleat_is_valid() checks the pool. Its memmap lies in boot memory and counts there as metadata.
 *
 * What is mapped into a frame is the caller's affair; he frees a frame with nothing behind it.
 */
#ifndef PLEAT_UNPOPULATED_H
#define PLEAT_UNPOPULATED_H

#include <stdint.h>

#include <pleat/error.h>
#include <pleat/pleat.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Addresses, of which whole memory blocks are used; they may lie above pleat_config.highest_pfn. */
struct pleat_unpopulated_range {
    uint64_t start_pfn;
    uint64_t frames;
};

struct pleat_unpopulated_config {
    const struct pleat_unpopulated_range *ranges; /**< used in this order; must outlive the instance */
    unsigned range_count;                         /**< at least 1 */
    unsigned node; /**< whose boot memory holds the memmaps; another's when it is full */
};

/**
 * Names where unpopulated frames may come from; once, before the first is allocated. Whatever else appears in
 * the range tree before a section is taken is left alone. The first memory block of all, with frame 0 in it,
 * is never used. Errors: INVALID (no ranges, an empty one, one beyond 2^64 bytes, no such node), STATE (named
 * already). Context: task; takes the hotplug lock.
 */
int pleat_unpopulated_init(struct pleat *pleat, const struct pleat_unpopulated_config *config);

/**
 * Allocates `count` frames, one by one, wherever they are: fills in pfns[0] to pfns[count - 1]. They are
 * unmovable, of order 0, and `tag` says whose. Errors, with no frame allocated, though the pool may have
 * grown: INVALID (no frames), UNSUPPORTED (nothing was named), NO_MEMORY (the named addresses are used up, or
 * boot memory has no room for a memmap). Context: any CPU, not pinned, not from callbacks under the hotplug
 * lock, which growing takes. Effort: a few loads and stores a frame under the pool's own lock, which is held
 * for 256 frames at most; growing writes the section's memmap, 256 KiB by default.
 */
int pleat_alloc_unpopulated(struct pleat *pleat, unsigned count, uint64_t *pfns, pleat_tag tag);

/**
 * Frees them, in any order and number. Errors: MISUSE (one isn't allocated; the port's fatal() has heard of
 * it; none was freed, unless it stands there twice or others free the same meanwhile: then those before it
 * were). Context: any CPU, not pinned. Effort: as allocating.
 */
int pleat_free_unpopulated(struct pleat *pleat, unsigned count, const uint64_t *pfns);

/** A section of the pool. */
struct pleat_unpopulated_info {
    uint64_t start_pfn;
    uint64_t frames;
    uint64_t used_frames;
};

/** The first section that ends above `pfn`; walk with info.start_pfn + info.frames. NOT_FOUND: no more. Any
 * context that isn't pinned. */
int pleat_unpopulated_info(struct pleat *pleat, uint64_t pfn, struct pleat_unpopulated_info *info);

#ifdef __cplusplus
}
#endif
#endif
