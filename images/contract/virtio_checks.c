/* SPDX-License-Identifier: MIT
 *
 * MSI-X of virtio-pci on devices that nobody here wrote: QEMU's virtio-rng-pci for the vector of a queue, its
 * virtio-net-pci for that of configuration changes. QEMU's own virtio-mem-pci has no vectors in 7.2.
 */
#include <stdatomic.h>
#include <stddef.h>

#include <pleat/virtio_driver_ring.h>
#include <pleat/virtio_pci.h>

#include "pleat_port.h"
#include "ports/bare/platform.h"
#include "ports/bare/platform_virtio.h"
#include "ports/bare/print.h"

#include "contract_image.h"

#define MS       UINT64_C(1000000)
#define PATIENCE (20000 * MS)
#define TIMES    20u

#define NET_DEVICE       1u
#define NET_F_STATUS     (UINT64_C(1) << 16)
#define ENTROPY_DEVICE   4u
#define QUEUE            0u
#define RING_SIZE        8u
#define BUFFER_BYTES     64u
#define FRAME_BYTES      4096u
#define VECTOR_CONFIG    0u
#define VECTOR_QUEUE     1u
#define VECTORS_AT_LEAST 2u

static struct virtio {
    struct platform_pci at;
    struct pleat_virtio_pci pci;
    struct pleat_virtio_transport transport;
    struct pleat_virtio_ring ring;
    struct pleat_virtio_buffer buffer;
    uint64_t private_storage[256];
    _Atomic unsigned of_queue, of_config, elsewhere;
} virtio;

static void hear(_Atomic unsigned *what)
{
    if (pleat_port_cpu())
        atomic_fetch_add(&virtio.elsewhere, 1);
    atomic_fetch_add(what, 1);
}

static void hear_queue(void *context)
{
    (void)context;
    hear(&virtio.of_queue);
}

static void hear_config(void *context)
{
    (void)context;
    hear(&virtio.of_config);
}

static bool find(uint32_t device)
{
    static struct platform_pci list[64];
    const unsigned count = platform_pci_list(list, 64);

    for (unsigned i = 0; i < count && i < 64; i++) {
        virtio.at = list[i];
        if (pleat_virtio_pci_init(&virtio.pci, &platform_virtio_pci_ops, &virtio.at))
            continue;
        virtio.transport = pleat_virtio_pci_transport(&virtio.pci);
        if (virtio.transport.ops->device_id(virtio.transport.context) == device)
            return true;
    }
    return false;
}

static bool route(unsigned vector, void (*handler)(void *context))
{
    uint64_t address;
    uint32_t data;

    return !platform_message_interrupt(handler, NULL, &address, &data) &&
           !pleat_virtio_pci_set_vector(&virtio.pci, vector, address, data) &&
           !pleat_virtio_pci_mask_vector(&virtio.pci, vector, false);
}

static const char *use_vectors(void)
{
    if (pleat_virtio_pci_vectors(&virtio.pci) < VECTORS_AT_LEAST)
        return "the device has no two vectors";
    if (!route(VECTOR_CONFIG, hear_config) || !route(VECTOR_QUEUE, hear_queue) ||
        pleat_virtio_pci_use_vectors(&virtio.pci, true))
        return "its vectors can't be routed";
    virtio.transport = pleat_virtio_pci_transport(&virtio.pci);
    return virtio.transport.ops->interrupt_acknowledge ? "it has a pin to acknowledge still" : NULL;
}

/* VIRTIO 3.1.1 up to FEATURES_OK. */
static const char *negotiate(uint64_t features)
{
    const struct pleat_virtio_transport_ops *ops = virtio.transport.ops;
    const uint64_t end = platform_clock_ns() + PATIENCE;
    uint64_t negotiated;

    ops->reset_begin(virtio.transport.context);
    while (ops->reset_poll(virtio.transport.context))
        if (platform_clock_ns() >= end)
            return "a reset doesn't end";
    if (pleat_virtio_negotiate(&virtio.transport, features, features, &negotiated))
        return "there is no agreement about features";
    return ops->set_vector(virtio.transport.context, PLEAT_VIRTIO_VECTOR_OF_CONFIG, VECTOR_CONFIG)
               ? "the vector of its configuration can't be set"
               : NULL;
}

