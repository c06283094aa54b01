/* From a path to an answer. */
#include "worker/serve.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/http.h"
#include "common/json.h"
#include "common/kafka_health.h"
#include "common/log.h"
#include "common/log_limit.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "worker/metrics.h"

enum {
    CONNECTION_MEMORY = 16384, /* of a request's line and headers */
};

struct server {
    struct serve_options options;
    struct tls_files tls;
    struct http_server *http;
};

/* ---- answers ---- */

static void count_answer(unsigned status) {
    if (status < 300)
        metric_add(&metric_requests_ok, 1);
    else if (status < 400)
        metric_add(&metric_requests_not_modified, 1);
    else
        metric_add(status < 500 ? &metric_requests_refused : &metric_requests_failed, 1);
}

static struct MHD_Response *error_response(const char *error, const char *description) {
    struct text body = TEXT_EMPTY;
    text_json_open(&body, NULL, '{');
    text_json_string(&body, "error", error);
    text_json_string(&body, "error_description", description);
    text_json_close(&body, '}');
    size_t length = body.length;
    return http_response_take("application/json", text_take(&body), length);
}

static void respond_error(struct http_request *request, unsigned status, const char *error, const char *description) {
    count_answer(status);
    http_respond(request, status, error_response(error, description));
}

static void respond_not_found_take(struct http_request *request, char *description) {
    respond_error(request, 404, "not_found", description);
    free(description);
}

static void respond_no_project(struct http_request *request, const char *project) {
    respond_not_found_take(request, memory_format("Project (%s) is not found!", project));
}

/* The reason is ours to know: it goes to the log, which must not grow with the requests. */
static void respond_failure(struct http_request *request, const struct error *problem) {
    static struct log_limit limit;
    int64_t suppressed;
    if (log_limit_allows(&limit, clock_monotonic_ms(), &suppressed))
        log_error("request failed", "path", http_request_path(request), "reason", problem->message, LOG_SUPPRESSED(suppressed));
    respond_error(request, 500, "internal_error", "The replica can not read its state");
}

static void respond_text(struct http_request *request, unsigned status, const char *type, struct text *body) {
    size_t length = body->length;
    count_answer(status);
    http_respond(request, status, http_response_take(type, text_take(body), length));
}

/* ---- JWK Sets ---- */

/* Whether If-None-Match names the entity tag; weak comparison, as RFC 9110 section 13.1.2 asks. */
static bool matches(const char *header, const char *etag) {
    size_t length = strlen(etag);
    if (!header)
        return false;
    for (const char *at = header; *at;) {
        at += strspn(at, " \t,");
        if (*at == '*')
            return true;
        if (strncmp(at, "W/", 2) == 0)
            at += 2;
        if (strncmp(at, etag, length) == 0)
            return true;
        /* Skips one entity tag; what is not one ends the list. */
        const char *end = *at == '"' ? strchr(at + 1, '"') : NULL;
        if (!end)
            return false;
        at = end + 1;
    }
    return false;
}

static void respond_key_set(struct server *server, struct http_request *request, const char *project) {
    const struct key_set *set;
    struct error problem;
    if (key_set_get(server->options.cache, project, &set, &problem)) {
        respond_failure(request, &problem);
        return;
    }
    if (!set) {
        respond_no_project(request, project);
        return;
    }
    http_request_set_data(request, (void *)(uintptr_t)set); /* released when the request is over */
    unsigned status = matches(http_request_header(request, MHD_HTTP_HEADER_IF_NONE_MATCH), set->etag) ? 304 : 200;
    count_answer(status);
    if (http_request_is_cross_origin(request))
        http_respond(request, status, key_set_response(set));
    else
        http_respond_shared(request, status, set->response);
}

/* ---- JWKs ---- */

static void respond_list(struct server *server, struct http_request *request, const char *project) {
    struct text body = TEXT_EMPTY;
    struct error problem;
    bool known = false;
    struct state_reader *reader = state_reader_take(server->options.readers, &problem);
    int status = reader ? state_reader_list(reader, project, &body, &known, &problem) : -1;
    if (reader)
        state_reader_give(server->options.readers, reader);
    if (status)
        respond_failure(request, &problem);
    else if (!known)
        respond_no_project(request, project);
    else
        respond_text(request, 200, "application/json", &body);
    text_free(&body);
}

static void respond_jwk(struct server *server, struct http_request *request, const char *project, const char *name) {
    struct text body = TEXT_EMPTY;
    struct error problem;
    bool found = false;
    struct state_reader *reader = state_reader_take(server->options.readers, &problem);
    int status = reader ? state_reader_find(reader, project, name, clock_wall_ms() / 1000, &body, &found, &problem) : -1;
    if (reader)
        state_reader_give(server->options.readers, reader);
    if (status)
        respond_failure(request, &problem);
    else if (!found)
        respond_not_found_take(request, memory_format("JWK (name: %s) is not found!", name));
    else
        respond_text(request, 200, "application/jwk+json", &body);
    text_free(&body);
}

/* ---- how the worker is ---- */

