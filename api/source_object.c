/* Certificates, keys and keystores: what their operations share. */
#include "source_object.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "common/json.h"
#include "common/memory.h"
#include "listing.h"
#include "source_change.h"

/* ---- input ---- */

struct source_input *source_input_new(void) { return memory_new(sizeof(struct source_input)); }

void source_input_free(struct source_input *input) {
    if (!input)
        return;
    free(input->name);
    free(input->description);
    free(input->alias);
    free(input->key_type);
    if (input->file)
        OPENSSL_cleanse(input->file, input->file_size);
    free(input->file);
    origin_materials_free(&input->materials);
    free(input);
}

int source_input_read_scope(const char *scope, struct source_input *input, struct error *error) {
    input->all_projects = scope && strcmp(scope, "ALL_PROJECTS") == 0;
    if (scope && *scope && !input->all_projects && strcmp(scope, "SAME_PROJECT") != 0)
        return error_set(error, ERROR_INVALID, "Update scope is not known! It is one of: SAME_PROJECT, ALL_PROJECTS");
    return 0;
}

int source_input_read(const cJSON *body, struct source_input *input, struct error *error) {
    const char *name = NULL, *description = NULL, *scope = NULL;
    if (json_get_string(body, "name", false, &name, error) ||
        json_get_string(body, "description", false, &description, error) ||
        json_get_boolean(body, "updateReferencedJwks", false, &input->update_referenced, error) ||
        json_get_string(body, "updateScope", false, &scope, error) || source_input_read_scope(scope, input, error))
        return -1;
    input->name = memory_string(name);
    input->description = memory_string(description);
    return 0;
}

struct origin_material *source_input_add(struct source_input *input, const char *environment, struct error *error) {
    if (!environment || !*environment) {
        error_set(error, ERROR_INVALID, "Environment name can not be empty!");
        return NULL;
    }
    if (name_check("Environment", environment, error))
        return NULL;
    for (size_t i = 0; i < input->materials.count; i++)
        if (strcmp(input->materials.items[i].environment, environment) == 0) {
            error_set(error, ERROR_INVALID, "Environment (name: %s) is named twice!", environment);
            return NULL;
        }
    if (input->materials.count == SOURCE_ENVIRONMENTS_MAX) {
        error_set(error, ERROR_INVALID, "More than %d environments are named!", SOURCE_ENVIRONMENTS_MAX);
        return NULL;
    }
    return origin_add_material(&input->materials, environment);
}

int source_input_go_on(const struct source_input *input, struct error *error) {
    return atomic_load(input->stopping) ? error_set(error, ERROR_UNAVAILABLE, "The service is stopping") : 0;
}

/* What every kind asks of its name and description. */
static int check_input(const struct source_kind_operations *operations, const struct source_input *input, struct error *error) {
    if ((input->is_new || input->name) && name_check(operations->name_label, input->name ? input->name : "", error))
        return -1;
    if (input->description && strlen(input->description) > SOURCE_DESCRIPTION_MAX)
        return error_set(error, ERROR_INVALID, "%s description can not be longer than %d bytes!", operations->name_label,
                         SOURCE_DESCRIPTION_MAX);
    return 0;
}

/* ---- entity tags ---- */

void source_etag(const struct store_source *source, char out[ETAG_SIZE]) {
    snprintf(out, ETAG_SIZE, "\"%s-%lld\"", source->uid, (long long)source->version);
}

int source_check_conditions(const struct call *call, enum source_kind kind, const struct store_source *source,
                            struct error *error) {
    char etag[ETAG_SIZE];
    source_etag(source, etag);
    return etag_check_both(&call->conditions, etag, source_kind_word(kind), source->name, error);
}

/* ---- reading ---- */

static void write_item(struct text *body, const struct call *call, const struct source_kind_operations *operations,
                       const struct store_source *source) {
    text_json_string(body, "id", source->uid);
    text_json_string(body, "projectId", call->project.uid);
    operations->write_item(body, source);
}

/* The kind of source that a list is of. */
static const struct source_kind_operations *operations_of(const struct listing *listing) {
    return (const struct source_kind_operations *)((const char *)listing->kind -
                                                   offsetof(struct source_kind_operations, listing));
}

static void list_one(void *context, const struct store_source *source) {
    struct listing *listing = context;
    if (!listing_admit(listing, source->name, 0))
        return;
    text_json_open(&listing->body, NULL, '{');
    write_item(&listing->body, listing->call, operations_of(listing), source);
    text_json_close(&listing->body, '}');
}

int source_object_read_list(struct listing *listing, struct store *store, struct error *error) {
    return store_each_source(store, listing->call->project.id, operations_of(listing)->kind, listing->name, listing->page + 1,
                             list_one, listing, error);
}

void source_object_list(struct call *call, const struct source_kind_operations *operations) {
    listing_answer(call, &operations->listing, 0);
}

void source_object_get(struct call *call, const struct source_kind_operations *operations) {
    struct error error;
    struct store_source source = {0};
    struct origin_materials materials = {0};
    struct store *store = readers_take(call->api->readers, &error);
    int status =
        store ? store_find_source(store, call->project.id, operations->kind, call->parameters[1], &source, &error) : -1;
    if (status == 0)
        status = origin_read_materials(store, source.id, false, &materials, &error);
    readers_give(call->api->readers, store);
    char etag[ETAG_SIZE];
    if (status == 0) {
        source_etag(&source, etag);
        status = etag_check_if_match(&call->conditions, etag, source_kind_word(operations->kind), source.name, &error);
    }
    if (status == 0 && !etag_if_none_match_holds(&call->conditions, etag)) {
        answer_not_modified(call, etag);
    } else if (status == 0) {
        struct text body = TEXT_EMPTY;
        listing_open(&body);
        text_json_open(&body, NULL, '{');
        write_item(&body, call, operations, &source);
        operations->write_details(&body, &materials);
        text_json_close(&body, '}');
        listing_close(&body);
        answer_json_tagged(call, &body, etag);
    } else {
        answer_fail_error(call, &error);
    }
    origin_materials_free(&materials);
    store_source_free(&source);
}

/* ---- changing ---- */

static void drop_body(struct call *call) {
    json_wipe(call->body);
    call->body = NULL;
    http_request_drop_body(call->request);
}

static void change_object(struct call *call, const struct source_kind_operations *operations, struct source_input *input) {
    struct error error;
    drop_body(call);
    if (check_input(operations, input, &error)) {
        source_input_free(input);
        answer_fail_error(call, &error);
        return;
    }
    if (input->update_referenced && !roles_allow(call->token.roles, ROLE_DEPLOY_UNDEPLOY_PROXIES)) {
        source_input_free(input);
        answer_fail(call, 403, NULL);
        return;
    }
    source_change_begin(call, operations, input);
}

struct source_input *source_object_read_body(struct call *call,
                                             int (*read_members)(cJSON *body, struct source_input *input, struct error *error)) {
    struct error error;
    struct source_input *input = source_input_new();
    if (read_members(call->body, input, &error) == 0)
        return input;
    source_input_free(input);
    answer_fail_error(call, &error);
    return NULL;
}

void source_object_create(struct call *call, const struct source_kind_operations *operations, struct source_input *input) {
    input->is_new = true;
    input->update_referenced = false; /* nothing refers to it yet */
    change_object(call, operations, input);
}

void source_object_update(struct call *call, const struct source_kind_operations *operations, struct source_input *input) {
    change_object(call, operations, input);
}

void source_object_delete(struct call *call, const struct source_kind_operations *operations) {
    source_change_delete(call, operations);
}
