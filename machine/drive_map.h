/* SPDX-License-Identifier: MIT
 *
 * The map of memory blocks in the picture of a machine that is driven from outside: QMP doesn't tell the
 * states of blocks, the guest's console does (guest_console.h), and the devices say which rows are theirs.
 *
 * As in the picture of Pleat's own machine there is a row for each block of boot memory and of the devices
 * that are there when the guest begins to tell. Snapshots are kept where something has changed, and are taken
 * the rarer the longer it goes on.
 */
#ifndef PLEAT_MACHINE_DRIVE_MAP_H
#define PLEAT_MACHINE_DRIVE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "machine/drive.h"
#include "machine/picture.h"

/** Blocks of all rows together; a machine with more has no map. */
#define PLEAT_DRIVE_MAP_BLOCKS_MAX 32768

struct pleat_drive_map;

/**
 * Opens the console PATH, and adds a curve of free memory to PICTURE, which has to outlive the map. Errors,
 * with *MAP NULL: those of pleat_guest_console_open(), NO_MEMORY.
 */
int pleat_drive_map_open(struct pleat_drive_map **map, const char *path, struct pleat_picture *picture,
                         struct pleat_message *message);

/** Gives all back; NULL is fine. */
void pleat_drive_map_close(struct pleat_drive_map *map);

/**
 * Reads what the guest has told since, and puts it into the picture at this time, which doesn't go back.
 * NOW: a snapshot is taken even if it isn't time. What is wrong with the console ends the map here, and is
 * kept for pleat_drive_map_error().
 */
void pleat_drive_map_look(struct pleat_drive_map *map, const struct pleat_drive_device *devices, size_t count,
                          uint64_t time_ns, bool now);

/** Whether the guest has told of any block. */
bool pleat_drive_map_is_told(const struct pleat_drive_map *map);

/** OK, or why the map ended: the errors of pleat_guest_console_read(), NO_MEMORY, UNSUPPORTED (more blocks
 * than PLEAT_DRIVE_MAP_BLOCKS_MAX). */
int pleat_drive_map_error(const struct pleat_drive_map *map, struct pleat_message *message);

#endif
