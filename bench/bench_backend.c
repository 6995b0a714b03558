/* SPDX-License-Identifier: MIT
 *
 * Giving memory back to the host: 1 GiB of populated memfd in pages of 4 KiB, through the virtio-mem device
 * and its backend, held against the host's own fallocate(PUNCH_HOLE) on the same mapped bytes. `--only
 * alternatives` measures the ways to do it that the backend could have chosen.
 *
 * Each way is measured RUNS times, in turn with the others, so that all meet the same host.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <pleat/backend.h>
#include <pleat/virtio_mem_device.h>

#include "bench/support/measure.h"

#define KiB     (UINT64_C(1) << 10)
#define MiB     (UINT64_C(1) << 20)
#define BYTES   (1024 * MiB)
#define BLOCK   (2 * MiB)
#define ADDRESS (UINT64_C(1) << 32)

/* Memory with all of its pages written, and the device that it is plugged to. */
struct host {
    uint8_t *at;
    struct pleat_memory_backend backend;
    struct pleat_virtio_mem_device *device;
    void *storage;
};

static void require(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "bench_backend: %s failed\n", what);
        exit(1);
    }
}

static int map(void *context, uint64_t offset, uint64_t bytes)
{
    return pleat_memory_backend_map(&((struct host *)context)->backend, offset, bytes);
}

static int unmap(void *context, uint64_t offset, uint64_t bytes)
{
    return pleat_memory_backend_unmap(&((struct host *)context)->backend, offset, bytes);
}

static int discard(void *context, uint64_t offset, uint64_t bytes)
{
    return pleat_memory_backend_discard(&((struct host *)context)->backend, offset, bytes);
}

static const struct pleat_virtio_mem_device_ops ops = {.map = map, .unmap = unmap, .discard = discard};

static void ask(struct host *host, unsigned type, uint64_t offset, uint64_t bytes)
{
    struct pleat_virtio_mem_request request;
    uint8_t response[PLEAT_VIRTIO_MEM_RESPONSE_BYTES];
    memset(&request, 0, sizeof(request));
    request.type = pleat_le16((uint16_t)type);
    request.address = pleat_le64(ADDRESS + offset);
    request.block_count = pleat_le16((uint16_t)(bytes / BLOCK));
    require(pleat_virtio_mem_device_handle(host->device, &request, sizeof(request), response) ==
                PLEAT_VIRTIO_MEM_RESP_ACK,
            "a request");
}

static void host_begin(struct host *host)
{
    const struct pleat_memory_backend_config memory = {.kind = PLEAT_MEMORY_BACKEND_MEMFD, .bytes = BYTES};
    const struct pleat_virtio_mem_device_config config = {
        .address = ADDRESS, .region_bytes = BYTES, .block_bytes = BLOCK, .requested_bytes = BYTES};
    const size_t storage_bytes = pleat_virtio_mem_device_storage_bytes(&config);
    char why[256];

    host->at = pleat_memory_backend_reserve(BYTES, BLOCK);
    host->storage = malloc(storage_bytes);
    require(host->at && host->storage, "taking address space");
    require(!pleat_memory_backend_open(&memory, host->at, &host->backend, why, sizeof(why)), "a memfd");
    require(!pleat_virtio_mem_device_create(&config, &ops, host, host->storage, storage_bytes, &host->device),
            "a device");
    require(!pleat_virtio_mem_device_accept(host->device, UINT64_C(1)
                                                              << PLEAT_VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE),
            "a driver");
    ask(host, PLEAT_VIRTIO_MEM_REQ_PLUG, 0, BYTES);
    for (uint64_t offset = 0; offset < BYTES; offset += 4 * KiB)
        host->at[offset] = 1;
}

static void host_end(struct host *host)
{
    require(!pleat_memory_backend_held_bytes(&host->backend), "giving all back");
    pleat_virtio_mem_device_destroy(host->device);
    pleat_memory_backend_close(&host->backend);
    pleat_memory_backend_release(host->at, BYTES);
    free(host->storage);
}

/* ---- Ways to give one piece back ------------------------------------------------------------------ */

typedef void way_fn(struct host *host, uint64_t offset, uint64_t bytes);

static void punch(struct host *host, uint64_t offset, uint64_t bytes)
{
    require(
        !fallocate(host->backend.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes),
        "fallocate");
}

static void cover(struct host *host, uint64_t offset, uint64_t bytes)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    require(mmap(host->at + offset, bytes, PROT_NONE, flags, -1, 0) != MAP_FAILED, "mmap");
}

