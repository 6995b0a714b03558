/* SPDX-License-Identifier: MIT
 *
 * How a virtio device shows itself on PCI: ids, the vendor capabilities that say where its structures lie,
 * and the common configuration structure. Facts from VIRTIO 1.2 to 1.4, section 4.1; modern devices only.
 * Registers are accessed by their own width, 64-bit ones as two of 32 bits (4.1.3.1).
 */
#ifndef PLEAT_WIRE_VIRTIO_PCI_H
#define PLEAT_WIRE_VIRTIO_PCI_H

#include <stddef.h>
#include <stdint.h>

#include <pleat/wire/layout.h>
#include <pleat/wire/little_endian.h>

/* ---- Ids in configuration space (4.1.2) ---- */
#define PLEAT_VIRTIO_PCI_VENDOR 0x1af4u
/** Device ids from here on, 64 of them, are modern devices: the type is what is added. */
#define PLEAT_VIRTIO_PCI_MODERN 0x1040u
/** Device ids from here on, 64 of them, are transitional devices: the type is the subsystem's id. */
#define PLEAT_VIRTIO_PCI_TRANSITIONAL 0x1000u
#define PLEAT_VIRTIO_PCI_IDS          64u

/* ---- cfg_type of a vendor capability (4.1.4) ---- */
#define PLEAT_VIRTIO_PCI_CAP_COMMON 1u
#define PLEAT_VIRTIO_PCI_CAP_NOTIFY 2u
#define PLEAT_VIRTIO_PCI_CAP_ISR    3u
#define PLEAT_VIRTIO_PCI_CAP_DEVICE 4u
/** Access to the structures through configuration space. */
#define PLEAT_VIRTIO_PCI_CAP_PCI 5u

/** A vendor capability: where a structure lies. For the notification structure, le32 multiplier follows. */
struct pleat_virtio_pci_capability {
    uint8_t id;   /**< 9, vendor-specific */
    uint8_t next; /**< offset of the next capability, 0: none */
    uint8_t length;
    uint8_t type;
    uint8_t bar; /**< 0 to 5; others are reserved, and such a capability is ignored */
    uint8_t structure_id;
    uint8_t padding[2];
    struct pleat_le32 offset;
    struct pleat_le32 structure_length;
};
PLEAT_WIRE_SIZE(pleat_virtio_pci_capability, 16);
PLEAT_WIRE_OFFSET(pleat_virtio_pci_capability, type, 3);
PLEAT_WIRE_OFFSET(pleat_virtio_pci_capability, bar, 4);
PLEAT_WIRE_OFFSET(pleat_virtio_pci_capability, offset, 8);
PLEAT_WIRE_OFFSET(pleat_virtio_pci_capability, structure_length, 12);
#define PLEAT_VIRTIO_PCI_NOTIFY_MULTIPLIER_OFFSET 16u
#define PLEAT_VIRTIO_PCI_NOTIFY_CAPABILITY_BYTES  20u

/** The common configuration structure (4.1.4.3), as far as VIRTIO 1.0 has it. */
struct pleat_virtio_pci_common {
    struct pleat_le32 device_feature_select;
    struct pleat_le32 device_feature;
    struct pleat_le32 driver_feature_select;
    struct pleat_le32 driver_feature;
    struct pleat_le16 config_msix_vector;
    struct pleat_le16 num_queues;
    uint8_t device_status;
    uint8_t config_generation;
    struct pleat_le16 queue_select;
    struct pleat_le16 queue_size;
    struct pleat_le16 queue_msix_vector;
    struct pleat_le16 queue_enable;
    struct pleat_le16 queue_notify_off;
    struct pleat_le64 queue_desc;
    struct pleat_le64 queue_driver;
    struct pleat_le64 queue_device;
};
PLEAT_WIRE_SIZE(pleat_virtio_pci_common, 56);
PLEAT_WIRE_OFFSET(pleat_virtio_pci_common, config_msix_vector, 16);
PLEAT_WIRE_OFFSET(pleat_virtio_pci_common, device_status, 20);
PLEAT_WIRE_OFFSET(pleat_virtio_pci_common, queue_select, 22);
PLEAT_WIRE_OFFSET(pleat_virtio_pci_common, queue_notify_off, 30);
PLEAT_WIRE_OFFSET(pleat_virtio_pci_common, queue_desc, 32);
PLEAT_WIRE_OFFSET(pleat_virtio_pci_common, queue_device, 48);

#endif
