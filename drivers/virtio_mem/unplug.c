/* SPDX-License-Identifier: MIT
 *
 * Shrinking: what is taken from the guest next. A hunt goes through the passes below, each over all units
 * from the highest down, and takes the first thing that fits, until the target is reached:
 *
 *   1. units that are offline: nothing of them is in use
 *   2. whole units that are free, partly plugged ones (which have holes already) before full ones
 *   3. free subblocks, bigger runs before smaller ones, again in partly plugged units first
 *   4. whole units that must be evacuated, those with little to move first; neighbouring ones together, so
 *      that content isn't moved from one into the next that is to be emptied
 *   5. subblocks that must be evacuated, likewise
 *
 * Subblocks that hold a unit's metadata are never taken by themselves: they go with the unit, last. What
 * holds unmovable frames is passed over after a look that takes no lock, before anything has moved. When a
 * hunt has taken something, another one follows, because what is left of a unit may have become free; when
 * it hasn't, the work stops, with the best reason that was met.
 */
#include "driver.h"

enum prey { PREY_OFFLINE, PREY_UNITS, PREY_SUBS };
enum fullness { PARTLY_PLUGGED, FULLY_PLUGGED, HOWEVER_PLUGGED };

static const struct pass {
    enum prey prey;
    enum fullness fullness;
    unsigned least_of_64;   /**< of a unit's subblocks that a run must have, in 1/64 */
    unsigned movable_of_64; /**< of the bytes that may have to be moved, in 1/64 */
    unsigned before_of_64;  /**< the same of the pass before */
} passes[] = {
    {PREY_OFFLINE, PARTLY_PLUGGED, 0, 0, 0}, {PREY_OFFLINE, FULLY_PLUGGED, 0, 0, 0},
    {PREY_UNITS, PARTLY_PLUGGED, 0, 0, 0},   {PREY_UNITS, FULLY_PLUGGED, 0, 0, 0},
    {PREY_SUBS, PARTLY_PLUGGED, 32, 0, 0},   {PREY_SUBS, FULLY_PLUGGED, 32, 0, 0},
    {PREY_SUBS, PARTLY_PLUGGED, 8, 0, 0},    {PREY_SUBS, FULLY_PLUGGED, 8, 0, 0},
    {PREY_SUBS, PARTLY_PLUGGED, 0, 0, 0},    {PREY_SUBS, FULLY_PLUGGED, 0, 0, 0},
    {PREY_UNITS, HOWEVER_PLUGGED, 0, 8, 0},  {PREY_UNITS, HOWEVER_PLUGGED, 0, 32, 0},
    {PREY_UNITS, HOWEVER_PLUGGED, 0, 64, 0}, {PREY_SUBS, HOWEVER_PLUGGED, 0, 8, 0},
    {PREY_SUBS, HOWEVER_PLUGGED, 0, 32, 8},  {PREY_SUBS, HOWEVER_PLUGGED, 0, 64, 32},
};
#define PASSES ((unsigned)(sizeof(passes) / sizeof(passes[0])))

/** hunt.sub: nothing of the unit has been looked at. */
#define FROM_THE_TOP UINT32_MAX

/* Whole subblocks that are too much. */
static uint64_t excess_subs(const struct pleat_virtio_mem_driver *driver)
{
    const uint64_t target = pleat_virtio_mem_target_bytes(driver);
    const uint64_t plugged = pleat_virtio_mem_plugged_bytes(driver);
    return plugged > target ? (plugged - target) / driver->geometry.sub_bytes : 0;
}

static uint64_t unit_subs(const struct pleat_virtio_mem_driver *driver, uint64_t unit)
{
    const uint64_t per_sub = driver->geometry.blocks_per_sub;
    return (driver->units[unit].plugged_blocks + per_sub - 1) / per_sub;
}

/* --- The hunt's memory -----------------------------------------------------------------------------------
 */

/* A hunt goes from the highest unit down: from where on it is likely to take all. What it takes away from
 * below, because there is less to move, will be a reason for less to be taken there. */
static void note_leaving(struct pleat_virtio_mem_driver *driver)
{
    const uint64_t excess = excess_subs(driver);
    uint64_t unit = driver->geometry.units, subs = 0;
    while (unit > 0 && subs + unit_subs(driver, unit - 1) <= excess) {
        subs += unit_subs(driver, --unit);
    }
    driver->budget -= (int64_t)((driver->geometry.units - unit) * sizeof(struct unit));
    driver->owner.leaving_address = unit_address(driver, unit);
    driver->owner.leaving_bytes = (driver->geometry.units - unit) * driver->geometry.unit_bytes;
}

