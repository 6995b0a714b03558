/* SPDX-License-Identifier: MIT
 *
 * The machine's life and the requests that change it. What concerns devices and the guest is done on the
 * service thread; what needs the guest to stand still parks its CPUs first.
 */
#include "machine/machine.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "machine/machine_parts.h"
#include "machine/options.h"
#include "machine/trace.h"

#define SHORTEST_POLL_NS UINT64_C(200000)
#define LONGEST_POLL_NS  UINT64_C(5000000)
/* Between two steps of an offline, in virtual time. */
#define OFFLINE_STEP_NS UINT64_C(100000)

/* ---- the log and events ---- */

void pleat_machine_log(struct pleat_machine *machine, enum pleat_log_level level, const char *source,
                       const char *format, ...)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    const uint64_t time_ns = pleat_clock_now_ns(&machine->clock);
    char line[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    pthread_mutex_lock(&machine->log_lock);
    if (machine->log_file)
        fprintf(machine->log_file, "%" PRIu64 ".%09" PRIu64 " %s %s: %s\n", time_ns / 1000000000u,
                time_ns % 1000000000u, levels[level], source, line);
    if (machine->listener.log)
        machine->listener.log(machine->listener.context, time_ns, level, source, line);
    pthread_mutex_unlock(&machine->log_lock);
}

const char *pleat_machine_event_name(enum pleat_machine_event_kind kind)
{
    static const char *const names[PLEAT_EVENT_KINDS] = {
        "MEMORY_DEVICE_SIZE_CHANGE",
        "DEVICE_DELETED",
        "DEVICE_UNPLUG_GUEST_ERROR",
        "RESET",
        "STOP",
        "RESUME",
        "SHUTDOWN",
        "GUEST_PANICKED",
        "BALLOON_CHANGE",
        "PLEAT_DRIVER",
    };

    return names[kind];
}

void pleat_machine_tell(struct pleat_machine *machine, enum pleat_machine_event_kind kind,
                        const struct pleat_device_slot *slot, uint64_t bytes, const char *reason)
{
    struct pleat_machine_event event = {
        .kind = kind,
        .time_ns = pleat_clock_now_ns(&machine->clock),
        .id = slot ? slot->config.id : "",
        .bytes = bytes,
        .reason = reason,
    };

    if (slot)
        memcpy(event.path, slot->path, sizeof event.path);
    if (kind != PLEAT_EVENT_DRIVER)
        pleat_machine_log(machine,
                          kind == PLEAT_EVENT_MEMORY_DEVICE_SIZE_CHANGE || kind == PLEAT_EVENT_BALLOON_CHANGE
                              ? PLEAT_LOG_DEBUG
                              : PLEAT_LOG_INFO,
                          slot ? pleat_device_slot_name(slot) : "machine", "%s%s%s",
                          pleat_machine_event_name(kind), *reason ? ": " : "", reason);
    if (machine->listener.event)
        machine->listener.event(machine->listener.context, &event);
}

void pleat_machine_panic(struct pleat_machine *machine, const char *line)
{
    pthread_mutex_lock(&machine->panic_lock);
    const bool first = !machine->panic[0];
    if (first)
        snprintf(machine->panic, sizeof machine->panic, "%s", line);
    pthread_mutex_unlock(&machine->panic_lock);
    pleat_machine_log(machine, PLEAT_LOG_ERROR, "guest", "%s", line);
    if (first)
        pleat_machine_tell(machine, PLEAT_EVENT_GUEST_PANICKED, NULL, 0, line);
}

void pleat_machine_listen(struct pleat_machine *machine, const struct pleat_machine_listener *listener)
{
    machine->listener = *listener;
}

/* ---- objects and devices ---- */

/* The id that a path such as PREFIX/ID ends with, or the text itself. */
static const char *id_of(const char *text, const char *prefix)
{
    const size_t length = strlen(prefix);

    return !strncmp(text, prefix, length) && text[length] ? text + length : text;
}

struct pleat_device_slot *pleat_machine_slot(struct pleat_machine *machine, const char *id)
{
    for (unsigned i = 0; *id && i < machine->slot_count; i++)
        if (!strcmp(machine->slots[i]->config.id, id) || !strcmp(machine->slots[i]->path, id))
            return machine->slots[i];
    return NULL;
}

struct pleat_machine_backend *pleat_machine_backend(struct pleat_machine *machine, const char *id)
{
    for (unsigned i = 0; i < machine->backend_count; i++)
        if (!strcmp(machine->backends[i]->config.id, id))
            return machine->backends[i];
    return NULL;
}

