/* SPDX-License-Identifier: MIT
 *
 * What the files of the virtio-mem driver share: the instance and its books.
 *
 * The books have two bitmaps. `plugged` has a bit for each device block of the region: what the device has
 * granted, as far as is known; `ready` has one for each subblock of each unit: plugged, mapped, and in the
 * guest's hands. Everything that the driver does moves one towards the other or both towards the target:
 *
 *     not plugged --PLUG--> loose --map, add or give--> ready --take, unmap--> loose --UNPLUG--> not plugged
 *
 * so that after any failure, reset or change of the target it looks at the books and goes on from there.
 * What a unit is (enum unit_state) follows from its bits and from whether it was added.
 *
 * An administrator may online or offline a unit at any time, on another CPU, under the hotplug lock of the
 * memory. Our callbacks then read `ready` and write `online`, the driver's thread writes `ready` and reads
 * `online`; all of these are sequentially consistent atomics. So when the driver sets or clears a ready bit
 * and then looks at `online`, while a callback counts `online` up and then looks at the ready bits, at least
 * one of them sees the other's store; pleat_memory_ops.give, which takes the hotplug lock, settles the rest.
 */
#ifndef PLEAT_DRIVERS_VIRTIO_MEM_DRIVER_H
#define PLEAT_DRIVERS_VIRTIO_MEM_DRIVER_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pleat/error.h>
#include <pleat/memory_ops.h>
#include <pleat/port.h>
#include <pleat/virtio_driver_ring.h>
#include <pleat/virtio_mem_driver.h>
#include <pleat/virtio_transport.h>
#include <pleat/wire/virtio.h>
#include <pleat/wire/virtio_mem.h>

/** Requests need two descriptors; a ring of four is split and packed alike. */
#define RING_SIZE 4u
/** What a request, or a look at a unit, counts in the budget of a step. */
#define ACTION_BYTES 4096
/** Units that one take may empty together, so that content isn't moved from one to the next. */
#define GROUP_UNITS 16u
/** Between two looks at a device that is resetting. */
#define RESET_POLL_NS UINT64_C(1000000)
/** STATE requests answered by ERROR, in a row, before UNPLUG_ALL is taken as the way out. */
#define STATE_ERRORS_MAX 3u
/** Times that the device's plugged_size may contradict the books, in a row, before it is left at that. */
#define CONTRADICTIONS_MAX 2u

/** What becomes of the memory of a unit next follows from what it is now. */
enum unit_state {
    UNIT_EMPTY,   /**< Nothing of it is plugged, and the guest doesn't know it. */
    UNIT_LOOSE,   /**< Some or all of it is plugged, and the guest doesn't know it. */
    UNIT_OFFLINE, /**< Added, plugged in part or as a whole, no frame of it is in use. */
    UNIT_MIXED,   /**< Added; some of its memory blocks are online, some aren't (large device blocks only). */
    UNIT_ONLINE   /**< Added and online: ready subblocks are in use, the others are withheld. */
};

/** Flags of a unit: what isn't tried again in this round. */
enum {
    UNIT_SINGLY = 1,     /**< a take of subblocks of it has failed: one by one, and each once */
    UNIT_SKIP = 2,       /**< a take of all of it has failed */
    UNIT_SOUR = 4,       /**< the device answered ERROR to a request that seemed right */
    UNIT_STUCK = 8,      /**< loose, and can't be made ready now */
    UNIT_UNADDABLE = 16, /**< the guest has no room for it: give it back */
    UNIT_ALONE = 32,     /**< a take of it with its neighbours has failed */
    UNIT_NO_FREE = 64,   /**< none of its subblocks was free when this hunt looked */
    UNIT_HOPELESS = 128  /**< each of its subblocks held unmovable frames when this hunt looked */
};

struct unit {
    uint32_t plugged_blocks; /**< == set bits of `plugged` in it */
    uint32_t ready_subs;     /**< == set bits of `ready` in it */
    _Atomic uint32_t online; /**< memory blocks of it that are online */
    uint8_t added;
    uint8_t flags;
};

