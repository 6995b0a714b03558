/* SPDX-License-Identifier: MIT
 *
 * Backends: opening one by its config, and what all of them do alike. How memory is mapped and given back is
 * in backend_shared.c and backend_private.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/backend.h"

bool pleat_backend_range_is_good(const struct pleat_backend_memory *memory, uint64_t offset, uint64_t bytes)
{
    return bytes && !((offset | bytes) & (memory->page_bytes - 1)) && offset <= memory->bytes &&
           bytes <= memory->bytes - offset;
}

int pleat_backend_blank(void *at, uint64_t bytes)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    return mmap(at, bytes, PROT_NONE, flags, -1, 0) == MAP_FAILED ? PLEAT_E_NO_MEMORY : PLEAT_OK;
}

int pleat_backend_settle(const struct pleat_backend_memory *memory, uint64_t offset, uint64_t bytes)
{
    int error = pleat_backend_nodes_bind(memory, memory->at + offset, bytes);
    if (error || !memory->prealloc)
        return error;
    do
        error = madvise(memory->at + offset, bytes, MADV_POPULATE_WRITE);
    while (error && (errno == EINTR || errno == EAGAIN));
    return error ? PLEAT_E_NO_MEMORY : PLEAT_OK;
}

void pleat_backend_end(struct pleat_backend_memory *memory)
{
    if (!memory)
        return;
    (void)pleat_backend_blank(memory->at, memory->bytes);
    if (memory->fd >= 0)
        close(memory->fd);
    pleat_backend_nodes_close(memory);
    free(memory);
}

static int refuse(char *why, size_t why_bytes, int error, const char *sentence)
{
    if (why)
        snprintf(why, why_bytes, "%s", sentence);
    return error;
}

/* What can be said of a config without asking the host. */
static int check(const struct pleat_memory_backend_config *config, void *at, bool shared, char *why,
                 size_t why_bytes)
{
    if (!config->bytes)
        return refuse(why, why_bytes, PLEAT_E_INVALID, "the size is 0");
    if (!at)
        return refuse(why, why_bytes, PLEAT_E_INVALID, "there is no address space to lay the memory into");
    if (config->kind == PLEAT_MEMORY_BACKEND_FILE && (!config->path || !*config->path))
        return refuse(why, why_bytes, PLEAT_E_INVALID, "a file backend needs a path");
    if (config->huge && config->kind != PLEAT_MEMORY_BACKEND_MEMFD)
        return refuse(why, why_bytes, PLEAT_E_INVALID,
                      "hugetlb=on is for memfd; for a file, give a path on hugetlbfs");
    if (config->huge_bytes && !config->huge)
        return refuse(why, why_bytes, PLEAT_E_INVALID, "hugetlbsize needs hugetlb=on");
    if (config->huge && !shared)
        return refuse(why, why_bytes, PLEAT_E_INVALID, "huge pages need share=on");
    return PLEAT_OK;
}

/* Opens the descriptor, if there is to be one, and finds what it allows. */
static int open_source(const struct pleat_memory_backend_config *config, bool shared,
                       struct pleat_backend_memory *memory, char *why, size_t why_bytes)
{
    int error = PLEAT_OK;

    memory->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    if (config->kind == PLEAT_MEMORY_BACKEND_FILE)
        error = pleat_backend_file_open(config, memory, why, why_bytes);
    else if (shared)
        error = pleat_backend_memfd_open(config, memory, why, why_bytes);
    if (error)
        return error;
    if (memory->huge && !shared)
        return refuse(why, why_bytes, PLEAT_E_INVALID, "huge pages need share=on");
    if (memory->bytes & (memory->page_bytes - 1))
        return refuse(why, why_bytes, PLEAT_E_INVALID, "the size is no multiple of the page size");
    if ((uintptr_t)memory->at & (memory->page_bytes - 1))
        return refuse(why, why_bytes, PLEAT_E_INVALID, "the address space isn't aligned to the page size");
    /* Advice for no bytes: is it known? */
    if (memory->prealloc && madvise(memory->at, 0, MADV_POPULATE_WRITE))
        return refuse(why, why_bytes, PLEAT_E_UNSUPPORTED, "prealloc=on needs Linux 5.14");
    return PLEAT_OK;
}

