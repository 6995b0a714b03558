/* SPDX-License-Identifier: MIT
 *
 * Balloon, grants and unpopulated frames over the core itself: what is allocated has memory behind it that
 * was cleared, whatever goes out and comes back meanwhile, and the administrator's policy says nothing about
 * the balloon's own blocks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include <pleat/hosted.h>
#include <pleat/pleat.h>
#include <pleat/unpopulated.h>
#include <pleat/xen_balloon.h>
#include <pleat/xen_grants.h>

#include "tests/support/fake_xen.h"
#include "tests/support/random.h"

#define KIB       UINT64_C(1024)
#define MIB       (KIB * KIB)
#define BOOT      (48 * MIB)
#define GROWTH    (40 * MIB) /* and from there on, 8 MiB for somebody else */
#define OTHERS    (BOOT + GROWTH)
#define HIGHEST   (128 * MIB)
#define ABOVE     (96 * MIB) /* where unpopulated frames are */
#define USED_MOST 32768u

struct bench {
    struct pleat_hosted *hosted;
    struct pleat pleat;
    struct pleat_memory memory;
    struct pleat_memory_ops ops;
    struct fake_xen fake;
    struct pleat_xen_balloon *balloon;
    struct pleat_xen_grants *grants;
    void *storage;
    void *grants_storage;
    uint64_t used[USED_MOST];
    unsigned used_count;
};

static void clear(void *context, uint64_t address, uint64_t bytes)
{
    struct bench *b = context;
    for (uint64_t pfn = address / 4096; pfn < (address + bytes) / 4096; pfn++) {
        assert_true(b->fake.populated[pfn]);
        b->fake.dirty[pfn] = false;
        memset(pleat_hosted_pointer(b->hosted, pfn), 0, 4096);
    }
}

static struct bench *start(uint64_t floor_bytes)
{
    static const struct pleat_boot_span boot = {.start_pfn = 0, .frames = BOOT / 4096};
    const struct pleat_hosted_config hosted = {
        .frames = HIGHEST / 4096, .accessible = true, .fatal = PLEAT_HOSTED_FATAL_RECORDS};
    struct bench *b = calloc(1, sizeof(*b));
    assert_non_null(b);
    pleat_hosted_cpu_set(0);
    assert_int_equal(pleat_hosted_create(&b->hosted, &hosted), 0);
    const struct pleat_config config = {.port = pleat_hosted_port(b->hosted),
                                        .cpus = 1,
                                        .highest_pfn = HIGHEST / 4096,
                                        .block_pageblocks = 4,
                                        .watermark_frames = 1,
                                        .policy = PLEAT_POLICY_OFFLINE};
    assert_int_equal(pleat_init(&b->pleat, &config, &boot, 1), 0);
    pleat_memory_init(&b->pleat, &b->memory);
    b->ops = *b->memory.ops;
    b->ops.log = NULL;
    b->memory.ops = &b->ops;
    fake_xen_init(&b->fake, NULL, BOOT / 4096, false);
    const size_t bytes = pleat_xen_balloon_storage_bytes(&b->memory, BOOT, BOOT, GROWTH);
    b->storage = aligned_alloc(64, (bytes + 63) / 64 * 64);
    const struct pleat_xen_balloon_config balloon = {.memory = &b->memory,
                                                     .xen = &b->fake.xen,
                                                     .storage = b->storage,
                                                     .storage_bytes = bytes,
                                                     .boot_bytes = BOOT,
                                                     .boot_end = BOOT,
                                                     .growth_address = BOOT,
                                                     .growth_bytes = GROWTH,
                                                     .clear = clear,
                                                     .context = b,
                                                     .floor_bytes = floor_bytes};
    assert_int_equal(pleat_xen_balloon_create(&balloon, &b->balloon), 0);
    return b;
}

static void finish(struct bench *b)
{
    while (b->used_count > 0) {
        pleat_free(&b->pleat, b->used[--b->used_count], 0);
    }
    assert_true(pleat_is_valid(&b->pleat));
    assert_int_equal(pleat_hosted_fatals(b->hosted), 0);
    pleat_hosted_destroy(b->hosted);
    free(b->grants_storage);
    free(b->storage);
    free(b);
}

