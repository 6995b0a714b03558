/* SPDX-License-Identifier: MIT
 *
 * A guest's drivers for Xen: the store's client and the balloon, with what an operating system does around
 * them; and an exchange of frames with another domain.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pleat/unpopulated.h>
#include <pleat/xen_balloon.h>
#include <pleat/xen_grants.h>
#include <pleat/xen_store.h>

#include "machine/machine_parts.h"

#define FRAME_SHIFT PLEAT_LAYOUT_FRAME_SHIFT
#define FRAME_BYTES (UINT64_C(1) << FRAME_SHIFT)
/* The store and its client answer each other in one round of the service. */
#define ROUNDS_MAX 16
/* Of an exchange: what the guest's grant table has. */
#define EXCHANGE_MAX   500u
#define UNMAP_ATTEMPTS 8

struct pleat_guest_xen {
    struct pleat_machine *machine;
    struct pleat_xen_store *store;
    struct pleat_xen_balloon *balloon;
    struct pleat_xen_grants *grants;
    unsigned owner; /* of frames that are granted, and of those that others' are mapped into */
    struct pleat_unpopulated_range hole;
    atomic_bool is_woken; /* a driver has asked for its step */
    enum pleat_xen_wake store_wake, balloon_wake;
    bool is_busy;
    uint64_t last_step_ns;
    struct pleat_xen_store_mending mending;
    bool has_ended; /* said that Xen has ended the domain */
};

static uint64_t now_ns(const struct pleat_guest_xen *xen)
{
    return pleat_clock_now_ns(&xen->machine->clock);
}

static void wake(void *context)
{
    struct pleat_guest_xen *xen = context;

    atomic_store(&xen->is_woken, true);
}

static void clear(void *context, uint64_t address, uint64_t bytes)
{
    const struct pleat_guest_xen *xen = context;

    memset(xen->machine->space.base + address, 0, bytes);
}

/* ---- making them ---- */

static int make_store(struct pleat_guest_xen *xen)
{
    struct pleat_guest *guest = xen->machine->guest;
    const size_t bytes = pleat_xen_store_storage_bytes(0, 0);
    const struct pleat_xen_store_config config = {
        .xen = pleat_xen_domain_interface(xen->machine->xen.guest),
        .memory = pleat_guest_memory(guest),
        .storage = pleat_guest_storage(guest, bytes),
        .storage_bytes = bytes,
        .wake = wake,
        .context = xen,
    };

    return config.storage ? pleat_xen_store_create(&config, &xen->store) : PLEAT_E_NO_MEMORY;
}

/* What the boot map has, all of it populated. */
static uint64_t boot_bytes(const struct pleat_machine *machine, uint64_t *end)
{
    struct pleat_boot_span spans[PLEAT_LAYOUT_SPANS_MAX];
    uint64_t node_bytes[PLEAT_MACHINE_NODES_MAX], frames = 0;

    for (unsigned node = 0; node < machine->config->nodes; node++)
        node_bytes[node] = machine->config->node[node].memory_bytes;
    const unsigned count =
        pleat_layout_boot_spans(&machine->layout, node_bytes, machine->config->nodes, spans);
    *end = 0;
    for (unsigned i = 0; i < count; i++) {
        const uint64_t span_end = (spans[i].start_pfn + spans[i].frames) << FRAME_SHIFT;
        frames += spans[i].frames;
        *end = span_end > *end ? span_end : *end;
    }
    return frames << FRAME_SHIFT;
}

static int make_balloon(struct pleat_guest_xen *xen)
{
    const struct pleat_machine *machine = xen->machine;
    struct pleat_xen_balloon_config config = {
        .memory = pleat_guest_memory(machine->guest),
        .xen = pleat_xen_domain_interface(machine->xen.guest),
        .store = xen->store,
        .name = "System RAM (balloon)",
        .growth_address = machine->layout.growth_start,
        .growth_bytes = machine->layout.growth_bytes,
        .wake = wake,
        .clear = clear,
        .context = xen,
        .floor_bytes = machine->config->floor_bytes,
    };

    config.boot_bytes = boot_bytes(machine, &config.boot_end);
    config.storage_bytes = pleat_xen_balloon_storage_bytes(config.memory, config.boot_end,
                                                           config.growth_address, config.growth_bytes);
    if (!config.storage_bytes)
        return PLEAT_E_INVALID;
    config.storage = pleat_guest_storage(machine->guest, config.storage_bytes);
    return config.storage ? pleat_xen_balloon_create(&config, &xen->balloon) : PLEAT_E_NO_MEMORY;
}

