/* SPDX-License-Identifier: MIT
 *
 * libedit's callback interface: it is handed one character after the other as they come.
 */
#include "machine/monitor_terminal.h"

#include <editline/readline.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine/monitor_hmp.h"

#define HISTORY_LINES 500

/* libedit's callbacks have no context. */
static struct pleat_terminal *the_terminal;

/* ---- completion ---- */

/* What libedit wants: a list on the heap, what all have in common first, NULL last. */
struct candidates {
    char **words;
    size_t count;
    bool failed;
};

static void add_candidate(void *context, const char *word)
{
    struct candidates *candidates = context;
    char **words = realloc(candidates->words, (candidates->count + 3) * sizeof(*words));
    if (!words) {
        candidates->failed = true;
        return;
    }
    candidates->words = words;
    /* The first place is kept for what they have in common. */
    words[candidates->count + 1] = strdup(word);
    words[candidates->count + 2] = NULL;
    candidates->failed |= !words[candidates->count + 1];
    candidates->count += words[candidates->count + 1] != NULL;
}

static char **complete(const char *text, int start, int end)
{
    (void)text;
    (void)start;
    struct candidates candidates = {0};
    char *line = strndup(rl_line_buffer, (size_t)end);
    rl_attempted_completion_over = 1;
    if (!line)
        return NULL;
    pleat_hmp_complete(the_terminal->control, line, add_candidate, &candidates);
    free(line);
    if (candidates.count == 0) {
        free(candidates.words);
        return NULL;
    }
    size_t common = strlen(candidates.words[1]);
    for (size_t i = 2; i <= candidates.count; i++) {
        size_t same = 0;
        while (same < common && candidates.words[i][same] == candidates.words[1][same])
            same++;
        common = same;
    }
    candidates.words[0] = strndup(candidates.words[1], common);
    return candidates.words;
}

/* ---- lines ---- */

static void take_line(char *line)
{
    struct pleat_terminal *terminal = the_terminal;
    terminal->running = true;
    if (line && *line) {
        HIST_ENTRY *last = history_length > 0 ? history_get(history_base + history_length - 1) : NULL;
        if (!last || strcmp(last->line, line))
            add_history(line);
    }
    if (!line)
        fputc('\n', stdout);
    terminal->line(terminal->context, line);
    free(line);
    fflush(stdout);
    terminal->running = false;
    /* Shows the prompt anew; libedit forgets its mode with each line. */
    if (terminal->open)
        rl_callback_handler_install(PLEAT_MONITOR_PROMPT, take_line);
}

static void readable(uv_poll_t *poll, int status, int events)
{
    struct pleat_terminal *terminal = poll->data;
    (void)events;
    if (status < 0) {
        pleat_terminal_close(terminal);
        terminal->line(terminal->context, NULL);
        return;
    }
    rl_callback_read_char();
}

static void terminal_resized(uv_signal_t *signal, int number)
{
    (void)signal;
    (void)number;
    rl_resize_terminal();
}

int pleat_terminal_open(struct pleat_terminal *terminal, uv_loop_t *loop, struct pleat_control *control,
                        void (*line)(void *context, const char *line), void *context)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || uv_poll_init(loop, &terminal->poll, STDIN_FILENO))
        return PLEAT_E_UNSUPPORTED;
    /* libuv made it non-blocking, and stdout with it, which is the same terminal: printing must wait. */
    fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) & ~O_NONBLOCK);
    terminal->poll.data = terminal;
    terminal->control = control;
    terminal->line = line;
    terminal->context = context;
    terminal->open = true;
    the_terminal = terminal;
    uv_signal_init(loop, &terminal->resized);
    uv_signal_start(&terminal->resized, terminal_resized, SIGWINCH);

    rl_readline_name = "pleat";
    rl_catch_signals = 0;
    rl_catch_sigwinch = 0;
    rl_instream = stdin;
    rl_outstream = stdout;
    rl_initialize();
    rl_completer_word_break_characters = " \t";
    rl_attempted_completion_function = complete;
    using_history();
    stifle_history(HISTORY_LINES);
    rl_callback_handler_install(PLEAT_MONITOR_PROMPT, take_line);
    uv_poll_start(&terminal->poll, UV_READABLE | UV_DISCONNECT, readable);
    return PLEAT_OK;
}

void pleat_terminal_print(struct pleat_terminal *terminal, const char *text)
{
    bool prompt = terminal->open && !terminal->running;
    if (prompt)
        fputs("\r\033[K", stdout);
    fputs(text, stdout);
    fflush(stdout);
    if (prompt)
        rl_forced_update_display();
}

void pleat_terminal_close(struct pleat_terminal *terminal)
{
    if (!terminal->open)
        return;
    terminal->open = false;
    if (!terminal->running)
        fputs("\r\033[K", stdout);
    rl_callback_handler_remove();
    rl_deprep_terminal();
    clear_history();
    uv_close((uv_handle_t *)&terminal->poll, NULL);
    uv_close((uv_handle_t *)&terminal->resized, NULL);
    fflush(stdout);
}
