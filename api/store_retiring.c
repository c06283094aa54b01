/* The keys that rotations have replaced, in the store. */
#include "store_retiring.h"

#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "store_sql.h"

int store_each_retiring(struct store *store, const struct store_jwk *jwk, int64_t now,
                        void (*visit)(void *context, const char *kid, int64_t until), void *context, struct error *error) {
    /* The JWK may have been read just before a rotation. */
    sqlite3_stmt *statement = store_statement(
        store, "SELECT kid, until FROM jwk_retiring WHERE jwk_id = ?1 AND until > ?2 AND version <= ?3 ORDER BY version DESC",
        error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, jwk->id);
    store_bind_integer(statement, 2, now);
    store_bind_integer(statement, 3, jwk->version);
    int row;
    while ((row = store_step(store, statement, "reading replaced keys", error)) == 1)
        visit(context, store_text(statement, 0), sqlite3_column_int64(statement, 1));
    return row;
}

/* Puts a key into a place of the list. */
static void set_item(struct store_retiring *retiring, size_t place, char *public_key, char *kid, int64_t until) {
    retiring->public_keys[place] = public_key;
    retiring->kids[place] = kid;
    retiring->items[place] = (struct event_retiring){.public_key = public_key, .until = until / 1000};
}

/* What jwk.retiring_until must be. */
static int store_latest(struct store *store, int64_t jwk_id, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store, "UPDATE jwk SET retiring_until = (SELECT max(until) FROM jwk_retiring WHERE jwk_id = ?1) WHERE id = ?1", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, jwk_id);
    return store_run(store, statement, "noting how long replaced keys are served", error);
}

static int drop_ended(struct store *store, int64_t jwk_id, int64_t now, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, "DELETE FROM jwk_retiring WHERE jwk_id = ?1 AND until <= ?2", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, jwk_id);
    store_bind_integer(statement, 2, now);
    if (store_run(store, statement, "dropping replaced keys whose time is over", error))
        return -1;
    return store_latest(store, jwk_id, error);
}

int store_retiring_take(struct store *store, int64_t jwk_id, int64_t retiring_until, int64_t now,
                        struct store_retiring *retiring, struct error *error) {
    *retiring = (struct store_retiring){0};
    if (retiring_until == 0)
        return 0;
    if (retiring_until <= now)
        return drop_ended(store, jwk_id, now, error);
    sqlite3_stmt *statement = store_statement(
        store, "SELECT public_key, kid, until FROM jwk_retiring WHERE jwk_id = ?1 ORDER BY version DESC", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, jwk_id);
    int row;
    bool ended = false;
    while ((row = store_step(store, statement, "reading replaced keys", error)) == 1) {
        int64_t until = sqlite3_column_int64(statement, 2);
        if (until <= now)
            ended = true;
        else if (retiring->count < RETIRING_COUNT_MAX)
            set_item(retiring, retiring->count++, memory_string(store_text(statement, 0)),
                     memory_string(store_text(statement, 1)), until);
    }
    if (row == 0 && !(ended && drop_ended(store, jwk_id, now, error)))
        return 0;
    store_retiring_clear(retiring);
    return -1;
}

int store_retiring_add(struct store *store, const struct store_jwk *jwk, int64_t version, int64_t until,
                       struct store_retiring *retiring, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store, "INSERT INTO jwk_retiring (jwk_id, version, public_key, kid, until) VALUES (?1, ?2, ?3, ?4, ?5)", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, jwk->id);
    store_bind_integer(statement, 2, version);
    store_bind_text(statement, 3, jwk->public_key);
    store_bind_text(statement, 4, jwk->kid);
    store_bind_integer(statement, 5, until);
    if (store_run(store, statement, "keeping the key that is replaced", error) || store_latest(store, jwk->id, error))
        return -1;
    for (size_t i = retiring->count++; i > 0; i--)
        set_item(retiring, i, retiring->public_keys[i - 1], retiring->kids[i - 1], retiring->items[i - 1].until * 1000);
    set_item(retiring, 0, memory_string(jwk->public_key), memory_string(jwk->kid), until);
    return 0;
}

static void forget(struct store_retiring *retiring, size_t place) {
    free(retiring->public_keys[place]);
    free(retiring->kids[place]);
    for (retiring->count--; place < retiring->count; place++)
        set_item(retiring, place, retiring->public_keys[place + 1], retiring->kids[place + 1],
                 retiring->items[place + 1].until * 1000);
}

int store_retiring_drop_kid(struct store *store, int64_t jwk_id, const char *kid, struct store_retiring *retiring,
                            struct error *error) {
    size_t before = retiring->count;
    for (size_t i = retiring->count; kid && i-- > 0;)
        if (retiring->kids[i] && strcmp(retiring->kids[i], kid) == 0)
            forget(retiring, i);
    if (retiring->count == before)
        return 0;
    sqlite3_stmt *statement = store_statement(store, "DELETE FROM jwk_retiring WHERE jwk_id = ?1 AND kid = ?2", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, jwk_id);
    store_bind_text(statement, 2, kid);
    return store_run(store, statement, "dropping a replaced key", error) || store_latest(store, jwk_id, error) ? -1 : 0;
}

int store_retiring_end(struct store *store, int64_t jwk_id, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, "DELETE FROM jwk_retiring WHERE jwk_id = ?1", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, jwk_id);
    return store_run(store, statement, "dropping replaced keys", error) || store_latest(store, jwk_id, error) ? -1 : 0;
}

void store_retiring_clear(struct store_retiring *retiring) {
    for (size_t i = 0; i < retiring->count; i++) {
        free(retiring->public_keys[i]);
        free(retiring->kids[i]);
    }
    retiring->count = 0;
}
