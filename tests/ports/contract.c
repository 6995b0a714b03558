/* SPDX-License-Identifier: MIT
 *
 * The checks. Each stands for a sentence of <pleat/port.h>.
 */
#include "contract.h"

#include <stdatomic.h>
#include <stddef.h>

#include "pleat_port.h"

/* --- CPUs -------------------------------------------------------------------------------------------------
 */

/** What a check that runs on all CPUs shares. */
struct everywhere {
    const struct contract *contract;
    const char *volatile broken;
    /** Counted without atomics, each under its own CPU's pin. */
    volatile unsigned long counted[CONTRACT_CPUS];
    volatile bool inside[CONTRACT_CPUS];
    uint64_t clock[CONTRACT_CPUS];
};

static const char *run_everywhere(const struct contract *contract, void (*run)(void *argument, unsigned cpu),
                                  struct everywhere *shared)
{
    shared->contract = contract;
    if (contract->on_all_cpus)
        contract->on_all_cpus(contract->context, run, shared);
    else
        run(shared, pleat_port_cpu());
    return shared->broken;
}

static void number_on_one_cpu(void *argument, unsigned cpu)
{
    struct everywhere *shared = argument;
    for (unsigned i = 0; i < 1000; i++) {
        pleat_port_pin();
        unsigned first = pleat_port_cpu();
        for (unsigned j = 0; j < 20; j++) {
            pleat_port_pause();
            if (pleat_port_cpu() != first)
                shared->broken = "the CPU number changed between pin and unpin";
        }
        pleat_port_unpin();
        if (first >= shared->contract->cpus)
            shared->broken = "a CPU number isn't below the count of CPUs";
        else if (shared->contract->on_all_cpus && first != cpu)
            shared->broken = "the CPU has another number than it was started with";
    }
}

static const char *cpu_number_holds_from_pin_to_unpin(const struct contract *contract)
{
    struct everywhere shared = {.broken = NULL};
    return run_everywhere(contract, number_on_one_cpu, &shared);
}

static void count_on_one_cpu(void *argument, unsigned cpu)
{
    struct everywhere *shared = argument;
    (void)cpu;
    for (unsigned i = 0; i < 1000; i++) {
        pleat_port_pin();
        unsigned me = pleat_port_cpu();
        if (shared->inside[me])
            shared->broken = "two threads were pinned to one CPU at the same time";
        shared->inside[me] = true;
        unsigned long before = shared->counted[me];
        for (unsigned j = 0; j < 10; j++)
            pleat_port_pause();
        shared->counted[me] = before + 1;
        shared->inside[me] = false;
        pleat_port_unpin();
    }
}

static const char *pin_keeps_others_from_the_cpu(const struct contract *contract)
{
    struct everywhere shared = {.broken = NULL};
    const char *broken = run_everywhere(contract, count_on_one_cpu, &shared);
    if (broken)
        return broken;
    unsigned long sum = 0;
    for (unsigned cpu = 0; cpu < CONTRACT_CPUS; cpu++)
        sum += shared.counted[cpu];
    if (sum != 1000ul * (contract->on_all_cpus ? contract->cpus : 1))
        return "a count that was kept under the pin lost some";
    return NULL;
}

/** Dekker's game, as the core plays it: CPU 0 visits, the others say "inside" with plain stores. */
struct fenced {
    struct everywhere everywhere;
    _Atomic unsigned visitors, left;
    struct {
        _Alignas(64) _Atomic unsigned inside;
        _Atomic unsigned long entered;
    } cpus[CONTRACT_CPUS];
};

static void linger(unsigned turns)
{
    for (volatile unsigned i = 0; i < turns; i++)
        ;
}

