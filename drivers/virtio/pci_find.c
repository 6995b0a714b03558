/* SPDX-License-Identifier: MIT
 *
 * virtio over PCI: from configuration space to registers. BARs are sized, capabilities are walked, and only
 * when all of it makes sense is anything mapped or changed. MSI-X is here too, since it is PCI's and not
 * virtio's.
 */
#include "pci_internal.h"

#include <stddef.h>

#include <pleat/wire/virtio_pci.h>

/* Where a structure may lie, or why it can't. */
enum bar_kind {
    BAR_NONE,       /**< not implemented */
    BAR_IO,         /**< I/O space, which this transport doesn't use */
    BAR_MEMORY,     /**< assigned */
    BAR_UNASSIGNED, /**< memory that nobody has given an address */
    BAR_BROKEN      /**< says what can't be, or is the upper half of another */
};

struct bar {
    enum bar_kind kind;
    uint64_t address;
    uint64_t bytes;
};

/** Bytes of a memory BAR from `offset` on; bytes 0: not found. */
struct piece {
    unsigned bar;
    uint64_t offset;
    uint64_t bytes;
};

struct found {
    struct bar bars[PLEAT_PCI_BARS];
    struct piece common, notification, isr, device, table;
    uint32_t multiplier;
    unsigned msix_offset; /**< 0: no such capability */
    unsigned vectors;
    /** PLEAT_OK, or why a structure that is needed was passed over. */
    int passed_over;
};

static uint32_t config_read(const struct pleat_virtio_pci *pci, unsigned offset, unsigned bytes)
{
    return pci->ops->config_read(pci->context, offset, bytes);
}

static void config_write(const struct pleat_virtio_pci *pci, unsigned offset, unsigned bytes, uint32_t value)
{
    pci->ops->config_write(pci->context, offset, bytes, value);
}

void pleat_virtio_pci_change_command(const struct pleat_virtio_pci *pci, uint32_t clear, uint32_t set)
{
    const uint32_t command = config_read(pci, PLEAT_PCI_COMMAND, 2);
    config_write(pci, PLEAT_PCI_COMMAND, 2, (command & ~clear) | set);
}

/* ---- BARs ---- */

/** Reads which address bits of a BAR's half can be set, and leaves it as it was. */
static uint32_t writable_bits(const struct pleat_virtio_pci *pci, unsigned offset, uint32_t value)
{
    config_write(pci, offset, 4, UINT32_MAX);
    const uint32_t bits = config_read(pci, offset, 4);
    config_write(pci, offset, 4, value);
    return bits;
}

static struct bar memory_bar(uint64_t address, uint64_t mask, bool wide)
{
    struct bar bar = {.kind = BAR_BROKEN, .address = address};
    /* The lowest bit that can be set is the size; all above can be set too. */
    bar.bytes = mask & (~mask + 1);
    const uint64_t last = wide ? UINT64_MAX : UINT32_MAX;
    if ((mask | (bar.bytes - 1)) != last || address > last - (bar.bytes - 1)) {
        return bar;
    }
    if (address == 0) {
        bar.kind = BAR_UNASSIGNED;
    } else if ((address & (bar.bytes - 1)) == 0) {
        bar.kind = BAR_MEMORY;
    }
    return bar;
}

static void size_bars(const struct pleat_virtio_pci *pci, struct bar *bars)
{
    const uint32_t command = config_read(pci, PLEAT_PCI_COMMAND, 2);
    config_write(pci, PLEAT_PCI_COMMAND, 2, command & ~(PLEAT_PCI_COMMAND_IO | PLEAT_PCI_COMMAND_MEMORY));
    for (unsigned i = 0; i < PLEAT_PCI_BARS; i++) {
        const unsigned offset = PLEAT_PCI_BAR + 4 * i;
        const uint32_t value = config_read(pci, offset, 4);
        const uint32_t bits = writable_bits(pci, offset, value);
        const unsigned type = value >> 1 & 3;
        if (value & 1) {
            bars[i].kind = BAR_IO;
        } else if (type == 2) {
            bars[i].kind = BAR_BROKEN;
            if (i + 1 < PLEAT_PCI_BARS) {
                const uint32_t upper = config_read(pci, offset + 4, 4);
                const uint32_t upper_bits = writable_bits(pci, offset + 4, upper);
                bars[i] = memory_bar((uint64_t)upper << 32 | (value & ~0xfu),
                                     (uint64_t)upper_bits << 32 | (bits & ~0xfu), true);
                i++;
                bars[i].kind = BAR_BROKEN;
            }
        } else if (type != 0) {
            bars[i].kind = BAR_BROKEN;
        } else if ((bits & ~0xfu) == 0) {
            bars[i].kind = BAR_NONE;
        } else {
            bars[i] = memory_bar(value & ~0xfu, bits & ~0xfu, false);
        }
    }
    config_write(pci, PLEAT_PCI_COMMAND, 2, command);
}

