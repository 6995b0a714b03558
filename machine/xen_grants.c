/* SPDX-License-Identifier: MIT
 *
 * GNTTABOP_map_grant_ref and GNTTABOP_unmap_grant_ref, by grant tables of version 1
 * (xen/include/public/grant_table.h): the entry says who may map which frame and how; while it is mapped, Xen
 * says so in the entry, and the frame's page stays, whatever becomes of the frame.
 */
#include <stdlib.h>

#include "machine/xen_parts.h"

#define GTF_TYPE_MASK     UINT16_C(3)
#define GTF_PERMIT_ACCESS UINT16_C(1)
#define GTF_READONLY      UINT16_C(4)
#define GTF_READING       UINT16_C(8)
#define GTF_WRITING       UINT16_C(16)

static uint16_t *flags_of(struct pleat_xen_domain *owner, uint32_t reference)
{
    return &owner->grants[reference].flags;
}

/* A free place for a mapping; its number is the handle. */
static bool find_handle(struct pleat_xen_domain *domain, uint32_t *handle)
{
    for (*handle = 0; *handle < domain->mapping_count; ++*handle)
        if (!domain->mappings[*handle].is_used)
            return true;
    const uint32_t room = domain->mapping_count ? domain->mapping_count * 2 : 64;
    struct xen_mapping *mappings = realloc(domain->mappings, room * sizeof *mappings);
    if (!mappings)
        return false;
    for (uint32_t i = domain->mapping_count; i < room; i++)
        mappings[i] = (struct xen_mapping){.is_used = false};
    domain->mappings = mappings;
    domain->mapping_count = room;
    return true;
}

/* Notes in the entry that it is in use. The guest ends a grant by compare-and-swap, so that either it sees
 * this or we see that. */
