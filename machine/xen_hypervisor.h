/* SPDX-License-Identifier: MIT
 *
 * A model of Xen in one process: domains with memory, grant tables and event channels, and the hypercalls of
 * <pleat/xen.h> with the outcome that Xen 4.17 has for them on real machines, traps included. It is what
 * drivers are tested on without a hypervisor, and what `pleat run -M xenpvh` runs its guest on.
 *
 *   page      4 KiB of the host's memory, of one domain for as long as somebody refers to it
 *   frame     a place in a domain's address space; a page is behind it, or nothing is: a hole
 *   pool      pages that a domain has in store for frames that are populated on demand
 *   leaked    a page that a domain owns and can't reach any more, because something was put over its frame
 *
 * What is as on Xen, and would be missed:
 *   - Decreasing stops at the first frame that has no page of the domain's own behind it. With order 9 the
 *     frames before it in the same extent are gone all the same, and the extent isn't counted.
 *   - Populating over a populated frame, and mapping a grant over one, succeed and leak the page.
 *   - Either over a frame that a grant is mapped at ends the domain (guest_physmap_add_entry() in
 *     xen/arch/x86/mm/p2m.c), and so does touching more frames that are populated on demand than there are
 *     pages in the pool.
 *   - An unmapping of frame 0 says success and does nothing. After any other, the frame is a hole.
 *   - A domain that maps a grant of its own moves the page: the first frame is a hole from then on.
 *   - What comes with a populated page is a pattern, no zeroes.
 *   - The current reservation counts the pool, and jumps when the toolstack sets a target. While more frames
 *     wait for a page than there are in the pool, pages given back go to the pool.
 *   - A page that another domain has mapped lives on until it is unmapped, whoever gave it back.
 * What isn't: a hole is inaccessible here, where Xen reads as all ones and drops what is written, so that the
 * hosted port can name who touches one. Xen looks for zeroed pages before it ends a domain whose pool is
 * empty; here it doesn't.
 *
 * Threads: everything may be called from any thread. A domain's memory belongs to its guest. Handlers of
 * event channels are called by pleat_xen_domain_deliver() only, without a lock.
 */
#ifndef PLEAT_MACHINE_XEN_HYPERVISOR_H
#define PLEAT_MACHINE_XEN_HYPERVISOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/xen.h>

#include "machine/fault.h"

#define PLEAT_XEN_FRAME_SHIFT 12
#define PLEAT_XEN_FRAME_BYTES (UINT64_C(1) << PLEAT_XEN_FRAME_SHIFT)
/** Ids of domains are below this, and 0 is the host's own, where the store is. */
#define PLEAT_XEN_DOMAINS_MAX 8
/** Event channels of a domain; 0 is none. */
#define PLEAT_XEN_CHANNELS 64
struct pleat_xen_hypervisor;
struct pleat_xen_domain;

struct pleat_xen_hypervisor_config {
    uint64_t free_frames; /**< that the host has for domains; 0: no limit */
    /** Where hypercalls fail on purpose, and the clock of it. NULL: nowhere. */
    struct pleat_faults *faults;
    uint64_t (*clock_ns)(void *context);
    void *clock_context;
};

/** Errors: NO_MEMORY. */
int pleat_xen_hypervisor_create(const struct pleat_xen_hypervisor_config *config,
                                struct pleat_xen_hypervisor **hypervisor);
/** After all its domains. NULL is allowed. */
void pleat_xen_hypervisor_destroy(struct pleat_xen_hypervisor *hypervisor);
/** Frames that the host has left; UINT64_MAX: no limit. */
uint64_t pleat_xen_hypervisor_free_frames(struct pleat_xen_hypervisor *hypervisor);

struct pleat_xen_domain_config {
    uint16_t id;     /**< 1 to PLEAT_XEN_DOMAINS_MAX - 1, one for each domain */
    uint64_t frames; /**< of its address space, from frame 0 on */
    /** Addresses reserved by the caller for all of them, aligned to a frame; only what is populated or mapped
     * here is touched. NULL: the model reserves its own. */
    void *memory;
    uint64_t maximum_frames; /**< XENMEM_maximum_reservation; 0: no limit */
    unsigned grant_count;    /**< entries of its grant table; 0: it has none */
    bool without_faults;     /**< its hypercalls don't fail on purpose */
    /** Tells that an event is pending: pleat_xen_domain_deliver() is to be called soon. On the sender's
     * thread; it may take no lock that is held while hypercalls are made. NULL: nobody needs to be told. */
    void (*kick)(void *context);
    void *kick_context;
};

