/* Private halves in the state: as they came, sealed, beside the JWKs; and which of them this worker was able to open. */
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "worker/state_internal.h"

/* Whether the row has exactly this one. */
static int holds(struct state *state, int64_t number, const char *sealed, bool *same, struct error *error) {
    sqlite3_stmt *find = state_prepared(state, STATEMENT_FIND_PRIVATE, error);
    if (!find)
        return -1;
    sqlite3_bind_int64(find, 1, number);
    int code = sqlite3_step(find);
    *same = code == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(find, 0), sealed) == 0;
    int status = code == SQLITE_ROW || code == SQLITE_DONE ? 0 : state_fail(state, "finding a private half", error);
    sqlite3_reset(find);
    return status;
}

int state_write_private(struct state *state, int64_t number, int had, const struct state_jwk *jwk, enum state_private *private,
                        struct error *error) {
    const char *sealed = jwk->deleted ? NULL : jwk->sealed;
    bool same = false;
    *private = sealed ? STATE_PRIVATE_SEALED : STATE_PRIVATE_NONE;
    if (!sealed && !had)
        return 0;
    /* Most changes leave the key as it is: then nothing is to be written, nor to be opened again. */
    if (sealed && had && holds(state, number, sealed, &same, error))
        return -1;
    if (same) {
        *private = (enum state_private)had;
        return 0;
    }
    sqlite3_stmt *statement = state_prepared(state, sealed ? STATEMENT_STORE_PRIVATE : STATEMENT_CLEAR_PRIVATE, error);
    if (!statement)
        return -1;
    sqlite3_bind_int64(statement, 1, number);
    if (sealed)
        state_bind_text(statement, 2, sealed);
    return state_run(state, statement, "storing a private half", error);
}

void state_note_opened(struct state *state, const char *jwk_id, int64_t epoch, int64_t version) {
    if (state->opened_count == state->opened_capacity) {
        state->opened_capacity = state->opened_capacity ? state->opened_capacity * 2 : 64;
        state->opened = memory_resize(state->opened, state->opened_capacity * sizeof *state->opened);
    }
    struct state_opened *opened = &state->opened[state->opened_count++];
    snprintf(opened->jwk_id, sizeof opened->jwk_id, "%s", jwk_id);
    opened->epoch = epoch;
    opened->version = version;
}

int state_store_opened(struct state *state, struct error *error) {
    for (size_t i = 0; i < state->opened_count; i++) {
        const struct state_opened *opened = &state->opened[i];
        sqlite3_stmt *mark = state_prepared(state, STATEMENT_MARK_OPENED, error);
        if (!mark)
            return -1;
        state_bind_text(mark, 1, opened->jwk_id);
        sqlite3_bind_int64(mark, 2, opened->epoch);
        sqlite3_bind_int64(mark, 3, opened->version);
        if (state_run(state, mark, "marking a private half", error))
            return -1;
    }
    return 0;
}