static void run(struct bench *b)
{
    while (pleat_xen_balloon_step(b->balloon, 0) == PLEAT_XEN_WAKE_NOW) {
    }
    assert_true(pleat_xen_balloon_is_valid(b->balloon));
    assert_true(pleat_is_valid(&b->pleat));
}

static void set_target(struct bench *b, uint64_t bytes)
{
    pleat_xen_balloon_set_target(b->balloon, bytes);
    run(b);
}

static bool allocate(struct bench *b)
{
    const int64_t pfn = pleat_alloc(&b->pleat, 0, 0, PLEAT_NO_TAG);
    if (pfn < 0) {
        return false;
    }
    assert_true(b->fake.populated[pfn] && !b->fake.dirty[pfn] && !b->fake.foreign[pfn]);
    b->used[b->used_count++] = (uint64_t)pfn;
    return true;
}

static enum pleat_block_state state_at(const struct bench *b, uint64_t address)
{
    return b->memory.ops->block_state(b->memory.context, address);
}

/* --- The tests ----------------------------------------------------------------------------------------- */

static void the_cores_memory_goes_out_and_comes_back(void **state)
{
    (void)state;
    struct bench *b = start(4 * MIB);
    struct pleat_xen_balloon_statistics statistics;
    set_target(b, 16 * MIB);
    assert_int_equal(pleat_xen_balloon_reason(b->balloon, NULL, 0), PLEAT_XEN_BALLOON_REASON_NONE);
    assert_int_equal(b->fake.populated_frames, 16 * MIB / 4096);
    set_target(b, BOOT);
    assert_int_equal(b->fake.populated_frames, BOOT / 4096);
    pleat_xen_balloon_statistics(b->balloon, &statistics);
    /* Single frames in batches of 512 would take 16 calls each way. */
    assert_true(statistics.decrease_calls[0] + statistics.decrease_calls[1] <= 2);
    assert_true(statistics.populate_calls[0] + statistics.populate_calls[1] <= 4);
    while (allocate(b)) {
    }
    assert_true(b->used_count > 11800);
    finish(b);
}

static void growth_is_online_whatever_the_policy_is_and_others_follow_it(void **state)
{
    (void)state;
    static const enum pleat_online_policy policies[] = {PLEAT_POLICY_OFFLINE, PLEAT_POLICY_ONLINE_MOVABLE};
    for (unsigned i = 0; i < 2; i++) {
        struct bench *b = start(4 * MIB);
        const struct pleat_memory_owner other = {.context = &b};
        const struct pleat_memory_range range = {
            .address = OTHERS, .bytes = 8 * MIB, .name = "dimm", .owner = &other};
        assert_int_equal(pleat_set_policy(&b->pleat, policies[i], 0), 0);
        /* The guest is out of memory, and grows all the same. */
        while (allocate(b)) {
        }
        const unsigned used = b->used_count;
        set_target(b, BOOT + 9 * MIB);
        assert_int_equal(b->fake.populated_frames, (BOOT + 9 * MIB) / 4096);
        assert_int_equal(state_at(b, BOOT), PLEAT_BLOCK_ONLINE);
        while (allocate(b)) {
        }
        /* Unmovable frames, so the zone isn't MOVABLE; two blocks' metadata are all that is missing. */
        const uint64_t missing = 9 * MIB / 4096 - (b->used_count - used);
        assert_true(missing <= 2 * b->memory.metadata_bytes / 4096 + 1);
        assert_int_equal(b->memory.ops->add(b->memory.context, &range), 0);
        assert_int_equal(state_at(b, OTHERS), i == 0 ? PLEAT_BLOCK_OFFLINE : PLEAT_BLOCK_ONLINE);
        set_target(b, BOOT + 12 * MIB);
        assert_int_equal(b->fake.populated_frames, (BOOT + 12 * MIB) / 4096);
        finish(b);
    }
}

