/* SPDX-License-Identifier: MIT
 *
 * Text and numbers, without a C library.
 */
#include "text.h"

#include <pleat/memory_ops.h>

struct pleat_xen_text pleat_xen_text_begin(char *storage, size_t bytes)
{
    const bool nowhere = storage == NULL || bytes == 0;
    if (!nowhere) {
        *storage = '\0';
    }
    return (struct pleat_xen_text){.at = storage, .left = nowhere ? 0 : bytes};
}

static void put_character(struct pleat_xen_text *text, char character)
{
    if (text->left > 1) {
        *text->at++ = character;
        text->left--;
        *text->at = '\0';
    }
}

void pleat_xen_put(struct pleat_xen_text *text, const char *string)
{
    while (*string != '\0') {
        put_character(text, *string++);
    }
}

static void put_of_base(struct pleat_xen_text *text, uint64_t number, unsigned base)
{
    char digits[20];
    unsigned count = 0;
    do {
        digits[count++] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number > 0);
    while (count > 0) {
        put_character(text, digits[--count]);
    }
}

void pleat_xen_put_number(struct pleat_xen_text *text, uint64_t number)
{
    put_of_base(text, number, 10);
}

void pleat_xen_put_hex(struct pleat_xen_text *text, uint64_t number)
{
    put_of_base(text, number, 16);
}

void pleat_xen_put_bytes(struct pleat_xen_text *text, uint64_t bytes)
{
    static const char *const units[] = {" bytes", " KiB", " MiB", " GiB", " TiB"};
    unsigned unit = 0;
    while (unit < 4 && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    pleat_xen_put_number(text, bytes);
    pleat_xen_put(text, units[unit]);
}

bool pleat_xen_read_number(const char *data, size_t bytes, uint64_t *number)
{
    uint64_t value = 0;
    if (bytes > 1 && data[bytes - 1] == '\n') {
        bytes--;
    }
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] < '0' || data[i] > '9') {
            return false;
        }
        const uint64_t digit = (uint64_t)(data[i] - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *number = value;
    return bytes > 0;
}

bool pleat_xen_same(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

size_t pleat_xen_length(const char *text)
{
    size_t length = 0;
    while (text[length] != '\0') {
        length++;
    }
    return length;
}

void pleat_xen_log(const struct pleat_memory *memory, int level, const char *name, const char *line)
{
    char named[320];
    if (memory == NULL || memory->ops->log == NULL) {
        return;
    }
    struct pleat_xen_text text = pleat_xen_text_begin(named, sizeof(named));
    pleat_xen_put(&text, name);
    pleat_xen_put(&text, ": ");
    pleat_xen_put(&text, line);
    memory->ops->log(memory->context, level, named);
}
