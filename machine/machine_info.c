/* SPDX-License-Identifier: MIT
 *
 * What the machine tells of itself. Each question is answered on the service thread, between two steps of the
 * drivers, so that an answer is of one moment; handlers are called on the control thread, with copies.
 */
#include "machine/machine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <pleat/resource.h>

#include "machine/machine_parts.h"

#define FRAME_SHIFT PLEAT_LAYOUT_FRAME_SHIFT

/* ---- memory devices ---- */

struct devices_question {
    struct pleat_machine *machine;
    struct pleat_memory_device_info *devices;
    unsigned capacity, count;
};

static void fill_device(const struct pleat_device_slot *slot, struct pleat_memory_device_info *info)
{
    memset(info, 0, sizeof *info);
    memcpy(info->id, slot->config.id, sizeof info->id);
    memcpy(info->path, slot->path, sizeof info->path);
    info->memaddr = slot->address;
    info->node = slot->config.node;
    info->requested_bytes = pleat_virtio_mem_device_requested_bytes(slot->device);
    info->size_bytes = pleat_virtio_mem_device_plugged_bytes(slot->device);
    info->max_bytes = slot->bytes;
    info->block_bytes = slot->config.block_bytes;
    snprintf(info->memdev, sizeof info->memdev, "/objects/%s", slot->backend->config.id);
}

static void ask_devices(void *context)
{
    struct devices_question *question = context;

    question->count = question->machine->slot_count;
    for (unsigned i = 0; i < question->count && i < question->capacity; i++)
        fill_device(question->machine->slots[i], &question->devices[i]);
}

unsigned pleat_machine_memory_devices(struct pleat_machine *machine, struct pleat_memory_device_info *devices,
                                      unsigned capacity)
{
    struct devices_question question = {.machine = machine, .devices = devices, .capacity = capacity};

    pleat_threads_call(machine->threads, ask_devices, &question);
    return question.count;
}

struct device_question {
    struct pleat_machine *machine;
    const char *id;
    struct pleat_memory_device_info *device;
    struct pleat_driver_info *driver;
    int error;
};

static void ask_device(void *context)
{
    struct device_question *question = context;
    const struct pleat_device_slot *slot = pleat_machine_slot(question->machine, question->id);

    if (!slot) {
        question->error = PLEAT_E_NOT_FOUND;
        return;
    }
    if (question->device)
        fill_device(slot, question->device);
    if (question->driver)
        question->error = pleat_guest_driver_info(question->machine->guest, slot, question->driver);
}

static int answer_device(struct device_question *question, struct pleat_message *message)
{
    pleat_threads_call(question->machine->threads, ask_device, question);
    if (question->error == PLEAT_E_NOT_FOUND)
        return pleat_message_set(message, PLEAT_E_NOT_FOUND, "Device '%.200s' not found", question->id);
    return question->error;
}

int pleat_machine_memory_device(struct pleat_machine *machine, const char *id,
                                struct pleat_memory_device_info *info, struct pleat_message *message)
{
    struct device_question question = {.machine = machine, .id = id, .device = info};

    return answer_device(&question, message);
}

int pleat_machine_driver_info(struct pleat_machine *machine, const char *id, struct pleat_driver_info *info,
                              struct pleat_message *message)
{
    struct device_question question = {.machine = machine, .id = id, .driver = info};

    return answer_device(&question, message);
}

struct balloon_question {
    struct pleat_machine *machine;
    struct pleat_balloon_info *info;
};

static void ask_balloon(void *context)
{
    struct balloon_question *question = context;
    const struct pleat_xen_host *host = &question->machine->xen;
    struct pleat_balloon_info *info = question->info;
    struct pleat_xen_domain_info domain;

    memset(info, 0, sizeof *info);
    snprintf(info->state, sizeof info->state, "none");
    if (!host->guest)
        return;
    pleat_xen_domain_info(host->guest, &domain);
    info->actual_bytes = domain.current_frames << FRAME_SHIFT;
    info->target_bytes = host->target_bytes;
    info->maximum_bytes = question->machine->config->maximum_bytes;
    info->decreases = domain.decreases;
    info->populates = domain.populates;
    info->decreased_frames = domain.decreased_frames;
    info->populated_frames = domain.populated_frames;
    info->leaked_frames = domain.leaked_frames;
    info->on_demand_bytes = domain.on_demand_frames << FRAME_SHIFT;
    info->pool_bytes = domain.pool_frames << FRAME_SHIFT;
    if (question->machine->guest && pleat_guest_xen(question->machine->guest))
        pleat_guest_xen_info(pleat_guest_xen(question->machine->guest), info);
}