void pleat_virtio_mem_hunt_begin(struct pleat_virtio_mem_driver *driver)
{
    __builtin_memset(&driver->hunt, 0, sizeof(driver->hunt));
    driver->hunt.begun = true;
    driver->hunt.unit = driver->geometry.units;
    driver->hunt.sub = FROM_THE_TOP;
    pleat_virtio_mem_forgive_units(driver,
                                   UNIT_ALONE | UNIT_SINGLY | UNIT_SKIP | UNIT_NO_FREE | UNIT_HOPELESS);
    note_leaving(driver);
}

static enum pleat_virtio_mem_reason reason_of(int error, const struct pleat_memory_report *report)
{
    if (error == PLEAT_E_UNMOVABLE || error == PLEAT_E_TIMEOUT) {
        if (report->bytes_unmovable > 0) {
            return PLEAT_VIRTIO_MEM_REASON_UNMOVABLE;
        }
        if (report->bytes_pinned > 0) {
            return PLEAT_VIRTIO_MEM_REASON_PINNED;
        }
    }
    switch (error) {
    case PLEAT_E_UNMOVABLE:
        return PLEAT_VIRTIO_MEM_REASON_UNMOVABLE;
    case PLEAT_E_NO_MEMORY:
        return PLEAT_VIRTIO_MEM_REASON_NO_MEMORY;
    case PLEAT_E_TIMEOUT:
        return PLEAT_VIRTIO_MEM_REASON_SLOW;
    default:
        return PLEAT_VIRTIO_MEM_REASON_REFUSED;
    }
}

/* Which of two reasons says more about what would help. */
static unsigned weight_of(enum pleat_virtio_mem_reason reason)
{
    switch (reason) {
    case PLEAT_VIRTIO_MEM_REASON_NONE:
        return 0;
    case PLEAT_VIRTIO_MEM_REASON_REFUSED:
        return 1;
    case PLEAT_VIRTIO_MEM_REASON_SLOW:
        return 2;
    case PLEAT_VIRTIO_MEM_REASON_NO_MEMORY:
        return 3;
    case PLEAT_VIRTIO_MEM_REASON_PINNED:
        return 4;
    default:
        return 5;
    }
}

static void note_failure(struct pleat_virtio_mem_driver *driver, int error,
                         const struct pleat_memory_report *report)
{
    struct stop *failure = &driver->hunt.failure;
    const enum pleat_virtio_mem_reason reason = reason_of(error, report);
    const bool lower = reason == failure->reason && report->obstacle_address != 0 &&
                       report->obstacle_address < failure->report.obstacle_address;
    if (lower || weight_of(reason) > weight_of(failure->reason)) {
        *failure = (struct stop){.reason = reason, .error = error, .report = *report};
    }
}

/* The take in driver->take has failed: several at once are tried one by one, one by one isn't tried again
 * in this hunt. */
void pleat_virtio_mem_hunt_failed(struct pleat_virtio_mem_driver *driver, int error,
                                  const struct pleat_memory_report *report)
{
    struct hunt *hunt = &driver->hunt;
    const struct take *take = &driver->take;
    struct unit *unit = &driver->units[take->unit];
    if (take->whole_units && take->units > 1) {
        for (uint64_t i = 0; i < take->units; i++) {
            unit[i].flags |= UNIT_ALONE;
        }
        hunt->unit = take->unit + take->units;
        hunt->sub = FROM_THE_TOP;
        return;
    }
    unit->flags |= take->whole_units ? UNIT_SKIP : UNIT_SINGLY;
    if (!take->whole_units && take->subs > 1) {
        hunt->unit = take->unit + 1;
        hunt->sub = take->sub + take->subs;
        return;
    }
    note_failure(driver, error, report);
    hunt->nowhere_to_go = hunt->nowhere_to_go || error == PLEAT_E_NO_MEMORY;
    /* Of a unit that failed as a whole, subblocks will fail too, and are counted then. */
    if (!take->whole_units || driver->geometry.subs_per_unit == 1) {
        hunt->pinned_bytes += report->bytes_pinned;
    }
}

/* --- What may go -----------------------------------------------------------------------------------------
 */

