/* SPDX-License-Identifier: MIT
 *
 * Page tables: everything is where it is, in blocks of 2 MiB. Boot memory is shown at the start, what is
 * plugged when it is plugged, registers when somebody asks for them. A table is never given back, so that
 * hiding needs nothing and can't fail; the pool has one for each GiB that may be shown.
 */
#include "machine.h"
#include "pleat_port.h"
#include "start.h"

#define TABLES 160u

#define VALID      1u
#define TABLE      3u
#define NORMAL     (1u << 2)
#define READ_ONLY  (1u << 7)
#define SHAREABLE  (3u << 8)
#define ACCESSED   (1u << 10)
#define NO_EXECUTE (UINT64_C(3) << 53)
#define ADDRESS    UINT64_C(0xfffffffff000)

typedef uint64_t table[512];

static _Alignas(4096) table top, middle[2], pool[TABLES];
static unsigned pool_used;
static bool locked;

uint64_t paging_root;

static const uint64_t attributes[] = {
    [PAGING_MEMORY] = VALID | NORMAL | SHAREABLE | ACCESSED | NO_EXECUTE,
    [PAGING_TEXT] = VALID | NORMAL | READ_ONLY | SHAREABLE | ACCESSED,
    [PAGING_CONSTANTS] = VALID | NORMAL | READ_ONLY | SHAREABLE | ACCESSED | NO_EXECUTE,
    [PAGING_REGISTERS] = VALID | ACCESSED | NO_EXECUTE,
};

/* The entry of the piece, or NULL if there is no table for it, or none could be made. */
static uint64_t *entry_of(uint64_t address, bool make)
{
    uint64_t *gib = &middle[address >> 39][address >> 30 & 511];
    if (!*gib) {
        if (!make || pool_used == TABLES)
            return NULL;
        *gib = (uintptr_t)pool[pool_used++] | TABLE;
    }
    return (uint64_t *)(uintptr_t)(*gib & ADDRESS) + (address >> 21 & 511);
}

static void lock(void)
{
    while (__atomic_exchange_n(&locked, true, __ATOMIC_ACQUIRE))
        pleat_port_pause();
}

static void unlock(void)
{
    __atomic_store_n(&locked, false, __ATOMIC_RELEASE);
}

bool paging_show(uint64_t start, uint64_t end, enum paging_kind kind)
{
    start -= start % PAGING_PIECE;
    if (end > PAGING_END || start >= end)
        return false;
    bool fits = true;
    lock();
    for (uint64_t at = start; at < end && fits; at += PAGING_PIECE) {
        const uint64_t *entry = entry_of(at, true);
        fits = entry && (!*entry || *entry == (at | attributes[kind]));
    }
    for (uint64_t at = start; at < end && fits; at += PAGING_PIECE)
        *entry_of(at, false) = at | attributes[kind];
    unlock();
    __asm__ volatile("dsb ishst; isb" ::: "memory");
    return fits;
}

void paging_hide(uint64_t start, uint64_t end)
{
    start -= start % PAGING_PIECE;
    lock();
    for (uint64_t at = start; at < end && at < PAGING_END; at += PAGING_PIECE) {
        uint64_t *entry = entry_of(at, false);
        if (entry)
            *entry = 0;
    }
    unlock();
    __asm__ volatile("dsb ishst" ::: "memory");
    /* Reaches every CPU. */
    for (uint64_t at = start; at < end; at += PAGING_PIECE)
        __asm__ volatile("tlbi vaae1is, %0" ::"r"(at >> 12) : "memory");
    __asm__ volatile("dsb ish; isb" ::: "memory");
}

bool paging_begin(uint64_t console)
{
    top[0] = (uintptr_t)middle[0] | TABLE;
    top[1] = (uintptr_t)middle[1] | TABLE;
    if (!paging_show((uintptr_t)image_start, (uintptr_t)image_constants, PAGING_TEXT) ||
        !paging_show((uintptr_t)image_constants, (uintptr_t)image_data, PAGING_CONSTANTS) ||
        (console && !paging_show(console, console + 4096, PAGING_REGISTERS)))
        return false;
    for (unsigned i = 0; i < platform.span_count; i++) {
        const struct pleat_boot_span *span = &platform.spans[i];
        const uint64_t end = (span->start_pfn + span->frames) << 12;
        for (uint64_t at = span->start_pfn << 12; at < end; at = (at | (PAGING_PIECE - 1)) + 1) {
            if (at >= (uintptr_t)image_start && at < (uintptr_t)image_data)
                continue;
            if (!paging_show(at, at + 1, PAGING_MEMORY))
                return false;
        }
    }
    paging_root = (uintptr_t)top;
    __asm__ volatile("msr ttbr0_el1, %0; isb; tlbi vmalle1; dsb ish; isb" ::"r"(paging_root) : "memory");
    return true;
}
