/* SPDX-License-Identifier: MIT
 *
 * Guest-physical addresses, by the rules that layout.h names.
 */
#include "machine/layout.h"

#include <inttypes.h>
#include <string.h>

#define FOUR_GIB (4 * PLEAT_GIB)

/* RAM ends here below 640 KiB; the rest of that page and the one below 1 MiB are the firmware's. */
#define LOW_RAM_END    UINT64_C(0x9fc00)
#define LOW_RESERVED   UINT64_C(0xa0000)
#define BIOS_START     UINT64_C(0xf0000)
#define HIGH_RAM_START PLEAT_MIB
#define ACPI_BYTES     (128 * PLEAT_KIB)
#define FRAME_BYTES    (UINT64_C(1) << PLEAT_LAYOUT_FRAME_SHIFT)
#define NODE_ALIGNMENT (8 * PLEAT_MIB)
/* Where Linux puts its image on x86, if there is room; in a small machine right above 1 MiB. */
#define KERNEL_START       (16 * PLEAT_MIB)
#define KERNEL_BYTES       (24 * PLEAT_MIB)
#define KERNEL_ROOM        (256 * PLEAT_MIB)
#define SMALL_KERNEL_BYTES PLEAT_MIB

static uint64_t round_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) / alignment * alignment;
}

int pleat_layout_make(enum pleat_machine_type type, uint64_t ram_bytes, uint64_t maximum_bytes,
                      unsigned slots, struct pleat_layout *layout, struct pleat_message *message)
{
    if (ram_bytes < PLEAT_LAYOUT_RAM_BYTES_MIN || ram_bytes > PLEAT_MACHINE_MEMORY_BYTES_MAX)
        return pleat_message_set(
            message, PLEAT_E_INVALID,
            "-m: a machine has from %" PRIu64 " MiB to %" PRIu64 " GiB of memory, found %" PRIu64 " bytes",
            PLEAT_LAYOUT_RAM_BYTES_MIN / PLEAT_MIB, PLEAT_MACHINE_MEMORY_BYTES_MAX / PLEAT_GIB, ram_bytes);
    if (maximum_bytes < ram_bytes || maximum_bytes > PLEAT_MACHINE_MEMORY_BYTES_MAX)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "-m: maxmem is from the memory's size (0x%" PRIx64 ") to 0x%" PRIx64
                                 ", found 0x%" PRIx64,
                                 ram_bytes, PLEAT_MACHINE_MEMORY_BYTES_MAX, maximum_bytes);

    const uint64_t most = type == PLEAT_MACHINE_Q35 ? UINT64_C(0xb0000000) : UINT64_C(0xe0000000);
    const uint64_t split = type == PLEAT_MACHINE_Q35 ? UINT64_C(0x80000000) : UINT64_C(0xc0000000);
    const uint64_t low = ram_bytes >= most ? split : most;

    memset(layout, 0, sizeof *layout);
    layout->below_4g_bytes = ram_bytes < low ? ram_bytes : low;
    layout->above_4g_bytes = ram_bytes - layout->below_4g_bytes;
    layout->end = layout->above_4g_bytes ? FOUR_GIB + layout->above_4g_bytes : layout->below_4g_bytes;
    layout->device_total_bytes = maximum_bytes - ram_bytes;
    if (layout->device_total_bytes) {
        layout->device_area_start = round_up(FOUR_GIB + layout->above_4g_bytes, PLEAT_GIB);
        layout->device_area_bytes = layout->device_total_bytes + slots * PLEAT_GIB;
        layout->end = layout->device_area_start + layout->device_area_bytes;
    }
    if (type == PLEAT_MACHINE_XENPVH && layout->device_total_bytes) {
        layout->growth_start = round_up(layout->end, PLEAT_LAYOUT_BLOCK_BYTES);
        layout->growth_bytes = round_up(layout->device_total_bytes, PLEAT_LAYOUT_BLOCK_BYTES);
        layout->end = layout->growth_start + layout->growth_bytes;
    }
    if (type == PLEAT_MACHINE_XENPVH) {
        layout->hole_start = round_up(layout->end > FOUR_GIB ? layout->end : FOUR_GIB, PLEAT_GIB);
        layout->hole_bytes = PLEAT_GIB;
        layout->end = layout->hole_start + layout->hole_bytes;
    }
    return PLEAT_OK;
}

