/* SPDX-License-Identifier: MIT
 *
 * Loose memory: plugged, and not in the guest's hands. It is on its way in after a PLUG or after adoption,
 * and on its way out after a take; or it was left over by a failure. Which way it goes depends only on the
 * target now: while more is plugged than wanted it is unplugged, otherwise it is made ready. That is why a
 * target that changes in mid-work, a refused UNPLUG or a block that was removed and couldn't be unplugged
 * (X13) need no handling of their own.
 *
 * A unit can be added when the subblocks that hold its metadata are plugged. Where they aren't (after
 * adoption), they are plugged first; where the device has no quota for them, another subblock is given up
 * for them; where it refuses that too, UNPLUG_ALL is the way out while nothing is added (X12).
 */
#include "driver.h"

/* --- Callbacks of the memory, perhaps on another CPU -----------------------------------------------------
 */

static void memory_has_changed(struct pleat_virtio_mem_driver *driver)
{
    /* What the driver does itself it knows. */
    if (!atomic_load(&driver->own_call)) {
        pleat_virtio_mem_driver_memory_changed(driver);
    }
}

static void give_ready(struct pleat_virtio_mem_driver *driver, uint64_t address, uint64_t bytes,
                       pleat_memory_give_fn *give, void *give_context)
{
    const struct geometry *g = &driver->geometry;
    const uint64_t unit = (address - g->first_unit_address) / g->unit_bytes;
    if (g->subs_per_unit == 1) {
        /* The memory block may be a part of the subblock. */
        if (pleat_virtio_mem_is_ready(driver, unit, 0)) {
            give(give_context, address, bytes);
        }
        return;
    }
    uint32_t run = 0;
    for (uint32_t sub = 0; sub <= g->subs_per_unit; sub++) {
        if (sub < g->subs_per_unit && pleat_virtio_mem_is_ready(driver, unit, sub)) {
            run++;
        } else if (run > 0) {
            give(give_context, sub_address(driver, unit, sub - run), run * g->sub_bytes);
            run = 0;
        }
    }
}

void pleat_virtio_mem_online(void *context, uint64_t address, uint64_t bytes, pleat_memory_give_fn *give,
                             void *give_context)
{
    struct pleat_virtio_mem_driver *driver = context;
    struct unit *u =
        &driver->units[(address - driver->geometry.first_unit_address) / driver->geometry.unit_bytes];
    atomic_fetch_add(&driver->online_serial, 1);
    if (atomic_fetch_add(&u->online, 1) == 0) {
        atomic_fetch_add(&driver->units_online, 1);
    }
    give_ready(driver, address, bytes, give, give_context);
    memory_has_changed(driver);
}

void pleat_virtio_mem_offline(void *context, uint64_t address, uint64_t bytes)
{
    struct pleat_virtio_mem_driver *driver = context;
    struct unit *u =
        &driver->units[(address - driver->geometry.first_unit_address) / driver->geometry.unit_bytes];
    (void)bytes;
    if (atomic_load(&u->online) > 0 && atomic_fetch_sub(&u->online, 1) == 1) {
        atomic_fetch_sub(&driver->units_online, 1);
    }
    memory_has_changed(driver);
}

/* --- Into the guest's hands ------------------------------------------------------------------------------
 */

static int map(struct pleat_virtio_mem_driver *driver, uint64_t address, uint64_t bytes)
{
    const struct pleat_memory *memory = driver->config.memory;
    return memory->ops->map == NULL ? 0 : memory->ops->map(memory->context, address, bytes);
}

void pleat_virtio_mem_unmap(struct pleat_virtio_mem_driver *driver, uint64_t address, uint64_t bytes)
{
    const struct pleat_memory *memory = driver->config.memory;
    if (memory->ops->unmap != NULL) {
        memory->ops->unmap(memory->context, address, bytes);
    }
}

static bool is_complete(const struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t sub)
{
    const uint64_t first = sub_first_block(driver, unit, sub);
    return pleat_virtio_mem_count_plugged(driver, first, driver->geometry.blocks_per_sub) ==
           driver->geometry.blocks_per_sub;
}

/* Subblocks from `sub` on that are complete and loose. */
static uint32_t complete_run(const struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t sub)
{
    uint32_t run = 0;
    while (sub + run < driver->geometry.subs_per_unit &&
           !pleat_virtio_mem_is_ready(driver, unit, sub + run) && is_complete(driver, unit, sub + run)) {
        run++;
    }
    return run;
}