/** Where everything lies; fixed from create on. Sizes are powers of two. */
struct geometry {
    uint64_t region_address;
    uint64_t region_bytes;
    uint64_t block_bytes;
    uint64_t sub_bytes;
    uint64_t unit_bytes;
    uint64_t first_unit_address;
    uint64_t region_blocks;
    uint64_t first_unit_block; /**< device block at first_unit_address */
    uint64_t units;
    uint32_t blocks_per_sub;
    uint32_t subs_per_unit;
    uint32_t blocks_per_unit;
    uint32_t memory_blocks_per_unit;
    uint32_t metadata_subs; /**< at the start of a unit: plugged before it is added, until it is removed */
    uint32_t least_subs;    /**< that a unit must have plugged to be of any use */
};

/** The config space, as numbers. */
struct device_config {
    uint64_t block_bytes;
    uint64_t node;
    uint64_t address;
    uint64_t region_bytes;
    uint64_t usable_bytes;
    uint64_t plugged_bytes;
    uint64_t requested_bytes;
};

/** A point in time; without a clock, any later step. */
struct timer {
    bool set;
    uint64_t at_ns;
    uint64_t step;
};

/** A pause that doubles each time. */
struct pause {
    struct timer timer;
    uint64_t length_ns;
};

/** Why work has stopped; what isn't known is 0. */
struct stop {
    enum pleat_virtio_mem_reason reason;
    bool growing;      /**< of the two directions, the one that stopped */
    int error;         /**< what pleat_memory_ops said */
    uint64_t at_bytes; /**< plugged then */
    uint64_t wanted_bytes;
    uint64_t number_bytes; /**< floor, limit, free bytes: what the reason is about */
    const char *detail;    /**< a few words, or NULL */
    struct pleat_memory_report report;
};

/** The request that is with the device, or the last one. */
struct request {
    unsigned type;
    uint64_t first_block;
    uint32_t blocks;
    struct timer timeout;
};

/** The range that STATE is asked about: [next, end) is in doubt. */
struct question {
    uint64_t next;
    uint64_t end;
    uint32_t chunk;
};

/** A take: of whole units, or of neighbouring subblocks of one. */
struct take {
    bool active;
    bool whole_units;
    uint64_t unit;
    uint64_t units;
    uint32_t sub;
    uint32_t subs;
    uint64_t moved_bytes; /**< at the last step */
    unsigned tries;       /**< of pinned frames, since anything was moved */
    struct timer again;   /**< no step before it is due */
    struct pleat_memory_job job;
};

/** How far the search for something to unplug has come. */
struct hunt {
    unsigned pass;
    uint64_t unit; /**< the next to look at is unit - 1 */
    uint32_t sub;  /**< within it, the next to look at is sub - 1 */
    bool begun;
    bool progress;         /**< something was taken since the first pass */
    bool floor_met;        /**< something was left because of the floor */
    bool nowhere_to_go;    /**< an evacuation found no room */
    struct stop failure;   /**< the most telling one of this round */
    uint64_t pinned_bytes; /**< in takes that failed for them */
    uint64_t unmovable_bytes;
    uint64_t unmovable_unit; /**< where the lowest of them is, only if there are any */
    uint32_t unmovable_sub;
};

/** How far the search for room to plug has come. */
struct search {
    unsigned pass;
    uint64_t unit;
    bool found; /**< somewhere, since the first pass */
};

enum detach_state {
    DETACH_NOT_BEGUN,
    DETACH_GIVING_BACK,
    DETACH_LEAVING,
    DETACH_DONE,
    DETACH_REFUSED,
    DETACH_GAVE_UP
};

/** Bits of driver.flags. */
enum { FLAG_CONFIG = 1, FLAG_QUEUE = 2, FLAG_MEMORY = 4 };

