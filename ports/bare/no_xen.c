/* SPDX-License-Identifier: MIT
 *
 * What a port answers that doesn't run on Xen. One that does has functions of its own, which win.
 */
#include "platform.h"
#include "xen_peer.h"

#define WEAK __attribute__((weak))

WEAK const struct pleat_xen *platform_xen(void)
{
    return NULL;
}

WEAK void platform_xen_reboot(void)
{
}

WEAK int platform_xen_peer(struct xen_peer *peer, unsigned frames, uint64_t pfn, uint64_t table_pfn)
{
    *peer = (struct xen_peer){.frames = frames, .pfn = pfn, .table_pfn = table_pfn};
    return PLEAT_E_UNSUPPORTED;
}

WEAK int platform_xen_peer_end(struct xen_peer *peer)
{
    peer->is_there = false;
    return PLEAT_OK;
}

WEAK int platform_xen_peer_channel(const struct xen_peer *peer)
{
    (void)peer;
    return PLEAT_E_UNSUPPORTED;
}
