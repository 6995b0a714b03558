/* SPDX-License-Identifier: MIT
 *
 * How the readers of what firmware left behind (pvh.h, acpi.h, fdt.h) reach it, and tell what is wrong with
 * it. They are pure functions of the bytes that `read` gives them: no state, no allocation, the same on a
 * test's host as in an image.
 *
 * What firmware left is hostile input. A reader believes no length, count or address before it has checked
 * it; what doesn't hold together is left out, with a line that says so, and everything else is used.
 */
#ifndef PLEAT_PORTS_BARE_FIRMWARE_H
#define PLEAT_PORTS_BARE_FIRMWARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct firmware {
    void *context;
    /* Copies `bytes` bytes (not 0) at physical `address`. False: not all of them can be read; what is at `to`
     * doesn't matter then. The sum doesn't wrap. Any address may be asked for, so a port checks it against
     * what it has mapped, or maps it for the copy. Required. */
    bool (*read)(void *context, uint64_t address, void *to, size_t bytes);
    /* Hears of what was left out: one line, printable ASCII, no newline, valid during the call. At most
     * FIRMWARE_LINES come of one call of a reader. NULL: nobody does. */
    void (*log)(void *context, const char *line);
};

#define FIRMWARE_LINES 32u

/* --- For the readers -------------------------------------------------------------------------------------
 */

/* One call of a reader: counts its lines, so that a table with thousands of odd entries doesn't cost a slow
 * console its minutes. */
struct firmware_report {
    const struct firmware *firmware;
    unsigned lines;
};

/* A line in the making; what doesn't fit is cut. */
struct firmware_line {
    unsigned length;
    char text[160];
};

struct firmware_line firmware_line(const char *text);
void firmware_line_text(struct firmware_line *line, const char *text);
void firmware_line_number(struct firmware_line *line, uint64_t number);
void firmware_line_hex(struct firmware_line *line, uint64_t number);
/* Bytes that should be text; others than printable ones become '?'. */
void firmware_line_bytes(struct firmware_line *line, const void *bytes, size_t count);

void firmware_report(struct firmware_report *report, const struct firmware_line *line);

/* As firmware->read, but an empty or wrapping range is false, too. */
bool firmware_read(const struct firmware *firmware, uint64_t address, void *to, size_t bytes);

#endif
