/* Reading what is served, each answer from one snapshot of the state. */
#include "worker/state_reader.h"

#include <pthread.h>
#include <stdlib.h>
#include <utlist.h>

#include "common/memory.h"

enum reader_statement {
    READ_BEGIN,
    READ_END,
    READ_PROJECT,
    READ_KEY_SET,
    READ_RETIRING,
    READ_LIST,
    READ_FIND,
    READ_VISIT,
    READ_FIND_PRIVATE,
    READ_EACH_PRIVATE,
    READ_PROJECTS,
    READ_COUNT,
};

static const char *const statement_texts[READ_COUNT] = {
    [READ_BEGIN] = "BEGIN",
    [READ_END] = "COMMIT",
    [READ_PROJECT] = "SELECT 1 FROM project WHERE name = ?1 LIMIT 1",
    /* A name may stand for two projects when one was removed and made again. */
    [READ_KEY_SET] = "SELECT j.public_key, j.expires, j.retiring, j.number FROM project p JOIN jwk j ON j.project = p.number "
                     "WHERE p.name = ?1 AND "
                     "j.deleted = 0 AND "
                     "(j.public_key IS NOT NULL OR j.retiring > 0) ORDER BY j.id",
    [READ_RETIRING] = "SELECT public_key, until FROM jwk_retiring WHERE jwk = ?1 ORDER BY place",
    [READ_LIST] = "SELECT j.name, j.id, j.type, j.kid, j.epoch, j.version FROM project p JOIN jwk j ON j.project = p.number "
                  "WHERE p.name = ?1 AND "
                  "j.deleted = 0 ORDER BY j.name, j.id",
    [READ_FIND] = "SELECT j.public_key, j.expires FROM project p JOIN jwk j ON j.project = p.number WHERE p.name = ?1 AND "
                  "j.name = ?2 AND "
                  "j.deleted = 0 ORDER BY j.epoch DESC, j.sequence DESC LIMIT 1",
    [READ_VISIT] = "SELECT j.id, p.id, p.name, j.name, j.type, j.kid, j.public_key, j.epoch, j.version, j.sequence, j.expires, "
                   "j.partition, "
                   "j.generation, j.deleted, s.sealed FROM jwk j JOIN project p ON p.number = j.project LEFT JOIN jwk_private s "
                   "ON s.jwk = j.number WHERE j.id = ?1",
    [READ_FIND_PRIVATE] = "SELECT j.id, p.id, p.name, j.name, j.type, j.kid, j.public_key, j.epoch, j.version, j.sequence, "
                          "j.expires, j.partition, j.generation, j.deleted, s.sealed FROM project p JOIN jwk j ON j.project = "
                          "p.number LEFT JOIN jwk_private s ON s.jwk = j.number WHERE p.name = ?1 AND j.name = ?2 AND j.deleted "
                          "= 0 ORDER BY j.epoch DESC, j.sequence DESC LIMIT 1",
    [READ_EACH_PRIVATE] = "SELECT j.id, p.id, p.name, j.name, j.type, j.kid, NULL, j.epoch, j.version, j.sequence, j.expires, "
                          "j.partition, j.generation, j.deleted, NULL FROM jwk j JOIN project p ON p.number = j.project WHERE "
                          "j.private > 0 AND j.deleted = 0",
    [READ_PROJECTS] = "SELECT DISTINCT name FROM project ORDER BY name",
};

struct state_reader {
    sqlite3 *db;
    sqlite3_stmt *statements[READ_COUNT];
    struct state_reader *next; /* in the pool */
};

struct state_reader_pool {
    const struct state *state;
    pthread_mutex_t mutex;     /* guards free */
    struct state_reader *free; /* those that no one uses */
};

static void reader_close(struct state_reader *reader) {
    for (size_t i = 0; i < READ_COUNT; i++)
        sqlite3_finalize(reader->statements[i]);
    sqlite3_close(reader->db);
    free(reader);
}

static struct state_reader *reader_open(const struct state *state, struct error *error) {
    struct state_reader *reader = memory_new(sizeof *reader);
    reader->db = state_open_reader(state, error);
    if (!reader->db) {
        free(reader);
        return NULL;
    }
    for (size_t i = 0; i < READ_COUNT; i++)
        if (sqlite3_prepare_v3(reader->db, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT, &reader->statements[i], NULL) !=
            SQLITE_OK) {
            error_set(error, ERROR_UNAVAILABLE, "reading the state: %s", sqlite3_errmsg(reader->db));
            reader_close(reader);
            return NULL;
        }
    return reader;
}

struct state_reader_pool *state_reader_pool_new(const struct state *state) {
    struct state_reader_pool *pool = memory_new(sizeof *pool);
    pool->state = state;
    pthread_mutex_init(&pool->mutex, NULL);
    return pool;
}