int pleat_layout_place(const struct pleat_layout *layout, const struct pleat_layout_region *regions,
                       unsigned count, uint64_t bytes, uint64_t alignment_bytes, uint64_t wished,
                       const char *(*name_of)(void *context, unsigned region), void *context,
                       uint64_t *address, struct pleat_message *message)
{
    const uint64_t area_start = layout->device_area_start;
    const uint64_t area_end = area_start + layout->device_area_bytes;
    uint64_t used = 0;

    if (!layout->device_area_bytes)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "the configuration is not prepared for memory devices (e.g., for memory "
                                 "hotplug), consider specifying the maxmem option");
    for (unsigned i = 0; i < count; i++)
        used += regions[i].bytes;
    if (bytes > layout->device_total_bytes || used > layout->device_total_bytes - bytes)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "not enough space, currently 0x%" PRIx64
                                 " in use of total space for memory devices 0x%" PRIx64,
                                 used, layout->device_total_bytes);

    if (wished) {
        if (wished % alignment_bytes)
            return pleat_message_set(message, PLEAT_E_INVALID,
                                     "address must be aligned to 0x%" PRIx64 " bytes", alignment_bytes);
        if (wished < area_start || wished > area_end || bytes > area_end - wished)
            return pleat_message_set(message, PLEAT_E_INVALID,
                                     "can't add memory device [0x%" PRIx64 ":0x%" PRIx64
                                     "], usable range for memory devices [0x%" PRIx64 ":0x%" PRIx64 "]",
                                     wished, bytes, area_start, layout->device_area_bytes);
    }

    uint64_t place = wished ? wished : round_up(area_start, alignment_bytes);
    for (unsigned i = 0; i < count; i++) {
        const uint64_t end = regions[i].start + regions[i].bytes;

        if (end <= place)
            continue;
        if (regions[i].start >= place + bytes)
            break;
        if (wished)
            return pleat_message_set(message, PLEAT_E_INVALID,
                                     "address range conflicts with memory device id='%s'",
                                     name_of(context, i));
        place = round_up(end, alignment_bytes);
    }
    if (place > area_end || bytes > area_end - place)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "could not find position in guest address space for memory device - memory "
                                 "fragmented due to alignments");
    *address = place;
    return PLEAT_OK;
}

void pleat_layout_split_nodes(uint64_t ram_bytes, unsigned nodes, uint64_t *node_bytes)
{
    uint64_t used = 0;

    for (unsigned i = 0; i + 1 < nodes; i++) {
        node_bytes[i] = ram_bytes / nodes / NODE_ALIGNMENT * NODE_ALIGNMENT;
        used += node_bytes[i];
    }
    node_bytes[nodes - 1] = ram_bytes - used;
}

/* The kernel's image: where it begins and how long it is. */
static uint64_t kernel_image(const struct pleat_layout *layout, uint64_t *bytes)
{
    const bool small = layout->below_4g_bytes < KERNEL_ROOM;

    *bytes = small ? SMALL_KERNEL_BYTES : KERNEL_BYTES;
    return small ? HIGH_RAM_START : KERNEL_START;
}

unsigned pleat_layout_pieces(const struct pleat_layout *layout,
                             struct pleat_layout_piece pieces[PLEAT_LAYOUT_PIECES_MAX])
{
    const uint64_t acpi = layout->below_4g_bytes - ACPI_BYTES;
    uint64_t kernel_bytes;
    const uint64_t kernel = kernel_image(layout, &kernel_bytes);
    unsigned count = 0;

