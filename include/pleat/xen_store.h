/* SPDX-License-Identifier: MIT
 *
 * A client of XenStore (Xen 4.17, docs/misc/xenstore.txt): the tree of small strings by which a toolstack
 * and its guests tell each other what they want. Wire format: <pleat/wire/xen_store.h>.
 *
 * An instance lies in storage of the caller. It never waits: requests are put in and return at once, answers
 * and watch events come as calls out of pleat_xen_store_step(). Several requests may be on their way. All
 * functions but step() may be called from these callbacks; but for those that say so, all are called from
 * one context at a time.
 *
 * Paths are absolute ("/local/domain/1/memory") or relative to the guest's own home ("memory/target").
 *
 * The peer is hostile. Whatever it writes into the page, nothing outside of the instance is read or written,
 * and the page's numbers are believed only where they can be true. The first thing that can't be ends the
 * connection (phase BROKEN): each request that is out is answered with PROTOCOL, and the rest of the guest
 * goes on without a store. When a store goes away in the orderly way (it says so in the page), requests that
 * were made are answered with CANCELLED; watches are kept, and set again when it is back.
 */
#ifndef PLEAT_XEN_STORE_H
#define PLEAT_XEN_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/error.h>
#include <pleat/xen_wake.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pleat_memory;
struct pleat_xen;
struct pleat_xen_store;

/** Alignment of the storage. */
#define PLEAT_XEN_STORE_ALIGNMENT 64u

enum pleat_xen_store_phase {
    PLEAT_XEN_STORE_PHASE_CONNECTED = 0, /**< it answers, or hasn't been asked yet */
    PLEAT_XEN_STORE_PHASE_AWAY,          /**< the page says that no store is connected: requests wait */
    PLEAT_XEN_STORE_PHASE_SILENT,        /**< it hasn't answered in time; it may yet */
    PLEAT_XEN_STORE_PHASE_BROKEN,        /**< it broke the protocol: until pleat_xen_store_reconnect() */
    PLEAT_XEN_STORE_PHASES
};

/**
 * The answer to one request; called once for each that was accepted. error: 0, or what the store said
 * (NOT_FOUND, REFUSED: no permission, INVALID, EXISTS, NO_MEMORY: too large or a quota, BUSY, UNSUPPORTED,
 * else DEVICE), or TIMEOUT, CANCELLED (the store went away: ask again), PROTOCOL (it is broken). `data` are
 * `bytes` bytes, valid during the call, and one NUL more; they may hold NULs themselves: a directory is a
 * list of names that end with NUL each.
 */
typedef void pleat_xen_store_answer_fn(void *context, int error, const char *data, size_t bytes);

/**
 * Something at or below a watched path was changed, made or removed, or may have been: `path` names it, as
 * the watch named its own (relative or absolute). Each watch is told once when it has been set, too. With an
 * error (that the store answered to the watch itself) `path` is NULL, and the watch is gone.
 */
typedef void pleat_xen_store_event_fn(void *context, int error, const char *path);

/** Everything zero means the default; xen and storage have to be there. */
struct pleat_xen_store_config {
    const struct pleat_xen *xen;       /**< must outlive the instance */
    const struct pleat_memory *memory; /**< its clock and log alone; NULL: no time-outs, no log */
    void *storage;         /**< aligned; must stay for as long as the store's event channel may have events */
    size_t storage_bytes;  /**< at least what pleat_xen_store_storage_bytes() says */
    const char *name;      /**< in the log; NULL: "xenstore" */
    unsigned requests_max; /**< on their way at once, 1 to 256; 0: 16. Watches need one while they are set */
    unsigned watches_max;  /**< 1 to 256; 0: 16 */
    /** "Call step soon": from the interrupt of the event channel, or from a call that has put something in;
     * it must only note it. NULL: nobody needs to be told. */
    void (*wake)(void *context);
    void *context;
    /** After so long without an answer a request is answered with TIMEOUT. 0: 30 s; PLEAT_XEN_OFF: never. */
    uint64_t answer_timeout_ns;
};

/** Counters since create. */
struct pleat_xen_store_statistics {
    uint64_t requests;       /**< accepted, watches included */
    uint64_t answers;        /**< of the store, errors included */
    uint64_t errors;         /**< answers that were errors */
    uint64_t timeouts;       /**< requests that weren't answered in time */
    uint64_t events;         /**< handed to a watch */
    uint64_t events_ignored; /**< for a watch that isn't there any more, or that somebody before us has set */
    uint64_t bytes_out;
    uint64_t bytes_in;
    uint64_t notifications; /**< events sent to the store */
    uint64_t connections;   /**< times that it was found connected */
    uint64_t breaks;        /**< times that it broke the protocol */
    uint64_t steps;
};

/** Who may do what with a node; the first of a list is its owner, and all that aren't listed have his
 * `read` and `write`. */
struct pleat_xen_store_permission {
    uint16_t domain;
    bool read;
    bool write;
};

/** Bytes of storage, about 14 KiB for the defaults (0). 0: more than there can be. Any context. */
size_t pleat_xen_store_storage_bytes(unsigned requests_max, unsigned watches_max);

