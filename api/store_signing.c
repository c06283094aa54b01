/* The keys that events are signed with, in the store. */
#include "store_signing.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/credentials.h"
#include "common/memory.h"
#include "store_audit.h"
#include "store_sql.h"

/* ---- making ---- */

/* The JWK of an Ed25519 key, named by its thumbprint. Takes the key. */
static struct jwk *name_key(EVP_PKEY *key, bool with_private) {
    struct error error;
    char kid[SHA256_TEXT_SIZE];
    struct jwk_attributes attributes = JWK_ATTRIBUTES_NONE;
    struct jwk *unnamed = key ? jwk_from_key(key, false, &attributes, &error) : NULL;
    if (!unnamed)
        abort(); /* OpenSSL without Ed25519 or without randomness: nothing can be signed */
    jwk_thumbprint(unnamed, kid);
    jwk_free(unnamed);
    attributes.kid = kid;
    attributes.use = "sig";
    attributes.algorithm = "EdDSA";
    struct jwk *jwk = jwk_from_key(key, with_private, &attributes, &error);
    EVP_PKEY_free(key);
    if (!jwk)
        abort(); /* of our own making */
    return jwk;
}

static int insert(struct store *store, bool is_active, char kid[SHA256_TEXT_SIZE], struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store,
                        "INSERT INTO signing_key (kid, public_key, private_key, created_at, activated_at) VALUES (?1, ?2, ?3, ?4,"
                        " CASE WHEN ?5 THEN ?4 END)",
                        error);
    if (!statement)
        return -1;
    struct jwk *jwk = name_key(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), true);
    strcpy(kid, jwk_kid(jwk)); /* a thumbprint, of that size */
    store_bind_text(statement, 1, kid);
    store_bind_text(statement, 2, jwk_public_text(jwk));
    store_bind_integer(statement, 4, clock_wall_ms());
    store_bind_integer(statement, 5, is_active);
    int status = store_bind_sealed(store, statement, 3, SIGNING_KEY_PLACE, kid, jwk_text(jwk), error);
    if (status == 0)
        status = store_run(store, statement, "storing a signing key", error);
    jwk_free(jwk);
    return status ? -1
                  : store_audit_command(store, "signing-key add", kid, is_active ? "the first one, in use at once" : "to be used later", error);
}

static int count_keys(struct store *store, const char *sql, int64_t *count, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, sql, error);
    if (statement && sqlite3_bind_parameter_count(statement) > 0)
        store_bind_integer(statement, 1, clock_wall_ms());
    if (!statement || store_step(store, statement, "counting signing keys", error) != 1)
        return -1;
    *count = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return 0;
}

int store_ensure_signing_key(struct store *store, struct error *error) {
    int64_t count;
    char kid[SHA256_TEXT_SIZE];
    if (count_keys(store, "SELECT count(*) FROM signing_key WHERE activated_at IS NOT NULL AND accepted_until IS NULL", &count,
                   error))
        return -1;
    return count ? 0 : insert(store, true, kid, error);
}

int store_add_signing_key(struct store *store, char kid[SHA256_TEXT_SIZE], struct error *error) {
    int64_t count;
    if (count_keys(store, "SELECT count(*) FROM signing_key WHERE activated_at IS NULL", &count, error))
        return -1;
    if (count >= SIGNING_KEYS_WAITING_MAX)
        return error_set(error, ERROR_CONFLICT, "%d signing keys wait to be activated already!", SIGNING_KEYS_WAITING_MAX);
    if (count_keys(store, "SELECT count(*) FROM signing_key WHERE accepted_until IS NULL OR accepted_until > ?1", &count, error))
        return -1;
    if (count >= CREDENTIAL_KEYS_MAX)
        return error_set(error, ERROR_CONFLICT,
                         "%d signing keys are accepted, as many as a worker takes! Add another one when the first of them is not "
                         "accepted any more (jwk-api signing-key list tells until when).",
                         CREDENTIAL_KEYS_MAX);
    return insert(store, false, kid, error);
}

/* ---- another takes the active one's place ---- */

/* ERROR_NOT_FOUND or ERROR_CONFLICT unless the key waits to be used. */
static int check_is_next(struct store *store, const char *kid, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store, "SELECT activated_at IS NOT NULL, accepted_until IS NOT NULL FROM signing_key WHERE kid = ?1", error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, kid);
    int row = store_step(store, statement, "looking for a signing key", error);
    if (row <= 0)
        return row < 0 ? -1 : error_set(error, ERROR_NOT_FOUND, "Signing key (kid: %s) is not found!", kid);
    bool was_activated = sqlite3_column_int(statement, 0), is_retired = sqlite3_column_int(statement, 1);
    sqlite3_reset(statement);
    if (is_retired)
        return error_set(error, ERROR_CONFLICT,
                         "Signing key (kid: %s) was replaced and has no private half any more! Add another one.", kid);
    return was_activated ? error_set(error, ERROR_CONFLICT, "Signing key (kid: %s) is active already!", kid) : 0;
}

