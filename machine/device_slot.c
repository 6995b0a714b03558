/* SPDX-License-Identifier: MIT
 *
 * One virtio-mem device of the machine: the state machine of virtio_mem_device.h between registers and a
 * request queue on the guest's side and a backend on the host's. Requests are handled inside of the driver's
 * notification, on the service thread: a thread of its own for the device would cost two wake-ups for every
 * request, which is more than most requests take.
 *
 * Here is also where a device goes wrong when it is told to.
 */
#include "machine/machine_parts.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <pleat/virtio_in_process.h>
#include <pleat/wire/virtio.h>
#include <pleat/wire/virtio_mem.h>

#define QUEUE_SIZE 128u

static uint64_t now_ns(const struct pleat_device_slot *slot)
{
    return pleat_clock_now_ns(&slot->machine->clock);
}

static bool fault(const struct pleat_device_slot *slot, enum pleat_fault_place place)
{
    return pleat_fault_hits(slot->machine->faults, place, slot->config.id, now_ns(slot), NULL);
}

const char *pleat_device_slot_name(const struct pleat_device_slot *slot)
{
    return slot->config.id[0] ? slot->config.id : "virtio-mem";
}

/* ---- what the device asks of its embedder ---- */

static int map(void *context, uint64_t offset, uint64_t bytes)
{
    struct pleat_device_slot *slot = context;

    if (fault(slot, PLEAT_FAULT_HOST_OUT_OF_MEMORY) || fault(slot, PLEAT_FAULT_HOST_OUT_OF_MAPPINGS))
        return PLEAT_E_NO_MEMORY;
    return pleat_memory_backend_map(&slot->memory, offset, bytes);
}

static int unmap(void *context, uint64_t offset, uint64_t bytes)
{
    struct pleat_device_slot *slot = context;

    if (fault(slot, PLEAT_FAULT_HOST_OUT_OF_MAPPINGS))
        return PLEAT_E_NO_MEMORY;
    return pleat_memory_backend_unmap(&slot->memory, offset, bytes);
}

static int discard(void *context, uint64_t offset, uint64_t bytes)
{
    struct pleat_device_slot *slot = context;

    if (fault(slot, PLEAT_FAULT_HOST_DISCARD_FAILS))
        return PLEAT_E_UNSUPPORTED;
    return pleat_memory_backend_discard(&slot->memory, offset, bytes);
}

static int map_zeroes(void *context, uint64_t offset, uint64_t bytes)
{
    struct pleat_device_slot *slot = context;

    return pleat_memory_backend_map_zeroes(&slot->memory, offset, bytes);
}

/* Copies the device's config space to where the driver reads it. */
static void show_config(struct pleat_device_slot *slot, bool interrupt)
{
    struct pleat_virtio_mem_config space;

    pleat_virtio_mem_device_config_space(slot->device, &space);
    pleat_virtio_device_set_config(slot->registers, 0, &space, sizeof space, interrupt);
}

static void config_interrupt(void *context)
{
    show_config(context, true);
}

static void plugged_changed(void *context, uint64_t plugged_bytes)
{
    struct pleat_device_slot *slot = context;

    show_config(slot, false);
    pleat_machine_tell(slot->machine, PLEAT_EVENT_MEMORY_DEVICE_SIZE_CHANGE, slot, plugged_bytes, "");
}

static uint64_t clock_ns(void *context)
{
    return now_ns(context);
}

static const struct pleat_virtio_mem_device_ops device_ops = {
    map, unmap, discard, map_zeroes, config_interrupt, plugged_changed, clock_ns,
};

/* ---- requests ---- */

static const char *const request_names[] = {"PLUG", "UNPLUG", "UNPLUG_ALL", "STATE"};
static const char *const response_names[] = {"ACK", "NACK", "BUSY", "ERROR"};

static void log_request(struct pleat_device_slot *slot, const void *request, size_t bytes, unsigned response)
{
    struct pleat_virtio_mem_request fields;

    /* A short one is refused, and what it lacks reads as zeroes here. */
    memset(&fields, 0, sizeof fields);
    memcpy(&fields, request, bytes < sizeof fields ? bytes : sizeof fields);
    const unsigned type = pleat_le16_get(fields.type);

    pleat_machine_log(slot->machine, PLEAT_LOG_DEBUG, pleat_device_slot_name(slot),
                      "%s 0x%" PRIx64 ", %u blocks: %s", type < 4 ? request_names[type] : "unknown request",
                      pleat_le64_get(fields.address), pleat_le16_get(fields.block_count),
                      response < 4 ? response_names[response] : "?");
}

