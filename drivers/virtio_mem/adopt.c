/* SPDX-License-Identifier: MIT
 *
 * Finding out what is plugged: by STATE, halving ranges whose answer is MIXED, until every device block of
 * the question is known (X12). After a start that is how memory which an earlier driver left is found; after
 * an ERROR or a reset, what the request in doubt has done. What is found is only noted as loose: settle.c
 * makes use of it.
 *
 * The other way out is UNPLUG_ALL, and only while nothing of the device is added (V-INIT2): when the embedder
 * wants it so, or when STATE isn't answered.
 */
#include "driver.h"

/** The longest range to ask for: a power of two, so that halves end where other halves begin. */
#define CHUNK_BLOCKS 32768u

void pleat_virtio_mem_ask(struct pleat_virtio_mem_driver *driver, uint64_t first, uint64_t end)
{
    struct question *q = &driver->question;
    const bool open = q->next < q->end;
    q->next = open && q->next < first ? q->next : first;
    q->end = open && q->end > end ? q->end : end;
    q->chunk = CHUNK_BLOCKS;
}

void pleat_virtio_mem_ask_all(struct pleat_virtio_mem_driver *driver)
{
    pleat_virtio_mem_ask(driver, 0, driver->geometry.region_blocks);
}

/* Is any of these blocks in the guest's hands? */
static bool is_in_use(const struct pleat_virtio_mem_driver *driver, uint64_t first, uint64_t count)
{
    const struct geometry *g = &driver->geometry;
    uint64_t block = first > g->first_unit_block ? first : g->first_unit_block;
    while (block < first + count) {
        const uint64_t unit = block_unit(driver, block);
        if (unit >= g->units) {
            return false;
        }
        const uint32_t sub = (uint32_t)((block - sub_first_block(driver, unit, 0)) / g->blocks_per_sub);
        if (driver->units[unit].ready_subs == 0) {
            block = sub_first_block(driver, unit + 1, 0);
        } else if (!pleat_virtio_mem_is_ready(driver, unit, sub)) {
            block = sub_first_block(driver, unit, sub + 1);
        } else {
            return true;
        }
    }
    return false;
}

static void found(struct pleat_virtio_mem_driver *driver, uint64_t first, uint64_t count, bool plugged)
{
    if (!plugged && is_in_use(driver, first, count)) {
        pleat_virtio_mem_give_up(driver, PLEAT_VIRTIO_MEM_REASON_LOST, "memory in use is unplugged, it says");
        return;
    }
    pleat_virtio_mem_note_plugged(driver, first, count, plugged);
    driver->question.next = first + count;
}

void pleat_virtio_mem_ask_answered(struct pleat_virtio_mem_driver *driver, unsigned state)
{
    const uint64_t first = driver->request.first_block;
    const uint32_t blocks = driver->request.blocks;
    driver->state_errors = 0;
    pleat_virtio_mem_device_calm(driver);
    if (state != PLEAT_VIRTIO_MEM_STATE_MIXED) {
        driver->question.chunk = blocks < CHUNK_BLOCKS / 2 ? 2 * blocks : CHUNK_BLOCKS;
        found(driver, first, blocks, state == PLEAT_VIRTIO_MEM_STATE_PLUGGED);
    } else if (blocks > 1) {
        driver->question.chunk = blocks / 2;
    } else {
        pleat_virtio_mem_fault(driver, PLEAT_VIRTIO_MEM_REASON_PROTOCOL, "one block is MIXED");
    }
}

void pleat_virtio_mem_ask_failed(struct pleat_virtio_mem_driver *driver)
{
    if (++driver->state_errors >= STATE_ERRORS_MAX && driver->units_added == 0) {
        driver->clear_wanted = true;
        pleat_virtio_mem_set_phase(driver, PLEAT_VIRTIO_MEM_CLEARING);
    }
    pleat_virtio_mem_device_pause(driver, PLEAT_VIRTIO_MEM_REASON_ERROR);
}

enum outcome pleat_virtio_mem_ask_advance(struct pleat_virtio_mem_driver *driver)
{
    struct question *q = &driver->question;
    const uint64_t usable = usable_blocks(driver);
    if (q->next < q->end && q->next >= usable) {
        /* Outside the usable region nothing is plugged, and STATE isn't allowed. */
        found(driver, q->next, q->end - q->next, false);
        return DONE_SOMETHING;
    }
    if (q->next < q->end) {
        const uint64_t end = q->end < usable ? q->end : usable;
        const uint64_t left = end - q->next;
        return pleat_virtio_mem_send(driver, PLEAT_VIRTIO_MEM_REQ_STATE, q->next,
                                     left < q->chunk ? left : q->chunk);
    }
    driver->verify = true;
    pleat_virtio_mem_set_phase(driver, PLEAT_VIRTIO_MEM_WORKING);
    return DONE_SOMETHING;
}

/* --- UNPLUG_ALL ------------------------------------------------------------------------------------------
 */

enum outcome pleat_virtio_mem_clear_advance(struct pleat_virtio_mem_driver *driver)
{
    return pleat_virtio_mem_send(driver, PLEAT_VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0);
}

void pleat_virtio_mem_clear_answered(struct pleat_virtio_mem_driver *driver)
{
    driver->statistics.unplugged_bytes += driver->device.plugged_bytes;
    pleat_virtio_mem_note_plugged(driver, 0, driver->geometry.region_blocks, false);
    driver->question = (struct question){0, 0, CHUNK_BLOCKS};
    driver->clear_wanted = false;
    driver->plug_refused = false;
    driver->unplug_refused = false;
    driver->state_errors = 0;
    /* The usable region may have shrunk, without an interrupt (D-CFG9). */
    driver->config_pending = true;
    pleat_virtio_mem_set_phase(driver, PLEAT_VIRTIO_MEM_WORKING);
    pleat_virtio_mem_resume(driver);
}