static int pin_entry(struct pleat_xen_domain *domain, struct pleat_xen_domain *owner, uint32_t reference,
                     bool read_only)
{
    uint16_t *flags = flags_of(owner, reference);
    uint16_t before = __atomic_load_n(flags, __ATOMIC_ACQUIRE);
    uint16_t after;

    do {
        if ((before & GTF_TYPE_MASK) != GTF_PERMIT_ACCESS)
            return PLEAT_E_INVALID;
        const uint16_t granted = owner->grants[reference].domain;
        if (granted != domain->config.id && !(granted == PLEAT_XEN_DOMAIN_SELF && owner == domain))
            return PLEAT_E_REFUSED;
        if ((before & GTF_READONLY) && !read_only)
            return PLEAT_E_REFUSED;
        after = (uint16_t)(before | GTF_READING | (read_only ? 0 : GTF_WRITING));
    } while (!__atomic_compare_exchange_n(flags, &before, after, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    owner->readers[reference]++;
    owner->writers[reference] += !read_only;
    return PLEAT_OK;
}

static void unpin_entry(struct pleat_xen_domain *owner, uint32_t reference, bool read_only)
{
    uint16_t gone = 0;

    if (!--owner->readers[reference])
        gone |= GTF_READING;
    if (!read_only && !--owner->writers[reference])
        gone |= GTF_WRITING;
    __atomic_fetch_and(flags_of(owner, reference), (uint16_t)~gone, __ATOMIC_ACQ_REL);
}

/* A page of one's own has one place: where it was is a hole now. The reference of that frame is lost with it,
 * so that the page is the domain's until its end. */
static bool move_page(struct pleat_xen_domain *domain, uint64_t from)
{
    if (!xen_make_hole(domain, from))
        return false;
    domain->info.leaked_frames++;
    return true;
}

static int map_one(struct pleat_xen_domain *domain, struct pleat_xen_map *map)
{
    struct pleat_xen_domain *owner = xen_domain_of(domain, map->domain);
    uint32_t handle;

    if (!owner)
        return PLEAT_E_NOT_FOUND;
    if (map->pfn >= domain->config.frames || map->reference >= owner->config.grant_count ||
        map->reference < XEN_GRANTS_RESERVED)
        return PLEAT_E_INVALID;
    if (!find_handle(domain, &handle))
        return PLEAT_E_NO_MEMORY;
    int error = pin_entry(domain, owner, map->reference, map->read_only);
    if (error)
        return error;
    const uint64_t from = owner->grants[map->reference].frame;
    if (from >= owner->config.frames)
        error = PLEAT_E_INVALID;
    /* Xen populates what it is asked to share. */
    else if (owner->frames[from].kind == PLEAT_XEN_ON_DEMAND && owner->info.pool_frames &&
             xen_put_page(owner, from, true))
        owner->info.on_demand_frames--;
    if (!error && owner->frames[from].kind != PLEAT_XEN_OWN)
        error = PLEAT_E_DEVICE;
    const uint64_t page = error ? 0 : owner->frames[from].page;
    if (!error && !xen_clear_the_way(domain, map->pfn))
        error = PLEAT_E_DEVICE;
    if (!error && !xen_map_page(domain, map->pfn, owner, page, map->read_only))
        error = PLEAT_E_NO_MEMORY;
    if (!error && owner == domain && from != map->pfn && !move_page(domain, from))
        error = PLEAT_E_NO_MEMORY;
    if (error) {
        unpin_entry(owner, map->reference, map->read_only);
        return error;
    }
    owner->references[page]++;
    domain->mappings[handle] = (struct xen_mapping){.is_used = true,
                                                    .read_only = map->read_only,
                                                    .owner = owner->config.id,
                                                    .reference = map->reference,
                                                    .pfn = map->pfn,
                                                    .page = page};
    domain->frames[map->pfn] = (struct xen_frame){
        .page = page, .handle = handle, .owner = owner->config.id, .kind = PLEAT_XEN_MAPPED};
    domain->info.mapped_frames++;
    map->handle = handle;
    return PLEAT_OK;
}

/* The end of a mapping for its owner: its entry, its page. */
static void release(struct pleat_xen_domain *domain, struct xen_mapping *mapping)
{
    struct pleat_xen_domain *owner = domain->hypervisor->domains[mapping->owner];

    if (owner) {
        unpin_entry(owner, mapping->reference, mapping->read_only);
        xen_put_reference(owner, mapping->page, false);
    }
    mapping->is_used = false;
}

static int unmap_one(struct pleat_xen_domain *domain, const struct pleat_xen_unmap *unmap)
{
    if (unmap->handle >= domain->mapping_count || !domain->mappings[unmap->handle].is_used)
        return PLEAT_E_INVALID;
    /* An address of 0 means "not mapped there" (common_grant_unmap in xen/common/grant_table.c). */
    if (!unmap->pfn)
        return PLEAT_OK;
    struct xen_mapping *mapping = &domain->mappings[unmap->handle];
    if (mapping->pfn != unmap->pfn)
        return PLEAT_E_INVALID;
    if (!xen_make_hole(domain, unmap->pfn))
        return PLEAT_E_NO_MEMORY;
    release(domain, mapping);
    return PLEAT_OK;
}

int xen_map(void *context, struct pleat_xen_map *maps, unsigned count)
{
    struct pleat_xen_domain *domain = context;

    xen_lock(domain->hypervisor);
    domain->info.maps++;
    const bool fails = domain->info.ended || xen_fails(domain, PLEAT_FAULT_XEN_HYPERCALL_FAILS, NULL);
    for (unsigned i = 0; !fails && i < count; i++)
        maps[i].result = domain->info.ended ? PLEAT_E_DEVICE : map_one(domain, &maps[i]);
    xen_unlock(domain->hypervisor);
    return fails ? PLEAT_E_DEVICE : PLEAT_OK;
}

int xen_unmap(void *context, struct pleat_xen_unmap *unmaps, unsigned count)
{
    struct pleat_xen_domain *domain = context;

    xen_lock(domain->hypervisor);
    domain->info.unmaps++;
    const bool fails = domain->info.ended || xen_fails(domain, PLEAT_FAULT_XEN_HYPERCALL_FAILS, NULL);
    for (unsigned i = 0; !fails && i < count; i++)
        unmaps[i].result = unmap_one(domain, &unmaps[i]);
    xen_unlock(domain->hypervisor);
    return fails ? PLEAT_E_DEVICE : PLEAT_OK;
}

void xen_unmap_all(struct pleat_xen_domain *domain)
{
    for (uint32_t i = 0; i < domain->mapping_count; i++)
        if (domain->mappings[i].is_used)
            release(domain, &domain->mappings[i]);
    /* Others keep the content that they have mapped: it is their mapping of the memfd. */
    for (unsigned id = 0; id < PLEAT_XEN_DOMAINS_MAX; id++) {
        struct pleat_xen_domain *other = domain->hypervisor->domains[id];
        for (uint32_t i = 0; other && other != domain && i < other->mapping_count; i++)
            if (other->mappings[i].is_used && other->mappings[i].owner == domain->config.id)
                other->mappings[i].owner = 0;
    }
}
