/* SPDX-License-Identifier: MIT
 *
 * Every error has a text of its own.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include <pleat/error.h>

static void every_error_has_its_own_text(void **state)
{
    (void)state;
    for (int a = PLEAT_MORE; a >= PLEAT_E_LAST; a--) {
        assert_string_not_equal(pleat_error_text(a), "unknown error");
        for (int b = a - 1; b >= PLEAT_E_LAST; b--)
            assert_string_not_equal(pleat_error_text(a), pleat_error_text(b));
    }
    assert_string_equal(pleat_error_text(PLEAT_E_LAST - 1), "unknown error");
    assert_string_equal(pleat_error_text(99), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_error_has_its_own_text)};
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
