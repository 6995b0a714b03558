/* SPDX-License-Identifier: MIT
 *
 * The guest's workload. See workload.h.
 */
#include "workload.h"

#include "pleat_port.h"

#include "random.h"

/* A CPU whose next operation is far away looks for mail so often. */
#define MAIL_INTERVAL_NS UINT64_C(10000000)
/* A block is looked for so often by chance. */
#define DRAWS 64u

/* --- lifetimes --------------------------------------------------------------------------------------------
 */

/*
 * Of two operations one is a free, so blocks that live for L operations on the average are L / 2 at a time:
 * that many turn over, the rest of the target's blocks stays. Where more should turn over than there are,
 * all do, which cuts lifetimes short in proportion.
 */
static void share_out(struct workload *workload, uint64_t blocks)
{
    const struct workload_options *options = &workload->options;
    const uint64_t long_ppm = options->long_share_ppm, short_ppm = OPTION_MILLION - long_ppm;
    /* Blocks of each class at a time, times two million: below 2^62, as a mean is at most 2^40. */
    uint64_t shorts = options->mean_operations * short_ppm;
    const uint64_t longs = options->long_mean_operations * long_ppm;
    uint64_t all = blocks * 2 * OPTION_MILLION;

    if (!options->mean_operations)
        shorts = all;
    if (all < shorts + longs)
        all = shorts + longs;
    const uint64_t one = all / WORKLOAD_GROUP + 1;
    workload->group_short = (uint32_t)(shorts / one);
    workload->group_all = (uint32_t)((shorts + longs) / one);
    if (!workload->group_all)
        workload->group_short = workload->group_all = 1;
    workload->short_ppm = short_ppm;
    if (workload->group_short == workload->group_all)
        workload->short_ppm = OPTION_MILLION;
    else if (!workload->group_short)
        workload->short_ppm = 0;
}

static uint64_t average_frames_ppm(const struct workload_options *options)
{
    uint64_t weights = 0, frames = 0;

    for (unsigned order = 0; order < OPTION_ORDERS; order++) {
        weights += options->order_weights[order];
        frames += (uint64_t)options->order_weights[order] << order;
    }
    return frames * OPTION_MILLION / weights;
}

int workload_begin(struct workload *workload, struct held *held, const struct workload_options *options,
                   uint64_t frames, unsigned cpus)
{
    if (options->cpus && options->cpus < cpus)
        cpus = options->cpus;
    if (cpus > WORKLOAD_CPUS)
        cpus = WORKLOAD_CPUS;
    const uint64_t target = frames / OPTION_MILLION * options->fill_ppm / cpus +
                            frames % OPTION_MILLION * options->fill_ppm / OPTION_MILLION / cpus;
    if (!target || target >= UINT32_MAX / WORKLOAD_CPUS)
        return PLEAT_E_INVALID;
    /* At worst every block is one frame. */
    const int error = held_reserve(held, (uint32_t)(target + 1) * cpus);
    if (error)
        return error;
    workload->held = held;
    workload->options = *options;
    workload->cpus = cpus;
    workload->rate_per_second = options->rate_per_second ? options->rate_per_second / cpus + 1 : 0;
    share_out(workload, target * OPTION_MILLION / average_frames_ppm(options) + 1);
    for (unsigned i = 0; i < cpus; i++) {
        struct workload_cpu *cpu = &workload->cpu[i];
        cpu->random = random_mix(options->seed + i);
        cpu->slots = cpu->first_unused = (uint32_t)target + 1;
        cpu->target_frames = target;
        cpu->until_restamp = WORKLOAD_RESTAMP_EVERY;
        cpu->until_remote = options->remote_free;
    }
    return PLEAT_OK;
}

/* --- the mail ---------------------------------------------------------------------------------------------
 */

static void lock_mail(struct workload_mail *mail)
{
    while (atomic_exchange_explicit(&mail->lock, 1, memory_order_acquire))
        pleat_port_pause();
}

static void unlock_mail(struct workload_mail *mail)
{
    atomic_store_explicit(&mail->lock, 0, memory_order_release);
}

