/* SPDX-License-Identifier: MIT
 *
 * The command line of a machine. A table names every option with how it is read; options that belong
 * together (-numa needs CPUs and objects, -device needs objects and nodes) are kept as text on the first pass
 * and read when what they need is there.
 */
#include "machine/config.h"

#include <inttypes.h>
#include <string.h>

#include "machine/config_topology.h"
#include "machine/fault.h"
#include "machine/layout.h"
#include "machine/options.h"
#include "machine/synthetic.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define DEFAULT_RAM_BYTES   (128 * PLEAT_MIB)
#define MIN_BLOCK_BYTES     PLEAT_MIB
#define DEFAULT_BLOCK_BYTES (2 * PLEAT_MIB)
#define FRAME_BYTES         UINT64_C(4096)
#define NUMA_OPTIONS_MAX    (PLEAT_MACHINE_NODES_MAX * PLEAT_MACHINE_NODES_MAX + PLEAT_MACHINE_CPUS_MAX)

/* What one parse keeps besides the config. */
struct parse {
    struct pleat_machine_config *config;
    const char *memory, *smp, *workload;
    uint64_t given; /* a bit for each row of the table */
    const char *numa[NUMA_OPTIONS_MAX];
    unsigned numa_count;
    const char *object[PLEAT_MACHINE_BACKENDS_MAX];
    unsigned object_count;
    const char *device[PLEAT_MACHINE_DEVICES_MAX];
    unsigned device_count;
    bool serial_stdio, monitor_given;
};

/* Copies TEXT into a field; what is too long for it is refused. */
static int copy_text(char *field, size_t bytes, const char *name, const char *text,
                     struct pleat_message *message)
{
    if (strlen(text) >= bytes)
        return pleat_message_set(message, PLEAT_E_INVALID, "%s: expected at most %zu bytes, found %zu", name,
                                 bytes - 1, strlen(text));
    memcpy(field, text, strlen(text) + 1);
    return PLEAT_OK;
}

bool pleat_machine_id_is_valid(const char *id)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char others[] = "0123456789-._";

    if (!*id || !strchr(letters, *id))
        return false;
    for (; *id; id++)
        if (!strchr(letters, *id) && !strchr(others, *id))
            return false;
    return true;
}

static int copy_id(char field[PLEAT_MACHINE_ID_BYTES], const char *name, const char *id,
                   struct pleat_message *message)
{
    char quoted[PLEAT_QUOTE_BYTES];

    if (!pleat_machine_id_is_valid(id))
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "%s: Parameter 'id' expects an identifier: letters, digits, '-', '.', '_', "
                                 "starting with a letter, found %s",
                                 name, pleat_quote(quoted, id));
    return copy_text(field, PLEAT_MACHINE_ID_BYTES, name, id, message);
}

/* ---- -m ---- */

static const struct pleat_option_key memory_keys[] = {
    {.name = "size", .type = PLEAT_OPTION_SIZE, .multiple_of = FRAME_BYTES, .default_unit_bytes = 1 << 20},
    {.name = "maxmem", .type = PLEAT_OPTION_SIZE, .multiple_of = FRAME_BYTES},
    {.name = "slots", .type = PLEAT_OPTION_NUMBER, .maximum = 256},
};

static int read_memory(struct pleat_machine_config *config, const char *text, struct pleat_message *message)
{
    struct pleat_options options;
    struct pleat_layout layout;
    int error = pleat_options_parse(&options, "-m", text, "size", message);

    if (!error)
        error = pleat_options_check(&options, memory_keys, COUNT(memory_keys), message);
    if (!error) {
        config->ram_bytes = pleat_options_number(&options, "size", DEFAULT_RAM_BYTES);
        config->maximum_bytes = pleat_options_number(&options, "maxmem", config->ram_bytes);
        config->slots = (unsigned)pleat_options_number(&options, "slots", 0);
        if (config->slots && !pleat_options_find(&options, "maxmem"))
            error = pleat_message_set(message, PLEAT_E_INVALID,
                                      "-m: invalid -m option value: missing 'maxmem' option");
    }
    pleat_options_free(&options);
    if (error)
        return error;
    return pleat_layout_make(config->type, config->ram_bytes, config->maximum_bytes, config->slots, &layout,
                             message);
}

/* ---- -accel, -M ---- */

/* How the guest's CPUs would run says nothing here, but a name that is none is a mistake. */
static int check_accelerator(const char *option, const char *name, size_t length,
                             struct pleat_message *message)
{
    static const char *const known[] = {"tcg", "kvm", "hvf", "hax", "nvmm", "whpx", "qtest", "xen"};
    char quoted[PLEAT_QUOTE_BYTES];

    for (size_t i = 0; i < COUNT(known); i++)
        if (strlen(known[i]) == length && !strncmp(name, known[i], length))
            return PLEAT_OK;
    return pleat_message_set(
        message, PLEAT_E_INVALID,
        "%s: invalid accelerator %s, expected tcg, kvm, hvf, hax, nvmm, whpx, qtest or xen", option,
        pleat_quote(quoted, name));
}

/* Of several, separated by colons, QEMU takes the first that works. */
static int check_accelerators(const char *option, const char *names, struct pleat_message *message)
{
    int error;

    for (;;) {
        const size_t length = strcspn(names, ":");
        error = check_accelerator(option, names, length, message);
        if (error || !names[length])
            return error;
        names += length + 1;
    }
}

static int read_accelerator(struct parse *parse, const char *text, struct pleat_message *message)
{
    static const struct pleat_option_key keys[] = {
        {.name = "accel", .type = PLEAT_OPTION_STRING, .flags = PLEAT_OPTION_REQUIRED},
        {.name = "thread", .type = PLEAT_OPTION_STRING},
        {.name = "tb-size", .type = PLEAT_OPTION_STRING},
        {.name = "one-insn-per-tb", .type = PLEAT_OPTION_ON_OFF},
        {.name = "split-wx", .type = PLEAT_OPTION_ON_OFF},
        {.name = "kernel-irqchip", .type = PLEAT_OPTION_STRING},
        {.name = "kvm-shadow-mem", .type = PLEAT_OPTION_STRING},
        {.name = "dirty-ring-size", .type = PLEAT_OPTION_STRING},
        {.name = "notify-vmexit", .type = PLEAT_OPTION_STRING},
        {.name = "notify-window", .type = PLEAT_OPTION_STRING},
    };
    struct pleat_options options;
    int error = pleat_options_parse(&options, "-accel", text, "accel", message);

    (void)parse;
    if (!error)
        error = pleat_options_check(&options, keys, COUNT(keys), message);
    if (!error) {
        const char *name = pleat_options_text(&options, "accel", "");
        error = check_accelerator("-accel", name, strlen(name), message);
    }
    pleat_options_free(&options);
    return error;
}

