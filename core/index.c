/* SPDX-License-Identifier: MIT
 *
 * The index of pageblocks by class. See index.h for the protocol.
 */
#include "index.h"

#include "bits.h"
#include "check.h"

#define NO_MASK MASKS /* what mask_of_word() says of CLASS_NONE */
/* Pageblocks without a long enough run that a search passes over before it opens a new pageblock instead. */
#define TRIES 16u

/* A whole free pageblock is worth keeping: buckets are uneven, so that the fullest are filled up first. */
static unsigned bucket_of(unsigned count)
{
    return count < 16 ? 0 : count < 128 ? 1 : count < 384 ? 2 : 3;
}

uint32_t word_classified(uint32_t word)
{
    unsigned count = WORD_FREE_COUNT(word);
    unsigned class = CLASS_NONE;

    if (!(word & WORD_NO_CLASS) && count)
        class = count == FRAMES ? CLASS_FREE : CLASS_PARTIAL + bucket_of(count);
    return (word & ~(7u << WORD_CLASS_SHIFT)) | class << WORD_CLASS_SHIFT;
}

bool word_is_valid(uint32_t word)
{
    unsigned count = WORD_FREE_COUNT(word);

    if (count > FRAMES || WORD_CLASS(word) != WORD_CLASS(word_classified(word)))
        return false;
    if (word & WORD_HUGE && (count || word & (WORD_OWNED | WORD_WITHHELD | WORD_ABSENT | WORD_OFFLINE)))
        return false;
    if (word & WORD_TAIL && !(word & WORD_HUGE))
        return false;
    if (word & (WORD_WITHHELD | WORD_ABSENT | WORD_OFFLINE) && (count || word & WORD_OWNED))
        return false;
    return WORD_MOBILITY(word) < MOBILITIES && WORD_HINT(word) <= PLEAT_PAGEBLOCK_ORDER;
}

unsigned mask_of_word(uint32_t word)
{
    switch (WORD_CLASS(word)) {
    case CLASS_NONE:
        return NO_MASK;
    case CLASS_FREE:
        return MASK_FREE;
    default:
        return MASK_PARTIAL(WORD_MOBILITY(word), WORD_CLASS(word) - CLASS_PARTIAL);
    }
}

/* --- sets of blocks --------------------------------------------------------------------------------------
 */

uint64_t block_set_words(uint64_t blocks)
{
    uint64_t leaf = (blocks + 63) / 64;

    return leaf + (leaf + 63) / 64;
}

void block_set_add(struct block_set *set, uint64_t number)
{
    uint64_t bit = (uint64_t)1 << (number % 64);
    uint64_t leaf = number / 64;

    if (atomic_load(&set->leaf[leaf]) & bit)
        return;
    atomic_fetch_or(&set->leaf[leaf], bit);
    bit = (uint64_t)1 << (leaf % 64);
    if (!(atomic_load(&set->summary[leaf / 64]) & bit))
        atomic_fetch_or(&set->summary[leaf / 64], bit);
}

void block_set_remove(struct block_set *set, uint64_t number)
{
    uint64_t leaf = number / 64;
    uint64_t bit = (uint64_t)1 << (leaf % 64);

    atomic_fetch_and(&set->leaf[leaf], ~((uint64_t)1 << (number % 64)));
    if (atomic_load(&set->leaf[leaf]))
        return;
    atomic_fetch_and(&set->summary[leaf / 64], ~bit);
    if (atomic_load(&set->leaf[leaf]))
        atomic_fetch_or(&set->summary[leaf / 64], bit);
}

uint64_t block_set_next(const struct block_set *set, uint64_t from, uint64_t blocks)
{
    uint64_t leaf = from / 64;
    uint64_t bits;

    if (from >= blocks)
        return blocks;
    bits = atomic_load(&set->leaf[leaf]) & ~(uint64_t)0 << (from % 64);
    if (bits)
        return leaf * 64 + word_lowest(bits);
    leaf++;
    while (leaf * 64 < blocks) {
        bits = atomic_load(&set->summary[leaf / 64]) & ~(uint64_t)0 << (leaf % 64);
        if (!bits) {
            leaf = (leaf / 64 + 1) * 64;
            continue;
        }
        leaf = leaf / 64 * 64 + word_lowest(bits);
        bits = atomic_load(&set->leaf[leaf]);
        if (bits)
            return leaf * 64 + word_lowest(bits);
        leaf++;
    }
    return blocks;
}

