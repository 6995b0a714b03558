/* SPDX-License-Identifier: MIT
 *
 * Lines about what firmware left behind, put together without a C library.
 */
#include "firmware.h"

static void add(struct firmware_line *line, char c)
{
    if (line->length + 1 < sizeof(line->text)) {
        line->text[line->length++] = c;
        line->text[line->length] = '\0';
    }
}

struct firmware_line firmware_line(const char *text)
{
    struct firmware_line line = {0};
    firmware_line_text(&line, text);
    return line;
}

void firmware_line_text(struct firmware_line *line, const char *text)
{
    while (*text)
        add(line, *text++);
}

static void digits(struct firmware_line *line, uint64_t number, unsigned base)
{
    char reversed[20];
    unsigned count = 0;
    do {
        reversed[count++] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number);
    while (count)
        add(line, reversed[--count]);
}

void firmware_line_number(struct firmware_line *line, uint64_t number)
{
    digits(line, number, 10);
}

void firmware_line_hex(struct firmware_line *line, uint64_t number)
{
    firmware_line_text(line, "0x");
    digits(line, number, 16);
}

void firmware_line_bytes(struct firmware_line *line, const void *bytes, size_t count)
{
    const unsigned char *byte = bytes;
    for (size_t i = 0; i < count; i++)
        add(line, byte[i] >= 0x20 && byte[i] < 0x7f ? (char)byte[i] : '?');
}

void firmware_report(struct firmware_report *report, const struct firmware_line *line)
{
    if (!report->firmware->log || report->lines == FIRMWARE_LINES)
        return;
    report->lines++;
    report->firmware->log(report->firmware->context, report->lines == FIRMWARE_LINES
                                                         ? "firmware: more is odd than is listed here"
                                                         : line->text);
}

bool firmware_read(const struct firmware *firmware, uint64_t address, void *to, size_t bytes)
{
    return bytes && address + bytes - 1 >= address && firmware->read(firmware->context, address, to, bytes);
}
