/* SPDX-License-Identifier: MIT
 *
 * A model of XenStore's server: a tree of nodes with values and permissions, watches, and a ring page for
 * each domain that it is introduced to (<pleat/wire/xen_store.h>; docs/misc/xenstore.txt and
 * xenstore-ring.txt of Xen 4.17). It is a toolstack's side, too: what xl writes into the tree,
 * pleat_xen_store_server_write() does.
 *
 * Clients are hostile. A message that is too long or ring indices that can't be end the connection, with the
 * page's `error` set, until the client asks for a new one. There are no transactions (ENOSYS), quotas or
 * special watches.
 *
 * On the way it does wrong what faults ask for: xen-store-gone takes and sends nothing, xen-store-slow a byte
 * at a time, xen-store-again answers with EAGAIN, and xen-store-garbage with one of three things that can't
 * be: a length over 4096, an answer to nothing, indices that are further apart than the ring. With
 * xen-store-old a connection that is made then doesn't offer another one.
 *
 * Threads: all functions are called from one context at a time; the peers' ends of the rings are anybody's.
 */
#ifndef PLEAT_MACHINE_XEN_STORE_H
#define PLEAT_MACHINE_XEN_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/wire/xen_store.h>

#include "machine/xen_hypervisor.h"

struct pleat_xen_store_server;

struct pleat_xen_store_server_config {
    struct pleat_faults *faults; /**< NULL: it does nothing wrong */
    uint64_t (*clock_ns)(void *context);
    /** "Call run soon": from a client's event, on its thread; it must only note it. NULL: nobody is told. */
    void (*wake)(void *context);
    void *context;
};

/** What a toolstack says of a new domain. */
struct pleat_xen_store_domain_config {
    uint16_t id;
    const char *name;
    uint64_t static_max_kib, target_kib; /**< memory/static-max, memory/target */
};

/** Errors: NO_MEMORY. */
int pleat_xen_store_server_create(const struct pleat_xen_store_server_config *config,
                                  struct pleat_xen_store_server **server);
/** Before the domains are destroyed. NULL is allowed. */
void pleat_xen_store_server_destroy(struct pleat_xen_store_server *server);

/**
 * Makes a page and a channel for a domain and writes what its guest finds below /local/domain/ID: name,
 * domid, memory/, all for reading, and data and control/shutdown, which are its own. Errors: EXISTS,
 * NO_MEMORY.
 */
int pleat_xen_store_server_introduce(struct pleat_xen_store_server *server, struct pleat_xen_domain *domain,
                                     const struct pleat_xen_store_domain_config *config);

/** Serves the rings; true if anything moved. */
bool pleat_xen_store_server_run(struct pleat_xen_store_server *server);

/**
 * The store stops in an orderly way, and says so in the pages; or starts again with the same tree, new rings
 * and no watches. (As when it is updated; when it crashes, that is xen-store-gone.)
 */
void pleat_xen_store_server_set_away(struct pleat_xen_store_server *server, bool is_away);

/* The toolstack: absolute paths, every right. */

/** Writes a value and makes what is missing above it. Errors: INVALID (the path), NO_MEMORY. */
int pleat_xen_store_server_write(struct pleat_xen_store_server *server, const char *path, const char *value);
/** The value, cut to `bytes`, with a NUL; returns its length. Errors: NOT_FOUND. */
int pleat_xen_store_server_read(struct pleat_xen_store_server *server, const char *path, char *value,
                                size_t bytes);
/** Removes a node and all below. Errors: NOT_FOUND. */
int pleat_xen_store_server_remove(struct pleat_xen_store_server *server, const char *path);

/** Messages that were served, and watch events that were sent. */
void pleat_xen_store_server_counts(const struct pleat_xen_store_server *server, uint64_t *requests,
                                   uint64_t *events);

#endif
