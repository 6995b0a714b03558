/* SPDX-License-Identifier: MIT
 *
 * The commands of QMP, in QEMU's names and fields.
 */
#ifndef PLEAT_MACHINE_MONITOR_QMP_COMMANDS_H
#define PLEAT_MACHINE_MONITOR_QMP_COMMANDS_H

#include "machine/monitor_control.h"
#include "machine/monitor_qmp.h"

/** The table; the context of its functions is a struct pleat_control. */
extern const struct pleat_qmp_command pleat_qmp_commands[];
extern const size_t pleat_qmp_command_count;

#endif
