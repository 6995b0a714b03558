/* SPDX-License-Identifier: MIT
 *
 * The virtio-mem device against the demands of VIRTIO 1.4, 5.15, and those that the field adds; a test's
 * name begins with the id that it proves. The region is 16 blocks of 2 MiB at 0x140000000 unless a test says
 * otherwise, all of it usable:
 *
 *   block     0   1   2   3   4   5   6   7   8   9  10  11  12  13  14  15
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include <pleat/virtio_mem_device.h>

#include "tests/support/fake_host.h"

#define MiB     (UINT64_C(1) << 20)
#define BLOCK   (2 * MiB)
#define ADDRESS UINT64_C(0x140000000)
#define BLOCKS  UINT64_C(16)
#define INACC   (UINT64_C(1) << PLEAT_VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE)

enum {
    PLUG = PLEAT_VIRTIO_MEM_REQ_PLUG,
    UNPLUG = PLEAT_VIRTIO_MEM_REQ_UNPLUG,
    UNPLUG_ALL = PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL,
    STATE = PLEAT_VIRTIO_MEM_REQ_STATE,
    ACK = PLEAT_VIRTIO_MEM_RESP_ACK,
    NACK = PLEAT_VIRTIO_MEM_RESP_NACK,
    BUSY = PLEAT_VIRTIO_MEM_RESP_BUSY,
    ERROR = PLEAT_VIRTIO_MEM_RESP_ERROR
};

struct fixture {
    struct fake_host host;
    struct pleat_virtio_mem_device_config config;
    struct pleat_virtio_mem_device *device;
    void *storage;
    size_t storage_bytes;
};

static struct fixture fixture;

static struct pleat_virtio_mem_device *create(struct fixture *f,
                                              const struct pleat_virtio_mem_device_ops *ops)
{
    f->storage_bytes = pleat_virtio_mem_device_storage_bytes(&f->config);
    assert_true(f->storage_bytes > 0);
    f->storage = malloc(f->storage_bytes);
    assert_non_null(f->storage);
    memset(f->storage, 0xa5, f->storage_bytes);
    assert_int_equal(
        pleat_virtio_mem_device_create(&f->config, ops, &f->host, f->storage, f->storage_bytes, &f->device),
        0);
    return f->device;
}

static int setup(void **state)
{
    struct fixture *f = &fixture;
    memset(f, 0, sizeof(*f));
    fake_host_init(&f->host, BLOCK, BLOCKS);
    f->config = (struct pleat_virtio_mem_device_config){
        .address = ADDRESS, .region_bytes = BLOCKS * BLOCK, .requested_bytes = BLOCKS * BLOCK};
    *state = f;
    return 0;
}

/* With a device and a driver that has accepted UNPLUGGED_INACCESSIBLE. */
static int setup_device(void **state)
{
    setup(state);
    struct fixture *f = *state;
    create(f, &fake_host_ops);
    return pleat_virtio_mem_device_accept(f->device, INACC);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    const char *complaint = f->host.complaint;
    pleat_virtio_mem_device_destroy(f->device);
    free(f->storage);
    if (complaint)
        print_error("%s\n", complaint);
    return complaint ? -1 : 0;
}

static struct pleat_virtio_mem_request make(unsigned type, uint64_t address, unsigned blocks)
{
    struct pleat_virtio_mem_request request;
    memset(&request, 0, sizeof(request));
    request.type = pleat_le16((uint16_t)type);
    request.address = pleat_le64(address);
    request.block_count = pleat_le16((uint16_t)blocks);
    return request;
}

/* Sends a request of any address; returns the answer's type, and its state where wanted. */
static int send_state(struct fixture *f, unsigned type, uint64_t address, unsigned blocks, unsigned *state)
{
    const struct pleat_virtio_mem_request request = make(type, address, blocks);
    uint8_t response[12];
    memset(response, 0xee, sizeof(response));
    const int answer = pleat_virtio_mem_device_handle(f->device, &request, sizeof(request), response + 1);
    assert_int_equal(response[0], 0xee);
    assert_int_equal(response[11], 0xee);
    assert_int_equal(pleat_read_le16(response + 1), answer);
    if (state)
        *state = pleat_read_le16(response + 9);
    return answer;
}

static int send_address(struct fixture *f, unsigned type, uint64_t address, unsigned blocks)
{
    return send_state(f, type, address, blocks, NULL);
}

/* Sends a request for `blocks` blocks from block `first` on. */
static int send(struct fixture *f, unsigned type, uint64_t first, unsigned blocks)
{
    return send_address(f, type, ADDRESS + first * BLOCK, blocks);
}

static uint64_t plugged(const struct fixture *f)
{
    return pleat_virtio_mem_device_plugged_bytes(f->device);
}

static struct pleat_virtio_mem_config space(const struct fixture *f)
{
    struct pleat_virtio_mem_config config;
    pleat_virtio_mem_device_config_space(f->device, &config);
    return config;
}

#define assert_consistent(f) assert_null(fake_host_compare(&(f)->host, (f)->device, FAKE_INACCESSIBLE))

/* ---- Config space --------------------------------------------------------------------------------- */

static void D_CFG1_requested_and_usable_size_follow_the_host(void **state)
{
    struct fixture *f = *state;
    f->config.region_bytes = 512 * BLOCK;
    f->config.requested_bytes = 0;
    fake_host_init(&f->host, BLOCK, 512);
    create(f, &fake_host_ops);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);

    struct pleat_virtio_mem_config config = space(f);
    assert_int_equal(pleat_le64_get(config.requested_size), 0);
    assert_int_equal(pleat_le64_get(config.usable_region_size), 256 * MiB);
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 128 * MiB), 0);
    config = space(f);
    assert_int_equal(pleat_le64_get(config.requested_size), 128 * MiB);
    assert_int_equal(pleat_le64_get(config.usable_region_size), 384 * MiB);
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 1022 * MiB), 0);
    assert_int_equal(pleat_virtio_mem_device_usable_bytes(f->device), 1024 * MiB);
    assert_int_equal(pleat_virtio_mem_device_requested_bytes(f->device), 1022 * MiB);

    /* What can't be requested changes nothing. */
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 1026 * MiB), PLEAT_E_INVALID);
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 3 * MiB), PLEAT_E_INVALID);
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, UINT64_MAX), PLEAT_E_INVALID);
    assert_int_equal(pleat_virtio_mem_device_requested_bytes(f->device), 1022 * MiB);
}

static void D_CFG2_block_size_node_address_and_region_size_never_change(void **state)
{
    struct fixture *f = *state;
    f->config.flags = PLEAT_VIRTIO_MEM_DEVICE_NODE;
    f->config.node_id = 7;
    create(f, &fake_host_ops);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);
    for (int step = 0; step < 6; step++) {
        const struct pleat_virtio_mem_config config = space(f);
        assert_int_equal(pleat_le64_get(config.block_size), BLOCK);
        assert_int_equal(pleat_le16_get(config.node_id), 7);
        assert_int_equal(pleat_le64_get(config.address), ADDRESS);
        assert_int_equal(pleat_le64_get(config.region_size), BLOCKS * BLOCK);
        switch (step) {
        case 0:
            assert_int_equal(send(f, PLUG, 3, 4), ACK);
            break;
        case 1:
            assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, BLOCK), 0);
            break;
        case 2:
            assert_int_equal(send(f, UNPLUG, 3, 1), ACK);
            break;
        case 3:
            assert_int_equal(send(f, UNPLUG_ALL, 0, 0), ACK);
            break;
        case 4:
            assert_int_equal(pleat_virtio_mem_device_reset(f->device), 0);
            break;
        default:
            assert_int_equal(pleat_virtio_mem_device_system_reset(f->device), 0);
        }
    }
}

static void node_id_is_0_unless_acpi_pxm_is_offered(void **state)
{
    struct fixture *f = *state;
    f->config.node_id = 7;
    create(f, &fake_host_ops);
    const struct pleat_virtio_mem_config config = space(f);
    assert_int_equal(pleat_le16_get(config.node_id), 0);
    assert_int_equal(pleat_virtio_mem_device_features(f->device), INACC);
}

