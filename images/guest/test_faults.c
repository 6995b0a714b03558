/* SPDX-License-Identifier: MIT
 *
 * `test=faults`: devices that misbehave. The device is the machine's own; between it and the driver stands a
 * transport that bends what one of them says: config fields, feature bits, requests in the ring, doorbells.
 * Each test ends with a driver that says what is wrong, and a guest whose frames are all accounted for.
 */
#include "test.h"

#include <pleat/wire/virtio.h>
#include <pleat/wire/virtio_mem.h>

#include "ports/bare/print.h"

#include "tap.h"

#define SECOND_NS UINT64_C(1000000000)
/* In place of the driver's own 30 s. */
#define RESPONSE_TIMEOUT_NS (SECOND_NS / 5)
/* Of the device, of queues and transports, and of what isn't laid down yet. */
#define UNKNOWN_FEATURES   (UINT64_C(1) << 23 | UINT64_C(1) << 49 | UINT64_C(1) << 63)
#define PCI_COMMAND        4u
#define PCI_COMMAND_MEMORY 2u
#define PCI_HEADER_TYPE    0x0eu
#define PCI_SECONDARY_BUS  0x19u
#define PCI_CAPABILITIES   0x34u
#define CAPABILITY_EXPRESS 0x10u
#define SLOT_CAPABILITIES  0x14u
#define SLOT_CONTROL       0x18u
#define HAS_POWER_CONTROL  0x002u
#define POWER_IS_OFF       0x400u

/* What is bent, and the transport behind it. */
static struct bent {
    struct pleat_virtio_transport real;
    struct pleat_virtio_transport_ops ops;
    bool wrong_requests, swallows_doorbells;
    uint64_t hidden_features, added_features, accepted_features;
    uint32_t field; /* of the config space; 0xffff: none */
    uint64_t value;
    struct pleat_virtq_split_descriptor *ring;
    uint16_t ring_size;
} bent;

static uint32_t device_id(void *context)
{
    (void)context;
    return bent.real.ops->device_id(bent.real.context);
}

static uint64_t get_features(void *context)
{
    (void)context;
    return (bent.real.ops->get_features(bent.real.context) & ~bent.hidden_features) | bent.added_features;
}

static int set_features(void *context, uint64_t features)
{
    (void)context;
    bent.accepted_features = features;
    return bent.real.ops->set_features(bent.real.context, features);
}

static uint8_t get_status(void *context)
{
    (void)context;
    return bent.real.ops->get_status(bent.real.context);
}

static void add_status(void *context, uint8_t bits)
{
    (void)context;
    bent.real.ops->add_status(bent.real.context, bits);
}

static void reset_begin(void *context)
{
    (void)context;
    bent.real.ops->reset_begin(bent.real.context);
}

static int reset_poll(void *context)
{
    (void)context;
    return bent.real.ops->reset_poll(bent.real.context);
}

static uint32_t config_generation(void *context)
{
    (void)context;
    return bent.real.ops->config_generation(bent.real.context);
}

static int config_read(void *context, uint32_t offset, void *to, uint32_t length)
{
    (void)context;
    const int error = bent.real.ops->config_read(bent.real.context, offset, to, length);
    if (!error && offset == bent.field)
        for (uint32_t i = 0; i < length; i++)
            ((unsigned char *)to)[i] = (unsigned char)(bent.value >> (8 * i));
    return error;
}

static int config_write(void *context, uint32_t offset, const void *from, uint32_t length)
{
    (void)context;
    return bent.real.ops->config_write(bent.real.context, offset, from, length);
}

static uint16_t queue_size_max(void *context, uint16_t index)
{
    (void)context;
    return bent.real.ops->queue_size_max(bent.real.context, index);
}

static int queue_setup(void *context, uint16_t index, uint16_t size,
                       const struct pleat_virtio_queue_addresses *addresses)
{
    struct device *device = context;

    bent.ring = guest_pointer(device->guest, 0);
    bent.ring = (void *)((unsigned char *)bent.ring + addresses->descriptor_physical);
    bent.ring_size = size;
    return bent.real.ops->queue_setup(bent.real.context, index, size, addresses);
}

