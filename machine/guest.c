/* SPDX-License-Identifier: MIT
 *
 * A boot of the guest: a core over boot RAM as firmware describes it, a driver for each device, a workload.
 * What an operating system would do around them is here: it finds devices, gives drivers their memory out of
 * the guest's own, passes interrupts on, and calls the drivers when they want to be called.
 */
#include "machine/machine_parts.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_SHIFT PLEAT_LAYOUT_FRAME_SHIFT
#define FRAME_BYTES (UINT64_C(1) << FRAME_SHIFT)
/* Zones consist of whole memory blocks: the first one is the smallest DMA zone that there can be. */
#define DMA_END_PFN         (PLEAT_LAYOUT_BLOCK_BYTES >> FRAME_SHIFT)
#define DMA32_END_PFN       (UINT64_C(4) << 30 >> FRAME_SHIFT)
#define CHORE_INTERVAL_NS   UINT64_C(50000000)
#define MAILBOX_INTERVAL_NS UINT64_C(10000000)
#define OFFLINE_TIMEOUT_NS  UINT64_C(10000000000)
#define PINS_MAX            64u
#define OFFLINE_BUDGET      1024u

/* A driver on its device. */
struct guest_driver {
    struct pleat_device_slot *slot;
    struct pleat_virtio_mem_driver *driver; /* NULL: the guest could make none */
    uint64_t storage_pfn, shared_pfn;
    unsigned storage_order, shared_order;
    enum pleat_virtio_mem_wake wake;
    bool busy;
    uint64_t busy_since_ns, last_step_ns;
    uint64_t moved_before, last_moved_bytes;
    char refusal[128]; /* why there is no driver */
};

/* Frames that are kept for device I/O. */
struct pin {
    uint64_t block_pfn, pfn, frames;
};

struct pleat_guest {
    struct pleat core; /* first: the drivers' context is this address */
    struct pleat_machine *machine;
    struct pleat_hosted *hosted;
    struct pleat_memory memory;
    struct pleat_memory_ops ops; /* the core's, with faults in between */
    int (*core_add)(void *context, const struct pleat_memory_range *range);
    struct pleat_listener listener;
    struct guest_driver drivers[PLEAT_MACHINE_DEVICES_MAX];
    unsigned driver_count;
    struct pleat_guest_xen *xen; /* NULL: not on Xen */
    struct pleat_workload *workload;
    unsigned owner;     /* of what the drivers need */
    unsigned dma_owner; /* of what is pinned */
    struct pin pins[PINS_MAX];
    unsigned pin_count;
    uint64_t pinned_frames;
    uint64_t used_at_boot, driver_frames; /* what isn't free, besides what the workload holds */
    uint64_t next_chore_ns;
    struct pleat_take offline;
};

static uint64_t now_ns(const struct pleat_guest *guest)
{
    return pleat_clock_now_ns(&guest->machine->clock);
}

/* ---- the port ---- */

/* The devices make memory accessible and inaccessible when it is plugged and unplugged; the port keeps
 * account of what the guest has mapped, and names a touch of anything else. */
static int map(void *context, uint64_t pfn, uint64_t frames)
{
    (void)context;
    (void)pfn;
    (void)frames;
    return PLEAT_OK;
}

static void unmap(void *context, uint64_t pfn, uint64_t frames)
{
    (void)context;
    (void)pfn;
    (void)frames;
}

static uint64_t port_clock_ns(void *context)
{
    return now_ns(context);
}

static void port_log(void *context, enum pleat_log_level level, const char *line)
{
    const struct pleat_guest *guest = context;

    pleat_machine_log(guest->machine, level, "guest", "%s", line);
}

/* In a signal handler: copies without calling anything. */
static void describe(void *context, uint64_t pfn, char *text, size_t bytes)
{
    const struct pleat_guest *guest = context;
    static const char words[] = "region of ";
    size_t used = 0;

    for (unsigned i = 0; i < guest->machine->slot_count; i++) {
        const struct pleat_device_slot *slot = guest->machine->slots[i];
        if (pfn < slot->address >> FRAME_SHIFT || pfn >= (slot->address + slot->bytes) >> FRAME_SHIFT)
            continue;
        for (const char *at = words; *at && used + 1 < bytes; at++)
            text[used++] = *at;
        for (const char *at = slot->config.id; *at && used + 1 < bytes; at++)
            text[used++] = *at;
    }
    text[used] = '\0';
}

