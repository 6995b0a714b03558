/* SPDX-License-Identifier: MIT
 *
 * Text in storage of a fixed size, cut to what there is room for, and numbers read from text.
 */
#ifndef PLEAT_DRIVERS_XEN_TEXT_H
#define PLEAT_DRIVERS_XEN_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pleat_memory;

struct pleat_xen_text {
    char *at;
    size_t left; /**< with the NUL */
};

/** Begins an empty text; `storage` NULL or 0 bytes: everything is cut away. */
struct pleat_xen_text pleat_xen_text_begin(char *storage, size_t bytes);
void pleat_xen_put(struct pleat_xen_text *text, const char *string);
void pleat_xen_put_number(struct pleat_xen_text *text, uint64_t number);
void pleat_xen_put_hex(struct pleat_xen_text *text, uint64_t number);
/** In the largest unit that says it exactly. */
void pleat_xen_put_bytes(struct pleat_xen_text *text, uint64_t bytes);

/** Decimal digits, and a newline after them at most. False: anything else, or more than 64 bits hold. */
bool pleat_xen_read_number(const char *data, size_t bytes, uint64_t *number);
bool pleat_xen_same(const char *a, const char *b);
size_t pleat_xen_length(const char *text);

/** A line of the log, after `name` and a colon; nothing without a log. */
void pleat_xen_log(const struct pleat_memory *memory, int level, const char *name, const char *line);

#endif
