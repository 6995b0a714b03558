/* SPDX-License-Identifier: MIT
 *
 * The flattened device tree: what QEMU's `virt` machines say by it, and each kind of damage to it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "ports/bare/fdt.h"
#include "tests/support/firmware_memory.h"

#define TREE         FIRMWARE_BASE
#define RESERVATIONS 40u
#define STRUCTURE    128u
#define STRINGS      0x18000u

static struct firmware_memory memory;
static struct fdt fdt;
/* Where the next token and the next name go. */
static uint32_t at, names;

/* ---- A tree ---- */

static void put32(uint32_t offset, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        firmware_put(&memory, TREE + offset + i, value >> (24 - 8 * i), 1);
}

static void token(uint32_t value)
{
    put32(at, value);
    at += 4;
}

static void bytes(const void *from, uint32_t count)
{
    memcpy(firmware_at(&memory, TREE + at), from, count);
    at += (count + 3) & ~3u;
}

static void begin(const char *name)
{
    token(1);
    bytes(name, (uint32_t)strlen(name) + 1);
}

static void end(void)
{
    token(2);
}

static void property(const char *name, const void *value, uint32_t count)
{
    token(3);
    token(count);
    token(names - STRINGS);
    memcpy(firmware_at(&memory, TREE + names), name, strlen(name) + 1);
    names += (uint32_t)strlen(name) + 1;
    bytes(value, count);
}

static void text(const char *name, const char *value)
{
    property(name, value, (uint32_t)strlen(value) + 1);
}

static void cells(const char *name, unsigned count, ...)
{
    uint8_t value[128];
    va_list list;
    va_start(list, count);
    for (unsigned i = 0; i < count; i++) {
        const uint32_t cell = va_arg(list, uint32_t);
        for (unsigned j = 0; j < 4; j++)
            value[4 * i + j] = (uint8_t)(cell >> (24 - 8 * j));
    }
    va_end(list);
    property(name, value, 4 * count);
}

static void put_header(void)
{
    const uint32_t header[] = {0xd00dfeed, 0x1c000, STRUCTURE, STRINGS,         RESERVATIONS,
                               17,         16,      0,         names - STRINGS, at - STRUCTURE};
    for (uint32_t i = 0; i < 10; i++)
        put32(4 * i, header[i]);
}

static void start(void)
{
    firmware_memory_init(&memory);
    at = STRUCTURE;
    names = STRINGS;
    begin("");
    cells("#address-cells", 1, 2);
    cells("#size-cells", 1, 2);
}

static bool finish(void)
{
    end();
    token(9);
    put_header();
    return fdt_read(&memory.firmware, TREE, &fdt);
}

static void put_memory(uint32_t high, uint32_t low, uint32_t mib, int node)
{
    begin("memory@1");
    text("device_type", "memory");
    cells("reg", 4, high, low, mib >> 12, mib << 20);
    if (node >= 0)
        cells("numa-node-id", 1, (uint32_t)node);
    end();
}

static void put_cpu(const char *name, uint32_t reg, const char *status)
{
    begin(name);
    text("device_type", "cpu");
    cells("reg", 1, reg);
    if (status)
        text("status", status);
    end();
}

static void begin_cpus(void)
{
    begin("cpus");
    cells("#address-cells", 1, 1);
    cells("#size-cells", 1, 0);
}

static void begin_pci(void)
{
    begin("pcie@10000000");
    text("compatible", "pci-host-ecam-generic");
    cells("#address-cells", 1, 3);
    cells("#size-cells", 1, 2);
}

static bool has_memory(uint64_t from, uint64_t count, uint32_t type)
{
    for (unsigned i = 0; i < fdt.memory_count; i++) {
        const struct boot_memory *is = &fdt.memory[i];
        if (is->start == from && is->bytes == count && is->type == type)
            return true;
    }
    return false;
}

/* ---- Good trees ---- */

