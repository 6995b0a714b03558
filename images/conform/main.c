/* SPDX-License-Identifier: MIT
 *
 * pleat-conform.elf: holds each virtio-mem device of the machine against the specification, and prints TAP.
 *
 *     host=yes        somebody answers the lines that begin with "want"; without, nobody is asked
 *     only=ID         the checks with this id alone
 *     ring=packed     with the packed ring, where it is offered; without, the split one
 *     event-index=no  without the event index
 *
 * What the host is asked for, one line each:
 *
 *     want requested-size BYTES of ADDRESS    of the device whose region is at ADDRESS
 *     want system-reset
 *
 * A system reset takes this image with it. What it has to know afterwards is in a frame in the middle of
 * memory, which neither firmware nor the next boot of the image writes to.
 *
 * Exits with 0 if nothing failed, 1 if something did, 2 if there is no device.
 */
#include "pleat_port.h"

#include <pleat/virtio_pci.h>
#include <pleat/wire/virtio_mem.h>

#include "conform/conform.h"
#include "images/contract/arguments.h"
#include "ports/bare/platform.h"
#include "ports/bare/platform_virtio.h"
#include "ports/bare/print.h"

#define FRAME_BYTES    UINT64_C(4096)
#define FUNCTIONS_MOST 256u
/* How long the host may take to answer; it may have a lot to do besides. */
#define PATIENCE_NS UINT64_C(20000000000)

enum { VECTOR_CONFIG = 0, VECTOR_QUEUE = 1, VECTORS = 2 };

/* What is in the frame that outlives a system reset. */
struct over_reset {
    struct conform_kept kept;
    uint64_t function; /* index among the virtio-mem devices */
    uint64_t failed;   /* checks of the devices before it */
    uint64_t numbered;
};

/* A device under test. */
struct subject {
    struct platform_pci function;
    struct pleat_virtio_pci pci;
    struct pleat_virtio_transport transport;
    unsigned index;
    bool has_vectors;
    bool has_pin;
    uint64_t address; /* of its region, from the config space, with its block size and length */
    uint64_t block_bytes;
    uint64_t region_bytes;
    uint64_t mapped; /* the block that is mapped for touches; UINT64_MAX: none */
};

static struct subject subject;
static uint32_t interrupt_bits;
static uint64_t private_storage[CONFORM_PRIVATE_BYTES / 8];
static uint64_t shared_pfn;
static struct over_reset *over_reset;
static unsigned numbered, failed;
static unsigned number_before; /* results of the devices before this one */

/* --- Frames --------------------------------------------------------------------------------------------- */

static void *pointer(uint64_t pfn)
{
    return platform.port.frame_pointer(platform.port.context, pfn);
}

/*
 * Takes frames for what the device shares and for what outlives a system reset out of the largest free span
 * below 4 GiB. Before anything else is asked of the port, which may take memory from that span's end: so they
 * are the same at each boot.
 */
static bool choose_frames(void)
{
    const struct pleat_boot_span *largest = NULL;
    for (unsigned i = 0; i < platform.span_count; i++) {
        const struct pleat_boot_span *span = &platform.spans[i];
        if (span->use == PLEAT_BOOT_FREE && span->start_pfn + span->frames <= (UINT64_C(1) << 20) &&
            (!largest || span->frames > largest->frames)) {
            largest = span;
        }
    }
    if (!largest || largest->frames < 64) {
        return false;
    }
    shared_pfn = largest->start_pfn;
    over_reset = pointer(largest->start_pfn + largest->frames / 2);
    return true;
}

/* --- Interrupts ----------------------------------------------------------------------------------------- */

static void on_config(void *context)
{
    (void)context;
    __atomic_fetch_or(&interrupt_bits, PLEAT_VIRTIO_INTERRUPT_CONFIG, __ATOMIC_RELAXED);
}

static void on_queue(void *context)
{
    (void)context;
    __atomic_fetch_or(&interrupt_bits, PLEAT_VIRTIO_INTERRUPT_QUEUE, __ATOMIC_RELAXED);
}

static void on_pin(void *context)
{
    const struct subject *its = context;
    if (its->has_pin) {
        __atomic_fetch_or(&interrupt_bits, its->transport.ops->interrupt_acknowledge(its->transport.context),
                          __ATOMIC_RELAXED);
    }
}

