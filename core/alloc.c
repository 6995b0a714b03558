/* SPDX-License-Identifier: MIT
 *
 * Allocating and freeing frames.
 *
 * Order 0 goes through the CPU's cache of its mobility: the CPU's word, the owner's word, the cache, all by
 * plain loads and stores where the port has a fence. Where a free sees no isolation, no evacuation can be at
 * work on the frame before this CPU has left its word.
 * Orders 1 to 8 come from a pageblock that the CPU has to itself, 9 and above are whole pageblocks.
 * Everything that isn't at home in this CPU's caches (another node, a special zone, an isolated block) goes
 * straight to the bits of its pageblock.
 */
#include "bits.h"
#include "check.h"
#include "cpu.h"
#include "index.h"
#include "text.h"

/* --- allocation --------------------------------------------------------------------------------------------
 */

/* Decodes flags for the CPU at hand; PLEAT_OK or PLEAT_E_INVALID. */
static int wish_make(const struct core *core, unsigned order, unsigned flags, pleat_tag tag,
                     struct wish *wish)
{
    unsigned node = flags >> 16;

    wish->mobility = flags & PLEAT_MOBILITY_MASK;
    wish->order = (uint8_t)order;
    wish->this_node = (flags & PLEAT_ALLOC_THIS_NODE) != 0;
    wish->zone_limit = flags & PLEAT_ALLOC_DMA     ? PLEAT_ZONE_DMA
                       : flags & PLEAT_ALLOC_DMA32 ? PLEAT_ZONE_DMA32
                                                   : PLEAT_ZONE_MOVABLE;
    if (order > PLEAT_MAX_ORDER || wish->mobility >= MOBILITIES || node > core->node_count ||
        flags & 0xffff &
            ~(unsigned)(PLEAT_MOBILITY_MASK | PLEAT_ALLOC_DMA | PLEAT_ALLOC_DMA32 | PLEAT_ALLOC_RESERVE |
                        PLEAT_ALLOC_NO_RECLAIM | PLEAT_ALLOC_THIS_NODE))
        return PLEAT_E_INVALID;
    if (wish->mobility == PLEAT_MOVABLE &&
        (!core->owner_shift || order > PLEAT_PAGEBLOCK_ORDER || !core->owners[OWNER_INDEX(tag)].ops))
        return PLEAT_E_INVALID;
    wish->node = (uint8_t)(node ? node - 1 : PLEAT_MAX_NODES);
    wish->avoided_block = wish->avoided_blocks = 0;
    return PLEAT_OK;
}

bool slot_suits(const struct slot *slot, const struct wish *wish)
{
    return slot->node == wish->node && slot->zone_limit == wish->zone_limit &&
           (!wish->this_node || slot->block->range.node == wish->node);
}

/* The node that a wish is for; until the CPU is pinned that is a guess where none was named. */
static unsigned wish_node(struct core *core, const struct wish *wish)
{
    unsigned node = wish->node;

    if (node == PLEAT_MAX_NODES) {
        pleat_port_pin();
        node = core->cpus[pleat_port_cpu()].node;
        pleat_port_unpin();
    }
    return node;
}

static int64_t allocate_huge_on_node(struct core *core, struct cpu *cpu, const struct wish *wish,
                                     unsigned node)
{
    bool fixed_first = wish->mobility != PLEAT_MOVABLE && wish->zone_limit >= PLEAT_ZONE_NORMAL;

    /* As for smaller ones: what can't move goes to memory that stays, before it opens any that could go. */
    for (unsigned pass = fixed_first ? 0 : 1; pass < 2; pass++) {
        bool home_only = pass == 0;
        struct zone *zone;
        unsigned at = 0;

        while ((zone = wish_zone(core, wish, node, &at)) != NULL) {
            int64_t pfn;

            if (home_only && (zone->kind == PLEAT_ZONE_PREFER_MOVABLE || zone->kind == PLEAT_ZONE_DMA ||
                              (zone->kind == PLEAT_ZONE_DMA32 && low_zone_is_worn(core, zone))))
                continue;
            pfn = index_take_huge(core, zone, wish, cpu, home_only);
            if (pfn >= 0)
                return pfn;
        }
    }
    return PLEAT_E_NO_MEMORY;
}

