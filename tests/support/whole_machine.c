/* SPDX-License-Identifier: MIT
 *
 * A whole machine for a test. See whole_machine.h.
 */
#include "tests/support/whole_machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

int whole_machine_parse(const char *line, struct pleat_machine_config *config, struct pleat_message *message)
{
    enum { WORDS_MAX = 64 };
    char *copy = strdup(line), *argv[WORDS_MAX];
    int argc = 0;

    assert_non_null(copy);
    message->text[0] = '\0';
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        assert_true(argc < WORDS_MAX);
        argv[argc++] = word;
    }
    const int error = pleat_machine_config_parse(argc, argv, config, message);
    free(copy);
    return error;
}

struct pleat_machine *whole_machine_make(const char *line, const struct pleat_machine_listener *listener)
{
    static struct pleat_machine_config config;
    struct pleat_machine *machine = NULL;
    struct pleat_message message;

    if (whole_machine_parse(line, &config, &message) || pleat_machine_create(&config, &machine, &message))
        fail_msg("%s: %s", line, message.text);
    if (listener)
        pleat_machine_listen(machine, listener);
    return machine;
}

struct pleat_machine *whole_machine_start(const char *line, const struct pleat_machine_listener *listener)
{
    struct pleat_machine *machine = whole_machine_make(line, listener);
    struct pleat_message message = {{0}};

    if (pleat_machine_start(machine, &message))
        fail_msg("%s: %s", line, message.text);
    return machine;
}

bool whole_machine_is_settled(void *machine)
{
    return pleat_machine_is_settled(machine);
}

void whole_machine_end(struct pleat_machine *machine)
{
    struct pleat_message message = {{0}};

    if (pleat_machine_stop(machine, "host-qmp-quit", &message))
        fail_msg("%s", message.text);
    pleat_machine_destroy(machine);
}
