/* SPDX-License-Identifier: MIT
 *
 * `pleat replay`: how fast the core does a workload, and how well it keeps pageblocks whole meanwhile.
 */
#include "cli/command.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/options.h"
#include "machine/replay_core.h"
#include "machine/synthetic.h"
#include "machine/trace.h"

static const char help_text[] =
    "Usage: pleat replay WORKLOAD... [-m SIZE] [--repeat N] [--operations N] [--json]\n"
    "\n"
    "Does each WORKLOAD against the core, on one CPU and without any content, and prints\n"
    "what an operation takes and how many pageblocks (2 MiB) are free as a whole at the\n"
    "end, compared with how many there could be if all used frames lay together. What was\n"
    "live before a recording is allocated first, and not timed. Pageblocks that hold the\n"
    "core's own metadata are left out.\n"
    "\n"
    "A WORKLOAD is a recorded trace (see 'pleat help trace') or a text that begins with\n"
    "'synthetic', such as synthetic,preset=20,fill=60%.\n"
    "\n"
    "  -m, --memory SIZE  of the guest, in MiB or with a suffix; a multiple of 2M (8G)\n"
    "  --repeat N         runs, of which the median is taken; each begins with an empty\n"
    "                     core in memory that was touched before (7)\n"
    "  --operations N     of a synthetic workload, after the fill was reached (1000000)\n"
    "  --json             prints a list of objects in place of the table\n"
    "\n"
    "Keys of a synthetic workload:\n";

struct replay_request {
    uint64_t memory_bytes, repeat, operations;
    bool json;
};

/* What one workload came to. */
struct outcome {
    struct pleat_replay_result result;
    struct pleat_replay_placement placement;
    uint64_t before, live_frames;
    double median_ns, least_ns, most_ns;
};

static int load(const char *workload, const struct replay_request *request,
                struct pleat_operations *operations, struct pleat_message *message)
{
    if (!strncmp(workload, "synthetic", 9) && (workload[9] == ',' || !workload[9])) {
        struct pleat_synthetic_config config;
        int error = pleat_synthetic_parse(workload, &config, message);
        return error ? error
                     : pleat_synthetic_prepare(&config, request->memory_bytes / 4096, request->operations,
                                               operations, message);
    }
    struct pleat_trace trace;
    int error = pleat_trace_load(&trace, workload, message);
    if (!error)
        error = pleat_trace_prepare(&trace, operations, message);
    pleat_trace_free(&trace);
    return error;
}

static bool asks_for_zones(const struct pleat_operations *operations)
{
    for (size_t i = 0; i < operations->count; i++) {
        if (operations->items[i].flags & (PLEAT_ALLOC_DMA | PLEAT_ALLOC_DMA32))
            return true;
    }
    return false;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* One run in an empty core; the counts and the placement of the last one stay. */
static int run_once(struct pleat_replay_core *core, const struct pleat_operations *operations,
                    struct outcome *outcome, struct pleat_message *message)
{
    struct pleat_replay replay;
    int error = pleat_replay_core_reset(core, message);
    if (error)
        return error;
    if (pleat_replay_begin(&replay, operations))
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "no memory for %" PRIu32 " slots",
                                 operations->slots);
    struct pleat_replay_result before = {0};
    outcome->result = (struct pleat_replay_result){0};
    pleat_replay_core_run(core, &replay, 0, operations->before, &before);
    pleat_replay_core_run(core, &replay, operations->before, operations->count, &outcome->result);
    /* What was refused isn't live. */
    outcome->live_frames = 0;
    for (size_t i = operations->count; i-- > 0;) {
        const struct pleat_operation *operation = &operations->items[i];
        if (!operation->is_free && replay.pfns[operation->slot] != PLEAT_REPLAY_EMPTY) {
            outcome->live_frames += (uint64_t)1 << operation->order;
            replay.pfns[operation->slot] = PLEAT_REPLAY_EMPTY;
        }
    }
    outcome->before = before.allocations;
    outcome->result.refused += before.refused;
    pleat_replay_end(&replay);
    error = pleat_replay_core_placement(core, &outcome->placement);
    if (error)
        return pleat_message_set(message, error, "the core can't be looked at: %s", pleat_error_text(error));
    if (outcome->result.unknown_frees)
        return pleat_message_set(message, PLEAT_E_MISUSE, "%" PRIu64 " frees were refused by the core",
                                 outcome->result.unknown_frees);
    return PLEAT_OK;
}

