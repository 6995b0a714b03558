/* SPDX-License-Identifier: MIT
 *
 * The driver's books: where units, subblocks and device blocks lie, which of them are plugged and ready, and
 * the counters over them. Every change of a bit goes through here and moves the counters with it, so that
 *
 *     plugged_blocks == sum of plugged_blocks of all units + outside_blocks
 *     ready_subs     == sum of ready_subs of all units
 *     units_loose    == units that aren't added and have plugged blocks
 *
 * and pleat_virtio_mem_driver_is_valid() recounts them the slow way. Nothing here talks to the device or to
 * the memory.
 */
#include "driver.h"

/* --- Geometry --------------------------------------------------------------------------------------------
 */

static bool is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Whole units between the region's ends and below the highest address that the memory can have. */
static void place_units(const struct pleat_memory *memory, struct geometry *geometry)
{
    const uint64_t unit = geometry->unit_bytes;
    uint64_t end = geometry->region_address + geometry->region_bytes;
    if (memory->highest_address != 0 && memory->highest_address < end) {
        end = memory->highest_address;
    }
    const uint64_t over = geometry->region_address & (unit - 1);
    const uint64_t gap = over == 0 ? 0 : unit - over;
    if (end < geometry->region_address || end - geometry->region_address < gap) {
        geometry->first_unit_address = geometry->region_address;
        geometry->units = 0;
        return;
    }
    geometry->first_unit_address = geometry->region_address + gap;
    geometry->units = (end - geometry->first_unit_address) / unit;
    geometry->first_unit_block = gap / geometry->block_bytes;
}

static int place_metadata(const struct pleat_memory *memory, enum pleat_memmap_mode mode,
                          struct geometry *geometry)
{
    const bool is_outside = mode == PLEAT_MEMMAP_NORMAL || memory->metadata_bytes == 0;
    geometry->metadata_subs = 0;
    geometry->least_subs = 1;
    if (!is_outside && memory->metadata_bytes >= memory->block_bytes) {
        return PLEAT_E_INVALID;
    }
    if (geometry->subs_per_unit == 1) {
        /* It comes and goes as a whole, with metadata or without. */
        geometry->metadata_subs = 1;
        return 0;
    }
    if (is_outside) {
        return 0;
    }
    geometry->metadata_subs = (uint32_t)((memory->metadata_bytes - 1) / geometry->sub_bytes + 1);
    geometry->least_subs = (uint32_t)(memory->metadata_bytes / geometry->sub_bytes + 1);
    return 0;
}

int pleat_virtio_mem_geometry(const struct pleat_memory *memory, enum pleat_memmap_mode mode,
                              const struct device_config *device, struct geometry *geometry)
{
    if (!is_power_of_two(memory->block_bytes) || !is_power_of_two(memory->piece_bytes) ||
        memory->piece_bytes > memory->block_bytes) {
        return PLEAT_E_INVALID;
    }
    *geometry = (struct geometry){.region_address = device->address,
                                  .region_bytes = device->region_bytes,
                                  .block_bytes = device->block_bytes};
    geometry->unit_bytes = larger(device->block_bytes, memory->block_bytes);
    geometry->sub_bytes = larger(device->block_bytes, memory->piece_bytes);
    geometry->region_blocks = device->region_bytes / device->block_bytes;
    const uint64_t memory_blocks = geometry->unit_bytes / memory->block_bytes;
    const uint64_t blocks = geometry->unit_bytes / device->block_bytes;
    if (memory_blocks > UINT32_MAX || blocks > UINT32_MAX) {
        return PLEAT_E_UNSUPPORTED;
    }
    geometry->memory_blocks_per_unit = (uint32_t)memory_blocks;
    geometry->blocks_per_unit = (uint32_t)blocks;
    geometry->blocks_per_sub = (uint32_t)(geometry->sub_bytes / device->block_bytes);
    geometry->subs_per_unit = (uint32_t)(geometry->unit_bytes / geometry->sub_bytes);
    place_units(memory, geometry);
    return place_metadata(memory, mode, geometry);
}

/* --- Bits ------------------------------------------------------------------------------------------------
 */

uint64_t pleat_virtio_mem_bitmap_words(uint64_t bits)
{
    return bits / 64 + (bits % 64 != 0);
}

/* The bits of the word that `first` is in, from there on and at most `count`; *taken says how many. */
static uint64_t word_mask(uint64_t first, uint64_t count, uint64_t *taken)
{
    const unsigned shift = first % 64;
    *taken = count < 64 - shift ? count : 64 - shift;
    return (*taken == 64 ? UINT64_MAX : (UINT64_C(1) << *taken) - 1) << shift;
}

