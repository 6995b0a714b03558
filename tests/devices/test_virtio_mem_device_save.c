/* SPDX-License-Identifier: MIT
 *
 * Save and load of the virtio-mem device: a round trip, the bytes themselves, and bytes that somebody has
 * tampered with, none of which may change a thing.
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
#include "tests/support/random.h"

#define BLOCK   UINT64_C(0x10000)
#define ADDRESS UINT64_C(0x40000000)
#define INACC   (UINT64_C(1) << PLEAT_VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE)

enum {
    BLOCKS = 70, /* a word and six bits */
    BYTES = 72 + 9,
    AT_VERSION = 8,
    AT_FLAGS = 12,
    AT_ADDRESS = 16,
    AT_REGION = 24,
    AT_BLOCK = 32,
    AT_REQUESTED = 40,
    AT_USABLE = 48,
    AT_PLUGGED = 56,
    AT_FEATURES = 64,
    AT_BITMAP = 72
};

struct side {
    struct fake_host host;
    struct pleat_virtio_mem_device *device;
    uint64_t storage[256];
};

static struct side source, target;
static uint8_t saved[BYTES];

static void create(struct side *side, uint32_t flags)
{
    const struct pleat_virtio_mem_device_config config = {.address = ADDRESS,
                                                          .region_bytes = BLOCKS * BLOCK,
                                                          .block_bytes = BLOCK,
                                                          .requested_bytes = 40 * BLOCK,
                                                          .usable_extra_bytes = 28 * BLOCK,
                                                          .flags = flags};
    fake_host_init(&side->host, BLOCK, BLOCKS);
    assert_true(pleat_virtio_mem_device_storage_bytes(&config) <= sizeof(side->storage));
    assert_int_equal(pleat_virtio_mem_device_create(&config, &fake_host_ops, &side->host, side->storage,
                                                    sizeof(side->storage), &side->device),
                     0);
}

static int ask(struct side *side, unsigned type, unsigned first, unsigned blocks)
{
    struct pleat_virtio_mem_request request;
    uint8_t response[10];
    memset(&request, 0, sizeof(request));
    request.type = pleat_le16((uint16_t)type);
    request.address = pleat_le64(ADDRESS + first * BLOCK);
    request.block_count = pleat_le16((uint16_t)blocks);
    return pleat_virtio_mem_device_handle(side->device, &request, sizeof(request), response);
}

/* The source has blocks 0, 3-4, 62-67 plugged, 30 requested, 68 usable; the target is as created. */
static int setup_with(uint32_t flags, uint64_t features)
{
    create(&source, flags);
    create(&target, flags);
    assert_int_equal(pleat_virtio_mem_device_accept(source.device, features), 0);
    assert_int_equal(ask(&source, PLEAT_VIRTIO_MEM_REQ_PLUG, 0, 1), PLEAT_VIRTIO_MEM_RESP_ACK);
    assert_int_equal(ask(&source, PLEAT_VIRTIO_MEM_REQ_PLUG, 3, 2), PLEAT_VIRTIO_MEM_RESP_ACK);
    assert_int_equal(ask(&source, PLEAT_VIRTIO_MEM_REQ_PLUG, 62, 6), PLEAT_VIRTIO_MEM_RESP_ACK);
    assert_int_equal(pleat_virtio_mem_device_set_requested(source.device, 30 * BLOCK), 0);
    assert_int_equal(pleat_virtio_mem_device_save_bytes(source.device), BYTES);
    assert_int_equal(pleat_virtio_mem_device_save(source.device, saved, sizeof(saved)), 0);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return setup_with(PLEAT_VIRTIO_MEM_DEVICE_NODE, INACC | 1);
}

static void assert_untouched(const struct side *side)
{
    assert_int_equal(pleat_virtio_mem_device_plugged_bytes(side->device), 0);
    assert_int_equal(pleat_virtio_mem_device_requested_bytes(side->device), 40 * BLOCK);
    assert_int_equal(pleat_virtio_mem_device_usable_bytes(side->device), 68 * BLOCK);
    assert_false(pleat_virtio_mem_device_accepted(side->device));
    assert_int_equal(side->host.interrupts + side->host.tells, 0);
    assert_null(fake_host_compare(&side->host, side->device, FAKE_INACCESSIBLE));
}

static void assert_refused(const uint8_t *bytes, size_t length, int error)
{
    assert_int_equal(pleat_virtio_mem_device_load(target.device, bytes, length), error);
    assert_untouched(&target);
    assert_int_equal(target.host.map.calls, 0);
}

