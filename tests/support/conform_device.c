/* SPDX-License-Identifier: MIT
 *
 * See conform_device.h. A fault sits in the layer that it belongs to: in what the driver reads of the config
 * space, in how a request is handled, in the callbacks to the host, or in how a chain is served.
 */
#include "tests/support/conform_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <pleat/virtio_in_process.h>

#include "tests/support/touch.h"

#define SHARED_ADDRESS UINT64_C(0x100000)
#define REGION_ADDRESS UINT64_C(0x140000000)
#define BLOCK          (UINT64_C(2) << 20)
#define BLOCKS         UINT64_C(512)
#define INACC          (UINT64_C(1) << PLEAT_VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE)

struct bed {
    struct conform_shape shape;
    uint8_t *shared;
    uint8_t *region;
    struct pleat_memory_backend backend;
    struct pleat_virtio_mem_device *device;
    void *storage;
    struct pleat_virtio_device *registers;
    struct pleat_virtio_mem_feeder feeder;
    struct pleat_virtio_transport inner;
    struct pleat_virtio_transport transport;
    uint64_t clock_ns;
    uint32_t interrupts;
    bool reader_refused;
    bool all_unplugged; /* the last request of all was an UNPLUG_ALL */
    bool plugged_once;
    bool stays;
    uint64_t stale_plugged; /* plugged_size before the last request */
    uint64_t private_storage[CONFORM_PRIVATE_BYTES / 8];
    conform_device_result_fn *result;
    void *result_context;
};

static bool has(const struct bed *bed, enum conform_fault fault)
{
    return bed->shape.fault == fault;
}

/* --- The host's memory ---------------------------------------------------------------------------------- */

static int map(void *context, uint64_t offset, uint64_t bytes)
{
    struct bed *bed = context;
    if (has(bed, FAULT_PLUGS_ONCE) && offset == 0 && bed->plugged_once) {
        return PLEAT_OK;
    }
    bed->plugged_once |= offset == 0;
    if (has(bed, FAULT_PLUG_CLEARS_A_NEIGHBOUR) &&
        pleat_virtio_mem_device_is_plugged(bed->device, offset + bytes, BLOCK)) {
        memset(bed->region + offset + bytes, 0, 4096);
    }
    return pleat_memory_backend_map(&bed->backend, offset, bytes);
}

static int unmap(void *context, uint64_t offset, uint64_t bytes)
{
    struct bed *bed = context;
    return pleat_memory_backend_unmap(&bed->backend, offset, bytes);
}

static int map_zeroes(void *context, uint64_t offset, uint64_t bytes)
{
    struct bed *bed = context;
    if (has(bed, FAULT_UNPLUGGED_FAULTS)) {
        return pleat_memory_backend_unmap(&bed->backend, offset, bytes);
    }
    return pleat_memory_backend_map_zeroes(&bed->backend, offset, bytes);
}

static int discard(void *context, uint64_t offset, uint64_t bytes)
{
    struct bed *bed = context;
    return pleat_memory_backend_discard(&bed->backend, offset, bytes);
}

static void show_config(struct bed *bed, bool interrupt)
{
    struct pleat_virtio_mem_config space;
    pleat_virtio_mem_device_config_space(bed->device, &space);
    assert_int_equal(pleat_virtio_device_set_config(bed->registers, 0, &space, sizeof(space), interrupt), 0);
}

static void config_interrupt(void *context)
{
    struct bed *bed = context;
    show_config(bed, !has(bed, FAULT_NO_CONFIG_INTERRUPT));
}

static const struct pleat_virtio_mem_device_ops device_ops = {.map = map,
                                                              .unmap = unmap,
                                                              .discard = discard,
                                                              .map_zeroes = map_zeroes,
                                                              .config_interrupt = config_interrupt};

