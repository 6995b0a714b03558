/* SPDX-License-Identifier: MIT
 *
 * The devices: from PCI functions to drivers that follow what their devices ask for, one line on the console
 * for each thing that a person wants to know, and none of their troubles ends the guest.
 */
#include "guest.h"

#include <pleat/wire/virtio.h>
#include <pleat/wire/virtio_mem.h>

#include "ports/bare/platform_virtio.h"
#include "ports/bare/print.h"

#define VIRTIO_VENDOR  0x1af4u
#define VIRTIO_MEM_PCI 0x1058u /* 0x1040 + 24 */
#define FUNCTIONS      256u
/* Above, only regions that firmware names are believed: the core's tables grow with the highest address. */
#define UNNAMED_END (UINT64_C(1) << 40)
#define BOTH_CAUSES (PLEAT_VIRTIO_INTERRUPT_QUEUE | PLEAT_VIRTIO_INTERRUPT_CONFIG)
/* Without interrupts the device is asked so often. */
#define POLL_NS UINT64_C(1000000)
/* Whether a device is there still is looked at so often. */
#define LOOK_NS UINT64_C(100000000)

/* --- interrupts ----------------------------------------------------------------------------------------- */

static void interrupt(struct device *device, uint32_t causes)
{
    struct pleat_virtio_mem_driver *driver = atomic_load(&device->driver);

    if (driver && causes)
        pleat_virtio_mem_driver_interrupt(driver, causes);
}

static void config_interrupt(void *context)
{
    interrupt(context, PLEAT_VIRTIO_INTERRUPT_CONFIG);
}

static void queue_interrupt(void *context)
{
    interrupt(context, PLEAT_VIRTIO_INTERRUPT_QUEUE);
}

static void shared_interrupt(void *context)
{
    interrupt(context, BOTH_CAUSES);
}

static void pin_interrupt(void *context)
{
    struct device *device = context;

    if (device->transport.ops && device->transport.ops->interrupt_acknowledge)
        interrupt(device, device->transport.ops->interrupt_acknowledge(device->transport.context));
}

static void wake(void *context)
{
    struct device *device = context;

    atomic_store(&device->noted, 1u);
}

static int route(struct device *device, unsigned vector, void (*handler)(void *context))
{
    uint64_t address;
    uint32_t data;
    int error = platform_message_interrupt(handler, device, &address, &data);

    if (!error)
        error = pleat_virtio_pci_set_vector(&device->pci, vector, address, data);
    return error ? error : pleat_virtio_pci_mask_vector(&device->pci, vector, false);
}

static int route_vectors(struct device *device)
{
    const unsigned vectors = pleat_virtio_pci_vectors(&device->pci);
    int error = PLEAT_E_UNSUPPORTED;

    if (vectors >= 2) {
        error = route(device, 0, config_interrupt);
        if (!error)
            error = route(device, 1, queue_interrupt);
    } else if (vectors == 1) {
        error = route(device, 0, shared_interrupt);
    }
    if (!error)
        error = pleat_virtio_pci_use_vectors(&device->pci, true);
    if (error)
        return error;
    device->uses_vectors = true;
    device->config_vector = 0;
    device->queue_vector = vectors >= 2;
    return PLEAT_OK;
}

/* The best that the device, the platform and the command line allow. */
static void route_interrupts(struct device *device)
{
    device->interrupts = device->guest->options.interrupts;
    if (device->interrupts == INTERRUPTS_MSIX && route_vectors(device))
        device->interrupts = INTERRUPTS_INTX;
    device->transport = pleat_virtio_pci_transport(&device->pci);
    if (device->interrupts == INTERRUPTS_INTX && platform_pin_interrupt(pin_interrupt, device))
        device->interrupts = INTERRUPTS_NONE;
}

/* --- drivers -------------------------------------------------------------------------------------------- */

static int node_of_proximity(void *context, unsigned proximity)
{
    (void)context;
    for (unsigned node = 0; node < platform.nodes; node++)
        if (platform.proximity[node] == proximity)
            return (int)node;
    return PLEAT_E_NOT_FOUND;
}