void state_reader_pool_free(struct state_reader_pool *pool) {
    if (!pool)
        return;
    struct state_reader *reader, *next;
    LL_FOREACH_SAFE(pool->free, reader, next) {
        reader_close(reader);
    }
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

struct state_reader *state_reader_take(struct state_reader_pool *pool, struct error *error) {
    pthread_mutex_lock(&pool->mutex);
    struct state_reader *reader = pool->free;
    if (reader)
        LL_DELETE(pool->free, reader);
    pthread_mutex_unlock(&pool->mutex);
    return reader ? reader : reader_open(pool->state, error);
}

void state_reader_give(struct state_reader_pool *pool, struct state_reader *reader) {
    pthread_mutex_lock(&pool->mutex);
    LL_PREPEND(pool->free, reader);
    pthread_mutex_unlock(&pool->mutex);
}

static int read_failed(struct state_reader *reader, struct error *error) {
    return error_set(error, ERROR_INTERNAL, "reading the state: %s", sqlite3_errmsg(reader->db));
}

/* Runs a statement that gives no row. */
static int run(struct state_reader *reader, enum reader_statement which, struct error *error) {
    int code = sqlite3_step(reader->statements[which]);
    sqlite3_reset(reader->statements[which]);
    return code == SQLITE_DONE ? 0 : read_failed(reader, error);
}

/* Ends the snapshot; keeps the first error. */
static int finish(struct state_reader *reader, int status, struct error *error) {
    return run(reader, READ_END, status ? NULL : error) || status ? -1 : 0;
}

static int project_is_known(struct state_reader *reader, const char *project_name, bool *known, struct error *error) {
    sqlite3_stmt *statement = reader->statements[READ_PROJECT];
    sqlite3_bind_text(statement, 1, project_name, -1, SQLITE_STATIC);
    int code = sqlite3_step(statement);
    *known = code == SQLITE_ROW;
    sqlite3_reset(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE ? 0 : read_failed(reader, error);
}

static int64_t column_expires(sqlite3_stmt *statement, int column) {
    return sqlite3_column_type(statement, column) == SQLITE_NULL ? INT64_MAX : sqlite3_column_int64(statement, column);
}

/* Appends a key unless its time is over; *expires is lowered to its end. */
static void append_key(struct text *out, const char *public_key, int64_t end, int64_t now, int64_t *expires) {
    if (!public_key || end <= now)
        return;
    if (end < *expires)
        *expires = end;
    text_json_raw(out, NULL, public_key);
}

static int append_retiring(struct state_reader *reader, int64_t number, int64_t now, struct text *out, int64_t *expires,
                           struct error *error) {
    sqlite3_stmt *statement = reader->statements[READ_RETIRING];
    sqlite3_bind_int64(statement, 1, number);
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW)
        append_key(out, (const char *)sqlite3_column_text(statement, 0), sqlite3_column_int64(statement, 1), now, expires);
    sqlite3_reset(statement);
    return code == SQLITE_DONE ? 0 : read_failed(reader, error);
}

static int append_key_set(struct state_reader *reader, const char *project_name, int64_t now, struct text *out,
                          int64_t *expires, struct error *error) {
    sqlite3_stmt *statement = reader->statements[READ_KEY_SET];
    sqlite3_bind_text(statement, 1, project_name, -1, SQLITE_STATIC);
    text_json_open(out, NULL, '{');
    text_json_open(out, "keys", '[');
    int code, status = 0;
    while (status == 0 && (code = sqlite3_step(statement)) != SQLITE_DONE) {
        if (code != SQLITE_ROW) {
            status = read_failed(reader, error);
            continue;
        }
        append_key(out, (const char *)sqlite3_column_text(statement, 0), column_expires(statement, 1), now, expires);
        if (sqlite3_column_int(statement, 2) > 0)
            status = append_retiring(reader, sqlite3_column_int64(statement, 3), now, out, expires, error);
    }
    sqlite3_reset(statement);
    text_json_close(out, ']');
    text_json_close(out, '}');
    return status;
}

int state_reader_key_set(struct state_reader *reader, const char *project_name, int64_t now, struct text *out, bool *known,
                         int64_t *expires, struct error *error) {
    *expires = INT64_MAX;
    *known = false;
    if (run(reader, READ_BEGIN, error))
        return -1;
    int status = project_is_known(reader, project_name, known, error);
    if (status == 0 && *known)
        status = append_key_set(reader, project_name, now, out, expires, error);
    return finish(reader, status, error);
}

static int append_list(struct state_reader *reader, const char *project_name, struct text *out, struct error *error) {
    sqlite3_stmt *statement = reader->statements[READ_LIST];
    sqlite3_bind_text(statement, 1, project_name, -1, SQLITE_STATIC);
    text_json_open(out, NULL, '[');
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        text_json_open(out, NULL, '{');
        text_json_string(out, "name", (const char *)sqlite3_column_text(statement, 0));
        text_json_string(out, "id", (const char *)sqlite3_column_text(statement, 1));
        text_json_string(out, "type", (const char *)sqlite3_column_text(statement, 2));
        text_json_string(out, "kid", (const char *)sqlite3_column_text(statement, 3));
        text_json_integer(out, "epoch", sqlite3_column_int64(statement, 4));
        text_json_integer(out, "version", sqlite3_column_int64(statement, 5));
        text_json_close(out, '}');
    }
    sqlite3_reset(statement);
    text_json_close(out, ']');
    return code == SQLITE_DONE ? 0 : read_failed(reader, error);
}

