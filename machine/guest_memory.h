/* SPDX-License-Identifier: MIT
 *
 * The guest's physical memory in this process: one reserved range of addresses, in which boot RAM and the
 * regions of memory devices lie where the layout says. What isn't there, or isn't plugged, is inaccessible.
 */
#ifndef PLEAT_MACHINE_GUEST_MEMORY_H
#define PLEAT_MACHINE_GUEST_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include <pleat/backend.h>

#include "machine/config.h"
#include "machine/layout.h"
#include "machine/message.h"

/** Pieces of boot RAM that have a backend each: a node's memory, cut by the hole below 4 GiB. */
#define PLEAT_GUEST_MEMORY_PIECES (PLEAT_MACHINE_NODES_MAX + 1)

struct pleat_guest_memory_piece {
    uint64_t start, bytes;
    unsigned node;
    struct pleat_memory_backend backend;
};

struct pleat_guest_memory_space {
    unsigned char *base; /**< address 0 of the guest */
    uint64_t bytes;
    unsigned piece_count;
    struct pleat_guest_memory_piece piece[PLEAT_GUEST_MEMORY_PIECES];
};

/** Reserves the addresses and brings boot RAM; of a guest on Xen, only the addresses. Errors: what the
 * message says. */
int pleat_guest_memory_create(const struct pleat_machine_config *config, const struct pleat_layout *layout,
                              struct pleat_guest_memory_space *space, struct pleat_message *message);

/** Gives all back; after the backends of devices were closed. A zeroed one is fine. */
void pleat_guest_memory_destroy(struct pleat_guest_memory_space *space);

/** Is all of [address, address + bytes) boot RAM? */
bool pleat_guest_memory_is_boot(const struct pleat_guest_memory_space *space, uint64_t address,
                                uint64_t bytes);

/** What a backend is opened with, from what the command line says of it. */
void pleat_guest_memory_backend_config(const struct pleat_backend_config *from,
                                       struct pleat_memory_backend_config *to);

#endif
