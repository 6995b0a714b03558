/* SPDX-License-Identifier: MIT
 *
 * A whole machine for a test, made of an option line as a person would type it.
 */
#ifndef PLEAT_TESTS_WHOLE_MACHINE_H
#define PLEAT_TESTS_WHOLE_MACHINE_H

#include <stdbool.h>

#include "machine/machine.h"

/* Options parted by blanks, 64 words at most. Answers as pleat_machine_config_parse(). */
int whole_machine_parse(const char *line, struct pleat_machine_config *config, struct pleat_message *message);

/* A machine that doesn't run yet and is heard by `listener`, if that isn't NULL; the test fails if it can't
 * be made. The second one runs. */
struct pleat_machine *whole_machine_make(const char *line, const struct pleat_machine_listener *listener);
struct pleat_machine *whole_machine_start(const char *line, const struct pleat_machine_listener *listener);

/* For pleat_machine_run_until(), with the machine as context. */
bool whole_machine_is_settled(void *machine);

/* Stops and destroys it; the test fails if the machine finds a frame that is lost or torn. */
void whole_machine_end(struct pleat_machine *machine);

#endif
