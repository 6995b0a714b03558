/* SPDX-License-Identifier: MIT
 *
 * Random operations on frames: allocating and freeing, rightly and wrongly, and what their owners do.
 */
#include "random_machine.h"

#include <string.h>

/* --- Owners --------------------------------------------------------------------------------------------- */

pleat_tag run_draw_tag(struct run *run, unsigned mobility, unsigned *owner)
{
    *owner = (unsigned)run_draw(run, OWNERS);
    if (mobility == PLEAT_MOVABLE && !run->owners[*owner].moves && !run_chance(run, 10))
        *owner = 0;
    /* The low part is the identity, the high part checks that all 48 bits are kept. */
    uint64_t cookie = (run->plain.next_id & 0xffffffff) | run_draw(run, 1 << 16) << 32;
    return pleat_tag_make((unsigned)run->owners[*owner].number, cookie);
}

static uint64_t cookie_of(const struct plain_allocation *allocation)
{
    return allocation->tag >> 16;
}

void run_free_live(struct run *run, uint32_t index)
{
    struct plain_allocation *allocation = &run->plain.allocation[index];
    uint64_t *data = pleat_frame_data(&run->pleat, allocation->pfn);
    run_check_stamps(run, allocation->pfn, UINT64_C(1) << allocation->order, allocation->id);
    must(run, !data == (run->config.owner_bytes != 16), "frame_data");
    must(run, !data || *data == allocation->id, "the embedder's own 8 bytes of PFN 0x%llx have changed",
         X(allocation->pfn));
    run_note(run, "free 0x%llx order %u%s", X(allocation->pfn), allocation->order,
             allocation->isolated ? " (isolated)" : "");
    int error = pleat_free(&run->pleat, allocation->pfn, allocation->order);
    must(run, !error, "free of PFN 0x%llx order %u: %d: %s", X(allocation->pfn), allocation->order, error,
         pleat_hosted_last_fatal(run->hosted));
    if (allocation->isolated)
        run->freed_isolated[run->freed_isolated_next++ % 16] = cookie_of(allocation);
    plain_free(&run->plain, index);
}

static bool was_freed_isolated(const struct run *run, uint64_t cookie)
{
    for (unsigned i = 0; i < 16; i++) {
        if (run->freed_isolated[i] == cookie)
            return true;
    }
    return false;
}

/** The allocation that an operation is about; NULL if its owner has freed it while it was isolated. */
static struct plain_allocation *subject(struct test_owner *owner, uint64_t pfn, unsigned order,
                                        uint64_t cookie, const char *operation)
{
    struct run *run = owner->run;
    must(run, run->stepping, "%s of PFN 0x%llx outside of a step", operation, X(pfn));
    struct plain_allocation *allocation = plain_head(&run->plain, pfn);
    if (!allocation || cookie_of(allocation) != cookie) {
        must(run, was_freed_isolated(run, cookie),
             "%s of PFN 0x%llx with cookie 0x%llx: there is no such frame", operation, X(pfn), X(cookie));
        return NULL;
    }
    must(run, allocation->order == order, "%s of PFN 0x%llx: order %u is wrong", operation, X(pfn), order);
    must(run, allocation->mobility == PLEAT_MOVABLE, "%s of PFN 0x%llx, which isn't movable", operation,
         X(pfn));
    must(run, (allocation->tag >> 7 & 511) == (unsigned)owner->number, "%s went to another owner", operation);
    return allocation;
}

static int isolate(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    struct test_owner *owner = context;
    struct run *run = owner->run;
    struct plain_allocation *allocation = subject(owner, pfn, order, cookie, "isolate");
    must(run, allocation && !allocation->isolated, "isolate of PFN 0x%llx, which is isolated", X(pfn));
    const struct pleat_take_config *config = &run->stepping->config;
    must(run, pfn < config->start_pfn + config->frames && pfn + (UINT64_C(1) << order) > config->start_pfn,
         "isolate of PFN 0x%llx, which isn't in the range that is taken", X(pfn));
    if (run_chance(run, owner->pin_percent)) {
        run_note(run, "owner pins 0x%llx", X(pfn));
        run->stepping->refusals++;
        return PLEAT_E_BUSY;
    }
    allocation->isolated = true;
    if (run_chance(run, owner->free_percent))
        run_free_live(run, run->plain.owner[pfn]);
    return 0;
}

