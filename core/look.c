/* SPDX-License-Identifier: MIT
 *
 * What each frame of an online block is. See look.h.
 */
#include "look.h"

#include "cpu.h"

/* The first pageblock of an allocation larger than one. */
static unsigned huge_head(struct block *block, unsigned pageblock)
{
    while (pageblock && pageblock_word(block, pageblock) & WORD_TAIL)
        pageblock--;
    return pageblock;
}

static enum frame_kind kind_of_owner(const struct core *core, uint64_t word)
{
    switch (OWNER_STATE(word)) {
    case STATE_MOVABLE:
        /* One whose owner can't move it counts as what it is. */
        return core->owners[OWNER_INDEX(word)].ops ? FRAME_MOVABLE : FRAME_UNMOVABLE;
    case STATE_ISOLATING:
        return FRAME_ISOLATING;
    case STATE_UNMOVABLE:
        return FRAME_UNMOVABLE;
    default:
        break;
    }
    if (owner_word_is_free(word))
        return FRAME_SETTLING;
    switch (OWNER_INDEX(word)) {
    case OWNER_MEMMAP:
        return FRAME_MEMMAP;
    case OWNER_ABSENT:
        return FRAME_ABSENT;
    case OWNER_WITHHELD:
        return FRAME_FAKE_OFFLINE;
    default:
        return FRAME_UNMOVABLE;
    }
}

static struct piece huge_piece(struct core *core, struct block *block, unsigned pageblock, uint64_t offset)
{
    unsigned head = huge_head(block, pageblock);
    struct piece piece = {
        .kind = FRAME_UNMOVABLE, .order = PLEAT_PAGEBLOCK_ORDER, .head = (uint64_t)head * FRAMES};
    uint64_t size;

    if (core->owner_shift) {
        piece.word = atomic_load_explicit(&block->huge_owners[head], memory_order_acquire);
        /* The flag comes before the owner's word, and goes after it. */
        piece.kind = FRAME_SETTLING;
        if (OWNER_STATE(piece.word) != STATE_FREE) {
            piece.kind = kind_of_owner(core, piece.word);
            if (piece.word != OWNER_FREED)
                piece.order = OWNER_ORDER(piece.word);
        }
    }
    size = (uint64_t)1 << piece.order;
    /* The word and the owner's word aren't read in one: while either changes, stay inside the pageblock. */
    piece.frames = offset < piece.head + size ? piece.head + size - offset : FRAMES - offset % FRAMES;
    return piece;
}

/* The frame whose allocation reaches over `offset`; `offset` itself if there is none. Its bit is set and its
 * own owner's word is free. */
static uint64_t find_head(struct core *core, struct block *block, uint64_t offset)
{
    for (unsigned order = 1; order < PLEAT_PAGEBLOCK_ORDER; order++) {
        uint64_t head = offset & ~(((uint64_t)1 << order) - 1);
        uint64_t word;

        if (head == offset)
            continue;
        word = owner_get(core, block, head);
        if (OWNER_STATE(word) != STATE_FREE && word != OWNER_FREED && OWNER_ORDER(word) >= order &&
            bit_get(block, head))
            return head;
    }
    return offset;
}

struct piece piece_at(struct core *core, struct block *block, uint64_t offset)
{
    unsigned pageblock = (unsigned)(offset / FRAMES);
    uint64_t place = offset % FRAMES;
    unsigned prefix = pageblock_prefix(block, pageblock);
    uint32_t word = pageblock_word(block, pageblock);
    struct piece piece = {.kind = FRAME_FREE, .frames = FRAMES - place, .head = offset};
    uint64_t bits;