/* Where a probe of unplugged memory goes on, and what was caught. */
static __thread sigjmp_buf *volatile probe;
static __thread char caught[256];

static void touched(void *context, const struct pleat_hosted_touch *touch)
{
    size_t i = 0;

    (void)context;
    if (!probe)
        return; /* nobody meant to: the port names it and ends the process */
    for (; touch->line[i] && i + 1 < sizeof caught; i++)
        caught[i] = touch->line[i];
    caught[i] = '\0';
    siglongjmp(*probe, 1);
}

/* A frame of a guest on Xen may be there on demand alone. */
static bool bring(void *context, uint64_t pfn, bool write)
{
    const struct pleat_guest *guest = context;

    (void)write;
    return pleat_xen_host_touch(guest->machine, pfn);
}

/* Reads a byte of the guest's memory; true if it was caught. */
static bool touch_is_caught(const struct pleat_guest *guest, uint64_t address)
{
    sigjmp_buf here;

    if (sigsetjmp(here, 1)) {
        probe = NULL;
        return true;
    }
    probe = &here;
    const volatile unsigned char *byte = guest->machine->space.base + address;
    (void)*byte;
    probe = NULL;
    return false;
}

static void touch_unplugged(struct pleat_guest *guest)
{
    for (unsigned i = 0; i < guest->driver_count; i++) {
        const struct pleat_device_slot *slot = guest->drivers[i].slot;
        uint64_t address;

        if (!pleat_device_slot_first_unplugged(slot, &address) ||
            !pleat_fault_hits(guest->machine->faults, PLEAT_FAULT_GUEST_TOUCHES_UNPLUGGED, slot->config.id,
                              now_ns(guest), NULL))
            continue;
        const bool is_caught = touch_is_caught(guest, address);
        if (slot->config.unplugged_inaccessible == PLEAT_OFF)
            /* Such a device lets its driver read zeroes in the usable region (D-OP5). */
            pleat_machine_log(guest->machine, PLEAT_LOG_WARNING, pleat_device_slot_name(slot),
                              is_caught ? "caught: %s" : "unplugged memory was read", caught);
        else if (is_caught)
            pleat_machine_log(guest->machine, PLEAT_LOG_WARNING, pleat_device_slot_name(slot), "caught: %s",
                              caught);
        else
            pleat_machine_panic(guest->machine, "unplugged memory could be read");
    }
}

/* ---- the core ---- */

static uint64_t reclaim(void *context, unsigned node, uint64_t frames)
{
    const struct pleat_guest *guest = context;

    (void)node;
    if (guest->xen)
        pleat_guest_xen_release(guest->xen, frames);
    return guest->workload ? pleat_workload_reclaim(guest->workload, frames) : 0;
}

static void broken(void *context, const char *line)
{
    const struct pleat_guest *guest = context;

    pleat_machine_panic(guest->machine, line);
}

static int add_with_faults(void *context, const struct pleat_memory_range *range)
{
    struct pleat_guest *guest = context;

    if (pleat_fault_hits(guest->machine->faults, PLEAT_FAULT_ADD_REFUSED, NULL, now_ns(guest), NULL))
        return PLEAT_E_NO_MEMORY;
    return guest->core_add(&guest->core, range);
}

static int hear_blocks(void *context, enum pleat_event event, uint64_t start_pfn, uint64_t frames,
                       unsigned node, enum pleat_zone_kind zone)
{
    static const char *const words[] = {"goes online",  "is online",  "stays offline",
                                        "goes offline", "is offline", "stays online"};
    struct pleat_guest *guest = context;
    const uint64_t block_frames = pleat_block_frames(&guest->core);
    const bool may_refuse = event == PLEAT_GOING_ONLINE || event == PLEAT_GOING_OFFLINE;
    const bool refuses = may_refuse && pleat_fault_hits(guest->machine->faults, PLEAT_FAULT_LISTENER_REFUSES,
                                                        NULL, now_ns(guest), NULL);

    pleat_machine_log(guest->machine, may_refuse ? PLEAT_LOG_DEBUG : PLEAT_LOG_INFO, "guest",
                      "memory%" PRIu64 "%s %s, %s, node %u%s", start_pfn / block_frames,
                      frames > block_frames ? " and after" : "", words[event], pleat_machine_zone_name(zone),
                      node, refuses ? ": refused" : "");
    return refuses ? PLEAT_E_REFUSED : PLEAT_OK;
}

