/* Damage that a start must not overlook. */
#include "store_damage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/memory.h"
#include "common/wal.h"
#include "store_sql.h"

/* ---- the files ---- */

static int check_log(const char *path, struct error *error) {
    int status = wal_is_damaged(path);
    if (status < 0)
        return error_set(error, error_code_of(errno), "opening %s: %s", path, strerror(errno));
    return status ? error_set(error, ERROR_INVALID,
                              "the store's log %s is damaged, and changes that it held are lost: " STORE_DAMAGE_ADVICE, path)
                  : 0;
}

int store_check_files(const char *directory, struct error *error) {
    char *path = memory_format("%s/" STORE_FILE_NAME, directory), *log = memory_format("%s-wal", path);
    char *lock = memory_format("%s/" STORE_LOCK_NAME, directory);
    struct stat status, lock_status;
    int result = 0;
    if (stat(lock, &lock_status) == 0 && lock_status.st_size > 0 && (stat(path, &status) != 0 || status.st_size == 0))
        result = error_set(error, ERROR_INVALID, "the store %s is %s though there was one: " STORE_DAMAGE_ADVICE, path,
                           stat(path, &status) != 0 ? "gone" : "empty");
    if (result == 0)
        result = check_log(log, error);
    free(path);
    free(log);
    free(lock);
    return result;
}

void store_note_existence(const char *directory) {
    char *path = memory_format("%s/" STORE_LOCK_NAME, directory);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    /* A lock that flock() holds stays when another descriptor is closed. */
    if (file < 0 || pwrite(file, "1\n", 2, 0) != 2 || fsync(file) != 0)
        log_warning("lock file can not be written", "path", path, "reason", strerror(errno));
    if (file >= 0)
        close(file);
    free(path);
}

/* ---- the open store ---- */

enum {
    WHOLE_MAX_BYTES = 32 << 20, /* a store up to this size is checked as a whole: within a tenth of a second */
    SAMPLES = 64,               /* rows of each table of a larger one */
};

static int damaged(struct error *error) {
    return error_set(error, ERROR_INVALID, "the store is damaged: " STORE_DAMAGE_ADVICE);
}

/* Steps through a statement of a moment, looking at every column of every row. *first gets the first column of the first row.
 */
static int read_rows(struct store *store, const char *sql, int64_t argument, int64_t *first) {
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK)
        return -1;
    if (sqlite3_bind_parameter_count(statement) > 0)
        sqlite3_bind_int64(statement, 1, argument);
    int result;
    bool is_readable = true;
    for (int rows = 0; is_readable && (result = sqlite3_step(statement)) == SQLITE_ROW; rows++) {
        if (rows == 0 && first)
            *first = sqlite3_column_int64(statement, 0);
        for (int i = 0; i < sqlite3_column_count(statement); i++)
            if (!sqlite3_column_blob(statement, i) && sqlite3_errcode(store->db) != SQLITE_OK &&
                sqlite3_errcode(store->db) != SQLITE_ROW)
                is_readable = false;
    }
    return sqlite3_finalize(statement) == SQLITE_OK && is_readable && result == SQLITE_DONE ? 0 : -1;
}

static int sample_table(struct store *store, const char *name, bool has_rowid) {
    int64_t first = 0, last = 0;
    int status = 0;
    if (has_rowid) { /* two statements: one that asks for both reads the whole table */
        char *least = memory_format("SELECT min(rowid) FROM \"%s\"", name);
        char *most = memory_format("SELECT max(rowid) FROM \"%s\"", name);
        status = read_rows(store, least, 0, &first) || read_rows(store, most, 0, &last) ? -1 : 0;
        free(least);
        free(most);
    }
    char *sql =
        memory_format(has_rowid ? "SELECT * FROM \"%s\" WHERE rowid >= ?1 LIMIT 1" : "SELECT * FROM \"%s\" LIMIT 1", name);
    /* From the first row to the last, both of them too. */
    for (int i = 0; status == 0 && i < (has_rowid ? SAMPLES : 1); i++)
        status = read_rows(
            store, sql, first + (last - first) / (SAMPLES - 1) * i + (last - first) % (SAMPLES - 1) * i / (SAMPLES - 1), NULL);
    free(sql);
    return status;
}

static int sample(struct store *store) {
    sqlite3_stmt *statement;
    int status = 0, result;
    if (sqlite3_prepare_v2(store->db, "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'", -1,
                           &statement, NULL) != SQLITE_OK)
        return -1;
    while ((result = sqlite3_step(statement)) == SQLITE_ROW && status == 0)
        status = sample_table(store, store_text(statement, 0), !sqlite3_column_int(statement, 1));
    sqlite3_finalize(statement);
    return status || result != SQLITE_DONE ? -1 : 0;
}

/* The first finding of quick_check, which is "ok" when there is none. */
static int check_whole(struct store *store) {
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(store->db, "PRAGMA quick_check(1)", -1, &statement, NULL) != SQLITE_OK)
        return -1;
    int status = sqlite3_step(statement) == SQLITE_ROW && strcmp(store_text(statement, 0), "ok") == 0 ? 0 : -1;
    if (status)
        log_error("store is damaged", "reason", store_text(statement, 0));
    sqlite3_finalize(statement);
    return status;
}

int store_check_sample(struct store *store, struct error *error) {
    int64_t pages = 0, page_size = 0;
    if (read_rows(store, "PRAGMA page_count", 0, &pages) || read_rows(store, "PRAGMA page_size", 0, &page_size))
        return damaged(error);
    return (pages * page_size <= WHOLE_MAX_BYTES ? check_whole(store) : sample(store)) ? damaged(error) : 0;
}
