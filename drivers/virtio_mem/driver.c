/* SPDX-License-Identifier: MIT
 *
 * The virtio-mem driver's outside: how an instance is laid out in its storage, and the step. A step looks at
 * what has happened since the last one, then does one thing after the other until its budget is used up or
 * there is nothing to do but wait:
 *
 *     a request is in flight       look for its response               request.c
 *     the device is resetting      wait for it, then start it          life.c
 *     all is to be unplugged       UNPLUG_ALL                          adopt.c
 *     what is plugged isn't known  STATE                               adopt.c
 *     a take goes on               one step of it                      take.c
 *     something is loose           make it ready, or unplug it         settle.c
 *     too little, too much         find where to plug, what to take    plug.c, unplug.c
 */
#include "driver.h"

#define DEFAULT_FLOOR_BYTES         (UINT64_C(64) << 20)
#define DEFAULT_OFFLINE_LIMIT_BYTES (UINT64_C(1) << 30) /* Linux: VIRTIO_MEM_DEFAULT_OFFLINE_THRESHOLD */
#define DEFAULT_OFFLINE_LIMIT_UNITS 2                   /* "at least two memory blocks", likewise */
#define DEFAULT_RESPONSE_TIMEOUT_NS UINT64_C(30000000000)
#define DEFAULT_TAKE_TIMEOUT_NS     UINT64_C(10000000000)
#define DEFAULT_RETRY_FIRST_NS      UINT64_C(50000000)
#define DEFAULT_RETRY_LONGEST_NS    UINT64_C(30000000000)
#define DEFAULT_RESETS_MAX          5
#define DEFAULT_BUDGET_BYTES        (UINT64_C(4) << 20)

/* --- Storage ---------------------------------------------------------------------------------------------
 */

/** Offsets of the parts of the storage, each on a line of its own. */
struct layout {
    uint64_t units;
    uint64_t plugged;
    uint64_t ready;
    uint64_t ring;
    uint64_t end;
};

static uint64_t line_up(uint64_t offset)
{
    const uint64_t line = PLEAT_VIRTIO_MEM_DRIVER_ALIGNMENT;
    return offset > UINT64_MAX - line ? UINT64_MAX : (offset + line - 1) / line * line;
}

/* Sizes of a hostile device: no sum here may wrap. Each term is below 2^63 because a unit is 4 KiB at least
 * in all but absurd memories, and those are refused by the first test. */
static bool lay_out(const struct geometry *geometry, struct layout *layout)
{
    size_t shared_bytes;
    size_t ring_bytes;
    const uint64_t most = UINT64_C(1) << 58;
    if (geometry->region_blocks > most || geometry->units > most / geometry->subs_per_unit) {
        return false;
    }
    pleat_virtio_mem_ring_needs(&shared_bytes, &ring_bytes);
    layout->units = line_up(sizeof(struct pleat_virtio_mem_driver));
    layout->plugged = line_up(layout->units + geometry->units * sizeof(struct unit));
    layout->ready = line_up(layout->plugged + 8 * pleat_virtio_mem_bitmap_words(geometry->region_blocks));
    layout->ring =
        line_up(layout->ready + 8 * pleat_virtio_mem_bitmap_words(geometry->units * geometry->subs_per_unit));
    layout->end = line_up(layout->ring + ring_bytes);
    return layout->end <= SIZE_MAX / 2;
}

size_t pleat_virtio_mem_driver_storage_bytes(const struct pleat_memory *memory, uint64_t block_bytes,
                                             uint64_t region_bytes)
{
    /* At address 0 the most units fit. */
    const struct device_config device = {.block_bytes = block_bytes, .region_bytes = region_bytes};
    struct pleat_memory anywhere = *memory;
    struct geometry geometry;
    struct layout layout;
    anywhere.highest_address = 0;
    if (pleat_virtio_mem_config_flaw(&device) != NULL ||
        pleat_virtio_mem_geometry(&anywhere, PLEAT_MEMMAP_NORMAL, &device, &geometry) < 0 ||
        !lay_out(&geometry, &layout)) {
        return 0;
    }
    return (size_t)layout.end;
}

