/* SPDX-License-Identifier: MIT
 *
 * `blocks=tell`: the states of the memory blocks on the console, in lines for a program (`pleat drive
 * --guest-console`). Nothing else tells them to the outside: the device knows only what is plugged.
 *
 *   pleat-blocks: size BYTES boot BLOCKS    once, before all others: how large a block is, and how many there
 *                                           are from address 0 to the end of boot memory
 *   pleat-blocks: 0xADDRESS CELLS           blocks from this address on, a letter each; those that were never
 *                                           told aren't there
 *   pleat-blocks: free BYTES                free memory of all nodes
 *
 * The letter of a block that is online is its zone's: D (DMA), T (DMA32), N (NORMAL), P (PREFER_MOVABLE), M
 * (MOVABLE), a small letter where some of its memory is unplugged, and `*` behind it where it holds unmovable
 * frames. + goes online, - goes offline, o is offline, and . isn't there.
 *
 * A line is printed only when something in it has changed, and at most BLOCKS_LOOK / BLOCKS_LINE + 1 of them
 * in BLOCKS_NS, however large the machine is: of many blocks it looks at some each time.
 */
#ifndef PLEAT_IMAGES_GUEST_BLOCKS_H
#define PLEAT_IMAGES_GUEST_BLOCKS_H

#include <stdint.h>

#define BLOCKS_NS UINT64_C(50000000)
/** Blocks of a line, at most; machine/guest_console.h takes as many. */
#define BLOCKS_LINE 64u
/** Blocks of one look. */
#define BLOCKS_LOOK 512u

struct guest;

struct blocks {
    uint8_t *told; /* a letter each, and TOLD_UNMOVABLE; NULL: nothing is told */
    uint64_t pfn;  /* where that is */
    unsigned order;
    uint64_t count;
    uint64_t next_block; /* where the next look begins */
    uint64_t next_ns;
    uint64_t told_free_bytes; /* UINT64_MAX: not yet */
};

/** Allocates, and prints the first line. Errors, with nothing told: those of pleat_alloc(). */
int blocks_begin(struct guest *guest);

/** Prints what has changed, if it is time to. Returns when it is time again; UINT64_MAX if nothing is told.
 * On the CPU that serves the devices. */
uint64_t blocks_tell(struct guest *guest, uint64_t now_ns);

#endif
