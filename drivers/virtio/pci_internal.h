/* SPDX-License-Identifier: MIT
 *
 * What the files of the PCI transport share: PCI's own registers (PCI Local Bus Specification 3.0, chapter 6)
 * and access to those of the device.
 */
#ifndef PLEAT_VIRTIO_PCI_INTERNAL_H
#define PLEAT_VIRTIO_PCI_INTERNAL_H

#include <pleat/virtio_pci.h>

#define PLEAT_PCI_VENDOR                0x00u
#define PLEAT_PCI_COMMAND               0x04u
#define PLEAT_PCI_COMMAND_IO            (1u << 0)
#define PLEAT_PCI_COMMAND_MEMORY        (1u << 1)
#define PLEAT_PCI_COMMAND_MASTER        (1u << 2)
#define PLEAT_PCI_COMMAND_NO_PIN        (1u << 10)
#define PLEAT_PCI_STATUS                0x06u
#define PLEAT_PCI_STATUS_CAPABILITIES   (1u << 4)
#define PLEAT_PCI_HEADER_TYPE           0x0eu
#define PLEAT_PCI_BAR                   0x10u
#define PLEAT_PCI_BARS                  6u
#define PLEAT_PCI_SUBSYSTEM             0x2eu
#define PLEAT_PCI_CAPABILITIES          0x34u
#define PLEAT_PCI_CAPABILITIES_BEGIN    0x40u
#define PLEAT_PCI_CONFIG_BYTES          256u
#define PLEAT_PCI_CAPABILITY_VENDOR     0x09u
#define PLEAT_PCI_CAPABILITY_MSIX       0x11u
#define PLEAT_PCI_MSIX_CONTROL          2u
#define PLEAT_PCI_MSIX_CONTROL_SIZE     0x7ffu
#define PLEAT_PCI_MSIX_CONTROL_MASK_ALL (1u << 14)
#define PLEAT_PCI_MSIX_CONTROL_ENABLE   (1u << 15)
#define PLEAT_PCI_MSIX_TABLE            4u
#define PLEAT_PCI_MSIX_CAPABILITY_BYTES 12u
/* An entry of the table: address in two halves, data, control. */
#define PLEAT_PCI_MSIX_ENTRY_BYTES   16u
#define PLEAT_PCI_MSIX_ENTRY_DATA    8u
#define PLEAT_PCI_MSIX_ENTRY_CONTROL 12u
#define PLEAT_PCI_MSIX_ENTRY_MASKED  1u

/** In notify_at[]: the queue isn't set up. */
#define PLEAT_VIRTIO_PCI_NOWHERE UINT64_MAX

/** One access of 1, 2 or 4 bytes to what was mapped, ordered against other memory. */
uint32_t pleat_virtio_pci_read(const struct pleat_virtio_pci *pci, const volatile uint8_t *from,
                               unsigned bytes);
void pleat_virtio_pci_write(const struct pleat_virtio_pci *pci, volatile uint8_t *to, unsigned bytes,
                            uint32_t value);
/** No queue is set up. */
void pleat_virtio_pci_forget_queues(struct pleat_virtio_pci *pci);
/** Clears, then sets bits of the command register. */
void pleat_virtio_pci_change_command(const struct pleat_virtio_pci *pci, uint32_t clear, uint32_t set);

#endif