static int make_port(struct pleat_guest *guest, struct pleat_message *message)
{
    const struct pleat_guest_memory_space *space = &guest->machine->space;
    const struct pleat_hosted_config config = {
        .frames = space->bytes >> FRAME_SHIFT,
        .memory = space->base,
        .map = map,
        .unmap = unmap,
        .clock_ns = port_clock_ns,
        .log = port_log,
        .log_levels = 4,
        .describe = describe,
        .touched = touched,
        .bring = guest->machine->xen.guest ? bring : NULL,
        .context = guest,
    };
    int error = pleat_hosted_create(&guest->hosted, &config);

    for (unsigned i = 0; i < space->piece_count && !error; i++) {
        const struct pleat_port *port = pleat_hosted_port(guest->hosted);
        error = port->map(port->context, space->piece[i].start >> FRAME_SHIFT,
                          space->piece[i].bytes >> FRAME_SHIFT);
    }
    return error ? pleat_message_set(message, error, "guest: %s", pleat_error_text(error)) : PLEAT_OK;
}

static int make_core(struct pleat_guest *guest, struct pleat_message *message)
{
    const struct pleat_machine_config *machine = guest->machine->config;
    struct pleat_boot_span spans[PLEAT_LAYOUT_SPANS_MAX];
    uint64_t node_bytes[PLEAT_MACHINE_NODES_MAX];
    uint8_t cpu_node[PLEAT_MAX_CPUS] = {0};

    for (unsigned node = 0; node < machine->nodes; node++)
        node_bytes[node] = machine->node[node].memory_bytes;
    memcpy(cpu_node, machine->cpu_node, machine->cpus);
    const struct pleat_config config = {
        .port = pleat_hosted_port(guest->hosted),
        .cpus = machine->cpus + 1, /* and the service thread */
        .nodes = machine->nodes,
        .frame_shift = FRAME_SHIFT,
        .block_pageblocks = PLEAT_LAYOUT_BLOCK_BYTES / (PLEAT_PAGEBLOCK_FRAMES * FRAME_BYTES),
        .highest_pfn = guest->machine->space.bytes >> FRAME_SHIFT,
        .dma_end_pfn = DMA_END_PFN,
        .dma32_end_pfn = DMA32_END_PFN,
        .cpu_node = cpu_node,
        .node_distance = machine->distance,
        .policy = machine->policy,
        .policy_ratio = machine->policy_ratio,
        .reclaim = reclaim,
        .reclaim_context = guest,
    };
    const unsigned count =
        pleat_layout_boot_spans(&guest->machine->layout, node_bytes, machine->nodes, spans);
    const int error = pleat_init(&guest->core, &config, spans, count);
    if (error)
        return pleat_message_set(message, error, "the guest can't boot: %s", pleat_error_text(error));

    pleat_memory_init(&guest->core, &guest->memory);
    guest->ops = *guest->memory.ops;
    guest->core_add = guest->ops.add;
    guest->ops.add = add_with_faults;
    guest->memory.ops = &guest->ops;
    guest->listener = (struct pleat_listener){.event = hear_blocks, .context = guest};
    pleat_listener_add(&guest->core, &guest->listener);
    guest->used_at_boot = pleat_online_frames(&guest->core) - pleat_free_frames(&guest->core);
    const int owner = pleat_owner_register(&guest->core, "virtio-mem", NULL, NULL);
    if (owner < 0)
        return pleat_message_set(message, owner, "guest: %s", pleat_error_text(owner));
    guest->owner = (unsigned)owner;
    const int dma_owner = pleat_owner_register(&guest->core, "dma", NULL, NULL);
    if (dma_owner < 0)
        return pleat_message_set(message, dma_owner, "guest: %s", pleat_error_text(dma_owner));
    guest->dma_owner = (unsigned)dma_owner;
    return PLEAT_OK;
}

