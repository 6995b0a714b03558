/* SPDX-License-Identifier: MIT
 *
 * Making an instance from a boot map: checking the configuration, placing the tables and the boot blocks'
 * memmaps in free boot memory, putting the rest online.
 */
#include "bits.h"
#include "block.h"
#include "check.h"
#include "claims.h"
#include "cpu.h"
#include "index.h"
#include "text.h"

struct boot {
    struct core *core;
    const struct pleat_config *config;
    const struct pleat_boot_span *spans;
    unsigned span_count;
    /* Free frames used so far from the end of one span for each node; spans before it in the round are
     * full. */
    unsigned current[PLEAT_MAX_NODES];
    uint64_t used[PLEAT_MAX_NODES];
    unsigned passed[PLEAT_MAX_NODES]; /* spans given up in the round */
};

/* --- checking ------------------------------------------------------------------------------------------ */

static int refuse(const struct pleat_port *port, const char *what, uint64_t value, const char *expected)
{
    struct text text;

    text_begin(&text);
    text_add(&text, what);
    text_add(&text, " is ");
    text_number(&text, value);
    text_add(&text, "; expected ");
    text_add(&text, expected);
    if (port->log)
        port->log(port->context, PLEAT_LOG_ERROR, text.line);
    return PLEAT_E_INVALID;
}

static int check_config(const struct pleat_config *config)
{
    const struct pleat_port *port = config->port;
    unsigned nodes = config->nodes ? config->nodes : 1;

    if (!port || !port->frame_pointer)
        return PLEAT_E_INVALID;
    if (!config->cpus || config->cpus > PLEAT_MAX_CPUS)
        return refuse(port, "config.cpus", config->cpus, "1 to 256");
    if (nodes > PLEAT_MAX_NODES)
        return refuse(port, "config.nodes", nodes, "1 to 16");
    if (config->frame_shift && config->frame_shift != 12 && config->frame_shift != 14 &&
        config->frame_shift != 16)
        return refuse(port, "config.frame_shift", config->frame_shift, "12, 14 or 16");
    if (config->block_pageblocks > 64 || (config->block_pageblocks & (config->block_pageblocks - 1)))
        return refuse(port, "config.block_pageblocks", config->block_pageblocks, "a power of two, 1 to 64");
    if (config->owner_bytes && config->owner_bytes != 8 && config->owner_bytes != 16 &&
        config->owner_bytes != PLEAT_NO_OWNER_WORD)
        return refuse(port, "config.owner_bytes", config->owner_bytes, "8, 16 or PLEAT_NO_OWNER_WORD");
    if (!config->highest_pfn || config->highest_pfn >> 44)
        return refuse(port, "config.highest_pfn", config->highest_pfn, "1 to 2^44 - 1");
    if ((unsigned)config->policy > PLEAT_POLICY_PREFER_MOVABLE)
        return refuse(port, "config.policy", (unsigned)config->policy, "one of enum pleat_online_policy");
    for (unsigned i = 0; config->cpu_node && i < config->cpus; i++) {
        if (config->cpu_node[i] >= nodes)
            return refuse(port, "config.cpu_node", config->cpu_node[i], "less than config.nodes");
    }
    return PLEAT_OK;
}

static int check_spans(const struct pleat_config *config, const struct pleat_boot_span *spans, unsigned count)
{
    unsigned nodes = config->nodes ? config->nodes : 1;
    uint64_t end = 0;

    for (unsigned i = 0; i < count; i++) {
        const struct pleat_boot_span *span = &spans[i];

        if (span->start_pfn < end)
            return refuse(config->port, "start_pfn of a boot span", span->start_pfn,
                          "spans sorted by start, without overlap");
        if (!span->frames || span->start_pfn >= config->highest_pfn ||
            span->frames > config->highest_pfn - span->start_pfn)
            return refuse(config->port, "the size in frames of a boot span", span->frames,
                          "more than 0, and an end at or below config.highest_pfn");
        if (span->node >= nodes)
            return refuse(config->port, "node of a boot span", span->node, "less than config.nodes");
        if ((unsigned)span->use > PLEAT_BOOT_IN_USE)
            return refuse(config->port, "use of a boot span", (unsigned)span->use,
                          "one of enum pleat_boot_use");
        end = span->start_pfn + span->frames;
    }
    return count ? PLEAT_OK : refuse(config->port, "the count of boot spans", 0, "at least one");
}

