/* SPDX-License-Identifier: MIT
 *
 * A device's registers through the in-process transport: drivers that keep to the order of VIRTIO 3.1.1, and
 * guests that keep to none. A reset always brings the device back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <pleat/virtio_in_process.h>

#include "tests/support/ring_pair.h"

#define DEVICE_FEATURE  (UINT64_C(1) << 0)
#define OTHER_FEATURE   (UINT64_C(1) << 1)
#define REFUSED_FEATURE (UINT64_C(1) << 2)
#define CONFIG_BYTES    24u

enum {
    ACKNOWLEDGE = PLEAT_VIRTIO_STATUS_ACKNOWLEDGE,
    DRIVER = PLEAT_VIRTIO_STATUS_DRIVER,
    DRIVER_OK = PLEAT_VIRTIO_STATUS_DRIVER_OK,
    FEATURES_OK = PLEAT_VIRTIO_STATUS_FEATURES_OK,
    NEEDS_RESET = PLEAT_VIRTIO_STATUS_NEEDS_RESET,
    FAILED = PLEAT_VIRTIO_STATUS_FAILED
};

/** A device, how often it was called back, and the guest that it serves. */
struct bench {
    struct ring_pair pair;
    struct pleat_virtio_device *device;
    struct pleat_virtio_transport transport;
    bool resets_by_itself;
    int driver_oks;
    int notifies;
    int resets;
    int writes;
    int queue_interrupts;
    int config_interrupts;
    uint16_t last_queue;
    /* What another CPU of the guest does while the device is in a callback; once. */
    void (*meanwhile)(struct bench *bench);
};

static void let_others_run(struct bench *bench)
{
    void (*meanwhile)(struct bench * bench) = bench->meanwhile;
    bench->meanwhile = NULL;
    if (meanwhile) {
        meanwhile(bench);
    }
}

static void *guest_pointer(void *context, uint64_t physical, uint64_t length, bool write)
{
    struct bench *bench = context;
    const struct pleat_guest_memory memory = guest_memory(&bench->pair.guest);
    let_others_run(bench);
    return memory.guest_pointer(memory.context, physical, length, write);
}

static bool accept_features(void *context, uint64_t features)
{
    let_others_run(context);
    return !(features & REFUSED_FEATURE);
}

static void driver_ok(void *context)
{
    ((struct bench *)context)->driver_oks++;
}

static void notify(void *context, uint16_t index)
{
    struct bench *bench = context;
    bench->notifies++;
    bench->last_queue = index;
}

static void reset(void *context)
{
    struct bench *bench = context;
    bench->resets++;
    if (bench->resets_by_itself) {
        pleat_virtio_device_complete_reset(bench->device);
    }
}

static int config_write(void *context, uint32_t offset, const void *from, uint32_t length)
{
    struct bench *bench = context;
    bench->writes++;
    return offset == 8 ? pleat_virtio_device_set_config(bench->device, offset, from, length, false)
                       : PLEAT_E_UNSUPPORTED;
}

static void interrupt(void *context, uint32_t cause, uint16_t queue)
{
    struct bench *bench = context;
    if (cause == PLEAT_VIRTIO_INTERRUPT_QUEUE) {
        bench->queue_interrupts++;
        bench->last_queue = queue;
    } else {
        bench->config_interrupts++;
    }
}

static const struct pleat_virtio_device_handler handler = {accept_features, driver_ok, notify, reset,
                                                           config_write};

static struct pleat_virtio_device_config device_config(struct bench *bench)
{
    const struct pleat_virtio_device_config config = {
        .device_id = 24,
        .features = DEVICE_FEATURE | OTHER_FEATURE | REFUSED_FEATURE | PLEAT_VIRTIO_F_EVENT_IDX |
                    PLEAT_VIRTIO_F_RING_PACKED | PLEAT_VIRTIO_F_INDIRECT_DESC,
        .queues = 2,
        .queue_size_max = {8, 16},
        .config_bytes = CONFIG_BYTES,
        .memory = {guest_pointer, bench},
        .handler = &handler,
        .handler_context = bench,
        .interrupt = interrupt,
        .interrupt_context = bench,
    };
    return config;
}