static int read_machine(struct parse *parse, const char *text, struct pleat_message *message)
{
    /* What may follow the type: of these, only the backend of boot memory says something that matters, and
     * how much of it a guest on Xen has at first. */
    static const struct pleat_option_key keys[] = {
        {.name = "type", .type = PLEAT_OPTION_STRING},
        {.name = "accel", .type = PLEAT_OPTION_STRING},
        {.name = "memory-backend", .type = PLEAT_OPTION_STRING},
        {.name = "memory", .type = PLEAT_OPTION_SIZE, .minimum = FRAME_BYTES, .multiple_of = FRAME_BYTES},
        {.name = "usb", .type = PLEAT_OPTION_ON_OFF},
        {.name = "vmport", .type = PLEAT_OPTION_STRING},
        {.name = "smm", .type = PLEAT_OPTION_STRING},
        {.name = "hpet", .type = PLEAT_OPTION_ON_OFF},
        {.name = "acpi", .type = PLEAT_OPTION_ON_OFF},
        {.name = "hmat", .type = PLEAT_OPTION_ON_OFF},
        {.name = "dump-guest-core", .type = PLEAT_OPTION_ON_OFF},
        {.name = "mem-merge", .type = PLEAT_OPTION_ON_OFF},
        {.name = "kernel_irqchip", .type = PLEAT_OPTION_STRING},
        {.name = "kernel-irqchip", .type = PLEAT_OPTION_STRING},
        {.name = "graphics", .type = PLEAT_OPTION_ON_OFF},
    };
    struct pleat_options options;
    int error = pleat_options_parse(&options, "-machine", text, "type", message);

    if (!error)
        error = pleat_options_check(&options, keys, COUNT(keys), message);
    if (!error) {
        const char *type = pleat_options_text(&options, "type", "pc");
        if (!strcmp(type, "q35") || !strncmp(type, "pc-q35", 6))
            parse->config->type = PLEAT_MACHINE_Q35;
        else if (!strcmp(type, "pc") || !strncmp(type, "pc-i440fx", 9))
            parse->config->type = PLEAT_MACHINE_PC;
        else if (!strcmp(type, "xenpvh"))
            parse->config->type = PLEAT_MACHINE_XENPVH;
        else {
            char quoted[PLEAT_QUOTE_BYTES];
            error = pleat_message_set(
                message, PLEAT_E_INVALID,
                "-machine: unsupported machine type %s, expected pc, q35, pc-i440fx-VERSION, "
                "pc-q35-VERSION or xenpvh",
                pleat_quote(quoted, type));
        }
    }
    if (!error && pleat_options_find(&options, "memory") && parse->config->type != PLEAT_MACHINE_XENPVH)
        error =
            pleat_message_set(message, PLEAT_E_INVALID,
                              "-machine: memory: only a guest on Xen has memory on demand, expected xenpvh");
    parse->config->xen_memory_bytes = pleat_options_number(&options, "memory", 0);
    if (!error)
        error = check_accelerators("-machine", pleat_options_text(&options, "accel", "tcg"), message);
    if (!error)
        error =
            copy_text(parse->config->ram_memdev, sizeof parse->config->ram_memdev, "-machine: memory-backend",
                      pleat_options_text(&options, "memory-backend", ""), message);
    pleat_options_free(&options);
    return error;
}

/* ---- -object ---- */

static const struct pleat_option_key backend_keys[] = {
    {.name = "qom-type", .type = PLEAT_OPTION_STRING},
    {.name = "id", .type = PLEAT_OPTION_STRING, .flags = PLEAT_OPTION_REQUIRED},
    {.name = "size",
     .type = PLEAT_OPTION_SIZE,
     .flags = PLEAT_OPTION_REQUIRED,
     .minimum = FRAME_BYTES,
     .maximum = PLEAT_MACHINE_MEMORY_BYTES_MAX,
     .multiple_of = FRAME_BYTES},
    {.name = "share", .type = PLEAT_OPTION_ON_OFF},
    {.name = "prealloc", .type = PLEAT_OPTION_ON_OFF},
    {.name = "prealloc-threads", .type = PLEAT_OPTION_NUMBER, .minimum = 1},
    {.name = "reserve", .type = PLEAT_OPTION_ON_OFF},
    {.name = "merge", .type = PLEAT_OPTION_ON_OFF},
    {.name = "dump", .type = PLEAT_OPTION_ON_OFF},
    {.name = "host-nodes", .type = PLEAT_OPTION_RANGE, .flags = PLEAT_OPTION_REPEATS, .maximum = 63},
    {.name = "policy", .type = PLEAT_OPTION_CHOICE, .choices = "default|preferred|bind|interleave"},
    /* memory-backend-memfd */
    {.name = "hugetlb", .type = PLEAT_OPTION_ON_OFF},
    {.name = "hugetlbsize", .type = PLEAT_OPTION_SIZE},
    {.name = "seal", .type = PLEAT_OPTION_ON_OFF},
    /* memory-backend-file */
    {.name = "mem-path", .type = PLEAT_OPTION_STRING},
    {.name = "align", .type = PLEAT_OPTION_SIZE},
    {.name = "discard-data", .type = PLEAT_OPTION_ON_OFF},
    {.name = "readonly", .type = PLEAT_OPTION_CHOICE, .choices = "off"},
    {.name = "pmem", .type = PLEAT_OPTION_CHOICE, .choices = "off"},
};
enum { BACKEND_COMMON = 11, BACKEND_MEMFD = 3, BACKEND_FILE = 5 };

static bool is_power_of_two(uint64_t value)
{
    return value && !(value & (value - 1));
}

static int read_backend(const struct pleat_options *options, struct pleat_backend_config *backend,
                        struct pleat_message *message)
{
    const bool shared_by_default = backend->kind == PLEAT_BACKEND_MEMFD;
    int error = copy_id(backend->id, "-object", pleat_options_text(options, "id", ""), message);

    if (!error)
        error = copy_text(backend->mem_path, sizeof backend->mem_path, "-object: mem-path",
                          pleat_options_text(options, "mem-path", ""), message);
    if (error)
        return error;
    backend->size_bytes = pleat_options_number(options, "size", 0);
    backend->share = pleat_options_on(options, "share", shared_by_default);
    backend->prealloc = pleat_options_on(options, "prealloc", false);
    backend->reserve = pleat_options_on(options, "reserve", true);
    backend->merge = pleat_options_on(options, "merge", true);
    backend->dump = pleat_options_on(options, "dump", true);
    backend->hugetlb = pleat_options_on(options, "hugetlb", false);
    backend->hugetlb_size_bytes = pleat_options_number(options, "hugetlbsize", 0);
    backend->align_bytes = pleat_options_number(options, "align", 0);
    backend->discard_data = pleat_options_on(options, "discard-data", false);
    backend->policy = (enum pleat_host_policy)pleat_options_number(options, "policy", 0);
    for (const struct pleat_option *nodes = pleat_options_find(options, "host-nodes"); nodes;
         nodes = pleat_options_next(options, "host-nodes", nodes))
        for (uint64_t node = nodes->number; node <= nodes->last; node++)
            backend->host_nodes |= UINT64_C(1) << node;