static int queue_enable(void *context, uint16_t index)
{
    (void)context;
    return bent.real.ops->queue_enable(bent.real.context, index);
}

/* Makes every request in the ring one for an address that no block has: the device has to answer ERROR. */
static void spoil_requests(const struct device *device)
{
    for (uint16_t i = 0; i < bent.ring_size; i++) {
        const struct pleat_virtq_split_descriptor *descriptor = &bent.ring[i];
        if (pleat_le32_get(descriptor->length) != PLEAT_VIRTIO_MEM_REQUEST_BYTES)
            continue;
        struct pleat_virtio_mem_request *request =
            (void *)((unsigned char *)guest_pointer(device->guest, 0) + pleat_le64_get(descriptor->address));
        request->address = pleat_le64(1);
    }
}

static void notify(void *context, uint16_t index)
{
    if (bent.wrong_requests)
        spoil_requests(context);
    if (!bent.swallows_doorbells)
        bent.real.ops->notify(bent.real.context, index);
}

static uint32_t interrupt_acknowledge(void *context)
{
    (void)context;
    return bent.real.ops->interrupt_acknowledge(bent.real.context);
}

static int set_vector(void *context, uint16_t index, uint16_t vector)
{
    (void)context;
    return bent.real.ops->set_vector(bent.real.context, index, vector);
}

static const struct pleat_virtio_transport_ops bent_ops = {
    .device_id = device_id,
    .get_features = get_features,
    .set_features = set_features,
    .get_status = get_status,
    .add_status = add_status,
    .reset_begin = reset_begin,
    .reset_poll = reset_poll,
    .config_generation = config_generation,
    .config_read = config_read,
    .config_write = config_write,
    .queue_size_max = queue_size_max,
    .queue_setup = queue_setup,
    .queue_enable = queue_enable,
    .notify = notify,
    .interrupt_acknowledge = interrupt_acknowledge,
    .set_vector = set_vector,
};

/* --- the tests ------------------------------------------------------------------------------------------ */

/* A straight line again between driver and device; descriptors are to be found in a split ring without
 * tables. */
static void straighten(void)
{
    bent.wrong_requests = bent.swallows_doorbells = false;
    bent.hidden_features = PLEAT_VIRTIO_F_RING_PACKED | PLEAT_VIRTIO_F_INDIRECT_DESC;
    bent.added_features = 0;
    bent.field = 0xffff;
}

/* Until it is reset the device may still take a request out of the old driver's memory, and write into it. */
static bool is_reset(void)
{
    const uint64_t end_ns = platform_clock_ns() + SECOND_NS;

    bent.real.ops->reset_begin(bent.real.context);
    while (bent.real.ops->reset_poll(bent.real.context))
        if (platform_clock_ns() >= end_ns)
            return false;
    return true;
}

/* Takes the old driver's memory back and makes a new one. */
static int make_anew(struct device *device)
{
    atomic_store(&device->driver, NULL);
    if (!is_reset())
        return PLEAT_E_BUSY;
    guest_release(device->guest, &device->storage_pfn, device->storage_order);
    guest_release(device->guest, &device->shared_pfn, device->shared_order);
    return device_make_driver(device);
}

/* Serves until the driver says one of these two, at most ten seconds. */
static bool comes_to_say_either(struct device *device, enum pleat_virtio_mem_reason one,
                                enum pleat_virtio_mem_reason other)
{
    const uint64_t end_ns = platform_clock_ns() + 10 * SECOND_NS;

    for (;;) {
        const enum pleat_virtio_mem_reason reason = pleat_virtio_mem_driver_reason(device->driver, NULL, 0);
        if (reason == one || reason == other)
            return true;
        platform_wake_begin();
        const uint64_t now_ns = platform_clock_ns();
        const uint64_t next = devices_serve(device->guest, now_ns);
        if (now_ns >= end_ns)
            return false;
        if (next > now_ns)
            platform_idle(next);
    }
}

static bool comes_to_say(struct device *device, enum pleat_virtio_mem_reason reason)
{
    return comes_to_say_either(device, reason, reason);
}

