/* SPDX-License-Identifier: MIT
 *
 * PLUG, UNPLUG, UNPLUG_ALL and STATE: what is done, what is refused, what isn't looked at. Ranges are drawn
 * over the first blocks of the window; at the start of each check all are unplugged and eight are requested:
 *
 *   block    0   1   2   3   4   5   6   7
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

/* Plugs or unplugs what the check needs. */
static bool prepare(struct conform *conform, unsigned type, unsigned first, unsigned blocks)
{
    return conform_expect_block(conform, type, first, blocks, ACK, "to prepare");
}

/* --- What isn't looked at ------------------------------------------------------------------------------- */

/* Sends a good request in an odd form, and expects ACK. */
static bool expect_odd(struct conform *conform, struct conform_message *message, const char *form)
{
    const unsigned type = pleat_read_le16(message->request);
    const enum conform_outcome outcome = conform_exchange(conform, message);
    if (outcome == CONFORM_CAME_BACK && message->used_bytes >= 2 && conform_answer(message) == ACK) {
        return true;
    }
    conform_fail(conform, "a good %s %s: got %s, expected ACK", conform_request_name(type), form,
                 outcome == CONFORM_SILENT   ? "no answer in time"
                 : outcome == CONFORM_WEDGED ? "no answer, the device needs a reset"
                 : message->used_bytes < 2   ? "the chain without an answer"
                                             : conform_response_name((int)conform_answer(message)));
    return false;
}

/*
 * Blocks 2 and 3 before each request: unplugged for PLUG, plugged for the others.
 */
static void ignores(struct conform *conform, unsigned type)
{
    static const char *const forms[] = {
        "with all padding set",
        "with bytes set behind its 24",
        "cut into buffers of one byte",
        "cut into buffers of 7 bytes, with all padding set",
        "of which nothing but the type is set",
    };
    if (!conform_begin(conform)) {
        return;
    }
    for (unsigned form = 0; form < (type == UNPLUG_ALL ? 5 : 4); form++) {
        if (!conform->books && type != PLUG && !prepare(conform, PLUG, 2, 2)) {
            return;
        }
        if (conform->books && type == PLUG && !prepare(conform, UNPLUG, 2, 2)) {
            return;
        }
        struct conform_message message = conform_message(type, conform_block(conform, 2), 2);
        if (form == 0 || form == 3) {
            __builtin_memset(message.request + 2, 0xff, 6);
            __builtin_memset(message.request + 18, 0xff, 6);
        }
        if (form == 1) {
            __builtin_memset(message.request + 24, 0xa5, CONFORM_MESSAGE_BYTES - 24);
            message.request_bytes = CONFORM_MESSAGE_BYTES;
        }
        if (form == 2 || form == 3) {
            message.piece_bytes = form == 2 ? 1 : 7;
        }
        if (form == 4) {
            /* UNPLUG_ALL: a range that would be wrong in any other request. */
            __builtin_memset(message.request + 2, 0xff, 22);
        }
        const uint64_t books = type == PLUG ? 0xc : type == STATE ? 0xc : 0;
        if (!expect_odd(conform, &message, forms[form])) {
            continue;
        }
        if (conform->config.plugged_bytes != (books ? 2 : 0) * conform->first.block_bytes) {
            conform_fail(conform, "a good %s %s: plugged_size is 0x%lx afterwards",
                         conform_request_name(type), forms[form], conform->config.plugged_bytes);
        }
        if (type == STATE && pleat_read_le16(message.response + 8) != PLEAT_VIRTIO_MEM_STATE_PLUGGED) {
            conform_fail(conform, "a good STATE %s: got state %u, expected PLUGGED", forms[form],
                         pleat_read_le16(message.response + 8));
        }
    }
}

static void plug_ignores(struct conform *conform)
{
    ignores(conform, PLUG);
}

static void unplug_ignores(struct conform *conform)
{
    ignores(conform, UNPLUG);
}

static void unplug_all_ignores(struct conform *conform)
{
    ignores(conform, UNPLUG_ALL);
}

static void state_ignores(struct conform *conform)
{
    ignores(conform, STATE);
}

