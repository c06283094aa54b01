/* What the files of the state share: the connection and its prepared statements. Nothing else includes this. */
#ifndef WORKER_STATE_INTERNAL_H
#define WORKER_STATE_INTERNAL_H

#include "common/identifier.h"
#include "worker/state.h"

enum state_statement {
    STATEMENT_BEGIN,
    STATEMENT_COMMIT,
    STATEMENT_ROLLBACK,
    STATEMENT_FIND_PROJECT,
    STATEMENT_ADD_PROJECT,
    STATEMENT_RENAME_PROJECT,
    STATEMENT_FIND_JWK,
    STATEMENT_ADD_JWK,
    STATEMENT_CHANGE_JWK,
    STATEMENT_CHANGE_KEY,
    STATEMENT_MARK_JWK,
    STATEMENT_ADD_RETIRING,
    STATEMENT_CLEAR_RETIRING,
    STATEMENT_FIND_PRIVATE,
    STATEMENT_STORE_PRIVATE,
    STATEMENT_CLEAR_PRIVATE,
    STATEMENT_MARK_OPENED,
    STATEMENT_FIND_UNPROVEN,
    STATEMENT_DELETE_UNPROVEN,
    STATEMENT_FORGET_JWK,
    STATEMENT_ADD_FORGOTTEN,
    STATEMENT_FIND_FORGOTTEN,
    STATEMENT_CLEAR_FORGOTTEN,
    STATEMENT_KEEP_JWK,
    STATEMENT_FIND_UNSEEN,
    STATEMENT_SWEEP,
    STATEMENT_LOAD_POSITIONS,
    STATEMENT_STORE_OFFSET,
    STATEMENT_STORE_POSITION,
    STATEMENT_STORE_EPOCH,
    STATEMENT_STORE_CONTACT,
    STATEMENT_STORE_CLUSTER,
    STATEMENT_STORE_REFUSED_BY,
    STATEMENT_STORE_REFUSED,
    STATEMENT_FIND_REFUSED,
    STATEMENT_CLEAR_REFUSED,
    STATEMENT_CLEAR_UNREADABLE,
    STATEMENT_COUNT_REFUSED,
    STATEMENT_EACH_REFUSED,
    STATEMENT_STORE_FAILING,
    STATEMENT_CLEAR_FAILING,
    STATEMENT_COUNT_FAILING,
    STATEMENT_EACH_FAILING,
    STATEMENT_COUNT,
};

/* state_schema[n] takes a file from version n to n + 1. Never change one that was released: add the next. */
enum { STATE_SCHEMA_VERSION = 3 };
extern const char *const state_schema[STATE_SCHEMA_VERSION];

/* What a transaction changes in memory beside the file, put back by a rollback. */
struct state_counters {
    int64_t keys, epoch, last_contact, failing, refused;
};

/* What was opened and is to be marked so by the next transaction. */
struct state_opened {
    char jwk_id[UUID_SIZE];
    int64_t epoch, version;
};

struct state {
    char *directory, *path;
    int lock; /* descriptor of the lock file, locked until state_close() */
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    struct state_counters counters, before; /* before: at the beginning of the transaction */
    char *cluster;
    char *refused_by, *refused_by_before; /* as counters and before */
    struct state_opened *opened;
    size_t opened_count, opened_capacity;
    int wal_pages; /* in the write-ahead log after the last commit */
};

/* Fills *error from the connection's last failure; what ("storing a JWK") says what was tried. Returns -1. */
int state_fail(struct state *state, const char *what, struct error *error);
/* A prepared statement, reset and without old bindings; NULL with an error when it cannot be prepared. */
sqlite3_stmt *state_prepared(struct state *state, enum state_statement statement, struct error *error);
/* Runs a statement that returns no row, and resets it. */
int state_run(struct state *state, sqlite3_stmt *statement, const char *what, struct error *error);

/* Marks what was opened since the last transaction (state_private.c). */
int state_store_opened(struct state *state, struct error *error);
/* Replaces the sealed private half of a row. had: the row has one. *private gets what jwk.private is to be. */
int state_write_private(struct state *state, int64_t number, int had, const struct state_jwk *jwk, enum state_private *private,
                        struct error *error);

/* NULL binds NULL. The text must live until the statement is run. */
static inline void state_bind_text(sqlite3_stmt *statement, int index, const char *text) {
    sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC);
}

#endif