/* --- placing metadata ---------------------------------------------------------------------------------- */

static bool span_is_usable(const struct boot *boot, unsigned at, unsigned node)
{
    const struct pleat_boot_span *span = &boot->spans[at];

    return span->node == node && span->use == PLEAT_BOOT_FREE;
}

/* The cursors begin in each node's largest free span: what is scarce and low stays free. */
static void place_begin(struct boot *boot)
{
    for (unsigned node = 0; node < boot->core->node_count; node++) {
        uint64_t largest = 0;

        boot->current[node] = 0;
        boot->used[node] = 0;
        boot->passed[node] = 0;
        for (unsigned i = 0; i < boot->span_count; i++) {
            if (span_is_usable(boot, i, node) && boot->spans[i].frames > largest) {
                largest = boot->spans[i].frames;
                boot->current[node] = i;
            }
        }
    }
}

static int64_t place_on_node(struct boot *boot, unsigned node, uint64_t frames)
{
    while (boot->passed[node] < boot->span_count) {
        unsigned at = boot->current[node];
        const struct pleat_boot_span *span = &boot->spans[at];

        /* From its upper end: low addresses are scarce. */
        if (span_is_usable(boot, at, node) && span->frames >= boot->used[node] + frames) {
            boot->used[node] += frames;
            return (int64_t)(span->start_pfn + span->frames - boot->used[node]);
        }
        boot->current[node] = (at + 1) % boot->span_count;
        boot->used[node] = 0;
        boot->passed[node]++;
    }
    return PLEAT_E_NO_MEMORY;
}

static int64_t place(struct boot *boot, unsigned node, uint64_t frames)
{
    int64_t pfn = place_on_node(boot, node, frames);

    for (unsigned i = 0; pfn < 0 && i < boot->core->node_count; i++)
        pfn = place_on_node(boot, i, frames);
    return pfn;
}

/* --- tables --------------------------------------------------------------------------------------------- */

/* Hands out pieces of the tables; with base NULL it only adds up their size. */
struct tables {
    unsigned char *base;
    uint64_t used;
};

static void *table(struct tables *tables, uint64_t bytes, uint64_t alignment)
{
    unsigned char *piece;

    tables->used = (tables->used + alignment - 1) / alignment * alignment;
    piece = tables->base ? tables->base + tables->used : NULL;
    tables->used += bytes;
    return piece;
}

/* `nodes`: where the range tree's nodes for the boot map are. */
static void lay_tables(struct core *core, struct tables *tables, unsigned spans,
                       struct pleat_resource **nodes)
{
    uint64_t zones = (uint64_t)core->node_count * PLEAT_ZONE_KINDS;
    uint64_t leaf = (core->block_count + 63) / 64;

    core->cpus = table(tables, core->cpu_count * sizeof(struct cpu), alignof(struct cpu));
    core->directory = table(tables, core->block_count * sizeof(uint64_t), CACHE_LINE);
    core->owners = table(tables, OWNERS * sizeof(struct owner), CACHE_LINE);
    core->zones = table(tables, zones * sizeof(struct zone), CACHE_LINE);
    *nodes = table(tables, (spans + 1ull) * sizeof(struct pleat_resource), 8);
    core->fallback = table(tables, (uint64_t)core->node_count * core->node_count, 1);
    for (uint64_t i = 0; i < zones; i++) {
        for (unsigned set = 0; set < SETS; set++) {
            _Atomic uint64_t *words = table(tables, block_set_words(core->block_count) * 8, 8);

            if (!tables->base)
                continue;
            core->zones[i].sets[set].leaf = words;
            core->zones[i].sets[set].summary = words + leaf;
        }
    }
}

static void fill_fallback(struct core *core, const struct pleat_config *config)
{
    unsigned nodes = core->node_count;

    for (unsigned node = 0; node < nodes; node++) {
        uint8_t *row = core->fallback + (size_t)node * nodes;

        for (unsigned i = 0; i < nodes; i++) {
            unsigned distance = i == node               ? 0
                                : config->node_distance ? config->node_distance[node * nodes + i]
                                                        : 20;
            unsigned at = i;

            /* Sorted by distance, then by number. */
            while (at > 0) {
                unsigned other = row[at - 1];
                unsigned other_distance = other == node ? 0
                                          : config->node_distance
                                              ? config->node_distance[node * nodes + other]
                                              : 20;

                if (other_distance <= distance)
                    break;
                row[at] = row[at - 1];
                at--;
            }
            row[at] = (uint8_t)i;
        }
    }
}