/* --- Ranges that are wrong ------------------------------------------------------------------------------ */

/*
 *   block    0   1   2   3   4   5   6   7
 *            P   P   P   P   .   .   .   .     for UNPLUG and STATE; for PLUG none
 */
static void refuses_bad_ranges(struct conform *conform, unsigned type)
{
    if (!conform_begin(conform) || (type != PLUG && !prepare(conform, PLUG, 0, 4))) {
        return;
    }
    const uint64_t address = conform->first.address;
    const uint64_t block = conform->first.block_bytes;
    const uint64_t usable = conform->config.usable_bytes;
    const uint64_t region = conform->first.region_bytes;
    const uint64_t blocks_before = address / block;
    const struct {
        uint64_t address;
        uint64_t blocks;
        bool there; /* can be made with this region */
        const char *what;
    } cases[] = {
        {address + 1, 1, true, "misaligned by one byte"},
        {address + 4096, 1, block > 4096, "misaligned by 4 KiB"},
        {address + block / 2, 1, true, "misaligned by half a block"},
        {address + block - 1, 1, true, "misaligned by a block less a byte"},
        {address + (UINT64_C(1) << 63) + 1, 1, true, "misaligned and far away"},
        {address, 0, true, "no blocks"},
        {address + block, 0, true, "no blocks"},
        {address + usable, 0, usable < region, "no blocks, at the end of the usable region"},
        {address - block, 1, address >= block, "the block before the region"},
        {address - block, 2, address >= block, "from the block before the region into it"},
        {0, 1, address > 0, "address 0"},
        {address + usable, 1, true, "the block behind the usable region"},
        {address + usable - block, 2, usable > 0, "over the end of the usable region"},
        {address + region - block, 1, usable < region, "the region's last block, not usable"},
        {address + region, 1, true, "the block behind the region"},
        {address + region - block, 2, true, "over the end of the region"},
        {address, 65535, usable / block < 65535, "65535 blocks"},
        {address + block, usable / block, usable / block <= 65535, "one more than are left"},
        {0 - block, 1, address + region != 0, "the last block of the address space"},
        {0 - block, blocks_before + 2, blocks_before + 2 <= 65535,
         "a sum that overflows to an address in the region"},
        {0 - 2 * block, blocks_before + 6, blocks_before + 6 <= 65535,
         "a sum that overflows to an address in the region"},
        {address + (UINT64_C(1) << 63), 1, true, "the right address but for bit 63"},
        {address + (UINT64_C(1) << 48), 1, true, "the right address but for bit 48"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        if (!cases[i].there) {
            continue;
        }
        conform_expect(conform, type, cases[i].address, (unsigned)cases[i].blocks, ERROR, cases[i].what);
        if (conform->books_unknown) {
            return;
        }
    }
    conform_expect_books(conform, 8, "after all these");
}

static void plug_refuses_bad_ranges(struct conform *conform)
{
    refuses_bad_ranges(conform, PLUG);
}

static void unplug_refuses_bad_ranges(struct conform *conform)
{
    refuses_bad_ranges(conform, UNPLUG);
}

static void state_refuses_bad_ranges(struct conform *conform)
{
    refuses_bad_ranges(conform, STATE);
}

/* --- Blocks in the wrong state -------------------------------------------------------------------------- */

/*
 *   block    0   1   2   3   4   5   6   7
 *            .   .   P   P   .   .   .   .     for PLUG: each of the ranges has a plugged block
 *            P   P   .   .   P   P   .   .     for UNPLUG: each has an unplugged one
 */
static const struct {
    unsigned first, blocks;
    const char *what;
} overlaps[] = {
    {2, 1, "exactly one such block"},    {2, 2, "exactly those blocks"},
    {1, 2, "such a block at its end"},   {3, 2, "such a block at its start"},
    {1, 4, "such blocks in the middle"},
};

static void plug_refuses_plugged(struct conform *conform)
{
    if (!conform_begin(conform) || !prepare(conform, PLUG, 2, 2)) {
        return;
    }
    for (unsigned i = 0; i < sizeof(overlaps) / sizeof(*overlaps); i++) {
        conform_expect_block(conform, PLUG, overlaps[i].first, overlaps[i].blocks, ERROR, overlaps[i].what);
    }
    conform_expect_books(conform, 8, "after all these");
}

static void unplug_refuses_unplugged(struct conform *conform)
{
    if (!conform_begin(conform) || !prepare(conform, PLUG, 0, 2) || !prepare(conform, PLUG, 4, 2)) {
        return;
    }
    for (unsigned i = 0; i < sizeof(overlaps) / sizeof(*overlaps); i++) {
        conform_expect_block(conform, UNPLUG, overlaps[i].first, overlaps[i].blocks, ERROR, overlaps[i].what);
    }
    conform_expect_books(conform, 8, "after all these");
}

/* --- What is done --------------------------------------------------------------------------------------- */

static void plug_and_unplug(struct conform *conform, unsigned judged)
{
    static const struct {
        unsigned type, first, blocks;
    } steps[] = {{PLUG, 0, 1},   {PLUG, 7, 1},   {PLUG, 2, 3},   {UNPLUG, 3, 1},
                 {UNPLUG, 7, 1}, {PLUG, 5, 3},   {UNPLUG, 4, 3}, {UNPLUG, 0, 1},
                 {PLUG, 3, 4},   {UNPLUG, 2, 6}, {PLUG, 0, 8},   {UNPLUG, 0, 8}};
    if (!conform_begin(conform)) {
        return;
    }
    for (unsigned i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
        const uint64_t before = conform->config.plugged_bytes;
        const uint64_t change = steps[i].blocks * conform->first.block_bytes;
        const char *what =
            steps[i].type == judged ? "right in range and state, within the quota" : "to prepare";
        if (!conform_expect_block(conform, steps[i].type, steps[i].first, steps[i].blocks, ACK, what)) {
            return;
        }
        const uint64_t wanted = steps[i].type == PLUG ? before + change : before - change;
        if (conform->config.plugged_bytes != wanted) {
            conform_fail(conform,
                         "%s of %u blocks got ACK with plugged_size 0x%lx; it is 0x%lx, expected 0x%lx",
                         conform_request_name(steps[i].type), steps[i].blocks, before,
                         conform->config.plugged_bytes, wanted);
            return;
        }
        if (!conform_expect_books(conform, 8, "after an ACK")) {
            return;
        }
    }
}

static void plug_plugs(struct conform *conform)
{
    plug_and_unplug(conform, PLUG);
}

static void unplug_unplugs(struct conform *conform)
{
    plug_and_unplug(conform, UNPLUG);
}

static void unplug_all_unplugs(struct conform *conform)
{
    if (!conform_begin(conform)) {
        return;
    }
    for (unsigned i = 0; i < 3; i++) {
        /* Nothing; blocks with holes between them; everything that is requested. */
        if ((i == 1 && (!prepare(conform, PLUG, 0, 1) || !prepare(conform, PLUG, 3, 2) ||
                        !prepare(conform, PLUG, 7, 1))) ||
            (i == 2 && !prepare(conform, PLUG, 0, 8))) {
            return;
        }
        if (!conform_expect(conform, UNPLUG_ALL, 0, 0, ACK,
                            i == 0   ? "with nothing plugged"
                            : i == 1 ? "with holes"
                                     : "with all plugged")) {
            return;
        }
        if (conform->config.plugged_bytes != 0) {
            conform_fail(conform, "after an ACK to UNPLUG_ALL, plugged_size is 0x%lx",
                         conform->config.plugged_bytes);
        }
        conform_expect_books(conform, 8, "after UNPLUG_ALL");
    }
}

/*
 *   block    0   1   2   3   4   5   6   7
 *            P   P   .   P   .   .   .   P
 */
static void state_says_what_is(struct conform *conform)
{
    static const char *const names[] = {"PLUGGED", "UNPLUGGED", "MIXED"};
    if (!conform_begin(conform) || !prepare(conform, PLUG, 0, 2) || !prepare(conform, PLUG, 3, 1) ||
        !prepare(conform, PLUG, 7, 1)) {
        return;
    }
    for (unsigned first = 0; first < 8; first++) {
        for (unsigned blocks = 1; blocks <= 8 - first; blocks++) {
            const uint64_t mask = ((UINT64_C(1) << blocks) - 1) << first;
            const uint64_t plugged = conform->books & mask;
            const unsigned wanted = plugged == mask ? PLEAT_VIRTIO_MEM_STATE_PLUGGED
                                    : plugged == 0  ? PLEAT_VIRTIO_MEM_STATE_UNPLUGGED
                                                    : PLEAT_VIRTIO_MEM_STATE_MIXED;
            unsigned state = 0;
            const char *why = "";
            const int answer =
                conform_send(conform, STATE, conform_block(conform, first), blocks, &state, &why);
            if (answer != ACK || state != wanted) {
                conform_fail(
                    conform,
                    "blocks 0, 1, 3 and 7 are plugged; STATE of %u blocks from block %u on got %s with "
                    "state %u, expected ACK with %s (%u)",
                    blocks, first, why, state, names[wanted], wanted);
            }
        }
    }
    conform_expect_books(conform, 8, "after all these");
}

/* --- Quota ---------------------------------------------------------------------------------------------- */

/* Four blocks requested and plugged, by whatever way there is; more are usable. False: it was said why not.
 */
static bool at_quota(struct conform *conform, unsigned *plugged)
{
    if (!conform_begin(conform)) {
        return false;
    }
    if (conform->environment->ask_requested) {
        *plugged = 4;
        if (!conform_request_blocks(conform, 4)) {
            conform_skip(conform, "the host didn't request four blocks when it was asked to");
            return false;
        }
    } else {
        *plugged = conform->quota;
        if (conform->config.requested_bytes > conform->quota * conform->first.block_bytes ||
            conform->quota + 1 > conform->window) {
            conform_skip(conform, "the quota can't be reached with a usable block left over");
            return false;
        }
    }
    return prepare(conform, PLUG, 0, *plugged);
}

static void over_quota_is_nack(struct conform *conform)
{
    unsigned plugged = 0;
    if (!at_quota(conform, &plugged)) {
        return;
    }
    conform_expect_block(conform, PLUG, plugged, 1, NACK, "one block over the quota");
    if (plugged + 4 <= conform->window) {
        conform_expect_block(conform, PLUG, plugged, 4, NACK, "four blocks over the quota");
    }
    if (!prepare(conform, UNPLUG, plugged - 1, 1)) {
        return;
    }
    conform_expect_block(conform, PLUG, plugged - 1, 2, NACK, "two blocks where one is left of the quota");
    conform_expect_books(conform, 8, "after all these");
    conform_expect_block(conform, PLUG, plugged - 1, 1, ACK, "the one that is left");
    if (!conform->environment->ask_requested || !conform_request_blocks(conform, 1)) {
        return;
    }
    conform_expect_block(conform, PLUG, plugged, 1, NACK, "far more plugged than is requested");
}

/* A range that is wrong, or a block that is plugged, while nothing could be plugged anyway. */
static void order_of_checks(struct conform *conform)
{
    unsigned plugged = 0;
    if (!at_quota(conform, &plugged)) {
        return;
    }
    conform_expect_block(conform, PLUG, 0, 1, ERROR, "a plugged block, at the quota");
    conform_expect_block(conform, PLUG, 0, plugged, ERROR, "all plugged blocks, at the quota");
    conform_expect_block(conform, PLUG, plugged - 1, 2, ERROR,
                         "a plugged and an unplugged block, at the quota");
    conform_expect(conform, PLUG, conform_block(conform, plugged) + 1, 1, ERROR, "misaligned, at the quota");
    conform_expect_block(conform, PLUG, plugged, 0, ERROR, "no blocks, at the quota");
    conform_expect(conform, PLUG, conform->first.address + conform->config.usable_bytes, 1, ERROR,
                   "behind the usable region, at the quota");
    conform_expect_books(conform, 8, "after all these");
}

void conform_learn(struct conform *conform)
{
    const char *why = "";
    if (conform_begin(conform) &&
        conform_send(conform, PLUG, conform_block(conform, 0), 2, NULL, &why) == ACK &&
        conform_send(conform, UNPLUG, conform_block(conform, 0), 1, NULL, &why) == NACK) {
        conform->refuses_unrequested = true;
    }
}

/* What conform_learn() has found out, and that the way out is open. */
static void unplugging_below_requested(struct conform *conform)
{
    const bool refuses = conform->refuses_unrequested;
    const char *why = "";
    if (!conform_begin(conform) || !prepare(conform, PLUG, 0, 4)) {
        return;
    }
    conform->refuses_unrequested = false;
    const int answer = conform_send(conform, UNPLUG, conform_block(conform, 0), 1, NULL, &why);
    conform->refuses_unrequested = refuses;
    if (answer != (refuses ? NACK : ACK)) {
        conform_fail(conform, "an UNPLUG below requested_size: got %s, expected %s", why,
                     refuses ? "NACK, as before" : "ACK or NACK");
    }
    conform_expect_books(conform, 8, "after it");
    conform_expect(conform, UNPLUG_ALL, 0, 0, ACK, "below requested_size");
    conform_note(conform, "such an UNPLUG is %s", refuses ? "NACK" : "ACK");
}

const struct conform_check conform_checks_of_requests[] = {
    {"D-PLUG1 D-PLUG2", "PLUG looks only at type and request data, in any number of buffers",
     "5.15.6, PLUG request", false, plug_ignores},
    {"D-UNPLUG1 D-UNPLUG2", "UNPLUG looks only at type and request data, in any number of buffers",
     "5.15.6, UNPLUG request", false, unplug_ignores},
    {"D-ALL1 D-ALL2", "UNPLUG_ALL looks only at the type, in any number of buffers",
     "5.15.6, UNPLUG ALL request", false, unplug_all_ignores},
    {"D-STATE1 D-STATE2", "STATE looks only at type and request data, in any number of buffers",
     "5.15.6, STATE request", false, state_ignores},
    {"D-PLUG3 X3", "PLUG of a range that is misaligned, empty, not usable or overflows is ERROR",
     "5.15.6, PLUG request", false, plug_refuses_bad_ranges},
    {"D-UNPLUG3 X3", "UNPLUG of a range that is misaligned, empty, not usable or overflows is ERROR",
     "5.15.6, UNPLUG request", false, unplug_refuses_bad_ranges},
    {"D-STATE3 X3", "STATE of a range that is misaligned, empty, not usable or overflows is ERROR",
     "5.15.6, STATE request", false, state_refuses_bad_ranges},
    {"D-PLUG4", "PLUG is ERROR if any block is plugged", "5.15.6, PLUG request", false, plug_refuses_plugged},
    {"D-UNPLUG4", "UNPLUG is ERROR if any block is unplugged", "5.15.6, UNPLUG request", false,
     unplug_refuses_unplugged},
    {"D-PLUG6", "PLUG is ACK when all are plugged, and plugged_size with it", "5.15.6, PLUG request", false,
     plug_plugs},
    {"D-UNPLUG6", "UNPLUG is ACK when all are unplugged, and plugged_size with it", "5.15.6, UNPLUG request",
     false, unplug_unplugs},
    {"D-ALL4 D-ALL5", "UNPLUG_ALL is ACK when all are unplugged, with plugged_size 0",
     "5.15.6, UNPLUG ALL request", false, unplug_all_unplugs},
    {"D-STATE4 D-STATE5", "STATE is PLUGGED, UNPLUGGED or MIXED, as it is", "5.15.6, STATE request", false,
     state_says_what_is},
    {"X5", "PLUG over the quota is NACK", "beyond the letter of 5.15", false, over_quota_is_nack},
    {"X8", "an UNPLUG below requested_size is ACK or NACK, and UNPLUG_ALL is ACK",
     "beyond the letter of 5.15", false, unplugging_below_requested},
    {"X1 D-PLUG3 D-PLUG4", "a bad range or a plugged block is ERROR where the quota is used up, too",
     "5.15.6, PLUG request", false, order_of_checks},
    {NULL, NULL, NULL, false, NULL}};