static int set_up(void **state)
{
    static const struct ring_pair_shape shape = {.size = 8};
    struct bench *bench = calloc(1, sizeof(*bench));
    assert_non_null(bench);
    ring_pair_create(&bench->pair, &shape);
    bench->resets_by_itself = true;
    const struct pleat_virtio_device_config config = device_config(bench);
    assert_int_equal(pleat_virtio_device_create(&config, &bench->device), PLEAT_OK);
    bench->transport = pleat_virtio_in_process(bench->device);
    *state = bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    pleat_virtio_device_destroy(bench->device);
    ring_pair_destroy(&bench->pair);
    free(bench);
    return 0;
}

static int set_up_queue(struct bench *bench, uint16_t index, uint16_t size)
{
    const struct pleat_virtio_queue_addresses addresses = pleat_virtio_ring_addresses(&bench->pair.ring);
    return bench->transport.ops->queue_setup(bench->device, index, size, &addresses);
}

/** The whole way up, with the pair's ring as queue 0. */
static void bring_up(struct bench *bench)
{
    const struct pleat_virtio_transport_ops *ops = bench->transport.ops;
    uint64_t features = 0;
    ops->reset_begin(bench->device);
    assert_int_equal(ops->reset_poll(bench->device), PLEAT_OK);
    assert_int_equal(pleat_virtio_negotiate(&bench->transport, DEVICE_FEATURE, 0, &features), PLEAT_OK);
    assert_int_equal(features, DEVICE_FEATURE | PLEAT_VIRTIO_F_VERSION_1);
    assert_int_equal(set_up_queue(bench, 0, 8), PLEAT_OK);
    assert_int_equal(ops->queue_enable(bench->device, 0), PLEAT_OK);
    ops->add_status(bench->device, DRIVER_OK);
    assert_int_equal(ops->get_status(bench->device), ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

static void numbers_out_of_range_are_refused_at_create(void **state)
{
    struct bench *bench = *state;
    struct pleat_virtio_device *none = NULL;
    for (int what = 0; what < 5; what++) {
        struct pleat_virtio_device_config config = device_config(bench);
        switch (what) {
        case 0:
            config.queues = PLEAT_VIRTIO_DEVICE_QUEUES_MAX + 1;
            break;
        case 1:
            config.config_bytes = PLEAT_VIRTIO_DEVICE_CONFIG_BYTES_MAX + 1;
            break;
        case 2:
            config.memory.guest_pointer = NULL;
            break;
        case 3:
            config.queue_size_max[1] = 0;
            break;
        default:
            config.queue_size_max[1] = 32769;
            break;
        }
        assert_int_equal(pleat_virtio_device_create(&config, &none), PLEAT_E_INVALID);
        assert_null(none);
    }
}

static void request_goes_all_the_way_and_back(void **state)
{
    struct bench *bench = *state;
    const struct pleat_virtio_transport_ops *ops = bench->transport.ops;
    assert_int_equal(ops->device_id(bench->device), 24);
    assert_null(pleat_virtio_device_queue(bench->device, 0));
    assert_int_equal(pleat_virtio_device_driver_features(bench->device), 0);
    bring_up(bench);
    assert_int_equal(bench->driver_oks, 1);
    assert_int_equal(pleat_virtio_device_driver_features(bench->device),
                     DEVICE_FEATURE | PLEAT_VIRTIO_F_VERSION_1);

    const struct pleat_virtio_buffer buffers[] = {{SCRATCH, 4, false}, {SCRATCH + 64, 4, true}};
    memcpy(guest_at(&bench->pair.guest, SCRATCH), "fold", 4);
    assert_int_equal(pleat_virtio_ring_add(&bench->pair.ring, buffers, 2, 9), PLEAT_OK);
    pleat_virtio_ring_publish(&bench->pair.ring);
    assert_true(pleat_virtio_ring_should_notify(&bench->pair.ring));
    ops->notify(bench->device, 0);
    assert_int_equal(bench->notifies, 1);

    struct pleat_virtqueue *queue = pleat_virtio_device_queue(bench->device, bench->last_queue);
    assert_non_null(queue);
    struct pleat_virtqueue_chain chain = ring_pair_chain(&bench->pair);
    uint8_t bytes[4];
    assert_int_equal(pleat_virtqueue_pop(queue, &chain), 1);
    assert_int_equal(pleat_virtqueue_read(queue, &chain, 0, bytes, 4), 4);
    assert_memory_equal(bytes, "fold", 4);
    assert_int_equal(pleat_virtqueue_write(queue, &chain, 0, "done", 4), 4);
    assert_int_equal(pleat_virtqueue_push(queue, &chain, 4), PLEAT_OK);
    assert_true(pleat_virtqueue_should_interrupt(queue));
    pleat_virtio_device_interrupt_queue(bench->device, 0);
    assert_int_equal(bench->queue_interrupts, 1);
    assert_int_equal(ops->interrupt_acknowledge(bench->device), PLEAT_VIRTIO_INTERRUPT_QUEUE);
    assert_int_equal(ops->interrupt_acknowledge(bench->device), 0);

    uint64_t token;
    assert_int_equal(pleat_virtio_ring_poll(&bench->pair.ring, &token, NULL), 1);
    assert_int_equal(token, 9);
    assert_memory_equal(guest_at(&bench->pair.guest, SCRATCH + 64), "done", 4);
}

static int offer_features(struct bench *bench, uint64_t features)
{
    const struct pleat_virtio_transport_ops *ops = bench->transport.ops;
    ops->reset_begin(bench->device);
    ops->add_status(bench->device, ACKNOWLEDGE);
    ops->add_status(bench->device, DRIVER);
    return ops->set_features(bench->device, features);
}

static void features_that_the_device_can_not_serve_are_refused(void **state)
{
    struct bench *bench = *state;
    const uint64_t version = PLEAT_VIRTIO_F_VERSION_1;
    assert_int_equal(offer_features(bench, version), PLEAT_OK);
    assert_int_equal(offer_features(bench, 0), PLEAT_E_REFUSED);
    assert_int_equal(offer_features(bench, DEVICE_FEATURE), PLEAT_E_REFUSED);
    assert_int_equal(offer_features(bench, version | UINT64_C(1) << 3), PLEAT_E_REFUSED);
    assert_int_equal(offer_features(bench, version | UINT64_C(1) << 63), PLEAT_E_REFUSED);
    assert_int_equal(offer_features(bench, version | PLEAT_VIRTIO_F_ACCESS_PLATFORM), PLEAT_E_REFUSED);
    assert_int_equal(offer_features(bench, version | REFUSED_FEATURE), PLEAT_E_REFUSED);
    assert_int_equal(bench->transport.ops->get_status(bench->device), ACKNOWLEDGE | DRIVER);
    assert_int_equal(pleat_virtio_device_driver_features(bench->device), 0);
    /* Without a reset, it may try again with less. */
    assert_int_equal(bench->transport.ops->set_features(bench->device, version), PLEAT_OK);
    assert_int_equal(bench->transport.ops->set_features(bench->device, version), PLEAT_E_STATE);
}

static void write_other_features(struct bench *bench)
{
    assert_int_equal(pleat_virtio_device_write_features(bench->device, PLEAT_VIRTIO_F_VERSION_1 |
                                                                           OTHER_FEATURE | REFUSED_FEATURE),
                     PLEAT_OK);
}

static void features_that_change_while_they_are_looked_at_are_not_fixed(void **state)
{
    struct bench *bench = *state;
    const struct pleat_virtio_transport_ops *ops = bench->transport.ops;
    ops->add_status(bench->device, ACKNOWLEDGE | DRIVER);
    bench->meanwhile = write_other_features;
    assert_int_equal(ops->set_features(bench->device, PLEAT_VIRTIO_F_VERSION_1), PLEAT_E_REFUSED);
    assert_int_equal(pleat_virtio_device_driver_features(bench->device), 0);
}

static void negotiate_packed_rings(struct bench *bench)
{
    uint64_t features = 0;
    bench->transport.ops->reset_begin(bench->device);
    assert_int_equal(pleat_virtio_negotiate(&bench->transport, PLEAT_VIRTIO_F_RING_PACKED, 0, &features),
                     PLEAT_OK);
}

/* Its areas were checked as those of a split ring. */
static void a_queue_that_was_checked_for_other_features_is_not_set_up(void **state)
{
    struct bench *bench = *state;
    const struct pleat_virtio_transport_ops *ops = bench->transport.ops;
    uint64_t features = 0;
    assert_int_equal(pleat_virtio_negotiate(&bench->transport, 0, 0, &features), PLEAT_OK);
    bench->meanwhile = negotiate_packed_rings;
    assert_int_equal(set_up_queue(bench, 0, 8), PLEAT_E_STATE);
    assert_int_equal(ops->queue_enable(bench->device, 0), PLEAT_E_STATE);
}

static void negotiation_takes_wanted_and_demands_required(void **state)
{
    struct bench *bench = *state;
    const struct pleat_virtio_transport_ops *ops = bench->transport.ops;
    const uint64_t unknown = UINT64_C(1) << 20;
    uint64_t features = 5;
    assert_int_equal(
        pleat_virtio_negotiate(&bench->transport, DEVICE_FEATURE | unknown, OTHER_FEATURE, &features),
        PLEAT_OK);
    assert_int_equal(features, DEVICE_FEATURE | OTHER_FEATURE | PLEAT_VIRTIO_F_VERSION_1);

    features = 5;
    assert_int_equal(pleat_virtio_negotiate(&bench->transport, 0, 0, &features), PLEAT_E_STATE);
    assert_int_equal(ops->get_status(bench->device) & FAILED, 0);
    ops->reset_begin(bench->device);
    assert_int_equal(pleat_virtio_negotiate(&bench->transport, 0, unknown, &features), PLEAT_E_UNSUPPORTED);
    assert_true(ops->get_status(bench->device) & FAILED);
    ops->reset_begin(bench->device);
    assert_int_equal(pleat_virtio_negotiate(&bench->transport, REFUSED_FEATURE, 0, &features),
                     PLEAT_E_REFUSED);
    assert_true(ops->get_status(bench->device) & FAILED);
    assert_int_equal(features, 5);
}

static void status_bits_out_of_order_are_ignored(void **state)
{
    struct bench *bench = *state;
    const struct pleat_virtio_transport_ops *ops = bench->transport.ops;
    ops->add_status(bench->device, DRIVER_OK);
    assert_int_equal(ops->get_status(bench->device), 0);
    ops->add_status(bench->device, FEATURES_OK);
    assert_int_equal(ops->get_status(bench->device), 0);
    assert_int_equal(ops->set_features(bench->device, PLEAT_VIRTIO_F_VERSION_1), PLEAT_E_STATE);
    ops->add_status(bench->device, NEEDS_RESET | 16 | 32);
    assert_int_equal(ops->get_status(bench->device), 0);
    ops->add_status(bench->device, 0);
    assert_int_equal(bench->resets, 0);
    ops->add_status(bench->device, ACKNOWLEDGE | DRIVER | DRIVER_OK);
    assert_int_equal(ops->get_status(bench->device), ACKNOWLEDGE | DRIVER);
    assert_int_equal(bench->driver_oks, 0);
    /* Bits don't go away by themselves. */
    pleat_virtio_device_write_status(bench->device, ACKNOWLEDGE);
    assert_int_equal(ops->get_status(bench->device), ACKNOWLEDGE | DRIVER);
}

static void queues_out_of_order_or_range_are_refused(void **state)
{
    struct bench *bench = *state;
    const struct pleat_virtio_transport_ops *ops = bench->transport.ops;
    struct pleat_virtio_queue_addresses addresses = pleat_virtio_ring_addresses(&bench->pair.ring);
    assert_int_equal(ops->queue_size_max(bench->device, 0), 8);
    assert_int_equal(ops->queue_size_max(bench->device, 1), 16);
    assert_int_equal(ops->queue_size_max(bench->device, 2), 0);
    assert_int_equal(set_up_queue(bench, 0, 8), PLEAT_E_STATE);
    assert_int_equal(ops->queue_enable(bench->device, 0), PLEAT_E_STATE);
    assert_int_equal(offer_features(bench, PLEAT_VIRTIO_F_VERSION_1), PLEAT_OK);
    assert_int_equal(set_up_queue(bench, 2, 8), PLEAT_E_INVALID);
    assert_int_equal(set_up_queue(bench, 0xffff, 8), PLEAT_E_INVALID);
    assert_int_equal(set_up_queue(bench, 0, 16), PLEAT_E_INVALID);
    assert_int_equal(set_up_queue(bench, 0, 0), PLEAT_E_INVALID);
    assert_int_equal(set_up_queue(bench, 0, 3), PLEAT_E_INVALID);
    addresses.descriptor_physical = 0;
    assert_int_equal(ops->queue_setup(bench->device, 0, 8, &addresses), PLEAT_E_INVALID);
    assert_int_equal(ops->queue_enable(bench->device, 0), PLEAT_E_STATE);
    assert_int_equal(ops->queue_enable(bench->device, 2), PLEAT_E_INVALID);
    assert_int_equal(set_up_queue(bench, 0, 8), PLEAT_OK);
    assert_int_equal(set_up_queue(bench, 0, 4), PLEAT_OK);
    assert_int_equal(ops->queue_enable(bench->device, 0), PLEAT_OK);
    assert_int_equal(ops->queue_enable(bench->device, 0), PLEAT_E_STATE);
    assert_int_equal(set_up_queue(bench, 0, 8), PLEAT_E_STATE);
    /* Not live before DRIVER_OK, and the other one never was. */
    ops->notify(bench->device, 0);
    assert_int_equal(bench->notifies, 0);
    assert_null(pleat_virtio_device_queue(bench->device, 0));
    ops->add_status(bench->device, DRIVER_OK);
    assert_non_null(pleat_virtio_device_queue(bench->device, 0));
    assert_null(pleat_virtio_device_queue(bench->device, 1));
    assert_null(pleat_virtio_device_queue(bench->device, 2));
    ops->notify(bench->device, 1);
    ops->notify(bench->device, 0xffff);
    assert_int_equal(bench->notifies, 0);
}

static void status_reads_0_only_when_the_device_has_stopped(void **state)
{
    struct bench *bench = *state;
    const struct pleat_virtio_transport_ops *ops = bench->transport.ops;
    bring_up(bench);
    bench->resets_by_itself = false;
    const int before = bench->resets;
    ops->reset_begin(bench->device);
    assert_int_equal(bench->resets, before + 1);
    assert_int_equal(ops->reset_poll(bench->device), PLEAT_MORE);
    assert_true(pleat_virtio_device_reset_is_pending(bench->device));
    assert_null(pleat_virtio_device_queue(bench->device, 0));
    /* Whatever the guest does meanwhile is ignored. */
    ops->reset_begin(bench->device);
    ops->notify(bench->device, 0);
    ops->add_status(bench->device, FAILED);
    assert_int_equal(ops->set_features(bench->device, PLEAT_VIRTIO_F_VERSION_1), PLEAT_E_STATE);
    assert_int_equal(set_up_queue(bench, 1, 8), PLEAT_E_STATE);
    assert_int_equal(ops->queue_enable(bench->device, 1), PLEAT_E_STATE);
    pleat_virtio_device_interrupt_queue(bench->device, 0);
    const uint8_t news = 1;
    assert_int_equal(pleat_virtio_device_set_config(bench->device, 0, &news, 1, true), PLEAT_OK);
    assert_int_equal(bench->resets, before + 1);
    assert_int_equal(bench->notifies, 0);
    assert_int_equal(bench->queue_interrupts + bench->config_interrupts, 0);
    assert_int_equal(ops->get_status(bench->device), ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);

    pleat_virtio_device_complete_reset(bench->device);
    assert_int_equal(ops->reset_poll(bench->device), PLEAT_OK);
    pleat_virtio_device_complete_reset(bench->device);
    bench->resets_by_itself = true;
    ring_pair_restart(&bench->pair);
    bring_up(bench);
    assert_non_null(pleat_virtio_device_queue(bench->device, 0));
}

static void reset_forgets_what_the_driver_said_and_keeps_the_config(void **state)
{
    struct bench *bench = *state;
    const struct pleat_virtio_transport_ops *ops = bench->transport.ops;
    uint8_t byte = 42;
    bring_up(bench);
    assert_int_equal(pleat_virtio_device_set_config(bench->device, 3, &byte, 1, true), PLEAT_OK);
    ops->reset_begin(bench->device);
    assert_int_equal(ops->interrupt_acknowledge(bench->device), 0);
    assert_int_equal(pleat_virtio_device_driver_features(bench->device), 0);
    assert_int_equal(ops->queue_enable(bench->device, 0), PLEAT_E_STATE);
    byte = 0;
    assert_int_equal(ops->config_read(bench->device, 3, &byte, 1), PLEAT_OK);
    assert_int_equal(byte, 42);
}

static void needs_reset_stops_queues_and_tells_the_driver(void **state)
{
    struct bench *bench = *state;
    const struct pleat_virtio_transport_ops *ops = bench->transport.ops;
    pleat_virtio_device_set_needs_reset(bench->device);
    assert_int_equal(ops->get_status(bench->device), 0);
    bring_up(bench);
    pleat_virtio_device_set_needs_reset(bench->device);
    assert_true(ops->get_status(bench->device) & NEEDS_RESET);
    assert_int_equal(bench->config_interrupts, 1);
    assert_int_equal(ops->interrupt_acknowledge(bench->device), PLEAT_VIRTIO_INTERRUPT_CONFIG);
    assert_null(pleat_virtio_device_queue(bench->device, 0));
    pleat_virtio_device_set_needs_reset(bench->device);
    assert_int_equal(bench->config_interrupts, 1);
    /* The driver can't talk it out of that. */
    ops->add_status(bench->device, DRIVER_OK);
    assert_null(pleat_virtio_device_queue(bench->device, 0));
    assert_int_equal(bench->driver_oks, 1);
    ring_pair_restart(&bench->pair);
    bring_up(bench);
    assert_non_null(pleat_virtio_device_queue(bench->device, 0));
}

static void driver_that_gives_up_stops_queues(void **state)
{
    struct bench *bench = *state;
    bring_up(bench);
    bench->transport.ops->add_status(bench->device, FAILED);
    assert_null(pleat_virtio_device_queue(bench->device, 0));
}

static void config_changes_count_and_interrupt_when_told_to(void **state)
{
    struct bench *bench = *state;
    const struct pleat_virtio_transport_ops *ops = bench->transport.ops;
    const uint32_t first = ops->config_generation(bench->device);
    uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    /* Before DRIVER_OK nobody is told. */
    assert_int_equal(pleat_virtio_device_set_config(bench->device, 0, bytes, 8, true), PLEAT_OK);
    assert_int_equal(bench->config_interrupts, 0);
    assert_int_not_equal(ops->config_generation(bench->device), first);
    bring_up(bench);
    const uint32_t second = ops->config_generation(bench->device);
    assert_int_equal(pleat_virtio_device_set_config(bench->device, 0, bytes, 8, true), PLEAT_OK);
    assert_int_equal(ops->config_generation(bench->device), second);
    assert_int_equal(bench->config_interrupts, 0);
    bytes[0] = 9;
    assert_int_equal(pleat_virtio_device_set_config(bench->device, 0, bytes, 8, false), PLEAT_OK);
    assert_int_not_equal(ops->config_generation(bench->device), second);
    assert_int_equal(bench->config_interrupts, 0);
    bytes[0] = 10;
    assert_int_equal(pleat_virtio_device_set_config(bench->device, 0, bytes, 8, true), PLEAT_OK);
    assert_int_equal(bench->config_interrupts, 1);
    assert_int_equal(pleat_virtio_device_set_config(bench->device, CONFIG_BYTES - 7, bytes, 8, true),
                     PLEAT_E_INVALID);
    assert_int_equal(pleat_virtio_device_set_config(bench->device, UINT32_MAX, bytes, 8, true),
                     PLEAT_E_INVALID);
}

static void config_access_is_by_fields_inside_of_the_space(void **state)
{
    struct bench *bench = *state;
    const struct pleat_virtio_transport_ops *ops = bench->transport.ops;
    uint8_t bytes[16];
    const struct {
        uint32_t offset;
        uint32_t length;
        int result;
    } accesses[] = {
        {0, 1, PLEAT_OK},
        {23, 1, PLEAT_OK},
        {24, 1, PLEAT_E_INVALID},
        {22, 2, PLEAT_OK},
        {1, 2, PLEAT_E_INVALID},
        {2, 4, PLEAT_E_INVALID},
        {20, 4, PLEAT_OK},
        {4, 8, PLEAT_OK},
        {2, 8, PLEAT_E_INVALID},
        {20, 8, PLEAT_E_INVALID},
        {0, 0, PLEAT_E_INVALID},
        {0, 3, PLEAT_E_INVALID},
        {0, 16, PLEAT_E_INVALID},
        {UINT32_MAX, 1, PLEAT_E_INVALID},
        {UINT32_MAX - 3, 8, PLEAT_E_INVALID},
    };
    for (size_t i = 0; i < sizeof(accesses) / sizeof(accesses[0]); i++) {
        assert_int_equal(ops->config_read(bench->device, accesses[i].offset, bytes, accesses[i].length),
                         accesses[i].result);
        if (accesses[i].result) {
            assert_int_equal(ops->config_write(bench->device, accesses[i].offset, bytes, accesses[i].length),
                             accesses[i].result);
        }
    }
    assert_int_equal(bench->writes, 0);
    const uint8_t four[4] = {1, 2, 3, 4};
    memcpy(bytes, four, 4);
    assert_int_equal(ops->config_write(bench->device, 8, bytes, 4), PLEAT_OK);
    assert_int_equal(ops->config_write(bench->device, 12, bytes, 4), PLEAT_E_UNSUPPORTED);
    memset(bytes, 0, 4);
    assert_int_equal(ops->config_read(bench->device, 8, bytes, 4), PLEAT_OK);
    assert_memory_equal(bytes, four, 4);
}

static void fields_of_one_generation_are_read_in_host_order(void **state)
{
    struct bench *bench = *state;
    const uint8_t bytes[16] = {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
                               0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8};
    const struct pleat_virtio_config_field fields[] = {{0, 8}, {8, 4}, {12, 2}, {14, 1}};
    uint64_t values[4];
    assert_int_equal(pleat_virtio_device_set_config(bench->device, 0, bytes, 16, false), PLEAT_OK);
    assert_int_equal(pleat_virtio_config_read_fields(&bench->transport, fields, 4, 3, values), PLEAT_OK);
    assert_true(values[0] == UINT64_C(0x8877665544332211));
    assert_true(values[1] == 0xa4a3a2a1);
    assert_true(values[2] == 0xa6a5);
    assert_true(values[3] == 0xa7);
    const struct pleat_virtio_config_field bad[] = {{0, 16}, {0, 3}, {24, 1}};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pleat_virtio_config_read_fields(&bench->transport, &bad[i], 1, 3, values),
                         PLEAT_E_INVALID);
    }
}

