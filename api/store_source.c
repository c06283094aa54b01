/* Certificates, keys and keystores. */
#include "store_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/memory.h"
#include "store_sql.h"

enum { DEPENDENTS_SHOWN_MAX = 10 }; /* JWKs that a refused delete names */

const char *source_kind_word(enum source_kind kind) {
    static const char *const words[] = {"Certificate", "Key", "Keystore"};
    return words[kind];
}

/* ---- reading ---- */

#define SOURCE_COLUMNS                                                                        \
    "id, uid, name, description, alias, key_type, version, attachments,"                      \
    " (SELECT json_group_array(name) FROM (SELECT environment.name FROM source_material"      \
    " JOIN environment ON environment.id = environment_id AND removed_at IS NULL"             \
    " WHERE source_id = source.id ORDER BY environment.name))"

/* Reads SOURCE_COLUMNS; the strings belong to the statement. */
static void read_columns(sqlite3_stmt *statement, struct store_source *source) {
    *source = (struct store_source){
        .id = sqlite3_column_int64(statement, 0),
        .uid = store_text(statement, 1),
        .name = store_text(statement, 2),
        .description = store_text(statement, 3),
        .alias = store_text(statement, 4),
        .key_type = store_text(statement, 5),
        .version = sqlite3_column_int64(statement, 6),
        .attachments = sqlite3_column_int64(statement, 7),
        .environments = store_text(statement, 8),
    };
}

int store_each_source(struct store *store, int64_t project_id, enum source_kind kind, const char *after, int limit,
                      void (*visit)(void *context, const struct store_source *source), void *context, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store, "SELECT " SOURCE_COLUMNS " FROM source WHERE project_id = ?1 AND kind = ?2 AND name > ?3"
                               " ORDER BY name LIMIT ?4", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, project_id);
    store_bind_integer(statement, 2, kind);
    store_bind_text(statement, 3, after);
    store_bind_integer(statement, 4, limit);
    int row;
    while ((row = store_step(store, statement, "listing sources", error)) == 1) {
        struct store_source source;
        read_columns(statement, &source);
        visit(context, &source);
    }
    return row;
}

int store_find_source(struct store *store, int64_t project_id, enum source_kind kind, const char *name,
                      struct store_source *source, struct error *error) {
    *source = (struct store_source){0};
    sqlite3_stmt *statement = store_statement(
        store, "SELECT " SOURCE_COLUMNS " FROM source WHERE project_id = ?1 AND kind = ?2 AND name = ?3", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, project_id);
    store_bind_integer(statement, 2, kind);
    store_bind_text(statement, 3, name);
    int row = store_step(store, statement, "reading a source", error);
    if (row <= 0)
        return row < 0 ? -1 : error_set(error, ERROR_NOT_FOUND, "%s (name: %s) is not found!", source_kind_word(kind), name);
    read_columns(statement, source);
    /* One block holds every string. */
    const char **fields[] = {&source->uid,      &source->name,        &source->description, &source->alias,
                             &source->key_type, &source->environments};
    struct text block = TEXT_EMPTY;
    size_t offsets[sizeof fields / sizeof *fields];
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        offsets[i] = block.length;
        if (*fields[i])
            text_add(&block, *fields[i], strlen(*fields[i]) + 1);
    }
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (*fields[i])
            *fields[i] = block.bytes + offsets[i];
    source->storage = text_take(&block);
    sqlite3_reset(statement);
    return 0;
}

void store_source_free(struct store_source *source) {
    free(source->storage);
    *source = (struct store_source){0};
}

enum { PLACE_SIZE = UUID_SIZE + 24 };

/* The row of source_material, as secrets are bound to it. */
static const char *material_row(const char *source_uid, int64_t environment_id, char out[PLACE_SIZE]) {
    snprintf(out, PLACE_SIZE, "%s/%lld", source_uid, (long long)environment_id);
    return out;
}

struct secrets {
    struct text private_material, password;
};

/* Of a row with the columns of the statement below. */
static int open_secrets(struct store *store, sqlite3_stmt *statement, struct secrets *secrets, struct error *error) {
    char row[PLACE_SIZE];
    material_row(store_text(statement, 7), sqlite3_column_int64(statement, 0), row);
    return store_open_sealed(store, statement, 5, PRIVATE_MATERIAL_PLACE, row, &secrets->private_material, error) ||
                   store_open_sealed(store, statement, 6, PASSWORD_PLACE, row, &secrets->password, error)
               ? -1
               : 0;
}

