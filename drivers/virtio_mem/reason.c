/* SPDX-License-Identifier: MIT
 *
 * What the driver says to people: phases and reasons in words, and the one line that tells why the guest
 * isn't at the size that is wanted, with the numbers that somebody needs who wants to change it.
 */
#include "../common/log.h"
#include "../common/text.h"
#include "driver.h"

/* --- Words -----------------------------------------------------------------------------------------------
 */

const char *pleat_virtio_mem_phase_text(enum pleat_virtio_mem_phase phase)
{
    switch (phase) {
    case PLEAT_VIRTIO_MEM_RESETTING:
        return "resetting the device";
    case PLEAT_VIRTIO_MEM_CLEARING:
        return "unplugging all";
    case PLEAT_VIRTIO_MEM_ASKING:
        return "asking what is plugged";
    case PLEAT_VIRTIO_MEM_WORKING:
        return "working";
    case PLEAT_VIRTIO_MEM_GIVEN_UP:
        return "given up";
    case PLEAT_VIRTIO_MEM_DETACHED:
        return "detached";
    default:
        return "unknown";
    }
}

const char *pleat_virtio_mem_reason_text(enum pleat_virtio_mem_reason reason)
{
    static const char *const texts[PLEAT_VIRTIO_MEM_REASONS] = {
        [PLEAT_VIRTIO_MEM_REASON_NONE] = "as requested",
        [PLEAT_VIRTIO_MEM_REASON_STARTING] = "starting",
        [PLEAT_VIRTIO_MEM_REASON_WORKING] = "on the way",
        [PLEAT_VIRTIO_MEM_REASON_NO_ROOM] = "no room in the usable region",
        [PLEAT_VIRTIO_MEM_REASON_REMAINDER] = "less than a subblock",
        [PLEAT_VIRTIO_MEM_REASON_OFFLINE] = "not onlined",
        [PLEAT_VIRTIO_MEM_REASON_NO_MEMORY] = "out of memory",
        [PLEAT_VIRTIO_MEM_REASON_FLOOR] = "floor of free memory",
        [PLEAT_VIRTIO_MEM_REASON_UNMOVABLE] = "unmovable",
        [PLEAT_VIRTIO_MEM_REASON_PINNED] = "pinned",
        [PLEAT_VIRTIO_MEM_REASON_REFUSED] = "refused by the guest",
        [PLEAT_VIRTIO_MEM_REASON_SLOW] = "evacuation too slow",
        [PLEAT_VIRTIO_MEM_REASON_PLUG_ONLY] = "plug only",
        [PLEAT_VIRTIO_MEM_REASON_BUSY] = "device busy",
        [PLEAT_VIRTIO_MEM_REASON_NACK] = "refused by the device",
        [PLEAT_VIRTIO_MEM_REASON_ERROR] = "device error",
        [PLEAT_VIRTIO_MEM_REASON_SILENT] = "device silent",
        [PLEAT_VIRTIO_MEM_REASON_CONFIG] = "impossible config",
        [PLEAT_VIRTIO_MEM_REASON_PROTOCOL] = "protocol broken",
        [PLEAT_VIRTIO_MEM_REASON_LOST] = "memory lost",
        [PLEAT_VIRTIO_MEM_REASON_UNSUPPORTED] = "unsupported",
        [PLEAT_VIRTIO_MEM_REASON_DETACHED] = "detached",
    };
    return (unsigned)reason < PLEAT_VIRTIO_MEM_REASONS ? texts[reason] : "unknown";
}

/* --- The line --------------------------------------------------------------------------------------------
 */

static uint64_t frame_bytes(const struct pleat_virtio_mem_driver *driver)
{
    const uint64_t bytes = driver->config.memory->frame_bytes;
    return bytes == 0 ? 4096 : bytes;
}