    if (word & WORD_ABSENT) {
        piece.kind = FRAME_ABSENT;
        return piece;
    }
    if (place < prefix) {
        piece.kind = FRAME_MEMMAP;
        piece.frames = prefix - place;
        return piece;
    }
    if (word & WORD_WITHHELD) {
        piece.kind = FRAME_FAKE_OFFLINE;
        return piece;
    }
    if (word & WORD_HUGE)
        return huge_piece(core, block, pageblock, offset);
    /* Not initialised: all free; or a CPU has just taken it, and nothing in it can have been allocated. */
    if (WORD_FREE_COUNT(word) == FRAMES || !(word & WORD_INITIALISED))
        return piece;
    bits = atomic_load_explicit(&block->bits[offset / 64], memory_order_acquire) >> (offset % 64);
    if (!(bits & 1)) {
        piece.frames = bits ? word_lowest(bits) : 64 - offset % 64;
        return piece;
    }
    piece.frames = 1;
    piece.kind = FRAME_UNMOVABLE;
    if (!core->owner_shift)
        return piece;
    piece.word = owner_get(core, block, offset);
    if (owner_word_is_free(piece.word)) {
        piece.head = find_head(core, block, offset);
        piece.word = owner_get(core, block, piece.head);
    }
    piece.kind = kind_of_owner(core, piece.word);
    if (OWNER_STATE(piece.word) != STATE_FREE && piece.word != OWNER_FREED) {
        piece.order = OWNER_ORDER(piece.word);
        /* Not so only while it changes under our eyes. */
        if (piece.order < PLEAT_PAGEBLOCK_ORDER && piece.head + ((uint64_t)1 << piece.order) > offset)
            piece.frames = piece.head + ((uint64_t)1 << piece.order) - offset;
    }
    return piece;
}

void look_add(struct core *core, struct block *block, struct pleat_look *look, const struct piece *piece,
              uint64_t offset, uint64_t frames)
{
    switch (piece->kind) {
    case FRAME_FREE:
    case FRAME_SETTLING:
        look->free += frames;
        break;
    case FRAME_MOVABLE:
    case FRAME_ISOLATING:
        look->movable += frames;
        break;
    case FRAME_UNMOVABLE:
        if (!look->unmovable && !look->pinned) {
            look->first_obstacle_pfn = block_start(core, block) + offset;
            look->first_obstacle_owner = OWNER_INDEX(piece->word);
        }
        look->unmovable += frames;
        break;
    case FRAME_MEMMAP:
        look->memmap += frames;
        break;
    case FRAME_FAKE_OFFLINE:
        look->fake_offline += frames;
        break;
    case FRAME_ABSENT:
        look->absent += frames;
        break;
    }
}

/*
 * A whole pageblock of movable frames that were allocated one by one, as most of what is in the way of a
 * shrink is: without a piece for each of them. False: something else is in it, and nothing has been counted.
 */
static bool look_at_singles(struct core *core, struct block *block, unsigned pageblock,
                            struct pleat_look *look)
{
    const uint64_t first = (uint64_t)pageblock * FRAMES;
    const uint32_t word = pageblock_word(block, pageblock);
    _Atomic uint64_t *bits = block_bits(block, pageblock);
    unsigned char *owners;
    uint64_t movable = 0;

    if (!core->owner_shift || pageblock_prefix(block, pageblock) || !(word & WORD_INITIALISED) ||
        word & (WORD_ABSENT | WORD_WITHHELD | WORD_HUGE))
        return false;
    /* Those of a pageblock follow each other. */
    owners = (unsigned char *)(void *)block_owner(core, block, first);
    for (unsigned i = 0; i < WORD_COUNT; i++) {
        uint64_t used = atomic_load_explicit(&bits[i], memory_order_acquire);

        for (; used; used &= used - 1) {
            size_t place = (size_t)(i * 64 + word_lowest(used)) << core->owner_shift;
            uint64_t owner =
                atomic_load_explicit((_Atomic uint64_t *)(void *)(owners + place), memory_order_acquire);

            if (OWNER_STATE(owner) != STATE_MOVABLE || OWNER_ORDER(owner) != 0 ||
                !core->owners[OWNER_INDEX(owner)].ops)
                return false;
            movable++;
        }
    }
    look->movable += movable;
    look->free += FRAMES - movable;
    return true;
}

void look_block(struct core *core, struct block *block, uint64_t offset, uint64_t frames,
                struct pleat_look *look)
{
    uint64_t end = offset + frames;

    while (offset < end) {
        if (offset % FRAMES == 0 && end - offset >= FRAMES &&
            look_at_singles(core, block, (unsigned)(offset / FRAMES), look)) {
            offset += FRAMES;
            continue;
        }
        struct piece piece = piece_at(core, block, offset);
        uint64_t take = piece.frames < end - offset ? piece.frames : end - offset;

        look_add(core, block, look, &piece, offset, take);
        offset += take;
    }
}

/* Calls `each` for the pieces of an online range, a pageblock at a time inside this CPU's word; not for those
 * of a whole pageblock of which `whole` (may be NULL) says that it has seen to it. */
