/* SPDX-License-Identifier: MIT
 *
 * QMP on a Unix socket: whoever connects gets a session of his own.
 *
 * QEMU serves one client at a time and leaves the others waiting in the socket's queue; here up to
 * PLEAT_MONITOR_CLIENTS_MAX are served at once, each with its own negotiation, and events go to all. Clients
 * are not trusted: one that doesn't read is not read from while its answers pile up, and is dropped when
 * events pile up too; one that goes away in the middle of a message loses that message and nothing else.
 */
#ifndef PLEAT_MACHINE_MONITOR_SOCKET_H
#define PLEAT_MACHINE_MONITOR_SOCKET_H

#include <uv.h>

#include "machine/monitor_control.h"
#include "machine/monitor_qmp.h"

#define PLEAT_MONITOR_CLIENTS_MAX 16
/** Bytes that wait for a client: above the first nothing is read from it, above the second it is dropped. */
#define PLEAT_MONITOR_QUEUE_BYTES     (256 * 1024)
#define PLEAT_MONITOR_QUEUE_BYTES_MAX (4 * 1024 * 1024)

struct pleat_monitor_socket;

struct pleat_monitor_client {
    struct pleat_monitor_socket *socket;
    uv_pipe_t pipe;
    struct pleat_qmp_session session;
    bool in_use;
    bool closing;
    bool paused;
    char room[16384];
};

/** Zero it before pleat_monitor_socket_open(). */
struct pleat_monitor_socket {
    uv_pipe_t listener;
    bool listening;
    /** Where it listens; removed when it is closed. */
    char path[108];
    struct pleat_control *control;
    void (*before_answer)(void *context);
    void *context;
    /** How many have connected since it was opened. */
    unsigned connections;
    struct pleat_monitor_client clients[PLEAT_MONITOR_CLIENTS_MAX];
};

/**
 * Listens on PATH. A socket that nobody listens on any more is replaced; the new one is removed by
 * pleat_monitor_socket_close(). BEFORE_ANSWER (may be NULL) is called with CONTEXT before each answer.
 * Errors: INVALID (PATH is too long, or something else is there), BUSY (somebody listens there already), and
 * NOT_FOUND, with what the host says.
 */
int pleat_monitor_socket_open(struct pleat_monitor_socket *server, uv_loop_t *loop, const char *path,
                              struct pleat_control *control, void (*before_answer)(void *context),
                              void *context, struct pleat_message *message);

/** Sends an event to all clients that have negotiated. EVENT stays the caller's. */
void pleat_monitor_socket_event(struct pleat_monitor_socket *server, json_t *event);

/** Whether something is still to be sent. */
bool pleat_monitor_socket_is_sending(const struct pleat_monitor_socket *server);

/** Drops the clients and removes the socket; the loop has to run once more to the end of its handles. */
void pleat_monitor_socket_close(struct pleat_monitor_socket *server);

#endif
