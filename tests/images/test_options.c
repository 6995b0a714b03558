/* SPDX-License-Identifier: MIT
 *
 * The command line of pleat-guest.elf: each word, and what is said about a wrong one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "images/guest/options.h"
#include "ports/bare/platform.h"

/* The printer's way out; nothing is printed here. */
void platform_write(const char *text, size_t bytes)
{
    (void)text;
    (void)bytes;
}

static struct guest_options parsed(const char *line)
{
    struct guest_options options;
    char message[256] = "";

    if (options_parse(line, &options, message, sizeof message))
        fail_msg("%s: %s", line, message);
    return options;
}

static void refused(const char *line, const char *expected)
{
    struct guest_options options = {.fill_bytes = 7};
    char message[256] = "";

    assert_int_equal(options_parse(line, &options, message, sizeof message), PLEAT_E_INVALID);
    assert_string_equal(message, expected);
    assert_int_equal(options.fill_bytes, 7);
}

static void nothing_means_the_defaults(void **state)
{
    const struct guest_options options = parsed("");

    (void)state;
    assert_int_equal(options.mode, MODE_RUN);
    assert_false(options.has_workload);
    assert_int_equal(options.free_ppm, 500000);
    assert_int_equal(options.log_level, PLEAT_LOG_ERROR);
    assert_int_equal(options.floor_bytes, 0);
}

static void words_choose_what_is_done(void **state)
{
    (void)state;
    assert_int_equal(parsed("run").mode, MODE_RUN);
    assert_int_equal(parsed("  bench ").mode, MODE_BENCH);
    assert_int_equal(parsed("stray").mode, MODE_STRAY);
    assert_int_equal(parsed("test=core,faults").tests, TEST_CORE | TEST_FAULTS);
    assert_int_equal(parsed("test=all").tests, TEST_ALL);
    assert_int_equal(parsed("test=all").mode, MODE_TEST);
    const struct guest_options options =
        parsed("policy=prefer_movable,ratio=3 floor=512M interrupts=intx "
               "log=debug blocks=tell help=off fill=6T objects=mixed free=12.5%");
    assert_int_equal(options.policy, PLEAT_POLICY_PREFER_MOVABLE);
    assert_int_equal(options.policy_ratio, 3);
    assert_int_equal(options.floor_bytes, 512 << 20);
    assert_int_equal(options.interrupts, INTERRUPTS_INTX);
    assert_int_equal(options.log_level, PLEAT_LOG_DEBUG);
    assert_true(options.tells_blocks);
    assert_false(parsed("run").tells_blocks);
    assert_true(options.no_help);
    assert_false(parsed("run").no_help);
    assert_int_equal(options.fill_bytes, UINT64_C(6) << 40);
    assert_int_equal(options.objects, FILL_MIXED);
    assert_int_equal(options.free_ppm, 125000);
    assert_int_equal(parsed("test=xen-balloon,xen-unpopulated").tests,
                     TEST_XEN_BALLOON | TEST_XEN_UNPOPULATED);
    const struct guest_options xen = parsed("target=96M unpopulated=off grants=7:8:1024");
    assert_int_equal(xen.target_bytes, 96 << 20);
    assert_true(xen.no_unpopulated);
    assert_int_equal(xen.grants_domain, 7);
    assert_int_equal(xen.grants_first, 8);
    assert_int_equal(xen.grants_count, 1024);
    assert_true(parsed("floor=off").floor_bytes == UINT64_MAX);
    assert_true(parsed("floor=0").floor_bytes == UINT64_MAX);
}

