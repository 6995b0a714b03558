/* SPDX-License-Identifier: MIT
 *
 * The registry of faults. Those that are on stand in a short array under a lock; a counter for each place,
 * read without the lock, keeps a machine without faults from paying for them.
 */
#include "machine/fault.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "machine/options.h"

struct active_fault {
    struct pleat_fault fault;
    uint64_t asked, hits;
    uint64_t first_hit_ns;
};

struct pleat_faults {
    pthread_mutex_t lock;
    unsigned count;
    struct active_fault active[PLEAT_MACHINE_FAULTS_MAX];
    atomic_uint on[PLEAT_FAULT_PLACES];
};

/* What belongs to a fault besides the common parameters. */
enum { OF_A_DEVICE = 1, HAS_SIZE = 2 };

static const struct {
    const char *name;
    unsigned flags;
    const char *help;
} known[PLEAT_FAULT_PLACES] = {
    [PLEAT_FAULT_DEVICE_BUSY] = {"device-busy", OF_A_DEVICE, "the device answers a request with BUSY"},
    [PLEAT_FAULT_DEVICE_NACK] = {"device-nack", OF_A_DEVICE, "the device answers a request with NACK"},
    [PLEAT_FAULT_DEVICE_ERROR] = {"device-error", OF_A_DEVICE, "the device answers a request with ERROR"},
    [PLEAT_FAULT_DEVICE_SILENT] = {"device-silent", OF_A_DEVICE,
                                   "the device takes a request and never answers it"},
    [PLEAT_FAULT_CONFIG_CHANGE_IN_REQUEST] = {"config-change-in-request", OF_A_DEVICE | HAS_SIZE,
                                              "while a request is with the device, the host asks for another "
                                              "size: size=, or half of what is requested"},
    [PLEAT_FAULT_HOST_OUT_OF_MEMORY] = {"host-out-of-memory", OF_A_DEVICE,
                                        "the host has no memory for blocks that are plugged, or pages for "
                                        "frames that a Xen guest populates"},
    [PLEAT_FAULT_HOST_OUT_OF_MAPPINGS] = {"host-out-of-mappings", OF_A_DEVICE,
                                          "the host can't map one more piece, or unmap it"},
    [PLEAT_FAULT_HOST_DISCARD_FAILS] = {"host-discard-fails", OF_A_DEVICE,
                                        "the host can't take unplugged memory back"},
    [PLEAT_FAULT_ALLOCATION_REFUSED] = {"allocation-refused", 0, "the workload gets no frame"},
    [PLEAT_FAULT_ADD_REFUSED] = {"add-refused", 0, "the guest has no room for the metadata of memory to add"},
    [PLEAT_FAULT_LISTENER_REFUSES] = {"listener-refuses", 0,
                                      "somebody in the guest refuses that a block goes online or offline"},
    [PLEAT_FAULT_MIGRATE_FAILS] = {"migrate-fails", 0, "the workload can't move a frame"},
    [PLEAT_FAULT_ISOLATE_FAILS] = {"isolate-fails", 0, "the workload has a frame pinned"},
    [PLEAT_FAULT_GUEST_TOUCHES_UNPLUGGED] = {"guest-touches-unplugged", OF_A_DEVICE,
                                             "the guest reads unplugged memory; the machine catches it"},
    [PLEAT_FAULT_GUEST_REFUSES_UNPLUG] = {"guest-refuses-unplug", OF_A_DEVICE,
                                          "the guest refuses a device_del"},
    [PLEAT_FAULT_FRAME_TORN] = {"frame-torn", 0, "a word of a frame that the workload holds changes"},
    [PLEAT_FAULT_FRAME_LOST] = {"frame-lost", 0, "the workload forgets frames that it holds"},
    [PLEAT_FAULT_XEN_POPULATE_PARTIAL] = {"xen-populate-partial", HAS_SIZE,
                                          "Xen populates less than it is asked for: size=, or half"},
    [PLEAT_FAULT_XEN_HYPERCALL_FAILS] = {"xen-hypercall-fails", 0,
                                         "a hypercall for memory or grants returns an error"},
    [PLEAT_FAULT_XEN_STORE_GONE] = {"xen-store-gone", 0, "XenStore takes no requests and sends nothing"},
    [PLEAT_FAULT_XEN_STORE_SLOW] = {"xen-store-slow", 0, "XenStore takes and sends one byte at a time"},
    [PLEAT_FAULT_XEN_STORE_AGAIN] = {"xen-store-again", 0, "XenStore answers a request with EAGAIN"},
    [PLEAT_FAULT_XEN_STORE_GARBAGE] = {"xen-store-garbage", 0,
                                       "XenStore answers a request with what isn't its protocol"},
    [PLEAT_FAULT_XEN_STORE_OLD] = {"xen-store-old", 0,
                                   "XenStore doesn't say that a connection can be made anew"},
};

