/* SPDX-License-Identifier: MIT
 *
 * A hostile device behind the virtio-mem driver: it answers anything to any request, or nothing, lies in its
 * config space from one read to the next, writes into ring and buffers at any moment, and asks for resets.
 * An administrator and the guest's own allocations go on meanwhile. Whatever happens, the driver's
 * invariants hold after each step, it uses the guest's memory by the rules (the model memory stops the
 * program otherwise), and no request to unplug is ever about memory in use.
 *
 * The input is a list of operations of one byte, each followed by the bytes it needs.
 */
#include <stdint.h>
#include <string.h>

#include "fuzz/input.h"
#include "tests/support/driver_fixture.h"

struct fuzz {
    struct input input;
    struct fixture *fixture;
};

/* A hostile device need not have plugged what it says; the driver's books are what it can be held to. */
static bool is_plugged(void *context, uint64_t address, uint64_t bytes)
{
    const struct fixture *fixture = context;
    for (uint64_t at = address; at < address + bytes; at += 16 * KIB) {
        if (!pleat_virtio_mem_driver_is_plugged(fixture->driver, at)) {
            return false;
        }
    }
    return true;
}

static enum script_action answer(void *context, const struct scripted_request *request,
                                 struct scripted_answer *said)
{
    struct fuzz *fuzz = context;
    const struct scripted_device *device = &fuzz->fixture->device;
    if (request->type == PLEAT_VIRTIO_MEM_REQ_UNPLUG && request->address >= device->address &&
        request->address - device->address < device->region_bytes &&
        request->blocks * device->block_bytes <=
            device->region_bytes - (request->address - device->address)) {
        model_memory_check_unused(&fuzz->fixture->model, request->address,
                                  request->blocks * device->block_bytes);
    }
    const unsigned how = next_byte(&fuzz->input);
    scripted_answer(said, how >> 3 & 7, how >> 6);
    if (how % 8 == 7) {
        const unsigned lengths = next_byte(&fuzz->input) % 121;
        said->length = lengths % 11;
        said->written = lengths / 11 > 0 ? 11 - lengths / 11 : said->length;
    }
    switch (how & 7) {
    case 0:
    case 1:
    case 2:
        return SCRIPT_HONEST;
    case 3:
        return SCRIPT_DO_SILENT;
    case 4:
        return SCRIPT_SILENT;
    default:
        return SCRIPT_ANSWER;
    }
}

static void write_shared(struct fuzz *fuzz)
{
    struct scripted_device *device = &fuzz->fixture->device;
    unsigned at = next_byte(&fuzz->input);
    at = at << 8 | next_byte(&fuzz->input);
    device->shared[at % 1024] = (uint8_t)next_byte(&fuzz->input);
    /* The device may write there until a reset is complete. */
    memcpy(device->shared_then, device->shared, sizeof(device->shared));
}

static void touch_memory(struct fuzz *fuzz)
{
    struct model_memory *model = &fuzz->fixture->model;
    const unsigned how = next_byte(&fuzz->input);
    const uint64_t where = next_byte(&fuzz->input) * 37;
    const uint64_t block = model->address + (how >> 3) % 8 * MIB;
    switch (how & 7) {
    case 0:
        (void)model_online(model, block);
        break;
    case 1:
        (void)model_offline(model, block);
        break;
    case 2:
        (void)model_release(model, where, how);
        pleat_virtio_mem_driver_memory_changed(fuzz->fixture->driver);
        break;
    case 3:
        model_fail(model, (enum model_call)(how >> 3) % MODEL_CALLS, PLEAT_E_NO_MEMORY, 0, 1);
        break;
    default:
        (void)model_allocate(model, where, how, MODEL_MOVABLE + (how >> 3) % 3);
        break;
    }
}

