/* SPDX-License-Identifier: MIT
 *
 * Scenarios: every line is taken apart and checked when the file is read, so that a mistake in the last
 * line is found before the first one is executed.
 */
#include "machine/scenario.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/options.h"

#define FILE_BYTES_MAX     (1u << 20)
#define OUTPUT_BYTES       (1u << 16)
#define DEFAULT_TIMEOUT_NS UINT64_C(10000000000)
#define DEVICE_BYTES       64

enum verb { COMMAND, WAIT, WAIT_UNTIL, WAIT_SETTLED, EXPECT, EXPECT_NOT, EXPECT_ERROR, ECHO };

enum comparison { EQUAL, AT_MOST, AT_LEAST };

struct pleat_scenario_line {
    enum verb verb;
    size_t number;
    char *text; /* the command, or what is expected or printed; owned */
    enum comparison comparison;
    uint64_t bytes;
    uint64_t time_ns; /* of WAIT, or the time-out of the other waits */
    char device[DEVICE_BYTES];
};

static const char *const words[] = {
    [WAIT] = "wait",     [WAIT_UNTIL] = "wait-until", [WAIT_SETTLED] = "wait-settled",
    [EXPECT] = "expect", [EXPECT_NOT] = "expect-not", [EXPECT_ERROR] = "expect-error",
    [ECHO] = "echo",
};

/* ---- reading ---- */

static enum verb verb_of(const char *line, size_t length)
{
    for (enum verb verb = WAIT; verb <= ECHO; verb++)
        if (strlen(words[verb]) == length && !memcmp(words[verb], line, length))
            return verb;
    return COMMAND;
}

static const char *skip_blanks(const char *at)
{
    return at + strspn(at, " \t");
}

/* Copies the next word of *at into `word`; false if there is none or it is too long. */
static bool next_word(const char **at, char *word, size_t bytes)
{
    const size_t length = strcspn(*at, " \t");

    if (!length || length >= bytes)
        return false;
    memcpy(word, *at, length);
    word[length] = '\0';
    *at = skip_blanks(*at + length);
    return true;
}

static int parse_time(const char **at, uint64_t *time_ns, bool required, struct pleat_message *message)
{
    char word[64];

    *time_ns = DEFAULT_TIMEOUT_NS;
    if (!**at && !required)
        return PLEAT_OK;
    if (!next_word(at, word, sizeof word))
        return pleat_message_set(message, PLEAT_E_INVALID, "expected a time such as 10s or 500ms");
    return pleat_parse_duration(word, time_ns, message);
}

static int parse_wait_until(const char **at, struct pleat_scenario_line *line, struct pleat_message *message)
{
    char word[64];

    if (!next_word(at, word, sizeof word))
        return pleat_message_set(message, PLEAT_E_INVALID, "expected wait-until SIZE DEVICE [TIMEOUT]");
    const char *size = word;
    if (!strncmp(size, "<=", 2))
        line->comparison = AT_MOST;
    else if (!strncmp(size, ">=", 2))
        line->comparison = AT_LEAST;
    if (line->comparison != EQUAL)
        size += 2;
    int error = pleat_parse_size(size, 1, &line->bytes, message);
    if (error)
        return error;
    if (!next_word(at, line->device, sizeof line->device))
        return pleat_message_set(message, PLEAT_E_INVALID, "expected wait-until SIZE DEVICE [TIMEOUT]");
    return parse_time(at, &line->time_ns, false, message);
}

static int parse_line(const char *text, struct pleat_scenario_line *line, struct pleat_message *message)
{
    const size_t length = strcspn(text, " \t");
    const char *rest = skip_blanks(text + length);
    int error = PLEAT_OK;

    line->verb = verb_of(text, length);
    switch (line->verb) {
    case COMMAND:
        rest = text;
        break;
    case WAIT:
        error = parse_time(&rest, &line->time_ns, true, message);
        break;
    case WAIT_UNTIL:
        error = parse_wait_until(&rest, line, message);
        break;
    case WAIT_SETTLED:
        error = parse_time(&rest, &line->time_ns, false, message);
        break;
    case EXPECT:
    case EXPECT_NOT:
        if (!*rest)
            error =
                pleat_message_set(message, PLEAT_E_INVALID, "expected a text after %s", words[line->verb]);
        break;
    case EXPECT_ERROR:
    case ECHO:
        break;
    }
    if (!error && *rest && (line->verb == WAIT || line->verb == WAIT_UNTIL || line->verb == WAIT_SETTLED)) {
        char quoted[PLEAT_QUOTE_BYTES];
        error = pleat_message_set(message, PLEAT_E_INVALID, "expected nothing more, found %s",
                                  pleat_quote(quoted, rest));
    }
    if (!error && !(line->text = strdup(rest)))
        error = pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
    return error;
}

