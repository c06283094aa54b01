/* The thread that does what a change demands outside of the state. */
#include "worker/effect.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uthash.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "worker/hook.h"
#include "worker/metrics.h"
#include "worker/retry.h"

enum {
    EXPORT_RETRY_MS = 5000,
    CLOCK_CHECK_MS = 60000, /* the wall clock may be set: a key's exp is looked at again at least this often */
};

struct effects {
    struct effect_options options;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards all down to the blank line */
    pthread_cond_t wanted; /* there is something to do */
    struct effect_change *queue;
    size_t waiting; /* in the queue or taken from it and not done */
    struct effect_result *results;
    bool stopping, export_wanted, exported;

    /* Of the thread alone. */
    struct retry_queue *retries;
    int64_t export_expires;  /* seconds since 1970: when a file changes by itself */
    int64_t export_again_ms; /* monotonic; after a failure */
    bool exporting;          /* all files were asked for, and are kept from then on */
};

/* ---- changes and results ---- */

static size_t string_size(const char *text) { return text ? strlen(text) + 1 : 0; }

static const char *copy_string(char **at, const char *text) {
    if (!text)
        return NULL;
    char *copy = *at;
    size_t size = string_size(text);
    memcpy(copy, text, size);
    *at += size;
    return copy;
}

struct effect_change *effect_change_new(const struct effect_change *pattern) {
    const struct effect_change *p = pattern;
    size_t size = string_size(p->jwk_id) + string_size(p->deployment_id) + string_size(p->event_id) +
                  string_size(p->event_hash) + string_size(p->traceparent) + string_size(p->project_name) +
                  string_size(p->name) + string_size(p->kid) + string_size(p->public_key);
    struct effect_change *change = memory_new(sizeof *change + size);
    char *at = (char *)(change + 1);
    *change = *pattern;
    change->prev = change->next = NULL;
    change->jwk_id = copy_string(&at, p->jwk_id);
    change->deployment_id = copy_string(&at, p->deployment_id);
    change->event_id = copy_string(&at, p->event_id);
    change->event_hash = copy_string(&at, p->event_hash);
    change->traceparent = copy_string(&at, p->traceparent);
    change->project_name = copy_string(&at, p->project_name);
    change->name = copy_string(&at, p->name);
    change->kid = copy_string(&at, p->kid);
    change->public_key = copy_string(&at, p->public_key);
    return change;
}

void effect_change_free(struct effect_change *change) { free(change); }

void effect_result_free(struct effect_result *result) {
    effect_change_free(result->change);
    free(result);
}

static void wake(struct effects *effects) {
    uint64_t one = 1;
    ssize_t ignored = write(effects->options.wake, &one, sizeof one); /* fails only when the reader is awake anyway */
    (void)ignored;
}

static void post_take(struct effects *effects, struct effect_change *change, enum effect_outcome outcome, const char *message) {
    struct effect_result *result = memory_new(sizeof *result);
    result->change = change;
    result->outcome = outcome;
    if (message)
        hook_clean_message(message, strlen(message), result->message, sizeof result->message);
    pthread_mutex_lock(&effects->mutex);
    DL_APPEND(effects->results, result);
    /* A first try leaves the queue's count together with its result; retries were not in it. */
    if (outcome == EFFECT_DONE || outcome == EFFECT_FAILED)
        effects->waiting--;
    pthread_mutex_unlock(&effects->mutex);
    wake(effects);
}

/* ---- one change ---- */

static int run_hook(struct effects *effects, const struct effect_change *change, struct error *error) {
    const struct effect_options *options = &effects->options;
    if (!options->hook)
        return 0;
    struct hook_change hook_change = {
        .environment = options->environment,
        .replica = options->replica,
        .operation = event_operation_name(change->operation),
        .project = change->project_name,
        .name = change->name,
        .id = change->jwk_id,
        .version = change->version,
        .kid = change->kid,
        .public_key = change->operation == EVENT_DELETE ? NULL : change->public_key,
    };
    int status = hook_run(options->hook, options->hook_timeout_ms, &hook_change, error);
    metric_add(status ? &metric_hooks_failed : &metric_hooks_succeeded, 1);
    return status;
}

static void log_failure(const struct effect_change *change, const struct error *problem) {
    log_warning("effect of a change failed", "deployment", change->deployment_id, "jwk", change->jwk_id, "version",
                LOG_NUMBER(change->version), "message", problem->message);
}

/* What a retry needs is its identity: the rest is in the state. */
static struct effect_change *retry_new(const struct effect_change *change) {
    struct effect_change pattern = *change;
    pattern.project_name = pattern.name = pattern.kid = pattern.public_key = NULL;
    pattern.was_failing = true;
    return effect_change_new(&pattern);
}