/* Can the host serve it? A device opens it for itself later, maybe never; who adds it is to hear of it now.
 */
static int try_backend(const struct pleat_backend_config *config, struct pleat_message *message)
{
    struct pleat_memory_backend_config open;
    struct pleat_memory_backend backend;
    char why[256] = "";

    pleat_guest_memory_backend_config(config, &open);
    open.prealloc = false;
    /* Aligned as the largest huge page is. */
    void *at = pleat_memory_backend_reserve(open.bytes, PLEAT_GIB);
    int error = at ? PLEAT_OK : PLEAT_E_NO_MEMORY;
    if (!error)
        error = pleat_memory_backend_open(&open, at, &backend, why, sizeof why);
    if (error)
        pleat_message_set(message, error, "-object: %s: %s", config->id,
                          why[0] ? why : pleat_error_text(error));
    else
        pleat_memory_backend_close(&backend);
    pleat_memory_backend_release(at, open.bytes);
    return error;
}

static int add_backend(struct pleat_machine *machine, const struct pleat_backend_config *config,
                       struct pleat_message *message)
{
    if (pleat_machine_backend(machine, config->id))
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "attempt to add duplicate property '%s' to object (type 'container')",
                                 config->id);
    if (machine->backend_count == PLEAT_MACHINE_BACKENDS_MAX)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "expected at most %d objects",
                                 PLEAT_MACHINE_BACKENDS_MAX);
    const int error = try_backend(config, message);
    if (error)
        return error;
    struct pleat_machine_backend *backend = calloc(1, sizeof *backend);
    if (!backend)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
    backend->config = *config;
    machine->backends[machine->backend_count++] = backend;
    return PLEAT_OK;
}

static const char *name_of_region(void *context, unsigned region)
{
    const struct pleat_machine *machine = context;

    return machine->slots[region]->config.id[0] ? machine->slots[region]->config.id : "(unnamed)";
}

static int place_slot(struct pleat_machine *machine, const struct pleat_device_config *config,
                      const struct pleat_machine_backend *backend, uint64_t *address,
                      struct pleat_message *message)
{
    struct pleat_layout_region regions[PLEAT_MACHINE_DEVICES_MAX];
    uint64_t alignment = pleat_backend_page_bytes(&backend->config);

    for (unsigned i = 0; i < machine->slot_count; i++)
        regions[i] = (struct pleat_layout_region){machine->slots[i]->address, machine->slots[i]->bytes};
    /* QEMU aligns ordinary memory to 2 MiB, for the host's huge pages. */
    if (alignment < 2 * PLEAT_MIB)
        alignment = 2 * PLEAT_MIB;
    if (alignment < config->block_bytes)
        alignment = config->block_bytes;
    return pleat_layout_place(&machine->layout, regions, machine->slot_count, backend->config.size_bytes,
                              alignment, config->memaddr, name_of_region, machine, address, message);
}

/* A fault that was given with its device is for that one only. */
static int add_device_fault(struct pleat_machine *machine, const struct pleat_device_config *config,
                            struct pleat_message *message)
{
    struct pleat_fault fault;

    if (!config->fault[0])
        return PLEAT_OK;
    int error = pleat_fault_parse(config->fault, &fault, message);
    if (!error) {
        memcpy(fault.device, config->id, sizeof fault.device);
        error = pleat_faults_add(machine->faults, &fault, message);
    }
    return error;
}

int pleat_machine_add_slot(struct pleat_machine *machine, const struct pleat_device_config *given,
                           struct pleat_message *message)
{
    struct pleat_device_config config = *given;
    struct pleat_machine_backend *backend = pleat_machine_backend(machine, config.memdev);
    struct pleat_device_slot *slot;
    uint64_t address;