int pleat_machine_balloon_info(struct pleat_machine *machine, struct pleat_balloon_info *info,
                               struct pleat_message *message)
{
    struct balloon_question question = {.machine = machine, .info = info};

    if (machine->config->type != PLEAT_MACHINE_XENPVH)
        return pleat_message_set(message, PLEAT_E_NOT_FOUND, "No balloon device has been activated");
    pleat_threads_call(machine->threads, ask_balloon, &question);
    return PLEAT_OK;
}

struct settled_question {
    struct pleat_machine *machine;
    bool settled;
};

static void ask_settled(void *context)
{
    struct settled_question *question = context;

    question->settled = !question->machine->guest || pleat_guest_is_settled(question->machine->guest);
}

bool pleat_machine_is_settled(struct pleat_machine *machine)
{
    struct settled_question question = {.machine = machine};

    if (!machine->running)
        return true;
    pleat_threads_call(machine->threads, ask_settled, &question);
    return question.settled;
}

/* ---- sums ---- */

struct sum_question {
    struct pleat_machine *machine;
    unsigned node;
    bool of_node;
    uint64_t plugged_bytes;
};

static void ask_plugged(void *context)
{
    struct sum_question *question = context;

    for (unsigned i = 0; i < question->machine->slot_count; i++) {
        const struct pleat_device_slot *slot = question->machine->slots[i];
        if (!question->of_node || slot->config.node == question->node)
            question->plugged_bytes += pleat_virtio_mem_device_plugged_bytes(slot->device);
    }
}

void pleat_machine_memory_size_summary(struct pleat_machine *machine,
                                       struct pleat_memory_size_summary *summary)
{
    struct sum_question question = {.machine = machine};

    pleat_threads_call(machine->threads, ask_plugged, &question);
    summary->base_bytes = machine->config->ram_bytes;
    summary->plugged_bytes = question.plugged_bytes;
}

unsigned pleat_machine_node_count(struct pleat_machine *machine)
{
    return machine->config->numa_given ? machine->config->nodes : 0;
}

int pleat_machine_node_info(struct pleat_machine *machine, unsigned node, struct pleat_node_info *info)
{
    const struct pleat_machine_config *config = machine->config;
    struct sum_question question = {.machine = machine, .node = node, .of_node = true};

    if (node >= config->nodes)
        return PLEAT_E_NOT_FOUND;
    memset(info, 0, sizeof *info);
    for (unsigned cpu = 0; cpu < config->cpus; cpu++)
        if (config->cpu_node[cpu] == node)
            info->cpus[info->cpu_count++] = cpu;
    pleat_threads_call(machine->threads, ask_plugged, &question);
    info->plugged_bytes = question.plugged_bytes;
    info->size_bytes = config->node[node].memory_bytes + question.plugged_bytes;
    return PLEAT_OK;
}

/* ---- blocks and zones ---- */

uint64_t pleat_machine_frame_bytes(struct pleat_machine *machine)
{
    (void)machine;
    return UINT64_C(1) << FRAME_SHIFT;
}

uint64_t pleat_machine_block_bytes(struct pleat_machine *machine)
{
    (void)machine;
    return PLEAT_LAYOUT_BLOCK_BYTES;
}

struct blocks_question {
    struct pleat_machine *machine;
    struct pleat_machine_block *blocks;
    uint64_t count;
};

