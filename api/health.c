/* Alive, ready, metrics. */
#include "health.h"

#include "answer.h"
#include "common/clock.h"
#include "common/kafka_health.h"
#include "common/log.h"
#include "common/log_limit.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "store_audit.h"

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
    const char *problem = gatherer_is_overtaken(call->api->gatherer) ? GATHERER_OVERTAKEN : call->api->doubt;
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

/* ---- metrics ---- */

static struct metric build_info = {.name = "jwk_api_build_info",
                                   .labels = "version=\"" JWK_VERSION "\"",
                                   .help = "1, with the version that runs as a label.",
                                   .type = METRIC_GAUGE,
                                   .value = 1};

__attribute__((constructor)) static void register_metrics(void) {
    metrics_register(&build_info);
}

struct page {
    struct gatherer *gatherer;
    struct text *body;
};

static const char lines_name[] = "jwk_api_audit_lines_waiting", replicas_name[] = "jwk_api_replicas";

static void write_replicas(void *context, const struct store_item *environment) {
    const struct page *page = context;
    const struct replica_counts counts = gatherer_count_replicas(page->gatherer, environment->name);
    const struct {
        const char *state;
        size_t count;
    } states[] = {{"ready", counts.ready}, {"catching-up", counts.catching_up}, {"offline", counts.offline}};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        const char *const labels[] = {"environment", environment->name, "state", states[i].state, NULL};
        metrics_write_value(page->body, replicas_name, labels, (int64_t)states[i].count);
    }
}

static int write_of_store(struct api *api, struct store *store, struct text *body, struct error *error) {
    struct page page = {api->gatherer, body};
    int64_t lines;
    if (store_audit_waiting(store, &lines, error))
        return -1;
    metrics_write_head(body, lines_name, "Lines of the audit trail that are not known to be in Kafka.", METRIC_GAUGE);
    metrics_write_value(body, lines_name, NULL, lines);
    metrics_write_head(body, replicas_name, "Replicas of each environment, as their heartbeats tell.", METRIC_GAUGE);
    return store_page_environments(store, "", ENVIRONMENTS_MAX, write_replicas, &page, error);
}

/* What is counted when somebody asks: it costs as much as there are environments and replicas, however many JWKs there are. */
static void write_counted(struct api *api, struct text *body) {
    static struct log_limit limit;
    struct error error;
    int64_t suppressed;
    struct store *store = readers_take(api->readers, &error);
    if ((!store || write_of_store(api, store, body, &error)) && log_limit_allows(&limit, clock_monotonic_ms(), &suppressed))
        log_error("metrics of the store can not be read", "reason", error.message, LOG_SUPPRESSED(suppressed));
    readers_give(api->readers, store);
}

void health_metrics(struct call *call) {
    struct text body = TEXT_EMPTY;
    metrics_write(&body);
    if (atomic_load(&call->api->ready))
        write_counted(call->api, &body);
    size_t length = body.length;
    http_respond(call->request, 200, http_response_take("text/plain; version=0.0.4; charset=utf-8", text_take(&body), length));
}
