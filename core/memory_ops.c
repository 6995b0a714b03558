/* SPDX-License-Identifier: MIT
 *
 * The core as drivers see it: struct pleat_memory_ops in bytes and addresses, over frames and blocks.
 */
#include "block.h"
#include "cpu.h"
#include "text.h"

struct job {
    struct pleat_take take;
    uint64_t frames;
};
_Static_assert(sizeof(struct job) <= sizeof(struct pleat_memory_job), "struct pleat_memory_job is too small");

static struct job *job_of(struct pleat_memory_job *job)
{
    return (struct job *)(void *)job;
}

/* False for what isn't whole frames, or wraps. */
static bool to_frames(struct pleat *pleat, uint64_t address, uint64_t bytes, uint64_t *pfn, uint64_t *frames)
{
    unsigned shift = pleat_frame_shift(pleat);
    uint64_t mask = ((uint64_t)1 << shift) - 1;

    *pfn = address >> shift;
    *frames = bytes >> shift;
    return bytes && !((address | bytes) & mask) && address + bytes - 1 >= address;
}

/* --- how the frames of a driver's range go online and offline ------------------------------------------ */

struct give_context {
    struct pleat *pleat;
    struct pleat_online *online;
};

static void give_piece(void *context, uint64_t address, uint64_t bytes)
{
    struct give_context *give = context;
    uint64_t pfn, frames;

    if (to_frames(give->pleat, address, bytes, &pfn, &frames))
        pleat_online_give(give->online, pfn, frames);
}

static void owner_online(struct pleat *pleat, void *context, uint64_t start_pfn, uint64_t frames,
                         struct pleat_online *online)
{
    const struct pleat_memory_owner *owner = context;
    unsigned shift = pleat_frame_shift(pleat);
    struct give_context give = {.pleat = pleat, .online = online};

    if (owner->online)
        owner->online(owner->context, start_pfn << shift, frames << shift, give_piece, &give);
    else
        pleat_online_give(online, start_pfn, frames);
}

static void owner_offline(struct pleat *pleat, void *context, uint64_t start_pfn, uint64_t frames)
{
    const struct pleat_memory_owner *owner = context;
    unsigned shift = pleat_frame_shift(pleat);

    if (owner->offline)
        owner->offline(owner->context, start_pfn << shift, frames << shift);
}

static const struct pleat_range_ops owner_ops = {.online_frames = owner_online,
                                                 .offline_frames = owner_offline};

/* --- operations ---------------------------------------------------------------------------------------- */

static int memory_add(void *context, const struct pleat_memory_range *range)
{
    struct pleat_range_config config = {.name = range->name,
                                        .owner = range->owner,
                                        .ops = &owner_ops,
                                        /* The core hands it back, and never writes through it. */
                                        .context = (void *)(uintptr_t)range->owner,
                                        .node = range->node,
                                        .memmap_mode = range->memmap_mode,
                                        .flags = range->flags,
                                        .force_zone = range->force_zone};

    if (!range->owner || !range->owner->context ||
        !to_frames(context, range->address, range->bytes, &config.start_pfn, &config.frames))
        return PLEAT_E_INVALID;
    return pleat_add(context, &config);
}

static int memory_remove(void *context, const struct pleat_memory_owner *owner, uint64_t address,
                         uint64_t bytes)
{
    uint64_t pfn, frames;

    if (!to_frames(context, address, bytes, &pfn, &frames))
        return PLEAT_E_INVALID;
    return pleat_remove(context, owner, pfn, frames);
}

static int memory_take_begin(void *context, struct pleat_memory_job *storage,
                             const struct pleat_memory_owner *owner, enum pleat_take_kind kind,
                             uint64_t address, uint64_t bytes, uint64_t deadline_ns)
{
    struct job *job = job_of(storage);
    struct pleat_take_config config = {.goal = kind == PLEAT_TAKE_BLOCKS ? PLEAT_TAKE_TO_REMOVED
                                                                         : PLEAT_TAKE_TO_FAKE_OFFLINE,
                                       .owner = owner,
                                       .deadline_ns = deadline_ns};

    *job = (struct job){0};
    if (!owner || (unsigned)kind > PLEAT_TAKE_BLOCKS ||
        !to_frames(context, address, bytes, &config.start_pfn, &config.frames))
        return PLEAT_E_INVALID;
    config.leaving_pfn = owner->leaving_address >> pleat_frame_shift(context);
    config.leaving_frames = owner->leaving_bytes >> pleat_frame_shift(context);
    job->frames = config.frames;
    return pleat_take_begin(context, &job->take, &config);
}

static int memory_take_step(void *context, struct pleat_memory_job *storage, uint64_t budget_bytes)
{
    return pleat_take_step(context, &job_of(storage)->take, budget_bytes >> pleat_frame_shift(context));
}

static void memory_take_cancel(void *context, struct pleat_memory_job *storage)
{
    pleat_take_cancel(context, &job_of(storage)->take);
}

static void memory_take_report(void *context, const struct pleat_memory_job *storage,
                               struct pleat_memory_report *report)
{
    const struct job *job = (const struct job *)(const void *)storage;
    unsigned shift = pleat_frame_shift(context);
    struct pleat_look look;
    uint64_t moved;
    const char *name;

