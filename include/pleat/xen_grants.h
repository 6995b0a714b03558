/* SPDX-License-Identifier: MIT
 *
 * Grants (Xen 4.17, xen/include/public/grant_table.h, version 1): let another domain map a frame of this
 * guest, and map frames of others. A frame that something foreign is mapped into must have nothing of the
 * guest's own behind it, or that is lost: such frames are holes. They come from an allocator of holes, best
 * one whose frames were never memory (pleat_alloc_unpopulated()), else from a fall-back that takes memory
 * away from the guest (pleat_xen_balloon_holes()), which is said once in the log. After an unmapping the
 * frame is a hole again, and goes back as one. Frame 0 is never used: Xen takes an unmapping of it for none.
 *
 * An instance lies in storage of the caller, and all its functions are called from one context at a time,
 * which is that of the hypercalls and of the allocators, too. Nothing waits.
 */
#ifndef PLEAT_XEN_GRANTS_H
#define PLEAT_XEN_GRANTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pleat_memory;
struct pleat_xen;
struct pleat_xen_grants;

/** Alignment of the storage. */
#define PLEAT_XEN_GRANTS_ALIGNMENT 64u

/** The entries that Xen keeps for itself (the console's, the store's). */
#define PLEAT_XEN_GRANTS_RESERVED 8u

/** The handle of what isn't mapped. */
#define PLEAT_XEN_UNMAPPED UINT32_MAX

/** An allocator of frames with nothing behind them. */
struct pleat_xen_holes {
    /** Fills pfns[0] to pfns[count - 1], anywhere, never frame 0. All or none; 0, or a negative error. */
    int (*alloc)(void *context, unsigned count, uint64_t *pfns);
    /** They are back, and holes. */
    void (*free)(void *context, unsigned count, const uint64_t *pfns);
    void *context;
};

/** Everything zero means the default; xen and storage have to be there. */
struct pleat_xen_grants_config {
    const struct pleat_xen *xen;       /**< must outlive the instance */
    const struct pleat_memory *memory; /**< its log alone; NULL: no log */
    void *storage;                     /**< aligned */
    size_t storage_bytes;              /**< at least what pleat_xen_grants_storage_bytes() says */
    const char *name;                  /**< in the log; NULL: "xen-grants" */
    struct pleat_xen_holes holes;      /**< asked first; alloc NULL: there is none */
    struct pleat_xen_holes fall_back;  /**< asked when that fails; alloc NULL: there is none */
};

/** A foreign frame that is mapped, or to be. The caller's; all of it stays as it is until the unmapping. */
struct pleat_xen_mapping {
    uint16_t domain;    /**< whose */
    uint32_t reference; /**< his grant */
    bool read_only;
    /** Where. 0: set by map, to a hole. Else the caller's own frame, with nothing behind it; the caller's
     * again after the unmapping, as a hole. */
    uint64_t pfn;
    int result;      /**< set by map and unmap: 0 or an error */
    uint32_t handle; /**< set by map, and by unmap to PLEAT_XEN_UNMAPPED */
    uint8_t source;  /**< set by map: whose the hole is; not for the caller */
};

/** Counters since create, and what is now. */
struct pleat_xen_grants_statistics {
    uint64_t granted; /**< times */
    uint64_t ended;
    uint64_t ended_busy; /**< attempts to end a grant that the peer still has mapped */
    uint64_t mapped;
    uint64_t unmapped;
    uint64_t map_failures;
    uint64_t unmap_failures;
    uint64_t map_calls; /**< hypercalls */
    uint64_t unmap_calls;
    uint64_t fall_back_frames; /**< holes that came from the fall-back */
    uint32_t references_free;
    uint32_t references_used;
};

/** Bytes of storage for a table of `grant_count` entries: 4 bytes each and about 6 KiB. Any context. */
size_t pleat_xen_grants_storage_bytes(unsigned grant_count);

/**
 * Makes an instance over xen->grants, whose entries from PLEAT_XEN_GRANTS_RESERVED on must be unused. Without
 * a table (NULL) frames can be mapped and not granted. Errors: INVALID (a field that can't be, storage too
 * small or misaligned).
 */
int pleat_xen_grants_create(const struct pleat_xen_grants_config *config, struct pleat_xen_grants **grants);

/**
 * Lets `domain` map frame `pfn`. Returns the reference to tell it. Errors: INVALID (frame 0, a frame number
 * of more than 32 bits, or `domain` is PLEAT_XEN_DOMAIN_SELF: Xen would move the page), NO_MEMORY (no
 * reference is free), UNSUPPORTED (there is no table).
 */
int64_t pleat_xen_grants_offer(struct pleat_xen_grants *grants, uint16_t domain, uint64_t pfn,
                               bool read_only);

/**
 * Takes it back. 0: nobody has it mapped nor can map it any more; the frame is the caller's own again, and
 * the reference free. BUSY: the peer has it mapped; all is as it was, and the frame must not be used for
 * anything else: try again later. Errors: NOT_FOUND (no such grant).
 */
int pleat_xen_grants_end(struct pleat_xen_grants *grants, uint32_t reference);

/**
 * Maps. Returns how many were mapped; each one's `result` says which, and where it isn't 0 nothing is mapped
 * and a hole that was taken has been given back. A negative error, when nothing was tried (no hole:
 * NO_MEMORY).
 */
int64_t pleat_xen_grants_map(struct pleat_xen_grants *grants, struct pleat_xen_mapping *mappings,
                             unsigned count);

/**
 * Unmaps those that are mapped, by their handle, and no other. Returns how many were unmapped. One that
 * couldn't be is still mapped: `result` is the error, its hole is kept; it may be tried again.
 */
int64_t pleat_xen_grants_unmap(struct pleat_xen_grants *grants, struct pleat_xen_mapping *mappings,
                               unsigned count);

/** The counters. */
void pleat_xen_grants_statistics(const struct pleat_xen_grants *grants,
                                 struct pleat_xen_grants_statistics *statistics);

/** The invariants; effort: linear in the table. For assertions and tests. */
bool pleat_xen_grants_is_valid(const struct pleat_xen_grants *grants);

#ifdef __cplusplus
}
#endif
#endif
