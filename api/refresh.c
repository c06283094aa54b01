/* The thread that looks for what is due, and the fetches. The schedule is in the store: it survives a restart and takes no
 * memory. */
#include "refresh.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "change.h"
#include "common/clock.h"
#include "common/identifier.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "store_origin.h"

enum {
    FETCHES_MAX = 5,       /* at once: each is a thread … */
    OF_PROJECT_MAX = 4,    /* … of which one project has not all: its servers may hang, and others' keys change meanwhile */
    JITTER_PERCENT = 10,   /* either way, so that what was created at once is not fetched at once for ever */
    BACKOFF_DOUBLINGS = 8, /* after that many failures the pause does not grow any more */
    RETRY_MS = 1000,       /* until the store is asked again after it failed */
};

static struct metric unchanged = {.name = "jwk_api_source_refreshes_total",
                                  .labels = "result=\"unchanged\"",
                                  .help = "Fetches of JWKs from their URLs on the schedule, by what came of them.",
                                  .type = METRIC_COUNTER};
static struct metric changed = {
    .name = "jwk_api_source_refreshes_total", .labels = "result=\"changed\"", .type = METRIC_COUNTER};
static struct metric failed = {.name = "jwk_api_source_refreshes_total", .labels = "result=\"failed\"", .type = METRIC_COUNTER};
static struct metric failing = {.name = "jwk_api_sources_failing",
                                .help = "JWKs whose URL could not be fetched or used the last time.",
                                .type = METRIC_GAUGE};

__attribute__((constructor)) static void register_metrics(void) {
    metrics_register(&unchanged);
    metrics_register(&changed);
    metrics_register(&failed);
    metrics_register(&failing);
}

struct fetch;

struct refresh {
    struct api *api;
    struct workpool *pool;
    pthread_t thread;
    pthread_mutex_t lock;  /* guards all below */
    pthread_cond_t changed; /* on CLOCK_MONOTONIC */
    struct fetch *active;  /* fetches until their outcome is stored */
    unsigned active_count;
    bool look;             /* one has ended: there may be more to do */
    bool stopping;
};

/* One fetch of one JWK; strings are owned. */
struct fetch {
    struct work work;
    struct job job;
    struct refresh *refresh;
    struct fetch *next; /* of refresh->active */
    int64_t jwk_id, project_id, attachment, failures;
    char jwk_uid[UUID_SIZE];
    char *url, *kid, *etag, *last_modified;
    struct source_url_request options;
    struct jwk *jwk;    /* what was fetched; NULL: nothing new, or a failure */
    bool has_failed;
    struct error error; /* of a failure */
    int64_t checked_at, due_at;
    struct store_change recorded;
};

/* ---- when ---- */

/* ms with the jitter. */
static int64_t spread(int64_t ms) {
    uint32_t random;
    random_bytes(&random, sizeof random);
    int64_t width = ms * JITTER_PERCENT / 100;
    return ms - width + (int64_t)((uint64_t)random % (uint64_t)(2 * width + 1));
}

static int64_t within_bounds(const struct api_sources *sources, int64_t ms) {
    if (ms > sources->refresh_maximum_ms)
        ms = sources->refresh_maximum_ms;
    return ms < sources->refresh_minimum_ms ? sources->refresh_minimum_ms : ms;
}

int64_t refresh_due(const struct api_sources *sources, int64_t now, int64_t max_age) {
    return now + spread(within_bounds(sources, max_age < 0 ? sources->refresh_default_ms : max_age * 1000));
}

int64_t refresh_retry_due(const struct api_sources *sources, int64_t now, int64_t failures) {
    int doublings = failures < 1 ? 0 : failures - 1 > BACKOFF_DOUBLINGS ? BACKOFF_DOUBLINGS : (int)failures - 1;
    return now + spread(within_bounds(sources, sources->refresh_minimum_ms << doublings));
}

/* ---- one fetch ---- */

