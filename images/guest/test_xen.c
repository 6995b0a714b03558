/* SPDX-License-Identifier: MIT
 *
 * `test=xen-...`: what the hypervisor does for those who ask it by struct pleat_xen, with the traps that
 * drivers have to know of. Nothing of the drivers is in it: where one of these fails, the drivers' ground has
 * moved.
 *
 * Frames are taken from the core as pageblocks, and go back to it with memory behind them.
 */
#include "test.h"

#include "ports/bare/print.h"
#include "ports/bare/xen_peer.h"

#include "pleat_port.h"
#include "tap.h"

#define FRAME_BYTES  4096u
#define BLOCK_FRAMES 512u
#define BLOCK_ORDER  9u
#define BLOCK_BYTES  ((size_t)BLOCK_FRAMES * FRAME_BYTES)
#define HOLE         0xffu
#define PATTERN      0xa5u
#define EVENT_NS     UINT64_C(1000000000)

static const struct pleat_xen *xen;
static struct guest *the_tested;

static volatile unsigned char *at(uint64_t pfn)
{
    return guest_pointer(the_tested, pfn);
}

static bool is_hole(uint64_t pfn)
{
    return at(pfn)[0] == HOLE && at(pfn)[1234] == HOLE && at(pfn)[FRAME_BYTES - 1] == HOLE;
}

static bool is_memory(uint64_t pfn)
{
    at(pfn)[77] = PATTERN;
    return at(pfn)[77] == PATTERN;
}

static int64_t current(void)
{
    return xen->ops->current_frames(xen->context);
}

static int64_t decrease(const uint64_t *pfns, uint64_t count, unsigned order)
{
    return xen->ops->decrease(xen->context, pfns, count, order);
}

static int64_t populate(const uint64_t *pfns, uint64_t count, unsigned order)
{
    return xen->ops->populate(xen->context, pfns, count, order);
}

/* The numbers of `count` extents of 2^order frames from `first` on. */
static const uint64_t *extents(uint64_t first, unsigned count, unsigned order)
{
    static uint64_t pfns[BLOCK_FRAMES];

    for (unsigned i = 0; i < count; i++)
        pfns[i] = first + ((uint64_t)i << order);
    return pfns;
}

/*
 * A domain that is populated on demand has been promised more memory than it has. Xen populates what is
 * touched out of a store, which is part of the reservation, and puts what is given back into it, until there
 * is as much in it as is still promised. From then on such a domain is as any other.
 */
static bool renounce(void)
{
    static bool is_done;
    const int64_t before = current();
    int64_t promised = 0, given = 0;

    for (unsigned i = 0; i < platform.span_count; i++)
        promised += (int64_t)platform.spans[i].frames;
    /* Some of the boot map is firmware's, and some frames are in no map. */
    if (is_done || promised <= before + (int64_t)BLOCK_FRAMES)
        return true;
    is_done = true;
    while (given < promised - before + (int64_t)BLOCK_FRAMES) {
        uint64_t block = 0;
        unsigned order;
        if (guest_allocate(the_tested, BLOCK_BYTES, &block, &order) || decrease(&block, 1, BLOCK_ORDER) != 1)
            break;
        given += BLOCK_FRAMES;
    }
    return ok(given >= promised - before && current() > before - 2 * (int64_t)BLOCK_FRAMES,
              "populated on demand: %ld frames are given back that it never had", (long)given);
}

static bool begin(struct guest *guest, uint64_t *block)
{
    unsigned order;

    the_tested = guest;
    xen = platform_xen();
    return ok(xen, "there is Xen") && renounce() &&
           ok(!guest_allocate(guest, BLOCK_BYTES, block, &order), "there is a pageblock");
}

/* --- memory --------------------------------------------------------------------------------------------- */

static void test_one_frame(uint64_t pfn)
{
    const int64_t before = current();

    ok(before > 0 && before <= xen->ops->maximum_frames(xen->context), "%ld frames are this domain's",
       (long)before);
    ok(decrease(&pfn, 1, 0) == 1 && current() == before - 1, "a frame is given back");
    ok(is_hole(pfn), "all ones are read where it was");
    at(pfn)[5] = PATTERN;
    ok(is_hole(pfn), "what is written there is lost");
    ok(decrease(&pfn, 1, 0) == 0 && current() == before - 1, "it can't be given back twice");
    ok(populate(&pfn, 1, 0) == 1 && current() == before, "memory for it comes again");
    ok(is_memory(pfn), "it holds what is written to it");
}

