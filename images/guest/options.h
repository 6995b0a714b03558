/* SPDX-License-Identifier: MIT
 *
 * The command line of pleat-guest.elf: words between blanks, each KEY or KEY=VALUE.
 *
 *   run                               follows the devices until `q` comes from the console (the default)
 *   test=GROUP[,GROUP]                TAP: core, cpus, device, faults, or all of these; under Xen also
 *                                     xen-memory, xen-events, xen-grants, xen-balloon, xen-unpopulated
 *   bench                             a table of what things cost here
 *   stray                             touches unplugged memory and has to be stopped by the port
 *   workload=synthetic[,KEY=VALUE]... as of `pleat run`: preset, fill, unmovable, reclaimable, orders,
 *                                     lifetime, mean, long-mean, long-share, rate, cpus, remote-free,
 *                                     speed=max, seed
 *   fill=SIZE                         of objects, once the devices are at rest; then follows them
 *   objects=movable|mixed|unmovable   what it fills with (movable)
 *   free=PERCENT                      of the objects, at random, before it follows (50%)
 *   policy=NAME[,ratio=N]             of what is plugged: online, offline, online_kernel, online_movable,
 *                                     auto_movable, prefer_movable (online)
 *   floor=SIZE|off                    of free memory that a shrink leaves (64M; the Xen balloon: 16M)
 *   help=off                          other CPUs leave a shrink to the one that serves the devices
 *   blocks=tell                       how each memory block is, on the console, for a program (blocks.h)
 *   interrupts=msix|intx|none         at best (msix)
 *   log=error|warning|info|debug      what of the core's and the drivers' lines is shown (error)
 *
 * Under Xen:
 *
 *   target=SIZE                       the balloon's, in place of one that a toolstack sets
 *   unpopulated=off                   maps foreign pages into ballooned-out frames
 *   grants=DOMAIN:FIRST:COUNT         maps what that domain grants by COUNT references from FIRST on (see
 *                                     domain_grants.c; `gDOMAIN` and Enter on its console make it grant)
 */
#ifndef PLEAT_IMAGES_GUEST_OPTIONS_H
#define PLEAT_IMAGES_GUEST_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/pleat.h>
#include <pleat/xen.h>

#define OPTION_ORDERS  10u
#define OPTION_MILLION 1000000u
#define OPTION_GRANTS  1024u

enum guest_mode { MODE_RUN = 0, MODE_TEST, MODE_BENCH, MODE_STRAY };
enum guest_interrupts { INTERRUPTS_MSIX = 0, INTERRUPTS_INTX, INTERRUPTS_NONE };
enum lifetime { LIFETIME_EXPONENTIAL = 0, LIFETIME_FIXED, LIFETIME_BIMODAL };
enum fill_objects { FILL_MOVABLE = 0, FILL_MIXED, FILL_UNMOVABLE };

enum {
    TEST_CORE = 1 << 0,
    TEST_CPUS = 1 << 1,
    TEST_DEVICE = 1 << 2,
    TEST_FAULTS = 1 << 3,
    TEST_ALL = 0xf, /* that any machine may have */
    TEST_XEN_MEMORY = 1 << 4,
    TEST_XEN_EVENTS = 1 << 5,
    TEST_XEN_GRANTS = 1 << 6,
    TEST_XEN_BALLOON = 1 << 7,
    TEST_XEN_UNPOPULATED = 1 << 8,
};

struct workload_options {
    uint32_t fill_ppm, unmovable_ppm, reclaimable_ppm;
    uint32_t order_weights[OPTION_ORDERS];
    enum lifetime lifetime;
    uint64_t mean_operations; /**< 0: such that everything turns over */
    uint64_t long_mean_operations;
    uint32_t long_share_ppm;
    uint64_t rate_per_second; /**< 0: as fast as it goes */
    unsigned cpus;            /**< 0: all */
    uint32_t remote_free;     /**< one in so many frees is another CPU's; 0: none */
    uint64_t seed;
};

struct guest_options {
    enum guest_mode mode;
    unsigned tests; /**< TEST_ bits */
    bool has_workload;
    struct workload_options workload;
    uint64_t fill_bytes; /**< 0: doesn't fill */
    enum fill_objects objects;
    uint32_t free_ppm;
    enum pleat_online_policy policy;
    unsigned policy_ratio;
    uint64_t floor_bytes; /**< 0: the driver's default; UINT64_MAX: off */
    enum guest_interrupts interrupts;
    bool tells_blocks;
    bool no_help;          /**< other CPUs don't move frames for the one that takes */
    uint64_t target_bytes; /**< of the Xen balloon; 0: none */
    bool no_unpopulated;   /**< foreign pages go where the guest's memory was */
    uint64_t grants_domain, grants_first, grants_count; /**< to be mapped; count 0: nothing is */
    enum pleat_log_level log_level;
};

/**
 * Reads a command line. INVALID: `message` (256 bytes are enough) says what was expected and what was found;
 * *options isn't touched.
 */
int options_parse(const char *command_line, struct guest_options *options, char *message, size_t bytes);

#endif