static int make_workload(struct pleat_guest *guest, struct pleat_message *message)
{
    struct pleat_machine *machine = guest->machine;
    const struct pleat_workload_config *config = &machine->config->workload;

    if (config->kind == PLEAT_WORKLOAD_NONE)
        return PLEAT_OK;
    const struct pleat_workload_setup setup = {
        .core = &guest->core,
        .memory = machine->space.base,
        .cpus = config->cpus ? config->cpus : machine->config->cpus,
        .operations = config->kind == PLEAT_WORKLOAD_TRACE ? &machine->operations : NULL,
        .synthetic = config->kind == PLEAT_WORKLOAD_SYNTHETIC ? &machine->synthetic : NULL,
        .frames = pleat_online_frames(&guest->core),
        .name = config->kind == PLEAT_WORKLOAD_TRACE ? config->trace_path : "synthetic",
        .speed_ppm = config->speed_ppm,
        .repeat = config->repeat,
        .remote_free = config->remote_free,
        .seed = machine->config->seed,
        .clock = &machine->clock,
        .faults = machine->faults,
        .broken = broken,
        .context = guest,
    };
    return pleat_workload_create(&setup, &guest->workload, message);
}

/* ---- drivers ---- */

/* Frames for a driver, out of the guest's own memory. */
static int allocate(struct pleat_guest *guest, size_t bytes, uint64_t *pfn, unsigned *order)
{
    *order = 0;
    while (FRAME_BYTES << *order < bytes)
        if (++*order > PLEAT_MAX_ORDER)
            return PLEAT_E_NO_MEMORY;
    const int64_t found = pleat_alloc(&guest->core, *order, PLEAT_UNMOVABLE, pleat_tag_make(guest->owner, 0));
    if (found < 0)
        return (int)found;
    *pfn = (uint64_t)found;
    guest->driver_frames += UINT64_C(1) << *order;
    return PLEAT_OK;
}

static void release(struct pleat_guest *guest, uint64_t *pfn, unsigned order)
{
    if (!*pfn)
        return;
    pleat_free(&guest->core, *pfn, order);
    guest->driver_frames -= UINT64_C(1) << order;
    *pfn = 0;
}

static void *pointer(const struct pleat_guest *guest, uint64_t pfn)
{
    return guest->machine->space.base + (pfn << FRAME_SHIFT);
}

void *pleat_guest_storage(struct pleat_guest *guest, size_t bytes)
{
    uint64_t pfn;
    unsigned order;

    if (allocate(guest, bytes, &pfn, &order))
        return NULL;
    return memset(pointer(guest, pfn), 0, FRAME_BYTES << order);
}

static int make_driver(struct pleat_guest *guest, struct guest_driver *driver)
{
    const struct pleat_device_slot *slot = driver->slot;
    struct pleat_virtio_mem_driver_needs needs;
    int error = pleat_virtio_mem_driver_measure(&slot->transport, &guest->memory, &needs);

    if (!error)
        error = allocate(guest, needs.storage_bytes, &driver->storage_pfn, &driver->storage_order);
    if (!error)
        error = allocate(guest, needs.shared_bytes, &driver->shared_pfn, &driver->shared_order);
    if (error)
        return error;
    const struct pleat_virtio_mem_driver_config config = {
        .memory = &guest->memory,
        .transport = &slot->transport,
        .storage = pointer(guest, driver->storage_pfn),
        .storage_bytes = needs.storage_bytes,
        .shared = pointer(guest, driver->shared_pfn),
        .shared_physical = driver->shared_pfn << FRAME_SHIFT,
        .shared_bytes = needs.shared_bytes,
        .name = slot->range_name,
        .node = slot->config.node,
        .floor_bytes = guest->machine->config->floor_bytes,
    };
    return pleat_virtio_mem_driver_create(&config, &driver->driver);
}

void pleat_guest_device_added(struct pleat_guest *guest, struct pleat_device_slot *slot)
{
    struct guest_driver *driver = &guest->drivers[guest->driver_count++];

    *driver = (struct guest_driver){.slot = slot, .busy = true, .busy_since_ns = now_ns(guest)};
    const int error = make_driver(guest, driver);
    if (!error)
        return;
    driver->busy = false;
    driver->wake = PLEAT_VIRTIO_MEM_WAKE_NEVER;
    release(guest, &driver->storage_pfn, driver->storage_order);
    release(guest, &driver->shared_pfn, driver->shared_order);
    snprintf(driver->refusal, sizeof driver->refusal, "no driver: %s", pleat_error_text(error));
    pleat_machine_log(guest->machine, PLEAT_LOG_WARNING, pleat_device_slot_name(slot), "%s", driver->refusal);
}

static struct guest_driver *driver_of(struct pleat_guest *guest, const struct pleat_device_slot *slot)
{
    for (unsigned i = 0; i < guest->driver_count; i++)
        if (guest->drivers[i].slot == slot)
            return &guest->drivers[i];
    return NULL;
}

