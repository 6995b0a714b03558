/* SPDX-License-Identifier: MIT
 *
 * Who runs what. With threads: one for each guest CPU, and the service thread, which is a CPU of the core
 * like the others and does what is neither fast nor a CPU's own business: drivers, devices, requests of the
 * control thread. Without: the control thread plays all of them, in a fixed order, a quantum of virtual time
 * at once.
 *
 * One lock guards the flags that they stop and go by; nobody holds it while the guest does something.
 */
#include "machine/machine_parts.h"

#include <stdlib.h>
#include <time.h>

/* Operations between two looks at the flags. */
#define BATCH 256u
/* A CPU sleeps at least so long, so that a paced workload isn't a wake-up for each operation. */
#define SHORTEST_SLEEP_NS UINT64_C(500000)
/* What one round of everybody takes in virtual time. */
#define QUANTUM_NS UINT64_C(100000)

struct cpu_thread {
    struct pleat_threads *threads;
    unsigned cpu;
    pthread_t thread;
    bool created;
};

struct pleat_threads {
    struct pleat_machine *machine;
    pthread_mutex_t lock;
    pthread_cond_t cpu_cond, service_cond, control_cond;
    unsigned cpu_count, parked;
    bool started, stop, park;
    void (*call)(void *context); /* NULL: none is waiting */
    void *call_context;
    pthread_t service;
    struct cpu_thread cpus[]; /* [cpu_count] */
};

static unsigned service_cpu(const struct pleat_threads *threads)
{
    return threads->cpu_count;
}

/* Waits for a signal, at most until the machine's clock shows `until_ns`. */
static void wait_until(struct pleat_threads *threads, pthread_cond_t *cond, uint64_t until_ns)
{
    if (until_ns == UINT64_MAX) {
        pthread_cond_wait(cond, &threads->lock);
        return;
    }
    const uint64_t host_ns = until_ns + threads->machine->clock.origin_ns;
    const struct timespec time = {.tv_sec = (time_t)(host_ns / 1000000000u),
                                  .tv_nsec = (long)(host_ns % 1000000000u)};
    pthread_cond_timedwait(cond, &threads->lock, &time);
}

static void *run_cpu(void *context)
{
    struct cpu_thread *self = context;
    struct pleat_threads *threads = self->threads;
    struct pleat_machine *machine = threads->machine;

    pleat_hosted_cpu_set(self->cpu);
    pthread_mutex_lock(&threads->lock);
    while (!threads->stop) {
        if (threads->park) {
            threads->parked++;
            pthread_cond_broadcast(&threads->control_cond);
            while (threads->park && !threads->stop)
                pthread_cond_wait(&threads->cpu_cond, &threads->lock);
            threads->parked--;
            continue;
        }
        pthread_mutex_unlock(&threads->lock);
        uint64_t when = pleat_guest_run_cpu(machine->guest, self->cpu, BATCH);
        const uint64_t now = pleat_clock_now_ns(&machine->clock);
        pthread_mutex_lock(&threads->lock);
        if (when > now && !threads->park && !threads->stop) {
            when = when > now + SHORTEST_SLEEP_NS ? when : now + SHORTEST_SLEEP_NS;
            wait_until(threads, &threads->cpu_cond, when);
        }
    }
    pthread_mutex_unlock(&threads->lock);
    return NULL;
}

static void *run_service(void *context)
{
    struct pleat_threads *threads = context;
    struct pleat_machine *machine = threads->machine;

    pleat_hosted_cpu_set(service_cpu(threads));
    pthread_mutex_lock(&threads->lock);
    while (!threads->stop) {
        if (threads->call) {
            void (*const call)(void *) = threads->call;
            pthread_mutex_unlock(&threads->lock);
            call(threads->call_context);
            pthread_mutex_lock(&threads->lock);
            threads->call = NULL;
            pthread_cond_broadcast(&threads->control_cond);
        }
        const bool running = !threads->park;
        pthread_mutex_unlock(&threads->lock);
        const uint64_t when = machine->guest ? pleat_guest_service(machine->guest, running) : UINT64_MAX;
        const uint64_t now = pleat_clock_now_ns(&machine->clock);
        pthread_mutex_lock(&threads->lock);
        if (when > now && !threads->stop && !threads->call)
            wait_until(threads, &threads->service_cond, when);
    }
    pthread_mutex_unlock(&threads->lock);
    return NULL;
}

