/* Opening the store, its transactions and its prepared statements. */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/private_path.h"
#include "store_sql.h"

/* temp_store: a savepoint's journal would be a file otherwise, at about 40 writes a change; wal_autocheckpoint: 32 MB of log
 * between checkpoints, which with 1,000 updates under way makes the latest hundredth 150 ms late instead of 200. secure_delete
 * and cell_size_check cost nothing that can be measured. */
#define SETTINGS                                                                                                   \
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;" \
    "PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 8000; PRAGMA secure_delete = FAST; PRAGMA cell_size_check = ON;"

/* 8 MB of pages instead of 2: of 10,000 JWKs an update reads half a page from the file instead of three, which is 2 µs less. */
#define WRITER_SETTINGS "PRAGMA cache_size = -8192"

/* How long one process waits for another's write transaction: administration takes milliseconds. */
enum { BUSY_TIMEOUT_MS = 10000 };

/* Makes the directory for its owner alone, or checks that the one that exists is, and that its store is there. */
static int prepare_directory(const char *directory, const char *path, enum store_mode mode, struct error *error) {
    if (mode == STORE_MAKE && private_directory_make("data directory", "--data-dir", directory, error))
        return -1;
    if (mode != STORE_MAKE && access(path, F_OK) != 0 && errno == ENOENT)
        return error_set(error, ERROR_INVALID, "data directory %s: there is no store in it; " STORE_MISSING_ADVICE, directory);
    return private_directory_check("data directory", directory, error);
}

/* Makes the file for its owner alone, or checks that the one that exists is. One that exists is not opened here: closing any
 * descriptor of a file drops all locks that this process holds on it, those of its other connections too
 * (sqlite.org/howtocorrupt.html, section 2.2). */
static int prepare_file(const char *directory, const char *path, enum store_mode mode, struct error *error) {
    static const char *const side_files[] = {"-wal", "-shm"}; /* SQLite's, which hold what the file holds */
    if (mode == STORE_MAKE && private_file_make("store", directory, path, error))
        return -1;
    if (access(path, F_OK) != 0)
        return error_set(error, error_code_of(errno), "store %s: %s", path, strerror(errno));
    int status = private_file_check("store", path, error);
    for (size_t i = 0; status == 0 && i < sizeof side_files / sizeof *side_files; i++) {
        char *side_file = memory_format("%s%s", path, side_files[i]);
        status = private_file_check("store", side_file, error);
        free(side_file);
    }
    return status;
}

int store_failed(struct store *store, const char *what, struct error *error) {
    int code = sqlite3_errcode(store->db) & 0xff;
    log_error("store failed", "action", what, "file", sqlite3_db_filename(store->db, "main"), "reason",
              sqlite3_errmsg(store->db), "advice",
              code == SQLITE_CORRUPT || code == SQLITE_NOTADB ? "stop the API; " STORE_DAMAGE_ADVICE : NULL);
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED || code == SQLITE_FULL || code == SQLITE_IOERR)
        return error_set(error, ERROR_UNAVAILABLE, "The store can not be used now; try again later");
    return error_set(error, ERROR_INTERNAL, "The store failed");
}

int store_execute(struct store *store, const char *sql, const char *what, struct error *error) {
    return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : store_failed(store, what, error);
}

bool store_exists(const char *directory) {
    char *path = memory_format("%s/" STORE_FILE_NAME, directory);
    bool exists = access(path, F_OK) == 0 || errno != ENOENT;
    free(path);
    return exists;
}

struct store *store_open(const char *directory, enum store_mode mode, struct error *error) {
    char *path = memory_format("%s/" STORE_FILE_NAME, directory);
    struct store *store = NULL;
    if (prepare_directory(directory, path, mode, error) || prepare_file(directory, path, mode, error))
        goto failed;
    store = memory_new(sizeof *store);
    store->mode = mode;
    /* A reader opens read-write too: a WAL database needs its shared memory; query_only below keeps it a reader. */
    int result = sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (result != SQLITE_OK) {
        error_set(error, error_code_of(sqlite3_system_errno(store->db)), "opening the store %s: %s", path,
                  sqlite3_errstr(result));
        goto failed;
    }
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_busy_timeout(store->db, BUSY_TIMEOUT_MS);
    struct error reason = {0};
    /* The check comes first: nothing is changed in a file that is not ours, not even its journal mode. */
    if (store_check_schema(store, &reason) || store_execute(store, SETTINGS, "setting up the store", &reason) ||
        (mode != STORE_READ && store_migrate(store, directory, &reason)) || store_read_identity(store, &store->identity, &reason)) {
        int code = sqlite3_errcode(store->db) & 0xff;
        if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
            error_set(error, ERROR_INVALID, "store %s is damaged or not a store: " STORE_DAMAGE_ADVICE, path);
        else
            error_set(error, reason.code, "store %s: %s", path, reason.message);
        goto failed;
    }
    if (store_execute(store, mode == STORE_READ ? "PRAGMA query_only = ON" : WRITER_SETTINGS, "setting up the store", error))
        goto failed;
    free(path);
    return store;
failed:
    free(path);
    store_close(store);
    return NULL;
}

