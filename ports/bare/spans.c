/* SPDX-License-Identifier: MIT
 *
 * The boot map of a bare machine, as it is put together from what firmware says and where the image lies.
 */
#include "spans.h"

#define FRAME_SHIFT 12u

static struct pleat_boot_span *const spans = platform.spans;

static uint64_t end_of(const struct pleat_boot_span *span)
{
    return span->start_pfn + span->frames;
}

static void remove_span(unsigned at)
{
    platform.span_count--;
    for (unsigned i = at; i < platform.span_count; i++)
        spans[i] = spans[i + 1];
}

static void insert_span(unsigned at, struct pleat_boot_span span)
{
    for (unsigned i = platform.span_count; i > at; i--)
        spans[i] = spans[i - 1];
    spans[at] = span;
    platform.span_count++;
}

/* Neighbours of one kind become one. */
static void merge(void)
{
    for (unsigned i = 1; i < platform.span_count;) {
        struct pleat_boot_span *before = &spans[i - 1];
        if (end_of(before) == spans[i].start_pfn && before->node == spans[i].node &&
            before->use == spans[i].use) {
            before->frames += spans[i].frames;
            remove_span(i);
        } else {
            i++;
        }
    }
}

/* Makes span boundaries of start and end, where they are inside of spans. Needs room for two. */
static void cut(uint64_t at_pfn)
{
    for (unsigned i = 0; i < platform.span_count; i++) {
        if (spans[i].start_pfn < at_pfn && at_pfn < end_of(&spans[i])) {
            struct pleat_boot_span upper = spans[i];
            upper.start_pfn = at_pfn;
            upper.frames = end_of(&spans[i]) - at_pfn;
            spans[i].frames = at_pfn - spans[i].start_pfn;
            insert_span(i + 1, upper);
            return;
        }
    }
}

/* Frames of the bytes; false: none, or there might be no room. */
static bool frames_of(uint64_t start, uint64_t end, bool whole, uint64_t *first, uint64_t *past)
{
    uint64_t mask = (UINT64_C(1) << FRAME_SHIFT) - 1;
    *first = (start + (whole ? mask : 0)) >> FRAME_SHIFT;
    *past = (end + (whole ? 0 : mask)) >> FRAME_SHIFT;
    return *first < *past;
}

bool spans_set(uint64_t start, uint64_t end, enum pleat_boot_use use, unsigned node)
{
    uint64_t first, past;
    if (!frames_of(start, end, use == PLEAT_BOOT_FREE, &first, &past))
        return true;
    /* Two cuts, and the span itself. */
    if (platform.span_count + 3 > PLATFORM_SPANS)
        return false;
    cut(first);
    cut(past);
    unsigned at = 0;
    while (at < platform.span_count) {
        if (spans[at].start_pfn >= first && end_of(&spans[at]) <= past)
            remove_span(at);
        else if (spans[at].start_pfn < first)
            at++;
        else
            break;
    }
    insert_span(
        at, (struct pleat_boot_span){.start_pfn = first, .frames = past - first, .node = node, .use = use});
    merge();
    return true;
}

bool spans_set_use(uint64_t start, uint64_t end, enum pleat_boot_use use)
{
    uint64_t first, past;
    if (!frames_of(start, end, use == PLEAT_BOOT_FREE, &first, &past))
        return true;
    if (platform.span_count + 2 > PLATFORM_SPANS)
        return false;
    cut(first);
    cut(past);
    for (unsigned i = 0; i < platform.span_count; i++) {
        if (spans[i].start_pfn >= first && end_of(&spans[i]) <= past)
            spans[i].use = use;
    }
    merge();
    return true;
}

bool spans_set_node(uint64_t start, uint64_t end, unsigned node)
{
    uint64_t first, past;
    if (!frames_of(start, end, false, &first, &past))
        return true;
    if (platform.span_count + 2 > PLATFORM_SPANS)
        return false;
    cut(first);
    cut(past);
    for (unsigned i = 0; i < platform.span_count; i++) {
        if (spans[i].start_pfn >= first && end_of(&spans[i]) <= past)
            spans[i].node = node;
    }
    merge();
    return true;
}

uint64_t spans_carve(uint64_t frames, uint64_t align, uint64_t below)
{
    for (unsigned i = platform.span_count; i-- > 0;) {
        uint64_t end = end_of(&spans[i]);
        if (end > below >> FRAME_SHIFT)
            end = below >> FRAME_SHIFT;
        if (spans[i].use != PLEAT_BOOT_FREE || end < spans[i].start_pfn || end < frames)
            continue;
        uint64_t start = (end - frames) / align * align;
        if (start < spans[i].start_pfn || !start)
            continue;
        if (!spans_set_use(start << FRAME_SHIFT, (start + frames) << FRAME_SHIFT, PLEAT_BOOT_RESERVED))
            return 0;
        return start;
    }
    return 0;
}
