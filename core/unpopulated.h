/* SPDX-License-Identifier: MIT
 *
 * The pool of unpopulated frames, as the rest of the core sees it. Sections aren't in the directory, so that
 * nothing that looks for memory finds them.
 */
#ifndef PLEAT_CORE_UNPOPULATED_H
#define PLEAT_CORE_UNPOPULATED_H

#include "types.h"

/* The head of a section's memmap, which is bits (set: allocated), owners' words, head. All but `next` and the
 * owners' words change under the pool's lock. */
struct section {
    _Atomic(struct section *) next; /* taken after this one */
    uint64_t start_pfn;
    uint64_t *bits;
    unsigned char *owners;
    uint32_t free_frames; /* clear bits */
    uint32_t first_word;  /* the words of bits before it are full */
    struct pleat_resource resource;
};
_Static_assert(sizeof(struct section) <= sizeof(struct block),
               "a section's head must fit where a block's does");

/* The section that holds a frame, or NULL. Without a lock: sections stay. */
struct section *section_of(const struct core *core, uint64_t pfn);

/* A section that has a frame of the range; NULL: there is none. */
struct section *section_in(const struct core *core, uint64_t start_pfn, uint64_t frames);

/* Only with owners' words. */
static inline _Atomic uint64_t *section_owner(const struct core *core, const struct section *section,
                                              uint64_t pfn)
{
    return (_Atomic uint64_t *)(void *)(section->owners + ((pfn - section->start_pfn) << core->owner_shift));
}

/* The pool against a recount; logs what is wrong. Under the hotplug lock, while no other CPU is inside. */
bool unpopulated_is_valid(struct core *core);

#endif
