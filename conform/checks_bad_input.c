/* SPDX-License-Identifier: MIT
 *
 * What isn't a request, or has no room for its answer; and what exactly an answer is. After each the queue
 * has to work on as before.
 */
#include "session.h"

enum {
    PLUG = PLEAT_VIRTIO_MEM_REQ_PLUG,
    UNPLUG = PLEAT_VIRTIO_MEM_REQ_UNPLUG,
    UNPLUG_ALL = PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL,
    STATE = PLEAT_VIRTIO_MEM_REQ_STATE,
    ACK = PLEAT_VIRTIO_MEM_RESP_ACK,
    NACK = PLEAT_VIRTIO_MEM_RESP_NACK,
    ERROR = PLEAT_VIRTIO_MEM_RESP_ERROR
};

/* Says that a chain didn't come back. The device has been reset by then. */
static void fail_wedged(struct conform *conform, const struct conform_message *message,
                        enum conform_outcome outcome)
{
    conform_fail(
        conform,
        "type %u, %u bytes to read, %u to write: the chain didn't come back%s, status 0x%02x%s; expected "
        "an answer",
        pleat_read_le16(message->request), message->request_bytes, message->room_bytes,
        outcome == CONFORM_SILENT ? " in time" : "", message->status,
        message->status & PLEAT_VIRTIO_STATUS_NEEDS_RESET
            ? " (NEEDS_RESET), and the queue was dead until a device reset"
            : "");
}

/* A good request gets its answer still. */
static void expect_alive(struct conform *conform, const char *after)
{
    conform_expect_block(conform, STATE, 0, 1, ACK, after);
}

static void unknown_types(struct conform *conform)
{
    static const unsigned types[] = {4, 5, 0x100, 0x8000, 0xffff};
    if (!conform_begin(conform)) {
        return;
    }
    for (unsigned i = 0; i < sizeof(types) / sizeof(*types); i++) {
        struct conform_message message = conform_message(types[i], conform_block(conform, 0), 1);
        const enum conform_outcome outcome = conform_exchange(conform, &message);
        if (outcome != CONFORM_CAME_BACK) {
            fail_wedged(conform, &message, outcome);
            continue;
        }
        if (message.used_bytes < 2 || conform_answer(&message) != ERROR) {
            conform_fail(conform, "a request of unknown type %u: got %s, expected ERROR", types[i],
                         message.used_bytes < 2 ? "the chain without an answer"
                                                : conform_response_name((int)conform_answer(&message)));
        }
        expect_alive(conform, "after a request of unknown type");
    }
    conform_expect_books(conform, 8, "after all these");
}

static void short_requests(struct conform *conform)
{
    static const unsigned sizes[] = {0, 1, 2, 8, 16, 17, 23};
    if (!conform_begin(conform)) {
        return;
    }
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct conform_message message = conform_message(PLUG, conform_block(conform, 0), 1);
        message.request_bytes = sizes[i];
        const enum conform_outcome outcome = conform_exchange(conform, &message);
        if (outcome != CONFORM_CAME_BACK) {
            fail_wedged(conform, &message, outcome);
            continue;
        }
        if (message.used_bytes >= 2 && conform_answer(&message) != ERROR) {
            conform_fail(conform, "a PLUG of %u bytes: got %s, expected ERROR or the chain without an answer",
                         sizes[i], conform_response_name((int)conform_answer(&message)));
        }
        expect_alive(conform, "after a request that was too short");
    }
    conform_expect_books(conform, 8, "after all these");
}

static void short_responses(struct conform *conform)
{
    static const unsigned rooms[] = {0, 1, 2, 8, 9};
    if (!conform_begin(conform)) {
        return;
    }
    for (unsigned i = 0; i < sizeof(rooms) / sizeof(*rooms); i++) {
        struct conform_message message = conform_message(STATE, conform_block(conform, 0), 1);
        message.room_bytes = rooms[i];
        const enum conform_outcome outcome = conform_exchange(conform, &message);
        if (outcome != CONFORM_CAME_BACK) {
            fail_wedged(conform, &message, outcome);
            continue;
        }
        for (unsigned byte = rooms[i]; byte < CONFORM_MESSAGE_BYTES; byte++) {
            if (message.response[byte] != CONFORM_UNWRITTEN) {
                conform_fail(conform, "a request with room for %u bytes: byte %u behind them was written",
                             rooms[i], byte);
                break;
            }
        }
        expect_alive(conform, "after a request without room for its answer");
    }
    conform_expect_books(conform, 8, "after all these");
}

/* --- Exactly ten bytes ---------------------------------------------------------------------------------- */

