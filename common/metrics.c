/* The registry of metrics and the Prometheus text format. The process's own numbers carry the names that Prometheus client
 * libraries use, so that existing dashboards show them. Source: Prometheus, "Exposition formats". */
#include "metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

/* Changed by metrics_register() before threads start, only read afterwards. */
static struct metric *first, **last = &first;
static int64_t start_ms;

void metrics_register(struct metric *metric) {
    if (start_ms == 0)
        start_ms = clock_wall_ms();
    metric->next = NULL;
    *last = metric;
    last = &metric->next;
}

/* Values of labels escape the backslash, the line end and their quote, HELP texts the first two alone. */
static void write_escaped(struct text *out, const char *text, bool is_quoted) {
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '\\')
            text_add(out, "\\\\", 2);
        else if (*at == '\n')
            text_add(out, "\\n", 2);
        else if (*at == '"' && is_quoted)
            text_add(out, "\\\"", 2);
        else
            text_add(out, at, 1);
    }
}

void metrics_write_head(struct text *out, const char *name, const char *help, enum metric_type type) {
    text_add_format(out, "# HELP %s ", name);
    write_escaped(out, help, false);
    text_add_format(out, "\n# TYPE %s %s\n", name, type == METRIC_COUNTER ? "counter" : "gauge");
}

void metrics_write_value(struct text *out, const char *name, const char *const *labels, int64_t value) {
    text_add_string(out, name);
    for (size_t i = 0; labels != NULL && labels[i] != NULL; i += 2) {
        text_add_format(out, "%s%s=\"", i > 0 ? "," : "{", labels[i]);
        write_escaped(out, labels[i + 1], true);
        text_add_string(out, "\"");
    }
    text_add_format(out, "%s %" PRId64 "\n", labels != NULL ? "}" : "", value);
}

static int64_t resident_bytes(void) {
    long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's own number */
    if (fscanf(file, "%*s %lld", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

static int64_t open_descriptors(void) {
    int64_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL)
        return 0;
    for (const struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory))
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count - 1; /* without the directory's own */
}

static void write_process(struct text *out) {
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    metrics_write_head(out, "process_cpu_seconds_total", "User and system CPU time spent in seconds.", METRIC_COUNTER);
    text_add_format(out, "process_cpu_seconds_total %lld.%06ld\n", (long long)cpu.tv_sec, cpu.tv_nsec / 1000);
    metrics_write_head(out, "process_resident_memory_bytes", "Resident memory in bytes.", METRIC_GAUGE);
    text_add_format(out, "process_resident_memory_bytes %" PRId64 "\n", resident_bytes());
    metrics_write_head(out, "process_open_fds", "Number of open file descriptors.", METRIC_GAUGE);
    text_add_format(out, "process_open_fds %" PRId64 "\n", open_descriptors());
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        metrics_write_head(out, "process_max_fds", "Limit of open file descriptors.", METRIC_GAUGE);
        text_add_format(out, "process_max_fds %llu\n", (unsigned long long)limit.rlim_cur);
    }
    if (start_ms > 0) {
        metrics_write_head(out, "process_start_time_seconds", "Start time of the process in seconds since 1970.", METRIC_GAUGE);
        text_add_format(out, "process_start_time_seconds %" PRId64 ".%03" PRId64 "\n", start_ms / 1000, start_ms % 1000);
    }
}

void metrics_write(struct text *out) {
    const char *previous = "";
    for (struct metric *metric = first; metric != NULL; metric = metric->next) {
        if (strcmp(previous, metric->name) != 0)
            metrics_write_head(out, metric->name, metric->help, metric->type);
        previous = metric->name;
        if (metric->labels != NULL)
            text_add_format(out, "%s{%s} %" PRId64 "\n", metric->name, metric->labels, metric_value(metric));
        else
            text_add_format(out, "%s %" PRId64 "\n", metric->name, metric_value(metric));
    }
    write_process(out);
}
