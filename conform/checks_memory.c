/* SPDX-License-Identifier: MIT
 *
 * The memory: plugged memory is RAM, nobody else changes it, and a device reset keeps it.
 */
#include "session.h"

enum {
    PLUG = PLEAT_VIRTIO_MEM_REQ_PLUG,
    UNPLUG = PLEAT_VIRTIO_MEM_REQ_UNPLUG,
    STATE = PLEAT_VIRTIO_MEM_REQ_STATE,
    ACK = PLEAT_VIRTIO_MEM_RESP_ACK
};

static bool prepare(struct conform *conform, unsigned type, unsigned first, unsigned blocks)
{
    return conform_expect_block(conform, type, first, blocks, ACK, "to prepare");
}

static void can_be_accessed(struct conform *conform)
{
    if (!conform_begin(conform) || !conform_can_touch(conform)) {
        return;
    }
    /* Plugged, unplugged and plugged again: an access that was forbidden in between is allowed again. */
    for (unsigned round = 0; round < 2; round++) {
        if (!prepare(conform, PLUG, 0, 3) || !conform_fill(conform, 0, 1) || !conform_fill(conform, 1, 2) ||
            !conform_fill(conform, 2, 3) || !conform_still_filled(conform, 0, 1, "at once") ||
            !conform_still_filled(conform, 1, 2, "at once") ||
            !conform_still_filled(conform, 2, 3, "at once") || !prepare(conform, UNPLUG, 0, 3)) {
            return;
        }
    }
}

/*
 * Block 0 holds a request for the state of blocks 0 to 3, and block 1 takes the answer; both are also written
 * and read by the CPU.
 */
static void is_ram_to_devices(struct conform *conform)
{
    const struct conform_environment *environment = conform->environment;
    if (!conform_begin(conform) || !conform_can_touch(conform) || !prepare(conform, PLUG, 0, 2) ||
        !conform_fill(conform, 0, 9) || !conform_fill(conform, 1, 9)) {
        return;
    }
    struct conform_message message = conform_message(STATE, conform_block(conform, 0), 4);
    message.request_physical = conform_block(conform, 0) + 128;
    message.response_physical = conform_block(conform, 1) + 128;
    uint8_t answer[PLEAT_VIRTIO_MEM_RESPONSE_BYTES];
    for (unsigned i = 0; i < PLEAT_VIRTIO_MEM_REQUEST_BYTES; i++) {
        if (environment->touch(environment->context, message.request_physical + i, &message.request[i],
                               true)) {
            conform_fail(conform, "the byte at 0x%lx of a plugged block can't be written",
                         message.request_physical + i);
            return;
        }
    }
    const enum conform_outcome outcome = conform_exchange(conform, &message);
    for (unsigned i = 0; i < PLEAT_VIRTIO_MEM_RESPONSE_BYTES; i++) {
        if (environment->touch(environment->context, message.response_physical + i, &answer[i], false)) {
            conform_fail(conform, "the byte at 0x%lx of a plugged block can't be read",
                         message.response_physical + i);
            return;
        }
    }
    if (outcome != CONFORM_CAME_BACK || pleat_read_le16(answer) != ACK ||
        pleat_read_le16(answer + 8) != PLEAT_VIRTIO_MEM_STATE_MIXED) {
        conform_fail(
            conform,
            "a STATE request in plugged memory, with its response there, %s and left type %u, state %u; "
            "expected ACK, MIXED",
            outcome == CONFORM_CAME_BACK ? "came back" : "didn't come back", pleat_read_le16(answer),
            pleat_read_le16(answer + 8));
    }
    conform_note(conform, "read, written, and used by the device for a request and its response");
}

