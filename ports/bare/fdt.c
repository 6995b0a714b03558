/* SPDX-License-Identifier: MIT
 *
 * One walk over the tree. A node is judged at its end, when all of its properties have been seen; what it
 * said is remembered as places in the tree, and only what is needed is read.
 */
#include "fdt.h"

#define MAGIC          0xd00dfeedu
#define TREE_BYTES_MAX (2u << 20)
#define HEADER_BYTES   40u

#define BEGIN_NODE 1u
#define END_NODE   2u
#define PROPERTY   3u
#define NOP        4u
#define END        9u

#define DEPTH      16u
#define NAME_BYTES 24u

/* A property's value; bytes 0: it isn't there, or empty. */
struct value {
    uint64_t at;
    uint32_t bytes;
};

struct node {
    char name[NAME_BYTES];
    struct value device_type, compatible, reg, ranges, status, method, bootargs, bus_range, numa_node,
        timebase, domain;
    uint32_t address_cells, size_cells; /* of its children */
};

struct walk {
    struct firmware_report report;
    struct fdt *fdt;
    uint64_t address;
    uint32_t structure, structure_bytes, strings, strings_bytes;
    struct node nodes[DEPTH];
    unsigned depth;
    bool overflow; /* something reserved found no room */
};

static bool read(const struct walk *walk, uint64_t at, void *to, size_t bytes)
{
    return firmware_read(walk->report.firmware, at, to, bytes);
}

static bool read32(const struct walk *walk, uint64_t at, uint32_t *value)
{
    uint8_t b[4];
    if (!read(walk, at, b, sizeof(b)))
        return false;
    *value = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    return true;
}

static void say(struct walk *walk, const char *what)
{
    struct firmware_line line = firmware_line("device tree: ");
    firmware_line_text(&line, what);
    if (walk->depth) {
        firmware_line_text(&line, ": ");
        const char *name = walk->nodes[walk->depth - 1].name;
        size_t length = 0;
        while (name[length])
            length++;
        firmware_line_bytes(&line, name, length);
    }
    firmware_report(&walk->report, &line);
}

/* --- Values ----------------------------------------------------------------------------------------------
 */

/* The first cell, or `otherwise`. */
static uint32_t cell(const struct walk *walk, struct value value, uint32_t otherwise)
{
    uint32_t is;
    return value.bytes >= 4 && read32(walk, value.at, &is) ? is : otherwise;
}

/* A number of `cells` cells at byte `*offset`, which moves on; of more than two the upper ones must be 0. */
static bool number(const struct walk *walk, struct value value, uint32_t *offset, uint32_t cells,
                   uint64_t *is)
{
    *is = 0;
    if (cells > 4 || value.bytes < *offset || value.bytes - *offset < 4 * cells)
        return false;
    for (uint32_t i = 0; i < cells; i++, *offset += 4) {
        uint32_t part;
        if (*is >> 32 || !read32(walk, value.at + *offset, &part))
            return false;
        *is = *is << 32 | part;
    }
    return true;
}

/* Is `text` one of the strings of the value? */
static bool has(const struct walk *walk, struct value value, const char *text)
{
    bool same = true;
    uint32_t i = 0;
    for (uint32_t at = 0; at < value.bytes && at < 256; at++) {
        char c;
        if (!read(walk, value.at + at, &c, 1))
            return false;
        same = same && text[i] == c;
        if (same && !c)
            return true;
        i++;
        if (!c) {
            same = true;
            i = 0;
        }
    }
    return false;
}

static bool begins(const char *name, const char *with)
{
    while (*with && *name == *with) {
        name++;
        with++;
    }
    return !*with && (!*name || *name == '@');
}

/* --- Nodes -----------------------------------------------------------------------------------------------
 */

static const struct node *parent(const struct walk *walk)
{
    return &walk->nodes[walk->depth - 2];
}

/* The next address and size of a reg. */
static bool next_range(const struct walk *walk, const struct node *node, uint32_t *offset, uint64_t *start,
                       uint64_t *bytes)
{
    return number(walk, node->reg, offset, parent(walk)->address_cells, start) &&
           number(walk, node->reg, offset, parent(walk)->size_cells, bytes);
}

