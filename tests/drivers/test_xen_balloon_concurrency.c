/* SPDX-License-Identifier: MIT
 *
 * The balloon on one thread, an administrator who onlines and offlines its blocks on another, and a guest
 * that runs short on a third. The model memory's operations and the administrator take one lock, as the
 * hotplug lock orders them in a guest; the balloon's own books are ordered by the balloon alone, which is
 * what ThreadSanitizer looks at. The hypervisor stops the program at a hole that is in use.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include <pleat/xen_balloon.h>

#include "tests/support/fake_xen.h"
#include "tests/support/random.h"

#define MIB    (UINT64_C(1024) * 1024)
#define BOOT   (16 * MIB)
#define BLOCK  (4 * MIB)
#define REGION (32 * MIB)

enum { TARGETS = 300 };

static pthread_mutex_t hotplug_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pleat_memory_ops unlocked;

#define LOCKED(type, call)                                                                                   \
    pthread_mutex_lock(&hotplug_lock);                                                                       \
    const type result = unlocked.call;                                                                       \
    pthread_mutex_unlock(&hotplug_lock);                                                                     \
    return result

static int locked_add(void *context, const struct pleat_memory_range *range)
{
    LOCKED(int, add(context, range));
}

static int locked_give(void *context, const struct pleat_memory_owner *owner, uint64_t address,
                       uint64_t bytes)
{
    LOCKED(int, give(context, owner, address, bytes));
}

static int locked_withhold(void *context, const struct pleat_memory_owner *owner, uint64_t bytes,
                           uint64_t *address)
{
    LOCKED(int, withhold(context, owner, bytes, address));
}

static enum pleat_block_state locked_state(void *context, uint64_t address)
{
    LOCKED(enum pleat_block_state, block_state(context, address));
}

static uint64_t locked_free(void *context)
{
    LOCKED(uint64_t, free_bytes(context));
}

struct others {
    struct model_memory *model;
    struct pleat_xen_balloon *balloon;
    _Atomic bool end;
};

static void *administrate(void *context)
{
    struct others *others = context;
    struct test_random random;
    test_random_seed(&random, 1);
    while (!atomic_load(&others->end)) {
        const uint64_t block = BOOT + test_random_below(&random, (REGION - BOOT) / BLOCK) * BLOCK;
        pthread_mutex_lock(&hotplug_lock);
        (void)(test_random_below(&random, 2) ? model_online(others->model, block)
                                             : model_offline(others->model, block));
        pthread_mutex_unlock(&hotplug_lock);
        sched_yield();
    }
    return NULL;
}

static void *run_short(void *context)
{
    struct others *others = context;
    while (!atomic_load(&others->end)) {
        (void)pleat_xen_balloon_release(others->balloon, 64);
        pleat_xen_balloon_memory_changed(others->balloon);
        sched_yield();
    }
    return NULL;
}

static bool always(void *context, uint64_t address, uint64_t bytes)
{
    (void)context;
    (void)address;
    (void)bytes;
    return true;
}

static void clear(void *context, uint64_t address, uint64_t bytes)
{
    struct fake_xen *fake = context;
    for (uint64_t pfn = address / 4096; pfn < (address + bytes) / 4096; pfn++) {
        fake->dirty[pfn] = false;
    }
}

static void an_administrator_and_a_guest_in_need_on_other_threads_do_no_harm(void **state)
{
    (void)state;
    static const struct model_shape shape = {.address = 0,
                                             .bytes = REGION,
                                             .block_bytes = BLOCK,
                                             .piece_bytes = 2 * MIB,
                                             .metadata_bytes = 64 * 1024};
    static struct model_memory model;
    static struct fake_xen fake;
    struct test_random random;
    pthread_t threads[2];
    model_memory_init(&model, &shape);
    model.elsewhere_free = 0;
    model.is_plugged = always;
    model_boot(&model, BOOT);
    unlocked = model.ops;
    model.ops.add = locked_add;
    model.ops.give = locked_give;
    model.ops.withhold = locked_withhold;
    model.ops.block_state = locked_state;
    model.ops.free_bytes = locked_free;
    fake_xen_init(&fake, &model, BOOT / 4096, false);
    const size_t bytes = pleat_xen_balloon_storage_bytes(&model.memory, BOOT, BOOT, REGION - BOOT);
    void *storage = aligned_alloc(64, (bytes + 63) / 64 * 64);
    const struct pleat_xen_balloon_config config = {.memory = &model.memory,
                                                    .xen = &fake.xen,
                                                    .storage = storage,
                                                    .storage_bytes = bytes,
                                                    .boot_bytes = BOOT,
                                                    .boot_end = BOOT,
                                                    .growth_address = BOOT,
                                                    .growth_bytes = REGION - BOOT,
                                                    .clear = clear,
                                                    .context = &fake,
                                                    .floor_bytes = MIB};
    struct others others = {.model = &model};
    assert_int_equal(pleat_xen_balloon_create(&config, &others.balloon), 0);
    assert_int_equal(pthread_create(&threads[0], NULL, administrate, &others), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, run_short, &others), 0);
    test_random_seed(&random, 2);
    for (unsigned i = 0; i < TARGETS; i++) {
        pleat_xen_balloon_set_target(others.balloon, test_random_below(&random, REGION / 4096) * 4096);
        for (unsigned step = 0; step < 6; step++) {
            (void)pleat_xen_balloon_step(others.balloon, 4 * MIB);
        }
        assert_true(pleat_xen_balloon_is_valid(others.balloon));
    }
    atomic_store(&others.end, true);
    assert_int_equal(pthread_join(threads[0], NULL), 0);
    assert_int_equal(pthread_join(threads[1], NULL), 0);
    fake_xen_check(&fake);
    /* With everything online, all that is populated is in use: no frame was lost between the two. */
    for (uint64_t block = BOOT; block < REGION; block += BLOCK) {
        (void)model_online(&model, block);
    }
    struct pleat_xen_balloon_status status;
    pleat_xen_balloon_status(others.balloon, &status);
    const uint64_t in_use = model_count(&model, MODEL_FREE) + model_count(&model, MODEL_METADATA);
    assert_int_equal(status.held_bytes, 0);
    assert_int_equal(in_use * 4096, status.populated_bytes);
    model_memory_free(&model);
    free(storage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_administrator_and_a_guest_in_need_on_other_threads_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
