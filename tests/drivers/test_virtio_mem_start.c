/* SPDX-License-Identifier: MIT
 *
 * The virtio-mem driver starts: the config space, features, and what becomes of memory that is plugged
 * already.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/driver_fixture.h"

#define FEATURE(number) (UINT64_C(1) << (number))

static struct pleat_virtio_mem_driver_needs needs;

static int measure(const struct fixture *f)
{
    return pleat_virtio_mem_driver_measure(&f->device.transport, &f->model.memory, &needs);
}

/* --- The config space ---------------------------------------------------------------------------------- */

static void V_CFG1_V_CFG2_config_is_never_written_and_its_padding_not_read(void **state)
{
    (void)state;
    /* The fixture asserts after each step that nothing was written; padding there is 0xa5. */
    struct fixture *f = fixture_start(NULL, 2 * MIB);
    fixture_request(f, 1 * MIB);
    fixture_assert_at(f, 1 * MIB);
    assert_int_equal(f->device.config_writes, 0);
    fixture_free(f);
}

static void V_CFG3_node_id_says_nothing_without_ACPI_PXM(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->device.node = 1;
    fixture_go(f, 1 * MIB);
    assert_int_equal(f->model.block[0].node, 0);
    /* And it may change as it likes. */
    f->device.node = 7;
    fixture_request(f, 2 * MIB);
    fixture_assert_at(f, 2 * MIB);
    assert_int_equal(fixture_statistics(f).resets, 0);
    fixture_free(f);
}

static void node_id_counts_with_ACPI_PXM(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->device.features_offered |= FEATURE(PLEAT_VIRTIO_MEM_F_ACPI_PXM);
    f->device.node = 1;
    fixture_go(f, 1 * MIB);
    assert_int_equal(f->model.block[0].node, 1);
    assert_int_equal(fixture_status(f).node, 1);
    fixture_free(f);
}

static int node_of_proximity(void *context, unsigned proximity)
{
    (void)context;
    return proximity == 40 ? 1 : PLEAT_E_NOT_FOUND;
}

static void proximity_is_translated_and_a_node_that_doesnt_exist_is_replaced(void **state)
{
    (void)state;
    for (unsigned node = 40; node <= 41; node++) {
        struct fixture *f = fixture_prepare(NULL);
        f->config.node_of_proximity = node_of_proximity;
        f->device.features_offered |= FEATURE(PLEAT_VIRTIO_MEM_F_ACPI_PXM);
        f->device.node = (uint16_t)node;
        fixture_create(f);
        fixture_run(f);
        assert_int_equal(fixture_status(f).node, node == 40 ? 1 : 0);
        assert_int_equal(strstr(f->model.last_line, "node doesn't exist") != NULL, node != 40);
        fixture_free(f);
    }
}

/* One row: a field, and a value that can't be. */
struct lie {
    const char *name;
    size_t offset;
    uint64_t value;
};

#define LIE(field, value)                                                                                    \
    {                                                                                                        \
#field, offsetof(struct scripted_device, field), value                                               \
    }
static const struct lie lies[] = {
    LIE(block_bytes, 0),
    LIE(block_bytes, 96 * KIB),
    LIE(block_bytes, 1),
    LIE(address, FIXTURE_ADDRESS + 4 * KIB),
    LIE(address, UINT64_MAX - 64 * KIB + 1),
    LIE(address, UINT64_MAX / 65536 * 65536),
    LIE(region_bytes, 8 * MIB + 4 * KIB),
    LIE(region_bytes, 4 * MIB),
    LIE(region_bytes, UINT64_MAX / 65536 * 65536),
    LIE(usable_bytes, 1 * MIB + 4 * KIB),
    LIE(usable_bytes, 8 * MIB + 64 * KIB),
    LIE(requested_bytes, 1 * MIB + 4 * KIB),
    LIE(requested_bytes, 8 * MIB + 64 * KIB),
    LIE(requested_bytes, UINT64_MAX / 65536 * 65536),
    LIE(plugged_lie, 4 * KIB),
    LIE(plugged_lie, 9 * MIB),
};

static uint64_t *field_of(struct fixture *f, const struct lie *lie)
{
    return (uint64_t *)(void *)((uint8_t *)&f->device + lie->offset);
}

/* The others only contradict what was said before. */
static bool is_lie_by_itself(const struct lie *lie)
{
    return lie->value != 4 * MIB && lie->value != 1;
}

static void X10_a_config_that_cant_be_is_refused_before_anything_is_touched(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct fixture *f = fixture_prepare(NULL);
        struct pleat_virtio_mem_driver *driver = NULL;
        f->config.storage_bytes = 1 << 16;
        f->config.storage = aligned_alloc(64, f->config.storage_bytes);
        *field_of(f, &lies[i]) = lies[i].value;
        needs.storage_bytes = 77;
        if (is_lie_by_itself(&lies[i])) {
            assert_int_equal(measure(f), PLEAT_E_PROTOCOL);
            assert_int_equal(needs.storage_bytes, 77);
            assert_int_equal(pleat_virtio_mem_driver_create(&f->config, &driver), PLEAT_E_PROTOCOL);
        }
        assert_null(driver);
        assert_int_equal(f->device.resets, 0);
        assert_int_equal(f->device.status, 0);
        fixture_free(f);
    }
}

