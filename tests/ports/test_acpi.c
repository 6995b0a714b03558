/* SPDX-License-Identifier: MIT
 *
 * ACPI's tables: a machine of two nodes is read as it was built, and each kind of damage costs the table or
 * the entry that has it and a line, nothing else.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "ports/bare/acpi.h"
#include "tests/support/firmware_memory.h"

#define GIB UINT64_C(0x40000000)

/* Where the tables of the machine are. */
#define RSDP UINT64_C(0x10010)
#define XSDT UINT64_C(0x10100)
#define RSDT UINT64_C(0x10200)
#define SRAT UINT64_C(0x12000)
#define SLIT UINT64_C(0x13000)
#define MCFG UINT64_C(0x14000)
#define FADT UINT64_C(0x15000)
#define MADT UINT64_C(0x16000)
#define FREE UINT64_C(0x18000)

static struct firmware_memory memory;
static struct acpi acpi;

static void put(uint64_t address, uint64_t value, unsigned bytes)
{
    firmware_put(&memory, address, value, bytes);
}

static void read_again(void)
{
    memory.line_count = 0;
    memset(&acpi, 0xa5, sizeof(acpi));
    acpi_read(&memory.firmware, RSDP, &acpi);
}

/* --- Entries, appended to a table ------------------------------------------------------------------------
 */

/* Makes the table `bytes` longer, zero there, and returns where. */
static uint64_t append(uint64_t table, uint32_t bytes)
{
    uint32_t old = (uint32_t)firmware_get(&memory, table + 4, 4);
    put(table + 4, old + bytes, 4);
    for (uint32_t i = 0; i < bytes; i++)
        put(table + old + i, 0, 1);
    firmware_fix_table(&memory, table);
    return table + old;
}

static uint64_t append_entry(uint64_t table, uint8_t type, uint8_t bytes)
{
    uint64_t at = append(table, bytes);
    put(at, type, 1);
    put(at + 1, bytes, 1);
    firmware_fix_table(&memory, table);
    return at;
}

static void add_lapic(uint8_t apic_id, uint32_t flags)
{
    uint64_t at = append_entry(MADT, 0, 8);
    put(at + 2, 77, 1);
    put(at + 3, apic_id, 1);
    put(at + 4, flags, 4);
    firmware_fix_table(&memory, MADT);
}

static void add_x2apic(uint32_t apic_id, uint32_t flags)
{
    uint64_t at = append_entry(MADT, 9, 16);
    put(at + 4, apic_id, 4);
    put(at + 8, flags, 4);
    firmware_fix_table(&memory, MADT);
}

static void add_ioapic(uint8_t id, uint32_t address, uint32_t first)
{
    uint64_t at = append_entry(MADT, 1, 12);
    put(at + 2, id, 1);
    put(at + 4, address, 4);
    put(at + 8, first, 4);
    firmware_fix_table(&memory, MADT);
}

static void add_override(uint8_t source, uint32_t interrupt, uint16_t flags)
{
    uint64_t at = append_entry(MADT, 2, 10);
    put(at + 3, source, 1);
    put(at + 4, interrupt, 4);
    put(at + 8, flags, 2);
    firmware_fix_table(&memory, MADT);
}

static void add_cpu_affinity(uint8_t apic_id, uint32_t domain)
{
    uint64_t at = append_entry(SRAT, 0, 16);
    put(at + 2, domain & 0xff, 1);
    put(at + 3, apic_id, 1);
    put(at + 4, 1, 4);
    put(at + 9, domain >> 8, 3);
    firmware_fix_table(&memory, SRAT);
}

static void add_x2apic_affinity(uint32_t apic_id, uint32_t domain)
{
    uint64_t at = append_entry(SRAT, 2, 24);
    put(at + 4, domain, 4);
    put(at + 8, apic_id, 4);
    put(at + 12, 1, 4);
    firmware_fix_table(&memory, SRAT);
}

static void add_memory_affinity(uint64_t start, uint64_t bytes, uint32_t domain, uint32_t flags)
{
    uint64_t at = append_entry(SRAT, 1, 40);
    put(at + 2, domain, 4);
    put(at + 8, start, 8);
    put(at + 16, bytes, 8);
    put(at + 28, flags, 4);
    firmware_fix_table(&memory, SRAT);
}

static void add_ecam(uint64_t address, uint16_t segment, uint8_t first, uint8_t last)
{
    uint64_t at = append(MCFG, 16);
    put(at, address, 8);
    put(at + 8, segment, 2);
    put(at + 10, first, 1);
    put(at + 11, last, 1);
    firmware_fix_table(&memory, MCFG);
}

