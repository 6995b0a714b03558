/* SPDX-License-Identifier: MIT
 *
 * Unpopulated frames. See include/pleat/unpopulated.h.
 *
 * An allocation first takes its count from the pool's, which grows if that is too little, and then finds so
 * many frames: they are there, whoever else is at work. Frames are found from the oldest section and the
 * lowest address on, so that what was freed is used before what never was.
 */
#include <pleat/unpopulated.h>

#include "block.h"
#include "check.h"
#include "cpu.h"
#include "text.h"
#include "unpopulated.h"

/* Frames that are allocated or freed in one stretch under the lock. */
#define STRETCH 256u

struct section *section_of(const struct core *core, uint64_t pfn)
{
    return section_in(core, pfn, 1);
}

struct section *section_in(const struct core *core, uint64_t start_pfn, uint64_t frames)
{
    struct section *section = atomic_load_explicit(&core->sections, memory_order_acquire);

    while (section &&
           (start_pfn >= section->start_pfn + block_frames(core) || section->start_pfn >= start_pfn + frames))
        section = atomic_load_explicit(&section->next, memory_order_acquire);
    return section;
}

/* --- the pool's lock ----------------------------------------------------------------------------------- */

/* Pinned, so that nobody on this CPU waits for one who can't go on. */
static void pool_lock(struct core *core)
{
    pleat_port_pin();
    while (atomic_exchange_explicit(&core->pool_lock, 1, memory_order_acquire)) {
        while (atomic_load_explicit(&core->pool_lock, memory_order_relaxed))
            pleat_port_pause();
    }
}

static void pool_unlock(struct core *core)
{
    atomic_store_explicit(&core->pool_lock, 0, memory_order_release);
    pleat_port_unpin();
}

/* --- naming the addresses ------------------------------------------------------------------------------ */

static bool range_is_sound(const struct core *core, const struct pleat_unpopulated_range *range)
{
    uint64_t end = UINT64_MAX >> core->frame_shift;

    return range->frames && range->start_pfn <= end && range->frames - 1 <= end - range->start_pfn;
}

int pleat_unpopulated_init(struct pleat *pleat, const struct pleat_unpopulated_config *config)
{
    struct core *core = core_of(pleat);
    int error = PLEAT_OK;

    if (!config->ranges || !config->range_count || config->node >= core->node_count)
        return PLEAT_E_INVALID;
    for (unsigned i = 0; i < config->range_count; i++) {
        if (!range_is_sound(core, &config->ranges[i]))
            return PLEAT_E_INVALID;
    }
    hotplug_lock(core);
    if (core->pool_ranges) {
        error = PLEAT_E_STATE;
    } else {
        core->pool_range_count = config->range_count;
        core->pool_node = config->node;
        atomic_store_explicit(&core->pool_ranges, config->ranges, memory_order_release);
    }
    hotplug_unlock(core);
    return error;
}

/* --- growing ------------------------------------------------------------------------------------------- */

/* Between all that lies at the top of the tree: what is free inside of a claimed region is that one's own. */
static bool find_addresses(struct core *core, uint64_t *start)
{
    const struct pleat_unpopulated_range *ranges = core->pool_ranges;
    uint64_t bytes = block_frames(core) << core->frame_shift;

    for (unsigned i = 0; i < core->pool_range_count; i++) {
        uint64_t lowest = ranges[i].start_pfn << core->frame_shift;
        uint64_t last = ((ranges[i].start_pfn + ranges[i].frames - 1) << core->frame_shift) +
                        (((uint64_t)1 << core->frame_shift) - 1);

        /* Never frame 0: Xen takes an unmapping there for none. */
        lowest = lowest < bytes ? bytes : lowest;
        if (!pleat_resource_gap(&core->resources, bytes, bytes, lowest, last, start))
            return true;
    }
    return false;
}

static void tell(const struct core *core, const struct section *section)
{
    struct text text;

    text_begin(&text);
    text_add(&text, "unpopulated frames at 0x");
    text_hex(&text, section->resource.start);
    text_add(&text, " to 0x");
    text_hex(&text, section->resource.last);
    core_log(core, PLEAT_LOG_INFO, text.line);
}

static struct section *section_create(struct core *core, unsigned char *memmap, uint64_t start)
{
    uint64_t bits_bytes = block_frames(core) / 8;
    uint64_t owners_bytes = core->owner_shift ? block_frames(core) << core->owner_shift : 0;
    struct section *section = (struct section *)(void *)(memmap + bits_bytes + owners_bytes);

