/* SPDX-License-Identifier: MIT
 *
 * Page tables.
 *
 * Memory that was there at boot is mapped once, in the largest pages that fit, and stays. What a device plugs
 * comes and goes by map() and unmap(), in pages of 2 MiB: an entry is there when the memory is. The tables
 * that hold these entries are set aside when firmware names the area, a frame for each GiB. Frames that are
 * mapped or unmapped one by one, which Pleat itself never does, cost a table for their 2 MiB; there is a
 * reserve for that, and for devices in places that firmware hasn't named.
 */
#include "paging.h"

#include <stddef.h>

#include "ports/bare/platform.h"
#include "ports/bare/print.h"
#include "ports/bare/spans.h"

#include "cpus.h"
#include "pleat_port.h"
#include "registers.h"

#define REGISTERS     UINT64_C(0xffffc00000000000)
#define REGISTERS_END UINT64_C(0xffffc10000000000)
#define STACKS        UINT64_C(0xffffd00000000000)
#define STACKS_END    UINT64_C(0xffffd10000000000)

#define PAGE UINT64_C(0x1000)
#define MIB2 UINT64_C(0x200000)
#define GIB  UINT64_C(0x40000000)

#define PRESENT       UINT64_C(0x001)
#define WRITE         UINT64_C(0x002)
#define WRITE_THROUGH UINT64_C(0x008)
#define UNCACHED      UINT64_C(0x010)
#define ACCESSED      UINT64_C(0x020)
#define DIRTY         UINT64_C(0x040)
#define LARGE         UINT64_C(0x080)
#define GLOBAL        UINT64_C(0x100)
#define NO_EXECUTE    (UINT64_C(1) << 63)
#define ADDRESS       UINT64_C(0x000ffffffffff000)

#define TABLE (PRESENT | WRITE | ACCESSED)
#define DATA  (PRESENT | WRITE | ACCESSED | DIRTY | NO_EXECUTE)

#define ENTRIES 512u
/* Frames that an entry of a PD stands for. */
#define LEAF_FRAMES 512u

#define CR4_PGE 0x80u

#define SPARE_TABLES 64u

extern char image_start[], image_constants[], image_data[], image_end[];

/* Where tables are reached: as they are until paging_start(), by the direct map from then on. */
static uint64_t tables_at;
static uint64_t root;
static bool has_gib_pages;
static uint64_t next_registers = REGISTERS, next_stack = STACKS;

/* Of map() and unmap(). */
static bool lock;
static uint64_t spares[SPARE_TABLES];
static unsigned spare_count;

static uint64_t *table(uint64_t entry)
{
    return (uint64_t *)(uintptr_t)((entry & ADDRESS) + tables_at);
}

/* Returns its physical address; 0: there is no memory. At boot only. */
static uint64_t carve_table(void)
{
    uint64_t address = spans_carve(1, 1, GIB * 4 / PAGE) * PAGE;
    if (address)
        __builtin_memset(table(address), 0, PAGE);
    return address;
}

static uint64_t must_carve_table(void)
{
    uint64_t address = carve_table();
    if (!address) {
        print("paging: no memory for page tables\n");
        platform_exit(PLATFORM_EXIT_EXCEPTION);
    }
    return address;
}

/* The table that an entry points to; an absent one is made by `make`. NULL: that has none. */
static uint64_t *below(uint64_t *entry, uint64_t (*make)(void))
{
    if (!(*entry & PRESENT)) {
        uint64_t address = make();
        if (!address)
            return NULL;
        *entry = address | TABLE;
    }
    return table(*entry);
}

static unsigned index_at(uint64_t virtual, unsigned shift)
{
    return (unsigned)(virtual >> shift) % ENTRIES;
}

/* Maps in the largest pages that fit. False: there was no table left, and a part may be mapped. */
static bool map_range(uint64_t virtual, uint64_t physical, uint64_t bytes, uint64_t flags,
                      uint64_t (*make)(void))
{
    while (bytes) {
        uint64_t step = GIB, both = virtual | physical;
        uint64_t *entry = &table(root)[index_at(virtual, 39)];
        for (unsigned shift = 30; shift >= 12; shift -= 9) {
            uint64_t *in = below(entry, make);
            if (!in)
                return false;
            entry = &in[index_at(virtual, shift)];
            step = UINT64_C(1) << shift;
            if (both % step == 0 && bytes >= step && (step != GIB || has_gib_pages))
                break;
        }
        *entry = physical | flags | (step == PAGE ? 0 : LARGE);
        virtual += step;
        physical += step;
        bytes -= step;
    }
    return true;
}

