/* SPDX-License-Identifier: MIT
 *
 * The host's side of one virtio device, as the registers that any transport shows to the guest: status,
 * features, config space, queues, interrupt causes. It knows the rules of VIRTIO 2.1 to 2.6 and 3.1 and
 * nothing of what the device does. Three parties meet here:
 *
 *   the transport    turns the guest's accesses into the pleat_virtio_device_ functions of the second part,
 *                    on the thread of the guest's CPU;
 *   the handler      is the device behind it: takes its queues by pleat_virtio_device_queue(), on one thread
 *                    of its own or inside the callbacks;
 *   the interrupts   go to whoever drives the guest's CPUs.
 *
 * The guest is hostile: whatever it writes, in whatever order, leaves a device that a reset brings back.
 *
 * A reset is complete when the status reads 0, and that is when the handler has said that it has stopped
 * (2.4.1, 2.4.2): from then on, no memory of the guest's is touched on behalf of the queues that were.
 *
 * Concurrency: all functions may be called by any thread at any time, but for create and destroy; a lock
 * inside orders them. No callback is called under it. A queue that pleat_virtio_device_queue() returned is
 * used by one thread at a time, the handler's, until it completes a reset.
 */
#ifndef PLEAT_VIRTIO_DEVICE_H
#define PLEAT_VIRTIO_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/error.h>
#include <pleat/virtio_device_ring.h>
#include <pleat/wire/virtio.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Limits of one device. */
#define PLEAT_VIRTIO_DEVICE_QUEUES_MAX       16u
#define PLEAT_VIRTIO_DEVICE_CONFIG_BYTES_MAX 256u

/**
 * The device behind the registers. Each may be NULL. All are called on the thread of the guest's CPU that
 * made the access, so on several at once where the guest has several CPUs.
 */
struct pleat_virtio_device_handler {
    /**
     * May the driver work with these features? They are a subset of what is offered and have VERSION_1.
     * False: FEATURES_OK isn't set. NULL: any subset will do.
     */
    bool (*accept_features)(void *context, uint64_t features);
    /** The driver has set DRIVER_OK: enabled queues may hold buffers already; look at all of them. */
    void (*driver_ok)(void *context);
    /** The driver notified queue `index`, which is enabled and live. */
    void (*notify)(void *context, uint16_t index);
    /**
     * The driver asks for a reset. The handler stops using its queues and then calls
     * pleat_virtio_device_complete_reset(), here or later, on any thread. NULL: the reset is complete at
     * once; right only where queues are used inside of these callbacks and the guest has one CPU.
     */
    void (*reset)(void *context);
    /**
     * The driver writes `length` bytes (1, 2, 4 or 8) of the config space; the range is inside it. The
     * handler changes what it will by pleat_virtio_device_set_config(). Returns PLEAT_OK or
     * PLEAT_E_UNSUPPORTED. NULL: nothing is writable.
     */
    int (*config_write)(void *context, uint32_t offset, const void *from, uint32_t length);
};

struct pleat_virtio_device_config {
    /** The type, as VIRTIO section 5 numbers it. */
    uint32_t device_id;
    /** What is offered; VERSION_1 is added. */
    uint64_t features;
    /** Queues, and the largest size of each in descriptors: 1 to PLEAT_VIRTQ_SIZE_MAX. */
    uint16_t queues;
    uint16_t queue_size_max[PLEAT_VIRTIO_DEVICE_QUEUES_MAX];
    /** Length of the config space; its content is zero until set. */
    uint32_t config_bytes;
    struct pleat_guest_memory memory;
    const struct pleat_virtio_device_handler *handler;
    void *handler_context;
    /** Raises an interrupt: one of PLEAT_VIRTIO_INTERRUPT_, and the queue for _QUEUE. NULL: polled. */
    void (*interrupt)(void *context, uint32_t cause, uint16_t queue);
    void *interrupt_context;
};

struct pleat_virtio_device;

/**
 * Makes a device, in the state after a reset. The handler's table must outlive it; `config` is copied.
 * PLEAT_E_INVALID: a number outside its range, or no guest_pointer. PLEAT_E_NO_MEMORY. *device is set on
 * success only.
 */
int pleat_virtio_device_create(const struct pleat_virtio_device_config *config,
                               struct pleat_virtio_device **device);

/** Frees it. Nobody may be inside any of its functions or use a queue of it. NULL is fine. */
void pleat_virtio_device_destroy(struct pleat_virtio_device *device);

