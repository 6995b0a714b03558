/* SPDX-License-Identifier: MIT
 *
 * The host of the example: guest memory in a mapping of its own, Pleat's virtio-mem device, its registers
 * and rings. Under a real hypervisor none of this is yours to write, but a transport over virtio-pci or
 * virtio-mmio, in place of the one by which a driver reaches a device in its own process.
 */
#ifndef OWN_ALLOCATOR_HOST_H
#define OWN_ALLOCATOR_HOST_H

#include <stdint.h>

#include <pleat/virtio_device.h>
#include <pleat/virtio_in_process.h>
#include <pleat/virtio_mem_device.h>
#include <pleat/virtio_mem_feeder.h>

/** Where the guest sees the memory that it shares with the device. */
#define SHARED_ADDRESS UINT64_C(0x10000)
#define SHARED_BYTES   4096

struct host {
    uint8_t *area; /* the guest's memory; what isn't plugged is inaccessible */
    struct pleat_virtio_mem_device *device;
    struct pleat_virtio_device *registers;
    struct pleat_virtio_mem_feeder feeder;
    struct pleat_virtio_transport transport;
    void (*interrupt)(void *context, uint32_t causes);
    void *interrupt_context;
    void *storage;
    _Alignas(64) uint8_t shared[SHARED_BYTES];
};

/* 0, or -1 if the host has no memory left. */
int host_begin(struct host *host);
void host_end(struct host *host);
/* Where the example's guest reads and writes an address. */
void *host_pointer(struct host *host, uint64_t address);

#endif
