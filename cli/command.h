/* SPDX-License-Identifier: MIT
 *
 * The commands of the program `pleat`: one file each, one row each in the table of main.c.
 *
 * A command gets its own name as argv[0] and returns the exit code: 0, 1 when it couldn't do what it was
 * asked to, 2 when it wasn't asked properly. Results go to stdout, all else to stderr. Every command
 * answers --help with its own page on stdout.
 */
#ifndef PLEAT_CLI_COMMAND_H
#define PLEAT_CLI_COMMAND_H

#include "machine/message.h"

enum { PLEAT_EXIT_OK = 0, PLEAT_EXIT_FAILED = 1, PLEAT_EXIT_USAGE = 2 };

/** One row of the table. */
struct pleat_command {
    const char *name;
    /** One line for the list of commands. */
    const char *help;
    int (*function)(int argc, char **argv);
};

/** Prints "pleat COMMAND: ..." and where help is; returns PLEAT_EXIT_USAGE. */
int pleat_usage_error(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Prints "pleat COMMAND: ..." with the message; returns PLEAT_EXIT_FAILED. */
int pleat_command_failed(const char *command, const struct pleat_message *message);

int pleat_command_drive(int argc, char **argv);
int pleat_command_replay(int argc, char **argv);
int pleat_command_trace(int argc, char **argv);
int pleat_command_run(int argc, char **argv);

#endif
