/* SPDX-License-Identifier: MIT
 *
 * What drivers do with a transport in more than one step: come to terms on features, and read several config
 * fields that belong together.
 */
#include <pleat/virtio_transport.h>

#include <pleat/wire/little_endian.h>

static int give_up(const struct pleat_virtio_transport *transport, int error)
{
    transport->ops->add_status(transport->context, PLEAT_VIRTIO_STATUS_FAILED);
    return error;
}

int pleat_virtio_negotiate(const struct pleat_virtio_transport *transport, uint64_t wanted, uint64_t required,
                           uint64_t *negotiated)
{
    const struct pleat_virtio_transport_ops *ops = transport->ops;
    if (ops->get_status(transport->context) != 0) {
        return PLEAT_E_STATE;
    }
    ops->add_status(transport->context, PLEAT_VIRTIO_STATUS_ACKNOWLEDGE);
    ops->add_status(transport->context, PLEAT_VIRTIO_STATUS_DRIVER);
    required |= PLEAT_VIRTIO_F_VERSION_1;
    const uint64_t features = ops->get_features(transport->context) & (wanted | required);
    if ((features & required) != required) {
        return give_up(transport, PLEAT_E_UNSUPPORTED);
    }
    const int error = ops->set_features(transport->context, features);
    if (error) {
        return give_up(transport, error);
    }
    *negotiated = features;
    return PLEAT_OK;
}

static uint64_t field_value(const uint8_t *bytes, uint32_t length)
{
    switch (length) {
    case 1:
        return bytes[0];
    case 2:
        return pleat_read_le16(bytes);
    case 4:
        return pleat_read_le32(bytes);
    default:
        return pleat_read_le64(bytes);
    }
}

int pleat_virtio_config_read_fields(const struct pleat_virtio_transport *transport,
                                    const struct pleat_virtio_config_field *fields, uint32_t count,
                                    uint32_t tries, uint64_t *values)
{
    const struct pleat_virtio_transport_ops *ops = transport->ops;
    do {
        const uint32_t before = ops->config_generation(transport->context);
        for (uint32_t i = 0; i < count; i++) {
            uint8_t bytes[8] = {0};
            if (fields[i].length_bytes > sizeof(bytes)) {
                return PLEAT_E_INVALID;
            }
            const int error =
                ops->config_read(transport->context, fields[i].offset_bytes, bytes, fields[i].length_bytes);
            if (error) {
                return error;
            }
            values[i] = field_value(bytes, fields[i].length_bytes);
        }
        if (ops->config_generation(transport->context) == before) {
            return PLEAT_OK;
        }
    } while (tries > 0 && --tries > 0);
    return PLEAT_E_BUSY;
}
