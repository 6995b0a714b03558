/* SPDX-License-Identifier: MIT
 *
 * `test=`: what the core and the drivers promise, on the machine that they run on.
 */
#include "test.h"

#include "pleat_port.h"

#include "ports/bare/print.h"

#include "help.h"
#include "random.h"
#include "tap.h"

#define SECOND_NS   UINT64_C(1000000000)
#define MANY_BLOCKS 4096u
#define ROUNDS      20000u

/* --- core ----------------------------------------------------------------------------------------------- */

static void test_orders(struct guest *guest)
{
    static const char *const names[] = {"unmovable", "reclaimable", "movable"};

    for (unsigned mobility = PLEAT_UNMOVABLE; mobility <= PLEAT_MOVABLE; mobility++) {
        bool good = true;
        for (unsigned order = 0; order <= PLEAT_PAGEBLOCK_ORDER; order++)
            good &= held_allocate(&guest->held, order, order, mobility);
        good &= held_check(&guest->held);
        held_free_all(&guest->held);
        ok(good && guest_check(guest), "%s blocks of order 0 to 9 hold what is written to them",
           names[mobility]);
    }
}

static void test_exhaustion(struct guest *guest)
{
    const uint64_t before = pleat_free_frames(&guest->core);
    uint64_t first = 0, count = 0;
    int64_t pfn;

    /* A chain through the blocks themselves: there is no other memory for a list. */
    while ((pfn = pleat_alloc(&guest->core, PLEAT_PAGEBLOCK_ORDER,
                              PLEAT_UNMOVABLE | PLEAT_ALLOC_RESERVE | PLEAT_ALLOC_NO_RECLAIM, PLEAT_NO_TAG)) >
           0) {
        *(uint64_t *)guest_pointer(guest, (uint64_t)pfn) = first;
        first = (uint64_t)pfn;
        count++;
    }
    ok(pfn == PLEAT_E_NO_MEMORY && count * PLEAT_PAGEBLOCK_FRAMES > before * 9 / 10,
       "%lu pageblocks of %lu free frames can be had, then there is no memory", count, before);
    while (first) {
        const uint64_t next = *(uint64_t *)guest_pointer(guest, first);
        count -= pleat_free(&guest->core, first, PLEAT_PAGEBLOCK_ORDER) == PLEAT_OK;
        first = next;
    }
    pleat_drain(&guest->core);
    ok(!count && pleat_free_frames(&guest->core) == before, "all of them come back");
}

/* Boot memory of so many pageblocks, with movable frames and no others that aren't free; false: there is
 * none. */
static bool find_movable(struct guest *guest, uint64_t pageblocks, uint64_t *start_pfn,
                         struct pleat_look *look)
{
    const uint64_t frames = pageblocks * PLEAT_PAGEBLOCK_FRAMES;

    for (unsigned i = 0; i < platform.span_count; i++) {
        const struct pleat_boot_span *span = &platform.spans[i];
        uint64_t pfn =
            (span->start_pfn + PLEAT_PAGEBLOCK_FRAMES - 1) & ~(uint64_t)(PLEAT_PAGEBLOCK_FRAMES - 1);
        for (; pfn + frames <= span->start_pfn + span->frames; pfn += PLEAT_PAGEBLOCK_FRAMES) {
            *start_pfn = pfn;
            if (!pleat_look(&guest->core, pfn, frames, look) && look->movable && !look->unmovable &&
                !look->memmap && !look->fake_offline && !look->absent)
                return true;
        }
    }
    return false;
}

static void test_evacuation(struct guest *guest)
{
    struct held_sums before, after;
    struct pleat_look look = {0};
    uint64_t start_pfn = 0;

    for (uint32_t slot = 0; slot < MANY_BLOCKS; slot++)
        (void)held_allocate(&guest->held, slot, 0, PLEAT_MOVABLE);
    for (uint32_t slot = 0; slot < MANY_BLOCKS; slot += 2)
        (void)held_free(&guest->held, slot);
    const bool found = find_movable(guest, 1, &start_pfn, &look);
    held_sum(&guest->held, &before);
    const int error = pleat_alloc_range(&guest->core, start_pfn, PLEAT_PAGEBLOCK_FRAMES, PLEAT_NO_TAG);
    held_sum(&guest->held, &after);
    ok(!error && found && after.migrated_frames - before.migrated_frames >= look.movable / 2,
       "a pageblock with %lu movable frames is emptied: %lu moved", look.movable,
       after.migrated_frames - before.migrated_frames);
    ok(held_check(&guest->held), "what was moved has the content that it had");
    if (!error)
        (void)pleat_free_range(&guest->core, start_pfn, PLEAT_PAGEBLOCK_FRAMES);
    held_free_all(&guest->held);
    ok(guest_check(guest), "no frame is lost");
}

