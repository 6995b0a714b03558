/* SPDX-License-Identifier: MIT
 *
 * A device on a thread of its own, a driver that resets it in mid-work again and again, and a third thread
 * that changes the config space. After a reset has completed, the driver uses the ring's memory and the
 * buffers at once: ThreadSanitizer sees whether the device still does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

#include <pleat/virtio_in_process.h>

#include "tests/support/ring_pair.h"

#define RESETS       1000u
#define WAIT_SECONDS 20

struct bench {
    struct ring_pair pair;
    struct pleat_virtio_device *device;
    struct pleat_virtio_transport transport;
    sem_t device_wakes;
    sem_t driver_wakes;
    atomic_bool stop;
    /** What went wrong first, or NULL. */
    _Atomic(const char *) failure;
    struct test_random seed;
};

static void give_up(struct bench *bench, const char *why)
{
    const char *none = NULL;
    atomic_compare_exchange_strong(&bench->failure, &none, why);
    atomic_store(&bench->stop, true);
    sem_post(&bench->device_wakes);
    sem_post(&bench->driver_wakes);
}

static void sleep_until_woken(struct bench *bench, sem_t *semaphore, const char *who)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_SECONDS;
    while (sem_timedwait(semaphore, &until) != 0) {
        if (time(NULL) > until.tv_sec) {
            give_up(bench, who);
            return;
        }
    }
}

/* ---- The device's thread ---- */

static void wake_device(void *context)
{
    sem_post(&((struct bench *)context)->device_wakes);
}

static void wake_device_for_queue(void *context, uint16_t index)
{
    (void)index;
    wake_device(context);
}

static void wake_driver(void *context, uint32_t cause, uint16_t queue)
{
    (void)queue;
    if (cause == PLEAT_VIRTIO_INTERRUPT_QUEUE) {
        sem_post(&((struct bench *)context)->driver_wakes);
    }
}

static const struct pleat_virtio_device_handler handler = {
    .driver_ok = wake_device, .notify = wake_device_for_queue, .reset = wake_device};

/** Serves what there is; at most a few chains, so that a reset is seen soon. */
static void serve(struct bench *bench, struct pleat_virtqueue *queue)
{
    do {
        for (int i = 0; i < 4; i++) {
            struct pleat_virtqueue_chain chain = ring_pair_chain(&bench->pair);
            uint64_t value = 0;
            const int result = pleat_virtqueue_pop(queue, &chain);
            if (result < 0) {
                give_up(bench, "the device's queue broke");
            }
            if (result != 1) {
                break;
            }
            pleat_virtqueue_read(queue, &chain, 0, &value, sizeof(value));
            value++;
            pleat_virtqueue_write(queue, &chain, 0, &value, sizeof(value));
            pleat_virtqueue_push(queue, &chain, sizeof(value));
        }
        if (pleat_virtqueue_should_interrupt(queue)) {
            pleat_virtio_device_interrupt_queue(bench->device, 0);
        }
    } while (pleat_virtqueue_enable_notifications(queue) &&
             pleat_virtio_device_queue(bench->device, 0) == queue && !atomic_load(&bench->stop));
}

static void *device(void *argument)
{
    struct bench *bench = argument;
    while (!atomic_load(&bench->stop)) {
        struct pleat_virtqueue *queue = pleat_virtio_device_queue(bench->device, 0);
        if (queue) {
            serve(bench, queue);
        }
        pleat_virtio_device_complete_reset(bench->device);
        sleep_until_woken(bench, &bench->device_wakes, "the device wasn't woken");
    }
    return NULL;
}

/* ---- The config's thread ---- */

static void *change_config(void *argument)
{
    struct bench *bench = argument;
    for (uint64_t value = 1; !atomic_load(&bench->stop); value++) {
        uint64_t both[2] = {value, value};
        pleat_virtio_device_set_config(bench->device, 0, both, sizeof(both), true);
        sched_yield();
    }
    return NULL;
}

/* ---- The driver's thread ---- */

static void bring_up(struct bench *bench)
{
    const struct pleat_virtio_transport_ops *ops = bench->transport.ops;
    uint64_t features = 0;
    ring_pair_restart(&bench->pair);
    const struct pleat_virtio_queue_addresses addresses = pleat_virtio_ring_addresses(&bench->pair.ring);
    if (pleat_virtio_negotiate(&bench->transport, ring_pair_features(&bench->pair.shape), 0, &features) ||
        features != ring_pair_features(&bench->pair.shape) ||
        ops->queue_setup(bench->device, 0, bench->pair.shape.size, &addresses) ||
        ops->queue_enable(bench->device, 0)) {
        give_up(bench, "the device didn't come up");
    }
    ops->add_status(bench->device, PLEAT_VIRTIO_STATUS_DRIVER_OK);
}