/* The first address beyond boot RAM and the last region. */
static uint64_t end_of_memory(const struct pleat_machine *machine)
{
    uint64_t end = machine->layout.above_4g_bytes ? 4 * PLEAT_GIB + machine->layout.above_4g_bytes
                                                  : machine->layout.below_4g_bytes;

    if (machine->layout.growth_bytes)
        return machine->layout.growth_start + machine->layout.growth_bytes;
    if (machine->slot_count) {
        const struct pleat_device_slot *last = machine->slots[machine->slot_count - 1];
        end = last->address + last->bytes;
    }
    return end;
}

static void fill_block(const struct pleat_machine *machine, uint64_t number,
                       struct pleat_machine_block *block)
{
    const uint64_t address = number * PLEAT_LAYOUT_BLOCK_BYTES;
    const uint64_t frames = PLEAT_LAYOUT_BLOCK_BYTES >> FRAME_SHIFT;

    memset(block, 0, sizeof *block);
    block->number = number;
    if (!machine->guest ||
        pleat_block_info(pleat_guest_core(machine->guest), address >> FRAME_SHIFT, &block->info))
        block->info = (struct pleat_block_info){
            .start_pfn = address >> FRAME_SHIFT, .frames = frames, .state = PLEAT_BLOCK_NONE};
    block->plugged_frames = block->info.frames - block->info.absent_frames;
    if (block->info.state == PLEAT_BLOCK_NONE)
        block->plugged_frames = 0;
    if (machine->xen.guest)
        block->plugged_frames =
            pleat_xen_domain_own_frames(machine->xen.guest, block->info.start_pfn, frames);
    for (unsigned i = 0; i < machine->slot_count; i++) {
        const struct pleat_device_slot *slot = machine->slots[i];
        if (address + PLEAT_LAYOUT_BLOCK_BYTES <= slot->address || address >= slot->address + slot->bytes)
            continue;
        memcpy(block->device, slot->config.id, sizeof block->device);
        block->plugged_frames =
            pleat_device_slot_plugged_in(slot, address, PLEAT_LAYOUT_BLOCK_BYTES) >> FRAME_SHIFT;
    }
}

static void ask_blocks(void *context)
{
    struct blocks_question *question = context;
    const uint64_t end = end_of_memory(question->machine);
    const uint64_t count = (end + PLEAT_LAYOUT_BLOCK_BYTES - 1) / PLEAT_LAYOUT_BLOCK_BYTES;

    question->blocks = calloc(count, sizeof *question->blocks);
    if (!question->blocks)
        return;
    question->count = count;
    for (uint64_t number = 0; number < count; number++)
        fill_block(question->machine, number, &question->blocks[number]);
}

void pleat_machine_blocks(struct pleat_machine *machine,
                          bool (*each)(void *context, const struct pleat_machine_block *block), void *context)
{
    struct blocks_question question = {.machine = machine};

    pleat_threads_call(machine->threads, ask_blocks, &question);
    for (uint64_t i = 0; i < question.count && each(context, &question.blocks[i]); i++)
        ;
    free(question.blocks);
}

struct zones_question {
    struct pleat_machine *machine;
    struct pleat_zone_info *zones;
    unsigned capacity, count;
};

static void ask_zones(void *context)
{
    struct zones_question *question = context;

    if (!question->machine->guest)
        return;
    for (unsigned node = 0; node < question->machine->config->nodes; node++) {
        for (int kind = 0; kind < PLEAT_ZONE_KINDS; kind++) {
            struct pleat_zone_info info;
            if (pleat_zone_info(pleat_guest_core(question->machine->guest), node, (enum pleat_zone_kind)kind,
                                &info) ||
                !info.blocks)
                continue;
            if (question->count < question->capacity)
                question->zones[question->count] = info;
            question->count++;
        }
    }
}

unsigned pleat_machine_zones(struct pleat_machine *machine, struct pleat_zone_info *zones, unsigned capacity)
{
    struct zones_question question = {.machine = machine, .zones = zones, .capacity = capacity};

    pleat_threads_call(machine->threads, ask_zones, &question);
    return question.count;
}

const char *pleat_machine_zone_name(enum pleat_zone_kind kind)
{
    static const char *const names[PLEAT_ZONE_KINDS] = {"DMA", "DMA32", "Normal", "PreferMovable", "Movable"};

    return (unsigned)kind < PLEAT_ZONE_KINDS ? names[kind] : "?";
}

