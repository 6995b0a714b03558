/* SPDX-License-Identifier: MIT
 *
 * Taking a range back: look -> isolate -> drain -> evacuate -> check -> take.
 *
 * The look comes first and fails at once when something unmovable is in the way. Isolation keeps new
 * allocations out: from the drain on, frames in the range can only become free. Evacuation moves what is
 * movable, a budget at a time; between two steps the hotplug lock is free and the range stays isolated. When
 * everything is free (or passed over) the range becomes what its goal says. If that can't be reached, the
 * isolation is lifted and all is as before, less what has moved.
 *
 * While a step evacuates, other CPUs may help: they begin at the end of the range and work towards the step,
 * which goes over all of it even so, and finds free what they have moved. Nobody needs to know who moves
 * which frame: whoever writes ISOLATING into its owner's word does. The step reports, asks for room and
 * decides; a helper leaves what it can't move as it was. It looks at metadata of frames that aren't its own,
 * so the step waits until helpers have left before it ends, as blocks may go after that.
 */
#include "bits.h"
#include "block.h"
#include "check.h"
#include "cpu.h"
#include "index.h"
#include "look.h"

#define PIN_TRIES     3u
#define RECLAIM_TRIES 8u
/* What a helper goes over between two looks whether the step still wants it. */
#define HELP_FRAMES 64u

enum take_state {
    TAKE_ENDED = 0,  /* nothing is isolated */
    TAKE_RUNNING = 1 /* isolated; a step goes on at next_pfn */
};

/* Somebody who evacuates. */
struct mover {
    bool helps;
    bool avoids;      /* there may be room outside of what is leaving */
    uint64_t moved;   /* frames that the take doesn't count yet */
    struct slot slot; /* where they go; empty between steps */
};

struct take {
    struct core *core;
    struct pleat_take_config config;
    enum take_state state;
    unsigned reclaims;   /* times that somebody was asked for room */
    unsigned passes;     /* over the range, that ended with pinned frames */
    bool is_helped;      /* this step */
    bool alone;          /* the next step shall have no helpers */
    uint64_t in_the_way; /* of this pass: being freed, or moved by a helper */
    struct pleat_look look;
    struct mover mover;
    _Atomic uint64_t next_pfn; /* where the step is: what isn't free before it is counted */
    _Atomic uint64_t help_pfn; /* helpers begin before it */
    _Atomic bool help_fails;   /* a helper found no room in this step */
    _Atomic uint64_t moved;    /* frames */
};
_Static_assert(sizeof(struct take) <= sizeof(struct pleat_take), "struct pleat_take is too small");

static struct take *take_of(struct pleat_take *take)
{
    return (struct take *)(void *)take;
}

static uint64_t end_of(const struct take *take)
{
    return take->config.start_pfn + take->config.frames;
}

/* Where the step is; helpers look how near it has come. */
static uint64_t next_pfn(const struct take *take)
{
    return atomic_load_explicit(&take->next_pfn, memory_order_relaxed);
}

static void go_to(struct take *take, uint64_t pfn)
{
    atomic_store_explicit(&take->next_pfn, pfn, memory_order_relaxed);
}

/* Blocks that are OFFLINE are held then, so that they stay so, and left alone else. */
static bool removes(const struct take *take)
{
    return take->config.goal == PLEAT_TAKE_TO_REMOVED;
}

static bool goes_offline(const struct take *take)
{
    return take->config.goal == PLEAT_TAKE_TO_OFFLINE || removes(take);
}

/* --- begin --------------------------------------------------------------------------------------------- */

/* Calls for each block of the range with the part of it that is inside; stops at an error. Passes over those
 * that were offline before. */
static int each_block(struct take *take,
                      int (*each)(struct take *take, struct block *block, uint64_t offset, uint64_t frames))
{
    struct core *core = take->core;
    uint64_t pfn = take->config.start_pfn;

    while (pfn < end_of(take)) {
        uint64_t offset = pfn & (block_frames(core) - 1);
        uint64_t frames = block_frames(core) - offset;
        struct block *block = block_of(core, pfn);
        int error;

        if (frames > end_of(take) - pfn)
            frames = end_of(take) - pfn;
        if (!block)
            return PLEAT_E_NOT_FOUND;
        error = block->zone || !removes(take) ? each(take, block, offset, frames) : PLEAT_OK;
        if (error)
            return error;
        pfn += frames;
    }
    return PLEAT_OK;
}

