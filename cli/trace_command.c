/* SPDX-License-Identifier: MIT
 *
 * `pleat trace`: what is in a recorded trace, and shorter ones cut out of it.
 */
#include "cli/command.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine/options.h"
#include "machine/trace.h"

static const char help_text[] =
    "Usage: pleat trace info FILE\n"
    "       pleat trace cut IN OUT [--skip N] (--records N | --max-bytes SIZE)\n"
    "\n"
    "Page-allocation traces, recorded on Linux, plain (.ptr) or compressed (.ptr.xz).\n"
    "\n"
    "  info   checks FILE and prints what is in it.\n"
    "  cut    writes a window of IN to OUT, compressed. Blocks that are live when the\n"
    "         window opens are allocated at its start, so that the cut has as many live\n"
    "         frames as the whole trace had at that time; they come on top of the\n"
    "         records asked for. OUT is replaced only by a cut that is complete.\n"
    "\n"
    "Options of cut:\n"
    "  --skip N          records before the window (default 0)\n"
    "  --records N       records in the window\n"
    "  --max-bytes SIZE  as many records as fit into a file of SIZE, to a few percent;\n"
    "                    suffixes K, M, G\n";

/* ---- info ---- */

static void print_record_counts(const struct pleat_trace *trace, const struct pleat_trace_summary *summary)
{
    printf("records               %" PRIu64 "\n", trace->records);
    printf("duration              %.3f s\n", (double)summary->duration_ns / 1e9);
    printf("CPUs                  %" PRIu32 "\n", trace->cpus);
    printf("highest PFN           %" PRIu32 "\n", trace->pfn_limit - 1);
    printf("allocations           %" PRIu64 "\n", summary->counts.allocations);
    printf("frees of those        %" PRIu64 "\n", summary->paired_frees);
    printf("frees from before     %" PRIu64 " blocks, %" PRIu64 " frames\n", summary->before_blocks,
           summary->before_frames);
    printf("frees skipped         %" PRIu64 " (taken in bulk, without an event)\n", summary->skipped_frees);
    printf("peak live frames      %" PRIu64 ", with those from before %" PRIu64 "\n",
           summary->counts.peak_live_frames, summary->peak_live_frames_with_before);
    printf("live at the end       %" PRIu64 " frames in %" PRIu64 " blocks\n", summary->counts.live_frames,
           summary->counts.live_blocks);
}

static void print_breakdown(const struct pleat_operation_counts *counts)
{
    double all = counts->allocations ? (double)counts->allocations : 1;
    puts("allocations by mobility");
    for (unsigned i = 0; i < PLEAT_MOBILITIES; i++)
        printf("  %-12s        %" PRIu64 " (%.2f %%)\n", pleat_mobility_name(i),
               counts->allocations_by_mobility[i], 100 * (double)counts->allocations_by_mobility[i] / all);
    puts("allocations by order");
    for (unsigned i = 0; i < PLEAT_OPERATION_ORDERS; i++)
        printf("  %-12u        %" PRIu64 " (%.2f %%)\n", i, counts->allocations_by_order[i],
               100 * (double)counts->allocations_by_order[i] / all);
}

static int info(const char *path)
{
    struct pleat_trace trace;
    struct pleat_trace_summary summary;
    struct pleat_message message = {""};
    int error = pleat_trace_load(&trace, path, &message);
    if (!error)
        error = pleat_trace_summarize(&trace, &summary, &message);
    if (!error) {
        printf("file                  %s\n", path);
        print_record_counts(&trace, &summary);
        print_breakdown(&summary.counts);
    }
    pleat_trace_free(&trace);
    return error ? pleat_command_failed("trace", &message) : PLEAT_EXIT_OK;
}

/* ---- cut ---- */

/* A compressed cut in memory. */
struct packed {
    uint64_t window_records, records;
    unsigned char *bytes;
    size_t count;
};

static int pack(const struct pleat_trace *trace, uint64_t skip, uint64_t records, struct packed *packed,
                struct pleat_message *message)
{
    struct pleat_trace cut;
    *packed = (struct packed){.window_records = records};
    int error = pleat_trace_cut(trace, skip, records, &cut, message);
    if (!error) {
        packed->records = cut.records;
        error = pleat_trace_compress(&cut, &packed->bytes, &packed->count, message);
    }
    pleat_trace_free(&cut);
    return error;
}

/* The share of `max_bytes` that a cut should reach, in percent, and how often to try for it. */
enum { GOOD_PERCENT = 97, TRIES = 8 };

/* Finds a window that fills MAX_BYTES. Compression is slow, so the next length is guessed from the last. */
static int pack_to_size(const struct pleat_trace *trace, uint64_t skip, uint64_t max_bytes,
                        struct packed *best, struct pleat_message *message)
{
    uint64_t left = skip < trace->records ? trace->records - skip : 0;
    /* Few traces take less than a byte a record. */
    uint64_t records = max_bytes < left ? max_bytes : left;
    uint64_t fits = 0, too_many = left + 1;
    *best = (struct packed){0};
    size_t smallest = SIZE_MAX;
    for (int i = 0; i < TRIES; i++) {
        struct packed packed;
        int error = pack(trace, skip, records, &packed, message);
        if (error) {
            free(best->bytes);
            *best = (struct packed){0};
            return error;
        }
        smallest = packed.count < smallest ? packed.count : smallest;
        double ratio = (double)max_bytes / (double)packed.count;
        if (packed.count <= max_bytes) {
            fits = records;
            free(best->bytes);
            *best = packed;
        } else {
            too_many = records;
            free(packed.bytes);
        }
        if (fits == left || too_many - fits <= 1 ||
            (best->bytes && best->count * 100 >= max_bytes * GOOD_PERCENT))
            break;
        double guess = (double)records * ratio * 0.985;
        records = guess < (double)too_many ? (uint64_t)guess : too_many - 1;
        if (records <= fits || records >= too_many)
            records = fits + (too_many - fits) / 2;
    }
    if (best->bytes)
        return PLEAT_OK;
    return pleat_message_set(message, PLEAT_E_INVALID,
                             "--max-bytes is %" PRIu64
                             ", expected more: the smallest cut that was tried has %zu "
                             "bytes, most of which are blocks that are live when it begins",
                             max_bytes, smallest);
}