static int migrate(void *context, uint64_t from, uint64_t to, unsigned order, uint64_t cookie)
{
    struct test_owner *owner = context;
    struct run *run = owner->run;
    uint64_t size = UINT64_C(1) << order;
    struct plain_allocation *allocation = subject(owner, from, order, cookie, "migrate");
    if (!allocation)
        return PLEAT_E_STATE;
    must(run, allocation->isolated, "migrate of PFN 0x%llx, which isn't isolated", X(from));
    must(run,
         to % size == 0 && to + size <= run->plain.frames && plain_all(&run->plain, to, size, PLAIN_FREE),
         "migrate of PFN 0x%llx to 0x%llx, order %u, which isn't free", X(from), X(to), order);
    must(run, !plain_is_isolated(&run->plain, to, size), "migrate of PFN 0x%llx to isolated 0x%llx", X(from),
         X(to));
    pleat_tag tag;
    unsigned tag_order;
    must(run,
         !pleat_frame_tag(&run->pleat, to, &tag, &tag_order) && tag == allocation->tag && tag_order == order,
         "migrate of PFN 0x%llx to 0x%llx, which has another tag", X(from), X(to));
    if (run_chance(run, owner->fail_percent)) {
        run_note(run, "owner fails to migrate 0x%llx to 0x%llx", X(from), X(to));
        run->stepping->refusals++;
        return PLEAT_E_NO_MEMORY;
    }
    run_note(run, "migrate 0x%llx to 0x%llx, order %u", X(from), X(to), order);
    run_check_stamps(run, from, size, allocation->id);
    for (uint64_t i = 0; i < size; i++)
        memcpy((void *)run_content(run, to + i), (void *)run_content(run, from + i),
               UINT64_C(1) << run->config.frame_shift);
    uint64_t *data = pleat_frame_data(&run->pleat, to);
    if (data)
        *data = allocation->id;
    allocation->isolated = false;
    run->stepping->moved += size;
    plain_move(&run->plain, run->plain.owner[from], to);
    return 0;
}

static void putback(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    struct test_owner *owner = context;
    struct plain_allocation *allocation = subject(owner, pfn, order, cookie, "putback");
    if (!allocation)
        return;
    must(owner->run, allocation->isolated, "putback of PFN 0x%llx, which isn't isolated", X(pfn));
    allocation->isolated = false;
}

const struct pleat_owner_ops run_owner_ops = {isolate, migrate, putback};

uint64_t run_reclaim(void *context, unsigned node, uint64_t frames)
{
    struct run *run = context;
    uint64_t freed = 0;
    must(run, node < run->config.nodes, "reclaim on node %u", node);
    if (run_chance(run, 50))
        return 0;
    for (unsigned i = 0; i < 8 && freed < frames && run->plain.live_count; i++) {
        uint32_t index = run->plain.live[run_draw(run, run->plain.live_count)];
        freed += UINT64_C(1) << run->plain.allocation[index].order;
        run_free_live(run, index);
    }
    return freed;
}

/* --- Allocating and freeing ----------------------------------------------------------------------------- */

/** Where an allocation may be. */
struct wish {
    unsigned zones; /**< bits of enum pleat_zone_kind */
    unsigned nodes; /**< bits */
};

static bool block_allowed(const void *context, const struct plain_block *block)
{
    const struct wish *wish = context;
    return wish->zones >> block->zone & 1 && wish->nodes >> block->node & 1;
}