static void fix_rsdp(void)
{
    firmware_fix_sum(&memory, RSDP, 20, 8);
    if (firmware_get(&memory, RSDP + 15, 1) >= 2)
        firmware_fix_sum(&memory, RSDP, 36, 32);
}

static void put_rsdp(uint8_t revision)
{
    memcpy(firmware_at(&memory, RSDP), "RSD PTR ", 8);
    put(RSDP + 15, revision, 1);
    put(RSDP + 16, RSDT, 4);
    put(RSDP + 20, 36, 4);
    put(RSDP + 24, XSDT, 8);
    fix_rsdp();
}

static void put_roots(void)
{
    static const uint64_t tables[] = {FADT, MADT, SRAT, SLIT, MCFG};
    firmware_put_table(&memory, XSDT, "XSDT", 1, 36);
    firmware_put_table(&memory, RSDT, "RSDT", 1, 36);
    for (unsigned i = 0; i < 5; i++) {
        put(append(XSDT, 8), tables[i], 8);
        put(append(RSDT, 4), tables[i], 4);
    }
    firmware_fix_table(&memory, XSDT);
    firmware_fix_table(&memory, RSDT);
}

/* Domains 2 and 7, so that no number is a node's own; CPUs 0 and 0x1ff in 2, 3 in 7. */
static int build_machine(void **state)
{
    (void)state;
    firmware_memory_init(&memory);
    put_rsdp(2);
    put_roots();

    firmware_put_table(&memory, MADT, "APIC", 5, 44);
    put(MADT + 36, 0xfee00000, 4);
    put(MADT + 40, 1, 4);
    add_lapic(0, 1);
    add_lapic(3, 1);
    add_lapic(4, 0);
    add_lapic(5, 2);
    add_x2apic(0x1ff, 1);
    add_ioapic(8, 0xfec00000, 0);
    add_override(0, 2, 0);
    add_override(9, 9, 0xf);
    append_entry(MADT, 4, 6); /* wiring of NMI, which nobody asks for */

    firmware_put_table(&memory, SRAT, "SRAT", 3, 48);
    add_memory_affinity(0, GIB, 7, 1);
    add_memory_affinity(GIB, GIB, 2, 1);
    add_memory_affinity(8 * GIB, 4 * GIB, 2, 3);
    add_memory_affinity(16 * GIB, GIB, 300, 0);
    add_cpu_affinity(0, 2);
    add_cpu_affinity(3, 7);
    add_cpu_affinity(99, 301);
    add_x2apic_affinity(0x1ff, 2);

    firmware_put_table(&memory, SLIT, "SLIT", 1, 44);
    put(SLIT + 36, 8, 8);
    uint64_t distances = append(SLIT, 64);
    memset(firmware_at(&memory, distances), 20, 64);
    for (unsigned i = 0; i < 8; i++)
        put(distances + i * 9, 10, 1);
    put(distances + 2 * 8 + 7, 21, 1);
    put(distances + 7 * 8 + 2, 31, 1);
    firmware_fix_table(&memory, SLIT);

    firmware_put_table(&memory, MCFG, "MCFG", 1, 44);
    add_ecam(0xb0000000, 0, 0, 255);
    add_ecam(0x900000000, 1, 16, 31);

    put(FADT + 76, 0x608, 4);
    put(FADT + 91, 4, 1);
    put(FADT + 112, 1 << 10, 4);
    put(FADT + 116, 1, 1);
    put(FADT + 117, 8, 1);
    put(FADT + 120, 0xcf9, 8);
    put(FADT + 128, 0xf, 1);
    firmware_put_table(&memory, FADT, "FACP", 3, 244);
    return 0;
}

static void expect_cpus(void)
{
    assert_int_equal(acpi.cpu_count, 4);
    assert_int_equal(acpi.cpus[0].apic_id, 0);
    assert_int_equal(acpi.cpus[1].apic_id, 3);
    assert_int_equal(acpi.cpus[2].apic_id, 5);
    assert_int_equal(acpi.cpus[3].apic_id, 0x1ff);
    assert_true(acpi.cpus[0].enabled && acpi.cpus[1].enabled && acpi.cpus[3].enabled);
    assert_true(!acpi.cpus[2].enabled && acpi.cpus[2].online_capable);
    assert_int_equal(acpi.local_apic, 0xfee00000);
    assert_true(acpi.has_8259);
    assert_int_equal(acpi.ioapic_count, 1);
    assert_int_equal(acpi.ioapics[0].address, 0xfec00000);
    assert_int_equal(acpi.override_count, 2);
}

