/* SPDX-License-Identifier: MIT
 *
 * CPUs by PSCI. They wait by WFE, which the generic timer's event stream ends after a fraction of a
 * millisecond at the latest, so that no interrupt controller is needed.
 */
#include "machine.h"
#include "pleat_port.h"
#include "ports/bare/print.h"
#include "start.h"

#define PSCI_CPU_ON 0xc4000003u
/* Affinity fields of MPIDR_EL1. */
#define MPIDR_MASK UINT64_C(0xff00ffffff)

#define START_NS     UINT64_C(1000000000)
#define IDLE_TURN_NS UINT64_C(1000000)
/* Events at each change of bit 14 of the counter: 0.26 ms at 62.5 MHz. */
#define EVENT_STREAM (1u << 2 | 14u << 4)

struct cpu {
    void (*run)(void *context, unsigned cpu);
    void *context;
    bool alive;
    bool woken;
};

_Alignas(4096) unsigned char cpu_stacks[START_CPUS * CPU_STACK_BYTES];

static struct cpu cpus[START_CPUS];
static enum fdt_psci psci;

long psci_call(unsigned long function, unsigned long a, unsigned long b, unsigned long c)
{
    return psci == FDT_PSCI_HVC   ? psci_hvc(function, a, b, c)
           : psci == FDT_PSCI_SMC ? psci_smc(function, a, b, c)
                                  : -1;
}

static void event_stream(void)
{
    __asm__ volatile("msr cntkctl_el1, %0; isb" ::"r"((uint64_t)EVENT_STREAM));
}

static void wait(void)
{
    __asm__ volatile("wfe" ::: "memory");
}

static void wake_all(void)
{
    __asm__ volatile("dsb ish; sev" ::: "memory");
}

void secondary(unsigned number)
{
    struct cpu *cpu = &cpus[number];
    event_stream();
    __atomic_store_n(&cpu->alive, true, __ATOMIC_RELEASE);
    for (;;) {
        while (!__atomic_load_n(&cpu->run, __ATOMIC_ACQUIRE))
            wait();
        cpu->run(cpu->context, number);
        __atomic_store_n(&cpu->run, NULL, __ATOMIC_RELEASE);
        wake_all();
    }
}

void cpus_begin(const struct fdt *fdt)
{
    uint64_t mpidr;
    psci = fdt->psci;
    event_stream();
    cpus[0].alive = true;
    platform.cpus = 1;
    __asm__ volatile("mrs %0, mpidr_el1" : "=r"(mpidr));
    for (unsigned i = 0; i < fdt->cpu_count; i++) {
        const struct fdt_cpu *known = &fdt->cpus[i];
        const unsigned number = platform.cpus;
        if (known->id == (mpidr & MPIDR_MASK)) {
            platform.cpu_node[0] = known->node;
            continue;
        }
        if (number == START_CPUS) {
            print("CPU 0x%llx is one too many\n", (unsigned long long)known->id);
            continue;
        }
        const long error = psci_call(PSCI_CPU_ON, known->id, (uintptr_t)start_secondary, number);
        const uint64_t deadline = platform_clock_ns() + START_NS;
        while (!error && !__atomic_load_n(&cpus[number].alive, __ATOMIC_ACQUIRE) &&
               platform_clock_ns() < deadline)
            pleat_port_pause();
        if (!__atomic_load_n(&cpus[number].alive, __ATOMIC_ACQUIRE)) {
            print("CPU 0x%llx doesn't start: %ld\n", (unsigned long long)known->id, error);
            /* One that comes late would have the number of the next. */
            if (!error)
                break;
            continue;
        }
        platform.cpu_node[number] = known->node;
        platform.cpus++;
    }
}

int platform_start(unsigned number, void (*run)(void *context, unsigned cpu), void *context)
{
    struct cpu *cpu = &cpus[number];
    if (__atomic_load_n(&cpu->run, __ATOMIC_ACQUIRE))
        return PLEAT_E_BUSY;
    cpu->context = context;
    __atomic_store_n(&cpu->run, run, __ATOMIC_RELEASE);
    wake_all();
    return PLEAT_OK;
}

bool platform_is_idle(unsigned number)
{
    return !__atomic_load_n(&cpus[number].run, __ATOMIC_ACQUIRE);
}

void platform_on_all_cpus(void (*run)(void *context, unsigned cpu), void *context)
{
    for (unsigned i = 1; i < platform.cpus; i++) {
        while (platform_start(i, run, context) == PLEAT_E_BUSY)
            wait();
    }
    run(context, 0);
    for (unsigned i = 1; i < platform.cpus; i++) {
        while (!platform_is_idle(i))
            wait();
    }
}

/* Nothing interrupts on this port, so that who waits for a device has to look: idle ends after a millisecond.
 */
void platform_idle(uint64_t until_ns)
{
    struct cpu *cpu = &cpus[pleat_port_cpu()];
    const uint64_t turn = platform_clock_ns() + IDLE_TURN_NS;
    const uint64_t end = until_ns < turn ? until_ns : turn;
    while (!__atomic_load_n(&cpu->woken, __ATOMIC_ACQUIRE) && platform_clock_ns() < end)
        wait();
}

void platform_wake_begin(void)
{
    __atomic_store_n(&cpus[pleat_port_cpu()].woken, false, __ATOMIC_SEQ_CST);
}

void platform_wake(unsigned number)
{
    __atomic_store_n(&cpus[number].woken, true, __ATOMIC_SEQ_CST);
    wake_all();
}