static void through_device(struct host *host, uint64_t offset, uint64_t bytes)
{
    ask(host, PLEAT_VIRTIO_MEM_REQ_UNPLUG, offset, bytes);
}

static void through_backend(struct host *host, uint64_t offset, uint64_t bytes)
{
    require(!unmap(host, offset, bytes) && !discard(host, offset, bytes), "the backend");
}

static void protect_and_punch(struct host *host, uint64_t offset, uint64_t bytes)
{
    require(!mprotect(host->at + offset, bytes, PROT_NONE), "mprotect");
    punch(host, offset, bytes);
}

static void punch_and_protect(struct host *host, uint64_t offset, uint64_t bytes)
{
    punch(host, offset, bytes);
    require(!mprotect(host->at + offset, bytes, PROT_NONE), "mprotect");
}

static void cover_and_punch(struct host *host, uint64_t offset, uint64_t bytes)
{
    cover(host, offset, bytes);
    punch(host, offset, bytes);
}

static void punch_and_cover(struct host *host, uint64_t offset, uint64_t bytes)
{
    punch(host, offset, bytes);
    cover(host, offset, bytes);
}

static void unmap_and_punch(struct host *host, uint64_t offset, uint64_t bytes)
{
    require(!munmap(host->at + offset, bytes), "munmap");
    punch(host, offset, bytes);
}

static void remove_and_protect(struct host *host, uint64_t offset, uint64_t bytes)
{
    require(!madvise(host->at + offset, bytes, MADV_REMOVE), "madvise");
    require(!mprotect(host->at + offset, bytes, PROT_NONE), "mprotect");
}

struct way {
    const char *name;
    way_fn *give;
    double ms[RUNS];
};

static double once(const struct way *way, uint64_t piece)
{
    struct host host;
    host_begin(&host);
    const uint64_t start = thread_ns();
    for (uint64_t offset = 0; offset < BYTES; offset += piece)
        way->give(&host, offset, piece);
    const double ms = (double)(thread_ns() - start) / 1e6;
    host_end(&host);
    return ms;
}

/* ways[0] is the limit; all have to reach `reach` times its median. */
static void measure(struct table *table, struct way *ways, unsigned count, uint64_t piece, double reach)
{
    for (unsigned run = 0; run < RUNS; run++)
        for (unsigned way = 0; way < count; way++)
            ways[way].ms[run] = once(&ways[way], piece);
    const double limit = median(ways[0].ms, RUNS);
    for (unsigned way = 0; way < count; way++) {
        char name[80];
        snprintf(name, sizeof(name), "%s, by %llu MiB", ways[way].name, (unsigned long long)(piece / MiB));
        table_row(table, name, median(ways[way].ms, RUNS), "ms", limit, "of the punch", way ? reach : 1,
                  false);
    }
}

int main(int argc, char **argv)
{
    const struct bench_options options = bench_options(argc, argv);
    struct table *table = table_new("1 GiB of populated memfd given back (median of 7 runs)");

    become_cpu(0);
    if (bench_wants(&options, "unplug")) {
        struct way ways[] = {{.name = "fallocate(PUNCH_HOLE) on mapped memory", .give = punch},
                             {.name = "the backend", .give = through_backend},
                             {.name = "UNPLUG requests", .give = through_device}};
        measure(table, ways, sizeof(ways) / sizeof(*ways), 128 * MiB, 1.2);
        measure(table, ways, sizeof(ways) / sizeof(*ways), 2 * MiB, 1.2);
    }
    if (options.only && !strcmp(options.only, "alternatives")) {
        struct way ways[] = {{.name = "punch", .give = punch},
                             {.name = "mmap inaccessible over it, punch", .give = cover_and_punch},
                             {.name = "punch, mmap inaccessible over it", .give = punch_and_cover},
                             {.name = "munmap, punch", .give = unmap_and_punch},
                             {.name = "mprotect, punch", .give = protect_and_punch},
                             {.name = "punch, mprotect", .give = punch_and_protect},
                             {.name = "MADV_REMOVE, mprotect", .give = remove_and_protect}};
        measure(table, ways, sizeof(ways) / sizeof(*ways), 128 * MiB, 1.2);
        measure(table, ways, sizeof(ways) / sizeof(*ways), 2 * MiB, 1.2);
    }
    table_end(table, options.json);
    return 0;
}
