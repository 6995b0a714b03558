/* SPDX-License-Identifier: MIT
 *
 * QMP's form: greeting, negotiation, the checks of a message and of arguments, in the words that QEMU 7.2
 * was seen to use.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "machine/monitor_qmp.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct pleat_text sent;
static unsigned answers_announced;

static void collect(void *context, const char *line, size_t length)
{
    (void)context;
    pleat_text_add(&sent, line, length);
}

static void announce(void *context)
{
    (void)context;
    answers_announced++;
}

static json_t *run_echo(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    (void)context;
    (void)error;
    return json_incref(arguments);
}

static json_t *run_refusal(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    (void)context;
    return pleat_qmp_refuse(error, PLEAT_QMP_DEVICE_NOT_FOUND, "Device '%s' not found",
                            json_string_value(json_object_get(arguments, "id")));
}

static json_t *run_end(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    (void)arguments;
    (void)error;
    struct pleat_qmp_session **session = context;
    (*session)->ended = true;
    return json_object();
}

static const struct pleat_qmp_command commands[] = {
    {.name = "echo",
     .run = run_echo,
     .arguments = {{"text", PLEAT_QMP_STRING, false},
                   {"number", PLEAT_QMP_INTEGER, true},
                   {"flag", PLEAT_QMP_BOOLEAN, true}}},
    {.name = "open", .run = run_echo, .arguments = {{"id", PLEAT_QMP_STRING, true}}, .open_arguments = true},
    {.name = "find", .run = run_refusal, .arguments = {{"id", PLEAT_QMP_STRING, false}}},
    {.name = "end", .run = run_end},
};

static struct pleat_qmp_session *open_session(void)
{
    static struct pleat_qmp_session session;
    static struct pleat_qmp_session *current = &session;
    session = (struct pleat_qmp_session){
        .commands = commands,
        .command_count = COUNT(commands),
        .context = &current,
        .before_answer_context = &current,
        .send = collect,
        .before_answer = announce,
    };
    pleat_text_clear(&sent);
    answers_announced = 0;
    pleat_qmp_open(&session);
    return &session;
}

/* What INPUT is answered with. */
static const char *ask(struct pleat_qmp_session *session, const char *input)
{
    pleat_text_clear(&sent);
    pleat_qmp_input(session, input, strlen(input));
    return pleat_text_string(&sent);
}

static struct pleat_qmp_session *open_negotiated(void)
{
    struct pleat_qmp_session *session = open_session();
    assert_string_equal(ask(session, "{\"execute\":\"qmp_capabilities\"}"), "{\"return\": {}}\r\n");
    return session;
}

static void finish(struct pleat_qmp_session *session)
{
    pleat_qmp_close(session);
    pleat_text_free(&sent);
}

static void a_client_is_greeted_as_qemu_does(void **state)
{
    (void)state;
    struct pleat_qmp_session *session = open_session();
    json_t *greeting = json_loads(pleat_text_string(&sent), 0, NULL);
    json_t *qmp = json_object_get(greeting, "QMP");
    json_t *version = json_object_get(qmp, "version");
    assert_true(json_is_integer(json_object_get(json_object_get(version, "qemu"), "major")));
    assert_true(json_is_string(json_object_get(version, "package")));
    assert_int_equal(json_array_size(json_object_get(qmp, "capabilities")), 0);
    assert_true(json_is_array(json_object_get(qmp, "capabilities")));
    assert_int_equal(json_object_size(greeting), 1);
    json_decref(greeting);
    finish(session);
}

static void nothing_but_negotiation_is_done_before_it(void **state)
{
    (void)state;
    struct pleat_qmp_session *session = open_session();
    assert_string_equal(ask(session, "{\"execute\":\"echo\",\"arguments\":{\"text\":\"a\"},\"id\":7}"),
                        "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"Expecting capabilities "
                        "negotiation with 'qmp_capabilities'\"}, \"id\": 7}\r\n");
    assert_string_equal(
        ask(session, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}"),
        "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Capability oob not available\"}}\r\n");
    assert_string_equal(
        ask(session, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"x\"]}}"),
        "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Parameter 'enable' does not accept value "
        "'x'\"}}\r\n");
    assert_string_equal(
        ask(session, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":1}}"),
        "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Invalid parameter type for 'enable', "
        "expected: array\"}}\r\n");
    assert_string_equal(
        ask(session, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[]},\"id\":[1,{\"a\":2}]}"),
        "{\"return\": {}, \"id\": [1, {\"a\": 2}]}\r\n");
    assert_string_equal(
        ask(session, "{\"execute\":\"qmp_capabilities\"}"),
        "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"Capabilities negotiation is "
        "already complete, command ignored\"}}\r\n");
    finish(session);
}

