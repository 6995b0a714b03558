/* SPDX-License-Identifier: MIT
 *
 * virtio over PCI: what a transport's functions are in registers. How the registers are found is in
 * pci_find.c.
 *
 * An access is one of the register's own width, and ordered: memory that was written before a register is
 * written is seen by the device that the write wakes, and memory that the device wrote before it answered a
 * read is seen after the read.
 */
#include "pci_internal.h"

#include <stddef.h>

#include <pleat/wire/virtio_pci.h>

/* Changes what is written at a notification (VIRTIO 1.4, section 6): data beside the queue's index. */
#define F_NOTIFICATION_DATA (UINT64_C(1) << 38)
#define F_NOTIF_CONFIG_DATA (UINT64_C(1) << 39)

#define COMMON(field) offsetof(struct pleat_virtio_pci_common, field)

/* ---- Registers ---- */

/* The barriers are those between memory and a device, which C has no names for. */
static void order_before_write(void)
{
#if defined(__aarch64__)
    __asm__ volatile("dmb oshst" ::: "memory");
#elif defined(__riscv)
    __asm__ volatile("fence w, o" ::: "memory");
#elif defined(__x86_64__)
    /* Stores reach memory and uncached registers in order. */
    __asm__ volatile("" ::: "memory");
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

static void order_after_read(void)
{
#if defined(__aarch64__)
    __asm__ volatile("dmb oshld" ::: "memory");
#elif defined(__riscv)
    __asm__ volatile("fence i, r" ::: "memory");
#elif defined(__x86_64__)
    __asm__ volatile("" ::: "memory");
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/** Turns a number into its little-endian bytes in a register, and back. */
static uint32_t swap(uint32_t value, unsigned bytes)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return bytes == 4 ? __builtin_bswap32(value) : bytes == 2 ? __builtin_bswap16((uint16_t)value) : value;
#else
    (void)bytes;
    return value;
#endif
}

uint32_t pleat_virtio_pci_read(const struct pleat_virtio_pci *pci, const volatile uint8_t *from,
                               unsigned bytes)
{
    uint32_t value;
    if (pci->ops->read) {
        value = pci->ops->read(pci->context, from, bytes);
    } else if (bytes == 1) {
        value = *from;
    } else if (bytes == 2) {
        value = swap(*(const volatile uint16_t *)(const volatile void *)from, 2);
    } else {
        value = swap(*(const volatile uint32_t *)(const volatile void *)from, 4);
    }
    order_after_read();
    return value;
}

void pleat_virtio_pci_write(const struct pleat_virtio_pci *pci, volatile uint8_t *to, unsigned bytes,
                            uint32_t value)
{
    order_before_write();
    if (pci->ops->write) {
        pci->ops->write(pci->context, to, bytes, value);
    } else if (bytes == 1) {
        *to = (uint8_t)value;
    } else if (bytes == 2) {
        *(volatile uint16_t *)(volatile void *)to = (uint16_t)swap(value, 2);
    } else {
        *(volatile uint32_t *)(volatile void *)to = swap(value, 4);
    }
}

static uint8_t get8(const struct pleat_virtio_pci *pci, size_t offset)
{
    return (uint8_t)pleat_virtio_pci_read(pci, pci->common + offset, 1);
}

static uint16_t get16(const struct pleat_virtio_pci *pci, size_t offset)
{
    return (uint16_t)pleat_virtio_pci_read(pci, pci->common + offset, 2);
}

static uint32_t get32(const struct pleat_virtio_pci *pci, size_t offset)
{
    return pleat_virtio_pci_read(pci, pci->common + offset, 4);
}

static void put8(const struct pleat_virtio_pci *pci, size_t offset, uint8_t value)
{
    pleat_virtio_pci_write(pci, pci->common + offset, 1, value);
}

static void put16(const struct pleat_virtio_pci *pci, size_t offset, uint16_t value)
{
    pleat_virtio_pci_write(pci, pci->common + offset, 2, value);
}

static void put32(const struct pleat_virtio_pci *pci, size_t offset, uint32_t value)
{
    pleat_virtio_pci_write(pci, pci->common + offset, 4, value);
}

static void put64(const struct pleat_virtio_pci *pci, size_t offset, uint64_t value)
{
    put32(pci, offset, (uint32_t)value);
    put32(pci, offset + 4, (uint32_t)(value >> 32));
}

/* ---- Features and status ---- */

static uint32_t device_id(void *context)
{
    const struct pleat_virtio_pci *pci = context;
    return pci->device_type;
}

static uint64_t get_features(void *context)
{
    const struct pleat_virtio_pci *pci = context;
    put32(pci, COMMON(device_feature_select), 0);
    const uint64_t low = get32(pci, COMMON(device_feature));
    put32(pci, COMMON(device_feature_select), 1);
    const uint64_t high = get32(pci, COMMON(device_feature));
    return (high << 32 | low) & ~(F_NOTIFICATION_DATA | F_NOTIF_CONFIG_DATA);
}

static uint8_t get_status(void *context)
{
    return get8(context, COMMON(device_status));
}

static void add_status(void *context, uint8_t bits)
{
    const uint8_t status = get_status(context) | bits;
    /* Adding nothing to nothing would ask for a reset. */
    if (status != 0) {
        put8(context, COMMON(device_status), status);
    }
}

static int set_features(void *context, uint64_t features)
{
    struct pleat_virtio_pci *pci = context;
    const uint8_t status = get_status(pci);
    if (!(status & PLEAT_VIRTIO_STATUS_DRIVER) || (status & PLEAT_VIRTIO_STATUS_FEATURES_OK)) {
        return PLEAT_E_STATE;
    }
    put32(pci, COMMON(driver_feature_select), 0);
    put32(pci, COMMON(driver_feature), (uint32_t)features);
    put32(pci, COMMON(driver_feature_select), 1);
    put32(pci, COMMON(driver_feature), (uint32_t)(features >> 32));
    put8(pci, COMMON(device_status), status | PLEAT_VIRTIO_STATUS_FEATURES_OK);
    const uint8_t now = get_status(pci);
    /* All ones is the answer of a device that has gone. */
    if (now == UINT8_MAX || !(now & PLEAT_VIRTIO_STATUS_FEATURES_OK)) {
        return PLEAT_E_REFUSED;
    }
    pci->features = features;
    return PLEAT_OK;
}

static void reset_begin(void *context)
{
    struct pleat_virtio_pci *pci = context;
    pci->features = 0;
    pleat_virtio_pci_forget_queues(pci);
    put8(pci, COMMON(device_status), 0);
}

static int reset_poll(void *context)
{
    struct pleat_virtio_pci *pci = context;
    if (get_status(pci) != 0) {
        return PLEAT_MORE;
    }
    if (!pci->masters_bus) {
        pleat_virtio_pci_change_command(pci, 0, PLEAT_PCI_COMMAND_MASTER);
        pci->masters_bus = true;
    }
    return PLEAT_OK;
}

/* ---- Config space ---- */

static uint32_t config_generation(void *context)
{
    return get8(context, COMMON(config_generation));
}

static bool is_field(const struct pleat_virtio_pci *pci, uint32_t offset, uint32_t length)
{
    const bool aligned = length == 8                                 ? offset % 4 == 0
                         : length == 1 || length == 2 || length == 4 ? offset % length == 0
                                                                     : false;
    return aligned && length <= pci->device_bytes && offset <= pci->device_bytes - length;
}

static int config_read(void *context, uint32_t offset, void *to, uint32_t length)
{
    const struct pleat_virtio_pci *pci = context;
    if (!is_field(pci, offset, length)) {
        return PLEAT_E_INVALID;
    }
    const volatile uint8_t *from = pci->device + offset;
    switch (length) {
    case 1:
        *(uint8_t *)to = (uint8_t)pleat_virtio_pci_read(pci, from, 1);
        break;
    case 2:
        pleat_write_le16(to, (uint16_t)pleat_virtio_pci_read(pci, from, 2));
        break;
    case 8:
        pleat_write_le32((uint8_t *)to + 4, pleat_virtio_pci_read(pci, from + 4, 4));
        pleat_write_le32(to, pleat_virtio_pci_read(pci, from, 4));
        break;
    default:
        pleat_write_le32(to, pleat_virtio_pci_read(pci, from, 4));
        break;
    }
    return PLEAT_OK;
}

static int config_write(void *context, uint32_t offset, const void *from, uint32_t length)
{
    const struct pleat_virtio_pci *pci = context;
    if (!is_field(pci, offset, length)) {
        return PLEAT_E_INVALID;
    }
    volatile uint8_t *to = pci->device + offset;
    switch (length) {
    case 1:
        pleat_virtio_pci_write(pci, to, 1, *(const uint8_t *)from);
        break;
    case 2:
        pleat_virtio_pci_write(pci, to, 2, pleat_read_le16(from));
        break;
    case 8:
        pleat_virtio_pci_write(pci, to, 4, pleat_read_le32(from));
        pleat_virtio_pci_write(pci, to + 4, 4, pleat_read_le32((const uint8_t *)from + 4));
        break;
    default:
        pleat_virtio_pci_write(pci, to, 4, pleat_read_le32(from));
        break;
    }
    return PLEAT_OK;
}

/* ---- Queues ---- */

/** Selects a queue and says its size: 0 if it isn't there, or says what no queue can be. */
static uint16_t select_queue(const struct pleat_virtio_pci *pci, uint16_t index)
{
    if (index >= PLEAT_VIRTIO_PCI_QUEUES || index >= get16(pci, COMMON(num_queues))) {
        return 0;
    }
    put16(pci, COMMON(queue_select), index);
    const uint16_t size = get16(pci, COMMON(queue_size));
    return size <= PLEAT_VIRTQ_SIZE_MAX ? size : 0;
}

static uint16_t queue_size_max(void *context, uint16_t index)
{
    return select_queue(context, index);
}

static bool is_layout(uint64_t features, uint16_t size, const struct pleat_virtio_queue_addresses *addresses)
{
    if (features & PLEAT_VIRTIO_F_RING_PACKED) {
        return size > 0 && addresses->descriptor_physical % PLEAT_VIRTQ_PACKED_DESCRIPTOR_ALIGNMENT == 0 &&
               addresses->driver_physical % PLEAT_VIRTQ_PACKED_EVENT_ALIGNMENT == 0 &&
               addresses->device_physical % PLEAT_VIRTQ_PACKED_EVENT_ALIGNMENT == 0;
    }
    return size > 0 && (size & (size - 1u)) == 0 &&
           addresses->descriptor_physical % PLEAT_VIRTQ_SPLIT_DESCRIPTOR_ALIGNMENT == 0 &&
           addresses->driver_physical % PLEAT_VIRTQ_SPLIT_DRIVER_ALIGNMENT == 0 &&
           addresses->device_physical % PLEAT_VIRTQ_SPLIT_DEVICE_ALIGNMENT == 0;
}

static int queue_setup(void *context, uint16_t index, uint16_t size,
                       const struct pleat_virtio_queue_addresses *addresses)
{
    struct pleat_virtio_pci *pci = context;
    if (!(get_status(pci) & PLEAT_VIRTIO_STATUS_FEATURES_OK)) {
        return PLEAT_E_STATE;
    }
    const uint16_t size_max = select_queue(pci, index);
    if (size_max == 0) {
        return PLEAT_E_INVALID;
    }
    if (get16(pci, COMMON(queue_enable)) != 0) {
        return PLEAT_E_STATE;
    }
    if (size > size_max || !is_layout(pci->features, size, addresses)) {
        return PLEAT_E_INVALID;
    }
    /* A product of 16 and 32 bits. */
    const uint64_t at = (uint64_t)get16(pci, COMMON(queue_notify_off)) * pci->multiplier;
    if (at + 2 > pci->notification_bytes) {
        return PLEAT_E_PROTOCOL;
    }
    put16(pci, COMMON(queue_size), size);
    put64(pci, COMMON(queue_desc), addresses->descriptor_physical);
    put64(pci, COMMON(queue_driver), addresses->driver_physical);
    put64(pci, COMMON(queue_device), addresses->device_physical);
    pci->notify_at[index] = at;
    return PLEAT_OK;
}

void pleat_virtio_pci_forget_queues(struct pleat_virtio_pci *pci)
{
    for (unsigned i = 0; i < PLEAT_VIRTIO_PCI_QUEUES; i++) {
        pci->notify_at[i] = PLEAT_VIRTIO_PCI_NOWHERE;
    }
}

static bool is_set_up(const struct pleat_virtio_pci *pci, uint16_t index)
{
    return index < PLEAT_VIRTIO_PCI_QUEUES && pci->notify_at[index] != PLEAT_VIRTIO_PCI_NOWHERE;
}

static int queue_enable(void *context, uint16_t index)
{
    struct pleat_virtio_pci *pci = context;
    if (!is_set_up(pci, index)) {
        return PLEAT_E_STATE;
    }
    put16(pci, COMMON(queue_select), index);
    if (get16(pci, COMMON(queue_enable)) != 0) {
        return PLEAT_E_STATE;
    }
    put16(pci, COMMON(queue_enable), 1);
    return PLEAT_OK;
}

static void notify(void *context, uint16_t index)
{
    const struct pleat_virtio_pci *pci = context;
    if (is_set_up(pci, index)) {
        pleat_virtio_pci_write(pci, pci->notification + pci->notify_at[index], 2, index);
    }
}

/* ---- Interrupts ---- */

static uint32_t interrupt_acknowledge(void *context)
{
    const struct pleat_virtio_pci *pci = context;
    const uint32_t causes = pleat_virtio_pci_read(pci, pci->isr, 1);
    return causes & (PLEAT_VIRTIO_INTERRUPT_QUEUE | PLEAT_VIRTIO_INTERRUPT_CONFIG);
}

static int set_vector(void *context, uint16_t index, uint16_t vector)
{
    const struct pleat_virtio_pci *pci = context;
    if (vector != PLEAT_VIRTIO_VECTOR_NONE && vector >= pci->vectors) {
        return PLEAT_E_INVALID;
    }
    size_t at = COMMON(config_msix_vector);
    if (index != PLEAT_VIRTIO_VECTOR_OF_CONFIG) {
        if (select_queue(pci, index) == 0) {
            return PLEAT_E_INVALID;
        }
        at = COMMON(queue_msix_vector);
    }
    put16(pci, at, vector);
    return get16(pci, at) == vector ? PLEAT_OK : PLEAT_E_NO_MEMORY;
}

#define OPS_OF_BOTH                                                                                          \
    .device_id = device_id, .get_features = get_features, .set_features = set_features,                      \
    .get_status = get_status, .add_status = add_status, .reset_begin = reset_begin,                          \
    .reset_poll = reset_poll, .config_generation = config_generation, .config_read = config_read,            \
    .config_write = config_write, .queue_size_max = queue_size_max, .queue_setup = queue_setup,              \
    .queue_enable = queue_enable, .notify = notify

static const struct pleat_virtio_transport_ops pin_ops = {
    OPS_OF_BOTH,
    .interrupt_acknowledge = interrupt_acknowledge,
};

static const struct pleat_virtio_transport_ops vector_ops = {
    OPS_OF_BOTH,
    .set_vector = set_vector,
};

struct pleat_virtio_transport pleat_virtio_pci_transport(struct pleat_virtio_pci *pci)
{
    const struct pleat_virtio_transport transport = {pci->uses_vectors ? &vector_ops : &pin_ops, pci};
    return transport;
}