/* Blocks without a zone are OFFLINE; GOING_OFFLINE keeps everybody from bringing them online or taking them.
 */
static void hold_offline(struct take *take, enum pleat_block_state from, enum pleat_block_state to)
{
    struct core *core = take->core;

    for (uint64_t pfn = take->config.start_pfn; removes(take) && pfn < end_of(take);
         pfn += block_frames(core)) {
        struct block *block = block_of(core, pfn);

        if (!block->zone && block_state(block) == from)
            atomic_store_explicit(&block->state, to, memory_order_relaxed);
    }
}

/* The owner's alone, all of a range that goes only as a whole, and nobody else holds it: nothing stands in
 * the way of removing the blocks when they are offline. */
static int check_remove(struct take *take)
{
    struct core *core = take->core;

    for (uint64_t pfn = take->config.start_pfn; removes(take) && pfn < end_of(take);
         pfn += block_frames(core)) {
        struct block *block = block_of(core, pfn);

        if (!block)
            return PLEAT_E_NOT_FOUND;
        if (!block_is_owned(block, take->config.owner) ||
            !block_goes_with(block, take->config.start_pfn, end_of(take)))
            return PLEAT_E_NOT_OWNER;
        if (!block->zone && block_state(block) != PLEAT_BLOCK_OFFLINE)
            return PLEAT_E_BUSY;
    }
    return PLEAT_OK;
}

static int check_block(struct take *take, struct block *block, uint64_t offset, uint64_t frames)
{
    const void *owner = take->config.owner;
    bool everybody = !owner && take->config.goal != PLEAT_TAKE_TO_FAKE_OFFLINE;

    if (!everybody && !block_is_owned(block, owner))
        return PLEAT_E_NOT_OWNER;
    if (goes_offline(take) && !block->range.removable)
        return PLEAT_E_NOT_OWNER;
    if (block_state(block) == PLEAT_BLOCK_GOING_OFFLINE)
        return PLEAT_E_BUSY;
    if (block_state(block) != PLEAT_BLOCK_ONLINE)
        return PLEAT_E_STATE;
    for (uint64_t i = offset / FRAMES; i <= (offset + frames - 1) / FRAMES; i++) {
        if (pageblock_word(block, (unsigned)i) & WORD_ISOLATED)
            return PLEAT_E_BUSY;
    }
    return PLEAT_OK;
}

static int check_config(const struct take *take)
{
    const struct pleat_take_config *config = &take->config;
    const struct core *core = take->core;
    uint64_t unit = goes_offline(take)                           ? block_frames(core)
                    : config->goal == PLEAT_TAKE_TO_FAKE_OFFLINE ? FRAMES
                                                                 : 1;

    if ((unsigned)config->goal > PLEAT_TAKE_TO_REMOVED || !config->frames || config->start_pfn % unit ||
        config->frames % unit || (removes(take) && !config->owner))
        return PLEAT_E_INVALID;
    if (config->start_pfn >= core->highest_pfn || config->frames > core->highest_pfn - config->start_pfn)
        return PLEAT_E_NOT_FOUND;
    if (!goes_offline(take) && config->start_pfn >> core->block_order !=
                                   (config->start_pfn + config->frames - 1) >> core->block_order)
        return PLEAT_E_INVALID;
    if (config->deadline_ns && !core->port.clock_ns)
        return PLEAT_E_UNSUPPORTED;
    return PLEAT_OK;
}

static int look_each_block(struct take *take, struct block *block, uint64_t offset, uint64_t frames)
{
    look_block(take->core, block, offset, frames, &take->look);
    return PLEAT_OK;
}

/* Frames that can't become anything else: unmovable ones, and for a caller who wants frames, what isn't any.
 */
static int look_range(struct take *take)
{
    int error;

    take->look = (struct pleat_look){0};
    error = each_block(take, look_each_block);
    if (error)
        return error;
    if (take->config.goal == PLEAT_TAKE_TO_ALLOCATED &&
        (take->look.memmap || take->look.fake_offline || take->look.absent))
        return PLEAT_E_STATE;
    return take->look.unmovable ? PLEAT_E_UNMOVABLE : PLEAT_OK;
}

