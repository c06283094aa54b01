/* The bodies of answers. */
#include "answer.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/memory.h"
#include "idempotency.h"

#define JSON_TYPE "application/json"

static const struct {
    unsigned status;
    const char *error, *message; /* message: when there is none */
} errors[] = {
    {400, "bad_request", "The request could not be read"},
    {401, "unauthorized_client", "Invalid token"},
    {403, "forbidden", "You do not have permission to perform this action"},
    {404, "not_found", "There is nothing at this path"},
    {405, "method_not_allowed", "This method is not allowed here"},
    {409, "conflict", "The request conflicts with another one"},
    {412, "precondition_failed", "The state is not the one that was made a condition"},
    {413, "content_too_large", "The request body is larger than the limit"},
    {415, "unsupported_media_type", "Content-Type must be application/json"},
    {422, "unprocessable", "The request can not be processed"},
    {429, "too_many_requests", "There were too many requests; try again later"},
    {500, "internal_error", "The request could not be completed"},
    {501, "not_implemented", "This transfer coding is not supported"},
    {503, "temporarily_unavailable", "The service can not take the request now; try again later"},
};

enum { RETRY_AFTER_S = 1 };

struct MHD_Response *answer_error(unsigned status, const char *message) {
    size_t row = 0;
    while (row + 1 < sizeof errors / sizeof *errors && errors[row].status != status)
        row++;
    struct text body = TEXT_EMPTY;
    text_json_open(&body, NULL, '{');
    text_json_string(&body, "error", errors[row].error);
    text_json_string(&body, "error_description", message ? message : errors[row].message);
    text_json_close(&body, '}');
    size_t length = body.length;
    struct MHD_Response *response = http_response_take(JSON_TYPE, text_take(&body), length);
    if (status == 503)
        http_response_header(response, "Retry-After", "1");
    return response;
}

struct MHD_Response *answer_plumbing_error(void *context, const struct http_request *request, unsigned status) {
    (void)context;
    if (status != 413)
        return answer_error(status, NULL);
    size_t limit = http_request_body_limit(request);
    if (limit == 0)
        return answer_error(status, "The request has a body, and this operation takes none");
    char *message = memory_format("The request body is larger than the limit of %zu bytes", limit);
    struct MHD_Response *response = answer_error(status, message);
    free(message);
    return response;
}

void answer_too_many(struct call *call, int64_t wait_us) {
    refusals_note(call->api->refusals, call, 429);
    struct MHD_Response *response = answer_error(429, NULL);
    http_response_retry_after(response, wait_us);
    http_respond(call->request, 429, response);
}

void answer_fail(struct call *call, unsigned status, const char *message) {
    if (status == 403)
        refusals_note(call->api->refusals, call, status);
    idempotency_end(call); /* before the caller can come again with the same key */
    http_respond(call->request, status, answer_error(status, message));
}

void answer_fail_error(struct call *call, const struct error *error) {
    switch (error->code) {
    case ERROR_INVALID:
    case ERROR_NOT_FOUND:
    case ERROR_CONFLICT: answer_fail(call, 400, error->message); break;
    case ERROR_DENIED: answer_fail(call, 403, NULL); break;
    case ERROR_PRECONDITION: answer_fail(call, 412, error->message); break;
    case ERROR_UNAVAILABLE: answer_fail(call, 503, NULL); break;
    default: answer_fail(call, 500, NULL);
    }
}

void answer_json(struct call *call, struct text *body) {
    size_t length = body->length;
    http_respond(call->request, 200, http_response_take(JSON_TYPE, text_take(body), length));
}

void answer_json_tagged(struct call *call, struct text *body, const char *etag) {
    size_t length = body->length;
    struct MHD_Response *response = http_response_take(JSON_TYPE, text_take(body), length);
    http_response_header(response, "ETag", etag);
    http_respond(call->request, 200, response);
}

void answer_not_modified(struct call *call, const char *etag) {
    struct MHD_Response *response = http_response_take(NULL, NULL, 0);
    http_response_header(response, "ETag", etag);
    http_respond(call->request, 304, response);
}

/* ---- deployments ---- */

static const char *environment_message(enum event_operation operation, const char *message) {
    return message ? message : operation == EVENT_DELETE ? "Undeployed successfully" : "Deployed successfully";
}

const char *answer_open_message(enum event_operation operation) {
    return operation == EVENT_DELETE ? "Undeployment is in progress" : "Deployment is in progress";
}

enum result_state answer_result_state(const struct store_result *result) {
    return result->state == RESULT_PENDING && result->removed_at ? RESULT_FAILED : result->state;
}

const char *answer_result_message(enum event_operation operation, const struct store_result *result) {
    if (result->removed_at && result->state != RESULT_SUCCEEDED)
        return "The environment was removed before it confirmed"; /* a failure would say that it is tried again */
    if (!result->message && result->state != RESULT_SUCCEEDED)
        return answer_open_message(operation);
    return environment_message(operation, result->message);
}