static void fetch_free(struct fetch *fetch) {
    free(fetch->url);
    free(fetch->kid);
    free(fetch->etag);
    free(fetch->last_modified);
    jwk_free(fetch->jwk);
    store_change_clear(&fetch->recorded);
    free(fetch);
}

/* It is over. What was given up is still due: it rests, and is not fetched again at once. */
static void end_fetch(struct fetch *fetch, bool is_stored) {
    struct refresh *refresh = fetch->refresh;
    pthread_mutex_lock(&refresh->lock);
    struct fetch **link = &refresh->active;
    while (*link != fetch)
        link = &(*link)->next;
    *link = fetch->next;
    refresh->active_count--;
    refresh->look = refresh->look || is_stored;
    pthread_cond_signal(&refresh->changed);
    pthread_mutex_unlock(&refresh->lock);
    fetch_free(fetch);
}

/* In the writer's transaction. */
static int record_outcome(struct job *job, struct store *store, struct error *error) {
    struct fetch *fetch = (struct fetch *)((char *)job - offsetof(struct fetch, job));
    struct store_url_outcome outcome = {.jwk_id = fetch->jwk_id,
                                        .attachment = fetch->attachment,
                                        .checked_at = fetch->checked_at,
                                        .due_at = fetch->due_at,
                                        .error = fetch->has_failed ? fetch->error.message : NULL,
                                        .etag = fetch->etag,
                                        .last_modified = fetch->last_modified};
    store_change_clear(&fetch->recorded); /* of a run that was rolled back */
    if (store_set_url_outcome(store, &outcome, error))
        return -1;
    if (!fetch->jwk)
        return 0;
    char traceparent[TRACEPARENT_SIZE];
    traceparent_new(NULL, traceparent);
    struct store_author author = {.user = REFRESH_ACTOR, .traceparent = traceparent};
    struct store_remade remade = {.jwk_id = fetch->jwk_id,
                                  .attachment = fetch->attachment,
                                  .type = jwk_type_name(jwk_type(fetch->jwk)),
                                  .kid = jwk_kid(fetch->jwk),
                                  .public_key = jwk_public_text(fetch->jwk),
                                  .private_key = jwk_has_private(fetch->jwk) ? jwk_text(fetch->jwk) : NULL};
    return store_refresh_jwk(store, &author, &remade, &fetch->recorded, error);
}

static void note_failure(struct fetch *fetch) {
    fetch->has_failed = true;
    fetch->due_at = refresh_retry_due(&fetch->refresh->api->sources, fetch->checked_at, fetch->failures + 1);
}

/* In the writer's thread, after the commit. */
static void outcome_recorded(struct job *job, int status, const struct error *error) {
    struct fetch *fetch = (struct fetch *)((char *)job - offsetof(struct fetch, job));
    struct api *api = fetch->refresh->api;
    if (status != 0 && fetch->jwk && error->code == ERROR_INVALID) {
        /* The store does not take that key, which is too large, say: a failure of the source. */
        jwk_free(fetch->jwk);
        fetch->jwk = NULL;
        fetch->error = *error;
        note_failure(fetch);
        if (writer_submit(api->writer, &fetch->job))
            end_fetch(fetch, false);
        return;
    }
    bool deployed = status == 0 && fetch->recorded.environments;
    if (status != 0)
        log_warning("refresh not recorded", "jwk", fetch->jwk_uid, "reason", error->message);
    else
        metric_add(fetch->has_failed ? &failed : deployed ? &changed : &unchanged, 1);
    /* Once when it begins and once when it ends: get and the metric tell what is between. */
    if (status == 0 && fetch->has_failed && fetch->failures == 0)
        log_warning("source fails", "jwk", fetch->jwk_uid, "reason", fetch->error.message);
    else if (status == 0 && !fetch->has_failed && fetch->failures)
        log_info("source works again", "jwk", fetch->jwk_uid, "failures", LOG_NUMBER(fetch->failures));
    if (deployed) {
        log_info("source changed", "deployment", fetch->recorded.deployment_id, "jwk", fetch->jwk_uid);
        change_announce(api, &fetch->recorded, EVENT_UPDATE, api->limits.deploy_timeout_ms, NULL, NULL);
    }
    end_fetch(fetch, status == 0);
}

