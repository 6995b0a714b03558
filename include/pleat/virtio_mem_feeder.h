/* SPDX-License-Identifier: MIT
 *
 * One way to feed the virtio-mem device: takes chains out of a virtqueue, copies the request out of guest
 * memory, has it handled, and writes exactly 10 bytes of answer back (used length 10). The device itself
 * knows nothing of this; a VMM with rings of its own doesn't need it.
 *
 * The guest is hostile: a chain that is too short for a request is answered with ERROR, one that has no room
 * for an answer isn't handled at all and comes back with used length 0, as does one that isn't guest memory;
 * each time the next chain is served.
 *
 * One thread at a time for a feeder, its device and its queue.
 */
#ifndef PLEAT_VIRTIO_MEM_FEEDER_H
#define PLEAT_VIRTIO_MEM_FEEDER_H

#include <stddef.h>
#include <stdint.h>

#include <pleat/virtio_device.h>
#include <pleat/virtio_device_ring.h>
#include <pleat/virtio_mem_device.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Segments that a chain can have: one for each byte of request and answer, and some to spare. */
#define PLEAT_VIRTIO_MEM_FEEDER_SEGMENTS 64u

/**
 * Handles a request as pleat_virtio_mem_device_handle() does, and returns the response's type; or a negative
 * value: no answer is given, and the guest doesn't get the chain back until it resets the device.
 */
typedef int pleat_virtio_mem_handle_fn(void *context, const void *request, size_t request_bytes,
                                       uint8_t response[PLEAT_VIRTIO_MEM_RESPONSE_BYTES]);

/** A feeder; fields may be read. */
struct pleat_virtio_mem_feeder {
    struct pleat_virtio_mem_device *device;
    /** The registers whose config space follows the device before each answer; may be NULL. */
    struct pleat_virtio_device *registers;
    /** In place of the device's own, to look at requests or to answer otherwise. NULL: the device's. */
    pleat_virtio_mem_handle_fn *handle;
    void *handle_context;
    uint64_t answered;   /**< chains with an answer of 10 bytes */
    uint64_t unanswered; /**< chains given back with length 0 */
    uint64_t kept;       /**< chains not given back, because handle() said so */
};

/** A feeder of this device, with the device's own handling and no registers. */
void pleat_virtio_mem_feeder_init(struct pleat_virtio_mem_feeder *feeder,
                                  struct pleat_virtio_mem_device *device);

/**
 * Serves one chain at the most. 1: one was taken, and the caller asks pleat_virtqueue_should_interrupt().
 * 0: there is none. PLEAT_E_PROTOCOL: the queue is broken, see its fault; the device needs a reset. Effort:
 * that of the request.
 */
int pleat_virtio_mem_feeder_step(struct pleat_virtio_mem_feeder *feeder, struct pleat_virtqueue *queue);

/**
 * Serves queue `index` of feeder->registers: up to `budget` chains, interrupts included, NEEDS_RESET if the
 * queue is broken. For the driver's notification, and DRIVER_OK. 0: there is no more, and the guest will
 * notify. PLEAT_MORE: the budget is used up; call again. PLEAT_E_STATE: the queue isn't live.
 * PLEAT_E_PROTOCOL: it is broken.
 */
int pleat_virtio_mem_feeder_serve(struct pleat_virtio_mem_feeder *feeder, uint16_t index, unsigned budget);

#ifdef __cplusplus
}
#endif
#endif
