/* SPDX-License-Identifier: MIT
 *
 * Synthetic workloads: options that are refused with a reason, and streams that have the fill, the mix, the
 * sizes and the lifetimes that were asked for.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "machine/options.h"
#include "machine/synthetic.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("expected \"%s\" in \"%s\"", part, text);
}

static struct pleat_synthetic_config parsed(const char *text)
{
    struct pleat_synthetic_config config;
    struct pleat_message message = {""};
    if (pleat_synthetic_parse(text, &config, &message))
        fail_msg("%s", message.text);
    return config;
}

static struct pleat_operations prepared(const char *text, uint64_t frames, uint64_t count)
{
    struct pleat_synthetic_config config = parsed(text);
    struct pleat_operations operations;
    struct pleat_message message = {""};
    if (pleat_synthetic_prepare(&config, frames, count, &operations, &message) ||
        !pleat_operations_is_valid(&operations, &message))
        fail_msg("%s", message.text);
    return operations;
}

/* ---- options ---- */

static void defaults_and_presets(void **state)
{
    (void)state;
    struct pleat_synthetic_config config = parsed("");
    assert_int_equal(config.fill_ppm, 600000);
    assert_int_equal(config.unmovable_ppm, 50000);
    assert_int_equal(config.reclaimable_ppm, 20000);
    assert_int_equal(config.order_weights[0], 96);
    assert_int_equal(config.lifetime, PLEAT_LIFETIME_EXPONENTIAL);
    assert_int_equal(config.mean_operations, 0);
    assert_int_equal(config.cpus, 1);
    assert_int_equal(parsed("synthetic").unmovable_ppm, 50000);
    assert_int_equal(parsed("synthetic,preset=5").unmovable_ppm, 50000);
    assert_int_equal(parsed("synthetic,preset=20").unmovable_ppm, 200000);
    assert_int_equal(parsed("preset=50").unmovable_ppm, 500000);
    assert_int_equal(parsed("preset=50,unmovable=3%").unmovable_ppm, 30000);
    assert_int_equal(parsed("unmovable=99%").reclaimable_ppm, 10000);
}

static void every_key_is_read(void **state)
{
    (void)state;
    struct pleat_synthetic_config config =
        parsed("synthetic,fill=80%,unmovable=10%,reclaimable=0,orders=0:7/9:1,lifetime=bimodal,mean=10ms,"
               "long-mean=5000,long-share=1%,rate=200000,cpus=4,remote=12.5%,seed=0xff");
    assert_int_equal(config.fill_ppm, 800000);
    assert_int_equal(config.unmovable_ppm, 100000);
    assert_int_equal(config.reclaimable_ppm, 0);
    assert_int_equal(config.order_weights[0], 7);
    assert_int_equal(config.order_weights[1], 0);
    assert_int_equal(config.order_weights[9], 1);
    assert_int_equal(config.lifetime, PLEAT_LIFETIME_BIMODAL);
    assert_int_equal(config.mean_operations, 2000);
    assert_int_equal(config.long_mean_operations, 5000);
    assert_int_equal(config.long_share_ppm, 10000);
    assert_int_equal(config.rate_per_second, 200000);
    assert_int_equal(config.cpus, 4);
    assert_int_equal(config.remote_ppm, 125000);
    assert_int_equal(config.seed, 255);
    assert_int_equal(parsed("lifetime=bimodal,mean=7").long_mean_operations, 700);
}

static void wrong_options_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } bad[] = {
        {"sinthetic", "Parameter 'workload' expects one of synthetic, found 'sinthetic'"},
        {"colour=red",
         "-workload synthetic: Invalid parameter 'colour', expected one of workload, preset, fill"},
        {"preset=10", "Parameter 'preset' expects one of 5|20|50, found '10'"},
        {"fill=0%", "Parameter 'fill' expects at least"},
        {"fill=101%", "Parameter 'fill' expects a percentage"},
        {"unmovable=60%,reclaimable=50%",
         "'unmovable' and 'reclaimable' expect at most 100% together, found 110%"},
        {"orders=0", "Parameter 'orders' expects ORDER:WEIGHT"},
        {"orders=10:1", "Parameter 'orders' expects"},
        {"orders=0:0", "Parameter 'orders' expects"},
        {"orders=0:1/0:2", "each order from 0 to 9 at most once"},
        {"orders=0:1/", "Parameter 'orders' expects"},
        {"orders=0:1000001", "Parameter 'orders' expects"},
        {"orders=0:99999999999999999999999", "Parameter 'orders' expects"},
        {"orders=0:1x", "Parameter 'orders' expects"},
        {"mean=2m", "Parameter 'mean' expects a number of operations, or a time such as 2s, found '2m'"},
        {"mean=0", "Parameter 'mean' expects 1 to 1099511627776 operations, found 0"},
        {"mean=1ns", "Parameter 'mean' expects 1 to"},
        {"mean=10000000000s,rate=1000000000", "Parameter 'mean' expects 1 to"},
        {"lifetime=bimodal", "Parameter 'lifetime' is bimodal, which expects a mean"},
        {"long-mean=5", "Parameter 'long-mean' expects lifetime=bimodal"},
        {"long-share=5%", "Parameter 'long-share' expects lifetime=bimodal"},
        {"rate=0", "Parameter 'rate' expects at least 1"},
        {"cpus=257", "Parameter 'cpus' expects at most 256"},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct pleat_synthetic_config config = {.seed = 77};
        struct pleat_message message = {""};
        if (pleat_synthetic_parse(bad[i].text, &config, &message) != PLEAT_E_INVALID)
            fail_msg("'%s' was accepted", bad[i].text);
        assert_contains(message.text, bad[i].expected);
        assert_int_equal(config.seed, 77);
    }
    struct pleat_synthetic_config config = parsed("fill=1%");
    struct pleat_synthetic synthetic;
    struct pleat_message message = {""};
    assert_int_equal(pleat_synthetic_begin(&synthetic, &config, 99, &message), PLEAT_E_INVALID);
    assert_contains(message.text, "'fill' expects at least one frame, found 1% of 99");
    pleat_synthetic_end(&synthetic);
}

