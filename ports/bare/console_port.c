/* SPDX-License-Identifier: MIT
 *
 * The functions of a port that are the same on every machine. See console_port.h.
 */
#include "console_port.h"

#include "platform.h"
#include "print.h"

static void log_line(void *context, enum pleat_log_level level, const char *line)
{
    static const char *const names[] = {"error: ", "warning: ", ""};

    (void)context;
    if (level <= PLEAT_LOG_INFO)
        print("# %s%s\n", names[level], line);
}

static void fatal(void *context, const char *line)
{
    (void)context;
    print("fatal: %s\n", line);
    platform_exit(PLATFORM_EXIT_EXCEPTION);
}

static uint64_t clock_ns(void *context)
{
    (void)context;
    return platform_clock_ns();
}

void console_port(struct pleat_port *port)
{
    port->log = log_line;
    port->fatal = fatal;
    port->clock_ns = clock_ns;
}

void console_port_line(void *context, const char *line)
{
    (void)context;
    print("%s\n", line);
}
