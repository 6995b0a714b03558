/* SPDX-License-Identifier: MIT
 *
 * Carving memory out of the boot map.
 */
#include "spans.h"

static uint64_t end_of(const struct pleat_boot_span *span)
{
    return span->start_pfn + span->frames;
}

/* Cuts span `at` in two at this frame, if it is inside. */
static void cut(unsigned at, uint64_t pfn)
{
    struct pleat_boot_span *spans = platform.spans, upper = spans[at];

    if (pfn <= upper.start_pfn || pfn >= end_of(&upper))
        return;
    for (unsigned i = platform.span_count++; i > at + 1; i--)
        spans[i] = spans[i - 1];
    spans[at].frames = pfn - upper.start_pfn;
    spans[at + 1] = upper;
    spans[at + 1].start_pfn = pfn;
    spans[at + 1].frames = end_of(&upper) - pfn;
}

/* Neighbours of one kind become one. */
static void merge(void)
{
    struct pleat_boot_span *spans = platform.spans;
    unsigned kept = 0;

    for (unsigned i = 1; i < platform.span_count; i++) {
        if (end_of(&spans[kept]) == spans[i].start_pfn && spans[kept].node == spans[i].node &&
            spans[kept].use == spans[i].use)
            spans[kept].frames += spans[i].frames;
        else
            spans[++kept] = spans[i];
    }
    platform.span_count = kept + 1;
}

uint64_t spans_carve(uint64_t frames, uint64_t align, uint64_t below)
{
    if (platform.span_count + 2 > PLATFORM_SPANS)
        return 0;
    for (unsigned i = platform.span_count; i-- > 0;) {
        struct pleat_boot_span *span = &platform.spans[i];
        uint64_t end = end_of(span) < below ? end_of(span) : below;
        if (span->use != PLEAT_BOOT_FREE || end < frames)
            continue;
        uint64_t start = (end - frames) / align * align;
        if (start < span->start_pfn || !start)
            continue;
        cut(i, start + frames);
        cut(i, start);
        platform.spans[platform.spans[i].start_pfn == start ? i : i + 1].use = PLEAT_BOOT_RESERVED;
        merge();
        return start;
    }
    return 0;
}
