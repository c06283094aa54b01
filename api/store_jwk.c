/* JWKs: reading them, and the three changes, each of which records its deployment (store_deployment.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/memory.h"
#include "store_deployment.h"
#include "store_sealing.h"
#include "store_sql.h"

#define JWK_COLUMNS                                                                                                   \
    "jwk.id, jwk.uid, jwk.name, jwk.description, jwk.type, jwk.kid, jwk.source_type, jwk.source_id, jwk.source_url, " \
    "jwk.version, jwk.partition, jwk.created_at, jwk.updated_at, jwk.retiring_until"

/* Reads JWK_COLUMNS; the strings belong to the statement. */
static void read_columns(const struct store *store, sqlite3_stmt *statement, struct store_jwk *jwk) {
    *jwk = (struct store_jwk){
        .epoch = store->identity.epoch,
        .id = sqlite3_column_int64(statement, 0),
        .uid = store_text(statement, 1),
        .name = store_text(statement, 2),
        .description = store_text(statement, 3),
        .type = store_text(statement, 4),
        .kid = store_text(statement, 5),
        .source_type = store_text(statement, 6),
        .source_id = store_text(statement, 7),
        .source_url = store_text(statement, 8),
        .version = sqlite3_column_int64(statement, 9),
        .partition = sqlite3_column_int(statement, 10),
        .created_at = sqlite3_column_int64(statement, 11),
        .updated_at = sqlite3_column_int64(statement, 12),
        .retiring_until = sqlite3_column_int64(statement, 13),
    };
}

/* What a found JWK owns. */
struct storage {
    struct text strings; /* one block for all */
    struct text private_key; /* opened; wiped */
    struct sealing *sealing;
    void *sealed; /* NULL: there is no private half, or it was not asked for */
    size_t sealed_size;
};

/* Moves the strings out of the statement's reach. */
static void keep_strings(struct store_jwk *jwk, struct storage *storage) {
    const char **fields[] = {&jwk->uid,         &jwk->name,      &jwk->description, &jwk->type,      &jwk->kid,
                             &jwk->source_type, &jwk->source_id, &jwk->source_url,  &jwk->public_key};
    size_t offsets[sizeof fields / sizeof *fields];
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        offsets[i] = storage->strings.length;
        if (*fields[i])
            text_add(&storage->strings, *fields[i], strlen(*fields[i]) + 1);
    }
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (*fields[i])
            *fields[i] = storage->strings.bytes + offsets[i];
}

/* Keeps the sealed private half of the statement's column, and sees to it that it can be opened later. */
static int keep_sealed(struct store *store, sqlite3_stmt *statement, int column, struct storage *storage, struct error *error) {
    int size = sqlite3_column_bytes(statement, column);
    if (size == 0)
        return 0;
    storage->sealing = store->sealing;
    storage->sealed = memory_bytes(sqlite3_column_blob(statement, column), (size_t)size);
    storage->sealed_size = (size_t)size;
    return store_prepare_opening(store, statement, column, error);
}

enum { PRIVATE_KEY_COLUMN = 15 };

static int find_jwk(struct store *store, sqlite3_stmt *statement, int64_t project_id, const char *name, struct store_jwk *jwk,
                    struct error *error) {
    *jwk = (struct store_jwk){0};
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, project_id);
    store_bind_text(statement, 2, name);
    int row = store_step(store, statement, "reading a JWK", error);
    if (row <= 0)
        return row < 0 ? -1 : error_set(error, ERROR_NOT_FOUND, "JWK (name: %s) is not found!", name);
    struct storage *storage = memory_new(sizeof *storage);
    read_columns(store, statement, jwk);
    jwk->public_key = store_text(statement, PRIVATE_KEY_COLUMN - 1);
    jwk->storage = storage;
    keep_strings(jwk, storage);
    int status = sqlite3_column_count(statement) > PRIVATE_KEY_COLUMN
                     ? keep_sealed(store, statement, PRIVATE_KEY_COLUMN, storage, error)
                     : 0;
    sqlite3_reset(statement);
    if (status)
        store_jwk_free(jwk);
    return status;
}

#define FIND_JWK(columns)                                                         \
    "SELECT " JWK_COLUMNS ", " columns " FROM jwk JOIN jwk_material ON jwk_id = jwk.id" \
    " WHERE project_id = ?1 AND name = ?2 AND deleted_at IS NULL"

