/* SPDX-License-Identifier: MIT
 *
 * A driver's ring against a device's queue, at random, with a plain model of what a queue is: chains are
 * seen by the device in the order in which they were published, with the segments and bytes that they were
 * added with; the driver gets them back in the order in which they were pushed, with the written bytes; a
 * side that asked to be woken and was told that there is nothing is woken by what comes next.
 *
 * Both layouts, with and without event index and indirect tables, rings of many sizes, each run long enough
 * that slots are used many times. Seeds are printed; PLEAT_SEED=N reruns with that one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support/ring_pair.h"

#define STEPS        40000
#define SEGMENTS_MAX 8u
#define SEGMENT_MAX  40u
#define CHAINS_MAX   256u

enum where { UNUSED, ADDED, PUBLISHED, POPPED, PUSHED };

/** The model's chain. Its buffers are its own: SEGMENTS_MAX * SEGMENT_MAX bytes of scratch. */
struct chain {
    enum where where;
    uint16_t count;
    struct pleat_virtio_buffer buffers[SEGMENTS_MAX];
    uint32_t readable_bytes;
    uint32_t writable_bytes;
    uint32_t written_bytes;
    uint8_t stamp;
    bool in_table;
    struct pleat_virtqueue_chain popped;
    struct pleat_virtqueue_segment segments[SEGMENTS_MAX];
};

struct fifo {
    uint32_t chains[CHAINS_MAX];
    uint32_t first;
    uint32_t count;
};

struct model {
    struct ring_pair pair;
    struct test_random seed;
    struct chain chains[CHAINS_MAX];
    /** Tokens, in order: added and not published; published, not popped; pushed, not polled. */
    struct fifo added;
    struct fifo published;
    struct fifo pushed;
    /** Popped and not pushed, in no order. */
    struct fifo popped;
    uint32_t free_slots;
    uint32_t free_tables;
    /** It asked to be woken, there was nothing, and it wasn't woken since. */
    bool device_sleeps;
    bool driver_sleeps;
    /** Something came for it after it went to sleep. */
    bool device_is_due;
    bool driver_is_due;
    /** Something was published (pushed) since the last question about waking. */
    bool news_for_device;
    bool news_for_driver;
};

static void put(struct fifo *fifo, uint32_t chain)
{
    assert_true(fifo->count < CHAINS_MAX);
    fifo->chains[(fifo->first + fifo->count++) % CHAINS_MAX] = chain;
}

static uint32_t take(struct fifo *fifo)
{
    assert_true(fifo->count > 0);
    const uint32_t chain = fifo->chains[fifo->first];
    fifo->first = (fifo->first + 1) % CHAINS_MAX;
    fifo->count--;
    return chain;
}

/** Takes a random one. */
static uint32_t take_any(struct model *model, struct fifo *fifo)
{
    const uint32_t at = (fifo->first + test_random_below(&model->seed, fifo->count)) % CHAINS_MAX;
    const uint32_t chain = fifo->chains[at];
    fifo->chains[at] = fifo->chains[fifo->first];
    take(fifo);
    return chain;
}

static void make_chain(struct model *model, uint32_t token)
{
    struct chain *chain = &model->chains[token];
    const uint16_t size = model->pair.shape.size;
    const uint32_t most = size < SEGMENTS_MAX ? size : SEGMENTS_MAX;
    chain->count = (uint16_t)(1 + test_random_below(&model->seed, most));
    const uint32_t readable = test_random_below(&model->seed, chain->count + 1u);
    chain->stamp = (uint8_t)test_random_next(&model->seed);
    chain->readable_bytes = 0;
    chain->writable_bytes = 0;
    uint64_t at = SCRATCH + (uint64_t)token * SEGMENTS_MAX * SEGMENT_MAX;
    for (uint32_t i = 0; i < chain->count; i++) {
        struct pleat_virtio_buffer *buffer = &chain->buffers[i];
        buffer->physical = at;
        buffer->length_bytes = 1 + test_random_below(&model->seed, SEGMENT_MAX);
        buffer->device_writable = i >= readable;
        *(buffer->device_writable ? &chain->writable_bytes : &chain->readable_bytes) += buffer->length_bytes;
        memset(guest_at(&model->pair.guest, at), buffer->device_writable ? 0 : chain->stamp,
               buffer->length_bytes);
        at += SEGMENT_MAX;
    }
}

static void driver_adds(struct model *model)
{
    uint32_t token = 0;
    while (token < CHAINS_MAX && model->chains[token].where != UNUSED) {
        token++;
    }
    if (token == CHAINS_MAX) {
        return;
    }
    make_chain(model, token);
    struct chain *chain = &model->chains[token];
    const bool in_table = chain->count >= 2 && chain->count <= model->pair.shape.indirect_segments &&
                          model->free_tables > 0 && model->free_slots > 0;
    const uint32_t slots = in_table ? 1 : chain->count;
    const int result = pleat_virtio_ring_add(&model->pair.ring, chain->buffers, chain->count, token);
    if (slots > model->free_slots) {
        assert_int_equal(result, PLEAT_E_NO_MEMORY);
        return;
    }
    assert_int_equal(result, PLEAT_OK);
    chain->where = ADDED;
    chain->in_table = in_table;
    model->free_slots -= slots;
    model->free_tables -= in_table;
    put(&model->added, token);
}

