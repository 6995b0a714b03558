/* SPDX-License-Identifier: MIT
 *
 * What "ports/bare/platform.h" promises, as checks.
 */
#include <stdatomic.h>
#include <stddef.h>

#include "pleat_port.h"
#include "ports/bare/platform.h"

#include "contract_image.h"

#define MS UINT64_C(1000000)
/* Emulated CPUs share few real ones: what ends in time ends long before this. */
#define PATIENCE (20000 * MS)

static bool until(_Atomic unsigned *what, unsigned wanted)
{
    uint64_t end = platform_clock_ns() + PATIENCE;
    while (atomic_load(what) < wanted) {
        if (platform_clock_ns() > end)
            return false;
        pleat_port_pause();
    }
    return true;
}

static const char *boot_map_is_sorted(const struct contract *contract)
{
    uint64_t free = 0, last = 0;
    (void)contract;
    for (unsigned i = 0; i < platform.span_count; i++) {
        const struct pleat_boot_span *span = &platform.spans[i];
        if (!span->frames || span->start_pfn < last)
            return "spans overlap, are empty or aren't sorted";
        last = span->start_pfn + span->frames;
        if (span->node >= platform.nodes || last > platform.highest_pfn)
            return "a span has a node that isn't there, or ends above highest_pfn";
        if (span->use == PLEAT_BOOT_FREE)
            free += span->frames;
    }
    return free ? NULL : "no memory is free";
}

static const char *boot_memory_can_be_touched(const struct contract *contract)
{
    (void)contract;
    for (unsigned i = 0; i < platform.span_count; i++) {
        const struct pleat_boot_span *span = &platform.spans[i];
        bool is_free = span->use == PLEAT_BOOT_FREE;
        for (unsigned last = 0; last < 2 && is_free; last++) {
            unsigned char *byte = platform.port.frame_pointer(
                platform.port.context, span->start_pfn + (last ? span->frames - 1 : 0));
            if (!platform_touch(byte, false) || !platform_touch(byte + 4095, true))
                return "the first or the last frame of a free span can't be reached";
        }
    }
    return NULL;
}

static const char *null_and_areas_cannot_be_touched(const struct contract *contract)
{
    volatile uintptr_t nothing = 8;
    (void)contract;
    if (platform_touch((unsigned char *)nothing, false) || platform_touch((unsigned char *)nothing, true))
        return "a null pointer can be used";
    for (unsigned i = 0; i < platform.area_count; i++) {
        unsigned char *byte =
            platform.port.frame_pointer(platform.port.context, platform.areas[i].start / 4096);
        if (platform_touch(byte, false) || platform_touch(byte, true))
            return "memory that isn't plugged can be reached";
    }
    return NULL;
}

/* --- CPUs ----------------------------------------------------------------------------------------------- */

struct meeting {
    _Atomic unsigned arrived, missed;
};

static void meet(void *context, unsigned cpu)
{
    struct meeting *meeting = context;
    (void)cpu;
    atomic_fetch_add(&meeting->arrived, 1);
    if (!until(&meeting->arrived, platform.cpus))
        atomic_fetch_add(&meeting->missed, 1);
}

static const char *all_cpus_run_at_once(const struct contract *contract)
{
    (void)contract;
    for (unsigned i = 0; i < 20; i++) {
        struct meeting meeting = {.arrived = 0};
        platform_on_all_cpus(meet, &meeting);
        if (meeting.missed)
            return "not all CPUs ran at once";
        if (meeting.arrived != platform.cpus)
            return "not all CPUs ran, or not all had returned";
    }
    return NULL;
}

static void run_until_told(void *context, unsigned cpu)
{
    _Atomic unsigned *told = context;
    (void)cpu;
    until(told, 1);
}

static const char *a_cpu_runs_one_thing_at_a_time(const struct contract *contract)
{
    (void)contract;
    for (unsigned cpu = 1; cpu < platform.cpus; cpu++) {
        _Atomic unsigned told = 0;
        if (!platform_is_idle(cpu))
            return "a CPU that was given nothing isn't idle";
        if (platform_start(cpu, run_until_told, &told))
            return "an idle CPU can't be given something";
        bool busy = !platform_is_idle(cpu);
        int second = platform_start(cpu, run_until_told, &told);
        atomic_store(&told, 1);
        uint64_t end = platform_clock_ns() + PATIENCE;
        while (!platform_is_idle(cpu)) {
            if (platform_clock_ns() > end)
                return "a CPU doesn't become idle when what it runs has returned";
            pleat_port_pause();
        }
        if (!busy || second != PLEAT_E_BUSY)
            return "a CPU that runs something takes another thing";
    }
    return NULL;
}

static const char *idle_ends_when_time_is_up(const struct contract *contract)
{
    (void)contract;
    for (unsigned ms = 1; ms <= 16; ms *= 4) {
        uint64_t begin = platform_clock_ns();
        do {
            platform_wake_begin();
            platform_idle(begin + ms * MS);
            if (platform_clock_ns() > begin + PATIENCE)
                return "platform_idle() overslept";
        } while (platform_clock_ns() < begin + ms * MS);
    }
    platform_wake_begin();
    platform_idle(0);
    return NULL;
}