static void expect_ten(struct conform *conform, const struct conform_message *sent, unsigned wanted,
                       const char *layout)
{
    struct conform_message message = *sent;
    const unsigned type = pleat_read_le16(message.request);
    const enum conform_outcome outcome = conform_exchange(conform, &message);
    if (outcome != CONFORM_CAME_BACK) {
        fail_wedged(conform, &message, outcome);
        return;
    }
    if (message.used_bytes != PLEAT_VIRTIO_MEM_RESPONSE_BYTES) {
        conform_fail(conform, "%s, room for %u bytes, %s: used length is %u, expected 10",
                     conform_request_name(type), message.room_bytes, layout, message.used_bytes);
    }
    if (conform_answer(&message) != wanted) {
        conform_fail(conform, "%s, room for %u bytes, %s: got %s, expected %s", conform_request_name(type),
                     message.room_bytes, layout, conform_response_name((int)conform_answer(&message)),
                     conform_response_name((int)wanted));
    }
    for (unsigned i = PLEAT_VIRTIO_MEM_RESPONSE_BYTES; i < CONFORM_MESSAGE_BYTES; i++) {
        if (message.response[i] != CONFORM_UNWRITTEN) {
            conform_fail(conform, "%s, room for %u bytes, %s: byte %u was written",
                         conform_request_name(type), message.room_bytes, layout, i);
            return;
        }
    }
}

static void every_kind_of_answer(struct conform *conform, const char *layout)
{
    static const uint32_t rooms[] = {PLEAT_VIRTIO_MEM_RESPONSE_BYTES, 11, CONFORM_MESSAGE_BYTES};
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned piece = 0; piece < 2; piece++) {
            static const struct {
                unsigned type, block, blocks, answer;
            } steps[] = {{PLUG, 0, 2, ACK},     {STATE, 0, 1, ACK},     {STATE, 0, 4, ACK},
                         {PLUG, 0, 1, ERROR},   {UNPLUG, 0, 1, ACK},    {STATE, 0, 0, ERROR},
                         {UNPLUG, 0, 1, ERROR}, {UNPLUG_ALL, 0, 0, ACK}};
            for (unsigned step = 0; step < sizeof(steps) / sizeof(*steps); step++) {
                struct conform_message message = conform_message(
                    steps[step].type, conform_block(conform, steps[step].block), steps[step].blocks);
                message.room_bytes = rooms[i];
                message.piece_bytes = piece ? 3 : 0;
                expect_ten(conform, &message, steps[step].answer, layout);
            }
        }
    }
}

static void ten_bytes(struct conform *conform)
{
    static const struct {
        uint64_t features;
        const char *name;
    } layouts[] = {
        {0, "split ring"},
        {PLEAT_VIRTIO_F_EVENT_IDX, "split ring with event index"},
        {PLEAT_VIRTIO_F_RING_PACKED, "packed ring"},
        {PLEAT_VIRTIO_F_RING_PACKED | PLEAT_VIRTIO_F_EVENT_IDX, "packed ring with event index"},
    };
    if (!conform_begin(conform)) {
        return;
    }
    for (unsigned i = 0; i < 4; i++) {
        if ((layouts[i].features & conform->offered) != layouts[i].features) {
            continue;
        }
        const int error = conform_bring_up(conform, true, layouts[i].features);
        if (error) {
            conform_fail(conform, "the device doesn't come up with a %s: %s", layouts[i].name,
                         pleat_error_text(error));
            continue;
        }
        every_kind_of_answer(conform, layouts[i].name);
        conform_note(conform, "%s", layouts[i].name);
    }
    const int error = conform_bring_up_again(conform);
    if (error) {
        conform_fail(conform, "the device doesn't come up again: %s", pleat_error_text(error));
    }
}

static void ten_bytes_of_nack(struct conform *conform)
{
    if (!conform_begin(conform)) {
        return;
    }
    if (!conform->environment->ask_requested || !conform_request_blocks(conform, 1)) {
        conform_skip(conform, "there is no host to ask for another requested_size");
        return;
    }
    struct conform_message message = conform_message(PLUG, conform_block(conform, 0), 2);
    message.room_bytes = CONFORM_MESSAGE_BYTES;
    expect_ten(conform, &message, NACK, "the run's ring");
}

#define SECTION "beyond the letter of 5.15; 2.1.2 lets a device ask for a reset"

const struct conform_check conform_checks_of_bad_input[] = {
    {"X4", "a request of unknown type is answered with ERROR, and the queue goes on", SECTION, false,
     unknown_types},
    {"X4", "a request that is too short comes back, and the queue goes on", SECTION, false, short_requests},
    {"X4", "a request without room for its answer comes back, and the queue goes on", SECTION, false,
     short_responses},
    {"X9", "an answer is 10 bytes, and the used length says so, in each ring layout", "5.15.6; 2.7.8, 2.8.5",
     false, ten_bytes},
    {"X9", "a NACK is 10 bytes, too", "5.15.6; 2.7.8, 2.8.5", false, ten_bytes_of_nack},
    {NULL, NULL, NULL, false, NULL}};
