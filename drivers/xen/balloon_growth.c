/* SPDX-License-Identifier: MIT
 *
 * Growth beyond the boot map: memory blocks are added with nothing behind them but their own metadata, and go
 * online with no frame in use. From then on they are holes like others.
 */
#include "balloon.h"

static uint64_t block_index(const struct pleat_xen_balloon *balloon, uint64_t block)
{
    return balloon->boot_index_frames + block * balloon->block_frames;
}

static uint64_t block_address(const struct pleat_xen_balloon *balloon, uint64_t block)
{
    return (balloon->growth_pfn + block * balloon->block_frames) * FRAME_BYTES;
}

/* --- The owner of the blocks -----------------------------------------------------------------------------
 */

/* A block goes online, maybe on another CPU: what is the guest's is given, the rest is withheld. */
static void on_online(void *context, uint64_t address, uint64_t bytes, pleat_memory_give_fn *give,
                      void *give_context)
{
    struct pleat_xen_balloon *balloon = context;
    const uint64_t first = pleat_xen_balloon_index(balloon, address / FRAME_BYTES);
    const uint64_t end = first + bytes / FRAME_BYTES;
    atomic_fetch_add(&balloon->onlines, 1);
    uint64_t begun = NOWHERE;
    for (uint64_t index = first; index <= end; index++) {
        const bool is_guests =
            index < end && (atomic_load(&balloon->guest[index / 64]) >> index % 64 & 1) != 0;
        if (is_guests && begun == NOWHERE) {
            begun = index;
        } else if (!is_guests && begun != NOWHERE) {
            give(give_context, pleat_xen_balloon_pfn(balloon, begun) * FRAME_BYTES,
                 (index - begun) * FRAME_BYTES);
            begun = NOWHERE;
        }
    }
    pleat_xen_balloon_kick(balloon);
}

void pleat_xen_balloon_owner_create(struct pleat_xen_balloon *balloon)
{
    balloon->owner = (struct pleat_memory_owner){.context = balloon, .online = on_online};
}

/* --- Adding ----------------------------------------------------------------------------------------------
 */

/* Sets or clears the bits of metadata frames of a block that isn't added. */
static void note_stray(struct pleat_xen_balloon *balloon, uint64_t pfn, bool populated)
{
    const uint64_t index = pleat_xen_balloon_index(balloon, pfn);
    const uint64_t bit = UINT64_C(1) << index % 64;
    if (populated) {
        balloon->populated[index / 64] |= bit;
        balloon->stray_frames++;
    } else {
        balloon->populated[index / 64] &= ~bit;
        balloon->stray_frames--;
    }
}

/* Metadata frames of the block that are populated, or aren't, into pfns: how many. */
static unsigned find_metadata(struct pleat_xen_balloon *balloon, uint64_t block, bool populated)
{
    const uint64_t first = balloon->growth_pfn + block * balloon->block_frames;
    unsigned count = 0;
    for (uint64_t i = 0; i < balloon->metadata_frames && count < balloon->config.batch; i++) {
        if (pleat_xen_balloon_is_populated(balloon, first + i) == populated) {
            balloon->pfns[count++] = first + i;
        }
    }
    return count;
}

/* How many of `count` extents of one frame Xen says that it has done. */
static unsigned call(struct pleat_xen_balloon *balloon, unsigned count, bool in, int *error)
{
    const struct pleat_xen *xen = balloon->config.xen;
    struct pleat_xen_balloon_statistics *statistics = &balloon->statistics;
    const int64_t result = in ? xen->ops->populate(xen->context, balloon->pfns, count, 0)
                              : xen->ops->decrease(xen->context, balloon->pfns, count, 0);
    const bool possible = result >= 0 && result <= (int64_t)count;
    const unsigned done = possible ? (unsigned)result : 0;
    (in ? statistics->populate_calls : statistics->decrease_calls)[0]++;
    *(in ? &statistics->populated_frames : &statistics->decreased_frames) += done;
    statistics->partial_results += possible && done < count;
    statistics->call_errors += !possible;
    for (unsigned i = 0; i < done; i++) {
        note_stray(balloon, balloon->pfns[i], in);
    }
    *error = result < 0 ? (int)result : 0;
    balloon->budget -= CALL_BYTES;
    return done;
}