static struct wish wish_of(const struct run *run, unsigned flags)
{
    struct wish wish = {.zones = 1u << PLEAT_ZONE_KINDS, .nodes = (1u << run->config.nodes) - 1};
    unsigned node = flags >> 16 ? (flags >> 16) - 1 : run->cpu_node[pleat_hosted_cpu()];
    wish.zones = flags & PLEAT_ALLOC_DMA     ? 1u << PLEAT_ZONE_DMA
                 : flags & PLEAT_ALLOC_DMA32 ? 1u << PLEAT_ZONE_DMA | 1u << PLEAT_ZONE_DMA32
                                             : (1u << PLEAT_ZONE_KINDS) - 1;
    if ((flags & PLEAT_MOBILITY_MASK) != PLEAT_MOVABLE)
        wish.zones &= ~(1u << PLEAT_ZONE_MOVABLE);
    if (flags & PLEAT_ALLOC_THIS_NODE)
        wish.nodes = 1u << node;
    return wish;
}

bool run_movable_fits(const struct run *run, unsigned order, const struct plain_block *from)
{
    struct wish wish = {.zones = (1u << PLEAT_ZONE_KINDS) - 1, .nodes = (1u << run->config.nodes) - 1};
    /* What was wished for below an address stays below it. */
    if (from->zone < PLEAT_ZONE_NORMAL)
        wish.zones = (1u << (from->zone + 1)) - 1;
    return plain_fits(&run->plain, order, block_allowed, &wish);
}

static bool alloc_is_invalid(const struct run *run, unsigned order, unsigned flags, unsigned owner)
{
    unsigned mobility = flags & PLEAT_MOBILITY_MASK;
    return order > PLEAT_MAX_ORDER || mobility > PLEAT_MOVABLE || flags >> 16 > run->config.nodes ||
           (mobility == PLEAT_MOVABLE &&
            (run->blind || order > PLEAT_PAGEBLOCK_ORDER || !run->owners[owner].moves));
}

static unsigned draw_flags(struct run *run)
{
    unsigned flags = run_chance(run, run->movable_percent) ? PLEAT_MOVABLE : (unsigned)run_draw(run, 3);
    if (run_chance(run, 1))
        flags = PLEAT_MOBILITY_MASK;
    if (run->blind && flags == PLEAT_MOVABLE && run_chance(run, 95))
        flags = PLEAT_UNMOVABLE;
    if (run_chance(run, 30)) {
        flags |= run_chance(run, 20) ? PLEAT_ALLOC_DMA : 0;
        flags |= run_chance(run, 20) ? PLEAT_ALLOC_DMA32 : 0;
        flags |= run_chance(run, 30) ? PLEAT_ALLOC_RESERVE : 0;
        flags |= run_chance(run, 50) ? PLEAT_ALLOC_NO_RECLAIM : 0;
        flags |= run_chance(run, 30) ? PLEAT_ALLOC_THIS_NODE : 0;
        flags |= run_chance(run, 50)
                     ? PLEAT_ALLOC_NODE(run_draw(run, run->config.nodes + (run_chance(run, 5) ? 1 : 0)))
                     : 0;
    }
    return flags;
}

/** Returns whether it came off. */
static bool do_alloc(struct run *run, unsigned order, unsigned flags)
{
    unsigned owner;
    pleat_tag tag = run_draw_tag(run, flags & PLEAT_MOBILITY_MASK, &owner);
    int64_t pfn = pleat_alloc(&run->pleat, order, flags, tag);
    run_note(run, "cpu %u: alloc order %u flags 0x%x owner %u -> %lld", pleat_hosted_cpu(), order, flags,
             owner, (long long)pfn);
    if (alloc_is_invalid(run, order, flags, owner)) {
        must(run, pfn == PLEAT_E_INVALID, "an allocation that can't be was answered with %lld",
             (long long)pfn);
        return false;
    }
    struct wish wish = wish_of(run, flags);
    uint64_t size = UINT64_C(1) << order;
    if (pfn == PLEAT_E_NO_MEMORY) {
        bool kept = !(flags & PLEAT_ALLOC_RESERVE) &&
                    run->plain.count[PLAIN_FREE] < run->config.watermark_frames + size;
        must(run, kept || !plain_fits(&run->plain, order, block_allowed, &wish),
             "no memory for order %u, flags 0x%x, though some is free", order, flags);
        return false;
    }
    must(run, pfn >= 0 && (uint64_t)pfn + size <= run->plain.frames, "alloc returned %lld", (long long)pfn);
    must(run, (uint64_t)pfn % size == 0, "PFN 0x%llx isn't aligned to order %u", X(pfn), order);
    must(run, plain_all(&run->plain, (uint64_t)pfn, size, PLAIN_FREE),
         "PFN 0x%llx, order %u, was allocated and isn't free but %d", X(pfn), order, run->plain.kind[pfn]);
    must(run, !plain_is_isolated(&run->plain, (uint64_t)pfn, size), "PFN 0x%llx is isolated", X(pfn));
    const struct plain_block *block = plain_block_of(&run->plain, (uint64_t)pfn);
    must(run, block == plain_block_of(&run->plain, (uint64_t)pfn + size - 1), "it spans two blocks");
    must(run, block->state == PLEAT_BLOCK_ONLINE && block_allowed(&wish, block),
         "PFN 0x%llx is of zone %d, node %u, which flags 0x%x rule out", X(pfn), (int)block->zone,
         block->node, flags);
    uint32_t index = plain_allocate(&run->plain, (uint64_t)pfn, order, flags & PLEAT_MOBILITY_MASK, tag);
    uint64_t id = run->plain.allocation[index].id;
    run_write_stamps(run, (uint64_t)pfn, size, id);
    uint64_t *data = pleat_frame_data(&run->pleat, (uint64_t)pfn);
    if (data)
        *data = id;
    return true;
}

