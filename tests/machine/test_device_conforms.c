/* SPDX-License-Identifier: MIT
 *
 * The conformance checks against a virtio-mem device of the machine, before it boots a guest: what they see
 * is what a driver would. (Pleat's device by itself, and devices with faults: tests/conform/.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "conform/conform.h"
#include "machine/machine_parts.h"
#include "tests/support/touch.h"
#include "tests/support/whole_machine.h"

/* Boot RAM that nobody uses, because no guest has booted. */
#define SHARED_ADDRESS UINT64_C(0x1000000)

struct bench {
    struct pleat_machine *machine;
    struct pleat_device_slot *slot;
    uint64_t clock_ns;
    unsigned failed;
    unsigned passed;
};

static uint64_t clock_ns(void *context)
{
    return ((struct bench *)context)->clock_ns;
}

static void relax(void *context)
{
    ((struct bench *)context)->clock_ns += 1000000;
}

static uint32_t interrupts(void *context)
{
    const struct pleat_virtio_transport *transport = &((struct bench *)context)->slot->transport;
    return transport->ops->interrupt_acknowledge(transport->context);
}

static int touch(void *context, uint64_t physical, uint8_t *byte, bool write)
{
    const struct bench *bench = context;
    assert_true(physical < bench->machine->space.bytes);
    return test_touch(bench->machine->space.base + physical, byte, write);
}

static void ask_requested(void *context, uint64_t bytes)
{
    const struct bench *bench = context;
    struct pleat_message message = {{0}};
    assert_int_equal(pleat_device_slot_set_requested(bench->slot, bytes, &message), 0);
}

static int system_reset(void *context, const struct conform_kept *kept)
{
    const struct bench *bench = context;
    (void)kept;
    pleat_device_slot_system_reset(bench->slot);
    return PLEAT_OK;
}

static void result(void *context, const struct conform_result *result)
{
    struct bench *bench = context;
    bench->failed += result->verdict == CONFORM_FAIL;
    bench->passed += result->verdict == CONFORM_PASS;
    if (result->verdict == CONFORM_FAIL) {
        print_error("%s %s: %s\n", result->ids, result->title, result->seen);
    }
}

struct shape {
    const char *name;
    const char *options;
    uint64_t ring;
};

static const struct shape shapes[] = {
    {"a device of the machine conforms", "-device virtio-mem-pci,id=vm0,memdev=mem0", 0},
    {"a device of the machine conforms with the packed ring and the event index",
     "-device virtio-mem-pci,id=vm0,memdev=mem0", PLEAT_VIRTIO_F_RING_PACKED | PLEAT_VIRTIO_F_EVENT_IDX},
    {"a device of the machine conforms without UNPLUGGED_INACCESSIBLE",
     "-device virtio-mem-pci,id=vm0,memdev=mem0,unplugged-inaccessible=off", 0},
    {"a device of the machine conforms with blocks of 8 MiB and memory requested",
     "-device virtio-mem-pci,id=vm0,memdev=mem0,block-size=8M,requested-size=64M", 0},
};

static void conforms(void **state)
{
    const struct shape *shape = *state;
    static uint64_t private_storage[CONFORM_PRIVATE_BYTES / 8];
    struct bench bench = {0};
    struct conform_counts counts;
    char line[512] = "-m 64M,maxmem=4G -seed 1 -object memory-backend-memfd,id=mem0,size=1G ";

    strcat(line, shape->options);
    bench.machine = whole_machine_make(line, NULL);
    bench.slot = pleat_machine_slot(bench.machine, "vm0");
    assert_non_null(bench.slot);
    const uint64_t requested = pleat_virtio_mem_device_requested_bytes(bench.slot->device);
    const struct conform_environment environment = {
        .transport = &bench.slot->transport,
        .context = &bench,
        .shared = bench.machine->space.base + SHARED_ADDRESS,
        .shared_physical = SHARED_ADDRESS,
        .private_storage = private_storage,
        .clock_ns = clock_ns,
        .relax = relax,
        .interrupts = interrupts,
        .touch = touch,
        .ask_requested = ask_requested,
        .system_reset = system_reset,
        .result = result,
        .features = shape->ring,
    };
    assert_int_equal(conform_run(&environment, NULL, &counts), 0);
    assert_int_equal(bench.failed, 0);
    assert_in_range(bench.passed, 38, 60);
    assert_int_equal(pleat_virtio_mem_device_plugged_bytes(bench.slot->device), 0);
    assert_int_equal(pleat_virtio_mem_device_requested_bytes(bench.slot->device), requested);
    pleat_machine_destroy(bench.machine);
}

#define COUNT (sizeof(shapes) / sizeof(*shapes))

int main(void)
{
    struct CMUnitTest tests[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        tests[i] = (struct CMUnitTest){shapes[i].name, conforms, NULL, NULL, (void *)&shapes[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