    if (config.id[0] && pleat_machine_slot(machine, config.id))
        return pleat_message_set(message, PLEAT_E_INVALID, "Duplicate device ID '%s'", config.id);
    int error = pleat_device_config_check(&config, backend ? &backend->config : NULL,
                                          backend && backend->in_use, machine->config, message);
    if (error || !backend) /* a missing one has been refused */
        return error;
    assert(backend); /* its absence was refused just now */
    if (machine->slot_count == PLEAT_MACHINE_DEVICES_MAX)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "expected at most %d devices",
                                 PLEAT_MACHINE_DEVICES_MAX);
    error = place_slot(machine, &config, backend, &address, message);
    if (!error)
        error = pleat_device_slot_create(machine, &config, backend, address, &slot, message);
    if (error)
        return error;
    error = add_device_fault(machine, &config, message);
    if (error) {
        pleat_device_slot_destroy(slot);
        return error;
    }
    if (config.id[0])
        snprintf(slot->path, sizeof slot->path, "/machine/peripheral/%s", config.id);
    else
        snprintf(slot->path, sizeof slot->path, "/machine/peripheral-anon/device[%u]",
                 machine->anonymous_count++);
    backend->in_use = true;
    unsigned at = machine->slot_count++;
    for (; at && machine->slots[at - 1]->address > address; at--)
        machine->slots[at] = machine->slots[at - 1];
    machine->slots[at] = slot;
    pleat_machine_log(machine, PLEAT_LOG_INFO, pleat_device_slot_name(slot),
                      "at 0x%" PRIx64 ", %" PRIu64 " bytes, blocks of %" PRIu64 ", node %u", address,
                      slot->bytes, slot->config.block_bytes, slot->config.node);
    if (machine->guest)
        pleat_guest_device_added(machine->guest, slot);
    return PLEAT_OK;
}

void pleat_machine_remove_slot(struct pleat_machine *machine, struct pleat_device_slot *slot)
{
    unsigned at = 0;

    while (machine->slots[at] != slot)
        at++;
    for (machine->slot_count--; at < machine->slot_count; at++)
        machine->slots[at] = machine->slots[at + 1];
    slot->backend->in_use = false;
    pleat_device_slot_destroy(slot);
}

/* ---- create and destroy ---- */

static int open_log(struct pleat_machine *machine, struct pleat_message *message)
{
    const char *path = machine->config->log_path;

    if (!path[0])
        return PLEAT_OK;
    machine->log_file = fopen(path, "we");
    if (!machine->log_file)
        return pleat_message_set(message, PLEAT_E_NOT_FOUND, "-log: %s: %s", path, strerror(errno));
    return PLEAT_OK;
}

static int add_faults(struct pleat_machine *machine, struct pleat_message *message)
{
    int error = PLEAT_OK;

    for (unsigned i = 0; i < machine->config->fault_count && !error; i++)
        error = pleat_machine_fault_add(machine, machine->config->fault[i].text, message);
    return error;
}

static int load_workload(struct pleat_machine *machine, struct pleat_message *message)
{
    const struct pleat_workload_config *workload = &machine->config->workload;
    struct pleat_trace trace = {0};

    if (workload->kind == PLEAT_WORKLOAD_SYNTHETIC) {
        const int error = pleat_synthetic_parse(workload->synthetic, &machine->synthetic, message);
        /* Another seed of the machine is another run. */
        machine->synthetic.seed += machine->config->seed << 16;
        return error;
    }
    if (workload->kind != PLEAT_WORKLOAD_TRACE)
        return PLEAT_OK;
    int error = pleat_trace_load(&trace, workload->trace_path, message);
    if (!error)
        error = pleat_trace_prepare(&trace, &machine->operations, message);
    pleat_trace_free(&trace);
    return error;
}

static int add_objects(struct pleat_machine *machine, struct pleat_message *message)
{
    const struct pleat_machine_config *config = machine->config;
    int error = PLEAT_OK;

    for (unsigned i = 0; i < config->backend_count && !error; i++)
        error = add_backend(machine, &config->backend[i], message);
    for (unsigned i = 0; i < machine->backend_count; i++) {
        const char *id = machine->backends[i]->config.id;
        bool boot = !strcmp(config->ram_memdev, id);
        for (unsigned node = 0; node < config->nodes; node++)
            boot = boot || !strcmp(config->node[node].memdev, id);
        machine->backends[i]->in_use = boot;
    }
    for (unsigned i = 0; i < config->device_count && !error; i++)
        error = pleat_machine_add_slot(machine, &config->device[i], message);
    return error;
}

static int make(struct pleat_machine *machine, struct pleat_message *message)
{
    const struct pleat_machine_config *config = machine->config;
    int error = pleat_layout_make(config->type, config->ram_bytes, config->maximum_bytes, config->slots,
                                  &machine->layout, message);

    if (!error)
        error = open_log(machine, message);
    if (!error)
        error = add_faults(machine, message);
    if (!error)
        error = load_workload(machine, message);
    /* A long trace takes its time to load; the machine's begins here. */
    pleat_clock_start(&machine->clock, config->deterministic);
    if (!error)
        error = pleat_guest_memory_create(config, &machine->layout, &machine->space, message);
    if (!error && config->type == PLEAT_MACHINE_XENPVH)
        error = pleat_xen_host_create(machine, message);
    if (!error)
        error = add_objects(machine, message);
    return error;
}

