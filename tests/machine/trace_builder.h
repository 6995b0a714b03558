/* SPDX-License-Identifier: MIT
 *
 * Small traces for tests, written record by record, with every byte in reach to be spoilt.
 */
#ifndef PLEAT_TESTS_TRACE_BUILDER_H
#define PLEAT_TESTS_TRACE_BUILDER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/** Offsets of the header and the columns, written down here a second time on purpose. */
enum {
    AT_MAGIC = 0,
    AT_RECORDS = 8,
    AT_START = 16,
    AT_CPUS = 24,
    AT_PFN_LIMIT = 28,
    AT_PALETTE_ENTRIES = 32,
    AT_UNIT = 36,
    AT_RESERVED = 40,
    AT_PALETTE = 64,
    AT_COLUMNS = 1088
};

struct test_record {
    char kind; /**< 'a' allocation, 'f' free */
    uint32_t pfn;
    uint8_t order;
    uint8_t gfp; /**< palette index of an allocation */
    uint8_t cpu;
    uint32_t dt;
    uint32_t thread;
};

struct test_trace {
    unsigned char *bytes;
    size_t count;
};

static inline void put_le(unsigned char *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (unsigned char)(value >> (8 * i));
}

/** Palette: 0 unmovable, 1 movable, 2 reclaimable, 3 unmovable DMA, 4 movable DMA32. 2 CPUs, PFNs to 4095. */
static inline struct test_trace build_trace(const struct test_record *records, size_t n)
{
    static const uint32_t palette[] = {0x400cc0, 1u << 28 | 0x140cca, 2u << 28 | 0xd2050, 0xcc1,
                                       1u << 28 | 0x14};
    struct test_trace trace = {.count = AT_COLUMNS + 15 * n};
    trace.bytes = calloc(trace.count, 1);
    unsigned char *b = trace.bytes;
    memcpy(b, "PGTRACE2", 8);
    put_le(b + AT_RECORDS, n, 8);
    put_le(b + AT_START, 5000000, 8);
    put_le(b + AT_CPUS, 2, 4);
    put_le(b + AT_PFN_LIMIT, 4096, 4);
    put_le(b + AT_PALETTE_ENTRIES, 5, 4);
    put_le(b + AT_UNIT, 1000, 4);
    for (int i = 0; i < 5; i++)
        put_le(b + AT_PALETTE + 4 * i, palette[i], 4);
    for (size_t i = 0; i < n; i++) {
        put_le(b + AT_COLUMNS + 4 * i, records[i].dt, 4);
        put_le(b + AT_COLUMNS + 4 * n + 4 * i, records[i].pfn, 4);
        put_le(b + AT_COLUMNS + 8 * n + 4 * i, records[i].thread, 4);
        b[AT_COLUMNS + 12 * n + i] = (unsigned char)(records[i].cpu << 4 | (records[i].kind == 'f'));
        b[AT_COLUMNS + 13 * n + i] = records[i].order;
        b[AT_COLUMNS + 14 * n + i] = records[i].kind == 'f' ? 255 : records[i].gfp;
    }
    return trace;
}

#endif
