/* Reading deployments and what came of each in its environments. */
#include "store_history.h"

#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "store_sql.h"

enum { RESULTS_READ_MAX = 10000 };

#define DEPLOYMENT_COLUMNS                                                                                                    \
    "deployment.id, deployment.uid, jwk.uid, jwk_name, changed, actor, event_hash, operation, deployment.project_id, epoch, " \
    "deployment.version, deployment.created_at, jwk.partition"

typedef void deployment_visitor(void *context, const struct store_deployment *deployment);

/* Reads the results of one deployment into a growing array; their strings are copied. */
static int read_results(struct store *store, int64_t sequence, struct store_result **results, size_t *count,
                        struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store,
                        "SELECT environment_id, name, state, message, replicas, coalesce(settled_at, 0),"
                        " coalesce(removed_at, 0) FROM deployment_result"
                        " JOIN environment ON environment.id = environment_id WHERE deployment_id = ?1 ORDER BY name LIMIT ?2",
                        error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, sequence);
    store_bind_integer(statement, 2, RESULTS_READ_MAX);
    int row;
    while ((row = store_step(store, statement, "reading results", error)) == 1) {
        *results = memory_resize(*results, (*count + 1) * sizeof **results);
        (*results)[(*count)++] = (struct store_result){
            .environment_id = sqlite3_column_int64(statement, 0),
            .environment_name = memory_string(store_text(statement, 1)),
            .state = (enum result_state)sqlite3_column_int(statement, 2),
            .message = memory_string(store_text(statement, 3)),
            .replicas = memory_string(store_text(statement, 4)),
            .settled_at = sqlite3_column_int64(statement, 5),
            .removed_at = sqlite3_column_int64(statement, 6),
        };
    }
    return row;
}

static void free_results(struct store_result *results, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free((char *)results[i].environment_name);
        free((char *)results[i].message);
        free((char *)results[i].replicas);
    }
    free(results);
}

/* Shows the deployment of the present row, with its results. */
static int visit_row(struct store *store, sqlite3_stmt *statement, deployment_visitor *visit, void *context,
                     struct error *error) {
    struct store_result *results = NULL;
    size_t count = 0;
    int status = read_results(store, sqlite3_column_int64(statement, 0), &results, &count, error);
    if (status == 0) {
        struct store_deployment deployment = {
            .sequence = sqlite3_column_int64(statement, 0),
            .uid = store_text(statement, 1),
            .jwk_uid = store_text(statement, 2),
            .jwk_name = store_text(statement, 3),
            .changed = store_text(statement, 4),
            .actor = store_text(statement, 5),
            .event_hash = store_text(statement, 6),
            .operation = (enum event_operation)sqlite3_column_int(statement, 7),
            .project_id = sqlite3_column_int64(statement, 8),
            .epoch = sqlite3_column_int64(statement, 9),
            .version = sqlite3_column_int64(statement, 10),
            .created_at = sqlite3_column_int64(statement, 11),
            .partition = sqlite3_column_int(statement, 12),
            .result_count = count,
            .results = results,
        };
        visit(context, &deployment);
    }
    free_results(results, count);
    return status;
}

/* Shows each row; the statement reads DEPLOYMENT_COLUMNS. Returns how many there were, or -1. */
static int visit_rows(struct store *store, sqlite3_stmt *statement, deployment_visitor *visit, void *context,
                      struct error *error) {
    int row, count = 0;
    while ((row = store_step(store, statement, "reading deployments", error)) == 1) {
        count++;
        if (visit_row(store, statement, visit, context, error)) {
            sqlite3_reset(statement);
            return -1;
        }
    }
    return row < 0 ? -1 : count;
}

int store_find_deployment(struct store *store, const char *uid, deployment_visitor *visit, void *context, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store, "SELECT " DEPLOYMENT_COLUMNS " FROM deployment JOIN jwk ON jwk.id = jwk_id WHERE deployment.uid = ?1", error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, uid);
    int count = visit_rows(store, statement, visit, context, error);
    if (count == 0)
        return error_set(error, ERROR_NOT_FOUND, "Deployment (id: %s) is not found!", uid);
    return count < 0 ? -1 : 0;
}

/* The deployment that a list begins with, 0 when there is none: the latest, or the one before filter->before. That must be one of
 * the list, for of no other is it known which comes next. */
static int find_first(struct store *store, const struct store_deployment_filter *filter, int64_t *first, struct error *error) {
    bool goes_on = filter->before != INT64_MAX;
    sqlite3_stmt *statement =
        goes_on ? store_statement(store,
                                  "SELECT iif(?2 = 0, previous_in_project, previous) FROM deployment"
                                  " WHERE id = ?3 AND project_id = ?1 AND (?2 = 0 OR jwk_id = ?2)",
                                  error)
        : filter->jwk_id ? store_statement(store, "SELECT deployment FROM jwk WHERE project_id = ?1 AND id = ?2", error)
                         : store_statement(store, "SELECT deployment FROM project WHERE id = ?1", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, filter->project_id);
    if (goes_on || filter->jwk_id)
        store_bind_integer(statement, 2, filter->jwk_id);
    if (goes_on)
        store_bind_integer(statement, 3, filter->before);
    int row = store_step(store, statement, "looking up where a history begins", error);
    if (row < 0)
        return -1;
    *first = row ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_reset(statement);
    return row || !goes_on ? 0 : error_set(error, ERROR_NOT_FOUND, "The list has no such deployment");
}

