/* SPDX-License-Identifier: MIT
 *
 * The terminal's commands that do something, and the table of all.
 */
#include "machine/monitor_hmp.h"

#include <stdlib.h>
#include <string.h>

#include "machine/options.h"

/* ---- help and objects, as QEMU has them ---- */

static int run_help(struct pleat_control *control, const struct pleat_hmp_words *words,
                    struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)control;
    /* Not knowing a command is an answer here, and has no "Error: " before it. */
    if (pleat_hmp_help(words->words[0] ? words->words[0] : "", output, message))
        pleat_text_print(&output->text, "%s\n", message->text);
    return PLEAT_OK;
}

static bool print_property(void *context, const struct pleat_property *property)
{
    struct pleat_hmp_output *output = context;
    pleat_text_print(&output->text, "%s (%s)\n", property->name, property->type);
    return true;
}

static int run_qom_list(struct pleat_control *control, const struct pleat_hmp_words *words,
                        struct pleat_hmp_output *output, struct pleat_message *message)
{
    if (!words->words[0]) {
        pleat_text_print(&output->text, "/\n");
        return PLEAT_OK;
    }
    return pleat_machine_properties(control->machine, words->words[0], print_property, output, message);
}

static int run_qom_get(struct pleat_control *control, const struct pleat_hmp_words *words,
                       struct pleat_hmp_output *output, struct pleat_message *message)
{
    int error = PLEAT_OK;
    json_t *value = pleat_control_property(control, words->words[0], words->words[1], &error, message);
    if (!value)
        return error ? error : pleat_message_set(message, PLEAT_E_NO_MEMORY, "out of memory");
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_INDENT(4));
    /* QEMU writes an empty list on two lines. */
    pleat_text_print(&output->text, "%s\n", text && strcmp(text, "[]") ? text : "[\n]");
    free(text);
    json_decref(value);
    return PLEAT_OK;
}

static int run_qom_set(struct pleat_control *control, const struct pleat_hmp_words *words,
                       struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)output;
    const char *path = words->words[1], *property = words->words[2], *value = words->words[3];
    if (!words->words[0])
        return pleat_machine_property_set_text(control->machine, path, property, value, message);
    json_error_t where;
    json_t *json = json_loads(value, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &where);
    if (!json)
        return pleat_message_set(message, PLEAT_E_INVALID, "JSON parse error, %s", where.text);
    int error = pleat_control_set_property(control, path, property, json, message);
    json_decref(json);
    return error;
}

static int run_object_add(struct pleat_control *control, const struct pleat_hmp_words *words,
                          struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)output;
    return pleat_machine_object_add(control->machine, words->words[0], message);
}

static int run_object_del(struct pleat_control *control, const struct pleat_hmp_words *words,
                          struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)output;
    return pleat_machine_object_delete(control->machine, words->words[0], message);
}

static int run_device_add(struct pleat_control *control, const struct pleat_hmp_words *words,
                          struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)output;
    if (!words->words[0])
        return pleat_message_set(message, PLEAT_E_INVALID, "Parameter 'driver' is missing");
    return pleat_machine_device_add(control->machine, words->words[0], message);
}

static int run_device_del(struct pleat_control *control, const struct pleat_hmp_words *words,
                          struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)output;
    return pleat_machine_device_delete(control->machine, words->words[0], message);
}

/* A number alone means MiB, as with QEMU. */
static int run_balloon(struct pleat_control *control, const struct pleat_hmp_words *words,
                       struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)output;
    uint64_t bytes;
    const int error = pleat_parse_size(words->words[0], 1 << 20, &bytes, message);
    return error ? error : pleat_machine_balloon(control->machine, bytes, message);
}

/* ---- the machine's life ---- */

static int run_stop(struct pleat_control *control, const struct pleat_hmp_words *words,
                    struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)words;
    (void)output;
    (void)message;
    pleat_control_stop(control);
    return PLEAT_OK;
}

static int run_cont(struct pleat_control *control, const struct pleat_hmp_words *words,
                    struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)words;
    (void)output;
    (void)message;
    pleat_control_continue(control);
    return PLEAT_OK;
}

static int run_quit(struct pleat_control *control, const struct pleat_hmp_words *words,
                    struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)words;
    (void)output;
    (void)message;
    pleat_control_quit(control);
    return PLEAT_OK;
}

static int run_system_reset(struct pleat_control *control, const struct pleat_hmp_words *words,
                            struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)words;
    (void)output;
    return pleat_control_system_reset(control, message);
}

/* ---- Pleat's own ---- */

static int run_guest_restart(struct pleat_control *control, const struct pleat_hmp_words *words,
                             struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)words;
    (void)output;
    return pleat_machine_guest_restart(control->machine, message);
}

/* Reads the N of "memoryN". */
static int read_block(const char *word, uint64_t *number, struct pleat_message *message)
{
    char quoted[PLEAT_QUOTE_BYTES];
    struct pleat_message ignored;
    if (strncmp(word, "memory", 6) || !word[6] || pleat_parse_number(word + 6, number, &ignored))
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "expected a memory block such as memory40, found %s",
                                 pleat_quote(quoted, word));
    return PLEAT_OK;
}