void test_core(struct guest *guest)
{
    if (!ok(!held_reserve(&guest->held, MANY_BLOCKS), "there is memory for a table"))
        return;
    test_orders(guest);
    test_evacuation(guest);
    held_end(&guest->held);
    test_exhaustion(guest);
}

/* --- cpus ----------------------------------------------------------------------------------------------- */

struct together {
    struct guest *guest;
    uint32_t slots; /* of each CPU */
    atomic_uint done;
    atomic_uint_fast64_t last_ns, backwards;
    uint64_t failures[PLATFORM_CPUS];
};

static void read_clock(void *context, unsigned cpu)
{
    struct together *together = context;

    (void)cpu;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint_fast64_t last = atomic_load(&together->last_ns);
        const uint64_t now_ns = platform_clock_ns();
        if (now_ns < last)
            atomic_fetch_add(&together->backwards, 1);
        (void)atomic_compare_exchange_strong(&together->last_ns, &last, now_ns);
    }
}

/* Every CPU allocates into its own slots, and frees those of the next one. */
static void allocate_and_free(void *context, unsigned cpu)
{
    struct together *together = context;
    struct held *held = &together->guest->held;
    uint64_t random = cpu;

    for (unsigned i = 0; i < ROUNDS; i++) {
        const uint32_t own = cpu * together->slots + (uint32_t)random_below(&random, together->slots);
        const uint32_t other =
            (cpu + 1) % platform.cpus * together->slots + (uint32_t)random_below(&random, together->slots);
        const unsigned draw = (unsigned)random_below(&random, 16);
        if (held_is_unused(held, own))
            (void)held_allocate(held, own, draw ? 0 : 3, i % 3);
        else
            held_restamp(held, own);
        if (draw < 8 && !held_is_unused(held, other))
            (void)held_free(held, other);
    }
    atomic_fetch_add(&together->done, 1);
}

/* CPU 0 drains all caches and empties pageblocks meanwhile. */
static void allocate_while_drained(void *context, unsigned cpu)
{
    struct together *together = context;
    struct guest *guest = together->guest;
    uint64_t random = 99;

    if (cpu) {
        allocate_and_free(context, cpu);
        return;
    }
    /* However busy the host is, some of it is done. */
    for (unsigned i = 0; i < 200 || atomic_load(&together->done) + 1 < platform.cpus; i++) {
        const uint32_t slot = (uint32_t)random_below(&random, together->slots * platform.cpus);
        const uint64_t pfn = held_pfn(&guest->held, slot) & ~(uint64_t)(PLEAT_PAGEBLOCK_FRAMES - 1);
        pleat_drain(&guest->core);
        if (!pleat_alloc_range(&guest->core, pfn, PLEAT_PAGEBLOCK_FRAMES, PLEAT_NO_TAG))
            together->failures[0] += pleat_free_range(&guest->core, pfn, PLEAT_PAGEBLOCK_FRAMES) != PLEAT_OK;
    }
}

/* Again and again, until another CPU was there in time. */
static void test_help(struct guest *guest, uint32_t slots)
{
    static const char what[] = "an idle CPU helps to empty four pageblocks";
    const uint64_t end_ns = platform_clock_ns() + 10 * SECOND_NS, before = help_frames();
    uint64_t start_pfn;
    struct pleat_look look;
    bool fails = false;

    if (platform.cpus == 1) {
        skip(what, "there is one CPU");
        return;
    }
    if (guest->options.no_help) {
        skip(what, "help=off");
        return;
    }
    for (uint32_t slot = 0; slot < slots; slot++)
        (void)held_allocate(&guest->held, slot, 0, PLEAT_MOVABLE);
    while (help_frames() == before && platform_clock_ns() < end_ns && !fails) {
        if (!find_movable(guest, 4, &start_pfn, &look)) {
            skip(what, "no four neighbours hold nothing but movable frames");
            return;
        }
        fails =
            pleat_alloc_range(&guest->core, start_pfn, UINT64_C(4) * PLEAT_PAGEBLOCK_FRAMES, PLEAT_NO_TAG) ||
            pleat_free_range(&guest->core, start_pfn, UINT64_C(4) * PLEAT_PAGEBLOCK_FRAMES);
    }
    help_rest();
    ok(!fails && help_frames() > before && held_check(&guest->held), "%s: %lu frames gone over", what,
       help_frames() - before);
}

