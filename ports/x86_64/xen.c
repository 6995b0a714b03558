/* SPDX-License-Identifier: MIT
 *
 * Xen: whether it is there, its hypercalls, the memory of this domain, and its end.
 *
 * Pages that belong to Xen (shared info, the grant table) are put where frames of the image were. Firmware's
 * map says that these are memory and the image that they are taken, so nothing else can ever come to lie
 * there, which holds of no address outside memory. The frames' own memory goes back to Xen.
 */
#include "xen.h"

#include <pleat/wire/little_endian.h>

#include "ports/bare/platform.h"
#include "ports/bare/print.h"

#include "paging.h"
#include "registers.h"
#include "xen_hypercall.h"

#include <xen/arch-x86/cpuid.h>
#include <xen/errno.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/memory.h>
#include <xen/sched.h>

#define LEAVES         0x40000000u
#define LEAVES_END     0x40010000u
#define LEAVES_STEP    0x100u
#define HYPERVISOR_BIT (1u << 31)
/* An entry of XENMEM_memory_map, as of E820: address, size, type. */
#define MAP_ENTRY_BYTES 20u
#define PAGE_SHIFT      12u
#define PAGE_BYTES      4096u

static uint32_t leaves;
static struct pleat_xen xen;

/* --- Presence ------------------------------------------------------------------------------------------- */

void xen_find(void)
{
    if (!(cpuid(1, 0).ecx & HYPERVISOR_BIT))
        return;
    for (uint32_t base = LEAVES; base < LEAVES_END; base += LEAVES_STEP) {
        struct cpuid is = cpuid(base, 0);
        if (is.ebx != XEN_CPUID_SIGNATURE_EBX || is.ecx != XEN_CPUID_SIGNATURE_ECX ||
            is.edx != XEN_CPUID_SIGNATURE_EDX)
            continue;
        msr_write(cpuid(base + 2, 0).ebx, (uintptr_t)xen_hypercall_page);
        leaves = base;
        return;
    }
}

bool xen_is_there(void)
{
    return leaves;
}

uint32_t xen_leaves(void)
{
    return leaves;
}

const struct pleat_xen *platform_xen(void)
{
    return xen.ops ? &xen : NULL;
}

int xen_error(long result)
{
    switch (-result) {
    case XEN_EINVAL:
        return PLEAT_E_INVALID;
    case XEN_ENOMEM:
    case XEN_ENOSPC:
        return PLEAT_E_NO_MEMORY;
    case XEN_ENOENT:
    case XEN_ESRCH:
        return PLEAT_E_NOT_FOUND;
    case XEN_EAGAIN:
    case XEN_EBUSY:
        return PLEAT_E_BUSY;
    case XEN_EACCES:
    case XEN_EPERM:
        return PLEAT_E_REFUSED;
    default:
        return PLEAT_E_DEVICE;
    }
}

uint64_t xen_parameter(unsigned index)
{
    struct xen_hvm_param is = {.domid = DOMID_SELF, .index = index};
    return xen_hvm_op(HVMOP_get_param, &is) ? 0 : is.value;
}

bool xen_set_parameter(unsigned index, uint64_t value)
{
    struct xen_hvm_param is = {.domid = DOMID_SELF, .index = index, .value = value};
    return !xen_hvm_op(HVMOP_set_param, &is);
}

/* --- Memory --------------------------------------------------------------------------------------------- */

unsigned xen_memory_map(const struct firmware *firmware, struct boot_memory *memory, unsigned most)
{
    static uint8_t raw[PVH_MEMORY * MAP_ENTRY_BYTES];
    struct xen_memory_map map = {.nr_entries = PVH_MEMORY};
    unsigned count = 0;

    if (!leaves)
        return 0;
    set_xen_guest_handle(map.buffer, raw);
    long result = xen_memory_op(XENMEM_memory_map, &map);
    if (result) {
        struct firmware_line line = firmware_line("xen: no memory map: ");
        firmware_line_text(&line, pleat_error_text(xen_error(result)));
        firmware->log(firmware->context, line.text);
        return 0;
    }
    for (; count < map.nr_entries && count < most; count++) {
        const uint8_t *entry = &raw[(size_t)count * MAP_ENTRY_BYTES];
        memory[count] = (struct boot_memory){.start = pleat_read_le64(entry),
                                             .bytes = pleat_read_le64(entry + 8),
                                             .type = pleat_read_le32(entry + 16)};
    }
    return count;
}

