/* SPDX-License-Identifier: MIT
 *
 * What QMP's commands do. Names and fields are QEMU 7.2's (qapi/machine.json, qapi/qom.json, qapi/qdev.json,
 * qapi/misc.json, qapi/run-state.json of it).
 */
#include "machine/monitor_qmp_commands.h"

#include <stdlib.h>
#include <string.h>

#include "machine/monitor_hmp.h"

/* {} or the error: what most commands return. The machine's errors say of which class they are. */
static json_t *finish(int result, struct pleat_qmp_error *error)
{
    if (!result)
        return json_object();
    error->class = result == PLEAT_E_NOT_FOUND ? PLEAT_QMP_DEVICE_NOT_FOUND : PLEAT_QMP_GENERIC_ERROR;
    return NULL;
}

static const char *text_of(const json_t *arguments, const char *name)
{
    return json_string_value(json_object_get(arguments, name));
}

/* ---- about itself ---- */

static json_t *query_version(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    (void)context;
    (void)arguments;
    (void)error;
    return pleat_qmp_version();
}

static json_t *query_commands(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    (void)context;
    (void)arguments;
    (void)error;
    json_t *list = json_array();
    for (size_t i = 0; i < pleat_qmp_command_count; i++)
        json_array_append_new(list, json_pack("{s:s}", "name", pleat_qmp_commands[i].name));
    json_array_append_new(list, json_pack("{s:s}", "name", "qmp_capabilities"));
    return list;
}

static json_t *query_name(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    (void)arguments;
    (void)error;
    const struct pleat_control *control = context;
    const char *name = pleat_machine_config(control->machine)->name;
    return name[0] ? json_pack("{s:s}", "name", name) : json_object();
}

static json_t *query_status(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    (void)arguments;
    (void)error;
    const struct pleat_control *control = context;
    return json_pack("{s:s,s:b,s:b}", "status", pleat_control_status(control), "singlestep", 0, "running",
                     pleat_machine_is_running(control->machine));
}

/* ---- memory ---- */

static json_t *query_memory_devices(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    (void)arguments;
    (void)error;
    unsigned count;
    struct pleat_memory_device_info *devices = pleat_control_devices(context, &count);
    json_t *list = json_array();
    for (unsigned i = 0; i < count; i++) {
        const struct pleat_memory_device_info *device = &devices[i];
        json_t *data =
            json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I}", "memdev", device->memdev, "memaddr",
                      (json_int_t)device->memaddr, "block-size", (json_int_t)device->block_bytes, "size",
                      (json_int_t)device->size_bytes, "node", (json_int_t)device->node, "max-size",
                      (json_int_t)device->max_bytes, "requested-size", (json_int_t)device->requested_bytes);
        if (device->id[0])
            json_object_set_new(data, "id", json_string(device->id));
        json_array_append_new(list, json_pack("{s:s,s:o}", "type", "virtio-mem", "data", data));
    }
    free(devices);
    return list;
}

static json_t *query_memory_size_summary(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    (void)arguments;
    (void)error;
    const struct pleat_control *control = context;
    struct pleat_memory_size_summary summary;
    pleat_machine_memory_size_summary(control->machine, &summary);
    return json_pack("{s:I,s:I}", "base-memory", (json_int_t)summary.base_bytes, "plugged-memory",
                     (json_int_t)summary.plugged_bytes);
}

static json_t *refuse_balloon(int result, struct pleat_qmp_error *error)
{
    error->class = result == PLEAT_E_NOT_FOUND ? PLEAT_QMP_DEVICE_NOT_ACTIVE : PLEAT_QMP_GENERIC_ERROR;
    return NULL;
}

static json_t *balloon(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    const struct pleat_control *control = context;
    const json_int_t value = json_integer_value(json_object_get(arguments, "value"));
    if (value <= 0)
        return pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR, "Parameter 'target' expects a size");
    const int result = pleat_machine_balloon(control->machine, (uint64_t)value, &error->message);
    return result ? refuse_balloon(result, error) : json_object();
}

static json_t *query_balloon(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    (void)arguments;
    const struct pleat_control *control = context;
    struct pleat_balloon_info info;
    const int result = pleat_machine_balloon_info(control->machine, &info, &error->message);
    return result ? refuse_balloon(result, error)
                  : json_pack("{s:I}", "actual", (json_int_t)info.actual_bytes);
}

/* ---- objects and properties ---- */

static bool append_property(void *context, const struct pleat_property *property)
{
    json_array_append_new(context, json_pack("{s:s,s:s}", "name", property->name, "type", property->type));
    return true;
}

static json_t *qom_list(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    const struct pleat_control *control = context;
    json_t *list = json_array();
    int result = pleat_machine_properties(control->machine, text_of(arguments, "path"), append_property, list,
                                          &error->message);
    if (!result)
        return list;
    json_decref(list);
    return finish(result, error);
}

