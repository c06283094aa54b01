/* Clients, and the tokens that they are given. */
#include "store_client.h"

#include <openssl/crypto.h>

#include "common/clock.h"
#include "store_audit.h"
#include "store_sql.h"

/* Expired tokens that one new token clears away: more than one, so that a crowd of them melts, and few, so that none pays for
 * all. */
enum { FORGOTTEN_AT_ONCE = 4 };

static int add_client_project(struct store *store, int64_t client_id, const char *name, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "INSERT OR REPLACE INTO client_project (client_id, project_id) SELECT ?2, id FROM project WHERE name = ?1 RETURNING 1",
        error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, name);
    store_bind_integer(statement, 2, client_id);
    int row = store_step(store, statement, "limiting a client to a project", error);
    if (row == 1)
        sqlite3_reset(statement);
    return row == 1 ? 0 : row < 0 ? -1 : error_set(error, ERROR_NOT_FOUND, "Project (name: %s) is not found!", name);
}

int store_add_client(struct store *store, const struct store_new_token *client, const unsigned char secret_hash[32],
                     char uid[UUID_SIZE], struct error *error) {
    if (name_check("User", client->user, error))
        return -1;
    sqlite3_stmt *statement = store_statement(
        store, "INSERT INTO client (uid, secret_hash, user, roles, all_projects, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        error);
    if (!statement)
        return -1;
    uuid_new(uid);
    store_bind_text(statement, 1, uid);
    sqlite3_bind_blob(statement, 2, secret_hash, 32, SQLITE_STATIC);
    store_bind_text(statement, 3, client->user);
    store_bind_integer(statement, 4, client->roles);
    store_bind_integer(statement, 5, client->project_count == 0);
    store_bind_integer(statement, 6, clock_wall_ms());
    if (store_run(store, statement, "adding a client", error))
        return -1;
    int64_t id = sqlite3_last_insert_rowid(store->db);
    for (size_t i = 0; i < client->project_count; i++)
        if (add_client_project(store, id, client->projects[i], error))
            return -1;
    return 0;
}

int store_revoke_client(struct store *store, const char *uid, struct error *error) {
    sqlite3_stmt *client =
        store_statement(store, "UPDATE client SET revoked_at = ?2 WHERE uid = ?1 AND revoked_at IS NULL RETURNING id", error);
    sqlite3_stmt *tokens =
        store_statement(store, "UPDATE token SET revoked_at = ?2 WHERE client_id = ?1 AND revoked_at IS NULL", error);
    if (!client || !tokens)
        return -1;
    int64_t now = clock_wall_ms();
    store_bind_text(client, 1, uid);
    store_bind_integer(client, 2, now);
    int row = store_step(store, client, "revoking a client", error);
    if (row <= 0)
        return row < 0 ? -1 : error_set(error, ERROR_NOT_FOUND, "Client (id: %s) is not found or is revoked already!", uid);
    store_bind_integer(tokens, 1, sqlite3_column_int64(client, 0));
    store_bind_integer(tokens, 2, now);
    sqlite3_reset(client);
    return store_run(store, tokens, "revoking a client's tokens", error);
}

int store_each_client(struct store *store, void (*visit)(void *context, const struct store_token_item *item), void *context,
                      struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "SELECT uid, user, roles, CASE WHEN all_projects THEN '*' ELSE coalesce((SELECT group_concat(name, ',') FROM project"
        " JOIN client_project ON project_id = project.id WHERE client_id = client.id), '') END,"
        " created_at, 0, coalesce(revoked_at, 0) FROM client ORDER BY id",
        error);
    return statement ? store_each_token_row(store, statement, visit, context, error) : -1;
}

int store_find_client(struct store *store, const char *uid, const unsigned char secret_hash[32], int64_t *id,
                      struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store, "SELECT id, secret_hash FROM client WHERE uid = ?1 AND revoked_at IS NULL", error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, uid);
    int row = store_step(store, statement, "looking up a client", error);
    if (row < 0)
        return -1;
    bool right = row == 1 && CRYPTO_memcmp(sqlite3_column_blob(statement, 1), secret_hash, 32) == 0;
    if (right)
        *id = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return right ? 0 : error_set(error, ERROR_DENIED, "Bad credentials");
}

