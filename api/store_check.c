/* Checking a store. */
#include "store_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/identifier.h"
#include "common/json.h"
#include "common/memory.h"
#include "store_sealing.h"
#include "store_sql.h"

struct checking {
    struct store *store;
    void (*report)(void *context, const char *finding);
    void *context;
    struct store_check_counts *counts;
};

__attribute__((format(printf, 2, 3))) static void find(const struct checking *checking, const char *format, ...) {
    char finding[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(finding, sizeof finding, format, arguments);
    va_end(arguments);
    checking->report(checking->context, finding);
}

/* ---- what SQL can tell ---- */

enum { INTEGRITY_FINDINGS_MAX = 20 };

/* Each row of the first column is a finding, but "ok". */
static int report_rows(const struct checking *checking, const char *sql, const char *what, const char *prefix,
                       struct error *error) {
    sqlite3_stmt *statement = store_statement(checking->store, sql, error);
    if (!statement)
        return -1;
    int row;
    while ((row = store_step(checking->store, statement, what, error)) == 1)
        if (strcmp(store_text(statement, 0), "ok") != 0)
            find(checking, "%s%s", prefix, store_text(statement, 0));
    return row;
}

/* What must not be, told by the row that is. */
static const char *const contradictions[] = {
    "SELECT format('JWK %s has no material', uid) FROM jwk WHERE deleted_at IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM jwk_material WHERE jwk_id = jwk.id)",
    "SELECT format('JWK %s is deleted and still has material', uid) FROM jwk JOIN jwk_material ON jwk_id = jwk.id"
    " WHERE deleted_at IS NOT NULL",
    "SELECT format('JWK %s has version %d, and its latest deployment is of version %d', uid, jwk.version, deployment.version)"
    " FROM jwk JOIN (SELECT id, jwk_id, version FROM deployment) AS deployment ON deployment.id = jwk.deployment"
    " WHERE deployment.version <> jwk.version",
    "SELECT format('JWK %s names a latest deployment that is not its own', uid) FROM jwk"
    " WHERE deployment IS NOT NULL AND NOT EXISTS (SELECT 1 FROM deployment WHERE deployment.id = jwk.deployment AND jwk_id = "
    "jwk.id)",
    "SELECT format('deployment %s names one before it that is not an earlier one of its JWK', uid) FROM deployment"
    " WHERE previous IS NOT NULL AND NOT EXISTS (SELECT 1 FROM deployment AS earlier"
    " WHERE earlier.id = deployment.previous AND earlier.jwk_id = deployment.jwk_id AND earlier.id < deployment.id)",
    "SELECT format('deployment %s is not in the chain of its JWK', uid) FROM deployment"
    " WHERE id NOT IN (SELECT previous FROM deployment WHERE previous IS NOT NULL)"
    " AND EXISTS (SELECT 1 FROM jwk JOIN deployment AS latest ON latest.id = jwk.deployment AND latest.jwk_id = jwk.id"
    " WHERE jwk.id = deployment.jwk_id AND latest.id <> deployment.id)",
    "SELECT format('project %s does not name its latest deployment', uid) FROM project"
    " WHERE (deployment IS NOT NULL OR id IN (SELECT project_id FROM deployment))"
    " AND NOT EXISTS (SELECT 1 FROM deployment WHERE deployment.id = project.deployment AND project_id = project.id)",
    "SELECT format('deployment %s names one before it that is not an earlier one of its project', uid) FROM deployment"
    " WHERE previous_in_project IS NOT NULL AND NOT EXISTS (SELECT 1 FROM deployment AS earlier"
    " WHERE earlier.id = deployment.previous_in_project AND earlier.project_id = deployment.project_id"
    " AND earlier.id < deployment.id)",
    "SELECT format('deployment %s is not in the chain of its project', uid) FROM deployment"
    " WHERE id NOT IN (SELECT previous_in_project FROM deployment WHERE previous_in_project IS NOT NULL)"
    " AND EXISTS (SELECT 1 FROM project JOIN deployment AS latest ON latest.id = project.deployment"
    " AND latest.project_id = project.id WHERE project.id = deployment.project_id AND latest.id <> deployment.id)",
    "SELECT format('JWK %s is on partition %d of %d', uid, partition, (SELECT partitions FROM store)) FROM jwk"
    " WHERE partition >= (SELECT partitions FROM store WHERE partitions > 0)",
    "SELECT format('JWK %s does not note until when its replaced keys are served', uid) FROM jwk"
    " WHERE retiring_until IS NOT (SELECT max(until) FROM jwk_retiring WHERE jwk_id = jwk.id)",
    "SELECT format('deployment %s is of epoch %d, and the store of %d', uid, epoch, (SELECT epoch FROM store)) FROM deployment"
    " WHERE epoch > (SELECT epoch FROM store)",
    "SELECT format('deployment %s has the number %d, and the last one given is %d', uid, id, (SELECT sequence FROM store))"
    " FROM deployment WHERE id > (SELECT sequence FROM store)",
    "SELECT format('deployment %s has a result of the unknown state %d', uid, state) FROM deployment_result"
    " JOIN deployment ON deployment.id = deployment_id WHERE state NOT BETWEEN 0 AND 2",
    "SELECT format('event %s waits under the number %d, and the last one given is %d', event_id, id, (SELECT sequence FROM "
    "store))"
    " FROM outbox WHERE id > (SELECT sequence FROM store)",
    "SELECT format('event %s waits and belongs to no deployment', event_id) FROM outbox"
    " WHERE value IS NOT NULL AND NOT EXISTS (SELECT 1 FROM deployment WHERE deployment.id = outbox.id)",
    "SELECT format('event %s waits on another partition or key than its JWK''s', event_id) FROM outbox"
    " LEFT JOIN jwk ON jwk.uid = outbox.key WHERE jwk.uid IS NULL OR jwk.partition <> outbox.partition",
    "SELECT 'there is no row that names the store' WHERE NOT EXISTS (SELECT 1 FROM store)",
};

static int check_rows(const struct checking *checking, struct error *error) {
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA integrity_check(%d)", INTEGRITY_FINDINGS_MAX);
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(checking->store->db, sql, -1, &statement, NULL) != SQLITE_OK)
        return store_failed(checking->store, "checking the database", error);
    int result;
    bool is_sound = true;
    while ((result = sqlite3_step(statement)) == SQLITE_ROW)
        if (strcmp(store_text(statement, 0), "ok") != 0) {
            is_sound = false;
            find(checking, "database: %s", store_text(statement, 0));
        }
    sqlite3_finalize(statement);
    if (result != SQLITE_DONE)
        return store_failed(checking->store, "checking the database", error);
    if (!is_sound)
        return 1; /* what is read from it means nothing */
    if (report_rows(checking,
                    "SELECT format('a row of %s refers to a row of %s that there is not', \"table\", parent) FROM"
                    " pragma_foreign_key_check",
                    "checking foreign keys", "", error))
        return -1;
    for (size_t i = 0; i < sizeof contradictions / sizeof *contradictions; i++)
        if (report_rows(checking, contradictions[i], "checking JWKs and deployments", "", error))
            return -1;
    return 0;
}

