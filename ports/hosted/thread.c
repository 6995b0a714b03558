/* SPDX-License-Identifier: MIT
 *
 * Threads as CPUs: the number that each thread carries, and what becomes of misuse found on it.
 */
#include "hosted.h"

#include <execinfo.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <pleat/pleat.h>

__thread struct pleat_hosted_thread pleat_hosted_thread = {.cpu = PLEAT_HOSTED_NO_CPU};

static __thread struct {
    pleat_hosted_misuse_fn *hear;
    void *context;
} misuse;

uint64_t hosted_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void pleat_hosted_cpu_set(unsigned cpu)
{
    if (pleat_hosted_thread.pinned)
        pleat_hosted_misuse("the CPU number of a pinned thread was set");
    pleat_hosted_thread.cpu = cpu;
}

unsigned pleat_hosted_cpu(void)
{
    return pleat_hosted_thread.cpu;
}

/* --- Fences --------------------------------------------------------------------------------------------- */

static void fence(void *context)
{
    (void)context;
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
        hosted_stop("fence", "membarrier() fails, which worked before");
}

void (*pleat_hosted_fence(void))(void *context)
{
    /* Registering twice does no harm. */
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) ? NULL : fence;
}

/* --- Spins ---------------------------------------------------------------------------------------------- */

#define SPIN_LIMIT_MS 30000u
/** Yields of one thread that are farther apart belong to two spins. */
#define SPIN_GAP_NS 50000000u

static atomic_uint spin_limit_ms = SPIN_LIMIT_MS;

static __thread struct {
    uint64_t began_ns;
    uint64_t last_ns;
    unsigned yields; /**< in this spin */
} spin;

void pleat_hosted_spin_limit(unsigned milliseconds)
{
    atomic_store(&spin_limit_ms, milliseconds ? milliseconds : SPIN_LIMIT_MS);
}

void pleat_hosted_yield(void)
{
    uint64_t now = hosted_now_ns();
    if (!spin.yields || now - spin.last_ns > SPIN_GAP_NS) {
        spin.began_ns = now;
        spin.yields = 0;
    }
    /* A thread that had no host CPU for long has spun little. */
    if (++spin.yields > 100 && now - spin.began_ns > atomic_load(&spin_limit_ms) * UINT64_C(1000000)) {
        spin.yields = 0;
        pleat_hosted_misuse("spins without an end: a callback called what takes the hotplug lock, or a "
                            "thread ended inside of the core");
    }
    sched_yield();
    spin.last_ns = hosted_now_ns();
}

/* --- Misuse --------------------------------------------------------------------------------------------- */

void pleat_hosted_on_misuse(pleat_hosted_misuse_fn *hear, void *context)
{
    misuse.hear = hear;
    misuse.context = context;
}

void hosted_print(const char *text)
{
    size_t left = strlen(text);
    while (left) {
        ssize_t written = write(STDERR_FILENO, text, left);
        if (written <= 0)
            return;
        text += written;
        left -= (size_t)written;
    }
}

void hosted_stop(const char *what, const char *line)
{
    void *callers[32];
    int depth = backtrace(callers, 32);
    hosted_print("pleat: ");
    hosted_print(what);
    hosted_print(": ");
    hosted_print(line);
    hosted_print("\n");
    backtrace_symbols_fd(callers, depth, STDERR_FILENO);
    abort();
}

void pleat_hosted_misuse(const char *line)
{
    if (misuse.hear)
        misuse.hear(misuse.context, line);
    else
        hosted_stop("misuse", line);
}

/* --- Running on all CPUs -------------------------------------------------------------------------------- */

/** What the threads of one pleat_hosted_run_cpus() share: none goes before all are there. */
struct crew {
    void (*run)(void *context, unsigned cpu);
    void *context;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum { GATHERING, GO, GIVE_UP } order;
};

struct hand {
    struct crew *crew;
    pthread_t thread;
    unsigned cpu;
};

static void *work(void *argument)
{
    struct hand *hand = argument;
    struct crew *crew = hand->crew;

    pthread_mutex_lock(&crew->lock);
    while (crew->order == GATHERING)
        pthread_cond_wait(&crew->changed, &crew->lock);
    bool go = crew->order == GO;
    pthread_mutex_unlock(&crew->lock);
    if (go) {
        pleat_hosted_cpu_set(hand->cpu);
        crew->run(crew->context, hand->cpu);
    }
    return NULL;
}

/** Keeps the thread to the n-th host CPU of `allowed`. That is for speed: where it fails, all still works. */
static void keep_to(pthread_t thread, const cpu_set_t *allowed, unsigned n)
{
    for (unsigned host_cpu = 0; host_cpu < CPU_SETSIZE; host_cpu++) {
        if (!CPU_ISSET(host_cpu, allowed) || n--)
            continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(host_cpu, &one);
        (void)pthread_setaffinity_np(thread, sizeof(one), &one);
        return;
    }
}

int pleat_hosted_run_cpus(unsigned cpus, void (*run)(void *context, unsigned cpu), void *context)
{
    if (!cpus || cpus > PLEAT_MAX_CPUS || !run)
        return PLEAT_E_INVALID;

    struct crew crew = {
        .run = run,
        .context = context,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
        .order = GATHERING,
    };
    struct hand *hands = calloc(cpus, sizeof(*hands));
    if (!hands)
        return PLEAT_E_NO_MEMORY;

    cpu_set_t allowed;
    bool keep = !sched_getaffinity(0, sizeof(allowed), &allowed) && CPU_COUNT(&allowed) >= (int)cpus;
    unsigned started;
    for (started = 0; started < cpus; started++) {
        hands[started].crew = &crew;
        hands[started].cpu = started;
        if (pthread_create(&hands[started].thread, NULL, work, &hands[started]))
            break;
        if (keep)
            keep_to(hands[started].thread, &allowed, started);
    }

    pthread_mutex_lock(&crew.lock);
    crew.order = started == cpus ? GO : GIVE_UP;
    pthread_cond_broadcast(&crew.changed);
    pthread_mutex_unlock(&crew.lock);
    for (unsigned i = 0; i < started; i++)
        pthread_join(hands[i].thread, NULL);
    free(hands);
    return started == cpus ? PLEAT_OK : PLEAT_E_NO_MEMORY;
}
