/* SPDX-License-Identifier: MIT
 *
 * Addresses for PCI functions that firmware has given none: some firmware that boots images doesn't look at
 * PCI.
 *
 * Registers go where nothing is: downwards from the interrupt controllers if they have to be below 4 GiB,
 * upwards from the end of all memory, plugged or not, otherwise. Functions behind bridges get what their
 * bridge's firmware gave them, or nothing: a bridge that nobody has set up shows nothing of them anyway. I/O
 * ports aren't given.
 */
#include "pci.h"

#include "ports/bare/print.h"

#include "registers.h"

#define COMMAND        0x04u
#define COMMAND_MEMORY 0x02u
#define HEADER         0x0eu
#define HEADER_BRIDGE  0x01u
#define BAR            0x10u
#define BARS           6u
#define BRIDGE_BARS    2u
#define WINDOW         0x20u
#define WINDOW_64      0x24u
#define WINDOW_64_HIGH 0x28u
#define SECONDARY      0x19u

#define BAR_IO      0x1u
#define BAR_64_BITS 0x4u
#define BAR_ADDRESS 0xfffffff0u

#define FUNCTIONS 256u
#define RANGES    512u
#define LOW_END   UINT64_C(0xfec00000)
#define LOW_START UINT64_C(0x80000000)
#define GIB       UINT64_C(0x40000000)

struct range {
    uint64_t start, end;
};

static struct platform_pci functions[FUNCTIONS];
static struct range taken[RANGES];
static unsigned taken_count;
static uint64_t high_start, high_end;

static bool take(uint64_t start, uint64_t bytes)
{
    if (!bytes)
        return true;
    if (taken_count == RANGES)
        return false;
    taken[taken_count++] = (struct range){start, start + bytes};
    return true;
}

static const struct range *in_the_way(uint64_t start, uint64_t bytes)
{
    for (unsigned i = 0; i < taken_count; i++) {
        if (start < taken[i].end && taken[i].start < start + bytes)
            return &taken[i];
    }
    return NULL;
}

/* 0: there is no place. `bytes` is a power of two, and the place a multiple of it. */
static uint64_t place_low(uint64_t bytes)
{
    uint64_t end = LOW_END;
    while (end >= LOW_START + bytes) {
        uint64_t start = (end - bytes) / bytes * bytes;
        const struct range *obstacle = in_the_way(start, bytes);
        if (!obstacle)
            return start >= LOW_START ? start : 0;
        end = obstacle->start < start + bytes ? obstacle->start : start;
    }
    return 0;
}

static uint64_t place_high(uint64_t bytes)
{
    uint64_t start = (high_start + bytes - 1) / bytes * bytes;
    while (start < high_end && bytes <= high_end - start) {
        const struct range *obstacle = in_the_way(start, bytes);
        if (!obstacle)
            return start;
        start = (obstacle->end + bytes - 1) / bytes * bytes;
    }
    return 0;
}

static uint64_t read_bar(const struct platform_pci *at, unsigned offset, bool wide)
{
    uint64_t low = platform_pci_read(at, offset, 4) & BAR_ADDRESS;
    return wide ? low | (uint64_t)platform_pci_read(at, offset + 4, 4) << 32 : low;
}

static void write_bar(const struct platform_pci *at, unsigned offset, bool wide, uint64_t value)
{
    platform_pci_write(at, offset, 4, (uint32_t)value);
    if (wide)
        platform_pci_write(at, offset + 4, 4, (uint32_t)(value >> 32));
}

/* Bytes that a BAR decodes; 0: it isn't one. The function decodes no memory meanwhile. */
static uint64_t size_of(const struct platform_pci *at, unsigned offset, bool wide)
{
    uint64_t was = read_bar(at, offset, wide);
    write_bar(at, offset, wide, UINT64_MAX);
    uint64_t mask = read_bar(at, offset, wide);
    write_bar(at, offset, wide, was);
    if (!mask)
        return 0;
    return (wide ? ~mask : (uint32_t)~mask) + 1;
}