static int isolate_block(struct take *take, struct block *block, uint64_t offset, uint64_t frames)
{
    struct core *core = take->core;

    atomic_fetch_or_explicit(&core->directory[block->number], ENTRY_ISOLATED, memory_order_seq_cst);
    for (uint64_t i = offset / FRAMES; i <= (offset + frames - 1) / FRAMES; i++) {
        pageblock_flags(block, (unsigned)i, WORD_ISOLATED, 0);
        block->isolated_count++;
    }
    if (goes_offline(take))
        atomic_store_explicit(&block->state, PLEAT_BLOCK_GOING_OFFLINE, memory_order_relaxed);
    CHECK(block_state_is_valid(core, block));
    return PLEAT_OK;
}

static void isolation_less(struct core *core, struct block *block)
{
    if (--block->isolated_count == 0)
        atomic_fetch_and_explicit(&core->directory[block->number], ~(uint64_t)ENTRY_ISOLATED,
                                  memory_order_seq_cst);
}

static int unisolate_block(struct take *take, struct block *block, uint64_t offset, uint64_t frames)
{
    struct core *core = take->core;

    for (uint64_t i = offset / FRAMES; i <= (offset + frames - 1) / FRAMES; i++) {
        pageblock_flags(block, (unsigned)i, 0, WORD_ISOLATED);
        isolation_less(core, block);
    }
    CHECK(block_state_is_valid(core, block));
    if (goes_offline(take)) {
        atomic_store_explicit(&block->state, PLEAT_BLOCK_ONLINE, memory_order_relaxed);
        listeners_tell(core, PLEAT_CANCEL_OFFLINE, block, block->zone);
    }
    return PLEAT_OK;
}

/* Asks the listeners of all blocks; a refusal is told to those of the blocks before. */
static int ask_listeners(struct take *take)
{
    struct core *core = take->core;

    if (!goes_offline(take))
        return PLEAT_OK;
    for (uint64_t pfn = take->config.start_pfn; pfn < end_of(take); pfn += block_frames(core)) {
        struct block *block = block_of(core, pfn);

        if (!block->zone || !listeners_tell(core, PLEAT_GOING_OFFLINE, block, block->zone))
            continue;
        while (pfn > take->config.start_pfn) {
            pfn -= block_frames(core);
            block = block_of(core, pfn);
            if (block->zone)
                listeners_tell(core, PLEAT_CANCEL_OFFLINE, block, block->zone);
        }
        return PLEAT_E_REFUSED;
    }
    return PLEAT_OK;
}

static int begin(struct take *take)
{
    struct core *core = take->core;
    int error;

    error = check_remove(take);
    if (!error)
        error = each_block(take, check_block);
    /* Without owners' words nothing tells a frame in a CPU's cache from one in use. */
    if (!error && !core->owner_shift)
        core_drain(core, false);
    if (!error)
        error = look_range(take);
    if (!error)
        error = ask_listeners(take);
    if (error)
        return error;
    hold_offline(take, PLEAT_BLOCK_OFFLINE, PLEAT_BLOCK_GOING_OFFLINE);
    each_block(take, isolate_block);
    core_drain(core, true);
    take->state = TAKE_RUNNING;
    return PLEAT_OK;
}

int pleat_take_begin(struct pleat *pleat, struct pleat_take *storage, const struct pleat_take_config *config)
{
    struct core *core = core_of(pleat);
    struct take *take = take_of(storage);
    int error;

    *take = (struct take){.core = core,
                          .config = *config,
                          .mover.avoids = config->leaving_frames != 0,
                          .next_pfn = config->start_pfn,
                          .help_pfn = config->start_pfn + config->frames};
    error = check_config(take);
    if (error)
        return error;
    hotplug_lock(core);
    error = begin(take);
    hotplug_unlock(core);
    if (error != PLEAT_E_UNMOVABLE || !core->reclaim)
        return error;
    /* Reclaimable frames may go when they are asked for; once, so that the effort is bounded. */
    if (!core->reclaim(core->reclaim_context, entry_node(entry_of(core, config->start_pfn)),
                       take->look.unmovable))
        return error;
    hotplug_lock(core);
    error = begin(take);
    hotplug_unlock(core);
    return error;
}

/* --- evacuate ------------------------------------------------------------------------------------------ */

/* The frames of a source, whose owner's word is out of the way, are free now. */
static void source_free(struct core *core, struct block *block, uint64_t offset, unsigned order)
{
    struct cpu *cpu = cpu_begin(core);

    frames_free_inside(cpu, block, offset, order);
    cpu_end(cpu);
}

