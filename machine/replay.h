/* SPDX-License-Identifier: MIT
 *
 * Replay: does a prepared stream of operations against an allocator, and measures it.
 *
 * What is timed is the whole stretch of operations between two readings of the clock, so that the clock's own
 * cost is shared by all. The loop adds an array read and an array write to each operation, and is inline:
 * where the caller's allocator is a constant the compiler calls its functions directly.
 */
#ifndef PLEAT_MACHINE_REPLAY_H
#define PLEAT_MACHINE_REPLAY_H

#include <stddef.h>
#include <stdint.h>

#include "machine/message.h"
#include "machine/operations.h"

/** What is measured: two functions. */
struct pleat_replay_allocator {
    void *context;
    /** 2^ORDER frames; FLAGS as for pleat_alloc(); SLOT is what an owner knows it by. The first PFN, or a
     * negative error. */
    int64_t (*alloc)(void *context, unsigned order, unsigned flags, uint32_t slot);
    /** Frees them. 0, or a negative error. */
    int (*free)(void *context, uint64_t pfn, unsigned order);
};

/** What a stretch of operations came to. */
struct pleat_replay_result {
    /** operations = allocations + refused + frees + unknown_frees + skipped_frees */
    uint64_t operations;
    uint64_t allocations, refused; /**< that succeeded, and that didn't */
    uint64_t frees, unknown_frees; /**< that succeeded, and that the allocator refused: its bug, or ours */
    uint64_t skipped_frees;        /**< of blocks whose allocation was refused */
    uint64_t total_ns;
};

/** The value of a slot that holds nothing. PFNs are kept in 32 bits: 16 TiB of 4 KiB frames. */
#define PLEAT_REPLAY_EMPTY UINT32_MAX

/** A replay as it goes on: the frame of each slot. */
struct pleat_replay {
    const struct pleat_operations *operations;
    uint32_t *pfns;
};

/** Monotonic nanoseconds. */
uint64_t pleat_replay_clock_ns(void);

/** Begins with all slots empty. OPERATIONS must outlive it. Errors: PLEAT_E_NO_MEMORY. */
int pleat_replay_begin(struct pleat_replay *replay, const struct pleat_operations *operations);

/** Gives the slots back; what they hold stays allocated. */
void pleat_replay_end(struct pleat_replay *replay);

/** Frees what is live, the youngest first; the orders of blocks are found in the first COUNT operations,
 * which were those done. Returns how many blocks the allocator didn't know. */
uint64_t pleat_replay_release(struct pleat_replay *replay, const struct pleat_replay_allocator *allocator,
                              size_t count);

/** Does the operations numbered FIRST to END - 1, and adds what happened to RESULT. */
static inline void pleat_replay_run(struct pleat_replay *replay,
                                    const struct pleat_replay_allocator *allocator, size_t first, size_t end,
                                    struct pleat_replay_result *result)
{
    const struct pleat_operation *items = replay->operations->items;
    uint32_t *pfns = replay->pfns;
    struct pleat_replay_result sum = *result;
    uint64_t start_ns = pleat_replay_clock_ns();
    for (size_t i = first; i < end; i++) {
        const struct pleat_operation operation = items[i];
        if (!operation.is_free) {
            int64_t pfn =
                allocator->alloc(allocator->context, operation.order, operation.flags, operation.slot);
            /* One comparison finds errors, and frames beyond 32 bits, which go back and count as refused. */
            if (__builtin_expect((uint64_t)pfn >= PLEAT_REPLAY_EMPTY, 0)) {
                if (pfn >= 0)
                    allocator->free(allocator->context, (uint64_t)pfn, operation.order);
                sum.refused++;
            } else {
                pfns[operation.slot] = (uint32_t)pfn;
                sum.allocations++;
            }
        } else {
            uint32_t pfn = pfns[operation.slot];
            if (__builtin_expect(pfn == PLEAT_REPLAY_EMPTY, 0)) {
                sum.skipped_frees++;
            } else {
                pfns[operation.slot] = PLEAT_REPLAY_EMPTY;
                if (__builtin_expect(allocator->free(allocator->context, pfn, operation.order), 0))
                    sum.unknown_frees++;
                else
                    sum.frees++;
            }
        }
    }
    sum.total_ns += pleat_replay_clock_ns() - start_ns;
    sum.operations += end - first;
    *result = sum;
}

#endif
