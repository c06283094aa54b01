/* Sealing what is stored already: clear text of version 1, and what is sealed under data keys that are to go.
 *
 * Both walk through all secrets in chunks, each in a short transaction that opens, seals under the data key of that transaction
 * and writes back. A chunk that was interrupted has not happened; what is done is passed over the next time. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "store_sealing.h"
#include "store_sql.h"

enum {
    CHUNK = 128,          /* values of one transaction: a few milliseconds */
    REKEY_ROUNDS_MAX = 5, /* one is enough unless a serving process makes a data key of an old master key meanwhile */
};

/* Of an SQL expression: clear text, or sealed under a data key below ?3 (its 4 bytes). */
#define IS_OLD(column) "(substr(" column ", 1, 1) <> x'01' OR substr(" column ", 2, 4) < ?3)"

/* A column of secrets. Its rows are told by two numbers, the second 0 where one is enough. */
static const struct secret_column {
    const char *place;
    const char *select; /* numbers, name of the row, value; behind (?1, ?2), at most ?4 */
    const char *update; /* ?1, ?2: numbers; ?3: value */
} columns[] = {
    {PRIVATE_KEY_PLACE,
     "SELECT jwk_id, 0, jwk.uid, private_key FROM jwk_material JOIN jwk ON jwk.id = jwk_id"
     " WHERE jwk_id > ?1 AND ?2 = ?2 AND private_key IS NOT NULL AND " IS_OLD("private_key") " ORDER BY jwk_id LIMIT ?4",
     "UPDATE jwk_material SET private_key = ?3 WHERE jwk_id = ?1 AND ?2 = ?2"},
    {PRIVATE_MATERIAL_PLACE,
     "SELECT source_id, environment_id, source.uid || '/' || environment_id, private_material FROM source_material"
     " JOIN source ON source.id = source_id WHERE (source_id, environment_id) > (?1, ?2)"
     " AND private_material IS NOT NULL AND " IS_OLD("private_material") " ORDER BY source_id, environment_id LIMIT ?4",
     "UPDATE source_material SET private_material = ?3 WHERE source_id = ?1 AND environment_id = ?2"},
    {PASSWORD_PLACE,
     "SELECT source_id, environment_id, source.uid || '/' || environment_id, password FROM source_material"
     " JOIN source ON source.id = source_id WHERE (source_id, environment_id) > (?1, ?2)"
     " AND password IS NOT NULL AND " IS_OLD("password") " ORDER BY source_id, environment_id LIMIT ?4",
     "UPDATE source_material SET password = ?3 WHERE source_id = ?1 AND environment_id = ?2"},
    {SIGNING_KEY_PLACE,
     "SELECT id, 0, kid, private_key FROM signing_key WHERE id > ?1 AND ?2 = ?2 AND private_key IS NOT NULL AND " IS_OLD(
         "private_key") " ORDER BY id LIMIT ?4",
     "UPDATE signing_key SET private_key = ?3 WHERE id = ?1 AND ?2 = ?2"},
};
enum { COLUMN_COUNT = sizeof columns / sizeof *columns };

/* One value of a chunk, opened. */
struct value {
    int64_t first, second;
    char *row;
    struct text secret;
};

static void clear_values(struct value *values, int count) {
    for (int i = 0; i < count; i++) {
        free(values[i].row);
        text_wipe(&values[i].secret);
    }
}

/* Walks through the secrets. */
struct walk {
    struct store *store;
    uint32_t below;        /* data keys below this one are old; 1: clear text alone is */
    bool takes_clear_text; /* of version 1; else clear text is damage */
    bool makes_room;       /* for the transactions of a serving process */
    int64_t sealed;
};

static int take_value(const struct walk *walk, const struct secret_column *column, sqlite3_stmt *statement, struct value *value,
                      struct error *error) {
    const void *bytes = sqlite3_column_blob(statement, 3);
    size_t size = (size_t)sqlite3_column_bytes(statement, 3);
    *value = (struct value){.first = sqlite3_column_int64(statement, 0),
                            .second = sqlite3_column_int64(statement, 1),
                            .row = memory_string(store_text(statement, 2))};
    if (walk->takes_clear_text && sealing_key_of(bytes, size) == 0) {
        text_add(&value->secret, size ? bytes : "", size);
        return 0;
    }
    return store_open_sealed(walk->store, statement, 3, column->place, value->row, &value->secret, error);
}