    if (backend->host_nodes && backend->policy == PLEAT_HOST_POLICY_DEFAULT)
        return pleat_message_set(
            message, PLEAT_E_INVALID,
            "-object: host-nodes must be empty for policy default, or you should explicitly "
            "specify a policy other than default");
    if (!backend->host_nodes && backend->policy != PLEAT_HOST_POLICY_DEFAULT)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "-object: host-nodes must be set for a policy other than default");
    if (backend->hugetlb_size_bytes && !backend->hugetlb)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "-object: hugetlbsize: expected hugetlb=on beside it");
    if (backend->hugetlb_size_bytes && !is_power_of_two(backend->hugetlb_size_bytes))
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "-object: hugetlbsize: expected a power of two, found 0x%" PRIx64,
                                 backend->hugetlb_size_bytes);
    if (backend->size_bytes % pleat_backend_page_bytes(backend))
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "-object: size: expected a multiple of the page size 0x%" PRIx64
                                 ", found 0x%" PRIx64,
                                 pleat_backend_page_bytes(backend), backend->size_bytes);
    return PLEAT_OK;
}

int pleat_backend_config_parse(const char *text, struct pleat_backend_config *backend,
                               struct pleat_message *message)
{
    static const char *const types[] = {"memory-backend-ram", "memory-backend-memfd", "memory-backend-file"};
    struct pleat_option_key keys[COUNT(backend_keys)];
    struct pleat_options options;
    unsigned count = BACKEND_COMMON, kind = 0;

    memset(backend, 0, sizeof *backend);
    int error = pleat_options_parse(&options, "-object", text, "qom-type", message);
    if (error)
        return error;
    const char *type = pleat_options_text(&options, "qom-type", "");
    while (kind < COUNT(types) && strcmp(type, types[kind]))
        kind++;
    memcpy(keys, backend_keys, BACKEND_COMMON * sizeof keys[0]);
    if (kind == PLEAT_BACKEND_MEMFD) {
        memcpy(keys + count, backend_keys + BACKEND_COMMON, BACKEND_MEMFD * sizeof keys[0]);
        count += BACKEND_MEMFD;
    } else if (kind == PLEAT_BACKEND_FILE) {
        memcpy(keys + count, backend_keys + BACKEND_COMMON + BACKEND_MEMFD, BACKEND_FILE * sizeof keys[0]);
        keys[count].flags = PLEAT_OPTION_REQUIRED; /* mem-path */
        count += BACKEND_FILE;
    }
    if (kind == COUNT(types)) {
        char quoted[PLEAT_QUOTE_BYTES];
        error = pleat_message_set(message, PLEAT_E_INVALID,
                                  "-object: Parameter 'qom-type' does not accept value %s, expected "
                                  "memory-backend-ram, memory-backend-memfd or memory-backend-file",
                                  pleat_quote(quoted, type));
    } else {
        backend->kind = (enum pleat_backend_kind)kind;
        error = pleat_options_check(&options, keys, count, message);
        if (!error)
            error = read_backend(&options, backend, message);
    }
    pleat_options_free(&options);
    return error;
}

uint64_t pleat_backend_page_bytes(const struct pleat_backend_config *backend)
{
    if (!backend->hugetlb)
        return FRAME_BYTES;
    return backend->hugetlb_size_bytes ? backend->hugetlb_size_bytes : DEFAULT_BLOCK_BYTES;
}

const struct pleat_backend_config *pleat_machine_config_backend(const struct pleat_machine_config *config,
                                                                const char *id)
{
    for (unsigned i = 0; i < config->backend_count; i++)
        if (!strcmp(config->backend[i].id, id))
            return &config->backend[i];
    return NULL;
}

static int read_objects(struct parse *parse, struct pleat_message *message)
{
    struct pleat_machine_config *config = parse->config;

    for (unsigned i = 0; i < parse->object_count; i++) {
        struct pleat_backend_config *backend = &config->backend[config->backend_count];
        int error = pleat_backend_config_parse(parse->object[i], backend, message);
        if (error)
            return error;
        if (pleat_machine_config_backend(config, backend->id))
            return pleat_message_set(
                message, PLEAT_E_INVALID,
                "-object: attempt to add duplicate property '%s' to object (type 'container')", backend->id);
        config->backend_count++;
    }
    if (config->ram_memdev[0]) {
        const struct pleat_backend_config *backend = pleat_machine_config_backend(config, config->ram_memdev);
        if (!backend)
            return pleat_message_set(message, PLEAT_E_INVALID,
                                     "-machine: memory-backend: Memory backend '%s' not found",
                                     config->ram_memdev);
        if (backend->size_bytes != config->ram_bytes)
            return pleat_message_set(
                message, PLEAT_E_INVALID,
                "-machine: Machine memory size does not match the size of the memory backend: "
                "expected 0x%" PRIx64 ", found 0x%" PRIx64,
                config->ram_bytes, backend->size_bytes);
    }
    return PLEAT_OK;
}

/* ---- -device ---- */

static const struct pleat_option_key device_keys[] = {
    {.name = "driver", .type = PLEAT_OPTION_STRING},
    {.name = "id", .type = PLEAT_OPTION_STRING},
    {.name = "memdev", .type = PLEAT_OPTION_STRING},
    {.name = "node", .type = PLEAT_OPTION_NUMBER, .maximum = UINT32_MAX},
    {.name = "requested-size", .type = PLEAT_OPTION_SIZE},
    {.name = "block-size", .type = PLEAT_OPTION_SIZE},
    {.name = "memaddr", .type = PLEAT_OPTION_NUMBER},
    {.name = "prealloc", .type = PLEAT_OPTION_ON_OFF},
    {.name = "unplugged-inaccessible", .type = PLEAT_OPTION_CHOICE, .choices = "auto|on|off"},
    {.name = "dynamic-memslots", .type = PLEAT_OPTION_CHOICE, .choices = "off"},
    {.name = "fault", .type = PLEAT_OPTION_STRING},
    /* Where on a bus it sits says nothing here. */
    {.name = "bus", .type = PLEAT_OPTION_STRING},
    {.name = "addr", .type = PLEAT_OPTION_STRING},
    {.name = "multifunction", .type = PLEAT_OPTION_ON_OFF},
};

static int read_device(const struct pleat_options *options, struct pleat_device_config *device,
                       struct pleat_message *message)
{
    const char *id = pleat_options_text(options, "id", NULL);
    int error = id ? copy_id(device->id, "-device", id, message) : PLEAT_OK;

