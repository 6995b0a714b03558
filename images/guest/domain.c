/* SPDX-License-Identifier: MIT
 *
 * The domain's drivers: made, called, ended; and what the toolstack asks for by control/shutdown. See
 * domain.h.
 */
#include "domain.h"

#include "guest.h"

#include "ports/bare/print.h"

static const char shutdown_path[] = "control/shutdown";

static bool is_text(const char *data, size_t bytes, const char *text)
{
    for (; bytes && *text && *data == *text; bytes--, data++)
        text++;
    return !bytes && !*text;
}

/* --- control/shutdown -------------------------------------------------------------------------------------
 * docs/misc/xenstore-paths.pandoc: the toolstack writes what it wants; the guest writes nothing there when it
 * has seen it, and ends. */

static void on_shutdown(void *context, int error, const char *data, size_t bytes)
{
    static const struct {
        const char *text;
        enum domain_end end;
    } wishes[] = {{"poweroff", DOMAIN_POWEROFF}, {"halt", DOMAIN_POWEROFF}, {"reboot", DOMAIN_REBOOT}};
    struct domain *domain = context;

    if (error || !bytes)
        return;
    for (unsigned i = 0; i < sizeof wishes / sizeof wishes[0]; i++) {
        if (!is_text(data, bytes, wishes[i].text))
            continue;
        print("xen: the toolstack asks for %s\n", wishes[i].text);
        domain->end = wishes[i].end;
        (void)pleat_xen_store_write(domain->store, shutdown_path, "", 0, NULL, NULL);
        return;
    }
    /* Not acknowledged, so that it is given up there. */
    print("xen: the toolstack asks for something that this guest doesn't know: %s\n", data);
}

static void on_shutdown_event(void *context, int error, const char *path)
{
    struct domain *domain = context;

    (void)path;
    if (!error)
        error = pleat_xen_store_read(domain->store, shutdown_path, on_shutdown, domain);
    if (error)
        print("xen: can't read what the toolstack asks for: %s\n", pleat_error_text(error));
}

/* A store that breaks may have lost what was being written. */
static void name_features(struct domain *domain)
{
    static const char *const features[] = {"control/feature-poweroff", "control/feature-reboot"};

    for (unsigned i = 0; i < sizeof features / sizeof features[0]; i++)
        (void)pleat_xen_store_write(domain->store, features[i], "1", 1, NULL, NULL);
}

static void listen_to_toolstack(struct domain *domain)
{
    const int watch = pleat_xen_store_watch(domain->store, shutdown_path, on_shutdown_event, domain);

    if (watch < 0)
        print("xen: can't watch what the toolstack asks for: %s\n", pleat_error_text(watch));
    name_features(domain);
}

/* --- the store ------------------------------------------------------------------------------------------ */

static void note_store(void *context)
{
    atomic_store(&((struct domain *)context)->store_noted, 1u);
}

static int make_store(struct domain *domain)
{
    struct guest *guest = domain->guest;
    const size_t bytes = pleat_xen_store_storage_bytes(0, 0);
    int error = guest_allocate(guest, bytes, &domain->store_pfn, &domain->store_order);

    if (!error) {
        const struct pleat_xen_store_config config = {
            .xen = domain->xen,
            .memory = &guest->memory,
            .storage = guest_pointer(guest, domain->store_pfn),
            .storage_bytes = bytes,
            .wake = note_store,
            .context = domain,
        };
        error = pleat_xen_store_create(&config, &domain->store);
    }
    if (error) {
        domain->store = NULL;
        guest_release(guest, &domain->store_pfn, domain->store_order);
        return error;
    }
    domain->store_wake = PLEAT_XEN_WAKE_NOW;
    listen_to_toolstack(domain);
    return PLEAT_OK;
}

static void say_phase(struct domain *domain)
{
    char text[128];
    const enum pleat_xen_store_phase phase = pleat_xen_store_phase(domain->store, text, sizeof text);

    if (phase == domain->said_phase)
        return;
    domain->said_phase = phase;
    print("xen: the store: %s\n", text);
}

static void mend_store(struct domain *domain, uint64_t now_ns)
{
    switch (pleat_xen_store_mend(domain->store, &domain->mending, now_ns)) {
    case PLEAT_XEN_STORE_MEND_ASKED:
        print("xen: the store was asked for a new connection\n");
        name_features(domain);
        break;
    case PLEAT_XEN_STORE_MEND_LOST:
        print("xen: the store offers no new connection, and the last target holds\n");
        break;
    default:
        break;
    }
}

