/* SPDX-License-Identifier: MIT
 *
 * Recorded page-allocation traces: who allocated and freed which frames of a real machine, and when.
 *
 * A trace is a header, a palette of allocation flags and six columns with an entry for each record,
 * little endian, as it is or in an .xz container:
 *
 *   0     char[8] "PGTRACE2"
 *   8     u64 records; u64 start_ns (monotonic clock of record 0)
 *   24    u32 cpus; u32 pfn_limit (highest PFN + 1); u32 palette_entries; u32 unit_ns; 24 bytes of 0
 *   64    u32 palette[256]: bits 0..27 the kernel's gfp flags, bits 28..31 the migrate type
 *   1088  u32 dt[]     units since the previous record
 *         u32 pfn[]    first frame of the block
 *         u32 thread[] that was running
 *         u8  kind[]   bits 0..3: 0 allocation, 1 free; bits 4..7 the CPU
 *         u8  order[]  0 to 9
 *         u8  gfp[]    index into the palette for an allocation, 255 for a free
 *
 * A file is a peer that isn't trusted. Loading checks every field of every record, and memory is taken
 * only for bytes that are there; what is wrong is named as file, offset, field, what was found and what was
 * expected. Whether the records agree with each other (no allocation hits a live frame, a free has the
 * order of its allocation) is seen when they are paired, by pleat_trace_summarize() and
 * pleat_trace_prepare().
 *
 * A free that has no allocation is one of two things. If nothing in the trace has touched its frames
 * before, the block was allocated before the recording began. Otherwise the kernel took the frames in
 * bulk, which has no event; such a free is skipped.
 */
#ifndef PLEAT_MACHINE_TRACE_H
#define PLEAT_MACHINE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "machine/message.h"
#include "machine/operations.h"

/** Bytes of a trace, as it is after decompression; a longer one is refused. About 71 million records. */
#define PLEAT_TRACE_BYTES_MAX ((uint64_t)1 << 30)
/** Frame numbers of a trace are below it (1 TiB of 4 KiB frames), which bounds the tables for pairing. */
#define PLEAT_TRACE_PFN_LIMIT_MAX   ((uint32_t)1 << 28)
#define PLEAT_TRACE_PALETTE_ENTRIES 256
#define PLEAT_TRACE_CPUS_MAX        16

/** gfp flags that are looked at here. */
enum {
    PLEAT_GFP_DMA = 1 << 0,
    PLEAT_GFP_DMA32 = 1 << 2,
    PLEAT_GFP_MOVABLE = 1 << 3,
    PLEAT_GFP_MASK = 0x0fffffff
};

/** A loaded trace; zeroed: empty. pleat_trace_free() gives the storage back. */
struct pleat_trace {
    uint64_t records;
    uint64_t start_ns;
    uint32_t cpus, pfn_limit, palette_entries, unit_ns;
    uint32_t palette[PLEAT_TRACE_PALETTE_ENTRIES];
    /** What messages call it: a copy of the path or name that it was loaded by. */
    char *name;
    /** The whole file after decompression; the columns are read in place. */
    unsigned char *bytes;
    size_t bytes_count;
};

/** One record, decoded. */
struct pleat_trace_record {
    uint64_t time_ns; /**< since the first record's clock */
    uint32_t pfn;
    uint32_t thread;
    uint8_t cpu;
    uint8_t order;
    bool is_free;
    /** Of an allocation: gfp flags of the kernel that was recorded, and its palette index; else 0. */
    uint32_t gfp;
    uint8_t palette_index;
    /** Of an allocation: flags for pleat_alloc(), as pleat_trace_flags() makes them; else 0. */
    uint8_t flags;
};

/** A place in a trace. Zero it and set `trace` to begin. */
struct pleat_trace_cursor {
    const struct pleat_trace *trace;
    uint64_t next;
    uint64_t time_units;
};

/** What the records come to when they are paired. */
struct pleat_trace_summary {
    uint64_t records;
    uint64_t duration_ns;
    /** Blocks that were allocated before the trace and are freed in it. */
    uint64_t before_blocks, before_frames;
    /** Frees of frames that the kernel took in bulk. */
    uint64_t skipped_frees;
    /** Frees of blocks that the trace allocated. */
    uint64_t paired_frees;
    /** Of what the trace allocated; blocks from before aren't in it. Its frees are the paired ones. */
    struct pleat_operation_counts counts;
    /** With the blocks from before, until they are freed. */
    uint64_t peak_live_frames_with_before;
};

/**
 * Loads the file at PATH into TRACE, checked field by field.
 * Errors, with TRACE empty: PLEAT_E_NOT_FOUND (can't be opened or read, no regular file),
 * PLEAT_E_PROTOCOL (what is in it), PLEAT_E_NO_MEMORY.
 */
int pleat_trace_load(struct pleat_trace *trace, const char *path, struct pleat_message *message);

/** The same from COUNT bytes of a file, which messages call NAME. The bytes are copied. */
int pleat_trace_load_bytes(struct pleat_trace *trace, const char *name, const void *bytes, size_t count,
                           struct pleat_message *message);

/** Gives the storage back and empties it. */
void pleat_trace_free(struct pleat_trace *trace);

/** Reads the record at the cursor and moves on; false at the end. */
bool pleat_trace_next(struct pleat_trace_cursor *cursor, struct pleat_trace_record *record);

/**
 * The flags for pleat_alloc() of a palette entry: its migrate type as mobility, and the zone it asks for,
 * DMA or DMA32.
 */
uint8_t pleat_trace_flags(uint32_t palette_entry);

/**
 * Pairs frees with allocations and counts. Errors, with SUMMARY unchanged: PLEAT_E_PROTOCOL (records that
 * contradict each other, the first one is named), PLEAT_E_NO_MEMORY. Effort: a pass over the records.
 */
int pleat_trace_summarize(const struct pleat_trace *trace, struct pleat_trace_summary *summary,
                          struct pleat_message *message);

/**
 * Makes the operations of the trace: first allocations of what was there before, in the order of frame
 * numbers (their true order isn't known, and the order of their frees would tell an allocator the future),
 * then every record but skipped frees. The mobility of blocks from before isn't recorded: single frames
 * and small blocks are mostly page cache and anonymous memory, so all are movable.
 * Errors, with OPERATIONS empty: those of pleat_trace_summarize(). Effort: two passes.
 */
int pleat_trace_prepare(const struct pleat_trace *trace, struct pleat_operations *operations,
                        struct pleat_message *message);

/**
 * Cuts a window out: COUNT records from the one numbered FIRST on (fewer where the trace ends). What is live
 * when the window opens stays live in it: blocks whose allocation or origin a replay couldn't see in the
 * window get an allocation at its start. Frees of frames that were taken in bulk are left out. So the cut has
 * the live frames, and the pressure, of the whole trace at that time.
 * Errors, with CUT empty: PLEAT_E_INVALID (no record there), those of pleat_trace_summarize().
 */
int pleat_trace_cut(const struct pleat_trace *trace, uint64_t first, uint64_t count, struct pleat_trace *cut,
                    struct pleat_message *message);

/**
 * Compresses a trace to a .xz file in memory; the caller frees *BYTES with free(). Slow: about 2 s for half a
 * million records. Errors: PLEAT_E_NO_MEMORY.
 */
int pleat_trace_compress(const struct pleat_trace *trace, unsigned char **bytes, size_t *count,
                         struct pleat_message *message);

#endif
