/* SPDX-License-Identifier: MIT
 *
 * The guest's virtio-mem driver (VIRTIO 1.4, section 5.15): it follows the size that the device asks for, by
 * plugging memory and adding it to the guest, and by taking memory out of use and unplugging it.
 *
 * The words, besides those of pleat.h:
 *
 *   device block   the unit of the device's books, config field block_size
 *   unit           what is added to the guest and removed from it in one piece: a memory block, or one device
 *                  block where that is larger (it then holds several memory blocks)
 *   subblock       what is plugged and unplugged by itself: max(device block, piece of struct pleat_memory);
 *                  a unit that consists of one device block is one subblock
 *   ready          plugged, mapped, and in the guest's hands
 *   loose          plugged and not ready: on its way in or out
 *
 * An instance lies in storage of the caller. It is a state machine that never waits: call
 * pleat_virtio_mem_driver_step() and it does a bounded piece of work, then says when it wants to be called
 * again. One thread, an interrupt-driven kernel or a pool of threads can drive it; steps of one instance
 * must not overlap. At most one request is with the device at any time.
 *
 * The device is hostile: what it says is checked before it is believed, and whatever it says, memory that
 * the guest uses is only unplugged after struct pleat_memory_ops has taken it out of use.
 *
 *     struct pleat_virtio_mem_driver_needs needs;
 *     pleat_virtio_mem_driver_measure(transport, memory, &needs);   // reads the config space
 *     ... get needs.storage_bytes, and needs.shared_bytes that the device can reach ...
 *     pleat_virtio_mem_driver_create(&config, &driver);
 *     for (;;)
 *         switch (pleat_virtio_mem_driver_step(driver, 0)) { ... }
 */
#ifndef PLEAT_VIRTIO_MEM_DRIVER_H
#define PLEAT_VIRTIO_MEM_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/error.h>
#include <pleat/memory_ops.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pleat_virtio_transport;
struct pleat_virtio_mem_driver;

/** Alignment of the storage, and of the shared memory as pointer and as address. */
#define PLEAT_VIRTIO_MEM_DRIVER_ALIGNMENT 64u

/** For floor_bytes: no floor. For offline_limit_bytes: no limit. For times: never. */
#define PLEAT_VIRTIO_MEM_OFF UINT64_MAX

/** What becomes of memory that is plugged already when the driver starts. */
enum pleat_virtio_mem_start {
    PLEAT_VIRTIO_MEM_START_ADOPT = 0,     /**< finds out by STATE what is plugged, and uses it */
    PLEAT_VIRTIO_MEM_START_UNPLUG_ALL = 1 /**< repeats UNPLUG_ALL until it succeeds, then plugs anew */
};

/** Everything zero means the default; memory, transport, storage and shared have to be there. */
struct pleat_virtio_mem_driver_config {
    const struct pleat_memory *memory;              /**< must outlive the instance */
    const struct pleat_virtio_transport *transport; /**< must outlive the instance */
    void *storage;            /**< aligned; private to the driver. While memory of the device is added to the
                                   guest it must stay, also after a detach */
    size_t storage_bytes;     /**< at least what pleat_virtio_mem_driver_measure() said */
    void *shared;             /**< aligned; memory that the device reads and writes: ring and buffers. The
                                   device's until a detach is done; also when the driver has given up, and
                                   then a detach with LEAVE gets it back */
    uint64_t shared_physical; /**< its address as the device is told it */
    size_t shared_bytes;      /**< at least what pleat_virtio_mem_driver_measure() said */

