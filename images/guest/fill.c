/* SPDX-License-Identifier: MIT
 *
 * Filling memory with small objects. See fill.h.
 *
 * A frame has a slot of the table. Which slots belong to an object, and whether it is freed, follows from
 * numbers that are made anew from the seed each time, so that nothing has to be kept. CPU n has the n-th part
 * of the slots.
 */
#include "fill.h"

#include "random.h"

#define OBJECT_FRAMES_MAX 16u
#define METADATA_SHARED   4u

int fill_begin(struct fill *fill, struct held *held, enum fill_objects objects, uint32_t free_ppm,
               uint64_t bytes, unsigned cpus)
{
    const uint64_t frames = bytes / held->frame_bytes;

    if (!frames || frames > UINT32_MAX)
        return PLEAT_E_INVALID;
    const int error = held_reserve(held, (uint32_t)frames);
    if (error)
        return error;
    *fill = (struct fill){.held = held,
                          .objects = objects,
                          .free_ppm = free_ppm,
                          .seed = held->seed,
                          .slots = (uint32_t)frames,
                          .cpus = cpus};
    return PLEAT_OK;
}

static uint32_t first_slot(const struct fill *fill, unsigned cpu)
{
    return (uint32_t)((uint64_t)fill->slots * cpu / fill->cpus);
}

/* Is the object that begins at this slot freed? */
static bool is_freed(const struct fill *fill, uint32_t slot)
{
    uint64_t random = fill->seed ^ ~(uint64_t)slot;

    return random_below(&random, OPTION_MILLION) < fill->free_ppm;
}

/* Frames of the object that begins at this slot, at most those up to the end. */
static uint32_t object_frames(const struct fill *fill, uint32_t slot, uint32_t end)
{
    uint64_t random = fill->seed + slot;
    const uint32_t frames = fill->objects == FILL_MIXED
                                ? METADATA_SHARED + 1
                                : 1 + (uint32_t)random_below(&random, OBJECT_FRAMES_MAX);

    return frames < end - slot ? frames : end - slot;
}

static unsigned mobility_of(const struct fill *fill, uint32_t place)
{
    if (fill->objects == FILL_MIXED)
        return place == METADATA_SHARED ? PLEAT_UNMOVABLE : PLEAT_MOVABLE;
    return fill->objects == FILL_MOVABLE ? PLEAT_MOVABLE : PLEAT_UNMOVABLE;
}

void fill_allocate(struct fill *fill, unsigned cpu)
{
    const uint32_t end = first_slot(fill, cpu + 1);

    for (uint32_t slot = first_slot(fill, cpu); slot < end;) {
        const uint32_t frames = object_frames(fill, slot, end);
        for (uint32_t place = 0; place < frames; place++)
            (void)held_allocate(fill->held, slot + place, 0, mobility_of(fill, place));
        slot += frames;
    }
}

/* The four objects of one frame each, and their metadata. */
static void free_mixed(struct fill *fill, uint32_t slot, uint32_t frames)
{
    bool all = true;

    for (uint32_t place = 0; place < frames && place < METADATA_SHARED; place++) {
        if (is_freed(fill, slot + place))
            (void)held_free(fill->held, slot + place);
        else
            all = false;
    }
    if (all && frames > METADATA_SHARED)
        (void)held_free(fill->held, slot + METADATA_SHARED);
}

void fill_free(struct fill *fill, unsigned cpu)
{
    const uint32_t end = first_slot(fill, cpu + 1);

    for (uint32_t slot = first_slot(fill, cpu); slot < end;) {
        const uint32_t frames = object_frames(fill, slot, end);
        if (fill->objects == FILL_MIXED)
            free_mixed(fill, slot, frames);
        else if (is_freed(fill, slot))
            for (uint32_t place = 0; place < frames; place++)
                (void)held_free(fill->held, slot + place);
        slot += frames;
    }
}

uint64_t fill_bound_frames(const struct fill_bound *bound)
{
    const uint64_t wanted = bound->used_frames + bound->floor_frames;
    uint64_t stay = wanted > bound->boot_frames ? wanted - bound->boot_frames : 0;

    if (bound->peak_unmovable_frames > bound->boot_frames &&
        bound->peak_unmovable_frames - bound->boot_frames > stay)
        stay = bound->peak_unmovable_frames - bound->boot_frames;
    stay = (stay + PLEAT_PAGEBLOCK_FRAMES - 1) / PLEAT_PAGEBLOCK_FRAMES * PLEAT_PAGEBLOCK_FRAMES;
    return bound->plugged_frames > stay ? bound->plugged_frames - stay : 0;
}
