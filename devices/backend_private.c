/* SPDX-License-Identifier: MIT
 *
 * Private memory: anonymous, or a file that is read and never written. The content belongs to the mapping,
 * so the mapping stays from open to close and only its protection changes: map() allows access, unmap()
 * forbids it, discard() drops the pages.
 *
 * The kernel joins neighbours of one protection by itself, but only those whose private pages hang on one
 * anchor (its anon_vma). A mapping gets its anchor with its first written page, so pieces that are plugged
 * and touched one by one would each get their own and stay apart for good. All get the same one when a page
 * is written while they still are one mapping: that is what start() is for.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/backend.h"

static int protect(const struct pleat_backend_memory *memory, uint64_t offset, uint64_t bytes, int protection)
{
    if (!pleat_backend_range_is_good(memory, offset, bytes))
        return PLEAT_E_INVALID;
    return mprotect(memory->at + offset, bytes, protection) ? PLEAT_E_NO_MEMORY : PLEAT_OK;
}

static int drop(const struct pleat_backend_memory *memory, uint64_t offset, uint64_t bytes)
{
    return madvise(memory->at + offset, bytes, MADV_DONTNEED) ? PLEAT_E_UNSUPPORTED : PLEAT_OK;
}

int pleat_backend_private_start(struct pleat_backend_memory *memory)
{
    const int flags = MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED | (memory->fd < 0 ? MAP_ANONYMOUS : 0);
    if (mmap(memory->at, memory->bytes, PROT_NONE, flags, memory->fd, 0) == MAP_FAILED)
        return PLEAT_E_NO_MEMORY;
    /* A host that counts all that could be written (overcommit 2) may refuse: mappings stay apart then. */
    if (mprotect(memory->at, memory->bytes, PROT_READ | PROT_WRITE))
        return PLEAT_OK;
    volatile uint8_t *byte = memory->at;
    const uint8_t first = *byte;
    *byte = first;
    const bool closed = !mprotect(memory->at, memory->bytes, PROT_NONE) && !drop(memory, 0, memory->bytes);
    return closed ? PLEAT_OK : PLEAT_E_NO_MEMORY;
}

static int map(void *context, uint64_t offset, uint64_t bytes)
{
    struct pleat_backend_memory *memory = context;
    if (!pleat_backend_range_is_good(memory, offset, bytes))
        return PLEAT_E_INVALID;
    /* Of several mappings in the range (pieces with a policy and without), mprotect() does one after the
     * other, and may fail at a later one. */
    int error = protect(memory, offset, bytes, PROT_READ | PROT_WRITE);
    if (!error)
        error = pleat_backend_settle(memory, offset, bytes);
    if (error) {
        (void)protect(memory, offset, bytes, PROT_NONE);
        (void)drop(memory, offset, bytes);
    }
    return error;
}

static int unmap(void *context, uint64_t offset, uint64_t bytes)
{
    return protect(context, offset, bytes, PROT_NONE);
}

static int map_zeroes(void *context, uint64_t offset, uint64_t bytes)
{
    return protect(context, offset, bytes, PROT_READ);
}

static int discard(void *context, uint64_t offset, uint64_t bytes)
{
    const struct pleat_backend_memory *memory = context;
    if (!pleat_backend_range_is_good(memory, offset, bytes))
        return PLEAT_E_INVALID;
    return drop(memory, offset, bytes);
}

static uint64_t held_bytes(void *context)
{
    const struct pleat_backend_memory *memory = context;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    unsigned char resident[4096];
    uint64_t held = 0;

    for (uint64_t offset = 0; offset < memory->bytes;) {
        const uint64_t left = (memory->bytes - offset) / page;
        const uint64_t pages = left < sizeof(resident) ? left : sizeof(resident);
        if (mincore(memory->at + offset, pages * page, resident))
            return held;
        for (uint64_t i = 0; i < pages; i++)
            held += resident[i] & 1 ? page : 0;
        offset += pages * page;
    }
    return held;
}

static void close_private(void *context)
{
    pleat_backend_end(context);
}

const struct pleat_memory_backend_ops pleat_backend_private_ops = {
    .map = map,
    .unmap = unmap,
    .map_zeroes = map_zeroes,
    .discard = discard,
    .held_bytes = held_bytes,
    .close = close_private,
};
