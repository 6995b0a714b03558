/* SPDX-License-Identifier: MIT
 *
 * QMP's form: greeting, negotiation, the check of a command and of its arguments, and the answer.
 */
#include "machine/monitor_qmp.h"

#include <pleat/version.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *pleat_qmp_version(void)
{
    return json_pack("{s:{s:i,s:i,s:i},s:s}", "qemu", "micro", 0, "minor", 2, "major", 7, "package",
                     "pleat " PLEAT_VERSION);
}

json_t *pleat_qmp_refuse(struct pleat_qmp_error *error, enum pleat_qmp_error_class class, const char *format,
                         ...)
{
    va_list arguments;
    error->class = class;
    va_start(arguments, format);
    vsnprintf(error->message.text, sizeof(error->message.text), format, arguments);
    va_end(arguments);
    return NULL;
}

/* ---- sending ---- */

static void send_json(struct pleat_qmp_session *session, const json_t *message)
{
    struct pleat_text line = {0};
    char *dumped = message ? json_dumps(message, JSON_ENSURE_ASCII) : NULL;
    if (dumped) {
        pleat_text_print(&line, "%s\r\n", dumped);
        if (!line.failed)
            session->send(session->send_context, line.bytes, line.length);
    }
    free(dumped);
    pleat_text_free(&line);
}

static const char *class_name(enum pleat_qmp_error_class class)
{
    switch (class) {
    case PLEAT_QMP_COMMAND_NOT_FOUND:
        return "CommandNotFound";
    case PLEAT_QMP_DEVICE_NOT_FOUND:
        return "DeviceNotFound";
    case PLEAT_QMP_DEVICE_NOT_ACTIVE:
        return "DeviceNotActive";
    case PLEAT_QMP_GENERIC_ERROR:
        break;
    }
    return "GenericError";
}

/* Takes over VALUE; ID may be NULL. */
static void answer(struct pleat_qmp_session *session, json_t *value, const struct pleat_qmp_error *error,
                   json_t *id)
{
    json_t *message = json_object();
    if (value) {
        json_object_set_new(message, "return", value);
    } else {
        /* A message may have been cut in the middle of a character: jansson takes no such string. */
        json_t *description = json_string(error->message.text);
        if (!description)
            description = json_string("the input isn't UTF-8");
        json_object_set_new(message, "error",
                            json_pack("{s:s,s:o}", "class", class_name(error->class), "desc", description));
    }
    if (id)
        json_object_set(message, "id", id);
    if (session->before_answer)
        session->before_answer(session->before_answer_context);
    send_json(session, message);
    json_decref(message);
}

/* ---- checking ---- */

static const char *type_name(enum pleat_qmp_type type)
{
    switch (type) {
    case PLEAT_QMP_STRING:
        return "string";
    case PLEAT_QMP_INTEGER:
        return "integer";
    case PLEAT_QMP_BOOLEAN:
        return "boolean";
    case PLEAT_QMP_ANY:
        break;
    }
    return "any";
}

static bool has_type(const json_t *value, enum pleat_qmp_type type)
{
    switch (type) {
    case PLEAT_QMP_STRING:
        return json_is_string(value);
    case PLEAT_QMP_INTEGER:
        return json_is_integer(value);
    case PLEAT_QMP_BOOLEAN:
        return json_is_boolean(value);
    case PLEAT_QMP_ANY:
        break;
    }
    return true;
}

static const struct pleat_qmp_argument *find_argument(const struct pleat_qmp_command *command,
                                                      const char *name)
{
    for (size_t i = 0; i < PLEAT_QMP_ARGUMENTS_MAX && command->arguments[i].name; i++) {
        if (!strcmp(command->arguments[i].name, name))
            return &command->arguments[i];
    }
    return NULL;
}

static bool check_arguments(const struct pleat_qmp_command *command, json_t *arguments,
                            struct pleat_qmp_error *error)
{
    const char *name;
    json_t *value;
    char quoted[PLEAT_QUOTE_BYTES];
    for (size_t i = 0; i < PLEAT_QMP_ARGUMENTS_MAX && command->arguments[i].name; i++) {
        const struct pleat_qmp_argument *argument = &command->arguments[i];
        value = json_object_get(arguments, argument->name);
        if (!value && !argument->optional)
            pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR, "Parameter '%s' is missing", argument->name);
        else if (value && !has_type(value, argument->type))
            pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR, "Invalid parameter type for '%s', expected: %s",
                             argument->name, type_name(argument->type));
        else
            continue;
        return false;
    }
    json_object_foreach(arguments, name, value)
    {
        if (!command->open_arguments && !find_argument(command, name)) {
            pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR, "Parameter %s is unexpected",
                             pleat_quote(quoted, name));
            return false;
        }
    }
    return true;
}

