/* SPDX-License-Identifier: MIT
 *
 * The machine from the inside: what its files share. machine.h is what others see of it.
 *
 *   machine.c        life, events, the log; the functions of machine.h that act
 *   machine_info.c   the functions of machine.h that tell
 *   properties.c     objects and properties
 *   guest_memory.c   addresses and boot RAM
 *   device_slot.c    a virtio-mem device, its registers, its host memory
 *   guest.c          a boot of the guest: core, drivers, workload
 *   xen_host.c       of a machine on Xen: the hypervisor, the store and another domain
 *   guest_xen.c      the guest's drivers for Xen
 *   threads.c        CPUs and the service thread, or one thread that plays them all
 *   recorder.c       sizes over time, and the map of blocks
 *
 * Everything of devices and of the guest's cold path belongs to the service thread: other threads reach it by
 * pleat_threads_call(), which runs a function there. So the drivers, the devices and the list of slots need
 * no lock. The CPUs reach the core and their workload only.
 */
#ifndef PLEAT_MACHINE_MACHINE_PARTS_H
#define PLEAT_MACHINE_MACHINE_PARTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <pleat/backend.h>
#include <pleat/hosted.h>
#include <pleat/pleat.h>
#include <pleat/virtio_device.h>
#include <pleat/virtio_mem_feeder.h>
#include <pleat/virtio_mem_device.h>
#include <pleat/virtio_mem_driver.h>
#include <pleat/virtio_transport.h>

#include "machine/clock.h"
#include "machine/config.h"
#include "machine/fault.h"
#include "machine/guest_memory.h"
#include "machine/layout.h"
#include "machine/machine.h"
#include "machine/operations.h"
#include "machine/synthetic.h"
#include "machine/workload.h"
#include "machine/xen_hypervisor.h"
#include "machine/xen_store.h"

struct pleat_recorder;
struct pleat_guest;
struct pleat_threads;

/** A -object. */
struct pleat_machine_backend {
    struct pleat_backend_config config;
    bool in_use; /**< by boot RAM or by a device */
};

/** A -device. */
struct pleat_device_slot {
    struct pleat_machine *machine;
    struct pleat_device_config config;
    char path[PLEAT_MACHINE_PATH_BYTES]; /**< in the object model, by its id or by a number */
    struct pleat_machine_backend *backend;
    char range_name[PLEAT_MACHINE_ID_BYTES + 16]; /**< of what the guest's driver adds */
    uint64_t address, bytes;
    struct pleat_memory_backend memory;
    void *storage; /**< of the device */
    struct pleat_virtio_mem_device *device;
    struct pleat_virtio_device *registers;
    struct pleat_virtio_transport transport;
    struct pleat_virtio_mem_feeder feeder;
    /** The device has interrupted since the guest last looked. */
    bool interrupted;
    /** device_del has been asked for; the guest gives it back. */
    bool leaving;
    uint64_t requests; /**< handled since create, for the log */
    /** When the size was last asked for, to tell how long the way there took. */
    uint64_t asked_ns;
};

/** Domains of a machine on Xen. The other one has memory at its first frames, and holes after these. */
#define PLEAT_XEN_HOST_GUEST       1u
#define PLEAT_XEN_HOST_PEER        2u
#define PLEAT_XEN_HOST_PEER_FRAMES 1024u

/** The host's side of a guest on Xen; on the service thread. */
struct pleat_xen_host {
    struct pleat_xen_hypervisor *hypervisor;
    struct pleat_xen_store_server *store;
    struct pleat_xen_domain *guest, *peer; /**< domains 1 and 2 */
    uint64_t target_bytes;
    uint64_t told_bytes; /**< of the last BALLOON_CHANGE */
    uint64_t asked_ns;   /**< when the target was set */
};

struct pleat_machine {
    struct pleat_machine_config *config;
    struct pleat_xen_host xen; /**< zero: not on Xen */
    struct pleat_layout layout;
    struct pleat_clock clock;
    struct pleat_faults *faults;
    struct pleat_guest_memory_space space;
    struct pleat_machine_backend *backends[PLEAT_MACHINE_BACKENDS_MAX];
    unsigned backend_count;
    struct pleat_device_slot *slots[PLEAT_MACHINE_DEVICES_MAX]; /**< in order of addresses */
    unsigned slot_count;
    unsigned anonymous_count; /**< devices without an id that there have been */

    struct pleat_operations operations; /**< of a trace */
    struct pleat_synthetic_config synthetic;

    struct pleat_guest *guest; /**< NULL while nothing is booted */
    struct pleat_threads *threads;
    struct pleat_recorder *recorder;
    bool started, ended;
    struct pleat_workload_info last_workload; /**< once it has ended */
    bool running;                             /**< the guest isn't paused by the control thread */

