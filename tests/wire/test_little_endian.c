/* SPDX-License-Identifier: MIT
 *
 * Wire integers: which byte goes where, at any alignment, and virtio-mem's structures byte by byte.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include <pleat/wire/virtio_mem.h>

static void the_least_significant_byte_comes_first_at_every_alignment(void **state)
{
    (void)state;
    static const uint8_t expected[8] = {0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0xf1};
    uint8_t buffer[24];

    for (unsigned at = 0; at < 8; at++) {
        memset(buffer, 0xaa, sizeof(buffer));
        pleat_write_le64(buffer + at, 0xf102030405060708);
        assert_memory_equal(buffer + at, expected, 8);
        assert_int_equal(buffer[at + 8], 0xaa);
        assert_true(pleat_read_le64(buffer + at) == 0xf102030405060708);
        assert_true(pleat_read_le32(buffer + at) == 0x05060708);
        assert_true(pleat_read_le32(buffer + at + 4) == 0xf1020304);
        assert_true(pleat_read_le16(buffer + at + 6) == 0xf102);

        memset(buffer, 0xaa, sizeof(buffer));
        pleat_write_le32(buffer + at, 0x05060708);
        assert_memory_equal(buffer + at, expected, 4);
        assert_int_equal(buffer[at + 4], 0xaa);

        memset(buffer, 0xaa, sizeof(buffer));
        pleat_write_le16(buffer + at, 0x0708);
        assert_memory_equal(buffer + at, expected, 2);
        assert_int_equal(buffer[at + 2], 0xaa);
    }
}

static void a_field_gives_back_what_was_put_in(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        const uint64_t value = UINT64_C(1) << bit;
        assert_true(pleat_le64_get(pleat_le64(value)) == value);
        assert_true(pleat_le64_get(pleat_le64(~value)) == ~value);
        assert_true(pleat_le32_get(pleat_le32((uint32_t)value)) == (uint32_t)value);
        assert_true(pleat_le16_get(pleat_le16((uint16_t)value)) == (uint16_t)value);
    }
}

static void a_plug_request_lies_on_the_wire_as_the_specification_says(void **state)
{
    (void)state;
    static const uint8_t expected[PLEAT_VIRTIO_MEM_REQUEST_BYTES] = {
        1, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x00, 0x20, 0x40, 0x01, 0, 0, 0, 0x34, 0x12, 0, 0, 0, 0, 0, 0};
    struct pleat_virtio_mem_request request;

    memset(&request, 0, sizeof(request));
    request.type = pleat_le16(PLEAT_VIRTIO_MEM_REQ_UNPLUG);
    request.address = pleat_le64(0x140200000);
    request.block_count = pleat_le16(0x1234);
    assert_memory_equal(&request, expected, sizeof(expected));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_significant_byte_comes_first_at_every_alignment),
        cmocka_unit_test(a_field_gives_back_what_was_put_in),
        cmocka_unit_test(a_plug_request_lies_on_the_wire_as_the_specification_says),
    };
    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
