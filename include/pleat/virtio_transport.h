/* SPDX-License-Identifier: MIT
 *
 * What a guest driver needs from whatever connects it to a virtio device: registers by name, not by
 * address. virtio-pci (INTx or MSI-X), virtio-mmio and a device in the same process all fit behind it.
 *
 * A driver comes up in the order of VIRTIO section 3.1.1: reset_begin, reset_poll until done, status
 * ACKNOWLEDGE, then DRIVER, get_features, set_features (which does FEATURES_OK), for each queue
 * queue_size_max, queue_setup, queue_enable, then status DRIVER_OK. pleat_virtio_negotiate() does the part
 * from ACKNOWLEDGE to FEATURES_OK.
 *
 * Nothing here waits for the device. A transport is hostile in the confidential-VM case: what it returns is
 * checked by the driver before it is believed.
 *
 * Context: interrupt_acknowledge may be called from an interrupt handler, at the same time as any other
 * function; notify at the same time as any other but for the same queue. The rest is called by one thread
 * at a time.
 */
#ifndef PLEAT_VIRTIO_TRANSPORT_H
#define PLEAT_VIRTIO_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/error.h>
#include <pleat/wire/virtio.h>

#ifdef __cplusplus
extern "C" {
#endif

/** In set_vector: the vector of configuration changes, in place of a queue's index. */
#define PLEAT_VIRTIO_VECTOR_OF_CONFIG 0xffffu
/** In set_vector: no interrupt at all for this cause. */
#define PLEAT_VIRTIO_VECTOR_NONE 0xffffu

/** Where the three areas of a queue lie; the wire header has their alignments. */
struct pleat_virtio_queue_addresses {
    /** The descriptor table (split) or the ring (packed). */
    uint64_t descriptor_physical;
    /** The available ring (split) or the driver's event suppression (packed). */
    uint64_t driver_physical;
    /** The used ring (split) or the device's event suppression (packed). */
    uint64_t device_physical;
};

struct pleat_virtio_transport_ops {
    /** The device's type, as VIRTIO section 5 numbers them; 0 where there is no device. */
    uint32_t (*device_id)(void *context);

    /** The features that the device offers. Bits above 63 aren't looked at. */
    uint64_t (*get_features)(void *context);

    /**
     * Accepts `features`, sets FEATURES_OK and reads the status back (3.1.1, steps 4 to 6). Status is
     * ACKNOWLEDGE | DRIVER before. PLEAT_E_REFUSED: the device won't work with this subset; the driver
     * may only set FAILED or reset. PLEAT_E_STATE: FEATURES_OK is set already, or DRIVER isn't.
     */
    int (*set_features)(void *context, uint64_t features);

    /** The status bits, PLEAT_VIRTIO_STATUS_. */
    uint8_t (*get_status)(void *context);

    /** Adds status bits to those that are set; bits are never taken back but by a reset. */
    void (*add_status)(void *context, uint8_t bits);

    /**
     * Asks for a device reset (writes status 0). Until reset_poll says PLEAT_OK, the device still owns all
     * buffers and rings: none of that memory may be used again.
     */
    void (*reset_begin)(void *context);

    /** PLEAT_OK: the status reads 0, the reset is complete. PLEAT_MORE: not yet, ask again later. */
    int (*reset_poll)(void *context);

    /** Changes whenever the config space does in a way that several reads could see torn. */
    uint32_t (*config_generation)(void *context);

    /**
     * Reads one field of the config space, in little-endian byte order: `length` is 1, 2, 4 or 8, offset a
     * multiple of it (of 4 for 8). One access of that width reaches the device, or two of 4 for 8 (4.1.3.1,
     * 4.2.2.2). PLEAT_E_INVALID: another length, misaligned, or beyond the device's config space.
     */
    int (*config_read)(void *context, uint32_t offset, void *to, uint32_t length);

    /** Writes one field, likewise. PLEAT_E_UNSUPPORTED: the device has no writable field there. */
    int (*config_write)(void *context, uint32_t offset, const void *from, uint32_t length);

    /** The largest size of queue `index`, in descriptors; 0: there is no such queue. */
    uint16_t (*queue_size_max)(void *context, uint16_t index);

    /**
     * Tells the device the size and place of a queue that isn't enabled. After FEATURES_OK, before
     * queue_enable. PLEAT_E_INVALID: no such queue, a size that it can't have, misaligned areas.
     * PLEAT_E_STATE: it is enabled already, or FEATURES_OK isn't set.
     */
    int (*queue_setup)(void *context, uint16_t index, uint16_t size,
                       const struct pleat_virtio_queue_addresses *addresses);

    /**
     * The device may use the queue from DRIVER_OK on; only a reset stops it. PLEAT_E_STATE: not set up, or
     * enabled already.
     */
    int (*queue_enable)(void *context, uint16_t index);

    /** Tells the device that queue `index` has new buffers. Ordered after all earlier stores to memory. */
    void (*notify)(void *context, uint16_t index);

    /**
     * Reads and clears why the device interrupts, PLEAT_VIRTIO_INTERRUPT_ bits; 0: it wasn't this device.
     * NULL where the transport needs none (MSI-X: the vector says why).
     */
    uint32_t (*interrupt_acknowledge)(void *context);

    /**
     * Routes the interrupts of queue `index`, or of PLEAT_VIRTIO_VECTOR_OF_CONFIG, to an MSI-X table
     * entry. Several causes may share one. PLEAT_E_NO_MEMORY: the device couldn't (it reads back
     * PLEAT_VIRTIO_VECTOR_NONE, 4.1.5.1.2). NULL where the transport has no vectors.
     */
    int (*set_vector)(void *context, uint16_t index, uint16_t vector);
};

/** One device as its driver sees it. The caller owns it; it must outlive the driver. */
struct pleat_virtio_transport {
    const struct pleat_virtio_transport_ops *ops;
    void *context;
};

/**
 * From a completed reset to FEATURES_OK (3.1.1, steps 2 to 6): sets ACKNOWLEDGE and DRIVER, reads what is
 * offered, takes what is in `wanted`, and demands what is in `required`; VERSION_1 is always demanded.
 * `*negotiated` holds the outcome on success and isn't touched otherwise.
 *
 * PLEAT_E_UNSUPPORTED: a required feature isn't offered. PLEAT_E_REFUSED: the device refused the subset.
 * PLEAT_E_STATE: it wasn't reset. After each of these but the last the status has FAILED set; a reset
 * starts anew. Effort: a few register accesses.
 */
int pleat_virtio_negotiate(const struct pleat_virtio_transport *transport, uint64_t wanted, uint64_t required,
                           uint64_t *negotiated);

/** A field of the config space: offset and length in bytes as config_read wants them. */
struct pleat_virtio_config_field {
    uint16_t offset_bytes;
    uint16_t length_bytes;
};

/**
 * Reads `count` fields that belong to one generation, as numbers of the host's byte order, into values[].
 * Tries again when the generation changes in the meantime, `tries` times at the most (0: once).
 * PLEAT_E_BUSY: it changed each time; values[] is undefined; try again later. PLEAT_E_INVALID: a field that
 * config_read refuses. Effort: count + 2 register accesses a try.
 */
int pleat_virtio_config_read_fields(const struct pleat_virtio_transport *transport,
                                    const struct pleat_virtio_config_field *fields, uint32_t count,
                                    uint32_t tries, uint64_t *values);

#ifdef __cplusplus
}
#endif
#endif
