/* SPDX-License-Identifier: MIT
 *
 * Events for QMP clients, with QEMU's limit on their rate.
 *
 * A guest can change its size a thousand times a second. QEMU therefore sends MEMORY_DEVICE_SIZE_CHANGE at
 * most once a second for each device: the first at once, and of those that follow within the second only
 * the last, when the second is over. All other events go out at once. The clock is the caller's.
 */
#ifndef PLEAT_MACHINE_MONITOR_EVENTS_H
#define PLEAT_MACHINE_MONITOR_EVENTS_H

#include <jansson.h>
#include <stdint.h>

#include "machine/config.h"
#include "machine/machine.h"

#define PLEAT_EVENT_INTERVAL_NS UINT64_C(1000000000)
/** What pleat_events_due() says when nothing is held back. */
#define PLEAT_EVENT_NEVER UINT64_MAX

/** One device whose events are being held back. */
struct pleat_event_hold {
    char path[PLEAT_MACHINE_PATH_BYTES];
    uint64_t until_ns;
    /** The last event that came meanwhile; NULL: none did. */
    json_t *event;
};

/** Zero it, then set `send` and `context`. */
struct pleat_events {
    /** Sends an event to all who listen; EVENT stays the caller's. */
    void (*send)(void *context, json_t *event);
    void *context;
    /** As many as there can be devices; an event of one more goes out at once. */
    struct pleat_event_hold hold[PLEAT_MACHINE_DEVICES_MAX];
    unsigned holds;
};

/**
 * What a machine's event is in QMP: {"timestamp": ..., "event": ..., "data": ...}; the caller gives it back.
 * NULL for an event that QMP doesn't have (PLEAT_EVENT_DRIVER), or when memory is out. REALTIME_US is the
 * wall clock's time in microseconds since 1970.
 */
json_t *pleat_event_json(const struct pleat_machine_event *event, uint64_t realtime_us);

/** Sends an event or holds it back. Takes EVENT over; NULL is fine. */
void pleat_events_emit(struct pleat_events *events, json_t *event, uint64_t now_ns);

/** When pleat_events_tick() is due; PLEAT_EVENT_NEVER when nothing is held back. */
uint64_t pleat_events_due(const struct pleat_events *events);

/** Sends what has been held back long enough. */
void pleat_events_tick(struct pleat_events *events, uint64_t now_ns);

/** Forgets what is held back. */
void pleat_events_free(struct pleat_events *events);

#endif
