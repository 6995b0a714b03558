/* SPDX-License-Identifier: MIT
 *
 * Memory out and in: free frames are withheld and given back to Xen, holes get memory and go into use. One
 * hypercall at a time, of as many extents as the batch, the budget and the difference allow.
 */
#include "../common/log.h"
#include "balloon.h"

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* --- Giving to the guest ---------------------------------------------------------------------------------
 */

static void clear(struct pleat_xen_balloon *balloon, uint64_t pfn, uint64_t frames)
{
    if (balloon->config.clear != NULL) {
        balloon->config.clear(balloon->config.context, pfn * FRAME_BYTES, frames * FRAME_BYTES);
        balloon->statistics.cleared_frames += frames;
    }
}

/* Of frames of an added block whose bits are set, some may have been given by its going online: the others
 * are given one by one. In a block that isn't online they are given when it goes online. */
static void give_rest(struct pleat_xen_balloon *balloon, uint64_t pfn, uint64_t frames)
{
    const struct pleat_memory *memory = balloon->config.memory;
    if (frames == 1 || !pleat_xen_balloon_online_block(balloon, pleat_xen_balloon_index(balloon, pfn))) {
        return;
    }
    for (uint64_t at = pfn; at < pfn + frames; at++) {
        (void)memory->ops->give(memory->context, &balloon->owner, at * FRAME_BYTES, FRAME_BYTES);
    }
}

/* Held frames of one block go to the guest. */
static void give_run(struct pleat_xen_balloon *balloon, uint64_t pfn, uint64_t frames)
{
    const struct pleat_memory *memory = balloon->config.memory;
    const struct pleat_memory_owner *owner = pleat_xen_balloon_owner(balloon, pfn);
    const uint64_t index = pleat_xen_balloon_index(balloon, pfn);
    pleat_xen_balloon_mark(balloon, index, frames, FRAME_GUESTS);
    const int error = memory->ops->give(memory->context, owner, pfn * FRAME_BYTES, frames * FRAME_BYTES);
    if (error == PLEAT_E_STATE && owner != NULL) {
        give_rest(balloon, pfn, frames);
    } else if (error < 0) {
        pleat_xen_balloon_mark(balloon, index, frames, FRAME_HELD);
        balloon->pieces_only = balloon->pieces_only || error == PLEAT_E_UNSUPPORTED;
    }
}

/* The extents pfns[from] to pfns[to - 1], neighbours together. */
static void give_extents(struct pleat_xen_balloon *balloon, unsigned from, unsigned to, uint64_t frames)
{
    const uint64_t *pfns = balloon->pfns;
    while (from < to) {
        const uint64_t first = pfns[from];
        uint64_t end = first;
        do {
            end += frames;
            from++;
        } while (from < to && pfns[from] == end && end % balloon->block_frames != 0);
        give_run(balloon, first, end - first);
    }
}

/* --- Out -------------------------------------------------------------------------------------------------
 */

/* Frames that the guest can do without. */
static uint64_t above_floor(const struct pleat_xen_balloon *balloon)
{
    const struct pleat_memory *memory = balloon->config.memory;
    const uint64_t floor = balloon->config.floor_bytes;
    if (floor == PLEAT_XEN_OFF || memory->ops->free_bytes == NULL) {
        return UINT64_MAX;
    }
    const uint64_t free = memory->ops->free_bytes(memory->context);
    return free > floor ? (free - floor) / FRAME_BYTES : 0;
}

/* Takes an extent out of use; false: none is free. */
static bool withhold_one(struct pleat_xen_balloon *balloon, uint64_t frames, uint64_t *pfn, int *error)
{
    const struct pleat_memory *memory = balloon->config.memory;
    uint64_t address;
    *error = memory->ops->withhold(memory->context, &balloon->owner, frames * FRAME_BYTES, &address);
    if (*error < 0) {
        return false;
    }
    *pfn = address / FRAME_BYTES;
    const uint64_t index = pleat_xen_balloon_index(balloon, *pfn);
    if (index == NOWHERE || !pleat_xen_balloon_are(balloon, index, frames, FRAME_GUESTS)) {
        /* Above boot_end, by a config that doesn't fit the memory: not ours to balloon out. */
        (void)memory->ops->give(memory->context, NULL, address, frames * FRAME_BYTES);
        *error = PLEAT_E_NOT_FOUND;
        return false;
    }
    pleat_xen_balloon_mark(balloon, index, frames, FRAME_HELD);
    return true;
}

