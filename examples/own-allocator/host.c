/* SPDX-License-Identifier: MIT
 *
 * Device, registers and transport, plugged together.
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

static void notified(void *context, uint16_t index)
{
    struct host *host = context;
    (void)pleat_virtio_mem_feeder_serve(&host->feeder, index, 16);
}

static void reset(void *context)
{
    struct host *host = context;
    (void)pleat_virtio_mem_device_reset(host->device);
    pleat_virtio_device_complete_reset(host->registers);
}

static const struct pleat_virtio_device_handler handler = {
    .accept_features = accept_features, .notify = notified, .reset = reset};

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

/* --- The transport: the driver's accesses become the registers' --------------------------------------------
 */

static uint32_t device_id(void *context)
{
    return pleat_virtio_device_id(context);
}

static uint64_t get_features(void *context)
{
    return pleat_virtio_device_offered_features(context);
}

static uint8_t get_status(void *context)
{
    return pleat_virtio_device_read_status(context);
}

static void add_status(void *context, uint8_t bits)
{
    pleat_virtio_device_write_status(context, get_status(context) | bits);
}

static int set_features(void *context, uint64_t features)
{
    const int error = pleat_virtio_device_write_features(context, features);
    if (error < 0) {
        return error;
    }
    add_status(context, PLEAT_VIRTIO_STATUS_FEATURES_OK);
    return get_status(context) & PLEAT_VIRTIO_STATUS_FEATURES_OK ? 0 : PLEAT_E_REFUSED;
}

static void reset_begin(void *context)
{
    pleat_virtio_device_write_status(context, 0);
}

static int reset_poll(void *context)
{
    return get_status(context) == 0 ? PLEAT_OK : PLEAT_MORE;
}

static uint32_t config_generation(void *context)
{
    return pleat_virtio_device_config_generation(context);
}

static int config_read(void *context, uint32_t offset, void *to, uint32_t length)
{
    return pleat_virtio_device_config_read(context, offset, to, length);
}

static int config_write(void *context, uint32_t offset, const void *from, uint32_t length)
{
    return pleat_virtio_device_config_write(context, offset, from, length);
}

static uint16_t queue_size_max(void *context, uint16_t index)
{
    return pleat_virtio_device_queue_size_max(context, index);
}

static int queue_setup(void *context, uint16_t index, uint16_t size,
                       const struct pleat_virtio_queue_addresses *addresses)
{
    return pleat_virtio_device_queue_setup(context, index, size, addresses->descriptor_physical,
                                           addresses->driver_physical, addresses->device_physical);
}

static int queue_enable(void *context, uint16_t index)
{
    return pleat_virtio_device_queue_enable(context, index);
}

static void notify(void *context, uint16_t index)
{
    pleat_virtio_device_notify(context, index);
}

static const struct pleat_virtio_transport_ops transport_ops = {.device_id = device_id,
                                                                .get_features = get_features,
                                                                .set_features = set_features,
                                                                .get_status = get_status,
                                                                .add_status = add_status,
                                                                .reset_begin = reset_begin,
                                                                .reset_poll = reset_poll,
                                                                .config_generation = config_generation,
                                                                .config_read = config_read,
                                                                .config_write = config_write,
                                                                .queue_size_max = queue_size_max,
                                                                .queue_setup = queue_setup,
                                                                .queue_enable = queue_enable,
                                                                .notify = notify};

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
    host->transport = (struct pleat_virtio_transport){.ops = &transport_ops, .context = host->registers};
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
