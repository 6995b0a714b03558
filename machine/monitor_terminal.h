/* SPDX-License-Identifier: MIT
 *
 * A person's terminal: line editing, history and completion by libedit, driven by libuv so that events can
 * be printed while somebody types.
 *
 * libedit keeps its state in globals, so there can be one terminal at a time.
 */
#ifndef PLEAT_MACHINE_MONITOR_TERMINAL_H
#define PLEAT_MACHINE_MONITOR_TERMINAL_H

#include <uv.h>

#include "machine/monitor_control.h"

#define PLEAT_MONITOR_PROMPT "(pleat) "

/** Zero it before pleat_terminal_open(). */
struct pleat_terminal {
    uv_poll_t poll;
    uv_signal_t resized;
    bool open;
    /** A command is being run: the prompt isn't there. */
    bool running;
    struct pleat_control *control;
    void (*line)(void *context, const char *line);
    void *context;
};

/**
 * Shows the prompt on stdin and stdout, both of them terminals, and calls LINE for each line that is entered,
 * with NULL at the end of input (Ctrl-D). Completion asks CONTROL. Errors: UNSUPPORTED (no terminal).
 */
int pleat_terminal_open(struct pleat_terminal *terminal, uv_loop_t *loop, struct pleat_control *control,
                        void (*line)(void *context, const char *line), void *context);

/** Prints whole lines above the prompt and what has been typed so far; also when it isn't open. */
void pleat_terminal_print(struct pleat_terminal *terminal, const char *text);

/** Takes the prompt away and gives the terminal its settings back. */
void pleat_terminal_close(struct pleat_terminal *terminal);

#endif
