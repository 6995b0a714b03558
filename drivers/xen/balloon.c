/* SPDX-License-Identifier: MIT
 *
 * The balloon's life and its step: look at what is wanted, then at the books, and do the next thing that
 * brings the two together.
 */
#include "balloon.h"

#define DEFAULT_BUDGET_BYTES     (INT64_C(16) << 20)
#define DEFAULT_FLOOR_BYTES      (UINT64_C(16) << 20)
#define DEFAULT_RETRY_FIRST_NS   UINT64_C(50000000)
#define DEFAULT_RETRY_LONGEST_NS UINT64_C(30000000000)
#define DEFAULT_RELEASE_BYTES    (UINT64_C(64) << 20)
#define DEFAULT_HOLD_NS          UINT64_C(10000000000)

/* --- Time ------------------------------------------------------------------------------------------------
 */

static bool has_clock(const struct pleat_xen_balloon *balloon)
{
    return balloon->config.memory->ops->clock_ns != NULL;
}

void pleat_xen_balloon_timer_start(const struct pleat_xen_balloon *balloon, struct timer *timer,
                                   uint64_t length_ns)
{
    timer->set = length_ns != PLEAT_XEN_OFF;
    timer->at_ns = length_ns < UINT64_MAX - balloon->now_ns ? balloon->now_ns + length_ns : UINT64_MAX;
    timer->step = balloon->statistics.steps;
}

bool pleat_xen_balloon_timer_due(const struct pleat_xen_balloon *balloon, const struct timer *timer)
{
    if (!timer->set) {
        return false;
    }
    return has_clock(balloon) ? balloon->now_ns >= timer->at_ns : balloon->statistics.steps > timer->step;
}

void pleat_xen_balloon_pause(const struct pleat_xen_balloon *balloon, struct timer *timer,
                             uint64_t *length_ns)
{
    const uint64_t longest = balloon->config.retry_longest_ns;
    if (*length_ns == 0) {
        *length_ns = balloon->config.retry_first_ns;
    } else {
        *length_ns = *length_ns < longest / 2 ? 2 * *length_ns : longest;
    }
    pleat_xen_balloon_timer_start(balloon, timer, *length_ns);
}

void pleat_xen_balloon_wait_for(struct pleat_xen_balloon *balloon, const struct timer *timer)
{
    if (timer->set && (!balloon->wake.set || timer->at_ns < balloon->wake.at_ns)) {
        balloon->wake = *timer;
    }
}

void pleat_xen_balloon_kick(struct pleat_xen_balloon *balloon)
{
    atomic_store(&balloon->pending, 1);
    if (balloon->config.wake != NULL) {
        balloon->config.wake(balloon->config.context);
    }
}

/* --- Stopping and going on -------------------------------------------------------------------------------
 */

enum outcome pleat_xen_balloon_stop(struct pleat_xen_balloon *balloon, struct stop stop, bool again)
{
    stop.at_frames = pleat_xen_balloon_populated_frames(balloon);
    stop.wanted_frames = pleat_xen_balloon_wanted_frames(balloon);
    balloon->stop = stop;
    balloon->waiting = true;
    balloon->pause.set = false;
    if (again) {
        pleat_xen_balloon_pause(balloon, &balloon->pause, &balloon->pause_ns);
        balloon->statistics.retries++;
    }
    pleat_xen_balloon_say_stop(balloon);
    return MUST_WAIT;
}

static void go_on(struct pleat_xen_balloon *balloon)
{
    balloon->waiting = false;
    balloon->pause.set = false;
    balloon->pieces_in_fail = false;
    balloon->pieces_out_fail = false;
}

void pleat_xen_balloon_moved(struct pleat_xen_balloon *balloon)
{
    balloon->stop.reason = PLEAT_XEN_BALLOON_REASON_NONE;
    balloon->waiting = false;
    balloon->pause.set = false;
    balloon->pause_ns = 0;
}

/* Frees in the guest help against these. */
static bool is_guest_stop(const struct stop *stop)
{
    return stop->reason == PLEAT_XEN_BALLOON_REASON_FLOOR ||
           stop->reason == PLEAT_XEN_BALLOON_REASON_NO_FREE ||
           stop->reason == PLEAT_XEN_BALLOON_REASON_NO_MEMORY;
}

