/* SPDX-License-Identifier: MIT
 *
 * Clients of the QMP socket, on libuv.
 */
#include "machine/monitor_socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "machine/monitor_qmp_commands.h"

/* ---- sending ---- */

/* One line on its way: libuv needs it until it is out. */
struct line {
    uv_write_t request;
    struct pleat_monitor_client *client;
    char bytes[];
};

static void drop(struct pleat_monitor_client *client);
static void read_some(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer);
static void give_room(uv_handle_t *handle, size_t wished, uv_buf_t *buffer);

static size_t waiting_bytes(const struct pleat_monitor_client *client)
{
    return uv_stream_get_write_queue_size((const uv_stream_t *)&client->pipe);
}

static void line_sent(uv_write_t *request, int status)
{
    struct line *line = (struct line *)request;
    struct pleat_monitor_client *client = line->client;
    free(line);
    if (client->closing)
        return;
    if (status < 0) {
        drop(client);
    } else if (client->paused && waiting_bytes(client) < PLEAT_MONITOR_QUEUE_BYTES / 2) {
        client->paused = false;
        uv_read_start((uv_stream_t *)&client->pipe, give_room, read_some);
    }
}

static void send_line(void *context, const char *bytes, size_t length)
{
    struct pleat_monitor_client *client = context;
    if (client->closing)
        return;
    struct line *line = NULL;
    if (waiting_bytes(client) + length <= PLEAT_MONITOR_QUEUE_BYTES_MAX)
        line = malloc(sizeof(*line) + length);
    if (!line) {
        drop(client);
        return;
    }
    line->client = client;
    memcpy(line->bytes, bytes, length);
    uv_buf_t buffer = uv_buf_init(line->bytes, (unsigned)length);
    if (uv_write(&line->request, (uv_stream_t *)&client->pipe, &buffer, 1, line_sent)) {
        free(line);
        drop(client);
        return;
    }
    if (!client->paused && waiting_bytes(client) > PLEAT_MONITOR_QUEUE_BYTES) {
        client->paused = true;
        uv_read_stop((uv_stream_t *)&client->pipe);
    }
}

/* ---- a client's life ---- */

static void client_closed(uv_handle_t *handle)
{
    struct pleat_monitor_client *client = handle->data;
    client->in_use = false;
}

/* The session is only closed once it is certain that nothing of it is running. */
static void drop(struct pleat_monitor_client *client)
{
    if (client->closing)
        return;
    client->closing = true;
    client->session.ended = true;
    uv_close((uv_handle_t *)&client->pipe, client_closed);
}

static void give_room(uv_handle_t *handle, size_t wished, uv_buf_t *buffer)
{
    (void)wished;
    struct pleat_monitor_client *client = handle->data;
    *buffer = uv_buf_init(client->room, sizeof(client->room));
}

static void read_some(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct pleat_monitor_client *client = stream->data;
    if (count < 0) {
        drop(client);
        return;
    }
    pleat_qmp_input(&client->session, buffer->base, (size_t)count);
}

static struct pleat_monitor_client *free_client(struct pleat_monitor_socket *server)
{
    for (unsigned i = 0; i < PLEAT_MONITOR_CLIENTS_MAX; i++) {
        if (!server->clients[i].in_use)
            return &server->clients[i];
    }
    return NULL;
}

/* Prepares a client that has a pipe but no connection yet; NULL if there are too many. */
static struct pleat_monitor_client *new_client(struct pleat_monitor_socket *server, uv_loop_t *loop)
{
    struct pleat_monitor_client *client = free_client(server);
    if (!client || uv_pipe_init(loop, &client->pipe, 0))
        return NULL;
    /* What an earlier client left half said. */
    pleat_qmp_close(&client->session);
    client->socket = server;
    client->pipe.data = client;
    client->in_use = true;
    client->closing = false;
    client->paused = false;
    client->session = (struct pleat_qmp_session){
        .commands = pleat_qmp_commands,
        .command_count = pleat_qmp_command_count,
        .context = server->control,
        .send = send_line,
        .send_context = client,
        .over = &server->control->ended,
        .before_answer = server->before_answer,
        .before_answer_context = server->context,
    };
    return client;
}

static void greet(struct pleat_monitor_client *client)
{
    client->socket->connections++;
    pleat_qmp_open(&client->session);
    if (!client->closing && uv_read_start((uv_stream_t *)&client->pipe, give_room, read_some))
        drop(client);
}

