/* SPDX-License-Identifier: MIT
 *
 * Out of the guest's hands: one take at a time, of whole units or of neighbouring subblocks, in steps. What
 * was taken is unmapped and loose then; settle.c unplugs it. A take that isn't wanted any more is
 * cancelled, and leaves everything in use.
 */
#include "driver.h"

/** How often a take in which nothing but pinned frames is left is stepped, and with how much time between. */
#define PIN_TRIES    8u
#define PIN_AGAIN_NS UINT64_C(10000000)

static uint64_t deadline_ns(const struct pleat_virtio_mem_driver *driver)
{
    const uint64_t length = driver->config.take_timeout_ns;
    if (driver->config.memory->ops->clock_ns == NULL || length >= UINT64_MAX - driver->now_ns) {
        return 0;
    }
    return driver->now_ns + length;
}

static uint64_t take_address(const struct pleat_virtio_mem_driver *driver)
{
    return driver->take.whole_units ? unit_address(driver, driver->take.unit)
                                    : sub_address(driver, driver->take.unit, driver->take.sub);
}

static uint64_t take_bytes(const struct pleat_virtio_mem_driver *driver)
{
    return driver->take.whole_units ? driver->take.units * driver->geometry.unit_bytes
                                    : driver->take.subs * driver->geometry.sub_bytes;
}

/* What would be unplugged after it. */
static uint64_t plugged_in_take(const struct pleat_virtio_mem_driver *driver)
{
    if (!driver->take.whole_units) {
        return take_bytes(driver);
    }
    uint64_t blocks = 0;
    for (uint64_t i = 0; i < driver->take.units; i++) {
        blocks += driver->units[driver->take.unit + i].plugged_blocks;
    }
    return blocks * driver->geometry.block_bytes;
}

static void end_take(struct pleat_virtio_mem_driver *driver, struct pleat_memory_report *report)
{
    const struct pleat_memory *memory = driver->config.memory;
    __builtin_memset(report, 0, sizeof(*report));
    memory->ops->take_report(memory->context, &driver->take.job, report);
    report->obstacle_owner[sizeof(report->obstacle_owner) - 1] = '\0';
    driver->statistics.moved_bytes += report->bytes_moved;
    driver->take.active = false;
}

void pleat_virtio_mem_take_progress(const struct pleat_virtio_mem_driver *driver,
                                    struct pleat_memory_report *report)
{
    const struct pleat_memory *memory = driver->config.memory;
    __builtin_memset(report, 0, sizeof(*report));
    if (driver->take.active) {
        memory->ops->take_report(memory->context, &driver->take.job, report);
    }
}

static int begin_take(struct pleat_virtio_mem_driver *driver)
{
    const struct pleat_memory *memory = driver->config.memory;
    driver->statistics.takes++;
    driver->take.again.set = false;
    driver->take.moved_bytes = 0;
    driver->take.tries = 0;
    driver->budget -= ACTION_BYTES;
    atomic_store(&driver->own_call, true);
    const int error = memory->ops->take_begin(memory->context, &driver->take.job, &driver->owner,
                                              driver->take.whole_units ? PLEAT_TAKE_BLOCKS : PLEAT_TAKE_PIECE,
                                              take_address(driver), take_bytes(driver), deadline_ns(driver));
    atomic_store(&driver->own_call, false);
    driver->take.active = error >= 0;
    if (error < 0) {
        driver->statistics.takes_failed++;
        struct pleat_memory_report report;
        __builtin_memset(&report, 0, sizeof(report));
        if (error == PLEAT_E_UNMOVABLE) {
            end_take(driver, &report);
        }
        pleat_virtio_mem_hunt_failed(driver, error, &report);
    }
    return error;
}

int pleat_virtio_mem_take_units(struct pleat_virtio_mem_driver *driver, uint64_t unit, uint64_t units)
{
    driver->take.whole_units = true;
    driver->take.unit = unit;
    driver->take.units = units;
    return begin_take(driver);
}

int pleat_virtio_mem_take_subs(struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t sub,
                               uint32_t subs)
{
    driver->take.whole_units = false;
    driver->take.unit = unit;
    driver->take.sub = sub;
    driver->take.subs = subs;
    return begin_take(driver);
}

static void taken(struct pleat_virtio_mem_driver *driver)
{
    if (!driver->take.whole_units) {
        pleat_virtio_mem_unmap(driver, take_address(driver), take_bytes(driver));
        pleat_virtio_mem_note_ready(driver, driver->take.unit, driver->take.sub, driver->take.subs, false);
        return;
    }
    for (uint64_t i = 0; i < driver->take.units; i++) {
        pleat_virtio_mem_unready_unit(driver, driver->take.unit + i);
        pleat_virtio_mem_note_added(driver, driver->take.unit + i, false);
        driver->statistics.units_removed++;
    }
}