int device_make_driver(struct device *device)
{
    struct guest *guest = device->guest;
    struct pleat_virtio_mem_driver *driver = NULL;
    int error = pleat_virtio_mem_driver_measure(&device->transport, &guest->memory, &device->needs);

    if (!error)
        error =
            guest_allocate(guest, device->needs.storage_bytes, &device->storage_pfn, &device->storage_order);
    if (!error)
        error = guest_allocate(guest, device->needs.shared_bytes, &device->shared_pfn, &device->shared_order);
    if (!error) {
        const struct pleat_virtio_mem_driver_config config = {
            .memory = &guest->memory,
            .transport = &device->transport,
            .storage = guest_pointer(guest, device->storage_pfn),
            .storage_bytes = device->needs.storage_bytes,
            .shared = guest_pointer(guest, device->shared_pfn),
            .shared_physical = device->shared_pfn << pleat_frame_shift(&guest->core),
            .shared_bytes = device->needs.shared_bytes,
            .name = device->name,
            .node_of_proximity = node_of_proximity,
            .wake = wake,
            .context = device,
            .use_vectors = device->uses_vectors,
            .config_vector = device->config_vector,
            .queue_vector = device->queue_vector,
            .floor_bytes = guest->options.floor_bytes,
            .response_timeout_ns = device->response_timeout_ns,
        };
        error = pleat_virtio_mem_driver_create(&config, &driver);
    }
    if (error) {
        guest_release(guest, &device->storage_pfn, device->storage_order);
        guest_release(guest, &device->shared_pfn, device->shared_order);
        return error;
    }
    device->wake = PLEAT_VIRTIO_MEM_WAKE_NOW;
    device->is_busy = true;
    device->busy_since_ns = platform_clock_ns();
    device->before = (struct pleat_virtio_mem_statistics){0};
    device->said[0] = '\0';
    atomic_store(&device->driver, driver);
    return PLEAT_OK;
}

static void make_device(struct guest *guest, const struct platform_pci *function)
{
    static const char *const ways[] = {"MSI-X", "INTx", "polling"};
    struct device *device = &guest->devices[guest->device_count];
    struct short_text size, block;

    *device = (struct device){.guest = guest, .function = *function};
    format_text(device->name, sizeof device->name, "virtio-mem %02x:%02x.%x", function->bus, function->device,
                function->function);
    int error = pleat_virtio_pci_init(&device->pci, &platform_virtio_pci_ops, &device->function);
    if (!error) {
        route_interrupts(device);
        error = device_make_driver(device);
    }
    if (error) {
        print("%s: not used: %s\n", device->name, pleat_error_text(error));
        return;
    }
    guest->device_count++;
    print("%s: %s at 0x%lx, blocks of %s, %s\n", device->name, size_text(&size, device->needs.region_bytes),
          device->needs.region_address, size_text(&block, device->needs.block_bytes),
          ways[device->interrupts]);
    if (device->needs.region_address + device->needs.region_bytes > platform.highest_pfn
                                                                        << pleat_frame_shift(&guest->core))
        print("%s: firmware doesn't say that memory can be plugged there\n", device->name);
}

static bool is_virtio_mem(const struct platform_pci *function)
{
    return platform_pci_read(function, 0, 4) == (VIRTIO_MEM_PCI << 16 | VIRTIO_VENDOR);
}

static struct platform_pci functions[FUNCTIONS];

static unsigned list_functions(void)
{
    const unsigned found = platform_pci_list(functions, FUNCTIONS);

    return found < FUNCTIONS ? found : FUNCTIONS;
}

/* Of its region, by its config; 0: there is none that can be. */
static uint64_t region_end(struct device *device)
{
    static const struct pleat_virtio_config_field fields[] = {{16, 8}, {24, 8}};
    uint64_t values[2];

    if (pleat_virtio_pci_init(&device->pci, &platform_virtio_pci_ops, &device->function))
        return 0;
    const struct pleat_virtio_transport transport = pleat_virtio_pci_transport(&device->pci);
    if (pleat_virtio_config_read_fields(&transport, fields, 2, 10, values) || values[0] > UNNAMED_END ||
        values[1] > UNNAMED_END - values[0])
        return 0;
    return values[0] + values[1];
}

uint64_t devices_end(void)
{
    static struct device device;
    const unsigned found = list_functions();
    uint64_t highest = 0;

    for (unsigned i = 0; i < found; i++) {
        if (!is_virtio_mem(&functions[i]))
            continue;
        device = (struct device){.function = functions[i]};
        const uint64_t end = region_end(&device);
        highest = end > highest ? end : highest;
    }
    return highest;
}