    const char *name; /**< of the ranges that it adds, shown to people; NULL: "virtio-mem" */
    enum pleat_virtio_mem_start start;
    /** Feature bits, as a mask of numbers 0 to 63, not to accept though offered (packed ring, event index
     * ...). */
    uint64_t features_refused;
    enum pleat_memmap_mode memmap_mode; /**< PLEAT_MEMMAP_BLOCK by default */
    unsigned add_flags;                 /**< PLEAT_ADD_FORCE_ONLINE, PLEAT_MEMMAP_HINT */
    enum pleat_zone_kind force_zone;
    /** The node of a proximity domain, or a negative error; only asked with ACPI_PXM. NULL: the same number.
     */
    int (*node_of_proximity)(void *context, unsigned proximity);
    /** The node without ACPI_PXM, or where the device's node doesn't exist. */
    unsigned node;
    /** "Call step soon": from an interrupt entry point, or from an administrator's online or offline request
     * under the hotplug lock; it must only note it. NULL: nobody needs to be told. */
    void (*wake)(void *context);
    void *context;          /**< for node_of_proximity and wake */
    bool use_vectors;       /**< route interrupts by the transport's set_vector, where it has that */
    uint16_t config_vector; /**< MSI-X entry of config changes */
    uint16_t queue_vector;  /**< MSI-X entry of the queue */

    /** Bytes of free memory that a shrink leaves to the guest. 0: 64 MiB; PLEAT_VIRTIO_MEM_OFF: none. Not
     * heeded without pleat_memory_ops.free_bytes. */
    uint64_t floor_bytes;
    /** The driver adds no more while this much is added and not online. 0: 1 GiB, at least two units, which
     * is Linux's threshold; PLEAT_VIRTIO_MEM_OFF: no limit. */
    uint64_t offline_limit_bytes;
    /** After so long without a response the device is reset. 0: 30 s; PLEAT_VIRTIO_MEM_OFF: never. */
    uint64_t response_timeout_ns;
    /** An evacuation ends after so long. 0: 10 s; PLEAT_VIRTIO_MEM_OFF: never. */
    uint64_t take_timeout_ns;
    /** First and longest pause before what failed is tried again; it doubles in between. 0: 50 ms, 30 s. */
    uint64_t retry_first_ns;
    uint64_t retry_longest_ns;
    /** Resets in a row, with no request granted in between, after which the driver gives up. 0: 5. */
    unsigned resets_max;
};

/** What an instance for this device and this memory takes. */
struct pleat_virtio_mem_driver_needs {
    size_t storage_bytes;
    size_t shared_bytes;
    uint64_t region_address;
    uint64_t region_bytes;
    uint64_t block_bytes; /**< the device's */
};

/** Where the driver is in its life. */
enum pleat_virtio_mem_phase {
    PLEAT_VIRTIO_MEM_RESETTING = 0, /**< the device was asked to reset and owns all buffers until it has */
    PLEAT_VIRTIO_MEM_CLEARING,      /**< UNPLUG_ALL, until it succeeds; nothing of the device is added */
    PLEAT_VIRTIO_MEM_ASKING,        /**< what is plugged isn't known for sure: asks by STATE */
    PLEAT_VIRTIO_MEM_WORKING,       /**< all is known; follows the requested size */
    PLEAT_VIRTIO_MEM_GIVEN_UP,      /**< nothing is asked of the device any more; ready memory stays in use */
    PLEAT_VIRTIO_MEM_DETACHED       /**< the device was reset and isn't used; ready memory stays in use */
};

/** When the driver wants to be called again. Calling it earlier does no harm. */
enum pleat_virtio_mem_wake {
    PLEAT_VIRTIO_MEM_WAKE_NOW = 0,      /**< it has more to do */
    PLEAT_VIRTIO_MEM_WAKE_ON_INTERRUPT, /**< after pleat_virtio_mem_driver_interrupt() or _memory_changed() */
    PLEAT_VIRTIO_MEM_WAKE_AT_TIME,      /**< the same, or at pleat_virtio_mem_driver_wake_ns() */
    PLEAT_VIRTIO_MEM_WAKE_NEVER         /**< given up, or detached: until _attach() */
};

