/* What attaches JWKs to their sources, and making them again. */
#include "store_origin.h"

#include <string.h>

#include "common/clock.h"
#include "common/memory.h"
#include "store_deployment.h"
#include "store_sql.h"

static void bind_optional(sqlite3_stmt *statement, int index, int64_t value) {
    if (value)
        sqlite3_bind_int64(statement, index, value);
    else
        sqlite3_bind_null(statement, index);
}

/* ---- certificates, keys and keystores ---- */

int store_attach_source(struct store *store, const char *jwk_uid, const struct store_origin *origin, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "INSERT INTO jwk_origin (jwk_id, attached_version, source_id, environment_id, use_type, algorithm, alias)"
        " SELECT jwk.id, jwk.version, source.id, ?4, ?5, ?6, ?7 FROM jwk, source"
        " WHERE jwk.uid = ?1 AND source.uid = ?2 AND source.version = ?3",
        error);
    sqlite3_stmt *count = store_statement(store, "UPDATE source SET attachments = attachments + 1 WHERE uid = ?1", error);
    if (!statement || !count)
        return -1;
    store_bind_text(statement, 1, jwk_uid);
    store_bind_text(statement, 2, origin->source_uid);
    store_bind_integer(statement, 3, origin->source_version);
    bind_optional(statement, 4, origin->environment_id);
    store_bind_text(statement, 5, origin->use_type);
    store_bind_text(statement, 6, origin->algorithm);
    store_bind_text(statement, 7, origin->alias);
    if (store_run(store, statement, "attaching a JWK to its source", error))
        return -1;
    if (sqlite3_changes(store->db) == 0)
        return error_set(error, ERROR_UNAVAILABLE, "The source was changed at the same time; try again");
    store_bind_text(count, 1, origin->source_uid);
    return store_run(store, count, "counting an attachment", error);
}

int store_each_attached(struct store *store, int64_t source_id, int64_t project_id, int limit,
                        void (*visit)(void *context, const struct store_attached *attached), void *context,
                        struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "SELECT jwk.id, environment.name, jwk.name, source_type, use_type, algorithm, alias, attached_version"
        " FROM jwk_origin JOIN jwk ON jwk.id = jwk_id LEFT JOIN environment ON environment.id = environment_id"
        " WHERE jwk_origin.source_id = ?1 AND (?2 = 0 OR project_id = ?2) ORDER BY jwk.id LIMIT ?3",
        error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, source_id);
    store_bind_integer(statement, 2, project_id);
    store_bind_integer(statement, 3, limit);
    int row;
    while ((row = store_step(store, statement, "looking for JWKs made from a source", error)) == 1) {
        struct store_attached attached = {
            .jwk_id = sqlite3_column_int64(statement, 0),
            .environment = store_text(statement, 1),
            .jwk_name = store_text(statement, 2),
            .source_type = store_text(statement, 3),
            .use_type = store_text(statement, 4),
            .algorithm = store_text(statement, 5),
            .alias = store_text(statement, 6),
            .attachment = sqlite3_column_int64(statement, 7),
        };
        visit(context, &attached);
    }
    return row;
}

/* ---- making again ---- */

static int write_material(struct store *store, const char *jwk_uid, const struct store_remade *remade, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, "UPDATE jwk SET type = ?2, kid = ?3 WHERE id = ?1", error);
    sqlite3_stmt *material =
        store_statement(store, "UPDATE jwk_material SET public_key = ?2, private_key = ?3 WHERE jwk_id = ?1", error);
    if (!statement || !material)
        return -1;
    store_bind_integer(statement, 1, remade->jwk_id);
    store_bind_text(statement, 2, remade->type);
    store_bind_text(statement, 3, remade->kid);
    store_bind_integer(material, 1, remade->jwk_id);
    store_bind_text(material, 2, remade->public_key);
    if (store_bind_sealed(store, material, 3, PRIVATE_KEY_PLACE, jwk_uid, remade->private_key, error) ||
        store_run(store, statement, "making a JWK again", error))
        return -1;
    return store_run(store, material, "storing a JWK's material", error);
}

