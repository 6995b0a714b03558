/* SPDX-License-Identifier: MIT
 *
 * Options in QEMU's form: what is accepted, and that each refusal names the option, what was wrong and
 * what was expected.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "machine/options.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("expected \"%s\" in \"%s\"", part, text);
}

/* ---- single values ---- */

static void sizes_are_exact(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t unit, bytes;
    } good[] = {
        {"0", 1, 0},
        {"4096", 1, 4096},
        {"4096b", 1, 4096},
        {"4K", 1, 4096},
        {"4k", 0, 4096},
        {"128M", 1, 134217728},
        {"512", 1 << 20, 536870912},
        {"2G", 1 << 20, 2147483648},
        {"1.5G", 1, 1610612736},
        {"0.5k", 1, 512},
        {"20T", 1, 20ull << 40},
        {"15E", 1, 15ull << 60},
        {"0x1000", 1, 4096},
        {"0X10", 1, 16},
        {"18446744073709551615", 1, UINT64_MAX},
        {"0xffffffffffffffff", 1, UINT64_MAX},
        {"17592186044415M", 1, 17592186044415ull << 20},
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        uint64_t bytes = 1;
        struct pleat_message message = {""};
        if (pleat_parse_size(good[i].text, good[i].unit, &bytes, &message) || bytes != good[i].bytes)
            fail_msg("'%s' gave %llu: %s", good[i].text, (unsigned long long)bytes, message.text);
    }
}

static void wrong_sizes_are_refused_and_change_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      " ",
                                      "-1",
                                      "+1",
                                      "1 ",
                                      " 1",
                                      "G",
                                      "1Q",
                                      "1GB",
                                      "1Gi",
                                      ".5G",
                                      "1.G",
                                      "0.3",
                                      "0.0001K",
                                      "16E",
                                      "18446744073709551616",
                                      "17592186044416M",
                                      "0x",
                                      "0xg",
                                      "0x10M",
                                      "0x10000000000000000",
                                      "1e3",
                                      "1.1234567890123456789G",
                                      "nan",
                                      "1\n"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        uint64_t bytes = 77;
        struct pleat_message message = {""};
        if (pleat_parse_size(bad[i], 1, &bytes, &message) != PLEAT_E_INVALID || bytes != 77)
            fail_msg("'%s' was taken as %llu", bad[i], (unsigned long long)bytes);
        assert_contains(message.text, "expects a size");
        assert_contains(message.text, "found '");
        assert_null(strchr(message.text, '\n'));
    }
}

static void numbers_percents_times_ranges_and_switches(void **state)
{
    (void)state;
    uint64_t number = 0, last = 0;
    bool on = false;
    assert_int_equal(pleat_parse_number("0x1f", &number, NULL), 0);
    assert_int_equal(number, 31);
    assert_int_equal(pleat_parse_number("010", &number, NULL), 0);
    assert_int_equal(number, 10);
    assert_int_equal(pleat_parse_percent("60%", &number, NULL), 0);
    assert_int_equal(number, 600000);
    assert_int_equal(pleat_parse_percent("12.5", &number, NULL), 0);
    assert_int_equal(number, 125000);
    assert_int_equal(pleat_parse_percent("100%", &number, NULL), 0);
    assert_int_equal(number, PLEAT_PPM);
    assert_int_equal(pleat_parse_duration("1.5ms", &number, NULL), 0);
    assert_int_equal(number, 1500000);
    assert_int_equal(pleat_parse_duration("0", &number, NULL), 0);
    assert_int_equal(number, 0);
    assert_int_equal(pleat_parse_duration("2s", &number, NULL), 0);
    assert_int_equal(number, 2000000000);
    assert_int_equal(pleat_parse_range("2-3", &number, &last, NULL), 0);
    assert_int_equal(number, 2);
    assert_int_equal(last, 3);
    assert_int_equal(pleat_parse_range("7", &number, &last, NULL), 0);
    assert_int_equal(last, 7);
    assert_int_equal(pleat_parse_on_off("yes", &on, NULL), 0);
    assert_true(on);
    assert_int_equal(pleat_parse_on_off("off", &on, NULL), 0);
    assert_false(on);

    struct pleat_message message;
    static const char *const bad_percents[] = {"101%", "100.0001", "%", "", "-1%", "1%%", "0.00001%"};
    for (size_t i = 0; i < COUNT(bad_percents); i++)
        assert_int_equal(pleat_parse_percent(bad_percents[i], &number, &message), PLEAT_E_INVALID);
    assert_contains(message.text, "expects a percentage from 0% to 100%");
    static const char *const bad_durations[] = {"5", "", "1.5ns", "1m", "-1s", "20000000000s", "s"};
    for (size_t i = 0; i < COUNT(bad_durations); i++)
        assert_int_equal(pleat_parse_duration(bad_durations[i], &number, &message), PLEAT_E_INVALID);
    assert_contains(message.text, "expects a time");
    static const char *const bad_ranges[] = {"3-2", "-", "1-", "-1", "1-2-3", "", "a"};
    for (size_t i = 0; i < COUNT(bad_ranges); i++)
        assert_int_equal(pleat_parse_range(bad_ranges[i], &number, &last, &message), PLEAT_E_INVALID);
    assert_contains(message.text, "FIRST-LAST");
    assert_int_equal(pleat_parse_on_off("ON", &on, &message), PLEAT_E_INVALID);
    assert_string_equal(message.text, "expects 'on' or 'off', found 'ON'");
    assert_int_equal(pleat_parse_number("12a", &number, &message), PLEAT_E_INVALID);
    assert_contains(message.text, "found '12a'");
}

