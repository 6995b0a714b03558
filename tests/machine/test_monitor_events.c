/* SPDX-License-Identifier: MIT
 *
 * Events in QMP's form, and QEMU's limit on the rate of those that a guest can cause.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/monitor_events.h"
#include "machine/text.h"

#define SECOND PLEAT_EVENT_INTERVAL_NS

/* What was sent: "ID SIZE;" for a change of size, the name of another event. */
static void collect(void *context, json_t *event)
{
    json_t *data = json_object_get(event, "data");
    const char *id = json_string_value(json_object_get(data, "id"));
    if (id)
        pleat_text_print(context, "%s %d;", id, (int)json_integer_value(json_object_get(data, "size")));
    else
        pleat_text_print(context, "%s;", json_string_value(json_object_get(event, "event")));
}

static json_t *resized(const char *id, uint64_t bytes)
{
    struct pleat_machine_event event = {
        .kind = PLEAT_EVENT_MEMORY_DEVICE_SIZE_CHANGE, .id = id, .bytes = bytes, .reason = ""};
    snprintf(event.path, sizeof(event.path), "/machine/peripheral/%s", id);
    return pleat_event_json(&event, 0);
}

static struct pleat_events *make(struct pleat_text *sent)
{
    static struct pleat_events events;
    events = (struct pleat_events){.send = collect, .context = sent};
    return &events;
}

static void check_json(const struct pleat_machine_event *event, const char *expected)
{
    json_t *json = pleat_event_json(event, 1700000000123456);
    char *text = json_dumps(json, 0);
    assert_string_equal(text, expected);
    free(text);
    json_decref(json);
}

static void events_have_qemus_fields(void **state)
{
    (void)state;
#define AT "{\"timestamp\": {\"seconds\": 1700000000, \"microseconds\": 123456}, \"event\": "
    check_json(&(struct pleat_machine_event){.kind = PLEAT_EVENT_MEMORY_DEVICE_SIZE_CHANGE,
                                             .id = "vm0",
                                             .path = "/machine/peripheral/vm0",
                                             .bytes = 8589934592,
                                             .reason = ""},
               AT "\"MEMORY_DEVICE_SIZE_CHANGE\", \"data\": {\"id\": \"vm0\", \"size\": 8589934592, "
                  "\"qom-path\": \"/machine/peripheral/vm0\"}}");
    check_json(&(struct pleat_machine_event){.kind = PLEAT_EVENT_MEMORY_DEVICE_SIZE_CHANGE,
                                             .id = "",
                                             .path = "/machine/peripheral-anon/device[0]",
                                             .reason = ""},
               AT "\"MEMORY_DEVICE_SIZE_CHANGE\", \"data\": {\"size\": 0, \"qom-path\": "
                  "\"/machine/peripheral-anon/device[0]\"}}");
    check_json(
        &(struct pleat_machine_event){
            .kind = PLEAT_EVENT_DEVICE_DELETED, .id = "vm0", .path = "/machine/peripheral/vm0", .reason = ""},
        AT "\"DEVICE_DELETED\", \"data\": {\"device\": \"vm0\", \"path\": \"/machine/peripheral/vm0\"}}");
    check_json(&(struct pleat_machine_event){.kind = PLEAT_EVENT_DEVICE_UNPLUG_GUEST_ERROR,
                                             .id = "",
                                             .path = "/machine/peripheral/vm0",
                                             .reason = ""},
               AT "\"DEVICE_UNPLUG_GUEST_ERROR\", \"data\": {\"path\": \"/machine/peripheral/vm0\"}}");
    check_json(&(struct pleat_machine_event){.kind = PLEAT_EVENT_RESET, .id = "", .reason = "guest-reset"},
               AT "\"RESET\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}");
    check_json(&(struct pleat_machine_event){.kind = PLEAT_EVENT_SHUTDOWN, .id = "", .reason = "host-signal"},
               AT "\"SHUTDOWN\", \"data\": {\"guest\": false, \"reason\": \"host-signal\"}}");
    check_json(&(struct pleat_machine_event){.kind = PLEAT_EVENT_STOP, .id = "", .reason = ""},
               AT "\"STOP\"}");
    check_json(&(struct pleat_machine_event){.kind = PLEAT_EVENT_RESUME, .id = "", .reason = ""},
               AT "\"RESUME\"}");
#undef AT
}

static void pleats_own_event_is_none_of_qmps(void **state)
{
    (void)state;
    assert_null(pleat_event_json(
        &(struct pleat_machine_event){.kind = PLEAT_EVENT_DRIVER, .id = "vm0", .reason = ""}, 0));
}