int64_t allocate_huge(struct core *core, struct cpu *cpu, const struct wish *wish)
{
    unsigned nodes = wish->this_node ? 1 : core->node_count;

    for (unsigned i = 0; i < nodes; i++) {
        unsigned node = core->fallback[wish->node * core->node_count + i];
        int64_t pfn = allocate_huge_on_node(core, cpu, wish, node);

        if (pfn >= 0) {
            cpu_count_free(cpu, -((int64_t)1 << wish->order));
            return pfn;
        }
    }
    return PLEAT_E_NO_MEMORY;
}

/* Inside the CPU's word. */
static int64_t allocate_inside(struct core *core, struct cpu *cpu, const struct wish *asked)
{
    struct wish wish = *asked;
    struct slot *slot;
    bool at_home;

    if (wish.node == PLEAT_MAX_NODES)
        wish.node = (uint8_t)cpu->node;
    at_home = wish.node == cpu->node && wish.zone_limit == PLEAT_ZONE_MOVABLE && !wish.this_node;
    if (wish.order >= PLEAT_PAGEBLOCK_ORDER)
        return allocate_huge(core, cpu, &wish);
    if (wish.order == 0 && at_home) {
        struct cache *cache = &cpu->caches[wish.mobility];
        uint32_t count = counter_get(&cache->count);

        if (!count) {
            if (cache_fill(core, cpu, &wish))
                return PLEAT_E_NO_MEMORY;
            count = counter_get(&cache->count);
        }
        counter_set(&cache->count, count - 1);
        return (int64_t)cache->pfn[count - 1];
    }
    slot = &cpu->slots[at_home ? SLOT_LARGE : SLOT_FOREIGN][wish.mobility];
    if (!at_home && slot->block && !slot_suits(slot, &wish))
        slot_release(cpu, slot);
    return slot_allocate(core, cpu, &wish, slot);
}

/*
 * Whether an allocation of this size leaves the watermark alone. The sum over all CPUs is made seldom: each
 * time, the CPU may take a share of what is above the watermark before it has to look again.
 */
static bool above_watermark(struct core *core, struct cpu *cpu, unsigned order, unsigned flags)
{
    int64_t size = (int64_t)1 << order;
    int64_t above;

    if (flags & PLEAT_ALLOC_RESERVE)
        return true;
    if (cpu->allowance < size) {
        above = core_free_frames(core) - (int64_t)core->watermark;
        if (above < size)
            return false;
        cpu->allowance = above / (2 * (int64_t)core->cpu_count);
        cpu->allowance = cpu->allowance < size ? size : cpu->allowance;
    }
    cpu->allowance -= size;
    return true;
}

static int64_t allocate_once(struct core *core, unsigned order, unsigned flags, pleat_tag tag,
                             const struct wish *wish)
{
    struct cpu *cpu = cpu_begin(core);
    int64_t pfn = PLEAT_E_NO_MEMORY;

    /* Filling an order-0 cache counts as much as it brings at least. */
    if (above_watermark(core, cpu, order ? order : 5, flags) || above_watermark(core, cpu, order, flags))
        pfn = allocate_inside(core, cpu, wish);
    if (pfn >= 0 && core->owner_shift) {
        uint64_t offset = (uint64_t)pfn & core->block_mask;

        atomic_store_explicit(head_owner(core, block_of(core, (uint64_t)pfn), offset, order),
                              owner_word(wish->mobility, order, tag), memory_order_release);
    }
    cpu_end(cpu);
    return pfn;
}