    pieces[count++] = (struct pleat_layout_piece){0, LOW_RAM_END, "System RAM", 0};
    pieces[count++] = (struct pleat_layout_piece){LOW_RAM_END, LOW_RESERVED - LOW_RAM_END, "Reserved", 0};
    pieces[count++] = (struct pleat_layout_piece){BIOS_START, HIGH_RAM_START - BIOS_START, "Reserved", 0};
    pieces[count++] = (struct pleat_layout_piece){HIGH_RAM_START, acpi - HIGH_RAM_START, "System RAM", 0};
    pieces[count++] = (struct pleat_layout_piece){kernel, kernel_bytes, "Kernel image", 1};
    pieces[count++] = (struct pleat_layout_piece){acpi, ACPI_BYTES, "Reserved", 0};
    if (layout->above_4g_bytes)
        pieces[count++] = (struct pleat_layout_piece){FOUR_GIB, layout->above_4g_bytes, "System RAM", 0};
    return count;
}

/* The node of a piece of boot RAM that begins `offset` bytes into it, and how far that node reaches. */
static unsigned node_of(uint64_t offset, const uint64_t *node_bytes, unsigned nodes, uint64_t *node_end)
{
    uint64_t end = 0;

    for (unsigned node = 0; node < nodes; node++) {
        end += node_bytes[node];
        if (offset < end) {
            *node_end = end;
            return node;
        }
    }
    *node_end = UINT64_MAX;
    return nodes - 1;
}

/* Adds the frames that lie wholly in [start, end), cut where the node changes. */
static unsigned add_span(struct pleat_boot_span *spans, unsigned count, const struct pleat_layout *layout,
                         const uint64_t *node_bytes, unsigned nodes, uint64_t start, uint64_t end,
                         enum pleat_boot_use use)
{
    while (start < end) {
        /* Addresses from 4 GiB on are the part of RAM that follows the one below. */
        const uint64_t hole = start >= FOUR_GIB ? FOUR_GIB - layout->below_4g_bytes : 0;
        uint64_t node_end;
        const unsigned node = node_of(start - hole, node_bytes, nodes, &node_end);
        const uint64_t piece_end = node_end < end - hole ? node_end + hole : end;
        const uint64_t first = round_up(start, FRAME_BYTES) / FRAME_BYTES;
        const uint64_t last = piece_end / FRAME_BYTES;

        if (last > first)
            spans[count++] = (struct pleat_boot_span){first, last - first, node, use};
        start = piece_end;
    }
    return count;
}

unsigned pleat_layout_boot_spans(const struct pleat_layout *layout, const uint64_t *node_bytes,
                                 unsigned nodes, struct pleat_boot_span spans[PLEAT_LAYOUT_SPANS_MAX])
{
    const uint64_t acpi = layout->below_4g_bytes - ACPI_BYTES;
    const uint64_t low_end = LOW_RAM_END / FRAME_BYTES * FRAME_BYTES;
    uint64_t kernel_bytes;
    const uint64_t kernel = kernel_image(layout, &kernel_bytes);
    const struct {
        uint64_t start, end;
        enum pleat_boot_use use;
    } parts[] = {
        {0, FRAME_BYTES, PLEAT_BOOT_RESERVED}, /* a NULL of addresses: no frame 0 in anybody's hands */
        {FRAME_BYTES, low_end, PLEAT_BOOT_FREE},
        {low_end, LOW_RESERVED, PLEAT_BOOT_RESERVED},
        {BIOS_START, HIGH_RAM_START, PLEAT_BOOT_RESERVED},
        {HIGH_RAM_START, kernel, PLEAT_BOOT_FREE},
        {kernel, kernel + kernel_bytes, PLEAT_BOOT_RESERVED},
        {kernel + kernel_bytes, acpi, PLEAT_BOOT_FREE},
        {acpi, layout->below_4g_bytes, PLEAT_BOOT_RESERVED},
        {FOUR_GIB, FOUR_GIB + layout->above_4g_bytes, PLEAT_BOOT_FREE},
    };
    unsigned count = 0;

    for (unsigned i = 0; i < sizeof parts / sizeof parts[0]; i++)
        count = add_span(spans, count, layout, node_bytes, nodes, parts[i].start, parts[i].end, parts[i].use);
    return count;
}