    pleat_take_report(&job->take, &moved, &look);
    *report = (struct pleat_memory_report){.bytes_total = job->frames << shift,
                                           .bytes_moved = moved << shift,
                                           .bytes_unmovable = look.unmovable << shift,
                                           .bytes_pinned = look.pinned << shift,
                                           .obstacle_address = look.first_obstacle_pfn << shift};
    if (!look.unmovable && !look.pinned)
        return;
    name = pleat_owner_name(context, look.first_obstacle_owner);
    for (unsigned i = 0; name[i] && i + 1 < sizeof(report->obstacle_owner); i++)
        report->obstacle_owner[i] = name[i];
}

static int memory_give(void *context, const struct pleat_memory_owner *owner, uint64_t address,
                       uint64_t bytes)
{
    uint64_t pfn, frames;

    if (!to_frames(context, address, bytes, &pfn, &frames))
        return PLEAT_E_INVALID;
    return pleat_give(context, owner, pfn, frames);
}

static int memory_withhold(void *context, const struct pleat_memory_owner *owner, uint64_t bytes,
                           uint64_t *address)
{
    uint64_t pfn, frames;
    int64_t first;

    if (!to_frames(context, 0, bytes, &pfn, &frames))
        return PLEAT_E_INVALID;
    first = pleat_withhold(context, owner, frames);
    if (first < 0)
        return (int)first;
    *address = (uint64_t)first << pleat_frame_shift(context);
    return PLEAT_OK;
}

static int memory_map(void *context, uint64_t address, uint64_t bytes)
{
    const struct pleat_port *port = &core_of(context)->port;
    uint64_t pfn, frames;

    if (!to_frames(context, address, bytes, &pfn, &frames))
        return PLEAT_E_INVALID;
    return port->map ? port->map(port->context, pfn, frames) : PLEAT_OK;
}

static void memory_unmap(void *context, uint64_t address, uint64_t bytes)
{
    const struct pleat_port *port = &core_of(context)->port;
    uint64_t pfn, frames;

    if (port->unmap && to_frames(context, address, bytes, &pfn, &frames))
        port->unmap(port->context, pfn, frames);
}

static enum pleat_block_state memory_block_state(void *context, uint64_t address)
{
    struct core *core = core_of(context);
    enum pleat_block_state state = PLEAT_BLOCK_NONE;
    struct block *block;

    hotplug_lock(core);
    block = block_of(core, address >> core->frame_shift);
    if (block)
        state = block_state(block);
    hotplug_unlock(core);
    return state;
}

static int memory_look(void *context, uint64_t address, uint64_t bytes, struct pleat_memory_look *look)
{
    unsigned shift = pleat_frame_shift(context);
    struct pleat_look frames_look;
    uint64_t pfn, frames;
    int error = PLEAT_E_INVALID;

    if (to_frames(context, address, bytes, &pfn, &frames))
        error = pleat_look(context, pfn, frames, &frames_look);
    if (error)
        return error;
    look->free_bytes = frames_look.free << shift;
    look->movable_bytes = frames_look.movable << shift;
    look->unmovable_bytes = frames_look.unmovable << shift;
    look->withheld_bytes = (frames_look.memmap + frames_look.fake_offline + frames_look.absent) << shift;
    return PLEAT_OK;
}

static uint64_t memory_free_bytes(void *context)
{
    return pleat_free_frames(context) << pleat_frame_shift(context);
}

static uint64_t memory_clock(void *context)
{
    const struct pleat_port *port = &core_of(context)->port;

    return port->clock_ns(port->context);
}

static void memory_log(void *context, int level, const char *line)
{
    core_log(core_of(context), (enum pleat_log_level)level, line);
}

#define OPERATIONS(CLOCK)                                                                                    \
    {                                                                                                        \
        .add = memory_add, .remove = memory_remove, .take_begin = memory_take_begin,                         \
        .take_step = memory_take_step, .take_cancel = memory_take_cancel, .take_report = memory_take_report, \
        .give = memory_give, .withhold = memory_withhold, .map = memory_map, .unmap = memory_unmap,          \
        .block_state = memory_block_state, .look = memory_look, .free_bytes = memory_free_bytes,             \
        .clock_ns = (CLOCK), .log = memory_log                                                               \
    }

void pleat_memory_init(struct pleat *pleat, struct pleat_memory *memory)
{
    static const struct pleat_memory_ops with_clock = OPERATIONS(memory_clock);
    static const struct pleat_memory_ops without_clock = OPERATIONS(NULL);
    struct core *core = core_of(pleat);

    *memory = (struct pleat_memory){.ops = core->port.clock_ns ? &with_clock : &without_clock,
                                    .context = pleat,
                                    .block_bytes = block_frames(core) << core->frame_shift,
                                    .piece_bytes = (uint64_t)FRAMES << core->frame_shift,
                                    .metadata_bytes = core->memmap_frames << core->frame_shift,
                                    .highest_address = core->highest_pfn << core->frame_shift,
                                    .nodes = core->node_count,
                                    .frame_bytes = (uint64_t)1 << core->frame_shift};
}
