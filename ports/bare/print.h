/* SPDX-License-Identifier: MIT
 *
 * Text for the console of a bare machine, put together without a C library. Formats are printf's: `-` and
 * `0`, a width or `*`, `l` and `z`, and d i u x c s %. There is no floating point in an image.
 */
#ifndef PLEAT_PORTS_BARE_PRINT_H
#define PLEAT_PORTS_BARE_PRINT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/** Longer lines are cut. */
#define PRINT_LINE_BYTES 512u

/** Writes to the console in one piece, so that lines of several CPUs don't mix; the newline is the caller's.
 * Any CPU, any context. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** As snprintf(): at most bytes - 1 characters and a NUL; returns the length that all of it has. */
size_t format_text(char *to, size_t bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));
size_t format_arguments(char *to, size_t bytes, const char *format, va_list arguments);

/** A buffer for what the next two return. */
struct short_text {
    char text[32];
};

/** A number with `decimals` (0 to 9) places, of so many units of 10^-9: 12345678 with 3 is "0.012". */
const char *fixed_text(struct short_text *buffer, uint64_t billionths, unsigned decimals);

/** A time in milliseconds with three places. */
const char *milliseconds_text(struct short_text *buffer, uint64_t ns);

/** "64 MiB", "2 KiB": in the largest unit that divides it. */
const char *size_text(struct short_text *buffer, uint64_t bytes);

#endif
