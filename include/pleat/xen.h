/* SPDX-License-Identifier: MIT
 *
 * What the guest's Xen drivers ask of the hypervisor (Xen 4.17, xen/include/public). A port makes hypercalls
 * of it; a machine in one process answers itself. Frames are named by PFN, that is by guest frame number: the
 * guests are auto-translated (PVH).
 *
 * Nothing here waits, but for the hypercall itself. Operations may be called from one context at a time; the
 * handler of an event channel runs in interrupt context, pinned, and may call event_send() alone.
 *
 * Errors are negative: those of <pleat/error.h> that fit (INVALID, NO_MEMORY, NOT_FOUND, BUSY, REFUSED: no
 * privilege), else PLEAT_E_DEVICE.
 */
#ifndef PLEAT_XEN_H
#define PLEAT_XEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** xen/include/public/xen.h */
#define PLEAT_XEN_DOMAIN_SELF UINT16_C(0x7ff0)

/** A grant of somebody else's frame to be mapped, and how it ended. */
struct pleat_xen_map {
    uint64_t pfn;       /**< where; never 0, and nothing of the guest's own is behind it */
    uint32_t reference; /**< the other domain's */
    uint16_t domain;    /**< the other domain */
    bool read_only;
    int result;      /**< set: 0 or an error; then nothing is mapped there */
    uint32_t handle; /**< set: for unmap */
};

/** The same of an unmapping. */
struct pleat_xen_unmap {
    uint64_t pfn;
    uint32_t handle;
    int result; /**< set: 0 or an error; then it is still mapped */
};

/** An entry of the guest's grant table, version 1 (xen/include/public/grant_table.h); shared with Xen. */
struct pleat_xen_grant_entry {
    uint16_t flags; /**< changes last when granting, and by compare-and-swap when ending */
    uint16_t domain;
    uint32_t frame;
};

struct pleat_xen_ops {
    /**
     * XENMEM_decrease_reservation, XENMEM_populate_physmap: give back, or get memory for, `count` extents of
     * 2^order frames (order 0 or 9; aligned to their size). Return how many of them, from the first on, were
     * done: less than `count` (0 too) when the next one couldn't be; an error only if none was tried.
     * Populating a frame that has memory succeeds and leaks: the caller keeps books. What comes may hold
     * anything.
     */
    int64_t (*decrease)(void *context, const uint64_t *pfns, uint64_t count, unsigned order);
    int64_t (*populate)(void *context, const uint64_t *pfns, uint64_t count, unsigned order);
    /** XENMEM_current_reservation, XENMEM_maximum_reservation: frames; INT64_MAX: no limit. The current one
     * counts what populate-on-demand has in store, too; what such a domain gives back goes into the store,
     * and the current one stays, until as much is in store as is still promised. It counts what a grant was
     * mapped over, as well, which nobody can give back. */
    int64_t (*current_frames)(void *context);
    int64_t (*maximum_frames)(void *context);

    /** GNTTABOP_map_grant_ref, GNTTABOP_unmap_grant_ref. 0: see each one's result. An error: none was tried,
     * and nothing has changed. After an unmapping nothing is behind the frame. */
    int (*map)(void *context, struct pleat_xen_map *maps, unsigned count);
    int (*unmap)(void *context, struct pleat_xen_unmap *unmaps, unsigned count);

    /** Event channels: a new one that `domain` may bind to, or one bound to another domain's; returns the
     * local channel. `handler` is called for each event from then on, and once for the binding itself, by
     * which Xen makes up for events that were sent before. */
    int (*event_offer)(void *context, uint16_t domain, void (*handler)(void *), void *handler_context);
    int (*event_bind)(void *context, uint16_t domain, uint32_t remote_channel, void (*handler)(void *),
                      void *handler_context);
    /** A channel that exists already (the store's, the console's). */
    int (*event_listen)(void *context, uint32_t channel, void (*handler)(void *), void *handler_context);
    int (*event_send)(void *context, uint32_t channel);
    int (*event_close)(void *context, uint32_t channel);
};

/** The hypervisor as this guest sees it; filled in by the port. */
struct pleat_xen {
    const struct pleat_xen_ops *ops;
    void *context;
    bool is_dom0; /**< the initial domain: there is no store and nobody sets a target */
    /** The guest's grant table; entries 0 to 7 are reserved. NULL: there is none. */
    struct pleat_xen_grant_entry *grants;
    unsigned grant_count;
    /** The page that the store's two rings are in (xen/include/public/io/xs_wire.h), and its channel. NULL:
     * there is no store. */
    void *store_page;
    uint32_t store_channel;
};

#ifdef __cplusplus
}
#endif

#endif