static void test_bad_config(struct device *device)
{
    static const struct {
        const char *what;
        uint32_t field;
        uint64_t value;
    } cases[] = {
        {"a block size of 0", 0, 0},
        {"a block size that is no power of two", 0, 3 << 20},
        {"an address that isn't a multiple of the block size", 16, (UINT64_C(1) << 32) + 4096},
        {"a region that wraps", 24, UINT64_MAX & ~UINT64_C(0x1fffff)},
        {"a region above all memory", 16, UINT64_C(1) << 60},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        straighten();
        bent.field = cases[i].field;
        bent.value = cases[i].value;
        const int error = make_anew(device);
        const bool refused = error || comes_to_say_either(device, PLEAT_VIRTIO_MEM_REASON_CONFIG,
                                                          PLEAT_VIRTIO_MEM_REASON_NO_ROOM);
        ok(refused, "%s is refused: %s", cases[i].what,
           error ? pleat_error_text(error)
                 : pleat_virtio_mem_reason_text(pleat_virtio_mem_driver_reason(device->driver, NULL, 0)));
    }
}

static void test_features(struct device *device)
{
    straighten();
    bent.hidden_features |= PLEAT_VIRTIO_F_VERSION_1;
    ok(!make_anew(device) && comes_to_say(device, PLEAT_VIRTIO_MEM_REASON_UNSUPPORTED),
       "a device without VERSION_1 is given up");
    straighten();
    bent.added_features = UNKNOWN_FEATURES;
    ok(!make_anew(device) && comes_to_say(device, PLEAT_VIRTIO_MEM_REASON_NONE) &&
           !(bent.accepted_features & UNKNOWN_FEATURES),
       "features that nobody knows are left alone, and all goes on");
    ok(test_detach(device), "and all goes back");
}

static void test_errors(struct device *device)
{
    struct pleat_virtio_mem_statistics statistics;
    uint64_t errors = 0;

    straighten();
    bent.wrong_requests = true;
    ok(!make_anew(device) && comes_to_say(device, PLEAT_VIRTIO_MEM_REASON_ERROR),
       "a device that answers ERROR is asked again later");
    pleat_virtio_mem_driver_statistics(device->driver, &statistics);
    for (unsigned type = 0; type < 4; type++)
        errors += statistics.requests[type][PLEAT_VIRTIO_MEM_ANSWER_ERROR];
    ok(errors && errors < 100, "not without a pause: %lu requests", errors);
    straighten();
    ok(comes_to_say(device, PLEAT_VIRTIO_MEM_REASON_NONE), "when it doesn't any more, all goes on");
    ok(test_detach(device), "and all goes back");
}

static void test_silence(struct device *device)
{
    struct pleat_virtio_mem_statistics statistics;

    straighten();
    bent.swallows_doorbells = true;
    ok(!make_anew(device) && comes_to_say(device, PLEAT_VIRTIO_MEM_REASON_SILENT),
       "a device that doesn't answer is reset, with a request on its way");
    straighten();
    ok(comes_to_say(device, PLEAT_VIRTIO_MEM_REASON_NONE), "when it answers again, all goes on");
    pleat_virtio_mem_driver_statistics(device->driver, &statistics);
    ok(statistics.resets >= 2, "it was reset: %lu resets", statistics.resets);
    ok(test_detach(device), "and all goes back");
}

/* Its registers read as all ones, as those of a device that was pulled out, and then it isn't on its bus. */
static void test_absence(struct device *device)
{
    const struct platform_pci function = device->function;
    struct platform_pci nowhere = function;
    struct pleat_virtio_mem_status status;

    straighten();
    if (!ok(!make_anew(device) && comes_to_say(device, PLEAT_VIRTIO_MEM_REASON_NONE), "a device is there"))
        return;
    const uint32_t command = platform_pci_read(&function, PCI_COMMAND, 2);
    platform_pci_write(&function, PCI_COMMAND, 2, command & ~PCI_COMMAND_MEMORY);
    pleat_virtio_mem_driver_interrupt(device->driver,
                                      PLEAT_VIRTIO_INTERRUPT_QUEUE | PLEAT_VIRTIO_INTERRUPT_CONFIG);
    (void)devices_settle(device->guest, SECOND_NS / 2);
    pleat_virtio_mem_driver_status(device->driver, &status);
    ok(status.plugged_bytes == status.ready_bytes,
       "when all registers read as ones, its memory stays in use");
    nowhere.device = 31;
    nowhere.bus = 255;
    device->function = nowhere;
    device->next_look_ns = 0;
    (void)devices_settle(device->guest, SECOND_NS / 2);
    ok(device->is_gone, "when it isn't on its bus any more, it is let alone");
    ok(guest_check(device->guest), "and the guest runs");
    device->function = function;
    platform_pci_write(&function, PCI_COMMAND, 2, command);
}

