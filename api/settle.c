/* Settling what no ack will settle. */
#include "settle.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "roster.h"

enum { ROWS = 1000 }; /* pending results looked at in one transaction */

struct settle_job {
    struct job job;
    struct settler *settler;
    char environment[NAME_LENGTH_MAX + 1];
    uint64_t stamp;  /* of the environment when the job began */
    bool all_stored; /* then: no outcome was on its way into the store behind the job's back */
    struct position *positions;
    size_t position_count;
    char (*failing)[UUID_SIZE];
    const char **failing_list;
    size_t failing_count;
    struct roster *roster; /* as of then; one reference, owned */
    int64_t after, left;   /* where the next transaction goes on; rows that stay pending */
    bool more;
    struct settle_job *next; /* of the finished ones */
};

struct settler {
    struct writer *writer;
    int event;
    pthread_mutex_t lock; /* guards finished */
    struct settle_job *finished;
};

struct settler *settler_new(struct writer *writer, int event) {
    struct settler *settler = memory_new(sizeof *settler);
    settler->writer = writer;
    settler->event = event;
    pthread_mutex_init(&settler->lock, NULL);
    return settler;
}

static void job_free(struct settle_job *job) {
    free(job->positions);
    free(job->failing);
    free(job->failing_list);
    roster_release(job->roster);
    free(job);
}

static char *success_message(void *context, const struct store_success *success) {
    return roster_message(context, success, NULL);
}

static int run(struct job *base, struct store *store, struct error *error) {
    struct settle_job *job = (struct settle_job *)base;
    int known = store_has_environment(store, job->environment, error);
    if (known < 0)
        return -1;
    if (known == 0) {
        log_warning("replicas connect to an environment that is not defined: nothing is deployed to it", "environment",
                    job->environment, "hint", "jwk-api environment add");
        job->more = false;
        return 0;
    }
    const struct store_coverage coverage = {.environment = job->environment,
                                            .positions = job->positions,
                                            .position_count = job->position_count,
                                            .except = job->failing_list,
                                            .except_count = job->failing_count};
    int64_t after = job->after, left = job->left;
    if (store_settle_pending(store, &coverage, clock_wall_ms(), success_message, job->roster, ROWS, &after, &job->more, &left,
                             error))
        return -1;
    job->after = after;
    job->left = left;
    return 0;
}

static void done(struct job *base, int status, const struct error *error) {
    struct settle_job *job = (struct settle_job *)base;
    struct settler *settler = job->settler;
    if (status != 0) {
        log_warning("pending results are not settled", "environment", job->environment, "reason", error->message);
        job->left = 1; /* something may be left: the next heartbeat tries again */
    } else if (job->more) {
        if (writer_defer(settler->writer, &job->job))
            abort(); /* a deferred job is never refused */
        return;
    }
    pthread_mutex_lock(&settler->lock);
    job->next = settler->finished;
    settler->finished = job;
    pthread_mutex_unlock(&settler->lock);
    if (write(settler->event, &(uint64_t){1}, sizeof(uint64_t)) < 0)
        log_debug("event is full", "environment", job->environment);
}

/* Lowers the least position per partition to this replica's; a partition that a replica does not know has none. */
static void take_least(struct settle_job *job, const struct replica *replica, bool first) {
    if (first) {
        job->position_count = replica->position_count;
        job->positions = memory_new(replica->position_count * sizeof *job->positions + 1);
        if (replica->position_count)
            memcpy(job->positions, replica->positions, replica->position_count * sizeof *job->positions);
        return;
    }
    for (size_t i = 0; i < job->position_count; i++) {
        int64_t sequence = 0;
        for (size_t j = 0; j < replica->position_count; j++)
            if (replica->positions[j].partition == job->positions[i].partition)
                sequence = replica->positions[j].sequence;
        if (sequence < job->positions[i].sequence)
            job->positions[i].sequence = sequence;
    }
}

void settler_consider(struct settler *settler, struct replica_environment *environment, bool all_stored) {
    /* While a topic is filled again, positions tell nothing of what was deployed before. */
    if ((environment->replicas && environment->replicas->floor->until == INT64_MAX) || !environment->unsettled ||
        environment->settling)
        return;
    struct settle_job *job = memory_new(sizeof *job);
    job->job = (struct job){.run = run, .done = done};
    job->settler = settler;
    snprintf(job->environment, sizeof job->environment, "%s", environment->name);
    job->stamp = environment->unsettled_stamp;
    job->all_stored = all_stored;
    bool first = true, unclear = false;
    for (const struct replica *replica = environment->replicas; replica; replica = replica->next) {
        if (!replica_is_live(replica))
            continue;
        take_least(job, replica, first);
        first = false;
        unclear = unclear || replica->failing_truncated || replica->is_ahead;
        job->failing = memory_resize(job->failing, (job->failing_count + replica->failing_count) * sizeof *job->failing + 1);
        if (replica->failing_count)
            memcpy(job->failing + job->failing_count, replica->failing, replica->failing_count * sizeof *job->failing);
        job->failing_count += replica->failing_count;
    }
    if (first || unclear) { /* nobody is live, too many hooks fail to tell which deployments are done, or one is ahead */
        job_free(job);
        return;
    }
    job->failing_list = memory_new(job->failing_count * sizeof *job->failing_list + 1);
    for (size_t i = 0; i < job->failing_count; i++)
        job->failing_list[i] = job->failing[i];
    job->roster = roster_share(environment);
    environment->settling = true;
    if (writer_defer(settler->writer, &job->job))
        abort(); /* a deferred job is never refused */
}

void settler_take_finished(struct settler *settler, struct replica_table *replicas) {
    pthread_mutex_lock(&settler->lock);
    struct settle_job *job = settler->finished;
    settler->finished = NULL;
    pthread_mutex_unlock(&settler->lock);
    for (struct settle_job *next; job; job = next) {
        next = job->next;
        struct replica_environment *environment = replicas_environment(replicas, job->environment);
        if (environment) {
            environment->settling = false;
            if (job->left == 0 && job->all_stored && environment->unsettled_stamp == job->stamp)
                environment->unsettled = false;
        }
        job_free(job);
    }
}

void settler_free(struct settler *settler) {
    if (!settler)
        return;
    for (struct settle_job *job = settler->finished, *next; job; job = next) {
        next = job->next;
        job_free(job);
    }
    pthread_mutex_destroy(&settler->lock);
    free(settler);
}