int pleat_machine_create(const struct pleat_machine_config *config, struct pleat_machine **result,
                         struct pleat_message *message)
{
    struct pleat_machine *machine = calloc(1, sizeof *machine);

    *result = NULL;
    if (!machine)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
    pthread_mutex_init(&machine->log_lock, NULL);
    pthread_mutex_init(&machine->panic_lock, NULL);
    machine->config = malloc(sizeof *machine->config);
    machine->faults = pleat_faults_create();
    machine->recorder = pleat_recorder_create();
    if (machine->config)
        *machine->config = *config;
    int error = machine->config && machine->faults && machine->recorder
                    ? pleat_threads_create(machine, &machine->threads)
                    : PLEAT_E_NO_MEMORY;
    if (error)
        pleat_message_set(message, error, "%s", pleat_error_text(error));
    pleat_clock_start(&machine->clock, config->deterministic);
    if (!error)
        error = make(machine, message);
    if (error) {
        pleat_machine_destroy(machine);
        return error;
    }
    *result = machine;
    return PLEAT_OK;
}

void pleat_machine_destroy(struct pleat_machine *machine)
{
    if (!machine)
        return;
    if (machine->started)
        pleat_machine_stop(machine, "host-qmp-quit", NULL);
    pleat_threads_destroy(machine->threads);
    while (machine->slot_count)
        pleat_machine_remove_slot(machine, machine->slots[machine->slot_count - 1]);
    while (machine->backend_count)
        free(machine->backends[--machine->backend_count]);
    pleat_xen_host_destroy(machine);
    pleat_guest_memory_destroy(&machine->space);
    pleat_operations_free(&machine->operations);
    pleat_recorder_destroy(machine->recorder);
    pleat_faults_destroy(machine->faults);
    if (machine->log_file)
        fclose(machine->log_file);
    pthread_mutex_destroy(&machine->log_lock);
    pthread_mutex_destroy(&machine->panic_lock);
    free(machine->config);
    free(machine);
}

/* ---- start and stop ---- */

/* A function on the service thread: what it is given and what it found. */
struct request {
    struct pleat_machine *machine;
    const char *id, *text;
    uint64_t bytes, frames;
    enum pleat_zone_kind zone;
    struct pleat_look look;
    struct pleat_message *message;
    int error;
};

static int call(struct pleat_machine *machine, void (*function)(void *context), struct request *request)
{
    request->machine = machine;
    pleat_threads_call(machine->threads, function, request);
    return request->error;
}

static void boot(void *context)
{
    struct request *request = context;

    request->error = pleat_guest_boot(request->machine, request->message);
}

int pleat_machine_start(struct pleat_machine *machine, struct pleat_message *message)
{
    struct request request = {.message = message};

    if (machine->started)
        return pleat_message_set(message, PLEAT_E_STATE, "the machine has been started already");
    int error = pleat_threads_start(machine->threads);
    if (error)
        return pleat_message_set(message, error, "the host has no threads left");
    error = call(machine, boot, &request);
    if (error) {
        pleat_threads_stop(machine->threads);
        return error;
    }
    machine->started = true;
    if (!machine->config->stopped)
        pleat_machine_continue(machine);
    return PLEAT_OK;
}

static void do_nothing(void *context)
{
    (void)context;
}

void pleat_machine_pause(struct pleat_machine *machine)
{
    if (!machine->running)
        return;
    machine->running = false;
    pleat_threads_park(machine->threads);
    /* Whoever says stop may look at once: a driver that was at work has ended its step then. */
    pleat_threads_call(machine->threads, do_nothing, NULL);
    pleat_machine_tell(machine, PLEAT_EVENT_STOP, NULL, 0, "");
}

void pleat_machine_continue(struct pleat_machine *machine)
{
    if (machine->running || !machine->started || machine->ended)
        return;
    machine->running = true;
    pleat_machine_tell(machine, PLEAT_EVENT_RESUME, NULL, 0, "");
    pleat_threads_unpark(machine->threads);
}

bool pleat_machine_is_running(const struct pleat_machine *machine)
{
    return machine->running;
}

/* Checks the guest while it stands still; what is wrong is a panic. */
static void check_guest(struct pleat_machine *machine)
{
    struct pleat_message why = {{0}};

    if (machine->guest && pleat_guest_check(machine->guest, &why))
        pleat_machine_panic(machine, why.text);
}

static void end_guest(void *context)
{
    struct request *request = context;

    check_guest(request->machine);
    pleat_machine_workload_info(request->machine, &request->machine->last_workload);
    pleat_guest_end(request->machine);
}