/* --- places of a block in its zone's sets ------------------------------------------------------------------
 */

static bool block_is_home(struct block *block)
{
    return !block->range.removable || atomic_load(&block->unmovable) != 0;
}

static unsigned set_of_mask(struct block *block, unsigned mask)
{
    if (mask != MASK_FREE)
        return SET_OF_MASK(mask);
    return block_is_home(block) ? SET_FREE_HOME : SET_FREE_CLEAN;
}

/* Takes a block out of a set where it seems not to belong, and looks again. */
static void leave_set(struct zone *zone, struct block *block, unsigned mask, unsigned set)
{
    block_set_remove(&zone->sets[set], block->number);
    if (atomic_load(&block->masks[mask]) && set_of_mask(block, mask) == set)
        block_set_add(&zone->sets[set], block->number);
}

static void mask_set(struct block *block, unsigned mask, unsigned pageblock)
{
    struct zone *zone = block->zone;

    if (atomic_fetch_or(&block->masks[mask], (uint64_t)1 << pageblock) == 0)
        block_set_add(&zone->sets[set_of_mask(block, mask)], block->number);
}

static void mask_clear(struct block *block, unsigned mask, unsigned pageblock)
{
    atomic_fetch_and(&block->masks[mask], ~((uint64_t)1 << pageblock));
}

void index_move(struct block *block, unsigned pageblock, uint32_t old, uint32_t now)
{
    unsigned from = mask_of_word(old);
    unsigned to = mask_of_word(now);

    if (from == to)
        return;
    if (from != NO_MASK)
        mask_clear(block, from, pageblock);
    if (to != NO_MASK)
        mask_set(block, to, pageblock);
}

void index_publish(struct block *block, const uint64_t masks[MASKS])
{
    for (unsigned mask = 0; mask < MASKS; mask++) {
        if (!masks[mask])
            continue;
        /* From the first mask on others are in the block and put pageblocks into the rest. */
        atomic_fetch_or(&block->masks[mask], masks[mask]);
        block_set_add(&block->zone->sets[set_of_mask(block, mask)], block->number);
    }
}

/* A search found the pageblock in a mask that its word doesn't name. */
static void mend_mask(struct block *block, unsigned pageblock, unsigned mask)
{
    unsigned right = mask_of_word(pageblock_word(block, pageblock));

    if (right != NO_MASK)
        mask_set(block, right, pageblock);
    if (right == mask)
        return;
    mask_clear(block, mask, pageblock);
    if (mask_of_word(pageblock_word(block, pageblock)) == mask)
        mask_set(block, mask, pageblock);
}

/* Zone DMA32 counts them, so that it isn't used up by those who would be as well off elsewhere. */
static void count_unmovable(struct block *block, int64_t pageblocks)
{
    if (block->zone->kind == PLEAT_ZONE_DMA32)
        atomic_fetch_add_explicit(&block->zone->unmovable_pageblocks, (uint64_t)pageblocks,
                                  memory_order_relaxed);
}

void block_unmovable_set(struct block *block, unsigned pageblock)
{
    uint64_t bit = (uint64_t)1 << pageblock;
    uint64_t old;

    if (atomic_load(&block->unmovable) & bit)
        return;
    old = atomic_fetch_or(&block->unmovable, bit);
    if (old & bit)
        return;
    count_unmovable(block, 1);
    if (!old && block->range.removable) {
        if (atomic_load(&block->masks[MASK_FREE]))
            block_set_add(&block->zone->sets[SET_FREE_HOME], block->number);
        leave_set(block->zone, block, MASK_FREE, SET_FREE_CLEAN);
    }
}