static void change_life(struct fuzz *fuzz)
{
    struct pleat_virtio_mem_driver *driver = fuzz->fixture->driver;
    switch (next_byte(&fuzz->input) % 5) {
    case 0:
        (void)pleat_virtio_mem_driver_attach(driver);
        break;
    case 1:
        (void)pleat_virtio_mem_driver_detach_begin(driver, PLEAT_VIRTIO_MEM_DETACH_LEAVE);
        break;
    case 2:
        (void)pleat_virtio_mem_driver_detach_begin(driver, PLEAT_VIRTIO_MEM_DETACH_GIVE_BACK);
        break;
    case 3:
        (void)pleat_virtio_mem_driver_detach_cancel(driver);
        break;
    default:
        fuzz->fixture->device.status |= PLEAT_VIRTIO_STATUS_NEEDS_RESET;
        fuzz->fixture->device.interrupts |= PLEAT_VIRTIO_INTERRUPT_CONFIG;
        break;
    }
}

static void step(struct fuzz *fuzz, uint64_t budget)
{
    struct fixture *fixture = fuzz->fixture;
    char line[128];
    const uint32_t causes = scripted_device_interrupts(&fixture->device);
    pleat_virtio_mem_driver_interrupt(fixture->driver, causes);
    (void)pleat_virtio_mem_driver_step(fixture->driver, budget);
    demand(pleat_virtio_mem_driver_is_valid(fixture->driver));
    model_memory_check(&fixture->model);
    demand(fixture->device.config_writes == 0);
    (void)pleat_virtio_mem_driver_reason(fixture->driver, line, 1 + budget % sizeof(line));
    demand(strlen(line) <= budget % sizeof(line));
}

static void operate(struct fuzz *fuzz)
{
    struct scripted_device *device = &fuzz->fixture->device;
    const unsigned operation = next_byte(&fuzz->input);
    switch (operation % 12) {
    case 0:
        scripted_device_request(device, next_byte(&fuzz->input) * device->block_bytes);
        break;
    case 1:
        write_shared(fuzz);
        break;
    case 2:
        device->config_lies[next_byte(&fuzz->input) % sizeof(device->config_lies)] =
            (uint8_t)next_byte(&fuzz->input);
        device->interrupts |= PLEAT_VIRTIO_INTERRUPT_CONFIG;
        break;
    case 3:
        memset(device->config_lies, 0, sizeof(device->config_lies));
        break;
    case 4:
        touch_memory(fuzz);
        break;
    case 5:
        fuzz->fixture->model.clock_ns += (uint64_t)next_byte(&fuzz->input) * UINT64_C(500000000);
        break;
    case 6:
        change_life(fuzz);
        break;
    case 7:
        device->deferred = !device->deferred;
        scripted_device_run(device);
        break;
    case 8:
        step(fuzz, 1);
        break;
    default:
        step(fuzz, (operation >> 4) * 8 * KIB);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t device_blocks[] = {16 * KIB, 64 * KIB, 256 * KIB, 2 * MIB};
    struct fuzz fuzz = {.input = {data, size}};
    const unsigned how = next_byte(&fuzz.input);
    const struct fixture_shape shape = {.device_block_bytes = device_blocks[how & 3],
                                        .region_offset = (how & 3) < 2 && (how & 4) ? 256 * KIB : 0,
                                        .region_bytes = 4 * MIB};
    struct fixture *fixture = fixture_prepare(&shape);
    fuzz.fixture = fixture;
    fixture->model.is_plugged = is_plugged;
    fixture->model.context = fixture;
    fixture->model.online_on_add = (how & 8) == 0;
    fixture->config.start = how & 16 ? PLEAT_VIRTIO_MEM_START_UNPLUG_ALL : PLEAT_VIRTIO_MEM_START_ADOPT;
    if (how & 32) {
        fixture->device.features_offered |= PLEAT_VIRTIO_F_RING_PACKED;
    }
    fixture->device.tolerant = true;
    fixture->device.script = answer;
    fixture->device.script_context = &fuzz;
    memset(fixture->device.plugged, 1, how & 64 ? 2 : 0);
    fixture_create(fixture);
    while (fuzz.input.left > 0) {
        operate(&fuzz);
    }
    fixture_free(fixture);
    return 0;
}
