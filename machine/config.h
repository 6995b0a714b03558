/* SPDX-License-Identifier: MIT
 *
 * What a machine is made of, as its command line says it.
 *
 * The options are QEMU's where QEMU has them, in QEMU's form, because that is what people know; those that
 * say nothing that matters here (-nographic, -cpu, -accel ...) are checked and passed over, and an option
 * that isn't known is refused by name. Pleat's own options (-seed, -workload, -fault, -policy, -log,
 * -duration, -scenario) are described by pleat_machine_config_help().
 *
 * Parsing finds what is wrong with an option by itself and between options (a device whose memdev isn't
 * there, CPUs of two nodes that overlap). What only the host can answer (is there so much memory, can this
 * file be opened) is seen by pleat_machine_create().
 */
#ifndef PLEAT_MACHINE_CONFIG_H
#define PLEAT_MACHINE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <pleat/pleat.h>

#include "machine/message.h"

/** Longest id of an object or a device, with the terminating zero. */
#define PLEAT_MACHINE_ID_BYTES   64
#define PLEAT_MACHINE_PATH_BYTES 256
/** Guest CPUs of a machine; the guest's own service thread is one CPU of the core more. */
#define PLEAT_MACHINE_CPUS_MAX     (PLEAT_MAX_CPUS - 1)
#define PLEAT_MACHINE_NODES_MAX    PLEAT_MAX_NODES
#define PLEAT_MACHINE_DEVICES_MAX  64
#define PLEAT_MACHINE_BACKENDS_MAX 64
#define PLEAT_MACHINE_FAULTS_MAX   32
/** What -m, maxmem=, mem= and size= are at most: a quarter of the addresses that a process has on x86-64. */
#define PLEAT_MACHINE_MEMORY_BYTES_MAX (UINT64_C(1) << 45)

enum pleat_machine_type {
    PLEAT_MACHINE_PC = 0,  /**< QEMU's default, i440FX: 3 GiB of 4 lie below 4 GiB */
    PLEAT_MACHINE_Q35 = 1, /**< 2 GiB of 4 lie below 4 GiB */
    /** A guest on Xen, laid out as pc: its memory is a balloon's, from -m to maxmem=. Beyond the area for
     * memory devices there is a range of addresses for what it grows by. */
    PLEAT_MACHINE_XENPVH = 2
};

enum pleat_backend_kind {
    PLEAT_BACKEND_RAM = 0,   /**< memory-backend-ram: anonymous */
    PLEAT_BACKEND_MEMFD = 1, /**< memory-backend-memfd */
    PLEAT_BACKEND_FILE = 2   /**< memory-backend-file */
};

/** QEMU's HostMemPolicy, in its order. */
enum pleat_host_policy {
    PLEAT_HOST_POLICY_DEFAULT = 0,
    PLEAT_HOST_POLICY_PREFERRED = 1,
    PLEAT_HOST_POLICY_BIND = 2,
    PLEAT_HOST_POLICY_INTERLEAVE = 3
};

/** -object memory-backend-ram|memfd|file,id=,size=,... */
struct pleat_backend_config {
    enum pleat_backend_kind kind;
    char id[PLEAT_MACHINE_ID_BYTES];
    uint64_t size_bytes;
    char mem_path[PLEAT_MACHINE_PATH_BYTES]; /**< FILE: a file, or a directory to make a nameless one in */
    bool share;                              /**< default: off for RAM and FILE, on for MEMFD */
    bool prealloc;
    bool reserve;                /**< default on */
    bool merge;                  /**< accepted; default on */
    bool dump;                   /**< accepted; default on */
    bool hugetlb;                /**< MEMFD */
    uint64_t hugetlb_size_bytes; /**< 0: the host's default */
    uint64_t align_bytes;        /**< FILE; 0: the frame's */
    bool discard_data;           /**< FILE */
    enum pleat_host_policy policy;
    uint64_t host_nodes; /**< a bit for each host node; 0: none given */
};

enum pleat_on_off_auto { PLEAT_AUTO = 0, PLEAT_ON = 1, PLEAT_OFF = 2 };

/** -device virtio-mem-pci,id=,memdev=,... */
struct pleat_device_config {
    char id[PLEAT_MACHINE_ID_BYTES]; /**< empty: none was given; the device has no name for people then */
    char memdev[PLEAT_MACHINE_ID_BYTES];
    unsigned node;
    uint64_t requested_bytes;
    uint64_t block_bytes; /**< 0: the default, 2 MiB or the backend's page size */
    uint64_t memaddr;     /**< 0: the first free place */
    bool prealloc;
    enum pleat_on_off_auto unplugged_inaccessible; /**< auto and on: on */
    char fault[256]; /**< Pleat's own fault=, as in struct pleat_fault_config; empty: none */
};

/** -numa node,... */
struct pleat_node_config {
    bool given;
    uint64_t memory_bytes; /**< mem= or the size of memdev=; filled in when neither is given for any node */
    char memdev[PLEAT_MACHINE_ID_BYTES]; /**< empty: none */
};

enum pleat_workload_kind {
    PLEAT_WORKLOAD_NONE = 0, /**< the guest is idle */
    PLEAT_WORKLOAD_TRACE = 1,
    PLEAT_WORKLOAD_SYNTHETIC = 2
};

