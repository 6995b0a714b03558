/* SPDX-License-Identifier: MIT
 *
 * A picture of a run: sizes over time above, and below, on the same axis of time, the map of memory blocks
 * with a row for each block and a colour for its state.
 *
 * A picture is recorded while the run goes on (curves, marks, snapshots of the map) and drawn at the end by
 * gnuplot, once as SVG and once as PNG. Colours are those of Okabe and Ito, which people with any kind of
 * colour vision can tell apart; curves differ in their dashes too, and a block that holds unmovable frames
 * has a bar across its row.
 */
#ifndef PLEAT_MACHINE_PICTURE_H
#define PLEAT_MACHINE_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <pleat/pleat.h>

#include "machine/message.h"

/** Rows of the map; where there are more blocks, a row stands for several. */
#define PLEAT_PICTURE_ROWS_MAX 256
/** Colours of curves; a curve names one of 0 to 6. */
#define PLEAT_PICTURE_COLOURS 7

/** What is known of one memory block at one time. */
struct pleat_picture_cell {
    uint8_t state;           /**< enum pleat_block_state; NONE: absent */
    uint8_t zone;            /**< enum pleat_zone_kind, of a block that isn't OFFLINE or NONE */
    uint8_t partly_plugged;  /**< 1: some of its memory is unplugged */
    uint8_t holds_unmovable; /**< 1: it holds frames that can't be moved */
};

/** A picture as it is recorded. */
struct pleat_picture;

/** A new, empty picture with its title, and a line below it that may be empty. NULL: no memory. */
struct pleat_picture *pleat_picture_create(const char *title, const char *subtitle);

/** Gives it back; NULL is fine. */
void pleat_picture_destroy(struct pleat_picture *picture);

/**
 * Adds a curve of bytes over time. COLOUR is 0 to 6; curves that belong together (what was asked for, what
 * there is) take the same one, and one of them DASHED. Returns its number from 0 on, or PLEAT_E_NO_MEMORY.
 */
int pleat_picture_curve(struct pleat_picture *picture, const char *name, unsigned colour, bool dashed);

/**
 * Adds a point to a curve, which keeps that value until its next one. Times don't go back.
 * Errors, with nothing changed: PLEAT_E_INVALID (no such curve, or a time before the last),
 * PLEAT_E_NO_MEMORY.
 */
int pleat_picture_point(struct pleat_picture *picture, int curve, uint64_t time_ns, uint64_t bytes);

/** Marks a time with a line and a few words. Errors: PLEAT_E_NO_MEMORY. */
int pleat_picture_mark(struct pleat_picture *picture, uint64_t time_ns, const char *text);

/**
 * Adds BLOCKS memory blocks to the map, above those that are there already, named at its side. All regions
 * are added before the first snapshot. Errors: PLEAT_E_STATE (there is a snapshot), PLEAT_E_INVALID (no
 * block), PLEAT_E_NO_MEMORY.
 */
int pleat_picture_region(struct pleat_picture *picture, const char *name, size_t blocks);

/**
 * Adds a snapshot of the map: a cell for each block of all regions, in their order. It holds until the
 * next one. Errors, with nothing changed: PLEAT_E_INVALID (another number of cells, a state or zone that
 * there isn't, a time before the last), PLEAT_E_STATE (the map has ended), PLEAT_E_NO_MEMORY.
 */
int pleat_picture_snapshot(struct pleat_picture *picture, uint64_t time_ns,
                           const struct pleat_picture_cell *cells, size_t count);

/** From this time on nothing is known of the blocks: the map is drawn no further. Later snapshots are refused
 * with PLEAT_E_STATE. */
void pleat_picture_end_map(struct pleat_picture *picture, uint64_t time_ns);

/** Another line below the title. Errors, with the old one kept: PLEAT_E_NO_MEMORY. */
int pleat_picture_set_subtitle(struct pleat_picture *picture, const char *subtitle);

/**
 * Writes the script for gnuplot that draws the picture: TERMINAL is "svg" or "png", FILE a name without
 * quotes. Errors: PLEAT_E_STATE (there is nothing to draw), PLEAT_E_NO_MEMORY.
 */
int pleat_picture_script(const struct pleat_picture *picture, FILE *out, const char *terminal,
                         const char *file);

/**
 * Draws STEM.svg and STEM.png; files of these names are replaced, and only by complete ones. Waits for
 * gnuplot, at most TIMEOUT_NS for each file (0: 20 s). Errors, with the old files untouched but for an SVG
 * that is new already: PLEAT_E_STATE (nothing to draw), PLEAT_E_UNSUPPORTED (gnuplot isn't there),
 * PLEAT_E_TIMEOUT, PLEAT_E_NOT_FOUND (the files can't be written), PLEAT_E_DEVICE (gnuplot failed; what it
 * said is in the message), PLEAT_E_NO_MEMORY.
 */
int pleat_picture_draw(const struct pleat_picture *picture, const char *stem, uint64_t timeout_ns,
                       struct pleat_message *message);

#endif
