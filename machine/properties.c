/* SPDX-License-Identifier: MIT
 *
 * Objects and properties, as qom-list, qom-get and qom-set know them. There are two kinds of objects with
 * properties of their own, devices and backends; a row of a table is a property with its name, its type in
 * QEMU's words, and the functions that read and write it.
 */
#include "machine/machine.h"

#include <stdlib.h>
#include <string.h>

#include "machine/machine_parts.h"
#include "machine/options.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define PERIPHERAL "/machine/peripheral"
#define ANONYMOUS  "/machine/peripheral-anon"
#define OBJECTS    "/objects"

/* ---- devices ---- */

struct device_property {
    const char *name, *type;
    enum pleat_property_kind kind;
    void (*get)(const struct pleat_device_slot *slot, struct pleat_property_value *value);
    int (*set)(struct pleat_device_slot *slot, const struct pleat_property_value *value,
               struct pleat_message *message);
};

static void get_size(const struct pleat_device_slot *slot, struct pleat_property_value *value)
{
    value->number = pleat_virtio_mem_device_plugged_bytes(slot->device);
}

static void get_requested(const struct pleat_device_slot *slot, struct pleat_property_value *value)
{
    value->number = pleat_virtio_mem_device_requested_bytes(slot->device);
}

static int set_requested(struct pleat_device_slot *slot, const struct pleat_property_value *value,
                         struct pleat_message *message)
{
    const int error = pleat_device_slot_set_requested(slot, value->number, message);

    if (!error)
        pleat_recorder_mark(slot->machine->recorder, slot->machine, slot, value->number);
    return error;
}

static void get_block_size(const struct pleat_device_slot *slot, struct pleat_property_value *value)
{
    value->number = slot->config.block_bytes;
}

static void get_node(const struct pleat_device_slot *slot, struct pleat_property_value *value)
{
    value->number = slot->config.node;
}

static void get_memaddr(const struct pleat_device_slot *slot, struct pleat_property_value *value)
{
    value->number = slot->address;
}

static void get_memdev(const struct pleat_device_slot *slot, struct pleat_property_value *value)
{
    snprintf(value->text, sizeof value->text, OBJECTS "/%s", slot->backend->config.id);
}

static void get_device_prealloc(const struct pleat_device_slot *slot, struct pleat_property_value *value)
{
    value->on = slot->config.prealloc;
}

static void get_inaccessible(const struct pleat_device_slot *slot, struct pleat_property_value *value)
{
    snprintf(value->text, sizeof value->text, "%s",
             slot->config.unplugged_inaccessible == PLEAT_OFF ? "off" : "on");
}

static void get_off(const struct pleat_device_slot *slot, struct pleat_property_value *value)
{
    (void)slot;
    value->on = false;
}

static void get_device_type(const struct pleat_device_slot *slot, struct pleat_property_value *value)
{
    (void)slot;
    snprintf(value->text, sizeof value->text, "virtio-mem-pci");
}

static const struct device_property device_properties[] = {
    {"type", "string", PLEAT_PROPERTY_TEXT, get_device_type, NULL},
    {"size", "size", PLEAT_PROPERTY_SIZE, get_size, NULL},
    {"requested-size", "size", PLEAT_PROPERTY_SIZE, get_requested, set_requested},
    {"block-size", "size", PLEAT_PROPERTY_SIZE, get_block_size, NULL},
    {"node", "uint32", PLEAT_PROPERTY_NUMBER, get_node, NULL},
    {"memaddr", "uint64", PLEAT_PROPERTY_NUMBER, get_memaddr, NULL},
    {"memdev", "link<memory-backend>", PLEAT_PROPERTY_LINK, get_memdev, NULL},
    {"prealloc", "bool", PLEAT_PROPERTY_BOOL, get_device_prealloc, NULL},
    {"unplugged-inaccessible", "OnOffAuto", PLEAT_PROPERTY_TEXT, get_inaccessible, NULL},
    {"dynamic-memslots", "bool", PLEAT_PROPERTY_BOOL, get_off, NULL},
};

/* ---- backends ---- */

struct backend_property {
    const char *name, *type;
    void (*get)(const struct pleat_backend_config *backend, struct pleat_property_value *value);
    enum pleat_property_kind kind;
    /* Bits of the kinds that have it: 1 << enum pleat_backend_kind. */
    unsigned kinds;
};