static bool hand_over(struct workload_mail *mail, const struct held_block *block)
{
    lock_mail(mail);
    const unsigned count = atomic_load_explicit(&mail->count, memory_order_relaxed);
    const bool room = count < WORKLOAD_MAIL;
    if (room) {
        mail->blocks[count] = *block;
        atomic_store_explicit(&mail->count, count + 1, memory_order_relaxed);
    }
    unlock_mail(mail);
    return room;
}

static void empty_mail(struct workload *workload, unsigned cpu)
{
    struct workload_mail *mail = &workload->cpu[cpu].mail;
    struct held_block blocks[WORKLOAD_MAIL];

    if (!atomic_load_explicit(&mail->count, memory_order_relaxed))
        return;
    lock_mail(mail);
    const unsigned count = atomic_load_explicit(&mail->count, memory_order_relaxed);
    __builtin_memcpy(blocks, mail->blocks, count * sizeof blocks[0]);
    atomic_store_explicit(&mail->count, 0, memory_order_relaxed);
    unlock_mail(mail);
    for (unsigned i = 0; i < count; i++)
        held_release(workload->held, &blocks[i]);
}

void workload_settle(struct workload *workload)
{
    for (unsigned cpu = 0; cpu < workload->cpus; cpu++)
        empty_mail(workload, cpu);
}

/* --- operations -------------------------------------------------------------------------------------------
 */

static uint32_t slot_number(const struct workload *workload, unsigned cpu, uint32_t index)
{
    return index * workload->cpus + cpu;
}

static unsigned draw_order(struct workload_cpu *cpu, const uint32_t weights[OPTION_ORDERS])
{
    uint64_t all = 0;

    for (unsigned order = 0; order < OPTION_ORDERS; order++)
        all += weights[order];
    uint64_t place = random_below(&cpu->random, all);
    unsigned order = 0;
    while (place >= weights[order])
        place -= weights[order++];
    return order;
}

static unsigned draw_mobility(struct workload_cpu *cpu, const struct workload_options *options)
{
    const uint64_t place = random_below(&cpu->random, OPTION_MILLION);

    if (place < options->unmovable_ppm)
        return PLEAT_UNMOVABLE;
    return place - options->unmovable_ppm < options->reclaimable_ppm ? PLEAT_RECLAIMABLE : PLEAT_MOVABLE;
}

/* A slot to allocate into: one that a block has left, or a new one; false if there are no more. */
static bool find_unused(struct workload *workload, unsigned number, uint32_t *index)
{
    struct workload_cpu *cpu = &workload->cpu[number];

    *index = cpu->first_unused;
    if (*index < cpu->slots) {
        cpu->first_unused = (uint32_t)held_note(workload->held, slot_number(workload, number, *index));
        return true;
    }
    if (cpu->made == cpu->slots)
        return false;
    *index = cpu->made++;
    return true;
}

static void allocate(struct workload *workload, unsigned number)
{
    struct workload_cpu *cpu = &workload->cpu[number];
    uint32_t index;

    if (!find_unused(workload, number, &index))
        return;
    const unsigned order = draw_order(cpu, workload->options.order_weights);
    /* Whether it is refused or not: its time comes like that of the others. */
    (void)held_allocate(workload->held, slot_number(workload, number, index), order,
                        draw_mobility(cpu, &workload->options));
    cpu->live_frames += UINT64_C(1) << order;
}

static bool stands_for_a_block(const struct workload *workload, unsigned number, uint32_t index)
{
    return index < workload->cpu[number].made &&
           !held_is_unused(workload->held, slot_number(workload, number, index));
}

/* The next slot from `start` on whose block doesn't stay for good. */
static bool next_to_go(const struct workload *workload, unsigned number, uint32_t start, uint32_t *index)
{
    const uint32_t made = workload->cpu[number].made;

    *index = start;
    for (uint32_t i = 0; i < made; i++) {
        *index = (start + i) % made;
        if (*index % WORKLOAD_GROUP < workload->group_all && stands_for_a_block(workload, number, *index))
            return true;
    }
    return false;
}

