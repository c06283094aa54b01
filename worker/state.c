/* Opening the state: who may read it, who holds it, whether it is whole and of which version. */
#include "worker/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/memory.h"
#include "common/private_path.h"
#include "common/wal.h"
#include "worker/state_internal.h"

enum {
    APPLICATION_ID = 0x4a574b57, /* "JWKW" */
};

static const char *const statement_texts[STATEMENT_COUNT] = {
    [STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
    [STATEMENT_COMMIT] = "COMMIT",
    [STATEMENT_ROLLBACK] = "ROLLBACK",
    [STATEMENT_FIND_PROJECT] = "SELECT number, name FROM project WHERE id = ?1",
    [STATEMENT_ADD_PROJECT] = "INSERT INTO project (id, name) VALUES (?1, ?2)",
    [STATEMENT_RENAME_PROJECT] = "UPDATE project SET name = ?2 WHERE number = ?1",
    [STATEMENT_FIND_JWK] =
        "SELECT number, project, epoch, version, partition, generation, deleted, retiring, verified, private, name FROM jwk "
        "WHERE id = ?1",
    [STATEMENT_ADD_JWK] =
        "INSERT INTO jwk (number, id, project, name, type, kid, epoch, version, sequence, partition, generation, "
        "deleted, expires, public_key, retiring, verified, private) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, "
        "?13, ?14, ?15, ?16, ?17)",
    [STATEMENT_CHANGE_JWK] =
        "UPDATE jwk SET project = ?3, name = ?4, type = ?5, kid = ?6, epoch = ?7, version = ?8, sequence = ?9, "
        "partition = ?10, generation = ?11, deleted = ?12, expires = ?13, public_key = ?14, retiring = ?15, verified = ?16, "
        "private = ?17 WHERE number = ?1",
    /* The same where project, name and deleted stay: SQLite writes every index of a column that is set, also to the value that
     * it has. */
    [STATEMENT_CHANGE_KEY] =
        "UPDATE jwk SET type = ?5, kid = ?6, epoch = ?7, version = ?8, sequence = ?9, partition = ?10, generation = ?11, "
        "expires = ?13, public_key = ?14, retiring = ?15, verified = ?16, private = ?17 WHERE number = ?1",
    [STATEMENT_MARK_JWK] = "UPDATE jwk SET partition = ?2, generation = ?3 WHERE number = ?1",
    [STATEMENT_ADD_RETIRING] = "INSERT INTO jwk_retiring (jwk, place, public_key, until) VALUES (?1, ?2, ?3, ?4)",
    [STATEMENT_CLEAR_RETIRING] = "DELETE FROM jwk_retiring WHERE jwk = ?1",
    [STATEMENT_FIND_PRIVATE] = "SELECT sealed FROM jwk_private WHERE jwk = ?1",
    [STATEMENT_STORE_PRIVATE] = "INSERT OR REPLACE INTO jwk_private (jwk, sealed) VALUES (?1, ?2)",
    [STATEMENT_CLEAR_PRIVATE] = "DELETE FROM jwk_private WHERE jwk = ?1",
    [STATEMENT_MARK_OPENED] = "UPDATE jwk SET private = 2 WHERE id = ?1 AND epoch = ?2 AND version = ?3 AND private = 1",
    [STATEMENT_FIND_UNPROVEN] =
        "SELECT j.number, p.id, p.name, j.name, j.type, j.kid, j.epoch, j.version, j.sequence, j.partition, j.generation, "
        "j.deleted FROM jwk j JOIN project p ON p.number = j.project WHERE j.id = ?1 AND j.verified = 0",
    [STATEMENT_DELETE_UNPROVEN] =
        "UPDATE jwk SET deleted = 1, expires = NULL, public_key = NULL, retiring = 0, private = 0 WHERE number = ?1",
    [STATEMENT_FORGET_JWK] =
        "DELETE FROM jwk WHERE id = ?1 RETURNING deleted, (SELECT name FROM project WHERE number = project), epoch, version",
    [STATEMENT_ADD_FORGOTTEN] = "INSERT OR REPLACE INTO forgotten (id, epoch, version) VALUES (?1, ?2, ?3)",
    [STATEMENT_FIND_FORGOTTEN] = "SELECT epoch, version FROM forgotten WHERE id = ?1",
    [STATEMENT_CLEAR_FORGOTTEN] = "DELETE FROM forgotten WHERE id = ?1",
    [STATEMENT_KEEP_JWK] = "UPDATE jwk SET generation = ?3 WHERE id = ?1 AND partition = ?2 AND generation < ?3",
    [STATEMENT_FIND_UNSEEN] =
        "SELECT j.id, p.id, p.name, j.name, j.type, j.kid, j.epoch, j.version, j.sequence, j.deleted FROM jwk j JOIN "
        "project p ON p.number = j.project WHERE j.partition = ?1 AND j.generation < ?2",
    [STATEMENT_SWEEP] = "DELETE FROM jwk WHERE partition = ?1 AND generation < ?2",
    [STATEMENT_LOAD_POSITIONS] = "SELECT partition, next_offset, sequence, generation, sweep_offset, sweep_after, "
                                 "done_sequence FROM position ORDER BY partition",
    [STATEMENT_STORE_OFFSET] = "UPDATE position SET next_offset = ?2, sequence = ?3 WHERE partition = ?1",
    [STATEMENT_STORE_POSITION] =
        "INSERT INTO position (partition, next_offset, sequence, generation, sweep_offset, sweep_after, done_sequence) VALUES "
        "(?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (partition) DO UPDATE SET next_offset = ?2, sequence = ?3, "
        "generation = ?4, sweep_offset = ?5, sweep_after = ?6, done_sequence = ?7",
    [STATEMENT_STORE_EPOCH] = "UPDATE replica SET epoch = ?1",
    [STATEMENT_STORE_CONTACT] = "UPDATE replica SET last_contact = ?1",
    [STATEMENT_STORE_CLUSTER] = "UPDATE replica SET cluster = ?1",
    [STATEMENT_STORE_REFUSED_BY] = "UPDATE replica SET refused_by = ?1",
    [STATEMENT_STORE_REFUSED] = "INSERT OR REPLACE INTO refused (jwk_id, event_id) VALUES (?1, ?2)",
    [STATEMENT_FIND_REFUSED] = "SELECT event_id FROM refused WHERE jwk_id = ?1",
    [STATEMENT_CLEAR_REFUSED] = "DELETE FROM refused WHERE jwk_id = ?1",
    [STATEMENT_CLEAR_UNREADABLE] = "DELETE FROM refused WHERE jwk_id = ?1 AND event_id = '" STATE_UNREADABLE "'",
    [STATEMENT_COUNT_REFUSED] = "SELECT count(*) FROM refused",
    [STATEMENT_EACH_REFUSED] = "SELECT jwk_id FROM refused ORDER BY jwk_id LIMIT ?1",
    [STATEMENT_STORE_FAILING] =
        "INSERT OR REPLACE INTO failing (jwk_id, deployment_id, event_id, event_hash, traceparent, operation, epoch, "
        "version, sequence, message) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    [STATEMENT_CLEAR_FAILING] = "DELETE FROM failing WHERE jwk_id = ?1 AND (epoch, version) <= (?2, ?3)",
    [STATEMENT_COUNT_FAILING] = "SELECT count(*) FROM failing",
    [STATEMENT_EACH_FAILING] =
        "SELECT jwk_id, deployment_id, event_id, event_hash, traceparent, operation, epoch, version, sequence, "
        "message FROM failing ORDER BY jwk_id LIMIT ?1",
};

int state_fail(struct state *state, const char *what, struct error *error) {
    int code = sqlite3_errcode(state->db);
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        return error_set(
            error, ERROR_INTERNAL,
            "%s: the state %s is damaged (%s); stop the worker and delete the state directory: it is rebuilt from the topic",
            what, state->path, sqlite3_errmsg(state->db));
    return error_set(error, ERROR_UNAVAILABLE, "%s in %s: %s", what, state->path, sqlite3_errmsg(state->db));
}

sqlite3_stmt *state_prepared(struct state *state, enum state_statement which, struct error *error) {
    sqlite3_stmt **statement = &state->statements[which];
    if (*statement)
        return *statement;
    if (sqlite3_prepare_v3(state->db, statement_texts[which], -1, SQLITE_PREPARE_PERSISTENT, statement, NULL) != SQLITE_OK)
        state_fail(state, "preparing a statement", error);
    return *statement;
}

int state_run(struct state *state, sqlite3_stmt *statement, const char *what, struct error *error) {
    int code = sqlite3_step(statement);
    int status = code == SQLITE_DONE || code == SQLITE_ROW ? 0 : state_fail(state, what, error);
    sqlite3_reset(statement);
    return status;
}

static int run_simple(struct state *state, enum state_statement which, const char *what, struct error *error) {
    sqlite3_stmt *statement = state_prepared(state, which, error);
    return statement ? state_run(state, statement, what, error) : -1;
}

int state_begin(struct state *state, struct error *error) {
    state->before = state->counters;
    free(state->refused_by_before);
    state->refused_by_before = memory_string(state->refused_by);
    return run_simple(state, STATEMENT_BEGIN, "beginning a change", error);
}

int state_commit(struct state *state, struct error *error) {
    if (state_store_opened(state, error) || run_simple(state, STATEMENT_COMMIT, "committing a change", error))
        return -1;
    state->opened_count = 0;
    return 0;
}

void state_rollback(struct state *state) {
    state->counters = state->before;
    if (state->refused_by_before) {
        free(state->refused_by);
        state->refused_by = state->refused_by_before;
        state->refused_by_before = NULL;
    }
    /* SQLite rolls back on its own after some failures, and then there is nothing to do. */
    if (!sqlite3_get_autocommit(state->db))
        (void)run_simple(state, STATEMENT_ROLLBACK, "rolling back", NULL);
}

int64_t state_keys(const struct state *state) {
    return state->counters.keys;
}
int64_t state_epoch(const struct state *state) {
    return state->counters.epoch;
}

/* ---- opening ---- */

static int run_text(struct state *state, const char *text, const char *what, struct error *error) {
    return sqlite3_exec(state->db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : state_fail(state, what, error);
}

/* The one integer that a statement gives. */
static int query_integer(struct state *state, const char *text, int64_t *value, struct error *error) {
    sqlite3_stmt *statement = NULL;
    int status = -1;
    if (sqlite3_prepare_v2(state->db, text, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
        *value = sqlite3_column_int64(statement, 0);
        status = 0;
    } else {
        state_fail(state, "reading the state", error);
    }
    sqlite3_finalize(statement);
    return status;
}

int state_count_unproven(struct state *state, int64_t *count, struct error *error) {
    return query_integer(state, "SELECT count(*) FROM jwk WHERE deleted = 0 AND verified = 0", count, error);
}

static int make_directory(struct state *state, struct error *error) {
    static const char *const files[] = {"lock", "state.db", "state.db-wal", "state.db-shm"};
    if (private_directory_make("state directory", "--state-dir", state->directory, error) ||
        private_directory_check("state directory", state->directory, error))
        return -1;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = memory_format("%s/%s", state->directory, files[i]);
        int status = private_file_check("state", path, error);
        free(path);
        if (status)
            return -1;
    }
    return 0;
}

static int lock_directory(struct state *state, struct error *error) {
    char *path = memory_format("%s/lock", state->directory);
    int status = 0;
    state->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (state->lock < 0)
        status = error_set(error, ERROR_UNAVAILABLE, "opening %s: %s", path, strerror(errno));
    else if (flock(state->lock, LOCK_EX | LOCK_NB) != 0)
        status = errno == EWOULDBLOCK
                     ? error_set(error, ERROR_CONFLICT,
                                 "the state directory %s is in use by another jwk-worker; give each its own --state-dir",
                                 state->directory)
                     : error_set(error, ERROR_UNAVAILABLE, "locking %s: %s", path, strerror(errno));
    free(path);
    return status;
}

/* Makes the entry of a file that was just created survive a loss of power. */
static int sync_directory(struct state *state, struct error *error) {
    int directory = open(state->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int status = 0;
    if (directory < 0 || fsync(directory) != 0)
        status = error_set(error, ERROR_UNAVAILABLE, "writing the state directory %s: %s", state->directory, strerror(errno));
    if (directory >= 0)
        close(directory);
    return status;
}

static int remember_log_size(void *context, sqlite3 *db, const char *name, int pages) {
    (void)db;
    (void)name;
    ((struct state *)context)->wal_pages = pages;
    return SQLITE_OK;
}

static int check_log(const struct state *state, struct error *error) {
    char *path = memory_format("%s-wal", state->path);
    int status = wal_is_damaged(path);
    if (status < 0)
        error_set(error, ERROR_UNAVAILABLE, "opening %s: %s", path, strerror(errno));
    else if (status > 0)
        error_set(error, ERROR_INTERNAL, "the log %s is damaged; delete the state directory: it is rebuilt from the topic", path);
    free(path);
    return status ? -1 : 0;
}

static int open_file(struct state *state, struct error *error) {
    if (check_log(state, error))
        return -1;
    /* SQLite gives its side files the mode of the database file: it is made here so that none is ever readable by others. */
    int file = open(state->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0)
        return error_set(error, ERROR_UNAVAILABLE, "opening the state %s: %s", state->path, strerror(errno));
    close(file);
    if (sqlite3_open_v2(state->path, &state->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        return state_fail(state, "opening the state", error);
    sqlite3_extended_result_codes(state->db, 0);
    sqlite3_busy_timeout(state->db, 5000);
    /* Before anything else is read: a file that is not SQLite's fails here, with a sentence that says what to do. */
    int64_t ignored;
    if (query_integer(state, "SELECT count(*) FROM sqlite_schema", &ignored, error))
        return -1;
    /* The page size holds for new files only. cache_size: 8 MB of pages instead of 2, which spares an update of one in 10,000 JWKs
     * two reads of the file, and 2 µs; it makes bootstrapping no faster. */
    if (run_text(state,
                 "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; "
                 "PRAGMA foreign_keys = OFF; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 33554432; "
                 "PRAGMA trusted_schema = OFF; PRAGMA cache_size = -8192;",
                 "preparing the state", error))
        return -1;
    sqlite3_wal_hook(state->db, remember_log_size, state);
    return 0;
}

/* Whether the file is whole. Its cost is that of reading it once. */
static int check_integrity(struct state *state, struct error *error) {
    sqlite3_stmt *statement = NULL;
    int status = -1;
    if (sqlite3_prepare_v2(state->db, "PRAGMA quick_check(1)", -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        state_fail(state, "checking the state", error);
    else if (strcmp((const char *)sqlite3_column_text(statement, 0), "ok") != 0)
        error_set(error, ERROR_INTERNAL,
                  "the state %s is damaged (%s); delete the state directory: it is rebuilt from the topic", state->path,
                  (const char *)sqlite3_column_text(statement, 0));
    else
        status = 0;
    sqlite3_finalize(statement);
    return status;
}

static int migrate(struct state *state, struct error *error) {
    int64_t application = 0, version = 0, tables = 0;
    if (query_integer(state, "PRAGMA application_id", &application, error) ||
        query_integer(state, "PRAGMA user_version", &version, error) ||
        query_integer(state, "SELECT count(*) FROM sqlite_schema", &tables, error))
        return -1;
    if (application != APPLICATION_ID && tables > 0)
        return error_set(error, ERROR_CONFLICT, "%s is not the state of a jwk-worker; give another --state-dir", state->path);
    if (version > STATE_SCHEMA_VERSION)
        return error_set(error, ERROR_CONFLICT,
                         "the state %s was written by a newer jwk-worker (schema %lld, this program knows %d); run that one, "
                         "or delete the state "
                         "directory: it is rebuilt from the topic",
                         state->path, (long long)version, STATE_SCHEMA_VERSION);
    if (version == STATE_SCHEMA_VERSION)
        return 0;
    if (state_begin(state, error))
        return -1;
    for (int64_t step = version; step < STATE_SCHEMA_VERSION; step++)
        if (run_text(state, state_schema[step], "making the tables of the state", error))
            goto failed;
    char *pragmas = memory_format("PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION_ID, STATE_SCHEMA_VERSION);
    int status = run_text(state, pragmas, "marking the state", error);
    free(pragmas);
    if (status || state_commit(state, error))
        goto failed;
    return sync_directory(state, error);
failed:
    state_rollback(state);
    return -1;
}

/* A state is of one replica: offsets, acks and failing hooks of another must not be mixed into it. */
static int check_replica(struct state *state, const char *environment, const char *replica, struct error *error) {
    sqlite3_stmt *statement = NULL;
    int status = 0;
    if (sqlite3_prepare_v2(state->db, "INSERT INTO replica (one, environment, name) VALUES (1, ?1, ?2) ON CONFLICT DO NOTHING",
                           -1, &statement, NULL) != SQLITE_OK)
        return state_fail(state, "reading the state", error);
    state_bind_text(statement, 1, environment);
    state_bind_text(statement, 2, replica);
    status = state_run(state, statement, "marking the state", error);
    sqlite3_finalize(statement);
    if (status)
        return -1;
    if (sqlite3_prepare_v2(state->db, "SELECT environment, name, cluster, epoch, last_contact, refused_by FROM replica", -1,
                           &statement, NULL) != SQLITE_OK)
        return state_fail(state, "reading the state", error);
    if (sqlite3_step(statement) != SQLITE_ROW) {
        status = state_fail(state, "reading the state", error);
    } else {
        const char *its_environment = (const char *)sqlite3_column_text(statement, 0),
                   *its_name = (const char *)sqlite3_column_text(statement, 1);
        if (strcmp(its_environment, environment) != 0 || strcmp(its_name, replica) != 0)
            status = error_set(
                error, ERROR_CONFLICT,
                "the state directory %s belongs to replica %s of environment %s; give another --state-dir, or delete it: it is "
                "rebuilt from the topic",
                state->directory, its_name, its_environment);
        state->cluster = memory_string((const char *)sqlite3_column_text(statement, 2));
        state->counters.epoch = sqlite3_column_int64(statement, 3);
        state->counters.last_contact = sqlite3_column_int64(statement, 4);
        state->refused_by = memory_string((const char *)sqlite3_column_text(statement, 5));
    }
    sqlite3_finalize(statement);
    return status;
}

struct state *state_open(const char *directory, const char *environment, const char *replica, struct error *error) {
    struct state *state = memory_new(sizeof *state);
    state->lock = -1;
    state->directory = memory_string(directory);
    state->path = memory_format("%s/state.db", directory);
    if (make_directory(state, error) || lock_directory(state, error) || open_file(state, error) ||
        check_integrity(state, error) || migrate(state, error) || check_replica(state, environment, replica, error) ||
        query_integer(state, "SELECT count(*) FROM jwk WHERE deleted = 0", &state->counters.keys, error) ||
        query_integer(state, statement_texts[STATEMENT_COUNT_FAILING], &state->counters.failing, error) ||
        query_integer(state, statement_texts[STATEMENT_COUNT_REFUSED], &state->counters.refused, error)) {
        state_close(state);
        return NULL;
    }
    return state;
}

void state_close(struct state *state) {
    if (!state)
        return;
    for (size_t i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(state->statements[i]);
    sqlite3_close(state->db);
    if (state->lock >= 0)
        close(state->lock);
    free(state->cluster);
    free(state->refused_by);
    free(state->refused_by_before);
    free(state->opened);
    free(state->path);
    free(state->directory);
    free(state);
}

void state_checkpoint(struct state *state, int pages) {
    if (state->wal_pages < pages)
        return;
    /* Passive: never waits for a reader. What a reader holds back is moved by the next one. */
    sqlite3_wal_checkpoint_v2(state->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    state->wal_pages = 0;
}

sqlite3 *state_open_reader(const struct state *state, struct error *error) {
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(state->path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK ||
        sqlite3_exec(db, "PRAGMA cache_size = -2048; PRAGMA trusted_schema = OFF", NULL, NULL, NULL) != SQLITE_OK) {
        error_set(error, ERROR_UNAVAILABLE, "opening the state %s for reading: %s", state->path, sqlite3_errmsg(db));
        sqlite3_close(db);
        return NULL;
    }
    sqlite3_busy_timeout(db, 5000);
    return db;
}
