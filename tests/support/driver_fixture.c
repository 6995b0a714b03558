/* SPDX-License-Identifier: MIT
 *
 * The fixture: memory, device and driver put together, and stepped.
 */
#include "tests/support/driver_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define STEPS_MAX   100000
#define PATIENCE_NS UINT64_C(100000000000)

static uint64_t or_else(uint64_t value, uint64_t otherwise)
{
    return value == 0 ? otherwise : value;
}

struct fixture *fixture_prepare(const struct fixture_shape *wanted)
{
    static const struct fixture_shape usual;
    const struct fixture_shape shape = wanted == NULL ? usual : *wanted;
    /* The device's shared memory in it is aligned. */
    struct fixture *fixture = aligned_alloc(PLEAT_VIRTIO_MEM_DRIVER_ALIGNMENT, sizeof(*fixture));
    assert_non_null(fixture);
    memset(fixture, 0, sizeof(*fixture));
    const uint64_t region = or_else(shape.region_bytes, FIXTURE_REGION);
    const uint64_t block = or_else(shape.block_bytes, FIXTURE_BLOCK);
    const uint64_t offset = shape.region_offset;
    const uint64_t metadata = or_else(shape.metadata_bytes, FIXTURE_METADATA);
    const struct model_shape model = {.address = FIXTURE_ADDRESS,
                                      .bytes = (offset + region + block - 1) / block * block,
                                      .block_bytes = block,
                                      .piece_bytes = or_else(shape.piece_bytes, FIXTURE_PIECE),
                                      .metadata_bytes = metadata == UINT64_MAX ? 0 : metadata};
    model_memory_init(&fixture->model, &model);
    scripted_device_init(&fixture->device, &fixture->model, FIXTURE_ADDRESS + offset, region,
                         or_else(shape.device_block_bytes, FIXTURE_PIECE));
    fixture->config.memory = &fixture->model.memory;
    fixture->config.transport = &fixture->device.transport;
    fixture->config.shared = fixture->device.shared;
    fixture->config.shared_physical = fixture->device.shared_physical;
    fixture->config.shared_bytes = SCRIPTED_SHARED_BYTES;
    fixture->config.floor_bytes = PLEAT_VIRTIO_MEM_OFF;
    return fixture;
}

void fixture_create(struct fixture *fixture)
{
    struct pleat_virtio_mem_driver_needs needs;
    assert_int_equal(
        pleat_virtio_mem_driver_measure(&fixture->device.transport, &fixture->model.memory, &needs), 0);
    assert_true(needs.shared_bytes <= SCRIPTED_SHARED_BYTES);
    if (fixture->config.storage == NULL) {
        fixture->config.storage = aligned_alloc(PLEAT_VIRTIO_MEM_DRIVER_ALIGNMENT, needs.storage_bytes);
        fixture->config.storage_bytes = needs.storage_bytes;
    }
    assert_non_null(fixture->config.storage);
    assert_int_equal(pleat_virtio_mem_driver_create(&fixture->config, &fixture->driver), 0);
}

void fixture_go(struct fixture *fixture, uint64_t requested)
{
    fixture->device.requested_bytes = requested;
    fixture_create(fixture);
    fixture_run(fixture);
}

struct fixture *fixture_start(const struct fixture_shape *shape, uint64_t requested)
{
    struct fixture *fixture = fixture_prepare(shape);
    fixture_go(fixture, requested);
    return fixture;
}

void fixture_free(struct fixture *fixture)
{
    free(fixture->config.storage);
    model_memory_free(&fixture->model);
    free(fixture);
}

void fixture_restart_guest(struct fixture *fixture)
{
    const struct model_shape shape = {.address = fixture->model.address,
                                      .bytes = fixture->model.frames * MODEL_FRAME_BYTES,
                                      .block_bytes = fixture->model.memory.block_bytes,
                                      .piece_bytes = fixture->model.memory.piece_bytes,
                                      .metadata_bytes = fixture->model.memory.metadata_bytes};
    const bool online = fixture->model.online_on_add;
    const struct model_memory before = fixture->model;
    model_memory_free(&fixture->model);
    model_memory_init(&fixture->model, &shape);
    fixture->model.is_plugged = before.is_plugged;
    fixture->model.context = before.context;
    fixture->model.online_on_add = online;
    free(fixture->config.storage);
    fixture->config.storage = NULL;
    fixture->driver = NULL;
}