    CHECK(bits_bytes + owners_bytes + sizeof(*section) <= core->memmap_bytes);
    __builtin_memset(memmap, 0, bits_bytes + owners_bytes + sizeof(*section));
    section->start_pfn = start >> core->frame_shift;
    section->bits = (uint64_t *)(void *)memmap;
    section->owners = memmap + bits_bytes;
    section->free_frames = (uint32_t)block_frames(core);
    return section;
}

/* Takes one section more, unless somebody else has done so meanwhile and it is enough. */
static int grow(struct core *core, uint64_t wanted)
{
    struct section *section;
    uint64_t start;
    int64_t memmap_pfn;
    bool enough;

    pool_lock(core);
    enough = core->pool_free >= wanted;
    pool_unlock(core);
    if (enough)
        return PLEAT_OK;
    if (!find_addresses(core, &start))
        return PLEAT_E_NO_MEMORY;
    memmap_pfn = metadata_allocate(core, core->pool_node, true);
    if (memmap_pfn < 0)
        return (int)memmap_pfn;
    section = section_create(core, core->port.frame_pointer(core->port.context, (uint64_t)memmap_pfn), start);
    if (pleat_resource_describe(&section->resource, "unpopulated", start,
                                block_frames(core) << core->frame_shift) ||
        pleat_resource_insert(&core->resources, &section->resource, NULL))
        CHECK(false);
    pool_lock(core);
    if (core->last_section)
        atomic_store_explicit(&core->last_section->next, section, memory_order_release);
    else
        atomic_store_explicit(&core->sections, section, memory_order_release);
    core->last_section = section;
    core->pool_free += section->free_frames;
    pool_unlock(core);
    tell(core, section);
    return PLEAT_OK;
}

/* --- allocating ---------------------------------------------------------------------------------------- */

static bool reserve(struct core *core, uint64_t count)
{
    bool enough;

    pool_lock(core);
    enough = core->pool_free >= count;
    core->pool_free -= enough ? count : 0;
    pool_unlock(core);
    return enough;
}

/* The lowest free frame of a section that has one. */
static uint64_t section_take(const struct core *core, struct section *section, pleat_tag tag)
{
    uint64_t offset;

    while (!~section->bits[section->first_word])
        section->first_word++;
    offset = section->first_word * 64ull + word_lowest(~section->bits[section->first_word]);
    CHECK(offset < block_frames(core));
    section->bits[offset / 64] |= (uint64_t)1 << (offset % 64);
    section->free_frames--;
    if (core->owner_shift)
        atomic_store_explicit(section_owner(core, section, section->start_pfn + offset),
                              owner_word(PLEAT_UNMOVABLE, 0, tag), memory_order_release);
    return section->start_pfn + offset;
}

/* Frames that are reserved: somewhere they are free. */
static void take_stretch(struct core *core, unsigned count, uint64_t *pfns, pleat_tag tag)
{
    struct section *section;
    unsigned i = 0;

    pool_lock(core);
    for (section = core->sections; section && i < count; section = section->next) {
        while (section->free_frames && i < count)
            pfns[i++] = section_take(core, section, tag);
    }
    pool_unlock(core);
    CHECK(i == count);
}

int pleat_alloc_unpopulated(struct pleat *pleat, unsigned count, uint64_t *pfns, pleat_tag tag)
{
    struct core *core = core_of(pleat);
    int error;

    if (!count)
        return PLEAT_E_INVALID;
    if (!atomic_load_explicit(&core->pool_ranges, memory_order_acquire))
        return PLEAT_E_UNSUPPORTED;
    while (!reserve(core, count)) {
        hotplug_lock(core);
        error = grow(core, count);
        hotplug_unlock(core);
        if (error)
            return error;
    }
    for (unsigned i = 0; i < count; i += STRETCH)
        take_stretch(core, count - i < STRETCH ? count - i : STRETCH, pfns + i, tag);
    return PLEAT_OK;
}

/* --- freeing ------------------------------------------------------------------------------------------- */

static bool is_allocated(const struct core *core, uint64_t pfn)
{
    const struct section *section = section_of(core, pfn);
    uint64_t offset = section ? pfn - section->start_pfn : 0;

    return section && section->bits[offset / 64] >> (offset % 64) & 1;
}

static void section_free(struct core *core, uint64_t pfn)
{
    struct section *section = section_of(core, pfn);
    uint64_t offset = pfn - section->start_pfn;

    if (core->owner_shift) {
        _Atomic uint64_t *owner = section_owner(core, section, pfn);

        /* Whose it was stays, for a second free. */
        atomic_store_explicit(owner, owner_word_freed(atomic_load_explicit(owner, memory_order_relaxed)),
                              memory_order_relaxed);
    }
    section->bits[offset / 64] &= ~((uint64_t)1 << (offset % 64));
    section->free_frames++;
    if (offset / 64 < section->first_word)
        section->first_word = (uint32_t)(offset / 64);
    core->pool_free++;
}