int store_find_jwk(struct store *store, int64_t project_id, const char *name, struct store_jwk *jwk, struct error *error) {
    return find_jwk(store, store_statement(store, FIND_JWK("public_key"), error), project_id, name, jwk, error);
}

int store_find_whole_jwk(struct store *store, int64_t project_id, const char *name, struct store_jwk *jwk, struct error *error) {
    return find_jwk(store, store_statement(store, FIND_JWK("public_key, private_key"), error), project_id, name, jwk, error);
}

int store_open_jwk(struct store_jwk *jwk, struct error *error) {
    struct storage *storage = jwk->storage;
    if (!storage->sealed || jwk->private_key)
        return 0;
    if (sealing_open(storage->sealing, PRIVATE_KEY_PLACE, jwk->uid, storage->sealed, storage->sealed_size, &storage->private_key,
                     error))
        return -1;
    jwk->private_key = storage->private_key.bytes;
    return 0;
}

void store_jwk_free(struct store_jwk *jwk) {
    struct storage *storage = jwk->storage;
    if (storage) {
        text_free(&storage->strings);
        text_wipe(&storage->private_key);
        free(storage->sealed);
        free(storage);
    }
    *jwk = (struct store_jwk){0};
}

int store_each_jwk(struct store *store, int64_t project_id, const char *after, int limit,
                   void (*visit)(void *context, const struct store_jwk *jwk), void *context, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "SELECT " JWK_COLUMNS " FROM jwk WHERE project_id = ?1 AND name > ?2 AND deleted_at IS NULL ORDER BY name LIMIT ?3",
        error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, project_id);
    store_bind_text(statement, 2, after);
    store_bind_integer(statement, 3, limit);
    int row;
    while ((row = store_step(store, statement, "listing JWKs", error)) == 1) {
        struct store_jwk jwk;
        read_columns(store, statement, &jwk);
        visit(context, &jwk);
    }
    return row;
}

/* The partition of a new JWK: its uid spread over those that the store fixed (FNV-1a). */
static int choose_partition(const struct store *store, const char *uid) {
    uint32_t hash = 2166136261u;
    for (const char *c = uid; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    return store->identity.partitions > 0 ? (int)(hash % (uint32_t)store->identity.partitions) : 0;
}

/* Whether a live JWK of that name exists in the project. 1, 0, or -1 with an error. */
static int name_is_taken(struct store *store, int64_t project_id, const char *name, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store, "SELECT 1 FROM jwk WHERE project_id = ?1 AND name = ?2 AND deleted_at IS NULL", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, project_id);
    store_bind_text(statement, 2, name);
    int row = store_step(store, statement, "looking up a JWK's name", error);
    sqlite3_reset(statement);
    return row;
}

int store_create_jwk(struct store *store, const struct store_author *author, const struct store_new_jwk *jwk,
                     struct store_change *change, struct error *error) {
    int taken = name_is_taken(store, author->project_id, jwk->name, error);
    if (taken)
        return taken < 0
                   ? -1
                   : error_set(error, ERROR_CONFLICT,
                               "JWK (name: %s) is already exist! Try update operation if want to change its value.", jwk->name);
    sqlite3_stmt *statement =
        store_statement(store,
                        "INSERT INTO jwk (uid, project_id, name, description, type, kid, source_type, source_id, source_url, "
                        "version, partition,"
                        " created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1, ?10, ?11, ?11)",
                        error);
    sqlite3_stmt *material =
        store_statement(store, "INSERT INTO jwk_material (jwk_id, public_key, private_key) VALUES (?1, ?2, ?3)", error);
    if (!statement || !material)
        return -1;
    char uid[UUID_SIZE];
    uuid_new(uid);
    int64_t now = clock_wall_ms();
    int partition = choose_partition(store, uid);
    store_bind_text(statement, 1, uid);
    store_bind_integer(statement, 2, author->project_id);
    store_bind_text(statement, 3, jwk->name);
    store_bind_text(statement, 4, jwk->description);
    store_bind_text(statement, 5, jwk->type);
    store_bind_text(statement, 6, jwk->kid);
    store_bind_text(statement, 7, jwk->source_type);
    store_bind_text(statement, 8, jwk->source_id);
    store_bind_text(statement, 9, jwk->source_url);
    store_bind_integer(statement, 10, partition);
    store_bind_integer(statement, 11, now);
    if (store_run(store, statement, "creating a JWK", error))
        return -1;
    int64_t id = sqlite3_last_insert_rowid(store->db);
    store_bind_integer(material, 1, id);
    store_bind_text(material, 2, jwk->public_key);
    if (store_bind_sealed(store, material, 3, PRIVATE_KEY_PLACE, uid, jwk->private_key, error) ||
        store_run(store, material, "storing a JWK's material", error))
        return -1;
    struct deployment_subject subject = {.operation = EVENT_CREATE,
                                         .id = id,
                                         .uid = uid,
                                         .version = 1,
                                         .partition = partition,
                                         .name = jwk->name,
                                         .description = jwk->description,
                                         .type = jwk->type,
                                         .kid = jwk->kid,
                                         .public_key = jwk->public_key,
                                         .is_new_key = true,
                                         .private_key = jwk->private_key,
                                         .updated_at = now,
                                         .now = now};
    return store_record_deployment(store, author, &subject, change, error);
}