/* The memory tries pinned frames again and again. So does the driver, a few times; then it looks elsewhere
 * and comes back later, because whoever pins frames for long shouldn't keep the rest waiting. */
static enum outcome go_on(struct pleat_virtio_mem_driver *driver)
{
    struct take *take = &driver->take;
    struct pleat_memory_report report;
    pleat_virtio_mem_take_progress(driver, &report);
    if (report.bytes_pinned == 0 || report.bytes_moved != take->moved_bytes) {
        take->moved_bytes = report.bytes_moved;
        take->tries = 0;
        return DONE_SOMETHING;
    }
    if (++take->tries >= PIN_TRIES) {
        pleat_virtio_mem_take_cancel(driver);
        driver->statistics.takes_failed++;
        pleat_virtio_mem_hunt_failed(driver, PLEAT_E_UNMOVABLE, &report);
        return DONE_SOMETHING;
    }
    pleat_virtio_mem_timer_start(driver, &take->again, PIN_AGAIN_NS);
    return pleat_virtio_mem_wait_for(driver, &take->again);
}

enum outcome pleat_virtio_mem_take_advance(struct pleat_virtio_mem_driver *driver)
{
    const struct pleat_memory *memory = driver->config.memory;
    const uint64_t target = pleat_virtio_mem_target_bytes(driver);
    const uint64_t plugged = pleat_virtio_mem_plugged_bytes(driver);
    if (driver->unplug_refused || plugged < target || plugged - target < plugged_in_take(driver)) {
        pleat_virtio_mem_take_cancel(driver);
        return DONE_SOMETHING;
    }
    if (pleat_virtio_mem_timer_running(driver, &driver->take.again)) {
        return pleat_virtio_mem_wait_for(driver, &driver->take.again);
    }
    const uint64_t least = memory->frame_bytes > ACTION_BYTES ? memory->frame_bytes : ACTION_BYTES;
    const uint64_t budget = driver->budget > (int64_t)least ? (uint64_t)driver->budget : least;
    atomic_store(&driver->own_call, true);
    const int result = memory->ops->take_step(memory->context, &driver->take.job, budget);
    atomic_store(&driver->own_call, false);
    if (result == PLEAT_MORE) {
        driver->budget -= (int64_t)budget;
        return go_on(driver);
    }
    struct pleat_memory_report report;
    end_take(driver, &report);
    driver->budget -= ACTION_BYTES + (int64_t)(report.bytes_moved < budget ? report.bytes_moved : budget);
    if (result == 0) {
        driver->hunt.progress = true;
        pleat_virtio_mem_pause_end(&driver->guest_pause);
        taken(driver);
    } else {
        driver->statistics.takes_failed++;
        pleat_virtio_mem_hunt_failed(driver, result, &report);
    }
    return DONE_SOMETHING;
}

void pleat_virtio_mem_take_cancel(struct pleat_virtio_mem_driver *driver)
{
    const struct pleat_memory *memory = driver->config.memory;
    if (!driver->take.active) {
        return;
    }
    struct pleat_memory_report report;
    atomic_store(&driver->own_call, true);
    memory->ops->take_cancel(memory->context, &driver->take.job);
    atomic_store(&driver->own_call, false);
    end_take(driver, &report);
}

/* --- Units that are offline: nothing of them is in use ---------------------------------------------------
 */

bool pleat_virtio_mem_remove_offline(struct pleat_virtio_mem_driver *driver, uint64_t unit)
{
    const struct pleat_memory *memory = driver->config.memory;
    if (memory->ops->remove == NULL ||
        memory->ops->remove(memory->context, &driver->owner, unit_address(driver, unit),
                            driver->geometry.unit_bytes) < 0) {
        return false;
    }
    pleat_virtio_mem_unready_unit(driver, unit);
    pleat_virtio_mem_note_added(driver, unit, false);
    driver->statistics.units_removed++;
    return true;
}

bool pleat_virtio_mem_withhold_offline(struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t sub,
                                       uint32_t subs)
{
    const struct pleat_memory *memory = driver->config.memory;
    const uint64_t address = sub_address(driver, unit, sub);
    const uint64_t bytes = subs * driver->geometry.sub_bytes;
    const uint64_t serial = atomic_load(&driver->online_serial);
    pleat_virtio_mem_note_ready(driver, unit, sub, subs, false);
    if (atomic_load(&driver->online_serial) == serial && atomic_load(&driver->units[unit].online) == 0) {
        pleat_virtio_mem_unmap(driver, address, bytes);
        return true;
    }
    /* It went online meanwhile. Whether the callback has given these or not, they are in use after this. */
    pleat_virtio_mem_note_ready(driver, unit, sub, subs, true);
    (void)memory->ops->give(memory->context, &driver->owner, address, bytes);
    return false;
}