int pleat_machine_stop(struct pleat_machine *machine, const char *reason, struct pleat_message *message)
{
    struct request request = {.text = reason};

    if (machine->started && !machine->ended) {
        machine->running = false;
        pleat_threads_park(machine->threads);
        call(machine, end_guest, &request);
        pleat_threads_stop(machine->threads);
        machine->ended = true;
        pleat_machine_tell(machine, PLEAT_EVENT_SHUTDOWN, NULL, 0, reason);
        if (machine->log_file)
            fflush(machine->log_file);
    }
    if (machine->panic[0])
        return pleat_message_set(message, PLEAT_E_PROTOCOL, "%s", machine->panic);
    return PLEAT_OK;
}

const struct pleat_machine_config *pleat_machine_config(const struct pleat_machine *machine)
{
    return machine->config;
}

bool pleat_machine_is_deterministic(const struct pleat_machine *machine)
{
    return machine->clock.is_virtual;
}

uint64_t pleat_machine_time_ns(const struct pleat_machine *machine)
{
    return pleat_clock_now_ns(&machine->clock);
}

void pleat_machine_run_for(struct pleat_machine *machine, uint64_t duration_ns)
{
    if (duration_ns)
        pleat_machine_run_until(machine, NULL, NULL, duration_ns);
}

int pleat_machine_run_until(struct pleat_machine *machine, bool (*condition)(void *context), void *context,
                            uint64_t timeout_ns)
{
    const uint64_t start_ns = pleat_clock_now_ns(&machine->clock);
    const uint64_t end_ns =
        timeout_ns && timeout_ns < UINT64_MAX - start_ns ? start_ns + timeout_ns : UINT64_MAX;
    uint64_t poll_ns = SHORTEST_POLL_NS;

    for (;;) {
        if (condition && condition(context))
            return PLEAT_OK;
        if (atomic_exchange(&machine->wake, false))
            return PLEAT_E_CANCELLED;
        const uint64_t now_ns = pleat_clock_now_ns(&machine->clock);
        if (now_ns >= end_ns)
            return PLEAT_E_TIMEOUT;
        if (machine->clock.is_virtual) {
            pleat_threads_step(machine->threads, end_ns);
            continue;
        }
        const uint64_t sleep_ns = end_ns - now_ns < poll_ns ? end_ns - now_ns : poll_ns;
        const struct timespec sleep = {.tv_nsec = (long)sleep_ns};
        nanosleep(&sleep, NULL);
        poll_ns = poll_ns * 2 < LONGEST_POLL_NS ? poll_ns * 2 : LONGEST_POLL_NS;
    }
}

void pleat_machine_wake(struct pleat_machine *machine)
{
    atomic_store(&machine->wake, true);
}

/* ---- resets ---- */

static void reset_machine(void *context)
{
    struct request *request = context;
    struct pleat_machine *machine = request->machine;

    check_guest(machine);
    pleat_guest_end(machine);
    for (unsigned i = 0; i < machine->slot_count; i++) {
        struct pleat_device_slot *slot = machine->slots[i];
        if (!slot->leaving) {
            pleat_device_slot_system_reset(slot);
            continue;
        }
        /* A guest that is gone can't be asked any more. */
        pleat_machine_tell(machine, PLEAT_EVENT_DEVICE_DELETED, slot, 0, "");
        pleat_machine_remove_slot(machine, slot);
        i--;
    }
    /* As QEMU has it: what the devices tell of their reset comes before, what the new guest does after. */
    pleat_machine_tell(machine, PLEAT_EVENT_RESET, NULL, 0, request->text);
    if (machine->xen.guest) {
        /* A domain that reboots is a new one. */
        pleat_xen_host_destroy(machine);
        request->error = pleat_xen_host_create(machine, request->message);
    }
    if (!request->error)
        request->error = pleat_guest_boot(machine, request->message);
}

static void restart_guest(void *context)
{
    struct request *request = context;
    struct pleat_machine *machine = request->machine;

    check_guest(machine);
    pleat_guest_end(machine);
    for (unsigned i = 0; i < machine->slot_count; i++)
        machine->slots[i]->asked_ns = pleat_clock_now_ns(&machine->clock);
    pleat_machine_tell(machine, PLEAT_EVENT_RESET, NULL, 0, request->text);
    request->error = pleat_guest_boot(machine, request->message);
}

static int boot_anew(struct pleat_machine *machine, void (*how)(void *context), const char *reason,
                     struct pleat_message *message)
{
    struct request request = {.text = reason, .message = message};