static void map_image(const char *start, const char *end, uint64_t flags)
{
    uint64_t at = (uintptr_t)start;
    uint64_t bytes = ((uintptr_t)end - at + PAGE - 1) / PAGE * PAGE;
    map_range(at, at, bytes, flags | PRESENT | ACCESSED | GLOBAL, must_carve_table);
}

/* --- What comes and goes -------------------------------------------------------------------------------- */

static uint64_t spare_table(void)
{
    return spare_count ? spares[--spare_count] : 0;
}

static void lock_tables(void)
{
    while (__atomic_exchange_n(&lock, true, __ATOMIC_ACQUIRE))
        pleat_port_pause();
}

static void unlock_tables(void)
{
    __atomic_store_n(&lock, false, __ATOMIC_RELEASE);
}

/* The entry of the 2 MiB of this frame, or NULL: there are no tables (left) for it. */
static uint64_t *leaf(uint64_t pfn, uint64_t (*make)(void))
{
    uint64_t virtual = DIRECT_MAP + pfn * PAGE;
    uint64_t *pdpt = below(&table(root)[index_at(virtual, 39)], make);
    if (!pdpt || pdpt[index_at(virtual, 30)] & LARGE)
        return NULL;
    uint64_t *pd = below(&pdpt[index_at(virtual, 30)], make);
    return pd ? &pd[index_at(virtual, 21)] : NULL;
}

static uint64_t none(void)
{
    return 0;
}

static uint64_t end_of_leaf(uint64_t pfn, uint64_t end)
{
    uint64_t next = (pfn / LEAF_FRAMES + 1) * LEAF_FRAMES;
    return next < end ? next : end;
}

static bool is_whole(uint64_t pfn, uint64_t end)
{
    return end - pfn == LEAF_FRAMES;
}

static int map(void *context, uint64_t pfn, uint64_t frames)
{
    uint64_t end = pfn + frames, next;
    int error = 0;

    (void)context;
    if (end < pfn || end > DIRECT_MAP_BYTES / PAGE)
        return PLEAT_E_INVALID;
    lock_tables();
    /* First all that can fail. */
    for (uint64_t at = pfn; at < end && !error; at = next) {
        next = end_of_leaf(at, end);
        uint64_t *entry = leaf(at, spare_table);
        if (!entry || (!is_whole(at, next) && !(*entry & LARGE) && !below(entry, spare_table)))
            error = PLEAT_E_NO_MEMORY;
    }
    for (uint64_t at = pfn; at < end && !error; at = next) {
        next = end_of_leaf(at, end);
        uint64_t *entry = leaf(at, none);
        if (*entry & LARGE)
            continue;
        if (is_whole(at, next) && !(*entry & PRESENT)) {
            __atomic_store_n(entry, at * PAGE | DATA | LARGE, __ATOMIC_RELEASE);
            continue;
        }
        uint64_t *pages = table(*entry);
        for (uint64_t i = at; i < next; i++)
            __atomic_store_n(&pages[i % ENTRIES], i * PAGE | DATA, __ATOMIC_RELEASE);
    }
    unlock_tables();
    return error;
}

/* Puts a table of single pages where a page of 2 MiB was. */
static uint64_t *split(uint64_t *entry)
{
    uint64_t address = spare_table();
    if (!address) {
        print("unmap: no table left to split a page of 2 MiB\n");
        platform_exit(PLATFORM_EXIT_EXCEPTION);
    }
    uint64_t *pages = table(address), first = *entry & ADDRESS;
    for (unsigned i = 0; i < ENTRIES; i++)
        pages[i] = (first + i * PAGE) | DATA;
    __atomic_store_n(entry, address | TABLE, __ATOMIC_RELEASE);
    return pages;
}

static bool is_empty(const uint64_t *pages)
{
    for (unsigned i = 0; i < ENTRIES; i++) {
        if (pages[i])
            return false;
    }
    return true;
}

static void unmap(void *context, uint64_t pfn, uint64_t frames)
{
    uint64_t end = pfn + frames, next;
    /* Tables that became empty: spare ones again, once no CPU walks them any more. */
    uint64_t emptied[SPARE_TABLES];
    unsigned emptied_count = 0;

    (void)context;
    lock_tables();
    for (uint64_t at = pfn; at < end; at = next) {
        next = end_of_leaf(at, end);
        uint64_t *entry = leaf(at, none);
        if (!entry || !(*entry & PRESENT))
            continue;
        if (*entry & LARGE && is_whole(at, next)) {
            __atomic_store_n(entry, 0, __ATOMIC_RELEASE);
            continue;
        }
        uint64_t *pages = *entry & LARGE ? split(entry) : table(*entry);
        for (uint64_t i = at; i < next; i++)
            __atomic_store_n(&pages[i % ENTRIES], 0, __ATOMIC_RELEASE);
        if (is_empty(pages)) {
            emptied[emptied_count++] = *entry & ADDRESS;
            __atomic_store_n(entry, 0, __ATOMIC_RELEASE);
        }
    }
    cpus_flush();
    while (emptied_count)
        spares[spare_count++] = emptied[--emptied_count];
    unlock_tables();
}