    if (!error)
        error = copy_text(device->memdev, sizeof device->memdev, "-device: memdev",
                          pleat_options_text(options, "memdev", ""), message);
    if (error)
        return error;
    const char *fault = pleat_options_text(options, "fault", NULL);
    if (fault) {
        struct pleat_fault parsed;
        error = pleat_fault_parse(fault, &parsed, message);
        if (!error && !pleat_fault_is_of_a_device(parsed.place))
            error = pleat_message_set(message, PLEAT_E_INVALID,
                                      "-device: fault: expected a fault of a device, found '%s'; see -fault",
                                      pleat_fault_name(parsed.place));
        if (error)
            return error;
        memcpy(device->fault, parsed.text, sizeof device->fault);
    }
    device->node = (unsigned)pleat_options_number(options, "node", 0);
    device->requested_bytes = pleat_options_number(options, "requested-size", 0);
    device->block_bytes = pleat_options_number(options, "block-size", 0);
    device->memaddr = pleat_options_number(options, "memaddr", 0);
    device->prealloc = pleat_options_on(options, "prealloc", false);
    device->unplugged_inaccessible =
        (enum pleat_on_off_auto)pleat_options_number(options, "unplugged-inaccessible", PLEAT_AUTO);
    if (pleat_options_find(options, "block-size")) {
        if (device->block_bytes < MIN_BLOCK_BYTES)
            return pleat_message_set(message, PLEAT_E_INVALID,
                                     "-device: 'block-size' property has to be at least 0x%" PRIx64,
                                     MIN_BLOCK_BYTES);
        if (!is_power_of_two(device->block_bytes))
            return pleat_message_set(message, PLEAT_E_INVALID,
                                     "-device: 'block-size' property has to be a power of two");
    }
    return PLEAT_OK;
}

int pleat_device_config_parse(const char *text, struct pleat_device_config *device,
                              struct pleat_message *message)
{
    struct pleat_options options;

    memset(device, 0, sizeof *device);
    int error = pleat_options_parse(&options, "-device", text, "driver", message);
    if (error)
        return error;
    const char *driver = pleat_options_text(&options, "driver", "");
    if (strcmp(driver, "virtio-mem-pci") && strcmp(driver, "virtio-mem-pci-non-transitional")) {
        char quoted[PLEAT_QUOTE_BYTES];
        error = pleat_message_set(message, PLEAT_E_INVALID,
                                  "-device: %s is not a valid device model name, expected virtio-mem-pci",
                                  pleat_quote(quoted, driver));
    } else {
        error = pleat_options_check(&options, device_keys, COUNT(device_keys), message);
        if (!error)
            error = read_device(&options, device, message);
    }
    pleat_options_free(&options);
    return error;
}

int pleat_device_config_check(struct pleat_device_config *device, const struct pleat_backend_config *backend,
                              bool backend_in_use, const struct pleat_machine_config *config,
                              struct pleat_message *message)
{
    const unsigned nodes = config->numa_given ? config->nodes : 0;

    if (!device->memdev[0])
        return pleat_message_set(message, PLEAT_E_INVALID, "'memdev' property must be set");
    if (!backend)
        return pleat_message_set(message, PLEAT_E_NOT_FOUND, "Device '%s' not found", device->memdev);
    if (backend_in_use)
        return pleat_message_set(message, PLEAT_E_INVALID, "'memdev' property specifies a busy memdev: %s",
                                 backend->id);
    if (backend->prealloc)
        return pleat_message_set(
            message, PLEAT_E_INVALID,
            "'memdev' property specifies a memdev with preallocation enabled: %s. Instead, "
            "specify 'prealloc=on' for the virtio-mem device. ",
            backend->id);
    if ((nodes && device->node >= nodes) || (!nodes && device->node))
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "'node' property has value '%u', which exceeds the number of numa nodes: %u",
                                 device->node, nodes ? nodes : 1);

    const uint64_t page = pleat_backend_page_bytes(backend);
    const uint64_t block = device->block_bytes          ? device->block_bytes
                           : page > DEFAULT_BLOCK_BYTES ? page
                                                        : DEFAULT_BLOCK_BYTES;
    if (block < page)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "'block-size' property has to be at least the page size (0x%" PRIx64 ")",
                                 page);
    if (device->requested_bytes % block)
        return pleat_message_set(
            message, PLEAT_E_INVALID,
            "'requested-size' property has to be multiples of 'block-size' (0x%" PRIx64 ")", block);
    if (device->memaddr % block)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "'memaddr' property has to be multiples of 'block-size' (0x%" PRIx64 ")",
                                 block);
    if (backend->size_bytes % block)
        return pleat_message_set(
            message, PLEAT_E_INVALID,
            "'memdev' property memdev size has to be multiples of 'block-size' (0x%" PRIx64 ")", block);
    if (device->requested_bytes > backend->size_bytes)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "'requested-size' cannot exceed the memory backend size(0x%" PRIx64 ")",
                                 backend->size_bytes);
    device->block_bytes = block;
    return PLEAT_OK;
}

/* Is the backend taken by a node, the machine's RAM or a device before number `devices`? */
static bool backend_in_use(const struct pleat_machine_config *config, const char *id, unsigned devices)
{
    if (!strcmp(config->ram_memdev, id))
        return true;
    for (unsigned node = 0; node < config->nodes; node++)
        if (!strcmp(config->node[node].memdev, id))
            return true;
    for (unsigned i = 0; i < devices; i++)
        if (!strcmp(config->device[i].memdev, id))
            return true;
    return false;
}

/* A device that says nothing here: by it a guest of QEMU ends with an exit code. */
static const char exit_device[] = "isa-debug-exit";

static bool is_exit_device(const char *text)
{
    const size_t length = strcspn(text, ",");

    return length == sizeof exit_device - 1 && !strncmp(text, exit_device, length);
}

static int read_exit_device(const char *text, struct pleat_message *message)
{
    static const struct pleat_option_key keys[] = {
        {.name = "driver", .type = PLEAT_OPTION_STRING},
        {.name = "id", .type = PLEAT_OPTION_STRING},
        {.name = "iobase", .type = PLEAT_OPTION_NUMBER, .maximum = UINT16_MAX},
        {.name = "iosize", .type = PLEAT_OPTION_NUMBER, .maximum = UINT16_MAX},
    };
    struct pleat_options options;
    int error = pleat_options_parse(&options, "-device", text, "driver", message);

    if (!error)
        error = pleat_options_check(&options, keys, COUNT(keys), message);
    pleat_options_free(&options);
    return error;
}

static int read_devices(struct parse *parse, struct pleat_message *message)
{
    struct pleat_machine_config *config = parse->config;

    for (unsigned i = 0; i < parse->device_count; i++) {
        struct pleat_device_config *device = &config->device[i];
        int error = pleat_device_config_parse(parse->device[i], device, message);
        if (error)
            return error;
        for (unsigned other = 0; other < i; other++)
            if (device->id[0] && !strcmp(device->id, config->device[other].id))
                return pleat_message_set(message, PLEAT_E_INVALID, "-device: Duplicate device ID '%s'",
                                         device->id);
        error = pleat_device_config_check(device, pleat_machine_config_backend(config, device->memdev),
                                          backend_in_use(config, device->memdev, i), config, message);
        if (error) {
            pleat_message_prefix(message, "-device %.200s: ", parse->device[i]);
            return PLEAT_E_INVALID;
        }
        config->device_count++;
    }
    return PLEAT_OK;
}

