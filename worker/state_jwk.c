/* One JWK of the state changed by one event: what is newer wins, everything else leaves the row as it is. */
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "worker/state_internal.h"

static void tell_changed(const struct state_changes *changes, const char *project_name) {
    if (changes && project_name)
        changes->changed(changes->context, project_name);
}

/* Finds or adds the project of a JWK and gives its number. A newer event carries the project's present name. */
static int resolve_project(struct state *state, const struct state_jwk *jwk, int64_t *number,
                           const struct state_changes *changes, struct error *error) {
    sqlite3_stmt *find = state_prepared(state, STATEMENT_FIND_PROJECT, error);
    if (!find)
        return -1;
    state_bind_text(find, 1, jwk->project_id);
    int code = sqlite3_step(find);
    if (code == SQLITE_ROW) {
        *number = sqlite3_column_int64(find, 0);
        const char *name = (const char *)sqlite3_column_text(find, 1);
        if (strcmp(name, jwk->project_name) == 0) {
            sqlite3_reset(find);
            return 0;
        }
        tell_changed(changes, name);
        sqlite3_reset(find);
        sqlite3_stmt *rename = state_prepared(state, STATEMENT_RENAME_PROJECT, error);
        if (!rename)
            return -1;
        sqlite3_bind_int64(rename, 1, *number);
        state_bind_text(rename, 2, jwk->project_name);
        return state_run(state, rename, "renaming a project", error);
    }
    sqlite3_reset(find);
    if (code != SQLITE_DONE)
        return state_fail(state, "finding a project", error);
    sqlite3_stmt *add = state_prepared(state, STATEMENT_ADD_PROJECT, error);
    if (!add)
        return -1;
    state_bind_text(add, 1, jwk->project_id);
    state_bind_text(add, 2, jwk->project_name);
    if (state_run(state, add, "adding a project", error))
        return -1;
    *number = sqlite3_last_insert_rowid(state->db);
    return 0;
}

static int write_jwk(struct state *state, enum state_statement which, int64_t number, int64_t project,
                     const struct state_jwk *jwk, enum state_private private, struct error *error) {
    sqlite3_stmt *statement = state_prepared(state, which, error);
    if (!statement)
        return -1;
    if (number)
        sqlite3_bind_int64(statement, 1, number);
    else
        sqlite3_bind_null(statement, 1);
    if (which == STATEMENT_ADD_JWK)
        state_bind_text(statement, 2, jwk->id);
    sqlite3_bind_int64(statement, 3, project);
    state_bind_text(statement, 4, jwk->name);
    state_bind_text(statement, 5, jwk->type);
    state_bind_text(statement, 6, jwk->kid);
    sqlite3_bind_int64(statement, 7, jwk->epoch);
    sqlite3_bind_int64(statement, 8, jwk->version);
    sqlite3_bind_int64(statement, 9, jwk->sequence);
    sqlite3_bind_int64(statement, 10, jwk->partition);
    sqlite3_bind_int64(statement, 11, jwk->generation);
    sqlite3_bind_int(statement, 12, jwk->deleted);
    if (jwk->expires == INT64_MAX)
        sqlite3_bind_null(statement, 13);
    else
        sqlite3_bind_int64(statement, 13, jwk->expires);
    state_bind_text(statement, 14, jwk->deleted ? NULL : jwk->public_key);
    sqlite3_bind_int64(statement, 15, jwk->deleted ? 0 : (int64_t)jwk->retiring_count);
    sqlite3_bind_int(statement, 16, jwk->verified);
    sqlite3_bind_int(statement, 17, (int)private);
    return state_run(state, statement, "storing a JWK", error);
}

/* Replaces the keys that are served beside the JWK's own. */
static int write_retiring(struct state *state, int64_t number, bool had, const struct state_jwk *jwk, struct error *error) {
    if (had) {
        sqlite3_stmt *clear = state_prepared(state, STATEMENT_CLEAR_RETIRING, error);
        if (!clear)
            return -1;
        sqlite3_bind_int64(clear, 1, number);
        if (state_run(state, clear, "removing replaced keys", error))
            return -1;
    }
    for (size_t i = 0; !jwk->deleted && i < jwk->retiring_count; i++) {
        sqlite3_stmt *add = state_prepared(state, STATEMENT_ADD_RETIRING, error);
        if (!add)
            return -1;
        sqlite3_bind_int64(add, 1, number);
        sqlite3_bind_int64(add, 2, (int64_t)i);
        state_bind_text(add, 3, jwk->retiring[i].public_key);
        sqlite3_bind_int64(add, 4, jwk->retiring[i].until);
        if (state_run(state, add, "storing a replaced key", error))
            return -1;
    }
    return 0;
}

