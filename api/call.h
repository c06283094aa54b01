/* One call of the HTTP API on its way: who calls, what for, and how it is answered.
 *
 * It lives as long as its http_request. */
#ifndef API_CALL_H
#define API_CALL_H

#include <cjson/cJSON.h>

#include "api.h"
#include "etag.h"
#include "store.h"

struct call;

/* What an operation takes as its body. */
enum operation_body {
    BODY_NONE,
    BODY_JSON,      /* application/json, parsed into call->body before the handler */
    BODY_OPTIONAL,  /* the same, or nothing at all: call->body is NULL then */
    BODY_FORM,      /* application/x-www-form-urlencoded; the handler parses it */
    BODY_MULTIPART, /* multipart/form-data; the handler parses it (form.h) */
};

/* One operation: a row of the routing table (route.c). */
struct operation {
    const char *method;
    const char *path;   /* "/apiops/projects/{projectName}/jwks/{?limit,cursor}": with the query parameters that it takes */
    int roles;          /* that the token needs, all of them; OPERATION_OPEN: no token at all */
    enum operation_body takes_body;
    void (*handle)(struct call *call);
};
enum { OPERATION_OPEN = -1, PATH_PARAMETERS_MAX = 3 };

struct call {
    struct api *api;
    struct http_request *request;
    const struct operation *operation;
    char *parameters[PATH_PARAMETERS_MAX]; /* decoded, in the order of the path */
    struct store_token token;
    struct store_project project;  /* of the first parameter, when the path has {projectName} */
    cJSON *body;                   /* parsed, an object; NULL when the operation takes no JSON */
    char traceparent[TRACEPARENT_SIZE];
    int64_t wait_ms;               /* how long this caller waits for a deployment … */
    bool wait_preferred;           /* … because it said so */
    bool respond_async;
    struct etag_conditions conditions; /* If-Match and If-None-Match; owned */
    struct idempotent *idempotent; /* the first request with an Idempotency-Key (idempotency.h); NULL: it has none */
    bool results_stored;           /* that were told in answers before this call came (deployments.c) */
    bool counted;                  /* in api->waiting, and its connection suspended (change_admit()) */
};

/* Who asks, for the store; as long as the call lives. */
struct store_author call_author(const struct call *call);

/* The two handlers of the HTTP server, and its clean-up. */
void call_on_headers(void *context, struct http_request *request);
void call_on_request(void *context, struct http_request *request);
void call_on_answer(void *context, unsigned status);
void call_on_completed(void *context, struct http_request *request);

#endif
