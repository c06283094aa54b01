/* The Idempotency-Key header. */
#include "idempotency.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "common/clock.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "form.h"
#include "store_history.h"
#include "store_idempotency.h"

#define HEADER "Idempotency-Key"

static struct metric repeated = {.name = "jwk_api_idempotent_repeats_total",
                                 .help = "Changes that were asked for again and answered from memory.",
                                 .type = METRIC_COUNTER};

__attribute__((constructor)) static void register_metrics(void) {
    metrics_register(&repeated);
}

/* The first request with a key, from its beginning until its answer is stored. */
struct idempotent {
    struct job job; /* stores the answer */
    struct idempotency *idempotency;
    char *id; /* user and key, as one string: they are unique together */
    struct store_request request;
    bool answered; /* all below is guarded by the lock */
    unsigned status;
    char *body, *location;
    int references; /* the call's, and the job's */
    UT_hash_handle hh;
};

struct idempotency {
    struct writer *writer;
    int64_t lifetime_ms;
    pthread_mutex_t lock;        /* guards the table and its entries */
    struct idempotent *requests; /* by id */
};

struct idempotency *idempotency_new(struct writer *writer, int64_t lifetime_ms) {
    struct idempotency *idempotency = memory_new(sizeof *idempotency);
    idempotency->writer = writer;
    idempotency->lifetime_ms = lifetime_ms;
    pthread_mutex_init(&idempotency->lock, NULL);
    return idempotency;
}

void idempotency_free(struct idempotency *idempotency) {
    if (!idempotency)
        return;
    pthread_mutex_destroy(&idempotency->lock);
    free(idempotency);
}

/* Gives up one reference, and the place in the table. The lock is held. */
static void release(struct idempotent *entry, bool forget) {
    if (forget && entry->hh.tbl) {
        HASH_DEL(entry->idempotency->requests, entry);
        entry->hh.tbl = NULL;
    }
    if (--entry->references > 0)
        return;
    free((char *)entry->request.user);
    free((char *)entry->request.key);
    free(entry->id);
    free(entry->body);
    free(entry->location);
    free(entry);
}

/* ---- the request ---- */

static bool key_is_valid(const char *key) {
    size_t length = strlen(key);
    for (const char *at = key; *at; at++)
        if (*at < '!' || *at > '~')
            return false;
    return length >= 1 && length <= IDEMPOTENCY_KEY_MAX;
}

/* The fields of a form, without the boundary, which clients choose anew for each attempt. False when it is none. */
static bool hash_form(const char *type, const char *body, size_t length, unsigned char out[32]) {
    struct form *form = memory_new(sizeof *form);
    struct text text = TEXT_EMPTY;
    struct error error;
    bool is_form = form_parse(type, body, length, form, &error) == 0;
    for (size_t i = 0; is_form && i < form->count; i++) {
        unsigned char hash[32];
        sha256_bytes(form->fields[i].bytes, form->fields[i].length, hash);
        text_add(&text, form->fields[i].name, strlen(form->fields[i].name) + 1);
        text_add(&text, (const char *)hash, sizeof hash);
    }
    if (is_form)
        sha256_bytes(text.bytes ? text.bytes : "", text.length, out);
    text_free(&text);
    free(form);
    return is_form;
}

/* What is asked for: the operation, its parameters as they were decoded, and the body. */
static void hash_request(const struct call *call, unsigned char out[32]) {
    struct text text = TEXT_EMPTY;
    unsigned char body_hash[32];
    size_t length;
    const char *body = http_request_body(call->request, &length);
    if (!body)
        body = "";
    if (call->operation->takes_body != BODY_MULTIPART ||
        !hash_form(http_request_header(call->request, "Content-Type"), body, length, body_hash))
        sha256_bytes(body, length, body_hash);
    text_add(&text, (const char *)body_hash, sizeof body_hash);
    text_add_format(&text, "%s %s", call->operation->method, call->operation->path);
    for (int i = 0; i < PATH_PARAMETERS_MAX && call->parameters[i]; i++)
        text_add(&text, call->parameters[i], strlen(call->parameters[i]) + 1);
    sha256_bytes(text.bytes, text.length, out);
    text_free(&text);
}

static struct idempotent *entry_new(const struct call *call, const char *key) {
    struct idempotent *entry = memory_new(sizeof *entry);
    entry->idempotency = call->api->idempotency;
    entry->request.user = memory_string(call->token.user);
    entry->request.key = memory_string(key);
    hash_request(call, entry->request.hash);
    entry->id = memory_format("%s\n%s", entry->request.user, entry->request.key);
    entry->references = 1;
    return entry;
}