struct sleeper {
    _Atomic unsigned work, woken;
};

static void sleep_for_work(void *context, unsigned cpu)
{
    struct sleeper *sleeper = context;
    unsigned done = 0;
    (void)cpu;
    while (done < 200) {
        platform_wake_begin();
        if (atomic_load(&sleeper->work) == done) {
            platform_idle(UINT64_MAX);
            continue;
        }
        done++;
        atomic_store(&sleeper->woken, done);
    }
}

static const char *no_wake_is_lost(const struct contract *contract)
{
    (void)contract;
    if (platform.cpus < 2)
        return NULL;
    static struct sleeper sleeper;
    unsigned cpu = platform.cpus - 1;
    sleeper = (struct sleeper){.work = 0};
    if (platform_start(cpu, sleep_for_work, &sleeper))
        return "the last CPU isn't idle";
    for (unsigned i = 1; i <= 200; i++) {
        atomic_store(&sleeper.work, i);
        platform_wake(cpu);
        if (!until(&sleeper.woken, i))
            return "a wake was lost";
        for (volatile unsigned wait = 0; wait < i * 50; wait++)
            ;
    }
    while (!platform_is_idle(cpu))
        pleat_port_pause();
    return NULL;
}

static void sleep_after_wake(void *context, unsigned cpu)
{
    struct sleeper *sleeper = context;
    (void)cpu;
    platform_wake_begin();
    atomic_store(&sleeper->work, 1);
    until(&sleeper->woken, 1);
    /* The interrupt has come by the end of this. */
    uint64_t end = platform_clock_ns() + 2 * MS;
    while (platform_clock_ns() < end)
        ;
    platform_idle(end + 1000 * MS);
    if (platform_clock_ns() >= end + 500 * MS)
        atomic_store(&sleeper->work, 2);
}

static const char *a_wake_before_sleep_ends_it(const struct contract *contract)
{
    static struct sleeper sleeper;
    (void)contract;
    if (platform.cpus < 2)
        return NULL;
    sleeper = (struct sleeper){.work = 0};
    if (platform_start(1, sleep_after_wake, &sleeper))
        return "a CPU isn't idle";
    until(&sleeper.work, 1);
    platform_wake(1);
    atomic_store(&sleeper.woken, 1);
    while (!platform_is_idle(1))
        pleat_port_pause();
    return sleeper.work == 1 ? NULL : "platform_idle() slept through a wake that came before it";
}

/* --- Barriers, with interrupts off -----------------------------------------------------------------------
 */

struct pinned {
    _Atomic unsigned ready, over;
};

/* A pinned stretch that waits for another CPU. */
static void spin_pinned(void *context, unsigned cpu)
{
    struct pinned *pinned = context;
    if (!cpu) {
        until(&pinned->ready, platform.cpus - 1);
        for (unsigned i = 0; i < 20; i++)
            platform.port.fence_cpus(platform.port.context);
        atomic_store(&pinned->over, 1);
        return;
    }
    pleat_port_pin();
    atomic_fetch_add(&pinned->ready, 1);
    while (!atomic_load(&pinned->over))
        pleat_port_pause();
    pleat_port_unpin();
}

static const char *who_pauses_pinned_answers_fences(const struct contract *contract)
{
    struct pinned pinned = {.ready = 0};
    if (contract->port->fence_cpus)
        platform_on_all_cpus(spin_pinned, &pinned);
    return NULL;
}

/* Pinned, and deaf: without a pause. */
static void stay_deaf(void *context, unsigned cpu)
{
    struct pinned *pinned = context;
    (void)cpu;
    pleat_port_pin();
    atomic_store(&pinned->ready, 1);
    uint64_t end = platform_clock_ns() + 5 * MS;
    while (platform_clock_ns() < end)
        ;
    atomic_store(&pinned->over, 1);
    pleat_port_unpin();
}

static const char *a_fence_waits_for_every_cpu(const struct contract *contract)
{
    const char *broken = NULL;
    for (unsigned cpu = 1; cpu < platform.cpus && contract->port->fence_cpus; cpu++) {
        static struct pinned pinned;
        pinned.ready = pinned.over = 0;
        if (platform_start(cpu, stay_deaf, &pinned))
            return "a CPU isn't idle";
        until(&pinned.ready, 1);
        platform.port.fence_cpus(platform.port.context);
        if (!atomic_load(&pinned.over))
            broken = "a fence has returned before a CPU could answer";
        while (!platform_is_idle(cpu))
            pleat_port_pause();
    }
    return broken;
}

static void fence_at_once(void *context, unsigned cpu)
{
    (void)context;
    for (unsigned i = 0; i < 40; i++) {
        /* Some with interrupts off. */
        if ((i + cpu) % 3 == 0)
            pleat_port_pin();
        platform.port.fence_cpus(platform.port.context);
        if ((i + cpu) % 3 == 0)
            pleat_port_unpin();
    }
}

static const char *all_cpus_fence_at_once(const struct contract *contract)
{
    if (contract->port->fence_cpus)
        platform_on_all_cpus(fence_at_once, NULL);
    return NULL;
}

