/* SPDX-License-Identifier: MIT
 *
 * `test=xen-balloon,xen-unpopulated`: the Xen drivers in the initial domain, where nobody else sets a target
 * and a second domain can be made without a toolstack.
 */
#include "test.h"

#include "ports/bare/print.h"
#include "ports/bare/xen_peer.h"

#include "tap.h"

#define MIB       (UINT64_C(1) << 20)
#define SETTLE_NS UINT64_C(20000000000)

static struct domain *domain;

static int64_t reservation(void)
{
    return domain->xen->ops->current_frames(domain->xen->context);
}

static bool begin(struct guest *guest)
{
    domain = &guest->domain;
    if (!domain->balloon)
        domain_begin(guest);
    return ok(domain->balloon && domain->grants, "there is Xen, and drivers for it");
}

/* --- the balloon ---------------------------------------------------------------------------------------- */

static struct pleat_xen_balloon_status status(void)
{
    struct pleat_xen_balloon_status is;

    pleat_xen_balloon_status(domain->balloon, &is);
    return is;
}

static enum pleat_xen_balloon_reason aim(uint64_t bytes)
{
    pleat_xen_balloon_set_target(domain->balloon, bytes);
    return domain_settle(domain, SETTLE_NS) ? pleat_xen_balloon_reason(domain->balloon, NULL, 0)
                                            : PLEAT_XEN_BALLOON_REASON_WORKING;
}

static void test_down_and_up(uint64_t boot_bytes)
{
    const int64_t before = reservation();
    struct pleat_xen_balloon_statistics out, in;

    ok(aim(96 * MIB) == PLEAT_XEN_BALLOON_REASON_NONE && status().populated_bytes == 96 * MIB,
       "it shrinks to 96 MiB");
    pleat_xen_balloon_statistics(domain->balloon, &out);
    ok((before - reservation()) << 12 == (int64_t)(boot_bytes - 96 * MIB), "Xen counts the same");
    /* 2 MiB at a time, and at most what a batch holds of the rest. */
    ok(out.decrease_calls[1] && out.decrease_calls[0] <= 1, "by %lu hypercalls of order 9, %lu of order 0",
       out.decrease_calls[1], out.decrease_calls[0]);
    ok(aim(boot_bytes) == PLEAT_XEN_BALLOON_REASON_NONE && reservation() == before, "it gets all of it back");
    pleat_xen_balloon_statistics(domain->balloon, &in);
    ok(in.cleared_frames == in.populated_frames && in.populated_frames == out.decreased_frames,
       "what came was cleared: %lu frames", in.cleared_frames);
}

static void test_floor(void)
{
    const uint64_t floor = 16 * MIB >> 12;

    ok(aim(MIB) == PLEAT_XEN_BALLOON_REASON_FLOOR, "it doesn't shrink below its floor, and says so");
    const uint64_t free = pleat_free_frames(&domain->guest->core);
    ok(free >= floor && free < floor + 512, "%lu frames are left", free);
}

static void test_release(void)
{
    struct pleat_xen_balloon_status is;

    (void)aim(64 * MIB);
    domain_is_short(domain, 1024);
    ok(domain_settle(domain, SETTLE_NS) &&
           pleat_xen_balloon_reason(domain->balloon, NULL, 0) == PLEAT_XEN_BALLOON_REASON_PRESSURE,
       "a guest that runs short gets more than the target says");
    is = status();
    ok(is.released_bytes == 4 * MIB && is.populated_bytes == 68 * MIB, "4 MiB of it");
}

static void test_growth(uint64_t boot_bytes)
{
    const struct guest *guest = domain->guest;
    const int64_t most = domain->xen->ops->maximum_frames(domain->xen->context);
    struct pleat_block_info info;

    ok(aim(boot_bytes + 16 * MIB) == PLEAT_XEN_BALLOON_REASON_NONE && status().blocks_added == 1,
       "it grows beyond its size at boot, into a block");
    ok(!pleat_block_info(&domain->guest->core, platform.unused.start >> 12, &info) &&
           info.state == PLEAT_BLOCK_ONLINE && info.fake_offline_frames,
       "the block is online under policy %u, though Xen hasn't given all of it", guest->options.policy);
    ok(aim(UINT64_C(1) << 32) == PLEAT_XEN_BALLOON_REASON_HOST && reservation() == most,
       "it doesn't grow over Xen's maximum, and says so");
    ok(aim(boot_bytes) == PLEAT_XEN_BALLOON_REASON_NONE, "it shrinks again");
}

void test_xen_balloon(struct guest *guest)
{
    if (!begin(guest))
        return;
    const uint64_t boot_bytes = status().populated_bytes;
    test_down_and_up(boot_bytes);
    test_floor();
    test_release();
    test_growth(boot_bytes);
    ok(guest_check(guest), "no frame is lost");
}

/* --- unpopulated frames --------------------------------------------------------------------------------- */

#define PAGES           OPTION_GRANTS
#define PEER_FRAMES     40u
#define TABLE_AT        PEER_FRAMES
#define OWN_HOLES       (PEER_FRAMES + 1)
#define FIRST_REFERENCE 8u
#define REFERENCES      (512u - FIRST_REFERENCE)
#define PERMIT          1u

