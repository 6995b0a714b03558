/* SPDX-License-Identifier: MIT
 *
 * Event channels (xen/include/public/event_channel.h): one end is offered to a domain, which binds its own to
 * it; an event on one end is pending at the other, once, until it is delivered.
 */
#include "machine/xen_parts.h"

static int find_channel(const struct pleat_xen_domain *domain)
{
    for (int i = 1; i < PLEAT_XEN_CHANNELS; i++)
        if (domain->channels[i].state == XEN_CHANNEL_FREE)
            return i;
    return PLEAT_E_NO_MEMORY;
}

static struct xen_channel *channel_of(struct pleat_xen_domain *domain, uint32_t number)
{
    if (!number || number >= PLEAT_XEN_CHANNELS || domain->channels[number].state == XEN_CHANNEL_FREE)
        return NULL;
    return &domain->channels[number];
}

int xen_event_offer(void *context, uint16_t remote, void (*handler)(void *), void *handler_context)
{
    struct pleat_xen_domain *domain = context;

    xen_lock(domain->hypervisor);
    const int number = find_channel(domain);
    if (number > 0)
        domain->channels[number] = (struct xen_channel){
            .state = XEN_CHANNEL_UNBOUND,
            .remote_domain = remote == PLEAT_XEN_DOMAIN_SELF ? domain->config.id : remote,
            .handler = handler,
            .handler_context = handler_context,
        };
    xen_unlock(domain->hypervisor);
    return number;
}

int xen_event_bind(void *context, uint16_t remote, uint32_t remote_channel, void (*handler)(void *),
                   void *handler_context)
{
    struct pleat_xen_domain *domain = context;

    xen_lock(domain->hypervisor);
    struct pleat_xen_domain *other = xen_domain_of(domain, remote);
    struct xen_channel *far = other ? channel_of(other, remote_channel) : NULL;
    int number = find_channel(domain);
    if (!other)
        number = PLEAT_E_NOT_FOUND;
    else if (!far || far->state != XEN_CHANNEL_UNBOUND || far->remote_domain != domain->config.id)
        number = PLEAT_E_INVALID;
    if (number > 0) {
        domain->channels[number] = (struct xen_channel){
            .state = XEN_CHANNEL_BOUND,
            .remote_domain = other->config.id,
            .remote_channel = remote_channel,
            .handler = handler,
            .handler_context = handler_context,
            /* Whatever came before the binding: Xen sends one to be sure. */
            .is_pending = true,
        };
        far->state = XEN_CHANNEL_BOUND;
        far->remote_channel = (uint32_t)number;
    }
    xen_unlock(domain->hypervisor);
    return number;
}

int xen_event_listen(void *context, uint32_t number, void (*handler)(void *), void *handler_context)
{
    struct pleat_xen_domain *domain = context;

    xen_lock(domain->hypervisor);
    struct xen_channel *channel = channel_of(domain, number);
    if (channel) {
        channel->handler = handler;
        channel->handler_context = handler_context;
    }
    xen_unlock(domain->hypervisor);
    return channel ? PLEAT_OK : PLEAT_E_NOT_FOUND;
}

/* Who is to be told that something is pending, after the lock. */
struct told {
    void (*function)(void *context);
    void *context;
};

static struct told make_pending(struct pleat_xen_domain *domain, struct xen_channel *channel)
{
    channel->is_pending = true;
    return (struct told){domain->config.kick, domain->config.kick_context};
}

static void tell(struct told told)
{
    if (told.function)
        told.function(told.context);
}

int xen_event_send(void *context, uint32_t number)
{
    struct pleat_xen_domain *domain = context;
    struct told told = {0};
    int error = PLEAT_OK;

    xen_lock(domain->hypervisor);
    domain->info.events++;
    const struct xen_channel *channel = channel_of(domain, number);
    if (domain->info.ended) {
        error = PLEAT_E_DEVICE;
    } else if (!channel) {
        error = PLEAT_E_INVALID;
    } else if (channel->state == XEN_CHANNEL_HOST) {
        told = (struct told){channel->notify, channel->notify_context};
    } else if (channel->state == XEN_CHANNEL_BOUND) {
        struct pleat_xen_domain *other = domain->hypervisor->domains[channel->remote_domain];
        if (other)
            told = make_pending(other, &other->channels[channel->remote_channel]);
    }
    /* One that nobody has bound to yet is sent to nobody. */
    xen_unlock(domain->hypervisor);
    tell(told);
    return error;
}

static void close_channel(struct pleat_xen_domain *domain, struct xen_channel *channel)
{
    if (channel->state == XEN_CHANNEL_BOUND) {
        struct pleat_xen_domain *other = domain->hypervisor->domains[channel->remote_domain];
        struct xen_channel *far = other ? &other->channels[channel->remote_channel] : NULL;
        if (far && far->state == XEN_CHANNEL_BOUND) {
            far->state = XEN_CHANNEL_UNBOUND;
            far->remote_channel = 0;
        }
    }
    *channel = (struct xen_channel){.state = XEN_CHANNEL_FREE};
}

int xen_event_close(void *context, uint32_t number)
{
    struct pleat_xen_domain *domain = context;

    xen_lock(domain->hypervisor);
    struct xen_channel *channel = channel_of(domain, number);
    if (channel)
        close_channel(domain, channel);
    xen_unlock(domain->hypervisor);
    return channel ? PLEAT_OK : PLEAT_E_NOT_FOUND;
}

void xen_close_channels(struct pleat_xen_domain *domain)
{
    for (unsigned i = 1; i < PLEAT_XEN_CHANNELS; i++)
        if (domain->channels[i].state != XEN_CHANNEL_FREE)
            close_channel(domain, &domain->channels[i]);
}

int pleat_xen_domain_host_channel(struct pleat_xen_domain *domain, void (*notify)(void *context),
                                  void *context)
{
    xen_lock(domain->hypervisor);
    const int number = find_channel(domain);
    if (number > 0)
        domain->channels[number] =
            (struct xen_channel){.state = XEN_CHANNEL_HOST, .notify = notify, .notify_context = context};
    xen_unlock(domain->hypervisor);
    return number;
}

void pleat_xen_domain_interrupt(struct pleat_xen_domain *domain, uint32_t number)
{
    struct told told = {0};

    xen_lock(domain->hypervisor);
    struct xen_channel *channel = channel_of(domain, number);
    if (channel)
        told = make_pending(domain, channel);
    xen_unlock(domain->hypervisor);
    tell(told);
}

bool pleat_xen_domain_deliver(struct pleat_xen_domain *domain)
{
    bool any = false;

    for (unsigned i = 1; i < PLEAT_XEN_CHANNELS; i++) {
        struct told told = {0};
        xen_lock(domain->hypervisor);
        struct xen_channel *channel = &domain->channels[i];
        /* One without a handler is masked: it stays pending. */
        if (channel->is_pending && channel->handler) {
            channel->is_pending = false;
            told = (struct told){channel->handler, channel->handler_context};
        }
        xen_unlock(domain->hypervisor);
        any = any || told.function;
        tell(told);
    }
    return any;
}
