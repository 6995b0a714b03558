/* SPDX-License-Identifier: MIT
 *
 * The virtio-mem device over a backend with real memory, which fails in between. Each plugged block holds a
 * stamp of its own; after every step all stamps are there, what was unplugged is inaccessible, and the host
 * holds no more than what was touched. A touch of memory that should be there and isn't ends the test with a
 * signal, which is as good as an assertion.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <pleat/virtio_mem_device.h>

#include "tests/support/faulty_backend.h"
#include "tests/support/random.h"

enum { BLOCKS = 48, SEEDS = 20, STEPS = 150, ACK = PLEAT_VIRTIO_MEM_RESP_ACK };

#define BLOCK   UINT64_C(16384)
#define BYTES   (BLOCKS * BLOCK)
#define ADDRESS UINT64_C(0x100000000)
#define INACC   (UINT64_C(1) << PLEAT_VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE)

static struct run {
    uint64_t seed;
    unsigned step;
    struct test_random random;
    uint8_t *at;
    struct pleat_memory_backend backend;
    struct faulty_backend faulty;
    struct pleat_virtio_mem_device *device;
    uint64_t storage[256];
    uint64_t stamps[BLOCKS]; /* 0: not plugged */
    uint64_t next_stamp;
    bool reader; /* the driver hasn't negotiated UNPLUGGED_INACCESSIBLE */
    unsigned acks, busies;
} run;

#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            fail_msg("PLEAT_SEED=%" PRIu64 " step %u: %s", run.seed, run.step, #condition);                  \
    } while (0)

static int map(void *context, uint64_t offset, uint64_t bytes)
{
    return pleat_memory_backend_map(context, offset, bytes);
}

static int unmap(void *context, uint64_t offset, uint64_t bytes)
{
    return pleat_memory_backend_unmap(context, offset, bytes);
}

static int discard(void *context, uint64_t offset, uint64_t bytes)
{
    return pleat_memory_backend_discard(context, offset, bytes);
}

static int map_zeroes(void *context, uint64_t offset, uint64_t bytes)
{
    return pleat_memory_backend_map_zeroes(context, offset, bytes);
}

static const struct pleat_virtio_mem_device_ops ops = {
    .map = map, .unmap = unmap, .discard = discard, .map_zeroes = map_zeroes};

/* The first and the last word of a block, and one of each page between. */
static void stamp(unsigned block)
{
    run.stamps[block] = ++run.next_stamp;
    for (uint64_t offset = 0; offset < BLOCK; offset += 4088)
        memcpy(run.at + block * BLOCK + offset, &run.stamps[block], 8);
}

static bool stamped(unsigned block)
{
    for (uint64_t offset = 0; offset < BLOCK; offset += 4088)
        if (memcmp(run.at + block * BLOCK + offset, &run.stamps[block], 8) != 0)
            return false;
    return true;
}

/* Can the kernel read a byte there on our behalf? It says no where we would get a SIGSEGV. */
static bool readable(const uint8_t *byte)
{
    uint8_t copy;
    const struct iovec here = {&copy, 1}, there = {(void *)(uintptr_t)byte, 1};
    return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == 1;
}

static bool writable(uint8_t *byte)
{
    uint8_t zero = 0;
    const struct iovec here = {&zero, 1}, there = {byte, 1};
    return process_vm_writev(getpid(), &here, 1, &there, 1, 0) == 1;
}

static void check(bool zeroes)
{
    uint64_t plugged = 0;
    const uint64_t usable = pleat_virtio_mem_device_usable_bytes(run.device);
    struct pleat_virtio_mem_device_statistics statistics;
    pleat_virtio_mem_device_statistics(run.device, &statistics);
    REQUIRE(pleat_virtio_mem_device_is_valid(run.device));
    for (unsigned block = 0; block < BLOCKS; block++) {
        const bool is = pleat_virtio_mem_device_is_plugged(run.device, block * BLOCK, BLOCK);
        REQUIRE(is == (run.stamps[block] != 0));
        if (is) {
            REQUIRE(stamped(block));
            plugged += BLOCK;
        } else {
            uint8_t *last = run.at + (block + 1) * BLOCK - 1;
            /* Zeroes beyond the usable region stay where they couldn't be unmapped. */
            if (block * BLOCK < usable || !zeroes || !statistics.unmap_failures)
                REQUIRE(readable(last) == (zeroes && block * BLOCK < usable));
            REQUIRE(!writable(last));
        }
    }
    REQUIRE(pleat_virtio_mem_device_plugged_bytes(run.device) == plugged);
    /* The kernel's page of zeroes, once read, counts as held. */
    REQUIRE(run.reader || pleat_memory_backend_held_bytes(&run.backend) == plugged);
}

static void fail_something(void)
{
    const struct faulty_call none = {.error = PLEAT_E_NO_MEMORY};
    run.faulty.map = run.faulty.unmap = run.faulty.discard = run.faulty.map_zeroes = none;
    switch (test_random_below(&run.random, 12)) {
    case 0:
        run.faulty.map.at = 1;
        break;
    case 1:
        run.faulty.unmap.at = 1 + test_random_below(&run.random, 3);
        break;
    case 2:
        run.faulty.discard.at = 1;
        break;
    case 3:
        run.faulty.map_zeroes.at = 1 + test_random_below(&run.random, 3);
        break;
    default:
        break;
    }
}

