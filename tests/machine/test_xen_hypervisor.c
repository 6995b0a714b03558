/* SPDX-License-Identifier: MIT
 *
 * The model of Xen: what hypercalls do on real Xen 4.17 they do here, traps included.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <pleat/hosted.h>

#include "machine/xen_hypervisor.h"

#define FRAMES  2048u
#define BUILT   1024u /* frames with memory at the start */
#define MAXIMUM 1536u
#define GRANTS  64u

struct bench {
    struct pleat_faults *faults;
    struct pleat_xen_hypervisor *hypervisor;
    struct pleat_xen_domain *guest, *peer;
    const struct pleat_xen *xen, *peer_xen;
    int kicks;
};

static void kick(void *context)
{
    struct bench *bench = context;

    bench->kicks++;
}

static void make_bench(struct bench *bench, uint64_t free_frames)
{
    memset(bench, 0, sizeof *bench);
    bench->faults = pleat_faults_create();
    assert_non_null(bench->faults);
    const struct pleat_xen_hypervisor_config config = {.free_frames = free_frames, .faults = bench->faults};
    assert_int_equal(pleat_xen_hypervisor_create(&config, &bench->hypervisor), 0);
    struct pleat_xen_domain_config domain = {.id = 1,
                                             .frames = FRAMES,
                                             .maximum_frames = MAXIMUM,
                                             .grant_count = GRANTS,
                                             .kick = kick,
                                             .kick_context = bench};
    assert_int_equal(pleat_xen_domain_create(bench->hypervisor, &domain, &bench->guest), 0);
    domain.id = 2;
    domain.maximum_frames = 0;
    assert_int_equal(pleat_xen_domain_create(bench->hypervisor, &domain, &bench->peer), 0);
    bench->xen = pleat_xen_domain_interface(bench->guest);
    bench->peer_xen = pleat_xen_domain_interface(bench->peer);
}

static int set_up(void **state)
{
    struct bench *bench = malloc(sizeof *bench);

    assert_non_null(bench);
    make_bench(bench, 0);
    assert_int_equal(pleat_xen_domain_build(bench->guest, 0, BUILT), 0);
    assert_int_equal(pleat_xen_domain_build(bench->peer, 0, 64), 0);
    *state = bench;
    return 0;
}

static void end_bench(struct bench *bench)
{
    assert_true(pleat_xen_domain_is_valid(bench->guest));
    assert_true(pleat_xen_domain_is_valid(bench->peer));
    pleat_xen_domain_destroy(bench->guest);
    pleat_xen_domain_destroy(bench->peer);
    pleat_xen_hypervisor_destroy(bench->hypervisor);
    pleat_faults_destroy(bench->faults);
}

static int tear_down(void **state)
{
    end_bench(*state);
    free(*state);
    return 0;
}

static int64_t decrease(const struct bench *bench, uint64_t pfn, uint64_t count, unsigned order)
{
    uint64_t pfns[FRAMES];

    for (uint64_t i = 0; i < count; i++)
        pfns[i] = pfn + (i << order);
    return bench->xen->ops->decrease(bench->xen->context, pfns, count, order);
}

static int64_t populate(const struct bench *bench, uint64_t pfn, uint64_t count, unsigned order)
{
    uint64_t pfns[FRAMES];

    for (uint64_t i = 0; i < count; i++)
        pfns[i] = pfn + (i << order);
    return bench->xen->ops->populate(bench->xen->context, pfns, count, order);
}

static int64_t current_frames(const struct bench *bench)
{
    return bench->xen->ops->current_frames(bench->xen->context);
}

static struct pleat_xen_domain_info info_of(struct pleat_xen_domain *domain)
{
    struct pleat_xen_domain_info info;

    pleat_xen_domain_info(domain, &info);
    return info;
}

static uint64_t *words(struct pleat_xen_domain *domain, uint64_t pfn)
{
    return pleat_xen_domain_pointer(domain, pfn);
}

static void fault(struct bench *bench, const char *text)
{
    struct pleat_message message;
    struct pleat_fault parsed;

    assert_int_equal(pleat_fault_parse(text, &parsed, &message), 0);
    assert_int_equal(pleat_faults_add(bench->faults, &parsed, &message), 0);
}

