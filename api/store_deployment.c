/* Recording a deployment with its event, and what came of it in each environment. */
#include "store_deployment.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "store_audit.h"
#include "store_envelope.h"
#include "store_sql.h"

enum { SUPERSEDED_MAX = 1000 }; /* earlier versions that are settled at a time */

/* The next number of a deployment or an outgoing record. It is part of the event, so it is needed before the row is there. */
static int take_sequence(struct store *store, int64_t *sequence, struct error *error) {
    if (store->next_sequence == 0) {
        struct store_identity identity;
        if (store_read_identity(store, &identity, error))
            return -1;
        store->next_sequence = identity.sequence + 1;
    }
    *sequence = store->next_sequence++;
    return 0;
}

static int insert_deployment(struct store *store, const struct store_author *author, const struct deployment_subject *subject,
                             const struct store_change *change, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "INSERT INTO deployment (id, uid, project_id, jwk_id, operation, epoch, version, jwk_name, changed, actor,"
        " event_hash, created_at, previous, previous_in_project) VALUES (?1, ?2, ?11, ?3, ?4, ?5, ?6, ?7, ?12, ?8, ?9, ?10,"
        " (SELECT deployment FROM jwk WHERE id = ?3), (SELECT deployment FROM project WHERE id = ?11))",
        error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, change->sequence);
    store_bind_text(statement, 2, change->deployment_id);
    store_bind_integer(statement, 3, subject->id);
    store_bind_integer(statement, 4, subject->operation);
    store_bind_integer(statement, 5, change->epoch);
    store_bind_integer(statement, 6, subject->version);
    store_bind_text(statement, 7, subject->name);
    store_bind_text(statement, 8, author->user);
    store_bind_text(statement, 9, change->event_hash);
    store_bind_integer(statement, 10, subject->now);
    store_bind_integer(statement, 11, author->project_id);
    store_bind_text(statement, 12, subject->changed);
    return store_run(store, statement, "recording a deployment", error);
}

/* Makes the deployment the latest one of its JWK and of its project, after it was inserted. No index has any of these columns:
 * only two rows are written. */
static int make_latest(struct store *store, const struct store_author *author, const struct deployment_subject *subject,
                       const struct store_change *change, struct error *error) {
    sqlite3_stmt *jwk = store_statement(
        store, "UPDATE jwk SET version = ?2, description = ?3, updated_at = ?4, deployment = ?5 WHERE id = ?1", error);
    sqlite3_stmt *project = store_statement(store, "UPDATE project SET deployment = ?2 WHERE id = ?1", error);
    if (!jwk || !project)
        return -1;
    store_bind_integer(jwk, 1, subject->id);
    store_bind_integer(jwk, 2, subject->version);
    store_bind_text(jwk, 3, subject->description);
    store_bind_integer(jwk, 4, subject->updated_at);
    store_bind_integer(jwk, 5, change->sequence);
    store_bind_integer(project, 1, author->project_id);
    store_bind_integer(project, 2, change->sequence);
    return store_run(store, jwk, "recording the latest deployment of a JWK", error) ||
                   store_run(store, project, "recording the latest deployment of a project", error)
               ? -1
               : 0;
}

static int insert_results(struct store *store, const struct store_change *change, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store, "INSERT INTO deployment_result (deployment_id, environment_id) VALUES (?1, ?2)", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, change->sequence);
    for (size_t i = 0; i < change->environments->count; i++) {
        store_bind_integer(statement, 2, change->environments->items[i].id);
        if (store_run(store, statement, "expecting an environment's result", error))
            return -1;
    }
    return 0;
}

/* The event's value and hash; subject: the JWK as a path. */
static struct store_outgoing *make_outgoing(const struct store_author *author, const struct deployment_subject *subject,
                                            const struct text *envelope, struct store_change *change) {
    char time[CLOCK_TEXT_SIZE];
    struct event event = {
        .operation = subject->operation,
        .deployment_id = change->deployment_id,
        .epoch = change->epoch,
        .version = subject->version,
        .sequence = change->sequence,
        .project_id = author->project_uid,
        .project_name = author->project_name,
        .jwk_id = subject->uid,
        .name = subject->name,
        .description = subject->description,
        .type = subject->type,
        .kid = subject->kid,
        .public_key = subject->public_key,
        .private_key = envelope->bytes,
        .retiring = subject->retiring ? subject->retiring->items : NULL,
        .retiring_count = subject->retiring ? subject->retiring->count : 0,
        .actor = author->user,
        .time = clock_format(subject->now, time),
    };
    struct text value = TEXT_EMPTY;
    event_encode(&event, &value);
    sha256_text(value.bytes, value.length, change->event_hash);
    struct store_outgoing *outgoing = memory_new(sizeof *outgoing);
    outgoing->outbox_id = change->sequence;
    outgoing->partition = subject->partition;
    outgoing->event_type = event_operation_type(subject->operation);
    outgoing->subject = memory_format("projects/%s/jwks/%s", author->project_name, subject->name);
    outgoing->time = subject->now;
    snprintf(outgoing->key, sizeof outgoing->key, "%s", subject->uid);
    uuid_new(outgoing->event_id);
    if (author->traceparent)
        snprintf(outgoing->traceparent, sizeof outgoing->traceparent, "%s", author->traceparent);
    outgoing->value_length = value.length;
    outgoing->value = text_take(&value);
    return outgoing;
}