/** Is the piece one that can be mapped? OK; UNSUPPORTED, STATE: no, and nobody lied; PROTOCOL. */
static int check_piece(const struct found *found, const struct piece *piece)
{
    const struct bar *bar = &found->bars[piece->bar];
    switch (bar->kind) {
    case BAR_IO:
        return PLEAT_E_UNSUPPORTED;
    case BAR_UNASSIGNED:
    case BAR_MEMORY:
        /* Offset and length have 32 bits: their sum doesn't wrap here. */
        if (piece->offset + piece->bytes > bar->bytes) {
            return PLEAT_E_PROTOCOL;
        }
        return bar->kind == BAR_MEMORY ? PLEAT_OK : PLEAT_E_STATE;
    default:
        return PLEAT_E_PROTOCOL;
    }
}

/* ---- Capabilities ---- */

static int take_vendor_capability(const struct pleat_virtio_pci *pci, unsigned at, struct found *found)
{
    const unsigned length = config_read(pci, at + offsetof(struct pleat_virtio_pci_capability, length), 1);
    if (length < sizeof(struct pleat_virtio_pci_capability) || at + length > PLEAT_PCI_CONFIG_BYTES) {
        return PLEAT_E_PROTOCOL;
    }
    const unsigned type = config_read(pci, at + offsetof(struct pleat_virtio_pci_capability, type), 1);
    const struct piece piece = {
        .bar = config_read(pci, at + offsetof(struct pleat_virtio_pci_capability, bar), 1),
        .offset = config_read(pci, at + offsetof(struct pleat_virtio_pci_capability, offset), 4),
        .bytes = config_read(pci, at + offsetof(struct pleat_virtio_pci_capability, structure_length), 4),
    };
    struct piece *to;
    unsigned alignment = 4;
    uint64_t bytes_min = 1;
    switch (type) {
    case PLEAT_VIRTIO_PCI_CAP_COMMON:
        to = &found->common;
        bytes_min = sizeof(struct pleat_virtio_pci_common);
        break;
    case PLEAT_VIRTIO_PCI_CAP_NOTIFY:
        to = &found->notification;
        alignment = 2;
        bytes_min = 2;
        break;
    case PLEAT_VIRTIO_PCI_CAP_ISR:
        to = &found->isr;
        alignment = 1;
        break;
    case PLEAT_VIRTIO_PCI_CAP_DEVICE:
        to = &found->device;
        break;
    default:
        /* Types that aren't known here are none of its business (4.1.4.1). */
        return PLEAT_OK;
    }
    /* The first one that can be used counts, and reserved BARs are ignored (4.1.4.1). */
    if (to->bytes != 0 || piece.bar >= PLEAT_PCI_BARS) {
        return PLEAT_OK;
    }
    if (piece.bytes < bytes_min || piece.offset % alignment != 0) {
        return PLEAT_E_PROTOCOL;
    }
    const int error = check_piece(found, &piece);
    if (error == PLEAT_E_PROTOCOL) {
        return error;
    }
    if (error) {
        found->passed_over = error;
        return PLEAT_OK;
    }
    if (type == PLEAT_VIRTIO_PCI_CAP_NOTIFY) {
        if (length < PLEAT_VIRTIO_PCI_NOTIFY_CAPABILITY_BYTES) {
            return PLEAT_E_PROTOCOL;
        }
        const uint32_t multiplier = config_read(pci, at + PLEAT_VIRTIO_PCI_NOTIFY_MULTIPLIER_OFFSET, 4);
        if (multiplier == 1 || (multiplier & (multiplier - 1)) != 0) {
            return PLEAT_E_PROTOCOL;
        }
        found->multiplier = multiplier;
    }
    *to = piece;
    return PLEAT_OK;
}