static int mark_seen(struct state *state, int64_t number, const struct state_jwk *jwk, struct error *error) {
    sqlite3_stmt *statement = state_prepared(state, STATEMENT_MARK_JWK, error);
    if (!statement)
        return -1;
    sqlite3_bind_int64(statement, 1, number);
    sqlite3_bind_int64(statement, 2, jwk->partition);
    sqlite3_bind_int64(statement, 3, jwk->generation);
    return state_run(state, statement, "marking a JWK", error);
}

static int store_epoch(struct state *state, int64_t epoch, struct error *error) {
    sqlite3_stmt *statement = state_prepared(state, STATEMENT_STORE_EPOCH, error);
    if (!statement)
        return -1;
    sqlite3_bind_int64(statement, 1, epoch);
    if (state_run(state, statement, "storing the epoch", error))
        return -1;
    state->counters.epoch = epoch;
    return 0;
}

/* A JWK that the state does not have: whether its tombstone was here, and of which epoch what it took away was. */
static int check_forgotten(struct state *state, const struct state_jwk *jwk, bool *forgotten, int64_t *forgotten_epoch,
                           struct error *error) {
    sqlite3_stmt *find = state_prepared(state, STATEMENT_FIND_FORGOTTEN, error);
    if (!find)
        return -1;
    state_bind_text(find, 1, jwk->id);
    int code = sqlite3_step(find), status = code == SQLITE_ROW || code == SQLITE_DONE ? 0 : -1;
    bool was = code == SQLITE_ROW;
    int64_t epoch = was ? sqlite3_column_int64(find, 0) : 0, version = was ? sqlite3_column_int64(find, 1) : 0;
    if (status)
        state_fail(state, "finding a deleted JWK", error);
    sqlite3_reset(find);
    *forgotten_epoch = epoch;
    *forgotten = was && (jwk->epoch < epoch || (jwk->epoch == epoch && jwk->version <= version));
    if (status || !was || *forgotten)
        return status;
    /* A store put back from a backup has it again. */
    sqlite3_stmt *clear = state_prepared(state, STATEMENT_CLEAR_FORGOTTEN, error);
    if (!clear)
        return -1;
    state_bind_text(clear, 1, jwk->id);
    return state_run(state, clear, "adding a JWK that was deleted", error);
}