static int insert_outgoing(struct store *store, struct store_outgoing *outgoing, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store,
                        "INSERT INTO outbox (id, partition, key, event_id, event_type, subject, time, traceparent, value)"
                        " VALUES (?9, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                        error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, outgoing->partition);
    store_bind_text(statement, 2, outgoing->key);
    store_bind_text(statement, 3, outgoing->event_id);
    store_bind_text(statement, 4, outgoing->event_type);
    store_bind_text(statement, 5, outgoing->subject);
    store_bind_integer(statement, 6, outgoing->time);
    store_bind_text(statement, 7, outgoing->traceparent[0] ? outgoing->traceparent : NULL);
    if (outgoing->value)
        sqlite3_bind_text(statement, 8, outgoing->value, (int)outgoing->value_length, SQLITE_STATIC);
    else
        sqlite3_bind_null(statement, 8);
    store_bind_integer(statement, 9, outgoing->outbox_id);
    return store_run(store, statement, "writing to the outbox", error);
}

/* Bytes of all keys that the event carries. */
static size_t keys_size(const struct deployment_subject *subject, const struct text *envelope) {
    size_t size = envelope->length + (subject->public_key ? strlen(subject->public_key) : 0);
    for (size_t i = 0; subject->retiring && i < subject->retiring->count; i++)
        size += strlen(subject->retiring->items[i].public_key);
    return size;
}

/* Appends the sealed private half that belongs into the event. Only a new key is refused for its size: a change of something
 * else must not fail because environments were added, and goes without the private half. */
static int seal_private(struct store *store, const struct deployment_subject *subject,
                        const struct store_environments *environments, struct text *envelope, struct error *error) {
    const struct store_environments *whole = environments->whole ? environments->whole : environments;
    if (subject->operation == EVENT_DELETE)
        return 0;
    if (subject->is_new_key) {
        int status = store_envelope_make(store, whole, subject->id, subject->uid, subject->private_key, envelope, error);
        return status && error->code == ERROR_INVALID
                   ? error_prefix(error, "JWK (name: %s) can not be sealed for the environments", subject->name)
                   : status;
    }
    if (store_envelope_find(store, whole, subject->id, subject->uid, envelope, error))
        return -1;
    if (keys_size(subject, envelope) > EVENT_KEY_MAX) {
        log_error("private half is too large beside the public one and is not deployed", "jwk", subject->uid);
        text_free(envelope);
    }
    return 0;
}

static int check_size(const struct deployment_subject *subject, const struct text *envelope, struct error *error) {
    if (keys_size(subject, envelope) <= EVENT_KEY_MAX)
        return 0;
    return error_set(error, ERROR_INVALID, "JWK (name: %s) is too large: its %s%s can have %d bytes!", subject->name,
                     envelope->length ? "public part and its sealed private one" : "public part",
                     subject->retiring && subject->retiring->count ? ", with those it replaced," : "", EVENT_KEY_MAX);
}

/* All environments, or the one that the subject names; the caller releases the list. */
static int choose_environments(struct store *store, const char *name, struct store_environments **chosen, struct error *error) {
    struct store_environments *all = NULL;
    if (store_environments(store, &all, error))
        return -1;
    *chosen = all;
    if (!name)
        return 0;
    *chosen = store_environments_one(all, name);
    store_environments_release(all);
    return *chosen ? 0 : error_set(error, ERROR_NOT_FOUND, "Environment (name: %s) is not found!", name);
}