/* Waits that somebody else ends, in short; everything else is a state of rest. */
static bool is_on_the_way(enum pleat_virtio_mem_reason reason)
{
    switch (reason) {
    case PLEAT_VIRTIO_MEM_REASON_STARTING:
    case PLEAT_VIRTIO_MEM_REASON_WORKING:
    case PLEAT_VIRTIO_MEM_REASON_BUSY:
    case PLEAT_VIRTIO_MEM_REASON_ERROR:
    case PLEAT_VIRTIO_MEM_REASON_SILENT:
        return true;
    default:
        return false;
    }
}

static bool is_settled(const struct guest_driver *driver)
{
    if (!driver->driver)
        return true;
    return driver->wake != PLEAT_VIRTIO_MEM_WAKE_NOW && !driver->slot->interrupted &&
           !driver->slot->leaving && !is_on_the_way(pleat_virtio_mem_driver_reason(driver->driver, NULL, 0));
}

/* The driver has come to rest: how long it took, and what came of it. */
static void settle(struct pleat_guest *guest, struct guest_driver *driver)
{
    const struct pleat_device_slot *slot = driver->slot;
    struct pleat_virtio_mem_statistics statistics;
    char reason[256];

    pleat_virtio_mem_driver_statistics(driver->driver, &statistics);
    pleat_virtio_mem_driver_reason(driver->driver, reason, sizeof reason);
    driver->busy = false;
    driver->last_step_ns = now_ns(guest) - driver->busy_since_ns;
    driver->last_moved_bytes = statistics.moved_bytes - driver->moved_before;
    pleat_machine_log(guest->machine, PLEAT_LOG_INFO, pleat_device_slot_name(slot),
                      "%" PRIu64 " of %" PRIu64 " bytes plugged after %.3f ms, %" PRIu64 " frames moved: %s",
                      pleat_virtio_mem_device_plugged_bytes(slot->device),
                      pleat_virtio_mem_device_requested_bytes(slot->device),
                      (double)driver->last_step_ns / 1e6, driver->last_moved_bytes >> FRAME_SHIFT, reason);
    pleat_machine_tell(guest->machine, PLEAT_EVENT_DRIVER, slot,
                       pleat_virtio_mem_device_plugged_bytes(slot->device), reason);
}

static void begin_to_work(struct pleat_guest *guest, struct guest_driver *driver)
{
    struct pleat_virtio_mem_statistics statistics;

    pleat_virtio_mem_driver_statistics(driver->driver, &statistics);
    driver->busy = true;
    driver->busy_since_ns =
        driver->slot->asked_ns > driver->busy_since_ns ? driver->slot->asked_ns : now_ns(guest);
    driver->moved_before = statistics.moved_bytes;
}

/* Interrupts go to the driver; returns when it wants to be called. */
static uint64_t serve_driver(struct pleat_guest *guest, struct guest_driver *driver)
{
    struct pleat_device_slot *slot = driver->slot;
    uint64_t when = UINT64_MAX;

    if (!driver->driver)
        return when;
    if (slot->interrupted) {
        slot->interrupted = false;
        pleat_virtio_mem_driver_interrupt(
            driver->driver, slot->transport.ops->interrupt_acknowledge(slot->transport.context));
        driver->wake = PLEAT_VIRTIO_MEM_WAKE_NOW;
    }
    if (driver->wake == PLEAT_VIRTIO_MEM_WAKE_AT_TIME) {
        when = pleat_virtio_mem_driver_wake_ns(driver->driver);
        if (when <= now_ns(guest))
            driver->wake = PLEAT_VIRTIO_MEM_WAKE_NOW;
    }
    if (driver->wake == PLEAT_VIRTIO_MEM_WAKE_NOW) {
        if (!driver->busy)
            begin_to_work(guest, driver);
        driver->wake = pleat_virtio_mem_driver_step(driver->driver, 0);
        when = driver->wake == PLEAT_VIRTIO_MEM_WAKE_AT_TIME ? pleat_virtio_mem_driver_wake_ns(driver->driver)
                                                             : UINT64_MAX;
        if (driver->busy && is_settled(driver))
            settle(guest, driver);
    }
    return driver->wake == PLEAT_VIRTIO_MEM_WAKE_NOW || slot->interrupted ? 0 : when;
}

/* ---- devices that go ---- */