static const char *backend_type(const struct pleat_backend_config *backend)
{
    static const char *const types[] = {"memory-backend-ram", "memory-backend-memfd", "memory-backend-file"};

    return types[backend->kind];
}

static void get_backend_type(const struct pleat_backend_config *backend, struct pleat_property_value *value)
{
    snprintf(value->text, sizeof value->text, "%s", backend_type(backend));
}

static void get_backend_size(const struct pleat_backend_config *backend, struct pleat_property_value *value)
{
    value->number = backend->size_bytes;
}

static void get_share(const struct pleat_backend_config *backend, struct pleat_property_value *value)
{
    value->on = backend->share;
}

static void get_prealloc(const struct pleat_backend_config *backend, struct pleat_property_value *value)
{
    value->on = backend->prealloc;
}

static void get_reserve(const struct pleat_backend_config *backend, struct pleat_property_value *value)
{
    value->on = backend->reserve;
}

static void get_merge(const struct pleat_backend_config *backend, struct pleat_property_value *value)
{
    value->on = backend->merge;
}

static void get_dump(const struct pleat_backend_config *backend, struct pleat_property_value *value)
{
    value->on = backend->dump;
}

static void get_hugetlb(const struct pleat_backend_config *backend, struct pleat_property_value *value)
{
    value->on = backend->hugetlb;
}

static void get_hugetlb_size(const struct pleat_backend_config *backend, struct pleat_property_value *value)
{
    value->number = backend->hugetlb_size_bytes;
}

static void get_mem_path(const struct pleat_backend_config *backend, struct pleat_property_value *value)
{
    memcpy(value->text, backend->mem_path, sizeof value->text);
}

static void get_policy(const struct pleat_backend_config *backend, struct pleat_property_value *value)
{
    static const char *const policies[] = {"default", "preferred", "bind", "interleave"};

    snprintf(value->text, sizeof value->text, "%s", policies[backend->policy]);
}

static void get_host_nodes(const struct pleat_backend_config *backend, struct pleat_property_value *value)
{
    for (unsigned node = 0; node < 64; node++)
        if (backend->host_nodes >> node & 1)
            value->numbers[value->count++] = node;
}

enum { ALL_KINDS = 7, MEMFD_ONLY = 1 << PLEAT_BACKEND_MEMFD, FILE_ONLY = 1 << PLEAT_BACKEND_FILE };

static const struct backend_property backend_properties[] = {
    {"type", "string", get_backend_type, PLEAT_PROPERTY_TEXT, ALL_KINDS},
    {"size", "int", get_backend_size, PLEAT_PROPERTY_NUMBER, ALL_KINDS},
    {"share", "bool", get_share, PLEAT_PROPERTY_BOOL, ALL_KINDS},
    {"prealloc", "bool", get_prealloc, PLEAT_PROPERTY_BOOL, ALL_KINDS},
    {"reserve", "bool", get_reserve, PLEAT_PROPERTY_BOOL, ALL_KINDS},
    {"merge", "bool", get_merge, PLEAT_PROPERTY_BOOL, ALL_KINDS},
    {"dump", "bool", get_dump, PLEAT_PROPERTY_BOOL, ALL_KINDS},
    {"host-nodes", "int", get_host_nodes, PLEAT_PROPERTY_NUMBERS, ALL_KINDS},
    {"policy", "HostMemPolicy", get_policy, PLEAT_PROPERTY_TEXT, ALL_KINDS},
    {"hugetlb", "bool", get_hugetlb, PLEAT_PROPERTY_BOOL, MEMFD_ONLY},
    {"hugetlbsize", "int", get_hugetlb_size, PLEAT_PROPERTY_NUMBER, MEMFD_ONLY},
    {"mem-path", "string", get_mem_path, PLEAT_PROPERTY_TEXT, FILE_ONLY},
};

static bool has_property(const struct pleat_backend_config *backend, const struct backend_property *property)
{
    return property->kinds >> backend->kind & 1;
}

/* ---- paths ---- */

enum object_kind { NO_OBJECT, ROOT, MACHINE, PERIPHERALS, ANONYMOUS_PERIPHERALS, BACKENDS, DEVICE, BACKEND };

struct object {
    enum object_kind kind;
    struct pleat_device_slot *slot;
    struct pleat_machine_backend *backend;
    const char *type; /* for messages */
};

static struct object device_object(struct pleat_device_slot *slot)
{
    return (struct object){.kind = DEVICE, .slot = slot, .type = "virtio-mem-pci"};
}

