/* SPDX-License-Identifier: MIT
 *
 * The instance's range tree. See claims.h.
 */
#include "claims.h"

#include "block.h"
#include "check.h"
#include "text.h"
#include "unpopulated.h"

static uint64_t bytes_of(const struct core *core, uint64_t frames)
{
    return frames << core->frame_shift;
}

static uint64_t block_address(const struct core *core, const struct block *block)
{
    return bytes_of(core, block_start(core, block));
}

void claims_begin(struct core *core, struct pleat_resource *nodes, const struct pleat_boot_span *spans,
                  unsigned count)
{
    static const char *const names[] = {[PLEAT_BOOT_FREE] = "System RAM",
                                        [PLEAT_BOOT_RESERVED] = "Reserved",
                                        [PLEAT_BOOT_IN_USE] = "System RAM (in use at boot)"};
    struct pleat_resource *tables = &nodes[count];

    core->resources = (struct pleat_resource){.name = "memory", .last = UINT64_MAX};
    for (unsigned i = 0; i < count; i++) {
        if (pleat_resource_describe(&nodes[i], names[spans[i].use], bytes_of(core, spans[i].start_pfn),
                                    bytes_of(core, spans[i].frames)) ||
            pleat_resource_insert(&core->resources, &nodes[i], NULL))
            CHECK(false);
    }
    if (pleat_resource_describe(tables, "core tables", bytes_of(core, core->table_pfn), core->table_bytes) ||
        pleat_resource_insert(pleat_resource_find(&core->resources, tables->start), tables, NULL))
        CHECK(false);
}

/* The innermost node that holds all of a range; what else has a byte of it goes to *conflict. */
static struct pleat_resource *holder(struct core *core, uint64_t start, uint64_t last,
                                     struct pleat_resource **conflict)
{
    struct pleat_resource *node = &core->resources;

    for (;;) {
        struct pleat_resource *child = pleat_resource_overlap(node, start, last);

        *conflict = child;
        if (!child || child->start > start || child->last < last)
            return node;
        node = child;
    }
}

static bool has_block(const struct core *core, uint64_t start_pfn, uint64_t frames)
{
    for (uint64_t pfn = start_pfn; pfn < start_pfn + frames; pfn += block_frames(core)) {
        if (block_of(core, pfn))
            return true;
    }
    return false;
}

int claims_check(struct core *core, uint64_t start_pfn, uint64_t frames)
{
    uint64_t start = bytes_of(core, start_pfn);
    struct pleat_resource *conflict = NULL;
    struct pleat_resource *node = holder(core, start, start + bytes_of(core, frames) - 1, &conflict);
    struct text text;

    /* What holds all of the range is a window for memory to come, or memory itself, or unpopulated. */
    if (!conflict && (has_block(core, start_pfn, frames) || section_in(core, start_pfn, frames)))
        conflict = node;
    if (!conflict)
        return PLEAT_OK;
    text_begin(&text);
    text_add(&text, "memory can't be added at 0x");
    text_hex(&text, start);
    text_add(&text, ": there is \"");
    text_add(&text, conflict->name ? conflict->name : "?");
    text_add(&text, "\" at 0x");
    text_hex(&text, conflict->start);
    text_add(&text, " to 0x");
    text_hex(&text, conflict->last);
    core_log(core, PLEAT_LOG_WARNING, text.line);
    return PLEAT_E_EXISTS;
}

/* A new node in a block's head, for `blocks` blocks from it on. */
static void node_in_block(struct core *core, struct block *block, uint64_t bytes)
{
    uint64_t start = block_address(core, block);
    struct pleat_resource *conflict;

    block->resource = (struct pleat_resource){0};
    if (pleat_resource_describe(&block->resource, block->range.name, start, bytes) ||
        pleat_resource_insert(holder(core, start, start + bytes - 1, &conflict), &block->resource, &conflict))
        CHECK(false);
}

void claims_add_block(struct core *core, struct block *block)
{
    uint64_t bytes = bytes_of(core, block_frames(core));
    uint64_t start = block_address(core, block);
    struct block *before = block->number ? block_of(core, block_start(core, block) - 1) : NULL;

    if (before && before->range.removable && before->range.owner == block->range.owner &&
        before->range.name == block->range.name) {
        struct pleat_resource *node = pleat_resource_find(&core->resources, start - 1);

        if (node->last == start - 1 &&
            !pleat_resource_adjust(node, node->start, node->last - node->start + 1 + bytes, NULL))
            return;
    }
    node_in_block(core, block, bytes);
}

void claims_remove_block(struct core *core, struct block *block)
{
    uint64_t start = block_address(core, block);
    uint64_t bytes = bytes_of(core, block_frames(core));
    struct pleat_resource *node = pleat_resource_find(&core->resources, start);
    struct block *home;
    uint64_t first, last;

    /* The embedder may have claimed something inside of the range: go out to the range's own node. */
    while (node->parent && node != &block_of(core, node->start >> core->frame_shift)->resource)
        node = node->parent;
    first = node->start;
    last = node->last;
    home = block_of(core, first >> core->frame_shift);
    if (home == block || pleat_resource_adjust(node, first, start - first, NULL)) {
        if (pleat_resource_remove_lift(node))
            CHECK(false);
        if (home != block)
            node_in_block(core, home, start - first);
    }
    if (last > start + bytes - 1)
        node_in_block(core, block_of(core, (start + bytes) >> core->frame_shift), last - (start + bytes - 1));
}

int pleat_claim(struct pleat *pleat, struct pleat_resource *node, struct pleat_resource **conflict)
{
    struct core *core = core_of(pleat);
    struct pleat_resource *in_the_way = NULL;
    int error;

    hotplug_lock(core);
    error = pleat_resource_insert_over(holder(core, node->start, node->last, &in_the_way), node, &in_the_way);
    hotplug_unlock(core);
    if (conflict)
        *conflict = error ? in_the_way : NULL;
    return error;
}

int pleat_unclaim(struct pleat *pleat, struct pleat_resource *node)
{
    struct core *core = core_of(pleat);
    int error;

    hotplug_lock(core);
    error = pleat_resource_remove_lift(node);
    hotplug_unlock(core);
    return error;
}

int pleat_resources(struct pleat *pleat,
                    int (*each)(void *context, const struct pleat_resource *root,
                                const struct pleat_resource *node),
                    void *context)
{
    struct core *core = core_of(pleat);
    struct pleat_resource *node;
    int result = PLEAT_OK;

    hotplug_lock(core);
    for (node = pleat_resource_next(&core->resources, &core->resources); node && !result;
         node = pleat_resource_next(&core->resources, node))
        result = each(context, &core->resources, node);
    hotplug_unlock(core);
    return result;
}
