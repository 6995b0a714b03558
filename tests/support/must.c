/* SPDX-License-Identifier: MIT
 *
 * The end of a program whose driver broke a rule. See must.h.
 */
#include "tests/support/must.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void must_breach(const char *file, int line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    abort();
}
