/* SPDX-License-Identifier: MIT
 *
 * The random numbers are those of the published generators, and as likely as they should be.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "machine/random.h"

static void splitmix64_gives_its_published_numbers(void **state)
{
    (void)state;
    uint64_t seed = 1234567;
    static const uint64_t expected[] = {UINT64_C(6457827717110365317), UINT64_C(3203168211198807973),
                                        UINT64_C(9817491932198370423), UINT64_C(4593380528125082431),
                                        UINT64_C(16408922859458223821)};
    for (int i = 0; i < 5; i++)
        assert_true(pleat_random_split(&seed) == expected[i]);
}

static void xoshiro256_gives_its_published_numbers(void **state)
{
    (void)state;
    struct pleat_random random = {{1, 2, 3, 4}};
    static const uint64_t expected[] = {11520,
                                        0,
                                        1509978240,
                                        UINT64_C(1215971899390074240),
                                        UINT64_C(1216172134540287360),
                                        UINT64_C(607988272756665600),
                                        UINT64_C(16172922978634559625),
                                        UINT64_C(8476171486693032832),
                                        UINT64_C(10595114339597558777),
                                        UINT64_C(2904607092377533576)};
    for (int i = 0; i < 10; i++)
        assert_true(pleat_random_next(&random) == expected[i]);
}

static void a_seed_gives_the_same_numbers_again_and_another_seed_others(void **state)
{
    (void)state;
    struct pleat_random a, b, c;
    pleat_random_seed(&a, 0);
    pleat_random_seed(&b, 0);
    pleat_random_seed(&c, 1);
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t number = pleat_random_next(&a);
        assert_true(number == pleat_random_next(&b));
        same += number == pleat_random_next(&c);
    }
    assert_int_equal(same, 0);
}

static void numbers_below_a_limit_are_equally_likely(void **state)
{
    (void)state;
    struct pleat_random random;
    pleat_random_seed(&random, 7);
    unsigned counts[6] = {0};
    for (int i = 0; i < 600000; i++) {
        uint64_t number = pleat_random_below(&random, 6);
        assert_in_range(number, 0, 5);
        counts[number]++;
    }
    /* 100,000 each; six standard deviations are 1,732. */
    for (int i = 0; i < 6; i++)
        assert_in_range(counts[i], 98268, 101732);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(pleat_random_below(&random, 1), 0);
        assert_true(pleat_random_below(&random, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
    }
}

static void the_exponential_distribution_has_its_mean_and_its_shape(void **state)
{
    (void)state;
    struct pleat_random random;
    pleat_random_seed(&random, 11);
    double sum = 0;
    unsigned above_mean = 0;
    for (int i = 0; i < 1000000; i++) {
        double unit = pleat_random_unit(&random);
        assert_true(unit > 0 && unit <= 1);
        double value = pleat_random_exponential(&random, 50);
        assert_true(value >= 0);
        sum += value;
        above_mean += value > 50;
    }
    assert_true(sum > 50 * 0.99e6 && sum < 50 * 1.01e6);
    /* 1 / e of them. */
    assert_in_range(above_mean, 364000, 371800);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splitmix64_gives_its_published_numbers),
        cmocka_unit_test(xoshiro256_gives_its_published_numbers),
        cmocka_unit_test(a_seed_gives_the_same_numbers_again_and_another_seed_others),
        cmocka_unit_test(numbers_below_a_limit_are_equally_likely),
        cmocka_unit_test(the_exponential_distribution_has_its_mean_and_its_shape),
    };
    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