static int take_msix_capability(const struct pleat_virtio_pci *pci, unsigned at, struct found *found)
{
    if (found->msix_offset != 0 || at + PLEAT_PCI_MSIX_CAPABILITY_BYTES > PLEAT_PCI_CONFIG_BYTES) {
        return PLEAT_E_PROTOCOL;
    }
    const unsigned vectors =
        (config_read(pci, at + PLEAT_PCI_MSIX_CONTROL, 2) & PLEAT_PCI_MSIX_CONTROL_SIZE) + 1;
    const uint32_t table = config_read(pci, at + PLEAT_PCI_MSIX_TABLE, 4);
    const struct piece piece = {
        .bar = table & 7,
        .offset = table & ~7u,
        .bytes = (uint64_t)vectors * PLEAT_PCI_MSIX_ENTRY_BYTES,
    };
    if (piece.bar >= PLEAT_PCI_BARS) {
        return PLEAT_E_PROTOCOL;
    }
    const int error = check_piece(found, &piece);
    if (error) {
        return error == PLEAT_E_STATE ? error : PLEAT_E_PROTOCOL;
    }
    found->msix_offset = at;
    found->vectors = vectors;
    found->table = piece;
    return PLEAT_OK;
}

static int walk_capabilities(const struct pleat_virtio_pci *pci, struct found *found)
{
    if (!(config_read(pci, PLEAT_PCI_STATUS, 2) & PLEAT_PCI_STATUS_CAPABILITIES)) {
        return PLEAT_E_UNSUPPORTED;
    }
    /* No list without a loop is longer. */
    unsigned left = (PLEAT_PCI_CONFIG_BYTES - PLEAT_PCI_CAPABILITIES_BEGIN) / 4;
    unsigned at = config_read(pci, PLEAT_PCI_CAPABILITIES, 1) & ~3u;
    while (at != 0) {
        if (at < PLEAT_PCI_CAPABILITIES_BEGIN || at >= PLEAT_PCI_CONFIG_BYTES || left-- == 0) {
            return PLEAT_E_PROTOCOL;
        }
        const unsigned id = config_read(pci, at, 1);
        const int error = id == PLEAT_PCI_CAPABILITY_VENDOR ? take_vendor_capability(pci, at, found)
                          : id == PLEAT_PCI_CAPABILITY_MSIX ? take_msix_capability(pci, at, found)
                                                            : PLEAT_OK;
        if (error) {
            return error;
        }
        at = config_read(pci, at + 1, 1) & ~3u;
    }
    if (found->common.bytes == 0 || found->notification.bytes == 0 || found->isr.bytes == 0 ||
        (found->device.bytes == 0 && found->passed_over)) {
        return found->passed_over ? found->passed_over : PLEAT_E_UNSUPPORTED;
    }
    return PLEAT_OK;
}

static int map_piece(const struct pleat_virtio_pci *pci, const struct found *found, const struct piece *piece,
                     volatile uint8_t **to)
{
    *to = NULL;
    if (piece->bytes == 0) {
        return PLEAT_OK;
    }
    *to = pci->ops->map(pci->context, piece->bar, found->bars[piece->bar].address + piece->offset,
                        piece->bytes);
    return *to ? PLEAT_OK : PLEAT_E_NO_MEMORY;
}

/** The type of the device, 0: it isn't a virtio device. */
static uint32_t device_type(const struct pleat_virtio_pci *pci)
{
    const uint32_t ids = config_read(pci, PLEAT_PCI_VENDOR, 4);
    if ((ids & 0xffff) != PLEAT_VIRTIO_PCI_VENDOR ||
        (config_read(pci, PLEAT_PCI_HEADER_TYPE, 1) & 0x7f) != 0) {
        return 0;
    }
    const uint32_t id = ids >> 16;
    if (id >= PLEAT_VIRTIO_PCI_MODERN && id < PLEAT_VIRTIO_PCI_MODERN + PLEAT_VIRTIO_PCI_IDS) {
        return id - PLEAT_VIRTIO_PCI_MODERN;
    }
    if (id >= PLEAT_VIRTIO_PCI_TRANSITIONAL && id < PLEAT_VIRTIO_PCI_TRANSITIONAL + PLEAT_VIRTIO_PCI_IDS) {
        return config_read(pci, PLEAT_PCI_SUBSYSTEM, 2);
    }
    return 0;
}

