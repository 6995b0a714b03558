/* SPDX-License-Identifier: MIT
 *
 * Driving through QMP: one loop that looks, records, and waits for the next look.
 */
#include "machine/drive.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine/clock.h"
#include "machine/drive_map.h"
#include "machine/options.h"
#include "machine/picture.h"
#include "machine/qmp_client.h"

#define LOOK_INTERVAL_NS       UINT64_C(50000000)
#define LOOK_INTERVAL_LEAST_NS UINT64_C(1000000)
/** No device has changed for so long: drivers that retry after longer pauses count as settled, too. */
#define REST_NS UINT64_C(3000000000)
/** More devices than any machine has slots for. */
#define DEVICES_MAX 256

/* The curves of a device, which stay when the device goes. */
struct track {
    char id[PLEAT_MACHINE_ID_BYTES];
    int requested_curve, size_curve;
    uint64_t requested_bytes, size_bytes;
    bool present;
};

struct pleat_drive {
    struct pleat_qmp_client *client;
    FILE *out;
    struct pleat_clock clock;
    struct pleat_drive_device *devices;
    size_t count;
    /* When a device or its size last changed. */
    uint64_t changed_ns;
    struct pleat_picture *picture;
    struct pleat_drive_map *map; /* NULL: the guest's console isn't known */
    struct track tracks[DEVICES_MAX];
    size_t track_count;
    /* Changes are told to whoever watches. */
    bool tells;
    /* The machine was told to quit: that it goes away is no failure. */
    bool quits;
    /* Why looking failed within a scenario's condition. */
    int error;
    struct pleat_message why;
};