static int check_precondition(const struct store_author *author, const struct store_jwk *jwk, struct error *error) {
    return author->precondition ? author->precondition(author->precondition_context, jwk, error) : 0;
}

enum { CHANGED_SIZE = 64 };

static bool differ(const char *one, const char *other) {
    return !one != !other || (one && strcmp(one, other) != 0);
}

/* The fields that an update changes, for the history; NULL when it is the same as before. */
static const char *name_changes(const struct store_jwk *before, const char *name, const char *description,
                                char out[CHANGED_SIZE]) {
    bool attached = strcmp(before->source_type, "GENERATE") != 0 && strcmp(before->source_type, "COPY_PASTE") != 0;
    snprintf(out, CHANGED_SIZE, "%s%s%s%s%s", differ(before->name, name) ? ",name" : "",
             differ(before->description, description) ? ",description" : "", attached ? ",sourceType" : "",
             before->source_id ? ",sourceId" : "", before->source_url ? ",sourceUrl" : "");
    return out[0] ? out + 1 : NULL;
}

/* Whether more changes than the description: SQLite writes every index of a column that is set, also to the value that it has.
 */
static bool renames_or_detaches(const struct store_jwk *before, const char *name) {
    return strcmp(before->name, name) != 0 || before->source_id || before->source_url ||
           (strcmp(before->source_type, "GENERATE") != 0 && strcmp(before->source_type, "COPY_PASTE") != 0);
}

/* Any update detaches, also one that only renames: from here on the JWK is as if its material had been pasted. */
static int rename_and_detach(struct store *store, const struct store_jwk *jwk, const char *name, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "UPDATE jwk SET name = ?2, source_type = CASE WHEN source_type = 'GENERATE' THEN source_type ELSE 'COPY_PASTE' END,"
        " source_id = NULL, source_url = NULL WHERE id = ?1",
        error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, jwk->id);
    store_bind_text(statement, 2, name);
    return store_run(store, statement, "updating a JWK", error);
}

int store_update_jwk(struct store *store, const struct store_author *author, const char *jwk_name, const char *name,
                     const char *description, struct store_change *change, struct error *error) {
    struct store_jwk jwk;
    if (store_find_jwk(store, author->project_id, jwk_name, &jwk, error)) {
        if (error->code == ERROR_NOT_FOUND)
            error_set(error, ERROR_NOT_FOUND, "JWK (name: %s) is not found! Try create operation.", jwk_name);
        return -1;
    }
    int status = -1;
    struct store_retiring retiring = {0};
    char changed[CHANGED_SIZE];
    const char *new_name = name ? name : jwk.name, *new_description = description ? description : jwk.description;
    if (check_precondition(author, &jwk, error))
        goto out;
    int taken = strcmp(new_name, jwk.name) == 0 ? 0 : name_is_taken(store, author->project_id, new_name, error);
    if (taken) {
        if (taken > 0)
            error_set(error, ERROR_CONFLICT, "JWK (name: %s) is already exist!", new_name);
        goto out;
    }
    int64_t now = clock_wall_ms();
    if ((renames_or_detaches(&jwk, new_name) && rename_and_detach(store, &jwk, new_name, error)) ||
        store_retiring_take(store, jwk.id, jwk.retiring_until, now, &retiring, error))
        goto out;
    struct deployment_subject subject = {.operation = EVENT_UPDATE,
                                         .id = jwk.id,
                                         .uid = jwk.uid,
                                         .version = jwk.version + 1,
                                         .partition = jwk.partition,
                                         .name = new_name,
                                         .description = new_description,
                                         .type = jwk.type,
                                         .kid = jwk.kid,
                                         .public_key = jwk.public_key,
                                         .retiring = &retiring,
                                         .updated_at = now,
                                         .now = now,
                                         .changed = name_changes(&jwk, new_name, new_description, changed)};
    status = store_record_deployment(store, author, &subject, change, error);
out:
    store_retiring_clear(&retiring);
    store_jwk_free(&jwk);
    return status;
}

