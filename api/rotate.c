/* Rotate: what create and generate read and make, for a JWK that exists. */
#include "rotate.h"

#include <string.h>

#include "answer.h"
#include "common/json.h"
#include "common/memory.h"
#include "creation.h"
#include "members.h"

/* The JWK keeps those, and an update changes them. */
static int refuse_names(const cJSON *object, struct error *error) {
    static const char *const names[] = {"name", "description"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (cJSON_GetObjectItemCaseSensitive(object, names[i]))
            return error_set(error, ERROR_INVALID, "\"%s\" is not known here: a rotation keeps it", names[i]);
    return 0;
}

static int read_generate(struct creation *creation, struct call *call, struct error *error) {
    static const char *const known[] = {"generate", NULL};
    if (json_refuse_unknown(call->body, known, error))
        return error_prefix(error, "A key is generated or comes from a source, not both");
    const cJSON *checked = NULL;
    if (json_get_object(call->body, "generate", true, &checked, error))
        return -1;
    cJSON *body = cJSON_GetObjectItemCaseSensitive(call->body, "generate");
    members_drop_null(body);
    if (refuse_names(body, error))
        return -1;
    return creation_read_generate(creation, cJSON_DetachItemViaPointer(call->body, body), error);
}

static int read_source(struct creation *creation, const cJSON *body, struct error *error) {
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(body, "sourceType");
    if (!type || (cJSON_IsString(type) && strcmp(type->valuestring, "GENERATE") == 0))
        return error_set(error, ERROR_INVALID,
                         "Source type or \"generate\", which describes a key to be generated, is required!");
    return creation_read_source(creation, body, NULL, error);
}

static int read_body(struct creation *creation, struct call *call, struct error *error) {
    creation->overlap_s = OVERLAP_DEFAULT_S;
    if (json_get_integer(call->body, "overlapSeconds", false, 0, OVERLAP_MAX_S, &creation->overlap_s, error) ||
        refuse_names(call->body, error))
        return -1;
    cJSON_DeleteItemFromObjectCaseSensitive(call->body, "overlapSeconds");
    return cJSON_GetObjectItemCaseSensitive(call->body, "generate") ? read_generate(creation, call, error)
                                                                    : read_source(creation, call->body, error);
}

void rotate_jwk(struct call *call) {
    struct error error;
    struct creation *creation = memory_new(sizeof *creation);
    creation->call = call;
    creation->rotates = true;
    members_drop_null(call->body);
    if (read_body(creation, call, &error)) {
        creation_free(creation);
        answer_fail_error(call, &error);
        return;
    }
    creation_begin(creation, creation->body  ? call->api->generating
                             : creation->url ? call->api->fetching
                                             : call->api->importing);
}
