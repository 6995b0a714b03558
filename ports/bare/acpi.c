/* SPDX-License-Identifier: MIT
 *
 * The static tables of ACPI. Each goes through the same gate (table_open: length, checksum, apart from all
 * tables so far) and, if it is made of entries, through entries_hold() before any of them is used. All
 * integers are little-endian; numbers behind a name are offsets in the structure that the name stands for.
 */
#include <pleat/wire/little_endian.h>

#include "acpi.h"

#define HEADER_BYTES 36u
/* Far above any table that is read here, so that a damaged length doesn't cost seconds to sum up. */
#define TABLE_BYTES_MAX (1u << 20)
#define TABLES_MAX      256u
/* RSDP, RSDT, XSDT, and one of each signature below. */
#define EXTENTS_MAX 16u

#define SPACE_MEMORY 0u
#define SPACE_IO     1u

struct table {
    char signature[4];
    uint8_t revision;
    uint64_t address;
    uint32_t bytes;
};

struct reader {
    struct firmware_report report;
    struct acpi *acpi;
    struct boot_range extents[EXTENTS_MAX]; /* of what was accepted so far */
    unsigned extent_count;
    struct table madt, srat, slit, mcfg, fadt; /* bytes 0: none */
};

static void say(struct reader *reader, const char *table, const char *what)
{
    struct firmware_line line = firmware_line(table);
    firmware_line_text(&line, what);
    firmware_report(&reader->report, &line);
}

static void say_number(struct reader *reader, const char *table, const char *what, uint64_t number)
{
    struct firmware_line line = firmware_line(table);
    firmware_line_text(&line, what);
    firmware_line_hex(&line, number);
    firmware_report(&reader->report, &line);
}

static void say_left_out(struct reader *reader, const char *signature, uint64_t address, const char *why)
{
    struct firmware_line line = firmware_line("ACPI: left out: ");
    firmware_line_bytes(&line, signature, 4);
    firmware_line_text(&line, " at ");
    firmware_line_hex(&line, address);
    firmware_line_text(&line, ": ");
    firmware_line_text(&line, why);
    firmware_report(&reader->report, &line);
}

/* --- The gate --------------------------------------------------------------------------------------------
 */

/* False: not all of it can be read. */
static bool sum_bytes(struct reader *reader, uint64_t address, uint32_t bytes, uint8_t *sum)
{
    uint8_t piece[128];
    *sum = 0;
    for (uint32_t done = 0, now; done < bytes; done += now) {
        now = bytes - done < sizeof(piece) ? bytes - done : sizeof(piece);
        if (!firmware_read(reader->report.firmware, address + done, piece, now))
            return false;
        for (uint32_t i = 0; i < now; i++)
            *sum = (uint8_t)(*sum + piece[i]);
    }
    return true;
}

static bool is_apart(const struct reader *reader, uint64_t address, uint32_t bytes)
{
    for (unsigned i = 0; i < reader->extent_count; i++) {
        const struct boot_range *other = &reader->extents[i];
        if (address < other->start + other->bytes && other->start < address + bytes)
            return false;
    }
    return true;
}

static void occupy(struct reader *reader, uint64_t address, uint32_t bytes)
{
    if (reader->extent_count < EXTENTS_MAX)
        reader->extents[reader->extent_count++] = (struct boot_range){.start = address, .bytes = bytes};
}

/* Only looks at the header. False: it can't be read. */
static bool table_look(struct reader *reader, uint64_t address, struct table *table)
{
    uint8_t raw[HEADER_BYTES];
    if (!firmware_read(reader->report.firmware, address, raw, sizeof(raw)))
        return false;
    *table = (struct table){.revision = raw[8], .address = address, .bytes = pleat_read_le32(raw + 4)};
    for (unsigned i = 0; i < 4; i++)
        table->signature[i] = (char)raw[i];
    return true;
}

static bool table_is(const struct table *table, const char *signature)
{
    for (unsigned i = 0; i < 4; i++) {
        if (table->signature[i] != signature[i])
            return false;
    }
    return true;
}

