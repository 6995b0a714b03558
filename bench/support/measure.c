/* SPDX-License-Identifier: MIT
 *
 * Measuring. See measure.h.
 */
#include "measure.h"

#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <jansson.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <pleat/hosted.h>

uint64_t now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t thread_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void become_cpu(unsigned cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &set);
    if (sched_setaffinity(0, sizeof(set), &set))
        perror("sched_setaffinity");
    pleat_hosted_cpu_set(cpu);
}

double median(double *values, unsigned count)
{
    gsl_sort(values, 1, count);
    return gsl_stats_median_from_sorted_data(values, 1, count);
}

void medians_in_turn(const struct measure *measures, unsigned count, double *medians, double *ratios)
{
    double values[4][RUNS], by[4][RUNS];

    for (unsigned run = 0; run < RUNS; run++) {
        for (unsigned i = 0; i < count; i++) {
            values[i][run] = measures[i].once(measures[i].context);
            by[i][run] = i ? values[i][run] / values[i - 1][run] : 1;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        medians[i] = median(values[i], RUNS);
        ratios[i] = median(by[i], RUNS);
    }
}

double median_of_runs(const struct measure *measure)
{
    double value, ratio;

    medians_in_turn(measure, 1, &value, &ratio);
    return value;
}

static double atomic_once(void *context)
{
    static _Atomic uint64_t word;
    const unsigned count = 5000000;
    uint64_t start = thread_ns();

    (void)context;
    for (unsigned i = 0; i < count; i++)
        atomic_exchange_explicit(&word, i, memory_order_acquire);
    return (double)(thread_ns() - start) / count;
}

const struct measure measure_atomic = {.once = atomic_once};

struct chain {
    _Atomic uint64_t *words;
    uint64_t lines;
};

static double miss_once(void *context)
{
    struct chain *chain = context;
    const unsigned count = 1000000;
    uint64_t at = 0, start = thread_ns();

    if (!chain->words)
        return 0;
    for (unsigned i = 0; i < count; i++)
        at = atomic_fetch_add_explicit(&chain->words[at * 8], 0, memory_order_acquire);
    return (double)(thread_ns() - start + (at == UINT64_MAX)) / count;
}

/* One cycle through all lines in a random order (Sattolo): each step needs the one before. */
struct measure measure_miss(uint64_t bytes)
{
    struct chain *chain = calloc(1, sizeof(*chain));
    uint64_t state = 88172645463325252u;

    if (!chain)
        abort();
    chain->lines = bytes / 64;
    chain->words =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (chain->words == MAP_FAILED) {
        chain->words = NULL;
        return (struct measure){.once = miss_once, .context = chain};
    }
    madvise((void *)chain->words, bytes, MADV_NOHUGEPAGE);
    for (uint64_t i = 0; i < chain->lines; i++)
        chain->words[i * 8] = i;
    for (uint64_t i = chain->lines - 1; i > 0; i--) {
        uint64_t other, value;

        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        other = state % i;
        value = chain->words[i * 8];
        chain->words[i * 8] = chain->words[other * 8];
        chain->words[other * 8] = value;
    }
    return (struct measure){.once = miss_once, .context = chain};
}

void measure_miss_end(struct measure *miss)
{
    struct chain *chain = miss->context;

    if (chain->words)
        munmap((void *)chain->words, chain->lines * 64);
    free(chain);
    miss->context = NULL;
}

struct table {
    const char *title;
    json_t *rows;
    unsigned missed;
};

struct table *table_new(const char *title)
{
    struct table *table = calloc(1, sizeof(*table));

    if (!table)
        abort();
    table->title = title;
    table->rows = json_array();
    printf("%s\n%-66s %14s %18s %10s\n", title, "what", "measured", "of the limit", "reach");
    return table;
}

void table_row(struct table *table, const char *what, double value, const char *unit, double limit,
               const char *limit_name, double reach, bool at_least)
{
    double ratio = value / limit;
    bool met = at_least ? ratio >= reach : ratio <= reach;
    char measured[32], of[32], wanted[32];

    snprintf(measured, sizeof(measured), "%.4g %s", value, unit);
    snprintf(of, sizeof(of), "%.3g %s", ratio, limit_name);
    snprintf(wanted, sizeof(wanted), "%s %.3g%s", at_least ? ">=" : "<=", reach, met ? "" : " !");
    printf("%-66s %14s %18s %10s\n", what, measured, of, wanted);
    fflush(stdout);
    table->missed += !met;
    json_array_append_new(table->rows,
                          json_pack("{s:s, s:f, s:s, s:f, s:s, s:f, s:f, s:b, s:b}", "what", what, "value",
                                    value, "unit", unit, "limit", limit, "limit_name", limit_name, "ratio",
                                    ratio, "reach", reach, "at_least", at_least, "met", met));
}

unsigned table_end(struct table *table, const char *path)
{
    json_t *root = json_pack("{s:s, s:i, s:o}", "title", table->title, "runs", RUNS, "rows", table->rows);
    unsigned missed = table->missed;

    if (path && json_dump_file(root, path, JSON_INDENT(1)))
        fprintf(stderr, "%s: can't be written\n", path);
    json_decref(root);
    free(table);
    if (missed)
        printf("%u rows miss what they should reach (marked !)\n", missed);
    return missed;
}

struct bench_options bench_options(int argc, char **argv)
{
    struct bench_options options = {0};

    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && !strcmp(argv[i], "--json"))
            options.json = argv[i + 1];
        else if (i + 1 < argc && !strcmp(argv[i], "--only"))
            options.only = argv[i + 1];
        else {
            fprintf(stderr, "usage: %s [--json FILE] [--only PART]\n", argv[0]);
            exit(2);
        }
    }
    return options;
}

bool bench_wants(const struct bench_options *options, const char *part)
{
    return !options->only || !strcmp(options->only, part);
}