static void clear_secrets(struct secrets *secrets) {
    text_wipe(&secrets->private_material);
    text_wipe(&secrets->password);
}

int store_each_material(struct store *store, int64_t source_id, bool secrets,
                        void (*visit)(void *context, const struct store_material *material), void *context,
                        struct error *error) {
    /* Two statements: what is not asked for is not even read from the disk. */
    sqlite3_stmt *statement =
        secrets
            ? store_statement(store,
                              "SELECT environment_id, environment.name, source_material.type, details, public_material,"
                              " private_material, password, source.uid FROM source_material JOIN source ON source.id = source_id"
                              " JOIN environment ON environment.id = environment_id AND removed_at IS NULL"
                              " WHERE source_id = ?1 ORDER BY environment.name",
                              error)
            : store_statement(store,
                              "SELECT environment_id, name, type, details, public_material, NULL, NULL"
                              " FROM source_material JOIN environment ON environment.id = environment_id AND removed_at IS NULL"
                              " WHERE source_id = ?1 ORDER BY name",
                              error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, source_id);
    int row;
    while ((row = store_step(store, statement, "reading a source's material", error)) == 1) {
        struct secrets opened = {TEXT_EMPTY, TEXT_EMPTY};
        if (secrets && open_secrets(store, statement, &opened, error)) {
            clear_secrets(&opened);
            sqlite3_reset(statement);
            return -1;
        }
        struct store_material material = {
            .environment_id = sqlite3_column_int64(statement, 0),
            .environment = store_text(statement, 1),
            .type = store_text(statement, 2),
            .details = store_text(statement, 3),
            .public_material = store_text(statement, 4),
            .private_material = opened.private_material.bytes,
            .password = opened.password.bytes,
        };
        visit(context, &material);
        clear_secrets(&opened);
    }
    return row;
}

int store_find_environment(struct store *store, const char *name, int64_t *id, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store, "SELECT id FROM environment WHERE name = ?1 AND removed_at IS NULL", error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, name);
    int row = store_step(store, statement, "looking up an environment", error);
    if (row <= 0)
        return row < 0 ? -1 : error_set(error, ERROR_NOT_FOUND, "Environment (name: %s) is not found!", name);
    *id = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return 0;
}

/* ---- changing ---- */

/* Whether another source of that kind has the name. 1, 0, or -1 with an error. */
static int name_is_taken(struct store *store, int64_t project_id, enum source_kind kind, const char *name, int64_t except,
                         struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store, "SELECT 1 FROM source WHERE project_id = ?1 AND kind = ?2 AND name = ?3 AND id <> ?4", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, project_id);
    store_bind_integer(statement, 2, kind);
    store_bind_text(statement, 3, name);
    store_bind_integer(statement, 4, except);
    int row = store_step(store, statement, "looking up a source's name", error);
    sqlite3_reset(statement);
    return row;
}

static int insert_materials(struct store *store, int64_t source_id, const char *source_uid, const struct store_new_source *source,
                            struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "INSERT INTO source_material (source_id, environment_id, type, public_material, private_material, password, details)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        error);
    if (!statement)
        return -1;
    for (size_t i = 0; i < source->material_count; i++) {
        const struct store_material *material = &source->materials[i];
        int64_t environment_id;
        char row[PLACE_SIZE];
        if (store_find_environment(store, material->environment, &environment_id, error))
            return -1;
        material_row(source_uid, environment_id, row);
        store_bind_integer(statement, 1, source_id);
        store_bind_integer(statement, 2, environment_id);
        store_bind_text(statement, 3, material->type);
        store_bind_text(statement, 4, material->public_material);
        store_bind_text(statement, 7, material->details);
        if (store_bind_sealed(store, statement, 5, PRIVATE_MATERIAL_PLACE, row, material->private_material, error) ||
            store_bind_sealed(store, statement, 6, PASSWORD_PLACE, row, material->password, error) ||
            store_run(store, statement, "storing a source's material", error))
            return -1;
    }
    return 0;
}

