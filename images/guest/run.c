/* SPDX-License-Identifier: MIT
 *
 * `run`: the devices are followed for ever, with a workload on all CPUs, or with memory that was filled with
 * small objects of which half are gone. `q` on the console ends it: then everything is checked.
 */
#include "guest.h"

#include "ports/bare/print.h"

#include "help.h"

/* Operations between two looks at the devices. */
#define BATCH 64u
/* The console is looked at so often. */
#define CONSOLE_NS UINT64_C(20000000)
/* How long the devices may take to come to rest before memory is filled. */
#define SETTLE_NS UINT64_C(60000000000)

/* --- the other CPUs ------------------------------------------------------------------------------------- */

static void work(void *context, unsigned cpu)
{
    struct guest *guest = context;

    while (!atomic_load(&guest->stops)) {
        platform_wake_begin();
        const uint64_t now_ns = platform_clock_ns();
        const uint64_t when = workload_run(&guest->workload, cpu, now_ns, BATCH);
        if (when > now_ns && !atomic_load(&guest->stops) && !help_once(guest))
            platform_idle(when);
    }
}

static int start_workload(struct guest *guest)
{
    const struct workload_options *options = &guest->options.workload;
    int error = workload_begin(&guest->workload, &guest->held, options, guest->boot_frames, platform.cpus);

    help_rest();
    for (unsigned cpu = 1; cpu < guest->workload.cpus && !error; cpu++)
        error = platform_start(cpu, work, guest);
    if (error)
        print("guest: no workload: %s\n", pleat_error_text(error));
    else
        print("guest: workload on %u CPUs: fills %u %% of %lu frames, %u %% unmovable\n",
              guest->workload.cpus, options->fill_ppm / 10000, guest->boot_frames,
              options->unmovable_ppm / 10000);
    return error;
}

static void stop_workload(struct guest *guest)
{
    atomic_store(&guest->stops, true);
    for (unsigned cpu = 1; cpu < guest->workload.cpus; cpu++) {
        platform_wake(cpu);
        while (!platform_is_idle(cpu))
            platform_idle(platform_clock_ns() + 1000000);
    }
    workload_settle(&guest->workload);
}

/* --- filling -------------------------------------------------------------------------------------------- */

static void fill_on_cpu(void *context, unsigned cpu)
{
    fill_allocate(context, cpu);
}

static void free_on_cpu(void *context, unsigned cpu)
{
    fill_free(context, cpu);
}

static uint64_t used_frames(struct guest *guest)
{
    pleat_drain(&guest->core);
    return pleat_online_frames(&guest->core) - pleat_free_frames(&guest->core);
}

static uint64_t floor_frames(const struct guest *guest)
{
    const uint64_t bytes = guest->options.floor_bytes;

    if (bytes == UINT64_MAX)
        return 0;
    return (bytes ? bytes : UINT64_C(64) << 20) >> pleat_frame_shift(&guest->core);
}

static int fill(struct guest *guest)
{
    static const char *const kinds[] = {"movable", "mixed", "unmovable"};
    const struct guest_options *options = &guest->options;
    struct held_sums full, left;

    if (!devices_settle(guest, SETTLE_NS))
        print("guest: a device isn't at rest yet; fills even so\n");
    const int error = fill_begin(&guest->fill, &guest->held, options->objects, options->free_ppm,
                                 options->fill_bytes, platform.cpus);
    if (error) {
        print("guest: can't fill: %s\n", pleat_error_text(error));
        return error;
    }
    platform_on_all_cpus(fill_on_cpu, &guest->fill);
    held_sum(&guest->held, &full);
    guest->bound = (struct fill_bound){
        .boot_frames = guest->boot_frames,
        .plugged_frames = devices_plugged_bytes(guest) >> pleat_frame_shift(&guest->core),
        .peak_unmovable_frames = used_frames(guest) - full.held_frames[PLEAT_MOVABLE],
        .floor_frames = floor_frames(guest),
    };
    platform_on_all_cpus(free_on_cpu, &guest->fill);
    held_sum(&guest->held, &left);
    guest->bound.used_frames = used_frames(guest);
    guest->bound_frames = fill_bound_frames(&guest->bound);
    guest->said_plugged_frames = UINT64_MAX;
    print(
        "fill: %s objects, %lu MiB movable and %lu MiB unmovable, %lu refused; %lu and %lu MiB left; bound: "
        "%lu of %lu MiB\n",
        kinds[options->objects], full.held_frames[PLEAT_MOVABLE] >> 8, full.held_frames[PLEAT_UNMOVABLE] >> 8,
        full.refused, left.held_frames[PLEAT_MOVABLE] >> 8, left.held_frames[PLEAT_UNMOVABLE] >> 8,
        guest->bound_frames >> 8, guest->bound.plugged_frames >> 8);
    return PLEAT_OK;
}

/* --- the loop ------------------------------------------------------------------------------------------- */

static void say_filled(const struct guest *guest, bool *said)
{
    struct held_sums sums;

    if (*said || !guest->options.has_workload || !workload_is_filled(&guest->workload))
        return;
    *said = true;
    held_sum(&guest->held, &sums);
    print("guest: workload holds %lu movable, %lu unmovable, %lu reclaimable frames\n",
          sums.held_frames[PLEAT_MOVABLE], sums.held_frames[PLEAT_UNMOVABLE],
          sums.held_frames[PLEAT_RECLAIMABLE]);
}

static void follow(struct guest *guest)
{
    bool said_filled = false;
    int byte;

    while ((byte = platform_read()) != 'q' && guest->domain.end == DOMAIN_RUNS) {
        domain_typed(&guest->domain, byte);
        platform_wake_begin();
        const uint64_t now_ns = platform_clock_ns();
        uint64_t next = devices_serve(guest, now_ns);
        const uint64_t domain_next = domain_serve(&guest->domain, now_ns);
        next = domain_next < next ? domain_next : next;
        if (byte >= 0)
            next = 0;
        if (guest->options.has_workload) {
            const uint64_t when = workload_run(&guest->workload, 0, now_ns, BATCH);
            next = when < next ? when : next;
            say_filled(guest, &said_filled);
        }
        const uint64_t tell_ns = blocks_tell(guest, now_ns);
        next = tell_ns < next ? tell_ns : next;
        if (next > now_ns)
            platform_idle(next < now_ns + CONSOLE_NS ? next : now_ns + CONSOLE_NS);
    }
}

int guest_run(struct guest *guest)
{
    if (guest->options.has_workload && guest->options.fill_bytes) {
        print("guest: command line: expected workload or fill, found both\n");
        return 2;
    }
    if (guest->options.tells_blocks) {
        const int error = blocks_begin(guest);
        if (error) {
            print("guest: can't tell its blocks: %s\n", pleat_error_text(error));
            return 1;
        }
    }
    domain_begin(guest);
    if (guest->options.has_workload && start_workload(guest))
        return 1;
    if (guest->options.fill_bytes && fill(guest))
        return 1;
    print("guest: runs; q on the console ends it\n");
    follow(guest);
    if (guest->options.has_workload)
        stop_workload(guest);
    const bool stopped = domain_stop(&guest->domain), good = guest_check(guest) && stopped;
    print("guest: ended, %s\n", good ? "all is well" : "something was wrong");
    if (good && guest->domain.end == DOMAIN_REBOOT)
        platform_xen_reboot();
    return good ? 0 : 1;
}
