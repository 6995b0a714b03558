/* SPDX-License-Identifier: MIT
 *
 * Grants: references given and taken back beside a peer that maps them, and foreign frames mapped into holes
 * of two allocators, with each way in which a part of it can fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include <pleat/xen_grants.h>

#include "tests/support/fake_xen.h"

/* A pool of holes, `left` of them, upwards from `first`. */
struct pool {
    uint64_t first;
    unsigned left;
    unsigned out;
    bool used[256];
};

struct bench {
    struct fake_xen fake;
    struct pleat_memory memory;
    struct pleat_memory_ops ops;
    struct pool holes;
    struct pool fall_back;
    struct pleat_xen_grants *grants;
    void *storage;
    unsigned lines;
};

static int pool_alloc(void *context, unsigned count, uint64_t *pfns)
{
    struct pool *pool = context;
    if (count > pool->left) {
        return PLEAT_E_NO_MEMORY;
    }
    for (unsigned i = 0, at = 0; i < count; at++) {
        if (!pool->used[at]) {
            pool->used[at] = true;
            pfns[i++] = pool->first + at;
        }
    }
    pool->left -= count;
    pool->out += count;
    return 0;
}

static void pool_free(void *context, unsigned count, const uint64_t *pfns)
{
    struct pool *pool = context;
    for (unsigned i = 0; i < count; i++) {
        assert_true(pool->used[pfns[i] - pool->first]);
        pool->used[pfns[i] - pool->first] = false;
    }
    pool->left += count;
    pool->out -= count;
}

static void log_line(void *context, int level, const char *line)
{
    (void)level;
    assert_non_null(line);
    ((struct bench *)context)->lines++;
}

static struct bench *start(unsigned holes, unsigned fall_back)
{
    struct bench *b = calloc(1, sizeof(*b));
    assert_non_null(b);
    fake_xen_init(&b->fake, NULL, 1024, false);
    b->ops = (struct pleat_memory_ops){.log = log_line};
    b->memory = (struct pleat_memory){.ops = &b->ops, .context = b};
    b->holes = (struct pool){.first = 2048, .left = holes};
    b->fall_back = (struct pool){.first = 4096, .left = fall_back};
    const size_t bytes = pleat_xen_grants_storage_bytes(FAKE_XEN_GRANTS);
    b->storage = aligned_alloc(64, (bytes + 63) / 64 * 64);
    const struct pleat_xen_grants_config config = {.xen = &b->fake.xen,
                                                   .memory = &b->memory,
                                                   .storage = b->storage,
                                                   .storage_bytes = bytes,
                                                   .holes = {pool_alloc, pool_free, &b->holes},
                                                   .fall_back = {pool_alloc, pool_free, &b->fall_back}};
    assert_int_equal(pleat_xen_grants_create(&config, &b->grants), 0);
    return b;
}

static void finish(struct bench *b)
{
    assert_true(pleat_xen_grants_is_valid(b->grants));
    assert_int_equal(b->holes.out, 0);
    assert_int_equal(b->fall_back.out, 0);
    free(b->storage);
    free(b);
}

static struct pleat_xen_grants_statistics statistics(const struct bench *b)
{
    struct pleat_xen_grants_statistics statistics;
    pleat_xen_grants_statistics(b->grants, &statistics);
    return statistics;
}

/* --- Granting ------------------------------------------------------------------------------------------ */

static void an_offer_says_what_xen_wants_to_know(void **state)
{
    (void)state;
    struct bench *b = start(0, 0);
    const int64_t one = pleat_xen_grants_offer(b->grants, 5, 0x123, true);
    const int64_t two = pleat_xen_grants_offer(b->grants, 6, UINT32_MAX, false);
    assert_true(one >= 8 && two >= 8 && one != two);
    assert_int_equal(b->fake.grants[one].flags, 1 | 4);
    assert_int_equal(b->fake.grants[one].domain, 5);
    assert_int_equal(b->fake.grants[one].frame, 0x123);
    assert_int_equal(b->fake.grants[two].flags, 1);
    assert_int_equal(b->fake.grants[two].frame, UINT32_MAX);
    assert_int_equal(pleat_xen_grants_end(b->grants, (uint32_t)one), 0);
    assert_int_equal(b->fake.grants[one].flags, 0);
    assert_int_equal(pleat_xen_grants_end(b->grants, (uint32_t)one), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_xen_grants_end(b->grants, (uint32_t)two), 0);
    finish(b);
}

static void what_cant_be_granted_is_refused(void **state)
{
    (void)state;
    struct bench *b = start(0, 0);
    assert_int_equal(pleat_xen_grants_offer(b->grants, 5, 0, false), PLEAT_E_INVALID);
    assert_int_equal(pleat_xen_grants_offer(b->grants, 5, UINT64_C(1) << 32, false), PLEAT_E_INVALID);
    assert_int_equal(pleat_xen_grants_offer(b->grants, PLEAT_XEN_DOMAIN_SELF, 1, false), PLEAT_E_INVALID);
    assert_int_equal(pleat_xen_grants_end(b->grants, 0), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_xen_grants_end(b->grants, 7), PLEAT_E_NOT_FOUND);
    assert_int_equal(pleat_xen_grants_end(b->grants, 5000), PLEAT_E_NOT_FOUND);
    finish(b);
}