/* The host asks for another size while the device has a request in its hands. */
static void change_config(struct pleat_device_slot *slot)
{
    uint64_t bytes;

    if (!pleat_fault_hits(slot->machine->faults, PLEAT_FAULT_CONFIG_CHANGE_IN_REQUEST, slot->config.id,
                          now_ns(slot), &bytes))
        return;
    if (bytes == UINT64_MAX)
        bytes = pleat_virtio_mem_device_requested_bytes(slot->device) / 2;
    if (bytes > slot->bytes)
        bytes = slot->bytes;
    bytes -= bytes % slot->config.block_bytes;
    pleat_virtio_mem_device_set_requested(slot->device, bytes);
}

/* In place of the device's own handling: with faults in between, and a line in the log. */
static int handle(void *context, const void *request, size_t bytes,
                  uint8_t response[PLEAT_VIRTIO_MEM_RESPONSE_BYTES])
{
    struct pleat_device_slot *slot = context;
    static const struct {
        enum pleat_fault_place place;
        uint16_t type;
    } answers[] = {
        {PLEAT_FAULT_DEVICE_BUSY, PLEAT_VIRTIO_MEM_RESP_BUSY},
        {PLEAT_FAULT_DEVICE_NACK, PLEAT_VIRTIO_MEM_RESP_NACK},
        {PLEAT_FAULT_DEVICE_ERROR, PLEAT_VIRTIO_MEM_RESP_ERROR},
    };

    slot->requests++;
    change_config(slot);
    if (fault(slot, PLEAT_FAULT_DEVICE_SILENT)) {
        pleat_machine_log(slot->machine, PLEAT_LOG_WARNING, pleat_device_slot_name(slot),
                          "a request stays unanswered");
        return PLEAT_E_BUSY;
    }
    for (unsigned i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        if (!fault(slot, answers[i].place))
            continue;
        struct pleat_virtio_mem_response answer;
        memset(&answer, 0, sizeof answer);
        answer.type = pleat_le16(answers[i].type);
        memcpy(response, &answer, sizeof answer);
        log_request(slot, request, bytes, answers[i].type);
        return answers[i].type;
    }
    const int type = pleat_virtio_mem_device_handle(slot->device, request, bytes, response);
    log_request(slot, request, bytes, (unsigned)type);
    return type;
}

static void notify(void *context, uint16_t index)
{
    struct pleat_device_slot *slot = context;
    const struct pleat_virtqueue *queue = pleat_virtio_device_queue(slot->registers, index);
    const uint64_t unanswered = slot->feeder.unanswered;

    if (pleat_virtio_mem_feeder_serve(&slot->feeder, index, UINT_MAX) == PLEAT_E_PROTOCOL)
        pleat_machine_log(slot->machine, PLEAT_LOG_WARNING, pleat_device_slot_name(slot),
                          "the queue is broken: %s", pleat_virtqueue_fault_text(queue->fault));
    if (slot->feeder.unanswered != unanswered)
        pleat_machine_log(slot->machine, PLEAT_LOG_WARNING, pleat_device_slot_name(slot),
                          "a request without room for its answer");
}

/* ---- registers ---- */

static bool accept_features(void *context, uint64_t features)
{
    struct pleat_device_slot *slot = context;

    /* Asked again when the driver adds DRIVER_OK; what was accepted can't have changed until a reset. */
    if (pleat_virtio_mem_device_accepted(slot->device))
        return true;
    const int error = pleat_virtio_mem_device_accept(slot->device, features);

    if (error)
        pleat_machine_log(slot->machine, PLEAT_LOG_WARNING, pleat_device_slot_name(slot),
                          "the driver is refused: %s", pleat_error_text(error));
    return !error;
}

static void driver_ok(void *context)
{
    notify(context, PLEAT_VIRTIO_MEM_QUEUE_REQUEST);
}

static void reset(void *context)
{
    struct pleat_device_slot *slot = context;

    pleat_virtio_mem_device_reset(slot->device);
    slot->interrupted = false;
    pleat_virtio_device_complete_reset(slot->registers);
    pleat_machine_log(slot->machine, PLEAT_LOG_DEBUG, pleat_device_slot_name(slot), "reset by the driver");
}

