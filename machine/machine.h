/* SPDX-License-Identifier: MIT
 *
 * The machine: guest memory, CPUs, virtio-mem devices and the guest with its drivers and its workload, in
 * one process. This header is what a monitor, a scenario or a test sees of it.
 *
 *   guest      one boot of the guest side: a core instance, a driver for each device, a workload
 *   control    the one thread that calls these functions (the monitor's); the guest runs on threads of its
 * own service    a thread of the guest that runs its drivers and what an administrator asks of the guest
 *
 * There are two modes. With threads, the machine runs by itself between pleat_machine_start() and
 * pleat_machine_stop(), on the host's clock. A deterministic one (config.deterministic) has no threads and
 * a virtual clock: it runs only inside pleat_machine_run_for() and pleat_machine_run_until(), and the same
 * config and the same calls give the same run. Control code that uses those two to wait works in both.
 *
 * Threads: all functions are for the control thread, but for pleat_machine_wake(). Events and log lines come
 * from any thread of the machine (in the deterministic mode: from the control thread, inside of the calls);
 * their handlers return quickly and call nothing of the machine.
 *
 * Messages of refused requests are QEMU's words where QEMU has them. The error says of which class of QMP
 * they are: PLEAT_E_NOT_FOUND is DeviceNotFound, all others are GenericError.
 */
#ifndef PLEAT_MACHINE_MACHINE_H
#define PLEAT_MACHINE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/pleat.h>
#include <pleat/unpopulated.h>

#include "machine/config.h"
#include "machine/message.h"

struct pleat_machine;

/* --- Events and the log ------------------------------------------------------------------------------- */

enum pleat_machine_event_kind {
    /** MEMORY_DEVICE_SIZE_CHANGE: id, path, bytes (plugged now). Not rate-limited: that is QMP's. */
    PLEAT_EVENT_MEMORY_DEVICE_SIZE_CHANGE,
    /** DEVICE_DELETED: id, path. */
    PLEAT_EVENT_DEVICE_DELETED,
    /** DEVICE_UNPLUG_GUEST_ERROR: id, path. */
    PLEAT_EVENT_DEVICE_UNPLUG_GUEST_ERROR,
    /** RESET: reason ("host-qmp-system-reset", "guest-reset"). */
    PLEAT_EVENT_RESET,
    /** STOP and RESUME, of the guest. */
    PLEAT_EVENT_STOP,
    PLEAT_EVENT_RESUME,
    /** SHUTDOWN: reason ("host-qmp-quit", "host-signal", "host-error"). The machine has ended. */
    PLEAT_EVENT_SHUTDOWN,
    /** GUEST_PANICKED: reason says what was found: a torn, lost or doubled frame, a broken invariant. */
    PLEAT_EVENT_GUEST_PANICKED,
    /** BALLOON_CHANGE: bytes (the guest's size now). Not rate-limited: that is QMP's. */
    PLEAT_EVENT_BALLOON_CHANGE,
    /** Pleat's own: a driver has changed what it is doing, see pleat_machine_driver_info(): id, path. */
    PLEAT_EVENT_DRIVER,
    PLEAT_EVENT_KINDS
};

struct pleat_machine_event {
    enum pleat_machine_event_kind kind;
    uint64_t time_ns;                    /**< of the machine's clock */
    const char *id;                      /**< of the device, or ""; valid during the call */
    char path[PLEAT_MACHINE_PATH_BYTES]; /**< of the device in the object model, or "" */
    uint64_t bytes;
    const char *reason; /**< or ""; valid during the call */
};

/** QMP's name of an event; "PLEAT_DRIVER" for Pleat's own. */
const char *pleat_machine_event_name(enum pleat_machine_event_kind kind);

struct pleat_machine_listener {
    void (*event)(void *context, const struct pleat_machine_event *event); /**< may be NULL */
    /** A line for people, without a newline. level: enum pleat_log_level. May be NULL. */
    void (*log)(void *context, uint64_t time_ns, int level, const char *source, const char *line);
    void *context;
};

/* --- Life --------------------------------------------------------------------------------------------- */

/**
 * Makes a machine: takes host memory, creates backends and devices. The config is copied. The guest doesn't
 * run yet. Errors, with *machine NULL: what the message says; NO_MEMORY, INVALID, UNSUPPORTED.
 */
int pleat_machine_create(const struct pleat_machine_config *config, struct pleat_machine **machine,
                         struct pleat_message *message);