static void sizes_are_printed_in_their_largest_whole_unit(void **state)
{
    (void)state;
    char buffer[32];
    assert_string_equal(pleat_format_size(buffer, 0), "0");
    assert_string_equal(pleat_format_size(buffer, 4097), "4097");
    assert_string_equal(pleat_format_size(buffer, 134217728), "128M");
    assert_string_equal(pleat_format_size(buffer, 1536ull << 20), "1536M");
    assert_string_equal(pleat_format_size(buffer, 8ull << 60), "8E");
}

/* ---- the form ---- */

static void keys_and_values_are_split_as_qemu_does(void **state)
{
    (void)state;
    struct pleat_options options;
    assert_int_equal(pleat_options_parse(&options, "-device",
                                         "virtio-mem-pci,id=vm0,path=/a,,b=c,,,prealloc,empty=", "driver",
                                         NULL),
                     0);
    assert_int_equal(options.count, 5);
    assert_string_equal(options.items[0].key, "driver");
    assert_string_equal(options.items[0].value, "virtio-mem-pci");
    assert_string_equal(options.items[1].key, "id");
    assert_string_equal(options.items[1].value, "vm0");
    assert_string_equal(options.items[2].key, "path");
    assert_string_equal(options.items[2].value, "/a,b=c,");
    assert_string_equal(options.items[3].key, "prealloc");
    assert_null(options.items[3].value);
    assert_string_equal(options.items[4].key, "empty");
    assert_string_equal(options.items[4].value, "");
    assert_string_equal(pleat_options_text(&options, "id", "none"), "vm0");
    assert_string_equal(pleat_options_text(&options, "memdev", "none"), "none");
    pleat_options_free(&options);
    pleat_options_free(&options);
}

static void an_implied_key_is_only_for_a_first_piece_without_equals(void **state)
{
    (void)state;
    struct pleat_options options;
    assert_int_equal(pleat_options_parse(&options, "-smp", "sockets=2,cores=2", "cpus", NULL), 0);
    assert_int_equal(options.count, 2);
    assert_null(pleat_options_find(&options, "cpus"));
    pleat_options_free(&options);
    assert_int_equal(pleat_options_parse(&options, "-smp", "a,,b", "cpus", NULL), 0);
    assert_int_equal(options.count, 1);
    assert_string_equal(options.items[0].value, "a,b");
    pleat_options_free(&options);
    assert_int_equal(pleat_options_parse(&options, "-smp", "", "cpus", NULL), 0);
    assert_int_equal(options.count, 0);
    pleat_options_free(&options);
}

static void broken_forms_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {",", "=", "=4", "a=1,", "a=1,=2", ",a=1", "a,,b=1"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct pleat_options options;
        struct pleat_message message = {""};
        if (pleat_options_parse(&options, "-x", bad[i], NULL, &message) != PLEAT_E_INVALID)
            fail_msg("'%s' was accepted", bad[i]);
        assert_contains(message.text, "-x: expected KEY=VALUE, found");
        assert_null(options.items);
        assert_int_equal(options.count, 0);
        pleat_options_free(&options);
    }
    struct pleat_options options;
    struct pleat_message message = {""};
    assert_int_equal(pleat_options_parse(&options, "-device", ",id=3", "driver", &message), PLEAT_E_INVALID);
    assert_string_equal(message.text, "-device: Parameter 'driver' is missing before the ','");
}

