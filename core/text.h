/* SPDX-License-Identifier: MIT
 *
 * Lines for people, put together without a C library; too long ones are cut.
 */
#ifndef PLEAT_CORE_TEXT_H
#define PLEAT_CORE_TEXT_H

#include "types.h"

struct text {
    unsigned length;
    char line[192];
};

void text_begin(struct text *text);
void text_add(struct text *text, const char *string);
void text_number(struct text *text, uint64_t number);
void text_hex(struct text *text, uint64_t number);

/* Hands a line to the port, if it wants lines. */
void core_log(const struct core *core, enum pleat_log_level level, const char *line);

/* The name of an owner's number, special ones included. */
const char *core_owner_name(const struct core *core, unsigned owner);

#endif
