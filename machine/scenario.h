/* SPDX-License-Identifier: MIT
 *
 * A scenario: a run of a machine written down as monitor commands, with waits and expectations between
 * them. The same file drives Pleat's machine and, through QMP, a real QEMU: so a scenario says what people
 * say at a monitor's prompt, and its own words are few.
 *
 *   # a comment; blank lines are passed over
 *   qom-set vm1 requested-size 1G         any line that doesn't begin with one of the words below
 *   wait-until SIZE DEVICE [TIMEOUT]      the device's plugged size is SIZE: 1G, <=64M, >=128M; TIMEOUT
 *                                         is 10s, 500ms ...; 10s if it isn't given
 *   wait-settled [TIMEOUT]                no driver has anything left to do
 *   wait TIME                             lets the machine run for so long
 *   expect TEXT                           the output of the last command holds TEXT
 *   expect-not TEXT                       it doesn't
 *   expect-error [TEXT]                   the last command was refused; its message holds TEXT. A refusal
 *                                         that no expect-error follows ends the scenario
 *   echo TEXT                             prints a line
 *
 * Whoever runs a scenario says how a command is executed, how a device's size is found, and how time passes.
 */
#ifndef PLEAT_MACHINE_SCENARIO_H
#define PLEAT_MACHINE_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "machine/message.h"

/** What a scenario needs of what it drives. */
struct pleat_scenario_ops {
    /**
     * Executes one monitor line; its output goes to `output` (zero-terminated, cut at output_bytes). Returns
     * 0, or an error when the command was refused, with why in the message.
     */
    int (*command)(void *context, const char *line, char *output, size_t output_bytes,
                   struct pleat_message *message);
    /**
     * Whether what is driven has this command at all. A line that it doesn't have is passed over with the
     * expectations that follow it; `knows` has said so to whoever looks on. NULL: it has all of them.
     */
    bool (*knows)(void *context, const char *line);
    /** The plugged size of a device. Errors: NOT_FOUND. */
    int (*device_bytes)(void *context, const char *device, uint64_t *bytes, struct pleat_message *message);
    /** No driver has anything left to do. NULL: wait-settled is refused. */
    bool (*settled)(void *context);
    /** Lets time pass until `condition` holds: 0, TIMEOUT or CANCELLED, as pleat_machine_run_until(). */
    int (*run_until)(void *context, bool (*condition)(void *context), void *condition_context,
                     uint64_t timeout_ns);
    /** A line for people: echo, and each line before it is executed. May be NULL. */
    void (*print)(void *context, const char *line);
};

/** One line, taken apart. */
struct pleat_scenario_line;

/** A scenario that was read and checked; zeroed: empty. */
struct pleat_scenario {
    char *name;
    struct pleat_scenario_line *lines;
    size_t count;
};

/** Reads and checks a file. Errors, with SCENARIO empty: NOT_FOUND, INVALID (file, line and what was
 * expected), NO_MEMORY. */
int pleat_scenario_load(struct pleat_scenario *scenario, const char *path, struct pleat_message *message);
/** The same from text; NAME is what messages call it. */
int pleat_scenario_parse(struct pleat_scenario *scenario, const char *name, const char *text, size_t length,
                         struct pleat_message *message);
void pleat_scenario_free(struct pleat_scenario *scenario);

/**
 * Runs it. Returns 0, or PROTOCOL (an expectation failed, a command was refused unexpectedly), TIMEOUT (a
 * wait), CANCELLED; the message names file and line, what was expected and what was found.
 */
int pleat_scenario_run(const struct pleat_scenario *scenario, const struct pleat_scenario_ops *ops,
                       void *context, struct pleat_message *message);

#endif