/* Vectors, or the pin, or nothing. */
static void route_interrupts(struct subject *its)
{
    static void (*const handlers[VECTORS])(void *) = {on_config, on_queue};
    bool good = pleat_virtio_pci_vectors(&its->pci) >= VECTORS;
    for (unsigned i = 0; i < VECTORS && good; i++) {
        uint64_t address = 0;
        uint32_t data = 0;
        good = !platform_message_interrupt(handlers[i], its, &address, &data) &&
               !pleat_virtio_pci_set_vector(&its->pci, i, address, data) &&
               !pleat_virtio_pci_mask_vector(&its->pci, i, false);
    }
    its->has_vectors = good && !pleat_virtio_pci_use_vectors(&its->pci, true);
    its->transport = pleat_virtio_pci_transport(&its->pci);
    if (!its->has_vectors && its->transport.ops->interrupt_acknowledge) {
        its->has_pin = !platform_pin_interrupt(on_pin, its);
    }
}

static int set_vectors(void *context)
{
    const struct subject *its = context;
    if (!its->has_vectors) {
        return PLEAT_OK;
    }
    const struct pleat_virtio_transport *transport = &its->transport;
    const int error =
        transport->ops->set_vector(transport->context, PLEAT_VIRTIO_VECTOR_OF_CONFIG, VECTOR_CONFIG);
    return error
               ? error
               : transport->ops->set_vector(transport->context, PLEAT_VIRTIO_MEM_QUEUE_REQUEST, VECTOR_QUEUE);
}

static uint32_t interrupts(void *context)
{
    (void)context;
    return __atomic_exchange_n(&interrupt_bits, 0, __ATOMIC_RELAXED);
}

/* --- The device's memory -------------------------------------------------------------------------------- */

static uint64_t config_field(const struct subject *its, uint32_t offset)
{
    const struct pleat_virtio_config_field field = {(uint16_t)offset, 8};
    uint64_t value = 0;
    return pleat_virtio_config_read_fields(&its->transport, &field, 1, 100, &value) ? 0 : value;
}

static bool firmware_has(uint64_t address, uint64_t bytes)
{
    for (unsigned i = 0; i < platform.area_count; i++) {
        const struct platform_area *area = &platform.areas[i];
        if (address >= area->start && address - area->start <= area->bytes &&
            bytes <= area->bytes - (address - area->start)) {
            return true;
        }
    }
    return false;
}

static void unmap_block(struct subject *its)
{
    if (its->mapped != UINT64_MAX && platform.port.unmap) {
        platform.port.unmap(platform.port.context, its->mapped / FRAME_BYTES, its->block_bytes / FRAME_BYTES);
    }
    its->mapped = UINT64_MAX;
}

/* Maps the block that is touched, in place of the one before. */
static int touch(void *context, uint64_t physical, uint8_t *byte, bool write)
{
    struct subject *its = context;
    const uint64_t block = physical & ~(its->block_bytes - 1);
    if (its->mapped != block) {
        unmap_block(its);
        if (platform.port.map &&
            platform.port.map(platform.port.context, block / FRAME_BYTES, its->block_bytes / FRAME_BYTES)) {
            return PLEAT_E_UNSUPPORTED;
        }
        its->mapped = block;
    }
    volatile unsigned char *at =
        (volatile unsigned char *)pointer(physical / FRAME_BYTES) + physical % FRAME_BYTES;
    if (!platform_touch(at, false)) {
        return PLEAT_E_REFUSED;
    }
    if (!write) {
        *byte = *at;
        return PLEAT_OK;
    }
    if (!platform_touch(at, true)) {
        return PLEAT_E_REFUSED;
    }
    *at = *byte;
    return PLEAT_OK;
}

/* --- Host and clock ------------------------------------------------------------------------------------- */

static uint64_t clock_ns(void *context)
{
    (void)context;
    return platform_clock_ns();
}

static void relax(void *context)
{
    (void)context;
    pleat_port_pause();
}

static void ask_requested(void *context, uint64_t bytes)
{
    const struct subject *its = context;
    print("want requested-size %lu of 0x%lx\n", (unsigned long)bytes, (unsigned long)its->address);
}

static int system_reset(void *context, const struct conform_kept *kept)
{
    const struct subject *its = context;
    const uint64_t end_ns = platform_clock_ns() + PATIENCE_NS;
    *over_reset = (struct over_reset){
        .kept = *kept, .function = its->index, .failed = failed, .numbered = number_before};
    print("want system-reset\n");
    while (platform_clock_ns() < end_ns) {
        pleat_port_pause();
    }
    over_reset->kept.magic = 0;
    return PLEAT_E_TIMEOUT;
}

