/* Requests with an Idempotency-Key. */
#include "store_idempotency.h"

#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "store_sql.h"

/* Expired rows that one new row clears away: more than one, so that a crowd of them melts, and few, so that none pays for all.
 */
enum { FORGOTTEN_AT_ONCE = 4 };

void store_remembered_clear(struct store_remembered *remembered) {
    free(remembered->location);
    free(remembered->body);
    *remembered = (struct store_remembered){0};
}

int store_find_request(struct store *store, const struct store_request *request, int64_t now, bool *found,
                       struct store_remembered *remembered, struct error *error) {
    *found = false;
    *remembered = (struct store_remembered){0};
    sqlite3_stmt *statement = store_statement(
        store,
        "SELECT request_hash, coalesce(first_deployment, 0), coalesce(last_deployment, 0), coalesce(status, 0), location, body"
        " FROM idempotency WHERE user = ?1 AND key = ?2 AND expires_at > ?3",
        error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, request->user);
    store_bind_text(statement, 2, request->key);
    store_bind_integer(statement, 3, now);
    int row = store_step(store, statement, "looking up an idempotency key", error);
    if (row <= 0)
        return row;
    *found = true;
    memcpy(remembered->hash, sqlite3_column_blob(statement, 0), sizeof remembered->hash);
    remembered->first = sqlite3_column_int64(statement, 1);
    remembered->last = sqlite3_column_int64(statement, 2);
    remembered->status = (unsigned)sqlite3_column_int(statement, 3);
    remembered->location = memory_string(store_text(statement, 4));
    remembered->body = memory_string(store_text(statement, 5));
    sqlite3_reset(statement);
    return 0;
}

static int forget_expired(struct store *store, int64_t now, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store,
                        "DELETE FROM idempotency WHERE (user, key) IN"
                        " (SELECT user, key FROM idempotency WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
                        error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, now);
    store_bind_integer(statement, 2, FORGOTTEN_AT_ONCE);
    return store_run(store, statement, "forgetting expired idempotency keys", error);
}

int store_remember_request(struct store *store, const struct store_request *request, int64_t first, int64_t last, int64_t now,
                           int64_t expires_at, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store,
                        "INSERT INTO idempotency (user, key, request_hash, first_deployment, last_deployment, expires_at)"
                        " VALUES (?1, ?2, ?3, nullif(?4, 0), nullif(?5, 0), ?6) ON CONFLICT (user, key) DO UPDATE SET"
                        " request_hash = excluded.request_hash, first_deployment = excluded.first_deployment,"
                        " last_deployment = excluded.last_deployment, status = NULL, location = NULL, body = NULL,"
                        " expires_at = excluded.expires_at WHERE expires_at <= ?7 RETURNING 1",
                        error);
    if (!statement || forget_expired(store, now, error))
        return -1;
    store_bind_text(statement, 1, request->user);
    store_bind_text(statement, 2, request->key);
    sqlite3_bind_blob(statement, 3, request->hash, sizeof request->hash, SQLITE_STATIC);
    store_bind_integer(statement, 4, first);
    store_bind_integer(statement, 5, last);
    store_bind_integer(statement, 6, expires_at);
    store_bind_integer(statement, 7, now);
    int row = store_step(store, statement, "remembering an idempotency key", error);
    if (row == 1)
        sqlite3_reset(statement);
    return row == 1 ? 0 : row < 0 ? -1 : error_set(error, ERROR_UNAVAILABLE, "The Idempotency-Key is in use");
}

int store_remember_answer(struct store *store, const struct store_request *request, unsigned status, const char *location,
                          const char *body, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "UPDATE idempotency SET status = ?4, location = ?5, body = ?6 WHERE user = ?1 AND key = ?2 AND request_hash = ?3",
        error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, request->user);
    store_bind_text(statement, 2, request->key);
    sqlite3_bind_blob(statement, 3, request->hash, sizeof request->hash, SQLITE_STATIC);
    store_bind_integer(statement, 4, status);
    store_bind_text(statement, 5, location);
    store_bind_text(statement, 6, body);
    return store_run(store, statement, "remembering an answer", error);
}