static void put_obstacle(struct pleat_fixed_text *text, const struct pleat_virtio_mem_driver *driver,
                         const struct stop *stop)
{
    const struct pleat_memory_report *report = &stop->report;
    const uint64_t frame = frame_bytes(driver);
    const uint64_t bytes =
        stop->reason == PLEAT_VIRTIO_MEM_REASON_PINNED ? report->bytes_pinned : report->bytes_unmovable;
    const uint64_t frames = (bytes + frame - 1) / frame;
    pleat_put_number(text, frames);
    pleat_put(text, frames == 1 ? " frame" : " frames");
    pleat_put(text, stop->reason == PLEAT_VIRTIO_MEM_REASON_PINNED ? " pinned" : " unmovable");
    if (report->bytes_unmovable == 0 && report->bytes_pinned == 0) {
        return;
    }
    if (report->obstacle_address != 0) {
        pleat_put(text, ", first at PFN 0x");
        pleat_put_hex(text, report->obstacle_address / frame);
    }
    if (report->obstacle_owner[0] != '\0') {
        pleat_put(text, ", owner \"");
        pleat_put(text, report->obstacle_owner);
        pleat_put(text, "\"");
    }
}

static void put_why(struct pleat_fixed_text *text, const struct pleat_virtio_mem_driver *driver,
                    const struct stop *stop)
{
    switch (stop->reason) {
    case PLEAT_VIRTIO_MEM_REASON_NO_ROOM:
        pleat_put(text, "no subblock is left to plug in ");
        pleat_put_bytes(text, driver->device.usable_bytes);
        pleat_put(text, " of usable region");
        break;
    case PLEAT_VIRTIO_MEM_REASON_REMAINDER:
        pleat_put(text, "the rest is less than can go at a time, ");
        pleat_put_bytes(text, stop->number_bytes);
        break;
    case PLEAT_VIRTIO_MEM_REASON_OFFLINE:
        pleat_put_bytes(text, stop->number_bytes);
        pleat_put(text, " are added and not online; online them first");
        break;
    case PLEAT_VIRTIO_MEM_REASON_NO_MEMORY:
        pleat_put(text, stop->growing ? "no room for metadata or page tables" : "nowhere to move content to");
        break;
    case PLEAT_VIRTIO_MEM_REASON_FLOOR:
        pleat_put(text, "the guest would have less than ");
        pleat_put_bytes(text, stop->number_bytes);
        pleat_put(text, " free");
        break;
    case PLEAT_VIRTIO_MEM_REASON_UNMOVABLE:
    case PLEAT_VIRTIO_MEM_REASON_PINNED:
        put_obstacle(text, driver, stop);
        break;
    case PLEAT_VIRTIO_MEM_REASON_REFUSED:
        pleat_put(text, "the guest refuses");
        if (stop->error < 0) {
            pleat_put(text, ": ");
            pleat_put(text, pleat_error_text(stop->error));
        }
        break;
    case PLEAT_VIRTIO_MEM_REASON_SLOW:
        pleat_put(text, "an evacuation met its deadline after ");
        pleat_put_bytes(text, stop->report.bytes_moved);
        pleat_put(text, " moved");
        break;
    case PLEAT_VIRTIO_MEM_REASON_PLUG_ONLY:
        pleat_put(text, "this guest can't take memory back");
        break;
    case PLEAT_VIRTIO_MEM_REASON_BUSY:
        pleat_put(text, "the device is busy");
        break;
    case PLEAT_VIRTIO_MEM_REASON_NACK:
        pleat_put(text, "the device refuses");
        break;
    case PLEAT_VIRTIO_MEM_REASON_ERROR:
        pleat_put(text, "the device answers with errors");
        break;
    default:
        pleat_put(text, pleat_virtio_mem_reason_text(stop->reason));
        break;
    }
    if (stop->detail != NULL) {
        pleat_put(text, ": ");
        pleat_put(text, stop->detail);
    }
}

static void put_sizes(struct pleat_fixed_text *text, uint64_t at_bytes, uint64_t wanted_bytes)
{
    pleat_put_bytes(text, at_bytes);
    pleat_put(text, " of ");
    pleat_put_bytes(text, wanted_bytes);
    pleat_put(text, " wanted");
}

/* A stop of the device's making names the sizes of now, one of the guest's making those of then. */
static bool is_device_stop(const struct pleat_virtio_mem_driver *driver, const struct stop *stop)
{
    return stop == &driver->device_stop;
}

void pleat_virtio_mem_stop_text(const struct pleat_virtio_mem_driver *driver, const struct stop *stop,
                                char *text, size_t text_bytes)
{
    struct pleat_fixed_text out = pleat_fixed_text_begin(text, text_bytes);
    if (is_device_stop(driver, stop)) {
        pleat_put(&out, driver->phase == PLEAT_VIRTIO_MEM_GIVEN_UP ? "given up at " : "held up at ");
        put_sizes(&out, pleat_virtio_mem_plugged_bytes(driver), pleat_virtio_mem_target_bytes(driver));
    } else {
        pleat_put(&out, stop->growing ? "growth stopped at " : "shrink stopped at ");
        put_sizes(&out, stop->at_bytes, stop->wanted_bytes);
    }
    pleat_put(&out, ": ");
    put_why(&out, driver, stop);
}

