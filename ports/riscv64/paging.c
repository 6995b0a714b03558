/* SPDX-License-Identifier: MIT
 *
 * Page tables, Sv39. Memory is mapped in pages of 2 MiB, where it isn't aligned to them or is mapped or
 * unmapped frame by frame in pages of 4 KiB. Tables come from a pool in the image: one for each GiB of
 * memory, the rest for 2 MiB that are cut up.
 */
#include "ports/bare/platform.h"
#include "ports/bare/print.h"

#include "riscv.h"

#define PAGE    UINT64_C(0x1000)
#define MIB2    UINT64_C(0x200000)
#define GIB     UINT64_C(0x40000000)
#define ENTRIES 512u
/* Frames of a page of 2 MiB. */
#define LEAF_FRAMES 512u

#define VALID   UINT64_C(0x01)
#define READ    UINT64_C(0x02)
#define WRITE   UINT64_C(0x04)
#define EXECUTE UINT64_C(0x08)
/* Accessed and dirty: a hart that doesn't set these itself faults without them. */
#define USED UINT64_C(0xc0)
#define LEAF (READ | WRITE | EXECUTE)
#define DATA (VALID | READ | WRITE | USED)

#define SATP_SV39 (UINT64_C(8) << 60)

/* 128 GiB of memory, if half of them serve that. */
#define TABLES 256u

static uint64_t tables[TABLES][ENTRIES] __attribute__((aligned(4096)));
/* The first is the root; the others are free from `fresh` on, and those that are listed. */
static unsigned fresh = 1, returned[TABLES], returned_count;

static uint64_t *table_of(uint64_t entry)
{
    return (uint64_t *)(uintptr_t)(entry >> 10 << 12);
}

static uint64_t entry_of(uint64_t physical, uint64_t flags)
{
    return physical >> 12 << 10 | flags;
}

static unsigned tables_left(void)
{
    return TABLES - fresh + returned_count;
}

/* There has to be one. */
static uint64_t *new_table(void)
{
    uint64_t *table = tables[returned_count ? returned[--returned_count] : fresh++];
    for (unsigned i = 0; i < ENTRIES; i++)
        table[i] = 0;
    return table;
}

static uint64_t *below(uint64_t *entry)
{
    if (!(*entry & VALID))
        *entry = entry_of((uintptr_t)new_table(), VALID);
    return table_of(*entry);
}

/* The entry of the 2 MiB of a virtual address; takes a table if its GiB has none. */
static uint64_t *leaf(uint64_t virtual)
{
    return &below(&tables[0][virtual / GIB % ENTRIES])[virtual / MIB2 % ENTRIES];
}

/* How many tables leaf() and then, unless `whole`, the single pages would take. */
static unsigned tables_wanted(uint64_t virtual, bool whole)
{
    uint64_t top = tables[0][virtual / GIB % ENTRIES];
    if (!(top & VALID))
        return whole ? 1 : 2;
    uint64_t entry = table_of(top)[virtual / MIB2 % ENTRIES];
    return !whole && !(entry & VALID);
}

static void flush(void)
{
    __asm__ volatile("sfence.vma" ::: "memory");
}

static uint64_t virtual_of(uint64_t pfn)
{
    return RISCV_DIRECT_MAP + pfn * PAGE;
}

static uint64_t end_of_leaf(uint64_t pfn, uint64_t end)
{
    uint64_t next = (pfn / LEAF_FRAMES + 1) * LEAF_FRAMES;
    return next < end ? next : end;
}

