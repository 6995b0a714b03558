/* SPDX-License-Identifier: MIT
 *
 * Growing: where the next PLUG goes. Units that are added and only partly plugged come first, online ones
 * before offline ones, because they cost no metadata and nobody has to online them; then empty units from
 * the lowest address up, with the subblocks that hold their metadata in the first request. One request
 * covers neighbouring subblocks of one unit. What was plugged is made ready by settle.c before the search
 * goes on.
 */
#include "driver.h"

enum { PASS_ONLINE, PASS_OFFLINE, PASS_EMPTY, PASSES };

/** Flags of units that aren't plugged into now. */
#define AVOIDED (UNIT_SOUR | UNIT_STUCK | UNIT_UNADDABLE)

static enum unit_state state_of_pass(unsigned pass)
{
    static const enum unit_state states[] = {UNIT_ONLINE, UNIT_OFFLINE, UNIT_EMPTY};
    return states[pass];
}

/* Subblocks of a unit that lie in the usable region as a whole. */
static uint32_t usable_subs(const struct pleat_virtio_mem_driver *driver, uint64_t unit)
{
    const uint64_t first = sub_first_block(driver, unit, 0);
    const uint64_t usable = usable_blocks(driver);
    if (usable <= first) {
        return 0;
    }
    const uint64_t subs = (usable - first) / driver->geometry.blocks_per_sub;
    return subs < driver->geometry.subs_per_unit ? (uint32_t)subs : driver->geometry.subs_per_unit;
}

static bool is_empty_sub(const struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t sub)
{
    return pleat_virtio_mem_count_plugged(driver, sub_first_block(driver, unit, sub),
                                          driver->geometry.blocks_per_sub) == 0;
}

/* The lowest run of empty subblocks, at most `most` of them; 0: there is none. */
static uint32_t find_gap(const struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t most,
                         uint32_t *first)
{
    const uint32_t usable = usable_subs(driver, unit);
    uint32_t run = 0;
    uint32_t sub = 0;
    while (sub < usable && !is_empty_sub(driver, unit, sub)) {
        sub++;
    }
    *first = sub;
    while (sub + run < usable && run < most && is_empty_sub(driver, unit, sub + run)) {
        run++;
    }
    return run;
}

static bool has_gap(const struct pleat_virtio_mem_driver *driver, uint64_t unit)
{
    const struct unit *u = &driver->units[unit];
    return (u->flags & AVOIDED) == 0 && u->plugged_blocks < driver->geometry.blocks_per_unit;
}

/* Of an empty unit, so much that it is worth adding; 0: not this one. */
static uint32_t first_helping(const struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t most)
{
    const uint32_t usable = usable_subs(driver, unit);
    const uint32_t subs = usable < most ? usable : most;
    return subs < driver->geometry.least_subs ? 0 : subs;
}

static enum outcome plug_into(struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t most)
{
    uint32_t first = 0;
    const uint32_t subs = pleat_virtio_mem_unit_state(driver, unit) == UNIT_EMPTY
                              ? first_helping(driver, unit, most)
                              : find_gap(driver, unit, most, &first);
    if (subs == 0) {
        return NOTHING_TO_DO;
    }
    if (!driver->units[unit].added && !pleat_virtio_mem_may_add(driver)) {
        return DONE_SOMETHING;
    }
    driver->search.found = true;
    return pleat_virtio_mem_send(driver, PLEAT_VIRTIO_MEM_REQ_PLUG, sub_first_block(driver, unit, first),
                                 (uint64_t)subs * driver->geometry.blocks_per_sub);
}

static bool any_sour(const struct pleat_virtio_mem_driver *driver)
{
    for (uint64_t unit = 0; unit < driver->geometry.units; unit++) {
        if ((driver->units[unit].flags & UNIT_SOUR) != 0) {
            return true;
        }
    }
    return driver->outside_sour;
}

static enum outcome stop(struct pleat_virtio_mem_driver *driver, enum pleat_virtio_mem_reason reason,
                         bool again)
{
    const struct stop why = {.reason = reason, .growing = true, .number_bytes = driver->geometry.sub_bytes};
    pleat_virtio_mem_stop(driver, &why, again);
    return DONE_SOMETHING;
}

/* Nothing was found in any pass. */
static enum outcome no_place(struct pleat_virtio_mem_driver *driver, uint64_t want)
{
    if (any_sour(driver)) {
        return stop(driver, PLEAT_VIRTIO_MEM_REASON_ERROR, true);
    }
    const bool too_little = want < driver->geometry.least_subs;
    return stop(driver, too_little ? PLEAT_VIRTIO_MEM_REASON_REMAINDER : PLEAT_VIRTIO_MEM_REASON_NO_ROOM,
                false);
}

enum outcome pleat_virtio_mem_grow(struct pleat_virtio_mem_driver *driver)
{
    const uint64_t missing = pleat_virtio_mem_target_bytes(driver) - pleat_virtio_mem_plugged_bytes(driver);
    const uint64_t want = missing / driver->geometry.sub_bytes;
    const uint32_t most =
        want < driver->geometry.subs_per_unit ? (uint32_t)want : driver->geometry.subs_per_unit;
    struct search *search = &driver->search;
    if (driver->plug_refused) {
        return stop(driver, PLEAT_VIRTIO_MEM_REASON_NACK, false);
    }
    if (want == 0) {
        return stop(driver, PLEAT_VIRTIO_MEM_REASON_REMAINDER, false);
    }
    for (; search->pass < PASSES; search->pass++, search->unit = 0) {
        for (; search->unit < driver->geometry.units; search->unit++) {
            driver->budget -= (int64_t)sizeof(struct unit);
            if (!has_gap(driver, search->unit) ||
                pleat_virtio_mem_unit_state(driver, search->unit) != state_of_pass(search->pass)) {
                continue;
            }
            const enum outcome outcome = plug_into(driver, search->unit, most);
            if (outcome != NOTHING_TO_DO || driver->budget <= 0) {
                return outcome == MUST_WAIT ? MUST_WAIT : DONE_SOMETHING;
            }
        }
    }
    const bool found = search->found;
    *search = (struct search){0, 0, false};
    /* Where something was plugged, there may be more. */
    return found ? DONE_SOMETHING : no_place(driver, want);
}
