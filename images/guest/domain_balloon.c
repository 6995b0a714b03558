/* SPDX-License-Identifier: MIT
 *
 * The domain's balloon, and the lines about it on the console. See domain.h.
 */
#include "domain.h"

#include "guest.h"

#include "ports/bare/print.h"

/* Of the addresses where nothing is, so many at their end are unpopulated frames: a hundred times what grants
 * need here, and at least a memory block. */
#define UNPOPULATED_BYTES (UINT64_C(256) << 20)

/* For a step: a hypercall brings so much, and nobody here waits for the end of a step but the workload. */
#define STEP_BYTES (UINT64_C(32) << 20)

static void note(void *context)
{
    atomic_store(&((struct domain *)context)->balloon_noted, 1u);
}

static void clear(void *context, uint64_t address, uint64_t bytes)
{
    const struct guest *guest = ((struct domain *)context)->guest;

    __builtin_memset(guest_pointer(guest, address >> pleat_frame_shift(&guest->core)), 0, (size_t)bytes);
}

/* --- where memory is, and where it may come ------------------------------------------------------------- */

/* The boot map up to the end of what may be free: what firmware has above isn't the balloon's affair. */
static void describe_boot(const struct guest *guest, struct pleat_xen_balloon_config *config)
{
    const unsigned shift = pleat_frame_shift(&guest->core);
    unsigned count = platform.span_count;

    while (count && platform.spans[count - 1].use != PLEAT_BOOT_FREE)
        count--;
    for (unsigned i = 0; i < count; i++) {
        config->boot_bytes += platform.spans[i].frames << shift;
        config->boot_end = (platform.spans[i].start_pfn + platform.spans[i].frames) << shift;
    }
}

static void split_unused(struct domain *domain, struct pleat_xen_balloon_config *config)
{
    struct guest *guest = domain->guest;
    const uint64_t block = guest->memory.block_bytes, all = platform.unused.bytes / block * block;
    const uint64_t apart = guest->options.no_unpopulated || all < 2 * block ? 0
                           : all < 2 * UNPOPULATED_BYTES                    ? block
                                                                            : UNPOPULATED_BYTES;
    struct pleat_resource *conflict = NULL;

    if (!all)
        return;
    domain->unpopulated.start_pfn = (platform.unused.start + all - apart) >> pleat_frame_shift(&guest->core);
    domain->unpopulated.frames = apart >> pleat_frame_shift(&guest->core);
    int error =
        pleat_resource_describe(&domain->growth, "Xen growth area", platform.unused.start, all - apart);
    if (!error)
        error = pleat_claim(&guest->core, &domain->growth, &conflict);
    if (error) {
        print("balloon: growth area at 0x%lx: %s%s%s\n", platform.unused.start, pleat_error_text(error),
              conflict ? ", with " : "", conflict && conflict->name ? conflict->name : "");
        return;
    }
    config->growth_address = platform.unused.start;
    config->growth_bytes = all - apart;
    config->node = platform.unused.node;
}

int domain_make_balloon(struct domain *domain)
{
    struct guest *guest = domain->guest;
    struct pleat_xen_balloon *balloon = NULL;
    struct short_text boot, growth;
    struct pleat_xen_balloon_config config = {
        .memory = &guest->memory,
        .xen = domain->xen,
        .store = domain->store,
        .name = "Xen balloon",
        .wake = note,
        .clear = clear,
        .context = domain,
        .floor_bytes = guest->options.floor_bytes,
    };

    describe_boot(guest, &config);
    split_unused(domain, &config);
    config.storage_bytes = pleat_xen_balloon_storage_bytes(&guest->memory, config.boot_end,
                                                           config.growth_address, config.growth_bytes);
    int error = config.storage_bytes ? guest_allocate(guest, config.storage_bytes, &domain->balloon_pfn,
                                                      &domain->balloon_order)
                                     : PLEAT_E_INVALID;
    if (!error) {
        config.storage = guest_pointer(guest, domain->balloon_pfn);
        error = pleat_xen_balloon_create(&config, &balloon);
    }
    if (error) {
        guest_release(guest, &domain->balloon_pfn, domain->balloon_order);
        return error;
    }
    domain->balloon_wake = PLEAT_XEN_WAKE_NOW;
    domain->said_goal = UINT64_MAX;
    atomic_store(&domain->balloon, balloon);
    print("balloon: %s at boot, room to grow by %s at 0x%lx\n", size_text(&boot, config.boot_bytes),
          size_text(&growth, config.growth_bytes), config.growth_address);
    if (guest->options.target_bytes)
        pleat_xen_balloon_set_target(balloon, guest->options.target_bytes);
    return PLEAT_OK;
}

