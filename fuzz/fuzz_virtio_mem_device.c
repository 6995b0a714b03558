/* SPDX-License-Identifier: MIT
 *
 * A hostile guest, and a host that fails: the input is a config, then steps of a kind and its bytes. After
 * each step the device is valid and the host's notes agree with its books.
 *
 *   byte 0       blocks of the region, 1 to 64
 *   byte 1       usable extra, in blocks
 *   byte 2       flags of the device
 *   then steps   kind, and what follows it:
 *     0-3  a whole request: 24 bytes as they come, but with the address moved into the region
 *     4    a raw request: a length (0 to 31) and so many bytes
 *     5    set_requested: a byte, in blocks
 *     6    accept: a byte of features
 *     7    reset, or system reset: a byte
 *     8    a host that fails: which callback and at which call
 *     9    load: the rest of the input, into a new device
 *     10   save and load into a new device
 */
#include <string.h>

#include <pleat/virtio_mem_device.h>

#include "fuzz/input.h"
#include "tests/support/fake_host.h"

#define BLOCK   UINT64_C(4096)
#define ADDRESS UINT64_C(0x10000000)

static struct fake_host host;
static struct pleat_virtio_mem_device_config config;
static struct pleat_virtio_mem_device *device;
static uint64_t storage[512];

static void create(void)
{
    fake_host_init(&host, BLOCK, config.region_bytes / BLOCK);
    demand(pleat_virtio_mem_device_create(&config, &fake_host_ops, &host, storage, sizeof(storage),
                                          &device) == 0);
}

static void check(void)
{
    /* Whether zeroes are there depends on the driver; what matters here is that RAM isn't. */
    demand(!host.complaint);
    demand(pleat_virtio_mem_device_is_valid(device));
    for (uint64_t b = 0; b < host.blocks; b++)
        demand((host.reach[b] == FAKE_MAPPED) ==
               pleat_virtio_mem_device_is_plugged(device, b * BLOCK, BLOCK));
}

static void handle(const uint8_t *bytes, size_t length)
{
    uint8_t response[12];
    memset(response, 0xee, sizeof(response));
    const int answer = pleat_virtio_mem_device_handle(device, bytes, length, response + 1);
    demand(response[0] == 0xee && response[11] == 0xee);
    demand(answer >= 0 && answer <= 3 && pleat_read_le16(response + 1) == answer);
    demand(pleat_read_le16(response + 9) <= 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    const uint64_t blocks = 1 + next_byte(&input) % 64;
    memset(&config, 0, sizeof(config));
    config.address = ADDRESS;
    config.block_bytes = BLOCK;
    config.region_bytes = blocks * BLOCK;
    config.usable_extra_bytes = 1 + next_byte(&input) * BLOCK;
    config.flags = (next_byte(&input) & 63) | PLEAT_VIRTIO_MEM_DEVICE_SERVE_READERS;
    create();
    while (input.left) {
        uint8_t bytes[72 + 64];
        size_t length;
        switch (next_byte(&input) % 11) {
        case 4:
            length = next_byte(&input) % 32;
            for (size_t i = 0; i < length; i++)
                bytes[i] = next_byte(&input);
            handle(bytes, length);
            break;
        case 5:
            (void)pleat_virtio_mem_device_set_requested(device, next_byte(&input) * BLOCK);
            break;
        case 6:
            (void)pleat_virtio_mem_device_accept(device, next_byte(&input));
            break;
        case 7:
            if (next_byte(&input) & 1)
                (void)pleat_virtio_mem_device_system_reset(device);
            else
                (void)pleat_virtio_mem_device_reset(device);
            break;
        case 8: {
            const uint8_t which = next_byte(&input);
            fake_host_heal(&host);
            struct fake_fault *const faults[] = {&host.map, &host.unmap, &host.discard, &host.zeroes};
            /* Once: a host that fails for good can't be told to undo, and this couldn't tell that apart. */
            faults[which & 3]->at = which >> 2 & 7;
            break;
        }
        case 9:
            create();
            length = input.left < sizeof(bytes) ? input.left : sizeof(bytes);
            memcpy(bytes, input.at, length);
            (void)pleat_virtio_mem_device_load(device, bytes, length);
            input.left -= length;
            input.at += length;
            break;
        case 10: {
            length = pleat_virtio_mem_device_save_bytes(device);
            demand(length <= sizeof(bytes) &&
                   pleat_virtio_mem_device_save(device, bytes, sizeof(bytes)) == 0);
            create();
            demand(pleat_virtio_mem_device_load(device, bytes, length) == 0);
            break;
        }
        default:
            for (length = 0; length < 24; length++)
                bytes[length] = next_byte(&input);
            pleat_write_le16(bytes, bytes[0] & 3);
            pleat_write_le64(bytes + 8, ADDRESS + (bytes[8] & 63) * BLOCK);
            bytes[17] &= 1;
            handle(bytes, length);
        }
        check();
    }
    pleat_virtio_mem_device_destroy(device);
    return 0;
}