static int read_zone(const char *word, enum pleat_zone_kind *zone, struct pleat_message *message)
{
    char quoted[PLEAT_QUOTE_BYTES];
    for (int kind = 0; kind < PLEAT_ZONE_KINDS; kind++) {
        if (!strcasecmp(word, pleat_machine_zone_name((enum pleat_zone_kind)kind))) {
            *zone = (enum pleat_zone_kind)kind;
            return PLEAT_OK;
        }
    }
    struct pleat_text known = {0};
    for (int kind = 0; kind < PLEAT_ZONE_KINDS; kind++)
        pleat_text_print(&known, "%s%s", kind ? ", " : "",
                         pleat_machine_zone_name((enum pleat_zone_kind)kind));
    pleat_message_set(message, PLEAT_E_INVALID, "expected a zone, one of %s, found %s",
                      pleat_text_string(&known), pleat_quote(quoted, word));
    pleat_text_free(&known);
    return PLEAT_E_INVALID;
}

static int run_guest_online(struct pleat_control *control, const struct pleat_hmp_words *words,
                            struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)output;
    uint64_t number;
    enum pleat_zone_kind zone = PLEAT_ZONE_NORMAL;
    int error = read_block(words->words[0], &number, message);
    if (!error && words->words[1])
        error = read_zone(words->words[1], &zone, message);
    return error ? error : pleat_machine_block_online(control->machine, number, zone, message);
}

static int run_guest_offline(struct pleat_control *control, const struct pleat_hmp_words *words,
                             struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)output;
    uint64_t number;
    int error = read_block(words->words[0], &number, message);
    return error ? error : pleat_machine_block_offline(control->machine, number, message);
}

static int run_guest_pin(struct pleat_control *control, const struct pleat_hmp_words *words,
                         struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)output;
    uint64_t number, frames;
    int error = read_block(words->words[0], &number, message);
    if (error)
        return error;
    error = pleat_parse_number(words->words[1], &frames, message);
    if (error)
        pleat_message_prefix(message, "frames: ");
    return error ? error : pleat_machine_guest_pin(control->machine, number, frames, message);
}

static int run_guest_unpin(struct pleat_control *control, const struct pleat_hmp_words *words,
                           struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)output;
    uint64_t number;
    int error = read_block(words->words[0], &number, message);
    return error ? error : pleat_machine_guest_unpin(control->machine, number, message);
}

static int run_guest_exchange(struct pleat_control *control, const struct pleat_hmp_words *words,
                              struct pleat_hmp_output *output, struct pleat_message *message)
{
    uint64_t frames;
    int error = pleat_parse_number(words->words[0], &frames, message);
    if (error)
        pleat_message_prefix(message, "frames: ");
    else
        error = pleat_machine_guest_exchange(control->machine, frames, message);
    if (!error)
        pleat_text_print(&output->text, "%llu frames were granted each way, and what came is right\n",
                         (unsigned long long)frames);
    return error;
}

static int run_fault_add(struct pleat_control *control, const struct pleat_hmp_words *words,
                         struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)output;
    return pleat_machine_fault_add(control->machine, words->words[0], message);
}

static int run_fault_del(struct pleat_control *control, const struct pleat_hmp_words *words,
                         struct pleat_hmp_output *output, struct pleat_message *message)
{
    (void)output;
    return pleat_machine_fault_delete(control->machine, words->words[0], message);
}

static int run_picture(struct pleat_control *control, const struct pleat_hmp_words *words,
                       struct pleat_hmp_output *output, struct pleat_message *message)
{
    int error = pleat_machine_picture(control->machine, words->words[0], message);
    if (!error)
        pleat_text_print(&output->text, "%s.svg\n%s.png\n", words->words[0], words->words[0]);
    return error;
}

static const struct pleat_hmp_command guest_commands[] = {
    {.name = "exchange",
     .arguments = {{PLEAT_HMP_WORD, PLEAT_HMP_COMPLETE_NOTHING, 0}},
     .parameters = "frames",
     .help = "on Xen: map frames of another domain, grant it as many, and look at what comes through",
     .run = run_guest_exchange},
    {.name = "offline",
     .arguments = {{PLEAT_HMP_WORD, PLEAT_HMP_COMPLETE_BLOCK, 0}},
     .parameters = "memoryN",
     .help = "take a memory block out of use in the guest; what is in it is moved elsewhere",
     .run = run_guest_offline},
    {.name = "online",
     .arguments = {{PLEAT_HMP_WORD, PLEAT_HMP_COMPLETE_BLOCK, 0},
                   {PLEAT_HMP_OPTIONAL_WORD, PLEAT_HMP_COMPLETE_ZONE, 0}},
     .parameters = "memoryN [zone]",
     .help = "put a memory block that is offline into use, in zone Normal or the one that is named",
     .run = run_guest_online},
    {.name = "pin",
     .arguments = {{PLEAT_HMP_WORD, PLEAT_HMP_COMPLETE_BLOCK, 0},
                   {PLEAT_HMP_WORD, PLEAT_HMP_COMPLETE_NOTHING, 0}},
     .parameters = "memoryN frames",
     .help = "keep frames of a memory block in place, as memory that is registered for DMA is kept",
     .run = run_guest_pin},
    {.name = "restart",
     .parameters = "",
     .help = "start the guest again with its memory plugged, as after kexec",
     .run = run_guest_restart},
    {.name = "unpin",
     .arguments = {{PLEAT_HMP_WORD, PLEAT_HMP_COMPLETE_BLOCK, 0}},
     .parameters = "memoryN",
     .help = "let them be moved again",
     .run = run_guest_unpin},
    {.name = NULL},
};