/* Whether all of the table can be used. `least` bytes of it have to be there. */
static bool table_open(struct reader *reader, const struct table *table, uint32_t least)
{
    const char *why = NULL;
    uint8_t sum;
    if (table->bytes < least)
        why = "too short";
    else if (table->bytes > TABLE_BYTES_MAX)
        why = "longer than any such table is";
    else if (table->address + (table->bytes - 1) < table->address)
        why = "past the end of all addresses";
    else if (!is_apart(reader, table->address, table->bytes))
        why = "it runs over another table";
    else if (!sum_bytes(reader, table->address, table->bytes, &sum))
        why = "can't be read to its end";
    else if (sum)
        why = "its checksum is wrong";
    if (why) {
        say_left_out(reader, table->signature, table->address, why);
        return false;
    }
    occupy(reader, table->address, table->bytes);
    return true;
}

static bool table_read(struct reader *reader, const struct table *table, uint32_t offset, void *to,
                       uint32_t bytes)
{
    return offset <= table->bytes && bytes <= table->bytes - offset &&
           firmware_read(reader->report.firmware, table->address + offset, to, bytes);
}

/* --- Entries of one byte type, one byte length -----------------------------------------------------------
 */

#define ENTRY_BYTES 40u

/* An entry; of longer ones only the beginning, of shorter ones the rest is zero. */
struct entry {
    uint8_t raw[ENTRY_BYTES];
    uint32_t bytes;
};

/* The entry at *offset, and moves on. False: that was the last. */
static bool entry_next(struct reader *reader, const struct table *table, uint32_t *offset,
                       struct entry *entry)
{
    *entry = (struct entry){.bytes = 0};
    if (*offset >= table->bytes || !table_read(reader, table, *offset, entry->raw, 2))
        return false;
    entry->bytes = entry->raw[1];
    uint32_t copied = entry->bytes < ENTRY_BYTES ? entry->bytes : ENTRY_BYTES;
    if (entry->bytes < 2 || !table_read(reader, table, *offset, entry->raw, copied))
        return false;
    *offset += entry->bytes;
    return true;
}

/* Whether the entries from `offset` fill the table exactly, and each is as long as its type needs. */
static bool entries_hold(struct reader *reader, const struct table *table, uint32_t offset,
                         const uint8_t *least, unsigned types)
{
    while (offset < table->bytes) {
        const char *why = NULL;
        uint8_t head[2];
        if (table->bytes - offset < 2)
            why = "its last entry is cut off";
        else if (!table_read(reader, table, offset, head, 2))
            why = "can't be read to its end";
        else if (head[1] < 2)
            why = "an entry has no length";
        else if (head[1] > table->bytes - offset)
            why = "an entry runs past its end";
        else if (head[0] < types && head[1] < least[head[0]])
            why = "an entry is too short for its type";
        if (why) {
            say_left_out(reader, table->signature, table->address, why);
            return false;
        }
        offset += head[1];
    }
    return true;
}

/* --- MCFG ------------------------------------------------------------------------------------------------
 */

#define MCFG_ENTRIES     44u
#define MCFG_ENTRY_BYTES 16u

static const char *ecam_refusal(const struct acpi *acpi, const struct acpi_ecam *ecam)
{
    if (ecam->last_bus < ecam->first_bus)
        return "MCFG: left out: its last bus is below its first, address ";
    uint64_t bytes = ((uint64_t)ecam->last_bus - ecam->first_bus + 1) << 20;
    if (!ecam->address || ecam->address % 4096 || ecam->address + bytes < ecam->address)
        return "MCFG: left out: there can be no configuration space at ";
    for (unsigned i = 0; i < acpi->ecam_count; i++) {
        const struct acpi_ecam *other = &acpi->ecam[i];
        if (other->segment == ecam->segment && other->first_bus <= ecam->last_bus &&
            ecam->first_bus <= other->last_bus)
            return "MCFG: left out: its buses are listed already, address ";
    }
    return acpi->ecam_count == ACPI_ECAMS ? "MCFG: left out, no room for more: address " : NULL;
}

