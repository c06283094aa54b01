/* A log-linear histogram of durations, in the manner of HdrHistogram: fixed memory, no allocation while recording, and an
 * error below 0.8 % at every magnitude from nanoseconds to hours. Not thread-safe: one owner. */
#ifndef TESTS_BENCH_HISTOGRAM_H
#define TESTS_BENCH_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

/* Each power of two is cut into 2^HISTOGRAM_PRECISION_BITS equal buckets; longer durations than 2^HISTOGRAM_RANGE_BITS ns
 * (5 hours) are counted in the last one. */
enum {
    HISTOGRAM_PRECISION_BITS = 7,
    HISTOGRAM_RANGE_BITS = 44,
    HISTOGRAM_BUCKETS = (HISTOGRAM_RANGE_BITS - HISTOGRAM_PRECISION_BITS + 1) << HISTOGRAM_PRECISION_BITS,
};

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;   /* values recorded */
    uint64_t maximum; /* ns, exact */
    double sum;       /* ns */
};

void histogram_record(struct histogram *histogram, uint64_t nanoseconds);

/* The duration in ns that percent (0 to 100) of the values do not exceed: the upper edge of its bucket, never more than the
 * maximum. 0 when nothing was recorded. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);

/* Writes the members "p50_us", "p90_us", "p99_us", "p99_9_us", "max_us" and "mean_us" of a JSON object, without braces. */
void histogram_write_json(const struct histogram *histogram, FILE *out);

/* Writes the same in words on one line, with a line end. */
void histogram_write_text(const struct histogram *histogram, FILE *out);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t monotonic_ns(void);

/* CPU seconds (user and system) that this process has used. */
double process_cpu_seconds(void);

#endif