/* The ring in the first frame, and what it fills in the second one. */
static const char *make_queue(const struct contract *contract)
{
    const struct pleat_virtio_ring_config config = {.size = RING_SIZE};
    const struct pleat_virtio_ring_memory memory = {
        .shared = contract->port->frame_pointer(contract->port->context, contract->start_pfn),
        .shared_physical = contract->start_pfn << contract->frame_shift,
        .shared_bytes = FRAME_BYTES,
        .private_storage = virtio.private_storage,
        .private_bytes = sizeof virtio.private_storage,
    };

    virtio.buffer = (struct pleat_virtio_buffer){.physical = memory.shared_physical + FRAME_BYTES,
                                                 .length_bytes = BUFFER_BYTES,
                                                 .device_writable = true};
    if (pleat_virtio_ring_init(&virtio.ring, &config, &memory))
        return "the ring can't be made";
    const struct pleat_virtio_queue_addresses addresses = pleat_virtio_ring_addresses(&virtio.ring);
    const struct pleat_virtio_transport_ops *ops = virtio.transport.ops;
    void *context = virtio.transport.context;
    if (ops->queue_size_max(context, QUEUE) < RING_SIZE ||
        ops->queue_setup(context, QUEUE, RING_SIZE, &addresses) ||
        ops->set_vector(context, QUEUE, VECTOR_QUEUE) || ops->queue_enable(context, QUEUE))
        return "the queue can't be set up";
    return NULL;
}

static const char *begin(const struct contract *contract)
{
    if (!find(ENTROPY_DEVICE))
        return "there is no such device";
    const char *broken = use_vectors();
    if (!broken)
        broken = negotiate(0);
    if (!broken)
        broken = make_queue(contract);
    if (!broken)
        virtio.transport.ops->add_status(virtio.transport.context, PLEAT_VIRTIO_STATUS_DRIVER_OK);
    return broken;
}

static bool ask(void)
{
    if (pleat_virtio_ring_add(&virtio.ring, &virtio.buffer, 1, 0))
        return false;
    pleat_virtio_ring_publish(&virtio.ring);
    if (pleat_virtio_ring_should_notify(&virtio.ring))
        virtio.transport.ops->notify(virtio.transport.context, QUEUE);
    return true;
}

/* Sleeps until so many have been heard. */
static bool comes(_Atomic unsigned *what, unsigned count)
{
    const uint64_t end = platform_clock_ns() + PATIENCE;

    for (;;) {
        platform_wake_begin();
        if (atomic_load(what) >= count)
            return true;
        if (platform_clock_ns() >= end)
            return false;
        platform_idle(end);
    }
}

static const char *vector_of_a_queue_comes(const struct contract *contract)
{
    const char *broken = begin(contract);

    for (unsigned i = 1; i <= TIMES && !broken; i++) {
        uint64_t token;
        uint32_t written = 0;
        if (!ask())
            broken = "a buffer can't be added";
        else if (!comes(&virtio.of_queue, i))
            broken = "an interrupt doesn't come";
        else if (pleat_virtio_ring_poll(&virtio.ring, &token, &written) != 1 || !written)
            broken = "it came before the buffer";
    }
    if (!broken && virtio.elsewhere)
        broken = "an interrupt came to another CPU than 0";
    return broken ? broken : virtio.of_config ? "that of the configuration came, too" : NULL;
}

static const char *masked_vector_waits(const struct contract *contract)
{
    const uint64_t end = platform_clock_ns() + PATIENCE;
    const unsigned before = atomic_load(&virtio.of_queue);
    uint64_t token;
    uint32_t written;

    (void)contract;
    if (pleat_virtio_pci_mask_vector(&virtio.pci, VECTOR_QUEUE, true) || !ask())
        return "it can't be masked";
    while (!pleat_virtio_ring_poll(&virtio.ring, &token, &written))
        if (platform_clock_ns() >= end)
            return "a buffer doesn't come back";
    /* The device says it after the buffer. */
    const uint64_t later = platform_clock_ns() + 50 * MS;
    while (platform_clock_ns() < later)
        pleat_port_pause();
    if (atomic_load(&virtio.of_queue) != before)
        return "it comes even so";
    if (pleat_virtio_pci_mask_vector(&virtio.pci, VECTOR_QUEUE, false) ||
        !comes(&virtio.of_queue, before + 1))
        return "it doesn't come when it is unmasked";
    return NULL;
}

/* Who reads the console has to change it: in QMP, set_link. */
static const char *vector_of_the_configuration_comes(const struct contract *contract)
{
    (void)contract;
    if (!find(NET_DEVICE))
        return "there is no such device";
    const char *broken = use_vectors();
    if (!broken)
        broken = negotiate(NET_F_STATUS);
    if (broken)
        return broken;
    virtio.transport.ops->add_status(virtio.transport.context, PLEAT_VIRTIO_STATUS_DRIVER_OK);
    print("# waits for a change of the link\n");
    if (!comes(&virtio.of_config, 1))
        return "an interrupt doesn't come";
    return virtio.of_queue ? "that of the queue came, too" : NULL;
}

const struct contract_check entropy_checks[] = {
    {"vector_of_a_queue_comes", vector_of_a_queue_comes},
    {"masked_vector_waits", masked_vector_waits},
    {NULL, NULL},
};

const struct contract_check net_checks[] = {
    {"vector_of_the_configuration_comes", vector_of_the_configuration_comes},
    {NULL, NULL},
};