static void read_mcfg(struct reader *reader, const struct table *table)
{
    struct acpi *acpi = reader->acpi;
    if ((table->bytes - MCFG_ENTRIES) % MCFG_ENTRY_BYTES) {
        say_left_out(reader, table->signature, table->address, "its last entry is cut off");
        return;
    }
    uint8_t raw[MCFG_ENTRY_BYTES];
    for (uint32_t at = MCFG_ENTRIES; table_read(reader, table, at, raw, sizeof(raw)); at += sizeof(raw)) {
        /* The address is that of bus 0, whether the segment has one or not. */
        struct acpi_ecam ecam = {.address = pleat_read_le64(raw) + ((uint64_t)raw[10] << 20),
                                 .segment = pleat_read_le16(raw + 8),
                                 .first_bus = raw[10],
                                 .last_bus = raw[11]};
        const char *refusal = ecam_refusal(acpi, &ecam);
        if (refusal)
            say_number(reader, "ACPI: ", refusal, ecam.address);
        else
            acpi->ecam[acpi->ecam_count++] = ecam;
    }
}

/* --- MADT ------------------------------------------------------------------------------------------------
 */

#define MADT_ENTRIES 44u

enum {
    MADT_LOCAL_APIC = 0,
    MADT_IOAPIC = 1,
    MADT_OVERRIDE = 2,
    MADT_LOCAL_APIC_ADDRESS = 5,
    MADT_X2APIC = 9,
    MADT_TYPES
};
static const uint8_t madt_least[MADT_TYPES] = {[MADT_LOCAL_APIC] = 8,
                                               [MADT_IOAPIC] = 12,
                                               [MADT_OVERRIDE] = 10,
                                               [MADT_LOCAL_APIC_ADDRESS] = 12,
                                               [MADT_X2APIC] = 16};

static void add_cpu(struct reader *reader, uint32_t apic_id, uint32_t flags)
{
    struct acpi *acpi = reader->acpi;
    struct acpi_cpu cpu = {
        .apic_id = apic_id, .enabled = (flags & 1) != 0, .online_capable = (flags & 3) == 2};
    /* Firmware fills tables up with entries that stand for nothing. */
    if (!cpu.enabled && !cpu.online_capable)
        return;
    for (unsigned i = 0; i < acpi->cpu_count; i++) {
        if (acpi->cpus[i].apic_id == apic_id) {
            say_number(reader, "ACPI: APIC: left out: a second CPU with APIC id ", "", apic_id);
            return;
        }
    }
    if (acpi->cpu_count == PLATFORM_CPUS)
        say_number(reader, "ACPI: APIC: left out, no room for more: CPU with APIC id ", "", apic_id);
    else
        acpi->cpus[acpi->cpu_count++] = cpu;
}

static void add_ioapic(struct reader *reader, const uint8_t *raw)
{
    struct acpi *acpi = reader->acpi;
    struct acpi_ioapic ioapic = {
        .id = raw[2], .address = pleat_read_le32(raw + 4), .first_interrupt = pleat_read_le32(raw + 8)};
    bool odd = !ioapic.address || ioapic.address % 16;
    for (unsigned i = 0; i < acpi->ioapic_count; i++) {
        odd = odd || acpi->ioapics[i].address == ioapic.address ||
              acpi->ioapics[i].first_interrupt == ioapic.first_interrupt;
    }
    if (odd)
        say_number(reader, "ACPI: APIC: left out: no or another I/O APIC is at ", "", ioapic.address);
    else if (acpi->ioapic_count == ACPI_IOAPICS)
        say_number(reader, "ACPI: APIC: left out, no room for more: I/O APIC at ", "", ioapic.address);
    else
        acpi->ioapics[acpi->ioapic_count++] = ioapic;
}

static void add_override(struct reader *reader, const uint8_t *raw)
{
    struct acpi *acpi = reader->acpi;
    uint16_t flags = pleat_read_le16(raw + 8);
    /* 0 is "as the bus has it": ISA's are high and edge. */
    struct acpi_override override = {.source = raw[3],
                                     .interrupt = pleat_read_le32(raw + 4),
                                     .low = (flags & 3) == 3,
                                     .level = (flags >> 2 & 3) == 3};
    bool odd = raw[2] != 0 || override.source > 15;
    for (unsigned i = 0; i < acpi->override_count; i++)
        odd = odd || acpi->overrides[i].source == override.source;
    if (odd)
        say_number(reader, "ACPI: APIC: left out: an odd or second override of interrupt ", "",
                   override.source);
    else
        acpi->overrides[acpi->override_count++] = override;
}

