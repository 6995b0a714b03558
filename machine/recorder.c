/* SPDX-License-Identifier: MIT
 *
 * The recorder: sizes of the devices, free memory of the guest and the state of each memory block over time,
 * for the picture at the end. A sample is only kept where something has changed, and the longer a run is the
 * rarer they are taken.
 */
#include <stdlib.h>
#include <string.h>

#include "machine/machine_parts.h"
#include "machine/options.h"
#include "machine/picture.h"

#define FIRST_INTERVAL_NS UINT64_C(50000000)
/* After so many snapshots of the map the interval doubles. */
#define SNAPSHOTS_AN_INTERVAL 512u

struct curve {
    int number;
    uint64_t last_bytes;
    bool begun;
};

struct device_curves {
    char id[PLEAT_MACHINE_ID_BYTES];
    struct curve requested, plugged;
};

struct pleat_recorder {
    struct pleat_picture *picture; /* NULL before the first sample */
    struct curve free;
    struct device_curves devices[PLEAT_MACHINE_DEVICES_MAX];
    unsigned device_count;
    struct pleat_picture_cell *cells, *last_cells;
    size_t cell_count, cells_used;
    uint64_t next_ns, interval_ns;
    unsigned snapshots;
};

struct pleat_recorder *pleat_recorder_create(void)
{
    struct pleat_recorder *recorder = calloc(1, sizeof *recorder);

    if (recorder)
        recorder->interval_ns = FIRST_INTERVAL_NS;
    return recorder;
}

void pleat_recorder_destroy(struct pleat_recorder *recorder)
{
    if (!recorder)
        return;
    pleat_picture_destroy(recorder->picture);
    free(recorder->cells);
    free(recorder->last_cells);
    free(recorder);
}

/* ---- the map ---- */

/* Memory blocks of a range of addresses. */
static uint64_t blocks_of(struct pleat_machine *machine, uint64_t start, uint64_t bytes)
{
    const uint64_t block_bytes = pleat_block_frames(pleat_guest_core(machine->guest))
                                 << PLEAT_LAYOUT_FRAME_SHIFT;

    return (start + bytes + block_bytes - 1) / block_bytes - start / block_bytes;
}

static void look_at_block(struct pleat_machine *machine, const struct pleat_device_slot *slot, uint64_t pfn,
                          struct pleat_picture_cell *cell)
{
    struct pleat *core = pleat_guest_core(machine->guest);
    struct pleat_block_info info;

    memset(cell, 0, sizeof *cell);
    cell->state = PLEAT_BLOCK_NONE;
    if (pleat_block_info(core, pfn, &info))
        return;
    cell->state = (uint8_t)info.state;
    cell->zone = (uint8_t)info.zone;
    cell->holds_unmovable = info.state == PLEAT_BLOCK_ONLINE && info.unmovable_pageblocks > 0;
    if (slot) {
        const uint64_t bytes = info.frames << PLEAT_LAYOUT_FRAME_SHIFT;
        cell->partly_plugged =
            pleat_device_slot_plugged_in(slot, info.start_pfn << PLEAT_LAYOUT_FRAME_SHIFT, bytes) < bytes;
    }
}

static void look_at_range(struct pleat_recorder *recorder, struct pleat_machine *machine,
                          const struct pleat_device_slot *slot, uint64_t start, uint64_t bytes)
{
    const uint64_t frames = pleat_block_frames(pleat_guest_core(machine->guest));
    const uint64_t first = (start >> PLEAT_LAYOUT_FRAME_SHIFT) / frames;

    for (uint64_t i = 0; i < blocks_of(machine, start, bytes) && recorder->cells_used < recorder->cell_count;
         i++)
        look_at_block(machine, slot, (first + i) * frames, &recorder->cells[recorder->cells_used++]);
}

/* Boot RAM ends here, as far as the map is concerned: the hole below 4 GiB is shown as absent. */
static uint64_t boot_end(const struct pleat_machine *machine)
{
    return machine->layout.above_4g_bytes ? 4 * PLEAT_GIB + machine->layout.above_4g_bytes
                                          : machine->layout.below_4g_bytes;
}

static void snapshot(struct pleat_recorder *recorder, struct pleat_machine *machine, uint64_t now_ns)
{
    const size_t bytes = recorder->cell_count * sizeof *recorder->cells;

    recorder->cells_used = 0;
    look_at_range(recorder, machine, NULL, 0, boot_end(machine));
    /* Devices that came later have no row; those that went leave theirs absent. */
    for (unsigned i = 0; i < recorder->device_count; i++) {
        const struct pleat_device_slot *slot = pleat_machine_slot(machine, recorder->devices[i].id);
        if (slot)
            look_at_range(recorder, machine, slot, slot->address, slot->bytes);
    }
    while (recorder->cells_used < recorder->cell_count)
        recorder->cells[recorder->cells_used++] = (struct pleat_picture_cell){.state = PLEAT_BLOCK_NONE};
    if (recorder->snapshots && !memcmp(recorder->cells, recorder->last_cells, bytes))
        return;
    memcpy(recorder->last_cells, recorder->cells, bytes);
    pleat_picture_snapshot(recorder->picture, now_ns, recorder->cells, recorder->cell_count);
    if (++recorder->snapshots % SNAPSHOTS_AN_INTERVAL == 0)
        recorder->interval_ns *= 2;
}

