/* SPDX-License-Identifier: MIT
 *
 * The PCI transport over a function in memory: configuration space with BARs that can be sized, and a device
 * behind its registers that keeps to the specification, or doesn't. Every access is held against what was
 * mapped, and against the width and alignment of what lies there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <pleat/virtio_pci.h>
#include <pleat/wire/virtio_pci.h>

#define COMMAND   0x04u
#define MEMORY_ON 2u
#define MASTER_ON 4u
#define NO_PIN    0x400u

/* BAR 1, 32 bits: the MSI-X table. BAR 4 and 5, 64 bits: the structures. BAR 0: I/O. BAR 2: not assigned. */
#define TABLE_ADDRESS     UINT32_C(0xfe000000)
#define TABLE_BYTES       0x1000u
#define STRUCTURE_ADDRESS UINT64_C(0x8000004000)
#define STRUCTURE_BYTES   0x4000u
#define COMMON_AT         0x0000u
#define ISR_AT            0x1000u
#define DEVICE_AT         0x2000u
#define NOTIFY_AT         0x3000u
#define NOTIFY_BYTES      0x1000u
#define DEVICE_BYTES      56u

#define MSIX_CAP   0x98u
#define COMMON_CAP 0x84u
#define NOTIFY_CAP 0x70u
#define DEVICE_CAP 0x60u
#define ISR_CAP    0x50u
#define PCI_CAP    0x40u

#define VECTORS 4u
#define QUEUES  3u

struct access {
    bool write;
    uint64_t address;
    unsigned bytes;
    uint32_t value;
};

struct queue {
    uint16_t size, vector, enable, notify_off;
    uint64_t areas[3];
};

static struct fake {
    uint8_t config[256];
    uint32_t bar_bits[6];
    bool gone;
    unsigned maps_allowed;
    uint8_t table[TABLE_BYTES];
    uint8_t structures[STRUCTURE_BYTES];
    struct {
        uint64_t address, bytes;
    } mapped[8];
    unsigned mapped_count;
    struct access log[256];
    unsigned log_count;

    /* The device. */
    uint64_t features, driver_features;
    uint32_t device_feature_select, driver_feature_select;
    uint16_t config_vector, queue_select, queues;
    uint8_t status, generation, isr;
    bool refuses_features;
    unsigned reset_reads; /* of status, until a reset is complete */
    bool resetting;
    uint16_t vectors_max; /* that it can route */
    struct queue queue[QUEUES];
} fake;

static struct pleat_virtio_pci pci;

/* ---- Configuration space ---- */

static uint32_t config_read(void *context, unsigned offset, unsigned bytes)
{
    assert_ptr_equal(context, &fake);
    assert_true((bytes == 1 || bytes == 2 || bytes == 4) && offset % bytes == 0 && offset + bytes <= 256);
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint32_t)(fake.gone ? 0xff : fake.config[offset + i]) << (8 * i);
    }
    return value;
}

static void config_write(void *context, unsigned offset, unsigned bytes, uint32_t value)
{
    assert_ptr_equal(context, &fake);
    assert_true((bytes == 1 || bytes == 2 || bytes == 4) && offset % bytes == 0 && offset + bytes <= 256);
    if (offset >= 0x10 && offset < 0x28) {
        assert_int_equal(bytes, 4);
        /* Decoding is off while a BAR has no address. */
        assert_int_equal(fake.config[COMMAND] & 3, 0);
        const uint32_t bits = fake.bar_bits[(offset - 0x10) / 4];
        value = (value & bits) | (config_read(context, offset, 4) & ~bits);
    }
    for (unsigned i = 0; i < bytes; i++) {
        fake.config[offset + i] = (uint8_t)(value >> (8 * i));
    }
}

static void *map(void *context, unsigned bar, uint64_t address, uint64_t bytes)
{
    assert_ptr_equal(context, &fake);
    assert_true(bytes > 0);
    if (fake.maps_allowed-- == 0) {
        return NULL;
    }
    fake.mapped[fake.mapped_count].address = address;
    fake.mapped[fake.mapped_count++].bytes = bytes;
    if (bar == 1) {
        assert_true(address >= TABLE_ADDRESS && address + bytes <= TABLE_ADDRESS + TABLE_BYTES);
        return fake.table + (address - TABLE_ADDRESS);
    }
    assert_int_equal(bar, 4);
    assert_true(address >= STRUCTURE_ADDRESS && address + bytes <= STRUCTURE_ADDRESS + STRUCTURE_BYTES);
    return fake.structures + (address - STRUCTURE_ADDRESS);
}

/* ---- Registers ---- */

static uint64_t address_of(const volatile uint8_t *at)
{
    if (at >= fake.table && at < fake.table + TABLE_BYTES) {
        return TABLE_ADDRESS + (uint64_t)(at - fake.table);
    }
    assert_true(at >= fake.structures && at < fake.structures + STRUCTURE_BYTES);
    return STRUCTURE_ADDRESS + (uint64_t)(at - fake.structures);
}

static void note(bool write, uint64_t address, unsigned bytes, uint32_t value)
{
    assert_true(bytes == 1 || bytes == 2 || bytes == 4);
    assert_int_equal(address % bytes, 0);
    assert_true(fake.config[COMMAND] & MEMORY_ON);
    bool inside = false;
    for (unsigned i = 0; i < fake.mapped_count; i++) {
        inside = inside || (address >= fake.mapped[i].address &&
                            address + bytes <= fake.mapped[i].address + fake.mapped[i].bytes);
    }
    assert_true(inside);
    assert_true(fake.log_count < sizeof(fake.log) / sizeof(fake.log[0]));
    fake.log[fake.log_count++] = (struct access){write, address, bytes, value};
}

#define COMMON(field) offsetof(struct pleat_virtio_pci_common, field)

static const struct {
    uint8_t offset, bytes;
} common_registers[] = {
    {COMMON(device_feature_select), 4}, {COMMON(device_feature), 4},
    {COMMON(driver_feature_select), 4}, {COMMON(driver_feature), 4},
    {COMMON(config_msix_vector), 2},    {COMMON(num_queues), 2},
    {COMMON(device_status), 1},         {COMMON(config_generation), 1},
    {COMMON(queue_select), 2},          {COMMON(queue_size), 2},
    {COMMON(queue_msix_vector), 2},     {COMMON(queue_enable), 2},
    {COMMON(queue_notify_off), 2},      {COMMON(queue_desc), 4},
    {COMMON(queue_desc) + 4, 4},        {COMMON(queue_driver), 4},
    {COMMON(queue_driver) + 4, 4},      {COMMON(queue_device), 4},
    {COMMON(queue_device) + 4, 4},
};

