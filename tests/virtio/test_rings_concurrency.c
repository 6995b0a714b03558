/* SPDX-License-Identifier: MIT
 *
 * Driver and device on two threads, each asleep whenever it finds nothing to do, so that one lost wake-up
 * hangs the run and is found by a time-out; and then in step, so that one goes to sleep at the very moment
 * when the other has news. Requests and answers are plain memory: ThreadSanitizer sees
 * whether the rings order them.
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

#include "tests/support/ring_pair.h"

#define CHAINS       2000u
#define WAIT_SECONDS 20

/** What a driver asks: at RECORD(n), for the n-th of the buffers in use. The device answers `value` + 1. */
struct record {
    uint64_t value;
    uint64_t answer;
};

struct run {
    struct ring_pair pair;
    sem_t device_wakes;
    sem_t driver_wakes;
    atomic_bool stop;
    /** What went wrong first, or NULL. */
    _Atomic(const char *) failure;
    struct test_random seed;
    struct test_random device_seed;
    atomic_uint sleeps;
};

static void give_up(struct run *run, const char *why)
{
    const char *none = NULL;
    atomic_compare_exchange_strong(&run->failure, &none, why);
    atomic_store(&run->stop, true);
    sem_post(&run->device_wakes);
    sem_post(&run->driver_wakes);
}

static void sleep_until_woken(struct run *run, sem_t *semaphore, const char *who)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_SECONDS;
    atomic_fetch_add(&run->sleeps, 1);
    while (sem_timedwait(semaphore, &until) != 0) {
        if (time(NULL) > until.tv_sec) {
            give_up(run, who);
            return;
        }
    }
}

static void answer(struct run *run, const struct pleat_virtqueue_chain *chain)
{
    uint64_t value = 0;
    if (pleat_virtqueue_read(&run->pair.queue, chain, 0, &value, sizeof(value)) != sizeof(value)) {
        give_up(run, "a request was short");
    }
    value++;
    if (pleat_virtqueue_write(&run->pair.queue, chain, 0, &value, sizeof(value)) != sizeof(value)) {
        give_up(run, "an answer had no room");
    }
    if (pleat_virtqueue_push(&run->pair.queue, chain, sizeof(value)) != PLEAT_OK) {
        give_up(run, "push failed");
    }
}

static void *device(void *argument)
{
    struct run *run = argument;
    struct pleat_virtqueue *queue = &run->pair.queue;
    struct test_random seed = run->device_seed;
    while (!atomic_load(&run->stop)) {
        struct pleat_virtqueue_chain chain = ring_pair_chain(&run->pair);
        const int result = pleat_virtqueue_pop(queue, &chain);
        if (result < 0) {
            give_up(run, pleat_virtqueue_fault_text(chain.fault));
        } else if (result == 1) {
            answer(run, &chain);
            if (test_random_below(&seed, 3) == 0) {
                pleat_virtqueue_disable_notifications(queue);
            }
            if (test_random_below(&seed, 3) != 0 && pleat_virtqueue_should_interrupt(queue)) {
                sem_post(&run->driver_wakes);
            }
        } else {
            if (pleat_virtqueue_should_interrupt(queue)) {
                sem_post(&run->driver_wakes);
            }
            if (!pleat_virtqueue_enable_notifications(queue)) {
                sleep_until_woken(run, &run->device_wakes, "the device wasn't woken");
            }
        }
    }
    return NULL;
}

static struct record *record_of(struct run *run, uint64_t n)
{
    return guest_at(&run->pair.guest, SCRATCH + n * sizeof(struct record));
}

static bool add(struct run *run, uint64_t n, uint64_t value)
{
    const uint64_t at = SCRATCH + n * sizeof(struct record);
    const struct pleat_virtio_buffer buffers[] = {
        {at, sizeof(uint64_t), false}, {at + offsetof(struct record, answer), sizeof(uint64_t), true}};
    struct record *record = record_of(run, n);
    record->value = value;
    record->answer = 0;
    return pleat_virtio_ring_add(&run->pair.ring, buffers, 2, n) == PLEAT_OK;
}

/** Polls all that there is; returns how many. */
static uint32_t poll_all(struct run *run, bool *in_use)
{
    uint32_t polled = 0;
    uint64_t n;
    uint32_t written;
    int result;
    while ((result = pleat_virtio_ring_poll(&run->pair.ring, &n, &written)) == 1) {
        const struct record *record = record_of(run, n);
        if (!in_use[n] || written != sizeof(uint64_t) || record->answer != record->value + 1) {
            give_up(run, "an answer was wrong");
        }
        in_use[n] = false;
        polled++;
    }
    if (result < 0) {
        give_up(run, "the driver's ring broke");
    }
    return polled;
}

static void drive(struct run *run)
{
    struct pleat_virtio_ring *ring = &run->pair.ring;
    bool in_use[256] = {false};
    uint32_t added = 0;
    uint32_t polled = 0;
    while (polled < CHAINS && !atomic_load(&run->stop)) {
        const uint32_t burst = 1 + test_random_below(&run->seed, run->pair.shape.size);
        for (uint32_t i = 0, n = 0; i < burst && added < CHAINS; i++) {
            while (in_use[n]) {
                n++;
            }
            if (!add(run, n, added)) {
                break;
            }
            in_use[n] = true;
            added++;
        }
        pleat_virtio_ring_publish(ring);
        if (pleat_virtio_ring_should_notify(ring)) {
            sem_post(&run->device_wakes);
        }
        if (test_random_below(&run->seed, 3) == 0) {
            pleat_virtio_ring_disable_interrupts(ring);
        }
        uint32_t now = poll_all(run, in_use);
        while (now == 0 && !atomic_load(&run->stop)) {
            if (!pleat_virtio_ring_enable_interrupts(ring)) {
                sleep_until_woken(run, &run->driver_wakes, "the driver wasn't woken");
            }
            now = poll_all(run, in_use);
        }
        polled += now;
    }
}