int pleat_memory_backend_open(const struct pleat_memory_backend_config *config, void *at,
                              struct pleat_memory_backend *backend, char *why, size_t why_bytes)
{
    const bool shared =
        config->share == PLEAT_MEMORY_BACKEND_SHARE_ON ||
        (config->share == PLEAT_MEMORY_BACKEND_SHARE_DEFAULT && config->kind == PLEAT_MEMORY_BACKEND_MEMFD);

    if (why && why_bytes)
        *why = 0;
    int error = check(config, at, shared, why, why_bytes);
    if (error)
        return error;

    struct pleat_backend_memory *memory = calloc(1, sizeof(*memory));
    if (!memory)
        return refuse(why, why_bytes, PLEAT_E_NO_MEMORY, "out of memory");
    memory->at = at;
    memory->bytes = config->bytes;
    memory->fd = -1;
    memory->prealloc = config->prealloc;
    error = pleat_backend_nodes_open(config, memory, why, why_bytes);
    if (!error)
        error = open_source(config, shared, memory, why, why_bytes);
    if (!error) {
        error = shared ? pleat_backend_blank(at, memory->bytes) : pleat_backend_private_start(memory);
        if (error)
            refuse(why, why_bytes, error, "the host has no room for one more mapping");
    }
    if (error) {
        pleat_backend_end(memory);
        return error;
    }
    backend->ops = shared ? &pleat_backend_shared_ops : &pleat_backend_private_ops;
    backend->context = memory;
    backend->bytes = memory->bytes;
    backend->page_bytes = memory->page_bytes;
    backend->fd = shared ? memory->fd : -1;
    return PLEAT_OK;
}

void pleat_memory_backend_close(struct pleat_memory_backend *backend)
{
    if (backend->ops)
        backend->ops->close(backend->context);
    memset(backend, 0, sizeof(*backend));
    backend->fd = -1;
}

int pleat_memory_backend_map(const struct pleat_memory_backend *backend, uint64_t offset, uint64_t bytes)
{
    return backend->ops->map(backend->context, offset, bytes);
}

int pleat_memory_backend_unmap(const struct pleat_memory_backend *backend, uint64_t offset, uint64_t bytes)
{
    return backend->ops->unmap(backend->context, offset, bytes);
}

int pleat_memory_backend_map_zeroes(const struct pleat_memory_backend *backend, uint64_t offset,
                                    uint64_t bytes)
{
    return backend->ops->map_zeroes(backend->context, offset, bytes);
}

int pleat_memory_backend_discard(const struct pleat_memory_backend *backend, uint64_t offset, uint64_t bytes)
{
    return backend->ops->discard(backend->context, offset, bytes);
}

uint64_t pleat_memory_backend_held_bytes(const struct pleat_memory_backend *backend)
{
    return backend->ops->held_bytes(backend->context);
}

void *pleat_memory_backend_reserve(uint64_t bytes, uint64_t alignment)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (alignment < page)
        alignment = page;
    if (!bytes || bytes & (page - 1) || alignment & (alignment - 1) || bytes > SIZE_MAX - alignment)
        return NULL;
    /* Enough that an aligned part of the size lies in it; what is before and after goes back. */
    uint8_t *all =
        mmap(NULL, bytes + alignment - page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED)
        return NULL;
    const uint64_t before = -(uintptr_t)all & (alignment - 1);
    const uint64_t after = alignment - page - before;
    if (before)
        munmap(all, before);
    if (after)
        munmap(all + before + bytes, after);
    return all + before;
}

void pleat_memory_backend_release(void *at, uint64_t bytes)
{
    if (at)
        munmap(at, bytes);
}