/* ---- reservation ---- */

static void test_frames_go_and_come_back(void **state)
{
    struct bench *bench = *state;

    assert_int_equal(current_frames(bench), BUILT);
    assert_int_equal(decrease(bench, 100, 50, 0), 50);
    assert_int_equal(current_frames(bench), BUILT - 50);
    assert_int_equal(pleat_xen_domain_frame(bench->guest, 100), PLEAT_XEN_HOLE);
    assert_int_equal(populate(bench, 100, 50, 0), 50);
    assert_int_equal(current_frames(bench), BUILT);
    words(bench->guest, 149)[511] = 1;
    assert_int_equal(info_of(bench->guest).leaked_frames, 0);
}

static void test_gone_frames_cant_be_decreased_again(void **state)
{
    struct bench *bench = *state;

    assert_int_equal(decrease(bench, 100, 10, 0), 10);
    assert_int_equal(decrease(bench, 100, 10, 0), 0);
    /* It stops at the first one: frames after it stay. */
    assert_int_equal(decrease(bench, 95, 20, 0), 5);
    assert_int_equal(pleat_xen_domain_frame(bench->guest, 110), PLEAT_XEN_OWN);
}

static void test_an_extent_that_stops_half_way_is_gone_up_to_there(void **state)
{
    struct bench *bench = *state;

    assert_int_equal(decrease(bench, 512 + 300, 1, 0), 1);
    assert_int_equal(decrease(bench, 512, 1, 9), 0);
    assert_int_equal(pleat_xen_domain_frame(bench->guest, 512 + 299), PLEAT_XEN_HOLE);
    assert_int_equal(pleat_xen_domain_frame(bench->guest, 512 + 301), PLEAT_XEN_OWN);
    assert_int_equal(current_frames(bench), BUILT - 301);
}

static void test_two_mib_or_512_frames_in_one_call(void **state)
{
    struct bench *bench = *state;

    assert_int_equal(decrease(bench, 0, 2, 9), 2);
    assert_int_equal(current_frames(bench), 0);
    assert_int_equal(populate(bench, 0, 512, 0), 512);
    assert_int_equal(populate(bench, 512, 1, 9), 1);
    assert_int_equal(current_frames(bench), BUILT);
    assert_int_equal(info_of(bench->guest).large_extents, 3);
    assert_int_equal(populate(bench, 1100, 1, 9), PLEAT_E_INVALID); /* not aligned */
    assert_int_equal(populate(bench, FRAMES, 1, 0), PLEAT_E_INVALID);
    assert_int_equal(populate(bench, 1024, 1, 1), PLEAT_E_INVALID);
}

static void test_populate_over_a_populated_frame_succeeds_and_leaks(void **state)
{
    struct bench *bench = *state;

    words(bench->guest, 7)[0] = 4711;
    assert_int_equal(populate(bench, 7, 1, 0), 1);
    assert_int_not_equal(words(bench->guest, 7)[0], 4711);
    assert_int_equal(current_frames(bench), BUILT + 1);
    assert_int_equal(info_of(bench->guest).leaked_frames, 1);
    /* What was leaked doesn't come back with the frame. */
    assert_int_equal(decrease(bench, 7, 1, 0), 1);
    assert_int_equal(current_frames(bench), BUILT);
    assert_int_equal(populate(bench, 7, 1, 0), 1);
    assert_int_equal(info_of(bench->guest).leaked_frames, 1);
}

static void test_populate_stops_at_the_maximum(void **state)
{
    struct bench *bench = *state;

    assert_int_equal(bench->xen->ops->maximum_frames(bench->xen->context), MAXIMUM);
    assert_int_equal(populate(bench, BUILT, 1000, 0), MAXIMUM - BUILT);
    assert_int_equal(populate(bench, BUILT + 600, 1, 0), 0);
    assert_int_equal(decrease(bench, 3, 1, 0), 1);
    assert_int_equal(populate(bench, BUILT + 512, 1, 9), 0); /* an extent comes whole or not at all */
    assert_int_equal(pleat_xen_domain_frame(bench->guest, BUILT + 512), PLEAT_XEN_HOLE);
    assert_int_equal(populate(bench, BUILT + 600, 2, 0), 1);
}