size_t pleat_virtio_mem_driver_shared_bytes(void)
{
    size_t shared_bytes;
    size_t private_bytes;
    pleat_virtio_mem_ring_needs(&shared_bytes, &private_bytes);
    return shared_bytes;
}

static int read_checked(const struct pleat_virtio_transport *transport, struct device_config *device)
{
    if (transport->ops->device_id(transport->context) != PLEAT_VIRTIO_MEM_DEVICE_ID) {
        return PLEAT_E_UNSUPPORTED;
    }
    const int error = pleat_virtio_mem_config_read(transport, device);
    if (error < 0) {
        return error == PLEAT_E_BUSY ? PLEAT_E_BUSY : PLEAT_E_PROTOCOL;
    }
    return pleat_virtio_mem_config_flaw(device) == NULL ? 0 : PLEAT_E_PROTOCOL;
}

int pleat_virtio_mem_driver_measure(const struct pleat_virtio_transport *transport,
                                    const struct pleat_memory *memory,
                                    struct pleat_virtio_mem_driver_needs *needs)
{
    struct device_config device;
    const int error = read_checked(transport, &device);
    if (error < 0) {
        return error;
    }
    const size_t storage_bytes =
        pleat_virtio_mem_driver_storage_bytes(memory, device.block_bytes, device.region_bytes);
    if (storage_bytes == 0) {
        return PLEAT_E_NO_MEMORY;
    }
    *needs = (struct pleat_virtio_mem_driver_needs){.storage_bytes = storage_bytes,
                                                    .shared_bytes = pleat_virtio_mem_driver_shared_bytes(),
                                                    .region_address = device.address,
                                                    .region_bytes = device.region_bytes,
                                                    .block_bytes = device.block_bytes};
    return 0;
}

/* --- Create ----------------------------------------------------------------------------------------------
 */

static uint64_t or_default(uint64_t value, uint64_t otherwise)
{
    return value == 0 ? otherwise : value;
}

static void fill_defaults(struct pleat_virtio_mem_driver_config *config, const struct geometry *geometry)
{
    const uint64_t units = DEFAULT_OFFLINE_LIMIT_UNITS * geometry->unit_bytes;
    const uint64_t offline = units > DEFAULT_OFFLINE_LIMIT_BYTES ? units : DEFAULT_OFFLINE_LIMIT_BYTES;
    config->name = config->name == NULL ? "virtio-mem" : config->name;
    config->floor_bytes = or_default(config->floor_bytes, DEFAULT_FLOOR_BYTES);
    config->offline_limit_bytes = or_default(config->offline_limit_bytes, offline);
    config->response_timeout_ns = or_default(config->response_timeout_ns, DEFAULT_RESPONSE_TIMEOUT_NS);
    config->take_timeout_ns = or_default(config->take_timeout_ns, DEFAULT_TAKE_TIMEOUT_NS);
    config->retry_first_ns = or_default(config->retry_first_ns, DEFAULT_RETRY_FIRST_NS);
    config->retry_longest_ns = or_default(config->retry_longest_ns, DEFAULT_RETRY_LONGEST_NS);
    config->resets_max = config->resets_max == 0 ? DEFAULT_RESETS_MAX : config->resets_max;
}

static bool is_aligned(uint64_t address)
{
    return address % PLEAT_VIRTIO_MEM_DRIVER_ALIGNMENT == 0;
}

static bool memory_is_whole(const struct pleat_memory *memory)
{
    const struct pleat_memory_ops *ops = memory->ops;
    const bool takes = ops->take_begin != NULL;
    return ops->add != NULL && ops->give != NULL && ops->block_state != NULL && memory->nodes > 0 &&
           (ops->map == NULL) == (ops->unmap == NULL) &&
           (!takes || (ops->take_step != NULL && ops->take_cancel != NULL && ops->take_report != NULL &&
                       ops->look != NULL));
}

