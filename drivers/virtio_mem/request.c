/* SPDX-License-Identifier: MIT
 *
 * One request at a time: into the ring, out of it, and what each answer means (VIRTIO 5.15.6).
 *
 *     ACK    the books follow
 *     NACK   not with this config: that direction rests until the config changes
 *     BUSY   the same again, after a pause that doubles
 *     ERROR  device and driver disagree: the config is read again, STATE asked, and the driver goes on (X7)
 *     none, or one that can't be: the device is reset and asked what it did (X6)
 *
 * The response is copied out of shared memory once, and of it only what the specification says is looked at
 * (V-PLUG1 and its like).
 */
#include "driver.h"

#define REQUEST_OFFSET  0u
#define RESPONSE_OFFSET 32u
#define BUFFER_BYTES    64u
/** A response that the device claims to have written, and hasn't, has no type that exists. */
#define RESPONSE_FILL 0xff

static struct pleat_virtio_ring_config ring_config(uint64_t features, uint16_t size)
{
    return (struct pleat_virtio_ring_config){.features = features, .size = size};
}

static size_t round_up(size_t value)
{
    return (value + PLEAT_VIRTIO_MEM_DRIVER_ALIGNMENT - 1) / PLEAT_VIRTIO_MEM_DRIVER_ALIGNMENT *
           PLEAT_VIRTIO_MEM_DRIVER_ALIGNMENT;
}

/* Of the two layouts, the larger one counts: which it will be isn't known before the features are. */
void pleat_virtio_mem_ring_needs(size_t *shared_bytes, size_t *private_bytes)
{
    const uint64_t layouts[] = {0, PLEAT_VIRTIO_F_RING_PACKED};
    *shared_bytes = 0;
    *private_bytes = 0;
    for (unsigned i = 0; i < 2; i++) {
        const struct pleat_virtio_ring_config config = ring_config(layouts[i], RING_SIZE);
        struct pleat_virtio_ring_needs needs = {0, 0};
        (void)pleat_virtio_ring_needs(&config, &needs);
        *shared_bytes = needs.shared_bytes > *shared_bytes ? needs.shared_bytes : *shared_bytes;
        *private_bytes = needs.private_bytes > *private_bytes ? needs.private_bytes : *private_bytes;
    }
    *shared_bytes = round_up(*shared_bytes) + BUFFER_BYTES;
    *private_bytes = round_up(*private_bytes);
}

/* The buffers come first in shared memory, the ring behind them. */
void pleat_virtio_mem_place_buffers(struct pleat_virtio_mem_driver *driver)
{
    uint8_t *shared = driver->config.shared;
    driver->request_buffer = shared + REQUEST_OFFSET;
    driver->response_buffer = shared + RESPONSE_OFFSET;
    driver->ring_memory.shared = shared + BUFFER_BYTES;
    driver->ring_memory.shared_physical = driver->config.shared_physical + BUFFER_BYTES;
    driver->ring_memory.shared_bytes = driver->config.shared_bytes - BUFFER_BYTES;
}

int pleat_virtio_mem_queue_prepare(struct pleat_virtio_mem_driver *driver)
{
    const struct pleat_virtio_transport *transport = driver->config.transport;
    const uint16_t queue = PLEAT_VIRTIO_MEM_QUEUE_REQUEST;
    const uint16_t largest = transport->ops->queue_size_max(transport->context, queue);
    if (largest < 2) {
        return PLEAT_E_UNSUPPORTED;
    }
    const uint16_t size = largest < RING_SIZE ? 2 : RING_SIZE;
    const struct pleat_virtio_ring_config config = ring_config(driver->features, size);
    int error = pleat_virtio_ring_init(&driver->ring, &config, &driver->ring_memory);
    if (error < 0) {
        return error;
    }
    const struct pleat_virtio_queue_addresses addresses = pleat_virtio_ring_addresses(&driver->ring);
    error = transport->ops->queue_setup(transport->context, queue, size, &addresses);
    if (error == 0 && driver->config.use_vectors && transport->ops->set_vector != NULL) {
        error = transport->ops->set_vector(transport->context, PLEAT_VIRTIO_VECTOR_OF_CONFIG,
                                           driver->config.config_vector);
        if (error == 0) {
            error = transport->ops->set_vector(transport->context, queue, driver->config.queue_vector);
        }
    }
    return error < 0 ? error : transport->ops->queue_enable(transport->context, queue);
}