/* The last two rows are only for faults with the flag. */
static const struct pleat_option_key parameter_keys[] = {
    {.name = "name", .type = PLEAT_OPTION_STRING, .flags = PLEAT_OPTION_REQUIRED, .help = "which fault"},
    {.name = "after", .type = PLEAT_OPTION_NUMBER, .help = "so many passes go well first"},
    {.name = "count",
     .type = PLEAT_OPTION_NUMBER,
     .minimum = 1,
     .help = "it fails so often; default: always"},
    {.name = "every", .type = PLEAT_OPTION_NUMBER, .minimum = 1, .help = "only each Nth pass fails"},
    {.name = "for",
     .type = PLEAT_OPTION_DURATION,
     .minimum = 1,
     .help = "for so long after the first failure"},
    {.name = "device", .type = PLEAT_OPTION_STRING, .help = "only at this device"},
    {.name = "size", .type = PLEAT_OPTION_SIZE, .help = "the size that is asked for, or populated, then"},
};

enum { KEYS = sizeof parameter_keys / sizeof parameter_keys[0] };

const char *pleat_fault_name(enum pleat_fault_place place)
{
    return known[place].name;
}

bool pleat_fault_is_of_a_device(enum pleat_fault_place place)
{
    return known[place].flags & OF_A_DEVICE;
}

static int refuse_name(const char *name, struct pleat_message *message)
{
    char quoted[PLEAT_QUOTE_BYTES], names[800];
    size_t used = 0;

    for (unsigned i = 0; i < PLEAT_FAULT_PLACES && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", known[i].name);
    return pleat_message_set(message, PLEAT_E_INVALID, "-fault: no such fault: %s; there are %s",
                             pleat_quote(quoted, name), names);
}

/* The rows that a fault of these flags knows, in `keys`; returns how many. */
static unsigned keys_of(unsigned flags, struct pleat_option_key keys[KEYS])
{
    unsigned count = 0;

    for (unsigned i = 0; i < KEYS; i++) {
        if (!strcmp(parameter_keys[i].name, "device") && !(flags & OF_A_DEVICE))
            continue;
        if (!strcmp(parameter_keys[i].name, "size") && !(flags & HAS_SIZE))
            continue;
        keys[count++] = parameter_keys[i];
    }
    return count;
}

static int read_parameters(const struct pleat_options *options, struct pleat_fault *fault,
                           struct pleat_message *message)
{
    const char *device = pleat_options_text(options, "device", "");

    if (strlen(device) >= sizeof fault->device)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "-fault: device: expected an id of at most %zu bytes",
                                 sizeof fault->device - 1);
    fault->after = pleat_options_number(options, "after", 0);
    fault->count = pleat_options_number(options, "count", 0);
    fault->every = pleat_options_number(options, "every", 1);
    fault->for_ns = pleat_options_number(options, "for", 0);
    fault->bytes = pleat_options_number(options, "size", UINT64_MAX);
    memcpy(fault->device, device, strlen(device) + 1);
    return PLEAT_OK;
}

int pleat_fault_parse(const char *text, struct pleat_fault *fault, struct pleat_message *message)
{
    struct pleat_option_key keys[KEYS];
    struct pleat_options options = {0};
    struct pleat_fault result = {0};

    if (!strncmp(text, "fault=", 6))
        text += 6;
    if (strlen(text) >= sizeof result.text)
        return pleat_message_set(message, PLEAT_E_INVALID, "-fault: expected at most %zu bytes, found %zu",
                                 sizeof result.text - 1, strlen(text));
    memcpy(result.text, text, strlen(text) + 1);
    for (char *at = result.text; *at; at++)
        if (*at == ':')
            *at = ',';

    int error = pleat_options_parse(&options, "-fault", result.text, "name", message);
    if (error)
        return error;
    const char *name = pleat_options_text(&options, "name", "");
    unsigned place = 0;
    while (place < PLEAT_FAULT_PLACES && strcmp(name, known[place].name))
        place++;
    if (place == PLEAT_FAULT_PLACES) {
        error = refuse_name(name, message);
    } else {
        result.place = (enum pleat_fault_place)place;
        error = pleat_options_check(&options, keys, keys_of(known[place].flags, keys), message);
        if (!error)
            error = read_parameters(&options, &result, message);
    }
    pleat_options_free(&options);
    if (!error)
        *fault = result;
    return error;
}

