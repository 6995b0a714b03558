/* SPDX-License-Identifier: MIT
 *
 * Replay: what isn't on its fast path.
 */
#include "machine/replay.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t pleat_replay_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int pleat_replay_begin(struct pleat_replay *replay, const struct pleat_operations *operations)
{
    size_t bytes = operations->slots * sizeof(*replay->pfns);
    *replay = (struct pleat_replay){.operations = operations, .pfns = malloc(bytes ? bytes : 1)};
    if (!replay->pfns)
        return PLEAT_E_NO_MEMORY;
    /* PLEAT_REPLAY_EMPTY is all ones. This touches the array before anything is timed, too. */
    memset(replay->pfns, 0xff, bytes);
    return PLEAT_OK;
}

void pleat_replay_end(struct pleat_replay *replay)
{
    free(replay->pfns);
    *replay = (struct pleat_replay){0};
}

uint64_t pleat_replay_release(struct pleat_replay *replay, const struct pleat_replay_allocator *allocator,
                              size_t count)
{
    uint64_t unknown = 0;
    /* The last allocation in a slot is what it holds, if it holds anything. */
    for (size_t i = count; i-- > 0;) {
        const struct pleat_operation *operation = &replay->operations->items[i];
        uint32_t pfn = replay->pfns[operation->slot];
        if (operation->is_free || pfn == PLEAT_REPLAY_EMPTY)
            continue;
        unknown += allocator->free(allocator->context, pfn, operation->order) != 0;
        replay->pfns[operation->slot] = PLEAT_REPLAY_EMPTY;
    }
    return unknown;
}