static void X10_a_config_that_becomes_impossible_leads_to_a_reset_and_an_end(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct fixture *f = fixture_start(NULL, 2 * MIB);
        *field_of(f, &lies[i]) = lies[i].value;
        pleat_virtio_mem_driver_interrupt(f->driver, PLEAT_VIRTIO_INTERRUPT_CONFIG);
        /* The books go by the true sizes; so does this device, in all but what it tells. */
        for (unsigned steps = 0; fixture_status(f).phase != PLEAT_VIRTIO_MEM_GIVEN_UP; steps++) {
            assert_true(steps < 1000);
            (void)pleat_virtio_mem_driver_step(f->driver, 0);
            f->model.clock_ns += UINT64_C(1000000000);
        }
        assert_true(pleat_virtio_mem_driver_is_valid(f->driver));
        assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_CONFIG);
        assert_non_null(strstr(fixture_line(f), "impossible config: "));
        assert_int_equal(f->device.status & PLEAT_VIRTIO_STATUS_FAILED, PLEAT_VIRTIO_STATUS_FAILED);
        /* The guest keeps what it has. */
        assert_int_equal(fixture_status(f).ready_bytes, 2 * MIB);
        assert_int_equal(model_count(&f->model, MODEL_FREE) * MODEL_FRAME_BYTES,
                         2 * MIB - 2 * FIXTURE_METADATA);
        fixture_free(f);
    }
}

static void X10_a_config_that_is_true_again_is_believed_again(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 2 * MIB);
    f->device.usable_bytes = 9 * MIB;
    pleat_virtio_mem_driver_interrupt(f->driver, PLEAT_VIRTIO_INTERRUPT_CONFIG);
    (void)fixture_step(f, 1);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_CONFIG);
    f->device.usable_bytes = 8 * MIB;
    fixture_request(f, 3 * MIB);
    fixture_assert_at(f, 3 * MIB);
    assert_int_equal(f->device.resets, 2);
    fixture_free(f);
}

static void config_is_read_as_one_generation(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    f->device.torn_reads = 6;
    fixture_request(f, 2 * MIB);
    fixture_assert_at(f, 2 * MIB);
    /* One that never settles is asked again later, and not believed meanwhile. */
    f->device.torn_reads = FOREVER;
    scripted_device_request(&f->device, 3 * MIB);
    for (unsigned i = 0; i < 5; i++) {
        fixture_run_until_waiting(f);
        assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_AT_TIME);
        f->model.clock_ns = pleat_virtio_mem_driver_wake_ns(f->driver);
    }
    assert_int_equal(fixture_status(f).plugged_bytes, 2 * MIB);
    f->device.torn_reads = 0;
    fixture_run(f);
    fixture_assert_at(f, 3 * MIB);
    /* At start it is a reason to begin anew. */
    f->device.torn_reads = FOREVER;
    assert_int_equal(measure(f), PLEAT_E_BUSY);
    fixture_free(f);
}

/* Without an interrupt, as a device does it that has no driver yet. */
static void request_two_MiB(struct scripted_device *device)
{
    device->requested_bytes = 2 * MIB;
    device->generation++;
}

static void a_change_before_DRIVER_OK_isnt_lost(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->device.before_driver_ok = request_two_MiB;
    fixture_create(f);
    fixture_run(f);
    fixture_assert_at(f, 2 * MIB);
    fixture_free(f);
}

static void an_odd_device_or_too_little_storage_is_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    struct pleat_virtio_mem_driver *driver = NULL;
    assert_int_equal(measure(f), 0);
    uint8_t *storage = aligned_alloc(64, needs.storage_bytes + 64);
    f->config.storage = storage;
    f->config.storage_bytes = needs.storage_bytes - 64;
    assert_int_equal(pleat_virtio_mem_driver_create(&f->config, &driver), PLEAT_E_INVALID);
    f->config.storage_bytes = needs.storage_bytes;
    f->config.shared_bytes = needs.shared_bytes - 1;
    assert_int_equal(pleat_virtio_mem_driver_create(&f->config, &driver), PLEAT_E_INVALID);
    f->config.shared_bytes = needs.shared_bytes;
    f->config.storage = storage + 8;
    assert_int_equal(pleat_virtio_mem_driver_create(&f->config, &driver), PLEAT_E_INVALID);
    f->config.storage = storage;
    f->config.shared_physical += 16;
    assert_int_equal(pleat_virtio_mem_driver_create(&f->config, &driver), PLEAT_E_INVALID);
    f->config.shared_physical -= 16;
    f->config.node = 2;
    assert_int_equal(pleat_virtio_mem_driver_create(&f->config, &driver), PLEAT_E_INVALID);
    f->config.node = 0;
    f->model.ops.look = NULL;
    assert_int_equal(pleat_virtio_mem_driver_create(&f->config, &driver), PLEAT_E_INVALID);
    f->model.ops.take_begin = NULL;
    assert_null(driver);
    assert_int_equal(pleat_virtio_mem_driver_create(&f->config, &driver), 0);
    fixture_free(f);

    assert_int_equal(pleat_virtio_mem_driver_storage_bytes(
                         &(struct pleat_memory){.block_bytes = MIB, .piece_bytes = 64 * KIB}, 0, MIB),
                     0);
    assert_int_equal(pleat_virtio_mem_driver_storage_bytes(
                         &(struct pleat_memory){.block_bytes = MIB, .piece_bytes = 2 * MIB}, MIB, MIB),
                     0);
}

