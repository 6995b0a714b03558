/* SPDX-License-Identifier: MIT
 *
 * The clock; platform_clock_ns() is in platform.h.
 */
#ifndef PORTS_X86_64_CLOCK_H
#define PORTS_X86_64_CLOCK_H

/* Finds out how fast the CPU counts. On CPU 0. */
void clock_start(void);

#endif