/* Bytes in use that may go before the guest has too little free memory (X14). */
static uint64_t above_floor(const struct pleat_virtio_mem_driver *driver)
{
    const struct pleat_memory *memory = driver->config.memory;
    if (driver->config.floor_bytes == PLEAT_VIRTIO_MEM_OFF || memory->ops->free_bytes == NULL) {
        return UINT64_MAX;
    }
    const uint64_t free = memory->ops->free_bytes(memory->context);
    return free > driver->config.floor_bytes ? free - driver->config.floor_bytes : 0;
}

/* The same in subblocks, for online memory. */
static uint64_t allowed_subs(struct pleat_virtio_mem_driver *driver)
{
    const uint64_t excess = excess_subs(driver);
    const uint64_t allowed = above_floor(driver) / driver->geometry.sub_bytes;
    driver->hunt.floor_met = allowed == 0;
    return allowed < excess ? allowed : excess;
}

static bool fullness_fits(const struct pleat_virtio_mem_driver *driver, uint64_t unit,
                          const struct pass *pass)
{
    const bool full = driver->units[unit].plugged_blocks == driver->geometry.blocks_per_unit;
    return pass->fullness == HOWEVER_PLUGGED || full == (pass->fullness == FULLY_PLUGGED);
}

static bool look_fits(const struct pleat_memory_look *look, uint64_t bytes, const struct pass *pass)
{
    return look->unmovable_bytes == 0 && look->movable_bytes <= bytes / 64 * pass->movable_of_64;
}

/* False: it can't be looked at, because it is just now going online or offline. Leave it. */
static bool look_at(struct pleat_virtio_mem_driver *driver, uint64_t address, uint64_t bytes,
                    struct pleat_memory_look *sum)
{
    const struct pleat_memory *memory = driver->config.memory;
    struct pleat_memory_look look = {0, 0, 0, 0};
    const int error = memory->ops->look(memory->context, address, bytes, &look);
    if (error < 0) {
        const struct pleat_memory_report nothing = {.bytes_total = bytes};
        note_failure(driver, error, &nothing);
        return false;
    }
    sum->free_bytes += look.free_bytes;
    sum->movable_bytes += look.movable_bytes;
    sum->unmovable_bytes += look.unmovable_bytes;
    sum->withheld_bytes += look.withheld_bytes;
    return true;
}

/* By memory blocks, because of a larger unit some may be offline. */
static bool look_at_unit(struct pleat_virtio_mem_driver *driver, uint64_t unit, struct pleat_memory_look *sum)
{
    const struct pleat_memory *memory = driver->config.memory;
    driver->budget -= ACTION_BYTES;
    for (uint32_t i = 0; i < driver->geometry.memory_blocks_per_unit; i++) {
        const uint64_t address = unit_address(driver, unit) + i * memory->block_bytes;
        const bool online = driver->geometry.memory_blocks_per_unit == 1 ||
                            memory->ops->block_state(memory->context, address) == PLEAT_BLOCK_ONLINE;
        if (online && !look_at(driver, address, memory->block_bytes, sum)) {
            return false;
        }
    }
    return true;
}

/* Who is in the way in the end is who is lowest. */
static void note_unmovable(struct pleat_virtio_mem_driver *driver, uint64_t bytes, uint64_t unit,
                           uint32_t sub)
{
    struct hunt *hunt = &driver->hunt;
    const bool lower =
        unit < hunt->unmovable_unit || (unit == hunt->unmovable_unit && sub < hunt->unmovable_sub);
    if (bytes == 0) {
        return;
    }
    if (hunt->unmovable_bytes == 0 || lower) {
        hunt->unmovable_unit = unit;
        hunt->unmovable_sub = sub;
    }
    hunt->unmovable_bytes += bytes;
}

static bool is_last_pass(const struct pleat_virtio_mem_driver *driver)
{
    return driver->hunt.pass == PASSES - 1;
}

/* --- Prey ------------------------------------------------------------------------------------------------
 */

/* The highest ready subblocks of an offline unit, metadata left out. */
static uint32_t last_ready_run(const struct pleat_virtio_mem_driver *driver, uint64_t unit, uint64_t most,
                               uint32_t *first)
{
    uint32_t run = 0;
    for (uint32_t sub = driver->geometry.subs_per_unit;
         sub-- > driver->geometry.metadata_subs && run < most;) {
        if (pleat_virtio_mem_is_ready(driver, unit, sub)) {
            run++;
            *first = sub;
        } else if (run > 0) {
            break;
        }
    }
    return run;
}

