/* SPDX-License-Identifier: MIT
 *
 * The model memory: every operation in its plainest form.
 */
#include "tests/support/model_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/must.h"

/* --- Places -------------------------------------------------------------------------------------------- */

static uint64_t frame_at(const struct model_memory *model, uint64_t address)
{
    return (address - model->address) / MODEL_FRAME_BYTES;
}

static uint64_t address_of(const struct model_memory *model, uint64_t frame)
{
    return model->address + frame * MODEL_FRAME_BYTES;
}

static struct model_block *block_at(const struct model_memory *model, uint64_t address)
{
    return &model->block[(address - model->address) / model->memory.block_bytes];
}

static uint64_t pieces(const struct model_memory *model)
{
    return model->frames * MODEL_FRAME_BYTES / model->memory.piece_bytes;
}

static uint64_t piece_at(const struct model_memory *model, uint64_t address)
{
    return (address - model->address) / model->memory.piece_bytes;
}

static bool is_inside(const struct model_memory *model, uint64_t address, uint64_t bytes)
{
    return address >= model->address && bytes > 0 &&
           address - model->address + bytes <= model->frames * MODEL_FRAME_BYTES;
}

static void must_be_pieces(const struct model_memory *model, uint64_t address, uint64_t bytes)
{
    MUST(is_inside(model, address, bytes), "0x%lx + 0x%lx is outside", address, bytes);
    MUST(address % model->memory.piece_bytes == 0 && bytes % model->memory.piece_bytes == 0,
         "0x%lx + 0x%lx isn't aligned to pieces", address, bytes);
}

/* Where boot memory is there, a balloon is tested, and it gives single frames. */
static void must_be_given(const struct model_memory *model, uint64_t address, uint64_t bytes)
{
    if (model->boot_bytes == 0) {
        must_be_pieces(model, address, bytes);
        return;
    }
    MUST(is_inside(model, address, bytes) && (address | bytes) % MODEL_FRAME_BYTES == 0,
         "0x%lx + 0x%lx aren't frames", address, bytes);
}

static bool all_mapped(const struct model_memory *model, uint64_t address, uint64_t bytes)
{
    const uint64_t last = piece_at(model, address + bytes - 1);
    for (uint64_t piece = piece_at(model, address); piece <= last; piece++) {
        if (!model->mapped[piece]) {
            return false;
        }
    }
    return true;
}

/* By the take in progress. */
static bool is_isolated(const struct model_memory *model, uint64_t address)
{
    return address >= model->isolated_address && address - model->isolated_address < model->isolated_bytes;
}

static bool is_in_use(uint8_t frame)
{
    return frame >= MODEL_FREE || frame == MODEL_METADATA;
}

static int injected(struct model_memory *model, enum model_call call)
{
    model->calls[call]++;
    if (model->times[call] == 0) {
        return 0;
    }
    if (model->after[call] > 0) {
        model->after[call]--;
        return 0;
    }
    model->times[call]--;
    return model->error[call];
}

void model_fail(struct model_memory *model, enum model_call call, int error, unsigned after, unsigned times)
{
    model->error[call] = error;
    model->after[call] = after;
    model->times[call] = times;
}

/* --- Add, online, remove ------------------------------------------------------------------------------- */

struct giving {
    struct model_memory *model;
    uint64_t address; /* the block */
};

static void give_online(void *context, uint64_t address, uint64_t bytes)
{
    const struct giving *giving = context;
    struct model_memory *model = giving->model;
    must_be_given(model, address, bytes);
    MUST(address >= giving->address && address + bytes <= giving->address + model->memory.block_bytes,
         "given outside of the block that goes online");
    MUST(all_mapped(model, address, bytes), "0x%lx + 0x%lx given and not mapped", address, bytes);
    for (uint64_t i = 0; i < bytes / MODEL_FRAME_BYTES; i++) {
        uint8_t *frame = &model->frame[frame_at(model, address) + i];
        MUST(*frame == MODEL_WITHHELD || *frame == MODEL_METADATA, "given twice at online");
        if (*frame == MODEL_WITHHELD) {
            *frame = MODEL_FREE;
        }
    }
}