static void expect_nodes(void)
{
    assert_int_equal(acpi.nodes, 2);
    assert_int_equal(acpi.proximity[0], 2);
    assert_int_equal(acpi.proximity[1], 7);
    assert_int_equal(acpi.affinity_count, 3);
    assert_int_equal(acpi.affinity[0].node, 1);
    assert_int_equal(acpi.affinity[1].node, 0);
    assert_true(acpi.affinity[2].start == 8 * GIB && acpi.affinity[2].bytes == 4 * GIB);
    assert_true(acpi.affinity[2].pluggable && !acpi.affinity[0].pluggable);
    if (!acpi.cpu_count)
        return;
    assert_int_equal(acpi.cpus[0].node, 0);
    assert_int_equal(acpi.cpus[1].node, 1);
    assert_int_equal(acpi.cpus[3].node, 0);
}

static void expect_distances(void)
{
    static const uint8_t expected[] = {10, 21, 31, 10};
    assert_true(acpi.has_distances);
    assert_memory_equal(acpi.distances, expected, sizeof(expected));
}

static void expect_ecam(void)
{
    assert_int_equal(acpi.ecam_count, 2);
    assert_int_equal(acpi.ecam[0].address, 0xb0000000);
    assert_int_equal(acpi.ecam[1].segment, 1);
    assert_int_equal(acpi.ecam[1].first_bus, 16);
    /* The table gives bus 0's. */
    assert_true(acpi.ecam[1].address == 0x900000000 + (16 << 20));
}

static void expect_fixed(void)
{
    assert_int_equal(acpi.pm_timer.address, 0x608);
    assert_int_equal(acpi.pm_timer.space, 1);
    assert_int_equal(acpi.pm_timer.bits, 24);
    assert_int_equal(acpi.reset.address, 0xcf9);
    assert_int_equal(acpi.reset.space, 1);
    assert_int_equal(acpi.reset_value, 0xf);
}

static void expect_machine(void)
{
    expect_cpus();
    expect_nodes();
    expect_distances();
    expect_ecam();
    expect_fixed();
}

static void expect_nothing(void)
{
    struct acpi nothing = {.nodes = 1};
    assert_memory_equal(&acpi, &nothing, sizeof(nothing));
}

/* --- A sound machine -------------------------------------------------------------------------------------
 */

static void a_machine_is_read_as_it_was_built(void **state)
{
    (void)state;
    read_again();
    firmware_said_nothing(&memory);
    expect_machine();
    bool low, level;
    assert_int_equal(acpi_isa_interrupt(&acpi, 0, &low, &level), 2);
    assert_true(!low && !level);
    assert_int_equal(acpi_isa_interrupt(&acpi, 9, &low, &level), 9);
    assert_true(low && level);
    assert_int_equal(acpi_isa_interrupt(&acpi, 4, &low, &level), 4);
    assert_true(!low && !level);
}

static void an_old_rsdp_leads_to_the_same_machine(void **state)
{
    (void)state;
    put_rsdp(0);
    put(XSDT, 0, 4);
    read_again();
    firmware_said_nothing(&memory);
    expect_machine();
}

static void the_longer_fadt_says_where_its_timer_is(void **state)
{
    (void)state;
    put(FADT + 112, 1 << 8, 4);
    put(FADT + 208, 0, 1);
    put(FADT + 209, 32, 1);
    put(FADT + 212, 0xfed08000, 8);
    firmware_fix_table(&memory, FADT);
    read_again();
    firmware_said_nothing(&memory);
    assert_int_equal(acpi.pm_timer.address, 0xfed08000);
    assert_int_equal(acpi.pm_timer.space, 0);
    assert_int_equal(acpi.pm_timer.bits, 32);
    assert_int_equal(acpi.reset.bits, 0);
}

static void a_madt_may_place_the_local_apic_above_4_gib(void **state)
{
    (void)state;
    put(append_entry(MADT, 5, 12) + 4, 0x1fee00000, 8);
    firmware_fix_table(&memory, MADT);
    read_again();
    assert_true(acpi.local_apic == 0x1fee00000);
}

static void domains_of_an_old_srat_are_one_byte(void **state)
{
    (void)state;
    firmware_put_table(&memory, SRAT, "SRAT", 1, 48);
    add_memory_affinity(0, GIB, 0xab07, 1);
    add_cpu_affinity(3, 0xcdef07);
    read_again();
    firmware_said_nothing(&memory);
    assert_int_equal(acpi.nodes, 1);
    assert_int_equal(acpi.proximity[0], 7);
}