static void is_not_changed(struct conform *conform)
{
    if (!conform_begin(conform) || !conform_can_touch(conform) || !prepare(conform, PLUG, 1, 1) ||
        !prepare(conform, PLUG, 4, 2) || !conform_fill(conform, 1, 11) || !conform_fill(conform, 4, 14) ||
        !conform_fill(conform, 5, 15)) {
        return;
    }
    /* Everything that a device could do to its neighbours. */
    static const struct {
        unsigned type, first, blocks;
    } steps[] = {{PLUG, 0, 1},  {PLUG, 2, 2},   {UNPLUG, 0, 1}, {UNPLUG, 2, 2}, {PLUG, 6, 2},
                 {STATE, 0, 8}, {UNPLUG, 6, 2}, {PLUG, 2, 1},   {UNPLUG, 2, 1}};
    for (unsigned i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
        if (!prepare(conform, steps[i].type, steps[i].first, steps[i].blocks)) {
            return;
        }
        const char *why = "";
        (void)conform_send(conform, PLUG, conform_block(conform, 4), 1, NULL, &why);
        (void)conform_send(conform, UNPLUG, conform_block(conform, 5), 0, NULL, &why);
        (void)conform_send(conform, UNPLUG, conform_block(conform, 4) + 1, 1, NULL, &why);
    }
    if (conform->environment->ask_requested) {
        (void)conform_request_blocks(conform, 1);
        (void)conform_request_blocks(conform, 8);
    }
    if (conform_still_filled(conform, 1, 11, "after requests for its neighbours") &&
        conform_still_filled(conform, 4, 14, "after requests for its neighbours")) {
        conform_still_filled(conform, 5, 15, "after requests for its neighbours");
    }
}

/*
 *   block    0   1   2   3   4   5   6   7
 *            P   .   P   P   .   .   .   P
 */
static bool plug_pattern(struct conform *conform)
{
    return prepare(conform, PLUG, 0, 1) && prepare(conform, PLUG, 2, 2) && prepare(conform, PLUG, 7, 1);
}

static void reset_keeps_state(struct conform *conform)
{
    if (!conform_begin(conform) || !plug_pattern(conform)) {
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        const int error = conform_bring_up_again(conform);
        if (error) {
            conform_fail(conform, "the device doesn't come up after a device reset (%s)",
                         pleat_error_text(error));
            return;
        }
        if (!conform_expect_books(conform, 8, "after a device reset")) {
            return;
        }
    }
}

static void reset_keeps_content(struct conform *conform)
{
    if (!conform_begin(conform) || !conform_can_touch(conform) || !plug_pattern(conform) ||
        !conform_fill(conform, 0, 20) || !conform_fill(conform, 2, 22) || !conform_fill(conform, 3, 23) ||
        !conform_fill(conform, 7, 27)) {
        return;
    }
    int error = conform_reset(conform);
    if (!error) {
        error = conform_bring_up_again(conform);
    }
    if (error) {
        conform_fail(conform, "the device doesn't come up after a device reset (%s)",
                     pleat_error_text(error));
        return;
    }
    if (conform_still_filled(conform, 0, 20, "after a device reset") &&
        conform_still_filled(conform, 2, 22, "after a device reset") &&
        conform_still_filled(conform, 3, 23, "after a device reset")) {
        conform_still_filled(conform, 7, 27, "after a device reset");
    }
}

/* Without UNPLUGGED_INACCESSIBLE. False: the device doesn't work so. */
static bool bring_up_reader(struct conform *conform, int *error)
{
    *error = conform_bring_up(conform, false, conform->environment->features);
    return !*error;
}

static void may_refuse_readers(struct conform *conform)
{
    int error = 0;
    if (bring_up_reader(conform, &error)) {
        conform_note(conform, "UNPLUGGED_INACCESSIBLE is %s; a driver without it is served",
                     conform->offered & CONFORM_INACC ? "offered" : "not offered");
    } else if (error == PLEAT_E_REFUSED && (conform->offered & CONFORM_INACC)) {
        conform_note(conform,
                     "UNPLUGGED_INACCESSIBLE is offered; a driver without it is refused (FEATURES_OK "
                     "stays clear)");
    } else {
        conform_fail(conform, "UNPLUGGED_INACCESSIBLE is %s; a driver without it: %s",
                     conform->offered & CONFORM_INACC ? "offered" : "not offered", pleat_error_text(error));
    }
    error = conform_bring_up_again(conform);
    if (error) {
        conform_fail(conform, "after that, the device doesn't come up for a driver with it: %s",
                     pleat_error_text(error));
    }
}

