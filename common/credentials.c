/* Credentials and the sets of public keys that belong to them. What a key is for is told by its curve; `use` and `alg` may be
 * left out, but must not say otherwise. */
#include "common/credentials.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "common/json.h"
#include "common/log.h"
#include "common/memory.h"

enum { ENVIRONMENT_LENGTH_MAX = 255, PUNCTUATION = 64 };

static const char ENCRYPTION_ALGORITHM[] = "ECDH-ES+A256KW", SIGNATURE_ALGORITHM[] = "EdDSA";

/* ---- what a key is for ---- */

static bool is_for_encryption(const struct jwk *key) {
    static const char *const curves[] = {"P-256", "P-384", "P-521", "X25519"};
    for (size_t i = 0; jwk_curve(key) && i < sizeof curves / sizeof curves[0]; i++) {
        if (strcmp(jwk_curve(key), curves[i]) == 0)
            return true;
    }
    return false;
}

static bool is_for_signatures(const struct jwk *key) {
    return jwk_curve(key) && strcmp(jwk_curve(key), "Ed25519") == 0;
}

static bool says_otherwise(const char *said, const char *expected) {
    return said && strcmp(said, expected) != 0;
}

/* Holds use and alg against what the curve is for. */
static int check_purpose(const struct jwk *key, struct error *error) {
    bool encrypts = is_for_encryption(key);
    const char *use = encrypts ? "enc" : "sig", *algorithm = encrypts ? ENCRYPTION_ALGORITHM : SIGNATURE_ALGORITHM;
    if (!encrypts && !is_for_signatures(key))
        return error_set(
            error, ERROR_INVALID,
            "It is of no use here: it must be on P-256, P-384, P-521 or X25519 (to encrypt) or on Ed25519 (to sign)");
    if (says_otherwise(jwk_use(key), use))
        return error_set(error, ERROR_INVALID, "Member \"use\" must be \"%s\" for a key on %s here", use, jwk_curve(key));
    /* RFC 9864 has a second name for the one algorithm of Ed25519. */
    if (says_otherwise(jwk_algorithm(key), algorithm) && (encrypts || says_otherwise(jwk_algorithm(key), "Ed25519")))
        return error_set(error, ERROR_INVALID, "Member \"alg\" must be \"%s\" for a key on %s here", algorithm, jwk_curve(key));
    return 0;
}

/* ---- the keys of an environment ---- */

static bool is_same(const struct jwk *one, const struct jwk *other) {
    char thumbprints[2][SHA256_TEXT_SIZE];
    jwk_thumbprint(one, thumbprints[0]);
    jwk_thumbprint(other, thumbprints[1]);
    return strcmp(thumbprints[0], thumbprints[1]) == 0;
}

static int add_encryption_key(const struct jwk *key, struct environment_keys *keys, struct error *error) {
    char thumbprint[SHA256_TEXT_SIZE];
    jwk_thumbprint(key, thumbprint);
    const char *kid = jwk_kid(key) ? jwk_kid(key) : thumbprint;
    if (keys->encryption_count == CREDENTIAL_KEYS_MAX)
        return error_set(error, ERROR_INVALID, "There are more than %d keys to encrypt", CREDENTIAL_KEYS_MAX);
    for (size_t i = 0; i < keys->encryption_count; i++) {
        if (strcmp(keys->encryption[i].kid, kid) == 0)
            return error_set(error, ERROR_INVALID, "Another key has the same kid");
    }
    keys->encryption[keys->encryption_count++] = (struct jwe_recipient){.kid = memory_string(kid), .key = jwk_to_key(key)};
    return 0;
}

/* Takes the key when it succeeds. */
static int add_signature_key(struct jwk *key, struct jwk **keys, size_t *count, struct error *error) {
    if (*count == CREDENTIAL_KEYS_MAX)
        return error_set(error, ERROR_INVALID, "There are more than %d keys to sign", CREDENTIAL_KEYS_MAX);
    for (size_t i = 0; i < *count; i++) {
        if (is_same(keys[i], key))
            return error_set(error, ERROR_INVALID, "The key is there already");
    }
    keys[(*count)++] = key;
    return 0;
}

static int check_halves(const struct jwk *key, bool is_private, struct error *error) {
    if (is_private && !jwk_has_private(key))
        return error_set(error, ERROR_INVALID, "It has no private half, without which nothing can be opened or signed");
    if (!is_private && jwk_has_private(key))
        return error_set(error, ERROR_INVALID, "It has a private half: hand in the public part only");
    return 0;
}

