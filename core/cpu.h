/* SPDX-License-Identifier: MIT
 *
 * What each CPU has for itself, and the protocol that keeps it honest.
 *
 * Each CPU has a word that guards its caches and slots. All use of metadata on behalf of a CPU is inside its
 * word (but for a take's helper, for whom the holder of the hotplug lock waits), so whoever takes each CPU's
 * word in turn knows afterwards that everybody has seen what he wrote before:
 *
 *   - isolate: set ISOLATED in the pageblocks' words and in the directory's entry, then drain: take each
 * word, give back what that CPU's caches and slots hold of isolated blocks. From then on a free finds the
 *     attribute in the entry and goes straight to the bits, and nothing allocates there.
 *   - remove a block: clear its entry in the directory, take each word once, then let the memmap go.
 *
 * A CPU enters its own word a hundred million times for each time that somebody else does. So the one who
 * comes seldom pays: a CPU says "inside" with a plain store and looks whether there are visitors; a visitor
 * says that he is there, has every CPU pass a barrier (the port's fence_cpus), takes the word with a
 * read-modify-write and waits until its CPU isn't inside. Either the CPU's store came before its barrier, and
 * the visitor sees it, or its look comes after, and it sees the visitor: then it takes back what it said and
 * takes the word as a visitor does. It never waits for the fence, only for the word, so that a CPU that can't
 * be interrupted holds nobody up. Where the port has no fence there is always a visitor.
 *
 * On a pageblock's shared word, allocation takes the count (refused when isolated) before it sets bits, and a
 * free clears its bits before it returns the count. So a count never promises a bit that isn't clear, and
 * isolated with a full count is quiet.
 */
#ifndef PLEAT_CORE_CPU_H
#define PLEAT_CORE_CPU_H

#include "check.h"
#include "index.h"
#include "memmap.h"

/* Tells the port's fatal of a call that can't be; debug builds look for such, where no error can be returned.
 */
_Noreturn void cpu_misuse(struct core *core, const char *line);

/* Enters this CPU, to which the caller is pinned, by plain stores; false: there may be visitors, and it isn't
 * entered. Leave by cpu_leave_fast(). */
static inline bool cpu_enter_fast(struct core *core, struct cpu *cpu)
{
#ifdef PLEAT_DEBUG
    if (atomic_load_explicit(&cpu->inside, memory_order_relaxed))
        cpu_misuse(core, "two threads are one CPU, or an interrupt handler came through a pin");
#endif
    atomic_store_explicit(&cpu->inside, 1, memory_order_relaxed);
    /* The processor may swap these two, which is what the visitors' fence is for; the compiler mustn't. */
    atomic_signal_fence(memory_order_seq_cst);
    if (likely(!atomic_load_explicit(&core->visitors, memory_order_acquire)))
        return true;
    atomic_store_explicit(&cpu->inside, 0, memory_order_relaxed);
    return false;
}

static inline void cpu_leave_fast(struct cpu *cpu)
{
    atomic_store_explicit(&cpu->inside, 0, memory_order_release);
}

/* Waits for a CPU's word and takes it; given back by word_give(). */
void word_wait(struct cpu *cpu);

static inline void word_take(struct cpu *cpu)
{
    if (unlikely(atomic_exchange_explicit(&cpu->word, 1, memory_order_acquire)))
        word_wait(cpu);
}

static inline void word_give(struct cpu *cpu)
{
    atomic_store_explicit(&cpu->word, 0, memory_order_release);
}

/* This CPU, pinned. */
static inline struct cpu *cpu_pin(struct core *core)
{
    pleat_port_pin();
#ifdef PLEAT_DEBUG
    if (pleat_port_cpu() >= core->cpu_count)
        cpu_misuse(core, "a call on a CPU whose number isn't below the count of CPUs");
#endif
    return &core->cpus[pleat_port_cpu()];
}