/* Free extents, withheld, into pfns: how many. */
static unsigned withhold(struct pleat_xen_balloon *balloon, uint64_t frames, uint64_t most, int *error)
{
    const uint64_t onlines = atomic_load(&balloon->onlines);
    unsigned count = 0;
    *error = 0;
    while (count < most && withhold_one(balloon, frames, &balloon->pfns[count], error)) {
        count++;
    }
    if (atomic_load(&balloon->onlines) != onlines) {
        give_extents(balloon, 0, count, frames);
        *error = PLEAT_E_BUSY;
        return 0;
    }
    return count;
}

/* Takes what Xen answered to `count` extents for a count of them. */
static unsigned believe(struct pleat_xen_balloon *balloon, int64_t result, unsigned count)
{
    if (result < 0 || result > (int64_t)count) {
        balloon->statistics.call_errors++;
        return 0;
    }
    balloon->statistics.partial_results += result < (int64_t)count;
    return (unsigned)result;
}

/* Held extents go to Xen; what it doesn't take goes back into use. How many it took. */
static unsigned decrease(struct pleat_xen_balloon *balloon, unsigned count, unsigned order, int *error)
{
    const struct pleat_xen *xen = balloon->config.xen;
    const uint64_t frames = UINT64_C(1) << order;
    for (unsigned i = 0; balloon->config.clear_what_goes && i < count; i++) {
        clear(balloon, balloon->pfns[i], frames);
    }
    const int64_t result = xen->ops->decrease(xen->context, balloon->pfns, count, order);
    const unsigned done = believe(balloon, result, count);
    *error = result < 0 ? (int)result : 0;
    balloon->statistics.decrease_calls[order != 0]++;
    balloon->statistics.decreased_frames += done * frames;
    for (unsigned i = 0; i < done; i++) {
        pleat_xen_balloon_mark(balloon, pleat_xen_balloon_index(balloon, balloon->pfns[i]), frames,
                               FRAME_HOLE);
    }
    give_extents(balloon, done, count, frames);
    balloon->budget -= CALL_BYTES + (int64_t)(count * (order != 0 ? CALL_BYTES : FRAME_BYTES));
    return done;
}

/* Frames that the guest can't take one by one go back to Xen, others are given again. */
enum outcome pleat_xen_balloon_settle_held(struct pleat_xen_balloon *balloon)
{
    const uint64_t before = balloon->held_frames;
    uint64_t index = pleat_xen_balloon_find(balloon, 0, FRAME_HELD);
    unsigned count = 0;
    int error;
    while (index != NOWHERE && count < balloon->config.batch) {
        balloon->pfns[count++] = pleat_xen_balloon_pfn(balloon, index);
        index = pleat_xen_balloon_find(balloon, index + 1, FRAME_HELD);
    }
    if (balloon->pieces_only) {
        (void)decrease(balloon, count, 0, &error);
    } else {
        give_extents(balloon, 0, count, 1);
        balloon->budget -= CALL_BYTES;
    }
    if (balloon->held_frames < before) {
        pleat_xen_balloon_moved(balloon);
        return DONE_SOMETHING;
    }
    const struct stop stop = {.reason = PLEAT_XEN_BALLOON_REASON_ERROR,
                              .growing = true,
                              .detail = "frames that the guest doesn't take into use"};
    return pleat_xen_balloon_stop(balloon, stop, true);
}

static bool uses_pieces(const struct pleat_xen_balloon *balloon)
{
    return balloon->config.memory->piece_bytes == PIECE_BYTES;
}

static enum outcome after_decrease(struct pleat_xen_balloon *balloon, unsigned done, unsigned order,
                                   int error)
{
    if (done > 0) {
        pleat_xen_balloon_moved(balloon);
        return DONE_SOMETHING;
    }
    if (order != 0) {
        balloon->pieces_out_fail = true;
        return DONE_SOMETHING;
    }
    const struct stop stop = {.reason = error < 0 ? PLEAT_XEN_BALLOON_REASON_ERROR
                                                  : PLEAT_XEN_BALLOON_REASON_REFUSED,
                              .error = error};
    return pleat_xen_balloon_stop(balloon, stop, true);
}