static enum outcome hunt_offline(struct pleat_virtio_mem_driver *driver, uint64_t unit)
{
    const uint64_t excess = excess_subs(driver);
    if (pleat_virtio_mem_unit_state(driver, unit) != UNIT_OFFLINE ||
        (driver->units[unit].flags & UNIT_SKIP) != 0) {
        return NOTHING_TO_DO;
    }
    driver->budget -= ACTION_BYTES;
    if (unit_subs(driver, unit) <= excess) {
        if (pleat_virtio_mem_remove_offline(driver, unit)) {
            driver->hunt.progress = true;
            return DONE_SOMETHING;
        }
        driver->units[unit].flags |= UNIT_SKIP;
    }
    uint32_t first = 0;
    const uint32_t run = last_ready_run(driver, unit, excess, &first);
    if (run == 0 || !pleat_virtio_mem_withhold_offline(driver, unit, first, run)) {
        return NOTHING_TO_DO;
    }
    driver->hunt.progress = true;
    return DONE_SOMETHING;
}

static bool unit_fits(struct pleat_virtio_mem_driver *driver, uint64_t unit, const struct pass *pass)
{
    const enum unit_state state = pleat_virtio_mem_unit_state(driver, unit);
    if ((state != UNIT_ONLINE && state != UNIT_MIXED) || (driver->units[unit].flags & UNIT_SKIP) != 0 ||
        !fullness_fits(driver, unit, pass)) {
        return false;
    }
    struct pleat_memory_look look = {0, 0, 0, 0};
    if (!look_at_unit(driver, unit, &look)) {
        return false;
    }
    /* A look at memory in use costs as much as all of its owners' words: once in a hunt will do. */
    if (look.unmovable_bytes > 0) {
        driver->units[unit].flags |= UNIT_SKIP;
    }
    return look_fits(&look, pleat_virtio_mem_unit_plugged_bytes(driver, unit), pass);
}

static enum outcome hunt_units(struct pleat_virtio_mem_driver *driver, uint64_t unit, const struct pass *pass)
{
    const uint64_t allowed = allowed_subs(driver);
    uint64_t subs = unit_subs(driver, unit);
    if (subs == 0 || subs > allowed || !unit_fits(driver, unit, pass)) {
        return NOTHING_TO_DO;
    }
    /* Free units one by one: each is a request of its own, and nothing would move. */
    uint64_t units = 1;
    bool more = pass->movable_of_64 > 0 && (driver->units[unit].flags & UNIT_ALONE) == 0;
    while (more && units < GROUP_UNITS && unit > 0) {
        const uint64_t next = unit_subs(driver, unit - 1);
        more = next > 0 && subs + next <= allowed && (driver->units[unit - 1].flags & UNIT_ALONE) == 0 &&
               unit_fits(driver, unit - 1, pass);
        if (more) {
            unit--;
            units++;
            subs += next;
        }
    }
    driver->hunt.unit = unit;
    (void)pleat_virtio_mem_take_units(driver, unit, units);
    return DONE_SOMETHING;
}

/* What was met on a way through the subblocks of a unit. */
struct meeting {
    uint64_t unmovable_bytes;
    uint32_t unmovable_sub; /* the lowest */
    bool fitting;           /* there was one that fits the pass */
    bool hopeful;           /* there was one without unmovable frames, or that couldn't be looked at */
};

static bool sub_fits(struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t sub,
                     const struct pass *pass, struct meeting *met)
{
    struct pleat_memory_look look = {0, 0, 0, 0};
    if (!pleat_virtio_mem_is_ready(driver, unit, sub)) {
        return false;
    }
    if (!look_at(driver, sub_address(driver, unit, sub), driver->geometry.sub_bytes, &look)) {
        met->hopeful = true;
        return false;
    }
    if (look.unmovable_bytes > 0) {
        met->unmovable_bytes += look.unmovable_bytes;
        met->unmovable_sub = sub;
    } else {
        met->hopeful = true;
    }
    if (is_last_pass(driver)) {
        note_unmovable(driver, look.unmovable_bytes, unit, sub);
    }
    /* One by one, each is tried in one pass only. */
    const bool singly = (driver->units[unit].flags & UNIT_SINGLY) != 0;
    const uint64_t before = driver->geometry.sub_bytes / 64 * pass->before_of_64;
    const bool was_tried = singly && pass->movable_of_64 > 0 && look.movable_bytes <= before;
    const bool fits = !was_tried && look_fits(&look, driver->geometry.sub_bytes, pass);
    met->fitting = met->fitting || fits;
    return fits;
}