/* One more than there is room for is let in and shown out, else the listener would be called forever. */
static void turn_away(uv_stream_t *listener)
{
    uv_pipe_t *pipe = malloc(sizeof(*pipe));
    if (!pipe || uv_pipe_init(listener->loop, pipe, 0)) {
        free(pipe);
        return;
    }
    uv_accept(listener, (uv_stream_t *)pipe);
    uv_close((uv_handle_t *)pipe, (uv_close_cb)free);
}

static void somebody_connects(uv_stream_t *listener, int status)
{
    struct pleat_monitor_socket *server = listener->data;
    if (status < 0)
        return;
    struct pleat_monitor_client *client = new_client(server, listener->loop);
    if (!client)
        turn_away(listener);
    else if (uv_accept(listener, (uv_stream_t *)&client->pipe))
        drop(client);
    else
        greet(client);
}

/* ---- opening ---- */

/* Makes PATH free for a socket: removes one that a process left behind that is gone. */
static int clear_path(const struct sockaddr_un *address, struct pleat_message *message)
{
    struct stat status;
    char quoted[PLEAT_QUOTE_BYTES];
    const char *path = address->sun_path;
    if (lstat(path, &status))
        return PLEAT_OK;
    if (!S_ISSOCK(status.st_mode))
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "-qmp: %s is there already and isn't a socket, expected a path of its own",
                                 pleat_quote(quoted, path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool refused =
        fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    if (!refused)
        return pleat_message_set(message, PLEAT_E_BUSY, "-qmp: somebody listens on %s already",
                                 pleat_quote(quoted, path));
    unlink(path);
    return PLEAT_OK;
}

/* A socket that is bound to PATH, or a negative errno. libuv binds too, but hides why it failed. */
static int bind_path(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, (const struct sockaddr *)address, sizeof(*address))) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

int pleat_monitor_socket_open(struct pleat_monitor_socket *server, uv_loop_t *loop, const char *path,
                              struct pleat_control *control, void (*before_answer)(void *context),
                              void *context, struct pleat_message *message)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char quoted[PLEAT_QUOTE_BYTES];
    server->control = control;
    server->before_answer = before_answer;
    server->context = context;
    if (strlen(path) >= sizeof(address.sun_path))
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "-qmp: UNIX socket path %s is too long, it must be less than %zu bytes",
                                 pleat_quote(quoted, path), sizeof(address.sun_path));
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int error = clear_path(&address, message);
    if (error)
        return error;
    int fd = bind_path(&address);
    if (fd < 0)
        return pleat_message_set(message, PLEAT_E_NOT_FOUND, "-qmp: can't listen on %s: %s",
                                 pleat_quote(quoted, path), strerror(-fd));
    snprintf(server->path, sizeof(server->path), "%s", path);
    int status = uv_pipe_init(loop, &server->listener, 0);
    if (!status)
        status = uv_pipe_open(&server->listener, fd);
    if (status) {
        close(fd);
        unlink(path);
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "-qmp: %s", uv_strerror(status));
    }
    server->listener.data = server;
    server->listening = true;
    status = uv_listen((uv_stream_t *)&server->listener, PLEAT_MONITOR_CLIENTS_MAX, somebody_connects);
    if (status)
        return pleat_message_set(message, PLEAT_E_NOT_FOUND, "-qmp: can't listen on %s: %s",
                                 pleat_quote(quoted, path), uv_strerror(status));
    return PLEAT_OK;
}

void pleat_monitor_socket_event(struct pleat_monitor_socket *server, json_t *event)
{
    for (unsigned i = 0; i < PLEAT_MONITOR_CLIENTS_MAX; i++) {
        struct pleat_monitor_client *client = &server->clients[i];
        if (client->in_use && !client->closing)
            pleat_qmp_send_event(&client->session, event);
    }
}

bool pleat_monitor_socket_is_sending(const struct pleat_monitor_socket *server)
{
    for (unsigned i = 0; i < PLEAT_MONITOR_CLIENTS_MAX; i++) {
        const struct pleat_monitor_client *client = &server->clients[i];
        if (client->in_use && !client->closing && waiting_bytes(client))
            return true;
    }
    return false;
}

void pleat_monitor_socket_close(struct pleat_monitor_socket *server)
{
    for (unsigned i = 0; i < PLEAT_MONITOR_CLIENTS_MAX; i++) {
        if (server->clients[i].in_use)
            drop(&server->clients[i]);
        pleat_qmp_close(&server->clients[i].session);
    }
    if (!server->listening)
        return;
    server->listening = false;
    unlink(server->path);
    uv_close((uv_handle_t *)&server->listener, NULL);
}
