/* The deployments of a project. */
#include "deployments.h"

#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "common/clock.h"
#include "common/memory.h"
#include "listing.h"
#include "store_history.h"

static const char *const result_names[] = {"IN_PROGRESS", "SUCCEEDED", "FAILED"};

/* ---- results that are on their way into the store ---- */

/* A job behind them: it writes nothing, and once its transaction is over so is theirs. */
struct look {
    struct job job;
    struct http_request *request;
};

static int run_look(struct job *job, struct store *store, struct error *error) {
    (void)job, (void)store, (void)error;
    return 0;
}

static void look_done(struct job *job, int status, const struct error *reason) {
    struct http_request *request = ((struct look *)job)->request;
    (void)status, (void)reason; /* whatever became of the transaction: what is stored is the answer */
    free(job);
    http_request_resume(request);
}

/* An answer leaves before its result is committed: whoever asks afterwards is to find here what it told. True when the
 * operation is to return, and is called again once those results are stored. */
static bool defer_until_stored(struct call *call) {
    if (call->results_stored || gatherer_all_stored(call->api->gatherer))
        return false;
    call->results_stored = true;
    struct look *look = memory_new(sizeof *look);
    *look = (struct look){.job = {.run = run_look, .done = look_done}, .request = call->request};
    http_request_defer(call->request);
    if (writer_submit(call->api->writer, &look->job)) {
        free(look);
        answer_fail(call, 503, "The service is stopping");
    }
    return true;
}

/* ---- one deployment ---- */

struct view {
    struct text body;
    int64_t project_id;
    bool found;
};

/* The state of the whole: failed when one environment failed or there was none, in progress while one is pending. */
static enum result_state state_of(const struct store_deployment *deployment) {
    enum result_state state = deployment->result_count ? RESULT_SUCCEEDED : RESULT_FAILED;
    for (size_t i = 0; i < deployment->result_count; i++) {
        enum result_state one = answer_result_state(&deployment->results[i]);
        if (one == RESULT_FAILED)
            return RESULT_FAILED;
        if (one == RESULT_PENDING)
            state = RESULT_PENDING;
    }
    return state;
}

/* Whether an environment that has failed is still there. */
static bool is_tried_again(const struct store_deployment *deployment) {
    for (size_t i = 0; i < deployment->result_count; i++)
        if (deployment->results[i].state == RESULT_FAILED && !deployment->results[i].removed_at)
            return true;
    return false;
}

static const char *overall_message(const struct store_deployment *deployment, enum result_state state) {
    static const char *const words[][4] = {
        {"No environments were defined; nothing was deployed", "Deployment completed successfully",
         "Deployment failed in at least one environment; it is tried again",
         "Deployment is not complete: an environment was removed before it confirmed"},
        {"No environments were defined; nothing was undeployed", "Undeployment completed successfully",
         "Undeployment failed in at least one environment; it is tried again",
         "Undeployment is not complete: an environment was removed before it confirmed"}};
    const char *const *sentences = words[deployment->operation == EVENT_DELETE];
    if (deployment->result_count == 0)
        return sentences[0];
    if (state == RESULT_PENDING)
        return answer_open_message(deployment->operation);
    return sentences[state == RESULT_SUCCEEDED ? 1 : is_tried_again(deployment) ? 2 : 3];
}

/* When it was settled; 0 before that. */
static int64_t settled_at(const struct store_result *result) {
    return result->settled_at || answer_result_state(result) == RESULT_PENDING ? result->settled_at : result->removed_at;
}

static void write_results(struct text *body, const struct store_deployment *deployment) {
    enum result_state state = state_of(deployment);
    text_json_open(body, "deploymentResult", '{');
    text_json_boolean(body, "success", state == RESULT_SUCCEEDED);
    text_json_string(body, "message", overall_message(deployment, state));
    text_json_open(body, "environmentResults", '[');
    for (size_t i = 0; i < deployment->result_count; i++) {
        const struct store_result *result = &deployment->results[i];
        int64_t settled = settled_at(result);
        char time[CLOCK_TEXT_SIZE];
        text_json_open(body, NULL, '{');
        text_json_string(body, "environmentName", result->environment_name);
        text_json_boolean(body, "success", result->state == RESULT_SUCCEEDED);
        text_json_string(body, "message", answer_result_message(deployment->operation, result));
        text_json_string(body, "state", result_names[answer_result_state(result)]);
        text_json_string(body, "time", settled ? clock_format(settled, time) : NULL);
        text_json_close(body, '}');
    }
    text_json_close(body, ']');
    text_json_close(body, '}');
}