struct pleat_virtio_mem_driver {
    struct pleat_virtio_mem_driver_config config; /**< defaults filled in */
    struct pleat_memory_owner owner;
    struct geometry geometry;

    /* The books. */
    uint64_t *plugged;
    _Atomic uint64_t *ready;
    struct unit *units;
    uint64_t plugged_blocks; /**< == set bits of `plugged` */
    uint64_t ready_subs;     /**< == set bits of `ready` */
    uint64_t outside_blocks; /**< == set bits of `plugged` that are in no unit */
    uint64_t units_added;
    uint64_t units_loose;           /**< in state UNIT_LOOSE */
    _Atomic uint64_t units_online;  /**< with at least one memory block online */
    _Atomic uint64_t online_serial; /**< memory blocks that ever went online */
    _Atomic bool own_call;          /**< a callback that comes now is of the driver's own making */
    uint64_t touched_unit;          /**< where something changed last: looked at first */
    bool outside_sour;              /**< UNIT_SOUR of what is in no unit */

    /* The device. */
    struct device_config device; /**< as last read and checked */
    uint64_t features;
    unsigned node;
    struct pleat_virtio_ring ring;
    struct pleat_virtio_ring_memory ring_memory;
    uint8_t *request_buffer;
    uint8_t *response_buffer;
    uint64_t request_physical;
    uint64_t response_physical;

    /* What goes on. */
    enum pleat_virtio_mem_phase phase;
    _Atomic uint32_t flags;
    bool config_pending;       /**< the config space is to be read again ... */
    struct timer config_timer; /**< ... but not before */
    bool reset_asked;
    bool started;      /**< the device has been configured once */
    bool clear_wanted; /**< UNPLUG_ALL comes before anything else */
    bool in_flight;
    struct request request;
    struct timer reset_timeout;
    struct question question;
    bool plug_refused;   /**< by NACK, until the config changes */
    bool unplug_refused; /**< the same */
    bool verify;         /**< something was plugged or unplugged since the books were compared */
    bool stopped;
    struct stop stop;         /**< why; holds until something changes, also while it is tried again */
    struct stop said_stop;    /**< the last one in the log */
    struct timer stop_timer;  /**< not set: until the config or the memory changes */
    struct pause guest_pause; /**< lengths of stop_timer */
    struct pause device_pause;
    struct stop device_stop; /**< why there is a device pause, or why it gave up */
    unsigned resets_in_row;
    unsigned errors_in_row;
    unsigned state_errors;
    unsigned contradictions;
    struct search search;
    struct hunt hunt;
    struct take take;
    enum detach_state detach;
    struct stop detach_stop;

    /* The step. */
    uint64_t now_ns;
    int64_t budget;
    struct timer wake; /**< the next of all timers that are waited for */
    struct pleat_virtio_mem_statistics statistics;
};

/** What a part of a step comes to. */
enum outcome {
    DONE_SOMETHING, /**< go on, if the budget allows */
    NOTHING_TO_DO,  /**< not here; perhaps elsewhere */
    MUST_WAIT       /**< for the device or for time */
};

/* --- Addresses: region > unit > subblock > device block ------------------------------------------------ */

static inline uint64_t block_address(const struct pleat_virtio_mem_driver *driver, uint64_t block)
{
    return driver->geometry.region_address + block * driver->geometry.block_bytes;
}

static inline uint64_t unit_address(const struct pleat_virtio_mem_driver *driver, uint64_t unit)
{
    return driver->geometry.first_unit_address + unit * driver->geometry.unit_bytes;
}

static inline uint64_t sub_address(const struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t sub)
{
    return unit_address(driver, unit) + sub * driver->geometry.sub_bytes;
}

static inline uint64_t sub_first_block(const struct pleat_virtio_mem_driver *driver, uint64_t unit,
                                       uint32_t sub)
{
    return driver->geometry.first_unit_block + unit * driver->geometry.blocks_per_unit +
           (uint64_t)sub * driver->geometry.blocks_per_sub;
}

