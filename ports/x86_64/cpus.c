/* SPDX-License-Identifier: MIT
 *
 * The CPUs.
 *
 * A CPU that needs a barrier of all others adds one to x86_asked, interrupts them, and waits until each has
 * answered that number or a later one. A CPU answers in its interrupt handler, while it waits for answers
 * itself, and in pleat_port_pause(), so that two that ask at once, or one that spins with interrupts off,
 * stop nobody.
 */
#include "cpus.h"

#include <stddef.h>

#include "ports/bare/print.h"

#include "apic.h"
#include "interrupts.h"
#include "paging.h"
#include "pleat_port.h"
#include "registers.h"

#define MSR_GS_BASE 0xc0000101u
#define CR4_PGE     0x80u

/* Since the P6, a reset takes no time that matters; before, it was 10 ms. */
#define RESET_NS       UINT64_C(100000)
#define START_AGAIN_NS UINT64_C(20000000)
#define START_NS       UINT64_C(2000000000)

_Static_assert(PLATFORM_CPUS <= PLEAT_MAX_CPUS && PLATFORM_CPUS % 64 == 0, "words have a bit for each");
_Static_assert(offsetof(struct cpu, number) == X86_CPU_NUMBER, "pleat_port.h");
_Static_assert(offsetof(struct cpu, flags) == X86_CPU_FLAGS, "pleat_port.h");
_Static_assert(offsetof(struct cpu, answered) == X86_CPU_ANSWERED, "pleat_port.h");

struct cpu cpus[PLATFORM_CPUS];
unsigned long x86_asked;
static unsigned long flushes;

/* --- Barriers ------------------------------------------------------------------------------------------- */

void x86_answer(void)
{
    struct cpu *me = &cpus[pleat_port_cpu()];
    unsigned long asked;

    /* An interrupt in the middle may answer a later number, which is overwritten with this one then: hence
     * the second look. */
    do {
        asked = __atomic_load_n(&x86_asked, __ATOMIC_ACQUIRE);
        unsigned long wanted = __atomic_load_n(&flushes, __ATOMIC_ACQUIRE);
        if (wanted != me->flushed) {
            cr3_write(cr3_read());
            me->flushed = wanted;
        }
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        __atomic_store_n(&me->answered, asked, __ATOMIC_RELEASE);
    } while (__atomic_load_n(&x86_asked, __ATOMIC_ACQUIRE) != asked);
}