static void driver_publishes(struct model *model)
{
    pleat_virtio_ring_publish(&model->pair.ring);
    while (model->added.count > 0) {
        const uint32_t token = take(&model->added);
        model->chains[token].where = PUBLISHED;
        put(&model->published, token);
        model->news_for_device = true;
        model->device_is_due = model->device_sleeps;
    }
}

static void driver_asks(struct model *model)
{
    const bool notify = pleat_virtio_ring_should_notify(&model->pair.ring);
    assert_true(model->news_for_device || !notify);
    if (model->device_is_due) {
        assert_true(notify);
        model->device_sleeps = false;
    }
    model->device_is_due = false;
    model->news_for_device = false;
}

static void check_popped(struct model *model, struct chain *chain)
{
    const struct pleat_virtqueue_chain *popped = &chain->popped;
    assert_int_equal(popped->readable + popped->writable, chain->count);
    assert_int_equal(popped->readable_bytes, chain->readable_bytes);
    assert_int_equal(popped->writable_bytes, chain->writable_bytes);
    for (uint32_t i = 0; i < chain->count; i++) {
        assert_int_equal(popped->segments[i].physical, chain->buffers[i].physical);
        assert_int_equal(popped->segments[i].length_bytes, chain->buffers[i].length_bytes);
        assert_int_equal(i >= popped->readable, chain->buffers[i].device_writable);
    }
    uint8_t bytes[SEGMENTS_MAX * SEGMENT_MAX + 1];
    const int64_t read = pleat_virtqueue_read(&model->pair.queue, popped, 0, bytes, sizeof(bytes));
    assert_int_equal(read, chain->readable_bytes);
    for (int64_t i = 0; i < read; i++) {
        assert_int_equal(bytes[i], chain->stamp);
    }
}

static void device_pops(struct model *model)
{
    struct pleat_virtqueue_segment segments[SEGMENTS_MAX];
    struct pleat_virtqueue_chain popped = {.segments = segments, .capacity = SEGMENTS_MAX};
    const int result = pleat_virtqueue_pop(&model->pair.queue, &popped);
    if (model->published.count == 0) {
        assert_int_equal(result, 0);
        return;
    }
    assert_int_equal(result, 1);
    const uint32_t token = take(&model->published);
    struct chain *chain = &model->chains[token];
    memcpy(chain->segments, segments, sizeof(segments));
    chain->popped = popped;
    chain->popped.segments = chain->segments;
    chain->where = POPPED;
    check_popped(model, chain);
    put(&model->popped, token);
}

static void device_pushes(struct model *model)
{
    if (model->popped.count == 0) {
        return;
    }
    const uint32_t token = take_any(model, &model->popped);
    struct chain *chain = &model->chains[token];
    chain->written_bytes = test_random_below(&model->seed, chain->writable_bytes + 1);
    uint8_t bytes[SEGMENTS_MAX * SEGMENT_MAX];
    memset(bytes, (uint8_t)~chain->stamp, sizeof(bytes));
    assert_int_equal(
        pleat_virtqueue_write(&model->pair.queue, &chain->popped, 0, bytes, chain->written_bytes),
        chain->written_bytes);
    assert_int_equal(pleat_virtqueue_push(&model->pair.queue, &chain->popped, chain->written_bytes),
                     PLEAT_OK);
    chain->where = PUSHED;
    put(&model->pushed, token);
    model->news_for_driver = true;
    model->driver_is_due = model->driver_sleeps;
}

static void device_asks(struct model *model)
{
    const bool wake = pleat_virtqueue_should_interrupt(&model->pair.queue);
    assert_true(model->news_for_driver || !wake);
    if (model->driver_is_due) {
        assert_true(wake);
        model->driver_sleeps = false;
    }
    model->driver_is_due = false;
    model->news_for_driver = false;
}

/** The device wrote `written_bytes` of the chain's writable part, and no byte more. */
static void check_used(struct model *model, const struct chain *chain)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < chain->count; i++) {
        const uint8_t *bytes = guest_at(&model->pair.guest, chain->buffers[i].physical);
        for (uint32_t b = 0; chain->buffers[i].device_writable && b < chain->buffers[i].length_bytes; b++) {
            assert_int_equal(bytes[b], at < chain->written_bytes ? (uint8_t)~chain->stamp : 0);
            at++;
        }
    }
}