void block_unmovable_clear(struct block *block, unsigned pageblock)
{
    uint64_t bit = (uint64_t)1 << pageblock;
    uint64_t old;

    if (!(atomic_load(&block->unmovable) & bit))
        return;
    old = atomic_fetch_and(&block->unmovable, ~bit);
    if (!(old & bit))
        return;
    count_unmovable(block, -1);
    if (old == bit && block->range.removable) {
        if (atomic_load(&block->masks[MASK_FREE]))
            block_set_add(&block->zone->sets[SET_FREE_CLEAN], block->number);
        leave_set(block->zone, block, MASK_FREE, SET_FREE_HOME);
    }
}

void index_forget_block(struct block *block)
{
    for (unsigned mask = 0; mask < MASKS; mask++)
        atomic_store(&block->masks[mask], 0);
    count_unmovable(block, -(int64_t)word_count(atomic_exchange(&block->unmovable, 0)));
    for (unsigned set = 0; set < SETS; set++)
        block_set_remove(&block->zone->sets[set], block->number);
}

/* --- words --------------------------------------------------------------------------------------------- */

/* Before a word says that its pageblock is free as a whole: after that, another CPU may open it to unmovable
 * frames again. Returns whether the block's bit went; if the word changes otherwise, it has to come back. */
static bool unmovable_ends(struct block *block, unsigned pageblock, uint32_t now)
{
    if (WORD_CLASS(now) != CLASS_FREE || !(atomic_load(&block->unmovable) >> pageblock & 1))
        return false;
    block_unmovable_clear(block, pageblock);
    return true;
}

uint32_t pageblock_return(struct block *block, unsigned pageblock, uint32_t count, unsigned order)
{
    uint32_t old = pageblock_word(block, pageblock);
    uint32_t now;

    for (;;) {
        bool ended;

        now = old + count;
        if (count == FRAMES)
            now &= ~(WORD_HUGE | WORD_TAIL);
        if (WORD_FREE_COUNT(now) == FRAMES)
            order = PLEAT_PAGEBLOCK_ORDER;
        if (WORD_HINT(now) < order)
            now = (now & ~(15u << WORD_HINT_SHIFT)) | (uint32_t)order << WORD_HINT_SHIFT;
        now = word_classified(now);
        CHECK(word_is_valid(now));
        ended = unmovable_ends(block, pageblock, now);
        if (atomic_compare_exchange_weak(&block->words[pageblock], &old, now))
            break;
        if (ended)
            block_unmovable_set(block, pageblock);
    }
    index_move(block, pageblock, old, now);
    return now;
}

uint32_t pageblock_flags(struct block *block, unsigned pageblock, uint32_t set, uint32_t clear)
{
    uint32_t old = pageblock_word(block, pageblock);
    uint32_t now;

    for (;;) {
        bool ended;

        now = word_classified((old | set) & ~clear);
        CHECK(word_is_valid(now));
        ended = unmovable_ends(block, pageblock, now);
        if (atomic_compare_exchange_weak(&block->words[pageblock], &old, now))
            break;
        if (ended)
            block_unmovable_set(block, pageblock);
    }
    index_move(block, pageblock, old, now);
    return old;
}

/* One try to make a pageblock the slot's own, whatever for. */
static bool own(struct block *block, unsigned pageblock, uint32_t word, unsigned mask, unsigned mobility,
                struct slot *slot)
{
    uint32_t now = (word & ~(WORD_COUNT_MASK | 7u << WORD_CLASS_SHIFT)) | WORD_OWNED;

    /* Taken from another mobility, a pageblock that is mostly free changes sides. */
    if (WORD_FREE_COUNT(word) >= FRAMES / 2)
        now = (now & ~(3u << WORD_MOBILITY_SHIFT)) | mobility << WORD_MOBILITY_SHIFT;
    CHECK(word_is_valid(now));
    if (!atomic_compare_exchange_strong(&block->words[pageblock], &word, now))
        return false;
    mask_clear(block, mask, pageblock);
    slot->block = block;
    slot->pageblock = pageblock;
    slot->cursor = 0;
    atomic_store_explicit(&slot->count, WORD_FREE_COUNT(word), memory_order_relaxed);
    return true;
}