static bool config_is_whole(const struct pleat_virtio_mem_driver_config *config)
{
    return config->memory != NULL && config->transport != NULL && config->storage != NULL &&
           config->shared != NULL && is_aligned((uintptr_t)config->storage) &&
           is_aligned((uintptr_t)config->shared) && is_aligned(config->shared_physical) &&
           memory_is_whole(config->memory) && config->node < config->memory->nodes &&
           config->start <= PLEAT_VIRTIO_MEM_START_UNPLUG_ALL;
}

static void say_what_is_left_out(struct pleat_virtio_mem_driver *driver)
{
    const struct geometry *g = &driver->geometry;
    if (g->units * g->unit_bytes < g->region_bytes) {
        pleat_virtio_mem_log(driver, PLEAT_LOG_WARNING,
                             g->units == 0
                                 ? "no whole memory block lies in the region: nothing of it can be used"
                                 : "the region isn't aligned to memory blocks: its ends aren't used");
    }
}

int pleat_virtio_mem_driver_create(const struct pleat_virtio_mem_driver_config *config,
                                   struct pleat_virtio_mem_driver **created)
{
    struct device_config device;
    struct geometry geometry;
    struct layout layout;
    if (!config_is_whole(config)) {
        return PLEAT_E_INVALID;
    }
    int error = read_checked(config->transport, &device);
    if (error == 0) {
        error = pleat_virtio_mem_geometry(config->memory, config->memmap_mode, &device, &geometry);
    }
    if (error < 0) {
        return error;
    }
    if (!lay_out(&geometry, &layout) || layout.end > config->storage_bytes ||
        pleat_virtio_mem_driver_shared_bytes() > config->shared_bytes) {
        return PLEAT_E_INVALID;
    }
    uint8_t *storage = config->storage;
    __builtin_memset(storage, 0, (size_t)layout.end);
    struct pleat_virtio_mem_driver *driver = config->storage;
    driver->config = *config;
    driver->geometry = geometry;
    driver->device = device;
    fill_defaults(&driver->config, &geometry);
    driver->owner = (struct pleat_memory_owner){
        .context = driver, .online = pleat_virtio_mem_online, .offline = pleat_virtio_mem_offline};
    driver->units = (struct unit *)(storage + layout.units);
    driver->plugged = (uint64_t *)(storage + layout.plugged);
    driver->ready = (_Atomic uint64_t *)(storage + layout.ready);
    driver->ring_memory.private_storage = storage + layout.ring;
    driver->ring_memory.private_bytes = (size_t)(layout.end - layout.ring);
    pleat_virtio_mem_place_buffers(driver);
    pleat_virtio_mem_read_clock(driver);
    pleat_virtio_mem_reset(driver);
    say_what_is_left_out(driver);
    BOOKS_CHECK(driver);
    *created = driver;
    return 0;
}

/* --- The step --------------------------------------------------------------------------------------------
 */

/* The device's count against the books, whenever something was plugged or unplugged and work is done. */
static enum outcome compare(struct pleat_virtio_mem_driver *driver)
{
    driver->verify = false;
    if (pleat_virtio_mem_config_refresh(driver) == MUST_WAIT) {
        driver->verify = true;
        return MUST_WAIT;
    }
    if (driver->phase != PLEAT_VIRTIO_MEM_WORKING) {
        return DONE_SOMETHING;
    }
    if (driver->device.plugged_bytes == pleat_virtio_mem_plugged_bytes(driver)) {
        driver->contradictions = 0;
        return DONE_SOMETHING;
    }
    if (++driver->contradictions > CONTRADICTIONS_MAX) {
        pleat_virtio_mem_log(driver, PLEAT_LOG_WARNING, "plugged_size contradicts what STATE says");
        driver->contradictions = 0;
        return DONE_SOMETHING;
    }
    pleat_virtio_mem_ask_all(driver);
    pleat_virtio_mem_set_phase(driver, PLEAT_VIRTIO_MEM_ASKING);
    return DONE_SOMETHING;
}

