/* SPDX-License-Identifier: MIT
 *
 * The core beside a plain model (tests/support/plain_model.h): random operations on random machines, every
 * answer compared, every frame's content stamped and checked, so that a lost, doubled or torn frame can't go
 * unseen.
 *
 * PLEAT_SEED reruns one machine alone, PLEAT_STEPS sets how long each runs, PLEAT_SEEDS how many there are,
 * PLEAT_TRACE prints each operation.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <pleat/hosted.h>
#include <pleat/pleat.h>

#include "tests/support/plain_model.h"

#define PAGEBLOCK PLEAT_PAGEBLOCK_FRAMES
#define OWNERS    4
#define RANGES    10
#define TAKES     3
#define LISTENERS 3
#define HISTORY   40

struct run;

/** An owner of frames: what its operations do is drawn. */
struct test_owner {
    struct run *run;
    int number; /**< of the core */
    bool moves; /**< has operations */
    unsigned pin_percent, fail_percent, free_percent;
};

/** A range that was added and not wholly removed. */
struct test_range {
    struct run *run;
    bool used;
    bool own_ops;
    unsigned give_percent; /**< of pageblocks, when a block goes online by own_ops */
    struct pleat_range_config config;
    char name[16];
};

/** A take in progress. */
struct test_take {
    bool active;
    struct pleat_take take;
    struct pleat_take_config config;
    uint64_t steps;
    uint64_t moved;
    uint64_t refusals; /**< of owners, since it began */
};

/** A listener, and what it has heard of each block last. */
struct test_listener {
    struct run *run;
    bool registered;
    unsigned refuse_percent;
    struct pleat_listener listener;
    enum { QUIET, ASKED_ONLINE, ASKED_OFFLINE } * heard;
};

/** One random machine. */
struct run {
    uint64_t seed, random;
    unsigned long step;
    struct pleat pleat;
    struct pleat_config config;
    struct pleat_port port;
    struct pleat_hosted *hosted;
    uint8_t cpu_node[PLEAT_MAX_CPUS];
    uint8_t distance[PLEAT_MAX_NODES * PLEAT_MAX_NODES];
    uint64_t now_ns;
    uint64_t watermark;
    uint64_t boot_blocks;
    unsigned movable_percent; /**< of allocations */
    enum pleat_online_policy policy;
    unsigned policy_ratio;

    struct plain plain;
    struct test_owner owners[OWNERS];
    struct test_range ranges[RANGES];
    struct test_take takes[TAKES];
    struct test_take *stepping; /**< its owners' operations may be called now */
    struct test_listener listeners[LISTENERS];
    int last_priority; /**< of the listener that heard the last event, and that event */
    enum pleat_event last_event;
    uint64_t last_event_pfn;
    bool refuse_now;        /**< the next GOING_ event is refused by the first who may */
    uint64_t refused_block; /**< the block of the last refusal, UINT64_MAX: none */
    uint64_t online_calls;  /**< of online_frames() and offline_frames() */
    uint64_t offline_calls;
    uint64_t freed_isolated[16]; /**< cookies of frames that their owner freed while isolated */
    unsigned freed_isolated_next;
    unsigned fatals;
    uint64_t reclaims;

    bool trace;
    char history[HISTORY][200];
    unsigned long noted;
};

/* --- Saying what happened
 * ----------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void note(struct run *run, const char *format, ...)
{
    char *line = run->history[run->noted++ % HISTORY];
    int length = snprintf(line, sizeof(run->history[0]), "%lu: ", run->step);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + length, sizeof(run->history[0]) - (size_t)length, format, arguments);
    va_end(arguments);
    if (run->trace)
        print_message("# %s\n", line);
}

__attribute__((format(printf, 2, 3))) static void broken(struct run *run, const char *format, ...)
{
    char what[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    for (unsigned long i = run->noted > HISTORY ? run->noted - HISTORY : 0; i < run->noted; i++)
        print_message("# %s\n", run->history[i % HISTORY]);
    print_message("# frames of %u bytes, %u pageblocks a block, owner bytes %u, %u CPUs, %u nodes\n",
                  1u << run->config.frame_shift, run->config.block_pageblocks, run->config.owner_bytes,
                  run->config.cpus, run->config.nodes);
    fail_msg("PLEAT_SEED=%llu, step %lu: %s", (unsigned long long)run->seed, run->step, what);
}

#define must(run, condition, ...)                                                                            \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            broken(run, __VA_ARGS__);                                                                        \
    } while (0)

#define X(number) ((unsigned long long)(number))

/* --- Chance
 * ------------------------------------------------------------------------------------------------- */

