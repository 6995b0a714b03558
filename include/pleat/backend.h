/* SPDX-License-Identifier: MIT
 *
 * Where a guest's memory comes from on the host: anonymous memory, a memfd, a file, huge pages, bound to
 * host nodes or not. A backend lays its memory into a range of virtual addresses that the caller has
 * reserved, so that all of a guest's memory can be one contiguous piece of the caller's address space.
 *
 * Of that range nothing is accessible at first. map() makes a part of it readable and writable; unmap()
 * makes it inaccessible again and keeps what it holds; discard() then gives the host its memory back. These
 * are the callbacks of the virtio-mem device (virtio_mem_device.h) with the same promise: each call is all
 * or nothing. Memory of a machine that never changes is mapped once, as a whole.
 *
 * A host has limits, and map() meets them as errors, not as a dead process: the number of mappings of a
 * process (vm.max_map_count; neighbouring mapped parts share one, but for huge pages, which the kernel
 * never joins), huge pages that are all taken, memory that can't be populated with prealloc. Without
 * prealloc, ordinary memory is taken from the host at the first touch, and the host may be out of it then.
 *
 * A backend is a table of functions and a context, so that a program or a test can put itself in between.
 * Calls for one backend come from one thread at a time; the guest's threads may use mapped memory all the
 * while. Linux only; 5.14 for prealloc.
 */
#ifndef PLEAT_BACKEND_H
#define PLEAT_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What a backend does; offsets and sizes are bytes, multiples of its page_bytes, inside its memory. */
struct pleat_memory_backend_ops {
    /**
     * Makes [offset, offset + bytes) readable and writable. Memory that wasn't mapped since its last
     * discard() reads as zero (a file's: as the file). With prealloc, all of it is taken from the host now.
     *
     * NO_MEMORY: no mapping, no huge page or no memory is left, or it can't be had on the host nodes.
     * INVALID: outside or misaligned. Nothing has changed, but that memory which couldn't be populated in
     * full is empty. Effort: one or two system calls; with prealloc
     * the clearing of the memory.
     */
    int (*map)(void *context, uint64_t offset, uint64_t bytes);
    /**
     * Makes it inaccessible, also where it is already: a touch is a SIGSEGV. What it holds stays. Errors as
     * map. Effort: proportional to the populated pages.
     */
    int (*unmap)(void *context, uint64_t offset, uint64_t bytes);
    /**
     * Makes it readable, not writable; what isn't mapped and holds nothing reads as zero. Until the next
     * discard() it may read as what it held. Errors as map.
     */
    int (*map_zeroes)(void *context, uint64_t offset, uint64_t bytes);
    /**
     * Gives what is behind it back to the host, of a shared file also its blocks on the disk. For memory
     * that isn't mapped. UNSUPPORTED: the host refused. Effort: proportional to the populated pages; this is
     * what an unplug costs.
     */
    int (*discard)(void *context, uint64_t offset, uint64_t bytes);
    /**
     * Bytes that the host has behind it now: of shared memory what its file holds, of private memory the
     * populated pages (also those that were only read, and are the kernel's one page of zeroes). Effort: of
     * private memory a byte a page.
     */
    uint64_t (*held_bytes)(void *context);
    /** Ends the backend: all of its range is inaccessible again, the reservation stays the caller's. */
    void (*close)(void *context);
};

/** A backend; filled in by pleat_memory_backend_open(), or by whoever puts itself in between. */
struct pleat_memory_backend {
    const struct pleat_memory_backend_ops *ops;
    void *context;
    uint64_t bytes;      /**< its size */
    uint64_t page_bytes; /**< the smallest part that can be mapped: the host's page, or a huge page */
    int fd;              /**< of shared memory, offset 0 is its offset 0; for vhost-user; else -1 */
};

enum pleat_memory_backend_kind {
    PLEAT_MEMORY_BACKEND_ANONYMOUS = 0,
    PLEAT_MEMORY_BACKEND_MEMFD = 1,
    PLEAT_MEMORY_BACKEND_FILE = 2
};