/* Without __builtin_popcountll, which is a call into the compiler's library on some targets. */
static unsigned count_ones(uint64_t word)
{
    word -= word >> 1 & UINT64_C(0x5555555555555555);
    word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
    word = (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (unsigned)(word * UINT64_C(0x0101010101010101) >> 56);
}

bool pleat_virtio_mem_block_plugged(const struct pleat_virtio_mem_driver *driver, uint64_t block)
{
    return driver->plugged[block / 64] >> block % 64 & 1;
}

uint64_t pleat_virtio_mem_count_plugged(const struct pleat_virtio_mem_driver *driver, uint64_t first,
                                        uint64_t count)
{
    uint64_t ones = 0;
    uint64_t taken;
    for (; count > 0; first += taken, count -= taken) {
        const uint64_t mask = word_mask(first, count, &taken);
        ones += count_ones(driver->plugged[first / 64] & mask);
    }
    return ones;
}

uint64_t pleat_virtio_mem_run_up(const struct pleat_virtio_mem_driver *driver, uint64_t first, uint64_t limit,
                                 bool plugged)
{
    const uint64_t same = plugged ? UINT64_MAX : 0;
    uint64_t run = 0;
    while (run < limit) {
        const uint64_t block = first + run;
        if (block % 64 == 0 && limit - run >= 64 && driver->plugged[block / 64] == same) {
            run += 64;
        } else if (pleat_virtio_mem_block_plugged(driver, block) == plugged) {
            run++;
        } else {
            break;
        }
    }
    return run;
}

uint64_t pleat_virtio_mem_run_down(const struct pleat_virtio_mem_driver *driver, uint64_t end, uint64_t limit,
                                   bool plugged)
{
    const uint64_t same = plugged ? UINT64_MAX : 0;
    uint64_t run = 0;
    while (run < limit) {
        const uint64_t block = end - run - 1;
        if (block % 64 == 63 && limit - run >= 64 && driver->plugged[block / 64] == same) {
            run += 64;
        } else if (pleat_virtio_mem_block_plugged(driver, block) == plugged) {
            run++;
        } else {
            break;
        }
    }
    return run;
}

/* --- Units -----------------------------------------------------------------------------------------------
 */

enum unit_state pleat_virtio_mem_unit_state(const struct pleat_virtio_mem_driver *driver, uint64_t unit)
{
    const struct unit *u = &driver->units[unit];
    if (!u->added) {
        return u->plugged_blocks == 0 ? UNIT_EMPTY : UNIT_LOOSE;
    }
    const uint32_t online = atomic_load(&u->online);
    if (online == 0) {
        return UNIT_OFFLINE;
    }
    return online < driver->geometry.memory_blocks_per_unit ? UNIT_MIXED : UNIT_ONLINE;
}

static bool is_loose(const struct unit *u)
{
    return !u->added && u->plugged_blocks > 0;
}

/* `count` blocks from `first` in one unit, or all outside; `unit` says which. */
static void note_segment(struct pleat_virtio_mem_driver *driver, uint64_t unit, uint64_t first,
                         uint64_t count, bool plugged)
{
    const uint64_t before = pleat_virtio_mem_count_plugged(driver, first, count);
    const uint64_t after = plugged ? count : 0;
    uint64_t taken;
    for (uint64_t done = 0; done < count; done += taken) {
        const uint64_t mask = word_mask(first + done, count - done, &taken);
        uint64_t *word = &driver->plugged[(first + done) / 64];
        *word = plugged ? *word | mask : *word & ~mask;
    }
    driver->plugged_blocks = driver->plugged_blocks - before + after;
    if (unit >= driver->geometry.units) {
        driver->outside_blocks = driver->outside_blocks - before + after;
        return;
    }
    struct unit *u = &driver->units[unit];
    const bool was_loose = is_loose(u);
    u->plugged_blocks = (uint32_t)(u->plugged_blocks - before + after);
    driver->units_loose = driver->units_loose - was_loose + is_loose(u);
}

void pleat_virtio_mem_note_plugged(struct pleat_virtio_mem_driver *driver, uint64_t first, uint64_t count,
                                   bool plugged)
{
    const struct geometry *g = &driver->geometry;
    while (count > 0) {
        const uint64_t unit = block_unit(driver, first);
        uint64_t end = g->region_blocks;
        if (unit < g->units) {
            end = sub_first_block(driver, unit + 1, 0);
        } else if (first < g->first_unit_block && g->units > 0) {
            end = g->first_unit_block;
        }
        const uint64_t taken = count < end - first ? count : end - first;
        note_segment(driver, unit, first, taken, plugged);
        if (unit < g->units) {
            driver->touched_unit = unit;
        }
        first += taken;
        count -= taken;
    }
}

void pleat_virtio_mem_note_added(struct pleat_virtio_mem_driver *driver, uint64_t unit, bool added)
{
    struct unit *u = &driver->units[unit];
    const bool was_loose = is_loose(u);
    driver->units_added = driver->units_added - u->added + added;
    u->added = added;
    driver->units_loose = driver->units_loose - was_loose + is_loose(u);
    driver->touched_unit = unit;
    if (!added && atomic_exchange(&u->online, 0) != 0) {
        atomic_fetch_sub(&driver->units_online, 1);
    }
}

bool pleat_virtio_mem_is_ready(const struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t sub)
{
    const uint64_t bit = unit * driver->geometry.subs_per_unit + sub;
    return atomic_load(&driver->ready[bit / 64]) >> bit % 64 & 1;
}

void pleat_virtio_mem_note_ready(struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t sub,
                                 uint32_t subs, bool ready)
{
    const uint64_t first = unit * driver->geometry.subs_per_unit + sub;
    uint64_t taken;
    for (uint64_t done = 0; done < subs; done += taken) {
        const uint64_t mask = word_mask(first + done, subs - done, &taken);
        if (ready) {
            atomic_fetch_or(&driver->ready[(first + done) / 64], mask);
        } else {
            atomic_fetch_and(&driver->ready[(first + done) / 64], ~mask);
        }
    }
    driver->touched_unit = unit;
    if (ready) {
        driver->ready_subs += subs;
        driver->units[unit].ready_subs += subs;
    } else {
        driver->ready_subs -= subs;
        driver->units[unit].ready_subs -= subs;
    }
}

void pleat_virtio_mem_forgive_units(struct pleat_virtio_mem_driver *driver, unsigned flags)
{
    for (uint64_t unit = 0; unit < driver->geometry.units; unit++) {
        driver->units[unit].flags &= (uint8_t)~flags;
    }
}

/* --- Sums ------------------------------------------------------------------------------------------------
 */

uint64_t pleat_virtio_mem_plugged_bytes(const struct pleat_virtio_mem_driver *driver)
{
    return driver->plugged_blocks * driver->geometry.block_bytes;
}

uint64_t pleat_virtio_mem_unit_plugged_bytes(const struct pleat_virtio_mem_driver *driver, uint64_t unit)
{
    return driver->units[unit].plugged_blocks * driver->geometry.block_bytes;
}

uint64_t pleat_virtio_mem_ready_bytes(const struct pleat_virtio_mem_driver *driver)
{
    return driver->ready_subs * driver->geometry.sub_bytes;
}

uint64_t pleat_virtio_mem_offline_bytes(const struct pleat_virtio_mem_driver *driver)
{
    const uint64_t online = atomic_load(&driver->units_online);
    return online >= driver->units_added ? 0 : (driver->units_added - online) * driver->geometry.unit_bytes;
}

uint64_t pleat_virtio_mem_target_bytes(const struct pleat_virtio_mem_driver *driver)
{
    if (driver->detach == DETACH_GIVING_BACK) {
        return 0;
    }
    return driver->device.requested_bytes < driver->device.usable_bytes ? driver->device.requested_bytes
                                                                        : driver->device.usable_bytes;
}

static bool unit_is_valid(const struct pleat_virtio_mem_driver *driver, uint64_t unit)
{
    const struct geometry *g = &driver->geometry;
    const struct unit *u = &driver->units[unit];
    uint32_t ready = 0;
    for (uint32_t sub = 0; sub < g->subs_per_unit; sub++) {
        if (!pleat_virtio_mem_is_ready(driver, unit, sub)) {
            continue;
        }
        ready++;
        if (pleat_virtio_mem_count_plugged(driver, sub_first_block(driver, unit, sub), g->blocks_per_sub) !=
            g->blocks_per_sub) {
            return false;
        }
    }
    for (uint32_t sub = 0; u->added && sub < g->metadata_subs; sub++) {
        if (!pleat_virtio_mem_is_ready(driver, unit, sub)) {
            return false;
        }
    }
    return ready == u->ready_subs && (u->added || ready == 0) &&
           atomic_load(&u->online) <= (u->added ? g->memory_blocks_per_unit : 0) &&
           u->plugged_blocks ==
               pleat_virtio_mem_count_plugged(driver, sub_first_block(driver, unit, 0), g->blocks_per_unit);
}

bool pleat_virtio_mem_books_are_valid(const struct pleat_virtio_mem_driver *driver)
{
    uint64_t plugged = driver->outside_blocks;
    uint64_t ready = 0;
    uint64_t added = 0;
    uint64_t loose = 0;
    for (uint64_t unit = 0; unit < driver->geometry.units; unit++) {
        if (!unit_is_valid(driver, unit)) {
            return false;
        }
        const struct unit *u = &driver->units[unit];
        plugged += u->plugged_blocks;
        ready += u->ready_subs;
        added += u->added;
        loose += is_loose(u);
    }
    return plugged == driver->plugged_blocks && ready == driver->ready_subs && added == driver->units_added &&
           loose == driver->units_loose &&
           plugged == pleat_virtio_mem_count_plugged(driver, 0, driver->geometry.region_blocks);
}

bool pleat_virtio_mem_driver_is_valid(const struct pleat_virtio_mem_driver *driver)
{
    uint64_t online = 0;
    for (uint64_t unit = 0; unit < driver->geometry.units; unit++) {
        online += atomic_load(&driver->units[unit].online) != 0;
    }
    return online == atomic_load(&driver->units_online) && pleat_virtio_mem_books_are_valid(driver);
}
