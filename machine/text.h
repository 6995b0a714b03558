/* SPDX-License-Identifier: MIT
 *
 * Text that grows: what commands print into, and what waits to be sent.
 *
 * A command of the monitor doesn't know where its answer goes, to a terminal, a pipe or into a JSON
 * string; it prints into one of these. Memory that runs out leaves a mark in place of the text, so that
 * nobody has to check each line that is printed; whoever hands the text on looks at the mark.
 */
#ifndef PLEAT_MACHINE_TEXT_H
#define PLEAT_MACHINE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/** Zero it before its first use. */
struct pleat_text {
    /** Zero-terminated; NULL while nothing has been added. */
    char *bytes;
    size_t length;
    size_t room;
    /** Something was left out because memory ran out. */
    bool failed;
};

/** Adds LENGTH bytes at the end. */
void pleat_text_add(struct pleat_text *text, const char *bytes, size_t length);

/** Adds formatted text at the end. */
void pleat_text_print(struct pleat_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Takes the first LENGTH bytes away; at most as many as there are. */
void pleat_text_cut_front(struct pleat_text *text, size_t length);

/** The text, zero-terminated; "" while there is none. Valid until the text changes. */
const char *pleat_text_string(const struct pleat_text *text);

/** Makes the text empty and keeps its room. */
void pleat_text_clear(struct pleat_text *text);

/** Gives its room back; it is as zeroed then. */
void pleat_text_free(struct pleat_text *text);

#endif