static void add_memory(struct walk *walk, uint64_t start, uint64_t bytes, uint32_t type)
{
    struct fdt *fdt = walk->fdt;
    if (bytes == 0)
        return;
    if (start + bytes - 1 < start) {
        say(walk, "a range that wraps is left out");
        return;
    }
    if (fdt->memory_count == FDT_MEMORY) {
        say(walk, "too many ranges of memory");
        walk->overflow = walk->overflow || type != BOOT_MEMORY_RAM;
        return;
    }
    fdt->memory[fdt->memory_count++] = (struct boot_memory){start, bytes, type};
}

static uint8_t node_of(struct walk *walk, const struct node *node)
{
    const uint32_t is = cell(walk, node->numa_node, 0);
    if (is >= PLATFORM_NODES) {
        say(walk, "a numa-node-id too high, taken for 0");
        return 0;
    }
    if (walk->fdt->nodes <= is)
        walk->fdt->nodes = is + 1;
    return (uint8_t)is;
}

static void end_memory(struct walk *walk, const struct node *node)
{
    struct fdt *fdt = walk->fdt;
    const uint8_t numa_node = node_of(walk, node);
    uint32_t offset = 0;
    uint64_t start, bytes;
    while (offset < node->reg.bytes && next_range(walk, node, &offset, &start, &bytes)) {
        if (bytes == 0)
            break;
        add_memory(walk, start, bytes, BOOT_MEMORY_RAM);
        if (fdt->affinity_count == sizeof(fdt->affinity) / sizeof(fdt->affinity[0]))
            say(walk, "too many ranges of nodes, one is taken for node 0");
        else
            fdt->affinity[fdt->affinity_count++] = (struct boot_affinity){start, bytes, numa_node, false};
    }
}

static void end_reserved(struct walk *walk, const struct node *node)
{
    uint32_t offset = 0;
    uint64_t start, bytes;
    while (offset < node->reg.bytes && next_range(walk, node, &offset, &start, &bytes) && bytes)
        add_memory(walk, start, bytes, BOOT_MEMORY_RESERVED);
}

static void end_cpu(struct walk *walk, const struct node *node)
{
    struct fdt *fdt = walk->fdt;
    uint32_t offset = 0;
    uint64_t id;
    if (has(walk, node->status, "disabled") || has(walk, node->status, "fail"))
        return;
    if (!number(walk, node->reg, &offset, parent(walk)->address_cells, &id)) {
        say(walk, "a CPU without a number is left out");
        return;
    }
    if (fdt->cpu_count == PLATFORM_CPUS) {
        say(walk, "too many CPUs, one is left out");
        return;
    }
    fdt->cpus[fdt->cpu_count++] = (struct fdt_cpu){id, node_of(walk, node)};
}

static void end_pci(struct walk *walk, const struct node *node)
{
    struct fdt_pci *pci = &walk->fdt->pci;
    uint32_t offset = 0;
    uint64_t start, bytes;
    if (pci->ecam_bytes || has(walk, node->status, "disabled"))
        return;
    if (!next_range(walk, node, &offset, &start, &bytes) || bytes == 0 || start + bytes - 1 < start) {
        say(walk, "a PCI host without configuration space is left out");
        return;
    }
    uint32_t first = 0, last = 255;
    if (node->bus_range.bytes >= 8) {
        first = cell(walk, node->bus_range, 0);
        last = cell(walk, (struct value){node->bus_range.at + 4, 4}, 0);
    }
    /* A bus has 1 MiB. */
    if (first > last || last > 255 || bytes >> 20 == 0) {
        say(walk, "a PCI host whose buses make no sense is left out");
        return;
    }
    if (last - first >= bytes >> 20)
        last = first + (uint32_t)(bytes >> 20) - 1;
    pci->ecam = start;
    pci->ecam_bytes = bytes;
    pci->segment = (uint16_t)cell(walk, node->domain, 0);
    pci->first_bus = (uint8_t)first;
    pci->last_bus = (uint8_t)last;
    if (node->address_cells != 3 || node->size_cells != 2)
        return;
    offset = 0;
    while (offset < node->ranges.bytes && pci->window_count < FDT_WINDOWS) {
        uint64_t kind;
        struct fdt_window window;
        if (!number(walk, node->ranges, &offset, 1, &kind) ||
            !number(walk, node->ranges, &offset, 2, &window.bus) ||
            !number(walk, node->ranges, &offset, parent(walk)->address_cells, &window.address) ||
            !number(walk, node->ranges, &offset, 2, &window.bytes))
            break;
        const unsigned space = kind >> 24 & 3;
        if (space < 2)
            continue;
        window.wide = space == 3;
        window.prefetchable = kind >> 30 & 1;
        const uint64_t last_byte = window.bytes - 1;
        if (window.bytes == 0 || window.bus + last_byte < window.bus ||
            window.address + last_byte < window.address ||
            (!window.wide && window.bus + last_byte > UINT32_MAX)) {
            say(walk, "a window that makes no sense is left out");
            continue;
        }
        pci->windows[pci->window_count++] = window;
    }
}

