/* SPDX-License-Identifier: MIT
 *
 * What HMP and QMP have in common.
 */
#include "machine/monitor_control.h"

#include <stdio.h>
#include <stdlib.h>

const char *pleat_control_status(const struct pleat_control *control)
{
    if (pleat_machine_is_running(control->machine))
        return "running";
    return control->was_continued ? "paused" : "prelaunch";
}

void pleat_control_stop(struct pleat_control *control)
{
    pleat_machine_pause(control->machine);
}

void pleat_control_continue(struct pleat_control *control)
{
    control->was_continued = true;
    pleat_machine_continue(control->machine);
}

int pleat_control_system_reset(struct pleat_control *control, struct pleat_message *message)
{
    if (!pleat_machine_is_running(control->machine))
        control->was_continued = false;
    return pleat_machine_system_reset(control->machine, message);
}

void pleat_control_quit(struct pleat_control *control)
{
    /* What it found wrong it says again to whoever stops the machine the second time. */
    struct pleat_message ignored;
    control->ended = true;
    pleat_machine_stop(control->machine, "host-qmp-quit", &ignored);
}

struct pleat_memory_device_info *pleat_control_devices(const struct pleat_control *control, unsigned *count)
{
    struct pleat_memory_device_info *devices = calloc(PLEAT_MACHINE_DEVICES_MAX, sizeof(*devices));
    *count = 0;
    if (devices)
        *count = pleat_machine_memory_devices(control->machine, devices, PLEAT_MACHINE_DEVICES_MAX);
    return devices;
}

json_t *pleat_control_property(const struct pleat_control *control, const char *path, const char *name,
                               int *error, struct pleat_message *message)
{
    struct pleat_property_value value;
    json_t *list = NULL;
    *error = pleat_machine_property_get(control->machine, path, name, &value, message);
    if (*error)
        return NULL;
    switch (value.kind) {
    case PLEAT_PROPERTY_BOOL:
        return json_boolean(value.on);
    case PLEAT_PROPERTY_NUMBER:
    case PLEAT_PROPERTY_SIZE:
        return json_integer((json_int_t)value.number);
    case PLEAT_PROPERTY_CHILD:
    case PLEAT_PROPERTY_TEXT:
    case PLEAT_PROPERTY_LINK:
        return json_string(value.text);
    case PLEAT_PROPERTY_NUMBERS:
        list = json_array();
        for (unsigned i = 0; i < value.count; i++)
            json_array_append_new(list, json_integer((json_int_t)value.numbers[i]));
        return list;
    }
    return NULL;
}

int pleat_control_set_property(const struct pleat_control *control, const char *path, const char *name,
                               const json_t *value, struct pleat_message *message)
{
    struct pleat_property_value set = {.kind = PLEAT_PROPERTY_NUMBER};
    if (json_is_integer(value)) {
        set.number = (uint64_t)json_integer_value(value);
    } else if (json_is_boolean(value)) {
        set.kind = PLEAT_PROPERTY_BOOL;
        set.on = json_is_true(value);
    } else if (json_is_string(value) && json_string_length(value) < sizeof(set.text)) {
        set.kind = PLEAT_PROPERTY_TEXT;
        snprintf(set.text, sizeof(set.text), "%s", json_string_value(value));
    } else {
        /* No property that can be set takes a list: the refusal says what this one expects. */
        set.kind = PLEAT_PROPERTY_NUMBERS;
    }
    return pleat_machine_property_set(control->machine, path, name, &set, message);
}