static void request(void)
{
    struct pleat_virtio_mem_request bytes;
    uint8_t response[10];
    const uint64_t kind = test_random_below(&run.random, 30);
    const unsigned type = kind == 0   ? PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL
                          : kind < 18 ? PLEAT_VIRTIO_MEM_REQ_PLUG
                                      : PLEAT_VIRTIO_MEM_REQ_UNPLUG;
    unsigned first = (unsigned)test_random_below(&run.random, BLOCKS), count = 0;
    const unsigned limit = 1 + (unsigned)test_random_below(&run.random, 6);

    while (first < BLOCKS && !run.stamps[first] != (type == PLEAT_VIRTIO_MEM_REQ_PLUG))
        first++;
    while (first + count < BLOCKS && count < limit &&
           !run.stamps[first + count] == (type == PLEAT_VIRTIO_MEM_REQ_PLUG))
        count++;
    memset(&bytes, 0, sizeof(bytes));
    bytes.type = pleat_le16((uint16_t)type);
    bytes.address = pleat_le64(ADDRESS + first * BLOCK);
    bytes.block_count = pleat_le16((uint16_t)count);
    fail_something();
    const int answer = pleat_virtio_mem_device_handle(run.device, &bytes, sizeof(bytes), response);
    run.busies += answer == PLEAT_VIRTIO_MEM_RESP_BUSY;
    if (answer != ACK)
        return;
    run.acks++;
    if (type == PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL)
        memset(run.stamps, 0, sizeof(run.stamps));
    for (unsigned i = 0; i < count && type != PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL; i++)
        if (type == PLEAT_VIRTIO_MEM_REQ_PLUG)
            stamp(first + i);
        else
            run.stamps[first + i] = 0;
}

static void run_seed(const struct pleat_memory_backend_config *backend, uint64_t seed, bool reader)
{
    const struct pleat_virtio_mem_device_config config = {
        .address = ADDRESS,
        .region_bytes = BYTES,
        .block_bytes = BLOCK,
        .requested_bytes = BYTES / 2,
        .usable_extra_bytes = 8 * BLOCK,
        .flags = reader ? PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS : 0,
    };
    memset(&run, 0, sizeof(run));
    run.seed = seed;
    run.reader = reader;
    test_random_seed(&run.random, seed);
    run.at = pleat_memory_backend_reserve(BYTES, 0);
    assert_non_null(run.at);
    assert_int_equal(pleat_memory_backend_open(backend, run.at, &run.backend, NULL, 0), 0);
    faulty_backend_wrap(&run.faulty, &run.backend);
    assert_int_equal(pleat_virtio_mem_device_create(&config, &ops, &run.backend, run.storage,
                                                    sizeof(run.storage), &run.device),
                     0);
    assert_int_equal(pleat_virtio_mem_device_accept(run.device, reader ? 0 : INACC), 0);
    for (run.step = 0; run.step < STEPS; run.step++) {
        if (test_random_below(&run.random, 10)) {
            request();
        } else {
            const uint64_t requested = test_random_below(&run.random, BLOCKS + 1) * BLOCK;
            fail_something();
            (void)pleat_virtio_mem_device_set_requested(run.device, requested);
        }
        check(reader);
    }
    assert_true(run.acks > STEPS / 4);
    const struct faulty_call none = {0};
    run.faulty.map = run.faulty.unmap = run.faulty.discard = run.faulty.map_zeroes = none;
    assert_int_equal(pleat_virtio_mem_device_system_reset(run.device), 0);
    memset(run.stamps, 0, sizeof(run.stamps));
    check(false);
    pleat_virtio_mem_device_destroy(run.device);
    pleat_memory_backend_close(&run.backend);
    pleat_memory_backend_release(run.at, BYTES);
}

static void run_seeds(enum pleat_memory_backend_kind kind, bool prealloc, bool reader)
{
    const struct pleat_memory_backend_config config = {.kind = kind, .bytes = BYTES, .prealloc = prealloc};
    unsigned busies = 0;
    uint64_t seed;
    for (unsigned number = 0; test_random_seed_number(number, 1, SEEDS, &seed); number++) {
        run_seed(&config, seed, reader);
        busies += run.busies;
    }
    assert_true(getenv("PLEAT_SEED") || busies > 0);
}

static void X2_D_OP3_anonymous_memory_keeps_what_it_holds_while_the_host_fails(void **state)
{
    (void)state;
    run_seeds(PLEAT_MEMORY_BACKEND_ANONYMOUS, false, false);
}

static void X2_D_OP3_a_memfd_keeps_what_it_holds_while_the_host_fails(void **state)
{
    (void)state;
    run_seeds(PLEAT_MEMORY_BACKEND_MEMFD, false, false);
}

static void X2_D_OP3_populated_memory_keeps_what_it_holds_while_the_host_fails(void **state)
{
    (void)state;
    run_seeds(PLEAT_MEMORY_BACKEND_ANONYMOUS, true, false);
    run_seeds(PLEAT_MEMORY_BACKEND_MEMFD, true, false);
}

static void D_OP5_X15_a_driver_without_inacc_reads_what_is_unplugged_and_writes_none_of_it(void **state)
{
    (void)state;
    run_seeds(PLEAT_MEMORY_BACKEND_ANONYMOUS, false, true);
    run_seeds(PLEAT_MEMORY_BACKEND_MEMFD, false, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(X2_D_OP3_anonymous_memory_keeps_what_it_holds_while_the_host_fails),
        cmocka_unit_test(X2_D_OP3_a_memfd_keeps_what_it_holds_while_the_host_fails),
        cmocka_unit_test(X2_D_OP3_populated_memory_keeps_what_it_holds_while_the_host_fails),
        cmocka_unit_test(D_OP5_X15_a_driver_without_inacc_reads_what_is_unplugged_and_writes_none_of_it),
    };
    return cmocka_run_group_tests_name("virtio-mem device over backends", tests, NULL, NULL);
}
