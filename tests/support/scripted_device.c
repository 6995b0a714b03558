/* SPDX-License-Identifier: MIT
 *
 * The scripted device: registers, config space, and requests one by one.
 */
#include "tests/support/scripted_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARED_PHYSICAL UINT64_C(0x10000)
enum { NO_ANSWER = 99 };

/* --- Books --------------------------------------------------------------------------------------------- */

static uint64_t block_of(const struct scripted_device *device, uint64_t address)
{
    return (address - device->address) / device->block_bytes;
}

bool scripted_device_is_plugged(const struct scripted_device *device, uint64_t address, uint64_t bytes)
{
    for (uint64_t at = address; at < address + bytes; at += device->block_bytes) {
        if (at < device->address || at - device->address >= device->region_bytes ||
            !device->plugged[block_of(device, at)]) {
            return false;
        }
    }
    return true;
}

static bool is_plugged(void *context, uint64_t address, uint64_t bytes)
{
    return scripted_device_is_plugged(context, address, bytes);
}

uint64_t scripted_device_plugged_bytes(const struct scripted_device *device)
{
    uint64_t blocks = 0;
    for (unsigned i = 0; i < SCRIPTED_BLOCKS; i++) {
        blocks += device->plugged[i];
    }
    return blocks * device->block_bytes;
}

void scripted_answer(struct scripted_answer *answer, unsigned type, unsigned state)
{
    memset(answer->bytes, 0, sizeof(answer->bytes));
    pleat_write_le16(answer->bytes, (uint16_t)type);
    pleat_write_le16(answer->bytes + 8, (uint16_t)state);
    answer->written = PLEAT_VIRTIO_MEM_RESPONSE_BYTES;
    answer->length = PLEAT_VIRTIO_MEM_RESPONSE_BYTES;
}

/* --- Requests, honestly -------------------------------------------------------------------------------- */

static bool range_is_good(const struct scripted_device *device, const struct scripted_request *request)
{
    return request->blocks > 0 && request->address >= device->address &&
           (request->address - device->address) % device->block_bytes == 0 &&
           request->address - device->address + request->blocks * device->block_bytes <= device->usable_bytes;
}

static uint64_t count_plugged(const struct scripted_device *device, const struct scripted_request *request)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < request->blocks; i++) {
        count += device->plugged[block_of(device, request->address) + i];
    }
    return count;
}

static void set_plugged(struct scripted_device *device, const struct scripted_request *request, bool plugged)
{
    const uint64_t bytes = request->blocks * device->block_bytes;
    if (plugged) {
        model_memory_plugged(device->model, request->address, bytes);
    } else {
        model_memory_check_unused(device->model, request->address, bytes);
    }
    for (uint64_t i = 0; i < request->blocks; i++) {
        device->plugged[block_of(device, request->address) + i] = plugged;
    }
}

static unsigned plug(struct scripted_device *device, const struct scripted_request *request)
{
    const uint64_t bytes = request->blocks * device->block_bytes;
    if (!range_is_good(device, request) || count_plugged(device, request) > 0) {
        return PLEAT_VIRTIO_MEM_RESP_ERROR;
    }
    if (scripted_device_plugged_bytes(device) + bytes > device->requested_bytes) {
        return PLEAT_VIRTIO_MEM_RESP_NACK;
    }
    set_plugged(device, request, true);
    return PLEAT_VIRTIO_MEM_RESP_ACK;
}

static unsigned unplug(struct scripted_device *device, const struct scripted_request *request)
{
    const uint64_t bytes = request->blocks * device->block_bytes;
    if (!range_is_good(device, request) || count_plugged(device, request) != request->blocks) {
        return PLEAT_VIRTIO_MEM_RESP_ERROR;
    }
    if (device->refuse_below_request &&
        scripted_device_plugged_bytes(device) < device->requested_bytes + bytes) {
        return PLEAT_VIRTIO_MEM_RESP_NACK;
    }
    set_plugged(device, request, false);
    return PLEAT_VIRTIO_MEM_RESP_ACK;
}

static unsigned unplug_all(struct scripted_device *device)
{
    const struct scripted_request all = {.address = device->address,
                                         .blocks = device->region_bytes / device->block_bytes};
    set_plugged(device, &all, false);
    return PLEAT_VIRTIO_MEM_RESP_ACK;
}

