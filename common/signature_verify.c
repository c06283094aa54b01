/* Verifying: from a record, by its path, to the root of its batch, and from the root to a key that is trusted. All that is read
 * here may come from someone who wishes us ill. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "common/base64url.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/signature_internal.h"
#include "common/text.h"
#include "hash.h"

/* Batches of several producers stand between each other in a topic; a slot for each of so many costs a comparison of 32 bytes.
 */
enum { REMEMBERED_MAX = 32, PROTECTED_HEADER_MAX = 1024 };

struct trusted_key {
    char kid[SHA256_TEXT_SIZE]; /* the thumbprint */
    unsigned char key[crypto_sign_PUBLICKEYBYTES];
    int64_t until; /* the second at which trust is over */
    UT_hash_handle hh;
};

/* A JWS that was verified for a root. */
struct remembered {
    unsigned char root[MERKLE_HASH_SIZE];
    char jws[SIGNATURE_DETACHED_MAX];
    size_t length; /* of jws; 0: the slot is free */
    const struct trusted_key *key;
};

struct verifier {
    struct trusted_key *keys; /* a table by kid */
    struct remembered remembered[REMEMBERED_MAX];
    size_t next; /* the slot that is overwritten next */
    struct merkle_hasher *hasher;
};

/* A compact JWS taken apart. */
struct jws {
    const char *header, *payload; /* encoded */
    size_t header_length, payload_length;
    unsigned char signature[SIGNATURE_SIZE];
};

/* ---- trusted keys ---- */

struct verifier *verifier_new(void) {
    signature_prepare();
    struct verifier *verifier = memory_new(sizeof *verifier);
    verifier->hasher = merkle_hasher_new();
    return verifier;
}

void verifier_free(struct verifier *verifier) {
    if (!verifier)
        return;
    verifier_forget_all(verifier);
    merkle_hasher_free(verifier->hasher);
    free(verifier);
}

/* The public half alone: what verifies has no use for a private one. False when it is no Ed25519 key. */
static bool read_public_key(const struct jwk *jwk, unsigned char public_key[crypto_sign_PUBLICKEYBYTES]) {
    const char *curve = jwk_curve(jwk);
    if (!curve || strcmp(curve, "Ed25519") != 0)
        return false;
    size_t size = crypto_sign_PUBLICKEYBYTES;
    EVP_PKEY *whole = jwk_to_key(jwk);
    bool read = EVP_PKEY_get_raw_public_key(whole, public_key, &size) == 1 && size == crypto_sign_PUBLICKEYBYTES;
    EVP_PKEY_free(whole);
    return read;
}

int verifier_trust(struct verifier *verifier, const struct jwk *key, int64_t not_after, struct error *error) {
    char kid[SHA256_TEXT_SIZE];
    struct trusted_key *trusted;
    jwk_thumbprint(key, kid);
    HASH_FIND_STR(verifier->keys, kid, trusted);
    if (!trusted) {
        unsigned char public_key[crypto_sign_PUBLICKEYBYTES];
        if (!read_public_key(key, public_key))
            return error_set(error, ERROR_INVALID, "The key can not verify signatures: it must be an Ed25519 JWK");
        trusted = memory_new(sizeof *trusted);
        memcpy(trusted->kid, kid, sizeof kid);
        memcpy(trusted->key, public_key, sizeof public_key);
        HASH_ADD_STR(verifier->keys, kid, trusted);
    }
    trusted->until = jwk_expires(key) < not_after ? jwk_expires(key) : not_after;
    return 0;
}

void verifier_forget_all(struct verifier *verifier) {
    struct trusted_key *key, *next;
    HASH_ITER (hh, verifier->keys, key, next) {
        HASH_DEL(verifier->keys, key);
        free(key);
    }
    memset(verifier->remembered, 0, sizeof verifier->remembered);
    verifier->next = 0;
}

size_t verifier_count(const struct verifier *verifier) {
    return HASH_COUNT(verifier->keys);
}

/* ---- verdicts ---- */