void pleat_guest_device_leaves(struct pleat_guest *guest, struct pleat_device_slot *slot)
{
    struct guest_driver *driver = driver_of(guest, slot);

    if (pleat_fault_hits(guest->machine->faults, PLEAT_FAULT_GUEST_REFUSES_UNPLUG, slot->config.id,
                         now_ns(guest), NULL) ||
        (driver && driver->driver &&
         pleat_virtio_mem_driver_detach_begin(driver->driver, PLEAT_VIRTIO_MEM_DETACH_GIVE_BACK))) {
        pleat_machine_tell(guest->machine, PLEAT_EVENT_DEVICE_UNPLUG_GUEST_ERROR, slot, 0, "");
        return;
    }
    slot->leaving = true;
    if (driver)
        driver->wake = PLEAT_VIRTIO_MEM_WAKE_NOW;
}

/* Forgets driver number `index`; its device goes with it. */
static void remove_driver(struct pleat_guest *guest, unsigned index)
{
    struct guest_driver *driver = &guest->drivers[index];
    struct pleat_device_slot *slot = driver->slot;

    release(guest, &driver->storage_pfn, driver->storage_order);
    release(guest, &driver->shared_pfn, driver->shared_order);
    memmove(driver, driver + 1, (--guest->driver_count - index) * sizeof *driver);
    pleat_machine_tell(guest->machine, PLEAT_EVENT_DEVICE_DELETED, slot, 0, "");
    pleat_machine_remove_slot(guest->machine, slot);
}

static void serve_leavers(struct pleat_guest *guest)
{
    for (unsigned i = 0; i < guest->driver_count; i++) {
        struct guest_driver *driver = &guest->drivers[i];
        char why[256] = "";
        int result = PLEAT_OK;

        if (!driver->slot->leaving)
            continue;
        if (driver->driver)
            result = pleat_virtio_mem_driver_detach_result(driver->driver, why, sizeof why);
        if (result == PLEAT_MORE)
            continue;
        if (!result) {
            remove_driver(guest, i--);
            continue;
        }
        driver->slot->leaving = false;
        pleat_machine_tell(guest->machine, PLEAT_EVENT_DEVICE_UNPLUG_GUEST_ERROR, driver->slot, 0, why);
    }
}

/* ---- service ---- */

uint64_t pleat_guest_service(struct pleat_guest *guest, bool running)
{
    const uint64_t now = now_ns(guest);
    uint64_t next = UINT64_MAX;

    for (unsigned i = 0; running && i < guest->driver_count; i++) {
        const uint64_t when = serve_driver(guest, &guest->drivers[i]);
        next = when < next ? when : next;
    }
    if (guest->xen) {
        const uint64_t when = pleat_guest_xen_service(guest->xen, running);
        next = when < next ? when : next;
    }
    serve_leavers(guest);
    if (now >= guest->next_chore_ns) {
        guest->next_chore_ns = now + CHORE_INTERVAL_NS;
        if (running)
            touch_unplugged(guest);
        pleat_recorder_sample(guest->machine->recorder, guest->machine);
    }
    return next < guest->next_chore_ns ? next : guest->next_chore_ns;
}

uint64_t pleat_guest_run_cpu(struct pleat_guest *guest, unsigned cpu, uint64_t operations)
{
    if (!guest->workload)
        return UINT64_MAX;
    /* A CPU whose stream has ended still frees what others hand to it. */
    const uint64_t when = pleat_workload_run(guest->workload, cpu, operations);
    const uint64_t latest = now_ns(guest) + MAILBOX_INTERVAL_NS;
    return when < latest ? when : latest;
}

void pleat_guest_memory_changed(struct pleat_guest *guest)
{
    for (unsigned i = 0; i < guest->driver_count; i++) {
        if (!guest->drivers[i].driver)
            continue;
        pleat_virtio_mem_driver_memory_changed(guest->drivers[i].driver);
        guest->drivers[i].wake = PLEAT_VIRTIO_MEM_WAKE_NOW;
    }
    if (guest->xen)
        pleat_guest_xen_memory_changed(guest->xen);
}

bool pleat_guest_is_settled(struct pleat_guest *guest)
{
    for (unsigned i = 0; i < guest->driver_count; i++)
        if (!is_settled(&guest->drivers[i]))
            return false;
    return !guest->xen || pleat_guest_xen_is_settled(guest->xen);
}

