/* SPDX-License-Identifier: MIT
 *
 * A small scripted hypervisor and XenStore, for tests of the guest's Xen drivers: a bit for each frame, a
 * grant table that a peer maps from, a flat list of nodes. It holds the drivers to the rules, and stops the
 * program at the first breach: a populate over a populated frame, a decrease of a hole or of a frame in use,
 * a foreign frame mapped over memory. Faults can be injected.
 */
#ifndef PLEAT_TESTS_FAKE_XEN_H
#define PLEAT_TESTS_FAKE_XEN_H

#include <stdbool.h>
#include <stdint.h>

#include <pleat/wire/xen_store.h>
#include <pleat/xen.h>

#include "tests/support/model_memory.h"

#define FAKE_XEN_FRAMES      32768u
#define FAKE_XEN_GRANTS      64u
#define FAKE_XEN_NODES       16u
#define FAKE_XEN_WATCHES     8u
#define FAKE_XEN_EVERY_FRAME UINT64_MAX

enum fake_xen_call { FAKE_DECREASE, FAKE_POPULATE, FAKE_MAP, FAKE_UNMAP, FAKE_CALLS };

struct fake_node {
    char path[64];
    char value[64];
};

struct fake_watch {
    bool set;
    char path[64];
    char token[64];
};

struct fake_xen {
    struct pleat_xen xen;
    struct pleat_xen_ops ops;
    struct model_memory *model; /* what the guest does with its frames; NULL: nobody asks */
    bool populated[FAKE_XEN_FRAMES];
    bool foreign[FAKE_XEN_FRAMES];
    bool dirty[FAKE_XEN_FRAMES]; /* holds what somebody else left */
    uint64_t populated_frames;
    uint64_t maximum_frames;
    uint64_t calls[FAKE_CALLS][2]; /* by order 0 and 9 */
    uint64_t most[FAKE_CALLS][2];  /* extents of that order that it does in a call */
    int error[FAKE_CALLS];         /* what the call answers, if not 0 ... */
    unsigned times[FAKE_CALLS];    /* ... so often */
    uint64_t fails_at;             /* a pfn at which map and unmap fail; 0: none */
    struct pleat_xen_grant_entry grants[FAKE_XEN_GRANTS];

    /* The store. */
    struct pleat_xen_store_page page;
    void (*handler)(void *);
    void *handler_context;
    uint64_t events;     /* that the guest has sent */
    bool store_silent;   /* takes requests in, and doesn't answer */
    uint32_t store_most; /* bytes of a ring that it moves at a time; 0: all */
    struct fake_node nodes[FAKE_XEN_NODES];
    struct fake_watch watches[FAKE_XEN_WATCHES];
    uint8_t in[PLEAT_XEN_STORE_PAYLOAD_MAX + 64];
    uint32_t have;
    uint8_t out[65536];
    uint32_t out_bytes;
};

/* The first boot_frames are populated; there is a store if `with_store`. */
void fake_xen_init(struct fake_xen *fake, struct model_memory *model, uint64_t boot_frames, bool with_store);

/* The toolstack writes a node (NULL: removes it): watches fire. */
void fake_store_write(struct fake_xen *fake, const char *path, const char *value);
const char *fake_store_value(const struct fake_xen *fake, const char *path);
/* The store reads and answers what there is; the guest gets an event if anything was done. */
bool fake_store_run(struct fake_xen *fake);
/* A message as the store would send it, true or not. */
void fake_store_send(struct fake_xen *fake, uint32_t type, uint32_t req_id, uint32_t tx_id, uint32_t claimed,
                     const void *payload, uint32_t bytes);
/* The store goes away in the orderly way, and comes back with new rings and no memory of anything asked. */
void fake_store_leave(struct fake_xen *fake);
void fake_store_return(struct fake_xen *fake);

/* The peer maps a grant of the guest, or ends that. */
void fake_peer_map(struct fake_xen *fake, uint32_t reference, bool writes);
void fake_peer_unmap(struct fake_xen *fake, uint32_t reference);

/* Stops the program unless everything that the guest uses is populated by the guest's own memory. */
void fake_xen_check(const struct fake_xen *fake);

#endif