/* ---- the monitor's ---- */

static int read_qmp(struct parse *parse, const char *text, struct pleat_message *message)
{
    static const struct pleat_option_key keys[] = {
        {.name = "channel", .type = PLEAT_OPTION_STRING},
        {.name = "server", .type = PLEAT_OPTION_ON_OFF},
        {.name = "wait", .type = PLEAT_OPTION_ON_OFF},
        {.name = "nowait", .type = PLEAT_OPTION_ON_OFF},
    };
    struct pleat_monitor_config *monitor = &parse->config->monitor;
    struct pleat_options options;
    char quoted[PLEAT_QUOTE_BYTES];
    int error = pleat_options_parse(&options, "-qmp", text, "channel", message);

    if (!error)
        error = pleat_options_check(&options, keys, COUNT(keys), message);
    if (!error) {
        const char *channel = pleat_options_text(&options, "channel", "");
        monitor->qmp_server = pleat_options_on(&options, "server", false);
        monitor->qmp_wait = pleat_options_on(&options, "wait", !pleat_options_on(&options, "nowait", false));
        if (strncmp(channel, "unix:", 5) || !channel[5])
            error = pleat_message_set(message, PLEAT_E_INVALID,
                                      "-qmp: expected unix:PATH,server=on,wait=off, found %s",
                                      pleat_quote(quoted, text));
        else if (!monitor->qmp_server)
            error = pleat_message_set(message, PLEAT_E_INVALID,
                                      "-qmp: expected server=on: Pleat listens, it doesn't connect");
        else
            error =
                copy_text(monitor->qmp_path, sizeof monitor->qmp_path, "-qmp: PATH", channel + 5, message);
    }
    pleat_options_free(&options);
    return error;
}

/* The guest here has no serial line: where QEMU's would go says nothing, but who reads stdin does. */
static int read_serial(struct parse *parse, const char *text, struct pleat_message *message)
{
    static const char *const alone[] = {"none", "null", "vc", "pty", "stdio", "mon:stdio"};
    static const char *const with_more[] = {"file:", "pipe:", "chardev:", "unix:", "tcp:", "telnet:", "udp:"};
    char quoted[PLEAT_QUOTE_BYTES];

    for (size_t i = 0; i < COUNT(alone); i++) {
        if (strcmp(text, alone[i]))
            continue;
        if (!strcmp(text, "stdio"))
            parse->serial_stdio = true;
        return PLEAT_OK;
    }
    for (size_t i = 0; i < COUNT(with_more); i++)
        if (!strncmp(text, with_more[i], strlen(with_more[i])) && text[strlen(with_more[i])])
            return PLEAT_OK;
    return pleat_message_set(
        message, PLEAT_E_INVALID,
        "expects none, null, vc, pty, stdio, mon:stdio, file:PATH, pipe:PATH, chardev:ID, "
        "unix:PATH, tcp:, telnet: or udp: and an address, found %s",
        pleat_quote(quoted, text));
}

/* As QEMU has it: stdin belongs to one of them, and to the guest's line if the monitor isn't named. */
static int settle_stdio(struct parse *parse, struct pleat_message *message)
{
    struct pleat_monitor_config *monitor = &parse->config->monitor;

    if (parse->serial_stdio && parse->monitor_given && monitor->stdio)
        return pleat_message_set(
            message, PLEAT_E_INVALID,
            "-monitor stdio: cannot use stdio by multiple character devices: -serial stdio");
    if (parse->serial_stdio)
        monitor->stdio = false;
    return PLEAT_OK;
}

static int read_monitor(struct parse *parse, const char *text, struct pleat_message *message)
{
    char quoted[PLEAT_QUOTE_BYTES];

    if (strcmp(text, "stdio") && strcmp(text, "none"))
        return pleat_message_set(message, PLEAT_E_INVALID, "-monitor: expected stdio or none, found %s",
                                 pleat_quote(quoted, text));
    parse->config->monitor.stdio = !strcmp(text, "stdio");
    parse->monitor_given = true;
    return PLEAT_OK;
}

/* ---- Pleat's own ---- */

static int read_seed(struct parse *parse, const char *text, struct pleat_message *message)
{
    parse->config->deterministic = true;
    return pleat_parse_number(text, &parse->config->seed, message);
}

static int read_duration(struct parse *parse, const char *text, struct pleat_message *message)
{
    return pleat_parse_duration(text, &parse->config->duration_ns, message);
}

static int read_floor(struct parse *parse, const char *text, struct pleat_message *message)
{
    if (!strcmp(text, "off")) {
        parse->config->floor_bytes = UINT64_MAX;
        return PLEAT_OK;
    }
    int error = pleat_parse_size(text, 1, &parse->config->floor_bytes, message);
    if (!error && !parse->config->floor_bytes)
        parse->config->floor_bytes = UINT64_MAX;
    return error;
}

static int read_policy(struct parse *parse, const char *text, struct pleat_message *message)
{
    /* In the order of enum pleat_online_policy. */
    static const struct pleat_option_key keys[] = {
        {.name = "policy",
         .type = PLEAT_OPTION_CHOICE,
         .flags = PLEAT_OPTION_REQUIRED,
         .choices = "online|offline|online_kernel|online_movable|auto_movable|prefer_movable"},
        {.name = "ratio", .type = PLEAT_OPTION_NUMBER, .minimum = 1, .maximum = 100000},
    };
    struct pleat_options options;
    int error = pleat_options_parse(&options, "-policy", text, "policy", message);

    if (!error)
        error = pleat_options_check(&options, keys, COUNT(keys), message);
    if (!error) {
        parse->config->policy = (enum pleat_online_policy)pleat_options_number(&options, "policy", 0);
        parse->config->policy_ratio = (unsigned)pleat_options_number(&options, "ratio", 0);
        if (parse->config->policy_ratio && parse->config->policy < PLEAT_POLICY_AUTO_MOVABLE)
            error = pleat_message_set(message, PLEAT_E_INVALID,
                                      "-policy: ratio: expected auto_movable or prefer_movable beside it");
    }
    pleat_options_free(&options);
    return error;
}

static int read_fault(struct parse *parse, const char *text, struct pleat_message *message)
{
    struct pleat_machine_config *config = parse->config;
    struct pleat_fault fault;
    int error = pleat_fault_parse(text, &fault, message);

    if (error)
        return error;
    if (config->fault_count == PLEAT_MACHINE_FAULTS_MAX)
        return pleat_message_set(message, PLEAT_E_INVALID, "-fault: expected at most %d of them",
                                 PLEAT_MACHINE_FAULTS_MAX);
    memcpy(config->fault[config->fault_count++].text, fault.text, sizeof fault.text);
    return PLEAT_OK;
}

