/* Tombstones of deleted JWKs. */
#include "tombstones.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"

enum { PERIOD_MS = 3600000, LIMIT = 1000 }; /* how often to look; tombstones of one transaction */

struct tombstones {
    struct job job;
    struct writer *writer;
    struct publisher *publisher;
    int64_t delay_ms;
    int added; /* by the job */
    pthread_t thread;
    pthread_mutex_t lock; /* guards the two below */
    pthread_cond_t changed;
    bool stopping, busy;
};

static int run(struct job *job, struct store *store, struct error *error) {
    struct tombstones *tombstones = (struct tombstones *)job;
    return store_add_tombstones(store, clock_wall_ms() - tombstones->delay_ms, LIMIT, &tombstones->added, error);
}

static void done(struct job *job, int status, const struct error *error) {
    struct tombstones *tombstones = (struct tombstones *)job;
    if (status != 0)
        log_warning("tombstones are not written", "reason", error->message);
    else if (tombstones->added) {
        log_info("tombstones written", "count", LOG_NUMBER(tombstones->added));
        publisher_look(tombstones->publisher);
    }
    if (status == 0 && tombstones->added == LIMIT) {
        if (writer_defer(tombstones->writer, job))
            abort(); /* a deferred job is never refused */
        return;
    }
    pthread_mutex_lock(&tombstones->lock);
    tombstones->busy = false;
    pthread_cond_signal(&tombstones->changed);
    pthread_mutex_unlock(&tombstones->lock);
}

static void *tombstones_main(void *context) {
    struct tombstones *tombstones = context;
    pthread_setname_np(pthread_self(), "tombstones");
    pthread_mutex_lock(&tombstones->lock);
    while (!tombstones->stopping) {
        tombstones->busy = true;
        if (writer_defer(tombstones->writer, &tombstones->job))
            abort(); /* a deferred job is never refused */
        while (tombstones->busy && !tombstones->stopping)
            pthread_cond_wait(&tombstones->changed, &tombstones->lock);
        struct timespec until = clock_moment(clock_monotonic_ms() + PERIOD_MS);
        while (!tombstones->stopping && pthread_cond_timedwait(&tombstones->changed, &tombstones->lock, &until) == 0) {
        }
    }
    pthread_mutex_unlock(&tombstones->lock);
    return NULL;
}

struct tombstones *tombstones_new(struct writer *writer, struct publisher *publisher, int64_t delay_ms) {
    struct tombstones *tombstones = memory_new(sizeof *tombstones);
    tombstones->job = (struct job){.run = run, .done = done};
    tombstones->writer = writer;
    tombstones->publisher = publisher;
    tombstones->delay_ms = delay_ms;
    pthread_mutex_init(&tombstones->lock, NULL);
    clock_condition_init(&tombstones->changed);
    if (pthread_create(&tombstones->thread, NULL, tombstones_main, tombstones) != 0)
        abort(); /* no threads at start: nothing can work */
    return tombstones;
}

void tombstones_stop(struct tombstones *tombstones) {
    if (!tombstones)
        return;
    pthread_mutex_lock(&tombstones->lock);
    tombstones->stopping = true;
    pthread_cond_signal(&tombstones->changed);
    pthread_mutex_unlock(&tombstones->lock);
    pthread_join(tombstones->thread, NULL);
}

void tombstones_free(struct tombstones *tombstones) {
    if (!tombstones)
        return;
    pthread_cond_destroy(&tombstones->changed);
    pthread_mutex_destroy(&tombstones->lock);
    free(tombstones);
}
