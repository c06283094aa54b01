/* Keys: JSON, with material for each environment. Private halves come in and never go out. */
#include "keys.h"

#include <string.h>

#include "common/json.h"
#include "common/memory.h"
#include "members.h"
#include "source_key.h"
#include "source_object.h"

/* ---- reading ---- */

static int read_environment(cJSON *item, struct source_input *input, struct error *error) {
    static const char *const known[] = {"environmentName", "publicKey", "privateKey", NULL};
    const char *environment = NULL, *public_key = NULL, *private_key = NULL;
    if (!cJSON_IsObject(item))
        return error_set(error, ERROR_INVALID, "\"cryptoKeyInfoEnvironmentList\" must hold objects");
    members_drop_null(item);
    if (json_refuse_unknown(item, known, error) || json_get_string(item, "environmentName", false, &environment, error) ||
        json_get_string(item, "publicKey", false, &public_key, error) ||
        json_get_string(item, "privateKey", false, &private_key, error))
        return -1;
    struct origin_material *material = source_input_add(input, environment, error);
    if (!material)
        return -1;
    material->public_material = public_key && *public_key ? memory_string(public_key) : NULL;
    material->private_material = private_key && *private_key ? memory_string(private_key) : NULL;
    return 0;
}

static int read_members(cJSON *body, struct source_input *input, struct error *error) {
    static const char *const known[] = {
        "name", "description", "keyType", "cryptoKeyInfoEnvironmentList", "updateReferencedJwks", "updateScope", NULL};
    const char *key_type = NULL;
    const cJSON *list = NULL;
    cJSON *item;
    members_drop_null(body);
    if (json_refuse_unknown(body, known, error) || source_input_read(body, input, error) ||
        json_get_string(body, "keyType", false, &key_type, error) ||
        json_get_array(body, "cryptoKeyInfoEnvironmentList", false, &list, error))
        return -1;
    if (key_type && strcmp(key_type, "RSA") != 0 && strcmp(key_type, "EC") != 0 && strcmp(key_type, "OKP") != 0)
        return error_set(error, ERROR_INVALID, "Key type is not known! It is one of: RSA, EC, OKP");
    if (list && cJSON_GetArraySize(list) == 0)
        return error_set(error, ERROR_INVALID, "Key environment list can not be empty!");
    input->key_type = memory_string(key_type);
    cJSON_ArrayForEach(item, list) if (read_environment(item, input, error)) return -1;
    return 0;
}

/* ---- validating ---- */

static char *write_facts(const struct source_key_description *description) {
    struct text facts = TEXT_EMPTY;
    text_json_open(&facts, NULL, '{');
    text_json_string(&facts, "type", jwk_type_name(description->type));
    text_json_string(&facts, "curve", description->curve);
    text_json_integer(&facts, "size", description->bits);
    text_json_boolean(&facts, "hasPrivateKey", description->has_private);
    text_json_string(&facts, "thumbprint", description->thumbprint);
    text_json_close(&facts, '}');
    return text_take(&facts);
}

static int complete(struct source_input *input, const struct origin_materials *stored, struct error *error) {
    (void)stored;
    if (input->is_new && input->materials.count == 0)
        return error_set(error, ERROR_INVALID, "Key environment list can not be empty!");
    if (input->materials.count == 0 && input->key_type)
        return error_set(error, ERROR_INVALID, "Key type can not be changed without its keys!");
    for (size_t i = 0; i < input->materials.count; i++) {
        struct origin_material *material = &input->materials.items[i];
        struct source_key_description description;
        if (source_input_go_on(input, error))
            return -1;
        if (source_key_describe(material->public_material, material->private_material, &description, error))
            return error_prefix(error, "Environment (name: %s)", material->environment);
        const char *type = jwk_type_name(description.type);
        if (!input->key_type)
            input->key_type = memory_string(type);
        if (strcmp(input->key_type, type) != 0)
            return error_set(error, ERROR_INVALID, "Key type is %s, and the key of environment (name: %s) is %s!",
                             input->key_type, material->environment, type);
        material->details = write_facts(&description);
    }
    return 0;
}

/* ---- writing ---- */

static void write_item(struct text *body, const struct store_source *source) {
    text_json_string(body, "name", source->name);
    text_json_string(body, "description", source->description);
    text_json_string(body, "keyType", source->key_type);
    text_json_raw(body, "environmentList", source->environments);
}

static void write_details(struct text *body, const struct origin_materials *materials) {
    text_json_open(body, "cryptoKeyInfoEnvironmentList", '[');
    for (size_t i = 0; i < materials->count; i++) {
        text_json_open(body, NULL, '{');
        text_json_string(body, "environmentName", materials->items[i].environment);
        text_json_string(body, "publicKey", materials->items[i].public_material);
        text_json_raw(body, "keyInfo", materials->items[i].details);
        text_json_close(body, '}');
    }
    text_json_close(body, ']');
}

static const struct source_kind_operations operations = {
    .kind = SOURCE_KEY,
    .listing = {.mark = 'k', .read = source_object_read_list},
    .name_label = "Key",
    .complete = complete,
    .write_item = write_item,
    .write_details = write_details,
};

void keys_list(struct call *call) { source_object_list(call, &operations); }
void keys_get(struct call *call) { source_object_get(call, &operations); }
void keys_delete(struct call *call) { source_object_delete(call, &operations); }

void keys_create(struct call *call) {
    struct source_input *input = source_object_read_body(call, read_members);
    if (input)
        source_object_create(call, &operations, input);
}

void keys_update(struct call *call) {
    struct source_input *input = source_object_read_body(call, read_members);
    if (input)
        source_object_update(call, &operations, input);
}
