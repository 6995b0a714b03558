/* SPDX-License-Identifier: MIT
 *
 * A client of the QEMU Machine Protocol, for whoever drives a machine from outside: connects, negotiates,
 * asks one command at a time and hears events in between.
 *
 * The server isn't trusted. Whatever it sends that isn't QMP, or isn't an answer to what was asked, breaks
 * the connection for good, with what was wrong; silence ends in a time-out. Texts of the server's that are
 * handed out have no control characters but tabs and ends of lines.
 */
#ifndef PLEAT_MACHINE_QMP_CLIENT_H
#define PLEAT_MACHINE_QMP_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "machine/message.h"
#include "machine/text.h"

struct pleat_qmp_client;

/**
 * Connects to the Unix socket PATH, waits for the greeting and negotiates; each of these may take TIMEOUT_NS,
 * and so may each later answer. From here on SIGINT, SIGTERM and SIGHUP only cancel what the client waits
 * for. Errors, with *CLIENT NULL: INVALID (PATH is too long), NOT_FOUND (nobody listens there; what the host
 * says), NO_MEMORY, and those of pleat_qmp_client_execute().
 */
int pleat_qmp_client_open(struct pleat_qmp_client **client, const char *path, uint64_t timeout_ns,
                          struct pleat_message *message);

/** Gives all back; NULL is fine. */
void pleat_qmp_client_close(struct pleat_qmp_client *client);

/** Who greeted: "QEMU 7.2.22", "pleat 0.1". Valid as long as the client. */
const char *pleat_qmp_client_server(const struct pleat_qmp_client *client);

/** Whether the server is Pleat's own machine, which knows more words than QEMU. */
bool pleat_qmp_client_is_pleat(const struct pleat_qmp_client *client);

/**
 * Asks COMMAND and waits for its answer. ARGUMENTS is taken over in any case; NULL: none. *VALUE is what was
 * returned, the caller's to give back. VALUE may be NULL.
 *
 * Errors, with *VALUE NULL: the server refused, with its description in the message: NOT_FOUND (its class
 * DeviceNotFound), UNSUPPORTED (CommandNotFound), REFUSED (all others); TIMEOUT, CANCELLED (a signal);
 * PROTOCOL (it sent what can't be), DEVICE (the connection is closed), NO_MEMORY. After PROTOCOL, DEVICE and
 * TIMEOUT the connection is of no use any more, and all that follows fails in the same way.
 */
int pleat_qmp_client_execute(struct pleat_qmp_client *client, const char *command, json_t *arguments,
                             json_t **value, struct pleat_message *message);

/**
 * Has a line of the other language, HMP, executed; what it prints is added to OUTPUT, with single newlines.
 * HMP has no answer for "refused": it is known by QEMU's words at the start of the output, which is the
 * message then, without "Error: ", and isn't added. Errors: REFUSED, INVALID (LINE isn't UTF-8), and those of
 * pleat_qmp_client_execute().
 */
int pleat_qmp_client_hmp(struct pleat_qmp_client *client, const char *line, struct pleat_text *output,
                         struct pleat_message *message);

/**
 * Waits until an event comes, or TIMEOUT_NS have passed (0: only looks). Returns OK (an event, perhaps one
 * that came before this call), TIMEOUT, CANCELLED, or the error that broke the connection.
 */
int pleat_qmp_client_wait(struct pleat_qmp_client *client, uint64_t timeout_ns,
                          struct pleat_message *message);

#endif