static void at_random_what_is_allocated_has_memory(void **state)
{
    (void)state;
    uint64_t seed;
    for (unsigned i = 0; test_random_seed_number(i, 1, 2, &seed) != 0; i++) {
        struct test_random random;
        struct bench *b = start(4 * MIB);
        test_random_seed_runs(seed);
        test_random_seed(&random, seed);
        for (unsigned turn = 0; turn < 40; turn++) {
            for (uint64_t n = test_random_below(&random, 4000); n > 0 && allocate(b); n--) {
            }
            for (uint64_t n = test_random_below(&random, 4000); n > 0 && b->used_count > 0; n--) {
                const uint64_t at = test_random_below(&random, b->used_count);
                pleat_free(&b->pleat, b->used[at], 0);
                b->used[at] = b->used[--b->used_count];
            }
            b->fake.most[turn % 2][turn / 2 % 2] = test_random_below(&random, 2) ? UINT64_MAX : 7;
            set_target(b, test_random_below(&random, (BOOT + GROWTH) / 4096) * 4096);
            pleat_xen_balloon_memory_changed(b->balloon);
            run(b);
        }
        test_random_seed_done();
        finish(b);
    }
}

/* --- Grants into frames that never were memory --------------------------------------------------------- */

static int alloc_unpopulated(void *context, unsigned count, uint64_t *pfns)
{
    return pleat_alloc_unpopulated(context, count, pfns, PLEAT_NO_TAG);
}

static void free_unpopulated(void *context, unsigned count, const uint64_t *pfns)
{
    assert_int_equal(pleat_free_unpopulated(context, count, pfns), 0);
}

static void foreign_frames_take_nothing_from_the_guest(void **state)
{
    (void)state;
    static const struct pleat_unpopulated_range above = {ABOVE / 4096, 8 * MIB / 4096};
    static const struct pleat_unpopulated_config config = {.ranges = &above, .range_count = 1};
    static struct pleat_xen_mapping mappings[1024];
    static struct pleat_xen_mapping more[2048];
    struct bench *b = start(4 * MIB);
    set_target(b, BOOT);
    assert_int_equal(pleat_unpopulated_init(&b->pleat, &config), 0);
    const size_t bytes = pleat_xen_grants_storage_bytes(FAKE_XEN_GRANTS);
    b->grants_storage = aligned_alloc(64, (bytes + 63) / 64 * 64);
    struct pleat_xen_grants_config grants = {.xen = &b->fake.xen,
                                             .memory = &b->memory,
                                             .storage = b->grants_storage,
                                             .storage_bytes = bytes,
                                             .holes = {alloc_unpopulated, free_unpopulated, &b->pleat}};
    pleat_xen_balloon_holes(b->balloon, &grants.fall_back);
    assert_int_equal(pleat_xen_grants_create(&grants, &b->grants), 0);
    assert_int_equal(pleat_xen_grants_map(b->grants, mappings, 1024), 1024);
    assert_int_equal(b->fake.populated_frames, BOOT / 4096);
    for (unsigned i = 0; i < 1024; i++) {
        assert_true(mappings[i].pfn >= ABOVE / 4096);
    }
    /* 2048 are there in all: the rest comes out of the guest, and goes back into use. */
    assert_int_equal(pleat_xen_grants_map(b->grants, more, 2048), 2048);
    assert_int_equal(b->fake.populated_frames, BOOT / 4096 - 1024);
    run(b);
    assert_int_equal(pleat_xen_balloon_reason(b->balloon, NULL, 0), PLEAT_XEN_BALLOON_REASON_LENT);
    assert_int_equal(pleat_xen_grants_unmap(b->grants, more, 2048), 2048);
    assert_int_equal(pleat_xen_grants_unmap(b->grants, mappings, 1024), 1024);
    run(b);
    assert_int_equal(b->fake.populated_frames, BOOT / 4096);
    finish(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cores_memory_goes_out_and_comes_back),
        cmocka_unit_test(growth_is_online_whatever_the_policy_is_and_others_follow_it),
        cmocka_unit_test(at_random_what_is_allocated_has_memory),
        cmocka_unit_test(foreign_frames_take_nothing_from_the_guest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
