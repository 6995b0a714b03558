/* SPDX-License-Identifier: MIT
 *
 * What the driver says to people: phases and reasons in words, and the one line that tells why the guest
 * isn't at the size that is wanted, with the numbers that somebody needs who wants to change it.
 */
#include "driver.h"

/* --- Text, cut to what there is room for -----------------------------------------------------------------
 */

struct text {
    char *at;
    size_t left; /* with the NUL */
};

static void put_character(struct text *text, char character)
{
    if (text->left > 1) {
        *text->at++ = character;
        text->left--;
        *text->at = '\0';
    }
}

static void put(struct text *text, const char *string)
{
    while (*string != '\0') {
        put_character(text, *string++);
    }
}

static void put_number_of_base(struct text *text, uint64_t number, unsigned base)
{
    char digits[20];
    unsigned count = 0;
    do {
        digits[count++] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number > 0);
    while (count > 0) {
        put_character(text, digits[--count]);
    }
}

static void put_number(struct text *text, uint64_t number)
{
    put_number_of_base(text, number, 10);
}

/* In the largest unit that says it exactly. */
static void put_bytes(struct text *text, uint64_t bytes)
{
    static const char *const units[] = {" bytes", " KiB", " MiB", " GiB", " TiB"};
    unsigned unit = 0;
    while (unit < 4 && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    put_number(text, bytes);
    put(text, units[unit]);
}

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

static void put_obstacle(struct text *text, const struct pleat_virtio_mem_driver *driver,
                         const struct stop *stop)
{
    const struct pleat_memory_report *report = &stop->report;
    const uint64_t frame = frame_bytes(driver);
    const uint64_t bytes =
        stop->reason == PLEAT_VIRTIO_MEM_REASON_PINNED ? report->bytes_pinned : report->bytes_unmovable;
    const uint64_t frames = (bytes + frame - 1) / frame;
    put_number(text, frames);
    put(text, frames == 1 ? " frame" : " frames");
    put(text, stop->reason == PLEAT_VIRTIO_MEM_REASON_PINNED ? " pinned" : " unmovable");
    if (report->bytes_unmovable == 0 && report->bytes_pinned == 0) {
        return;
    }
    if (report->obstacle_address != 0) {
        put(text, ", first at PFN 0x");
        put_number_of_base(text, report->obstacle_address / frame, 16);
    }
    if (report->obstacle_owner[0] != '\0') {
        put(text, ", owner \"");
        put(text, report->obstacle_owner);
        put(text, "\"");
    }
}

static void put_why(struct text *text, const struct pleat_virtio_mem_driver *driver, const struct stop *stop)
{
    switch (stop->reason) {
    case PLEAT_VIRTIO_MEM_REASON_NO_ROOM:
        put(text, "no subblock is left to plug in ");
        put_bytes(text, driver->device.usable_bytes);
        put(text, " of usable region");
        break;
    case PLEAT_VIRTIO_MEM_REASON_REMAINDER:
        put(text, "the rest is less than can go at a time, ");
        put_bytes(text, stop->number_bytes);
        break;
    case PLEAT_VIRTIO_MEM_REASON_OFFLINE:
        put_bytes(text, stop->number_bytes);
        put(text, " are added and not online; online them first");
        break;
    case PLEAT_VIRTIO_MEM_REASON_NO_MEMORY:
        put(text, stop->growing ? "no room for metadata or page tables" : "nowhere to move content to");
        break;
    case PLEAT_VIRTIO_MEM_REASON_FLOOR:
        put(text, "the guest would have less than ");
        put_bytes(text, stop->number_bytes);
        put(text, " free");
        break;
    case PLEAT_VIRTIO_MEM_REASON_UNMOVABLE:
    case PLEAT_VIRTIO_MEM_REASON_PINNED:
        put_obstacle(text, driver, stop);
        break;
    case PLEAT_VIRTIO_MEM_REASON_REFUSED:
        put(text, "the guest refuses");
        if (stop->error < 0) {
            put(text, ": ");
            put(text, pleat_error_text(stop->error));
        }
        break;
    case PLEAT_VIRTIO_MEM_REASON_SLOW:
        put(text, "an evacuation met its deadline after ");
        put_bytes(text, stop->report.bytes_moved);
        put(text, " moved");
        break;
    case PLEAT_VIRTIO_MEM_REASON_PLUG_ONLY:
        put(text, "this guest can't take memory back");
        break;
    case PLEAT_VIRTIO_MEM_REASON_BUSY:
        put(text, "the device is busy");
        break;
    case PLEAT_VIRTIO_MEM_REASON_NACK:
        put(text, "the device refuses");
        break;
    case PLEAT_VIRTIO_MEM_REASON_ERROR:
        put(text, "the device answers with errors");
        break;
    default:
        put(text, pleat_virtio_mem_reason_text(stop->reason));
        break;
    }
    if (stop->detail != NULL) {
        put(text, ": ");
        put(text, stop->detail);
    }
}

static void put_sizes(struct text *text, uint64_t at_bytes, uint64_t wanted_bytes)
{
    put_bytes(text, at_bytes);
    put(text, " of ");
    put_bytes(text, wanted_bytes);
    put(text, " wanted");
}

/* A stop of the device's making names the sizes of now, one of the guest's making those of then. */
static bool is_device_stop(const struct pleat_virtio_mem_driver *driver, const struct stop *stop)
{
    return stop == &driver->device_stop;
}

void pleat_virtio_mem_stop_text(const struct pleat_virtio_mem_driver *driver, const struct stop *stop,
                                char *text, size_t text_bytes)
{
    struct text out = {text, text_bytes};
    if (text == NULL || text_bytes == 0) {
        return;
    }
    *text = '\0';
    if (is_device_stop(driver, stop)) {
        put(&out, driver->phase == PLEAT_VIRTIO_MEM_GIVEN_UP ? "given up at " : "held up at ");
        put_sizes(&out, pleat_virtio_mem_plugged_bytes(driver), pleat_virtio_mem_target_bytes(driver));
    } else {
        put(&out, stop->growing ? "growth stopped at " : "shrink stopped at ");
        put_sizes(&out, stop->at_bytes, stop->wanted_bytes);
    }
    put(&out, ": ");
    put_why(&out, driver, stop);
}

static void put_progress(struct text *text, const struct pleat_virtio_mem_driver *driver,
                         enum pleat_virtio_mem_reason reason)
{
    if (reason == PLEAT_VIRTIO_MEM_REASON_STARTING || reason == PLEAT_VIRTIO_MEM_REASON_DETACHED) {
        put(text, pleat_virtio_mem_phase_text(driver->phase));
        put(text, " at ");
        put_bytes(text, pleat_virtio_mem_plugged_bytes(driver));
        return;
    }
    put(text, pleat_virtio_mem_reason_text(reason));
    put(text, ": ");
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
    if (text != NULL && text_bytes > 0) {
        struct text out = {text, text_bytes};
        *text = '\0';
        put_progress(&out, driver, reason);
    }
    return reason;
}

/* --- The log ---------------------------------------------------------------------------------------------
 */

void pleat_virtio_mem_log(struct pleat_virtio_mem_driver *driver, enum pleat_log_level level,
                          const char *line)
{
    const struct pleat_memory *memory = driver->config.memory;
    char named[320];
    struct text out = {named, sizeof(named)};
    if (memory->ops->log == NULL) {
        return;
    }
    named[0] = '\0';
    put(&out, driver->config.name);
    put(&out, ": ");
    put(&out, line);
    memory->ops->log(memory->context, level, named);
}

void pleat_virtio_mem_log_stop(struct pleat_virtio_mem_driver *driver, const struct stop *stop)
{
    char line[256];
    pleat_virtio_mem_stop_text(driver, stop, line, sizeof(line));
    pleat_virtio_mem_log(
        driver, driver->phase == PLEAT_VIRTIO_MEM_GIVEN_UP ? PLEAT_LOG_ERROR : PLEAT_LOG_WARNING, line);
}