static void read_madt(struct reader *reader, const struct table *table)
{
    uint8_t raw[8];
    if (!entries_hold(reader, table, MADT_ENTRIES, madt_least, MADT_TYPES) ||
        !table_read(reader, table, HEADER_BYTES, raw, sizeof(raw)))
        return;
    reader->acpi->local_apic = pleat_read_le32(raw);
    reader->acpi->has_8259 = (pleat_read_le32(raw + 4) & 1) != 0;
    struct entry entry;
    for (uint32_t at = MADT_ENTRIES; entry_next(reader, table, &at, &entry);) {
        switch (entry.raw[0]) {
        case MADT_LOCAL_APIC:
            add_cpu(reader, entry.raw[3], pleat_read_le32(entry.raw + 4));
            break;
        case MADT_X2APIC:
            add_cpu(reader, pleat_read_le32(entry.raw + 4), pleat_read_le32(entry.raw + 8));
            break;
        case MADT_IOAPIC:
            add_ioapic(reader, entry.raw);
            break;
        case MADT_OVERRIDE:
            add_override(reader, entry.raw);
            break;
        case MADT_LOCAL_APIC_ADDRESS:
            reader->acpi->local_apic = pleat_read_le64(entry.raw + 4);
            break;
        default: /* NMI wiring, controllers of other architectures */
            break;
        }
    }
}

/* --- SRAT ------------------------------------------------------------------------------------------------
 */

#define SRAT_ENTRIES 48u

enum { SRAT_CPU = 0, SRAT_MEMORY = 1, SRAT_X2APIC = 2, SRAT_TYPES };
static const uint8_t srat_least[SRAT_TYPES] = {[SRAT_CPU] = 16, [SRAT_MEMORY] = 40, [SRAT_X2APIC] = 24};

#define SRAT_ENABLED      1u
#define SRAT_PLUGGABLE    2u
#define SRAT_NON_VOLATILE 4u

/* An SRAT entry that says something about this machine. */
struct affinity {
    uint32_t domain;
    struct acpi_cpu *cpu;        /* NULL: it is about memory */
    struct boot_affinity memory; /* all but its node */
};

static struct acpi_cpu *find_cpu(struct acpi *acpi, uint32_t apic_id)
{
    for (unsigned i = 0; i < acpi->cpu_count; i++) {
        if (acpi->cpus[i].apic_id == apic_id)
            return &acpi->cpus[i];
    }
    return NULL;
}

/* The next such entry from *offset on. False: there is none. */
static bool affinity_next(struct reader *reader, const struct table *table, uint32_t *offset,
                          struct affinity *affinity)
{
    struct entry entry;
    const uint8_t *raw = entry.raw;
    /* Before revision 2 a domain was one byte, and what is above it now could be anything. */
    uint32_t domain_mask = table->revision < 2 ? 0xff : 0xffffffff;
    while (entry_next(reader, table, offset, &entry)) {
        *affinity = (struct affinity){.domain = 0};
        switch (raw[0]) {
        case SRAT_CPU:
            affinity->domain = (raw[2] | (pleat_read_le32(raw + 8) & 0xffffff00)) & domain_mask;
            affinity->cpu = find_cpu(reader->acpi, raw[3]);
            if (affinity->cpu && (pleat_read_le32(raw + 4) & SRAT_ENABLED))
                return true;
            break;
        case SRAT_X2APIC:
            affinity->domain = pleat_read_le32(raw + 4) & domain_mask;
            affinity->cpu = find_cpu(reader->acpi, pleat_read_le32(raw + 8));
            if (affinity->cpu && (pleat_read_le32(raw + 12) & SRAT_ENABLED))
                return true;
            break;
        case SRAT_MEMORY: {
            uint32_t flags = pleat_read_le32(raw + 28);
            affinity->domain = pleat_read_le32(raw + 2) & domain_mask;
            affinity->memory.start = pleat_read_le64(raw + 8);
            affinity->memory.bytes = pleat_read_le64(raw + 16);
            affinity->memory.pluggable = (flags & (SRAT_PLUGGABLE | SRAT_NON_VOLATILE)) == SRAT_PLUGGABLE;
            if ((flags & SRAT_ENABLED) && affinity->memory.bytes)
                return true;
            break;
        }
        default: /* of other architectures, of initiators that aren't CPUs */
            break;
        }
    }
    return false;
}

