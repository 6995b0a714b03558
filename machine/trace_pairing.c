/* SPDX-License-Identifier: MIT
 *
 * Pairing: which allocation a free ends, and what follows from it: the counts of a trace, its operations
 * for replay, and a window cut out of it.
 *
 * A table with a word for each frame, made a pageblock at a time when a record touches it, says whether the
 * trace has touched the frame, and which live block it is part of. Blocks of order 0 to 9 are aligned
 * to their size, so each lies in one pageblock.
 */
#include "machine/trace.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "machine/trace_format.h"

/* Values of a frame's word; a live one is LIVE + the slot of its block. */
enum { UNTOUCHED = 0, TOUCHED = 1, LIVE = 2 };

/* A live block that the trace didn't allocate has this in place of its record. */
#define BEFORE_THE_TRACE UINT32_MAX

struct block {
    uint32_t pfn;
    uint32_t record;
    uint8_t order;
    uint8_t flags;
};

struct pairing {
    const struct pleat_trace *trace;
    uint32_t **pageblocks;
    size_t pageblock_count;
    struct pleat_slots slots;
    /* By slot. */
    struct block *blocks;
    size_t block_capacity;
};

/* What a record turns out to be. */
enum outcome {
    ALLOCATED,
    FREED,
    /* The block was there before the trace. */
    FREED_BEFORE,
    /* The kernel took the frames in bulk. */
    FREED_BULK
};

static int no_memory(const struct pleat_trace *trace, struct pleat_message *message)
{
    return pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s: no memory to pair its %llu records",
                             trace->name, (unsigned long long)trace->records);
}

static int pairing_begin(struct pairing *pairing, const struct pleat_trace *trace,
                         struct pleat_message *message)
{
    *pairing = (struct pairing){.trace = trace};
    pairing->pageblock_count =
        (trace->pfn_limit + (size_t)PLEAT_PAGEBLOCK_FRAMES - 1) / PLEAT_PAGEBLOCK_FRAMES;
    pairing->pageblocks = calloc(pairing->pageblock_count, sizeof(*pairing->pageblocks));
    pairing->block_capacity = 1024;
    pairing->blocks = calloc(pairing->block_capacity, sizeof(*pairing->blocks));
    return pairing->pageblocks && pairing->blocks ? PLEAT_OK : no_memory(trace, message);
}

static void pairing_end(struct pairing *pairing)
{
    for (size_t i = 0; pairing->pageblocks && i < pairing->pageblock_count; i++)
        free(pairing->pageblocks[i]);
    free(pairing->pageblocks);
    free(pairing->blocks);
    pleat_slots_free(&pairing->slots);
}

/* The words of the block's frames; NULL if no memory is left. */
static uint32_t *words_of(struct pairing *pairing, uint32_t pfn)
{
    uint32_t **pageblock = &pairing->pageblocks[pfn / PLEAT_PAGEBLOCK_FRAMES];
    if (!*pageblock)
        *pageblock = calloc(PLEAT_PAGEBLOCK_FRAMES, sizeof(**pageblock));
    return *pageblock ? *pageblock + pfn % PLEAT_PAGEBLOCK_FRAMES : NULL;
}

static uint32_t greatest_word(const uint32_t *words, unsigned order)
{
    uint32_t greatest = 0;
    for (unsigned i = 0; i < 1u << order; i++)
        greatest = words[i] > greatest ? words[i] : greatest;
    return greatest;
}

static void set_words(uint32_t *words, unsigned order, uint32_t value)
{
    for (unsigned i = 0; i < 1u << order; i++)
        words[i] = value;
}

/* Makes a block live in a new slot; its frames must not be live. */
static int insert(struct pairing *pairing, const struct block *block, uint32_t *slot,
                  struct pleat_message *message)
{
    uint32_t *words = words_of(pairing, block->pfn);
    if (!words || pleat_slots_take(&pairing->slots, slot))
        return no_memory(pairing->trace, message);
    if (*slot >= pairing->block_capacity) {
        size_t capacity = pairing->block_capacity * 2;
        struct block *blocks = realloc(pairing->blocks, capacity * sizeof(*blocks));
        if (!blocks)
            return no_memory(pairing->trace, message);
        pairing->blocks = blocks;
        pairing->block_capacity = capacity;
    }
    pairing->blocks[*slot] = *block;
    set_words(words, block->order, LIVE + *slot);
    return PLEAT_OK;
}