static void a_workload_has_the_words_of_pleat_run(void **state)
{
    const struct workload_options plain = parsed("workload=synthetic").workload;
    const struct workload_options other =
        parsed("workload=synthetic,fill=30%,orders=0:1/9:2,lifetime=bimodal,mean=100ms,long-mean=2000,"
               "long-share=1%,rate=1000,cpus=2,remote-free=0,seed=9,preset=50,reclaimable=50%")
            .workload;

    (void)state;
    assert_int_equal(plain.fill_ppm, 600000);
    assert_int_equal(plain.unmovable_ppm, 50000);
    assert_int_equal(plain.rate_per_second, 50000);
    assert_int_equal(plain.long_share_ppm, 0);
    assert_int_equal(other.fill_ppm, 300000);
    assert_int_equal(other.order_weights[0], 1);
    assert_int_equal(other.order_weights[1], 0);
    assert_int_equal(other.order_weights[9], 2);
    assert_int_equal(other.lifetime, LIFETIME_BIMODAL);
    assert_int_equal(other.mean_operations, 100);
    assert_int_equal(other.long_mean_operations, 2000);
    assert_int_equal(other.long_share_ppm, 10000);
    assert_int_equal(other.cpus, 2);
    assert_int_equal(other.remote_free, 0);
    assert_int_equal(other.seed, 9);
    assert_int_equal(other.unmovable_ppm, 500000);
    assert_int_equal(parsed("workload=synthetic,speed=max").workload.rate_per_second, 0);
    /* Asked for explicitly, this leaves no room for the default of the other. */
    assert_int_equal(parsed("workload=synthetic,unmovable=100%").workload.reclaimable_ppm, 0);
}

static void wrong_words_are_named(void **state)
{
    (void)state;
    refused("walk", "command line: word: expected run, bench, stray, or KEY=VALUE, found \"walk\"");
    refused("speed=1", "command line: word: expected a known key before the =, found \"speed\"");
    refused("test=cor", "command line: test: expected core, cpus, device, faults, xen-memory, xen-events, "
                        "xen-grants, xen-balloon, xen-unpopulated or all, found \"cor\"");
    for (unsigned i = 0; i < 5; i++) {
        static const char *const wrong[] = {"grants=7:8", "grants=7:8:0", "grants=7:8:1025",
                                            "grants=32752:8:1", "grants=7:4294967295:1"};
        struct guest_options options;
        char message[256];
        assert_int_equal(options_parse(wrong[i], &options, message, sizeof message), PLEAT_E_INVALID);
    }
    refused("help=on", "command line: help: expected off, found \"on\"");
    refused("unpopulated=on", "command line: unpopulated: expected off, found \"on\"");
    refused("fill=1X", "command line: fill: expected a size such as 512M, found \"1X\"");
    refused("fill=99999999999T", "command line: fill: expected a size such as 512M, found \"99999999999T\"");
    refused("free=101%", "command line: free: expected a percentage from 0% to 100%, found \"101%\"");
    refused("workload=trace=x", "command line: workload: expected synthetic first, found \"trace\"");
    refused("workload=synthetic,preset=6", "command line: preset: expected 5, 20 or 50, found \"6\"");
    refused(
        "workload=synthetic,mean=0",
        "command line: mean: expected a number of operations, or a time such as 2s or 100ms, found \"0\"");
    refused("workload=synthetic,orders=0:1/10:1",
            "command line: orders: expected ORDER:WEIGHT/ORDER:WEIGHT... with orders from 0 to 9, found "
            "\"0:1/10:1\"");
    refused("policy=online,ratio=3",
            "command line: policy: expected ratio=NUMBER beside auto_movable or prefer_movable, found "
            "\"ratio\"");
}

static void a_word_without_end_is_refused(void **state)
{
    char line[400], message[256];
    struct guest_options options;

    (void)state;
    for (unsigned i = 0; i < sizeof line - 1; i++)
        line[i] = 'x';
    line[sizeof line - 1] = '\0';
    assert_int_equal(options_parse(line, &options, message, sizeof message), PLEAT_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_means_the_defaults),
        cmocka_unit_test(words_choose_what_is_done),
        cmocka_unit_test(a_workload_has_the_words_of_pleat_run),
        cmocka_unit_test(wrong_words_are_named),
        cmocka_unit_test(a_word_without_end_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