const char *signature_verdict_name(enum signature_verdict verdict) {
    static const char *const names[] = {
        [SIGNATURE_VALID] = "valid",
        [SIGNATURE_MISSING] = "missing",
        [SIGNATURE_MALFORMED] = "malformed",
        [SIGNATURE_UNKNOWN_KEY] = "unknown-key",
        [SIGNATURE_EXPIRED_KEY] = "expired-key",
        [SIGNATURE_WRONG] = "wrong",
    };
    return names[verdict];
}

#define refuse(error, verdict, ...) (error_set((error), ERROR_DENIED, __VA_ARGS__), (verdict))

static enum signature_verdict judge_key(const struct trusted_key *key, int64_t now, struct error *error) {
    if (now >= key->until)
        return refuse(error, SIGNATURE_EXPIRED_KEY, "The signing key %s is no longer trusted", key->kid);
    return SIGNATURE_VALID;
}

/* ---- compact JWS ---- */

/* Splits H.P.S and decodes S. P may be empty. */
static bool split(const char *text, size_t length, struct jws *jws) {
    const char *end = text + length, *first = memchr(text, '.', length);
    const char *second = first ? memchr(first + 1, '.', (size_t)(end - first - 1)) : NULL;
    if (!second || (size_t)(end - second - 1) != BASE64URL_LENGTH(SIGNATURE_SIZE) ||
        base64url_decode(second + 1, (size_t)(end - second - 1), jws->signature) != SIGNATURE_SIZE)
        return false;
    jws->header = text;
    jws->header_length = (size_t)(first - text);
    jws->payload = first + 1;
    jws->payload_length = (size_t)(second - first - 1);
    return true;
}

/* RFC 7515 section 4.1. Extensions that are critical are unknown here, whichever they are; an unencoded payload (RFC 7797) is
 * one of them, refused even where it is not marked so. */
static enum signature_verdict judge_members(const cJSON *header, const char **kid, struct error *error) {
    static const char *const refused[] = {"crit", "b64"};
    const char *algorithm;
    struct error why;
    if (!cJSON_IsObject(header))
        return refuse(error, SIGNATURE_MALFORMED, "The signature's header is no JSON object");
    if (json_get_string(header, "alg", true, &algorithm, &why) < 0 || json_get_string(header, "kid", true, kid, &why) < 0)
        return refuse(error, SIGNATURE_MALFORMED, "The signature's header: %s", why.message);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (cJSON_GetObjectItemCaseSensitive(header, refused[i]))
            return refuse(error, SIGNATURE_MALFORMED, "The signature's header has the member \"%s\", which is not supported",
                          refused[i]);
    }
    if (strcmp(algorithm, "EdDSA") != 0) {
        char shown[JSON_SHOWN_SIZE];
        return refuse(error, SIGNATURE_MALFORMED, "The signature is of the algorithm \"%s\": it must be EdDSA",
                      json_shown(algorithm, shown));
    }
    return SIGNATURE_VALID;
}

/* Finds the key that the header names. */
static enum signature_verdict find_key(const struct verifier *verifier, const struct jws *jws, struct trusted_key **key,
                                       struct error *error) {
    unsigned char text[PROTECTED_HEADER_MAX];
    struct error why;
    long length =
        jws->header_length > BASE64URL_LENGTH(sizeof text) ? -1 : base64url_decode(jws->header, jws->header_length, text);
    if (length < 0)
        return refuse(error, SIGNATURE_MALFORMED, "The signature's header is too long or no base64url");
    cJSON *header = json_parse((const char *)text, (size_t)length, &why);
    if (!header)
        return refuse(error, SIGNATURE_MALFORMED, "The signature's header: %s", why.message);
    const char *kid = NULL;
    enum signature_verdict verdict = judge_members(header, &kid, error);
    if (verdict == SIGNATURE_VALID) {
        HASH_FIND_STR(verifier->keys, kid, *key);
        if (!*key) {
            char shown[JSON_SHOWN_SIZE];
            verdict = refuse(error, SIGNATURE_UNKNOWN_KEY, "The signing key %s is not trusted", json_shown(kid, shown));
        }
    }
    cJSON_Delete(header);
    return verdict;
}

