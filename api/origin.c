/* Making a JWK from stored material. */
#include "origin.h"

#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "common/text.h"
#include "source_certificate.h"
#include "source_key.h"
#include "source_keystore.h"

/* ---- material ---- */

struct origin_material *origin_add_material(struct origin_materials *materials, const char *environment) {
    materials->items = memory_resize(materials->items, (materials->count + 1) * sizeof *materials->items);
    struct origin_material *material = &materials->items[materials->count++];
    *material = (struct origin_material){.environment = memory_string(environment)};
    return material;
}

static void copy_material(void *context, const struct store_material *stored) {
    struct origin_material *material = origin_add_material(context, stored->environment);
    material->environment_id = stored->environment_id;
    material->type = memory_string(stored->type);
    material->public_material = memory_string(stored->public_material);
    material->private_material = memory_string(stored->private_material);
    material->password = memory_string(stored->password);
    material->details = memory_string(stored->details);
}

int origin_read_materials(struct store *store, int64_t source_id, bool secrets, struct origin_materials *materials,
                          struct error *error) {
    *materials = (struct origin_materials){0};
    if (store_each_material(store, source_id, secrets, copy_material, materials, error) == 0)
        return 0;
    origin_materials_free(materials);
    return -1;
}

void origin_materials_free(struct origin_materials *materials) {
    for (size_t i = 0; i < materials->count; i++) {
        struct origin_material *material = &materials->items[i];
        free(material->environment);
        free(material->type);
        free(material->public_material);
        memory_wipe_string(material->private_material);
        memory_wipe_string(material->password);
        free(material->details);
    }
    free(materials->items);
    *materials = (struct origin_materials){0};
}

/* "production, staging" */
static void list_environments(const struct origin_materials *materials, struct text *text) {
    for (size_t i = 0; i < materials->count; i++)
        text_add_format(text, "%s%s", i ? ", " : "", materials->items[i].environment);
}

const struct origin_material *origin_choose(enum source_kind kind, const char *source_name,
                                            const struct origin_materials *materials, const char *environment,
                                            struct error *error) {
    const char *word = source_kind_word(kind);
    bool by_name = environment && *environment;
    if (!by_name && (materials->count == 1 || (materials->count > 1 && kind == SOURCE_CERTIFICATE)))
        return &materials->items[0];
    for (size_t i = 0; by_name && i < materials->count; i++)
        if (strcmp(materials->items[i].environment, environment) == 0)
            return &materials->items[i];
    struct text names = TEXT_EMPTY;
    list_environments(materials, &names);
    if (materials->count == 0)
        error_set(error, ERROR_INVALID, "%s (name: %s) has no environment!", word, source_name);
    else if (by_name)
        error_set(error, ERROR_INVALID, "%s (name: %s) is not defined in environment (name: %s)! It is defined in: %s", word,
                  source_name, environment, names.bytes);
    else
        error_set(error, ERROR_INVALID, "Environment name is required! %s (name: %s) is defined in: %s", word, source_name,
                  names.bytes);
    text_free(&names);
    return NULL;
}

/* ---- making ---- */

static struct jwk *from_certificate(const struct origin_material *material, const struct algorithm_request *request,
                                    struct error *error) {
    struct source_certificate certificate = SOURCE_CERTIFICATE_EMPTY;
    struct jwk *jwk = NULL;
    if (source_certificate_read(material->public_material, strlen(material->public_material), &certificate, error) == 0)
        jwk = source_certificate_jwk(&certificate, request, error);
    source_certificate_clear(&certificate);
    return jwk;
}

static struct jwk *from_keystore(const struct origin_material *material, const char *alias,
                                 const struct algorithm_request *request, struct error *error) {
    struct source_keystore *keystore = source_keystore_open_text(material->type, material->private_material,
                                                                 strlen(material->private_material), material->password, error);
    struct jwk *jwk = keystore ? source_keystore_jwk(keystore, alias, request, error) : NULL;
    source_keystore_close(keystore);
    return jwk;
}

struct jwk *origin_make_jwk(enum source_kind kind, const char *source_type, const struct origin_material *material,
                            const char *alias, const struct algorithm_request *request, struct error *error) {
    switch (kind) {
    case SOURCE_CERTIFICATE:
        return from_certificate(material, request, error);
    case SOURCE_KEY:
        return source_key_object_jwk(material->public_material, material->private_material,
                                     strcmp(source_type, "PRIVATE_KEY") == 0, request, error);
    default:
        return from_keystore(material, alias, request, error);
    }
}