    if (!machine->started || machine->ended)
        return pleat_message_set(message, PLEAT_E_STATE, "the machine isn't running");
    pleat_threads_park(machine->threads);
    int error = call(machine, how, &request);
    if (error) {
        pleat_machine_stop(machine, "host-error", NULL);
        return error;
    }
    if (machine->running)
        pleat_threads_unpark(machine->threads);
    return PLEAT_OK;
}

int pleat_machine_system_reset(struct pleat_machine *machine, struct pleat_message *message)
{
    if (machine->config->no_reboot && machine->started && !machine->ended)
        return pleat_machine_stop(machine, "host-qmp-system-reset", message);
    return boot_anew(machine, reset_machine, "host-qmp-system-reset", message);
}

int pleat_machine_guest_restart(struct pleat_machine *machine, struct pleat_message *message)
{
    /* Who takes over by kexec doesn't learn which frames are holes. */
    if (machine->config->type == PLEAT_MACHINE_XENPVH)
        return pleat_message_set(message, PLEAT_E_UNSUPPORTED,
                                 "a guest on Xen can't start again with its memory as it is");
    return boot_anew(machine, restart_guest, "guest-reset", message);
}

/* ---- requests ---- */

static int no_device(const char *id, struct pleat_message *message)
{
    return pleat_message_set(message, PLEAT_E_NOT_FOUND, "Device '%.200s' not found", id);
}

static void set_requested(void *context)
{
    struct request *request = context;
    struct pleat_device_slot *slot = pleat_machine_slot(request->machine, request->id);

    request->error = slot ? pleat_device_slot_set_requested(slot, request->bytes, request->message)
                          : no_device(request->id, request->message);
    if (!request->error)
        pleat_recorder_mark(request->machine->recorder, request->machine, slot, request->bytes);
}

int pleat_machine_set_requested_bytes(struct pleat_machine *machine, const char *id, uint64_t bytes,
                                      struct pleat_message *message)
{
    struct request request = {.id = id, .bytes = bytes, .message = message};

    return call(machine, set_requested, &request);
}

/* Where an option of the command line is named, a command of the monitor needs no name. */
static int without_prefix(int error, const char *prefix, struct pleat_message *message)
{
    const size_t length = strlen(prefix);

    if (error && message && !strncmp(message->text, prefix, length))
        memmove(message->text, message->text + length, strlen(message->text + length) + 1);
    return error;
}

static void object_add(void *context)
{
    struct request *request = context;
    struct pleat_backend_config config;

    request->error = pleat_backend_config_parse(request->text, &config, request->message);
    if (!request->error)
        request->error = add_backend(request->machine, &config, request->message);
}

int pleat_machine_object_add(struct pleat_machine *machine, const char *text, struct pleat_message *message)
{
    struct request request = {.text = text, .message = message};

    return without_prefix(call(machine, object_add, &request), "-object: ", message);
}

static void object_delete(void *context)
{
    struct request *request = context;
    struct pleat_machine *machine = request->machine;
    const char *id = id_of(request->id, "/objects/");
    struct pleat_machine_backend *backend = pleat_machine_backend(machine, id);
    unsigned at = 0;

    if (!backend) {
        request->error =
            pleat_message_set(request->message, PLEAT_E_INVALID, "object '%.200s' not found", id);
        return;
    }
    if (backend->in_use) {
        request->error = pleat_message_set(request->message, PLEAT_E_INVALID,
                                           "object '%s' is in use, can not be deleted", id);
        return;
    }
    while (machine->backends[at] != backend)
        at++;
    for (machine->backend_count--; at < machine->backend_count; at++)
        machine->backends[at] = machine->backends[at + 1];
    free(backend);
}

int pleat_machine_object_delete(struct pleat_machine *machine, const char *id, struct pleat_message *message)
{
    struct request request = {.id = id, .message = message};

    return call(machine, object_delete, &request);
}

static void device_add(void *context)
{
    struct request *request = context;
    struct pleat_device_config config;

    request->error = pleat_device_config_parse(request->text, &config, request->message);
    if (!request->error)
        request->error = pleat_machine_add_slot(request->machine, &config, request->message);
}

int pleat_machine_device_add(struct pleat_machine *machine, const char *text, struct pleat_message *message)
{
    struct request request = {.text = text, .message = message};

    return without_prefix(call(machine, device_add, &request), "-device: ", message);
}

