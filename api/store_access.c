/* Projects and tokens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/memory.h"
#include "store_sql.h"

int store_add_named(struct store *store, const char *sql, const char *what, const char *name, struct error *error) {
    if (name_check(what, name, error))
        return -1;
    sqlite3_stmt *statement = store_statement(store, sql, error);
    if (!statement)
        return -1;
    char uid[UUID_SIZE];
    uuid_new(uid);
    store_bind_text(statement, 1, uid);
    store_bind_text(statement, 2, name);
    store_bind_integer(statement, 3, clock_wall_ms());
    int result = sqlite3_step(statement);
    int status = 0;
    if (result == SQLITE_CONSTRAINT_UNIQUE)
        status = error_set(error, ERROR_CONFLICT, "%s (name: %s) is already exist!", what, name);
    else if (result != SQLITE_DONE)
        status = store_failed(store, "adding by name", error);
    sqlite3_reset(statement);
    return status;
}

int store_change_named(struct store *store, const char *sql, const char *what, const char *name, int64_t second,
                       struct error *error) {
    sqlite3_stmt *statement = store_statement(store, sql, error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, name);
    if (sqlite3_bind_parameter_count(statement) > 1)
        store_bind_integer(statement, 2, second);
    if (store_run(store, statement, "changing by name", error))
        return -1;
    if (sqlite3_changes(store->db) == 0)
        return error_set(error, ERROR_NOT_FOUND, "%s (name: %s) is not found!", what, name);
    return 0;
}

static int visit_items(struct store *store, sqlite3_stmt *statement, store_item_visitor *visit, void *context,
                       struct error *error) {
    int row;
    while ((row = store_step(store, statement, "listing", error)) == 1) {
        struct store_item item = {
            .id = sqlite3_column_int64(statement, 0),
            .uid = store_text(statement, 1),
            .name = store_text(statement, 2),
            .created_at = sqlite3_column_int64(statement, 3),
            .keys = sqlite3_column_count(statement) > 4 ? store_text(statement, 4) : NULL,
        };
        visit(context, &item);
    }
    return row;
}

int store_each_item(struct store *store, const char *sql, store_item_visitor *visit, void *context, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, sql, error);
    return statement ? visit_items(store, statement, visit, context, error) : -1;
}

int store_add_project(struct store *store, const char *name, struct error *error) {
    return store_add_named(store, "INSERT INTO project (uid, name, created_at) VALUES (?1, ?2, ?3)", "Project", name, error);
}

/* ERROR_CONFLICT while a project has certificates, keys or keystores. */
static int refuse_sources(struct store *store, const char *name, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store, "SELECT 1 FROM source JOIN project ON project.id = source.project_id WHERE project.name = ?1 LIMIT 1", error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, name);
    int row = store_step(store, statement, "looking for sources of the project", error);
    if (row == 1) {
        sqlite3_reset(statement);
        return error_set(error, ERROR_CONFLICT, "Project (name: %s) has certificates, keys or keystores: delete them first",
                         name);
    }
    return row;
}

int store_remove_project(struct store *store, const char *name, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store, "SELECT 1 FROM jwk JOIN project ON project.id = jwk.project_id WHERE project.name = ?1 LIMIT 1", error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, name);
    int row = store_step(store, statement, "looking for JWKs of the project", error);
    if (row == 1) {
        sqlite3_reset(statement);
        return error_set(error, ERROR_CONFLICT, "Project (name: %s) has or had JWKs: its history stays", name);
    }
    if (row == 0)
        row = refuse_sources(store, name, error);
    return row < 0 ? -1 : store_change_named(store, "DELETE FROM project WHERE name = ?1", "Project", name, 0, error);
}

int store_each_project(struct store *store, store_item_visitor *visit, void *context, struct error *error) {
    return store_each_item(store, "SELECT id, uid, name, created_at FROM project ORDER BY name", visit, context, error);
}

int store_page_items(struct store *store, sqlite3_stmt *statement, const char *after, int limit, store_item_visitor *visit,
                     void *context, struct error *error) {
    store_bind_text(statement, 1, after);
    store_bind_integer(statement, 2, limit);
    return visit_items(store, statement, visit, context, error);
}

int store_page_projects(struct store *store, const struct store_token *token, const char *after, int limit,
                        store_item_visitor *visit, void *context, struct error *error) {
    sqlite3_stmt *statement = store_statement(store,
                                              "SELECT id, uid, name, created_at FROM project WHERE name > ?1"
                                              " AND (?3 OR EXISTS (SELECT 1 FROM token_project WHERE token_id = ?4 AND "
                                              "project_id = project.id)) ORDER BY name LIMIT ?2",
                                              error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 3, token->all_projects);
    store_bind_integer(statement, 4, token->id);
    return store_page_items(store, statement, after, limit, visit, context, error);
}

/* ---- tokens ---- */