int state_put(struct state *state, const struct state_jwk *jwk, struct state_outcome *outcome,
              const struct state_changes *changes, struct error *error) {
    *outcome = (struct state_outcome){.result = STATE_NEWER};
    sqlite3_stmt *find = state_prepared(state, STATEMENT_FIND_JWK, error);
    if (!find)
        return -1;
    state_bind_text(find, 1, jwk->id);
    int code = sqlite3_step(find);
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        state_fail(state, "finding a JWK", error);
        sqlite3_reset(find);
        return -1;
    }
    int64_t number = 0, old_project = 0, epoch = 0, version = 0, generation = 0;
    int32_t partition = -1;
    bool lived = false, is_renamed = false, had_retiring = false, was_verified = true, forgotten = false;
    int private = 0;
    if (code == SQLITE_ROW) {
        number = sqlite3_column_int64(find, 0);
        old_project = sqlite3_column_int64(find, 1);
        epoch = sqlite3_column_int64(find, 2);
        version = sqlite3_column_int64(find, 3);
        partition = sqlite3_column_int(find, 4);
        generation = sqlite3_column_int64(find, 5);
        lived = sqlite3_column_int(find, 6) == 0;
        had_retiring = sqlite3_column_int(find, 7) > 0;
        was_verified = sqlite3_column_int(find, 8) != 0;
        private = sqlite3_column_int(find, 9);
        is_renamed = strcmp((const char *)sqlite3_column_text(find, 10), jwk->name) != 0;
    }
    sqlite3_reset(find);
    if (!number && check_forgotten(state, jwk, &forgotten, &outcome->epoch, error))
        return -1;
    if (forgotten) {
        outcome->result = STATE_FORGOTTEN;
        return 0;
    }
    /* What was not verified may be anything, the version too. */
    bool believed = was_verified || !jwk->verified;
    if (number && believed && (jwk->epoch < epoch || (jwk->epoch == epoch && jwk->version <= version))) {
        outcome->result = jwk->epoch == epoch && jwk->version == version ? STATE_EQUAL : STATE_OLDER;
        outcome->private = (enum state_private) private;
        outcome->epoch = epoch;
        /* Seen again all the same: a sweep must know. */
        return partition != jwk->partition || generation != jwk->generation ? mark_seen(state, number, jwk, error) : 0;
    }
    int64_t project = 0;
    enum state_private is_private;
    bool is_new = number == 0;
    if (is_new)
        is_private = jwk->sealed && !jwk->deleted ? STATE_PRIVATE_SEALED : STATE_PRIVATE_NONE;
    else if (state_write_private(state, number, private, jwk, &is_private, error))
        return -1;
    if (resolve_project(state, jwk, &project, changes, error))
        return -1;
    bool is_listed_as_before = lived && !jwk->deleted && !is_renamed && project == old_project;
    enum state_statement write = is_new ? STATEMENT_ADD_JWK : is_listed_as_before ? STATEMENT_CHANGE_KEY : STATEMENT_CHANGE_JWK;
    if (write_jwk(state, write, number, project, jwk, is_private, error))
        return -1;
    if (is_new) {
        number = sqlite3_last_insert_rowid(state->db);
        if (state_write_private(state, number, STATE_PRIVATE_NONE, jwk, &is_private, error))
            return -1;
    }
    if (write_retiring(state, number, had_retiring, jwk, error) ||
        (jwk->epoch > state->counters.epoch && store_epoch(state, jwk->epoch, error)))
        return -1;
    state->counters.keys += (jwk->deleted ? 0 : 1) - (lived ? 1 : 0);
    tell_changed(changes, jwk->project_name);
    outcome->private = is_private;
    return 0;
}

int state_forget(struct state *state, const char *jwk_id, const struct state_changes *changes, struct error *error) {
    sqlite3_stmt *statement = state_prepared(state, STATEMENT_FORGET_JWK, error);
    int64_t epoch = 0, version = 0;
    if (!statement)
        return -1;
    state_bind_text(statement, 1, jwk_id);
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        if (sqlite3_column_int(statement, 0) == 0) {
            state->counters.keys--;
            tell_changed(changes, (const char *)sqlite3_column_text(statement, 1));
        }
        epoch = sqlite3_column_int64(statement, 2);
        version = sqlite3_column_int64(statement, 3);
        code = sqlite3_step(statement);
    }
    int status = code == SQLITE_DONE ? 0 : state_fail(state, "forgetting a JWK", error);
    sqlite3_reset(statement);
    if (status || version == 0)
        return status;
    statement = state_prepared(state, STATEMENT_ADD_FORGOTTEN, error);
    if (!statement)
        return -1;
    state_bind_text(statement, 1, jwk_id);
    sqlite3_bind_int64(statement, 2, epoch);
    sqlite3_bind_int64(statement, 3, version);
    return state_run(state, statement, "remembering a deleted JWK", error);
}

int state_has(struct state *state, const char *jwk_id, int64_t epoch, int64_t version, bool *has, struct error *error) {
    sqlite3_stmt *find = state_prepared(state, STATEMENT_FIND_JWK, error);
    if (!find)
        return -1;
    state_bind_text(find, 1, jwk_id);
    int code = sqlite3_step(find);
    *has = code == SQLITE_ROW && (sqlite3_column_int64(find, 2) > epoch ||
                                  (sqlite3_column_int64(find, 2) == epoch && sqlite3_column_int64(find, 3) >= version));
    int status = code == SQLITE_ROW || code == SQLITE_DONE ? 0 : state_fail(state, "finding a JWK", error);
    sqlite3_reset(find);
    return status;
}

/* Takes the keys of a JWK out of the state, and leaves all else that it has of it. */
static int empty_jwk(struct state *state, int64_t number, struct error *error) {
    static const enum state_statement steps[] = {STATEMENT_CLEAR_RETIRING, STATEMENT_CLEAR_PRIVATE, STATEMENT_DELETE_UNPROVEN};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        sqlite3_stmt *statement = state_prepared(state, steps[i], error);
        if (!statement)
            return -1;
        sqlite3_bind_int64(statement, 1, number);
        if (state_run(state, statement, "deleting a JWK that was taken unsigned", error))
            return -1;
    }
    state->counters.keys--;
    return 0;
}