    struct pleat_machine_listener listener;
    pthread_mutex_t log_lock;
    FILE *log_file;
    pthread_mutex_t panic_lock;
    char panic[256]; /**< what was found to be broken first; "" while nothing was */
    atomic_bool wake;
};

/* --- machine.c --- */

/** A line for the log. */
void pleat_machine_log(struct pleat_machine *machine, enum pleat_log_level level, const char *source,
                       const char *format, ...) __attribute__((format(printf, 4, 5)));
/** An event, about a device or not (NULL). */
void pleat_machine_tell(struct pleat_machine *machine, enum pleat_machine_event_kind kind,
                        const struct pleat_device_slot *slot, uint64_t bytes, const char *reason);
/** Something that must hold doesn't: it is kept, told, and makes the run fail. Any thread. */
void pleat_machine_panic(struct pleat_machine *machine, const char *line);
/** The slot of an id or path; NULL. */
struct pleat_device_slot *pleat_machine_slot(struct pleat_machine *machine, const char *id);
struct pleat_machine_backend *pleat_machine_backend(struct pleat_machine *machine, const char *id);
/** Makes a device and puts it into its place. */
int pleat_machine_add_slot(struct pleat_machine *machine, const struct pleat_device_config *config,
                           struct pleat_message *message);
/** Takes a device whose driver is gone out of the machine. */
void pleat_machine_remove_slot(struct pleat_machine *machine, struct pleat_device_slot *slot);

/* --- device_slot.c; on the service thread --- */

int pleat_device_slot_create(struct pleat_machine *machine, const struct pleat_device_config *config,
                             struct pleat_machine_backend *backend, uint64_t address,
                             struct pleat_device_slot **slot, struct pleat_message *message);
void pleat_device_slot_destroy(struct pleat_device_slot *slot);
int pleat_device_slot_set_requested(struct pleat_device_slot *slot, uint64_t bytes,
                                    struct pleat_message *message);
/** The machine is reset: no driver, nothing plugged. */
void pleat_device_slot_system_reset(struct pleat_device_slot *slot);
/** The name for people: the id, or the address where there is none. */
const char *pleat_device_slot_name(const struct pleat_device_slot *slot);
/** Is all of [address, address + bytes) plugged memory of this device? */
bool pleat_device_slot_is_plugged(const struct pleat_device_slot *slot, uint64_t address, uint64_t bytes);
/** Plugged bytes in [address, address + bytes). */
uint64_t pleat_device_slot_plugged_in(const struct pleat_device_slot *slot, uint64_t address, uint64_t bytes);
/** The lowest address of the region that isn't plugged; false if all is. */
bool pleat_device_slot_first_unplugged(const struct pleat_device_slot *slot, uint64_t *address);

/* --- guest.c; on the service thread, with the CPUs parked where said --- */

/** Boots the guest: core, drivers, workload. The CPUs are parked. */
int pleat_guest_boot(struct pleat_machine *machine, struct pleat_message *message);
/** Ends the guest as if by a power cut: memory keeps what it holds. The CPUs are parked. */
void pleat_guest_end(struct pleat_machine *machine);
/** A round of the guest's service: drivers, probes, the recorder; of these only the recorder while the guest
 * doesn't run. Returns when it wants the next one; a time that has come already means at once. */
uint64_t pleat_guest_service(struct pleat_guest *guest, bool running);
/** What a guest CPU does; returns when it wants to be called again, UINT64_MAX: never. */
uint64_t pleat_guest_run_cpu(struct pleat_guest *guest, unsigned cpu, uint64_t operations);
/** A new device for the driver, and one that is to be given back. */
void pleat_guest_device_added(struct pleat_guest *guest, struct pleat_device_slot *slot);
void pleat_guest_device_leaves(struct pleat_guest *guest, struct pleat_device_slot *slot);
/** Checks stamps, sums and invariants. The CPUs are parked. */
int pleat_guest_check(struct pleat_guest *guest, struct pleat_message *message);
/** True when no driver has anything to do. */
bool pleat_guest_is_settled(struct pleat_guest *guest);
int pleat_guest_driver_info(struct pleat_guest *guest, const struct pleat_device_slot *slot,
                            struct pleat_driver_info *info);
/** Frames in the middle of a block are allocated for good; given back. Errors as pleat_machine_guest_pin().
 */