int pleat_guest_driver_info(struct pleat_guest *guest, const struct pleat_device_slot *slot,
                            struct pleat_driver_info *info)
{
    const struct guest_driver *driver = guest ? driver_of(guest, slot) : NULL;
    struct pleat_virtio_mem_statistics statistics;
    struct pleat_virtio_mem_status status;

    memset(info, 0, sizeof *info);
    snprintf(info->state, sizeof info->state, "none");
    if (!driver)
        return PLEAT_OK;
    memcpy(info->reason, driver->refusal, sizeof driver->refusal);
    if (!driver->driver)
        return PLEAT_OK;
    pleat_virtio_mem_driver_statistics(driver->driver, &statistics);
    pleat_virtio_mem_driver_status(driver->driver, &status);
    info->bound = true;
    info->busy = !is_settled(driver);
    /* A driver that has done what there is to do stays in its working phase. */
    snprintf(info->state, sizeof info->state, "%s",
             status.phase == PLEAT_VIRTIO_MEM_WORKING && !info->busy
                 ? "at rest"
                 : pleat_virtio_mem_phase_text(status.phase));
    if (pleat_virtio_mem_driver_reason(driver->driver, info->reason, sizeof info->reason) ==
        PLEAT_VIRTIO_MEM_REASON_NONE)
        info->reason[0] = '\0';
    info->added_bytes = status.units_added * status.unit_bytes;
    for (unsigned type = 0; type < 4; type++) {
        for (unsigned answer = 0; answer < PLEAT_VIRTIO_MEM_ANSWERS; answer++)
            info->requests += statistics.requests[type][answer];
        info->acks += statistics.requests[type][PLEAT_VIRTIO_MEM_ANSWER_ACK];
        info->nacks += statistics.requests[type][PLEAT_VIRTIO_MEM_ANSWER_NACK];
        info->busies += statistics.requests[type][PLEAT_VIRTIO_MEM_ANSWER_BUSY];
        info->errors += statistics.requests[type][PLEAT_VIRTIO_MEM_ANSWER_ERROR];
        info->timeouts += statistics.requests[type][PLEAT_VIRTIO_MEM_ANSWER_NONE];
    }
    info->resets = statistics.resets;
    info->moved_bytes = statistics.moved_bytes;
    info->last_step_ns = driver->last_step_ns;
    info->last_moved_bytes = driver->last_moved_bytes;
    return PLEAT_OK;
}

const struct pleat_memory *pleat_guest_memory(struct pleat_guest *guest)
{
    return &guest->memory;
}

struct pleat_guest_xen *pleat_guest_xen(struct pleat_guest *guest)
{
    return guest->xen;
}

struct pleat *pleat_guest_core(struct pleat_guest *guest)
{
    return &guest->core;
}

struct pleat_workload *pleat_guest_workload(struct pleat_guest *guest)
{
    return guest->workload;
}

/* ---- frames for device I/O ---- */

int pleat_guest_pin(struct pleat_guest *guest, uint64_t pfn, uint64_t frames)
{
    const uint64_t block_frames = pleat_block_frames(&guest->core);
    struct pleat_block_info info;

    if (!frames || frames > block_frames / 2)
        return PLEAT_E_INVALID;
    if (pleat_block_info(&guest->core, pfn, &info))
        return PLEAT_E_NOT_FOUND;
    for (unsigned i = 0; i < guest->pin_count; i++)
        if (guest->pins[i].block_pfn == pfn)
            return PLEAT_E_EXISTS;
    if (info.state != PLEAT_BLOCK_ONLINE)
        return PLEAT_E_STATE;
    if (guest->pin_count == PINS_MAX)
        return PLEAT_E_NO_MEMORY;
    /* In the middle of what is plugged: the start may hold metadata, the end may be unplugged. */
    const uint64_t there = block_frames - info.fake_offline_frames - info.absent_frames;
    if (frames > there / 2)
        return PLEAT_E_NO_MEMORY;
    const struct pin pin = {.block_pfn = pfn, .pfn = pfn + there / 2, .frames = frames};
    const int error =
        pleat_alloc_range(&guest->core, pin.pfn, pin.frames, pleat_tag_make(guest->dma_owner, 0));
    if (error)
        return error;
    guest->pins[guest->pin_count++] = pin;
    guest->pinned_frames += frames;
    return PLEAT_OK;
}