static void follow_goal(struct pleat_xen_balloon *balloon)
{
    const uint64_t wanted = pleat_xen_balloon_wanted_frames(balloon);
    const bool freed = atomic_exchange(&balloon->memory_changed, 0) != 0;
    if (wanted != balloon->last_goal) {
        balloon->last_goal = wanted;
        balloon->reached_said = false;
        pleat_xen_balloon_moved(balloon);
        go_on(balloon);
    } else if (freed && balloon->waiting && is_guest_stop(&balloon->stop)) {
        go_on(balloon);
    }
    /* A block that went online, or holes that came back. */
    if (balloon->waiting && balloon->stop.reason == PLEAT_XEN_BALLOON_REASON_OFFLINE &&
        atomic_load(&balloon->onlines) != balloon->onlines_then) {
        go_on(balloon);
    }
    balloon->onlines_then = atomic_load(&balloon->onlines);
    if (balloon->waiting && pleat_xen_balloon_timer_due(balloon, &balloon->pause)) {
        go_on(balloon);
    }
}

/* --- The step --------------------------------------------------------------------------------------------
 */

static enum outcome reached(struct pleat_xen_balloon *balloon)
{
    balloon->stop.reason = PLEAT_XEN_BALLOON_REASON_NONE;
    if (balloon->target_known && !balloon->reached_said) {
        balloon->reached_said = true;
        pleat_xen_balloon_say_size(balloon, "at ", pleat_xen_balloon_populated_frames(balloon));
    }
    return NOTHING_TO_DO;
}

static enum outcome work(struct pleat_xen_balloon *balloon)
{
    const uint64_t wanted = pleat_xen_balloon_wanted_frames(balloon);
    const uint64_t populated = pleat_xen_balloon_populated_frames(balloon);
    const uint64_t reachable = balloon->capacity_frames - balloon->lent_frames;
    if (balloon->waiting) {
        pleat_xen_balloon_wait_for(balloon, &balloon->pause);
        return MUST_WAIT;
    }
    if (balloon->held_frames > 0) {
        return pleat_xen_balloon_settle_held(balloon);
    }
    if (populated > wanted) {
        return pleat_xen_balloon_shrink(balloon, populated - wanted);
    }
    if (populated < wanted && populated < reachable) {
        return pleat_xen_balloon_grow(balloon, (wanted < reachable ? wanted : reachable) - populated);
    }
    if (wanted > balloon->capacity_frames) {
        const enum outcome outcome = pleat_xen_balloon_add_block(balloon, wanted - balloon->capacity_frames);
        return outcome == NOTHING_TO_DO ? reached(balloon) : outcome;
    }
    return reached(balloon);
}

enum pleat_xen_wake pleat_xen_balloon_step(struct pleat_xen_balloon *balloon, uint64_t budget_bytes)
{
    enum outcome outcome;
    balloon->statistics.steps++;
    balloon->wake.set = false;
    atomic_store(&balloon->pending, 0);
    balloon->now_ns =
        has_clock(balloon) ? balloon->config.memory->ops->clock_ns(balloon->config.memory->context) : 0;
    balloon->budget = DEFAULT_BUDGET_BYTES;
    if (budget_bytes != 0) {
        balloon->budget = budget_bytes < INT64_MAX ? (int64_t)budget_bytes : INT64_MAX;
    }
    pleat_xen_balloon_follow(balloon);
    do {
        follow_goal(balloon);
        outcome = work(balloon);
    } while (outcome == DONE_SOMETHING && balloon->budget > 0);
    pleat_xen_balloon_promise(balloon);
    if (outcome == MUST_WAIT) {
        pleat_xen_balloon_wait_for(balloon, &balloon->pause);
    }
    if (outcome == DONE_SOMETHING || atomic_load(&balloon->pending) != 0) {
        return PLEAT_XEN_WAKE_NOW;
    }
    return balloon->wake.set ? PLEAT_XEN_WAKE_AT_TIME : PLEAT_XEN_WAKE_ON_EVENT;
}

uint64_t pleat_xen_balloon_wake_ns(const struct pleat_xen_balloon *balloon)
{
    return has_clock(balloon) && balloon->wake.set ? balloon->wake.at_ns : 0;
}

/* --- From any context ------------------------------------------------------------------------------------
 */

