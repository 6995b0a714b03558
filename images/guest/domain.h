/* SPDX-License-Identifier: MIT
 *
 * The guest as a domain of Xen: what the drivers of drivers/xen/ are given, when they are called, and what is
 * said of them on the console. Where there is no Xen, all of it does nothing.
 *
 * With a store the toolstack sets the balloon's target and asks for the guest's end (control/shutdown); the
 * initial domain has none, and its target is a word of the command line. The addresses at which the platform
 * knows that nothing is are split: the last ones are unpopulated frames, the others are for growth.
 */
#ifndef PLEAT_IMAGES_GUEST_DOMAIN_H
#define PLEAT_IMAGES_GUEST_DOMAIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <pleat/pleat.h>
#include <pleat/unpopulated.h>
#include <pleat/xen.h>
#include <pleat/xen_balloon.h>
#include <pleat/xen_grants.h>
#include <pleat/xen_store.h>

#include "options.h"

struct guest;

/* What the toolstack has asked for. */
enum domain_end { DOMAIN_RUNS = 0, DOMAIN_POWEROFF, DOMAIN_REBOOT };

/* The stages of mapping what another domain grants. */
enum domain_mapping { MAPPING_NOTHING = 0, MAPPING_WANTED, MAPPING_WAITS, MAPPING_DONE };

struct domain {
    struct guest *guest;
    const struct pleat_xen *xen; /* NULL: there is none, or its drivers aren't used */

    struct pleat_xen_store *store; /* NULL: there is none */
    uint64_t store_pfn;
    unsigned store_order;
    enum pleat_xen_wake store_wake;
    atomic_uint store_noted; /* somebody wants it stepped; a word, because not every CPU exchanges less */
    enum pleat_xen_store_phase said_phase;
    struct pleat_xen_store_mending mending;
    enum domain_end end;

    struct pleat_xen_balloon *_Atomic balloon; /* NULL: there is none (yet) */
    uint64_t balloon_pfn;
    unsigned balloon_order;
    enum pleat_xen_wake balloon_wake;
    atomic_uint balloon_noted;
    bool is_busy; /* from a target on until it is reached */
    uint64_t busy_since_ns, busy_goal;
    struct pleat_xen_balloon_statistics before; /* when it began to be busy */
    enum pleat_xen_balloon_reason said_reason;
    uint64_t said_goal;
    struct pleat_resource growth; /* where the balloon may add memory */

    struct pleat_xen_grants *grants; /* NULL: there are none (yet) */
    uint64_t grants_pfn;
    unsigned grants_order;
    struct pleat_unpopulated_range unpopulated; /* frames 0: there are none */
    /* What is granted to another domain, and what of it that one has answered. */
    uint64_t granted_pfns[OPTION_GRANTS / PLEAT_PAGEBLOCK_FRAMES];
    uint32_t references[OPTION_GRANTS];
    unsigned granted, answered;
    uint64_t look_ns; /* when the next look at it is due */
    char typed[8];    /* the number of the domain that is to have it */
    unsigned typed_bytes;
    bool is_typing;
    /* What is mapped of another domain. */
    enum domain_mapping stage;
    struct pleat_xen_mapping mappings[OPTION_GRANTS];
    uint64_t places[OPTION_GRANTS]; /* where they are, or were last */
    unsigned rounds;
    uint64_t give_up_ns;
    int64_t reservation_before;
};

/** Makes the drivers. What can't be used is named, and left alone. */
void domain_begin(struct guest *guest);

/** Calls the drivers that want to be called; returns when the next one does. CPU 0. */
uint64_t domain_serve(struct domain *domain, uint64_t now_ns);

/** A byte that was typed at the console. */
void domain_typed(struct domain *domain, int byte);

/** Serves the drivers until the balloon is at its target or can't go on; false: it is neither after so long.
 */
bool domain_settle(struct domain *domain, uint64_t timeout_ns);

/** The guest is short of frames; any context, as pleat_config.reclaim. */
void domain_is_short(struct domain *domain, uint64_t frames);

/** Ends what goes on with other domains. False: it can't be. */
bool domain_stop(struct domain *domain);

/** The invariants of the drivers; false: the console has said what is wrong. */
bool domain_is_valid(const struct domain *domain);

/* --- domain_balloon.c ----------------------------------------------------------------------------------- */

int domain_make_balloon(struct domain *domain);
uint64_t domain_serve_balloon(struct domain *domain, uint64_t now_ns);

/* --- domain_grants.c ------------------------------------------------------------------------------------ */

int domain_make_grants(struct domain *domain);
/** Lets another domain map as many frames as fit the arrays above, and says by which references. */
void domain_grant(struct domain *domain, uint16_t to);
uint64_t domain_serve_grants(struct domain *domain, uint64_t now_ns);
bool domain_end_grants(struct domain *domain);

#endif