static void every_malformed_message_is_answered_and_the_next_one_works(void **state)
{
    (void)state;
    static const struct {
        const char *input, *class, *description;
    } bad[] = {
        {"[]", "GenericError", "QMP input must be a JSON object"},
        {"1 ", "GenericError", "QMP input must be a JSON object"},
        {"\"x\"", "GenericError", "QMP input must be a JSON object"},
        {"{\"execute\":1}", "GenericError", "QMP input member 'execute' must be a string"},
        {"{}", "GenericError", "QMP input lacks member 'execute'"},
        {"{\"execute\":\"echo\",\"arguments\":[]}", "GenericError",
         "QMP input member 'arguments' must be an object"},
        {"{\"execute\":\"echo\",\"foo\":1}", "GenericError", "QMP input member 'foo' is unexpected"},
        {"{\"exec-oob\":\"echo\"}", "GenericError", "QMP input member 'exec-oob' is unexpected"},
        {"{\"execute\":\"nosuch\"}", "CommandNotFound", "The command nosuch has not been found"},
        {"{\"execute\":\"no\\nsuch\"}", "CommandNotFound", "The command no\\x0asuch has not been found"},
        {"{\"execute\":\"echo\"}", "GenericError", "Parameter 'text' is missing"},
        {"{\"execute\":\"echo\",\"arguments\":{\"text\":1}}", "GenericError",
         "Invalid parameter type for 'text', expected: string"},
        {"{\"execute\":\"echo\",\"arguments\":{\"text\":\"\",\"number\":1.5}}", "GenericError",
         "Invalid parameter type for 'number', expected: integer"},
        {"{\"execute\":\"echo\",\"arguments\":{\"text\":\"\",\"flag\":0}}", "GenericError",
         "Invalid parameter type for 'flag', expected: boolean"},
        {"{\"execute\":\"echo\",\"arguments\":{\"text\":\"\",\"foo\":0}}", "GenericError",
         "Parameter 'foo' is unexpected"},
        {"{\"execute\":\"end\",\"arguments\":{\"foo\":0}}", "GenericError", "Parameter 'foo' is unexpected"},
        {"{\"execute\":\"find\",\"arguments\":{\"id\":\"vm9\"}}", "DeviceNotFound", "Device 'vm9' not found"},
    };
    struct pleat_qmp_session *session = open_negotiated();
    for (size_t i = 0; i < COUNT(bad); i++) {
        json_t *answer = json_loads(ask(session, bad[i].input), 0, NULL);
        json_t *error = json_object_get(answer, "error");
        if (!error)
            fail_msg("%s was answered %s", bad[i].input, pleat_text_string(&sent));
        assert_string_equal(json_string_value(json_object_get(error, "class")), bad[i].class);
        assert_string_equal(json_string_value(json_object_get(error, "desc")), bad[i].description);
        json_decref(answer);
        assert_string_equal(ask(session, "{\"execute\":\"echo\",\"arguments\":{\"text\":\"a\"}}"),
                            "{\"return\": {\"text\": \"a\"}}\r\n");
    }
    finish(session);
}

static void what_is_no_json_is_a_parse_error(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{x}",
        "{\"execute\":\"echo\",\"execute\":\"echo\"}",
        "{\"execute\":\"echo\",\"id\":123456789012345678901234567890}",
        "{\"execute\":\"echo\",\"id\":1e999}",
        "{\"execute\":\"\xc3\x28\"}",
        "{\"execute\":\"\\ud800\"}",
        "{\"execute\":\"a\\u0000b\"}",
        "{\"a\":}",
        "{]",
        "\x01",
        "{\"a\n",
        "]",
    };
    struct pleat_qmp_session *session = open_negotiated();
    for (size_t i = 0; i < COUNT(bad); i++) {
        json_t *answer = json_loads(ask(session, bad[i]), 0, NULL);
        json_t *error = json_object_get(answer, "error");
        const char *description = json_string_value(json_object_get(error, "desc"));
        if (!description || strncmp(description, "JSON parse error, ", 18))
            fail_msg("%s was answered %s", bad[i], pleat_text_string(&sent));
        json_decref(answer);
        assert_string_equal(ask(session, "\n{\"execute\":\"echo\",\"arguments\":{\"text\":\"a\"}}"),
                            "{\"return\": {\"text\": \"a\"}}\r\n");
    }
    finish(session);
}