static void test_what_comes_is_no_zeroes(void **state)
{
    struct bench *bench = *state;
    uint64_t zeroes = 0;

    assert_int_equal(words(bench->guest, 5)[0], 0); /* the toolstack's are */
    assert_int_equal(populate(bench, BUILT, 512, 0), 512);
    for (uint64_t pfn = BUILT; pfn < BUILT + 512; pfn++)
        for (unsigned i = 0; i < 512; i++)
            zeroes += words(bench->guest, pfn)[i] == 0;
    assert_int_equal(zeroes, 0);
}

static void test_the_host_runs_out(void **state)
{
    struct bench bench;

    (void)state;
    make_bench(&bench, 100);
    assert_int_equal(pleat_xen_domain_build(bench.guest, 0, 60), 0);
    assert_int_equal(pleat_xen_domain_build(bench.peer, 0, 60), PLEAT_E_NO_MEMORY);
    assert_int_equal(populate(&bench, 60, 60, 0), 40);
    assert_int_equal(pleat_xen_hypervisor_free_frames(bench.hypervisor), 0);
    assert_int_equal(populate(&bench, 512, 1, 9), 0);
    assert_int_equal(decrease(&bench, 0, 10, 0), 10);
    assert_int_equal(pleat_xen_hypervisor_free_frames(bench.hypervisor), 10);
    end_bench(&bench);
}

static void test_faults(void **state)
{
    struct bench *bench = *state;

    fault(bench, "xen-populate-partial:count=1,size=12k");
    assert_int_equal(populate(bench, BUILT, 10, 0), 3);
    assert_int_equal(populate(bench, BUILT + 3, 10, 0), 10);
    fault(bench, "xen-hypercall-fails:count=2");
    assert_int_equal(populate(bench, BUILT + 20, 1, 0), PLEAT_E_DEVICE);
    assert_int_equal(decrease(bench, 0, 1, 0), PLEAT_E_DEVICE);
    assert_int_equal(decrease(bench, 0, 1, 0), 1);
    fault(bench, "host-out-of-memory:count=1");
    assert_int_equal(populate(bench, 0, 1, 0), 0);
    assert_int_equal(populate(bench, 0, 1, 0), 1);
}

/* ---- touches, as the hosted port sees them ---- */

static sigjmp_buf touched_here;
static char named[256];

static void touched(void *context, const struct pleat_hosted_touch *touch)
{
    (void)context;
    snprintf(named, sizeof named, "%s", touch->line);
    siglongjmp(touched_here, 1);
}

static bool bring(void *context, uint64_t pfn, bool write)
{
    const struct bench *bench = context;

    (void)write;
    return pleat_xen_domain_touch(bench->guest, pfn);
}

static int no_map(void *context, uint64_t pfn, uint64_t frames)
{
    (void)context;
    (void)pfn;
    (void)frames;
    return 0;
}

static void no_unmap(void *context, uint64_t pfn, uint64_t frames)
{
    (void)context;
    (void)pfn;
    (void)frames;
}

static struct pleat_hosted *make_port(struct bench *bench)
{
    struct pleat_hosted *hosted;
    const struct pleat_hosted_config config = {
        .frames = FRAMES,
        .memory = pleat_xen_domain_pointer(bench->guest, 0),
        .map = no_map,
        .unmap = no_unmap,
        .touched = touched,
        .bring = bring,
        .context = bench,
    };

    assert_int_equal(pleat_hosted_create(&hosted, &config), 0);
    return hosted;
}

/* Writes to a frame; false if nothing is there. */
static bool touch(const struct bench *bench, uint64_t pfn)
{
    volatile uint64_t *word = words(bench->guest, pfn);

    named[0] = '\0';
    if (sigsetjmp(touched_here, 1))
        return false;
    word[1] = pfn;
    return true;
}

