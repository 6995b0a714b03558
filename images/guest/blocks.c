/* SPDX-License-Identifier: MIT
 *
 * The states of the memory blocks, told on the console. See blocks.h.
 */
#include "guest.h"

#include "ports/bare/print.h"

#define TOLD_UNMOVABLE 0x80u

static uint64_t block_bytes(const struct guest *guest)
{
    return pleat_block_frames(&guest->core) << pleat_frame_shift(&guest->core);
}

/* --- what a block looks like ---------------------------------------------------------------------------- */

/* By the books of the driver in whose region it is: the core's don't tell what is unplugged from what is on
 * its way. */
static bool is_partly_plugged(const struct guest *guest, const struct pleat_block_info *info)
{
    const unsigned shift = pleat_frame_shift(&guest->core);
    const uint64_t start = info->start_pfn << shift, end = start + (info->frames << shift);

    for (unsigned i = 0; i < guest->device_count; i++) {
        const struct device *device = &guest->devices[i];
        const uint64_t region = device->needs.region_address;
        if (!device->driver || end <= region || start >= region + device->needs.region_bytes)
            continue;
        for (uint64_t at = start; at < end; at += device->needs.block_bytes)
            if (!pleat_virtio_mem_driver_is_plugged(device->driver, at))
                return true;
    }
    return false;
}

static uint8_t look_at(struct guest *guest, uint64_t block)
{
    static const char zones[PLEAT_ZONE_KINDS] = {'D', 'T', 'N', 'P', 'M'};
    static const char others[] = {
        [PLEAT_BLOCK_OFFLINE] = 'o', [PLEAT_BLOCK_GOING_ONLINE] = '+', [PLEAT_BLOCK_GOING_OFFLINE] = '-'};
    struct pleat_block_info info;

    if (pleat_block_info(&guest->core, block * pleat_block_frames(&guest->core), &info))
        return '.';
    if (info.state != PLEAT_BLOCK_ONLINE)
        return (uint8_t)others[info.state];
    unsigned look = (unsigned char)zones[info.zone];
    if (info.removable && is_partly_plugged(guest, &info))
        look += 'a' - 'A';
    return (uint8_t)(look | (info.unmovable_pageblocks ? TOLD_UNMOVABLE : 0));
}

/* --- telling -------------------------------------------------------------------------------------------- */

/* Looks at at most BLOCKS_LINE blocks, and tells those from the first to the last that have changed. */
static void tell_line(struct guest *guest, uint64_t first, uint64_t end)
{
    struct blocks *blocks = &guest->blocks;
    char cells[2 * BLOCKS_LINE + 1];
    uint64_t changed = end, changed_end = end;
    unsigned length = 0;

    for (uint64_t block = first; block < end; block++) {
        const uint8_t look = look_at(guest, block);
        if (blocks->told[block] == look)
            continue;
        blocks->told[block] = look;
        changed = changed < block ? changed : block;
        changed_end = block + 1;
    }
    if (changed == end)
        return;
    for (uint64_t block = changed; block < changed_end; block++) {
        cells[length++] = (char)(blocks->told[block] & ~TOLD_UNMOVABLE);
        if (blocks->told[block] & TOLD_UNMOVABLE)
            cells[length++] = '*';
    }
    cells[length] = '\0';
    print("pleat-blocks: 0x%lx %s\n", changed * block_bytes(guest), cells);
}

uint64_t blocks_tell(struct guest *guest, uint64_t now_ns)
{
    struct blocks *blocks = &guest->blocks;

    if (!blocks->told)
        return UINT64_MAX;
    if (now_ns < blocks->next_ns)
        return blocks->next_ns;
    blocks->next_ns = now_ns + BLOCKS_NS;
    const uint64_t rest = blocks->count - blocks->next_block;
    const uint64_t end = blocks->next_block + (rest < BLOCKS_LOOK ? rest : BLOCKS_LOOK);
    for (uint64_t first = blocks->next_block; first < end; first += BLOCKS_LINE)
        tell_line(guest, first, end - first < BLOCKS_LINE ? end : first + BLOCKS_LINE);
    blocks->next_block = end == blocks->count ? 0 : end;
    const uint64_t free_bytes = pleat_free_frames(&guest->core) << pleat_frame_shift(&guest->core);
    if (blocks->told_free_bytes != free_bytes)
        print("pleat-blocks: free %lu\n", free_bytes);
    blocks->told_free_bytes = free_bytes;
    return blocks->next_ns;
}

/* --- beginning ------------------------------------------------------------------------------------------ */

/* Blocks from address 0 to the last that there may ever be. */
static uint64_t all_blocks(const struct guest *guest)
{
    uint64_t end = platform.highest_pfn << pleat_frame_shift(&guest->core);

    for (unsigned i = 0; i < guest->device_count; i++) {
        const uint64_t region_end =
            guest->devices[i].needs.region_address + guest->devices[i].needs.region_bytes;
        end = region_end > end ? region_end : end;
    }
    return (end + block_bytes(guest) - 1) / block_bytes(guest);
}

/* Blocks from address 0 to the last that isn't a device's. */
static uint64_t boot_blocks(struct guest *guest, uint64_t count)
{
    struct pleat_block_info info;
    uint64_t end = 0;

    for (uint64_t block = 0; block < count; block++)
        if (!pleat_block_info(&guest->core, block * pleat_block_frames(&guest->core), &info) &&
            !info.removable)
            end = block + 1;
    return end;
}

int blocks_begin(struct guest *guest)
{
    struct blocks *blocks = &guest->blocks;
    const uint64_t count = all_blocks(guest);
    const int error = guest_allocate(guest, count, &blocks->pfn, &blocks->order);

    if (error)
        return error;
    blocks->count = count;
    blocks->told_free_bytes = UINT64_MAX;
    blocks->told = guest_pointer(guest, blocks->pfn);
    __builtin_memset(blocks->told, '.', count);
    print("pleat-blocks: size %lu boot %lu\n", block_bytes(guest), boot_blocks(guest, count));
    return PLEAT_OK;
}
