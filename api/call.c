/* A call from its headers to its operation: route, token, roles, project, media type, preferences, body. */
#include "call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "answer.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "idempotency.h"
#include "prefer.h"
#include "route.h"

static struct metric answers[] = {
    {.name = "jwk_api_requests_total",
     .labels = "code=\"2xx\"",
     .help = "Requests answered, by the class of the status.",
     .type = METRIC_COUNTER},
    {.name = "jwk_api_requests_total", .labels = "code=\"3xx\"", .type = METRIC_COUNTER},
    {.name = "jwk_api_requests_total", .labels = "code=\"4xx\"", .type = METRIC_COUNTER},
    {.name = "jwk_api_requests_total", .labels = "code=\"5xx\"", .type = METRIC_COUNTER},
};

__attribute__((constructor)) static void register_metrics(void) {
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        metrics_register(&answers[i]);
}

void call_on_answer(void *context, unsigned status) {
    (void)context;
    if (status >= 200 && status < 600)
        metric_add(&answers[status / 100 - 2], 1);
}

/* ---- authorise ---- */

/* The token of "Authorization: Bearer TOKEN" (RFC 6750 section 2.1), or NULL. */
static const char *bearer_token(const struct http_request *request) {
    const char *header = http_request_header(request, "Authorization");
    if (!header || strncasecmp(header, "Bearer ", 7) != 0)
        return NULL;
    header += 7;
    header += strspn(header, " ");
    return *header ? header : NULL;
}

/* 401 with a challenge; error="invalid_token" only when there was a token, and not when another scheme was tried (RFC 6750
 * section 3.1). */
static void refuse_token(struct call *call, bool had_token) {
    refusals_note(call->api->refusals, call, 401);
    struct MHD_Response *response = answer_error(401, NULL);
    http_response_header(response, "WWW-Authenticate",
                         had_token ? "Bearer realm=\"jwk-api\", error=\"invalid_token\", error_description=\"Invalid token\""
                                   : "Bearer realm=\"jwk-api\"");
    http_respond(call->request, 401, response);
}

/* Checks token, roles and project; answers and returns -1 when one fails. */
static int authorise(struct call *call) {
    struct error error;
    const char *token = bearer_token(call->request);
    if (!token || http_request_header_count(call->request, "Authorization") != 1) {
        refuse_token(call, token != NULL);
        return -1;
    }
    unsigned char hash[32];
    int64_t wait_us;
    token_hash(token, hash);
    if (!throttle_admits(call->api->throttle, call->request, hash, &wait_us)) {
        answer_too_many(call, wait_us);
        return -1;
    }
    struct store *store = readers_take(call->api->readers, &error);
    if (!store) {
        answer_fail_error(call, &error);
        return -1;
    }
    /* Found by an index over SHA-256: how far a look-up gets tells at most how many bits of hashes agree, and nobody can choose
     * tokens by their hashes' bits towards one that is not known. So nothing here compares secrets. */
    int status = store_find_token(store, hash, clock_wall_ms(), &call->token, &error);
    if (status != 0) {
        if (error.code == ERROR_DENIED) {
            throttle_failed(call->api->throttle, call->request);
            refuse_token(call, true);
        } else {
            answer_fail_error(call, &error);
        }
    } else if (!throttle_take(call->api->throttle, hash, &wait_us)) {
        answer_too_many(call, wait_us);
        status = -1;
    } else if (!roles_allow(call->token.roles, call->operation->roles)) {
        answer_fail(call, 403, NULL);
        status = -1;
    } else if (route_has_project(call->operation)) {
        status = store_find_project(store, &call->token, call->parameters[0], &call->project, &error);
        if (status != 0 && error.code == ERROR_NOT_FOUND)
            answer_fail(call, 404, error.message);
        else if (status != 0)
            answer_fail_error(call, &error);
    }
    readers_give(call->api->readers, store);
    return status;
}

/* ---- headers ---- */

/* Whether the value is of that media type, whatever parameters follow. */
static bool is_type(const char *value, const char *type) {
    size_t length = strlen(type);
    if (!value || strncasecmp(value, type, length) != 0)
        return false;
    value += length;
    value += strspn(value, " \t");
    return *value == '\0' || *value == ';';
}

#define JSON_TYPE "application/json"

/* Whether a value of that type names no charset, or the one that JSON has (RFC 8259 section 8.1). */
static bool is_utf8(const char *value) {
    char charset[8];
    int found = http_header_parameter(value, value + strlen(value), "charset", charset, sizeof charset);
    return found == 0 || (found == 1 && strcasecmp(charset, "utf-8") == 0);
}