static void respond_status(struct http_request *request, unsigned status, const char *word, bool problems) {
    struct text body = TEXT_EMPTY;
    text_json_open(&body, NULL, '{');
    text_json_string(&body, "status", word);
    if (problems)
        kafka_health_write(&body, NULL);
    text_json_close(&body, '}');
    respond_text(request, status, "application/json", &body);
}

static void respond_ready(struct server *server, struct http_request *request) {
    if (atomic_load(&server->options.status->fenced))
        respond_status(request, 503, "fenced", true);
    else if (!atomic_load(&server->options.status->ready))
        respond_status(request, 503, "catching up", true);
    else
        /* What it serves stays as good as what it has heard: verifiers are better off with it than without. */
        respond_status(request, 200, kafka_health_is_good() ? "ok" : "degraded", true);
}

static void respond_metrics(struct http_request *request) {
    struct text body = TEXT_EMPTY;
    metrics_write(&body);
    respond_text(request, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
}

/* ---- routing ---- */

/* Serves what lies below a project. rest begins behind the project's name. */
static void route_project(struct server *server, struct http_request *request, const char *project, const char *rest) {
    static const char list[] = "/jwks";
    if (strcmp(rest, "/.well-known/jwks.json") == 0) {
        respond_key_set(server, request, project);
        return;
    }
    if (strncmp(rest, list, sizeof list - 1) != 0) {
        respond_error(request, 404, "not_found", "There is nothing at this path");
        return;
    }
    rest += sizeof list - 1;
    if (*rest == '\0' || strcmp(rest, "/") == 0) {
        respond_list(server, request, project);
        return;
    }
    size_t length = strcspn(rest + 1, "/");
    char *name = *rest == '/' && (rest[1 + length] == '\0' || strcmp(rest + 1 + length, "/") == 0)
                     ? http_decode_segment(rest + 1, length)
                     : NULL;
    if (name && json_utf8_is_valid(name, strlen(name)))
        respond_jwk(server, request, project, name);
    else
        respond_error(request, 404, "not_found", "There is nothing at this path");
    free(name);
}

static void route(struct server *server, struct http_request *request) {
    static const char projects[] = "/projects/";
    const char *path = http_request_path(request);
    if (strncmp(path, projects, sizeof projects - 1) == 0) {
        const char *segment = path + sizeof projects - 1;
        size_t length = strcspn(segment, "/");
        char *project = http_decode_segment(segment, length);
        if (project && *project && json_utf8_is_valid(project, strlen(project)))
            route_project(server, request, project, segment + length);
        else
            respond_error(request, 404, "not_found", "There is nothing at this path");
        free(project);
    } else if (strcmp(path, "/healthz") == 0) {
        respond_status(request, 200, "ok", false);
    } else if (strcmp(path, "/readyz") == 0) {
        respond_ready(server, request);
    } else if (strcmp(path, "/metrics") == 0) {
        respond_metrics(request);
    } else {
        respond_error(request, 404, "not_found", "There is nothing at this path");
    }
}

static void on_headers(void *context, struct http_request *request) {
    const char *method = http_request_method(request);
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
        route(context, request);
        return;
    }
    count_answer(405);
    struct MHD_Response *response = error_response("method_not_allowed", "Only GET and HEAD are served here");
    http_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    http_respond(request, 405, response);
}

/* Everything is answered when the headers are in. */
static void on_request(void *context, struct http_request *request) {
    (void)context;
    respond_error(request, 500, "internal_error", "The request was not answered");
}

static struct MHD_Response *on_error(void *context, const struct http_request *request, unsigned status) {
    (void)context, (void)request;
    count_answer(status);
    if (status == MHD_HTTP_TOO_MANY_REQUESTS)
        return error_response("too_many_requests", "There were too many requests; try again later");
    return error_response("bad_request", status == 413 ? "The body is too large" : "The request is not valid HTTP");
}

static void on_completed(void *context, struct http_request *request) {
    struct server *server = context;
    const struct key_set *set = http_request_data(request);
    if (set)
        key_set_release(server->options.cache, set);
}

struct server *server_start(const struct serve_options *options, struct error *error) {
    struct server *server = memory_new(sizeof *server);
    server->options = *options;
    struct http_server_options http_options = {
        .listen = options->listen,
        .name = "http",
        .threads = options->threads,
        .connection_limit = options->connection_limit,
        .connection_memory = CONNECTION_MEMORY,
        .cors = {.methods = "GET, HEAD", .headers = "If-None-Match"},
        .context = server,
        .on_headers = on_headers,
        .on_request = on_request,
        .on_error = on_error,
        .on_completed = on_completed,
    };
    if (http_settings_apply(options->http, &server->tls, &http_options, error) == 0)
        server->http = http_server_start(&http_options, error);
    if (!server->http) {
        free(server);
        return NULL;
    }
    return server;
}

void server_reload(struct server *server) {
    http_server_reload(server->http);
}

unsigned server_port(const struct server *server) {
    return http_server_port(server->http);
}

void server_stop(struct server *server, int timeout_ms) {
    if (!server)
        return;
    http_server_quiesce(server->http);
    (void)http_server_wait_idle(server->http, timeout_ms);
    http_server_stop(server->http);
    free(server);
}
