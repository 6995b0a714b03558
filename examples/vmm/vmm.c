/* SPDX-License-Identifier: MIT
 *
 * The smallest VMM with virtio-mem: the device's state machine, mmap(), and nothing else of Pleat. Guest
 * memory is one mapping; what isn't plugged is inaccessible in it. In place of a guest, a list of the
 * requests that one could send, and of what the host and the VMM's user do in between.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <pleat/virtio_mem_device.h>

#define MiB           (UINT64_C(1) << 20)
#define REGION_START  (UINT64_C(1) << 32) /* where the guest sees the region */
#define REGION_BYTES  (64 * MiB)
#define GUEST_FEATURE (UINT64_C(1) << PLEAT_VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE)

struct vmm {
    uint8_t *region; /* where the VMM sees it */
    bool host_is_full;
};

/* What the device asks of a VMM: let the guest at memory, keep it away, give it back to the host. */
static int map(void *context, uint64_t offset, uint64_t bytes)
{
    struct vmm *vmm = context;
    if (vmm->host_is_full || mprotect(vmm->region + offset, bytes, PROT_READ | PROT_WRITE))
        return PLEAT_E_NO_MEMORY;
    return PLEAT_OK;
}

static int unmap(void *context, uint64_t offset, uint64_t bytes)
{
    struct vmm *vmm = context;
    return mprotect(vmm->region + offset, bytes, PROT_NONE) ? PLEAT_E_NO_MEMORY : PLEAT_OK;
}

static int discard(void *context, uint64_t offset, uint64_t bytes)
{
    struct vmm *vmm = context;
    return madvise(vmm->region + offset, bytes, MADV_DONTNEED) ? PLEAT_E_UNSUPPORTED : PLEAT_OK;
}

static void config_interrupt(void *context)
{
    (void)context;
    printf("    (the guest is interrupted: its config space has changed)\n");
}

static const struct pleat_virtio_mem_device_ops ops = {
    .map = map, .unmap = unmap, .discard = discard, .config_interrupt = config_interrupt};

/* The guest puts a request into its queue, the VMM takes it out and the answer goes back. */
static void guest_sends(struct pleat_virtio_mem_device *device, unsigned type, uint64_t first_mib,
                        unsigned blocks)
{
    static const char *const types[] = {"PLUG", "UNPLUG", "UNPLUG_ALL", "STATE", "(unknown)"};
    static const char *const answers[] = {"ACK", "NACK", "BUSY", "ERROR"};
    static const char *const states[] = {", plugged", ", unplugged", ", mixed"};
    struct pleat_virtio_mem_request request;
    uint8_t response[PLEAT_VIRTIO_MEM_RESPONSE_BYTES];

    memset(&request, 0, sizeof(request));
    request.type = pleat_le16((uint16_t)type);
    request.address = pleat_le64(REGION_START + first_mib * MiB);
    request.block_count = pleat_le16((uint16_t)blocks);
    const int answer = pleat_virtio_mem_device_handle(device, &request, sizeof(request), response);
    const bool told = type == PLEAT_VIRTIO_MEM_REQ_STATE && answer == PLEAT_VIRTIO_MEM_RESP_ACK;
    printf("guest: %-10s %2u blocks at %3" PRIu64 " MiB: %s%s\n", types[type < 4 ? type : 4], blocks,
           first_mib, answers[answer], told ? states[pleat_read_le16(response + 8)] : "");
}

static void show(const struct pleat_virtio_mem_device *device)
{
    uint64_t offset = 0, bytes;
    printf("vmm:   %" PRIu64 " MiB of %" PRIu64 " MiB plugged:",
           pleat_virtio_mem_device_plugged_bytes(device) / MiB,
           pleat_virtio_mem_device_requested_bytes(device) / MiB);
    for (; pleat_virtio_mem_device_next_plugged(device, offset, &offset, &bytes); offset += bytes)
        printf(" [%" PRIu64 ", %" PRIu64 ")", offset / MiB, (offset + bytes) / MiB);
    printf("\n");
}

int main(void)
{
    const struct pleat_virtio_mem_device_config config = {
        .address = REGION_START, .region_bytes = REGION_BYTES, .requested_bytes = 16 * MiB};
    static uint64_t storage[128]; /* the device's books; more blocks need more */
    struct pleat_virtio_mem_device *device;
    struct vmm vmm = {.host_is_full = false};

    vmm.region = mmap(NULL, REGION_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (vmm.region == MAP_FAILED ||
        pleat_virtio_mem_device_create(&config, &ops, &vmm, storage, sizeof(storage), &device))
        return 1;
    printf("vmm:   %zu bytes of books for %" PRIu64 " MiB\n", pleat_virtio_mem_device_storage_bytes(&config),
           REGION_BYTES / MiB);

    /* A driver that may touch unplugged memory is refused; the next one promises not to. */
    printf("vmm:   a driver without the promise: %s\n",
           pleat_error_text(pleat_virtio_mem_device_accept(device, 0)));
    printf("vmm:   a driver with it: %s\n",
           pleat_error_text(pleat_virtio_mem_device_accept(device, GUEST_FEATURE)));

    guest_sends(device, PLEAT_VIRTIO_MEM_REQ_PLUG, 0, 4);
    memset(vmm.region, 0x42, 8 * MiB); /* the guest uses it */
    guest_sends(device, PLEAT_VIRTIO_MEM_REQ_PLUG, 32, 4);
    guest_sends(device, PLEAT_VIRTIO_MEM_REQ_PLUG, 40, 1); /* more than is requested */
    show(device);

    printf("user:  32 MiB, please\n");
    if (pleat_virtio_mem_device_set_requested(device, 32 * MiB))
        return 1;
    vmm.host_is_full = true;
    guest_sends(device, PLEAT_VIRTIO_MEM_REQ_PLUG, 40, 8);
    vmm.host_is_full = false;
    guest_sends(device, PLEAT_VIRTIO_MEM_REQ_PLUG, 40, 8);
    guest_sends(device, PLEAT_VIRTIO_MEM_REQ_PLUG, 4, 1); /* plugged already */
    guest_sends(device, PLEAT_VIRTIO_MEM_REQ_STATE, 0, 8);
    show(device);

    printf("user:  8 MiB, please\n");
    if (pleat_virtio_mem_device_set_requested(device, 8 * MiB))
        return 1;
    guest_sends(device, PLEAT_VIRTIO_MEM_REQ_UNPLUG, 32, 12);
    guest_sends(device, PLEAT_VIRTIO_MEM_REQ_UNPLUG, 63, 1); /* no whole block */
    guest_sends(device, 7, 0, 1);
    show(device);

    printf("vmm:   the machine is reset\n");
    if (pleat_virtio_mem_device_system_reset(device))
        return 1;
    show(device);
    pleat_virtio_mem_device_destroy(device);
    munmap(vmm.region, REGION_BYTES);
    return 0;
}