/* A transport whose config changes under the reader, `churn` times. */
static struct bench *churning;
static int churn;
static int churned_reads;

static int churning_read(void *context, uint32_t offset, void *to, uint32_t length)
{
    const int result = churning->transport.ops->config_read(context, offset, to, length);
    churned_reads++;
    if (churn > 0) {
        const uint8_t byte = (uint8_t)churn--;
        pleat_virtio_device_set_config(churning->device, 0, &byte, 1, false);
    }
    return result;
}

static void torn_config_is_read_again_so_often_and_no_more(void **state)
{
    struct bench *bench = *state;
    struct pleat_virtio_transport_ops ops = *bench->transport.ops;
    const struct pleat_virtio_transport transport = {&ops, bench->device};
    const struct pleat_virtio_config_field field = {0, 1};
    uint64_t value;
    ops.config_read = churning_read;
    churning = bench;

    churn = 2;
    churned_reads = 0;
    assert_int_equal(pleat_virtio_config_read_fields(&transport, &field, 1, 3, &value), PLEAT_OK);
    assert_int_equal(churned_reads, 3);
    assert_int_equal(value, 1);
    churn = 100;
    churned_reads = 0;
    assert_int_equal(pleat_virtio_config_read_fields(&transport, &field, 1, 3, &value), PLEAT_E_BUSY);
    assert_int_equal(churned_reads, 3);
    churned_reads = 0;
    assert_int_equal(pleat_virtio_config_read_fields(&transport, &field, 1, 0, &value), PLEAT_E_BUSY);
    assert_int_equal(churned_reads, 1);
}

