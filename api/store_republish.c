/* Publishing everything again, and adopting an older store. */
#include "store_republish.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/memory.h"
#include "store_deployment.h"
#include "store_sql.h"

/* The actor of what nobody asked for. */
#define ACTOR "jwk-api"

static int run_with(struct store *store, const char *sql, int64_t first, int64_t second, const char *what,
                    struct error *error) {
    sqlite3_stmt *statement = store_statement(store, sql, error);
    if (!statement)
        return -1;
    if (sqlite3_bind_parameter_count(statement) > 0)
        store_bind_integer(statement, 1, first);
    if (sqlite3_bind_parameter_count(statement) > 1)
        store_bind_integer(statement, 2, second);
    return store_run(store, statement, what, error);
}

/* The last number given, within the transaction too. */
static int last_sequence(struct store *store, int64_t *sequence, struct error *error) {
    struct store_identity identity;
    if (store_read_identity(store, &identity, error))
        return -1;
    *sequence = store->next_sequence ? store->next_sequence - 1 : identity.sequence;
    return 0;
}

int store_republish_begin(struct store *store, struct error *error) {
    int64_t sequence;
    return last_sequence(store, &sequence, error) ||
                   run_with(store,
                            "UPDATE store SET republish_after = 0, republish_from = ?1, republish_until = NULL WHERE id = 1",
                            sequence, 0, "noting what is to be published again", error)
               ? -1
               : 0;
}

int store_republish_is_due(struct store *store, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store, "SELECT 1 FROM store WHERE id = 1 AND republish_after IS NOT NULL", error);
    if (!statement)
        return -1;
    int row = store_step(store, statement, "looking for what is to be published again", error);
    sqlite3_reset(statement);
    return row;
}

/* Notes that all is published again: positions behind this tell of everything. */
static int end_republishing(struct store *store, struct error *error) {
    int64_t sequence;
    return last_sequence(store, &sequence, error) || run_with(store,
                                                              "UPDATE store SET republish_after = NULL, republish_until "
                                                              "= ifnull(republish_until, ?1) "
                                                              "WHERE id = 1 AND republish_after IS NOT NULL",
                                                              sequence, 0, "ending the publishing again", error)
               ? -1
               : 0;
}

/* One JWK of a chunk; its strings are copies. */
struct next {
    int64_t id, project_id;
    bool is_deleted;
    char *name, *project_uid, *project_name;
};

static void free_chunk(struct next *chunk, int count) {
    for (int i = 0; i < count; i++) {
        free(chunk[i].name);
        free(chunk[i].project_uid);
        free(chunk[i].project_name);
    }
    free(chunk);
}

/* Reads the next JWKs; the count, or -1. The rows are collected first, since they are changed under the statement. Of those that
 * are deleted only what was lost and somebody still waits for: the sweep that takes the others from a replica tells nobody. */
static int read_chunk(struct store *store, struct next *chunk, int limit, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "SELECT jwk.id, jwk.name, project.id, project.uid, project.name, deleted_at IS NOT NULL FROM jwk"
        " JOIN project ON project.id = project_id WHERE jwk.id > (SELECT republish_after FROM store WHERE store.id = 1)"
        " AND (deleted_at IS NULL OR tombstoned_at IS NULL"
        " AND jwk.deployment <= (SELECT republish_from FROM store WHERE store.id = 1)"
        " AND EXISTS (WITH RECURSIVE chain (id) AS (SELECT jwk.deployment"
        " UNION ALL SELECT previous FROM deployment JOIN chain USING (id) WHERE previous IS NOT NULL)"
        " SELECT 1 FROM chain CROSS JOIN deployment_result ON deployment_id = chain.id"
        " CROSS JOIN environment ON environment.id = environment_id WHERE state <> 1 AND removed_at IS NULL))"
        " ORDER BY jwk.id LIMIT ?1",
        error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, limit);
    int row, count = 0;
    while ((row = store_step(store, statement, "reading what is to be published again", error)) == 1)
        chunk[count++] = (struct next){.id = sqlite3_column_int64(statement, 0),
                                       .name = memory_string(store_text(statement, 1)),
                                       .project_id = sqlite3_column_int64(statement, 2),
                                       .project_uid = memory_string(store_text(statement, 3)),
                                       .project_name = memory_string(store_text(statement, 4)),
                                       .is_deleted = sqlite3_column_int(statement, 5)};
    return row < 0 ? -1 : count;
}

/* Makes a chunk smaller where each of its JWKs may have to be sealed for many environments: callers' changes wait for it. */
static int bound_chunk(struct store *store, int *limit, struct error *error) {
    struct store_environments *environments;
    if (store_environments(store, &environments, error))
        return -1;
    *limit = *limit / (1 + (int)environments->recipient_count);
    if (*limit == 0)
        *limit = 1;
    store_environments_release(environments);
    return 0;
}

int store_republish_next(struct store *store, int limit, void (*visit)(void *context, struct store_change *change),
                         void *context, bool *left, struct error *error) {
    if (bound_chunk(store, &limit, error))
        return -1;
    struct next *chunk = memory_new((size_t)limit * sizeof *chunk);
    int count = read_chunk(store, chunk, limit, error), status = count < 0 ? -1 : 0;
    for (int i = 0; status == 0 && i < count; i++) {
        struct store_author author = {.user = ACTOR,
                                      .project_id = chunk[i].project_id,
                                      .project_uid = chunk[i].project_uid,
                                      .project_name = chunk[i].project_name};
        struct store_change change;
        status = chunk[i].is_deleted ? store_delete_jwk_again(store, &author, chunk[i].id, &change, error)
                                     : store_redeploy_jwk(store, &author, chunk[i].name, NULL, &change, error);
        if (status == 0)
            visit(context, &change);
    }
    *left = count == limit;
    if (status == 0)
        status = *left ? run_with(store, "UPDATE store SET republish_after = ?1 WHERE id = 1", chunk[count - 1].id, 0,
                                  "noting what was published again", error)
                       : end_republishing(store, error);
    free_chunk(chunk, count < 0 ? 0 : count);
    return status;
}

