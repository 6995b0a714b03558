/* SPDX-License-Identifier: MIT
 *
 * The run: brings the device up, goes through the checks, then what was watched, leaves the device as it was
 * found, and ends with the system reset, which not every guest survives.
 */
#include "session.h"

#define KEPT_MAGIC UINT64_C(0x74706b6d726f6663)

/* --- What a device may do, and needn't ------------------------------------------------------------------ */

static void permission(struct conform *conform)
{
    conform_skip(conform, "a permission: a device can't fail it");
}

static void busy_permission(struct conform *conform)
{
    conform_skip(conform, "a permission: a device can't fail it (%lu answers were BUSY in this run)",
                 conform->busy_answers);
}

static void usable_permission(struct conform *conform)
{
    conform_skip(conform,
                 "a permission: a device can't fail it (usable_region_size is 0x%lx now, it was 0x%lx "
                 "at first)",
                 conform->config.usable_bytes, conform->first.usable_bytes);
}

static const struct conform_check permissions[] = {
    {"D-CFG11", "configuration interrupts may be spurious", "5.15.4, device requirements", false, permission},
    {"D-OP2", "unplugged memory may change", "5.15.6, device requirements", false, permission},
    {"D-PLUG5 D-UNPLUG5 D-ALL3", "a request may be BUSY", "5.15.6", false, busy_permission},
    {"D-ALL6", "UNPLUG_ALL may change usable_region_size", "5.15.6, UNPLUG ALL request", false,
     usable_permission},
    {NULL, NULL, NULL, false, NULL}};

/* --- One check, one result ------------------------------------------------------------------------------ */

static bool is_wanted(const char *ids, const char *only)
{
    for (const char *at = ids; only && *at; at++) {
        unsigned i = 0;
        while (only[i] && only[i] == at[i]) {
            i++;
        }
        /* A whole id: X1 isn't X11. */
        if (!only[i] && (at[i] == '\0' || at[i] == ' ') && (at == ids || at[-1] == ' ')) {
            return true;
        }
    }
    return !only;
}

static void begin_check(struct conform *conform)
{
    conform->verdict = CONFORM_PASS;
    conform->seen_lines = 0;
    conform_text_begin(&conform->seen, conform->seen_text, sizeof(conform->seen_text));
}

static void end_check(struct conform *conform, const struct conform_check *check)
{
    const struct conform_result result = {.number = ++conform->number,
                                          .ids = check->ids,
                                          .title = check->title,
                                          .section = check->section,
                                          .should = check->should,
                                          .verdict = conform->verdict,
                                          .seen = conform->seen_text};
    switch (conform->verdict) {
    case CONFORM_PASS:
        conform->counts.passed++;
        break;
    case CONFORM_FAIL:
        conform->counts.failed++;
        break;
    default:
        conform->counts.skipped++;
    }
    conform->environment->result(conform->environment->context, &result);
}

static void run_checks(struct conform *conform, const struct conform_check *checks, const char *only)
{
    for (const struct conform_check *check = checks; check->ids; check++) {
        if (is_wanted(check->ids, only)) {
            begin_check(conform);
            check->run(conform);
            end_check(conform, check);
        }
    }
}

/* --- Before and after ----------------------------------------------------------------------------------- */

static void prepare_run(struct conform *conform, const struct conform_environment *environment)
{
    __builtin_memset(conform, 0, sizeof(*conform));
    conform->environment = environment;
    conform->transport = environment->transport;
    conform->patience_ns = environment->patience_ns ? environment->patience_ns : UINT64_C(5000000000);
    conform->host_patience_ns = conform->patience_ns;
    begin_check(conform);
}

