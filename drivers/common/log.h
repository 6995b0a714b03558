/* SPDX-License-Identifier: MIT
 *
 * The log of a driver: its lines go where those of the memory that it works on go, each after the name of the
 * instance.
 */
#ifndef PLEAT_DRIVERS_COMMON_LOG_H
#define PLEAT_DRIVERS_COMMON_LOG_H

#include <pleat/memory_ops.h>
#include <pleat/port.h>

/** A line of the log, after `name` and a colon; nothing without memory, or where that has no log. */
void pleat_log_line(const struct pleat_memory *memory, enum pleat_log_level level, const char *name,
                    const char *line);

#endif