/** A domain without memory. Errors: INVALID, EXISTS (the id), NO_MEMORY. */
int pleat_xen_domain_create(struct pleat_xen_hypervisor *hypervisor,
                            const struct pleat_xen_domain_config *config, struct pleat_xen_domain **domain);
/** Ends it: channels are closed, pages that others have mapped live on with the model. NULL is allowed. */
void pleat_xen_domain_destroy(struct pleat_xen_domain *domain);

/** The domain as its guest sees it; it lives as long as the domain. */
const struct pleat_xen *pleat_xen_domain_interface(struct pleat_xen_domain *domain);

/**
 * What the toolstack does before a guest runs: zeroed pages for frames; or frames that are populated when
 * they are first touched, and the pages for them. Errors: INVALID (outside, or something is there), NO_MEMORY
 * (the host, or the maximum).
 */
int pleat_xen_domain_build(struct pleat_xen_domain *domain, uint64_t pfn, uint64_t frames);
int pleat_xen_domain_build_on_demand(struct pleat_xen_domain *domain, uint64_t pfn, uint64_t frames,
                                     uint64_t pool_frames);
/** XENMEM_set_pod_target: what a toolstack does whenever it sets a target. Errors: NO_MEMORY: the pool took
 * what there was. */
int pleat_xen_domain_set_target(struct pleat_xen_domain *domain, uint64_t frames);

/** XEN_DOMCTL_max_mem, as `xl mem-max` and `xl mem-set` do; 0: no limit. What is more than that
 * already stays. */
void pleat_xen_domain_set_maximum(struct pleat_xen_domain *domain, uint64_t frames);

/**
 * The guest touches a frame that isn't accessible. True: it was one to be populated on demand, and is there
 * now. False: nothing is there, or the pool is empty and the domain was ended for it. Safe in a handler of
 * SIGSEGV, where the thread itself isn't inside of the model.
 */
bool pleat_xen_domain_touch(struct pleat_xen_domain *domain, uint64_t pfn);

/** Calls the handlers of events that have come since; true if there were any. On the guest's thread. */
bool pleat_xen_domain_deliver(struct pleat_xen_domain *domain);

/**
 * A channel to the host itself, such as the store's: event_send() on it calls `notify` on the sender's thread
 * (which mustn't block it), and pleat_xen_domain_interrupt() sends an event back. Returns the channel, or
 * NO_MEMORY.
 */
int pleat_xen_domain_host_channel(struct pleat_xen_domain *domain, void (*notify)(void *context),
                                  void *context);
void pleat_xen_domain_interrupt(struct pleat_xen_domain *domain, uint32_t channel);
/** The store's page (4 KiB, of the caller) and channel, for the interface. */
void pleat_xen_domain_set_store(struct pleat_xen_domain *domain, void *page, uint32_t channel);

/** What is behind a frame. */
enum pleat_xen_frame {
    PLEAT_XEN_HOLE = 0,  /**< nothing */
    PLEAT_XEN_OWN,       /**< a page of the domain's own */
    PLEAT_XEN_ON_DEMAND, /**< nothing yet; a page of the pool when it is touched */
    PLEAT_XEN_MAPPED     /**< a page by a grant */
};
enum pleat_xen_frame pleat_xen_domain_frame(struct pleat_xen_domain *domain, uint64_t pfn);
/** How many of so many frames have a page of the domain's own behind them. */
uint64_t pleat_xen_domain_own_frames(struct pleat_xen_domain *domain, uint64_t pfn, uint64_t frames);
/** Where a frame is in this process, accessible or not; NULL: outside of the address space. */
void *pleat_xen_domain_pointer(struct pleat_xen_domain *domain, uint64_t pfn);

struct pleat_xen_domain_info {
    uint64_t own_frames;       /**< with a page of its own behind them */
    uint64_t on_demand_frames; /**< waiting for one */
    uint64_t pool_frames;      /**< pages in store for these */
    uint64_t mapped_frames;    /**< by grants */
    uint64_t leaked_frames;    /**< pages that were lost, ever */
    /** Pages that are the domain's: own, pool, leaked, and given back but mapped by others. */
    uint64_t current_frames;
    uint64_t maximum_frames; /**< UINT64_MAX: no limit */
    /** Hypercalls that were made, and extents that they have done. */
    uint64_t decreases, populates, maps, unmaps, events;
    uint64_t decreased_frames, populated_frames;
    uint64_t large_extents; /**< of order 9, either way */
    const char *ended;      /**< why Xen has ended the domain; NULL: it lives */
};
void pleat_xen_domain_info(struct pleat_xen_domain *domain, struct pleat_xen_domain_info *info);

/** Recounts everything: the sums are right, and no page is behind two frames. */
bool pleat_xen_domain_is_valid(struct pleat_xen_domain *domain);

#endif