static void driver_polls(struct model *model)
{
    uint64_t token = UINT64_MAX;
    uint32_t written = UINT32_MAX;
    const int result = pleat_virtio_ring_poll(&model->pair.ring, &token, &written);
    if (model->pushed.count == 0) {
        assert_int_equal(result, 0);
        return;
    }
    assert_int_equal(result, 1);
    assert_int_equal(token, take(&model->pushed));
    struct chain *chain = &model->chains[token];
    assert_int_equal(written, chain->written_bytes);
    check_used(model, chain);
    chain->where = UNUSED;
    model->free_slots += chain->in_table ? 1 : chain->count;
    model->free_tables += chain->in_table;
}

static void somebody_sleeps_or_not(struct model *model)
{
    switch (test_random_below(&model->seed, 4)) {
    case 0:
        assert_int_equal(pleat_virtqueue_enable_notifications(&model->pair.queue),
                         model->published.count > 0);
        model->device_is_due = false;
        model->device_sleeps = model->published.count == 0;
        break;
    case 1:
        assert_int_equal(pleat_virtio_ring_enable_interrupts(&model->pair.ring), model->pushed.count > 0);
        model->driver_is_due = false;
        model->driver_sleeps = model->pushed.count == 0;
        break;
    case 2:
        pleat_virtqueue_disable_notifications(&model->pair.queue);
        model->device_is_due = false;
        model->device_sleeps = false;
        break;
    default:
        pleat_virtio_ring_disable_interrupts(&model->pair.ring);
        model->driver_is_due = false;
        model->driver_sleeps = false;
        break;
    }
}

/** Hands the queue over to another device in mid-run. */
static void device_migrates(struct model *model)
{
    const struct pleat_virtqueue_state state = pleat_virtqueue_save(&model->pair.queue);
    const struct pleat_virtqueue_config config = model->pair.queue.config;
    const struct pleat_guest_memory memory = model->pair.queue.memory;
    memset(&model->pair.queue, 0xee, sizeof(model->pair.queue));
    assert_int_equal(pleat_virtqueue_init(&model->pair.queue, &config, &memory), PLEAT_OK);
    assert_int_equal(pleat_virtqueue_load(&model->pair.queue, &state), PLEAT_OK);
    model->news_for_driver = true;
}

static void one_step(struct model *model)
{
    switch (test_random_below(&model->seed, 40)) {
    case 0 ... 9:
        driver_adds(model);
        break;
    case 10 ... 14:
        driver_publishes(model);
        break;
    case 15 ... 17:
        driver_asks(model);
        break;
    case 18 ... 23:
        device_pops(model);
        break;
    case 24 ... 29:
        device_pushes(model);
        break;
    case 30 ... 32:
        device_asks(model);
        break;
    case 33 ... 37:
        driver_polls(model);
        break;
    case 38:
        somebody_sleeps_or_not(model);
        break;
    default:
        if (test_random_below(&model->seed, 10) == 0) {
            device_migrates(model);
        }
        break;
    }
    assert_int_equal(pleat_virtio_ring_free_slots(&model->pair.ring), model->free_slots);
}

static void ring_and_queue_agree_with_the_model(void **state)
{
    const struct ring_pair_shape *shape = *state;
    struct model *model = calloc(1, sizeof(*model));
    assert_non_null(model);
    ring_pair_create(&model->pair, shape);
    ring_test_seed(&model->seed, shape->size + 1000u * shape->packed + 2000u * shape->event_index +
                                     4000u * shape->indirect_tables);
    model->free_slots = shape->size;
    model->free_tables = shape->indirect_tables;
    for (int i = 0; i < STEPS; i++) {
        one_step(model);
        if (i % 16 == 0) {
            assert_true(pleat_virtio_ring_is_valid(&model->pair.ring));
        }
    }
    ring_pair_destroy(&model->pair);
    free(model);
}

int main(void)
{
    static const uint16_t sizes[] = {1, 2, 3, 4, 5, 64, 100, 256};
    static struct ring_pair_shape shapes[64];
    static struct CMUnitTest tests[64];
    size_t count = 0;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (unsigned bits = 0; bits < 8; bits++) {
            const uint16_t size = sizes[i];
            const bool packed = bits & 1;
            const bool indirect = bits & 4;
            if ((!packed && (size & (size - 1))) || (indirect && size < 2)) {
                continue;
            }
            shapes[count] = (struct ring_pair_shape){packed, bits & 2, size, 0, 0};
            if (indirect) {
                shapes[count].indirect_tables = (uint16_t)(size / 2);
                shapes[count].indirect_segments = size < 6 ? size : 6;
            }
            tests[count] =
                (struct CMUnitTest){ring_pair_name("ring_and_queue_agree_with_the_model", &shapes[count]),
                                    ring_and_queue_agree_with_the_model, NULL, NULL, &shapes[count]};
            count++;
        }
    }
    return _cmocka_run_group_tests("rings against a model", tests, count, NULL, NULL);
}