static int alloc_holes(void *context, unsigned count, uint64_t *pfns)
{
    const struct pleat_guest_xen *xen = context;

    return pleat_alloc_unpopulated(pleat_guest_core(xen->machine->guest), count, pfns,
                                   pleat_tag_make(xen->owner, 0));
}

static void free_holes(void *context, unsigned count, const uint64_t *pfns)
{
    const struct pleat_guest_xen *xen = context;

    pleat_free_unpopulated(pleat_guest_core(xen->machine->guest), count, pfns);
}

static int name_hole(struct pleat_guest_xen *xen)
{
    const struct pleat_layout *layout = &xen->machine->layout;
    const struct pleat_unpopulated_config config = {.ranges = &xen->hole, .range_count = 1};

    xen->hole = (struct pleat_unpopulated_range){layout->hole_start >> FRAME_SHIFT,
                                                 layout->hole_bytes >> FRAME_SHIFT};
    return pleat_unpopulated_init(pleat_guest_core(xen->machine->guest), &config);
}

static int make_grants(struct pleat_guest_xen *xen)
{
    struct pleat_guest *guest = xen->machine->guest;
    struct pleat_xen_grants_config config = {
        .xen = pleat_xen_domain_interface(xen->machine->xen.guest),
        .memory = pleat_guest_memory(guest),
        .holes = {.alloc = alloc_holes, .free = free_holes, .context = xen},
    };
    const int owner = pleat_owner_register(pleat_guest_core(guest), "xen-grants", NULL, NULL);

    if (owner < 0)
        return owner;
    xen->owner = (unsigned)owner;
    const int error = name_hole(xen);
    if (error)
        return error;
    pleat_xen_balloon_holes(xen->balloon, &config.fall_back);
    config.storage_bytes = pleat_xen_grants_storage_bytes(config.xen->grant_count);
    config.storage = pleat_guest_storage(guest, config.storage_bytes);
    return config.storage ? pleat_xen_grants_create(&config, &xen->grants) : PLEAT_E_NO_MEMORY;
}

int pleat_guest_xen_create(struct pleat_machine *machine, struct pleat_guest_xen **result)
{
    struct pleat_guest_xen *xen = calloc(1, sizeof *xen);

    *result = xen;
    if (!xen)
        return PLEAT_E_NO_MEMORY;
    xen->machine = machine;
    xen->is_busy = true;
    int error = make_store(xen);
    if (!error)
        error = make_balloon(xen);
    return error ? error : make_grants(xen);
}

void pleat_guest_xen_destroy(struct pleat_guest_xen *xen)
{
    /* The drivers lie in the guest's memory, and go with it. */
    free(xen);
}

/* ---- service ---- */

static bool is_due(enum pleat_xen_wake wake, uint64_t wake_ns, uint64_t now)
{
    return wake == PLEAT_XEN_WAKE_NOW || (wake == PLEAT_XEN_WAKE_AT_TIME && wake_ns <= now);
}

static uint64_t when(enum pleat_xen_wake wake, uint64_t wake_ns)
{
    return wake == PLEAT_XEN_WAKE_NOW ? 0 : wake == PLEAT_XEN_WAKE_AT_TIME ? wake_ns : UINT64_MAX;
}

static uint64_t actual_bytes(const struct pleat_guest_xen *xen)
{
    struct pleat_xen_domain_info info;

    pleat_xen_domain_info(xen->machine->xen.guest, &info);
    return info.current_frames << FRAME_SHIFT;
}

/* A store that is broken for good costs the guest its toolstack's word and nothing else: the last target
 * holds. */
