/* The thread that does what a change demands outside of the state. */
#include "worker/effect.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "worker/hook.h"
#include "worker/metrics.h"
#include "worker/retry.h"

enum {
    EXPORT_RETRY_MS = 5000,
    POST_MS = 5,            /* the longest that a result waits for others, see post_take() */
    CLOCK_CHECK_MS = 60000, /* the wall clock may be set: a key's exp is looked at again at least this often */
    CLOCK_BACK_S = 1,       /* files that are younger than the clock by more are of before it was put back */
};

struct effects {
    struct effect_options options;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards all down to the blank line */
    pthread_cond_t wanted; /* there is something to do */
    struct effect_change *queue;
    size_t waiting; /* in the queue or taken from it and not done */
    struct effect_result *results;
    bool stopping, caught_up, export_wanted, exported, again_wanted;

    /* Of the thread alone. */
    struct retry_queue *retries;
    int64_t export_expires;  /* seconds since 1970: when a file changes by itself */
    int64_t exported_at;     /* seconds since 1970: the latest time by which a file was written */
    int64_t export_again_ms; /* monotonic; after a failure */
    bool exporting;          /* all files were asked for, and are kept from then on */
    bool sets_written;       /* all of them, since that was asked for last */
    bool opening;            /* a round over all private halves is under way */
    bool opened_all;         /* likewise */
    int64_t open_again_ms;   /* monotonic; after a round that failed */
    struct effect_result *unposted;
    int64_t unposted_since; /* monotonic ms */
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
                  string_size(p->name) + string_size(p->type) + string_size(p->kid) + string_size(p->public_key) +
                  string_size(p->sealed);
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
    change->type = copy_string(&at, p->type);
    change->public_key = copy_string(&at, p->public_key);
    change->sealed = copy_string(&at, p->sealed);
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

/* Hands over what was posted since the last time. */
static void hand_over(struct effects *effects) {
    struct effect_result *result;
    if (!effects->unposted)
        return;
    pthread_mutex_lock(&effects->mutex);
    DL_FOREACH(effects->unposted, result) {
        /* A first try leaves the queue's count together with its result; retries were not in it. */
        if (result->outcome == EFFECT_DONE || result->outcome == EFFECT_FAILED)
            effects->waiting--;
    }
    DL_CONCAT(effects->results, effects->unposted);
    pthread_mutex_unlock(&effects->mutex);
    effects->unposted = NULL;
    wake(effects);
}

/* Results are handed over at once where programs and files are waited for anyway. Where private halves are only opened, those of
 * a few milliseconds go together: each ack of its own would cost a signature here and a verification at the API. */
static void post_take(struct effects *effects, struct effect_change *change, enum effect_outcome outcome, const char *message,
                      bool was_opened) {
    const struct effect_options *options = &effects->options;
    struct effect_result *result = memory_new(sizeof *result);
    int64_t now = clock_monotonic_ms();
    result->change = change;
    result->outcome = outcome;
    result->was_opened = was_opened;
    if (message) {
        /* Whoever waits is told what comes next, too. */
        static const char next[] = "; it is tried again";
        hook_clean_message(message, strlen(message), result->message, sizeof result->message - strlen(next));
        strcat(result->message, next);
    }
    if (!effects->unposted)
        effects->unposted_since = now;
    DL_APPEND(effects->unposted, result);
    if (options->hook || options->export || options->private_files || now - effects->unposted_since >= POST_MS)
        hand_over(effects);
}

/* ---- one change ---- */

static int run_hook(struct effects *effects, const struct effect_change *change, const char *jwk, struct error *error) {
    const struct effect_options *options = &effects->options;
    struct hook_change hook_change = {
        .environment = options->environment,
        .replica = options->replica,
        .operation = event_operation_name(change->operation),
        .project = change->project_name,
        .name = change->name,
        .id = change->jwk_id,
        .version = change->version,
        .kid = change->kid,
        .jwk = jwk,
    };
    int status = hook_run(options->hook, options->hook_timeout_ms, &hook_change, error);
    metric_add(status ? &metric_hooks_failed : &metric_hooks_succeeded, 1);
    return status;
}

/* Whether the private half is needed for more than to know that it can be opened. */
static bool private_is_used(const struct effect_options *options) { return options->hook_private || options->private_files; }

/* Opens the private half where it is needed, brings its file in line, and runs the hook. A hook that only wants the public half
 * runs also when the private one can not be opened: that half is served already. */
static int carry_out(struct effects *effects, const struct effect_change *change, bool *was_opened, struct error *error) {
    const struct effect_options *options = &effects->options;
    struct text private_key = TEXT_EMPTY;
    bool deleted = change->operation == EVENT_DELETE, sealed = options->trust && change->sealed && !deleted;
    int status = 0;
    *was_opened = false;
    if (sealed && (!change->is_opened || private_is_used(options))) {
        status = trust_open_private(options->trust, change->jwk_id, change->type, change->public_key, change->sealed,
                                    &private_key, error);
        *was_opened = status == 0;
    }
    struct private_opened opened = {.epoch = change->epoch, .version = change->version, .private_key = &private_key};
    if (status == 0 && options->private_files) {
        status = private_files_update(options->private_files, change->jwk_id, change->project_name, change->name,
                                      *was_opened ? &opened : NULL, error);
        effects->opening = effects->opening || private_files_is_unfinished(options->private_files);
    }
    if (options->hook && (status == 0 || !options->hook_private)) {
        const char *jwk = deleted ? NULL : options->hook_private && *was_opened ? private_key.bytes : change->public_key;
        if (run_hook(effects, change, jwk, status ? NULL : error))
            status = -1;
    }
    text_wipe(&private_key);
    return status;
}

static bool is_caught_up(struct effects *effects) {
    pthread_mutex_lock(&effects->mutex);
    bool caught_up = effects->caught_up;
    pthread_mutex_unlock(&effects->mutex);
    return caught_up;
}

/* What was sealed before the environment got its present keys comes again, sealed for them, further on in the topic. So of what
 * nobody waits for, a private half without a key here is told only when it is tried again and all has been read. */
static void log_failure(struct effects *effects, const struct effect_change *change, bool again, const struct error *problem) {
    bool may_come_again = !change->acked && problem->code == ERROR_NOT_FOUND && !(again && is_caught_up(effects));
    log_write(may_come_again ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, "effect of a change failed", "deployment",
              change->deployment_id, "jwk", change->jwk_id, "version", LOG_NUMBER(change->version), "message", problem->message,
              NULL);
}

/* What a retry needs is its identity: the rest is in the state. */
static struct effect_change *retry_new(const struct effect_change *change) {
    struct effect_change pattern = *change;
    pattern.project_name = pattern.name = pattern.type = pattern.kid = pattern.public_key = pattern.sealed = NULL;
    pattern.was_failing = true;
    return effect_change_new(&pattern);
}

/* Has every file looked at once more, in a while. */
static void look_at_files_again(struct effects *effects) {
    int64_t again = clock_monotonic_ms() + EXPORT_RETRY_MS;
    if (effects->options.export)
        effects->export_again_ms = again;
    if (effects->options.private_files)
        effects->open_again_ms = again;
}

/* A change's first try. export_problem: NULL, or why its file could not be written. */
static void try_first_take(struct effects *effects, struct effect_change *change, const struct error *export_problem) {
    struct error problem = {.code = ERROR_NONE};
    change->was_failing = retry_queue_cancel(effects->retries, change->jwk_id);
    bool was_opened = false;
    int status = export_problem ? -1 : carry_out(effects, change, &was_opened, &problem);
    if (export_problem)
        problem = *export_problem;
    if (status == 0) {
        post_take(effects, change, EFFECT_DONE, NULL, was_opened);
    } else {
        log_failure(effects, change, false, &problem);
        /* A sweep's change has no deployment that could be told of a later success, and no version to hold it against. But what
         * was removed must not stay in a file. */
        if (change->deployment_id)
            retry_queue_add_take(effects->retries, retry_new(change), clock_monotonic_ms());
        else
            look_at_files_again(effects);
        post_take(effects, change, EFFECT_FAILED, problem.message, was_opened);
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
    pattern.type = jwk->type;
    pattern.kid = jwk->kid;
    pattern.public_key = jwk->public_key;
    pattern.sealed = jwk->sealed;
    read->full = effect_change_new(&pattern);
}

/* Writes the file of one project. */
static int export_one(struct effects *effects, const char *project_name, struct error *error) {
    int64_t now = clock_wall_ms() / 1000;
    if (now > effects->exported_at)
        effects->exported_at = now;
    return export_project(effects->options.export, project_name, now, &effects->export_expires, error);
}

static void try_again_take(struct effects *effects, struct effect_change *retry) {
    struct retry_read read = {.retry = retry};
    struct error problem = {.code = ERROR_NONE};
    bool was_opened = false;
    struct state_reader *reader = state_reader_take(effects->options.readers, &problem);
    int status = reader ? state_reader_visit(reader, retry->jwk_id, read_retry, &read, &problem) : -1;
    if (reader)
        state_reader_give(effects->options.readers, reader);
    if (status == 0 && !read.full) {
        post_take(effects, retry, EFFECT_SUPERSEDED, NULL, false);
        return;
    }
    if (status == 0 && effects->options.export)
        status = export_one(effects, read.full->project_name, &problem);
    if (status == 0)
        status = carry_out(effects, read.full, &was_opened, &problem);
    if (status == 0) {
        log_info("effect of a change succeeded after failures", "deployment", retry->deployment_id, "jwk", retry->jwk_id);
        post_take(effects, retry, EFFECT_RECOVERED, NULL, was_opened);
    } else {
        log_failure(effects, retry, true, &problem);
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
        project->failed = export_one(effects, project->name, &project->problem) != 0;
        HASH_ADD_KEYPTR(hh, projects, project->name, strlen(project->name), project);
    }
    return projects;
}

static void export_everything(struct effects *effects) {
    struct error problem;
    int64_t now = clock_wall_ms() / 1000;
    effects->export_expires = INT64_MAX;
    effects->export_again_ms = INT64_MAX;
    effects->exported_at = now;
    if (export_all(effects->options.export, now, &effects->export_expires, &problem)) {
        log_warning("exporting failed", "message", problem.message);
        effects->export_again_ms = clock_monotonic_ms() + EXPORT_RETRY_MS;
        return;
    }
    effects->sets_written = true;
}

/* Tells once that sets and private keys were all written since that was asked for last. */
static void note_exported(struct effects *effects) {
    if (!effects->exporting || (effects->options.export && !effects->sets_written) ||
        (effects->options.private_files && !effects->opened_all))
        return;
    pthread_mutex_lock(&effects->mutex);
    bool first = !effects->exported && !effects->export_wanted;
    effects->exported = effects->exported || first;
    pthread_mutex_unlock(&effects->mutex);
    if (first)
        wake(effects);
}

static void begin_opening(struct effects *effects) {
    struct error problem;
    if (!effects->options.private_files)
        return;
    effects->opening = private_files_begin_all(effects->options.private_files, &problem) == 0;
    effects->open_again_ms = INT64_MAX;
    if (!effects->opening) {
        log_warning("private key files not written", "message", problem.message);
        effects->open_again_ms = clock_monotonic_ms() + EXPORT_RETRY_MS;
    }
}

static void open_some(struct effects *effects) {
    struct error problem;
    bool done;
    if (private_files_step(effects->options.private_files, &done, &problem)) {
        log_warning("private key files not written", "message", problem.message);
        effects->opening = false;
        effects->open_again_ms = clock_monotonic_ms() + EXPORT_RETRY_MS;
    } else if (done) {
        effects->opening = false;
        effects->opened_all = true;
        metric_set(&metric_private_unopened, (int64_t)private_files_unopened(effects->options.private_files));
    }
}

/* Files from before the clock was put back may lack keys that it took for ended. */
static bool export_is_due(const struct effects *effects) {
    int64_t now = clock_wall_ms() / 1000;
    return effects->exporting && (effects->export_expires <= now || now + CLOCK_BACK_S < effects->exported_at ||
                                  effects->export_again_ms <= clock_monotonic_ms());
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
    while (!effects->stopping && !effects->queue && !effects->export_wanted && !effects->again_wanted && !effects->opening) {
        int64_t now = clock_monotonic_ms(), until = retry_queue_due(effects->retries);
        if (effects->exporting) {
            int64_t expires_in =
                effects->export_expires > INT64_MAX / 1000 ? INT64_MAX : effects->export_expires * 1000 - clock_wall_ms();
            int64_t check = expires_in < CLOCK_CHECK_MS ? now + (expires_in > 0 ? expires_in : 0) : now + CLOCK_CHECK_MS;
            if (check < until)
                until = check;
            if (effects->export_again_ms < until)
                until = effects->export_again_ms;
        }
        if (effects->open_again_ms < until)
            until = effects->open_again_ms;
        if (until <= now || export_is_due(effects))
            break;
        if (until == INT64_MAX) {
            pthread_cond_wait(&effects->wanted, &effects->mutex);
            continue;
        }
        struct timespec time = clock_moment(until);
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
        bool stopping = effects->stopping, export_wanted = effects->export_wanted, again_wanted = effects->again_wanted;
        effects->export_wanted = effects->again_wanted = false;
        pthread_mutex_unlock(&effects->mutex);
        if (stopping) {
            struct effect_change *change, *next;
            DL_FOREACH_SAFE(changes, change, next) {
                effect_change_free(change);
            }
            return NULL;
        }
        if (export_wanted) {
            effects->exporting = true;
            effects->sets_written = effects->opened_all = false;
        }
        if (again_wanted)
            retry_queue_hurry(effects->retries, clock_monotonic_ms());
        if (effects->options.export && (export_wanted || export_is_due(effects)))
            export_everything(effects);
        if (export_wanted || (again_wanted && effects->exporting) || effects->open_again_ms <= clock_monotonic_ms())
            begin_opening(effects);
        do_round_take(effects, changes);
        if (effects->opening)
            open_some(effects);
        note_exported(effects);
        try_due_retry(effects);
        hand_over(effects);
    }
}

struct effects *effects_new(const struct effect_options *options) {
    struct effects *effects = memory_new(sizeof *effects);
    effects->options = *options;
    effects->exported = !options->export && !options->private_files;
    effects->export_expires = effects->export_again_ms = effects->open_again_ms = INT64_MAX;
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
    DL_FOREACH_SAFE(effects->unposted, result, next) {
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

void effects_note_caught_up(struct effects *effects) {
    pthread_mutex_lock(&effects->mutex);
    effects->caught_up = true;
    effects->export_wanted = effects->options.export || effects->options.private_files;
    effects->exported = !effects->export_wanted;
    pthread_cond_signal(&effects->wanted);
    pthread_mutex_unlock(&effects->mutex);
}

bool effects_is_exported(struct effects *effects) {
    pthread_mutex_lock(&effects->mutex);
    bool exported = effects->exported;
    pthread_mutex_unlock(&effects->mutex);
    return exported;
}

void effects_try_again(struct effects *effects) {
    pthread_mutex_lock(&effects->mutex);
    effects->again_wanted = true;
    pthread_cond_signal(&effects->wanted);
    pthread_mutex_unlock(&effects->mutex);
}
