/* SPDX-License-Identifier: MIT
 *
 * What `info` shows. The four of QEMU's are in its words to the letter; then come Pleat's own.
 */
#include "machine/monitor_hmp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/options.h"

typedef unsigned long long ull;

/* Bytes for people: whole units where it is a whole number of them, else MiB with a decimal. */
static const char *size_text(char buffer[32], uint64_t bytes)
{
    const uint64_t mib = 1 << 20;
    if (bytes > mib && bytes % mib)
        snprintf(buffer, 32, "%.1fM", (double)bytes / (double)mib);
    else
        pleat_format_size(buffer, bytes);
    return buffer;
}

/* A time for people. */
static const char *time_text(char buffer[32], uint64_t ns)
{
    if (ns < 1000000)
        snprintf(buffer, 32, "%.1f us", (double)ns / 1e3);
    else if (ns < UINT64_C(1000000000))
        snprintf(buffer, 32, "%.1f ms", (double)ns / 1e6);
    else
        snprintf(buffer, 32, "%.2f s", (double)ns / 1e9);
    return buffer;
}

/* ---- QEMU's ---- */

static int info_memory_devices(struct pleat_control *control, const struct pleat_hmp_words *words,
                               struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)words;
    (void)message;
    unsigned count;
    struct pleat_memory_device_info *devices = pleat_control_devices(control, &count);
    for (unsigned i = 0; i < count; i++) {
        const struct pleat_memory_device_info *device = &devices[i];
        pleat_text_print(&output->text,
                         "Memory device [virtio-mem]: \"%s\"\n"
                         "  memaddr: 0x%llx\n"
                         "  node: %u\n"
                         "  requested-size: %llu\n"
                         "  size: %llu\n"
                         "  max-size: %llu\n"
                         "  block-size: %llu\n"
                         "  memdev: %s\n",
                         device->id, (ull)device->memaddr, device->node, (ull)device->requested_bytes,
                         (ull)device->size_bytes, (ull)device->max_bytes, (ull)device->block_bytes,
                         device->memdev);
    }
    free(devices);
    return PLEAT_OK;
}

static int info_memory_size_summary(struct pleat_control *control, const struct pleat_hmp_words *words,
                                    struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)words;
    (void)message;
    struct pleat_memory_size_summary summary;
    pleat_machine_memory_size_summary(control->machine, &summary);
    pleat_text_print(&output->text, "base memory: %llu\nplugged memory: %llu\n", (ull)summary.base_bytes,
                     (ull)summary.plugged_bytes);
    return PLEAT_OK;
}

static int info_numa(struct pleat_control *control, const struct pleat_hmp_words *words,
                     struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)words;
    (void)message;
    unsigned nodes = pleat_machine_node_count(control->machine);
    pleat_text_print(&output->text, "%u nodes\n", nodes);
    for (unsigned node = 0; node < nodes; node++) {
        struct pleat_node_info info;
        if (pleat_machine_node_info(control->machine, node, &info))
            continue;
        pleat_text_print(&output->text, "node %u cpus:", node);
        for (unsigned i = 0; i < info.cpu_count; i++)
            pleat_text_print(&output->text, " %u", info.cpus[i]);
        pleat_text_print(&output->text, "\nnode %u size: %llu MB\nnode %u plugged: %llu MB\n", node,
                         (ull)(info.size_bytes >> 20), node, (ull)(info.plugged_bytes >> 20));
    }
    return PLEAT_OK;
}

static int info_status(struct pleat_control *control, const struct pleat_hmp_words *words,
                       struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)words;
    (void)message;
    const char *status = pleat_control_status(control);
    if (!strcmp(status, "prelaunch"))
        status = "paused (prelaunch)";
    pleat_text_print(&output->text, "VM status: %s\n", status);
    return PLEAT_OK;
}

/* ---- the map of memory blocks ---- */

#define MAP_BLOCKS_PER_ROW 16