static void visit(struct fenced *fenced)
{
    const struct contract *contract = fenced->everywhere.contract;
    unsigned long before[CONTRACT_CPUS];

    /* With the lines at hand, what isn't ordered shows soonest. */
    for (unsigned cpu = 1; cpu < contract->cpus; cpu++)
        (void)atomic_load_explicit(&fenced->cpus[cpu].inside, memory_order_relaxed);
    atomic_store_explicit(&fenced->visitors, 1, memory_order_relaxed);
    contract->port->fence_cpus(contract->port->context);
    for (unsigned cpu = 1; cpu < contract->cpus; cpu++) {
        while (atomic_load_explicit(&fenced->cpus[cpu].inside, memory_order_acquire))
            pleat_port_pause();
        before[cpu] = atomic_load_explicit(&fenced->cpus[cpu].entered, memory_order_relaxed);
    }
    linger(50);
    for (unsigned cpu = 1; cpu < contract->cpus; cpu++) {
        if (atomic_load_explicit(&fenced->cpus[cpu].entered, memory_order_relaxed) != before[cpu])
            fenced->everywhere.broken = "a CPU had not seen after the fence what was written before it";
    }
    atomic_store_explicit(&fenced->visitors, 0, memory_order_release);
}

static void enter(struct fenced *fenced, unsigned cpu)
{
    for (unsigned i = 0; i < 100; i++) {
        atomic_store_explicit(&fenced->cpus[cpu].inside, 1, memory_order_relaxed);
        atomic_signal_fence(memory_order_seq_cst);
        if (!atomic_load_explicit(&fenced->visitors, memory_order_acquire))
            atomic_store_explicit(&fenced->cpus[cpu].entered,
                                  atomic_load_explicit(&fenced->cpus[cpu].entered, memory_order_relaxed) + 1,
                                  memory_order_relaxed);
        atomic_store_explicit(&fenced->cpus[cpu].inside, 0, memory_order_release);
    }
}

static void fence_on_one_cpu(void *argument, unsigned cpu)
{
    struct fenced *fenced = argument;
    const struct pleat_port *port = fenced->everywhere.contract->port;
    uint64_t end = port->clock_ns ? port->clock_ns(port->context) + UINT64_C(2000000000) : 0;

    if (cpu) {
        while (atomic_load(&fenced->left))
            enter(fenced, cpu);
        return;
    }
    for (unsigned i = 0; i < 3000 && !fenced->everywhere.broken; i++) {
        /* Emulated CPUs that share few real ones wait for their turn at each visit. */
        if (i >= 20 && port->clock_ns && port->clock_ns(port->context) > end)
            break;
        visit(fenced);
        linger(i % 64);
    }
    atomic_store(&fenced->left, 0);
}

static const char *fence_orders_what_cpus_store(const struct contract *contract)
{
    struct fenced fenced = {.left = 1};

    if (!contract->port->fence_cpus || !contract->on_all_cpus)
        return NULL;
    return run_everywhere(contract, fence_on_one_cpu, &fenced.everywhere);
}

/* --- Frames -----------------------------------------------------------------------------------------------
 */

/** Maps the span, where the port maps at all. */
static const char *bring_in(const struct contract *contract)
{
    if (contract->port->map &&
        contract->port->map(contract->port->context, contract->start_pfn, contract->frames))
        return "map() failed";
    return NULL;
}

static void take_out(const struct contract *contract)
{
    if (contract->port->unmap)
        contract->port->unmap(contract->port->context, contract->start_pfn, contract->frames);
}

static unsigned char *frame(const struct contract *contract, uint64_t index)
{
    return contract->port->frame_pointer(contract->port->context, contract->start_pfn + index);
}

static const char *check_pointers(const struct contract *contract)
{
    unsigned char *first = frame(contract, 0);
    if (!first)
        return "frame_pointer() returned NULL";
    if ((uintptr_t)first % (UINT64_C(1) << contract->frame_shift))
        return "a frame's pointer isn't aligned to a frame";
    for (uint64_t i = 0; i < contract->frames; i++) {
        if (frame(contract, i) != first + (i << contract->frame_shift))
            return "consecutive frames aren't consecutive through the pointer";
    }
    if (frame(contract, 0) != first)
        return "a frame's pointer changed";
    return NULL;
}

static const char *consecutive_frames_are_consecutive(const struct contract *contract)
{
    const char *broken = bring_in(contract);
    if (broken)
        return broken;
    broken = check_pointers(contract);
    take_out(contract);
    return broken;
}