/* Follows a chain no further than the limit. */
#define EACH_OF_CHAIN(previous)                                                                                              \
    "WITH RECURSIVE chain (id) AS (SELECT ?2 UNION ALL SELECT " previous " FROM deployment JOIN chain USING (id)"            \
    " WHERE " previous " IS NOT NULL LIMIT ?3) SELECT " DEPLOYMENT_COLUMNS " FROM chain JOIN deployment USING (id)"          \
    " JOIN jwk ON jwk.id = jwk_id WHERE deployment.project_id = ?1 ORDER BY deployment.id DESC"

int store_each_deployment(struct store *store, const struct store_deployment_filter *filter, int limit,
                          deployment_visitor *visit, void *context, struct error *error) {
    int64_t first;
    if (find_first(store, filter, &first, error))
        return -1;
    sqlite3_stmt *statement = filter->jwk_id ? store_statement(store, EACH_OF_CHAIN("previous"), error)
                                             : store_statement(store, EACH_OF_CHAIN("previous_in_project"), error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, filter->project_id);
    store_bind_integer(statement, 2, first);
    store_bind_integer(statement, 3, limit);
    return visit_rows(store, statement, visit, context, error) < 0 ? -1 : 0;
}

int store_each_deployment_between(struct store *store, int64_t first, int64_t last, deployment_visitor *visit, void *context,
                                  struct error *error) {
    sqlite3_stmt *statement = store_statement(store,
                                              "SELECT " DEPLOYMENT_COLUMNS " FROM deployment JOIN jwk ON jwk.id = jwk_id"
                                              " WHERE deployment.id BETWEEN ?1 AND ?2 ORDER BY deployment.id",
                                              error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, first);
    store_bind_integer(statement, 2, last);
    return visit_rows(store, statement, visit, context, error) < 0 ? -1 : 0;
}

/* Runs a look-up of one id by (project, text). 1 found, 0 not, -1 an error. */
static int find_id(struct store *store, sqlite3_stmt *statement, int64_t project_id, const char *text, int64_t *id,
                   struct error *error) {
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, project_id);
    store_bind_text(statement, 2, text);
    int row = store_step(store, statement, "looking up a JWK", error);
    if (row == 1) {
        *id = sqlite3_column_int64(statement, 0);
        sqlite3_reset(statement);
    }
    return row;
}

int store_find_jwk_id(struct store *store, int64_t project_id, const char *name, int64_t *id, struct error *error) {
    int found = find_id(
        store, store_statement(store, "SELECT id FROM jwk WHERE project_id = ?1 AND name = ?2 AND deleted_at IS NULL", error),
        project_id, name, id, error);
    return found == 0 ? error_set(error, ERROR_NOT_FOUND, "JWK (name: %s) is not found!", name) : found < 0 ? -1 : 0;
}

int store_find_jwk_id_by_uid(struct store *store, int64_t project_id, const char *uid, int64_t *id, struct error *error) {
    int found = find_id(store, store_statement(store, "SELECT id FROM jwk WHERE project_id = ?1 AND uid = ?2", error),
                        project_id, uid, id, error);
    return found == 0 ? error_set(error, ERROR_NOT_FOUND, "JWK (id: %s) is not found!", uid) : found < 0 ? -1 : 0;
}

int store_each_latest(struct store *store, int64_t project_id, void (*visit)(void *context, const struct store_latest *latest),
                      void *context, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "SELECT uid, name, partition, version, deployment, 0"
        " FROM jwk WHERE project_id = ?1 AND deleted_at IS NULL"
        " UNION ALL SELECT jwk.uid, name, partition, version, deployment, 1"
        " FROM jwk JOIN store ON store.id = 1 WHERE deleted_at IS NOT NULL AND tombstoned_at IS NULL AND project_id = ?1"
        " AND (republish_until IS NULL OR deployment > republish_from)",
        error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, project_id);
    int row;
    while ((row = store_step(store, statement, "reading the latest deployments", error)) == 1) {
        struct store_latest latest = {
            .uid = store_text(statement, 0),
            .name = store_text(statement, 1),
            .partition = sqlite3_column_int(statement, 2),
            .version = sqlite3_column_int64(statement, 3),
            .sequence = sqlite3_column_int64(statement, 4),
            .deleted = sqlite3_column_int(statement, 5) != 0,
        };
        visit(context, &latest);
    }
    return row;
}