int pleat_guest_pin(struct pleat_guest *guest, uint64_t pfn, uint64_t frames);
int pleat_guest_unpin(struct pleat_guest *guest, uint64_t pfn);
/** Memory was freed or a listener changed its mind: drivers try again. */
void pleat_guest_memory_changed(struct pleat_guest *guest);
struct pleat *pleat_guest_core(struct pleat_guest *guest);
struct pleat_workload *pleat_guest_workload(struct pleat_guest *guest);
/** One attempt at offlining a memory block: begun, then stepped until it isn't PLEAT_MORE. */
int pleat_guest_offline_begin(struct pleat_guest *guest, uint64_t pfn);
int pleat_guest_offline_step(struct pleat_guest *guest);
/** What stood in the way of the last attempt. */
void pleat_guest_offline_look(struct pleat_guest *guest, struct pleat_look *look);

/** Memory of the guest's own for a driver, zeroed, until the guest ends. NULL: there is none. */
void *pleat_guest_storage(struct pleat_guest *guest, size_t bytes);
const struct pleat_memory *pleat_guest_memory(struct pleat_guest *guest);

/* --- xen_host.c; on the service thread --- */

/** Makes the hypervisor, the domains and what is in the store, for a guest that isn't booted yet. */
int pleat_xen_host_create(struct pleat_machine *machine, struct pleat_message *message);
void pleat_xen_host_destroy(struct pleat_machine *machine);
/** What `xl mem-set` does. Errors: INVALID. */
int pleat_xen_host_set_target(struct pleat_machine *machine, uint64_t bytes, struct pleat_message *message);

/** The guest touches a frame that isn't accessible. True: it is now. That may be because Xen has just ended
 * the domain, which was out of memory: until the service notices, its threads run on, in a page of nobody's.
 * In a signal handler, on any thread. */
bool pleat_xen_host_touch(const struct pleat_machine *machine, uint64_t pfn);

/* --- guest_xen.c; on the service thread --- */

struct pleat_guest_xen;

/** The drivers of a guest on Xen. Errors: those of the drivers. */
int pleat_guest_xen_create(struct pleat_machine *machine, struct pleat_guest_xen **xen);
void pleat_guest_xen_destroy(struct pleat_guest_xen *xen);
/** A round of the store and, where the guest runs, of its drivers; returns when it wants the next one. */
uint64_t pleat_guest_xen_service(struct pleat_guest_xen *xen, bool running);
bool pleat_guest_xen_is_settled(const struct pleat_guest_xen *xen);
void pleat_guest_xen_memory_changed(struct pleat_guest_xen *xen);
/** The guest is short of frames; how many may come. Any thread. */
uint64_t pleat_guest_xen_release(struct pleat_guest_xen *xen, uint64_t frames);
void pleat_guest_xen_info(const struct pleat_guest_xen *xen, struct pleat_balloon_info *info);
/** Grants frames to the other domain, maps as many of its own, and looks at what comes through. */
int pleat_guest_xen_exchange(struct pleat_guest_xen *xen, unsigned frames, struct pleat_message *message);
struct pleat_guest_xen *pleat_guest_xen(struct pleat_guest *guest);

/* --- threads.c --- */

/** Errors: NO_MEMORY. Nothing runs yet. */
int pleat_threads_create(struct pleat_machine *machine, struct pleat_threads **threads);
void pleat_threads_destroy(struct pleat_threads *threads);
/** Starts the threads of a machine that has them, CPUs parked. Errors: NO_MEMORY. */
int pleat_threads_start(struct pleat_threads *threads);
/** Ends them. */
void pleat_threads_stop(struct pleat_threads *threads);
/** Runs `function` where the devices and the guest's cold path belong, and waits for it. From the control
 * thread, or from the service thread itself. */
void pleat_threads_call(struct pleat_threads *threads, void (*function)(void *context), void *context);
/** Returns after all CPUs have stopped between two operations; unpark lets them go on. Drivers stop with the
 * CPUs, at the latest before the next pleat_threads_call() runs. */
void pleat_threads_park(struct pleat_threads *threads);
void pleat_threads_unpark(struct pleat_threads *threads);
/** A deterministic machine does what is due until its clock shows `until_ns`, at most a quantum of it. */
void pleat_threads_step(struct pleat_threads *threads, uint64_t until_ns);

/* --- recorder.c; on the service thread --- */

struct pleat_recorder *pleat_recorder_create(void);
void pleat_recorder_destroy(struct pleat_recorder *recorder);
/** Takes a sample, if it is time for one. */
void pleat_recorder_sample(struct pleat_recorder *recorder, struct pleat_machine *machine);
/** Marks that a device's size was asked for. */
void pleat_recorder_mark(struct pleat_recorder *recorder, struct pleat_machine *machine,
                         const struct pleat_device_slot *slot, uint64_t bytes);
/** Draws STEM.svg and STEM.png. */
int pleat_recorder_draw(struct pleat_recorder *recorder, const char *stem, struct pleat_message *message);

#endif
