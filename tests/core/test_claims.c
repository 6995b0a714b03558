/* SPDX-License-Identifier: MIT
 *
 * The instance's range tree: boot spans, added ranges, claims of the embedder; conflicts are named.
 */
#include "core_fixture.h"

#include <stdio.h>

static const char owner_a;
static char printed[2048];
static char logged[512];

static int print(void *context, const struct pleat_resource *root, const struct pleat_resource *node)
{
    char line[128];

    (void)context;
    pleat_resource_format(root, node, line, sizeof(line));
    if (!strstr(line, "core tables"))
        strcat(strcat(printed, line), "\n");
    return 0;
}

static const char *listing(struct fixture *f)
{
    printed[0] = '\0';
    assert_int_equal(pleat_resources(&f->pleat, print, NULL), 0);
    return printed;
}

static void add(struct fixture *f, unsigned block, unsigned blocks)
{
    static const char name[] = "virtio-mem vm0";
    struct pleat_range_config range = {.name = name,
                                       .owner = &owner_a,
                                       .start_pfn = GIB_FRAMES + block * BLOCK_FRAMES,
                                       .frames = blocks * BLOCK_FRAMES};

    assert_int_equal(pleat_add(&f->pleat, &range), 0);
}

static void offline_policy(struct pleat_config *config)
{
    config->policy = PLEAT_POLICY_OFFLINE;
}

static void ranges_grow_split_and_vanish_in_the_tree(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, offline_policy);

    (void)state;
    assert_string_equal(listing(f), "00000000-3fffffff : System RAM\n");
    add(f, 0, 2);
    add(f, 2, 2);
    add(f, 5, 1);
    assert_string_equal(listing(f), "00000000-3fffffff : System RAM\n"
                                    "40000000-5fffffff : virtio-mem vm0\n"
                                    "68000000-6fffffff : virtio-mem vm0\n");
    assert_int_equal(pleat_remove(&f->pleat, &owner_a, GIB_FRAMES + BLOCK_FRAMES, BLOCK_FRAMES), 0);
    assert_string_equal(listing(f), "00000000-3fffffff : System RAM\n"
                                    "40000000-47ffffff : virtio-mem vm0\n"
                                    "50000000-5fffffff : virtio-mem vm0\n"
                                    "68000000-6fffffff : virtio-mem vm0\n");
    assert_int_equal(pleat_remove(&f->pleat, &owner_a, GIB_FRAMES, BLOCK_FRAMES), 0);
    assert_int_equal(pleat_remove(&f->pleat, &owner_a, GIB_FRAMES + 2 * BLOCK_FRAMES, BLOCK_FRAMES), 0);
    assert_int_equal(pleat_remove(&f->pleat, &owner_a, GIB_FRAMES + 5 * BLOCK_FRAMES, BLOCK_FRAMES), 0);
    assert_string_equal(listing(f), "00000000-3fffffff : System RAM\n"
                                    "58000000-5fffffff : virtio-mem vm0\n");
    assert_int_equal(pleat_remove(&f->pleat, &owner_a, GIB_FRAMES + 3 * BLOCK_FRAMES, BLOCK_FRAMES), 0);
    assert_string_equal(listing(f), "00000000-3fffffff : System RAM\n");
    fixture_free(f);
}

static void a_claim_is_the_parent_of_what_is_added_in_it(void **state)
{
    struct fixture *f = fixture_new(NULL, 0, offline_policy);
    struct pleat_resource region = {0}, clash = {0}, inner = {0}, *conflict = NULL;

    (void)state;
    add(f, 1, 1);
    pleat_resource_describe(&region, "region of vm0", 0x40000000, 0x20000000);
    assert_int_equal(pleat_claim(&f->pleat, &region, NULL), 0);
    add(f, 2, 1);
    pleat_resource_describe(&clash, "clash", 0x30000000, 0x20000000);
    assert_int_equal(pleat_claim(&f->pleat, &clash, &conflict), PLEAT_E_EXISTS);
    assert_non_null(conflict);
    pleat_resource_describe(&inner, "crash kernel", 0x49000000, 0x1000);
    assert_int_equal(pleat_claim(&f->pleat, &inner, &conflict), 0);
    assert_string_equal(listing(f), "00000000-3fffffff : System RAM\n"
                                    "40000000-5fffffff : region of vm0\n"
                                    "  48000000-57ffffff : virtio-mem vm0\n"
                                    "    49000000-49000fff : crash kernel\n");
    assert_int_equal(pleat_remove(&f->pleat, &owner_a, GIB_FRAMES + BLOCK_FRAMES, BLOCK_FRAMES), 0);
    assert_string_equal(listing(f), "00000000-3fffffff : System RAM\n"
                                    "40000000-5fffffff : region of vm0\n"
                                    "  49000000-49000fff : crash kernel\n"
                                    "  50000000-57ffffff : virtio-mem vm0\n");
    assert_int_equal(pleat_unclaim(&f->pleat, &region), 0);
    assert_int_equal(pleat_unclaim(&f->pleat, &region), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_unclaim(&f->pleat, &inner), 0);
    fixture_free(f);
}

static void keep_line(void *context, enum pleat_log_level level, const char *line)
{
    (void)context;
    (void)level;
    snprintf(logged, sizeof(logged), "%s", line);
}

static void a_range_in_the_way_is_named(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct pleat_range_config range = {
        .name = "late", .owner = &owner_a, .start_pfn = GIB_FRAMES, .frames = 4 * BLOCK_FRAMES};
    struct pleat_hosted_config hosted = {.frames = 4 * GIB_FRAMES, .accessible = true, .log = keep_line};
    struct pleat_boot_span span = {.frames = GIB_FRAMES};

    (void)state;
    assert_non_null(f);
    pleat_hosted_cpu_set(0);
    assert_int_equal(pleat_hosted_create(&f->hosted, &hosted), 0);
    f->config = (struct pleat_config){.cpus = 1,
                                      .highest_pfn = 4 * GIB_FRAMES,
                                      .policy = PLEAT_POLICY_OFFLINE,
                                      .port = pleat_hosted_port(f->hosted)};
    assert_int_equal(pleat_init(&f->pleat, &f->config, &span, 1), 0);
    add(f, 2, 1);
    assert_int_equal(pleat_add(&f->pleat, &range), PLEAT_E_EXISTS);
    assert_string_equal(logged,
                        "memory can't be added at 0x40000000: there is \"virtio-mem vm0\" at 0x50000000 to "
                        "0x57ffffff");
    /* Also what holds all of the new range. */
    range.start_pfn = GIB_FRAMES + 2 * BLOCK_FRAMES;
    range.frames = BLOCK_FRAMES;
    logged[0] = '\0';
    assert_int_equal(pleat_add(&f->pleat, &range), PLEAT_E_EXISTS);
    assert_string_equal(logged,
                        "memory can't be added at 0x50000000: there is \"virtio-mem vm0\" at 0x50000000 to "
                        "0x57ffffff");
    range.start_pfn = BLOCK_FRAMES;
    assert_int_equal(pleat_add(&f->pleat, &range), PLEAT_E_EXISTS);
    assert_string_equal(logged,
                        "memory can't be added at 0x8000000: there is \"System RAM\" at 0x0 to 0x3fffffff");
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_grow_split_and_vanish_in_the_tree),
        cmocka_unit_test(a_claim_is_the_parent_of_what_is_added_in_it),
        cmocka_unit_test(a_range_in_the_way_is_named),
    };
    return cmocka_run_group_tests_name("claims", tests, NULL, NULL);
}