/* A change's first try. export_problem: NULL, or why its file could not be written. */
static void try_first_take(struct effects *effects, struct effect_change *change, const struct error *export_problem) {
    struct error problem = {.code = ERROR_NONE};
    change->was_failing = retry_queue_cancel(effects->retries, change->jwk_id);
    int status = export_problem ? -1 : run_hook(effects, change, &problem);
    if (export_problem)
        problem = *export_problem;
    if (status == 0) {
        post_take(effects, change, EFFECT_DONE, NULL);
    } else {
        log_failure(change, &problem);
        /* A sweep's change has no deployment that could be told of a later success, and no version to hold it against. */
        if (change->deployment_id)
            retry_queue_add_take(effects->retries, retry_new(change), clock_monotonic_ms());
        post_take(effects, change, EFFECT_FAILED, problem.message);
    }
}

struct retry_read {
    const struct effect_change *retry;
    struct effect_change *full; /* with what the state holds; NULL when it holds another version */
};

static void read_retry(void *context, const struct state_jwk *jwk) {
    struct retry_read *read = context;
    if (jwk->epoch != read->retry->epoch || jwk->version != read->retry->version)
        return;
    struct effect_change pattern = *read->retry;
    pattern.project_name = jwk->project_name;
    pattern.name = jwk->name;
    pattern.kid = jwk->kid;
    pattern.public_key = jwk->public_key;
    read->full = effect_change_new(&pattern);
}

static void try_again_take(struct effects *effects, struct effect_change *retry) {
    struct retry_read read = {.retry = retry};
    struct error problem = {.code = ERROR_NONE};
    struct state_reader *reader = state_reader_take(effects->options.readers, &problem);
    int status = reader ? state_reader_visit(reader, retry->jwk_id, read_retry, &read, &problem) : -1;
    if (reader)
        state_reader_give(effects->options.readers, reader);
    if (status == 0 && !read.full) {
        post_take(effects, retry, EFFECT_SUPERSEDED, NULL);
        return;
    }
    if (status == 0 && effects->options.export)
        status = export_project(effects->options.export, read.full->project_name, clock_wall_ms() / 1000,
                                &effects->export_expires, &problem);
    if (status == 0)
        status = run_hook(effects, read.full, &problem);
    if (status == 0) {
        log_info("effect of a change succeeded after failures", "deployment", retry->deployment_id, "jwk", retry->jwk_id);
        post_take(effects, retry, EFFECT_RECOVERED, NULL);
    } else {
        log_failure(retry, &problem);
        retry_queue_add_take(effects->retries, retry, clock_monotonic_ms());
    }
    effect_change_free(read.full);
}

static void try_due_retry(struct effects *effects) {
    struct effect_change *retry = retry_queue_pop(effects->retries, clock_monotonic_ms());
    if (retry)
        try_again_take(effects, retry);
}

/* ---- files ---- */

/* One project of a round of changes: its file is written once. */
struct round_project {
    char *name;
    bool failed;
    struct error problem;
    UT_hash_handle hh;
};

static struct round_project *export_round(struct effects *effects, struct effect_change *changes) {
    struct round_project *projects = NULL, *project;
    if (!effects->options.export)
        return NULL;
    struct effect_change *change;
    DL_FOREACH(changes, change) {
        HASH_FIND_STR(projects, change->project_name, project);
        if (project)
            continue;
        project = memory_new(sizeof *project);
        project->name = memory_string(change->project_name); /* the change is given away before the round ends */
        project->failed = export_project(effects->options.export, project->name, clock_wall_ms() / 1000,
                                         &effects->export_expires, &project->problem) != 0;
        HASH_ADD_KEYPTR(hh, projects, project->name, strlen(project->name), project);
    }
    return projects;
}

static void export_everything(struct effects *effects) {
    struct error problem;
    int64_t now = clock_wall_ms() / 1000;
    effects->export_expires = INT64_MAX;
    effects->export_again_ms = INT64_MAX;
    if (export_all(effects->options.export, now, &effects->export_expires, &problem)) {
        log_warning("exporting failed", "message", problem.message);
        effects->export_again_ms = clock_monotonic_ms() + EXPORT_RETRY_MS;
        return;
    }
    pthread_mutex_lock(&effects->mutex);
    bool first = !effects->exported;
    effects->exported = true;
    pthread_mutex_unlock(&effects->mutex);
    if (first)
        wake(effects);
}

static bool export_is_due(const struct effects *effects) {
    return effects->exporting &&
           (effects->export_expires <= clock_wall_ms() / 1000 || effects->export_again_ms <= clock_monotonic_ms());
}

/* ---- the thread ---- */

static bool is_stopping(struct effects *effects) {
    pthread_mutex_lock(&effects->mutex);
    bool stopping = effects->stopping;
    pthread_mutex_unlock(&effects->mutex);
    return stopping;
}

static void do_round_take(struct effects *effects, struct effect_change *changes) {
    struct round_project *projects = export_round(effects, changes), *project, *next_project;
    struct effect_change *change, *next;
    DL_FOREACH_SAFE(changes, change, next) {
        if (is_stopping(effects)) {
            effect_change_free(change);
            continue;
        }
        project = NULL;
        if (projects)
            HASH_FIND_STR(projects, change->project_name, project);
        try_first_take(effects, change, project && project->failed ? &project->problem : NULL);
        /* In turn with new changes, so that neither waits for all of the other. */
        try_due_retry(effects);
    }
    HASH_ITER(hh, projects, project, next_project) {
        HASH_DEL(projects, project);
        free(project->name);
        free(project);
    }
}

