/* SPDX-License-Identifier: MIT
 *
 * The core by itself, in an instance of its own: the upper end of boot memory is kept out of its boot map,
 * and added and removed as if it were plugged.
 */
#include "minimal.h"

#include "ports/bare/platform.h"
#include "ports/bare/print.h"

#define BLOCK_PAGEBLOCKS 4u
#define BLOCK_FRAMES     (BLOCK_PAGEBLOCKS * PLEAT_PAGEBLOCK_FRAMES)
#define EXTRA_BLOCKS     8u
#define ROUNDS           2000u
#define KEPT             16u

static struct pleat pleat;
static struct pleat_boot_span spans[PLATFORM_SPANS];
static uint64_t extra;
static bool cpu_failed[PLATFORM_CPUS];

/* Copies the boot map without the extra blocks. False: no span is large enough. */
static bool cut_extra(void)
{
    bool cut = false;
    for (unsigned i = platform.span_count; i-- > 0;) {
        spans[i] = platform.spans[i];
        const uint64_t end = spans[i].start_pfn + spans[i].frames;
        const uint64_t start = (end - EXTRA_BLOCKS * BLOCK_FRAMES) / BLOCK_FRAMES * BLOCK_FRAMES;
        if (!cut && spans[i].use == PLEAT_BOOT_FREE && spans[i].frames > 4 * EXTRA_BLOCKS * BLOCK_FRAMES) {
            spans[i].frames = start - spans[i].start_pfn;
            extra = start;
            cut = true;
        }
    }
    return cut;
}

static void allocate_all_orders(void)
{
    const uint64_t before = pleat_free_frames(&pleat);
    bool aligned = true, freed = true;
    for (unsigned order = 0; order <= 11; order++) {
        const int64_t pfn = pleat_alloc(&pleat, order, PLEAT_UNMOVABLE, PLEAT_NO_TAG);
        aligned = aligned && pfn > 0 && ((uint64_t)pfn & ((1u << order) - 1)) == 0;
        freed = freed && pfn > 0 && pleat_free(&pleat, (uint64_t)pfn, order) == PLEAT_OK;
    }
    pleat_drain(&pleat);
    check(aligned, "orders 0 to 11 are allocated and aligned");
    check(freed && pleat_free_frames(&pleat) == before, "and freed");
}

/* Allocates and frees at random, and stamps what it has, against all other CPUs. */
static void churn(void *context, unsigned cpu)
{
    uint64_t kept[KEPT] = {0};
    uint64_t random = cpu + 1;
    (void)context;
    for (unsigned i = 0; i < ROUNDS; i++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t *place = &kept[random >> 60];
        if (*place) {
            volatile uint64_t *words = (volatile uint64_t *)(uintptr_t)(*place << 12);
            if (*words != (*place ^ cpu) || pleat_free(&pleat, *place, 0) != PLEAT_OK)
                cpu_failed[cpu] = true;
            *place = 0;
        } else {
            const int64_t pfn = pleat_alloc(&pleat, 0, PLEAT_UNMOVABLE, PLEAT_NO_TAG);
            if (pfn <= 0) {
                cpu_failed[cpu] = true;
                continue;
            }
            *place = (uint64_t)pfn;
            *(volatile uint64_t *)(uintptr_t)(*place << 12) = *place ^ cpu;
        }
    }
    for (unsigned i = 0; i < KEPT; i++) {
        if (kept[i] && pleat_free(&pleat, kept[i], 0) != PLEAT_OK)
            cpu_failed[cpu] = true;
    }
}

static void allocate_on_all_cpus(void)
{
    const uint64_t before = pleat_free_frames(&pleat);
    platform_on_all_cpus(churn, NULL);
    bool good = true;
    for (unsigned i = 0; i < platform.cpus; i++)
        good = good && !cpu_failed[i];
    pleat_drain(&pleat);
    check(good, "all CPUs allocate and free at once");
    check(pleat_free_frames(&pleat) == before, "and no frame is lost");
    check(pleat_is_valid(&pleat), "the books are right");
}

static void add_and_remove(void)
{
    static const int owner;
    const struct pleat_range_config range = {
        .name = "extra",
        .owner = &owner,
        .start_pfn = extra,
        .frames = EXTRA_BLOCKS * BLOCK_FRAMES,
        .flags = PLEAT_ADD_FORCE_ONLINE,
        .force_zone = PLEAT_ZONE_MOVABLE,
    };
    struct pleat_take take;
    const struct pleat_take_config all = {
        .start_pfn = extra,
        .frames = EXTRA_BLOCKS * BLOCK_FRAMES,
        .goal = PLEAT_TAKE_TO_REMOVED,
        .owner = &owner,
    };
    const uint64_t before = pleat_free_frames(&pleat);
    const uint64_t brought = EXTRA_BLOCKS * (BLOCK_FRAMES - pleat_memmap_frames(&pleat));

    if (!check(pleat_add(&pleat, &range) == PLEAT_OK, "memory is added"))
        return;
    check(pleat_free_frames(&pleat) == before + brought, "its frames are free, less its memmap");
    check(pleat_add(&pleat, &range) == PLEAT_E_EXISTS, "it can't be added again");
    check(held_begin(&pleat) && held_fill(8000) == 8000, "8000 movable frames are held");
    unsigned inside = 0;
    for (unsigned i = 0; i < held.count; i++)
        inside += held.pfn[i] - extra < EXTRA_BLOCKS * BLOCK_FRAMES;
    check(inside > 0, "some of them in what was added");
    check(held_free(2), "half of them are freed");

    int result = pleat_take_begin(&pleat, &take, &all);
    if (result == PLEAT_OK) {
        do {
            result = pleat_take_step(&pleat, &take, 256);
        } while (result == PLEAT_MORE);
    }
    struct pleat_block_info info;
    check(result == PLEAT_OK && pleat_block_info(&pleat, extra, &info) == PLEAT_E_NOT_FOUND,
          "it is taken back and removed");
    check(held.moved > 0, "frames were moved for that");
    check(held_is_whole(), "their content is as it was");
    check(held_free(1), "all of them are freed");
    pleat_drain(&pleat);
    check(pleat_free_frames(&pleat) == before, "as many frames are free as at the start");
    check(pleat_is_valid(&pleat), "the books are right");
}

void test_core(void)
{
    const struct pleat_config config = {
        .port = &platform.port,
        .cpus = platform.cpus,
        .nodes = platform.nodes,
        .cpu_node = platform.cpu_node,
        .block_pageblocks = BLOCK_PAGEBLOCKS,
        .highest_pfn = platform.spans[platform.span_count - 1].start_pfn +
                       platform.spans[platform.span_count - 1].frames,
    };
    if (!check(platform.span_count > 0 && cut_extra(), "there is memory to play with") ||
        !check(pleat_init(&pleat, &config, spans, platform.span_count) == PLEAT_OK, "the core is set up"))
        return;
    check(pleat_is_valid(&pleat), "the books are right");
    allocate_all_orders();
    allocate_on_all_cpus();
    add_and_remove();
}