static void D_CFG3_plugged_size_is_the_sum_of_plugged_blocks(void **state)
{
    struct fixture *f = *state;
    static const struct {
        unsigned type, first, blocks;
        uint64_t sum;
    } steps[] = {{PLUG, 0, 3, 3}, {PLUG, 10, 6, 9},   {UNPLUG, 1, 1, 8},
                 {PLUG, 1, 1, 9}, {UNPLUG, 10, 6, 3}, {UNPLUG_ALL, 0, 0, 0}};
    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
        assert_int_equal(send(f, steps[i].type, steps[i].first, steps[i].blocks), ACK);
        const struct pleat_virtio_mem_config config = space(f);
        assert_int_equal(pleat_le64_get(config.plugged_size), steps[i].sum * BLOCK);
        assert_int_equal(f->host.told_bytes, steps[i].sum * BLOCK);
        assert_consistent(f);
    }
    assert_int_equal(f->host.tells, sizeof(steps) / sizeof(*steps));
}

static void D_CFG4_usable_size_is_never_less_than_requested(void **state)
{
    struct fixture *f = *state;
    f->config.flags = PLEAT_VIRTIO_MEM_DEVICE_USABLE_EXACT;
    f->config.requested_bytes = 0;
    create(f, &fake_host_ops);
    assert_int_equal(pleat_virtio_mem_device_usable_bytes(f->device), 0);
    for (uint64_t blocks = 0; blocks <= BLOCKS; blocks++) {
        assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, blocks * BLOCK), 0);
        assert_int_equal(pleat_virtio_mem_device_usable_bytes(f->device), blocks * BLOCK);
    }
}

static void the_usable_region_is_what_is_requested_plus_the_extra_within_the_region(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint64_t requested, extra, usable;
    } cases[] = {{0, 0, BLOCKS},
                 {0, BLOCK, 1},
                 {0, BLOCK + 1, 2},
                 {3 * BLOCK, 1, 4},
                 {3 * BLOCK, 12 * BLOCK, 15},
                 {3 * BLOCK, 13 * BLOCK, BLOCKS},
                 {3 * BLOCK, 14 * BLOCK, BLOCKS},
                 {0, UINT64_MAX, BLOCKS},
                 {BLOCK, UINT64_MAX - 1, BLOCKS},
                 {BLOCKS * BLOCK, 1, BLOCKS}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        f->config.requested_bytes = cases[i].requested;
        f->config.usable_extra_bytes = cases[i].extra;
        create(f, &fake_host_ops);
        assert_int_equal(pleat_virtio_mem_device_usable_bytes(f->device), cases[i].usable * BLOCK);
        free(f->storage);
        f->storage = NULL;
        f->device = NULL;
    }
}

/* A config that create has to refuse, whatever else. */
static void assert_refused(struct fixture *f, const struct pleat_virtio_mem_device_config *config)
{
    uint64_t storage[4096 / 8];
    struct pleat_virtio_mem_device *device = NULL;
    assert_int_equal(pleat_virtio_mem_device_storage_bytes(config), 0);
    assert_int_equal(
        pleat_virtio_mem_device_create(config, &fake_host_ops, &f->host, storage, sizeof(storage), &device),
        PLEAT_E_INVALID);
    assert_null(device);
}

static void D_CFG5_a_block_size_that_is_no_power_of_two_is_refused(void **state)
{
    struct fixture *f = *state;
    static const uint64_t sizes[] = {1, 2048, 3 * MiB, 4097, UINT64_MAX, 6 * MiB};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct pleat_virtio_mem_device_config config = {.block_bytes = sizes[i], .region_bytes = sizes[i]};
        assert_refused(f, &config);
    }
    struct pleat_virtio_mem_device_config smallest = {.block_bytes = 4096, .region_bytes = 4096};
    assert_true(pleat_virtio_mem_device_storage_bytes(&smallest) > 0);
    struct pleat_virtio_mem_device_config largest = {.block_bytes = UINT64_C(1) << 63,
                                                     .region_bytes = UINT64_C(1) << 63};
    assert_true(pleat_virtio_mem_device_storage_bytes(&largest) > 0);
}

static void D_CFG6_sizes_that_are_no_multiples_of_the_block_size_are_refused(void **state)
{
    struct fixture *f = *state;
    struct pleat_virtio_mem_device_config config = f->config;
    config.address += 4096;
    assert_refused(f, &config);
    config = f->config;
    config.region_bytes -= 4096;
    config.requested_bytes = 0;
    assert_refused(f, &config);
    config = f->config;
    config.requested_bytes -= 4096;
    assert_refused(f, &config);
    /* An extra that is none is rounded up, so that usable_region_size is one. */
    f->config.usable_extra_bytes = 4096;
    f->config.requested_bytes = BLOCK;
    create(f, &fake_host_ops);
    assert_int_equal(pleat_virtio_mem_device_usable_bytes(f->device), 2 * BLOCK);
}

static void D_CFG7_a_region_that_is_empty_or_wraps_is_refused(void **state)
{
    struct fixture *f = *state;
    struct pleat_virtio_mem_device_config config = f->config;
    config.region_bytes = 0;
    config.requested_bytes = 0;
    assert_refused(f, &config);
    config = f->config;
    config.address = UINT64_MAX - BLOCK + 1;
    assert_refused(f, &config);
    config = f->config;
    config.requested_bytes = config.region_bytes + BLOCK;
    assert_refused(f, &config);
}

static void a_config_that_contradicts_itself_is_refused(void **state)
{
    struct fixture *f = *state;
    struct pleat_virtio_mem_device_config config = f->config;
    config.flags = PLEAT_VIRTIO_MEM_DEVICE_HIDE_INACCESSIBLE;
    assert_refused(f, &config);
    config.flags = 1u << 31;
    assert_refused(f, &config);

    /* Storage that is too small, misaligned or missing; callbacks that take and can't bring back. */
    uint64_t storage[4096 / 8];
    struct pleat_virtio_mem_device_ops ops = fake_host_ops;
    struct pleat_virtio_mem_device *device = NULL;
    const size_t needed = pleat_virtio_mem_device_storage_bytes(&f->config);
    assert_true(needed <= sizeof(storage) - 8);
    assert_int_equal(pleat_virtio_mem_device_create(&f->config, &ops, &f->host, storage, needed - 1, &device),
                     PLEAT_E_NO_MEMORY);
    assert_int_equal(
        pleat_virtio_mem_device_create(&f->config, &ops, &f->host, (char *)storage + 1, needed, &device),
        PLEAT_E_INVALID);
    assert_int_equal(pleat_virtio_mem_device_create(&f->config, &ops, &f->host, NULL, needed, &device),
                     PLEAT_E_INVALID);
    ops.map = NULL;
    assert_int_equal(pleat_virtio_mem_device_create(&f->config, &ops, &f->host, storage, needed, &device),
                     PLEAT_E_INVALID);
    assert_null(device);
}

static void D_CFG8_usable_size_shrinks_only_at_unplug_all_and_system_reset(void **state)
{
    struct fixture *f = *state;
    f->config.usable_extra_bytes = 2 * BLOCK;
    create(f, &fake_host_ops);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);
    assert_int_equal(pleat_virtio_mem_device_usable_bytes(f->device), 16 * BLOCK);
    assert_int_equal(send(f, PLUG, 12, 2), ACK);
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 4 * BLOCK), 0);
    assert_int_equal(send(f, UNPLUG, 12, 1), ACK);
    assert_int_equal(pleat_virtio_mem_device_reset(f->device), 0);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);
    assert_int_equal(pleat_virtio_mem_device_usable_bytes(f->device), 16 * BLOCK);

    assert_int_equal(send(f, UNPLUG_ALL, 0, 0), ACK);
    assert_int_equal(pleat_virtio_mem_device_usable_bytes(f->device), 6 * BLOCK);

    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 10 * BLOCK), 0);
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 1 * BLOCK), 0);
    assert_int_equal(pleat_virtio_mem_device_usable_bytes(f->device), 12 * BLOCK);
    assert_int_equal(pleat_virtio_mem_device_system_reset(f->device), 0);
    assert_int_equal(pleat_virtio_mem_device_usable_bytes(f->device), 3 * BLOCK);
}

