/* SPDX-License-Identifier: MIT
 *
 * Putting platform.spans together: sorted, without overlaps.
 */
#ifndef PLEAT_PORTS_BARE_SPANS_H
#define PLEAT_PORTS_BARE_SPANS_H

#include "platform.h"

/**
 * Says of the bytes start to end what they are; what was said of them before no longer holds. Of memory that
 * is free only whole frames count, of memory that isn't each frame that it touches. False: platform.spans is
 * full, and nothing has changed.
 */
bool spans_set(uint64_t start, uint64_t end, enum pleat_boot_use use, unsigned node);

/** As spans_set(), but only what lies in some span changes its use; nodes stay. */
bool spans_set_use(uint64_t start, uint64_t end, enum pleat_boot_use use);

/** As spans_set(), but only what lies in some span changes its node; uses stay. */
bool spans_set_node(uint64_t start, uint64_t end, unsigned node);

/**
 * Takes `frames` frames out of the upper end of the highest free span below byte `below` (aligned to as many
 * frames as `align`), reserves them, and returns the first one's number; 0: there is no such span.
 */
uint64_t spans_carve(uint64_t frames, uint64_t align, uint64_t below);

#endif