static void an_arm_machine_is_read(void **state)
{
    (void)state;
    start();
    begin("psci");
    text("compatible", "arm,psci-1.0");
    text("method", "hvc");
    end();
    put_memory(0, 0x40000000, 512, 0);
    put_memory(1, 0, 8192, 2);
    begin("reserved-memory");
    cells("#address-cells", 1, 2);
    cells("#size-cells", 1, 2);
    begin("firmware@1");
    cells("reg", 4, 0u, 0x41000000u, 0u, 0x1000u);
    end();
    end();
    begin_pci();
    cells("reg", 4, 0x40u, 0x10000000u, 0u, 0x10000000u);
    cells("bus-range", 2, 0u, 0xffu);
    cells("linux,pci-domain", 1, 3u);
    cells("ranges", 21, 0x1000000u, 0u, 0u, 0u, 0x3eff0000u, 0u, 0x10000u, 0x2000000u, 0u, 0x10000000u, 0u,
          0x10000000u, 0u, 0x2eff0000u, 0x43000000u, 0x80u, 0u, 0x80u, 0u, 0x80u, 0u);
    end();
    begin("pl011@9000000");
    property("compatible", "arm,pl011\0arm,primecell", 24);
    cells("reg", 4, 0u, 0x9000000u, 0u, 0x1000u);
    end();
    begin_cpus();
    put_cpu("cpu@0", 0, NULL);
    put_cpu("cpu@1", 0x100, "okay");
    put_cpu("cpu@2", 0x200, "disabled");
    end();
    begin("chosen");
    text("bootargs", "run quietly");
    end();
    assert_true(finish());
    firmware_said_nothing(&memory);

    assert_string_equal(fdt.command_line, "run quietly");
    assert_int_equal(fdt.bytes, 0x1c000);
    assert_int_equal(fdt.memory_count, 4);
    assert_true(has_memory(TREE, 0x1c000, BOOT_MEMORY_RESERVED));
    assert_true(has_memory(0x40000000, 512u << 20, BOOT_MEMORY_RAM));
    assert_true(has_memory(UINT64_C(1) << 32, UINT64_C(8) << 30, BOOT_MEMORY_RAM));
    assert_true(has_memory(0x41000000, 0x1000, BOOT_MEMORY_RESERVED));
    assert_int_equal(fdt.nodes, 3);
    assert_int_equal(fdt.affinity_count, 2);
    assert_int_equal(fdt.affinity[1].node, 2);
    assert_int_equal(fdt.affinity[1].start, UINT64_C(1) << 32);
    assert_int_equal(fdt.cpu_count, 2);
    assert_int_equal(fdt.cpus[1].id, 0x100);
    assert_int_equal(fdt.psci, FDT_PSCI_HVC);
    assert_int_equal(fdt.pl011, 0x9000000);
    assert_int_equal(fdt.ns16550, 0);
    assert_int_equal(fdt.pci.ecam, UINT64_C(0x4010000000));
    assert_int_equal(fdt.pci.ecam_bytes, 0x10000000);
    assert_int_equal(fdt.pci.segment, 3);
    assert_int_equal(fdt.pci.last_bus, 255);
    assert_int_equal(fdt.pci.window_count, 2);
    assert_int_equal(fdt.pci.windows[0].address, 0x10000000);
    assert_int_equal(fdt.pci.windows[0].bytes, 0x2eff0000);
    assert_false(fdt.pci.windows[0].wide);
    assert_int_equal(fdt.pci.windows[1].bus, UINT64_C(0x8000000000));
    assert_true(fdt.pci.windows[1].wide);
    assert_true(fdt.pci.windows[1].prefetchable);
}