static void D_CFG9_an_interrupt_when_usable_or_requested_change_but_not_during_unplug_all(void **state)
{
    struct fixture *f = *state;
    f->config.usable_extra_bytes = 2 * BLOCK;
    f->config.requested_bytes = 0;
    create(f, &fake_host_ops);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);
    assert_int_equal(f->host.interrupts, 0);
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 8 * BLOCK), 0);
    assert_int_equal(f->host.interrupts, 1);
    /* Requested changes, usable doesn't. */
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 2 * BLOCK), 0);
    assert_int_equal(f->host.interrupts, 2);
    assert_int_equal(send(f, UNPLUG_ALL, 0, 0), ACK);
    assert_int_equal(pleat_virtio_mem_device_usable_bytes(f->device), 4 * BLOCK);
    assert_int_equal(f->host.interrupts, 2);
}

static void D_CFG10_no_interrupt_for_plugged_size(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send(f, PLUG, 0, 16), ACK);
    assert_int_equal(send(f, UNPLUG, 0, 8), ACK);
    assert_int_equal(send(f, UNPLUG_ALL, 0, 0), ACK);
    assert_int_equal(f->host.tells, 3);
    assert_int_equal(f->host.interrupts, 0);
}

static void D_CFG11_no_interrupt_either_when_the_same_size_is_requested_again(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, BLOCKS * BLOCK), 0);
    assert_int_equal(f->host.interrupts, 0);
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, UINT64_MAX), PLEAT_E_INVALID);
    assert_int_equal(f->host.interrupts, 0);
}

static void reads_of_the_config_space_stop_at_its_end(void **state)
{
    struct fixture *f = *state;
    const struct pleat_virtio_mem_config whole = space(f);
    uint8_t bytes[64];
    for (size_t offset = 0; offset <= sizeof(whole); offset++)
        for (size_t length = 0; length <= sizeof(whole) - offset; length++) {
            memset(bytes, 0xee, sizeof(bytes));
            assert_int_equal(pleat_virtio_mem_device_read_config(f->device, offset, bytes, length), 0);
            assert_memory_equal(bytes, (const uint8_t *)&whole + offset, length);
            assert_int_equal(bytes[length], 0xee);
        }
    memset(bytes, 0xee, sizeof(bytes));
    assert_int_equal(pleat_virtio_mem_device_read_config(f->device, 0, bytes, 57), PLEAT_E_INVALID);
    assert_int_equal(pleat_virtio_mem_device_read_config(f->device, 56, bytes, 1), PLEAT_E_INVALID);
    assert_int_equal(pleat_virtio_mem_device_read_config(f->device, UINT64_MAX, bytes, 2), PLEAT_E_INVALID);
    assert_int_equal(pleat_virtio_mem_device_read_config(f->device, 8, bytes, SIZE_MAX), PLEAT_E_INVALID);
    assert_int_equal(bytes[0], 0xee);
}

/* ---- Initialisation ------------------------------------------------------------------------------- */

static void D_INIT1_a_driver_without_inacc_is_refused(void **state)
{
    struct fixture *f = *state;
    struct pleat_virtio_mem_device_statistics statistics;
    create(f, &fake_host_ops);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, 0), PLEAT_E_REFUSED);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, UINT64_C(1) << 32), PLEAT_E_REFUSED);
    assert_false(pleat_virtio_mem_device_accepted(f->device));
    assert_int_equal(send(f, PLUG, 0, 1), ERROR);
    assert_int_equal(plugged(f), 0);
    /* A feature that wasn't offered. */
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC | 1), PLEAT_E_PROTOCOL);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC | 1 << 23), PLEAT_E_PROTOCOL);
    pleat_virtio_mem_device_statistics(f->device, &statistics);
    assert_int_equal(statistics.refused_drivers, 4);

    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC | UINT64_C(1) << 32), 0);
    assert_true(pleat_virtio_mem_device_accepted(f->device));
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), PLEAT_E_STATE);
    assert_int_equal(send(f, PLUG, 0, 1), ACK);
}

static void D_INIT2_a_device_reset_keeps_the_state_of_blocks(void **state)
{
    struct fixture *f = *state;
    unsigned what;
    assert_int_equal(send(f, PLUG, 3, 2), ACK);
    assert_int_equal(pleat_virtio_mem_device_reset(f->device), 0);
    assert_int_equal(send(f, STATE, 3, 2), ERROR);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);
    assert_int_equal(plugged(f), 2 * BLOCK);
    assert_int_equal(send_state(f, STATE, ADDRESS + 3 * BLOCK, 2, &what), ACK);
    assert_int_equal(what, PLEAT_VIRTIO_MEM_STATE_PLUGGED);
    assert_consistent(f);
}

static void D_INIT3_a_device_reset_keeps_what_is_in_plugged_blocks(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send(f, PLUG, 3, 2), ACK);
    f->host.content[3] = 33;
    f->host.content[4] = 44;
    fake_host_heal(&f->host);
    assert_int_equal(pleat_virtio_mem_device_reset(f->device), 0);
    assert_int_equal(f->host.content[3], 33);
    assert_int_equal(f->host.content[4], 44);
    assert_int_equal(f->host.map.calls + f->host.unmap.calls + f->host.discard.calls, 0);
}

static void D_INIT4_persistent_suspend_is_offered_where_the_platform_can(void **state)
{
    struct fixture *f = *state;
    f->config.flags = PLEAT_VIRTIO_MEM_DEVICE_PERSISTENT_SUSPEND | PLEAT_VIRTIO_MEM_DEVICE_NODE;
    create(f, &fake_host_ops);
    assert_int_equal(pleat_virtio_mem_device_features(f->device), 7);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, 7), 0);
}

/* ---- Operation ------------------------------------------------------------------------------------ */

static void D_OP1_D_OP4_plugged_memory_is_mapped_before_the_answer(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send(f, PLUG, 2, 3), ACK);
    for (unsigned b = 0; b < BLOCKS; b++)
        assert_int_equal(f->host.reach[b], b >= 2 && b < 5 ? FAKE_MAPPED : FAKE_INACCESSIBLE);
    assert_int_equal(f->host.map.calls, 1);
}

static void D_OP2_unplugged_memory_goes_back_to_the_host(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send(f, PLUG, 0, 4), ACK);
    assert_int_equal(send(f, UNPLUG, 1, 2), ACK);
    for (unsigned b = 0; b < 4; b++)
        assert_int_equal(f->host.held[b], b == 0 || b == 3);
    assert_consistent(f);
}

static void D_OP3_what_is_in_plugged_memory_never_changes(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send(f, PLUG, 0, 16), ACK);
    for (unsigned b = 0; b < BLOCKS; b++)
        f->host.content[b] = 100 + b;
    assert_int_equal(send(f, UNPLUG, 4, 4), ACK);
    assert_int_equal(send(f, PLUG, 6, 2), ACK);
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 0), 0);
    assert_int_equal(send(f, STATE, 0, 16), ACK);
    assert_int_equal(send(f, PLUG, 4, 1), NACK);
    f->host.unmap.at = 2;
    f->host.unmap.calls = 0;
    assert_int_equal(send(f, UNPLUG_ALL, 0, 0), BUSY);
    for (unsigned b = 0; b < BLOCKS; b++)
        assert_int_equal(f->host.content[b], b >= 4 && b < 8 ? 0 : 100 + b);
    assert_consistent(f);
}

static void D_OP5_X15_a_driver_without_inacc_reads_zeroes_where_it_is_served(void **state)
{
    struct fixture *f = *state;
    f->config.flags = PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS;
    f->config.usable_extra_bytes = 2 * BLOCK;
    f->config.requested_bytes = 4 * BLOCK;
    create(f, &fake_host_ops);
    assert_int_equal(pleat_virtio_mem_device_features(f->device), INACC);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, 0), 0);