/**
 * Makes an instance and listens to the store's channel. What lies in the response ring from somebody before
 * (firmware) is dropped. Errors: INVALID (a field that can't be, storage too small or misaligned), NOT_FOUND
 * (there is no store: dom0), and those of event_listen. *store is unchanged then.
 */
int pleat_xen_store_create(const struct pleat_xen_store_config *config, struct pleat_xen_store **store);

/**
 * Moves bytes both ways and calls back for what has come. budget_bytes: about how many bytes at most; 0: 8
 * KiB. Not from a callback.
 */
enum pleat_xen_wake pleat_xen_store_step(struct pleat_xen_store *store, uint64_t budget_bytes);

/** When step() returned WAKE_AT_TIME: the time, by pleat_memory_ops.clock_ns. */
uint64_t pleat_xen_store_wake_ns(const struct pleat_xen_store *store);

/** As if the channel had an event, for who polls. Any context, at any time. */
void pleat_xen_store_event(struct pleat_xen_store *store);

/**
 * Requests. `answer` may be NULL: nobody wants to know. Texts are copied. Errors, and then there is no
 * request: INVALID (a path that is empty, too long or has characters that paths can't have; no permissions,
 * or more than 16; more than PLEAT_XEN_STORE_PAYLOAD_MAX in all), NO_MEMORY (too many on their way: try again
 * after a step), STATE (BROKEN).
 */
int pleat_xen_store_read(struct pleat_xen_store *store, const char *path, pleat_xen_store_answer_fn *answer,
                         void *context);
int pleat_xen_store_write(struct pleat_xen_store *store, const char *path, const void *value, size_t bytes,
                          pleat_xen_store_answer_fn *answer, void *context);
int pleat_xen_store_mkdir(struct pleat_xen_store *store, const char *path, pleat_xen_store_answer_fn *answer,
                          void *context);
int pleat_xen_store_remove(struct pleat_xen_store *store, const char *path, pleat_xen_store_answer_fn *answer,
                           void *context);
int pleat_xen_store_directory(struct pleat_xen_store *store, const char *path,
                              pleat_xen_store_answer_fn *answer, void *context);
int pleat_xen_store_set_permissions(struct pleat_xen_store *store, const char *path,
                                    const struct pleat_xen_store_permission *permissions, unsigned count,
                                    pleat_xen_store_answer_fn *answer, void *context);

/**
 * Watches a path and all below it, over reconnections and for good, until unwatch. `path` isn't copied and
 * must stay as long. Returns the watch's number, for unwatch. Errors: INVALID, NO_MEMORY (watches_max).
 */
int pleat_xen_store_watch(struct pleat_xen_store *store, const char *path, pleat_xen_store_event_fn *event,
                          void *context);

/** Ends a watch: its callback isn't called any more from now on. Errors: NOT_FOUND. */
int pleat_xen_store_unwatch(struct pleat_xen_store *store, int watch);

/**
 * Asks the store for new rings, after it broke the protocol or fell silent: all requests on their way are
 * answered with CANCELLED, and watches set again once it is back. Errors: UNSUPPORTED (the store doesn't say
 * that it can).
 */
int pleat_xen_store_reconnect(struct pleat_xen_store *store);

/** For pleat_xen_store_mend(), one for each store; zeroed before its first use, and then read only. */
struct pleat_xen_store_mending {
    uint64_t at_ns;    /**< when the store will be asked for new rings; 0: there is no need, or no hope */
    uint64_t pause_ns; /**< before it was asked, or will be */
    uint64_t asked_ns; /**< when it was asked last */
    bool is_lost;      /**< it doesn't say that it can have new rings: it stays broken */
};

enum pleat_xen_store_mended {
    PLEAT_XEN_STORE_MEND_NOTHING = 0, /**< it isn't broken, or isn't asked yet, or was lost before */
    PLEAT_XEN_STORE_MEND_ASKED,       /**< it was asked just now */
    PLEAT_XEN_STORE_MEND_LOST         /**< it can't be asked; said once */
};

/**
 * Has a store that broke the protocol asked for new rings, by reconnect(), 100 ms after it was first seen
 * broken here. From break to break the pause doubles, up to 30 s; it is 100 ms again for a break later than
 * 30 s after the last time that the store was asked. To be called after each step, and when `mending->at_ns`
 * has come; `now_ns` is any clock that doesn't go backwards. Not from a callback.
 */
enum pleat_xen_store_mended pleat_xen_store_mend(struct pleat_xen_store *store,
                                                 struct pleat_xen_store_mending *mending, uint64_t now_ns);

/** Where it is. text, if not NULL, receives a line that says why, cut to `text_bytes`; 128 are enough. */
enum pleat_xen_store_phase pleat_xen_store_phase(const struct pleat_xen_store *store, char *text,
                                                 size_t text_bytes);

/** The counters. */
void pleat_xen_store_statistics(const struct pleat_xen_store *store,
                                struct pleat_xen_store_statistics *statistics);

/** The invariants, for assertions and tests; reads the instance only. */
bool pleat_xen_store_is_valid(const struct pleat_xen_store *store);

#ifdef __cplusplus
}
#endif
#endif
