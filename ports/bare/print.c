/* SPDX-License-Identifier: MIT
 *
 * Formatting for print(): as much of printf() as a console needs.
 */
#include "print.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "platform.h"

struct out {
    char text[256];
    size_t length;
};

static void put(struct out *out, char c)
{
    if (out->length < sizeof(out->text))
        out->text[out->length++] = c;
}

static void put_number(struct out *out, unsigned long long number, unsigned base, unsigned width, char pad,
                       bool negative)
{
    char digits[24];
    unsigned count = 0;

    do {
        digits[count++] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number);
    if (negative)
        digits[count++] = '-';
    for (; width > count; width--)
        put(out, pad);
    while (count)
        put(out, digits[--count]);
}

static void put_string(struct out *out, const char *string, unsigned width)
{
    unsigned length = 0;
    while (string[length])
        length++;
    for (; width > length; width--)
        put(out, ' ');
    for (unsigned i = 0; i < length; i++)
        put(out, string[i]);
}

void print(const char *format, ...)
{
    struct out out = {.length = 0};
    va_list arguments;

    va_start(arguments, format);
    for (; *format; format++) {
        if (*format != '%') {
            put(&out, *format);
            continue;
        }
        char pad = ' ';
        unsigned width = 0, longs = 0;
        if (*++format == '0')
            pad = '0';
        for (; *format >= '0' && *format <= '9'; format++)
            width = width * 10 + (unsigned)(*format - '0');
        for (; *format == 'l'; format++)
            longs++;
        if (*format == 's') {
            put_string(&out, va_arg(arguments, const char *), width);
        } else if (*format == 'c') {
            put(&out, (char)va_arg(arguments, int));
        } else if (*format == 'u' || *format == 'x') {
            unsigned long long number = longs == 0   ? va_arg(arguments, unsigned)
                                        : longs == 1 ? va_arg(arguments, unsigned long)
                                                     : va_arg(arguments, unsigned long long);
            put_number(&out, number, *format == 'u' ? 10 : 16, width, pad, false);
        } else if (*format == 'd') {
            long long number = longs == 0   ? va_arg(arguments, int)
                               : longs == 1 ? va_arg(arguments, long)
                                            : va_arg(arguments, long long);
            put_number(&out, number < 0 ? 0 - (unsigned long long)number : (unsigned long long)number, 10,
                       width, pad, number < 0);
        } else if (*format) {
            put(&out, *format);
        } else {
            break;
        }
    }
    va_end(arguments);
    platform_write(out.text, out.length);
}
