/* The operations on the JWKs of a project. */
#include "jwks.h"

#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "change.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/jwk.h"
#include "common/memory.h"
#include "listing.h"
#include "store_origin.h"
#include "store_retiring.h"

enum { DESCRIPTION_MAX = 4096 }; /* bytes */

/* ---- reading ---- */

static void write_item(struct text *body, const struct store_jwk *jwk) {
    text_json_string(body, "name", jwk->name);
    text_json_string(body, "description", jwk->description);
    text_json_string(body, "projectId", jwk->project_uid);
    text_json_string(body, "sourceType", jwk->source_type);
    text_json_string(body, "sourceId", jwk->source_id);
    text_json_string(body, "sourceUrl", jwk->source_url);
    text_json_string(body, "type", jwk->type);
    text_json_string(body, "kid", jwk->kid);
}

static void list_one(void *context, const struct store_jwk *jwk) {
    struct listing *listing = context;
    struct store_jwk item = *jwk;
    if (!listing_admit(listing, jwk->name, 0))
        return;
    item.project_uid = listing->call->project.uid;
    text_json_open(&listing->body, NULL, '{');
    write_item(&listing->body, &item);
    text_json_close(&listing->body, '}');
}

static int read_list(struct listing *listing, struct store *store, struct error *error) {
    return store_each_jwk(store, listing->call->project.id, listing->name, listing->page + 1, list_one, listing, error);
}

void jwks_list(struct call *call) {
    static const struct listing_kind kind = {.mark = 'j', .read = read_list};
    listing_answer(call, &kind, 0);
}

/* "RSA" to "rsa": the member under which get shows the material. */
static const char *material_member(const char *type) {
    for (enum jwk_type i = JWK_RSA; i <= JWK_OKP; i++)
        if (strcmp(jwk_type_name(i), type) == 0)
            return jwk_type_member(i);
    return "material";
}

/* How the source of a JWK that came from a URL does. It is told beside the JWK and is no part of what its entity tag names. */
static void write_source_status(struct text *body, const struct store_url_status *source) {
    char time[CLOCK_TEXT_SIZE];
    text_json_string(body, "sourceStatus", source->failures ? "FAILING" : "OK");
    text_json_string(body, "sourceError", source->error);
    text_json_string(body, "sourceCheckedTime", clock_format(source->checked_at, time));
    text_json_string(body, "sourceNextCheckTime", clock_format(source->due_at, time));
}

/* The keys that it replaced and that are still served, as a JSON list. */
struct retiring {
    struct text list;
    size_t count;
};

static void write_retiring(void *context, const char *kid, int64_t until) {
    struct retiring *retiring = context;
    char time[CLOCK_TEXT_SIZE];
    text_json_open(&retiring->list, NULL, '{');
    text_json_string(&retiring->list, "kid", kid);
    text_json_string(&retiring->list, "until", clock_format(until, time));
    text_json_close(&retiring->list, '}');
    retiring->count++;
}

static int read_retiring(struct store *store, const struct store_jwk *jwk, struct retiring *retiring, struct error *error) {
    int64_t now = clock_wall_ms();
    int status = 0;
    text_json_open(&retiring->list, NULL, '[');
    if (jwk->retiring_until > now)
        status = store_each_retiring(store, jwk, now, write_retiring, retiring, error);
    text_json_close(&retiring->list, ']');
    return status;
}