/** 4.1.3.1: a register is accessed by its own width. */
static void check_width(unsigned offset, unsigned bytes)
{
    for (unsigned i = 0; i < sizeof(common_registers) / sizeof(common_registers[0]); i++) {
        if (common_registers[i].offset == offset) {
            assert_int_equal(common_registers[i].bytes, bytes);
            return;
        }
    }
    fail_msg("no register at %u", offset);
}

static void reset(void)
{
    fake.driver_features = 0;
    fake.config_vector = PLEAT_VIRTIO_VECTOR_NONE;
    for (unsigned i = 0; i < QUEUES; i++) {
        fake.queue[i] = (struct queue){.size = (uint16_t)(64u << i),
                                       .vector = PLEAT_VIRTIO_VECTOR_NONE,
                                       .notify_off = (uint16_t)(2 * i)};
    }
}

static uint32_t common_read(unsigned offset)
{
    static const struct queue nothing;
    const struct queue *queue = fake.queue_select < QUEUES ? &fake.queue[fake.queue_select] : &nothing;
    switch (offset) {
    case COMMON(device_feature):
        return fake.device_feature_select < 2 ? (uint32_t)(fake.features >> (32 * fake.device_feature_select))
                                              : 0;
    case COMMON(config_msix_vector):
        return fake.config_vector;
    case COMMON(num_queues):
        return fake.queues;
    case COMMON(device_status):
        if (fake.resetting && fake.reset_reads > 0) {
            fake.reset_reads--;
            return fake.status;
        }
        if (fake.resetting) {
            fake.resetting = false;
            fake.status = 0;
        }
        return fake.status;
    case COMMON(config_generation):
        return fake.generation;
    case COMMON(queue_size):
        return queue->size;
    case COMMON(queue_msix_vector):
        return queue->vector;
    case COMMON(queue_enable):
        return queue->enable;
    case COMMON(queue_notify_off):
        return queue->notify_off;
    default:
        fail_msg("nobody reads %u", offset);
        return 0;
    }
}

static void common_write(unsigned offset, uint32_t value)
{
    struct queue nothing;
    struct queue *queue = fake.queue_select < QUEUES ? &fake.queue[fake.queue_select] : &nothing;
    switch (offset) {
    case COMMON(device_feature_select):
        fake.device_feature_select = value;
        break;
    case COMMON(driver_feature_select):
        fake.driver_feature_select = value;
        break;
    case COMMON(driver_feature):
        assert_true(fake.driver_feature_select < 2);
        fake.driver_features |= (uint64_t)value << (32 * fake.driver_feature_select);
        break;
    case COMMON(config_msix_vector):
        fake.config_vector = value < fake.vectors_max ? (uint16_t)value : PLEAT_VIRTIO_VECTOR_NONE;
        break;
    case COMMON(device_status):
        if (value == 0) {
            reset();
            fake.resetting = true;
        } else {
            assert_int_equal(value & fake.status, fake.status);
            fake.status = (uint8_t)value;
            if (fake.refuses_features) {
                fake.status &= (uint8_t)~PLEAT_VIRTIO_STATUS_FEATURES_OK;
            }
        }
        break;
    case COMMON(queue_select):
        fake.queue_select = (uint16_t)value;
        break;
    case COMMON(queue_size):
        queue->size = (uint16_t)value;
        break;
    case COMMON(queue_msix_vector):
        queue->vector = value < fake.vectors_max ? (uint16_t)value : PLEAT_VIRTIO_VECTOR_NONE;
        break;
    case COMMON(queue_enable):
        assert_int_equal(value, 1);
        queue->enable = 1;
        break;
    case COMMON(queue_desc):
    case COMMON(queue_driver):
    case COMMON(queue_device):
        queue->areas[(offset - COMMON(queue_desc)) / 8] = value;
        break;
    case COMMON(queue_desc) + 4:
    case COMMON(queue_driver) + 4:
    case COMMON(queue_device) + 4:
        queue->areas[(offset - COMMON(queue_desc)) / 8] |= (uint64_t)value << 32;
        break;
    default:
        fail_msg("nobody writes %u", offset);
    }
}

static uint32_t read_register(void *context, const volatile void *from, unsigned bytes)
{
    assert_ptr_equal(context, &fake);
    const volatile uint8_t *at = from;
    const uint64_t address = address_of(at);
    uint32_t value = 0;
    if (fake.gone) {
        value = UINT32_MAX >> (32 - 8 * bytes);
    } else if (address == STRUCTURE_ADDRESS + ISR_AT) {
        value = fake.isr;
        fake.isr = 0;
    } else if (address - STRUCTURE_ADDRESS < sizeof(struct pleat_virtio_pci_common)) {
        check_width((unsigned)(address - STRUCTURE_ADDRESS), bytes);
        value = common_read((unsigned)(address - STRUCTURE_ADDRESS));
    } else {
        for (unsigned i = 0; i < bytes; i++) {
            value |= (uint32_t)at[i] << (8 * i);
        }
    }
    note(false, address, bytes, value);
    return value;
}