/* The change's line in the audit trail. */
static int tell_change(struct store *store, const struct store_author *author, const struct deployment_subject *subject,
                       const struct store_change *change, struct error *error) {
    const struct audit_entry entry = {.type = AUDIT_CHANGE,
                                      .time = subject->now,
                                      .actor = author->user,
                                      .project = author->project_name,
                                      .jwk = subject->name,
                                      .jwk_id = subject->uid,
                                      .operation = event_operation_name(subject->operation),
                                      .changed = subject->changed,
                                      .epoch = change->epoch,
                                      .version = subject->version,
                                      .deployment_id = change->deployment_id,
                                      .event_id = change->outgoing->event_id,
                                      .event_hash = change->event_hash};
    return store_audit(store, &entry, error);
}

int store_record_deployment(struct store *store, const struct store_author *author, const struct deployment_subject *subject,
                            struct store_change *change, struct error *error) {
    *change =
        (struct store_change){.epoch = store->identity.epoch, .version = subject->version, .partition = subject->partition};
    struct text envelope = TEXT_EMPTY;
    if (choose_environments(store, subject->environment, &change->environments, error) ||
        seal_private(store, subject, change->environments, &envelope, error) || check_size(subject, &envelope, error) ||
        take_sequence(store, &change->sequence, error))
        goto failed;
    uuid_new(change->deployment_id);
    snprintf(change->jwk_id, sizeof change->jwk_id, "%s", subject->uid);
    change->outgoing = make_outgoing(author, subject, &envelope, change);
    if (insert_deployment(store, author, subject, change, error) || make_latest(store, author, subject, change, error) ||
        insert_results(store, change, error) || insert_outgoing(store, change->outgoing, error) ||
        tell_change(store, author, subject, change, error))
        goto failed;
    change->outbox_id = change->outgoing->outbox_id;
    text_free(&envelope);
    return 0;
failed:
    text_free(&envelope);
    store_change_clear(change);
    return -1;
}

void store_change_clear(struct store_change *change) {
    store_environments_release(change->environments);
    store_outgoing_free(change->outgoing);
    *change = (struct store_change){0};
}

/* ---- outbox ---- */

void store_outgoing_free(struct store_outgoing *outgoing) {
    if (!outgoing)
        return;
    free(outgoing->subject);
    free(outgoing->value);
    free(outgoing);
}

/* The static string of a stored type, so that an outgoing event need not own it. */
static const char *static_type(const char *type) {
    for (enum event_operation i = EVENT_CREATE; i <= EVENT_REDEPLOY; i++)
        if (strcmp(event_operation_type(i), type) == 0)
            return event_operation_type(i);
    return EVENT_TYPE_DELETED;
}

int store_each_outgoing(struct store *store, int64_t after_id, int limit,
                        void (*visit)(void *context, struct store_outgoing *outgoing), void *context, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "SELECT id, partition, key, event_id, event_type, subject, time, traceparent, value FROM outbox WHERE id > ?1"
        " ORDER BY id LIMIT ?2",
        error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, after_id);
    store_bind_integer(statement, 2, limit);
    int row;
    while ((row = store_step(store, statement, "reading the outbox", error)) == 1) {
        struct store_outgoing *outgoing = memory_new(sizeof *outgoing);
        const char *traceparent = store_text(statement, 7);
        outgoing->outbox_id = sqlite3_column_int64(statement, 0);
        outgoing->partition = sqlite3_column_int(statement, 1);
        snprintf(outgoing->key, sizeof outgoing->key, "%s", store_text(statement, 2));
        snprintf(outgoing->event_id, sizeof outgoing->event_id, "%s", store_text(statement, 3));
        outgoing->event_type = static_type(store_text(statement, 4));
        outgoing->subject = memory_string(store_text(statement, 5));
        outgoing->time = sqlite3_column_int64(statement, 6);
        snprintf(outgoing->traceparent, sizeof outgoing->traceparent, "%s", traceparent ? traceparent : "");
        outgoing->value = memory_string(store_text(statement, 8));
        outgoing->value_length = outgoing->value ? strlen(outgoing->value) : 0;
        visit(context, outgoing);
    }
    return row;
}

int store_remove_outgoing(struct store *store, int64_t first, int64_t last, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, "DELETE FROM outbox WHERE id BETWEEN ?1 AND ?2", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, first);
    store_bind_integer(statement, 2, last);
    return store_run(store, statement, "clearing the outbox", error);
}