#define assert_zeroes(f) assert_null(fake_host_compare(&(f)->host, (f)->device, FAKE_ZEROES))
    assert_zeroes(f);
    assert_int_equal(send(f, PLUG, 1, 3), ACK);
    assert_zeroes(f);
    assert_int_equal(send(f, UNPLUG, 2, 1), ACK);
    assert_zeroes(f);
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 10 * BLOCK), 0);
    assert_int_equal(pleat_virtio_mem_device_usable_bytes(f->device), 12 * BLOCK);
    assert_zeroes(f);
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 2 * BLOCK), 0);
    assert_int_equal(send(f, UNPLUG_ALL, 0, 0), ACK);
    assert_int_equal(pleat_virtio_mem_device_usable_bytes(f->device), 4 * BLOCK);
    assert_zeroes(f);
    /* The zeroes go with their driver, and don't come for one that has negotiated. */
    assert_int_equal(send(f, PLUG, 0, 1), ACK);
    assert_int_equal(pleat_virtio_mem_device_reset(f->device), 0);
    assert_consistent(f);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);
    assert_consistent(f);
}

static void D_OP5_zeroes_that_cannot_be_mapped_refuse_the_driver_or_the_request(void **state)
{
    struct fixture *f = *state;
    f->config.flags = PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS | PLEAT_VIRTIO_MEM_DEVICE_HIDE_INACCESSIBLE;
    f->config.usable_extra_bytes = 1;
    f->config.requested_bytes = 7 * BLOCK;
    create(f, &fake_host_ops);
    assert_int_equal(pleat_virtio_mem_device_features(f->device), 0);
    f->host.zeroes.at = 1;
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, 0), PLEAT_E_NO_MEMORY);
    assert_false(pleat_virtio_mem_device_accepted(f->device));
    assert_consistent(f);

    assert_int_equal(pleat_virtio_mem_device_accept(f->device, 0), 0);
    assert_int_equal(send(f, PLUG, 2, 2), ACK);
    f->host.zeroes.at = f->host.zeroes.calls + 1;
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 12 * BLOCK), PLEAT_E_NO_MEMORY);
    assert_int_equal(f->host.interrupts, 0);
    assert_int_equal(pleat_virtio_mem_device_requested_bytes(f->device), 7 * BLOCK);
    assert_zeroes(f);
    f->host.zeroes.at = f->host.zeroes.calls + 1;
    assert_int_equal(send(f, UNPLUG, 2, 2), BUSY);
    assert_zeroes(f);

    /* A second driver, with two gaps of which the second fails: the first is undone. */
    assert_int_equal(pleat_virtio_mem_device_reset(f->device), 0);
    f->host.zeroes.at = f->host.zeroes.calls + 2;
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, 0), PLEAT_E_NO_MEMORY);
    assert_consistent(f);
}

static void zeroes_that_cannot_be_unmapped_are_tried_again(void **state)
{
    struct fixture *f = *state;
    f->config.flags = PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS;
    create(f, &fake_host_ops);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, 0), 0);
    f->host.unmap.at = 1;
    f->host.unmap.for_good = true;
    assert_int_equal(pleat_virtio_mem_device_reset(f->device), PLEAT_E_NO_MEMORY);
    assert_false(pleat_virtio_mem_device_accepted(f->device));
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), PLEAT_E_NO_MEMORY);
    assert_false(pleat_virtio_mem_device_accepted(f->device));
    fake_host_heal(&f->host);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);
    assert_consistent(f);
}

static void zeroes_that_cannot_be_undone_are_tried_again(void **state)
{
    struct fixture *f = *state;
    f->config.flags = PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS;
    create(f, &fake_host_ops);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);
    assert_int_equal(send(f, PLUG, 4, 1), ACK);
    assert_int_equal(pleat_virtio_mem_device_reset(f->device), 0);
    /* Two gaps: the second can't be mapped as zeroes, the first can't be undone. */
    fake_host_heal(&f->host);
    f->host.zeroes.at = 2;
    f->host.unmap.at = 1;
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, 0), PLEAT_E_NO_MEMORY);
    assert_int_equal(f->host.reach[3], FAKE_ZEROES);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);
    assert_consistent(f);
}

static void X15_readers_are_refused_where_zeroes_cannot_be_mapped_at_all(void **state)
{
    struct fixture *f = *state;
    struct pleat_virtio_mem_device_ops ops = fake_host_ops;
    ops.map_zeroes = NULL;
    f->config.flags = PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS;
    create(f, &ops);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, 0), PLEAT_E_REFUSED);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);
}

static void D_OP6_D_OP7_a_system_reset_unplugs_all(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send(f, PLUG, 0, 4), ACK);
    assert_int_equal(send(f, PLUG, 8, 4), ACK);
    assert_int_equal(pleat_virtio_mem_device_system_reset(f->device), 0);
    assert_int_equal(plugged(f), 0);
    assert_int_equal(f->host.told_bytes, 0);
    assert_false(pleat_virtio_mem_device_accepted(f->device));
    assert_int_equal(f->host.interrupts, 0);
    assert_consistent(f);
}

static void a_system_reset_that_the_host_stops_says_so_and_can_be_repeated(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send(f, PLUG, 0, 4), ACK);
    assert_int_equal(send(f, PLUG, 8, 4), ACK);
    f->host.unmap.at = 2;
    assert_int_equal(pleat_virtio_mem_device_system_reset(f->device), PLEAT_E_BUSY);
    assert_int_equal(plugged(f), 8 * BLOCK);
    assert_consistent(f);
    assert_int_equal(pleat_virtio_mem_device_system_reset(f->device), 0);
    assert_int_equal(plugged(f), 0);
    assert_consistent(f);
}

static void D_OP8_blocks_are_kept_over_suspend_and_wake(void **state)
{
    struct fixture *f = *state;
    f->config.flags = PLEAT_VIRTIO_MEM_DEVICE_PERSISTENT_SUSPEND;
    create(f, &fake_host_ops);
    const uint64_t features = INACC | UINT64_C(1) << PLEAT_VIRTIO_MEM_F_PERSISTENT_SUSPEND;
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, features), 0);
    assert_int_equal(send(f, PLUG, 5, 2), ACK);
    f->host.content[5] = 55;
    /* All that a device hears of suspend and wake is the driver resetting it at wake. */
    assert_int_equal(pleat_virtio_mem_device_reset(f->device), 0);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, features), 0);
    assert_int_equal(plugged(f), 2 * BLOCK);
    assert_int_equal(f->host.content[5], 55);
    assert_consistent(f);
}

/* ---- PLUG, UNPLUG, STATE: what they share --------------------------------------------------------- */

