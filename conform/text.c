/* SPDX-License-Identifier: MIT
 *
 * See text.h.
 */
#include "text.h"

#include <stdbool.h>
#include <stdint.h>

void conform_text_begin(struct conform_text *text, char *at, size_t room)
{
    text->at = at;
    text->room = room;
    text->used = 0;
    at[0] = '\0';
}

static void add_char(struct conform_text *text, char what)
{
    if (text->used + 1 < text->room) {
        text->at[text->used++] = what;
        text->at[text->used] = '\0';
    }
}

static void add_number(struct conform_text *text, uint64_t value, unsigned base, unsigned width, char fill)
{
    char digits[24];
    unsigned count = 0;
    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    while (width-- > count) {
        add_char(text, fill);
    }
    while (count > 0) {
        add_char(text, digits[--count]);
    }
}

void conform_text_add_list(struct conform_text *text, const char *format, va_list arguments)
{
    for (const char *at = format; *at; at++) {
        if (*at != '%') {
            add_char(text, *at);
            continue;
        }
        at++;
        const char fill = *at == '0' ? '0' : ' ';
        unsigned width = 0;
        while (*at >= '0' && *at <= '9') {
            width = width * 10 + (unsigned)(*at++ - '0');
        }
        bool is_long = false;
        while (*at == 'l') {
            is_long = true;
            at++;
        }
        switch (*at) {
        case 's':
            for (const char *from = va_arg(arguments, const char *); *from; from++) {
                add_char(text, *from);
            }
            break;
        case 'c':
            add_char(text, (char)va_arg(arguments, int));
            break;
        case 'd': {
            const int64_t value = is_long ? va_arg(arguments, long) : va_arg(arguments, int);
            if (value < 0) {
                add_char(text, '-');
            }
            add_number(text, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10, width, fill);
            break;
        }
        case 'u':
        case 'x': {
            const uint64_t value = is_long ? va_arg(arguments, unsigned long) : va_arg(arguments, unsigned);
            add_number(text, value, *at == 'x' ? 16 : 10, width, fill);
            break;
        }
        case '\0':
            return;
        default:
            add_char(text, *at);
        }
    }
}

void conform_text_add(struct conform_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    conform_text_add_list(text, format, arguments);
    va_end(arguments);
}