/* A factor such as 10 or 0.5, or max, in millionths. */
static int parse_speed(const char *text, uint64_t *ppm, struct pleat_message *message)
{
    char quoted[PLEAT_QUOTE_BYTES];
    uint64_t whole = 0, part = 0, scale = PLEAT_PPM;
    const char *at = text;

    if (!strcmp(text, "max")) {
        *ppm = 0;
        return PLEAT_OK;
    }
    for (; *at >= '0' && *at <= '9' && whole <= 1000000; at++)
        whole = whole * 10 + (uint64_t)(*at - '0');
    if (at != text && *at == '.')
        for (at++; *at >= '0' && *at <= '9' && scale > 1; at++) {
            scale /= 10;
            part += (uint64_t)(*at - '0') * scale;
        }
    *ppm = whole * PLEAT_PPM + part;
    if (*at || !*ppm || whole > 1000000)
        return pleat_message_set(
            message, PLEAT_E_INVALID,
            "-workload: Parameter 'speed' expects a factor from 0.000001 to 1000000, or max, "
            "found %s",
            pleat_quote(quoted, text));
    return PLEAT_OK;
}

/* Keys of every workload; whatever else stands beside `synthetic` is for synthetic.h. */
static const struct pleat_option_key workload_keys[] = {
    {.name = "trace", .type = PLEAT_OPTION_STRING, .help = "replays a recorded trace"},
    {.name = "speed", .type = PLEAT_OPTION_STRING, .help = "the recorded pace times this, or max; default 1"},
    {.name = "repeat", .type = PLEAT_OPTION_ON_OFF, .help = "begins again at the end; default on"},
    {.name = "cpus",
     .type = PLEAT_OPTION_NUMBER,
     .minimum = 1,
     .help = "guest CPUs that take part; default all"},
    {.name = "remote-free",
     .type = PLEAT_OPTION_NUMBER,
     .maximum = 1000000,
     .help = "one in so many frees is done by another CPU; 0: none; default 8"},
};

static bool is_workload_key(const char *key)
{
    for (size_t i = 0; i < COUNT(workload_keys); i++)
        if (!strcmp(key, workload_keys[i].name))
            return true;
    return false;
}

/* Moves what isn't of workload_keys out of the options, as text that can be parsed again. */
static int split_synthetic(struct pleat_options *options, char *text, size_t bytes,
                           struct pleat_message *message)
{
    size_t used = 0, kept = 0;

    text[0] = '\0';
    for (size_t i = 0; i < options->count; i++) {
        const struct pleat_option *item = &options->items[i];
        if (is_workload_key(item->key)) {
            options->items[kept++] = *item;
            continue;
        }
        int length = snprintf(text + used, bytes - used, "%s%s%s%s", used ? "," : "", item->key,
                              item->value ? "=" : "", item->value ? item->value : "");
        if (length < 0 || (size_t)length >= bytes - used || (item->value && strchr(item->value, ',')))
            return pleat_message_set(message, PLEAT_E_INVALID,
                                     "-workload: expected at most %zu bytes for a synthetic workload",
                                     bytes - 1);
        used += (size_t)length;
    }
    options->count = kept;
    return PLEAT_OK;
}

static int read_workload_items(struct pleat_machine_config *config, struct pleat_options *options,
                               const char *kind, struct pleat_message *message)
{
    struct pleat_workload_config *workload = &config->workload;
    char quoted[PLEAT_QUOTE_BYTES];
    int error = PLEAT_OK;

    if (!strcmp(kind, "none"))
        workload->kind = PLEAT_WORKLOAD_NONE;
    else if (!strcmp(kind, "synthetic"))
        workload->kind = PLEAT_WORKLOAD_SYNTHETIC;
    else if (!*kind && pleat_options_find(options, "trace"))
        workload->kind = PLEAT_WORKLOAD_TRACE;
    else
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "-workload: expected none, synthetic or trace=FILE first, found %s",
                                 pleat_quote(quoted, kind));
    if (workload->kind == PLEAT_WORKLOAD_SYNTHETIC)
        error = split_synthetic(options, workload->synthetic, sizeof workload->synthetic, message);
    if (!error && workload->kind != PLEAT_WORKLOAD_TRACE && pleat_options_find(options, "trace"))
        error =
            pleat_message_set(message, PLEAT_E_INVALID, "-workload: trace: expected no '%s' beside it", kind);
    if (!error)
        error = pleat_options_check(options, workload_keys, COUNT(workload_keys), message);
    if (!error)
        error = copy_text(workload->trace_path, sizeof workload->trace_path, "-workload: trace",
                          pleat_options_text(options, "trace", ""), message);
    if (!error && workload->kind == PLEAT_WORKLOAD_SYNTHETIC) {
        struct pleat_synthetic_config synthetic;
        error = pleat_synthetic_parse(workload->synthetic, &synthetic, message);
    }
    if (!error)
        error = parse_speed(pleat_options_text(options, "speed", "1"), &workload->speed_ppm, message);
    if (error)
        return error;
    workload->repeat = pleat_options_on(options, "repeat", true);
    workload->cpus = (uint32_t)pleat_options_number(options, "cpus", 0);
    workload->remote_free = (uint32_t)pleat_options_number(options, "remote-free", 8);
    if (workload->cpus > config->cpus)
        return pleat_message_set(
            message, PLEAT_E_INVALID,
            "-workload: Parameter 'cpus' expects at most the machine's %u CPUs, found %u", config->cpus,
            workload->cpus);
    return PLEAT_OK;
}

static int read_workload(struct pleat_machine_config *config, const char *text, struct pleat_message *message)
{
    const size_t first = strcspn(text, ",=");
    char kind[PLEAT_MACHINE_ID_BYTES] = "";
    struct pleat_options options;

    if (text[first] != '=') {
        if (first >= sizeof kind)
            return pleat_message_set(message, PLEAT_E_INVALID,
                                     "-workload: expected none, synthetic or trace=FILE first");
        memcpy(kind, text, first);
        text += first + (text[first] == ',');
    }
    int error = pleat_options_parse(&options, "-workload", text, NULL, message);
    if (!error)
        error = read_workload_items(config, &options, kind, message);
    pleat_options_free(&options);
    return error;
}

/* ---- the table ---- */

/* ONCE: a value, and a second one would take the place of the first without a word. */
enum argument { NONE, VALUE, ONCE };

typedef int read_fn(struct parse *parse, const char *text, struct pleat_message *message);

static int read_nothing(struct parse *parse, const char *text, struct pleat_message *message)
{
    (void)parse;
    (void)text;
    (void)message;
    return PLEAT_OK;
}