int pleat_virtio_pci_init(struct pleat_virtio_pci *pci, const struct pleat_virtio_pci_ops *ops, void *context)
{
    *pci = (struct pleat_virtio_pci){.ops = ops, .context = context};
    pleat_virtio_pci_forget_queues(pci);
    pci->device_type = device_type(pci);
    if (pci->device_type == 0) {
        return PLEAT_E_NOT_FOUND;
    }
    struct found found = {.passed_over = PLEAT_OK};
    size_bars(pci, found.bars);
    int error = walk_capabilities(pci, &found);
    error = error ? error : map_piece(pci, &found, &found.common, &pci->common);
    error = error ? error : map_piece(pci, &found, &found.notification, &pci->notification);
    error = error ? error : map_piece(pci, &found, &found.isr, &pci->isr);
    error = error ? error : map_piece(pci, &found, &found.device, &pci->device);
    error = error ? error : map_piece(pci, &found, &found.table, &pci->table);
    if (error) {
        return error;
    }
    pci->notification_bytes = found.notification.bytes;
    pci->device_bytes = (uint32_t)found.device.bytes;
    pci->multiplier = found.multiplier;
    pci->msix_offset = (uint16_t)found.msix_offset;
    pci->vectors = (uint16_t)found.vectors;

    pleat_virtio_pci_change_command(pci, PLEAT_PCI_COMMAND_MASTER | PLEAT_PCI_COMMAND_NO_PIN,
                                    PLEAT_PCI_COMMAND_MEMORY);
    if (pci->vectors > 0) {
        pleat_virtio_pci_use_vectors(pci, false);
        for (unsigned i = 0; i < pci->vectors; i++) {
            pleat_virtio_pci_mask_vector(pci, i, true);
        }
    }
    return PLEAT_OK;
}

/* ---- MSI-X ---- */

unsigned pleat_virtio_pci_vectors(const struct pleat_virtio_pci *pci)
{
    return pci->vectors;
}

int pleat_virtio_pci_mask_vector(struct pleat_virtio_pci *pci, unsigned vector, bool masked)
{
    if (vector >= pci->vectors) {
        return PLEAT_E_INVALID;
    }
    volatile uint8_t *control =
        pci->table + (size_t)vector * PLEAT_PCI_MSIX_ENTRY_BYTES + PLEAT_PCI_MSIX_ENTRY_CONTROL;
    const uint32_t rest = pleat_virtio_pci_read(pci, control, 4) & ~PLEAT_PCI_MSIX_ENTRY_MASKED;
    pleat_virtio_pci_write(pci, control, 4, masked ? rest | PLEAT_PCI_MSIX_ENTRY_MASKED : rest);
    /* A read comes back after the write has arrived. */
    pleat_virtio_pci_read(pci, control, 4);
    return PLEAT_OK;
}

int pleat_virtio_pci_set_vector(struct pleat_virtio_pci *pci, unsigned vector, uint64_t address,
                                uint32_t data)
{
    if (address % 4 != 0 || vector >= pci->vectors) {
        return PLEAT_E_INVALID;
    }
    pleat_virtio_pci_mask_vector(pci, vector, true);
    volatile uint8_t *entry = pci->table + (size_t)vector * PLEAT_PCI_MSIX_ENTRY_BYTES;
    pleat_virtio_pci_write(pci, entry, 4, (uint32_t)address);
    pleat_virtio_pci_write(pci, entry + 4, 4, (uint32_t)(address >> 32));
    pleat_virtio_pci_write(pci, entry + PLEAT_PCI_MSIX_ENTRY_DATA, 4, data);
    return PLEAT_OK;
}

int pleat_virtio_pci_use_vectors(struct pleat_virtio_pci *pci, bool use)
{
    if (pci->vectors == 0) {
        return PLEAT_E_UNSUPPORTED;
    }
    const unsigned at = pci->msix_offset + PLEAT_PCI_MSIX_CONTROL;
    const uint32_t rest = config_read(pci, at, 2) &
                          ~(uint32_t)(PLEAT_PCI_MSIX_CONTROL_ENABLE | PLEAT_PCI_MSIX_CONTROL_MASK_ALL);
    if (use) {
        pleat_virtio_pci_change_command(pci, 0, PLEAT_PCI_COMMAND_NO_PIN);
        config_write(pci, at, 2, rest | PLEAT_PCI_MSIX_CONTROL_ENABLE);
    } else {
        config_write(pci, at, 2, rest);
        pleat_virtio_pci_change_command(pci, PLEAT_PCI_COMMAND_NO_PIN, 0);
    }
    pci->uses_vectors = use;
    return PLEAT_OK;
}

/* ---- Coming and going ---- */

bool pleat_virtio_pci_is_present(const struct pleat_virtio_pci *pci)
{
    return config_read(pci, PLEAT_PCI_VENDOR, 2) == PLEAT_VIRTIO_PCI_VENDOR;
}

void pleat_virtio_pci_stop(struct pleat_virtio_pci *pci)
{
    if (pci->vectors > 0) {
        pleat_virtio_pci_use_vectors(pci, false);
    }
    pleat_virtio_pci_change_command(pci, PLEAT_PCI_COMMAND_MASTER, PLEAT_PCI_COMMAND_NO_PIN);
    pci->masters_bus = false;
}
