/* Names and help of the worker's metrics. */
#include "worker/metrics.h"

#include <stddef.h>

#define COUNTER(variable, its_name, its_labels, its_help)                                                                      \
    struct metric variable = {.name = its_name, .labels = its_labels, .help = its_help, .type = METRIC_COUNTER}
#define GAUGE(variable, its_name, its_help) struct metric variable = {.name = its_name, .help = its_help, .type = METRIC_GAUGE}

static struct metric build_info = {.name = "jwk_worker_build_info",
                                   .labels = "version=\"" JWK_VERSION "\"",
                                   .help = "1, with the version that runs as a label.",
                                   .type = METRIC_GAUGE,
                                   .value = 1};
COUNTER(metric_events_applied, "jwk_worker_events_total", "result=\"applied\"",
        "Events read from the topic, by what they did.");
COUNTER(metric_events_duplicate, "jwk_worker_events_total", "result=\"duplicate\"", NULL);
COUNTER(metric_events_malformed, "jwk_worker_events_total", "result=\"malformed\"", NULL);
COUNTER(metric_deletes_unproven, "jwk_worker_events_total", "result=\"unproven-delete\"", NULL);
COUNTER(metric_events_past_epoch, "jwk_worker_events_total", "result=\"past-epoch\"", NULL);
COUNTER(metric_tombstones, "jwk_worker_events_total", "result=\"tombstone\"", NULL);
#define REFUSED(its_reason)                                                                                                    \
    {                                                                                                                          \
        .name = "jwk_worker_events_refused_total", .labels = "reason=\"" its_reason "\"",                                      \
        .help = "Events and tombstones refused because of their signature, or because they were replayed.",                    \
        .type = METRIC_COUNTER                                                                                                 \
    }
struct metric metric_events_refused[SIGNATURE_WRONG + 1] = {
    [SIGNATURE_MISSING] = REFUSED("missing"),
    [SIGNATURE_MALFORMED] = REFUSED("malformed"),
    [SIGNATURE_UNKNOWN_KEY] = REFUSED("unknown-key"),
    [SIGNATURE_EXPIRED_KEY] = REFUSED("expired-key"),
    [SIGNATURE_WRONG] = REFUSED("wrong"),
};
struct metric metric_events_replayed = REFUSED("replayed");
COUNTER(metric_presence_refused, "jwk_worker_presence_refused_total", NULL,
        "Hellos in the name of this replica that no key of its environment vouches for.");
GAUGE(metric_private_unopened, "jwk_worker_private_unopened",
      "Private halves that could not be opened when all files of --private-key-dir were written last.");
COUNTER(metric_swept, "jwk_worker_swept_total", NULL, "JWKs removed because a whole reading of the topic did not show them.");
COUNTER(metric_acks_applied, "jwk_worker_acks_total", "status=\"applied\"", "Acks sent, by what they say.");
COUNTER(metric_acks_failed, "jwk_worker_acks_total", "status=\"failed\"", NULL);
COUNTER(metric_acks_retried, "jwk_worker_ack_retries_total", NULL, "Acks sent again because the broker refused them.");
GAUGE(metric_keys, "jwk_worker_keys", "JWKs that this replica holds.");
GAUGE(metric_lag, "jwk_worker_lag", "Records of the events topic that are not applied yet.");
GAUGE(metric_ready, "jwk_worker_ready", "Whether the replica has caught up.");
GAUGE(metric_failing, "jwk_worker_failing", "JWKs whose hook or export fails.");
COUNTER(metric_batches, "jwk_worker_batches_total", NULL, "Transactions that applied events.");
COUNTER(metric_state_failures, "jwk_worker_state_failures_total", NULL, "Transactions that failed and were tried again.");
COUNTER(metric_hooks_succeeded, "jwk_worker_hook_runs_total", "result=\"succeeded\"", "Runs of the hook.");
COUNTER(metric_hooks_failed, "jwk_worker_hook_runs_total", "result=\"failed\"", NULL);
COUNTER(metric_requests_ok, "jwk_worker_requests_total", "code=\"200\"", "HTTP requests answered, by status.");
COUNTER(metric_requests_not_modified, "jwk_worker_requests_total", "code=\"304\"", NULL);
COUNTER(metric_requests_refused, "jwk_worker_requests_total", "code=\"4xx\"", NULL);
COUNTER(metric_requests_failed, "jwk_worker_requests_total", "code=\"5xx\"", NULL);

void worker_metrics_register(void) {
    static struct metric *const all[] = {
        &build_info,
        &metric_events_applied,
        &metric_events_duplicate,
        &metric_events_malformed,
        &metric_deletes_unproven,
        &metric_events_past_epoch,
        &metric_tombstones,
        &metric_events_refused[SIGNATURE_MISSING],
        &metric_events_refused[SIGNATURE_MALFORMED],
        &metric_events_refused[SIGNATURE_UNKNOWN_KEY],
        &metric_events_refused[SIGNATURE_EXPIRED_KEY],
        &metric_events_refused[SIGNATURE_WRONG],
        &metric_events_replayed,
        &metric_presence_refused,
        &metric_private_unopened,
        &metric_swept,
        &metric_acks_applied,
        &metric_acks_failed,
        &metric_acks_retried,
        &metric_keys,
        &metric_lag,
        &metric_ready,
        &metric_failing,
        &metric_batches,
        &metric_state_failures,
        &metric_hooks_succeeded,
        &metric_hooks_failed,
        &metric_requests_ok,
        &metric_requests_not_modified,
        &metric_requests_refused,
        &metric_requests_failed,
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        metrics_register(all[i]);
}
