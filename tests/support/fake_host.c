/* SPDX-License-Identifier: MIT
 *
 * A host of notes, for tests of the virtio-mem device.
 */
#include <string.h>

#include "tests/support/fake_host.h"

static void complain(struct fake_host *host, const char *what)
{
    if (!host->complaint)
        host->complaint = what;
}

static bool fails(struct fake_fault *fault)
{
    fault->calls++;
    return fault->at && (fault->calls == fault->at || (fault->for_good && fault->calls > fault->at));
}

static bool range_is_sane(struct fake_host *host, uint64_t offset, uint64_t bytes)
{
    const uint64_t region = host->blocks * host->block_bytes;
    if (bytes && !(offset % host->block_bytes) && !(bytes % host->block_bytes) && offset < region &&
        bytes <= region - offset)
        return true;
    complain(host, "a callback got a range that is empty, misaligned or outside of the region");
    return false;
}

static int map(void *context, uint64_t offset, uint64_t bytes)
{
    struct fake_host *host = context;
    if (fails(&host->map))
        return PLEAT_E_NO_MEMORY;
    if (!range_is_sane(host, offset, bytes))
        return PLEAT_E_INVALID;
    for (uint64_t b = offset / host->block_bytes; b < (offset + bytes) / host->block_bytes; b++) {
        if (host->reach[b] == FAKE_MAPPED)
            complain(host, "map() of a block that is mapped");
        host->reach[b] = FAKE_MAPPED;
        host->held[b] = true;
    }
    return 0;
}

static int conceal(struct fake_host *host, struct fake_fault *fault, uint64_t offset, uint64_t bytes,
                   enum fake_reach reach)
{
    if (fails(fault))
        return PLEAT_E_NO_MEMORY;
    if (!range_is_sane(host, offset, bytes))
        return PLEAT_E_INVALID;
    for (uint64_t b = offset / host->block_bytes; b < (offset + bytes) / host->block_bytes; b++)
        host->reach[b] = (uint8_t)reach;
    return 0;
}

static int unmap(void *context, uint64_t offset, uint64_t bytes)
{
    struct fake_host *host = context;
    return conceal(host, &host->unmap, offset, bytes, FAKE_INACCESSIBLE);
}

static int map_zeroes(void *context, uint64_t offset, uint64_t bytes)
{
    struct fake_host *host = context;
    return conceal(host, &host->zeroes, offset, bytes, FAKE_ZEROES);
}

static int discard(void *context, uint64_t offset, uint64_t bytes)
{
    struct fake_host *host = context;
    if (fails(&host->discard))
        return PLEAT_E_DEVICE;
    if (!range_is_sane(host, offset, bytes))
        return PLEAT_E_INVALID;
    for (uint64_t b = offset / host->block_bytes; b < (offset + bytes) / host->block_bytes; b++) {
        if (host->reach[b] == FAKE_MAPPED)
            complain(host, "discard() of a block that the guest can reach");
        host->held[b] = false;
        host->content[b] = 0;
    }
    return 0;
}

static void config_interrupt(void *context)
{
    struct fake_host *host = context;
    host->interrupts++;
}

static void plugged_changed(void *context, uint64_t plugged_bytes)
{
    struct fake_host *host = context;
    if (host->tells && host->told_bytes == plugged_bytes)
        complain(host, "plugged_changed() told the same size twice");
    host->tells++;
    host->told_bytes = plugged_bytes;
}

static uint64_t clock_ns(void *context)
{
    struct fake_host *host = context;
    return host->clock_ns += host->tick_ns;
}

const struct pleat_virtio_mem_device_ops fake_host_ops = {
    .map = map,
    .unmap = unmap,
    .discard = discard,
    .map_zeroes = map_zeroes,
    .config_interrupt = config_interrupt,
    .plugged_changed = plugged_changed,
    .clock_ns = clock_ns,
};

void fake_host_init(struct fake_host *host, uint64_t block_bytes, uint64_t blocks)
{
    memset(host, 0, sizeof(*host));
    host->block_bytes = block_bytes;
    host->blocks = blocks;
}

void fake_host_heal(struct fake_host *host)
{
    const struct fake_fault none = {0};
    host->map = host->unmap = host->discard = host->zeroes = none;
}

const char *fake_host_compare(const struct fake_host *host, const struct pleat_virtio_mem_device *device,
                              enum fake_reach unplugged_reach)
{
    struct pleat_virtio_mem_device_statistics statistics;
    const uint64_t usable = pleat_virtio_mem_device_usable_bytes(device);
    uint64_t plugged = 0, undiscarded = 0;

    pleat_virtio_mem_device_statistics(device, &statistics);
    if (host->complaint)
        return host->complaint;
    if (!pleat_virtio_mem_device_is_valid(device))
        return "the device isn't valid";
    for (uint64_t b = 0; b < host->blocks; b++) {
        const uint64_t offset = b * host->block_bytes;
        if (pleat_virtio_mem_device_is_plugged(device, offset, host->block_bytes)) {
            plugged += host->block_bytes;
            if (host->reach[b] != FAKE_MAPPED || !host->held[b])
                return "a plugged block isn't mapped with memory behind it";
        } else {
            /* Zeroes beyond the usable region stay when they can't be unmapped, as long as their driver. */
            const bool leftover = offset >= usable && host->reach[b] == FAKE_ZEROES &&
                                  unplugged_reach == FAKE_ZEROES && statistics.unmap_failures;
            if (host->reach[b] != (offset < usable ? unplugged_reach : FAKE_INACCESSIBLE) && !leftover)
                return "an unplugged block can be reached, or zeroes can't";
            undiscarded += host->held[b] ? host->block_bytes : 0;
        }
    }
    if (plugged != pleat_virtio_mem_device_plugged_bytes(device))
        return "plugged_bytes isn't the sum of plugged blocks";
    if (undiscarded > statistics.undiscarded_bytes)
        return "the host holds memory behind unplugged blocks that nobody counted";
    return NULL;
}