static unsigned carry_out(struct scripted_device *device, const struct scripted_request *request,
                          unsigned *state)
{
    *state = 0;
    switch (request->type) {
    case PLEAT_VIRTIO_MEM_REQ_PLUG:
        return plug(device, request);
    case PLEAT_VIRTIO_MEM_REQ_UNPLUG:
        return unplug(device, request);
    case PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL:
        return unplug_all(device);
    case PLEAT_VIRTIO_MEM_REQ_STATE:
        break;
    default:
        return PLEAT_VIRTIO_MEM_RESP_ERROR;
    }
    if (!range_is_good(device, request)) {
        return PLEAT_VIRTIO_MEM_RESP_ERROR;
    }
    const uint64_t plugged = count_plugged(device, request);
    *state = plugged == request->blocks ? PLEAT_VIRTIO_MEM_STATE_PLUGGED
             : plugged == 0             ? PLEAT_VIRTIO_MEM_STATE_UNPLUGGED
                                        : PLEAT_VIRTIO_MEM_STATE_MIXED;
    return PLEAT_VIRTIO_MEM_RESP_ACK;
}

/* --- The queue ----------------------------------------------------------------------------------------- */

static void *guest_pointer(void *context, uint64_t physical, uint64_t length, bool write)
{
    struct scripted_device *device = context;
    (void)write;
    if (physical < device->shared_physical || length > SCRIPTED_SHARED_BYTES ||
        physical - device->shared_physical > SCRIPTED_SHARED_BYTES - length) {
        return NULL;
    }
    return device->shared + (physical - device->shared_physical);
}

static struct pleat_guest_memory guest_memory_of(struct scripted_device *device)
{
    return (struct pleat_guest_memory){.guest_pointer = guest_pointer, .context = device};
}

static bool read_request(struct scripted_device *device, const struct pleat_virtqueue_chain *chain,
                         struct scripted_request *request)
{
    uint8_t bytes[PLEAT_VIRTIO_MEM_REQUEST_BYTES];
    if (pleat_virtqueue_read(&device->queue, chain, 0, bytes, sizeof(bytes)) != sizeof(bytes) ||
        chain->readable_bytes != sizeof(bytes) || chain->writable_bytes != PLEAT_VIRTIO_MEM_RESPONSE_BYTES) {
        return false;
    }
    *request = (struct scripted_request){.type = pleat_read_le16(bytes),
                                         .address = pleat_read_le64(bytes + 8),
                                         .blocks = pleat_read_le16(bytes + 16)};
    return true;
}

static void log_request(struct scripted_device *device, const struct scripted_request *request,
                        unsigned answer)
{
    if (device->logged < SCRIPTED_LOG) {
        device->log[device->logged] = *request;
        device->log[device->logged].answer = answer;
        device->logged++;
    }
}

static void handle(struct scripted_device *device, struct pleat_virtqueue_chain *chain)
{
    struct scripted_request request;
    struct scripted_answer answer;
    if (!read_request(device, chain, &request)) {
        if (device->tolerant) {
            return;
        }
        fprintf(stderr, "scripted device: a chain that is no request\n");
        abort();
    }
    scripted_answer(&answer, PLEAT_VIRTIO_MEM_RESP_ACK, 0);
    const enum script_action action =
        device->script == NULL ? SCRIPT_HONEST : device->script(device->script_context, &request, &answer);
    unsigned state = 0;
    unsigned type = NO_ANSWER;
    if (device->tolerant && request.type > PLEAT_VIRTIO_MEM_REQ_STATE) {
        return;
    }
    if (action == SCRIPT_HONEST || action == SCRIPT_DO_ANSWER || action == SCRIPT_DO_SILENT) {
        type = carry_out(device, &request, &state);
    }
    if (action == SCRIPT_SILENT || action == SCRIPT_DO_SILENT) {
        log_request(device, &request, NO_ANSWER);
        return;
    }
    if (action == SCRIPT_HONEST) {
        scripted_answer(&answer, type, state);
    }
    log_request(device, &request, pleat_read_le16(answer.bytes));
    (void)pleat_virtqueue_write(&device->queue, chain, 0, answer.bytes, answer.written);
    (void)pleat_virtqueue_push(&device->queue, chain, answer.length);
    if (pleat_virtqueue_should_interrupt(&device->queue)) {
        device->interrupts |= PLEAT_VIRTIO_INTERRUPT_QUEUE;
    }
}