void pleat_xen_balloon_set_target(struct pleat_xen_balloon *balloon, uint64_t bytes)
{
    atomic_store(&balloon->posted_target, bytes < NOWHERE ? bytes : NOWHERE - 1);
    pleat_xen_balloon_kick(balloon);
}

uint64_t pleat_xen_balloon_release(struct pleat_xen_balloon *balloon, uint64_t frames)
{
    const uint64_t most = atomic_load(&balloon->releasable);
    const uint64_t promised = frames < most ? frames : most;
    uint64_t posted = atomic_load(&balloon->posted_release);
    atomic_fetch_add(&balloon->release_requests, 1);
    if (promised == 0) {
        return 0;
    }
    /* Several that ask at once for the same shortage aren't added up beyond what there is. */
    while (posted < most &&
           !atomic_compare_exchange_weak(&balloon->posted_release, &posted,
                                         promised < most - posted ? posted + promised : most)) {
    }
    pleat_xen_balloon_kick(balloon);
    return promised;
}

void pleat_xen_balloon_memory_changed(struct pleat_xen_balloon *balloon)
{
    atomic_store(&balloon->memory_changed, 1);
    pleat_xen_balloon_kick(balloon);
}

/* --- Life ------------------------------------------------------------------------------------------------
 */

static uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

struct layout {
    uint64_t boot_index_frames;
    uint64_t growth_address;
    uint64_t growth_frames;
    uint64_t words; /* of one bitmap */
    uint64_t pieces;
    uint64_t blocks;
    uint64_t bytes;
};

/* False: no such guest. */
static bool lay_out(const struct pleat_memory *memory, uint64_t boot_end, uint64_t growth_address,
                    uint64_t growth_bytes, struct layout *layout)
{
    const uint64_t block = memory->block_bytes;
    const uint64_t most = UINT64_C(1) << 56;
    if (boot_end == 0 || boot_end > most || growth_address > most || growth_bytes > most) {
        return false;
    }
    if (growth_bytes > 0 && (growth_address < boot_end || block == 0 || block % PIECE_BYTES != 0)) {
        return false;
    }
    layout->boot_index_frames = round_up(boot_end / FRAME_BYTES, PIECE_FRAMES);
    layout->growth_address = growth_bytes > 0 ? round_up(growth_address, block) : growth_address;
    uint64_t end = growth_address + growth_bytes;
    end = end < memory->highest_address ? end : memory->highest_address;
    layout->growth_frames = 0;
    if (growth_bytes > 0 && end > layout->growth_address) {
        layout->growth_frames = (end - layout->growth_address) / block * block / FRAME_BYTES;
    }
    layout->blocks = layout->growth_frames > 0 ? layout->growth_frames * FRAME_BYTES / block : 0;
    layout->pieces = (layout->boot_index_frames + layout->growth_frames) / PIECE_FRAMES;
    layout->words = layout->pieces * (PIECE_FRAMES / 64);
    layout->bytes = sizeof(struct pleat_xen_balloon) + 3 * layout->words * sizeof(uint64_t) +
                    layout->pieces * sizeof(uint16_t) + layout->blocks;
    return layout->bytes <= SIZE_MAX;
}

size_t pleat_xen_balloon_storage_bytes(const struct pleat_memory *memory, uint64_t boot_end,
                                       uint64_t growth_address, uint64_t growth_bytes)
{
    struct layout layout;
    return lay_out(memory, boot_end, growth_address, growth_bytes, &layout) ? layout.bytes : 0;
}

static bool is_sound(const struct pleat_xen_balloon_config *config, struct layout *layout)
{
    return config->memory != NULL && config->memory->ops != NULL && config->xen != NULL &&
           config->xen->ops != NULL && config->storage != NULL &&
           (uintptr_t)config->storage % PLEAT_XEN_BALLOON_ALIGNMENT == 0 && config->boot_bytes > 0 &&
           config->boot_bytes % FRAME_BYTES == 0 && config->boot_end % FRAME_BYTES == 0 &&
           config->boot_bytes <= config->boot_end && config->batch <= PLEAT_XEN_BALLOON_BATCH_MAX &&
           lay_out(config->memory, config->boot_end, config->growth_address, config->growth_bytes, layout) &&
           config->storage_bytes >= layout->bytes;
}

