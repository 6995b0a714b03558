/* SPDX-License-Identifier: MIT
 *
 * A second domain of Xen, for tests of what goes between two: it has memory and a grant table and never runs.
 * Only dom0 may make one. What a domain does to itself isn't the same: Xen moves a page that is granted to
 * oneself.
 */
#ifndef PLEAT_PORTS_BARE_XEN_PEER_H
#define PLEAT_PORTS_BARE_XEN_PEER_H

#include <stdbool.h>
#include <stdint.h>

#define XEN_PEER_FRAMES 64u

struct xen_peer {
    uint16_t domain;
    bool is_there;
    unsigned frames;    /* its memory: guest frames 0 to frames - 1 */
    uint64_t pfn;       /* where in this domain they are seen, one after the other */
    uint64_t table_pfn; /* and the first frame of its grant table: 512 entries of version 1 */
    bool is_table_seen, is_memory_seen;
};

/*
 * Makes the domain, with `frames` (at most XEN_PEER_FRAMES) of memory at `pfn` and the table at `table_pfn`:
 * holes of this domain, the caller's. REFUSED: this isn't dom0. UNSUPPORTED: not on this platform. Errors of
 * Xen else; then there is no domain, and the holes are holes.
 */
int platform_xen_peer(struct xen_peer *peer, unsigned frames, uint64_t pfn, uint64_t table_pfn);

/* Ends it; the holes are holes again. Nothing of it may be mapped by a grant any more. Does nothing if it
 * isn't there. */
int platform_xen_peer_end(struct xen_peer *peer);

/* A channel of the peer's that this domain may bind to; or an error. */
int platform_xen_peer_channel(const struct xen_peer *peer);

#endif