static void a_grant_that_the_peer_has_mapped_doesnt_end(void **state)
{
    (void)state;
    struct bench *b = start(0, 0);
    const uint32_t reference = (uint32_t)pleat_xen_grants_offer(b->grants, 5, 9, false);
    for (unsigned writes = 0; writes < 2; writes++) {
        fake_peer_map(&b->fake, reference, writes != 0);
        const uint16_t flags = b->fake.grants[reference].flags;
        assert_int_equal(pleat_xen_grants_end(b->grants, reference), PLEAT_E_BUSY);
        assert_int_equal(b->fake.grants[reference].flags, flags);
        fake_peer_unmap(&b->fake, reference);
    }
    assert_int_equal(pleat_xen_grants_end(b->grants, reference), 0);
    assert_int_equal(statistics(b).ended_busy, 2);
    finish(b);
}

static void references_run_out_and_come_back(void **state)
{
    (void)state;
    struct bench *b = start(0, 0);
    bool seen[FAKE_XEN_GRANTS] = {false};
    for (unsigned i = 8; i < FAKE_XEN_GRANTS; i++) {
        const int64_t reference = pleat_xen_grants_offer(b->grants, 1, i, false);
        assert_true(reference >= 8 && reference < FAKE_XEN_GRANTS && !seen[reference]);
        seen[reference] = true;
    }
    assert_int_equal(pleat_xen_grants_offer(b->grants, 1, 5, false), PLEAT_E_NO_MEMORY);
    assert_int_equal(pleat_xen_grants_end(b->grants, 33), 0);
    assert_int_equal(pleat_xen_grants_offer(b->grants, 1, 5, false), 33);
    assert_true(pleat_xen_grants_is_valid(b->grants));
    finish(b);
}

/* --- Mapping ------------------------------------------------------------------------------------------- */

static void make(struct pleat_xen_mapping *mappings, unsigned count)
{
    memset(mappings, 0, count * sizeof(*mappings));
    for (unsigned i = 0; i < count; i++) {
        mappings[i].domain = 2;
        mappings[i].reference = 8 + i;
    }
}

static void foreign_frames_are_mapped_into_holes_which_go_back(void **state)
{
    (void)state;
    struct bench *b = start(200, 0);
    static struct pleat_xen_mapping mappings[150];
    make(mappings, 150);
    assert_int_equal(pleat_xen_grants_map(b->grants, mappings, 150), 150);
    assert_int_equal(b->holes.out, 150);
    for (unsigned i = 0; i < 150; i++) {
        assert_int_equal(mappings[i].result, 0);
        assert_true(b->fake.foreign[mappings[i].pfn]);
    }
    assert_int_equal(pleat_xen_grants_unmap(b->grants, mappings, 150), 150);
    assert_int_equal(mappings[3].pfn, 0);
    /* Unmapping again does nothing. */
    assert_int_equal(pleat_xen_grants_unmap(b->grants, mappings, 150), 0);
    assert_int_equal(statistics(b).map_calls, 3);
    assert_int_equal(statistics(b).unmap_calls, 3);
    assert_int_equal(b->lines, 0);
    finish(b);
}

static void a_part_that_fails_is_reported_and_unmaps_nothing_else(void **state)
{
    (void)state;
    struct bench *b = start(20, 0);
    struct pleat_xen_mapping mappings[10];
    make(mappings, 10);
    mappings[4].reference = 1000; /* no such grant */
    b->fake.fails_at = 2048 + 7;
    assert_int_equal(pleat_xen_grants_map(b->grants, mappings, 10), 8);
    assert_int_equal(mappings[4].result, PLEAT_E_INVALID);
    assert_int_equal(mappings[7].result, PLEAT_E_INVALID);
    assert_int_equal(mappings[7].pfn, 0);
    assert_int_equal(b->holes.out, 8);
    /* One that Xen doesn't unmap keeps its hole. */
    b->fake.fails_at = mappings[2].pfn;
    assert_int_equal(pleat_xen_grants_unmap(b->grants, mappings, 10), 7);
    assert_int_equal(mappings[2].result, PLEAT_E_BUSY);
    assert_int_equal(b->holes.out, 1);
    b->fake.fails_at = 0;
    assert_int_equal(pleat_xen_grants_unmap(b->grants, mappings, 10), 1);
    finish(b);
}