static enum outcome at_target(struct pleat_virtio_mem_driver *driver)
{
    if (driver->verify) {
        return compare(driver);
    }
    if (driver->detach == DETACH_GIVING_BACK && driver->units_added == 0) {
        driver->detach = DETACH_LEAVING;
        return DONE_SOMETHING;
    }
    pleat_virtio_mem_pause_end(&driver->guest_pause);
    return MUST_WAIT;
}

static enum outcome stopped(struct pleat_virtio_mem_driver *driver)
{
    if (driver->verify) {
        return compare(driver);
    }
    if (!pleat_virtio_mem_timer_due(driver, &driver->stop_timer)) {
        return pleat_virtio_mem_wait_for(driver, &driver->stop_timer);
    }
    pleat_virtio_mem_resume(driver);
    return DONE_SOMETHING;
}

static enum outcome work(struct pleat_virtio_mem_driver *driver)
{
    if (driver->take.active) {
        return pleat_virtio_mem_take_advance(driver);
    }
    const enum outcome outcome = pleat_virtio_mem_settle(driver);
    if (outcome != NOTHING_TO_DO) {
        return outcome;
    }
    if (driver->stopped) {
        return stopped(driver);
    }
    const uint64_t target = pleat_virtio_mem_target_bytes(driver);
    const uint64_t plugged = pleat_virtio_mem_plugged_bytes(driver);
    if (plugged == target) {
        return at_target(driver);
    }
    return plugged < target ? pleat_virtio_mem_grow(driver) : pleat_virtio_mem_shrink(driver);
}

static enum outcome advance(struct pleat_virtio_mem_driver *driver)
{
    const bool over =
        driver->phase == PLEAT_VIRTIO_MEM_GIVEN_UP || driver->phase == PLEAT_VIRTIO_MEM_DETACHED;
    if (driver->detach == DETACH_LEAVING && driver->phase != PLEAT_VIRTIO_MEM_RESETTING &&
        !driver->in_flight) {
        pleat_virtio_mem_reset(driver);
        return DONE_SOMETHING;
    }
    if (over) {
        return MUST_WAIT;
    }
    if (driver->phase == PLEAT_VIRTIO_MEM_RESETTING) {
        return pleat_virtio_mem_reset_advance(driver);
    }
    if (driver->config_pending && !pleat_virtio_mem_timer_running(driver, &driver->config_timer)) {
        return pleat_virtio_mem_config_refresh(driver);
    }
    if (driver->in_flight) {
        return pleat_virtio_mem_receive(driver);
    }
    if (driver->config_pending) {
        return pleat_virtio_mem_wait_for(driver, &driver->config_timer);
    }
    switch (driver->phase) {
    case PLEAT_VIRTIO_MEM_CLEARING:
        return pleat_virtio_mem_clear_advance(driver);
    case PLEAT_VIRTIO_MEM_ASKING:
        return pleat_virtio_mem_ask_advance(driver);
    default:
        return work(driver);
    }
}

static void look_at_flags(struct pleat_virtio_mem_driver *driver)
{
    const uint32_t flags = atomic_exchange(&driver->flags, 0);
    if ((flags & FLAG_CONFIG) != 0) {
        driver->config_pending = true;
        driver->config_timer.set = false;
    }
    if ((flags & FLAG_MEMORY) != 0 && driver->stopped) {
        driver->stop.reason = PLEAT_VIRTIO_MEM_REASON_NONE;
        pleat_virtio_mem_resume(driver);
    }
}

static enum pleat_virtio_mem_wake when_again(const struct pleat_virtio_mem_driver *driver,
                                             enum outcome outcome)
{
    if (outcome != MUST_WAIT || atomic_load(&driver->flags) != 0) {
        return PLEAT_VIRTIO_MEM_WAKE_NOW;
    }
    if (driver->phase == PLEAT_VIRTIO_MEM_GIVEN_UP || driver->phase == PLEAT_VIRTIO_MEM_DETACHED) {
        return PLEAT_VIRTIO_MEM_WAKE_NEVER;
    }
    return driver->wake.set ? PLEAT_VIRTIO_MEM_WAKE_AT_TIME : PLEAT_VIRTIO_MEM_WAKE_ON_INTERRUPT;
}