static uint64_t draw64(struct run *run)
{
    uint64_t z = run->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/** 0 to limit - 1. */
static uint64_t draw(struct run *run, uint64_t limit)
{
    return draw64(run) % limit;
}

static bool chance(struct run *run, unsigned percent)
{
    return draw(run, 100) < percent;
}

/** Small ones more often. */
static unsigned draw_order(struct run *run, unsigned most)
{
    unsigned order = (unsigned)draw(run, most + 1);
    return chance(run, 60) ? order / 3 : order;
}

/* --- Content
 * ------------------------------------------------------------------------------------------------ */

static volatile uint64_t *content(struct run *run, uint64_t pfn)
{
    return pleat_hosted_pointer(run->hosted, pfn);
}

static uint64_t stamp(uint64_t id, uint64_t index)
{
    return (id << 20 ^ index) * UINT64_C(0x9e3779b97f4a7c15);
}

static void write_stamps(struct run *run, uint64_t pfn, uint64_t frames, uint64_t id)
{
    uint64_t last = (UINT64_C(1) << run->config.frame_shift) / 8 - 1;
    for (uint64_t i = 0; i < frames; i++) {
        content(run, pfn + i)[0] = stamp(id, i);
        content(run, pfn + i)[last] = ~stamp(id, i);
    }
}

static void check_stamps(struct run *run, uint64_t pfn, uint64_t frames, uint64_t id)
{
    uint64_t last = (UINT64_C(1) << run->config.frame_shift) / 8 - 1;
    for (uint64_t i = 0; i < frames; i++) {
        must(run, content(run, pfn + i)[0] == stamp(id, i) && content(run, pfn + i)[last] == ~stamp(id, i),
             "PFN 0x%llx, frame %llu of allocation %llu, has lost its content", X(pfn + i), X(i), X(id));
    }
}

/** Fills whole frames with garbage: what memory holds before it is Pleat's. */
static void fill_garbage(struct run *run, uint64_t pfn, uint64_t frames)
{
    uint64_t words = (UINT64_C(1) << run->config.frame_shift) / 8;
    uint64_t kind = draw(run, 3);
    for (uint64_t i = 0; i < frames; i++) {
        for (uint64_t word = 0; word < words; word++)
            content(run, pfn + i)[word] = kind == 0 ? UINT64_MAX : kind == 1 ? draw64(run) : 1;
    }
}

/* --- Mapping: only what is plugged can be reached
 * ------------------------------------------------------------- */

static void map(struct run *run, uint64_t pfn, uint64_t frames)
{
    const struct pleat_port *port = pleat_hosted_port(run->hosted);
    must(run, !port->map(port->context, pfn, frames), "the host can't map");
}

static void unmap(struct run *run, uint64_t pfn, uint64_t frames)
{
    const struct pleat_port *port = pleat_hosted_port(run->hosted);
    port->unmap(port->context, pfn, frames);
}

/** Maps what is withheld: it was plugged. */
static void map_withheld(struct run *run, uint64_t start_pfn, uint64_t frames)
{
    for (uint64_t pfn = start_pfn; pfn < start_pfn + frames;) {
        uint64_t end = pfn;
        while (end < start_pfn + frames && run->plain.kind[end] == PLAIN_WITHHELD)
            end++;
        if (end > pfn)
            map(run, pfn, end - pfn);
        pfn = end + 1;
    }
}

/** Unmaps what in a block isn't memmap: it was unplugged. */
static void unmap_block(struct run *run, uint64_t start_pfn)
{
    for (uint64_t pfn = start_pfn; pfn < start_pfn + run->plain.block_frames;) {
        uint64_t end = pfn;
        while (end < start_pfn + run->plain.block_frames && run->plain.kind[end] != PLAIN_MEMMAP)
            end++;
        if (end > pfn)
            unmap(run, pfn, end - pfn);
        pfn = end + 1;
    }
}

/* --- Owners
 * ------------------------------------------------------------------------------------------------- */

static pleat_tag draw_tag(struct run *run, unsigned mobility, unsigned *owner)
{
    *owner = (unsigned)draw(run, OWNERS);
    if (mobility == PLEAT_MOVABLE && !run->owners[*owner].moves && !chance(run, 10))
        *owner = 0;
    /* The low part is the identity, the high part checks that all 48 bits are kept. */
    uint64_t cookie = (run->plain.next_id & 0xffffffff) | draw(run, 1 << 16) << 32;
    return pleat_tag_make((unsigned)run->owners[*owner].number, cookie);
}

static uint64_t cookie_of(const struct plain_allocation *allocation)
{
    return allocation->tag >> 16;
}

static void free_live(struct run *run, uint32_t index)
{
    struct plain_allocation *allocation = &run->plain.allocation[index];
    uint64_t *data = pleat_frame_data(&run->pleat, allocation->pfn);
    check_stamps(run, allocation->pfn, UINT64_C(1) << allocation->order, allocation->id);
    must(run, !data == (run->config.owner_bytes != 16), "frame_data");
    must(run, !data || *data == allocation->id, "the embedder's own 8 bytes of PFN 0x%llx have changed",
         X(allocation->pfn));
    note(run, "free 0x%llx order %u%s", X(allocation->pfn), allocation->order,
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
    if (chance(run, owner->pin_percent)) {
        note(run, "owner pins 0x%llx", X(pfn));
        run->stepping->refusals++;
        return PLEAT_E_BUSY;
    }
    allocation->isolated = true;
    if (chance(run, owner->free_percent))
        free_live(run, run->plain.owner[pfn]);
    return 0;
}

static bool movable_fits(const struct run *run, unsigned order, const struct plain_block *from);

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
    if (chance(run, owner->fail_percent)) {
        note(run, "owner fails to migrate 0x%llx to 0x%llx", X(from), X(to));
        run->stepping->refusals++;
        return PLEAT_E_NO_MEMORY;
    }
    note(run, "migrate 0x%llx to 0x%llx, order %u", X(from), X(to), order);
    check_stamps(run, from, size, allocation->id);
    for (uint64_t i = 0; i < size; i++)
        memcpy((void *)content(run, to + i), (void *)content(run, from + i),
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

static const struct pleat_owner_ops owner_ops = {isolate, migrate, putback};

static uint64_t reclaim(void *context, unsigned node, uint64_t frames)
{
    struct run *run = context;
    uint64_t freed = 0;
    must(run, node < run->config.nodes, "reclaim on node %u", node);
    run->reclaims++;
    if (chance(run, 50))
        return 0;
    for (unsigned i = 0; i < 8 && freed < frames && run->plain.live_count; i++) {
        uint32_t index = run->plain.live[draw(run, run->plain.live_count)];
        freed += UINT64_C(1) << run->plain.allocation[index].order;
        free_live(run, index);
    }
    return freed;
}

/* --- Listeners
 * ---------------------------------------------------------------------------------------------- */

static int hear(void *context, enum pleat_event event, uint64_t start_pfn, uint64_t frames, unsigned node,
                enum pleat_zone_kind zone)
{
    struct test_listener *listener = context;
    struct run *run = listener->run;
    must(run, listener->registered, "an event for a listener that isn't there");
    must(run, frames == run->plain.block_frames && start_pfn % frames == 0 && start_pfn < run->plain.frames,
         "event %d for a block that isn't one: PFN 0x%llx, %llu frames", (int)event, X(start_pfn), X(frames));
    const struct plain_block *block = plain_block_of(&run->plain, start_pfn);
    if (block->state != PLEAT_BLOCK_NONE)
        must(run, block->node == node, "event %d for another node", (int)event);
    must(run, (unsigned)zone < PLEAT_ZONE_KINDS, "event %d for no zone", (int)event);

    if (event == run->last_event && start_pfn == run->last_event_pfn)
        must(run, listener->listener.priority <= run->last_priority, "a lower priority heard first");
    run->last_event = event;
    run->last_event_pfn = start_pfn;
    run->last_priority = listener->listener.priority;

    int *heard = (int *)&listener->heard[start_pfn / frames];
    bool going = event == PLEAT_GOING_ONLINE || event == PLEAT_GOING_OFFLINE;
    int wanted = going                                                   ? QUIET
                 : event == PLEAT_ONLINE || event == PLEAT_CANCEL_ONLINE ? ASKED_ONLINE
                                                                         : ASKED_OFFLINE;
    must(run, *heard == wanted, "event %d for PFN 0x%llx, of which it heard %d", (int)event, X(start_pfn),
         *heard);
    if (!going) {
        *heard = QUIET;
        /* An error means nothing here. */
        return chance(run, 50) ? 0 : PLEAT_E_BUSY;
    }
    if (run->refuse_now || chance(run, listener->refuse_percent)) {
        note(run, "listener %d refuses event %d of 0x%llx", listener->listener.priority, (int)event,
             X(start_pfn));
        run->refused_block = start_pfn / frames;
        return PLEAT_E_BUSY;
    }
    *heard = event == PLEAT_GOING_ONLINE ? ASKED_ONLINE : ASKED_OFFLINE;
    return 0;
}

static void listener_add_or_remove(struct run *run)
{
    struct test_listener *listener = &run->listeners[draw(run, LISTENERS)];
    int wanted = listener->registered ? PLEAT_OK : PLEAT_E_NOT_FOUND;
    if (listener->registered || chance(run, 20)) {
        note(run, "listener_remove");
        must(run, pleat_listener_remove(&run->pleat, &listener->listener) == wanted, "listener_remove");
        listener->registered = false;
        return;
    }
    listener->listener =
        (struct pleat_listener){.event = hear, .context = listener, .priority = (int)draw(run, 5) - 2};
    listener->refuse_percent = chance(run, 50) ? 0 : (unsigned)draw(run, 30);
    listener->registered = true;
    /* It comes too late for what is under way, and will hear of the end. */
    for (uint64_t i = 0; i < run->plain.blocks; i++)
        listener->heard[i] = run->plain.block[i].state == PLEAT_BLOCK_GOING_OFFLINE ? ASKED_OFFLINE : QUIET;
    note(run, "listener_add priority %d, refuses %u %%", listener->listener.priority,
         listener->refuse_percent);
    pleat_listener_add(&run->pleat, &listener->listener);
}

static bool anybody_listens(const struct run *run)
{
    for (unsigned i = 0; i < LISTENERS; i++) {
        if (run->listeners[i].registered)
            return true;
    }
    return false;
}

/* --- Allocating and freeing
 * --------------------------------------------------------------------------------- */

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

static bool movable_fits(const struct run *run, unsigned order, const struct plain_block *from)
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
           (mobility == PLEAT_MOVABLE && (run->config.owner_bytes == PLEAT_NO_OWNER_WORD ||
                                          order > PLEAT_PAGEBLOCK_ORDER || !run->owners[owner].moves));
}

static unsigned draw_flags(struct run *run)
{
    unsigned flags = chance(run, run->movable_percent) ? PLEAT_MOVABLE : (unsigned)draw(run, 3);
    if (chance(run, 1))
        flags = PLEAT_MOBILITY_MASK;
    if (run->config.owner_bytes == PLEAT_NO_OWNER_WORD && flags == PLEAT_MOVABLE && chance(run, 95))
        flags = PLEAT_UNMOVABLE;
    if (chance(run, 30)) {
        flags |= chance(run, 20) ? PLEAT_ALLOC_DMA : 0;
        flags |= chance(run, 20) ? PLEAT_ALLOC_DMA32 : 0;
        flags |= chance(run, 30) ? PLEAT_ALLOC_RESERVE : 0;
        flags |= chance(run, 50) ? PLEAT_ALLOC_NO_RECLAIM : 0;
        flags |= chance(run, 30) ? PLEAT_ALLOC_THIS_NODE : 0;
        flags |=
            chance(run, 50) ? PLEAT_ALLOC_NODE(draw(run, run->config.nodes + (chance(run, 5) ? 1 : 0))) : 0;
    }
    return flags;
}

/** Returns whether it came off. */
static bool do_alloc(struct run *run, unsigned order, unsigned flags)
{
    unsigned owner;
    pleat_tag tag = draw_tag(run, flags & PLEAT_MOBILITY_MASK, &owner);
    int64_t pfn = pleat_alloc(&run->pleat, order, flags, tag);
    note(run, "cpu %u: alloc order %u flags 0x%x owner %u -> %lld", pleat_hosted_cpu(), order, flags, owner,
         (long long)pfn);
    if (alloc_is_invalid(run, order, flags, owner)) {
        must(run, pfn == PLEAT_E_INVALID, "an allocation that can't be was answered with %lld",
             (long long)pfn);
        return false;
    }
    struct wish wish = wish_of(run, flags);
    uint64_t size = UINT64_C(1) << order;
    if (pfn == PLEAT_E_NO_MEMORY) {
        bool kept = !(flags & PLEAT_ALLOC_RESERVE) && run->plain.count[PLAIN_FREE] < run->watermark + size;
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
    write_stamps(run, (uint64_t)pfn, size, id);
    uint64_t *data = pleat_frame_data(&run->pleat, (uint64_t)pfn);
    if (data)
        *data = id;
    return true;
}

static void do_alloc_some(struct run *run)
{
    unsigned flags = draw_flags(run);
    unsigned order = chance(run, 3) ? (unsigned)draw(run, 18) : draw_order(run, PLEAT_PAGEBLOCK_ORDER);
    unsigned times = chance(run, 50) ? 1 : 1 + (unsigned)draw(run, 60);
    if (chance(run, 1))
        times = 3000; /* until it is out, or nearly */
    while (times-- && do_alloc(run, order, flags))
        ;
}

static void do_free_some(struct run *run)
{
    unsigned times = chance(run, 50) ? 1 : 1 + (unsigned)draw(run, 60);
    if (chance(run, 1))
        times = 3000;
    while (times-- && run->plain.live_count)
        free_live(run, run->plain.live[draw(run, run->plain.live_count)]);
}

/** Frees what isn't allocated that way: nothing may change but the count of fatal lines. */
static void do_wrong_free(struct run *run)
{
    if (run->config.owner_bytes == PLEAT_NO_OWNER_WORD)
        return;
    uint64_t pfn = draw(run, run->plain.frames);
    unsigned order = (unsigned)draw(run, PLEAT_MAX_ORDER + 2);
    if (chance(run, 40) && run->plain.live_count) {
        /* Near a live one. */
        const struct plain_allocation *near =
            &run->plain.allocation[run->plain.live[draw(run, run->plain.live_count)]];
        pfn = near->pfn + (chance(run, 50) ? 0 : draw(run, (UINT64_C(1) << near->order) + 1));
        order = chance(run, 50) ? near->order : 0;
    } else if (chance(run, 60)) {
        order = 0;
    } else if (chance(run, 10)) {
        pfn = chance(run, 50) ? UINT64_MAX - draw(run, 4) : run->plain.frames + draw64(run) % (1 << 20);
    }
    const struct plain_allocation *head = plain_head(&run->plain, pfn);
    if ((head && head->order == order) ||
        (!order && pfn < run->plain.frames && run->plain.kind[pfn] == PLAIN_TAKEN))
        return;
    note(run, "wrong free of 0x%llx order %u, kind %d", X(pfn), order,
         pfn < run->plain.frames ? run->plain.kind[pfn] : -1);
    int error = pleat_free(&run->pleat, pfn, order);
    must(run, error == PLEAT_E_MISUSE, "a wrong free of PFN 0x%llx order %u was answered with %d", X(pfn),
         order, error);
    must(run, pleat_hosted_fatals(run->hosted) == ++run->fatals, "the port hasn't heard of a wrong free");
}

/* --- Ranges and blocks
 * -------------------------------------------------------------------------------------- */

static struct test_range *range_of(struct run *run, const struct plain_block *block)
{
    return block->range < 0 ? NULL : &run->ranges[block->range];
}

/** Frames at the start of a range's block that hold memmaps, as the mode says. */
static uint64_t prefix_frames(struct run *run, const struct pleat_range_config *config, uint64_t block)
{
    uint64_t each = pleat_memmap_frames(&run->pleat);
    if (config->memmap_mode == PLEAT_MEMMAP_BLOCK)
        return each;
    if (config->memmap_mode == PLEAT_MEMMAP_NORMAL)
        return 0;
    uint64_t total = config->frames / run->plain.block_frames * each,
             before = block * run->plain.block_frames;
    uint64_t left = total > before ? total - before : 0;
    return left < run->plain.block_frames ? left : run->plain.block_frames;
}

static void give_piece(struct run *run, struct pleat_online *online, uint64_t pfn, uint64_t frames)
{
    map(run, pfn, frames);
    pleat_online_give(online, pfn, frames);
    for (uint64_t i = pfn; i < pfn + frames; i++) {
        if (run->plain.kind[i] == PLAIN_WITHHELD)
            plain_set(&run->plain, i, 1, PLAIN_FREE);
    }
}

static void online_frames(struct pleat *pleat, void *context, uint64_t start_pfn, uint64_t frames,
                          struct pleat_online *online)
{
    struct test_range *range = context;
    struct run *run = range->run;
    must(run, pleat == &run->pleat, "online_frames of another machine");
    run->online_calls++;
    must(run,
         range->used && range->own_ops && frames == run->plain.block_frames && start_pfn % frames == 0 &&
             start_pfn >= range->config.start_pfn &&
             start_pfn < range->config.start_pfn + range->config.frames,
         "online_frames for PFN 0x%llx, %llu frames", X(start_pfn), X(frames));
    for (uint64_t pfn = start_pfn; pfn < start_pfn + frames; pfn++) {
        must(run, run->plain.kind[pfn] == PLAIN_OFFLINE || run->plain.kind[pfn] == PLAIN_MEMMAP,
             "online_frames for PFN 0x%llx, which isn't offline but %d", X(pfn), run->plain.kind[pfn]);
        if (run->plain.kind[pfn] == PLAIN_OFFLINE)
            plain_set(&run->plain, pfn, 1, PLAIN_WITHHELD);
    }
    if (chance(run, 10)) {
        give_piece(run, online, start_pfn, frames);
        return;
    }
    for (uint64_t pfn = start_pfn; pfn < start_pfn + frames; pfn += PAGEBLOCK) {
        if (!chance(run, range->give_percent))
            continue;
        /* Without owners' words, only whole pageblocks can be told apart. */
        if (run->config.owner_bytes != PLEAT_NO_OWNER_WORD && chance(run, 15)) {
            uint64_t from = draw(run, PAGEBLOCK), length = 1 + draw(run, PAGEBLOCK - from);
            give_piece(run, online, pfn + from, length);
        } else {
            give_piece(run, online, pfn, PAGEBLOCK);
        }
    }
}

static void offline_frames(struct pleat *pleat, void *context, uint64_t start_pfn, uint64_t frames)
{
    struct test_range *range = context;
    struct run *run = range->run;
    must(run, pleat == &run->pleat, "offline_frames of another machine");
    run->offline_calls++;
    must(run,
         range->used && frames == run->plain.block_frames && start_pfn % frames == 0 &&
             plain_block_of(&run->plain, start_pfn)->state == PLEAT_BLOCK_GOING_OFFLINE,
         "offline_frames for PFN 0x%llx", X(start_pfn));
}

static const struct pleat_range_ops range_ops = {online_frames, offline_frames};

/** The zone that an address asks for. */
static enum pleat_zone_kind zone_by_address(const struct run *run, uint64_t start_pfn)
{
    uint64_t end = start_pfn + run->plain.block_frames;
    return end <= run->config.dma_end_pfn     ? PLEAT_ZONE_DMA
           : end <= run->config.dma32_end_pfn ? PLEAT_ZONE_DMA32
                                              : PLEAT_ZONE_NORMAL;
}

static void map_whole_block(struct run *run, uint64_t start_pfn)
{
    const struct test_range *range = range_of(run, plain_block_of(&run->plain, start_pfn));
    if (!range->own_ops)
        map(run, start_pfn, run->plain.block_frames);
}

/** A block that was OFFLINE is online by the core: the model follows. */
static void follow_online(struct run *run, uint64_t start_pfn, enum pleat_zone_kind zone)
{
    struct plain_block *block = plain_block_of(&run->plain, start_pfn);
    block->state = PLEAT_BLOCK_ONLINE;
    block->zone = zone;
    if (range_of(run, block)->own_ops)
        return;
    for (uint64_t pfn = start_pfn; pfn < start_pfn + run->plain.block_frames; pfn++) {
        if (run->plain.kind[pfn] == PLAIN_OFFLINE)
            plain_set(&run->plain, pfn, 1, PLAIN_FREE);
    }
}

static uint64_t usable_frames(const struct run *run, uint64_t block)
{
    uint64_t frames = 0;
    for (uint64_t pfn = block * run->plain.block_frames; pfn < (block + 1) * run->plain.block_frames; pfn++) {
        switch ((enum plain_kind)run->plain.kind[pfn]) {
        case PLAIN_MEMMAP:
        case PLAIN_MEMMAP_NORMAL:
        case PLAIN_ABSENT:
        case PLAIN_WITHHELD:
        case PLAIN_OFFLINE:
        case PLAIN_NOWHERE:
            break;
        default:
            frames++;
        }
    }
    return frames;
}

/** Whether the zone that a block was put into follows from the policy, give or take a block. */
static bool zone_follows_policy(const struct run *run, uint64_t start_pfn, unsigned node,
                                enum pleat_zone_kind zone)
{
    enum pleat_zone_kind by_address = zone_by_address(run, start_pfn);
    uint64_t in_zone[PLEAT_ZONE_KINDS] = {0}, slack = run->plain.block_frames;
    bool one_node = run->policy == PLEAT_POLICY_PREFER_MOVABLE;
    enum pleat_zone_kind wished = PLEAT_ZONE_MOVABLE;
    uint64_t ratio_percent = run->policy_ratio;

    switch (run->policy) {
    case PLEAT_POLICY_ONLINE:
    case PLEAT_POLICY_ONLINE_KERNEL:
        return zone == by_address;
    case PLEAT_POLICY_OFFLINE:
        return false;
    case PLEAT_POLICY_ONLINE_MOVABLE:
        return zone == PLEAT_ZONE_MOVABLE;
    case PLEAT_POLICY_PREFER_MOVABLE:
        wished = PLEAT_ZONE_PREFER_MOVABLE;
        ratio_percent *= 100;
        break;
    case PLEAT_POLICY_AUTO_MOVABLE:
        break;
    }
    for (uint64_t i = 0; i < run->plain.blocks; i++) {
        const struct plain_block *block = &run->plain.block[i];
        if (block->state != PLEAT_BLOCK_NONE && block->state != PLEAT_BLOCK_OFFLINE &&
            (!one_node || block->node == node))
            in_zone[block->zone] += usable_frames(run, i);
    }
    uint64_t movable = in_zone[wished], rest = 0;
    for (unsigned kind = 0; kind < PLEAT_ZONE_KINDS; kind++) {
        if (kind != PLEAT_ZONE_MOVABLE && kind != (unsigned)wished)
            rest += in_zone[kind];
    }
    if (run->policy == PLEAT_POLICY_AUTO_MOVABLE)
        rest = in_zone[PLEAT_ZONE_DMA] + in_zone[PLEAT_ZONE_DMA32] + in_zone[PLEAT_ZONE_NORMAL] +
               in_zone[PLEAT_ZONE_PREFER_MOVABLE];
    if (zone == wished)
        return movable * 100 <= rest * ratio_percent + slack * 100;
    return zone == by_address && (movable + 2 * slack) * 100 > rest * ratio_percent;
}

/** Follows the blocks of a range that was just added. */
static void follow_add(struct run *run, struct test_range *range)
{
    uint64_t end = range->config.start_pfn + range->config.frames;
    for (uint64_t pfn = range->config.start_pfn; pfn < end; pfn += run->plain.block_frames) {
        struct pleat_block_info info;
        must(run, !pleat_block_info(&run->pleat, pfn, &info), "an added block isn't there");
        bool forced = range->config.flags & PLEAT_ADD_FORCE_ONLINE;
        if (info.state == PLEAT_BLOCK_OFFLINE) {
            must(run, (!forced && run->policy == PLEAT_POLICY_OFFLINE) || anybody_listens(run),
                 "an added block stayed OFFLINE, and nobody asked for that");
            continue;
        }
        must(run, info.state == PLEAT_BLOCK_ONLINE, "an added block is in state %d", (int)info.state);
        if (forced)
            must(run, info.zone == range->config.force_zone, "another zone than was forced");
        else
            must(run, zone_follows_policy(run, pfn, range->config.node, info.zone),
                 "zone %d doesn't follow from policy %d, ratio %u", (int)info.zone, (int)run->policy,
                 run->policy_ratio);
        follow_online(run, pfn, info.zone);
    }
}

/** Finds out which frames of boot memory hold memmaps of other blocks, after that has changed. */
static void learn_normal_memmaps(struct run *run)
{
    uint64_t wanted = 0;
    bool blind = run->config.owner_bytes == PLEAT_NO_OWNER_WORD;
    if (blind)
        pleat_drain(&run->pleat);
    for (uint64_t i = 0; i < run->plain.blocks; i++) {
        const struct plain_block *block = &run->plain.block[i];
        const struct test_range *range = range_of(run, block);
        if (range && range->config.memmap_mode == PLEAT_MEMMAP_NORMAL)
            wanted += pleat_memmap_frames(&run->pleat);
    }
    for (uint64_t pfn = 0; pfn < run->plain.frames; pfn++) {
        const struct plain_block *block = plain_block_of(&run->plain, pfn);
        uint8_t kind = run->plain.kind[pfn];
        struct pleat_look look, expected;
        if (block->state == PLEAT_BLOCK_NONE || block->removable) {
            pfn += run->plain.block_frames - 1;
            continue;
        }
        if (pfn % PAGEBLOCK == 0) {
            plain_look(&run->plain, pfn, PAGEBLOCK, &expected);
            must(run, !pleat_look(&run->pleat, pfn, PAGEBLOCK, &look), "boot memory can't be looked at");
            if (expected.free == look.free &&
                !plain_count(&run->plain, pfn, PAGEBLOCK, PLAIN_MEMMAP_NORMAL)) {
                pfn += PAGEBLOCK - 1;
                continue;
            }
        }
        if (kind != PLAIN_FREE && kind != PLAIN_MEMMAP_NORMAL)
            continue;
        must(run, !pleat_look(&run->pleat, pfn, 1, &look), "boot memory can't be looked at");
        bool memmap = blind ? look.unmovable : look.memmap;
        must(run, memmap + look.free == 1, "PFN 0x%llx was free or a memmap, and now it isn't", X(pfn));
        must(run, kind != PLAIN_FREE || !memmap || !plain_is_isolated(&run->plain, pfn, 1),
             "a memmap was put into isolated PFN 0x%llx", X(pfn));
        if ((kind == PLAIN_MEMMAP_NORMAL) != memmap)
            plain_set(&run->plain, pfn, 1, memmap ? PLAIN_MEMMAP_NORMAL : PLAIN_FREE);
    }
    must(run, run->plain.count[PLAIN_MEMMAP_NORMAL] == wanted, "%llu frames hold memmaps in place of %llu",
         X(run->plain.count[PLAIN_MEMMAP_NORMAL]), X(wanted));
}

static struct test_range *spare_range(struct run *run)
{
    for (unsigned i = 0; i < RANGES; i++) {
        if (!run->ranges[i].used)
            return &run->ranges[i];
    }
    return NULL;
}

/** Blocks whose memmap can be had from boot memory of a node (or of any). */
static bool normal_memmap_allowed(const void *context, const struct plain_block *block)
{
    const unsigned *node = context;
    return !block->removable && (*node == PLEAT_MAX_NODES || block->node == *node);
}

/** A block in that state, if a few attempts find one. */
static uint64_t draw_block(struct run *run, enum pleat_block_state state)
{
    uint64_t block = draw(run, run->plain.blocks);
    for (unsigned i = 0; i < 30 && run->plain.block[block].state != state; i++)
        block = draw(run, run->plain.blocks);
    return block;
}

static void do_add(struct run *run)
{
    struct test_range *range = spare_range(run);
    if (!range)
        return;
    uint64_t block_frames = run->plain.block_frames;
    struct pleat_range_config *config = &range->config;
    range->own_ops = chance(run, 50);
    range->give_percent = (unsigned)draw(run, 101);
    snprintf(range->name, sizeof(range->name), "range %u", (unsigned)(range - run->ranges));
    *config = (struct pleat_range_config){
        .name = range->name,
        .owner = range,
        .ops = range->own_ops ? &range_ops : NULL,
        .context = range,
        .start_pfn = draw_block(run, PLEAT_BLOCK_NONE) * block_frames,
        .frames = block_frames,
        .node = (unsigned)draw(run, run->config.nodes),
        .memmap_mode = (enum pleat_memmap_mode)draw(run, 3),
        .flags = (unsigned)draw(run, 4),
        .force_zone = (enum pleat_zone_kind)(PLEAT_ZONE_NORMAL + draw(run, 3)),
    };
    for (uint64_t more = draw(run, 4); more; more--) {
        uint64_t next = (config->start_pfn + config->frames) / block_frames;
        if (next < run->plain.blocks && (run->plain.block[next].state == PLEAT_BLOCK_NONE || chance(run, 5)))
            config->frames += block_frames;
    }
    if (chance(run, 10)) {
        /* Spoilt in one way or another. */
        switch (draw(run, 9)) {
        case 0:
            config->start_pfn++;
            break;
        case 1:
            config->frames--;
            break;
        case 2:
            config->frames = 0;
            break;
        case 3:
            config->node = run->config.nodes;
            break;
        case 4:
            config->owner = NULL;
            break;
        case 5:
            config->name = NULL;
            break;
        case 6:
            config->memmap_mode = (enum pleat_memmap_mode)3;
            break;
        case 7:
            config->frames = -block_frames;
            break;
        default:
            config->start_pfn = -block_frames;
        }
    }

    bool valid = config->name && config->owner && config->frames && config->start_pfn % block_frames == 0 &&
                 config->frames % block_frames == 0 && config->node < run->config.nodes &&
                 config->memmap_mode <= PLEAT_MEMMAP_NORMAL && config->start_pfn < run->plain.frames &&
                 config->frames <= run->plain.frames - config->start_pfn;
    bool exists = false;
    if (valid) {
        for (uint64_t pfn = config->start_pfn; pfn < config->start_pfn + config->frames; pfn += block_frames)
            exists |= plain_block_of(&run->plain, pfn)->state != PLEAT_BLOCK_NONE;
    }
    if (valid && !exists) {
        /* The model is told before, because callbacks ask it. */
        range->used = true;
        for (uint64_t i = 0; i < config->frames / block_frames; i++) {
            uint64_t start = config->start_pfn + i * block_frames, prefix = prefix_frames(run, config, i);
            *plain_block_of(&run->plain, start) = (struct plain_block){.state = PLEAT_BLOCK_OFFLINE,
                                                                       .node = config->node,
                                                                       .removable = true,
                                                                       .range = (int)(range - run->ranges)};
            plain_set(&run->plain, start, block_frames, PLAIN_OFFLINE);
            if (config->flags & PLEAT_MEMMAP_HINT && config->memmap_mode != PLEAT_MEMMAP_BLOCK) {
                /* It may end as another mode: all of it is plugged. */
                range->own_ops = false;
                config->ops = NULL;
            }
            plain_set(&run->plain, start, prefix, PLAIN_MEMMAP);
            if (prefix) {
                map(run, start, prefix);
                fill_garbage(run, start, prefix);
            }
            map_whole_block(run, start);
        }
    }
    note(run, "add 0x%llx, %llu frames, node %u, memmap mode %d, flags %u, zone %d, %s", X(config->start_pfn),
         X(config->frames), config->node, (int)config->memmap_mode, config->flags, (int)config->force_zone,
         range->own_ops ? "own ops" : "no ops");
    int error = pleat_add(&run->pleat, config);
    note(run, "... add -> %d", error);
    if (!valid || exists) {
        must(run, error == (valid ? PLEAT_E_EXISTS : PLEAT_E_INVALID), "add was answered with %d", error);
        return;
    }
    if (error) {
        unsigned node = config->flags & PLEAT_MEMMAP_HINT ? PLEAT_MAX_NODES : config->node;
        unsigned order = 0;
        while (UINT64_C(1) << order < pleat_memmap_frames(&run->pleat))
            order++;
        must(run,
             config->memmap_mode == PLEAT_MEMMAP_NORMAL && !(config->flags & PLEAT_MEMMAP_HINT) &&
                 error == PLEAT_E_NO_MEMORY,
             "add was answered with %d", error);
        /* One fitted perhaps, but not all of them. */
        must(run,
             config->frames > block_frames || !plain_fits(&run->plain, order, normal_memmap_allowed, &node),
             "no memory for a memmap, though some is free");
        for (uint64_t pfn = config->start_pfn; pfn < config->start_pfn + config->frames;
             pfn += block_frames) {
            plain_set(&run->plain, pfn, block_frames, PLAIN_NOWHERE);
            *plain_block_of(&run->plain, pfn) = (struct plain_block){.state = PLEAT_BLOCK_NONE, .range = -1};
        }
        unmap(run, config->start_pfn, config->frames);
        range->used = false;
        learn_normal_memmaps(run);
        return;
    }
    if (config->flags & PLEAT_MEMMAP_HINT) {
        struct pleat_range_info info;
        must(run, !pleat_range_info(&run->pleat, config->start_pfn, &info) && info.owner == range,
             "an added range isn't there");
        must(run, info.memmap_mode == config->memmap_mode || config->memmap_mode != PLEAT_MEMMAP_BLOCK,
             "the hint changed the mode that always works");
        bool changed = config->memmap_mode != info.memmap_mode;
        config->memmap_mode = info.memmap_mode;
        for (uint64_t i = 0; changed && i < config->frames / block_frames; i++) {
            uint64_t start = config->start_pfn + i * block_frames;
            plain_set(&run->plain, start, block_frames, PLAIN_OFFLINE);
            plain_set(&run->plain, start, prefix_frames(run, config, i), PLAIN_MEMMAP);
        }
    }
    if (config->memmap_mode == PLEAT_MEMMAP_NORMAL)
        learn_normal_memmaps(run);
    follow_add(run, range);
}

static void do_remove(struct run *run)
{
    uint64_t block_frames = run->plain.block_frames;
    uint64_t first = chance(run, 80) ? draw_block(run, PLEAT_BLOCK_OFFLINE) : draw(run, run->plain.blocks);
    uint64_t blocks = 1 + draw(run, 3);
    struct test_range *range = range_of(run, &run->plain.block[first]);
    const void *owner = range ? range : &run->ranges[0];
    if (range && chance(run, 50)) {
        first = range->config.start_pfn / block_frames;
        blocks = range->config.frames / block_frames;
    }
    if (chance(run, 10))
        owner = &run->ranges[draw(run, RANGES)];
    if (chance(run, 5))
        owner = NULL;
    if (first + blocks > run->plain.blocks)
        blocks = run->plain.blocks - first;

    bool missing = false, foreign = false, busy = false;
    for (uint64_t i = first; i < first + blocks; i++) {
        const struct plain_block *block = &run->plain.block[i];
        const struct test_range *its = range_of(run, block);
        missing |= block->state == PLEAT_BLOCK_NONE;
        if (block->state == PLEAT_BLOCK_NONE)
            continue;
        foreign |= !its || its != owner ||
                   (its->config.memmap_mode == PLEAT_MEMMAP_RANGE &&
                    (its->config.start_pfn < first * block_frames ||
                     its->config.start_pfn + its->config.frames > (first + blocks) * block_frames));
        busy |= block->state != PLEAT_BLOCK_OFFLINE;
    }
    note(run, "remove 0x%llx, %llu blocks", X(first * block_frames), X(blocks));
    int error = pleat_remove(&run->pleat, owner, first * block_frames, blocks * block_frames);
    note(run, "... remove -> %d", error);
    if (missing || foreign || busy) {
        must(run,
             (missing && error == PLEAT_E_NOT_FOUND) || (foreign && error == PLEAT_E_NOT_OWNER) ||
                 (busy && error == PLEAT_E_STATE),
             "remove of missing %d, foreign %d, busy %d blocks was answered with %d", missing, foreign, busy,
             error);
        return;
    }
    must(run, !error, "remove was answered with %d", error);
    bool normal = false;
    for (uint64_t i = first; i < first + blocks; i++) {
        normal |= range_of(run, &run->plain.block[i])->config.memmap_mode == PLEAT_MEMMAP_NORMAL;
        run->plain.block[i] = (struct plain_block){.state = PLEAT_BLOCK_NONE, .range = -1};
    }
    plain_set(&run->plain, first * block_frames, blocks * block_frames, PLAIN_NOWHERE);
    unmap(run, first * block_frames, blocks * block_frames);
    if (normal)
        learn_normal_memmaps(run);
    for (unsigned i = 0; i < RANGES; i++) {
        bool left = false;
        for (uint64_t j = 0; j < run->plain.blocks; j++)
            left |= run->plain.block[j].range == (int)i;
        run->ranges[i].used &= left;
    }
}

static void do_online(struct run *run)
{
    uint64_t block_frames = run->plain.block_frames;
    uint64_t first = chance(run, 80) ? draw_block(run, PLEAT_BLOCK_OFFLINE) : draw(run, run->plain.blocks);
    uint64_t blocks = 1 + draw(run, 2);
    enum pleat_zone_kind zone =
        (enum pleat_zone_kind)(chance(run, 90) ? PLEAT_ZONE_NORMAL + draw(run, 3) : draw(run, 2));
    bool missing = false, busy = false, high = false;
    if (first + blocks > run->plain.blocks)
        blocks = 1;
    for (uint64_t i = first; i < first + blocks; i++) {
        const struct plain_block *block = &run->plain.block[i];
        missing |= block->state == PLEAT_BLOCK_NONE;
        busy |= block->state != PLEAT_BLOCK_NONE && block->state != PLEAT_BLOCK_OFFLINE;
        high |= zone < PLEAT_ZONE_NORMAL && zone_by_address(run, i * block_frames) > zone;
        if (block->state == PLEAT_BLOCK_OFFLINE)
            map_whole_block(run, i * block_frames);
    }
    run->refuse_now = chance(run, 10);
    run->refused_block = UINT64_MAX;
    note(run, "online 0x%llx, %llu blocks, zone %d", X(first * block_frames), X(blocks), (int)zone);
    int error = pleat_online(&run->pleat, first * block_frames, blocks * block_frames, zone);
    note(run, "... online -> %d", error);
    run->refuse_now = false;
    if (missing || busy || high) {
        must(run,
             (missing && error == PLEAT_E_NOT_FOUND) || (busy && error == PLEAT_E_STATE) ||
                 (high && error == PLEAT_E_INVALID),
             "online of missing %d, busy %d, high %d blocks was answered with %d", missing, busy, high,
             error);
    } else if (run->refused_block != UINT64_MAX) {
        must(run, error == PLEAT_E_REFUSED, "online that was refused was answered with %d", error);
    } else {
        must(run, !error, "online was answered with %d", error);
        for (uint64_t i = first; i < first + blocks; i++)
            follow_online(run, i * block_frames, zone);
        return;
    }
    for (uint64_t i = first; i < first + blocks; i++) {
        if (run->plain.block[i].state == PLEAT_BLOCK_OFFLINE)
            unmap_block(run, i * block_frames);
    }
}

/** Whether all pageblocks are fake-offline, with what is passed over in them. */
static bool is_withheld(const struct run *run, uint64_t pfn, uint64_t frames)
{
    for (uint64_t at = pfn; at < pfn + frames; at += PAGEBLOCK) {
        uint64_t withheld = plain_count(&run->plain, at, PAGEBLOCK, PLAIN_WITHHELD);
        if (!withheld || withheld + plain_count(&run->plain, at, PAGEBLOCK, PLAIN_MEMMAP) +
                                 plain_count(&run->plain, at, PAGEBLOCK, PLAIN_MEMMAP_NORMAL) +
                                 plain_count(&run->plain, at, PAGEBLOCK, PLAIN_ABSENT) !=
                             PAGEBLOCK)
            return false;
    }
    return true;
}

static void do_give(struct run *run)
{
    uint64_t pfn = draw(run, run->plain.frames / PAGEBLOCK) * PAGEBLOCK,
             frames = (1 + draw(run, 3)) * PAGEBLOCK;
    /* Some that are withheld, if there are any near. */
    for (unsigned i = 0; i < 50 && !is_withheld(run, pfn, PAGEBLOCK); i++)
        pfn = draw(run, run->plain.frames / PAGEBLOCK) * PAGEBLOCK;
    if (pfn + frames > run->plain.frames || chance(run, 50))
        frames = PAGEBLOCK;
    const struct plain_block *block = plain_block_of(&run->plain, pfn);
    const struct test_range *range = range_of(run, block);
    const void *owner = range;
    if (chance(run, 5))
        owner = &run->ranges[draw(run, RANGES)];
    bool spans = block != plain_block_of(&run->plain, pfn + frames - 1);
    bool missing = block->state == PLEAT_BLOCK_NONE;
    bool foreign = !missing && owner != range;
    bool busy = block->state != PLEAT_BLOCK_ONLINE || plain_is_isolated(&run->plain, pfn, frames) ||
                !is_withheld(run, pfn, frames);
    /* A pageblock of memmap alone is withheld or not, as one likes. */
    bool either = false;
    for (uint64_t i = pfn; i < pfn + frames; i += PAGEBLOCK)
        either |= plain_all(&run->plain, i, PAGEBLOCK, PLAIN_MEMMAP);
    if (either)
        return;
    if (!spans && !missing && !foreign && !busy)
        map_withheld(run, pfn, frames);
    note(run, "give 0x%llx, %llu frames", X(pfn), X(frames));
    int error = pleat_give(&run->pleat, owner, pfn, frames);
    note(run, "... give -> %d", error);
    if (spans || missing || foreign || busy) {
        must(run,
             (spans && (error == PLEAT_E_INVALID || error == PLEAT_E_NOT_FOUND)) ||
                 (missing && error == PLEAT_E_NOT_FOUND) || (foreign && error == PLEAT_E_NOT_OWNER) ||
                 (busy && error == PLEAT_E_STATE),
             "give of spanning %d, missing %d, foreign %d, busy %d frames was answered with %d", spans,
             missing, foreign, busy, error);
        return;
    }
    must(run, !error, "give was answered with %d", error);
    for (uint64_t i = pfn; i < pfn + frames; i++) {
        if (run->plain.kind[i] == PLAIN_WITHHELD)
            plain_set(&run->plain, i, 1, PLAIN_FREE);
    }
}

static void do_policy(struct run *run)
{
    enum pleat_online_policy policy = (enum pleat_online_policy)draw(run, 6);
    unsigned ratio = chance(run, 50) ? 0 : 1 + (unsigned)draw(run, 500);
    if (policy == PLEAT_POLICY_PREFER_MOVABLE)
        ratio %= 8;
    note(run, "set_policy %d, ratio %u", (int)policy, ratio);
    must(run, !pleat_set_policy(&run->pleat, policy, ratio), "set_policy");
    must(run, pleat_set_policy(&run->pleat, (enum pleat_online_policy)6, 0) == PLEAT_E_INVALID, "set_policy");
    run->policy = policy;
    run->policy_ratio = ratio ? ratio : policy == PLEAT_POLICY_AUTO_MOVABLE ? 300 : 4;
}

static void do_release_boot(struct run *run)
{
    uint64_t pfn = draw(run, run->plain.frames);
    for (unsigned i = 0; i < 200 && run->plain.kind[pfn] != PLAIN_BOOT_IN_USE; i++)
        pfn = draw(run, run->plain.frames);
    uint64_t frames = 1 + draw(run, chance(run, 50) ? 8 : 2000);
    if (frames > run->plain.frames - pfn)
        frames = run->plain.frames - pfn;
    bool in_use = plain_all(&run->plain, pfn, frames, PLAIN_BOOT_IN_USE);
    bool isolated = plain_is_isolated(&run->plain, pfn, frames);
    note(run, "release_boot 0x%llx, %llu frames", X(pfn), X(frames));
    int error = pleat_release_boot(&run->pleat, pfn, frames);
    note(run, "... release_boot -> %d", error);
    if (run->config.owner_bytes == PLEAT_NO_OWNER_WORD) {
        must(run, error == PLEAT_E_UNSUPPORTED, "release_boot was answered with %d", error);
        return;
    }
    must(run, error == (in_use ? 0 : PLEAT_E_NOT_FOUND) || (in_use && isolated && error == PLEAT_E_BUSY),
         "release_boot was answered with %d", error);
    if (!error)
        plain_set(&run->plain, pfn, frames, PLAIN_FREE);
}

/* --- Taking ranges back
 * --------------------------------------------------------------------------------------- */

/** In a set of errors: it may come off all the same. */
#define MAY_SUCCEED 1u

/** What pleat_take_begin() may answer, as a set of bits 1 << -error; 0: it has to come off. */
static unsigned take_errors(struct run *run, const struct pleat_take_config *config)
{
    uint64_t unit = config->goal == PLEAT_TAKE_TO_OFFLINE        ? run->plain.block_frames
                    : config->goal == PLEAT_TAKE_TO_FAKE_OFFLINE ? PAGEBLOCK
                                                                 : 1;
    unsigned errors = 0;
    struct pleat_look look;
    if (!config->frames || config->start_pfn % unit || config->frames % unit)
        errors |= 1u << -PLEAT_E_INVALID;
    if (config->start_pfn >= run->plain.frames || config->frames > run->plain.frames - config->start_pfn)
        return errors | 1u << -PLEAT_E_NOT_FOUND;
    if (config->goal != PLEAT_TAKE_TO_OFFLINE && config->frames &&
        plain_block_of(&run->plain, config->start_pfn) !=
            plain_block_of(&run->plain, config->start_pfn + config->frames - 1))
        errors |= 1u << -PLEAT_E_INVALID;
    if (errors)
        return errors;
    for (uint64_t pfn = config->start_pfn; pfn < config->start_pfn + config->frames; pfn++) {
        const struct plain_block *block = plain_block_of(&run->plain, pfn);
        if (block->state == PLEAT_BLOCK_NONE)
            errors |= 1u << -PLEAT_E_NOT_FOUND;
        else if (config->owner && range_of(run, block) != config->owner)
            errors |= 1u << -PLEAT_E_NOT_OWNER;
        else if (config->goal == PLEAT_TAKE_TO_OFFLINE && !block->removable)
            errors |= 1u << -PLEAT_E_NOT_OWNER;
        if (block->state == PLEAT_BLOCK_OFFLINE)
            errors |= 1u << -PLEAT_E_STATE;
        if (block->state == PLEAT_BLOCK_GOING_OFFLINE || plain_is_isolated(&run->plain, pfn, 1))
            errors |= 1u << -PLEAT_E_BUSY;
        if (pfn % run->plain.block_frames == 0 && block->state == PLEAT_BLOCK_NONE)
            pfn += run->plain.block_frames - 1;
    }
    plain_look(&run->plain, config->start_pfn, config->frames, &look);
    if (config->goal == PLEAT_TAKE_TO_ALLOCATED && (look.memmap || look.fake_offline || look.absent))
        errors |= 1u << -PLEAT_E_STATE;
    if (look.unmovable)
        errors |= 1u << -PLEAT_E_UNMOVABLE;
    /* Without owners' words, what is passed over can look as if it were in use. */
    if (run->config.owner_bytes == PLEAT_NO_OWNER_WORD && (look.memmap || look.absent))
        errors |= 1u << -PLEAT_E_UNMOVABLE | (errors ? 0 : MAY_SUCCEED);
    return errors;
}

static void draw_take(struct run *run, struct pleat_take_config *config)
{
    uint64_t block_frames = run->plain.block_frames;
    *config = (struct pleat_take_config){.goal = (enum pleat_take_goal)draw(run, 3)};
    uint64_t block = draw_block(run, PLEAT_BLOCK_ONLINE);
    for (unsigned i = 0; i < 10 && !run->plain.block[block].removable; i++)
        block = draw_block(run, PLEAT_BLOCK_ONLINE);
    if (chance(run, 20))
        block = draw(run, run->plain.blocks);
    config->start_pfn = block * block_frames;
    switch (config->goal) {
    case PLEAT_TAKE_TO_OFFLINE:
        config->frames = (chance(run, 70) ? 1 : 1 + draw(run, 3)) * block_frames;
        break;
    case PLEAT_TAKE_TO_FAKE_OFFLINE:
        config->start_pfn += draw(run, block_frames / PAGEBLOCK) * PAGEBLOCK;
        config->frames = (chance(run, 70) ? 1 : 1 + draw(run, block_frames / PAGEBLOCK)) * PAGEBLOCK;
        config->owner = range_of(run, &run->plain.block[block]);
        if (!config->owner && chance(run, 10))
            config->owner = &run->ranges[0];
        break;
    case PLEAT_TAKE_TO_ALLOCATED:
        config->start_pfn += draw(run, block_frames);
        config->frames = 1 + draw(run, chance(run, 50) ? 32 : chance(run, 50) ? PAGEBLOCK : 4 * PAGEBLOCK);
        unsigned owner;
        config->tag = draw_tag(run, PLEAT_UNMOVABLE, &owner);
        break;
    }
    if (chance(run, 5))
        config->owner = &run->ranges[draw(run, RANGES)];
    if (chance(run, 2))
        config->start_pfn++;
    if (chance(run, 2))
        config->frames = 0;
    if (chance(run, 20))
        config->deadline_ns = run->now_ns + 1 + draw(run, 40);
}

static void check_look(struct run *run, const struct pleat_look *look, const struct pleat_look *wanted,
                       const char *whose)
{
    if (run->config.owner_bytes == PLEAT_NO_OWNER_WORD) {
        /* Nothing tells what single frames are. */
        must(run, look->free == wanted->free && look->movable == 0, "%s: free %llu, should be %llu", whose,
             X(look->free), X(wanted->free));
        return;
    }
    must(run,
         look->free == wanted->free && look->movable == wanted->movable &&
             look->unmovable == wanted->unmovable && look->memmap == wanted->memmap &&
             look->fake_offline == wanted->fake_offline && look->absent == wanted->absent,
         "%s: free %llu movable %llu unmovable %llu memmap %llu fake %llu absent %llu, should be "
         "%llu %llu %llu %llu %llu %llu",
         whose, X(look->free), X(look->movable), X(look->unmovable), X(look->memmap), X(look->fake_offline),
         X(look->absent), X(wanted->free), X(wanted->movable), X(wanted->unmovable), X(wanted->memmap),
         X(wanted->fake_offline), X(wanted->absent));
    if (wanted->unmovable)
        must(run, look->first_obstacle_pfn == wanted->first_obstacle_pfn,
             "%s: the first obstacle is 0x%llx, should be 0x%llx", whose, X(look->first_obstacle_pfn),
             X(wanted->first_obstacle_pfn));
}

static void set_state(struct run *run, const struct pleat_take_config *config, enum pleat_block_state state)
{
    for (uint64_t pfn = config->start_pfn; pfn < config->start_pfn + config->frames;
         pfn += run->plain.block_frames)
        plain_block_of(&run->plain, pfn)->state = state;
}

/** The take has come off: the frames are what its goal says. */
static void follow_taken(struct run *run, const struct pleat_take_config *config)
{
    uint64_t end = config->start_pfn + config->frames;
    for (uint64_t pfn = config->start_pfn; pfn < end; pfn++) {
        uint8_t kind = run->plain.kind[pfn];
        if (kind == PLAIN_MEMMAP || kind == PLAIN_MEMMAP_NORMAL || kind == PLAIN_ABSENT ||
            kind == PLAIN_WITHHELD) {
            if (config->goal == PLEAT_TAKE_TO_OFFLINE && kind == PLAIN_WITHHELD)
                plain_set(&run->plain, pfn, 1, PLAIN_OFFLINE);
            continue;
        }
        must(run, kind == PLAIN_FREE, "a range was taken in which PFN 0x%llx is in use", X(pfn));
        plain_set(&run->plain, pfn, 1,
                  config->goal == PLEAT_TAKE_TO_ALLOCATED      ? PLAIN_TAKEN
                  : config->goal == PLEAT_TAKE_TO_FAKE_OFFLINE ? PLAIN_WITHHELD
                                                               : PLAIN_OFFLINE);
        if (config->goal == PLEAT_TAKE_TO_ALLOCATED)
            write_stamps(run, pfn, 1, pfn);
    }
    if (config->goal == PLEAT_TAKE_TO_OFFLINE) {
        set_state(run, config, PLEAT_BLOCK_OFFLINE);
        for (uint64_t pfn = config->start_pfn; pfn < end; pfn += run->plain.block_frames)
            unmap_block(run, pfn);
    } else if (config->goal == PLEAT_TAKE_TO_FAKE_OFFLINE && config->owner) {
        /* Unplugged: a touch is caught from now on. */
        for (uint64_t pfn = config->start_pfn; pfn < end; pfn++) {
            if (run->plain.kind[pfn] == PLAIN_WITHHELD && pleat_hosted_is_mapped(run->hosted, pfn))
                unmap(run, pfn, 1);
        }
    }
}

/** A running take has ended, one way or the other. */
static void take_over(struct run *run, struct test_take *take)
{
    take->active = false;
    plain_isolate(&run->plain, take->config.start_pfn, take->config.frames, -1);
    if (take->config.goal == PLEAT_TAKE_TO_OFFLINE)
        set_state(run, &take->config, PLEAT_BLOCK_ONLINE);
}

/** Whether the answer to a step that failed is true. */
static void check_step_failed(struct run *run, const struct test_take *take, int result)
{
    const struct pleat_take_config *config = &take->config;
    bool nowhere = false;
    switch (result) {
    case PLEAT_E_UNMOVABLE:
        /* Who was in the way at the last pass may be gone by now. */
        must(run, take->refusals, "UNMOVABLE, though nobody refused");
        break;
    case PLEAT_E_TIMEOUT:
        must(run, config->deadline_ns && run->now_ns >= config->deadline_ns, "TIMEOUT before the deadline");
        break;
    case PLEAT_E_NO_MEMORY:
        for (uint64_t pfn = config->start_pfn; pfn < config->start_pfn + config->frames && !nowhere; pfn++) {
            if (run->plain.kind[pfn] != PLAIN_ALLOCATED)
                continue;
            unsigned order = run->plain.allocation[run->plain.owner[pfn]].order;
            nowhere = !movable_fits(run, order, plain_block_of(&run->plain, pfn));
        }
        must(run, nowhere, "NO_MEMORY, though there is somewhere to move to");
        break;
    default:
        broken(run, "a step was answered with %d", result);
    }
}

/** One step. Returns its answer. */
static int step_take(struct run *run, struct test_take *take, uint64_t budget)
{
    uint64_t moved;
    struct pleat_look look;
    run->stepping = take;
    run->offline_calls = 0;
    int result = pleat_take_step(&run->pleat, &take->take, budget);
    run->stepping = NULL;
    note(run, "step of 0x%llx, budget %llu -> %d", X(take->config.start_pfn), X(budget), result);
    pleat_take_report(&take->take, &moved, &look);
    must(run, moved == take->moved, "%llu frames moved, the report says %llu", X(take->moved), X(moved));
    if (result == PLEAT_MORE) {
        must(run, ++take->steps < 20 * take->config.frames + 1000 || take->config.deadline_ns,
             "a take doesn't come to an end");
        return result;
    }
    /* A callback of reclaim may free frames after the step has failed; it frees more, never less. */
    if (!result) {
        uint64_t blocks =
            take->config.goal == PLEAT_TAKE_TO_OFFLINE ? take->config.frames / run->plain.block_frames : 0;
        uint64_t own = 0;
        for (uint64_t i = 0; i < blocks; i++)
            own += range_of(run,
                            plain_block_of(&run->plain, take->config.start_pfn + i * run->plain.block_frames))
                       ->own_ops;
        must(run, run->offline_calls == own, "offline_frames was called %llu times in place of %llu",
             X(run->offline_calls), X(own));
        take_over(run, take);
        follow_taken(run, &take->config);
    } else {
        check_step_failed(run, take, result);
        take_over(run, take);
    }
    return result;
}

static void do_take_begin(struct run *run)
{
    struct test_take *take = &run->takes[draw(run, TAKES)];
    if (take->active)
        return;
    draw_take(run, &take->config);
    take->steps = take->moved = take->refusals = 0;
    run->refuse_now = chance(run, 5);
    run->refused_block = UINT64_MAX;
    const struct pleat_take_config *config = &take->config;
    int result = pleat_take_begin(&run->pleat, &take->take, config);
    run->refuse_now = false;
    note(run, "take 0x%llx, %llu frames, goal %d, deadline %llu -> %d", X(config->start_pfn),
         X(config->frames), (int)config->goal, X(config->deadline_ns), result);
    unsigned errors = take_errors(run, config);
    if ((!errors || errors & MAY_SUCCEED) && run->refused_block != UINT64_MAX)
        errors = (errors & ~MAY_SUCCEED) | 1u << -PLEAT_E_REFUSED;
    if (result) {
        must(run, result < 0 && errors >> -result & 1,
             "a take was answered with %d, and not with one of 0x%x", result, errors);
        if (result == PLEAT_E_UNMOVABLE) {
            struct pleat_look look, wanted;
            uint64_t moved;
            pleat_take_report(&take->take, &moved, &look);
            plain_look(&run->plain, config->start_pfn, config->frames, &wanted);
            /* Without owners' words, what reclaim has just freed can't be told from what is in use. */
            if (run->config.owner_bytes != PLEAT_NO_OWNER_WORD)
                check_look(run, &look, &wanted, "report");
        }
        return;
    }
    must(run, !errors || errors & MAY_SUCCEED, "a take began in spite of 0x%x", errors);
    take->active = true;
    plain_isolate(&run->plain, config->start_pfn, config->frames, 1);
    if (config->goal == PLEAT_TAKE_TO_OFFLINE)
        set_state(run, config, PLEAT_BLOCK_GOING_OFFLINE);
    if (chance(run, 50)) {
        while (step_take(run, take, 1 + draw(run, 2000)) == PLEAT_MORE)
            run->now_ns += draw(run, 2);
    }
}

static void do_take_step(struct run *run)
{
    struct test_take *take = &run->takes[draw(run, TAKES)];
    if (!take->active) {
        must(run, pleat_take_step(&run->pleat, &take->take, 1) == PLEAT_E_STATE || !take->take.opaque[0],
             "a take that has ended goes on");
        pleat_take_cancel(&run->pleat, &take->take);
    } else if (chance(run, 15)) {
        note(run, "cancel of 0x%llx", X(take->config.start_pfn));
        pleat_take_cancel(&run->pleat, &take->take);
        take_over(run, take);
    } else {
        step_take(run, take, draw(run, chance(run, 70) ? 64 : 2000));
    }
}

static void do_alloc_range(struct run *run)
{
    struct test_take take = {.active = true};
    draw_take(run, &take.config);
    take.config.goal = PLEAT_TAKE_TO_ALLOCATED;
    take.config.owner = NULL;
    take.config.deadline_ns = 0;
    uint64_t fits = run->plain.block_frames - take.config.start_pfn % run->plain.block_frames;
    if (take.config.frames > fits)
        take.config.frames = fits;
    if (take.config.start_pfn >= run->plain.frames)
        return;
    /* Its isolation lasts for the call; the owners' operations ask the model for it. */
    unsigned before = take_errors(run, &take.config);
    run->stepping = &take;
    if (take.config.frames)
        plain_isolate(&run->plain, take.config.start_pfn, take.config.frames, 1);
    note(run, "alloc_range 0x%llx, %llu frames", X(take.config.start_pfn), X(take.config.frames));
    int result = pleat_alloc_range(&run->pleat, take.config.start_pfn, take.config.frames, take.config.tag);
    run->stepping = NULL;
    note(run, "... alloc_range -> %d", result);
    if (take.config.frames) {
        if (result < 0 && (!before || before & MAY_SUCCEED) && !(before >> -result & 1))
            check_step_failed(run, &take, result);
        plain_isolate(&run->plain, take.config.start_pfn, take.config.frames, -1);
    }
    unsigned errors = take_errors(run, &take.config);
    if (!result) {
        must(run, !errors || errors & MAY_SUCCEED, "alloc_range came off in spite of 0x%x", errors);
        follow_taken(run, &take.config);
    } else {
        must(run, !before || errors >> -result & 1 || before >> -result & 1,
             "alloc_range was answered with %d, and not with one of 0x%x", result, before);
    }
}

static void do_free_range(struct run *run)
{
    uint64_t pfn = draw(run, run->plain.frames);
    for (unsigned i = 0; i < 300 && run->plain.kind[pfn] != PLAIN_TAKEN; i++)
        pfn = draw(run, run->plain.frames);
    if (run->plain.kind[pfn] != PLAIN_TAKEN)
        return;
    uint64_t frames = 0, most = 1 + draw(run, 600);
    while (pfn + frames < run->plain.frames && frames < most &&
           run->plain.kind[pfn + frames] == PLAIN_TAKEN) {
        check_stamps(run, pfn + frames, 1, pfn + frames);
        frames++;
    }
    note(run, "free_range 0x%llx, %llu frames", X(pfn), X(frames));
    if (run->config.owner_bytes != PLEAT_NO_OWNER_WORD && chance(run, 10) &&
        pfn + frames < run->plain.frames && run->plain.kind[pfn + frames] != PLAIN_TAKEN &&
        run->plain.kind[pfn + frames] != PLAIN_ALLOCATED) {
        /* One too many: it is refused, and nothing has changed. */
        must(run, pleat_free_range(&run->pleat, pfn, frames + 1) == PLEAT_E_MISUSE,
             "free_range of one frame too many");
        must(run, pleat_hosted_fatals(run->hosted) > run->fatals, "the port hasn't heard of it");
        run->fatals = pleat_hosted_fatals(run->hosted);
        return;
    }
    int error = pleat_free_range(&run->pleat, pfn, frames);
    must(run, !error, "free_range was answered with %d", error);
    plain_set(&run->plain, pfn, frames, PLAIN_FREE);
}

/** Frees what is unmovable in a block, so that it can go. */
static void do_clear_block(struct run *run)
{
    uint64_t block = draw_block(run, PLEAT_BLOCK_ONLINE);
    for (unsigned i = 0; i < 10 && !run->plain.block[block].removable; i++)
        block = draw_block(run, PLEAT_BLOCK_ONLINE);
    uint64_t start = block * run->plain.block_frames, end = start + run->plain.block_frames;
    note(run, "clear 0x%llx", X(start));
    for (uint64_t pfn = start; pfn < end; pfn++) {
        const struct plain_allocation *head = plain_head(&run->plain, pfn);
        if (head && head->mobility != PLEAT_MOVABLE) {
            free_live(run, run->plain.owner[pfn]);
        } else if (run->plain.kind[pfn] == PLAIN_TAKEN) {
            check_stamps(run, pfn, 1, pfn);
            must(run, !pleat_free(&run->pleat, pfn, 0), "free of a frame that was taken");
            plain_set(&run->plain, pfn, 1, PLAIN_FREE);
        }
    }
}

/* --- Comparing
 * ------------------------------------------------------------------------------------------------ */

static int see_obstacle(void *context, uint64_t pfn, unsigned order, unsigned owner)
{
    struct run *run = context;
    (void)owner;
    (void)order;
    must(run, pfn < run->plain.frames, "an obstacle at 0x%llx", X(pfn));
    switch ((enum plain_kind)run->plain.kind[pfn]) {
    case PLAIN_ALLOCATED:
        must(run,
             run->config.owner_bytes == PLEAT_NO_OWNER_WORD ||
                 run->plain.allocation[run->plain.owner[pfn]].mobility != PLEAT_MOVABLE,
             "movable PFN 0x%llx is called an obstacle", X(pfn));
        break;
    case PLAIN_TAKEN:
    case PLAIN_TABLES:
    case PLAIN_RESERVED:
    case PLAIN_BOOT_IN_USE:
        break;
    default:
        must(run, run->config.owner_bytes == PLEAT_NO_OWNER_WORD,
             "PFN 0x%llx, kind %d, is called an obstacle", X(pfn), run->plain.kind[pfn]);
    }
    return 0;
}

static void do_look(struct run *run)
{
    uint64_t pfn = draw(run, run->plain.frames), frames = 1 + draw(run, chance(run, 50) ? 40 : 3000);
    bool online = true;
    if (frames > run->plain.frames - pfn)
        frames = run->plain.frames - pfn;
    for (uint64_t i = pfn / run->plain.block_frames; i <= (pfn + frames - 1) / run->plain.block_frames; i++)
        online &= run->plain.block[i].state == PLEAT_BLOCK_ONLINE ||
                  run->plain.block[i].state == PLEAT_BLOCK_GOING_OFFLINE;
    struct pleat_look look, wanted;
    /* What is in a CPU's cache can't be told from what is in use without owners' words. */
    if (run->config.owner_bytes == PLEAT_NO_OWNER_WORD)
        pleat_drain(&run->pleat);
    note(run, "look 0x%llx, %llu frames", X(pfn), X(frames));
    int error = pleat_look(&run->pleat, pfn, frames, &look);
    must(run, error == (online ? 0 : PLEAT_E_NOT_FOUND), "look was answered with %d", error);
    if (!online)
        return;
    plain_look(&run->plain, pfn, frames, &wanted);
    check_look(run, &look, &wanted, "look");
    must(run, !pleat_obstacles(&run->pleat, pfn, frames, see_obstacle, run), "obstacles");
}

static void do_tags(struct run *run)
{
    for (unsigned i = 0; i < 20; i++) {
        uint64_t pfn = draw(run, run->plain.frames);
        if (chance(run, 50) && run->plain.live_count)
            pfn = run->plain.allocation[run->plain.live[draw(run, run->plain.live_count)]].pfn;
        pleat_tag tag;
        unsigned order;
        int error = pleat_frame_tag(&run->pleat, pfn, &tag, &order);
        const struct plain_allocation *head = plain_head(&run->plain, pfn);
        if (run->config.owner_bytes == PLEAT_NO_OWNER_WORD) {
            must(run, error == PLEAT_E_UNSUPPORTED, "frame_tag was answered with %d", error);
        } else if (head) {
            must(run, !error && tag == head->tag && order == head->order, "PFN 0x%llx has another tag",
                 X(pfn));
        } else if (run->plain.kind[pfn] == PLAIN_TAKEN) {
            must(run, !error && order == 0, "PFN 0x%llx, which was taken, has no tag", X(pfn));
        } else {
            must(run, error == PLEAT_E_NOT_FOUND, "PFN 0x%llx, kind %d, has a tag: %d", X(pfn),
                 run->plain.kind[pfn], error);
        }
    }
}

static void check_blocks(struct run *run)
{
    /* Without owners' words, nothing tells what single frames are that aren't free. */
    bool blind = run->config.owner_bytes == PLEAT_NO_OWNER_WORD;
    for (uint64_t i = 0; i < run->plain.blocks; i++) {
        const struct plain_block *block = &run->plain.block[i];
        uint64_t start = i * run->plain.block_frames, frames = run->plain.block_frames;
        struct pleat_block_info info;
        int error = pleat_block_info(&run->pleat, start + draw(run, frames), &info);
        if (block->state == PLEAT_BLOCK_NONE) {
            must(run, error == PLEAT_E_NOT_FOUND, "a block that wasn't added is there: 0x%llx", X(start));
            continue;
        }
        must(run, !error && info.start_pfn == start && info.frames == frames, "block_info of 0x%llx",
             X(start));
        must(run, info.state == block->state, "block 0x%llx is in state %d, should be %d", X(start),
             (int)info.state, (int)block->state);
        must(run, info.node == block->node && info.removable == block->removable, "node, removable");
        must(run,
             info.memmap_frames == plain_count(&run->plain, start, frames, PLAIN_MEMMAP) ||
                 info.memmap_frames == plain_count(&run->plain, start, frames, PLAIN_MEMMAP) +
                                           plain_count(&run->plain, start, frames, PLAIN_MEMMAP_NORMAL),
             "block 0x%llx has %llu memmap frames", X(start), X(info.memmap_frames));
        must(run, blind || info.absent_frames == plain_count(&run->plain, start, frames, PLAIN_ABSENT),
             "block 0x%llx has %llu absent frames", X(start), X(info.absent_frames));
        if (block->state == PLEAT_BLOCK_OFFLINE)
            continue;
        must(run, info.zone == block->zone, "block 0x%llx is in zone %d, should be in %d", X(start),
             (int)info.zone, (int)block->zone);
        must(run, info.free_frames == plain_count(&run->plain, start, frames, PLAIN_FREE),
             "block 0x%llx has %llu free frames, should have %llu", X(start), X(info.free_frames),
             X(plain_count(&run->plain, start, frames, PLAIN_FREE)));
        must(run, info.fake_offline_frames == plain_count(&run->plain, start, frames, PLAIN_WITHHELD),
             "block 0x%llx has %llu fake-offline frames, should have %llu", X(start),
             X(info.fake_offline_frames), X(plain_count(&run->plain, start, frames, PLAIN_WITHHELD)));
        unsigned free_pageblocks = 0;
        for (uint64_t pfn = start; pfn < start + frames; pfn += PAGEBLOCK)
            free_pageblocks += plain_all(&run->plain, pfn, PAGEBLOCK, PLAIN_FREE);
        must(run, info.free_pageblocks == free_pageblocks,
             "block 0x%llx has %u free pageblocks, should have %u", X(start), info.free_pageblocks,
             free_pageblocks);
    }
}

static void check_zones(struct run *run)
{
    bool blind = run->config.owner_bytes == PLEAT_NO_OWNER_WORD;
    for (unsigned node = 0; node < run->config.nodes; node++) {
        for (unsigned kind = 0; kind < PLEAT_ZONE_KINDS; kind++) {
            struct pleat_zone_info info, wanted = {.node = node, .kind = (enum pleat_zone_kind)kind};
            for (uint64_t i = 0; i < run->plain.blocks; i++) {
                const struct plain_block *block = &run->plain.block[i];
                uint64_t start = i * run->plain.block_frames, frames = run->plain.block_frames;
                if (block->state == PLEAT_BLOCK_NONE || block->state == PLEAT_BLOCK_OFFLINE ||
                    block->node != node || block->zone != kind)
                    continue;
                wanted.blocks++;
                wanted.online_frames += usable_frames(run, i);
                wanted.free_frames += plain_count(&run->plain, start, frames, PLAIN_FREE);
                wanted.fake_offline_frames += plain_count(&run->plain, start, frames, PLAIN_WITHHELD);
                wanted.absent_frames += plain_count(&run->plain, start, frames, PLAIN_ABSENT);
                for (uint64_t pfn = start; pfn < start + frames; pfn += PAGEBLOCK)
                    wanted.free_pageblocks += plain_all(&run->plain, pfn, PAGEBLOCK, PLAIN_FREE);
            }
            must(run, !pleat_zone_info(&run->pleat, node, (enum pleat_zone_kind)kind, &info), "zone_info");
            must(run,
                 info.node == node && info.kind == kind && info.blocks == wanted.blocks &&
                     info.free_frames == wanted.free_frames &&
                     info.fake_offline_frames == wanted.fake_offline_frames &&
                     (blind || (info.absent_frames == wanted.absent_frames &&
                                info.online_frames == wanted.online_frames)) &&
                     info.free_pageblocks == wanted.free_pageblocks,
                 "zone %u of node %u: blocks %llu online %llu free %llu fake %llu absent %llu pageblocks "
                 "%llu, "
                 "should be %llu %llu %llu %llu %llu %llu",
                 kind, node, X(info.blocks), X(info.online_frames), X(info.free_frames),
                 X(info.fake_offline_frames), X(info.absent_frames), X(info.free_pageblocks),
                 X(wanted.blocks), X(wanted.online_frames), X(wanted.free_frames),
                 X(wanted.fake_offline_frames), X(wanted.absent_frames), X(wanted.free_pageblocks));
        }
    }
    struct pleat_zone_info info;
    must(run, pleat_zone_info(&run->pleat, run->config.nodes, PLEAT_ZONE_NORMAL, &info) == PLEAT_E_NOT_FOUND,
         "a zone of a node that isn't there");
}

static void check_ranges(struct run *run)
{
    uint64_t online[RANGES] = {0}, fake[RANGES] = {0};
    bool seen[RANGES] = {false};
    struct pleat_range_info info;
    uint64_t pfn = 0;
    int error;
    while (!(error = pleat_range_info(&run->pleat, pfn, &info))) {
        must(run, info.start_pfn + info.frames > pfn && info.frames, "range_info goes back");
        pfn = info.start_pfn + info.frames;
        if (!info.removable)
            continue;
        const struct test_range *range = info.owner;
        int number = (int)(range - run->ranges);
        must(run, number >= 0 && number < RANGES && range->used, "a range of nobody's");
        must(run,
             !strcmp(info.name, range->name) && info.node == range->config.node &&
                 info.memmap_mode == range->config.memmap_mode && info.own_online_ops == range->own_ops,
             "range_info of \"%s\"", info.name);
        seen[number] = true;
        online[number] += info.online_frames;
        fake[number] += info.fake_offline_frames;
    }
    must(run, error == PLEAT_E_NOT_FOUND, "range_info was answered with %d", error);
    for (int number = 0; number < RANGES; number++) {
        uint64_t its_online = 0, its_fake = 0;
        must(run, seen[number] == run->ranges[number].used, "range %d is missing, or there too much", number);
        for (uint64_t i = 0; i < run->plain.blocks; i++) {
            const struct plain_block *block = &run->plain.block[i];
            uint64_t start = i * run->plain.block_frames;
            if (block->range != number)
                continue;
            its_online += block->state == PLEAT_BLOCK_ONLINE ? run->plain.block_frames : 0;
            its_fake += plain_count(&run->plain, start, run->plain.block_frames, PLAIN_WITHHELD);
        }
        /* Whether a block that is GOING_OFFLINE counts isn't said. */
        bool going = false;
        for (unsigned i = 0; i < TAKES; i++)
            going |= run->takes[i].active;
        must(run, going || (online[number] == its_online && fake[number] == its_fake),
             "range %d has %llu frames online, %llu fake-offline, should have %llu and %llu", number,
             X(online[number]), X(fake[number]), X(its_online), X(its_fake));
    }
}

static void check_all(struct run *run)
{
    note(run, "check");
    must(run, pleat_is_valid(&run->pleat), "is_valid");
    must(run, pleat_free_frames(&run->pleat) == run->plain.count[PLAIN_FREE],
         "%llu frames are free, should be %llu", X(pleat_free_frames(&run->pleat)),
         X(run->plain.count[PLAIN_FREE]));
    must(run, pleat_hosted_fatals(run->hosted) == run->fatals, "%s", pleat_hosted_last_fatal(run->hosted));
    /* Pageblocks are free as a whole, and single frames told apart, when no CPU has some of them. */
    pleat_drain(&run->pleat);
    must(run, pleat_free_frames(&run->pleat) == run->plain.count[PLAIN_FREE], "the drain lost frames");
    check_blocks(run);
    check_zones(run);
    check_ranges(run);
    uint64_t online = 0;
    if (run->config.owner_bytes == PLEAT_NO_OWNER_WORD)
        online -= run->boot_blocks * pleat_memmap_frames(&run->pleat); /* the model takes them for tables */
    for (uint64_t i = 0; i < run->plain.blocks; i++) {
        if (run->plain.block[i].state == PLEAT_BLOCK_ONLINE ||
            run->plain.block[i].state == PLEAT_BLOCK_GOING_OFFLINE)
            online += usable_frames(run, i);
    }
    must(run, pleat_online_frames(&run->pleat) == online, "%llu frames are online, should be %llu",
         X(pleat_online_frames(&run->pleat)), X(online));
}

static void check_content(struct run *run)
{
    for (uint32_t i = 0; i < run->plain.live_count; i++) {
        const struct plain_allocation *allocation = &run->plain.allocation[run->plain.live[i]];
        check_stamps(run, allocation->pfn, UINT64_C(1) << allocation->order, allocation->id);
    }
    for (uint64_t pfn = 0; pfn < run->plain.frames; pfn++) {
        if (run->plain.kind[pfn] == PLAIN_TAKEN)
            check_stamps(run, pfn, 1, pfn);
    }
}

/* --- Machines
 * ----------------------------------------------------------------------------------------------- */

#define SPANS 64

static uint64_t own_clock(void *context)
{
    return ((struct run *)context)->now_ns;
}

static void own_log(void *context, enum pleat_log_level level, const char *line)
{
    note(context, "log %d: %s", (int)level, line);
}

/** Draws a boot map over the first blocks; returns the number of spans. */
static unsigned draw_boot_map(struct run *run, uint64_t boot_blocks, struct pleat_boot_span *spans)
{
    uint64_t end = boot_blocks * run->plain.block_frames;
    uint64_t last = end - (chance(run, 50) ? 0 : draw(run, run->plain.block_frames / 2));
    uint64_t pfn = chance(run, 50) ? 0 : draw(run, 300);
    unsigned count = 0;
    while (pfn < last && count < SPANS - 1) {
        uint64_t left = run->plain.block_frames - pfn % run->plain.block_frames;
        uint64_t frames = 1 + draw(run, chance(run, 30) ? 200 : left + 200);
        unsigned node = run->plain.block[pfn / run->plain.block_frames].node;
        if (frames > left && run->config.nodes > 1)
            frames = left;
        if (frames > last - pfn)
            frames = last - pfn;
        unsigned use = (unsigned)draw(run, 10);
        if (use != 9) {
            spans[count++] = (struct pleat_boot_span){.start_pfn = pfn,
                                                      .frames = frames,
                                                      .node = node,
                                                      .use = use == 8   ? PLEAT_BOOT_RESERVED
                                                             : use == 7 ? PLEAT_BOOT_IN_USE
                                                                        : PLEAT_BOOT_FREE};
        }
        pfn += frames;
    }
    return count;
}

/** Frames of the largest free span: what the tables and memmaps have to fit into at worst. */
static uint64_t largest_free(const struct pleat_boot_span *spans, unsigned count)
{
    uint64_t largest = 0;
    for (unsigned i = 0; i < count; i++) {
        if (spans[i].use == PLEAT_BOOT_FREE && spans[i].frames > largest)
            largest = spans[i].frames;
    }
    return largest;
}

static bool every_block_has_a_span(const struct run *run, uint64_t boot_blocks,
                                   const struct pleat_boot_span *spans, unsigned count)
{
    for (uint64_t block = 0; block < boot_blocks; block++) {
        bool any = false;
        for (unsigned i = 0; i < count; i++)
            any |= spans[i].start_pfn < (block + 1) * run->plain.block_frames &&
                   spans[i].start_pfn + spans[i].frames > block * run->plain.block_frames;
        if (!any)
            return false;
    }
    return true;
}

/** Tells the model what the boot map says, and asks the core where it has put its own things. */
static void learn_boot(struct run *run, uint64_t boot_blocks, const struct pleat_boot_span *spans,
                       unsigned count)
{
    for (uint64_t i = 0; i < boot_blocks; i++) {
        struct plain_block *block = &run->plain.block[i];
        *block = (struct plain_block){.state = PLEAT_BLOCK_ONLINE,
                                      .node = block->node,
                                      .zone = zone_by_address(run, i * run->plain.block_frames),
                                      .range = -1};
    }
    plain_set(&run->plain, 0, boot_blocks * run->plain.block_frames, PLAIN_ABSENT);
    for (unsigned i = 0; i < count; i++) {
        plain_set(&run->plain, spans[i].start_pfn, spans[i].frames,
                  spans[i].use == PLEAT_BOOT_FREE       ? PLAIN_FREE
                  : spans[i].use == PLEAT_BOOT_RESERVED ? PLAIN_RESERVED
                                                        : PLAIN_BOOT_IN_USE);
    }
    for (uint64_t pfn = 0; pfn < boot_blocks * run->plain.block_frames; pfn++) {
        struct pleat_look look;
        if (run->plain.kind[pfn] != PLAIN_FREE)
            continue;
        must(run, !pleat_look(&run->pleat, pfn, 1, &look), "boot memory can't be looked at");
        must(run, look.free + look.memmap + look.unmovable == 1, "free boot memory is something else");
        if (look.memmap)
            plain_set(&run->plain, pfn, 1, PLAIN_MEMMAP);
        else if (look.unmovable)
            plain_set(&run->plain, pfn, 1, PLAIN_TABLES);
    }
    uint64_t frame_bytes = UINT64_C(1) << run->config.frame_shift;
    uint64_t own = (run->plain.count[PLAIN_TABLES] + run->plain.count[PLAIN_MEMMAP]) * frame_bytes;
    uint64_t needed = pleat_table_bytes(&run->pleat) + boot_blocks * pleat_memmap_bytes(&run->pleat);
    must(run, own >= needed && own < needed + (boot_blocks + 2) * frame_bytes,
         "the core keeps %llu bytes of boot memory, and needs %llu", X(own), X(needed));
}

static void draw_config(struct run *run)
{
    static const unsigned shifts[] = {12, 12, 14, 16}, bytes[] = {8, 8, 16, 16, 0, PLEAT_NO_OWNER_WORD};
    static const unsigned pageblocks[] = {1, 1, 2, 2, 4, 4, 8, 16, 32, 64};
    struct pleat_config *config = &run->config;
    config->frame_shift = shifts[draw(run, 4)];
    config->block_pageblocks = pageblocks[draw(run, 10)];
    config->owner_bytes = bytes[draw(run, 6)];
    config->cpus = 1 + (unsigned)draw(run, 6);
    config->nodes = 1 + (unsigned)draw(run, 3);
    for (unsigned i = 0; i < config->cpus; i++)
        run->cpu_node[i] = (uint8_t)draw(run, config->nodes);
    config->cpu_node = run->cpu_node;
    for (unsigned i = 0; i < config->nodes * config->nodes; i++)
        run->distance[i] = (uint8_t)(i % (config->nodes + 1) ? 11 + draw(run, 30) : 10);
    config->node_distance = chance(run, 50) ? run->distance : NULL;
    config->watermark_frames = 1 + draw(run, 64);
    run->watermark = config->watermark_frames;
    run->movable_percent = (unsigned)draw(run, 101);
    if (chance(run, 50)) {
        config->reclaim = reclaim;
        config->reclaim_context = run;
    }
}

/** Makes a machine, booted. Returns false if its memory was too small for its boot. */
static void boot(struct run *run)
{
    struct pleat_boot_span spans[SPANS];
    unsigned count;
    draw_config(run);
    uint64_t block_frames = (uint64_t)run->config.block_pageblocks * PAGEBLOCK;
    uint64_t boot_blocks =
        run->config.block_pageblocks >= 16 ? 1 : 1 + draw(run, 8 / run->config.block_pageblocks + 1);
    if (boot_blocks * block_frames < 3 * PAGEBLOCK)
        boot_blocks = 3 * PAGEBLOCK / block_frames + 1;
    uint64_t blocks = boot_blocks + 2 + draw(run, run->config.block_pageblocks >= 32 ? 2 : 10);
    plain_create(&run->plain, blocks * block_frames, block_frames);
    run->config.highest_pfn = blocks * block_frames;
    if (chance(run, 40))
        run->config.dma_end_pfn = draw(run, (boot_blocks + 1) * block_frames);
    if (chance(run, 40))
        run->config.dma32_end_pfn = run->config.dma_end_pfn + draw(run, (boot_blocks + 2) * block_frames);

    for (uint64_t i = 0; i < boot_blocks; i++)
        run->plain.block[i].node = (unsigned)draw(run, run->config.nodes);
    do
        count = draw_boot_map(run, boot_blocks, spans);
    while (largest_free(spans, count) < 64 + boot_blocks * (2 * run->config.block_pageblocks + 4) ||
           !every_block_has_a_span(run, boot_blocks, spans, count));

    struct pleat_hosted_config hosted = {.frames = run->config.highest_pfn,
                                         .frame_shift = run->config.frame_shift,
                                         .clock_ns = own_clock,
                                         .log = own_log,
                                         .log_levels = 4,
                                         .fatal = PLEAT_HOSTED_FATAL_RECORDS,
                                         .context = run};
    must(run, !pleat_hosted_create(&run->hosted, &hosted), "the host has no room");
    run->config.port = pleat_hosted_port(run->hosted);
    uint64_t filled = 0;
    for (unsigned i = 0; i < count; i++) {
        map(run, spans[i].start_pfn, spans[i].frames);
        uint64_t fill = spans[i].frames < 3000 - filled ? spans[i].frames : 3000 - filled;
        if (spans[i].use == PLEAT_BOOT_FREE) {
            fill_garbage(run, spans[i].start_pfn, fill);
            filled += fill;
        }
        note(run, "span 0x%llx, %llu frames, node %u, use %d", X(spans[i].start_pfn), X(spans[i].frames),
             spans[i].node, (int)spans[i].use);
    }

    pleat_hosted_cpu_set(0);
    int error = pleat_init(&run->pleat, &run->config, spans, count);
    must(run, !error, "init was answered with %d", error);
    run->boot_blocks = boot_blocks;
    learn_boot(run, boot_blocks, spans, count);
    run->policy = PLEAT_POLICY_ONLINE;
    run->policy_ratio = 4;
    for (unsigned i = 0; i < OWNERS; i++) {
        static const char *const names[OWNERS] = {"mover", "pinner", "stumbler", "stayer"};
        run->owners[i] = (struct test_owner){.run = run, .moves = i < 3};
        run->owners[i].pin_percent = i == 1 ? 30 : i == 0 ? 0 : 2;
        run->owners[i].fail_percent = i == 2 ? 30 : 0;
        run->owners[i].free_percent = i == 0 ? 0 : 5;
        run->owners[i].number =
            pleat_owner_register(&run->pleat, names[i], i < 3 ? &owner_ops : NULL, &run->owners[i]);
        must(run, run->owners[i].number >= 8 && run->owners[i].number < 512, "owner_register");
        must(run, !strcmp(pleat_owner_name(&run->pleat, (unsigned)run->owners[i].number), names[i]),
             "owner_name");
    }
    for (unsigned i = 0; i < RANGES; i++)
        run->ranges[i].run = run;
    for (unsigned i = 0; i < LISTENERS; i++) {
        run->listeners[i].run = run;
        run->listeners[i].heard = calloc(run->plain.blocks, sizeof(*run->listeners[i].heard));
    }
}

/* --- Running
 * -------------------------------------------------------------------------------------------------- */

static const struct {
    void (*run)(struct run *run);
    unsigned weight;
} operations[] = {
    {do_alloc_some, 30},
    {do_free_some, 22},
    {do_wrong_free, 6},
    {do_add, 7},
    {do_remove, 5},
    {do_online, 8},
    {do_give, 6},
    {do_policy, 2},
    {do_release_boot, 2},
    {do_take_begin, 12},
    {do_take_step, 12},
    {do_alloc_range, 6},
    {do_free_range, 6},
    {do_clear_block, 8},
    {do_look, 6},
    {do_tags, 3},
    {listener_add_or_remove, 2},
};

static void one_operation(struct run *run)
{
    unsigned total = 0;
    for (unsigned i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
        total += operations[i].weight;
    uint64_t at = draw(run, total);
    unsigned i = 0;
    while (at >= operations[i].weight)
        at -= operations[i++].weight;
    pleat_hosted_cpu_set((unsigned)draw(run, run->config.cpus));
    run->last_event_pfn = UINT64_MAX;
    operations[i].run(run);
    run->now_ns += draw(run, 3);
}

/** Everything is given back: then all that was free at first, or came in, is free again. */
static void wind_up(struct run *run)
{
    for (unsigned i = 0; i < TAKES; i++) {
        if (run->takes[i].active) {
            pleat_take_cancel(&run->pleat, &run->takes[i].take);
            take_over(run, &run->takes[i]);
        }
    }
    check_content(run);
    while (run->plain.live_count)
        free_live(run, run->plain.live[run->plain.live_count - 1]);
    for (uint64_t pfn = 0; pfn < run->plain.frames; pfn++) {
        if (run->plain.kind[pfn] == PLAIN_TAKEN) {
            must(run, !pleat_free_range(&run->pleat, pfn, 1), "free_range");
            plain_set(&run->plain, pfn, 1, PLAIN_FREE);
        }
    }
    check_all(run);
}

static void run_machine(uint64_t seed, unsigned long steps)
{
    struct run *run = calloc(1, sizeof(*run));
    assert_non_null(run);
    run->seed = seed;
    run->random = seed;
    run->now_ns = 1000;
    run->trace = getenv("PLEAT_TRACE") != NULL;
    run->last_event_pfn = UINT64_MAX;
    boot(run);
    check_all(run);
    /* A slow recount is worth more often where it is cheap. */
    unsigned long between = 4 + (unsigned long)(run->plain.frames / 2048);
    for (run->step = 1; run->step <= steps; run->step++) {
        one_operation(run);
        if (run->step % between == 0)
            check_all(run);
        if (run->step % (50 * between) == 0)
            check_content(run);
    }
    wind_up(run);
    pleat_hosted_cpu_set(PLEAT_HOSTED_NO_CPU);
    pleat_hosted_destroy(run->hosted);
    plain_destroy(&run->plain);
    for (unsigned i = 0; i < LISTENERS; i++)
        free(run->listeners[i].heard);
    free(run);
}

static unsigned long number_from(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    return text ? strtoul(text, NULL, 0) : otherwise;
}

static void core_agrees_with_the_plain_model(void **state)
{
    (void)state;
    unsigned long steps = number_from("PLEAT_STEPS", 600), seeds = number_from("PLEAT_SEEDS", 10);
    if (getenv("PLEAT_SEED")) {
        run_machine(number_from("PLEAT_SEED", 0), steps);
        return;
    }
    uint64_t first = (uint64_t)time(NULL) * 1000;
    print_message("# seeds %llu to %llu\n", X(first), X(first + seeds - 1));
    for (unsigned long i = 0; i < seeds; i++)
        run_machine(first + i, steps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(core_agrees_with_the_plain_model)};
    return cmocka_run_group_tests_name("core beside a plain model", tests, NULL, NULL);
}
