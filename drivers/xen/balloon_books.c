/* SPDX-License-Identifier: MIT
 *
 * The balloon's books: which frames have memory behind them, and in whose hands they are.
 */
#include "balloon.h"

#define WORD_BITS 64u

/* --- Places ----------------------------------------------------------------------------------------------
 */

uint64_t pleat_xen_balloon_index(const struct pleat_xen_balloon *balloon, uint64_t pfn)
{
    if (pfn < balloon->config.boot_end / FRAME_BYTES) {
        return pfn;
    }
    if (pfn >= balloon->growth_pfn && pfn - balloon->growth_pfn < balloon->growth_frames) {
        return balloon->boot_index_frames + (pfn - balloon->growth_pfn);
    }
    return NOWHERE;
}

uint64_t pleat_xen_balloon_pfn(const struct pleat_xen_balloon *balloon, uint64_t index)
{
    return index < balloon->boot_index_frames ? index
                                              : balloon->growth_pfn + (index - balloon->boot_index_frames);
}

static bool is_boot(const struct pleat_xen_balloon *balloon, uint64_t index)
{
    return index < balloon->boot_index_frames;
}

static uint64_t block_of(const struct pleat_xen_balloon *balloon, uint64_t index)
{
    return (index - balloon->boot_index_frames) / balloon->block_frames;
}

static bool is_known(const struct pleat_xen_balloon *balloon, uint64_t index)
{
    return is_boot(balloon, index) || balloon->blocks[block_of(balloon, index)] == BLOCK_ADDED;
}

const struct pleat_memory_owner *pleat_xen_balloon_owner(const struct pleat_xen_balloon *balloon,
                                                         uint64_t pfn)
{
    return pfn < balloon->config.boot_end / FRAME_BYTES ? NULL : &balloon->owner;
}

/* All boot memory is online for good. */
bool pleat_xen_balloon_online_block(const struct pleat_xen_balloon *balloon, uint64_t index)
{
    const struct pleat_memory *memory = balloon->config.memory;
    return is_boot(balloon, index) ||
           memory->ops->block_state(memory->context, pleat_xen_balloon_pfn(balloon, index) * FRAME_BYTES) ==
               PLEAT_BLOCK_ONLINE;
}

uint64_t pleat_xen_balloon_populated_frames(const struct pleat_xen_balloon *balloon)
{
    return balloon->capacity_frames - balloon->hole_frames - balloon->lent_frames;
}

/* --- Words -----------------------------------------------------------------------------------------------
 */

/* The frames of a word of the bitmaps that are in this state. */
static uint64_t word_in(const struct pleat_xen_balloon *balloon, uint64_t word, enum frame_state state)
{
    const uint64_t guest = atomic_load_explicit(&balloon->guest[word], memory_order_relaxed);
    const uint64_t populated = balloon->populated[word];
    switch (state) {
    case FRAME_GUESTS:
        return guest;
    case FRAME_HELD:
        return populated & ~guest;
    case FRAME_LENT:
        return balloon->lent[word];
    default:
        return ~(guest | populated | balloon->lent[word]);
    }
}

/* Of the frames from `index` on, `frames` of them, those that are in its word; goes on to the next word. */
static uint64_t next_mask(uint64_t *index, uint64_t *frames)
{
    const uint64_t bit = *index % WORD_BITS;
    const uint64_t count = *frames < WORD_BITS - bit ? *frames : WORD_BITS - bit;
    *index += count;
    *frames -= count;
    return (count == WORD_BITS ? UINT64_MAX : ((uint64_t)1 << count) - 1) << bit;
}