static void mend_store(struct pleat_guest_xen *xen)
{
    char why[128];

    (void)pleat_xen_store_phase(xen->store, why, sizeof why);
    switch (pleat_xen_store_mend(xen->store, &xen->mending, now_ns(xen))) {
    case PLEAT_XEN_STORE_MEND_ASKED:
        pleat_machine_log(xen->machine, PLEAT_LOG_WARNING, "xenstore", "%s; asked for a new connection", why);
        break;
    case PLEAT_XEN_STORE_MEND_LOST:
        pleat_machine_log(xen->machine, PLEAT_LOG_WARNING, "xenstore",
                          "%s; it offers no new connection, and the last target holds", why);
        break;
    default:
        break;
    }
}

/* The balloon has begun or come to rest: what a person wants to know of it. */
static void follow(struct pleat_guest_xen *xen)
{
    struct pleat_machine *machine = xen->machine;
    const uint64_t bytes = actual_bytes(xen);
    const bool is_busy = !pleat_guest_xen_is_settled(xen);
    char reason[256];

    if (bytes != machine->xen.told_bytes) {
        machine->xen.told_bytes = bytes;
        pleat_machine_tell(machine, PLEAT_EVENT_BALLOON_CHANGE, NULL, bytes, "");
    }
    if (is_busy == xen->is_busy)
        return;
    xen->is_busy = is_busy;
    if (is_busy)
        return;
    pleat_xen_balloon_reason(xen->balloon, reason, sizeof reason);
    xen->last_step_ns = now_ns(xen) - machine->xen.asked_ns;
    pleat_machine_log(machine, PLEAT_LOG_INFO, "balloon",
                      "%" PRIu64 " of %" PRIu64 " bytes after %.3f ms: %s", bytes, machine->xen.target_bytes,
                      (double)xen->last_step_ns / 1e6, reason);
    pleat_machine_tell(machine, PLEAT_EVENT_DRIVER, NULL, bytes, reason);
}

static void step_drivers(struct pleat_guest_xen *xen, bool with_balloon)
{
    const bool is_woken = atomic_exchange(&xen->is_woken, false);
    const uint64_t now = now_ns(xen);

    if (is_woken || is_due(xen->store_wake, pleat_xen_store_wake_ns(xen->store), now))
        xen->store_wake = pleat_xen_store_step(xen->store, 0);
    if (is_woken && !with_balloon)
        xen->balloon_wake = PLEAT_XEN_WAKE_NOW;
    else if (is_woken || is_due(xen->balloon_wake, pleat_xen_balloon_wake_ns(xen->balloon), now))
        xen->balloon_wake = with_balloon ? pleat_xen_balloon_step(xen->balloon, 0) : PLEAT_XEN_WAKE_NOW;
}

uint64_t pleat_guest_xen_service(struct pleat_guest_xen *xen, bool running)
{
    struct pleat_xen_host *host = &xen->machine->xen;
    struct pleat_xen_domain_info info;
    bool moved = true;

    for (unsigned round = 0; moved && round < ROUNDS_MAX; round++) {
        moved = pleat_xen_store_server_run(host->store);
        if (!running)
            continue;
        moved = pleat_xen_domain_deliver(host->guest) || moved;
        step_drivers(xen, round == 0);
        moved = moved || atomic_load(&xen->is_woken);
    }
    if (!running)
        return UINT64_MAX;
    mend_store(xen);
    follow(xen);
    pleat_xen_domain_info(host->guest, &info);
    if (info.ended && !xen->has_ended) {
        xen->has_ended = true;
        pleat_machine_panic(xen->machine, info.ended);
    }
    if (atomic_load(&xen->is_woken) || moved)
        return 0;
    const uint64_t step = when(xen->store_wake, pleat_xen_store_wake_ns(xen->store));
    const uint64_t store = xen->mending.at_ns && xen->mending.at_ns < step ? xen->mending.at_ns : step;
    const uint64_t balloon = when(xen->balloon_wake, pleat_xen_balloon_wake_ns(xen->balloon));
    return store < balloon ? store : balloon;
}

