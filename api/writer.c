/* Group commit. */
#include "writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"

/* How long deferred jobs rest after the store refused a commit (a full disk). */
enum { RETRY_MS = 1000 };

static struct metric commits = {
    .name = "jwk_api_store_commits_total", .help = "Transactions committed.", .type = METRIC_COUNTER};
static struct metric commit_failures = {
    .name = "jwk_api_store_commit_failures_total", .help = "Transactions that could not be committed.", .type = METRIC_COUNTER};
static struct metric jobs_run = {.name = "jwk_api_store_jobs_total",
                                 .help = "Jobs run in transactions; divided by commits it is the size of a group commit.",
                                 .type = METRIC_COUNTER};

struct queue {
    struct job *head, **tail;
};

struct writer {
    struct store *store;
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake;  /* on CLOCK_MONOTONIC */
    void (*flush)(void *context); /* behind each batch; NULL: none */
    void *flush_context;
    struct queue urgent, deferred;
    int urgent_count;
    const atomic_int *admitted; /* NULL, or the calls in urgent and on their way behind it */
    int64_t gather_us;
    bool gathering;             /* there are urgent jobs, and the transaction is put off for more */
    int64_t deferred_due; /* monotonic ms at which the deferred jobs get a transaction of their own */
    atomic_bool stopping;
};

static void queue_init(struct queue *queue) {
    queue->head = NULL;
    queue->tail = &queue->head;
}

static void queue_push(struct queue *queue, struct job *job) {
    job->next = NULL;
    *queue->tail = job;
    queue->tail = &job->next;
}

/* Whether more are on their way behind the writer than wait for it, and may still join them. The lock is held. */
static bool is_outnumbered(const struct writer *writer) {
    return writer->admitted && writer->urgent_count < WRITER_BATCH_MAX &&
           2 * writer->urgent_count < atomic_load(writer->admitted);
}

/* Moves up to limit jobs from one queue behind another; returns how many. */
static int queue_move(struct queue *from, struct queue *to, int limit) {
    int count = 0;
    while (from->head && count < limit) {
        struct job *job = from->head;
        from->head = job->next;
        if (!from->head)
            from->tail = &from->head;
        queue_push(to, job);
        count++;
    }
    return count;
}

static int push(struct writer *writer, struct job *job, bool deferred) {
    pthread_mutex_lock(&writer->lock);
    bool refused = writer->stopping && !deferred;
    if (!refused) {
        bool wake = deferred ? !writer->deferred.head : !writer->urgent.head;
        if (deferred && wake)
            writer->deferred_due = clock_monotonic_ms() + WRITER_DEFER_MS;
        queue_push(deferred ? &writer->deferred : &writer->urgent, job);
        if (!deferred)
            writer->urgent_count++;
        if (writer->gathering)
            wake = !is_outnumbered(writer);
        if (wake)
            pthread_cond_signal(&writer->wake);
    }
    pthread_mutex_unlock(&writer->lock);
    return refused ? -1 : 0;
}

int writer_submit(struct writer *writer, struct job *job) {
    return push(writer, job, false);
}
int writer_defer(struct writer *writer, struct job *job) {
    return push(writer, job, true);
}

/* Waits on the condition until due (monotonic µs); returns whether that came. The lock is held. */
static bool wait_until(struct writer *writer, int64_t due) {
    struct timespec when = {.tv_sec = due / 1000000, .tv_nsec = due % 1000000 * 1000};
    return pthread_cond_timedwait(&writer->wake, &writer->lock, &when) == ETIMEDOUT;
}

/* Waits for more urgent jobs, if that is worth it. The lock is held. */
static void gather(struct writer *writer) {
    int64_t due = clock_monotonic_us() + writer->gather_us;
    writer->gathering = true;
    while (!writer->stopping && is_outnumbered(writer) && !wait_until(writer, due)) {
    }
    writer->gathering = false;
}

/* Takes the next batch; false when the writer is to end and nothing is left. */
static bool take_batch(struct writer *writer, struct queue *deferred, struct queue *urgent) {
    queue_init(deferred);
    queue_init(urgent);
    pthread_mutex_lock(&writer->lock);
    while (!writer->urgent.head && !writer->stopping) {
        if (!writer->deferred.head)
            pthread_cond_wait(&writer->wake, &writer->lock);
        else if (clock_monotonic_ms() < writer->deferred_due)
            wait_until(writer, writer->deferred_due * 1000);
        else
            break;
    }
    if (writer->urgent.head)
        gather(writer);
    int deferred_count = queue_move(&writer->deferred, deferred, WRITER_BATCH_MAX);
    int urgent_count = queue_move(&writer->urgent, urgent, WRITER_BATCH_MAX);
    writer->urgent_count -= urgent_count;
    pthread_mutex_unlock(&writer->lock);
    return deferred_count + urgent_count > 0;
}

/* Runs one job in its savepoint. Its outcome is in *status and *error; the return value tells whether the transaction is still
 * usable. */