void cpus_fence(void)
{
    unsigned long wanted = __atomic_add_fetch(&x86_asked, 1, __ATOMIC_SEQ_CST);

    unsigned me = pleat_port_cpu();
    uint64_t awake[PLATFORM_CPUS / 64] = {0};

    for (unsigned i = 0; i < platform.cpus; i++) {
        if (i != me && !__atomic_load_n(&cpus[i].asleep, __ATOMIC_SEQ_CST)) {
            awake[i / 64] |= UINT64_C(1) << (i % 64);
            apic_send(cpus[i].apic_id, VECTOR_ASK);
        }
    }
    x86_answer();
    for (unsigned i = 0; i < platform.cpus; i++) {
        while (awake[i / 64] >> (i % 64) & 1 &&
               (long)(__atomic_load_n(&cpus[i].answered, __ATOMIC_ACQUIRE) - wanted) < 0)
            pleat_port_pause();
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void cpus_awake(struct cpu *me)
{
    if (!me->asleep)
        return;
    __atomic_store_n(&me->asleep, false, __ATOMIC_SEQ_CST);
    x86_answer();
}

void cpus_flush(void)
{
    __atomic_fetch_add(&flushes, 1, __ATOMIC_SEQ_CST);
    cpus_fence();
}

/* --- Start ---------------------------------------------------------------------------------------------- */

extern const char trampoline_start[], trampoline_end[];
/* Read by the trampoline: for the one CPU that is starting. */
uint32_t trampoline_root;
uint64_t trampoline_stack;
struct cpu *trampoline_cpu;

/* Called by trampoline.S on the CPU's own stack. */
_Noreturn void cpu_main(struct cpu *me);

static void know(struct cpu *me)
{
    msr_write(MSR_GS_BASE, (uintptr_t)me);
}

void cpus_boot(void)
{
    know(&cpus[0]);
    cpus[0].running = true;
}

void cpus_make_stacks(struct cpu *cpu)
{
    cpu->stack = paging_new_stack(CPU_STACK_BYTES);
    cpu->fault_stack = paging_new_stack(2ul * CPU_FAULT_STACK_BYTES);
}

_Noreturn void cpu_main(struct cpu *me)
{
    know(me);
    interrupts_start(me);
    cr4_write(cr4_read() | CR4_PGE);
    apic_start();
    __atomic_store_n(&me->running, true, __ATOMIC_RELEASE);
    __asm__ volatile("sti");
    for (;;) {
        platform_wake_begin();
        if (__atomic_load_n(&me->run, __ATOMIC_ACQUIRE)) {
            me->run(me->context, me->number);
            __atomic_store_n(&me->run, NULL, __ATOMIC_RELEASE);
        } else {
            platform_idle(UINT64_MAX);
        }
    }
}

static bool until_running(const struct cpu *cpu, uint64_t ns)
{
    uint64_t end = platform_clock_ns() + ns;
    while (!__atomic_load_n(&cpu->running, __ATOMIC_ACQUIRE)) {
        if (platform_clock_ns() >= end)
            return false;
        __builtin_ia32_pause();
    }
    return true;
}

static bool start(struct cpu *cpu, uint64_t page)
{
    trampoline_stack = cpu->stack;
    trampoline_cpu = cpu;
    /* What it has missed so far doesn't concern it. */
    cpu->answered = x86_asked;
    cpu->flushed = flushes;
    apic_send_start(cpu->apic_id, (unsigned)page);
    if (until_running(cpu, START_AGAIN_NS))
        return true;
    apic_send_start(cpu->apic_id, (unsigned)page);
    if (until_running(cpu, START_NS))
        return true;
    /* It must not come to life while the next one starts. */
    apic_send_reset(cpu->apic_id);
    return false;
}

void cpus_start(const struct acpi *acpi, uint64_t page)
{
    const struct acpi_cpu *wanted[PLATFORM_CPUS];
    unsigned count = 0;

    cpus[0].apic_id = apic_id();
    for (unsigned i = 0; i < acpi->cpu_count; i++) {
        if (acpi->cpus[i].apic_id == cpus[0].apic_id)
            platform.cpu_node[0] = acpi->cpus[i].node;
        else if (acpi->cpus[i].enabled && !apic_reaches(acpi->cpus[i].apic_id))
            print("cpus: the one with APIC id %u can't be reached without x2APIC\n", acpi->cpus[i].apic_id);
        else if (acpi->cpus[i].enabled && count < PLATFORM_CPUS - 1)
            wanted[count++] = &acpi->cpus[i];
    }
    if (!acpi->cpu_count)
        print("cpus: firmware names none: this one is all there is\n");
    if (!count)
        return;
    if (!page) {
        print("cpus: no memory below 1 MiB to start %u others in\n", count);
        return;
    }
    trampoline_root = (uint32_t)paging_root();
    __builtin_memcpy(platform.port.frame_pointer(NULL, page), trampoline_start,
                     (uintptr_t)trampoline_end - (uintptr_t)trampoline_start);
    for (unsigned i = 0; i < count; i++)
        apic_send_reset(wanted[i]->apic_id);
    uint64_t ready = platform_clock_ns() + RESET_NS;
    while (platform_clock_ns() < ready)
        __builtin_ia32_pause();
    for (unsigned i = 0; i < count; i++) {
        struct cpu *cpu = &cpus[platform.cpus];
        if (!cpu->stack)
            cpus_make_stacks(cpu);
        cpu->number = platform.cpus;
        cpu->apic_id = wanted[i]->apic_id;
        if (start(cpu, page))
            platform.cpu_node[platform.cpus++] = wanted[i]->node;
        else
            print("cpus: the one with APIC id %u doesn't start\n", cpu->apic_id);
    }
}

/* --- Work ----------------------------------------------------------------------------------------------- */

int platform_start(unsigned cpu, void (*run)(void *context, unsigned cpu), void *context)
{
    if (__atomic_load_n(&cpus[cpu].run, __ATOMIC_ACQUIRE))
        return PLEAT_E_BUSY;
    cpus[cpu].context = context;
    __atomic_store_n(&cpus[cpu].run, run, __ATOMIC_RELEASE);
    platform_wake(cpu);
    return 0;
}

bool platform_is_idle(unsigned cpu)
{
    return !__atomic_load_n(&cpus[cpu].run, __ATOMIC_ACQUIRE);
}

static void until_idle(unsigned cpu)
{
    while (!platform_is_idle(cpu))
        pleat_port_pause();
}

void platform_on_all_cpus(void (*run)(void *context, unsigned cpu), void *context)
{
    for (unsigned cpu = 1; cpu < platform.cpus; cpu++) {
        until_idle(cpu);
        platform_start(cpu, run, context);
    }
    run(context, 0);
    for (unsigned cpu = 1; cpu < platform.cpus; cpu++)
        until_idle(cpu);
}

void platform_wake_begin(void)
{
    __atomic_store_n(&cpus[pleat_port_cpu()].woken, false, __ATOMIC_SEQ_CST);
}

void platform_wake(unsigned cpu)
{
    /* The handler sets `woken`. */
    apic_send(cpus[cpu].apic_id, VECTOR_WAKE);
}

void platform_idle(uint64_t until_ns)
{
    struct cpu *me = &cpus[pleat_port_cpu()];
    uint64_t flags = interrupts_save();

    while (!__atomic_load_n(&me->woken, __ATOMIC_ACQUIRE)) {
        if (until_ns != UINT64_MAX) {
            uint64_t now = platform_clock_ns();
            if (now >= until_ns)
                break;
            apic_timer(until_ns - now);
        }
        __atomic_store_n(&me->asleep, true, __ATOMIC_SEQ_CST);
        halt();
        cpus_awake(me);
    }
    if (until_ns != UINT64_MAX)
        apic_timer(0);
    interrupts_restore(flags);
}