int pleat_guest_unpin(struct pleat_guest *guest, uint64_t pfn)
{
    for (unsigned i = 0; i < guest->pin_count; i++) {
        const struct pin pin = guest->pins[i];
        if (pin.block_pfn != pfn)
            continue;
        pleat_free_range(&guest->core, pin.pfn, pin.frames);
        guest->pinned_frames -= pin.frames;
        guest->pins[i] = guest->pins[--guest->pin_count];
        return PLEAT_OK;
    }
    return PLEAT_E_NOT_FOUND;
}

/* ---- an administrator's offline ---- */

int pleat_guest_offline_begin(struct pleat_guest *guest, uint64_t pfn)
{
    const struct pleat_take_config config = {
        .start_pfn = pfn,
        .frames = pleat_block_frames(&guest->core),
        .goal = PLEAT_TAKE_TO_OFFLINE,
        .deadline_ns = now_ns(guest) + OFFLINE_TIMEOUT_NS,
    };

    return pleat_take_begin(&guest->core, &guest->offline, &config);
}

int pleat_guest_offline_step(struct pleat_guest *guest)
{
    return pleat_take_step(&guest->core, &guest->offline, OFFLINE_BUDGET);
}

void pleat_guest_offline_look(struct pleat_guest *guest, struct pleat_look *look)
{
    uint64_t moved;

    pleat_take_report(&guest->offline, &moved, look);
}

/* ---- boot and end ---- */

int pleat_guest_boot(struct pleat_machine *machine, struct pleat_message *message)
{
    struct pleat_guest *guest = calloc(1, sizeof *guest);

    if (!guest)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
    guest->machine = machine;
    machine->guest = guest;
    int error = make_port(guest, message);
    if (!error)
        error = make_core(guest, message);
    if (!error && machine->xen.guest) {
        error = pleat_guest_xen_create(machine, &guest->xen);
        if (error)
            pleat_message_set(message, error, "guest: %s", pleat_error_text(error));
    }
    if (!error)
        error = make_workload(guest, message);
    if (error) {
        pleat_guest_end(machine);
        return error;
    }
    pleat_machine_log(machine, PLEAT_LOG_INFO, "guest",
                      "boots with %" PRIu64 " frames, %" PRIu64 " of them free",
                      pleat_online_frames(&guest->core), pleat_free_frames(&guest->core));
    for (unsigned i = 0; i < machine->slot_count; i++)
        pleat_guest_device_added(guest, machine->slots[i]);
    return PLEAT_OK;
}

void pleat_guest_end(struct pleat_machine *machine)
{
    struct pleat_guest *guest = machine->guest;

    if (!guest)
        return;
    machine->guest = NULL;
    pleat_workload_destroy(guest->workload);
    pleat_guest_xen_destroy(guest->xen);
    pleat_hosted_destroy(guest->hosted);
    free(guest);
}

/* One line on what the workload did, so that logs of different runs differ. */
static void log_workload(struct pleat_guest *guest)
{
    struct pleat_workload_info info;

    pleat_workload_info(guest->workload, &info);
    pleat_machine_log(guest->machine, PLEAT_LOG_INFO, "guest",
                      "workload: %" PRIu64 " allocations, %" PRIu64 " frees, %" PRIu64 " refused, %" PRIu64
                      " frames moved, %" PRIu64 " reclaimed, %" PRIu64 " blocks checked, %" PRIu64 " wrong",
                      info.allocations, info.frees, info.refused_allocations, info.migrated_frames,
                      info.reclaimed_frames, info.stamps_checked, info.stamps_wrong);
}

int pleat_guest_check(struct pleat_guest *guest, struct pleat_message *message)
{
    uint64_t held = 0;
    int error = PLEAT_OK;

    if (guest->workload) {
        error = pleat_workload_check(guest->workload, &held, message);
        log_workload(guest);
    }
    if (error)
        return error;
    pleat_drain(&guest->core);
    const uint64_t used = pleat_online_frames(&guest->core) - pleat_free_frames(&guest->core);
    const uint64_t known = guest->used_at_boot + guest->driver_frames + guest->pinned_frames + held;
    if (used != known)
        return pleat_message_set(message, PLEAT_E_PROTOCOL,
                                 "frames are lost: %" PRIu64 " are in use, and owners know of %" PRIu64, used,
                                 known);
    if (!pleat_is_valid(&guest->core))
        return pleat_message_set(message, PLEAT_E_PROTOCOL, "the core's books are wrong, the log says where");
    return PLEAT_OK;
}
