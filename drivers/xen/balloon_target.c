/* SPDX-License-Identifier: MIT
 *
 * What the guest is to be: the target out of the store or by the embedder, and what a guest that runs short
 * gets on top of it for a while.
 */
#include "../common/log.h"
#include "balloon.h"

static const char target_path[] = "memory/target";
static const char static_max_path[] = "memory/static-max";

/* --- Sizes -----------------------------------------------------------------------------------------------
 */

/* The boot map and static-max are the same memory, though the latter counts what the toolstack keeps for
 * itself (video memory, firmware), too: the difference between static-max and target is what counts. */
uint64_t pleat_xen_balloon_base_frames(const struct pleat_xen_balloon *balloon)
{
    const uint64_t boot = balloon->boot_frames;
    const uint64_t most = balloon->static_max_frames;
    const uint64_t target = balloon->target_frames;
    if (!balloon->target_known) {
        return boot;
    }
    if (target >= most) {
        return target - most < UINT64_MAX - boot ? boot + (target - most) : UINT64_MAX;
    }
    return most - target < boot ? boot - (most - target) : 0;
}

uint64_t pleat_xen_balloon_wanted_frames(const struct pleat_xen_balloon *balloon)
{
    return pleat_xen_balloon_base_frames(balloon) + balloon->released_frames;
}

/* --- The store -------------------------------------------------------------------------------------------
 */

static void ask_later(struct pleat_xen_balloon *balloon)
{
    balloon->store_pause_ns =
        balloon->store_pause_ns == 0 ? balloon->config.retry_first_ns : 2 * balloon->store_pause_ns;
    if (balloon->store_pause_ns > balloon->config.retry_longest_ns) {
        balloon->store_pause_ns = balloon->config.retry_longest_ns;
    }
    pleat_xen_balloon_timer_start(balloon, &balloon->store_timer, balloon->store_pause_ns);
}

/* Decimal digits, and a newline after them at most. False: anything else, or more than 64 bits hold. */
static bool read_number(const char *data, size_t bytes, uint64_t *number)
{
    uint64_t value = 0;
    if (bytes > 1 && data[bytes - 1] == '\n') {
        bytes--;
    }
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] < '0' || data[i] > '9') {
            return false;
        }
        const uint64_t digit = (uint64_t)(data[i] - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *number = value;
    return bytes > 0;
}

/* A number of KiB; anything else is refused, and what was known before holds. */
static bool read_kib(struct pleat_xen_balloon *balloon, const char *data, size_t bytes, const char *flaw,
                     uint64_t *frames)
{
    uint64_t kib;
    if (!read_number(data, bytes, &kib) || kib > INT64_MAX / 1024) {
        balloon->statistics.targets_refused++;
        balloon->store_flaw = flaw;
        pleat_log_line(balloon->config.memory, PLEAT_LOG_WARNING, balloon->config.name, flaw);
        return false;
    }
    *frames = kib * 1024 / FRAME_BYTES;
    return true;
}

static void set_target(struct pleat_xen_balloon *balloon, uint64_t frames)
{
    if (balloon->target_known && balloon->target_frames == frames) {
        return;
    }
    balloon->target_known = true;
    balloon->target_frames = frames;
    balloon->statistics.targets++;
    pleat_xen_balloon_say_size(balloon, "the target is ", frames);
}

static void on_static_max(void *context, int error, const char *data, size_t bytes)
{
    struct pleat_xen_balloon *balloon = context;
    if (error < 0 && error != PLEAT_E_NOT_FOUND && error != PLEAT_E_REFUSED) {
        balloon->asking_static_max = ASK_SOON;
        balloon->store_error = error;
        ask_later(balloon);
        return;
    }
    balloon->asking_static_max = ASK_NOTHING;
    balloon->static_max_known = true;
    if (error == 0) {
        (void)read_kib(balloon, data, bytes, "memory/static-max is no number of KiB",
                       &balloon->static_max_frames);
    }
    pleat_xen_balloon_kick(balloon);
}

static void on_target(void *context, int error, const char *data, size_t bytes)
{
    struct pleat_xen_balloon *balloon = context;
    uint64_t frames;
    /* What was changed while it was read is asked for again. */
    const bool again = balloon->asking_target == ASK_SOON;
    if (!again) {
        balloon->asking_target = ASK_NOTHING;
    }
    balloon->store_error = error;
    if (error == 0) {
        balloon->store_flaw = NULL;
        balloon->store_pause_ns = 0;
        if (read_kib(balloon, data, bytes, "memory/target is no number of KiB", &frames)) {
            set_target(balloon, frames);
        }
    } else if (error != PLEAT_E_NOT_FOUND) {
        balloon->asking_target = ASK_SOON;
        ask_later(balloon);
    }
    pleat_xen_balloon_kick(balloon);
}

static void on_event(void *context, int error, const char *path)
{
    struct pleat_xen_balloon *balloon = context;
    (void)path;
    if (error < 0) {
        balloon->watch = -1;
        balloon->store_error = error;
        ask_later(balloon);
    } else {
        balloon->asking_target = ASK_SOON;
    }
    pleat_xen_balloon_kick(balloon);
}

int pleat_xen_balloon_listen(struct pleat_xen_balloon *balloon)
{
    balloon->watch = -1;
    if (balloon->config.store == NULL) {
        balloon->static_max_known = true;
        return 0;
    }
    balloon->asking_static_max = ASK_SOON;
    balloon->watch = pleat_xen_store_watch(balloon->config.store, target_path, on_event, balloon);
    return balloon->watch < 0 ? balloon->watch : 0;
}

