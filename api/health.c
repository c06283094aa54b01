/* Alive, ready, metrics. */
#include "health.h"

#include "answer.h"
#include "common/kafka_health.h"
#include "common/memory.h"
#include "common/metrics.h"

static void respond_status(struct call *call, unsigned status, const char *word, bool problems) {
    struct text body = TEXT_EMPTY;
    text_json_open(&body, NULL, '{');
    text_json_string(&body, "status", word);
    if (problems)
        kafka_health_write(&body);
    text_json_close(&body, '}');
    size_t length = body.length;
    http_respond(call->request, status, http_response_take("application/json", text_take(&body), length));
}

void health_live(struct call *call) {
    respond_status(call, 200, "ok", false);
}

void health_ready(struct call *call) {
    if (atomic_load(&call->api->stopping))
        respond_status(call, 503, "stopping", true);
    else if (!atomic_load(&call->api->ready))
        respond_status(call, 503, "starting", true);
    else
        /* Changes are recorded without Kafka and deployed when it is back, so that calls are to come here all the same. */
        respond_status(call, 200, kafka_health_is_good() ? "ok" : "degraded", true);
}

void health_metrics(struct call *call) {
    struct text body = TEXT_EMPTY;
    metrics_write(&body);
    size_t length = body.length;
    http_respond(call->request, 200, http_response_take("text/plain; version=0.0.4; charset=utf-8", text_take(&body), length));
}
