/* SPDX-License-Identifier: MIT
 *
 * Stdin that isn't a terminal: a pipe is read when it has something, a file by libuv's threads (it is always
 * ready, and can't be waited for).
 */
#include "machine/monitor_input.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "machine/monitor_hmp.h"

static void hand_on(struct pleat_input *input)
{
    input->line(input->context, pleat_text_string(&input->text));
    pleat_text_clear(&input->text);
}

static void take(struct pleat_input *input, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length && input->open; i++) {
        if (bytes[i] == '\n') {
            if (!input->skipping)
                hand_on(input);
            input->skipping = false;
        } else if (!input->skipping && bytes[i]) {
            pleat_text_add(&input->text, &bytes[i], 1);
            if (input->text.length == PLEAT_HMP_LINE_BYTES_MAX) {
                hand_on(input);
                input->skipping = true;
            }
        }
    }
}

static void end(struct pleat_input *input)
{
    if (input->text.length && input->open)
        hand_on(input);
    if (!input->open)
        return;
    pleat_input_close(input);
    input->line(input->context, NULL);
}

/* ---- a pipe ---- */

static void give_room(uv_handle_t *handle, size_t wished, uv_buf_t *buffer)
{
    (void)wished;
    struct pleat_input *input = handle->data;
    *buffer = uv_buf_init(input->room, sizeof(input->room));
}

static void pipe_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct pleat_input *input = stream->data;
    if (count < 0)
        end(input);
    else
        take(input, buffer->base, (size_t)count);
}

static bool open_pipe(struct pleat_input *input)
{
    uv_handle_type type = uv_guess_handle(STDIN_FILENO);
    if (type != UV_NAMED_PIPE && type != UV_TTY)
        return false;
    if (uv_pipe_init(input->loop, &input->pipe, 0))
        return false;
    input->pipe.data = input;
    input->is_pipe = true;
    input->flags = fcntl(STDIN_FILENO, F_GETFL);
    return !uv_pipe_open(&input->pipe, STDIN_FILENO) &&
           !uv_read_start((uv_stream_t *)&input->pipe, give_room, pipe_read);
}

/* ---- a file ---- */

static void read_file(struct pleat_input *input);

static void file_read(uv_fs_t *request)
{
    struct pleat_input *input = request->data;
    ssize_t count = request->result;
    uv_fs_req_cleanup(request);
    if (!input->open)
        return;
    if (count <= 0) {
        end(input);
        return;
    }
    take(input, input->room, (size_t)count);
    if (input->open)
        read_file(input);
}

static void read_file(struct pleat_input *input)
{
    uv_buf_t buffer = uv_buf_init(input->room, sizeof(input->room));
    input->file.data = input;
    if (uv_fs_read(input->loop, &input->file, STDIN_FILENO, &buffer, 1, -1, file_read))
        end(input);
}

void pleat_input_open(struct pleat_input *input, uv_loop_t *loop,
                      void (*line)(void *context, const char *line), void *context)
{
    input->loop = loop;
    input->line = line;
    input->context = context;
    input->open = true;
    if (open_pipe(input))
        return;
    if (input->is_pipe)
        end(input);
    else
        read_file(input);
}

void pleat_input_close(struct pleat_input *input)
{
    if (!input->open)
        return;
    input->open = false;
    if (!input->is_pipe)
        return;
    uv_close((uv_handle_t *)&input->pipe, NULL);
    /* libuv made it non-blocking, for all who have it open. */
    fcntl(STDIN_FILENO, F_SETFL, input->flags);
}

void pleat_input_free(struct pleat_input *input)
{
    pleat_input_close(input);
    pleat_text_free(&input->text);
}