/* Bytes that mean nothing are looked at by nobody: the same answer with any of them set. */
static void assert_padding_is_ignored(struct fixture *f, unsigned type, unsigned first, unsigned blocks,
                                      bool only_type)
{
    static const uint8_t meaning[24] = {1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    for (unsigned at = 0; at < 64; at++) {
        uint8_t request[64], response[10];
        const struct pleat_virtio_mem_request clean = make(type, ADDRESS + first * BLOCK, blocks);
        memset(request, 0, sizeof(request));
        memcpy(request, &clean, sizeof(clean));
        if (at < 24 && (only_type ? at < 2 : meaning[at]))
            continue;
        request[at] = 0xff;
        assert_int_equal(pleat_virtio_mem_device_handle(f->device, request, sizeof(request), response), ACK);
        /* Undo, so that the next can be answered the same. */
        if (type == PLUG)
            assert_int_equal(send(f, UNPLUG, first, blocks), ACK);
        if (type == UNPLUG || type == UNPLUG_ALL)
            assert_int_equal(send(f, PLUG, first, blocks), ACK);
    }
}

static void D_PLUG1_D_PLUG2_only_type_and_request_data_are_looked_at(void **state)
{
    assert_padding_is_ignored(*state, PLUG, 3, 2, false);
}

static void D_UNPLUG1_D_UNPLUG2_only_type_and_request_data_are_looked_at(void **state)
{
    assert_int_equal(send(*state, PLUG, 3, 2), ACK);
    assert_padding_is_ignored(*state, UNPLUG, 3, 2, false);
}

static void D_ALL1_D_ALL2_only_the_type_is_looked_at(void **state)
{
    assert_int_equal(send(*state, PLUG, 3, 2), ACK);
    assert_padding_is_ignored(*state, UNPLUG_ALL, 3, 2, true);
}

static void D_STATE1_D_STATE2_only_type_and_request_data_are_looked_at(void **state)
{
    assert_padding_is_ignored(*state, STATE, 3, 2, false);
}

/* Ranges that no request may name, with blocks 0 to 11 usable. */
static const struct {
    uint64_t address;
    unsigned blocks;
} bad_ranges[] = {
    {ADDRESS, 0},                                   /* no block */
    {ADDRESS + 1, 1},                               /* misaligned, by the least */
    {ADDRESS + BLOCK - 1, 1},                       /* and by the most */
    {ADDRESS + MiB, 1},                             /* by half a block */
    {ADDRESS - BLOCK, 1},                           /* before the region */
    {ADDRESS - BLOCK, 2},                           /* half of it before */
    {0, 1},                                         /* far before */
    {0, 65535},                                     /* and across */
    {ADDRESS + 12 * BLOCK, 1},                      /* in the region, not usable */
    {ADDRESS + 11 * BLOCK, 2},                      /* its second block not usable */
    {ADDRESS + 15 * BLOCK, 2},                      /* across the region's end */
    {ADDRESS + 16 * BLOCK, 1},                      /* beyond the region */
    {ADDRESS, 13},                                  /* one too many */
    {ADDRESS, 65535},                               /* all too many */
    {UINT64_MAX, 1},                                /* sums that wrap */
    {UINT64_MAX - BLOCK + 1, 1},                    /* the last block of all */
    {UINT64_MAX - BLOCK + 1, 65535},                /* and over the end */
    {ADDRESS + (UINT64_C(1) << 63), 1},             /* the sign bit */
    {(ADDRESS + BLOCK) ^ UINT64_C(1) << 40, 1},     /* a block of the region, but far above */
    {UINT64_MAX - 65534 * BLOCK - BLOCK + 1, 65535} /* ends exactly at 2^64 */
};

static void assert_bad_ranges_are_errors(struct fixture *f, unsigned type)
{
    f->config.usable_extra_bytes = 2 * BLOCK;
    f->config.requested_bytes = 10 * BLOCK;
    create(f, &fake_host_ops);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);
    assert_int_equal(send(f, PLUG, 4, 4), ACK);
    for (size_t i = 0; i < sizeof(bad_ranges) / sizeof(*bad_ranges); i++) {
        unsigned what;
        assert_int_equal(send_state(f, type, bad_ranges[i].address, bad_ranges[i].blocks, &what), ERROR);
        assert_int_equal(what, 0);
        assert_int_equal(plugged(f), 4 * BLOCK);
        assert_consistent(f);
    }
    assert_int_equal(f->host.map.calls, 1);
    assert_int_equal(f->host.unmap.calls + f->host.discard.calls, 0);
}

static void D_PLUG3_X3_misaligned_empty_or_unusable_ranges_are_errors(void **state)
{
    assert_bad_ranges_are_errors(*state, PLUG);
}

static void D_UNPLUG3_X3_misaligned_empty_or_unusable_ranges_are_errors(void **state)
{
    assert_bad_ranges_are_errors(*state, UNPLUG);
}

static void D_STATE3_X3_misaligned_empty_or_unusable_ranges_are_errors(void **state)
{
    assert_bad_ranges_are_errors(*state, STATE);
}

static void X3_sums_with_huge_blocks_do_not_wrap(void **state)
{
    struct fixture *f = *state;
    /* 65535 blocks of 2^50 bytes are more than 2^64. */
    f->config.block_bytes = UINT64_C(1) << 50;
    f->config.address = UINT64_C(1) << 50;
    f->config.region_bytes = f->config.requested_bytes = 15 * (UINT64_C(1) << 50);
    fake_host_init(&f->host, UINT64_C(1) << 50, 15);
    create(f, &fake_host_ops);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);
    for (unsigned blocks = 16; blocks <= 65535; blocks = blocks * 2 + 1)
        assert_int_equal(send_address(f, PLUG, UINT64_C(1) << 50, blocks), ERROR);
    /* 2^14 of them are 2^64; STATE has nothing to say of blocks that aren't there. */
    assert_int_equal(send_address(f, PLUG, UINT64_C(1) << 50, 1 << 14), ERROR);
    assert_int_equal(send_address(f, STATE, UINT64_C(1) << 50, 1 << 14), ERROR);
    assert_int_equal(send_address(f, PLUG, UINT64_C(1) << 50, 15), ACK);
    assert_int_equal(send_address(f, UNPLUG, UINT64_C(1) << 50, 15), ACK);
    assert_consistent(f);
}

/* ---- PLUG ----------------------------------------------------------------------------------------- */

static void D_PLUG4_a_block_that_is_plugged_already_is_an_error(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send(f, PLUG, 4, 4), ACK);
    /*   . . . . P P P P . . . .   any range that meets a P */
    for (unsigned first = 0; first < 12; first++)
        for (unsigned blocks = 1; first + blocks <= 12; blocks++)
            if (first < 8 && first + blocks > 4)
                assert_int_equal(send(f, PLUG, first, blocks), ERROR);
    assert_int_equal(plugged(f), 4 * BLOCK);
    assert_int_equal(f->host.map.calls, 1);
}

static void D_PLUG5_X2_busy_and_nothing_changed_when_the_host_cannot_map(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send(f, PLUG, 0, 1), ACK);
    f->host.map.at = 2;
    assert_int_equal(send(f, PLUG, 1, 8), BUSY);
    assert_int_equal(plugged(f), BLOCK);
    assert_int_equal(f->host.tells, 1);
    assert_consistent(f);
    assert_int_equal(send(f, PLUG, 1, 8), ACK);
    assert_int_equal(plugged(f), 9 * BLOCK);
    assert_consistent(f);
}

static void D_PLUG6_ack_when_all_are_plugged_and_plugged_size_with_it(void **state)
{
    struct fixture *f = *state;
    unsigned what;
    assert_int_equal(send(f, PLUG, 0, 16), ACK);
    assert_int_equal(plugged(f), 16 * BLOCK);
    assert_int_equal(send_state(f, STATE, ADDRESS, 16, &what), ACK);
    assert_int_equal(what, PLEAT_VIRTIO_MEM_STATE_PLUGGED);
}

/* ---- UNPLUG --------------------------------------------------------------------------------------- */

static void D_UNPLUG4_a_block_that_is_unplugged_already_is_an_error(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send(f, PLUG, 0, 16), ACK);
    assert_int_equal(send(f, UNPLUG, 4, 4), ACK);
    for (unsigned first = 0; first < 12; first++)
        for (unsigned blocks = 1; first + blocks <= 12; blocks++)
            if (first < 8 && first + blocks > 4)
                assert_int_equal(send(f, UNPLUG, first, blocks), ERROR);
    assert_int_equal(plugged(f), 12 * BLOCK);
    assert_int_equal(f->host.unmap.calls, 1);
}

static void D_UNPLUG5_X2_busy_and_nothing_changed_when_the_host_cannot_unmap(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send(f, PLUG, 0, 8), ACK);
    f->host.content[3] = 33;
    f->host.unmap.at = 1;
    assert_int_equal(send(f, UNPLUG, 2, 4), BUSY);
    assert_int_equal(plugged(f), 8 * BLOCK);
    assert_int_equal(f->host.content[3], 33);
    assert_consistent(f);
}

static void D_UNPLUG5_X2_busy_and_mapped_again_when_the_host_cannot_take_memory_back(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send(f, PLUG, 0, 8), ACK);
    f->host.content[3] = 33;
    f->host.discard.at = 1;
    assert_int_equal(send(f, UNPLUG, 2, 4), BUSY);
    assert_int_equal(plugged(f), 8 * BLOCK);
    assert_int_equal(f->host.content[3], 33);
    assert_consistent(f);
    assert_int_equal(send(f, UNPLUG, 2, 4), ACK);
    assert_consistent(f);
}