static void a_round_trip_keeps_blocks_sizes_and_features(void **state)
{
    (void)state;
    uint8_t again[BYTES + 1];
    assert_int_equal(pleat_virtio_mem_device_load(target.device, saved, sizeof(saved)), 0);
    for (unsigned b = 0; b < BLOCKS; b++)
        assert_int_equal(pleat_virtio_mem_device_is_plugged(target.device, b * BLOCK, BLOCK),
                         b == 0 || b == 3 || b == 4 || (b >= 62 && b < 68));
    assert_int_equal(pleat_virtio_mem_device_plugged_bytes(target.device), 9 * BLOCK);
    assert_int_equal(pleat_virtio_mem_device_requested_bytes(target.device), 30 * BLOCK);
    assert_true(pleat_virtio_mem_device_accepted(target.device));
    assert_int_equal(target.host.told_bytes, 9 * BLOCK);
    assert_int_equal(target.host.interrupts, 0);
    assert_int_equal(target.host.map.calls, 3);
    assert_null(fake_host_compare(&target.host, target.device, FAKE_INACCESSIBLE));

    again[BYTES] = 0xee;
    assert_int_equal(pleat_virtio_mem_device_save(target.device, again, sizeof(again)), 0);
    assert_memory_equal(again, saved, BYTES);
    assert_int_equal(again[BYTES], 0xee);
    assert_int_equal(ask(&target, PLEAT_VIRTIO_MEM_REQ_UNPLUG, 62, 6), PLEAT_VIRTIO_MEM_RESP_ACK);
}

static void the_bytes_are_what_the_format_says(void **state)
{
    (void)state;
    assert_memory_equal(saved, "PleatVMm", 8);
    assert_int_equal(pleat_read_le32(saved + AT_VERSION), 1);
    assert_int_equal(pleat_read_le32(saved + AT_FLAGS), 1);
    assert_int_equal(pleat_read_le64(saved + AT_ADDRESS), ADDRESS);
    assert_int_equal(pleat_read_le64(saved + AT_REGION), BLOCKS * BLOCK);
    assert_int_equal(pleat_read_le64(saved + AT_BLOCK), BLOCK);
    assert_int_equal(pleat_read_le64(saved + AT_REQUESTED), 30 * BLOCK);
    assert_int_equal(pleat_read_le64(saved + AT_USABLE), 68 * BLOCK);
    assert_int_equal(pleat_read_le64(saved + AT_PLUGGED), 9 * BLOCK);
    assert_int_equal(pleat_read_le64(saved + AT_FEATURES), INACC | 1);
    static const uint8_t bitmap[9] = {0x19, 0, 0, 0, 0, 0, 0, 0xc0, 0x0f};
    assert_memory_equal(saved + AT_BITMAP, bitmap, sizeof(bitmap));
}

static void a_device_without_a_driver_round_trips_too(void **state)
{
    (void)state;
    assert_int_equal(pleat_virtio_mem_device_reset(source.device), 0);
    assert_int_equal(pleat_virtio_mem_device_save(source.device, saved, sizeof(saved)), 0);
    assert_int_equal(pleat_virtio_mem_device_load(target.device, saved, sizeof(saved)), 0);
    assert_false(pleat_virtio_mem_device_accepted(target.device));
    assert_int_equal(pleat_virtio_mem_device_plugged_bytes(target.device), 9 * BLOCK);
    assert_int_equal(pleat_virtio_mem_device_accept(target.device, INACC), 0);
}

static int setup_reader(void **state)
{
    (void)state;
    return setup_with(PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS, 0);
}

static void X15_zeroes_are_mapped_for_a_loaded_driver_without_inacc(void **state)
{
    (void)state;
    assert_int_equal(pleat_virtio_mem_device_load(target.device, saved, sizeof(saved)), 0);
    assert_null(fake_host_compare(&target.host, target.device, FAKE_ZEROES));
    /* And the driver is refused where such drivers are. */
    create(&target, 0);
    assert_refused(saved, sizeof(saved), PLEAT_E_REFUSED);
}

static void X2_a_load_that_the_host_stops_at_its_nth_call_changes_nothing(void **state)
{
    (void)state;
    /* Three runs to map, and the gaps between them to map as zeroes. */
    for (unsigned at = 1; at <= 3; at++) {
        create(&target, PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS);
        target.host.map.at = at;
        assert_int_equal(pleat_virtio_mem_device_load(target.device, saved, sizeof(saved)),
                         PLEAT_E_NO_MEMORY);
        assert_untouched(&target);
    }
    for (unsigned at = 1; at <= 2; at++) {
        create(&target, PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS);
        target.host.zeroes.at = at;
        assert_int_equal(pleat_virtio_mem_device_load(target.device, saved, sizeof(saved)),
                         PLEAT_E_NO_MEMORY);
        assert_untouched(&target);
        assert_int_equal(pleat_virtio_mem_device_load(target.device, saved, sizeof(saved)), 0);
        assert_null(fake_host_compare(&target.host, target.device, FAKE_ZEROES));
    }
}