static struct object backend_object(struct pleat_machine_backend *backend)
{
    return (struct object){.kind = BACKEND, .backend = backend, .type = backend_type(&backend->config)};
}

/* The containers, under all the names that lead to them. */
static const struct {
    const char *path, *partial;
    enum object_kind kind;
    const char *type;
} containers[] = {
    {"/", NULL, ROOT, "container"},
    {"/machine", "machine", MACHINE, NULL}, /* by its -machine */
    {PERIPHERAL, "peripheral", PERIPHERALS, "container"},
    {ANONYMOUS, "peripheral-anon", ANONYMOUS_PERIPHERALS, "container"},
    {OBJECTS, "objects", BACKENDS, "container"},
};

static const char *machine_type(const struct pleat_machine *machine)
{
    return machine->config->type == PLEAT_MACHINE_Q35 ? "pc-q35-7.2-machine" : "pc-i440fx-7.2-machine";
}

/* Is GIVEN this absolute path, or a partial one that it ends with? */
static bool leads_to(const char *given, const char *absolute)
{
    const size_t length = strlen(given), whole = strlen(absolute);

    if (given[0] == '/')
        return !strcmp(given, absolute);
    return length && length < whole && absolute[whole - length - 1] == '/' &&
           !strcmp(absolute + whole - length, given);
}

/* Finds an object by an absolute path, or by a partial one that only one object ends with. */
static int find_object(struct pleat_machine *machine, const char *given, struct object *object,
                       struct pleat_message *message)
{
    char path[PLEAT_MACHINE_PATH_BYTES];
    const size_t length = strlen(given);

    *object = (struct object){0};
    if (length < sizeof path) {
        memcpy(path, given, length + 1);
        for (size_t end = length; end > 1 && path[end - 1] == '/'; end--)
            path[end - 1] = '\0';
        for (size_t i = 0; i < COUNT(containers); i++)
            if (!strcmp(path, containers[i].path) ||
                (containers[i].partial && !strcmp(path, containers[i].partial)))
                *object =
                    (struct object){.kind = containers[i].kind,
                                    .type = containers[i].type ? containers[i].type : machine_type(machine)};
        if (object->kind)
            return PLEAT_OK;

        unsigned found = 0;
        for (unsigned i = 0; i < machine->slot_count; i++) {
            if (!leads_to(path, machine->slots[i]->path))
                continue;
            *object = device_object(machine->slots[i]);
            found++;
        }
        for (unsigned i = 0; i < machine->backend_count; i++) {
            char absolute[PLEAT_MACHINE_PATH_BYTES];
            snprintf(absolute, sizeof absolute, OBJECTS "/%s", machine->backends[i]->config.id);
            if (!leads_to(path, absolute))
                continue;
            *object = backend_object(machine->backends[i]);
            found++;
        }
        if (found > 1)
            return pleat_message_set(message, PLEAT_E_INVALID,
                                     "Path '%s' does not uniquely identify an object", given);
        if (found)
            return PLEAT_OK;
    }
    return pleat_message_set(message, PLEAT_E_NOT_FOUND, "Device '%.200s' not found", given);
}

/* ---- qom-list ---- */

/* Of any object: children of both kinds, and a few. */
#define PROPERTIES_MAX (PLEAT_MACHINE_DEVICES_MAX + PLEAT_MACHINE_BACKENDS_MAX + 16)

struct list {
    struct pleat_machine *machine;
    const char *path;
    struct pleat_message *message;
    struct pleat_property *properties;
    unsigned count, room;
    int error;
};

static void add_property(struct list *list, const char *name, const char *type, enum pleat_property_kind kind,
                         bool writable)
{
    if (list->count == list->room)
        return;
    struct pleat_property *property = &list->properties[list->count++];
    snprintf(property->name, sizeof property->name, "%s", name);
    snprintf(property->type, sizeof property->type, "%s", type);
    property->kind = kind;
    property->writable = writable;
}

static void add_child(struct list *list, const char *name, const char *type)
{
    char child[64];

    snprintf(child, sizeof child, "child<%s>", type);
    add_property(list, name, child, PLEAT_PROPERTY_CHILD, false);
}