static void write_register(void *context, volatile void *to, unsigned bytes, uint32_t value)
{
    assert_ptr_equal(context, &fake);
    volatile uint8_t *at = to;
    const uint64_t address = address_of(at);
    note(true, address, bytes, value);
    if (fake.gone) {
        return;
    }
    if (address - STRUCTURE_ADDRESS < sizeof(struct pleat_virtio_pci_common)) {
        check_width((unsigned)(address - STRUCTURE_ADDRESS), bytes);
        common_write((unsigned)(address - STRUCTURE_ADDRESS), value);
        return;
    }
    for (unsigned i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

static const struct pleat_virtio_pci_ops ops = {config_read, config_write, map, read_register,
                                                write_register};
static const struct pleat_virtio_pci_ops plain_ops = {config_read, config_write, map, NULL, NULL};

/* ---- A good device ---- */

static void put16(unsigned offset, uint16_t value)
{
    pleat_write_le16(fake.config + offset, value);
}

static void put32(unsigned offset, uint32_t value)
{
    pleat_write_le32(fake.config + offset, value);
}

static void vendor_capability(unsigned at, unsigned next, unsigned length, unsigned type, uint32_t offset,
                              uint32_t bytes)
{
    fake.config[at] = 9;
    fake.config[at + 1] = (uint8_t)next;
    fake.config[at + 2] = (uint8_t)length;
    fake.config[at + 3] = (uint8_t)type;
    fake.config[at + 4] = 4;
    put32(at + 8, offset);
    put32(at + 12, bytes);
}

static int set_up(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof(fake));
    put16(0x00, 0x1af4);
    put16(0x02, 0x1058);
    put16(COMMAND, MASTER_ON | 1);
    put16(0x06, 0x10);
    fake.config[0x0e] = 0x80;
    put32(0x10, 0xc001);
    put32(0x14, TABLE_ADDRESS);
    put32(0x20, (uint32_t)STRUCTURE_ADDRESS | 0xc);
    put32(0x24, (uint32_t)(STRUCTURE_ADDRESS >> 32));
    fake.bar_bits[0] = 0xffffff80;
    fake.bar_bits[1] = ~(TABLE_BYTES - 1);
    fake.bar_bits[2] = 0xfffff000;
    fake.bar_bits[4] = ~(STRUCTURE_BYTES - 1);
    fake.bar_bits[5] = 0xffffffff;
    fake.config[0x34] = MSIX_CAP;
    fake.config[MSIX_CAP] = 0x11;
    fake.config[MSIX_CAP + 1] = COMMON_CAP;
    put16(MSIX_CAP + 2, 0x8000 | (VECTORS - 1));
    put32(MSIX_CAP + 4, 1 | 0x200);
    put32(MSIX_CAP + 8, 1 | 0x800);
    vendor_capability(COMMON_CAP, NOTIFY_CAP, 16, PLEAT_VIRTIO_PCI_CAP_COMMON, COMMON_AT, 0x1000);
    vendor_capability(NOTIFY_CAP, DEVICE_CAP, 20, PLEAT_VIRTIO_PCI_CAP_NOTIFY, NOTIFY_AT, NOTIFY_BYTES);
    put32(NOTIFY_CAP + 16, 4);
    vendor_capability(DEVICE_CAP, ISR_CAP, 16, PLEAT_VIRTIO_PCI_CAP_DEVICE, DEVICE_AT, DEVICE_BYTES);
    vendor_capability(ISR_CAP, PCI_CAP, 16, PLEAT_VIRTIO_PCI_CAP_ISR, ISR_AT, 1);
    vendor_capability(PCI_CAP, 0, 16, PLEAT_VIRTIO_PCI_CAP_PCI, 0, 0);
    fake.maps_allowed = 8;

    fake.features = UINT64_C(1) << 38 | PLEAT_VIRTIO_F_VERSION_1 | PLEAT_VIRTIO_F_RING_PACKED | 5;
    fake.queues = QUEUES;
    fake.vectors_max = VECTORS;
    fake.status = 7;
    reset();
    return 0;
}

static struct pleat_virtio_transport start(void)
{
    assert_int_equal(pleat_virtio_pci_init(&pci, &ops, &fake), PLEAT_OK);
    fake.log_count = 0;
    return pleat_virtio_pci_transport(&pci);
}

#define CALL(transport, function, ...) ((transport).ops->function((transport).context, __VA_ARGS__))
#define ASK(transport, function)       ((transport).ops->function((transport).context))

/** Brings it to FEATURES_OK. */
static struct pleat_virtio_transport negotiate(uint64_t features)
{
    const struct pleat_virtio_transport transport = start();
    ASK(transport, reset_begin);
    assert_int_equal(ASK(transport, reset_poll), PLEAT_OK);
    uint64_t negotiated;
    assert_int_equal(pleat_virtio_negotiate(&transport, features, 0, &negotiated), PLEAT_OK);
    assert_int_equal(fake.driver_features, negotiated);
    fake.log_count = 0;
    return transport;
}

static uint32_t command(void)
{
    return pleat_read_le16(fake.config + COMMAND);
}

static uint32_t msix_control(void)
{
    return pleat_read_le16(fake.config + MSIX_CAP + 2);
}

static void assert_access(unsigned nth, bool write, uint64_t offset, unsigned bytes, uint32_t value)
{
    assert_true(nth < fake.log_count);
    assert_int_equal(fake.log[nth].write, write);
    assert_int_equal(fake.log[nth].address, STRUCTURE_ADDRESS + offset);
    assert_int_equal(fake.log[nth].bytes, bytes);
    assert_int_equal(fake.log[nth].value, value);
}

/* ---- Finding ---- */

static void a_modern_device_is_found_and_made_quiet(void **state)
{
    (void)state;
    uint8_t bars[24];
    memcpy(bars, fake.config + 0x10, sizeof(bars));
    const struct pleat_virtio_transport transport = start();
    assert_int_equal(ASK(transport, device_id), 24);
    assert_int_equal(pleat_virtio_pci_vectors(&pci), VECTORS);
    assert_memory_equal(bars, fake.config + 0x10, sizeof(bars));
    /* Memory on, bus mastering off, I/O as it was, MSI-X off and each vector masked. */
    assert_int_equal(command(), MEMORY_ON | 1);
    assert_int_equal(msix_control(), VECTORS - 1);
    for (unsigned i = 0; i < VECTORS; i++) {
        assert_int_equal(fake.table[0x200 + 16 * i + 12], 1);
    }
    assert_int_equal(fake.status, 7);
    assert_true(pleat_virtio_pci_is_present(&pci));
}

static void a_transitional_device_has_its_type_in_the_subsystem(void **state)
{
    (void)state;
    put16(0x02, 0x1002);
    put16(0x2e, 5);
    const struct pleat_virtio_transport transport = start();
    assert_int_equal(ASK(transport, device_id), 5);
}

static void a_device_without_vectors_or_config_space_is_served(void **state)
{
    (void)state;
    fake.config[0x34] = COMMON_CAP;
    fake.config[NOTIFY_CAP + 1] = ISR_CAP;
    const struct pleat_virtio_transport transport = start();
    uint8_t byte;
    assert_int_equal(CALL(transport, config_read, 0, &byte, 1), PLEAT_E_INVALID);
    assert_int_equal(pleat_virtio_pci_vectors(&pci), 0);
    assert_int_equal(pleat_virtio_pci_use_vectors(&pci, true), PLEAT_E_UNSUPPORTED);
    assert_int_equal(pleat_virtio_pci_set_vector(&pci, 0, 0xfee00000, 0), PLEAT_E_INVALID);
    assert_int_equal(pleat_virtio_pci_mask_vector(&pci, 0, true), PLEAT_E_INVALID);
}

static void what_cannot_be_used_is_passed_over_for_what_can(void **state)
{
    (void)state;
    /* A reserved BAR, then I/O, then memory without an address, then the good one. */
    static const uint8_t bars[] = {6, 0, 2};
    unsigned next = COMMON_CAP;
    for (unsigned i = 0; i < 3; i++) {
        const unsigned at = 0xb0 + 16 * i;
        vendor_capability(at, next, 16, PLEAT_VIRTIO_PCI_CAP_COMMON, 0, 64);
        fake.config[at + 4] = bars[i];
        next = at;
    }
    fake.config[MSIX_CAP + 1] = (uint8_t)next;
    /* And a second one after it, which isn't looked at. */
    vendor_capability(0xe0, 0, 16, PLEAT_VIRTIO_PCI_CAP_COMMON, 1, 0);
    fake.config[PCI_CAP + 1] = 0xe0;
    start();
    assert_int_equal(fake.mapped[0].address, STRUCTURE_ADDRESS + COMMON_AT);
}

/* What is changed in the good device, byte by byte, and what comes of it. */
struct change {
    const char *what;
    int error;
    struct {
        uint8_t offset, value;
    } bytes[4];
    unsigned bar; /* 1 more than the one whose writable bits change */
    uint32_t bits;
};

static const struct change changes[] = {
    {"another vendor", PLEAT_E_NOT_FOUND, {{0x00, 0xf5}}, 0, 0},
    {"no virtio id", PLEAT_E_NOT_FOUND, {{0x02, 0x80}}, 0, 0},
    {"below all virtio ids", PLEAT_E_NOT_FOUND, {{0x03, 0x0f}}, 0, 0},
    {"a type of 0", PLEAT_E_NOT_FOUND, {{0x02, 0x40}}, 0, 0},
    {"a bridge", PLEAT_E_NOT_FOUND, {{0x0e, 0x01}}, 0, 0},
    {"no capabilities", PLEAT_E_UNSUPPORTED, {{0x06, 0}}, 0, 0},
    {"an empty list", PLEAT_E_UNSUPPORTED, {{0x34, 0}}, 0, 0},
    {"no common structure", PLEAT_E_UNSUPPORTED, {{COMMON_CAP + 3, 9}}, 0, 0},
    {"no notifications", PLEAT_E_UNSUPPORTED, {{NOTIFY_CAP + 3, 9}}, 0, 0},
    {"no ISR", PLEAT_E_UNSUPPORTED, {{ISR_CAP + 3, 9}}, 0, 0},
    {"a reserved BAR", PLEAT_E_UNSUPPORTED, {{COMMON_CAP + 4, 6}}, 0, 0},
    {"I/O space only", PLEAT_E_UNSUPPORTED, {{COMMON_CAP + 4, 0}}, 0, 0},
    {"config space in I/O space only", PLEAT_E_UNSUPPORTED, {{DEVICE_CAP + 4, 0}}, 0, 0},
    {"a BAR without address", PLEAT_E_STATE, {{ISR_CAP + 4, 2}, {ISR_CAP + 9, 0}}, 0, 0},
    {"a BAR that isn't there", PLEAT_E_PROTOCOL, {{ISR_CAP + 4, 3}, {ISR_CAP + 9, 0}}, 0, 0},
    {"the upper half of a BAR", PLEAT_E_PROTOCOL, {{ISR_CAP + 4, 5}, {ISR_CAP + 9, 0}}, 0, 0},
    {"64 bits in the last BAR", PLEAT_E_PROTOCOL, {{0x20, 1}, {0x24, 4}, {ISR_CAP + 4, 5}}, 0, 0},
    {"a BAR of a reserved type", PLEAT_E_PROTOCOL, {{0x14, 2}}, 0, 0},
    {"a BAR that is full of holes", PLEAT_E_PROTOCOL, {{0x14, 0}}, 2, 0xf0fff000},
    {"a BAR with its address inside of its size", PLEAT_E_PROTOCOL, {{0x21, 0x60}}, 5, 0xffff8000},
    {"a BAR of 64 bits with none to set", PLEAT_E_PROTOCOL, {{0x20, 0x0c}}, 5, 0},
    {"a list that loops", PLEAT_E_PROTOCOL, {{PCI_CAP + 1, DEVICE_CAP}}, 0, 0},
    {"a capability that is its own next", PLEAT_E_PROTOCOL, {{PCI_CAP + 1, PCI_CAP}}, 0, 0},
    {"a list that begins in the header", PLEAT_E_PROTOCOL, {{0x34, 0x10}}, 0, 0},
    {"a list that leads into the header", PLEAT_E_PROTOCOL, {{ISR_CAP + 1, 0x3c}}, 0, 0},
    {"a capability that is cut off", PLEAT_E_PROTOCOL, {{PCI_CAP + 1, 0xf4}, {0xf4, 9}, {0xf6, 16}}, 0, 0},
    {"a capability at the end", PLEAT_E_PROTOCOL, {{PCI_CAP + 1, 0xfc}, {0xfc, 9}, {0xfe, 16}}, 0, 0},
    {"MSI-X that is cut off",
     PLEAT_E_PROTOCOL,
     {{PCI_CAP + 1, 0xf8}, {0xf8, 0x11}, {0x34, COMMON_CAP}},
     0,
     0},
    {"a second MSI-X", PLEAT_E_PROTOCOL, {{PCI_CAP + 1, 0xd0}, {0xd0, 0x11}}, 0, 0},
    {"a capability that is too short", PLEAT_E_PROTOCOL, {{COMMON_CAP + 2, 15}}, 0, 0},
    {"no multiplier", PLEAT_E_PROTOCOL, {{NOTIFY_CAP + 2, 16}}, 0, 0},
    {"a multiplier of 1", PLEAT_E_PROTOCOL, {{NOTIFY_CAP + 16, 1}}, 0, 0},
    {"a multiplier of 6", PLEAT_E_PROTOCOL, {{NOTIFY_CAP + 16, 6}}, 0, 0},
    {"a common structure of 55 bytes", PLEAT_E_PROTOCOL, {{COMMON_CAP + 12, 55}, {COMMON_CAP + 13, 0}}, 0, 0},
    {"a common structure at 2", PLEAT_E_PROTOCOL, {{COMMON_CAP + 8, 2}}, 0, 0},
    {"notifications at 1", PLEAT_E_PROTOCOL, {{NOTIFY_CAP + 8, 1}}, 0, 0},
    {"an empty ISR", PLEAT_E_PROTOCOL, {{ISR_CAP + 12, 0}}, 0, 0},
    {"a structure after the end of its BAR", PLEAT_E_PROTOCOL, {{ISR_CAP + 9, 0x40}}, 0, 0},
    {"a structure over the end of its BAR", PLEAT_E_PROTOCOL, {{NOTIFY_CAP + 8, 2}}, 0, 0},
    {"an offset that wraps with its length",
     PLEAT_E_PROTOCOL,
     {{NOTIFY_CAP + 9, 0xf0}, {NOTIFY_CAP + 10, 0xff}, {NOTIFY_CAP + 11, 0xff}},
     0,
     0},
    {"a length of nearly 4 GiB",
     PLEAT_E_PROTOCOL,
     {{DEVICE_CAP + 13, 0xf0}, {DEVICE_CAP + 14, 0xff}, {DEVICE_CAP + 15, 0xff}},
     0,
     0},
    {"a table over the end of its BAR", PLEAT_E_PROTOCOL, {{MSIX_CAP + 5, 0x0f}, {MSIX_CAP + 2, 0x3f}}, 0, 0},
    {"a table in BAR 6", PLEAT_E_PROTOCOL, {{MSIX_CAP + 4, 6}}, 0, 0},
    {"a table in I/O space", PLEAT_E_PROTOCOL, {{MSIX_CAP + 4, 0}, {MSIX_CAP + 5, 0}}, 0, 0},
    {"a table in a BAR without address", PLEAT_E_STATE, {{MSIX_CAP + 4, 2}}, 0, 0},
};

static void what_cannot_be_is_refused_and_nothing_has_changed(void **state)
{
    const struct change *change = *state;
    for (unsigned i = 0; i < 4 && change->bytes[i].offset + change->bytes[i].value; i++) {
        fake.config[change->bytes[i].offset] = change->bytes[i].value;
    }
    if (change->bar > 0) {
        fake.bar_bits[change->bar - 1] = change->bits;
    }
    uint8_t before[256];
    memcpy(before, fake.config, sizeof(before));
    assert_int_equal(pleat_virtio_pci_init(&pci, &ops, &fake), change->error);
    assert_memory_equal(before, fake.config, sizeof(before));
    assert_int_equal(fake.mapped_count, 0);
    assert_int_equal(fake.log_count, 0);
}

static void a_piece_that_cannot_be_mapped_is_no_memory(void **state)
{
    (void)state;
    uint8_t before[256];
    memcpy(before, fake.config, sizeof(before));
    for (unsigned i = 0; i < 5; i++) {
        fake.maps_allowed = i;
        fake.mapped_count = 0;
        assert_int_equal(pleat_virtio_pci_init(&pci, &ops, &fake), PLEAT_E_NO_MEMORY);
        assert_memory_equal(before, fake.config, sizeof(before));
    }
    fake.maps_allowed = 5;
    fake.mapped_count = 0;
    assert_int_equal(pleat_virtio_pci_init(&pci, &ops, &fake), PLEAT_OK);
}

/* ---- Features, status, reset ---- */

static void features_are_read_and_accepted_in_two_halves(void **state)
{
    (void)state;
    const struct pleat_virtio_transport transport = start();
    /* NOTIFICATION_DATA, bit 38, isn't passed on. */
    assert_int_equal(ASK(transport, get_features), PLEAT_VIRTIO_F_VERSION_1 | PLEAT_VIRTIO_F_RING_PACKED | 5);
    fake.status = PLEAT_VIRTIO_STATUS_ACKNOWLEDGE | PLEAT_VIRTIO_STATUS_DRIVER;
    assert_int_equal(CALL(transport, set_features, PLEAT_VIRTIO_F_VERSION_1 | 4), PLEAT_OK);
    assert_int_equal(fake.driver_features, PLEAT_VIRTIO_F_VERSION_1 | 4);
    assert_int_equal(fake.status, 11);
    assert_int_equal(CALL(transport, set_features, PLEAT_VIRTIO_F_VERSION_1), PLEAT_E_STATE);
    fake.status = PLEAT_VIRTIO_STATUS_ACKNOWLEDGE;
    assert_int_equal(CALL(transport, set_features, PLEAT_VIRTIO_F_VERSION_1), PLEAT_E_STATE);
}

static void features_that_the_device_refuses_are_refused(void **state)
{
    (void)state;
    const struct pleat_virtio_transport transport = start();
    fake.status = PLEAT_VIRTIO_STATUS_ACKNOWLEDGE | PLEAT_VIRTIO_STATUS_DRIVER;
    fake.refuses_features = true;
    assert_int_equal(CALL(transport, set_features, 4), PLEAT_E_REFUSED);
}

static void status_bits_are_added(void **state)
{
    (void)state;
    const struct pleat_virtio_transport transport = start();
    fake.status = 0;
    CALL(transport, add_status, 0);
    assert_false(fake.resetting);
    CALL(transport, add_status, PLEAT_VIRTIO_STATUS_ACKNOWLEDGE);
    CALL(transport, add_status, PLEAT_VIRTIO_STATUS_FAILED);
    assert_int_equal(ASK(transport, get_status), 0x81);
}

static void the_device_reaches_memory_only_after_a_complete_reset(void **state)
{
    (void)state;
    const struct pleat_virtio_transport transport = start();
    fake.reset_reads = 2;
    ASK(transport, reset_begin);
    assert_int_equal(ASK(transport, reset_poll), PLEAT_MORE);
    assert_int_equal(ASK(transport, reset_poll), PLEAT_MORE);
    assert_int_equal(command() & MASTER_ON, 0);
    assert_int_equal(ASK(transport, reset_poll), PLEAT_OK);
    assert_int_equal(command(), MASTER_ON | MEMORY_ON | 1);
    assert_int_equal(ASK(transport, get_status), 0);
}

/* ---- Config space ---- */

static void config_fields_are_accessed_by_their_width(void **state)
{
    (void)state;
    const struct pleat_virtio_transport transport = start();
    for (unsigned i = 0; i < DEVICE_BYTES; i++) {
        fake.structures[DEVICE_AT + i] = (uint8_t)(i + 1);
    }
    uint8_t bytes[8];
    for (unsigned length = 1; length <= 4; length *= 2) {
        fake.log_count = 0;
        memset(bytes, 0, sizeof(bytes));
        assert_int_equal(CALL(transport, config_read, 12, bytes, length), PLEAT_OK);
        assert_memory_equal(bytes, fake.structures + DEVICE_AT + 12, length);
        assert_int_equal(fake.log_count, 1);
        assert_int_equal(fake.log[0].bytes, length);
    }
    fake.log_count = 0;
    assert_int_equal(CALL(transport, config_read, DEVICE_BYTES - 8, bytes, 8), PLEAT_OK);
    assert_memory_equal(bytes, fake.structures + DEVICE_AT + DEVICE_BYTES - 8, 8);
    assert_int_equal(fake.log_count, 2);
    assert_int_equal(fake.log[0].bytes, 4);
    assert_int_equal(fake.log[1].bytes, 4);

    static const uint8_t new_bytes[8] = {0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8};
    for (unsigned length = 1; length <= 8; length *= 2) {
        memset(fake.structures + DEVICE_AT, 0, DEVICE_BYTES);
        fake.log_count = 0;
        assert_int_equal(CALL(transport, config_write, 4, new_bytes, length), PLEAT_OK);
        assert_memory_equal(fake.structures + DEVICE_AT + 4, new_bytes, length);
        assert_int_equal(fake.structures[DEVICE_AT + 4 + length], 0);
        assert_int_equal(fake.log_count, length == 8 ? 2 : 1);
    }
    fake.generation = 9;
    assert_int_equal(ASK(transport, config_generation), 9);
}

static void no_access_goes_beyond_the_config_space(void **state)
{
    (void)state;
    static const struct {
        uint32_t offset, length;
    } wrong[] = {{0, 0},
                 {0, 3},
                 {0, 16},
                 {1, 2},
                 {2, 4},
                 {2, 8},
                 {DEVICE_BYTES, 1},
                 {DEVICE_BYTES - 4, 8},
                 {UINT32_MAX, 1},
                 {UINT32_MAX - 3, 4},
                 {UINT32_MAX - 7, 8},
                 {0, UINT32_MAX}};
    const struct pleat_virtio_transport transport = start();
    uint8_t bytes[16] = {0};
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(CALL(transport, config_read, wrong[i].offset, bytes, wrong[i].length),
                         PLEAT_E_INVALID);
        assert_int_equal(CALL(transport, config_write, wrong[i].offset, bytes, wrong[i].length),
                         PLEAT_E_INVALID);
    }
    assert_int_equal(fake.log_count, 0);
}

