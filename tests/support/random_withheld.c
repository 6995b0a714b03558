/* SPDX-License-Identifier: MIT
 *
 * Random operations on fake-offline frames: free ones are withheld, withheld ones are given, by the pageblock
 * and one by one.
 */
#include "random_machine.h"

/* --- Withholding ---------------------------------------------------------------------------------------- */

struct wanted {
    struct run *run;
    const void *owner;
    bool low; /**< also zone DMA */
};

static bool is_allowed(const void *context, const struct plain_block *block)
{
    const struct wanted *wanted = context;
    return (!block->removable || run_owner_of(wanted->run, block) == wanted->owner) &&
           (wanted->low || block->zone != PLEAT_ZONE_DMA);
}

/** Whether a pageblock that isn't free as a whole has a free frame to withhold. */
static bool has_partial(const struct wanted *wanted)
{
    const struct plain *plain = &wanted->run->plain;
    for (uint64_t pfn = 0; pfn < plain->frames; pfn += PAGEBLOCK) {
        const struct plain_block *block = plain_block_of(plain, pfn);
        uint64_t found = plain_count(plain, pfn, PAGEBLOCK, PLAIN_FREE);
        if (block->state == PLEAT_BLOCK_ONLINE && is_allowed(wanted, block) && found && found < PAGEBLOCK &&
            !plain_is_isolated(plain, pfn, PAGEBLOCK))
            return true;
    }
    return false;
}

/** Whether it is what costs least. Only when no CPU has frames of its own. */
static void check_place(struct run *run, const struct wanted *wanted, uint64_t pfn, uint64_t frames)
{
    const struct plain_block *block = plain_block_of(&run->plain, pfn);
    if (block->zone == PLEAT_ZONE_DMA)
        must(run, !plain_fits(&run->plain, frames == 1 ? 0 : PLEAT_PAGEBLOCK_ORDER, is_allowed, wanted),
             "PFN 0x%llx of zone DMA was withheld, though others are free", X(pfn));
    else if (frames == 1 && plain_all(&run->plain, pfn / PAGEBLOCK * PAGEBLOCK, PAGEBLOCK, PLAIN_FREE))
        must(run, !has_partial(wanted), "a pageblock was opened for PFN 0x%llx, though others are open",
             X(pfn));
}

static const void *draw_owner(struct run *run)
{
    const struct test_range *range = &run->ranges[run_draw(run, RANGES)];
    return range->used && run_chance(run, 70) ? range->config.owner : NULL;
}

static void withhold_one(struct run *run, const void *owner, uint64_t frames, bool drained)
{
    struct wanted wanted = {.run = run, .owner = owner, .low = true};
    unsigned order = frames == 1 ? 0 : PLEAT_PAGEBLOCK_ORDER;
    int64_t pfn = run_ask_withhold(run, owner, frames);
    run_note(run, "withhold %llu frames -> 0x%llx", X(frames), X((uint64_t)pfn));
    if (pfn < 0) {
        must(run, pfn == PLEAT_E_NO_MEMORY, "withhold was answered with %d", (int)pfn);
        must(run, !plain_fits(&run->plain, order, is_allowed, &wanted),
             "nothing to withhold, though there is");
        return;
    }
    must(run, (uint64_t)pfn < run->plain.frames && (uint64_t)pfn % frames == 0, "withheld PFN 0x%llx",
         X((uint64_t)pfn));
    const struct plain_block *block = plain_block_of(&run->plain, (uint64_t)pfn);
    must(run, block->state == PLEAT_BLOCK_ONLINE && is_allowed(&wanted, block),
         "PFN 0x%llx isn't this owner's to withhold", X((uint64_t)pfn));
    must(run,
         plain_all(&run->plain, (uint64_t)pfn, frames, PLAIN_FREE) &&
             !plain_is_isolated(&run->plain, (uint64_t)pfn, frames),
         "PFN 0x%llx was withheld, and wasn't free", X((uint64_t)pfn));
    wanted.low = false;
    if (drained)
        check_place(run, &wanted, (uint64_t)pfn, frames);
    plain_set(&run->plain, (uint64_t)pfn, frames, PLAIN_WITHHELD);
    /* There is nothing behind it from now on: a touch is caught. */
    run_unmap(run, (uint64_t)pfn, frames);
}