/* The slot whose time has come; false if all that there is stays for good. */
static bool draw_victim(struct workload *workload, unsigned number, uint32_t *index)
{
    struct workload_cpu *cpu = &workload->cpu[number];
    const uint32_t groups = (cpu->made + WORKLOAD_GROUP - 1) / WORKLOAD_GROUP;

    if (workload->options.lifetime == LIFETIME_FIXED) {
        const bool found = next_to_go(workload, number, cpu->oldest, index);
        cpu->oldest = *index + 1;
        return found;
    }
    const bool is_short = random_below(&cpu->random, OPTION_MILLION) < workload->short_ppm;
    const uint32_t first = is_short ? 0 : workload->group_short;
    const uint32_t count = (is_short ? workload->group_short : workload->group_all) - first;
    for (unsigned tries = 0; tries < DRAWS; tries++) {
        *index = (uint32_t)random_below(&cpu->random, groups) * WORKLOAD_GROUP + first +
                 (uint32_t)random_below(&cpu->random, count);
        if (stands_for_a_block(workload, number, *index))
            return true;
    }
    /* A small table may have none of that class. */
    return next_to_go(workload, number, *index, index);
}

static void release(struct workload *workload, unsigned number)
{
    struct workload_cpu *cpu = &workload->cpu[number];
    struct held *held = workload->held;
    struct held_block block;
    uint32_t index;

    if (!draw_victim(workload, number, &index))
        return;
    const uint32_t slot = slot_number(workload, number, index);
    cpu->live_frames -= UINT64_C(1) << held_order(held, slot);
    if (workload->options.remote_free && workload->cpus > 1 && !--cpu->until_remote) {
        cpu->until_remote = workload->options.remote_free;
        if (held_take_out(held, slot, &block) &&
            !hand_over(&workload->cpu[(number + 1) % workload->cpus].mail, &block))
            held_release(held, &block);
    } else {
        (void)held_free(held, slot);
    }
    held_forget(held, slot, cpu->first_unused);
    cpu->first_unused = index;
}

static void write_to_one(struct workload *workload, unsigned number)
{
    struct workload_cpu *cpu = &workload->cpu[number];

    if (!cpu->made || --cpu->until_restamp)
        return;
    cpu->until_restamp = WORKLOAD_RESTAMP_EVERY;
    cpu->to_write = (cpu->to_write + 1) % cpu->made;
    held_restamp(workload->held, slot_number(workload, number, cpu->to_write));
}

static void do_operation(struct workload *workload, unsigned number)
{
    struct workload_cpu *cpu = &workload->cpu[number];

    if (cpu->live_frames >= cpu->target_frames) {
        cpu->filled = true;
        release(workload, number);
    } else {
        allocate(workload, number);
    }
    cpu->operations += cpu->filled;
    write_to_one(workload, number);
}

uint64_t workload_run(struct workload *workload, unsigned number, uint64_t now_ns, uint64_t operations)
{
    if (number >= workload->cpus)
        return UINT64_MAX;
    struct workload_cpu *cpu = &workload->cpu[number];
    empty_mail(workload, number);
    while (operations--) {
        if (cpu->filled && workload->rate_per_second) {
            if (!cpu->start_ns)
                cpu->start_ns = now_ns;
            const uint64_t seconds = cpu->operations / workload->rate_per_second;
            const uint64_t rest = cpu->operations % workload->rate_per_second;
            const uint64_t due =
                cpu->start_ns + seconds * 1000000000 + rest * 1000000000 / workload->rate_per_second;
            if (due > now_ns)
                return due < now_ns + MAIL_INTERVAL_NS ? due : now_ns + MAIL_INTERVAL_NS;
        }
        do_operation(workload, number);
    }
    return now_ns;
}

bool workload_is_filled(const struct workload *workload)
{
    for (unsigned i = 0; i < workload->cpus; i++)
        if (!workload->cpu[i].filled)
            return false;
    return true;
}