static void save_needs_all_its_room(void **state)
{
    (void)state;
    uint8_t bytes[BYTES];
    memset(bytes, 0xee, sizeof(bytes));
    assert_int_equal(pleat_virtio_mem_device_save(source.device, bytes, BYTES - 1), PLEAT_E_NO_MEMORY);
    for (unsigned i = 0; i < BYTES; i++)
        assert_int_equal(bytes[i], 0xee);
}

static void only_a_device_as_created_can_load(void **state)
{
    (void)state;
    assert_int_equal(pleat_virtio_mem_device_load(source.device, saved, sizeof(saved)), PLEAT_E_STATE);
    assert_int_equal(pleat_virtio_mem_device_accept(target.device, INACC), 0);
    assert_int_equal(pleat_virtio_mem_device_load(target.device, saved, sizeof(saved)), PLEAT_E_STATE);
    assert_int_equal(pleat_virtio_mem_device_system_reset(source.device), 0);
    assert_int_equal(pleat_virtio_mem_device_load(source.device, saved, sizeof(saved)), 0);
    assert_int_equal(pleat_virtio_mem_device_plugged_bytes(source.device), 9 * BLOCK);
}

static void truncated_at_any_byte_or_too_long_is_refused(void **state)
{
    (void)state;
    for (size_t length = 0; length < BYTES; length++) {
        uint8_t *exact = malloc(length + !length);
        memcpy(exact, saved, length);
        assert_refused(exact, length, PLEAT_E_PROTOCOL);
        free(exact);
    }
    uint8_t longer[BYTES + 1] = {0};
    memcpy(longer, saved, BYTES);
    assert_refused(longer, sizeof(longer), PLEAT_E_PROTOCOL);
}