/* A hole among others: of 8 frames, the fourth is gone already. */
static void test_partial_decrease(uint64_t first)
{
    const int64_t before = current();
    const uint64_t fourth = first + 3;

    ok(decrease(&fourth, 1, 0) == 1 && decrease(extents(first, 8, 0), 8, 0) == 3 && current() == before - 4,
       "of 8 frames of which the fourth is gone, 3 are given back");
    ok(is_memory(first + 4) && is_hole(first + 2), "those behind it stay");
    ok(populate(extents(first, 4, 0), 4, 0) == 4 && current() == before, "all come again");
}

static uint64_t timed(int64_t (*call)(const uint64_t *pfns, uint64_t count, unsigned order), uint64_t first,
                      unsigned order, int64_t *done)
{
    const unsigned count = BLOCK_FRAMES >> order;
    const uint64_t *pfns = extents(first, count, order);
    const uint64_t begin_ns = platform_clock_ns();

    *done = call(pfns, count, order);
    return platform_clock_ns() - begin_ns;
}

static void test_block(uint64_t block, unsigned out_order, unsigned in_order)
{
    static const char *const names[] = {[0] = "512 frames", [BLOCK_ORDER] = "one extent of 2 MiB"};
    const int64_t before = current();
    struct short_text out, in;
    int64_t done;

    for (unsigned i = 0; i < BLOCK_FRAMES; i++)
        at(block + i)[9] = PATTERN;
    const uint64_t out_ns = timed(decrease, block, out_order, &done);
    ok(done == BLOCK_FRAMES >> out_order && current() == before - BLOCK_FRAMES, "2 MiB go as %s",
       names[out_order]);
    ok(is_hole(block) && is_hole(block + 1) && is_hole(block + BLOCK_FRAMES - 1), "all of it is a hole");
    const uint64_t in_ns = timed(populate, block, in_order, &done);
    ok(done == BLOCK_FRAMES >> in_order && current() == before, "they come as %s", names[in_order]);
    unsigned memory = 0, dirty = 0;
    for (unsigned i = 0; i < BLOCK_FRAMES; i++) {
        /* It may hold anything; that must be seen before it is written to. */
        for (unsigned j = 0; j < FRAME_BYTES; j += 8)
            if (*(volatile uint64_t *)(volatile void *)&at(block + i)[j]) {
                dirty++;
                break;
            }
        memory += is_memory(block + i);
    }
    ok(memory == BLOCK_FRAMES, "each frame holds what is written to it");
    print("# %s ms to give 2 MiB back, %s ms to get them; %u of 512 frames weren't zero\n",
          milliseconds_text(&out, out_ns), milliseconds_text(&in, in_ns), dirty);
}

/* Memory where there was none at boot. */
static void test_unused(uint64_t block)
{
    const uint64_t first = platform.unused.start / FRAME_BYTES;
    const struct pleat_port *port = &the_tested->port;

    if (!ok(platform.unused.bytes >= BLOCK_BYTES && first, "the platform knows addresses where nothing is"))
        return;
    ok(!platform_touch(at(first), false), "they can't be reached");
    ok(!port->map(port->context, first, BLOCK_FRAMES) && is_hole(first), "mapped, they are holes");
    ok(decrease(&block, 1, BLOCK_ORDER) == 1 && populate(&first, 1, BLOCK_ORDER) == 1 && is_memory(first) &&
           is_memory(first + BLOCK_FRAMES - 1),
       "populated with what was given back elsewhere, they are memory");
    ok(decrease(&first, 1, BLOCK_ORDER) == 1 && is_hole(first), "and holes again");
    ok(populate(&block, 1, BLOCK_ORDER) == 1 && is_memory(block), "which the other place gets back");
    port->unmap(port->context, first, BLOCK_FRAMES);
    ok(!platform_touch(at(first), false), "unmapped, they can't be reached");
}

static void test_maximum(void)
{
    const int64_t before = current(), most = xen->ops->maximum_frames(xen->context);
    const uint64_t first = platform.unused.start / FRAME_BYTES;
    const uint64_t large = (uint64_t)(most - before) / BLOCK_FRAMES,
                   single = (uint64_t)(most - before) % BLOCK_FRAMES;

    if (most == INT64_MAX || large >= BLOCK_FRAMES) {
        skip("memory ends at the maximum", "there is none that could be reached");
        return;
    }
    const int64_t got = populate(extents(first, (unsigned)large + 1, BLOCK_ORDER), large + 1, BLOCK_ORDER);
    ok(got == (int64_t)large && current() == before + (int64_t)large * BLOCK_FRAMES,
       "of %lu extents of 2 MiB, %ld fit under the maximum", large + 1, (long)got);
    const uint64_t rest = first + large * BLOCK_FRAMES;
    ok(populate(extents(rest, (unsigned)single + 1, 0), single + 1, 0) == (int64_t)single &&
           current() == most,
       "of %lu frames, %lu", single + 1, single);
    ok(populate(extents(rest + single, 1, 0), 1, 0) == 0 && current() == most, "then none");
    ok(decrease(extents(first, (unsigned)large, BLOCK_ORDER), large, BLOCK_ORDER) == (int64_t)large &&
           decrease(extents(rest, (unsigned)single, 0), single, 0) == (int64_t)single && current() == before,
       "all that came goes");
}

