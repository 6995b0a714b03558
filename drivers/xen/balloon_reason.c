/* SPDX-License-Identifier: MIT
 *
 * What the balloon says to people: the one line that tells why the guest isn't at the size that is wanted,
 * with the numbers that somebody needs who wants to change it.
 */
#include "../common/log.h"
#include "../common/text.h"
#include "balloon.h"

const char *pleat_xen_balloon_reason_text(enum pleat_xen_balloon_reason reason)
{
    static const char *const texts[PLEAT_XEN_BALLOON_REASONS] = {
        [PLEAT_XEN_BALLOON_REASON_NONE] = "at the target",
        [PLEAT_XEN_BALLOON_REASON_STARTING] = "no target is known",
        [PLEAT_XEN_BALLOON_REASON_WORKING] = "on the way",
        [PLEAT_XEN_BALLOON_REASON_FLOOR] = "floor of free memory",
        [PLEAT_XEN_BALLOON_REASON_NO_FREE] = "no frame is free",
        [PLEAT_XEN_BALLOON_REASON_HOST] = "Xen gives no more",
        [PLEAT_XEN_BALLOON_REASON_REFUSED] = "Xen takes nothing back",
        [PLEAT_XEN_BALLOON_REASON_ERROR] = "error",
        [PLEAT_XEN_BALLOON_REASON_NO_ROOM] = "no room to grow",
        [PLEAT_XEN_BALLOON_REASON_OFFLINE] = "not online",
        [PLEAT_XEN_BALLOON_REASON_NO_MEMORY] = "no block can be added",
        [PLEAT_XEN_BALLOON_REASON_PRESSURE] = "released under pressure",
        [PLEAT_XEN_BALLOON_REASON_LENT] = "holes are lent",
        [PLEAT_XEN_BALLOON_REASON_TARGET] = "impossible target",
        [PLEAT_XEN_BALLOON_REASON_STORE] = "no store",
    };
    return (unsigned)reason < PLEAT_XEN_BALLOON_REASONS ? texts[reason] : "unknown";
}

/* --- The line --------------------------------------------------------------------------------------------
 */

static void put_sizes(struct pleat_fixed_text *text, uint64_t at_frames, uint64_t wanted_frames)
{
    pleat_put_bytes(text, at_frames * FRAME_BYTES);
    pleat_put(text, " of ");
    pleat_put_bytes(text, wanted_frames * FRAME_BYTES);
    pleat_put(text, " wanted");
}

static void put_why(struct pleat_fixed_text *text, const struct stop *stop)
{
    switch (stop->reason) {
    case PLEAT_XEN_BALLOON_REASON_FLOOR:
        pleat_put(text, "the guest would have less than ");
        pleat_put_bytes(text, stop->number);
        pleat_put(text, " free");
        break;
    case PLEAT_XEN_BALLOON_REASON_HOST:
        pleat_put(text, "Xen gives no more");
        if (stop->number > 0) {
            pleat_put(text, ", maximum ");
            pleat_put_number(text, stop->number);
            pleat_put(text, " frames");
        }
        break;
    case PLEAT_XEN_BALLOON_REASON_NO_ROOM:
        pleat_put(text, "no block is left to add in ");
        pleat_put_bytes(text, stop->number);
        pleat_put(text, " of growth range");
        break;
    case PLEAT_XEN_BALLOON_REASON_OFFLINE:
        pleat_put(text, "the holes that are left lie in blocks that aren't online");
        break;
    case PLEAT_XEN_BALLOON_REASON_NO_FREE:
        pleat_put(text, "no frame that may go is free");
        break;
    default:
        pleat_put(text, pleat_xen_balloon_reason_text(stop->reason));
        break;
    }
    if (stop->detail != NULL) {
        pleat_put(text, ": ");
        pleat_put(text, stop->detail);
    }
    if (stop->error < 0) {
        pleat_put(text, ": ");
        pleat_put(text, pleat_error_text(stop->error));
    }
}

static void put_stop(struct pleat_fixed_text *text, const struct pleat_xen_balloon *balloon)
{
    const struct stop *stop = &balloon->stop;
    pleat_put(text, stop->growing ? "growth stopped at " : "shrink stopped at ");
    put_sizes(text, stop->at_frames, stop->wanted_frames);
    pleat_put(text, ": ");
    put_why(text, stop);
    if (balloon->waiting && balloon->pause.set) {
        pleat_put(text, "; again in ");
        pleat_put_number(text, balloon->pause_ns / 1000000);
        pleat_put(text, " ms");
    }
}

/* Above what can be done at a time, is something wanted that isn't there? */
static bool is_on_the_way(const struct pleat_xen_balloon *balloon)
{
    const uint64_t wanted = pleat_xen_balloon_wanted_frames(balloon);
    const uint64_t populated = pleat_xen_balloon_populated_frames(balloon);
    const uint64_t reachable = balloon->capacity_frames - balloon->lent_frames;
    const uint64_t grain = balloon->pieces_only ? PIECE_FRAMES : 1;
    const uint64_t least = balloon->metadata_frames + grain;
    if (balloon->held_frames > 0 || populated >= wanted + grain) {
        return true;
    }
    return (populated + grain <= wanted && populated + grain <= reachable) ||
           (wanted > balloon->capacity_frames && wanted - balloon->capacity_frames >= least);
}

