/* SPDX-License-Identifier: MIT
 *
 * The driver's life: reset, start, pauses, stops, and the end.
 *
 * Whatever can't be trusted about the device ends in a reset, because until a reset has completed the
 * device owns the buffers. Blocks keep their state over it (D-INIT2), so the guest's memory isn't touched:
 * only what the last request was about is in doubt, and STATE tells. A device that needs too many resets in
 * a row, without granting anything in between, is given up; memory that is in use stays in use.
 */
#include "driver.h"

void pleat_virtio_mem_set_phase(struct pleat_virtio_mem_driver *driver, enum pleat_virtio_mem_phase phase)
{
    if (driver->phase != phase) {
        driver->phase = phase;
        pleat_virtio_mem_log(driver, PLEAT_LOG_DEBUG, pleat_virtio_mem_phase_text(phase));
    }
}

/* --- Reset -----------------------------------------------------------------------------------------------
 */

/* The request may have been carried out or not. */
void pleat_virtio_mem_doubt_request(struct pleat_virtio_mem_driver *driver)
{
    if (driver->request.type == PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL) {
        pleat_virtio_mem_ask_all(driver);
    } else {
        pleat_virtio_mem_ask(driver, driver->request.first_block,
                             driver->request.first_block + driver->request.blocks);
    }
}

void pleat_virtio_mem_reset(struct pleat_virtio_mem_driver *driver)
{
    pleat_virtio_mem_take_cancel(driver);
    if (driver->in_flight) {
        driver->statistics.requests[driver->request.type][PLEAT_VIRTIO_MEM_ANSWER_NONE]++;
        pleat_virtio_mem_doubt_request(driver);
        driver->in_flight = false;
    }
    driver->reset_asked = false;
    pleat_virtio_mem_set_phase(driver, PLEAT_VIRTIO_MEM_RESETTING);
}

void pleat_virtio_mem_give_up(struct pleat_virtio_mem_driver *driver, enum pleat_virtio_mem_reason reason,
                              const char *detail)
{
    const struct pleat_virtio_transport *transport = driver->config.transport;
    pleat_virtio_mem_reset(driver);
    driver->device_stop = (struct stop){.reason = reason, .detail = detail};
    if (driver->detach == DETACH_GIVING_BACK) {
        driver->detach = DETACH_GAVE_UP;
        driver->detach_stop = driver->device_stop;
    }
    transport->ops->add_status(transport->context, PLEAT_VIRTIO_STATUS_FAILED);
    pleat_virtio_mem_set_phase(driver, PLEAT_VIRTIO_MEM_GIVEN_UP);
    pleat_virtio_mem_log_stop(driver, &driver->device_stop);
}

void pleat_virtio_mem_fault(struct pleat_virtio_mem_driver *driver, enum pleat_virtio_mem_reason reason,
                            const char *detail)
{
    if (++driver->resets_in_row > driver->config.resets_max) {
        pleat_virtio_mem_give_up(driver, reason, detail);
        return;
    }
    driver->device_stop = (struct stop){.reason = reason, .detail = detail};
    pleat_virtio_mem_log_stop(driver, &driver->device_stop);
    if (driver->resets_in_row > 1) {
        pleat_virtio_mem_pause(driver, &driver->device_pause);
    }
    pleat_virtio_mem_reset(driver);
}

static uint64_t wanted_features(const struct pleat_virtio_mem_driver *driver)
{
    const uint64_t known = PLEAT_VIRTIO_F_VERSION_1 | PLEAT_VIRTIO_F_RING_PACKED | PLEAT_VIRTIO_F_EVENT_IDX |
                           PLEAT_VIRTIO_F_ACCESS_PLATFORM | UINT64_C(1) << PLEAT_VIRTIO_MEM_F_ACPI_PXM |
                           UINT64_C(1) << PLEAT_VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE |
                           UINT64_C(1) << PLEAT_VIRTIO_MEM_F_PERSISTENT_SUSPEND;
    return known & ~driver->config.features_refused;
}

