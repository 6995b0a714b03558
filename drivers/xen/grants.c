/* SPDX-License-Identifier: MIT
 *
 * Grants. An entry of the table is given to Xen by one store of flags and domain, after its frame has been
 * written; it is taken back by compare-and-swap of the same word, because a peer's mapping sets flags there
 * at any moment. Free references are a list through an array of the instance: the peer can't write that.
 */

#include <pleat/memory_ops.h>
#include <pleat/port.h>
#include <pleat/xen.h>
#include <pleat/xen_grants.h>

#include "../common/log.h"

/** Of mappings in a hypercall. */
#define BATCH 64u
/** In `next`: what a reference is that isn't free. References are table indices, which are smaller. */
#define OFFERED  UINT32_MAX
#define RESERVED (UINT32_MAX - 1)
/** The end of the list of free references: 0 is a reserved one. */
#define NONE 0u

/** Flags of an entry: xen/include/public/grant_table.h. */
enum { PERMIT_ACCESS = 1, READ_ONLY = 4, READING = 8, WRITING = 16 };

/** Whose frame a mapping is in. */
enum { SOURCE_CALLER = 0, SOURCE_HOLES, SOURCE_FALL_BACK };

struct pleat_xen_grants {
    struct pleat_xen_grants_config config;
    uint32_t count; /**< of the table */
    uint32_t first_free;
    uint32_t *next;
    bool fall_back_said;
    struct pleat_xen_grants_statistics statistics;
    struct pleat_xen_map maps[BATCH];
    struct pleat_xen_unmap unmaps[BATCH];
    struct pleat_xen_mapping *of[BATCH]; /**< what maps[i] or unmaps[i] is about */
    uint64_t pfns[BATCH];
};

/* --- Granting --------------------------------------------------------------------------------------------
 */

/** Flags and domain of an entry, in one word as Xen changes them, too. */
typedef uint32_t __attribute__((may_alias)) entry_word;
_Static_assert(offsetof(struct pleat_xen_grant_entry, flags) == 0 &&
                   offsetof(struct pleat_xen_grant_entry, domain) == 2 &&
                   offsetof(struct pleat_xen_grant_entry, frame) == 4,
               "grant_entry_v1");

static entry_word *word_of(const struct pleat_xen_grants *grants, uint32_t reference)
{
    return (entry_word *)&grants->config.xen->grants[reference];
}

static entry_word make_word(uint16_t flags, uint16_t domain)
{
    const uint16_t parts[2] = {flags, domain};
    entry_word word;
    __builtin_memcpy(&word, parts, sizeof(word));
    return word;
}

static uint16_t flags_of(entry_word word)
{
    uint16_t flags;
    __builtin_memcpy(&flags, &word, sizeof(flags));
    return flags;
}

int64_t pleat_xen_grants_offer(struct pleat_xen_grants *grants, uint16_t domain, uint64_t pfn, bool read_only)
{
    if (pfn == 0 || pfn > UINT32_MAX || domain == PLEAT_XEN_DOMAIN_SELF) {
        return PLEAT_E_INVALID;
    }
    if (grants->count == 0) {
        return PLEAT_E_UNSUPPORTED;
    }
    const uint32_t reference = grants->first_free;
    if (reference == NONE) {
        return PLEAT_E_NO_MEMORY;
    }
    grants->first_free = grants->next[reference];
    grants->next[reference] = OFFERED;
    grants->config.xen->grants[reference].frame = (uint32_t)pfn;
    const uint16_t flags = PERMIT_ACCESS | (read_only ? READ_ONLY : 0);
    __atomic_store_n(word_of(grants, reference), make_word(flags, domain), __ATOMIC_RELEASE);
    grants->statistics.granted++;
    grants->statistics.references_free--;
    grants->statistics.references_used++;
    return reference;
}