static void no_wakeup_and_no_byte_is_lost(void **state)
{
    struct run *run = calloc(1, sizeof(*run));
    assert_non_null(run);
    ring_pair_create(&run->pair, *state);
    ring_test_seed(&run->seed, 0xabcdef);
    test_random_seed(&run->device_seed, test_random_next(&run->seed));
    assert_int_equal(sem_init(&run->device_wakes, 0, 0), 0);
    assert_int_equal(sem_init(&run->driver_wakes, 0, 0), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, device, run), 0);
    drive(run);
    atomic_store(&run->stop, true);
    sem_post(&run->device_wakes);
    pthread_join(thread, NULL);
    const char *failure = atomic_load(&run->failure);
    if (failure) {
        fail_msg("%s", failure);
    }
    /* Otherwise nobody had to be woken, and nothing was shown. */
    assert_true(atomic_load(&run->sleeps) > 0);
    sem_destroy(&run->device_wakes);
    sem_destroy(&run->driver_wakes);
    ring_pair_destroy(&run->pair);
    free(run);
}

/* ---- Both at the same moment ---- */

#define ROUNDS 4000u

/** Two threads go through a round in step: a round has four gates, each passed by both together. */
struct duel {
    struct ring_pair pair;
    atomic_uint at_gate;
    bool notify;
    bool sees_chain;
    bool interrupts;
    bool sees_used;
};

static void pass_gate(struct duel *duel, unsigned gate)
{
    atomic_fetch_add(&duel->at_gate, 1);
    for (unsigned spins = 0; atomic_load(&duel->at_gate) < 2 * gate; spins++) {
        /* The other one may have no CPU. */
        if (spins % 1024 == 1023) {
            sched_yield();
        }
    }
}

static void *duel_device(void *argument)
{
    struct duel *duel = argument;
    unsigned gate = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct pleat_virtqueue_chain chain = ring_pair_chain(&duel->pair);
        pleat_virtqueue_disable_notifications(&duel->pair.queue);
        pass_gate(duel, ++gate);
        duel->sees_chain = pleat_virtqueue_enable_notifications(&duel->pair.queue);
        pass_gate(duel, ++gate);
        /* The driver checks what both saw. Then the same the other way round. */
        pleat_virtqueue_pop(&duel->pair.queue, &chain);
        pass_gate(duel, ++gate);
        pleat_virtqueue_push(&duel->pair.queue, &chain, 0);
        duel->interrupts = pleat_virtqueue_should_interrupt(&duel->pair.queue);
        pass_gate(duel, ++gate);
    }
    return NULL;
}

static void who_goes_to_sleep_is_seen_or_sees(void **state)
{
    struct duel *duel = calloc(1, sizeof(*duel));
    assert_non_null(duel);
    ring_pair_create(&duel->pair, *state);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, duel_device, duel), 0);
    struct pleat_virtio_ring *ring = &duel->pair.ring;
    const struct pleat_virtio_buffer buffer = {SCRATCH, 16, false};
    unsigned lost = 0;
    unsigned gate = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t token;
        lost += pleat_virtio_ring_add(ring, &buffer, 1, round) != PLEAT_OK;
        pass_gate(duel, ++gate);
        pleat_virtio_ring_publish(ring);
        duel->notify = pleat_virtio_ring_should_notify(ring);
        pass_gate(duel, ++gate);
        lost += !duel->notify && !duel->sees_chain;
        pleat_virtio_ring_disable_interrupts(ring);
        pass_gate(duel, ++gate);
        duel->sees_used = pleat_virtio_ring_enable_interrupts(ring);
        pass_gate(duel, ++gate);
        lost += !duel->interrupts && !duel->sees_used;
        lost += pleat_virtio_ring_poll(ring, &token, NULL) != 1 || token != round;
    }
    pthread_join(thread, NULL);
    assert_int_equal(lost, 0);
    ring_pair_destroy(&duel->pair);
    free(duel);
}

int main(void)
{
    static const uint16_t sizes[] = {2, 4, 64};
    static struct ring_pair_shape shapes[28];
    static struct CMUnitTest tests[28];
    size_t count = 0;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (unsigned bits = 0; bits < 8; bits++) {
            shapes[count] = (struct ring_pair_shape){bits & 1, bits & 2, sizes[i], 0, 0};
            if (bits & 4) {
                shapes[count].indirect_tables = (uint16_t)(sizes[i] / 2);
                shapes[count].indirect_segments = 2;
            }
            tests[count] =
                (struct CMUnitTest){ring_pair_name("no_wakeup_and_no_byte_is_lost", &shapes[count]),
                                    no_wakeup_and_no_byte_is_lost, NULL, NULL, &shapes[count]};
            count++;
        }
    }
    for (unsigned bits = 0; bits < 4; bits++) {
        shapes[count] = (struct ring_pair_shape){bits & 1, bits & 2, 4, 0, 0};
        tests[count] =
            (struct CMUnitTest){ring_pair_name("who_goes_to_sleep_is_seen_or_sees", &shapes[count]),
                                who_goes_to_sleep_is_seen_or_sees, NULL, NULL, &shapes[count]};
        count++;
    }
    return _cmocka_run_group_tests("rings on two threads", tests, count, NULL, NULL);
}