static void ask(struct pleat_xen_balloon *balloon, enum asking *asking, const char *path,
                pleat_xen_store_answer_fn *answer)
{
    if (*asking != ASK_SOON) {
        return;
    }
    const int error = pleat_xen_store_read(balloon->config.store, path, answer, balloon);
    if (error == 0) {
        *asking = ASKED;
    } else if (error == PLEAT_E_NO_MEMORY) {
        ask_later(balloon);
    }
}

/* The target says nothing without static-max, which comes first. */
static void ask_store(struct pleat_xen_balloon *balloon)
{
    const bool broken = pleat_xen_store_phase(balloon->config.store, NULL, 0) == PLEAT_XEN_STORE_PHASE_BROKEN;
    if (balloon->store_timer.set && !pleat_xen_balloon_timer_due(balloon, &balloon->store_timer)) {
        pleat_xen_balloon_wait_for(balloon, &balloon->store_timer);
        return;
    }
    balloon->store_timer.set = false;
    if (broken) {
        return;
    }
    if (balloon->watch < 0) {
        balloon->watch = pleat_xen_store_watch(balloon->config.store, target_path, on_event, balloon);
    }
    if (balloon->static_max_known) {
        ask(balloon, &balloon->asking_target, target_path, on_target);
    } else {
        ask(balloon, &balloon->asking_static_max, static_max_path, on_static_max);
    }
    if (balloon->store_timer.set) {
        pleat_xen_balloon_wait_for(balloon, &balloon->store_timer);
    }
}

/* --- Release ---------------------------------------------------------------------------------------------
 */

static uint64_t release_limit(const struct pleat_xen_balloon *balloon)
{
    const uint64_t limit = balloon->config.release_limit_bytes;
    const uint64_t base = pleat_xen_balloon_base_frames(balloon);
    const uint64_t below_boot = base < balloon->boot_frames ? balloon->boot_frames - base : 0;
    if (limit == PLEAT_XEN_OFF) {
        return 0;
    }
    return limit / FRAME_BYTES < below_boot ? limit / FRAME_BYTES : below_boot;
}

static void cut(struct pleat_xen_balloon *balloon, uint64_t limit)
{
    if (balloon->released_frames > limit) {
        balloon->released_frames = limit;
    }
}

/* What the guest has over the target now, for whatever reason. */
static uint64_t over_target(const struct pleat_xen_balloon *balloon)
{
    const uint64_t populated = pleat_xen_balloon_populated_frames(balloon);
    const uint64_t base = pleat_xen_balloon_base_frames(balloon);
    return populated > base ? populated - base : 0;
}

void pleat_xen_balloon_cut_release(struct pleat_xen_balloon *balloon)
{
    const uint64_t over = over_target(balloon);
    if (balloon->released_frames > over) {
        balloon->released_frames = over;
        pleat_xen_balloon_pause(balloon, &balloon->release_pause, &balloon->release_pause_ns);
    }
}

/* A guest that asks while it is still on its way down keeps what it has. */
static void release(struct pleat_xen_balloon *balloon, uint64_t frames, uint64_t limit)
{
    const uint64_t before = balloon->released_frames;
    const uint64_t over = over_target(balloon);
    const uint64_t from = over > before ? over : before;
    balloon->released_frames = from < limit && frames < limit - from ? from + frames : limit;
    if (balloon->released_frames > before) {
        balloon->statistics.released_frames += balloon->released_frames - before;
    }
    pleat_xen_balloon_timer_start(balloon, &balloon->release_timer, balloon->config.release_hold_ns);
}

static bool has_enough(const struct pleat_xen_balloon *balloon)
{
    const struct pleat_memory *memory = balloon->config.memory;
    const uint64_t floor = balloon->config.floor_bytes;
    return memory->ops->free_bytes == NULL || floor == PLEAT_XEN_OFF ||
           memory->ops->free_bytes(memory->context) / 2 >= floor;
}

/* Xen gives nothing now. */
static bool is_pausing(const struct pleat_xen_balloon *balloon)
{
    return balloon->release_pause.set || (balloon->pause.set && balloon->stop.growing);
}

static void follow_release(struct pleat_xen_balloon *balloon)
{
    const uint64_t limit = release_limit(balloon);
    const uint64_t asked = atomic_exchange(&balloon->posted_release, 0);
    if (pleat_xen_balloon_timer_due(balloon, &balloon->release_pause)) {
        balloon->release_pause.set = false;
    }
    cut(balloon, limit);
    if (asked > 0 && !is_pausing(balloon) && limit > 0) {
        release(balloon, asked, limit);
    } else if (balloon->released_frames > 0) {
        if (!has_enough(balloon)) {
            pleat_xen_balloon_timer_start(balloon, &balloon->release_timer, balloon->config.release_hold_ns);
        } else if (pleat_xen_balloon_timer_due(balloon, &balloon->release_timer)) {
            balloon->released_frames = 0;
            balloon->release_pause_ns = 0;
        }
    }
    if (balloon->released_frames > 0) {
        pleat_xen_balloon_wait_for(balloon, &balloon->release_timer);
    }
}

void pleat_xen_balloon_promise(struct pleat_xen_balloon *balloon)
{
    const uint64_t limit = release_limit(balloon);
    const uint64_t left = limit > balloon->released_frames ? limit - balloon->released_frames : 0;
    const uint64_t most = left < balloon->hole_frames ? left : balloon->hole_frames;
    atomic_store(&balloon->releasable, is_pausing(balloon) ? 0 : most);
}

/* --- Together --------------------------------------------------------------------------------------------
 */

void pleat_xen_balloon_follow(struct pleat_xen_balloon *balloon)
{
    const uint64_t posted = atomic_exchange(&balloon->posted_target, NOWHERE);
    if (posted != NOWHERE) {
        set_target(balloon, posted / FRAME_BYTES);
    }
    if (balloon->config.store != NULL) {
        ask_store(balloon);
    }
    follow_release(balloon);
}
