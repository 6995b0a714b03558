/* SPDX-License-Identifier: MIT
 *
 * cmocka's assertions, said so that an analyser understands them: after one that fails nothing is executed.
 * Only the analysis of the tests includes this; it says nothing about how a test runs.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#undef assert_true
#undef assert_false
#undef assert_non_null
#undef assert_null
#undef assert_int_equal
#undef assert_int_not_equal
#define assert_true(condition)         ((condition) ? (void)0 : abort())
#define assert_false(condition)        ((condition) ? abort() : (void)0)
#define assert_non_null(pointer)       ((pointer) ? (void)0 : abort())
#define assert_null(pointer)           ((pointer) ? abort() : (void)0)
#define assert_int_equal(one, two)     ((one) == (two) ? (void)0 : abort())
#define assert_int_not_equal(one, two) ((one) != (two) ? (void)0 : abort())