/* The last test of a domain: the memory is lost to it until its end. */
static void test_leak(uint64_t pfn)
{
    const int64_t before = current();

    at(pfn)[77] = PATTERN;
    ok(populate(&pfn, 1, 0) == 1 && current() == before + 1,
       "to populate a populated frame succeeds, and the reservation grows by what is lost");
    ok(decrease(&pfn, 1, 0) == 1 && is_hole(pfn) && current() == before, "one of the two goes");
    ok(decrease(&pfn, 1, 0) == 0 && current() == before, "nobody can give the other one back");
    ok(populate(&pfn, 1, 0) == 1 && is_memory(pfn), "the frame has memory again");
}

void test_xen_memory(struct guest *guest)
{
    uint64_t block = 0;

    if (!begin(guest, &block))
        return;
    test_one_frame(block + 7);
    test_partial_decrease(block + 16);
    test_block(block, 0, 0);
    test_block(block, BLOCK_ORDER, BLOCK_ORDER);
    test_block(block, 0, BLOCK_ORDER);
    test_block(block, BLOCK_ORDER, 0);
    test_unused(block);
    test_maximum();
    test_leak(block + 100);
    guest_release(guest, &block, BLOCK_ORDER);
    ok(guest_check(guest), "no frame is lost to the core");
}

/* --- events --------------------------------------------------------------------------------------------- */

static void count_event(void *context)
{
    atomic_fetch_add((atomic_uint *)context, 1);
}

/* An interrupt has to end the sleep. */
static bool arrives(atomic_uint *count, unsigned wanted)
{
    const uint64_t end_ns = platform_clock_ns() + EVENT_NS;

    for (;;) {
        platform_wake_begin();
        const uint64_t now_ns = platform_clock_ns();
        if (atomic_load(count) >= wanted || now_ns >= end_ns)
            return atomic_load(count) == wanted;
        platform_idle(end_ns);
    }
}

void test_xen_events(struct guest *guest)
{
    static atomic_uint offered, bound;
    const struct pleat_xen_ops *ops;

    the_tested = guest;
    xen = platform_xen();
    if (!ok(xen, "there is Xen"))
        return;
    ops = xen->ops;
    const int offer = ops->event_offer(xen->context, PLEAT_XEN_DOMAIN_SELF, count_event, &offered);
    ok(offer > 0, "a channel is offered");
    const int bind =
        ops->event_bind(xen->context, PLEAT_XEN_DOMAIN_SELF, (uint32_t)offer, count_event, &bound);
    ok(bind > 0 && bind != offer, "it is bound to");
    /* Xen can't know what was sent before, and sends one itself. */
    ok(arrives(&bound, 1) && !atomic_load(&offered), "who binds gets an event at once");
    ok(!ops->event_send(xen->context, (uint32_t)bind) && arrives(&offered, 1), "an event goes one way");
    ok(!ops->event_send(xen->context, (uint32_t)offer) && arrives(&bound, 2), "and the other way");
    const uint64_t begin_ns = platform_clock_ns();
    bool all = true;
    for (unsigned i = 0; i < 1000 && all; i++)
        all = !ops->event_send(xen->context, (uint32_t)bind) && arrives(&offered, 2 + i);
    ok(all, "1000 events, one by one, come one by one");
    struct short_text time;
    print("# %s ms for each\n", milliseconds_text(&time, (platform_clock_ns() - begin_ns) / 1000));
    ok(ops->event_listen(xen->context, (uint32_t)bind, count_event, &bound) == PLEAT_E_BUSY,
       "a channel has one listener");
    ok(!ops->event_close(xen->context, (uint32_t)bind), "one side closes its channel");
    ok(ops->event_close(xen->context, (uint32_t)bind) == PLEAT_E_NOT_FOUND, "only once");
    (void)ops->event_send(xen->context, (uint32_t)offer);
    ok(atomic_load(&bound) == 2, "nothing comes there any more");
    ok(ops->event_send(xen->context, 200) < 0, "nothing can be sent where there is no channel");
    ok(!ops->event_close(xen->context, (uint32_t)offer), "the other side closes");
}