static int run_workload(const struct pleat_operations *operations, const struct replay_request *request,
                        struct outcome *outcome, struct pleat_message *message)
{
    struct pleat_replay_core *core;
    double *times = calloc((size_t)request->repeat, sizeof(*times));
    if (!times)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "no memory for %" PRIu64 " runs",
                                 request->repeat);
    int error = pleat_replay_core_create(&core, request->memory_bytes, asks_for_zones(operations), message);
    /* The first run touches the memory. */
    if (!error && request->repeat > 1)
        error = run_once(core, operations, outcome, message);
    for (uint64_t i = 0; i < request->repeat && !error; i++) {
        error = run_once(core, operations, outcome, message);
        uint64_t count = outcome->result.operations ? outcome->result.operations : 1;
        times[i] = (double)outcome->result.total_ns / (double)count;
    }
    if (!error) {
        size_t n = (size_t)request->repeat;
        qsort(times, n, sizeof(*times), compare);
        outcome->least_ns = times[0];
        outcome->most_ns = times[n - 1];
        outcome->median_ns = (times[(n - 1) / 2] + times[n / 2]) / 2;
    }
    pleat_replay_core_destroy(core);
    free(times);
    return error;
}

/* ---- results ---- */

static double placement_percent(const struct pleat_replay_placement *placement)
{
    if (!placement->possible_pageblocks)
        return 100;
    return 100 * (double)placement->free_pageblocks / (double)placement->possible_pageblocks;
}

static void print_outcome(const char *workload, const struct outcome *outcome,
                          const struct replay_request *request)
{
    char size[32];
    printf("workload               %s\n", workload);
    printf("memory                 %s\n", pleat_format_size(size, request->memory_bytes));
    printf("operations             %" PRIu64 ", after %" PRIu64 " blocks from before\n",
           outcome->result.operations, outcome->before);
    printf("ns per operation       %.1f (median of %" PRIu64 ", %.1f to %.1f)\n", outcome->median_ns,
           request->repeat, outcome->least_ns, outcome->most_ns);
    printf("refused allocations    %" PRIu64 "\n", outcome->result.refused);
    printf("live frames            %" PRIu64 "\n", outcome->live_frames);
    printf("whole free pageblocks  %" PRIu64 " of %" PRIu64 " that there could be, %.1f %%\n",
           outcome->placement.free_pageblocks, outcome->placement.possible_pageblocks,
           placement_percent(&outcome->placement));
}

static json_t *outcome_to_json(const char *workload, const struct outcome *outcome,
                               const struct replay_request *request)
{
    char quoted[PLEAT_QUOTE_BYTES];
    /* A path needn't be UTF-8; then it is shown as messages show it. */
    json_t *name = json_string(workload);
    return json_pack("{s:o, s:I, s:I, s:I, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "workload",
                     name ? name : json_string(pleat_quote(quoted, workload)), "memory-bytes",
                     (json_int_t)request->memory_bytes, "operations", (json_int_t)outcome->result.operations,
                     "runs", (json_int_t)request->repeat, "ns-per-operation", outcome->median_ns,
                     "ns-per-operation-least", outcome->least_ns, "ns-per-operation-most", outcome->most_ns,
                     "blocks-from-before", (json_int_t)outcome->before, "refused-allocations",
                     (json_int_t)outcome->result.refused, "live-frames", (json_int_t)outcome->live_frames,
                     "free-frames", (json_int_t)outcome->placement.free_frames, "free-pageblocks",
                     (json_int_t)outcome->placement.free_pageblocks, "possible-pageblocks",
                     (json_int_t)outcome->placement.possible_pageblocks, "placement-percent",
                     placement_percent(&outcome->placement));
}

