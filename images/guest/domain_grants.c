/* SPDX-License-Identifier: MIT
 *
 * Memory between two domains: this one grants frames to another, or maps what another grants. See domain.h.
 *
 * Who grants writes a word of its own into each frame. Who maps reads it and writes one back; who grants
 * answers that, and who maps reads the answer: then data has gone both ways. All words follow from the
 * frame's place, so that no frame can stand for another.
 */
#include "domain.h"

#include "guest.h"

#include "ports/bare/print.h"
#include "random.h"

#define LOOK_NS     UINT64_C(10000000)
#define PATIENCE_NS UINT64_C(30000000000)
/* Times that the same is mapped: the second time into holes that something was in before. */
#define ROUNDS 2u
#define HOLE   UINT64_MAX
#define OWNER  2u /* the tag's word for unpopulated frames */

/* In each frame. */
enum { WORD_GRANTED = 0, WORD_MAPPED, WORD_ANSWER, WORDS };

static uint64_t word(unsigned kind, unsigned place, unsigned round)
{
    return random_mix(UINT64_C(0x6772616e74) ^ ((uint64_t)(place * WORDS + kind) << 8) ^ (uint64_t)round);
}

static volatile uint64_t *words(const struct domain *domain, uint64_t pfn)
{
    return guest_pointer(domain->guest, pfn);
}

/* --- holes ---------------------------------------------------------------------------------------------- */

static int alloc_unpopulated(void *context, unsigned count, uint64_t *pfns)
{
    struct guest *guest = ((struct domain *)context)->guest;

    return pleat_alloc_unpopulated(&guest->core, count, pfns, pleat_tag_make(guest->owner, OWNER));
}

static void free_unpopulated(void *context, unsigned count, const uint64_t *pfns)
{
    (void)pleat_free_unpopulated(&((struct domain *)context)->guest->core, count, pfns);
}

/* Foreign pages are reached by the map of all memory, in which single frames don't come and go: all addresses
 * that may be used are in it, and where nothing is behind one all ones are read. */
static int name_unpopulated(struct domain *domain)
{
    struct guest *guest = domain->guest;
    const struct pleat_unpopulated_range *range = &domain->unpopulated;
    const struct pleat_unpopulated_config config = {
        .ranges = range, .range_count = 1, .node = platform.unused.node};
    int error = PLEAT_E_NOT_FOUND;

    if (range->frames)
        error = pleat_unpopulated_init(&guest->core, &config);
    if (!error && guest->port.map)
        error = guest->port.map(guest->port.context, range->start_pfn, range->frames);
    return error;
}

int domain_make_grants(struct domain *domain)
{
    struct guest *guest = domain->guest;
    struct pleat_xen_grants_config config = {.xen = domain->xen, .memory = &guest->memory};
    int error = name_unpopulated(domain);

    if (error)
        print("grants: foreign pages go where the guest's memory was: there are no unpopulated frames\n");
    else
        config.holes =
            (struct pleat_xen_holes){.alloc = alloc_unpopulated, .free = free_unpopulated, .context = domain};
    if (domain->balloon)
        pleat_xen_balloon_holes(domain->balloon, &config.fall_back);
    config.storage_bytes = pleat_xen_grants_storage_bytes(domain->xen->grant_count);
    error = guest_allocate(guest, config.storage_bytes, &domain->grants_pfn, &domain->grants_order);
    if (!error) {
        config.storage = guest_pointer(guest, domain->grants_pfn);
        error = pleat_xen_grants_create(&config, &domain->grants);
    }
    if (error) {
        domain->grants = NULL;
        guest_release(guest, &domain->grants_pfn, domain->grants_order);
        return error;
    }
    domain->stage = guest->options.grants_count ? MAPPING_WANTED : MAPPING_NOTHING;
    return PLEAT_OK;
}

static uint64_t metadata_frames(struct domain *domain)
{
    struct pleat_unpopulated_info info = {0};
    uint64_t frames = 0;

    while (!pleat_unpopulated_info(&domain->guest->core, info.start_pfn + info.frames, &info))
        frames += pleat_memmap_frames(&domain->guest->core);
    return frames;
}