/* --- Features ------------------------------------------------------------------------------------------ */

static void V_INIT1_V_OP5_UNPLUGGED_INACCESSIBLE_is_accepted_where_offered(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    assert_true(f->device.features & FEATURE(PLEAT_VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE));
    assert_true(f->device.features & PLEAT_VIRTIO_F_VERSION_1);
    assert_int_equal(fixture_status(f).features, f->device.features);
    fixture_free(f);
}

static void a_device_without_it_is_served_too(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->device.features_offered = PLEAT_VIRTIO_F_VERSION_1;
    fixture_go(f, 1 * MIB);
    fixture_assert_at(f, 1 * MIB);
    assert_int_equal(f->device.features, PLEAT_VIRTIO_F_VERSION_1);
    fixture_free(f);
}

static void packed_rings_work_and_features_can_be_refused(void **state)
{
    (void)state;
    for (unsigned refused = 0; refused < 2; refused++) {
        struct fixture *f = fixture_prepare(NULL);
        f->device.features_offered |= PLEAT_VIRTIO_F_RING_PACKED | PLEAT_VIRTIO_F_ACCESS_PLATFORM;
        f->config.features_refused = refused ? PLEAT_VIRTIO_F_RING_PACKED | PLEAT_VIRTIO_F_EVENT_IDX : 0;
        fixture_go(f, 1 * MIB);
        for (unsigned i = 0; i < 20; i++) {
            fixture_request(f, (i % 4) * MIB);
            fixture_assert_at(f, (i % 4) * MIB);
        }
        assert_int_equal((f->device.features & PLEAT_VIRTIO_F_RING_PACKED) != 0, !refused);
        assert_int_equal((f->device.features & PLEAT_VIRTIO_F_EVENT_IDX) != 0, !refused);
        fixture_free(f);
    }
}

static void no_agreement_is_an_end_with_a_reason(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->device.features_offered = 0;
    fixture_create(f);
    fixture_run(f);
    assert_int_equal(f->wake, PLEAT_VIRTIO_MEM_WAKE_NEVER);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_UNSUPPORTED);
    assert_int_equal(fixture_status(f).phase, PLEAT_VIRTIO_MEM_GIVEN_UP);
    assert_true(f->device.status & PLEAT_VIRTIO_STATUS_FAILED);
    /* The way back. */
    f->device.features_offered = PLEAT_VIRTIO_F_VERSION_1;
    f->device.requested_bytes = 1 * MIB;
    fixture_attach(f);
    fixture_assert_at(f, 1 * MIB);
    fixture_free(f);
}

static void a_queue_too_small_is_an_end_with_a_reason(void **state)
{
    (void)state;
    for (uint16_t size = 0; size < 4; size++) {
        struct fixture *f = fixture_prepare(NULL);
        f->device.queue_size_max = size;
        fixture_go(f, 1 * MIB);
        if (size < 2) {
            assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_UNSUPPORTED);
            assert_string_equal(fixture_line(f), "given up at 0 bytes of 1 MiB wanted: unsupported: "
                                                 "the queue can't be set up");
        } else {
            fixture_assert_at(f, 1 * MIB);
        }
        fixture_free(f);
    }
}

static void interrupts_are_routed_to_vectors_where_wanted(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    assert_int_equal(f->device.vectors_set, 0);
    fixture_restart_guest(f);
    f->config.use_vectors = true;
    f->config.config_vector = 3;
    f->config.queue_vector = 5;
    fixture_create(f);
    fixture_run(f);
    assert_int_equal(f->device.config_vector, 3);
    assert_int_equal(f->device.queue_vector, 5);
    fixture_assert_at(f, 1 * MIB);
    fixture_restart_guest(f);
    f->device.vector_error = PLEAT_E_NO_MEMORY;
    fixture_create(f);
    fixture_run(f);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_UNSUPPORTED);
    fixture_free(f);
}

static void V_OP11_no_suspend_with_memory_plugged_unless_it_persists(void **state)
{
    (void)state;
    for (unsigned persistent = 0; persistent < 2; persistent++) {
        struct fixture *f = fixture_prepare(NULL);
        f->device.features_offered |= persistent ? FEATURE(PLEAT_VIRTIO_MEM_F_PERSISTENT_SUSPEND) : 0;
        fixture_create(f);
        fixture_run(f);
        assert_int_equal(pleat_virtio_mem_driver_may_suspend(f->driver), 0);
        fixture_request(f, 1 * MIB);
        assert_int_equal(pleat_virtio_mem_driver_may_suspend(f->driver), persistent ? 0 : PLEAT_E_REFUSED);
        fixture_free(f);
    }
}

/* Neither what an earlier driver left nor what is being plugged is forgotten. */
static void V_OP11_no_suspend_while_it_isnt_known_what_is_plugged(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    scripted_device_leave_plugged(&f->device, 0, 64 * KIB);
    fixture_create(f);
    assert_int_equal(fixture_status(f).plugged_bytes, 0);
    assert_int_equal(pleat_virtio_mem_driver_may_suspend(f->driver), PLEAT_E_REFUSED);
    fixture_run(f);
    fixture_assert_at(f, 0);
    assert_int_equal(pleat_virtio_mem_driver_may_suspend(f->driver), 0);
    f->device.deferred = true;
    scripted_device_request(&f->device, 1 * MIB);
    fixture_run_until_waiting(f);
    assert_int_equal(fixture_status(f).plugged_bytes, 0);
    assert_int_equal(pleat_virtio_mem_driver_may_suspend(f->driver), PLEAT_E_REFUSED);
    fixture_free(f);
}