__attribute__((noinline)) static int64_t allocate_slow(struct core *core, unsigned order, unsigned flags,
                                                       pleat_tag tag)
{
    struct wish wish;
    int64_t pfn;

    if (wish_make(core, order, flags, tag, &wish))
        return PLEAT_E_INVALID;
    pfn = allocate_once(core, order, flags, tag, &wish);
    if (pfn >= 0)
        return pfn;
    /* Free frames may lie in other CPUs' caches and pageblocks. */
    core_drain(core, false);
    pfn = allocate_once(core, order, flags, tag, &wish);
    for (unsigned tries = 0; pfn < 0 && tries < 4; tries++) {
        if (!core->reclaim || flags & PLEAT_ALLOC_NO_RECLAIM ||
            !core->reclaim(core->reclaim_context, wish_node(core, &wish), (uint64_t)1 << order))
            break;
        core_drain(core, false);
        pfn = allocate_once(core, order, flags, tag, &wish);
    }
    return pfn;
}

/* Takes a frame out of this CPU's cache, inside its word; PLEAT_E_NO_MEMORY: the cache is empty. */
__attribute__((always_inline)) static inline int64_t cache_pop(struct core *core, struct cpu *cpu,
                                                               unsigned mobility, pleat_tag tag)
{
    struct cache *cache = &cpu->caches[mobility];
    uint32_t count = counter_get(&cache->count);
    uint64_t pfn;

    if (unlikely(!count))
        return PLEAT_E_NO_MEMORY;
    pfn = cache->pfn[count - 1];
    counter_set(&cache->count, count - 1);
    if (likely(core->owner_shift))
        atomic_store_explicit(entry_owner(core, entry_of_block(core, pfn), pfn & core->block_mask),
                              owner_word(mobility, 0, tag), memory_order_release);
    return (int64_t)pfn;
}

/* There may be visitors, or the port has no fence. */
__attribute__((noinline)) static int64_t allocate_visited(struct core *core, unsigned mobility, pleat_tag tag)
{
    struct cpu *cpu = cpu_begin(core);
    int64_t pfn = cache_pop(core, cpu, mobility, tag);

    cpu_end(cpu);
    return likely(pfn >= 0) ? pfn : allocate_slow(core, 0, mobility, tag);
}

/* Every way but the shortest ends in a call of its own, so that the shortest saves no registers. */
int64_t pleat_alloc(struct pleat *pleat, unsigned order, unsigned flags, pleat_tag tag)
{
    struct core *core = core_of(pleat);
    struct cpu *cpu;
    int64_t pfn;

    if (unlikely(order != 0 || flags >= MOBILITIES))
        return allocate_slow(core, order, flags, tag);
    if (flags == PLEAT_MOVABLE && unlikely(!core->owners[OWNER_INDEX(tag)].ops || !core->owner_shift))
        return PLEAT_E_INVALID;
    cpu = cpu_pin(core);
    if (unlikely(!cpu_enter_fast(core, cpu))) {
        pleat_port_unpin();
        return allocate_visited(core, flags, tag);
    }
    pfn = cache_pop(core, cpu, flags, tag);
    cpu_leave_fast(cpu);
    pleat_port_unpin();
    return likely(pfn >= 0) ? pfn : allocate_slow(core, 0, flags, tag);
}

/* --- freeing ------------------------------------------------------------------------------------------- */

int free_misuse(struct core *core, uint64_t pfn, unsigned order, uint64_t word, const char *what)
{
    struct text text;

    text_begin(&text);
    text_add(&text, "free of PFN 0x");
    text_hex(&text, pfn);
    text_add(&text, ", order ");
    text_number(&text, order);
    text_add(&text, ": ");
    text_add(&text, what);
    if (OWNER_STATE(word) != STATE_FREE) {
        text_add(&text, " (owner \"");
        text_add(&text, core_owner_name(core, OWNER_INDEX(word)));
        text_add(&text, "\", order ");
        text_number(&text, OWNER_ORDER(word));
        text_add(&text, ")");
    } else if (owner_word_is_free(word) && word) {
        text_add(&text, " (last owner \"");
        text_add(&text, core_owner_name(core, OWNER_INDEX(word)));
        text_add(&text, "\")");
    }
    if (core->port.fatal)
        core->port.fatal(core->port.context, text.line);
    else
        core_log(core, PLEAT_LOG_ERROR, text.line);
    return PLEAT_E_MISUSE;
}