static void non_volatile_memory_is_no_place_to_plug_into(void **state)
{
    (void)state;
    add_memory_affinity(32 * GIB, GIB, 2, 7);
    read_again();
    assert_int_equal(acpi.affinity_count, 4);
    assert_false(acpi.affinity[3].pluggable);
}

/* --- No tables -------------------------------------------------------------------------------------------
 */

static void without_an_rsdp_there_is_one_node_and_a_line(void **state)
{
    (void)state;
    acpi_read(&memory.firmware, 0, &acpi);
    firmware_said(&memory, "there is no RSDP at 0x0");
    expect_nothing();
    put(RSDP, 'X', 1);
    read_again();
    firmware_said(&memory, "there is no RSDP at 0x10010");
    expect_nothing();
    acpi_read(&memory.firmware, UINT64_MAX - 8, &acpi);
    memory.line_count = 0;
    expect_nothing();
}

static void an_rsdp_with_a_wrong_checksum_is_none(void **state)
{
    (void)state;
    put(RSDP + 9, 1, 1);
    read_again();
    firmware_said(&memory, "wrong checksum of the RSDP");
    expect_nothing();
}

static void a_damaged_long_rsdp_falls_back_on_the_rsdt(void **state)
{
    (void)state;
    put(RSDP + 33, 1, 1);
    read_again();
    firmware_said(&memory, "wrong length or checksum of the longer RSDP");
    expect_machine();
    put_rsdp(2);
    put(RSDP + 33, 0, 1);
    put(RSDP + 20, 35, 4);
    fix_rsdp();
    read_again();
    firmware_said(&memory, "wrong length or checksum of the longer RSDP");
    expect_machine();
    put(RSDP + 20, UINT32_MAX, 4);
    fix_rsdp();
    read_again();
    firmware_said(&memory, "wrong length or checksum of the longer RSDP");
    expect_machine();
}

static void a_damaged_xsdt_falls_back_on_the_rsdt(void **state)
{
    (void)state;
    put(XSDT + 10, 1, 1);
    read_again();
    firmware_said(&memory, "left out: XSDT at 0x10100: its checksum is wrong");
    expect_machine();
    put(XSDT, 'Y', 1);
    read_again();
    firmware_said(&memory, "left out: YSDT at 0x10100: an RSDT or XSDT should be here");
    expect_machine();
    put(RSDP + 24, UINT64_MAX - 7, 8);
    fix_rsdp();
    read_again();
    firmware_said(&memory, "no table can be read at what should be that of an XSDT");
    expect_machine();
    put(RSDP + 24, 0, 8);
    fix_rsdp();
    read_again();
    firmware_said(&memory, "no table can be read");
    expect_machine();
}

static void an_rsdt_alone_and_damaged_leaves_nothing(void **state)
{
    (void)state;
    put_rsdp(0);
    put(RSDT + 4, 35, 4);
    firmware_fix_table(&memory, RSDT);
    read_again();
    firmware_said(&memory, "left out: RSDT at 0x10200: too short");
    expect_nothing();
}

static void odd_pointers_cost_nothing_else(void **state)
{
    (void)state;
    put(append(XSDT, 8), 0, 8);
    put(append(XSDT, 8), 0x4000000000, 8);
    put(append(XSDT, 8), UINT64_MAX, 8);
    append(XSDT, 5);
    firmware_fix_table(&memory, XSDT);
    read_again();
    assert_int_equal(memory.line_count, 4);
    assert_non_null(strstr(memory.lines[0], "half a pointer at the end of XSDT"));
    for (unsigned i = 1; i < 4; i++)
        assert_non_null(strstr(memory.lines[i], "no table can be read at"));
    expect_machine();
}

static void pointers_beyond_counting_are_not_followed_for_ever(void **state)
{
    (void)state;
    uint32_t bytes = 36 + 8 * 1000;
    for (unsigned i = 0; i < 1000; i++)
        put(FREE + 36 + 8 * i, i ? 0 : MADT, 8);
    firmware_put_table(&memory, FREE, "XSDT", 1, bytes);
    put(RSDP + 24, FREE, 8);
    fix_rsdp();
    read_again();
    assert_int_equal(memory.line_count, FIRMWARE_LINES);
    assert_non_null(strstr(memory.lines[0], "only some of the tables are looked at; there are 0x3e8"));
    assert_string_equal(memory.lines[FIRMWARE_LINES - 1], "firmware: more is odd than is listed here");
    expect_cpus();
    assert_int_equal(acpi.nodes, 1);
}

/* --- Damage to a table as a whole ------------------------------------------------------------------------
 */

static const uint64_t each_table[] = {MADT, SRAT, SLIT, MCFG, FADT};

