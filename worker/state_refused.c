/* What the state knows of events that it did not take: which keys judged them, and of which JWKs they were. */
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "worker/state_internal.h"

const char *state_refused_by(const struct state *state) { return state->refused_by; }

int state_store_refused_by(struct state *state, const char *by, struct error *error) {
    sqlite3_stmt *statement = state_prepared(state, STATEMENT_STORE_REFUSED_BY, error);
    if (!statement)
        return -1;
    state_bind_text(statement, 1, by);
    if (state_run(state, statement, "storing that events were refused", error))
        return -1;
    free(state->refused_by);
    state->refused_by = memory_string(by);
    return 0;
}

int64_t state_refused_count(const struct state *state) { return state->counters.refused; }

static int count_refused(struct state *state, struct error *error) {
    sqlite3_stmt *statement = state_prepared(state, STATEMENT_COUNT_REFUSED, error);
    if (!statement)
        return -1;
    int status = sqlite3_step(statement) == SQLITE_ROW ? 0 : state_fail(state, "counting refused events", error);
    if (status == 0)
        state->counters.refused = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return status;
}

int state_store_refused(struct state *state, const char *jwk_id, const char *event_id, struct error *error) {
    if (state->counters.refused >= STATE_REFUSED_MAX)
        return 0;
    sqlite3_stmt *statement = state_prepared(state, STATEMENT_STORE_REFUSED, error);
    if (!statement)
        return -1;
    state_bind_text(statement, 1, jwk_id);
    state_bind_text(statement, 2, event_id);
    return state_run(state, statement, "storing a refused event", error) ? -1 : count_refused(state, error);
}

int state_clear_refused(struct state *state, const char *jwk_id, const char *event_id, bool *made_good, struct error *error) {
    *made_good = false;
    if (state->counters.refused == 0)
        return 0;
    sqlite3_stmt *find = state_prepared(state, STATEMENT_FIND_REFUSED, error);
    sqlite3_stmt *clear = state_prepared(state, STATEMENT_CLEAR_REFUSED, error);
    if (!find || !clear)
        return -1;
    state_bind_text(find, 1, jwk_id);
    int code = sqlite3_step(find);
    bool found = code == SQLITE_ROW;
    *made_good = found && strcmp((const char *)sqlite3_column_text(find, 0), event_id) == 0;
    int status = found || code == SQLITE_DONE ? 0 : state_fail(state, "finding a refused event", error);
    sqlite3_reset(find);
    if (status || !found)
        return status;
    state_bind_text(clear, 1, jwk_id);
    return state_run(state, clear, "clearing a refused event", error) ? -1 : count_refused(state, error);
}

int state_clear_unreadable(struct state *state, const char *jwk_id, struct error *error) {
    if (state->counters.refused == 0)
        return 0;
    sqlite3_stmt *clear = state_prepared(state, STATEMENT_CLEAR_UNREADABLE, error);
    if (!clear)
        return -1;
    state_bind_text(clear, 1, jwk_id);
    return state_run(state, clear, "clearing an event that could not be read", error) ? -1 : count_refused(state, error);
}

int state_each_refused(struct state *state, size_t limit, void (*visit)(void *context, const char *jwk_id), void *context,
                       struct error *error) {
    sqlite3_stmt *statement = state_prepared(state, STATEMENT_EACH_REFUSED, error);
    if (!statement)
        return -1;
    sqlite3_bind_int64(statement, 1, limit > INT64_MAX ? INT64_MAX : (int64_t)limit);
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW)
        visit(context, (const char *)sqlite3_column_text(statement, 0));
    int status = code == SQLITE_DONE ? 0 : state_fail(state, "reading refused events", error);
    sqlite3_reset(statement);
    return status;
}