/** Can other processes have the memory too? */
enum pleat_memory_backend_share {
    PLEAT_MEMORY_BACKEND_SHARE_DEFAULT = 0, /**< QEMU's: on for MEMFD, off for the others */
    PLEAT_MEMORY_BACKEND_SHARE_OFF = 1,     /**< private; a file is read and never written */
    PLEAT_MEMORY_BACKEND_SHARE_ON = 2       /**< there is a descriptor to share; a file is written */
};

/** How memory is placed on host nodes; the names are QEMU's. */
enum pleat_memory_backend_policy {
    PLEAT_MEMORY_BACKEND_POLICY_DEFAULT = 0, /**< where the touching thread runs */
    PLEAT_MEMORY_BACKEND_POLICY_PREFERRED = 1,
    PLEAT_MEMORY_BACKEND_POLICY_BIND = 2,
    PLEAT_MEMORY_BACKEND_POLICY_INTERLEAVE = 3
};

/** What a backend is opened with. Zeroed means anonymous memory by the defaults; bytes has none. */
struct pleat_memory_backend_config {
    enum pleat_memory_backend_kind kind;
    enum pleat_memory_backend_share share;
    uint64_t bytes; /**< not 0; multiple of the page size in use */
    /** MEMFD, and shared ANONYMOUS: shown in /proc/PID/maps. NULL: "pleat". Copied. */
    const char *name;
    /**
     * FILE: a file, made if it isn't there, enlarged if it is empty; one that has something in it and is
     * shorter than `bytes` is refused. Or a folder: a file without a name is made in it. On hugetlbfs the
     * memory is huge pages. Copied.
     */
    const char *path;
    bool huge;           /**< MEMFD: huge pages; needs share */
    uint64_t huge_bytes; /**< of what size; 0: the host's default */
    bool prealloc;       /**< populate at map, and fail there */
    enum pleat_memory_backend_policy policy;
    uint64_t host_nodes; /**< a bit for each host node below 64; needed for a policy, wrong without one */
};

/**
 * Opens a backend. at: the start of config->bytes bytes of address space that the caller has reserved (see
 * pleat_memory_backend_reserve()), aligned to the page size in use; what is mapped there is replaced by
 * inaccessible memory.
 *
 * why: NULL, or `why_bytes` bytes for a sentence that says what is wrong in words for people; empty after
 * success. Returns 0 and fills in *backend. INVALID: the config contradicts itself, or sizes don't fit.
 * UNSUPPORTED: the host hasn't this: huge pages of that size, host nodes, a file system that can give
 * memory back, prealloc. NOT_FOUND: the file can't be opened. NO_MEMORY. After an error nothing is open and
 * the range is inaccessible.
 */
int pleat_memory_backend_open(const struct pleat_memory_backend_config *config, void *at,
                              struct pleat_memory_backend *backend, char *why, size_t why_bytes);

/** Ends a backend; the struct can be opened again. */
void pleat_memory_backend_close(struct pleat_memory_backend *backend);

/* The functions of the table, for those who hold a backend. */
int pleat_memory_backend_map(const struct pleat_memory_backend *backend, uint64_t offset, uint64_t bytes);
int pleat_memory_backend_unmap(const struct pleat_memory_backend *backend, uint64_t offset, uint64_t bytes);
int pleat_memory_backend_map_zeroes(const struct pleat_memory_backend *backend, uint64_t offset,
                                    uint64_t bytes);
int pleat_memory_backend_discard(const struct pleat_memory_backend *backend, uint64_t offset, uint64_t bytes);
uint64_t pleat_memory_backend_held_bytes(const struct pleat_memory_backend *backend);

/**
 * Reserves address space: `bytes` (multiple of the host's page), inaccessible, aligned to `alignment` (a
 * power of two, at least a page; 0: a page), of no cost but its one mapping. NULL: there is none.
 */
void *pleat_memory_backend_reserve(uint64_t bytes, uint64_t alignment);

/** Ends a reservation, after the backends in it were closed. NULL is allowed. */
void pleat_memory_backend_release(void *at, uint64_t bytes);

#ifdef __cplusplus
}
#endif
#endif
