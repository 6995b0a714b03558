/* SPDX-License-Identifier: MIT
 *
 * `pleat drive`: lists, resizes and watches the memory devices of a running QEMU through its QMP socket.
 */
#include "cli/command.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/drive.h"
#include "machine/options.h"

/** Exit code of a device that didn't get to its size: asked properly, done in part. */
#define EXIT_NOT_REACHED 3

static const char help_text[] =
    "Usage: pleat drive --qmp SOCKET list [--json]\n"
    "       pleat drive --qmp SOCKET resize DEVICE SIZE [--deadline TIME] [--stall TIME]\n"
    "       pleat drive --qmp SOCKET watch [--duration TIME]\n"
    "       pleat drive --qmp SOCKET run SCENARIO\n"
    "\n"
    "Drives the virtio-mem devices of a running machine: a QEMU that was started with\n"
    "-qmp unix:SOCKET,server=on,wait=off, whatever its guest is, or 'pleat run'.\n"
    "\n"
    "  list     shows the devices: id, node, size, requested size, maximum, block size,\n"
    "           address and backend.\n"
    "  resize   requests SIZE of DEVICE, such as 1G, and waits until it has it. Prints a\n"
    "           line whenever the size changes. What isn't reached stays requested.\n"
    "  watch    prints a line whenever a size or a request changes, until it is\n"
    "           interrupted.\n"
    "  run      runs a scenario, a file of monitor commands as 'pleat run -scenario' takes\n"
    "           it. What only Pleat's own machine can answer is passed over, by name, when\n"
    "           QEMU is driven.\n"
    "\n"
    "Options:\n"
    "  --qmp SOCKET     the Unix socket, also as unix:SOCKET\n"
    "  --timeout TIME   how long the server may take for an answer (10s)\n"
    "  --deadline TIME  of resize, altogether, or off (off)\n"
    "  --stall TIME     of resize, without any progress, or off (30s)\n"
    "  --duration TIME  of watch\n"
    "  --picture STEM   at the end writes STEM.svg and STEM.png: sizes over time, and the\n"
    "                   memory blocks if they are known; those of 'pleat run' are\n"
    "  --guest-console FILE\n"
    "                   what the guest says on its console, a file or a pipe: where Pleat's\n"
    "                   guest image tells its memory blocks, if it was started with\n"
    "                   blocks=tell, which QMP doesn't\n"
    "  --json           list prints a list of objects\n"
    "\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the device stalled or its deadline\n"
    "passed; the message says which size was wanted and which was reached.\n";

struct drive_request {
    const char *socket, *picture, *console;
    uint64_t timeout_ns, duration_ns;
    struct pleat_drive_patience patience;
    bool json;
    /* The action's own. */
    const char *device;
    uint64_t bytes;
    struct pleat_scenario scenario;
};

/* ---- actions ---- */

static void print_table(const struct pleat_drive_device *devices, size_t count)
{
    char size[4][32];

    printf("%-12s %4s %10s %10s %10s %8s %14s  %s\n", "device", "node", "size", "requested", "maximum",
           "block", "address", "backend");
    for (size_t i = 0; i < count; i++)
        printf("%-12s %4" PRIu64 " %10s %10s %10s %8s %#14" PRIx64 "  %s\n",
               devices[i].id[0] ? devices[i].id : "(no id)", devices[i].node,
               pleat_format_size(size[0], devices[i].size_bytes),
               pleat_format_size(size[1], devices[i].requested_bytes),
               pleat_format_size(size[2], devices[i].maximum_bytes),
               pleat_format_size(size[3], devices[i].block_bytes), devices[i].address, devices[i].memdev);
}

static void print_json(const struct pleat_drive_device *devices, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++) {
        const struct pleat_drive_device *device = &devices[i];
        json_t *item =
            json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "node", (json_int_t)device->node, "size-bytes",
                      (json_int_t)device->size_bytes, "requested-bytes", (json_int_t)device->requested_bytes,
                      "maximum-bytes", (json_int_t)device->maximum_bytes, "block-bytes",
                      (json_int_t)device->block_bytes, "address", (json_int_t)device->address, "backend",
                      device->memdev);
        if (device->id[0])
            json_object_set_new(item, "device", json_string(device->id));
        json_array_append_new(list, item);
    }
    json_dumpf(list, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(list);
}

static int list(struct pleat_drive *drive, const struct drive_request *request, struct pleat_message *message)
{
    size_t count;
    const struct pleat_drive_device *devices = pleat_drive_devices(drive, &count);

    (void)message;
    if (request->json)
        print_json(devices, count);
    else if (count)
        print_table(devices, count);
    else
        printf("%s has no virtio-mem devices.\n", pleat_drive_server(drive));
    return PLEAT_OK;
}

static int resize(struct pleat_drive *drive, const struct drive_request *request,
                  struct pleat_message *message)
{
    return pleat_drive_resize(drive, request->device, request->bytes, &request->patience, message);
}

static int watch(struct pleat_drive *drive, const struct drive_request *request,
                 struct pleat_message *message)
{
    return pleat_drive_watch(drive, request->duration_ns, message);
}

static int run(struct pleat_drive *drive, const struct drive_request *request, struct pleat_message *message)
{
    return pleat_drive_run_scenario(drive, &request->scenario, message);
}

static const struct action {
    const char *name;
    /* How many words follow, and which. */
    int words;
    const char *form;
    int (*function)(struct pleat_drive *drive, const struct drive_request *request,
                    struct pleat_message *message);
    bool may_run_out_of_patience;
} actions[] = {
    {"list", 0, "nothing", list, false},
    {"resize", 2, "DEVICE and SIZE", resize, true},
    {"watch", 0, "nothing", watch, false},
    {"run", 1, "one SCENARIO", run, false},
};
#define ACTIONS (sizeof actions / sizeof actions[0])