void scripted_device_run(struct scripted_device *device)
{
    struct pleat_virtqueue_segment segments[8];
    struct pleat_virtqueue_chain chain = {.segments = segments, .capacity = 8};
    if (!device->queue_enabled || (device->status & PLEAT_VIRTIO_STATUS_DRIVER_OK) == 0) {
        return;
    }
    do {
        while (pleat_virtqueue_pop(&device->queue, &chain) == 1) {
            handle(device, &chain);
        }
    } while (device->queue.fault == PLEAT_VIRTQUEUE_FAULT_NONE &&
             pleat_virtqueue_enable_notifications(&device->queue));
    /* Until a reset is complete, the device may write there, and the driver mustn't. */
    memcpy(device->shared_then, device->shared, sizeof(device->shared));
}

/* --- Registers ----------------------------------------------------------------------------------------- */

static uint32_t device_id(void *context)
{
    (void)context;
    return PLEAT_VIRTIO_MEM_DEVICE_ID;
}

static uint64_t get_features(void *context)
{
    return ((struct scripted_device *)context)->features_offered;
}

static int set_features(void *context, uint64_t features)
{
    struct scripted_device *device = context;
    if (device->refuse_features || (features & ~device->features_offered) != 0) {
        return PLEAT_E_REFUSED;
    }
    device->features = features;
    device->status |= PLEAT_VIRTIO_STATUS_FEATURES_OK;
    return 0;
}

static uint8_t get_status(void *context)
{
    return ((struct scripted_device *)context)->status;
}

static void add_status(void *context, uint8_t bits)
{
    struct scripted_device *device = context;
    if ((bits & PLEAT_VIRTIO_STATUS_DRIVER_OK) != 0 && device->before_driver_ok != NULL) {
        device->before_driver_ok(device);
    }
    device->status |= bits;
}

static void reset_begin(void *context)
{
    struct scripted_device *device = context;
    device->resets++;
    device->reset_polls_left = device->reset_polls;
    device->reset_pending = true;
    memcpy(device->shared_then, device->shared, sizeof(device->shared));
}

/* Until now the buffers were the device's (X6). */
static int reset_poll(void *context)
{
    struct scripted_device *device = context;
    if (device->reset_pending && memcmp(device->shared_then, device->shared, sizeof(device->shared)) != 0) {
        fprintf(stderr, "scripted device: shared memory was written during a reset\n");
        abort();
    }
    if (device->reset_polls_left > 0) {
        device->reset_polls_left--;
        return PLEAT_MORE;
    }
    device->reset_pending = false;
    device->status = 0;
    device->features = 0;
    device->queue_enabled = false;
    return 0;
}

static uint32_t config_generation(void *context)
{
    struct scripted_device *device = context;
    if (device->torn_reads > 0) {
        device->torn_reads--;
        device->generation++;
    }
    return device->generation;
}

static int config_read(void *context, uint32_t offset, void *to, uint32_t length)
{
    struct scripted_device *device = context;
    struct pleat_virtio_mem_config config;
    device->config_reads++;
    memset(&config, 0xa5, sizeof(config)); /* padding says nothing (V-CFG2) */
    config.block_size = pleat_le64(device->block_bytes);
    config.node_id = pleat_le16(device->node);
    config.address = pleat_le64(device->address);
    config.region_size = pleat_le64(device->region_bytes);
    config.usable_region_size = pleat_le64(device->usable_bytes);
    config.plugged_size = pleat_le64(scripted_device_plugged_bytes(device) + device->plugged_lie);
    config.requested_size = pleat_le64(device->requested_bytes);
    if (offset > sizeof(config) || length > sizeof(config) - offset) {
        return PLEAT_E_INVALID;
    }
    for (uint32_t i = 0; i < length; i++) {
        ((uint8_t *)to)[i] = ((const uint8_t *)&config)[offset + i] ^ device->config_lies[offset + i];
    }
    return 0;
}

static int config_write(void *context, uint32_t offset, const void *from, uint32_t length)
{
    (void)offset;
    (void)from;
    (void)length;
    ((struct scripted_device *)context)->config_writes++;
    return PLEAT_E_UNSUPPORTED;
}

static uint16_t queue_size_max(void *context, uint16_t index)
{
    return index == 0 ? ((struct scripted_device *)context)->queue_size_max : 0;
}

static int queue_setup(void *context, uint16_t index, uint16_t size,
                       const struct pleat_virtio_queue_addresses *addresses)
{
    struct scripted_device *device = context;
    (void)index;
    device->queue_config =
        (struct pleat_virtqueue_config){.features = device->features,
                                        .size = size,
                                        .descriptor_physical = addresses->descriptor_physical,
                                        .driver_physical = addresses->driver_physical,
                                        .device_physical = addresses->device_physical};
    return 0;
}