enum pleat_virtio_mem_wake pleat_virtio_mem_driver_step(struct pleat_virtio_mem_driver *driver,
                                                        uint64_t budget_bytes)
{
    const uint64_t budget = or_default(budget_bytes, DEFAULT_BUDGET_BYTES);
    enum outcome outcome;
    driver->statistics.steps++;
    driver->budget = budget < INT64_MAX ? (int64_t)budget : INT64_MAX;
    driver->wake.set = false;
    pleat_virtio_mem_read_clock(driver);
    const uint64_t begin_ns = driver->now_ns;
    look_at_flags(driver);
    do {
        outcome = advance(driver);
        BOOKS_CHECK(driver);
        pleat_virtio_mem_read_clock(driver);
    } while (outcome == DONE_SOMETHING && driver->budget > 0);
    const uint64_t length_ns = driver->now_ns - begin_ns;
    if (length_ns > driver->statistics.longest_step_ns) {
        driver->statistics.longest_step_ns = length_ns;
    }
    return when_again(driver, outcome);
}

uint64_t pleat_virtio_mem_driver_wake_ns(const struct pleat_virtio_mem_driver *driver)
{
    return driver->config.memory->ops->clock_ns == NULL ? 0 : driver->wake.at_ns;
}

static void raise_flags(struct pleat_virtio_mem_driver *driver, uint32_t flags)
{
    atomic_fetch_or(&driver->flags, flags);
    if (driver->config.wake != NULL) {
        driver->config.wake(driver->config.context);
    }
}

void pleat_virtio_mem_driver_interrupt(struct pleat_virtio_mem_driver *driver, uint32_t causes)
{
    const uint32_t config = (causes & PLEAT_VIRTIO_INTERRUPT_CONFIG) != 0 ? FLAG_CONFIG : 0;
    const uint32_t queue = (causes & PLEAT_VIRTIO_INTERRUPT_QUEUE) != 0 ? FLAG_QUEUE : 0;
    if ((config | queue) != 0) {
        raise_flags(driver, config | queue);
    }
}

void pleat_virtio_mem_driver_memory_changed(struct pleat_virtio_mem_driver *driver)
{
    raise_flags(driver, FLAG_MEMORY);
}

/* --- Questions -------------------------------------------------------------------------------------------
 */

void pleat_virtio_mem_driver_statistics(const struct pleat_virtio_mem_driver *driver,
                                        struct pleat_virtio_mem_statistics *statistics)
{
    struct pleat_memory_report take;
    *statistics = driver->statistics;
    pleat_virtio_mem_take_progress(driver, &take);
    statistics->moved_bytes += take.bytes_moved;
}

void pleat_virtio_mem_driver_status(const struct pleat_virtio_mem_driver *driver,
                                    struct pleat_virtio_mem_status *status)
{
    const struct geometry *g = &driver->geometry;
    struct pleat_memory_report take;
    pleat_virtio_mem_take_progress(driver, &take);
    *status = (struct pleat_virtio_mem_status){
        .phase = driver->phase,
        .detaching = driver->detach == DETACH_GIVING_BACK || driver->detach == DETACH_LEAVING,
        .in_flight = driver->in_flight,
        .evacuating = driver->take.active,
        .evacuating_bytes = take.bytes_total,
        .evacuating_moved_bytes = take.bytes_moved,
        .features = driver->features,
        .node = driver->node,
        .region_address = g->region_address,
        .region_bytes = g->region_bytes,
        .usable_bytes = driver->device.usable_bytes,
        .requested_bytes = driver->device.requested_bytes,
        .target_bytes = pleat_virtio_mem_target_bytes(driver),
        .plugged_bytes = pleat_virtio_mem_plugged_bytes(driver),
        .ready_bytes = pleat_virtio_mem_ready_bytes(driver),
        .block_bytes = g->block_bytes,
        .subblock_bytes = g->sub_bytes,
        .unit_bytes = g->unit_bytes,
        .first_unit_address = g->first_unit_address,
        .units = g->units,
        .units_added = driver->units_added,
        .units_loose = driver->units_loose,
    };
    for (uint64_t unit = 0; unit < g->units; unit++) {
        if (pleat_virtio_mem_unit_state(driver, unit) == UNIT_OFFLINE) {
            status->offline_bytes += driver->units[unit].ready_subs * g->sub_bytes;
        }
    }
}