/* What is known of a row of the map while it is being filled. */
struct map {
    struct pleat_hmp_output *output;
    uint64_t block_bytes;
    uint64_t row_address;
    unsigned row_node;
    char row_device[PLEAT_MACHINE_ID_BYTES];
    unsigned in_row;
    char states[MAP_BLOCKS_PER_ROW];
    char fill[MAP_BLOCKS_PER_ROW];
    /* Blocks of row_device from gap_address on that aren't added and haven't been shown. */
    uint64_t gap_address, gap_blocks;
    uint64_t by_state[PLEAT_BLOCK_NONE + 1];
    uint64_t with_unmovable;
};

/* One character for a block: its state, and of an online one the zone, small when a part is withheld. */
static char state_character(const struct pleat_block_info *info)
{
    static const char of_zone[PLEAT_ZONE_KINDS] = {'D', 'T', 'N', 'P', 'M'};
    switch (info->state) {
    case PLEAT_BLOCK_OFFLINE:
        return '-';
    case PLEAT_BLOCK_GOING_ONLINE:
        return '>';
    case PLEAT_BLOCK_GOING_OFFLINE:
        return '<';
    case PLEAT_BLOCK_ONLINE:
        if (info->zone < PLEAT_ZONE_KINDS)
            return (char)(of_zone[info->zone] | (info->fake_offline_frames ? 0x20 : 0));
        break;
    case PLEAT_BLOCK_NONE:
        break;
    }
    return '.';
}

/* Tenths of the block's memory that is in use: '0' to '9'; ' ' for none of it, '*' for all. */
static char fill_character(const struct pleat_block_info *info)
{
    uint64_t withheld = info->fake_offline_frames + info->absent_frames + info->memmap_frames;
    if (info->state != PLEAT_BLOCK_ONLINE || withheld >= info->frames)
        return ' ';
    uint64_t frames = info->frames - withheld;
    uint64_t used = frames - (info->free_frames < frames ? info->free_frames : frames);
    return used == frames ? '*' : used == 0 ? ' ' : (char)('0' + used * 10 / frames);
}

/* The colour of a state, as the number of an ANSI sequence. */
static const char *state_colour(char state)
{
    switch (state | 0x20) {
    case 'd':
    case 't':
    case 'n':
        return "33";
    case 'p':
        return "36";
    case 'm':
        return "32";
    case '-':
        return "31";
    default:
        return state == '.' ? "90" : "35";
    }
}

static void print_characters(struct map *map, const char *characters, bool states)
{
    for (unsigned i = 0; i < MAP_BLOCKS_PER_ROW; i++) {
        struct pleat_text *text = &map->output->text;
        char c = i < map->in_row ? characters[i] : ' ';
        if (i == MAP_BLOCKS_PER_ROW / 2)
            pleat_text_print(text, " ");
        if (states && map->output->colour && c != ' ')
            pleat_text_print(text, "\033[%sm%c\033[0m", state_colour(c), c);
        else
            pleat_text_print(text, "%c", c);
    }
}

static void end_row(struct map *map)
{
    if (map->in_row == 0)
        return;
    pleat_text_print(&map->output->text, "  0x%09llx  %4u  %-8s |", (ull)map->row_address, map->row_node,
                     map->row_device);
    print_characters(map, map->states, true);
    pleat_text_print(&map->output->text, "| |");
    print_characters(map, map->fill, false);
    pleat_text_print(&map->output->text, "|\n");
    map->in_row = 0;
}

static void end_gap(struct map *map)
{
    char size[32];
    if (map->gap_blocks)
        pleat_text_print(&map->output->text, "  0x%09llx        %-8s  %s not added\n", (ull)map->gap_address,
                         map->row_device, size_text(size, map->gap_blocks * map->block_bytes));
    map->gap_blocks = 0;
}

static void add_to_row(struct map *map, const struct pleat_machine_block *block)
{
    if (map->in_row == 0) {
        map->row_address = block->number * map->block_bytes;
        map->row_node = block->info.node;
    }
    map->states[map->in_row] = state_character(&block->info);
    map->fill[map->in_row] = fill_character(&block->info);
    map->in_row++;
}

