/* Create from a certificate, a key or a keystore of the project. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/memory.h"
#include "creation.h"
#include "origin.h"
#include "store_origin.h"

/* Reads the source and what it consists of. */
static int read_source(struct creation *creation, struct origin_materials *materials, struct error *error) {
    struct readers *readers = creation->call->api->readers;
    struct store_source source = {0};
    int64_t environment_id;
    struct store *store = readers_take(readers, error);
    int status = -1;
    if (!store)
        return -1;
    if (store_find_source(store, creation->call->project.id, creation->kind, creation->source_name, &source, error) ||
        (creation->environment && store_find_environment(store, creation->environment, &environment_id, error)))
        goto out;
    snprintf(creation->source_uid, sizeof creation->source_uid, "%s", source.uid);
    creation->source_version = source.version;
    status = origin_read_materials(store, source.id, true, materials, error);
out:
    store_source_free(&source);
    readers_give(readers, store);
    return status;
}

static int make_from_source(struct creation *creation, struct error *error) {
    struct origin_materials materials = {0};
    struct algorithm_request request = {.use_type = creation->use_type, .algorithm = creation->algorithm};
    if (read_source(creation, &materials, error))
        return -1;
    const struct origin_material *material =
        origin_choose(creation->kind, creation->source_name, &materials, creation->environment, error);
    if (material) {
        /* With no environment named it stays that way: a certificate is the same everywhere. */
        creation->environment_id = creation->environment ? material->environment_id : 0;
        if (creation->prefers_private && material->private_material)
            creation->source_type = "PRIVATE_KEY";
        creation->jwk = origin_make_jwk(creation->kind, creation->source_type, material, creation->alias, &request, error);
    }
    origin_materials_free(&materials);
    return creation->jwk ? 0 : -1;
}

static int attach_source(struct creation *creation, struct store *store, const char *jwk_uid, struct error *error) {
    struct store_origin origin = {.source_uid = creation->source_uid,
                                  .source_version = creation->source_version,
                                  .environment_id = creation->environment_id,
                                  .use_type = creation->use_type,
                                  .algorithm = creation->algorithm,
                                  .alias = creation->alias};
    return store_attach_source(store, jwk_uid, &origin, error);
}

/* A new string; NULL for an absent or empty member. */
static int read_string(const cJSON *body, const char *member, char **value, struct error *error) {
    const char *text = NULL;
    if (json_get_string(body, member, false, &text, error))
        return -1;
    *value = text && *text ? memory_string(text) : NULL;
    return 0;
}

static int read_source_members(struct creation *creation, const cJSON *body, enum source_kind kind, const char *member,
                               struct error *error) {
    enum algorithm_use use;
    creation->kind = kind;
    if (read_string(body, member, &creation->source_name, error) ||
        read_string(body, "environmentName", &creation->environment, error) ||
        read_string(body, "aliasName", &creation->alias, error) || read_string(body, "useType", &creation->use_type, error) ||
        read_string(body, "algorithm", &creation->algorithm, error))
        return -1;
    if (!creation->source_name)
        return error_set(error, ERROR_INVALID, "%s name is required for %s source type!", source_kind_word(kind),
                         creation->source_type);
    if (name_check(source_kind_word(kind), creation->source_name, error) ||
        (creation->environment && name_check("Environment", creation->environment, error)) ||
        algorithm_use_parse("useType", creation->use_type, &use, error))
        return -1;
    creation->make = make_from_source;
    creation->attach = attach_source;
    return 0;
}

int creation_read_certificate(struct creation *creation, const cJSON *body, struct error *error) {
    return read_source_members(creation, body, SOURCE_CERTIFICATE, "certificateName", error);
}

int creation_read_key(struct creation *creation, const cJSON *body, struct error *error) {
    return read_source_members(creation, body, SOURCE_KEY, "keyName", error);
}

int creation_read_keystore(struct creation *creation, const cJSON *body, struct error *error) {
    return read_source_members(creation, body, SOURCE_KEYSTORE, "keyStoreName", error);
}
