/* SPDX-License-Identifier: MIT
 *
 * The virtio-mem driver with the devices of the machine, over virtio-pci. Nothing interrupts: the driver is
 * told before each step that everything may have changed.
 */
#include "minimal.h"

#include <pleat/virtio_mem_driver.h>
#include <pleat/virtio_pci.h>

#include "ports/bare/platform.h"
#include "ports/bare/print.h"

#define VIRTIO_MEM    24u
#define FUNCTIONS     64u
#define STORAGE_BYTES 65536u
#define PATIENCE_NS   UINT64_C(30000000000)
#define PAUSE_NS      UINT64_C(1000000)
#define CAUSES        (PLEAT_VIRTIO_INTERRUPT_QUEUE | PLEAT_VIRTIO_INTERRUPT_CONFIG)

/* What of a guest's free memory is held while it shrinks: enough that frames have to be moved. */
#define HELD_FRAMES 20000u

struct device {
    struct pleat_virtio_pci pci;
    struct pleat_virtio_transport transport;
    struct pleat_virtio_mem_driver *driver;
};

static _Alignas(4096) unsigned char storage[STORAGE_BYTES], shared[STORAGE_BYTES];

static uint32_t config_read(void *context, unsigned offset, unsigned bytes)
{
    return platform_pci_read(context, offset, bytes);
}

static void config_write(void *context, unsigned offset, unsigned bytes, uint32_t value)
{
    platform_pci_write(context, offset, bytes, value);
}

static void *map(void *context, unsigned bar, uint64_t address, uint64_t bytes)
{
    (void)context;
    (void)bar;
    return platform_map_registers(address, bytes);
}

static const struct pleat_virtio_pci_ops ops = {
    .config_read = config_read,
    .config_write = config_write,
    .map = map,
};

/* Steps until the driver has `requested` plugged and ready (UINT64_MAX: as much as is requested then), or,
 * while `requested` is another size, is asked for it; false: not in time. */
static bool follow(struct device *device, uint64_t other_than, struct pleat_virtio_mem_status *status)
{
    const uint64_t deadline = platform_clock_ns() + PATIENCE_NS;
    for (;;) {
        pleat_virtio_mem_driver_interrupt(device->driver, CAUSES);
        const enum pleat_virtio_mem_wake wake = pleat_virtio_mem_driver_step(device->driver, 0);
        pleat_virtio_mem_driver_status(device->driver, status);
        if (status->phase == PLEAT_VIRTIO_MEM_WORKING && status->requested_bytes != other_than &&
            status->plugged_bytes == status->requested_bytes &&
            status->ready_bytes == status->plugged_bytes && !status->in_flight)
            return true;
        if (wake == PLEAT_VIRTIO_MEM_WAKE_NEVER || platform_clock_ns() >= deadline)
            return false;
        if (wake != PLEAT_VIRTIO_MEM_WAKE_NOW)
            platform_idle(platform_clock_ns() + PAUSE_NS);
    }
}

static bool give_back(struct device *device)
{
    const uint64_t deadline = platform_clock_ns() + PATIENCE_NS;
    if (pleat_virtio_mem_driver_detach_begin(device->driver, PLEAT_VIRTIO_MEM_DETACH_GIVE_BACK) != PLEAT_OK)
        return false;
    int result;
    while ((result = pleat_virtio_mem_driver_detach_result(device->driver, NULL, 0)) == PLEAT_MORE &&
           platform_clock_ns() < deadline) {
        pleat_virtio_mem_driver_interrupt(device->driver, CAUSES);
        if (pleat_virtio_mem_driver_step(device->driver, 0) != PLEAT_VIRTIO_MEM_WAKE_NOW)
            platform_idle(platform_clock_ns() + PAUSE_NS);
    }
    return result == PLEAT_OK;
}

static void say_why(const struct device *device)
{
    char why[256];
    pleat_virtio_mem_driver_reason(device->driver, why, sizeof(why));
    print("# %s\n", why);
}

static unsigned long long mib(uint64_t bytes)
{
    return bytes >> 20;
}

