/* SPDX-License-Identifier: MIT
 *
 * Proves that addresses are those that QEMU's PC machines have.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "machine/layout.h"

static struct pleat_layout make(enum pleat_machine_type type, uint64_t ram, uint64_t maximum, unsigned slots)
{
    struct pleat_layout layout;
    struct pleat_message message = {{0}};

    assert_int_equal(pleat_layout_make(type, ram, maximum, slots, &layout, &message), PLEAT_OK);
    return layout;
}

static void pc_with_4G_has_3G_below_and_1G_above(void **state)
{
    (void)state;
    const struct pleat_layout layout = make(PLEAT_MACHINE_PC, 4 * PLEAT_GIB, 20 * PLEAT_GIB, 0);

    assert_int_equal(layout.below_4g_bytes, 3 * PLEAT_GIB);
    assert_int_equal(layout.above_4g_bytes, PLEAT_GIB);
    assert_int_equal(layout.device_area_start, 0x140000000);
    assert_int_equal(layout.device_area_bytes, 16 * PLEAT_GIB);
    assert_int_equal(layout.end, 0x540000000);
}

static void q35_with_4G_has_2G_below(void **state)
{
    (void)state;
    const struct pleat_layout layout = make(PLEAT_MACHINE_Q35, 4 * PLEAT_GIB, 20 * PLEAT_GIB, 0);

    assert_int_equal(layout.below_4g_bytes, 2 * PLEAT_GIB);
    assert_int_equal(layout.device_area_start, 0x180000000);
}

/* The example of qemu-devel: "pc" with 8G and maxmem=16G,slots=1 has its device area at 0x240000000, 9G long.
 */
static void slots_lengthen_the_device_area(void **state)
{
    (void)state;
    const struct pleat_layout layout = make(PLEAT_MACHINE_PC, 8 * PLEAT_GIB, 16 * PLEAT_GIB, 1);

    assert_int_equal(layout.device_area_start, 0x240000000);
    assert_int_equal(layout.device_area_bytes, 9 * PLEAT_GIB);
    assert_int_equal(layout.device_total_bytes, 8 * PLEAT_GIB);
}

static void the_split_below_4G_follows_the_machine_type(void **state)
{
    (void)state;
    static const struct {
        enum pleat_machine_type type;
        uint64_t ram, below;
    } cases[] = {
        {PLEAT_MACHINE_PC, 0xdff00000, 0xdff00000},  {PLEAT_MACHINE_PC, 0xe0000000, 0xc0000000},
        {PLEAT_MACHINE_Q35, 0xaff00000, 0xaff00000}, {PLEAT_MACHINE_Q35, 0xb0000000, 0x80000000},
        {PLEAT_MACHINE_PC, 0x8000000, 0x8000000},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct pleat_layout layout = make(cases[i].type, cases[i].ram, cases[i].ram, 0);
        assert_int_equal(layout.below_4g_bytes, cases[i].below);
        assert_int_equal(layout.above_4g_bytes, cases[i].ram - cases[i].below);
        assert_int_equal(layout.device_area_bytes, 0);
    }
}

static void sizes_that_no_machine_has_are_refused(void **state)
{
    (void)state;
    struct pleat_layout layout;
    struct pleat_message message = {{0}};

    assert_int_equal(pleat_layout_make(PLEAT_MACHINE_PC, PLEAT_MIB, PLEAT_MIB, 0, &layout, &message),
                     PLEAT_E_INVALID);
    assert_non_null(strstr(message.text, "from 16 MiB"));
    assert_int_equal(pleat_layout_make(PLEAT_MACHINE_PC, PLEAT_GIB, PLEAT_GIB - 4096, 0, &layout, &message),
                     PLEAT_E_INVALID);
    assert_non_null(strstr(message.text, "maxmem"));
    assert_int_equal(pleat_layout_make(PLEAT_MACHINE_PC, PLEAT_GIB, UINT64_MAX, 0, &layout, &message),
                     PLEAT_E_INVALID);
}

static const char *name_of(void *context, unsigned region)
{
    (void)context;
    return region ? "vm1" : "vm0";
}

static uint64_t place(const struct pleat_layout *layout, const struct pleat_layout_region *regions,
                      unsigned count, uint64_t bytes, uint64_t alignment, uint64_t wished,
                      struct pleat_message *message)
{
    uint64_t address = 0;