/* ---- Queues ---- */

static const struct pleat_virtio_queue_addresses areas = {
    UINT64_C(0x123456789abcde0), UINT64_C(0xfedcba9876543210), UINT64_C(0x1111111122222224)};

static void a_queue_is_set_up_enabled_and_notified(void **state)
{
    (void)state;
    const struct pleat_virtio_transport transport = negotiate(PLEAT_VIRTIO_F_VERSION_1);
    assert_int_equal(CALL(transport, queue_size_max, 0), 64);
    assert_int_equal(CALL(transport, queue_size_max, 2), 256);
    assert_int_equal(CALL(transport, queue_size_max, 3), 0);
    assert_int_equal(CALL(transport, queue_enable, 2), PLEAT_E_STATE);
    assert_int_equal(CALL(transport, queue_setup, 2, 128, &areas), PLEAT_OK);
    assert_int_equal(fake.queue[2].size, 128);
    assert_int_equal(fake.queue[2].areas[0], areas.descriptor_physical);
    assert_int_equal(fake.queue[2].areas[1], areas.driver_physical);
    assert_int_equal(fake.queue[2].areas[2], areas.device_physical);
    assert_int_equal(fake.queue[2].enable, 0);
    fake.queue_select = 0;
    assert_int_equal(CALL(transport, queue_enable, 2), PLEAT_OK);
    assert_int_equal(fake.queue[2].enable, 1);
    assert_int_equal(CALL(transport, queue_enable, 2), PLEAT_E_STATE);
    assert_int_equal(CALL(transport, queue_setup, 2, 128, &areas), PLEAT_E_STATE);
    fake.log_count = 0;
    CALL(transport, notify, 2);
    assert_int_equal(fake.log_count, 1);
    assert_access(0, true, NOTIFY_AT + 16, 2, 2);
    /* Queues that aren't set up, and those that can't be. */
    CALL(transport, notify, 0);
    CALL(transport, notify, QUEUES);
    CALL(transport, notify, UINT16_MAX);
    assert_int_equal(fake.log_count, 1);
    /* A reset ends it. */
    ASK(transport, reset_begin);
    fake.log_count = 0;
    CALL(transport, notify, 2);
    assert_int_equal(fake.log_count, 0);
}

