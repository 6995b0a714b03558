/* SPDX-License-Identifier: MIT
 *
 * The file format of recorded traces: reading it from a file that isn't trusted, and compressing it.
 *
 * The size of a trace follows from the number of its records. A plain file is held against that size
 * at once. How much a compressed one holds is known only when it has been decompressed, so its buffer
 * grows with what came out of it and never to what a header claims.
 */
#include "machine/trace.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine/trace_format.h"

/* The largest dictionary of `xz -9` is 64 MiB. */
#define DECODER_MEMORY_MAX ((uint64_t)80 << 20)

static const unsigned char magic[8] = {'P', 'G', 'T', 'R', 'A', 'C', 'E', '2'};
static const unsigned char xz_magic[6] = {0xfd, '7', 'z', 'X', 'Z', 0};

uint32_t pleat_trace_get_u32(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

void pleat_trace_put_u32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t get_u64(const unsigned char *at)
{
    return pleat_trace_get_u32(at) | (uint64_t)pleat_trace_get_u32(at + 4) << 32;
}

static void put_u64(unsigned char *at, uint64_t value)
{
    pleat_trace_put_u32(at, (uint32_t)value);
    pleat_trace_put_u32(at + 4, (uint32_t)(value >> 32));
}

static int no_memory(const char *name, size_t bytes, struct pleat_message *message)
{
    return pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s: no memory for %zu bytes", name, bytes);
}

/* ---- what each field may be ---- */

static int refuse_field(const char *name, size_t offset, const char *field, uint64_t found,
                        const char *expected, uint64_t limit, struct pleat_message *message)
{
    return pleat_message_set(message, PLEAT_E_PROTOCOL, "%s: offset %zu: %s is %llu, expected %s %llu", name,
                             offset, field, (unsigned long long)found, expected, (unsigned long long)limit);
}

static int check_range(const char *name, size_t offset, const char *field, uint64_t found, uint64_t least,
                       uint64_t most, struct pleat_message *message)
{
    if (found < least)
        return refuse_field(name, offset, field, found, "at least", least, message);
    if (found > most)
        return refuse_field(name, offset, field, found, "at most", most, message);
    return PLEAT_OK;
}

/* Reads and checks the 64 bytes at the start of a trace. */
static int read_header(struct pleat_trace *trace, const char *name, const unsigned char *bytes, size_t count,
                       struct pleat_message *message)
{
    const uint64_t records_max = (PLEAT_TRACE_BYTES_MAX - PLEAT_TRACE_COLUMNS_AT) / PLEAT_TRACE_RECORD_BYTES;
    if (count < PLEAT_TRACE_HEADER_BYTES)
        return refuse_field(name, count, "size of the file", count, "at least", PLEAT_TRACE_COLUMNS_AT,
                            message);
    if (memcmp(bytes, magic, sizeof(magic)) != 0) {
        char quoted[PLEAT_QUOTE_BYTES];
        return pleat_message_set(message, PLEAT_E_PROTOCOL,
                                 "%s: offset 0: magic is %s, expected 'PGTRACE2' (or an .xz file of it)",
                                 name, pleat_quote_bytes(quoted, (const char *)bytes, sizeof(magic)));
    }
    trace->records = get_u64(bytes + 8);
    trace->start_ns = get_u64(bytes + 16);
    trace->cpus = pleat_trace_get_u32(bytes + 24);
    trace->pfn_limit = pleat_trace_get_u32(bytes + 28);
    trace->palette_entries = pleat_trace_get_u32(bytes + 32);
    trace->unit_ns = pleat_trace_get_u32(bytes + 36);
    int error = check_range(name, 8, "number of records", trace->records, 1, records_max, message);
    if (!error)
        error = check_range(name, 24, "number of CPUs", trace->cpus, 1, PLEAT_TRACE_CPUS_MAX, message);
    if (!error)
        error =
            check_range(name, 28, "highest PFN + 1", trace->pfn_limit, 1, PLEAT_TRACE_PFN_LIMIT_MAX, message);
    if (!error)
        error = check_range(name, 32, "number of palette entries", trace->palette_entries, 0,
                            PLEAT_TRACE_PALETTE_ENTRIES, message);
    if (!error)
        error = check_range(name, 36, "nanoseconds per time unit", trace->unit_ns, 1, 1000000000, message);
    for (size_t at = 40; at < PLEAT_TRACE_HEADER_BYTES && !error; at++)
        error = check_range(name, at, "reserved byte", bytes[at], 0, 0, message);
    return error;
}

static size_t expected_bytes(const struct pleat_trace *trace)
{
    return PLEAT_TRACE_COLUMNS_AT + (size_t)trace->records * PLEAT_TRACE_RECORD_BYTES;
}

static int check_size(const struct pleat_trace *trace, const char *name, size_t found,
                      struct pleat_message *message)
{
    if (found == expected_bytes(trace))
        return PLEAT_OK;
    return pleat_message_set(
        message, PLEAT_E_PROTOCOL,
        "%s: offset %zu: size of the trace is %s%zu bytes, expected %zu for %llu records", name,
        found < expected_bytes(trace) ? found : expected_bytes(trace),
        found > expected_bytes(trace) ? "at least " : "", found, expected_bytes(trace),
        (unsigned long long)trace->records);
}

static int check_palette(struct pleat_trace *trace, struct pleat_message *message)
{
    for (uint32_t i = 0; i < PLEAT_TRACE_PALETTE_ENTRIES; i++) {
        size_t offset = PLEAT_TRACE_HEADER_BYTES + 4 * (size_t)i;
        trace->palette[i] = pleat_trace_get_u32(trace->bytes + offset);
        int error = check_range(trace->name, offset, "migrate type of a palette entry",
                                trace->palette[i] >> 28, 0, 2, message);
        if (error)
            return error;
    }
    return PLEAT_OK;
}

/* Names a field of record I as a message does. */
static int check_in_record(const struct pleat_trace *trace, uint64_t i, enum pleat_trace_column column,
                           const char *field, uint64_t found, uint64_t least, uint64_t most,
                           struct pleat_message *message)
{
    if (found >= least && found <= most)
        return PLEAT_OK;
    char text[64];
    snprintf(text, sizeof(text), "%s of record %llu", field, (unsigned long long)i);
    return check_range(trace->name, pleat_trace_offset(trace->records, column, i), text, found, least, most,
                       message);
}

static int check_record(const struct pleat_trace *trace, uint64_t i, struct pleat_message *message)
{
    const unsigned char *bytes = trace->bytes;
    uint64_t n = trace->records;
    unsigned kind = bytes[pleat_trace_offset(n, PLEAT_TRACE_KIND, i)];
    unsigned order = bytes[pleat_trace_offset(n, PLEAT_TRACE_ORDER, i)];
    unsigned gfp = bytes[pleat_trace_offset(n, PLEAT_TRACE_GFP, i)];
    uint32_t pfn = pleat_trace_get_u32(bytes + pleat_trace_offset(n, PLEAT_TRACE_PFN, i));
    int error = check_in_record(trace, i, PLEAT_TRACE_KIND, "kind", kind & 15, 0, 1, message);
    if (!error)
        error = check_in_record(trace, i, PLEAT_TRACE_KIND, "CPU", kind >> 4, 0, trace->cpus - 1, message);
    if (!error)
        error = check_in_record(trace, i, PLEAT_TRACE_ORDER, "order", order, 0, PLEAT_OPERATION_ORDERS - 1,
                                message);
    if (!error)
        error = check_in_record(trace, i, PLEAT_TRACE_PFN, "last PFN", pfn + ((uint64_t)1 << order) - 1, 0,
                                trace->pfn_limit - 1, message);
    if (!error)
        error = check_in_record(trace, i, PLEAT_TRACE_PFN, "PFN modulo the size of its block",
                                pfn & ((1u << order) - 1), 0, 0, message);
    if (error)
        return error;
    if (kind & 1)
        return check_in_record(trace, i, PLEAT_TRACE_GFP, "palette index of a free", gfp, 255, 255, message);
    if (trace->palette_entries == 0)
        return pleat_message_set(message, PLEAT_E_PROTOCOL,
                                 "%s: offset 32: number of palette entries is 0, expected at least 1 for the "
                                 "allocation in record %llu",
                                 trace->name, (unsigned long long)i);
    return check_in_record(trace, i, PLEAT_TRACE_GFP, "palette index", gfp, 0, trace->palette_entries - 1,
                           message);
}

/* Takes BYTES (from malloc) over, checks all that can be seen in a record by itself. */
int pleat_trace_adopt(struct pleat_trace *trace, const char *name, unsigned char *bytes, size_t count,
                      struct pleat_message *message)
{
    *trace = (struct pleat_trace){.bytes = bytes, .bytes_count = count, .name = strdup(name)};
    int error = trace->name ? PLEAT_OK : no_memory(name, strlen(name), message);
    if (!error)
        error = read_header(trace, name, bytes, count, message);
    if (!error)
        error = check_size(trace, name, count, message);
    if (!error)
        error = check_palette(trace, message);
    uint64_t units = 0;
    for (uint64_t i = 0; i < trace->records && !error; i++) {
        error = check_record(trace, i, message);
        if (!error)
            units += pleat_trace_get_u32(bytes + pleat_trace_offset(trace->records, PLEAT_TRACE_DT, i));
    }
    /* The sum can't overflow: fewer than 2^27 records of less than 2^32 units. Its product can. */
    if (!error && units > UINT64_MAX / trace->unit_ns)
        error = check_range(name, PLEAT_TRACE_COLUMNS_AT, "sum of all time units", units, 0,
                            UINT64_MAX / trace->unit_ns, message);
    if (error)
        pleat_trace_free(trace);
    return error;
}

/* ---- files ---- */

static const char *decoder_error(lzma_ret result)
{
    switch (result) {
    case LZMA_MEMLIMIT_ERROR:
        return "a dictionary of more than 64 MiB, expected what xz -9 makes or less";
    case LZMA_DATA_ERROR:
        return "damaged data, expected intact checksums";
    case LZMA_BUF_ERROR:
        return "the end of the file, expected more";
    case LZMA_FORMAT_ERROR:
        return "something else after the end, expected nothing";
    case LZMA_OPTIONS_ERROR:
        return "options that this xz library doesn't know";
    case LZMA_MEM_ERROR:
        return "no memory for the decoder";
    default:
        return "an error of the decoder";
    }
}

/* A growing buffer of decompressed bytes. */
struct output {
    unsigned char *bytes;
    size_t count, capacity;
};

/* Decodes until COUNT bytes are there in all or the stream ends; memory follows what came out. */
static lzma_ret decode_up_to(lzma_stream *stream, struct output *output, size_t count)
{
    lzma_ret result = LZMA_OK;
    while (result == LZMA_OK && output->count < count) {
        if (output->count == output->capacity) {
            size_t capacity = output->capacity ? output->capacity * 2 : 65536;
            unsigned char *bytes = realloc(output->bytes, capacity);
            if (!bytes)
                return LZMA_MEM_ERROR;
            output->bytes = bytes;
            output->capacity = capacity;
        }
        size_t room = output->capacity < count ? output->capacity : count;
        stream->next_out = output->bytes + output->count;
        stream->avail_out = room - output->count;
        result = lzma_code(stream, LZMA_FINISH);
        output->count = room - stream->avail_out;
    }
    return result;
}

static int decode(const char *name, const unsigned char *bytes, size_t count, struct output *output,
                  struct pleat_message *message)
{
    lzma_stream stream = LZMA_STREAM_INIT;
    struct pleat_trace header = {0};
    if (lzma_stream_decoder(&stream, DECODER_MEMORY_MAX, LZMA_CONCATENATED) != LZMA_OK) {
        pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s: no memory for the .xz decoder", name);
        return PLEAT_E_NO_MEMORY;
    }
    stream.next_in = bytes;
    stream.avail_in = count;
    int error = PLEAT_OK;
    lzma_ret result = decode_up_to(&stream, output, PLEAT_TRACE_COLUMNS_AT);
    if (result == LZMA_OK) {
        error = read_header(&header, name, output->bytes, output->count, message);
        /* One more than expected is room to see that there is more. */
        if (!error)
            result = decode_up_to(&stream, output, expected_bytes(&header) + 1);
    }
    if (!error && result == LZMA_OK)
        error = check_size(&header, name, output->count, message);
    else if (!error && result != LZMA_STREAM_END)
        error = pleat_message_set(message, result == LZMA_MEM_ERROR ? PLEAT_E_NO_MEMORY : PLEAT_E_PROTOCOL,
                                  "%s: offset %zu of the .xz file, after %zu bytes of trace: found %s", name,
                                  count - stream.avail_in, output->count, decoder_error(result));
    lzma_end(&stream);
    return error;
}

/* Decodes or takes over BYTES of a file, in any case from malloc and no longer the caller's. */
static int adopt_file(struct pleat_trace *trace, const char *name, unsigned char *bytes, size_t count,
                      struct pleat_message *message)
{
    if (count < sizeof(xz_magic) || memcmp(bytes, xz_magic, sizeof(xz_magic)) != 0)
        return pleat_trace_adopt(trace, name, bytes, count, message);
    struct output output = {0};
    int error = decode(name, bytes, count, &output, message);
    free(bytes);
    /* The end of the stream can't be reached without decoding. */
    assert(error || output.bytes);
    if (!error)
        return pleat_trace_adopt(trace, name, output.bytes, output.count, message);
    free(output.bytes);
    return error;
}

int pleat_trace_load_bytes(struct pleat_trace *trace, const char *name, const void *bytes, size_t count,
                           struct pleat_message *message)
{
    *trace = (struct pleat_trace){0};
    unsigned char *copy = malloc(count ? count : 1);
    if (!copy)
        return no_memory(name, count, message);
    memcpy(copy, bytes, count);
    return adopt_file(trace, name, copy, count, message);
}

/* Reads COUNT bytes; on an error says which. */
static int read_all(int file, const char *path, unsigned char *bytes, size_t count,
                    struct pleat_message *message)
{
    for (size_t done = 0; done < count;) {
        ssize_t got = read(file, bytes + done, count - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return pleat_message_set(message, PLEAT_E_NOT_FOUND, "%s: offset %zu: can't be read: %s", path,
                                     done, strerror(errno));
        if (got == 0)
            return pleat_message_set(message, PLEAT_E_PROTOCOL,
                                     "%s: offset %zu: the file ended, expected %zu bytes", path, done, count);
        done += (size_t)got;
    }
    return PLEAT_OK;
}

static int load_open_file(struct pleat_trace *trace, int file, const char *path,
                          struct pleat_message *message)
{
    struct stat about;
    if (fstat(file, &about))
        return pleat_message_set(message, PLEAT_E_NOT_FOUND, "%s: %s", path, strerror(errno));
    if (!S_ISREG(about.st_mode))
        return pleat_message_set(message, PLEAT_E_NOT_FOUND, "%s: expected a regular file", path);
    size_t count = (size_t)about.st_size;
    if (count > PLEAT_TRACE_BYTES_MAX)
        return refuse_field(path, 0, "size of the file", count, "at most", PLEAT_TRACE_BYTES_MAX, message);
    unsigned char *bytes = malloc(count ? count : 1);
    if (!bytes)
        return no_memory(path, count, message);
    int error = read_all(file, path, bytes, count, message);
    if (!error)
        return adopt_file(trace, path, bytes, count, message);
    free(bytes);
    return error;
}

int pleat_trace_load(struct pleat_trace *trace, const char *path, struct pleat_message *message)
{
    *trace = (struct pleat_trace){0};
    /* Without O_NONBLOCK a FIFO would hold us here until somebody writes to it. */
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return pleat_message_set(message, PLEAT_E_NOT_FOUND, "%s: %s", path, strerror(errno));
    int error = load_open_file(trace, file, path, message);
    close(file);
    return error;
}

void pleat_trace_free(struct pleat_trace *trace)
{
    free(trace->bytes);
    free(trace->name);
    *trace = (struct pleat_trace){0};
}

/* ---- records ---- */

uint8_t pleat_trace_flags(uint32_t palette_entry)
{
    static const uint8_t mobility_of[4] = {PLEAT_UNMOVABLE, PLEAT_MOVABLE, PLEAT_RECLAIMABLE,
                                           PLEAT_UNMOVABLE};
    uint8_t flags = mobility_of[palette_entry >> 28 & 3];
    if (palette_entry & PLEAT_GFP_DMA)
        flags |= PLEAT_ALLOC_DMA;
    else if (palette_entry & PLEAT_GFP_DMA32)
        flags |= PLEAT_ALLOC_DMA32;
    return flags;
}

bool pleat_trace_next(struct pleat_trace_cursor *cursor, struct pleat_trace_record *record)
{
    const struct pleat_trace *trace = cursor->trace;
    uint64_t i = cursor->next, n = trace->records;
    if (i >= n)
        return false;
    const unsigned char *bytes = trace->bytes;
    unsigned kind = bytes[pleat_trace_offset(n, PLEAT_TRACE_KIND, i)];
    unsigned gfp = bytes[pleat_trace_offset(n, PLEAT_TRACE_GFP, i)];
    cursor->time_units += pleat_trace_get_u32(bytes + pleat_trace_offset(n, PLEAT_TRACE_DT, i));
    cursor->next++;
    *record = (struct pleat_trace_record){
        .time_ns = cursor->time_units * trace->unit_ns,
        .pfn = pleat_trace_get_u32(bytes + pleat_trace_offset(n, PLEAT_TRACE_PFN, i)),
        .thread = pleat_trace_get_u32(bytes + pleat_trace_offset(n, PLEAT_TRACE_THREAD, i)),
        .cpu = (uint8_t)(kind >> 4),
        .order = bytes[pleat_trace_offset(n, PLEAT_TRACE_ORDER, i)],
        .is_free = kind & 1,
    };
    if (!record->is_free) {
        record->palette_index = (uint8_t)gfp;
        record->gfp = trace->palette[gfp] & PLEAT_GFP_MASK;
        record->flags = pleat_trace_flags(trace->palette[gfp]);
    }
    return true;
}

/* ---- writing ---- */

void pleat_trace_put_header(unsigned char *bytes, const struct pleat_trace *trace)
{
    memset(bytes, 0, PLEAT_TRACE_COLUMNS_AT);
    memcpy(bytes, magic, sizeof(magic));
    put_u64(bytes + 8, trace->records);
    put_u64(bytes + 16, trace->start_ns);
    pleat_trace_put_u32(bytes + 24, trace->cpus);
    pleat_trace_put_u32(bytes + 28, trace->pfn_limit);
    pleat_trace_put_u32(bytes + 32, trace->palette_entries);
    pleat_trace_put_u32(bytes + 36, trace->unit_ns);
    for (size_t i = 0; i < trace->palette_entries; i++)
        pleat_trace_put_u32(bytes + PLEAT_TRACE_HEADER_BYTES + 4 * i, trace->palette[i]);
}

int pleat_trace_compress(const struct pleat_trace *trace, unsigned char **bytes, size_t *count,
                         struct pleat_message *message)
{
    lzma_options_lzma options;
    lzma_filter filters[] = {{.id = LZMA_FILTER_LZMA2, .options = &options},
                             {.id = LZMA_VLI_UNKNOWN, .options = NULL}};
    lzma_lzma_preset(&options, 9 | LZMA_PRESET_EXTREME);
    /* A dictionary larger than the data only takes memory, here and where it is read. */
    if (options.dict_size > trace->bytes_count)
        options.dict_size = (uint32_t)trace->bytes_count;
    if (options.dict_size < LZMA_DICT_SIZE_MIN)
        options.dict_size = LZMA_DICT_SIZE_MIN;
    size_t bound = lzma_stream_buffer_bound(trace->bytes_count), used = 0;
    unsigned char *out = malloc(bound);
    if (!out || lzma_stream_buffer_encode(filters, LZMA_CHECK_CRC64, NULL, trace->bytes, trace->bytes_count,
                                          out, &used, bound) != LZMA_OK) {
        free(out);
        return no_memory(trace->name, bound, message);
    }
    *bytes = out;
    *count = used;
    return PLEAT_OK;
}
