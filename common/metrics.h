/* Counters and gauges of one process, shown in the Prometheus text format (version 0.0.4).
 *
 * A metric is a static struct; it is registered once at start and changed with atomic operations from any thread. */
#ifndef COMMON_METRICS_H
#define COMMON_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "text.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE };

struct metric {
    const char *name;   /* "jwk_api_updates_total" */
    const char *labels; /* NULL, or what stands between the braces: "result=\"applied\"" */
    const char *help;   /* one sentence; metrics of one name share the first one's help */
    enum metric_type type;
    _Atomic int64_t value;
    struct metric *next; /* of the registry */
};

/* Adds a static metric to the registry. Before threads start. Metrics of one name are registered one after the other. */
void metrics_register(struct metric *metric);
static inline void metric_add(struct metric *metric, int64_t amount) {
    atomic_fetch_add_explicit(&metric->value, amount, memory_order_relaxed);
}
static inline void metric_set(struct metric *metric, int64_t value) {
    atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}
static inline int64_t metric_value(struct metric *metric) {
    return atomic_load_explicit(&metric->value, memory_order_relaxed);
}
/* For what is counted only when somebody asks: appends the head of a metric … */
void metrics_write_head(struct text *out, const char *name, const char *help, enum metric_type type);
/* … and one value of it. labels: NULL, or name, value, name, value, …, NULL; the values may be any text. */
void metrics_write_value(struct text *out, const char *name, const char *const *labels, int64_t value);
/* Appends all registered metrics and the process's own (resident memory, CPU seconds, open descriptors, start time). */
void metrics_write(struct text *out);

#endif
