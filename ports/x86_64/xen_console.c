/* SPDX-License-Identifier: MIT
 *
 * The console of a domain: two rings in a page that the toolstack has made (xen/include/public/io/console.h).
 * Dom0 has none, and writes to Xen's own.
 */
#include "xen.h"

#include "ports/bare/platform.h"

#include "paging.h"
#include "pleat_port.h"
#include "xen_hypercall.h"

#include <xen/event_channel.h>
#include <xen/hvm/params.h>
#include <xen/io/console.h>
#include <xen/sched.h>

#define PAGE_SHIFT 12u
#define PAGE_BYTES 4096u
/* Who reads the ring is a process of another domain: it needs its time, but it may have gone. */
#define PATIENCE 20000u

static enum { CONSOLE_NONE = 0, CONSOLE_HYPERVISOR, CONSOLE_RING } kind;
static struct xencons_interface *ring;
static uint64_t ring_address;
static struct evtchn_send channel;
/* Nobody has read for so long that nobody is waited for any more. */
static bool is_deaf;

void xen_console_find(void)
{
    if (!xen_is_there())
        return;
    ring_address = xen_parameter(HVM_PARAM_CONSOLE_PFN) << PAGE_SHIFT;
    channel.port = (evtchn_port_t)xen_parameter(HVM_PARAM_CONSOLE_EVTCHN);
    kind = ring_address ? CONSOLE_RING : CONSOLE_HYPERVISOR;
    ring = (struct xencons_interface *)(uintptr_t)ring_address;
}

void xen_console_map(void)
{
    if (kind != CONSOLE_RING)
        return;
    ring = paging_map_shared(ring_address, PAGE_BYTES);
    if (!ring)
        kind = CONSOLE_NONE;
}

static void tell(void)
{
    (void)xen_event_op(EVTCHNOP_send, &channel);
}

/* Until at least `room` bytes of the outgoing ring are free. */
static bool wait_for_room(uint32_t room)
{
    for (unsigned tries = 0; tries < PATIENCE; tries++) {
        uint32_t used = ring->out_prod - __atomic_load_n(&ring->out_cons, __ATOMIC_ACQUIRE);
        /* More than fits is in it: who reads has written nonsense. */
        if (used <= sizeof(ring->out) && sizeof(ring->out) - used >= room) {
            is_deaf = false;
            return true;
        }
        if (is_deaf)
            break;
        if (!tries)
            tell();
        (void)xen_sched_op(SCHEDOP_yield, NULL);
        /* Another CPU may want a barrier of this one. */
        pleat_port_pause();
    }
    is_deaf = true;
    return false;
}

static bool put(char c)
{
    if (!wait_for_room(1))
        return false;
    ring->out[MASK_XENCONS_IDX(ring->out_prod, ring->out)] = c;
    __atomic_store_n(&ring->out_prod, ring->out_prod + 1, __ATOMIC_RELEASE);
    return true;
}

static void write_ring(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '\n' && !put('\r'))
            break;
        if (!put(text[i]))
            break;
    }
    tell();
}

bool xen_console_write(const char *text, size_t bytes)
{
    if (kind == CONSOLE_RING)
        write_ring(text, bytes);
    else if (kind == CONSOLE_HYPERVISOR)
        (void)xen_console_io(CONSOLEIO_write, bytes, (void *)(uintptr_t)text);
    return kind != CONSOLE_NONE;
}

int xen_console_read(void)
{
    if (kind == CONSOLE_HYPERVISOR) {
        unsigned char byte = 0;
        return xen_console_io(CONSOLEIO_read, 1, &byte) == 1 ? byte : -1;
    }
    if (kind == CONSOLE_NONE || ring->in_cons == __atomic_load_n(&ring->in_prod, __ATOMIC_ACQUIRE))
        return -1;
    unsigned char byte = (unsigned char)ring->in[MASK_XENCONS_IDX(ring->in_cons, ring->in)];
    __atomic_store_n(&ring->in_cons, ring->in_cons + 1, __ATOMIC_RELEASE);
    tell();
    return byte;
}

void xen_console_flush(void)
{
    if (kind == CONSOLE_RING)
        (void)wait_for_room(sizeof(ring->out));
}