static int queue_enable(void *context, uint16_t index)
{
    struct scripted_device *device = context;
    const struct pleat_guest_memory memory = guest_memory_of(device);
    (void)index;
    const int error = pleat_virtqueue_init(&device->queue, &device->queue_config, &memory);
    device->queue_enabled = error == 0;
    return error;
}

static int set_vector(void *context, uint16_t index, uint16_t vector)
{
    struct scripted_device *device = context;
    device->vectors_set++;
    *(index == PLEAT_VIRTIO_VECTOR_OF_CONFIG ? &device->config_vector : &device->queue_vector) = vector;
    return device->vector_error;
}

static void notify(void *context, uint16_t index)
{
    struct scripted_device *device = context;
    (void)index;
    device->notifications++;
    if (!device->deferred) {
        scripted_device_run(device);
    }
}

static const struct pleat_virtio_transport_ops transport_ops = {
    .device_id = device_id,
    .get_features = get_features,
    .set_features = set_features,
    .get_status = get_status,
    .add_status = add_status,
    .reset_begin = reset_begin,
    .reset_poll = reset_poll,
    .config_generation = config_generation,
    .config_read = config_read,
    .config_write = config_write,
    .queue_size_max = queue_size_max,
    .queue_setup = queue_setup,
    .queue_enable = queue_enable,
    .notify = notify,
    .set_vector = set_vector,
};

/* --- Plans --------------------------------------------------------------------------------------------- */

enum script_action script_plan(void *context, const struct scripted_request *request,
                               struct scripted_answer *answer)
{
    struct script_plan *plan = context;
    if (plan->before != NULL) {
        plan->before(plan->context, request);
    }
    if ((plan->types >> request->type & 1) == 0) {
        return SCRIPT_HONEST;
    }
    plan->seen++;
    if (plan->seen <= plan->skip || plan->seen > plan->skip + plan->times) {
        return SCRIPT_HONEST;
    }
    *answer = plan->answer;
    return plan->action;
}

void script_plan_answer(struct scripted_device *device, struct script_plan *plan, unsigned types,
                        unsigned skip, unsigned times, unsigned answer)
{
    *plan = (struct script_plan){.types = types, .skip = skip, .times = times, .action = SCRIPT_ANSWER};
    scripted_answer(&plan->answer, answer, 0);
    device->script = script_plan;
    device->script_context = plan;
}

void script_plan_type_alone(struct scripted_device *device, struct script_plan *plan, unsigned types)
{
    script_plan_answer(device, plan, types, 0, FOREVER, PLEAT_VIRTIO_MEM_RESP_ACK);
    plan->action = SCRIPT_DO_ANSWER;
    memset(plan->answer.bytes + 2, 0xff, sizeof(plan->answer.bytes) - 2);
}

/* --- For tests ----------------------------------------------------------------------------------------- */

void scripted_device_init(struct scripted_device *device, struct model_memory *model, uint64_t address,
                          uint64_t region_bytes, uint64_t block_bytes)
{
    memset(device, 0, sizeof(*device));
    device->transport = (struct pleat_virtio_transport){.ops = &transport_ops, .context = device};
    device->model = model;
    model->is_plugged = is_plugged;
    model->context = device;
    device->address = address;
    device->region_bytes = region_bytes;
    device->usable_bytes = region_bytes;
    device->block_bytes = block_bytes;
    device->features_offered = PLEAT_VIRTIO_F_VERSION_1 | PLEAT_VIRTIO_F_EVENT_IDX |
                               UINT64_C(1) << PLEAT_VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE;
    device->queue_size_max = 16;
    device->shared_physical = SHARED_PHYSICAL;
}

void scripted_device_leave_plugged(struct scripted_device *device, uint64_t offset, uint64_t bytes)
{
    for (uint64_t at = offset; at < offset + bytes; at += device->block_bytes) {
        device->plugged[at / device->block_bytes] = true;
    }
    model_memory_plugged(device->model, device->address + offset, bytes);
}

unsigned scripted_device_count(const struct scripted_device *device, unsigned type)
{
    unsigned count = 0;
    for (unsigned i = 0; i < device->logged; i++) {
        count += device->log[i].type == type;
    }
    return count;
}

void scripted_device_request(struct scripted_device *device, uint64_t bytes)
{
    device->requested_bytes = bytes;
    if (device->usable_bytes < bytes) {
        device->usable_bytes = bytes;
    }
    device->generation++;
    device->interrupts |= PLEAT_VIRTIO_INTERRUPT_CONFIG;
}

uint32_t scripted_device_interrupts(struct scripted_device *device)
{
    const uint32_t causes = device->interrupts;
    device->interrupts = 0;
    return causes;
}
