/* SPDX-License-Identifier: MIT
 *
 * Blocks of frames with a pattern in them, which comes of a stamp that no other block ever has.
 */
#include "held.h"

#include "ports/bare/platform.h"

#define FRAME_BYTES 4096u
#define WORDS       (FRAME_BYTES / 8)

static volatile uint64_t *words(uint64_t pfn)
{
    return platform.port.frame_pointer(platform.port.context, pfn);
}

static uint64_t pattern(uint64_t stamp, uint64_t frame)
{
    return (stamp << 16 | frame) * UINT64_C(0x9e3779b97f4a7c15);
}

/* The first, the last and a middle word of each frame: a full write of each would only test the machine. */
static const unsigned places[] = {0, 233, WORDS - 1};
#define PLACES (sizeof(places) / sizeof(places[0]))

static void fill(uint64_t pfn, unsigned order, uint64_t stamp)
{
    for (uint64_t frame = 0; frame < UINT64_C(1) << order; frame++) {
        for (unsigned i = 0; i < PLACES; i++)
            words(pfn + frame)[places[i]] = pattern(stamp, frame) + i;
    }
}

static bool is_filled(uint64_t pfn, unsigned order, uint64_t stamp)
{
    for (uint64_t frame = 0; frame < UINT64_C(1) << order; frame++) {
        for (unsigned i = 0; i < PLACES; i++) {
            if (words(pfn + frame)[places[i]] != pattern(stamp, frame) + i)
                return false;
        }
    }
    return true;
}

static bool is_there(const struct held *held, uint64_t pfn, unsigned order, uint64_t slot)
{
    return slot < held->slots && held->blocks[slot].pfn == pfn && held->blocks[slot].order == order;
}

static int isolate(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    return is_there(context, pfn, order, cookie) ? PLEAT_OK : PLEAT_E_NOT_FOUND;
}

static int migrate(void *context, uint64_t from_pfn, uint64_t to_pfn, unsigned order, uint64_t cookie)
{
    struct held *held = context;
    if (!is_there(held, from_pfn, order, cookie))
        return PLEAT_E_NOT_FOUND;
    __builtin_memcpy(platform.port.frame_pointer(platform.port.context, to_pfn),
                     platform.port.frame_pointer(platform.port.context, from_pfn),
                     (size_t)FRAME_BYTES << order);
    held->blocks[cookie].pfn = to_pfn;
    held->moved++;
    return PLEAT_OK;
}

static void putback(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    (void)context;
    (void)pfn;
    (void)order;
    (void)cookie;
}

static const struct pleat_owner_ops ops = {.isolate = isolate, .migrate = migrate, .putback = putback};

int held_begin(struct held *held, struct pleat *pleat)
{
    int owner = pleat_owner_register(pleat, "held", &ops, held);
    held->pleat = pleat;
    held->owner = owner < 0 ? 0 : (unsigned)owner;
    held->slots = 0;
    held->moved = 0;
    return owner < 0 ? owner : PLEAT_OK;
}

bool held_allocate(struct held *held, unsigned order, unsigned flags)
{
    static uint64_t next_stamp;
    unsigned slot = held->slots;
    if (slot == HELD_MAX)
        return false;
    int64_t pfn = pleat_alloc(held->pleat, order, flags, pleat_tag_make(held->owner, slot));
    if (pfn < 0)
        return false;
    held->blocks[slot].pfn = (uint64_t)pfn;
    held->blocks[slot].order = order;
    held->blocks[slot].stamp = ++next_stamp;
    held->slots++;
    fill((uint64_t)pfn, order, next_stamp);
    return true;
}

bool held_is_whole(struct held *held)
{
    for (unsigned slot = 0; slot < held->slots; slot++) {
        uint64_t pfn = held->blocks[slot].pfn;
        unsigned order;
        pleat_tag tag;
        if (pfn && (!is_filled(pfn, held->blocks[slot].order, held->blocks[slot].stamp) ||
                    pleat_frame_tag(held->pleat, pfn, &tag, &order) || order != held->blocks[slot].order ||
                    tag != pleat_tag_make(held->owner, slot)))
            return false;
    }
    return true;
}

unsigned held_inside(const struct held *held, uint64_t start_pfn, uint64_t frames)
{
    unsigned inside = 0;
    for (unsigned slot = 0; slot < held->slots; slot++) {
        uint64_t pfn = held->blocks[slot].pfn;
        inside +=
            pfn && pfn < start_pfn + frames && start_pfn < pfn + (UINT64_C(1) << held->blocks[slot].order);
    }
    return inside;
}

bool held_free(struct held *held, unsigned step)
{
    bool freed = true;
    for (unsigned slot = 0; slot < held->slots; slot += step) {
        uint64_t pfn = held->blocks[slot].pfn;
        if (pfn)
            freed = pleat_free(held->pleat, pfn, held->blocks[slot].order) == PLEAT_OK && freed;
        held->blocks[slot].pfn = 0;
    }
    if (step == 1)
        held->slots = 0;
    return freed;
}