/** Why the guest isn't at the requested size (now). */
enum pleat_virtio_mem_reason {
    PLEAT_VIRTIO_MEM_REASON_NONE = 0,    /**< it is at the requested size */
    PLEAT_VIRTIO_MEM_REASON_STARTING,    /**< reset, features, or asking what is plugged */
    PLEAT_VIRTIO_MEM_REASON_WORKING,     /**< on the way */
    PLEAT_VIRTIO_MEM_REASON_NO_ROOM,     /**< no subblock is left to plug in the usable region */
    PLEAT_VIRTIO_MEM_REASON_REMAINDER,   /**< what is missing or too much is less than a subblock */
    PLEAT_VIRTIO_MEM_REASON_OFFLINE,     /**< enough was added that nobody has onlined */
    PLEAT_VIRTIO_MEM_REASON_NO_MEMORY,   /**< no room for metadata or page tables, or nowhere to move to */
    PLEAT_VIRTIO_MEM_REASON_FLOOR,       /**< a shrink would leave the guest too little free memory */
    PLEAT_VIRTIO_MEM_REASON_UNMOVABLE,   /**< a shrink is stopped by frames that can't be moved */
    PLEAT_VIRTIO_MEM_REASON_PINNED,      /**< a shrink is stopped by frames whose owners refuse now */
    PLEAT_VIRTIO_MEM_REASON_REFUSED,     /**< a listener or an owner refused, or somebody else is at work */
    PLEAT_VIRTIO_MEM_REASON_SLOW,        /**< an evacuation met its deadline */
    PLEAT_VIRTIO_MEM_REASON_PLUG_ONLY,   /**< this guest can't take memory back */
    PLEAT_VIRTIO_MEM_REASON_BUSY,        /**< the device answered BUSY; tried again later */
    PLEAT_VIRTIO_MEM_REASON_NACK,        /**< the device answered NACK; waits for a config change */
    PLEAT_VIRTIO_MEM_REASON_ERROR,       /**< the device answered ERROR; tried again later */
    PLEAT_VIRTIO_MEM_REASON_SILENT,      /**< the device doesn't answer, or doesn't finish a reset */
    PLEAT_VIRTIO_MEM_REASON_CONFIG,      /**< the config space says what can't be */
    PLEAT_VIRTIO_MEM_REASON_PROTOCOL,    /**< a response says what can't be, or the ring is broken */
    PLEAT_VIRTIO_MEM_REASON_LOST,        /**< the device says that memory in use is unplugged */
    PLEAT_VIRTIO_MEM_REASON_UNSUPPORTED, /**< features or queue: the two can't work together */
    PLEAT_VIRTIO_MEM_REASON_DETACHED,    /**< detached on request */
    PLEAT_VIRTIO_MEM_REASONS
};

/** How a request ended. */
enum pleat_virtio_mem_answer {
    PLEAT_VIRTIO_MEM_ANSWER_ACK = 0,
    PLEAT_VIRTIO_MEM_ANSWER_NACK = 1,
    PLEAT_VIRTIO_MEM_ANSWER_BUSY = 2,
    PLEAT_VIRTIO_MEM_ANSWER_ERROR = 3,
    PLEAT_VIRTIO_MEM_ANSWER_NONE = 4,      /**< none: time-out, broken ring or reset in between */
    PLEAT_VIRTIO_MEM_ANSWER_MALFORMED = 5, /**< too short, or a type or state that doesn't exist */
    PLEAT_VIRTIO_MEM_ANSWERS = 6
};

/** Counters since create. */
struct pleat_virtio_mem_statistics {
    /** By PLEAT_VIRTIO_MEM_REQ_ (plug, unplug, unplug all, state) and by answer. */
    uint64_t requests[4][PLEAT_VIRTIO_MEM_ANSWERS];
    uint64_t plugged_bytes;   /**< by PLUG requests that were granted */
    uint64_t unplugged_bytes; /**< by UNPLUG and UNPLUG_ALL requests that were granted */
    uint64_t moved_bytes;     /**< content moved by evacuations, failed ones and the one at work included */
    uint64_t takes;           /**< evacuations begun */
    uint64_t takes_failed;
    uint64_t units_added;
    uint64_t units_removed;
    uint64_t retries; /**< pauses that were made before trying again */
    uint64_t resets;
    uint64_t config_changes;
    uint64_t steps;
    uint64_t longest_step_ns; /**< 0 without a clock */
};

