/* SPDX-License-Identifier: MIT
 *
 * The registers of a virtio device, as every transport shows them (VIRTIO 2.1 to 2.6, 3.1). One mutex guards
 * all of them; callbacks are made after it is let go, so that they may call back in.
 *
 * The states, in the status's own bits:
 *
 *     0                                  reset: nothing of the driver's is known
 *     ACKNOWLEDGE, DRIVER                features may be written
 *     FEATURES_OK                        features are fixed, queues may be set up and enabled
 *     DRIVER_OK                          enabled queues are live
 *     NEEDS_RESET or FAILED              no queue is live
 *     any of these, and reset_pending    the driver wrote 0, the handler hasn't stopped yet: all writes are
 *                                        ignored, no queue is live
 */
#include <pleat/virtio_device.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define DRIVER_BITS                                                                                          \
    (PLEAT_VIRTIO_STATUS_ACKNOWLEDGE | PLEAT_VIRTIO_STATUS_DRIVER | PLEAT_VIRTIO_STATUS_DRIVER_OK |          \
     PLEAT_VIRTIO_STATUS_FEATURES_OK | PLEAT_VIRTIO_STATUS_FAILED)

enum queue_state {
    QUEUE_UNKNOWN = 0, /* nothing said about it since the reset */
    QUEUE_SET_UP,      /* size and addresses are good */
    QUEUE_ENABLED      /* live from DRIVER_OK on */
};

struct queue {
    enum queue_state state;
    struct pleat_virtqueue ring;
};

struct pleat_virtio_device {
    struct pleat_virtio_device_config config;
    pthread_mutex_t lock;
    /* Everything below is guarded by the lock, except that the handler uses rings of live queues. */
    uint8_t status;
    bool reset_pending;
    uint64_t driver_features;
    uint32_t generation;
    uint32_t interrupt_causes;
    uint8_t config_space[PLEAT_VIRTIO_DEVICE_CONFIG_BYTES_MAX];
    struct queue queues[PLEAT_VIRTIO_DEVICE_QUEUES_MAX];
};

static const struct pleat_virtio_device_handler no_handler;

int pleat_virtio_device_create(const struct pleat_virtio_device_config *config,
                               struct pleat_virtio_device **device)
{
    if (config->queues > PLEAT_VIRTIO_DEVICE_QUEUES_MAX ||
        config->config_bytes > PLEAT_VIRTIO_DEVICE_CONFIG_BYTES_MAX || !config->memory.guest_pointer) {
        return PLEAT_E_INVALID;
    }
    for (uint16_t i = 0; i < config->queues; i++) {
        if (config->queue_size_max[i] == 0 || config->queue_size_max[i] > PLEAT_VIRTQ_SIZE_MAX) {
            return PLEAT_E_INVALID;
        }
    }
    struct pleat_virtio_device *made = calloc(1, sizeof(*made));
    if (!made) {
        return PLEAT_E_NO_MEMORY;
    }
    if (pthread_mutex_init(&made->lock, NULL) != 0) {
        free(made);
        return PLEAT_E_NO_MEMORY;
    }
    made->config = *config;
    made->config.features |= PLEAT_VIRTIO_F_VERSION_1;
    if (!made->config.handler) {
        made->config.handler = &no_handler;
    }
    *device = made;
    return PLEAT_OK;
}

void pleat_virtio_device_destroy(struct pleat_virtio_device *device)
{
    if (device) {
        pthread_mutex_destroy(&device->lock);
        free(device);
    }
}

static void lock(struct pleat_virtio_device *device)
{
    pthread_mutex_lock(&device->lock);
}

static void unlock(struct pleat_virtio_device *device)
{
    pthread_mutex_unlock(&device->lock);
}

/** May queues be used? Under the lock. */
static bool is_live(const struct pleat_virtio_device *device)
{
    return (device->status & PLEAT_VIRTIO_STATUS_DRIVER_OK) && !device->reset_pending &&
           !(device->status & (PLEAT_VIRTIO_STATUS_NEEDS_RESET | PLEAT_VIRTIO_STATUS_FAILED));
}

static bool queue_is_live(const struct pleat_virtio_device *device, uint16_t index)
{
    return index < device->config.queues && is_live(device) && device->queues[index].state == QUEUE_ENABLED;
}

/* ---- For the handler ---- */

struct pleat_virtqueue *pleat_virtio_device_queue(struct pleat_virtio_device *device, uint16_t index)
{
    lock(device);
    struct pleat_virtqueue *ring = queue_is_live(device, index) ? &device->queues[index].ring : NULL;
    unlock(device);
    return ring;
}

uint64_t pleat_virtio_device_driver_features(struct pleat_virtio_device *device)
{
    lock(device);
    const uint64_t features = device->status & PLEAT_VIRTIO_STATUS_FEATURES_OK ? device->driver_features : 0;
    unlock(device);
    return features;
}

