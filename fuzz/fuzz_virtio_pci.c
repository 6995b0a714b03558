/* SPDX-License-Identifier: MIT
 *
 * A hostile PCI function against the transport. The input is 256 bytes of configuration space, which bits of
 * the six BARs can be written, then what registers answer. What must hold: only pieces of memory BARs that
 * were announced are mapped, every access is aligned, of a register's width and inside of a mapped piece, and
 * on an error configuration space is as it was.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <pleat/virtio_pci.h>

#include "fuzz/input.h"

#define PIECES 5u
/* A structure has at most 4 GiB. Nothing is ever touched there: registers are functions. */
#define PIECE_BYTES (UINT64_C(1) << 32)

struct fuzz {
    struct input input;
    uint8_t config[256];
    uint32_t bar_bits[6];
    struct {
        const volatile uint8_t *at;
        uint64_t bytes;
    } pieces[PIECES];
    unsigned piece_count;
};

static uint8_t *space;

static uint32_t next_bytes(struct fuzz *fuzz, unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint32_t)next_byte(&fuzz->input) << (8 * i);
    }
    return value;
}

static bool is_access(uint64_t offset, unsigned bytes)
{
    return (bytes == 1 || bytes == 2 || bytes == 4) && offset % bytes == 0;
}

static uint32_t config_read(void *context, unsigned offset, unsigned bytes)
{
    const struct fuzz *fuzz = context;
    demand(is_access(offset, bytes) && offset + bytes <= sizeof(fuzz->config));
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint32_t)fuzz->config[offset + i] << (8 * i);
    }
    return value;
}

static void config_write(void *context, unsigned offset, unsigned bytes, uint32_t value)
{
    struct fuzz *fuzz = context;
    demand(is_access(offset, bytes) && offset + bytes <= sizeof(fuzz->config));
    if (offset >= 0x10 && offset < 0x28) {
        demand(bytes == 4);
        const uint32_t bits = fuzz->bar_bits[(offset - 0x10) / 4];
        value = (value & bits) | (config_read(fuzz, offset, 4) & ~bits);
    }
    for (unsigned i = 0; i < bytes; i++) {
        fuzz->config[offset + i] = (uint8_t)(value >> (8 * i));
    }
}

static void *map(void *context, unsigned bar, uint64_t address, uint64_t bytes)
{
    struct fuzz *fuzz = context;
    demand(bar < 6 && fuzz->piece_count < PIECES && bytes > 0 && bytes <= PIECE_BYTES);
    const uint32_t low = config_read(fuzz, 0x10 + 4 * bar, 4);
    demand((low & 1) == 0);
    uint64_t start = low & ~0xfu;
    /* A bit that can't be written and is set looks like one that can. */
    uint64_t mask = (fuzz->bar_bits[bar] | low) & ~UINT64_C(0xf) & UINT32_MAX;
    uint64_t last = UINT32_MAX;
    if ((low & 6) == 4) {
        demand(bar < 5);
        const uint32_t high = config_read(fuzz, 0x14 + 4 * bar, 4);
        start |= (uint64_t)high << 32;
        mask |= (uint64_t)(fuzz->bar_bits[bar + 1] | high) << 32;
        last = UINT64_MAX;
    }
    /* Inside of the BAR, which doesn't wrap and lies at a multiple of its size. */
    const uint64_t end = start + (last & ~mask);
    demand(start != 0 && (start & ~mask) == 0 && end >= start && end <= last);
    demand(address >= start && address + (bytes - 1) >= address && address + (bytes - 1) <= end);
    if (next_byte(&fuzz->input) == 0xff) {
        return NULL;
    }
    uint8_t *at = space + fuzz->piece_count * PIECE_BYTES + (address & 15);
    fuzz->pieces[fuzz->piece_count].at = at;
    fuzz->pieces[fuzz->piece_count++].bytes = bytes;
    return at;
}

static void check_register(const struct fuzz *fuzz, const volatile uint8_t *at, unsigned bytes)
{
    demand(is_access((uint64_t)(at - space), bytes));
    for (unsigned i = 0; i < fuzz->piece_count; i++) {
        if (at >= fuzz->pieces[i].at &&
            (uint64_t)(at - fuzz->pieces[i].at) + bytes <= fuzz->pieces[i].bytes) {
            return;
        }
    }
    abort();
}