int pleat_xen_grants_end(struct pleat_xen_grants *grants, uint32_t reference)
{
    if (reference >= grants->count || grants->next[reference] != OFFERED) {
        return PLEAT_E_NOT_FOUND;
    }
    entry_word *entry = word_of(grants, reference);
    entry_word word = __atomic_load_n(entry, __ATOMIC_ACQUIRE);
    do {
        if ((flags_of(word) & (READING | WRITING)) != 0) {
            grants->statistics.ended_busy++;
            return PLEAT_E_BUSY;
        }
    } while (!__atomic_compare_exchange_n(entry, &word, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    grants->next[reference] = grants->first_free;
    grants->first_free = reference;
    grants->statistics.ended++;
    grants->statistics.references_free++;
    grants->statistics.references_used--;
    return 0;
}

/* --- Holes -----------------------------------------------------------------------------------------------
 */

static const struct pleat_xen_holes *holes_of(const struct pleat_xen_grants *grants, uint8_t source)
{
    return source == SOURCE_HOLES ? &grants->config.holes : &grants->config.fall_back;
}

/* Into pfns; false: there are none. */
static bool alloc_from(struct pleat_xen_grants *grants, uint8_t source, unsigned count)
{
    const struct pleat_xen_holes *holes = holes_of(grants, source);
    if (holes->alloc == NULL || holes->alloc(holes->context, count, grants->pfns) < 0) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        if (grants->pfns[i] == 0) {
            pleat_log_line(grants->config.memory, PLEAT_LOG_ERROR, grants->config.name,
                           "an allocator of holes hands out frame 0");
            holes->free(holes->context, count, grants->pfns);
            return false;
        }
    }
    return true;
}

static void say_fall_back(struct pleat_xen_grants *grants)
{
    if (!grants->fall_back_said) {
        grants->fall_back_said = true;
        pleat_log_line(grants->config.memory, PLEAT_LOG_WARNING, grants->config.name,
                       "no unpopulated frame is left: foreign ones are mapped into memory ballooned out");
    }
}

/* Where the frames came from; SOURCE_CALLER: from nowhere. */
static uint8_t alloc_holes(struct pleat_xen_grants *grants, unsigned count)
{
    if (alloc_from(grants, SOURCE_HOLES, count)) {
        return SOURCE_HOLES;
    }
    if (alloc_from(grants, SOURCE_FALL_BACK, count)) {
        say_fall_back(grants);
        grants->statistics.fall_back_frames += count;
        return SOURCE_FALL_BACK;
    }
    return SOURCE_CALLER;
}

static void free_hole(const struct pleat_xen_grants *grants, struct pleat_xen_mapping *mapping)
{
    if (mapping->source != SOURCE_CALLER) {
        const struct pleat_xen_holes *holes = holes_of(grants, mapping->source);
        holes->free(holes->context, 1, &mapping->pfn);
        mapping->pfn = 0;
        mapping->source = SOURCE_CALLER;
    }
}

/* --- Mapping ---------------------------------------------------------------------------------------------
 */

/* Chooses frames where there are none; how many of the batch can be tried. */
static unsigned prepare(struct pleat_xen_grants *grants, struct pleat_xen_mapping *mappings, unsigned count)
{
    unsigned wanted = 0;
    unsigned used = 0;
    unsigned ready = 0;
    for (unsigned i = 0; i < count; i++) {
        mappings[i].source = SOURCE_CALLER;
        mappings[i].handle = PLEAT_XEN_UNMAPPED;
        mappings[i].result = PLEAT_E_NO_MEMORY;
        wanted += mappings[i].pfn == 0;
    }
    const uint8_t source = wanted > 0 ? alloc_holes(grants, wanted) : SOURCE_CALLER;
    for (unsigned i = 0; i < count; i++) {
        struct pleat_xen_mapping *mapping = &mappings[i];
        if (mapping->pfn == 0 && source != SOURCE_CALLER) {
            mapping->pfn = grants->pfns[used++];
            mapping->source = source;
        }
        if (mapping->pfn != 0) {
            grants->of[ready] = mapping;
            grants->maps[ready++] = (struct pleat_xen_map){.pfn = mapping->pfn,
                                                           .reference = mapping->reference,
                                                           .domain = mapping->domain,
                                                           .read_only = mapping->read_only,
                                                           .result = PLEAT_E_DEVICE};
        }
    }
    return ready;
}

static unsigned map_batch(struct pleat_xen_grants *grants, unsigned count)
{
    const struct pleat_xen *xen = grants->config.xen;
    const int error = xen->ops->map(xen->context, grants->maps, count);
    unsigned done = 0;
    grants->statistics.map_calls++;
    for (unsigned i = 0; i < count; i++) {
        struct pleat_xen_mapping *mapping = grants->of[i];
        mapping->result = error < 0 ? error : grants->maps[i].result;
        if (mapping->result == 0) {
            mapping->handle = grants->maps[i].handle;
            done++;
        } else {
            mapping->result = mapping->result < 0 ? mapping->result : PLEAT_E_DEVICE;
            free_hole(grants, mapping);
        }
    }
    grants->statistics.mapped += done;
    grants->statistics.map_failures += count - done;
    return done;
}

int64_t pleat_xen_grants_map(struct pleat_xen_grants *grants, struct pleat_xen_mapping *mappings,
                             unsigned count)
{
    unsigned tried = 0;
    unsigned done = 0;
    for (unsigned first = 0; first < count; first += BATCH) {
        const unsigned batch = count - first < BATCH ? count - first : BATCH;
        const unsigned ready = prepare(grants, &mappings[first], batch);
        tried += ready;
        done += ready > 0 ? map_batch(grants, ready) : 0;
    }
    return tried == 0 && count > 0 ? PLEAT_E_NO_MEMORY : (int64_t)done;
}

static unsigned unmap_batch(struct pleat_xen_grants *grants, unsigned count)
{
    const struct pleat_xen *xen = grants->config.xen;
    const int error = xen->ops->unmap(xen->context, grants->unmaps, count);
    unsigned done = 0;
    grants->statistics.unmap_calls++;
    for (unsigned i = 0; i < count; i++) {
        struct pleat_xen_mapping *mapping = grants->of[i];
        mapping->result = error < 0 ? error : grants->unmaps[i].result;
        if (mapping->result == 0) {
            mapping->handle = PLEAT_XEN_UNMAPPED;
            free_hole(grants, mapping);
            done++;
        } else if (mapping->result > 0) {
            mapping->result = PLEAT_E_DEVICE;
        }
    }
    grants->statistics.unmapped += done;
    grants->statistics.unmap_failures += count - done;
    return done;
}

int64_t pleat_xen_grants_unmap(struct pleat_xen_grants *grants, struct pleat_xen_mapping *mappings,
                               unsigned count)
{
    unsigned ready = 0;
    unsigned done = 0;
    for (unsigned i = 0; i < count; i++) {
        struct pleat_xen_mapping *mapping = &mappings[i];
        if (mapping->handle != PLEAT_XEN_UNMAPPED && mapping->pfn != 0) {
            grants->of[ready] = mapping;
            grants->unmaps[ready++] = (struct pleat_xen_unmap){
                .pfn = mapping->pfn, .handle = mapping->handle, .result = PLEAT_E_DEVICE};
        }
        if (ready == BATCH || (i + 1 == count && ready > 0)) {
            done += unmap_batch(grants, ready);
            ready = 0;
        }
    }
    return done;
}

/* --- Life ------------------------------------------------------------------------------------------------
 */

size_t pleat_xen_grants_storage_bytes(unsigned grant_count)
{
    return sizeof(struct pleat_xen_grants) + (size_t)grant_count * sizeof(uint32_t);
}

int pleat_xen_grants_create(const struct pleat_xen_grants_config *config, struct pleat_xen_grants **created)
{
    if (config->xen == NULL || config->xen->ops == NULL || config->storage == NULL ||
        (uintptr_t)config->storage % PLEAT_XEN_GRANTS_ALIGNMENT != 0) {
        return PLEAT_E_INVALID;
    }
    const uint32_t count = config->xen->grants == NULL ? 0 : config->xen->grant_count;
    if (config->storage_bytes < pleat_xen_grants_storage_bytes(count) || count >= RESERVED ||
        (config->holes.alloc != NULL && config->holes.free == NULL) ||
        (config->fall_back.alloc != NULL && config->fall_back.free == NULL)) {
        return PLEAT_E_INVALID;
    }
    struct pleat_xen_grants *grants = config->storage;
    __builtin_memset(grants, 0, sizeof(*grants));
    grants->config = *config;
    if (config->name == NULL) {
        grants->config.name = "xen-grants";
    }
    grants->count = count;
    grants->next = (uint32_t *)(grants + 1);
    for (uint32_t reference = 0; reference < count; reference++) {
        const bool reserved = reference < PLEAT_XEN_GRANTS_RESERVED;
        grants->next[reference] = reserved ? RESERVED : (reference + 1 < count ? reference + 1 : NONE);
    }
    if (count > PLEAT_XEN_GRANTS_RESERVED) {
        grants->first_free = PLEAT_XEN_GRANTS_RESERVED;
        grants->statistics.references_free = count - PLEAT_XEN_GRANTS_RESERVED;
    }
    *created = grants;
    return 0;
}

void pleat_xen_grants_statistics(const struct pleat_xen_grants *grants,
                                 struct pleat_xen_grants_statistics *statistics)
{
    *statistics = grants->statistics;
}

bool pleat_xen_grants_is_valid(const struct pleat_xen_grants *grants)
{
    const struct pleat_xen_grants_statistics *statistics = &grants->statistics;
    const uint32_t usable =
        grants->count > PLEAT_XEN_GRANTS_RESERVED ? grants->count - PLEAT_XEN_GRANTS_RESERVED : 0;
    uint32_t offered = 0;
    uint32_t listed = 0;
    for (uint32_t reference = 0; reference < grants->count; reference++) {
        offered += grants->next[reference] == OFFERED;
    }
    for (uint32_t at = grants->first_free; at != NONE; at = grants->next[at]) {
        if (at < PLEAT_XEN_GRANTS_RESERVED || at >= grants->count || ++listed > usable) {
            return false;
        }
    }
    return offered == statistics->references_used && listed == statistics->references_free &&
           offered + listed == usable;
}