/* The next run below hunt.sub, of `least` to `most` subblocks; hunt.sub is where to go on afterwards. */
static uint32_t find_run(struct pleat_virtio_mem_driver *driver, uint64_t unit, const struct pass *pass,
                         uint32_t least, uint64_t most, struct meeting *met)
{
    uint32_t *at = &driver->hunt.sub;
    uint32_t run = 0;
    while (*at > driver->geometry.metadata_subs && run < most) {
        if (sub_fits(driver, unit, *at - 1, pass, met)) {
            run++;
        } else if (run >= least) {
            break;
        } else {
            run = 0;
        }
        --*at;
    }
    return run >= least ? run : 0;
}

/* After a way through all subblocks of a unit that has found nothing: what needn't be looked at again. */
static void remember(struct pleat_virtio_mem_driver *driver, uint64_t unit, const struct pass *pass,
                     const struct meeting *met)
{
    if (pass->movable_of_64 == 0 && !met->fitting) {
        driver->units[unit].flags |= UNIT_NO_FREE;
    }
    if (met->hopeful) {
        return;
    }
    driver->units[unit].flags |= UNIT_HOPELESS;
    if (!is_last_pass(driver)) {
        note_unmovable(driver, met->unmovable_bytes, unit, met->unmovable_sub);
    }
}

static enum outcome hunt_subs(struct pleat_virtio_mem_driver *driver, uint64_t unit, const struct pass *pass)
{
    const struct geometry *g = &driver->geometry;
    uint64_t most = allowed_subs(driver);
    uint64_t least = (uint64_t)g->subs_per_unit * pass->least_of_64 / 64;
    const bool one_sub = g->subs_per_unit == 1;
    const unsigned known = pass->movable_of_64 == 0 ? UNIT_NO_FREE | UNIT_HOPELESS : UNIT_HOPELESS;
    struct meeting met = {0, 0, false, false};
    if (most == 0 || pleat_virtio_mem_unit_state(driver, unit) != UNIT_ONLINE ||
        !fullness_fits(driver, unit, pass) || (driver->units[unit].flags & known) != 0) {
        return NOTHING_TO_DO;
    }
    driver->budget -= ACTION_BYTES;
    if (one_sub) {
        /* Such units were tried as a whole; here it is only said what stood in the way. */
        struct pleat_memory_look look = {0, 0, 0, 0};
        if (is_last_pass(driver) && look_at_unit(driver, unit, &look)) {
            note_unmovable(driver, look.unmovable_bytes, unit, 0);
        }
        return NOTHING_TO_DO;
    }
    if ((driver->units[unit].flags & UNIT_SINGLY) != 0) {
        most = 1;
    }
    least = least < most ? least : most;
    const bool all = driver->hunt.sub == FROM_THE_TOP;
    if (all) {
        driver->hunt.sub = g->subs_per_unit;
    }
    const uint32_t run = find_run(driver, unit, pass, least > 0 ? (uint32_t)least : 1, most, &met);
    if (run == 0) {
        if (all) {
            remember(driver, unit, pass, &met);
        }
        return NOTHING_TO_DO;
    }
    (void)pleat_virtio_mem_take_subs(driver, unit, driver->hunt.sub, run);
    return DONE_SOMETHING;
}

/* --- The end of a hunt -----------------------------------------------------------------------------------
 */

static enum outcome stop(struct pleat_virtio_mem_driver *driver, const struct stop *why, bool again)
{
    driver->hunt.begun = false;
    pleat_virtio_mem_stop(driver, why, again);
    return DONE_SOMETHING;
}

static enum outcome stop_simply(struct pleat_virtio_mem_driver *driver, enum pleat_virtio_mem_reason reason,
                                uint64_t number_bytes, bool again)
{
    const struct stop why = {.reason = reason, .number_bytes = number_bytes};
    return stop(driver, &why, again);
}

