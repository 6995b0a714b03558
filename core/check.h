/* SPDX-License-Identifier: MIT
 *
 * Checks of our own invariants, in debug builds only: for our own bugs, never for what a peer says.
 */
#ifndef PLEAT_CORE_CHECK_H
#define PLEAT_CORE_CHECK_H

#ifdef PLEAT_DEBUG
#define CHECK(condition) ((condition) ? (void)0 : __builtin_trap())
#else
#define CHECK(condition) ((void)sizeof(condition))
#endif

#endif
