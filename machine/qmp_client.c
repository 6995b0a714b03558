/* SPDX-License-Identifier: MIT
 *
 * The client's side of QMP, on libuv: each call runs the loop until what it waits for is there.
 */
#include "machine/qmp_client.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <uv.h>

#include "machine/json_splitter.h"

#define SIGNALS 3

struct pleat_qmp_client {
    uv_loop_t loop;
    uv_pipe_t pipe;
    uv_timer_t timer;
    uv_signal_t signals[SIGNALS];
    uv_connect_t connecting;
    uint64_t timeout_ns;
    struct pleat_json_splitter splitter;
    char server[64];
    bool is_pleat;
    bool connected, greeted;
    /* A command is on its way, and its answer once that is there. */
    bool asked;
    json_int_t last_id;
    json_t *answer;
    bool event_heard;
    bool timed_out, cancelled;
    /* Why the connection is of no use any more. */
    int error;
    struct pleat_message why;
    char room[16384];
};

/* ---- what the server says ---- */

/* The connection is over; what was wrong first counts. */
static void give_up(struct pleat_qmp_client *client, int error, const char *what, const char *detail)
{
    if (client->error)
        return;
    client->error = pleat_message_set(&client->why, error, "the QMP server %s%s", what, detail);
}

/* Control characters of a server's text would reach a terminal. Those of C1 are two bytes in UTF-8. */
static void make_printable(char *text)
{
    for (unsigned char *at = (unsigned char *)text; *at; at++) {
        if ((*at < 0x20 && *at != '\n' && *at != '\t') || *at == 0x7f)
            *at = '?';
        else if (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0)
            at[0] = at[1] = '?';
    }
}

static void take_greeting(struct pleat_qmp_client *client, json_t *greeting)
{
    const json_t *version = json_object_get(greeting, "version");
    const json_t *numbers = json_object_get(version, "qemu");
    const char *package = json_string_value(json_object_get(version, "package"));

    if (!json_is_object(numbers) || !package) {
        give_up(client, PLEAT_E_PROTOCOL, "greeted without a version", "");
        return;
    }
    client->is_pleat = !strncmp(package, "pleat ", 6);
    if (client->is_pleat)
        snprintf(client->server, sizeof client->server, "%s", package);
    else
        snprintf(client->server, sizeof client->server,
                 "QEMU %" JSON_INTEGER_FORMAT ".%" JSON_INTEGER_FORMAT ".%" JSON_INTEGER_FORMAT,
                 json_integer_value(json_object_get(numbers, "major")),
                 json_integer_value(json_object_get(numbers, "minor")),
                 json_integer_value(json_object_get(numbers, "micro")));
    make_printable(client->server);
    client->greeted = true;
}

static void take_answer(struct pleat_qmp_client *client, json_t *message)
{
    const json_t *id = json_object_get(message, "id"), *error = json_object_get(message, "error");

    if (!client->asked || client->answer || !json_is_integer(id) || json_integer_value(id) != client->last_id)
        give_up(client, PLEAT_E_PROTOCOL, "answered what it wasn't asked", "");
    else if (error && (!json_is_string(json_object_get(error, "class")) ||
                       !json_is_string(json_object_get(error, "desc"))))
        give_up(client, PLEAT_E_PROTOCOL, "refused without a reason", "");
    else
        client->answer = json_incref(message);
}

static void take_object(struct pleat_qmp_client *client, json_t *message)
{
    json_t *greeting = json_object_get(message, "QMP");

    if (!client->greeted && greeting)
        take_greeting(client, greeting);
    else if (!client->greeted)
        give_up(client, PLEAT_E_PROTOCOL, "didn't greet: this is no QMP socket", "");
    else if (json_object_get(message, "return") || json_object_get(message, "error"))
        take_answer(client, message);
    else if (json_is_string(json_object_get(message, "event")))
        client->event_heard = true;
    else
        give_up(client, PLEAT_E_PROTOCOL, "sent a message that is neither an answer nor an event", "");
}