static void *guest_pointer(void *context, uint64_t address, uint64_t length, bool write)
{
    struct bed *bed = context;
    (void)write;
    if (address >= SHARED_ADDRESS && address - SHARED_ADDRESS <= CONFORM_SHARED_BYTES &&
        length <= CONFORM_SHARED_BYTES - (address - SHARED_ADDRESS)) {
        return bed->shared + (address - SHARED_ADDRESS);
    }
    if (address >= REGION_ADDRESS && !has(bed, FAULT_NO_DMA_TO_PLUGGED) &&
        pleat_virtio_mem_device_is_plugged(bed->device, address - REGION_ADDRESS, length)) {
        return bed->region + (address - REGION_ADDRESS);
    }
    return NULL;
}

/* --- Requests ------------------------------------------------------------------------------------------- */

static int answer(uint8_t response[PLEAT_VIRTIO_MEM_RESPONSE_BYTES], unsigned type, unsigned state)
{
    memset(response, 0, PLEAT_VIRTIO_MEM_RESPONSE_BYTES);
    pleat_write_le16(response, (uint16_t)type);
    pleat_write_le16(response + 8, (uint16_t)state);
    return (int)type;
}

/* Has the device's own handling do something else than what was asked for. */
static int instead(struct bed *bed, unsigned type, uint64_t address, unsigned blocks)
{
    struct pleat_virtio_mem_request request;
    uint8_t response[PLEAT_VIRTIO_MEM_RESPONSE_BYTES];
    memset(&request, 0, sizeof(request));
    request.type = pleat_le16((uint16_t)type);
    request.address = pleat_le64(address);
    request.block_count = pleat_le16((uint16_t)blocks);
    return pleat_virtio_mem_device_handle(bed->device, &request, sizeof(request), response);
}

static bool any_byte(const uint8_t *bytes, size_t count)
{
    while (count > 0 && bytes[count - 1] == 0) {
        count--;
    }
    return count > 0;
}

