/* SPDX-License-Identifier: MIT
 *
 * The monitor of a machine: the loop that serves a terminal or a pipe, a scenario and the QMP socket, and
 * tells them what happens in the machine.
 *
 * It runs on the control thread and is the only one that touches the machine. What the machine's own threads
 * have to say, events and lines of its log, is put into a queue and taken from there by the loop. In a
 * deterministic machine time passes only when the loop lets it: after each command until the drivers have
 * settled, so that a script's answers don't depend on the host's speed, and, while a person or a QMP client
 * is there, as fast as the host's own time.
 */
#ifndef PLEAT_MACHINE_MONITOR_H
#define PLEAT_MACHINE_MONITOR_H

#include "machine/machine.h"
#include "machine/scenario.h"

struct pleat_monitor;

/**
 * Makes a monitor for a machine that hasn't been started: listens to the machine and opens the QMP socket
 * that its config names. The machine must outlive it. Errors, with *MONITOR NULL: NO_MEMORY, and those of
 * the socket (monitor_socket.h).
 */
int pleat_monitor_create(struct pleat_machine *machine, struct pleat_monitor **monitor,
                         struct pleat_message *message);

/** Waits for a first QMP client; 0, or CANCELLED (a signal). */
int pleat_monitor_wait_client(struct pleat_monitor *monitor);

/** Lets the machine run, and serves QMP, until CONDITION says true. Returns 0, TIMEOUT (after TIMEOUT_NS of
 * the machine's clock; 0: no limit) or CANCELLED (a signal, or somebody said quit). */
int pleat_monitor_run_until(struct pleat_monitor *monitor, bool (*condition)(void *context), void *context,
                            uint64_t timeout_ns);

/** Runs a scenario, its lines and their output going to stdout. Errors: those of pleat_scenario_run(). */
int pleat_monitor_run_scenario(struct pleat_monitor *monitor, const struct pleat_scenario *scenario,
                               struct pleat_message *message);

/**
 * Serves the terminal or the pipe, and QMP, until the end: quit, a signal, the end of the input (QMP clients
 * keep it going), or the config's duration.
 */
void pleat_monitor_run(struct pleat_monitor *monitor);

/** Whether stdin and stdout are a terminal and the config wants a prompt there. */
bool pleat_monitor_has_terminal(const struct pleat_monitor *monitor);

/** Why it ended, as the SHUTDOWN event has it; NULL: it hasn't. */
const char *pleat_monitor_end_reason(const struct pleat_monitor *monitor);

/** Hands out what the machine said last, waits up to a second for QMP clients to take it, and gives all
 * back; after pleat_machine_stop(). NULL is allowed. */
void pleat_monitor_destroy(struct pleat_monitor *monitor);

#endif