static void fill_tables(struct core *core, const struct pleat_config *config)
{
    for (unsigned i = 0; i < core->cpu_count; i++) {
        struct cpu *cpu = &core->cpus[i];

        cpu->number = i;
        cpu->node = config->cpu_node ? config->cpu_node[i] : 0;
        cpu->home = cpu->node << ENTRY_NODE_SHIFT;
    }
    for (unsigned i = 0; i < core->node_count * PLEAT_ZONE_KINDS; i++) {
        core->zones[i].node = (uint8_t)(i / PLEAT_ZONE_KINDS);
        core->zones[i].kind = (uint8_t)(i % PLEAT_ZONE_KINDS);
    }
    for (uint64_t i = 0; i < core->block_count; i++)
        atomic_store_explicit(&core->directory[i], ENTRY_EMPTY, memory_order_relaxed);
    core->owner_count = OWNER_FIRST;
    fill_fallback(core, config);
}

static int place_tables(struct boot *boot)
{
    struct core *core = boot->core;
    struct pleat_resource *nodes;
    struct tables tables = {0};
    uint64_t frame = (uint64_t)1 << core->frame_shift;
    unsigned node = boot->config->cpu_node ? boot->config->cpu_node[0] : 0;
    int64_t pfn;

    lay_tables(core, &tables, boot->span_count, &nodes);
    core->table_bytes = tables.used;
    pfn = place(boot, node, (tables.used + frame - 1) / frame);
    if (pfn < 0)
        return (int)pfn;
    core->table_pfn = (uint64_t)pfn;
    tables.base = core->port.frame_pointer(core->port.context, core->table_pfn);
    if ((uintptr_t)tables.base & ENTRY_ATTRIBUTES)
        return refuse(&core->port, "the alignment of frame_pointer's result",
                      (uintptr_t)tables.base & ENTRY_ATTRIBUTES, "a multiple of 4096");
    __builtin_memset(tables.base, 0, tables.used);
    tables.used = 0;
    lay_tables(core, &tables, boot->span_count, &nodes);
    fill_tables(core, boot->config);
    claims_begin(core, nodes, boot->spans, boot->span_count);
    return PLEAT_OK;
}

/* --- boot blocks ---------------------------------------------------------------------------------------- */

/* A block belongs to the node of its first span; a span of another node in the same block goes along. */
static int boot_block_create(struct boot *boot, const struct pleat_boot_span *span, uint64_t number)
{
    static const char name[] = "System RAM";
    struct core *core = boot->core;
    struct range range = {.name = name,
                          .owner = core,
                          .start_pfn = number << core->block_order,
                          .frames = block_frames(core),
                          .node = (uint8_t)span->node,
                          .memmap_mode = PLEAT_MEMMAP_NORMAL};
    int64_t pfn = place(boot, span->node, core->memmap_frames);
    unsigned char *memmap;
    uint64_t entry;

    if (pfn < 0)
        return (int)pfn;
    memmap = core->port.frame_pointer(core->port.context, (uint64_t)pfn);
    if ((uintptr_t)memmap & ENTRY_ATTRIBUTES)
        return PLEAT_E_INVALID;
    memmap_create(core, memmap, (uint64_t)pfn, number, &range, 0, &entry);
    atomic_store_explicit(&core->directory[number], entry, memory_order_release);
    return PLEAT_OK;
}

static int boot_blocks_create(struct boot *boot)
{
    struct core *core = boot->core;

    for (unsigned i = 0; i < boot->span_count; i++) {
        const struct pleat_boot_span *span = &boot->spans[i];
        uint64_t last = (span->start_pfn + span->frames - 1) >> core->block_order;

        for (uint64_t number = span->start_pfn >> core->block_order; number <= last; number++) {
            struct block *block = block_of(core, number << core->block_order);
            int error;

            if (block && block->range.node != span->node) {
                core_log(core, PLEAT_LOG_WARNING,
                         "a memory block spans two nodes; all of it counts as the first one's");
                continue;
            }
            if (block)
                continue;
            error = boot_block_create(boot, span, number);
            if (error)
                return error;
        }
    }
    return PLEAT_OK;
}

