/* What the state knows beside the JWKs: how far it has read, when it last heard of the topic, and whose hook fails. */
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "worker/state_internal.h"

int state_load_positions(struct state *state, struct state_position **positions, size_t *count, struct error *error) {
    *positions = NULL;
    *count = 0;
    sqlite3_stmt *statement = state_prepared(state, STATEMENT_LOAD_POSITIONS, error);
    if (!statement)
        return -1;
    size_t capacity = 0;
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        if (*count == capacity) {
            capacity = capacity ? capacity * 2 : 16;
            *positions = memory_resize(*positions, capacity * sizeof **positions);
        }
        (*positions)[(*count)++] = (struct state_position){
            .position = {.partition = sqlite3_column_int(statement, 0),
                         .offset = sqlite3_column_int64(statement, 1),
                         .sequence = sqlite3_column_int64(statement, 2)},
            .generation = sqlite3_column_int64(statement, 3),
            .sweep_offset = sqlite3_column_int64(statement, 4),
            .sweep_after = sqlite3_column_int64(statement, 5),
            .done_sequence = sqlite3_column_int64(statement, 6),
        };
    }
    int status = code == SQLITE_DONE ? 0 : state_fail(state, "reading the positions", error);
    sqlite3_reset(statement);
    if (status) {
        free(*positions);
        *positions = NULL;
        *count = 0;
    }
    return status;
}

int state_store_offset(struct state *state, const struct position *position, struct error *error) {
    sqlite3_stmt *statement = state_prepared(state, STATEMENT_STORE_OFFSET, error);
    if (!statement)
        return -1;
    sqlite3_bind_int64(statement, 1, position->partition);
    sqlite3_bind_int64(statement, 2, position->offset);
    sqlite3_bind_int64(statement, 3, position->sequence);
    return state_run(state, statement, "storing a position", error);
}

int state_store_position(struct state *state, const struct state_position *position, struct error *error) {
    sqlite3_stmt *statement = state_prepared(state, STATEMENT_STORE_POSITION, error);
    if (!statement)
        return -1;
    sqlite3_bind_int64(statement, 1, position->position.partition);
    sqlite3_bind_int64(statement, 2, position->position.offset);
    sqlite3_bind_int64(statement, 3, position->position.sequence);
    sqlite3_bind_int64(statement, 4, position->generation);
    sqlite3_bind_int64(statement, 5, position->sweep_offset);
    sqlite3_bind_int64(statement, 6, position->sweep_after);
    sqlite3_bind_int64(statement, 7, position->done_sequence);
    return state_run(state, statement, "storing a position", error);
}

int64_t state_last_contact(const struct state *state) { return state->counters.last_contact; }

int state_store_contact(struct state *state, int64_t wall_ms, struct error *error) {
    sqlite3_stmt *statement = state_prepared(state, STATEMENT_STORE_CONTACT, error);
    if (!statement)
        return -1;
    sqlite3_bind_int64(statement, 1, wall_ms);
    if (state_run(state, statement, "storing the last contact", error))
        return -1;
    state->counters.last_contact = wall_ms;
    return 0;
}

const char *state_cluster(const struct state *state) { return state->cluster; }

int state_store_cluster(struct state *state, const char *cluster, struct error *error) {
    sqlite3_stmt *statement = state_prepared(state, STATEMENT_STORE_CLUSTER, error);
    if (!statement)
        return -1;
    state_bind_text(statement, 1, cluster);
    if (state_run(state, statement, "storing the cluster", error))
        return -1;
    free(state->cluster);
    state->cluster = memory_string(cluster);
    return 0;
}

/* ---- failing hooks ---- */

int64_t state_failing_count(const struct state *state) { return state->counters.failing; }

static int count_failing(struct state *state, struct error *error) {
    sqlite3_stmt *statement = state_prepared(state, STATEMENT_COUNT_FAILING, error);
    if (!statement)
        return -1;
    int status = sqlite3_step(statement) == SQLITE_ROW ? 0 : state_fail(state, "counting failing JWKs", error);
    if (status == 0)
        state->counters.failing = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return status;
}

int state_store_failing(struct state *state, const struct state_failing *failing, struct error *error) {
    sqlite3_stmt *statement = state_prepared(state, STATEMENT_STORE_FAILING, error);
    if (!statement)
        return -1;
    state_bind_text(statement, 1, failing->jwk_id);
    state_bind_text(statement, 2, failing->deployment_id);
    state_bind_text(statement, 3, failing->event_id);
    state_bind_text(statement, 4, failing->event_hash);
    state_bind_text(statement, 5, failing->traceparent);
    sqlite3_bind_int(statement, 6, (int)failing->operation);
    sqlite3_bind_int64(statement, 7, failing->epoch);
    sqlite3_bind_int64(statement, 8, failing->version);
    sqlite3_bind_int64(statement, 9, failing->sequence);
    state_bind_text(statement, 10, failing->message);
    return state_run(state, statement, "storing a failure", error) ? -1 : count_failing(state, error);
}

int state_clear_failing(struct state *state, const char *jwk_id, int64_t epoch, int64_t version, struct error *error) {
    sqlite3_stmt *statement = state_prepared(state, STATEMENT_CLEAR_FAILING, error);
    if (!statement)
        return -1;
    state_bind_text(statement, 1, jwk_id);
    sqlite3_bind_int64(statement, 2, epoch);
    sqlite3_bind_int64(statement, 3, version);
    return state_run(state, statement, "clearing a failure", error) ? -1 : count_failing(state, error);
}

int state_each_failing(struct state *state, size_t limit, void (*visit)(void *context, const struct state_failing *failing),
                       void *context, struct error *error) {
    sqlite3_stmt *statement = state_prepared(state, STATEMENT_EACH_FAILING, error);
    if (!statement)
        return -1;
    sqlite3_bind_int64(statement, 1, limit > INT64_MAX ? INT64_MAX : (int64_t)limit);
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        struct state_failing failing = {
            .jwk_id = (const char *)sqlite3_column_text(statement, 0),
            .deployment_id = (const char *)sqlite3_column_text(statement, 1),
            .event_id = (const char *)sqlite3_column_text(statement, 2),
            .event_hash = (const char *)sqlite3_column_text(statement, 3),
            .traceparent = (const char *)sqlite3_column_text(statement, 4),
            .operation = (enum event_operation)sqlite3_column_int(statement, 5),
            .epoch = sqlite3_column_int64(statement, 6),
            .version = sqlite3_column_int64(statement, 7),
            .sequence = sqlite3_column_int64(statement, 8),
            .message = (const char *)sqlite3_column_text(statement, 9),
        };
        visit(context, &failing);
    }
    int status = code == SQLITE_DONE ? 0 : state_fail(state, "reading failing JWKs", error);
    sqlite3_reset(statement);
    return status;
}