/* Everything but the table, which reads as if it weren't there. */
static void expect_machine_without(uint64_t table)
{
    if (table == MADT) {
        assert_int_equal(acpi.cpu_count, 0);
        assert_int_equal(acpi.ioapic_count, 0);
        assert_int_equal(acpi.local_apic, 0);
    } else {
        expect_cpus();
    }
    if (table == SRAT) {
        assert_int_equal(acpi.nodes, 1);
        assert_int_equal(acpi.proximity[0], 0);
        assert_int_equal(acpi.affinity_count, 0);
    } else {
        expect_nodes();
        assert_int_equal(acpi.has_distances, table != SLIT);
    }
    if (table == MCFG)
        assert_int_equal(acpi.ecam_count, 0);
    else
        expect_ecam();
    if (table == FADT) {
        assert_int_equal(acpi.pm_timer.bits, 0);
        assert_int_equal(acpi.reset.bits, 0);
    } else {
        expect_fixed();
    }
}

static void damage_each_table(uint32_t offset, uint64_t value, unsigned bytes, bool fix, const char *said)
{
    for (unsigned i = 0; i < sizeof(each_table) / sizeof(each_table[0]); i++) {
        uint64_t table = each_table[i];
        build_machine(NULL);
        put(table + offset, value, bytes);
        if (fix)
            firmware_fix_table(&memory, table);
        read_again();
        firmware_said(&memory, said);
        expect_machine_without(table);
    }
}

static void a_table_with_a_wrong_checksum_is_left_out(void **state)
{
    (void)state;
    damage_each_table(10, 0x55, 1, false, ": its checksum is wrong");
}

static void a_table_that_is_too_short_is_left_out(void **state)
{
    (void)state;
    damage_each_table(4, 0, 4, false, ": too short");
    damage_each_table(4, 40, 4, true, ": too short");
}

static void a_table_that_is_too_long_is_left_out(void **state)
{
    (void)state;
    damage_each_table(4, UINT32_MAX, 4, false, ": longer than any such table is");
    /* One whose end can't be read, as the last thing in memory. */
    build_machine(NULL);
    uint64_t last = FIRMWARE_BASE + FIRMWARE_BYTES - 40;
    memcpy(firmware_at(&memory, last), "SRAT", 4);
    put(last + 4, 48, 4);
    put(XSDT + 36 + 16, last, 8);
    firmware_fix_table(&memory, XSDT);
    read_again();
    firmware_said(&memory, "left out: SRAT at 0x2ffd8: can't be read to its end");
    expect_machine_without(SRAT);
}

static void a_table_that_is_missing_is_no_matter(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof(each_table) / sizeof(each_table[0]); i++) {
        build_machine(NULL);
        put(each_table[i], 0x41414141, 4);
        read_again();
        firmware_said_nothing(&memory);
        expect_machine_without(each_table[i]);
    }
}

static void the_second_of_a_signature_is_left_out(void **state)
{
    (void)state;
    firmware_put_table(&memory, FREE, "APIC", 5, 44);
    put(append(XSDT, 8), FREE, 8);
    firmware_fix_table(&memory, XSDT);
    read_again();
    firmware_said(&memory, "left out: APIC at 0x18000: a second one");
    expect_machine();
}

static void a_table_inside_another_is_left_out(void **state)
{
    (void)state;
    /* An SRAT with a sound checksum in the reserved bytes of the FADT, which comes first. */
    firmware_put_table(&memory, FADT + 140, "SRAT", 3, 48);
    firmware_fix_table(&memory, FADT);
    put(XSDT + 36 + 16, FADT + 140, 8);
    firmware_fix_table(&memory, XSDT);
    read_again();
    firmware_said(&memory, "left out: SRAT at 0x1508c: it runs over another table");
    expect_machine_without(SRAT);
}

static void a_table_over_the_root_is_left_out(void **state)
{
    (void)state;
    put(XSDT + 36 + 16, XSDT, 8);
    firmware_fix_table(&memory, XSDT);
    read_again();
    /* It's an XSDT, which nobody looks for here. */
    firmware_said_nothing(&memory);
    expect_machine_without(SRAT);
}

/* --- Damage to entries -----------------------------------------------------------------------------------
 */

