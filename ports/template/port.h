/* SPDX-License-Identifier: MIT
 *
 * What the embedder's start-up code sees of the port.
 */
#ifndef TEMPLATE_PORT_H
#define TEMPLATE_PORT_H

#include <pleat/port.h>

/** Where all physical memory is mapped, and log2 of the bytes of a frame (as in pleat_config). */
struct template_port {
    unsigned char *direct_map;
    unsigned frame_shift;
    struct pleat_port port; /**< hand &port to pleat_init() */
};

/** Fills in `port`; the first two fields have to be there. */
void template_port_init(struct template_port *port);

#endif
