/* SPDX-License-Identifier: MIT
 *
 * The QEMU Machine Protocol, one client's side of it: bytes in, answers out.
 *
 * A client is greeted, says qmp_capabilities, and then sends commands: JSON objects with the members
 * `execute`, `arguments` and `id`. Each gets one answer, in order, `return` or `error`; events come in
 * between. What a command does is in a table of the caller; here are the form, the checks of arguments
 * and the words of errors, which are QEMU 7.2's (docs/interop/qmp-spec.txt and qapi/qmp-dispatch.c of it),
 * because scripts look at them. Nothing here knows of sockets: bytes go out through a function.
 */
#ifndef PLEAT_MACHINE_MONITOR_QMP_H
#define PLEAT_MACHINE_MONITOR_QMP_H

#include <jansson.h>

#include "machine/json_splitter.h"
#include "machine/message.h"

/** The classes that QEMU has left, but for KVMMissingCap; the others have been GenericError since 1.2. */
enum pleat_qmp_error_class {
    PLEAT_QMP_GENERIC_ERROR = 0,
    PLEAT_QMP_COMMAND_NOT_FOUND,
    PLEAT_QMP_DEVICE_NOT_FOUND,
    PLEAT_QMP_DEVICE_NOT_ACTIVE
};

/** Why a command was refused: becomes {"error": {"class": ..., "desc": ...}}. */
struct pleat_qmp_error {
    enum pleat_qmp_error_class class;
    struct pleat_message message;
};

enum pleat_qmp_type { PLEAT_QMP_ANY = 0, PLEAT_QMP_STRING, PLEAT_QMP_INTEGER, PLEAT_QMP_BOOLEAN };

/** One member that `arguments` may have. */
struct pleat_qmp_argument {
    const char *name;
    enum pleat_qmp_type type;
    bool optional;
};

#define PLEAT_QMP_ARGUMENTS_MAX 4

struct pleat_qmp_command {
    const char *name;
    /**
     * Does it. ARGUMENTS is an object that has been checked against the rows below. Returns the value of
     * `return`, a reference that the caller gives back, or NULL with ERROR filled in.
     */
    json_t *(*run)(void *context, json_t *arguments, struct pleat_qmp_error *error);
    /** Ends with a name that is NULL. */
    struct pleat_qmp_argument arguments[PLEAT_QMP_ARGUMENTS_MAX];
    /** Members besides those above are the command's to check (device_add, object-add). */
    bool open_arguments;
};

/** One client. */
struct pleat_qmp_session {
    const struct pleat_qmp_command *commands;
    size_t command_count;
    void *context;
    /** Sends LENGTH bytes to the client, a whole line. It mustn't call back into the session. */
    void (*send)(void *send_context, const char *line, size_t length);
    void *send_context;
    /** Called before an answer is sent, so that events that the command caused come first, as QEMU has
     * it; may be NULL. */
    void (*before_answer)(void *before_answer_context);
    void *before_answer_context;
    /** Once it is true, what is left of the input is ignored; may be NULL. */
    const bool *over;
    bool negotiated;
    /** The session was closed, or is about to be: the same for this client alone. */
    bool ended;
    struct pleat_json_splitter splitter;
};

/** Greets the client. All members of SESSION that the caller owes are set, the others are zero. */
void pleat_qmp_open(struct pleat_qmp_session *session);

/** Takes what the client sent, in pieces of any length, and answers each message that it completes. */
void pleat_qmp_input(struct pleat_qmp_session *session, const char *bytes, size_t length);

/** Sends an event, if the client has negotiated. EVENT stays the caller's. */
void pleat_qmp_send_event(struct pleat_qmp_session *session, json_t *event);

/** Gives back what the session holds; half a message that is left is thrown away. */
void pleat_qmp_close(struct pleat_qmp_session *session);

/** The version that the greeting and query-version tell: QEMU's whose protocol it is, and Pleat's. */
json_t *pleat_qmp_version(void);

/** Fills ERROR in and returns NULL, so that a refusal is one statement. */
json_t *pleat_qmp_refuse(struct pleat_qmp_error *error, enum pleat_qmp_error_class class, const char *format,
                         ...) __attribute__((format(printf, 3, 4)));

#endif