int store_add_source(struct store *store, const struct store_author *author, const struct store_new_source *source,
                     struct error *error) {
    int taken = name_is_taken(store, author->project_id, source->kind, source->name, 0, error);
    if (taken)
        return taken < 0 ? -1
                         : error_set(error, ERROR_CONFLICT,
                                     "%s (name: %s) is already exist! Try update operation if want to change its value.",
                                     source_kind_word(source->kind), source->name);
    sqlite3_stmt *statement = store_statement(
        store, "INSERT INTO source (uid, project_id, kind, name, description, alias, key_type, created_at, updated_at)"
               " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)", error);
    if (!statement)
        return -1;
    char uid[UUID_SIZE];
    uuid_new(uid);
    store_bind_text(statement, 1, uid);
    store_bind_integer(statement, 2, author->project_id);
    store_bind_integer(statement, 3, source->kind);
    store_bind_text(statement, 4, source->name);
    store_bind_text(statement, 5, source->description);
    store_bind_text(statement, 6, source->alias);
    store_bind_text(statement, 7, source->key_type);
    store_bind_integer(statement, 8, clock_wall_ms());
    if (store_run(store, statement, "adding a source", error))
        return -1;
    return insert_materials(store, sqlite3_last_insert_rowid(store->db), uid, source, error);
}

int store_change_source(struct store *store, const struct store_source *before, const struct store_author *author,
                        const struct store_new_source *source, struct error *error) {
    int taken = source->name ? name_is_taken(store, author->project_id, source->kind, source->name, before->id, error) : 0;
    if (taken)
        return taken < 0 ? -1
                         : error_set(error, ERROR_CONFLICT, "%s (name: %s) is already exist!", source_kind_word(source->kind),
                                     source->name);
    sqlite3_stmt *statement = store_statement(
        store,
        "UPDATE source SET name = coalesce(?4, name), description = coalesce(?5, description), alias = coalesce(?6, alias),"
        " key_type = coalesce(?7, key_type), version = version + 1, updated_at = ?8"
        " WHERE id = ?1 AND version = ?2 AND attachments = ?3",
        error);
    sqlite3_stmt *clear = store_statement(store, "DELETE FROM source_material WHERE source_id = ?1", error);
    if (!statement || !clear)
        return -1;
    store_bind_integer(statement, 1, before->id);
    store_bind_integer(statement, 2, before->version);
    store_bind_integer(statement, 3, before->attachments);
    store_bind_text(statement, 4, source->name);
    store_bind_text(statement, 5, source->description);
    store_bind_text(statement, 6, source->alias);
    store_bind_text(statement, 7, source->key_type);
    store_bind_integer(statement, 8, clock_wall_ms());
    if (store_run(store, statement, "updating a source", error))
        return -1;
    if (sqlite3_changes(store->db) == 0)
        return error_set(error, ERROR_UNAVAILABLE, "%s (name: %s) was changed at the same time; try again",
                         source_kind_word(source->kind), before->name);
    if (source->material_count == 0)
        return 0;
    store_bind_integer(clear, 1, before->id);
    if (store_run(store, clear, "replacing a source's material", error))
        return -1;
    return insert_materials(store, before->id, before->uid, source, error);
}

/* ERROR_CONFLICT with the names of the JWKs that are made from it, if any. */
static int refuse_dependents(struct store *store, const struct store_source *source, enum source_kind kind,
                             struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store, "SELECT name, count(*) OVER () FROM jwk_origin JOIN jwk ON jwk.id = jwk_id WHERE jwk_origin.source_id = ?1"
               " ORDER BY name LIMIT ?2", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, source->id);
    store_bind_integer(statement, 2, DEPENDENTS_SHOWN_MAX);
    struct text names = TEXT_EMPTY;
    int64_t all = 0, shown = 0;
    int row;
    while ((row = store_step(store, statement, "looking for JWKs made from a source", error)) == 1) {
        text_add_format(&names, "%s%s", shown++ ? ", " : "", store_text(statement, 0));
        all = sqlite3_column_int64(statement, 1);
    }
    if (row == 0 && all) {
        if (all > shown)
            text_add_format(&names, " and %lld more", (long long)(all - shown));
        row = error_set(error, ERROR_CONFLICT, "%s (name: %s) can not be deleted! %lld JWK%s made from it: %s",
                        source_kind_word(kind), source->name, (long long)all, all == 1 ? " is" : "s are", names.bytes);
    }
    text_free(&names);
    return row;
}

int store_remove_source(struct store *store, const struct store_author *author, enum source_kind kind, const char *name,
                        struct error *error) {
    struct store_source source;
    if (store_find_source(store, author->project_id, kind, name, &source, error))
        return -1;
    sqlite3_stmt *statement = store_statement(store, "DELETE FROM source WHERE id = ?1", error);
    int status = statement ? refuse_dependents(store, &source, kind, error) : -1;
    if (status == 0) {
        store_bind_integer(statement, 1, source.id);
        status = store_run(store, statement, "deleting a source", error);
    }
    store_source_free(&source);
    return status;
}
