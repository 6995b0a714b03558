/* SPDX-License-Identifier: MIT
 *
 * Lines from a pipe or a file, for a monitor that nobody sits in front of.
 */
#ifndef PLEAT_MACHINE_MONITOR_INPUT_H
#define PLEAT_MACHINE_MONITOR_INPUT_H

#include <stdbool.h>
#include <uv.h>

#include "machine/text.h"

/** Zero it before pleat_input_open(). */
struct pleat_input {
    union {
        uv_pipe_t pipe;
        uv_fs_t file;
    };
    uv_loop_t *loop;
    bool open;
    bool is_pipe;
    /** Those of the pipe's description, as it was found. */
    int flags;
    /** A line that is too long is being thrown away. */
    bool skipping;
    struct pleat_text text;
    void (*line)(void *context, const char *line);
    void *context;
    char room[16384];
};

/**
 * Calls LINE for each line of stdin, from inside of the loop, and with NULL at its end, where a last line
 * without a newline counts too. A line longer than the monitor takes is handed on shortened to one byte
 * more than that, so that the monitor refuses it. LINE may close the input.
 */
void pleat_input_open(struct pleat_input *input, uv_loop_t *loop,
                      void (*line)(void *context, const char *line), void *context);

/** Reads no more. */
void pleat_input_close(struct pleat_input *input);

/** Gives its room back, after the loop has ended; closes it before if that wasn't done. */
void pleat_input_free(struct pleat_input *input);

#endif
