/* SPDX-License-Identifier: MIT
 *
 * The words of the command line.
 */
#include "arguments.h"

#include <stddef.h>

#include "ports/bare/platform.h"

/* What follows NAME=, to a blank or the end of the line, or NULL. */
static const char *value_of(const char *name)
{
    for (const char *at = platform.command_line; *at;) {
        unsigned i = 0;
        while (name[i] && at[i] == name[i])
            i++;
        if (!name[i] && at[i] == '=')
            return at + i + 1;
        while (*at && *at != ' ')
            at++;
        while (*at == ' ')
            at++;
    }
    return NULL;
}

bool argument_is(const char *name, const char *word)
{
    const char *value = value_of(name);
    if (!value)
        return false;
    for (; *word; word++, value++) {
        if (*value != *word)
            return false;
    }
    return !*value || *value == ' ';
}

unsigned argument_number(const char *name)
{
    unsigned number = 0;
    for (const char *value = value_of(name); value && *value >= '0' && *value <= '9'; value++)
        number = number * 10 + (unsigned)(*value - '0');
    return number;
}

bool argument_text(const char *name, char *to, size_t bytes)
{
    const char *value = value_of(name);
    size_t length = 0;
    while (value && value[length] && value[length] != ' ' && length + 1 < bytes) {
        to[length] = value[length];
        length++;
    }
    to[length] = 0;
    return value != NULL;
}