static uint32_t complete_subs(const struct pleat_virtio_mem_driver *driver, uint64_t unit)
{
    uint32_t complete = 0;
    for (uint32_t sub = 0; sub < driver->geometry.subs_per_unit; sub++) {
        complete += is_complete(driver, unit, sub);
    }
    return complete;
}

static void stop_for_memory(struct pleat_virtio_mem_driver *driver, int error)
{
    const struct stop stop = {.reason = error == PLEAT_E_NO_MEMORY ? PLEAT_VIRTIO_MEM_REASON_NO_MEMORY
                                                                   : PLEAT_VIRTIO_MEM_REASON_REFUSED,
                              .growing = true,
                              .error = error};
    pleat_virtio_mem_stop(driver, &stop, true);
}

void pleat_virtio_mem_unready_unit(struct pleat_virtio_mem_driver *driver, uint64_t unit)
{
    uint32_t run = 0;
    for (uint32_t sub = 0; sub <= driver->geometry.subs_per_unit; sub++) {
        if (sub < driver->geometry.subs_per_unit && pleat_virtio_mem_is_ready(driver, unit, sub)) {
            run++;
        } else if (run > 0) {
            pleat_virtio_mem_unmap(driver, sub_address(driver, unit, sub - run),
                                   run * driver->geometry.sub_bytes);
            pleat_virtio_mem_note_ready(driver, unit, sub - run, run, false);
            run = 0;
        }
    }
}

static int map_complete(struct pleat_virtio_mem_driver *driver, uint64_t unit)
{
    uint32_t run;
    for (uint32_t sub = 0; sub < driver->geometry.subs_per_unit; sub += run + 1) {
        run = complete_run(driver, unit, sub);
        if (run == 0) {
            continue;
        }
        const int error = map(driver, sub_address(driver, unit, sub), run * driver->geometry.sub_bytes);
        if (error < 0) {
            return error;
        }
        pleat_virtio_mem_note_ready(driver, unit, sub, run, true);
    }
    return 0;
}

static bool within_offline_limit(struct pleat_virtio_mem_driver *driver)
{
    const uint64_t limit = driver->config.offline_limit_bytes;
    const uint64_t offline = pleat_virtio_mem_offline_bytes(driver);
    return limit == PLEAT_VIRTIO_MEM_OFF ||
           (offline < limit && limit - offline >= driver->geometry.unit_bytes);
}

bool pleat_virtio_mem_may_add(struct pleat_virtio_mem_driver *driver)
{
    if (within_offline_limit(driver)) {
        return true;
    }
    const struct stop stop = {.reason = PLEAT_VIRTIO_MEM_REASON_OFFLINE,
                              .growing = true,
                              .number_bytes = pleat_virtio_mem_offline_bytes(driver)};
    pleat_virtio_mem_stop(driver, &stop, false);
    return false;
}

static enum outcome add_unit(struct pleat_virtio_mem_driver *driver, uint64_t unit)
{
    const struct pleat_memory *memory = driver->config.memory;
    const struct pleat_memory_range range = {.address = unit_address(driver, unit),
                                             .bytes = driver->geometry.unit_bytes,
                                             .node = driver->node,
                                             .name = driver->config.name,
                                             .owner = &driver->owner,
                                             .memmap_mode = driver->config.memmap_mode,
                                             .flags = driver->config.add_flags,
                                             .force_zone = driver->config.force_zone};
    if (!pleat_virtio_mem_may_add(driver)) {
        driver->units[unit].flags |= UNIT_STUCK;
        return DONE_SOMETHING;
    }
    int error = map_complete(driver, unit);
    if (error == 0) {
        pleat_virtio_mem_note_added(driver, unit, true);
        atomic_store(&driver->own_call, true);
        error = memory->ops->add(memory->context, &range);
        atomic_store(&driver->own_call, false);
    }
    if (error < 0) {
        pleat_virtio_mem_unready_unit(driver, unit);
        if (driver->units[unit].added) {
            pleat_virtio_mem_note_added(driver, unit, false);
        }
        driver->units[unit].flags |= UNIT_UNADDABLE;
        stop_for_memory(driver, error);
        return DONE_SOMETHING;
    }
    driver->statistics.units_added++;
    return DONE_SOMETHING;
}

static bool is_withheld(struct pleat_virtio_mem_driver *driver, uint64_t address, uint64_t bytes)
{
    const struct pleat_memory *memory = driver->config.memory;
    struct pleat_memory_look look = {0, 0, 0, 0};
    return memory->ops->look != NULL && memory->ops->look(memory->context, address, bytes, &look) == 0 &&
           look.withheld_bytes >= bytes;
}