static void a_multiplier_of_0_is_one_place_for_all_queues(void **state)
{
    (void)state;
    put32(NOTIFY_CAP + 16, 0);
    put32(NOTIFY_CAP + 12, 2);
    const struct pleat_virtio_transport transport = negotiate(PLEAT_VIRTIO_F_VERSION_1);
    assert_int_equal(CALL(transport, queue_setup, 1, 8, &areas), PLEAT_OK);
    fake.log_count = 0;
    CALL(transport, notify, 1);
    assert_access(0, true, NOTIFY_AT, 2, 1);
}

static void a_notification_outside_of_its_structure_is_refused(void **state)
{
    (void)state;
    const struct pleat_virtio_transport transport = negotiate(PLEAT_VIRTIO_F_VERSION_1);
    fake.queue[0].notify_off = NOTIFY_BYTES / 4;
    assert_int_equal(CALL(transport, queue_setup, 0, 8, &areas), PLEAT_E_PROTOCOL);
    assert_int_equal(CALL(transport, queue_enable, 0), PLEAT_E_STATE);
    fake.queue[0].notify_off = UINT16_MAX;
    assert_int_equal(CALL(transport, queue_setup, 0, 8, &areas), PLEAT_E_PROTOCOL);
    fake.queue[0].notify_off = NOTIFY_BYTES / 4 - 1;
    assert_int_equal(CALL(transport, queue_setup, 0, 8, &areas), PLEAT_OK);
}

