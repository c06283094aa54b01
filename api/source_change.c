/* Creating, updating and deleting certificates, keys and keystores. */
#include "source_change.h"

#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "change.h"
#include "common/memory.h"
#include "store_origin.h"
#include "workpool.h"

/* An attached JWK that is made again; strings are owned. */
struct remade {
    int64_t jwk_id, attachment;
    char *name, *environment, *source_type, *use_type, *algorithm, *alias;
    struct jwk *jwk; /* NULL: not yet */
};

struct source_change {
    struct work work;
    struct call *call;
    const struct source_kind_operations *operations;
    struct source_input *input;
    struct store_source before; /* of an update: as it was read */
    struct remade *remade;
    size_t remade_count;
};

static void source_change_free(struct source_change *update) {
    for (size_t i = 0; i < update->remade_count; i++) {
        struct remade *remade = &update->remade[i];
        free(remade->name);
        free(remade->environment);
        free(remade->source_type);
        free(remade->use_type);
        free(remade->algorithm);
        free(remade->alias);
        jwk_free(remade->jwk);
    }
    free(update->remade);
    store_source_free(&update->before);
    source_input_free(update->input);
    free(update);
}

static void free_input(struct change *change) { source_change_free(change->input); }

/* ---- in the writer's transaction ---- */

/* Makes the attached JWKs again; one that was detached meanwhile is left alone. */
static int record_remade(struct change *change, const struct source_change *update, struct store *store,
                         const struct store_author *author, struct error *error) {
    if (update->remade_count)
        change->more = memory_new(update->remade_count * sizeof *change->more);
    for (size_t i = 0; i < update->remade_count; i++) {
        const struct jwk *jwk = update->remade[i].jwk;
        struct store_remade remade = {
            .jwk_id = update->remade[i].jwk_id,
            .attachment = update->remade[i].attachment,
            .type = jwk_type_name(jwk_type(jwk)),
            .kid = jwk_kid(jwk),
            .public_key = jwk_public_text(jwk),
            .private_key = jwk_has_private(jwk) ? jwk_text(jwk) : NULL,
        };
        bool first = !change->recorded.environments;
        if (store_remake_jwk(store, author, &remade, first ? &change->recorded : &change->more[change->more_count], error) == 0)
            change->more_count += !first;
        else if (error->code != ERROR_NOT_FOUND)
            return -1;
    }
    return 0;
}

static int record(struct change *change, struct store *store, const struct store_author *author, struct error *error) {
    const struct source_change *update = change->input;
    const struct source_input *input = update->input;
    size_t count = input->materials.count;
    struct store_material *materials = memory_new(count * sizeof *materials + 1);
    for (size_t i = 0; i < count; i++) {
        const struct origin_material *material = &input->materials.items[i];
        materials[i] = (struct store_material){.environment = material->environment,
                                               .type = material->type,
                                               .public_material = material->public_material,
                                               .private_material = material->private_material,
                                               .password = material->password,
                                               .details = material->details};
    }
    struct store_new_source source = {.kind = update->operations->kind,
                                      .name = input->name,
                                      .description = input->description,
                                      .alias = input->alias,
                                      .key_type = input->key_type,
                                      .materials = materials,
                                      .material_count = count};
    int status = update->input->is_new ? store_add_source(store, author, &source, error)
                                : store_change_source(store, &update->before, author, &source, error);
    free(materials);
    return status || record_remade(change, update, store, author, error) ? -1 : 0;
}

/* ---- on a thread of the pool ---- */

static void add_attached(void *context, const struct store_attached *attached) {
    struct source_change *update = context;
    update->remade = memory_resize(update->remade, (update->remade_count + 1) * sizeof *update->remade);
    update->remade[update->remade_count++] = (struct remade){
        .jwk_id = attached->jwk_id,
        .attachment = attached->attachment,
        .name = memory_string(attached->jwk_name),
        .environment = memory_string(attached->environment),
        .source_type = memory_string(attached->source_type),
        .use_type = memory_string(attached->use_type),
        .algorithm = memory_string(attached->algorithm),
        .alias = memory_string(attached->alias),
    };
}

/* Makes the attached JWKs from the material that the source has after the update. */
static int remake(struct source_change *update, struct store *store, const struct origin_materials *materials,
                  struct error *error) {
    enum source_kind kind = update->operations->kind;
    int64_t project_id = update->input->all_projects ? 0 : update->call->project.id;
    /* Collected first: a keystore takes long, and a statement that stays open keeps the store's log from being cut. */
    if (store_each_attached(store, update->before.id, project_id, SOURCE_REMADE_MAX + 1, add_attached, update, error))
        return -1;
    if (update->remade_count > SOURCE_REMADE_MAX)
        return error_set(error, ERROR_INVALID, "More than %d JWKs are made from it: they can not be updated at once!",
                         SOURCE_REMADE_MAX);
    for (size_t i = 0; i < update->remade_count; i++) {
        struct remade *remade = &update->remade[i];
        /* A keystore may take a second for each of a thousand JWKs. */
        if (source_input_go_on(update->input, error))
            return -1;
        struct algorithm_request request = {.use_type = remade->use_type, .algorithm = remade->algorithm};
        const struct origin_material *material =
            origin_choose(kind, update->before.name, materials, remade->environment, error);
        if (material)
            remade->jwk = origin_make_jwk(kind, remade->source_type, material, remade->alias, &request, error);
        if (!remade->jwk)
            return error_prefix(error, "JWK (name: %s) can not be made from it again", remade->name);
    }
    return 0;
}