static bool take_message(void *context, const char *rubbish, const char *text, size_t length)
{
    struct pleat_qmp_client *client = context;
    char quoted[PLEAT_QUOTE_BYTES];
    json_error_t where;

    if (rubbish) {
        give_up(client, PLEAT_E_PROTOCOL, "sent what isn't QMP: ", rubbish);
        return false;
    }
    json_t *message = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
    if (json_is_object(message))
        take_object(client, message);
    else
        give_up(client, PLEAT_E_PROTOCOL, "sent what isn't QMP: ", pleat_quote_bytes(quoted, text, length));
    json_decref(message);
    return !client->error;
}

/* ---- the loop ---- */

static void give_room(uv_handle_t *handle, size_t wished, uv_buf_t *buffer)
{
    struct pleat_qmp_client *client = handle->data;

    (void)wished;
    *buffer = uv_buf_init(client->room, sizeof client->room);
}

static void read_some(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct pleat_qmp_client *client = stream->data;

    if (count >= 0) {
        if (!client->error)
            pleat_json_split(&client->splitter, buffer->base, (size_t)count, take_message, client);
        return;
    }
    uv_read_stop(stream);
    /* A reset is a close that left something of ours unread. */
    if (count == UV_EOF || count == UV_ECONNRESET)
        give_up(client, PLEAT_E_DEVICE, "closed the connection",
                client->splitter.text.length ? " in the middle of a message" : "");
    else
        give_up(client, PLEAT_E_DEVICE, "can't be read from: ", uv_strerror((int)count));
}

static void connected(uv_connect_t *request, int status)
{
    struct pleat_qmp_client *client = request->data;

    client->connected = !status;
    if (status == UV_ECANCELED)
        return;
    if (!status)
        status = uv_read_start((uv_stream_t *)&client->pipe, give_room, read_some);
    if (status)
        give_up(client, PLEAT_E_NOT_FOUND, "can't be reached: ", uv_strerror(status));
}

static void time_is_up(uv_timer_t *timer)
{
    struct pleat_qmp_client *client = timer->data;

    client->timed_out = true;
}

static void signalled(uv_signal_t *signal, int number)
{
    struct pleat_qmp_client *client = signal->data;

    (void)number;
    client->cancelled = true;
}

/* Runs the loop until *DONE or *ALSO (may be NULL) is set. Returns OK, TIMEOUT, CANCELLED or why it is
 * broken. */
static int run_loop(struct pleat_qmp_client *client, const bool *done, json_t *const *also,
                    uint64_t timeout_ns)
{
    client->timed_out = false;
    uv_update_time(&client->loop);
    uv_timer_start(&client->timer, time_is_up, (timeout_ns + 999999) / 1000000, 0);
    while (!client->error && !client->cancelled && !client->timed_out && !(done && *done) && !(also && *also))
        uv_run(&client->loop, UV_RUN_ONCE);
    uv_timer_stop(&client->timer);
    if ((done && *done) || (also && *also))
        return PLEAT_OK;
    return client->error ? client->error : client->cancelled ? PLEAT_E_CANCELLED : PLEAT_E_TIMEOUT;
}

/* Puts into words why the loop ended with ERROR. After a time-out an answer may still come, to nobody. */
static int failed(struct pleat_qmp_client *client, int error, const char *what, struct pleat_message *message)
{
    char text[160];

    if (error == PLEAT_E_TIMEOUT) {
        snprintf(text, sizeof text, "%s within %gs", what, (double)client->timeout_ns / 1e9);
        give_up(client, error, "didn't ", text);
    }
    if (error == PLEAT_E_CANCELLED)
        return pleat_message_set(message, error, "ended by a signal");
    *message = client->why;
    return error;
}

/* ---- opening and closing ---- */