/* --- what is said --------------------------------------------------------------------------------------- */

static void say_reached(const struct domain *domain, const struct pleat_xen_balloon_status *status,
                        const struct pleat_xen_balloon_statistics *now, uint64_t now_ns)
{
    const struct pleat_xen_balloon_statistics *before = &domain->before;
    const uint64_t singles = now->decrease_calls[0] + now->populate_calls[0] - before->decrease_calls[0] -
                             before->populate_calls[0],
                   pieces = now->decrease_calls[1] + now->populate_calls[1] - before->decrease_calls[1] -
                            before->populate_calls[1],
                   out = now->decreased_frames - before->decreased_frames,
                   in = now->populated_frames - before->populated_frames,
                   blocks = now->blocks_added - before->blocks_added;
    struct short_text size, populated, time;

    print("balloon: target %s reached after %s ms: %s populated, %lu hypercall%s of order 9, %lu of order 0, "
          "%lu frames out, %lu in",
          size_text(&size, status->target_bytes), milliseconds_text(&time, now_ns - domain->busy_since_ns),
          size_text(&populated, status->populated_bytes), pieces, pieces == 1 ? "" : "s", singles, out, in);
    if (blocks)
        print(", %lu block%s added", blocks, blocks == 1 ? "" : "s");
    print("\n");
}

/* Once for each target, and each reason why it isn't reached; retries say nothing. */
static void say(struct domain *domain, const struct pleat_xen_balloon_status *status)
{
    char text[192];
    struct pleat_xen_balloon_statistics now;
    const enum pleat_xen_balloon_reason reason = pleat_xen_balloon_reason(domain->balloon, text, sizeof text);

    if (reason == PLEAT_XEN_BALLOON_REASON_WORKING || domain->balloon_wake == PLEAT_XEN_WAKE_NOW)
        return;
    pleat_xen_balloon_statistics(domain->balloon, &now);
    const bool is_news = reason != domain->said_reason || status->goal_bytes != domain->said_goal;
    if (reason == PLEAT_XEN_BALLOON_REASON_NONE) {
        if (is_news || now.decreased_frames != domain->before.decreased_frames ||
            now.populated_frames != domain->before.populated_frames)
            say_reached(domain, status, &now, platform_clock_ns());
        domain->is_busy = false;
    } else if (is_news && reason != PLEAT_XEN_BALLOON_REASON_STARTING) {
        print("balloon: %s\n", text);
    }
    domain->said_reason = reason;
    domain->said_goal = status->goal_bytes;
}

/* --- service -------------------------------------------------------------------------------------------- */

static void step(struct domain *domain, uint64_t now_ns)
{
    struct pleat_xen_balloon_statistics before;
    struct pleat_xen_balloon_status status;

    pleat_xen_balloon_statistics(domain->balloon, &before);
    domain->balloon_wake = pleat_xen_balloon_step(domain->balloon, STEP_BYTES);
    pleat_xen_balloon_status(domain->balloon, &status);
    /* What another target asks for is counted from here. */
    if (!domain->is_busy || status.goal_bytes != domain->busy_goal) {
        domain->is_busy = true;
        domain->busy_goal = status.goal_bytes;
        domain->busy_since_ns = now_ns;
        domain->before = before;
    }
    say(domain, &status);
}

uint64_t domain_serve_balloon(struct domain *domain, uint64_t now_ns)
{
    struct pleat_xen_balloon *balloon = domain->balloon;

    if (!balloon)
        return UINT64_MAX;
    if (atomic_exchange(&domain->balloon_noted, 0u) ||
        (domain->balloon_wake == PLEAT_XEN_WAKE_AT_TIME && pleat_xen_balloon_wake_ns(balloon) <= now_ns))
        domain->balloon_wake = PLEAT_XEN_WAKE_NOW;
    if (domain->balloon_wake == PLEAT_XEN_WAKE_NOW)
        step(domain, now_ns);
    if (domain->balloon_wake == PLEAT_XEN_WAKE_NOW || domain->balloon_noted)
        return 0;
    return domain->balloon_wake == PLEAT_XEN_WAKE_AT_TIME ? pleat_xen_balloon_wake_ns(balloon) : UINT64_MAX;
}