static void D_UNPLUG6_X2_the_books_say_unplugged_when_the_host_can_neither_discard_nor_map_again(void **state)
{
    struct fixture *f = *state;
    struct pleat_virtio_mem_device_statistics statistics;
    assert_int_equal(send(f, PLUG, 0, 8), ACK);
    f->host.discard.at = 1;
    f->host.discard.for_good = true;
    f->host.map.at = 2;
    assert_int_equal(send(f, UNPLUG, 2, 4), ACK);
    assert_int_equal(plugged(f), 4 * BLOCK);
    pleat_virtio_mem_device_statistics(f->device, &statistics);
    assert_int_equal(statistics.undiscarded_bytes, 4 * BLOCK);
    assert_int_equal(statistics.map_failures, 1);
    assert_int_equal(statistics.discard_failures, 2);
    assert_consistent(f);
}

static void D_UNPLUG6_ack_when_all_are_unplugged_and_plugged_size_with_it(void **state)
{
    struct fixture *f = *state;
    unsigned what;
    assert_int_equal(send(f, PLUG, 0, 16), ACK);
    assert_int_equal(send(f, UNPLUG, 0, 16), ACK);
    assert_int_equal(plugged(f), 0);
    assert_int_equal(send_state(f, STATE, ADDRESS, 16, &what), ACK);
    assert_int_equal(what, PLEAT_VIRTIO_MEM_STATE_UNPLUGGED);
    assert_consistent(f);
}

/* ---- UNPLUG_ALL ----------------------------------------------------------------------------------- */

static void D_ALL3_X2_busy_and_nothing_changed_wherever_the_host_stops_it(void **state)
{
    struct fixture *f = *state;
    /*   P P . P P . P P . . . . . . . .   three runs: unmap can fail at 1, 2, 3, discard at the first */
    for (unsigned at = 1; at <= 4; at++) {
        fake_host_heal(&f->host);
        for (unsigned first = 0; first < 9; first += 3) {
            assert_int_equal(send(f, PLUG, first, 2), ACK);
            f->host.content[first] = 1 + first;
        }
        f->host.unmap.at = at <= 3 ? at : 0;
        f->host.discard.at = at <= 3 ? 0 : 1;
        assert_int_equal(send(f, UNPLUG_ALL, 0, 0), BUSY);
        assert_int_equal(plugged(f), 6 * BLOCK);
        for (unsigned first = 0; first < 9; first += 3)
            assert_int_equal(f->host.content[first], 1 + first);
        assert_consistent(f);
        assert_int_equal(send(f, UNPLUG_ALL, 0, 0), ACK);
        assert_consistent(f);
    }
}

static void D_ALL4_once_memory_was_given_back_the_rest_follows_and_what_was_not_is_counted(void **state)
{
    struct fixture *f = *state;
    struct pleat_virtio_mem_device_statistics statistics;
    for (unsigned first = 0; first < 9; first += 3)
        assert_int_equal(send(f, PLUG, first, 2), ACK);
    f->host.discard.at = 2;
    assert_int_equal(send(f, UNPLUG_ALL, 0, 0), ACK);
    assert_int_equal(plugged(f), 0);
    pleat_virtio_mem_device_statistics(f->device, &statistics);
    assert_int_equal(statistics.undiscarded_bytes, 2 * BLOCK);
    assert_consistent(f);
}

static void D_ALL3_blocks_that_cannot_be_mapped_again_are_unplugged_in_the_books(void **state)
{
    struct fixture *f = *state;
    for (unsigned first = 0; first < 9; first += 3)
        assert_int_equal(send(f, PLUG, first, 2), ACK);
    /* The third unmap fails; of the two that are undone, the first can't be. */
    f->host.unmap.at = 3;
    f->host.map.at = f->host.map.calls + 1;
    assert_int_equal(send(f, UNPLUG_ALL, 0, 0), BUSY);
    assert_int_equal(plugged(f), 4 * BLOCK);
    assert_int_equal(f->host.told_bytes, 4 * BLOCK);
    assert_consistent(f);
}

static void D_ALL4_D_ALL5_ack_when_all_are_unplugged_with_plugged_size_0(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send(f, PLUG, 0, 3), ACK);
    assert_int_equal(send(f, PLUG, 7, 9), ACK);
    assert_int_equal(send(f, UNPLUG_ALL, 0, 0), ACK);
    assert_int_equal(plugged(f), 0);
    assert_consistent(f);
    assert_int_equal(send(f, UNPLUG_ALL, 0, 0), ACK);
    assert_int_equal(f->host.tells, 3);
}

static void D_ALL6_X11_usable_size_shrinks_but_not_below_what_is_requested(void **state)
{
    struct fixture *f = *state;
    f->config.flags = PLEAT_VIRTIO_MEM_DEVICE_USABLE_EXACT;
    create(f, &fake_host_ops);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);
    for (unsigned blocks = BLOCKS; blocks-- > 0;) {
        assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, blocks * BLOCK), 0);
        assert_int_equal(pleat_virtio_mem_device_usable_bytes(f->device), (blocks + 1) * BLOCK);
        assert_int_equal(send(f, UNPLUG_ALL, 0, 0), ACK);
        assert_int_equal(pleat_virtio_mem_device_usable_bytes(f->device), blocks * BLOCK);
    }
}

/* ---- STATE ---------------------------------------------------------------------------------------- */

static void D_STATE4_D_STATE5_plugged_unplugged_and_mixed(void **state)
{
    struct fixture *f = *state;
    /*   . . . . P P P P . . . .   */
    assert_int_equal(send(f, PLUG, 4, 4), ACK);
    for (unsigned first = 0; first < 16; first++)
        for (unsigned blocks = 1; first + blocks <= 16; blocks++) {
            unsigned what;
            const bool any = first < 8 && first + blocks > 4;
            const bool all = first >= 4 && first + blocks <= 8;
            assert_int_equal(send_state(f, STATE, ADDRESS + first * BLOCK, blocks, &what), ACK);
            assert_int_equal(what, all   ? PLEAT_VIRTIO_MEM_STATE_PLUGGED
                                   : any ? PLEAT_VIRTIO_MEM_STATE_MIXED
                                         : PLEAT_VIRTIO_MEM_STATE_UNPLUGGED);
        }
    assert_int_equal(plugged(f), 4 * BLOCK);
}

/* ---- What went wrong in the field ----------------------------------------------------------------- */

static void X1_range_comes_before_state_and_state_before_quota(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send(f, PLUG, 0, 2), ACK);
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, BLOCK), 0);
    /* Over quota and plugged already; over quota and out of range; over quota alone. */
    assert_int_equal(send(f, PLUG, 1, 1), ERROR);
    assert_int_equal(send(f, PLUG, 1, 2), ERROR);
    assert_int_equal(send(f, PLUG, 15, 2), ERROR);
    assert_int_equal(send(f, PLUG, 2, 1), NACK);
}

static void X1_the_same_for_an_unplug_that_may_be_refused(void **state)
{
    struct fixture *f = *state;
    f->config.flags = PLEAT_VIRTIO_MEM_DEVICE_REFUSE_UNREQUESTED;
    create(f, &fake_host_ops);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);
    assert_int_equal(send(f, PLUG, 0, 2), ACK);
    assert_int_equal(send(f, UNPLUG, 1, 2), ERROR);
    assert_int_equal(send(f, UNPLUG, 15, 2), ERROR);
    assert_int_equal(send(f, UNPLUG, 0, 1), NACK);
}