/* ---- curves ---- */

static void begin_curve(struct pleat_recorder *recorder, struct curve *curve, const char *name,
                        unsigned colour, bool dashed)
{
    *curve = (struct curve){.number = pleat_picture_curve(recorder->picture, name, colour, dashed)};
}

static void point(struct pleat_recorder *recorder, struct curve *curve, uint64_t now_ns, uint64_t bytes)
{
    if (curve->number < 0 || (curve->begun && curve->last_bytes == bytes))
        return;
    pleat_picture_point(recorder->picture, curve->number, now_ns, bytes);
    curve->last_bytes = bytes;
    curve->begun = true;
}

/* The picture, its curves and the rows of its map: what the machine is made of now. */
static bool begin(struct pleat_recorder *recorder, struct pleat_machine *machine)
{
    const uint64_t boot_blocks = blocks_of(machine, 0, boot_end(machine));
    char subtitle[160], size[32];

    snprintf(subtitle, sizeof subtitle, "%s boot memory, %u CPUs, %u nodes, workload: %s",
             pleat_format_size(size, machine->config->ram_bytes), machine->config->cpus,
             machine->config->nodes,
             machine->config->workload.kind == PLEAT_WORKLOAD_NONE        ? "none"
             : machine->config->workload.kind == PLEAT_WORKLOAD_SYNTHETIC ? "synthetic"
                                                                          : "recorded");
    recorder->picture =
        pleat_picture_create(machine->config->name[0] ? machine->config->name : "pleat", subtitle);
    if (!recorder->picture)
        return false;
    pleat_picture_region(recorder->picture, "boot", boot_blocks);
    recorder->cell_count = boot_blocks;
    begin_curve(recorder, &recorder->free, "free in the guest", 0, false);
    for (unsigned i = 0; i < machine->slot_count; i++) {
        const struct pleat_device_slot *slot = machine->slots[i];
        struct device_curves *device = &recorder->devices[recorder->device_count];
        const uint64_t blocks = blocks_of(machine, slot->address, slot->bytes);
        char name[PLEAT_MACHINE_ID_BYTES + 16];

        if (!slot->config.id[0])
            continue;
        memcpy(device->id, slot->config.id, sizeof device->id);
        const unsigned colour = 1 + recorder->device_count % (PLEAT_PICTURE_COLOURS - 1);
        snprintf(name, sizeof name, "%s requested", device->id);
        begin_curve(recorder, &device->requested, name, colour, true);
        snprintf(name, sizeof name, "%s plugged", device->id);
        begin_curve(recorder, &device->plugged, name, colour, false);
        pleat_picture_region(recorder->picture, device->id, blocks);
        recorder->cell_count += blocks;
        recorder->device_count++;
    }
    recorder->cells = calloc(recorder->cell_count, sizeof *recorder->cells);
    recorder->last_cells = calloc(recorder->cell_count, sizeof *recorder->last_cells);
    return recorder->cells && recorder->last_cells;
}

void pleat_recorder_sample(struct pleat_recorder *recorder, struct pleat_machine *machine)
{
    const uint64_t now_ns = pleat_clock_now_ns(&machine->clock);

    if (now_ns < recorder->next_ns || !machine->guest)
        return;
    recorder->next_ns = now_ns + recorder->interval_ns;
    if (!recorder->picture && !begin(recorder, machine))
        return;
    if (!recorder->cells || !recorder->last_cells)
        return;
    point(recorder, &recorder->free, now_ns,
          pleat_free_frames(pleat_guest_core(machine->guest)) << PLEAT_LAYOUT_FRAME_SHIFT);
    for (unsigned i = 0; i < recorder->device_count; i++) {
        struct device_curves *device = &recorder->devices[i];
        const struct pleat_device_slot *slot = pleat_machine_slot(machine, device->id);
        point(recorder, &device->requested, now_ns,
              slot ? pleat_virtio_mem_device_requested_bytes(slot->device) : 0);
        point(recorder, &device->plugged, now_ns,
              slot ? pleat_virtio_mem_device_plugged_bytes(slot->device) : 0);
    }
    snapshot(recorder, machine, now_ns);
}

void pleat_recorder_mark(struct pleat_recorder *recorder, struct pleat_machine *machine,
                         const struct pleat_device_slot *slot, uint64_t bytes)
{
    char text[PLEAT_MACHINE_ID_BYTES + 40], size[32];

    if (!recorder->picture)
        return;
    snprintf(text, sizeof text, "%s to %s", pleat_device_slot_name(slot), pleat_format_size(size, bytes));
    pleat_picture_mark(recorder->picture, pleat_clock_now_ns(&machine->clock), text);
}

int pleat_recorder_draw(struct pleat_recorder *recorder, const char *stem, struct pleat_message *message)
{
    if (!recorder->picture)
        return pleat_message_set(message, PLEAT_E_STATE, "nothing has been recorded yet");
    return pleat_picture_draw(recorder->picture, stem, 0, message);
}