static const struct pleat_virtio_device_handler handler = {
    .accept_features = accept_features,
    .driver_ok = driver_ok,
    .notify = notify,
    .reset = reset,
};

static void interrupt(void *context, uint32_t cause, uint16_t queue)
{
    struct pleat_device_slot *slot = context;

    (void)cause;
    (void)queue;
    slot->interrupted = true;
}

/* Guest memory as the device may reach it: boot RAM, and what is plugged. */
static void *guest_pointer(void *context, uint64_t address, uint64_t length, bool write)
{
    struct pleat_device_slot *slot = context;
    struct pleat_machine *machine = slot->machine;
    bool there = pleat_guest_memory_is_boot(&machine->space, address, length);

    (void)write;
    for (unsigned i = 0; i < machine->slot_count && !there; i++)
        there = pleat_device_slot_is_plugged(machine->slots[i], address, length);
    return there ? machine->space.base + address : NULL;
}

/* ---- life ---- */

static int open_memory(struct pleat_device_slot *slot, struct pleat_message *message)
{
    struct pleat_memory_backend_config open;
    char why[256] = "";

    pleat_guest_memory_backend_config(&slot->backend->config, &open);
    open.prealloc = slot->config.prealloc;
    const int error = pleat_memory_backend_open(&open, slot->machine->space.base + slot->address,
                                                &slot->memory, why, sizeof why);
    if (error)
        return pleat_message_set(message, error, "%s: %s", slot->backend->config.id,
                                 why[0] ? why : pleat_error_text(error));
    if (slot->config.block_bytes < slot->memory.page_bytes)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "'block-size' property has to be at least the page size (0x%" PRIx64 ")",
                                 slot->memory.page_bytes);
    return PLEAT_OK;
}

static int create_device(struct pleat_device_slot *slot, struct pleat_message *message)
{
    const bool hide = slot->config.unplugged_inaccessible == PLEAT_OFF;
    const struct pleat_virtio_mem_device_config config = {
        .address = slot->address,
        .region_bytes = slot->bytes,
        .block_bytes = slot->config.block_bytes,
        .requested_bytes = slot->config.requested_bytes,
        .node_id = (uint16_t)slot->config.node,
        .flags =
            (slot->machine->config->numa_given ? PLEAT_VIRTIO_MEM_DEVICE_NODE : 0) |
            (hide ? PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS | PLEAT_VIRTIO_MEM_DEVICE_HIDE_INACCESSIBLE : 0),
    };
    const size_t bytes = pleat_virtio_mem_device_storage_bytes(&config);
    int error = bytes ? PLEAT_OK : PLEAT_E_INVALID;

    if (!error)
        slot->storage = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!error && !slot->storage)
        error = PLEAT_E_NO_MEMORY;
    if (!error)
        error =
            pleat_virtio_mem_device_create(&config, &device_ops, slot, slot->storage, bytes, &slot->device);
    return error ? pleat_message_set(message, error, "%s: %s", pleat_device_slot_name(slot),
                                     pleat_error_text(error))
                 : PLEAT_OK;
}

static int create_registers(struct pleat_device_slot *slot, struct pleat_message *message)
{
    const struct pleat_virtio_device_config config = {
        .device_id = PLEAT_VIRTIO_MEM_DEVICE_ID,
        .features = pleat_virtio_mem_device_features(slot->device) | PLEAT_VIRTIO_F_INDIRECT_DESC |
                    PLEAT_VIRTIO_F_EVENT_IDX | PLEAT_VIRTIO_F_RING_PACKED,
        .queues = PLEAT_VIRTIO_MEM_QUEUES,
        .queue_size_max = {QUEUE_SIZE},
        .config_bytes = PLEAT_VIRTIO_MEM_CONFIG_BYTES,
        .memory = {guest_pointer, slot},
        .handler = &handler,
        .handler_context = slot,
        .interrupt = interrupt,
        .interrupt_context = slot,
    };
    const int error = pleat_virtio_device_create(&config, &slot->registers);

    if (error)
        return pleat_message_set(message, error, "%s: %s", pleat_device_slot_name(slot),
                                 pleat_error_text(error));
    slot->transport = pleat_virtio_in_process(slot->registers);
    pleat_virtio_mem_feeder_init(&slot->feeder, slot->device);
    slot->feeder.registers = slot->registers;
    slot->feeder.handle = handle;
    slot->feeder.handle_context = slot;
    show_config(slot, false);
    return PLEAT_OK;
}