static void run_alone(void *context, unsigned cpu)
{
    struct together *together = context;

    together->failures[cpu] = pleat_port_cpu() != cpu;
    atomic_fetch_add(&together->done, 1);
}

void test_cpus(struct guest *guest)
{
    static struct together together;
    struct held_sums sums;

    together = (struct together){.guest = guest};
    platform_on_all_cpus(run_alone, &together);
    ok(together.done == platform.cpus, "all %u CPUs run", platform.cpus);
    bool all = true;
    for (unsigned cpu = 0; cpu < platform.cpus; cpu++)
        all &= !together.failures[cpu];
    ok(all, "each knows its number");
    platform_on_all_cpus(read_clock, &together);
    ok(!together.backwards, "the clock doesn't go back from CPU to CPU");
    if (platform.cpus > 1) {
        together.done = 0;
        const int error = platform_start(1, run_alone, &together);
        const uint64_t end_ns = platform_clock_ns() + SECOND_NS;
        while (!platform_is_idle(1) && platform_clock_ns() < end_ns)
            pleat_port_pause();
        ok(!error && together.done == 1 && platform_is_idle(1), "a CPU is given something to run");
    } else {
        skip("a CPU is given something to run", "there is one CPU");
    }
    /* At most three quarters of memory, with blocks of 1.4 frames on average: with many CPUs that run out of
     * it, each allocation looks through all slots for what can be reclaimed. */
    const uint64_t slots = pleat_free_frames(&guest->core) / (2 * platform.cpus);
    together.slots = (uint32_t)(slots < MANY_BLOCKS ? slots : MANY_BLOCKS);
    if (!ok(together.slots && !held_reserve(&guest->held, together.slots * platform.cpus),
            "there is memory for a table"))
        return;
    together.done = 0;
    platform_on_all_cpus(allocate_and_free, &together);
    held_sum(&guest->held, &sums);
    ok(guest_check(guest), "%lu allocations and %lu frees by all CPUs at once", sums.allocations, sums.frees);
    together.done = 0;
    platform_on_all_cpus(allocate_while_drained, &together);
    held_sum(&guest->held, &sums);
    ok(guest_check(guest) && !together.failures[0] && sums.migrated_frames,
       "the same while caches are drained and %lu frames moved", sums.migrated_frames);
    held_free_all(&guest->held);
    test_help(guest, together.slots * platform.cpus);
    held_free_all(&guest->held);
    ok(guest_check(guest), "no frame is lost");
    held_end(&guest->held);
}

/* --- device --------------------------------------------------------------------------------------------- */

bool test_detach(struct device *device)
{
    const uint64_t end_ns = platform_clock_ns() + 30 * SECOND_NS;
    int result;

    if (pleat_virtio_mem_driver_detach_begin(device->driver, PLEAT_VIRTIO_MEM_DETACH_GIVE_BACK))
        return false;
    device->wake = PLEAT_VIRTIO_MEM_WAKE_NOW;
    while ((result = pleat_virtio_mem_driver_detach_result(device->driver, NULL, 0)) == PLEAT_MORE &&
           platform_clock_ns() < end_ns) {
        platform_wake_begin();
        const uint64_t now_ns = platform_clock_ns();
        const uint64_t next = devices_serve(device->guest, now_ns);
        if (next > now_ns)
            platform_idle(next);
    }
    return result == PLEAT_OK;
}

/* The first block of the device that is plugged, or isn't; false if there is none. */
static bool find_block(const struct device *device, bool plugged, uint64_t *address)
{
    const uint64_t end = device->needs.region_address + device->needs.region_bytes;

    for (*address = device->needs.region_address; *address < end; *address += device->needs.block_bytes)
        if (pleat_virtio_mem_driver_is_plugged(device->driver, *address) == plugged)
            return true;
    return false;
}

static bool can_touch(const struct guest *guest, uint64_t address, bool write)
{
    return platform_touch(guest_pointer(guest, address >> pleat_frame_shift(&guest->core)), write);
}

static void test_touches(const struct device *device)
{
    const struct guest *guest = device->guest;
    const uint64_t last = device->needs.block_bytes - 4096;
    uint64_t address;

    if (find_block(device, true, &address))
        ok(can_touch(guest, address + last, false), "%s: plugged memory can be read", device->name);
    if (!find_block(device, false, &address)) {
        skip("unplugged memory faults", "all is plugged");
        return;
    }
    ok(!can_touch(guest, address, false) && !can_touch(guest, address + last, false),
       "%s: a read of unplugged memory faults", device->name);
    ok(!can_touch(guest, address, true), "%s: a write faults, too", device->name);
}