/* Who is in the way is what a take says that can't succeed. */
static enum outcome stop_unmovable(struct pleat_virtio_mem_driver *driver)
{
    const uint64_t unit = driver->hunt.unmovable_unit;
    const int error = driver->geometry.subs_per_unit == 1
                          ? pleat_virtio_mem_take_units(driver, unit, 1)
                          : pleat_virtio_mem_take_subs(driver, unit, driver->hunt.unmovable_sub, 1);
    if (error >= 0) {
        /* It is free meanwhile. */
        driver->hunt.unmovable_bytes = 0;
        return DONE_SOMETHING;
    }
    struct stop why = driver->hunt.failure;
    why.reason = PLEAT_VIRTIO_MEM_REASON_UNMOVABLE;
    why.report.bytes_unmovable = driver->hunt.unmovable_bytes;
    return stop(driver, &why, true);
}

static enum outcome end_hunt(struct pleat_virtio_mem_driver *driver)
{
    if (driver->hunt.progress) {
        pleat_virtio_mem_hunt_begin(driver);
        return DONE_SOMETHING;
    }
    if (driver->hunt.floor_met) {
        return stop_simply(driver, PLEAT_VIRTIO_MEM_REASON_FLOOR, driver->config.floor_bytes, true);
    }
    if (driver->hunt.unmovable_bytes > 0) {
        return stop_unmovable(driver);
    }
    if (driver->hunt.failure.reason != PLEAT_VIRTIO_MEM_REASON_NONE) {
        struct stop why = driver->hunt.failure;
        why.report.bytes_pinned =
            driver->hunt.pinned_bytes > 0 ? driver->hunt.pinned_bytes : why.report.bytes_pinned;
        return stop(driver, &why, true);
    }
    if (driver->plugged_blocks > driver->ready_subs * driver->geometry.blocks_per_sub) {
        /* What is left is loose, and the device doesn't take it. */
        return stop_simply(driver, PLEAT_VIRTIO_MEM_REASON_ERROR, 0, true);
    }
    /* All that is left is metadata of units that are larger than what is too much. */
    return stop_simply(driver, PLEAT_VIRTIO_MEM_REASON_REMAINDER,
                       (driver->geometry.metadata_subs + 1) * driver->geometry.sub_bytes, true);
}

static bool pass_is_possible(const struct pleat_virtio_mem_driver *driver, const struct pass *pass)
{
    if (pass->prey == PREY_OFFLINE) {
        return pleat_virtio_mem_offline_bytes(driver) > 0;
    }
    if (driver->config.memory->ops->take_begin == NULL) {
        return false;
    }
    return !(driver->hunt.nowhere_to_go && pass->movable_of_64 > 0);
}

static enum outcome hunt_unit(struct pleat_virtio_mem_driver *driver, uint64_t unit, const struct pass *pass)
{
    driver->budget -= (int64_t)sizeof(struct unit);
    switch (pass->prey) {
    case PREY_OFFLINE:
        return hunt_offline(driver, unit);
    case PREY_UNITS:
        return hunt_units(driver, unit, pass);
    default:
        return hunt_subs(driver, unit, pass);
    }
}

enum outcome pleat_virtio_mem_shrink(struct pleat_virtio_mem_driver *driver)
{
    struct hunt *hunt = &driver->hunt;
    if (driver->unplug_refused) {
        return stop_simply(driver, PLEAT_VIRTIO_MEM_REASON_NACK, 0, false);
    }
    if (excess_subs(driver) == 0) {
        return stop_simply(driver, PLEAT_VIRTIO_MEM_REASON_REMAINDER, driver->geometry.sub_bytes, false);
    }
    if (!hunt->begun) {
        pleat_virtio_mem_hunt_begin(driver);
    }
    for (; hunt->pass < PASSES; hunt->pass++, hunt->unit = driver->geometry.units, hunt->sub = FROM_THE_TOP) {
        if (!pass_is_possible(driver, &passes[hunt->pass])) {
            continue;
        }
        while (hunt->unit > 0) {
            const enum outcome outcome = hunt_unit(driver, hunt->unit - 1, &passes[hunt->pass]);
            if (outcome != NOTHING_TO_DO) {
                return outcome;
            }
            hunt->unit--;
            hunt->sub = FROM_THE_TOP;
            if (driver->budget <= 0) {
                return DONE_SOMETHING;
            }
        }
    }
    if (driver->config.memory->ops->take_begin == NULL && !hunt->progress) {
        return stop_simply(driver, PLEAT_VIRTIO_MEM_REASON_PLUG_ONLY, 0, false);
    }
    return end_hunt(driver);
}