static void a_queue_that_cannot_be_is_refused(void **state)
{
    (void)state;
    const struct pleat_virtio_transport transport = negotiate(PLEAT_VIRTIO_F_VERSION_1);
    assert_int_equal(CALL(transport, queue_setup, QUEUES, 8, &areas), PLEAT_E_INVALID);
    assert_int_equal(CALL(transport, queue_setup, 0, 0, &areas), PLEAT_E_INVALID);
    assert_int_equal(CALL(transport, queue_setup, 0, 12, &areas), PLEAT_E_INVALID);
    assert_int_equal(CALL(transport, queue_setup, 0, 128, &areas), PLEAT_E_INVALID);
    struct pleat_virtio_queue_addresses wrong = areas;
    wrong.descriptor_physical += 8;
    assert_int_equal(CALL(transport, queue_setup, 0, 8, &wrong), PLEAT_E_INVALID);
    wrong = areas;
    wrong.driver_physical += 1;
    assert_int_equal(CALL(transport, queue_setup, 0, 8, &wrong), PLEAT_E_INVALID);
    wrong = areas;
    wrong.device_physical += 2;
    assert_int_equal(CALL(transport, queue_setup, 0, 8, &wrong), PLEAT_E_INVALID);
    for (unsigned i = 0; i < fake.log_count; i++) {
        assert_true(!fake.log[i].write || fake.log[i].address == STRUCTURE_ADDRESS + COMMON(queue_select));
    }
    fake.queue[0].size = PLEAT_VIRTQ_SIZE_MAX + 1;
    assert_int_equal(CALL(transport, queue_size_max, 0), 0);
    /* More queues than this transport has places for. */
    fake.queues = UINT16_MAX;
    fake.queue_select = 0;
    assert_int_equal(CALL(transport, queue_size_max, PLEAT_VIRTIO_PCI_QUEUES), 0);
    ASK(transport, reset_begin);
    ASK(transport, reset_poll);
    assert_int_equal(CALL(transport, queue_setup, 0, 8, &areas), PLEAT_E_STATE);
}