static int record_deletion(struct store *store, const struct store_author *author, const struct store_jwk *jwk,
                           int64_t updated_at, int64_t now, struct store_change *change, struct error *error) {
    struct deployment_subject subject = {.operation = EVENT_DELETE,
                                         .id = jwk->id,
                                         .uid = jwk->uid,
                                         .version = jwk->version + 1,
                                         .partition = jwk->partition,
                                         .name = jwk->name,
                                         .description = jwk->description,
                                         .type = jwk->type,
                                         .kid = jwk->kid,
                                         .updated_at = updated_at,
                                         .now = now};
    return store_record_deployment(store, author, &subject, change, error);
}

int store_delete_jwk(struct store *store, const struct store_author *author, const char *jwk_name, struct store_change *change,
                     struct error *error) {
    struct store_jwk jwk;
    if (store_find_jwk(store, author->project_id, jwk_name, &jwk, error))
        return -1;
    int status = -1;
    if (check_precondition(author, &jwk, error))
        goto out;
    sqlite3_stmt *statement = store_statement(store, "UPDATE jwk SET deleted_at = ?2 WHERE id = ?1", error);
    sqlite3_stmt *material = store_statement(store, "DELETE FROM jwk_material WHERE jwk_id = ?1", error);
    if (!statement || !material)
        goto out;
    int64_t now = clock_wall_ms();
    store_bind_integer(statement, 1, jwk.id);
    store_bind_integer(statement, 2, now);
    store_bind_integer(material, 1, jwk.id);
    if (store_run(store, statement, "deleting a JWK", error) ||
        store_run(store, material, "deleting a JWK's material", error) ||
        (jwk.retiring_until && store_retiring_end(store, jwk.id, error)))
        goto out;
    status = record_deletion(store, author, &jwk, now, now, change, error);
out:
    store_jwk_free(&jwk);
    return status;
}

int store_delete_jwk_again(struct store *store, const struct store_author *author, int64_t id, struct store_change *change,
                           struct error *error) {
    sqlite3_stmt *find = store_statement(store, "SELECT " JWK_COLUMNS " FROM jwk WHERE id = ?1 AND deleted_at IS NOT NULL", error);
    if (!find)
        return -1;
    store_bind_integer(find, 1, id);
    int row = store_step(store, find, "reading a deleted JWK", error);
    if (row <= 0)
        return row < 0 ? -1 : error_set(error, ERROR_NOT_FOUND, "no deleted JWK has the id %lld", (long long)id);
    struct store_jwk jwk;
    read_columns(store, find, &jwk);
    int status = record_deletion(store, author, &jwk, jwk.updated_at, clock_wall_ms(), change, error);
    sqlite3_reset(find);
    return status;
}

int store_redeploy_jwk(struct store *store, const struct store_author *author, const char *jwk_name, const char *environment,
                       struct store_change *change, struct error *error) {
    struct store_jwk jwk;
    if (store_find_jwk(store, author->project_id, jwk_name, &jwk, error))
        return -1;
    int status = -1;
    struct store_retiring retiring = {0};
    int64_t now = clock_wall_ms();
    if (check_precondition(author, &jwk, error) ||
        store_retiring_take(store, jwk.id, jwk.retiring_until, now, &retiring, error))
        goto out;
    struct deployment_subject subject = {.operation = EVENT_REDEPLOY,
                                         .id = jwk.id,
                                         .uid = jwk.uid,
                                         .version = jwk.version + 1,
                                         .partition = jwk.partition,
                                         .name = jwk.name,
                                         .description = jwk.description,
                                         .type = jwk.type,
                                         .kid = jwk.kid,
                                         .public_key = jwk.public_key,
                                         .retiring = &retiring,
                                         .updated_at = jwk.updated_at,
                                         .now = now,
                                         .environment = environment};
    status = store_record_deployment(store, author, &subject, change, error);
out:
    store_retiring_clear(&retiring);
    store_jwk_free(&jwk);
    return status;
}
