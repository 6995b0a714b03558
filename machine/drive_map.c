/* SPDX-License-Identifier: MIT
 *
 * From what the guest tells to rows of the map.
 */
#include "machine/drive_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/guest_console.h"

#define FIRST_INTERVAL_NS UINT64_C(50000000)
/* After so many snapshots the interval doubles. */
#define SNAPSHOTS_AN_INTERVAL 512u

/* Rows that follow each other, of blocks that do: boot memory, or a device. */
struct span {
    uint64_t first_block, blocks;
    size_t first_cell;
};

struct pleat_drive_map {
    struct pleat_guest_console *console; /* NULL after an error */
    struct pleat_picture *picture;
    int free_curve;
    uint64_t block_bytes; /* 0: the guest hasn't begun to tell */
    struct span *spans;
    size_t span_count;
    struct pleat_picture_cell *cells;
    size_t cell_count;
    bool changed; /* since the last snapshot */
    uint64_t free_bytes;
    bool free_is_told;
    uint64_t next_ns, interval_ns;
    unsigned snapshots;
    /* Of the look that goes on. */
    const struct pleat_drive_device *devices;
    size_t device_count;
    int error;
    struct pleat_message why;
};

static int no_memory(struct pleat_message *message)
{
    return pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
}

/* ---- what the guest tells ---- */

static int add_span(struct pleat_drive_map *map, const char *name, uint64_t first_block, uint64_t blocks,
                    struct pleat_message *message)
{
    if (blocks > PLEAT_DRIVE_MAP_BLOCKS_MAX - map->cell_count)
        return pleat_message_set(message, PLEAT_E_UNSUPPORTED,
                                 "%s: more memory blocks than the %d that a map has room for", name,
                                 PLEAT_DRIVE_MAP_BLOCKS_MAX);
    map->spans[map->span_count++] =
        (struct span){.first_block = first_block, .blocks = blocks, .first_cell = map->cell_count};
    map->cell_count += blocks;
    return pleat_picture_region(map->picture, name, blocks) ? no_memory(message) : PLEAT_OK;
}

static int begin(void *context, uint64_t block_bytes, uint64_t boot_blocks, struct pleat_message *message)
{
    struct pleat_drive_map *map = context;

    map->changed = true;
    if (!map->block_bytes) {
        map->spans = calloc(map->device_count + 1, sizeof *map->spans);
        if (!map->spans)
            return no_memory(message);
        int error = add_span(map, "boot", 0, boot_blocks, message);
        for (size_t i = 0; i < map->device_count && !error; i++) {
            const struct pleat_drive_device *device = &map->devices[i];
            const uint64_t end = device->address + device->maximum_bytes;
            const uint64_t first_block = device->address / block_bytes;
            const uint64_t end_block = end / block_bytes + (end % block_bytes != 0);
            if (device->id[0] && end_block > first_block)
                error = add_span(map, device->id, first_block, end_block - first_block, message);
        }
        if (error)
            return error;
        map->cells = calloc(map->cell_count, sizeof *map->cells);
        if (!map->cells)
            return no_memory(message);
        map->block_bytes = block_bytes;
    }
    for (size_t i = 0; i < map->cell_count; i++)
        map->cells[i] = (struct pleat_picture_cell){.state = PLEAT_BLOCK_NONE};
    return PLEAT_OK;
}

/* Blocks of devices that came later have no row. */
static void take_block(void *context, uint64_t address, const struct pleat_picture_cell *cell)
{
    struct pleat_drive_map *map = context;
    const uint64_t block = address / map->block_bytes;

    for (size_t i = 0; i < map->span_count; i++) {
        const struct span *span = &map->spans[i];
        if (block >= span->first_block && block - span->first_block < span->blocks) {
            map->cells[span->first_cell + (block - span->first_block)] = *cell;
            map->changed = true;
        }
    }
}

static void take_free(void *context, uint64_t bytes)
{
    struct pleat_drive_map *map = context;

    map->free_bytes = bytes;
    map->free_is_told = true;
}

/* ---- looking ---- */

static void take_snapshot(struct pleat_drive_map *map, uint64_t time_ns, bool now)
{
    if (!map->changed || !map->cells || (time_ns < map->next_ns && !now))
        return;
    map->changed = false;
    map->next_ns = time_ns + map->interval_ns;
    if (!pleat_picture_snapshot(map->picture, time_ns, map->cells, map->cell_count) &&
        ++map->snapshots % SNAPSHOTS_AN_INTERVAL == 0)
        map->interval_ns *= 2;
}

void pleat_drive_map_look(struct pleat_drive_map *map, const struct pleat_drive_device *devices, size_t count,
                          uint64_t time_ns, bool now)
{
    if (map->error)
        return;
    map->devices = devices;
    map->device_count = count;
    map->error = pleat_guest_console_read(map->console, &map->why);
    if (map->free_is_told)
        pleat_picture_point(map->picture, map->free_curve, time_ns, map->free_bytes);
    take_snapshot(map, time_ns, now || map->error);
    if (!map->error)
        return;
    pleat_picture_end_map(map->picture, time_ns);
    pleat_guest_console_close(map->console);
    map->console = NULL;
}

bool pleat_drive_map_is_told(const struct pleat_drive_map *map)
{
    return map->snapshots != 0;
}

int pleat_drive_map_error(const struct pleat_drive_map *map, struct pleat_message *message)
{
    if (map->error)
        *message = map->why;
    return map->error;
}

/* ---- life ---- */

int pleat_drive_map_open(struct pleat_drive_map **result, const char *path, struct pleat_picture *picture,
                         struct pleat_message *message)
{
    static const struct pleat_guest_console_ops ops = {
        .begin = begin, .block = take_block, .free = take_free};
    struct pleat_drive_map *map = calloc(1, sizeof *map);

    *result = NULL;
    if (!map)
        return no_memory(message);
    map->picture = picture;
    map->interval_ns = FIRST_INTERVAL_NS;
    int error = pleat_guest_console_open(&map->console, path, &ops, map, message);
    if (!error) {
        map->free_curve = pleat_picture_curve(picture, "free in the guest", 0, false);
        error = map->free_curve < 0 ? no_memory(message) : PLEAT_OK;
    }
    if (error)
        pleat_drive_map_close(map);
    else
        *result = map;
    return error;
}

void pleat_drive_map_close(struct pleat_drive_map *map)
{
    if (!map)
        return;
    pleat_guest_console_close(map->console);
    free(map->spans);
    free(map->cells);
    free(map);
}
