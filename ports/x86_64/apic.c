/* SPDX-License-Identifier: MIT
 *
 * The local APIC, by memory or, where the CPU has it, by x2APIC's registers.
 */
#include "apic.h"

#include "ports/bare/platform.h"

#include "interrupts.h"
#include "registers.h"

#define MSR_APIC_BASE 0x1bu
#define BASE_X2       0x400u
#define BASE_ENABLED  0x800u
#define MSR_X2        0x800u

/* Numbers of registers: times 16 in memory, as they are in x2APIC. */
enum {
    APIC_ID = 0x02,
    APIC_PRIORITY = 0x08,
    APIC_EOI = 0x0b,
    APIC_SPURIOUS = 0x0f,
    APIC_COMMAND = 0x30,
    APIC_COMMAND_HIGH = 0x31,
    APIC_LVT_TIMER = 0x32,
    APIC_LVT_PIN0 = 0x35,
    APIC_LVT_PIN1 = 0x36,
    APIC_LVT_ERROR = 0x37,
    APIC_TIMER_COUNT = 0x38,
    APIC_TIMER_NOW = 0x39,
    APIC_TIMER_DIVIDE = 0x3e,
};

#define MASKED            0x10000u
#define SPURIOUS_ENABLED  0x100u
#define COMMAND_INIT      0x4500u
#define COMMAND_START     0x4600u
#define COMMAND_PENDING   0x1000u
#define COMMAND_FIXED     0x4000u
#define COMMAND_TO_OTHERS 0xc0000u
#define DIVIDE_BY_1       0x0bu
#define TIMER_MEASURE_NS  2000000u

static bool x2;
static volatile uint32_t *registers;
static uint64_t timer_hz;

static uint32_t get(unsigned number)
{
    return x2 ? (uint32_t)msr_read(MSR_X2 + number) : registers[number * 4];
}

static void set(unsigned number, uint32_t value)
{
    if (x2)
        msr_write(MSR_X2 + number, value);
    else
        registers[number * 4] = value;
}

void apic_find(void)
{
    uint64_t base = msr_read(MSR_APIC_BASE);

    x2 = cpuid(1, 0).ecx & 1u << 21 || base & BASE_X2;
    if (!x2)
        registers = platform_map_registers(base & 0xffffff000, 4096);
    /* The two 8259s, wherever there are any: out of the way of exceptions, and all masked. */
    out8(0x20, 0x11);
    out8(0xa0, 0x11);
    out8(0x21, 0x20);
    out8(0xa1, 0x28);
    out8(0x21, 4);
    out8(0xa1, 2);
    out8(0x21, 1);
    out8(0xa1, 1);
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
}

void apic_start(void)
{
    msr_write(MSR_APIC_BASE, msr_read(MSR_APIC_BASE) | BASE_ENABLED);
    if (x2)
        msr_write(MSR_APIC_BASE, msr_read(MSR_APIC_BASE) | BASE_X2);
    set(APIC_PRIORITY, 0);
    set(APIC_LVT_TIMER, MASKED);
    set(APIC_LVT_PIN0, MASKED);
    set(APIC_LVT_PIN1, MASKED);
    set(APIC_LVT_ERROR, MASKED);
    set(APIC_SPURIOUS, SPURIOUS_ENABLED | VECTOR_SPURIOUS);
    set(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
    set(APIC_LVT_TIMER, VECTOR_TIMER);
}

uint32_t apic_id(void)
{
    return x2 ? get(APIC_ID) : get(APIC_ID) >> 24;
}

bool apic_reaches(uint32_t id)
{
    /* Without x2APIC the highest number means all. */
    return x2 || id < 0xff;
}

void apic_end_of_interrupt(void)
{
    set(APIC_EOI, 0);
}

static void send(uint32_t id, uint32_t command)
{
    if (x2) {
        /* Not ordered with stores before it by itself. */
        __asm__ volatile("mfence; lfence" ::: "memory");
        msr_write(MSR_X2 + APIC_COMMAND, (uint64_t)id << 32 | command);
        return;
    }
    /* Two registers make one command: no interrupt may send another one in between. */
    uint64_t flags = interrupts_save();
    while (get(APIC_COMMAND) & COMMAND_PENDING)
        __builtin_ia32_pause();
    set(APIC_COMMAND_HIGH, id << 24);
    set(APIC_COMMAND, command);
    interrupts_restore(flags);
}

void apic_send(uint32_t id, unsigned vector)
{
    send(id, COMMAND_FIXED | vector);
}

void apic_send_reset(uint32_t id)
{
    send(id, COMMAND_INIT);
}

void apic_send_start(uint32_t id, unsigned page)
{
    send(id, COMMAND_START | page);
}

void apic_measure_timer(void)
{
    uint64_t flags = interrupts_save();
    set(APIC_LVT_TIMER, MASKED | VECTOR_TIMER);
    uint64_t begin = platform_clock_ns(), now;
    set(APIC_TIMER_COUNT, UINT32_MAX);
    do {
        now = platform_clock_ns();
    } while (now - begin < TIMER_MEASURE_NS);
    uint64_t ticks = UINT32_MAX - get(APIC_TIMER_NOW);
    now = platform_clock_ns();
    set(APIC_TIMER_COUNT, 0);
    set(APIC_LVT_TIMER, VECTOR_TIMER);
    timer_hz = ticks * UINT64_C(1000000000) / (now - begin);
    interrupts_restore(flags);
}

void apic_timer(uint64_t ns)
{
    uint64_t count = 0;
    if (ns) {
        /* A second is as good as for ever: who waits longer waits again. */
        if (ns > UINT64_C(1000000000))
            ns = UINT64_C(1000000000);
        count = ns * (timer_hz / 1000) / 1000000 + 1;
        if (count > UINT32_MAX)
            count = UINT32_MAX;
    }
    set(APIC_TIMER_COUNT, (uint32_t)count);
}