/** Who hears of events and the log; one listener. To be set before start. Copied. */
void pleat_machine_listen(struct pleat_machine *machine, const struct pleat_machine_listener *listener);

/** Boots the guest and, unless config.stopped, lets it run. Errors: NO_MEMORY, INVALID (the boot memory is
 * too small), STATE (started already). */
int pleat_machine_start(struct pleat_machine *machine, struct pleat_message *message);

/** Lets the guest pause after what it is at, its drivers too, and go on: QMP's stop and cont. Devices take
 * requests of the control thread meanwhile; the guest follows when it goes on. */
void pleat_machine_pause(struct pleat_machine *machine);
void pleat_machine_continue(struct pleat_machine *machine);
bool pleat_machine_is_running(const struct pleat_machine *machine);

/**
 * Ends the guest: stops CPUs and drivers, checks the stamps of all frames that the workload holds and that
 * no frame is lost. Returns 0, or PROTOCOL with the message naming what was lost, doubled or torn, now or
 * earlier in the run. May be called again. `reason` is that of the SHUTDOWN event.
 */
int pleat_machine_stop(struct pleat_machine *machine, const char *reason, struct pleat_message *message);

/** Stops it if it runs, and gives everything back. NULL is allowed. */
void pleat_machine_destroy(struct pleat_machine *machine);

const struct pleat_machine_config *pleat_machine_config(const struct pleat_machine *machine);
bool pleat_machine_is_deterministic(const struct pleat_machine *machine);
/** Of the machine's clock, since create: virtual or the host's. */
uint64_t pleat_machine_time_ns(const struct pleat_machine *machine);

/** Lets it run for so long: sleeps, or steps the deterministic machine. */
void pleat_machine_run_for(struct pleat_machine *machine, uint64_t duration_ns);

/**
 * Lets it run until `condition` (called on the control thread again and again; it may use the queries below)
 * says true. Returns 0; TIMEOUT after timeout_ns of the machine's clock (0: no limit); CANCELLED after
 * pleat_machine_wake(). NULL as condition: until the timeout.
 */
int pleat_machine_run_until(struct pleat_machine *machine, bool (*condition)(void *context), void *context,
                            uint64_t timeout_ns);
/** Makes a pleat_machine_run_until() that is going on, or the next one, return. Any thread; also from a
 * signal handler. */
void pleat_machine_wake(struct pleat_machine *machine);

/* --- What it is and how it is doing ------------------------------------------------------------------- */

/** As `info memory-devices` and query-memory-devices have it, for "virtio-mem". */
struct pleat_memory_device_info {
    char id[PLEAT_MACHINE_ID_BYTES];     /**< "": it has none */
    char path[PLEAT_MACHINE_PATH_BYTES]; /**< "/machine/peripheral/vm0", "/machine/peripheral-anon/device[0]"
                                          */
    uint64_t memaddr;
    unsigned node;
    uint64_t requested_bytes;              /**< requested-size */
    uint64_t size_bytes;                   /**< size: plugged now */
    uint64_t max_bytes;                    /**< max-size */
    uint64_t block_bytes;                  /**< block-size */
    char memdev[PLEAT_MACHINE_PATH_BYTES]; /**< "/objects/mem0" */
};
/** Devices in the order of their addresses. Fills in at most `capacity`; returns how many there are. */
unsigned pleat_machine_memory_devices(struct pleat_machine *machine, struct pleat_memory_device_info *devices,
                                      unsigned capacity);
/** By id or by path. Errors: NOT_FOUND. */
int pleat_machine_memory_device(struct pleat_machine *machine, const char *id,
                                struct pleat_memory_device_info *info, struct pleat_message *message);

/** As query-memory-size-summary has it. */
struct pleat_memory_size_summary {
    uint64_t base_bytes;    /**< base-memory */
    uint64_t plugged_bytes; /**< plugged-memory */
};
void pleat_machine_memory_size_summary(struct pleat_machine *machine,
                                       struct pleat_memory_size_summary *summary);

/** As `info numa` has it. */
struct pleat_node_info {
    unsigned cpus[PLEAT_MACHINE_CPUS_MAX];
    unsigned cpu_count;
    uint64_t size_bytes;    /**< boot memory and plugged memory */
    uint64_t plugged_bytes; /**< of it by memory devices */
};
/** How many nodes `info numa` shows: 0 without -numa. */
unsigned pleat_machine_node_count(struct pleat_machine *machine);
int pleat_machine_node_info(struct pleat_machine *machine, unsigned node, struct pleat_node_info *info);