static void reset(struct bench *bench)
{
    const struct pleat_virtio_transport_ops *ops = bench->transport.ops;
    ops->reset_begin(bench->device);
    while (ops->reset_poll(bench->device) == PLEAT_MORE && !atomic_load(&bench->stop)) {
        sched_yield();
    }
}

static void read_config(struct bench *bench)
{
    const struct pleat_virtio_config_field fields[] = {{0, 8}, {8, 8}};
    uint64_t values[2];
    if (pleat_virtio_config_read_fields(&bench->transport, fields, 2, 4, values) == PLEAT_OK &&
        values[0] != values[1]) {
        give_up(bench, "a config was torn");
    }
}

static struct pleat_virtio_buffer buffer(uint64_t n, bool writable)
{
    const struct pleat_virtio_buffer buffer = {SCRATCH + 16 * n + (writable ? 8 : 0), 8, writable};
    return buffer;
}

static uint64_t *word(struct bench *bench, uint64_t n, bool writable)
{
    return guest_at(&bench->pair.guest, buffer(n, writable).physical);
}

/** Adds `count` requests and waits for the answers to `answers` of them. */
static void ask(struct bench *bench, uint32_t count, uint32_t answers)
{
    struct pleat_virtio_ring *ring = &bench->pair.ring;
    for (uint64_t n = 0; n < count; n++) {
        const struct pleat_virtio_buffer buffers[] = {buffer(n, false), buffer(n, true)};
        *word(bench, n, false) = test_random_next(&bench->seed);
        *word(bench, n, true) = 0;
        if (pleat_virtio_ring_add(ring, buffers, 2, n) != PLEAT_OK) {
            give_up(bench, "an add failed");
        }
    }
    pleat_virtio_ring_publish(ring);
    if (pleat_virtio_ring_should_notify(ring)) {
        bench->transport.ops->notify(bench->device, 0);
    }
    while (answers > 0 && !atomic_load(&bench->stop)) {
        uint64_t n;
        const int result = pleat_virtio_ring_poll(ring, &n, NULL);
        if (result == 1) {
            answers--;
            if (*word(bench, n, true) != *word(bench, n, false) + 1) {
                give_up(bench, "an answer was wrong");
            }
        } else if (result < 0) {
            give_up(bench, "the driver's ring broke");
        } else if (!pleat_virtio_ring_enable_interrupts(ring)) {
            sleep_until_woken(bench, &bench->driver_wakes, "the driver wasn't woken");
        }
    }
}

static void resets_in_mid_work_leave_nothing_behind(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    assert_non_null(bench);
    ring_pair_create(&bench->pair, *state);
    ring_test_seed(&bench->seed, 0x5eed);
    sem_init(&bench->device_wakes, 0, 0);
    sem_init(&bench->driver_wakes, 0, 0);
    const struct pleat_virtio_device_config config = {
        .device_id = 24,
        .features = ring_pair_features(&bench->pair.shape),
        .queues = 1,
        .queue_size_max = {bench->pair.shape.size},
        .config_bytes = 16,
        .memory = guest_memory(&bench->pair.guest),
        .handler = &handler,
        .handler_context = bench,
        .interrupt = wake_driver,
        .interrupt_context = bench,
    };
    assert_int_equal(pleat_virtio_device_create(&config, &bench->device), PLEAT_OK);
    bench->transport = pleat_virtio_in_process(bench->device);
    pthread_t threads[2];
    assert_int_equal(pthread_create(&threads[0], NULL, device, bench), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, change_config, bench), 0);

    for (uint32_t i = 0; i < RESETS && !atomic_load(&bench->stop); i++) {
        bring_up(bench);
        const uint32_t count = 1 + test_random_below(&bench->seed, bench->pair.shape.size / 2u);
        ask(bench, count, test_random_below(&bench->seed, count + 1));
        read_config(bench);
        reset(bench);
        memset(bench->pair.guest.bytes, (int)i, SCRATCH_OFFSET + 4096);
    }
    atomic_store(&bench->stop, true);
    sem_post(&bench->device_wakes);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    const char *failure = atomic_load(&bench->failure);
    if (failure) {
        fail_msg("%s", failure);
    }
    pleat_virtio_device_destroy(bench->device);
    sem_destroy(&bench->device_wakes);
    sem_destroy(&bench->driver_wakes);
    ring_pair_destroy(&bench->pair);
    free(bench);
}

int main(void)
{
    static struct ring_pair_shape shapes[4];
    static struct CMUnitTest tests[4];
    for (unsigned bits = 0; bits < 4; bits++) {
        shapes[bits] = (struct ring_pair_shape){bits & 1, bits & 2, 16, 0, 0};
        tests[bits] =
            (struct CMUnitTest){ring_pair_name("resets_in_mid_work_leave_nothing_behind", &shapes[bits]),
                                resets_in_mid_work_leave_nothing_behind, NULL, NULL, &shapes[bits]};
    }
    return _cmocka_run_group_tests("virtio in one process, on several threads", tests, 4, NULL, NULL);
}