static bool map_block(void *context, const struct pleat_machine_block *block)
{
    struct map *map = context;
    unsigned state = block->info.state <= PLEAT_BLOCK_NONE ? block->info.state : PLEAT_BLOCK_NONE;
    bool same_device = !strcmp(block->device, map->row_device);
    map->by_state[state]++;
    if (state == PLEAT_BLOCK_NONE || !same_device || map->in_row == MAP_BLOCKS_PER_ROW ||
        block->info.node != map->row_node)
        end_row(map);
    if (state != PLEAT_BLOCK_NONE || !same_device)
        end_gap(map);
    snprintf(map->row_device, sizeof(map->row_device), "%s", block->device);
    if (state == PLEAT_BLOCK_NONE) {
        if (map->gap_blocks++ == 0)
            map->gap_address = block->number * map->block_bytes;
        return true;
    }
    add_to_row(map, block);
    map->with_unmovable += state == PLEAT_BLOCK_ONLINE && block->info.unmovable_pageblocks > 0;
    return true;
}

static int info_blocks(struct pleat_control *control, const struct pleat_hmp_words *words,
                       struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)words;
    (void)message;
    char size[32];
    uint64_t on_their_way;
    struct map map = {.output = output, .block_bytes = pleat_machine_block_bytes(control->machine)};
    pleat_text_print(&output->text, "Memory blocks of %s, a character each:\n",
                     size_text(size, map.block_bytes));
    pleat_text_print(&output->text, "  %-11s  node  %-8s |%-17s| |%-17s|\n", "address", "device",
                     "state and zone", "tenths in use");
    pleat_machine_blocks(control->machine, map_block, &map);
    end_row(&map);
    end_gap(&map);
    on_their_way = map.by_state[PLEAT_BLOCK_GOING_ONLINE] + map.by_state[PLEAT_BLOCK_GOING_OFFLINE];
    pleat_text_print(&output->text,
                     "D DMA, T DMA32, N Normal, P PreferMovable, M Movable (small: a part is withheld)\n"
                     "- offline, > going online, < going offline; * all in use, blank nothing in use\n"
                     "%llu online (%llu of them with unmovable frames), %llu offline, %llu on their way\n",
                     (ull)map.by_state[PLEAT_BLOCK_ONLINE], (ull)map.with_unmovable,
                     (ull)map.by_state[PLEAT_BLOCK_OFFLINE], (ull)on_their_way);
    return PLEAT_OK;
}

/* ---- zones and ranges ---- */

static int info_zones(struct pleat_control *control, const struct pleat_hmp_words *words,
                      struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)words;
    (void)message;
    struct pleat_zone_info zones[PLEAT_MACHINE_NODES_MAX * PLEAT_ZONE_KINDS];
    const unsigned room = sizeof(zones) / sizeof(zones[0]);
    uint64_t frame_bytes = pleat_machine_frame_bytes(control->machine);
    unsigned count = pleat_machine_zones(control->machine, zones, room);
    pleat_text_print(&output->text, "%4s  %-13s %7s %11s %11s %11s %11s %9s %9s\n", "node", "zone", "blocks",
                     "online", "free", "free whole", "withheld", "metadata", "absent");
    for (unsigned i = 0; i < count && i < room; i++) {
        const struct pleat_zone_info *zone = &zones[i];
        char text[6][32];
        pleat_text_print(&output->text, "%4u  %-13s %7llu %11s %11s %11s %11s %9s %9s\n", zone->node,
                         pleat_machine_zone_name(zone->kind), (ull)zone->blocks,
                         size_text(text[0], zone->online_frames * frame_bytes),
                         size_text(text[1], zone->free_frames * frame_bytes),
                         size_text(text[2], zone->free_pageblocks * PLEAT_PAGEBLOCK_FRAMES * frame_bytes),
                         size_text(text[3], zone->fake_offline_frames * frame_bytes),
                         size_text(text[4], zone->memmap_frames * frame_bytes),
                         size_text(text[5], zone->absent_frames * frame_bytes));
    }
    return PLEAT_OK;
}