int store_find_token(struct store *store, const unsigned char hash[32], int64_t now, struct store_token *token,
                     struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store,
                        "SELECT id, user, roles, all_projects FROM token WHERE hash = ?1 AND revoked_at IS NULL"
                        " AND (expires_at IS NULL OR expires_at > ?2)",
                        error);
    if (!statement)
        return -1;
    sqlite3_bind_blob(statement, 1, hash, 32, SQLITE_STATIC);
    store_bind_integer(statement, 2, now);
    int row = store_step(store, statement, "looking up a token", error);
    if (row <= 0)
        return row < 0 ? -1 : error_set(error, ERROR_DENIED, "Invalid token");
    token->id = sqlite3_column_int64(statement, 0);
    snprintf(token->user, sizeof token->user, "%s", store_text(statement, 1));
    token->roles = sqlite3_column_int(statement, 2);
    token->all_projects = sqlite3_column_int(statement, 3) != 0;
    sqlite3_reset(statement);
    return 0;
}

int store_find_project(struct store *store, const struct store_token *token, const char *name, struct store_project *project,
                       struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store,
                        "SELECT id, uid FROM project WHERE name = ?1"
                        " AND (?2 OR EXISTS (SELECT 1 FROM token_project WHERE token_id = ?3 AND project_id = project.id))",
                        error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, name);
    store_bind_integer(statement, 2, token->all_projects);
    store_bind_integer(statement, 3, token->id);
    int row = store_step(store, statement, "looking up a project", error);
    if (row <= 0)
        return row < 0 ? -1
                       : error_set(error, ERROR_NOT_FOUND,
                                   "Project (%s) is not found or user does not have privilege to access it!", name);
    project->id = sqlite3_column_int64(statement, 0);
    snprintf(project->uid, sizeof project->uid, "%s", store_text(statement, 1));
    sqlite3_reset(statement);
    return 0;
}

static int add_token_project(struct store *store, int64_t token_id, const char *name, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "INSERT OR REPLACE INTO token_project (token_id, project_id) SELECT ?2, id FROM project WHERE name = ?1 RETURNING 1",
        error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, name);
    store_bind_integer(statement, 2, token_id);
    int row = store_step(store, statement, "limiting a token to a project", error);
    if (row == 1)
        sqlite3_reset(statement);
    return row == 1 ? 0 : row < 0 ? -1 : error_set(error, ERROR_NOT_FOUND, "Project (name: %s) is not found!", name);
}

int store_add_token(struct store *store, const struct store_new_token *token, const unsigned char hash[32], char uid[UUID_SIZE],
                    struct error *error) {
    if (name_check("User", token->user, error))
        return -1;
    sqlite3_stmt *statement = store_statement(store,
                                              "INSERT INTO token (uid, hash, user, roles, all_projects, created_at, "
                                              "expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, nullif(?7, 0))",
                                              error);
    if (!statement)
        return -1;
    uuid_new(uid);
    store_bind_text(statement, 1, uid);
    sqlite3_bind_blob(statement, 2, hash, 32, SQLITE_STATIC);
    store_bind_text(statement, 3, token->user);
    store_bind_integer(statement, 4, token->roles);
    store_bind_integer(statement, 5, token->project_count == 0);
    store_bind_integer(statement, 6, clock_wall_ms());
    store_bind_integer(statement, 7, token->expires_at);
    if (store_run(store, statement, "adding a token", error))
        return -1;
    int64_t id = sqlite3_last_insert_rowid(store->db);
    for (size_t i = 0; i < token->project_count; i++)
        if (add_token_project(store, id, token->projects[i], error))
            return -1;
    return 0;
}

int store_revoke_token(struct store *store, const char *uid, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store, "UPDATE token SET revoked_at = ?2 WHERE uid = ?1 AND revoked_at IS NULL", error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, uid);
    store_bind_integer(statement, 2, clock_wall_ms());
    if (store_run(store, statement, "revoking a token", error))
        return -1;
    if (sqlite3_changes(store->db) == 0)
        return error_set(error, ERROR_NOT_FOUND, "Token (id: %s) is not found or is revoked already!", uid);
    return 0;
}

int store_each_token_row(struct store *store, sqlite3_stmt *statement,
                         void (*visit)(void *context, const struct store_token_item *item), void *context,
                         struct error *error) {
    int row;
    while ((row = store_step(store, statement, "listing tokens", error)) == 1) {
        struct store_token_item item = {
            .uid = store_text(statement, 0),
            .user = store_text(statement, 1),
            .roles = sqlite3_column_int(statement, 2),
            .projects = store_text(statement, 3),
            .created_at = sqlite3_column_int64(statement, 4),
            .expires_at = sqlite3_column_int64(statement, 5),
            .revoked_at = sqlite3_column_int64(statement, 6),
        };
        visit(context, &item);
    }
    return row;
}

int store_each_token(struct store *store, void (*visit)(void *context, const struct store_token_item *item), void *context,
                     struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "SELECT uid, user, roles, CASE WHEN all_projects THEN '*' ELSE coalesce((SELECT group_concat(name, ',') FROM project"
        " JOIN token_project ON project_id = project.id WHERE token_id = token.id), '') END,"
        " created_at, coalesce(expires_at, 0), coalesce(revoked_at, 0) FROM token ORDER BY id",
        error);
    return statement ? store_each_token_row(store, statement, visit, context, error) : -1;
}