int xen_put_page(void *frame, unsigned space, unsigned index)
{
    struct xen_add_to_physmap place = {
        .domid = DOMID_SELF, .space = space, .idx = index, .gpfn = (uintptr_t)frame >> PAGE_SHIFT};
    long result = xen_memory_op(XENMEM_add_to_physmap, &place);
    return result ? xen_error(result) : PLEAT_OK;
}

static int64_t change(unsigned operation, const uint64_t *pfns, uint64_t count, unsigned order)
{
    struct xen_memory_reservation request = {.nr_extents = count, .extent_order = order, .domid = DOMID_SELF};

    /* Xen only reads them: an auto-translated guest is told no machine frames. */
    set_xen_guest_handle(request.extent_start, (xen_pfn_t *)(uintptr_t)pfns);
    long result = xen_memory_op(operation, &request);
    return result < 0 ? xen_error(result) : result;
}

static int64_t decrease(void *context, const uint64_t *pfns, uint64_t count, unsigned order)
{
    (void)context;
    return change(XENMEM_decrease_reservation, pfns, count, order);
}

static int64_t populate(void *context, const uint64_t *pfns, uint64_t count, unsigned order)
{
    (void)context;
    return change(XENMEM_populate_physmap, pfns, count, order);
}

static int64_t current_frames(void *context)
{
    domid_t self = DOMID_SELF;

    (void)context;
    long result = xen_memory_op(XENMEM_current_reservation, &self);
    return result < 0 ? xen_error(result) : result;
}

static int64_t maximum_frames(void *context)
{
    domid_t self = DOMID_SELF;

    (void)context;
    long result = xen_memory_op(XENMEM_maximum_reservation, &self);
    if (result < 0)
        return xen_error(result);
    /* What Xen has for a domain that was given none. */
    return result >= UINT32_MAX ? INT64_MAX : result;
}

uint64_t xen_growth_frames(uint64_t frames)
{
    int64_t most = maximum_frames(NULL);
    return most < 0 || (uint64_t)most < frames ? 0 : (uint64_t)most - frames;
}

/* --- Start and end -------------------------------------------------------------------------------------- */

static const struct pleat_xen_ops ops = {
    .decrease = decrease,
    .populate = populate,
    .current_frames = current_frames,
    .maximum_frames = maximum_frames,
    .map = xen_grants_map,
    .unmap = xen_grants_unmap,
    .event_offer = xen_event_offer,
    .event_bind = xen_event_bind,
    .event_listen = xen_event_listen,
    .event_send = xen_event_send,
    .event_close = xen_event_close,
};

static void find_store(void)
{
    uint64_t pfn = xen_parameter(HVM_PARAM_STORE_PFN);
    uint64_t channel = xen_parameter(HVM_PARAM_STORE_EVTCHN);

    if (!pfn || !channel || channel > UINT32_MAX)
        return;
    xen.store_page = paging_map_shared(pfn << PAGE_SHIFT, PAGE_BYTES);
    xen.store_channel = (uint32_t)channel;
}

void xen_start(bool is_dom0)
{
    if (!leaves)
        return;
    int error = xen_events_start();
    if (error) {
        print("xen: no events, so nothing of it is used: %s\n", pleat_error_text(error));
        return;
    }
    xen.grant_count = xen_grants_start(&xen.grants);
    find_store();
    xen.is_dom0 = is_dom0;
    xen.ops = &ops;
    long version = xen_hypercall(__HYPERVISOR_xen_version, 0, 0, 0);
    print("xen: %ld.%ld, %s, %u grants, %s\n", version >> 16, version & 0xffff,
          is_dom0 ? "the initial domain" : "a domain", xen.grant_count,
          xen.store_page ? "a store" : "no store");
}

static void shut_down(unsigned reason)
{
    struct sched_shutdown why = {.reason = reason};

    xen_console_flush();
    (void)xen_sched_op(SCHEDOP_shutdown, &why);
}

/* Dom0's end would be the whole machine's, by ways that say nothing of a code. */
static bool can_shut_down(void)
{
    return leaves && xen.ops && !xen.is_dom0;
}

void xen_shutdown(unsigned code)
{
    if (!can_shut_down())
        return;
    print("xen: ends with code %u\n", code);
    shut_down(code ? SHUTDOWN_crash : SHUTDOWN_poweroff);
}

void platform_xen_reboot(void)
{
    if (!can_shut_down())
        return;
    print("xen: ends to be started anew\n");
    shut_down(SHUTDOWN_reboot);
}