/*
 * Gives subblocks that are mapped and noted as ready. Where the unit is offline that is all: it happens when
 * it goes online. Otherwise they are in use now, or already, because the callback has seen the bits.
 */
static int give(struct pleat_virtio_mem_driver *driver, uint64_t unit, uint64_t address, uint64_t bytes)
{
    const struct pleat_memory *memory = driver->config.memory;
    if (atomic_load(&driver->units[unit].online) == 0) {
        return 0;
    }
    const int error = memory->ops->give(memory->context, &driver->owner, address, bytes);
    return error == PLEAT_E_STATE && !is_withheld(driver, address, bytes) ? 0 : error;
}

static enum outcome make_ready(struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t sub,
                               uint32_t subs)
{
    const uint64_t address = sub_address(driver, unit, sub);
    const uint64_t bytes = subs * driver->geometry.sub_bytes;
    int error = map(driver, address, bytes);
    if (error < 0) {
        driver->units[unit].flags |= UNIT_UNADDABLE;
        stop_for_memory(driver, error);
        return DONE_SOMETHING;
    }
    for (;;) {
        const uint64_t serial = atomic_load(&driver->online_serial);
        pleat_virtio_mem_note_ready(driver, unit, sub, subs, true);
        error = give(driver, unit, address, bytes);
        if (error == 0) {
            return DONE_SOMETHING;
        }
        pleat_virtio_mem_note_ready(driver, unit, sub, subs, false);
        if (atomic_load(&driver->online_serial) == serial) {
            break;
        }
        /* Went online meanwhile: the callback may have seen the bits and given them. */
    }
    pleat_virtio_mem_unmap(driver, address, bytes);
    driver->units[unit].flags |= UNIT_STUCK;
    stop_for_memory(driver, error);
    return DONE_SOMETHING;
}

/* --- What is incomplete ----------------------------------------------------------------------------------
 */

/* Device blocks that the target leaves room for. */
static uint64_t room_blocks(const struct pleat_virtio_mem_driver *driver)
{
    const uint64_t target = pleat_virtio_mem_target_bytes(driver);
    const uint64_t plugged = pleat_virtio_mem_plugged_bytes(driver);
    return target > plugged ? (target - plugged) / driver->geometry.block_bytes : 0;
}

static enum outcome plug_first_gap(struct pleat_virtio_mem_driver *driver, uint64_t first, uint64_t count)
{
    const uint64_t skip = pleat_virtio_mem_run_up(driver, first, count, true);
    const uint64_t gap = pleat_virtio_mem_run_up(driver, first + skip, count - skip, false);
    return pleat_virtio_mem_send(driver, PLEAT_VIRTIO_MEM_REQ_PLUG, first + skip, gap);
}

static enum outcome unplug_last_run(struct pleat_virtio_mem_driver *driver, uint64_t first, uint64_t count,
                                    uint64_t limit)
{
    const uint64_t skip = pleat_virtio_mem_run_down(driver, first + count, count, false);
    const uint64_t end = first + count - skip;
    const uint64_t most = limit < PLEAT_VIRTIO_MEM_MAX_BLOCKS ? limit : PLEAT_VIRTIO_MEM_MAX_BLOCKS;
    const uint64_t inside = end - first;
    const uint64_t run = pleat_virtio_mem_run_down(driver, end, inside < most ? inside : most, true);
    return pleat_virtio_mem_send(driver, PLEAT_VIRTIO_MEM_REQ_UNPLUG, end - run, run);
}

/* A subblock of which only some device blocks are plugged: complete it, or give it back. */
static enum outcome settle_ragged(struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t sub)
{
    const uint64_t first = sub_first_block(driver, unit, sub);
    const uint64_t count = driver->geometry.blocks_per_sub;
    const uint64_t missing = count - pleat_virtio_mem_count_plugged(driver, first, count);
    if (missing <= room_blocks(driver) && !driver->plug_refused && first + count <= usable_blocks(driver)) {
        return plug_first_gap(driver, first, count);
    }
    if (!driver->unplug_refused) {
        return unplug_last_run(driver, first, count, count);
    }
    driver->units[unit].flags |= UNIT_STUCK;
    return DONE_SOMETHING;
}

