/* Publishes every JWK again. */
#include "republish.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/memory.h"
#include "store_republish.h"

enum { CHUNK = 200 }; /* JWKs of one transaction: callers' changes fit in between */

struct republisher {
    struct job job;
    struct writer *writer;
    struct publisher *publisher;
    struct gatherer *gatherer;
    struct sequence_floor floor; /* as the store has it, of the job */
    bool left, began;            /* of the job: there are more; it has begun with all JWKs */
    int64_t count;               /* published so far, of the job */
    bool is_due;                 /* of the look: something is left */
    pthread_mutex_t lock;        /* guards all below */
    bool busy, begin;            /* the job is under way; it is to begin with all JWKs */
    bool again;                  /* it was asked for once more since its last run began */
    bool stopping;
};

/* The event is in the outbox, which the publisher looks into after the commit. */
static void note(void *context, struct store_change *change) {
    ((struct republisher *)context)->count++;
    store_change_clear(change);
}

static int run(struct job *job, struct store *store, struct error *error) {
    struct republisher *republisher = (struct republisher *)job;
    pthread_mutex_lock(&republisher->lock);
    republisher->began = republisher->begin;
    republisher->begin = republisher->again = false; /* what is asked for from here on needs another run */
    pthread_mutex_unlock(&republisher->lock);
    struct store_identity identity;
    if ((republisher->began && store_republish_begin(store, error)) ||
        store_republish_next(store, CHUNK, note, republisher, &republisher->left, error) ||
        store_read_identity(store, &identity, error))
        return -1;
    republisher->floor = (struct sequence_floor){.from = identity.republish_from, .until = identity.republish_until};
    return 0;
}

static void submit(struct republisher *republisher) {
    if (writer_defer(republisher->writer, &republisher->job))
        abort(); /* a deferred job is never refused */
}

static void done(struct job *job, int status, const struct error *error) {
    struct republisher *republisher = (struct republisher *)job;
    if (status != 0) {
        log_warning("JWKs are not published again yet", "reason", error->message);
    } else {
        /* Their results are in nobody's memory: positions settle what no ack does. */
        gatherer_note_republished(republisher->gatherer, republisher->floor);
        publisher_look(republisher->publisher);
        if (!republisher->left && republisher->count) {
            log_info("JWKs published again", "count", LOG_NUMBER(republisher->count));
            republisher->count = 0;
        }
    }
    pthread_mutex_lock(&republisher->lock);
    if (status != 0 && republisher->began)
        republisher->begin = true;
    /* At the stop the rest is left to the next start; that it begins with all JWKs is known nowhere else. */
    republisher->busy = republisher->stopping ? republisher->again && republisher->begin
                                              : republisher->again || (status == 0 && republisher->left);
    if (republisher->busy)
        submit(republisher);
    pthread_mutex_unlock(&republisher->lock);
}

struct republisher *republisher_new(struct writer *writer, struct publisher *publisher, struct gatherer *gatherer) {
    struct republisher *republisher = memory_new(sizeof *republisher);
    republisher->job = (struct job){.run = run, .done = done};
    republisher->writer = writer;
    republisher->publisher = publisher;
    republisher->gatherer = gatherer;
    pthread_mutex_init(&republisher->lock, NULL);
    return republisher;
}

void republisher_start(struct republisher *republisher, bool all) {
    /* Until the store knows where it begins, no position tells of anything. */
    if (all)
        gatherer_note_republished(republisher->gatherer, (struct sequence_floor){.from = INT64_MAX, .until = INT64_MAX});
    pthread_mutex_lock(&republisher->lock);
    republisher->begin = republisher->begin || all;
    republisher->again = true;
    if (!republisher->busy && (republisher->begin || !republisher->stopping)) {
        republisher->busy = true;
        submit(republisher);
    }
    pthread_mutex_unlock(&republisher->lock);
}

int republisher_look(void *context, struct store *store, struct error *error) {
    struct republisher *republisher = context;
    int due = store_republish_is_due(store, error);
    republisher->is_due = due == 1;
    return due < 0 ? -1 : 0;
}

void republisher_act(void *context) {
    struct republisher *republisher = context;
    if (republisher->is_due)
        republisher_start(republisher, false);
}

void republisher_stop(struct republisher *republisher) {
    if (!republisher)
        return;
    pthread_mutex_lock(&republisher->lock);
    republisher->stopping = true;
    pthread_mutex_unlock(&republisher->lock);
}

void republisher_free(struct republisher *republisher) {
    if (!republisher)
        return;
    pthread_mutex_destroy(&republisher->lock);
    free(republisher);
}
