/* SPDX-License-Identifier: MIT
 *
 * Proves that faults are read, refused by name, and hit when they say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "machine/fault.h"

static struct pleat_fault parse(const char *text)
{
    struct pleat_fault fault;
    struct pleat_message message = {{0}};

    if (pleat_fault_parse(text, &fault, &message))
        fail_msg("%s", message.text);
    return fault;
}

static void refused(const char *text, const char *because)
{
    struct pleat_fault fault = {.bytes = 42};
    struct pleat_message message = {{0}};

    assert_int_equal(pleat_fault_parse(text, &fault, &message), PLEAT_E_INVALID);
    if (!strstr(message.text, because))
        fail_msg("'%s' has no '%s'", message.text, because);
    assert_int_equal(fault.bytes, 42);
}

static struct pleat_faults *with(const char *text)
{
    struct pleat_faults *faults = pleat_faults_create();
    struct pleat_fault fault = parse(text);

    assert_non_null(faults);
    assert_int_equal(pleat_faults_add(faults, &fault, NULL), PLEAT_OK);
    return faults;
}

static void a_fault_is_read_with_commas_or_colons(void **state)
{
    (void)state;
    struct pleat_fault fault = parse("device-busy:after=3");
    assert_int_equal(fault.place, PLEAT_FAULT_DEVICE_BUSY);
    assert_int_equal(fault.after, 3);
    assert_int_equal(fault.count, 0);
    assert_int_equal(fault.every, 1);

    fault = parse("fault=device-error,count=2,device=vm1:for=10ms");
    assert_int_equal(fault.place, PLEAT_FAULT_DEVICE_ERROR);
    assert_int_equal(fault.count, 2);
    assert_int_equal(fault.for_ns, 10000000);
    assert_string_equal(fault.device, "vm1");

    fault = parse("config-change-in-request:size=64M");
    assert_int_equal(fault.bytes, 64 << 20);
}

static void what_is_wrong_with_a_fault_is_named(void **state)
{
    (void)state;
    refused("device-lazy", "'device-lazy'; there are device-busy, ");
    refused("", "-fault");
    refused("device-busy:after=x", "'after'");
    refused("device-busy:count=0", "'count'");
    refused("device-busy:size=1M", "size");
    refused("migrate-fails:device=vm0", "device");
    refused("device-busy:whenever=1", "whenever");
}

static unsigned hits_of(struct pleat_faults *faults, enum pleat_fault_place place, const char *device,
                        unsigned passes)
{
    unsigned hits = 0;

    for (unsigned i = 0; i < passes; i++)
        hits += pleat_fault_hits(faults, place, device, i * 1000, NULL);
    return hits;
}

static void nothing_fails_when_nothing_is_on(void **state)
{
    (void)state;
    struct pleat_faults *faults = pleat_faults_create();
    for (unsigned place = 0; place < PLEAT_FAULT_PLACES; place++)
        assert_int_equal(hits_of(faults, (enum pleat_fault_place)place, "vm0", 10), 0);
    pleat_faults_destroy(faults);
}

static void after_count_and_every_choose_the_passes(void **state)
{
    (void)state;
    struct pleat_faults *faults = with("device-busy:after=3,count=2");
    bool hit[8];
    for (unsigned i = 0; i < 8; i++)
        hit[i] = pleat_fault_hits(faults, PLEAT_FAULT_DEVICE_BUSY, "vm0", 0, NULL);
    const bool expected[8] = {false, false, false, true, true, false, false, false};
    assert_memory_equal(hit, expected, sizeof hit);
    pleat_faults_destroy(faults);

    faults = with("migrate-fails:every=3");
    assert_int_equal(hits_of(faults, PLEAT_FAULT_MIGRATE_FAILS, NULL, 9), 3);
    pleat_faults_destroy(faults);
}

static void for_ends_a_fault(void **state)
{
    (void)state;
    struct pleat_faults *faults = with("device-silent:for=5us");
    assert_int_equal(hits_of(faults, PLEAT_FAULT_DEVICE_SILENT, "vm0", 100), 6);
    pleat_faults_destroy(faults);
}

static void a_fault_of_one_device_leaves_the_others_alone(void **state)
{
    (void)state;
    struct pleat_faults *faults = with("device-error:device=vm1");
    assert_int_equal(hits_of(faults, PLEAT_FAULT_DEVICE_ERROR, "vm0", 5), 0);
    assert_int_equal(hits_of(faults, PLEAT_FAULT_DEVICE_ERROR, NULL, 5), 0);
    assert_int_equal(hits_of(faults, PLEAT_FAULT_DEVICE_ERROR, "vm1", 5), 5);
    assert_int_equal(hits_of(faults, PLEAT_FAULT_DEVICE_BUSY, "vm1", 5), 0);
    pleat_faults_destroy(faults);
}

static void faults_are_turned_on_once_listed_and_turned_off(void **state)
{
    (void)state;
    struct pleat_faults *faults = with("device-error:after=1");
    struct pleat_fault same = parse("device-error:count=9"), other = parse("device-error:device=vm0");
    struct pleat_message message = {{0}};
    struct pleat_fault_info list[4];

    assert_int_equal(pleat_faults_add(faults, &same, &message), PLEAT_E_EXISTS);
    assert_non_null(strstr(message.text, "device-error"));
    assert_int_equal(pleat_faults_add(faults, &other, &message), PLEAT_OK);
    hits_of(faults, PLEAT_FAULT_DEVICE_ERROR, "vm1", 3);
    assert_int_equal(pleat_faults_list(faults, list, 4), 2);
    assert_string_equal(list[0].text, "device-error,after=1");
    assert_int_equal(list[0].asked, 3);
    assert_int_equal(list[0].hits, 2);
    assert_int_equal(pleat_faults_delete(faults, "device-error", &message), PLEAT_OK);
    assert_int_equal(pleat_faults_delete(faults, "device-error", &message), PLEAT_E_NOT_FOUND);
    assert_int_equal(hits_of(faults, PLEAT_FAULT_DEVICE_ERROR, "vm1", 3), 0);
    assert_int_equal(pleat_faults_list(faults, list, 4), 0);
    pleat_faults_destroy(faults);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fault_is_read_with_commas_or_colons),
        cmocka_unit_test(what_is_wrong_with_a_fault_is_named),
        cmocka_unit_test(nothing_fails_when_nothing_is_on),
        cmocka_unit_test(after_count_and_every_choose_the_passes),
        cmocka_unit_test(for_ends_a_fault),
        cmocka_unit_test(a_fault_of_one_device_leaves_the_others_alone),
        cmocka_unit_test(faults_are_turned_on_once_listed_and_turned_off),
    };
    return cmocka_run_group_tests_name("machine fault", tests, NULL, NULL);
}