/* Every read of unplugged usable blocks must succeed; what it returns doesn't matter. */
static bool read_unplugged(struct conform *conform, unsigned block, const char *when)
{
    const struct conform_environment *environment = conform->environment;
    const uint64_t bytes = conform->first.block_bytes;
    for (unsigned i = 0; i < 17; i++) {
        const uint64_t physical = conform_block(conform, block) + (i == 16 ? bytes - 1 : i * (bytes / 16));
        uint8_t byte = 0;
        const int error = environment->touch(environment->context, physical, &byte, false);
        if (error == PLEAT_E_REFUSED) {
            conform_fail(conform, "reading the byte at 0x%lx of the unplugged block %u, %s, faulted",
                         physical, block, when);
            return false;
        }
        if (error) {
            conform_skip(conform, "the device's memory can't be touched here");
            return false;
        }
    }
    return true;
}

static void readers_may_read(struct conform *conform)
{
    int error = 0;
    if (!conform_begin(conform) || !conform_can_touch(conform)) {
        return;
    }
    if (!bring_up_reader(conform, &error)) {
        conform_skip(conform, "the device refuses drivers without UNPLUGGED_INACCESSIBLE, as D-INIT1 allows");
        (void)conform_bring_up_again(conform);
        return;
    }
    const unsigned last = conform->window - 1;
    if (read_unplugged(conform, 0, "never plugged") && read_unplugged(conform, last, "never plugged") &&
        prepare(conform, PLUG, 0, 2) && conform_fill(conform, 0, 5) &&
        read_unplugged(conform, 2, "next to plugged ones") && prepare(conform, UNPLUG, 0, 1)) {
        read_unplugged(conform, 0, "after an UNPLUG");
    }
    error = conform_bring_up_again(conform);
    if (error) {
        conform_fail(conform, "after that, the device doesn't come up any more: %s", pleat_error_text(error));
    }
}

static void offers_persistent_suspend(struct conform *conform)
{
    if (conform->offered & (UINT64_C(1) << PLEAT_VIRTIO_MEM_F_PERSISTENT_SUSPEND)) {
        conform_note(conform, "it is offered");
    } else {
        conform_skip(conform, "not offered, and a guest can't tell whether its platform could");
    }
}

static void keeps_over_suspend(struct conform *conform)
{
    if (conform->offered & (UINT64_C(1) << PLEAT_VIRTIO_MEM_F_PERSISTENT_SUSPEND)) {
        conform_skip(conform, "offered, but these checks can't suspend a machine");
    } else {
        conform_skip(conform, "PERSISTENT_SUSPEND isn't offered");
    }
}

const struct conform_check conform_checks_of_start[] = {
    {"D-INIT1", "a driver without UNPLUGGED_INACCESSIBLE is served, or refused in order",
     "5.15.5, device requirements", false, may_refuse_readers},
    {"D-INIT2", "a device reset keeps the state of blocks", "5.15.5, device requirements", false,
     reset_keeps_state},
    {"D-INIT3", "a device reset keeps what is in plugged blocks", "5.15.5, device requirements", false,
     reset_keeps_content},
    {"D-INIT4", "PERSISTENT_SUSPEND is offered where the platform can", "5.15.5, device requirements", true,
     offers_persistent_suspend},
    {NULL, NULL, NULL, false, NULL}};

const struct conform_check conform_checks_of_memory[] = {
    {"D-OP1", "plugged memory is RAM to the CPU and to devices", "5.15.6, device requirements", false,
     is_ram_to_devices},
    {"D-OP3", "plugged memory isn't changed by whatever happens around it", "5.15.6, device requirements",
     false, is_not_changed},
    {"D-OP4", "plugged memory can be read and written", "5.15.6, device requirements", false,
     can_be_accessed},
    {"D-OP5", "without UNPLUGGED_INACCESSIBLE, unplugged usable memory can be read",
     "5.15.6, device requirements", false, readers_may_read},
    {"D-OP8", "PERSISTENT_SUSPEND keeps plugged memory over suspend", "5.15.6, device requirements", false,
     keeps_over_suspend},
    {NULL, NULL, NULL, false, NULL}};