/** An added memory block of the guest. */
struct pleat_machine_block {
    uint64_t number;                     /**< the N of memoryN: address / block_bytes */
    struct pleat_block_info info;        /**< the core's words */
    uint64_t plugged_frames;             /**< of the host's books; boot memory is always plugged */
    char device[PLEAT_MACHINE_ID_BYTES]; /**< "" for boot memory */
};
/** Bytes of a memory block. */
uint64_t pleat_machine_block_bytes(struct pleat_machine *machine);
/** Bytes of a frame. */
uint64_t pleat_machine_frame_bytes(struct pleat_machine *machine);
/**
 * Calls `each` for every memory block from address 0 to the end of the last device's region, those that
 * aren't added included (info.state PLEAT_BLOCK_NONE), until it returns false.
 */
void pleat_machine_blocks(struct pleat_machine *machine,
                          bool (*each)(void *context, const struct pleat_machine_block *block),
                          void *context);

/** Zones of the guest that have blocks, in order of node and kind; as pleat_machine_memory_devices(). */
unsigned pleat_machine_zones(struct pleat_machine *machine, struct pleat_zone_info *zones, unsigned capacity);
/** "DMA", "DMA32", "Normal", "PreferMovable", "Movable". */
const char *pleat_machine_zone_name(enum pleat_zone_kind kind);
/** "offline", "going-online", "online", "going-offline", "absent": memory-block states for people. */
const char *pleat_machine_block_state_name(enum pleat_block_state state);

/** A line of the range tree, as /proc/iomem has it. */
struct pleat_machine_range {
    uint64_t start, end; /**< guest-physical addresses; end is the last one that belongs to it */
    unsigned depth;      /**< 0 at the top; a range lies inside the last one of depth - 1 */
    char name[PLEAT_MACHINE_ID_BYTES + 32];
};
void pleat_machine_ranges(struct pleat_machine *machine,
                          bool (*each)(void *context, const struct pleat_machine_range *range),
                          void *context);
/**
 * Calls `each` for every range as its owner added it, in the core's words and in order of addresses, until it
 * returns false; neighbours that differ in nothing but their place are one. `each` runs on a thread of the
 * machine while the caller waits: it mustn't call into the machine, and keeps no pointer of the range.
 */
void pleat_machine_added_ranges(struct pleat_machine *machine,
                                bool (*each)(void *context, const struct pleat_range_info *range),
                                void *context);
/** Calls `each` for every section of the guest's pool of unpopulated frames, by address; as for ranges. */
void pleat_machine_unpopulated(struct pleat_machine *machine,
                               bool (*each)(void *context, const struct pleat_unpopulated_info *section),
                               void *context);

/** What the workload has done since the guest's boot; after pleat_machine_stop(), up to its end. */
struct pleat_workload_info {
    char name[128]; /**< the trace's path or the synthetic preset, "none" */
    uint64_t operations, allocations, frees, refused_allocations, remote_frees;
    uint64_t held_frames[3]; /**< by mobility: PLEAT_UNMOVABLE, PLEAT_RECLAIMABLE, PLEAT_MOVABLE */
    uint64_t migrated_frames, failed_migrations, reclaimed_frames;
    uint64_t stamps_checked; /**< blocks of frames whose content was checked */
    uint64_t stamps_wrong;   /**< 0, or something is broken */
    uint64_t passes;         /**< how often the stream was begun again */
    uint64_t late_ns;        /**< how far the slowest CPU is behind the stream's pace */
};
void pleat_machine_workload_info(struct pleat_machine *machine, struct pleat_workload_info *info);

/** What the guest's driver of a device is doing. */
struct pleat_driver_info {
    bool bound;           /**< the guest has a driver on the device */
    bool busy;            /**< it is at work towards requested-size */
    char state[32];       /**< in a word or two: "at rest", "working", "given up" ... */
    char reason[256];     /**< why it stopped short of the request, for people; "" when it didn't */
    uint64_t added_bytes; /**< memory blocks that the driver has added to the guest */
    uint64_t requests, acks, nacks, busies, errors, timeouts, resets;
    uint64_t moved_bytes;  /**< content that was moved for unplugging, since boot */
    uint64_t last_step_ns; /**< how long the last change of size took, from request to rest */
    uint64_t last_moved_bytes;
};
int pleat_machine_driver_info(struct pleat_machine *machine, const char *id, struct pleat_driver_info *info,
                              struct pleat_message *message);