/* Up, a config space that can be worked with, nothing plugged. */
static bool start(struct conform *conform)
{
    static const struct conform_check check = {"bring-up", "the device comes up and can be worked with",
                                               "3.1.1", false, NULL};
    const int error = conform_bring_up_again(conform);
    if (error) {
        conform_fail(conform, "the device doesn't come up: %s", pleat_error_text(error));
    } else if (!conform_look(conform)) {
        conform_fail(conform, "the config space can't be read");
    } else {
        const uint64_t block = conform->first.block_bytes;
        conform_note(
            conform,
            "block_size 0x%lx, node_id %lu, addr 0x%lx, region_size 0x%lx, usable_region_size 0x%lx, "
            "plugged_size 0x%lx, requested_size 0x%lx; features 0x%lx, accepted 0x%lx",
            block, conform->first.node_id, conform->first.address, conform->first.region_bytes,
            conform->first.usable_bytes, conform->first.plugged_bytes, conform->first.requested_bytes,
            conform->offered, conform->features);
        if (block == 0 || (block & (block - 1))) {
            conform_fail(conform, "D-CFG5: block_size is 0x%lx, no power of two; no request can be made",
                         block);
        }
        if (conform->first.plugged_bytes) {
            conform->books_unknown = true;
        }
    }
    const bool good = conform->verdict == CONFORM_PASS;
    end_check(conform, &check);
    return good;
}

/* Nothing plugged, the size that was requested, reset. */
static void leave(struct conform *conform, uint64_t requested_bytes)
{
    static const struct conform_check check = {"leave", "the device is left as it was found", "3.3", false,
                                               NULL};
    begin_check(conform);
    if (!conform->up) {
        (void)conform_bring_up_again(conform);
    }
    conform_expect(conform, PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0, PLEAT_VIRTIO_MEM_RESP_ACK, "at the end");
    if (conform->environment->ask_requested && !conform_request_bytes(conform, requested_bytes)) {
        conform_fail(conform,
                     "the host was asked for the requested_size of 0x%lx that was found; it is 0x%lx",
                     requested_bytes, conform->config.requested_bytes);
    }
    const int error = conform_reset(conform);
    if (error) {
        conform_fail(conform, "the last device reset: %s", pleat_error_text(error));
    }
    if (conform->resets_forced) {
        conform_note(conform, "%lu device resets were needed because a chain didn't come back",
                     conform->resets_forced);
    }
    end_check(conform, &check);
}

/* --- The system reset ----------------------------------------------------------------------------------- */

static const struct conform_check system_reset_check = {"D-OP6 D-OP7", "a system reset unplugs all",
                                                        "5.15.6, device requirements", true, NULL};

static uint64_t sum_of(const struct conform_kept *kept)
{
    const uint8_t *bytes = (const uint8_t *)kept;
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < offsetof(struct conform_kept, sum); i++) {
        sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return sum;
}

/* After the reset: what was plugged shouldn't be. */
static void look_after_system_reset(struct conform *conform, uint64_t books)
{
    const int error = conform_bring_up_again(conform);
    if (error || !conform_look(conform)) {
        conform_fail(conform, "after a system reset the device doesn't come up: %s", pleat_error_text(error));
        return;
    }
    if (conform->config.plugged_bytes != 0) {
        conform_fail(conform, "after a system reset with %u blocks plugged, plugged_size is 0x%lx",
                     conform_count(books), conform->config.plugged_bytes);
        conform->books_unknown = true;
    }
    if (conform->config.usable_bytes < conform->config.requested_bytes) {
        conform_fail(conform, "after a system reset, usable_region_size is 0x%lx, requested_size 0x%lx",
                     conform->config.usable_bytes, conform->config.requested_bytes);
    }
    for (unsigned i = 0; i < 8 && !conform->books_unknown; i++) {
        unsigned state = 0;
        const char *why = "";
        const int answer =
            conform_send(conform, PLEAT_VIRTIO_MEM_REQ_STATE, conform_block(conform, i), 1, &state, &why);
        if (answer != PLEAT_VIRTIO_MEM_RESP_ACK || state != PLEAT_VIRTIO_MEM_STATE_UNPLUGGED) {
            conform_fail(conform, "after a system reset, STATE of block %u got %s with state %u", i, why,
                         state);
        }
    }
}

