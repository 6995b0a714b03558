/* SPDX-License-Identifier: MIT
 *
 * The virtio formats that every device and driver shares: feature bits, status bits, interrupt causes and
 * the two ring layouts, split and packed. Facts from VIRTIO 1.2 to 1.4: section 2.1 (status), 2.2 and 6
 * (features), 2.7 (split virtqueues), 2.8 (packed virtqueues). Legacy (before 1.0) formats aren't here.
 *
 * Both sides include this header and nothing else of each other.
 */
#ifndef PLEAT_WIRE_VIRTIO_H
#define PLEAT_WIRE_VIRTIO_H

#include <stddef.h>
#include <stdint.h>

#include <pleat/wire/layout.h>
#include <pleat/wire/little_endian.h>

/* ---- Feature bits (section 6); bits 0 to 23 and 50 to 127 belong to the device type ---- */
/** A chain may be one descriptor that points to a table of descriptors. */
#define PLEAT_VIRTIO_F_INDIRECT_DESC (UINT64_C(1) << 28)
/** Notifications and interrupts are suppressed by index rather than by flag. */
#define PLEAT_VIRTIO_F_EVENT_IDX (UINT64_C(1) << 29)
/** Not a legacy device; without it a driver of this library gives up. */
#define PLEAT_VIRTIO_F_VERSION_1 (UINT64_C(1) << 32)
/** Addresses given to the device go through the platform's translation or limits (IOMMU, bounce memory). */
#define PLEAT_VIRTIO_F_ACCESS_PLATFORM (UINT64_C(1) << 33)
/** The packed ring layout instead of the split one. */
#define PLEAT_VIRTIO_F_RING_PACKED (UINT64_C(1) << 34)

/* ---- Device status (section 2.1); writing 0 asks for a reset ---- */
#define PLEAT_VIRTIO_STATUS_ACKNOWLEDGE 1u
#define PLEAT_VIRTIO_STATUS_DRIVER      2u
#define PLEAT_VIRTIO_STATUS_DRIVER_OK   4u
#define PLEAT_VIRTIO_STATUS_FEATURES_OK 8u
#define PLEAT_VIRTIO_STATUS_NEEDS_RESET 64u
#define PLEAT_VIRTIO_STATUS_FAILED      128u

/* ---- Interrupt causes, as the ISR register of virtio-pci and virtio-mmio has them ---- */
#define PLEAT_VIRTIO_INTERRUPT_QUEUE  1u
#define PLEAT_VIRTIO_INTERRUPT_CONFIG 2u

/** The largest ring of both layouts. A split ring's size is a power of two, a packed one's any number. */
#define PLEAT_VIRTQ_SIZE_MAX 32768u

/* ---- Descriptor flags, both layouts ---- */
/** The chain goes on: in `next` (split), in the next slot of the ring or table (packed). */
#define PLEAT_VIRTQ_DESC_F_NEXT 1u
/** The device writes the buffer; without it, the device reads it. */
#define PLEAT_VIRTQ_DESC_F_WRITE 2u
/** The buffer is a table of descriptors. */
#define PLEAT_VIRTQ_DESC_F_INDIRECT 4u
/** Packed only: available when it differs from USED and equals the driver's wrap counter. */
#define PLEAT_VIRTQ_DESC_F_AVAILABLE (1u << 7)
/** Packed only: used when it equals AVAILABLE and the device's wrap counter. */
#define PLEAT_VIRTQ_DESC_F_USED (1u << 15)

/** Split ring: one entry of the descriptor table, or of an indirect table (2.7.5). */
struct pleat_virtq_split_descriptor {
    struct pleat_le64 address;
    struct pleat_le32 length;
    struct pleat_le16 flags;
    struct pleat_le16 next;
};
PLEAT_WIRE_SIZE(pleat_virtq_split_descriptor, 16);
PLEAT_WIRE_OFFSET(pleat_virtq_split_descriptor, length, 8);
PLEAT_WIRE_OFFSET(pleat_virtq_split_descriptor, flags, 12);
PLEAT_WIRE_OFFSET(pleat_virtq_split_descriptor, next, 14);

/** Split ring: one entry of the used ring (2.7.8): the head of a chain, and how many bytes were written. */
struct pleat_virtq_split_used_element {
    struct pleat_le32 id;
    struct pleat_le32 length;
};
PLEAT_WIRE_SIZE(pleat_virtq_split_used_element, 8);
PLEAT_WIRE_OFFSET(pleat_virtq_split_used_element, length, 4);