/* --- grants --------------------------------------------------------------------------------------------- */

#define PEER_FRAMES 40u
/* Holes of the pageblock: the peer's memory, its table, then what is granted. */
#define TABLE_AT        PEER_FRAMES
#define HOLES_AT        (TABLE_AT + 1)
#define HOLES           (HOLES_AT + PEER_FRAMES)
#define FILLED_AT       (HOLES + 3)
#define FIRST_REFERENCE 8u
#define PERMIT          1u
#define READ_ONLY       4u
#define IN_USE          (8u | 16u)

static struct pleat_xen_grant_entry *their_table;
static uint64_t grants_block;

static uint64_t hole(unsigned number)
{
    return grants_block + HOLES_AT + number;
}

/* What the peer has in its frame. */
static volatile unsigned char *theirs(unsigned frame)
{
    return at(grants_block + frame);
}

static void grant(unsigned reference, unsigned frame, unsigned flags)
{
    their_table[reference].domain = 0;
    their_table[reference].frame = frame;
    __atomic_store_n(&their_table[reference].flags, (uint16_t)flags, __ATOMIC_SEQ_CST);
}

static struct pleat_xen_map wish(const struct xen_peer *peer, uint64_t pfn, unsigned reference)
{
    return (struct pleat_xen_map){.pfn = pfn, .reference = reference, .domain = peer->domain};
}

static bool map_one(struct pleat_xen_map *map)
{
    return !xen->ops->map(xen->context, map, 1) && !map->result;
}

static bool unmap_one(const struct pleat_xen_map *map)
{
    struct pleat_xen_unmap unmap = {.pfn = map->pfn, .handle = map->handle};

    return !xen->ops->unmap(xen->context, &unmap, 1) && !unmap.result;
}

static void test_one_grant(const struct xen_peer *peer)
{
    struct pleat_xen_map map = wish(peer, hole(0), FIRST_REFERENCE);
    const int64_t before = current();

    theirs(3)[100] = 0x31;
    grant(FIRST_REFERENCE, 3, PERMIT);
    ok(map_one(&map), "a foreign frame is mapped into a hole");
    ok(at(hole(0))[100] == 0x31, "what the other domain has written is read");
    at(hole(0))[200] = 0x77;
    ok(theirs(3)[200] == 0x77, "what is written is read by the other domain");
    ok((their_table[FIRST_REFERENCE].flags & IN_USE) == IN_USE, "the entry says that it is in use");
    ok(current() == before, "no memory of this domain's is needed");
    ok(unmap_one(&map) && is_hole(hole(0)), "after the unmapping there is a hole");
    ok(!(their_table[FIRST_REFERENCE].flags & IN_USE), "the entry says that it isn't in use");
    const uint64_t pfn = hole(0);
    ok(decrease(&pfn, 1, 0) == 0 && theirs(3)[200] == 0x77, "to give it back is nothing, and harms nobody");
}

static void test_read_only(const struct xen_peer *peer)
{
    struct pleat_xen_map map = wish(peer, hole(1), FIRST_REFERENCE);

    theirs(4)[0] = 0x44;
    grant(FIRST_REFERENCE, 4, PERMIT | READ_ONLY);
    (void)xen->ops->map(xen->context, &map, 1);
    ok(map.result == PLEAT_E_DEVICE || map.result == PLEAT_E_REFUSED,
       "what may only be read can't be mapped to be written");
    map.read_only = true;
    ok(map_one(&map) && at(hole(1))[0] == 0x44, "it can be mapped to be read");
    at(hole(1))[0] = 0x55;
    ok(theirs(4)[0] == 0x44, "what is written to it is lost");
    ok(unmap_one(&map) && is_hole(hole(1)), "it is unmapped");
}