/* Waits that end by themselves and soon. */
static bool is_on_the_way(enum pleat_xen_balloon_reason reason)
{
    return reason == PLEAT_XEN_BALLOON_REASON_STARTING || reason == PLEAT_XEN_BALLOON_REASON_WORKING;
}

bool pleat_guest_xen_is_settled(const struct pleat_guest_xen *xen)
{
    struct pleat_xen_balloon_status status;

    pleat_xen_balloon_status(xen->balloon, &status);
    if (atomic_load(&xen->is_woken) || xen->balloon_wake == PLEAT_XEN_WAKE_NOW)
        return false;
    /* What the toolstack has written has to come through, if the store can. */
    if (status.target_bytes != xen->machine->xen.target_bytes / PLEAT_KIB * PLEAT_KIB &&
        (xen->mending.at_ns || pleat_xen_store_phase(xen->store, NULL, 0) == PLEAT_XEN_STORE_PHASE_CONNECTED))
        return false;
    return !is_on_the_way(pleat_xen_balloon_reason(xen->balloon, NULL, 0));
}

void pleat_guest_xen_memory_changed(struct pleat_guest_xen *xen)
{
    pleat_xen_balloon_memory_changed(xen->balloon);
    wake(xen);
}

uint64_t pleat_guest_xen_release(struct pleat_guest_xen *xen, uint64_t frames)
{
    return pleat_xen_balloon_release(xen->balloon, frames);
}

void pleat_guest_xen_info(const struct pleat_guest_xen *xen, struct pleat_balloon_info *info)
{
    struct pleat_xen_balloon_status status;

    pleat_xen_balloon_status(xen->balloon, &status);
    info->bound = true;
    info->busy = !pleat_guest_xen_is_settled(xen);
    info->hole_bytes = status.hole_bytes;
    info->lent_bytes = status.lent_bytes;
    info->added_bytes = status.blocks_added * PLEAT_LAYOUT_BLOCK_BYTES;
    info->last_step_ns = xen->last_step_ns;
    const enum pleat_xen_balloon_reason reason =
        pleat_xen_balloon_reason(xen->balloon, info->reason, sizeof info->reason);
    snprintf(info->state, sizeof info->state, "%s",
             reason == PLEAT_XEN_BALLOON_REASON_NONE ? "at rest" : pleat_xen_balloon_reason_text(reason));
    if (reason == PLEAT_XEN_BALLOON_REASON_NONE)
        info->reason[0] = '\0';
}

/* ---- an exchange ---- */

/* One frame that goes from one side to the other. */
struct parcel {
    uint64_t guest_pfn, peer_pfn;
    uint32_t reference;
    uint32_t handle; /* of the peer's mapping */
};

struct exchange {
    struct pleat_guest_xen *xen;
    const struct pleat_xen *peer;
    unsigned count;
    struct parcel parcels[EXCHANGE_MAX];
    struct pleat_xen_mapping mappings[EXCHANGE_MAX];
    struct pleat_message *message;
};

/* A frame's content says whose it is, which one, and of which turn. */
static void write_frame(uint64_t *words, uint64_t mark)
{
    for (unsigned i = 0; i < FRAME_BYTES / sizeof *words; i++)
        words[i] = mark + i;
}

static bool frame_is(const uint64_t *words, uint64_t mark)
{
    for (unsigned i = 0; i < FRAME_BYTES / sizeof *words; i++)
        if (words[i] != mark + i)
            return false;
    return true;
}

static uint64_t mark(unsigned turn, unsigned i)
{
    return UINT64_C(0x5850) << 48 | (uint64_t)turn << 40 | (uint64_t)i << 16;
}

static uint64_t *guest_words(const struct exchange *exchange, uint64_t pfn)
{
    return (uint64_t *)(void *)(exchange->xen->machine->space.base + (pfn << FRAME_SHIFT));
}

static uint64_t *peer_words(const struct exchange *exchange, uint64_t pfn)
{
    return pleat_xen_domain_pointer(exchange->xen->machine->xen.peer, pfn);
}

static int wrong(const struct exchange *exchange, const char *whose, unsigned i)
{
    return pleat_message_set(exchange->message, PLEAT_E_PROTOCOL,
                             "frame %u of the %s holds something else than was written", i, whose);
}

