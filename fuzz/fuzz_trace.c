/* SPDX-License-Identifier: MIT
 *
 * Trace files: whatever comes in is refused with a reason or makes operations that hold together, and so does
 * every cut of it.
 */
#include <stddef.h>
#include <stdint.h>

#include "fuzz/input.h"
#include "machine/trace.h"

static void demand_operations(const struct pleat_trace *trace, uint64_t operations_expected)
{
    struct pleat_operations operations;
    struct pleat_message message = {""};
    demand(pleat_trace_prepare(trace, &operations, &message) == PLEAT_OK);
    demand(pleat_operations_is_valid(&operations, &message));
    demand(operations.count == operations_expected);
    pleat_operations_free(&operations);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pleat_trace trace, cut;
    struct pleat_trace_summary summary, cut_summary;
    struct pleat_message message = {""};
    if (pleat_trace_load_bytes(&trace, "fuzz", data, size, &message)) {
        demand(message.text[0] != 0 && !trace.bytes);
        return 0;
    }
    if (pleat_trace_summarize(&trace, &summary, &message)) {
        demand(message.text[0] != 0);
    } else {
        demand_operations(&trace, trace.records - summary.skipped_frees + summary.before_blocks);
        uint64_t first = trace.records / 3;
        demand(!pleat_trace_cut(&trace, first, trace.records / 2 + 1, &cut, &message));
        demand(cut.records <= trace.records);
        demand(!pleat_trace_summarize(&cut, &cut_summary, &message));
        demand(cut_summary.skipped_frees == 0);
        demand_operations(&cut, cut.records + cut_summary.before_blocks);
        pleat_trace_free(&cut);
    }
    pleat_trace_free(&trace);
    return 0;
}