/** What there is of a balloon, and what it is doing. */
struct pleat_balloon_info {
    uint64_t actual_bytes; /**< the guest's size: "actual" of query-balloon */
    uint64_t target_bytes; /**< what was asked for last */
    uint64_t maximum_bytes;
    uint64_t hole_bytes; /**< in the guest's map, with nothing behind them */
    uint64_t lent_bytes; /**< of these, foreign frames are mapped into */
    uint64_t added_bytes;
    uint64_t on_demand_bytes;      /**< of the guest's map, that it hasn't touched yet */
    uint64_t pool_bytes;           /**< in store for these: of actual_bytes, what isn't populated */
    uint64_t decreases, populates; /**< hypercalls */
    uint64_t decreased_frames, populated_frames;
    uint64_t leaked_frames; /**< pages that the host counts as lost: 0, or something is broken */
    uint64_t last_step_ns;  /**< how long the last change of size took, from request to rest */
    bool bound, busy;
    char state[32];
    char reason[256];
};
/** Errors: NOT_FOUND, in QEMU's words: the machine has no balloon. */
int pleat_machine_balloon_info(struct pleat_machine *machine, struct pleat_balloon_info *info,
                               struct pleat_message *message);

/** True when no driver has anything to do: each one has reached its request, or has said why it can't, or
 * the guest is paused. */
bool pleat_machine_is_settled(struct pleat_machine *machine);

/** Frames that stand in the way of taking a range of addresses back: whose, and where. Until `each` returns
 * false. */
struct pleat_machine_obstacle {
    uint64_t pfn;
    unsigned order;
    char owner[32];
};
void pleat_machine_obstacles(struct pleat_machine *machine, uint64_t address, uint64_t bytes,
                             bool (*each)(void *context, const struct pleat_machine_obstacle *obstacle),
                             void *context);

/* --- Actions ------------------------------------------------------------------------------------------ */

/** qom-set ID requested-size BYTES. INVALID, in QEMU's words: no multiple of block-size, more than max-size.
 * NOT_FOUND: no such device. */
int pleat_machine_set_requested_bytes(struct pleat_machine *machine, const char *id, uint64_t bytes,
                                      struct pleat_message *message);

/** balloon BYTES: the guest is to have that size; it follows. Errors: NOT_FOUND (no balloon), INVALID (0, or
 * more than maxmem). */
int pleat_machine_balloon(struct pleat_machine *machine, uint64_t bytes, struct pleat_message *message);

/**
 * guest exchange FRAMES: a guest on Xen maps so many frames of another domain by its grants, and grants as
 * many of its own; both write, both look at what comes. Errors: NOT_FOUND (not on Xen), INVALID (none, or too
 * many), NO_MEMORY, PROTOCOL (something else came through).
 */
int pleat_machine_guest_exchange(struct pleat_machine *machine, uint64_t frames,
                                 struct pleat_message *message);

/** object_add and object_del, device_add and device_del. `text` is the key=value form, the type first.
 * device_del is a request: DEVICE_DELETED or DEVICE_UNPLUG_GUEST_ERROR follows. */
int pleat_machine_object_add(struct pleat_machine *machine, const char *text, struct pleat_message *message);
int pleat_machine_object_delete(struct pleat_machine *machine, const char *id, struct pleat_message *message);
int pleat_machine_device_add(struct pleat_machine *machine, const char *text, struct pleat_message *message);
int pleat_machine_device_delete(struct pleat_machine *machine, const char *id, struct pleat_message *message);

/** system_reset: all device memory is unplugged, the guest boots anew and plugs what is requested. Errors:
 * those of start; the machine has then stopped. With -no-reboot it ends instead. */
int pleat_machine_system_reset(struct pleat_machine *machine, struct pleat_message *message);

/** The guest starts again and keeps its plugged memory, as after kexec: the new drivers adopt it by STATE. */
int pleat_machine_guest_restart(struct pleat_machine *machine, struct pleat_message *message);

/** guest online memoryN [zone]. Errors: NOT_FOUND (not added), STATE, REFUSED, INVALID (the zone). */
int pleat_machine_block_online(struct pleat_machine *machine, uint64_t number, enum pleat_zone_kind zone,
                               struct pleat_message *message);
/** guest offline memoryN. Errors: also UNMOVABLE: the message names how many, whose, and the first PFN. */
int pleat_machine_block_offline(struct pleat_machine *machine, uint64_t number,
                                struct pleat_message *message);