static bool print_range(void *context, const struct pleat_machine_range *range)
{
    struct pleat_hmp_output *output = context;
    pleat_text_print(&output->text, "%*s%09llx-%09llx : %s\n", (int)range->depth * 2, "", (ull)range->start,
                     (ull)range->end, range->name);
    return true;
}

/* What a range's owner said about it when it was added, and what there is of it. */
struct added {
    struct pleat_hmp_output *output;
    uint64_t frame_bytes;
};

static void print_added_line(struct added *added, uint64_t start_pfn, const char *node, uint64_t frames,
                             uint64_t populated, uint64_t withheld, const char *memmap,
                             const char *goes_online, const char *under, const char *owner)
{
    char size[3][32];
    pleat_text_print(&added->output->text, "  %09llx  %4s  %6s  %9s  %8s  %-6s  %-9s  %-13s  %s\n",
                     (ull)(start_pfn * added->frame_bytes), node,
                     size_text(size[0], frames * added->frame_bytes),
                     size_text(size[1], populated * added->frame_bytes),
                     size_text(size[2], withheld * added->frame_bytes), memmap, goes_online, under, owner);
}

static bool print_added(void *context, const struct pleat_range_info *range)
{
    static const char *const memmaps[] = {"block", "range", "boot"};
    char under[32], node[16];
    if (!range->removable)
        snprintf(under, sizeof(under), "boot");
    else if (range->flags & PLEAT_ADD_FORCE_ONLINE)
        snprintf(under, sizeof(under), "force %s", pleat_machine_zone_name(range->force_zone));
    else
        snprintf(under, sizeof(under), "policy");
    snprintf(node, sizeof(node), "%u", range->node);
    print_added_line(context, range->start_pfn, node, range->frames, range->populated_frames,
                     range->fake_offline_frames,
                     (unsigned)range->memmap_mode < 3 ? memmaps[range->memmap_mode] : "?",
                     range->own_online_ops ? "by owner" : "together", under, range->name);
    return true;
}

static bool print_unpopulated(void *context, const struct pleat_unpopulated_info *section)
{
    char owner[64];
    snprintf(owner, sizeof(owner), "unpopulated, %llu in use", (ull)section->used_frames);
    print_added_line(context, section->start_pfn, "-", section->frames, 0, 0, "boot", "never", "-", owner);
    return true;
}

static int info_ranges(struct pleat_control *control, const struct pleat_hmp_words *words,
                       struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)words;
    (void)message;
    struct added added = {output, pleat_machine_frame_bytes(control->machine)};
    pleat_machine_ranges(control->machine, print_range, output);
    pleat_text_print(&output->text, "As added:\n  %-9s  %4s  %6s  %9s  %8s  %-6s  %-9s  %-13s  %s\n",
                     "address", "node", "size", "populated", "withheld", "memmap", "go online", "under",
                     "owner");
    pleat_machine_added_ranges(control->machine, print_added, &added);
    pleat_machine_unpopulated(control->machine, print_unpopulated, &added);
    return PLEAT_OK;
}

/* ---- the guest ---- */

