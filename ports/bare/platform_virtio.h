/* SPDX-License-Identifier: MIT
 *
 * How the virtio transport over PCI reaches a function of the platform.
 */
#ifndef PLEAT_PORTS_BARE_PLATFORM_VIRTIO_H
#define PLEAT_PORTS_BARE_PLATFORM_VIRTIO_H

#include <pleat/virtio_pci.h>

/* The context is the function: a struct platform_pci. */
extern const struct pleat_virtio_pci_ops platform_virtio_pci_ops;

#endif