/* More than one hypercall's worth, with failures in the middle. */
static void test_many(const struct xen_peer *peer)
{
    static struct pleat_xen_map maps[PEER_FRAMES];
    static struct pleat_xen_unmap unmaps[PEER_FRAMES];
    unsigned mapped = 0, right = 0, refused = 0, holes = 0;

    for (unsigned i = 0; i < PEER_FRAMES; i++) {
        theirs(i)[i] = (unsigned char)(i + 1);
        grant(FIRST_REFERENCE + i, i, i == 17 ? 0 : PERMIT);
        maps[i] = wish(peer, hole(i), i == 5 ? 5000 : FIRST_REFERENCE + i);
    }
    ok(!xen->ops->map(xen->context, maps, PEER_FRAMES), "40 mappings are tried at once");
    for (unsigned i = 0; i < PEER_FRAMES; i++) {
        refused += maps[i].result < 0 && is_hole(hole(i));
        if (maps[i].result)
            continue;
        right += at(hole(i))[i] == i + 1;
        unmaps[mapped++] = (struct pleat_xen_unmap){.pfn = hole(i), .handle = maps[i].handle};
    }
    ok(mapped == PEER_FRAMES - 2 && right == mapped, "%u succeed, each with what is in its own frame",
       mapped);
    ok(refused == 2 && maps[5].result && maps[17].result,
       "a reference that isn't there and an entry that grants nothing fail alone");
    ok(!xen->ops->unmap(xen->context, unmaps, mapped), "all are unmapped at once");
    for (unsigned i = 0; i < mapped; i++)
        holes += !unmaps[i].result && is_hole(unmaps[i].pfn);
    ok(holes == mapped, "each leaves a hole");
}

static void test_grant_over_memory(const struct xen_peer *peer)
{
    struct pleat_xen_map map = wish(peer, grants_block + FILLED_AT, FIRST_REFERENCE);
    const int64_t before = current();
    const uint64_t pfn = map.pfn;

    grant(FIRST_REFERENCE, 6, PERMIT);
    ok(is_memory(pfn), "a frame has memory");
    ok(map_one(&map), "a foreign frame is mapped over it all the same");
    ok(unmap_one(&map) && is_hole(pfn), "after the unmapping there is a hole, not what was there");
    ok(current() == before, "the reservation counts what was there, though nobody has it any more");
    ok(populate(&pfn, 1, 0) == 1 && is_memory(pfn) && current() == before + 1, "the frame can be populated");
}

static void test_peer_event(const struct xen_peer *peer)
{
    static atomic_uint events;
    const int channel = platform_xen_peer_channel(peer);
    const int bound = channel < 0 ? channel
                                  : xen->ops->event_bind(xen->context, peer->domain, (uint32_t)channel,
                                                         count_event, &events);

    ok(channel > 0 && bound > 0 && arrives(&events, 1), "a channel of the other domain's is bound to");
    ok(!xen->ops->event_send(xen->context, (uint32_t)bound), "an event is sent there");
    ok(!xen->ops->event_close(xen->context, (uint32_t)bound), "it is closed");
}

static void test_with_peer(struct xen_peer *peer)
{
    struct pleat_xen_map nowhere = wish(peer, 0, FIRST_REFERENCE);

    their_table = guest_pointer(the_tested, peer->table_pfn);
    test_one_grant(peer);
    test_read_only(peer);
    test_many(peer);
    test_grant_over_memory(peer);
    ok(xen->ops->map(xen->context, &nowhere, 1) == PLEAT_E_INVALID, "nothing is mapped at frame 0");
    test_peer_event(peer);
    const uint16_t domain = peer->domain;
    ok(!platform_xen_peer_end(peer), "the other domain ends");
    struct pleat_xen_map map = {.pfn = hole(0), .reference = FIRST_REFERENCE, .domain = domain};
    (void)xen->ops->map(xen->context, &map, 1);
    ok(map.result == PLEAT_E_NOT_FOUND, "nothing of it can be mapped any more");
}

void test_xen_grants(struct guest *guest)
{
    struct xen_peer peer;
    unsigned holes = 0;

    grants_block = 0;
    if (!begin(guest, &grants_block))
        return;
    ok(xen->grants && xen->grant_count >= 512, "this domain has a grant table of %u entries",
       xen->grant_count);
    ok(decrease(extents(grants_block, HOLES, 0), HOLES, 0) == HOLES, "%u holes are made", HOLES);
    const int error = platform_xen_peer(&peer, PEER_FRAMES, grants_block, grants_block + TABLE_AT);
    if (error == PLEAT_E_REFUSED)
        skip("grants from another domain", "only dom0 can make one");
    else if (ok(!error, "there is a second domain: %s", pleat_error_text(error)))
        test_with_peer(&peer);
    for (unsigned i = 0; i < HOLES; i++)
        holes += is_hole(grants_block + i);
    ok(holes == HOLES, "all holes are holes again");
    ok(populate(extents(grants_block, HOLES, 0), HOLES, 0) == HOLES, "memory for them comes again");
    guest_release(guest, &grants_block, BLOCK_ORDER);
    ok(guest_check(guest), "no frame is lost to the core");
}