static void end_chosen(struct walk *walk, const struct node *node)
{
    struct fdt *fdt = walk->fdt;
    uint32_t bytes = node->bootargs.bytes;
    if (bytes > sizeof(fdt->command_line)) {
        say(walk, "the command line is cut");
        bytes = sizeof(fdt->command_line);
    }
    if (!bytes || !read(walk, node->bootargs.at, fdt->command_line, bytes))
        bytes = 1;
    fdt->command_line[bytes - 1] = '\0';
}

/* The address of its registers, once; busses between it and the root are taken to be transparent. */
static void end_registers(struct walk *walk, const struct node *node, const char *compatible, uint64_t *to)
{
    uint32_t offset = 0;
    uint64_t start, bytes;
    if (!*to && has(walk, node->compatible, compatible) && !has(walk, node->status, "disabled") &&
        next_range(walk, node, &offset, &start, &bytes))
        *to = start;
}

static void end_node(struct walk *walk)
{
    struct fdt *fdt = walk->fdt;
    const struct node *node = &walk->nodes[walk->depth - 1];
    if (walk->depth < 2)
        return;
    if (walk->depth == 2 && has(walk, node->device_type, "memory"))
        end_memory(walk, node);
    else if (walk->depth == 2 && begins(node->name, "chosen"))
        end_chosen(walk, node);
    else if (walk->depth == 2 && begins(node->name, "cpus"))
        fdt->timebase_hz = cell(walk, node->timebase, 0);
    else if (walk->depth == 3 && begins(parent(walk)->name, "cpus") && has(walk, node->device_type, "cpu"))
        end_cpu(walk, node);
    else if (walk->depth == 3 && begins(parent(walk)->name, "reserved-memory"))
        end_reserved(walk, node);
    else if (has(walk, node->compatible, "pci-host-ecam-generic"))
        end_pci(walk, node);
    else if (walk->depth == 2 && begins(node->name, "psci"))
        fdt->psci = has(walk, node->method, "hvc")   ? FDT_PSCI_HVC
                    : has(walk, node->method, "smc") ? FDT_PSCI_SMC
                                                     : FDT_PSCI_NONE;
    end_registers(walk, node, "arm,pl011", &fdt->pl011);
    end_registers(walk, node, "ns16550a", &fdt->ns16550);
    end_registers(walk, node, "sifive,test0", &fdt->reset);
}

/* Remembers a property that somebody may ask for. */
static void take_property(struct walk *walk, const char *name, struct value value)
{
    struct node *node = &walk->nodes[walk->depth - 1];
    const struct {
        const char *name;
        struct value *to;
    } known[] = {
        {"device_type", &node->device_type},
        {"compatible", &node->compatible},
        {"reg", &node->reg},
        {"ranges", &node->ranges},
        {"status", &node->status},
        {"method", &node->method},
        {"bootargs", &node->bootargs},
        {"bus-range", &node->bus_range},
        {"numa-node-id", &node->numa_node},
        {"timebase-frequency", &node->timebase},
        {"linux,pci-domain", &node->domain},
    };
    if (begins(name, "#address-cells"))
        node->address_cells = cell(walk, value, 2);
    if (begins(name, "#size-cells"))
        node->size_cells = cell(walk, value, 1);
    for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (begins(name, known[i].name))
            *known[i].to = value;
    }
}

/* --- The walk --------------------------------------------------------------------------------------------
 */