/* The record contradicts a block that is live. */
static int refuse_record(const struct pairing *pairing, const struct pleat_trace_record *record,
                         uint64_t index, uint32_t word, struct pleat_message *message)
{
    const struct block *block = &pairing->blocks[word - LIVE];
    char since[40] = "before the trace";
    if (block->record != BEFORE_THE_TRACE)
        snprintf(since, sizeof(since), "record %u", block->record);
    return pleat_message_set(message, PLEAT_E_PROTOCOL,
                             "%s: offset %zu: record %llu %s PFN %u order %u, which meets the block at PFN "
                             "%u order %u, live since %s, "
                             "expected %s",
                             pairing->trace->name,
                             pleat_trace_offset(pairing->trace->records, PLEAT_TRACE_PFN, index),
                             (unsigned long long)index, record->is_free ? "frees" : "allocates", record->pfn,
                             record->order, block->pfn, block->order, since,
                             record->is_free ? "the same PFN and order, or no live frame" : "no live frame");
}

static int pair(struct pairing *pairing, const struct pleat_trace_record *record, uint64_t index,
                enum outcome *outcome, uint32_t *slot, struct pleat_message *message)
{
    uint32_t *words = words_of(pairing, record->pfn);
    if (!words)
        return no_memory(pairing->trace, message);
    uint32_t word = greatest_word(words, record->order);
    /* A live frame has a block. */
    assert(word < LIVE || pairing->blocks);
    if (!record->is_free) {
        if (word >= LIVE)
            return refuse_record(pairing, record, index, word, message);
        *outcome = ALLOCATED;
        struct block block = {record->pfn, (uint32_t)index, record->order, record->flags};
        return insert(pairing, &block, slot, message);
    }
    if (word >= LIVE) {
        *slot = word - LIVE;
        const struct block *block = &pairing->blocks[*slot];
        if (block->pfn != record->pfn || block->order != record->order)
            return refuse_record(pairing, record, index, word, message);
        if (pleat_slots_give(&pairing->slots, *slot))
            return no_memory(pairing->trace, message);
        *outcome = FREED;
    } else {
        *outcome = word == UNTOUCHED ? FREED_BEFORE : FREED_BULK;
    }
    set_words(words, record->order, TOUCHED);
    return PLEAT_OK;
}

/* ---- counts ---- */

static int summarize(struct pairing *pairing, struct pleat_trace_summary *summary,
                     struct pleat_message *message)
{
    struct pleat_trace_cursor cursor = {.trace = pairing->trace};
    struct pleat_trace_record record;
    uint64_t before_freed_frames = 0;
    /* The most of: live frames less those from before that are gone. */
    int64_t greatest = 0;
    for (uint64_t i = 0; pleat_trace_next(&cursor, &record); i++) {
        enum outcome outcome;
        uint32_t slot;
        int error = pair(pairing, &record, i, &outcome, &slot, message);
        if (error)
            return error;
        struct pleat_operation operation = {
            .flags = record.flags, .order = record.order, .is_free = record.is_free};
        if (outcome == FREED_BEFORE) {
            summary->before_blocks++;
            before_freed_frames += (uint64_t)1 << record.order;
        } else if (outcome == FREED_BULK) {
            summary->skipped_frees++;
        } else {
            pleat_operation_counts_add(&summary->counts, &operation);
        }
        int64_t now = (int64_t)(summary->counts.live_frames - before_freed_frames);
        greatest = now > greatest ? now : greatest;
        summary->duration_ns = record.time_ns;
    }
    summary->records = pairing->trace->records;
    summary->paired_frees = summary->counts.frees;
    summary->before_frames = before_freed_frames;
    summary->peak_live_frames_with_before = before_freed_frames + (uint64_t)greatest;
    return PLEAT_OK;
}

int pleat_trace_summarize(const struct pleat_trace *trace, struct pleat_trace_summary *summary,
                          struct pleat_message *message)
{
    struct pairing pairing;
    struct pleat_trace_summary result = {0};
    int error = pairing_begin(&pairing, trace, message);
    if (!error)
        error = summarize(&pairing, &result, message);
    pairing_end(&pairing);
    if (!error)
        *summary = result;
    return error;
}

/* ---- blocks from before the trace ---- */

struct block_list {
    struct block *items;
    size_t count, capacity;
};

static int append(struct block_list *list, const struct block *block)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 1024;
        struct block *items = realloc(list->items, capacity * sizeof(*items));
        if (!items)
            return PLEAT_E_NO_MEMORY;
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = *block;
    return PLEAT_OK;
}

/* What record frees, as a block of which only that is known. */
static struct block block_from_before(const struct pleat_trace_record *record)
{
    return (struct block){record->pfn, BEFORE_THE_TRACE, record->order, PLEAT_MOVABLE};
}

static int by_pfn(const void *a, const void *b)
{
    uint32_t left = ((const struct block *)a)->pfn, right = ((const struct block *)b)->pfn;
    return (left > right) - (left < right);
}

static int by_record(const void *a, const void *b)
{
    uint32_t left = ((const struct block *)a)->record, right = ((const struct block *)b)->record;
    return (left > right) - (left < right);
}