int model_online(struct model_memory *model, uint64_t address)
{
    struct model_block *block = block_at(model, address);
    if (!is_inside(model, address, 1) || block->state == PLEAT_BLOCK_NONE) {
        return PLEAT_E_NOT_FOUND;
    }
    if (block->state != PLEAT_BLOCK_OFFLINE) {
        return PLEAT_E_STATE;
    }
    struct giving giving = {model, address};
    block->state = PLEAT_BLOCK_GOING_ONLINE;
    block->owner->online(block->owner->context, address, model->memory.block_bytes, give_online, &giving);
    block->state = PLEAT_BLOCK_ONLINE;
    return 0;
}

/* A frame that is withheld already may be on its way to the host, which looks at it without a lock; it
 * isn't written again. */
static void withhold(struct model_memory *model, uint64_t address, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes / MODEL_FRAME_BYTES; i++) {
        uint8_t *frame = &model->frame[frame_at(model, address) + i];
        if (*frame != MODEL_METADATA && *frame != MODEL_WITHHELD) {
            *frame = MODEL_WITHHELD;
        }
    }
}

static uint64_t count_in(const struct model_memory *model, uint64_t address, uint64_t bytes,
                         enum model_frame state)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < bytes / MODEL_FRAME_BYTES; i++) {
        count += model->frame[frame_at(model, address) + i] == state;
    }
    return count;
}

uint64_t model_bytes(const struct model_memory *model, uint64_t address, uint64_t bytes,
                     enum model_frame state)
{
    return count_in(model, address, bytes, state) * MODEL_FRAME_BYTES;
}

int model_offline(struct model_memory *model, uint64_t address)
{
    struct model_block *block = block_at(model, address);
    const uint64_t bytes = model->memory.block_bytes;
    if (!is_inside(model, address, 1) || block->state == PLEAT_BLOCK_NONE) {
        return PLEAT_E_NOT_FOUND;
    }
    if (block->state != PLEAT_BLOCK_ONLINE) {
        return PLEAT_E_STATE;
    }
    if (model->isolated_bytes > 0) {
        return PLEAT_E_BUSY;
    }
    if (count_in(model, address, bytes, MODEL_MOVABLE) + count_in(model, address, bytes, MODEL_UNMOVABLE) +
            count_in(model, address, bytes, MODEL_PINNED) >
        0) {
        return PLEAT_E_UNMOVABLE;
    }
    withhold(model, address, bytes);
    block->state = PLEAT_BLOCK_OFFLINE;
    if (block->owner->offline != NULL) {
        block->owner->offline(block->owner->context, address, bytes);
    }
    return 0;
}

enum pleat_block_state model_state(const struct model_memory *model, uint64_t address)
{
    return is_inside(model, address, 1) ? block_at(model, address)->state : PLEAT_BLOCK_NONE;
}

static void add_block(struct model_memory *model, const struct pleat_memory_range *range, uint64_t address)
{
    const uint64_t metadata = model->memory.metadata_bytes;
    MUST(metadata == 0 || range->memmap_mode != PLEAT_MEMMAP_BLOCK || all_mapped(model, address, metadata),
         "block 0x%lx added, and its metadata isn't mapped", address);
    for (uint64_t i = 0; i < model->memory.block_bytes / MODEL_FRAME_BYTES; i++) {
        const bool is_metadata = range->memmap_mode == PLEAT_MEMMAP_BLOCK && i * MODEL_FRAME_BYTES < metadata;
        model->frame[frame_at(model, address) + i] = is_metadata ? MODEL_METADATA : MODEL_WITHHELD;
        if (is_metadata) {
            model->dirty[frame_at(model, address) + i] = false;
        }
    }
    *block_at(model, address) =
        (struct model_block){.state = PLEAT_BLOCK_OFFLINE, .owner = range->owner, .node = range->node};
}

