/* SPDX-License-Identifier: MIT
 *
 * TAP on the console.
 */
#include "tap.h"

#include "ports/bare/print.h"

static unsigned count, failed;

bool ok(bool passes, const char *name, ...)
{
    char text[PRINT_LINE_BYTES / 2];
    va_list arguments;

    va_start(arguments, name);
    format_arguments(text, sizeof text, name, arguments);
    va_end(arguments);
    failed += !passes;
    print("%sok %u - %s\n", passes ? "" : "not ", ++count, text);
    return passes;
}

void skip(const char *name, const char *why)
{
    print("ok %u - %s # SKIP %s\n", ++count, name, why);
}

int done_testing(void)
{
    print("1..%u\n", count);
    return failed || !count;
}