/* --- Results -------------------------------------------------------------------------------------------- */

static void write_text(void *context, const char *text, size_t bytes)
{
    (void)context;
    platform_write(text, bytes);
}

static void take_result(void *context, const struct conform_result *result)
{
    struct conform_result numbered_anew = *result;
    (void)context;
    numbered_anew.number += number_before;
    numbered = numbered_anew.number;
    failed += result->verdict == CONFORM_FAIL;
    conform_print_tap(&numbered_anew, write_text, NULL);
}

/* --- The run -------------------------------------------------------------------------------------------- */

/* Runs the checks of one device, or what is left of them after a system reset. */
static void run(struct subject *its, const struct over_reset *over)
{
    const bool host = argument_is("host", "yes");
    char only[32];
    struct conform_counts counts;
    its->mapped = UINT64_MAX;
    its->address = config_field(its, offsetof(struct pleat_virtio_mem_config, address));
    its->block_bytes = config_field(its, offsetof(struct pleat_virtio_mem_config, block_size));
    its->region_bytes = config_field(its, offsetof(struct pleat_virtio_mem_config, region_size));
    const bool can_touch = firmware_has(its->address, its->region_bytes) && its->block_bytes >= FRAME_BYTES;
    print("# device %u: PCI %x:%x:%x.%u, interrupts by %s%s\n", its->index, its->function.segment,
          its->function.bus, its->function.device, its->function.function,
          its->has_vectors ? "MSI-X"
          : its->has_pin   ? "its pin"
                           : "nothing",
          can_touch ? "" : "; firmware names no area at its region, so its memory isn't touched");
    const struct conform_environment environment = {
        .transport = &its->transport,
        .context = its,
        .shared = pointer(shared_pfn),
        .shared_physical = shared_pfn * FRAME_BYTES,
        .private_storage = private_storage,
        .clock_ns = clock_ns,
        .relax = relax,
        .patience_ns = PATIENCE_NS,
        .interrupts = its->has_vectors || its->has_pin ? interrupts : NULL,
        .set_vectors = set_vectors,
        .touch = can_touch ? touch : NULL,
        .ask_requested = host ? ask_requested : NULL,
        .system_reset = host ? system_reset : NULL,
        .result = take_result,
        .features = (argument_is("ring", "packed") ? PLEAT_VIRTIO_F_RING_PACKED : 0) |
                    (argument_is("event-index", "no") ? 0 : PLEAT_VIRTIO_F_EVENT_IDX),
    };
    if (over) {
        (void)conform_resume(&environment, &over->kept, &counts);
    } else {
        (void)conform_run(&environment, argument_text("only", only, sizeof(only)) ? only : NULL, &counts);
    }
    unmap_block(its);
    pleat_virtio_pci_stop(&its->pci);
    number_before = numbered;
}

int image_main(void)
{
    static struct platform_pci functions[FUNCTIONS_MOST];
    if (!choose_frames()) {
        print("Bail out! no free memory below 4 GiB\n");
        return 2;
    }
    const unsigned there = platform_pci_list(functions, FUNCTIONS_MOST);
    unsigned devices = 0;
    struct over_reset resumed;

    const bool resumes = argument_is("host", "yes") && conform_is_kept(&over_reset->kept);
    if (resumes) {
        resumed = *over_reset;
        over_reset->kept.magic = 0;
        number_before = (unsigned)resumed.numbered;
        failed = (unsigned)resumed.failed;
        print("# after the system reset\n");
    } else {
        print("TAP version 13\n# %s\n", platform.architecture);
    }
    for (unsigned i = 0; i < there && i < FUNCTIONS_MOST; i++) {
        struct subject *its = &subject;
        *its = (struct subject){.function = functions[i], .index = devices};
        if (pleat_virtio_pci_init(&its->pci, &platform_virtio_pci_ops, &its->function) ||
            its->pci.device_type != PLEAT_VIRTIO_MEM_DEVICE_ID) {
            continue;
        }
        devices++;
        if (resumes && its->index < resumed.function) {
            continue;
        }
        route_interrupts(its);
        run(its, resumes && its->index == resumed.function ? &resumed : NULL);
    }
    if (devices == 0) {
        print("1..0 # SKIP no virtio-mem device\n");
        return 2;
    }
    print("1..%u\n", numbered);
    return failed ? 1 : 0;
}
