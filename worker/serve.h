/* HTTP of a worker: the JWK Set of each project, single public JWKs, and how the worker is.
 *
 *   GET /projects/{project}/.well-known/jwks.json   the JWK Set (RFC 7517), with ETag and Cache-Control
 *   GET /projects/{project}/jwks/                   names, ids, types, kids and versions
 *   GET /projects/{project}/jwks/{name}             one public JWK
 *   GET /healthz /readyz /metrics
 *
 * Whatever the state holds is served from the start on; /readyz tells whether it has caught up. HEAD is answered like GET. */
#ifndef WORKER_SERVE_H
#define WORKER_SERVE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "common/error.h"
#include "common/http_settings.h"
#include "worker/key_set.h"
#include "worker/state_reader.h"

/* What the applying thread tells the serving ones. */
struct serve_status {
    atomic_bool ready;  /* has caught up */
    atomic_bool fenced; /* another worker has taken this replica's place */
};

struct serve_options {
    const char *listen;
    unsigned threads, connection_limit;
    const struct http_settings *http;
    struct key_set_cache *cache;
    struct state_reader_pool *readers;
    const struct serve_status *status;
};
struct server;

struct server *server_start(const struct serve_options *options, struct error *error) MUST_CHECK;
unsigned server_port(const struct server *server);
/* Loads TLS certificate and key again. */
void server_reload(struct server *server);
/* Answers what has begun, at most timeout_ms, and ends. NULL is allowed. */
void server_stop(struct server *server, int timeout_ms);

#endif