static void interrupt(struct pleat_virtio_device *device, uint32_t cause, uint16_t queue)
{
    if (device->config.interrupt) {
        device->config.interrupt(device->config.interrupt_context, cause, queue);
    }
}

void pleat_virtio_device_interrupt_queue(struct pleat_virtio_device *device, uint16_t index)
{
    lock(device);
    /* Also when NEEDS_RESET was set since: what was pushed before it is good. */
    const bool wanted = (device->status & PLEAT_VIRTIO_STATUS_DRIVER_OK) && !device->reset_pending &&
                        index < device->config.queues;
    if (wanted) {
        device->interrupt_causes |= PLEAT_VIRTIO_INTERRUPT_QUEUE;
    }
    unlock(device);
    if (wanted) {
        interrupt(device, PLEAT_VIRTIO_INTERRUPT_QUEUE, index);
    }
}

/** Is `length` bytes at `offset` inside of the config space? */
static bool in_config(const struct pleat_virtio_device *device, uint32_t offset, uint32_t length)
{
    return offset <= device->config.config_bytes && length <= device->config.config_bytes - offset;
}

int pleat_virtio_device_set_config(struct pleat_virtio_device *device, uint32_t offset, const void *from,
                                   uint32_t length, bool interrupt_driver)
{
    if (!in_config(device, offset, length)) {
        return PLEAT_E_INVALID;
    }
    lock(device);
    const bool changed = memcmp(device->config_space + offset, from, length) != 0;
    bool wanted = false;
    if (changed) {
        memcpy(device->config_space + offset, from, length);
        device->generation++;
        wanted =
            interrupt_driver && (device->status & PLEAT_VIRTIO_STATUS_DRIVER_OK) && !device->reset_pending;
        device->interrupt_causes |= wanted ? PLEAT_VIRTIO_INTERRUPT_CONFIG : 0u;
    }
    unlock(device);
    if (wanted) {
        interrupt(device, PLEAT_VIRTIO_INTERRUPT_CONFIG, 0);
    }
    return PLEAT_OK;
}

void pleat_virtio_device_set_needs_reset(struct pleat_virtio_device *device)
{
    lock(device);
    const bool wanted = is_live(device);
    if (device->status != 0) {
        device->status |= PLEAT_VIRTIO_STATUS_NEEDS_RESET;
    }
    if (wanted) {
        device->interrupt_causes |= PLEAT_VIRTIO_INTERRUPT_CONFIG;
    }
    unlock(device);
    if (wanted) {
        interrupt(device, PLEAT_VIRTIO_INTERRUPT_CONFIG, 0);
    }
}

bool pleat_virtio_device_reset_is_pending(struct pleat_virtio_device *device)
{
    lock(device);
    const bool pending = device->reset_pending;
    unlock(device);
    return pending;
}

void pleat_virtio_device_complete_reset(struct pleat_virtio_device *device)
{
    lock(device);
    if (device->reset_pending) {
        device->reset_pending = false;
        device->status = 0;
        device->driver_features = 0;
        device->interrupt_causes = 0;
        memset(device->queues, 0, sizeof(device->queues));
    }
    unlock(device);
}

/* ---- For the transport ---- */

uint32_t pleat_virtio_device_id(struct pleat_virtio_device *device)
{
    return device->config.device_id;
}

uint64_t pleat_virtio_device_offered_features(struct pleat_virtio_device *device)
{
    return device->config.features;
}

int pleat_virtio_device_write_features(struct pleat_virtio_device *device, uint64_t features)
{
    int result = PLEAT_E_STATE;
    lock(device);
    if ((device->status & PLEAT_VIRTIO_STATUS_DRIVER) &&
        !(device->status & PLEAT_VIRTIO_STATUS_FEATURES_OK) && !device->reset_pending) {
        device->driver_features = features;
        result = PLEAT_OK;
    }
    unlock(device);
    return result;
}

uint8_t pleat_virtio_device_read_status(struct pleat_virtio_device *device)
{
    lock(device);
    const uint8_t status = device->status;
    unlock(device);
    return status;
}

static void ask_for_reset(struct pleat_virtio_device *device)
{
    lock(device);
    const bool news = device->status != 0 && !device->reset_pending;
    if (news) {
        device->reset_pending = true;
    }
    unlock(device);
    if (!news) {
        return;
    }
    if (device->config.handler->reset) {
        device->config.handler->reset(device->config.handler_context);
    } else {
        pleat_virtio_device_complete_reset(device);
    }
}

/** Does the device work with these features? Called without the lock, because it asks the handler. */
static bool features_are_good(struct pleat_virtio_device *device, uint64_t features)
{
    const struct pleat_virtio_device_handler *handler = device->config.handler;
    if (!(features & PLEAT_VIRTIO_F_VERSION_1) || (features & ~device->config.features)) {
        return false;
    }
    return !handler->accept_features || handler->accept_features(device->config.handler_context, features);
}