/* The peer grants frames of its own, in the entries that nobody has mapped. */
static int peer_offers(struct exchange *exchange)
{
    struct pleat_xen_grant_entry *grants = exchange->peer->grants;
    uint32_t reference = PLEAT_XEN_GRANTS_RESERVED;

    for (unsigned i = 0; i < exchange->count; i++, reference++) {
        while (reference < exchange->peer->grant_count && grants[reference].flags)
            reference++;
        if (reference == exchange->peer->grant_count)
            return pleat_message_set(exchange->message, PLEAT_E_NO_MEMORY, "the peer has no grants left");
        exchange->parcels[i] = (struct parcel){.peer_pfn = reference, .reference = reference};
        write_frame(peer_words(exchange, reference), mark(1, i));
        grants[reference].domain = PLEAT_XEN_HOST_GUEST;
        grants[reference].frame = reference;
        __atomic_store_n(&grants[reference].flags, 1, __ATOMIC_RELEASE);
        exchange->mappings[i] =
            (struct pleat_xen_mapping){.domain = PLEAT_XEN_HOST_PEER, .reference = reference};
    }
    return PLEAT_OK;
}

/* What the peer has granted and isn't mapped is its own again. */
static void peer_ends(struct exchange *exchange)
{
    for (unsigned i = 0; i < exchange->count; i++) {
        uint16_t idle = 1;
        __atomic_compare_exchange_n(&exchange->peer->grants[exchange->parcels[i].reference].flags, &idle, 0,
                                    false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }
}

static int look_through_mappings(struct exchange *exchange)
{
    for (unsigned i = 0; i < exchange->count; i++) {
        uint64_t *words = guest_words(exchange, exchange->mappings[i].pfn);
        if (!frame_is(words, mark(1, i)))
            return wrong(exchange, "peer", i);
        write_frame(words, mark(2, i));
        if (!frame_is(peer_words(exchange, exchange->parcels[i].peer_pfn), mark(2, i)))
            return wrong(exchange, "guest", i);
    }
    return PLEAT_OK;
}

/* Until all are unmapped, or it makes no sense to try on. Returns how many are left. */
static unsigned unmap_all(struct exchange *exchange, unsigned left)
{
    for (unsigned attempt = 0; left && attempt < UNMAP_ATTEMPTS; attempt++) {
        const int64_t done =
            pleat_xen_grants_unmap(exchange->xen->grants, exchange->mappings, exchange->count);
        left -= done > 0 ? (unsigned)done : 0;
        /* Those that are unmapped have no frame any more; the others are tried again. */
        unsigned kept = 0;
        for (unsigned i = 0; i < exchange->count && left; i++)
            if (exchange->mappings[i].result)
                exchange->mappings[kept++] = exchange->mappings[i];
        for (unsigned i = 0; i < kept; i++)
            exchange->mappings[i].result = PLEAT_OK;
        if (left)
            exchange->count = kept;
    }
    return left;
}

static int guest_maps(struct exchange *exchange)
{
    const unsigned count = exchange->count;
    int error = peer_offers(exchange);

    if (error)
        return error;
    const int64_t mapped = pleat_xen_grants_map(exchange->xen->grants, exchange->mappings, count);
    if (mapped == count)
        error = look_through_mappings(exchange);
    else
        error = pleat_message_set(exchange->message, mapped < 0 ? (int)mapped : PLEAT_E_DEVICE,
                                  "%" PRId64 " of %u frames could be mapped", mapped < 0 ? 0 : mapped, count);
    const unsigned left = unmap_all(exchange, mapped > 0 ? (unsigned)mapped : 0);
    if (left && !error)
        error = pleat_message_set(exchange->message, PLEAT_E_DEVICE, "%u frames could not be unmapped", left);
    exchange->count = count;
    peer_ends(exchange);
    return error;
}

static int peer_maps(struct exchange *exchange, unsigned i)
{
    struct parcel *parcel = &exchange->parcels[i];
    struct pleat_xen_map map = {
        .pfn = parcel->peer_pfn, .reference = parcel->reference, .domain = PLEAT_XEN_HOST_GUEST};

    int error = exchange->peer->ops->map(exchange->peer->context, &map, 1);
    if (!error)
        error = map.result;
    parcel->handle = map.handle;
    return error;
}

/* The guest grants a frame, the peer maps it, both write. What was granted is the guest's own again then. */
static int pass_parcel(struct exchange *exchange, unsigned i)
{
    struct parcel *parcel = &exchange->parcels[i];
    struct pleat_xen_grants *grants = exchange->xen->grants;
    const int64_t reference = pleat_xen_grants_offer(grants, PLEAT_XEN_HOST_PEER, parcel->guest_pfn, false);

    if (reference < 0)
        return pleat_message_set(exchange->message, (int)reference, "frame %u can't be granted: %s", i,
                                 pleat_error_text((int)reference));
    parcel->reference = (uint32_t)reference;
    parcel->peer_pfn = PLEAT_XEN_HOST_PEER_FRAMES + i;
    write_frame(guest_words(exchange, parcel->guest_pfn), mark(3, i));
    int error = peer_maps(exchange, i);
    if (error) {
        pleat_message_set(exchange->message, error, "the peer can't map frame %u: %s", i,
                          pleat_error_text(error));
    } else {
        if (!frame_is(peer_words(exchange, parcel->peer_pfn), mark(3, i)))
            error = wrong(exchange, "guest", i);
        write_frame(peer_words(exchange, parcel->peer_pfn), mark(4, i));
        if (!error && !frame_is(guest_words(exchange, parcel->guest_pfn), mark(4, i)))
            error = wrong(exchange, "peer", i);
        if (!error && pleat_xen_grants_end(grants, parcel->reference) != PLEAT_E_BUSY)
            error = pleat_message_set(exchange->message, PLEAT_E_PROTOCOL,
                                      "a grant could be ended while it was mapped");
        struct pleat_xen_unmap unmap = {.pfn = parcel->peer_pfn, .handle = parcel->handle};
        exchange->peer->ops->unmap(exchange->peer->context, &unmap, 1);
    }
    const int ended = pleat_xen_grants_end(grants, parcel->reference);
    if (ended && !error)
        error = pleat_message_set(exchange->message, ended, "the grant of frame %u can't be ended: %s", i,
                                  pleat_error_text(ended));
    return error;
}

static int guest_grants(struct exchange *exchange)
{
    struct pleat *core = pleat_guest_core(exchange->xen->machine->guest);
    int error = PLEAT_OK;

    for (unsigned i = 0; i < exchange->count && !error; i++) {
        const int64_t pfn = pleat_alloc(core, 0, PLEAT_UNMOVABLE, pleat_tag_make(exchange->xen->owner, 0));
        if (pfn < 0)
            return pleat_message_set(exchange->message, (int)pfn, "the guest has no frame to grant");
        exchange->parcels[i].guest_pfn = (uint64_t)pfn;
        error = pass_parcel(exchange, i);
        pleat_free(core, (uint64_t)pfn, 0);
    }
    return error;
}

int pleat_guest_xen_exchange(struct pleat_guest_xen *xen, unsigned frames, struct pleat_message *message)
{
    if (frames > EXCHANGE_MAX)
        return pleat_message_set(message, PLEAT_E_INVALID, "expected at most %u frames", EXCHANGE_MAX);
    struct exchange *exchange = calloc(1, sizeof *exchange);
    if (!exchange)
        return pleat_message_set(message, PLEAT_E_NO_MEMORY, "%s", pleat_error_text(PLEAT_E_NO_MEMORY));
    exchange->xen = xen;
    exchange->peer = pleat_xen_domain_interface(xen->machine->xen.peer);
    exchange->count = frames;
    exchange->message = message;
    int error = guest_maps(exchange);
    if (!error)
        error = guest_grants(exchange);
    if (!error)
        pleat_machine_log(xen->machine, PLEAT_LOG_INFO, "guest", "%u frames were granted each way", frames);
    free(exchange);
    wake(xen);
    return error;
}