static void X4_unknown_types_and_short_requests_get_an_error_and_the_next_is_served(void **state)
{
    struct fixture *f = *state;
    struct pleat_virtio_mem_device_statistics statistics;
    for (unsigned type = 4; type <= 0xffff; type += type < 16 ? 1 : 257)
        assert_int_equal(send(f, type, 0, 1), ERROR);
    /* Types whose low byte is a known one. */
    for (unsigned type = 0; type < 4; type++)
        assert_int_equal(send(f, type | 0x100, 0, 1), ERROR);
    const struct pleat_virtio_mem_request request = make(PLUG, ADDRESS, 1);
    for (size_t bytes = 0; bytes < sizeof(request); bytes++) {
        uint8_t response[10];
        void *exact = malloc(bytes + !bytes);
        memcpy(exact, &request, bytes);
        assert_int_equal(pleat_virtio_mem_device_handle(f->device, exact, bytes, response), ERROR);
        free(exact);
    }
    pleat_virtio_mem_device_statistics(f->device, &statistics);
    assert_true(statistics.operations[PLEAT_VIRTIO_MEM_DEVICE_UNKNOWN].answers[ERROR] > 24);
    assert_int_equal(plugged(f), 0);
    assert_int_equal(send(f, PLUG, 0, 1), ACK);
}

static void X5_over_quota_is_nack_never_error(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 4 * BLOCK), 0);
    assert_int_equal(send(f, PLUG, 0, 5), NACK);
    assert_int_equal(send(f, PLUG, 0, 3), ACK);
    assert_int_equal(send(f, PLUG, 3, 2), NACK);
    assert_int_equal(send(f, PLUG, 3, 1), ACK);
    assert_int_equal(send(f, PLUG, 4, 1), NACK);
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 0), 0);
    assert_int_equal(send(f, PLUG, 4, 1), NACK);
    assert_int_equal(plugged(f), 4 * BLOCK);
    assert_int_equal(f->host.map.calls, 2);
}

static void X8_an_unplug_below_the_requested_size_can_be_refused_but_not_unplug_all(void **state)
{
    struct fixture *f = *state;
    f->config.flags = PLEAT_VIRTIO_MEM_DEVICE_REFUSE_UNREQUESTED;
    create(f, &fake_host_ops);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);
    assert_int_equal(send(f, PLUG, 0, 8), ACK);
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 6 * BLOCK), 0);
    assert_int_equal(send(f, UNPLUG, 0, 3), NACK);
    assert_int_equal(plugged(f), 8 * BLOCK);
    assert_int_equal(send(f, UNPLUG, 0, 2), ACK);
    assert_int_equal(send(f, UNPLUG, 2, 1), NACK);
    assert_int_equal(send(f, UNPLUG_ALL, 0, 0), ACK);
    assert_int_equal(plugged(f), 0);
}

static void X8_is_off_by_default(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send(f, PLUG, 0, 8), ACK);
    assert_int_equal(send(f, UNPLUG, 0, 8), ACK);
}

static void X9_all_ten_bytes_of_the_response_are_written(void **state)
{
    struct fixture *f = *state;
    for (unsigned type = 0; type < 5; type++) {
        const struct pleat_virtio_mem_request request = make(type, ADDRESS, 1);
        uint8_t a[10], b[10];
        const int answer = type <= STATE ? ACK : ERROR;
        memset(a, 0x00, sizeof(a));
        memset(b, 0xff, sizeof(b));
        assert_int_equal(pleat_virtio_mem_device_handle(f->device, &request, sizeof(request), a), answer);
        /* Once more into other bytes: PLUG and UNPLUG are errors by now, so compare the padding only. */
        (void)pleat_virtio_mem_device_handle(f->device, &request, sizeof(request), b);
        assert_memory_equal(a + 2, b + 2, 6);
        for (unsigned i = 2; i < 8; i++)
            assert_int_equal(a[i], 0);
        if (type != STATE)
            assert_int_equal(a[8] | a[9] << 8, 0);
    }
}

/* ---- Queries and counters ------------------------------------------------------------------------- */

static void plugged_runs_can_be_visited_and_ranges_asked_for(void **state)
{
    struct fixture *f = *state;
    uint64_t offset, bytes;
    assert_false(pleat_virtio_mem_device_next_plugged(f->device, 0, &offset, &bytes));
    /*   P . . P P P . . . . . . . . P P   */
    assert_int_equal(send(f, PLUG, 0, 1), ACK);
    assert_int_equal(send(f, PLUG, 3, 3), ACK);
    assert_int_equal(send(f, PLUG, 14, 2), ACK);
    assert_true(pleat_virtio_mem_device_next_plugged(f->device, 0, &offset, &bytes));
    assert_int_equal(offset, 0);
    assert_int_equal(bytes, BLOCK);
    assert_true(pleat_virtio_mem_device_next_plugged(f->device, offset + bytes, &offset, &bytes));
    assert_int_equal(offset, 3 * BLOCK);
    assert_int_equal(bytes, 3 * BLOCK);
    assert_true(pleat_virtio_mem_device_next_plugged(f->device, 4 * BLOCK + 5, &offset, &bytes));
    assert_int_equal(offset, 4 * BLOCK + 5);
    assert_int_equal(bytes, 2 * BLOCK - 5);
    assert_true(pleat_virtio_mem_device_next_plugged(f->device, 6 * BLOCK, &offset, &bytes));
    assert_int_equal(offset, 14 * BLOCK);
    assert_int_equal(bytes, 2 * BLOCK);
    assert_false(pleat_virtio_mem_device_next_plugged(f->device, 16 * BLOCK, &offset, &bytes));
    assert_false(pleat_virtio_mem_device_next_plugged(f->device, UINT64_MAX, &offset, &bytes));

    assert_true(pleat_virtio_mem_device_is_plugged(f->device, 3 * BLOCK + 7, 2 * BLOCK));
    assert_true(pleat_virtio_mem_device_is_plugged(f->device, 3 * BLOCK, 3 * BLOCK));
    assert_false(pleat_virtio_mem_device_is_plugged(f->device, 3 * BLOCK, 3 * BLOCK + 1));
    assert_false(pleat_virtio_mem_device_is_plugged(f->device, 3 * BLOCK - 1, 2));
    assert_false(pleat_virtio_mem_device_is_plugged(f->device, 15 * BLOCK, BLOCK + 1));
    assert_false(pleat_virtio_mem_device_is_plugged(f->device, UINT64_MAX, 2));
    assert_false(pleat_virtio_mem_device_is_plugged(f->device, 0, UINT64_MAX));
    assert_false(pleat_virtio_mem_device_is_plugged(f->device, 3 * BLOCK, UINT64_MAX - 2 * BLOCK));
    assert_true(pleat_virtio_mem_device_is_plugged(f->device, 16 * BLOCK, 0));
    assert_false(pleat_virtio_mem_device_is_plugged(f->device, 16 * BLOCK + 1, 0));
}

static void counters_tell_answers_blocks_and_time(void **state)
{
    struct fixture *f = *state;
    struct pleat_virtio_mem_device_statistics statistics;
    const struct pleat_virtio_mem_device_counter *plugs =
        &statistics.operations[PLEAT_VIRTIO_MEM_DEVICE_PLUG];

    f->host.tick_ns = 50;
    assert_int_equal(send(f, PLUG, 0, 3), ACK);
    f->host.tick_ns = 10;
    assert_int_equal(send(f, PLUG, 0, 3), ERROR);
    f->host.tick_ns = 20;
    assert_int_equal(send(f, PLUG, 3, 2), ACK);
    f->host.map.at = f->host.map.calls + 1;
    assert_int_equal(send(f, PLUG, 5, 2), BUSY);
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 0), 0);
    assert_int_equal(send(f, PLUG, 5, 2), NACK);
    assert_int_equal(send(f, UNPLUG_ALL, 0, 0), ACK);

    pleat_virtio_mem_device_statistics(f->device, &statistics);
    assert_int_equal(plugs->answers[ACK], 2);
    assert_int_equal(plugs->answers[NACK], 1);
    assert_int_equal(plugs->answers[BUSY], 1);
    assert_int_equal(plugs->answers[ERROR], 1);
    assert_int_equal(plugs->blocks, 5);
    assert_int_equal(plugs->ns_total, 50 + 10 + 20 + 20 + 20);
    assert_int_equal(plugs->ns_min, 10);
    assert_int_equal(plugs->ns_max, 50);
    assert_int_equal(statistics.operations[PLEAT_VIRTIO_MEM_DEVICE_UNPLUG_ALL].blocks, 5);
    assert_int_equal(statistics.operations[PLEAT_VIRTIO_MEM_DEVICE_STATE].ns_min, 0);
    assert_int_equal(statistics.map_failures, 1);
    assert_int_equal(statistics.config_interrupts, 1);
}

