/* The schema and its migrations: schemas/store/NNN.sql, each applied once, in order, in one transaction with the others.
 *
 * user_version counts the applied ones; application_id tells our file from another program's. */
#include <stdio.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "store_sql.h"

#define APPLICATION_ID 0x4a574b41 /* "JWKA" */

/* Each file becomes a NUL-terminated string of the program. */
#define EMBED(symbol, file)                       \
    __asm__(".pushsection .rodata\n"              \
            ".global " #symbol "\n" #symbol ":\n" \
            ".incbin \"" file "\"\n"              \
            ".byte 0\n"                           \
            ".popsection\n");                     \
    extern const char symbol[]

EMBED(store_schema_001, "schemas/store/001.sql");
EMBED(store_schema_002, "schemas/store/002.sql");
EMBED(store_schema_003, "schemas/store/003.sql");

static const char *const migrations[] = {store_schema_001, store_schema_002, store_schema_003};

enum { VERSION_NOW = sizeof migrations / sizeof *migrations };

static int read_pragma(struct store *store, const char *sql, int64_t *value, struct error *error) {
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK)
        return store_failed(store, sql, error);
    int result = sqlite3_step(statement);
    if (result == SQLITE_ROW)
        *value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return result == SQLITE_ROW ? 0 : store_failed(store, sql, error);
}

/* The one row that names the installation. */
static int add_identity(struct store *store, struct error *error) {
    char uid[UUID_SIZE];
    uuid_new(uid);
    sqlite3_stmt *statement =
        store_statement(store, "INSERT INTO store (id, uid, epoch, created_at, clear_text) VALUES (1, ?1, 1, ?2, 0)", error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, uid);
    store_bind_integer(statement, 2, clock_wall_ms());
    return store_run(store, statement, "naming the store", error);
}

static int migrate_from(struct store *store, int64_t version, struct error *error) {
    char pragma[64];
    for (int64_t i = version; i < VERSION_NOW; i++)
        if (store_execute(store, migrations[i], "changing the schema", error))
            return -1;
    if (version == 0 && add_identity(store, error))
        return -1;
    snprintf(pragma, sizeof pragma, "PRAGMA user_version = %d", VERSION_NOW);
    if (store_execute(store, pragma, "marking the schema's version", error))
        return -1;
    snprintf(pragma, sizeof pragma, "PRAGMA application_id = %d", APPLICATION_ID);
    return store_execute(store, pragma, "marking the store", error);
}

int store_check_schema(struct store *store, struct error *error) {
    int64_t version = 0, application = 0, tables = 0;
    if (read_pragma(store, "PRAGMA user_version", &version, error) ||
        read_pragma(store, "PRAGMA application_id", &application, error) ||
        read_pragma(store, "SELECT count(*) FROM sqlite_master", &tables, error))
        return -1;
    if (application != APPLICATION_ID && (application != 0 || tables != 0))
        return error_set(error, ERROR_INVALID, "this database belongs to another program");
    /* What a start that was cut short leaves, or somebody who has emptied the file. */
    if (version == 0 && store->mode != STORE_MAKE)
        return error_set(error, ERROR_INVALID, "there is no store in this file; " STORE_MISSING_ADVICE);
    if (version > VERSION_NOW)
        return error_set(error, ERROR_INVALID, "its schema is version %lld and this program knows %d: install a newer jwk-api",
                         (long long)version, VERSION_NOW);
    if (version < VERSION_NOW && store->mode == STORE_READ)
        return error_set(error, ERROR_INVALID, "its schema is version %lld and this program needs %d: start jwk-api serve once",
                         (long long)version, VERSION_NOW);
    return 0;
}

/* A program of before that serves would go on writing as its own schema has it. */
static int lock_out(const char *directory, int64_t version, int *lock, struct error *error) {
    if (version == 0 || store_lock_migration(directory, lock, error) == 0)
        return 0;
    return error->code == ERROR_CONFLICT
               ? error_set(error, ERROR_CONFLICT,
                           "its schema is version %lld, and a jwk-api serves from it that does not know version %d: stop that one"
                           " before this program is used",
                           (long long)version, VERSION_NOW)
               : -1;
}

int store_migrate(struct store *store, const char *directory, struct error *error) {
    int64_t version = 0;
    int lock = -1;
    if (store_begin(store, error))
        return -1;
    /* Once more: another process may have changed it in the meantime. */
    if (store_check_schema(store, error) || read_pragma(store, "PRAGMA user_version", &version, error))
        goto failed;
    if (version == VERSION_NOW) {
        store_rollback(store);
        return 0;
    }
    if (lock_out(directory, version, &lock, error) || migrate_from(store, version, error) || store_commit(store, error))
        goto failed;
    log_info("store schema brought up to date", "version", LOG_NUMBER(VERSION_NOW));
    if (lock >= 0)
        close(lock);
    return 0;
failed:
    store_rollback(store);
    if (lock >= 0)
        close(lock);
    return -1;
}
