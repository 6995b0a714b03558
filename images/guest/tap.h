/* SPDX-License-Identifier: MIT
 *
 * TAP on the console.
 */
#ifndef PLEAT_IMAGES_GUEST_TAP_H
#define PLEAT_IMAGES_GUEST_TAP_H

#include <stdbool.h>

/** A test with this name passes, or not. Returns `passes`. */
bool ok(bool passes, const char *name, ...) __attribute__((format(printf, 2, 3)));
/** It can't be done here. */
void skip(const char *name, const char *why);
/** Prints the plan. Returns the code for platform_exit(): 1 if a test failed, or if there was none. */
int done_testing(void);

#endif
