/* SPDX-License-Identifier: MIT
 *
 * Text for the console of a bare machine, put together without a C library.
 */
#ifndef PLEAT_PORTS_BARE_PRINT_H
#define PLEAT_PORTS_BARE_PRINT_H

/**
 * Writes a formatted text to the console as a whole; what is longer than 256 bytes is cut. Knows %s, %c, %%,
 * and %d, %u and %x with the lengths l and ll, a width, and 0 to pad with. Any CPU, any context.
 */
__attribute__((format(printf, 1, 2))) void print(const char *format, ...);

#endif
