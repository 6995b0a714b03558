/* SPDX-License-Identifier: MIT
 *
 * The config space (VIRTIO 5.15.4): read as one generation, checked before any of it is believed (X10), and
 * never written (V-CFG1). What must not change is held against what it was when the instance was created:
 * all sizes of the books come from there.
 */
#include "driver.h"

/** Attempts, within one step, to read fields of one generation. */
#define READ_TRIES 8u
/** Before the next attempt, when the config space kept changing. */
#define READ_AGAIN_NS UINT64_C(1000000)

static const struct pleat_virtio_config_field fields[] = {
    {offsetof(struct pleat_virtio_mem_config, block_size), 8},
    {offsetof(struct pleat_virtio_mem_config, node_id), 2},
    {offsetof(struct pleat_virtio_mem_config, address), 8},
    {offsetof(struct pleat_virtio_mem_config, region_size), 8},
    {offsetof(struct pleat_virtio_mem_config, usable_region_size), 8},
    {offsetof(struct pleat_virtio_mem_config, plugged_size), 8},
    {offsetof(struct pleat_virtio_mem_config, requested_size), 8},
};
#define FIELDS (sizeof(fields) / sizeof(fields[0]))

int pleat_virtio_mem_config_read(const struct pleat_virtio_transport *transport, struct device_config *config)
{
    uint64_t values[FIELDS];
    const int error = pleat_virtio_config_read_fields(transport, fields, FIELDS, READ_TRIES, values);
    if (error < 0) {
        return error;
    }
    *config = (struct device_config){.block_bytes = values[0],
                                     .node = values[1],
                                     .address = values[2],
                                     .region_bytes = values[3],
                                     .usable_bytes = values[4],
                                     .plugged_bytes = values[5],
                                     .requested_bytes = values[6]};
    return 0;
}

const char *pleat_virtio_mem_config_flaw(const struct device_config *config)
{
    const uint64_t inside_block = config->block_bytes - 1;
    if (config->block_bytes == 0) {
        return "block_size is 0";
    }
    if ((config->block_bytes & inside_block) != 0) {
        return "block_size is no power of two";
    }
    if ((config->address & inside_block) != 0) {
        return "addr is no multiple of block_size";
    }
    if ((config->region_bytes & inside_block) != 0) {
        return "region_size is no multiple of block_size";
    }
    if (config->region_bytes > UINT64_MAX - config->address) {
        return "the region wraps round the end of the address space";
    }
    if ((config->usable_bytes & inside_block) != 0) {
        return "usable_region_size is no multiple of block_size";
    }
    if (config->usable_bytes > config->region_bytes) {
        return "usable_region_size is more than region_size";
    }
    if ((config->plugged_bytes & inside_block) != 0) {
        return "plugged_size is no multiple of block_size";
    }
    if (config->plugged_bytes > config->region_bytes) {
        return "plugged_size is more than region_size";
    }
    if ((config->requested_bytes & inside_block) != 0) {
        return "requested_size is no multiple of block_size";
    }
    if (config->requested_bytes > config->region_bytes) {
        return "requested_size is more than region_size";
    }
    return NULL;
}

static const char *fixed_field_changed(const struct pleat_virtio_mem_driver *driver,
                                       const struct device_config *config)
{
    if (config->block_bytes != driver->geometry.block_bytes) {
        return "block_size has changed";
    }
    if (config->address != driver->geometry.region_address) {
        return "addr has changed";
    }
    if (config->region_bytes != driver->geometry.region_bytes) {
        return "region_size has changed";
    }
    /* Without ACPI_PXM node_id says nothing (V-CFG3). */
    const bool node_counts = driver->features >> PLEAT_VIRTIO_MEM_F_ACPI_PXM & 1;
    if (driver->started && node_counts && config->node != driver->device.node) {
        return "node_id has changed";
    }
    return NULL;
}

static void take_over(struct pleat_virtio_mem_driver *driver, const struct device_config *config)
{
    const bool changed = config->requested_bytes != driver->device.requested_bytes ||
                         config->usable_bytes != driver->device.usable_bytes;
    driver->device = *config;
    if (!changed) {
        return;
    }
    driver->statistics.config_changes++;
    driver->plug_refused = false;
    driver->unplug_refused = false;
    driver->errors_in_row = 0;
    driver->stop.reason = PLEAT_VIRTIO_MEM_REASON_NONE;
    pleat_virtio_mem_device_calm(driver);
    pleat_virtio_mem_resume(driver);
}

enum outcome pleat_virtio_mem_config_refresh(struct pleat_virtio_mem_driver *driver)
{
    const struct pleat_virtio_transport *transport = driver->config.transport;
    struct device_config config;
    driver->budget -= ACTION_BYTES;
    if ((transport->ops->get_status(transport->context) & PLEAT_VIRTIO_STATUS_NEEDS_RESET) != 0) {
        pleat_virtio_mem_fault(driver, PLEAT_VIRTIO_MEM_REASON_PROTOCOL, "the device asks to be reset");
        return DONE_SOMETHING;
    }
    const int error = pleat_virtio_mem_config_read(transport, &config);
    if (error == PLEAT_E_BUSY) {
        driver->config_pending = true;
        pleat_virtio_mem_timer_start(driver, &driver->config_timer, READ_AGAIN_NS);
        return pleat_virtio_mem_wait_for(driver, &driver->config_timer);
    }
    const char *flaw = error < 0 ? "it can't be read" : pleat_virtio_mem_config_flaw(&config);
    if (flaw == NULL) {
        flaw = fixed_field_changed(driver, &config);
    }
    driver->config_pending = false;
    if (flaw != NULL) {
        pleat_virtio_mem_fault(driver, PLEAT_VIRTIO_MEM_REASON_CONFIG, flaw);
        return DONE_SOMETHING;
    }
    take_over(driver, &config);
    return DONE_SOMETHING;
}