static int node_of_domain(const struct acpi *acpi, uint32_t domain)
{
    for (unsigned node = 0; node < acpi->nodes; node++) {
        if (acpi->proximity[node] == domain)
            return (int)node;
    }
    return -1;
}

static void add_domain(struct reader *reader, uint32_t domain)
{
    struct acpi *acpi = reader->acpi;
    if (node_of_domain(acpi, domain) >= 0)
        return;
    if (acpi->nodes == PLATFORM_NODES) {
        say_number(reader, "ACPI: SRAT: no room for one more node, so part of node 0: domain ", "", domain);
        return;
    }
    unsigned node = acpi->nodes++;
    for (; node && acpi->proximity[node - 1] > domain; node--)
        acpi->proximity[node] = acpi->proximity[node - 1];
    acpi->proximity[node] = domain;
}

static void add_memory(struct reader *reader, const struct boot_affinity *memory)
{
    struct acpi *acpi = reader->acpi;
    const char *why = NULL;
    uint64_t last = memory->start + (memory->bytes - 1);
    if (last < memory->start)
        why = "past the end of all addresses: memory at ";
    for (unsigned i = 0; i < acpi->affinity_count && !why; i++) {
        const struct boot_affinity *other = &acpi->affinity[i];
        if (memory->start <= other->start + (other->bytes - 1) && other->start <= last)
            why = "it overlaps another's: memory at ";
    }
    if (!why && acpi->affinity_count == ACPI_AFFINITY)
        why = "no room for more: memory at ";
    if (why)
        say_number(reader, "ACPI: SRAT: left out: ", why, memory->start);
    else
        acpi->affinity[acpi->affinity_count++] = *memory;
}

static void read_srat(struct reader *reader, const struct table *table)
{
    struct acpi *acpi = reader->acpi;
    if (!entries_hold(reader, table, SRAT_ENTRIES, srat_least, SRAT_TYPES))
        return;
    struct affinity affinity;
    for (uint32_t at = SRAT_ENTRIES; affinity_next(reader, table, &at, &affinity);)
        add_domain(reader, affinity.domain);
    /* Which number a domain gets is known only now that all are. */
    for (uint32_t at = SRAT_ENTRIES; affinity_next(reader, table, &at, &affinity);) {
        int node = node_of_domain(acpi, affinity.domain);
        affinity.memory.node = (uint8_t)(node < 0 ? 0 : node);
        if (affinity.cpu)
            affinity.cpu->node = affinity.memory.node;
        else
            add_memory(reader, &affinity.memory);
    }
}

/* --- SLIT ------------------------------------------------------------------------------------------------
 */

#define SLIT_ENTRIES 44u
#define LOCAL        10u
#define REMOTE       20u
#define UNREACHABLE  255u

static bool slit_distance(struct reader *reader, const struct table *table, uint64_t localities,
                          unsigned from, unsigned to, uint8_t *distance)
{
    uint32_t a = reader->acpi->proximity[from], b = reader->acpi->proximity[to];
    *distance = from == to ? LOCAL : REMOTE;
    /* A domain that the table doesn't know is as far as one without a table. */
    if (a >= localities || b >= localities)
        return true;
    if (!table_read(reader, table, (uint32_t)(SLIT_ENTRIES + a * localities + b), distance, 1))
        return false;
    return from == to ? *distance == LOCAL : *distance > LOCAL;
}

