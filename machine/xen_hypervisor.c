/* SPDX-License-Identifier: MIT
 *
 * Domains, their pages and the frames that these are behind.
 */
#include "machine/xen_hypervisor.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machine/xen_parts.h"

#define FRAME_BYTES PLEAT_XEN_FRAME_BYTES

void xen_lock(struct pleat_xen_hypervisor *hypervisor)
{
    while (atomic_flag_test_and_set_explicit(&hypervisor->lock, memory_order_acquire))
        sched_yield();
}

void xen_unlock(struct pleat_xen_hypervisor *hypervisor)
{
    atomic_flag_clear_explicit(&hypervisor->lock, memory_order_release);
}

bool xen_fails(const struct pleat_xen_domain *domain, enum pleat_fault_place place, uint64_t *frames)
{
    const struct pleat_xen_hypervisor_config *config = &domain->hypervisor->config;
    uint64_t bytes = UINT64_MAX;

    if (!config->faults || domain->config.without_faults ||
        !pleat_fault_hits(config->faults, place, NULL,
                          config->clock_ns ? config->clock_ns(config->clock_context) : 0, &bytes))
        return false;
    if (frames)
        *frames = bytes == UINT64_MAX ? UINT64_MAX : bytes / FRAME_BYTES;
    return true;
}

/* ---- the hypervisor ---- */

int pleat_xen_hypervisor_create(const struct pleat_xen_hypervisor_config *config,
                                struct pleat_xen_hypervisor **result)
{
    struct pleat_xen_hypervisor *hypervisor = calloc(1, sizeof *hypervisor);

    *result = hypervisor;
    if (!hypervisor)
        return PLEAT_E_NO_MEMORY;
    hypervisor->config = *config;
    hypervisor->free_frames = config->free_frames ? config->free_frames : UINT64_MAX;
    atomic_flag_clear(&hypervisor->lock);
    return PLEAT_OK;
}

void pleat_xen_hypervisor_destroy(struct pleat_xen_hypervisor *hypervisor)
{
    free(hypervisor);
}

uint64_t pleat_xen_hypervisor_free_frames(struct pleat_xen_hypervisor *hypervisor)
{
    xen_lock(hypervisor);
    const uint64_t frames = hypervisor->free_frames;
    xen_unlock(hypervisor);
    return frames;
}

struct pleat_xen_domain *xen_domain_of(struct pleat_xen_domain *self, uint16_t id)
{
    if (id == PLEAT_XEN_DOMAIN_SELF)
        return self;
    return id < PLEAT_XEN_DOMAINS_MAX ? self->hypervisor->domains[id] : NULL;
}

void xen_end(struct pleat_xen_domain *domain, const char *why)
{
    if (!domain->info.ended)
        domain->info.ended = why;
}

/* ---- pages ---- */

static bool take_from_host(struct pleat_xen_hypervisor *hypervisor, uint64_t frames)
{
    if (hypervisor->free_frames == UINT64_MAX)
        return true;
    if (hypervisor->free_frames < frames)
        return false;
    hypervisor->free_frames -= frames;
    return true;
}

static void give_to_host(struct pleat_xen_hypervisor *hypervisor, uint64_t frames)
{
    if (hypervisor->free_frames != UINT64_MAX)
        hypervisor->free_frames += frames;
}

static uint64_t current_frames(const struct pleat_xen_domain *domain)
{
    return domain->pages + domain->info.pool_frames;
}

bool xen_has_room(const struct pleat_xen_domain *domain, uint64_t frames)
{
    const uint64_t maximum = domain->config.maximum_frames;

    return !maximum || (current_frames(domain) < maximum && maximum - current_frames(domain) >= frames);
}

/* A page without references: the frame's own number if that is free. */
static bool find_page(struct pleat_xen_domain *domain, uint64_t pfn, uint64_t *page)
{
    const uint64_t frames = domain->config.frames;

    *page = pfn;
    if (!domain->references[pfn])
        return true;
    for (uint64_t i = 0; i < frames; i++) {
        *page = frames + (domain->spare_hint + i) % frames;
        if (!domain->references[*page]) {
            domain->spare_hint = *page - frames + 1;
            return true;
        }
    }
    return false;
}