/**
 * guest pin memoryN FRAMES: something in the guest takes frames of a block for device I/O and keeps them, as
 * memory that is registered for DMA is kept: they can't be moved, and their owner is "dma". Movable content
 * is moved out of the way first. Errors: NOT_FOUND (not added), STATE (not online), EXISTS (some are pinned
 * already), INVALID (no frame, or more than half a block), UNMOVABLE, NO_MEMORY.
 */
int pleat_machine_guest_pin(struct pleat_machine *machine, uint64_t number, uint64_t frames,
                            struct pleat_message *message);
/** guest unpin memoryN. Errors: NOT_FOUND (nothing is pinned there). */
int pleat_machine_guest_unpin(struct pleat_machine *machine, uint64_t number, struct pleat_message *message);

/** Turns a fault on, as -fault does ("device-busy:after=3"). INVALID: unknown or wrong; what is known is
 * named. */
int pleat_machine_fault_add(struct pleat_machine *machine, const char *text, struct pleat_message *message);
/** Turns a fault off by its name. NOT_FOUND: it isn't on. */
int pleat_machine_fault_delete(struct pleat_machine *machine, const char *name,
                               struct pleat_message *message);

/** One fault that is on. */
struct pleat_fault_info {
    char text[256];
    uint64_t asked; /**< how often the place was passed */
    uint64_t hits;  /**< how often it failed there */
};
unsigned pleat_machine_faults(struct pleat_machine *machine, struct pleat_fault_info *faults,
                              unsigned capacity);

/** Writes STEM.svg and STEM.png: sizes over time, and the map of blocks. Errors: what the message says. */
int pleat_machine_picture(struct pleat_machine *machine, const char *stem, struct pleat_message *message);

/* --- Objects and properties --------------------------------------------------------------------------- */

/*
 * A small table stands for QEMU's object model: "/", "/machine", "/machine/peripheral",
 * "/machine/peripheral/ID", "/machine/peripheral-anon", "/machine/peripheral-anon/device[N]", "/objects",
 * "/objects/ID". A path is absolute, or a partial one such as "vm0"
 * that only one object ends with.
 */

enum pleat_property_kind {
    PLEAT_PROPERTY_CHILD, /**< text: nothing; type is child<...> */
    PLEAT_PROPERTY_BOOL,
    PLEAT_PROPERTY_NUMBER,
    PLEAT_PROPERTY_SIZE,   /**< a number; written with suffixes too */
    PLEAT_PROPERTY_TEXT,   /**< text, also enums */
    PLEAT_PROPERTY_LINK,   /**< text: the path, or "" */
    PLEAT_PROPERTY_NUMBERS /**< a list of numbers: host-nodes */
};

struct pleat_property {
    char name[PLEAT_MACHINE_ID_BYTES];
    char type[64]; /**< QEMU's: "size", "uint32", "bool", "str", "link<memory-backend>", "child<...>" */
    enum pleat_property_kind kind;
    bool writable;
};

struct pleat_property_value {
    enum pleat_property_kind kind;
    bool on;
    uint64_t number;
    char text[PLEAT_MACHINE_PATH_BYTES];
    unsigned count; /**< NUMBERS */
    uint64_t numbers[64];
};

/** qom-list: properties of the object, children included. Errors: NOT_FOUND (no such object), INVALID (the
 * path is ambiguous). */
int pleat_machine_properties(struct pleat_machine *machine, const char *path,
                             bool (*each)(void *context, const struct pleat_property *property),
                             void *context, struct pleat_message *message);
/** qom-get. Errors: NOT_FOUND, INVALID (no such property). */
int pleat_machine_property_get(struct pleat_machine *machine, const char *path, const char *name,
                               struct pleat_property_value *value, struct pleat_message *message);
/** qom-set; value.kind must be the property's (NUMBER and SIZE are the same here). Errors: NOT_FOUND, INVALID
 * (no such property, of another type, not writable, or what its setter says). */
int pleat_machine_property_set(struct pleat_machine *machine, const char *path, const char *name,
                               const struct pleat_property_value *value, struct pleat_message *message);
/** qom-set as the terminal has it: the text is read as the property's type wants it ("1G", "on"). */
int pleat_machine_property_set_text(struct pleat_machine *machine, const char *path, const char *name,
                                    const char *text, struct pleat_message *message);

#endif