/* One request, wrongly in the way of the fault; where the fault doesn't concern it, as the device would. */
static int handle(void *context, const void *bytes, size_t request_bytes,
                  uint8_t response[PLEAT_VIRTIO_MEM_RESPONSE_BYTES])
{
    enum {
        PLUG = PLEAT_VIRTIO_MEM_REQ_PLUG,
        UNPLUG = PLEAT_VIRTIO_MEM_REQ_UNPLUG,
        UNPLUG_ALL = PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL,
        STATE = PLEAT_VIRTIO_MEM_REQ_STATE,
        ACK = PLEAT_VIRTIO_MEM_RESP_ACK,
        NACK = PLEAT_VIRTIO_MEM_RESP_NACK,
        ERROR = PLEAT_VIRTIO_MEM_RESP_ERROR
    };
    struct bed *bed = context;
    const uint8_t *request = bytes;
    if (request_bytes < PLEAT_VIRTIO_MEM_REQUEST_BYTES) {
        return has(bed, FAULT_SHORT_REQUEST_IS_KEPT)
                   ? -1
                   : pleat_virtio_mem_device_handle(bed->device, bytes, request_bytes, response);
    }
    const unsigned type = pleat_read_le16(request);
    const uint64_t address = pleat_read_le64(request + 8);
    const unsigned blocks = pleat_read_le16(request + 16);
    const uint64_t plugged = pleat_virtio_mem_device_plugged_bytes(bed->device);
    const uint64_t requested = pleat_virtio_mem_device_requested_bytes(bed->device);
    const bool over = type == PLUG && plugged + blocks * BLOCK > requested;
    bed->stale_plugged = plugged;
    bed->all_unplugged = type == UNPLUG_ALL;

    switch (bed->shape.fault) {
    case FAULT_UNKNOWN_TYPE_BREAKS:
        if (type > STATE) {
            pleat_virtio_device_set_needs_reset(bed->registers);
            return -1;
        }
        break;
    case FAULT_LOOKS_AT_PADDING:
        if (any_byte(request + 2, 6) || any_byte(request + 18, 6)) {
            return answer(response, ERROR, 0);
        }
        break;
    case FAULT_UNPLUG_BELOW_IS_ERROR:
        if (type == UNPLUG && plugged <= requested) {
            return answer(response, ERROR, 0);
        }
        break;
    case FAULT_UNPLUG_ALL_BELOW_IS_NACK:
        if (type == UNPLUG_ALL && plugged && plugged < requested) {
            return answer(response, NACK, 0);
        }
        break;
    case FAULT_QUOTA_BEFORE_STATE:
        if (over && blocks && address % BLOCK == 0 && address >= REGION_ADDRESS &&
            address - REGION_ADDRESS + blocks * BLOCK <= pleat_virtio_mem_device_usable_bytes(bed->device)) {
            return answer(response, NACK, 0);
        }
        break;
    default:
        break;
    }

    const int right = pleat_virtio_mem_device_handle(bed->device, bytes, request_bytes, response);
    switch (bed->shape.fault) {
    case FAULT_RANGE_IS_NACK:
        return right == ERROR && type <= STATE ? answer(response, NACK, 0) : right;
    case FAULT_RANGE_WRAPS:
        return right == ERROR && address + blocks * BLOCK < address ? answer(response, ACK, 0) : right;
    case FAULT_PLUGS_PLUGGED:
        if (right == ERROR && type == PLUG && blocks > 0 &&
            pleat_virtio_mem_device_is_plugged(bed->device, address - REGION_ADDRESS, blocks * BLOCK)) {
            return answer(response, ACK, 0);
        }
        return right;
    case FAULT_UNPLUGS_UNPLUGGED:
        if (right == ERROR && type == UNPLUG && blocks == 2 && address % BLOCK == 0) {
            return answer(response, ACK, 0);
        }
        return right;
    case FAULT_STATE_OF_ANYTHING:
        return right == ERROR && type == STATE ? answer(response, ACK, PLEAT_VIRTIO_MEM_STATE_UNPLUGGED)
                                               : right;
    case FAULT_PLUGS_THE_FIRST:
        if (right == ACK && type == PLUG && blocks > 1) {
            instead(bed, UNPLUG, address + BLOCK, blocks - 1);
        }
        return right;
    case FAULT_UNPLUGS_NOTHING:
        if (right == ACK && type == UNPLUG) {
            instead(bed, PLUG, address, blocks);
        }
        return right;
    case FAULT_UNPLUG_ALL_LEAVES_ONE:
        if (right == ACK && type == UNPLUG_ALL && plugged > BLOCK) {
            instead(bed, PLUG, REGION_ADDRESS, 1);
        }
        return right;
    case FAULT_STATE_OF_THE_FIRST:
        if (right == ACK && type == STATE) {
            return answer(response, ACK,
                          pleat_virtio_mem_device_is_plugged(bed->device, address - REGION_ADDRESS, BLOCK)
                              ? PLEAT_VIRTIO_MEM_STATE_PLUGGED
                              : PLEAT_VIRTIO_MEM_STATE_UNPLUGGED);
        }
        return right;
    case FAULT_OVER_QUOTA_IS_ERROR:
        return right == NACK ? answer(response, ERROR, 0) : right;
    case FAULT_NO_QUOTA:
        if (right == NACK && pleat_virtio_mem_device_set_requested(bed->device, BLOCKS * BLOCK) == 0) {
            instead(bed, PLUG, address, blocks);
            pleat_virtio_mem_device_set_requested(bed->device, requested);
            return answer(response, ACK, 0);
        }
        return right;
    default:
        return right;
    }
}

/* --- Chains --------------------------------------------------------------------------------------------- */

