/* SPDX-License-Identifier: MIT
 *
 * `bench`: what things cost on this machine, as a table: the core's fast path, a device's memory plugged and
 * unplugged again with nothing in it, and the frames that its metadata takes.
 */
#include "guest.h"

#include "ports/bare/print.h"

#define SECOND_NS UINT64_C(1000000000)
#define PAIRS     200000u
#define LIST      (PLEAT_PAGEBLOCK_FRAMES * 64u)

static void row(const char *what, const char *figure, const char *unit)
{
    print("%-58s %12s %s\n", what, figure, unit);
}

static void time_row(const char *what, uint64_t ns, uint64_t count)
{
    struct short_text figure;

    row(what, fixed_text(&figure, ns * 1000 / count * 1000000, 1), "ns");
}

/* --- the core ------------------------------------------------------------------------------------------- */

static void bench_pairs(struct guest *guest, const char *what, unsigned order, unsigned mobility)
{
    const pleat_tag tag = pleat_tag_make(guest->held.owner[mobility], UINT32_MAX);
    const uint64_t start_ns = platform_clock_ns();

    for (unsigned i = 0; i < PAIRS; i++) {
        const int64_t pfn = pleat_alloc(&guest->core, order, mobility, tag);
        if (pfn < 0 || pleat_free(&guest->core, (uint64_t)pfn, order)) {
            row(what, "failed", "");
            return;
        }
    }
    time_row(what, platform_clock_ns() - start_ns, PAIRS);
}

static void bench_list(struct guest *guest, const char *what, unsigned mobility)
{
    static uint64_t pfns[LIST];
    const pleat_tag tag = pleat_tag_make(guest->held.owner[mobility], UINT32_MAX);
    const uint64_t start_ns = platform_clock_ns();
    unsigned count = 0;

    for (; count < LIST; count++) {
        const int64_t pfn = pleat_alloc(&guest->core, 0, mobility, tag);
        if (pfn < 0)
            break;
        pfns[count] = (uint64_t)pfn;
    }
    for (unsigned i = 0; i < count; i++)
        (void)pleat_free(&guest->core, pfns[i], 0);
    if (count)
        time_row(what, platform_clock_ns() - start_ns, count);
}

/* --- devices -------------------------------------------------------------------------------------------- */

static uint64_t requests(const struct device *device)
{
    struct pleat_virtio_mem_statistics statistics;

    pleat_virtio_mem_driver_statistics(device->driver, &statistics);
    return statistics.requests[0][PLEAT_VIRTIO_MEM_ANSWER_ACK] +
           statistics.requests[1][PLEAT_VIRTIO_MEM_ANSWER_ACK] +
           statistics.requests[2][PLEAT_VIRTIO_MEM_ANSWER_ACK];
}

static void request_row(struct device *device, const char *what, uint64_t ns, uint64_t bytes,
                        uint64_t request_count)
{
    struct short_text time, size;
    char line[64];

    format_text(line, sizeof line, "%s: %s %s, %lu requests", device->name, what, size_text(&size, bytes),
                request_count);
    row(line, milliseconds_text(&time, ns), "ms");
}

static void metadata_row(struct device *device)
{
    struct guest *guest = device->guest;
    const unsigned shift = pleat_frame_shift(&guest->core);
    const uint64_t end = (device->needs.region_address + device->needs.region_bytes) >> shift;
    struct pleat_block_info info;
    struct short_text figure;
    uint64_t metadata = 0, frames = 0;

    for (uint64_t pfn = device->needs.region_address >> shift; pfn < end;
         pfn += pleat_block_frames(&guest->core))
        if (!pleat_block_info(&guest->core, pfn, &info)) {
            metadata += info.memmap_frames;
            frames += info.frames;
        }
    if (!frames)
        return;
    row("frames of metadata for 1 GiB plugged",
        fixed_text(&figure, metadata * ((UINT64_C(1) << 30 >> shift) * 1000000 / frames) * 1000, 0),
        "frames");
}

/* The driver gives all back, and attaches again; the device's resets are part of it. */
static void bench_device(struct device *device)
{
    struct pleat_virtio_mem_status status;
    int result;

    pleat_virtio_mem_driver_status(device->driver, &status);
    if (!status.plugged_bytes) {
        row(device->name, "nothing", "is requested");
        return;
    }
    metadata_row(device);
    const uint64_t bytes = status.plugged_bytes;
    uint64_t before = requests(device), start_ns = platform_clock_ns();
    if (pleat_virtio_mem_driver_detach_begin(device->driver, PLEAT_VIRTIO_MEM_DETACH_GIVE_BACK))
        return;
    device->wake = PLEAT_VIRTIO_MEM_WAKE_NOW;
    while ((result = pleat_virtio_mem_driver_detach_result(device->driver, NULL, 0)) == PLEAT_MORE) {
        platform_wake_begin();
        const uint64_t next = devices_serve(device->guest, platform_clock_ns());
        if (next > platform_clock_ns())
            platform_idle(next);
    }
    request_row(device, result ? "unplug (not all) of" : "unplug", platform_clock_ns() - start_ns, bytes,
                requests(device) - before);
    before = requests(device);
    start_ns = platform_clock_ns();
    if (pleat_virtio_mem_driver_attach(device->driver))
        return;
    device->wake = PLEAT_VIRTIO_MEM_WAKE_NOW;
    if (!devices_settle(device->guest, 30 * SECOND_NS))
        return;
    request_row(device, "plug", platform_clock_ns() - start_ns, bytes, requests(device) - before);
}

int guest_bench(struct guest *guest)
{
    struct short_text time;

    if (!devices_settle(guest, 30 * SECOND_NS))
        print("guest: a device isn't at rest\n");
    bench_pairs(guest, "order 0, one frame again and again, unmovable, a pair", 0, PLEAT_UNMOVABLE);
    bench_pairs(guest, "order 0, one frame again and again, movable, a pair", 0, PLEAT_MOVABLE);
    bench_list(guest, "order 0, 32,768 frames, then all freed, unmovable, a pair", PLEAT_UNMOVABLE);
    bench_list(guest, "order 0, 32,768 frames, then all freed, movable, a pair", PLEAT_MOVABLE);
    bench_pairs(guest, "order 9, one pageblock again and again, a pair", PLEAT_PAGEBLOCK_ORDER,
                PLEAT_UNMOVABLE);
    for (unsigned i = 0; i < guest->device_count; i++)
        bench_device(&guest->devices[i]);
    if (guest->first_plug_ns)
        row("boot to the first plugged byte", milliseconds_text(&time, guest->first_plug_ns), "ms");
    return guest_check(guest) ? 0 : 1;
}