static void write_request(struct pleat_virtio_mem_driver *driver)
{
    struct pleat_virtio_mem_request wire;
    __builtin_memset(&wire, 0, sizeof(wire));
    wire.type = pleat_le16((uint16_t)driver->request.type);
    if (driver->request.type != PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL) {
        wire.address = pleat_le64(block_address(driver, driver->request.first_block));
        wire.block_count = pleat_le16((uint16_t)driver->request.blocks);
    }
    __builtin_memcpy(driver->request_buffer, &wire, sizeof(wire));
    __builtin_memset(driver->response_buffer, RESPONSE_FILL, PLEAT_VIRTIO_MEM_RESPONSE_BYTES);
}

enum outcome pleat_virtio_mem_send(struct pleat_virtio_mem_driver *driver, unsigned type,
                                   uint64_t first_block, uint64_t blocks)
{
    if (pleat_virtio_mem_timer_running(driver, &driver->device_pause.timer)) {
        return pleat_virtio_mem_wait_for(driver, &driver->device_pause.timer);
    }
    driver->request.type = type;
    driver->request.first_block = first_block;
    driver->request.blocks =
        blocks < PLEAT_VIRTIO_MEM_MAX_BLOCKS ? (uint32_t)blocks : PLEAT_VIRTIO_MEM_MAX_BLOCKS;
    write_request(driver);
    const struct pleat_virtio_buffer buffers[] = {
        {driver->config.shared_physical + REQUEST_OFFSET, PLEAT_VIRTIO_MEM_REQUEST_BYTES, false},
        {driver->config.shared_physical + RESPONSE_OFFSET, PLEAT_VIRTIO_MEM_RESPONSE_BYTES, true},
    };
    if (pleat_virtio_ring_add(&driver->ring, buffers, 2, 0) < 0) {
        pleat_virtio_mem_fault(driver, PLEAT_VIRTIO_MEM_REASON_PROTOCOL, "the ring is broken");
        return DONE_SOMETHING;
    }
    driver->in_flight = true;
    driver->budget -= ACTION_BYTES;
    pleat_virtio_mem_timeout_start(driver, &driver->request.timeout, driver->config.response_timeout_ns);
    pleat_virtio_ring_publish(&driver->ring);
    if (pleat_virtio_ring_should_notify(&driver->ring)) {
        driver->config.transport->ops->notify(driver->config.transport->context,
                                              PLEAT_VIRTIO_MEM_QUEUE_REQUEST);
    }
    return DONE_SOMETHING;
}

/* --- Answers ---------------------------------------------------------------------------------------------
 */

static uint64_t request_bytes(const struct pleat_virtio_mem_driver *driver)
{
    return driver->request.blocks * driver->geometry.block_bytes;
}

static void acknowledged(struct pleat_virtio_mem_driver *driver, unsigned state)
{
    switch (driver->request.type) {
    case PLEAT_VIRTIO_MEM_REQ_PLUG:
        driver->statistics.plugged_bytes += request_bytes(driver);
        pleat_virtio_mem_note_plugged(driver, driver->request.first_block, driver->request.blocks, true);
        driver->unplug_refused = false;
        pleat_virtio_mem_granted(driver);
        break;
    case PLEAT_VIRTIO_MEM_REQ_UNPLUG:
        driver->statistics.unplugged_bytes += request_bytes(driver);
        pleat_virtio_mem_note_plugged(driver, driver->request.first_block, driver->request.blocks, false);
        driver->plug_refused = false;
        pleat_virtio_mem_granted(driver);
        break;
    case PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL:
        pleat_virtio_mem_clear_answered(driver);
        pleat_virtio_mem_granted(driver);
        break;
    default:
        pleat_virtio_mem_ask_answered(driver, state);
        break;
    }
}

static void refused(struct pleat_virtio_mem_driver *driver)
{
    switch (driver->request.type) {
    case PLEAT_VIRTIO_MEM_REQ_PLUG:
        driver->plug_refused = true;
        break;
    case PLEAT_VIRTIO_MEM_REQ_UNPLUG:
        driver->unplug_refused = true;
        break;
    default:
        /* Nothing to refuse in these; wait as if it were busy. */
        pleat_virtio_mem_device_pause(driver, PLEAT_VIRTIO_MEM_REASON_NACK);
        return;
    }
    /* Perhaps it has changed already, and only the interrupt hasn't come yet. */
    driver->config_pending = true;
}