/** Small ones more often. */
static unsigned draw_order(struct run *run, unsigned most)
{
    unsigned order = (unsigned)run_draw(run, most + 1);
    return run_chance(run, 60) ? order / 3 : order;
}

void run_alloc_some(struct run *run)
{
    unsigned flags = draw_flags(run);
    unsigned order =
        run_chance(run, 3) ? (unsigned)run_draw(run, 18) : draw_order(run, PLEAT_PAGEBLOCK_ORDER);
    unsigned times = run_chance(run, 50) ? 1 : 1 + (unsigned)run_draw(run, 60);
    if (run_chance(run, 1))
        times = 3000; /* until it is out, or nearly */
    while (times-- && do_alloc(run, order, flags))
        ;
}

void run_free_some(struct run *run)
{
    unsigned times = run_chance(run, 50) ? 1 : 1 + (unsigned)run_draw(run, 60);
    if (run_chance(run, 1))
        times = 3000;
    while (times-- && run->plain.live_count)
        run_free_live(run, run->plain.live[run_draw(run, run->plain.live_count)]);
}

/** Frees what isn't allocated that way: nothing may change but the count of fatal lines. */
void run_wrong_free(struct run *run)
{
    if (run->blind)
        return;
    uint64_t pfn = run_draw(run, run->plain.frames);
    unsigned order = (unsigned)run_draw(run, PLEAT_MAX_ORDER + 2);
    if (run_chance(run, 40) && run->plain.live_count) {
        /* Near a live one. */
        const struct plain_allocation *near =
            &run->plain.allocation[run->plain.live[run_draw(run, run->plain.live_count)]];
        pfn = near->pfn + (run_chance(run, 50) ? 0 : run_draw(run, (UINT64_C(1) << near->order) + 1));
        order = run_chance(run, 50) ? near->order : 0;
    } else if (run_chance(run, 60)) {
        order = 0;
    } else if (run_chance(run, 10)) {
        pfn = run_chance(run, 50) ? UINT64_MAX - run_draw(run, 4)
                                  : run->plain.frames + run_draw64(run) % (1 << 20);
    }
    const struct plain_allocation *head = plain_head(&run->plain, pfn);
    if ((head && head->order == order) ||
        (!order && pfn < run->plain.frames && run->plain.kind[pfn] == PLAIN_TAKEN))
        return;
    run_note(run, "wrong free of 0x%llx order %u, kind %d", X(pfn), order,
             pfn < run->plain.frames ? run->plain.kind[pfn] : -1);
    int error = pleat_free(&run->pleat, pfn, order);
    must(run, error == PLEAT_E_MISUSE, "a wrong free of PFN 0x%llx order %u was answered with %d", X(pfn),
         order, error);
    must(run, pleat_hosted_fatals(run->hosted) == ++run->fatals, "the port hasn't heard of a wrong free");
}
