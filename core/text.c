/* SPDX-License-Identifier: MIT
 *
 * Lines for people. See text.h.
 */
#include "text.h"

void text_begin(struct text *text)
{
    text->length = 0;
    text->line[0] = '\0';
}

static void put(struct text *text, char c)
{
    if (text->length + 1 < sizeof(text->line)) {
        text->line[text->length++] = c;
        text->line[text->length] = '\0';
    }
}

void text_add(struct text *text, const char *string)
{
    while (*string)
        put(text, *string++);
}

static void digits(struct text *text, uint64_t number, unsigned base)
{
    char buffer[20];
    unsigned count = 0;

    do {
        buffer[count++] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number);
    while (count)
        put(text, buffer[--count]);
}

void text_number(struct text *text, uint64_t number)
{
    digits(text, number, 10);
}

void text_hex(struct text *text, uint64_t number)
{
    digits(text, number, 16);
}

void core_log(const struct core *core, enum pleat_log_level level, const char *line)
{
    if (core->port.log)
        core->port.log(core->port.context, level, line);
}

const char *core_owner_name(const struct core *core, unsigned owner)
{
    static const char *const special[OWNER_FIRST] = {"anonymous",        "memmap",         "core tables",
                                                     "reserved at boot", "in use at boot", "absent",
                                                     "fake-offline",     "unknown"};

    if (owner < OWNER_FIRST)
        return special[owner];
    if (owner < core->owner_count && core->owners[owner].name)
        return core->owners[owner].name;
    return "unknown";
}