static uint64_t stamp(uint64_t pfn, unsigned salt)
{
    return (pfn + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ salt;
}

/** Writes to the first and the last word of every frame, then reads them all. */
static const char *check_content(const struct contract *contract, unsigned salt)
{
    uint64_t words = (UINT64_C(1) << contract->frame_shift) / 8;
    for (uint64_t i = 0; i < contract->frames; i++) {
        volatile uint64_t *content = (volatile uint64_t *)(void *)frame(contract, i);
        content[0] = stamp(contract->start_pfn + i, salt);
        content[words - 1] = ~content[0];
    }
    for (uint64_t i = 0; i < contract->frames; i++) {
        volatile uint64_t *content = (volatile uint64_t *)(void *)frame(contract, i);
        uint64_t wanted = stamp(contract->start_pfn + i, salt);
        if (content[0] != wanted || content[words - 1] != ~wanted)
            return "a frame doesn't hold what was written to it";
    }
    return NULL;
}

static const char *frames_hold_their_content(const struct contract *contract)
{
    const char *broken = bring_in(contract);
    if (broken)
        return broken;
    broken = check_content(contract, 1);
    take_out(contract);
    return broken;
}

static const char *map_and_unmap_come_together(const struct contract *contract)
{
    if (!contract->port->map != !contract->port->unmap)
        return "only one of map and unmap is there";
    return NULL;
}

/** Whether the frame can be read and written, by its pointer from a time when it was mapped. */
static bool reachable(const struct contract *contract, unsigned char *content)
{
    bool read = contract->touch(contract->context, content, false);
    bool written = contract->touch(contract->context, content, true);
    return read || written;
}

/** Unmaps frames from..to (of 8) of a mapped span and looks at all of them. */
static const char *check_unmapped(const struct contract *contract, unsigned char *first, uint64_t from,
                                  uint64_t to)
{
    const struct pleat_port *port = contract->port;
    port->unmap(port->context, contract->start_pfn + from, to - from);
    for (uint64_t i = 0; i < 8; i++) {
        bool can = reachable(contract, first + (i << contract->frame_shift));
        if (can && i >= from && i < to)
            return "a frame can be reached after unmap()";
        if (!can && (i < from || i >= to))
            return "unmap() took a frame that it wasn't asked for";
    }
    if (port->map(port->context, contract->start_pfn + from, to - from))
        return "frames that were unmapped can't be mapped again";
    for (uint64_t i = 0; i < 8; i++) {
        if (frame(contract, i) != first + (i << contract->frame_shift))
            return "a frame has another pointer after it was mapped again";
        if (!reachable(contract, frame(contract, i)))
            return "a frame can't be reached after map()";
    }
    return NULL;
}

static const char *unmapped_frames_cannot_be_reached(const struct contract *contract)
{
    if (!contract->port->map || !contract->touch)
        return NULL;
    const char *broken = bring_in(contract);
    if (broken)
        return broken;
    unsigned char *first = frame(contract, 0);
    for (uint64_t from = 0; from < 8 && !broken; from++) {
        for (uint64_t to = from + 1; to <= 8 && !broken; to++)
            broken = check_unmapped(contract, first, from, to);
    }
    take_out(contract);
    if (!broken && reachable(contract, first))
        broken = "a frame can be reached after all was unmapped";
    return broken;
}

static const char *mapping_again_and_again_loses_nothing(const struct contract *contract)
{
    if (!contract->port->map)
        return NULL;
    for (unsigned turn = 0; turn < 50; turn++) {
        const char *broken = bring_in(contract);
        if (broken)
            return broken;
        broken = check_content(contract, turn);
        take_out(contract);
        if (broken)
            return broken;
    }
    return NULL;
}

/* --- Clock, log, and the compiler's own calls ----------------------------------------------------------- */

static void clock_on_one_cpu(void *argument, unsigned cpu)
{
    struct everywhere *shared = argument;
    const struct pleat_port *port = shared->contract->port;
    uint64_t last = port->clock_ns(port->context);
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t now = port->clock_ns(port->context);
        if (now < last)
            shared->broken = "the clock went back";
        last = now;
    }
    shared->clock[cpu < CONTRACT_CPUS ? cpu : 0] = last;
}