static int map(void *context, uint64_t pfn, uint64_t frames)
{
    uint64_t end = pfn + frames, next;
    unsigned wanted = 0, last_gib_wanted = 0;
    uint64_t last_gib = UINT64_MAX;

    (void)context;
    if (end < pfn || end > RISCV_DIRECT_MAP_BYTES / PAGE)
        return PLEAT_E_INVALID;
    /* First what can fail. Neighbours in one GiB share the table that the first of them takes. */
    for (uint64_t at = pfn; at < end; at = next) {
        next = end_of_leaf(at, end);
        unsigned here = tables_wanted(virtual_of(at), next - at == LEAF_FRAMES);
        uint64_t gib = virtual_of(at) / GIB;
        wanted += gib == last_gib && last_gib_wanted ? here - 1 : here;
        last_gib_wanted = gib == last_gib ? last_gib_wanted : !(tables[0][gib % ENTRIES] & VALID);
        last_gib = gib;
    }
    if (wanted > tables_left())
        return PLEAT_E_NO_MEMORY;
    for (uint64_t at = pfn; at < end; at = next) {
        next = end_of_leaf(at, end);
        uint64_t *entry = leaf(virtual_of(at));
        if (*entry & LEAF)
            continue;
        if (next - at == LEAF_FRAMES && !(*entry & VALID)) {
            *entry = entry_of(at * PAGE, DATA);
            continue;
        }
        uint64_t *pages = below(entry);
        for (uint64_t i = at; i < next; i++)
            pages[i % ENTRIES] = entry_of(i * PAGE, DATA);
    }
    flush();
    return 0;
}

static void split(uint64_t *entry)
{
    if (!tables_left()) {
        print("unmap: no table left to split a page of 2 MiB\n");
        platform_exit(PLATFORM_EXIT_EXCEPTION);
    }
    uint64_t first = *entry >> 10 << 12, flags = *entry & 0x3ff;
    uint64_t *pages = new_table();
    for (unsigned i = 0; i < ENTRIES; i++)
        pages[i] = entry_of(first + i * PAGE, flags);
    *entry = entry_of((uintptr_t)pages, VALID);
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

    (void)context;
    for (uint64_t at = pfn; at < end; at = next) {
        next = end_of_leaf(at, end);
        if (tables_wanted(virtual_of(at), true))
            continue;
        uint64_t *entry = leaf(virtual_of(at));
        if (!(*entry & VALID))
            continue;
        if (*entry & LEAF && next - at == LEAF_FRAMES) {
            *entry = 0;
            continue;
        }
        if (*entry & LEAF)
            split(entry);
        uint64_t *pages = table_of(*entry);
        for (uint64_t i = at; i < next; i++)
            pages[i % ENTRIES] = 0;
        if (is_empty(pages)) {
            *entry = 0;
            /* Nobody walks it once that has been seen. */
            flush();
            returned[returned_count++] = (unsigned)((uintptr_t)pages - (uintptr_t)tables) / PAGE;
        }
    }
    flush();
}

static void *frame_pointer(void *context, uint64_t pfn)
{
    (void)context;
    return (void *)(uintptr_t)virtual_of(pfn);
}

/* Pages of 4 KiB, the same address on both sides. */
static void map_same(uint64_t start, uint64_t end, uint64_t flags)
{
    for (uint64_t at = start; at < end; at += PAGE)
        below(leaf(at))[at / PAGE % ENTRIES] = entry_of(at, flags | VALID | USED);
}

void riscv_paging_start(void)
{
    uint64_t guard = (uintptr_t)riscv_stack_guard;

    map_same(RISCV_EXIT, RISCV_EXIT + PAGE, READ | WRITE);
    map_same(RISCV_UART, RISCV_UART + PAGE, READ | WRITE);
    map_same((uintptr_t)image_start, (uintptr_t)image_constants, READ | EXECUTE);
    map_same((uintptr_t)image_constants, (uintptr_t)image_data, READ);
    map_same((uintptr_t)image_data, guard, READ | WRITE);
    map_same(guard + PAGE, (uintptr_t)image_end, READ | WRITE);
    for (unsigned i = 0; i < platform.span_count; i++) {
        const struct pleat_boot_span *span = &platform.spans[i];
        if (map(NULL, span->start_pfn, span->frames)) {
            print("paging: not enough tables for memory at 0x%llx\n",
                  (unsigned long long)(span->start_pfn * PAGE));
            platform_exit(PLATFORM_EXIT_EXCEPTION);
        }
    }
    __asm__ volatile("sfence.vma; csrw satp, %0; sfence.vma" ::"r"(SATP_SV39 | (uintptr_t)tables / PAGE)
                     : "memory");
    platform.port.frame_pointer = frame_pointer;
    platform.port.map = map;
    platform.port.unmap = unmap;
}