static bool signature_fits(const struct trusted_key *key, const char *input, size_t length, const unsigned char *signature) {
    return crypto_sign_verify_detached(signature, (const unsigned char *)input, length, key->key) == 0;
}

enum signature_verdict verifier_check_text(struct verifier *verifier, const char *text, size_t length, int64_t now,
                                           struct text *payload, struct error *error) {
    struct jws jws;
    struct trusted_key *key;
    if (length > SIGNATURE_TEXT_MAX || !split(text, length, &jws))
        return refuse(error, SIGNATURE_MALFORMED, "It must be a compact JWS of Ed25519 with at most %d characters",
                      SIGNATURE_TEXT_MAX);
    enum signature_verdict verdict = find_key(verifier, &jws, &key, error);
    if (verdict == SIGNATURE_VALID)
        verdict = judge_key(key, now, error);
    if (verdict != SIGNATURE_VALID)
        return verdict;
    size_t input_length = jws.header_length + 1 + jws.payload_length;
    if (!signature_fits(key, text, input_length, jws.signature))
        return refuse(error, SIGNATURE_WRONG, "The signature by the key %s is wrong", key->kid);
    char *decoded = memory_new(jws.payload_length * 3 / 4 + 1);
    long size = base64url_decode(jws.payload, jws.payload_length, (unsigned char *)decoded);
    if (size < 0)
        verdict = refuse(error, SIGNATURE_MALFORMED, "The payload of the signature is no base64url");
    else
        text_add(payload, decoded, (size_t)size);
    OPENSSL_cleanse(decoded, jws.payload_length * 3 / 4);
    free(decoded);
    return verdict;
}

/* ---- records ---- */

/* A number of at most four digits without leading zeros, up to the delimiter or the end; -1 when there is none. */
static long read_number(const char **at, const char *end) {
    const char *first = *at;
    long number = 0;
    while (*at < end && **at >= '0' && **at <= '9' && *at - first < 4)
        number = number * 10 + (*(*at)++ - '0');
    return *at == first || (*first == '0' && *at - first > 1) ? -1 : number;
}

static bool skip(const char **at, const char *end, char character) {
    return *at < end && *(*at)++ == character;
}

/* Reads INDEX/COUNT[:SIBLINGS] strictly: each path has one spelling. */
static bool read_path(struct octets text, size_t *index, size_t *count, unsigned char (*path)[MERKLE_HASH_SIZE]) {
    const char *at = text.bytes, *end = at + text.length;
    long read_index = read_number(&at, end);
    if (read_index < 0 || !skip(&at, end, '/'))
        return false;
    long read_count = read_number(&at, end);
    if (read_count <= read_index || read_count > SIGNATURE_BATCH_MAX)
        return false;
    *index = (size_t)read_index;
    *count = (size_t)read_count;
    size_t length = merkle_path_length(*index, *count) * MERKLE_HASH_SIZE;
    if (length == 0)
        return at == end;
    return skip(&at, end, ':') && (size_t)(end - at) == BASE64URL_LENGTH(length) &&
           base64url_decode(at, (size_t)(end - at), path[0]) == (long)length;
}

static const struct trusted_key *find_remembered(const struct verifier *verifier, const unsigned char *root,
                                                 struct octets signature) {
    for (size_t i = 0; i < REMEMBERED_MAX; i++) {
        const struct remembered *each = &verifier->remembered[i];
        if (each->length == signature.length && memcmp(each->root, root, MERKLE_HASH_SIZE) == 0 &&
            memcmp(each->jws, signature.bytes, signature.length) == 0)
            return each->key;
    }
    return NULL;
}

static void remember(struct verifier *verifier, const unsigned char *root, struct octets signature,
                     const struct trusted_key *key) {
    struct remembered *slot = &verifier->remembered[verifier->next];
    verifier->next = (verifier->next + 1) % REMEMBERED_MAX;
    memcpy(slot->root, root, MERKLE_HASH_SIZE);
    memcpy(slot->jws, signature.bytes, signature.length);
    slot->length = signature.length;
    slot->key = key;
}