int store_read_published_ends(struct store *store, int64_t *ends, int partitions, struct error *error) {
    /* Of JWKs whose latest event waits the one before counts: those that are changed all the time may be all that a partition
     * has. The latest of each partition is found here, since grouping would sort all rows, which takes longer. */
    sqlite3_stmt *statement = store_statement(
        store,
        "SELECT partition, deployment FROM jwk WHERE tombstoned_at IS NULL"
        " AND deployment < (SELECT ifnull(min(id), 1 << 62) FROM outbox)"
        " UNION ALL SELECT jwk.partition, previous FROM outbox JOIN deployment ON deployment.id = outbox.id"
        " JOIN jwk ON jwk.id = jwk_id WHERE previous < (SELECT min(id) FROM outbox)",
        error);
    if (!statement)
        return -1;
    memset(ends, 0, (size_t)partitions * sizeof *ends);
    int row;
    while ((row = store_step(store, statement, "reading what the topic must hold", error)) == 1) {
        int partition = sqlite3_column_int(statement, 0);
        int64_t sequence = sqlite3_column_int64(statement, 1);
        if (partition < partitions && sequence > ends[partition])
            ends[partition] = sequence;
    }
    return row;
}

int store_adopt(struct store *store, int64_t topic_epoch, int64_t topic_sequence, struct error *error) {
    if (run_with(store, "UPDATE store SET epoch = max(epoch, ?1) + 1, sequence = max(sequence, ?2) WHERE id = 1", topic_epoch,
                 topic_sequence, "beginning a new epoch", error))
        return -1;
    store->next_sequence = 0; /* read again: it has moved */
    return store_read_identity(store, &store->identity, error) || store_republish_begin(store, error) ? -1 : 0;
}

int store_has_jwk(struct store *store, const char *jwk_id, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, "SELECT 1 FROM jwk WHERE uid = ?1 AND deleted_at IS NULL", error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, jwk_id);
    int row = store_step(store, statement, "looking for a JWK", error);
    sqlite3_reset(statement);
    return row;
}

/* The project that the event names, made when the store has none of its id. Its name is taken as it is when it is free. */
static int find_or_make_project(struct store *store, const struct event *event, int64_t *id, struct error *error) {
    sqlite3_stmt *find = store_statement(store, "SELECT id FROM project WHERE uid = ?1", error);
    sqlite3_stmt *make = store_statement(
        store,
        "INSERT INTO project (uid, name, created_at) VALUES (?1, CASE WHEN EXISTS (SELECT 1 FROM project WHERE name = ?2)"
        " THEN ?1 ELSE ?2 END, ?3)",
        error);
    if (!find || !make)
        return -1;
    store_bind_text(find, 1, event->project_id);
    int row = store_step(store, find, "looking for a project", error);
    if (row == 1) {
        *id = sqlite3_column_int64(find, 0);
        sqlite3_reset(find);
    }
    if (row != 0)
        return row < 0 ? -1 : 0;
    store_bind_text(make, 1, event->project_id);
    store_bind_text(make, 2, event->project_name);
    store_bind_integer(make, 3, clock_wall_ms());
    if (store_run(store, make, "making a project", error))
        return -1;
    *id = sqlite3_last_insert_rowid(store->db);
    return 0;
}

int store_delete_unknown(struct store *store, const struct event *event, int partition, struct error *error) {
    struct store_author author = {.user = ACTOR, .project_uid = event->project_id, .project_name = event->project_name};
    if (find_or_make_project(store, event, &author.project_id, error))
        return -1;
    sqlite3_stmt *statement = store_statement(
        store,
        "INSERT INTO jwk (uid, project_id, name, type, source_type, version, partition, created_at, updated_at, deleted_at)"
        " VALUES (?1, ?2, ?3, ?4, 'COPY_PASTE', ?5, ?6, ?7, ?7, ?7) ON CONFLICT (uid) DO UPDATE SET"
        " version = max(version + 1, excluded.version), updated_at = ?7, deleted_at = ?7, tombstoned_at = NULL"
        " RETURNING id, version, partition, description",
        error);
    if (!statement)
        return -1;
    int64_t now = clock_wall_ms();
    store_bind_text(statement, 1, event->jwk_id);
    store_bind_integer(statement, 2, author.project_id);
    store_bind_text(statement, 3, event->name);
    store_bind_text(statement, 4, event->type);
    store_bind_integer(statement, 5, event->version + 1);
    store_bind_integer(statement, 6, partition);
    store_bind_integer(statement, 7, now);
    if (store_step(store, statement, "noting a JWK that is not known", error) != 1)
        return -1;
    char *description = store_text(statement, 3) ? memory_string(store_text(statement, 3)) : NULL;
    struct deployment_subject subject = {.operation = EVENT_DELETE,
                                         .id = sqlite3_column_int64(statement, 0),
                                         .uid = event->jwk_id,
                                         .version = sqlite3_column_int64(statement, 1),
                                         .partition = sqlite3_column_int(statement, 2),
                                         .name = event->name,
                                         .description = description,
                                         .type = event->type,
                                         .updated_at = now,
                                         .now = now};
    sqlite3_reset(statement);
    struct store_change change;
    int status = store_record_deployment(store, &author, &subject, &change, error);
    if (status == 0)
        store_change_clear(&change);
    free(description);
    return status;
}
