/* A log-linear histogram of durations, and the clocks that feed it. */
#include "histogram.h"

#include <sys/resource.h>
#include <time.h>

enum { SUB_BUCKETS = 1 << HISTOGRAM_PRECISION_BITS };

static const uint64_t nanoseconds_in_second = 1000000000;

/* Values below SUB_BUCKETS have a bucket each; above, the highest bit chooses the group and the next bits the place in it. */
static unsigned bucket_of(uint64_t value) {
    if (value < SUB_BUCKETS)
        return (unsigned)value;
    unsigned highest = 63u - (unsigned)__builtin_clzll(value);
    if (highest >= HISTOGRAM_RANGE_BITS)
        return HISTOGRAM_BUCKETS - 1;
    unsigned shift = highest - HISTOGRAM_PRECISION_BITS;
    unsigned place = (unsigned)(value >> shift) - SUB_BUCKETS;
    return ((shift + 1) << HISTOGRAM_PRECISION_BITS) + place;
}

/* The largest value that bucket_of() puts into this bucket. */
static uint64_t bucket_end(unsigned bucket) {
    unsigned group = bucket >> HISTOGRAM_PRECISION_BITS;
    if (group == 0)
        return bucket;
    uint64_t place = bucket & (SUB_BUCKETS - 1);
    return ((place + SUB_BUCKETS + 1) << (group - 1)) - 1;
}

void histogram_record(struct histogram *histogram, uint64_t nanoseconds) {
    histogram->counts[bucket_of(nanoseconds)]++;
    histogram->total++;
    histogram->sum += (double)nanoseconds;
    if (nanoseconds > histogram->maximum)
        histogram->maximum = nanoseconds;
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent) {
    if (histogram->total == 0)
        return 0;
    double wanted = percent / 100.0 * (double)histogram->total;
    uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS - 1; bucket++) {
        seen += histogram->counts[bucket];
        if (seen > 0 && (double)seen >= wanted) {
            uint64_t end = bucket_end(bucket);
            return end < histogram->maximum ? end : histogram->maximum;
        }
    }
    return histogram->maximum;
}

static double microseconds(uint64_t nanoseconds) {
    return (double)nanoseconds / 1000.0;
}

static double mean_us(const struct histogram *histogram) {
    return histogram->total ? histogram->sum / (double)histogram->total / 1000.0 : 0.0;
}

void histogram_write_json(const struct histogram *histogram, FILE *out) {
    fprintf(out, "\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"p99_9_us\":%.1f,\"max_us\":%.1f,\"mean_us\":%.1f",
            microseconds(histogram_percentile(histogram, 50)), microseconds(histogram_percentile(histogram, 90)),
            microseconds(histogram_percentile(histogram, 99)), microseconds(histogram_percentile(histogram, 99.9)),
            microseconds(histogram->maximum), mean_us(histogram));
}

void histogram_write_text(const struct histogram *histogram, FILE *out) {
    static const double percents[] = {50, 90, 99, 99.9};
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++)
        fprintf(out, "p%g %.3f ms  ", percents[i], microseconds(histogram_percentile(histogram, percents[i])) / 1000.0);
    fprintf(out, "max %.3f ms  mean %.3f ms\n", microseconds(histogram->maximum) / 1000.0, mean_us(histogram) / 1000.0);
}

uint64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * nanoseconds_in_second + (uint64_t)now.tv_nsec;
}

double process_cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    const struct timeval *user = &usage.ru_utime, *system = &usage.ru_stime;
    return (double)(user->tv_sec + system->tv_sec) + (double)(user->tv_usec + system->tv_usec) / 1e6;
}