/* Plugs some, has the machine reset, and looks; in a guest that goes with it, conform_resume() looks. */
static void system_reset(struct conform *conform)
{
    const struct conform_environment *environment = conform->environment;
    begin_check(conform);
    if (!environment->system_reset) {
        conform_skip(conform, "there is nobody to ask for a system reset");
    } else if (conform_begin(conform) &&
               conform_expect_block(conform, PLEAT_VIRTIO_MEM_REQ_PLUG, 0, 2, PLEAT_VIRTIO_MEM_RESP_ACK,
                                    "to prepare") &&
               conform_expect_block(conform, PLEAT_VIRTIO_MEM_REQ_PLUG, 5, 1, PLEAT_VIRTIO_MEM_RESP_ACK,
                                    "to prepare")) {
        struct conform_kept kept = {.magic = KEPT_MAGIC,
                                    .bytes = sizeof(kept),
                                    .first_requested_bytes = conform->first.requested_bytes,
                                    .features = environment->features,
                                    .books = conform->books,
                                    .number = conform->number,
                                    .passed = conform->counts.passed,
                                    .failed = conform->counts.failed,
                                    .skipped = conform->counts.skipped};
        kept.sum = sum_of(&kept);
        const uint64_t books = conform->books;
        const int error = environment->system_reset(environment->context, &kept);
        if (error) {
            conform_skip(conform, "the machine wasn't reset: %s", pleat_error_text(error));
        } else {
            conform->books = 0;
            conform->may_shrink = true;
            look_after_system_reset(conform, books);
        }
    }
    end_check(conform, &system_reset_check);
}

/* --- The run -------------------------------------------------------------------------------------------- */

int conform_run(const struct conform_environment *environment, const char *only,
                struct conform_counts *counts)
{
    static const struct conform_check *const lists[] = {conform_checks_of_config,    conform_checks_of_start,
                                                        conform_checks_of_requests,  conform_checks_of_memory,
                                                        conform_checks_of_bad_input, permissions,
                                                        conform_checks_watched};
    struct conform conform;

    prepare_run(&conform, environment);
    if (environment->transport->ops->device_id(environment->transport->context) !=
        PLEAT_VIRTIO_MEM_DEVICE_ID) {
        return PLEAT_E_NOT_FOUND;
    }
    const bool up = start(&conform);
    if (!up) {
        /* The one check that needs no request, and may say why there can be none. */
        run_checks(&conform, conform_checks_of_config, conform.looks ? "D-CFG5" : "");
    } else {
        begin_check(&conform);
        conform_learn(&conform);
        for (unsigned i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
            run_checks(&conform, lists[i], only);
        }
        if (is_wanted(system_reset_check.ids, only)) {
            system_reset(&conform);
        }
        leave(&conform, conform.first.requested_bytes);
    }
    *counts = conform.counts;
    return up ? PLEAT_OK : PLEAT_E_DEVICE;
}

bool conform_is_kept(const struct conform_kept *kept)
{
    return kept->magic == KEPT_MAGIC && kept->bytes == sizeof(*kept) && kept->sum == sum_of(kept);
}

int conform_resume(const struct conform_environment *environment, const struct conform_kept *kept,
                   struct conform_counts *counts)
{
    struct conform conform;
    if (!conform_is_kept(kept)) {
        return PLEAT_E_INVALID;
    }
    prepare_run(&conform, environment);
    conform.number = kept->number;
    conform.counts =
        (struct conform_counts){.passed = kept->passed, .failed = kept->failed, .skipped = kept->skipped};
    begin_check(&conform);
    look_after_system_reset(&conform, kept->books);
    end_check(&conform, &system_reset_check);
    leave(&conform, kept->first_requested_bytes);
    *counts = conform.counts;
    return PLEAT_OK;
}

/* --- TAP ------------------------------------------------------------------------------------------------ */

void conform_print_tap(const struct conform_result *result,
                       void (*write)(void *context, const char *text, size_t bytes), void *context)
{
    char line[512];
    struct conform_text text;
    const bool skip = result->verdict == CONFORM_SKIP;

    conform_text_begin(&text, line, sizeof(line));
    conform_text_add(&text, "%s %u - %s %s (%s%s)", result->verdict == CONFORM_FAIL ? "not ok" : "ok",
                     result->number, result->ids, result->title, result->should ? "SHOULD, " : "",
                     result->section);
    if (skip) {
        conform_text_add(&text, " # SKIP ");
    } else {
        conform_text_add(&text, "\n");
    }
    write(context, text.at, text.used);
    for (const char *at = result->seen; *at;) {
        size_t length = 0;
        while (at[length] && at[length] != '\n') {
            length++;
        }
        if (!skip) {
            write(context, "# ", 2);
        }
        write(context, at, length);
        write(context, "\n", 1);
        at += length;
        at += *at == '\n';
        if (skip) {
            break;
        }
    }
}