static void default_to(uint64_t *field, uint64_t value)
{
    if (*field == 0) {
        *field = value;
    }
}

static void fill_in(struct pleat_xen_balloon_config *config)
{
    if (config->name == NULL) {
        config->name = "xen-balloon";
    }
    if (config->batch == 0) {
        config->batch = PLEAT_XEN_BALLOON_BATCH_MAX;
    }
    default_to(&config->floor_bytes, DEFAULT_FLOOR_BYTES);
    default_to(&config->retry_first_ns, DEFAULT_RETRY_FIRST_NS);
    default_to(&config->retry_longest_ns, DEFAULT_RETRY_LONGEST_NS);
    default_to(&config->release_limit_bytes, DEFAULT_RELEASE_BYTES);
    default_to(&config->release_hold_ns, DEFAULT_HOLD_NS);
}

static void place(struct pleat_xen_balloon *balloon, const struct layout *layout)
{
    balloon->boot_index_frames = layout->boot_index_frames;
    balloon->growth_pfn = layout->growth_address / FRAME_BYTES;
    balloon->growth_frames = layout->growth_frames;
    balloon->block_frames = balloon->config.memory->block_bytes / FRAME_BYTES;
    balloon->metadata_frames = round_up(balloon->config.memory->metadata_bytes, FRAME_BYTES) / FRAME_BYTES;
    balloon->pieces = layout->pieces;
    balloon->guest = (_Atomic uint64_t *)(balloon + 1);
    balloon->populated = (uint64_t *)(balloon->guest + layout->words);
    balloon->lent = balloon->populated + layout->words;
    balloon->piece_holes = (uint16_t *)(balloon->lent + layout->words);
    balloon->blocks = (uint8_t *)(balloon->piece_holes + layout->pieces);
}

int pleat_xen_balloon_create(const struct pleat_xen_balloon_config *config,
                             struct pleat_xen_balloon **created)
{
    struct layout layout;
    if (!is_sound(config, &layout)) {
        return PLEAT_E_INVALID;
    }
    const struct pleat_memory *memory = config->memory;
    if ((memory->frame_bytes != 0 && memory->frame_bytes != FRAME_BYTES) || memory->ops->give == NULL ||
        memory->block_bytes < FRAME_BYTES) {
        return PLEAT_E_UNSUPPORTED;
    }
    struct pleat_xen_balloon *balloon = config->storage;
    __builtin_memset(balloon, 0, layout.bytes);
    balloon->config = *config;
    fill_in(&balloon->config);
    place(balloon, &layout);
    pleat_xen_balloon_books_create(balloon);
    pleat_xen_balloon_owner_create(balloon);
    balloon->static_max_frames = balloon->boot_frames;
    balloon->last_goal = balloon->boot_frames;
    atomic_store(&balloon->posted_target, NOWHERE);
    const int error = pleat_xen_balloon_listen(balloon);
    if (error < 0) {
        return error;
    }
    *created = balloon;
    return 0;
}

void pleat_xen_balloon_statistics(const struct pleat_xen_balloon *balloon,
                                  struct pleat_xen_balloon_statistics *statistics)
{
    *statistics = balloon->statistics;
    statistics->release_requests = atomic_load(&balloon->release_requests);
}

void pleat_xen_balloon_status(const struct pleat_xen_balloon *balloon,
                              struct pleat_xen_balloon_status *status)
{
    *status = (struct pleat_xen_balloon_status){
        .target_known = balloon->target_known,
        .static_max_bytes = balloon->static_max_frames * FRAME_BYTES,
        .target_bytes = balloon->target_frames * FRAME_BYTES,
        .goal_bytes = pleat_xen_balloon_wanted_frames(balloon) * FRAME_BYTES,
        .populated_bytes = pleat_xen_balloon_populated_frames(balloon) * FRAME_BYTES,
        .hole_bytes = balloon->hole_frames * FRAME_BYTES,
        .lent_bytes = balloon->lent_frames * FRAME_BYTES,
        .held_bytes = balloon->held_frames * FRAME_BYTES,
        .released_bytes = balloon->released_frames * FRAME_BYTES,
        .capacity_bytes = balloon->capacity_frames * FRAME_BYTES,
        .whole_holes = balloon->whole_holes,
        .blocks_added = balloon->blocks_added,
    };
}