/* The names that the store keeps with commas between them, as a list. */
static void write_changed(struct text *body, const char *changed) {
    text_json_open(body, "changed", '[');
    for (const char *at = changed ? changed : ""; *at;) {
        size_t length = strcspn(at, ",");
        char *name = memory_bytes(at, length);
        text_json_string(body, NULL, name);
        free(name);
        at += length + (at[length] == ',');
    }
    text_json_close(body, ']');
}

static void write_deployment(struct text *body, const struct store_deployment *deployment) {
    char time[CLOCK_TEXT_SIZE];
    text_json_open(body, NULL, '{');
    text_json_string(body, "deploymentId", deployment->uid);
    text_json_string(body, "jwkId", deployment->jwk_uid);
    text_json_string(body, "jwkName", deployment->jwk_name);
    text_json_string(body, "operation", event_operation_name(deployment->operation));
    text_json_integer(body, "version", deployment->version);
    write_changed(body, deployment->changed);
    text_json_string(body, "actor", deployment->actor);
    text_json_string(body, "startTime", clock_format(deployment->created_at, time));
    text_json_string(body, "state", result_names[state_of(deployment)]);
    write_results(body, deployment);
    text_json_close(body, '}');
}

static void view_deployment(void *context, const struct store_deployment *deployment) {
    struct view *view = context;
    if (deployment->project_id != view->project_id)
        return;
    view->found = true;
    listing_open(&view->body);
    write_deployment(&view->body, deployment);
    listing_close(&view->body);
}

/* Reads the deployment of the path into a view. */
static int read_view(struct call *call, struct view *view, struct error *error) {
    *view = (struct view){.project_id = call->project.id};
    struct store *store = readers_take(call->api->readers, error);
    int status = store ? store_find_deployment(store, call->parameters[1], view_deployment, view, error) : -1;
    readers_give(call->api->readers, store);
    if (status == 0 && !view->found)
        status = error_set(error, ERROR_NOT_FOUND, "Deployment (id: %s) is not found!", call->parameters[1]);
    return status;
}

void deployments_get(struct call *call) {
    struct error error;
    struct view view;
    if (defer_until_stored(call))
        return;
    if (read_view(call, &view, &error) == 0)
        answer_json(call, &view.body);
    else
        answer_fail_error(call, &error);
    text_free(&view.body);
}

/* ---- lists ---- */

static void list_one(void *context, const struct store_deployment *deployment) {
    struct listing *listing = context;
    if (listing_admit(listing, NULL, deployment->sequence))
        write_deployment(&listing->body, deployment);
}

static int read_list(struct listing *listing, struct store *store, struct error *error) {
    struct store_deployment_filter filter = {
        .project_id = listing->call->project.id, .jwk_id = listing->jwk_id, .before = listing->number};
    int status = store_each_deployment(store, &filter, listing->page + 1, list_one, listing, error);
    return status && error->code == ERROR_NOT_FOUND ? listing_refuse_cursor(error) : status;
}

/* Lists the deployments of the project's JWK of that name or of that id; of all when both are NULL. */
static void list(struct call *call, const char *name, const char *uid) {
    static const struct listing_kind kind = {.mark = 'd', .by_number = true, .read = read_list};
    struct error error;
    int64_t jwk_id = 0;
    int status = 0;
    if (defer_until_stored(call))
        return;
    if (name || uid) {
        struct store *store = readers_take(call->api->readers, &error);
        status = !store ? -1
                 : name ? store_find_jwk_id(store, call->project.id, name, &jwk_id, &error)
                        : store_find_jwk_id_by_uid(store, call->project.id, uid, &jwk_id, &error);
        readers_give(call->api->readers, store);
    }
    if (status == 0)
        listing_answer(call, &kind, jwk_id);
    else
        answer_fail_error(call, &error);
}

void deployments_list(struct call *call) {
    list(call, NULL, http_request_query(call->request, "jwkId"));
}

void deployments_list_of_jwk(struct call *call) {
    list(call, call->parameters[1], NULL);
}