static void the_id_comes_back_as_it_was(void **state)
{
    (void)state;
    static const char *const ids[] = {"1",    "-5",         "9223372036854775807", "1.5", "\"a\"",
                                      "null", "[1, \"b\"]", "{\"a\": {}}",         "true"};
    struct pleat_qmp_session *session = open_negotiated();
    for (size_t i = 0; i < COUNT(ids); i++) {
        struct pleat_text input = {0}, expected = {0};
        pleat_text_print(&input, "{\"id\":%s,\"execute\":\"open\"}", ids[i]);
        pleat_text_print(&expected, "{\"return\": {}, \"id\": %s}\r\n", ids[i]);
        assert_string_equal(ask(session, pleat_text_string(&input)), pleat_text_string(&expected));
        pleat_text_free(&input);
        pleat_text_free(&expected);
    }
    finish(session);
}

static void several_messages_in_one_read_and_one_in_several_reads(void **state)
{
    (void)state;
    struct pleat_qmp_session *session = open_negotiated();
    assert_string_equal(ask(session, "{\"execute\":\"open\"}{\"execute\":\"open\",\"id\":2}"),
                        "{\"return\": {}}\r\n{\"return\": {}, \"id\": 2}\r\n");
    assert_string_equal(ask(session, "{\"exec"), "");
    assert_string_equal(ask(session, "ute\":\"op"), "");
    assert_string_equal(ask(session, "en\"}"), "{\"return\": {}}\r\n");
    finish(session);
}

static void events_go_to_those_who_have_negotiated(void **state)
{
    (void)state;
    json_t *event = json_pack("{s:s}", "event", "STOP");
    struct pleat_qmp_session *session = open_session();
    pleat_text_clear(&sent);
    pleat_qmp_send_event(session, event);
    assert_string_equal(pleat_text_string(&sent), "");
    ask(session, "{\"execute\":\"qmp_capabilities\"}");
    pleat_text_clear(&sent);
    pleat_qmp_send_event(session, event);
    assert_string_equal(pleat_text_string(&sent), "{\"event\": \"STOP\"}\r\n");
    json_decref(event);
    finish(session);
}

static void every_answer_is_announced_so_that_events_can_come_first(void **state)
{
    (void)state;
    struct pleat_qmp_session *session = open_negotiated();
    assert_int_equal(answers_announced, 1);
    ask(session, "{\"execute\":\"open\"} {} ]");
    assert_int_equal(answers_announced, 4);
    finish(session);
}

static void after_a_command_that_ends_the_session_nothing_is_read(void **state)
{
    (void)state;
    struct pleat_qmp_session *session = open_negotiated();
    assert_string_equal(ask(session, "{\"execute\":\"end\"}{\"execute\":\"open\"}"), "{\"return\": {}}\r\n");
    assert_string_equal(ask(session, "{\"execute\":\"open\"}"), "");
    finish(session);
}

static void once_the_machine_has_ended_nothing_is_read(void **state)
{
    (void)state;
    static bool over;
    struct pleat_qmp_session *session = open_negotiated();
    session->over = &over;
    assert_string_equal(ask(session, "{\"execute\":\"open\"}"), "{\"return\": {}}\r\n");
    over = true;
    assert_string_equal(ask(session, "{\"execute\":\"open\"}"), "");
    finish(session);
}

static void open_arguments_are_the_commands_to_check(void **state)
{
    (void)state;
    struct pleat_qmp_session *session = open_negotiated();
    assert_string_equal(ask(session, "{\"execute\":\"open\",\"arguments\":{\"x\":[1]}}"),
                        "{\"return\": {\"x\": [1]}}\r\n");
    finish(session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_is_greeted_as_qemu_does),
        cmocka_unit_test(nothing_but_negotiation_is_done_before_it),
        cmocka_unit_test(every_malformed_message_is_answered_and_the_next_one_works),
        cmocka_unit_test(what_is_no_json_is_a_parse_error),
        cmocka_unit_test(the_id_comes_back_as_it_was),
        cmocka_unit_test(several_messages_in_one_read_and_one_in_several_reads),
        cmocka_unit_test(events_go_to_those_who_have_negotiated),
        cmocka_unit_test(every_answer_is_announced_so_that_events_can_come_first),
        cmocka_unit_test(after_a_command_that_ends_the_session_nothing_is_read),
        cmocka_unit_test(once_the_machine_has_ended_nothing_is_read),
        cmocka_unit_test(open_arguments_are_the_commands_to_check),
    };
    return cmocka_run_group_tests_name("monitor_qmp", tests, NULL, NULL);
}
