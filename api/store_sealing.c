/* The data keys of the store, and values sealed under them. */
#include "store_sealing.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "store_sql.h"

/* ---- data keys ---- */

/* Reads the columns id, master_key, sealed of a row into the ring. */
static int take_data_key(struct store *store, sqlite3_stmt *statement, struct error *error) {
    struct data_key key = {.id = (uint32_t)sqlite3_column_int64(statement, 0)};
    const char *master_key = store_text(statement, 1);
    if (strlen(master_key) >= sizeof key.master_key || sqlite3_column_bytes(statement, 2) != sizeof key.sealed)
        return error_set(error, ERROR_INVALID, "The store's data key %u is damaged: put back a backup", (unsigned)key.id);
    strcpy(key.master_key, master_key);
    memcpy(key.sealed, sqlite3_column_blob(statement, 2), sizeof key.sealed);
    return sealing_add(store->sealing, &key, error);
}

int store_use_sealing(struct store *store, struct sealing *sealing, struct error *error) {
    store->sealing = sealing;
    sqlite3_stmt *statement = store_statement(store, "SELECT id, master_key, sealed FROM data_key ORDER BY id", error);
    if (!statement)
        return -1;
    int row, status = 0;
    while (status == 0 && (row = store_step(store, statement, "reading the data keys", error)) == 1)
        status = take_data_key(store, statement, error);
    sqlite3_reset(statement);
    return status || row < 0 ? -1 : 0;
}

/* Reads one data key into the ring, unless it is there. In a transaction, or while a row that was sealed under it is read: it
 * can not have gone meanwhile. */
static int load_data_key(struct store *store, uint32_t id, struct error *error) {
    if (sealing_has(store->sealing, id))
        return 0;
    sqlite3_stmt *statement = store_statement(store, "SELECT id, master_key, sealed FROM data_key WHERE id = ?1", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, id);
    int row = store_step(store, statement, "reading a data key", error);
    int status = row == 1   ? take_data_key(store, statement, error)
                 : row == 0 ? error_set(error, ERROR_INVALID, "The store lacks its data key %u: put back a backup", (unsigned)id)
                            : -1;
    sqlite3_reset(statement);
    return status;
}

/* Reads which data key is in use, and how old it is: *id 0 when there is none. */
static int find_latest(struct store *store, uint32_t *id, int64_t *age, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, "SELECT id, created_at FROM data_key ORDER BY id DESC LIMIT 1", error);
    if (!statement)
        return -1;
    int row = store_step(store, statement, "reading which data key is in use", error);
    *id = row == 1 ? (uint32_t)sqlite3_column_int64(statement, 0) : 0;
    *age = row == 1 ? clock_wall_ms() - sqlite3_column_int64(statement, 1) : INT64_MAX;
    sqlite3_reset(statement);
    return row < 0 ? -1 : 0;
}

static int insert_data_key(struct store *store, const struct data_key *key, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store, "INSERT INTO data_key (id, master_key, sealed, created_at) VALUES (?1, ?2, ?3, ?4)", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, key->id);
    store_bind_text(statement, 2, key->master_key);
    sqlite3_bind_blob(statement, 3, key->sealed, sizeof key->sealed, SQLITE_STATIC);
    store_bind_integer(statement, 4, clock_wall_ms());
    return store_run(store, statement, "storing a data key", error);
}

int store_make_data_key(struct store *store, uint32_t *id, struct error *error) {
    struct data_key key;
    uint32_t latest;
    int64_t age;
    sealing_reread(store->sealing);
    if (find_latest(store, &latest, &age, error) || sealing_make(store->sealing, latest + 1, &key, error) ||
        insert_data_key(store, &key, error) || store_commit(store, error))
        return -1;
    /* Not before it is stored: were that taken back, another would be given its id. */
    *id = key.id;
    return sealing_add(store->sealing, &key, error);
}

bool store_choose_data_key(struct store *store) {
    int64_t age;
    struct error error;
    store->data_key = 0;
    if (!store->sealing || find_latest(store, &store->data_key, &age, &error))
        return false;
    /* One from the future was made before the clock was set back: how long it is in use is not known. */
    return age >= DATA_KEY_LIFETIME_MS || age < -DATA_KEY_LIFETIME_MS;
}

/* ---- values ---- */

int store_bind_sealed(struct store *store, sqlite3_stmt *statement, int index, const char *column, const char *row, const char *text,
                      struct error *error) {
    if (!text) {
        sqlite3_bind_null(statement, index);
        return 0;
    }
    struct error reason = {0};
    struct text sealed = TEXT_EMPTY;
    if (!store->sealing) /* a command that was not given one */
        return error_set(error, ERROR_INVALID, "%s", MASTER_KEY_MISSING);
    if (!store_in_transaction(store) || store->data_key == 0)
        error_set(&reason, ERROR_INTERNAL, "there is no data key in use");
    else if (load_data_key(store, store->data_key, &reason) == 0 &&
             sealing_seal(store->sealing, store->data_key, column, row, text, strlen(text), &sealed, &reason) == 0) {
        int size = (int)sealed.length;
        sqlite3_bind_blob(statement, index, text_take(&sealed), size, free);
        return 0;
    }
    text_free(&sealed);
    log_error("secret can not be sealed", "column", column, "row", row, "reason", reason.message);
    return error_set(error, ERROR_UNAVAILABLE, "Secrets can not be sealed now; try again later");
}

int store_prepare_opening(struct store *store, sqlite3_stmt *statement, int index, struct error *error) {
    struct error reason = {0};
    uint32_t key = sealing_key_of(sqlite3_column_blob(statement, index), (size_t)sqlite3_column_bytes(statement, index));
    if (store->sealing && key == 0)
        return 0; /* nothing, or clear text: who opens it tells */
    if (!store->sealing)
        return error_set(error, ERROR_INVALID, "%s", MASTER_KEY_MISSING);
    if (load_data_key(store, key, &reason) == 0)
        return 0;
    log_error("secret can not be opened", "reason", reason.message);
    return error_set(error, ERROR_UNAVAILABLE, "Secrets can not be opened now; try again later");
}

int store_open_sealed(struct store *store, sqlite3_stmt *statement, int index, const char *column, const char *row,
                      struct text *secret, struct error *error) {
    if (sqlite3_column_type(statement, index) == SQLITE_NULL)
        return 0;
    if (store_prepare_opening(store, statement, index, error))
        return -1;
    return sealing_open(store->sealing, column, row, sqlite3_column_blob(statement, index),
                        (size_t)sqlite3_column_bytes(statement, index), secret, error);
}