static void damage_entries(uint64_t table, uint64_t entry, uint8_t type_bytes)
{
    static const struct {
        uint8_t length;
        const char *said;
    } damages[] = {{0, ": an entry has no length"},
                   {1, ": an entry has no length"},
                   {255, ": an entry runs past its end"},
                   {2, ": an entry is too short for its type"}};
    for (unsigned i = 0; i < 4; i++) {
        put(entry + 1, damages[i].length, 1);
        firmware_fix_table(&memory, table);
        read_again();
        firmware_said(&memory, damages[i].said);
        expect_machine_without(table);
    }
    put(entry + 1, type_bytes, 1);
    append(table, 1);
    firmware_fix_table(&memory, table);
    read_again();
    firmware_said(&memory, ": its last entry is cut off");
    expect_machine_without(table);
}

static void a_madt_whose_entries_do_not_hold_is_left_out(void **state)
{
    (void)state;
    damage_entries(MADT, append_entry(MADT, 0, 8), 8);
}

static void an_srat_whose_entries_do_not_hold_is_left_out(void **state)
{
    (void)state;
    damage_entries(SRAT, append_entry(SRAT, 1, 40), 40);
}

static void an_mcfg_of_odd_length_is_left_out(void **state)
{
    (void)state;
    append(MCFG, 15);
    read_again();
    firmware_said(&memory, "left out: MCFG at 0x14000: its last entry is cut off");
    expect_machine_without(MCFG);
}

static void a_slit_of_odd_size_is_left_out(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 7, 9, UINT32_MAX, UINT64_C(1) << 32, UINT64_C(1) << 61, UINT64_MAX};
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        put(SLIT + 36, sizes[i], 8);
        firmware_fix_table(&memory, SLIT);
        read_again();
        firmware_said(&memory, "its length isn't that of its number of localities");
        expect_machine_without(SLIT);
    }
}

static void a_slit_with_impossible_distances_is_left_out(void **state)
{
    (void)state;
    put(SLIT + 44 + 2 * 8 + 7, 10, 1);
    firmware_fix_table(&memory, SLIT);
    read_again();
    firmware_said(&memory, "left out: SLIT at 0x13000: a distance to another node isn't above 10");
    expect_machine_without(SLIT);
    put(SLIT + 44 + 2 * 8 + 7, 21, 1);
    put(SLIT + 44 + 2 * 8 + 2, 11, 1);
    firmware_fix_table(&memory, SLIT);
    read_again();
    firmware_said(&memory, "or one to itself isn't 10");
    expect_machine_without(SLIT);
}

static void a_slit_that_knows_fewer_domains_leaves_the_usual_distance(void **state)
{
    (void)state;
    put(SLIT + 36, 7, 8);
    firmware_put_table(&memory, SLIT, "SLIT", 1, 44 + 49);
    memset(firmware_at(&memory, SLIT + 44), 15, 49);
    put(SLIT + 44 + 2 * 7 + 2, 10, 1);
    firmware_fix_table(&memory, SLIT);
    read_again();
    firmware_said_nothing(&memory);
    static const uint8_t expected[] = {10, 20, 20, 10};
    assert_memory_equal(acpi.distances, expected, sizeof(expected));
}

static void a_cpu_twice_counts_once(void **state)
{
    (void)state;
    add_x2apic(3, 1);
    read_again();
    firmware_said(&memory, "a second CPU with APIC id 0x3");
    expect_machine();
}

static void cpus_beyond_the_room_are_left_out(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PLATFORM_CPUS + 2; i++)
        add_x2apic(0x1000 + i, 1);
    read_again();
    assert_int_equal(memory.line_count, 6);
    assert_non_null(strstr(memory.lines[0], "no room for more: CPU with APIC id 0x10fc"));
    assert_int_equal(acpi.cpu_count, PLATFORM_CPUS);
    assert_int_equal(acpi.cpus[0].apic_id, 0);
    expect_nodes();
}

static void odd_io_apics_are_left_out(void **state)
{
    (void)state;
    add_ioapic(9, 0xfec00000, 24);
    read_again();
    firmware_said(&memory, "no or another I/O APIC is at 0xfec00000");
    add_ioapic(9, 0, 48);
    read_again();
    assert_int_equal(memory.line_count, 2);
    for (unsigned i = 0; i < ACPI_IOAPICS; i++)
        add_ioapic(9, 0xfed00000 + i * 0x1000, 100 + i * 24);
    read_again();
    assert_int_equal(memory.line_count, 3);
    assert_non_null(strstr(memory.lines[2], "no room for more: I/O APIC"));
    assert_int_equal(acpi.ioapic_count, ACPI_IOAPICS);
}

static void odd_overrides_are_left_out(void **state)
{
    (void)state;
    add_override(16, 16, 0);
    read_again();
    firmware_said(&memory, "an odd or second override of interrupt 0x10");
    expect_machine();
    build_machine(NULL);
    add_override(9, 20, 0);
    read_again();
    firmware_said(&memory, "an odd or second override of interrupt 0x9");
    expect_machine();
}