static int model_add(void *context, const struct pleat_memory_range *range)
{
    struct model_memory *model = context;
    const uint64_t block_bytes = model->memory.block_bytes;
    const int error = injected(model, MODEL_ADD);
    MUST(is_inside(model, range->address, range->bytes) && range->address % block_bytes == 0 &&
             range->bytes % block_bytes == 0,
         "add of 0x%lx + 0x%lx", range->address, range->bytes);
    MUST(range->owner != NULL && range->owner->context != NULL && range->name != NULL, "add of nobody");
    if (error < 0) {
        return error;
    }
    for (uint64_t at = range->address; at < range->address + range->bytes; at += block_bytes) {
        MUST(block_at(model, at)->state == PLEAT_BLOCK_NONE, "block 0x%lx added twice", at);
    }
    for (uint64_t at = range->address; at < range->address + range->bytes; at += block_bytes) {
        add_block(model, range, at);
        if (model->online_on_add || (range->flags & PLEAT_ADD_FORCE_ONLINE) != 0) {
            (void)model_online(model, at);
        }
    }
    return 0;
}

static void remove_block(struct model_memory *model, uint64_t address)
{
    for (uint64_t i = 0; i < model->memory.block_bytes / MODEL_FRAME_BYTES; i++) {
        model->frame[frame_at(model, address) + i] = MODEL_NONE;
    }
    *block_at(model, address) = (struct model_block){.state = PLEAT_BLOCK_NONE};
}

static int model_remove(void *context, const struct pleat_memory_owner *owner, uint64_t address,
                        uint64_t bytes)
{
    struct model_memory *model = context;
    const uint64_t block_bytes = model->memory.block_bytes;
    const int error = injected(model, MODEL_REMOVE);
    MUST(is_inside(model, address, bytes) && address % block_bytes == 0 && bytes % block_bytes == 0,
         "remove of 0x%lx + 0x%lx", address, bytes);
    if (error < 0) {
        return error;
    }
    for (uint64_t at = address; at < address + bytes; at += block_bytes) {
        MUST(block_at(model, at)->state != PLEAT_BLOCK_NONE, "remove of 0x%lx, which isn't added", at);
        MUST(block_at(model, at)->owner == owner, "remove by somebody else");
        if (block_at(model, at)->state != PLEAT_BLOCK_OFFLINE) {
            return PLEAT_E_STATE;
        }
    }
    for (uint64_t at = address; at < address + bytes; at += block_bytes) {
        remove_block(model, at);
    }
    return 0;
}

/* --- Give, map, unmap ---------------------------------------------------------------------------------- */

static int model_give(void *context, const struct pleat_memory_owner *owner, uint64_t address, uint64_t bytes)
{
    struct model_memory *model = context;
    const int error = injected(model, MODEL_GIVE);
    must_be_given(model, address, bytes);
    MUST(block_at(model, address) == block_at(model, address + bytes - 1), "give over two blocks");
    MUST(all_mapped(model, address, bytes), "give of memory that isn't mapped");
    if (error < 0) {
        return error;
    }
    if (block_at(model, address)->state == PLEAT_BLOCK_NONE) {
        return PLEAT_E_NOT_FOUND;
    }
    MUST(block_at(model, address)->owner == owner, "give by somebody else");
    if (block_at(model, address)->state != PLEAT_BLOCK_ONLINE ||
        count_in(model, address, bytes, MODEL_WITHHELD) * MODEL_FRAME_BYTES != bytes) {
        return PLEAT_E_STATE;
    }
    memset(&model->frame[frame_at(model, address)], MODEL_FREE, bytes / MODEL_FRAME_BYTES);
    return 0;
}

static bool may_withhold(const struct model_memory *model, const struct pleat_memory_owner *owner,
                         uint64_t first, uint64_t frames)
{
    const uint64_t at = address_of(model, first);
    const struct model_block *block = block_at(model, at);
    return model->frame[first] == MODEL_FREE && block->state == PLEAT_BLOCK_ONLINE &&
           (block->owner == NULL || block->owner == owner) &&
           count_in(model, at, frames * MODEL_FRAME_BYTES, MODEL_FREE) == frames;
}

/* From the last one down, or from where one was found before; boot memory is nobody's. */
static int model_withhold(void *context, const struct pleat_memory_owner *owner, uint64_t bytes,
                          uint64_t *address)
{
    struct model_memory *model = context;
    const uint64_t frames = bytes / MODEL_FRAME_BYTES;
    const uint64_t places = model->frames / frames;
    const int error = injected(model, MODEL_WITHHOLD);
    MUST(bytes == MODEL_FRAME_BYTES || bytes == model->memory.piece_bytes, "0x%lx bytes withheld", bytes);
    if (error < 0) {
        return error;
    }
    for (uint64_t i = 0; i < places; i++) {
        const uint64_t first = (model->withheld_last / frames + places - 1 - i) % places * frames;
        if (may_withhold(model, owner, first, frames)) {
            memset(&model->frame[first], MODEL_WITHHELD, frames);
            model->withheld_last = first;
            *address = address_of(model, first);
            return 0;
        }
    }
    return PLEAT_E_NO_MEMORY;
}