static int add_key(const cJSON *object, bool is_private, struct environment_keys *keys, struct error *error) {
    struct jwk *key = jwk_from_json(object, error);
    int result = -1;
    if (!key)
        return -1;
    if (check_purpose(key, error) == 0 && check_halves(key, is_private, error) == 0) {
        if (is_for_encryption(key)) {
            result = add_encryption_key(key, keys, error);
        } else {
            result = add_signature_key(key, keys->signature, &keys->signature_count, error);
            key = result == 0 ? NULL : key;
        }
    }
    jwk_free(key);
    return result;
}

/* The array "keys" of a set or of credentials. */
static int read_keys(const cJSON *object, bool is_private, struct environment_keys *keys, struct error *error) {
    const cJSON *array = NULL, *each;
    size_t number = 0;
    if (json_get_array(object, "keys", true, &array, error) < 0)
        return -1;
    cJSON_ArrayForEach (each, array) {
        number++;
        if (add_key(each, is_private, keys, error) < 0)
            return error_prefix(error, "Key %zu", number);
    }
    if (keys->encryption_count == 0)
        return error_set(error, ERROR_INVALID,
                         "A key to encrypt is missing: one on P-256, P-384, P-521 or X25519, of use \"enc\"");
    if (keys->signature_count == 0)
        return error_set(error, ERROR_INVALID, "A key to sign is missing: one on Ed25519, of use \"sig\"");
    return 0;
}

void environment_keys_clear(struct environment_keys *keys) {
    for (size_t i = 0; i < keys->encryption_count; i++) {
        free((char *)(uintptr_t)keys->encryption[i].kid);
        EVP_PKEY_free(keys->encryption[i].key);
    }
    for (size_t i = 0; i < keys->signature_count; i++)
        jwk_free(keys->signature[i]);
    *keys = (struct environment_keys){0};
}

static int expect_object(const cJSON *tree, const char *what, struct error *error) {
    return cJSON_IsObject(tree) ? 0 : error_set(error, ERROR_INVALID, "%s must be a JSON object", what);
}

int environment_keys_parse(const char *text, size_t length, struct environment_keys *keys, struct error *error) {
    *keys = (struct environment_keys){0};
    cJSON *tree = json_parse(text, length, error);
    if (!tree)
        return -1;
    int result = expect_object(tree, "A JWK Set", error) < 0 || read_keys(tree, false, keys, error) < 0 ? -1 : 0;
    if (result < 0)
        environment_keys_clear(keys);
    json_wipe(tree); /* a private half may have been handed in by mistake */
    return result;
}

/* ---- the keys of the API ---- */

static void free_keys(struct jwk **keys, size_t *count) {
    for (size_t i = 0; i < *count; i++) {
        jwk_free(keys[i]);
        keys[i] = NULL;
    }
    *count = 0;
}

static int add_api_key(const cJSON *object, struct jwk **keys, size_t *count, struct error *error) {
    struct jwk *key = jwk_from_json(object, error);
    if (!key)
        return -1;
    int result = -1;
    if (!is_for_signatures(key))
        error_set(error, ERROR_INVALID, "A key that signs events must be on Ed25519");
    else if (check_purpose(key, error) == 0 && check_halves(key, false, error) == 0)
        result = add_signature_key(key, keys, count, error);
    if (result < 0)
        jwk_free(key);
    return result;
}

static int read_api_keys(const cJSON *set, struct jwk **keys, size_t *count, struct error *error) {
    const cJSON *array = NULL, *each;
    size_t number = 0;
    *count = 0;
    if (json_get_array(set, "keys", true, &array, error) < 0)
        return -1;
    cJSON_ArrayForEach (each, array) {
        number++;
        if (add_api_key(each, keys, count, error) < 0) {
            error_prefix(error, "Key %zu of the API", number);
            free_keys(keys, count);
            return -1;
        }
    }
    return 0;
}

int api_keys_parse(const char *text, size_t length, struct jwk *keys[CREDENTIAL_KEYS_MAX], size_t *count, struct error *error) {
    *count = 0;
    cJSON *tree = json_parse(text, length, error);
    if (!tree)
        return -1;
    int result = expect_object(tree, "A JWK Set", error) < 0 || read_api_keys(tree, keys, count, error) < 0 ? -1 : 0;
    if (result == 0 && *count == 0)
        result = error_set(error, ERROR_INVALID, "The JWK Set has no keys");
    json_wipe(tree);
    return result;
}

