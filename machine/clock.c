/* SPDX-License-Identifier: MIT
 *
 * The host's clock, or a virtual one.
 */
#include "machine/clock.h"

#include <time.h>

uint64_t pleat_host_clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void pleat_clock_start(struct pleat_clock *clock, bool is_virtual)
{
    clock->is_virtual = is_virtual;
    clock->origin_ns = is_virtual ? 0 : pleat_host_clock_ns();
    atomic_init(&clock->virtual_ns, 0);
}

uint64_t pleat_clock_now_ns(const struct pleat_clock *clock)
{
    if (clock->is_virtual)
        return atomic_load_explicit(&clock->virtual_ns, memory_order_relaxed);
    return pleat_host_clock_ns() - clock->origin_ns;
}

void pleat_clock_advance(struct pleat_clock *clock, uint64_t now_ns)
{
    if (now_ns > atomic_load_explicit(&clock->virtual_ns, memory_order_relaxed))
        atomic_store_explicit(&clock->virtual_ns, now_ns, memory_order_relaxed);
}