static inline uint64_t usable_blocks(const struct pleat_virtio_mem_driver *driver)
{
    return driver->device.usable_bytes / driver->geometry.block_bytes;
}

/** The unit that a device block lies in; geometry.units or more: in none. */
static inline uint64_t block_unit(const struct pleat_virtio_mem_driver *driver, uint64_t block)
{
    if (block < driver->geometry.first_unit_block) {
        return UINT64_MAX;
    }
    return (block - driver->geometry.first_unit_block) / driver->geometry.blocks_per_unit;
}

/* --- books.c ---------------------------------------------------------------------------------------------
 */

int pleat_virtio_mem_geometry(const struct pleat_memory *memory, enum pleat_memmap_mode mode,
                              const struct device_config *device, struct geometry *geometry);
uint64_t pleat_virtio_mem_bitmap_words(uint64_t bits);

enum unit_state pleat_virtio_mem_unit_state(const struct pleat_virtio_mem_driver *driver, uint64_t unit);
/** Notes that `count` device blocks from `first` are plugged, or aren't; some may have been noted before. */
void pleat_virtio_mem_note_plugged(struct pleat_virtio_mem_driver *driver, uint64_t first, uint64_t count,
                                   bool plugged);
void pleat_virtio_mem_note_added(struct pleat_virtio_mem_driver *driver, uint64_t unit, bool added);
/** Sets or clears ready bits; all of them were the other way. */
void pleat_virtio_mem_note_ready(struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t sub,
                                 uint32_t subs, bool ready);
bool pleat_virtio_mem_is_ready(const struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t sub);
bool pleat_virtio_mem_block_plugged(const struct pleat_virtio_mem_driver *driver, uint64_t block);
uint64_t pleat_virtio_mem_count_plugged(const struct pleat_virtio_mem_driver *driver, uint64_t first,
                                        uint64_t count);
/** Blocks from `first` upwards that are `plugged` (or aren't), at most `limit`. */
uint64_t pleat_virtio_mem_run_up(const struct pleat_virtio_mem_driver *driver, uint64_t first, uint64_t limit,
                                 bool plugged);
/** The same, from just below `end` downwards. */
uint64_t pleat_virtio_mem_run_down(const struct pleat_virtio_mem_driver *driver, uint64_t end, uint64_t limit,
                                   bool plugged);
/** All of pleat_virtio_mem_driver_is_valid() but the count of units online, which callbacks change meanwhile.
 */
bool pleat_virtio_mem_books_are_valid(const struct pleat_virtio_mem_driver *driver);
/* The books, after whatever changes them; in debug builds only. */
#ifdef PLEAT_DEBUG
#define BOOKS_CHECK(driver) (pleat_virtio_mem_books_are_valid(driver) ? (void)0 : __builtin_trap())
#else
#define BOOKS_CHECK(driver) ((void)(driver))
#endif
uint64_t pleat_virtio_mem_plugged_bytes(const struct pleat_virtio_mem_driver *driver);
uint64_t pleat_virtio_mem_unit_plugged_bytes(const struct pleat_virtio_mem_driver *driver, uint64_t unit);
uint64_t pleat_virtio_mem_ready_bytes(const struct pleat_virtio_mem_driver *driver);
/** Added and wholly offline, as whole units. */
uint64_t pleat_virtio_mem_offline_bytes(const struct pleat_virtio_mem_driver *driver);
/** What the driver works towards. */
uint64_t pleat_virtio_mem_target_bytes(const struct pleat_virtio_mem_driver *driver);
/** Lets every unit be tried again. */
void pleat_virtio_mem_forgive_units(struct pleat_virtio_mem_driver *driver, unsigned flags);

/* --- time.c ----------------------------------------------------------------------------------------------
 */

void pleat_virtio_mem_read_clock(struct pleat_virtio_mem_driver *driver);
void pleat_virtio_mem_timer_start(const struct pleat_virtio_mem_driver *driver, struct timer *timer,
                                  uint64_t length_ns);
