/* SPDX-License-Identifier: MIT
 *
 * CPUs and nodes of a config: -smp and -numa, whose parts only make sense together.
 */
#ifndef PLEAT_MACHINE_CONFIG_TOPOLOGY_H
#define PLEAT_MACHINE_CONFIG_TOPOLOGY_H

#include "machine/config.h"
#include "machine/message.h"

/** Reads an -smp. Errors: INVALID. */
int pleat_config_read_smp(struct pleat_machine_config *config, const char *text,
                          struct pleat_message *message);

/** Reads the -numa options, after memory, CPUs and objects are known, and fills in what they leave open.
 * Errors: INVALID, NOT_FOUND. */
int pleat_config_read_numa(struct pleat_machine_config *config, const char *const *texts, unsigned count,
                           struct pleat_message *message);

#endif