static void help_names_every_key(void **state)
{
    (void)state;
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    pleat_synthetic_help(out);
    fclose(out);
    static const char *const names[] = {
        "preset=",    "fill=",       "unmovable=", "reclaimable=", "orders=", "lifetime=", "mean=",
        "long-mean=", "long-share=", "rate=",      "cpus=",        "remote=", "seed="};
    for (size_t i = 0; i < COUNT(names); i++)
        assert_contains(text, names[i]);
    free(text);
}

/* ---- streams ---- */

static void the_same_seed_gives_the_same_operations(void **state)
{
    (void)state;
    struct pleat_operations a = prepared("seed=5,cpus=3,remote=50%", 20000, 50000);
    struct pleat_operations b = prepared("seed=5,cpus=3,remote=50%", 20000, 50000);
    struct pleat_operations c = prepared("seed=6,cpus=3,remote=50%", 20000, 50000);
    assert_int_equal(a.count, b.count);
    assert_memory_equal(a.items, b.items, a.count * sizeof(*a.items));
    assert_memory_equal(a.time_ns, b.time_ns, a.count * sizeof(*a.time_ns));
    assert_true(a.count != c.count || memcmp(a.items, c.items, a.count * sizeof(*a.items)) != 0);
    pleat_operations_free(&a);
    pleat_operations_free(&b);
    pleat_operations_free(&c);
}

static void memory_is_filled_to_the_target_and_stays_there(void **state)
{
    (void)state;
    struct pleat_operations operations = prepared("fill=60%,orders=0:90/3:9/9:1", 100000, 200000);
    assert_int_equal(operations.count, operations.before + 200000);
    assert_true(operations.counts.peak_live_frames < 60000 + 512);
    struct pleat_operation_counts counts = {0};
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < operations.count; i++) {
        assert_true(i >= operations.before || !operations.items[i].is_free);
        pleat_operation_counts_add(&counts, &operations.items[i]);
        if (i >= operations.before && counts.live_frames < least)
            least = counts.live_frames;
    }
    assert_true(least > 60000 - 512 - 1);
    assert_int_equal(operations.time_ns[operations.before], 0);
    assert_int_equal(operations.time_ns[operations.count - 1], 199999ull * 20000);
    pleat_operations_free(&operations);
}

static void mobility_and_orders_come_as_often_as_asked_for(void **state)
{
    (void)state;
    struct pleat_operations operations = prepared("preset=20,orders=0:50/1:30/4:20", 200000, 400000);
    double all = (double)operations.counts.allocations;
    const uint64_t *mobility = operations.counts.allocations_by_mobility;
    const uint64_t *order = operations.counts.allocations_by_order;
    assert_true((double)mobility[PLEAT_UNMOVABLE] > 0.19 * all &&
                (double)mobility[PLEAT_UNMOVABLE] < 0.21 * all);
    assert_true((double)mobility[PLEAT_RECLAIMABLE] > 0.018 * all &&
                (double)mobility[PLEAT_RECLAIMABLE] < 0.022 * all);
    assert_true((double)order[0] > 0.49 * all && (double)order[0] < 0.51 * all);
    assert_true((double)order[1] > 0.29 * all && (double)order[1] < 0.31 * all);
    assert_int_equal(order[0] + order[1] + order[4], operations.counts.allocations);
    pleat_operations_free(&operations);
}