static void memory_that_wraps_or_overlaps_is_left_out(void **state)
{
    (void)state;
    add_memory_affinity(UINT64_MAX - 4095, 8192, 2, 1);
    read_again();
    firmware_said(&memory, "past the end of all addresses: memory at 0xfffffffffffff000");
    expect_machine();
    build_machine(NULL);
    add_memory_affinity(2 * GIB - 1, 1, 7, 1);
    read_again();
    firmware_said(&memory, "it overlaps another's: memory at 0x7fffffff");
    expect_machine();
    build_machine(NULL);
    add_memory_affinity(2 * GIB, UINT64_MAX - 2 * GIB + 1, 7, 1);
    read_again();
    firmware_said(&memory, "it overlaps another's: memory at 0x80000000");
    expect_machine();
}

static void memory_beyond_the_room_is_left_out(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ACPI_AFFINITY; i++)
        add_memory_affinity((100 + i) * GIB, GIB, 2, 1);
    read_again();
    assert_int_equal(memory.line_count, 3);
    assert_non_null(strstr(memory.lines[0], "no room for more: memory at"));
    assert_int_equal(acpi.affinity_count, ACPI_AFFINITY);
    assert_int_equal(acpi.nodes, 2);
}

static void domains_beyond_the_room_are_node_0s(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PLATFORM_NODES - 1; i++)
        add_memory_affinity((100 + i) * GIB, GIB, 1000 - i, 1);
    read_again();
    firmware_said(&memory, "no room for one more node, so part of node 0: domain 0x3da");
    assert_int_equal(acpi.nodes, PLATFORM_NODES);
    for (unsigned i = 1; i < PLATFORM_NODES; i++)
        assert_true(acpi.proximity[i - 1] < acpi.proximity[i]);
    assert_int_equal(acpi.affinity_count, 3 + PLATFORM_NODES - 1);
    assert_int_equal(acpi.affinity[3].node, PLATFORM_NODES - 1);
    assert_int_equal(acpi.affinity[3 + PLATFORM_NODES - 2].node, 0);
}

static void odd_configuration_space_is_left_out(void **state)
{
    (void)state;
    static const struct {
        uint64_t address;
        uint16_t segment;
        uint8_t first, last;
        const char *said;
    } odd[] = {{0xc0000000, 2, 5, 4, "its last bus is below its first"},
               {0, 2, 0, 4, "there can be no configuration space at 0x0"},
               {0xc0000800, 2, 0, 4, "there can be no configuration space at 0xc0000800"},
               {UINT64_MAX << 20, 2, 0, 4, "there can be no configuration space at"},
               {0xd0000000, 1, 31, 40, "its buses are listed already"}};
    for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        build_machine(NULL);
        add_ecam(odd[i].address, odd[i].segment, odd[i].first, odd[i].last);
        read_again();
        firmware_said(&memory, odd[i].said);
        expect_machine();
    }
    build_machine(NULL);
    for (unsigned i = 0; i < ACPI_ECAMS; i++)
        add_ecam(0x1000000000 + i * GIB, (uint16_t)(10 + i), 0, 255);
    read_again();
    assert_int_equal(memory.line_count, 2);
    assert_non_null(strstr(memory.lines[0], "no room for more"));
    assert_int_equal(acpi.ecam_count, ACPI_ECAMS);
}

static void odd_registers_are_left_out(void **state)
{
    (void)state;
    put(FADT + 76, 0x10000, 4);
    firmware_fix_table(&memory, FADT);
    read_again();
    firmware_said(&memory, "an odd PM timer at 0x10000");
    assert_int_equal(acpi.pm_timer.bits, 0);
    assert_int_equal(acpi.reset.address, 0xcf9);
    static const struct {
        unsigned offset, bytes;
        uint64_t value;
    } odd[] = {{116, 1, 127}, {117, 1, 16}, {118, 1, 3}, {120, 8, 0}, {120, 8, 0x10000}, {4, 4, 127}};
    for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        build_machine(NULL);
        put(FADT + odd[i].offset, odd[i].value, odd[i].bytes);
        firmware_fix_table(&memory, FADT);
        read_again();
        firmware_said(&memory, "an odd reset register");
        assert_int_equal(acpi.reset.bits, 0);
        assert_int_equal(acpi.reset_value, 0);
        assert_int_equal(acpi.pm_timer.address, 0x608);
    }
}

/* Every byte of every table, damaged in turn with the checksum kept right, and memory that ends anywhere: no
 * value may lead out of bounds (the sanitizers see that), and what is kept holds together. */
