/* SPDX-License-Identifier: MIT
 *
 * Streams of operations: growing arrays, counts kept while they grow, and the slow check of both.
 */
#include "machine/operations.h"

#include <stdlib.h>
#include <string.h>

void pleat_operation_counts_add(struct pleat_operation_counts *counts,
                                const struct pleat_operation *operation)
{
    uint64_t frames = (uint64_t)1 << operation->order;
    if (operation->is_free) {
        counts->frees++;
        counts->live_blocks--;
        counts->live_frames -= frames;
        return;
    }
    counts->allocations++;
    counts->allocations_by_mobility[operation->flags & PLEAT_MOBILITY_MASK]++;
    counts->allocations_by_order[operation->order]++;
    counts->live_blocks++;
    counts->live_frames += frames;
    if (counts->peak_live_blocks < counts->live_blocks)
        counts->peak_live_blocks = counts->live_blocks;
    if (counts->peak_live_frames < counts->live_frames)
        counts->peak_live_frames = counts->live_frames;
}

static int grow(struct pleat_operations *operations)
{
    size_t capacity = operations->capacity ? operations->capacity * 2 : 1024;
    struct pleat_operation *items = realloc(operations->items, capacity * sizeof(*items));
    if (items)
        operations->items = items;
    uint64_t *time_ns = realloc(operations->time_ns, capacity * sizeof(*time_ns));
    if (time_ns)
        operations->time_ns = time_ns;
    if (!items || !time_ns)
        return PLEAT_E_NO_MEMORY;
    operations->capacity = capacity;
    return PLEAT_OK;
}

int pleat_operations_append(struct pleat_operations *operations, const struct pleat_operation *operation,
                            uint64_t time_ns)
{
    if (operations->count == operations->capacity) {
        int error = grow(operations);
        if (error)
            return error;
    }
    operations->items[operations->count] = *operation;
    operations->time_ns[operations->count] = time_ns;
    operations->count++;
    if (operation->slot >= operations->slots)
        operations->slots = operation->slot + 1;
    if (operation->cpu >= operations->cpus)
        operations->cpus = (uint32_t)operation->cpu + 1;
    pleat_operation_counts_add(&operations->counts, operation);
    return PLEAT_OK;
}

void pleat_operations_free(struct pleat_operations *operations)
{
    free(operations->items);
    free(operations->time_ns);
    *operations = (struct pleat_operations){0};
}

/* What slot holds: 0 nothing, otherwise 1 + order + 16 * flags of the block. */
static uint32_t held_by(const struct pleat_operation *operation)
{
    return 1u + operation->order + 16u * operation->flags;
}

static const char *first_fault(const struct pleat_operations *operations, size_t i, const uint32_t *held)
{
    const struct pleat_operation *operation = &operations->items[i];
    if (operation->slot >= operations->slots)
        return "its slot is beyond the last";
    if (operation->cpu >= operations->cpus)
        return "its CPU is beyond the last";
    if (operation->order >= PLEAT_OPERATION_ORDERS)
        return "its order is above 9";
    if ((operation->flags & PLEAT_MOBILITY_MASK) >= PLEAT_MOBILITIES)
        return "its mobility is unknown";
    if (operation->is_free && held[operation->slot] != held_by(operation))
        return "it frees what its slot doesn't hold";
    if (!operation->is_free && held[operation->slot])
        return "it fills a slot that is in use";
    if (i < operations->before && operation->is_free)
        return "it frees before the recording began";
    if (i && operations->time_ns[i] < operations->time_ns[i - 1])
        return "its time goes back";
    return NULL;
}

bool pleat_operations_is_valid(const struct pleat_operations *operations, struct pleat_message *message)
{
    uint32_t *held = calloc((size_t)operations->slots + 1, sizeof(*held));
    if (!held) {
        pleat_message_set(message, PLEAT_E_INVALID, "no memory for %u slots", operations->slots);
        return false;
    }
    struct pleat_operation_counts counts = {0};
    bool valid = operations->before <= operations->count && operations->count <= operations->capacity;
    if (!valid)
        pleat_message_set(message, PLEAT_E_INVALID, "before <= count <= capacity doesn't hold");
    for (size_t i = 0; i < operations->count && valid; i++) {
        const struct pleat_operation *operation = &operations->items[i];
        const char *fault = first_fault(operations, i, held);
        if (fault) {
            pleat_message_set(message, PLEAT_E_INVALID, "operation %zu: %s", i, fault);
            valid = false;
        } else {
            held[operation->slot] = operation->is_free ? 0 : held_by(operation);
            pleat_operation_counts_add(&counts, operation);
        }
    }
    if (valid && memcmp(&counts, &operations->counts, sizeof(counts)) != 0) {
        pleat_message_set(message, PLEAT_E_INVALID, "the counts differ from a recount");
        valid = false;
    }
    free(held);
    return valid;
}

int pleat_slots_take(struct pleat_slots *slots, uint32_t *slot)
{
    if (slots->unused_count) {
        *slot = slots->unused[--slots->unused_count];
        return PLEAT_OK;
    }
    if (slots->made == UINT32_MAX)
        return PLEAT_E_NO_MEMORY;
    *slot = slots->made++;
    return PLEAT_OK;
}

int pleat_slots_give(struct pleat_slots *slots, uint32_t slot)
{
    if (slots->unused_count == slots->unused_capacity) {
        size_t capacity = slots->unused_capacity ? slots->unused_capacity * 2 : 256;
        uint32_t *unused = realloc(slots->unused, capacity * sizeof(*unused));
        if (!unused)
            return PLEAT_E_NO_MEMORY;
        slots->unused = unused;
        slots->unused_capacity = capacity;
    }
    slots->unused[slots->unused_count++] = slot;
    return PLEAT_OK;
}

void pleat_slots_free(struct pleat_slots *slots)
{
    free(slots->unused);
    *slots = (struct pleat_slots){0};
}

const char *pleat_mobility_name(unsigned mobility)
{
    static const char *const names[PLEAT_MOBILITIES] = {
        [PLEAT_UNMOVABLE] = "unmovable", [PLEAT_RECLAIMABLE] = "reclaimable", [PLEAT_MOVABLE] = "movable"};
    return mobility < PLEAT_MOBILITIES ? names[mobility] : "unknown";
}