static void another_version_is_unsupported(void **state)
{
    (void)state;
    static const uint32_t versions[] = {0, 2, 0x01000000, UINT32_MAX};
    for (size_t i = 0; i < sizeof(versions) / sizeof(*versions); i++) {
        pleat_write_le32(saved + AT_VERSION, versions[i]);
        assert_refused(saved, sizeof(saved), PLEAT_E_UNSUPPORTED);
    }
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    static const struct {
        unsigned at;
        uint64_t value;
    } lies[] = {
        {0, 0},
        {AT_ADDRESS, ADDRESS + BLOCK},
        {AT_REGION, (BLOCKS + 1) * BLOCK},
        {AT_REGION, 0},
        {AT_BLOCK, 2 * BLOCK},
        {AT_BLOCK, 0},
        {AT_BLOCK, 1},
        {AT_REQUESTED, 30 * BLOCK + 1}, /* no multiple */
        {AT_REQUESTED, 69 * BLOCK},     /* more than usable */
        {AT_REQUESTED, UINT64_MAX},     /* and more than all */
        {AT_USABLE, 29 * BLOCK},        /* less than requested */
        {AT_USABLE, 67 * BLOCK},        /* less than what is plugged reaches to */
        {AT_USABLE, 71 * BLOCK},        /* more than the region */
        {AT_USABLE, 68 * BLOCK + 4096}, /* no multiple */
        {AT_USABLE, UINT64_MAX},
        {AT_PLUGGED, 8 * BLOCK}, /* not what the bits say */
        {AT_PLUGGED, 10 * BLOCK},
        {AT_PLUGGED, UINT64_MAX},
        {AT_FEATURES, INACC | 4},                 /* not offered */
        {AT_FEATURES, INACC | UINT64_C(1) << 32}, /* the transport's */
        {AT_FEATURES, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
        uint8_t bytes[BYTES];
        memcpy(bytes, saved, BYTES);
        pleat_write_le64(bytes + lies[i].at, lies[i].value);
        assert_refused(bytes, BYTES, PLEAT_E_PROTOCOL);
    }
    /* Features without a driver; flags that mean nothing; a driver that isn't served. */
    uint8_t bytes[BYTES];
    memcpy(bytes, saved, BYTES);
    pleat_write_le32(bytes + AT_FLAGS, 0);
    assert_refused(bytes, BYTES, PLEAT_E_PROTOCOL);
    pleat_write_le32(bytes + AT_FLAGS, 3);
    assert_refused(bytes, BYTES, PLEAT_E_PROTOCOL);
    pleat_write_le32(bytes + AT_FLAGS, 1);
    pleat_write_le64(bytes + AT_FEATURES, 1);
    assert_refused(bytes, BYTES, PLEAT_E_REFUSED);
}

static void bits_beyond_what_is_usable_or_exists_are_refused(void **state)
{
    (void)state;
    for (unsigned block = 68; block < 72; block++) {
        uint8_t bytes[BYTES];
        memcpy(bytes, saved, BYTES);
        bytes[AT_BITMAP + block / 8] |= (uint8_t)(1 << block % 8);
        pleat_write_le64(bytes + AT_PLUGGED, 10 * BLOCK);
        assert_refused(bytes, BYTES, PLEAT_E_PROTOCOL);
    }
}

static void the_last_bit_of_a_word_beyond_what_is_usable_is_refused(void **state)
{
    (void)state;
    uint64_t storage[256];
    uint8_t bytes[72 + 8];
    struct fake_host host;
    struct pleat_virtio_mem_device *device;
    const struct pleat_virtio_mem_device_config config = {.address = ADDRESS,
                                                          .region_bytes = 64 * BLOCK,
                                                          .block_bytes = BLOCK,
                                                          .requested_bytes = 63 * BLOCK,
                                                          .flags = PLEAT_VIRTIO_MEM_DEVICE_USABLE_EXACT};
    fake_host_init(&host, BLOCK, 64);
    assert_int_equal(
        pleat_virtio_mem_device_create(&config, &fake_host_ops, &host, storage, sizeof(storage), &device), 0);
    assert_int_equal(pleat_virtio_mem_device_save(device, bytes, sizeof(bytes)), 0);
    bytes[AT_BITMAP + 7] = 0x80;
    pleat_write_le64(bytes + AT_PLUGGED, BLOCK);
    assert_int_equal(pleat_virtio_mem_device_load(device, bytes, sizeof(bytes)), PLEAT_E_PROTOCOL);
    bytes[AT_BITMAP + 7] = 0x40;
    assert_int_equal(pleat_virtio_mem_device_load(device, bytes, sizeof(bytes)), 0);
}

static void any_flipped_bits_are_refused_or_give_a_valid_device(void **state)
{
    (void)state;
    struct test_random random;
    uint64_t seed;
    unsigned loaded = 0;

    for (unsigned number = 0; test_random_seed_number(number, 1, 20000, &seed); number++) {
        uint8_t bytes[BYTES];
        test_random_seed(&random, seed);
        memcpy(bytes, saved, BYTES);
        for (uint64_t flips = 1 + test_random_below(&random, 3); flips--;)
            bytes[test_random_below(&random, BYTES)] ^= (uint8_t)(1 << test_random_below(&random, 8));
        const int result = pleat_virtio_mem_device_load(target.device, bytes, BYTES);
        if (result) {
            assert_untouched(&target);
            continue;
        }
        loaded++;
        const char *wrong = fake_host_compare(&target.host, target.device, FAKE_INACCESSIBLE);
        if (wrong)
            fail_msg("PLEAT_SEED=%u: %s", (unsigned)seed, wrong);
        create(&target, PLEAT_VIRTIO_MEM_DEVICE_NODE);
    }
    if (!getenv("PLEAT_SEED"))
        assert_true(loaded > 0 && loaded < 10000);
}

#define TEST(test) cmocka_unit_test_setup(test, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_round_trip_keeps_blocks_sizes_and_features),
        TEST(the_bytes_are_what_the_format_says),
        TEST(a_device_without_a_driver_round_trips_too),
        cmocka_unit_test_setup(X15_zeroes_are_mapped_for_a_loaded_driver_without_inacc, setup_reader),
        cmocka_unit_test_setup(X2_a_load_that_the_host_stops_at_its_nth_call_changes_nothing, setup_reader),
        TEST(save_needs_all_its_room),
        TEST(only_a_device_as_created_can_load),
        TEST(truncated_at_any_byte_or_too_long_is_refused),
        TEST(another_version_is_unsupported),
        TEST(what_cannot_be_is_refused),
        TEST(bits_beyond_what_is_usable_or_exists_are_refused),
        TEST(the_last_bit_of_a_word_beyond_what_is_usable_is_refused),
        TEST(any_flipped_bits_are_refused_or_give_a_valid_device),
    };
    return cmocka_run_group_tests_name("virtio-mem device, save and load", tests, NULL, NULL);
}
