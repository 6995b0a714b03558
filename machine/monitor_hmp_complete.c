/* SPDX-License-Identifier: MIT
 *
 * What the word that is being typed can become: commands by the table, arguments by what their row says they
 * are, and by what the machine has now.
 */
#include "machine/monitor_hmp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Where candidates go, and what they must begin with. */
struct search {
    struct pleat_control *control;
    const char *prefix;
    size_t prefix_length;
    void (*each)(void *context, const char *word);
    void *context;
};

static void offer(const struct search *search, const char *word)
{
    if (!strncasecmp(word, search->prefix, search->prefix_length))
        search->each(search->context, word);
}

/* Only the first name of a row: nobody needs help with "q". */
static void offer_commands(const struct search *search, const struct pleat_hmp_command *table)
{
    for (const struct pleat_hmp_command *command = table; command->name; command++) {
        char name[64];
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(command->name, "|"), command->name);
        offer(search, name);
    }
}

static bool offer_property(void *context, const struct pleat_property *property)
{
    offer(context, property->name);
    return true;
}

static bool offer_child(void *context, const struct pleat_property *property)
{
    if (property->kind == PLEAT_PROPERTY_CHILD)
        offer(context, property->name);
    return true;
}

static void offer_children(struct search *search, const char *path)
{
    struct pleat_message ignored;
    pleat_machine_properties(search->control->machine, path, offer_child, search, &ignored);
}

static void offer_devices(struct search *search)
{
    offer_children(search, "/machine/peripheral");
}

static void offer_objects(struct search *search)
{
    offer_children(search, "/objects");
}

/* Ids, or whole paths once a slash has been typed. */
static void offer_paths(struct search *search)
{
    static const char *const above[] = {"/machine", "/machine/peripheral", "/machine/peripheral-anon",
                                        "/objects"};
    if (search->prefix[0] != '/') {
        offer_devices(search);
        offer_objects(search);
        return;
    }
    for (size_t i = 0; i < sizeof(above) / sizeof(above[0]); i++)
        offer(search, above[i]);
    unsigned count;
    struct pleat_memory_device_info *devices = pleat_control_devices(search->control, &count);
    for (unsigned i = 0; i < count; i++) {
        offer(search, devices[i].path);
        offer(search, devices[i].memdev);
    }
    free(devices);
}

static bool offer_block(void *context, const struct pleat_machine_block *block)
{
    char word[32];
    snprintf(word, sizeof(word), "memory%llu", (unsigned long long)block->number);
    if (block->info.state != PLEAT_BLOCK_NONE && block->info.removable)
        offer(context, word);
    return true;
}

static void offer_faults(struct search *search)
{
    struct pleat_fault_info *faults = calloc(PLEAT_MACHINE_FAULTS_MAX, sizeof(*faults));
    if (!faults)
        return;
    unsigned count = pleat_machine_faults(search->control->machine, faults, PLEAT_MACHINE_FAULTS_MAX);
    for (unsigned i = 0; i < count && i < PLEAT_MACHINE_FAULTS_MAX; i++) {
        faults[i].text[strcspn(faults[i].text, ":")] = '\0';
        offer(search, faults[i].text);
    }
    free(faults);
}

/* Candidates for an argument; BEFORE is the word before it. */
static void offer_argument(struct search *search, enum pleat_hmp_completion completion, const char *before)
{
    static const char *const backends[] = {"memory-backend-file", "memory-backend-memfd",
                                           "memory-backend-ram"};
    struct pleat_message ignored;
    switch (completion) {
    case PLEAT_HMP_COMPLETE_NOTHING:
        break;
    case PLEAT_HMP_COMPLETE_COMMAND:
        offer_commands(search, pleat_hmp_commands);
        break;
    case PLEAT_HMP_COMPLETE_PATH:
        offer_paths(search);
        break;
    case PLEAT_HMP_COMPLETE_PROPERTY:
        pleat_machine_properties(search->control->machine, before, offer_property, search, &ignored);
        break;
    case PLEAT_HMP_COMPLETE_DEVICE:
        offer_devices(search);
        break;
    case PLEAT_HMP_COMPLETE_OBJECT:
        offer_objects(search);
        break;
    case PLEAT_HMP_COMPLETE_BACKEND:
        for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
            offer(search, backends[i]);
        break;
    case PLEAT_HMP_COMPLETE_DRIVER:
        offer(search, "virtio-mem-pci");
        break;
    case PLEAT_HMP_COMPLETE_BLOCK:
        pleat_machine_blocks(search->control->machine, offer_block, search);
        break;
    case PLEAT_HMP_COMPLETE_ZONE:
        for (int kind = 0; kind < PLEAT_ZONE_KINDS; kind++)
            offer(search, pleat_machine_zone_name((enum pleat_zone_kind)kind));
        break;
    case PLEAT_HMP_COMPLETE_FAULT:
        offer_faults(search);
        break;
    }
}

/* The row of the argument that follows COUNT words given already; flags are passed over. */
static const struct pleat_hmp_argument *argument_at(const struct pleat_hmp_command *command, unsigned count)
{
    for (unsigned i = 0; i < PLEAT_HMP_ARGUMENTS_MAX && command->arguments[i].kind; i++) {
        if (command->arguments[i].kind == PLEAT_HMP_FLAG)
            continue;
        if (count-- == 0)
            return &command->arguments[i];
    }
    return NULL;
}

/*
 * The command that the blank-separated WORDS begin with, after `help` the one that it asks about. *GIVEN: how
 * many arguments follow it, *BEFORE: the last word. NULL with *KNOWN false: there is no such command.
 */
static const struct pleat_hmp_command *follow_words(char *words, unsigned *given, const char **before,
                                                    bool *known)
{
    const struct pleat_hmp_command *command = NULL;
    char *rest = NULL;
    *known = true;
    for (char *word = strtok_r(words, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest)) {
        bool asks = command && command->arguments[0].completion == PLEAT_HMP_COMPLETE_COMMAND;
        if (!command || command->below || asks) {
            command = pleat_hmp_find(command && command->below ? command->below : pleat_hmp_commands, word,
                                     strlen(word));
            *known = command != NULL;
            if (!command)
                return NULL;
        } else if (word[0] != '-') {
            ++*given;
        }
        *before = word;
    }
    return command;
}

void pleat_hmp_complete(struct pleat_control *control, const char *line,
                        void (*each)(void *context, const char *word), void *context)
{
    char words[PLEAT_HMP_LINE_BYTES_MAX];
    if (strlen(line) >= sizeof(words) || control->ended)
        return;
    snprintf(words, sizeof(words), "%s", line);
    char *blank = strrchr(words, ' ');
    const char *prefix = line + (blank ? blank + 1 - words : 0);
    struct search search = {control, prefix, strlen(prefix), each, context};
    *(blank ? blank : words) = '\0';

    unsigned given = 0;
    const char *before = "";
    bool known;
    const struct pleat_hmp_command *command = follow_words(words, &given, &before, &known);
    if (!known)
        return;
    if (!command || command->below) {
        offer_commands(&search, command ? command->below : pleat_hmp_commands);
        return;
    }
    const struct pleat_hmp_argument *argument = argument_at(command, given);
    if (argument)
        offer_argument(&search, argument->completion, before);
}