static void choose_node(struct pleat_virtio_mem_driver *driver)
{
    int node = (int)driver->config.node;
    if ((driver->features >> PLEAT_VIRTIO_MEM_F_ACPI_PXM & 1) != 0) {
        const unsigned proximity = (unsigned)driver->device.node;
        node = driver->config.node_of_proximity != NULL
                   ? driver->config.node_of_proximity(driver->config.context, proximity)
                   : (int)proximity;
    }
    if (node < 0 || (unsigned)node >= driver->config.memory->nodes) {
        pleat_virtio_mem_log(driver, PLEAT_LOG_WARNING, "the device's node doesn't exist here");
        node = (int)driver->config.node;
    }
    driver->node = (unsigned)node;
}

static void go_on(struct pleat_virtio_mem_driver *driver)
{
    const bool first = !driver->started;
    driver->started = true;
    if (first && driver->config.start == PLEAT_VIRTIO_MEM_START_UNPLUG_ALL &&
        driver->device.plugged_bytes != 0) {
        driver->clear_wanted = true;
    }
    if (driver->question.next >= driver->question.end &&
        driver->device.plugged_bytes != pleat_virtio_mem_plugged_bytes(driver)) {
        pleat_virtio_mem_ask_all(driver);
    }
    if (driver->clear_wanted) {
        pleat_virtio_mem_set_phase(driver, PLEAT_VIRTIO_MEM_CLEARING);
    } else if (driver->question.next < driver->question.end) {
        pleat_virtio_mem_set_phase(driver, PLEAT_VIRTIO_MEM_ASKING);
    } else {
        pleat_virtio_mem_set_phase(driver, PLEAT_VIRTIO_MEM_WORKING);
    }
    pleat_virtio_mem_resume(driver);
}

/* VIRTIO 3.1.1, from step 2 on. */
static void start(struct pleat_virtio_mem_driver *driver)
{
    const struct pleat_virtio_transport *transport = driver->config.transport;
    driver->plug_refused = false;
    driver->unplug_refused = false;
    if (pleat_virtio_negotiate(transport, wanted_features(driver), 0, &driver->features) < 0) {
        pleat_virtio_mem_give_up(driver, PLEAT_VIRTIO_MEM_REASON_UNSUPPORTED, "no agreement about features");
        return;
    }
    (void)pleat_virtio_mem_config_refresh(driver);
    if (driver->phase != PLEAT_VIRTIO_MEM_RESETTING || !driver->reset_asked) {
        return;
    }
    if (driver->config_pending) {
        pleat_virtio_mem_fault(driver, PLEAT_VIRTIO_MEM_REASON_CONFIG, "it keeps changing");
        return;
    }
    if (pleat_virtio_mem_queue_prepare(driver) < 0) {
        pleat_virtio_mem_give_up(driver, PLEAT_VIRTIO_MEM_REASON_UNSUPPORTED, "the queue can't be set up");
        return;
    }
    transport->ops->add_status(transport->context, PLEAT_VIRTIO_STATUS_DRIVER_OK);
    /* What changed since it was read: before DRIVER_OK a device doesn't interrupt. */
    driver->config_pending = true;
    driver->config_timer.set = false;
    choose_node(driver);
    go_on(driver);
}

static void reset_is_complete(struct pleat_virtio_mem_driver *driver)
{
    if (driver->detach == DETACH_LEAVING) {
        driver->detach = DETACH_DONE;
        pleat_virtio_mem_set_phase(driver, PLEAT_VIRTIO_MEM_DETACHED);
        return;
    }
    start(driver);
}