enum pleat_virtio_mem_wake fixture_step(struct fixture *fixture, uint64_t budget)
{
    const uint32_t causes = scripted_device_interrupts(&fixture->device);
    if (causes != 0) {
        pleat_virtio_mem_driver_interrupt(fixture->driver, causes);
    }
    fixture->wake = pleat_virtio_mem_driver_step(fixture->driver, budget);
    fixture->steps++;
    assert_true(pleat_virtio_mem_driver_is_valid(fixture->driver));
    model_memory_check(&fixture->model);
    assert_int_equal(fixture->device.config_writes, 0);
    return fixture->wake;
}

void fixture_run_until_waiting(struct fixture *fixture)
{
    unsigned steps = 0;
    do {
        (void)fixture_step(fixture, 0);
        assert_true(++steps < STEPS_MAX);
    } while (fixture->wake == PLEAT_VIRTIO_MEM_WAKE_NOW || fixture->device.interrupts != 0);
}

void fixture_run(struct fixture *fixture)
{
    const uint64_t end_ns = fixture->model.clock_ns + PATIENCE_NS;
    for (;;) {
        fixture_run_until_waiting(fixture);
        if (fixture->wake != PLEAT_VIRTIO_MEM_WAKE_AT_TIME || fixture->model.clock_ns >= end_ns) {
            break;
        }
        const uint64_t wake_ns = pleat_virtio_mem_driver_wake_ns(fixture->driver);
        if (wake_ns > fixture->model.clock_ns) {
            fixture->model.clock_ns = wake_ns;
        } else {
            assert_null(fixture->model.ops.clock_ns);
            fixture->model.clock_ns += PATIENCE_NS / 1000;
        }
    }
}

void fixture_request(struct fixture *fixture, uint64_t bytes)
{
    scripted_device_request(&fixture->device, bytes);
    fixture_run(fixture);
}

int fixture_detach(struct fixture *fixture, enum pleat_virtio_mem_detach how)
{
    assert_int_equal(pleat_virtio_mem_driver_detach_begin(fixture->driver, how), 0);
    fixture_run(fixture);
    return pleat_virtio_mem_driver_detach_result(fixture->driver, NULL, 0);
}

void fixture_attach(struct fixture *fixture)
{
    assert_int_equal(pleat_virtio_mem_driver_attach(fixture->driver), 0);
    fixture_run(fixture);
}

enum pleat_virtio_mem_reason fixture_reason(const struct fixture *fixture)
{
    return pleat_virtio_mem_driver_reason(fixture->driver, NULL, 0);
}

const char *fixture_line(const struct fixture *fixture)
{
    static char line[256];
    (void)pleat_virtio_mem_driver_reason(fixture->driver, line, sizeof(line));
    return line;
}

struct pleat_virtio_mem_status fixture_status(const struct fixture *fixture)
{
    struct pleat_virtio_mem_status status;
    pleat_virtio_mem_driver_status(fixture->driver, &status);
    return status;
}

struct pleat_virtio_mem_statistics fixture_statistics(const struct fixture *fixture)
{
    struct pleat_virtio_mem_statistics statistics;
    pleat_virtio_mem_driver_statistics(fixture->driver, &statistics);
    return statistics;
}

void fixture_assert_agree(const struct fixture *fixture)
{
    const struct scripted_device *device = &fixture->device;
    for (uint64_t at = device->address; at < device->address + device->region_bytes;
         at += device->block_bytes) {
        if (pleat_virtio_mem_driver_is_plugged(fixture->driver, at) !=
            scripted_device_is_plugged(device, at, device->block_bytes)) {
            fail_msg("books and device disagree about 0x%lx", at);
        }
    }
}

void fixture_assert_at(const struct fixture *fixture, uint64_t bytes)
{
    const struct pleat_virtio_mem_status status = fixture_status(fixture);
    if (fixture_reason(fixture) != PLEAT_VIRTIO_MEM_REASON_NONE) {
        fail_msg("not at the requested size: %s", fixture_line(fixture));
    }
    fixture_assert_agree(fixture);
    assert_int_equal(status.plugged_bytes, bytes);
    assert_int_equal(status.ready_bytes, bytes);
    assert_int_equal(scripted_device_plugged_bytes(&fixture->device), bytes);
}

uint64_t fixture_unit(const struct fixture *fixture, unsigned unit)
{
    const struct pleat_virtio_mem_status status = fixture_status(fixture);
    return status.first_unit_address + unit * status.unit_bytes;
}