static void *frame_pointer(void *context, uint64_t pfn)
{
    (void)context;
    return (void *)(uintptr_t)(DIRECT_MAP + pfn * PAGE);
}

/* --- Start ---------------------------------------------------------------------------------------------- */

/* The first frames from `pfn` on that boot memory covers without a hole. Tables that are carved meanwhile
 * change how spans are cut, not what they cover. */
static bool next_memory(uint64_t pfn, uint64_t *start, uint64_t *end)
{
    bool found = false;
    for (unsigned i = 0; i < platform.span_count; i++) {
        const struct pleat_boot_span *span = &platform.spans[i];
        uint64_t span_end = span->start_pfn + span->frames;
        if (span_end <= pfn)
            continue;
        if (found && span->start_pfn != *end)
            break;
        if (!found)
            *start = span->start_pfn > pfn ? span->start_pfn : pfn;
        *end = span_end;
        found = true;
    }
    return found;
}

void paging_start(void)
{
    struct cpuid extended = cpuid(0x80000001, 0);

    has_gib_pages = extended.edx & 1u << 26;
    root = must_carve_table();
    map_image(image_start, image_constants, 0);
    map_image(image_constants, image_data, NO_EXECUTE);
    map_image(image_data, image_end, WRITE | DIRTY | NO_EXECUTE);
    for (unsigned i = 0; i < SPARE_TABLES; i++)
        spares[spare_count++] = must_carve_table();
    for (uint64_t pfn = 0, end; next_memory(pfn, &pfn, &end); pfn = end)
        map_range(DIRECT_MAP + pfn * PAGE, pfn * PAGE, (end - pfn) * PAGE, DATA | GLOBAL, must_carve_table);
    cr3_write(root);
    tables_at = DIRECT_MAP;
    cr4_write(cr4_read() | CR4_PGE);

    platform.port.frame_pointer = frame_pointer;
    platform.port.map = map;
    platform.port.unmap = unmap;
}

void paging_add_area(const struct platform_area *area)
{
    uint64_t start = area->start / PAGE, end = start + area->bytes / PAGE;
    for (uint64_t at = start / (GIB / PAGE) * (GIB / PAGE); at < end; at += GIB / PAGE) {
        if (!leaf(at, carve_table)) {
            print("paging: no tables for the area at 0x%llx\n", (unsigned long long)(at * PAGE));
            break;
        }
    }
}

uint64_t paging_root(void)
{
    return root;
}

uint64_t paging_new_stack(uint64_t bytes)
{
    next_stack += PAGE;
    for (; bytes; bytes -= PAGE, next_stack += PAGE)
        map_range(next_stack, must_carve_table(), PAGE, DATA | GLOBAL, must_carve_table);
    return next_stack;
}

static void *map_outside(uint64_t address, uint64_t bytes, uint64_t flags)
{
    uint64_t in_page = address % PAGE, first = address - in_page;
    uint64_t size = (in_page + bytes + PAGE - 1) / PAGE * PAGE;
    void *registers = NULL;

    if (!bytes || bytes > REGISTERS_END - REGISTERS || address + bytes < address)
        return NULL;
    /* The core may have all other memory by now. */
    lock_tables();
    /* What is large gets large pages: it begins at the same place within 2 MiB. */
    uint64_t at = next_registers + (size >= MIB2 ? (first - next_registers) % MIB2 : 0);
    if (at + size <= REGISTERS_END && map_range(at, first, size, DATA | GLOBAL | flags, spare_table)) {
        registers = (void *)(uintptr_t)(at + in_page);
        /* A gap, so that running over the end faults. */
        next_registers = at + size + PAGE;
    }
    unlock_tables();
    return registers;
}

void *platform_map_registers(uint64_t address, uint64_t bytes)
{
    return map_outside(address, bytes, UNCACHED | WRITE_THROUGH);
}

void *paging_map_shared(uint64_t address, uint64_t bytes)
{
    return map_outside(address, bytes, 0);
}

bool paging_frame_of(uint64_t address, uint64_t *pfn)
{
    if (address < DIRECT_MAP || address - DIRECT_MAP >= DIRECT_MAP_BYTES)
        return false;
    *pfn = (address - DIRECT_MAP) / PAGE;
    return true;
}

bool paging_is_stack_guard(uint64_t address)
{
    return address >= STACKS && address < STACKS_END;
}