static int forget_expired(struct store *store, int64_t now, struct error *error) {
    /* The same rows in both: the second statement's condition is the first one's. */
    sqlite3_stmt *projects = store_statement(
        store,
        "DELETE FROM token_project WHERE token_id IN"
        " (SELECT id FROM token WHERE client_id IS NOT NULL AND expires_at <= ?1 ORDER BY expires_at, id LIMIT ?2)",
        error);
    sqlite3_stmt *tokens = store_statement(
        store,
        "DELETE FROM token WHERE id IN"
        " (SELECT id FROM token WHERE client_id IS NOT NULL AND expires_at <= ?1 ORDER BY expires_at, id LIMIT ?2)",
        error);
    if (!projects || !tokens)
        return -1;
    store_bind_integer(projects, 1, now);
    store_bind_integer(projects, 2, FORGOTTEN_AT_ONCE);
    store_bind_integer(tokens, 1, now);
    store_bind_integer(tokens, 2, FORGOTTEN_AT_ONCE);
    return store_run(store, projects, "forgetting expired tokens", error) ||
                   store_run(store, tokens, "forgetting expired tokens", error)
               ? -1
               : 0;
}

static int tell_issue(struct store *store, const char *user, const char *client, const char *uid, const char *address,
                      int64_t expires_at, struct error *error) {
    char detail[128], time[CLOCK_TEXT_SIZE];
    snprintf(detail, sizeof detail, "client %s, expires %s", client, clock_format(expires_at, time));
    const struct audit_entry entry = {.type = AUDIT_ADMINISTRATION,
                                      .actor = user,
                                      .user_id = -1,
                                      .address = address,
                                      .command = "token issue",
                                      .object = uid,
                                      .detail = detail};
    return store_audit(store, &entry, error);
}

int store_issue_token(struct store *store, int64_t client_id, const unsigned char token_hash[32], const char *address,
                      int64_t now, int64_t expires_at, struct error *error) {
    sqlite3_stmt *token = store_statement(
        store,
        "INSERT INTO token (uid, hash, user, roles, all_projects, created_at, expires_at, client_id)"
        " SELECT ?2, ?3, user, roles, all_projects, ?4, ?5, id FROM client WHERE id = ?1 AND revoked_at IS NULL"
        " RETURNING id, user, (SELECT uid FROM client WHERE client.id = client_id)",
        error);
    sqlite3_stmt *projects = store_statement(
        store,
        "INSERT INTO token_project (token_id, project_id) SELECT ?2, project_id FROM client_project WHERE client_id = ?1",
        error);
    if (!token || !projects || forget_expired(store, now, error))
        return -1;
    char uid[UUID_SIZE];
    uuid_new(uid);
    store_bind_integer(token, 1, client_id);
    store_bind_text(token, 2, uid);
    sqlite3_bind_blob(token, 3, token_hash, 32, SQLITE_STATIC);
    store_bind_integer(token, 4, now);
    store_bind_integer(token, 5, expires_at);
    int row = store_step(store, token, "issuing a token", error);
    if (row <= 0)
        return row < 0 ? -1 : error_set(error, ERROR_DENIED, "Bad credentials");
    store_bind_integer(projects, 1, client_id);
    store_bind_integer(projects, 2, sqlite3_column_int64(token, 0));
    char user[USER_LENGTH_MAX + 1], client[UUID_SIZE];
    snprintf(user, sizeof user, "%s", store_text(token, 1));
    snprintf(client, sizeof client, "%s", store_text(token, 2));
    sqlite3_reset(token);
    return store_run(store, projects, "limiting a token to its client's projects", error) ||
                   tell_issue(store, user, client, uid, address, expires_at, error)
               ? -1
               : 0;
}