void pleat_virtio_device_write_status(struct pleat_virtio_device *device, uint8_t status)
{
    if (status == 0) {
        ask_for_reset(device);
        return;
    }
    lock(device);
    const uint64_t features = device->driver_features;
    unlock(device);
    const bool good = (status & PLEAT_VIRTIO_STATUS_FEATURES_OK) && features_are_good(device, features);

    lock(device);
    bool came_up = false;
    if (!device->reset_pending) {
        uint8_t bits = (uint8_t)(device->status | (status & DRIVER_BITS));
        /* The features may have been written anew while the handler was asked. */
        const bool may_fix =
            good && (bits & PLEAT_VIRTIO_STATUS_DRIVER) && device->driver_features == features;
        if (!(device->status & PLEAT_VIRTIO_STATUS_FEATURES_OK) && !may_fix) {
            bits &= (uint8_t)~PLEAT_VIRTIO_STATUS_FEATURES_OK;
        }
        if (!(bits & PLEAT_VIRTIO_STATUS_FEATURES_OK)) {
            bits &= (uint8_t)~PLEAT_VIRTIO_STATUS_DRIVER_OK;
        }
        const bool was_live = is_live(device);
        device->status = bits;
        came_up = !was_live && is_live(device);
    }
    unlock(device);
    if (came_up && device->config.handler->driver_ok) {
        device->config.handler->driver_ok(device->config.handler_context);
    }
}

uint32_t pleat_virtio_device_config_generation(struct pleat_virtio_device *device)
{
    lock(device);
    const uint32_t generation = device->generation;
    unlock(device);
    return generation;
}

int pleat_virtio_device_config_read(struct pleat_virtio_device *device, uint32_t offset, void *to,
                                    uint32_t length)
{
    if (!in_config(device, offset, length)) {
        return PLEAT_E_INVALID;
    }
    lock(device);
    memcpy(to, device->config_space + offset, length);
    unlock(device);
    return PLEAT_OK;
}

int pleat_virtio_device_config_write(struct pleat_virtio_device *device, uint32_t offset, const void *from,
                                     uint32_t length)
{
    if (!in_config(device, offset, length)) {
        return PLEAT_E_INVALID;
    }
    if (!device->config.handler->config_write) {
        return PLEAT_E_UNSUPPORTED;
    }
    return device->config.handler->config_write(device->config.handler_context, offset, from, length);
}

uint16_t pleat_virtio_device_queue_size_max(struct pleat_virtio_device *device, uint16_t index)
{
    return index < device->config.queues ? device->config.queue_size_max[index] : 0;
}

/** May queue `index` be set up? Under the lock. */
static bool may_set_up(const struct pleat_virtio_device *device, uint16_t index)
{
    return (device->status & PLEAT_VIRTIO_STATUS_FEATURES_OK) && !device->reset_pending &&
           device->queues[index].state != QUEUE_ENABLED;
}

int pleat_virtio_device_queue_setup(struct pleat_virtio_device *device, uint16_t index, uint16_t size,
                                    uint64_t descriptor_physical, uint64_t driver_physical,
                                    uint64_t device_physical)
{
    if (index >= device->config.queues || size > device->config.queue_size_max[index]) {
        return PLEAT_E_INVALID;
    }
    lock(device);
    const uint64_t features = device->driver_features;
    bool allowed = may_set_up(device, index);
    unlock(device);
    if (!allowed) {
        return PLEAT_E_STATE;
    }
    struct pleat_virtqueue ring;
    const struct pleat_virtqueue_config config = {features, size, descriptor_physical, driver_physical,
                                                  device_physical};
    const int error = pleat_virtqueue_init(&ring, &config, &device->config.memory);
    if (error) {
        return error;
    }
    lock(device);
    /* Another CPU of a guest that doesn't keep to the rules may have been at it meanwhile. */
    allowed = may_set_up(device, index) && device->driver_features == features;
    if (allowed) {
        device->queues[index].ring = ring;
        device->queues[index].state = QUEUE_SET_UP;
    }
    unlock(device);
    return allowed ? PLEAT_OK : PLEAT_E_STATE;
}

int pleat_virtio_device_queue_enable(struct pleat_virtio_device *device, uint16_t index)
{
    if (index >= device->config.queues) {
        return PLEAT_E_INVALID;
    }
    int result = PLEAT_E_STATE;
    lock(device);
    if (!device->reset_pending && device->queues[index].state == QUEUE_SET_UP) {
        device->queues[index].state = QUEUE_ENABLED;
        result = PLEAT_OK;
    }
    unlock(device);
    return result;
}

void pleat_virtio_device_notify(struct pleat_virtio_device *device, uint16_t index)
{
    lock(device);
    const bool live = queue_is_live(device, index);
    unlock(device);
    if (live && device->config.handler->notify) {
        device->config.handler->notify(device->config.handler_context, index);
    }
}

uint32_t pleat_virtio_device_read_interrupt(struct pleat_virtio_device *device)
{
    lock(device);
    const uint32_t causes = device->interrupt_causes;
    device->interrupt_causes = 0;
    unlock(device);
    return causes;
}
