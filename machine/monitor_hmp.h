/* SPDX-License-Identifier: MIT
 *
 * The monitor's language for people, QEMU's HMP: a line in, text out.
 *
 * Commands are rows of a table: a name (with a short form after a bar), the arguments that it takes, a line
 * of help, and a function. Their words, their output and their complaints are QEMU 7.2's where QEMU has
 * them (monitor/hmp.c, hw/core/machine-hmp-cmds.c, qom/qom-hmp-cmds.c of it); the others are Pleat's own.
 * The same functions serve a terminal, a pipe, a scenario and QMP's human-monitor-command.
 */
#ifndef PLEAT_MACHINE_MONITOR_HMP_H
#define PLEAT_MACHINE_MONITOR_HMP_H

#include "machine/monitor_control.h"
#include "machine/text.h"

/** A longer line is refused. */
#define PLEAT_HMP_LINE_BYTES_MAX 4096
#define PLEAT_HMP_ARGUMENTS_MAX  4

/** Where a command's output goes. */
struct pleat_hmp_output {
    struct pleat_text text;
    /** It is a terminal that knows colours. */
    bool colour;
};

/** What a command was given: words[i] belongs to arguments[i] of its row, NULL if it wasn't given. */
struct pleat_hmp_words {
    const char *words[PLEAT_HMP_ARGUMENTS_MAX];
};

enum pleat_hmp_argument_kind {
    PLEAT_HMP_NONE = 0,      /**< the end of the list */
    PLEAT_HMP_FLAG,          /**< -x, may be left out */
    PLEAT_HMP_WORD,          /**< one word, or a text in double quotes */
    PLEAT_HMP_OPTIONAL_WORD, /**< the same, may be left out */
    PLEAT_HMP_REST,          /**< all that is left of the line */
    PLEAT_HMP_OPTIONAL_REST
};

/** What a word can be completed to. */
enum pleat_hmp_completion {
    PLEAT_HMP_COMPLETE_NOTHING = 0,
    PLEAT_HMP_COMPLETE_COMMAND,  /**< a command: the whole table again */
    PLEAT_HMP_COMPLETE_PATH,     /**< ids of devices and objects, and paths */
    PLEAT_HMP_COMPLETE_PROPERTY, /**< a property of the object named by the word before */
    PLEAT_HMP_COMPLETE_DEVICE,   /**< ids of devices */
    PLEAT_HMP_COMPLETE_OBJECT,   /**< ids of objects */
    PLEAT_HMP_COMPLETE_BACKEND,  /**< types of objects */
    PLEAT_HMP_COMPLETE_DRIVER,   /**< types of devices */
    PLEAT_HMP_COMPLETE_BLOCK,    /**< memoryN */
    PLEAT_HMP_COMPLETE_ZONE,
    PLEAT_HMP_COMPLETE_FAULT /**< a fault that is on */
};

struct pleat_hmp_argument {
    enum pleat_hmp_argument_kind kind;
    enum pleat_hmp_completion completion;
    /** Of a flag. */
    char letter;
};

/** A row of the table of commands. */
struct pleat_hmp_command {
    /** "quit|q"; NULL ends a table. */
    const char *name;
    struct pleat_hmp_argument arguments[PLEAT_HMP_ARGUMENTS_MAX];
    /** As help shows it: "path property value". */
    const char *parameters;
    const char *help;
    /** Does it: prints into OUTPUT. An error says that the command was refused, with why in MESSAGE. */
    int (*run)(struct pleat_control *control, const struct pleat_hmp_words *words,
               struct pleat_hmp_output *output, struct pleat_message *message);
    /** Commands below this one, as `info` has them. */
    const struct pleat_hmp_command *below;
};

/** All commands, sorted by name, and those of `info`. Both end with a name that is NULL. */
extern const struct pleat_hmp_command pleat_hmp_commands[];
extern const struct pleat_hmp_command pleat_hmp_info_commands[];

/** The row of TABLE that WORD of LENGTH bytes names, or NULL. */
const struct pleat_hmp_command *pleat_hmp_find(const struct pleat_hmp_command *table, const char *word,
                                               size_t length);

/**
 * Runs a line. What there is to say is added to OUTPUT, complaints included. Returns 0, or an error when the
 * command was refused, with why in MESSAGE too (in OUTPUT it reads "Error: ..." as QEMU has it). A blank
 * line does nothing.
 */
int pleat_hmp_run(struct pleat_control *control, const char *line, struct pleat_hmp_output *output,
                  struct pleat_message *message);

/** Calls EACH for every word that the last word of LINE (to be completed; "" after a blank) can become. */
void pleat_hmp_complete(struct pleat_control *control, const char *line,
                        void (*each)(void *context, const char *word), void *context);

/** What `help` prints, of all commands or of the one that NAME names ("qom-set", "info numa"). Errors:
 * NOT_FOUND. */
int pleat_hmp_help(const char *name, struct pleat_hmp_output *output, struct pleat_message *message);

#endif