static int model_map(void *context, uint64_t address, uint64_t bytes)
{
    struct model_memory *model = context;
    const int error = injected(model, MODEL_MAP);
    must_be_pieces(model, address, bytes);
    MUST(model->is_plugged(model->context, address, bytes), "map of 0x%lx + 0x%lx, which isn't plugged",
         address, bytes);
    if (error < 0) {
        return error;
    }
    for (uint64_t at = address; at < address + bytes; at += model->memory.piece_bytes) {
        MUST(!model->mapped[piece_at(model, at)], "0x%lx mapped twice", at);
        model->mapped[piece_at(model, at)] = true;
    }
    return 0;
}

static void model_unmap(void *context, uint64_t address, uint64_t bytes)
{
    struct model_memory *model = context;
    must_be_pieces(model, address, bytes);
    for (uint64_t i = 0; i < bytes / MODEL_FRAME_BYTES; i++) {
        MUST(!is_in_use(model->frame[frame_at(model, address) + i]), "unmap of 0x%lx, which is in use",
             address + i * MODEL_FRAME_BYTES);
    }
    for (uint64_t at = address; at < address + bytes; at += model->memory.piece_bytes) {
        MUST(model->mapped[piece_at(model, at)], "0x%lx unmapped twice", at);
        model->mapped[piece_at(model, at)] = false;
    }
}

/* --- Take ---------------------------------------------------------------------------------------------- */

/* Lies in the caller's pleat_memory_job. */
struct model_job {
    const struct pleat_memory_owner *owner;
    uint64_t kind;
    uint64_t address;
    uint64_t bytes;
    uint64_t deadline_ns;
    uint64_t at; /* the next frame to look at */
    uint64_t active;
    struct pleat_memory_report report;
};
_Static_assert(sizeof(struct model_job) <= sizeof(struct pleat_memory_job), "a job fits");

static struct model_job *job_of(struct pleat_memory_job *job)
{
    return (struct model_job *)(void *)job;
}

static void obstacle(struct model_memory *model, struct model_job *job, uint64_t frame)
{
    const bool pinned = model->frame[frame] == MODEL_PINNED;
    uint64_t *sum = pinned ? &job->report.bytes_pinned : &job->report.bytes_unmovable;
    if (job->report.bytes_pinned + job->report.bytes_unmovable == 0) {
        job->report.obstacle_address = address_of(model, frame);
        snprintf(job->report.obstacle_owner, sizeof(job->report.obstacle_owner), "%s",
                 pinned ? "pinner" : "slab");
    }
    *sum += MODEL_FRAME_BYTES;
}

static int check_blocks(struct model_memory *model, const struct model_job *job)
{
    const uint64_t block_bytes = model->memory.block_bytes;
    for (uint64_t at = job->address; at < job->address + job->bytes; at += block_bytes) {
        const struct model_block *block = block_at(model, at);
        if (block->state == PLEAT_BLOCK_NONE) {
            return PLEAT_E_NOT_FOUND;
        }
        MUST(block->owner == job->owner, "take by somebody else");
        if (block->state != PLEAT_BLOCK_ONLINE &&
            !(job->kind == PLEAT_TAKE_BLOCKS && block->state == PLEAT_BLOCK_OFFLINE)) {
            return PLEAT_E_STATE;
        }
    }
    return 0;
}

