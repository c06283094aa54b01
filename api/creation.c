/* A creation from the request to the writer. */
#include "creation.h"

#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "common/json.h"
#include "common/memory.h"

void creation_free(struct creation *creation) {
    free(creation->name);
    free(creation->description);
    jwk_free(creation->jwk);
    json_wipe(creation->body);
    memory_wipe_string(creation->text);
    free(creation->kid);
    free(creation->url);
    free(creation->etag);
    free(creation->last_modified);
    free(creation->source_name);
    free(creation->environment);
    free(creation->use_type);
    free(creation->algorithm);
    free(creation->alias);
    free(creation);
}

int creation_read_names(struct creation *creation, const cJSON *body, struct error *error) {
    const char *name = NULL, *description = NULL;
    if (json_get_string(body, "name", false, &name, error) || name_check("JWK", name ? name : "", error) ||
        json_get_string(body, "description", false, &description, error))
        return -1;
    if (description && strlen(description) > JWK_DESCRIPTION_MAX)
        return error_set(error, ERROR_INVALID, "JWK description can not be longer than %d bytes!", JWK_DESCRIPTION_MAX);
    creation->name = memory_string(name);
    creation->description = memory_string(description);
    return 0;
}

static void free_input(struct change *change) { creation_free(change->input); }

static int record(struct change *change, struct store *store, const struct store_author *author, struct error *error) {
    struct creation *creation = change->input;
    const struct jwk *jwk = creation->jwk;
    struct store_new_jwk new_jwk = {
        .name = creation->name,
        .description = creation->description,
        .type = jwk_type_name(jwk_type(jwk)),
        .kid = jwk_kid(jwk),
        .source_type = creation->source_type,
        .source_id = creation->source_uid[0] ? creation->source_uid : NULL,
        .source_url = creation->url,
        .public_key = jwk_public_text(jwk),
        .private_key = jwk_has_private(jwk) ? jwk_text(jwk) : NULL,
    };
    const char *rotated = creation->rotates ? creation->call->parameters[1] : NULL;
    if (rotated ? store_rotate_jwk(store, author, rotated, &new_jwk, creation->overlap_s, &change->recorded, error)
                : store_create_jwk(store, author, &new_jwk, &change->recorded, error))
        return -1;
    return creation->attach ? creation->attach(creation, store, change->recorded.jwk_id, error) : 0;
}

static void run(struct work *work, bool stopping) {
    struct creation *creation = (struct creation *)work;
    struct call *call = creation->call;
    struct error error;
    if (stopping || creation->make(creation, &error)) {
        creation_free(creation);
        if (stopping)
            answer_fail(call, 503, "The service is stopping");
        else
            answer_fail_error(call, &error);
        return;
    }
    struct change *change = memory_new(sizeof *change);
    change->call = call;
    change->operation = creation->rotates ? EVENT_UPDATE : EVENT_CREATE;
    change->record = record;
    change->free_input = free_input;
    change->input = creation;
    change_submit(change);
}

void creation_begin(struct creation *creation, struct workpool *pool) {
    struct call *call = creation->call;
    creation->work.run = run;
    creation->work.owner = call->project.id;
    /* It may hold a private key, and while thousands wait none needs it. */
    json_wipe(call->body);
    call->body = NULL;
    if (change_admit(call)) {
        creation_free(creation);
        return;
    }
    if (workpool_submit(pool, &creation->work)) {
        creation_free(creation);
        answer_fail(call, 503, NULL);
    }
}
