/* SPDX-License-Identifier: MIT
 *
 * Sizes and offsets of wire structures, held at compile time: a structure that doesn't lie as the
 * specification says doesn't compile, in C99, C11 and C++11 alike.
 */
#ifndef PLEAT_WIRE_LAYOUT_H
#define PLEAT_WIRE_LAYOUT_H

#include <stddef.h>

#if defined(__cplusplus)
#define PLEAT_WIRE_ASSERT(condition, name) static_assert(condition, #name)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define PLEAT_WIRE_ASSERT(condition, name) _Static_assert(condition, #name)
#else
#define PLEAT_WIRE_ASSERT(condition, name) typedef char pleat_wire_assert_##name[(condition) ? 1 : -1]
#endif

/** `struct type_` is `bytes_` long. */
#define PLEAT_WIRE_SIZE(type_, bytes_) PLEAT_WIRE_ASSERT(sizeof(struct type_) == (bytes_), type_##_size)

/** `field_` of `struct type_` starts at `offset_`. */
#define PLEAT_WIRE_OFFSET(type_, field_, offset_)                                                            \
    PLEAT_WIRE_ASSERT(offsetof(struct type_, field_) == (offset_), type_##_##field_##_offset)

#endif