/* --- granting ------------------------------------------------------------------------------------------- */

#define GROUP_FRAMES PLEAT_PAGEBLOCK_FRAMES
#define GROUPS       (OPTION_GRANTS / GROUP_FRAMES)

static uint64_t granted_pfn(const struct domain *domain, unsigned place)
{
    return domain->granted_pfns[place / GROUP_FRAMES] + place % GROUP_FRAMES;
}

static void release_granted(struct domain *domain)
{
    for (unsigned i = 0; i < GROUPS; i++)
        guest_release(domain->guest, &domain->granted_pfns[i], PLEAT_PAGEBLOCK_ORDER);
}

void domain_grant(struct domain *domain, uint16_t to)
{
    struct guest *guest = domain->guest;
    int64_t reference = PLEAT_E_UNSUPPORTED;
    unsigned order;
    int error = PLEAT_OK;

    if (!domain->grants || domain->granted) {
        print("grants: %s\n", domain->granted ? "granted already" : "there are none");
        return;
    }
    for (unsigned i = 0; i < GROUPS && !error; i++)
        error = guest_allocate(guest, (size_t)GROUP_FRAMES << pleat_frame_shift(&guest->core),
                               &domain->granted_pfns[i], &order);
    for (domain->granted = 0; domain->granted < OPTION_GRANTS && !error; domain->granted++) {
        volatile uint64_t *at = words(domain, granted_pfn(domain, domain->granted));
        at[WORD_GRANTED] = word(WORD_GRANTED, domain->granted, 0);
        at[WORD_MAPPED] = at[WORD_ANSWER] = 0;
        reference = pleat_xen_grants_offer(domain->grants, to, granted_pfn(domain, domain->granted), false);
        if (reference < 0)
            break;
        domain->references[domain->granted] = (uint32_t)reference;
    }
    if (!domain->granted) {
        print("grants: can't grant: %s\n", pleat_error_text(error ? error : (int)reference));
        release_granted(domain);
        return;
    }
    print("grants: domain %u may map %u frames, references %u to %u\n", to, domain->granted,
          domain->references[0], domain->references[domain->granted - 1]);
}

/* Answers what the other domain has written, each round of it. */
static void answer(struct domain *domain)
{
    unsigned answered = 0;

    for (unsigned place = 0; place < domain->granted; place++) {
        volatile uint64_t *at = words(domain, granted_pfn(domain, place));
        for (unsigned round = 1; round <= ROUNDS; round++)
            if (at[WORD_MAPPED] == word(WORD_MAPPED, place, round)) {
                at[WORD_ANSWER] = word(WORD_ANSWER, place, round);
                answered++;
            }
    }
    if (answered == domain->granted && domain->answered != answered)
        print("grants: the other domain has written to all %u frames\n", answered);
    domain->answered = answered;
}

/* --- mapping -------------------------------------------------------------------------------------------- */

static bool map(struct domain *domain)
{
    const struct guest_options *options = &domain->guest->options;
    const unsigned count = (unsigned)options->grants_count;
    unsigned right = 0;

    if (!domain->rounds)
        domain->reservation_before = domain->xen->ops->current_frames(domain->xen->context);
    domain->rounds++;
    for (unsigned i = 0; i < count; i++)
        domain->mappings[i] = (struct pleat_xen_mapping){.domain = (uint16_t)options->grants_domain,
                                                         .reference = (uint32_t)options->grants_first + i};
    const int64_t mapped = pleat_xen_grants_map(domain->grants, domain->mappings, count);
    for (unsigned i = 0; i < count && mapped > 0; i++) {
        if (domain->mappings[i].result)
            continue;
        volatile uint64_t *at = words(domain, domain->mappings[i].pfn);
        domain->places[i] = domain->mappings[i].pfn;
        right += at[WORD_GRANTED] == word(WORD_GRANTED, i, 0);
        at[WORD_MAPPED] = word(WORD_MAPPED, i, domain->rounds);
    }
    if (mapped == count && right == count)
        return true;
    print("grants: of %u frames of domain %lu %ld could be mapped, %u hold what they should\n", count,
          options->grants_domain, (long)mapped, right);
    return false;
}