const char *pleat_machine_block_state_name(enum pleat_block_state state)
{
    static const char *const names[] = {"offline", "going-online", "online", "going-offline", "absent"};

    return (unsigned)state < sizeof names / sizeof names[0] ? names[state] : "?";
}

/* ---- ranges ---- */

struct ranges_question {
    struct pleat_machine *machine;
    struct pleat_machine_range *ranges;
    unsigned count;
};

/* Names of the core's ranges are kept by it; those of devices change with them, so copies are handed out. */
struct tree {
    struct pleat_resource root;
    struct pleat_resource *nodes;
    unsigned count, room;
};

static bool add_node(struct tree *tree, struct pleat_resource *parent, const char *name, uint64_t start,
                     uint64_t bytes)
{
    if (tree->count == tree->room)
        return false;
    struct pleat_resource *node = &tree->nodes[tree->count];
    if (pleat_resource_describe(node, name, start, bytes) || pleat_resource_insert(parent, node, NULL))
        return false;
    tree->count++;
    return true;
}

/* Neighbouring ranges of one name are one line, as the driver adds a block at a time. */
static void add_added_ranges(struct tree *tree, struct pleat_machine *machine)
{
    struct pleat *core = pleat_guest_core(machine->guest);
    struct pleat_range_info info;
    uint64_t start = 0, bytes = 0;
    const char *name = "";

    for (uint64_t pfn = 0; !pleat_range_info(core, pfn, &info); pfn = info.start_pfn + info.frames) {
        if (!info.removable)
            continue;
        if (bytes && start + bytes == info.start_pfn << FRAME_SHIFT && !strcmp(name, info.name)) {
            bytes += info.frames << FRAME_SHIFT;
            continue;
        }
        if (bytes)
            add_node(tree, pleat_resource_find(&tree->root, start), name, start, bytes);
        name = info.name;
        start = info.start_pfn << FRAME_SHIFT;
        bytes = info.frames << FRAME_SHIFT;
    }
    if (bytes)
        add_node(tree, pleat_resource_find(&tree->root, start), name, start, bytes);
}

static void add_unpopulated(struct tree *tree, struct pleat_machine *machine)
{
    struct pleat *core = pleat_guest_core(machine->guest);
    struct pleat_unpopulated_info info;

    for (uint64_t pfn = 0; !pleat_unpopulated_info(core, pfn, &info); pfn = info.start_pfn + info.frames)
        add_node(tree, &tree->root, "unpopulated", info.start_pfn << FRAME_SHIFT, info.frames << FRAME_SHIFT);
}

static unsigned count_unpopulated(struct pleat_machine *machine)
{
    struct pleat_unpopulated_info info;
    unsigned count = 0;

    for (uint64_t pfn = 0;
         machine->guest && !pleat_unpopulated_info(pleat_guest_core(machine->guest), pfn, &info);
         pfn = info.start_pfn + info.frames)
        count++;
    return count;
}

static void build_tree(struct tree *tree, struct pleat_machine *machine)
{
    struct pleat_layout_piece pieces[PLEAT_LAYOUT_PIECES_MAX];
    const unsigned count = pleat_layout_pieces(&machine->layout, pieces);

    for (unsigned i = 0; i < count; i++) {
        struct pleat_resource *parent =
            pieces[i].depth ? pleat_resource_find(&tree->root, pieces[i].start) : &tree->root;
        add_node(tree, parent, pieces[i].name, pieces[i].start, pieces[i].bytes);
    }
    if (machine->layout.growth_bytes)
        add_node(tree, &tree->root, "Xen balloon", machine->layout.growth_start,
                 machine->layout.growth_bytes);
    if (machine->layout.hole_bytes)
        add_node(tree, &tree->root, "Unpopulated", machine->layout.hole_start, machine->layout.hole_bytes);
    for (unsigned i = 0; i < machine->slot_count; i++)
        add_node(tree, &tree->root, pleat_device_slot_name(machine->slots[i]), machine->slots[i]->address,
                 machine->slots[i]->bytes);
    if (machine->guest) {
        add_added_ranges(tree, machine);
        add_unpopulated(tree, machine);
    }
}

