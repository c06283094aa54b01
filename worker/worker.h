/* One worker: a replica of one environment, from its start to its stop. Wires the steps consume, apply, settle, ack, announce.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/kafka.h"
#include "worker/effect.h"
#include "worker/key_set.h"
#include "worker/serve.h"
#include "worker/state.h"
#include "worker/trust.h"

struct worker_options {
    const char *environment, *replica;
    const char *url;     /* where it serves, told in its presence; or NULL */
    const char *version; /* of the program */
    struct kafka_settings kafka;
    int64_t heartbeat_interval_ms;
    int64_t tombstone_delay_ms, sweep_delay_ms; /* see consume.h */
    struct trust *trust; /* NULL: nothing is verified, signed or opened */
    struct state *state;
    struct key_set_cache *cache;
    struct effects *effects; /* not started; NULL without hook and export */
    bool has_hook, has_files;
    struct serve_status *status; /* told to the serving threads */
    int wake;                    /* an eventfd: written by the effects, by librdkafka, and by whoever sets *stop */
    const atomic_bool *stop;     /* set, and wake written, to stop the worker */
    atomic_bool *reload;         /* set, and wake written, to read the credentials again */
};

enum worker_end {
    WORKER_STOPPED, /* as asked */
    WORKER_FAILED,  /* the error says why */
    WORKER_FENCED,  /* another worker runs as this replica */
};

/* Runs until it is stopped, fails or is fenced. */
enum worker_end worker_run(const struct worker_options *options, struct error *error) MUST_CHECK;

#endif
