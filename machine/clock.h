/* SPDX-License-Identifier: MIT
 *
 * The machine's clock: the host's since the machine was made, or a virtual one that only moves when it is
 * told to, so that a run can be repeated exactly.
 */
#ifndef PLEAT_MACHINE_CLOCK_H
#define PLEAT_MACHINE_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pleat_clock {
    bool is_virtual;
    uint64_t origin_ns;           /**< of the host's clock, when this one was 0 */
    _Atomic(uint64_t) virtual_ns; /**< now, of a virtual one */
};

/** Starts the clock at 0. */
void pleat_clock_start(struct pleat_clock *clock, bool is_virtual);

/** Nanoseconds since the start. Any thread. */
uint64_t pleat_clock_now_ns(const struct pleat_clock *clock);

/** Moves a virtual clock on to `now_ns`; a clock that is there already stays. */
void pleat_clock_advance(struct pleat_clock *clock, uint64_t now_ns);

/** The host's monotonic clock. */
uint64_t pleat_host_clock_ns(void);

#endif