/* What is wrong with the type of a body of that kind; NULL when nothing is. */
static const char *refuse_type(enum operation_body kind, const char *type) {
    if (kind == BODY_MULTIPART) /* its boundary is form.c's to judge */
        return is_type(type, "multipart/form-data") ? NULL : "Content-Type must be multipart/form-data";
    if (kind == BODY_FORM)
        return is_type(type, "application/x-www-form-urlencoded") ? NULL
                                                                 : "Content-Type must be application/x-www-form-urlencoded";
    if (!is_type(type, JSON_TYPE))
        return "Content-Type must be " JSON_TYPE;
    return is_utf8(type) ? NULL : "The charset of " JSON_TYPE " must be utf-8, or be left out of Content-Type";
}

/* A request without any body, to an operation that does without. */
static bool has_no_body(const struct call *call) {
    const char *length = http_request_header(call->request, "Content-Length");
    return call->operation->takes_body == BODY_OPTIONAL && !http_request_header(call->request, "Content-Type") &&
           !http_request_header(call->request, "Transfer-Encoding") && (!length || strcmp(length, "0") == 0);
}

/* Bytes of a form: it is taken from anybody, over as many connections as there may be, and has a few short fields. */
enum { FORM_MAXIMUM = 16384 };

/* Refuses a body that is not what the operation takes; answers and returns -1. */
static int check_body_headers(struct call *call) {
    enum operation_body kind = call->operation->takes_body;
    if (kind == BODY_NONE || has_no_body(call))
        return 0;
    const char *encoding = http_request_header(call->request, "Content-Encoding");
    const char *type = http_request_header(call->request, "Content-Type");
    const char *wrong = http_request_header_count(call->request, "Content-Type") > 1 ? "Content-Type is given more than once"
                                                                                     : refuse_type(kind, type);
    if (wrong) {
        answer_fail(call, 415, wrong);
        return -1;
    }
    if (encoding && strcasecmp(encoding, "identity") != 0) {
        answer_fail(call, 415, "Content-Encoding is not supported");
        return -1;
    }
    size_t maximum = call->api->limits.body_maximum;
    http_request_limit_body(call->request, kind == BODY_FORM && maximum > FORM_MAXIMUM ? FORM_MAXIMUM : maximum);
    return 0;
}

static int find_operation(struct call *call) {
    char allow[64];
    switch (route_find(http_request_method(call->request), http_request_path(call->request), &call->operation, call->parameters,
                       allow)) {
    case ROUTE_FOUND: return 0;
    case ROUTE_METHOD: {
        struct MHD_Response *response = answer_error(405, NULL);
        http_response_header(response, "Allow", allow);
        http_respond(call->request, 405, response);
        return -1;
    }
    case ROUTE_MALFORMED: answer_fail(call, 400, "The path is not percent-encoded correctly"); return -1;
    default: answer_fail(call, 404, NULL); return -1;
    }
}

/* Bytes of a path parameter. What is longer is cut at a character's edge, so that a sentence about it is a whole one. */
enum { PARAMETER_MAX = 2 * NAME_LENGTH_MAX };

/* A path parameter that cannot be a name is refused before any look-up, so that no odd bytes get into a sentence. */
static int check_parameters(struct call *call) {
    static const char cut[] = "…"; /* is still longer than any name: it is found nowhere */
    for (int i = 0; i < PATH_PARAMETERS_MAX && call->parameters[i]; i++) {
        char *parameter = call->parameters[i];
        size_t length = strlen(parameter), end = PARAMETER_MAX - sizeof cut;
        if (!json_utf8_is_valid(parameter, length)) {
            answer_fail(call, 400, "The path is not valid UTF-8");
            return -1;
        }
        if (length <= PARAMETER_MAX)
            continue;
        while ((parameter[end] & 0xc0) == 0x80)
            end--;
        memcpy(parameter + end, cut, sizeof cut);
    }
    return 0;
}

struct query_check {
    struct call *call;
    struct text names; /* that were there, each with a line end behind: none may be there twice */
    bool refused;
};

