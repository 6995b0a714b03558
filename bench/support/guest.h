/* SPDX-License-Identifier: MIT
 *
 * A guest for benchmarks: an instance of the core over an anonymous mapping of address space. Where only
 * metadata matters, only the memmaps are ever touched, so that a terabyte fits into a small host.
 */
#ifndef PLEAT_BENCH_GUEST_H
#define PLEAT_BENCH_GUEST_H

#include <stdbool.h>

#include <pleat/pleat.h>

#define GIB_FRAMES   ((uint64_t)262144)
#define BLOCK_FRAMES ((uint64_t)32768)

struct guest {
    struct pleat pleat;
    struct pleat_port port;
    unsigned char *memory;
    uint64_t frames;
    unsigned owner;  /* of movable frames */
    uint64_t *where; /* PFN by cookie, the caller's: a frame that moves is noted there */
    bool no_content; /* frames that move aren't copied */
};

/* `frames` of address space, of which the first boot_frames are boot memory. Ends the program where it can't.
 */
void guest_init(struct guest *guest, uint64_t boot_frames, uint64_t frames);
void guest_end(struct guest *guest);

/* Says what failed, and ends the program. */
_Noreturn void guest_failed(const char *what, int error);

/* Allocates and frees; a failure ends the program. Inline: a call of ours would be a tenth of what is
 * measured. */
static inline uint64_t guest_allocate(struct guest *guest, unsigned order, unsigned mobility, uint64_t cookie)
{
    pleat_tag tag = mobility == PLEAT_MOVABLE ? pleat_tag_make(guest->owner, cookie) : PLEAT_NO_TAG;
    int64_t pfn = pleat_alloc(&guest->pleat, order, mobility, tag);

    if (pfn < 0)
        guest_failed("allocation", (int)pfn);
    return (uint64_t)pfn;
}

static inline void guest_free(struct guest *guest, uint64_t pfn, unsigned order)
{
    int error = pleat_free(&guest->pleat, pfn, order);

    if (error)
        guest_failed("free", error);
}

/* A range that goes online in zone MOVABLE. */
struct pleat_range_config guest_range(struct guest *guest, uint64_t start_pfn, uint64_t frames);
/* Takes blocks offline and removes them; returns what came of it. */
int guest_take(struct guest *guest, uint64_t start_pfn, uint64_t frames);

#endif