/* Verifies the detached JWS of a root. */
static enum signature_verdict check_root(const struct verifier *verifier, const unsigned char *root, const struct jws *jws,
                                         int64_t now, struct trusted_key **key, struct error *error) {
    enum signature_verdict verdict = find_key(verifier, jws, key, error);
    if (verdict == SIGNATURE_VALID)
        verdict = judge_key(*key, now, error);
    if (verdict != SIGNATURE_VALID)
        return verdict;
    char input[SIGNATURE_DETACHED_MAX + BASE64URL_LENGTH(MERKLE_HASH_SIZE) + 1];
    memcpy(input, jws->header, jws->header_length + 1); /* with the dot */
    base64url_encode(root, MERKLE_HASH_SIZE, input + jws->header_length + 1);
    if (!signature_fits(*key, input, jws->header_length + 1 + BASE64URL_LENGTH(MERKLE_HASH_SIZE), jws->signature))
        return refuse(error, SIGNATURE_WRONG, "The signature by the key %s does not fit the record", (*key)->kid);
    return SIGNATURE_VALID;
}

enum signature_verdict signature_check_leaf(struct verifier *verifier, const unsigned char leaf[MERKLE_HASH_SIZE],
                                            struct octets signature, struct octets path, int64_t now,
                                            char kid[SHA256_TEXT_SIZE], struct error *error) {
    unsigned char siblings[MERKLE_PATH_MAX][MERKLE_HASH_SIZE], root[MERKLE_HASH_SIZE];
    size_t index, count;
    struct jws jws;
    if (!signature.bytes)
        return refuse(error, SIGNATURE_MISSING, "The record is not signed: it has no header " SIGNATURE_HEADER);
    if (!path.bytes || !read_path(path, &index, &count, siblings))
        return refuse(error, SIGNATURE_MALFORMED,
                      "The header " SIGNATURE_PATH_HEADER " is missing or no path to a batch's root");
    merkle_root(verifier->hasher, leaf, index, count, (const unsigned char(*)[MERKLE_HASH_SIZE])siblings, root);

    const struct trusted_key *key = find_remembered(verifier, root, signature);
    enum signature_verdict verdict;
    if (key) {
        verdict = judge_key(key, now, error);
    } else {
        struct trusted_key *found = NULL;
        if (signature.length > SIGNATURE_DETACHED_MAX || !split(signature.bytes, signature.length, &jws) ||
            jws.payload_length != 0)
            return refuse(error, SIGNATURE_MALFORMED,
                          "The header " SIGNATURE_HEADER " is no compact JWS of Ed25519 with a detached payload");
        verdict = check_root(verifier, root, &jws, now, &found, error);
        if (verdict == SIGNATURE_VALID)
            remember(verifier, root, signature, found);
        key = found;
    }
    if (verdict == SIGNATURE_VALID && kid)
        memcpy(kid, key->kid, SHA256_TEXT_SIZE);
    return verdict;
}

/* The last header of that name, as other readers of ours take it. */
static struct octets header_of(const rd_kafka_headers_t *headers, const char *name) {
    const void *value;
    size_t length;
    if (!headers || rd_kafka_header_get_last(headers, name, &value, &length) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return (struct octets){NULL, 0};
    return (struct octets){value, length};
}

enum signature_verdict verifier_check(struct verifier *verifier, const rd_kafka_message_t *record,
                                      const struct cloudevent *attributes, int64_t now, char kid[SHA256_TEXT_SIZE],
                                      struct error *error) {
    unsigned char leaf[MERKLE_HASH_SIZE];
    rd_kafka_headers_t *headers = NULL; /* owned by the record */
    if (rd_kafka_message_headers(record, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        headers = NULL;
    signature_hash_record(verifier->hasher, (struct octets){record->key, record->key_len}, attributes,
                          (struct octets){record->payload, record->len}, leaf);
    return signature_check_leaf(verifier, leaf, header_of(headers, SIGNATURE_HEADER), header_of(headers, SIGNATURE_PATH_HEADER),
                                now, kid, error);
}