static int info_workload(struct pleat_control *control, const struct pleat_hmp_words *words,
                         struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)words;
    (void)message;
    struct pleat_workload_info info;
    char size[4][32], late[32];
    uint64_t frame_bytes = pleat_machine_frame_bytes(control->machine);
    pleat_machine_workload_info(control->machine, &info);
    pleat_text_print(&output->text, "workload: %s, pass %llu, %s behind its pace\n", info.name,
                     (ull)info.passes + 1, time_text(late, info.late_ns));
    pleat_text_print(&output->text,
                     "operations: %llu (%llu allocations, %llu frees, %llu of them on another CPU), "
                     "%llu allocations refused\n",
                     (ull)info.operations, (ull)info.allocations, (ull)info.frees, (ull)info.remote_frees,
                     (ull)info.refused_allocations);
    pleat_text_print(&output->text, "held: %s unmovable, %s reclaimable, %s movable\n",
                     size_text(size[0], info.held_frames[PLEAT_UNMOVABLE] * frame_bytes),
                     size_text(size[1], info.held_frames[PLEAT_RECLAIMABLE] * frame_bytes),
                     size_text(size[2], info.held_frames[PLEAT_MOVABLE] * frame_bytes));
    pleat_text_print(&output->text, "moved: %llu frames, %llu times refused; %llu frames reclaimed\n",
                     (ull)info.migrated_frames, (ull)info.failed_migrations, (ull)info.reclaimed_frames);
    pleat_text_print(&output->text, "contents checked: %llu, wrong: %llu\n", (ull)info.stamps_checked,
                     (ull)info.stamps_wrong);
    return PLEAT_OK;
}

static void print_driver(struct pleat_hmp_output *output, uint64_t frame_bytes,
                         const struct pleat_memory_device_info *device, const struct pleat_driver_info *info)
{
    char size[3][32], took[32];
    const char *name = device->id[0] ? device->id : device->path;
    if (!info->bound) {
        pleat_text_print(&output->text, "%s: the guest has no driver on it\n", name);
        return;
    }
    pleat_text_print(&output->text, "%s: %s of %s plugged, %s added; the driver is %s\n", name,
                     size_text(size[0], device->size_bytes), size_text(size[1], device->requested_bytes),
                     size_text(size[2], info->added_bytes), info->state);
    if (info->reason[0])
        pleat_text_print(&output->text, "  %s: %s\n", info->busy ? "now" : "it stopped", info->reason);
    pleat_text_print(&output->text, "  last change: took %s, %llu frames moved (%llu since boot)\n",
                     time_text(took, info->last_step_ns), (ull)(info->last_moved_bytes / frame_bytes),
                     (ull)(info->moved_bytes / frame_bytes));
    pleat_text_print(
        &output->text,
        "  requests: %llu, answered ACK %llu, NACK %llu, BUSY %llu, ERROR %llu, not at all %llu; "
        "%llu resets\n",
        (ull)info->requests, (ull)info->acks, (ull)info->nacks, (ull)info->busies, (ull)info->errors,
        (ull)info->timeouts, (ull)info->resets);
}

/* QEMU's words. */
static int info_balloon(struct pleat_control *control, const struct pleat_hmp_words *words,
                        struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)words;
    struct pleat_balloon_info info;
    const int error = pleat_machine_balloon_info(control->machine, &info, message);
    if (!error)
        pleat_text_print(&output->text, "balloon: actual=%llu\n", (ull)(info.actual_bytes >> 20));
    return error;
}

static void print_balloon(struct pleat_hmp_output *output, const struct pleat_balloon_info *info)
{
    char actual[32], target[32], maximum[32], holes[32], added[32], time[32];
    pleat_text_print(&output->text, "balloon: %s, %s of %s wanted, maximum %s\n", info->state,
                     size_text(actual, info->actual_bytes), size_text(target, info->target_bytes),
                     size_text(maximum, info->maximum_bytes));
    if (info->reason[0])
        pleat_text_print(&output->text, "  %s\n", info->reason);
    pleat_text_print(&output->text, "  %s added, %s are holes, %llu frames leaked\n",
                     size_text(added, info->added_bytes), size_text(holes, info->hole_bytes),
                     (ull)info->leaked_frames);
    if (info->on_demand_bytes)
        pleat_text_print(&output->text, "  %s are populated on demand, out of %s in store\n",
                         size_text(actual, info->on_demand_bytes), size_text(target, info->pool_bytes));
    pleat_text_print(&output->text,
                     "  hypercalls: %llu for %llu frames out, %llu for %llu frames in; last change took %s\n",
                     (ull)info->decreases, (ull)info->decreased_frames, (ull)info->populates,
                     (ull)info->populated_frames, time_text(time, info->last_step_ns));
}

