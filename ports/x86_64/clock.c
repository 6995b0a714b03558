/* SPDX-License-Identifier: MIT
 *
 * The clock: the CPU's time-stamp counter, which counts the same on all CPUs of a machine, and what one tick
 * of it is worth, from whoever knows: the CPU, the hypervisor, or the interval timer.
 */
#include "clock.h"

#include "ports/bare/platform.h"
#include "ports/bare/print.h"

#include "registers.h"
#include "xen.h"

#define PIT_HZ         1193182u
#define PIT_CHANNEL_2  0x42
#define PIT_COMMAND    0x43
#define PIT_GATE       0x61
#define MEASURE_TICKS  11932u /* of the interval timer: 10 ms */
#define MEASURE_ROUNDS 5u
#define NOT_THERE      (1u << 22)

static uint64_t first_tick;
/* Nanoseconds a tick, in units of 2^-32. */
static uint64_t scale;

static uint64_t ticks(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}

uint64_t platform_clock_ns(void)
{
    return (uint64_t)((unsigned __int128)(ticks() - first_tick) * scale >> 32);
}

static uint64_t hz_from_cpu(void)
{
    if (cpuid(0, 0).eax < 0x15)
        return 0;
    struct cpuid is = cpuid(0x15, 0);
    return is.eax && is.ebx && is.ecx ? (uint64_t)is.ecx * is.ebx / is.eax : 0;
}

static uint64_t hz_from_hypervisor(void)
{
    if (xen_leaves())
        return (uint64_t)cpuid(xen_leaves() + 3, 0).ecx * 1000;
    if (!(cpuid(1, 0).ecx & 1u << 31))
        return 0;
    for (uint32_t base = 0x40000000; base < 0x40010000; base += 0x100) {
        struct cpuid is = cpuid(base, 0);
        if (is.eax >= base + 0x10 && is.eax < base + 0x100 && cpuid(base + 0x10, 0).eax)
            return (uint64_t)cpuid(base + 0x10, 0).eax * 1000;
    }
    return 0;
}

/* Both counters at one moment: of several pairs, the one that took the least time. */
static uint64_t both(unsigned *pit)
{
    uint64_t best = UINT64_MAX, at = 0;
    for (unsigned round = 0; round < MEASURE_ROUNDS; round++) {
        uint64_t before = ticks();
        out8(PIT_COMMAND, 0x80);
        unsigned low = in8(PIT_CHANNEL_2);
        unsigned count = low | (unsigned)in8(PIT_CHANNEL_2) << 8;
        uint64_t after = ticks();
        if (after - before < best) {
            best = after - before;
            at = before + best / 2;
            *pit = 0xffff - count;
        }
    }
    return at;
}

static uint64_t hz_from_interval_timer(void)
{
    unsigned begin_pit = 0, pit = 0;
    uint64_t begin, now;

    out8(PIT_GATE, (uint8_t)((in8(PIT_GATE) & ~2u) | 1u));
    out8(PIT_COMMAND, 0xb0);
    out8(PIT_CHANNEL_2, 0xff);
    out8(PIT_CHANNEL_2, 0xff);
    begin = both(&begin_pit);
    for (unsigned tries = 0; tries < NOT_THERE; tries++) {
        now = both(&pit);
        if (pit - begin_pit >= MEASURE_TICKS && pit > begin_pit)
            return (now - begin) * PIT_HZ / (pit - begin_pit);
        /* The counter of a machine without it reads all ones, and never moves. */
        if (pit == begin_pit && now - begin > UINT64_C(4000000000))
            return 0;
    }
    return 0;
}

void clock_start(void)
{
    uint64_t hz = hz_from_cpu();
    if (!hz)
        hz = hz_from_hypervisor();
    if (!hz)
        hz = hz_from_interval_timer();
    if (!hz) {
        print("clock: nobody knows how fast the CPU counts; taken for 1 GHz\n");
        hz = 1000000000;
    }
    scale = (UINT64_C(1000000000) << 32) / hz;
    first_tick = ticks();
}
