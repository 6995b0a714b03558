/* SPDX-License-Identifier: MIT
 *
 * What the commands of both languages, the terminal's (HMP) and the socket's (QMP), act on: the machine, and
 * the little that a monitor remembers of its own.
 */
#ifndef PLEAT_MACHINE_MONITOR_CONTROL_H
#define PLEAT_MACHINE_MONITOR_CONTROL_H

#include <jansson.h>

#include "machine/machine.h"

/** One for all who command a machine; zero it, then set `machine` and, unless the machine starts
 * with -S, `was_continued`. Control thread only. */
struct pleat_control {
    struct pleat_machine *machine;
    /** Somebody said `cont`, and the machine wasn't reset while it was stopped after it. */
    bool was_continued;
    /** Somebody said `quit`: the machine has been stopped, and no command is run any more. */
    bool ended;
};

/** QEMU's RunState: "running", "paused", or "prelaunch": stopped before the guest has done anything, since
 * the start with -S or a reset. */
const char *pleat_control_status(const struct pleat_control *control);

/** stop, cont, system_reset and quit, as both languages have them. Errors: those of
 * pleat_machine_system_reset(). */
void pleat_control_stop(struct pleat_control *control);
void pleat_control_continue(struct pleat_control *control);
int pleat_control_system_reset(struct pleat_control *control, struct pleat_message *message);
void pleat_control_quit(struct pleat_control *control);

/** All memory devices, in storage that the caller frees; NULL with *COUNT 0 when there are none or memory is
 * out. */
struct pleat_memory_device_info *pleat_control_devices(const struct pleat_control *control, unsigned *count);

/** qom-get as JSON, a reference of the caller's; NULL with *ERROR and MESSAGE filled in. */
json_t *pleat_control_property(const struct pleat_control *control, const char *path, const char *name,
                               int *error, struct pleat_message *message);

/** qom-set from JSON. Errors: those of pleat_machine_property_set(). */
int pleat_control_set_property(const struct pleat_control *control, const char *path, const char *name,
                               const json_t *value, struct pleat_message *message);

#endif
