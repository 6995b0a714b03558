/* SPDX-License-Identifier: MIT
 *
 * PCI by ECAM, on the first bus of the host that the device tree names. No firmware has been there before, so
 * the BARs are given their addresses here: wide and prefetchable ones in the window for such, the others
 * below 4 GiB, each at a multiple of its size. I/O space isn't used.
 */
#include "machine.h"
#include "ports/bare/print.h"

#define VENDOR      0x00u
#define NOBODY      0xffffu
#define COMMAND     0x04u
#define DECODING    3u
#define HEADER_TYPE 0x0eu
#define MANY        0x80u
#define BAR         0x10u
#define BARS        6u

static struct fdt_pci host;
/* How much of each window is given away. */
static uint64_t given[FDT_WINDOWS];

static volatile unsigned char *config(const struct platform_pci *function, unsigned offset)
{
    if (!host.ecam_bytes || function->segment != host.segment || function->bus < host.first_bus ||
        function->bus > host.last_bus || offset > 4095)
        return NULL;
    return (volatile unsigned char *)(uintptr_t)(host.ecam +
                                                 ((uint64_t)(function->bus - host.first_bus) << 20) +
                                                 ((uint64_t)function->device << 15) +
                                                 ((uint64_t)function->function << 12) + offset);
}

uint32_t platform_pci_read(const struct platform_pci *function, unsigned offset, unsigned bytes)
{
    const volatile unsigned char *from = config(function, offset);
    if (!from)
        return UINT32_MAX >> (32 - 8 * bytes);
    return bytes == 1   ? *from
           : bytes == 2 ? *(const volatile uint16_t *)(const volatile void *)from
                        : *(const volatile uint32_t *)(const volatile void *)from;
}

void platform_pci_write(const struct platform_pci *function, unsigned offset, unsigned bytes, uint32_t value)
{
    volatile unsigned char *to = config(function, offset);
    if (!to)
        return;
    if (bytes == 1)
        *to = (unsigned char)value;
    else if (bytes == 2)
        *(volatile uint16_t *)(volatile void *)to = (uint16_t)value;
    else
        *(volatile uint32_t *)(volatile void *)to = value;
}

unsigned platform_pci_list(struct platform_pci *list, unsigned most)
{
    unsigned count = 0;
    if (!host.ecam_bytes)
        return 0;
    for (unsigned device = 0; device < 32; device++) {
        struct platform_pci function = {host.segment, host.first_bus, (uint8_t)device, 0};
        unsigned functions = 1;
        for (unsigned i = 0; i < functions; i++) {
            function.function = (uint8_t)i;
            if (platform_pci_read(&function, VENDOR, 2) == NOBODY)
                continue;
            if (i == 0 && (platform_pci_read(&function, HEADER_TYPE, 1) & MANY))
                functions = 8;
            if (count < most)
                list[count] = function;
            count++;
        }
    }
    return count;
}

/* A place for `bytes`, a power of two; 0: there is none. */
static uint64_t place(uint64_t bytes, bool wide, bool prefetchable)
{
    /* Where only such a BAR may go first, then anywhere that its address reaches. */
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < host.window_count; i++) {
            const struct fdt_window *window = &host.windows[i];
            if ((pass == 0 && !window->wide) || (window->wide && !wide) ||
                (window->prefetchable && !prefetchable))
                continue;
            const uint64_t start = (window->address + given[i] + bytes - 1) & ~(bytes - 1);
            if (start < window->address || start - window->address > window->bytes ||
                bytes > window->bytes - (start - window->address) || start == 0)
                continue;
            given[i] = start - window->address + bytes;
            return start;
        }
    }
    return 0;
}

static void assign(const struct platform_pci *function)
{
    if ((platform_pci_read(function, HEADER_TYPE, 1) & 0x7f) != 0)
        return;
    const uint32_t command = platform_pci_read(function, COMMAND, 2);
    platform_pci_write(function, COMMAND, 2, command & ~DECODING);
    for (unsigned i = 0; i < BARS; i++) {
        const unsigned offset = BAR + 4 * i;
        const uint32_t kind = platform_pci_read(function, offset, 4);
        if (kind & 1)
            continue;
        const bool wide = (kind & 6) == 4 && i + 1 < BARS;
        platform_pci_write(function, offset, 4, UINT32_MAX);
        uint64_t mask = platform_pci_read(function, offset, 4) & ~0xfu;
        uint64_t address = 0;
        if (wide) {
            platform_pci_write(function, offset + 4, 4, UINT32_MAX);
            mask |= (uint64_t)platform_pci_read(function, offset + 4, 4) << 32;
        } else if (mask) {
            mask |= UINT64_C(0xffffffff) << 32;
        }
        if (mask) {
            address = place(mask & (~mask + 1), wide, kind >> 3 & 1);
            if (!address)
                print("PCI %u.%u: no room for BAR %u\n", function->device, function->function, i);
        }
        platform_pci_write(function, offset, 4, (uint32_t)address);
        if (wide)
            platform_pci_write(function, offset + 4, 4, (uint32_t)(address >> 32));
        i += wide;
    }
    platform_pci_write(function, COMMAND, 2, command & ~DECODING);
}

void pci_begin(const struct fdt_pci *found)
{
    struct platform_pci list[256];
    if (!found->ecam_bytes)
        return;
    const uint64_t bytes = (uint64_t)(found->last_bus - found->first_bus + 1) << 20;
    if (!paging_show(found->ecam, found->ecam + bytes, PAGING_REGISTERS)) {
        print("PCI configuration space can't be mapped\n");
        return;
    }
    host = *found;
    host.window_count = 0;
    for (unsigned i = 0; i < found->window_count; i++) {
        /* platform_map_registers() is given what a BAR says. */
        if (found->windows[i].bus != found->windows[i].address)
            print("PCI window at 0x%llx: not where devices see it, left out\n",
                  (unsigned long long)found->windows[i].address);
        else
            host.windows[host.window_count++] = found->windows[i];
    }
    const unsigned count = platform_pci_list(list, 256);
    for (unsigned i = 0; i < count; i++)
        assign(&list[i]);
}

void *platform_map_registers(uint64_t address, uint64_t bytes)
{
    for (unsigned i = 0; i < host.window_count; i++) {
        const struct fdt_window *window = &host.windows[i];
        if (bytes > 0 && address >= window->address && address - window->address <= window->bytes &&
            bytes <= window->bytes - (address - window->address) &&
            paging_show(address, address + bytes, PAGING_REGISTERS))
            return (void *)(uintptr_t)address;
    }
    return NULL;
}

int platform_message_interrupt(void (*handler)(void *context), void *context, uint64_t *address,
                               uint32_t *data)
{
    (void)handler;
    (void)context;
    (void)address;
    (void)data;
    return PLEAT_E_UNSUPPORTED;
}

int platform_pin_interrupt(void (*handler)(void *context), void *context)
{
    (void)handler;
    (void)context;
    return PLEAT_E_UNSUPPORTED;
}
