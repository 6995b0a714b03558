/* SPDX-License-Identifier: MIT
 *
 * An access that may fault, and says so.
 */
#ifndef PLEAT_TESTS_TOUCH_H
#define PLEAT_TESTS_TOUCH_H

#include <stdbool.h>
#include <stdint.h>

/* Reads a byte into *byte, or writes *byte. PLEAT_OK, or PLEAT_E_REFUSED: it faulted, and nothing has
 * changed. One thread at a time; handlers of SIGSEGV and SIGBUS are as before afterwards. */
int test_touch(volatile uint8_t *at, uint8_t *byte, bool write);

#endif
