/* SPDX-License-Identifier: MIT
 *
 * Proves that scenarios are read, checked before they run, and end where an expectation fails. What they
 * drive is a few lines of a machine that grows a device by one byte each time that it is waited for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "machine/scenario.h"

struct toy {
    uint64_t bytes, target, now_ns;
    char printed[512];
    unsigned commands;
};

static int command(void *context, const char *line, char *output, size_t output_bytes,
                   struct pleat_message *message)
{
    struct toy *toy = context;

    toy->commands++;
    if (sscanf(line, "qom-set vm0 requested-size %lu", &toy->target) == 1) {
        snprintf(output, output_bytes, "set to %lu", toy->target);
        return PLEAT_OK;
    }
    return pleat_message_set(message, PLEAT_E_NOT_FOUND, "unknown command: '%s'", line);
}

static int device_bytes(void *context, const char *device, uint64_t *bytes, struct pleat_message *message)
{
    struct toy *toy = context;

    if (strcmp(device, "vm0"))
        return pleat_message_set(message, PLEAT_E_NOT_FOUND, "Device '%s' not found", device);
    *bytes = toy->bytes;
    return PLEAT_OK;
}

static bool settled(void *context)
{
    struct toy *toy = context;

    return toy->bytes == toy->target;
}

static int run_until(void *context, bool (*condition)(void *context), void *condition_context,
                     uint64_t timeout_ns)
{
    struct toy *toy = context;
    const uint64_t end = toy->now_ns + timeout_ns;

    while (!condition || !condition(condition_context)) {
        if (toy->now_ns >= end)
            return PLEAT_E_TIMEOUT;
        toy->now_ns += 1000000000;
        if (toy->bytes != toy->target)
            toy->bytes += toy->bytes < toy->target ? 1 : -1;
    }
    return PLEAT_OK;
}

static void print(void *context, const char *line)
{
    struct toy *toy = context;
    const size_t length = strlen(toy->printed);

    snprintf(toy->printed + length, sizeof toy->printed - length, "%s\n", line);
}

/* The toy has no `info`. */
static bool knows(void *context, const char *line)
{
    (void)context;
    return strncmp(line, "info", 4) != 0;
}

static const struct pleat_scenario_ops toy_ops = {.command = command,
                                                  .knows = knows,
                                                  .device_bytes = device_bytes,
                                                  .settled = settled,
                                                  .run_until = run_until,
                                                  .print = print};

static int run(struct toy *toy, const char *text, struct pleat_message *message)
{
    struct pleat_scenario scenario;

    message->text[0] = '\0';
    if (pleat_scenario_parse(&scenario, "toy", text, strlen(text), message))
        fail_msg("%s", message->text);
    int error = pleat_scenario_run(&scenario, &toy_ops, toy, message);
    pleat_scenario_free(&scenario);
    return error;
}

static void commands_waits_and_expectations_run_in_order(void **state)
{
    (void)state;
    struct toy toy = {0};
    struct pleat_message message;

    int error = run(&toy,
                    "# a comment\n"
                    "\n"
                    "  qom-set vm0 requested-size 5  \r\n"
                    "expect set to 5\n"
                    "expect-not set to 6\n"
                    "wait-until >=3 vm0\n"
                    "wait-until 5 vm0 10s\n"
                    "wait 2s\n"
                    "echo   now it shrinks\n"
                    "qom-set vm0 requested-size 1\n"
                    "wait-until <=2 vm0 5s\n"
                    "wait-settled 5s\n"
                    "fly\n"
                    "expect-error unknown command\n",
                    &message);
    if (error)
        fail_msg("%s", message.text);
    assert_int_equal(toy.bytes, 1);
    assert_int_equal(toy.now_ns, 11000000000);
    assert_string_equal(toy.printed, "(pleat) qom-set vm0 requested-size 5\nnow it shrinks\n"
                                     "(pleat) qom-set vm0 requested-size 1\n(pleat) fly\n");
}