static void init_handles(struct pleat_qmp_client *client)
{
    static const int numbers[SIGNALS] = {SIGINT, SIGTERM, SIGHUP};

    uv_pipe_init(&client->loop, &client->pipe, 0);
    uv_timer_init(&client->loop, &client->timer);
    client->pipe.data = client->timer.data = client->connecting.data = client;
    for (unsigned i = 0; i < SIGNALS; i++) {
        uv_signal_init(&client->loop, &client->signals[i]);
        client->signals[i].data = client;
        uv_signal_start(&client->signals[i], signalled, numbers[i]);
    }
    signal(SIGPIPE, SIG_IGN);
}

int pleat_qmp_client_open(struct pleat_qmp_client **result, const char *path, uint64_t timeout_ns,
                          struct pleat_message *message)
{
    struct sockaddr_un address;
    char quoted[PLEAT_QUOTE_BYTES];

    *result = NULL;
    if (strlen(path) >= sizeof address.sun_path)
        return pleat_message_set(message, PLEAT_E_INVALID,
                                 "UNIX socket path %s is too long, it must be less than %zu bytes",
                                 pleat_quote(quoted, path), sizeof address.sun_path);
    struct pleat_qmp_client *client = calloc(1, sizeof *client);
    if (!client || uv_loop_init(&client->loop)) {
        free(client);
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
    }
    client->timeout_ns = timeout_ns;
    init_handles(client);
    uv_pipe_connect(&client->connecting, &client->pipe, path, connected);
    int error = run_loop(client, &client->connected, NULL, timeout_ns);
    if (error)
        failed(client, error, "accept the connection", message);
    if (!error && (error = run_loop(client, &client->greeted, NULL, timeout_ns)))
        /* QEMU serves one client at a time; others wait for the greeting. */
        failed(client, error, "greet (does it serve somebody else?)", message);
    if (!error)
        error = pleat_qmp_client_execute(client, "qmp_capabilities", NULL, NULL, message);
    if (error) {
        pleat_message_prefix(message, "%s: ", pleat_quote(quoted, path));
        pleat_qmp_client_close(client);
        return error;
    }
    *result = client;
    return PLEAT_OK;
}

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void pleat_qmp_client_close(struct pleat_qmp_client *client)
{
    if (!client)
        return;
    uv_walk(&client->loop, close_handle, NULL);
    while (uv_loop_close(&client->loop) == UV_EBUSY)
        uv_run(&client->loop, UV_RUN_DEFAULT);
    pleat_json_splitter_free(&client->splitter);
    json_decref(client->answer);
    free(client);
}

const char *pleat_qmp_client_server(const struct pleat_qmp_client *client)
{
    return client->server;
}

bool pleat_qmp_client_is_pleat(const struct pleat_qmp_client *client)
{
    return client->is_pleat;
}

/* ---- asking ---- */

/* A line on its way: libuv needs it until it is out. */
struct line {
    uv_write_t request;
    struct pleat_qmp_client *client;
    struct pleat_text text;
};

static void free_line(struct line *line)
{
    if (line)
        pleat_text_free(&line->text);
    free(line);
}

static void line_sent(uv_write_t *request, int status)
{
    struct line *line = (struct line *)request;

    /* What the server said before it closed may still be there to be read, and says more. */
    if (status < 0 && status != UV_ECANCELED && status != UV_EPIPE)
        give_up(line->client, PLEAT_E_DEVICE, "can't be written to: ", uv_strerror(status));
    free_line(line);
}

static void send_message(struct pleat_qmp_client *client, const json_t *message)
{
    struct line *line = calloc(1, sizeof *line);
    char *dumped = message ? json_dumps(message, JSON_ENSURE_ASCII | JSON_COMPACT) : NULL;

    if (line && dumped) {
        pleat_text_print(&line->text, "%s\r\n", dumped);
        line->client = client;
    }
    free(dumped);
    if (!line || !line->client || line->text.failed) {
        free_line(line);
        give_up(client, PLEAT_E_NO_MEMORY, "can't be asked: ", pleat_error_text(PLEAT_E_NO_MEMORY));
        return;
    }
    uv_buf_t buffer = uv_buf_init(line->text.bytes, (unsigned)line->text.length);
    int status = uv_write(&line->request, (uv_stream_t *)&client->pipe, &buffer, 1, line_sent);
    if (status) {
        free_line(line);
        give_up(client, PLEAT_E_DEVICE, "can't be written to: ", uv_strerror(status));
    }
}

