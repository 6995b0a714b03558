/* SPDX-License-Identifier: MIT
 *
 * Measuring: a clock, medians of several runs, the two units that results are compared with, and a table that
 * is also written as JSON.
 *
 * A is an uncontended atomic read-modify-write, M a dependent one that misses the caches over a footprint.
 * Both are measured in the same run as what is held against them, because the machines are shared and their
 * speed drifts.
 */
#ifndef PLEAT_BENCH_MEASURE_H
#define PLEAT_BENCH_MEASURE_H

#include <stdbool.h>
#include <stdint.h>

#define RUNS 7

/* Nanoseconds of a clock that only goes forward. */
uint64_t now_ns(void);
/* Nanoseconds that the calling thread has run: what others do on the same host CPU isn't in it. */
uint64_t thread_ns(void);

/* Pins the calling thread to a host CPU, and makes it the CPU of that number. */
void become_cpu(unsigned cpu);

double median(double *values, unsigned count);

/* What returns one result each time that it is run, in ns. */
struct measure {
    double (*once)(void *context);
    void *context;
};

/* The median of RUNS results. */
double median_of_runs(const struct measure *measure);

/*
 * Medians of RUNS results of each of `count` measures, at most 4, run in turn: measures[0] a first time, then
 * [1] ..., then [0] a second time. ratios[i] is the median of [i] divided by [i - 1] of the same turn, so
 * that a host whose speed drifts spoils no ratio; ratios[0] is 1.
 */
void medians_in_turn(const struct measure *measures, unsigned count, double *medians, double *ratios);

/* A. */
extern const struct measure measure_atomic;
/* M over `bytes`; ended by measure_miss_end(). Where there is no memory for it, it measures 0. */
struct measure measure_miss(uint64_t bytes);
void measure_miss_end(struct measure *miss);

struct table;

struct table *table_new(const char *title);
/* One row: what was measured, the value with its unit, and what it is held against: a limit of which the
 * value may be at most (or at least) `reach`. */
void table_row(struct table *table, const char *what, double value, const char *unit, double limit,
               const char *limit_name, double reach, bool at_least);
/* Prints the table, writes JSON to `path` unless it is NULL, frees it. Returns how many rows missed. */
unsigned table_end(struct table *table, const char *path);

/* Options of every benchmark: --json FILE, and --only NAME for a part of it. A usage error ends the program
 * with 2. */
struct bench_options {
    const char *json;
    const char *only;
};
struct bench_options bench_options(int argc, char **argv);
/* Whether a part was asked for. */
bool bench_wants(const struct bench_options *options, const char *part);

#endif
