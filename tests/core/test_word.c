/* SPDX-License-Identifier: MIT
 *
 * Counting and finding bits, by what this target has and by arithmetic, against going through them.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/word.h"

static void compare(uint64_t word)
{
    unsigned count = 0;
    unsigned lowest = 64;
    unsigned highest = 64;

    for (unsigned i = 0; i < 64; i++) {
        if (!(word >> i & 1))
            continue;
        count++;
        highest = i;
        if (lowest == 64)
            lowest = i;
    }
    assert_int_equal(word_count(word), count);
    assert_int_equal(word_count_by_arithmetic(word), count);
    if (!word)
        return;
    assert_int_equal(word_lowest(word), lowest);
    assert_int_equal(word_lowest_by_arithmetic(word), lowest);
    assert_int_equal(word_highest(word), highest);
    assert_int_equal(word_highest_by_arithmetic(word), highest);
}

static void every_run_of_bits_is_counted_and_found(void **state)
{
    (void)state;
    compare(0);
    for (unsigned first = 0; first < 64; first++) {
        for (unsigned last = first; last < 64; last++)
            compare(~(uint64_t)0 << first & ~(uint64_t)0 >> (63 - last));
    }
}

static void scattered_bits_are_counted_and_found(void **state)
{
    (void)state;
    uint64_t word = 1;
    for (unsigned i = 0; i < 10000; i++) {
        word = word * 6364136223846793005u + 1442695040888963407u;
        compare(word);
        compare(word & word >> 7 & word << 9);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_run_of_bits_is_counted_and_found),
        cmocka_unit_test(scattered_bits_are_counted_and_found),
    };
    return cmocka_run_group_tests_name("word", tests, NULL, NULL);
}