/* Sets owners' words of frames inside one block; the pageblocks are initialised by then. */
static void mark(struct core *core, uint64_t pfn, uint64_t frames, enum special_owner owner, bool set)
{
    for (uint64_t i = 0; i < frames; i++) {
        struct block *block = block_of(core, pfn + i);
        uint64_t offset = (pfn + i) & (block_frames(core) - 1);
        uint64_t bit = (uint64_t)1 << (offset % 64);
        uint32_t word = pageblock_word(block, (unsigned)(offset / FRAMES));

        if (!(word & WORD_INITIALISED))
            pageblock_initialise(core, block, (unsigned)(offset / FRAMES));
        if (core->owner_shift)
            owner_set(core, block, offset, set ? owner_word_special(owner) : 0);
        if (set)
            atomic_fetch_or_explicit(&block->bits[offset / 64], bit, memory_order_relaxed);
        else
            atomic_fetch_and_explicit(&block->bits[offset / 64], ~bit, memory_order_relaxed);
    }
}

/* Whole pageblocks of one kind need no owners' words. */
static void boot_pageblock(struct boot *boot, struct block *block, unsigned pageblock, unsigned *at)
{
    struct core *core = boot->core;
    uint64_t start = block_start(core, block) + (uint64_t)pageblock * FRAMES;
    uint64_t end = start + FRAMES;

    while (*at < boot->span_count && boot->spans[*at].start_pfn + boot->spans[*at].frames <= start)
        ++*at;
    if (*at == boot->span_count || boot->spans[*at].start_pfn >= end) {
        block->absent_frames += FRAMES;
        atomic_fetch_or_explicit(&block->words[pageblock], WORD_ABSENT, memory_order_relaxed);
        return;
    }
    if (boot->spans[*at].use == PLEAT_BOOT_FREE && boot->spans[*at].start_pfn <= start &&
        boot->spans[*at].start_pfn + boot->spans[*at].frames >= end)
        return;
    mark(core, start, FRAMES, OWNER_ABSENT, true);
    block->absent_frames += FRAMES;
    for (unsigned i = *at; i < boot->span_count && boot->spans[i].start_pfn < end; i++) {
        const struct pleat_boot_span *span = &boot->spans[i];
        uint64_t from = span->start_pfn > start ? span->start_pfn : start;
        uint64_t to = span->start_pfn + span->frames < end ? span->start_pfn + span->frames : end;

        block->absent_frames -= (uint32_t)(to - from);
        mark(core, from, to - from, span->use == PLEAT_BOOT_IN_USE ? OWNER_BOOT : OWNER_RESERVED,
             span->use != PLEAT_BOOT_FREE);
    }
}

static void boot_blocks_mark(struct boot *boot)
{
    struct core *core = boot->core;
    uint64_t frame = (uint64_t)1 << core->frame_shift;
    unsigned at = 0;

    for (uint64_t number = 0; number < core->block_count; number++) {
        struct block *block = block_of(core, number << core->block_order);

        for (unsigned i = 0; block && i < core->block_pageblocks; i++)
            boot_pageblock(boot, block, i, &at);
    }
    for (uint64_t number = 0; number < core->block_count; number++) {
        struct block *block = block_of(core, number << core->block_order);

        if (block)
            mark(core, block->memmap_pfn, core->memmap_frames, OWNER_MEMMAP, true);
    }
    mark(core, core->table_pfn, (core->table_bytes + frame - 1) / frame, OWNER_TABLES, true);
}

/* Boot memory is all online; nobody else is there yet. */
static void boot_blocks_online(struct core *core)
{
    for (uint64_t number = 0; number < core->block_count; number++) {
        struct block *block = block_of(core, number << core->block_order);
        struct zone *zone;
        uint64_t count = 0;

        if (!block)
            continue;
        zone = zone_of(core, block->range.node, zone_by_address(core, block));
        block->zone = zone;
        for (unsigned i = 0; i < core->block_pageblocks; i++)
            count += pageblock_publish(block, i, pageblock_word(block, i) & WORD_ABSENT);
        atomic_fetch_and(&core->directory[number], ~(uint64_t)ENTRY_ISOLATED);
        if (zone->kind == PLEAT_ZONE_DMA)
            atomic_fetch_or(&core->directory[number], ENTRY_UNCACHED);
        atomic_fetch_add(&zone->blocks, 1);
        online_count(core, zone, (int64_t)(block_frames(core) - block->absent_frames));
        atomic_fetch_add(&core->free_base, (int64_t)count);
        atomic_store(&block->state, PLEAT_BLOCK_ONLINE);
    }
    for (uint64_t number = 0; number < core->block_count; number++) {
        struct block *block = block_of(core, number << core->block_order);

        if (block)
            online_count(core, block_of(core, block->memmap_pfn)->zone, -(int64_t)core->memmap_frames);
    }
}