static void a_packed_ring_has_other_sizes_and_alignments(void **state)
{
    (void)state;
    const struct pleat_virtio_transport transport =
        negotiate(PLEAT_VIRTIO_F_VERSION_1 | PLEAT_VIRTIO_F_RING_PACKED);
    struct pleat_virtio_queue_addresses wrong = areas;
    wrong.driver_physical += 2;
    assert_int_equal(CALL(transport, queue_setup, 0, 12, &wrong), PLEAT_E_INVALID);
    assert_int_equal(CALL(transport, queue_setup, 0, 12, &areas), PLEAT_OK);
}

/* ---- Interrupts ---- */

static void vectors_are_set_masked_and_used(void **state)
{
    (void)state;
    struct pleat_virtio_transport transport = start();
    assert_null(transport.ops->set_vector);
    assert_non_null(transport.ops->interrupt_acknowledge);
    assert_int_equal(pleat_virtio_pci_set_vector(&pci, VECTORS, 0, 0), PLEAT_E_INVALID);
    assert_int_equal(pleat_virtio_pci_set_vector(&pci, 0, 2, 0), PLEAT_E_INVALID);
    assert_int_equal(pleat_virtio_pci_mask_vector(&pci, VECTORS, false), PLEAT_E_INVALID);
    assert_int_equal(fake.log_count, 0);
    assert_int_equal(pleat_virtio_pci_set_vector(&pci, 3, UINT64_C(0x1fee01004), 0x4031), PLEAT_OK);
    const uint8_t *entry = fake.table + 0x200 + 3 * 16;
    assert_int_equal(pleat_read_le64(entry), UINT64_C(0x1fee01004));
    assert_int_equal(pleat_read_le32(entry + 8), 0x4031);
    assert_int_equal(pleat_read_le32(entry + 12), 1);
    assert_int_equal(pleat_virtio_pci_mask_vector(&pci, 3, false), PLEAT_OK);
    assert_int_equal(pleat_read_le32(entry + 12), 0);
    assert_int_equal(pleat_virtio_pci_mask_vector(&pci, 3, true), PLEAT_OK);
    assert_int_equal(pleat_read_le32(entry + 12), 1);

    assert_int_equal(pleat_virtio_pci_use_vectors(&pci, true), PLEAT_OK);
    assert_int_equal(msix_control(), 0x8000 | (VECTORS - 1));
    assert_int_equal(command() & NO_PIN, NO_PIN);
    transport = pleat_virtio_pci_transport(&pci);
    assert_non_null(transport.ops->set_vector);
    assert_null(transport.ops->interrupt_acknowledge);
    assert_int_equal(CALL(transport, set_vector, PLEAT_VIRTIO_VECTOR_OF_CONFIG, 0), PLEAT_OK);
    assert_int_equal(fake.config_vector, 0);
    assert_int_equal(CALL(transport, set_vector, 1, 3), PLEAT_OK);
    assert_int_equal(fake.queue[1].vector, 3);
    assert_int_equal(CALL(transport, set_vector, 1, PLEAT_VIRTIO_VECTOR_NONE), PLEAT_OK);
    assert_int_equal(fake.queue[1].vector, PLEAT_VIRTIO_VECTOR_NONE);
    assert_int_equal(CALL(transport, set_vector, 1, VECTORS), PLEAT_E_INVALID);
    assert_int_equal(CALL(transport, set_vector, QUEUES, 0), PLEAT_E_INVALID);

    assert_int_equal(pleat_virtio_pci_use_vectors(&pci, false), PLEAT_OK);
    assert_int_equal(msix_control(), VECTORS - 1);
    assert_int_equal(command() & NO_PIN, 0);
}

static void a_vector_that_the_device_cannot_route_is_no_memory(void **state)
{
    (void)state;
    start();
    pleat_virtio_pci_use_vectors(&pci, true);
    const struct pleat_virtio_transport transport = pleat_virtio_pci_transport(&pci);
    fake.vectors_max = 1;
    assert_int_equal(CALL(transport, set_vector, 0, 1), PLEAT_E_NO_MEMORY);
    assert_int_equal(CALL(transport, set_vector, PLEAT_VIRTIO_VECTOR_OF_CONFIG, 1), PLEAT_E_NO_MEMORY);
    assert_int_equal(CALL(transport, set_vector, 0, 0), PLEAT_OK);
}