static json_t *qom_get(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    int result;
    json_t *value = pleat_control_property(context, text_of(arguments, "path"),
                                           text_of(arguments, "property"), &result, &error->message);
    return value || !result ? value : finish(result, error);
}

static json_t *qom_set(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    return finish(pleat_control_set_property(context, text_of(arguments, "path"),
                                             text_of(arguments, "property"),
                                             json_object_get(arguments, "value"), &error->message),
                  error);
}

/* The types that object-add and device_add know, with what they are made from. */
static const struct {
    const char *name, *parent;
} types[] = {
    {"memory-backend-file", "memory-backend"},
    {"memory-backend-memfd", "memory-backend"},
    {"memory-backend-ram", "memory-backend"},
    {"virtio-mem-pci", "device"},
};

static json_t *qom_list_types(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    (void)context;
    (void)error;
    const char *wanted = text_of(arguments, "implements");
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (!wanted || !strcmp(wanted, types[i].name) || !strcmp(wanted, types[i].parent) ||
            !strcmp(wanted, "object"))
            json_array_append_new(list,
                                  json_pack("{s:s,s:s}", "name", types[i].name, "parent", types[i].parent));
    }
    return list;
}

/* Adds `,name=value` with commas doubled, as the key=value form wants it. */
static void add_option(struct pleat_text *text, const char *name, const char *value)
{
    pleat_text_print(text, ",%s=", name);
    for (; *value; value++)
        pleat_text_add(text, *value == ',' ? ",," : value, *value == ',' ? 2 : 1);
}

/* Adds a member of arguments in the key=value form; false for one that has no such form. */
static bool add_member(struct pleat_text *text, const char *name, const json_t *value)
{
    char number[32];
    if (json_is_string(value)) {
        add_option(text, name, json_string_value(value));
    } else if (json_is_integer(value)) {
        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
        add_option(text, name, number);
    } else if (json_is_boolean(value)) {
        add_option(text, name, json_is_true(value) ? "on" : "off");
    } else if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            if (!json_is_integer(json_array_get(value, i)) ||
                !add_member(text, name, json_array_get(value, i)))
                return false;
        }
    } else {
        return false;
    }
    return true;
}

/* The members of ARGUMENTS in key=value form, the one called FIRST in front without its name. */
static bool key_value_form(json_t *arguments, const char *first, struct pleat_text *text,
                           struct pleat_qmp_error *error)
{
    const char *name;
    json_t *value;
    char quoted[PLEAT_QUOTE_BYTES];
    pleat_text_print(text, "%s", text_of(arguments, first));
    if (strpbrk(pleat_text_string(text), ",=")) {
        pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR, "Parameter '%s' does not accept value %s", first,
                         pleat_quote(quoted, pleat_text_string(text)));
        return false;
    }
    json_object_foreach(arguments, name, value)
    {
        if (!strcmp(name, first))
            continue;
        if (!*name || strpbrk(name, ",=")) {
            pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR, "Parameter %s is unexpected",
                             pleat_quote(quoted, name));
            return false;
        }
        if (!add_member(text, name, value)) {
            pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR, "Invalid parameter type for %s",
                             pleat_quote(quoted, name));
            return false;
        }
    }
    return true;
}

/* Members of memory backends that QMP has as integers: a string is refused there, "1G" too. */
static bool check_integers(json_t *arguments, struct pleat_qmp_error *error)
{
    static const char *const integers[] = {"size", "align", "hugetlbsize", "prealloc-threads"};
    for (size_t i = 0; i < sizeof(integers) / sizeof(integers[0]); i++) {
        const json_t *value = json_object_get(arguments, integers[i]);
        if (value && !json_is_integer(value)) {
            pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR, "Parameter '%s' expects uint64", integers[i]);
            return false;
        }
    }
    return true;
}

/* DeviceNotFound is for devices: QEMU has GenericError for an object, or its file, that isn't there. */
static json_t *finish_object(int result, struct pleat_qmp_error *error)
{
    return finish(result == PLEAT_E_NOT_FOUND ? PLEAT_E_INVALID : result, error);
}

static json_t *object_add(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    const struct pleat_control *control = context;
    struct pleat_text text = {0};
    json_t *value = NULL;
    if (check_integers(arguments, error) && key_value_form(arguments, "qom-type", &text, error)) {
        int result = pleat_machine_object_add(control->machine, pleat_text_string(&text), &error->message);
        value = finish_object(result, error);
    }
    pleat_text_free(&text);
    return value;
}

static json_t *object_del(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    const struct pleat_control *control = context;
    int result = pleat_machine_object_delete(control->machine, text_of(arguments, "id"), &error->message);
    return finish_object(result, error);
}