enum outcome pleat_virtio_mem_reset_advance(struct pleat_virtio_mem_driver *driver)
{
    const struct pleat_virtio_transport *transport = driver->config.transport;
    driver->budget -= ACTION_BYTES;
    if (!driver->reset_asked) {
        if (driver->detach != DETACH_LEAVING &&
            pleat_virtio_mem_timer_running(driver, &driver->device_pause.timer)) {
            return pleat_virtio_mem_wait_for(driver, &driver->device_pause.timer);
        }
        driver->reset_asked = true;
        driver->statistics.resets += driver->started;
        pleat_virtio_mem_timeout_start(driver, &driver->reset_timeout, driver->config.response_timeout_ns);
        transport->ops->reset_begin(transport->context);
    }
    if (transport->ops->reset_poll(transport->context) == 0) {
        reset_is_complete(driver);
        return DONE_SOMETHING;
    }
    /* However long it takes: the buffers are the device's until then. */
    if (pleat_virtio_mem_timer_due(driver, &driver->reset_timeout)) {
        driver->reset_timeout.set = false;
        driver->device_stop =
            (struct stop){.reason = PLEAT_VIRTIO_MEM_REASON_SILENT, .detail = "it doesn't complete a reset"};
        pleat_virtio_mem_log_stop(driver, &driver->device_stop);
    }
    struct timer again;
    pleat_virtio_mem_timer_start(driver, &again, RESET_POLL_NS);
    return pleat_virtio_mem_wait_for(driver, &again);
}

/* --- Pauses and stops ------------------------------------------------------------------------------------
 */

void pleat_virtio_mem_granted(struct pleat_virtio_mem_driver *driver)
{
    driver->verify = true;
    driver->resets_in_row = 0;
    driver->errors_in_row = 0;
    pleat_virtio_mem_device_calm(driver);
}

void pleat_virtio_mem_device_calm(struct pleat_virtio_mem_driver *driver)
{
    pleat_virtio_mem_pause_end(&driver->device_pause);
    if (driver->resets_in_row == 0) {
        driver->device_stop.reason = PLEAT_VIRTIO_MEM_REASON_NONE;
    }
}

void pleat_virtio_mem_device_pause(struct pleat_virtio_mem_driver *driver,
                                   enum pleat_virtio_mem_reason reason)
{
    driver->device_stop = (struct stop){.reason = reason};
    pleat_virtio_mem_pause(driver, &driver->device_pause);
}

/* Each stop is said once, however often it is tried again. */
static void say_stop(struct pleat_virtio_mem_driver *driver)
{
    const struct stop *stop = &driver->stop;
    struct stop *said = &driver->said_stop;
    if (said->reason == stop->reason && said->at_bytes == stop->at_bytes &&
        said->wanted_bytes == stop->wanted_bytes) {
        return;
    }
    *said = *stop;
    pleat_virtio_mem_log_stop(driver, stop);
}

void pleat_virtio_mem_stop(struct pleat_virtio_mem_driver *driver, const struct stop *stop, bool again)
{
    driver->stop = *stop;
    driver->stop.at_bytes = pleat_virtio_mem_plugged_bytes(driver);
    driver->stop.wanted_bytes = pleat_virtio_mem_target_bytes(driver);
    driver->device_stop.reason = PLEAT_VIRTIO_MEM_REASON_NONE;
    say_stop(driver);
    if (driver->detach == DETACH_GIVING_BACK) {
        driver->detach = DETACH_REFUSED;
        driver->detach_stop = driver->stop;
        driver->stop.reason = PLEAT_VIRTIO_MEM_REASON_NONE;
        pleat_virtio_mem_resume(driver);
        return;
    }
    driver->stopped = true;
    driver->stop_timer.set = false;
    if (again) {
        pleat_virtio_mem_pause(driver, &driver->guest_pause);
        driver->stop_timer = driver->guest_pause.timer;
    }
}

void pleat_virtio_mem_resume(struct pleat_virtio_mem_driver *driver)
{
    driver->stopped = false;
    driver->outside_sour = false;
    driver->search = (struct search){0, 0, false};
    driver->hunt.begun = false;
    pleat_virtio_mem_forgive_units(driver, UINT8_MAX);
}
