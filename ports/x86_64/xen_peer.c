/* SPDX-License-Identifier: MIT
 *
 * A second domain, made by dom0 itself without a toolstack. See xen_peer.h.
 */
#include "ports/bare/xen_peer.h"

#include "ports/bare/platform.h"

#include "xen.h"
#include "xen_hypercall.h"

#include <xen/event_channel.h>
#include <xen/errno.h>
#include <xen/memory.h>

/* Of page tables that Xen keeps for it; its least is 1 MiB. */
#define TABLES_BYTES UINT64_C(0x200000)
#define CHANNELS     127u

/* What is needed of xen/include/public/domctl.h, which can't be compiled as plain C17. Its interface is that
 * of one version of Xen, 4.17; every other one refuses it. */
#define CONTROL_VERSION 0x15u

enum {
    CONTROL_CREATE = 1,
    CONTROL_DESTROY = 2,
    CONTROL_MAXIMUM_MEMORY = 11,
    CONTROL_MAXIMUM_CPUS = 15,
    CONTROL_TABLES_BYTES = 86,
};

#define CREATE_HVM           1u
#define CREATE_HAP           2u
#define CREATE_GRANT_VERSION 1u
#define EMULATE_APIC         1u

struct create {
    uint32_t security;
    uint8_t uuid[16];
    uint32_t flags, iommu, cpus, channels;
    int32_t grant_frames, mapped_frames; /* -1: as many as Xen allows */
    uint32_t grant_version, trace_bytes, cpu_pool, emulated, misc;
};
_Static_assert(sizeof(struct create) == 64, "as Xen has it");

struct control {
    uint32_t command, version;
    uint16_t domain, zero[3];
    union {
        struct create create;
        uint64_t maximum_kib;
        uint32_t maximum_cpus;
        uint64_t tables_bytes;
        uint8_t pad[128];
    } u;
};
_Static_assert(sizeof(struct control) == 144, "as Xen has it");

static long control(struct control *request, unsigned command, uint16_t domain)
{
    request->command = command;
    request->version = CONTROL_VERSION;
    request->domain = domain;
    return xen_hypercall(__HYPERVISOR_domctl, (uintptr_t)request, 0, 0);
}

static long make_domain(struct xen_peer *peer)
{
    struct control request = {.u.create = {.flags = CREATE_HVM | CREATE_HAP,
                                           .cpus = 1,
                                           .channels = CHANNELS,
                                           .grant_frames = 1,
                                           .mapped_frames = -1,
                                           .grant_version = CREATE_GRANT_VERSION,
                                           .emulated = EMULATE_APIC}};
    /* 0: Xen chooses a number. */
    long result = control(&request, CONTROL_CREATE, 0);
    peer->domain = request.domain;
    peer->is_there = !result;
    return result;
}

static long make_memory(const struct xen_peer *peer)
{
    struct control tables = {.u.tables_bytes = TABLES_BYTES};
    struct control limit = {.u.maximum_kib = (uint64_t)peer->frames * 4};
    /* An event to a domain needs a virtual CPU to go to, even if that never runs. */
    struct control cpus = {.u.maximum_cpus = 1};
    xen_pfn_t frames[XEN_PEER_FRAMES];
    struct xen_memory_reservation memory = {.nr_extents = peer->frames, .domid = peer->domain};

    for (unsigned i = 0; i < peer->frames; i++)
        frames[i] = i;
    set_xen_guest_handle(memory.extent_start, frames);
    long result = control(&cpus, CONTROL_MAXIMUM_CPUS, peer->domain);
    if (!result)
        result = control(&tables, CONTROL_TABLES_BYTES, peer->domain);
    if (!result)
        result = control(&limit, CONTROL_MAXIMUM_MEMORY, peer->domain);
    if (result)
        return result;
    result = xen_memory_op(XENMEM_populate_physmap, &memory);
    return result < 0 ? result : result == peer->frames ? 0 : -XEN_ENOMEM;
}

/* Its memory and its grant table appear in this domain. */
static long show(struct xen_peer *peer)
{
    xen_ulong_t theirs[XEN_PEER_FRAMES];
    xen_pfn_t ours[XEN_PEER_FRAMES];
    int errors[XEN_PEER_FRAMES];
    struct xen_add_to_physmap_batch memory = {.domid = DOMID_SELF,
                                              .space = XENMAPSPACE_gmfn_foreign,
                                              .size = (uint16_t)peer->frames,
                                              .u.foreign_domid = peer->domain};
    xen_pfn_t table_pfn = peer->table_pfn;
    struct xen_mem_acquire_resource table = {.domid = peer->domain,
                                             .type = XENMEM_resource_grant_table,
                                             .id = XENMEM_resource_grant_table_id_shared,
                                             .nr_frames = 1};

    for (unsigned i = 0; i < peer->frames; i++) {
        theirs[i] = i;
        ours[i] = peer->pfn + i;
        errors[i] = 0;
    }
    set_xen_guest_handle(memory.idxs, theirs);
    set_xen_guest_handle(memory.gpfns, ours);
    set_xen_guest_handle(memory.errs, errors);
    set_xen_guest_handle(table.frame_list, &table_pfn);
    peer->is_memory_seen = true;
    long result = xen_memory_op(XENMEM_add_to_physmap_batch, &memory);
    for (unsigned i = 0; i < peer->frames && !result; i++)
        result = errors[i];
    if (result)
        return result;
    result = xen_memory_op(XENMEM_acquire_resource, &table);
    peer->is_table_seen = !result;
    return result;
}

int platform_xen_peer(struct xen_peer *peer, unsigned frames, uint64_t pfn, uint64_t table_pfn)
{
    *peer = (struct xen_peer){.frames = frames, .pfn = pfn, .table_pfn = table_pfn};
    if (!platform_xen())
        return PLEAT_E_UNSUPPORTED;
    if (!platform_xen()->is_dom0)
        return PLEAT_E_REFUSED;
    if (!frames || frames > XEN_PEER_FRAMES)
        return PLEAT_E_INVALID;
    long result = make_domain(peer);
    if (!result)
        result = make_memory(peer);
    if (!result)
        result = show(peer);
    if (!result)
        return PLEAT_OK;
    (void)platform_xen_peer_end(peer);
    return xen_error(result);
}

static void hide(uint64_t pfn)
{
    struct xen_remove_from_physmap frame = {.domid = DOMID_SELF, .gpfn = pfn};
    (void)xen_memory_op(XENMEM_remove_from_physmap, &frame);
}

int platform_xen_peer_end(struct xen_peer *peer)
{
    struct control request = {0};

    if (!peer->is_there)
        return PLEAT_OK;
    for (unsigned i = 0; i < peer->frames && peer->is_memory_seen; i++)
        hide(peer->pfn + i);
    if (peer->is_table_seen)
        hide(peer->table_pfn);
    long result = control(&request, CONTROL_DESTROY, peer->domain);
    peer->is_there = result;
    return result ? xen_error(result) : PLEAT_OK;
}

int platform_xen_peer_channel(const struct xen_peer *peer)
{
    struct evtchn_alloc_unbound it = {.dom = peer->domain, .remote_dom = 0};
    long result = xen_event_op(EVTCHNOP_alloc_unbound, &it);
    return result ? xen_error(result) : (int)it.port;
}