void store_close(struct store *store) {
    if (!store)
        return;
    store_environments_release(store->environments);
    text_free(&store->audit.lines);
    for (size_t i = 0; i < store->statement_count; i++)
        sqlite3_finalize(store->statements[i].statement);
    sqlite3_close(store->db);
    free(store);
}

/* ---- the lock of who serves ---- */

static atomic_bool serving; /* this process holds it */

/* The descriptor that holds the lock until it is closed; -1 with an error. */
static int take_lock(const char *directory, struct error *error) {
    char *path = memory_format("%s/" STORE_LOCK_NAME, directory);
    int file = -1;
    if (private_file_make("lock", directory, path, error) || private_file_check("lock", path, error))
        goto out;
    file = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0) {
        error_set(error, error_code_of(errno), "opening %s: %s", path, strerror(errno));
    } else if (flock(file, LOCK_EX | LOCK_NB) != 0) {
        error_set(error, ERROR_CONFLICT, "another jwk-api serves from %s already; stop it first", directory);
        close(file);
        file = -1;
    }
out:
    free(path);
    return file;
}

int store_lock_serving(const char *directory, enum store_mode mode, struct error *error) {
    char *path = memory_format("%s/" STORE_FILE_NAME, directory);
    int status = prepare_directory(directory, path, mode, error);
    free(path);
    /* Held until the process ends, by whatever end; the descriptor is never closed on purpose. */
    if (status || take_lock(directory, error) < 0)
        return -1;
    atomic_store(&serving, true);
    return 0;
}

int store_lock_migration(const char *directory, int *file, struct error *error) {
    *file = -1;
    if (atomic_load(&serving))
        return 0;
    *file = take_lock(directory, error);
    return *file < 0 ? -1 : 0;
}

/* ---- statements ---- */

sqlite3_stmt *store_statement(struct store *store, const char *sql, struct error *error) {
    for (size_t i = 0; i < store->statement_count; i++)
        if (store->statements[i].sql == sql)
            return store->statements[i].statement;
    sqlite3_stmt *statement;
    if (store->statement_count == STATEMENT_MAX) {
        error_set(error, ERROR_INTERNAL, "The store has too many statements");
        return NULL;
    }
    if (sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK) {
        store_failed(store, "preparing a statement", error);
        return NULL;
    }
    store->statements[store->statement_count].sql = sql;
    store->statements[store->statement_count++].statement = statement;
    return statement;
}

void store_bind_text(sqlite3_stmt *statement, int index, const char *text) {
    if (text)
        sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC);
    else
        sqlite3_bind_null(statement, index);
}

void store_bind_integer(sqlite3_stmt *statement, int index, int64_t value) {
    sqlite3_bind_int64(statement, index, value);
}

int store_step(struct store *store, sqlite3_stmt *statement, const char *what, struct error *error) {
    int result = sqlite3_step(statement);
    if (result == SQLITE_ROW)
        return 1;
    int status = result == SQLITE_DONE ? 0 : store_failed(store, what, error);
    sqlite3_reset(statement);
    return status;
}

int store_run(struct store *store, sqlite3_stmt *statement, const char *what, struct error *error) {
    int row = store_step(store, statement, what, error);
    if (row == 1)
        sqlite3_reset(statement);
    return row < 0 ? -1 : 0;
}

const char *store_text(sqlite3_stmt *statement, int column) {
    return (const char *)sqlite3_column_text(statement, column);
}

/* ---- transactions ---- */

static int run_literal(struct store *store, const char *sql, const char *what, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, sql, error);
    return statement ? store_run(store, statement, what, error) : -1;
}

static int begin(struct store *store, struct error *error) {
    store->next_sequence = 0;
    return run_literal(store, "BEGIN IMMEDIATE", "beginning a transaction", error);
}

/* A data key is stored in a transaction of its own, so that what is sealed under it is never without it. That none can be had
 * is no reason to refuse what seals nothing. */
int store_begin(struct store *store, struct error *error) {
    struct error reason = {0};
    uint32_t id;
    if (begin(store, error))
        return -1;
    if (!store_choose_data_key(store))
        return 0;
    if (store_make_data_key(store, &id, &reason)) {
        log_error("data key can not be made", "reason", reason.message);
        store_rollback(store);
    }
    if (begin(store, error))
        return -1;
    store_choose_data_key(store);
    return 0;
}

