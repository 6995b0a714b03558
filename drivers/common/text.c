/* SPDX-License-Identifier: MIT
 *
 * Text in storage of a fixed size, without a C library.
 */
#include "text.h"

#include <stdbool.h>

struct pleat_fixed_text pleat_fixed_text_begin(char *storage, size_t bytes)
{
    const bool nowhere = storage == NULL || bytes == 0;
    if (!nowhere) {
        *storage = '\0';
    }
    return (struct pleat_fixed_text){.at = storage, .left = nowhere ? 0 : bytes};
}

static void put_character(struct pleat_fixed_text *text, char character)
{
    if (text->left > 1) {
        *text->at++ = character;
        text->left--;
        *text->at = '\0';
    }
}

void pleat_put(struct pleat_fixed_text *text, const char *string)
{
    while (*string != '\0') {
        put_character(text, *string++);
    }
}

static void put_of_base(struct pleat_fixed_text *text, uint64_t number, unsigned base)
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

void pleat_put_number(struct pleat_fixed_text *text, uint64_t number)
{
    put_of_base(text, number, 10);
}

void pleat_put_hex(struct pleat_fixed_text *text, uint64_t number)
{
    put_of_base(text, number, 16);
}

void pleat_put_bytes(struct pleat_fixed_text *text, uint64_t bytes)
{
    static const char *const units[] = {" bytes", " KiB", " MiB", " GiB", " TiB"};
    unsigned unit = 0;
    while (unit < 4 && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    pleat_put_number(text, bytes);
    pleat_put(text, units[unit]);
}
