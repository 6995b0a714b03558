/* SPDX-License-Identifier: MIT
 *
 * The core, made ready for replay. Its memory is a mapping of its own, of huge pages where the host has
 * them, as a kernel maps the memory that it manages.
 */
#include "machine/replay_core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <pleat/hosted.h>

#include "machine/options.h"

struct pleat_replay_core {
    struct pleat pleat;
    struct pleat_hosted *hosted;
    void *memory;
    uint64_t frames;
    bool zones;
    /* The owner's part of the tag of every block. */
    pleat_tag tag;
    /* For each pageblock, whether the core keeps something of its own in it. */
    bool *left_out;
    struct pleat_message *said;
};

/* Nobody takes memory back during a replay; if somebody did, the frames would be pinned. */
static int isolate(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    (void)context;
    (void)pfn;
    (void)order;
    (void)cookie;
    return PLEAT_E_BUSY;
}

static int migrate(void *context, uint64_t from_pfn, uint64_t to_pfn, unsigned order, uint64_t cookie)
{
    (void)to_pfn;
    return isolate(context, from_pfn, order, cookie);
}

static void putback(void *context, uint64_t pfn, unsigned order, uint64_t cookie)
{
    (void)isolate(context, pfn, order, cookie);
}

static const struct pleat_owner_ops owner_ops = {isolate, migrate, putback};

/* What the core says while it is made is the reason for an error. */
static void hear(void *context, enum pleat_log_level level, const char *line)
{
    struct pleat_replay_core *core = context;
    if (core->said && level == PLEAT_LOG_ERROR)
        snprintf(core->said->text, sizeof(core->said->text), "%s", line);
}

static int look_at(struct pleat_replay_core *core, uint64_t pageblock, struct pleat_look *look)
{
    return pleat_look(&core->pleat, pageblock * PLEAT_PAGEBLOCK_FRAMES, PLEAT_PAGEBLOCK_FRAMES, look);
}

static int make_core(struct pleat_replay_core *core)
{
    const struct pleat_boot_span whole = {.start_pfn = 0, .frames = core->frames};
    struct pleat_config config = {
        .port = pleat_hosted_port(core->hosted), .cpus = 1, .highest_pfn = core->frames};
    if (core->zones) {
        /* The first memory block, because a block is of one zone. */
        config.dma_end_pfn = (128 << 20) / 4096;
        config.dma32_end_pfn = ((uint64_t)4 << 30) / 4096;
    }
    memset(&core->pleat, 0, sizeof(core->pleat));
    pleat_hosted_cpu_set(0);
    int error = pleat_init(&core->pleat, &config, &whole, 1);
    int owner = error ? error : pleat_owner_register(&core->pleat, "replay", &owner_ops, core);
    if (owner < 0)
        return owner;
    core->tag = pleat_tag_make((unsigned)owner, 0);
    for (uint64_t i = 0; i < core->frames / PLEAT_PAGEBLOCK_FRAMES; i++) {
        struct pleat_look look;
        error = look_at(core, i, &look);
        if (error)
            return error;
        core->left_out[i] = look.free != PLEAT_PAGEBLOCK_FRAMES;
    }
    return PLEAT_OK;
}

int pleat_replay_core_reset(struct pleat_replay_core *core, struct pleat_message *message)
{
    struct pleat_message said = {""};
    core->said = &said;
    int error = make_core(core);
    core->said = NULL;
    if (error)
        return pleat_message_set(message, error, "the core can't be made: %s",
                                 said.text[0] ? said.text : pleat_error_text(error));
    return PLEAT_OK;
}