/* ---- answering again ---- */

static void answer_again(struct call *call, unsigned status, char *body, const char *location) {
    struct MHD_Response *response = http_response_take("application/json", body, strlen(body));
    if (location)
        http_response_header(response, "Location", location);
    if (status == 202)
        http_response_header(response, "Preference-Applied", "respond-async");
    http_response_header(response, "Idempotency-Replayed", "true");
    metric_add(&repeated, 1);
    http_respond(call->request, status, response);
}

static void answer_misused(struct call *call) {
    answer_fail(call, 422, "Idempotency-Key was used for another request already");
}

static void answer_in_progress(struct call *call) {
    struct MHD_Response *response = answer_error(409, "The first request with this Idempotency-Key is still in progress");
    http_response_header(response, "Retry-After", "1");
    http_respond(call->request, 409, response);
}

/* The environments' results of all deployments of one request, put together. */
struct rebuilt {
    struct answer_environment *environments; /* names and messages owned */
    size_t count;
    enum event_operation operation;
    size_t deployments;
    char *location; /* of the deployment; NULL where there are several */
    const struct call *call;
};

static struct answer_environment *rebuilt_environment(struct rebuilt *rebuilt, const char *name) {
    for (size_t i = 0; i < rebuilt->count; i++)
        if (strcmp(rebuilt->environments[i].name, name) == 0)
            return &rebuilt->environments[i];
    rebuilt->environments = memory_resize(rebuilt->environments, (rebuilt->count + 1) * sizeof *rebuilt->environments);
    struct answer_environment *environment = &rebuilt->environments[rebuilt->count++];
    *environment = (struct answer_environment){.name = memory_string(name), .success = true};
    return environment;
}

static void rebuild_deployment(void *context, const struct store_deployment *deployment) {
    struct rebuilt *rebuilt = context;
    free(rebuilt->location);
    rebuilt->location = rebuilt->deployments++ ? NULL : answer_location(rebuilt->call, deployment->uid);
    rebuilt->operation = deployment->operation;
    for (size_t i = 0; i < deployment->result_count; i++) {
        const struct store_result *result = &deployment->results[i];
        struct answer_environment *environment = rebuilt_environment(rebuilt, result->environment_name);
        bool success = result->state == RESULT_SUCCEEDED;
        if (!environment->success || (success && !result->message))
            continue;
        free((char *)environment->message);
        environment->message = memory_string(answer_result_message(deployment->operation, result));
        environment->success = success;
    }
}

/* Makes the answer that a crash has prevented from the present state of what was recorded. */
static int rebuild(struct call *call, struct store *store, const struct store_remembered *remembered, struct error *error) {
    struct rebuilt rebuilt = {.call = call};
    int status = remembered->first ? store_each_deployment_between(store, remembered->first, remembered->last,
                                                                   rebuild_deployment, &rebuilt, error)
                                   : 0;
    if (status == 0) {
        struct text body = TEXT_EMPTY;
        text_json_open(&body, NULL, '{');
        text_json_boolean(&body, "success", true);
        if (remembered->first)
            answer_write_result(&body, rebuilt.operation, rebuilt.environments, rebuilt.count);
        else
            answer_write_no_result(&body);
        text_json_close(&body, '}');
        answer_again(call, 200, text_take(&body), rebuilt.location);
    }
    for (size_t i = 0; i < rebuilt.count; i++) {
        free((char *)rebuilt.environments[i].name);
        free((char *)rebuilt.environments[i].message);
    }
    free(rebuilt.environments);
    free(rebuilt.location);
    return status;
}

/* ---- the first request, and its repetitions ---- */

/* Answers from a request that is under way or has just been answered; the lock is held and given up. */
static void answer_from_entry(struct call *call, const struct idempotent *first, const struct idempotent *again) {
    bool same = memcmp(first->request.hash, again->request.hash, sizeof first->request.hash) == 0, answered = first->answered;
    unsigned status = first->status;
    char *body = answered ? memory_string(first->body) : NULL, *location = answered ? memory_string(first->location) : NULL;
    pthread_mutex_unlock(&first->idempotency->lock);
    if (same && answered)
        answer_again(call, status, body, location);
    else {
        free(body);
        if (same)
            answer_in_progress(call);
        else
            answer_misused(call);
    }
    free(location);
}