static int read_none_only(struct parse *parse, const char *text, struct pleat_message *message)
{
    char quoted[PLEAT_QUOTE_BYTES];

    (void)parse;
    if (!strcmp(text, "none"))
        return PLEAT_OK;
    return pleat_message_set(message, PLEAT_E_INVALID, "expects none, found %s", pleat_quote(quoted, text));
}

static int read_stopped(struct parse *parse, const char *text, struct pleat_message *message)
{
    (void)text;
    (void)message;
    parse->config->stopped = true;
    return PLEAT_OK;
}

static int read_no_reboot(struct parse *parse, const char *text, struct pleat_message *message)
{
    (void)text;
    (void)message;
    parse->config->no_reboot = true;
    return PLEAT_OK;
}

/* "-name NAME" and "-name guest=NAME,...". */
static int read_name(struct parse *parse, const char *text, struct pleat_message *message)
{
    char *name = parse->config->name;

    if (!strncmp(text, "guest=", 6))
        text += 6;
    const size_t length = strcspn(text, ",");
    if (length >= sizeof parse->config->name)
        return pleat_message_set(message, PLEAT_E_INVALID, "expects at most %zu bytes",
                                 sizeof parse->config->name - 1);
    memcpy(name, text, length);
    name[length] = '\0';
    return PLEAT_OK;
}

static int keep(const char **place, const char *text, struct pleat_message *message)
{
    (void)message;
    *place = text;
    return PLEAT_OK;
}

static int keep_more(const char **places, unsigned *count, unsigned maximum, const char *text,
                     struct pleat_message *message)
{
    if (*count == maximum)
        return pleat_message_set(message, PLEAT_E_INVALID, "expects at most %u of them", maximum);
    places[(*count)++] = text;
    return PLEAT_OK;
}

static int keep_memory(struct parse *parse, const char *text, struct pleat_message *message)
{
    return keep(&parse->memory, text, message);
}

static int keep_smp(struct parse *parse, const char *text, struct pleat_message *message)
{
    return keep(&parse->smp, text, message);
}

static int keep_workload(struct parse *parse, const char *text, struct pleat_message *message)
{
    return keep(&parse->workload, text, message);
}

static int keep_numa(struct parse *parse, const char *text, struct pleat_message *message)
{
    return keep_more(parse->numa, &parse->numa_count, NUMA_OPTIONS_MAX, text, message);
}

static int keep_object(struct parse *parse, const char *text, struct pleat_message *message)
{
    return keep_more(parse->object, &parse->object_count, PLEAT_MACHINE_BACKENDS_MAX, text, message);
}

static int keep_device(struct parse *parse, const char *text, struct pleat_message *message)
{
    if (is_exit_device(text))
        return read_exit_device(text, message);
    return keep_more(parse->device, &parse->device_count, PLEAT_MACHINE_DEVICES_MAX, text, message);
}

static int read_path(char path[PLEAT_MACHINE_PATH_BYTES], const char *text, struct pleat_message *message)
{
    if (!*text)
        return pleat_message_set(message, PLEAT_E_INVALID, "expects a path, found ''");
    if (strlen(text) >= PLEAT_MACHINE_PATH_BYTES)
        return pleat_message_set(message, PLEAT_E_INVALID, "expects a path of at most %d bytes",
                                 PLEAT_MACHINE_PATH_BYTES - 1);
    memcpy(path, text, strlen(text) + 1);
    return PLEAT_OK;
}

static int read_log(struct parse *parse, const char *text, struct pleat_message *message)
{
    return read_path(parse->config->log_path, text, message);
}

static int read_scenario(struct parse *parse, const char *text, struct pleat_message *message)
{
    return read_path(parse->config->scenario_path, text, message);
}

static int read_picture(struct parse *parse, const char *text, struct pleat_message *message)
{
    return read_path(parse->config->picture_path, text, message);
}

static const struct {
    const char *name, *short_name;
    enum argument argument;
    read_fn *read;
    /* NULL: accepted, and not worth a line of help. */
    const char *form, *help;
} table[] = {
    {"m", NULL, ONCE, keep_memory, "[size=]SIZE[,maxmem=SIZE][,slots=N]",
     "boot memory (MiB without a suffix), and how much there may ever be"},
    {"smp", NULL, ONCE, keep_smp, "[cpus=]N[,sockets=N][,cores=N][,threads=N][,maxcpus=N]", "guest CPUs"},
    {"numa", NULL, VALUE, keep_numa,
     "node[,nodeid=N][,cpus=FIRST[-LAST]]...[,mem=SIZE|,memdev=ID]\n"
     "dist,src=N,dst=N,val=N\n"
     "cpu,node-id=N[,socket-id=N][,core-id=N][,thread-id=N]",
     "nodes, their CPUs, memory and distances"},
    {"object", NULL, VALUE, keep_object,
     "memory-backend-ram|memfd|file,id=ID,size=SIZE[,share=on|off][,prealloc=on|off][,reserve=on|off]\n"
     "[,host-nodes=N[-M]][,policy=default|preferred|bind|interleave][,hugetlb=on|off][,hugetlbsize=SIZE]\n"
     "[,mem-path=PATH]",
     "where host memory comes from"},
    {"device", NULL, VALUE, keep_device,
     "virtio-mem-pci,id=ID,memdev=ID[,node=N][,requested-size=SIZE][,block-size=SIZE][,memaddr=ADDRESS]\n"
     "[,unplugged-inaccessible=on|off|auto][,prealloc=on|off][,dynamic-memslots=off]\n"
     "[,fault=NAME[:after=N]...]",
     "a memory device"},
    {"machine", "M", VALUE, read_machine, "pc|q35|xenpvh[,memory-backend=ID][,memory=SIZE]",
     "the layout of memory; default pc; -M is the same"},
    {"monitor", NULL, ONCE, read_monitor, "stdio|none", "the monitor's prompt"},
    {"qmp", NULL, ONCE, read_qmp, "unix:PATH,server=on,wait=off", "QMP on a Unix socket"},
    {"S", NULL, NONE, read_stopped, "", "start with the guest stopped"},
    {"no-reboot", NULL, NONE, read_no_reboot, "", "end instead of a reset"},
    {"name", NULL, VALUE, read_name, "NAME", "a name for the machine"},
    {"seed", NULL, VALUE, read_seed, "N",
     "run on one thread with a virtual clock: the same run for the same N"},
    {"workload", NULL, ONCE, keep_workload,
     "trace=FILE[,speed=FACTOR|max][,repeat=on|off][,cpus=N][,remote-free=N]\n"
     "synthetic[,PARAMETERS...]\n"
     "none",
     "what the guest's CPUs do; default none"},
    {"fault", NULL, VALUE, read_fault, "NAME[:after=N][:count=N][:every=N][:for=TIME][:device=ID]",
     "let something go wrong; the names are below"},
    {"policy", NULL, VALUE, read_policy,
     "offline|online|online_kernel|online_movable|auto_movable|prefer_movable[,ratio=N]",
     "what becomes of memory that is added; default online"},
    {"floor", NULL, VALUE, read_floor, "SIZE|off",
     "free memory that a shrink leaves to the guest; default 64M"},
    {"duration", NULL, VALUE, read_duration, "TIME", "end after so long"},
    {"scenario", NULL, ONCE, read_scenario, "FILE", "run the monitor commands of a file, then end"},
    {"log", NULL, ONCE, read_log, "FILE", "write the log there"},
    {"picture", NULL, ONCE, read_picture, "STEM", "at the end write STEM.svg and STEM.png"},
    /* QEMU's, where they say nothing that matters here. */
    {"accel", NULL, VALUE, read_accelerator, NULL, NULL},
    {"cpu", NULL, VALUE, read_nothing, NULL, NULL},
    {"uuid", NULL, VALUE, read_nothing, NULL, NULL},
    {"rtc", NULL, VALUE, read_nothing, NULL, NULL},
    {"boot", NULL, VALUE, read_nothing, NULL, NULL},
    {"kernel", NULL, VALUE, read_nothing, NULL, NULL},
    {"append", NULL, VALUE, read_nothing, NULL, NULL},
    {"initrd", NULL, VALUE, read_nothing, NULL, NULL},
    {"msg", NULL, VALUE, read_nothing, NULL, NULL},
    {"display", NULL, VALUE, read_none_only, NULL, NULL},
    {"vga", NULL, VALUE, read_none_only, NULL, NULL},
    {"serial", NULL, VALUE, read_serial, NULL, NULL},
    {"parallel", NULL, VALUE, read_none_only, NULL, NULL},
    {"net", NULL, VALUE, read_none_only, NULL, NULL},
    {"nic", NULL, VALUE, read_none_only, NULL, NULL},
    {"enable-kvm", NULL, NONE, read_nothing, NULL, NULL},
    {"nodefaults", NULL, NONE, read_nothing, NULL, NULL},
    {"no-user-config", NULL, NONE, read_nothing, NULL, NULL},
    {"nographic", NULL, NONE, read_nothing, NULL, NULL},
    {"no-shutdown", NULL, NONE, read_nothing, NULL, NULL},
};

