/* SPDX-License-Identifier: MIT
 *
 * The serial console; platform_write() and platform_read() are in platform.h.
 */
#ifndef PORTS_X86_64_CONSOLE_H
#define PORTS_X86_64_CONSOLE_H

void console_init(void);

#endif