/* Isolating no more: movable again (false), or free because the owner freed it meanwhile (true). */
static bool put_back(struct core *core, struct block *block, const struct piece *piece)
{
    uint64_t expected = piece->word | STATE_ISOLATING;
    _Atomic uint64_t *owner = head_owner(core, block, piece->head, OWNER_ORDER(piece->word));

    if (atomic_compare_exchange_strong(owner, &expected, piece->word))
        return false;
    atomic_store(owner, 0);
    source_free(core, block, piece->head, OWNER_ORDER(piece->word));
    return true;
}

static int64_t target_allocate(const struct take *take, struct mover *mover, struct block *block,
                               const struct piece *piece)
{
    struct core *core = take->core;
    unsigned order = OWNER_ORDER(piece->word);
    struct wish wish = {.node = block->range.node,
                        .mobility = PLEAT_MOVABLE,
                        .order = (uint8_t)order,
                        .zone_limit =
                            block->zone->kind < PLEAT_ZONE_NORMAL ? block->zone->kind : PLEAT_ZONE_MOVABLE};
    struct cpu *cpu;
    int64_t pfn;

    if (mover->avoids) {
        uint64_t last_pfn = take->config.leaving_pfn + take->config.leaving_frames - 1;

        wish.avoided_block = take->config.leaving_pfn >> core->block_order;
        wish.avoided_blocks = (last_pfn >> core->block_order) - wish.avoided_block + 1;
    }
    cpu = cpu_begin(core);
    if (mover->slot.block && !slot_suits(&mover->slot, &wish))
        slot_release(cpu, &mover->slot);
    if (order < PLEAT_PAGEBLOCK_ORDER)
        pfn = slot_allocate(core, cpu, &wish, &mover->slot);
    else
        pfn = allocate_huge(core, cpu, &wish);
    if (pfn >= 0) {
        uint64_t offset = (uint64_t)pfn & (block_frames(core) - 1);

        atomic_store_explicit(head_owner(core, block_of(core, (uint64_t)pfn), offset, order), piece->word,
                              memory_order_release);
    }
    cpu_end(cpu);
    return pfn;
}

/* Somewhere that stays, or if there is no room, also in what will be taken after this. */
static int64_t target_find(const struct take *take, struct mover *mover, struct block *block,
                           const struct piece *piece)
{
    int64_t to = target_allocate(take, mover, block, piece);

    if (mover->helps)
        return to;
    if (to < 0) {
        /* Free frames may lie in CPUs' caches and slots. */
        core_drain(take->core, false);
        to = target_allocate(take, mover, block, piece);
    }
    /* Not while helpers are there: they may have the room that is missing, and read this. */
    if (to < 0 && mover->avoids && !take->is_helped) {
        mover->avoids = false;
        to = target_allocate(take, mover, block, piece);
    }
    return to;
}

/* PLEAT_OK: it is gone, or somebody else moves it. PLEAT_E_BUSY: its owner refused now. PLEAT_E_NO_MEMORY:
 * nowhere to go. */
static int evacuate(const struct take *take, struct mover *mover, struct block *block,
                    const struct piece *piece)
{
    struct core *core = take->core;
    const struct owner *owner = &core->owners[OWNER_INDEX(piece->word)];
    uint64_t from = block_start(core, block) + piece->head;
    uint64_t cookie = OWNER_COOKIE(piece->word);
    unsigned order = OWNER_ORDER(piece->word);
    uint64_t expected = piece->word;
    int64_t to;
    int error;

    if (!atomic_compare_exchange_strong(head_owner(core, block, piece->head, order), &expected,
                                        piece->word | STATE_ISOLATING))
        return PLEAT_OK; /* freed under our eyes, or a helper was first */
    error = owner->ops->isolate(owner->context, from, order, cookie);
    if (error) {
        return put_back(core, block, piece) ? PLEAT_OK : PLEAT_E_BUSY;
    }
    to = target_find(take, mover, block, piece);
    error =
        to < 0 ? PLEAT_E_NO_MEMORY : owner->ops->migrate(owner->context, from, (uint64_t)to, order, cookie);
    if (!error) {
        atomic_store(head_owner(core, block, piece->head, order), 0);
        source_free(core, block, piece->head, order);
        mover->moved += (uint64_t)1 << order;
        return PLEAT_OK;
    }
    if (to >= 0 && pleat_free(pleat_of(core), (uint64_t)to, order))
        CHECK(false);
    owner->ops->putback(owner->context, from, order, cookie);
    if (put_back(core, block, piece))
        return PLEAT_OK;
    return to < 0 ? PLEAT_E_NO_MEMORY : PLEAT_E_BUSY;
}