/* The same, to allocate frames of a mobility from it. */
static bool take(struct block *block, unsigned pageblock, uint32_t word, unsigned mask, unsigned mobility,
                 struct slot *slot)
{
    if (!own(block, pageblock, word, mask, mobility, slot))
        return false;
    if (mobility != PLEAT_MOVABLE)
        block_unmovable_set(block, pageblock);
    return true;
}

bool index_take_this(struct block *block, unsigned pageblock, unsigned mobility, struct slot *slot)
{
    uint32_t word = pageblock_word(block, pageblock);
    unsigned mask = mask_of_word(word);

    return mask != NO_MASK && take(block, pageblock, word, mask, mobility, slot);
}

/* Looks through one block's mask; *tries counts the pageblocks that were too full for the order. */
static bool take_in_block(struct block *block, unsigned mask, const struct wish *wish, unsigned *tries,
                          struct slot *slot)
{
    uint64_t bits = atomic_load(&block->masks[mask]);

    for (; bits; bits &= bits - 1) {
        unsigned pageblock = word_lowest(bits);
        uint32_t word = pageblock_word(block, pageblock);

        if (mask_of_word(word) != mask) {
            mend_mask(block, pageblock, mask);
        } else if (WORD_HINT(word) < wish->order || WORD_FREE_COUNT(word) < 1u << wish->order) {
            if (*tries && !--*tries)
                return false;
        } else if (take(block, pageblock, word, mask, wish->mobility, slot)) {
            return true;
        }
    }
    return false;
}

/* The block of a set's member; NULL if the member is stale, and then it has been taken out. */
static struct block *member(struct core *core, struct zone *zone, unsigned set, unsigned mask,
                            uint64_t number)
{
    struct block *block = block_of(core, number << core->block_order);

    if (!block || block->zone != zone) {
        uint64_t entry;

        block_set_remove(&zone->sets[set], number);
        /* It may have come (back) into this zone in between: in one order with the entry, the masks and the
         * set, either we see it there or whoever brought it sees that the set hasn't got it. */
        entry = atomic_load(&core->directory[number]);
        block = entry_memmap(entry) ? entry_block(core, entry) : NULL;
        if (block && block->zone == zone && atomic_load(&block->masks[mask]) &&
            set_of_mask(block, mask) == set)
            block_set_add(&zone->sets[set], number);
        return NULL;
    }
    if (!atomic_load(&block->masks[mask])) {
        leave_set(zone, block, mask, set);
        return NULL;
    }
    if (mask == MASK_FREE && set_of_mask(block, mask) != set) {
        block_set_add(&zone->sets[set_of_mask(block, mask)], number);
        leave_set(zone, block, mask, set);
        return NULL;
    }
    return block;
}

static bool is_avoided(const struct wish *wish, uint64_t number)
{
    return number - wish->avoided_block < wish->avoided_blocks;
}

/* The set's first member at or after `from` that may serve; the number of all blocks: there is none. */
static uint64_t next_for(const struct core *core, const struct zone *zone, unsigned set, uint64_t from,
                         const struct wish *wish)
{
    uint64_t number = block_set_next(&zone->sets[set], from, core->block_count);

    return is_avoided(wish, number)
               ? block_set_next(&zone->sets[set], wish->avoided_block + wish->avoided_blocks,
                                core->block_count)
               : number;
}

static bool take_in_set(struct core *core, struct zone *zone, unsigned set, unsigned mask,
                        const struct wish *wish, unsigned tries, struct slot *slot)
{
    uint64_t number = 0;

    while ((number = next_for(core, zone, set, number, wish)) < core->block_count) {
        struct block *block = member(core, zone, set, mask, number);
        unsigned left = tries;

        if (block && take_in_block(block, mask, wish, &left, slot))
            return true;
        if (tries && !left)
            return false;
        tries = left;
        number++;
    }
    return false;
}