static void expect_sound(void)
{
    assert_in_range(acpi.nodes, 1, PLATFORM_NODES);
    assert_true(acpi.cpu_count <= PLATFORM_CPUS && acpi.ecam_count <= ACPI_ECAMS);
    assert_true(acpi.ioapic_count <= ACPI_IOAPICS && acpi.override_count <= ACPI_OVERRIDES);
    assert_true(acpi.affinity_count <= ACPI_AFFINITY);
    for (unsigned i = 0; i < acpi.cpu_count; i++)
        assert_true(acpi.cpus[i].node < acpi.nodes);
    for (unsigned i = 0; i < acpi.affinity_count; i++)
        assert_true(acpi.affinity[i].node < acpi.nodes);
    for (unsigned i = 1; i < acpi.nodes; i++)
        assert_true(acpi.proximity[i - 1] < acpi.proximity[i]);
    for (unsigned i = 0; acpi.has_distances && i < acpi.nodes; i++)
        assert_int_equal(acpi.distances[i * (acpi.nodes + 1)], 10);
}

static void any_damaged_byte_leaves_something_sound(void **state)
{
    (void)state;
    static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    for (unsigned i = 0; i < sizeof(each_table) / sizeof(each_table[0]); i++) {
        uint64_t table = each_table[i];
        uint32_t bytes = (uint32_t)firmware_get(&memory, table + 4, 4);
        for (uint32_t offset = 0; offset < bytes; offset++) {
            uint8_t *byte = firmware_at(&memory, table + offset);
            uint8_t before = *byte;
            for (unsigned v = 0; v < sizeof(values); v++) {
                *byte = values[v];
                if (firmware_get(&memory, table + 4, 4) <= 0x1000)
                    firmware_fix_table(&memory, table);
                read_again();
                expect_sound();
            }
            *byte = before;
            firmware_fix_table(&memory, table);
        }
    }
    read_again();
    firmware_said_nothing(&memory);
    expect_machine();
    for (memory.readable = 0; memory.readable < 0x5200; memory.readable += 4) {
        read_again();
        expect_sound();
    }
}

#define TEST(name) cmocka_unit_test_setup(name, build_machine)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_machine_is_read_as_it_was_built),
        TEST(an_old_rsdp_leads_to_the_same_machine),
        TEST(the_longer_fadt_says_where_its_timer_is),
        TEST(a_madt_may_place_the_local_apic_above_4_gib),
        TEST(domains_of_an_old_srat_are_one_byte),
        TEST(non_volatile_memory_is_no_place_to_plug_into),
        TEST(without_an_rsdp_there_is_one_node_and_a_line),
        TEST(an_rsdp_with_a_wrong_checksum_is_none),
        TEST(a_damaged_long_rsdp_falls_back_on_the_rsdt),
        TEST(a_damaged_xsdt_falls_back_on_the_rsdt),
        TEST(an_rsdt_alone_and_damaged_leaves_nothing),
        TEST(odd_pointers_cost_nothing_else),
        TEST(pointers_beyond_counting_are_not_followed_for_ever),
        TEST(a_table_with_a_wrong_checksum_is_left_out),
        TEST(a_table_that_is_too_short_is_left_out),
        TEST(a_table_that_is_too_long_is_left_out),
        TEST(a_table_that_is_missing_is_no_matter),
        TEST(the_second_of_a_signature_is_left_out),
        TEST(a_table_inside_another_is_left_out),
        TEST(a_table_over_the_root_is_left_out),
        TEST(a_madt_whose_entries_do_not_hold_is_left_out),
        TEST(an_srat_whose_entries_do_not_hold_is_left_out),
        TEST(an_mcfg_of_odd_length_is_left_out),
        TEST(a_slit_of_odd_size_is_left_out),
        TEST(a_slit_with_impossible_distances_is_left_out),
        TEST(a_slit_that_knows_fewer_domains_leaves_the_usual_distance),
        TEST(a_cpu_twice_counts_once),
        TEST(cpus_beyond_the_room_are_left_out),
        TEST(odd_io_apics_are_left_out),
        TEST(odd_overrides_are_left_out),
        TEST(memory_that_wraps_or_overlaps_is_left_out),
        TEST(memory_beyond_the_room_is_left_out),
        TEST(domains_beyond_the_room_are_node_0s),
        TEST(odd_configuration_space_is_left_out),
        TEST(odd_registers_are_left_out),
        TEST(any_damaged_byte_leaves_something_sound),
    };
    return cmocka_run_group_tests_name("acpi", tests, NULL, NULL);
}