struct mappers {
    const struct contract *contract;
    const char *volatile broken;
};

/* Each CPU maps, uses and unmaps frames of its own, a single one and a whole 2 MiB. */
static void map_at_once(void *context, unsigned cpu)
{
    struct mappers *mappers = context;
    const struct pleat_port *port = mappers->contract->port;
    uint64_t single = mappers->contract->start_pfn + cpu;
    uint64_t huge = mappers->contract->start_pfn + (cpu + 1) * UINT64_C(512);

    if (cpu >= CONTRACT_CPUS)
        return;
    for (unsigned i = 0; i < 20; i++) {
        uint64_t pfn = i % 2 ? single : huge;
        unsigned char *byte = port->frame_pointer(port->context, pfn);
        if (port->map(port->context, pfn, i % 2 ? 1 : 512))
            mappers->broken = "map() failed";
        else if (!platform_touch(byte, true))
            mappers->broken = "a frame can't be reached after map()";
        port->unmap(port->context, pfn, i % 2 ? 1 : 512);
        if (platform_touch(byte, true))
            mappers->broken = "a frame can be reached after unmap()";
    }
}

static const char *all_cpus_map_and_unmap_at_once(const struct contract *contract)
{
    struct mappers mappers = {.contract = contract};
    if (contract->port->map)
        platform_on_all_cpus(map_at_once, &mappers);
    return mappers.broken;
}

struct shot {
    const struct contract *contract;
    bool asleep;
    _Atomic unsigned round, seen, wrong;
};

#define SHOTS 20u

static void next_round(struct shot *shot, unsigned round)
{
    atomic_store(&shot->round, round);
    for (unsigned cpu = 1; cpu < platform.cpus && shot->asleep; cpu++)
        platform_wake(cpu);
    until(&shot->seen, round * (platform.cpus - 1));
}

static void until_round(struct shot *shot, unsigned round)
{
    while (shot->asleep) {
        platform_wake_begin();
        if (atomic_load(&shot->round) >= round)
            return;
        platform_idle(UINT64_MAX);
    }
    until(&shot->round, round);
}

/* CPU 0 unmaps what all others have just used; they spin meanwhile, or sleep. */
static void shoot(void *context, unsigned cpu)
{
    struct shot *shot = context;
    const struct pleat_port *port = shot->contract->port;
    uint64_t pfn = shot->contract->start_pfn;
    unsigned char *byte = port->frame_pointer(port->context, pfn);

    for (unsigned round = 1; round <= 2 * SHOTS; round++) {
        bool mapped = round % 2;
        if (cpu) {
            until_round(shot, round);
            if (platform_touch(byte, true) != mapped)
                atomic_fetch_add(&shot->wrong, 1);
            atomic_fetch_add(&shot->seen, 1);
            continue;
        }
        if (mapped && port->map(port->context, pfn, 512))
            atomic_fetch_add(&shot->wrong, 1);
        if (!mapped)
            port->unmap(port->context, pfn, 512);
        next_round(shot, round);
        /* Some of them are asleep when it is unmapped, some are about to. */
        for (volatile unsigned wait = 0; shot->asleep && wait < round * 500; wait++)
            ;
    }
}

static const char *unmap_reaches_every_cpu(const struct contract *contract)
{
    struct shot shot = {.contract = contract};
    if (!contract->port->map)
        return NULL;
    platform_on_all_cpus(shoot, &shot);
    return shot.wrong ? "a CPU could reach a frame after unmap(), or not after map()" : NULL;
}

static const char *unmap_reaches_every_cpu_that_sleeps(const struct contract *contract)
{
    struct shot shot = {.contract = contract, .asleep = true};
    if (!contract->port->map)
        return NULL;
    platform_on_all_cpus(shoot, &shot);
    return shot.wrong ? "a CPU could reach a frame after unmap(), or not after map()" : NULL;
}

const struct contract_check platform_checks[] = {
    {"boot_map_is_sorted", boot_map_is_sorted},
    {"boot_memory_can_be_touched", boot_memory_can_be_touched},
    {"null_and_areas_cannot_be_touched", null_and_areas_cannot_be_touched},
    {"all_cpus_run_at_once", all_cpus_run_at_once},
    {"a_cpu_runs_one_thing_at_a_time", a_cpu_runs_one_thing_at_a_time},
    {"idle_ends_when_time_is_up", idle_ends_when_time_is_up},
    {"no_wake_is_lost", no_wake_is_lost},
    {"a_wake_before_sleep_ends_it", a_wake_before_sleep_ends_it},
    {"who_pauses_pinned_answers_fences", who_pauses_pinned_answers_fences},
    {"a_fence_waits_for_every_cpu", a_fence_waits_for_every_cpu},
    {"all_cpus_fence_at_once", all_cpus_fence_at_once},
    {"all_cpus_map_and_unmap_at_once", all_cpus_map_and_unmap_at_once},
    {"unmap_reaches_every_cpu", unmap_reaches_every_cpu},
    {"unmap_reaches_every_cpu_that_sleeps", unmap_reaches_every_cpu_that_sleeps},
    {NULL, NULL},
};