    message->text[0] = '\0';
    if (pleat_layout_place(layout, regions, count, bytes, alignment, wished, name_of, NULL, &address,
                           message))
        return 0;
    return address;
}

static void devices_are_placed_first_fit(void **state)
{
    (void)state;
    const struct pleat_layout layout = make(PLEAT_MACHINE_PC, 4 * PLEAT_GIB, 20 * PLEAT_GIB, 0);
    const struct pleat_layout_region one[] = {{0x140000000, 8 * PLEAT_GIB}};
    const struct pleat_layout_region gap[] = {{0x140000000, PLEAT_GIB}, {0x200000000, PLEAT_GIB}};
    struct pleat_message message;

    assert_int_equal(place(&layout, NULL, 0, 8 * PLEAT_GIB, 2 * PLEAT_MIB, 0, &message), 0x140000000);
    assert_int_equal(place(&layout, one, 1, 8 * PLEAT_GIB, 2 * PLEAT_MIB, 0, &message), 0x340000000);
    assert_int_equal(place(&layout, gap, 2, 2 * PLEAT_GIB, 2 * PLEAT_MIB, 0, &message), 0x180000000);
    assert_int_equal(place(&layout, gap, 2, 3 * PLEAT_GIB, 2 * PLEAT_MIB, 0, &message), 0x240000000);
    /* An alignment larger than that of the area's start moves the device up. */
    assert_int_equal(place(&layout, NULL, 0, 4 * PLEAT_GIB, 4 * PLEAT_GIB, 0, &message), 0x200000000);
    assert_int_equal(place(&layout, one, 1, PLEAT_GIB, 2 * PLEAT_MIB, 0x400000000, &message), 0x400000000);
}

static void places_that_cannot_be_are_refused_in_the_words_of_QEMU(void **state)
{
    (void)state;
    const struct pleat_layout layout = make(PLEAT_MACHINE_PC, 4 * PLEAT_GIB, 20 * PLEAT_GIB, 0);
    const struct pleat_layout none = make(PLEAT_MACHINE_PC, 4 * PLEAT_GIB, 4 * PLEAT_GIB, 0);
    const struct pleat_layout_region two[] = {{0x140000000, 8 * PLEAT_GIB}, {0x340000000, 8 * PLEAT_GIB}};
    const struct pleat_layout_region one[] = {{0x180000000, 8 * PLEAT_GIB}};
    struct pleat_message message;

    assert_int_equal(place(&none, NULL, 0, PLEAT_GIB, PLEAT_MIB, 0, &message), 0);
    assert_non_null(strstr(message.text, "the configuration is not prepared for memory devices"));
    assert_int_equal(place(&layout, two, 2, PLEAT_GIB, PLEAT_MIB, 0, &message), 0);
    assert_string_equal(message.text,
                        "not enough space, currently 0x400000000 in use of total space for memory "
                        "devices 0x400000000");
    assert_int_equal(place(&layout, one, 1, PLEAT_GIB, 2 * PLEAT_MIB, 0x140000001, &message), 0);
    assert_string_equal(message.text, "address must be aligned to 0x200000 bytes");
    assert_int_equal(place(&layout, one, 1, PLEAT_GIB, 2 * PLEAT_MIB, 0x40000000, &message), 0);
    assert_string_equal(message.text,
                        "can't add memory device [0x40000000:0x40000000], usable range for memory "
                        "devices [0x140000000:0x400000000]");
    assert_int_equal(place(&layout, one, 1, PLEAT_GIB, 2 * PLEAT_MIB, 0x180000000, &message), 0);
    assert_string_equal(message.text, "address range conflicts with memory device id='vm0'");
    assert_int_equal(place(&layout, one, 1, 8 * PLEAT_GIB, 2 * PLEAT_MIB, 0, &message), 0);
    assert_non_null(strstr(message.text, "memory fragmented due to alignments"));
    assert_int_equal(place(&layout, NULL, 0, UINT64_MAX, PLEAT_MIB, 0, &message), 0);
}

static void memory_is_split_among_nodes_as_QEMU_does(void **state)
{
    (void)state;
    uint64_t bytes[3];

    pleat_layout_split_nodes(4 * PLEAT_GIB, 2, bytes);
    assert_int_equal(bytes[0], 2 * PLEAT_GIB);
    assert_int_equal(bytes[1], 2 * PLEAT_GIB);
    pleat_layout_split_nodes(PLEAT_GIB, 3, bytes);
    assert_int_equal(bytes[0], 336 * PLEAT_MIB);
    assert_int_equal(bytes[1], 336 * PLEAT_MIB);
    assert_int_equal(bytes[2], 352 * PLEAT_MIB);
}