/** What the driver knows now. */
struct pleat_virtio_mem_status {
    enum pleat_virtio_mem_phase phase;
    bool detaching;
    bool in_flight;                  /**< a request is with the device */
    bool evacuating;                 /**< a take goes on in the guest */
    uint64_t evacuating_bytes;       /**< of how much memory; 0 while none goes on */
    uint64_t evacuating_moved_bytes; /**< content of it that was moved so far */
    uint64_t features;               /**< as negotiated */
    unsigned node;
    uint64_t region_address;
    uint64_t region_bytes;
    uint64_t usable_bytes;
    uint64_t requested_bytes; /**< as the device wants it */
    uint64_t target_bytes;    /**< what the driver works towards: 0 while it gives all back */
    uint64_t plugged_bytes;   /**< by the driver's own books */
    uint64_t ready_bytes;     /**< of these, in the guest's hands */
    uint64_t offline_bytes;   /**< of these, in units that are wholly offline */
    uint64_t block_bytes;     /**< the device's */
    uint64_t subblock_bytes;
    uint64_t unit_bytes;
    uint64_t first_unit_address; /**< units lie from here on ... */
    uint64_t units;              /**< ... so many of them; the rest of the region can't be used */
    uint64_t units_added;
    uint64_t units_loose; /**< plugged in part or as a whole, not added */
};

/** How to detach. */
enum pleat_virtio_mem_detach {
    /** Give everything back, as for a device that is to be removed. */
    PLEAT_VIRTIO_MEM_DETACH_GIVE_BACK = 0,
    /** Stop; all that is plugged stays plugged and in use, for pleat_virtio_mem_driver_attach() on the same
     * instance (suspend, hand-over), or for the next guest to adopt. */
    PLEAT_VIRTIO_MEM_DETACH_LEAVE = 1
};

/**
 * Bytes of storage for a region of `region_bytes` in device blocks of `block_bytes`: about two bits a device
 * block and 16 bytes a unit. 0 if no such region can be served (block_bytes 0 or no power of two,
 * region_bytes no multiple of it). Any context.
 */
size_t pleat_virtio_mem_driver_storage_bytes(const struct pleat_memory *memory, uint64_t block_bytes,
                                             uint64_t region_bytes);

/** Bytes of shared memory for any device. Any context. */
size_t pleat_virtio_mem_driver_shared_bytes(void);

/**
 * Reads the config space (which a device allows at any time, VIRTIO 2.5.2), checks it and says what an
 * instance needs. Errors: UNSUPPORTED (not a virtio-mem device), PROTOCOL (a config that can't be: block size
 * 0 or no power of two, sizes that aren't multiples of it, a region that wraps), BUSY (the config kept
 * changing), NO_MEMORY (more bytes than this machine can address). *needs isn't touched then.
 */
int pleat_virtio_mem_driver_measure(const struct pleat_virtio_transport *transport,
                                    const struct pleat_memory *memory,
                                    struct pleat_virtio_mem_driver_needs *needs);

/**
 * Makes an instance in config->storage and starts to reset the device; *config is copied. Everything else
 * happens in pleat_virtio_mem_driver_step(). Errors: INVALID (a field that can't be, storage or shared memory
 * too small or misaligned), and those of pleat_virtio_mem_driver_measure(). On an error the device hasn't
 * been touched and *driver is unchanged.
 */
int pleat_virtio_mem_driver_create(const struct pleat_virtio_mem_driver_config *config,
                                   struct pleat_virtio_mem_driver **driver);

/**
 * Does a piece of work, and says when it wants to be called again. budget_bytes: about how many bytes of
 * content may be moved or looked at, where every request and every unit looked at counts for 4 KiB; 0: 4 MiB.
 * At least one thing is done, so that 1 is the shortest step. Context: one step of an instance at a time, and
 * not from a callback of struct pleat_memory_ops; the instance's other functions, but for those that say so,
 * not at the same time either.
 */
enum pleat_virtio_mem_wake pleat_virtio_mem_driver_step(struct pleat_virtio_mem_driver *driver,
                                                        uint64_t budget_bytes);

/**
 * When step() returned WAKE_AT_TIME: the time, by pleat_memory_ops.clock_ns. Without a clock it is 0: call
 * about ten times a second (there are no time-outs then, and each call tries again what is to be tried
 * again).
 */
uint64_t pleat_virtio_mem_driver_wake_ns(const struct pleat_virtio_mem_driver *driver);