int pleat_init(struct pleat *pleat, const struct pleat_config *config, const struct pleat_boot_span *spans,
               unsigned span_count)
{
    struct core *core = core_of(pleat);
    struct boot boot = {.core = core, .config = config, .spans = spans, .span_count = span_count};
    int error = check_config(config);

    if (!error)
        error = check_spans(config, spans, span_count);
    if (error)
        return error;
    *core = (struct core){.port = *config->port,
                          .cpu_count = config->cpus,
                          .node_count = config->nodes ? config->nodes : 1,
                          .frame_shift = config->frame_shift ? config->frame_shift : 12,
                          .block_pageblocks = config->block_pageblocks ? config->block_pageblocks : 64,
                          .highest_pfn = config->highest_pfn,
                          .dma_end_pfn = config->dma_end_pfn,
                          .dma32_end_pfn = config->dma32_end_pfn,
                          .reclaim = config->reclaim,
                          .reclaim_context = config->reclaim_context,
                          .help = config->help,
                          .help_context = config->help_context,
                          .visitors = config->port->fence_cpus ? 0 : 1};
    core->owner_shift = config->owner_bytes == 16 ? 4 : config->owner_bytes == PLEAT_NO_OWNER_WORD ? 0 : 3;
    core->block_order = PLEAT_PAGEBLOCK_ORDER + word_lowest(core->block_pageblocks);
    core->block_mask = block_frames(core) - 1;
    core->block_count = (config->highest_pfn + block_frames(core) - 1) >> core->block_order;
    if (!memmap_measure(core))
        return PLEAT_E_INVALID;
    place_begin(&boot);
    error = place_tables(&boot);
    if (!error)
        error = boot_blocks_create(&boot);
    if (error) {
        core_log(core, PLEAT_LOG_ERROR, "the core's tables and memmaps don't fit into free boot memory");
        *core = (struct core){0};
        return error;
    }
    boot_blocks_mark(&boot);
    boot_blocks_online(core);
    core->watermark = config->watermark_frames ? config->watermark_frames : core->online_frames / 256;
    if (!config->watermark_frames && core->watermark < 16)
        core->watermark = 16;
    return pleat_set_policy(pleat, config->policy, config->policy_ratio);
}

int pleat_release_boot(struct pleat *pleat, uint64_t start_pfn, uint64_t frames)
{
    struct core *core = core_of(pleat);
    int error = PLEAT_OK;

    if (!frames || !core->owner_shift)
        return frames ? PLEAT_E_UNSUPPORTED : PLEAT_E_INVALID;
    hotplug_lock(core);
    for (uint64_t i = 0; i < frames && !error; i++) {
        struct block *block = block_of(core, start_pfn + i);
        uint64_t offset = (start_pfn + i) & (block_frames(core) - 1);

        if (!block || block->range.removable ||
            !(pageblock_word(block, (unsigned)(offset / FRAMES)) & WORD_INITIALISED) ||
            owner_get(core, block, offset) != owner_word_special(OWNER_BOOT))
            error = PLEAT_E_NOT_FOUND;
    }
    for (uint64_t i = 0; i < frames && !error; i++) {
        struct block *block = block_of(core, start_pfn + i);
        uint64_t offset = (start_pfn + i) & (block_frames(core) - 1);
        struct cpu *cpu = cpu_begin(core);

        owner_set(core, block, offset, 0);
        frames_free_inside(cpu, block, offset, 0);
        cpu_end(cpu);
    }
    hotplug_unlock(core);
    return error;
}

int pleat_owner_register(struct pleat *pleat, const char *name, const struct pleat_owner_ops *ops,
                         void *context)
{
    struct core *core = core_of(pleat);
    int number = PLEAT_E_NO_MEMORY;

    hotplug_lock(core);
    if (core->owner_count < OWNERS) {
        number = (int)core->owner_count;
        core->owners[number] = (struct owner){.ops = ops, .context = context, .name = name};
        core->owner_count++;
    }
    hotplug_unlock(core);
    return number;
}