/* As the feeder does it, but for the faults of the queue. */
static void serve(struct bed *bed, struct pleat_virtqueue *queue, const struct pleat_virtqueue_chain *chain)
{
    uint8_t request[PLEAT_VIRTIO_MEM_REQUEST_BYTES];
    uint8_t response[32] = {0};
    const int64_t bytes = pleat_virtqueue_read(queue, chain, 0, request, sizeof(request));
    if (bytes < 0 || (chain->writable_bytes < PLEAT_VIRTIO_MEM_RESPONSE_BYTES)) {
        if (has(bed, FAULT_SHORT_RESPONSE_BREAKS)) {
            pleat_virtio_device_set_needs_reset(bed->registers);
            return;
        }
        pleat_virtqueue_push(queue, chain, 0);
        return;
    }
    int type = -1;
    if (has(bed, FAULT_WANTS_ONE_BUFFER) && chain->readable != 1) {
        type = answer(response, PLEAT_VIRTIO_MEM_RESP_ERROR, 0);
    } else {
        type = handle(bed, request, (size_t)bytes, response);
    }
    show_config(bed, false);
    uint32_t written = PLEAT_VIRTIO_MEM_RESPONSE_BYTES;
    if (has(bed, FAULT_WRITES_MORE)) {
        written = chain->writable_bytes < 16 ? chain->writable_bytes : 16;
    }
    pleat_virtqueue_write(queue, chain, 0, response, written);
    if (has(bed, FAULT_USED_IS_ALL)) {
        written = chain->writable_bytes;
    }
    if (has(bed, FAULT_NACK_HAS_NO_LENGTH) && type == PLEAT_VIRTIO_MEM_RESP_NACK) {
        written = 2;
    }
    pleat_virtqueue_push(queue, chain, has(bed, FAULT_WRITES_MORE) ? 10 : written);
}

static void serve_queue(struct bed *bed)
{
    struct pleat_virtqueue *queue;
    while ((queue = pleat_virtio_device_queue(bed->registers, 0)) != NULL) {
        struct pleat_virtqueue_segment segments[64];
        struct pleat_virtqueue_chain chain = {.segments = segments, .capacity = 64};
        const int popped = pleat_virtqueue_pop(queue, &chain);
        if (popped == 0 && !pleat_virtqueue_enable_notifications(queue)) {
            return;
        }
        if (popped == 1) {
            serve(bed, queue, &chain);
        } else if (popped == PLEAT_E_REFUSED) {
            pleat_virtqueue_push(queue, &chain, 0);
        } else if (popped < 0) {
            pleat_virtio_device_set_needs_reset(bed->registers);
            return;
        }
    }
}

static void notify(void *context, uint16_t index)
{
    struct bed *bed = context;
    const uint64_t before = pleat_virtio_mem_device_plugged_bytes(bed->device);
    switch (bed->shape.fault) {
    case FAULT_WANTS_ONE_BUFFER:
    case FAULT_SHORT_RESPONSE_BREAKS:
    case FAULT_USED_IS_ALL:
    case FAULT_WRITES_MORE:
    case FAULT_NACK_HAS_NO_LENGTH:
        serve_queue(bed);
        break;
    default:
        pleat_virtio_mem_feeder_serve(&bed->feeder, index, 1000);
    }
    if (has(bed, FAULT_PLUG_INTERRUPTS) && pleat_virtio_mem_device_plugged_bytes(bed->device) != before) {
        bed->interrupts |= PLEAT_VIRTIO_INTERRUPT_CONFIG;
    }
}

/* --- Registers ------------------------------------------------------------------------------------------ */

static bool accept_features(void *context, uint64_t features)
{
    struct bed *bed = context;
    if (pleat_virtio_mem_device_accepted(bed->device)) {
        return true;
    }
    if (!(features & INACC) && has(bed, FAULT_REFUSES_AFTER_READER)) {
        bed->reader_refused = true;
    }
    return !bed->reader_refused && !pleat_virtio_mem_device_accept(bed->device, features);
}

static void driver_ok(void *context)
{
    notify(context, 0);
}

static void reset(void *context)
{
    struct bed *bed = context;
    if (has(bed, FAULT_RESET_UNPLUGS)) {
        instead(bed, PLEAT_VIRTIO_MEM_REQ_UNPLUG, REGION_ADDRESS + 3 * BLOCK, 1);
    }
    if (has(bed, FAULT_RESET_CLEARS) && pleat_virtio_mem_device_is_plugged(bed->device, 3 * BLOCK, BLOCK)) {
        memset(bed->region + 3 * BLOCK, 0, 4096);
    }
    assert_int_equal(pleat_virtio_mem_device_reset(bed->device), 0);
    show_config(bed, false);
    pleat_virtio_device_complete_reset(bed->registers);
}