/* Finds the ids of the environments that the request names, and refuses those that there are not. */
static int find_environments(struct store *store, struct source_input *input, struct error *error) {
    for (size_t i = 0; i < input->materials.count; i++)
        if (store_find_environment(store, input->materials.items[i].environment, &input->materials.items[i].environment_id,
                                   error))
            return -1;
    return 0;
}

static int prepare_update(struct source_change *update, struct store *store, struct error *error) {
    struct call *call = update->call;
    struct source_input *input = update->input;
    struct origin_materials stored = {0};
    int status = -1;
    /* Without asking for private material where nothing is made of it. */
    if (store_find_source(store, call->project.id, update->operations->kind, call->parameters[1], &update->before, error)) {
        if (error->code == ERROR_NOT_FOUND)
            error_set(error, ERROR_NOT_FOUND, "%s (name: %s) is not found! Try create operation.",
                      source_kind_word(update->operations->kind), call->parameters[1]);
        return -1;
    }
    /* What is changed after this is refused in the transaction. */
    if (source_check_conditions(call, update->operations->kind, &update->before, error))
        return -1;
    if (origin_read_materials(store, update->before.id, input->update_referenced, &stored, error))
        return -1;
    /* Environments first: a keystore takes long, and a request may name a thousand that there are not. Then those that were
     * completed. */
    if (find_environments(store, input, error) || update->operations->complete(input, &stored, error) ||
        find_environments(store, input, error))
        goto out;
    if (input->update_referenced && remake(update, store, input->materials.count ? &input->materials : &stored, error))
        goto out;
    status = 0;
out:
    origin_materials_free(&stored);
    return status;
}

static int prepare(struct source_change *update, struct error *error) {
    static const struct origin_materials none;
    struct readers *readers = update->call->api->readers;
    struct store *store = readers_take(readers, error);
    if (!store)
        return -1;
    int status = update->input->is_new ? find_environments(store, update->input, error) : prepare_update(update, store, error);
    readers_give(readers, store);
    /* Without a reader, which is not to be kept while keystores are opened. */
    return status == 0 && update->input->is_new ? update->operations->complete(update->input, &none, error) : status;
}

static void submit(struct source_change *update) {
    struct change *change = memory_new(sizeof *change);
    change->call = update->call;
    change->operation = EVENT_UPDATE;
    change->record = record;
    change->free_input = free_input;
    change->input = update;
    change_submit(change);
}

static void run(struct work *work, bool stopping) {
    struct source_change *update = (struct source_change *)work;
    struct call *call = update->call;
    struct error error;
    if (!stopping && prepare(update, &error) == 0) {
        submit(update);
        return;
    }
    source_change_free(update);
    if (stopping)
        answer_fail(call, 503, "The service is stopping");
    else
        answer_fail_error(call, &error);
}

void source_change_begin(struct call *call, const struct source_kind_operations *operations, struct source_input *input) {
    struct source_change *update = memory_new(sizeof *update);
    update->work.run = run;
    update->work.owner = call->project.id;
    update->call = call;
    update->operations = operations;
    update->input = input;
    input->stopping = workpool_stopping(call->api->importing);
    if (change_admit(call)) {
        source_change_free(update);
        return;
    }
    if (workpool_submit(call->api->importing, &update->work)) {
        source_change_free(update);
        answer_fail(call, 503, NULL);
    }
}

/* ---- delete ---- */

static int record_delete(struct change *change, struct store *store, const struct store_author *author, struct error *error) {
    const struct source_kind_operations *operations = change->input;
    if (etag_conditions_exist(&change->call->conditions)) {
        struct store_source source;
        if (store_find_source(store, author->project_id, operations->kind, change->call->parameters[1], &source, error))
            return -1;
        int status = source_check_conditions(change->call, operations->kind, &source, error);
        store_source_free(&source);
        if (status)
            return -1;
    }
    return store_remove_source(store, author, operations->kind, change->call->parameters[1], error);
}

void source_change_delete(struct call *call, const struct source_kind_operations *operations) {
    struct change *change = memory_new(sizeof *change);
    change->call = call;
    change->operation = EVENT_DELETE;
    change->record = record_delete;
    change->input = (void *)(uintptr_t)operations;
    change_submit(change);
}
