/* SPDX-License-Identifier: MIT
 *
 * Text into a buffer, without a C library: as much of printf as the checks need.
 */
#ifndef PLEAT_CONFORM_TEXT_H
#define PLEAT_CONFORM_TEXT_H

#include <stdarg.h>
#include <stddef.h>

/* A buffer that text is added to. It always ends with NUL; what has no room is left out. */
struct conform_text {
    char *at;
    size_t room; /* of the buffer, in bytes, at least 1 */
    size_t used; /* without the NUL; used < room */
};

/* Begins an empty text in `room` bytes at `at`. */
void conform_text_begin(struct conform_text *text, char *at, size_t room);

/* Adds to it. Knows %s, %c, %u, %d, %x, %% and the length l, with a width and a 0 before it. */
void conform_text_add(struct conform_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void conform_text_add_list(struct conform_text *text, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));

#endif