static int walk(struct core *core, uint64_t start_pfn, uint64_t frames,
                bool (*whole)(struct core *core, struct block *block, unsigned pageblock, void *context),
                int (*each)(struct core *core, struct block *block, const struct piece *piece,
                            uint64_t offset, uint64_t frames, void *context),
                void *context)
{
    uint64_t pfn = start_pfn, end = start_pfn + frames;

    if (!frames || end < start_pfn)
        return PLEAT_E_INVALID;
    while (pfn < end) {
        struct cpu *cpu = cpu_begin(core);
        struct block *block = block_of(core, pfn);
        uint64_t stop = (pfn / FRAMES + 1) * FRAMES;
        int result = PLEAT_OK;

        stop = stop < end ? stop : end;
        if (!block || block_entry(core, block) == ENTRY_EMPTY ||
            pageblock_word(block, (unsigned)((pfn & (block_frames(core) - 1)) / FRAMES)) & WORD_OFFLINE)
            result = PLEAT_E_NOT_FOUND;
        else if (whole && stop - pfn == FRAMES &&
                 whole(core, block, (unsigned)((pfn & (block_frames(core) - 1)) / FRAMES), context))
            pfn = stop;
        while (!result && pfn < stop) {
            uint64_t offset = pfn & (block_frames(core) - 1);
            struct piece piece = piece_at(core, block, offset);
            uint64_t take = piece.frames < stop - pfn ? piece.frames : stop - pfn;

            result = each(core, block, &piece, offset, take, context);
            pfn += take;
        }
        cpu_end(cpu);
        if (result)
            return result;
    }
    return PLEAT_OK;
}

static int look_each(struct core *core, struct block *block, const struct piece *piece, uint64_t offset,
                     uint64_t frames, void *context)
{
    look_add(core, block, context, piece, offset, frames);
    return PLEAT_OK;
}

static bool look_at_all(struct core *core, struct block *block, unsigned pageblock, void *context)
{
    return look_at_singles(core, block, pageblock, context);
}

int pleat_look(struct pleat *pleat, uint64_t start_pfn, uint64_t frames, struct pleat_look *look)
{
    *look = (struct pleat_look){0};
    return walk(core_of(pleat), start_pfn, frames, look_at_all, look_each, look);
}

/* Obstacles are collected inside the CPU's word and told outside of it, so that the caller may do what it
 * likes. */
struct obstacles {
    unsigned count;
    uint64_t start_pfn, next_pfn;
    struct {
        uint64_t pfn;
        unsigned order, owner;
    } found[32];
};

static int obstacle_each(struct core *core, struct block *block, const struct piece *piece, uint64_t offset,
                         uint64_t frames, void *context)
{
    struct obstacles *obstacles = context;
    unsigned at = obstacles->count;
    uint64_t head = block_start(core, block) + piece->head;
    uint64_t first = head > obstacles->start_pfn ? head : obstacles->start_pfn;

    /* The walk comes by an allocation once in each of its pageblocks. */
    if (piece->kind == FRAME_UNMOVABLE && block_start(core, block) + offset == first) {
        if (at == sizeof(obstacles->found) / sizeof(obstacles->found[0]))
            return PLEAT_MORE;
        obstacles->found[at].pfn = block_start(core, block) + offset;
        obstacles->found[at].order = piece->order;
        obstacles->found[at].owner = OWNER_INDEX(piece->word);
        obstacles->count++;
    }
    obstacles->next_pfn = block_start(core, block) + offset + frames;
    return PLEAT_OK;
}

int pleat_obstacles(struct pleat *pleat, uint64_t start_pfn, uint64_t frames,
                    int (*each)(void *context, uint64_t pfn, unsigned order, unsigned owner), void *context)
{
    struct core *core = core_of(pleat);
    uint64_t end = start_pfn + frames;
    struct obstacles obstacles = {.start_pfn = start_pfn, .next_pfn = start_pfn};
    int result = PLEAT_MORE;

    if (!frames || end < start_pfn)
        return PLEAT_E_INVALID;
    while (result == PLEAT_MORE && obstacles.next_pfn < end) {
        obstacles.count = 0;
        result = walk(core, obstacles.next_pfn, end - obstacles.next_pfn, NULL, obstacle_each, &obstacles);
        if (result < 0)
            return result;
        for (unsigned i = 0; i < obstacles.count; i++) {
            if (each(context, obstacles.found[i].pfn, obstacles.found[i].order, obstacles.found[i].owner))
                return PLEAT_OK;
        }
    }
    return PLEAT_OK;
}
