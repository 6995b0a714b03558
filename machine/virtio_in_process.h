/* SPDX-License-Identifier: MIT
 *
 * The transport between a driver and a device in the same process. It belongs to the machine, because it is
 * the one place that sees both sides: the driver's idea of a transport (pleat/virtio_transport.h) and the
 * device's registers (pleat/virtio_device.h). It has no state of its own.
 */
#ifndef PLEAT_MACHINE_VIRTIO_IN_PROCESS_H
#define PLEAT_MACHINE_VIRTIO_IN_PROCESS_H

#include <pleat/virtio_device.h>
#include <pleat/virtio_transport.h>

/**
 * The transport by which a driver reaches `device`, which must outlive its use. It has no vectors
 * (set_vector is NULL); interrupt_acknowledge says why an interrupt came.
 */
struct pleat_virtio_transport pleat_virtio_in_process(struct pleat_virtio_device *device);

#endif