static const struct pleat_virtio_device_handler handler = {
    .accept_features = accept_features, .driver_ok = driver_ok, .notify = notify, .reset = reset};

static void interrupt(void *context, uint32_t cause, uint16_t queue)
{
    struct bed *bed = context;
    (void)queue;
    bed->interrupts |= cause;
}

/* --- The transport, with the faults of the config space ------------------------------------------------- */

/* Changes what the driver reads of the field at `offset`. */
static uint64_t bend(struct bed *bed, uint32_t offset, uint64_t value)
{
    const uint64_t plugged = pleat_virtio_mem_device_plugged_bytes(bed->device);
    const uint64_t requested = pleat_virtio_mem_device_requested_bytes(bed->device);
    const bool is_usable = offset == offsetof(struct pleat_virtio_mem_config, usable_region_size);
    switch (bed->shape.fault) {
    case FAULT_BLOCK_SIZE_IS_ODD:
        return offset == offsetof(struct pleat_virtio_mem_config, block_size) ? 3 * BLOCK : value;
    case FAULT_REGION_IS_NEGATIVE:
        return offset == offsetof(struct pleat_virtio_mem_config, region_size) ? 0 - BLOCK : value;
    case FAULT_REQUESTED_STAYS:
        bed->stays |=
            offset == offsetof(struct pleat_virtio_mem_config, requested_size) && value == 8 * BLOCK;
        return offset == offsetof(struct pleat_virtio_mem_config, requested_size) && bed->stays ? 8 * BLOCK
                                                                                                : value;
    case FAULT_USABLE_IS_SMALL:
        return is_usable && requested > 8 * BLOCK ? 8 * BLOCK : value;
    case FAULT_USABLE_IS_NO_MULTIPLE:
        return is_usable ? value + 4096 : value;
    case FAULT_USABLE_FOLLOWS_DOWN:
        return is_usable && requested + 8 * BLOCK < value ? requested + 8 * BLOCK : value;
    case FAULT_USABLE_IS_NONE_AFTER_UNPLUG_ALL:
        return is_usable && bed->all_unplugged ? 0 : value;
    case FAULT_NODE_CHANGES:
        return offset == offsetof(struct pleat_virtio_mem_config, node_id) && plugged ? 1 : value;
    case FAULT_PLUGGED_IS_LATE:
        return offset == offsetof(struct pleat_virtio_mem_config, plugged_size) ? bed->stale_plugged : value;
    case FAULT_UNPLUG_ALL_KEEPS_SIZE:
        return offset == offsetof(struct pleat_virtio_mem_config, plugged_size) && bed->all_unplugged
                   ? bed->stale_plugged
                   : value;
    default:
        return value;
    }
}

static int config_read(void *context, uint32_t offset, void *to, uint32_t length)
{
    struct bed *bed = context;
    const int error = bed->inner.ops->config_read(bed->inner.context, offset, to, length);
    if (!error && length == 8) {
        pleat_write_le64(to, bend(bed, offset, pleat_read_le64(to)));
    }
    if (!error && length == 2) {
        pleat_write_le16(to, (uint16_t)bend(bed, offset, pleat_read_le16(to)));
    }
    return error;
}

/* The rest goes to the device's own transport, whose context is the registers. */
#define REGISTERS(context) (((struct bed *)(context))->registers)
#define INNER(context)     (((struct bed *)(context))->inner.ops)

static uint32_t inner_device_id(void *context)
{
    return INNER(context)->device_id(REGISTERS(context));
}

static uint64_t inner_get_features(void *context)
{
    return INNER(context)->get_features(REGISTERS(context));
}

static int inner_set_features(void *context, uint64_t features)
{
    return INNER(context)->set_features(REGISTERS(context), features);
}