static void device_without_handler_and_interrupt_works(void **state)
{
    struct bench *bench = *state;
    struct pleat_virtio_device_config config = device_config(bench);
    config.handler = NULL;
    config.interrupt = NULL;
    pleat_virtio_device_destroy(bench->device);
    assert_int_equal(pleat_virtio_device_create(&config, &bench->device), PLEAT_OK);
    bench->transport = pleat_virtio_in_process(bench->device);
    bring_up(bench);
    bench->transport.ops->notify(bench->device, 0);
    pleat_virtio_device_interrupt_queue(bench->device, 0);
    assert_int_equal(bench->transport.ops->interrupt_acknowledge(bench->device),
                     PLEAT_VIRTIO_INTERRUPT_QUEUE);
    const uint8_t byte = 1;
    assert_int_equal(bench->transport.ops->config_write(bench->device, 0, &byte, 1), PLEAT_E_UNSUPPORTED);
    bench->transport.ops->reset_begin(bench->device);
    assert_int_equal(bench->transport.ops->reset_poll(bench->device), PLEAT_OK);
    pleat_virtio_device_destroy(NULL);
}

/** A guest that does anything in any order: the device stays consistent, and a reset brings it back. */
static void random_guest_can_always_reset(void **state)
{
    struct bench *bench = *state;
    const struct pleat_virtio_transport_ops *ops = bench->transport.ops;
    struct test_random seed;
    ring_test_seed(&seed, 0x7e57);
    for (int i = 0; i < 20000; i++) {
        const uint16_t index = (uint16_t)test_random_below(&seed, 3);
        const bool had_queue = pleat_virtio_device_queue(bench->device, index) != NULL;
        const uint8_t status = ops->get_status(bench->device);
        switch (test_random_below(&seed, 10)) {
        case 0:
            bench->resets_by_itself = test_random_below(&seed, 2);
            ops->reset_begin(bench->device);
            break;
        case 1:
            pleat_virtio_device_complete_reset(bench->device);
            break;
        case 2:
            pleat_virtio_device_write_status(bench->device, (uint8_t)test_random_next(&seed));
            break;
        case 3:
            ops->set_features(bench->device, test_random_next(&seed) & 7 ? PLEAT_VIRTIO_F_VERSION_1 : 0);
            break;
        case 4:
            set_up_queue(bench, index, (uint16_t)(1u << test_random_below(&seed, 5)));
            break;
        case 5:
            ops->queue_enable(bench->device, index);
            break;
        case 6:
            ops->notify(bench->device, index);
            break;
        case 7:
            ops->add_status(bench->device, ACKNOWLEDGE | DRIVER);
            break;
        case 8:
            ops->add_status(bench->device, DRIVER_OK);
            break;
        default:
            assert_true(!had_queue || (status & DRIVER_OK));
            break;
        }
        const uint8_t now = ops->get_status(bench->device);
        assert_true(!(now & DRIVER_OK) || (now & FEATURES_OK));
        assert_true(!(now & FEATURES_OK) || (now & DRIVER));
        assert_true(now == 0 || (now & status) == status || status == 0);
    }
    pleat_virtio_device_complete_reset(bench->device);
    bench->resets_by_itself = true;
    bring_up(bench);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(numbers_out_of_range_are_refused_at_create),
        TEST(request_goes_all_the_way_and_back),
        TEST(features_that_the_device_can_not_serve_are_refused),
        TEST(features_that_change_while_they_are_looked_at_are_not_fixed),
        TEST(a_queue_that_was_checked_for_other_features_is_not_set_up),
        TEST(negotiation_takes_wanted_and_demands_required),
        TEST(status_bits_out_of_order_are_ignored),
        TEST(queues_out_of_order_or_range_are_refused),
        TEST(status_reads_0_only_when_the_device_has_stopped),
        TEST(reset_forgets_what_the_driver_said_and_keeps_the_config),
        TEST(needs_reset_stops_queues_and_tells_the_driver),
        TEST(driver_that_gives_up_stops_queues),
        TEST(config_changes_count_and_interrupt_when_told_to),
        TEST(config_access_is_by_fields_inside_of_the_space),
        TEST(fields_of_one_generation_are_read_in_host_order),
        TEST(torn_config_is_read_again_so_often_and_no_more),
        TEST(device_without_handler_and_interrupt_works),
        TEST(random_guest_can_always_reset),
    };
    return cmocka_run_group_tests_name("virtio in one process", tests, NULL, NULL);
}