/* The port that a function is behind, and where its capability of PCI Express is. False: there is none, or it
 * can't take power away. */
static bool find_port(const struct platform_pci *function, struct platform_pci *port, unsigned *express)
{
    static struct platform_pci list[64];
    const unsigned found = platform_pci_list(list, 64);

    for (unsigned i = 0; i < found && i < 64; i++) {
        if ((platform_pci_read(&list[i], PCI_HEADER_TYPE, 1) & 0x7f) != 1 ||
            platform_pci_read(&list[i], PCI_SECONDARY_BUS, 1) != function->bus)
            continue;
        *port = list[i];
        *express = platform_pci_read(port, PCI_CAPABILITIES, 1);
        while (*express && platform_pci_read(port, *express, 1) != CAPABILITY_EXPRESS)
            *express = platform_pci_read(port, *express + 1, 1);
        return *express && platform_pci_read(port, *express + SLOT_CAPABILITIES, 4) & HAS_POWER_CONTROL;
    }
    return false;
}

/* Power goes from its slot, as when it is pulled out, with a request on its way. */
static void test_removal(struct device *device, const struct platform_pci *port, unsigned express)
{
    const uint64_t end_ns = platform_clock_ns() + 20 * SECOND_NS;
    struct pleat_virtio_mem_status status = {0};

    straighten();
    if (!ok(!make_anew(device) && comes_to_say(device, PLEAT_VIRTIO_MEM_REASON_NONE) &&
                !pleat_virtio_mem_driver_detach_begin(device->driver, PLEAT_VIRTIO_MEM_DETACH_GIVE_BACK),
            "a device in a slot is asked to take its memory back"))
        return;
    /* It would answer before its doorbell has been rung to the end. */
    bent.swallows_doorbells = true;
    device->wake = PLEAT_VIRTIO_MEM_WAKE_NOW;
    while (!status.in_flight && platform_clock_ns() < end_ns) {
        (void)devices_serve(device->guest, platform_clock_ns());
        pleat_virtio_mem_driver_status(device->driver, &status);
    }
    const uint32_t control = platform_pci_read(port, express + SLOT_CONTROL, 2);
    platform_pci_write(port, express + SLOT_CONTROL, 2, control | POWER_IS_OFF);
    while (!device->is_gone && platform_clock_ns() < end_ns)
        (void)devices_settle(device->guest, SECOND_NS / 10);
    ok(status.in_flight && device->is_gone, "when its slot has no power any more, it is let alone");
    ok(guest_check(device->guest), "and the guest runs");
}

void test_faults(struct guest *guest)
{
    struct device *device = &guest->devices[0];
    struct platform_pci port;
    unsigned express;

    if (!ok(guest->device_count, "there is a device") ||
        !ok(devices_settle(guest, 30 * SECOND_NS) && test_detach(device), "a driver gives all back"))
        return;
    bent.real = device->transport;
    bent.ops = bent_ops;
    /* What the transport hasn't got, this one hasn't either. */
    if (!bent.real.ops->interrupt_acknowledge)
        bent.ops.interrupt_acknowledge = NULL;
    if (!bent.real.ops->set_vector)
        bent.ops.set_vector = NULL;
    device->transport = (struct pleat_virtio_transport){.ops = &bent.ops, .context = device};
    device->response_timeout_ns = RESPONSE_TIMEOUT_NS;
    test_bad_config(device);
    test_features(device);
    test_errors(device);
    test_silence(device);
    if (find_port(&device->function, &port, &express))
        test_removal(device, &port, express);
    else
        test_absence(device);
}