void jwks_get(struct call *call) {
    struct error error;
    struct store_jwk jwk = {0};
    struct store_url_status source = {0};
    struct retiring retiring = {0};
    struct store *store = readers_take(call->api->readers, &error);
    int status = store ? store_find_whole_jwk(store, call->project.id, call->parameters[1], &jwk, &error) : -1;
    if (status == 0)
        status = read_retiring(store, &jwk, &retiring, &error);
    bool has_source = status == 0 && jwk.source_url && store_find_url_status(store, jwk.id, &source, &error) == 0;
    readers_give(call->api->readers, store);
    if (status != 0) {
        answer_fail_error(call, &error);
        goto out;
    }
    char etag[ETAG_SIZE];
    /* How many are left tells which: within one state they only leave. */
    int64_t shown = (has_source ? source.checked_at : 0) * (RETIRING_COUNT_MAX + 1) + (int64_t)retiring.count;
    etag_write(&jwk, shown, etag);
    if (etag_check_if_match(&call->conditions, etag, "JWK", jwk.name, &error)) {
        answer_fail_error(call, &error);
        goto out;
    }
    if (!etag_if_none_match_holds(&call->conditions, etag)) {
        answer_not_modified(call, etag);
        goto out;
    }
    if (store_open_jwk(&jwk, &error)) {
        answer_fail_error(call, &error);
        goto out;
    }
    struct text body = TEXT_EMPTY;
    jwk.project_uid = call->project.uid;
    listing_open(&body);
    text_json_open(&body, NULL, '{');
    write_item(&body, &jwk);
    if (has_source)
        write_source_status(&body, &source);
    text_json_raw(&body, "retiring", retiring.list.bytes);
    text_json_raw(&body, material_member(jwk.type), jwk.private_key ? jwk.private_key : jwk.public_key);
    text_json_close(&body, '}');
    listing_close(&body);
    answer_json_tagged(call, &body, etag);
out:
    text_free(&retiring.list);
    free(source.error);
    store_jwk_free(&jwk);
}

/* ---- changing ---- */

/* What the changes are given; strings are owned. name: of a redeploy, the one environment. */
struct input {
    char *name, *description;
};

static void free_input(struct change *change) {
    struct input *input = change->input;
    free(input->name);
    free(input->description);
    free(input);
}

static struct change *change_new(struct call *call, enum event_operation operation,
                                 int (*record)(struct change *change, struct store *store, const struct store_author *author,
                                               struct error *error)) {
    struct change *change = memory_new(sizeof *change);
    change->call = call;
    change->operation = operation;
    change->record = record;
    change->free_input = free_input;
    change->input = memory_new(sizeof(struct input));
    return change;
}

/* Frees the parsed body before the wait: it may hold a private key, and while thousands wait none needs it. */
static void drop_body(struct call *call) {
    json_wipe(call->body);
    call->body = NULL;
}

static int check_description(const char *description, struct error *error) {
    if (description && strlen(description) > DESCRIPTION_MAX)
        return error_set(error, ERROR_INVALID, "JWK description can not be longer than %d bytes!", DESCRIPTION_MAX);
    return 0;
}

static int record_update(struct change *change, struct store *store, const struct store_author *author, struct error *error) {
    const struct input *input = change->input;
    return store_update_jwk(store, author, change->call->parameters[1], input->name, input->description, &change->recorded,
                            error);
}

void jwks_update(struct call *call) {
    static const char *const known[] = {"name", "description", NULL};
    struct error error;
    const char *name = NULL, *description = NULL;
    if (json_refuse_unknown(call->body, known, &error) || json_get_string(call->body, "name", false, &name, &error) ||
        json_get_string(call->body, "description", false, &description, &error) || (name && name_check("JWK", name, &error)) ||
        check_description(description, &error)) {
        answer_fail_error(call, &error);
        return;
    }
    struct change *change = change_new(call, EVENT_UPDATE, record_update);
    struct input *input = change->input;
    input->name = memory_string(name);
    input->description = memory_string(description);
    change->job.checks_first = !call->idempotent;
    drop_body(call);
    change_submit(change);
}

static int record_delete(struct change *change, struct store *store, const struct store_author *author, struct error *error) {
    return store_delete_jwk(store, author, change->call->parameters[1], &change->recorded, error);
}

void jwks_delete(struct call *call) {
    change_submit(change_new(call, EVENT_DELETE, record_delete));
}

static int record_redeploy(struct change *change, struct store *store, const struct store_author *author, struct error *error) {
    const struct input *input = change->input;
    return store_redeploy_jwk(store, author, change->call->parameters[1], input->name, &change->recorded, error);
}

void jwks_redeploy(struct call *call) {
    static const char *const known[] = {"environmentName", NULL};
    struct error error;
    const char *environment = NULL;
    if (call->body && (json_refuse_unknown(call->body, known, &error) ||
                       json_get_string(call->body, "environmentName", false, &environment, &error) ||
                       (environment && name_check("Environment", environment, &error)))) {
        answer_fail_error(call, &error);
        return;
    }
    struct change *change = change_new(call, EVENT_REDEPLOY, record_redeploy);
    struct input *input = change->input;
    input->name = memory_string(environment);
    drop_body(call);
    change_submit(change);
}