static void test_a_touched_hole_is_named(void **state)
{
    struct bench *bench = *state;
    struct pleat_hosted *hosted = make_port(bench);

    assert_int_equal(decrease(bench, 77, 1, 0), 1);
    assert_false(touch(bench, 77));
    assert_non_null(strstr(named, "write to PFN 0x4d"));
    assert_int_equal(populate(bench, 77, 1, 0), 1);
    assert_true(touch(bench, 77));
    pleat_hosted_destroy(hosted);
}

/* ---- populate on demand ---- */

static void make_on_demand(struct bench *bench, uint64_t frames, uint64_t pool)
{
    make_bench(bench, 0);
    assert_int_equal(pleat_xen_domain_build_on_demand(bench->guest, 0, frames, pool), 0);
}

static void test_on_demand_the_reservation_counts_the_pool(void **state)
{
    struct bench bench;

    (void)state;
    make_on_demand(&bench, 1000, 600);
    assert_int_equal(current_frames(&bench), 600);
    for (uint64_t pfn = 0; pfn < 100; pfn++)
        assert_true(pleat_xen_domain_touch(bench.guest, pfn));
    words(bench.guest, 50)[0] = 1;
    assert_int_equal(current_frames(&bench), 600);
    assert_int_equal(info_of(bench.guest).pool_frames, 500);
    /* It jumps when the toolstack sets a target, before the guest has done anything. */
    assert_int_equal(pleat_xen_domain_set_target(bench.guest, 800), 0);
    assert_int_equal(current_frames(&bench), 800);
    /* And isn't taken away again. */
    assert_int_equal(pleat_xen_domain_set_target(bench.guest, 300), 0);
    assert_int_equal(current_frames(&bench), 800);
    /* No more than there are frames to wait for it. */
    assert_int_equal(pleat_xen_domain_set_target(bench.guest, 1500), 0);
    assert_int_equal(current_frames(&bench), 1000);
    end_bench(&bench);
}

static void test_on_demand_touching_more_than_the_pool_ends_the_domain(void **state)
{
    struct bench bench;

    (void)state;
    make_on_demand(&bench, 100, 60);
    struct pleat_hosted *hosted = make_port(&bench);
    for (uint64_t pfn = 0; pfn < 60; pfn++)
        assert_true(touch(&bench, pfn));
    assert_int_equal(info_of(bench.guest).own_frames, 60);
    assert_null(info_of(bench.guest).ended);
    assert_false(touch(&bench, 60));
    assert_non_null(info_of(bench.guest).ended);
    assert_int_equal(decrease(&bench, 0, 1, 0), PLEAT_E_DEVICE);
    pleat_hosted_destroy(hosted);
    end_bench(&bench);
}

static void test_on_demand_ballooning_by_static_max_less_target_saves_it(void **state)
{
    struct bench bench;

    (void)state;
    make_on_demand(&bench, 100, 60);
    /* Frames that were touched and frames that weren't: what the guest is short of, in all. */
    for (uint64_t pfn = 0; pfn < 20; pfn++)
        assert_true(pleat_xen_domain_touch(bench.guest, pfn));
    assert_int_equal(decrease(&bench, 0, 20, 0), 20);
    assert_int_equal(info_of(bench.guest).pool_frames, 60); /* given back to the pool */
    assert_int_equal(decrease(&bench, 80, 20, 0), 20);
    assert_int_equal(current_frames(&bench), 60);
    for (uint64_t pfn = 20; pfn < 80; pfn++)
        assert_true(pleat_xen_domain_touch(bench.guest, pfn));
    assert_null(info_of(bench.guest).ended);
    assert_int_equal(info_of(bench.guest).pool_frames, 0);
    end_bench(&bench);
}

/* ---- grants ---- */

static void grant(const struct pleat_xen *xen, uint32_t reference, uint16_t domain, uint32_t frame,
                  bool read_only)
{
    xen->grants[reference].domain = domain;
    xen->grants[reference].frame = frame;
    __atomic_store_n(&xen->grants[reference].flags, read_only ? 5 : 1, __ATOMIC_RELEASE);
}

static int map(const struct pleat_xen *xen, uint64_t pfn, uint16_t domain, uint32_t reference, bool read_only,
               uint32_t *handle)
{
    struct pleat_xen_map map = {.pfn = pfn, .reference = reference, .domain = domain, .read_only = read_only};

    assert_int_equal(xen->ops->map(xen->context, &map, 1), 0);
    *handle = map.handle;
    return map.result;
}

