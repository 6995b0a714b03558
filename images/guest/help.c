/* SPDX-License-Identifier: MIT
 *
 * CPUs that have nothing to do help. See help.h.
 */
#include "help.h"

#include <stdatomic.h>

#include "pleat_port.h"

#include "guest.h"

/* Frames that a helper goes over before it looks around. */
#define BUDGET 512u
/* More of them would wait for memory, not for a CPU. */
#define HELPERS_MOST 7u

static _Atomic uint64_t gone_over;

bool help_once(struct guest *guest)
{
    if (guest->options.no_help)
        return false;
    const uint64_t frames = pleat_take_help(&guest->core, BUDGET);

    atomic_fetch_add_explicit(&gone_over, frames, memory_order_relaxed);
    return frames != 0;
}

static void help(void *context, unsigned cpu)
{
    (void)cpu;
    while (help_once(context))
        continue;
}

void help_welcome(void *context)
{
    unsigned helpers = 0;

    for (unsigned cpu = 1; cpu < platform.cpus && helpers < HELPERS_MOST; cpu++)
        helpers += platform_is_idle(cpu) && !platform_start(cpu, help, context);
}

void help_rest(void)
{
    for (unsigned cpu = 1; cpu < platform.cpus; cpu++)
        while (!platform_is_idle(cpu))
            pleat_port_pause();
}

uint64_t help_frames(void)
{
    return atomic_load_explicit(&gone_over, memory_order_relaxed);
}