/* Keeps the numbers that the transaction has taken from the sequence: one row for all of them. */
static int keep_sequence(struct store *store, struct error *error) {
    if (store->next_sequence == 0)
        return 0;
    sqlite3_stmt *statement = store_statement(store, "UPDATE store SET sequence = ?1 WHERE id = 1", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, store->next_sequence - 1);
    return store_run(store, statement, "keeping the sequence", error);
}

int store_commit(struct store *store, struct error *error) {
    if (keep_sequence(store, error) || store_audit_write(store, error) || run_literal(store, "COMMIT", "committing", error))
        return -1;
    store_audit_end(store, true);
    return 0;
}

void store_rollback(struct store *store) {
    store->next_sequence = 0;
    store_audit_end(store, false);
    struct error ignored;
    if (store_in_transaction(store) && run_literal(store, "ROLLBACK", "rolling back", &ignored))
        log_error("store did not roll back", "reason", sqlite3_errmsg(store->db));
}

bool store_in_transaction(struct store *store) {
    return !sqlite3_get_autocommit(store->db);
}

int64_t store_changes(struct store *store) {
    return sqlite3_total_changes64(store->db);
}

int store_savepoint(struct store *store, struct error *error) {
    store->savepoint_sequence = store->next_sequence;
    store_audit_savepoint(store);
    return run_literal(store, "SAVEPOINT change", "setting a savepoint", error);
}

int store_release(struct store *store, struct error *error) {
    return run_literal(store, "RELEASE change", "releasing a savepoint", error);
}

int store_rollback_savepoint(struct store *store) {
    store->next_sequence = store->savepoint_sequence;
    store_audit_rollback_savepoint(store);
    struct error ignored;
    if (!store_in_transaction(store))
        return -1;
    return run_literal(store, "ROLLBACK TO change", "rolling back a change", &ignored) ||
                   run_literal(store, "RELEASE change", "releasing a savepoint", &ignored)
               ? -1
               : 0;
}

/* ---- identity ---- */

int store_read_identity(struct store *store, struct store_identity *identity, struct error *error) {
    sqlite3_stmt *statement = store_statement(store,
                                              "SELECT uid, epoch, partitions, sequence, republish_from, "
                                              "ifnull(republish_until, 9223372036854775807) FROM store WHERE id = 1",
                                              error);
    if (!statement)
        return -1;
    int row = store_step(store, statement, "reading the store's identity", error);
    if (row < 0)
        return -1;
    if (row == 0)
        return error_set(error, ERROR_INVALID, "the store has no identity: put back a backup of the data directory");
    snprintf(identity->uid, sizeof identity->uid, "%s", store_text(statement, 0));
    identity->epoch = sqlite3_column_int64(statement, 1);
    identity->partitions = sqlite3_column_int(statement, 2);
    identity->sequence = sqlite3_column_int64(statement, 3);
    identity->republish_from = sqlite3_column_int64(statement, 4);
    identity->republish_until = sqlite3_column_int64(statement, 5);
    sqlite3_reset(statement);
    return 0;
}

int store_fix_partitions(struct store *store, int partitions, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, "UPDATE store SET partitions = ?1 WHERE id = 1 AND partitions = 0", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, partitions);
    if (store_run(store, statement, "fixing the number of partitions", error))
        return -1;
    return store_read_identity(store, &store->identity, error);
}

int store_data_version(struct store *store, int64_t *version, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, "PRAGMA data_version", error);
    if (!statement || store_step(store, statement, "reading the data version", error) != 1)
        return -1;
    *version = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return 0;
}

/* ---- offsets ---- */

int store_get_offset(struct store *store, const char *topic, int32_t partition, int64_t *next_offset, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store, "SELECT next_offset FROM topic_offset WHERE topic = ?1 AND partition = ?2", error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, topic);
    store_bind_integer(statement, 2, partition);
    int row = store_step(store, statement, "reading an offset", error);
    if (row < 0)
        return -1;
    *next_offset = row ? sqlite3_column_int64(statement, 0) : -1;
    sqlite3_reset(statement);
    return 0;
}

int store_set_offset(struct store *store, const char *topic, int32_t partition, int64_t next_offset, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store,
                        "INSERT INTO topic_offset (topic, partition, next_offset) VALUES (?1, ?2, ?3)"
                        " ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
                        error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, topic);
    store_bind_integer(statement, 2, partition);
    store_bind_integer(statement, 3, next_offset);
    return store_run(store, statement, "storing an offset", error);
}
