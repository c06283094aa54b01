/* The bodies of answers, as the API family has them. */
#ifndef API_ANSWER_H
#define API_ANSWER_H

#include "call.h"
#include "deployment.h"

/* An error: {"error":…,"error_description":…}. message must be fit for the caller. */
struct MHD_Response *answer_error(unsigned status, const char *message);
/* For the HTTP plumbing's own errors (413, 429, 400). */
struct MHD_Response *answer_plumbing_error(void *context, const struct http_request *request, unsigned status);
/* Answers 429; wait_us: until another request makes sense. */
void answer_too_many(struct call *call, int64_t wait_us);
/* Answers the call with an error of that status. */
void answer_fail(struct call *call, unsigned status, const char *message);
/* Answers with the status that belongs to the error's code; nothing of an internal one is shown. */
void answer_fail_error(struct call *call, const struct error *error);
/* Answers 200 with a JSON body, which is taken. */
void answer_json(struct call *call, struct text *body);
/* The same with an ETag; and 304 for a caller who has that state already. */
void answer_json_tagged(struct call *call, struct text *body, const char *etag);
void answer_not_modified(struct call *call, const char *etag);
/* What one environment says, for a body. */
struct answer_environment {
    const char *name, *message; /* message NULL: the standard sentence of success */
    bool success;
};
/* Answers a change whose deployment is settled: the body with deploymentResult, and Location. */
void answer_deployment(struct call *call, const struct deployment *deployment);
/* The same from outcomes gathered otherwise; deployment_id NULL leaves Location out. */
void answer_outcomes(struct call *call, enum event_operation operation, const struct answer_environment *environments,
                     size_t count, const char *deployment_id);
/* Answers a change that had nothing to deploy. */
void answer_nothing_deployed(struct call *call);
/* Answers 202: the change is recorded and nobody waits. deployment_id NULL leaves Location out. */
void answer_accepted(struct call *call, enum event_operation operation, const char *deployment_id);

/* The path of a deployment of the call's project, for Location; a new string. */
char *answer_location(const struct call *call, const char *deployment_id);
/* Appends the member "deploymentResult"; the second for a change that had nothing to deploy. */
void answer_write_result(struct text *text, enum event_operation operation, const struct answer_environment *environments,
                         size_t count);
void answer_write_no_result(struct text *text);
/* The state of an environment's stored result as it is told: one that waits for a removed environment waits no more. */
enum result_state answer_result_state(const struct store_result *result);
/* The sentence for it. */
const char *answer_result_message(enum event_operation operation, const struct store_result *result);
/* The sentence while it is open. */
const char *answer_open_message(enum event_operation operation);

#endif
