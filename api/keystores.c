/* Keystores: JSON, with a file and its password for each environment. Both come in and never go out. */
#include "keystores.h"

#include <string.h>

#include "common/json.h"
#include "common/memory.h"
#include "members.h"
#include "source_keystore.h"
#include "source_object.h"

enum { PASSWORD_MAX = 1024 }; /* bytes */

/* ---- reading ---- */

static int read_environment(cJSON *item, struct source_input *input, struct error *error) {
    static const char *const known[] = {"environmentName", "type", "file", "password", NULL};
    const char *environment = NULL, *type = NULL, *file = NULL, *password = NULL;
    if (!cJSON_IsObject(item))
        return error_set(error, ERROR_INVALID, "\"keyStoreEnvironmentList\" must hold objects");
    members_drop_null(item);
    if (json_refuse_unknown(item, known, error) || json_get_string(item, "environmentName", false, &environment, error) ||
        json_get_string(item, "type", false, &type, error) || json_get_string(item, "file", false, &file, error) ||
        json_get_string(item, "password", false, &password, error))
        return -1;
    if (password && strlen(password) > PASSWORD_MAX)
        return error_set(error, ERROR_INVALID, "Keystore password can not be longer than %d bytes!", PASSWORD_MAX);
    struct origin_material *material = source_input_add(input, environment, error);
    if (!material)
        return -1;
    material->type = memory_string(type && *type ? type : "PKCS12");
    material->private_material = memory_string(file ? file : "");
    material->password = memory_string(password);
    return 0;
}

static int read_members(cJSON *body, struct source_input *input, struct error *error) {
    static const char *const known[] = {"name",        "description", "keyStoreEnvironmentList", "updateReferencedJwks",
                                        "updateScope", NULL};
    const cJSON *list = NULL;
    cJSON *item;
    members_drop_null(body);
    if (json_refuse_unknown(body, known, error) || source_input_read(body, input, error) ||
        json_get_array(body, "keyStoreEnvironmentList", false, &list, error))
        return -1;
    if (list && cJSON_GetArraySize(list) == 0)
        return error_set(error, ERROR_INVALID, "Keystore environment list can not be empty!");
    cJSON_ArrayForEach(item, list) if (read_environment(item, input, error)) return -1;
    return 0;
}

/* ---- validating ---- */

static char *write_entries(const struct source_keystore *keystore) {
    struct text entries = TEXT_EMPTY;
    text_json_open(&entries, NULL, '[');
    for (size_t i = 0; i < source_keystore_count(keystore); i++) {
        struct source_keystore_entry entry = source_keystore_entry(keystore, i);
        text_json_open(&entries, NULL, '{');
        text_json_string(&entries, "aliasName", entry.alias);
        text_json_boolean(&entries, "hasPrivateKey", entry.has_private);
        text_json_close(&entries, '}');
    }
    text_json_close(&entries, ']');
    return text_take(&entries);
}

static int complete(struct source_input *input, const struct origin_materials *stored, struct error *error) {
    (void)stored;
    if (input->is_new && input->materials.count == 0)
        return error_set(error, ERROR_INVALID, "Keystore environment list can not be empty!");
    for (size_t i = 0; i < input->materials.count; i++) {
        struct origin_material *material = &input->materials.items[i];
        if (source_input_go_on(input, error))
            return -1;
        struct source_keystore *keystore = source_keystore_open_text(
            material->type, material->private_material, strlen(material->private_material), material->password, error);
        if (!keystore)
            return error_prefix(error, "Environment (name: %s)", material->environment);
        material->details = write_entries(keystore);
        source_keystore_close(keystore);
    }
    return 0;
}

/* ---- writing ---- */

static void write_item(struct text *body, const struct store_source *source) {
    text_json_string(body, "name", source->name);
    text_json_string(body, "description", source->description);
    text_json_raw(body, "environmentList", source->environments);
}

static void write_details(struct text *body, const struct origin_materials *materials) {
    text_json_open(body, "keyStoreEnvironmentList", '[');
    for (size_t i = 0; i < materials->count; i++) {
        text_json_open(body, NULL, '{');
        text_json_string(body, "environmentName", materials->items[i].environment);
        text_json_string(body, "type", materials->items[i].type);
        text_json_raw(body, "entries", materials->items[i].details);
        text_json_close(body, '}');
    }
    text_json_close(body, ']');
}

static const struct source_kind_operations operations = {
    .kind = SOURCE_KEYSTORE,
    .listing = {.mark = 's', .read = source_object_read_list},
    .name_label = "Keystore",
    .complete = complete,
    .write_item = write_item,
    .write_details = write_details,
};

void keystores_list(struct call *call) { source_object_list(call, &operations); }
void keystores_get(struct call *call) { source_object_get(call, &operations); }
void keystores_delete(struct call *call) { source_object_delete(call, &operations); }

void keystores_create(struct call *call) {
    struct source_input *input = source_object_read_body(call, read_members);
    if (input)
        source_object_create(call, &operations, input);
}

void keystores_update(struct call *call) {
    struct source_input *input = source_object_read_body(call, read_members);
    if (input)
        source_object_update(call, &operations, input);
}
