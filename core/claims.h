/* SPDX-License-Identifier: MIT
 *
 * The instance's range tree: boot spans, added ranges, and what the embedder claims, by address and name.
 *
 * A range's node lies in the head of the first block of each contiguous piece of it, so that a range needs no
 * storage outside of what it brought. Neighbours of one owner and name share a node. All under the hotplug
 * lock.
 */
#ifndef PLEAT_CORE_CLAIMS_H
#define PLEAT_CORE_CLAIMS_H

#include "types.h"

/* Puts the boot spans' nodes (storage: one for each span, and one for the tables) into the tree. */
void claims_begin(struct core *core, struct pleat_resource *nodes, const struct pleat_boot_span *spans,
                  unsigned count);

/* Whether blocks may be added there; PLEAT_E_EXISTS, and a line in the log that names what is in the way. */
int claims_check(struct core *core, uint64_t start_pfn, uint64_t frames);

/* A block was added; or is about to be removed, and its head still there. */
void claims_add_block(struct core *core, struct block *block);
void claims_remove_block(struct core *core, struct block *block);

#endif