/* The first `count` blocks of a unit hold its metadata, and not all of them are plugged (X12). */
static enum outcome settle_metadata(struct pleat_virtio_mem_driver *driver, uint64_t unit, uint64_t count)
{
    const uint64_t first = sub_first_block(driver, unit, 0);
    const uint64_t present = pleat_virtio_mem_count_plugged(driver, first, count);
    const uint64_t missing = count - present;
    const uint64_t room = room_blocks(driver);
    if (first + count > usable_blocks(driver)) {
        driver->units[unit].flags |= UNIT_UNADDABLE;
        return DONE_SOMETHING;
    }
    if (missing <= room && !driver->plug_refused) {
        return plug_first_gap(driver, first, count);
    }
    if (!driver->unplug_refused) {
        const uint64_t others = driver->geometry.blocks_per_unit - count;
        const uint64_t need = driver->plug_refused ? missing : missing - room;
        return driver->units[unit].plugged_blocks > present
                   ? unplug_last_run(driver, first + count, others, need)
                   : unplug_last_run(driver, first, count, count);
    }
    if (driver->units_added == 0) {
        driver->clear_wanted = true;
        pleat_virtio_mem_set_phase(driver, PLEAT_VIRTIO_MEM_CLEARING);
    } else {
        driver->units[unit].flags |= UNIT_STUCK;
    }
    return DONE_SOMETHING;
}

static uint32_t subs_to_start_with(const struct pleat_virtio_mem_driver *driver)
{
    return driver->geometry.metadata_subs > 0 ? driver->geometry.metadata_subs : 1;
}

static bool can_be_added(const struct pleat_virtio_mem_driver *driver, uint64_t unit)
{
    for (uint32_t sub = 0; sub < driver->geometry.metadata_subs; sub++) {
        if (!is_complete(driver, unit, sub)) {
            return false;
        }
    }
    return complete_subs(driver, unit) >= subs_to_start_with(driver);
}

static enum outcome settle_added(struct pleat_virtio_mem_driver *driver, uint64_t unit)
{
    for (uint32_t sub = 0; sub < driver->geometry.subs_per_unit; sub++) {
        if (pleat_virtio_mem_is_ready(driver, unit, sub)) {
            continue;
        }
        const uint32_t run = complete_run(driver, unit, sub);
        if (run > 0) {
            return make_ready(driver, unit, sub, run);
        }
        if (pleat_virtio_mem_count_plugged(driver, sub_first_block(driver, unit, sub),
                                           driver->geometry.blocks_per_sub) > 0) {
            return settle_ragged(driver, unit, sub);
        }
    }
    return NOTHING_TO_DO;
}

static enum outcome settle_not_added(struct pleat_virtio_mem_driver *driver, uint64_t unit)
{
    if (can_be_added(driver, unit)) {
        return add_unit(driver, unit);
    }
    if (driver->geometry.metadata_subs > 0) {
        return settle_metadata(driver, unit,
                               (uint64_t)driver->geometry.metadata_subs * driver->geometry.blocks_per_sub);
    }
    for (uint32_t sub = 0; sub < driver->geometry.subs_per_unit; sub++) {
        if (pleat_virtio_mem_count_plugged(driver, sub_first_block(driver, unit, sub),
                                           driver->geometry.blocks_per_sub) > 0) {
            return settle_ragged(driver, unit, sub);
        }
    }
    return NOTHING_TO_DO;
}

/* --- Which one, and which way ----------------------------------------------------------------------------
 */

static bool has_loose(const struct pleat_virtio_mem_driver *driver, uint64_t unit)
{
    const struct unit *u = &driver->units[unit];
    return u->plugged_blocks > (uint64_t)u->ready_subs * driver->geometry.blocks_per_sub;
}

/* The highest loose run in a unit, at most `limit` blocks of it; 0: there is none. */
static uint64_t last_loose_run(const struct pleat_virtio_mem_driver *driver, uint64_t unit, uint64_t limit,
                               uint64_t *first)
{
    const uint32_t per_sub = driver->geometry.blocks_per_sub;
    uint64_t run = 0;
    for (uint32_t sub = driver->geometry.subs_per_unit; sub-- > 0 && run < limit;) {
        if (pleat_virtio_mem_is_ready(driver, unit, sub)) {
            if (run > 0) {
                break;
            }
            continue;
        }
        const uint64_t start = sub_first_block(driver, unit, sub);
        uint64_t end = start + per_sub;
        if (run == 0) {
            end -= pleat_virtio_mem_run_down(driver, end, per_sub, false);
        }
        const uint64_t more = pleat_virtio_mem_run_down(driver, end, end - start, true);
        run += more;
        *first = end - more;
        if (run > 0 && *first > start) {
            break;
        }
    }
    if (run > limit) {
        *first += run - limit;
        run = limit;
    }
    return run;
}

