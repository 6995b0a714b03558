/* SPDX-License-Identifier: MIT
 *
 * A driver's transport calls, turned into the device's register accesses: what virtio-pci does by addresses
 * on a bus is a function call here, with the same outcome for what is in the wrong order or out of range.
 */
#include <pleat/virtio_in_process.h>

static uint32_t device_id(void *context)
{
    return pleat_virtio_device_id(context);
}

static uint64_t get_features(void *context)
{
    return pleat_virtio_device_offered_features(context);
}

static int set_features(void *context, uint64_t features)
{
    struct pleat_virtio_device *device = context;
    const int error = pleat_virtio_device_write_features(device, features);
    if (error) {
        return error;
    }
    const uint8_t status = pleat_virtio_device_read_status(device);
    pleat_virtio_device_write_status(device, status | PLEAT_VIRTIO_STATUS_FEATURES_OK);
    return pleat_virtio_device_read_status(device) & PLEAT_VIRTIO_STATUS_FEATURES_OK ? PLEAT_OK
                                                                                     : PLEAT_E_REFUSED;
}

static uint8_t get_status(void *context)
{
    return pleat_virtio_device_read_status(context);
}

static void add_status(void *context, uint8_t bits)
{
    const uint8_t status = pleat_virtio_device_read_status(context) | bits;
    /* Adding nothing to nothing would ask for a reset. */
    if (status != 0) {
        pleat_virtio_device_write_status(context, status);
    }
}

static void reset_begin(void *context)
{
    pleat_virtio_device_write_status(context, 0);
}

static int reset_poll(void *context)
{
    return pleat_virtio_device_read_status(context) == 0 ? PLEAT_OK : PLEAT_MORE;
}

static uint32_t config_generation(void *context)
{
    return pleat_virtio_device_config_generation(context);
}

/** A field that one access, or two of 4 bytes, can reach. */
static bool is_field(uint32_t offset, uint32_t length)
{
    switch (length) {
    case 1:
    case 2:
    case 4:
        return offset % length == 0;
    case 8:
        return offset % 4 == 0;
    default:
        return false;
    }
}

static int config_read(void *context, uint32_t offset, void *to, uint32_t length)
{
    return is_field(offset, length) ? pleat_virtio_device_config_read(context, offset, to, length)
                                    : PLEAT_E_INVALID;
}

static int config_write(void *context, uint32_t offset, const void *from, uint32_t length)
{
    return is_field(offset, length) ? pleat_virtio_device_config_write(context, offset, from, length)
                                    : PLEAT_E_INVALID;
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

static uint32_t interrupt_acknowledge(void *context)
{
    return pleat_virtio_device_read_interrupt(context);
}

static const struct pleat_virtio_transport_ops in_process_ops = {
    .device_id = device_id,
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
    .notify = notify,
    .interrupt_acknowledge = interrupt_acknowledge,
};

struct pleat_virtio_transport pleat_virtio_in_process(struct pleat_virtio_device *device)
{
    const struct pleat_virtio_transport transport = {&in_process_ops, device};
    return transport;
}