static void list_object(struct list *list, const struct object *object)
{
    const struct pleat_machine *machine = list->machine;

    if (object->kind != DEVICE && object->kind != BACKEND)
        add_property(list, "type", "string", PLEAT_PROPERTY_TEXT, false);
    switch (object->kind) {
    case ROOT:
        add_child(list, "machine", machine_type(machine));
        add_child(list, "objects", "container");
        break;
    case MACHINE:
        add_child(list, "peripheral", "container");
        add_child(list, "peripheral-anon", "container");
        break;
    case PERIPHERALS:
        for (unsigned i = 0; i < machine->slot_count; i++)
            if (machine->slots[i]->config.id[0])
                add_child(list, machine->slots[i]->config.id, "virtio-mem-pci");
        break;
    case ANONYMOUS_PERIPHERALS:
        for (unsigned i = 0; i < machine->slot_count; i++)
            if (!machine->slots[i]->config.id[0])
                add_child(list, machine->slots[i]->path + sizeof ANONYMOUS, "virtio-mem-pci");
        break;
    case BACKENDS:
        for (unsigned i = 0; i < machine->backend_count; i++)
            add_child(list, machine->backends[i]->config.id, backend_type(&machine->backends[i]->config));
        break;
    case DEVICE:
        for (size_t i = 0; i < COUNT(device_properties); i++)
            add_property(list, device_properties[i].name, device_properties[i].type,
                         device_properties[i].kind, device_properties[i].set != NULL);
        break;
    case BACKEND:
        for (size_t i = 0; i < COUNT(backend_properties); i++)
            if (has_property(&object->backend->config, &backend_properties[i]))
                add_property(list, backend_properties[i].name, backend_properties[i].type,
                             backend_properties[i].kind, false);
        break;
    case NO_OBJECT:
        break;
    }
}

static void ask_list(void *context)
{
    struct list *list = context;
    struct object object;

    list->error = find_object(list->machine, list->path, &object, list->message);
    if (!list->error)
        list_object(list, &object);
}

int pleat_machine_properties(struct pleat_machine *machine, const char *path,
                             bool (*each)(void *context, const struct pleat_property *property),
                             void *context, struct pleat_message *message)
{
    struct list list = {.machine = machine, .path = path, .message = message, .room = PROPERTIES_MAX};

    list.properties = calloc(list.room, sizeof *list.properties);
    if (!list.properties)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
    pleat_threads_call(machine->threads, ask_list, &list);
    for (unsigned i = 0; i < list.count && each(context, &list.properties[i]); i++)
        ;
    free(list.properties);
    return list.error;
}

/* ---- qom-get and qom-set ---- */

struct access {
    struct pleat_machine *machine;
    const char *path, *name;
    struct pleat_property_value *value;     /* to get */
    const struct pleat_property_value *set; /* NULL: to get */
    const char *text;                       /* to set: the value as text, in place of `set` */
    struct pleat_message *message;
    int error;
};

static int no_property(const struct object *object, const char *name, struct pleat_message *message)
{
    return pleat_message_set(message, PLEAT_E_INVALID, "Property '%s.%.100s' not found", object->type, name);
}

static bool is_number(enum pleat_property_kind kind)
{
    return kind == PLEAT_PROPERTY_NUMBER || kind == PLEAT_PROPERTY_SIZE;
}

/* The type of a value as QEMU's messages name it. */
static const char *expected_type(enum pleat_property_kind kind)
{
    return is_number(kind) ? "uint64" : kind == PLEAT_PROPERTY_BOOL ? "boolean" : "string";
}

static int read_text(const struct device_property *property, const char *text,
                     struct pleat_property_value *value, struct pleat_message *message)
{
    int error = PLEAT_OK;

    value->kind = property->kind;
    if (is_number(property->kind))
        error = pleat_parse_size(text, 1, &value->number, message);
    else if (property->kind == PLEAT_PROPERTY_BOOL)
        error = pleat_parse_on_off(text, &value->on, message);
    if (error)
        pleat_message_prefix(message, "Parameter '%s' ", property->name);
    return error;
}

/* QEMU's words: most of these were settable until the device was there. */
static int refuse_to_set(const char *name, struct pleat_message *message)
{
    if (!strcmp(name, "block-size"))
        return pleat_message_set(message, PLEAT_E_INVALID, "'block-size' cannot be changed");
    if (!strcmp(name, "size") || !strcmp(name, "type"))
        return pleat_message_set(message, PLEAT_E_INVALID, "Property 'virtio-mem.%s' is not writable", name);
    return pleat_message_set(message, PLEAT_E_INVALID,
                             "Attempt to set property '%s' on anonymous device (type 'virtio-mem') after it "
                             "was realized",
                             name);
}