static int model_take_begin(void *context, struct pleat_memory_job *storage,
                            const struct pleat_memory_owner *owner, enum pleat_take_kind kind,
                            uint64_t address, uint64_t bytes, uint64_t deadline_ns)
{
    struct model_memory *model = context;
    struct model_job *job = job_of(storage);
    int error = injected(model, MODEL_TAKE_BEGIN);
    must_be_pieces(model, address, bytes);
    MUST(kind == PLEAT_TAKE_PIECE
             ? block_at(model, address) == block_at(model, address + bytes - 1)
             : address % model->memory.block_bytes == 0 && bytes % model->memory.block_bytes == 0,
         "take of 0x%lx + 0x%lx", address, bytes);
    *job = (struct model_job){.owner = owner,
                              .kind = kind,
                              .address = address,
                              .bytes = bytes,
                              .deadline_ns = deadline_ns,
                              .at = frame_at(model, address),
                              .report = {.bytes_total = bytes}};
    if (error == 0) {
        error = check_blocks(model, job);
    }
    if (error < 0) {
        return error;
    }
    MUST(kind != PLEAT_TAKE_PIECE || count_in(model, address, bytes, MODEL_METADATA) == 0,
         "a piece with metadata was to be taken");
    for (uint64_t i = 0; i < bytes / MODEL_FRAME_BYTES; i++) {
        if (model->frame[frame_at(model, address) + i] == MODEL_UNMOVABLE) {
            obstacle(model, job, frame_at(model, address) + i);
        }
    }
    if (job->report.bytes_unmovable > 0) {
        return PLEAT_E_UNMOVABLE;
    }
    job->active = true;
    model->leaving_address = owner->leaving_address;
    model->leaving_bytes = owner->leaving_bytes;
    model->isolated_address = address;
    model->isolated_bytes = bytes;
    return 0;
}

static bool is_in_job(const struct model_memory *model, const struct model_job *job, uint64_t frame)
{
    const uint64_t first = frame_at(model, job->address);
    return frame >= first && frame < first + job->bytes / MODEL_FRAME_BYTES;
}

static bool move_away(struct model_memory *model, const struct model_job *job)
{
    for (uint64_t frame = 0; frame < model->frames; frame++) {
        if (model->frame[frame] == MODEL_FREE && !is_in_job(model, job, frame)) {
            model->frame[frame] = MODEL_MOVABLE;
            model->moved_frames++;
            return true;
        }
    }
    if (model->elsewhere_free == 0) {
        return false;
    }
    model->elsewhere_free--;
    model->moved_frames++;
    return true;
}

static void finish_take(struct model_memory *model, const struct model_job *job)
{
    const uint64_t block_bytes = model->memory.block_bytes;
    withhold(model, job->address, job->bytes);
    if (job->kind == PLEAT_TAKE_PIECE) {
        return;
    }
    for (uint64_t at = job->address; at < job->address + job->bytes; at += block_bytes) {
        struct model_block *block = block_at(model, at);
        if (block->state == PLEAT_BLOCK_ONLINE) {
            block->state = PLEAT_BLOCK_OFFLINE;
            if (!model->forgets_offline) {
                block->owner->offline(block->owner->context, at, block_bytes);
            }
        }
        remove_block(model, at);
    }
}

static int step_frame(struct model_memory *model, struct model_job *job, uint64_t frame)
{
    switch (model->frame[frame]) {
    case MODEL_MOVABLE:
        if (!move_away(model, job)) {
            return PLEAT_E_NO_MEMORY;
        }
        model->frame[frame] = MODEL_FREE;
        job->report.bytes_moved += MODEL_FRAME_BYTES;
        return 0;
    case MODEL_UNMOVABLE:
    case MODEL_PINNED:
        obstacle(model, job, frame);
        return PLEAT_E_UNMOVABLE;
    default:
        return 0;
    }
}

static int model_take_step(void *context, struct pleat_memory_job *storage, uint64_t budget_bytes)
{
    struct model_memory *model = context;
    struct model_job *job = job_of(storage);
    MUST(job->active, "a step of no take");
    MUST(budget_bytes > 0, "a step without a budget");
    int error = injected(model, MODEL_TAKE_STEP);
    const uint64_t end = frame_at(model, job->address) + job->bytes / MODEL_FRAME_BYTES;
    model->clock_ns += model->tick_ns;
    if (error == 0 && job->deadline_ns != 0 && model->clock_ns >= job->deadline_ns) {
        error = PLEAT_E_TIMEOUT;
    }
    for (uint64_t spent = 0; error == 0 && job->at < end && spent < budget_bytes; job->at++) {
        error = step_frame(model, job, job->at);
        spent += MODEL_FRAME_BYTES;
        if (error == PLEAT_E_UNMOVABLE && model->pins_wait) {
            job->report.bytes_pinned = MODEL_FRAME_BYTES;
            return PLEAT_MORE;
        }
    }
    if (error == 0 && job->at < end) {
        return PLEAT_MORE;
    }
    job->active = false;
    model->isolated_bytes = 0;
    if (error == 0) {
        finish_take(model, job);
    }
    return error;
}

