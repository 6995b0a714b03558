/* SPDX-License-Identifier: MIT
 *
 * The printer of bare machines writes what printf() writes, for the formats that it knows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "ports/bare/platform.h"
#include "ports/bare/print.h"

static char written[2 * PRINT_LINE_BYTES];

void platform_write(const char *text, size_t bytes)
{
    strncat(written, text, bytes);
}

#define SAME(...)                                                                                            \
    do {                                                                                                     \
        char ours[128], theirs[128];                                                                         \
        const int length = snprintf(theirs, sizeof theirs, __VA_ARGS__);                                     \
        assert_int_equal(format_text(ours, sizeof ours, __VA_ARGS__), length);                               \
        assert_string_equal(ours, theirs);                                                                   \
    } while (0)

static void formats_are_those_of_printf(void **state)
{
    (void)state;
    SAME("plain");
    SAME("%s and %c and %%", "text", 'c');
    SAME("%d %d %i", 0, -7, 2147483647);
    SAME("%d", (int)-2147483647 - 1);
    SAME("%ld", (long)INT64_MIN);
    SAME("%u %x", 4000000000u, 0xdeadbeefu);
    SAME("%lu %lx %zu", UINT64_MAX, UINT64_MAX, (size_t)12);
    SAME("[%5u] [%-5u] [%05u] [%2u]", 42u, 42u, 42u, 12345u);
    SAME("[%5d] [%05d] [%-5d]", -42, -42, -42);
    SAME("[%*u] [%0*lu]", 6, 42u, 6, 42ul);
    SAME("[%8s] [%-8s] [%2s]", "word", "word", "word");
    SAME("0x%016lx", UINT64_C(0x123456789));
}

static void what_is_too_long_is_cut(void **state)
{
    char buffer[8];

    (void)state;
    assert_int_equal(format_text(buffer, sizeof buffer, "%s", "0123456789"), 10);
    assert_string_equal(buffer, "0123456");
    char line[2 * PRINT_LINE_BYTES];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\0';
    print("%s", line);
    assert_int_equal(strlen(written), PRINT_LINE_BYTES - 1);
    assert_int_equal(written[PRINT_LINE_BYTES - 2], '\n');
}

static void times_and_sizes_are_for_people(void **state)
{
    struct short_text text;

    (void)state;
    assert_string_equal(milliseconds_text(&text, 12345678), "12.345");
    assert_string_equal(size_text(&text, 0), "0 bytes");
    assert_string_equal(size_text(&text, 1536 << 20), "1536 MiB");
    assert_string_equal(size_text(&text, UINT64_C(4) << 30), "4 GiB");
    assert_string_equal(fixed_text(&text, UINT64_C(98640000000), 1), "98.6");
    assert_string_equal(fixed_text(&text, UINT64_C(98650000000), 1), "98.7");
    assert_string_equal(fixed_text(&text, UINT64_C(999999999), 0), "1");
    assert_string_equal(fixed_text(&text, UINT64_C(1000000001), 9), "1.000000001");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_are_those_of_printf),
        cmocka_unit_test(what_is_too_long_is_cut),
        cmocka_unit_test(times_and_sizes_are_for_people),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
