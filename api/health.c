/* Alive, ready, metrics. */
#include "health.h"

#include "answer.h"
#include "common/kafka_health.h"
#include "common/memory.h"
#include "common/metrics.h"

/* problem: one that is not Kafka's, or NULL. */
static void respond_status(struct call *call, unsigned status, const char *word, bool problems, const char *problem) {
    struct text body = TEXT_EMPTY;
    text_json_open(&body, NULL, '{');
    text_json_string(&body, "status", word);
    if (problems)
        kafka_health_write(&body, problem);
    text_json_close(&body, '}');
    size_t length = body.length;
    http_respond(call->request, status, http_response_take("application/json", text_take(&body), length));
}

void health_live(struct call *call) {
    respond_status(call, 200, "ok", false, NULL);
}

static void respond_serving(struct call *call) {
    const char *problem = gatherer_is_overtaken(call->api->gatherer) ? GATHERER_OVERTAKEN : NULL;
    /* Changes are recorded without Kafka and deployed when it is back, so that calls are to come here all the same. */
    respond_status(call, 200, !problem && kafka_health_is_good() ? "ok" : "degraded", true, problem);
}

void health_ready(struct call *call) {
    if (atomic_load(&call->api->stopping))
        respond_status(call, 503, "stopping", true, NULL);
    else if (!atomic_load(&call->api->ready))
        respond_status(call, 503, "starting", true, NULL);
    else
        respond_serving(call);
}

void health_metrics(struct call *call) {
    struct text body = TEXT_EMPTY;
    metrics_write(&body);
    size_t length = body.length;
    http_respond(call->request, 200, http_response_take("text/plain; version=0.0.4; charset=utf-8", text_take(&body), length));
}
