/* SPDX-License-Identifier: MIT
 *
 * What the files of this image share: TAP on the console, and frames that can move and are checked.
 */
#ifndef IMAGES_MINIMAL_MINIMAL_H
#define IMAGES_MINIMAL_MINIMAL_H

#include <stdbool.h>
#include <stdint.h>

#include <pleat/pleat.h>

/* One line of TAP; returns `ok`. */
bool check(bool ok, const char *name);

/* Movable frames with a stamp at both ends; a frame that was lost, doubled or torn has the wrong one. */
#define HELD_MAX 65536u

struct held {
    struct pleat *pleat;
    unsigned owner;
    unsigned count;
    uint64_t moved;
    uint64_t pfn[HELD_MAX];
};

extern struct held held;

/* Registers the owner. */
bool held_begin(struct pleat *pleat);
/* Allocates until there are `count`, or until `pleat` has no more; returns how many there are. */
unsigned held_fill(unsigned count);
/* All stamps are as written. */
bool held_is_whole(void);
/* Frees every frame whose place is a multiple of `step`; false: a free failed. */
bool held_free(unsigned step);

/* The core with memory of its own: what lies in the upper part of boot memory is plugged and unplugged. */
void test_core(void);
/* The driver with every virtio-mem device that is found, `expected` of them: grows to the size that is
 * requested, with `shrink` follows until that is smaller, then gives all back. */
void test_devices(struct pleat *pleat, unsigned expected, bool shrink);

#endif