int store_activate_signing_key(struct store *store, const char *kid, int64_t accept_old_for_ms, struct error *error) {
    if (check_is_next(store, kid, error))
        return -1;
    sqlite3_stmt *retire = store_statement(store,
                                           "UPDATE signing_key SET accepted_until = ?1, private_key = NULL"
                                           " WHERE activated_at IS NOT NULL AND accepted_until IS NULL",
                                           error);
    sqlite3_stmt *activate = store_statement(store, "UPDATE signing_key SET activated_at = ?2 WHERE kid = ?1", error);
    sqlite3_stmt *again = store_statement(store, "UPDATE store SET republish_after = 0 WHERE id = 1", error);
    if (!retire || !activate || !again)
        return -1;
    int64_t now = clock_wall_ms();
    store_bind_integer(retire, 1, now + accept_old_for_ms);
    store_bind_text(activate, 1, kid);
    store_bind_integer(activate, 2, now);
    return store_run(store, retire, "retiring a signing key", error) ||
                   store_run(store, activate, "activating a signing key", error) ||
                   store_run(store, again, "noting what is to be published again", error)
               ? -1
               : 0;
}

int store_import_signing_key(struct store *store, const struct jwk *key, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store,
                        "INSERT INTO signing_key (kid, public_key, created_at, activated_at, accepted_until)"
                        " VALUES (?1, ?2, ?3, ?3, (?3 / 1000 + 1) * 1000) ON CONFLICT (kid) DO NOTHING",
                        error);
    if (!statement)
        return -1;
    if (jwk_has_private(key) || !jwk_curve(key) || strcmp(jwk_curve(key), "Ed25519") != 0)
        return error_set(error, ERROR_INVALID, "A key that events were signed with is a public one on Ed25519");
    /* Of its members nothing but the key counts: what it has signed is of before now, in whole seconds, as its end is told. */
    struct jwk *named = name_key(jwk_to_key(key), false);
    store_bind_text(statement, 1, jwk_kid(named));
    store_bind_text(statement, 2, jwk_public_text(named));
    store_bind_integer(statement, 3, clock_wall_ms());
    int status = store_run(store, statement, "taking over a signing key", error);
    jwk_free(named);
    return status;
}

/* ---- reading ---- */

/* The signer of a private JWK's text. */
static struct signer *make_signer(const struct text *private_key, struct error *error) {
    struct jwk *jwk = jwk_from_text(private_key->bytes, private_key->length, NULL, error);
    struct signer *signer = jwk ? signer_new(jwk, error) : NULL;
    jwk_free(jwk);
    return signer;
}

int store_load_other_signer(struct store *store, const char *kid, struct signer **signer, struct error *error) {
    *signer = NULL;
    sqlite3_stmt *statement = store_statement(
        store, "SELECT kid, private_key FROM signing_key WHERE activated_at IS NOT NULL AND accepted_until IS NULL", error);
    if (!statement)
        return -1;
    int row = store_step(store, statement, "reading the active signing key", error);
    if (row <= 0)
        return row < 0 ? -1 : error_set(error, ERROR_NOT_FOUND, "There is no signing key");
    char found[SHA256_TEXT_SIZE];
    struct text private_key = TEXT_EMPTY;
    snprintf(found, sizeof found, "%s", store_text(statement, 0));
    bool is_other = !kid || strcmp(found, kid) != 0;
    int status = is_other ? store_open_sealed(store, statement, 1, SIGNING_KEY_PLACE, found, &private_key, error) : 0;
    sqlite3_reset(statement);
    if (status == 0 && is_other)
        status = (*signer = make_signer(&private_key, error)) ? 0 : -1;
    text_wipe(&private_key);
    return status;
}

int store_each_signing_key(struct store *store, void (*visit)(void *context, const struct store_signing_key *key),
                           void *context, struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store, "SELECT kid, public_key, created_at, activated_at, accepted_until FROM signing_key ORDER BY id", error);
    if (!statement)
        return -1;
    int row;
    while ((row = store_step(store, statement, "listing the signing keys", error)) == 1) {
        struct store_signing_key key = {
            .kid = store_text(statement, 0),
            .public_key = store_text(statement, 1),
            .created_at = sqlite3_column_int64(statement, 2),
            .activated_at = sqlite3_column_int64(statement, 3),
            .accepted_until = sqlite3_column_int64(statement, 4),
        };
        key.state = key.accepted_until ? SIGNING_KEY_RETIRED : key.activated_at ? SIGNING_KEY_ACTIVE : SIGNING_KEY_NEXT;
        visit(context, &key);
    }
    return row;
}

struct exporting {
    struct text *out;
    int64_t now;
    bool all;
};

static void export_key(void *context, const struct store_signing_key *key) {
    struct exporting *exporting = context;
    if (key->state == SIGNING_KEY_RETIRED && !exporting->all && key->accepted_until <= exporting->now)
        return;
    if (key->state != SIGNING_KEY_RETIRED) {
        text_json_raw(exporting->out, NULL, key->public_key);
        return;
    }
    /* An object of our own making, with one member more. */
    struct text with_end = TEXT_EMPTY;
    text_add(&with_end, key->public_key, strlen(key->public_key) - 1);
    text_json_integer(&with_end, "exp", key->accepted_until / 1000);
    text_json_close(&with_end, '}');
    text_json_raw(exporting->out, NULL, with_end.bytes);
    text_free(&with_end);
}

int store_export_signing_keys(struct store *store, bool all, int64_t now, struct text *out, struct error *error) {
    struct exporting exporting = {.out = out, .now = now, .all = all};
    text_json_open(out, NULL, '{');
    text_json_open(out, "keys", '[');
    int status = store_each_signing_key(store, export_key, &exporting, error);
    text_json_close(out, ']');
    text_json_close(out, '}');
    return status;
}
