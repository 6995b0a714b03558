/* SPDX-License-Identifier: MIT
 *
 * XENMEM_decrease_reservation and XENMEM_populate_physmap (decrease_reservation() and populate_physmap() in
 * xen/common/memory.c): extents are done one by one until one can't be.
 */
#include <string.h>

#include "machine/xen_parts.h"

/* What stays behind in pages that others had: no zeroes. */
#define PATTERN UINT64_C(0x9d5af31bc7246e80)

static bool extent_is_good(const struct pleat_xen_domain *domain, uint64_t pfn, unsigned order)
{
    const uint64_t frames = UINT64_C(1) << order;

    return !(pfn & (frames - 1)) && pfn < domain->config.frames && frames <= domain->config.frames - pfn;
}

/* Errors that are known before anything is tried. */
static int check(struct pleat_xen_domain *domain, const uint64_t *pfns, uint64_t count, unsigned order)
{
    if (domain->info.ended || xen_fails(domain, PLEAT_FAULT_XEN_HYPERCALL_FAILS, NULL))
        return PLEAT_E_DEVICE;
    if ((order != 0 && order != 9) || (count && !extent_is_good(domain, pfns[0], order)))
        return PLEAT_E_INVALID;
    return PLEAT_OK;
}

/* Most frames need no more than their own pages come or go: those are done a run at a time. */
static bool is_simple(const struct pleat_xen_domain *domain, uint64_t pfn, bool is_there)
{
    const struct xen_frame *frame = &domain->frames[pfn];

    if (!is_there)
        return frame->kind == PLEAT_XEN_HOLE && !domain->references[pfn];
    return frame->kind == PLEAT_XEN_OWN && frame->page == pfn && domain->references[pfn] == 1 &&
           !domain->info.on_demand_frames;
}

/* How many extents from the first on are simple and follow each other. */
static uint64_t simple_run(const struct pleat_xen_domain *domain, const uint64_t *pfns, uint64_t count,
                           unsigned order, bool is_there)
{
    const uint64_t frames = UINT64_C(1) << order;

    for (uint64_t i = 0; i < count; i++) {
        if (pfns[i] != pfns[0] + i * frames || !extent_is_good(domain, pfns[i], order))
            return i;
        for (uint64_t pfn = pfns[i]; pfn < pfns[i] + frames; pfn++)
            if (!is_simple(domain, pfn, is_there))
                return i;
    }
    return count;
}

/* While frames wait for pages, what comes back goes to the pool; what the pool has too much of, to the host
 * (p2m_pod_decrease_reservation() in xen/arch/x86/mm/p2m-pod.c). */
static bool remove_frame(struct pleat_xen_domain *domain, uint64_t pfn)
{
    struct pleat_xen_domain_info *info = &domain->info;
    struct xen_frame *frame = &domain->frames[pfn];

    if (frame->kind == PLEAT_XEN_ON_DEMAND) {
        frame->kind = PLEAT_XEN_HOLE;
        info->on_demand_frames--;
        if (info->pool_frames > info->on_demand_frames) {
            info->pool_frames--;
            if (domain->hypervisor->free_frames != UINT64_MAX)
                domain->hypervisor->free_frames++;
        }
        return true;
    }
    if (frame->kind != PLEAT_XEN_OWN)
        return false;
    const uint64_t page = frame->page;
    if (!xen_make_hole(domain, pfn))
        return false;
    xen_put_reference(domain, page, info->on_demand_frames > info->pool_frames);
    return true;
}

int64_t xen_decrease(void *context, const uint64_t *pfns, uint64_t count, unsigned order)
{
    struct pleat_xen_domain *domain = context;
    const uint64_t frames = UINT64_C(1) << order;
    uint64_t done = 0;

    xen_lock(domain->hypervisor);
    const int error = check(domain, pfns, count, order);
    domain->info.decreases++;
    for (bool good = !error; good && done < count;) {
        const uint64_t run = simple_run(domain, pfns + done, count - done, order, true);
        if (run && xen_remove_run(domain, pfns[done], run * frames)) {
            done += run;
            continue;
        }
        good = extent_is_good(domain, pfns[done], order);
        for (uint64_t i = 0; good && i < frames; i++)
            good = remove_frame(domain, pfns[done] + i);
        done += good;
    }
    domain->info.decreased_frames += done * frames;
    domain->info.large_extents += order ? done : 0;
    xen_unlock(domain->hypervisor);
    return error ? error : (int64_t)done;
}

static void fill(unsigned char *memory, uint64_t pfn)
{
    for (uint64_t at = 0; at < PLEAT_XEN_FRAME_BYTES; at += sizeof(uint64_t)) {
        const uint64_t word = PATTERN + pfn + at;
        memcpy(memory + at, &word, sizeof word);
    }
}

/* The pages of an extent come all or not at all. */
static bool populate_extent(struct pleat_xen_domain *domain, uint64_t pfn, uint64_t frames)
{
    if (!xen_has_room(domain, frames) || domain->hypervisor->free_frames < frames)
        return false;
    for (uint64_t i = 0; i < frames; i++) {
        if (!xen_clear_the_way(domain, pfn + i) || !xen_put_page(domain, pfn + i, false))
            return false;
        fill(domain->memory + (pfn + i) * PLEAT_XEN_FRAME_BYTES, pfn + i);
    }
    return true;
}

int64_t xen_populate(void *context, const uint64_t *pfns, uint64_t count, unsigned order)
{
    struct pleat_xen_domain *domain = context;
    const uint64_t frames = UINT64_C(1) << order;
    uint64_t done = 0, most = count, limit;

    xen_lock(domain->hypervisor);
    const int error = check(domain, pfns, count, order);
    if (!error && xen_fails(domain, PLEAT_FAULT_XEN_POPULATE_PARTIAL, &limit))
        most = limit == UINT64_MAX ? count / 2 : limit / frames < count ? limit / frames : count;
    if (!error && xen_fails(domain, PLEAT_FAULT_HOST_OUT_OF_MEMORY, NULL))
        most = 0;
    domain->info.populates++;
    for (bool good = !error; good && done < most;) {
        const uint64_t run = simple_run(domain, pfns + done, most - done, order, false);
        if (run && xen_has_room(domain, run * frames) && xen_put_run(domain, pfns[done], run * frames)) {
            for (uint64_t pfn = pfns[done]; pfn < pfns[done] + run * frames; pfn++)
                fill(domain->memory + pfn * PLEAT_XEN_FRAME_BYTES, pfn);
            done += run;
            continue;
        }
        good = extent_is_good(domain, pfns[done], order) && populate_extent(domain, pfns[done], frames);
        done += good;
    }
    domain->info.populated_frames += done * frames;
    domain->info.large_extents += order ? done : 0;
    xen_unlock(domain->hypervisor);
    return error ? error : (int64_t)done;
}
