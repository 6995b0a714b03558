/* SPDX-License-Identifier: MIT
 *
 * A host whose memory is an array of notes: for each block whether the guest can reach it, whether host
 * memory is behind it, and one word of content. It checks that a virtio-mem device keeps to the contract of
 * its callbacks, and fails them on demand.
 */
#ifndef PLEAT_TESTS_FAKE_HOST_H
#define PLEAT_TESTS_FAKE_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include <pleat/virtio_mem_device.h>

enum { FAKE_HOST_BLOCKS = 512 };

enum fake_reach {
    FAKE_INACCESSIBLE = 0,
    FAKE_MAPPED = 1,
    FAKE_ZEROES = 2 /* readable only */
};

/* Fails the call number `at` (from 1), and all after it if `for_good`. 0: never. */
struct fake_fault {
    uint64_t at;
    bool for_good;
    uint64_t calls;
};

struct fake_host {
    uint64_t block_bytes;
    uint64_t blocks;
    uint8_t reach[FAKE_HOST_BLOCKS]; /* enum fake_reach */
    bool held[FAKE_HOST_BLOCKS];     /* host memory is behind it */
    uint64_t content[FAKE_HOST_BLOCKS];
    struct fake_fault map, unmap, discard, zeroes;
    uint64_t interrupts;
    uint64_t tells;      /* plugged_changed calls */
    uint64_t told_bytes; /* by the last one */
    uint64_t clock_ns;
    uint64_t tick_ns;      /* the clock goes on by this at each look */
    const char *complaint; /* the first breach of the contract, or NULL */
};

/* All callbacks; the context is a struct fake_host. */
extern const struct pleat_virtio_mem_device_ops fake_host_ops;

/* An empty host for a region of `blocks` blocks, at most FAKE_HOST_BLOCKS. */
void fake_host_init(struct fake_host *host, uint64_t block_bytes, uint64_t blocks);

/* Forgets all faults and call counts. */
void fake_host_heal(struct fake_host *host);

/*
 * What is wrong between the device's books and the host, as a sentence, or NULL: plugged blocks are mapped
 * with host memory behind them, unplugged ones are `unplugged_reach` below usable_bytes and inaccessible
 * beyond; host memory behind unplugged blocks adds up to the device's undiscarded bytes at the most.
 */
const char *fake_host_compare(const struct fake_host *host, const struct pleat_virtio_mem_device *device,
                              enum fake_reach unplugged_reach);

#endif