static void contradicted(struct pleat_virtio_mem_driver *driver)
{
    driver->config_pending = true;
    switch (driver->request.type) {
    case PLEAT_VIRTIO_MEM_REQ_STATE:
        pleat_virtio_mem_ask_failed(driver);
        return;
    case PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL:
        pleat_virtio_mem_device_pause(driver, PLEAT_VIRTIO_MEM_REASON_ERROR);
        return;
    default:
        break;
    }
    const uint64_t unit = block_unit(driver, driver->request.first_block);
    if (unit < driver->geometry.units) {
        driver->units[unit].flags |= UNIT_SOUR;
    } else {
        driver->outside_sour = true;
    }
    pleat_virtio_mem_ask(driver, driver->request.first_block,
                         driver->request.first_block + driver->request.blocks);
    pleat_virtio_mem_set_phase(driver, PLEAT_VIRTIO_MEM_ASKING);
    /* The first one may be a misunderstanding that STATE clears up; more of them take their time. */
    if (++driver->errors_in_row > 1) {
        pleat_virtio_mem_device_pause(driver, PLEAT_VIRTIO_MEM_REASON_ERROR);
    }
}

static enum pleat_virtio_mem_answer read_response(const struct pleat_virtio_mem_driver *driver,
                                                  uint32_t written_bytes, unsigned *state)
{
    struct pleat_virtio_mem_response response;
    __builtin_memcpy(&response, driver->response_buffer, sizeof(response));
    /* The device may go on writing there: what is checked below must be the copy, not loaded again. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    const unsigned type = pleat_le16_get(response.type);
    *state = pleat_le16_get(response.state);
    if (written_bytes < sizeof(response.type) || type > PLEAT_VIRTIO_MEM_RESP_ERROR) {
        return PLEAT_VIRTIO_MEM_ANSWER_MALFORMED;
    }
    const bool says_state =
        driver->request.type == PLEAT_VIRTIO_MEM_REQ_STATE && type == PLEAT_VIRTIO_MEM_RESP_ACK;
    if (says_state && (written_bytes < sizeof(response) || *state > PLEAT_VIRTIO_MEM_STATE_MIXED)) {
        return PLEAT_VIRTIO_MEM_ANSWER_MALFORMED;
    }
    return (enum pleat_virtio_mem_answer)type;
}

static void answered(struct pleat_virtio_mem_driver *driver, uint32_t written_bytes)
{
    unsigned state;
    const enum pleat_virtio_mem_answer answer = read_response(driver, written_bytes, &state);
    driver->in_flight = false;
    driver->statistics.requests[driver->request.type][answer]++;
    switch (answer) {
    case PLEAT_VIRTIO_MEM_ANSWER_ACK:
        acknowledged(driver, state);
        break;
    case PLEAT_VIRTIO_MEM_ANSWER_NACK:
        refused(driver);
        break;
    case PLEAT_VIRTIO_MEM_ANSWER_BUSY:
        pleat_virtio_mem_device_pause(driver, PLEAT_VIRTIO_MEM_REASON_BUSY);
        break;
    case PLEAT_VIRTIO_MEM_ANSWER_ERROR:
        contradicted(driver);
        break;
    default:
        /* What it did, if anything, isn't known. */
        pleat_virtio_mem_doubt_request(driver);
        pleat_virtio_mem_fault(driver, PLEAT_VIRTIO_MEM_REASON_PROTOCOL, "a response that doesn't exist");
        break;
    }
}

enum outcome pleat_virtio_mem_receive(struct pleat_virtio_mem_driver *driver)
{
    uint64_t token; /* one request at a time needs none */
    uint32_t written_bytes = 0;
    int found = pleat_virtio_ring_poll(&driver->ring, &token, &written_bytes);
    if (found == 0 && pleat_virtio_ring_enable_interrupts(&driver->ring)) {
        found = pleat_virtio_ring_poll(&driver->ring, &token, &written_bytes);
    }
    if (found < 0) {
        pleat_virtio_mem_fault(driver, PLEAT_VIRTIO_MEM_REASON_PROTOCOL, "the ring is broken");
    } else if (found > 0) {
        answered(driver, written_bytes);
    } else if (pleat_virtio_mem_timer_due(driver, &driver->request.timeout)) {
        pleat_virtio_mem_fault(driver, PLEAT_VIRTIO_MEM_REASON_SILENT, "no response in time");
    } else {
        return pleat_virtio_mem_wait_for(driver, &driver->request.timeout);
    }
    return DONE_SOMETHING;
}
