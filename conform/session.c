/* SPDX-License-Identifier: MIT
 *
 * See session.h. Shared memory is divided so:
 *
 *   | the ring | request, CONFORM_MESSAGE_BYTES | response, twice that | unused
 *
 * The response's second half has no buffer of the device's: what is written there was written beyond the end.
 */
#include "session.h"

#define PATIENCE_NS UINT64_C(5000000000)
#define BUSY_TRIES  200u
#define BUSY_NS     UINT64_C(10000000)

/* What checks count on: so many blocks requested, and usable. */
#define QUOTA_BLOCKS 8u

#define SEEN_LINES_MOST 8u

/* --- The verdict ---------------------------------------------------------------------------------------- */

static void say(struct conform *conform, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
static void say(struct conform *conform, const char *format, va_list arguments)
{
    if (conform->seen_lines == SEEN_LINES_MOST) {
        conform_text_add(&conform->seen, "\n(and more)");
    }
    if (conform->seen_lines++ >= SEEN_LINES_MOST) {
        return;
    }
    if (conform->seen.used > 0) {
        conform_text_add(&conform->seen, "\n");
    }
    conform_text_add_list(&conform->seen, format, arguments);
}

static void forget_seen(struct conform *conform)
{
    conform_text_begin(&conform->seen, conform->seen_text, sizeof(conform->seen_text));
    conform->seen_lines = 0;
}

void conform_fail(struct conform *conform, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (conform->verdict != CONFORM_FAIL) {
        forget_seen(conform);
    }
    conform->verdict = CONFORM_FAIL;
    say(conform, format, arguments);
    va_end(arguments);
}

void conform_skip(struct conform *conform, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (conform->verdict == CONFORM_PASS) {
        forget_seen(conform);
        conform->verdict = CONFORM_SKIP;
        say(conform, format, arguments);
    }
    va_end(arguments);
}

void conform_note(struct conform *conform, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (conform->verdict == CONFORM_PASS) {
        say(conform, format, arguments);
    }
    va_end(arguments);
}

/* --- Time ----------------------------------------------------------------------------------------------- */

uint64_t conform_now_ns(const struct conform *conform)
{
    return conform->environment->clock_ns(conform->environment->context);
}

static void relax(const struct conform *conform)
{
    if (conform->environment->relax) {
        conform->environment->relax(conform->environment->context);
    }
}

void conform_pause_ns(struct conform *conform, uint64_t ns)
{
    const uint64_t end_ns = conform_now_ns(conform) + ns;
    while (conform_now_ns(conform) < end_ns) {
        relax(conform);
    }
}

/* --- The device ----------------------------------------------------------------------------------------- */

int conform_reset(struct conform *conform)
{
    const struct pleat_virtio_transport *transport = conform->transport;
    const uint64_t end_ns = conform_now_ns(conform) + conform->patience_ns;
    conform->up = false;
    transport->ops->reset_begin(transport->context);
    while (transport->ops->reset_poll(transport->context) != PLEAT_OK) {
        if (conform_now_ns(conform) >= end_ns) {
            return PLEAT_E_TIMEOUT;
        }
        relax(conform);
    }
    return PLEAT_OK;
}

static int set_up_queue(struct conform *conform)
{
    const struct pleat_virtio_transport *transport = conform->transport;
    uint16_t size = transport->ops->queue_size_max(transport->context, PLEAT_VIRTIO_MEM_QUEUE_REQUEST);
    if (size == 0) {
        return PLEAT_E_NOT_FOUND;
    }
    if (size > CONFORM_QUEUE_SIZE) {
        size = CONFORM_QUEUE_SIZE;
    }
    const struct pleat_virtio_ring_config config = {.features = conform->features, .size = size};
    struct pleat_virtio_ring_needs needs;
    int error = pleat_virtio_ring_needs(&config, &needs);
    if (error) {
        return error;
    }
    conform->ring_bytes = (needs.shared_bytes + 63u) / 64u * 64u;
    if (conform->ring_bytes + 3u * CONFORM_MESSAGE_BYTES > CONFORM_SHARED_BYTES ||
        needs.private_bytes > CONFORM_PRIVATE_BYTES) {
        return PLEAT_E_NO_MEMORY;
    }
    const struct pleat_virtio_ring_memory memory = {.shared = conform->environment->shared,
                                                    .shared_physical = conform->environment->shared_physical,
                                                    .shared_bytes = needs.shared_bytes,
                                                    .private_storage = conform->environment->private_storage,
                                                    .private_bytes = CONFORM_PRIVATE_BYTES};
    error = pleat_virtio_ring_init(&conform->ring, &config, &memory);
    if (error) {
        return error;
    }
    if (conform->environment->set_vectors) {
        error = conform->environment->set_vectors(conform->environment->context);
        if (error) {
            return error;
        }
    }
    const struct pleat_virtio_queue_addresses addresses = pleat_virtio_ring_addresses(&conform->ring);
    error = transport->ops->queue_setup(transport->context, PLEAT_VIRTIO_MEM_QUEUE_REQUEST, size, &addresses);
    return error ? error : transport->ops->queue_enable(transport->context, PLEAT_VIRTIO_MEM_QUEUE_REQUEST);
}

int conform_bring_up(struct conform *conform, bool inaccessible, uint64_t ring)
{
    const struct pleat_virtio_transport *transport = conform->transport;
    int error = conform_reset(conform);
    if (error) {
        return error;
    }
    conform->offered = transport->ops->get_features(transport->context);
    error =
        pleat_virtio_negotiate(transport, ring | (inaccessible ? CONFORM_INACC : 0), 0, &conform->features);
    if (!error) {
        error = set_up_queue(conform);
    }
    if (error) {
        return error;
    }
    transport->ops->add_status(transport->context, PLEAT_VIRTIO_STATUS_DRIVER_OK);
    conform->up = true;
    return PLEAT_OK;
}

int conform_bring_up_again(struct conform *conform)
{
    return conform_bring_up(conform, true, conform->environment->features);
}

static bool read_config(struct conform *conform, struct conform_config *config)
{
    static const struct pleat_virtio_config_field fields[] = {
        {offsetof(struct pleat_virtio_mem_config, block_size), 8},
        {offsetof(struct pleat_virtio_mem_config, node_id), 2},
        {offsetof(struct pleat_virtio_mem_config, address), 8},
        {offsetof(struct pleat_virtio_mem_config, region_size), 8},
        {offsetof(struct pleat_virtio_mem_config, usable_region_size), 8},
        {offsetof(struct pleat_virtio_mem_config, plugged_size), 8},
        {offsetof(struct pleat_virtio_mem_config, requested_size), 8},
    };
    uint64_t values[7];
    if (pleat_virtio_config_read_fields(conform->transport, fields, 7, 100, values)) {
        return false;
    }
    *config = (struct conform_config){.block_bytes = values[0],
                                      .node_id = values[1],
                                      .address = values[2],
                                      .region_bytes = values[3],
                                      .usable_bytes = values[4],
                                      .plugged_bytes = values[5],
                                      .requested_bytes = values[6]};
    return true;
}

/* Keeps the first breach. */
static void watched(struct conform *conform, enum conform_watch watch, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void watched(struct conform *conform, enum conform_watch watch, const char *format, ...)
{
    if (conform->watched[watch][0]) {
        return;
    }
    struct conform_text text;
    va_list arguments;
    conform_text_begin(&text, conform->watched[watch], sizeof(conform->watched[watch]));
    va_start(arguments, format);
    conform_text_add_list(&text, format, arguments);
    va_end(arguments);
}

static void watch_fixed(struct conform *conform, const char *name, uint64_t first, uint64_t now)
{
    if (first != now) {
        watched(conform, CONFORM_WATCH_FIXED, "%s was 0x%lx at first, and 0x%lx at look %lu", name, first,
                now, conform->looks);
    }
}

static void watch_multiple(struct conform *conform, const char *name, uint64_t value)
{
    if (value & (conform->config.block_bytes - 1)) {
        watched(conform, CONFORM_WATCH_MULTIPLES, "%s is 0x%lx, block_size 0x%lx", name, value,
                conform->config.block_bytes);
    }
}

unsigned conform_count(uint64_t books)
{
    unsigned count = 0;
    for (; books; books &= books - 1) {
        count++;
    }
    return count;
}

bool conform_look(struct conform *conform)
{
    const struct conform_config before = conform->config;
    struct conform_config *now = &conform->config;
    if (!read_config(conform, now)) {
        return false;
    }
    if (conform->looks++ == 0) {
        conform->first = *now;
        return true;
    }
    watch_fixed(conform, "block_size", conform->first.block_bytes, now->block_bytes);
    watch_fixed(conform, "node_id", conform->first.node_id, now->node_id);
    watch_fixed(conform, "addr", conform->first.address, now->address);
    watch_fixed(conform, "region_size", conform->first.region_bytes, now->region_bytes);
    watch_multiple(conform, "addr", now->address);
    watch_multiple(conform, "region_size", now->region_bytes);
    watch_multiple(conform, "usable_region_size", now->usable_bytes);
    watch_multiple(conform, "plugged_size", now->plugged_bytes);
    watch_multiple(conform, "requested_size", now->requested_bytes);
    if (now->usable_bytes < now->requested_bytes) {
        watched(conform, CONFORM_WATCH_USABLE, "usable_region_size is 0x%lx, requested_size 0x%lx",
                now->usable_bytes, now->requested_bytes);
    }
    if (now->usable_bytes < before.usable_bytes && !conform->may_shrink) {
        watched(conform, CONFORM_WATCH_SHRINK,
                "usable_region_size went from 0x%lx to 0x%lx without an UNPLUG_ALL or a system reset",
                before.usable_bytes, now->usable_bytes);
    }
    conform->may_shrink = false;
    if (!conform->books_unknown && now->plugged_bytes != conform_count(conform->books) * now->block_bytes) {
        watched(conform, CONFORM_WATCH_SUM,
                "plugged_size is 0x%lx, and %u blocks of 0x%lx bytes are plugged by the device's own answers",
                now->plugged_bytes, conform_count(conform->books), now->block_bytes);
    }
    return true;
}

/* --- Requests ------------------------------------------------------------------------------------------- */

const char *conform_request_name(unsigned type)
{
    static const char *const names[] = {"PLUG", "UNPLUG", "UNPLUG_ALL", "STATE"};
    return type < 4 ? names[type] : "a request of unknown type";
}

const char *conform_response_name(int type)
{
    static const char *const names[] = {"ACK", "NACK", "BUSY", "ERROR"};
    return type < 0 ? "no answer" : type < 4 ? names[type] : "an answer of unknown type";
}

uint64_t conform_block(const struct conform *conform, unsigned block)
{
    return conform->first.address + block * conform->first.block_bytes;
}

struct conform_message conform_message(unsigned type, uint64_t address, unsigned blocks)
{
    struct conform_message message;
    __builtin_memset(&message, 0, sizeof(message));
    pleat_write_le16(message.request + offsetof(struct pleat_virtio_mem_request, type), (uint16_t)type);
    pleat_write_le64(message.request + offsetof(struct pleat_virtio_mem_request, address), address);
    pleat_write_le16(message.request + offsetof(struct pleat_virtio_mem_request, block_count),
                     (uint16_t)blocks);
    message.request_bytes = PLEAT_VIRTIO_MEM_REQUEST_BYTES;
    message.room_bytes = PLEAT_VIRTIO_MEM_RESPONSE_BYTES;
    return message;
}

unsigned conform_answer(const struct conform_message *message)
{
    return pleat_read_le16(message->response);
}

/* What an ACK does to the books. An ACK to what can't be leaves them unknown, until all is unplugged. */
static void follow(struct conform *conform, const struct conform_message *message)
{
    const unsigned type = pleat_read_le16(message->request);
    const uint64_t address =
        pleat_read_le64(message->request + offsetof(struct pleat_virtio_mem_request, address));
    const unsigned count =
        pleat_read_le16(message->request + offsetof(struct pleat_virtio_mem_request, block_count));
    const uint64_t block = conform->first.block_bytes;
    if (message->used_bytes < 2 || message->request_bytes < PLEAT_VIRTIO_MEM_REQUEST_BYTES ||
        message->room_bytes < 2 || conform_answer(message) != PLEAT_VIRTIO_MEM_RESP_ACK) {
        return;
    }
    if (type == PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL) {
        conform->books = 0;
        conform->books_unknown = false;
        conform->may_shrink = true;
    } else if (type == PLEAT_VIRTIO_MEM_REQ_PLUG || type == PLEAT_VIRTIO_MEM_REQ_UNPLUG) {
        const uint64_t first = (address - conform->first.address) / block;
        if (address < conform->first.address || address % block || first >= CONFORM_WINDOW || count == 0 ||
            count > CONFORM_WINDOW - first) {
            conform->books_unknown = true;
            return;
        }
        conform->ever_plugged |= type == PLEAT_VIRTIO_MEM_REQ_PLUG;
        const uint64_t mask = (count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1) << first;
        conform->books = type == PLEAT_VIRTIO_MEM_REQ_PLUG ? conform->books | mask : conform->books & ~mask;
    }
}

/* Cuts `bytes` at `physical` into buffers. */
static uint16_t add_pieces(struct pleat_virtio_buffer *buffers, uint16_t count, uint64_t physical,
                           uint32_t bytes, uint32_t piece, bool writable)
{
    for (uint32_t done = 0; done < bytes && count < CONFORM_QUEUE_SIZE;) {
        const uint32_t length = piece && piece < bytes - done ? piece : bytes - done;
        buffers[count++] = (struct pleat_virtio_buffer){physical + done, length, writable};
        done += length;
    }
    return count;
}

/* Waits for the chain with the token. */
static enum conform_outcome await(struct conform *conform, struct conform_message *message)
{
    const struct pleat_virtio_transport *transport = conform->transport;
    const uint64_t end_ns = conform_now_ns(conform) + conform->patience_ns;
    for (;;) {
        uint64_t token = 0;
        const int polled = pleat_virtio_ring_poll(&conform->ring, &token, &message->used_bytes);
        if (polled > 0 && token == conform->token) {
            return CONFORM_CAME_BACK;
        }
        message->status = transport->ops->get_status(transport->context);
        if (polled < 0 || (message->status & PLEAT_VIRTIO_STATUS_NEEDS_RESET)) {
            return CONFORM_WEDGED;
        }
        if (conform_now_ns(conform) >= end_ns) {
            return CONFORM_SILENT;
        }
        relax(conform);
    }
}

static enum conform_outcome exchange(struct conform *conform, struct conform_message *message)
{
    const struct pleat_virtio_transport *transport = conform->transport;
    uint8_t *shared = (uint8_t *)conform->environment->shared + conform->ring_bytes;
    const uint64_t physical = conform->environment->shared_physical + conform->ring_bytes;
    uint8_t *response = shared + CONFORM_MESSAGE_BYTES;
    struct pleat_virtio_buffer buffers[CONFORM_QUEUE_SIZE];
    enum conform_outcome outcome = CONFORM_WEDGED;

    __builtin_memcpy(shared, message->request, CONFORM_MESSAGE_BYTES);
    __builtin_memset(response, CONFORM_UNWRITTEN, 2u * CONFORM_MESSAGE_BYTES);
    uint16_t count = add_pieces(buffers, 0, message->request_physical ? message->request_physical : physical,
                                message->request_bytes, message->piece_bytes, false);
    count =
        add_pieces(buffers, count,
                   message->response_physical ? message->response_physical : physical + CONFORM_MESSAGE_BYTES,
                   message->room_bytes, message->piece_bytes, true);
    message->status = transport->ops->get_status(transport->context);
    if (conform->up && !pleat_virtio_ring_add(&conform->ring, buffers, count, ++conform->token)) {
        pleat_virtio_ring_publish(&conform->ring);
        if (pleat_virtio_ring_should_notify(&conform->ring)) {
            transport->ops->notify(transport->context, PLEAT_VIRTIO_MEM_QUEUE_REQUEST);
        }
        outcome = await(conform, message);
    }
    if (outcome != CONFORM_CAME_BACK) {
        conform->resets_forced++;
        conform_bring_up_again(conform);
        return outcome;
    }
    __builtin_memcpy(message->response, response, CONFORM_MESSAGE_BYTES);
    if (!message->response_physical) {
        follow(conform, message);
    }
    conform_look(conform);
    return outcome;
}

enum conform_outcome conform_exchange(struct conform *conform, struct conform_message *message)
{
    const uint64_t requested = conform->config.requested_bytes;
    const bool asks = conform->refuses_unrequested && conform->environment->ask_requested &&
                      pleat_read_le16(message->request) == PLEAT_VIRTIO_MEM_REQ_UNPLUG;
    if (asks) {
        (void)conform_request_bytes(conform, 0);
    }
    const enum conform_outcome outcome = exchange(conform, message);
    if (asks) {
        (void)conform_request_bytes(conform, requested);
    }
    return outcome;
}

int conform_send(struct conform *conform, unsigned type, uint64_t address, unsigned blocks, unsigned *state,
                 const char **why)
{
    struct conform_message message;
    for (unsigned tries = 0;; tries++) {
        message = conform_message(type, address, blocks);
        switch (conform_exchange(conform, &message)) {
        case CONFORM_SILENT:
            *why = "no answer in time";
            return -1;
        case CONFORM_WEDGED:
            *why = "no answer, the device needs a reset";
            return -1;
        default:
            break;
        }
        if (message.used_bytes < 2) {
            *why = "the chain came back without an answer";
            return -1;
        }
        if (conform_answer(&message) != PLEAT_VIRTIO_MEM_RESP_BUSY) {
            break;
        }
        conform->busy_answers++;
        if (tries >= BUSY_TRIES) {
            break;
        }
        conform_pause_ns(conform, BUSY_NS);
    }
    if (state) {
        *state = pleat_read_le16(message.response + offsetof(struct pleat_virtio_mem_response, state));
    }
    *why = conform_response_name((int)conform_answer(&message));
    return (int)conform_answer(&message);
}

bool conform_expect(struct conform *conform, unsigned type, uint64_t address, unsigned blocks,
                    unsigned wanted, const char *what)
{
    const char *why = "";
    const uint64_t requested = conform->config.requested_bytes;
    const uint64_t plugged = conform->config.plugged_bytes;
    const int answer = conform_send(conform, type, address, blocks, NULL, &why);
    if (answer == (int)wanted) {
        return true;
    }
    conform_fail(conform,
                 "%s: sent %s of %u blocks at 0x%lx with plugged_size 0x%lx, requested_size 0x%lx; got %s, "
                 "expected %s",
                 what, conform_request_name(type), blocks, address, plugged, requested, why,
                 conform_response_name((int)wanted));
    return false;
}

bool conform_expect_block(struct conform *conform, unsigned type, unsigned first, unsigned blocks,
                          unsigned wanted, const char *what)
{
    return conform_expect(conform, type, conform_block(conform, first), blocks, wanted, what);
}

bool conform_expect_books(struct conform *conform, unsigned blocks, const char *what)
{
    const uint64_t sum = conform_count(conform->books) * conform->first.block_bytes;
    for (unsigned i = 0; i < blocks; i++) {
        const bool plugged = conform->books >> i & 1;
        unsigned state = 0;
        const char *why = "";
        const int answer =
            conform_send(conform, PLEAT_VIRTIO_MEM_REQ_STATE, conform_block(conform, i), 1, &state, &why);
        const unsigned wanted = plugged ? PLEAT_VIRTIO_MEM_STATE_PLUGGED : PLEAT_VIRTIO_MEM_STATE_UNPLUGGED;
        if (answer != PLEAT_VIRTIO_MEM_RESP_ACK || state != wanted) {
            conform_fail(conform, "%s: block %u should be %s; STATE got %s with state %u", what, i,
                         plugged ? "plugged" : "unplugged", why, state);
            return false;
        }
    }
    if (!conform_look(conform)) {
        conform_fail(conform, "%s: the config space can't be read", what);
        return false;
    }
    if (conform->config.plugged_bytes != sum) {
        conform_fail(conform, "%s: plugged_size is 0x%lx, expected 0x%lx", what,
                     conform->config.plugged_bytes, sum);
        return false;
    }
    return true;
}

/* --- The host ------------------------------------------------------------------------------------------- */

bool conform_request_bytes(struct conform *conform, uint64_t bytes)
{
    if (!conform_look(conform)) {
        return false;
    }
    if (conform->config.requested_bytes == bytes) {
        return true;
    }
    if (!conform->environment->ask_requested) {
        return false;
    }
    const uint64_t end_ns = conform_now_ns(conform) + conform->host_patience_ns;
    conform->environment->ask_requested(conform->environment->context, bytes);
    while (conform_look(conform) && conform->config.requested_bytes != bytes) {
        if (conform_now_ns(conform) >= end_ns) {
            conform->host_patience_ns = conform->patience_ns / 10;
            return false;
        }
        relax(conform);
    }
    return conform->config.requested_bytes == bytes;
}

bool conform_request_blocks(struct conform *conform, unsigned blocks)
{
    return conform_request_bytes(conform, blocks * conform->first.block_bytes);
}

static bool unplug_all(struct conform *conform)
{
    const char *why = "";
    const int answer = conform_send(conform, PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0, NULL, &why);
    if (answer != PLEAT_VIRTIO_MEM_RESP_ACK) {
        conform_fail(conform, "before the check could start: UNPLUG_ALL got %s, expected ACK", why);
        return false;
    }
    return true;
}

bool conform_begin_empty(struct conform *conform)
{
    const uint64_t mine = conform->environment->features | PLEAT_VIRTIO_F_VERSION_1 | CONFORM_INACC;
    const uint8_t status = conform->transport->ops->get_status(conform->transport->context);
    if (!conform->up || conform->features != (mine & conform->offered) ||
        (status & PLEAT_VIRTIO_STATUS_NEEDS_RESET)) {
        const int error = conform_bring_up_again(conform);
        if (error) {
            conform_fail(conform, "before the check could start: the device doesn't come up (%s)",
                         pleat_error_text(error));
            return false;
        }
    }
    if (!conform_look(conform)) {
        conform_fail(conform, "before the check could start: the config space can't be read");
        return false;
    }
    return !(conform->books || conform->books_unknown || conform->config.plugged_bytes) ||
           unplug_all(conform);
}

bool conform_begin(struct conform *conform)
{
    if (!conform_begin_empty(conform)) {
        return false;
    }
    const uint64_t block = conform->first.block_bytes;
    if (conform->first.region_bytes / block < QUOTA_BLOCKS) {
        conform_skip(conform, "needs %u blocks; the region has %lu", QUOTA_BLOCKS,
                     conform->first.region_bytes / block);
        return false;
    }
    if (conform->environment->ask_requested) {
        (void)conform_request_blocks(conform, QUOTA_BLOCKS);
    }
    const uint64_t usable = conform->config.usable_bytes / block;
    const uint64_t requested = conform->config.requested_bytes / block;
    conform->window = usable < CONFORM_WINDOW ? (unsigned)usable : CONFORM_WINDOW;
    conform->quota = requested < CONFORM_WINDOW ? (unsigned)requested : CONFORM_WINDOW;
    if (conform->quota < QUOTA_BLOCKS || conform->window < QUOTA_BLOCKS) {
        conform_skip(conform, "needs %u blocks requested and usable; %lu are requested, %lu usable%s",
                     QUOTA_BLOCKS, requested, usable,
                     conform->environment->ask_requested ? ", and the host didn't change that"
                                                         : ", and there is no host to ask");
        return false;
    }
    return true;
}

/* --- The device's memory -------------------------------------------------------------------------------- */

#define SAMPLES 64u

/* An odd step, so that samples fall on different bytes of their pages. */
static uint64_t sample(const struct conform *conform, unsigned block, unsigned i)
{
    const uint64_t bytes = conform->first.block_bytes;
    const uint64_t offset = i == SAMPLES - 1 ? bytes - 1 : i * (bytes / SAMPLES) + (i * 7) % 16;
    return conform_block(conform, block) + offset;
}

static uint8_t pattern(uint64_t physical, uint8_t salt)
{
    return (uint8_t)((physical * UINT64_C(0x9e3779b97f4a7c15)) >> 56 ^ salt);
}

bool conform_can_touch(struct conform *conform)
{
    if (!conform->environment->touch) {
        conform_skip(conform, "the device's memory can't be touched here");
        return false;
    }
    return true;
}

/* False: it didn't work, and that has been said. */
static bool touch(struct conform *conform, uint64_t physical, uint8_t *byte, bool write)
{
    switch (conform->environment->touch(conform->environment->context, physical, byte, write)) {
    case PLEAT_OK:
        return true;
    case PLEAT_E_REFUSED:
        conform_fail(conform, "%s the byte at 0x%lx of a plugged block faulted",
                     write ? "writing" : "reading", physical);
        return false;
    default:
        conform_skip(conform, "the device's memory can't be touched here");
        return false;
    }
}

bool conform_fill(struct conform *conform, unsigned block, uint8_t salt)
{
    for (unsigned i = 0; i < SAMPLES; i++) {
        uint8_t byte = pattern(sample(conform, block, i), salt);
        if (!touch(conform, sample(conform, block, i), &byte, true)) {
            return false;
        }
    }
    return true;
}

bool conform_still_filled(struct conform *conform, unsigned block, uint8_t salt, const char *when)
{
    for (unsigned i = 0; i < SAMPLES; i++) {
        const uint64_t physical = sample(conform, block, i);
        uint8_t byte = 0;
        if (!touch(conform, physical, &byte, false)) {
            return false;
        }
        if (byte != pattern(physical, salt)) {
            conform_fail(conform, "%s: the byte at 0x%lx (block %u) was written as 0x%02x and is 0x%02x",
                         when, physical, block, pattern(physical, salt), byte);
            return false;
        }
    }
    return true;
}
