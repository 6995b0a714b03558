/* SPDX-License-Identifier: MIT
 *
 * A starting point for a port of your own: the cold half. This is the smallest useful port: physical memory
 * is mapped as a whole somewhere (a "direct map"), and nothing else is offered.
 *
 * What to add, and when, is said at each NULL below; <pleat/port.h> has the full terms, and
 * tests/ports/contract.c checks them.
 */
#include "port.h"

#include <stddef.h>

static void *frame_pointer(void *context, uint64_t pfn)
{
    const struct template_port *port = context;
    return port->direct_map + (pfn << port->frame_shift);
}

void template_port_init(struct template_port *port)
{
    port->port = (struct pleat_port){
        .context = port,
        .frame_pointer = frame_pointer,

        /* Where memory that is plugged isn't in the direct map yet: enter it into the page tables, and take
         * it out again before it is unplugged. The tables for the whole hotplug area are set aside when the
         * area is found, because there may be no memory for them later. Memory that the host took away and
         * that stays mapped can be read by speculation, and faults under some hosts. */
        .map = NULL,
        .unmap = NULL,

        /* For deadlines, in nanoseconds: a counter that never goes back, on any CPU. */
        .clock_ns = NULL,

        /* For a console; the line isn't yours to keep. */
        .log = NULL,

        /* For a kernel that stops when its memory is mishandled: print the line, then halt. */
        .fatal = NULL,

        /* With several CPUs: an interrupt to each that answers once it is served, so that a CPU gets at its
         * own caches without an atomic. With one CPU: a function that does nothing. */
        .fence_cpus = NULL,
    };
}