/* Calls `use` for each memory BAR of a function, with what it holds and decodes. */
static void each_bar(const struct platform_pci *at,
                     void (*use)(const struct platform_pci *at, unsigned offset, bool wide, uint64_t address,
                                 uint64_t bytes))
{
    unsigned bars = (platform_pci_read(at, HEADER, 1) & 0x7f) == HEADER_BRIDGE ? BRIDGE_BARS : BARS;
    uint32_t command = platform_pci_read(at, COMMAND, 2);

    platform_pci_write(at, COMMAND, 2, command & ~COMMAND_MEMORY);
    for (unsigned i = 0; i < bars; i++) {
        unsigned offset = BAR + 4 * i;
        uint32_t low = platform_pci_read(at, offset, 4);
        bool wide = !(low & BAR_IO) && low & BAR_64_BITS && i + 1 < bars;
        if (!(low & BAR_IO)) {
            uint64_t bytes = size_of(at, offset, wide);
            if (bytes)
                use(at, offset, wide, read_bar(at, offset, wide), bytes);
        }
        i += wide;
    }
    platform_pci_write(at, COMMAND, 2, command);
}

static void take_bar(const struct platform_pci *at, unsigned offset, bool wide, uint64_t address,
                     uint64_t bytes)
{
    (void)at;
    (void)offset;
    (void)wide;
    if (address)
        take(address, bytes);
}

/* What a bridge that firmware has set up lets through. */
static void take_windows(const struct platform_pci *at)
{
    uint32_t window = platform_pci_read(at, WINDOW, 4);
    uint64_t start = (uint64_t)(window & 0xfff0) << 16, end = (window & 0xfff00000) + UINT64_C(0x100000);
    if (start && end > start)
        take(start, end - start);
    window = platform_pci_read(at, WINDOW_64, 4);
    start = (uint64_t)(window & 0xfff0) << 16 | (uint64_t)platform_pci_read(at, WINDOW_64_HIGH, 4) << 32;
    end = ((window & 0xfff00000) | (uint64_t)platform_pci_read(at, WINDOW_64_HIGH + 4, 4) << 32) +
          UINT64_C(0x100000);
    if (start && end > start)
        take(start, end - start);
}

static void give_bar(const struct platform_pci *at, unsigned offset, bool wide, uint64_t address,
                     uint64_t bytes)
{
    if (address)
        return;
    /* Small ones below 4 GiB, where everything reaches them. */
    uint64_t place = place_low(bytes);
    if (wide && (bytes >= GIB / 4 || !place))
        place = place_high(bytes);
    if (place && take(place, bytes))
        write_bar(at, offset, wide, place);
    else
        print("pci: no address for BAR %u of %04x:%02x:%02x.%u, 0x%lx bytes\n", (offset - BAR) / 4,
              at->segment, at->bus, at->device, at->function, bytes);
}

void pci_assign(const struct acpi *acpi, const struct boot_memory *memory, unsigned memory_count)
{
    static bool is_behind_bridge[256];
    unsigned count = platform_pci_list(functions, FUNCTIONS);
    if (count > FUNCTIONS)
        count = FUNCTIONS;

    high_start = (platform.highest_pfn * 4096 / GIB + 1) * GIB;
    if (high_start < 4 * GIB)
        high_start = 4 * GIB;
    high_end = UINT64_C(1) << (cpuid(0x80000008, 0).eax & 0xff);
    for (unsigned i = 0; i < memory_count; i++)
        take(memory[i].start, memory[i].bytes);
    for (unsigned i = 0; i < acpi->ecam_count; i++)
        take(acpi->ecam[i].address, ((uint64_t)acpi->ecam[i].last_bus - acpi->ecam[i].first_bus + 1) << 20);
    for (unsigned i = 0; i < count; i++) {
        each_bar(&functions[i], take_bar);
        if ((platform_pci_read(&functions[i], HEADER, 1) & 0x7f) == HEADER_BRIDGE) {
            take_windows(&functions[i]);
            is_behind_bridge[platform_pci_read(&functions[i], SECONDARY, 1)] = true;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        if (!is_behind_bridge[functions[i].bus] || !functions[i].bus)
            each_bar(&functions[i], give_bar);
    }
}

uint64_t pci_free_addresses(uint64_t bytes)
{
    uint64_t place = place_high(bytes);
    return place && take(place, bytes) ? place : 0;
}
