/* SPDX-License-Identifier: MIT
 *
 * The program `pleat`: finds the command in a table and runs it.
 */
#include "cli/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <pleat/version.h>

static const struct pleat_command commands[] = {
    {"run", "run a machine and its monitor", pleat_command_run},
    {"drive", "grow, shrink and watch the memory devices of a running QEMU", pleat_command_drive},
    {"replay", "measure the core with a recorded or synthetic workload", pleat_command_replay},
    {"trace", "look into a recorded page-allocation trace, or cut a part out of it", pleat_command_trace},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

int pleat_usage_error(const char *command, const char *format, ...)
{
    va_list arguments;
    fprintf(stderr, "pleat %s: ", command);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\nTry 'pleat help %s'.\n", command);
    return PLEAT_EXIT_USAGE;
}

int pleat_command_failed(const char *command, const struct pleat_message *message)
{
    fprintf(stderr, "pleat %s: %s\n", command, message->text);
    return PLEAT_EXIT_FAILED;
}

static const struct pleat_command *find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (!strcmp(commands[i].name, name))
            return &commands[i];
    }
    return NULL;
}

static void print_commands(FILE *out)
{
    fputs("Usage: pleat COMMAND [ARGUMENT]...\n"
          "Memory of a running machine that grows and shrinks, both sides of it in one process.\n\n"
          "Commands:\n",
          out);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
    fputs("  help       list the commands, or show the page of one: pleat help COMMAND\n\n"
          "Options:\n"
          "  --help     list the commands\n"
          "  --version  print the version\n\n"
          "Exit codes: 0 done, 1 failed, 2 wrong usage.\n",
          out);
}

static int unknown_command(const char *name)
{
    char quoted[PLEAT_QUOTE_BYTES];
    fprintf(stderr, "pleat: unknown command %s, expected one of ", pleat_quote(quoted, name));
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(stderr, "%s, ", commands[i].name);
    fputs("help\nTry 'pleat help'.\n", stderr);
    return PLEAT_EXIT_USAGE;
}

static int help(int argc, char **argv)
{
    if (argc < 2 || (argc == 2 && !strcmp(argv[1], "help"))) {
        print_commands(stdout);
        return PLEAT_EXIT_OK;
    }
    const struct pleat_command *command = find(argv[1]);
    if (argc > 2 || !command) {
        if (argc == 2)
            return unknown_command(argv[1]);
        fputs("pleat help: expected one command\nTry 'pleat help'.\n", stderr);
        return PLEAT_EXIT_USAGE;
    }
    char option[] = "--help";
    char *arguments[] = {argv[1], option, NULL};
    return command->function(2, arguments);
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stderr);
        return PLEAT_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h"))
        return help(argc - 1, argv + 1);
    if (!strcmp(name, "--version")) {
        puts("pleat " PLEAT_VERSION);
        return PLEAT_EXIT_OK;
    }
    const struct pleat_command *command = find(name);
    return command ? command->function(argc - 1, argv + 1) : unknown_command(name);
}

int main(int argc, char **argv)
{
    int code = run(argc, argv);
    /* A full disk or a closed pipe behind stdout is a failure too. */
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "pleat: can't write the output: %s\n", strerror(errno));
        return PLEAT_EXIT_FAILED;
    }
    return code;
}