enum outcome pleat_xen_balloon_shrink(struct pleat_xen_balloon *balloon, uint64_t excess)
{
    const uint64_t room = above_floor(balloon);
    const uint64_t most = least(excess, room);
    const uint64_t budget = balloon->budget > 0 ? (uint64_t)balloon->budget : 0;
    int error = 0;
    if (balloon->config.memory->ops->withhold == NULL) {
        const struct stop stop = {.reason = PLEAT_XEN_BALLOON_REASON_NO_FREE,
                                  .detail = "this guest can't take memory out of use"};
        return pleat_xen_balloon_stop(balloon, stop, false);
    }
    if (most >= PIECE_FRAMES && uses_pieces(balloon) && !balloon->pieces_out_fail) {
        const uint64_t pieces =
            least(least(most / PIECE_FRAMES, balloon->config.batch), 1 + budget / CALL_BYTES);
        const unsigned count = withhold(balloon, PIECE_FRAMES, pieces, &error);
        if (count > 0) {
            const unsigned done = decrease(balloon, count, PIECE_ORDER, &error);
            return after_decrease(balloon, done, PIECE_ORDER, error);
        }
    }
    if (most == 0) {
        const struct stop stop = {.reason = PLEAT_XEN_BALLOON_REASON_FLOOR,
                                  .number = balloon->config.floor_bytes};
        return pleat_xen_balloon_stop(balloon, stop, true);
    }
    const uint64_t frames = least(least(most, balloon->config.batch), 1 + budget / FRAME_BYTES);
    const unsigned count = balloon->pieces_only ? 0 : withhold(balloon, 1, frames, &error);
    if (error == PLEAT_E_UNSUPPORTED) {
        balloon->pieces_only = true;
    }
    if (balloon->pieces_only && most < PIECE_FRAMES) {
        return NOTHING_TO_DO;
    }
    if (count > 0) {
        const unsigned done = decrease(balloon, count, 0, &error);
        return after_decrease(balloon, done, 0, error);
    }
    const struct stop stop = {.reason = PLEAT_XEN_BALLOON_REASON_NO_FREE,
                              .detail = error == PLEAT_E_NOT_FOUND
                                            ? "a frame that isn't in the boot map that the balloon was told"
                                            : NULL};
    return pleat_xen_balloon_stop(balloon, stop, true);
}

/* --- In --------------------------------------------------------------------------------------------------
 */

static unsigned populate(struct pleat_xen_balloon *balloon, unsigned count, unsigned order, int *error)
{
    const struct pleat_xen *xen = balloon->config.xen;
    const uint64_t frames = UINT64_C(1) << order;
    const int64_t result = xen->ops->populate(xen->context, balloon->pfns, count, order);
    const unsigned done = believe(balloon, result, count);
    *error = result < 0 ? (int)result : 0;
    balloon->statistics.populate_calls[order != 0]++;
    balloon->statistics.populated_frames += done * frames;
    for (unsigned i = 0; i < done; i++) {
        pleat_xen_balloon_mark(balloon, pleat_xen_balloon_index(balloon, balloon->pfns[i]), frames,
                               FRAME_HELD);
        clear(balloon, balloon->pfns[i], frames);
    }
    give_extents(balloon, 0, done, frames);
    balloon->budget -= (int64_t)(CALL_BYTES + done * frames * FRAME_BYTES);
    return done;
}

/* What Xen's maximum is counts for the line alone. */
static enum outcome host_stop(struct pleat_xen_balloon *balloon, int error)
{
    const struct pleat_xen *xen = balloon->config.xen;
    const int64_t maximum = xen->ops->maximum_frames(xen->context);
    const struct stop stop = {.reason =
                                  error < 0 ? PLEAT_XEN_BALLOON_REASON_ERROR : PLEAT_XEN_BALLOON_REASON_HOST,
                              .growing = true,
                              .error = error,
                              .number = maximum > 0 && maximum < INT64_MAX ? (uint64_t)maximum : 0};
    const enum outcome outcome = pleat_xen_balloon_stop(balloon, stop, true);
    pleat_xen_balloon_cut_release(balloon);
    return outcome;
}