/* ---- the outbox: what waits must be what its deployment was recorded for ---- */

static int check_outbox(const struct checking *checking, struct error *error) {
    sqlite3_stmt *statement = store_statement(checking->store,
                                              "SELECT event_id, value, event_hash FROM outbox LEFT JOIN deployment ON "
                                              "deployment.id = outbox.id WHERE value IS NOT NULL",
                                              error);
    if (!statement)
        return -1;
    int row;
    while ((row = store_step(checking->store, statement, "checking the outbox", error)) == 1) {
        char hash[SHA256_TEXT_SIZE];
        const char *expected = store_text(statement, 2);
        sha256_text(store_text(statement, 1), (size_t)sqlite3_column_bytes(statement, 1), hash);
        if (expected && strcmp(hash, expected) != 0)
            find(checking, "event %s waits and is not the one that its deployment was recorded for", store_text(statement, 0));
        checking->counts->outbox++;
    }
    return row;
}

/* ---- the chain of evidence that waits to be published ---- */

struct chain {
    int64_t sequence; /* of the line before; 0: it was published */
    char hash[SHA256_TEXT_SIZE];
};

static void check_line(const struct checking *checking, struct chain *chain, const char *line, size_t length) {
    struct error error;
    int64_t sequence = 0;
    const char *previous = NULL;
    cJSON *object = json_parse(line, length, &error);
    if (!object || json_get_integer(object, "sequence", true, 1, INT64_MAX, &sequence, &error) ||
        json_get_string(object, "previous", true, &previous, &error))
        find(checking, "the line of evidence behind number %lld can not be read: %s", (long long)chain->sequence,
             error.message);
    else if (chain->sequence && (sequence != chain->sequence + 1 || strcmp(previous, chain->hash) != 0))
        find(checking, "the line of evidence %lld does not follow the one before it (%lld)", (long long)sequence,
             (long long)chain->sequence);
    chain->sequence = sequence;
    sha256_text(line, length, chain->hash);
    cJSON_Delete(object);
    checking->counts->audit_lines++;
}