/** The same for a time-out: never due without a clock. */
void pleat_virtio_mem_timeout_start(const struct pleat_virtio_mem_driver *driver, struct timer *timer,
                                    uint64_t length_ns);
bool pleat_virtio_mem_timer_due(const struct pleat_virtio_mem_driver *driver, const struct timer *timer);
bool pleat_virtio_mem_timer_running(const struct pleat_virtio_mem_driver *driver, const struct timer *timer);
/** The step has to come again when it is due, if nothing else happens before. Returns MUST_WAIT. */
enum outcome pleat_virtio_mem_wait_for(struct pleat_virtio_mem_driver *driver, const struct timer *timer);
void pleat_virtio_mem_pause(struct pleat_virtio_mem_driver *driver, struct pause *pause);
void pleat_virtio_mem_pause_end(struct pause *pause);

/* --- config.c --------------------------------------------------------------------------------------------
 */

int pleat_virtio_mem_config_read(const struct pleat_virtio_transport *transport,
                                 struct device_config *config);
/** Why a config can't be true, in a few words; NULL: it can. */
const char *pleat_virtio_mem_config_flaw(const struct device_config *config);
/** Reads and checks the config space anew; a flaw is a fault of the device. */
enum outcome pleat_virtio_mem_config_refresh(struct pleat_virtio_mem_driver *driver);

/* --- request.c -------------------------------------------------------------------------------------------
 */

void pleat_virtio_mem_ring_needs(size_t *shared_bytes, size_t *private_bytes);
void pleat_virtio_mem_place_buffers(struct pleat_virtio_mem_driver *driver);
int pleat_virtio_mem_queue_prepare(struct pleat_virtio_mem_driver *driver);
/** Sends a request, if the device isn't left in peace for now. Nothing is in flight before. */
enum outcome pleat_virtio_mem_send(struct pleat_virtio_mem_driver *driver, unsigned type,
                                   uint64_t first_block, uint64_t blocks);
/** Looks for the response to the request in flight, and acts on it. */
enum outcome pleat_virtio_mem_receive(struct pleat_virtio_mem_driver *driver);

/* --- life.c ----------------------------------------------------------------------------------------------
 */

/** What the last request was about isn't known for sure. */
void pleat_virtio_mem_doubt_request(struct pleat_virtio_mem_driver *driver);
void pleat_virtio_mem_reset(struct pleat_virtio_mem_driver *driver);
enum outcome pleat_virtio_mem_reset_advance(struct pleat_virtio_mem_driver *driver);
/** The device did what can't be trusted: reset it, or give up after too many. */
void pleat_virtio_mem_fault(struct pleat_virtio_mem_driver *driver, enum pleat_virtio_mem_reason reason,
                            const char *detail);
void pleat_virtio_mem_give_up(struct pleat_virtio_mem_driver *driver, enum pleat_virtio_mem_reason reason,
                              const char *detail);
/** The device granted something. */
void pleat_virtio_mem_granted(struct pleat_virtio_mem_driver *driver);
/** It has answered after all: no pause any more. */
void pleat_virtio_mem_device_calm(struct pleat_virtio_mem_driver *driver);
/** The device can't now: leave it in peace for a while. */
void pleat_virtio_mem_device_pause(struct pleat_virtio_mem_driver *driver,
                                   enum pleat_virtio_mem_reason reason);
/** Work stops for a reason on the guest's side; `again`: it is tried again by itself. */
void pleat_virtio_mem_stop(struct pleat_virtio_mem_driver *driver, const struct stop *stop, bool again);
/** Everything may be tried again. */
void pleat_virtio_mem_resume(struct pleat_virtio_mem_driver *driver);
void pleat_virtio_mem_set_phase(struct pleat_virtio_mem_driver *driver, enum pleat_virtio_mem_phase phase);

/* --- adopt.c ---------------------------------------------------------------------------------------------
 */