static void every_callback_may_be_left_out(void **state)
{
    struct fixture *f = *state;
    static const struct pleat_virtio_mem_device_ops nothing;
    create(f, &nothing);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);
    assert_int_equal(send(f, PLUG, 0, 8), ACK);
    assert_int_equal(pleat_virtio_mem_device_set_requested(f->device, 0), 0);
    assert_int_equal(send(f, UNPLUG, 0, 4), ACK);
    assert_int_equal(send(f, UNPLUG_ALL, 0, 0), ACK);
    assert_int_equal(pleat_virtio_mem_device_system_reset(f->device), 0);
    assert_true(pleat_virtio_mem_device_is_valid(f->device));
}

static void a_vmm_that_only_discards_is_served_too(void **state)
{
    struct fixture *f = *state;
    struct pleat_virtio_mem_device_ops ops = fake_host_ops;
    ops.unmap = NULL;
    ops.map = NULL;
    ops.map_zeroes = NULL;
    create(f, &ops);
    assert_int_equal(pleat_virtio_mem_device_accept(f->device, INACC), 0);
    assert_int_equal(send(f, PLUG, 0, 8), ACK);
    f->host.discard.at = 1;
    assert_int_equal(send(f, UNPLUG, 0, 4), BUSY);
    assert_int_equal(plugged(f), 8 * BLOCK);
    assert_int_equal(send(f, UNPLUG, 0, 4), ACK);
    assert_int_equal(plugged(f), 4 * BLOCK);
}

#define WITH_DEVICE(test) cmocka_unit_test_setup_teardown(test, setup_device, teardown)
#define ALONE(test)       cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALONE(D_CFG1_requested_and_usable_size_follow_the_host),
        ALONE(D_CFG2_block_size_node_address_and_region_size_never_change),
        ALONE(node_id_is_0_unless_acpi_pxm_is_offered),
        WITH_DEVICE(D_CFG3_plugged_size_is_the_sum_of_plugged_blocks),
        ALONE(D_CFG4_usable_size_is_never_less_than_requested),
        ALONE(the_usable_region_is_what_is_requested_plus_the_extra_within_the_region),
        ALONE(D_CFG5_a_block_size_that_is_no_power_of_two_is_refused),
        ALONE(D_CFG6_sizes_that_are_no_multiples_of_the_block_size_are_refused),
        ALONE(D_CFG7_a_region_that_is_empty_or_wraps_is_refused),
        ALONE(a_config_that_contradicts_itself_is_refused),
        ALONE(D_CFG8_usable_size_shrinks_only_at_unplug_all_and_system_reset),
        ALONE(D_CFG9_an_interrupt_when_usable_or_requested_change_but_not_during_unplug_all),
        WITH_DEVICE(D_CFG10_no_interrupt_for_plugged_size),
        WITH_DEVICE(D_CFG11_no_interrupt_either_when_the_same_size_is_requested_again),
        WITH_DEVICE(reads_of_the_config_space_stop_at_its_end),
        ALONE(D_INIT1_a_driver_without_inacc_is_refused),
        WITH_DEVICE(D_INIT2_a_device_reset_keeps_the_state_of_blocks),
        WITH_DEVICE(D_INIT3_a_device_reset_keeps_what_is_in_plugged_blocks),
        ALONE(D_INIT4_persistent_suspend_is_offered_where_the_platform_can),
        WITH_DEVICE(D_OP1_D_OP4_plugged_memory_is_mapped_before_the_answer),
        WITH_DEVICE(D_OP2_unplugged_memory_goes_back_to_the_host),
        WITH_DEVICE(D_OP3_what_is_in_plugged_memory_never_changes),
        ALONE(D_OP5_X15_a_driver_without_inacc_reads_zeroes_where_it_is_served),
        ALONE(D_OP5_zeroes_that_cannot_be_mapped_refuse_the_driver_or_the_request),
        ALONE(zeroes_that_cannot_be_unmapped_are_tried_again),
        ALONE(zeroes_that_cannot_be_undone_are_tried_again),
        ALONE(X15_readers_are_refused_where_zeroes_cannot_be_mapped_at_all),
        WITH_DEVICE(D_OP6_D_OP7_a_system_reset_unplugs_all),
        WITH_DEVICE(a_system_reset_that_the_host_stops_says_so_and_can_be_repeated),
        ALONE(D_OP8_blocks_are_kept_over_suspend_and_wake),
        WITH_DEVICE(D_PLUG1_D_PLUG2_only_type_and_request_data_are_looked_at),
        ALONE(D_PLUG3_X3_misaligned_empty_or_unusable_ranges_are_errors),
        WITH_DEVICE(D_PLUG4_a_block_that_is_plugged_already_is_an_error),
        WITH_DEVICE(D_PLUG5_X2_busy_and_nothing_changed_when_the_host_cannot_map),
        WITH_DEVICE(D_PLUG6_ack_when_all_are_plugged_and_plugged_size_with_it),
        WITH_DEVICE(D_UNPLUG1_D_UNPLUG2_only_type_and_request_data_are_looked_at),
        ALONE(D_UNPLUG3_X3_misaligned_empty_or_unusable_ranges_are_errors),
        WITH_DEVICE(D_UNPLUG4_a_block_that_is_unplugged_already_is_an_error),
        WITH_DEVICE(D_UNPLUG5_X2_busy_and_nothing_changed_when_the_host_cannot_unmap),
        WITH_DEVICE(D_UNPLUG5_X2_busy_and_mapped_again_when_the_host_cannot_take_memory_back),
        WITH_DEVICE(D_UNPLUG6_X2_the_books_say_unplugged_when_the_host_can_neither_discard_nor_map_again),
        WITH_DEVICE(D_UNPLUG6_ack_when_all_are_unplugged_and_plugged_size_with_it),
        WITH_DEVICE(D_ALL1_D_ALL2_only_the_type_is_looked_at),
        WITH_DEVICE(D_ALL3_X2_busy_and_nothing_changed_wherever_the_host_stops_it),
        WITH_DEVICE(D_ALL3_blocks_that_cannot_be_mapped_again_are_unplugged_in_the_books),
        WITH_DEVICE(D_ALL4_once_memory_was_given_back_the_rest_follows_and_what_was_not_is_counted),
        WITH_DEVICE(D_ALL4_D_ALL5_ack_when_all_are_unplugged_with_plugged_size_0),
        ALONE(D_ALL6_X11_usable_size_shrinks_but_not_below_what_is_requested),
        WITH_DEVICE(D_STATE1_D_STATE2_only_type_and_request_data_are_looked_at),
        ALONE(D_STATE3_X3_misaligned_empty_or_unusable_ranges_are_errors),
        WITH_DEVICE(D_STATE4_D_STATE5_plugged_unplugged_and_mixed),
        WITH_DEVICE(X1_range_comes_before_state_and_state_before_quota),
        ALONE(X1_the_same_for_an_unplug_that_may_be_refused),
        ALONE(X3_sums_with_huge_blocks_do_not_wrap),
        WITH_DEVICE(X4_unknown_types_and_short_requests_get_an_error_and_the_next_is_served),
        WITH_DEVICE(X5_over_quota_is_nack_never_error),
        ALONE(X8_an_unplug_below_the_requested_size_can_be_refused_but_not_unplug_all),
        WITH_DEVICE(X8_is_off_by_default),
        WITH_DEVICE(X9_all_ten_bytes_of_the_response_are_written),
        WITH_DEVICE(plugged_runs_can_be_visited_and_ranges_asked_for),
        WITH_DEVICE(counters_tell_answers_blocks_and_time),
        ALONE(every_callback_may_be_left_out),
        ALONE(a_vmm_that_only_discards_is_served_too),
    };
    return cmocka_run_group_tests_name("virtio-mem device", tests, NULL, NULL);
}