int store_remake_jwk(struct store *store, const struct store_author *author, const struct store_remade *remade,
                     struct store_change *change, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "SELECT jwk.uid, jwk.name, jwk.description, jwk.version, jwk.partition, project.id, project.uid, project.name,"
        " jwk.type, jwk.kid, jwk.retiring_until FROM jwk"
        " JOIN project ON project.id = project_id WHERE jwk.id = ?1"
        " AND (EXISTS (SELECT 1 FROM jwk_origin WHERE jwk_id = ?1 AND attached_version = ?2)"
        " OR EXISTS (SELECT 1 FROM jwk_url WHERE jwk_id = ?1 AND attached_version = ?2))",
        error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, remade->jwk_id);
    store_bind_integer(statement, 2, remade->attachment);
    int row = store_step(store, statement, "reading an attached JWK", error);
    if (row <= 0)
        return row < 0 ? -1 : error_set(error, ERROR_NOT_FOUND, "The JWK is not attached to its source any more");
    int64_t now = clock_wall_ms();
    struct store_author project_author = *author;
    project_author.project_id = sqlite3_column_int64(statement, 5);
    project_author.project_uid = store_text(statement, 6);
    project_author.project_name = store_text(statement, 7);
    const char *kid = store_text(statement, 9);
    char changed[32];
    snprintf(changed, sizeof changed, "%s%smaterial", strcmp(store_text(statement, 8), remade->type) != 0 ? "type," : "",
             !kid != !remade->kid || (kid && strcmp(kid, remade->kid) != 0) ? "kid," : "");
    struct store_retiring retiring;
    struct deployment_subject subject = {
        .operation = EVENT_UPDATE,
        .changed = changed,
        .retiring = &retiring,
        .id = remade->jwk_id,
        .uid = store_text(statement, 0),
        .version = sqlite3_column_int64(statement, 3) + 1,
        .partition = sqlite3_column_int(statement, 4),
        .name = store_text(statement, 1),
        .description = store_text(statement, 2),
        .type = remade->type,
        .kid = remade->kid,
        .public_key = remade->public_key,
        .is_new_key = true,
        .private_key = remade->private_key,
        .updated_at = now,
        .now = now,
    };
    /* The row's strings are borrowed from the statement, which is reset only after all that. */
    int status = store_retiring_take(store, remade->jwk_id, sqlite3_column_int64(statement, 10), now, &retiring, error);
    if (status == 0) {
        status = store_retiring_drop_kid(store, remade->jwk_id, remade->kid, &retiring, error) ||
                 write_material(store, subject.uid, remade, error) ||
                 store_record_deployment(store, &project_author, &subject, change, error);
        store_retiring_clear(&retiring);
    }
    sqlite3_reset(statement);
    return status ? -1 : 0;
}

static bool is_same(const char *one, const char *other) { return !one == !other && (!one || strcmp(one, other) == 0); }

/* Whether a JWK has that material already (or is gone): told by opening it. 1, 0, or -1 with an error. */
static int has_material(struct store *store, const struct store_remade *remade, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store, "SELECT public_key, private_key, uid FROM jwk_material JOIN jwk ON jwk.id = jwk_id WHERE jwk_id = ?1", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, remade->jwk_id);
    int row = store_step(store, statement, "comparing a JWK's material", error);
    if (row <= 0)
        return row < 0 ? -1 : 1;
    struct text private_key = TEXT_EMPTY;
    int same = is_same(store_text(statement, 0), remade->public_key);
    if (same) {
        int status = store_open_sealed(store, statement, 1, PRIVATE_KEY_PLACE, store_text(statement, 2), &private_key, error);
        same = status ? -1 : is_same(private_key.bytes, remade->private_key);
    }
    sqlite3_reset(statement);
    text_wipe(&private_key);
    return same;
}

int store_refresh_jwk(struct store *store, const struct store_author *author, const struct store_remade *remade,
                      struct store_change *change, struct error *error) {
    *change = (struct store_change){0};
    int same = has_material(store, remade, error);
    if (same)
        return same < 0 ? -1 : 0;
    if (store_remake_jwk(store, author, remade, change, error) == 0 || error->code == ERROR_NOT_FOUND)
        return 0;
    return -1;
}

/* ---- URLs ---- */

int store_attach_url(struct store *store, const char *jwk_uid, const struct store_url *url, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "INSERT INTO jwk_url (jwk_id, attached_version, kid, connect_timeout, read_timeout, size_limit, etag, last_modified,"
        " due_at, checked_at) SELECT id, version, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM jwk WHERE uid = ?1",
        error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, jwk_uid);
    store_bind_text(statement, 2, url->kid);
    store_bind_integer(statement, 3, url->connect_timeout);
    store_bind_integer(statement, 4, url->read_timeout);
    store_bind_integer(statement, 5, url->size_limit);
    store_bind_text(statement, 6, url->etag);
    store_bind_text(statement, 7, url->last_modified);
    store_bind_integer(statement, 8, url->due_at);
    store_bind_integer(statement, 9, clock_wall_ms());
    return store_run(store, statement, "attaching a JWK to its URL", error);
}

/* When the first that is not due yet is. */
static int find_next_due(struct store *store, int64_t now, int64_t *next_due, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store, "SELECT due_at FROM jwk_url WHERE due_at > ?1 ORDER BY due_at LIMIT 1", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, now);
    int row = store_step(store, statement, "looking for the next fetch", error);
    *next_due = row == 1 ? sqlite3_column_int64(statement, 0) : INT64_MAX;
    sqlite3_reset(statement);
    return row < 0 ? -1 : 0;
}

#define DUE_SELECT                                                                        \
    "SELECT jwk_id, failures, source_url, jwk_url.kid, connect_timeout, read_timeout,"    \
    " size_limit, etag, last_modified, due_at, uid, attached_version, project_id FROM jwk_url JOIN jwk ON jwk.id = jwk_id" \
    " WHERE project_id <> ?3 AND due_at "