static void sort(struct block_list *list, int (*compare)(const void *, const void *))
{
    if (list->count)
        qsort(list->items, list->count, sizeof(*list->items), compare);
}

/* ---- operations ---- */

/* Finds what is freed in the trace and was allocated before it. */
static int find_before(struct pairing *pairing, struct block_list *before, struct pleat_message *message)
{
    struct pleat_trace_cursor cursor = {.trace = pairing->trace};
    struct pleat_trace_record record;
    for (uint64_t i = 0; pleat_trace_next(&cursor, &record); i++) {
        enum outcome outcome;
        uint32_t slot;
        int error = pair(pairing, &record, i, &outcome, &slot, message);
        if (error)
            return error;
        struct block block = block_from_before(&record);
        if (outcome == FREED_BEFORE && append(before, &block))
            return no_memory(pairing->trace, message);
    }
    sort(before, by_pfn);
    return PLEAT_OK;
}

/* Appends the operations, with the blocks from before already known to be live. */
static int fill(struct pairing *pairing, const struct block_list *before, struct pleat_operations *operations,
                struct pleat_message *message)
{
    for (size_t i = 0; i < before->count; i++) {
        struct pleat_operation operation = {.flags = before->items[i].flags, .order = before->items[i].order};
        int error = insert(pairing, &before->items[i], &operation.slot, message);
        if (error)
            return error;
        if (pleat_operations_append(operations, &operation, 0))
            return no_memory(pairing->trace, message);
    }
    operations->before = before->count;
    struct pleat_trace_cursor cursor = {.trace = pairing->trace};
    struct pleat_trace_record record;
    for (uint64_t i = 0; pleat_trace_next(&cursor, &record); i++) {
        enum outcome outcome;
        struct pleat_operation operation = {
            .order = record.order, .cpu = record.cpu, .is_free = record.is_free};
        int error = pair(pairing, &record, i, &outcome, &operation.slot, message);
        if (error)
            return error;
        if (outcome != ALLOCATED && outcome != FREED)
            continue;
        operation.flags = pairing->blocks[operation.slot].flags;
        if (pleat_operations_append(operations, &operation, record.time_ns))
            return no_memory(pairing->trace, message);
    }
    return PLEAT_OK;
}

int pleat_trace_prepare(const struct pleat_trace *trace, struct pleat_operations *operations,
                        struct pleat_message *message)
{
    struct pairing first, second;
    struct block_list before = {0};
    *operations = (struct pleat_operations){0};
    int error = pairing_begin(&first, trace, message);
    if (!error)
        error = find_before(&first, &before, message);
    pairing_end(&first);
    if (!error) {
        error = pairing_begin(&second, trace, message);
        if (!error)
            error = fill(&second, &before, operations, message);
        pairing_end(&second);
    }
    free(before.items);
    if (error)
        pleat_operations_free(operations);
    return error;
}

/* ---- cutting ---- */

/* What a cut is made of: blocks to allocate at its start, and the records of the window to keep. */
struct window {
    uint64_t first, end;
    /* Allocated before the trace and freed after the window, by frame number. */
    struct block_list unknown;
    /* Allocated by the trace before the window, and live when it opens, by record. */
    struct block_list known;
    /* A bit for each record of the window: it is kept. */
    unsigned char *kept;
    uint64_t kept_count;
};

static int collect_live(const struct pairing *pairing, struct block_list *list)
{
    for (size_t p = 0; p < pairing->pageblock_count; p++) {
        const uint32_t *words = pairing->pageblocks[p];
        for (uint32_t i = 0; words && i < PLEAT_PAGEBLOCK_FRAMES; i++) {
            if (words[i] < LIVE)
                continue;
            const struct block *block = &pairing->blocks[words[i] - LIVE];
            if (append(list, block))
                return PLEAT_E_NO_MEMORY;
            i += (1u << block->order) - 1;
        }
    }
    sort(list, by_record);
    return PLEAT_OK;
}

static int look_through(struct pairing *pairing, struct window *window, struct pleat_message *message)
{
    struct pleat_trace_cursor cursor = {.trace = pairing->trace};
    struct pleat_trace_record record;
    for (uint64_t i = 0; pleat_trace_next(&cursor, &record); i++) {
        enum outcome outcome;
        uint32_t slot;
        if (i == window->first && collect_live(pairing, &window->known))
            return no_memory(pairing->trace, message);
        int error = pair(pairing, &record, i, &outcome, &slot, message);
        if (error)
            return error;
        struct block block = block_from_before(&record);
        if (outcome == FREED_BEFORE && i >= window->end && append(&window->unknown, &block))
            return no_memory(pairing->trace, message);
        if (i >= window->first && i < window->end && outcome != FREED_BULK) {
            window->kept[(i - window->first) / 8] |= (unsigned char)(1u << ((i - window->first) % 8));
            window->kept_count++;
        }
    }
    sort(&window->unknown, by_pfn);
    return PLEAT_OK;
}

