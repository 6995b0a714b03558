/* SPDX-License-Identifier: MIT
 *
 * The conformance checks: Pleat's own device passes all of them, in each shape; a device with a fault fails
 * the check that is for it; and there is a fault for every check, so that none of them can't fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support/conform_device.h"

#define PACKED PLEAT_VIRTIO_F_RING_PACKED
#define EVENTS PLEAT_VIRTIO_F_EVENT_IDX

/* Is `id` one of the ids? */
static bool has_id(const char *ids, const char *id)
{
    const size_t length = strlen(id);
    for (const char *at = strstr(ids, id); at; at = strstr(at + 1, id)) {
        if ((at == ids || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0')) {
            return true;
        }
    }
    return false;
}

/* --- The device as it is -------------------------------------------------------------------------------- */

struct good_case {
    const char *name;
    struct conform_shape shape;
    /* What is skipped: ids with a blank round each. */
    const char *skipped;
};

/* A device of this library offers no PERSISTENT_SUSPEND by default; the others are permissions. */
#define ALWAYS " D-INIT4 D-OP8 D-CFG11 D-OP2 D-PLUG5 D-UNPLUG5 D-ALL3 D-ALL6 "

static const struct good_case good_cases[] = {
    {"Pleat's device passes: split ring", {.ring = 0}, ALWAYS "D-OP5 "},
    {"Pleat's device passes: split ring, event index", {.ring = EVENTS}, ALWAYS "D-OP5 "},
    {"Pleat's device passes: packed ring", {.ring = PACKED}, ALWAYS "D-OP5 "},
    {"Pleat's device passes: packed ring, event index", {.ring = PACKED | EVENTS}, ALWAYS "D-OP5 "},
    {"Pleat's device passes: more is requested at first", {.requested_blocks = 100}, ALWAYS "D-OP5 "},
    {"Pleat's device passes: usable is exactly what is requested",
     {.flags = PLEAT_VIRTIO_MEM_DEVICE_USABLE_EXACT},
     ALWAYS "D-OP5 "},
    {"Pleat's device passes: drivers without UNPLUGGED_INACCESSIBLE are served",
     {.flags = PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS},
     ALWAYS},
    {"Pleat's device passes: UNPLUGGED_INACCESSIBLE isn't offered",
     {.flags = PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS | PLEAT_VIRTIO_MEM_DEVICE_HIDE_INACCESSIBLE},
     ALWAYS},
    {"Pleat's device passes: PERSISTENT_SUSPEND is offered",
     {.flags = PLEAT_VIRTIO_MEM_DEVICE_PERSISTENT_SUSPEND},
     " D-OP8 D-CFG11 D-OP2 D-PLUG5 D-UNPLUG5 D-ALL3 D-ALL6 D-OP5 "},
    {"Pleat's device passes: it refuses to unplug below what is requested",
     {.flags = PLEAT_VIRTIO_MEM_DEVICE_REFUSE_UNREQUESTED},
     ALWAYS "D-OP5 "},
    {"Pleat's device passes: nobody changes the requested size",
     {.no_host = true, .requested_blocks = 10},
     ALWAYS "D-OP5 D-CFG1 D-CFG4 D-CFG8 D-CFG9 D-OP6 D-OP7 X9 "},
    {"Pleat's device passes: memory can't be touched",
     {.no_touch = true},
     ALWAYS "D-OP5 D-INIT3 D-OP1 D-OP3 D-OP4 "},
    {"Pleat's device passes: interrupts can't be seen",
     {.no_interrupts = true},
     ALWAYS "D-OP5 D-CFG9 D-CFG10 "},
};

static void take_good(void *context, const struct conform_result *result)
{
    const struct good_case *good = context;
    char id[16];
    if (result->verdict == CONFORM_FAIL) {
        print_error("%s %s: %s\n", result->ids, result->title, result->seen);
    }
    for (const char *at = result->ids; result->verdict == CONFORM_SKIP && *at; at += *at == ' ') {
        size_t length = strcspn(at, " ");
        assert_in_range(length, 1, sizeof(id) - 1);
        memcpy(id, at, length);
        id[length] = '\0';
        at += length;
        if (!has_id(good->skipped, id)) {
            fail_msg("%s %s is skipped: %s", result->ids, result->title, result->seen);
        }
        assert_int_not_equal(strlen(result->seen), 0);
    }
}

static void passes(void **state)
{
    const struct good_case *good = *state;
    struct conform_counts counts;
    assert_int_equal(conform_device_run(&good->shape, take_good, (void *)good, &counts), 0);
    assert_int_equal(counts.failed, 0);
    assert_in_range(counts.passed, 25, 60);
}

/* --- Devices with a fault ------------------------------------------------------------------------------- */

#define READERS PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS

static const struct fault_case {
    const char *name; /* begins with the id of the check that has to fail */
    enum conform_fault fault;
    uint32_t flags;
} fault_cases[] = {
    {"bring-up finds that block_size is no power of two", FAULT_BLOCK_SIZE_IS_ODD, 0},
    {"D-CFG5 finds that block_size is no power of two", FAULT_BLOCK_SIZE_IS_ODD, 0},
    {"D-CFG7 finds a region that is negative", FAULT_REGION_IS_NEGATIVE, 0},
    {"D-CFG1 finds a requested_size that doesn't follow the host", FAULT_REQUESTED_STAYS, 0},
    {"D-CFG4 finds a usable region that is too small", FAULT_USABLE_IS_SMALL, 0},
    {"D-CFG6 finds a usable region that is no multiple", FAULT_USABLE_IS_NO_MULTIPLE, 0},
    {"D-CFG8 finds a usable region that shrinks with the request", FAULT_USABLE_FOLLOWS_DOWN, 0},
    {"X11 finds a usable region that is none after UNPLUG_ALL", FAULT_USABLE_IS_NONE_AFTER_UNPLUG_ALL, 0},
    {"D-CFG2 finds a node_id that changes", FAULT_NODE_CHANGES, 0},
    {"D-CFG3 finds a plugged_size that comes late", FAULT_PLUGGED_IS_LATE, 0},
    {"D-PLUG6 finds a plugged_size that comes late", FAULT_PLUGGED_IS_LATE, 0},
    {"D-UNPLUG6 finds a plugged_size that comes late", FAULT_PLUGGED_IS_LATE, 0},
    {"D-CFG9 finds that no interrupt comes", FAULT_NO_CONFIG_INTERRUPT, 0},
    {"D-CFG10 finds an interrupt for plugged_size", FAULT_PLUG_INTERRUPTS, 0},
    {"D-INIT1 finds a device that refuses everybody after it has refused one", FAULT_REFUSES_AFTER_READER, 0},
    {"D-INIT2 finds a reset that unplugs", FAULT_RESET_UNPLUGS, 0},
    {"D-INIT3 finds a reset that clears", FAULT_RESET_CLEARS, 0},
    {"D-PLUG1 finds a device that looks at padding", FAULT_LOOKS_AT_PADDING, 0},
    {"D-PLUG2 finds a device that looks at padding", FAULT_LOOKS_AT_PADDING, 0},
    {"D-UNPLUG1 finds a device that looks at padding", FAULT_LOOKS_AT_PADDING, 0},
    {"D-UNPLUG2 finds a device that looks at padding", FAULT_LOOKS_AT_PADDING, 0},
    {"D-ALL1 finds a device that looks at padding", FAULT_LOOKS_AT_PADDING, 0},
    {"D-ALL2 finds a device that looks at padding", FAULT_LOOKS_AT_PADDING, 0},
    {"D-STATE1 finds a device that looks at padding", FAULT_LOOKS_AT_PADDING, 0},
    {"D-STATE2 finds a device that looks at padding", FAULT_LOOKS_AT_PADDING, 0},
    {"D-PLUG1 finds a device that wants one buffer", FAULT_WANTS_ONE_BUFFER, 0},
    {"D-PLUG3 finds NACK for a bad range", FAULT_RANGE_IS_NACK, 0},
    {"D-UNPLUG3 finds NACK for a bad range", FAULT_RANGE_IS_NACK, 0},
    {"D-STATE3 finds NACK for a bad range", FAULT_RANGE_IS_NACK, 0},
    {"X3 finds sums that overflow", FAULT_RANGE_WRAPS, 0},
    {"D-PLUG4 finds ACK for plugged blocks", FAULT_PLUGS_PLUGGED, 0},
    {"D-UNPLUG4 finds ACK for unplugged blocks", FAULT_UNPLUGS_UNPLUGGED, 0},
    {"D-STATE3 finds ACK for a bad range", FAULT_STATE_OF_ANYTHING, 0},
    {"D-PLUG6 finds ACK for half a range", FAULT_PLUGS_THE_FIRST, 0},
    {"D-UNPLUG6 finds ACK for nothing", FAULT_UNPLUGS_NOTHING, 0},
    {"D-ALL4 finds a block that is left", FAULT_UNPLUG_ALL_LEAVES_ONE, 0},
    {"D-ALL5 finds a plugged_size that isn't 0", FAULT_UNPLUG_ALL_KEEPS_SIZE, 0},
    {"D-STATE4 finds the state of the first block alone", FAULT_STATE_OF_THE_FIRST, 0},
    {"D-STATE5 finds the state of the first block alone", FAULT_STATE_OF_THE_FIRST, 0},
    {"X5 finds ERROR over the quota", FAULT_OVER_QUOTA_IS_ERROR, 0},
    {"X5 finds a device without a quota", FAULT_NO_QUOTA, 0},
    {"X1 finds quota asked before state", FAULT_QUOTA_BEFORE_STATE, 0},
    {"X8 finds ERROR for an UNPLUG below requested_size", FAULT_UNPLUG_BELOW_IS_ERROR, 0},
    {"X8 finds an UNPLUG_ALL that is refused", FAULT_UNPLUG_ALL_BELOW_IS_NACK, 0},
    {"D-OP1 finds plugged memory that devices can't reach", FAULT_NO_DMA_TO_PLUGGED, 0},
    {"D-OP3 finds a PLUG that clears its neighbour", FAULT_PLUG_CLEARS_A_NEIGHBOUR, 0},
    {"D-OP4 finds plugged memory that faults", FAULT_PLUGS_ONCE, 0},
    {"D-OP5 finds unplugged memory that faults", FAULT_UNPLUGGED_FAULTS, READERS},
    {"D-OP6 finds a system reset that unplugs nothing", FAULT_SYSTEM_RESET_KEEPS, 0},
    {"D-OP7 finds a system reset that unplugs nothing", FAULT_SYSTEM_RESET_KEEPS, 0},
    {"X4 finds a queue that an unknown type breaks", FAULT_UNKNOWN_TYPE_BREAKS, 0},
    {"X4 finds a short request that is kept", FAULT_SHORT_REQUEST_IS_KEPT, 0},
    {"X4 finds a queue that a short response breaks", FAULT_SHORT_RESPONSE_BREAKS, 0},
    {"X9 finds a used length of all there is", FAULT_USED_IS_ALL, 0},
    {"X9 finds more bytes than 10", FAULT_WRITES_MORE, 0},
    {"X9 finds a NACK without its length", FAULT_NACK_HAS_NO_LENGTH, 0},
    {"leave finds a requested_size that doesn't come back", FAULT_REQUESTED_STAYS, 0},
};

struct finding {
    const char *id;
    bool found;
};

static void take_finding(void *context, const struct conform_result *result)
{
    struct finding *finding = context;
    if (result->verdict == CONFORM_FAIL) {
        assert_int_not_equal(strlen(result->seen), 0);
        finding->found |= has_id(result->ids, finding->id);
    }
}

static void finds(void **state)
{
    const struct fault_case *bad = *state;
    const struct conform_shape shape = {.fault = bad->fault, .flags = bad->flags};
    char id[16] = "";
    struct conform_counts counts;
    assert_in_range(strcspn(bad->name, " "), 1, sizeof(id) - 1);
    memcpy(id, bad->name, strcspn(bad->name, " "));
    struct finding finding = {.id = id};
    (void)conform_device_run(&shape, take_finding, &finding, &counts);
    assert_true(finding.found);
}

/* --- Every check can fail ------------------------------------------------------------------------------- */

struct check_seen {
    char text[128];
    bool failed;
    bool permission;
};

struct check_list {
    struct check_seen checks[96];
    unsigned count;
};

static void take_check(void *context, const struct conform_result *result)
{
    struct check_list *list = context;
    struct check_seen *seen = list->checks;
    char text[sizeof(seen->text)];
    snprintf(text, sizeof(text), "%s %s", result->ids, result->title);
    while (seen < list->checks + list->count && strcmp(seen->text, text) != 0) {
        seen++;
    }
    if (seen == list->checks + list->count) {
        assert_in_range(++list->count, 1, sizeof(list->checks) / sizeof(*list->checks));
        memcpy(seen->text, text, sizeof(text));
    }
    seen->failed |= result->verdict == CONFORM_FAIL;
    /* Nothing can fail these: see run.c, and offers_persistent_suspend(), keeps_over_suspend(). */
    seen->permission |= strncmp(result->seen, "a permission", 12) == 0 || has_id(result->ids, "D-INIT4") ||
                        has_id(result->ids, "D-OP8");
}

static void every_check_fails_for_some_fault(void **state)
{
    static struct check_list list;
    struct conform_counts counts;
    (void)state;
    for (unsigned i = 0; i < sizeof(fault_cases) / sizeof(*fault_cases); i++) {
        const struct conform_shape shape = {.fault = fault_cases[i].fault, .flags = fault_cases[i].flags};
        (void)conform_device_run(&shape, take_check, &list, &counts);
    }
    for (unsigned i = 0; i < list.count; i++) {
        if (!list.checks[i].failed && !list.checks[i].permission) {
            fail_msg("no fault makes this check fail: %s", list.checks[i].text);
        }
    }
    assert_in_range(list.count, 40, 96);
}

/* --- TAP ------------------------------------------------------------------------------------------------ */

static void write_text(void *context, const char *text, size_t bytes)
{
    char *to = context;
    const size_t length = strlen(to);
    assert_true(length + bytes < 1024);
    memcpy(to + length, text, bytes);
    to[length + bytes] = '\0';
}

static void results_are_tap(void **state)
{
    char text[1024] = "";
    const struct conform_result failed = {.number = 3,
                                          .ids = "D-OP6 D-OP7",
                                          .title = "a system reset unplugs all",
                                          .section = "5.15.6",
                                          .should = true,
                                          .verdict = CONFORM_FAIL,
                                          .seen = "one\ntwo"};
    const struct conform_result skipped = {
        .number = 4, .ids = "X5", .title = "t", .section = "s", .verdict = CONFORM_SKIP, .seen = "no host"};
    const struct conform_result passed = {.number = 5, .ids = "X1", .title = "t", .section = "s", .seen = ""};
    (void)state;
    conform_print_tap(&failed, write_text, text);
    conform_print_tap(&skipped, write_text, text);
    conform_print_tap(&passed, write_text, text);
    assert_string_equal(text, "not ok 3 - D-OP6 D-OP7 a system reset unplugs all (SHOULD, 5.15.6)\n"
                              "# one\n"
                              "# two\n"
                              "ok 4 - X5 t (s) # SKIP no host\n"
                              "ok 5 - X1 t (s)\n");
}

/* --- Kept over a system reset --------------------------------------------------------------------------- */

static void nothing(void *context, const struct conform_result *result)
{
    (void)context;
    (void)result;
}

static void what_was_not_kept_is_not_resumed(void **state)
{
    const struct conform_environment environment = {.result = nothing};
    struct conform_kept kept;
    struct conform_counts counts;
    (void)state;
    memset(&kept, 0, sizeof(kept));
    assert_int_equal(conform_resume(&environment, &kept, &counts), PLEAT_E_INVALID);
    memset(&kept, 0xff, sizeof(kept));
    assert_int_equal(conform_resume(&environment, &kept, &counts), PLEAT_E_INVALID);
}

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

int main(void)
{
    struct CMUnitTest tests[COUNT(good_cases) + COUNT(fault_cases) + 3];
    size_t count = 0;
    for (size_t i = 0; i < COUNT(good_cases); i++) {
        tests[count++] = (struct CMUnitTest){good_cases[i].name, passes, NULL, NULL, (void *)&good_cases[i]};
    }
    for (size_t i = 0; i < COUNT(fault_cases); i++) {
        tests[count++] = (struct CMUnitTest){fault_cases[i].name, finds, NULL, NULL, (void *)&fault_cases[i]};
    }
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(every_check_fails_for_some_fault);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(results_are_tap);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(what_was_not_kept_is_not_resumed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
