/* SPDX-License-Identifier: MIT
 *
 * The plain model: arrays, loops, and asserts that it is told nothing impossible.
 */
#include "plain_model.h"

#include <assert.h>
#include <stdlib.h>

void plain_create(struct plain *plain, uint64_t frames, uint64_t block_frames)
{
    *plain = (struct plain){.frames = frames, .block_frames = block_frames};
    plain->blocks = frames / block_frames;
    plain->kind = calloc(frames, sizeof(*plain->kind));
    plain->owner = calloc(frames, sizeof(*plain->owner));
    plain->isolated = calloc(frames / PLEAT_PAGEBLOCK_FRAMES, sizeof(*plain->isolated));
    plain->block = calloc(plain->blocks, sizeof(*plain->block));
    assert(plain->kind && plain->owner && plain->isolated && plain->block);
    for (uint64_t i = 0; i < plain->blocks; i++)
        plain->block[i] = (struct plain_block){.state = PLEAT_BLOCK_NONE, .range = -1};
    plain->count[PLAIN_NOWHERE] = frames;
    plain->next_id = 1;
}

void plain_destroy(struct plain *plain)
{
    free(plain->kind);
    free(plain->owner);
    free(plain->isolated);
    free(plain->block);
    free(plain->allocation);
    free(plain->live);
    free(plain->spare);
    *plain = (struct plain){0};
}

void plain_set(struct plain *plain, uint64_t pfn, uint64_t frames, enum plain_kind kind)
{
    for (uint64_t i = pfn; i < pfn + frames; i++) {
        plain->count[plain->kind[i]]--;
        plain->kind[i] = (uint8_t)kind;
        plain->count[kind]++;
    }
}

/** An unused place among the allocations. */
static uint32_t new_index(struct plain *plain)
{
    if (plain->spare_count)
        return plain->spare[--plain->spare_count];
    if (plain->allocations == plain->room) {
        plain->room = plain->room ? 2 * plain->room : 1024;
        plain->allocation = realloc(plain->allocation, plain->room * sizeof(*plain->allocation));
        plain->live = realloc(plain->live, plain->room * sizeof(*plain->live));
        plain->spare = realloc(plain->spare, plain->room * sizeof(*plain->spare));
        assert(plain->allocation && plain->live && plain->spare);
    }
    return plain->allocations++;
}

static void claim(struct plain *plain, uint32_t index)
{
    const struct plain_allocation *allocation = &plain->allocation[index];
    uint64_t size = UINT64_C(1) << allocation->order;
    assert(plain_all(plain, allocation->pfn, size, PLAIN_FREE));
    plain_set(plain, allocation->pfn, size, PLAIN_ALLOCATED);
    for (uint64_t i = 0; i < size; i++)
        plain->owner[allocation->pfn + i] = index;
}

uint32_t plain_allocate(struct plain *plain, uint64_t pfn, unsigned order, unsigned mobility, pleat_tag tag)
{
    uint32_t index = new_index(plain);
    plain->allocation[index] = (struct plain_allocation){
        .live = true,
        .pfn = pfn,
        .order = order,
        .mobility = mobility,
        .tag = tag,
        .id = plain->next_id++,
        .place = plain->live_count,
    };
    plain->live[plain->live_count++] = index;
    claim(plain, index);
    return index;
}

void plain_free(struct plain *plain, uint32_t index)
{
    struct plain_allocation *allocation = &plain->allocation[index];
    assert(allocation->live);
    plain_set(plain, allocation->pfn, UINT64_C(1) << allocation->order, PLAIN_FREE);
    uint32_t last = plain->live[--plain->live_count];
    plain->live[allocation->place] = last;
    plain->allocation[last].place = allocation->place;
    allocation->live = false;
    plain->spare[plain->spare_count++] = index;
}

void plain_move(struct plain *plain, uint32_t index, uint64_t to_pfn)
{
    struct plain_allocation *allocation = &plain->allocation[index];
    plain_set(plain, allocation->pfn, UINT64_C(1) << allocation->order, PLAIN_FREE);
    allocation->pfn = to_pfn;
    claim(plain, index);
}

struct plain_allocation *plain_head(struct plain *plain, uint64_t pfn)
{
    if (pfn >= plain->frames || plain->kind[pfn] != PLAIN_ALLOCATED)
        return NULL;
    struct plain_allocation *allocation = &plain->allocation[plain->owner[pfn]];
    return allocation->pfn == pfn ? allocation : NULL;
}

bool plain_all(const struct plain *plain, uint64_t pfn, uint64_t frames, enum plain_kind kind)
{
    return plain_count(plain, pfn, frames, kind) == frames;
}

uint64_t plain_count(const struct plain *plain, uint64_t pfn, uint64_t frames, enum plain_kind kind)
{
    uint64_t count = 0;
    for (uint64_t i = pfn; i < pfn + frames; i++)
        count += plain->kind[i] == kind;
    return count;
}

void plain_look(const struct plain *plain, uint64_t pfn, uint64_t frames, struct pleat_look *look)
{
    *look = (struct pleat_look){0};
    for (uint64_t i = pfn; i < pfn + frames; i++) {
        switch ((enum plain_kind)plain->kind[i]) {
        case PLAIN_FREE:
            look->free++;
            break;
        case PLAIN_MEMMAP:
        case PLAIN_MEMMAP_NORMAL:
            look->memmap++;
            break;
        case PLAIN_WITHHELD:
            look->fake_offline++;
            break;
        case PLAIN_ABSENT:
            look->absent++;
            break;
        case PLAIN_ALLOCATED:
            if (plain->allocation[plain->owner[i]].mobility == PLEAT_MOVABLE) {
                look->movable++;
                break;
            }
            /* fall through */
        default:
            if (!look->unmovable++)
                look->first_obstacle_pfn = i;
        }
    }
}

void plain_isolate(struct plain *plain, uint64_t pfn, uint64_t frames, int by)
{
    for (uint64_t i = pfn / PLEAT_PAGEBLOCK_FRAMES; i <= (pfn + frames - 1) / PLEAT_PAGEBLOCK_FRAMES; i++)
        plain->isolated[i] = (uint8_t)(plain->isolated[i] + by);
}

bool plain_is_isolated(const struct plain *plain, uint64_t pfn, uint64_t frames)
{
    for (uint64_t i = pfn / PLEAT_PAGEBLOCK_FRAMES; i <= (pfn + frames - 1) / PLEAT_PAGEBLOCK_FRAMES; i++) {
        if (plain->isolated[i])
            return true;
    }
    return false;
}

bool plain_fits(const struct plain *plain, unsigned order,
                bool (*allowed)(const void *context, const struct plain_block *block), const void *context)
{
    uint64_t size = UINT64_C(1) << order;
    if (size > plain->block_frames)
        return false;
    for (uint64_t pfn = 0; pfn < plain->frames; pfn += size) {
        const struct plain_block *block = plain_block_of(plain, pfn);
        if (block->state != PLEAT_BLOCK_ONLINE || !allowed(context, block))
            continue;
        uint64_t i = 0;
        while (i < size && plain->kind[pfn + i] == PLAIN_FREE)
            i++;
        if (i == size && !plain_is_isolated(plain, pfn, size))
            return true;
    }
    return false;
}