static void say(struct pleat_drive *drive, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct pleat_drive *drive, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vfprintf(drive->out, format, arguments);
    va_end(arguments);
    fflush(drive->out);
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

/* ---- looking ---- */

/* A member that must be a number that isn't negative. */
static bool read_size(const json_t *data, const char *name, uint64_t *bytes)
{
    const json_t *value = json_object_get(data, name);

    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *bytes = (uint64_t)json_integer_value(value);
    return true;
}

/* What the server says of one device; false for what can't be. */
static bool read_device(const json_t *data, struct pleat_drive_device *device)
{
    const json_t *id = json_object_get(data, "id");
    const char *memdev = json_string_value(json_object_get(data, "memdev"));

    memset(device, 0, sizeof *device);
    if (id) {
        /* What QEMU takes for an id can be printed as it is. */
        if (!json_is_string(id) || !pleat_machine_id_is_valid(json_string_value(id)) ||
            json_string_length(id) >= sizeof device->id)
            return false;
        snprintf(device->id, sizeof device->id, "%s", json_string_value(id));
    }
    if (memdev) {
        const char *last = strrchr(memdev, '/');
        memdev = last ? last + 1 : memdev;
        /* An id too, but for objects that somebody else than a person named. */
        snprintf(device->memdev, sizeof device->memdev, "%s",
                 pleat_machine_id_is_valid(memdev) ? memdev : "?");
    }
    return read_size(data, "node", &device->node) && read_size(data, "memaddr", &device->address) &&
           read_size(data, "size", &device->size_bytes) &&
           read_size(data, "requested-size", &device->requested_bytes) &&
           read_size(data, "max-size", &device->maximum_bytes) &&
           read_size(data, "block-size", &device->block_bytes) && device->block_bytes &&
           device->size_bytes <= device->maximum_bytes;
}

static int read_devices(struct pleat_drive *drive, const json_t *list, struct pleat_message *message)
{
    const char impossible[] = "the QMP server describes memory devices that can't be";
    struct pleat_drive_device *devices = calloc(json_array_size(list) + 1, sizeof *devices);
    size_t count = 0;

    if (!devices)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
    bool good = json_is_array(list) && json_array_size(list) <= DEVICES_MAX;
    for (size_t i = 0; good && i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const char *type = json_string_value(json_object_get(item, "type"));
        good = type != NULL;
        /* DIMMs and others have no size that could be changed. */
        if (good && !strcmp(type, "virtio-mem"))
            good = read_device(json_object_get(item, "data"), &devices[count++]);
    }
    if (!good) {
        free(devices);
        return pleat_message_set(message, PLEAT_E_PROTOCOL, "%s", impossible);
    }
    free(drive->devices);
    drive->devices = devices;
    drive->count = count;
    return PLEAT_OK;
}

static const struct pleat_drive_device *find(const struct pleat_drive *drive, const char *id)
{
    for (size_t i = 0; i < drive->count; i++)
        if (drive->devices[i].id[0] && !strcmp(drive->devices[i].id, id))
            return &drive->devices[i];
    return NULL;
}

static struct track *find_track(struct pleat_drive *drive, const char *id)
{
    for (size_t i = 0; i < drive->track_count; i++)
        if (!strcmp(drive->tracks[i].id, id))
            return &drive->tracks[i];
    return NULL;
}

static struct track *new_track(struct pleat_drive *drive, const struct pleat_drive_device *device)
{
    if (drive->track_count == DEVICES_MAX)
        return NULL;
    struct track *track = &drive->tracks[drive->track_count];
    const unsigned colour = 1 + (unsigned)drive->track_count % (PLEAT_PICTURE_COLOURS - 1);
    char name[PLEAT_MACHINE_ID_BYTES + 16];

    *track = (struct track){.present = false};
    memcpy(track->id, device->id, sizeof track->id);
    snprintf(name, sizeof name, "%s requested", device->id);
    track->requested_curve = pleat_picture_curve(drive->picture, name, colour, true);
    snprintf(name, sizeof name, "%s plugged", device->id);
    track->size_curve = pleat_picture_curve(drive->picture, name, colour, false);
    drive->track_count++;
    return track;
}

/* What is new about a device since the last look. */
static void follow(struct pleat_drive *drive, struct track *track, const struct pleat_drive_device *device,
                   uint64_t now_ns)
{
    const uint64_t requested = device ? device->requested_bytes : 0, size = device ? device->size_bytes : 0;
    const bool first = !track->present && device;
    char of[32], have[32], mark[PLEAT_MACHINE_ID_BYTES + 40];

    pleat_format_size(have, size);
    pleat_format_size(of, requested);
    if (device && !first && requested != track->requested_bytes) {
        snprintf(mark, sizeof mark, "%s to %s", track->id, of);
        pleat_picture_mark(drive->picture, now_ns, mark);
    }
    if (!device && track->present && drive->tells)
        say(drive, "%8.2f s  %s is gone\n", seconds(now_ns), track->id);
    if (first || size != track->size_bytes || requested != track->requested_bytes) {
        drive->changed_ns = now_ns;
        if (drive->tells && device)
            say(drive, "%8.2f s  %s has %s of %s\n", seconds(now_ns), track->id, have, of);
    }
    track->present = device != NULL;
    track->requested_bytes = requested;
    track->size_bytes = size;
    pleat_picture_point(drive->picture, track->requested_curve, now_ns, requested);
    pleat_picture_point(drive->picture, track->size_curve, now_ns, size);
}

int pleat_drive_look(struct pleat_drive *drive, struct pleat_message *message)
{
    json_t *list;
    int error = pleat_qmp_client_execute(drive->client, "query-memory-devices", NULL, &list, message);

    if (!error)
        error = read_devices(drive, list, message);
    json_decref(list);
    if (error)
        return error;
    const uint64_t now_ns = pleat_clock_now_ns(&drive->clock);
    for (size_t i = 0; i < drive->count; i++)
        if (drive->devices[i].id[0] && !find_track(drive, drive->devices[i].id))
            new_track(drive, &drive->devices[i]);
    for (size_t i = 0; i < drive->track_count; i++)
        follow(drive, &drive->tracks[i], find(drive, drive->tracks[i].id), now_ns);
    if (drive->map)
        pleat_drive_map_look(drive->map, drive->devices, drive->count, now_ns, false);
    return PLEAT_OK;
}

/* Waits for the next look, which comes after an event or INTERVAL_NS. */
static int pause_for(struct pleat_drive *drive, uint64_t interval_ns, struct pleat_message *message)
{
    int error = pleat_qmp_client_wait(drive->client, interval_ns, message);

    return error == PLEAT_E_TIMEOUT ? PLEAT_OK : error;
}

const struct pleat_drive_device *pleat_drive_devices(const struct pleat_drive *drive, size_t *count)
{
    *count = drive->count;
    return drive->devices;
}

/* ---- life ---- */

int pleat_drive_open(struct pleat_drive **result, const char *path, const char *console, uint64_t timeout_ns,
                     FILE *out, struct pleat_message *message)
{
    struct pleat_drive *drive = calloc(1, sizeof *drive);

    *result = NULL;
    if (!drive)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
    drive->out = out;
    int error = pleat_qmp_client_open(&drive->client, path, timeout_ns, message);
    if (!error) {
        drive->picture = pleat_picture_create(pleat_drive_server(drive), "as seen by QMP");
        if (!drive->picture)
            error = pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
    }
    if (!error && console)
        error = pleat_drive_map_open(&drive->map, console, drive->picture, message);
    pleat_clock_start(&drive->clock, false);
    if (!error)
        error = pleat_drive_look(drive, message);
    if (error)
        pleat_drive_close(drive);
    else
        *result = drive;
    return error;
}

void pleat_drive_close(struct pleat_drive *drive)
{
    if (!drive)
        return;
    pleat_qmp_client_close(drive->client);
    pleat_drive_map_close(drive->map);
    pleat_picture_destroy(drive->picture);
    free(drive->devices);
    free(drive);
}

const char *pleat_drive_server(const struct pleat_drive *drive)
{
    return pleat_qmp_client_server(drive->client);
}

int pleat_drive_console(const struct pleat_drive *drive, struct pleat_message *message)
{
    return drive->map ? pleat_drive_map_error(drive->map, message) : PLEAT_OK;
}

/* ---- resizing ---- */

static int not_found(const struct pleat_drive *drive, const char *id, struct pleat_message *message)
{
    char quoted[PLEAT_QUOTE_BYTES], known[256] = "";
    size_t length = 0;

    for (size_t i = 0; i < drive->count && length < sizeof known; i++)
        if (drive->devices[i].id[0])
            length += (size_t)snprintf(known + length, sizeof known - length, "%s%s", length ? ", " : "",
                                       drive->devices[i].id);
    return pleat_message_set(message, PLEAT_E_NOT_FOUND, "no virtio-mem device %s, expected one of: %s",
                             pleat_quote(quoted, id), length ? known : "(there is none with an id)");
}

static int request(struct pleat_drive *drive, const char *id, uint64_t bytes, struct pleat_message *message)
{
    char path[PLEAT_MACHINE_ID_BYTES + 32];

    snprintf(path, sizeof path, "/machine/peripheral/%s", id);
    return pleat_qmp_client_execute(
        drive->client, "qom-set",
        json_pack("{s:s, s:s, s:I}", "path", path, "property", "requested-size", "value", (json_int_t)bytes),
        NULL, message);
}

/* How a wait ended that ran out of patience. */
static int give_up(const char *why, uint64_t after_ns, uint64_t wanted, uint64_t reached, const char *id,
                   struct pleat_message *message)
{
    char want[32], have[32];

    return pleat_message_set(message, PLEAT_E_TIMEOUT, "%s %s %gs: wanted %s, reached %s", id, why,
                             seconds(after_ns), pleat_format_size(want, wanted),
                             pleat_format_size(have, reached));
}

/* Looks until the device has BYTES. START_NS is when that was requested. */
static int wait_for_size(struct pleat_drive *drive, const char *id, uint64_t bytes, uint64_t start_ns,
                         const struct pleat_drive_patience *patience, struct pleat_message *message)
{
    uint64_t last_bytes = find(drive, id)->size_bytes, progress_ns = start_ns;
    char have[32], want[32];

    for (;;) {
        int error = pleat_drive_look(drive, message);
        if (error)
            return error;
        const uint64_t now_ns = pleat_clock_now_ns(&drive->clock), past_ns = now_ns - start_ns;
        const struct pleat_drive_device *device = find(drive, id);
        if (!device)
            return pleat_message_set(message, PLEAT_E_NOT_FOUND, "%s went away", id);
        pleat_format_size(have, device->size_bytes);
        if (device->size_bytes != last_bytes) {
            say(drive, "%8.2f s  %s has %s of %s\n", seconds(past_ns), id, have,
                pleat_format_size(want, bytes));
            last_bytes = device->size_bytes;
            progress_ns = now_ns;
        }
        if (device->requested_bytes != bytes)
            return pleat_message_set(message, PLEAT_E_BUSY, "%s: somebody else requested %s, reached %s", id,
                                     pleat_format_size(want, device->requested_bytes), have);
        if (device->size_bytes == bytes)
            return PLEAT_OK;
        if (patience->deadline_ns && past_ns >= patience->deadline_ns)
            return give_up("didn't get there within", patience->deadline_ns, bytes, last_bytes, id, message);
        if (patience->stall_ns && now_ns - progress_ns >= patience->stall_ns)
            return give_up("stalled, no progress for", patience->stall_ns, bytes, last_bytes, id, message);
        uint64_t interval_ns = past_ns / 20;
        if (interval_ns < LOOK_INTERVAL_LEAST_NS)
            interval_ns = LOOK_INTERVAL_LEAST_NS;
        error = pause_for(drive, interval_ns < LOOK_INTERVAL_NS ? interval_ns : LOOK_INTERVAL_NS, message);
        if (error)
            return error;
    }
}

int pleat_drive_resize(struct pleat_drive *drive, const char *id, uint64_t bytes,
                       const struct pleat_drive_patience *patience, struct pleat_message *message)
{
    const struct pleat_drive_device *device = find(drive, id);
    char have[32], want[32];

    if (!device)
        return not_found(drive, id, message);
    if (bytes > INT64_MAX)
        return pleat_message_set(message, PLEAT_E_INVALID, "expected a size below 8E");
    pleat_format_size(have, device->size_bytes);
    pleat_format_size(want, bytes);
    say(drive, "%s has %s, %s to %s\n", id, have,
        bytes > device->size_bytes   ? "grows"
        : bytes < device->size_bytes ? "shrinks"
                                     : "is set",
        want);
    const uint64_t start_ns = pleat_clock_now_ns(&drive->clock);
    int error = request(drive, id, bytes, message);
    if (!error)
        error = wait_for_size(drive, id, bytes, start_ns, patience, message);
    if (!error)
        say(drive, "%s has %s after %.3f s\n", id, want,
            seconds(pleat_clock_now_ns(&drive->clock) - start_ns));
    return error;
}

/* ---- watching ---- */

int pleat_drive_watch(struct pleat_drive *drive, uint64_t duration_ns, struct pleat_message *message)
{
    const uint64_t start_ns = pleat_clock_now_ns(&drive->clock);
    char have[32], of[32];
    int error = PLEAT_OK;

    for (size_t i = 0; i < drive->count; i++)
        if (drive->devices[i].id[0])
            say(drive, "%8.2f s  %s has %s of %s\n", seconds(start_ns), drive->devices[i].id,
                pleat_format_size(have, drive->devices[i].size_bytes),
                pleat_format_size(of, drive->devices[i].requested_bytes));
    drive->tells = true;
    for (;;) {
        const uint64_t past_ns = pleat_clock_now_ns(&drive->clock) - start_ns;
        if (duration_ns && past_ns >= duration_ns)
            break;
        const uint64_t rest_ns = duration_ns ? duration_ns - past_ns : UINT64_MAX;
        error = pause_for(drive, rest_ns < LOOK_INTERVAL_NS ? rest_ns : LOOK_INTERVAL_NS, message);
        if (!error)
            error = pleat_drive_look(drive, message);
        if (error)
            break;
    }
    drive->tells = false;
    return error == PLEAT_E_CANCELLED ? PLEAT_OK : error;
}

/* ---- scenarios ---- */

/* Takes the next word of *AT; its length. */
static size_t take_word(const char **at, const char **word)
{
    *at += strspn(*at, " \t");
    *word = *at;
    const size_t length = strcspn(*at, " \t");
    *at += length;
    return length;
}

static bool is_word(const char *word, size_t length, const char *text)
{
    return strlen(text) == length && !memcmp(word, text, length);
}

/* Pleat's own commands, which QEMU doesn't have. */
static bool is_pleats_own(const char *line)
{
    static const char *const own[] = {"guest", "fault_add", "fault_del"};
    static const char *const own_info[] = {"blocks", "driver",   "faults", "obstacles",
                                           "ranges", "workload", "zones"};
    const char *word;
    size_t length = take_word(&line, &word);

    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (is_word(word, length, own[i]))
            return true;
    if (!is_word(word, length, "info"))
        return false;
    length = take_word(&line, &word);
    for (size_t i = 0; i < sizeof own_info / sizeof own_info[0]; i++)
        if (is_word(word, length, own_info[i]))
            return true;
    return false;
}

static bool scenario_knows(void *context, const char *line)
{
    struct pleat_drive *drive = context;

    if (pleat_qmp_client_is_pleat(drive->client) || !is_pleats_own(line))
        return true;
    say(drive, "not available over QMP from %s, passed over: %s\n", pleat_drive_server(drive), line);
    return false;
}

/* The file name of `picture STEM`, or NULL. */
static const char *picture_stem(const char *line)
{
    const char *word;

    const size_t length = take_word(&line, &word);
    if (!is_word(word, length, "picture"))
        return NULL;
    return line + strspn(line, " \t");
}

static int scenario_command(void *context, const char *line, char *output, size_t output_bytes,
                            struct pleat_message *message)
{
    struct pleat_drive *drive = context;
    struct pleat_text text = {0};
    const char *stem = picture_stem(line);
    int error;

    if (stem) {
        error = *stem ? pleat_drive_picture(drive, stem, message)
                      : pleat_message_set(message, PLEAT_E_INVALID, "picture: string expected");
        if (!error)
            pleat_text_print(&text, "%s.svg\n%s.png\n", stem, stem);
    } else {
        drive->quits = !strcmp(line, "quit") || !strcmp(line, "q");
        error = pleat_qmp_client_hmp(drive->client, line, &text, message);
        /* The machine may be gone before it has answered. */
        if (drive->quits && error == PLEAT_E_DEVICE)
            error = PLEAT_OK;
    }
    snprintf(output, output_bytes, "%s", pleat_text_string(&text));
    if (error)
        say(drive, "Error: %s\n", message->text);
    else
        say(drive, "%s", output);
    pleat_text_free(&text);
    if (!error && !drive->quits)
        error = pleat_drive_look(drive, message);
    return error;
}

static int scenario_device_bytes(void *context, const char *id, uint64_t *bytes,
                                 struct pleat_message *message)
{
    struct pleat_drive *drive = context;
    const struct pleat_drive_device *device = find(drive, id);

    if (!device)
        return not_found(drive, id, message);
    *bytes = device->size_bytes;
    return PLEAT_OK;
}

static bool scenario_settled(void *context)
{
    const struct pleat_drive *drive = context;
    bool all_there = true;

    for (size_t i = 0; i < drive->count; i++)
        all_there = all_there && drive->devices[i].size_bytes == drive->devices[i].requested_bytes;
    return all_there || pleat_clock_now_ns(&drive->clock) - drive->changed_ns >= REST_NS;
}

static int scenario_run_until(void *context, bool (*condition)(void *context), void *condition_context,
                              uint64_t timeout_ns)
{
    struct pleat_drive *drive = context;
    const uint64_t start_ns = pleat_clock_now_ns(&drive->clock);

    for (;;) {
        drive->error = pleat_drive_look(drive, &drive->why);
        if (drive->error)
            return drive->error;
        if (condition && condition(condition_context))
            return PLEAT_OK;
        const uint64_t past_ns = pleat_clock_now_ns(&drive->clock) - start_ns;
        if (past_ns >= timeout_ns)
            return PLEAT_E_TIMEOUT;
        const uint64_t rest_ns = timeout_ns - past_ns;
        drive->error = pause_for(drive, rest_ns < LOOK_INTERVAL_NS ? rest_ns : LOOK_INTERVAL_NS, &drive->why);
        if (drive->error)
            return drive->error;
    }
}

static void scenario_print(void *context, const char *line)
{
    say(context, "%s\n", line);
}

int pleat_drive_run_scenario(struct pleat_drive *drive, const struct pleat_scenario *scenario,
                             struct pleat_message *message)
{
    static const struct pleat_scenario_ops ops = {
        .command = scenario_command,
        .knows = scenario_knows,
        .device_bytes = scenario_device_bytes,
        .settled = scenario_settled,
        .run_until = scenario_run_until,
        .print = scenario_print,
    };
    drive->error = PLEAT_OK;
    int error = pleat_scenario_run(scenario, &ops, drive, message);
    if (error && drive->error) {
        /* Where it was is known to the scenario, and why, to the drive. */
        const size_t general = strlen(pleat_error_text(error)), length = strlen(message->text);
        if (length >= general)
            message->text[length - general] = '\0';
        pleat_message_prefix(&drive->why, "%s", message->text);
        *message = drive->why;
    }
    return error;
}

/* ---- the picture ---- */

/* Pleat's own machine draws more than can be seen from here. It has a working directory of its own. */
static int picture_by_server(struct pleat_drive *drive, const char *stem, struct pleat_message *message)
{
    struct pleat_text line = {0}, output = {0};
    char *folder = stem[0] == '/' ? NULL : getcwd(NULL, 0);

    pleat_text_print(&line, "picture \"%s%s%s\"", folder ? folder : "", folder ? "/" : "", stem);
    int error = pleat_qmp_client_hmp(drive->client, pleat_text_string(&line), &output, message);
    pleat_text_free(&line);
    pleat_text_free(&output);
    free(folder);
    return error;
}

/* What is seen, and what of it isn't and why. */
static void say_what_is_seen(struct pleat_drive *drive)
{
    const char *seen = "as seen by QMP; a map of memory blocks needs the guest's console (--guest-console)";
    char text[sizeof drive->why.text + 64];
    struct pleat_message why;

    if (drive->map && pleat_drive_map_error(drive->map, &why)) {
        snprintf(text, sizeof text, "as seen by QMP; the guest's console isn't followed: %s", why.text);
        seen = text;
    } else if (drive->map) {
        seen = pleat_drive_map_is_told(drive->map)
                   ? "as seen by QMP, and as told by the guest on its console"
                   : "as seen by QMP; the guest tells no memory blocks on its console";
    }
    /* Without memory for it the old line stands. */
    (void)pleat_picture_set_subtitle(drive->picture, seen);
}

int pleat_drive_picture(struct pleat_drive *drive, const char *stem, struct pleat_message *message)
{
    if (pleat_qmp_client_is_pleat(drive->client) && !strpbrk(stem, "\"\\") &&
        !picture_by_server(drive, stem, message))
        return PLEAT_OK;
    if (drive->map)
        pleat_drive_map_look(drive->map, drive->devices, drive->count, pleat_clock_now_ns(&drive->clock),
                             true);
    say_what_is_seen(drive);
    return pleat_picture_draw(drive->picture, stem, 0, message);
}