/* Mean lifetime, in operations, of the blocks that were allocated and freed after the target was reached. */
static double mean_lifetime(const struct pleat_operations *operations, uint64_t *least, uint64_t *most,
                            size_t *stayed)
{
    uint64_t *born = calloc(operations->slots, sizeof(*born));
    double sum = 0, died = 0;
    *least = UINT64_MAX;
    *most = 0;
    *stayed = operations->before;
    for (size_t i = 0; i < operations->count; i++) {
        const struct pleat_operation *operation = &operations->items[i];
        if (!operation->is_free) {
            born[operation->slot] = i;
            continue;
        }
        if (born[operation->slot] < operations->before) {
            --*stayed;
            continue;
        }
        uint64_t age = i - born[operation->slot];
        *least = age < *least ? age : *least;
        *most = age > *most ? age : *most;
        sum += (double)age;
        died++;
    }
    free(born);
    return died ? sum / died : 0;
}

static void lifetimes_have_their_mean_and_the_rest_stays(void **state)
{
    (void)state;
    uint64_t least, most;
    size_t stayed;
    /* 60,000 blocks, of which 5,000 turn over. */
    struct pleat_operations operations =
        prepared("fill=60%,orders=0:1,lifetime=exponential,mean=10000", 100000, 400000);
    double mean = mean_lifetime(&operations, &least, &most, &stayed);
    assert_true(mean > 9300 && mean < 10700);
    assert_true(least < 100 && most > 50000);
    assert_in_range(stayed, 54900, 55100);
    pleat_operations_free(&operations);

    operations = prepared("fill=60%,orders=0:1,lifetime=fixed,mean=10000", 100000, 400000);
    mean = mean_lifetime(&operations, &least, &most, &stayed);
    assert_true(mean > 9900 && mean < 10100);
    assert_true(most - least < 200);
    pleat_operations_free(&operations);

    /* Nine of ten live for 2,000, one for 82,000: 10,000 on average. */
    operations = prepared("fill=60%,orders=0:1,lifetime=bimodal,mean=2000,long-mean=82000", 100000, 1500000);
    mean = mean_lifetime(&operations, &least, &most, &stayed);
    assert_true(mean > 8500 && mean < 11500);
    assert_true(most > 200000);
    pleat_operations_free(&operations);

    /* Without a mean all of it turns over. */
    operations = prepared("fill=50%,orders=0:1", 10000, 300000);
    mean = mean_lifetime(&operations, &least, &most, &stayed);
    assert_true(mean > 9300 && mean < 10700);
    assert_int_equal(stayed, 0);
    pleat_operations_free(&operations);
}

static void frees_of_other_cpus_are_as_many_as_asked_for(void **state)
{
    (void)state;
    struct pleat_operations operations = prepared("cpus=4,remote=25%", 20000, 200000);
    uint8_t *cpu = calloc(operations.slots, 1);
    double frees = 0, remote = 0;
    for (size_t i = 0; i < operations.count; i++) {
        const struct pleat_operation *operation = &operations.items[i];
        if (operation->is_free) {
            frees++;
            remote += cpu[operation->slot] != operation->cpu;
        } else {
            cpu[operation->slot] = operation->cpu;
        }
    }
    assert_int_equal(operations.cpus, 4);
    assert_true(remote > 0.24 * frees && remote < 0.26 * frees);
    free(cpu);
    pleat_operations_free(&operations);
}

static void the_target_follows_the_memory(void **state)
{
    (void)state;
    struct pleat_synthetic_config config = parsed("fill=50%,orders=0:9/2:1,mean=500");
    struct pleat_synthetic synthetic;
    assert_int_equal(pleat_synthetic_begin(&synthetic, &config, 10000, NULL), 0);
    struct pleat_operation operation;
    uint64_t time_ns = 0, last_ns = 0;
    static const uint64_t sizes[] = {10000, 30000, 1000, 0, 20000};
    for (size_t size = 0; size < COUNT(sizes); size++) {
        pleat_synthetic_resize(&synthetic, sizes[size]);
        for (int i = 0; i < 40000; i++) {
            assert_int_equal(pleat_synthetic_next(&synthetic, &operation, &time_ns), 0);
            assert_true(time_ns >= last_ns);
            last_ns = time_ns;
        }
        uint64_t target = sizes[size] / 2;
        assert_in_range(synthetic.live_frames, target < 4 ? 0 : target - 4, target + 4);
    }
    pleat_synthetic_end(&synthetic);
    pleat_synthetic_end(&synthetic);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_and_presets),
        cmocka_unit_test(every_key_is_read),
        cmocka_unit_test(wrong_options_are_named),
        cmocka_unit_test(help_names_every_key),
        cmocka_unit_test(the_same_seed_gives_the_same_operations),
        cmocka_unit_test(memory_is_filled_to_the_target_and_stays_there),
        cmocka_unit_test(mobility_and_orders_come_as_often_as_asked_for),
        cmocka_unit_test(lifetimes_have_their_mean_and_the_rest_stays),
        cmocka_unit_test(frees_of_other_cpus_are_as_many_as_asked_for),
        cmocka_unit_test(the_target_follows_the_memory),
    };
    return cmocka_run_group_tests_name("synthetic", tests, NULL, NULL);
}