static void read_slit(struct reader *reader, const struct table *table)
{
    struct acpi *acpi = reader->acpi;
    uint8_t raw[8];
    uint64_t localities = table_read(reader, table, HEADER_BYTES, raw, 8) ? pleat_read_le64(raw) : 0;
    if (localities > TABLE_BYTES_MAX || localities * localities != table->bytes - SLIT_ENTRIES) {
        say_left_out(reader, table->signature, table->address,
                     "its length isn't that of its number of localities");
        return;
    }
    for (unsigned from = 0; from < acpi->nodes; from++) {
        for (unsigned to = 0; to < acpi->nodes; to++) {
            if (!slit_distance(reader, table, localities, from, to,
                               &acpi->distances[from * acpi->nodes + to])) {
                say_left_out(reader, table->signature, table->address,
                             "a distance to another node isn't above 10, or one to itself isn't 10");
                return;
            }
        }
    }
    acpi->has_distances = true;
}

/* --- FADT ------------------------------------------------------------------------------------------------
 */

#define FADT_PM_TIMER       76u
#define FADT_PM_TIMER_BYTES 91u
#define FADT_FLAGS          112u
#define FADT_BYTES_MIN      116u
#define FADT_RESET          116u
#define FADT_RESET_VALUE    128u
#define FADT_X_PM_TIMER     208u

#define FADT_TIMER_32_BITS (1u << 8)
#define FADT_HAS_RESET     (1u << 10)

/* A generic address structure; false: the table is too short for it, or it isn't where a CPU could reach. */
static bool read_register(struct reader *reader, const struct table *table, uint32_t offset,
                          struct acpi_register *to)
{
    uint8_t raw[12];
    if (!table_read(reader, table, offset, raw, sizeof(raw)))
        return false;
    uint64_t address = pleat_read_le64(raw + 4);
    if (!address || raw[0] > SPACE_IO || (raw[0] == SPACE_IO && address > 0xfffc) || raw[2])
        return false;
    *to = (struct acpi_register){.address = address, .space = raw[0], .bits = raw[1]};
    return true;
}

static void read_fadt(struct reader *reader, const struct table *table)
{
    struct acpi *acpi = reader->acpi;
    uint8_t raw[FADT_BYTES_MIN];
    if (!table_read(reader, table, 0, raw, sizeof(raw)))
        return;
    uint32_t flags = pleat_read_le32(raw + FADT_FLAGS);
    uint8_t bits = flags & FADT_TIMER_32_BITS ? 32 : 24;
    uint32_t port = pleat_read_le32(raw + FADT_PM_TIMER);
    if (read_register(reader, table, FADT_X_PM_TIMER, &acpi->pm_timer))
        acpi->pm_timer.bits = bits;
    else if (port && port <= 0xfffc && raw[FADT_PM_TIMER_BYTES] == 4)
        acpi->pm_timer = (struct acpi_register){.address = port, .space = SPACE_IO, .bits = bits};
    else if (port)
        say_number(reader, "ACPI: FACP: left out: an odd PM timer at ", "", port);
    if (!(flags & FADT_HAS_RESET))
        return;
    struct acpi_register reset;
    if (read_register(reader, table, FADT_RESET, &reset) && reset.bits == 8 &&
        table_read(reader, table, FADT_RESET_VALUE, &acpi->reset_value, 1))
        acpi->reset = reset;
    else
        say(reader, "ACPI: FACP: ", "left out: an odd reset register");
}

/* --- From the RSDP to the tables -------------------------------------------------------------------------
 */

/* What a pointer of RSDT or XSDT leads to: kept if it is known here and holds. */
static void meet_table(struct reader *reader, uint64_t address)
{
    const struct {
        const char *signature;
        struct table *place;
        uint32_t least;
    } known[] = {{"APIC", &reader->madt, MADT_ENTRIES},
                 {"SRAT", &reader->srat, SRAT_ENTRIES},
                 {"SLIT", &reader->slit, SLIT_ENTRIES},
                 {"MCFG", &reader->mcfg, MCFG_ENTRIES},
                 {"FACP", &reader->fadt, FADT_BYTES_MIN}};
    struct table table;
    if (!address || !table_look(reader, address, &table)) {
        say_number(reader, "ACPI: left out: no table can be read at ", "", address);
        return;
    }
    for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (!table_is(&table, known[i].signature))
            continue;
        if (known[i].place->bytes)
            say_left_out(reader, table.signature, address, "a second one");
        else if (table_open(reader, &table, known[i].least))
            *known[i].place = table;
    }
}