static void a_text_that_is_too_long_is_refused(void **state)
{
    (void)state;
    char *text = malloc(PLEAT_OPTIONS_TEXT_BYTES_MAX + 2);
    memset(text, 'a', PLEAT_OPTIONS_TEXT_BYTES_MAX + 1);
    text[PLEAT_OPTIONS_TEXT_BYTES_MAX + 1] = '\0';
    struct pleat_options options;
    struct pleat_message message = {""};
    assert_int_equal(pleat_options_parse(&options, "-x", text, NULL, &message), PLEAT_E_INVALID);
    assert_contains(message.text, "at most 65536 bytes");
    text[PLEAT_OPTIONS_TEXT_BYTES_MAX] = '\0';
    assert_int_equal(pleat_options_parse(&options, "-x", text, NULL, &message), 0);
    assert_int_equal(options.count, 1);
    assert_int_equal(pleat_options_check(&options, NULL, 0, &message), PLEAT_E_INVALID);
    assert_contains(message.text, "...'");
    assert_contains(message.text, "no parameter at all");
    pleat_options_free(&options);
    free(text);
}

/* ---- the meaning ---- */

static const struct pleat_option_key device_keys[] = {
    {.name = "driver", .flags = PLEAT_OPTION_REQUIRED},
    {.name = "id"},
    {.name = "requested-size",
     .type = PLEAT_OPTION_SIZE,
     .multiple_of = 2 << 20,
     .maximum = 8ull << 30,
     .help = "how much memory the guest should have"},
    {.name = "node", .type = PLEAT_OPTION_NUMBER, .maximum = 127},
    {.name = "cpus", .type = PLEAT_OPTION_RANGE, .flags = PLEAT_OPTION_REPEATS, .maximum = 63},
    {.name = "prealloc", .type = PLEAT_OPTION_ON_OFF},
    {.name = "fill", .type = PLEAT_OPTION_PERCENT, .minimum = 10000},
    {.name = "every", .type = PLEAT_OPTION_DURATION, .minimum = 10},
    {.name = "policy", .type = PLEAT_OPTION_CHOICE, .choices = "offline|online|online_movable"},
};

static void checked_values_come_out_as_numbers(void **state)
{
    (void)state;
    struct pleat_options options;
    struct pleat_message message = {""};
    assert_int_equal(pleat_options_parse(&options, "-device",
                                         "virtio-mem-pci,requested-size=128M,node=1,cpus=0-1,cpus=5,prealloc,"
                                         "fill=60%,every=1ms,policy=online_movable",
                                         "driver", &message),
                     0);
    if (pleat_options_check(&options, device_keys, COUNT(device_keys), &message))
        fail_msg("%s", message.text);
    assert_int_equal(pleat_options_number(&options, "requested-size", 0), 134217728);
    assert_int_equal(pleat_options_number(&options, "node", 9), 1);
    assert_int_equal(pleat_options_number(&options, "nothing", 9), 9);
    assert_true(pleat_options_on(&options, "prealloc", false));
    assert_true(pleat_options_on(&options, "share", true));
    assert_int_equal(pleat_options_number(&options, "fill", 0), 600000);
    assert_int_equal(pleat_options_number(&options, "every", 0), 1000000);
    assert_int_equal(pleat_options_number(&options, "policy", 0), 2);
    const struct pleat_option *cpus = pleat_options_find(&options, "cpus");
    assert_int_equal(cpus->number, 0);
    assert_int_equal(cpus->last, 1);
    cpus = pleat_options_next(&options, "cpus", cpus);
    assert_int_equal(cpus->number, 5);
    assert_int_equal(cpus->last, 5);
    assert_null(pleat_options_next(&options, "cpus", cpus));
    pleat_options_free(&options);
}