int state_reader_list(struct state_reader *reader, const char *project_name, struct text *out, bool *known,
                      struct error *error) {
    *known = false;
    if (run(reader, READ_BEGIN, error))
        return -1;
    int status = project_is_known(reader, project_name, known, error);
    if (status == 0 && *known)
        status = append_list(reader, project_name, out, error);
    return finish(reader, status, error);
}

int state_reader_find(struct state_reader *reader, const char *project_name, const char *name, int64_t now, struct text *out,
                      bool *found, struct error *error) {
    sqlite3_stmt *statement = reader->statements[READ_FIND];
    sqlite3_bind_text(statement, 1, project_name, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, name, -1, SQLITE_STATIC);
    int code = sqlite3_step(statement);
    *found = code == SQLITE_ROW && sqlite3_column_type(statement, 0) != SQLITE_NULL && column_expires(statement, 1) > now;
    if (*found)
        text_add_string(out, (const char *)sqlite3_column_text(statement, 0));
    sqlite3_reset(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE ? 0 : read_failed(reader, error);
}

/* Calls visit for each row of a statement that is bound, and resets it. */
static int visit_rows(struct state_reader *reader, sqlite3_stmt *statement,
                      void (*visit)(void *context, const struct state_jwk *jwk), void *context, struct error *error) {
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        struct state_jwk jwk = {
            .id = (const char *)sqlite3_column_text(statement, 0),
            .project_id = (const char *)sqlite3_column_text(statement, 1),
            .project_name = (const char *)sqlite3_column_text(statement, 2),
            .name = (const char *)sqlite3_column_text(statement, 3),
            .type = (const char *)sqlite3_column_text(statement, 4),
            .kid = (const char *)sqlite3_column_text(statement, 5),
            .public_key = (const char *)sqlite3_column_text(statement, 6),
            .epoch = sqlite3_column_int64(statement, 7),
            .version = sqlite3_column_int64(statement, 8),
            .sequence = sqlite3_column_int64(statement, 9),
            .expires = column_expires(statement, 10),
            .partition = sqlite3_column_int(statement, 11),
            .generation = sqlite3_column_int64(statement, 12),
            .deleted = sqlite3_column_int(statement, 13) != 0,
            .sealed = (const char *)sqlite3_column_text(statement, 14),
        };
        visit(context, &jwk);
    }
    sqlite3_reset(statement);
    return code == SQLITE_DONE ? 0 : read_failed(reader, error);
}

int state_reader_visit(struct state_reader *reader, const char *jwk_id,
                       void (*visit)(void *context, const struct state_jwk *jwk), void *context, struct error *error) {
    sqlite3_stmt *statement = reader->statements[READ_VISIT];
    sqlite3_bind_text(statement, 1, jwk_id, -1, SQLITE_STATIC);
    return visit_rows(reader, statement, visit, context, error);
}

int state_reader_find_private(struct state_reader *reader, const char *project_name, const char *name,
                              void (*visit)(void *context, const struct state_jwk *jwk), void *context, struct error *error) {
    sqlite3_stmt *statement = reader->statements[READ_FIND_PRIVATE];
    sqlite3_bind_text(statement, 1, project_name, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, name, -1, SQLITE_STATIC);
    return visit_rows(reader, statement, visit, context, error);
}

int state_reader_each_private(struct state_reader *reader, void (*visit)(void *context, const struct state_jwk *jwk),
                              void *context, struct error *error) {
    return visit_rows(reader, reader->statements[READ_EACH_PRIVATE], visit, context, error);
}

int state_reader_each_project(struct state_reader *reader, void (*visit)(void *context, const char *project_name),
                              void *context, struct error *error) {
    sqlite3_stmt *statement = reader->statements[READ_PROJECTS];
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW)
        visit(context, (const char *)sqlite3_column_text(statement, 0));
    sqlite3_reset(statement);
    return code == SQLITE_DONE ? 0 : read_failed(reader, error);
}
