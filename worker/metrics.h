/* The worker's metrics. Each is changed where the thing happens. */
#ifndef WORKER_METRICS_H
#define WORKER_METRICS_H

#include "common/metrics.h"
#include "common/signature.h"

extern struct metric metric_deletes_unproven;  /* an unsigned one that was followed */
extern struct metric metric_events_past_epoch; /* of a store that another was adopted in the place of */
extern struct metric metric_events_applied, metric_events_duplicate, metric_events_malformed, metric_tombstones, metric_swept;
extern struct metric metric_events_refused[SIGNATURE_WRONG + 1]; /* by verdict; SIGNATURE_VALID is not used */
extern struct metric metric_events_replayed, metric_presence_refused, metric_private_unopened;
extern struct metric metric_acks_applied, metric_acks_failed, metric_acks_retried;
extern struct metric metric_keys, metric_lag, metric_ready, metric_failing, metric_batches, metric_state_failures;
extern struct metric metric_hooks_succeeded, metric_hooks_failed;
extern struct metric metric_requests_ok, metric_requests_not_modified, metric_requests_refused, metric_requests_failed;

/* Registers them all. Before threads start. */
void worker_metrics_register(void);

#endif
