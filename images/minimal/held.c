/* SPDX-License-Identifier: MIT
 *
 * Frames that are held. The cookie of a frame is its place in the list; a place whose frame was freed holds
 * 0.
 */
#include "minimal.h"

#define FRAME_WORDS 512u

struct held held;

static volatile uint64_t *words(uint64_t pfn)
{
    return (volatile uint64_t *)(uintptr_t)(pfn << 12);
}

static uint64_t stamp_of(uint64_t place)
{
    return (place + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static void stamp(uint64_t pfn, uint64_t place)
{
    words(pfn)[0] = stamp_of(place);
    words(pfn)[FRAME_WORDS - 1] = ~stamp_of(place);
}

static int isolate(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    const struct held *all = context;
    return order == 0 && cookie < all->count && all->pfn[cookie] == pfn ? PLEAT_OK : PLEAT_E_INVALID;
}

static int migrate(void *context, uint64_t from_pfn, uint64_t to_pfn, unsigned order, uint64_t cookie)
{
    struct held *all = context;
    (void)order;
    for (unsigned i = 0; i < FRAME_WORDS; i++)
        words(to_pfn)[i] = words(from_pfn)[i];
    all->pfn[cookie] = to_pfn;
    all->moved++;
    return PLEAT_OK;
}

static void putback(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    (void)context;
    (void)pfn;
    (void)order;
    (void)cookie;
}

static const struct pleat_owner_ops ops = {isolate, migrate, putback};

bool held_begin(struct pleat *pleat)
{
    const int owner = pleat_owner_register(pleat, "held", &ops, &held);
    held.pleat = pleat;
    held.owner = owner > 0 ? (unsigned)owner : 0;
    return owner > 0;
}

unsigned held_fill(unsigned count)
{
    if (count > HELD_MAX)
        count = HELD_MAX;
    for (; held.count < count; held.count++) {
        const int64_t pfn = pleat_alloc(held.pleat, 0, PLEAT_MOVABLE, pleat_tag_make(held.owner, held.count));
        if (pfn < 0)
            break;
        held.pfn[held.count] = (uint64_t)pfn;
        stamp((uint64_t)pfn, held.count);
    }
    return held.count;
}

bool held_is_whole(void)
{
    for (unsigned i = 0; i < held.count; i++) {
        const uint64_t pfn = held.pfn[i];
        if (pfn && (words(pfn)[0] != stamp_of(i) || words(pfn)[FRAME_WORDS - 1] != ~stamp_of(i)))
            return false;
    }
    return true;
}

bool held_free(unsigned step)
{
    bool freed = true;
    for (unsigned i = 0; i < held.count; i += step) {
        if (held.pfn[i])
            freed = pleat_free(held.pleat, held.pfn[i], 0) == PLEAT_OK && freed;
        held.pfn[i] = 0;
    }
    if (step == 1)
        held.count = 0;
    return freed;
}