/* False: the root table can't be used. */
static bool read_root(struct reader *reader, uint64_t address, const char *signature, uint32_t pointer_bytes)
{
    struct table root;
    if (!address || !table_look(reader, address, &root)) {
        say_number(reader, "ACPI: no table can be read at what should be that of an ", signature, address);
        return false;
    }
    if (!table_is(&root, signature)) {
        say_left_out(reader, root.signature, address, "an RSDT or XSDT should be here");
        return false;
    }
    if (!table_open(reader, &root, HEADER_BYTES))
        return false;
    uint32_t pointers = (root.bytes - HEADER_BYTES) / pointer_bytes;
    if ((root.bytes - HEADER_BYTES) % pointer_bytes)
        say(reader, "ACPI: left out: half a pointer at the end of ", signature);
    if (pointers > TABLES_MAX) {
        say_number(reader, "ACPI: only some of the tables are looked at; there are ", "", pointers);
        pointers = TABLES_MAX;
    }
    for (uint32_t i = 0; i < pointers; i++) {
        uint8_t raw[8] = {0};
        if (!table_read(reader, &root, HEADER_BYTES + i * pointer_bytes, raw, pointer_bytes))
            return true;
        meet_table(reader, pleat_read_le64(raw));
    }
    return true;
}

#define RSDP_BYTES_1 20u
#define RSDP_BYTES_2 36u

static void read_tables(struct reader *reader, uint64_t rsdp)
{
    const struct firmware *firmware = reader->report.firmware;
    static const char signature[8] = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '};
    uint8_t raw[RSDP_BYTES_2] = {0}, sum = 0;
    bool same = rsdp != 0 && firmware_read(firmware, rsdp, raw, RSDP_BYTES_1);
    for (unsigned i = 0; i < sizeof(signature); i++)
        same = same && raw[i] == (uint8_t)signature[i];
    if (!same) {
        say_number(reader, "ACPI: left out: there is no RSDP at ", "", rsdp);
        return;
    }
    if (!sum_bytes(reader, rsdp, RSDP_BYTES_1, &sum) || sum) {
        say_number(reader, "ACPI: left out: wrong checksum of the RSDP at ", "", rsdp);
        return;
    }
    occupy(reader, rsdp, RSDP_BYTES_1);
    if (raw[15] >= 2) {
        if (!firmware_read(firmware, rsdp, raw, RSDP_BYTES_2) || pleat_read_le32(raw + 20) < RSDP_BYTES_2 ||
            pleat_read_le32(raw + 20) > TABLE_BYTES_MAX ||
            !sum_bytes(reader, rsdp, pleat_read_le32(raw + 20), &sum) || sum)
            say_number(reader,
                       "ACPI: wrong length or checksum of the longer RSDP, so its XSDT isn't used, at ", "",
                       rsdp);
        else if (read_root(reader, pleat_read_le64(raw + 24), "XSDT", 8))
            return;
    }
    read_root(reader, pleat_read_le32(raw + 16), "RSDT", 4);
}

void acpi_read(const struct firmware *firmware, uint64_t rsdp, struct acpi *acpi)
{
    struct reader reader = {.report = {.firmware = firmware}, .acpi = acpi};
    *acpi = (struct acpi){.nodes = 0};
    read_tables(&reader, rsdp);
    /* In this order, because affinity is of CPUs that are there and distances are between nodes. */
    if (reader.madt.bytes)
        read_madt(&reader, &reader.madt);
    if (reader.srat.bytes)
        read_srat(&reader, &reader.srat);
    if (!acpi->nodes)
        acpi->nodes = 1;
    if (reader.slit.bytes)
        read_slit(&reader, &reader.slit);
    if (reader.mcfg.bytes)
        read_mcfg(&reader, &reader.mcfg);
    if (reader.fadt.bytes)
        read_fadt(&reader, &reader.fadt);
}

uint32_t acpi_isa_interrupt(const struct acpi *acpi, uint8_t source, bool *low, bool *level)
{
    for (unsigned i = 0; i < acpi->override_count; i++) {
        const struct acpi_override *override = &acpi->overrides[i];
        if (override->source != source)
            continue;
        *low = override->low;
        *level = override->level;
        return override->interrupt;
    }
    *low = *level = false;
    return source;
}