/* Why a frame can't be freed so; NULL if it can. *word is its owner's word, if that can be read. */
static const char *free_refused(struct core *core, struct block *block, uint64_t pfn, unsigned order,
                                uint64_t *word)
{
    uint64_t offset = pfn & core->block_mask;
    uint32_t state;

    *word = 0;
    if (order > PLEAT_MAX_ORDER)
        return "there is no such order";
    if (!block)
        return "there is no memory";
    if (offset & (((uint64_t)1 << order) - 1))
        return "the PFN isn't aligned to the order";
    state = pageblock_word(block, (unsigned)(offset / FRAMES));
    if (state & WORD_OFFLINE)
        return "the memory block is offline";
    if (order >= PLEAT_PAGEBLOCK_ORDER ? !(state & WORD_HUGE) || state & WORD_TAIL : (state & WORD_HUGE) != 0)
        return "it isn't allocated with this order";
    if (!(state & (WORD_INITIALISED | WORD_HUGE)))
        return "it isn't allocated";
    if (!core->owner_shift)
        return NULL;
    *word = atomic_load_explicit(head_owner(core, block, offset, order), memory_order_relaxed);
    if (OWNER_STATE(*word) == STATE_FREE)
        return owner_word_is_free(*word) ? "it isn't allocated, or was freed already"
                                         : "it was never allocated";
    if (*word == OWNER_FREED)
        return "it was freed already";
    if (OWNER_ORDER(*word) != order)
        return "it was allocated with another order";
    return NULL;
}

void frames_free_inside(struct cpu *cpu, struct block *block, uint64_t offset, unsigned order)
{
    unsigned pageblock = (unsigned)(offset / FRAMES);
    unsigned largest = order;

    if (order >= PLEAT_PAGEBLOCK_ORDER) {
        for (unsigned i = 1u << (order - PLEAT_PAGEBLOCK_ORDER); i-- > 0;)
            pageblock_return(block, pageblock + i, FRAMES, PLEAT_PAGEBLOCK_ORDER);
    } else {
        _Atomic uint64_t *bits = block_bits(block, pageblock);

        if (bits_clear_run(bits, (unsigned)(offset % FRAMES), order))
            CHECK(false);
        if (order < 6) {
            unsigned run =
                largest_run_in_word(atomic_load_explicit(&bits[offset % FRAMES / 64], memory_order_relaxed));

            largest = run == 6 ? bits_largest_run(bits) : run > largest ? run : largest;
        } else {
            largest = bits_largest_run(bits);
        }
        if (largest > 8)
            largest = 8;
        pageblock_return(block, pageblock, 1u << order, largest);
    }
    cpu_count_free(cpu, (int64_t)1 << order);
}

__attribute__((noinline)) static int free_slow(struct core *core, uint64_t pfn, unsigned order)
{
    struct cpu *cpu = cpu_begin(core);
    struct block *block = block_of(core, pfn);
    uint64_t offset = pfn & core->block_mask;
    const char *refused;
    uint64_t word;

    for (;;) {
        refused = free_refused(core, block, pfn, order, &word);
        if (refused || !core->owner_shift)
            break;
        if (OWNER_STATE(word) == STATE_UNMOVABLE) {
            /* Nobody else may change it. */
            atomic_store_explicit(head_owner(core, block, offset, order), owner_word_freed(word),
                                  memory_order_relaxed);
            break;
        }
        if (OWNER_STATE(word) == STATE_ISOLATING) {
            if (!atomic_compare_exchange_strong(head_owner(core, block, offset, order), &word, OWNER_FREED))
                continue;
            /* Whoever isolates it finds this and completes the free. */
            cpu_end(cpu);
            return PLEAT_OK;
        }
        if (atomic_compare_exchange_strong(head_owner(core, block, offset, order), &word,
                                           owner_word_freed(word)))
            break;
    }
    if (!refused)
        frames_free_inside(cpu, block, offset, order);
    cpu_end(cpu);
    return refused ? free_misuse(core, pfn, order, word, refused) : PLEAT_OK;
}

/* The mobility of a single frame in use that nobody evacuates; MOBILITIES: it is something else. By branches,
 * so that the cache doesn't have to wait for the word. */