static uint8_t inner_get_status(void *context)
{
    return INNER(context)->get_status(REGISTERS(context));
}

static void inner_add_status(void *context, uint8_t bits)
{
    INNER(context)->add_status(REGISTERS(context), bits);
}

static void inner_reset_begin(void *context)
{
    INNER(context)->reset_begin(REGISTERS(context));
}

static int inner_reset_poll(void *context)
{
    return INNER(context)->reset_poll(REGISTERS(context));
}

static uint32_t inner_config_generation(void *context)
{
    return INNER(context)->config_generation(REGISTERS(context));
}

static uint16_t inner_queue_size_max(void *context, uint16_t index)
{
    return INNER(context)->queue_size_max(REGISTERS(context), index);
}

static int inner_queue_setup(void *context, uint16_t index, uint16_t size,
                             const struct pleat_virtio_queue_addresses *addresses)
{
    return INNER(context)->queue_setup(REGISTERS(context), index, size, addresses);
}

static int inner_queue_enable(void *context, uint16_t index)
{
    return INNER(context)->queue_enable(REGISTERS(context), index);
}

static void inner_notify(void *context, uint16_t index)
{
    INNER(context)->notify(REGISTERS(context), index);
}

static const struct pleat_virtio_transport_ops transport_ops = {
    .device_id = inner_device_id,
    .get_features = inner_get_features,
    .set_features = inner_set_features,
    .get_status = inner_get_status,
    .add_status = inner_add_status,
    .reset_begin = inner_reset_begin,
    .reset_poll = inner_reset_poll,
    .config_generation = inner_config_generation,
    .config_read = config_read,
    .queue_size_max = inner_queue_size_max,
    .queue_setup = inner_queue_setup,
    .queue_enable = inner_queue_enable,
    .notify = inner_notify,
};

/* --- The environment ------------------------------------------------------------------------------------ */

static uint64_t clock_ns(void *context)
{
    return ((struct bed *)context)->clock_ns;
}

static void relax(void *context)
{
    ((struct bed *)context)->clock_ns += 1000000;
}

static uint32_t interrupts(void *context)
{
    struct bed *bed = context;
    const uint32_t causes = bed->interrupts;
    bed->interrupts = 0;
    return causes;
}

static int touch(void *context, uint64_t physical, uint8_t *byte, bool write)
{
    struct bed *bed = context;
    assert_true(physical >= REGION_ADDRESS && physical < REGION_ADDRESS + BLOCKS * BLOCK);
    return test_touch(bed->region + (physical - REGION_ADDRESS), byte, write);
}

static void ask_requested(void *context, uint64_t bytes)
{
    struct bed *bed = context;
    bed->all_unplugged = false;
    /* A host refuses what the region can't hold, as the checks find out by themselves. */
    (void)pleat_virtio_mem_device_set_requested(bed->device, bytes);
}

static int system_reset(void *context, const struct conform_kept *kept)
{
    struct bed *bed = context;
    assert_int_not_equal(kept->books, 0);
    if (has(bed, FAULT_SYSTEM_RESET_KEEPS)) {
        assert_int_equal(pleat_virtio_mem_device_reset(bed->device), 0);
    } else {
        assert_int_equal(pleat_virtio_mem_device_system_reset(bed->device), 0);
    }
    pleat_virtio_device_write_status(bed->registers, 0);
    show_config(bed, false);
    return PLEAT_OK;
}

static void result(void *context, const struct conform_result *result)
{
    struct bed *bed = context;
    bed->result(bed->result_context, result);
}

/* --- The whole ------------------------------------------------------------------------------------------ */