/* Copies a string that ends before `end`; what is too long is cut. *bytes counts the NUL. */
static bool read_string(const struct walk *walk, uint64_t at, uint64_t end, char *to, size_t to_bytes,
                        uint32_t *bytes)
{
    for (*bytes = 0; at + *bytes < end;) {
        char c;
        if (!read(walk, at + *bytes, &c, 1))
            return false;
        to[*bytes < to_bytes ? *bytes : to_bytes - 1] = c;
        ++*bytes;
        if (!c)
            return true;
        to[to_bytes - 1] = '\0';
    }
    return false;
}

static bool walk_tree(struct walk *walk)
{
    uint64_t at = walk->address + walk->structure;
    const uint64_t end = at + walk->structure_bytes;
    const uint64_t strings = walk->address + walk->strings;
    while (at < end) {
        uint32_t token, bytes, name_offset;
        if (!read32(walk, at, &token))
            return false;
        at += 4;
        if (token == BEGIN_NODE) {
            if (walk->depth == DEPTH)
                return false;
            struct node *node = &walk->nodes[walk->depth];
            *node = (struct node){.address_cells = 2, .size_cells = 1};
            if (!read_string(walk, at, end, node->name, sizeof(node->name), &bytes))
                return false;
            walk->depth++;
            at += (bytes + 3u) & ~3u;
        } else if (token == END_NODE) {
            if (walk->depth == 0)
                return false;
            end_node(walk);
            walk->depth--;
        } else if (token == PROPERTY) {
            char name[NAME_BYTES];
            if (walk->depth == 0 || !read32(walk, at, &bytes) || !read32(walk, at + 4, &name_offset))
                return false;
            at += 8;
            if (at > end || bytes > end - at || name_offset >= walk->strings_bytes)
                return false;
            uint32_t ignored;
            if (!read_string(walk, strings + name_offset, strings + walk->strings_bytes, name, sizeof(name),
                             &ignored))
                return false;
            take_property(walk, name, (struct value){at, bytes});
            at += ((uint64_t)bytes + 3) & ~UINT64_C(3);
        } else if (token == END) {
            return walk->depth == 0;
        } else if (token != NOP) {
            return false;
        }
    }
    return false;
}

/* The list of what is reserved, before the structure; it ends with a pair of zeroes. */
static void read_reservations(struct walk *walk, uint32_t from, uint32_t end)
{
    for (uint64_t at = from; at + 16 <= end; at += 16) {
        const struct value pair = {walk->address + at, 16};
        uint32_t offset = 0;
        uint64_t start, bytes;
        if (!number(walk, pair, &offset, 2, &start) || !number(walk, pair, &offset, 2, &bytes) ||
            (!start && !bytes))
            return;
        add_memory(walk, start, bytes, BOOT_MEMORY_RESERVED);
    }
}

bool fdt_read(const struct firmware *firmware, uint64_t address, struct fdt *fdt)
{
    struct walk walk = {.report = {.firmware = firmware}, .fdt = fdt, .address = address};
    uint32_t header[HEADER_BYTES / 4];
    *fdt = (struct fdt){.nodes = 1};
    if (address + TREE_BYTES_MAX < address)
        return false;
    for (unsigned i = 0; i < HEADER_BYTES / 4; i++) {
        if (!read32(&walk, address + 4 * i, &header[i]))
            return false;
        if (i == 0 && header[0] != MAGIC)
            return false;
    }
    const uint32_t bytes = header[1], reservations = header[4], version = header[5], compatible = header[6];
    walk.structure = header[2];
    walk.strings = header[3];
    walk.strings_bytes = header[8];
    walk.structure_bytes = header[9];
    if (version < 17 || compatible > 17 || bytes < HEADER_BYTES || bytes > TREE_BYTES_MAX ||
        walk.structure > bytes || walk.structure_bytes > bytes - walk.structure || walk.structure % 4 ||
        walk.strings > bytes || walk.strings_bytes > bytes - walk.strings || reservations > bytes) {
        say(&walk, "its header makes no sense");
        return false;
    }
    fdt->bytes = bytes;
    add_memory(&walk, address, bytes, BOOT_MEMORY_RESERVED);
    read_reservations(&walk, reservations, bytes);
    const bool whole = walk_tree(&walk);
    if (!whole)
        say(&walk, "it is cut off or damaged");
    /* Memory of which it isn't known what is reserved is none. */
    if (walk.overflow)
        fdt->memory_count = 0;
    return whole;
}
