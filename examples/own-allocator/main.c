/* SPDX-License-Identifier: MIT
 *
 * Pleat's virtio-mem driver over an allocator that isn't Pleat's: the guest's memory grows, is used, and
 * shrinks. With the argument "plug-only", over one that can't take memory back.
 *
 * The guest writes into every frame that it gets. Memory that isn't plugged is inaccessible in this process,
 * so that a mistake anywhere ends it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pleat/virtio_mem_driver.h>

#include "allocator.h"
#include "host.h"

#define MIB (UINT64_C(1) << 20)
enum { FRAMES_MAX = 16384 };

struct guest {
    struct host host;
    struct allocator allocator;
    struct pleat_memory memory;
    struct pleat_virtio_mem_driver *driver;
    void *storage;
    uint64_t frames[FRAMES_MAX];
    unsigned frame_count;
};

static void interrupt(void *context, uint32_t causes)
{
    struct guest *guest = context;
    if (guest->driver != NULL) {
        pleat_virtio_mem_driver_interrupt(guest->driver, causes);
    }
}

/* A real one would sleep where this returns, until an interrupt or the time that the driver names. */
static void let_driver_work(struct guest *guest)
{
    while (pleat_virtio_mem_driver_step(guest->driver, 0) == PLEAT_VIRTIO_MEM_WAKE_NOW) {
    }
}

static int begin(struct guest *guest, bool plug_only)
{
    struct pleat_virtio_mem_driver_needs needs;
    if (host_begin(&guest->host) != 0) {
        return -1;
    }
    guest->host.interrupt = interrupt;
    guest->host.interrupt_context = guest;
    allocator_memory(&guest->allocator, &guest->memory, plug_only);
    int error = pleat_virtio_mem_driver_measure(&guest->host.transport, &guest->memory, &needs);
    if (error < 0 || needs.shared_bytes > SHARED_BYTES) {
        return -1;
    }
    guest->storage = aligned_alloc(PLEAT_VIRTIO_MEM_DRIVER_ALIGNMENT, needs.storage_bytes);
    const struct pleat_virtio_mem_driver_config config = {
        .memory = &guest->memory,
        .transport = &guest->host.transport,
        .storage = guest->storage,
        .storage_bytes = needs.storage_bytes,
        .shared = guest->host.shared,
        .shared_physical = SHARED_ADDRESS,
        .shared_bytes = SHARED_BYTES,
        .floor_bytes = 1 * MIB,
    };
    if (guest->storage == NULL || pleat_virtio_mem_driver_create(&config, &guest->driver) < 0) {
        return -1;
    }
    let_driver_work(guest);
    return 0;
}

static void end(struct guest *guest)
{
    host_end(&guest->host);
    free(guest->storage);
}

static void host_wants(struct guest *guest, uint64_t bytes)
{
    char line[256];
    (void)pleat_virtio_mem_device_set_requested(guest->host.device, bytes);
    let_driver_work(guest);
    (void)pleat_virtio_mem_driver_reason(guest->driver, line, sizeof(line));
    printf("host wants %2" PRIu64 " MiB: plugged %5" PRIu64 " KiB, free %5" PRIu64 " frames; %s\n",
           bytes / MIB, pleat_virtio_mem_device_plugged_bytes(guest->host.device) / 1024,
           guest->allocator.free_frames, line);
}

static void guest_takes(struct guest *guest, unsigned frames)
{
    while (frames-- > 0) {
        const uint64_t address = allocator_get(&guest->allocator);
        if (address == 0) {
            break;
        }
        memset(host_pointer(&guest->host, address), (int)(address / FRAME_BYTES % 251), FRAME_BYTES);
        guest->frames[guest->frame_count++] = address;
    }
    printf("guest holds %u frames\n", guest->frame_count);
}

static bool is_as_written(struct guest *guest, uint64_t address)
{
    const uint8_t *bytes = host_pointer(&guest->host, address);
    for (unsigned i = 0; i < FRAME_BYTES; i++) {
        if (bytes[i] != address / FRAME_BYTES % 251) {
            printf("frame 0x%" PRIx64 " was lost\n", address / FRAME_BYTES);
            return false;
        }
    }
    return true;
}

/* Gives back all but one frame in `keep_one_in` (0: all), and looks whether each holds what was written. */
static bool guest_gives_back(struct guest *guest, unsigned keep_one_in)
{
    unsigned kept = 0;
    bool all_well = true;
    for (unsigned i = 0; i < guest->frame_count; i++) {
        all_well = is_as_written(guest, guest->frames[i]) && all_well;
        if (keep_one_in > 0 && i % keep_one_in == 0) {
            guest->frames[kept++] = guest->frames[i];
        } else {
            allocator_put(&guest->allocator, guest->frames[i]);
        }
    }
    guest->frame_count = kept;
    pleat_virtio_mem_driver_memory_changed(guest->driver);
    printf("guest holds %u frames\n", kept);
    return all_well;
}

int main(int argc, char **argv)
{
    static struct guest guest;
    const bool plug_only = argc > 1 && strcmp(argv[1], "plug-only") == 0;
    if (argc > 2 || (argc == 2 && !plug_only)) {
        fprintf(stderr, "usage: own-allocator [plug-only]\n");
        return 2;
    }
    if (begin(&guest, plug_only) != 0) {
        fprintf(stderr, "own-allocator: no memory for the example\n");
        return 1;
    }
    host_wants(&guest, 32 * MIB);
    guest_takes(&guest, 5000);
    host_wants(&guest, 48 * MIB);
    host_wants(&guest, 12 * MIB);
    bool all_well = guest_gives_back(&guest, 500);
    host_wants(&guest, 2 * MIB);
    all_well = guest_gives_back(&guest, 0) && all_well;
    host_wants(&guest, 2 * MIB);
    host_wants(&guest, 16 * MIB);
    end(&guest);
    return all_well ? 0 : 1;
}