static bool populate_metadata(struct pleat_xen_balloon *balloon, uint64_t block, int *error)
{
    unsigned count;
    *error = 0;
    while ((count = find_metadata(balloon, block, false)) > 0) {
        if (call(balloon, count, true, error) == 0) {
            return false;
        }
    }
    return true;
}

/* What Xen doesn't take back stays noted as populated, for the next attempt at this block. */
static void undo(struct pleat_xen_balloon *balloon, uint64_t block, bool mapped)
{
    const struct pleat_memory *memory = balloon->config.memory;
    unsigned count;
    int error;
    if (mapped && memory->ops->unmap != NULL) {
        memory->ops->unmap(memory->context, block_address(balloon, block), memory->block_bytes);
    }
    while ((count = find_metadata(balloon, block, true)) > 0 && call(balloon, count, false, &error) > 0) {
    }
}

static enum outcome cannot(struct pleat_xen_balloon *balloon, enum pleat_xen_balloon_reason reason, int error,
                           const char *detail)
{
    const struct stop stop = {.reason = reason, .growing = true, .error = error, .detail = detail};
    balloon->statistics.add_failures++;
    return pleat_xen_balloon_stop(balloon, stop, true);
}

/* Populated, mapped, cleared, added: or none of it. */
static enum outcome try_block(struct pleat_xen_balloon *balloon, uint64_t block)
{
    const struct pleat_memory *memory = balloon->config.memory;
    const uint64_t address = block_address(balloon, block);
    const struct pleat_memory_range range = {.address = address,
                                             .bytes = memory->block_bytes,
                                             .node = balloon->config.node,
                                             .name = balloon->config.name,
                                             .owner = &balloon->owner,
                                             .memmap_mode = PLEAT_MEMMAP_BLOCK,
                                             .flags = PLEAT_ADD_FORCE_ONLINE,
                                             .force_zone = PLEAT_ZONE_NORMAL};
    int error;
    if (!populate_metadata(balloon, block, &error)) {
        undo(balloon, block, false);
        return cannot(balloon, error < 0 ? PLEAT_XEN_BALLOON_REASON_ERROR : PLEAT_XEN_BALLOON_REASON_HOST,
                      error, "for the metadata of a block");
    }
    error = memory->ops->map == NULL ? 0 : memory->ops->map(memory->context, address, memory->block_bytes);
    if (error < 0) {
        undo(balloon, block, false);
        return cannot(balloon, PLEAT_XEN_BALLOON_REASON_NO_MEMORY, error, "a block can't be mapped");
    }
    if (balloon->config.clear != NULL && balloon->metadata_frames > 0) {
        balloon->config.clear(balloon->config.context, address, balloon->metadata_frames * FRAME_BYTES);
        balloon->statistics.cleared_frames += balloon->metadata_frames;
    }
    error = memory->ops->add(memory->context, &range);
    if (error < 0) {
        undo(balloon, block, true);
        if (error != PLEAT_E_EXISTS) {
            return cannot(balloon, PLEAT_XEN_BALLOON_REASON_NO_MEMORY, error, "a block can't be added");
        }
        balloon->blocks[block] = BLOCK_TAKEN;
        return DONE_SOMETHING;
    }
    pleat_xen_balloon_mark_added(balloon, block);
    pleat_xen_balloon_mark(balloon, block_index(balloon, block), balloon->metadata_frames, FRAME_GUESTS);
    balloon->statistics.blocks_added++;
    pleat_xen_balloon_moved(balloon);
    return DONE_SOMETHING;
}

enum outcome pleat_xen_balloon_add_block(struct pleat_xen_balloon *balloon, uint64_t missing)
{
    const struct pleat_memory *memory = balloon->config.memory;
    const uint64_t blocks = balloon->growth_frames / balloon->block_frames;
    if (missing <= balloon->metadata_frames) {
        return NOTHING_TO_DO;
    }
    for (uint64_t block = 0; block < blocks; block++) {
        if (balloon->blocks[block] != BLOCK_UNTRIED) {
            continue;
        }
        if (memory->ops->block_state(memory->context, block_address(balloon, block)) != PLEAT_BLOCK_NONE) {
            balloon->blocks[block] = BLOCK_TAKEN;
            continue;
        }
        return try_block(balloon, block);
    }
    const struct stop stop = {.reason = PLEAT_XEN_BALLOON_REASON_NO_ROOM,
                              .growing = true,
                              .number = balloon->growth_frames * FRAME_BYTES};
    return pleat_xen_balloon_stop(balloon, stop, false);
}
