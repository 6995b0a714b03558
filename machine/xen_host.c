/* SPDX-License-Identifier: MIT
 *
 * The host's side of a guest on Xen: the hypervisor, the store, and a second domain for the guest to exchange
 * frames with. The guest's domain has boot RAM where the guest's boot map says, and addresses beyond it that
 * it may grow into; the toolstack here is what `xl` is to a real one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "machine/machine_parts.h"

#define FRAME_SHIFT PLEAT_LAYOUT_FRAME_SHIFT
#define GUEST       PLEAT_XEN_HOST_GUEST
/* A page of entries, as a guest starts with. */
#define GRANTS 512u
/* What `xl` adds to a target for a domain's maximum (LIBXL_MAXMEM_CONSTANT, 1 MiB). */
#define MAXIMUM_SLACK_FRAMES (PLEAT_MIB >> FRAME_SHIFT)

static uint64_t clock_ns(void *context)
{
    const struct pleat_machine *machine = context;

    return pleat_clock_now_ns(&machine->clock);
}

/* All of it, firmware's places too, as a toolstack does; on demand where there is less for it. */
static int build_boot_memory(struct pleat_machine *machine)
{
    const struct pleat_guest_memory_space *space = &machine->space;
    const struct pleat_machine_config *config = machine->config;
    const bool on_demand = config->xen_memory_bytes < config->ram_bytes;
    uint64_t pool = config->xen_memory_bytes >> FRAME_SHIFT;
    int error = PLEAT_OK;

    for (unsigned i = 0; i < space->piece_count && !error; i++) {
        const uint64_t pfn = space->piece[i].start >> FRAME_SHIFT;
        const uint64_t frames = space->piece[i].bytes >> FRAME_SHIFT;
        if (on_demand)
            error = pleat_xen_domain_build_on_demand(machine->xen.guest, pfn, frames, pool);
        else
            error = pleat_xen_domain_build(machine->xen.guest, pfn, frames);
        pool = 0;
    }
    return error;
}

static int make_domains(struct pleat_machine *machine)
{
    struct pleat_xen_host *host = &machine->xen;
    struct pleat_xen_domain_config config = {
        .id = GUEST,
        .frames = machine->space.bytes >> FRAME_SHIFT,
        .memory = machine->space.base,
        .maximum_frames = (machine->config->xen_memory_bytes >> FRAME_SHIFT) + MAXIMUM_SLACK_FRAMES,
        .grant_count = GRANTS,
    };
    int error = pleat_xen_domain_create(host->hypervisor, &config, &host->guest);

    if (!error)
        error = build_boot_memory(machine);
    config = (struct pleat_xen_domain_config){.id = PLEAT_XEN_HOST_PEER,
                                              .frames = 2 * PLEAT_XEN_HOST_PEER_FRAMES,
                                              .grant_count = PLEAT_XEN_HOST_PEER_FRAMES,
                                              .without_faults = true};
    if (!error)
        error = pleat_xen_domain_create(host->hypervisor, &config, &host->peer);
    return error ? error : pleat_xen_domain_build(host->peer, 0, PLEAT_XEN_HOST_PEER_FRAMES);
}

static int make_store(struct pleat_machine *machine)
{
    struct pleat_xen_host *host = &machine->xen;
    const struct pleat_xen_store_server_config config = {
        .faults = machine->faults, .clock_ns = clock_ns, .context = machine};
    const struct pleat_xen_store_domain_config guest = {
        .id = GUEST,
        .name = machine->config->name[0] ? machine->config->name : "guest",
        .static_max_kib = machine->config->ram_bytes / PLEAT_KIB,
        .target_kib = machine->config->xen_memory_bytes / PLEAT_KIB,
    };
    const int error = pleat_xen_store_server_create(&config, &host->store);

    return error ? error : pleat_xen_store_server_introduce(host->store, host->guest, &guest);
}

int pleat_xen_host_create(struct pleat_machine *machine, struct pleat_message *message)
{
    struct pleat_xen_host *host = &machine->xen;
    const struct pleat_xen_hypervisor_config config = {
        .faults = machine->faults, .clock_ns = clock_ns, .clock_context = machine};

    *host = (struct pleat_xen_host){.target_bytes = machine->config->xen_memory_bytes,
                                    .told_bytes = machine->config->xen_memory_bytes,
                                    .asked_ns = pleat_clock_now_ns(&machine->clock)};
    int error = pleat_xen_hypervisor_create(&config, &host->hypervisor);
    if (!error)
        error = make_domains(machine);
    if (!error)
        error = make_store(machine);
    if (error) {
        pleat_xen_host_destroy(machine);
        pleat_message_set(message, error, "the domain can't be made: %s", pleat_error_text(error));
    }
    return error;
}

void pleat_xen_host_destroy(struct pleat_machine *machine)
{
    struct pleat_xen_host *host = &machine->xen;

    pleat_xen_store_server_destroy(host->store);
    pleat_xen_domain_destroy(host->guest);
    pleat_xen_domain_destroy(host->peer);
    pleat_xen_hypervisor_destroy(host->hypervisor);
    *host = (struct pleat_xen_host){.hypervisor = NULL};
}

bool pleat_xen_host_touch(const struct pleat_machine *machine, uint64_t pfn)
{
    struct pleat_xen_domain *guest = machine->xen.guest;

    if (pleat_xen_domain_touch(guest, pfn))
        return true;
    /* A hole stays one: who touches it is to be named. */
    return pleat_xen_domain_frame(guest, pfn) == PLEAT_XEN_ON_DEMAND &&
           mmap(pleat_xen_domain_pointer(guest, pfn), PLEAT_XEN_FRAME_BYTES, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

int pleat_xen_host_set_target(struct pleat_machine *machine, uint64_t bytes, struct pleat_message *message)
{
    struct pleat_xen_host *host = &machine->xen;
    char path[64], kib[24];

    if (!bytes)
        return pleat_message_set(message, PLEAT_E_INVALID, "Parameter 'target' expects a size");
    if (bytes > machine->config->maximum_bytes)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "the target (0x%" PRIx64 ") cannot exceed maxmem (0x%" PRIx64 ")", bytes,
                                 machine->config->maximum_bytes);
    snprintf(path, sizeof path, "/local/domain/%u/memory/target", GUEST);
    snprintf(kib, sizeof kib, "%" PRIu64, bytes / PLEAT_KIB);
    pleat_xen_domain_set_maximum(host->guest, (bytes >> FRAME_SHIFT) + MAXIMUM_SLACK_FRAMES);
    /* As `xl mem-set` has it: the pool first, then the guest is told. */
    int error = pleat_xen_domain_set_target(host->guest, bytes >> FRAME_SHIFT);
    if (error)
        return pleat_message_set(message, error, "the populate-on-demand pool: %s", pleat_error_text(error));
    error = pleat_xen_store_server_write(host->store, path, kib);
    if (error)
        return pleat_message_set(message, error, "%s: %s", path, pleat_error_text(error));
    host->target_bytes = bytes;
    host->asked_ns = pleat_clock_now_ns(&machine->clock);
    pleat_machine_log(machine, PLEAT_LOG_INFO, "balloon", "the target is now %" PRIu64, bytes);
    return PLEAT_OK;
}