_Static_assert(COUNT(table) <= 64, "struct parse has a bit for each row");

/* Reads one option and its value; how many arguments that took, or an error. */
static int read_option(struct parse *parse, int argc, char *const *argv, struct pleat_message *message)
{
    char quoted[PLEAT_QUOTE_BYTES];
    const char *name = argv[0];

    if (name[0] != '-' || !name[1])
        return pleat_message_set(message, PLEAT_E_INVALID, "expected an option, found %s",
                                 pleat_quote(quoted, name));
    name += name[1] == '-' ? 2 : 1;
    for (size_t i = 0; i < COUNT(table); i++) {
        if (strcmp(name, table[i].name) && (!table[i].short_name || strcmp(name, table[i].short_name)))
            continue;
        if (table[i].argument != NONE && argc < 2)
            return pleat_message_set(message, PLEAT_E_INVALID, "-%s: requires an argument", table[i].name);
        if (table[i].argument == ONCE && parse->given >> i & 1)
            return pleat_message_set(message, PLEAT_E_INVALID, "-%s: is there twice, expected once",
                                     table[i].name);
        parse->given |= UINT64_C(1) << i;
        const int taken = table[i].argument != NONE ? 2 : 1;
        int error = table[i].read(parse, taken == 2 ? argv[1] : NULL, message);
        if (error && message && message->text[0] != '-')
            pleat_message_prefix(message, "-%s: ", table[i].name);
        return error ? error : taken;
    }
    return pleat_message_set(message, PLEAT_E_INVALID,
                             "%s: Pleat has no such option; `pleat run --help` lists those that there are",
                             pleat_quote(quoted, argv[0]));
}

static int settle_xen_memory(struct pleat_machine_config *config, struct pleat_message *message)
{
    if (!config->xen_memory_bytes)
        config->xen_memory_bytes = config->ram_bytes;
    if (config->xen_memory_bytes > config->ram_bytes)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "-machine: memory: expected at most what -m says (0x%" PRIx64
                                 "), found 0x%" PRIx64,
                                 config->ram_bytes, config->xen_memory_bytes);
    return PLEAT_OK;
}

static int read_all(struct parse *parse, int argc, char *const *argv, struct pleat_message *message)
{
    struct pleat_machine_config *config = parse->config;

    for (int i = 0; i < argc;) {
        int taken = read_option(parse, argc - i, argv + i, message);
        if (taken < 0)
            return taken;
        i += taken;
    }
    int error = settle_stdio(parse, message);
    if (!error)
        error = read_memory(config, parse->memory ? parse->memory : "", message);
    if (!error)
        error = settle_xen_memory(config, message);
    if (!error)
        error = pleat_config_read_smp(config, parse->smp ? parse->smp : "1", message);
    if (!error)
        error = read_objects(parse, message);
    if (!error)
        error = pleat_config_read_numa(config, parse->numa, parse->numa_count, message);
    for (unsigned node = 0; node < config->nodes && !error; node++)
        if (config->ram_memdev[0] && config->node[node].memdev[0])
            error = pleat_message_set(message, PLEAT_E_INVALID,
                                      "-machine: 'memory-backend' and '-numa memdev' properties are mutually "
                                      "exclusive");
    if (!error)
        error = read_devices(parse, message);
    if (!error)
        error = read_workload(config, parse->workload ? parse->workload : "none", message);
    return error;
}

int pleat_machine_config_parse(int argc, char *const *argv, struct pleat_machine_config *config,
                               struct pleat_message *message)
{
    struct parse parse = {.config = config};

    memset(config, 0, sizeof *config);
    config->monitor.stdio = true;
    int error = read_all(&parse, argc, argv, message);
    return error ? PLEAT_E_INVALID : PLEAT_OK;
}

void pleat_machine_config_help(FILE *out)
{
    fprintf(out, "Options of a machine; those of QEMU's are in QEMU's form.\n\n");
    for (size_t i = 0; i < COUNT(table) && table[i].form; i++) {
        fprintf(out, "  -%s%s", table[i].name, *table[i].form ? " " : "");
        for (const char *at = table[i].form; *at; at++) {
            fputc(*at, out);
            if (*at == '\n')
                fprintf(out, "      ");
        }
        fprintf(out, "\n        %s\n", table[i].help);
    }
    fprintf(out, "\nWorkloads (-workload):\n");
    pleat_options_print_help(out, workload_keys, COUNT(workload_keys));
    fprintf(out, "\nSynthetic ones know besides:\n");
    pleat_synthetic_help(out);
    fprintf(out, "\nFaults (-fault):\n");
    pleat_faults_help(out);
    fprintf(out, "\nAccepted, because they say nothing that matters here:");
    for (size_t i = 0; i < COUNT(table); i++)
        if (!table[i].form)
            fprintf(out, " -%s", table[i].name);
    fprintf(out, "\n");
}
