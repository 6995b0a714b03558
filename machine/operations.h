/* SPDX-License-Identifier: MIT
 *
 * Operations: a workload as a stream of allocations and frees, ready to be replayed.
 *
 * A slot is the identity of a live block: an allocation fills a slot, the free that ends it names the
 * same slot, and then the slot may be used again. Whoever replays keeps an array `slots[]` of frame
 * numbers, so that replay needs no search and measures the allocator alone. Recorded traces (trace.h) and
 * synthetic workloads (synthetic.h) both come out as this type.
 */
#ifndef PLEAT_MACHINE_OPERATIONS_H
#define PLEAT_MACHINE_OPERATIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/pleat.h>

#include "machine/message.h"

/** Orders of the blocks of a workload: 0 to 9, a frame to a pageblock. */
#define PLEAT_OPERATION_ORDERS 10

/** Unmovable, reclaimable, movable: the numbers of PLEAT_UNMOVABLE and its relatives. */
#define PLEAT_MOBILITIES 3

/** One allocation or free; eight bytes, so that a long workload passes through the caches quickly. */
struct pleat_operation {
    uint32_t slot;
    /** For pleat_alloc(): mobility, and PLEAT_ALLOC_DMA or PLEAT_ALLOC_DMA32. A free has its allocation's. */
    uint8_t flags;
    uint8_t order;
    uint8_t cpu;
    uint8_t is_free;
};

/** What a stream of operations does; blocks from before the recording included. */
struct pleat_operation_counts {
    uint64_t allocations, frees;
    uint64_t allocations_by_mobility[PLEAT_MOBILITIES];
    uint64_t allocations_by_order[PLEAT_OPERATION_ORDERS];
    /** Live now (at the end, when the stream is complete), and at most. Live <= peak. */
    uint64_t live_blocks, live_frames;
    uint64_t peak_live_blocks, peak_live_frames;
};

/**
 * A stream of operations in storage of its own; pleat_operations_free() gives it back. Zeroed: empty.
 *
 * before <= count <= capacity; counts.allocations + counts.frees == count; each slot is < slots.
 */
struct pleat_operations {
    struct pleat_operation *items;
    /** For each operation, ns since the start; those of `before` have 0. */
    uint64_t *time_ns;
    size_t count, capacity;
    /** The first so many operations allocate what was live before the recording began. */
    size_t before;
    /** Slots that a replay needs: one more than the greatest slot. */
    uint32_t slots;
    /** CPUs: one more than the greatest CPU. */
    uint32_t cpus;
    struct pleat_operation_counts counts;
};

/** Adds an operation to the counts. A free must be of a block that is counted as live. */
void pleat_operation_counts_add(struct pleat_operation_counts *counts,
                                const struct pleat_operation *operation);

/**
 * Appends an operation. Errors, with nothing changed: PLEAT_E_NO_MEMORY.
 */
int pleat_operations_append(struct pleat_operations *operations, const struct pleat_operation *operation,
                            uint64_t time_ns);

/** Gives the storage back and empties it. */
void pleat_operations_free(struct pleat_operations *operations);

/**
 * Replays the stream on paper: a slow check that slots are filled before they are emptied, that a free has
 * order and flags of its allocation, and that the counts are right. True, or false and why in MESSAGE.
 */
bool pleat_operations_is_valid(const struct pleat_operations *operations, struct pleat_message *message);

/**
 * Numbers of slots, last in, first out: a number that was given back is taken again before a
 * new one is made, so that the slots stay as few as the most that are in use at once.
 */
struct pleat_slots {
    uint32_t *unused;
    size_t unused_count, unused_capacity;
    /** Numbers made so far. */
    uint32_t made;
};

/** Takes a number. Errors: PLEAT_E_NO_MEMORY (2^32 - 1 of them are in use). */
int pleat_slots_take(struct pleat_slots *slots, uint32_t *slot);

/** Gives a number back. Errors, with nothing changed: PLEAT_E_NO_MEMORY. */
int pleat_slots_give(struct pleat_slots *slots, uint32_t slot);

/** Gives the storage back and forgets all numbers. */
void pleat_slots_free(struct pleat_slots *slots);

/** "unmovable", "reclaimable" or "movable". */
const char *pleat_mobility_name(unsigned mobility);

#endif