/* RAM with holes: every frame belongs to one span at most, sorted, each on its node, and all RAM is there. */
static void boot_spans_cover_RAM_and_leave_the_holes(void **state)
{
    (void)state;
    const struct pleat_layout layout = make(PLEAT_MACHINE_PC, 4 * PLEAT_GIB, 20 * PLEAT_GIB, 0);
    const uint64_t node_bytes[2] = {2 * PLEAT_GIB, 2 * PLEAT_GIB};
    struct pleat_boot_span spans[PLEAT_LAYOUT_SPANS_MAX];
    const unsigned count = pleat_layout_boot_spans(&layout, node_bytes, 2, spans);
    uint64_t total = 0, on_node[2] = {0, 0}, end = 0;

    for (unsigned i = 0; i < count; i++) {
        assert_true(spans[i].start_pfn >= end);
        end = spans[i].start_pfn + spans[i].frames;
        total += spans[i].frames;
        on_node[spans[i].node] += spans[i].frames;
    }
    /* All but the hole from 640 KiB to 960 KiB. */
    assert_int_equal(total, (4 * PLEAT_GIB - 320 * PLEAT_KIB) / 4096);
    assert_int_equal(on_node[1], 2 * PLEAT_GIB / 4096);
    assert_int_equal(end, 0x140000000 / 4096);
    assert_int_equal(spans[0].use, PLEAT_BOOT_RESERVED);
    assert_int_equal(spans[0].frames, 1);
    assert_int_equal(spans[1].use, PLEAT_BOOT_FREE);
    assert_int_equal(spans[1].frames, 0x9e);
    /* The second node begins at 2 GiB, and goes on above 4 GiB. */
    assert_int_equal(spans[count - 1].node, 1);
    assert_int_equal(spans[count - 1].start_pfn, 0x100000);
    assert_int_equal(spans[count - 3].node, 1);
    assert_int_equal(spans[count - 3].start_pfn, 0x80000);
}

static void a_small_machine_has_room_for_its_kernel(void **state)
{
    (void)state;
    const struct pleat_layout layout =
        make(PLEAT_MACHINE_PC, PLEAT_LAYOUT_RAM_BYTES_MIN, PLEAT_LAYOUT_RAM_BYTES_MIN, 0);
    const uint64_t node_bytes[1] = {PLEAT_LAYOUT_RAM_BYTES_MIN};
    struct pleat_boot_span spans[PLEAT_LAYOUT_SPANS_MAX];
    const unsigned count = pleat_layout_boot_spans(&layout, node_bytes, 1, spans);
    struct pleat_layout_piece pieces[PLEAT_LAYOUT_PIECES_MAX];
    uint64_t end = 0;

    for (unsigned i = 0; i < count; i++) {
        assert_true(spans[i].start_pfn >= end);
        end = spans[i].start_pfn + spans[i].frames;
    }
    assert_int_equal(end, PLEAT_LAYOUT_RAM_BYTES_MIN / 4096);
    assert_int_equal(pleat_layout_pieces(&layout, pieces), 6);
    assert_string_equal(pieces[4].name, "Kernel image");
    assert_int_equal(pieces[4].start, PLEAT_MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pc_with_4G_has_3G_below_and_1G_above),
        cmocka_unit_test(q35_with_4G_has_2G_below),
        cmocka_unit_test(slots_lengthen_the_device_area),
        cmocka_unit_test(the_split_below_4G_follows_the_machine_type),
        cmocka_unit_test(sizes_that_no_machine_has_are_refused),
        cmocka_unit_test(devices_are_placed_first_fit),
        cmocka_unit_test(places_that_cannot_be_are_refused_in_the_words_of_QEMU),
        cmocka_unit_test(memory_is_split_among_nodes_as_QEMU_does),
        cmocka_unit_test(boot_spans_cover_RAM_and_leave_the_holes),
        cmocka_unit_test(a_small_machine_has_room_for_its_kernel),
    };
    return cmocka_run_group_tests_name("machine layout", tests, NULL, NULL);
}