/* Looks at frames, or frees them; returns how many before the first that isn't allocated. */
static unsigned stretch(struct core *core, unsigned count, const uint64_t *pfns, bool frees)
{
    unsigned i;

    pool_lock(core);
    for (i = 0; i < count && is_allocated(core, pfns[i]); i++) {
        if (frees)
            section_free(core, pfns[i]);
    }
    pool_unlock(core);
    return i;
}

static unsigned all(struct core *core, unsigned count, const uint64_t *pfns, bool frees)
{
    unsigned i = 0;

    while (i < count) {
        unsigned some = count - i < STRETCH ? count - i : STRETCH;
        unsigned done = stretch(core, some, pfns + i, frees);

        i += done;
        if (done < some)
            break;
    }
    return i;
}

int pleat_free_unpopulated(struct pleat *pleat, unsigned count, const uint64_t *pfns)
{
    struct core *core = core_of(pleat);
    unsigned good = all(core, count, pfns, false);
    const struct section *section;
    uint64_t word = 0;

    if (good == count)
        good = all(core, count, pfns, true);
    if (good == count)
        return PLEAT_OK;
    section = section_of(core, pfns[good]);
    if (section && core->owner_shift)
        word = atomic_load_explicit(section_owner(core, section, pfns[good]), memory_order_acquire);
    return free_misuse(core, pfns[good], 0, word,
                       section ? "it is unpopulated and isn't allocated" : "it isn't unpopulated");
}

/* --- what there is ------------------------------------------------------------------------------------- */

int pleat_unpopulated_info(struct pleat *pleat, uint64_t pfn, struct pleat_unpopulated_info *info)
{
    struct core *core = core_of(pleat);
    const struct section *found = NULL;

    pool_lock(core);
    for (const struct section *section = core->sections; section; section = section->next) {
        if (section->start_pfn + block_frames(core) > pfn &&
            (!found || section->start_pfn < found->start_pfn))
            found = section;
    }
    if (found)
        *info = (struct pleat_unpopulated_info){.start_pfn = found->start_pfn,
                                                .frames = block_frames(core),
                                                .used_frames = block_frames(core) - found->free_frames};
    pool_unlock(core);
    return found ? PLEAT_OK : PLEAT_E_NOT_FOUND;
}

static bool wrong(const struct core *core, const char *what, uint64_t pfn)
{
    struct text text;

    text_begin(&text);
    text_add(&text, "recount: ");
    text_add(&text, what);
    text_add(&text, " at PFN 0x");
    text_hex(&text, pfn);
    core_log(core, PLEAT_LOG_ERROR, text.line);
    return false;
}

static bool is_named(const struct core *core, uint64_t pfn)
{
    const struct pleat_unpopulated_range *ranges = core->pool_ranges;

    for (unsigned i = 0; i < core->pool_range_count; i++) {
        if (pfn >= ranges[i].start_pfn && pfn - ranges[i].start_pfn < ranges[i].frames)
            return true;
    }
    return false;
}

static bool section_is_valid(struct core *core, const struct section *section)
{
    uint64_t start = section->start_pfn, last = start + block_frames(core) - 1;
    uint64_t clear = 0;

    if (!start || !is_named(core, start) || !is_named(core, last))
        return wrong(core, "unpopulated frames that nobody named", start);
    if (block_of(core, start) || section->resource.parent != &core->resources ||
        section->resource.start != start << core->frame_shift ||
        section->resource.last >> core->frame_shift != last)
        return wrong(core, "the place of unpopulated frames in the range tree", start);
    for (uint64_t pfn = start; pfn <= last; pfn++) {
        uint64_t offset = pfn - start;
        bool used = section->bits[offset / 64] >> (offset % 64) & 1;

        clear += !used;
        if (!used && offset / 64 < section->first_word)
            return wrong(core, "a free unpopulated frame that no search finds", pfn);
        if (core->owner_shift &&
            (OWNER_STATE(atomic_load(section_owner(core, section, pfn))) != STATE_FREE) != used)
            return wrong(core, "the owner's word of an unpopulated frame", pfn);
    }
    return clear == section->free_frames || wrong(core, "the count of free unpopulated frames", start);
}

bool unpopulated_is_valid(struct core *core)
{
    uint64_t free_frames = 0;

    for (const struct section *section = core->sections; section; section = section->next) {
        if (!section_is_valid(core, section))
            return false;
        free_frames += section->free_frames;
    }
    return free_frames == core->pool_free || wrong(core, "the sum of free unpopulated frames", 0);
}