static void what_fails_is_named_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *because;
        int error;
    } cases[] = {
        {"\nqom-set vm0 requested-size 5\nexpect set to 6", "toy:3: expected 'set to 6', found 'set to 5'",
         PLEAT_E_PROTOCOL},
        {"qom-set vm0 requested-size 5\nexpect-not set", "toy:2: expected no 'set', found 'set to 5'",
         PLEAT_E_PROTOCOL},
        {"qom-set vm0 requested-size 9\nwait-until 9 vm0 3s",
         "toy:2: expected vm0 to have 9 within 3s, found 3", PLEAT_E_TIMEOUT},
        {"qom-set vm0 requested-size 9\nwait-settled 3s", "toy:2: expected all drivers", PLEAT_E_TIMEOUT},
        {"wait-until 9 vm7", "toy:1: Device 'vm7' not found", PLEAT_E_PROTOCOL},
        {"fly away\necho never", "toy:1: unknown command: 'fly away'", PLEAT_E_PROTOCOL},
        {"fly away\nexpect-error higher", "toy:2: expected 'higher', found 'unknown", PLEAT_E_PROTOCOL},
        {"qom-set vm0 requested-size 9\nexpect-error", "toy:2: expected the last command to be refused",
         PLEAT_E_PROTOCOL},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct toy toy = {0};
        struct pleat_message message;
        assert_int_equal(run(&toy, cases[i].text, &message), cases[i].error);
        if (!strstr(message.text, cases[i].because))
            fail_msg("found '%s', expected '%s'", message.text, cases[i].because);
        assert_null(strstr(toy.printed, "never"));
    }
}

static void a_scenario_with_a_mistake_does_not_begin(void **state)
{
    (void)state;
    static const struct {
        const char *text, *because;
    } cases[] = {
        {"x\nwait-until", "bad:2: expected wait-until SIZE DEVICE [TIMEOUT]"},
        {"wait-until 1G", "bad:1: expected wait-until SIZE DEVICE"},
        {"wait-until lots vm0", "bad:1: expects a size"},
        {"wait-until 1G vm0 soon", "bad:1: expects a time"},
        {"wait-until 1G vm0 1s 2s", "bad:1: expected nothing more, found '2s'"},
        {"wait", "bad:1: expected a time"},
        {"wait-settled never", "bad:1: expects a time"},
        {"expect", "bad:1: expected a text after expect"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pleat_scenario scenario;
        struct pleat_message message;
        assert_int_equal(
            pleat_scenario_parse(&scenario, "bad", cases[i].text, strlen(cases[i].text), &message),
            PLEAT_E_INVALID);
        if (!strstr(message.text, cases[i].because))
            fail_msg("found '%s', expected '%s'", message.text, cases[i].because);
        assert_int_equal(scenario.count, 0);
        assert_null(scenario.lines);
    }
    struct pleat_scenario scenario;
    assert_int_equal(pleat_scenario_parse(&scenario, "bad", "a\0b", 3, NULL), PLEAT_E_INVALID);
}

static void a_command_that_is_not_known_is_passed_over_with_its_expectations(void **state)
{
    (void)state;
    struct toy toy = {0};
    struct pleat_message message;

    assert_int_equal(run(&toy,
                         "info blocks\n"
                         "expect Memory blocks\n"
                         "expect-not anything\n"
                         "expect-error anything\n"
                         "qom-set vm0 requested-size 5\n"
                         "expect set to 5\n",
                         &message),
                     PLEAT_OK);
    assert_int_equal(toy.commands, 1);
    /* What follows a command that is known counts again. */
    assert_int_equal(run(&toy, "info blocks\nqom-set vm0 requested-size 5\nexpect set to 6\n", &message),
                     PLEAT_E_PROTOCOL);
}

static void a_file_is_loaded_and_a_missing_one_is_named(void **state)
{
    (void)state;
    char path[] = "/tmp/pleat-scenario-XXXXXX";
    const int fd = mkstemp(path);
    struct pleat_scenario scenario;
    struct pleat_message message;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "echo hello\n", 11), 11);
    close(fd);
    assert_int_equal(pleat_scenario_load(&scenario, path, &message), PLEAT_OK);
    assert_int_equal(scenario.count, 1);
    pleat_scenario_free(&scenario);
    unlink(path);
    assert_int_equal(pleat_scenario_load(&scenario, path, &message), PLEAT_E_NOT_FOUND);
    assert_non_null(strstr(message.text, path));
    assert_int_equal(scenario.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_waits_and_expectations_run_in_order),
        cmocka_unit_test(what_fails_is_named_with_its_line),
        cmocka_unit_test(a_scenario_with_a_mistake_does_not_begin),
        cmocka_unit_test(a_command_that_is_not_known_is_passed_over_with_its_expectations),
        cmocka_unit_test(a_file_is_loaded_and_a_missing_one_is_named),
    };
    return cmocka_run_group_tests_name("machine scenario", tests, NULL, NULL);
}
