/* A bound on log lines: so many in a period, and the next one tells how many were left out. */
#include "log_limit.h"

bool log_limit_allows(struct log_limit *limit, int64_t now, int64_t *suppressed) {
    if (now >= limit->period_end) {
        limit->period_end = now + LOG_LIMIT_PERIOD_MS;
        limit->lines = 0;
    }
    if (limit->lines == LOG_LIMIT_LINES) {
        limit->suppressed++;
        return false;
    }
    limit->lines++;
    *suppressed = limit->suppressed;
    limit->suppressed = 0;
    return true;
}
