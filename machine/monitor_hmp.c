/* SPDX-License-Identifier: MIT
 *
 * From a line to a command: the words of the line, the row of the table, the arguments, the help.
 */
#include "machine/monitor_hmp.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ---- words ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static const char *skip_blanks(const char *at)
{
    while (is_blank(*at))
        at++;
    return at;
}

static size_t word_length(const char *at)
{
    size_t length = 0;
    while (at[length] && !is_blank(at[length]))
        length++;
    return length;
}

/* Reads the text in double quotes at *AT to TO; returns what is wrong with it, or NULL. */
static const char *read_quoted(const char **at, char *to)
{
    const char *from = *at + 1;
    for (; *from && *from != '"'; from++) {
        char c = *from;
        if (c == '\\') {
            c = *++from;
            if (c == 'n')
                c = '\n';
            else if (c == 'r')
                c = '\r';
            else if (!c || !strchr("\\'\"", c))
                return "unsupported escape code";
        }
        *to++ = c;
    }
    *to = '\0';
    *at = from + (*from == '"');
    return *from == '"' ? NULL : "unterminated string";
}

/* Reads the word at *AT to TO, which has room for it; returns what is wrong with it, or NULL. */
static const char *read_word(const char **at, char *to)
{
    if (**at == '"')
        return read_quoted(at, to);
    size_t length = word_length(*at);
    memcpy(to, *at, length);
    to[length] = '\0';
    *at += length;
    return NULL;
}

/* ---- the table ---- */

/* Whether WORD of LENGTH bytes is one of the names of a row, such as "quit|q". */
static bool names(const char *name, const char *word, size_t length)
{
    for (;;) {
        size_t one = strcspn(name, "|");
        if (one == length && !memcmp(name, word, length))
            return true;
        if (!name[one])
            return false;
        name += one + 1;
    }
}

const struct pleat_hmp_command *pleat_hmp_find(const struct pleat_hmp_command *table, const char *word,
                                               size_t length)
{
    for (const struct pleat_hmp_command *command = table; command->name; command++) {
        if (names(command->name, word, length))
            return command;
    }
    return NULL;
}

/*
 * Finds the command at the start of LINE, which isn't blank, and goes down into tables below. *END is where
 * its name ends. NULL: there is none, and the piece up to *END is what isn't known. A command that has only
 * a table below it is returned itself when nothing follows.
 */
static const struct pleat_hmp_command *locate(const char *line, const char **end)
{
    const struct pleat_hmp_command *table = pleat_hmp_commands;
    const struct pleat_hmp_command *command = NULL;
    const char *at = line;
    do {
        size_t length = word_length(at);
        command = pleat_hmp_find(table, at, length);
        *end = at + length;
        if (!command || !command->below)
            return command;
        table = command->below;
        at = skip_blanks(*end);
    } while (*at);
    return command;
}

/* ---- help ---- */

static void print_help(const struct pleat_hmp_command *command, const char *above,
                       struct pleat_hmp_output *output)
{
    pleat_text_print(&output->text, "%s%s%s %s -- %s\n", above, *above ? " " : "", command->name,
                     command->parameters, command->help);
}

static void print_table(const struct pleat_hmp_command *table, const char *above,
                        struct pleat_hmp_output *output)
{
    for (const struct pleat_hmp_command *command = table; command->name; command++)
        print_help(command, above, output);
}

int pleat_hmp_help(const char *name, struct pleat_hmp_output *output, struct pleat_message *message)
{
    name = skip_blanks(name);
    if (!*name) {
        print_table(pleat_hmp_commands, "", output);
        return PLEAT_OK;
    }
    const char *end;
    const struct pleat_hmp_command *command = locate(name, &end);
    if (!command) {
        char quoted[PLEAT_QUOTE_BYTES];
        return pleat_message_set(message, PLEAT_E_NOT_FOUND, "unknown command: %s",
                                 pleat_quote_bytes(quoted, name, (size_t)(end - name)));
    }
    if (command->below) {
        print_table(command->below, command->name, output);
        return PLEAT_OK;
    }
    /* Of a command in a table below, the name of the one above is the first word. */
    char above[32] = "";
    if (pleat_hmp_find(pleat_hmp_commands, name, word_length(name)) != command)
        snprintf(above, sizeof(above), "%.*s", (int)word_length(name), name);
    print_help(command, above, output);
    return PLEAT_OK;
}