static int replay_one(const char *workload, const struct replay_request *request, json_t *list, bool first)
{
    struct pleat_operations operations = {0};
    struct outcome outcome = {0};
    struct pleat_message message = {""};
    int error = load(workload, request, &operations, &message);
    bool wrong_text = error == PLEAT_E_INVALID && !strncmp(workload, "synthetic", 9);
    if (!error)
        error = run_workload(&operations, request, &outcome, &message);
    pleat_operations_free(&operations);
    if (wrong_text)
        return pleat_usage_error("replay", "%s", message.text);
    if (error)
        return pleat_command_failed("replay", &message);
    if (list) {
        json_array_append_new(list, outcome_to_json(workload, &outcome, request));
    } else {
        if (!first)
            putchar('\n');
        print_outcome(workload, &outcome, request);
    }
    return PLEAT_EXIT_OK;
}

/* ---- the command line ---- */

static int print_help(void)
{
    fputs(help_text, stdout);
    pleat_synthetic_help(stdout);
    return PLEAT_EXIT_OK;
}

static int read_number(const char *option, const char *text, uint64_t most, uint64_t *result)
{
    struct pleat_message message = {""};
    uint64_t number;
    int error = pleat_parse_number(text, &number, &message);
    if (!error && (number < 1 || number > most))
        error =
            pleat_message_set(&message, PLEAT_E_INVALID, "expects 1 to %" PRIu64 ", found '%s'", most, text);
    if (error)
        return pleat_usage_error("replay", "--%s %s", option, message.text);
    *result = number;
    return PLEAT_EXIT_OK;
}

static int read_memory(const char *text, uint64_t *bytes)
{
    struct pleat_message message = {""};
    uint64_t size;
    int error = pleat_parse_size(text, (uint64_t)1 << 20, &size, &message);
    if (!error &&
        (size < PLEAT_REPLAY_CORE_BYTES_MIN || size > PLEAT_REPLAY_CORE_BYTES_MAX || size % (2 << 20)))
        error = pleat_message_set(&message, PLEAT_E_INVALID,
                                  "expects 4M to 1T in multiples of 2M, found '%s'", text);
    if (error)
        return pleat_usage_error("replay", "-m %s", message.text);
    *bytes = size;
    return PLEAT_EXIT_OK;
}

static int read_options(int argc, char **argv, struct replay_request *request, bool *help)
{
    static const struct option options[] = {{"memory", required_argument, NULL, 'm'},
                                            {"repeat", required_argument, NULL, 'r'},
                                            {"operations", required_argument, NULL, 'o'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int letter, code = PLEAT_EXIT_OK;
    opterr = 0;
    optind = 1;
    while (!code && (letter = getopt_long(argc, argv, ":m:h", options, NULL)) != -1) {
        if (letter == 'm')
            code = read_memory(optarg, &request->memory_bytes);
        else if (letter == 'r')
            code = read_number("repeat", optarg, 1000, &request->repeat);
        else if (letter == 'o')
            code = read_number("operations", optarg, 100000000, &request->operations);
        else if (letter == 'j')
            request->json = true;
        else if (letter == 'h')
            *help = true;
        else if (letter == ':')
            code = pleat_usage_error("replay", "'%s' needs a value", argv[optind - 1]);
        else
            code = pleat_usage_error("replay", "unknown option '%s'", argv[optind - 1]);
    }
    return code;
}

int pleat_command_replay(int argc, char **argv)
{
    struct replay_request request = {
        .memory_bytes = (uint64_t)8 << 30, .repeat = 7, .operations = 1000000, .json = false};
    bool help = false;
    int code = read_options(argc, argv, &request, &help);
    if (code)
        return code;
    if (help)
        return print_help();
    if (optind == argc)
        return pleat_usage_error("replay", "expected a WORKLOAD");
    json_t *list = request.json ? json_array() : NULL;
    for (int i = optind; i < argc && !code; i++)
        code = replay_one(argv[i], &request, list, i == optind);
    if (list && !code) {
        json_dumpf(list, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
    }
    json_decref(list);
    return code;
}