static void a_riscv_machine_is_read(void **state)
{
    (void)state;
    start();
    put_memory(0, 0x80000000, 128, -1);
    begin_cpus();
    cells("timebase-frequency", 1, 10000000u);
    put_cpu("cpu@3", 3, "okay");
    end();
    begin("soc");
    cells("#address-cells", 1, 2u);
    cells("#size-cells", 1, 2u);
    begin("serial@10000000");
    text("compatible", "ns16550a");
    cells("reg", 4, 0u, 0x10000000u, 0u, 0x100u);
    end();
    begin("test@100000");
    property("compatible", "sifive,test1\0sifive,test0\0syscon", 32);
    cells("reg", 4, 0u, 0x100000u, 0u, 0x1000u);
    end();
    begin_pci();
    cells("reg", 4, 0u, 0x30000000u, 0u, 0x10000000u);
    end();
    end();
    assert_true(finish());
    firmware_said_nothing(&memory);
    assert_string_equal(fdt.command_line, "");
    assert_int_equal(fdt.timebase_hz, 10000000);
    assert_int_equal(fdt.cpus[0].id, 3);
    assert_int_equal(fdt.ns16550, 0x10000000);
    assert_int_equal(fdt.reset, 0x100000);
    assert_int_equal(fdt.pci.ecam, 0x30000000);
    assert_int_equal(fdt.pci.window_count, 0);
    assert_int_equal(fdt.psci, FDT_PSCI_NONE);
    assert_int_equal(fdt.nodes, 1);
}

static void what_is_reserved_before_the_tree_is_kept(void **state)
{
    (void)state;
    start();
    put_memory(0, 0x40000000, 512, -1);
    put32(RESERVATIONS + 4, 0x50000000);
    put32(RESERVATIONS + 12, 0x2000);
    assert_true(finish());
    assert_true(has_memory(0x50000000, 0x2000, BOOT_MEMORY_RESERVED));
}

/* ---- Odd ones ---- */

static void a_command_line_that_is_too_long_is_cut(void **state)
{
    static char line[2000];
    (void)state;
    memset(line, 'x', sizeof(line) - 1);
    start();
    begin("chosen");
    text("bootargs", line);
    end();
    assert_true(finish());
    firmware_said(&memory, "the command line is cut: chosen");
    assert_int_equal(strlen(fdt.command_line), sizeof(fdt.command_line) - 1);
}

static void a_command_line_without_an_end_has_one(void **state)
{
    (void)state;
    start();
    begin("chosen");
    property("bootargs", "four", 4);
    end();
    assert_true(finish());
    assert_string_equal(fdt.command_line, "fou");
}

static void memory_that_cannot_be_is_left_out(void **state)
{
    (void)state;
    start();
    begin("memory@0");
    text("device_type", "memory");
    cells("reg", 8, 0xffffffffu, 0xfffff000u, 0u, 0x2000u, 0u, 0x40000000u, 0u, 0x100000u);
    end();
    assert_true(finish());
    firmware_said(&memory, "a range that wraps is left out: memory@0");
    assert_int_equal(fdt.memory_count, 2);
    assert_true(has_memory(0x40000000, 0x100000, BOOT_MEMORY_RAM));
}

static void a_node_number_too_high_is_0(void **state)
{
    (void)state;
    start();
    put_memory(0, 0x40000000, 1, (int)PLATFORM_NODES);
    assert_true(finish());
    firmware_said(&memory, "a numa-node-id too high");
    assert_int_equal(fdt.nodes, 1);
    assert_int_equal(fdt.affinity[0].node, 0);
}

static void too_much_memory_is_cut_and_too_much_reserved_is_none(void **state)
{
    (void)state;
    for (unsigned reserved = 0; reserved < 2; reserved++) {
        start();
        begin(reserved ? "reserved-memory" : "other");
        cells("#address-cells", 1, 2u);
        cells("#size-cells", 1, 2u);
        for (uint32_t i = 0; i < FDT_MEMORY; i++) {
            begin("part");
            cells("reg", 4, 1u, i << 12, 0u, 0x1000u);
            end();
        }
        end();
        for (uint32_t i = 0; i < FDT_MEMORY + 2; i++)
            put_memory(2, i << 20, 1, -1);
        assert_true(finish());
        assert_true(memory.line_count > 0);
        assert_int_equal(fdt.memory_count, reserved ? 0 : FDT_MEMORY);
    }
}