/* What the negotiation asks to enable: Pleat offers nothing, so nothing can be enabled. */
static json_t *negotiate(struct pleat_qmp_session *session, json_t *arguments, struct pleat_qmp_error *error)
{
    static const struct pleat_qmp_command shape = {.arguments = {{"enable", PLEAT_QMP_ANY, true}}};
    char quoted[PLEAT_QUOTE_BYTES];
    if (session->negotiated)
        return pleat_qmp_refuse(error, PLEAT_QMP_COMMAND_NOT_FOUND,
                                "Capabilities negotiation is already complete, command ignored");
    if (!check_arguments(&shape, arguments, error))
        return NULL;
    json_t *enable = json_object_get(arguments, "enable");
    if (enable && !json_is_array(enable))
        return pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR,
                                "Invalid parameter type for 'enable', expected: array");
    if (json_array_size(enable)) {
        const char *wanted = json_string_value(json_array_get(enable, 0));
        /* QEMU's words on a monitor that doesn't offer what others of it do. */
        if (wanted && !strcmp(wanted, "oob"))
            return pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR, "Capability oob not available");
        return pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR, "Parameter 'enable' does not accept value %s",
                                pleat_quote(quoted, wanted ? wanted : "null"));
    }
    session->negotiated = true;
    return json_object();
}

/* Checks the members of a message; returns the command's name, or NULL. */
static const char *check_message(json_t *message, struct pleat_qmp_error *error)
{
    const char *name;
    json_t *value;
    char quoted[PLEAT_QUOTE_BYTES];
    if (!json_is_object(message)) {
        pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR, "QMP input must be a JSON object");
        return NULL;
    }
    json_object_foreach(message, name, value)
    {
        if (!strcmp(name, "execute") && !json_is_string(value))
            pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR, "QMP input member 'execute' must be a string");
        else if (!strcmp(name, "arguments") && !json_is_object(value))
            pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR,
                             "QMP input member 'arguments' must be an object");
        else if (strcmp(name, "execute") && strcmp(name, "arguments") && strcmp(name, "id"))
            pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR, "QMP input member %s is unexpected",
                             pleat_quote(quoted, name));
        else
            continue;
        return NULL;
    }
    const char *execute = json_string_value(json_object_get(message, "execute"));
    if (!execute)
        pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR, "QMP input lacks member 'execute'");
    return execute;
}

/* ---- running ---- */

static json_t *dispatch(struct pleat_qmp_session *session, const char *name, json_t *arguments,
                        struct pleat_qmp_error *error)
{
    char quoted[PLEAT_QUOTE_BYTES];
    if (!strcmp(name, "qmp_capabilities"))
        return negotiate(session, arguments, error);
    if (!session->negotiated)
        return pleat_qmp_refuse(error, PLEAT_QMP_COMMAND_NOT_FOUND,
                                "Expecting capabilities negotiation with 'qmp_capabilities'");
    for (size_t i = 0; i < session->command_count; i++) {
        const struct pleat_qmp_command *command = &session->commands[i];
        if (strcmp(command->name, name))
            continue;
        if (!check_arguments(command, arguments, error))
            return NULL;
        json_t *value = command->run(session->context, arguments, error);
        if (!value && !error->message.text[0])
            pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR, "out of memory");
        return value;
    }
    /* Without the quotes that pleat_quote() puts round it: QEMU has none here. */
    pleat_quote(quoted, name);
    return pleat_qmp_refuse(error, PLEAT_QMP_COMMAND_NOT_FOUND, "The command %.*s has not been found",
                            (int)strlen(quoted) - 2, quoted + 1);
}

static bool goes_on(const struct pleat_qmp_session *session)
{
    return !session->ended && !(session->over && *session->over);
}

static bool take_message(void *context, const char *rubbish, const char *text, size_t length)
{
    struct pleat_qmp_session *session = context;
    struct pleat_qmp_error error = {0};
    json_error_t where;
    if (rubbish) {
        pleat_qmp_refuse(&error, PLEAT_QMP_GENERIC_ERROR, "%s", rubbish);
        answer(session, NULL, &error, NULL);
        return goes_on(session);
    }
    json_t *message = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
    if (!message) {
        pleat_qmp_refuse(&error, PLEAT_QMP_GENERIC_ERROR, "JSON parse error, %s", where.text);
        answer(session, NULL, &error, NULL);
        return goes_on(session);
    }
    json_t *value = NULL;
    json_t *id = json_is_object(message) ? json_object_get(message, "id") : NULL;
    const char *name = check_message(message, &error);
    if (name) {
        json_t *arguments = json_object_get(message, "arguments");
        arguments = arguments ? json_incref(arguments) : json_object();
        value = dispatch(session, name, arguments, &error);
        json_decref(arguments);
    }
    answer(session, value, &error, id);
    json_decref(message);
    return goes_on(session);
}

void pleat_qmp_open(struct pleat_qmp_session *session)
{
    json_t *greeting = json_pack("{s:{s:o,s:[]}}", "QMP", "version", pleat_qmp_version(), "capabilities");
    send_json(session, greeting);
    json_decref(greeting);
}

void pleat_qmp_input(struct pleat_qmp_session *session, const char *bytes, size_t length)
{
    if (goes_on(session))
        pleat_json_split(&session->splitter, bytes, length, take_message, session);
}

void pleat_qmp_send_event(struct pleat_qmp_session *session, json_t *event)
{
    if (session->negotiated)
        send_json(session, event);
}

void pleat_qmp_close(struct pleat_qmp_session *session)
{
    session->ended = true;
    pleat_json_splitter_free(&session->splitter);
}