/* From now on `cpu` takes whole pageblocks from here, and no more from where it did. */
static void settle(struct block *block, struct cpu *cpu)
{
    if (cpu->taking_block == block)
        return;
    atomic_store_explicit(&block->taking_cpu, (uint16_t)(cpu->number + 1), memory_order_relaxed);
    if (cpu->taking_block)
        atomic_store_explicit(&cpu->taking_block->taking_cpu, 0, memory_order_relaxed);
    cpu->taking_block = block;
}

static bool is_settled_by_another(struct block *block, const struct cpu *cpu)
{
    unsigned user = atomic_load_explicit(&block->taking_cpu, memory_order_relaxed);

    return user && user != cpu->number + 1;
}

/* From blocks where no other CPU takes any: neighbours' words share cache lines. */
static bool take_free_alone(struct core *core, struct zone *zone, unsigned set, const struct wish *wish,
                            struct cpu *cpu, struct slot *slot)
{
    uint64_t number = 0;

    while ((number = next_for(core, zone, set, number, wish)) < core->block_count) {
        struct block *block = member(core, zone, set, MASK_FREE, number++);
        unsigned tries = 0;

        if (!block || is_settled_by_another(block, cpu) ||
            !take_in_block(block, MASK_FREE, wish, &tries, slot))
            continue;
        settle(block, cpu);
        return true;
    }
    return false;
}

bool index_take_free(struct core *core, struct zone *zone, const struct wish *wish, struct cpu *cpu,
                     struct slot *slot)
{
    unsigned first = wish->mobility == PLEAT_MOVABLE ? SET_FREE_CLEAN : SET_FREE_HOME;

    /* Unmovable ones share blocks, so that they touch as few as can be. */
    if (wish->mobility == PLEAT_MOVABLE &&
        (take_free_alone(core, zone, SET_FREE_CLEAN, wish, cpu, slot) ||
         take_in_set(core, zone, SET_FREE_CLEAN, MASK_FREE, wish, 0, slot) ||
         take_free_alone(core, zone, SET_FREE_HOME, wish, cpu, slot)))
        return true;
    return take_in_set(core, zone, first, MASK_FREE, wish, 0, slot) ||
           take_in_set(core, zone, SET_FREE_CLEAN + SET_FREE_HOME - first, MASK_FREE, wish, 0, slot);
}

bool index_take_free_fixed(struct core *core, struct zone *zone, const struct wish *wish, struct slot *slot)
{
    unsigned no_limit = 0;

    for (uint64_t number = next_for(core, zone, SET_FREE_HOME, 0, wish); number < core->block_count;
         number = next_for(core, zone, SET_FREE_HOME, number + 1, wish)) {
        struct block *block = member(core, zone, SET_FREE_HOME, MASK_FREE, number);

        if (block && !block->range.removable && take_in_block(block, MASK_FREE, wish, &no_limit, slot))
            return true;
    }
    return false;
}

bool index_take_partial(struct core *core, struct zone *zone, unsigned side, const struct wish *wish,
                        unsigned bucket, bool thorough, struct slot *slot)
{
    unsigned mask = MASK_PARTIAL(side, bucket);

    return take_in_set(core, zone, SET_OF_MASK(mask), mask, wish, thorough ? 0 : TRIES, slot);
}

static bool own_in_block(struct block *block, unsigned mask, struct slot *slot)
{
    uint64_t bits = atomic_load(&block->masks[mask]);

    for (; bits; bits &= bits - 1) {
        unsigned pageblock = word_lowest(bits);
        uint32_t word = pageblock_word(block, pageblock);

        if (mask_of_word(word) != mask)
            mend_mask(block, pageblock, mask);
        else if (own(block, pageblock, word, mask, mask == MASK_FREE ? PLEAT_MOVABLE : WORD_MOBILITY(word),
                     slot))
            return true;
    }
    return false;
}

bool index_take_for_owner(struct core *core, struct zone *zone, unsigned mask, const void *owner,
                          struct slot *slot)
{
    unsigned set = mask == MASK_FREE ? SET_FREE_CLEAN : SET_OF_MASK(mask);
    unsigned last = mask == MASK_FREE ? SET_FREE_HOME : set;

