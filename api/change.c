/* A change on its way. */
#include "change.h"

#include <stdlib.h>

#include "answer.h"
#include "change_group.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "idempotency.h"

static struct metric accepted = {.name = "jwk_api_changes_total",
                                 .labels = "result=\"recorded\"",
                                 .help = "Changes of JWKs, by what came of them.",
                                 .type = METRIC_COUNTER};
static struct metric refused = {.name = "jwk_api_changes_total", .labels = "result=\"refused\"", .type = METRIC_COUNTER};
static struct metric overloaded = {.name = "jwk_api_changes_total", .labels = "result=\"overloaded\"", .type = METRIC_COUNTER};

__attribute__((constructor)) static void register_metrics(void) {
    metrics_register(&accepted);
    metrics_register(&refused);
    metrics_register(&overloaded);
}

static void change_free(struct change *change) {
    if (change->free_input)
        change->free_input(change);
    store_change_clear(&change->recorded);
    for (size_t i = 0; i < change->more_count; i++)
        store_change_clear(&change->more[i]);
    free(change->more);
    free(change);
}

static int run(struct job *job, struct store *store, struct error *error) {
    struct change *change = (struct change *)job;
    struct store_author author = call_author(change->call);
    if (change->record(change, store, &author, error))
        return -1;
    int64_t first = change->recorded.sequence;
    return idempotency_record(change->call, store, first, first + (int64_t)change->more_count, error);
}

/* In the gatherer's thread: the caller went with its 202 long ago, and its place among those that wait is free now. */
static void on_settled_unwatched(struct deployment *deployment) {
    struct api *api = deployment->context;
    if (api)
        atomic_fetch_sub(&api->waiting, 1);
}

/* The place of a call that is answered at once stays taken until its deployment is settled: it bounds memory all the same. */
static struct api *keep_place(struct call *call) {
    call->counted = false;
    return call->api;
}

/* In the gatherer's thread: the caller gets its answer. */
static void on_settled(struct deployment *deployment) {
    if (deployment->context)
        answer_deployment(deployment->context, deployment);
}

void change_announce(struct api *api, struct store_change *recorded, enum event_operation operation, int64_t wait_ms,
                     void (*settled)(struct deployment *deployment), void *context) {
    struct store_outgoing *outgoing = recorded->outgoing;
    recorded->outgoing = NULL;
    /* The gatherer must know of it before any ack can come; from here on whoever waits may be answered and gone at any moment.
     */
    gatherer_expect(api->gatherer, deployment_new(recorded, operation, wait_ms, settled ? settled : on_settled, context));
    publisher_send(api->publisher, outgoing);
}

/* Announces all changes of one call; it is answered once each of them is settled. */
static void announce_all(struct change *change) {
    struct call *call = change->call;
    struct api *api = call->api;
    int64_t wait_ms = call->wait_ms;
    bool respond_async = call->respond_async;
    struct change_group *group =
        respond_async ? NULL : change_group_new(call, change->operation, change->recorded.environments, 1 + change->more_count);
    void (*settled)(struct deployment * deployment) = group ? change_group_settled : on_settled_unwatched;
    change_announce(api, &change->recorded, change->operation, wait_ms, settled, group ? (void *)group : (void *)keep_place(call));
    for (size_t i = 0; i < change->more_count; i++)
        change_announce(api, &change->more[i], change->operation, wait_ms, settled, group);
    if (respond_async)
        answer_accepted(call, change->operation, NULL);
}

static void done(struct job *job, int status, const struct error *error) {
    struct change *change = (struct change *)job;
    struct call *call = change->call;
    struct api *api = call->api;
    if (status != 0) {
        metric_add(&refused, 1);
        change_free(change);
        answer_fail_error(call, error);
        return;
    }
    metric_add(&accepted, 1);
    if (!change->recorded.environments || change->more_count) {
        if (change->recorded.environments)
            announce_all(change);
        else
            answer_nothing_deployed(call);
        change_free(change);
        return;
    }
    log_debug("change recorded", "deployment", change->recorded.deployment_id, "operation",
              event_operation_name(change->operation), "project", call->parameters[0], "actor", call->token.user, "version",
              LOG_NUMBER(change->recorded.version));
    char deployment_id[UUID_SIZE];
    memcpy(deployment_id, change->recorded.deployment_id, sizeof deployment_id);
    if (call->respond_async) {
        change_announce(api, &change->recorded, change->operation, call->wait_ms, on_settled_unwatched, keep_place(call));
        answer_accepted(call, change->operation, deployment_id);
    } else {
        change_announce(api, &change->recorded, change->operation, call->wait_ms, on_settled, call);
    }
    change_free(change);
}

int change_admit(struct call *call) {
    struct api *api = call->api;
    if (atomic_fetch_add(&api->waiting, 1) >= api->limits.waiting_maximum) {
        atomic_fetch_sub(&api->waiting, 1);
        metric_add(&overloaded, 1);
        answer_fail(call, 503, NULL);
        return -1;
    }
    call->counted = true;
    http_request_defer(call->request);
    return 0;
}

void change_submit(struct change *change) {
    struct call *call = change->call;
    struct api *api = call->api;
    change->job.run = run;
    change->job.done = done;
    if (!call->counted && change_admit(call)) {
        change_free(change);
        return;
    }
    if (writer_submit(api->writer, &change->job)) {
        change_free(change);
        answer_fail(call, 503, "The service is stopping");
    }
}