int store_add_tombstones(struct store *store, int64_t before, int limit, int *added, struct error *error) {
    *added = 0;
    sqlite3_stmt *find = store_statement(
        store,
        "SELECT jwk.uid, jwk.partition, jwk.name, project.name, jwk.id FROM jwk JOIN project ON project.id = project_id"
        " WHERE deleted_at < ?1 AND tombstoned_at IS NULL LIMIT ?2",
        error);
    sqlite3_stmt *mark = store_statement(store, "UPDATE jwk SET tombstoned_at = ?2 WHERE id = ?1", error);
    if (!find || !mark)
        return -1;
    store_bind_integer(find, 1, before);
    store_bind_integer(find, 2, limit);
    int row;
    while ((row = store_step(store, find, "looking for tombstones that are due", error)) == 1) {
        struct store_outgoing *outgoing = memory_new(sizeof *outgoing);
        outgoing->partition = sqlite3_column_int(find, 1);
        outgoing->event_type = EVENT_TYPE_DELETED;
        outgoing->subject = memory_format("projects/%s/jwks/%s", store_text(find, 3), store_text(find, 2));
        outgoing->time = clock_wall_ms();
        snprintf(outgoing->key, sizeof outgoing->key, "%s", store_text(find, 0));
        uuid_new(outgoing->event_id);
        store_bind_integer(mark, 1, sqlite3_column_int64(find, 4));
        store_bind_integer(mark, 2, outgoing->time);
        int status = take_sequence(store, &outgoing->outbox_id, error) || insert_outgoing(store, outgoing, error) ||
                     store_run(store, mark, "marking a tombstone", error);
        store_outgoing_free(outgoing);
        if (status) {
            sqlite3_reset(find);
            return -1;
        }
        (*added)++;
    }
    return row;
}

/* ---- results ---- */

static int tell_outcome(struct store *store, const struct store_outcome *outcome, struct error *error) {
    const struct audit_entry entry = {.type = AUDIT_OUTCOME,
                                      .deployment_id = outcome->deployment_id,
                                      .environment = outcome->environment_name,
                                      .settled = outcome->state != RESULT_PENDING,
                                      .success = outcome->state == RESULT_SUCCEEDED,
                                      .message = outcome->message};
    return store_audit(store, &entry, error);
}

int store_set_result(struct store *store, const struct store_outcome *outcome, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store,
                        "UPDATE deployment_result SET state = ?3, message = ?4, replicas = ?5, settled_at = nullif(?6, 0)"
                        " WHERE deployment_id = ?1 AND environment_id = ?2 AND NOT (?3 = 0 AND state = 1)",
                        error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, outcome->sequence);
    store_bind_integer(statement, 2, outcome->environment_id);
    store_bind_integer(statement, 3, outcome->state);
    store_bind_text(statement, 4, outcome->message);
    store_bind_text(statement, 5, outcome->replicas);
    store_bind_integer(statement, 6, outcome->settled_at);
    if (store_run(store, statement, "storing a result", error))
        return -1;
    return sqlite3_changes(store->db) ? tell_outcome(store, outcome, error) : 0;
}

static bool is_listed(const char *uid, const char *const *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], uid) == 0)
            return true;
    return false;
}

/* What a position in its partition must have passed to tell of a deployment: itself, or what was published of its JWK again
 * after it. latest is the JWK's last deployment. */
static int64_t position_needed(int64_t sequence, int64_t latest, const struct store_identity *identity) {
    if (sequence > identity->republish_from)
        return sequence;
    /* The end of all that was published again lies in one partition only: in another one it may never be passed. */
    bool is_published_again = identity->republish_until != INT64_MAX && latest > identity->republish_from;
    return is_published_again ? latest : identity->republish_until;
}

static int64_t sequence_of(int partition, const struct position *positions, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (positions[i].partition == partition)
            return positions[i].sequence;
    return 0;
}

/* A result that is to be stored as a success. Rows are collected before they are changed: that is under the index that finds
 * them. */
struct success_row {
    int64_t sequence;
    char deployment_id[UUID_SIZE];
    char *message;
};
#define SUCCESS_COLUMNS "deployment_id, deployment.uid, deployment.epoch, jwk.partition, operation, jwk.uid, replicas"

static struct success_row take_success(sqlite3_stmt *statement, store_success_message *message, void *context) {
    const struct store_success success = {.sequence = sqlite3_column_int64(statement, 0),
                                          .epoch = sqlite3_column_int64(statement, 2),
                                          .partition = sqlite3_column_int(statement, 3),
                                          .operation = (enum event_operation)sqlite3_column_int(statement, 4),
                                          .jwk_id = store_text(statement, 5),
                                          .replicas = store_text(statement, 6)};
    struct success_row row = {.sequence = success.sequence, .message = message(context, &success)};
    snprintf(row.deployment_id, sizeof row.deployment_id, "%s", store_text(statement, 1));
    return row;
}