/* Notes the first thing that stands in the way, for the report. */
static void obstacle(struct take *take, struct block *block, const struct piece *piece, uint64_t *counter)
{
    if (!take->look.pinned && !take->look.unmovable) {
        take->look.first_obstacle_pfn = block_start(take->core, block) + piece->head;
        take->look.first_obstacle_owner = OWNER_INDEX(piece->word);
    }
    *counter += (uint64_t)1 << piece->order;
}

/* Goes over the range from next_pfn; PLEAT_OK at its end, PLEAT_MORE when the budget is used up. */
static int pass(struct take *take, uint64_t budget)
{
    struct core *core = take->core;

    while (next_pfn(take) < end_of(take)) {
        struct block *block = block_of(core, next_pfn(take));
        uint64_t offset = next_pfn(take) & (block_frames(core) - 1);
        struct piece piece = piece_at(core, block, offset);
        uint64_t cost = 1;
        int error;

        switch (piece.kind) {
        case FRAME_MOVABLE:
            cost = (uint64_t)1 << piece.order;
            error = evacuate(take, &take->mover, block, &piece);
            if (error == PLEAT_E_NO_MEMORY)
                return error;
            if (error)
                obstacle(take, block, &piece, &take->look.pinned);
            break;
        case FRAME_UNMOVABLE:
            /* Allocated after the look, before the isolation. */
            obstacle(take, block, &piece, &take->look.unmovable);
            return PLEAT_E_UNMOVABLE;
        case FRAME_SETTLING:
        case FRAME_ISOLATING:
            take->in_the_way++;
            break;
        default:
            break;
        }
        go_to(take, next_pfn(take) + piece.frames);
        if (cost >= budget)
            return next_pfn(take) < end_of(take) ? PLEAT_MORE : PLEAT_OK;
        budget -= cost;
    }
    return PLEAT_OK;
}

static void mover_rests(struct take *take, struct mover *mover)
{
    if (mover->slot.block) {
        struct cpu *cpu = cpu_begin(take->core);

        slot_release(cpu, &mover->slot);
        cpu_end(cpu);
    }
    atomic_fetch_add_explicit(&take->moved, mover->moved, memory_order_relaxed);
    mover->moved = 0;
}

/* --- help ----------------------------------------------------------------------------------------------- */

/* A step that has more than a pageblock before it, for the first time, and something to move, lets others in.
 */
static void help_begin(struct take *take)
{
    struct core *core = take->core;
    uint64_t help_pfn = atomic_load_explicit(&take->help_pfn, memory_order_relaxed);
    uint64_t moved = atomic_load_explicit(&take->moved, memory_order_relaxed);

    take->is_helped = core->cpu_count > 1 && !take->alone && help_pfn > next_pfn(take) &&
                      help_pfn - next_pfn(take) > FRAMES && take->look.movable > moved + HELP_FRAMES;
    take->alone = false;
    if (!take->is_helped)
        return;
    atomic_store_explicit(&take->help_fails, false, memory_order_relaxed);
    atomic_store(&core->helped, take);
    if (core->help)
        core->help(core->help_context);
}

/* Either a helper's count is seen here, or the helper sees that nobody wants it. */
static void help_end(struct take *take)
{
    struct core *core = take->core;

    if (!take->is_helped)
        return;
    atomic_store(&core->helped, NULL);
    while (atomic_load(&core->helpers))
        pleat_port_pause();
}

static void help_no_more(struct take *take)
{
    atomic_store_explicit(&take->help_pfn, take->config.start_pfn, memory_order_relaxed);
}

