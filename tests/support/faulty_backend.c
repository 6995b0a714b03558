/* SPDX-License-Identifier: MIT
 *
 * Failures of the host's memory, on demand.
 */
#include <string.h>

#include "tests/support/faulty_backend.h"

static int fails(struct faulty_call *call)
{
    call->calls++;
    return call->at && (call->calls == call->at || (call->for_good && call->calls > call->at)) ? call->error
                                                                                               : 0;
}

static int map(void *context, uint64_t offset, uint64_t bytes)
{
    struct faulty_backend *faulty = context;
    const int error = fails(&faulty->map);
    return error ? error : pleat_memory_backend_map(&faulty->behind, offset, bytes);
}

static int unmap(void *context, uint64_t offset, uint64_t bytes)
{
    struct faulty_backend *faulty = context;
    const int error = fails(&faulty->unmap);
    return error ? error : pleat_memory_backend_unmap(&faulty->behind, offset, bytes);
}

static int map_zeroes(void *context, uint64_t offset, uint64_t bytes)
{
    struct faulty_backend *faulty = context;
    const int error = fails(&faulty->map_zeroes);
    return error ? error : pleat_memory_backend_map_zeroes(&faulty->behind, offset, bytes);
}

static int discard(void *context, uint64_t offset, uint64_t bytes)
{
    struct faulty_backend *faulty = context;
    const int error = fails(&faulty->discard);
    return error ? error : pleat_memory_backend_discard(&faulty->behind, offset, bytes);
}

static uint64_t held_bytes(void *context)
{
    const struct faulty_backend *faulty = context;
    return pleat_memory_backend_held_bytes(&faulty->behind);
}

static void close_faulty(void *context)
{
    struct faulty_backend *faulty = context;
    pleat_memory_backend_close(&faulty->behind);
}

static const struct pleat_memory_backend_ops faulty_ops = {
    .map = map,
    .unmap = unmap,
    .map_zeroes = map_zeroes,
    .discard = discard,
    .held_bytes = held_bytes,
    .close = close_faulty,
};

void faulty_backend_wrap(struct faulty_backend *faulty, struct pleat_memory_backend *backend)
{
    memset(faulty, 0, sizeof(*faulty));
    faulty->behind = *backend;
    backend->ops = &faulty_ops;
    backend->context = faulty;
}