/* ---- credentials ---- */

static int read_credentials(const cJSON *tree, struct credentials *credentials, struct error *error) {
    static const char *const known[] = {"environment", "keys", "apiKeys", NULL};
    const char *environment = NULL;
    const cJSON *api_keys = NULL;
    if (expect_object(tree, "Credentials", error) < 0 || json_refuse_unknown(tree, known, error) < 0 ||
        json_get_string(tree, "environment", true, &environment, error) < 0)
        return -1;
    if (!*environment || strlen(environment) > ENVIRONMENT_LENGTH_MAX)
        return error_set(error, ERROR_INVALID, "Member \"environment\" must have 1 to %d bytes", ENVIRONMENT_LENGTH_MAX);
    credentials->environment = memory_string(environment);
    if (read_keys(tree, true, &credentials->keys, error) < 0 || json_get_object(tree, "apiKeys", false, &api_keys, error) < 0)
        return -1;
    return api_keys ? read_api_keys(api_keys, credentials->api_keys, &credentials->api_key_count, error) : 0;
}

int credentials_parse(const char *text, size_t length, struct credentials *credentials, struct error *error) {
    *credentials = (struct credentials){0};
    cJSON *tree = json_parse(text, length, error);
    if (!tree)
        return -1;
    int result = read_credentials(tree, credentials, error);
    if (result < 0)
        credentials_clear(credentials);
    json_wipe(tree);
    return result;
}

void credentials_clear(struct credentials *credentials) {
    free(credentials->environment);
    environment_keys_clear(&credentials->keys);
    free_keys(credentials->api_keys, &credentials->api_key_count);
    *credentials = (struct credentials){0};
}

/* ---- new ones ---- */

static void need(bool done) {
    if (done)
        return;
    log_error("a key can not be made", "error", "the cryptographic library lacks its algorithm, or memory");
    exit(EX_OSERR);
}

/* The JWK of a new key, its kid the thumbprint. Takes the key. */
static struct jwk *name_key(EVP_PKEY *key, const char *use, const char *algorithm) {
    struct error error;
    char thumbprint[SHA256_TEXT_SIZE];
    struct jwk_attributes attributes = JWK_ATTRIBUTES_NONE;
    need(key != NULL);
    struct jwk *nameless = jwk_from_key(key, false, &attributes, &error);
    need(nameless != NULL);
    jwk_thumbprint(nameless, thumbprint);
    jwk_free(nameless);
    attributes.kid = thumbprint;
    attributes.use = use;
    attributes.algorithm = algorithm;
    struct jwk *named = jwk_from_key(key, true, &attributes, &error);
    need(named != NULL);
    EVP_PKEY_free(key);
    return named;
}

void credentials_generate(const char *environment, const char *api_keys, struct text *credentials, struct text *public_keys) {
    struct jwk *const keys[] = {
        name_key(EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"), "enc", ENCRYPTION_ALGORITHM),
        name_key(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), "sig", SIGNATURE_ALGORITHM),
    };
    enum { ESCAPED_CHARACTER_MAX = 6, KEY_COUNT = sizeof keys / sizeof keys[0] };
    size_t size = PUNCTUATION + strlen(environment) * ESCAPED_CHARACTER_MAX + strlen(api_keys);
    for (size_t i = 0; i < KEY_COUNT; i++)
        size += strlen(jwk_text(keys[i])) + 1;
    text_reserve_secret(credentials, size);

    text_json_open(credentials, NULL, '{');
    text_json_string(credentials, "environment", environment);
    text_json_open(credentials, "keys", '[');
    for (size_t i = 0; i < KEY_COUNT; i++)
        text_json_raw(credentials, NULL, jwk_text(keys[i]));
    text_json_close(credentials, ']');
    text_json_raw(credentials, "apiKeys", api_keys);
    text_json_close(credentials, '}');

    text_json_open(public_keys, NULL, '{');
    text_json_open(public_keys, "keys", '[');
    for (size_t i = 0; i < KEY_COUNT; i++)
        text_json_raw(public_keys, NULL, jwk_public_text(keys[i]));
    text_json_close(public_keys, ']');
    text_json_close(public_keys, '}');
    for (size_t i = 0; i < KEY_COUNT; i++)
        jwk_free(keys[i]);
}