    for (; set <= last; set++) {
        uint64_t number = 0;

        while ((number = block_set_next(&zone->sets[set], number, core->block_count)) < core->block_count) {
            struct block *block = member(core, zone, set, mask, number++);

            if (block && (!block->range.removable || block->range.owner == owner) &&
                own_in_block(block, mask, slot))
                return true;
        }
    }
    return false;
}

/* --- huge frames --------------------------------------------------------------------------------------- */

static bool huge_mark(struct block *block, unsigned pageblock, unsigned mobility, uint32_t flags)
{
    uint32_t word = pageblock_word(block, pageblock);
    uint32_t now;

    do {
        if (WORD_CLASS(word) != CLASS_FREE)
            return false;
        now = (word & ~(WORD_COUNT_MASK | 3u << WORD_MOBILITY_SHIFT | 7u << WORD_CLASS_SHIFT)) | flags |
              mobility << WORD_MOBILITY_SHIFT;
        CHECK(word_is_valid(now));
    } while (!atomic_compare_exchange_weak(&block->words[pageblock], &word, now));
    mask_clear(block, MASK_FREE, pageblock);
    if (mobility != PLEAT_MOVABLE)
        block_unmovable_set(block, pageblock);
    return true;
}

static int64_t huge_in_block(struct core *core, struct block *block, unsigned mobility, unsigned order)
{
    unsigned count = 1u << (order - PLEAT_PAGEBLOCK_ORDER);
    uint64_t used = ~atomic_load(&block->masks[MASK_FREE]);
    uint64_t runs = runs_in_word(used, order - PLEAT_PAGEBLOCK_ORDER);

    for (; runs; runs &= runs - 1) {
        unsigned pageblock = word_lowest(runs);
        unsigned done = 0;

        while (done < count &&
               huge_mark(block, pageblock + done, mobility, done ? WORD_HUGE | WORD_TAIL : WORD_HUGE))
            done++;
        if (done == count)
            return (int64_t)(block_start(core, block) + (uint64_t)pageblock * FRAMES);
        while (done--)
            pageblock_return(block, pageblock + done, FRAMES, PLEAT_PAGEBLOCK_ORDER);
    }
    return PLEAT_E_NO_MEMORY;
}

/* `shared`: also from blocks where another CPU takes pageblocks. */
static int64_t huge_in_set(struct core *core, struct zone *zone, unsigned set, const struct wish *wish,
                           struct cpu *cpu, bool shared)
{
    uint64_t number = 0;

    while ((number = next_for(core, zone, set, number, wish)) < core->block_count) {
        struct block *block = member(core, zone, set, MASK_FREE, number++);
        int64_t pfn;

        if (!block || (!shared && is_settled_by_another(block, cpu)))
            continue;
        pfn = huge_in_block(core, block, wish->mobility, wish->order);
        if (pfn < 0)
            continue;
        if (!shared)
            settle(block, cpu);
        return pfn;
    }
    return PLEAT_E_NO_MEMORY;
}

int64_t index_take_huge(struct core *core, struct zone *zone, const struct wish *wish, struct cpu *cpu,
                        bool home_only)
{
    unsigned first = wish->mobility == PLEAT_MOVABLE ? SET_FREE_CLEAN : SET_FREE_HOME;
    struct block *recent = cpu->taking_block;
    int64_t pfn;

    if (recent && recent->zone == zone && set_of_mask(recent, MASK_FREE) == first &&
        !is_avoided(wish, recent->number)) {
        pfn = huge_in_block(core, recent, wish->mobility, wish->order);
        if (pfn >= 0)
            return pfn;
    }
    for (unsigned i = 0; i < 4; i++) {
        unsigned set = i % 2 ? SET_FREE_CLEAN + SET_FREE_HOME - first : first;

        if (home_only && set != SET_FREE_HOME)
            continue;
        pfn = huge_in_set(core, zone, set, wish, cpu, i >= 2);
        if (pfn >= 0)
            return pfn;
    }
    return PLEAT_E_NO_MEMORY;
}