int state_delete_unproven(struct state *state, const char *jwk_id, const struct state_changes *changes,
                          void (*visit)(void *context, const struct state_jwk *jwk), void *context, struct error *error) {
    sqlite3_stmt *find = state_prepared(state, STATEMENT_FIND_UNPROVEN, error);
    if (!find)
        return -1;
    state_bind_text(find, 1, jwk_id);
    int code = sqlite3_step(find);
    int status = code == SQLITE_ROW || code == SQLITE_DONE ? 0 : state_fail(state, "finding a JWK", error);
    if (code == SQLITE_ROW) {
        struct state_jwk jwk = {
            .id = jwk_id,
            .project_id = (const char *)sqlite3_column_text(find, 1),
            .project_name = (const char *)sqlite3_column_text(find, 2),
            .name = (const char *)sqlite3_column_text(find, 3),
            .type = (const char *)sqlite3_column_text(find, 4),
            .kid = (const char *)sqlite3_column_text(find, 5),
            .epoch = sqlite3_column_int64(find, 6),
            .version = sqlite3_column_int64(find, 7),
            .sequence = sqlite3_column_int64(find, 8),
            .partition = sqlite3_column_int(find, 9),
            .generation = sqlite3_column_int64(find, 10),
            .deleted = sqlite3_column_int(find, 11) != 0,
            .expires = INT64_MAX,
        };
        if (!jwk.deleted) {
            status = empty_jwk(state, sqlite3_column_int64(find, 0), error);
            tell_changed(changes, jwk.project_name);
        }
        if (status == 0)
            visit(context, &jwk);
    }
    sqlite3_reset(find);
    return status;
}

int state_keep(struct state *state, const char *jwk_id, int32_t partition, int64_t generation, struct error *error) {
    sqlite3_stmt *keep = state_prepared(state, STATEMENT_KEEP_JWK, error);
    if (!keep)
        return -1;
    state_bind_text(keep, 1, jwk_id);
    sqlite3_bind_int64(keep, 2, partition);
    sqlite3_bind_int64(keep, 3, generation);
    return state_run(state, keep, "keeping a JWK", error);
}

int state_sweep(struct state *state, int32_t partition, int64_t generation, const struct state_changes *changes,
                void (*removed)(void *context, const struct state_jwk *jwk), void *context, struct error *error) {
    sqlite3_stmt *find = state_prepared(state, STATEMENT_FIND_UNSEEN, error);
    sqlite3_stmt *sweep = state_prepared(state, STATEMENT_SWEEP, error);
    if (!find || !sweep)
        return -1;
    sqlite3_bind_int64(find, 1, partition);
    sqlite3_bind_int64(find, 2, generation);
    int code;
    while ((code = sqlite3_step(find)) == SQLITE_ROW) {
        struct state_jwk jwk = {
            .id = (const char *)sqlite3_column_text(find, 0),
            .project_id = (const char *)sqlite3_column_text(find, 1),
            .project_name = (const char *)sqlite3_column_text(find, 2),
            .name = (const char *)sqlite3_column_text(find, 3),
            .type = (const char *)sqlite3_column_text(find, 4),
            .kid = (const char *)sqlite3_column_text(find, 5),
            .epoch = sqlite3_column_int64(find, 6),
            .version = sqlite3_column_int64(find, 7),
            .sequence = sqlite3_column_int64(find, 8),
            .deleted = sqlite3_column_int(find, 9) != 0,
            .expires = INT64_MAX,
            .partition = partition,
            .generation = generation,
        };
        if (jwk.deleted)
            continue;
        state->counters.keys--;
        tell_changed(changes, jwk.project_name);
        if (removed)
            removed(context, &jwk);
    }
    int status = code == SQLITE_DONE ? 0 : state_fail(state, "finding what a sweep removes", error);
    sqlite3_reset(find);
    if (status)
        return -1;
    sqlite3_bind_int64(sweep, 1, partition);
    sqlite3_bind_int64(sweep, 2, generation);
    return state_run(state, sweep, "sweeping", error);
}
