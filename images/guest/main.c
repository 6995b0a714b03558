/* SPDX-License-Identifier: MIT
 *
 * pleat-guest.elf: the guest of a bare machine. Boots the core over what the port has found, and holds all
 * accounts of its frames. options.h has the command line.
 */
#include "guest.h"

#include "ports/bare/print.h"

#include "help.h"

/* The core's own frame size, which is not asked for another. */
#define FRAME_BYTES 4096u

struct guest the_guest;

/* --- the core ------------------------------------------------------------------------------------------- */

static void log_line(void *context, enum pleat_log_level level, const char *line)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};

    (void)context;
    if (level <= the_guest.options.log_level)
        print("guest: %s: %s\n", levels[level], line);
}

static uint64_t reclaim(void *context, unsigned node, uint64_t frames)
{
    struct guest *guest = context;
    const uint64_t freed = held_reclaim(&guest->held, frames);

    (void)node;
    if (freed < frames)
        domain_is_short(&guest->domain, frames - freed);
    return freed;
}

static int make_core(struct guest *guest)
{
    guest->port = platform.port;
    guest->port.log = log_line;
    const uint64_t devices_end_pfn = devices_end() / FRAME_BYTES;
    /* One zone NORMAL for each node: nothing here needs memory below some address, and what no device is
     * restricted to needn't be kept for it. */
    const struct pleat_config config = {
        .port = &guest->port,
        .cpus = platform.cpus,
        .nodes = platform.nodes,
        .highest_pfn = platform.highest_pfn > devices_end_pfn ? platform.highest_pfn : devices_end_pfn,
        .cpu_node = platform.cpu_node,
        .policy = guest->options.policy,
        .policy_ratio = guest->options.policy_ratio,
        .reclaim = reclaim,
        .reclaim_context = guest,
        .help = guest->options.no_help ? NULL : help_welcome,
        .help_context = guest,
    };
    int error = pleat_init(&guest->core, &config, platform.spans, platform.span_count);
    if (error)
        return error;
    pleat_memory_init(&guest->core, &guest->memory);
    guest->boot_frames = pleat_online_frames(&guest->core);
    guest->used_at_boot = guest->boot_frames - pleat_free_frames(&guest->core);
    const int owner = pleat_owner_register(&guest->core, "virtio-mem", NULL, NULL);
    if (owner < 0)
        return owner;
    guest->owner = (unsigned)owner;
    return held_begin(&guest->held, &guest->core, &guest->port, guest->options.workload.seed);
}

/* Where firmware says that memory may be plugged; an area that overlaps something is named, and not used for
 * anything but its name. */
static void claim_areas(struct guest *guest)
{
    for (unsigned i = 0; i < platform.area_count; i++) {
        const struct platform_area *area = &platform.areas[i];
        struct pleat_resource *conflict = NULL;
        int error = pleat_resource_describe(&guest->areas[i], "Hotplug area", area->start, area->bytes);
        if (!error)
            error = pleat_claim(&guest->core, &guest->areas[i], &conflict);
        if (error)
            print("guest: hotplug area at 0x%lx: %s%s%s\n", area->start, pleat_error_text(error),
                  conflict ? ", with " : "", conflict && conflict->name ? conflict->name : "");
    }
}

int guest_boot(struct guest *guest)
{
    const int error = make_core(guest);
    struct short_text time;

    if (error) {
        print("guest: can't boot: %s\n", pleat_error_text(error));
        return error;
    }
    claim_areas(guest);
    print("guest: %s, %u CPU%s, %u node%s, %lu MiB, %u hotplug area%s, booted at %s ms\n",
          platform.architecture, platform.cpus, platform.cpus == 1 ? "" : "s", platform.nodes,
          platform.nodes == 1 ? "" : "s", guest->boot_frames >> 8, platform.area_count,
          platform.area_count == 1 ? "" : "s", milliseconds_text(&time, platform_clock_ns()));
    devices_find(guest);
    return PLEAT_OK;
}

/* --- frames for drivers --------------------------------------------------------------------------------- */

int guest_allocate(struct guest *guest, size_t bytes, uint64_t *pfn, unsigned *order)
{
    const unsigned shift = pleat_frame_shift(&guest->core);

    *order = 0;
    while ((size_t)1 << (shift + *order) < bytes)
        if (++*order > PLEAT_MAX_ORDER)
            return PLEAT_E_NO_MEMORY;
    const int64_t found = pleat_alloc(&guest->core, *order, PLEAT_UNMOVABLE, pleat_tag_make(guest->owner, 0));
    if (found < 0)
        return (int)found;
    *pfn = (uint64_t)found;
    guest->driver_frames += UINT64_C(1) << *order;
    return PLEAT_OK;
}

void guest_release(struct guest *guest, uint64_t *pfn, unsigned order)
{
    if (!*pfn)
        return;
    (void)pleat_free(&guest->core, *pfn, order);
    guest->driver_frames -= UINT64_C(1) << order;
    *pfn = 0;
}

void *guest_pointer(const struct guest *guest, uint64_t pfn)
{
    return guest->port.frame_pointer(guest->port.context, pfn);
}

/* --- accounts ------------------------------------------------------------------------------------------- */

static bool drivers_are_valid(const struct guest *guest)
{
    for (unsigned i = 0; i < guest->device_count; i++)
        if (guest->devices[i].driver && !pleat_virtio_mem_driver_is_valid(guest->devices[i].driver)) {
            print("guest: the books of %s don't add up\n", guest->devices[i].name);
            return false;
        }
    return true;
}

bool guest_check(struct guest *guest)
{
    struct held_sums sums;
    bool good = held_check(&guest->held);

    held_sum(&guest->held, &sums);
    pleat_drain(&guest->core);
    const uint64_t used = pleat_online_frames(&guest->core) - pleat_free_frames(&guest->core);
    const uint64_t known = guest->used_at_boot + guest->driver_frames + held_table_frames(&guest->held) +
                           sums.held_frames[0] + sums.held_frames[1] + sums.held_frames[2];
    if (used != known) {
        print("guest: %lu frames are in use, %lu are known: some are lost or doubled\n", used, known);
        good = false;
    }
    if (!pleat_is_valid(&guest->core)) {
        print("guest: the core's invariants don't hold\n");
        good = false;
    }
    print("guest: %lu allocations, %lu frees, %lu refused, %lu frames moved, %lu reclaimed, %lu blocks "
          "checked, %lu wrong\n",
          sums.allocations, sums.frees, sums.refused, sums.migrated_frames, sums.reclaimed_frames,
          sums.checked, sums.wrong);
    if (help_frames())
        print("guest: other CPUs went over %lu frames of what was taken\n", help_frames());
    return drivers_are_valid(guest) && domain_is_valid(&guest->domain) && good;
}

int image_main(void)
{
    static int (*const modes[])(struct guest * guest) = {[MODE_RUN] = guest_run,
                                                         [MODE_TEST] = guest_test,
                                                         [MODE_BENCH] = guest_bench,
                                                         [MODE_STRAY] = guest_stray};
    struct guest *guest = &the_guest;
    char message[256];

    if (options_parse(platform.command_line, &guest->options, message, sizeof message)) {
        print("guest: %s\n", message);
        return 2;
    }
    if (guest_boot(guest))
        return 1;
    return modes[guest->options.mode](guest);
}
