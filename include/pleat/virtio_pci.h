/* SPDX-License-Identifier: MIT
 *
 * The transport over PCI (VIRTIO 1.4, section 4.1, modern devices): from a PCI function to a struct
 * pleat_virtio_transport. It finds the device's structures by its capabilities, maps them, and reads and
 * writes registers by the widths that the specification names.
 *
 * It reaches PCI through struct pleat_virtio_pci_ops, so that it knows no machine: the embedder reads and
 * writes configuration space, and maps pieces of BARs, which have to be assigned before. It lies in storage
 * of the caller and keeps nothing outside of it.
 *
 *     struct pleat_virtio_pci pci;
 *     pleat_virtio_pci_init(&pci, &ops, function);
 *     if (pleat_virtio_pci_vectors(&pci) > 0) {          // or INTx, or polling
 *         pleat_virtio_pci_set_vector(&pci, 0, address, data);
 *         pleat_virtio_pci_mask_vector(&pci, 0, false);
 *         pleat_virtio_pci_use_vectors(&pci, true);
 *     }
 *     struct pleat_virtio_transport transport = pleat_virtio_pci_transport(&pci);
 *
 * The device is hostile: a capability list that loops, a structure that lies outside of its BAR or wraps, a
 * BAR that can't be are refused before anything is mapped; a notification address is checked before it is
 * used. A device that has gone reads as all ones, which no function takes for an answer that it isn't.
 *
 * Context: as virtio_transport.h says for what the transport does; everything else here by one thread at a
 * time, and not at the same time as the transport's functions but notify and interrupt_acknowledge. Nothing
 * waits. Effort: register accesses, named where there are more than a few.
 */
#ifndef PLEAT_VIRTIO_PCI_H
#define PLEAT_VIRTIO_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include <pleat/error.h>
#include <pleat/virtio_transport.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Queues of a device that this transport serves; those above don't exist for its user. */
#define PLEAT_VIRTIO_PCI_QUEUES 16u

/** How a PCI function is reached. `context` is what was given to pleat_virtio_pci_init(). */
struct pleat_virtio_pci_ops {
    /** Reads 1, 2 or 4 bytes of configuration space at `offset`, below 256 and a multiple of `bytes`, as a
     * number. All ones where no function answers. */
    uint32_t (*config_read)(void *context, unsigned offset, unsigned bytes);
    /** Writes likewise. */
    void (*config_write)(void *context, unsigned offset, unsigned bytes, uint32_t value);
    /**
     * Where the CPU reaches `bytes` bytes from `address` on, which lie in memory BAR `bar` (0 to 5);
     * `address` is as the BAR has it, which is the bus's idea of it. The mapping is uncached, keeps the
     * alignment up to 16, and stays for as long as the transport is used. Memory decoding may still be off.
     * NULL: it can't be mapped.
     */
    void *(*map)(void *context, unsigned bar, uint64_t address, uint64_t bytes);
    /**
     * Reads 1, 2 or 4 bytes of registers at a place inside of what map() gave, in one access of that width,
     * as a number of little-endian bytes; writes likewise. For where a plain load or store doesn't do: a
     * guest whose hypervisor has to be asked for each access. Both NULL: loads and stores. Ordering against
     * other memory is done round them.
     */
    uint32_t (*read)(void *context, const volatile void *from, unsigned bytes);
    void (*write)(void *context, volatile void *to, unsigned bytes, uint32_t value);
};

/** The transport. Fields are for this library only; they are here so that the caller can give the storage. */
struct pleat_virtio_pci {
    const struct pleat_virtio_pci_ops *ops;
    void *context;
    volatile uint8_t *common;
    volatile uint8_t *notification;
    volatile uint8_t *isr;
    volatile uint8_t *device; /**< NULL: no config space; then device_bytes is 0 */
    volatile uint8_t *table;  /**< of MSI-X; NULL: none; then vectors is 0 */
    uint64_t notification_bytes;
    uint64_t features; /**< as accepted since the last reset */
    uint32_t device_bytes;
    uint32_t multiplier; /**< 0 or a power of two, at least 2 */
    uint32_t device_type;
    uint16_t vectors;
    uint16_t msix_offset; /**< of the capability */
    bool uses_vectors;
    bool masters_bus;
    /** Offsets in the notification structure: notify_at[q] + 2 <= notification_bytes for each queue q that is
     * set up since the last reset, UINT64_MAX for the others. */
    uint64_t notify_at[PLEAT_VIRTIO_PCI_QUEUES];
};

