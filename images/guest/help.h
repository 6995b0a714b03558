/* SPDX-License-Identifier: MIT
 *
 * CPUs that have nothing to do help the one that takes memory away with moving what is in use.
 */
#ifndef PLEAT_IMAGES_GUEST_HELP_H
#define PLEAT_IMAGES_GUEST_HELP_H

#include <stdbool.h>
#include <stdint.h>

struct guest;

/** A core's `help`: CPUs that are idle begin. */
void help_welcome(void *context);

/** Helps if there is something to help with; false: there isn't. Any CPU but the one that takes. */
bool help_once(struct guest *guest);

/** Waits until no CPU is at it, so that each can be given something else. CPU 0, outside of a take's step. */
void help_rest(void);

/** Frames that helpers have gone over. */
uint64_t help_frames(void);

#endif
