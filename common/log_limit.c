/* A bound on log lines: so many in a period, and the next one tells how many were left out. */
#include "log_limit.h"

#include <pthread.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards the content of every limit */

/* With the mutex held. */
static bool allows(struct log_limit *limit, int64_t now, int64_t *suppressed) {
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

bool log_limit_allows(struct log_limit *limit, int64_t now, int64_t *suppressed) {
    pthread_mutex_lock(&mutex);
    bool allowed = allows(limit, now, suppressed);
    pthread_mutex_unlock(&mutex);
    return allowed;
}
