/* SPDX-License-Identifier: MIT
 *
 * Xen's event channels, of the kind with two levels of bits (xen/include/public/event_channel.h): a bit for
 * each channel that is pending, and a bit for each word of those. All of them interrupt CPU 0, by one vector.
 */
#include "xen.h"

#include "ports/bare/platform.h"
#include "ports/bare/print.h"

#include "interrupts.h"
#include "registers.h"
#include "xen_hypercall.h"

#include <xen/event_channel.h>
#include <xen/hvm/params.h>
#include <xen/memory.h>

/* Xen gives the lowest that are free. */
#define CHANNELS  256u
#define WORD_BITS 64u
#define WORDS     (sizeof(((struct shared_info *)0)->evtchn_pending) / sizeof(xen_ulong_t))

static union {
    struct shared_info info;
    char page[4096];
} shared __attribute__((aligned(4096)));

static struct {
    void (*handler)(void *context);
    void *context;
} channels[CHANNELS];

void xen_events_interrupt(void)
{
    struct vcpu_info *me = &shared.info.vcpu_info[0];

    /* Cleared before the look, so that what comes later interrupts anew. */
    __atomic_store_n(&me->evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST);
    xen_ulong_t words = __atomic_exchange_n(&me->evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
    for (; words; words &= words - 1) {
        unsigned word = (unsigned)__builtin_ctzl(words);
        xen_ulong_t *pending = &shared.info.evtchn_pending[word];
        xen_ulong_t bits = __atomic_load_n(pending, __ATOMIC_SEQ_CST) &
                           ~__atomic_load_n(&shared.info.evtchn_mask[word], __ATOMIC_SEQ_CST);
        __atomic_fetch_and(pending, ~bits, __ATOMIC_SEQ_CST);
        for (; bits; bits &= bits - 1) {
            unsigned channel = word * WORD_BITS + (unsigned)__builtin_ctzl(bits);
            if (channel < CHANNELS && channels[channel].handler)
                channels[channel].handler(channels[channel].context);
        }
    }
}

int xen_events_start(void)
{
    int error = xen_put_page(shared.page, XENMAPSPACE_shared_info, 0);
    if (error)
        return error;
    /* Nobody listens to any yet; those that Xen or who built the domain has made may be pending. */
    for (unsigned word = 0; word < WORDS; word++)
        shared.info.evtchn_mask[word] = ~(xen_ulong_t)0;
    if (!xen_set_parameter(HVM_PARAM_CALLBACK_IRQ,
                           (uint64_t)HVM_PARAM_CALLBACK_TYPE_VECTOR << 56 | VECTOR_EVENTS))
        return PLEAT_E_UNSUPPORTED;
    return PLEAT_OK;
}

static void close(uint32_t channel)
{
    struct evtchn_close it = {.port = channel};
    (void)xen_event_op(EVTCHNOP_close, &it);
}

int xen_event_listen(void *context, uint32_t channel, void (*handler)(void *), void *handler_context)
{
    struct evtchn_unmask it = {.port = channel};

    (void)context;
    if (!channel || !handler)
        return PLEAT_E_INVALID;
    if (channel >= CHANNELS)
        return PLEAT_E_NO_MEMORY;
    if (channels[channel].handler)
        return PLEAT_E_BUSY;
    channels[channel].context = handler_context;
    __atomic_store_n(&channels[channel].handler, handler, __ATOMIC_RELEASE);
    /* By Xen, which interrupts if it was pending already. */
    long result = xen_event_op(EVTCHNOP_unmask, &it);
    if (result) {
        channels[channel].handler = NULL;
        return xen_error(result);
    }
    return PLEAT_OK;
}

/* A channel that was just made; returns it, or closes it again. */
static int listen_or_close(uint32_t channel, void (*handler)(void *), void *handler_context)
{
    int error = xen_event_listen(NULL, channel, handler, handler_context);
    if (error)
        close(channel);
    return error ? error : (int)channel;
}

int xen_event_offer(void *context, uint16_t domain, void (*handler)(void *), void *handler_context)
{
    struct evtchn_alloc_unbound it = {.dom = DOMID_SELF, .remote_dom = domain};

    (void)context;
    long result = xen_event_op(EVTCHNOP_alloc_unbound, &it);
    return result ? xen_error(result) : listen_or_close(it.port, handler, handler_context);
}

int xen_event_bind(void *context, uint16_t domain, uint32_t remote_channel, void (*handler)(void *),
                   void *handler_context)
{
    struct evtchn_bind_interdomain it = {.remote_dom = domain, .remote_port = remote_channel};

    (void)context;
    long result = xen_event_op(EVTCHNOP_bind_interdomain, &it);
    return result ? xen_error(result) : listen_or_close(it.local_port, handler, handler_context);
}

int xen_event_send(void *context, uint32_t channel)
{
    struct evtchn_send it = {.port = channel};

    (void)context;
    long result = xen_event_op(EVTCHNOP_send, &it);
    return result ? xen_error(result) : PLEAT_OK;
}

int xen_event_close(void *context, uint32_t channel)
{
    (void)context;
    if (channel >= CHANNELS || !channels[channel].handler)
        return PLEAT_E_NOT_FOUND;
    uint64_t flags = interrupts_save();
    __atomic_fetch_or(&shared.info.evtchn_mask[channel / WORD_BITS], (xen_ulong_t)1 << channel % WORD_BITS,
                      __ATOMIC_SEQ_CST);
    channels[channel].handler = NULL;
    close(channel);
    interrupts_restore(flags);
    return PLEAT_OK;
}
