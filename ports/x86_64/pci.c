/* SPDX-License-Identifier: MIT
 *
 * PCI's configuration space: mapped where ACPI says (ECAM), or, where it says nothing, behind two ports that
 * reach 256 bytes of each function of segment 0.
 */
#include "pci.h"

#include "ports/bare/print.h"

#include "pleat_port.h"
#include "registers.h"
#include "xen.h"

#define PORT_ADDRESS 0xcf8
#define PORT_DATA    0xcfc

#define ID            0x00u
#define HEADER        0x0eu
#define SECONDARY     0x19u
#define HEADER_BRIDGE 0x01u
#define NOBODY        0xffffu
#define MANY          0x80u
#define ALL_ONES      0xffffffffu

static struct {
    volatile unsigned char *at;
    uint16_t segment;
    uint8_t first, last;
} spaces[ACPI_ECAMS];
static unsigned space_count;
static uint64_t used[ACPI_ECAMS][4];
static bool scanned;
static bool by_ports;

static bool ports_are_there(void)
{
    out32(PORT_ADDRESS, 0x80000000);
    return in32(PORT_ADDRESS) == 0x80000000;
}

void pci_find(const struct acpi *acpi)
{
    for (unsigned i = 0; i < acpi->ecam_count; i++) {
        const struct acpi_ecam *ecam = &acpi->ecam[i];
        uint64_t bytes = ((uint64_t)ecam->last_bus - ecam->first_bus + 1) << 20;
        volatile unsigned char *at = platform_map_registers(ecam->address, bytes);
        if (!at)
            continue;
        spaces[space_count].at = at;
        spaces[space_count].segment = ecam->segment;
        spaces[space_count].first = ecam->first_bus;
        spaces[space_count++].last = ecam->last_bus;
    }
    if (space_count)
        return;
    if (ports_are_there()) {
        print("pci: firmware names no configuration space: by ports, segment 0 alone%s\n",
              xen_is_there() ? ", from bus 0 on" : "");
        by_ports = true;
        spaces[space_count++].last = 0xff;
        /* Thousands of looks at root buses that hardly any machine has: under Xen each costs 0.1 ms. */
        scanned = xen_is_there();
        used[0][0] |= scanned;
    } else {
        print("pci: firmware names no configuration space, and there are no ports to it: no functions\n");
    }
}

/* NULL: no such function by ECAM. */
static volatile unsigned char *place(const struct platform_pci *function, unsigned offset)
{
    for (unsigned i = 0; i < space_count && !by_ports; i++) {
        if (spaces[i].segment == function->segment && spaces[i].first <= function->bus &&
            function->bus <= spaces[i].last && offset < 4096)
            return spaces[i].at + ((uint64_t)(function->bus - spaces[i].first) << 20 |
                                   (uint64_t)function->device << 15 | (uint64_t)function->function << 12 |
                                   offset);
    }
    return NULL;
}

/* Selects a word; the caller keeps interrupts off until it has it. */
static bool select(const struct platform_pci *function, unsigned offset)
{
    if (!by_ports || offset >= 256 || function->segment)
        return false;
    out32(PORT_ADDRESS, 0x80000000u | (uint32_t)function->bus << 16 | (uint32_t)function->device << 11 |
                            (uint32_t)function->function << 8 | (offset & 0xfc));
    return true;
}

static bool ports_locked;

static uint64_t lock_ports(void)
{
    uint64_t flags = interrupts_save();
    while (__atomic_exchange_n(&ports_locked, true, __ATOMIC_ACQUIRE))
        pleat_port_pause();
    return flags;
}

static void unlock_ports(uint64_t flags)
{
    __atomic_store_n(&ports_locked, false, __ATOMIC_RELEASE);
    interrupts_restore(flags);
}

uint32_t platform_pci_read(const struct platform_pci *function, unsigned offset, unsigned bytes)
{
    volatile unsigned char *at = place(function, offset);
    uint32_t value = bytes == 1 ? 0xff : bytes == 2 ? 0xffff : ALL_ONES;

    if (at)
        return bytes == 1   ? *at
               : bytes == 2 ? *(volatile uint16_t *)(volatile void *)at
                            : *(volatile uint32_t *)(volatile void *)at;
    uint64_t flags = lock_ports();
    if (select(function, offset)) {
        uint16_t port = (uint16_t)(PORT_DATA + (offset & 3));
        value = bytes == 1 ? in8(port) : bytes == 2 ? in16(port) : in32(port);
    }
    unlock_ports(flags);
    return value;
}

void platform_pci_write(const struct platform_pci *function, unsigned offset, unsigned bytes, uint32_t value)
{
    volatile unsigned char *at = place(function, offset);

    if (at && bytes == 1) {
        *at = (unsigned char)value;
    } else if (at && bytes == 2) {
        *(volatile uint16_t *)(volatile void *)at = (uint16_t)value;
    } else if (at) {
        *(volatile uint32_t *)(volatile void *)at = value;
    } else {
        uint64_t flags = lock_ports();
        if (select(function, offset)) {
            uint16_t port = (uint16_t)(PORT_DATA + (offset & 3));
            if (bytes == 1)
                out8(port, (uint8_t)value);
            else if (bytes == 2)
                out16(port, (uint16_t)value);
            else
                out32(port, value);
        }
        unlock_ports(flags);
    }
}

/* Buses that have something, or may get it: all at first, because further root buses are behind no bridge. */
static bool is_used(unsigned space, unsigned bus)
{
    return !scanned || used[space][bus / 64] >> (bus % 64) & 1;
}

static void set_used(unsigned space, unsigned bus)
{
    used[space][bus / 64] |= UINT64_C(1) << (bus % 64);
}

static void look_behind(unsigned space, const struct platform_pci *at)
{
    if ((platform_pci_read(at, HEADER, 1) & 0x7f) == HEADER_BRIDGE)
        set_used(space, platform_pci_read(at, SECONDARY, 1));
}

unsigned platform_pci_list(struct platform_pci *list, unsigned most)
{
    unsigned count = 0;

    for (unsigned i = 0; i < space_count; i++) {
        for (unsigned bus = spaces[i].first; bus <= spaces[i].last; bus++) {
            for (unsigned slot = 0; slot < 256 && is_used(i, bus); slot++) {
                struct platform_pci at = {.segment = spaces[i].segment,
                                          .bus = (uint8_t)bus,
                                          .device = (uint8_t)(slot >> 3),
                                          .function = (uint8_t)(slot & 7)};
                if (platform_pci_read(&at, ID, 2) == NOBODY) {
                    if (!at.function)
                        slot += 7;
                    continue;
                }
                set_used(i, bus);
                look_behind(i, &at);
                if (count < most)
                    list[count] = at;
                count++;
                if (!at.function && !(platform_pci_read(&at, HEADER, 1) & MANY))
                    slot += 7;
            }
        }
    }
    scanned = true;
    return count;
}
