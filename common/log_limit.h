/* A bound on log lines that others can cause at will: a flood of forged records must not fill the disk. */
#ifndef COMMON_LOG_LIMIT_H
#define COMMON_LOG_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "log.h"

enum {
    LOG_LIMIT_LINES = 10,        /* that are written … */
    LOG_LIMIT_PERIOD_MS = 10000, /* … in so long */
};

/* Zeroed before its first use. */
struct log_limit {
    int64_t period_end; /* monotonic ms; 0: none has begun */
    int lines;          /* written in this period */
    int64_t suppressed; /* not written since the last line that was */
};

/* Whether a line may be written now (monotonic ms). *suppressed gets how many were not since the last one: the line is to tell
 * it. Thread-safe. */
bool log_limit_allows(struct log_limit *limit, int64_t now, int64_t *suppressed);
/* Its pair of key and value in that line; left out when there were none. */
#define LOG_SUPPRESSED(count) "suppressed", ((count) > 0 ? LOG_NUMBER(count) : NULL)

#endif
