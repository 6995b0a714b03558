/* SPDX-License-Identifier: MIT
 *
 * Shared memory of a descriptor: memfd, file, hugetlb. The content belongs to the descriptor, so mapping and
 * content are two things: map() maps a piece of the descriptor, unmap() lays inaccessible memory over it
 * (the content stays in the descriptor), discard() punches a hole. The kernel joins neighbouring pieces by
 * itself, since their offsets follow each other; it doesn't for hugetlb.
 *
 * How to give memory back fastest: 1 GiB of populated memfd in 4 KiB pages, given back 128 MiB at a time, one
 * CPU, Linux 6.18, medians of 7 runs, by `build/bench/bench_backend --only alternatives`. The first line is
 * the host's own cost, which leaves the memory accessible.
 *
 *   punch a hole while it is mapped                   167 ms   1.00
 *   mmap() inaccessible memory over it, punch         166 ms   0.99   <- unmap() and discard()
 *   MADV_REMOVE, mprotect(PROT_NONE)                  173 ms   1.04
 *   punch, mprotect(PROT_NONE)                        177 ms   1.06
 *   punch, mmap() inaccessible memory over it         188 ms   1.12
 *   munmap(), punch                                   190 ms   1.14
 *   mprotect(PROT_NONE), punch                        204 ms   1.22
 *
 * Freeing the pages is nearly all of it; the ways differ by a walk over the page tables more or less, and
 * from run to run by as much as 0.1. The one taken is also the one that leaves the guest no moment in which
 * it could touch the piece and take new memory, and that can be undone before the hole is punched.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "devices/backend.h"

static int punch(const struct pleat_backend_memory *memory, uint64_t offset, uint64_t bytes)
{
    int error;
    do
        error =
            fallocate(memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes);
    while (error && errno == EINTR);
    return error ? PLEAT_E_UNSUPPORTED : PLEAT_OK;
}

static int map(void *context, uint64_t offset, uint64_t bytes)
{
    struct pleat_backend_memory *memory = context;
    if (!pleat_backend_range_is_good(memory, offset, bytes))
        return PLEAT_E_INVALID;
    /* Of hugetlb, this reserves the pages, so that what can't be had fails here and not at a touch. */
    int error = mmap(memory->at + offset, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory->fd,
                     (off_t)offset) == MAP_FAILED
                    ? PLEAT_E_NO_MEMORY
                    : pleat_backend_settle(memory, offset, bytes);
    if (!error)
        return PLEAT_OK;
    /* A failed mmap() may have left a hole in the reservation. */
    (void)pleat_backend_blank(memory->at + offset, bytes);
    /* What was populated before it failed. */
    if (memory->prealloc)
        (void)punch(memory, offset, bytes);
    return error;
}

static int unmap(void *context, uint64_t offset, uint64_t bytes)
{
    struct pleat_backend_memory *memory = context;
    if (!pleat_backend_range_is_good(memory, offset, bytes))
        return PLEAT_E_INVALID;
    return pleat_backend_blank(memory->at + offset, bytes);
}

static int map_zeroes(void *context, uint64_t offset, uint64_t bytes)
{
    struct pleat_backend_memory *memory = context;
    if (!pleat_backend_range_is_good(memory, offset, bytes))
        return PLEAT_E_INVALID;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    return mmap(memory->at + offset, bytes, PROT_READ, flags, -1, 0) == MAP_FAILED ? PLEAT_E_NO_MEMORY
                                                                                   : PLEAT_OK;
}

static int discard(void *context, uint64_t offset, uint64_t bytes)
{
    struct pleat_backend_memory *memory = context;
    if (!pleat_backend_range_is_good(memory, offset, bytes))
        return PLEAT_E_INVALID;
    return punch(memory, offset, bytes);
}

static uint64_t held_bytes(void *context)
{
    const struct pleat_backend_memory *memory = context;
    struct stat status;
    return fstat(memory->fd, &status) ? 0 : (uint64_t)status.st_blocks * 512;
}

static void close_shared(void *context)
{
    pleat_backend_end(context);
}

const struct pleat_memory_backend_ops pleat_backend_shared_ops = {
    .map = map,
    .unmap = unmap,
    .map_zeroes = map_zeroes,
    .discard = discard,
    .held_bytes = held_bytes,
    .close = close_shared,
};