/* Pins and enters this CPU. */
static inline struct cpu *cpu_begin(struct core *core)
{
    struct cpu *cpu = cpu_pin(core);

    if (!cpu_enter_fast(core, cpu))
        word_take(cpu);
    return cpu;
}

static inline void cpu_end(struct cpu *cpu)
{
    if (likely(atomic_load_explicit(&cpu->inside, memory_order_relaxed)))
        cpu_leave_fast(cpu);
    else
        word_give(cpu);
    pleat_port_unpin();
}

/* Only for who is inside the CPU's word: a plain read and write. */
static inline uint32_t counter_get(const _Atomic uint32_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static inline void counter_set(_Atomic uint32_t *counter, uint32_t value)
{
    atomic_store_explicit(counter, value, memory_order_relaxed);
}

static inline void cpu_count_free(struct cpu *cpu, int64_t frames)
{
    atomic_store_explicit(&cpu->free_delta,
                          atomic_load_explicit(&cpu->free_delta, memory_order_relaxed) + frames,
                          memory_order_relaxed);
}

/* Gives `frames` frames of 2^0 each, whose owners' words are free and whose bits are set, back to their
 * pageblocks. */
void frames_return(struct core *core, struct cpu *cpu, const uint64_t *pfn, unsigned frames);

/* A slot's count goes back to the pageblock. `cpu` may be NULL for a slot of no CPU; then nothing is counted.
 */
void slot_release(struct cpu *cpu, struct slot *slot);

/* A slot serves the wishes that it was filled for: others would get zones before their turn, DMA among them.
 * It has a pageblock. */
bool slot_suits(const struct slot *slot, const struct wish *wish);

/* Allocates 2^order frames, order 0 to 8, out of a slot. Returns the PFN or PLEAT_E_NO_MEMORY. */
int64_t slot_take(struct core *core, struct slot *slot, unsigned order);

/* The zones of one node in the order that a wish may use them; `at` begins with 0; NULL: no more. */
struct zone *wish_zone(struct core *core, const struct wish *wish, unsigned node, unsigned *at);

/* Gives 2^order frames, whose owner's word is free by now, back to their pageblocks. */
void frames_free_inside(struct cpu *cpu, struct block *block, uint64_t offset, unsigned order);

/* Whether zone DMA32 has given enough to those who could lie elsewhere. */
bool low_zone_is_worn(struct core *core, const struct zone *zone);

/* Allocates whole pageblocks, order 9 and above; the owner's word is the caller's to write. */
int64_t allocate_huge(struct core *core, struct cpu *cpu, const struct wish *wish);

/* Tells the port of a free that can't be; `word` is the owner's word, or 0. Returns PLEAT_E_MISUSE. */
int free_misuse(struct core *core, uint64_t pfn, unsigned order, uint64_t word, const char *what);

/* Finds a pageblock for a wish (order 0 to 8) and makes it the slot's; the slot is empty before.
 * PLEAT_OK or PLEAT_E_NO_MEMORY. Inside some CPU's word. */
int slot_fill(struct core *core, struct cpu *cpu, const struct wish *wish, struct slot *slot);

/* Fills this CPU's empty cache of a mobility: PLEAT_OK, or PLEAT_E_NO_MEMORY. */
int cache_fill(struct core *core, struct cpu *cpu, const struct wish *wish);
/* Gives the older half of a full cache back. */
void cache_empty_half(struct core *core, struct cpu *cpu, struct cache *cache);
/* Allocates out of a slot, which is filled anew if need be. Order 0 to 8. */
int64_t slot_allocate(struct core *core, struct cpu *cpu, const struct wish *wish, struct slot *slot);

/* Empties all CPUs' caches and slots; with only_isolated, those of blocks with isolated pageblocks. Not
 * pinned. */
void core_drain(struct core *core, bool only_isolated);

/* Takes each CPU's word once: whoever was inside before has left. Not pinned. */
void core_wait_all(struct core *core);

/* Frames in the allocator that nobody has. */
int64_t core_free_frames(struct core *core);

#endif
