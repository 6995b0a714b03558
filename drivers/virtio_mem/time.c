/* SPDX-License-Identifier: MIT
 *
 * Time, for an embedder with a clock and for one without. A timer is due at a time of the memory's clock;
 * without a clock it is due in any later step, and time-outs (which would be due too early then) are never
 * set. A pause is a timer whose length doubles each time until it is ended by success.
 */
#include "driver.h"

static bool has_clock(const struct pleat_virtio_mem_driver *driver)
{
    return driver->config.memory->ops->clock_ns != NULL;
}

void pleat_virtio_mem_read_clock(struct pleat_virtio_mem_driver *driver)
{
    driver->now_ns =
        has_clock(driver) ? driver->config.memory->ops->clock_ns(driver->config.memory->context) : 0;
}

void pleat_virtio_mem_timer_start(const struct pleat_virtio_mem_driver *driver, struct timer *timer,
                                  uint64_t length_ns)
{
    timer->set = length_ns != PLEAT_VIRTIO_MEM_OFF;
    timer->at_ns = length_ns < UINT64_MAX - driver->now_ns ? driver->now_ns + length_ns : UINT64_MAX;
    timer->step = driver->statistics.steps;
}

void pleat_virtio_mem_timeout_start(const struct pleat_virtio_mem_driver *driver, struct timer *timer,
                                    uint64_t length_ns)
{
    pleat_virtio_mem_timer_start(driver, timer, has_clock(driver) ? length_ns : PLEAT_VIRTIO_MEM_OFF);
}

bool pleat_virtio_mem_timer_due(const struct pleat_virtio_mem_driver *driver, const struct timer *timer)
{
    if (!timer->set) {
        return false;
    }
    return has_clock(driver) ? driver->now_ns >= timer->at_ns : driver->statistics.steps > timer->step;
}

bool pleat_virtio_mem_timer_running(const struct pleat_virtio_mem_driver *driver, const struct timer *timer)
{
    return timer->set && !pleat_virtio_mem_timer_due(driver, timer);
}

enum outcome pleat_virtio_mem_wait_for(struct pleat_virtio_mem_driver *driver, const struct timer *timer)
{
    if (timer->set && (!driver->wake.set || timer->at_ns < driver->wake.at_ns)) {
        driver->wake = *timer;
    }
    return MUST_WAIT;
}

void pleat_virtio_mem_pause(struct pleat_virtio_mem_driver *driver, struct pause *pause)
{
    const uint64_t longest = driver->config.retry_longest_ns;
    if (pause->length_ns == 0) {
        pause->length_ns = driver->config.retry_first_ns;
    } else {
        pause->length_ns = pause->length_ns < longest / 2 ? 2 * pause->length_ns : longest;
    }
    pleat_virtio_mem_timer_start(driver, &pause->timer, pause->length_ns);
    driver->statistics.retries++;
}

void pleat_virtio_mem_pause_end(struct pause *pause)
{
    *pause = (struct pause){.length_ns = 0};
}