static enum pleat_xen_balloon_reason reason_of(const struct pleat_xen_balloon *balloon)
{
    const bool store_fails =
        balloon->config.store != NULL &&
        (pleat_xen_store_phase(balloon->config.store, NULL, 0) != PLEAT_XEN_STORE_PHASE_CONNECTED ||
         (balloon->store_error < 0 && balloon->store_error != PLEAT_E_NOT_FOUND));
    if (balloon->stop.reason != PLEAT_XEN_BALLOON_REASON_NONE && is_on_the_way(balloon)) {
        return balloon->stop.reason;
    }
    if (is_on_the_way(balloon)) {
        return PLEAT_XEN_BALLOON_REASON_WORKING;
    }
    if (store_fails) {
        return PLEAT_XEN_BALLOON_REASON_STORE;
    }
    if (balloon->store_flaw != NULL) {
        return PLEAT_XEN_BALLOON_REASON_TARGET;
    }
    if (!balloon->target_known) {
        return PLEAT_XEN_BALLOON_REASON_STARTING;
    }
    if (balloon->released_frames > 0) {
        return PLEAT_XEN_BALLOON_REASON_PRESSURE;
    }
    return balloon->lent_frames > 0 &&
                   pleat_xen_balloon_populated_frames(balloon) < pleat_xen_balloon_wanted_frames(balloon)
               ? PLEAT_XEN_BALLOON_REASON_LENT
               : PLEAT_XEN_BALLOON_REASON_NONE;
}

static void put_detail(struct pleat_fixed_text *text, const struct pleat_xen_balloon *balloon,
                       enum pleat_xen_balloon_reason reason)
{
    char line[128];
    switch (reason) {
    case PLEAT_XEN_BALLOON_REASON_STORE:
        (void)pleat_xen_store_phase(balloon->config.store, line, sizeof(line));
        pleat_put(text, ": ");
        pleat_put(text, line);
        if (balloon->store_error < 0) {
            pleat_put(text, ": ");
            pleat_put(text, pleat_error_text(balloon->store_error));
        }
        break;
    case PLEAT_XEN_BALLOON_REASON_TARGET:
        pleat_put(text, ": ");
        pleat_put(text, balloon->store_flaw);
        break;
    case PLEAT_XEN_BALLOON_REASON_PRESSURE:
        pleat_put(text, ": ");
        pleat_put_bytes(text, balloon->released_frames * FRAME_BYTES);
        pleat_put(text, " over the target");
        break;
    case PLEAT_XEN_BALLOON_REASON_LENT:
        pleat_put(text, ": ");
        pleat_put_number(text, balloon->lent_frames);
        pleat_put(text, balloon->lent_frames == 1 ? " frame" : " frames");
        break;
    default:
        break;
    }
}

enum pleat_xen_balloon_reason pleat_xen_balloon_reason(const struct pleat_xen_balloon *balloon, char *text,
                                                       size_t text_bytes)
{
    const enum pleat_xen_balloon_reason reason = reason_of(balloon);
    struct pleat_fixed_text out = pleat_fixed_text_begin(text, text_bytes);
    if (reason == balloon->stop.reason && reason != PLEAT_XEN_BALLOON_REASON_NONE) {
        put_stop(&out, balloon);
        return reason;
    }
    pleat_put(&out, pleat_xen_balloon_reason_text(reason));
    put_detail(&out, balloon, reason);
    pleat_put(&out, ": ");
    put_sizes(&out, pleat_xen_balloon_populated_frames(balloon), pleat_xen_balloon_wanted_frames(balloon));
    return reason;
}

/* --- The log ---------------------------------------------------------------------------------------------
 */

/* The same stop is said once, however often it is tried again. */
void pleat_xen_balloon_say_stop(struct pleat_xen_balloon *balloon)
{
    const struct stop *stop = &balloon->stop;
    const struct stop *said = &balloon->said;
    char line[256];
    if (stop->reason == said->reason && stop->error == said->error && stop->at_frames == said->at_frames &&
        stop->wanted_frames == said->wanted_frames) {
        return;
    }
    balloon->said = *stop;
    struct pleat_fixed_text out = pleat_fixed_text_begin(line, sizeof(line));
    put_stop(&out, balloon);
    pleat_log_line(balloon->config.memory, PLEAT_LOG_WARNING, balloon->config.name, line);
}

void pleat_xen_balloon_say_size(struct pleat_xen_balloon *balloon, const char *what, uint64_t frames)
{
    char line[96];
    struct pleat_fixed_text out = pleat_fixed_text_begin(line, sizeof(line));
    pleat_put(&out, what);
    pleat_put_bytes(&out, frames * FRAME_BYTES);
    pleat_log_line(balloon->config.memory, PLEAT_LOG_INFO, balloon->config.name, line);
}
