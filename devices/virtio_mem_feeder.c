/* SPDX-License-Identifier: MIT
 *
 * From a virtqueue to the virtio-mem device and back.
 *
 * Whether an answer can be written is found out before the request is handled, by writing an ERROR in its
 * place: a guest that has lost its answer shouldn't also have lost its memory. It can still bring that about
 * by unplugging the memory that the answer goes to, and harms itself alone.
 */
#include <string.h>

#include <pleat/virtio_mem_feeder.h>

void pleat_virtio_mem_feeder_init(struct pleat_virtio_mem_feeder *feeder,
                                  struct pleat_virtio_mem_device *device)
{
    memset(feeder, 0, sizeof(*feeder));
    feeder->device = device;
}

static void show_config(const struct pleat_virtio_mem_feeder *feeder)
{
    struct pleat_virtio_mem_config space;
    if (!feeder->registers)
        return;
    pleat_virtio_mem_device_config_space(feeder->device, &space);
    /* Only a config space that is too short could refuse, and then nobody could read it either. */
    (void)pleat_virtio_device_set_config(feeder->registers, 0, &space, sizeof(space), false);
}

static bool write_answer(const struct pleat_virtqueue *queue, const struct pleat_virtqueue_chain *chain,
                         const uint8_t *answer)
{
    return pleat_virtqueue_write(queue, chain, 0, answer, PLEAT_VIRTIO_MEM_RESPONSE_BYTES) ==
           PLEAT_VIRTIO_MEM_RESPONSE_BYTES;
}

enum outcome { ANSWERED, UNANSWERED, KEPT };

static enum outcome serve(struct pleat_virtio_mem_feeder *feeder, const struct pleat_virtqueue *queue,
                          const struct pleat_virtqueue_chain *chain)
{
    static const uint8_t error[PLEAT_VIRTIO_MEM_RESPONSE_BYTES] = {PLEAT_VIRTIO_MEM_RESP_ERROR};
    uint8_t request[PLEAT_VIRTIO_MEM_REQUEST_BYTES];
    uint8_t response[PLEAT_VIRTIO_MEM_RESPONSE_BYTES];

    /* Read first: a guest may lay the answer over the request. */
    const int64_t bytes = pleat_virtqueue_read(queue, chain, 0, request, sizeof(request));
    if (bytes < 0 || !write_answer(queue, chain, error))
        return UNANSWERED;
    const int answer = feeder->handle
                           ? feeder->handle(feeder->handle_context, request, (size_t)bytes, response)
                           : pleat_virtio_mem_device_handle(feeder->device, request, (size_t)bytes, response);
    if (answer < 0)
        return KEPT;
    show_config(feeder);
    return write_answer(queue, chain, response) ? ANSWERED : UNANSWERED;
}

int pleat_virtio_mem_feeder_step(struct pleat_virtio_mem_feeder *feeder, struct pleat_virtqueue *queue)
{
    struct pleat_virtqueue_segment segments[PLEAT_VIRTIO_MEM_FEEDER_SEGMENTS];
    struct pleat_virtqueue_chain chain = {.segments = segments, .capacity = PLEAT_VIRTIO_MEM_FEEDER_SEGMENTS};
    enum outcome outcome = UNANSWERED;

    const int popped = pleat_virtqueue_pop(queue, &chain);
    if (popped == 0 || popped == PLEAT_E_PROTOCOL)
        return popped;
    if (popped == 1)
        outcome = serve(feeder, queue, &chain);
    switch (outcome) {
    case KEPT:
        feeder->kept++;
        return 1;
    case ANSWERED:
        feeder->answered++;
        break;
    default:
        feeder->unanswered++;
    }
    const int pushed =
        pleat_virtqueue_push(queue, &chain, outcome == ANSWERED ? PLEAT_VIRTIO_MEM_RESPONSE_BYTES : 0);
    return pushed ? PLEAT_E_PROTOCOL : 1;
}

int pleat_virtio_mem_feeder_serve(struct pleat_virtio_mem_feeder *feeder, uint16_t index, unsigned budget)
{
    for (;;) {
        /* Asked for anew each time, because a reset takes it away. */
        struct pleat_virtqueue *queue = pleat_virtio_device_queue(feeder->registers, index);
        if (!queue)
            return PLEAT_E_STATE;
        if (!budget)
            return PLEAT_MORE;
        const int taken = pleat_virtio_mem_feeder_step(feeder, queue);
        if (taken < 0) {
            pleat_virtio_device_set_needs_reset(feeder->registers);
            return taken;
        }
        if (taken) {
            budget--;
            if (pleat_virtqueue_should_interrupt(queue))
                pleat_virtio_device_interrupt_queue(feeder->registers, index);
        } else if (!pleat_virtqueue_enable_notifications(queue)) {
            return PLEAT_OK;
        }
    }
}