static void the_cause_of_a_pin_interrupt_is_read_once(void **state)
{
    (void)state;
    const struct pleat_virtio_transport transport = start();
    fake.isr = 0xff;
    assert_int_equal(ASK(transport, interrupt_acknowledge),
                     PLEAT_VIRTIO_INTERRUPT_QUEUE | PLEAT_VIRTIO_INTERRUPT_CONFIG);
    assert_int_equal(ASK(transport, interrupt_acknowledge), 0);
    assert_int_equal(fake.log_count, 2);
    assert_access(0, false, ISR_AT, 1, 0xff);
}

/* ---- The end ---- */

static void a_device_that_has_gone_is_no_device(void **state)
{
    (void)state;
    const struct pleat_virtio_transport transport = start();
    fake.status = PLEAT_VIRTIO_STATUS_DRIVER;
    fake.gone = true;
    assert_false(pleat_virtio_pci_is_present(&pci));
    ASK(transport, reset_begin);
    assert_int_equal(ASK(transport, reset_poll), PLEAT_MORE);
    assert_int_equal(CALL(transport, queue_size_max, 0), 0);
    assert_int_equal(CALL(transport, set_features, 4), PLEAT_E_STATE);
    assert_int_equal(CALL(transport, queue_setup, 0, 8, &areas), PLEAT_E_INVALID);
    assert_int_equal(pleat_virtio_pci_init(&pci, &ops, &fake), PLEAT_E_NOT_FOUND);
}

static void a_stopped_device_neither_interrupts_nor_reaches_memory(void **state)
{
    (void)state;
    const struct pleat_virtio_transport transport = start();
    pleat_virtio_pci_use_vectors(&pci, true);
    ASK(transport, reset_begin);
    assert_int_equal(ASK(transport, reset_poll), PLEAT_OK);
    pleat_virtio_pci_stop(&pci);
    assert_int_equal(command() & (MASTER_ON | NO_PIN), NO_PIN);
    assert_int_equal(msix_control(), VECTORS - 1);
    /* And comes back. */
    assert_int_equal(ASK(transport, reset_poll), PLEAT_OK);
    assert_int_equal(command() & MASTER_ON, MASTER_ON);
}

static void plain_loads_and_stores_reach_the_same_places(void **state)
{
    (void)state;
    assert_int_equal(pleat_virtio_pci_init(&pci, &plain_ops, &fake), PLEAT_OK);
    const struct pleat_virtio_transport transport = pleat_virtio_pci_transport(&pci);
    uint8_t *common = fake.structures + COMMON_AT;
    common[COMMON(device_status)] = PLEAT_VIRTIO_STATUS_DRIVER;
    common[COMMON(config_generation)] = 77;
    fake.structures[ISR_AT] = 2;
    pleat_write_le16(common + COMMON(num_queues), 1);
    pleat_write_le16(common + COMMON(queue_size), 256);
    pleat_write_le16(common + COMMON(queue_notify_off), 3);
    assert_int_equal(ASK(transport, config_generation), 77);
    assert_int_equal(ASK(transport, interrupt_acknowledge), PLEAT_VIRTIO_INTERRUPT_CONFIG);
    assert_int_equal(CALL(transport, set_features, UINT64_C(0x1200000034)), PLEAT_OK);
    assert_int_equal(pleat_read_le32(common + COMMON(driver_feature)), 0x12);
    assert_int_equal(common[COMMON(device_status)], 10);
    assert_int_equal(CALL(transport, queue_setup, 0, 64, &areas), PLEAT_OK);
    assert_int_equal(pleat_read_le16(common + COMMON(queue_size)), 64);
    assert_int_equal(pleat_read_le64(common + COMMON(queue_desc)), areas.descriptor_physical);
    assert_int_equal(pleat_read_le64(common + COMMON(queue_device)), areas.device_physical);
    memset(fake.structures + NOTIFY_AT, 0xff, NOTIFY_BYTES);
    CALL(transport, notify, 0);
    assert_int_equal(pleat_read_le32(fake.structures + NOTIFY_AT + 12), 0xffff0000);
    uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    assert_int_equal(CALL(transport, config_write, 8, bytes, 8), PLEAT_OK);
    assert_memory_equal(fake.structures + DEVICE_AT + 8, bytes, 8);
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(CALL(transport, config_read, 10, bytes, 2), PLEAT_OK);
    assert_int_equal(pleat_read_le16(bytes), 0x0403);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, set_up)
    const struct CMUnitTest plain[] = {
        TEST(a_modern_device_is_found_and_made_quiet),
        TEST(a_transitional_device_has_its_type_in_the_subsystem),
        TEST(a_device_without_vectors_or_config_space_is_served),
        TEST(what_cannot_be_used_is_passed_over_for_what_can),
        TEST(a_piece_that_cannot_be_mapped_is_no_memory),
        TEST(features_are_read_and_accepted_in_two_halves),
        TEST(features_that_the_device_refuses_are_refused),
        TEST(status_bits_are_added),
        TEST(the_device_reaches_memory_only_after_a_complete_reset),
        TEST(config_fields_are_accessed_by_their_width),
        TEST(no_access_goes_beyond_the_config_space),
        TEST(a_queue_is_set_up_enabled_and_notified),
        TEST(a_multiplier_of_0_is_one_place_for_all_queues),
        TEST(a_notification_outside_of_its_structure_is_refused),
        TEST(a_queue_that_cannot_be_is_refused),
        TEST(a_packed_ring_has_other_sizes_and_alignments),
        TEST(vectors_are_set_masked_and_used),
        TEST(a_vector_that_the_device_cannot_route_is_no_memory),
        TEST(the_cause_of_a_pin_interrupt_is_read_once),
        TEST(a_device_that_has_gone_is_no_device),
        TEST(a_stopped_device_neither_interrupts_nor_reaches_memory),
        TEST(plain_loads_and_stores_reach_the_same_places),
    };
    enum { PLAIN = sizeof(plain) / sizeof(plain[0]), CHANGES = sizeof(changes) / sizeof(changes[0]) };
    struct CMUnitTest tests[PLAIN + CHANGES];
    memcpy(tests, plain, sizeof(plain));
    for (unsigned i = 0; i < CHANGES; i++) {
        tests[PLAIN + i] =
            (struct CMUnitTest){changes[i].what, what_cannot_be_is_refused_and_nothing_has_changed, set_up,
                                NULL, (void *)(uintptr_t)&changes[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