static bool check_parameter(void *context, const char *name) {
    struct query_check *check = context;
    char shown[JSON_SHOWN_SIZE];
    bool known = route_takes_query(check->call->operation, name), repeated = false;
    if (known) {
        char *line = memory_format("%s\n", name);
        repeated = check->names.bytes && strstr(check->names.bytes, line);
        text_add_string(&check->names, line);
        free(line);
    }
    if (known && !repeated)
        return true;
    char *message = memory_format(known ? "Query parameter %s is given more than once!" : "Query parameter %s is not known!",
                                  json_utf8_is_valid(name, strlen(name)) ? json_shown(name, shown) : "(not UTF-8)");
    answer_fail(check->call, 400, message);
    free(message);
    check->refused = true;
    return false;
}

/* Refuses query parameters that the operation does not take; answers and returns -1. */
static int check_query(struct call *call) {
    struct query_check check = {.call = call};
    http_request_each_query(call->request, check_parameter, &check);
    text_free(&check.names);
    return check.refused ? -1 : 0;
}

void call_on_headers(void *context, struct http_request *request) {
    struct call *call = memory_new(sizeof *call);
    call->api = context;
    call->request = request;
    http_request_set_data(request, call);
    if (find_operation(call) || check_parameters(call))
        return;
    bool open = call->operation->roles == OPERATION_OPEN;
    if (open && call->operation->takes_body == BODY_NONE)
        return;
    if (atomic_load(&call->api->stopping)) {
        answer_fail(call, 503, "The service is stopping");
        return;
    }
    if (!atomic_load(&call->api->ready)) {
        answer_fail(call, 503, "The service is starting");
        return;
    }
    if ((!open && authorise(call)) || check_query(call) || check_body_headers(call) || open)
        return;
    call->conditions.if_match = http_request_header_list(request, "If-Match");
    call->conditions.if_none_match = http_request_header_list(request, "If-None-Match");
    const char *parent = http_request_header(request, "traceparent");
    if (parent && traceparent_is_valid(parent))
        snprintf(call->traceparent, sizeof call->traceparent, "%s", parent);
    else
        traceparent_new(NULL, call->traceparent);
    struct preferences preferences;
    prefer_read(request, &preferences);
    call->respond_async = preferences.respond_async;
    call->wait_preferred = preferences.wait_s >= 0 && preferences.wait_s * 1000 <= call->api->limits.deploy_timeout_ms;
    call->wait_ms = call->wait_preferred ? preferences.wait_s * 1000 : call->api->limits.deploy_timeout_ms;
}

/* ---- body ---- */

/* Parses the body into call->body; answers and returns -1 when it is not a JSON object. */
static int read_body(struct call *call) {
    struct error error;
    size_t length;
    const char *bytes = http_request_body(call->request, &length);
    call->body = json_parse(bytes ? bytes : "", length, &error);
    http_request_drop_body(call->request);
    if (call->body && !cJSON_IsObject(call->body)) {
        json_wipe(call->body);
        call->body = NULL;
        error_set(&error, ERROR_INVALID, "It is not a JSON object");
    }
    if (call->body)
        return 0;
    error_prefix(&error, "Request body");
    answer_fail_error(call, &error);
    return -1;
}

static bool is_change(const struct operation *operation) {
    return operation->roles != OPERATION_OPEN && strcmp(operation->method, "GET") != 0;
}

static bool wants_json(const struct call *call) {
    size_t length;
    http_request_body(call->request, &length);
    return call->operation->takes_body == BODY_JSON || (call->operation->takes_body == BODY_OPTIONAL && length > 0);
}

struct store_author call_author(const struct call *call) {
    return (struct store_author){
        .user = call->token.user,
        .traceparent = call->traceparent,
        .project_id = call->project.id,
        .project_uid = call->project.uid,
        .project_name = call->parameters[0],
        .precondition = etag_conditions_exist(&call->conditions) ? etag_check : NULL,
        .precondition_context = &call->conditions,
    };
}

void call_on_request(void *context, struct http_request *request) {
    (void)context;
    struct call *call = http_request_data(request);
    /* Before the body is read and dropped: it is part of what a key stands for. */
    if (is_change(call->operation) && idempotency_begin(call))
        return;
    if (wants_json(call) && read_body(call))
        return;
    call->operation->handle(call);
}

void call_on_completed(void *context, struct http_request *request) {
    (void)context;
    struct call *call = http_request_data(request);
    if (!call)
        return;
    if (call->counted)
        atomic_fetch_sub(&call->api->waiting, 1);
    idempotency_end(call);
    free(call->conditions.if_match);
    free(call->conditions.if_none_match);
    for (int i = 0; i < PATH_PARAMETERS_MAX; i++)
        free(call->parameters[i]);
    json_wipe(call->body);
    free(call);
}