/* --- Memory that is plugged already -------------------------------------------------------------------- */

struct piece {
    uint64_t offset, bytes;
};

/* What an earlier guest has left plugged; the driver ends at the requested size each time. */
struct adoption {
    const char *name;
    struct fixture_shape shape;
    struct piece left[3];
    uint64_t requested;
    uint64_t usable_bytes;    /* 0: all of the region */
    bool refuses;             /* the device refuses to be unplugged below the request (X8) */
    int plugs, unplugs, alls; /* requests that it takes; ANY */
    struct piece there, gone; /* plugged, or not, in the end */
};

#define SUB (64 * KIB)
#define ANY (-1)

static const struct adoption adoptions[] = {
    /*   .###............   the subblock for the metadata isn't plugged, and there is no quota for it
     *   .##.............   another one is given up
     *   M##.............   */
    {.name = "X12_another_subblock_is_given_up_for_metadata",
     .left = {{SUB, 3 * SUB}},
     .requested = 3 * SUB,
     .plugs = 1,
     .unplugs = 1,
     .there = {0, SUB}},
    {.name = "X12_metadata_is_plugged_where_there_is_quota",
     .left = {{SUB, 3 * SUB}},
     .requested = 4 * SUB,
     .plugs = 1},
    {.name = "X12_UNPLUG_ALL_is_the_way_out_while_nothing_is_added",
     .left = {{0, 1 * MIB}, {1 * MIB + SUB, 3 * SUB}},
     .requested = 1 * MIB + 3 * SUB,
     .refuses = true,
     .plugs = ANY,
     .unplugs = ANY,
     .alls = 1},
    /* Device blocks of 16 KiB, subblocks of 64 KiB: an earlier driver with smaller pieces left torn ones.
     *   |##..|....|.##.|####|   */
    {.name = "X12_torn_subblocks_are_completed_where_there_is_quota",
     .shape = {.device_block_bytes = 16 * KIB},
     .left = {{0, 32 * KIB}, {2 * SUB + 16 * KIB, 32 * KIB}, {3 * SUB, SUB}},
     .requested = 4 * SUB,
     .plugs = ANY},
    {.name = "X12_torn_subblocks_are_given_back_where_there_is_none",
     .shape = {.device_block_bytes = 16 * KIB},
     .left = {{0, 32 * KIB}, {2 * SUB + 16 * KIB, 32 * KIB}, {3 * SUB, SUB}},
     .requested = 2 * SUB,
     .plugs = ANY,
     .unplugs = ANY},
    {.name = "X12_plugged_memory_outside_of_all_units_is_given_back",
     .shape = {.region_offset = 512 * KIB, .region_bytes = 3 * MIB},
     .left = {{128 * KIB, 256 * KIB}, {512 * KIB, 1 * MIB}, {3 * MIB - 128 * KIB, SUB}},
     .requested = 1 * MIB + 5 * SUB,
     .plugs = ANY,
     .unplugs = 2,
     .there = {512 * KIB, 1 * MIB},
     .gone = {128 * KIB, 256 * KIB}},
    /* Without metadata in the blocks; of no subblock is all plugged. */
    {.name = "X12_torn_subblocks_without_metadata_are_completed_too",
     .shape = {.device_block_bytes = 16 * KIB, .metadata_bytes = UINT64_MAX},
     .left = {{SUB, 48 * KIB}, {3 * SUB + 32 * KIB, 16 * KIB}},
     .requested = 2 * SUB,
     .plugs = ANY},
    {.name = "X12_torn_subblocks_without_metadata_are_given_back_too",
     .shape = {.device_block_bytes = 16 * KIB, .metadata_bytes = UINT64_MAX},
     .left = {{SUB, 48 * KIB}, {3 * SUB + 32 * KIB, 16 * KIB}},
     .requested = SUB,
     .plugs = ANY,
     .unplugs = ANY},
    /* The place for the metadata isn't usable (now): the rest can't be used, and is given back. */
    {.name = "X12_metadata_beyond_the_usable_region",
     .shape = {.metadata_bytes = 2 * SUB},
     .left = {{1 * MIB, SUB}},
     .requested = 1 * MIB,
     .usable_bytes = 1 * MIB + SUB,
     .plugs = ANY,
     .unplugs = 1,
     .gone = {1 * MIB, SUB}},
};
enum { ADOPTIONS = sizeof(adoptions) / sizeof(adoptions[0]) };

static void assert_count(const struct fixture *f, unsigned type, int expected)
{
    if (expected != ANY) {
        assert_int_equal(scripted_device_count(&f->device, type), expected);
    }
}

/* By the books, which agree with the device's. */
static bool is_plugged(const struct fixture *f, const struct piece *piece)
{
    return scripted_device_is_plugged(&f->device, f->device.address + piece->offset, piece->bytes);
}

