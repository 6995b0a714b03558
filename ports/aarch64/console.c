/* SPDX-License-Identifier: MIT
 *
 * The console, a PL011 that is polled; the end of the machine; exceptions, which nobody but platform_touch()
 * survives.
 */
#include "machine.h"
#include "pleat_port.h"
#include "ports/bare/print.h"
#include "start.h"

#define DATA        0x00u
#define FLAGS       0x18u
#define FLAGS_EMPTY (1u << 4)
#define FLAGS_FULL  (1u << 5)
#define CONTROL     0x30u
#define CONTROL_ON  0x301u /* on, transmit, receive */
#define LINE        0x2cu
#define LINE_8_BITS 0x70u /* with FIFOs */

/* Of semihosting, and its parameter block's reason: the application ended. */
#define SEMIHOSTING_EXIT 0x18u
#define APPLICATION_EXIT 0x20026u

#define PSCI_SYSTEM_OFF 0x84000008u

/* Exception classes of ESR_EL1, and "write, not read" of a data abort. */
#define CLASS_FETCH_ABORT 0x21u
#define CLASS_DATA_ABORT  0x25u
#define ABORT_WRITE       (1u << 6)

static volatile unsigned char *uart;
static bool locked;

static volatile uint32_t *at(unsigned offset)
{
    return (volatile uint32_t *)(volatile void *)(uart + offset);
}

void console_init(uint64_t pl011)
{
    uart = (volatile unsigned char *)(uintptr_t)pl011;
    *at(CONTROL) = 0;
    *at(LINE) = LINE_8_BITS;
    *at(CONTROL) = CONTROL_ON;
}

static void put(char c)
{
    while (*at(FLAGS) & FLAGS_FULL)
        pleat_port_pause();
    *at(DATA) = (unsigned char)c;
}

void platform_write(const char *text, size_t bytes)
{
    if (!uart)
        return;
    /* A CPU that stops in the middle of a text must not silence the one that says so: after a while, text is
     * written without the lock. */
    bool mine = false;
    for (unsigned tries = 0; tries < 10000000 && !mine; tries++) {
        mine = !__atomic_exchange_n(&locked, true, __ATOMIC_ACQUIRE);
        if (!mine)
            pleat_port_pause();
    }
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '\n')
            put('\r');
        put(text[i]);
    }
    if (mine)
        __atomic_store_n(&locked, false, __ATOMIC_RELEASE);
}

int platform_read(void)
{
    return !uart || (*at(FLAGS) & FLAGS_EMPTY) ? -1 : (int)(*at(DATA) & 0xff);
}

void platform_exit(unsigned code)
{
    const uint64_t block[2] = {APPLICATION_EXIT, code};
    print("# exit: %u\n", code);
    semihosting(SEMIHOSTING_EXIT, block);
    psci_call(PSCI_SYSTEM_OFF, 0, 0, 0);
    for (;;)
        __asm__ volatile("wfi");
}

uint64_t platform_clock_ns(void)
{
    uint64_t ticks, hz;
    __asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(ticks)::"memory");
    __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(hz));
    /* Two steps, because the product of all ticks and 10^9 has more than 64 bits after minutes. */
    return ticks / hz * 1000000000u + ticks % hz * 1000000000u / hz;
}

bool platform_touch(volatile unsigned char *byte, bool write)
{
    return touch_byte(byte, write);
}

void exception(struct exception_frame *frame, unsigned vector)
{
    static bool met;
    static const char *const kinds[] = {"synchronous", "interrupt", "fast interrupt", "system error"};

    if (frame->elr == (uintptr_t)touch_load || frame->elr == (uintptr_t)touch_store) {
        frame->elr = (uintptr_t)touch_fault;
        return;
    }
    if (frame->elr == (uintptr_t)semihosting_call) {
        frame->elr = (uintptr_t)semihosting_none;
        return;
    }
    /* What is met while the first one is being told of only ends the machine. */
    if (!__atomic_exchange_n(&met, true, __ATOMIC_RELAXED)) {
        const unsigned class = frame->esr >> 26 & 63;
        const char *does = class == CLASS_FETCH_ABORT                                ? "executes"
                           : class == CLASS_DATA_ABORT && (frame->esr & ABORT_WRITE) ? "writes to"
                           : class == CLASS_DATA_ABORT                               ? "reads"
                                                                                     : NULL;
        print("\n%s exception, class 0x%x, syndrome 0x%llx, on CPU %u at 0x%llx, called from 0x%llx\n",
              kinds[vector & 3], class, (unsigned long long)frame->esr, pleat_port_cpu(),
              (unsigned long long)frame->elr, (unsigned long long)frame->x30);
        if (does)
            print("  it %s 0x%llx: frame 0x%llx%s\n", does, (unsigned long long)frame->far,
                  (unsigned long long)frame->far >> 12,
                  frame->far < (uintptr_t)image_data && (uintptr_t)image_data - frame->far <= 4096
                      ? ", the end of a stack"
                      : "");
        for (unsigned i = 0; i < 19; i++)
            print("  x%u 0x%llx\n", i, (unsigned long long)frame->x0_to_x18[i]);
    }
    platform_exit(PLATFORM_EXIT_EXCEPTION);
}
