/* SPDX-License-Identifier: MIT
 *
 * Bits for blocks against an array of booleans, over every range of three words.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "devices/block_bits.h"
#include "tests/support/random.h"

enum { BITS = 192 };

static void every_range_agrees_with_an_array(void **state)
{
    (void)state;
    struct test_random random;
    uint64_t words[3];
    bool array[BITS];

    test_random_seed(&random, 1);
    for (unsigned round = 0; round < 4; round++) {
        /* Sparse, dense and in runs. */
        for (unsigned b = 0; b < BITS; b++)
            array[b] = round == 0   ? test_random_below(&random, 30) == 0
                       : round == 1 ? test_random_below(&random, 30) != 0
                       : round == 2 ? (b / 50) & 1
                                    : false;
        memset(words, 0, sizeof(words));
        for (unsigned b = 0; b < BITS; b++)
            if (array[b])
                pleat_block_bits_fill(words, b, b + 1, true);
        for (unsigned first = 0; first <= BITS; first++)
            for (unsigned end = first; end <= BITS; end++) {
                unsigned set = end, clear = end, sum = 0;
                for (unsigned b = end; b-- > first;) {
                    *(array[b] ? &set : &clear) = b;
                    sum += array[b];
                }
                assert_int_equal(pleat_block_bits_find(words, first, end, true), set);
                assert_int_equal(pleat_block_bits_find(words, first, end, false), clear);
                assert_int_equal(pleat_block_bits_count(words, first, end), sum);
            }
    }
}

static void fill_changes_its_range_and_nothing_else(void **state)
{
    (void)state;
    for (int value = 0; value < 2; value++)
        for (unsigned first = 0; first <= BITS; first++)
            for (unsigned end = first; end <= BITS; end += 1 + (end - first > 3) * 6) {
                uint64_t words[5];
                memset(words, value ? 0 : 0xff, sizeof(words));
                pleat_block_bits_fill(words + 1, first, end, value);
                assert_int_equal(pleat_block_bits_count(words + 1, first, end), value ? end - first : 0);
                assert_int_equal(pleat_block_bits_count(words, 0, 5 * 64),
                                 value ? end - first : 5 * 64 - (end - first));
            }
}

static void runs_are_found_one_after_the_other(void **state)
{
    (void)state;
    /*   bits 0-1, 60-70, 127, 190-191 */
    uint64_t words[3] = {0}, first = 0, end = 0;
    static const unsigned expected[][2] = {{0, 2}, {60, 71}, {127, 128}, {190, 192}};
    for (unsigned i = 0; i < 4; i++)
        pleat_block_bits_fill(words, expected[i][0], expected[i][1], true);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(pleat_block_bits_run(words, &first, BITS, true, &end));
        assert_int_equal(first, expected[i][0]);
        assert_int_equal(end, expected[i][1]);
        first = end;
    }
    assert_false(pleat_block_bits_run(words, &first, BITS, true, &end));
    first = 0;
    assert_true(pleat_block_bits_run(words, &first, BITS, false, &end));
    assert_int_equal(first, 2);
    assert_int_equal(end, 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_range_agrees_with_an_array),
        cmocka_unit_test(fill_changes_its_range_and_nothing_else),
        cmocka_unit_test(runs_are_found_one_after_the_other),
    };
    return cmocka_run_group_tests_name("block bits", tests, NULL, NULL);
}