static json_t *device_add(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    const struct pleat_control *control = context;
    struct pleat_text text = {0};
    json_t *value = NULL;
    if (key_value_form(arguments, "driver", &text, error)) {
        int result = pleat_machine_device_add(control->machine, pleat_text_string(&text), &error->message);
        value = finish(result, error);
    }
    pleat_text_free(&text);
    return value;
}

static json_t *device_del(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    const struct pleat_control *control = context;
    return finish(pleat_machine_device_delete(control->machine, text_of(arguments, "id"), &error->message),
                  error);
}

/* ---- the machine's life ---- */

static json_t *stop(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    (void)arguments;
    (void)error;
    pleat_control_stop(context);
    return json_object();
}

static json_t *cont(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    (void)arguments;
    (void)error;
    pleat_control_continue(context);
    return json_object();
}

static json_t *system_reset(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    (void)arguments;
    return finish(pleat_control_system_reset(context, &error->message), error);
}

static json_t *quit(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    (void)arguments;
    (void)error;
    pleat_control_quit(context);
    return json_object();
}

/* ---- the other language ---- */

static json_t *human_monitor_command(void *context, json_t *arguments, struct pleat_qmp_error *error)
{
    const struct pleat_control *control = context;
    struct pleat_hmp_output output = {.colour = false};
    struct pleat_text lines = {0};
    struct pleat_message ignored;
    /* No command here asks a CPU; one that isn't there is refused all the same. */
    const json_t *cpu = json_object_get(arguments, "cpu-index");
    if (cpu && (uint64_t)json_integer_value(cpu) >= pleat_machine_config(control->machine)->cpus)
        return pleat_qmp_refuse(error, PLEAT_QMP_GENERIC_ERROR, "Parameter 'cpu-index' expects a CPU number");
    pleat_hmp_run(context, text_of(arguments, "command-line"), &output, &ignored);
    /* QEMU's monitor ends its lines so, here too. */
    for (const char *at = pleat_text_string(&output.text); *at; at++)
        pleat_text_add(&lines, *at == '\n' ? "\r\n" : at, *at == '\n' ? 2 : 1);
    json_t *value = lines.failed || output.text.failed ? NULL : json_string(pleat_text_string(&lines));
    pleat_text_free(&output.text);
    pleat_text_free(&lines);
    return value;
}

const struct pleat_qmp_command pleat_qmp_commands[] = {
    {.name = "balloon", .run = balloon, .arguments = {{"value", PLEAT_QMP_INTEGER, false}}},
    {.name = "cont", .run = cont},
    {.name = "device_add",
     .run = device_add,
     .arguments = {{"driver", PLEAT_QMP_STRING, false}, {"id", PLEAT_QMP_STRING, true}},
     .open_arguments = true},
    {.name = "device_del", .run = device_del, .arguments = {{"id", PLEAT_QMP_STRING, false}}},
    {.name = "human-monitor-command",
     .run = human_monitor_command,
     .arguments = {{"command-line", PLEAT_QMP_STRING, false}, {"cpu-index", PLEAT_QMP_INTEGER, true}}},
    {.name = "object-add",
     .run = object_add,
     .arguments = {{"qom-type", PLEAT_QMP_STRING, false}, {"id", PLEAT_QMP_STRING, false}},
     .open_arguments = true},
    {.name = "object-del", .run = object_del, .arguments = {{"id", PLEAT_QMP_STRING, false}}},
    {.name = "qom-get",
     .run = qom_get,
     .arguments = {{"path", PLEAT_QMP_STRING, false}, {"property", PLEAT_QMP_STRING, false}}},
    {.name = "qom-list", .run = qom_list, .arguments = {{"path", PLEAT_QMP_STRING, false}}},
    {.name = "qom-list-types",
     .run = qom_list_types,
     .arguments = {{"implements", PLEAT_QMP_STRING, true}, {"abstract", PLEAT_QMP_BOOLEAN, true}}},
    {.name = "qom-set",
     .run = qom_set,
     .arguments = {{"path", PLEAT_QMP_STRING, false},
                   {"property", PLEAT_QMP_STRING, false},
                   {"value", PLEAT_QMP_ANY, false}}},
    {.name = "query-balloon", .run = query_balloon},
    {.name = "query-commands", .run = query_commands},
    {.name = "query-memory-devices", .run = query_memory_devices},
    {.name = "query-memory-size-summary", .run = query_memory_size_summary},
    {.name = "query-name", .run = query_name},
    {.name = "query-status", .run = query_status},
    {.name = "query-version", .run = query_version},
    {.name = "quit", .run = quit},
    {.name = "stop", .run = stop},
    {.name = "system_reset", .run = system_reset},
};
const size_t pleat_qmp_command_count = sizeof(pleat_qmp_commands) / sizeof(pleat_qmp_commands[0]);