static int set_success(struct store *store, const struct success_row *row, int64_t environment_id, const char *environment,
                       int64_t now, struct error *error) {
    const struct store_outcome outcome = {.sequence = row->sequence,
                                          .environment_id = environment_id,
                                          .deployment_id = row->deployment_id,
                                          .environment_name = environment,
                                          .state = RESULT_SUCCEEDED,
                                          .message = row->message,
                                          .settled_at = now};
    return store_set_result(store, &outcome, error);
}

static void free_successes(struct success_row *rows, int count) {
    for (int i = 0; i < count; i++)
        free(rows[i].message);
    free(rows);
}

int store_settle_pending(struct store *store, const struct store_coverage *coverage, int64_t now,
                         store_success_message *message, void *context, int limit, int64_t *after_sequence, bool *more,
                         int64_t *left, struct error *error) {
    struct store_identity identity;
    if (store_read_identity(store, &identity, error))
        return -1;
    sqlite3_stmt *find = store_statement(
        store,
        "SELECT " SUCCESS_COLUMNS ", jwk.deployment, environment_id FROM deployment_result"
        " JOIN deployment ON deployment.id = deployment_id JOIN jwk ON jwk.id = jwk_id"
        " WHERE state <> 1 AND environment_id = (SELECT id FROM environment WHERE name = ?1 AND removed_at IS NULL)"
        " AND deployment_id > ?2 ORDER BY deployment_id LIMIT ?3",
        error);
    if (!find)
        return -1;
    store_bind_text(find, 1, coverage->environment);
    store_bind_integer(find, 2, *after_sequence);
    store_bind_integer(find, 3, limit);
    struct success_row *rows = memory_new((size_t)limit * sizeof *rows);
    int64_t environment_id = 0;
    int row, seen = 0, count = 0, status = -1;
    while ((row = store_step(store, find, "looking for pending results", error)) == 1) {
        *after_sequence = sqlite3_column_int64(find, 0);
        environment_id = sqlite3_column_int64(find, 8);
        seen++;
        int64_t needed = position_needed(*after_sequence, sqlite3_column_int64(find, 7), &identity);
        if (needed <= sequence_of(sqlite3_column_int(find, 3), coverage->positions, coverage->position_count) &&
            !is_listed(store_text(find, 5), coverage->except, coverage->except_count))
            rows[count++] = take_success(find, message, context);
    }
    if (row < 0)
        goto out;
    for (int i = 0; i < count; i++)
        if (set_success(store, &rows[i], environment_id, coverage->environment, now, error))
            goto out;
    *more = seen == limit;
    *left += seen - count;
    status = 0;
out:
    free_successes(rows, count);
    return status;
}

/* Settles at most SUPERSEDED_MAX; returns how many, or -1. A JWK may have had a hundred thousand versions: it looks no further
 * back than to the first result that is not settled. */
static int settle_superseded(struct store *store, const struct store_outcome *success, store_success_message *message,
                             void *context, struct error *error) {
    sqlite3_stmt *find =
        store_statement(store,
                        "WITH RECURSIVE older (id) AS (SELECT previous FROM deployment WHERE id = ?1 UNION ALL"
                        " SELECT previous FROM deployment JOIN older USING (id) WHERE previous >="
                        " (SELECT min(deployment_id) FROM deployment_result WHERE state <> 1 AND environment_id = ?2))"
                        " SELECT " SUCCESS_COLUMNS " FROM deployment_result"
                        " JOIN deployment ON deployment.id = deployment_id JOIN jwk ON jwk.id = jwk_id"
                        " WHERE state <> 1 AND environment_id = ?2 AND deployment_id IN (SELECT id FROM older) LIMIT ?3",
                        error);
    if (!find)
        return -1;
    store_bind_integer(find, 1, success->sequence);
    store_bind_integer(find, 2, success->environment_id);
    store_bind_integer(find, 3, SUPERSEDED_MAX);
    struct success_row *rows = NULL;
    int row, count = 0;
    while ((row = store_step(store, find, "looking for earlier versions", error)) == 1) {
        rows = memory_resize(rows, ((size_t)count + 1) * sizeof *rows);
        rows[count++] = take_success(find, message, context);
    }
    for (int i = 0; i < count && row == 0; i++)
        row = set_success(store, &rows[i], success->environment_id, success->environment_name, success->settled_at, error);
    free_successes(rows, count);
    return row ? -1 : count;
}

int store_settle_superseded(struct store *store, const struct store_outcome *success, store_success_message *message,
                            void *context, struct error *error) {
    int count;
    do
        count = settle_superseded(store, success, message, context, error);
    while (count == SUPERSEDED_MAX);
    return count < 0 ? -1 : 0;
}