bool pleat_virtio_mem_driver_is_plugged(const struct pleat_virtio_mem_driver *driver, uint64_t address)
{
    const struct geometry *g = &driver->geometry;
    return address >= g->region_address && address - g->region_address < g->region_bytes &&
           pleat_virtio_mem_block_plugged(driver, (address - g->region_address) / g->block_bytes);
}

int pleat_virtio_mem_driver_may_suspend(const struct pleat_virtio_mem_driver *driver)
{
    const bool persistent = driver->features >> PLEAT_VIRTIO_MEM_F_PERSISTENT_SUSPEND & 1;
    const bool in_doubt = driver->in_flight || driver->question.next < driver->question.end;
    const bool none_plugged = driver->plugged_blocks == 0 && driver->device.plugged_bytes == 0 && !in_doubt;
    return none_plugged || persistent ? 0 : PLEAT_E_REFUSED;
}

/* --- Detach ----------------------------------------------------------------------------------------------
 */

int pleat_virtio_mem_driver_detach_begin(struct pleat_virtio_mem_driver *driver,
                                         enum pleat_virtio_mem_detach how)
{
    if (driver->phase == PLEAT_VIRTIO_MEM_DETACHED ||
        (how == PLEAT_VIRTIO_MEM_DETACH_GIVE_BACK && driver->phase == PLEAT_VIRTIO_MEM_GIVEN_UP)) {
        return PLEAT_E_STATE;
    }
    driver->detach = how == PLEAT_VIRTIO_MEM_DETACH_LEAVE ? DETACH_LEAVING : DETACH_GIVING_BACK;
    pleat_virtio_mem_resume(driver);
    return 0;
}

int pleat_virtio_mem_driver_detach_result(const struct pleat_virtio_mem_driver *driver, char *text,
                                          size_t text_bytes)
{
    if (text != NULL && text_bytes > 0) {
        *text = '\0';
    }
    switch (driver->detach) {
    case DETACH_GIVING_BACK:
    case DETACH_LEAVING:
        return PLEAT_MORE;
    case DETACH_DONE:
        return 0;
    case DETACH_REFUSED:
        pleat_virtio_mem_stop_text(driver, &driver->detach_stop, text, text_bytes);
        return PLEAT_E_REFUSED;
    case DETACH_GAVE_UP:
        pleat_virtio_mem_stop_text(driver, &driver->detach_stop, text, text_bytes);
        return PLEAT_E_DEVICE;
    default:
        return PLEAT_E_STATE;
    }
}

int pleat_virtio_mem_driver_detach_cancel(struct pleat_virtio_mem_driver *driver)
{
    if (driver->detach != DETACH_GIVING_BACK) {
        return PLEAT_E_STATE;
    }
    driver->detach = DETACH_NOT_BEGUN;
    pleat_virtio_mem_resume(driver);
    return 0;
}

int pleat_virtio_mem_driver_attach(struct pleat_virtio_mem_driver *driver)
{
    if (driver->phase != PLEAT_VIRTIO_MEM_GIVEN_UP && driver->phase != PLEAT_VIRTIO_MEM_DETACHED) {
        return PLEAT_E_STATE;
    }
    driver->detach = DETACH_NOT_BEGUN;
    driver->device_stop.reason = PLEAT_VIRTIO_MEM_REASON_NONE;
    driver->resets_in_row = 0;
    driver->errors_in_row = 0;
    driver->state_errors = 0;
    driver->contradictions = 0;
    driver->flags = 0;
    pleat_virtio_mem_pause_end(&driver->device_pause);
    pleat_virtio_mem_ask_all(driver);
    pleat_virtio_mem_reset(driver);
    BOOKS_CHECK(driver);
    return 0;
}
