/* SPDX-License-Identifier: MIT
 *
 * Text that grows by doubling its room.
 */
#include "machine/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Makes room for MORE bytes and the zero. */
static bool grow(struct pleat_text *text, size_t more)
{
    if (more < text->room - text->length)
        return true;
    size_t room = text->room ? text->room : 256;
    while (room - text->length <= more && room <= (size_t)-1 / 4)
        room *= 2;
    char *bytes = room - text->length > more ? realloc(text->bytes, room) : NULL;
    if (!bytes) {
        text->failed = true;
        return false;
    }
    text->bytes = bytes;
    text->room = room;
    return true;
}

void pleat_text_add(struct pleat_text *text, const char *bytes, size_t length)
{
    if (!grow(text, length))
        return;
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

void pleat_text_print(struct pleat_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0 || !grow(text, (size_t)length)) {
        text->failed = true;
        return;
    }
    va_start(arguments, format);
    vsnprintf(text->bytes + text->length, (size_t)length + 1, format, arguments);
    va_end(arguments);
    text->length += (size_t)length;
}

void pleat_text_cut_front(struct pleat_text *text, size_t length)
{
    if (length > text->length)
        length = text->length;
    if (length == 0)
        return;
    text->length -= length;
    memmove(text->bytes, text->bytes + length, text->length + 1);
}

const char *pleat_text_string(const struct pleat_text *text)
{
    return text->bytes ? text->bytes : "";
}

void pleat_text_clear(struct pleat_text *text)
{
    text->length = 0;
    text->failed = false;
    if (text->bytes)
        text->bytes[0] = '\0';
}

void pleat_text_free(struct pleat_text *text)
{
    free(text->bytes);
    *text = (struct pleat_text){0};
}