/* Writes a file beside PATH and renames it to PATH when it is complete. */
static int write_file(const char *path, const unsigned char *bytes, size_t count,
                      struct pleat_message *message)
{
    size_t length = strlen(path) + sizeof(".XXXXXX");
    char *temporary = malloc(length);
    if (!temporary)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s: no memory", path);
    snprintf(temporary, length, "%s.XXXXXX", path);
    int file = mkstemp(temporary);
    bool written = file >= 0;
    if (file >= 0) {
        mode_t mask = umask(0);
        umask(mask);
        for (size_t done = 0; written && done < count;) {
            ssize_t put = write(file, bytes + done, count - done);
            written = put > 0 || (put < 0 && errno == EINTR);
            done += put > 0 ? (size_t)put : 0;
        }
        written = written && !fchmod(file, 0666 & ~mask);
        written = !close(file) && written && !rename(temporary, path);
    }
    int error = written ? PLEAT_OK
                        : pleat_message_set(message, PLEAT_E_NOT_FOUND, "%s: can't be written: %s", path,
                                            strerror(errno));
    if (!written && file >= 0)
        unlink(temporary);
    free(temporary);
    return error;
}

struct cut_request {
    const char *in, *out;
    uint64_t skip, records, max_bytes;
};

static int cut(const struct cut_request *request)
{
    struct pleat_trace trace;
    struct packed packed = {0};
    struct pleat_message message = {""};
    int error = pleat_trace_load(&trace, request->in, &message);
    if (!error && request->records)
        error = pack(&trace, request->skip, request->records, &packed, &message);
    else if (!error)
        error = pack_to_size(&trace, request->skip, request->max_bytes, &packed, &message);
    if (!error)
        error = write_file(request->out, packed.bytes, packed.count, &message);
    if (!error)
        printf("%s: %" PRIu64 " records, %zu bytes\n", request->out, packed.records, packed.count);
    free(packed.bytes);
    pleat_trace_free(&trace);
    return error ? pleat_command_failed("trace", &message) : PLEAT_EXIT_OK;
}

static int parse_number_option(const char *option, const char *text, bool size, uint64_t least,
                               uint64_t *result)
{
    struct pleat_message message = {""};
    int error =
        size ? pleat_parse_size(text, 1, result, &message) : pleat_parse_number(text, result, &message);
    if (!error && *result < least)
        error = pleat_message_set(&message, PLEAT_E_INVALID, "expects at least %" PRIu64 ", found '%s'",
                                  least, text);
    return error ? pleat_usage_error("trace", "cut: --%s %s", option, message.text) : PLEAT_EXIT_OK;
}

static int cut_command(int argc, char **argv)
{
    static const struct option options[] = {{"skip", required_argument, NULL, 's'},
                                            {"records", required_argument, NULL, 'r'},
                                            {"max-bytes", required_argument, NULL, 'b'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    struct cut_request request = {0};
    int letter, place = 0;
    while ((letter = getopt_long(argc, argv, ":h", options, &place)) != -1) {
        int code = PLEAT_EXIT_OK;
        if (letter == 's')
            code = parse_number_option("skip", optarg, false, 0, &request.skip);
        else if (letter == 'r')
            code = parse_number_option("records", optarg, false, 1, &request.records);
        else if (letter == 'b')
            code = parse_number_option("max-bytes", optarg, true, 1, &request.max_bytes);
        else if (letter == 'h')
            return fputs(help_text, stdout) < 0;
        else if (letter == ':')
            code = pleat_usage_error("trace", "cut: '%s' needs a value", argv[optind - 1]);
        else
            code = pleat_usage_error("trace", "cut: unknown option '%s'", argv[optind - 1]);
        if (code)
            return code;
    }
    if (argc - optind != 2)
        return pleat_usage_error("trace", "cut: expected IN and OUT, found %d file names", argc - optind);
    if (!request.records == !request.max_bytes)
        return pleat_usage_error("trace", "cut: expected either --records or --max-bytes");
    request.in = argv[optind];
    request.out = argv[optind + 1];
    return cut(&request);
}

int pleat_command_trace(int argc, char **argv)
{
    opterr = 0;
    optind = 1;
    if (argc < 2)
        return pleat_usage_error("trace", "expected 'info' or 'cut'");
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
        return fputs(help_text, stdout) < 0;
    if (!strcmp(argv[1], "cut"))
        return cut_command(argc - 1, argv + 1);
    if (strcmp(argv[1], "info") != 0) {
        char quoted[PLEAT_QUOTE_BYTES];
        return pleat_usage_error("trace", "unknown action %s, expected 'info' or 'cut'",
                                 pleat_quote(quoted, argv[1]));
    }
    if (argc == 3 && !strcmp(argv[2], "--help"))
        return fputs(help_text, stdout) < 0;
    if (argc != 3)
        return pleat_usage_error("trace", "info: expected one FILE, found %d", argc - 2);
    if (argv[2][0] == '-')
        return pleat_usage_error("trace", "info: unknown option '%s'", argv[2]);
    return info(argv[2]);
}
