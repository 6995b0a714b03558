/* SPDX-License-Identifier: MIT
 *
 * The transport between a driver and a device in the same process: what virtio-pci does by addresses on a bus
 * is a function call here. For machines that run both sides (a simulator, a test, a hypervisor's own guest);
 * it is the one place that sees the driver's idea of a transport (virtio_transport.h) and the device's
 * registers (virtio_device.h), and has no state of its own.
 */
#ifndef PLEAT_VIRTIO_IN_PROCESS_H
#define PLEAT_VIRTIO_IN_PROCESS_H

#include <pleat/virtio_device.h>
#include <pleat/virtio_transport.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * The transport by which a driver reaches `device`, which must outlive its use. Its functions behave as
 * virtio_transport.h says, under the concurrency rules there; the device's handler is called inside of them.
 * It has no vectors (set_vector is NULL); interrupt_acknowledge says why an interrupt came. Any context.
 */
struct pleat_virtio_transport pleat_virtio_in_process(struct pleat_virtio_device *device);

#ifdef __cplusplus
}
#endif
#endif