static const char *clock_never_goes_back(const struct contract *contract)
{
    const struct pleat_port *port = contract->port;
    if (!port->clock_ns)
        return NULL;
    struct everywhere shared = {.broken = NULL};
    uint64_t before = port->clock_ns(port->context);
    const char *broken = run_everywhere(contract, clock_on_one_cpu, &shared);
    if (broken)
        return broken;
    uint64_t after = port->clock_ns(port->context);
    for (unsigned cpu = 0; cpu < CONTRACT_CPUS; cpu++) {
        if (shared.clock[cpu] && (shared.clock[cpu] < before || shared.clock[cpu] > after))
            return "the clocks of two CPUs disagree";
    }
    return NULL;
}

static const char *clock_moves(const struct contract *contract)
{
    const struct pleat_port *port = contract->port;
    if (!port->clock_ns)
        return NULL;
    uint64_t before = port->clock_ns(port->context);
    for (unsigned long i = 0; i < 100000000; i++) {
        if (port->clock_ns(port->context) != before)
            return NULL;
    }
    return "the clock stands still";
}

static bool same_text(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static const char *log_keeps_no_pointer_to_the_line(const struct contract *contract)
{
    const struct pleat_port *port = contract->port;
    if (!port->log)
        return NULL;
    static const char text[] = "contract: an ordinary line";
    char line[sizeof(text)];
    for (int level = PLEAT_LOG_ERROR; level <= PLEAT_LOG_DEBUG; level++) {
        for (unsigned i = 0; i < sizeof(text); i++)
            line[i] = text[i];
        port->log(port->context, (enum pleat_log_level)level, line);
        for (unsigned i = 0; i + 1 < sizeof(text); i++)
            line[i] = 'X';
        const char *heard = contract->last_line ? contract->last_line(contract->context) : NULL;
        if (heard && !same_text(heard, text))
            return "the log has another line than was given to it";
        if (contract->last_line && !heard && level == PLEAT_LOG_ERROR)
            return "the log has lost an error";
    }
    return NULL;
}

static const char *compilers_own_calls_are_there(const struct contract *contract)
{
    (void)contract;
    unsigned char from[64], to[64];
    /* Through a volatile length, so that calls are made. */
    volatile size_t length = sizeof(from);
    for (unsigned i = 0; i < sizeof(from); i++)
        from[i] = (unsigned char)(i * 7);
    __builtin_memset(to, 0x5a, length);
    if (to[0] != 0x5a || to[63] != 0x5a)
        return "memset() doesn't set";
    __builtin_memcpy(to, from, length);
    for (unsigned i = 0; i < sizeof(to); i++) {
        if (to[i] != from[i])
            return "memcpy() doesn't copy";
    }
    __builtin_memmove(to + 1, to, length - 1);
    for (unsigned i = 1; i < sizeof(to); i++) {
        if (to[i] != from[i - 1])
            return "memmove() doesn't move over itself";
    }
    if (__builtin_memcmp(to + 1, from, length - 1))
        return "memcmp() finds a difference where there is none";
    from[62]++;
    if (!__builtin_memcmp(to + 1, from, length - 1))
        return "memcmp() misses a difference";
    return NULL;
}

const struct contract_check contract_checks[] = {
    {"cpu_number_holds_from_pin_to_unpin", cpu_number_holds_from_pin_to_unpin},
    {"pin_keeps_others_from_the_cpu", pin_keeps_others_from_the_cpu},
    {"fence_orders_what_cpus_store", fence_orders_what_cpus_store},
    {"consecutive_frames_are_consecutive", consecutive_frames_are_consecutive},
    {"frames_hold_their_content", frames_hold_their_content},
    {"map_and_unmap_come_together", map_and_unmap_come_together},
    {"unmapped_frames_cannot_be_reached", unmapped_frames_cannot_be_reached},
    {"mapping_again_and_again_loses_nothing", mapping_again_and_again_loses_nothing},
    {"clock_never_goes_back", clock_never_goes_back},
    {"clock_moves", clock_moves},
    {"log_keeps_no_pointer_to_the_line", log_keeps_no_pointer_to_the_line},
    {"compilers_own_calls_are_there", compilers_own_calls_are_there},
    {NULL, NULL},
};