static void too_many_cpus_are_left_out(void **state)
{
    (void)state;
    start();
    begin_cpus();
    for (uint32_t i = 0; i <= PLATFORM_CPUS; i++)
        put_cpu("cpu", i, NULL);
    end();
    assert_true(finish());
    firmware_said(&memory, "too many CPUs");
    assert_int_equal(fdt.cpu_count, PLATFORM_CPUS);
}

static void a_cpu_without_a_number_is_left_out(void **state)
{
    (void)state;
    start();
    begin_cpus();
    begin("cpu");
    text("device_type", "cpu");
    property("reg", "ab", 2);
    end();
    end();
    assert_true(finish());
    firmware_said(&memory, "a CPU without a number");
    assert_int_equal(fdt.cpu_count, 0);
}

static void a_pci_host_that_makes_no_sense_is_left_out(void **state)
{
    (void)state;
    static const struct {
        uint32_t reg[4], buses[2];
        bool found;
    } hosts[] = {
        {{0, 0x30000000, 0, 0}, {0, 255}, false},
        {{0, 0x30000000, 0, 0xfffff}, {0, 255}, false},
        {{0xffffffff, 0xfff00000, 1, 0}, {0, 255}, false},
        {{0, 0x30000000, 0, 0x100000}, {4, 3}, false},
        {{0, 0x30000000, 0, 0x100000}, {0, 256}, false},
        /* Fewer buses than it says. */
        {{0, 0x30000000, 0, 0x200000}, {7, 255}, true},
    };
    for (unsigned i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        start();
        begin_pci();
        cells("reg", 4, hosts[i].reg[0], hosts[i].reg[1], hosts[i].reg[2], hosts[i].reg[3]);
        cells("bus-range", 2, hosts[i].buses[0], hosts[i].buses[1]);
        end();
        assert_true(finish());
        assert_int_equal(fdt.pci.ecam_bytes != 0, hosts[i].found);
        assert_int_equal(memory.line_count, !hosts[i].found);
    }
    assert_int_equal(fdt.pci.first_bus, 7);
    assert_int_equal(fdt.pci.last_bus, 8);
}

static void windows_that_make_no_sense_are_left_out(void **state)
{
    (void)state;
    start();
    begin_pci();
    cells("reg", 4, 0u, 0x30000000u, 0u, 0x10000000u);
    /* Empty; over 4 GiB; wrapping; good; cut off. */
    cells("ranges", 31, 0x2000000u, 0u, 0u, 0u, 0u, 0u, 0u, 0x2000000u, 0u, 0xf0000000u, 0u, 0xf0000000u, 0u,
          0x20000000u, 0x3000000u, 0xffffffffu, 0u, 0u, 0u, 2u, 0u, 0x3000000u, 4u, 0u, 5u, 0u, 1u, 0u,
          0x2000000u, 0u, 0u);
    end();
    assert_true(finish());
    assert_int_equal(memory.line_count, 3);
    assert_int_equal(fdt.pci.window_count, 1);
    assert_int_equal(fdt.pci.windows[0].bus, UINT64_C(4) << 32);
    assert_int_equal(fdt.pci.windows[0].address, UINT64_C(5) << 32);
}

static void cells_that_nobody_can_have_are_no_numbers(void **state)
{
    (void)state;
    start();
    cells("#address-cells", 1, 0xffffffffu);
    put_memory(0, 0x40000000, 1, -1);
    assert_true(finish());
    assert_int_equal(fdt.memory_count, 1);
    start();
    cells("#address-cells", 1, 0u);
    cells("#size-cells", 1, 0u);
    put_memory(0, 0x40000000, 1, -1);
    assert_true(finish());
    assert_int_equal(fdt.memory_count, 1);
}

/* ---- Damage ---- */

static void no_tree_is_told_without_a_word(void **state)
{
    (void)state;
    firmware_memory_init(&memory);
    assert_false(fdt_read(&memory.firmware, TREE, &fdt));
    assert_false(fdt_read(&memory.firmware, 0, &fdt));
    assert_false(fdt_read(&memory.firmware, UINT64_MAX - 8, &fdt));
    firmware_said_nothing(&memory);
    assert_int_equal(fdt.memory_count, 0);
}