/* What QEMU checks in virtio_mem_unplug_request_check(), before it asks the guest. */
static int check_unplug(const struct pleat_device_slot *slot, struct pleat_message *message)
{
    if (slot->leaving)
        return pleat_message_set(message, PLEAT_E_STATE, "Device %s is already in the process of unplug",
                                 slot->config.id);
    if (slot->config.unplugged_inaccessible == PLEAT_OFF)
        return pleat_message_set(
            message, PLEAT_E_INVALID,
            "virtio-mem device cannot get unplugged while 'unplugged-inaccessible' != 'on'");
    if (pleat_virtio_mem_device_plugged_bytes(slot->device))
        return pleat_message_set(
            message, PLEAT_E_INVALID,
            "virtio-mem device cannot get unplugged while some of its memory is still plugged");
    if (pleat_virtio_mem_device_requested_bytes(slot->device))
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "virtio-mem device cannot get unplugged while 'requested-size' != '0'");
    return PLEAT_OK;
}

static void device_delete(void *context)
{
    struct request *request = context;
    struct pleat_machine *machine = request->machine;
    struct pleat_device_slot *slot = pleat_machine_slot(machine, request->id);

    request->error = slot ? check_unplug(slot, request->message) : no_device(request->id, request->message);
    if (request->error)
        return;
    if (machine->guest) {
        pleat_guest_device_leaves(machine->guest, slot);
        return;
    }
    pleat_machine_tell(machine, PLEAT_EVENT_DEVICE_DELETED, slot, 0, "");
    pleat_machine_remove_slot(machine, slot);
}

int pleat_machine_device_delete(struct pleat_machine *machine, const char *id, struct pleat_message *message)
{
    struct request request = {.id = id, .message = message};

    return call(machine, device_delete, &request);
}

/* ---- blocks ---- */

static int explain_block(uint64_t number, const char *what, int error, struct pleat_message *message)
{
    return pleat_message_set(message, error, "memory%" PRIu64 " can't go %s: %s", number, what,
                             error == PLEAT_E_NOT_FOUND ? "there is no such memory block"
                                                        : pleat_error_text(error));
}

static bool there_is_a_guest(struct request *request)
{
    if (request->machine->guest)
        return true;
    request->error = pleat_message_set(request->message, PLEAT_E_STATE, "the guest isn't running");
    return false;
}

static void block_online(void *context)
{
    struct request *request = context;

    if (!there_is_a_guest(request))
        return;
    struct pleat *core = pleat_guest_core(request->machine->guest);
    const uint64_t frames = pleat_block_frames(core);
    const int error = request->bytes > UINT64_MAX / frames
                          ? PLEAT_E_NOT_FOUND
                          : pleat_online(core, request->bytes * frames, frames, request->zone);
    if (error)
        request->error = explain_block(request->bytes, "online", error, request->message);
    else
        pleat_guest_memory_changed(request->machine->guest);
}

int pleat_machine_block_online(struct pleat_machine *machine, uint64_t number, enum pleat_zone_kind zone,
                               struct pleat_message *message)
{
    struct request request = {.bytes = number, .zone = zone, .message = message};

    return call(machine, block_online, &request);
}

static void offline_begin(void *context)
{
    struct request *request = context;

    if (!there_is_a_guest(request))
        return;
    const uint64_t frames = pleat_block_frames(pleat_guest_core(request->machine->guest));
    request->error = request->bytes > UINT64_MAX / frames
                         ? PLEAT_E_NOT_FOUND
                         : pleat_guest_offline_begin(request->machine->guest, request->bytes * frames);
    if (!request->error)
        request->error = PLEAT_MORE;
    else if (request->error == PLEAT_E_UNMOVABLE)
        pleat_guest_offline_look(request->machine->guest, &request->look);
}

static void offline_step(void *context)
{
    struct request *request = context;

    request->error = pleat_guest_offline_step(request->machine->guest);
    pleat_guest_offline_look(request->machine->guest, &request->look);
    if (!request->error)
        pleat_guest_memory_changed(request->machine->guest);
}

static void name_obstacle(void *context)
{
    struct request *request = context;
    const struct pleat_look *look = &request->look;
    const uint64_t frames = look->unmovable + look->pinned;

    if (!frames)
        return;
    pleat_message_set(
        request->message, request->error,
        "memory%" PRIu64 " can't go offline: %" PRIu64 " frames %s, the first at PFN 0x%" PRIx64
        ", owner \"%s\"",
        request->bytes, frames, look->unmovable ? "unmovable" : "pinned", look->first_obstacle_pfn,
        pleat_owner_name(pleat_guest_core(request->machine->guest), look->first_obstacle_owner));
}

