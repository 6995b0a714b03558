/* SPDX-License-Identifier: MIT
 *
 * Events in QMP's form, and the rate of those that a guest can cause.
 */
#include "machine/monitor_events.h"

#include <stdio.h>
#include <string.h>

static json_t *event_data(const struct pleat_machine_event *event)
{
    switch (event->kind) {
    case PLEAT_EVENT_MEMORY_DEVICE_SIZE_CHANGE:
        /* `id` is there only for a device that has one. */
        return event->id[0]
                   ? json_pack("{s:s,s:I,s:s}", "id", event->id, "size", (json_int_t)event->bytes, "qom-path",
                               event->path)
                   : json_pack("{s:I,s:s}", "size", (json_int_t)event->bytes, "qom-path", event->path);
    case PLEAT_EVENT_DEVICE_DELETED:
    case PLEAT_EVENT_DEVICE_UNPLUG_GUEST_ERROR:
        return event->id[0] ? json_pack("{s:s,s:s}", "device", event->id, "path", event->path)
                            : json_pack("{s:s}", "path", event->path);
    case PLEAT_EVENT_RESET:
    case PLEAT_EVENT_SHUTDOWN:
        return json_pack("{s:b,s:s}", "guest", !strncmp(event->reason, "guest-", 6), "reason", event->reason);
    case PLEAT_EVENT_BALLOON_CHANGE:
        return json_pack("{s:I}", "actual", (json_int_t)event->bytes);
    case PLEAT_EVENT_GUEST_PANICKED:
        return json_pack("{s:s}", "action", "run");
    default:
        return NULL;
    }
}

json_t *pleat_event_json(const struct pleat_machine_event *event, uint64_t realtime_us)
{
    if (event->kind == PLEAT_EVENT_DRIVER)
        return NULL;
    json_t *result = json_pack(
        "{s:{s:I,s:I},s:s}", "timestamp", "seconds", (json_int_t)(realtime_us / 1000000), "microseconds",
        (json_int_t)(realtime_us % 1000000), "event", pleat_machine_event_name(event->kind));
    json_t *data = event_data(event);
    if (data)
        json_object_set_new(result, "data", data);
    return result;
}

/* What the event's rate is limited by, a device's path or the event's name; else NULL. */
static const char *limited_path(const json_t *event)
{
    const char *name = json_string_value(json_object_get(event, "event"));
    if (name && !strcmp(name, "BALLOON_CHANGE"))
        return name;
    if (!name || strcmp(name, "MEMORY_DEVICE_SIZE_CHANGE"))
        return NULL;
    return json_string_value(json_object_get(json_object_get(event, "data"), "qom-path"));
}

static struct pleat_event_hold *find_hold(struct pleat_events *events, const char *path)
{
    for (unsigned i = 0; i < events->holds; i++) {
        if (!strcmp(events->hold[i].path, path))
            return &events->hold[i];
    }
    return NULL;
}

void pleat_events_emit(struct pleat_events *events, json_t *event, uint64_t now_ns)
{
    if (!event)
        return;
    pleat_events_tick(events, now_ns);
    const char *path = limited_path(event);
    struct pleat_event_hold *hold = path ? find_hold(events, path) : NULL;
    if (hold) {
        json_decref(hold->event);
        hold->event = event;
        return;
    }
    if (path && events->holds < PLEAT_MACHINE_DEVICES_MAX) {
        hold = &events->hold[events->holds++];
        *hold = (struct pleat_event_hold){.until_ns = now_ns + PLEAT_EVENT_INTERVAL_NS};
        snprintf(hold->path, sizeof(hold->path), "%s", path);
    }
    events->send(events->context, event);
    json_decref(event);
}

uint64_t pleat_events_due(const struct pleat_events *events)
{
    uint64_t due_ns = PLEAT_EVENT_NEVER;
    for (unsigned i = 0; i < events->holds; i++) {
        if (events->hold[i].until_ns < due_ns)
            due_ns = events->hold[i].until_ns;
    }
    return due_ns;
}

void pleat_events_tick(struct pleat_events *events, uint64_t now_ns)
{
    for (unsigned i = 0; i < events->holds;) {
        struct pleat_event_hold *hold = &events->hold[i];
        if (hold->until_ns > now_ns) {
            i++;
        } else if (hold->event) {
            json_t *event = hold->event;
            hold->event = NULL;
            hold->until_ns = now_ns + PLEAT_EVENT_INTERVAL_NS;
            events->send(events->context, event);
            json_decref(event);
            i++;
        } else {
            *hold = events->hold[--events->holds];
        }
    }
}

void pleat_events_free(struct pleat_events *events)
{
    for (unsigned i = 0; i < events->holds; i++)
        json_decref(events->hold[i].event);
    events->holds = 0;
}
