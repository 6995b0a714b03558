/* SPDX-License-Identifier: MIT
 *
 * The model of Xen with its domains on threads of their own: one balloons, another maps what it grants and
 * looks at it, both send events, and frames on demand are touched meanwhile. Afterwards the books are right.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <pthread.h>
#include <cmocka.h>

#include "machine/xen_hypervisor.h"

#define FRAMES    1024u
#define ON_DEMAND 512u /* frames from here on are populated when they are touched */
#define GRANTED   16u  /* frames 1 to 16 */
#define FIRST     8u
#define TURNS     300u

struct bench {
    struct pleat_xen_hypervisor *hypervisor;
    struct pleat_xen_domain *guest, *peer;
    const struct pleat_xen *xen, *peer_xen;
    int channel, peer_channel;
    atomic_uint events, mapped, wrong;
};

static void count(void *context)
{
    atomic_fetch_add((atomic_uint *)context, 1);
}

static void *balloon(void *context)
{
    struct bench *bench = context;
    uint64_t pfns[64];

    for (unsigned turn = 0; turn < TURNS; turn++) {
        for (unsigned i = 0; i < 64; i++)
            pfns[i] = 100 + (turn % 5) * 64 + i;
        if (bench->xen->ops->decrease(bench->xen->context, pfns, 64, 0) != 64 ||
            bench->xen->ops->populate(bench->xen->context, pfns, 64, 0) != 64)
            atomic_fetch_add(&bench->wrong, 1);
        bench->xen->ops->event_send(bench->xen->context, (uint32_t)bench->channel);
    }
    return NULL;
}

static void *touch(void *context)
{
    struct bench *bench = context;

    for (uint64_t pfn = ON_DEMAND; pfn < FRAMES; pfn++) {
        if (!pleat_xen_domain_touch(bench->guest, pfn))
            atomic_fetch_add(&bench->wrong, 1);
        else
            __atomic_store_n((uint64_t *)pleat_xen_domain_pointer(bench->guest, pfn), pfn, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void *map(void *context)
{
    struct bench *bench = context;

    for (unsigned turn = 0; turn < TURNS; turn++) {
        struct pleat_xen_map map = {.pfn = 100 + turn % GRANTED,
                                    .reference = FIRST + turn % GRANTED,
                                    .domain = 1,
                                    .read_only = turn % 2};
        if (bench->peer_xen->ops->map(bench->peer_xen->context, &map, 1) || map.result) {
            atomic_fetch_add(&bench->wrong, 1);
            continue;
        }
        if (*(uint64_t *)pleat_xen_domain_pointer(bench->peer, map.pfn) != 1 + turn % GRANTED)
            atomic_fetch_add(&bench->wrong, 1);
        struct pleat_xen_unmap unmap = {.pfn = map.pfn, .handle = map.handle};
        if (bench->peer_xen->ops->unmap(bench->peer_xen->context, &unmap, 1) || unmap.result)
            atomic_fetch_add(&bench->wrong, 1);
        atomic_fetch_add(&bench->mapped, 1);
        pleat_xen_domain_deliver(bench->peer);
    }
    return NULL;
}

static void domains_on_threads_of_their_own(void **state)
{
    const struct pleat_xen_hypervisor_config hypervisor = {.free_frames = 8192};
    struct pleat_xen_domain_config config = {.id = 1, .frames = FRAMES, .grant_count = 64};
    static struct bench bench;
    pthread_t threads[4];
    void *(*const work[4])(void *) = {balloon, touch, map, touch};

    (void)state;
    assert_int_equal(pleat_xen_hypervisor_create(&hypervisor, &bench.hypervisor), 0);
    assert_int_equal(pleat_xen_domain_create(bench.hypervisor, &config, &bench.guest), 0);
    config.id = 2;
    assert_int_equal(pleat_xen_domain_create(bench.hypervisor, &config, &bench.peer), 0);
    assert_int_equal(pleat_xen_domain_build(bench.guest, 0, ON_DEMAND), 0);
    assert_int_equal(
        pleat_xen_domain_build_on_demand(bench.guest, ON_DEMAND, FRAMES - ON_DEMAND, FRAMES - ON_DEMAND), 0);
    bench.xen = pleat_xen_domain_interface(bench.guest);
    bench.peer_xen = pleat_xen_domain_interface(bench.peer);
    for (uint32_t i = 0; i < GRANTED; i++) {
        *(uint64_t *)pleat_xen_domain_pointer(bench.guest, 1 + i) = 1 + i;
        bench.xen->grants[FIRST + i] =
            (struct pleat_xen_grant_entry){.flags = 1, .domain = 2, .frame = 1 + i};
    }
    bench.channel = bench.xen->ops->event_offer(bench.xen->context, 2, count, &bench.events);
    bench.peer_channel = bench.peer_xen->ops->event_bind(bench.peer_xen->context, 1, (uint32_t)bench.channel,
                                                         count, &bench.events);
    assert_true(bench.channel > 0 && bench.peer_channel > 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work[i], &bench), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    pleat_xen_domain_deliver(bench.peer);
    assert_int_equal(atomic_load(&bench.wrong), 0);
    assert_int_equal(atomic_load(&bench.mapped), TURNS);
    assert_true(atomic_load(&bench.events) > 0);
    assert_true(pleat_xen_domain_is_valid(bench.guest));
    assert_true(pleat_xen_domain_is_valid(bench.peer));
    assert_int_equal(bench.xen->ops->current_frames(bench.xen->context), FRAMES);
    for (unsigned i = 0; i < GRANTED; i++)
        assert_int_equal(bench.xen->grants[FIRST + i].flags, 1);
    pleat_xen_domain_destroy(bench.guest);
    pleat_xen_domain_destroy(bench.peer);
    assert_int_equal(pleat_xen_hypervisor_free_frames(bench.hypervisor), 8192);
    pleat_xen_hypervisor_destroy(bench.hypervisor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(domains_on_threads_of_their_own),
    };

    return cmocka_run_group_tests_name("Xen concurrency", tests, NULL, NULL);
}