/* Waits until something is to be done; takes the queue. With the mutex held. */
static struct effect_change *wait_for_work(struct effects *effects) {
    while (!effects->stopping && !effects->queue && !effects->export_wanted) {
        int64_t now = clock_monotonic_ms(), until = retry_queue_due(effects->retries);
        if (effects->exporting) {
            int64_t expires_in =
                effects->export_expires > INT64_MAX / 1000 ? INT64_MAX : effects->export_expires * 1000 - clock_wall_ms();
            int64_t check = expires_in < CLOCK_CHECK_MS ? now + (expires_in > 0 ? expires_in : 0) : now + CLOCK_CHECK_MS;
            if (effects->export_expires != INT64_MAX && check < until)
                until = check;
            if (effects->export_again_ms < until)
                until = effects->export_again_ms;
        }
        if (until <= now)
            break;
        if (until == INT64_MAX) {
            pthread_cond_wait(&effects->wanted, &effects->mutex);
            continue;
        }
        struct timespec time = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
        pthread_cond_clockwait(&effects->wanted, &effects->mutex, CLOCK_MONOTONIC, &time);
    }
    struct effect_change *changes = effects->queue;
    effects->queue = NULL;
    return changes;
}

static void *run(void *context) {
    struct effects *effects = context;
    pthread_setname_np(pthread_self(), "effect");
    for (;;) {
        pthread_mutex_lock(&effects->mutex);
        struct effect_change *changes = wait_for_work(effects);
        bool stopping = effects->stopping, export_wanted = effects->export_wanted;
        effects->export_wanted = false;
        pthread_mutex_unlock(&effects->mutex);
        if (stopping) {
            struct effect_change *change, *next;
            DL_FOREACH_SAFE(changes, change, next) {
                effect_change_free(change);
            }
            return NULL;
        }
        if (export_wanted)
            effects->exporting = true;
        if (export_wanted || export_is_due(effects))
            export_everything(effects);
        do_round_take(effects, changes);
        try_due_retry(effects);
    }
}

struct effects *effects_new(const struct effect_options *options) {
    struct effects *effects = memory_new(sizeof *effects);
    effects->options = *options;
    effects->exported = !options->export;
    effects->export_expires = effects->export_again_ms = INT64_MAX;
    effects->retries = retry_queue_new(options->retry_initial_ms, options->retry_maximum_ms);
    pthread_mutex_init(&effects->mutex, NULL);
    pthread_cond_init(&effects->wanted, NULL);
    return effects;
}

void effects_resume_take(struct effects *effects, struct effect_change *change) {
    change->was_failing = true;
    retry_queue_add_take(effects->retries, change, clock_monotonic_ms());
}

int effects_start(struct effects *effects, struct error *error) {
    int code = pthread_create(&effects->thread, NULL, run, effects);
    if (code != 0)
        return error_set(error, ERROR_UNAVAILABLE, "starting a thread: %s", strerror(code));
    return 0;
}

void effects_stop(struct effects *effects) {
    pthread_mutex_lock(&effects->mutex);
    effects->stopping = true;
    pthread_cond_signal(&effects->wanted);
    pthread_mutex_unlock(&effects->mutex);
    pthread_join(effects->thread, NULL);
}

void effects_free(struct effects *effects) {
    if (!effects)
        return;
    struct effect_change *change, *next_change;
    DL_FOREACH_SAFE(effects->queue, change, next_change) {
        effect_change_free(change);
    }
    struct effect_result *result, *next;
    DL_FOREACH_SAFE(effects->results, result, next) {
        effect_result_free(result);
    }
    retry_queue_free(effects->retries);
    pthread_cond_destroy(&effects->wanted);
    pthread_mutex_destroy(&effects->mutex);
    free(effects);
}

size_t effects_room(struct effects *effects) {
    pthread_mutex_lock(&effects->mutex);
    size_t room = effects->waiting < EFFECT_QUEUE_MAX ? EFFECT_QUEUE_MAX - effects->waiting : 0;
    pthread_mutex_unlock(&effects->mutex);
    return room;
}

void effects_submit_take(struct effects *effects, struct effect_change *change) {
    pthread_mutex_lock(&effects->mutex);
    DL_APPEND(effects->queue, change);
    effects->waiting++;
    pthread_cond_signal(&effects->wanted);
    pthread_mutex_unlock(&effects->mutex);
}

struct effect_result *effects_take_results(struct effects *effects) {
    pthread_mutex_lock(&effects->mutex);
    struct effect_result *results = effects->results;
    effects->results = NULL;
    pthread_mutex_unlock(&effects->mutex);
    return results;
}

void effects_export_all(struct effects *effects) {
    if (!effects->options.export)
        return;
    pthread_mutex_lock(&effects->mutex);
    effects->export_wanted = true;
    pthread_cond_signal(&effects->wanted);
    pthread_mutex_unlock(&effects->mutex);
}

bool effects_is_exported(struct effects *effects) {
    pthread_mutex_lock(&effects->mutex);
    bool exported = effects->exported;
    pthread_mutex_unlock(&effects->mutex);
    return exported;
}
