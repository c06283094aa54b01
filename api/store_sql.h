/* What the files store*.c share: the connection and its prepared statements. Private to them. */
#ifndef API_STORE_SQL_H
#define API_STORE_SQL_H

#include <sqlite3.h>

#include "store.h"

#define STORE_FILE_NAME "jwk-api.db"
#define STORE_LOCK_NAME "serving.lock"
/* The end of sentences about damage. */
#define STORE_DAMAGE_ADVICE "put back a backup into an empty data directory, run 'jwk-api adopt', and start again"
/* The end of sentences about a store that is not there. */
#define STORE_MISSING_ADVICE "give the --data-dir of one, or make one with 'jwk-api environment add' or 'jwk-api project add'"

enum { STATEMENT_MAX = 256 };

/* The audit trail's lines of the present transaction (store_audit.c). */
struct audit_chain {
    struct text lines;           /* each with a line end */
    bool known;                  /* the two below are: read from the store, or moved on since */
    int64_t sequence;            /* of the last line */
    char hash[SHA256_TEXT_SIZE]; /* of that */
    size_t savepoint_length;     /* what they were at the savepoint */
    int64_t savepoint_sequence;
    char savepoint_hash[SHA256_TEXT_SIZE];
    void (*written)(void *context); /* after a commit that added lines; may be NULL */
    void *context;
};

struct store {
    sqlite3 *db;
    enum store_mode mode;
    struct {
        const char *sql; /* the literal's address identifies it */
        sqlite3_stmt *statement;
    } statements[STATEMENT_MAX];
    size_t statement_count;
    struct store_identity identity;      /* uid, epoch and partitions do not change while a process serves */
    int64_t next_sequence;               /* within a transaction; 0: not read yet */
    int64_t savepoint_sequence;          /* what it was at the savepoint */
    struct audit_chain audit;
    struct store_environments *environments; /* cache, valid while data_version is the same */
    int64_t environments_version;
    struct sealing *sealing;             /* NULL: secrets can be neither written nor read */
    uint32_t data_key;                   /* that the transaction seals under; 0: none is to be had */
};

/* The prepared statement of an SQL literal, reset and without bindings; NULL with an error. Kept until the store closes. */
sqlite3_stmt *store_statement(struct store *store, const char *sql, struct error *error) MUST_CHECK;
/* Binds by position; NULL text binds NULL. The text must live until the statement is reset. */
void store_bind_text(sqlite3_stmt *statement, int index, const char *text);
void store_bind_integer(sqlite3_stmt *statement, int index, int64_t value);
/* Steps a statement that yields no rows and resets it. what says what was attempted: "recording the deployment". */
int store_run(struct store *store, sqlite3_stmt *statement, const char *what, struct error *error) MUST_CHECK;
/* Steps to the next row: 1 a row, 0 no more (the statement is reset), -1 an error (reset too). */
int store_step(struct store *store, sqlite3_stmt *statement, const char *what, struct error *error) MUST_CHECK;
/* Runs SQL that yields no rows and is not worth keeping prepared; it may hold several statements. */
int store_execute(struct store *store, const char *sql, const char *what, struct error *error) MUST_CHECK;
/* Visits the rows of a statement with the columns of struct store_token_item, in their order. */
int store_each_token_row(struct store *store, sqlite3_stmt *statement,
                         void (*visit)(void *context, const struct store_token_item *item), void *context,
                         struct error *error) MUST_CHECK;
/* Text of a column, NULL for NULL; borrowed until the next step. */
const char *store_text(sqlite3_stmt *statement, int column);
/* Logs SQLite's reason and fills *error with one that may be shown; returns -1. */
int store_failed(struct store *store, const char *what, struct error *error);

/* Inserts (uid, name, created_at), the parameters of sql; a taken name is ERROR_CONFLICT, of a sentence that begins with what. */
int store_add_named(struct store *store, const char *sql, const char *what, const char *name, struct error *error) MUST_CHECK;
/* Runs a statement whose first parameter is a name, and its second, if any, a number; ERROR_NOT_FOUND when it changed nothing.
 */
int store_change_named(struct store *store, const char *sql, const char *what, const char *name, int64_t second,
                       struct error *error) MUST_CHECK;
/* Visits the rows of SQL with the columns of struct store_item, in their order; keys may be missing. */
int store_each_item(struct store *store, const char *sql, store_item_visitor *visit, void *context,
                    struct error *error) MUST_CHECK;
/* The same for a statement whose first parameters are the name to go on behind and the number of rows. */
int store_page_items(struct store *store, sqlite3_stmt *statement, const char *after, int limit, store_item_visitor *visit,
                     void *context, struct error *error) MUST_CHECK;

/* The places of secrets: each is bound to its column and to the row that the outside knows: the uid of the JWK, "UID/ENVIRONMENT" of
 * a source's material, the kid of a signing key. */
#define PRIVATE_KEY_PLACE "jwk_material.private_key"
#define PRIVATE_MATERIAL_PLACE "source_material.private_material"
#define PASSWORD_PLACE "source_material.password"
#define SIGNING_KEY_PLACE "signing_key.private_key"
/* Binds a secret, sealed for its place: column is "table.column", row the id of the row that the outside sees. NULL binds NULL. In a
 * transaction. ERROR_UNAVAILABLE, after a line in the log, when it can not be sealed (store_sealing.c). */
int store_bind_sealed(struct store *store, sqlite3_stmt *statement, int index, const char *column, const char *row, const char *text,
                      struct error *error) MUST_CHECK;
/* Makes sure that what a column of the present row holds can be opened later, also when its data key is gone from the store then. */
int store_prepare_opening(struct store *store, sqlite3_stmt *statement, int index, struct error *error) MUST_CHECK;
/* Appends the secret that a column of the present row holds, opened; nothing for NULL. The caller wipes it. */
int store_open_sealed(struct store *store, sqlite3_stmt *statement, int index, const char *column, const char *row,
                      struct text *secret, struct error *error) MUST_CHECK;
/* Notes which data key the transaction that has just begun seals under. Returns whether a new one is to be made first. */
bool store_choose_data_key(struct store *store);
/* Stores a new data key, sealed under the first master key as it is now, in the transaction that has just begun, which ends with
 * that. *id: its own. */
int store_make_data_key(struct store *store, uint32_t *id, struct error *error) MUST_CHECK;
/* The transaction's part of the audit trail (store_audit.c): written before the commit, ended after it. */
int store_audit_write(struct store *store, struct error *error) MUST_CHECK;
void store_audit_end(struct store *store, bool written);
void store_audit_savepoint(struct store *store);
void store_audit_rollback_savepoint(struct store *store);

/* Refuses another program's file and a newer schema, and, for a reader, an older one (store_migrate.c). */
int store_check_schema(struct store *store, struct error *error) MUST_CHECK;
/* Brings the schema up to date, unless another process serves from the directory (store_migrate.c). */
int store_migrate(struct store *store, const char *directory, struct error *error) MUST_CHECK;
/* Keeps others from serving until the caller closes *file; with -1 there is nothing to close, since this process serves itself
 * (store_lock_serving()). ERROR_CONFLICT when another does. */
int store_lock_migration(const char *directory, int *file, struct error *error) MUST_CHECK;

#endif
