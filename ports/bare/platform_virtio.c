/* SPDX-License-Identifier: MIT
 *
 * From the virtio transport over PCI to the platform. See platform_virtio.h.
 */
#include "platform_virtio.h"

#include "platform.h"

static uint32_t config_read(void *context, unsigned offset, unsigned bytes)
{
    return platform_pci_read(context, offset, bytes);
}

static void config_write(void *context, unsigned offset, unsigned bytes, uint32_t value)
{
    platform_pci_write(context, offset, bytes, value);
}

static void *map(void *context, unsigned bar, uint64_t address, uint64_t bytes)
{
    (void)context;
    (void)bar;
    return platform_map_registers(address, bytes);
}

const struct pleat_virtio_pci_ops platform_virtio_pci_ops = {
    .config_read = config_read, .config_write = config_write, .map = map};