/* Without compiler builtins, which are calls into the compiler's library on some targets. */
static unsigned count_bits(uint64_t word)
{
    word -= word >> 1 & UINT64_C(0x5555555555555555);
    word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
    word = (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (unsigned)(word * UINT64_C(0x0101010101010101) >> 56);
}

static unsigned lowest_bit(uint64_t word)
{
    return count_bits(~word & (word - 1));
}

bool pleat_xen_balloon_are(const struct pleat_xen_balloon *balloon, uint64_t index, uint64_t frames,
                           enum frame_state state)
{
    while (frames > 0) {
        const uint64_t word = index / WORD_BITS;
        const uint64_t mask = next_mask(&index, &frames);
        if ((word_in(balloon, word, state) & mask) != mask) {
            return false;
        }
    }
    return true;
}

static void write_word(struct pleat_xen_balloon *balloon, uint64_t word, uint64_t mask,
                       enum frame_state state)
{
    const uint64_t guest = atomic_load_explicit(&balloon->guest[word], memory_order_relaxed);
    const bool is_populated = state == FRAME_GUESTS || state == FRAME_HELD;
    const uint64_t new_guest = state == FRAME_GUESTS ? guest | mask : guest & ~mask;
    balloon->populated[word] =
        is_populated ? balloon->populated[word] | mask : balloon->populated[word] & ~mask;
    balloon->lent[word] = state == FRAME_LENT ? balloon->lent[word] | mask : balloon->lent[word] & ~mask;
    atomic_store(&balloon->guest[word], new_guest);
}

static void count_holes(struct pleat_xen_balloon *balloon, uint64_t piece, unsigned more, unsigned fewer)
{
    balloon->whole_holes -= balloon->piece_holes[piece] == PIECE_FRAMES;
    balloon->piece_holes[piece] = (uint16_t)(balloon->piece_holes[piece] + more - fewer);
    balloon->whole_holes += balloon->piece_holes[piece] == PIECE_FRAMES;
    balloon->hole_frames += more;
    balloon->hole_frames -= fewer;
}

void pleat_xen_balloon_mark(struct pleat_xen_balloon *balloon, uint64_t index, uint64_t frames,
                            enum frame_state state)
{
    while (frames > 0) {
        const uint64_t word = index / WORD_BITS;
        const uint64_t piece = index / PIECE_FRAMES;
        const uint64_t mask = next_mask(&index, &frames);
        const unsigned holes = count_bits(word_in(balloon, word, FRAME_HOLE) & mask);
        balloon->lent_frames -= count_bits(word_in(balloon, word, FRAME_LENT) & mask);
        balloon->held_frames -= count_bits(word_in(balloon, word, FRAME_HELD) & mask);
        write_word(balloon, word, mask, state);
        const unsigned all = count_bits(mask);
        count_holes(balloon, piece, state == FRAME_HOLE ? all : 0, holes);
        balloon->lent_frames += state == FRAME_LENT ? all : 0;
        balloon->held_frames += state == FRAME_HELD ? all : 0;
    }
}

void pleat_xen_balloon_mark_added(struct pleat_xen_balloon *balloon, uint64_t block)
{
    const uint64_t first = balloon->boot_index_frames + block * balloon->block_frames;
    balloon->blocks[block] = BLOCK_ADDED;
    balloon->blocks_added++;
    balloon->capacity_frames += balloon->block_frames;
    for (uint64_t word = first / WORD_BITS; word < (first + balloon->block_frames) / WORD_BITS; word++) {
        const unsigned populated = count_bits(balloon->populated[word]);
        count_holes(balloon, word * WORD_BITS / PIECE_FRAMES, WORD_BITS - populated, 0);
        balloon->held_frames += populated;
        balloon->stray_frames -= populated;
    }
}

/* What is below boot_end and no memory counts as the guest's: it is never withheld, so nothing happens to it.
 */
void pleat_xen_balloon_books_create(struct pleat_xen_balloon *balloon)
{
    for (uint64_t word = 0; word < balloon->boot_index_frames / WORD_BITS; word++) {
        atomic_store_explicit(&balloon->guest[word], UINT64_MAX, memory_order_relaxed);
        balloon->populated[word] = UINT64_MAX;
    }
    balloon->boot_frames = balloon->config.boot_bytes / FRAME_BYTES;
    balloon->capacity_frames = balloon->boot_frames;
}

/* --- Searching -------------------------------------------------------------------------------------------
 */

uint64_t pleat_xen_balloon_find(const struct pleat_xen_balloon *balloon, uint64_t index,
                                enum frame_state state)
{
    const uint64_t end = balloon->pieces * PIECE_FRAMES;
    while (index < end) {
        const uint64_t above = UINT64_MAX << index % WORD_BITS;
        const uint64_t found = word_in(balloon, index / WORD_BITS, state) & above;
        if (found != 0) {
            const uint64_t at = index / WORD_BITS * WORD_BITS + lowest_bit(found);
            if (is_known(balloon, at)) {
                return at;
            }
            index = balloon->boot_index_frames + (block_of(balloon, at) + 1) * balloon->block_frames;
        } else {
            index = (index / WORD_BITS + 1) * WORD_BITS;
        }
    }
    return NOWHERE;
}

static unsigned holes_of_piece(struct pleat_xen_balloon *balloon, uint64_t piece, unsigned have,
                               unsigned most)
{
    const uint64_t first = piece * PIECE_FRAMES;
    for (uint64_t word = first / WORD_BITS; word < (first + PIECE_FRAMES) / WORD_BITS; word++) {
        uint64_t holes = word_in(balloon, word, FRAME_HOLE);
        for (; holes != 0 && have < most; holes &= holes - 1) {
            const uint64_t index = word * WORD_BITS + lowest_bit(holes);
            balloon->pfns[have++] = pleat_xen_balloon_pfn(balloon, index);
        }
    }
    return have;
}

/* Single frames come out of pieces that aren't whole, for as long as there are any: whole ones are populated
 * with one extent each. */
static bool is_wanted(const struct pleat_xen_balloon *balloon, uint64_t piece, bool whole)
{
    const uint16_t holes = balloon->piece_holes[piece];
    return holes > 0 && (holes == PIECE_FRAMES) == whole &&
           pleat_xen_balloon_online_block(balloon, piece * PIECE_FRAMES);
}

unsigned pleat_xen_balloon_find_holes(struct pleat_xen_balloon *balloon, bool pieces, unsigned most)
{
    unsigned have = 0;
    for (unsigned round = pieces ? 1 : 0; round < 2 && have < most; round++) {
        const bool whole = round == 1;
        const bool any =
            whole ? balloon->whole_holes > 0 : balloon->hole_frames > balloon->whole_holes * PIECE_FRAMES;
        for (uint64_t i = 0; any && i < balloon->pieces && have < most; i++) {
            const uint64_t piece = (balloon->hole_cursor + i) % balloon->pieces;
            if (!is_wanted(balloon, piece, whole)) {
                continue;
            }
            if (pieces) {
                balloon->pfns[have++] = pleat_xen_balloon_pfn(balloon, piece * PIECE_FRAMES);
            } else {
                have = holes_of_piece(balloon, piece, have, most);
            }
            if (have == most) {
                balloon->hole_cursor = piece;
            }
        }
    }
    return have;
}

/* --- For assertions --------------------------------------------------------------------------------------
 */

bool pleat_xen_balloon_is_populated(const struct pleat_xen_balloon *balloon, uint64_t pfn)
{
    const uint64_t index = pleat_xen_balloon_index(balloon, pfn);
    return index != NOWHERE && (balloon->populated[index / WORD_BITS] >> index % WORD_BITS & 1) != 0;
}

static bool piece_is_valid(const struct pleat_xen_balloon *balloon, uint64_t piece, uint64_t counts[4])
{
    const bool known = is_known(balloon, piece * PIECE_FRAMES);
    uint64_t holes = 0;
    for (uint64_t word = piece * PIECE_FRAMES / WORD_BITS; word < (piece + 1) * PIECE_FRAMES / WORD_BITS;
         word++) {
        const uint64_t guest = word_in(balloon, word, FRAME_GUESTS);
        const uint64_t lent = balloon->lent[word];
        if ((guest & ~balloon->populated[word]) != 0 || (lent & balloon->populated[word]) != 0 ||
            (!known && (guest | lent) != 0)) {
            return false;
        }
        holes += known ? count_bits(word_in(balloon, word, FRAME_HOLE)) : 0;
        counts[1] += count_bits(lent);
        counts[known ? 2 : 3] += count_bits(word_in(balloon, word, FRAME_HELD));
    }
    counts[0] += holes;
    return holes == balloon->piece_holes[piece];
}

bool pleat_xen_balloon_is_valid(const struct pleat_xen_balloon *balloon)
{
    uint64_t counts[4] = {0}; /* holes, lent, held, stray */
    uint64_t whole = 0;
    uint64_t added = 0;
    for (uint64_t piece = 0; piece < balloon->pieces; piece++) {
        if (!piece_is_valid(balloon, piece, counts)) {
            return false;
        }
        whole += balloon->piece_holes[piece] == PIECE_FRAMES;
    }
    for (uint64_t block = 0; block < balloon->growth_frames / balloon->block_frames; block++) {
        added += balloon->blocks[block] == BLOCK_ADDED;
    }
    return counts[0] == balloon->hole_frames && counts[1] == balloon->lent_frames &&
           counts[2] == balloon->held_frames && counts[3] == balloon->stray_frames &&
           whole == balloon->whole_holes && added == balloon->blocks_added &&
           balloon->capacity_frames == balloon->boot_frames + added * balloon->block_frames &&
           balloon->hole_frames + balloon->lent_frames <= balloon->capacity_frames;
}