static void adopts(void **state)
{
    const struct adoption *a = *state;
    struct fixture *f = fixture_prepare(&a->shape);
    for (unsigned i = 0; i < 3; i++) {
        scripted_device_leave_plugged(&f->device, a->left[i].offset, a->left[i].bytes);
    }
    f->device.usable_bytes = a->usable_bytes > 0 ? a->usable_bytes : f->device.usable_bytes;
    f->device.refuse_below_request = a->refuses;
    fixture_go(f, a->requested);
    fixture_assert_at(f, a->requested);
    assert_count(f, PLEAT_VIRTIO_MEM_REQ_PLUG, a->plugs);
    assert_count(f, PLEAT_VIRTIO_MEM_REQ_UNPLUG, a->unplugs);
    assert_count(f, PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL, a->alls);
    /* What isn't wanted was given back before anything of it was in use. */
    assert_int_equal(f->model.calls[MODEL_TAKE_BEGIN], 0);
    assert_true(is_plugged(f, &a->there));
    assert_false(a->gone.bytes > 0 && is_plugged(f, &a->gone));
    fixture_free(f);
}

/*   unit 0            unit 1            unit 2            unit 3
 *   M############### ................ M####...##...... M...............                                */
static void X12_plugged_memory_is_found_by_STATE_and_used(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    scripted_device_leave_plugged(&f->device, 0, 1 * MIB);
    scripted_device_leave_plugged(&f->device, 2 * MIB, 5 * 64 * KIB);
    scripted_device_leave_plugged(&f->device, 2 * MIB + 8 * 64 * KIB, 2 * 64 * KIB);
    scripted_device_leave_plugged(&f->device, 3 * MIB, 64 * KIB);
    fixture_go(f, 1 * MIB + 512 * KIB);
    fixture_assert_at(f, 1 * MIB + 512 * KIB);
    assert_int_equal(scripted_device_count(&f->device, PLEAT_VIRTIO_MEM_REQ_PLUG), 0);
    assert_int_equal(scripted_device_count(&f->device, PLEAT_VIRTIO_MEM_REQ_UNPLUG), 0);
    assert_int_equal(scripted_device_count(&f->device, PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL), 0);
    /* Halving: a few requests for each edge, not one for each block. */
    assert_in_range(scripted_device_count(&f->device, PLEAT_VIRTIO_MEM_REQ_STATE), 10, 50);
    fixture_free(f);
}

static void X12_what_is_too_much_is_given_up_loose_memory_first(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    scripted_device_leave_plugged(&f->device, 0, 4 * MIB);
    fixture_go(f, 1 * MIB);
    fixture_assert_at(f, 1 * MIB);
    assert_int_equal(f->model.calls[MODEL_TAKE_BEGIN], 0);
    assert_int_equal(f->model.calls[MODEL_ADD], 1);
    fixture_free(f);
}

/* When units are added already, what has no place for its metadata stays as it is, until there is quota. */
static void X12_never_UNPLUG_ALL_while_anything_is_added(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    scripted_device_leave_plugged(&f->device, 1 * MIB + 64 * KIB, 3 * 64 * KIB);
    f->device.refuse_below_request = true;
    scripted_device_request(&f->device, 1 * MIB + 3 * 64 * KIB);
    assert_int_equal(pleat_virtio_mem_driver_detach_begin(f->driver, PLEAT_VIRTIO_MEM_DETACH_LEAVE), 0);
    fixture_run(f);
    fixture_attach(f);
    assert_int_equal(fixture_status(f).plugged_bytes, 1 * MIB + 3 * 64 * KIB);
    assert_int_equal(fixture_status(f).ready_bytes, 1 * MIB);
    assert_int_equal(fixture_status(f).units_loose, 1);
    assert_int_not_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_NONE);
    assert_int_equal(scripted_device_count(&f->device, PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL), 0);
    fixture_request(f, 2 * MIB);
    fixture_assert_at(f, 2 * MIB);
    fixture_free(f);
}

static void X12_memory_outside_that_cant_be_given_back_is_left_and_tried_again(void **state)
{
    (void)state;
    struct script_plan plan;
    const struct fixture_shape shape = {.region_offset = 512 * KIB, .region_bytes = 3 * MIB};
    struct fixture *f = fixture_prepare(&shape);
    scripted_device_leave_plugged(&f->device, 128 * KIB, 256 * KIB);
    script_plan_answer(&f->device, &plan, UNPLUGS, 0, 1, PLEAT_VIRTIO_MEM_RESP_ERROR);
    f->device.requested_bytes = 1 * MIB;
    fixture_create(f);
    fixture_run_until_waiting(f);
    /* Its place is taken as long as it is plugged. */
    assert_int_equal(fixture_status(f).ready_bytes, 768 * KIB);
    scripted_device_request(&f->device, 1 * MIB + 64 * KIB);
    fixture_run(f);
    fixture_assert_at(f, 1 * MIB + 64 * KIB);
    fixture_free(f);
}

/* Nor can it be completed, nor given back. */
static void X12_torn_subblocks_that_nothing_can_be_done_about_wait(void **state)
{
    (void)state;
    const struct fixture_shape shape = {.device_block_bytes = 16 * KIB, .metadata_bytes = UINT64_MAX};
    struct fixture *f = fixture_prepare(&shape);
    scripted_device_leave_plugged(&f->device, 0, 64 * KIB);
    scripted_device_leave_plugged(&f->device, 192 * KIB, 48 * KIB);
    f->device.refuse_below_request = true;
    fixture_go(f, 112 * KIB);
    assert_int_equal(fixture_status(f).plugged_bytes, 112 * KIB);
    assert_int_equal(fixture_status(f).ready_bytes, 64 * KIB);
    fixture_request(f, 128 * KIB);
    fixture_assert_at(f, 128 * KIB);
    fixture_free(f);
}

