/* SPDX-License-Identifier: MIT
 *
 * The model of Xen from the inside.
 *
 *   xen_hypervisor.c   domains, pages, frames; what a toolstack does
 *   xen_reservation.c  decrease and populate
 *   xen_grants.c       map and unmap
 *   xen_events.c       event channels
 *
 * A domain's pages are pages of a memfd: number p is at p * 4 KiB in it. As a rule frame p has page p behind
 * it, so that neighbours are one mapping of this process, which has room for some 65,000 of them. Where page
 * p is somebody's already (leaked, moved, mapped by another domain), one of the second half of the memfd
 * serves.
 *
 * One lock guards all domains. It spins, because a guest that touches a page to be populated on demand takes
 * it in a signal handler.
 */
#ifndef PLEAT_MACHINE_XEN_PARTS_H
#define PLEAT_MACHINE_XEN_PARTS_H

#include <stdatomic.h>

#include "machine/xen_hypervisor.h"

/* Entries of a grant table that Xen keeps for itself (xen/include/public/grant_table.h). */
#define XEN_GRANTS_RESERVED 8

struct xen_frame {
    /* OWN: the page. MAPPED: the page of `owner`, and the place of the mapping. */
    uint64_t page;
    uint32_t handle;
    uint16_t owner;
    uint8_t kind; /* enum pleat_xen_frame */
};

struct xen_channel {
    enum { XEN_CHANNEL_FREE = 0, XEN_CHANNEL_UNBOUND, XEN_CHANNEL_BOUND, XEN_CHANNEL_HOST } state;
    uint16_t remote_domain;
    uint32_t remote_channel;
    void (*notify)(void *context); /* HOST */
    void *notify_context;
    void (*handler)(void *context);
    void *handler_context;
    bool is_pending;
};

/* A grant that is mapped: what the handle of it means. */
struct xen_mapping {
    bool is_used, read_only;
    uint16_t owner;
    uint32_t reference;
    uint64_t pfn, page;
};

struct pleat_xen_domain {
    struct pleat_xen_hypervisor *hypervisor;
    struct pleat_xen_domain_config config;
    struct pleat_xen interface;
    unsigned char *memory;
    bool owns_addresses;
    int memfd;
    struct xen_frame *frames; /* [config.frames] */
    /* References of each page: a frame's, one for having leaked, one for each mapping. [2 * config.frames] */
    uint16_t *references;
    uint64_t spare_hint; /* where to look for a page of the second half */
    uint64_t pages;      /* with a reference; == current_frames - pool */
    struct pleat_xen_grant_entry *grants;
    uint32_t *readers, *writers; /* of each grant */
    struct xen_mapping *mappings;
    uint32_t mapping_count; /* room */
    struct xen_channel channels[PLEAT_XEN_CHANNELS];
    struct pleat_xen_domain_info info; /* its sums */
};

struct pleat_xen_hypervisor {
    struct pleat_xen_hypervisor_config config;
    atomic_flag lock;
    uint64_t free_frames; /* UINT64_MAX: no limit */
    struct pleat_xen_domain *domains[PLEAT_XEN_DOMAINS_MAX];
};

void xen_lock(struct pleat_xen_hypervisor *hypervisor);
void xen_unlock(struct pleat_xen_hypervisor *hypervisor);

/** Does this place fail now for the domain? `frames` receives the fault's size=, UINT64_MAX if it has none.
 */
bool xen_fails(const struct pleat_xen_domain *domain, enum pleat_fault_place place, uint64_t *frames);

/* All of these with the lock held. */

/** The domain of an id, SELF included; NULL: there is none. */
struct pleat_xen_domain *xen_domain_of(struct pleat_xen_domain *self, uint16_t id);
/** Ends the domain: hypercalls fail from then on. */
void xen_end(struct pleat_xen_domain *domain, const char *why);
/** May it have `frames` pages more? */
bool xen_has_room(const struct pleat_xen_domain *domain, uint64_t frames);
/** Puts a new page behind a frame that has nothing behind it; `from_pool`: one that is the domain's already.
 * False: the host can't. */
bool xen_put_page(struct pleat_xen_domain *domain, uint64_t pfn, bool from_pool);
/** The same for a run of frames, all holes whose own pages have no reference; in one mapping, for speed. */
bool xen_put_run(struct pleat_xen_domain *domain, uint64_t pfn, uint64_t frames);
/** Makes holes of a run of frames that have their own pages behind them, which nobody else refers to, and
 * gives these to the host. False: the host can't. */
bool xen_remove_run(struct pleat_xen_domain *domain, uint64_t pfn, uint64_t frames);
/** Makes a hole of a frame of its own or of a mapped one, the reference kept. False: the host can't. */
bool xen_make_hole(struct pleat_xen_domain *domain, uint64_t pfn);
/** Something new is to be behind this frame. What was there is leaked; false: the domain was ended for it. */
bool xen_clear_the_way(struct pleat_xen_domain *domain, uint64_t pfn);
/** One reference to a page less. The last one frees it, or puts it into the pool. */
void xen_put_reference(struct pleat_xen_domain *owner, uint64_t page, bool to_pool);
/** The accessible content of a page that is behind `pfn`. */
bool xen_map_page(struct pleat_xen_domain *domain, uint64_t pfn, struct pleat_xen_domain *owner,
                  uint64_t page, bool read_only);
void xen_close_channels(struct pleat_xen_domain *domain);
void xen_unmap_all(struct pleat_xen_domain *domain);

/* The ops. */
int64_t xen_decrease(void *context, const uint64_t *pfns, uint64_t count, unsigned order);
int64_t xen_populate(void *context, const uint64_t *pfns, uint64_t count, unsigned order);
int xen_map(void *context, struct pleat_xen_map *maps, unsigned count);
int xen_unmap(void *context, struct pleat_xen_unmap *unmaps, unsigned count);
int xen_event_offer(void *context, uint16_t domain, void (*handler)(void *), void *handler_context);
int xen_event_bind(void *context, uint16_t domain, uint32_t remote_channel, void (*handler)(void *),
                   void *handler_context);
int xen_event_listen(void *context, uint32_t channel, void (*handler)(void *), void *handler_context);
int xen_event_send(void *context, uint32_t channel);
int xen_event_close(void *context, uint32_t channel);

#endif