/** -workload: what the guest's CPUs do. */
struct pleat_workload_config {
    enum pleat_workload_kind kind;
    char trace_path[PLEAT_MACHINE_PATH_BYTES];
    char synthetic[512];  /**< the options of a synthetic workload, for synthetic.h */
    uint64_t speed_ppm;   /**< the recorded pace times this many millionths; 0: as fast as it goes */
    bool repeat;          /**< at the end of the stream free all and begin again; default on */
    uint32_t cpus;        /**< guest CPUs that take part; 0: all */
    uint32_t remote_free; /**< one in so many frees is done by another CPU; 0: none; default 8 */
};

/** A -fault, as text that the fault registry has checked (fault.h). */
struct pleat_fault_config {
    char text[256];
};

/** -qmp and -monitor are the monitor's: kept here as they were given. */
struct pleat_monitor_config {
    char qmp_path[PLEAT_MACHINE_PATH_BYTES]; /**< of -qmp unix:PATH; empty: no QMP */
    bool qmp_server;                         /**< server=on */
    bool qmp_wait;                           /**< wait=on: start the guest when somebody has connected */
    bool stdio;                              /**< -monitor stdio; the default. none: no prompt */
};

struct pleat_machine_config {
    enum pleat_machine_type type;
    char name[PLEAT_MACHINE_ID_BYTES];       /**< -name; empty: none */
    uint64_t ram_bytes;                      /**< -m; default 128 MiB */
    uint64_t maximum_bytes;                  /**< maxmem=; default ram_bytes: no memory devices */
    char ram_memdev[PLEAT_MACHINE_ID_BYTES]; /**< -M memory-backend=; empty: none */
    /** -M xenpvh,memory=: what a guest on Xen has at first, xl's memory= below its maxmem= (which ram_bytes
     * are): its frames are populated on demand, and there is no more than this for them. Default ram_bytes.
     */
    uint64_t xen_memory_bytes;
    unsigned slots;
    unsigned cpus, cpus_maximum, sockets, cores, threads; /**< -smp */

    unsigned nodes; /**< at least 1, also without -numa; numa_given says which */
    bool numa_given;
    struct pleat_node_config node[PLEAT_MACHINE_NODES_MAX];
    uint8_t cpu_node[PLEAT_MACHINE_CPUS_MAX];
    uint8_t distance[PLEAT_MACHINE_NODES_MAX * PLEAT_MACHINE_NODES_MAX]; /**< row by row, [nodes][nodes] */

    unsigned backend_count;
    struct pleat_backend_config backend[PLEAT_MACHINE_BACKENDS_MAX];
    unsigned device_count;
    struct pleat_device_config device[PLEAT_MACHINE_DEVICES_MAX];

    struct pleat_monitor_config monitor;
    bool stopped;   /**< -S: the guest waits for `cont` */
    bool no_reboot; /**< a reset ends the machine */

    bool deterministic; /**< -seed was given: one thread, a virtual clock */
    uint64_t seed;
    struct pleat_workload_config workload;
    unsigned fault_count;
    struct pleat_fault_config fault[PLEAT_MACHINE_FAULTS_MAX];
    enum pleat_online_policy policy;
    unsigned policy_ratio; /**< 0: the default */
    uint64_t floor_bytes;  /**< free memory that a shrink leaves to the guest; 0: default; UINT64_MAX: none */
    uint64_t duration_ns;  /**< -duration: end after so long; 0: no end */
    char log_path[PLEAT_MACHINE_PATH_BYTES];
    char scenario_path[PLEAT_MACHINE_PATH_BYTES];
    char picture_path[PLEAT_MACHINE_PATH_BYTES]; /**< -picture: the stem of a .svg and a .png */
};

/**
 * Parses the options in argv[0 .. argc - 1] (the program's and the command's names left out). A
 * struct pleat_machine_config is large: keep it on the heap.
 *
 * Errors, with CONFIG undefined: PLEAT_E_INVALID, and the message names the option, what was found and what
 * was expected; a command then exits with 2.
 */
int pleat_machine_config_parse(int argc, char *const *argv, struct pleat_machine_config *config,
                               struct pleat_message *message);

/** The options of one -object (or object_add) and one -device (or device_add), in key=value form. Only what
 * can be said of them alone is checked. Errors: PLEAT_E_INVALID. */
int pleat_backend_config_parse(const char *text, struct pleat_backend_config *backend,
                               struct pleat_message *message);
int pleat_device_config_parse(const char *text, struct pleat_device_config *device,
                              struct pleat_message *message);

/**
 * What can be said of a device when its backend is known (NULL: there is none of that id) and whether that
 * backend is in use, in QEMU's words. On success block_bytes has been filled in. Errors: INVALID, NOT_FOUND.
 */
int pleat_device_config_check(struct pleat_device_config *device, const struct pleat_backend_config *backend,
                              bool backend_in_use, const struct pleat_machine_config *config,
                              struct pleat_message *message);

/** Bytes of a page of the backend: a huge page's, or 4 KiB. */
uint64_t pleat_backend_page_bytes(const struct pleat_backend_config *backend);

/** The backend of that id, or NULL. */
const struct pleat_backend_config *pleat_machine_config_backend(const struct pleat_machine_config *config,
                                                                const char *id);

/** Is it what QEMU takes for an id: a letter, then letters, digits, - . _ ? */
bool pleat_machine_id_is_valid(const char *id);

/** Prints all options with what they expect, for `pleat run --help`. */
void pleat_machine_config_help(FILE *out);

#endif