static void test_device(struct pleat *pleat, struct device *device, bool shrink)
{
    struct pleat_memory memory;
    struct pleat_virtio_mem_driver_needs needs;
    struct pleat_virtio_mem_status status;

    pleat_memory_init(pleat, &memory);
    if (!check(pleat_virtio_mem_driver_measure(&device->transport, &memory, &needs) == PLEAT_OK &&
                   needs.storage_bytes <= sizeof(storage) && needs.shared_bytes <= sizeof(shared),
               "its config space makes sense"))
        return;
    print("# region at 0x%llx, %llu MiB, blocks of %llu KiB\n", (unsigned long long)needs.region_address,
          mib(needs.region_bytes), (unsigned long long)needs.block_bytes >> 10);
    const struct pleat_virtio_mem_driver_config config = {
        .memory = &memory,
        .transport = &device->transport,
        .storage = storage,
        .storage_bytes = sizeof(storage),
        .shared = shared,
        .shared_physical = (uintptr_t)shared,
        .shared_bytes = sizeof(shared),
    };
    if (!check(pleat_virtio_mem_driver_create(&config, &device->driver) == PLEAT_OK, "a driver is created"))
        return;
    const uint64_t before = pleat_free_frames(pleat), began = platform_clock_ns();
    volatile unsigned char *region = (volatile unsigned char *)(uintptr_t)needs.region_address;
    check(!platform_touch(region, false), "nothing is mapped in its region");
    if (!check(follow(device, UINT64_MAX, &status), "it grows to the size that is requested")) {
        say_why(device);
        return;
    }
    print("# %llu MiB plugged after %llu us\n", mib(status.plugged_bytes),
          (unsigned long long)(platform_clock_ns() - began) / 1000);
    check(status.requested_bytes > 0 && pleat_free_frames(pleat) > before, "and the guest has that memory");
    check(platform_touch(region, true), "which can be touched");
    const unsigned held_frames = held_begin(pleat) ? held_fill(HELD_FRAMES) : 0;
    unsigned inside = 0;
    for (unsigned i = 0; i < held_frames; i++)
        inside += (held.pfn[i] << 12) - needs.region_address < needs.region_bytes;
    print("# %u of %u movable frames are in it\n", inside, held_frames);
    check(inside > 0, "movable frames are held in it");
    held.moved = 0;
    if (shrink) {
        print("# ready to shrink\n");
        const uint64_t old = status.requested_bytes;
        const bool followed = follow(device, old, &status);
        check(followed && status.requested_bytes < old, "it shrinks to what is requested now");
        say_why(device);
        print("# %llu MiB plugged, %llu frames moved\n", mib(status.plugged_bytes),
              (unsigned long long)held.moved);
        check(held_is_whole(), "what is held is as it was");
    }
    if (!check(give_back(device), "all is given back"))
        say_why(device);
    check(held.moved > 0, "frames were moved for that");
    check(held_is_whole(), "what is held is as it was");
    check(held_free(1), "and freed");
    pleat_virtio_mem_driver_status(device->driver, &status);
    check(status.plugged_bytes == 0 && !platform_touch(region, false),
          "nothing is plugged or mapped any more");
    pleat_drain(pleat);
    check(pleat_free_frames(pleat) == before, "as many frames are free as at the start");
    check(pleat_virtio_mem_driver_is_valid(device->driver) && pleat_is_valid(pleat), "the books are right");
}

void test_devices(struct pleat *pleat, unsigned expected, bool shrink)
{
    static struct platform_pci functions[FUNCTIONS];
    static struct device device;
    unsigned found = 0, count = platform_pci_list(functions, FUNCTIONS);
    if (count > FUNCTIONS)
        count = FUNCTIONS;
    for (unsigned i = 0; i < count; i++) {
        print("# PCI %u.%u: %08x\n", functions[i].device, functions[i].function,
              platform_pci_read(&functions[i], 0, 4));
        const int error = pleat_virtio_pci_init(&device.pci, &ops, &functions[i]);
        if (error == PLEAT_E_NOT_FOUND)
            continue;
        if (error) {
            print("# %s\n", pleat_error_text(error));
            continue;
        }
        device.transport = pleat_virtio_pci_transport(&device.pci);
        if (device.transport.ops->device_id(device.transport.context) == VIRTIO_MEM) {
            found++;
            test_device(pleat, &device, shrink);
        }
        pleat_virtio_pci_stop(&device.pci);
        check(pleat_virtio_pci_is_present(&device.pci), "the function is still there");
    }
    check(found == expected, "as many virtio-mem devices are found as there are");
}