/* Reads the next values; the count, or -1. They are collected first, since their rows are changed then. */
static int read_values(const struct walk *walk, const struct secret_column *column, int64_t first, int64_t second,
                       struct value *values, struct error *error) {
    sqlite3_stmt *statement = store_statement(walk->store, column->select, error);
    if (!statement)
        return -1;
    const unsigned char below[4] = {(unsigned char)(walk->below >> 24), (unsigned char)(walk->below >> 16),
                                    (unsigned char)(walk->below >> 8), (unsigned char)walk->below};
    store_bind_integer(statement, 1, first);
    store_bind_integer(statement, 2, second);
    sqlite3_bind_blob(statement, 3, below, sizeof below, SQLITE_TRANSIENT);
    store_bind_integer(statement, 4, CHUNK);
    int row, count = 0, status = 0;
    while (status == 0 && (row = store_step(walk->store, statement, "reading secrets", error)) == 1)
        status = take_value(walk, column, statement, &values[count++], error);
    sqlite3_reset(statement);
    if (status == 0 && row == 0)
        return count;
    clear_values(values, count);
    return -1;
}

static int write_values(const struct walk *walk, const struct secret_column *column, const struct value *values, int count,
                        struct error *error) {
    sqlite3_stmt *statement = store_statement(walk->store, column->update, error);
    int status = statement ? 0 : -1;
    for (int i = 0; status == 0 && i < count; i++) {
        store_bind_integer(statement, 1, values[i].first);
        store_bind_integer(statement, 2, values[i].second);
        status = store_bind_sealed(walk->store, statement, 3, column->place, values[i].row, values[i].secret.bytes, error) ||
                         store_run(walk->store, statement, "sealing a secret again", error)
                     ? -1
                     : 0;
    }
    return status;
}

/* One transaction; the count of its values, or -1. *first and *second move on. */
static int seal_chunk(struct walk *walk, const struct secret_column *column, int64_t *first, int64_t *second,
                      struct error *error) {
    struct value values[CHUNK];
    if (store_begin(walk->store, error))
        return -1;
    int count = read_values(walk, column, *first, *second, values, error);
    if (count < 0 || write_values(walk, column, values, count, error) || store_commit(walk->store, error)) {
        store_rollback(walk->store);
        clear_values(values, count < 0 ? 0 : count);
        return -1;
    }
    if (count > 0) {
        *first = values[count - 1].first;
        *second = values[count - 1].second;
    }
    clear_values(values, count);
    return count;
}

/* A serving process finds the store locked for half of the time at most, whoever of the two polls at the wrong moment. */
static void make_room(int64_t began_us) {
    int64_t took = clock_monotonic_us() - began_us;
    struct timespec pause = {.tv_sec = took / 1000000, .tv_nsec = took % 1000000 * 1000};
    nanosleep(&pause, NULL);
}

static int seal_all(struct walk *walk, struct error *error) {
    for (int i = 0; i < COLUMN_COUNT; i++) {
        int64_t first = 0, second = 0;
        int count;
        do {
            int64_t began = clock_monotonic_us();
            count = seal_chunk(walk, &columns[i], &first, &second, error);
            if (count < 0)
                return -1;
            walk->sealed += count;
            if (walk->makes_room && count == CHUNK)
                make_room(began);
        } while (count == CHUNK);
    }
    return 0;
}

/* ---- clear text of version 1 ---- */

enum clear_text { CLEAR_TEXT_NONE, CLEAR_TEXT_TRACES, CLEAR_TEXT_VALUES };

static int read_clear_text(struct store *store, enum clear_text *left, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, "SELECT clear_text FROM store WHERE id = 1", error);
    if (!statement || store_step(store, statement, "reading whether secrets are in clear text", error) != 1)
        return -1;
    *left = (enum clear_text)sqlite3_column_int(statement, 0);
    sqlite3_reset(statement);
    return 0;
}

static int note_clear_text(struct store *store, enum clear_text left, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, "UPDATE store SET clear_text = ?1 WHERE id = 1", error);
    if (!statement || store_begin(store, error))
        return -1;
    store_bind_integer(statement, 1, left);
    if (store_run(store, statement, "noting what is sealed", error) == 0 && store_commit(store, error) == 0)
        return 0;
    store_rollback(store);
    return -1;
}