static int fetch_document(struct fetch *fetch) {
    const struct api *api = fetch->refresh->api;
    struct source_url_request request = fetch->options;
    struct source_url_answer answer;
    request.url = fetch->url;
    request.etag = fetch->etag;
    request.last_modified = fetch->last_modified;
    request.cancel = workpool_stopping(fetch->refresh->pool);
    if (source_url_fetch(&api->sources.settings, &request, &answer, &fetch->error))
        return -1;
    fetch->due_at = refresh_due(&api->sources, fetch->checked_at, answer.max_age);
    int status = 0;
    if (!answer.not_modified) {
        fetch->jwk = source_url_jwk(&answer, fetch->kid, &fetch->error);
        status = fetch->jwk ? 0 : -1;
        free(fetch->etag);
        free(fetch->last_modified);
        fetch->etag = memory_string(answer.etag);
        fetch->last_modified = memory_string(answer.last_modified);
    }
    source_url_answer_free(&answer);
    return status;
}

static void run_fetch(struct work *work, bool stopping) {
    struct fetch *fetch = (struct fetch *)work;
    struct refresh *refresh = fetch->refresh;
    fetch->checked_at = clock_wall_ms();
    if (!stopping && fetch_document(fetch))
        note_failure(fetch);
    /* What was cut off by the stop says nothing of the source. */
    if (atomic_load(workpool_stopping(refresh->pool)) || writer_submit(refresh->api->writer, &fetch->job))
        end_fetch(fetch, false);
}

/* ---- the thread ---- */

static bool is_active(const struct refresh *refresh, int64_t jwk_id) {
    for (const struct fetch *fetch = refresh->active; fetch; fetch = fetch->next)
        if (fetch->jwk_id == jwk_id)
            return true;
    return false;
}

/* Whether the project has all the fetches that it may have. The lock is held. */
static bool is_busy(const struct refresh *refresh, int64_t project_id) {
    unsigned count = 0;
    for (const struct fetch *fetch = refresh->active; fetch; fetch = fetch->next)
        count += fetch->project_id == project_id;
    return count >= OF_PROJECT_MAX;
}

/* The project that has all the fetches that it may have; 0: none. */
static int64_t busy_project(struct refresh *refresh) {
    int64_t busy = 0;
    pthread_mutex_lock(&refresh->lock);
    for (const struct fetch *fetch = refresh->active; fetch && !busy; fetch = fetch->next)
        busy = is_busy(refresh, fetch->project_id) ? fetch->project_id : 0;
    pthread_mutex_unlock(&refresh->lock);
    return busy;
}

static void begin_fetch(void *context, const struct store_url_due *due) {
    struct refresh *refresh = context;
    pthread_mutex_lock(&refresh->lock);
    bool skip = refresh->stopping || refresh->active_count == FETCHES_MAX || is_active(refresh, due->jwk_id) ||
                is_busy(refresh, due->project_id);
    pthread_mutex_unlock(&refresh->lock);
    if (skip)
        return;
    struct fetch *fetch = memory_new(sizeof *fetch);
    fetch->work.run = run_fetch;
    fetch->job = (struct job){.run = record_outcome, .done = outcome_recorded};
    fetch->refresh = refresh;
    fetch->jwk_id = due->jwk_id;
    fetch->project_id = due->project_id;
    fetch->attachment = due->attachment;
    fetch->failures = due->failures;
    snprintf(fetch->jwk_uid, sizeof fetch->jwk_uid, "%s", due->jwk_uid);
    fetch->url = memory_string(due->url);
    fetch->kid = memory_string(due->options.kid);
    fetch->etag = memory_string(due->options.etag);
    fetch->last_modified = memory_string(due->options.last_modified);
    fetch->options = (struct source_url_request){.connect_timeout_ms = due->options.connect_timeout,
                                                 .read_timeout_ms = due->options.read_timeout,
                                                 .size_limit = due->options.size_limit};
    pthread_mutex_lock(&refresh->lock);
    fetch->next = refresh->active;
    refresh->active = fetch;
    refresh->active_count++;
    pthread_mutex_unlock(&refresh->lock);
    if (workpool_submit(refresh->pool, &fetch->work))
        end_fetch(fetch, false);
}