int pleat_machine_block_offline(struct pleat_machine *machine, uint64_t number, struct pleat_message *message)
{
    struct request request = {.bytes = number, .message = message};
    int error = call(machine, offline_begin, &request);

    if (error == PLEAT_E_STATE && !machine->guest)
        return error;
    while (error == PLEAT_MORE) {
        error = call(machine, offline_step, &request);
        if (error == PLEAT_MORE && machine->clock.is_virtual)
            pleat_threads_step(machine->threads, pleat_clock_now_ns(&machine->clock) + OFFLINE_STEP_NS);
    }
    if (error) {
        explain_block(number, "offline", error, message);
        call(machine, name_obstacle, &request);
    }
    return error;
}

static void guest_pin(void *context)
{
    struct request *request = context;

    if (!there_is_a_guest(request))
        return;
    const uint64_t block_frames = PLEAT_LAYOUT_BLOCK_BYTES >> PLEAT_LAYOUT_FRAME_SHIFT;
    const int error =
        request->bytes > UINT64_MAX / block_frames
            ? PLEAT_E_NOT_FOUND
            : pleat_guest_pin(request->machine->guest, request->bytes * block_frames, request->frames);
    if (error)
        request->error = pleat_message_set(request->message, error,
                                           "%" PRIu64 " frames of memory%" PRIu64 " can't be pinned: %s",
                                           request->frames, request->bytes,
                                           error == PLEAT_E_NOT_FOUND ? "there is no such memory block"
                                           : error == PLEAT_E_EXISTS  ? "some of it are pinned already"
                                                                      : pleat_error_text(error));
}

int pleat_machine_guest_pin(struct pleat_machine *machine, uint64_t number, uint64_t frames,
                            struct pleat_message *message)
{
    struct request request = {.bytes = number, .frames = frames, .message = message};

    return call(machine, guest_pin, &request);
}

static void guest_unpin(void *context)
{
    struct request *request = context;

    if (!there_is_a_guest(request))
        return;
    const uint64_t block_frames = PLEAT_LAYOUT_BLOCK_BYTES >> PLEAT_LAYOUT_FRAME_SHIFT;
    if (request->bytes > UINT64_MAX / block_frames ||
        pleat_guest_unpin(request->machine->guest, request->bytes * block_frames))
        request->error = pleat_message_set(request->message, PLEAT_E_NOT_FOUND,
                                           "nothing is pinned in memory%" PRIu64, request->bytes);
    else
        pleat_guest_memory_changed(request->machine->guest);
}

int pleat_machine_guest_unpin(struct pleat_machine *machine, uint64_t number, struct pleat_message *message)
{
    struct request request = {.bytes = number, .message = message};

    return call(machine, guest_unpin, &request);
}

/* ---- a guest on Xen ---- */

static void set_balloon(void *context)
{
    struct request *request = context;

    request->error =
        request->machine->xen.guest
            ? pleat_xen_host_set_target(request->machine, request->bytes, request->message)
            : pleat_message_set(request->message, PLEAT_E_NOT_FOUND, "No balloon device has been activated");
}

int pleat_machine_balloon(struct pleat_machine *machine, uint64_t bytes, struct pleat_message *message)
{
    struct request request = {.bytes = bytes, .message = message};

    return call(machine, set_balloon, &request);
}

static void exchange(void *context)
{
    struct request *request = context;

    if (!there_is_a_guest(request))
        return;
    struct pleat_guest_xen *xen = pleat_guest_xen(request->machine->guest);
    if (!xen)
        request->error = pleat_message_set(request->message, PLEAT_E_NOT_FOUND, "the guest isn't on Xen");
    else if (!request->frames || request->frames > UINT32_MAX)
        request->error = pleat_message_set(request->message, PLEAT_E_INVALID, "expected a number of frames");
    else
        request->error = pleat_guest_xen_exchange(xen, (unsigned)request->frames, request->message);
}

int pleat_machine_guest_exchange(struct pleat_machine *machine, uint64_t frames,
                                 struct pleat_message *message)
{
    struct request request = {.frames = frames, .message = message};

    return call(machine, exchange, &request);
}

/* ---- faults ---- */

int pleat_machine_fault_add(struct pleat_machine *machine, const char *text, struct pleat_message *message)
{
    struct pleat_fault fault;
    int error = pleat_fault_parse(text, &fault, message);

    return error ? error : pleat_faults_add(machine->faults, &fault, message);
}

int pleat_machine_fault_delete(struct pleat_machine *machine, const char *name, struct pleat_message *message)
{
    return pleat_faults_delete(machine->faults, name, message);
}

unsigned pleat_machine_faults(struct pleat_machine *machine, struct pleat_fault_info *faults,
                              unsigned capacity)
{
    return pleat_faults_list(machine->faults, faults, capacity);
}
