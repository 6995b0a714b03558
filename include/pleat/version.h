/* SPDX-License-Identifier: MIT
 *
 * The version of these headers. The shared library's soname changes when a program that was linked
 * against an older one would break; until 1.0.0 any minor version may change the API.
 */
#ifndef PLEAT_VERSION_H
#define PLEAT_VERSION_H

#define PLEAT_VERSION_MAJOR 0
#define PLEAT_VERSION_MINOR 1
#define PLEAT_VERSION_PATCH 0
#define PLEAT_VERSION       "0.1.0"

#endif