static int run_job(struct writer *writer, struct job *job, int *status, struct error *error) {
    if (job->checks_first) {
        int64_t changes = store_changes(writer->store);
        *status = job->run(job, writer->store, error);
        return *status != 0 && (store_changes(writer->store) != changes || !store_in_transaction(writer->store)) ? -1 : 0;
    }
    if (store_savepoint(writer->store, error))
        return *status = -1;
    *status = job->run(job, writer->store, error);
    if (*status == 0)
        return *status = store_release(writer->store, error);
    return store_rollback_savepoint(writer->store);
}

struct outcome {
    int status;
    struct error error;
};

/* Runs the jobs of a queue from *index on, writing outcomes; -1 when the transaction is lost. */
static int run_queue(struct writer *writer, struct queue *queue, struct outcome *outcomes, size_t *index, struct error *error) {
    for (struct job *job = queue->head; job; job = job->next, (*index)++) {
        struct outcome *outcome = &outcomes[*index];
        *outcome = (struct outcome){0};
        metric_add(&jobs_run, 1);
        if (run_job(writer, job, &outcome->status, &outcome->error)) {
            /* Its own reason is not that of the others. */
            return error_set(error, ERROR_UNAVAILABLE, "The store can not be used now; try again later");
        }
    }
    return 0;
}

/* Gives each job its outcome; a deferred one that failed rests and is run again. */
static void finish_queue(struct writer *writer, struct queue *queue, const struct outcome *outcomes, size_t *index, int lost,
                         const struct error *error, bool deferred) {
    struct queue again;
    queue_init(&again);
    for (struct job *job = queue->head, *next; job; job = next) {
        next = job->next;
        const struct outcome *outcome = &outcomes[(*index)++];
        int status = lost ? -1 : outcome->status;
        if (deferred && status != 0 && (lost || outcome->error.code == ERROR_UNAVAILABLE) && !writer->stopping)
            queue_push(&again, job);
        else
            job->done(job, status, lost ? error : &outcome->error);
    }
    if (again.head) {
        pthread_mutex_lock(&writer->lock);
        queue_move(&writer->deferred, &again, INT32_MAX); /* what came since goes behind */
        queue_move(&again, &writer->deferred, INT32_MAX);
        writer->deferred_due = clock_monotonic_ms() + RETRY_MS;
        pthread_mutex_unlock(&writer->lock);
    }
}

static void run_batch(struct writer *writer, struct queue *deferred, struct queue *urgent, struct outcome *outcomes) {
    struct error error = {0};
    size_t index = 0;
    int lost = store_begin(writer->store, &error);
    if (!lost) {
        lost = run_queue(writer, deferred, outcomes, &index, &error) || run_queue(writer, urgent, outcomes, &index, &error);
        if (!lost)
            lost = store_commit(writer->store, &error);
        if (lost)
            store_rollback(writer->store);
    }
    metric_add(lost ? &commit_failures : &commits, 1);
    index = 0;
    finish_queue(writer, deferred, outcomes, &index, lost, &error, true);
    finish_queue(writer, urgent, outcomes, &index, lost, &error, false);
    pthread_mutex_lock(&writer->lock);
    void (*flush)(void *context) = writer->flush;
    pthread_mutex_unlock(&writer->lock);
    if (flush)
        flush(writer->flush_context);
}

static void *writer_main(void *context) {
    struct writer *writer = context;
    struct outcome *outcomes = memory_new(2 * WRITER_BATCH_MAX * sizeof *outcomes);
    struct queue deferred, urgent;
    pthread_setname_np(pthread_self(), "writer");
    while (take_batch(writer, &deferred, &urgent))
        run_batch(writer, &deferred, &urgent, outcomes);
    free(outcomes);
    return NULL;
}

struct writer *writer_new(struct store *store) {
    struct writer *writer = memory_new(sizeof *writer);
    writer->store = store;
    queue_init(&writer->urgent);
    queue_init(&writer->deferred);
    pthread_mutex_init(&writer->lock, NULL);
    clock_condition_init(&writer->wake);
    metrics_register(&commits);
    metrics_register(&commit_failures);
    metrics_register(&jobs_run);
    if (pthread_create(&writer->thread, NULL, writer_main, writer) != 0)
        abort(); /* no threads at start: nothing can work */
    return writer;
}

void writer_after_batch(struct writer *writer, void (*flush)(void *context), void *context) {
    pthread_mutex_lock(&writer->lock);
    writer->flush_context = context;
    writer->flush = flush;
    pthread_mutex_unlock(&writer->lock);
}

void writer_gather(struct writer *writer, const atomic_int *admitted, int64_t wait_us) {
    pthread_mutex_lock(&writer->lock);
    writer->admitted = admitted;
    writer->gather_us = wait_us;
    pthread_mutex_unlock(&writer->lock);
}

void writer_free(struct writer *writer) {
    pthread_mutex_lock(&writer->lock);
    writer->stopping = true;
    pthread_cond_signal(&writer->wake);
    pthread_mutex_unlock(&writer->lock);
    pthread_join(writer->thread, NULL);
    pthread_cond_destroy(&writer->wake);
    pthread_mutex_destroy(&writer->lock);
    store_close(writer->store);
    free(writer);
}
