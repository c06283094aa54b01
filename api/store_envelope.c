/* The private half of a JWK as its events carry it. */
#include "store_envelope.h"

#include <string.h>

#include "common/jwe.h"
#include "common/log.h"
#include "store_sql.h"

/* Keeps an envelope (NULL: none) for the present keys of the environments; writes nothing where none was and none is. */
static int keep(struct store *store, int64_t jwk_id, const char *envelope, int64_t generation, struct error *error) {
    sqlite3_stmt *statement = store_statement(store,
                                              "UPDATE jwk_material SET envelope = ?2, envelope_generation = ?3 WHERE jwk_id = ?1"
                                              " AND (?2 IS NOT NULL OR envelope IS NOT NULL)",
                                              error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, jwk_id);
    store_bind_text(statement, 2, envelope);
    store_bind_integer(statement, 3, generation);
    return store_run(store, statement, "keeping a sealed private half", error);
}

int store_envelope_make(struct store *store, const struct store_environments *environments, int64_t jwk_id, const char *jwk_uid,
                        const char *private_key, struct text *envelope, struct error *error) {
    size_t before = envelope->length;
    if (private_key && environments->recipient_count &&
        jwe_seal(environments->recipients, environments->recipient_count, private_key, strlen(private_key), jwk_uid, envelope,
                 error))
        return -1;
    return keep(store, jwk_id, envelope->length > before ? envelope->bytes + before : NULL, environments->generation, error);
}

enum kept {
    KEPT_NONE,  /* the JWK has no private half */
    KEPT_FOUND, /* the envelope is for the present keys */
    KEPT_OLD,   /* there is none, or it is for earlier keys */
};

/* Appends the envelope that is kept, also one for earlier keys. */
static int find_kept(struct store *store, int64_t jwk_id, int64_t generation, enum kept *kept, struct text *envelope,
                     struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store, "SELECT envelope_generation, private_key IS NOT NULL, envelope FROM jwk_material WHERE jwk_id = ?1", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, jwk_id);
    int row = store_step(store, statement, "reading a sealed private half", error);
    *kept = KEPT_NONE;
    if (row == 1 && sqlite3_column_int(statement, 1)) {
        const char *text = store_text(statement, 2);
        *kept = text && sqlite3_column_int64(statement, 0) == generation ? KEPT_FOUND : KEPT_OLD;
        if (text)
            text_add_string(envelope, text);
    }
    sqlite3_reset(statement);
    return row < 0 ? -1 : 0;
}

/* Appends the whole key of a JWK, which has one. The caller wipes it. *opens: whether it is sound. */
static int read_private_key(struct store *store, int64_t jwk_id, struct text *private_key, bool *opens, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store, "SELECT private_key, uid FROM jwk_material JOIN jwk ON jwk.id = jwk_id WHERE jwk_id = ?1", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, jwk_id);
    int row = store_step(store, statement, "reading a private half", error);
    int status = row < 0 ? -1 : 0;
    if (row == 1)
        status = store_open_sealed(store, statement, 0, PRIVATE_KEY_PLACE, store_text(statement, 1), private_key, error);
    sqlite3_reset(statement);
    *opens = row < 0 || status == 0 || error->code != ERROR_INTERNAL;
    return *opens ? status : 0;
}

int store_envelope_find(struct store *store, const struct store_environments *environments, int64_t jwk_id, const char *jwk_uid,
                        struct text *envelope, struct error *error) {
    enum kept kept;
    if (environments->recipient_count == 0)
        return 0;
    if (find_kept(store, jwk_id, environments->generation, &kept, envelope, error))
        return -1;
    if (kept != KEPT_OLD)
        return 0;
    struct text private_key = TEXT_EMPTY, old = *envelope;
    *envelope = TEXT_EMPTY;
    bool opens = true;
    int status = read_private_key(store, jwk_id, &private_key, &opens, error);
    if (!opens) {
        log_error("private half does not open and can not be sealed for the present keys of the environments", "jwk", jwk_uid);
        *envelope = old;
        return 0;
    }
    text_free(&old);
    if (status == 0)
        status = store_envelope_make(store, environments, jwk_id, jwk_uid, private_key.bytes, envelope, error);
    text_wipe(&private_key);
    if (status == 0 || error->code != ERROR_INVALID)
        return status;
    log_error("private half can not be sealed for the environments and is not deployed", "jwk", jwk_uid, "reason",
              error->message);
    return 0;
}