static int set_device(struct access *access, struct pleat_device_slot *slot,
                      const struct device_property *property)
{
    struct pleat_property_value value = {0};
    int error = PLEAT_OK;

    if (!property->set)
        return refuse_to_set(property->name, access->message);
    if (access->text)
        error = read_text(property, access->text, &value, access->message);
    else
        value = *access->set;
    if (error)
        return error;
    if (value.kind != property->kind && !(is_number(value.kind) && is_number(property->kind)))
        return pleat_message_set(access->message, PLEAT_E_INVALID, "Parameter '%s' expects %s",
                                 property->name, expected_type(property->kind));
    return property->set(slot, &value, access->message);
}

static int access_device(struct access *access, const struct object *object)
{
    for (size_t i = 0; i < COUNT(device_properties); i++) {
        const struct device_property *property = &device_properties[i];
        if (strcmp(property->name, access->name))
            continue;
        if (!access->value)
            return set_device(access, object->slot, property);
        access->value->kind = property->kind;
        property->get(object->slot, access->value);
        return PLEAT_OK;
    }
    return no_property(object, access->name, access->message);
}

static int access_backend(struct access *access, const struct object *object)
{
    for (size_t i = 0; i < COUNT(backend_properties); i++) {
        const struct backend_property *property = &backend_properties[i];
        if (strcmp(property->name, access->name) || !has_property(&object->backend->config, property))
            continue;
        if (!access->value)
            return pleat_message_set(access->message, PLEAT_E_INVALID, "Property '%s.%s' is not writable",
                                     object->type, property->name);
        access->value->kind = property->kind;
        property->get(&object->backend->config, access->value);
        return PLEAT_OK;
    }
    return no_property(object, access->name, access->message);
}

/* A container has its type and its children for properties; what these are is their path. */
static int access_container(struct access *access, const struct object *object)
{
    struct pleat_property properties[PROPERTIES_MAX];
    struct list list = {.machine = access->machine, .properties = properties, .room = COUNT(properties)};
    static const char *const prefixes[] = {[ROOT] = "",
                                           [MACHINE] = "/machine",
                                           [PERIPHERALS] = PERIPHERAL,
                                           [ANONYMOUS_PERIPHERALS] = ANONYMOUS,
                                           [BACKENDS] = OBJECTS};

    list_object(&list, object);
    for (unsigned i = 0; i < list.count; i++) {
        if (strcmp(properties[i].name, access->name))
            continue;
        if (!access->value)
            return pleat_message_set(access->message, PLEAT_E_INVALID, "Property '%s.%s' is not writable",
                                     object->type, access->name);
        access->value->kind = properties[i].kind;
        if (properties[i].kind == PLEAT_PROPERTY_CHILD)
            snprintf(access->value->text, sizeof access->value->text, "%s/%s", prefixes[object->kind],
                     access->name);
        else
            snprintf(access->value->text, sizeof access->value->text, "%s", object->type);
        return PLEAT_OK;
    }
    return no_property(object, access->name, access->message);
}

static void do_access(void *context)
{
    struct access *access = context;
    struct object object;

    access->error = find_object(access->machine, access->path, &object, access->message);
    if (access->error)
        return;
    if (access->value)
        memset(access->value, 0, sizeof *access->value);
    access->error = object.kind == DEVICE    ? access_device(access, &object)
                    : object.kind == BACKEND ? access_backend(access, &object)
                                             : access_container(access, &object);
}

static int answer(struct access *access)
{
    pleat_threads_call(access->machine->threads, do_access, access);
    return access->error;
}

int pleat_machine_property_get(struct pleat_machine *machine, const char *path, const char *name,
                               struct pleat_property_value *value, struct pleat_message *message)
{
    struct access access = {
        .machine = machine, .path = path, .name = name, .value = value, .message = message};

    return answer(&access);
}

int pleat_machine_property_set(struct pleat_machine *machine, const char *path, const char *name,
                               const struct pleat_property_value *value, struct pleat_message *message)
{
    struct access access = {.machine = machine, .path = path, .name = name, .set = value, .message = message};

    return answer(&access);
}

int pleat_machine_property_set_text(struct pleat_machine *machine, const char *path, const char *name,
                                    const char *text, struct pleat_message *message)
{
    struct access access = {.machine = machine, .path = path, .name = name, .text = text, .message = message};

    return answer(&access);
}