static int refused(const json_t *error, struct pleat_message *message)
{
    const char *class = json_string_value(json_object_get(error, "class"));

    pleat_message_set(message, PLEAT_E_REFUSED, "%s", json_string_value(json_object_get(error, "desc")));
    make_printable(message->text);
    return !strcmp(class, "DeviceNotFound")    ? PLEAT_E_NOT_FOUND
           : !strcmp(class, "CommandNotFound") ? PLEAT_E_UNSUPPORTED
                                               : PLEAT_E_REFUSED;
}

int pleat_qmp_client_execute(struct pleat_qmp_client *client, const char *command, json_t *arguments,
                             json_t **value, struct pleat_message *message)
{
    char what[64];

    if (value)
        *value = NULL;
    json_t *request = json_pack("{s:s, s:I}", "execute", command, "id", ++client->last_id);
    if (arguments)
        json_object_set_new(request, "arguments", arguments);
    if (!client->error)
        send_message(client, request);
    json_decref(request);
    client->asked = true;
    int error = run_loop(client, NULL, &client->answer, client->timeout_ns);
    client->asked = false;
    json_t *answer = client->answer;
    client->answer = NULL;
    snprintf(what, sizeof what, "answer %s", command);
    if (!answer)
        return failed(client, error, what, message);
    const json_t *wrong = json_object_get(answer, "error");
    if (wrong)
        error = refused(wrong, message);
    else if (value)
        *value = json_incref(json_object_get(answer, "return"));
    json_decref(answer);
    return error;
}

/* Where a refusal's words begin in what HMP printed, or NULL. */
static const char *refusal_in(const char *output)
{
    static const char error[] = "Error: ", unknown[] = "unknown command: ";
    /* What is wrong with the form of a line ends with where help is. */
    const char *advice = strstr(output, "\nTry \"help ");

    if (!strncmp(output, error, sizeof error - 1))
        return output + sizeof error - 1;
    const char *end = advice ? strchr(advice + 1, '\n') : NULL;
    return !strncmp(output, unknown, sizeof unknown - 1) || (advice && (!end || !end[1])) ? output : NULL;
}

int pleat_qmp_client_hmp(struct pleat_qmp_client *client, const char *line, struct pleat_text *output,
                         struct pleat_message *message)
{
    json_t *arguments = json_pack("{s:s}", "command-line", line), *value;

    if (!arguments)
        return pleat_message_set(message, PLEAT_E_INVALID, "expected UTF-8 in a command");
    int error = pleat_qmp_client_execute(client, "human-monitor-command", arguments, &value, message);
    if (error)
        return error;
    const char *said = json_string_value(value);
    char *text = said ? strdup(said) : NULL, *to = text;
    if (!text) {
        json_decref(value);
        give_up(client, PLEAT_E_PROTOCOL, "answered human-monitor-command without a text", "");
        return failed(client, client->error, "", message);
    }
    for (const char *at = said; *at; at++)
        if (*at != '\r')
            *to++ = *at;
    *to = '\0';
    make_printable(text);
    const char *refusal = refusal_in(text);
    if (refusal)
        error = pleat_message_set(message, PLEAT_E_REFUSED, "%.*s", (int)strcspn(refusal, "\n"), refusal);
    else
        pleat_text_add(output, text, strlen(text));
    free(text);
    json_decref(value);
    return error;
}

int pleat_qmp_client_wait(struct pleat_qmp_client *client, uint64_t timeout_ns, struct pleat_message *message)
{
    int error = run_loop(client, &client->event_heard, NULL, timeout_ns);

    client->event_heard = false;
    if (error == PLEAT_OK || error == PLEAT_E_TIMEOUT)
        return error;
    return failed(client, error, "", message);
}