/**
 * Finds and maps the device's structures, sets memory decoding, and turns off MSI-X (every vector is masked)
 * and bus mastering: a device that somebody left running can't write to memory from here on. Bus mastering
 * comes on when reset_poll says that a reset is complete. The device itself isn't touched. `ops` and what
 * `context` points to must outlive its use. BARs are sized with decoding off for that time, so nobody else
 * may be using the function.
 *
 * Errors: NOT_FOUND (no virtio function, modern or transitional). UNSUPPORTED (one without the modern
 * interface, or with a structure in I/O space only). STATE (a structure in a memory BAR that nobody has
 * assigned). PROTOCOL (a capability list that loops or leaves configuration space, a structure too short,
 * misaligned or outside of its BAR, a BAR that can't be, a multiplier that isn't 0 or an even power of two).
 * NO_MEMORY (map said NULL). After an error *pci is undefined and configuration space is as it was; pieces
 * that were mapped before the one that failed are the embedder's to forget. Effort: about 50 accesses to
 * configuration space, and two to each vector.
 */
int pleat_virtio_pci_init(struct pleat_virtio_pci *pci, const struct pleat_virtio_pci_ops *ops,
                          void *context);

/**
 * The transport, for a driver: with set_vector and without interrupt_acknowledge while vectors are used,
 * the other way round while they aren't; so ask after pleat_virtio_pci_use_vectors(). `pci` must outlive its
 * use, at the same place. Features that change what a notification says (NOTIFICATION_DATA,
 * NOTIF_CONFIG_DATA) aren't offered through it. queue_setup may say PROTOCOL beside the errors that
 * virtio_transport.h names: the queue's notification address lies outside of the structure (4.1.4.4).
 */
struct pleat_virtio_transport pleat_virtio_pci_transport(struct pleat_virtio_pci *pci);

/** How many MSI-X vectors the device has, 0 to 2048. */
unsigned pleat_virtio_pci_vectors(const struct pleat_virtio_pci *pci);

/**
 * What the device writes where when vector `vector` is due. The vector is masked afterwards. Errors: INVALID
 * (no such vector, or an address that isn't a multiple of 4).
 */
int pleat_virtio_pci_set_vector(struct pleat_virtio_pci *pci, unsigned vector, uint64_t address,
                                uint32_t data);

/**
 * Masks or unmasks a vector. While it is masked an interrupt waits; it comes when it is unmasked. After
 * masking returns, none comes that wasn't on its way. Errors: INVALID (no such vector).
 */
int pleat_virtio_pci_mask_vector(struct pleat_virtio_pci *pci, unsigned vector, bool masked);

/**
 * From here on the device interrupts by its vectors and not by its pin (INTx is disabled, and ISR says
 * nothing), or the other way round. Before the driver is created. Errors: UNSUPPORTED (it has no vectors).
 */
int pleat_virtio_pci_use_vectors(struct pleat_virtio_pci *pci, bool use);

/** Does the function still answer? False for one that was unplugged: the driver won't hear from it again. */
bool pleat_virtio_pci_is_present(const struct pleat_virtio_pci *pci);

/**
 * Turns off vectors, the pin and bus mastering, so that the device neither interrupts nor reaches memory. For
 * after the driver has detached, or has given up. pleat_virtio_pci_init() begins anew.
 */
void pleat_virtio_pci_stop(struct pleat_virtio_pci *pci);

#ifdef __cplusplus
}
#endif
#endif
