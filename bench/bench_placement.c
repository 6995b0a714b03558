/* SPDX-License-Identifier: MIT
 *
 * What placement and policies are worth: how much of the added memory can be taken back after a workload.
 *
 * A guest boots with 1 GiB and 7 GiB are added, a memory block at a time, under a policy. A workload runs;
 * then every added block is asked for. What can be had is held against the bound: the blocks that would be
 * left over if all that is in use were packed into as few blocks as it needs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench/support/guest.h"
#include "bench/support/measure.h"
#include "machine/synthetic.h"
#include "machine/trace.h"

#define BOOT_FRAMES GIB_FRAMES
#define ALL_FRAMES  (8 * GIB_FRAMES)

struct policy {
    const char *name;
    enum pleat_online_policy policy;
    unsigned ratio;
};

static const struct policy policies[] = {
    {"online_kernel", PLEAT_POLICY_ONLINE_KERNEL, 0},
    {"prefer_movable 1:4", PLEAT_POLICY_PREFER_MOVABLE, 4},
    {"prefer_movable 1:1", PLEAT_POLICY_PREFER_MOVABLE, 1},
    {"auto_movable 300 %", PLEAT_POLICY_AUTO_MOVABLE, 300},
    {"online_movable", PLEAT_POLICY_ONLINE_MOVABLE, 0},
};

static void add_all(struct guest *guest, const struct policy *policy)
{
    pleat_set_policy(&guest->pleat, policy->policy, policy->ratio);
    for (uint64_t pfn = BOOT_FRAMES; pfn < ALL_FRAMES; pfn += BLOCK_FRAMES) {
        struct pleat_range_config range = guest_range(guest, pfn, BLOCK_FRAMES);
        int error;

        range.flags = 0;
        error = pleat_add(&guest->pleat, &range);
        if (error)
            guest_failed("add", error);
    }
}

/* False if an allocation failed: the policy left too little for what can't move. */
static bool run(struct guest *guest, const struct pleat_operations *operations, uint64_t *slots)
{
    for (size_t i = 0; i < operations->count; i++) {
        const struct pleat_operation *o = &operations->items[i];
        unsigned mobility = o->flags & PLEAT_MOBILITY_MASK;
        int64_t pfn;

        if (o->is_free) {
            guest_free(guest, slots[o->slot], o->order);
            continue;
        }
        pfn = pleat_alloc(&guest->pleat, o->order, mobility,
                          mobility == PLEAT_MOVABLE ? pleat_tag_make(guest->owner, o->slot) : PLEAT_NO_TAG);
        if (pfn < 0)
            return false;
        slots[o->slot] = (uint64_t)pfn;
    }
    return true;
}

static void measure(struct table *table, const char *workload, const struct pleat_operations *operations,
                    const struct policy *policy)
{
    struct guest *guest = malloc(sizeof(*guest));
    uint64_t *slots = calloc(operations->slots, sizeof(*slots));
    uint64_t had = 0, used, bound;
    char name[96];

    guest_init(guest, BOOT_FRAMES, ALL_FRAMES);
    guest->where = slots;
    guest->no_content = true;
    add_all(guest, policy);
    snprintf(name, sizeof(name), "%s, %s: taken back", workload, policy->name);
    if (run(guest, operations, slots)) {
        used = pleat_online_frames(&guest->pleat) - pleat_free_frames(&guest->pleat);
        bound = (ALL_FRAMES - (used > BOOT_FRAMES ? used : BOOT_FRAMES)) / BLOCK_FRAMES;
        for (uint64_t pfn = ALL_FRAMES; pfn > BOOT_FRAMES; pfn -= BLOCK_FRAMES)
            had += guest_take(guest, pfn - BLOCK_FRAMES, BLOCK_FRAMES) == PLEAT_OK;
        table_row(table, name, (double)had / 8, "GiB", (double)bound / 8, "of the bound", 0.95, true);
    } else {
        printf("%-66s an allocation failed\n", name);
    }
    free(slots);
    guest_end(guest);
    free(guest);
}

static void measure_all(struct table *table, const char *workload, struct pleat_operations *operations)
{
    for (unsigned i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
        measure(table, workload, operations, &policies[i]);
    pleat_operations_free(operations);
}

static void trace(struct table *table, const char *name, const char *path)
{
    struct pleat_message message = {0};
    struct pleat_trace recorded = {0};
    struct pleat_operations operations = {0};

    if (pleat_trace_load(&recorded, path, &message) || pleat_trace_prepare(&recorded, &operations, &message))
        printf("%-66s not measured: %s\n", name, message.text);
    else
        measure_all(table, name, &operations);
    pleat_trace_free(&recorded);
}

static void synthetic(struct table *table, const char *text)
{
    struct pleat_message message = {0};
    struct pleat_synthetic_config config;
    struct pleat_operations operations = {0};

    if (pleat_synthetic_parse(text, &config, &message) ||
        pleat_synthetic_prepare(&config, ALL_FRAMES, 3000000, &operations, &message)) {
        fprintf(stderr, "%s: %s\n", text, message.text);
        exit(1);
    }
    measure_all(table, text, &operations);
}

int main(int argc, char **argv)
{
    struct bench_options options = bench_options(argc, argv);
    struct table *table = table_new("What can be taken back of 7 GiB added to 1 GiB, by workload and policy");

    become_cpu(0);
    if (bench_wants(&options, "traces")) {
        trace(table, "a-compile", "../shared/traces/a-compile.ptr.xz");
        trace(table, "b-pagecache", "../shared/traces/b-pagecache.ptr.xz");
    }
    if (bench_wants(&options, "synthetic")) {
        synthetic(table, "synthetic,preset=5,fill=40%");
        synthetic(table, "synthetic,preset=20,fill=40%");
        synthetic(table, "synthetic,preset=50,fill=40%");
    }
    table_end(table, options.json);
    return 0;
}