static int info_driver(struct pleat_control *control, const struct pleat_hmp_words *words,
                       struct pleat_hmp_output *output, struct pleat_message *message)
{
    struct pleat_memory_device_info device;
    struct pleat_driver_info info;
    int error = PLEAT_OK;
    struct pleat_balloon_info balloon;
    struct pleat_message none;
    const bool has_balloon = !pleat_machine_balloon_info(control->machine, &balloon, &none);
    if (has_balloon && (!words->words[0] || !strcmp(words->words[0], "balloon"))) {
        print_balloon(output, &balloon);
        if (words->words[0])
            return PLEAT_OK;
    }
    if (words->words[0]) {
        error = pleat_machine_memory_device(control->machine, words->words[0], &device, message);
        if (!error)
            error = pleat_machine_driver_info(control->machine, words->words[0], &info, message);
        if (!error)
            print_driver(output, pleat_machine_frame_bytes(control->machine), &device, &info);
        return error;
    }
    unsigned count;
    struct pleat_memory_device_info *devices = pleat_control_devices(control, &count);
    for (unsigned i = 0; i < count; i++) {
        if (!pleat_machine_driver_info(control->machine, devices[i].path, &info, message))
            print_driver(output, pleat_machine_frame_bytes(control->machine), &devices[i], &info);
    }
    free(devices);
    return PLEAT_OK;
}

/* Frames in the way, those of one owner in one pageblock together: a line for each. */
struct obstacles {
    struct pleat_hmp_output *output;
    char owner[32];
    uint64_t first_pfn, last_pfn;
    /* Those of the line that is being filled. */
    uint64_t line_frames;
    uint64_t lines, frames;
};

/* More lines than that help nobody; the sum is exact. */
#define OBSTACLE_LINES_MAX 32

static void end_line(struct obstacles *obstacles)
{
    if (obstacles->line_frames == 0)
        return;
    obstacles->lines++;
    obstacles->frames += obstacles->line_frames;
    if (obstacles->lines <= OBSTACLE_LINES_MAX)
        pleat_text_print(&obstacles->output->text, "  PFN 0x%llx-0x%llx: %llu frames of %s\n",
                         (ull)obstacles->first_pfn, (ull)obstacles->last_pfn, (ull)obstacles->line_frames,
                         obstacles->owner);
    obstacles->line_frames = 0;
}

static bool take_obstacle(void *context, const struct pleat_machine_obstacle *obstacle)
{
    struct obstacles *obstacles = context;
    if (obstacles->first_pfn / PLEAT_PAGEBLOCK_FRAMES != obstacle->pfn / PLEAT_PAGEBLOCK_FRAMES ||
        strcmp(obstacle->owner, obstacles->owner))
        end_line(obstacles);
    if (obstacles->line_frames == 0) {
        obstacles->first_pfn = obstacle->pfn;
        snprintf(obstacles->owner, sizeof(obstacles->owner), "%s", obstacle->owner);
    }
    uint64_t frames = UINT64_C(1) << obstacle->order;
    obstacles->last_pfn = obstacle->pfn + frames - 1;
    obstacles->line_frames += frames;
    return true;
}

static bool find_block(void *context, const struct pleat_machine_block *block)
{
    uint64_t *number = context;
    if (block->number != *number || block->info.state == PLEAT_BLOCK_NONE)
        return true;
    *number = UINT64_MAX;
    return false;
}

static bool is_added(struct pleat_control *control, uint64_t number)
{
    pleat_machine_blocks(control->machine, find_block, &number);
    return number == UINT64_MAX;
}

