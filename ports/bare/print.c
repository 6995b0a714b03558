/* SPDX-License-Identifier: MIT
 *
 * Formatting for print(): as much of printf() as a console needs.
 */
#include "print.h"

#include <stdbool.h>

#include "platform.h"

struct output {
    char *to;
    size_t bytes;
    size_t length;
};

struct conversion {
    bool left, zeros, is_long;
    size_t width;
};

static void put(struct output *output, char c)
{
    if (output->length + 1 < output->bytes)
        output->to[output->length] = c;
    output->length++;
}

static void pad(struct output *output, char c, size_t length, size_t width)
{
    for (; length < width; length++)
        put(output, c);
}

static void put_text(struct output *output, const struct conversion *conversion, const char *text)
{
    size_t length = 0;

    while (text[length])
        length++;
    if (!conversion->left)
        pad(output, ' ', length, conversion->width);
    for (const char *at = text; *at; at++)
        put(output, *at);
    if (conversion->left)
        pad(output, ' ', length, conversion->width);
}

static void put_number(struct output *output, const struct conversion *conversion, uint64_t number,
                       bool negative, unsigned base)
{
    char digits[24];
    size_t at = sizeof digits;

    digits[--at] = '\0';
    do {
        digits[--at] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number);
    if (conversion->zeros && !conversion->left) {
        if (negative)
            put(output, '-');
        pad(output, '0', sizeof digits - 1 - at + negative, conversion->width);
        for (; digits[at]; at++)
            put(output, digits[at]);
        return;
    }
    if (negative)
        digits[--at] = '-';
    put_text(output, conversion, digits + at);
}

/* What stands between % and the letter; returns where the letter is. */
static const char *read_conversion(const char *at, struct conversion *conversion, int star)
{
    *conversion = (struct conversion){0};
    for (;; at++) {
        if (*at == '-')
            conversion->left = true;
        else if (*at == '0')
            conversion->zeros = true;
        else
            break;
    }
    if (*at == '*') {
        conversion->width = star < 0 ? 0 : (size_t)star;
        at++;
    }
    for (; *at >= '0' && *at <= '9'; at++)
        conversion->width = conversion->width * 10 + (size_t)(*at - '0');
    for (; *at == 'l' || *at == 'z'; at++)
        conversion->is_long = true;
    return at;
}

static bool has_star(const char *at)
{
    while (*at == '-' || *at == '0')
        at++;
    return *at == '*';
}

size_t format_arguments(char *to, size_t bytes, const char *format, va_list arguments)
{
    struct output output = {.to = to, .bytes = bytes};
    struct conversion conversion;

    for (const char *at = format; *at; at++) {
        if (*at != '%') {
            put(&output, *at);
            continue;
        }
        const int star = has_star(at + 1) ? va_arg(arguments, int) : 0;
        at = read_conversion(at + 1, &conversion, star);
        if (*at == 's') {
            put_text(&output, &conversion, va_arg(arguments, const char *));
        } else if (*at == 'c') {
            put(&output, (char)va_arg(arguments, int));
        } else if (*at == 'd' || *at == 'i') {
            const int64_t number = conversion.is_long ? va_arg(arguments, long) : va_arg(arguments, int);
            put_number(&output, &conversion, number < 0 ? -(uint64_t)number : (uint64_t)number, number < 0,
                       10);
        } else if (*at == 'u' || *at == 'x') {
            const uint64_t number =
                conversion.is_long ? va_arg(arguments, unsigned long) : va_arg(arguments, unsigned);
            put_number(&output, &conversion, number, false, *at == 'u' ? 10 : 16);
        } else if (*at == '\0') {
            break;
        } else {
            put(&output, *at);
        }
    }
    if (bytes)
        to[output.length < bytes ? output.length : bytes - 1] = '\0';
    return output.length;
}

size_t format_text(char *to, size_t bytes, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    const size_t length = format_arguments(to, bytes, format, arguments);
    va_end(arguments);
    return length;
}

void print(const char *format, ...)
{
    char line[PRINT_LINE_BYTES];
    va_list arguments;

    va_start(arguments, format);
    size_t length = format_arguments(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length > sizeof line - 1) {
        length = sizeof line - 1;
        line[length - 1] = '\n'; /* what is cut still ends */
    }
    platform_write(line, length);
}

const char *fixed_text(struct short_text *buffer, uint64_t billionths, unsigned decimals)
{
    uint64_t unit = 1;

    for (unsigned i = decimals; i < 9; i++)
        unit *= 10;
    const uint64_t rounded = billionths / unit + (billionths % unit >= (unit + 1) / 2 && unit > 1);
    const uint64_t one = UINT64_C(1000000000) / unit;
    if (decimals)
        format_text(buffer->text, sizeof buffer->text, "%lu.%0*lu", rounded / one, (int)decimals,
                    rounded % one);
    else
        format_text(buffer->text, sizeof buffer->text, "%lu", rounded);
    return buffer->text;
}

const char *milliseconds_text(struct short_text *buffer, uint64_t ns)
{
    format_text(buffer->text, sizeof buffer->text, "%lu.%03lu", ns / 1000000, ns / 1000 % 1000);
    return buffer->text;
}

const char *size_text(struct short_text *buffer, uint64_t bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    unsigned unit = 0;

    while (bytes && bytes % 1024 == 0 && unit < 4) {
        bytes /= 1024;
        unit++;
    }
    format_text(buffer->text, sizeof buffer->text, "%lu %s", bytes, units[unit]);
    return buffer->text;
}