/* Also after a failure there is something to be seen; the failure is what counts then. */
static int draw(struct pleat_drive *drive, const char *stem, int error, struct pleat_message *message)
{
    struct pleat_message about_picture = {""};
    int drawn = pleat_drive_picture(drive, stem, &about_picture);

    if (!drawn)
        printf("%s.svg and %s.png show it.\n", stem, stem);
    else if (!error)
        *message = about_picture;
    return error ? error : drawn;
}

static int carry_out(const struct action *action, const struct drive_request *request)
{
    struct pleat_message message = {""};
    struct pleat_drive *drive;
    int error =
        pleat_drive_open(&drive, request->socket, request->console, request->timeout_ns, stdout, &message);

    if (error)
        return pleat_command_failed("drive", &message);
    error = action->function(drive, request, &message);
    const bool not_reached = action->may_run_out_of_patience && error == PLEAT_E_TIMEOUT;
    if (request->picture)
        error = draw(drive, request->picture, error, &message);
    if (!error)
        error = pleat_drive_console(drive, &message);
    pleat_drive_close(drive);
    if (!error)
        return PLEAT_EXIT_OK;
    fflush(stdout);
    pleat_command_failed("drive", &message);
    return not_reached ? EXIT_NOT_REACHED : PLEAT_EXIT_FAILED;
}

/* ---- the command line ---- */

static int read_time(const char *option, const char *text, bool may_be_off, uint64_t *ns)
{
    struct pleat_message message = {""};

    *ns = 0;
    if (may_be_off && !strcmp(text, "off"))
        return PLEAT_EXIT_OK;
    int error = pleat_parse_duration(text, ns, &message);
    if (!error && !*ns)
        error = pleat_message_set(&message, PLEAT_E_INVALID, "expects more than nothing%s",
                                  may_be_off ? ", or off" : "");
    return error ? pleat_usage_error("drive", "--%s %s", option, message.text) : PLEAT_EXIT_OK;
}

static int read_options(int argc, char **argv, struct drive_request *request, bool *help)
{
    static const struct option options[] = {{"qmp", required_argument, NULL, 'q'},
                                            {"timeout", required_argument, NULL, 't'},
                                            {"deadline", required_argument, NULL, 'd'},
                                            {"stall", required_argument, NULL, 's'},
                                            {"duration", required_argument, NULL, 'u'},
                                            {"picture", required_argument, NULL, 'p'},
                                            {"guest-console", required_argument, NULL, 'c'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int letter;

    opterr = 0;
    optind = 1;
    while ((letter = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        int code = PLEAT_EXIT_OK;
        if (letter == 'q')
            request->socket = !strncmp(optarg, "unix:", 5) ? optarg + 5 : optarg;
        else if (letter == 't')
            code = read_time("timeout", optarg, false, &request->timeout_ns);
        else if (letter == 'd')
            code = read_time("deadline", optarg, true, &request->patience.deadline_ns);
        else if (letter == 's')
            code = read_time("stall", optarg, true, &request->patience.stall_ns);
        else if (letter == 'u')
            code = read_time("duration", optarg, false, &request->duration_ns);
        else if (letter == 'p')
            request->picture = optarg;
        else if (letter == 'c')
            request->console = optarg;
        else if (letter == 'j')
            request->json = true;
        else if (letter == 'h')
            *help = true;
        else if (letter == ':')
            code = pleat_usage_error("drive", "'%s' needs a value", argv[optind - 1]);
        else
            code = pleat_usage_error("drive", "unknown option '%s'", argv[optind - 1]);
        if (code)
            return code;
    }
    return PLEAT_EXIT_OK;
}

/* The words after the action. A scenario is read before anything is asked of the machine. */
static int read_words(const struct action *action, char **words, struct drive_request *request)
{
    struct pleat_message message = {""};

    if (action->function == run) {
        int error = pleat_scenario_load(&request->scenario, words[0], &message);
        if (error == PLEAT_E_INVALID)
            return pleat_usage_error("drive", "%s", message.text);
        return error ? pleat_command_failed("drive", &message) : PLEAT_EXIT_OK;
    }
    if (action->function == resize) {
        request->device = words[0];
        if (pleat_parse_size(words[1], 1, &request->bytes, &message))
            return pleat_usage_error("drive", "resize: SIZE %s", message.text);
    }
    return PLEAT_EXIT_OK;
}

int pleat_command_drive(int argc, char **argv)
{
    struct drive_request request = {.timeout_ns = UINT64_C(10000000000),
                                    .patience = {.stall_ns = UINT64_C(30000000000)}};
    char quoted[PLEAT_QUOTE_BYTES];
    bool help = false;
    int code = read_options(argc, argv, &request, &help);

    if (code)
        return code;
    if (help)
        return fputs(help_text, stdout) < 0;
    if (optind == argc)
        return pleat_usage_error("drive", "expected list, resize, watch or run");
    const char *name = argv[optind++];
    const struct action *action = NULL;
    for (size_t i = 0; i < ACTIONS && !action; i++)
        if (!strcmp(actions[i].name, name))
            action = &actions[i];
    if (!action)
        return pleat_usage_error("drive", "unknown action %s, expected list, resize, watch or run",
                                 pleat_quote(quoted, name));
    if (argc - optind != action->words)
        return pleat_usage_error("drive", "%s: expected %s after it, found %d words", name, action->form,
                                 argc - optind);
    if (!request.socket || !*request.socket)
        return pleat_usage_error("drive", "expected --qmp SOCKET");
    code = read_words(action, argv + optind, &request);
    if (!code)
        code = carry_out(action, &request);
    pleat_scenario_free(&request.scenario);
    return code;
}