static int info_obstacles(struct pleat_control *control, const struct pleat_hmp_words *words,
                          struct pleat_hmp_output *output, struct pleat_message *message)
{
    struct obstacles obstacles = {.output = output};
    struct pleat_memory_device_info device;
    uint64_t address = 0, bytes = 0, number;
    struct pleat_message ignored;
    const char *word = words->words[0];
    uint64_t block_bytes = pleat_machine_block_bytes(control->machine);
    if (!strncmp(word, "memory", 6) && !pleat_parse_number(word + 6, &number, &ignored) &&
        number < UINT64_MAX / block_bytes) {
        if (!is_added(control, number))
            return pleat_message_set(message, PLEAT_E_NOT_FOUND, "%s: there is no such memory block", word);
        address = number * block_bytes;
        bytes = block_bytes;
    } else {
        int error = pleat_machine_memory_device(control->machine, word, &device, message);
        if (error)
            return error;
        address = device.memaddr;
        bytes = device.max_bytes;
    }
    pleat_machine_obstacles(control->machine, address, bytes, take_obstacle, &obstacles);
    end_line(&obstacles);
    if (obstacles.lines > OBSTACLE_LINES_MAX)
        pleat_text_print(&output->text, "  ... and in %llu more places\n",
                         (ull)(obstacles.lines - OBSTACLE_LINES_MAX));
    pleat_text_print(&output->text, "%llu frames can't be moved out of 0x%llx-0x%llx\n",
                     (ull)obstacles.frames, (ull)address, (ull)(address + bytes - 1));
    return PLEAT_OK;
}

static int info_faults(struct pleat_control *control, const struct pleat_hmp_words *words,
                       struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)words;
    struct pleat_fault_info *faults = calloc(PLEAT_MACHINE_FAULTS_MAX, sizeof(*faults));
    if (!faults)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "out of memory");
    unsigned count = pleat_machine_faults(control->machine, faults, PLEAT_MACHINE_FAULTS_MAX);
    for (unsigned i = 0; i < count && i < PLEAT_MACHINE_FAULTS_MAX; i++)
        pleat_text_print(&output->text, "%s: passed %llu times, failed there %llu times\n", faults[i].text,
                         (ull)faults[i].asked, (ull)faults[i].hits);
    if (count == 0)
        pleat_text_print(&output->text, "no faults are on\n");
    free(faults);
    return PLEAT_OK;
}

const struct pleat_hmp_command pleat_hmp_info_commands[] = {
    {.name = "balloon", .parameters = "", .help = "show balloon information", .run = info_balloon},
    {.name = "blocks", .parameters = "", .help = "show memory blocks as a map", .run = info_blocks},
    {.name = "driver",
     .arguments = {{PLEAT_HMP_OPTIONAL_WORD, PLEAT_HMP_COMPLETE_DEVICE, 0}},
     .parameters = "[device]",
     .help = "show what the guest's drivers did, and why one stopped short of its request",
     .run = info_driver},
    {.name = "faults", .parameters = "", .help = "show the faults that are on", .run = info_faults},
    {.name = "memory-devices", .parameters = "", .help = "show memory devices", .run = info_memory_devices},
    {.name = "memory_size_summary",
     .parameters = "",
     .help = "show the amount of initially allocated and present hotpluggable (if enabled) memory in bytes.",
     .run = info_memory_size_summary},
    {.name = "numa", .parameters = "", .help = "show NUMA information", .run = info_numa},
    {.name = "obstacles",
     .arguments = {{PLEAT_HMP_WORD, PLEAT_HMP_COMPLETE_DEVICE, 0}},
     .parameters = "device|memoryN",
     .help = "show the frames that can't be moved out of a device's memory or of a block, and whose they are",
     .run = info_obstacles},
    {.name = "ranges", .parameters = "", .help = "show the guest's ranges of memory", .run = info_ranges},
    {.name = "status",
     .parameters = "",
     .help = "show the current VM status (running|paused)",
     .run = info_status},
    {.name = "workload", .parameters = "", .help = "show what the guest is doing", .run = info_workload},
    {.name = "zones", .parameters = "", .help = "show the guest's zones", .run = info_zones},
    {.name = NULL},
};