/* ---- For the handler ---- */

/**
 * Queue `index`, if it is live: DRIVER_OK is set, the queue is enabled, no reset is asked for, NEEDS_RESET
 * and FAILED aren't set; NULL otherwise. To be asked anew for each burst of work, so that a reset is
 * noticed.
 */
struct pleat_virtqueue *pleat_virtio_device_queue(struct pleat_virtio_device *device, uint16_t index);

/** Features that the driver accepted; 0 before FEATURES_OK. */
uint64_t pleat_virtio_device_driver_features(struct pleat_virtio_device *device);

/** Raises queue `index`'s interrupt; the caller has asked pleat_virtqueue_should_interrupt(). */
void pleat_virtio_device_interrupt_queue(struct pleat_virtio_device *device, uint16_t index);

/**
 * Replaces `length` bytes of the config space at `offset`. If they differ from what was there, the
 * generation changes, and with `interrupt` set and DRIVER_OK the driver is told. PLEAT_E_INVALID: beyond
 * the config space.
 */
int pleat_virtio_device_set_config(struct pleat_virtio_device *device, uint32_t offset, const void *from,
                                   uint32_t length, bool interrupt);

/** The device is in a state that only a reset cures (2.1.2): sets NEEDS_RESET and tells the driver. */
void pleat_virtio_device_set_needs_reset(struct pleat_virtio_device *device);

/** Is there a reset to complete? */
bool pleat_virtio_device_reset_is_pending(struct pleat_virtio_device *device);

/** The handler uses no queue any more: the status becomes 0. Nothing happens where none is pending. */
void pleat_virtio_device_complete_reset(struct pleat_virtio_device *device);

/* ---- For the transport ---- */

/** The type, and the features on offer. */
uint32_t pleat_virtio_device_id(struct pleat_virtio_device *device);
uint64_t pleat_virtio_device_offered_features(struct pleat_virtio_device *device);

/** The driver's choice of features. PLEAT_E_STATE: not between DRIVER and FEATURES_OK; ignored. */
int pleat_virtio_device_write_features(struct pleat_virtio_device *device, uint64_t features);

uint8_t pleat_virtio_device_read_status(struct pleat_virtio_device *device);

/**
 * The driver writes the status. 0 asks for a reset. Else bits are added, as far as they are in order:
 * FEATURES_OK only after DRIVER and with acceptable features, DRIVER_OK only after FEATURES_OK; the others
 * are ignored, which the driver sees when it reads the status. Bits aren't taken back.
 */
void pleat_virtio_device_write_status(struct pleat_virtio_device *device, uint8_t status);

/** Changes with every change of the config space. */
uint32_t pleat_virtio_device_config_generation(struct pleat_virtio_device *device);

/** Read, write a part of the config space of any length. PLEAT_E_INVALID: beyond it. */
int pleat_virtio_device_config_read(struct pleat_virtio_device *device, uint32_t offset, void *to,
                                    uint32_t length);
int pleat_virtio_device_config_write(struct pleat_virtio_device *device, uint32_t offset, const void *from,
                                     uint32_t length);

/** The largest size of queue `index`; 0: there is none. */
uint16_t pleat_virtio_device_queue_size_max(struct pleat_virtio_device *device, uint16_t index);

/**
 * The driver tells size and place of a queue. Both are checked against the layout and guest memory; the
 * last set-up counts. PLEAT_E_INVALID: no such queue, or they don't fit. PLEAT_E_STATE: FEATURES_OK isn't
 * set, the queue is enabled already, or a reset is pending. Nothing has changed then.
 */
int pleat_virtio_device_queue_setup(struct pleat_virtio_device *device, uint16_t index, uint16_t size,
                                    uint64_t descriptor_physical, uint64_t driver_physical,
                                    uint64_t device_physical);

/**
 * The driver enables a queue that is set up; it is live from DRIVER_OK on. PLEAT_E_INVALID: no such queue.
 * PLEAT_E_STATE: not set up, enabled already, or a reset is pending.
 */
int pleat_virtio_device_queue_enable(struct pleat_virtio_device *device, uint16_t index);

/** The driver notifies a queue; ignored unless the queue is live. */
void pleat_virtio_device_notify(struct pleat_virtio_device *device, uint16_t index);

/** Reads and clears the interrupt causes. */
uint32_t pleat_virtio_device_read_interrupt(struct pleat_virtio_device *device);

#ifdef __cplusplus
}
#endif
#endif
