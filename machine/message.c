/* SPDX-License-Identifier: MIT
 *
 * Messages that quote hostile input and still are one printable line.
 */
#include "machine/message.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#undef pleat_message_set

int pleat_message_set(struct pleat_message *message, int error, const char *format, ...)
{
    if (message) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(message->text, sizeof(message->text), format, arguments);
        va_end(arguments);
    }
    return error;
}

void pleat_message_prefix(struct pleat_message *message, const char *format, ...)
{
    if (!message)
        return;
    struct pleat_message before = *message;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(message->text, sizeof(message->text), format, arguments);
    va_end(arguments);
    if (length >= 0 && (size_t)length < sizeof(message->text)) {
        size_t room = sizeof(message->text) - (size_t)length - 1;
        size_t rest = strnlen(before.text, room);
        memcpy(message->text + length, before.text, rest);
        message->text[(size_t)length + rest] = '\0';
    }
}

const char *pleat_quote_bytes(char buffer[PLEAT_QUOTE_BYTES], const char *text, size_t length)
{
    /* One more input byte needs at most 4; then there may follow "...", the quote and the zero. */
    const size_t last_start = PLEAT_QUOTE_BYTES - 4 - 3 - 1 - 1;
    size_t at = 0;
    buffer[at++] = '\'';
    for (size_t i = 0; i < length && text[i]; i++) {
        if (at > last_start) {
            memcpy(buffer + at, "...", 3);
            at += 3;
            break;
        }
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c < 0x7f)
            buffer[at++] = (char)c;
        else
            at += (size_t)snprintf(buffer + at, 5, "\\x%02x", c);
    }
    buffer[at++] = '\'';
    buffer[at] = '\0';
    return buffer;
}

const char *pleat_quote(char buffer[PLEAT_QUOTE_BYTES], const char *text)
{
    return pleat_quote_bytes(buffer, text, strlen(text));
}