static int check_head(const struct checking *checking, const struct chain *chain, struct error *error) {
    sqlite3_stmt *statement = store_statement(checking->store, "SELECT audit_sequence, audit_hash FROM store WHERE id = 1", error);
    if (!statement)
        return -1;
    int row = store_step(checking->store, statement, "checking the chain of evidence", error);
    if (row == 0)
        find(checking, "the end of the chain of evidence is not known");
    else if (row == 1 && chain->sequence &&
             (sqlite3_column_int64(statement, 0) != chain->sequence || strcmp(store_text(statement, 1), chain->hash) != 0))
        find(checking, "the chain of evidence does not end with the line %lld, as it should",
             (long long)sqlite3_column_int64(statement, 0));
    sqlite3_reset(statement);
    return row < 0 ? -1 : 0;
}

static int check_audit(const struct checking *checking, struct error *error) {
    struct chain chain = {0};
    sqlite3_stmt *statement = store_statement(checking->store, "SELECT lines FROM audit_outbox ORDER BY sequence", error);
    if (!statement)
        return -1;
    int row;
    while ((row = store_step(checking->store, statement, "checking the chain of evidence", error)) == 1)
        for (const char *line = store_text(statement, 0), *next; *line; line = next) {
            size_t length = strcspn(line, "\n");
            next = line + length + (line[length] == '\n');
            check_line(checking, &chain, line, length);
        }
    return row < 0 ? -1 : check_head(checking, &chain, error);
}

/* ---- secrets ---- */

static const struct {
    const char *place, *select; /* name of the row, value */
} secrets[] = {
    {PRIVATE_KEY_PLACE,
     "SELECT uid, private_key FROM jwk_material JOIN jwk ON jwk.id = jwk_id WHERE private_key IS NOT NULL ORDER BY jwk_id"},
    {PRIVATE_MATERIAL_PLACE,
     "SELECT uid || '/' || environment_id, private_material FROM source_material JOIN source ON source.id = source_id"
     " WHERE private_material IS NOT NULL"},
    {PASSWORD_PLACE, "SELECT uid || '/' || environment_id, password FROM source_material JOIN source ON source.id = source_id"
                     " WHERE password IS NOT NULL"},
    {SIGNING_KEY_PLACE, "SELECT kid, private_key FROM signing_key WHERE private_key IS NOT NULL"},
};

static int check_secrets(const struct checking *checking, const char *place, const char *select, struct error *error) {
    sqlite3_stmt *statement = store_statement(checking->store, select, error);
    if (!statement)
        return -1;
    int row;
    while ((row = store_step(checking->store, statement, "checking secrets", error)) == 1) {
        struct text secret = TEXT_EMPTY;
        struct error reason;
        const char *name = store_text(statement, 0);
        size_t size = (size_t)sqlite3_column_bytes(statement, 1);
        if (sealing_key_of(sqlite3_column_blob(statement, 1), size) == 0)
            find(checking, "%s of %s is in clear text: 'jwk-api serve' seals it when it starts", place, name);
        else if (checking->store->sealing && store_open_sealed(checking->store, statement, 1, place, name, &secret, &reason))
            find(checking, "%s of %s does not open: it was changed, or belongs elsewhere", place, name);
        text_wipe(&secret);
        checking->counts->secrets++;
    }
    return row;
}

/* ---- all ---- */

static int count(const struct checking *checking, const char *sql, int64_t *number, struct error *error) {
    sqlite3_stmt *statement = store_statement(checking->store, sql, error);
    if (!statement || store_step(checking->store, statement, "counting", error) != 1)
        return -1;
    *number = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return 0;
}

static int check_all(const struct checking *checking, struct error *error) {
    int rows = check_rows(checking, error);
    if (rows)
        return rows < 0 ? -1 : 0;
    if (check_outbox(checking, error) || check_audit(checking, error))
        return -1;
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
        if (check_secrets(checking, secrets[i].place, secrets[i].select, error))
            return -1;
    return count(checking, "SELECT count(*) FROM jwk WHERE deleted_at IS NULL", &checking->counts->jwks, error) ||
                   count(checking, "SELECT count(*) FROM deployment", &checking->counts->deployments, error)
               ? -1
               : 0;
}

int store_check(struct store *store, void (*report)(void *context, const char *finding), void *context,
                struct store_check_counts *counts, struct error *error) {
    struct checking checking = {.store = store, .report = report, .context = context, .counts = counts};
    *counts = (struct store_check_counts){0};
    if (store_execute(store, "BEGIN", "beginning a snapshot", error))
        return -1;
    int status = check_all(&checking, error);
    store_rollback(store);
    return status;
}