static void create(struct bed *bed)
{
    const struct pleat_memory_backend_config memory = {.bytes = BLOCKS * BLOCK};
    bed->shared = aligned_alloc(4096, CONFORM_SHARED_BYTES);
    assert_non_null(bed->shared);
    bed->region = pleat_memory_backend_reserve(BLOCKS * BLOCK, BLOCK);
    assert_non_null(bed->region);
    assert_int_equal(pleat_memory_backend_open(&memory, bed->region, &bed->backend, NULL, 0), 0);

    const struct pleat_virtio_mem_device_config config = {.address = REGION_ADDRESS,
                                                          .region_bytes = BLOCKS * BLOCK,
                                                          .block_bytes = BLOCK,
                                                          .requested_bytes =
                                                              bed->shape.requested_blocks * BLOCK,
                                                          .flags = bed->shape.flags};
    const size_t bytes = pleat_virtio_mem_device_storage_bytes(&config);
    assert_true(bytes > 0);
    bed->storage = calloc(1, bytes);
    assert_non_null(bed->storage);
    assert_int_equal(
        pleat_virtio_mem_device_create(&config, &device_ops, bed, bed->storage, bytes, &bed->device), 0);

    const struct pleat_virtio_device_config registers = {
        .device_id = PLEAT_VIRTIO_MEM_DEVICE_ID,
        .features = pleat_virtio_mem_device_features(bed->device) | PLEAT_VIRTIO_F_INDIRECT_DESC |
                    PLEAT_VIRTIO_F_EVENT_IDX | PLEAT_VIRTIO_F_RING_PACKED,
        .queues = PLEAT_VIRTIO_MEM_QUEUES,
        .queue_size_max = {128},
        .config_bytes = PLEAT_VIRTIO_MEM_CONFIG_BYTES,
        .memory = {guest_pointer, bed},
        .handler = &handler,
        .handler_context = bed,
        .interrupt = interrupt,
        .interrupt_context = bed,
    };
    assert_int_equal(pleat_virtio_device_create(&registers, &bed->registers), 0);
    pleat_virtio_mem_feeder_init(&bed->feeder, bed->device);
    bed->feeder.registers = bed->registers;
    bed->feeder.handle = handle;
    bed->feeder.handle_context = bed;
    bed->inner = pleat_virtio_in_process(bed->registers);
    bed->transport = (struct pleat_virtio_transport){&transport_ops, bed};
    show_config(bed, false);
}

static void destroy(struct bed *bed)
{
    pleat_virtio_device_destroy(bed->registers);
    pleat_virtio_mem_device_destroy(bed->device);
    pleat_memory_backend_close(&bed->backend);
    pleat_memory_backend_release(bed->region, BLOCKS * BLOCK);
    free(bed->storage);
    free(bed->shared);
}

int conform_device_run(const struct conform_shape *shape, conform_device_result_fn *take, void *context,
                       struct conform_counts *counts)
{
    struct bed *bed = calloc(1, sizeof(*bed));
    assert_non_null(bed);
    bed->shape = *shape;
    bed->result = take;
    bed->result_context = context;
    create(bed);
    const struct conform_environment environment = {
        /* Without a fault, the transport is the one that everybody uses. */
        .transport = has(bed, FAULT_NONE) ? &bed->inner : &bed->transport,
        .context = bed,
        .shared = bed->shared,
        .shared_physical = SHARED_ADDRESS,
        .private_storage = bed->private_storage,
        .clock_ns = clock_ns,
        .relax = relax,
        .interrupts = shape->no_interrupts ? NULL : interrupts,
        .touch = shape->no_touch ? NULL : touch,
        .ask_requested = shape->no_host ? NULL : ask_requested,
        .system_reset = shape->no_host ? NULL : system_reset,
        .result = result,
        .features = shape->ring,
    };
    const int error = conform_run(&environment, NULL, counts);
    if (has(bed, FAULT_NONE)) {
        assert_int_equal(pleat_virtio_mem_device_plugged_bytes(bed->device), 0);
        assert_int_equal(pleat_virtio_mem_device_requested_bytes(bed->device),
                         shape->requested_blocks * BLOCK);
        assert_false(pleat_virtio_mem_device_accepted(bed->device));
        assert_true(pleat_virtio_mem_device_is_valid(bed->device));
    }
    destroy(bed);
    free(bed);
    return error;
}
