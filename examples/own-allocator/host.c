/* SPDX-License-Identifier: MIT
 *
 * Device and registers, plugged together.
 */
#include "host.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "allocator.h"

/* --- What the device asks of its host ----------------------------------------------------------------------
 */

static int map(void *context, uint64_t offset, uint64_t bytes)
{
    struct host *host = context;
    if (mprotect(host->area + offset, bytes, PROT_READ | PROT_WRITE) != 0) {
        return PLEAT_E_NO_MEMORY;
    }
    /* What plugged memory holds is anybody's guess; here it is made sure that nobody guesses zeroes. */
    memset(host->area + offset, 0xa5, bytes);
    return 0;
}

static int unmap(void *context, uint64_t offset, uint64_t bytes)
{
    struct host *host = context;
    return mprotect(host->area + offset, bytes, PROT_NONE) == 0 ? 0 : PLEAT_E_NO_MEMORY;
}

static int discard(void *context, uint64_t offset, uint64_t bytes)
{
    struct host *host = context;
    return madvise(host->area + offset, bytes, MADV_DONTNEED) == 0 ? 0 : PLEAT_E_UNSUPPORTED;
}

static void show_config(struct host *host, bool interrupt)
{
    struct pleat_virtio_mem_config space;
    pleat_virtio_mem_device_config_space(host->device, &space);
    (void)pleat_virtio_device_set_config(host->registers, 0, &space, sizeof(space), interrupt);
}

static void config_interrupt(void *context)
{
    show_config(context, true);
}

static const struct pleat_virtio_mem_device_ops device_ops = {
    .map = map, .unmap = unmap, .discard = discard, .config_interrupt = config_interrupt};

/* --- What the registers ask of the device ------------------------------------------------------------------
 */

static bool accept_features(void *context, uint64_t features)
{
    return pleat_virtio_mem_device_accept(((struct host *)context)->device, features) == 0;
}

/* On the thread of the guest's CPU, which waits for as long as it has sent requests. */
static void notified(void *context, uint16_t index)
{
    struct host *host = context;
    while (pleat_virtio_mem_feeder_serve(&host->feeder, index, 16) == PLEAT_MORE) {
    }
}

/* Requests may wait already. */
static void driver_ok(void *context)
{
    notified(context, PLEAT_VIRTIO_MEM_QUEUE_REQUEST);
}

static void reset(void *context)
{
    struct host *host = context;
    (void)pleat_virtio_mem_device_reset(host->device);
    pleat_virtio_device_complete_reset(host->registers);
}

static const struct pleat_virtio_device_handler handler = {
    .accept_features = accept_features, .driver_ok = driver_ok, .notify = notified, .reset = reset};

static void *guest_pointer(void *context, uint64_t physical, uint64_t length, bool write)
{
    struct host *host = context;
    (void)write;
    const bool inside = physical >= SHARED_ADDRESS && length <= SHARED_BYTES &&
                        physical - SHARED_ADDRESS <= SHARED_BYTES - length;
    return inside ? host->shared + (physical - SHARED_ADDRESS) : NULL;
}

static void interrupt(void *context, uint32_t cause, uint16_t queue)
{
    struct host *host = context;
    (void)queue;
    if (host->interrupt != NULL) {
        host->interrupt(host->interrupt_context, cause);
    }
}

/* --- Begin and end -----------------------------------------------------------------------------------------
 */

static int make_device(struct host *host)
{
    const struct pleat_virtio_mem_device_config config = {
        .address = AREA_ADDRESS, .region_bytes = AREA_BYTES, .block_bytes = PIECE_BYTES};
    const size_t bytes = pleat_virtio_mem_device_storage_bytes(&config);
    host->storage = malloc(bytes);
    return host->storage == NULL ? -1
                                 : pleat_virtio_mem_device_create(&config, &device_ops, host, host->storage,
                                                                  bytes, &host->device);
}

static int make_registers(struct host *host)
{
    const struct pleat_virtio_device_config config = {
        .device_id = PLEAT_VIRTIO_MEM_DEVICE_ID,
        .features = pleat_virtio_mem_device_features(host->device) | PLEAT_VIRTIO_F_EVENT_IDX,
        .queues = PLEAT_VIRTIO_MEM_QUEUES,
        .queue_size_max = {16},
        .config_bytes = PLEAT_VIRTIO_MEM_CONFIG_BYTES,
        .memory = {.guest_pointer = guest_pointer, .context = host},
        .handler = &handler,
        .handler_context = host,
        .interrupt = interrupt,
        .interrupt_context = host};
    return pleat_virtio_device_create(&config, &host->registers);
}

int host_begin(struct host *host)
{
    memset(host, 0, sizeof(*host));
    host->area = mmap(NULL, AREA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (host->area == MAP_FAILED || make_device(host) != 0 || make_registers(host) != 0) {
        return -1;
    }
    pleat_virtio_mem_feeder_init(&host->feeder, host->device);
    host->feeder.registers = host->registers;
    host->transport = pleat_virtio_in_process(host->registers);
    show_config(host, false);
    return 0;
}

void host_end(struct host *host)
{
    pleat_virtio_device_destroy(host->registers);
    pleat_virtio_mem_device_destroy(host->device);
    free(host->storage);
    munmap(host->area, AREA_BYTES);
}

void *host_pointer(struct host *host, uint64_t address)
{
    return host->area + (address - AREA_ADDRESS);
}
