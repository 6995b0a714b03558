/* SPDX-License-Identifier: MIT
 *
 * Pin interrupts (INTx), by the I/O APICs.
 *
 * Which pin a PCI function is wired to is said in AML, which nobody here reads. It is one of few: PCI's own
 * pins are level-triggered and have numbers from 16 on, and where firmware routes them to ISA interrupts, it
 * leaves the number in the function's configuration space. All of them interrupt CPU 0, and every handler is
 * asked whether it was its device.
 */
#include "ioapic.h"

#include "cpus.h"
#include "interrupts.h"
#include "pleat_port.h"
#include "registers.h"

#define SELECT 0u
#define WINDOW 4u /* in words: 16 bytes */

#define REGISTER_VERSION 0x01u
#define REGISTER_PINS    0x10u
#define PIN_MASKED       0x10000u
#define PIN_LEVEL        0x8000u
#define PIN_LOW          0x2000u
#define PCI_INTERRUPT    0x3cu
#define FIRST_PCI_PIN    16u
#define ISA_PINS         16u
#define HANDLERS         32u

static struct {
    volatile uint32_t *registers;
    uint32_t first, pins;
} ioapics[ACPI_IOAPICS];
static unsigned ioapic_count;
static const struct acpi *tables;

static struct {
    void (*handler)(void *context);
    void *context;
} handlers[HANDLERS];
static unsigned handler_count;

static uint32_t get(unsigned at, uint32_t number)
{
    ioapics[at].registers[SELECT] = number;
    return ioapics[at].registers[WINDOW];
}

static void set(unsigned at, uint32_t number, uint32_t value)
{
    ioapics[at].registers[SELECT] = number;
    ioapics[at].registers[WINDOW] = value;
}

void ioapic_find(const struct acpi *acpi)
{
    tables = acpi;
    for (unsigned i = 0; i < acpi->ioapic_count; i++) {
        volatile uint32_t *registers = platform_map_registers(acpi->ioapics[i].address, 4096);
        if (!registers)
            continue;
        unsigned at = ioapic_count++;
        ioapics[at].registers = registers;
        ioapics[at].first = acpi->ioapics[i].first_interrupt;
        ioapics[at].pins = (get(at, REGISTER_VERSION) >> 16 & 0xff) + 1;
        for (uint32_t pin = 0; pin < ioapics[at].pins; pin++)
            set(at, REGISTER_PINS + 2 * pin, PIN_MASKED);
    }
}

static void open_pin(uint32_t interrupt, bool low)
{
    for (unsigned at = 0; at < ioapic_count; at++) {
        uint32_t pin = interrupt - ioapics[at].first;
        if (interrupt < ioapics[at].first || pin >= ioapics[at].pins)
            continue;
        set(at, REGISTER_PINS + 2 * pin + 1, cpus[0].apic_id << 24);
        set(at, REGISTER_PINS + 2 * pin, VECTOR_PINS | PIN_LEVEL | (low ? PIN_LOW : 0));
    }
}

static void open_pins(void)
{
    static struct platform_pci functions[256];
    unsigned count = platform_pci_list(functions, sizeof(functions) / sizeof(functions[0]));

    for (unsigned at = 0; at < ioapic_count; at++) {
        for (uint32_t pin = 0; pin < ioapics[at].pins; pin++) {
            if (ioapics[at].first + pin >= FIRST_PCI_PIN)
                open_pin(ioapics[at].first + pin, true);
        }
    }
    for (unsigned i = 0; i < count && i < sizeof(functions) / sizeof(functions[0]); i++) {
        uint32_t is = platform_pci_read(&functions[i], PCI_INTERRUPT, 2);
        if (is >> 8 && (is & 0xff) && (is & 0xff) < ISA_PINS) {
            bool low, level;
            uint32_t interrupt = acpi_isa_interrupt(tables, (uint8_t)is, &low, &level);
            if (level)
                open_pin(interrupt, low);
        }
    }
}

int platform_pin_interrupt(void (*handler)(void *context), void *context)
{
    if (!ioapic_count)
        return PLEAT_E_UNSUPPORTED;
    if (handler_count == HANDLERS)
        return PLEAT_E_NO_MEMORY;
    uint64_t flags = interrupts_save();
    handlers[handler_count].handler = handler;
    handlers[handler_count].context = context;
    __atomic_store_n(&handler_count, handler_count + 1, __ATOMIC_RELEASE);
    if (handler_count == 1)
        open_pins();
    interrupts_restore(flags);
    return 0;
}

void ioapic_interrupt(void)
{
    unsigned count = __atomic_load_n(&handler_count, __ATOMIC_ACQUIRE);
    for (unsigned i = 0; i < count; i++)
        handlers[i].handler(handlers[i].context);
}