static void X12_adopted_memory_is_limited_while_it_is_offline(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    scripted_device_leave_plugged(&f->device, 0, 4 * MIB);
    f->model.online_on_add = false;
    f->config.offline_limit_bytes = 2 * MIB;
    fixture_go(f, 4 * MIB);
    assert_int_equal(fixture_status(f).units_added, 2);
    assert_int_equal(fixture_status(f).units_loose, 2);
    assert_int_equal(fixture_status(f).plugged_bytes, 4 * MIB);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_OFFLINE);
    for (unsigned i = 0; i < 4; i++) {
        (void)model_online(&f->model, FIXTURE_ADDRESS + i * MIB);
        fixture_run(f);
        (void)model_online(&f->model, FIXTURE_ADDRESS + (3 - i) * MIB);
        fixture_run(f);
    }
    fixture_assert_at(f, 4 * MIB);
    fixture_free(f);
}

static void X12_BUSY_and_silence_while_asking_are_survived(void **state)
{
    (void)state;
    struct script_plan plan;
    for (unsigned answer = 0; answer < 3; answer++) {
        struct fixture *f = fixture_prepare(NULL);
        scripted_device_leave_plugged(&f->device, 1 * MIB, 1 * MIB + 128 * KIB);
        script_plan_answer(&f->device, &plan, STATES, 2, 2,
                           answer == 0 ? PLEAT_VIRTIO_MEM_RESP_BUSY : PLEAT_VIRTIO_MEM_RESP_NACK);
        if (answer == 2) {
            plan.action = SCRIPT_SILENT;
        }
        fixture_go(f, 1 * MIB + 128 * KIB);
        fixture_assert_at(f, 1 * MIB + 128 * KIB);
        assert_true(plan.seen > 4);
        assert_int_equal(scripted_device_count(&f->device, PLEAT_VIRTIO_MEM_REQ_PLUG), 0);
        fixture_free(f);
    }
}

static void X12_where_STATE_isnt_answered_UNPLUG_ALL_is_the_way_out(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_prepare(NULL);
    scripted_device_leave_plugged(&f->device, 1 * MIB, 1 * MIB);
    script_plan_answer(&f->device, &plan, STATES, 0, FOREVER, PLEAT_VIRTIO_MEM_RESP_ERROR);
    fixture_go(f, 2 * MIB);
    fixture_assert_at(f, 2 * MIB);
    assert_int_equal(plan.seen, 3);
    fixture_free(f);
}

/* Not so while anything is added: what is in use would be lost. */
static void X12_never_UNPLUG_ALL_while_anything_is_added_though_STATE_isnt_answered(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_start(NULL, 1 * MIB);
    assert_int_equal(fixture_detach(f, PLEAT_VIRTIO_MEM_DETACH_LEAVE), 0);
    script_plan_answer(&f->device, &plan, STATES, 0, 20, PLEAT_VIRTIO_MEM_RESP_ERROR);
    fixture_attach(f);
    assert_int_equal(fixture_status(f).phase, PLEAT_VIRTIO_MEM_ASKING);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_ERROR);
    while (plan.seen <= 20) {
        fixture_run(f);
    }
    fixture_assert_at(f, 1 * MIB);
    assert_int_equal(scripted_device_count(&f->device, PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL), 0);
    fixture_free(f);
}

static void V_STATE1_V_STATE2_only_type_and_state_of_a_response_count(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    struct script_plan plan = {.types = STATES, .times = 1, .action = SCRIPT_ANSWER};
    scripted_device_leave_plugged(&f->device, 0, 8 * MIB);
    f->device.requested_bytes = 8 * MIB;
    /* All of the region is asked about at once; the padding is full of other states. */
    memset(plan.answer.bytes, 1, sizeof(plan.answer.bytes));
    pleat_write_le16(plan.answer.bytes, PLEAT_VIRTIO_MEM_RESP_ACK);
    pleat_write_le16(plan.answer.bytes + 8, PLEAT_VIRTIO_MEM_STATE_PLUGGED);
    plan.answer.written = sizeof(plan.answer.bytes);
    plan.answer.length = sizeof(plan.answer.bytes);
    f->device.script = script_plan;
    f->device.script_context = &plan;
    fixture_create(f);
    fixture_run(f);
    fixture_assert_at(f, 8 * MIB);
    assert_int_equal(plan.seen, 1);
    fixture_free(f);
}

static void V_STATE2_the_state_of_an_ERROR_says_nothing(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    struct script_plan plan = {.types = STATES, .times = 1, .action = SCRIPT_ANSWER};
    scripted_device_leave_plugged(&f->device, 0, 1 * MIB);
    f->device.requested_bytes = 8 * MIB;
    scripted_answer(&plan.answer, PLEAT_VIRTIO_MEM_RESP_ERROR, PLEAT_VIRTIO_MEM_STATE_PLUGGED);
    f->device.script = script_plan;
    f->device.script_context = &plan;
    fixture_create(f);
    while (plan.seen == 0) {
        (void)fixture_step(f, 1);
    }
    (void)fixture_step(f, 1);
    assert_int_equal(fixture_status(f).plugged_bytes, 0);
    fixture_run(f);
    fixture_assert_at(f, 8 * MIB);
    fixture_free(f);
}

