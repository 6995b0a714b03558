/* SPDX-License-Identifier: MIT
 *
 * Where the fields of a trace are: for the files that read and write traces, and for nobody else.
 * trace.h draws the layout.
 */
#ifndef PLEAT_MACHINE_TRACE_FORMAT_H
#define PLEAT_MACHINE_TRACE_FORMAT_H

#include "machine/trace.h"

#define PLEAT_TRACE_HEADER_BYTES 64
#define PLEAT_TRACE_COLUMNS_AT   (PLEAT_TRACE_HEADER_BYTES + 4 * PLEAT_TRACE_PALETTE_ENTRIES)
#define PLEAT_TRACE_RECORD_BYTES 15

enum pleat_trace_column {
    PLEAT_TRACE_DT,
    PLEAT_TRACE_PFN,
    PLEAT_TRACE_THREAD,
    PLEAT_TRACE_KIND,
    PLEAT_TRACE_ORDER,
    PLEAT_TRACE_GFP
};

/** Offset of the entry of record I in a column of a trace of N records. */
static inline size_t pleat_trace_offset(uint64_t n, enum pleat_trace_column column, uint64_t i)
{
    /* Before each column lie so many bytes for each record, and an entry has so many. */
    static const uint8_t before[] = {0, 4, 8, 12, 13, 14}, entry[] = {4, 4, 4, 1, 1, 1};
    return PLEAT_TRACE_COLUMNS_AT + (size_t)(before[column] * n + entry[column] * i);
}

uint32_t pleat_trace_get_u32(const unsigned char *at);
void pleat_trace_put_u32(unsigned char *at, uint32_t value);

/** Writes the header and the palette of TRACE: the first PLEAT_TRACE_COLUMNS_AT bytes of a file. */
void pleat_trace_put_header(unsigned char *bytes, const struct pleat_trace *trace);

/** Makes COUNT uncompressed BYTES from malloc() the content of TRACE, checked; they are freed on an error. */
int pleat_trace_adopt(struct pleat_trace *trace, const char *name, unsigned char *bytes, size_t count,
                      struct pleat_message *message);

#endif