void devices_find(struct guest *guest)
{
    const unsigned found = list_functions();

    for (unsigned i = 0; i < found; i++) {
        if (!is_virtio_mem(&functions[i]))
            continue;
        if (guest->device_count == GUEST_DEVICES) {
            print("guest: more than %u virtio-mem devices: the others aren't used\n", GUEST_DEVICES);
            return;
        }
        make_device(guest, &functions[i]);
    }
    if (!guest->device_count)
        print("guest: no virtio-mem device\n");
}

/* --- what is said --------------------------------------------------------------------------------------- */

static bool is_on_the_way(enum pleat_virtio_mem_reason reason)
{
    return reason == PLEAT_VIRTIO_MEM_REASON_STARTING || reason == PLEAT_VIRTIO_MEM_REASON_WORKING;
}

/* Retries go on, but there is something to say. */
static bool is_trouble(enum pleat_virtio_mem_reason reason)
{
    return reason == PLEAT_VIRTIO_MEM_REASON_BUSY || reason == PLEAT_VIRTIO_MEM_REASON_ERROR ||
           reason == PLEAT_VIRTIO_MEM_REASON_SILENT;
}

bool device_is_at_rest(const struct device *device)
{
    struct pleat_virtio_mem_driver *driver = device->driver;

    if (!driver || device->is_gone)
        return true;
    const enum pleat_virtio_mem_reason reason = pleat_virtio_mem_driver_reason(driver, NULL, 0);
    return device->wake != PLEAT_VIRTIO_MEM_WAKE_NOW && !device->noted && !is_on_the_way(reason) &&
           !is_trouble(reason);
}