bool xen_map_page(struct pleat_xen_domain *domain, uint64_t pfn, struct pleat_xen_domain *owner,
                  uint64_t page, bool read_only)
{
    return mmap(domain->memory + pfn * FRAME_BYTES, FRAME_BYTES,
                read_only ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, owner->memfd,
                (off_t)(page * FRAME_BYTES)) != MAP_FAILED;
}

bool xen_put_page(struct pleat_xen_domain *domain, uint64_t pfn, bool from_pool)
{
    struct xen_frame *frame = &domain->frames[pfn];
    uint64_t page;

    if (!find_page(domain, pfn, &page) || (!from_pool && !take_from_host(domain->hypervisor, 1)))
        return false;
    if (!xen_map_page(domain, pfn, domain, page, false)) {
        if (!from_pool)
            give_to_host(domain->hypervisor, 1);
        return false;
    }
    if (from_pool)
        domain->info.pool_frames--;
    domain->references[page] = 1;
    domain->pages++;
    domain->info.own_frames++;
    *frame = (struct xen_frame){.page = page, .kind = PLEAT_XEN_OWN};
    return true;
}

bool xen_put_run(struct pleat_xen_domain *domain, uint64_t pfn, uint64_t frames)
{
    if (!take_from_host(domain->hypervisor, frames))
        return false;
    if (mmap(domain->memory + pfn * FRAME_BYTES, frames * FRAME_BYTES, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_FIXED, domain->memfd, (off_t)(pfn * FRAME_BYTES)) == MAP_FAILED) {
        give_to_host(domain->hypervisor, frames);
        return false;
    }
    for (uint64_t at = pfn; at < pfn + frames; at++) {
        domain->references[at] = 1;
        domain->frames[at] = (struct xen_frame){.page = at, .kind = PLEAT_XEN_OWN};
    }
    domain->pages += frames;
    domain->info.own_frames += frames;
    return true;
}