static inline unsigned plain_mobility(uint64_t word)
{
    unsigned kind = word & OWNER_KIND_MASK;

    if (kind == STATE_MOVABLE)
        return PLEAT_MOVABLE;
    if (likely(kind == STATE_UNMOVABLE))
        return PLEAT_UNMOVABLE;
    return kind == (STATE_UNMOVABLE | OWNER_RECLAIMABLE) ? PLEAT_RECLAIMABLE : MOBILITIES;
}

enum push { PUSHED, CACHE_FULL, NOT_FOR_CACHES };

/* Puts a frame into this CPU's cache, inside its word. Unless it is PUSHED, nothing has changed. */
__attribute__((always_inline)) static inline enum push cache_push(struct core *core, struct cpu *cpu,
                                                                  uint64_t pfn)
{
    uint64_t entry = entry_of(core, pfn);
    unsigned mobility = PLEAT_UNMOVABLE;
    _Atomic uint64_t *owner = NULL;
    uint64_t word = 0;
    struct cache *cache;
    uint32_t count;

    if (unlikely((entry & ENTRY_HOME_MASK) != cpu->home))
        return NOT_FOR_CACHES;
    if (likely(core->owner_shift)) {
        uint64_t offset = pfn & core->block_mask;

        /* Where nobody has written owners' words yet, one that looks right is chance. */
        if (unlikely(!(entry_word(core, entry, offset) & WORD_INITIALISED)))
            return NOT_FOR_CACHES;
        owner = entry_owner(core, entry, offset);
        word = atomic_load_explicit(owner, memory_order_relaxed);
        mobility = plain_mobility(word);
        if (unlikely(mobility == MOBILITIES))
            return NOT_FOR_CACHES;
    }
    if (unlikely(entry & ENTRY_MOVABLE_ONLY && mobility != PLEAT_MOVABLE))
        return NOT_FOR_CACHES;
    cache = &cpu->caches[mobility];
    count = counter_get(&cache->count);
    if (unlikely(count == CACHE_FRAMES))
        return CACHE_FULL;
    /* Nobody else may change it: an evacuation begins after every CPU has left that saw no isolation. */
    if (likely(core->owner_shift))
        atomic_store_explicit(owner, owner_word_freed(word), memory_order_relaxed);
    cache->pfn[count] = pfn;
    counter_set(&cache->count, count + 1);
    return PUSHED;
}

/* There may be visitors, or the port has no fence, or a cache is full. */
__attribute__((noinline)) static int free_visited(struct core *core, uint64_t pfn)
{
    struct cpu *cpu = cpu_begin(core);
    enum push push = cache_push(core, cpu, pfn);

    if (push == CACHE_FULL) {
        for (unsigned i = 0; i < MOBILITIES; i++) {
            if (counter_get(&cpu->caches[i].count) == CACHE_FRAMES)
                cache_empty_half(core, cpu, &cpu->caches[i]);
        }
        push = cache_push(core, cpu, pfn);
    }
    cpu_end(cpu);
    return likely(push == PUSHED) ? PLEAT_OK : free_slow(core, pfn, 0);
}

int pleat_free(struct pleat *pleat, uint64_t pfn, unsigned order)
{
    struct core *core = core_of(pleat);
    enum push push;
    struct cpu *cpu;

    if (unlikely(order != 0))
        return free_slow(core, pfn, order);
    cpu = cpu_pin(core);
    if (unlikely(!cpu_enter_fast(core, cpu))) {
        pleat_port_unpin();
        return free_visited(core, pfn);
    }
    push = cache_push(core, cpu, pfn);
    cpu_leave_fast(cpu);
    pleat_port_unpin();
    if (likely(push == PUSHED))
        return PLEAT_OK;
    return push == CACHE_FULL ? free_visited(core, pfn) : free_slow(core, pfn, 0);
}

void pleat_drain(struct pleat *pleat)
{
    core_drain(core_of(pleat), false);
}

uint64_t pleat_free_frames(struct pleat *pleat)
{
    int64_t frames = core_free_frames(core_of(pleat));

    return frames > 0 ? (uint64_t)frames : 0;
}