/* The palette entry for blocks of which only the place is known: movable, any zone. A full palette without
 * such an entry has to do with its first. */
static unsigned char find_movable(struct pleat_trace *header)
{
    for (uint32_t i = 0; i < header->palette_entries; i++) {
        if (pleat_trace_flags(header->palette[i]) == PLEAT_MOVABLE)
            return (unsigned char)i;
    }
    if (header->palette_entries == PLEAT_TRACE_PALETTE_ENTRIES)
        return 0;
    header->palette[header->palette_entries] = 1u << 28 | PLEAT_GFP_MOVABLE;
    return (unsigned char)header->palette_entries++;
}

/* Copies the entries of one record from a trace to another. */
static void copy_record(unsigned char *to, uint64_t to_records, uint64_t to_index,
                        const struct pleat_trace *from, uint64_t from_index, uint32_t dt)
{
    static const uint8_t entry_bytes[] = {4, 4, 4, 1, 1, 1};
    for (enum pleat_trace_column column = PLEAT_TRACE_PFN; column <= PLEAT_TRACE_GFP; column++)
        memcpy(to + pleat_trace_offset(to_records, column, to_index),
               from->bytes + pleat_trace_offset(from->records, column, from_index), entry_bytes[column]);
    pleat_trace_put_u32(to + pleat_trace_offset(to_records, PLEAT_TRACE_DT, to_index), dt);
}

static int write_cut(const struct pleat_trace *trace, const struct window *window, struct pleat_trace *cut,
                     struct pleat_message *message)
{
    struct pleat_trace header = *trace;
    uint64_t n = header.records = window->unknown.count + window->known.count + window->kept_count;
    unsigned char movable = window->unknown.count ? find_movable(&header) : 0;
    size_t count = PLEAT_TRACE_COLUMNS_AT + (size_t)n * PLEAT_TRACE_RECORD_BYTES;
    unsigned char *bytes = calloc(count, 1);
    if (!bytes)
        return no_memory(trace, message);
    uint64_t out = 0;
    for (size_t i = 0; i < window->unknown.count; i++, out++) {
        pleat_trace_put_u32(bytes + pleat_trace_offset(n, PLEAT_TRACE_PFN, out),
                            window->unknown.items[i].pfn);
        bytes[pleat_trace_offset(n, PLEAT_TRACE_ORDER, out)] = window->unknown.items[i].order;
        bytes[pleat_trace_offset(n, PLEAT_TRACE_GFP, out)] = movable;
    }
    for (size_t i = 0; i < window->known.count; i++, out++)
        copy_record(bytes, n, out, trace, window->known.items[i].record, 0);
    struct pleat_trace_cursor cursor = {.trace = trace};
    struct pleat_trace_record record;
    uint64_t last_units = 0;
    for (uint64_t i = 0; i < window->end && pleat_trace_next(&cursor, &record); i++) {
        if (i == window->first) {
            last_units = cursor.time_units;
            header.start_ns = trace->start_ns + record.time_ns;
        }
        if (i < window->first || !(window->kept[(i - window->first) / 8] >> ((i - window->first) % 8) & 1))
            continue;
        /* Where records are left out their time is the next one's; it could get too long only by intent. */
        uint64_t units = cursor.time_units - last_units;
        copy_record(bytes, n, out++, trace, i, units < UINT32_MAX ? (uint32_t)units : UINT32_MAX);
        last_units = cursor.time_units;
    }
    pleat_trace_put_header(bytes, &header);
    return pleat_trace_adopt(cut, trace->name, bytes, count, message);
}

int pleat_trace_cut(const struct pleat_trace *trace, uint64_t first, uint64_t count, struct pleat_trace *cut,
                    struct pleat_message *message)
{
    *cut = (struct pleat_trace){0};
    if (first >= trace->records || count == 0)
        return pleat_message_set(
            message, PLEAT_E_INVALID,
            "%s: a window of %llu records from record %llu on is empty, expected one in its "
            "%llu records",
            trace->name, (unsigned long long)count, (unsigned long long)first,
            (unsigned long long)trace->records);
    struct window window = {.first = first, .end = trace->records};
    if (count < trace->records - first)
        window.end = first + count;
    struct pairing pairing = {0};
    window.kept = calloc((size_t)(window.end - first + 7) / 8, 1);
    int error = window.kept ? pairing_begin(&pairing, trace, message) : no_memory(trace, message);
    if (!error)
        error = look_through(&pairing, &window, message);
    if (!error)
        error = write_cut(trace, &window, cut, message);
    pairing_end(&pairing);
    free(window.unknown.items);
    free(window.known.items);
    free(window.kept);
    return error;
}