static enum outcome unplug_outside(struct pleat_virtio_mem_driver *driver)
{
    const struct geometry *g = &driver->geometry;
    const uint64_t units_end = g->first_unit_block + g->units * g->blocks_per_unit;
    const uint64_t tail = g->region_blocks - units_end;
    if (pleat_virtio_mem_count_plugged(driver, units_end, tail) > 0) {
        return unplug_last_run(driver, units_end, tail, tail);
    }
    return unplug_last_run(driver, 0, g->first_unit_block, g->first_unit_block);
}

static bool is_next(const struct pleat_virtio_mem_driver *driver, uint64_t unit, unsigned without,
                    unsigned with)
{
    const unsigned flags = driver->units[unit].flags;
    return has_loose(driver, unit) && (flags & without) == 0 && (flags & with) == with;
}

/* A unit with loose memory and these flags: the one that was touched last, else the highest. */
static bool find_loose(const struct pleat_virtio_mem_driver *driver, unsigned without, unsigned with,
                       uint64_t *unit)
{
    if (driver->touched_unit < driver->geometry.units &&
        is_next(driver, driver->touched_unit, without, with)) {
        *unit = driver->touched_unit;
        return true;
    }
    for (*unit = driver->geometry.units; (*unit)-- > 0;) {
        if (is_next(driver, *unit, without, with)) {
            return true;
        }
    }
    return false;
}

static enum outcome unplug_from(struct pleat_virtio_mem_driver *driver, uint64_t unit, uint64_t limit)
{
    const uint64_t most = limit < PLEAT_VIRTIO_MEM_MAX_BLOCKS ? limit : PLEAT_VIRTIO_MEM_MAX_BLOCKS;
    uint64_t first = 0;
    const uint64_t run = last_loose_run(driver, unit, most, &first);
    return run == 0 ? NOTHING_TO_DO : pleat_virtio_mem_send(driver, PLEAT_VIRTIO_MEM_REQ_UNPLUG, first, run);
}

static enum outcome unplug_loose(struct pleat_virtio_mem_driver *driver)
{
    const uint64_t target = pleat_virtio_mem_target_bytes(driver);
    const uint64_t plugged = pleat_virtio_mem_plugged_bytes(driver);
    uint64_t unit;
    if (driver->outside_blocks > 0 && !driver->outside_sour) {
        return unplug_outside(driver);
    }
    if (find_loose(driver, UNIT_SOUR, UNIT_UNADDABLE, &unit)) {
        return unplug_from(driver, unit, UINT64_MAX);
    }
    /* Whole subblocks, so that none is torn. */
    const uint64_t excess = plugged > target ? (plugged - target) / driver->geometry.sub_bytes : 0;
    if (excess > 0 && find_loose(driver, UNIT_SOUR, 0, &unit)) {
        return unplug_from(driver, unit, excess * driver->geometry.blocks_per_sub);
    }
    return NOTHING_TO_DO;
}

/* Units that can't be added yet come first: while nothing is added, more can be done about them. */
static enum outcome settle_loose(struct pleat_virtio_mem_driver *driver)
{
    const unsigned without = UNIT_STUCK | UNIT_UNADDABLE;
    uint64_t unit;
    if (driver->units_loose > 0 && driver->units_added == 0) {
        for (unit = driver->geometry.units; unit-- > 0;) {
            if (is_next(driver, unit, without, 0) && !driver->units[unit].added &&
                !can_be_added(driver, unit)) {
                return settle_not_added(driver, unit);
            }
        }
    }
    if (!find_loose(driver, without, 0, &unit)) {
        return NOTHING_TO_DO;
    }
    return driver->units[unit].added ? settle_added(driver, unit) : settle_not_added(driver, unit);
}

enum outcome pleat_virtio_mem_settle(struct pleat_virtio_mem_driver *driver)
{
    if (driver->plugged_blocks == driver->ready_subs * driver->geometry.blocks_per_sub) {
        return NOTHING_TO_DO;
    }
    driver->budget -= ACTION_BYTES;
    if (!driver->unplug_refused) {
        const enum outcome outcome = unplug_loose(driver);
        if (outcome != NOTHING_TO_DO) {
            return outcome;
        }
    }
    const uint64_t target = pleat_virtio_mem_target_bytes(driver);
    const uint64_t plugged = pleat_virtio_mem_plugged_bytes(driver);
    const bool too_much = plugged > target && plugged - target >= driver->geometry.sub_bytes;
    return too_much && !driver->unplug_refused ? NOTHING_TO_DO : settle_loose(driver);
}