static void ask_ranges(void *context)
{
    struct ranges_question *question = context;
    const uint64_t blocks = end_of_memory(question->machine) / PLEAT_LAYOUT_BLOCK_BYTES + 1;
    struct tree tree = {.root = {.last = UINT64_MAX},
                        .room = (unsigned)blocks + PLEAT_LAYOUT_PIECES_MAX + PLEAT_MACHINE_DEVICES_MAX +
                                count_unpopulated(question->machine)};

    tree.nodes = calloc(tree.room, sizeof *tree.nodes);
    question->ranges = calloc(tree.room, sizeof *question->ranges);
    if (tree.nodes && question->ranges) {
        build_tree(&tree, question->machine);
        for (struct pleat_resource *node = pleat_resource_next(&tree.root, &tree.root); node;
             node = pleat_resource_next(&tree.root, node)) {
            struct pleat_machine_range *range = &question->ranges[question->count++];
            range->start = node->start;
            range->end = node->last;
            for (const struct pleat_resource *up = node->parent; up != &tree.root; up = up->parent)
                range->depth++;
            snprintf(range->name, sizeof range->name, "%s", node->name);
        }
    }
    free(tree.nodes);
}

void pleat_machine_ranges(struct pleat_machine *machine,
                          bool (*each)(void *context, const struct pleat_machine_range *range), void *context)
{
    struct ranges_question question = {.machine = machine};

    pleat_threads_call(machine->threads, ask_ranges, &question);
    for (unsigned i = 0; i < question.count && each(context, &question.ranges[i]); i++)
        ;
    free(question.ranges);
}

struct added_ranges_question {
    struct pleat_machine *machine;
    bool (*each)(void *context, const struct pleat_range_info *range);
    void *context;
};

static bool is_continued_by(const struct pleat_range_info *range, const struct pleat_range_info *next)
{
    return range->start_pfn + range->frames == next->start_pfn && range->owner == next->owner &&
           range->node == next->node && range->memmap_mode == next->memmap_mode &&
           range->flags == next->flags && range->force_zone == next->force_zone &&
           range->removable == next->removable && range->own_online_ops == next->own_online_ops &&
           !strcmp(range->name, next->name);
}

static void ask_added_ranges(void *context)
{
    struct added_ranges_question *question = context;
    struct pleat_range_info range = {.frames = 0}, next;

    if (!question->machine->guest)
        return;
    struct pleat *core = pleat_guest_core(question->machine->guest);
    for (uint64_t pfn = 0; !pleat_range_info(core, pfn, &next); pfn = next.start_pfn + next.frames) {
        if (range.frames && is_continued_by(&range, &next)) {
            range.frames += next.frames;
            range.online_frames += next.online_frames;
            range.fake_offline_frames += next.fake_offline_frames;
            range.populated_frames += next.populated_frames;
            continue;
        }
        if (range.frames && !question->each(question->context, &range))
            return;
        range = next;
    }
    if (range.frames)
        question->each(question->context, &range);
}

void pleat_machine_added_ranges(struct pleat_machine *machine,
                                bool (*each)(void *context, const struct pleat_range_info *range),
                                void *context)
{
    struct added_ranges_question question = {machine, each, context};

    pleat_threads_call(machine->threads, ask_added_ranges, &question);
}

struct unpopulated_question {
    struct pleat_machine *machine;
    bool (*each)(void *context, const struct pleat_unpopulated_info *section);
    void *context;
};

static void ask_unpopulated(void *context)
{
    struct unpopulated_question *question = context;
    struct pleat_unpopulated_info info;
    struct pleat *core = question->machine->guest ? pleat_guest_core(question->machine->guest) : NULL;

    for (uint64_t pfn = 0;
         core && !pleat_unpopulated_info(core, pfn, &info) && question->each(question->context, &info);
         pfn = info.start_pfn + info.frames)
        ;
}

