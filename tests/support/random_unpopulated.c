/* SPDX-License-Identifier: MIT
 *
 * Random operations on unpopulated frames.
 */
#include "random_machine.h"

void run_name_unpopulated(struct run *run)
{
    uint64_t block_frames = run->plain.block_frames;
    const struct pleat_unpopulated_config config = {.ranges = &run->named, .range_count = 1};
    uint64_t pfn;
    must(run, pleat_alloc_unpopulated(&run->pleat, 1, &pfn, PLEAT_NO_TAG) == PLEAT_E_UNSUPPORTED,
         "unpopulated frames from nowhere");
    run->named.start_pfn = run->plain.frames - run_draw(run, block_frames + 1);
    run->named.frames = block_frames + run_draw(run, 3 * block_frames);
    run_note(run, "unpopulated frames from 0x%llx on, %llu frames", X(run->named.start_pfn),
             X(run->named.frames));
    must(run, !pleat_unpopulated_init(&run->pleat, &config), "unpopulated_init");
}

static pleat_tag tag_of(const struct run *run)
{
    return pleat_tag_make((unsigned)run->owners[3].number, run->seed & 0xffff);
}

bool run_is_unpopulated(struct run *run, uint64_t pfn)
{
    struct pleat_unpopulated_info info;
    return !pleat_unpopulated_info(&run->pleat, pfn, &info) && info.start_pfn <= pfn;
}

static uint64_t count_sections(struct run *run, uint64_t *used)
{
    struct pleat_unpopulated_info info;
    uint64_t count = 0;
    *used = 0;
    for (uint64_t pfn = 0; !pleat_unpopulated_info(&run->pleat, pfn, &info);
         pfn = info.start_pfn + info.frames) {
        must(run,
             info.start_pfn >= pfn && info.frames == run->plain.block_frames &&
                 info.start_pfn % info.frames == 0 && info.start_pfn >= run->named.start_pfn &&
                 info.start_pfn + info.frames <= run->named.start_pfn + run->named.frames,
             "a section of unpopulated frames at 0x%llx", X(info.start_pfn));
        must(run,
             info.start_pfn >= run->plain.frames ||
                 plain_block_of(&run->plain, info.start_pfn)->state == PLEAT_BLOCK_NONE,
             "unpopulated frames over a memory block at 0x%llx", X(info.start_pfn));
        *used += info.used_frames;
        count++;
    }
    return count;
}

/** Whole memory blocks that were named and hold neither memory nor a section. */
static uint64_t sections_left(struct run *run)
{
    uint64_t block_frames = run->plain.block_frames, end = run->named.start_pfn + run->named.frames;
    uint64_t left = 0;
    for (uint64_t pfn = (run->named.start_pfn + block_frames - 1) / block_frames * block_frames;
         pfn + block_frames <= end; pfn += block_frames) {
        bool memory = pfn < run->plain.frames && plain_block_of(&run->plain, pfn)->state != PLEAT_BLOCK_NONE;
        left += !memory && !run_is_unpopulated(run, pfn);
    }
    return left;
}

static bool is_boot(const void *context, const struct plain_block *block)
{
    (void)context;
    return !block->removable;
}

static bool memmap_fits(struct run *run)
{
    unsigned order = 0;
    while (UINT64_C(1) << order < pleat_memmap_frames(&run->pleat))
        order++;
    return plain_fits(&run->plain, order, is_boot, NULL);
}

void run_alloc_unpopulated(struct run *run)
{
    unsigned count = 1 + (unsigned)run_draw(run, run_chance(run, 80) ? 30 : 1500);
    uint64_t *pfns = run->unpopulated + run->unpopulated_count, used;
    if (run->unpopulated_count + count > UNPOPULATED)
        return;
    uint64_t room = run->sections * run->plain.block_frames - run->unpopulated_count;
    int error = pleat_alloc_unpopulated(&run->pleat, count, pfns, tag_of(run));
    run_note(run, "alloc_unpopulated %u frames -> %d", count, error);
    uint64_t before = run->sections;
    run->sections = count_sections(run, &used);
    must(run, run->sections >= before && (count > room || run->sections == before),
         "the pool has %llu sections in place of %llu", X(run->sections), X(before));
    if (run->sections != before)
        run_learn_memmaps(run);
    if (error) {
        /* It has grown as far as it could. */
        room = run->sections * run->plain.block_frames - run->unpopulated_count;
        must(run, error == PLEAT_E_NO_MEMORY && count > room && used == run->unpopulated_count,
             "alloc_unpopulated was answered with %d", error);
        must(run, !sections_left(run) || !memmap_fits(run), "there is room for more unpopulated frames");
        return;
    }
    run->unpopulated_count += count;
    must(run, used == run->unpopulated_count, "%llu unpopulated frames are in use, should be %u", X(used),
         run->unpopulated_count);
    /* None of them twice, or fewer would be in use. */
    for (unsigned i = 0; i < count; i++)
        must(run, pfns[i] && run_is_unpopulated(run, pfns[i]), "PFN 0x%llx isn't unpopulated", X(pfns[i]));
}

void run_free_unpopulated(struct run *run)
{
    unsigned count = (unsigned)run_draw(run, run->unpopulated_count + 1), used_by = run->unpopulated_count;
    uint64_t used;
    if (run_chance(run, 10)) {
        /* Never allocated: refused, and nothing has changed. */
        uint64_t wrong[2] = {used_by ? run->unpopulated[0] : 0, run_draw(run, run->plain.frames)};
        bool is_first = false;
        for (unsigned i = 0; i < used_by; i++)
            is_first |= run->unpopulated[i] == wrong[1];
        if (is_first)
            return;
        must(run, pleat_free_unpopulated(&run->pleat, 2, wrong) == PLEAT_E_MISUSE, "a wrong free");
        must(run, pleat_hosted_fatals(run->hosted) > run->fatals, "the port hasn't heard of it");
        run->fatals = pleat_hosted_fatals(run->hosted);
        count_sections(run, &used);
        must(run, used == used_by, "a wrong free has freed something");
        return;
    }
    /* From anywhere: the last ones of a list whose order is shaken. */
    for (unsigned i = used_by; i-- > 1;) {
        unsigned other = (unsigned)run_draw(run, i + 1);
        uint64_t pfn = run->unpopulated[i];
        run->unpopulated[i] = run->unpopulated[other];
        run->unpopulated[other] = pfn;
    }
    run_note(run, "free_unpopulated %u frames", count);
    must(run, !pleat_free_unpopulated(&run->pleat, count, run->unpopulated + used_by - count),
         "free_unpopulated");
    run->unpopulated_count -= count;
}

void run_check_unpopulated(struct run *run)
{
    uint64_t used;
    must(run, count_sections(run, &used) == run->sections && used == run->unpopulated_count,
         "%llu unpopulated frames are in use, should be %u", X(used), run->unpopulated_count);
    for (unsigned i = 0; i < run->unpopulated_count && !run->blind; i++) {
        pleat_tag tag;
        unsigned order;
        must(run,
             !pleat_frame_tag(&run->pleat, run->unpopulated[i], &tag, &order) && tag == tag_of(run) &&
                 order == 0,
             "unpopulated PFN 0x%llx has another tag", X(run->unpopulated[i]));
    }
}