/* Takes the addresses, the port and the table of pageblocks. */
static int take_resources(struct pleat_replay_core *core)
{
    size_t bytes = (size_t)core->frames * 4096;
    core->memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (core->memory == MAP_FAILED) {
        core->memory = NULL;
        return PLEAT_E_NO_MEMORY;
    }
    (void)madvise(core->memory, bytes, MADV_HUGEPAGE);
    core->left_out = calloc((size_t)(core->frames / PLEAT_PAGEBLOCK_FRAMES), sizeof(*core->left_out));
    if (!core->left_out)
        return PLEAT_E_NO_MEMORY;
    const struct pleat_hosted_config config = {
        .frames = core->frames, .memory = core->memory, .accessible = true, .log = hear, .context = core};
    return pleat_hosted_create(&core->hosted, &config);
}

int pleat_replay_core_create(struct pleat_replay_core **core, uint64_t memory_bytes, bool zones,
                             struct pleat_message *message)
{
    const uint64_t pageblock_bytes = (uint64_t)PLEAT_PAGEBLOCK_FRAMES * 4096;
    *core = NULL;
    if (memory_bytes < PLEAT_REPLAY_CORE_BYTES_MIN || memory_bytes > PLEAT_REPLAY_CORE_BYTES_MAX ||
        memory_bytes % pageblock_bytes) {
        char size[32];
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "the memory is %s, expected 4M to 1T in multiples of 2M",
                                 pleat_format_size(size, memory_bytes));
    }
    struct pleat_replay_core *made = calloc(1, sizeof(*made));
    if (!made)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "no memory for the core");
    made->frames = memory_bytes / 4096;
    made->zones = zones;
    int error = take_resources(made);
    if (error)
        pleat_message_set(message, error, "no addresses or memory for the guest: %s",
                          pleat_error_text(error));
    else
        error = pleat_replay_core_reset(made, message);
    if (error)
        pleat_replay_core_destroy(made);
    else
        *core = made;
    return error;
}

void pleat_replay_core_destroy(struct pleat_replay_core *core)
{
    if (!core)
        return;
    pleat_hosted_destroy(core->hosted);
    if (core->memory)
        munmap(core->memory, (size_t)core->frames * 4096);
    free(core->left_out);
    free(core);
}

struct pleat *pleat_replay_core_pleat(struct pleat_replay_core *core)
{
    return &core->pleat;
}

static int64_t core_alloc(void *context, unsigned order, unsigned flags, uint32_t slot)
{
    struct pleat_replay_core *core = context;
    return pleat_alloc(&core->pleat, order, flags, core->tag | pleat_tag_make(0, slot));
}

static int core_free(void *context, uint64_t pfn, unsigned order)
{
    struct pleat_replay_core *core = context;
    return pleat_free(&core->pleat, pfn, order);
}

void pleat_replay_core_run(struct pleat_replay_core *core, struct pleat_replay *replay, size_t first,
                           size_t end, struct pleat_replay_result *result)
{
    const struct pleat_replay_allocator allocator = {core, core_alloc, core_free};
    pleat_hosted_cpu_set(0);
    pleat_replay_run(replay, &allocator, first, end, result);
}

uint64_t pleat_replay_core_release(struct pleat_replay_core *core, struct pleat_replay *replay, size_t count)
{
    const struct pleat_replay_allocator allocator = {core, core_alloc, core_free};
    pleat_hosted_cpu_set(0);
    return pleat_replay_release(replay, &allocator, count);
}

int pleat_replay_core_placement(struct pleat_replay_core *core, struct pleat_replay_placement *placement)
{
    struct pleat_replay_placement sum = {0};
    pleat_drain(&core->pleat);
    for (uint64_t i = 0; i < core->frames / PLEAT_PAGEBLOCK_FRAMES; i++) {
        struct pleat_look look;
        int error = look_at(core, i, &look);
        if (error)
            return error;
        if (core->left_out[i]) {
            sum.left_out_pageblocks++;
            continue;
        }
        sum.free_frames += look.free;
        sum.free_pageblocks += look.free == PLEAT_PAGEBLOCK_FRAMES;
    }
    sum.possible_pageblocks = sum.free_frames / PLEAT_PAGEBLOCK_FRAMES;
    *placement = sum;
    return PLEAT_OK;
}