static void every_wrong_value_is_named_with_what_was_expected(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"d,colour=red", "-device: Invalid parameter 'colour', expected one of driver, id, requested-size"},
        {"id=x", "-device: Parameter 'driver' is missing"},
        {"d,id=a,id=b", "-device: Parameter 'id' is there twice, expected once"},
        {"d,id", "-device: Parameter 'id' needs a value: id=VALUE"},
        {"d,id=", "-device: Parameter 'id' expects a text that isn't empty, found ''"},
        {"d,requested-size=12Q", "-device: Parameter 'requested-size' expects a size"},
        {"d,requested-size=3M", "-device: Parameter 'requested-size' expects a multiple of 2M, found '3M'"},
        {"d,requested-size=9G", "-device: Parameter 'requested-size' expects at most 8G, found '9G'"},
        {"d,node=128", "-device: Parameter 'node' expects at most 127, found '128'"},
        {"d,node=-1", "-device: Parameter 'node' expects a number from 0 to 2^64 - 1, found '-1'"},
        {"d,cpus=0-64", "-device: Parameter 'cpus' expects at most 63, found '0-64'"},
        {"d,prealloc=maybe", "-device: Parameter 'prealloc' expects 'on' or 'off', found 'maybe'"},
        {"d,fill=0.5%", "-device: Parameter 'fill' expects at least 1%, found '0.5%'"},
        {"d,every=9ns", "-device: Parameter 'every' expects at least 10ns, found '9ns'"},
        {"d,policy=onlin",
         "-device: Parameter 'policy' expects one of offline|online|online_movable, found 'onlin'"},
        {"d,policy=", "-device: Parameter 'policy' expects one of"},
        {"d,i\nd=3", "-device: Invalid parameter 'i\\x0ad', expected"},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct pleat_options options;
        struct pleat_message message = {""};
        assert_int_equal(pleat_options_parse(&options, "-device", bad[i].text, "driver", &message), 0);
        if (pleat_options_check(&options, device_keys, COUNT(device_keys), &message) != PLEAT_E_INVALID)
            fail_msg("'%s' was accepted", bad[i].text);
        assert_contains(message.text, bad[i].message);
        pleat_options_free(&options);
    }
}

static void help_lists_every_key(void **state)
{
    (void)state;
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    pleat_options_print_help(out, device_keys, COUNT(device_keys));
    fclose(out);
    for (size_t i = 0; i < COUNT(device_keys); i++)
        assert_contains(text, device_keys[i].name);
    assert_contains(text, "how much memory the guest should have");
    assert_contains(text, "policy=offline|online|online_movable");
    free(text);
}

static void a_message_is_always_one_short_printable_line(void **state)
{
    (void)state;
    char quoted[PLEAT_QUOTE_BYTES];
    char every_byte[256];
    for (int i = 0; i < 255; i++)
        every_byte[i] = (char)(255 - i);
    every_byte[255] = '\0';
    pleat_quote(quoted, every_byte);
    assert_true(strlen(quoted) < PLEAT_QUOTE_BYTES);
    for (const char *c = quoted; *c; c++)
        assert_in_range((unsigned char)*c, 0x20, 0x7e);
    struct pleat_message message = {""};
    for (int i = 0; i < 100; i++)
        pleat_message_prefix(&message, "%d: a prefix of some length ", i);
    assert_int_equal(strlen(message.text), sizeof(message.text) - 1);
    assert_int_equal(pleat_message_set(NULL, PLEAT_E_BUSY, "%s", "nobody listens"), PLEAT_E_BUSY);
    pleat_message_prefix(NULL, "%s", "nobody listens");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_exact),
        cmocka_unit_test(wrong_sizes_are_refused_and_change_nothing),
        cmocka_unit_test(numbers_percents_times_ranges_and_switches),
        cmocka_unit_test(sizes_are_printed_in_their_largest_whole_unit),
        cmocka_unit_test(keys_and_values_are_split_as_qemu_does),
        cmocka_unit_test(an_implied_key_is_only_for_a_first_piece_without_equals),
        cmocka_unit_test(broken_forms_are_refused),
        cmocka_unit_test(a_text_that_is_too_long_is_refused),
        cmocka_unit_test(checked_values_come_out_as_numbers),
        cmocka_unit_test(every_wrong_value_is_named_with_what_was_expected),
        cmocka_unit_test(help_lists_every_key),
        cmocka_unit_test(a_message_is_always_one_short_printable_line),
    };
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