enum outcome pleat_xen_balloon_grow(struct pleat_xen_balloon *balloon, uint64_t missing)
{
    const uint64_t budget = balloon->budget > 0 ? (uint64_t)balloon->budget : 0;
    unsigned order = PIECE_ORDER;
    unsigned count = 0;
    if (missing >= PIECE_FRAMES && balloon->whole_holes > 0 && uses_pieces(balloon) &&
        !balloon->pieces_in_fail) {
        const uint64_t most =
            least(least(missing / PIECE_FRAMES, balloon->config.batch), 1 + budget / PIECE_BYTES);
        count = pleat_xen_balloon_find_holes(balloon, true, (unsigned)most);
    }
    if (count == 0 && balloon->pieces_only) {
        return NOTHING_TO_DO;
    }
    if (count == 0) {
        const uint64_t most = least(least(missing, balloon->config.batch), 1 + budget / FRAME_BYTES);
        order = 0;
        count = pleat_xen_balloon_find_holes(balloon, false, (unsigned)most);
    }
    if (count == 0) {
        const struct stop stop = {.reason = PLEAT_XEN_BALLOON_REASON_OFFLINE, .growing = true};
        return pleat_xen_balloon_stop(balloon, stop, true);
    }
    int error;
    const unsigned done = populate(balloon, count, order, &error);
    if (done > 0) {
        pleat_xen_balloon_moved(balloon);
        return DONE_SOMETHING;
    }
    if (order != 0) {
        balloon->pieces_in_fail = true;
        return DONE_SOMETHING;
    }
    return host_stop(balloon, error);
}

/* --- Holes to lend ---------------------------------------------------------------------------------------
 */

/* Holes into pfns from there are on, never frame 0; how many. */
static unsigned lend(struct pleat_xen_balloon *balloon, unsigned count, uint64_t *pfns)
{
    unsigned have = 0;
    uint64_t index = pleat_xen_balloon_find(balloon, 1, FRAME_HOLE);
    while (have < count && index != NOWHERE) {
        pfns[have++] = pleat_xen_balloon_pfn(balloon, index);
        pleat_xen_balloon_mark(balloon, index, 1, FRAME_LENT);
        index = pleat_xen_balloon_find(balloon, index + 1, FRAME_HOLE);
    }
    return have;
}

static void take_back(struct pleat_xen_balloon *balloon, unsigned count, const uint64_t *pfns)
{
    for (unsigned i = 0; i < count; i++) {
        const uint64_t index = pleat_xen_balloon_index(balloon, pfns[i]);
        if (index == NOWHERE || !pleat_xen_balloon_are(balloon, index, 1, FRAME_LENT)) {
            pleat_log_line(balloon->config.memory, PLEAT_LOG_ERROR, balloon->config.name,
                           "a frame comes back that wasn't lent");
            continue;
        }
        pleat_xen_balloon_mark(balloon, index, 1, FRAME_HOLE);
    }
}

static int lend_holes(void *context, unsigned count, uint64_t *pfns)
{
    struct pleat_xen_balloon *balloon = context;
    unsigned have = lend(balloon, count, pfns);
    while (have < count && balloon->config.memory->ops->withhold != NULL) {
        const uint64_t most = least(least(count - have, above_floor(balloon)), balloon->config.batch);
        int error = 0;
        const unsigned withheld = withhold(balloon, 1, most, &error);
        if (withheld == 0 || decrease(balloon, withheld, 0, &error) == 0) {
            break;
        }
        const unsigned more = lend(balloon, count - have, &pfns[have]);
        if (more == 0) {
            break; /* frame 0 alone */
        }
        have += more;
    }
    if (have < count) {
        take_back(balloon, have, pfns);
        pleat_xen_balloon_kick(balloon);
        return PLEAT_E_NO_MEMORY;
    }
    return 0;
}

static void free_holes(void *context, unsigned count, const uint64_t *pfns)
{
    struct pleat_xen_balloon *balloon = context;
    take_back(balloon, count, pfns);
    pleat_xen_balloon_kick(balloon);
}

void pleat_xen_balloon_holes(struct pleat_xen_balloon *balloon, struct pleat_xen_holes *holes)
{
    *holes = (struct pleat_xen_holes){.alloc = lend_holes, .free = free_holes, .context = balloon};
}