/**
 * The device has interrupted: `causes` are PLEAT_VIRTIO_INTERRUPT_ bits (as the transport's
 * interrupt_acknowledge returns them, or as the vector says). Only notes it and calls config.wake. Any
 * context, at any time, interrupt handlers included. A caller without interrupts passes both bits before
 * each step.
 */
void pleat_virtio_mem_driver_interrupt(struct pleat_virtio_mem_driver *driver, uint32_t causes);

/** Memory was freed, or a listener doesn't refuse any more: what the guest's side stopped is tried again
 * now. Any context, at any time. */
void pleat_virtio_mem_driver_memory_changed(struct pleat_virtio_mem_driver *driver);

/**
 * Why the guest isn't at the requested size. text, if not NULL, receives one line that ends with NUL and is
 * cut to `text_bytes`; 256 are enough. Example: shrink stopped at 192 MiB of 64 MiB wanted: 37 frames
 * unmovable, first at PFN 0x140200, owner "slab".
 */
enum pleat_virtio_mem_reason pleat_virtio_mem_driver_reason(const struct pleat_virtio_mem_driver *driver,
                                                            char *text, size_t text_bytes);

/** A phase and a reason in a word or two; never NULL. Any context. */
const char *pleat_virtio_mem_phase_text(enum pleat_virtio_mem_phase phase);
const char *pleat_virtio_mem_reason_text(enum pleat_virtio_mem_reason reason);

/** The counters, and what the driver knows. */
void pleat_virtio_mem_driver_statistics(const struct pleat_virtio_mem_driver *driver,
                                        struct pleat_virtio_mem_statistics *statistics);
void pleat_virtio_mem_driver_status(const struct pleat_virtio_mem_driver *driver,
                                    struct pleat_virtio_mem_status *status);

/** Is the device block at this address plugged, by the driver's books? False outside the region. */
bool pleat_virtio_mem_driver_is_plugged(const struct pleat_virtio_mem_driver *driver, uint64_t address);

/**
 * May the machine be suspended to RAM? 0, or REFUSED: memory is plugged, or may be (a request is with the
 * device, or what is plugged isn't known yet), and the device doesn't promise PERSISTENT_SUSPEND (V-OP11).
 */
int pleat_virtio_mem_driver_may_suspend(const struct pleat_virtio_mem_driver *driver);

/**
 * Starts to detach; go on with step() and ask pleat_virtio_mem_driver_detach_result(). Errors: STATE
 * (detached, or GIVE_BACK after the driver has given up). A second call may turn GIVE_BACK into LEAVE.
 */
int pleat_virtio_mem_driver_detach_begin(struct pleat_virtio_mem_driver *driver,
                                         enum pleat_virtio_mem_detach how);

/**
 * PLEAT_MORE: not yet. 0: detached; after GIVE_BACK nothing is plugged any more, and the storage is the
 * caller's again. After LEAVE the storage must stay while memory of the device is added. Errors: STATE
 * (no detach was begun, or it was cancelled); for GIVE_BACK: REFUSED (not all can be given back now; the
 * driver follows the requested size again), DEVICE (it gave up on the device). text, if not NULL, receives
 * the line that says why, as from pleat_virtio_mem_driver_reason() when the attempt ended.
 */
int pleat_virtio_mem_driver_detach_result(const struct pleat_virtio_mem_driver *driver, char *text,
                                          size_t text_bytes);

/** Ends a GIVE_BACK that isn't finished; the driver follows the requested size again. Errors: STATE. */
int pleat_virtio_mem_driver_detach_cancel(struct pleat_virtio_mem_driver *driver);

/**
 * Goes back to work after a LEAVE, or after the driver has given up: the device is reset and asked what is
 * plugged. Memory that is in use has to be plugged still. Errors: STATE (it is at work).
 */
int pleat_virtio_mem_driver_attach(struct pleat_virtio_mem_driver *driver);

/**
 * The invariants: the counters against a recount, ready memory is plugged, states fit their bits. Effort:
 * linear in the region's device blocks. For assertions and tests; reads the driver's own storage only.
 */
bool pleat_virtio_mem_driver_is_valid(const struct pleat_virtio_mem_driver *driver);

#ifdef __cplusplus
}
#endif
#endif