static void V_INIT2_memory_that_isnt_used_is_unplugged_until_it_succeeds(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_prepare(NULL);
    scripted_device_leave_plugged(&f->device, 0, 3 * MIB + 192 * KIB);
    f->config.start = PLEAT_VIRTIO_MEM_START_UNPLUG_ALL;
    script_plan_answer(&f->device, &plan, ALLS, 0, 6, PLEAT_VIRTIO_MEM_RESP_BUSY);
    fixture_go(f, 2 * MIB);
    fixture_assert_at(f, 2 * MIB);
    assert_int_equal(plan.seen, 7);
    assert_int_equal(scripted_device_count(&f->device, PLEAT_VIRTIO_MEM_REQ_STATE), 0);
    for (unsigned i = 0; i < 7; i++) {
        assert_int_equal(f->device.log[i].type, PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL);
    }
    fixture_free(f);
}

static void V_INIT2_ERROR_silence_and_nonsense_dont_end_it(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 3; kind++) {
        struct script_plan plan;
        struct fixture *f = fixture_prepare(NULL);
        scripted_device_leave_plugged(&f->device, 0, 3 * MIB);
        f->config.start = PLEAT_VIRTIO_MEM_START_UNPLUG_ALL;
        script_plan_answer(&f->device, &plan, ALLS, 0, 3,
                           kind == 0 ? PLEAT_VIRTIO_MEM_RESP_ERROR : 1000 + kind);
        if (kind == 1) {
            plan.action = SCRIPT_DO_SILENT;
        }
        fixture_go(f, 2 * MIB);
        fixture_run(f);
        fixture_assert_at(f, 2 * MIB);
        assert_int_equal(scripted_device_count(&f->device, PLEAT_VIRTIO_MEM_REQ_UNPLUG), 0);
        fixture_free(f);
    }
}

static void V_ALL1_only_the_type_of_a_response_counts(void **state)
{
    (void)state;
    struct script_plan plan;
    struct fixture *f = fixture_prepare(NULL);
    script_plan_type_alone(&f->device, &plan, ALLS);
    scripted_device_leave_plugged(&f->device, 0, 3 * MIB);
    f->config.start = PLEAT_VIRTIO_MEM_START_UNPLUG_ALL;
    fixture_go(f, 2 * MIB);
    fixture_assert_at(f, 2 * MIB);
    assert_int_equal(plan.seen, 1);
    fixture_free(f);
}

/* The usable region may shrink with UNPLUG_ALL, without an interrupt. */
static void shrink_usable(void *context, const struct scripted_request *request)
{
    struct fixture *f = context;
    if (request->type == PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL) {
        f->device.usable_bytes = 1 * MIB;
        f->device.requested_bytes = 1 * MIB;
        f->device.generation++;
    }
}

static void the_config_is_read_again_after_UNPLUG_ALL(void **state)
{
    (void)state;
    struct script_plan plan = {.before = shrink_usable};
    struct fixture *f = fixture_prepare(NULL);
    plan.context = f;
    f->device.script = script_plan;
    f->device.script_context = &plan;
    scripted_device_leave_plugged(&f->device, 0, 3 * MIB);
    f->config.start = PLEAT_VIRTIO_MEM_START_UNPLUG_ALL;
    fixture_go(f, 3 * MIB);
    fixture_assert_at(f, 1 * MIB);
    /* And before anything is asked for that the region doesn't hold any more. */
    for (unsigned i = 0; i < f->device.logged; i++) {
        assert_int_equal(f->device.log[i].answer, PLEAT_VIRTIO_MEM_RESP_ACK);
    }
    fixture_free(f);
}

static void X12_adoption_after_a_restart_of_the_guest_from_any_moment(void **state)
{
    (void)state;
    for (unsigned at = 0; at < 60; at++) {
        struct fixture *f = fixture_start(NULL, 2 * MIB + 320 * KIB);
        scripted_device_request(&f->device, at % 2 == 0 ? 512 * KIB : 6 * MIB);
        for (unsigned i = 0; i < at; i++) {
            (void)fixture_step(f, 1);
        }
        fixture_restart_guest(f);
        fixture_create(f);
        fixture_run(f);
        fixture_assert_at(f, at % 2 == 0 ? 512 * KIB : 6 * MIB);
        fixture_free(f);
    }
}

static void a_region_below_everything_that_can_be_added_is_not_used(void **state)
{
    (void)state;
    struct fixture *f = fixture_prepare(NULL);
    f->model.memory.highest_address = FIXTURE_ADDRESS - 4 * MIB;
    f->model.ops.log = NULL;
    fixture_go(f, 1 * MIB);
    assert_int_equal(fixture_status(f).units, 0);
    assert_int_equal(fixture_reason(f), PLEAT_VIRTIO_MEM_REASON_NO_ROOM);
    fixture_free(f);
}