static uint32_t read_register(void *context, const volatile void *from, unsigned bytes)
{
    struct fuzz *fuzz = context;
    check_register(fuzz, from, bytes);
    return next_bytes(fuzz, bytes);
}

static void write_register(void *context, volatile void *to, unsigned bytes, uint32_t value)
{
    check_register(context, to, bytes);
    demand(bytes == 4 || value >> (8 * bytes) == 0);
}

static const struct pleat_virtio_pci_ops ops = {config_read, config_write, map, read_register,
                                                write_register};

static void drive(struct fuzz *fuzz, struct pleat_virtio_pci *pci)
{
    while (fuzz->input.left > 0) {
        const struct pleat_virtio_transport transport = pleat_virtio_pci_transport(pci);
        const struct pleat_virtio_transport_ops *op = transport.ops;
        const uint8_t what = next_byte(&fuzz->input);
        const uint16_t index = (uint16_t)next_bytes(fuzz, what & 0x80 ? 2 : 1);
        uint8_t bytes[8] = {0};
        uint64_t negotiated;
        switch (what & 0xf) {
        case 0:
            op->reset_begin(pci);
            break;
        case 1:
            op->reset_poll(pci);
            break;
        case 2:
            pleat_virtio_negotiate(&transport, UINT64_MAX, 0, &negotiated);
            break;
        case 3:
            op->config_read(pci, index, bytes, next_byte(&fuzz->input));
            break;
        case 4:
            op->config_write(pci, index, bytes, next_byte(&fuzz->input));
            break;
        case 5:
            demand(op->queue_size_max(pci, index) <= PLEAT_VIRTQ_SIZE_MAX);
            break;
        case 6: {
            const struct pleat_virtio_queue_addresses areas = {0x10000, 0x20000, 0x30000};
            op->queue_setup(pci, index, (uint16_t)(1u << (next_byte(&fuzz->input) & 15)), &areas);
            break;
        }
        case 7:
            op->queue_enable(pci, index);
            break;
        case 8:
            op->notify(pci, index);
            break;
        case 9:
            if (op->interrupt_acknowledge) {
                demand(op->interrupt_acknowledge(pci) < 4);
            }
            break;
        case 10:
            if (op->set_vector) {
                op->set_vector(pci, index, (uint16_t)next_bytes(fuzz, 2));
            }
            break;
        case 11:
            pleat_virtio_pci_set_vector(pci, index, next_bytes(fuzz, 4), 1);
            break;
        case 12:
            pleat_virtio_pci_mask_vector(pci, index, what & 0x40);
            break;
        case 13:
            pleat_virtio_pci_use_vectors(pci, what & 0x40);
            break;
        case 14:
            pleat_virtio_pci_stop(pci);
            break;
        default:
            /* Configuration space changes under its feet. */
            fuzz->config[index & 0xff] = next_byte(&fuzz->input);
            break;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!space) {
        void *mapped = mmap(NULL, PIECES * PIECE_BYTES + 4096, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        demand(mapped != MAP_FAILED);
        space = mapped;
    }
    struct fuzz fuzz = {.input = {data, size}};
    for (unsigned i = 0; i < sizeof(fuzz.config); i++) {
        fuzz.config[i] = next_byte(&fuzz.input);
    }
    /* Which bits are address is a shift for each BAR, so that sizes that can be are likely. */
    for (unsigned i = 0; i < 6; i++) {
        const uint8_t shift = next_byte(&fuzz.input);
        fuzz.bar_bits[i] = shift < 32 ? UINT32_MAX << shift : shift < 64 ? 0 : next_bytes(&fuzz, 4);
    }
    uint8_t before[256];
    memcpy(before, fuzz.config, sizeof(before));
    struct pleat_virtio_pci pci;
    if (pleat_virtio_pci_init(&pci, &ops, &fuzz) == PLEAT_OK) {
        drive(&fuzz, &pci);
    } else {
        demand(memcmp(before, fuzz.config, sizeof(before)) == 0);
    }
    return 0;
}
