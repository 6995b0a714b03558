/* SPDX-License-Identifier: MIT
 *
 * Where JSON messages end in a stream of bytes: in pieces of any length, several at once, and what is
 * no message reported once and thrown away.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "machine/json_splitter.h"

/* What was heard: each message in <>, each error as ! and its text. */
struct heard {
    struct pleat_text text;
    unsigned stop_after;
};

static bool hear(void *context, const char *error, const char *text, size_t length)
{
    struct heard *heard = context;
    if (error)
        pleat_text_print(&heard->text, "!%s;", error);
    else
        pleat_text_print(&heard->text, "<%.*s>", (int)length, text);
    return !heard->stop_after || --heard->stop_after;
}

/* Feeds INPUT in pieces of PIECE bytes. */
static void check_pieces(const char *input, size_t length, size_t piece, const char *expected)
{
    struct pleat_json_splitter splitter = {0};
    struct heard heard = {0};
    for (size_t at = 0; at < length; at += piece)
        pleat_json_split(&splitter, input + at, length - at < piece ? length - at : piece, hear, &heard);
    assert_string_equal(pleat_text_string(&heard.text), expected);
    pleat_text_free(&heard.text);
    pleat_json_splitter_free(&splitter);
}

static void check(const char *input, const char *expected)
{
    for (size_t piece = 1; piece < 8; piece++)
        check_pieces(input, strlen(input), piece, expected);
    check_pieces(input, strlen(input), strlen(input) + 1, expected);
}

static void messages_end_where_their_braces_close(void **state)
{
    (void)state;
    check("{}", "<{}>");
    check("{\"a\":[1,{\"b\":{}}]}", "<{\"a\":[1,{\"b\":{}}]}>");
    check("{}{}\n[1] {\r\n}", "<{}><{}><[1]><{\r\n}>");
    check("  \t\r\n", "");
    check("", "");
}

static void braces_and_quotes_inside_of_strings_count_for_nothing(void **state)
{
    (void)state;
    check("{\"}{][\":\"\\\"}\"}", "<{\"}{][\":\"\\\"}\"}>");
    check("{\"a\\\\\":1}{}", "<{\"a\\\\\":1}><{}>");
    check("\"{\"", "<\"{\">");
}

static void bare_values_end_where_something_else_starts(void **state)
{
    (void)state;
    check("1 2\n", "<1><2>");
    check("true{}", "<true><{}>");
    check("x\"y\"", "<x><\"y\">");
    check("12", "");
}

static void half_a_message_is_no_message(void **state)
{
    (void)state;
    check("{\"execute\":\"query-status\"", "");
    check("{}{\"a", "<{}>");
}

static void rubbish_is_reported_once_and_thrown_away_to_the_end_of_its_line(void **state)
{
    (void)state;
    check("}}}}\n{}", "!JSON parse error, expecting value;<{}>");
    /* A string can't go over the end of a line; what follows is read as it is. */
    check("{\"a\n{}", "!JSON parse error, stray control character;<{}>");
}

static void a_control_character_or_0xff_starts_reading_anew(void **state)
{
    (void)state;
    check("{{{{\xff{}", "!JSON parse error, stray control character;<{}>");
    check("{\x01 {}\n{}", "!JSON parse error, stray control character;<{}>");
    static const char with_zero[] = "{\0}\n[]";
    check_pieces(with_zero, sizeof(with_zero) - 1, 1, "!JSON parse error, stray control character;<[]>");
    static const char bare_zero[] = "1\0\n[]";
    check_pieces(bare_zero, sizeof(bare_zero) - 1, 1, "<1>!JSON parse error, stray control character;<[]>");
}

static void depth_is_limited(void **state)
{
    (void)state;
    struct pleat_text input = {0}, expected = {0};
    pleat_text_add(&expected, "<", 1);
    for (unsigned i = 0; i < PLEAT_JSON_DEPTH_MAX; i++)
        pleat_text_add(&input, "[", 1);
    for (unsigned i = 0; i < PLEAT_JSON_DEPTH_MAX; i++)
        pleat_text_add(&input, "]", 1);
    pleat_text_print(&expected, "%s>", pleat_text_string(&input));
    check(pleat_text_string(&input), pleat_text_string(&expected));
    pleat_text_clear(&input);
    for (unsigned i = 0; i < PLEAT_JSON_DEPTH_MAX + 1; i++)
        pleat_text_add(&input, "[", 1);
    pleat_text_print(&input, "]]\n[]");
    check(pleat_text_string(&input), "!JSON nesting depth limit exceeded;<[]>");
    pleat_text_free(&input);
    pleat_text_free(&expected);
}

static void length_is_limited(void **state)
{
    (void)state;
    struct pleat_json_splitter splitter = {0};
    struct heard heard = {0};
    char *blanks = malloc(PLEAT_JSON_MESSAGE_BYTES_MAX);
    assert_non_null(blanks);
    memset(blanks, ' ', PLEAT_JSON_MESSAGE_BYTES_MAX);
    pleat_json_split(&splitter, "[", 1, hear, &heard);
    pleat_json_split(&splitter, blanks, PLEAT_JSON_MESSAGE_BYTES_MAX - 2, hear, &heard);
    pleat_json_split(&splitter, "]", 1, hear, &heard);
    assert_int_equal(heard.text.length, PLEAT_JSON_MESSAGE_BYTES_MAX + 2);
    pleat_text_clear(&heard.text);
    pleat_json_split(&splitter, "[", 1, hear, &heard);
    pleat_json_split(&splitter, blanks, PLEAT_JSON_MESSAGE_BYTES_MAX, hear, &heard);
    pleat_json_split(&splitter, "]\n{}", 4, hear, &heard);
    assert_string_equal(pleat_text_string(&heard.text), "!JSON token size limit exceeded;<{}>");
    free(blanks);
    pleat_text_free(&heard.text);
    pleat_json_splitter_free(&splitter);
}

static void whoever_listens_can_stop_it(void **state)
{
    (void)state;
    struct pleat_json_splitter splitter = {0};
    struct heard heard = {.stop_after = 2};
    pleat_json_split(&splitter, "{}[]{}", 6, hear, &heard);
    assert_string_equal(pleat_text_string(&heard.text), "<{}><[]>");
    pleat_text_free(&heard.text);
    pleat_json_splitter_free(&splitter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_end_where_their_braces_close),
        cmocka_unit_test(braces_and_quotes_inside_of_strings_count_for_nothing),
        cmocka_unit_test(bare_values_end_where_something_else_starts),
        cmocka_unit_test(half_a_message_is_no_message),
        cmocka_unit_test(rubbish_is_reported_once_and_thrown_away_to_the_end_of_its_line),
        cmocka_unit_test(a_control_character_or_0xff_starts_reading_anew),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(length_is_limited),
        cmocka_unit_test(whoever_listens_can_stop_it),
    };
    return cmocka_run_group_tests_name("json_splitter", tests, NULL, NULL);
}