static int unmap(const struct pleat_xen *xen, uint64_t pfn, uint32_t handle)
{
    struct pleat_xen_unmap unmap = {.pfn = pfn, .handle = handle};

    assert_int_equal(xen->ops->unmap(xen->context, &unmap, 1), 0);
    return unmap.result;
}

static void test_a_grant_carries_data_both_ways(void **state)
{
    struct bench *bench = *state;
    uint32_t handle;

    words(bench->peer, 9)[3] = 1234;
    grant(bench->peer_xen, 8, 1, 9, false);
    assert_int_equal(map(bench->xen, BUILT + 5, 2, 8, false, &handle), 0);
    assert_int_equal(words(bench->guest, BUILT + 5)[3], 1234);
    words(bench->guest, BUILT + 5)[4] = 5678;
    assert_int_equal(words(bench->peer, 9)[4], 5678);
    assert_int_equal(bench->peer_xen->grants[8].flags, 1 | 8 | 16);
    assert_int_equal(current_frames(bench), BUILT); /* it is nobody's but the peer's */
    assert_int_equal(unmap(bench->xen, BUILT + 5, handle), 0);
    assert_int_equal(bench->peer_xen->grants[8].flags, 1);
    assert_int_equal(pleat_xen_domain_frame(bench->guest, BUILT + 5), PLEAT_XEN_HOLE);
    assert_int_equal(unmap(bench->xen, BUILT + 5, handle), PLEAT_E_INVALID);
}

static void test_map_works_everywhere_and_leaves_a_hole(void **state)
{
    struct bench *bench = *state;
    const uint64_t places[] = {BUILT + 5, 100, 200};
    uint32_t handle;

    grant(bench->peer_xen, 8, 1, 9, false);
    assert_int_equal(decrease(bench, 100, 1, 0), 1); /* a hole, a ballooned-out frame, a populated one */
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(map(bench->xen, places[i], 2, 8, false, &handle), 0);
        assert_int_equal(pleat_xen_domain_frame(bench->guest, places[i]), PLEAT_XEN_MAPPED);
        assert_int_equal(unmap(bench->xen, places[i], handle), 0);
        assert_int_equal(pleat_xen_domain_frame(bench->guest, places[i]), PLEAT_XEN_HOLE);
    }
    /* The page under the populated one is lost. */
    assert_int_equal(info_of(bench->guest).leaked_frames, 1);
    assert_int_equal(current_frames(bench), BUILT - 1);
}

static void test_frame_0_is_never_unmapped(void **state)
{
    struct bench *bench = *state;
    uint32_t handle;

    grant(bench->peer_xen, 8, 1, 9, false);
    assert_int_equal(map(bench->xen, 0, 2, 8, false, &handle), 0);
    assert_int_equal(unmap(bench->xen, 0, handle), 0);
    assert_int_equal(pleat_xen_domain_frame(bench->guest, 0), PLEAT_XEN_MAPPED);
    assert_int_equal(bench->peer_xen->grants[8].flags, 1 | 8 | 16);
}

static void test_a_grant_to_oneself_moves_the_page(void **state)
{
    struct bench *bench = *state;
    uint32_t handle;

    words(bench->guest, 50)[0] = 99;
    grant(bench->xen, 8, PLEAT_XEN_DOMAIN_SELF, 50, false);
    assert_int_equal(map(bench->xen, BUILT + 1, PLEAT_XEN_DOMAIN_SELF, 8, false, &handle), 0);
    assert_int_equal(words(bench->guest, BUILT + 1)[0], 99);
    assert_int_equal(pleat_xen_domain_frame(bench->guest, 50), PLEAT_XEN_HOLE);
    assert_int_equal(unmap(bench->xen, BUILT + 1, handle), 0);
    assert_int_equal(pleat_xen_domain_frame(bench->guest, 50), PLEAT_XEN_HOLE);
}