static void a_header_that_makes_no_sense_is_refused(void **state)
{
    static const struct {
        uint32_t field, value;
    } wrong[] = {{1, 39},         {1, 0x200001},   {2, 0x1c004},    {2, 130},       {3, 0x1c001},
                 {4, 0x1c001},    {5, 16},         {6, 18},         {8, 0x5000},    {9, 0x1c000},
                 {2, 0xfffffffc}, {3, UINT32_MAX}, {8, UINT32_MAX}, {9, UINT32_MAX}};
    (void)state;
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        start();
        assert_true(finish());
        put32(4 * wrong[i].field, wrong[i].value);
        memory.line_count = 0;
        assert_false(fdt_read(&memory.firmware, TREE, &fdt));
        firmware_said(&memory, "its header makes no sense");
        assert_int_equal(fdt.memory_count, 0);
    }
}

static void a_damaged_tree_is_told_and_what_came_before_is_kept(void **state)
{
    (void)state;
    for (unsigned damage = 0; damage < 7; damage++) {
        start();
        put_memory(0, 0x40000000, 1, -1);
        switch (damage) {
        case 0: /* An end too many. */
            end();
            end();
            break;
        case 1: /* No such token. */
            token(5);
            break;
        case 2: /* A property that is longer than the tree. */
            token(3);
            token(0xfffffff0u);
            token(0);
            break;
        case 3: /* A name that lies outside of the names. */
            token(3);
            token(0);
            token(0x4000);
            break;
        case 4: /* A node without an end. */
            begin("open");
            break;
        case 5: /* Deeper than anybody needs. */
            for (unsigned i = 0; i < 16; i++)
                begin("deep");
            for (unsigned i = 0; i < 16; i++)
                end();
            break;
        default: /* Cut off. */
            put_header();
            assert_false(fdt_read(&memory.firmware, TREE, &fdt));
            firmware_said(&memory, "it is cut off or damaged");
            break;
        }
        if (damage < 6) {
            assert_false(finish());
            firmware_said(&memory, "it is cut off or damaged");
        }
        assert_true(has_memory(0x40000000, 0x100000, BOOT_MEMORY_RAM));
    }
}

static void no_byte_behind_what_can_be_read_is_asked_for(void **state)
{
    (void)state;
    start();
    put_memory(0, 0x40000000, 1, -1);
    assert_true(finish());
    /* The support's read() demands sane ranges; here each length of what is there ends well. */
    for (uint32_t length = 0; length < at; length++) {
        memory.readable = length;
        memory.line_count = 0;
        assert_false(fdt_read(&memory.firmware, TREE, &fdt));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arm_machine_is_read),
        cmocka_unit_test(a_riscv_machine_is_read),
        cmocka_unit_test(what_is_reserved_before_the_tree_is_kept),
        cmocka_unit_test(a_command_line_that_is_too_long_is_cut),
        cmocka_unit_test(a_command_line_without_an_end_has_one),
        cmocka_unit_test(memory_that_cannot_be_is_left_out),
        cmocka_unit_test(a_node_number_too_high_is_0),
        cmocka_unit_test(too_much_memory_is_cut_and_too_much_reserved_is_none),
        cmocka_unit_test(too_many_cpus_are_left_out),
        cmocka_unit_test(a_cpu_without_a_number_is_left_out),
        cmocka_unit_test(a_pci_host_that_makes_no_sense_is_left_out),
        cmocka_unit_test(windows_that_make_no_sense_are_left_out),
        cmocka_unit_test(cells_that_nobody_can_have_are_no_numbers),
        cmocka_unit_test(no_tree_is_told_without_a_word),
        cmocka_unit_test(a_header_that_makes_no_sense_is_refused),
        cmocka_unit_test(a_damaged_tree_is_told_and_what_came_before_is_kept),
        cmocka_unit_test(no_byte_behind_what_can_be_read_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