static int append_line(struct pleat_scenario *scenario, const char *text, size_t number,
                       struct pleat_message *message)
{
    struct pleat_scenario_line line = {.number = number};
    int error = parse_line(text, &line, message);

    if (error) {
        pleat_message_prefix(message, "%s:%zu: ", scenario->name, number);
        return error;
    }
    void *more = realloc(scenario->lines, (scenario->count + 1) * sizeof *scenario->lines);
    if (!more) {
        free(line.text);
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
    }
    scenario->lines = more;
    scenario->lines[scenario->count++] = line;
    return PLEAT_OK;
}

/* Cuts the line at `at` out of the text: blanks at its ends and a comment are taken away. */
static char *cut_line(char *at, size_t length)
{
    at[length] = '\0';
    while (length && strchr(" \t\r", at[length - 1]))
        at[--length] = '\0';
    at += strspn(at, " \t");
    return *at == '#' ? at + strlen(at) : at;
}

int pleat_scenario_parse(struct pleat_scenario *scenario, const char *name, const char *text, size_t length,
                         struct pleat_message *message)
{
    int error = PLEAT_OK;

    memset(scenario, 0, sizeof *scenario);
    if (memchr(text, '\0', length))
        return pleat_message_set(message, PLEAT_E_INVALID, "%s: expected text, found a zero byte", name);
    char *copy = malloc(length + 1);
    scenario->name = strdup(name);
    if (!copy || !scenario->name)
        error = pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
    else
        memcpy(copy, text, length);
    if (copy)
        copy[length] = '\0';

    size_t at = 0;
    for (size_t number = 1; !error && at < length; number++) {
        const size_t line_length = strcspn(copy + at, "\n");
        char *line = cut_line(copy + at, line_length);
        if (*line)
            error = append_line(scenario, line, number, message);
        at += line_length + 1;
    }
    free(copy);
    if (error)
        pleat_scenario_free(scenario);
    return error;
}

int pleat_scenario_load(struct pleat_scenario *scenario, const char *path, struct pleat_message *message)
{
    memset(scenario, 0, sizeof *scenario);
    FILE *file = fopen(path, "rb");
    if (!file)
        return pleat_message_set(message, PLEAT_E_NOT_FOUND, "%s: %s", path, strerror(errno));
    char *text = malloc(FILE_BYTES_MAX + 1);
    size_t length = text ? fread(text, 1, FILE_BYTES_MAX + 1, file) : 0;
    int error = PLEAT_OK;

    if (!text)
        error = pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
    else if (ferror(file))
        error = pleat_message_set(message, PLEAT_E_NOT_FOUND, "%s: %s", path, strerror(errno));
    else if (length > FILE_BYTES_MAX)
        error = pleat_message_set(message, PLEAT_E_INVALID, "%s: expected at most %u bytes", path,
                                  FILE_BYTES_MAX);
    else
        error = pleat_scenario_parse(scenario, path, text, length, message);
    fclose(file);
    free(text);
    return error;
}

void pleat_scenario_free(struct pleat_scenario *scenario)
{
    for (size_t i = 0; i < scenario->count; i++)
        free(scenario->lines[i].text);
    free(scenario->lines);
    free(scenario->name);
    memset(scenario, 0, sizeof *scenario);
}

/* ---- running ---- */

struct run {
    const struct pleat_scenario_ops *ops;
    void *context;
    const struct pleat_scenario_line *line;
    /* Of the last command. */
    char *output;
    bool refused, passed_over;
    struct pleat_message refusal;
    /* Of the wait that is going on. */
    uint64_t found_bytes;
    int error;
};

static bool size_is_reached(void *context)
{
    struct run *run = context;
    const struct pleat_scenario_line *line = run->line;

    run->error = run->ops->device_bytes(run->context, line->device, &run->found_bytes, &run->refusal);
    if (run->error)
        return true;
    return line->comparison == AT_MOST    ? run->found_bytes <= line->bytes
           : line->comparison == AT_LEAST ? run->found_bytes >= line->bytes
                                          : run->found_bytes == line->bytes;
}

static bool drivers_are_settled(void *context)
{
    struct run *run = context;

    return run->ops->settled(run->context);
}