static uint64_t block;
static struct pleat_xen_mapping mappings[PAGES];
static uint64_t places[PAGES];

static volatile uint64_t *at(uint64_t pfn)
{
    return guest_pointer(domain->guest, pfn);
}

/* The peer's frame behind a page: there are more pages than it has references, and more of those than frames.
 */
static unsigned frame_of(unsigned page)
{
    return page % REFERENCES % PEER_FRAMES;
}

static void grant_all(const struct xen_peer *peer)
{
    struct pleat_xen_grant_entry *table = guest_pointer(domain->guest, peer->table_pfn);

    for (unsigned i = 0; i < PEER_FRAMES; i++)
        at(block + i)[0] = 1000 + i;
    for (unsigned i = 0; i < REFERENCES; i++) {
        table[FIRST_REFERENCE + i].domain = 0;
        table[FIRST_REFERENCE + i].frame = frame_of(i);
        __atomic_store_n(&table[FIRST_REFERENCE + i].flags, PERMIT, __ATOMIC_SEQ_CST);
    }
}

static void test_mapping(const struct xen_peer *peer)
{
    unsigned read = 0, written = 0, holes = 0;

    for (unsigned i = 0; i < PAGES; i++)
        mappings[i] =
            (struct pleat_xen_mapping){.domain = peer->domain, .reference = FIRST_REFERENCE + i % REFERENCES};
    const int64_t mapped = pleat_xen_grants_map(domain->grants, mappings, PAGES);
    for (unsigned i = 0; i < PAGES; i++) {
        places[i] = mappings[i].result ? 0 : mappings[i].pfn;
        if (!places[i])
            continue;
        read += at(places[i])[0] == 1000 + frame_of(i);
        at(places[i])[1] = 5000 + i;
        written += at(block + frame_of(i))[1] == 5000 + i;
    }
    ok(mapped == PAGES && read == PAGES && written == PAGES,
       "%ld foreign pages are mapped, none at frame 0, and data goes both ways", (long)mapped);
    const int64_t unmapped = pleat_xen_grants_unmap(domain->grants, mappings, PAGES);
    for (unsigned i = 0; i < PAGES; i++)
        holes += places[i] && at(places[i])[0] == UINT64_MAX && at(places[i])[511] == UINT64_MAX;
    ok(unmapped == PAGES && holes == PAGES, "%ld are unmapped, and leave %u holes", (long)unmapped, holes);
}

static uint64_t pool_frames(void)
{
    struct pleat_unpopulated_info info = {0};
    uint64_t frames = 0;

    while (!pleat_unpopulated_info(&domain->guest->core, info.start_pfn + info.frames, &info))
        frames += info.frames;
    return frames;
}

static void test_pages(const struct xen_peer *peer)
{
    struct pleat_xen_grants_statistics statistics;
    struct pleat_xen_balloon_statistics before, after;
    const int64_t had = reservation();

    grant_all(peer);
    pleat_xen_balloon_statistics(domain->balloon, &before);
    test_mapping(peer);
    const uint64_t pool = pool_frames();
    test_mapping(peer);
    pleat_xen_balloon_statistics(domain->balloon, &after);
    pleat_xen_grants_statistics(domain->grants, &statistics);
    const uint64_t cost = after.decreased_frames - before.decreased_frames;
    ok(pool_frames() == pool && !pool == domain->guest->options.no_unpopulated,
       "the second time, the same frames are used");
    if (domain->guest->options.no_unpopulated)
        ok(cost == PAGES && statistics.fall_back_frames == UINT64_C(2) * PAGES &&
               had - reservation() == PAGES,
           "%lu frames of RAM were ballooned out for them", cost);
    else
        ok(!cost && !statistics.fall_back_frames && had == reservation(), "%lu frames of RAM were used",
           cost);
    ok(domain_settle(domain, SETTLE_NS) && reservation() == had, "all memory is there again");
}

void test_xen_unpopulated(struct guest *guest)
{
    uint64_t own[OWN_HOLES];
    struct xen_peer peer;
    unsigned order;

    if (!begin(guest) || !ok(!guest_allocate(guest, 2 * MIB, &block, &order), "there is a pageblock"))
        return;
    for (unsigned i = 0; i < OWN_HOLES; i++)
        own[i] = block + i;
    ok(domain->xen->ops->decrease(domain->xen->context, own, OWN_HOLES, 0) == OWN_HOLES,
       "%u holes are made, to see the other domain's memory in", OWN_HOLES);
    const int error = platform_xen_peer(&peer, PEER_FRAMES, block, block + TABLE_AT);
    if (ok(!error, "there is a second domain: %s", pleat_error_text(error))) {
        test_pages(&peer);
        ok(!platform_xen_peer_end(&peer), "the other domain ends");
    }
    ok(domain->xen->ops->populate(domain->xen->context, own, OWN_HOLES, 0) == OWN_HOLES,
       "memory for the holes comes again");
    guest_release(guest, &block, order);
    ok(guest_check(guest), "no frame is lost");
}
