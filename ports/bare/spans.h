/* SPDX-License-Identifier: MIT
 *
 * Memory for a port's own use at boot (page tables, stacks): taken out of platform.spans before the core has
 * them.
 */
#ifndef PLEAT_PORTS_BARE_SPANS_H
#define PLEAT_PORTS_BARE_SPANS_H

#include "platform.h"

/**
 * Takes `frames` frames, the first a multiple of `align`, out of the upper end of the highest free span below
 * frame `below`, reserves them in platform.spans, and returns the first one's number; 0: there is no such
 * span, or no room for one more, and nothing has changed. CPU 0 only, before the core runs.
 */
uint64_t spans_carve(uint64_t frames, uint64_t align, uint64_t below);

#endif
