/* SPDX-License-Identifier: MIT
 *
 * A QMP client that says anything, in pieces of any length: every answer is one line of JSON, every whole
 * message is answered once, and after a new line the session works as before.
 *
 * The first byte says how long the pieces are, the second whether the session has been negotiated.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "fuzz/input.h"
#include "machine/monitor_qmp.h"

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

static const struct pleat_qmp_command commands[] = {
    {.name = "device_add",
     .run = run_echo,
     .arguments = {{"driver", PLEAT_QMP_STRING, false}},
     .open_arguments = true},
    {.name = "device_del", .run = run_refusal, .arguments = {{"id", PLEAT_QMP_STRING, false}}},
    {.name = "qom-set",
     .run = run_echo,
     .arguments = {{"path", PLEAT_QMP_STRING, false},
                   {"property", PLEAT_QMP_STRING, false},
                   {"value", PLEAT_QMP_ANY, false}}},
    {.name = "human-monitor-command",
     .run = run_echo,
     .arguments = {{"command-line", PLEAT_QMP_STRING, false}, {"cpu-index", PLEAT_QMP_INTEGER, true}}},
    {.name = "query-status", .run = run_echo},
};

/* What was sent last, and how many lines. */
struct heard {
    json_t *last;
    size_t lines;
};

static void check_line(void *context, const char *line, size_t length)
{
    struct heard *heard = context;
    demand(length > 2 && !memcmp(line + length - 2, "\r\n", 2));
    demand(!memchr(line, '\n', length - 1));
    json_decref(heard->last);
    heard->last = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
    demand(json_is_object(heard->last));
    heard->lines++;
}

static void say(struct pleat_qmp_session *session, const char *text)
{
    pleat_qmp_input(session, text, strlen(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct heard heard = {0};
    struct pleat_qmp_session session = {
        .commands = commands,
        .command_count = sizeof(commands) / sizeof(commands[0]),
        .send = check_line,
        .send_context = &heard,
    };
    pleat_qmp_open(&session);
    demand(json_object_get(heard.last, "QMP") != NULL);
    if (data[1] & 1)
        say(&session, "{\"execute\":\"qmp_capabilities\"}");
    size_t piece = data[0] ? data[0] : size;
    for (size_t at = 2; at < size; at += piece)
        pleat_qmp_input(&session, (const char *)data + at, size - at < piece ? size - at : piece);

    /* 0xff ends whatever was begun; a new line ends the throwing away of what was wrong. */
    say(&session, "\xff\n\xff\n");
    say(&session, "{\"execute\":\"qmp_capabilities\"}");
    size_t before = heard.lines;
    say(&session, "{\"execute\":\"query-status\",\"id\":\"last\"}");
    demand(heard.lines == before + 1 && session.negotiated);
    demand(json_object_get(heard.last, "return") != NULL);
    demand(!strcmp(json_string_value(json_object_get(heard.last, "id")), "last"));
    json_decref(heard.last);
    pleat_qmp_close(&session);
    return 0;
}