bool xen_remove_run(struct pleat_xen_domain *domain, uint64_t pfn, uint64_t frames)
{
    if (mmap(domain->memory + pfn * FRAME_BYTES, frames * FRAME_BYTES, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        return false;
    (void)fallocate(domain->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(pfn * FRAME_BYTES),
                    (off_t)(frames * FRAME_BYTES));
    for (uint64_t at = pfn; at < pfn + frames; at++) {
        domain->references[at] = 0;
        domain->frames[at] = (struct xen_frame){.kind = PLEAT_XEN_HOLE};
    }
    domain->pages -= frames;
    domain->info.own_frames -= frames;
    give_to_host(domain->hypervisor, frames);
    return true;
}

bool xen_make_hole(struct pleat_xen_domain *domain, uint64_t pfn)
{
    struct xen_frame *frame = &domain->frames[pfn];

    if (mmap(domain->memory + pfn * FRAME_BYTES, FRAME_BYTES, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        return false;
    if (frame->kind == PLEAT_XEN_OWN)
        domain->info.own_frames--;
    else if (frame->kind == PLEAT_XEN_MAPPED)
        domain->info.mapped_frames--;
    *frame = (struct xen_frame){.kind = PLEAT_XEN_HOLE};
    return true;
}

bool xen_clear_the_way(struct pleat_xen_domain *domain, uint64_t pfn)
{
    struct xen_frame *frame = &domain->frames[pfn];

    switch ((enum pleat_xen_frame)frame->kind) {
    case PLEAT_XEN_MAPPED:
        xen_end(domain, "something was put over a frame that a grant is mapped at");
        return false;
    case PLEAT_XEN_OWN:
        /* The page keeps its reference, and nobody will ever give it back. */
        domain->info.own_frames--;
        domain->info.leaked_frames++;
        break;
    case PLEAT_XEN_ON_DEMAND:
        domain->info.on_demand_frames--;
        break;
    case PLEAT_XEN_HOLE:
        break;
    }
    frame->kind = PLEAT_XEN_HOLE;
    return true;
}

void xen_put_reference(struct pleat_xen_domain *owner, uint64_t page, bool to_pool)
{
    if (--owner->references[page])
        return;
    /* What the host can't take back now is overwritten when the page is used again. */
    (void)fallocate(owner->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(page * FRAME_BYTES),
                    FRAME_BYTES);
    owner->pages--;
    if (to_pool)
        owner->info.pool_frames++;
    else
        give_to_host(owner->hypervisor, 1);
}

/* ---- domains ---- */

static int64_t ask_current(void *context)
{
    struct pleat_xen_domain *domain = context;

    xen_lock(domain->hypervisor);
    const int64_t frames = (int64_t)current_frames(domain);
    xen_unlock(domain->hypervisor);
    return frames;
}

static int64_t ask_maximum(void *context)
{
    struct pleat_xen_domain *domain = context;

    xen_lock(domain->hypervisor);
    const uint64_t frames = domain->config.maximum_frames;
    xen_unlock(domain->hypervisor);
    return frames ? (int64_t)frames : INT64_MAX;
}

static const struct pleat_xen_ops ops = {
    .decrease = xen_decrease,
    .populate = xen_populate,
    .current_frames = ask_current,
    .maximum_frames = ask_maximum,
    .map = xen_map,
    .unmap = xen_unmap,
    .event_offer = xen_event_offer,
    .event_bind = xen_event_bind,
    .event_listen = xen_event_listen,
    .event_send = xen_event_send,
    .event_close = xen_event_close,
};

static void free_domain(struct pleat_xen_domain *domain)
{
    const uint64_t bytes = domain->config.frames * FRAME_BYTES;

    if (domain->memory && domain->owns_addresses)
        munmap(domain->memory, bytes);
    else if (domain->memory)
        (void)mmap(domain->memory, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
                   -1, 0);
    if (domain->memfd >= 0)
        close(domain->memfd);
    free(domain->frames);
    free(domain->references);
    free(domain->grants);
    free(domain->readers);
    free(domain->writers);
    free(domain->mappings);
    free(domain);
}

static int make_domain(struct pleat_xen_domain *domain)
{
    const struct pleat_xen_domain_config *config = &domain->config;
    const size_t grants = config->grant_count ? config->grant_count : 1;

    domain->memfd = memfd_create("pleat-xen", MFD_CLOEXEC);
    if (domain->memfd < 0 || ftruncate(domain->memfd, (off_t)(2 * config->frames * FRAME_BYTES)))
        return PLEAT_E_NO_MEMORY;
    domain->memory = config->memory;
    if (!domain->memory) {
        void *at = mmap(NULL, config->frames * FRAME_BYTES, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED)
            return PLEAT_E_NO_MEMORY;
        domain->memory = at;
        domain->owns_addresses = true;
    }
    domain->frames = calloc(config->frames, sizeof *domain->frames);
    domain->references = calloc(2 * config->frames, sizeof *domain->references);
    domain->grants = calloc(grants, sizeof *domain->grants);
    domain->readers = calloc(grants, sizeof *domain->readers);
    domain->writers = calloc(grants, sizeof *domain->writers);
    if (!domain->frames || !domain->references || !domain->grants || !domain->readers || !domain->writers)
        return PLEAT_E_NO_MEMORY;
    domain->interface = (struct pleat_xen){
        .ops = &ops,
        .context = domain,
        .grants = config->grant_count ? domain->grants : NULL,
        .grant_count = config->grant_count,
    };
    return PLEAT_OK;
}

int pleat_xen_domain_create(struct pleat_xen_hypervisor *hypervisor,
                            const struct pleat_xen_domain_config *config, struct pleat_xen_domain **result)
{
    *result = NULL;
    if (!config->id || config->id >= PLEAT_XEN_DOMAINS_MAX || !config->frames ||
        config->frames > (UINT64_MAX >> 2) / FRAME_BYTES || (uintptr_t)config->memory % FRAME_BYTES)
        return PLEAT_E_INVALID;
    struct pleat_xen_domain *domain = calloc(1, sizeof *domain);
    if (!domain)
        return PLEAT_E_NO_MEMORY;
    domain->hypervisor = hypervisor;
    domain->config = *config;
    domain->memfd = -1;
    int error = make_domain(domain);
    if (!error) {
        xen_lock(hypervisor);
        if (hypervisor->domains[config->id])
            error = PLEAT_E_EXISTS;
        else
            hypervisor->domains[config->id] = domain;
        xen_unlock(hypervisor);
    }
    if (error) {
        free_domain(domain);
        return error;
    }
    *result = domain;
    return PLEAT_OK;
}

void pleat_xen_domain_destroy(struct pleat_xen_domain *domain)
{
    if (!domain)
        return;
    struct pleat_xen_hypervisor *hypervisor = domain->hypervisor;
    xen_lock(hypervisor);
    xen_close_channels(domain);
    xen_unmap_all(domain);
    hypervisor->domains[domain->config.id] = NULL;
    give_to_host(hypervisor, current_frames(domain));
    xen_unlock(hypervisor);
    free_domain(domain);
}

const struct pleat_xen *pleat_xen_domain_interface(struct pleat_xen_domain *domain)
{
    return &domain->interface;
}

void pleat_xen_domain_set_store(struct pleat_xen_domain *domain, void *page, uint32_t channel)
{
    domain->interface.store_page = page;
    domain->interface.store_channel = channel;
}

static bool holds(const struct pleat_xen_domain *domain, uint64_t pfn, uint64_t frames)
{
    return frames && pfn < domain->config.frames && frames <= domain->config.frames - pfn;
}

/* ---- the toolstack ---- */

int pleat_xen_domain_build(struct pleat_xen_domain *domain, uint64_t pfn, uint64_t frames)
{
    int error = PLEAT_OK;

    if (!holds(domain, pfn, frames))
        return PLEAT_E_INVALID;
    xen_lock(domain->hypervisor);
    for (uint64_t i = 0; i < frames && !error; i++)
        if (domain->frames[pfn + i].kind != PLEAT_XEN_HOLE || domain->references[pfn + i])
            error = PLEAT_E_INVALID;
    if (!error && (!xen_has_room(domain, frames) || !xen_put_run(domain, pfn, frames)))
        error = PLEAT_E_NO_MEMORY;
    xen_unlock(domain->hypervisor);
    return error;
}

int pleat_xen_domain_build_on_demand(struct pleat_xen_domain *domain, uint64_t pfn, uint64_t frames,
                                     uint64_t pool_frames)
{
    int error = PLEAT_OK;

    if (!holds(domain, pfn, frames))
        return PLEAT_E_INVALID;
    xen_lock(domain->hypervisor);
    for (uint64_t i = 0; i < frames && !error; i++)
        if (domain->frames[pfn + i].kind != PLEAT_XEN_HOLE)
            error = PLEAT_E_INVALID;
    if (!error && (!xen_has_room(domain, pool_frames) || !take_from_host(domain->hypervisor, pool_frames)))
        error = PLEAT_E_NO_MEMORY;
    for (uint64_t i = 0; i < frames && !error; i++)
        domain->frames[pfn + i].kind = PLEAT_XEN_ON_DEMAND;
    if (!error) {
        domain->info.on_demand_frames += frames;
        domain->info.pool_frames += pool_frames;
    }
    xen_unlock(domain->hypervisor);
    return error;
}

/* As p2m_pod_set_mem_target() in xen/arch/x86/mm/p2m-pod.c does: it never takes away what is there. */
int pleat_xen_domain_set_target(struct pleat_xen_domain *domain, uint64_t frames)
{
    int error = PLEAT_OK;

    xen_lock(domain->hypervisor);
    if (domain->info.on_demand_frames && frames > current_frames(domain)) {
        uint64_t pool = frames - domain->pages;
        if (pool > domain->info.on_demand_frames)
            pool = domain->info.on_demand_frames;
        if (pool > domain->info.pool_frames) {
            uint64_t more = pool - domain->info.pool_frames;
            if (more > domain->hypervisor->free_frames) {
                more = domain->hypervisor->free_frames;
                error = PLEAT_E_NO_MEMORY;
            }
            take_from_host(domain->hypervisor, more);
            domain->info.pool_frames += more;
        }
    }
    xen_unlock(domain->hypervisor);
    return error;
}

void pleat_xen_domain_set_maximum(struct pleat_xen_domain *domain, uint64_t frames)
{
    xen_lock(domain->hypervisor);
    domain->config.maximum_frames = frames;
    xen_unlock(domain->hypervisor);
}

bool pleat_xen_domain_touch(struct pleat_xen_domain *domain, uint64_t pfn)
{
    bool is_there = false;

    if (!holds(domain, pfn, 1))
        return false;
    xen_lock(domain->hypervisor);
    struct xen_frame *frame = &domain->frames[pfn];
    if (frame->kind == PLEAT_XEN_OWN || frame->kind == PLEAT_XEN_MAPPED) {
        is_there = true; /* another CPU was first */
    } else if (frame->kind == PLEAT_XEN_ON_DEMAND && !domain->info.pool_frames) {
        xen_end(domain, "more memory was touched than there is in the populate-on-demand pool");
    } else if (frame->kind == PLEAT_XEN_ON_DEMAND) {
        is_there = xen_put_page(domain, pfn, true);
        if (is_there)
            domain->info.on_demand_frames--;
    }
    xen_unlock(domain->hypervisor);
    return is_there;
}

/* ---- what is there ---- */

enum pleat_xen_frame pleat_xen_domain_frame(struct pleat_xen_domain *domain, uint64_t pfn)
{
    enum pleat_xen_frame kind = PLEAT_XEN_HOLE;

    if (!holds(domain, pfn, 1))
        return kind;
    xen_lock(domain->hypervisor);
    kind = (enum pleat_xen_frame)domain->frames[pfn].kind;
    xen_unlock(domain->hypervisor);
    return kind;
}

uint64_t pleat_xen_domain_own_frames(struct pleat_xen_domain *domain, uint64_t pfn, uint64_t frames)
{
    uint64_t own = 0;

    xen_lock(domain->hypervisor);
    for (uint64_t i = pfn; i < domain->config.frames && i - pfn < frames; i++)
        own += domain->frames[i].kind == PLEAT_XEN_OWN;
    xen_unlock(domain->hypervisor);
    return own;
}

void *pleat_xen_domain_pointer(struct pleat_xen_domain *domain, uint64_t pfn)
{
    return holds(domain, pfn, 1) ? domain->memory + pfn * FRAME_BYTES : NULL;
}

void pleat_xen_domain_info(struct pleat_xen_domain *domain, struct pleat_xen_domain_info *info)
{
    xen_lock(domain->hypervisor);
    *info = domain->info;
    info->current_frames = current_frames(domain);
    info->maximum_frames = domain->config.maximum_frames ? domain->config.maximum_frames : UINT64_MAX;
    xen_unlock(domain->hypervisor);
}

/* References of each page that frames and mappings account for, counted down from what is noted. */
static bool references_are_right(const struct pleat_xen_domain *domain)
{
    const uint64_t count = 2 * domain->config.frames;
    int32_t *left = calloc(count + 1, sizeof *left); /* never 0 bytes */
    uint64_t with_one = 0, unaccounted = 0;
    bool right = left;

    for (uint64_t page = 0; right && page < count; page++) {
        left[page] = domain->references[page];
        with_one += left[page] > 0;
    }
    for (uint64_t pfn = 0; right && pfn < domain->config.frames; pfn++)
        if (domain->frames[pfn].kind == PLEAT_XEN_OWN)
            left[domain->frames[pfn].page]--;
    for (unsigned id = 0; right && id < PLEAT_XEN_DOMAINS_MAX; id++) {
        const struct pleat_xen_domain *other = domain->hypervisor->domains[id];
        for (uint32_t i = 0; other && i < other->mapping_count; i++)
            if (other->mappings[i].is_used && other->mappings[i].owner == domain->config.id)
                left[other->mappings[i].page]--;
    }
    for (uint64_t page = 0; right && page < count; page++) {
        right = left[page] == 0 || left[page] == 1;
        unaccounted += left[page] == 1;
    }
    free(left);
    return right && with_one == domain->pages && unaccounted == domain->info.leaked_frames;
}

bool pleat_xen_domain_is_valid(struct pleat_xen_domain *domain)
{
    uint64_t kinds[4] = {0};

    xen_lock(domain->hypervisor);
    for (uint64_t pfn = 0; pfn < domain->config.frames; pfn++)
        kinds[domain->frames[pfn].kind]++;
    const bool valid = kinds[PLEAT_XEN_OWN] == domain->info.own_frames &&
                       kinds[PLEAT_XEN_ON_DEMAND] == domain->info.on_demand_frames &&
                       kinds[PLEAT_XEN_MAPPED] == domain->info.mapped_frames && references_are_right(domain);
    xen_unlock(domain->hypervisor);
    return valid;
}