/* Begins what is due; returns when to look again (wall ms). */
static int64_t look(struct refresh *refresh) {
    const struct api_sources *sources = &refresh->api->sources;
    struct error error;
    int64_t now = clock_wall_ms(), next = INT64_MAX, count = 0;
    struct store *store = readers_take(refresh->api->readers, &error);
    int64_t horizon = now + sources->refresh_maximum_ms + sources->refresh_maximum_ms * JITTER_PERCENT / 100;
    int64_t busy = busy_project(refresh), before;
    int status = store ? 0 : -1;
    do { /* once more when a project has just got all it may have: what is due of others may stand behind more of its own */
        before = busy;
        if (status == 0)
            status = store_each_due(store, now, horizon, before, 2 * FETCHES_MAX, begin_fetch, refresh, &next, &error);
        busy = busy_project(refresh);
    } while (status == 0 && busy != 0 && busy != before);
    if (status == 0 && store_count_failing(store, &count, &error) == 0)
        metric_set(&failing, count);
    readers_give(refresh->api->readers, store);
    if (status == 0)
        return next;
    log_warning("refresh can not look into the store", "reason", error.message);
    return now + RETRY_MS;
}

/* Until due (wall ms), until a fetch has ended, or until one that was created meanwhile may be due. The lock is held. */
static void rest(struct refresh *refresh, int64_t due) {
    int64_t pause = due - clock_wall_ms(), longest = refresh->api->sources.refresh_minimum_ms / 2;
    if (pause > longest)
        pause = longest;
    if (pause < 1)
        pause = 1;
    struct timespec when = clock_moment(clock_monotonic_ms() + pause);
    while (!refresh->stopping && !refresh->look && pthread_cond_timedwait(&refresh->changed, &refresh->lock, &when) == 0) {
    }
    refresh->look = false;
}

static void *refresh_main(void *context) {
    struct refresh *refresh = context;
    pthread_setname_np(pthread_self(), "refresh");
    pthread_mutex_lock(&refresh->lock);
    while (!refresh->stopping) {
        pthread_mutex_unlock(&refresh->lock);
        int64_t next = look(refresh);
        pthread_mutex_lock(&refresh->lock);
        rest(refresh, next);
    }
    pthread_mutex_unlock(&refresh->lock);
    return NULL;
}

struct refresh *refresh_new(struct api *api) {
    struct refresh *refresh = memory_new(sizeof *refresh);
    refresh->api = api;
    refresh->pool = workpool_new("refresh-fetch", FETCHES_MAX, FETCHES_MAX);
    pthread_mutex_init(&refresh->lock, NULL);
    clock_condition_init(&refresh->changed);
    if (pthread_create(&refresh->thread, NULL, refresh_main, refresh) != 0)
        abort(); /* no threads at start: nothing can work */
    return refresh;
}

void refresh_free(struct refresh *refresh) {
    if (!refresh)
        return;
    pthread_mutex_lock(&refresh->lock);
    refresh->stopping = true;
    pthread_cond_signal(&refresh->changed);
    pthread_mutex_unlock(&refresh->lock);
    pthread_join(refresh->thread, NULL);
    workpool_free(refresh->pool);
    /* What reached the writer before is stored yet. */
    pthread_mutex_lock(&refresh->lock);
    while (refresh->active_count)
        pthread_cond_wait(&refresh->changed, &refresh->lock);
    pthread_mutex_unlock(&refresh->lock);
    pthread_cond_destroy(&refresh->changed);
    pthread_mutex_destroy(&refresh->lock);
    free(refresh);
}