static void model_take_cancel(void *context, struct pleat_memory_job *storage)
{
    struct model_memory *model = context;
    MUST(job_of(storage)->active, "no take to cancel");
    model->isolated_bytes = 0;
    job_of(storage)->active = false;
}

static void model_take_report(void *context, const struct pleat_memory_job *storage,
                              struct pleat_memory_report *report)
{
    (void)context;
    *report = ((const struct model_job *)(const void *)storage)->report;
}

/* --- What there is ------------------------------------------------------------------------------------- */

static enum pleat_block_state model_block_state(void *context, uint64_t address)
{
    return model_state(context, address);
}

static int model_look(void *context, uint64_t address, uint64_t bytes, struct pleat_memory_look *look)
{
    struct model_memory *model = context;
    must_be_pieces(model, address, bytes);
    model->looks++;
    if (block_at(model, address)->state != PLEAT_BLOCK_ONLINE) {
        return PLEAT_E_NOT_FOUND;
    }
    *look = (struct pleat_memory_look){
        .free_bytes = model_bytes(model, address, bytes, MODEL_FREE),
        .movable_bytes = model_bytes(model, address, bytes, MODEL_MOVABLE) +
                         model_bytes(model, address, bytes, MODEL_PINNED),
        .unmovable_bytes = model_bytes(model, address, bytes, MODEL_UNMOVABLE),
        .withheld_bytes = model_bytes(model, address, bytes, MODEL_WITHHELD) +
                          model_bytes(model, address, bytes, MODEL_METADATA),
    };
    return 0;
}

static uint64_t model_free_bytes(void *context)
{
    const struct model_memory *model = context;
    return (model_count(model, MODEL_FREE) + model->elsewhere_free) * MODEL_FRAME_BYTES;
}

static uint64_t model_clock_ns(void *context)
{
    return ((struct model_memory *)context)->clock_ns;
}

static void model_log(void *context, int level, const char *line)
{
    struct model_memory *model = context;
    if (level <= 1) {
        snprintf(model->last_line, sizeof(model->last_line), "%s", line);
        model->lines++;
    }
    if (getenv("PLEAT_TEST_LOG") != NULL) {
        fprintf(stderr, "# %s\n", line);
    }
}

/* --- For tests ----------------------------------------------------------------------------------------- */

void model_memory_init(struct model_memory *model, const struct model_shape *shape)
{
    memset(model, 0, sizeof(*model));
    model->address = shape->address;
    model->frames = shape->bytes / MODEL_FRAME_BYTES;
    model->ops = (struct pleat_memory_ops){.add = model_add,
                                           .remove = model_remove,
                                           .take_begin = model_take_begin,
                                           .take_step = model_take_step,
                                           .take_cancel = model_take_cancel,
                                           .take_report = model_take_report,
                                           .give = model_give,
                                           .withhold = model_withhold,
                                           .map = model_map,
                                           .unmap = model_unmap,
                                           .block_state = model_block_state,
                                           .look = model_look,
                                           .free_bytes = model_free_bytes,
                                           .clock_ns = model_clock_ns,
                                           .log = model_log};
    model->memory = (struct pleat_memory){.ops = &model->ops,
                                          .context = model,
                                          .block_bytes = shape->block_bytes,
                                          .piece_bytes = shape->piece_bytes,
                                          .metadata_bytes = shape->metadata_bytes,
                                          .highest_address = shape->address + shape->bytes,
                                          .nodes = 2,
                                          .frame_bytes = MODEL_FRAME_BYTES};
    model->frame = calloc(model->frames, 1);
    model->dirty = calloc(model->frames, sizeof(bool));
    model->mapped = calloc(pieces(model), sizeof(bool));
    model->block = calloc(shape->bytes / shape->block_bytes, sizeof(struct model_block));
    MUST(model->frame != NULL && model->dirty != NULL && model->mapped != NULL && model->block != NULL,
         "out of memory");
    for (uint64_t i = 0; i < shape->bytes / shape->block_bytes; i++) {
        model->block[i].state = PLEAT_BLOCK_NONE;
    }
    model->elsewhere_free = 65536;
    model->online_on_add = true;
    model->clock_ns = 1000000000;
}