/* Visits the rows of one of the two statements below. */
static int visit_due(struct store *store, sqlite3_stmt *statement, int64_t bound, int64_t except, int limit,
                     void (*visit)(void *context, const struct store_url_due *due), void *context, struct error *error) {
    store_bind_integer(statement, 1, bound);
    store_bind_integer(statement, 2, limit);
    store_bind_integer(statement, 3, except);
    int row;
    while ((row = store_step(store, statement, "looking for fetches that are due", error)) == 1) {
        struct store_url_due due = {
            .jwk_id = sqlite3_column_int64(statement, 0),
            .project_id = sqlite3_column_int64(statement, 12),
            .failures = sqlite3_column_int64(statement, 1),
            .url = store_text(statement, 2),
            .jwk_uid = store_text(statement, 10),
            .attachment = sqlite3_column_int64(statement, 11),
            .options = {.kid = store_text(statement, 3),
                        .connect_timeout = sqlite3_column_int64(statement, 4),
                        .read_timeout = sqlite3_column_int64(statement, 5),
                        .size_limit = sqlite3_column_int64(statement, 6),
                        .etag = store_text(statement, 7),
                        .last_modified = store_text(statement, 8),
                        .due_at = sqlite3_column_int64(statement, 9)},
        };
        visit(context, &due);
    }
    return row;
}

int store_each_due(struct store *store, int64_t now, int64_t horizon, int64_t except, int limit,
                   void (*visit)(void *context, const struct store_url_due *due), void *context, int64_t *next_due,
                   struct error *error) {
    /* Two statements, so that each reads no more of the index than it returns. */
    sqlite3_stmt *due = store_statement(store, DUE_SELECT "<= ?1 ORDER BY due_at LIMIT ?2", error);
    sqlite3_stmt *beyond = store_statement(store, DUE_SELECT "> ?1 ORDER BY due_at LIMIT ?2", error);
    if (!due || !beyond || visit_due(store, due, now, except, limit, visit, context, error) ||
        visit_due(store, beyond, horizon, except, limit, visit, context, error))
        return -1;
    return find_next_due(store, now, next_due, error);
}

int store_set_url_outcome(struct store *store, const struct store_url_outcome *outcome, struct error *error) {
    sqlite3_stmt *statement =
        outcome->error
            ? store_statement(store, "UPDATE jwk_url SET checked_at = ?2, due_at = ?3, failures = failures + 1, error = ?4"
                                     " WHERE jwk_id = ?1 AND attached_version = ?7", error)
            : store_statement(store, "UPDATE jwk_url SET checked_at = ?2, due_at = ?3, failures = 0, error = ?4, etag = ?5,"
                                     " last_modified = ?6 WHERE jwk_id = ?1 AND attached_version = ?7", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, outcome->jwk_id);
    store_bind_integer(statement, 2, outcome->checked_at);
    store_bind_integer(statement, 3, outcome->due_at);
    store_bind_integer(statement, 7, outcome->attachment);
    store_bind_text(statement, 4, outcome->error);
    if (!outcome->error) {
        store_bind_text(statement, 5, outcome->etag);
        store_bind_text(statement, 6, outcome->last_modified);
    }
    return store_run(store, statement, "recording a fetch", error);
}

int store_detach(struct store *store, int64_t jwk_id, struct error *error) {
    sqlite3_stmt *origin = store_statement(store, "DELETE FROM jwk_origin WHERE jwk_id = ?1", error);
    sqlite3_stmt *url = store_statement(store, "DELETE FROM jwk_url WHERE jwk_id = ?1", error);
    if (!origin || !url)
        return -1;
    store_bind_integer(origin, 1, jwk_id);
    store_bind_integer(url, 1, jwk_id);
    return store_run(store, origin, "detaching a JWK", error) || store_run(store, url, "detaching a JWK", error) ? -1 : 0;
}

int store_find_url_status(struct store *store, int64_t jwk_id, struct store_url_status *status, struct error *error) {
    *status = (struct store_url_status){0};
    sqlite3_stmt *statement =
        store_statement(store, "SELECT checked_at, due_at, failures, error FROM jwk_url WHERE jwk_id = ?1", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, jwk_id);
    int row = store_step(store, statement, "reading how a fetch went", error);
    if (row <= 0)
        return row < 0 ? -1 : error_set(error, ERROR_NOT_FOUND, "The JWK is attached to no URL");
    status->checked_at = sqlite3_column_int64(statement, 0);
    status->due_at = sqlite3_column_int64(statement, 1);
    status->failures = sqlite3_column_int64(statement, 2);
    status->error = memory_string(store_text(statement, 3));
    sqlite3_reset(statement);
    return 0;
}

int store_count_failing(struct store *store, int64_t *count, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, "SELECT count(*) FROM jwk_url WHERE failures > 0", error);
    if (!statement || store_step(store, statement, "counting sources that fail", error) != 1)
        return -1;
    *count = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return 0;
}