const struct pleat_hmp_command pleat_hmp_commands[] = {
    {.name = "balloon",
     .arguments = {{PLEAT_HMP_WORD, PLEAT_HMP_COMPLETE_NOTHING, 0}},
     .parameters = "target",
     .help = "request VM to change its memory allocation (in MB)",
     .run = run_balloon},
    {.name = "cont|c", .parameters = "", .help = "resume emulation", .run = run_cont},
    {.name = "device_add",
     .arguments = {{PLEAT_HMP_OPTIONAL_REST, PLEAT_HMP_COMPLETE_DRIVER, 0}},
     .parameters = "driver[,prop=value][,...]",
     .help = "add device, like -device on the command line",
     .run = run_device_add},
    {.name = "device_del",
     .arguments = {{PLEAT_HMP_WORD, PLEAT_HMP_COMPLETE_DEVICE, 0}},
     .parameters = "device",
     .help = "remove device",
     .run = run_device_del},
    {.name = "fault_add",
     .arguments = {{PLEAT_HMP_REST, PLEAT_HMP_COMPLETE_NOTHING, 0}},
     .parameters = "fault[:key=value][,...]",
     .help = "let something fail from now on, like -fault on the command line",
     .run = run_fault_add},
    {.name = "fault_del",
     .arguments = {{PLEAT_HMP_WORD, PLEAT_HMP_COMPLETE_FAULT, 0}},
     .parameters = "fault",
     .help = "let it work again",
     .run = run_fault_del},
    {.name = "guest",
     .parameters = "[subcommand]",
     .help = "what an administrator of the guest can do",
     .below = guest_commands},
    {.name = "help|?",
     .arguments = {{PLEAT_HMP_OPTIONAL_REST, PLEAT_HMP_COMPLETE_COMMAND, 0}},
     .parameters = "[cmd]",
     .help = "show the help",
     .run = run_help},
    {.name = "info",
     .parameters = "[subcommand]",
     .help = "show various information about the system state",
     .below = pleat_hmp_info_commands},
    {.name = "object_add",
     .arguments = {{PLEAT_HMP_REST, PLEAT_HMP_COMPLETE_BACKEND, 0}},
     .parameters = "[qom-type=]type,id=str[,prop=value][,...]",
     .help = "create QOM object",
     .run = run_object_add},
    {.name = "object_del",
     .arguments = {{PLEAT_HMP_WORD, PLEAT_HMP_COMPLETE_OBJECT, 0}},
     .parameters = "id",
     .help = "destroy QOM object",
     .run = run_object_del},
    {.name = "picture",
     .arguments = {{PLEAT_HMP_WORD, PLEAT_HMP_COMPLETE_NOTHING, 0}},
     .parameters = "stem",
     .help = "write a picture of sizes over time and of the memory blocks to stem.svg and stem.png",
     .run = run_picture},
    {.name = "qom-get",
     .arguments = {{PLEAT_HMP_WORD, PLEAT_HMP_COMPLETE_PATH, 0},
                   {PLEAT_HMP_WORD, PLEAT_HMP_COMPLETE_PROPERTY, 0}},
     .parameters = "path property",
     .help = "print QOM property",
     .run = run_qom_get},
    {.name = "qom-list",
     .arguments = {{PLEAT_HMP_OPTIONAL_WORD, PLEAT_HMP_COMPLETE_PATH, 0}},
     .parameters = "path",
     .help = "list QOM properties",
     .run = run_qom_list},
    {.name = "qom-set",
     .arguments = {{PLEAT_HMP_FLAG, PLEAT_HMP_COMPLETE_NOTHING, 'j'},
                   {PLEAT_HMP_WORD, PLEAT_HMP_COMPLETE_PATH, 0},
                   {PLEAT_HMP_WORD, PLEAT_HMP_COMPLETE_PROPERTY, 0},
                   {PLEAT_HMP_REST, PLEAT_HMP_COMPLETE_NOTHING, 0}},
     .parameters = "[-j] path property value",
     .help = "set QOM property.\n\t\t\t-j: the value is specified in json format.",
     .run = run_qom_set},
    {.name = "quit|q", .parameters = "", .help = "quit the emulator", .run = run_quit},
    {.name = "stop|s", .parameters = "", .help = "stop emulation", .run = run_stop},
    {.name = "system_reset", .parameters = "", .help = "reset the system", .run = run_system_reset},
    {.name = NULL},
};