/* The sentence over all environments; a new string. */
static char *overall_message(enum event_operation operation, const struct answer_environment *environments, size_t count,
                             size_t failed) {
    const char *noun = operation == EVENT_DELETE ? "Undeployment" : "Deployment";
    if (count == 0)
        return memory_format("No environments are defined; nothing was %s",
                             operation == EVENT_DELETE ? "undeployed" : "deployed");
    if (failed == 0)
        return memory_format("%s completed successfully", noun);
    struct text text = TEXT_EMPTY;
    text_add_format(&text, "%s is not complete: %zu of %zu environments did not confirm (", noun, failed, count);
    const char *separator = "";
    for (size_t i = 0; i < count; i++) {
        if (environments[i].success)
            continue;
        text_add_format(&text, "%s%s", separator, environments[i].name);
        separator = ", ";
    }
    text_add_string(&text, ")");
    return text_take(&text);
}

void answer_write_result(struct text *text, enum event_operation operation, const struct answer_environment *environments,
                         size_t count) {
    size_t failed = 0;
    for (size_t i = 0; i < count; i++)
        failed += !environments[i].success;
    char *message = overall_message(operation, environments, count, failed);
    text_json_open(text, "deploymentResult", '{');
    text_json_boolean(text, "success", count > 0 && failed == 0);
    text_json_string(text, "message", message);
    text_json_open(text, "environmentResults", '[');
    for (size_t i = 0; i < count; i++) {
        text_json_open(text, NULL, '{');
        text_json_string(text, "environmentName", environments[i].name);
        text_json_boolean(text, "success", environments[i].success);
        text_json_string(text, "message", environment_message(operation, environments[i].message));
        text_json_close(text, '}');
    }
    text_json_close(text, ']');
    text_json_close(text, '}');
    free(message);
}

char *answer_location(const struct call *call, const char *deployment_id) {
    char *project = http_encode_segment(call->parameters[0]);
    char *location = memory_format("/apiops/projects/%s/deployments/%s/", project, deployment_id);
    free(project);
    return location;
}

static void respond_change(struct call *call, unsigned status, struct text *body, const char *deployment_id) {
    size_t length = body->length;
    char *location = deployment_id ? answer_location(call, deployment_id) : NULL;
    idempotency_answered(call, status, body->bytes, location);
    struct MHD_Response *response = http_response_take(JSON_TYPE, text_take(body), length);
    if (location)
        http_response_header(response, "Location", location);
    free(location);
    if (call->respond_async) {
        /* What had nothing to deploy is complete, and answered as such (RFC 7240 section 3: applied is what was honoured). */
        if (status == MHD_HTTP_ACCEPTED)
            http_response_header(response, "Preference-Applied", "respond-async");
    } else if (call->wait_preferred) {
        char *applied = memory_format("wait=%lld", (long long)(call->wait_ms / 1000));
        http_response_header(response, "Preference-Applied", applied);
        free(applied);
    }
    http_respond(call->request, status, response);
}

void answer_outcomes(struct call *call, enum event_operation operation, const struct answer_environment *environments,
                     size_t count, const char *deployment_id) {
    struct text body = TEXT_EMPTY;
    text_json_open(&body, NULL, '{');
    text_json_boolean(&body, "success", true);
    answer_write_result(&body, operation, environments, count);
    text_json_close(&body, '}');
    respond_change(call, 200, &body, deployment_id);
}

void answer_write_no_result(struct text *text) {
    text_json_open(text, "deploymentResult", '{');
    text_json_boolean(text, "success", true);
    text_json_string(text, "message", "Nothing had to be deployed");
    text_json_open(text, "environmentResults", '[');
    text_json_close(text, ']');
    text_json_close(text, '}');
}

void answer_nothing_deployed(struct call *call) {
    struct text body = TEXT_EMPTY;
    text_json_open(&body, NULL, '{');
    text_json_boolean(&body, "success", true);
    answer_write_no_result(&body);
    text_json_close(&body, '}');
    respond_change(call, 200, &body, NULL);
}

void answer_deployment(struct call *call, const struct deployment *deployment) {
    size_t count = deployment->change.environments->count;
    struct answer_environment *environments = memory_new(count * sizeof *environments + 1);
    for (size_t i = 0; i < count; i++)
        environments[i] = (struct answer_environment){
            .name = deployment->change.environments->items[i].name,
            .message = deployment->outcomes[i].message,
            .success = deployment->outcomes[i].settled && deployment->outcomes[i].state == RESULT_SUCCEEDED,
        };
    answer_outcomes(call, deployment->operation, environments, count, deployment->change.deployment_id);
    free(environments);
}

void answer_accepted(struct call *call, enum event_operation operation, const char *deployment_id) {
    struct text body = TEXT_EMPTY;
    text_json_open(&body, NULL, '{');
    text_json_boolean(&body, "success", true);
    text_json_open(&body, "deploymentResult", '{');
    text_json_boolean(&body, "success", false);
    text_json_string(&body, "message", answer_open_message(operation));
    text_json_open(&body, "environmentResults", '[');
    text_json_close(&body, ']');
    text_json_close(&body, '}');
    text_json_close(&body, '}');
    respond_change(call, 202, &body, deployment_id);
}
