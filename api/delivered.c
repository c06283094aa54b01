/* From a delivery report to the outbox. */
#include "delivered.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/memory.h"

enum {
    RANGES_MIN = 64,   /* that there is room for at first */
    RANGES_LOOKED = 8, /* the last ones, of which one may grow: an event of each partition may be the next */
};

/* Outbox ids first..last, all delivered. */
struct range {
    int64_t first, last;
};

struct delivered {
    struct writer *writer;
    void (*cleared)(void *context);
    void *context;
    pthread_mutex_t lock; /* guards all below */
    struct range *ranges; /* not yet handed over */
    size_t count, capacity;
    bool clearing; /* a clear_job is under way; one at most */
};

/* The deferred job that clears the rows. */
struct clear_job {
    struct job job;
    struct delivered *delivered;
    struct range *ranges;
    size_t count;
};

static int run_clear(struct job *job, struct store *store, struct error *error) {
    struct clear_job *clear = (struct clear_job *)job;
    for (size_t i = 0; i < clear->count; i++)
        if (store_remove_outgoing(store, clear->ranges[i].first, clear->ranges[i].last, error))
            return -1;
    return 0;
}

static void hand_over(struct delivered *delivered);

static void done_clear(struct job *job, int status, const struct error *error) {
    struct clear_job *clear = (struct clear_job *)job;
    struct delivered *delivered = clear->delivered;
    if (status != 0) /* at the stop only: the rows stay and are sent again */
        log_warning("delivered events are not cleared from the outbox", "reason", error->message);
    free(clear->ranges);
    free(clear);
    pthread_mutex_lock(&delivered->lock);
    delivered->clearing = false;
    hand_over(delivered);
    pthread_mutex_unlock(&delivered->lock);
    if (delivered->cleared)
        delivered->cleared(delivered->context);
}

/* The lock is held. */
static void hand_over(struct delivered *delivered) {
    if (delivered->clearing || delivered->count == 0)
        return;
    struct clear_job *clear = memory_new(sizeof *clear);
    *clear = (struct clear_job){.job = {.run = run_clear, .done = done_clear},
                                .delivered = delivered,
                                .ranges = delivered->ranges,
                                .count = delivered->count};
    delivered->ranges = NULL;
    delivered->count = delivered->capacity = 0;
    delivered->clearing = true;
    if (writer_defer(delivered->writer, &clear->job))
        abort(); /* a deferred job is never refused */
}

struct delivered *delivered_new(struct writer *writer, void (*cleared)(void *context), void *context) {
    struct delivered *delivered = memory_new(sizeof *delivered);
    *delivered = (struct delivered){.writer = writer, .cleared = cleared, .context = context};
    pthread_mutex_init(&delivered->lock, NULL);
    return delivered;
}

/* Grows the last range where the id fits. The lock is held. */
static bool grow_range(struct delivered *delivered, int64_t id) {
    for (size_t i = delivered->count, looked = 0; i > 0 && looked < RANGES_LOOKED; i--, looked++) {
        struct range *range = &delivered->ranges[i - 1];
        if (id == range->last + 1) {
            range->last = id;
            return true;
        }
    }
    return false;
}

void delivered_add(struct delivered *delivered, int64_t id) {
    pthread_mutex_lock(&delivered->lock);
    if (!grow_range(delivered, id)) {
        if (delivered->count == delivered->capacity) {
            delivered->capacity = delivered->capacity ? delivered->capacity * 2 : RANGES_MIN;
            delivered->ranges = memory_resize(delivered->ranges, delivered->capacity * sizeof *delivered->ranges);
        }
        delivered->ranges[delivered->count++] = (struct range){id, id};
    }
    pthread_mutex_unlock(&delivered->lock);
}

void delivered_clear(struct delivered *delivered) {
    pthread_mutex_lock(&delivered->lock);
    hand_over(delivered);
    pthread_mutex_unlock(&delivered->lock);
}

bool delivered_is_pending(struct delivered *delivered) {
    pthread_mutex_lock(&delivered->lock);
    bool is_pending = delivered->clearing || delivered->count > 0;
    pthread_mutex_unlock(&delivered->lock);
    return is_pending;
}

void delivered_free(struct delivered *delivered) {
    if (!delivered)
        return;
    free(delivered->ranges);
    pthread_mutex_destroy(&delivered->lock);
    free(delivered);
}
