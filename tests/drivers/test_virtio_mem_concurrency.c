/* SPDX-License-Identifier: MIT
 *
 * The virtio-mem driver on one thread, an administrator who onlines and offlines its blocks on another, and
 * interrupts on a third. The model memory's operations and the administrator take one lock, as the hotplug
 * lock orders them in a guest; the driver's own books are ordered by the driver alone, which is what
 * ThreadSanitizer looks at, and the model memory stops the program if a block that goes online is given
 * what isn't mapped, or what is in use is unmapped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "tests/support/driver_fixture.h"
#include "tests/support/random.h"

enum { REQUESTS = 400 };

static pthread_mutex_t hotplug_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pleat_memory_ops unlocked;

#define LOCKED(call)                                                                                         \
    pthread_mutex_lock(&hotplug_lock);                                                                       \
    const int result = unlocked.call;                                                                        \
    pthread_mutex_unlock(&hotplug_lock);                                                                     \
    return result

static int locked_add(void *context, const struct pleat_memory_range *range)
{
    LOCKED(add(context, range));
}

static int locked_remove(void *context, const struct pleat_memory_owner *owner, uint64_t address,
                         uint64_t bytes)
{
    LOCKED(remove(context, owner, address, bytes));
}

static int locked_take_begin(void *context, struct pleat_memory_job *job,
                             const struct pleat_memory_owner *owner, enum pleat_take_kind kind,
                             uint64_t address, uint64_t bytes, uint64_t deadline_ns)
{
    LOCKED(take_begin(context, job, owner, kind, address, bytes, deadline_ns));
}

static int locked_take_step(void *context, struct pleat_memory_job *job, uint64_t budget_bytes)
{
    LOCKED(take_step(context, job, budget_bytes));
}

static void locked_take_cancel(void *context, struct pleat_memory_job *job)
{
    pthread_mutex_lock(&hotplug_lock);
    unlocked.take_cancel(context, job);
    pthread_mutex_unlock(&hotplug_lock);
}

static int locked_give(void *context, const struct pleat_memory_owner *owner, uint64_t address,
                       uint64_t bytes)
{
    LOCKED(give(context, owner, address, bytes));
}

static int locked_map(void *context, uint64_t address, uint64_t bytes)
{
    LOCKED(map(context, address, bytes));
}

static void locked_unmap(void *context, uint64_t address, uint64_t bytes)
{
    pthread_mutex_lock(&hotplug_lock);
    unlocked.unmap(context, address, bytes);
    pthread_mutex_unlock(&hotplug_lock);
}

static enum pleat_block_state locked_block_state(void *context, uint64_t address)
{
    LOCKED(block_state(context, address));
}

static int locked_look(void *context, uint64_t address, uint64_t bytes, struct pleat_memory_look *look)
{
    LOCKED(look(context, address, bytes, look));
}

static uint64_t locked_free_bytes(void *context)
{
    pthread_mutex_lock(&hotplug_lock);
    const uint64_t bytes = unlocked.free_bytes(context);
    pthread_mutex_unlock(&hotplug_lock);
    return bytes;
}

static void lock_all(struct pleat_memory_ops *ops)
{
    unlocked = *ops;
    ops->add = locked_add;
    ops->remove = locked_remove;
    ops->take_begin = locked_take_begin;
    ops->take_step = locked_take_step;
    ops->take_cancel = locked_take_cancel;
    ops->give = locked_give;
    ops->map = locked_map;
    ops->unmap = locked_unmap;
    ops->block_state = locked_block_state;
    ops->look = locked_look;
    ops->free_bytes = locked_free_bytes;
}

struct others {
    struct fixture *fixture;
    atomic_bool stop;
};

static void *administrate(void *context)
{
    struct others *others = context;
    struct model_memory *model = &others->fixture->model;
    struct test_random random;
    test_random_seed(&random, 7);
    while (!atomic_load(&others->stop)) {
        const uint64_t address = FIXTURE_ADDRESS + test_random_below(&random, 8) * MIB;
        pthread_mutex_lock(&hotplug_lock);
        (void)(test_random_below(&random, 2) == 0 ? model_online(model, address)
                                                  : model_offline(model, address));
        pthread_mutex_unlock(&hotplug_lock);
        sched_yield();
    }
    return NULL;
}

static void *interrupt(void *context)
{
    struct others *others = context;
    while (!atomic_load(&others->stop)) {
        pleat_virtio_mem_driver_interrupt(others->fixture->driver,
                                          PLEAT_VIRTIO_INTERRUPT_CONFIG | PLEAT_VIRTIO_INTERRUPT_QUEUE);
        pleat_virtio_mem_driver_memory_changed(others->fixture->driver);
        sched_yield();
    }
    return NULL;
}

static void an_administrator_and_interrupts_on_other_threads_do_no_harm(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    struct others others = {.fixture = f};
    pthread_t threads[2];
    struct test_random random;
    lock_all(&f->model.ops);
    fixture_create(f);
    test_random_seed(&random, 1);
    assert_int_equal(pthread_create(&threads[0], NULL, administrate, &others), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, interrupt, &others), 0);
    for (unsigned i = 0; i < REQUESTS; i++) {
        scripted_device_request(&f->device, test_random_below(&random, 129) * 64 * KIB);
        for (uint64_t steps = test_random_below(&random, 30); steps > 0; steps--) {
            (void)pleat_virtio_mem_driver_step(f->driver, 16 * KIB);
            f->model.clock_ns += 1000000;
        }
        pthread_mutex_lock(&hotplug_lock);
        model_memory_check(&f->model);
        pthread_mutex_unlock(&hotplug_lock);
    }
    atomic_store(&others.stop, true);
    assert_int_equal(pthread_join(threads[0], NULL), 0);
    assert_int_equal(pthread_join(threads[1], NULL), 0);
    fixture_request(f, 3 * MIB);
    fixture_request(f, 2 * MIB);
    fixture_assert_at(f, 2 * MIB);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_administrator_and_interrupts_on_other_threads_do_no_harm),
    };
    return cmocka_run_group_tests_name("virtio-mem driver: concurrency", tests, NULL, NULL);
}