/*
 * Split ring, driver area ("available ring", 2.7.6), all le16:
 *     flags, idx, ring[size], used_event
 * and device area ("used ring", 2.7.8):
 *     le16 flags, le16 idx, pleat_virtq_split_used_element ring[size], le16 avail_event
 * Both have a variable middle, so offsets are given instead of structs. The last field of each is there
 * whether or not EVENT_IDX is negotiated.
 */
#define PLEAT_VIRTQ_SPLIT_FLAGS_OFFSET 0u
#define PLEAT_VIRTQ_SPLIT_INDEX_OFFSET 2u
#define PLEAT_VIRTQ_SPLIT_RING_OFFSET  4u
/** Driver area flag: please, no interrupts. A hint; ignored under EVENT_IDX. */
#define PLEAT_VIRTQ_AVAILABLE_F_NO_INTERRUPT 1u
/** Device area flag: please, no notifications. A hint; ignored under EVENT_IDX. */
#define PLEAT_VIRTQ_USED_F_NO_NOTIFY 1u

/** Alignment of the areas in guest-physical addresses (2.7): descriptors, driver area, device area. */
#define PLEAT_VIRTQ_SPLIT_DESCRIPTOR_ALIGNMENT 16u
#define PLEAT_VIRTQ_SPLIT_DRIVER_ALIGNMENT     2u
#define PLEAT_VIRTQ_SPLIT_DEVICE_ALIGNMENT     4u

/** Bytes of the areas of a split ring of `size` descriptors; offsets of the event fields in them. */
static inline uint32_t pleat_virtq_split_descriptor_bytes(uint16_t size)
{
    return 16u * (uint32_t)size;
}

static inline uint32_t pleat_virtq_split_used_event_offset(uint16_t size)
{
    return 4u + 2u * (uint32_t)size;
}

static inline uint32_t pleat_virtq_split_driver_bytes(uint16_t size)
{
    return 6u + 2u * (uint32_t)size;
}

static inline uint32_t pleat_virtq_split_available_event_offset(uint16_t size)
{
    return 4u + 8u * (uint32_t)size;
}

static inline uint32_t pleat_virtq_split_device_bytes(uint16_t size)
{
    return 6u + 8u * (uint32_t)size;
}

/** Packed ring: a slot of the ring, or an entry of an indirect table (2.8.13). */
struct pleat_virtq_packed_descriptor {
    struct pleat_le64 address;
    struct pleat_le32 length;
    struct pleat_le16 id;
    struct pleat_le16 flags;
};
PLEAT_WIRE_SIZE(pleat_virtq_packed_descriptor, 16);
PLEAT_WIRE_OFFSET(pleat_virtq_packed_descriptor, length, 8);
PLEAT_WIRE_OFFSET(pleat_virtq_packed_descriptor, id, 12);
PLEAT_WIRE_OFFSET(pleat_virtq_packed_descriptor, flags, 14);

/**
 * Packed ring: an event suppression structure (2.8.14), the whole of the driver area (the driver writes
 * it) and of the device area (the device writes it).
 */
struct pleat_virtq_packed_event {
    /** Bits 0 to 14: a slot; bit 15: the wrap counter that it is meant for. */
    struct pleat_le16 offset_wrap;
    /** Bits 0 and 1: one of PLEAT_VIRTQ_EVENT_. */
    struct pleat_le16 flags;
};
PLEAT_WIRE_SIZE(pleat_virtq_packed_event, 4);
PLEAT_WIRE_OFFSET(pleat_virtq_packed_event, flags, 2);

#define PLEAT_VIRTQ_EVENT_ENABLE  0u
#define PLEAT_VIRTQ_EVENT_DISABLE 1u
/** Only under EVENT_IDX: at the slot that offset_wrap names. */
#define PLEAT_VIRTQ_EVENT_AT_SLOT     2u
#define PLEAT_VIRTQ_EVENT_FLAGS_MASK  3u
#define PLEAT_VIRTQ_EVENT_WRAP_BIT    0x8000u
#define PLEAT_VIRTQ_EVENT_OFFSET_MASK 0x7fffu

#define PLEAT_VIRTQ_PACKED_DESCRIPTOR_ALIGNMENT 16u
#define PLEAT_VIRTQ_PACKED_EVENT_ALIGNMENT      4u

static inline uint32_t pleat_virtq_packed_descriptor_bytes(uint16_t size)
{
    return 16u * (uint32_t)size;
}

/**
 * Does moving an index from `old_index` to `new_index` (both free-running, modulo 2^16) pass `event`, so
 * that the other side wants to hear of it (2.7.7.2)? True when event is one of old_index .. new_index - 1.
 */
static inline int pleat_virtq_need_event(uint16_t event, uint16_t new_index, uint16_t old_index)
{
    return (uint16_t)(new_index - event - 1u) < (uint16_t)(new_index - old_index);
}

#endif