static void a_hypercall_that_fails_leaves_all_as_it_was(void **state)
{
    (void)state;
    struct bench *b = start(20, 0);
    struct pleat_xen_mapping mappings[3];
    make(mappings, 3);
    b->fake.error[FAKE_MAP] = PLEAT_E_REFUSED;
    b->fake.times[FAKE_MAP] = 1;
    assert_int_equal(pleat_xen_grants_map(b->grants, mappings, 3), 0);
    assert_int_equal(mappings[1].result, PLEAT_E_REFUSED);
    assert_int_equal(b->holes.out, 0);
    assert_int_equal(pleat_xen_grants_map(b->grants, mappings, 3), 3);
    b->fake.error[FAKE_UNMAP] = PLEAT_E_REFUSED;
    b->fake.times[FAKE_UNMAP] = 1;
    assert_int_equal(pleat_xen_grants_unmap(b->grants, mappings, 3), 0);
    assert_int_equal(b->holes.out, 3);
    assert_int_equal(pleat_xen_grants_unmap(b->grants, mappings, 3), 3);
    finish(b);
}

static void the_fall_back_says_so_once(void **state)
{
    (void)state;
    struct bench *b = start(2, 20);
    struct pleat_xen_mapping mappings[5];
    struct pleat_xen_mapping more[2];
    make(mappings, 5);
    make(more, 2);
    assert_int_equal(pleat_xen_grants_map(b->grants, mappings, 5), 5);
    assert_int_equal(b->fall_back.out, 5);
    assert_int_equal(b->lines, 1);
    assert_int_equal(pleat_xen_grants_map(b->grants, more, 2), 2);
    assert_int_equal(b->holes.out, 2);
    /* Each goes back to where it is from. */
    assert_int_equal(pleat_xen_grants_unmap(b->grants, more, 2), 2);
    assert_int_equal(pleat_xen_grants_unmap(b->grants, mappings, 5), 5);
    assert_int_equal(pleat_xen_grants_map(b->grants, mappings, 5), 5);
    assert_int_equal(b->lines, 1);
    assert_int_equal(statistics(b).fall_back_frames, 10);
    assert_int_equal(pleat_xen_grants_unmap(b->grants, mappings, 5), 5);
    finish(b);
}

static void without_holes_only_callers_frames_are_used(void **state)
{
    (void)state;
    struct bench *b = start(0, 0);
    struct pleat_xen_mapping mappings[2];
    make(mappings, 2);
    assert_int_equal(pleat_xen_grants_map(b->grants, mappings, 2), PLEAT_E_NO_MEMORY);
    mappings[1].pfn = 3000;
    assert_int_equal(pleat_xen_grants_map(b->grants, mappings, 2), 1);
    assert_int_equal(mappings[0].result, PLEAT_E_NO_MEMORY);
    assert_int_equal(mappings[1].pfn, 3000);
    assert_int_equal(pleat_xen_grants_unmap(b->grants, mappings, 2), 1);
    assert_int_equal(mappings[1].pfn, 3000);
    assert_false(b->fake.foreign[3000]);
    finish(b);
}

static void frame_0_is_never_used(void **state)
{
    (void)state;
    struct bench *b = start(8, 0);
    struct pleat_xen_mapping mappings[1];
    make(mappings, 1);
    b->holes.first = 0;
    assert_int_equal(pleat_xen_grants_map(b->grants, mappings, 1), PLEAT_E_NO_MEMORY);
    assert_int_equal(b->fake.calls[FAKE_MAP][0], 0);
    finish(b);
}

static void without_a_table_frames_are_mapped_and_not_granted(void **state)
{
    (void)state;
    struct bench *b = start(4, 0);
    struct pleat_xen_mapping mappings[1];
    struct pleat_xen_grants_config config = {.xen = &b->fake.xen,
                                             .storage = b->storage,
                                             .storage_bytes = pleat_xen_grants_storage_bytes(0),
                                             .holes = {pool_alloc, pool_free, &b->holes}};
    struct pleat_xen_grants *grants = NULL;
    assert_int_equal(pleat_xen_grants_create(&config, &grants), PLEAT_E_INVALID);
    b->fake.xen.grants = NULL;
    assert_int_equal(pleat_xen_grants_create(&config, &grants), 0);
    make(mappings, 1);
    assert_int_equal(pleat_xen_grants_offer(grants, 1, 5, false), PLEAT_E_UNSUPPORTED);
    assert_int_equal(pleat_xen_grants_map(grants, mappings, 1), 1);
    assert_int_equal(pleat_xen_grants_unmap(grants, mappings, 1), 1);
    finish(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_offer_says_what_xen_wants_to_know),
        cmocka_unit_test(what_cant_be_granted_is_refused),
        cmocka_unit_test(a_grant_that_the_peer_has_mapped_doesnt_end),
        cmocka_unit_test(references_run_out_and_come_back),
        cmocka_unit_test(foreign_frames_are_mapped_into_holes_which_go_back),
        cmocka_unit_test(a_part_that_fails_is_reported_and_unmaps_nothing_else),
        cmocka_unit_test(a_hypercall_that_fails_leaves_all_as_it_was),
        cmocka_unit_test(the_fall_back_says_so_once),
        cmocka_unit_test(without_holes_only_callers_frames_are_used),
        cmocka_unit_test(frame_0_is_never_used),
        cmocka_unit_test(without_a_table_frames_are_mapped_and_not_granted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