/* The last piece that nobody has gone over, if it is well before the step: [*from, *to). */
static bool help_claim(struct take *take, uint64_t *from, uint64_t *to)
{
    *to = atomic_load_explicit(&take->help_pfn, memory_order_relaxed);
    do {
        uint64_t reached = next_pfn(take);

        *from = (*to - 1) / HELP_FRAMES * HELP_FRAMES;
        if (*from < reached + HELP_FRAMES || *to <= reached)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&take->help_pfn, to, *from, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

/* False: there is no room that a helper could find. */
static bool help_with(struct take *take, struct mover *mover, uint64_t from, uint64_t to)
{
    struct core *core = take->core;

    while (from < to) {
        struct block *block = block_of(core, from);
        struct piece piece = piece_at(core, block, from & (block_frames(core) - 1));

        if (piece.kind == FRAME_MOVABLE && evacuate(take, mover, block, &piece) == PLEAT_E_NO_MEMORY)
            return false;
        from += piece.frames;
    }
    return true;
}

static uint64_t help(struct take *take, uint64_t budget)
{
    struct core *core = take->core;
    struct mover mover = {.helps = true, .avoids = take->mover.avoids};
    uint64_t from, to, done = 0;

    while (done < budget && atomic_load_explicit(&core->helped, memory_order_relaxed) == take &&
           !atomic_load_explicit(&take->help_fails, memory_order_relaxed) && help_claim(take, &from, &to)) {
        if (!help_with(take, &mover, from, to)) {
            /* The step will find room or say that there is none; what comes before is for later steps'
             * helpers. */
            atomic_store_explicit(&take->help_fails, true, memory_order_relaxed);
            atomic_compare_exchange_strong_explicit(&take->help_pfn, &from, to, memory_order_relaxed,
                                                    memory_order_relaxed);
            break;
        }
        done += to - from;
    }
    mover_rests(take, &mover);
    return done;
}

uint64_t pleat_take_help(struct pleat *pleat, uint64_t budget)
{
    struct core *core = core_of(pleat);
    struct take *take;
    uint64_t done = 0;

    /* Who asks again and again doesn't keep a step waiting. */
    if (!atomic_load_explicit(&core->helped, memory_order_relaxed))
        return 0;
    atomic_fetch_add(&core->helpers, 1);
    take = atomic_load(&core->helped);
    if (take)
        done = help(take, budget);
    atomic_fetch_sub(&core->helpers, 1);
    return done;
}

/* --- take ----------------------------------------------------------------------------------------------- */

/* Everything in a pageblock that isn't passed over is free, and its count says so. */
static bool pageblock_is_quiet(struct core *core, struct block *block, unsigned pageblock, uint64_t from,
                               uint64_t to)
{
    uint32_t word = pageblock_word(block, pageblock);
    uint64_t offset = (uint64_t)pageblock * FRAMES;
    uint64_t stop = offset + FRAMES;

    if (word & (WORD_ABSENT | WORD_WITHHELD) ||
        WORD_FREE_COUNT(word) == pageblock_fresh_count(block, pageblock))
        return true;
    if (!(word & WORD_INITIALISED) && !(word & (WORD_HUGE | WORD_OWNED)))
        return true;
    if (word & WORD_OWNED || WORD_FREE_COUNT(word) != bits_count_clear(block_bits(block, pageblock)))
        return false;
    offset = from > offset ? from : offset;
    stop = to < stop ? to : stop;
    while (offset < stop) {
        struct piece piece = piece_at(core, block, offset);

        if (piece.kind == FRAME_MOVABLE || piece.kind == FRAME_UNMOVABLE || piece.kind == FRAME_ISOLATING ||
            piece.kind == FRAME_SETTLING)
            return false;
        offset += piece.frames;
    }
    return true;
}

static int check_quiet(struct take *take, struct block *block, uint64_t offset, uint64_t frames)
{
    for (uint64_t i = offset / FRAMES; i <= (offset + frames - 1) / FRAMES; i++) {
        if (!pageblock_is_quiet(take->core, block, (unsigned)i, offset, offset + frames))
            return PLEAT_MORE;
    }
    return PLEAT_OK;
}

/* The pageblock's free frames become fake-offline. Returns how many. */
static unsigned withhold(struct core *core, struct block *block, unsigned pageblock)
{
    uint32_t old = pageblock_word(block, pageblock);
    unsigned count = WORD_FREE_COUNT(old);
    unsigned prefix = pageblock_prefix(block, pageblock);
    _Atomic uint64_t *bits = block_bits(block, pageblock);

    if (old & (WORD_ABSENT | WORD_WITHHELD)) {
        pageblock_flags(block, pageblock, 0, WORD_ISOLATED);
        return 0;
    }
    block_unmovable_clear(block, pageblock);
    if (count + prefix == FRAMES) {
        pageblock_flags(block, pageblock, WORD_WITHHELD, WORD_ISOLATED | WORD_COUNT_MASK | WORD_INITIALISED);
        return count;
    }
    if (core->owner_shift) {
        /* Absent or single withheld frames are among them: owners' words tell which. */
        for (uint64_t offset = (uint64_t)pageblock * FRAMES; offset < (pageblock + 1ull) * FRAMES; offset++) {
            if (!bit_get(block, offset))
                owner_set(core, block, offset, owner_word_special(OWNER_WITHHELD));
        }
    }
    for (unsigned i = 0; i < WORD_COUNT; i++)
        atomic_store_explicit(&bits[i], ~(uint64_t)0, memory_order_relaxed);
    /* What wasn't free may have been withheld before, frame by frame. */
    if (pageblock_is_all_withheld(core, block, pageblock))
        pageblock_flags(block, pageblock, WORD_WITHHELD, WORD_ISOLATED | WORD_COUNT_MASK | WORD_INITIALISED);
    else
        pageblock_flags(block, pageblock, 0, WORD_ISOLATED | WORD_COUNT_MASK);
    return count;
}

static int finish_fake_offline(struct take *take, struct block *block, uint64_t offset, uint64_t frames)
{
    struct core *core = take->core;
    uint64_t count = 0;

    for (uint64_t i = offset / FRAMES; i < (offset + frames) / FRAMES; i++) {
        count += withhold(core, block, (unsigned)i);
        isolation_less(core, block);
    }
    CHECK(block_state_is_valid(core, block));
    online_count(core, block->zone, -(int64_t)count);
    atomic_fetch_sub_explicit(&core->free_base, (int64_t)count, memory_order_relaxed);
    return PLEAT_OK;
}

/* `count` frames of an isolated pageblock, whose bits are set by now, are somebody's. Others may free theirs.
 */
static void pageblock_less(struct block *block, unsigned pageblock, uint32_t count)
{
    uint32_t old = pageblock_word(block, pageblock);
    uint32_t now;

    do {
        now = (old - count) & ~(15u << WORD_HINT_SHIFT);
        /* One that promised more would lead searches astray until somebody took the pageblock. */
        now |= bits_largest_run(block_bits(block, pageblock)) << WORD_HINT_SHIFT;
        CHECK(word_is_valid(now));
    } while (!atomic_compare_exchange_weak(&block->words[pageblock], &old, now));
}

static int finish_allocated(struct take *take, struct block *block, uint64_t offset, uint64_t frames)
{
    struct core *core = take->core;
    uint64_t at = offset, end = offset + frames;

    while (at < end) {
        unsigned pageblock = (unsigned)(at / FRAMES);
        uint64_t stop = (pageblock + 1ull) * FRAMES < end ? (pageblock + 1ull) * FRAMES : end;
        uint32_t count = (uint32_t)(stop - at);

        if (!(pageblock_word(block, pageblock) & WORD_INITIALISED))
            pageblock_initialise(core, block, pageblock);
        for (; at < stop; at++) {
            atomic_fetch_or_explicit(&block->bits[at / 64], (uint64_t)1 << (at % 64), memory_order_relaxed);
            if (core->owner_shift)
                owner_set(core, block, at, owner_word(PLEAT_UNMOVABLE, 0, take->config.tag));
        }
        pageblock_less(block, pageblock, count);
        block_unmovable_set(block, pageblock);
    }
    atomic_fetch_sub_explicit(&core->free_base, (int64_t)frames, memory_order_relaxed);
    return unisolate_block(take, block, offset, frames);
}

static int finish_offline(struct take *take, struct block *block, uint64_t offset, uint64_t frames)
{
    (void)offset;
    (void)frames;
    block_go_offline(take->core, block);
    return PLEAT_OK;
}

static int finish(struct take *take)
{
    static int (*const goals[])(struct take *, struct block *, uint64_t,
                                uint64_t) = {[PLEAT_TAKE_TO_FAKE_OFFLINE] = finish_fake_offline,
                                             [PLEAT_TAKE_TO_ALLOCATED] = finish_allocated,
                                             [PLEAT_TAKE_TO_OFFLINE] = finish_offline,
                                             [PLEAT_TAKE_TO_REMOVED] = finish_offline};

    if (each_block(take, check_quiet) != PLEAT_OK)
        return PLEAT_MORE;
    each_block(take, goals[take->config.goal]);
    if (removes(take))
        blocks_remove(take->core, take->config.start_pfn, take->config.frames >> take->core->block_order);
    return PLEAT_OK;
}

/* --- step, cancel, report ------------------------------------------------------------------------------ */

static bool too_late(const struct take *take)
{
    const struct pleat_port *port = &take->core->port;

    return take->config.deadline_ns && port->clock_ns(port->context) >= take->config.deadline_ns;
}

/* The pass came to the end of the range. */
static int pass_ended(struct take *take)
{
    bool pinned = take->look.pinned != 0;

    if (!pinned && !take->in_the_way)
        return finish(take);
    /* In the way without being pinned is somebody in the middle of a free, or was a helper at work: that ends
     * by itself. */
    if (pinned && ++take->passes >= PIN_TRIES && !take->config.deadline_ns)
        return PLEAT_E_UNMOVABLE;
    return PLEAT_MORE;
}

static int step(struct take *take, uint64_t budget)
{
    int result;

    if (too_late(take))
        return PLEAT_E_TIMEOUT;
    if (next_pfn(take) == take->config.start_pfn) {
        take->in_the_way = 0;
        take->look.pinned = 0;
        take->look.unmovable = 0;
    }
    help_begin(take);
    result = pass(take, budget ? budget : 1);
    mover_rests(take, &take->mover);
    help_end(take);
    if (result == PLEAT_E_NO_MEMORY && take->is_helped) {
        /* Until just now, free frames lay in helpers' slots. */
        take->alone = true;
        return PLEAT_MORE;
    }
    if (result)
        return result;
    result = pass_ended(take);
    if (result == PLEAT_MORE) {
        /* What is left is what couldn't be moved, or only just. */
        help_no_more(take);
        go_to(take, take->config.start_pfn);
    }
    return result;
}

static void lift(struct take *take)
{
    each_block(take, unisolate_block);
    hold_offline(take, PLEAT_BLOCK_GOING_OFFLINE, PLEAT_BLOCK_OFFLINE);
    take->state = TAKE_ENDED;
}

int pleat_take_step(struct pleat *pleat, struct pleat_take *storage, uint64_t budget)
{
    struct core *core = core_of(pleat);
    struct take *take = take_of(storage);
    bool ask = false;
    unsigned node;
    int result;

    if (take->state != TAKE_RUNNING)
        return PLEAT_E_STATE;
    hotplug_lock(core);
    node = entry_node(entry_of(core, take->config.start_pfn));
    result = step(take, budget);
    if (result == PLEAT_OK)
        take->state = TAKE_ENDED;
    else if (result < 0 &&
             !(ask = result == PLEAT_E_NO_MEMORY && core->reclaim && take->reclaims++ < RECLAIM_TRIES))
        lift(take);
    hotplug_unlock(core);
    if (ask) {
        /* Nowhere to move to: whoever can shall free some, else it has failed. */
        if (core->reclaim(core->reclaim_context, node, PLEAT_PAGEBLOCK_FRAMES))
            return PLEAT_MORE;
        hotplug_lock(core);
        lift(take);
        hotplug_unlock(core);
    }
    return result;
}

void pleat_take_cancel(struct pleat *pleat, struct pleat_take *storage)
{
    struct core *core = core_of(pleat);
    struct take *take = take_of(storage);

    if (take->state != TAKE_RUNNING)
        return;
    hotplug_lock(core);
    lift(take);
    hotplug_unlock(core);
}

void pleat_take_report(const struct pleat_take *storage, uint64_t *moved, struct pleat_look *look)
{
    const struct take *take = (const struct take *)(const void *)storage;

    *moved = atomic_load_explicit(&take->moved, memory_order_relaxed);
    *look = take->look;
}

/* --- ranges in one go ---------------------------------------------------------------------------------- */

int pleat_alloc_range(struct pleat *pleat, uint64_t start_pfn, uint64_t frames, pleat_tag tag)
{
    struct pleat_take_config config = {
        .start_pfn = start_pfn, .frames = frames, .goal = PLEAT_TAKE_TO_ALLOCATED, .tag = tag};
    struct pleat_take take;
    int result = pleat_take_begin(pleat, &take, &config);

    if (result)
        return result;
    do
        result = pleat_take_step(pleat, &take, FRAMES);
    while (result == PLEAT_MORE);
    return result;
}

int pleat_free_range(struct pleat *pleat, uint64_t start_pfn, uint64_t frames)
{
    struct core *core = core_of(pleat);

    /* All of it is looked at before the first is freed. */
    for (uint64_t i = 0; i < frames && core->owner_shift; i++) {
        unsigned order = 1;
        pleat_tag tag;

        if (pleat_frame_tag(pleat, start_pfn + i, &tag, &order) || order)
            return free_misuse(core, start_pfn + i, 0, 0,
                               "it isn't a frame of its own in a range that was taken");
    }
    for (uint64_t i = 0; i < frames; i++) {
        int error = pleat_free(pleat, start_pfn + i, 0);

        if (error)
            return error;
    }
    return PLEAT_OK;
}
