/* SPDX-License-Identifier: MIT
 *
 * What of a port's table of functions takes no more than a console and a clock, the same on every machine.
 */
#ifndef PLEAT_PORTS_BARE_CONSOLE_PORT_H
#define PLEAT_PORTS_BARE_CONSOLE_PORT_H

#include <pleat/port.h>

/* Fills in log (what a person wants to know, as comments of TAP), fatal (says why, and ends the machine) and
 * clock_ns. */
void console_port(struct pleat_port *port);

/* A line about firmware, for struct firmware. */
void console_port_line(void *context, const char *line);

#endif