static void test_grants_that_arent_given_are_refused(void **state)
{
    struct bench *bench = *state;
    uint32_t handle;

    assert_int_equal(map(bench->xen, BUILT, 2, 9, false, &handle), PLEAT_E_INVALID);
    grant(bench->peer_xen, 9, 3, 9, false);
    assert_int_equal(map(bench->xen, BUILT, 2, 9, false, &handle), PLEAT_E_REFUSED);
    grant(bench->peer_xen, 10, 1, 9, true);
    assert_int_equal(map(bench->xen, BUILT, 2, 10, false, &handle), PLEAT_E_REFUSED);
    assert_int_equal(map(bench->xen, BUILT, 2, GRANTS, false, &handle), PLEAT_E_INVALID);
    assert_int_equal(map(bench->xen, BUILT, 2, 7, false, &handle), PLEAT_E_INVALID);
    assert_int_equal(map(bench->xen, BUILT, 5, 8, false, &handle), PLEAT_E_NOT_FOUND);
    assert_int_equal(map(bench->xen, FRAMES, 2, 10, true, &handle), PLEAT_E_INVALID);
    grant(bench->peer_xen, 11, 1, 100, false); /* the peer has nothing there */
    assert_int_equal(map(bench->xen, BUILT, 2, 11, false, &handle), PLEAT_E_DEVICE);
    assert_int_equal(bench->peer_xen->grants[11].flags, 1);
    assert_int_equal(map(bench->xen, BUILT, 2, 10, true, &handle), 0);
    assert_int_equal(bench->peer_xen->grants[10].flags, 5 | 8);
    assert_int_equal(pleat_xen_domain_frame(bench->guest, BUILT), PLEAT_XEN_MAPPED);
}

static void test_a_mapped_page_outlives_its_owners_frame(void **state)
{
    struct bench *bench = *state;
    const uint64_t pfn = 9;
    uint32_t handle;

    words(bench->peer, 9)[0] = 31;
    grant(bench->peer_xen, 8, 1, 9, false);
    assert_int_equal(map(bench->xen, BUILT, 2, 8, false, &handle), 0);
    assert_int_equal(bench->peer_xen->ops->decrease(bench->peer_xen->context, &pfn, 1, 0), 1);
    assert_int_equal(info_of(bench->peer).current_frames, 64);
    assert_int_equal(words(bench->guest, BUILT)[0], 31);
    /* The peer may have another page there meanwhile. */
    assert_int_equal(bench->peer_xen->ops->populate(bench->peer_xen->context, &pfn, 1, 0), 1);
    words(bench->peer, 9)[0] = 32;
    assert_int_equal(words(bench->guest, BUILT)[0], 31);
    assert_int_equal(unmap(bench->xen, BUILT, handle), 0);
    assert_int_equal(info_of(bench->peer).current_frames, 64);
}

static void test_a_mapped_frame_is_no_frame_to_balloon(void **state)
{
    struct bench *bench = *state;
    uint32_t handle;

    grant(bench->peer_xen, 8, 1, 9, false);
    assert_int_equal(map(bench->xen, 100, 2, 8, false, &handle), 0);
    assert_int_equal(decrease(bench, 100, 1, 0), 0);
    assert_null(info_of(bench->guest).ended);
    /* Xen ends who populates over a grant. */
    assert_int_equal(populate(bench, 100, 1, 0), 0);
    assert_non_null(info_of(bench->guest).ended);
}

/* ---- event channels ---- */

static void count(void *context)
{
    ++*(int *)context;
}