void model_boot(struct model_memory *model, uint64_t bytes)
{
    model->boot_bytes = bytes;
    for (uint64_t at = model->address; at < model->address + bytes; at += MODEL_FRAME_BYTES) {
        model->frame[frame_at(model, at)] = MODEL_FREE;
        model->mapped[piece_at(model, at)] = true;
        *block_at(model, at) = (struct model_block){.state = PLEAT_BLOCK_ONLINE};
    }
}

void model_memory_free(struct model_memory *model)
{
    free(model->frame);
    free(model->dirty);
    free(model->mapped);
    free(model->block);
}

void model_memory_check(const struct model_memory *model)
{
    for (uint64_t frame = 0; frame < model->frames; frame++) {
        const uint64_t address = address_of(model, frame);
        const bool mapped = model->mapped[piece_at(model, address)];
        MUST(!is_in_use(model->frame[frame]) || mapped, "0x%lx is in use and not mapped", address);
        MUST(model->frame[frame] != MODEL_METADATA || !model->dirty[frame],
             "0x%lx holds metadata that nobody has written since it was plugged", address);
        if (mapped && address % model->memory.piece_bytes == 0) {
            MUST(model->is_plugged(model->context, address, model->memory.piece_bytes),
                 "0x%lx is mapped and not plugged", address);
            MUST(block_at(model, address)->state != PLEAT_BLOCK_NONE, "0x%lx is mapped and not added",
                 address);
        }
    }
}

void model_memory_check_unused(const struct model_memory *model, uint64_t address, uint64_t bytes)
{
    for (uint64_t at = address; at < address + bytes; at += MODEL_FRAME_BYTES) {
        if (!is_inside(model, at, 1)) {
            continue;
        }
        MUST(!is_in_use(model->frame[frame_at(model, at)]), "0x%lx is to be unplugged and is in use", at);
        MUST(!model->mapped[piece_at(model, at)], "0x%lx is to be unplugged and is mapped", at);
    }
}

void model_memory_plugged(struct model_memory *model, uint64_t address, uint64_t bytes)
{
    for (uint64_t at = address; at < address + bytes; at += MODEL_FRAME_BYTES) {
        if (is_inside(model, at, 1)) {
            model->dirty[frame_at(model, at)] = true;
        }
    }
}

void model_use(struct model_memory *model, uint64_t address, uint64_t bytes, enum model_frame state)
{
    for (uint64_t i = 0; i < bytes / MODEL_FRAME_BYTES; i++) {
        uint8_t *frame = &model->frame[frame_at(model, address) + i];
        MUST(*frame >= MODEL_FREE, "0x%lx isn't the allocator's to use", address + i * MODEL_FRAME_BYTES);
        *frame = (uint8_t)state;
    }
}

uint64_t model_allocate(struct model_memory *model, uint64_t random, uint64_t frames, enum model_frame state)
{
    uint64_t done = 0;
    for (uint64_t i = 0; i < model->frames && done < frames; i++) {
        const uint64_t at = (random + i) % model->frames;
        uint8_t *frame = &model->frame[at];
        if (*frame == MODEL_FREE && !is_isolated(model, address_of(model, at))) {
            *frame = (uint8_t)state;
            done++;
        }
    }
    return done;
}

uint64_t model_release(struct model_memory *model, uint64_t random, uint64_t frames)
{
    uint64_t done = 0;
    for (uint64_t i = 0; i < model->frames && done < frames; i++) {
        uint8_t *frame = &model->frame[(random + i) % model->frames];
        if (*frame > MODEL_FREE) {
            *frame = MODEL_FREE;
            done++;
        }
    }
    return done;
}

uint64_t model_count(const struct model_memory *model, enum model_frame state)
{
    return count_in(model, model->address, model->frames * MODEL_FRAME_BYTES, state);
}