static void put_progress(struct pleat_fixed_text *text, const struct pleat_virtio_mem_driver *driver,
                         enum pleat_virtio_mem_reason reason)
{
    if (reason == PLEAT_VIRTIO_MEM_REASON_STARTING || reason == PLEAT_VIRTIO_MEM_REASON_DETACHED) {
        pleat_put(text, pleat_virtio_mem_phase_text(driver->phase));
        pleat_put(text, " at ");
        pleat_put_bytes(text, pleat_virtio_mem_plugged_bytes(driver));
        return;
    }
    pleat_put(text, pleat_virtio_mem_reason_text(reason));
    pleat_put(text, ": ");
    put_sizes(text, pleat_virtio_mem_plugged_bytes(driver), pleat_virtio_mem_target_bytes(driver));
}

static bool is_quiet(const struct pleat_virtio_mem_driver *driver)
{
    return driver->phase == PLEAT_VIRTIO_MEM_WORKING && !driver->in_flight &&
           driver->plugged_blocks == driver->ready_subs * driver->geometry.blocks_per_sub &&
           pleat_virtio_mem_plugged_bytes(driver) == driver->device.requested_bytes;
}

static const struct stop *current_stop(const struct pleat_virtio_mem_driver *driver)
{
    const bool held_up = driver->device_stop.reason != PLEAT_VIRTIO_MEM_REASON_NONE &&
                         driver->phase != PLEAT_VIRTIO_MEM_DETACHED && !is_quiet(driver);
    if (held_up) {
        return &driver->device_stop;
    }
    const struct stop *stop = &driver->stop;
    const bool holds = stop->reason != PLEAT_VIRTIO_MEM_REASON_NONE &&
                       stop->at_bytes == pleat_virtio_mem_plugged_bytes(driver) &&
                       stop->wanted_bytes == pleat_virtio_mem_target_bytes(driver) && !is_quiet(driver);
    return driver->phase == PLEAT_VIRTIO_MEM_WORKING && (driver->stopped || holds) ? stop : NULL;
}

static enum pleat_virtio_mem_reason reason_without_stop(const struct pleat_virtio_mem_driver *driver)
{
    if (driver->phase == PLEAT_VIRTIO_MEM_DETACHED) {
        return PLEAT_VIRTIO_MEM_REASON_DETACHED;
    }
    if (driver->phase != PLEAT_VIRTIO_MEM_WORKING) {
        return PLEAT_VIRTIO_MEM_REASON_STARTING;
    }
    return is_quiet(driver) ? PLEAT_VIRTIO_MEM_REASON_NONE : PLEAT_VIRTIO_MEM_REASON_WORKING;
}

enum pleat_virtio_mem_reason pleat_virtio_mem_driver_reason(const struct pleat_virtio_mem_driver *driver,
                                                            char *text, size_t text_bytes)
{
    const struct stop *stop = current_stop(driver);
    if (stop != NULL) {
        pleat_virtio_mem_stop_text(driver, stop, text, text_bytes);
        return stop->reason;
    }
    const enum pleat_virtio_mem_reason reason = reason_without_stop(driver);
    struct pleat_fixed_text out = pleat_fixed_text_begin(text, text_bytes);
    put_progress(&out, driver, reason);
    return reason;
}

/* --- The log ---------------------------------------------------------------------------------------------
 */

void pleat_virtio_mem_log(struct pleat_virtio_mem_driver *driver, enum pleat_log_level level,
                          const char *line)
{
    pleat_log_line(driver->config.memory, level, driver->config.name, line);
}

void pleat_virtio_mem_log_stop(struct pleat_virtio_mem_driver *driver, const struct stop *stop)
{
    char line[256];
    pleat_virtio_mem_stop_text(driver, stop, line, sizeof(line));
    pleat_virtio_mem_log(
        driver, driver->phase == PLEAT_VIRTIO_MEM_GIVEN_UP ? PLEAT_LOG_ERROR : PLEAT_LOG_WARNING, line);
}