static void every_phase_and_reason_has_words_of_its_own(void **state)
{
    (void)state;
    for (int a = PLEAT_VIRTIO_MEM_RESETTING; a <= PLEAT_VIRTIO_MEM_DETACHED; a++) {
        const char *text = pleat_virtio_mem_phase_text((enum pleat_virtio_mem_phase)a);
        assert_string_not_equal(text, "unknown");
        for (int b = PLEAT_VIRTIO_MEM_RESETTING; b < a; b++) {
            assert_string_not_equal(text, pleat_virtio_mem_phase_text((enum pleat_virtio_mem_phase)b));
        }
    }
    for (int a = 0; a < PLEAT_VIRTIO_MEM_REASONS; a++) {
        const char *text = pleat_virtio_mem_reason_text((enum pleat_virtio_mem_reason)a);
        assert_string_not_equal(text, "unknown");
        for (int b = 0; b < a; b++) {
            assert_string_not_equal(text, pleat_virtio_mem_reason_text((enum pleat_virtio_mem_reason)b));
        }
    }
    assert_string_equal(pleat_virtio_mem_phase_text((enum pleat_virtio_mem_phase)77), "unknown");
    assert_string_equal(pleat_virtio_mem_reason_text((enum pleat_virtio_mem_reason)77), "unknown");
}

static void V_OP7_metadata_is_written_anew_after_every_plug(void **state)
{
    (void)state;
    /* The model memory stops the program when metadata is used that nobody has written since the plug. */
    struct fixture *f = fixture_start(NULL, 2 * MIB);
    for (unsigned i = 0; i < 16; i++) {
        fixture_request(f, (i * 5 % 8) * 512 * KIB);
        fixture_assert_at(f, (i * 5 % 8) * 512 * KIB);
    }
    fixture_restart_guest(f);
    fixture_create(f);
    fixture_run(f);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest others[] = {
        cmocka_unit_test(V_CFG1_V_CFG2_config_is_never_written_and_its_padding_not_read),
        cmocka_unit_test(V_CFG3_node_id_says_nothing_without_ACPI_PXM),
        cmocka_unit_test(node_id_counts_with_ACPI_PXM),
        cmocka_unit_test(proximity_is_translated_and_a_node_that_doesnt_exist_is_replaced),
        cmocka_unit_test(X10_a_config_that_cant_be_is_refused_before_anything_is_touched),
        cmocka_unit_test(X10_a_config_that_becomes_impossible_leads_to_a_reset_and_an_end),
        cmocka_unit_test(X10_a_config_that_is_true_again_is_believed_again),
        cmocka_unit_test(config_is_read_as_one_generation),
        cmocka_unit_test(a_change_before_DRIVER_OK_isnt_lost),
        cmocka_unit_test(an_odd_device_or_too_little_storage_is_refused),
        cmocka_unit_test(V_INIT1_V_OP5_UNPLUGGED_INACCESSIBLE_is_accepted_where_offered),
        cmocka_unit_test(a_device_without_it_is_served_too),
        cmocka_unit_test(packed_rings_work_and_features_can_be_refused),
        cmocka_unit_test(no_agreement_is_an_end_with_a_reason),
        cmocka_unit_test(a_queue_too_small_is_an_end_with_a_reason),
        cmocka_unit_test(interrupts_are_routed_to_vectors_where_wanted),
        cmocka_unit_test(V_OP11_no_suspend_with_memory_plugged_unless_it_persists),
        cmocka_unit_test(V_OP11_no_suspend_while_it_isnt_known_what_is_plugged),
        cmocka_unit_test(X12_plugged_memory_is_found_by_STATE_and_used),
        cmocka_unit_test(X12_what_is_too_much_is_given_up_loose_memory_first),
        cmocka_unit_test(X12_never_UNPLUG_ALL_while_anything_is_added),
        cmocka_unit_test(X12_memory_outside_that_cant_be_given_back_is_left_and_tried_again),
        cmocka_unit_test(X12_torn_subblocks_that_nothing_can_be_done_about_wait),
        cmocka_unit_test(X12_adopted_memory_is_limited_while_it_is_offline),
        cmocka_unit_test(X12_BUSY_and_silence_while_asking_are_survived),
        cmocka_unit_test(X12_where_STATE_isnt_answered_UNPLUG_ALL_is_the_way_out),
        cmocka_unit_test(X12_never_UNPLUG_ALL_while_anything_is_added_though_STATE_isnt_answered),
        cmocka_unit_test(V_STATE1_V_STATE2_only_type_and_state_of_a_response_count),
        cmocka_unit_test(V_STATE2_the_state_of_an_ERROR_says_nothing),
        cmocka_unit_test(V_INIT2_memory_that_isnt_used_is_unplugged_until_it_succeeds),
        cmocka_unit_test(V_INIT2_ERROR_silence_and_nonsense_dont_end_it),
        cmocka_unit_test(V_ALL1_only_the_type_of_a_response_counts),
        cmocka_unit_test(the_config_is_read_again_after_UNPLUG_ALL),
        cmocka_unit_test(X12_adoption_after_a_restart_of_the_guest_from_any_moment),
        cmocka_unit_test(a_region_below_everything_that_can_be_added_is_not_used),
        cmocka_unit_test(every_phase_and_reason_has_words_of_its_own),
        cmocka_unit_test(V_OP7_metadata_is_written_anew_after_every_plug),
    };
    enum { OTHERS = sizeof(others) / sizeof(others[0]) };
    struct CMUnitTest tests[ADOPTIONS + OTHERS];
    for (unsigned i = 0; i < ADOPTIONS; i++) {
        tests[i] = (struct CMUnitTest){adoptions[i].name, adopts, NULL, NULL, (void *)&adoptions[i]};
    }
    memcpy(tests + ADOPTIONS, others, sizeof(others));
    return cmocka_run_group_tests_name("virtio-mem driver: start", tests, NULL, NULL);
}
