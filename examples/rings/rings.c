/* SPDX-License-Identifier: MIT
 *
 * The rings alone: both sides of one virtqueue over one piece of memory. The driver's side asks, the
 * device's side answers; in between only the ring, with addresses that the device checks. No transport and
 * no device model: notifications and interrupts are function calls that a real one would replace.
 */
#include <stdio.h>
#include <string.h>

#include <pleat/virtio_device_ring.h>
#include <pleat/virtio_driver_ring.h>

#define PHYSICAL UINT64_C(0x40000000) /* where the guest and the device agree that `shared` lies */
#define BUFFERS  4096                 /* the ring comes first, the buffers behind it */

static _Alignas(64) unsigned char shared[8192];
static _Alignas(64) unsigned char private_storage[4096];

/* The device's view of guest memory: nothing but `shared` exists. */
static void *guest_pointer(void *context, uint64_t physical, uint64_t length, bool write)
{
    (void)context;
    (void)write;
    return physical >= PHYSICAL && length <= sizeof(shared) && physical - PHYSICAL <= sizeof(shared) - length
               ? shared + (physical - PHYSICAL)
               : NULL;
}

/* What a device does when it is notified. */
static unsigned serve(struct pleat_virtqueue *queue)
{
    struct pleat_virtqueue_segment segments[8];
    struct pleat_virtqueue_chain chain = {.segments = segments, .capacity = 8};
    unsigned served = 0;
    int popped;

    while ((popped = pleat_virtqueue_pop(queue, &chain)) != 0) {
        char text[64];
        int64_t length = 0;

        if (popped == PLEAT_E_PROTOCOL)
            break; /* the ring is broken: a device would set NEEDS_RESET */
        if (popped == 1) {
            length = pleat_virtqueue_read(queue, &chain, 0, text, sizeof(text));
            for (int64_t i = 0; i < length / 2; i++) {
                const char swap = text[i];
                text[i] = text[length - 1 - i];
                text[length - 1 - i] = swap;
            }
            length = pleat_virtqueue_write(queue, &chain, 0, text, (uint32_t)length);
        }
        /* A bad chain (PLEAT_E_REFUSED) goes back with nothing written. */
        if (pleat_virtqueue_push(queue, &chain, length > 0 ? (uint32_t)length : 0))
            break;
        served++;
    }
    return served;
}

int main(void)
{
    const uint64_t features = PLEAT_VIRTIO_F_RING_PACKED;
    const struct pleat_virtio_ring_config config = {.features = features, .size = 8};
    const struct pleat_virtio_ring_memory memory = {.shared = shared,
                                                    .shared_physical = PHYSICAL,
                                                    .shared_bytes = BUFFERS,
                                                    .private_storage = private_storage,
                                                    .private_bytes = sizeof(private_storage)};
    const struct pleat_guest_memory guest = {.guest_pointer = guest_pointer};
    struct pleat_virtio_ring ring;
    struct pleat_virtqueue queue;

    if (pleat_virtio_ring_init(&ring, &config, &memory))
        return 1;
    const struct pleat_virtio_queue_addresses at = pleat_virtio_ring_addresses(&ring);
    const struct pleat_virtqueue_config device = {.features = features,
                                                  .size = config.size,
                                                  .descriptor_physical = at.descriptor_physical,
                                                  .driver_physical = at.driver_physical,
                                                  .device_physical = at.device_physical};
    if (pleat_virtqueue_init(&queue, &device, &guest))
        return 1;

    static const char *const words[] = {"plug", "online", "unplug"};
    for (unsigned i = 0; i < 3; i++) {
        unsigned char *buffer = shared + BUFFERS + (size_t)i * 128;
        const uint64_t physical = PHYSICAL + BUFFERS + i * 128;
        const struct pleat_virtio_buffer chain[] = {
            {.physical = physical, .length_bytes = (uint32_t)strlen(words[i])},
            {.physical = physical + 64, .length_bytes = 64, .device_writable = true}};

        memcpy(buffer, words[i], strlen(words[i]));
        if (pleat_virtio_ring_add(&ring, chain, 2, i))
            return 1;
    }
    pleat_virtio_ring_publish(&ring);
    if (pleat_virtio_ring_should_notify(&ring))
        printf("the device is notified and serves %u chains\n", serve(&queue));

    uint64_t token;
    uint32_t written;
    int polled;
    while ((polled = pleat_virtio_ring_poll(&ring, &token, &written)) == 1)
        printf("%s: %.*s\n", words[token], (int)written, (char *)shared + BUFFERS + token * 128 + 64);
    return polled || pleat_virtio_ring_free_slots(&ring) != config.size;
}