static bool is_same(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static uint64_t sum(const uint64_t requests[4][PLEAT_VIRTIO_MEM_ANSWERS])
{
    uint64_t all = 0;

    for (unsigned type = 0; type < 4; type++)
        for (unsigned answer = 0; answer < PLEAT_VIRTIO_MEM_ANSWERS; answer++)
            all += requests[type][answer];
    return all;
}

/* Whenever another amount has gone: a device is stepped again for each frame that comes free. */
static void say_bound(struct guest *guest)
{
    const uint64_t plugged = devices_plugged_bytes(guest) >> pleat_frame_shift(&guest->core);
    const uint64_t went = guest->bound.plugged_frames > plugged ? guest->bound.plugged_frames - plugged : 0;
    struct short_text percent;

    if (!guest->bound_frames || guest->said_plugged_frames == plugged)
        return;
    guest->said_plugged_frames = plugged;
    print("fill: %lu MiB of %lu MiB went, of a bound of %lu MiB: %s %%\n", went >> 8,
          guest->bound.plugged_frames >> 8, guest->bound_frames >> 8,
          fixed_text(&percent, went * 100000000 / guest->bound_frames * 1000, 1));
}

/* What came of the last change, once, when there is something new to say. */
static void say(struct device *device, uint64_t now_ns)
{
    struct guest *guest = device->guest;
    struct pleat_virtio_mem_statistics now;
    struct pleat_virtio_mem_status status;
    struct short_text time, size;
    char line[sizeof device->said], text[sizeof device->said];
    const enum pleat_virtio_mem_reason reason =
        pleat_virtio_mem_driver_reason(device->driver, text, sizeof text);

    if (!device->is_busy || is_on_the_way(reason) || device->wake == PLEAT_VIRTIO_MEM_WAKE_NOW)
        return;
    pleat_virtio_mem_driver_status(device->driver, &status);
    pleat_virtio_mem_driver_statistics(device->driver, &now);
    const uint64_t requests = sum(now.requests) - sum(device->before.requests);
    if (reason == PLEAT_VIRTIO_MEM_REASON_NONE)
        format_text(line, sizeof line, "%s as requested", size_text(&size, status.plugged_bytes));
    else
        format_text(line, sizeof line, "%s", text);
    const bool is_news = !is_same(line, device->said);
    if (is_news || (!is_trouble(reason) && requests))
        print("%s: %s after %s ms, %lu request%s, %lu frames moved\n", device->name, line,
              milliseconds_text(&time, now_ns - device->busy_since_ns), requests, requests == 1 ? "" : "s",
              (now.moved_bytes - device->before.moved_bytes) >> pleat_frame_shift(&guest->core));
    __builtin_memcpy(device->said, line, sizeof line);
    if (is_trouble(reason))
        return;
    device->is_busy = false;
    say_bound(guest);
}

static void say_what_was_negotiated(struct device *device)
{
    struct pleat_virtio_mem_status status;

    pleat_virtio_mem_driver_status(device->driver, &status);
    if (device->was_described || !status.features)
        return;
    device->was_described = true;
    print("%s: node %u, %s ring\n", device->name, status.node,
          status.features & PLEAT_VIRTIO_F_RING_PACKED ? "packed" : "split");
}

static void say_first_plug(struct guest *guest, const struct device *device, uint64_t now_ns)
{
    struct pleat_virtio_mem_status status;
    struct short_text time;

    if (guest->first_plug_ns)
        return;
    pleat_virtio_mem_driver_status(device->driver, &status);
    if (!status.plugged_bytes)
        return;
    guest->first_plug_ns = now_ns;
    print("guest: first plugged byte at %s ms\n", milliseconds_text(&time, now_ns));
}

/* --- service -------------------------------------------------------------------------------------------- */

static bool has_gone(struct device *device, uint64_t now_ns)
{
    struct pleat_virtio_mem_status status;
    struct short_text size;

    if (device->is_gone || now_ns < device->next_look_ns)
        return device->is_gone;
    device->next_look_ns = now_ns + LOOK_NS;
    if (pleat_virtio_pci_is_present(&device->pci))
        return false;
    device->is_gone = true;
    pleat_virtio_mem_driver_status(device->driver, &status);
    print("%s: the device has gone, with %s plugged; it isn't asked any more\n", device->name,
          size_text(&size, status.plugged_bytes));
    return true;
}

static void begin_to_work(struct device *device, uint64_t now_ns)
{
    device->is_busy = true;
    device->busy_since_ns = now_ns;
    pleat_virtio_mem_driver_statistics(device->driver, &device->before);
}

static uint64_t serve(struct device *device, uint64_t now_ns)
{
    struct pleat_virtio_mem_driver *driver = device->driver;
    uint64_t when = now_ns + LOOK_NS;

    if (!driver || has_gone(device, now_ns))
        return UINT64_MAX;
    if (device->interrupts == INTERRUPTS_NONE)
        pleat_virtio_mem_driver_interrupt(driver, BOTH_CAUSES);
    if (atomic_exchange(&device->noted, 0u) ||
        (device->wake == PLEAT_VIRTIO_MEM_WAKE_AT_TIME && pleat_virtio_mem_driver_wake_ns(driver) <= now_ns))
        device->wake = PLEAT_VIRTIO_MEM_WAKE_NOW;
    if (device->wake == PLEAT_VIRTIO_MEM_WAKE_NOW) {
        if (!device->is_busy)
            begin_to_work(device, now_ns);
        device->wake = pleat_virtio_mem_driver_step(driver, 0);
        const uint64_t then_ns = platform_clock_ns();
        say_what_was_negotiated(device);
        say_first_plug(device->guest, device, then_ns);
        say(device, then_ns);
    }
    if (device->wake == PLEAT_VIRTIO_MEM_WAKE_NOW || device->noted)
        return 0;
    if (device->wake == PLEAT_VIRTIO_MEM_WAKE_AT_TIME && pleat_virtio_mem_driver_wake_ns(driver) < when)
        when = pleat_virtio_mem_driver_wake_ns(driver);
    return device->interrupts == INTERRUPTS_NONE && when > now_ns + POLL_NS ? now_ns + POLL_NS : when;
}

uint64_t devices_serve(struct guest *guest, uint64_t now_ns)
{
    uint64_t next = UINT64_MAX;

    for (unsigned i = 0; i < guest->device_count; i++) {
        const uint64_t when = serve(&guest->devices[i], now_ns);
        next = when < next ? when : next;
    }
    return next;
}

bool devices_settle(struct guest *guest, uint64_t timeout_ns)
{
    const uint64_t end_ns = platform_clock_ns() + timeout_ns;

    for (;;) {
        platform_wake_begin();
        const uint64_t now_ns = platform_clock_ns();
        const uint64_t next = devices_serve(guest, now_ns);
        bool rest = true;
        for (unsigned i = 0; i < guest->device_count; i++)
            rest &= device_is_at_rest(&guest->devices[i]);
        if (rest || now_ns >= end_ns)
            return rest;
        if (next > now_ns)
            platform_idle(next < end_ns ? next : end_ns);
    }
}

uint64_t devices_plugged_bytes(const struct guest *guest)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < guest->device_count; i++) {
        struct pleat_virtio_mem_status status;
        if (!guest->devices[i].driver)
            continue;
        pleat_virtio_mem_driver_status(guest->devices[i].driver, &status);
        bytes += status.plugged_bytes;
    }
    return bytes;
}