/* Writes everything back and empties the log. -1 when another connection is in the way. */
static int empty_log(struct store *store, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, "PRAGMA wal_checkpoint(TRUNCATE)", error);
    if (!statement || store_step(store, statement, "emptying the log", error) != 1)
        return -1;
    int busy = sqlite3_column_int(statement, 0);
    sqlite3_reset(statement);
    return busy ? error_set(error, ERROR_UNAVAILABLE, "another process uses the store") : 0;
}

/* Pages that were freed, and the unused part of others, may hold clear text: VACUUM leaves none of them. Its scratch file is as
 * large as the store: on the disk, and all that is in it is sealed by now. */
static int remove_traces(struct store *store, struct error *error) {
    int status = store_execute(store, "PRAGMA temp_store = FILE", "setting up the store", error) ||
                         store_execute(store, "VACUUM", "writing the store anew", error) || empty_log(store, error)
                     ? -1
                     : 0;
    struct error ignored;
    return store_execute(store, "PRAGMA temp_store = MEMORY", "setting up the store", status ? &ignored : error) || status ? -1
                                                                                                                           : 0;
}

int store_seal_clear_text(struct store *store, struct error *error) {
    enum clear_text left;
    struct walk walk = {.store = store, .below = 1, .takes_clear_text = true};
    struct error reason = {0};
    if (read_clear_text(store, &left, error))
        return -1;
    if (left == CLEAR_TEXT_NONE)
        return 0;
    if (left == CLEAR_TEXT_VALUES) {
        log_info("sealing the secrets of a store of version 1");
        if (seal_all(&walk, error) || note_clear_text(store, CLEAR_TEXT_TRACES, error))
            return -1;
    }
    if (remove_traces(store, &reason)) {
        log_warning("traces of clear text may be in the store's files; they are removed at the next start", "reason",
                    reason.message);
        return 0;
    }
    if (note_clear_text(store, CLEAR_TEXT_NONE, error))
        return -1;
    log_info("secrets are sealed", "sealed", LOG_NUMBER(walk.sealed));
    return 0;
}

/* ---- re-keying ---- */

static int make_data_key(struct store *store, uint32_t *id, struct error *error) {
    if (store_begin(store, error))
        return -1;
    if (store_make_data_key(store, id, error) == 0)
        return 0;
    store_rollback(store);
    return -1;
}

/* Deletes the data keys below that, under which nothing is sealed any more: since it is there nothing was, and all from before
 * was sealed again. *left: of the others, those that are sealed under another master key than the first. */
static int delete_data_keys(struct store *store, uint32_t below, int64_t *left, struct error *error) {
    char master_key[MASTER_KEY_ID_SIZE];
    sqlite3_stmt *delete = store_statement(store, "DELETE FROM data_key WHERE id < ?1", error);
    sqlite3_stmt *count = store_statement(store, "SELECT count(*) FROM data_key WHERE master_key <> ?1", error);
    if (!delete || !count || store_begin(store, error))
        return -1;
    sealing_master_key(store->sealing, master_key);
    store_bind_integer(delete, 1, below);
    store_bind_text(count, 1, master_key);
    if (store_run(store, delete, "deleting data keys", error) || store_step(store, count, "counting data keys", error) != 1)
        goto failed;
    *left = sqlite3_column_int64(count, 0);
    sqlite3_reset(count);
    if (store_commit(store, error) == 0)
        return 0;
failed:
    store_rollback(store);
    return -1;
}

int store_rekey(struct store *store, int64_t *sealed, struct error *error) {
    enum clear_text clear_text;
    struct error ignored;
    int64_t left = 1;
    if (read_clear_text(store, &clear_text, error) ||
        /* What is replaced shall not be found in pages that were freed. */
        store_execute(store, "PRAGMA secure_delete = ON", "setting up the store", error))
        return -1;
    struct walk walk = {.store = store, .takes_clear_text = clear_text == CLEAR_TEXT_VALUES, .makes_room = true};
    for (int round = 0; left && round < REKEY_ROUNDS_MAX; round++)
        if (make_data_key(store, &walk.below, error) || seal_all(&walk, error) ||
            delete_data_keys(store, walk.below, &left, error))
            return -1;
    *sealed = walk.sealed;
    if (left)
        return error_set(
            error, ERROR_UNAVAILABLE,
            "A serving process goes on to use an old master key: give it the one that is first here, and run this again");
    /* Nor in the log, unless somebody reads there just now: it is overwritten in time. */
    if (empty_log(store, &ignored))
        log_warning("the log could not be emptied: it is overwritten in time", "reason", ignored.message);
    return 0;
}