static void the_first_goes_at_once_and_the_last_after_a_second(void **state)
{
    (void)state;
    struct pleat_text sent = {0};
    struct pleat_events *events = make(&sent);
    assert_true(pleat_events_due(events) == PLEAT_EVENT_NEVER);
    pleat_events_emit(events, resized("vm0", 1), 5);
    pleat_events_emit(events, resized("vm0", 2), 6);
    pleat_events_emit(events, resized("vm0", 3), 7);
    assert_string_equal(pleat_text_string(&sent), "vm0 1;");
    assert_true(pleat_events_due(events) == 5 + SECOND);
    pleat_events_tick(events, 4 + SECOND);
    assert_string_equal(pleat_text_string(&sent), "vm0 1;");
    pleat_events_tick(events, 5 + SECOND);
    assert_string_equal(pleat_text_string(&sent), "vm0 1;vm0 3;");
    /* What follows within the next second is held back again. */
    pleat_events_emit(events, resized("vm0", 4), 6 + SECOND);
    assert_string_equal(pleat_text_string(&sent), "vm0 1;vm0 3;");
    pleat_events_tick(events, 5 + 2 * SECOND);
    assert_string_equal(pleat_text_string(&sent), "vm0 1;vm0 3;vm0 4;");
    pleat_events_free(events);
    pleat_text_free(&sent);
}

static void after_a_quiet_second_the_next_goes_at_once(void **state)
{
    (void)state;
    struct pleat_text sent = {0};
    struct pleat_events *events = make(&sent);
    pleat_events_emit(events, resized("vm0", 1), 0);
    pleat_events_tick(events, SECOND);
    assert_true(pleat_events_due(events) == PLEAT_EVENT_NEVER);
    pleat_events_emit(events, resized("vm0", 2), SECOND + 1);
    assert_string_equal(pleat_text_string(&sent), "vm0 1;vm0 2;");
    pleat_events_free(events);
    pleat_text_free(&sent);
}

static void devices_are_limited_one_by_one_and_other_events_not_at_all(void **state)
{
    (void)state;
    struct pleat_text sent = {0};
    struct pleat_events *events = make(&sent);
    struct pleat_machine_event stop = {.kind = PLEAT_EVENT_STOP, .id = "", .reason = ""};
    pleat_events_emit(events, resized("vm0", 1), 0);
    pleat_events_emit(events, resized("vm1", 1), 1);
    pleat_events_emit(events, resized("vm0", 2), 2);
    pleat_events_emit(events, pleat_event_json(&stop, 0), 3);
    pleat_events_emit(events, pleat_event_json(&stop, 0), 3);
    pleat_events_emit(events, NULL, 3);
    assert_string_equal(pleat_text_string(&sent), "vm0 1;vm1 1;STOP;STOP;");
    assert_true(pleat_events_due(events) == SECOND);
    pleat_events_tick(events, 10 * SECOND);
    assert_string_equal(pleat_text_string(&sent), "vm0 1;vm1 1;STOP;STOP;vm0 2;");
    pleat_events_free(events);
    pleat_text_free(&sent);
}

static void more_devices_than_there_can_be_lose_nothing(void **state)
{
    (void)state;
    struct pleat_text sent = {0};
    struct pleat_events *events = make(&sent);
    char id[16];
    for (unsigned i = 0; i < PLEAT_MACHINE_DEVICES_MAX + 1; i++) {
        snprintf(id, sizeof(id), "vm%u", i);
        pleat_events_emit(events, resized(id, i), 0);
    }
    pleat_text_clear(&sent);
    pleat_events_emit(events, resized(id, 7), 0);
    pleat_events_emit(events, resized("vm0", 7), 0);
    assert_string_equal(pleat_text_string(&sent), "vm64 7;");
    pleat_events_free(events);
    pleat_text_free(&sent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_have_qemus_fields),
        cmocka_unit_test(pleats_own_event_is_none_of_qmps),
        cmocka_unit_test(the_first_goes_at_once_and_the_last_after_a_second),
        cmocka_unit_test(after_a_quiet_second_the_next_goes_at_once),
        cmocka_unit_test(devices_are_limited_one_by_one_and_other_events_not_at_all),
        cmocka_unit_test(more_devices_than_there_can_be_lose_nothing),
    };
    return cmocka_run_group_tests_name("monitor_events", tests, NULL, NULL);
}