/* ---- arguments ---- */

static int refuse_line(const struct pleat_hmp_command *command, const char *wrong,
                       struct pleat_message *message)
{
    return pleat_message_set(message, PLEAT_E_INVALID, "%s: %s", command->name, wrong);
}

/* Takes the arguments of COMMAND from AT into WORDS, their text into ROOM. */
static int read_arguments(const struct pleat_hmp_command *command, const char *at, char *room,
                          struct pleat_hmp_words *words, struct pleat_message *message)
{
    for (unsigned i = 0; i < PLEAT_HMP_ARGUMENTS_MAX && command->arguments[i].kind; i++) {
        const struct pleat_hmp_argument *argument = &command->arguments[i];
        at = skip_blanks(at);
        if (argument->kind == PLEAT_HMP_FLAG) {
            if (*at != '-' || !isalpha((unsigned char)at[1]))
                continue;
            if (at[1] != argument->letter || word_length(at) != 2)
                return pleat_message_set(message, PLEAT_E_INVALID, "%s: unsupported option -%c",
                                         command->name, at[1] == argument->letter ? at[2] : at[1]);
            words->words[i] = "-";
            at += 2;
            continue;
        }
        if (!*at) {
            if (argument->kind == PLEAT_HMP_WORD || argument->kind == PLEAT_HMP_REST)
                return refuse_line(command, "string expected", message);
            continue;
        }
        words->words[i] = room;
        if (argument->kind == PLEAT_HMP_REST || argument->kind == PLEAT_HMP_OPTIONAL_REST) {
            size_t length = strlen(at);
            while (is_blank(at[length - 1]))
                length--;
            memcpy(room, at, length);
            room[length] = '\0';
            at += strlen(at);
        } else {
            const char *wrong = read_word(&at, room);
            if (wrong)
                return refuse_line(command, wrong, message);
        }
        room += strlen(room) + 1;
    }
    if (*skip_blanks(at))
        return refuse_line(command, "extraneous characters at the end of line", message);
    return PLEAT_OK;
}

/* ---- running ---- */

int pleat_hmp_run(struct pleat_control *control, const char *line, struct pleat_hmp_output *output,
                  struct pleat_message *message)
{
    char quoted[PLEAT_QUOTE_BYTES];
    /* Each word is at most as long as it was in the line; each has a zero at its end. */
    char room[PLEAT_HMP_LINE_BYTES_MAX + PLEAT_HMP_ARGUMENTS_MAX];
    *message = (struct pleat_message){""};
    line = skip_blanks(line);
    if (!*line || control->ended)
        return PLEAT_OK;
    if (strlen(line) >= PLEAT_HMP_LINE_BYTES_MAX) {
        pleat_message_set(message, PLEAT_E_INVALID, "the line is too long, expected at most %d bytes",
                          PLEAT_HMP_LINE_BYTES_MAX - 1);
        pleat_text_print(&output->text, "%s\n", message->text);
        return PLEAT_E_INVALID;
    }
    const char *end;
    const struct pleat_hmp_command *command = locate(line, &end);
    if (!command) {
        pleat_message_set(message, PLEAT_E_NOT_FOUND, "unknown command: %s",
                          pleat_quote_bytes(quoted, line, (size_t)(end - line)));
        pleat_text_print(&output->text, "%s\n", message->text);
        return PLEAT_E_NOT_FOUND;
    }
    if (command->below)
        return pleat_hmp_help(line, output, message);
    struct pleat_hmp_words words = {{NULL}};
    int error = read_arguments(command, end, room, &words, message);
    if (error) {
        pleat_text_print(&output->text, "%s\nTry \"help %.*s\" for more information\n", message->text,
                         (int)(end - line), line);
        return error;
    }
    error = command->run(control, &words, output, message);
    if (error)
        pleat_text_print(&output->text, "Error: %s\n", message->text);
    return error;
}
