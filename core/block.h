/* SPDX-License-Identifier: MIT
 *
 * Memory blocks under the hotplug lock: going online, going offline, fake-offline, listeners, zones by
 * policy.
 */
#ifndef PLEAT_CORE_BLOCK_H
#define PLEAT_CORE_BLOCK_H

#include "memmap.h"

/* Whether `owner` added the block; boot memory is nobody's, which is NULL. */
static inline bool block_is_owned(const struct block *block, const void *owner)
{
    return owner == (block->range.removable ? block->range.owner : NULL);
}

/* Whether the block's range may go in a granularity that start_pfn..end_pfn is: with its memmaps at its start
 * it goes only as a whole. */
static inline bool block_goes_with(const struct block *block, uint64_t start_pfn, uint64_t end_pfn)
{
    return block->range.memmap_mode != PLEAT_MEMMAP_RANGE ||
           (block->range.start_pfn >= start_pfn && block->range.start_pfn + block->range.frames <= end_pfn);
}

/* The hotplug lock: orders everything cold. Spins; held for bounded stretches. */
void hotplug_lock(struct core *core);
void hotplug_unlock(struct core *core);

static inline enum pleat_block_state block_state(const struct block *block)
{
    return (enum pleat_block_state)atomic_load_explicit(&block->state, memory_order_relaxed);
}

static inline struct zone *zone_of(struct core *core, unsigned node, unsigned kind)
{
    return &core->zones[node * PLEAT_ZONE_KINDS + kind];
}

/* Frames that came into (went out of) use in a zone: in the allocator or in someone's hands, memmaps left
 * out. */
static inline void online_count(struct core *core, struct zone *zone, int64_t frames)
{
    zone->online_frames += (uint64_t)frames;
    core->online_frames += (uint64_t)frames;
}

/* Tells the listeners of one block. For a GOING_ event: the first refusal tells those before it CANCEL, and
 * is returned. */
int listeners_tell(struct core *core, enum pleat_event event, struct block *block, struct zone *zone);

/* DMA, DMA32 or NORMAL by the block's address. */
unsigned zone_by_address(const struct core *core, const struct block *block);

/* Whether frames up to `end_pfn` may be in a zone: DMA and DMA32 have limits. */
bool zone_can_hold(const struct core *core, uint64_t end_pfn, unsigned kind);

/* The zone that the policy puts an added block into; PLEAT_ZONE_KINDS: it stays offline. */
unsigned zone_by_policy(struct core *core, const struct block *block);

/* Puts an offline block's frames into the allocator, as its range's operations say. The listeners were asked
 * and are told. */
void block_go_online(struct core *core, struct block *block, struct zone *zone);

/* Takes an isolated block, all of whose frames are free or passed over, out of the allocator. */
void block_go_offline(struct core *core, struct block *block);

/* Invariants of what changes under the hotplug lock alone: they hold while others allocate. Part of
 * pleat_is_valid(); logs what is wrong. */
bool block_state_is_valid(struct core *core, struct block *block);

/* Frames for one memmap, in boot memory of the node, or with any_node of another; PLEAT_E_NO_MEMORY: there
 * are none. They count as metadata from then on. Not pinned. */
int64_t metadata_allocate(struct core *core, unsigned node, bool any_node);

/* Removes OFFLINE blocks, all of which their owner may remove. */
void blocks_remove(struct core *core, uint64_t start_pfn, uint64_t blocks);

/* Sets a pageblock's word of a block that isn't in use, from its bits, and puts it into the index. Returns
 * the count of free frames. */
unsigned pageblock_publish(struct block *block, unsigned pageblock, uint32_t flags);

/* Whether all frames of an initialised pageblock but its prefix are withheld one by one, so that it may as
 * well be WITHHELD as a whole. Never so without owners' words. */
bool pageblock_is_all_withheld(const struct core *core, const struct block *block, unsigned pageblock);

/* Sets or clears the bits of frames from..to-1 of a block that nobody allocates from. */
void bits_write(struct block *block, uint64_t from, uint64_t to, bool set);

/* Frames of one node, all zones from `first` to `last`. Under the hotplug lock. */
uint64_t node_online_frames(struct core *core, unsigned node, unsigned first, unsigned last);

#endif