void pleat_machine_unpopulated(struct pleat_machine *machine,
                               bool (*each)(void *context, const struct pleat_unpopulated_info *section),
                               void *context)
{
    struct unpopulated_question question = {machine, each, context};

    pleat_threads_call(machine->threads, ask_unpopulated, &question);
}

/* ---- the workload and what stands in the way ---- */

struct workload_question {
    struct pleat_machine *machine;
    struct pleat_workload_info *info;
};

static void ask_workload(void *context)
{
    struct workload_question *question = context;
    struct pleat_guest *guest = question->machine->guest;
    struct pleat_workload *workload = guest ? pleat_guest_workload(guest) : NULL;

    memset(question->info, 0, sizeof *question->info);
    if (workload)
        pleat_workload_info(workload, question->info);
    else if (question->machine->ended)
        *question->info = question->machine->last_workload;
    else
        memcpy(question->info->name, "none", sizeof "none");
}

void pleat_machine_workload_info(struct pleat_machine *machine, struct pleat_workload_info *info)
{
    struct workload_question question = {.machine = machine, .info = info};

    pleat_threads_call(machine->threads, ask_workload, &question);
}

struct obstacles_question {
    struct pleat_machine *machine;
    uint64_t pfn, frames;
    struct pleat_machine_obstacle *obstacles;
    size_t count, room;
};

static int keep_obstacle(void *context, uint64_t pfn, unsigned order, unsigned owner)
{
    struct obstacles_question *question = context;

    if (question->count == question->room) {
        const size_t room = question->room ? question->room * 2 : 64;
        void *more = realloc(question->obstacles, room * sizeof *question->obstacles);
        if (!more)
            return 1;
        question->obstacles = more;
        question->room = room;
    }
    struct pleat_machine_obstacle *obstacle = &question->obstacles[question->count++];
    *obstacle = (struct pleat_machine_obstacle){.pfn = pfn, .order = order};
    snprintf(obstacle->owner, sizeof obstacle->owner, "%s",
             pleat_owner_name(pleat_guest_core(question->machine->guest), owner));
    return 0;
}

/* Only what is online can be looked at, so it is done block by block. */
static void ask_obstacles(void *context)
{
    struct obstacles_question *question = context;
    const uint64_t block_frames = PLEAT_LAYOUT_BLOCK_BYTES >> FRAME_SHIFT;
    const uint64_t limit = end_of_memory(question->machine) >> FRAME_SHIFT;
    const uint64_t end = question->frames < limit && question->pfn < limit - question->frames
                             ? question->pfn + question->frames
                             : limit;

    if (!question->machine->guest)
        return;
    for (uint64_t pfn = question->pfn; pfn < end;) {
        const uint64_t block_end = (pfn / block_frames + 1) * block_frames;
        const uint64_t piece_end = block_end < end ? block_end : end;
        pleat_obstacles(pleat_guest_core(question->machine->guest), pfn, piece_end - pfn, keep_obstacle,
                        question);
        pfn = piece_end;
    }
}

void pleat_machine_obstacles(struct pleat_machine *machine, uint64_t address, uint64_t bytes,
                             bool (*each)(void *context, const struct pleat_machine_obstacle *obstacle),
                             void *context)
{
    struct obstacles_question question = {
        .machine = machine, .pfn = address >> FRAME_SHIFT, .frames = bytes >> FRAME_SHIFT};

    pleat_threads_call(machine->threads, ask_obstacles, &question);
    for (size_t i = 0; i < question.count && each(context, &question.obstacles[i]); i++)
        ;
    free(question.obstacles);
}

/* ---- the picture ---- */

struct picture_question {
    struct pleat_machine *machine;
    const char *stem;
    struct pleat_message *message;
    int error;
};

static void draw(void *context)
{
    struct picture_question *question = context;

    question->error = pleat_recorder_draw(question->machine->recorder, question->stem, question->message);
}

int pleat_machine_picture(struct pleat_machine *machine, const char *stem, struct pleat_message *message)
{
    struct picture_question question = {.machine = machine, .stem = stem, .message = message};

    pleat_threads_call(machine->threads, draw, &question);
    return question.error;
}