int pleat_device_slot_create(struct pleat_machine *machine, const struct pleat_device_config *config,
                             struct pleat_machine_backend *backend, uint64_t address,
                             struct pleat_device_slot **result, struct pleat_message *message)
{
    struct pleat_device_slot *slot = calloc(1, sizeof *slot);

    *result = NULL;
    if (!slot)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
    slot->machine = machine;
    slot->config = *config;
    slot->config.memaddr = address;
    snprintf(slot->range_name, sizeof slot->range_name, "System RAM (%s)", pleat_device_slot_name(slot));
    slot->backend = backend;
    slot->address = address;
    slot->bytes = backend->config.size_bytes;
    int error = open_memory(slot, message);
    if (!error)
        error = create_device(slot, message);
    if (!error)
        error = create_registers(slot, message);
    if (error) {
        pleat_device_slot_destroy(slot);
        return error;
    }
    *result = slot;
    return PLEAT_OK;
}

void pleat_device_slot_destroy(struct pleat_device_slot *slot)
{
    if (!slot)
        return;
    pleat_virtio_device_destroy(slot->registers);
    pleat_virtio_mem_device_destroy(slot->device);
    if (slot->memory.ops)
        pleat_memory_backend_close(&slot->memory);
    free(slot->storage);
    free(slot);
}

int pleat_device_slot_set_requested(struct pleat_device_slot *slot, uint64_t bytes,
                                    struct pleat_message *message)
{
    if (bytes % slot->config.block_bytes)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "'requested-size' has to be multiples of 'block-size' (0x%" PRIx64 ")",
                                 slot->config.block_bytes);
    if (bytes > slot->bytes)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "'requested-size' cannot exceed the memory backend size(0x%" PRIx64 ")",
                                 slot->bytes);
    slot->asked_ns = now_ns(slot);
    const int error = pleat_virtio_mem_device_set_requested(slot->device, bytes);
    if (error)
        return pleat_message_set(message, error, "'requested-size': %s", pleat_error_text(error));
    pleat_machine_log(slot->machine, PLEAT_LOG_INFO, pleat_device_slot_name(slot),
                      "requested-size is now %" PRIu64, bytes);
    return PLEAT_OK;
}

void pleat_device_slot_system_reset(struct pleat_device_slot *slot)
{
    pleat_virtio_device_write_status(slot->registers, 0);
    if (pleat_virtio_mem_device_system_reset(slot->device))
        pleat_machine_log(slot->machine, PLEAT_LOG_WARNING, pleat_device_slot_name(slot),
                          "not all memory could be unplugged by the reset");
    show_config(slot, false);
    slot->interrupted = false;
    slot->asked_ns = now_ns(slot);
}

/* ---- what is plugged ---- */

bool pleat_device_slot_is_plugged(const struct pleat_device_slot *slot, uint64_t address, uint64_t bytes)
{
    if (address < slot->address || address - slot->address >= slot->bytes)
        return false;
    return pleat_virtio_mem_device_is_plugged(slot->device, address - slot->address, bytes);
}

uint64_t pleat_device_slot_plugged_in(const struct pleat_device_slot *slot, uint64_t address, uint64_t bytes)
{
    uint64_t start = address > slot->address ? address - slot->address : 0;
    const uint64_t end = address + bytes > slot->address ? address + bytes - slot->address : 0;
    uint64_t sum = 0, run, run_bytes;

    while (start < end && pleat_virtio_mem_device_next_plugged(slot->device, start, &run, &run_bytes) &&
           run < end) {
        sum += run + run_bytes < end ? run_bytes : end - run;
        start = run + run_bytes;
    }
    return sum;
}

bool pleat_device_slot_first_unplugged(const struct pleat_device_slot *slot, uint64_t *address)
{
    uint64_t run, run_bytes, offset = 0;

    if (pleat_virtio_mem_device_next_plugged(slot->device, 0, &run, &run_bytes) && run == 0)
        offset = run_bytes;
    *address = slot->address + offset;
    return offset < slot->bytes;
}
