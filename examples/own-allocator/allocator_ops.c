/* SPDX-License-Identifier: MIT
 *
 * struct pleat_memory_ops over the allocator: all that an operating system has to write to use the drivers
 * alone. This one keeps no metadata in memory that comes and goes, onlines what is added at once, and can't
 * move anything: a frame in use is in the way for good. So a take needs no steps.
 *
 * One that can only grow leaves out take_begin and its like, look and remove.
 */
#include <string.h>

#include "allocator.h"

static uint64_t frame_at(uint64_t address)
{
    return (address - AREA_ADDRESS) / FRAME_BYTES;
}

/* Bytes of a piece whose frames are in this state. */
static uint64_t count(const struct allocator *allocator, uint64_t address, uint64_t bytes,
                      enum frame_state state)
{
    uint64_t frames = 0;
    for (uint64_t at = address; at < address + bytes; at += FRAME_BYTES) {
        frames += allocator_state(allocator, frame_at(at)) == state;
    }
    return frames * FRAME_BYTES;
}

static void set(struct allocator *allocator, uint64_t address, uint64_t bytes, enum frame_state state)
{
    for (uint64_t at = address; at < address + bytes; at += FRAME_BYTES) {
        allocator_set_state(allocator, frame_at(at), state);
    }
}

/* --- In ----------------------------------------------------------------------------------------------------
 */

static void give_frames(void *context, uint64_t address, uint64_t bytes)
{
    set(context, address, bytes, FRAME_FREE);
}

static int add(void *context, const struct pleat_memory_range *range)
{
    struct allocator *allocator = context;
    for (uint64_t at = range->address; at < range->address + range->bytes; at += BLOCK_BYTES) {
        allocator->added[(at - AREA_ADDRESS) / BLOCK_BYTES] = true;
        range->owner->online(range->owner->context, at, BLOCK_BYTES, give_frames, allocator);
    }
    return 0;
}

static int give(void *context, const struct pleat_memory_owner *owner, uint64_t address, uint64_t bytes)
{
    struct allocator *allocator = context;
    (void)owner;
    if (count(allocator, address, bytes, FRAME_NONE) != bytes) {
        return PLEAT_E_STATE;
    }
    give_frames(allocator, address, bytes);
    return 0;
}

/* --- Out ---------------------------------------------------------------------------------------------------
 */

static int remove_blocks(void *context, const struct pleat_memory_owner *owner, uint64_t address,
                         uint64_t bytes)
{
    /* Blocks are online from add to the take that removes them: there is never an offline one. */
    (void)context;
    (void)owner;
    (void)address;
    (void)bytes;
    return PLEAT_E_STATE;
}

/* What the driver keeps for us while a take goes on. */
struct job {
    const struct pleat_memory_owner *owner;
    uint64_t kind;
    uint64_t address;
    uint64_t bytes;
    struct pleat_memory_report report;
};
_Static_assert(sizeof(struct job) <= sizeof(struct pleat_memory_job), "it fits");

static int take_begin(void *context, struct pleat_memory_job *storage, const struct pleat_memory_owner *owner,
                      enum pleat_take_kind kind, uint64_t address, uint64_t bytes, uint64_t deadline_ns)
{
    struct allocator *allocator = context;
    struct job job = {.owner = owner, .kind = kind, .address = address, .bytes = bytes};
    uint64_t first = address;
    (void)deadline_ns;
    job.report.bytes_total = bytes;
    job.report.bytes_unmovable = count(allocator, address, bytes, FRAME_USED);
    if (job.report.bytes_unmovable > 0) {
        while (allocator_state(allocator, frame_at(first)) != FRAME_USED) {
            first += FRAME_BYTES;
        }
        job.report.obstacle_address = first;
        strcpy(job.report.obstacle_owner, "somebody");
    }
    memcpy(storage, &job, sizeof(job));
    return job.report.bytes_unmovable > 0 ? PLEAT_E_UNMOVABLE : 0;
}

static int take_step(void *context, struct pleat_memory_job *storage, uint64_t budget_bytes)
{
    struct allocator *allocator = context;
    struct job job;
    (void)budget_bytes;
    memcpy(&job, storage, sizeof(job));
    if (count(allocator, job.address, job.bytes, FRAME_USED) > 0) {
        return PLEAT_E_UNMOVABLE;
    }
    set(allocator, job.address, job.bytes, FRAME_NONE);
    if (job.kind == PLEAT_TAKE_PIECE) {
        return 0;
    }
    for (uint64_t at = job.address; at < job.address + job.bytes; at += BLOCK_BYTES) {
        job.owner->offline(job.owner->context, at, BLOCK_BYTES);
        allocator->added[(at - AREA_ADDRESS) / BLOCK_BYTES] = false;
    }
    return 0;
}

static void take_cancel(void *context, struct pleat_memory_job *storage)
{
    (void)context;
    (void)storage;
}

static void take_report(void *context, const struct pleat_memory_job *storage,
                        struct pleat_memory_report *report)
{
    struct job job;
    (void)context;
    memcpy(&job, storage, sizeof(job));
    *report = job.report;
}

/* --- What there is -----------------------------------------------------------------------------------------
 */

static enum pleat_block_state block_state(void *context, uint64_t address)
{
    const struct allocator *allocator = context;
    return allocator->added[(address - AREA_ADDRESS) / BLOCK_BYTES] ? PLEAT_BLOCK_ONLINE : PLEAT_BLOCK_NONE;
}

static int look(void *context, uint64_t address, uint64_t bytes, struct pleat_memory_look *found)
{
    struct allocator *allocator = context;
    memset(found, 0, sizeof(*found));
    found->free_bytes = count(allocator, address, bytes, FRAME_FREE);
    found->unmovable_bytes = count(allocator, address, bytes, FRAME_USED);
    found->withheld_bytes = count(allocator, address, bytes, FRAME_NONE);
    return 0;
}

static uint64_t free_bytes(void *context)
{
    return ((const struct allocator *)context)->free_frames * FRAME_BYTES;
}

static const struct pleat_memory_ops both_ways = {.add = add,
                                                  .remove = remove_blocks,
                                                  .take_begin = take_begin,
                                                  .take_step = take_step,
                                                  .take_cancel = take_cancel,
                                                  .take_report = take_report,
                                                  .give = give,
                                                  .block_state = block_state,
                                                  .look = look,
                                                  .free_bytes = free_bytes};

static const struct pleat_memory_ops only_in = {.add = add, .give = give, .block_state = block_state};

void allocator_memory(struct allocator *allocator, struct pleat_memory *memory, bool plug_only)
{
    memset(memory, 0, sizeof(*memory));
    memory->ops = plug_only ? &only_in : &both_ways;
    memory->context = allocator;
    memory->block_bytes = BLOCK_BYTES;
    memory->piece_bytes = PIECE_BYTES;
    memory->highest_address = AREA_ADDRESS + AREA_BYTES;
    memory->nodes = 1;
    memory->frame_bytes = FRAME_BYTES;
}