int pleat_threads_create(struct pleat_machine *machine, struct pleat_threads **result)
{
    const unsigned cpus = machine->config->cpus;
    struct pleat_threads *threads = calloc(1, sizeof *threads + cpus * sizeof threads->cpus[0]);
    pthread_condattr_t attributes;

    *result = threads;
    if (!threads)
        return PLEAT_E_NO_MEMORY;
    threads->machine = machine;
    threads->cpu_count = cpus;
    threads->park = true;
    pthread_mutex_init(&threads->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&threads->cpu_cond, &attributes);
    pthread_cond_init(&threads->service_cond, &attributes);
    pthread_cond_init(&threads->control_cond, &attributes);
    pthread_condattr_destroy(&attributes);
    for (unsigned i = 0; i < cpus; i++)
        threads->cpus[i] = (struct cpu_thread){.threads = threads, .cpu = i};
    return PLEAT_OK;
}

void pleat_threads_destroy(struct pleat_threads *threads)
{
    if (!threads)
        return;
    pleat_threads_stop(threads);
    pthread_cond_destroy(&threads->cpu_cond);
    pthread_cond_destroy(&threads->service_cond);
    pthread_cond_destroy(&threads->control_cond);
    pthread_mutex_destroy(&threads->lock);
    free(threads);
}

int pleat_threads_start(struct pleat_threads *threads)
{
    if (threads->machine->clock.is_virtual || threads->started)
        return PLEAT_OK;
    threads->stop = false;
    if (pthread_create(&threads->service, NULL, run_service, threads))
        return PLEAT_E_NO_MEMORY;
    threads->started = true;
    for (unsigned i = 0; i < threads->cpu_count; i++) {
        struct cpu_thread *cpu = &threads->cpus[i];
        cpu->created = !pthread_create(&cpu->thread, NULL, run_cpu, cpu);
        if (!cpu->created) {
            pleat_threads_stop(threads);
            return PLEAT_E_NO_MEMORY;
        }
    }
    return PLEAT_OK;
}

void pleat_threads_stop(struct pleat_threads *threads)
{
    if (!threads->started)
        return;
    pthread_mutex_lock(&threads->lock);
    threads->stop = true;
    pthread_cond_broadcast(&threads->cpu_cond);
    pthread_cond_broadcast(&threads->service_cond);
    pthread_mutex_unlock(&threads->lock);
    for (unsigned i = 0; i < threads->cpu_count; i++) {
        if (threads->cpus[i].created)
            pthread_join(threads->cpus[i].thread, NULL);
        threads->cpus[i].created = false;
    }
    pthread_join(threads->service, NULL);
    threads->started = false;
}

void pleat_threads_call(struct pleat_threads *threads, void (*function)(void *context), void *context)
{
    if (!threads->started || pthread_equal(pthread_self(), threads->service)) {
        const unsigned cpu = pleat_hosted_cpu();
        pleat_hosted_cpu_set(service_cpu(threads));
        function(context);
        pleat_hosted_cpu_set(cpu);
        return;
    }
    pthread_mutex_lock(&threads->lock);
    threads->call = function;
    threads->call_context = context;
    pthread_cond_signal(&threads->service_cond);
    while (threads->call)
        pthread_cond_wait(&threads->control_cond, &threads->lock);
    pthread_mutex_unlock(&threads->lock);
}

void pleat_threads_park(struct pleat_threads *threads)
{
    pthread_mutex_lock(&threads->lock);
    threads->park = true;
    pthread_cond_broadcast(&threads->cpu_cond);
    while (threads->started && threads->parked < threads->cpu_count)
        pthread_cond_wait(&threads->control_cond, &threads->lock);
    pthread_mutex_unlock(&threads->lock);
}

void pleat_threads_unpark(struct pleat_threads *threads)
{
    pthread_mutex_lock(&threads->lock);
    threads->park = false;
    pthread_cond_broadcast(&threads->cpu_cond);
    pthread_cond_signal(&threads->service_cond);
    pthread_mutex_unlock(&threads->lock);
}

void pleat_threads_step(struct pleat_threads *threads, uint64_t until_ns)
{
    struct pleat_machine *machine = threads->machine;
    const uint64_t now = pleat_clock_now_ns(&machine->clock);
    const unsigned own_cpu = pleat_hosted_cpu();
    uint64_t next = until_ns;

    for (unsigned cpu = 0; machine->guest && !threads->park && cpu < threads->cpu_count; cpu++) {
        pleat_hosted_cpu_set(cpu);
        const uint64_t when = pleat_guest_run_cpu(machine->guest, cpu, BATCH);
        next = when < next ? when : next;
    }
    if (machine->guest) {
        pleat_hosted_cpu_set(service_cpu(threads));
        const uint64_t when = pleat_guest_service(machine->guest, !threads->park);
        next = when < next ? when : next;
    }
    pleat_hosted_cpu_set(own_cpu);
    if (next < now + QUANTUM_NS)
        next = now + QUANTUM_NS;
    pleat_clock_advance(&machine->clock, next < until_ns ? next : until_ns);
}