static unsigned answers(const struct domain *domain)
{
    unsigned count = 0;

    for (unsigned i = 0; i < domain->guest->options.grants_count; i++)
        count += !domain->mappings[i].result &&
                 words(domain, domain->mappings[i].pfn)[WORD_ANSWER] == word(WORD_ANSWER, i, domain->rounds);
    return count;
}

/* What it costs, while all is mapped. */
static void say_mapped(struct domain *domain)
{
    const int64_t now = domain->xen->ops->current_frames(domain->xen->context);
    struct pleat_xen_grants_statistics statistics;

    pleat_xen_grants_statistics(domain->grants, &statistics);
    print("grants: %lu frames of domain %lu mapped, right both ways\n", domain->guest->options.grants_count,
          domain->guest->options.grants_domain);
    if (domain->rounds > 1)
        return;
    print("grants: %ld frames of memory used, %lu ballooned out for it, %lu for metadata\n",
          (long)(domain->reservation_before - now), statistics.fall_back_frames, metadata_frames(domain));
}

static bool unmap(struct domain *domain)
{
    const unsigned count = (unsigned)domain->guest->options.grants_count;
    unsigned holes = 0;
    const int64_t unmapped = pleat_xen_grants_unmap(domain->grants, domain->mappings, count);

    for (unsigned i = 0; i < count; i++) {
        const volatile uint64_t *at = words(domain, domain->places[i]);
        holes += domain->places[i] && !domain->mappings[i].result && at[WORD_GRANTED] == HOLE &&
                 at[WORD_MAPPED] == HOLE && at[WORD_ANSWER] == HOLE;
    }
    print("grants: %ld unmapped, %u holes\n", (long)unmapped, holes);
    return unmapped == count;
}

static uint64_t serve_mapping(struct domain *domain, uint64_t now_ns)
{
    switch (domain->stage) {
    case MAPPING_WANTED:
        domain->stage = map(domain) ? MAPPING_WAITS : MAPPING_DONE;
        domain->give_up_ns = now_ns + PATIENCE_NS;
        return now_ns;
    case MAPPING_WAITS:
        if (answers(domain) == domain->guest->options.grants_count)
            say_mapped(domain);
        else if (now_ns < domain->give_up_ns)
            return now_ns + LOOK_NS;
        else
            print("grants: %u of %lu frames were answered by domain %lu\n", answers(domain),
                  domain->guest->options.grants_count, domain->guest->options.grants_domain);
        domain->stage = unmap(domain) && domain->rounds < ROUNDS ? MAPPING_WANTED : MAPPING_DONE;
        return now_ns;
    default:
        return UINT64_MAX;
    }
}

/* --- service -------------------------------------------------------------------------------------------- */

uint64_t domain_serve_grants(struct domain *domain, uint64_t now_ns)
{
    if (!domain->grants)
        return UINT64_MAX;
    if (domain->granted && now_ns >= domain->look_ns) {
        answer(domain);
        domain->look_ns = now_ns + LOOK_NS;
    }
    const uint64_t next = serve_mapping(domain, now_ns);
    return domain->granted && domain->look_ns < next ? domain->look_ns : next;
}

/* Frames that the other domain still has can't be used for anything else: they aren't freed. */
bool domain_end_grants(struct domain *domain)
{
    unsigned kept = 0;

    if (domain->stage == MAPPING_WAITS)
        (void)unmap(domain);
    domain->stage = MAPPING_DONE;
    for (unsigned place = 0; place < domain->granted; place++)
        kept += pleat_xen_grants_end(domain->grants, domain->references[place]) != PLEAT_OK;
    if (kept) {
        print("grants: the other domain still has %u frames\n", kept);
        return false;
    }
    domain->granted = 0;
    release_granted(domain);
    return true;
}