/* Answers from the store; returns 1 when the store knows nothing of the request, 0 when answered, -1 with an error. */
static int answer_from_store(struct call *call, const struct idempotent *entry, struct error *error) {
    struct store_remembered remembered = {0};
    bool found = false;
    struct store *store = readers_take(call->api->readers, error);
    int status = store ? store_find_request(store, &entry->request, clock_wall_ms(), &found, &remembered, error) : -1;
    if (status == 0 && !found)
        status = 1;
    else if (status == 0 && memcmp(remembered.hash, entry->request.hash, sizeof remembered.hash) != 0)
        answer_misused(call);
    else if (status == 0 && remembered.status == 0)
        status = rebuild(call, store, &remembered, error);
    else if (status == 0) {
        answer_again(call, remembered.status, remembered.body, remembered.location);
        remembered.body = NULL;
    }
    readers_give(call->api->readers, store);
    store_remembered_clear(&remembered);
    return status;
}

int idempotency_begin(struct call *call) {
    struct idempotency *idempotency = call->api->idempotency;
    const char *key = http_request_header(call->request, HEADER);
    if (!key)
        return 0;
    bool several = http_request_header_count(call->request, HEADER) > 1;
    if (several || !key_is_valid(key)) {
        answer_fail(call, 400,
                    several ? HEADER " is given more than once" : HEADER " must be 1 to 255 visible ASCII characters");
        return -1;
    }
    struct idempotent *entry = entry_new(call, key), *first;
    pthread_mutex_lock(&idempotency->lock);
    HASH_FIND_STR(idempotency->requests, entry->id, first);
    if (first) {
        answer_from_entry(call, first, entry);
        pthread_mutex_lock(&idempotency->lock);
        release(entry, false);
        pthread_mutex_unlock(&idempotency->lock);
        return -1;
    }
    HASH_ADD_KEYPTR(hh, idempotency->requests, entry->id, strlen(entry->id), entry);
    pthread_mutex_unlock(&idempotency->lock);
    /* Whoever had the key before has committed before it left the table, so the store tells now. */
    struct error error;
    int status = answer_from_store(call, entry, &error);
    if (status == 1) {
        call->idempotent = entry;
        return 0;
    }
    if (status < 0)
        answer_fail_error(call, &error);
    pthread_mutex_lock(&idempotency->lock);
    release(entry, true);
    pthread_mutex_unlock(&idempotency->lock);
    return -1;
}

int idempotency_record(struct call *call, struct store *store, int64_t first, int64_t last, struct error *error) {
    if (!call->idempotent)
        return 0;
    int64_t now = clock_wall_ms();
    return store_remember_request(store, &call->idempotent->request, first, last, now,
                                  now + call->api->idempotency->lifetime_ms, error);
}

static int run(struct job *job, struct store *store, struct error *error) {
    const struct idempotent *entry = (const struct idempotent *)job;
    return store_remember_answer(store, &entry->request, entry->status, entry->location, entry->body, error);
}

static void done(struct job *job, int status, const struct error *error) {
    struct idempotent *entry = (struct idempotent *)job;
    struct idempotency *idempotency = entry->idempotency;
    if (status != 0) /* it is rebuilt when it is asked for */
        log_warning("answer is not remembered", "reason", error->message);
    pthread_mutex_lock(&idempotency->lock);
    release(entry, true);
    pthread_mutex_unlock(&idempotency->lock);
}

void idempotency_answered(struct call *call, unsigned status, const char *body, const char *location) {
    struct idempotent *entry = call->idempotent;
    if (!entry)
        return;
    pthread_mutex_lock(&entry->idempotency->lock);
    entry->answered = true;
    entry->status = status;
    entry->body = memory_string(body);
    entry->location = memory_string(location);
    entry->references++;
    pthread_mutex_unlock(&entry->idempotency->lock);
    entry->job = (struct job){.run = run, .done = done};
    if (writer_defer(entry->idempotency->writer, &entry->job))
        abort(); /* a deferred job is never refused */
}

void idempotency_end(struct call *call) {
    struct idempotent *entry = call->idempotent;
    if (!entry)
        return;
    struct idempotency *idempotency = entry->idempotency;
    call->idempotent = NULL;
    pthread_mutex_lock(&idempotency->lock);
    release(entry, !entry->answered);
    pthread_mutex_unlock(&idempotency->lock);
}