/* Fills all memory with movable frames, so that those of the device are in use, too. */
static void test_use(struct device *device, uint64_t plugged_frames)
{
    struct guest *guest = device->guest;
    struct held_sums sums;
    uint32_t slots = 0;

    while (slots < guest->held.slots && held_allocate(&guest->held, slots, 0, PLEAT_MOVABLE))
        slots++;
    held_sum(&guest->held, &sums);
    ok(held_check(&guest->held) && slots > plugged_frames,
       "%u frames hold what is written to them, those of the device among them", slots);
    /* Half of what is in use beyond the device's size goes, at even distances, and all has room elsewhere. */
    for (uint32_t slot = 0; slot < slots; slot++)
        if (slot % 8)
            (void)held_free(&guest->held, slot);
}

static void test_one_device(struct device *device)
{
    struct guest *guest = device->guest;
    struct pleat_virtio_mem_status status;
    struct held_sums before, after;
    struct short_text size;

    pleat_virtio_mem_driver_status(device->driver, &status);
    const uint64_t wanted = status.requested_bytes;
    if (!ok(status.plugged_bytes == wanted && status.ready_bytes == wanted,
            "%s: %s are plugged, as requested", device->name, size_text(&size, wanted)))
        return;
    test_touches(device);
    if (wanted) {
        test_use(device, wanted >> pleat_frame_shift(&guest->core));
        held_sum(&guest->held, &before);
        ok(test_detach(device), "%s: all goes back, with memory in use", device->name);
        held_sum(&guest->held, &after);
        ok(held_check(&guest->held), "%lu frames were moved, with their content",
           after.migrated_frames - before.migrated_frames);
        held_free_all(&guest->held);
        test_touches(device);
        ok(!pleat_virtio_mem_driver_attach(device->driver), "%s: the driver attaches again", device->name);
        device->wake = PLEAT_VIRTIO_MEM_WAKE_NOW;
        ok(devices_settle(guest, 30 * SECOND_NS), "%s: it comes to rest", device->name);
        pleat_virtio_mem_driver_status(device->driver, &status);
        ok(status.ready_bytes == wanted, "%s: %s are plugged again", device->name, size_text(&size, wanted));
    }
    ok(guest_check(guest), "%s: no frame is lost", device->name);
}

void test_device(struct guest *guest)
{
    if (!ok(guest->device_count, "there is a device") ||
        !ok(devices_settle(guest, 30 * SECOND_NS), "the devices come to rest"))
        return;
    ok(!held_reserve(&guest->held, (uint32_t)pleat_free_frames(&guest->core)), "there is memory for a table");
    for (unsigned i = 0; i < guest->device_count; i++)
        test_one_device(&guest->devices[i]);
    held_end(&guest->held);
}

int guest_test(struct guest *guest)
{
    if (guest->options.tests & TEST_CORE)
        test_core(guest);
    if (guest->options.tests & TEST_CPUS)
        test_cpus(guest);
    if (guest->options.tests & TEST_DEVICE)
        test_device(guest);
    if (guest->options.tests & TEST_FAULTS)
        test_faults(guest);
    if (guest->options.tests & TEST_XEN_MEMORY)
        test_xen_memory(guest);
    if (guest->options.tests & TEST_XEN_EVENTS)
        test_xen_events(guest);
    if (guest->options.tests & TEST_XEN_GRANTS)
        test_xen_grants(guest);
    if (guest->options.tests & TEST_XEN_BALLOON)
        test_xen_balloon(guest);
    if (guest->options.tests & TEST_XEN_UNPOPULATED)
        test_xen_unpopulated(guest);
    return done_testing();
}

/* --- stray ---------------------------------------------------------------------------------------------- */

int guest_stray(struct guest *guest)
{
    uint64_t address;

    (void)devices_settle(guest, 30 * SECOND_NS);
    for (unsigned i = 0; i < guest->device_count; i++)
        if (find_block(&guest->devices[i], false, &address)) {
            volatile unsigned char *byte = guest_pointer(guest, address >> pleat_frame_shift(&guest->core));
            print("guest: reads unplugged memory at PFN 0x%lx\n", address >> pleat_frame_shift(&guest->core));
            print("guest: it could be read: 0x%x\n", *byte);
            return 1;
        }
    print("guest: nothing is unplugged\n");
    return 1;
}