static int wait_until(struct run *run, struct pleat_message *message)
{
    static const char *const signs[] = {"", "at most ", "at least "};
    const struct pleat_scenario_line *line = run->line;
    char wanted[32], found[32];

    run->error = PLEAT_OK;
    int error = run->ops->run_until(run->context, size_is_reached, run, line->time_ns);
    if (run->error)
        return pleat_message_set(message, PLEAT_E_PROTOCOL, "%s", run->refusal.text);
    if (error == PLEAT_E_TIMEOUT)
        return pleat_message_set(message, error, "expected %s to have %s%s within %gs, found %s",
                                 line->device, signs[line->comparison],
                                 pleat_format_size(wanted, line->bytes), (double)line->time_ns / 1e9,
                                 pleat_format_size(found, run->found_bytes));
    return error ? pleat_message_set(message, error, "%s", pleat_error_text(error)) : PLEAT_OK;
}

static int wait_settled(struct run *run, struct pleat_message *message)
{
    if (!run->ops->settled)
        return pleat_message_set(message, PLEAT_E_PROTOCOL, "wait-settled: this machine can't tell");
    int error = run->ops->run_until(run->context, drivers_are_settled, run, run->line->time_ns);
    if (error == PLEAT_E_TIMEOUT)
        return pleat_message_set(message, error, "expected all drivers to be settled within %gs",
                                 (double)run->line->time_ns / 1e9);
    return error ? pleat_message_set(message, error, "%s", pleat_error_text(error)) : PLEAT_OK;
}

static int wait(struct run *run, struct pleat_message *message)
{
    int error = run->ops->run_until(run->context, NULL, NULL, run->line->time_ns);

    if (error == PLEAT_E_TIMEOUT || !error)
        return PLEAT_OK;
    return pleat_message_set(message, error, "%s", pleat_error_text(error));
}

static int expect(struct run *run, struct pleat_message *message)
{
    const struct pleat_scenario_line *line = run->line;
    const char *where = line->verb == EXPECT_ERROR ? run->refusal.text : run->output;
    const bool found = strstr(where, line->text) != NULL;
    char quoted[PLEAT_QUOTE_BYTES], text[PLEAT_QUOTE_BYTES];

    if (line->verb == EXPECT_ERROR && !run->refused)
        return pleat_message_set(message, PLEAT_E_PROTOCOL, "expected the last command to be refused");
    if (found == (line->verb != EXPECT_NOT))
        return PLEAT_OK;
    return pleat_message_set(message, PLEAT_E_PROTOCOL, "expected %s%s, found %s",
                             line->verb == EXPECT_NOT ? "no " : "", pleat_quote(text, line->text),
                             pleat_quote(quoted, where));
}

static int run_line(struct run *run, bool error_is_expected, struct pleat_message *message)
{
    const struct pleat_scenario_line *line = run->line;

    switch (line->verb) {
    case COMMAND:
        run->output[0] = run->refusal.text[0] = '\0';
        run->passed_over = run->ops->knows && !run->ops->knows(run->context, line->text);
        if (run->passed_over)
            return PLEAT_OK;
        run->refused =
            run->ops->command(run->context, line->text, run->output, OUTPUT_BYTES, &run->refusal) != PLEAT_OK;
        if (run->refused && !error_is_expected)
            return pleat_message_set(message, PLEAT_E_PROTOCOL, "%.400s", run->refusal.text);
        return PLEAT_OK;
    case WAIT:
        return wait(run, message);
    case WAIT_UNTIL:
        return wait_until(run, message);
    case WAIT_SETTLED:
        return wait_settled(run, message);
    case EXPECT:
    case EXPECT_NOT:
    case EXPECT_ERROR:
        return run->passed_over ? PLEAT_OK : expect(run, message);
    case ECHO:
        break;
    }
    return PLEAT_OK;
}

/* What a person reads of a line: as it stands in the file, but for echo, which is its text alone. */
static void print_line(const struct run *run)
{
    const struct pleat_scenario_line *line = run->line;
    char text[512];

    if (!run->ops->print || (line->verb != COMMAND && line->verb != ECHO))
        return;
    snprintf(text, sizeof text, "%s%s", line->verb == COMMAND ? "(pleat) " : "", line->text);
    run->ops->print(run->context, text);
}

int pleat_scenario_run(const struct pleat_scenario *scenario, const struct pleat_scenario_ops *ops,
                       void *context, struct pleat_message *message)
{
    struct run run = {.ops = ops, .context = context, .output = calloc(1, OUTPUT_BYTES)};
    int error = PLEAT_OK;

    if (!run.output)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
    for (size_t i = 0; i < scenario->count && !error; i++) {
        const bool error_is_expected = i + 1 < scenario->count && scenario->lines[i + 1].verb == EXPECT_ERROR;
        run.line = &scenario->lines[i];
        print_line(&run);
        error = run_line(&run, error_is_expected, message);
        if (error)
            pleat_message_prefix(message, "%s:%zu: ", scenario->name, run.line->number);
    }
    free(run.output);
    return error;
}