void run_withhold(struct run *run)
{
    const void *owner = draw_owner(run);
    uint64_t frames = run_chance(run, 50) ? 1 : PAGEBLOCK;
    if (run_chance(run, 5)) {
        frames = run_draw(run, 2 * PAGEBLOCK);
        frames += frames == 1 || frames == PAGEBLOCK;
        must(run, pleat_withhold(&run->pleat, owner, frames) == PLEAT_E_INVALID, "withhold of %llu frames",
             X(frames));
        return;
    }
    if (run->blind && frames == 1) {
        must(run, pleat_withhold(&run->pleat, owner, 1) == PLEAT_E_UNSUPPORTED, "withhold of a frame");
        return;
    }
    /* Often enough to make a pageblock withheld as a whole of single frames. */
    unsigned often = frames == 1 ? 1 + (unsigned)run_draw(run, run_chance(run, 20) ? 1200 : 10) : 1;
    bool drained = often < 20 && run_chance(run, 30);
    if (drained)
        pleat_drain(&run->pleat);
    while (often--)
        withhold_one(run, owner, frames, drained);
}

/* --- Giving --------------------------------------------------------------------------------------------- */

/** Whether each pageblock's part is fake-offline, with what is passed over in it. */
static bool is_withheld(const struct run *run, uint64_t pfn, uint64_t frames)
{
    for (uint64_t at = pfn; at < pfn + frames;) {
        uint64_t end = (at / PAGEBLOCK + 1) * PAGEBLOCK;
        end = end < pfn + frames ? end : pfn + frames;
        uint64_t withheld = plain_count(&run->plain, at, end - at, PLAIN_WITHHELD);
        if (!withheld || withheld + plain_count(&run->plain, at, end - at, PLAIN_MEMMAP) +
                                 plain_count(&run->plain, at, end - at, PLAIN_MEMMAP_NORMAL) +
                                 plain_count(&run->plain, at, end - at, PLAIN_ABSENT) !=
                             end - at)
            return false;
        at = end;
    }
    return true;
}

/** Pageblocks, and then some of their frames or more. */
static void draw_given(struct run *run, uint64_t *pfn, uint64_t *frames)
{
    bool whole = run_chance(run, 40);
    uint64_t unit = whole ? PAGEBLOCK : 1;
    *pfn = run_draw(run, run->plain.frames / unit) * unit;
    /* Some that are withheld, if there are any near. */
    for (unsigned i = 0; i < 50 && !is_withheld(run, *pfn, unit); i++)
        *pfn = run_draw(run, run->plain.frames / unit) * unit;
    *frames = (1 + run_draw(run, 3)) * unit;
    if (!whole && run_chance(run, 70)) {
        /* All that are withheld in a row, as far as they go. */
        uint64_t most = run_draw(run, 1500);
        while (*frames < most && *pfn + *frames < run->plain.frames && is_withheld(run, *pfn + *frames, 1))
            ++*frames;
    }
    if (*pfn + *frames > run->plain.frames || run_chance(run, 30))
        *frames = unit;
}

void run_give(struct run *run)
{
    uint64_t pfn, frames;
    draw_given(run, &pfn, &frames);
    const struct plain_block *block = plain_block_of(&run->plain, pfn);
    const void *owner = run_owner_of(run, block);
    if (run_chance(run, 5))
        owner = &run->ranges[run_draw(run, RANGES)];
    bool spans = block != plain_block_of(&run->plain, pfn + frames - 1);
    bool missing = block->state == PLEAT_BLOCK_NONE;
    bool foreign = !missing && owner != run_owner_of(run, block);
    bool busy = block->state != PLEAT_BLOCK_ONLINE || plain_is_isolated(&run->plain, pfn, frames) ||
                !is_withheld(run, pfn, frames);
    bool unknown = run->blind && (pfn | frames) % PAGEBLOCK;
    bool wrong = spans || missing || foreign || busy || unknown;
    if (!wrong)
        run_map_withheld(run, pfn, frames);
    run_note(run, "give 0x%llx, %llu frames", X(pfn), X(frames));
    int error = run_ask_give(run, owner, pfn, frames);
    run_note(run, "... give -> %d", error);
    if (wrong) {
        must(run,
             (spans && error == PLEAT_E_NOT_FOUND) || (missing && error == PLEAT_E_NOT_FOUND) ||
                 (foreign && error == PLEAT_E_NOT_OWNER) || (busy && error == PLEAT_E_STATE) ||
                 (unknown && error == PLEAT_E_UNSUPPORTED),
             "give of spanning %d, missing %d, foreign %d, busy %d, unknown %d frames was answered with %d",
             spans, missing, foreign, busy, unknown, error);
        return;
    }
    must(run, !error, "give was answered with %d", error);
    for (uint64_t i = pfn; i < pfn + frames; i++) {
        if (run->plain.kind[i] == PLAIN_WITHHELD)
            plain_set(&run->plain, i, 1, PLAIN_FREE);
    }
}