struct pleat_faults *pleat_faults_create(void)
{
    struct pleat_faults *faults = calloc(1, sizeof *faults);

    if (faults)
        pthread_mutex_init(&faults->lock, NULL);
    return faults;
}

void pleat_faults_destroy(struct pleat_faults *faults)
{
    if (!faults)
        return;
    pthread_mutex_destroy(&faults->lock);
    free(faults);
}

int pleat_faults_add(struct pleat_faults *faults, const struct pleat_fault *fault,
                     struct pleat_message *message)
{
    int error = PLEAT_OK;

    pthread_mutex_lock(&faults->lock);
    for (unsigned i = 0; i < faults->count && !error; i++) {
        const struct pleat_fault *other = &faults->active[i].fault;
        if (other->place == fault->place && !strcmp(other->device, fault->device))
            error = pleat_message_set(message, PLEAT_E_EXISTS, "-fault: '%s' is on already",
                                      known[fault->place].name);
    }
    if (!error && faults->count == PLEAT_MACHINE_FAULTS_MAX)
        error = pleat_message_set(message, PLEAT_E_NO_MEMORY, "-fault: at most %u can be on at once",
                                  PLEAT_MACHINE_FAULTS_MAX);
    if (!error) {
        faults->active[faults->count++] = (struct active_fault){.fault = *fault};
        atomic_fetch_add(&faults->on[fault->place], 1);
    }
    pthread_mutex_unlock(&faults->lock);
    return error;
}

int pleat_faults_delete(struct pleat_faults *faults, const char *name, struct pleat_message *message)
{
    unsigned kept = 0, before;

    pthread_mutex_lock(&faults->lock);
    before = faults->count;
    for (unsigned i = 0; i < before; i++) {
        if (strcmp(known[faults->active[i].fault.place].name, name))
            faults->active[kept++] = faults->active[i];
        else
            atomic_fetch_sub(&faults->on[faults->active[i].fault.place], 1);
    }
    faults->count = kept;
    pthread_mutex_unlock(&faults->lock);
    if (kept == before) {
        char quoted[PLEAT_QUOTE_BYTES];
        return pleat_message_set(message, PLEAT_E_NOT_FOUND, "no fault %s is on", pleat_quote(quoted, name));
    }
    return PLEAT_OK;
}

unsigned pleat_faults_list(struct pleat_faults *faults, struct pleat_fault_info *list, unsigned capacity)
{
    pthread_mutex_lock(&faults->lock);
    const unsigned count = faults->count;
    for (unsigned i = 0; i < count && i < capacity; i++) {
        memcpy(list[i].text, faults->active[i].fault.text, sizeof list[i].text);
        list[i].asked = faults->active[i].asked;
        list[i].hits = faults->active[i].hits;
    }
    pthread_mutex_unlock(&faults->lock);
    return count;
}

/* One pass of a place at which this fault is on. */
static bool pass(struct active_fault *active, uint64_t now_ns)
{
    const struct pleat_fault *fault = &active->fault;
    const uint64_t number = active->asked++;

    if (number < fault->after || (number - fault->after) % fault->every)
        return false;
    if (fault->count && active->hits == fault->count)
        return false;
    if (fault->for_ns && active->hits && now_ns - active->first_hit_ns > fault->for_ns)
        return false;
    if (!active->hits++)
        active->first_hit_ns = now_ns;
    return true;
}

bool pleat_fault_hits(struct pleat_faults *faults, enum pleat_fault_place place, const char *device,
                      uint64_t now_ns, uint64_t *bytes)
{
    bool hit = false;

    if (!atomic_load_explicit(&faults->on[place], memory_order_relaxed))
        return false;
    pthread_mutex_lock(&faults->lock);
    for (unsigned i = 0; i < faults->count && !hit; i++) {
        struct active_fault *active = &faults->active[i];
        if (active->fault.place != place ||
            (active->fault.device[0] && (!device || strcmp(device, active->fault.device))))
            continue;
        hit = pass(active, now_ns);
        if (hit && bytes)
            *bytes = active->fault.bytes;
    }
    pthread_mutex_unlock(&faults->lock);
    return hit;
}

void pleat_faults_help(FILE *out)
{
    for (unsigned i = 0; i < PLEAT_FAULT_PLACES; i++)
        fprintf(out, "  %-26s %s\n", known[i].name, known[i].help);
    fprintf(out, "\nParameters, after the name, separated by , or :\n");
    pleat_options_print_help(out, parameter_keys + 1, KEYS - 1);
}