void pleat_virtio_mem_ask(struct pleat_virtio_mem_driver *driver, uint64_t first, uint64_t end);
void pleat_virtio_mem_ask_all(struct pleat_virtio_mem_driver *driver);
enum outcome pleat_virtio_mem_ask_advance(struct pleat_virtio_mem_driver *driver);
void pleat_virtio_mem_ask_answered(struct pleat_virtio_mem_driver *driver, unsigned state);
void pleat_virtio_mem_ask_failed(struct pleat_virtio_mem_driver *driver);
enum outcome pleat_virtio_mem_clear_advance(struct pleat_virtio_mem_driver *driver);
void pleat_virtio_mem_clear_answered(struct pleat_virtio_mem_driver *driver);

/* --- settle.c --------------------------------------------------------------------------------------------
 */

/** Deals with what is plugged and not ready. */
enum outcome pleat_virtio_mem_settle(struct pleat_virtio_mem_driver *driver);
/** May another unit be added, or are enough offline? If they are, work stops. */
bool pleat_virtio_mem_may_add(struct pleat_virtio_mem_driver *driver);
/** Unmaps what is ready of a unit, and notes it as loose. */
void pleat_virtio_mem_unready_unit(struct pleat_virtio_mem_driver *driver, uint64_t unit);
void pleat_virtio_mem_unmap(struct pleat_virtio_mem_driver *driver, uint64_t address, uint64_t bytes);
void pleat_virtio_mem_online(void *context, uint64_t address, uint64_t bytes, pleat_memory_give_fn *give,
                             void *give_context);
void pleat_virtio_mem_offline(void *context, uint64_t address, uint64_t bytes);

/* --- plug.c ----------------------------------------------------------------------------------------------
 */

enum outcome pleat_virtio_mem_grow(struct pleat_virtio_mem_driver *driver);

/* --- unplug.c --------------------------------------------------------------------------------------------
 */

enum outcome pleat_virtio_mem_shrink(struct pleat_virtio_mem_driver *driver);
void pleat_virtio_mem_hunt_begin(struct pleat_virtio_mem_driver *driver);
/** The take in driver->take couldn't begin, or has failed. */
void pleat_virtio_mem_hunt_failed(struct pleat_virtio_mem_driver *driver, int error,
                                  const struct pleat_memory_report *report);

/* --- take.c ----------------------------------------------------------------------------------------------
 */

/** Starts a take; what it was doing is in driver->take. On an error nothing has begun. */
int pleat_virtio_mem_take_units(struct pleat_virtio_mem_driver *driver, uint64_t unit, uint64_t units);
int pleat_virtio_mem_take_subs(struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t sub,
                               uint32_t subs);
enum outcome pleat_virtio_mem_take_advance(struct pleat_virtio_mem_driver *driver);
/** How far the take is that goes on; zeroes if none does. */
void pleat_virtio_mem_take_progress(const struct pleat_virtio_mem_driver *driver,
                                    struct pleat_memory_report *report);
void pleat_virtio_mem_take_cancel(struct pleat_virtio_mem_driver *driver);
/** Removes an offline unit from the guest, or some of its subblocks from what goes online with it. */
bool pleat_virtio_mem_remove_offline(struct pleat_virtio_mem_driver *driver, uint64_t unit);
bool pleat_virtio_mem_withhold_offline(struct pleat_virtio_mem_driver *driver, uint64_t unit, uint32_t sub,
                                       uint32_t subs);

/* --- reason.c --------------------------------------------------------------------------------------------
 */

void pleat_virtio_mem_log(struct pleat_virtio_mem_driver *driver, enum pleat_log_level level,
                          const char *line);
void pleat_virtio_mem_log_stop(struct pleat_virtio_mem_driver *driver, const struct stop *stop);
void pleat_virtio_mem_stop_text(const struct pleat_virtio_mem_driver *driver, const struct stop *stop,
                                char *text, size_t text_bytes);

#endif