static uint64_t serve_store(struct domain *domain, uint64_t now_ns)
{
    if (!domain->store)
        return UINT64_MAX;
    if (atomic_exchange(&domain->store_noted, 0u) ||
        (domain->store_wake == PLEAT_XEN_WAKE_AT_TIME && pleat_xen_store_wake_ns(domain->store) <= now_ns))
        domain->store_wake = PLEAT_XEN_WAKE_NOW;
    if (domain->store_wake == PLEAT_XEN_WAKE_NOW) {
        domain->store_wake = pleat_xen_store_step(domain->store, 0);
        say_phase(domain);
    }
    mend_store(domain, now_ns);
    if (domain->store_wake == PLEAT_XEN_WAKE_NOW || domain->store_noted)
        return 0;
    const uint64_t step_ns =
        domain->store_wake == PLEAT_XEN_WAKE_AT_TIME ? pleat_xen_store_wake_ns(domain->store) : UINT64_MAX;
    const uint64_t mend_ns = domain->mending.at_ns ? domain->mending.at_ns : UINT64_MAX;
    return step_ns < mend_ns ? step_ns : mend_ns;
}

/* --- all of it ------------------------------------------------------------------------------------------ */

void domain_begin(struct guest *guest)
{
    struct domain *domain = &guest->domain;
    int error = PLEAT_OK;

    domain->guest = guest;
    domain->xen = platform_xen();
    if (!domain->xen) {
        if (guest->options.target_bytes || guest->options.grants_count)
            print("guest: target and grants are of no use: this isn't Xen\n");
        return;
    }
    if (domain->xen->store_page)
        error = make_store(domain);
    if (error)
        print("xen: the store isn't used: %s\n", pleat_error_text(error));
    error = domain_make_balloon(domain);
    if (error)
        print("balloon: not used: %s\n", pleat_error_text(error));
    error = domain_make_grants(domain);
    if (error)
        print("grants: not used: %s\n", pleat_error_text(error));
}

uint64_t domain_serve(struct domain *domain, uint64_t now_ns)
{
    if (!domain->xen)
        return UINT64_MAX;
    /* In this order: a step of the store calls the balloon, one of the balloon may ask the store. */
    (void)serve_store(domain, now_ns);
    const uint64_t balloon = domain_serve_balloon(domain, now_ns);
    const uint64_t grants = domain_serve_grants(domain, now_ns);
    const uint64_t store = serve_store(domain, now_ns);
    uint64_t next = balloon < grants ? balloon : grants;

    next = store < next ? store : next;
    return domain->balloon_noted ? 0 : next;
}

static bool is_settled(const struct domain *domain)
{
    return !domain->balloon ||
           (domain->balloon_wake != PLEAT_XEN_WAKE_NOW && !domain->balloon_noted &&
            pleat_xen_balloon_reason(domain->balloon, NULL, 0) != PLEAT_XEN_BALLOON_REASON_WORKING);
}

bool domain_settle(struct domain *domain, uint64_t timeout_ns)
{
    const uint64_t end_ns = platform_clock_ns() + timeout_ns;

    for (;;) {
        platform_wake_begin();
        const uint64_t now_ns = platform_clock_ns();
        const uint64_t next = domain_serve(domain, now_ns);
        if (is_settled(domain) || now_ns >= end_ns)
            return is_settled(domain);
        if (next > now_ns)
            platform_idle(next < end_ns ? next : end_ns);
    }
}

void domain_typed(struct domain *domain, int byte)
{
    uint64_t to = 0;

    if (!domain->xen || byte < 0)
        return;
    if (!domain->is_typing) {
        domain->is_typing = byte == 'g';
        domain->typed_bytes = 0;
        return;
    }
    if (byte >= '0' && byte <= '9' && domain->typed_bytes < sizeof domain->typed) {
        domain->typed[domain->typed_bytes++] = (char)byte;
        return;
    }
    domain->is_typing = false;
    for (unsigned i = 0; i < domain->typed_bytes; i++)
        to = to * 10 + (uint64_t)(domain->typed[i] - '0');
    if (domain->typed_bytes && to < PLEAT_XEN_DOMAIN_SELF)
        domain_grant(domain, (uint16_t)to);
    else
        print("grants: expected the number of a domain behind the g\n");
}

void domain_is_short(struct domain *domain, uint64_t frames)
{
    struct pleat_xen_balloon *balloon = atomic_load(&domain->balloon);

    if (balloon && frames)
        (void)pleat_xen_balloon_release(balloon, frames);
}

bool domain_stop(struct domain *domain)
{
    return !domain->xen || domain_end_grants(domain);
}

bool domain_is_valid(const struct domain *domain)
{
    bool good = true;

    if (domain->store && !pleat_xen_store_is_valid(domain->store)) {
        print("guest: the store's books don't add up\n");
        good = false;
    }
    if (domain->balloon && !pleat_xen_balloon_is_valid(domain->balloon)) {
        print("guest: the balloon's books don't add up\n");
        good = false;
    }
    if (domain->grants && !pleat_xen_grants_is_valid(domain->grants)) {
        print("guest: the books of the grants don't add up\n");
        good = false;
    }
    return good;
}