static void test_events_reach_the_other_end(void **state)
{
    struct bench *bench = *state;
    int here = 0, there = 0;

    const int offered = bench->xen->ops->event_offer(bench->xen->context, 2, count, &here);
    assert_true(offered > 0);
    const int bound =
        bench->peer_xen->ops->event_bind(bench->peer_xen->context, 1, (uint32_t)offered, count, &there);
    assert_true(bound > 0);
    assert_true(pleat_xen_domain_deliver(bench->peer)); /* the one of the binding */
    assert_int_equal(there, 1);
    assert_int_equal(bench->xen->ops->event_send(bench->xen->context, (uint32_t)offered), 0);
    assert_int_equal(bench->xen->ops->event_send(bench->xen->context, (uint32_t)offered), 0);
    assert_int_equal(bench->kicks, 2);
    assert_true(pleat_xen_domain_deliver(bench->peer));
    assert_false(pleat_xen_domain_deliver(bench->peer));
    assert_int_equal(there, 2); /* two events before a delivery are one */
    assert_int_equal(bench->peer_xen->ops->event_send(bench->peer_xen->context, (uint32_t)bound), 0);
    assert_true(pleat_xen_domain_deliver(bench->guest));
    assert_int_equal(here, 1);
    assert_int_equal(bench->peer_xen->ops->event_close(bench->peer_xen->context, (uint32_t)bound), 0);
    assert_int_equal(bench->xen->ops->event_send(bench->xen->context, (uint32_t)offered), 0); /* to nobody */
    assert_int_equal(bench->xen->ops->event_close(bench->xen->context, (uint32_t)offered), 0);
    assert_int_equal(bench->xen->ops->event_send(bench->xen->context, (uint32_t)offered), PLEAT_E_INVALID);
}

static void test_channels_of_others_cant_be_bound(void **state)
{
    struct bench *bench = *state;
    int here = 0;

    const int offered = bench->xen->ops->event_offer(bench->xen->context, 3, count, &here);
    assert_int_equal(
        bench->peer_xen->ops->event_bind(bench->peer_xen->context, 1, (uint32_t)offered, count, &here),
        PLEAT_E_INVALID);
    assert_int_equal(bench->peer_xen->ops->event_bind(bench->peer_xen->context, 6, 1, count, &here),
                     PLEAT_E_NOT_FOUND);
    assert_int_equal(bench->xen->ops->event_listen(bench->xen->context, 60, count, &here), PLEAT_E_NOT_FOUND);
}

static void test_the_hosts_channel(void **state)
{
    struct bench *bench = *state;
    int asked = 0, answered = 0;

    const int channel = pleat_xen_domain_host_channel(bench->guest, count, &asked);
    assert_true(channel > 0);
    pleat_xen_domain_interrupt(bench->guest, (uint32_t)channel);
    assert_false(pleat_xen_domain_deliver(bench->guest)); /* nobody listens: it stays pending */
    assert_int_equal(bench->xen->ops->event_listen(bench->xen->context, (uint32_t)channel, count, &answered),
                     0);
    assert_true(pleat_xen_domain_deliver(bench->guest));
    assert_int_equal(answered, 1);
    assert_int_equal(bench->xen->ops->event_send(bench->xen->context, (uint32_t)channel), 0);
    assert_int_equal(asked, 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_frames_go_and_come_back),
        CASE(test_gone_frames_cant_be_decreased_again),
        CASE(test_an_extent_that_stops_half_way_is_gone_up_to_there),
        CASE(test_two_mib_or_512_frames_in_one_call),
        CASE(test_populate_over_a_populated_frame_succeeds_and_leaks),
        CASE(test_populate_stops_at_the_maximum),
        CASE(test_what_comes_is_no_zeroes),
        cmocka_unit_test(test_the_host_runs_out),
        CASE(test_faults),
        CASE(test_a_touched_hole_is_named),
        cmocka_unit_test(test_on_demand_the_reservation_counts_the_pool),
        cmocka_unit_test(test_on_demand_touching_more_than_the_pool_ends_the_domain),
        cmocka_unit_test(test_on_demand_ballooning_by_static_max_less_target_saves_it),
        CASE(test_a_grant_carries_data_both_ways),
        CASE(test_map_works_everywhere_and_leaves_a_hole),
        CASE(test_frame_0_is_never_unmapped),
        CASE(test_a_grant_to_oneself_moves_the_page),
        CASE(test_grants_that_arent_given_are_refused),
        CASE(test_a_mapped_page_outlives_its_owners_frame),
        CASE(test_a_mapped_frame_is_no_frame_to_balloon),
        CASE(test_events_reach_the_other_end),
        CASE(test_channels_of_others_cant_be_bound),
        CASE(test_the_hosts_channel),
    };
#undef CASE

    return cmocka_run_group_tests(tests, NULL, NULL);
}
