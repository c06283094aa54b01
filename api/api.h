/* What the HTTP operations share: the running parts of jwk-api. */
#ifndef API_API_H
#define API_API_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/http.h"
#include "gatherer.h"
#include "publisher.h"
#include "readers.h"
#include "refusals.h"
#include "source_url.h"
#include "throttle.h"
#include "workpool.h"
#include "writer.h"

struct api_limits {
    int64_t deploy_timeout_ms; /* the longest wait for acks */
    int waiting_maximum;       /* deployments that may wait at once; more are answered 503 */
    size_t body_maximum;       /* bytes of a request's body */
    int64_t token_lifetime_ms; /* of the tokens that clients are given */
};

struct audit_publisher;
struct idempotency;

/* How URLs are fetched. */
struct api_sources {
    struct source_url_settings settings;
    int64_t refresh_minimum_ms, refresh_maximum_ms; /* bounds of what Cache-Control asks for */
    int64_t refresh_default_ms;                     /* where it says nothing */
};

struct api {
    struct api_limits limits;
    struct readers *readers;
    struct writer *writer;
    struct publisher *publisher;
    struct gatherer *gatherer;
    /* Threads for what takes long, a pool for each kind: URLs may hang, keys take processor time, imports are short. */
    struct workpool *fetching, *generating, *importing;
    struct api_sources sources;
    struct idempotency *idempotency;
    struct throttle *throttle;
    struct refusals *refusals;
    struct audit_publisher *audit;
    const char *doubt;     /* what was found at the start and stays so: a sentence for /readyz, or NULL */
    atomic_int waiting;    /* changes that were admitted and are not answered yet */
    atomic_bool ready;     /* serving */
    atomic_bool stopping;  /* new requests are refused */
};

#endif
