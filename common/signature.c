/* Signing: the leaves of records, batches as Merkle trees, and compact JWS (RFC 7515 section 3.1, RFC 8037 section 3.1). */
#include "common/signature.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "common/base64url.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/signature_internal.h"

_Static_assert((int)SIGNATURE_BATCH_MAX == (int)MERKLE_LEAVES_MAX, "a batch is one tree");

enum {
    HEADER_SIZE = 128, /* above {"alg":"EdDSA","kid":"<43 characters>"} */
    ABSENT = -1,       /* as the length of a member: all bits set */
};

struct signer {
    unsigned char *secret; /* crypto_sign_SECRETKEYBYTES; not dumped, and not swapped where it may be locked */
    struct merkle_hasher *hasher;
    char kid[SHA256_TEXT_SIZE];
    char *public_key;
    char header[BASE64URL_LENGTH(HEADER_SIZE) + 1]; /* the protected header, encoded, with the dot behind it */
    size_t header_length;
};

struct signed_batch {
    size_t count;
    char *jws;
    unsigned char (*nodes)[MERKLE_HASH_SIZE];
};

/* Without a signature nothing may be published, and none of the reasons goes away by itself. */
static void need(bool done) {
    if (done)
        return;
    log_error("Ed25519 failed", "error", "the cryptographic library does not work or has no memory");
    exit(EX_OSERR);
}

void signature_prepare(void) {
    need(sodium_init() >= 0);
}

/* ---- the signer ---- */

static struct jwk *public_jwk(EVP_PKEY *key, const char *kid) {
    struct error error;
    struct jwk_attributes attributes = JWK_ATTRIBUTES_NONE;
    attributes.kid = kid;
    attributes.use = "sig";
    attributes.algorithm = "EdDSA";
    struct jwk *jwk = jwk_from_key(key, false, &attributes, &error);
    need(jwk != NULL);
    return jwk;
}

/* The secret key in the form that signs. */
static unsigned char *secret_of(EVP_PKEY *key) {
    unsigned char seed[crypto_sign_SEEDBYTES], public_key[crypto_sign_PUBLICKEYBYTES];
    size_t size = sizeof seed;
    signature_prepare();
    unsigned char *secret = sodium_malloc(crypto_sign_SECRETKEYBYTES);
    need(secret && EVP_PKEY_get_raw_private_key(key, seed, &size) == 1 && size == sizeof seed &&
         crypto_sign_seed_keypair(public_key, secret, seed) == 0);
    sodium_memzero(seed, sizeof seed);
    return secret;
}

/* Takes the key. */
static struct signer *signer_of_key(EVP_PKEY *key) {
    struct signer *signer = memory_new(sizeof *signer);
    signer->secret = secret_of(key);
    signer->hasher = merkle_hasher_new();

    struct jwk *nameless = public_jwk(key, NULL);
    jwk_thumbprint(nameless, signer->kid);
    struct jwk *named = public_jwk(key, signer->kid);
    signer->public_key = memory_string(jwk_public_text(named));
    jwk_free(named);
    jwk_free(nameless);
    EVP_PKEY_free(key); /* wipes it */

    char header[HEADER_SIZE];
    int length = snprintf(header, sizeof header, "{\"alg\":\"EdDSA\",\"kid\":\"%s\"}", signer->kid);
    base64url_encode((const unsigned char *)header, (size_t)length, signer->header);
    signer->header_length = BASE64URL_LENGTH((size_t)length);
    signer->header[signer->header_length++] = '.';
    return signer;
}

struct signer *signer_new(const struct jwk *key, struct error *error) {
    const char *curve = jwk_curve(key);
    if (!curve || strcmp(curve, "Ed25519") != 0 || !jwk_has_private(key)) {
        error_set(error, ERROR_INVALID, "The key can not sign: it must be a private Ed25519 JWK");
        return NULL;
    }
    return signer_of_key(jwk_to_key(key));
}

struct signer *signer_generate(void) {
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    need(key != NULL);
    return signer_of_key(key);
}

void signer_free(struct signer *signer) {
    if (!signer)
        return;
    merkle_hasher_free(signer->hasher);
    sodium_free(signer->secret); /* wipes it */
    free(signer->public_key);
    free(signer);
}

const char *signer_kid(const struct signer *signer) {
    return signer->kid;
}

const char *signer_public_key(const struct signer *signer) {
    return signer->public_key;
}

/* ---- records ---- */

static void hash_member(struct merkle_hasher *hasher, struct octets member) {
    uint32_t length = member.bytes ? (uint32_t)member.length : (uint32_t)ABSENT;
    const unsigned char prefix[] = {(unsigned char)(length >> 24), (unsigned char)(length >> 16), (unsigned char)(length >> 8),
                                    (unsigned char)length};
    merkle_leaf_add(hasher, prefix, sizeof prefix);
    if (member.bytes)
        merkle_leaf_add(hasher, member.bytes, member.length);
}

static struct octets octets_of(const char *text) {
    return (struct octets){text, text ? strlen(text) : 0};
}

void signature_hash_record(struct merkle_hasher *hasher, struct octets key, const struct cloudevent *attributes,
                           struct octets value, unsigned char leaf[MERKLE_HASH_SIZE]) {
    const char *const texts[] = {attributes->id,   attributes->source,     attributes->type,       attributes->subject,
                                 attributes->time, attributes->dataschema, attributes->traceparent};
    merkle_leaf_begin(hasher);
    hash_member(hasher, key);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        hash_member(hasher, octets_of(texts[i]));
    hash_member(hasher, value);
    merkle_leaf_finish(hasher, leaf);
}

void signature_leaf(const char *key, const struct cloudevent *attributes, const void *value, size_t value_length,
                    unsigned char leaf[MERKLE_HASH_SIZE]) {
    struct merkle_hasher *hasher = merkle_hasher_new();
    signature_hash_record(hasher, octets_of(key), attributes, (struct octets){value, value_length}, leaf);
    merkle_hasher_free(hasher);
}

/* ---- signatures ---- */

/* Writes the signature of the signing input, BASE64URL_LENGTH(SIGNATURE_SIZE) characters and a NUL. */
static void write_signature(struct signer *signer, const char *input, size_t length, char *out) {
    unsigned char signature[SIGNATURE_SIZE];
    need(crypto_sign_detached(signature, NULL, (const unsigned char *)input, length, signer->secret) == 0);
    base64url_encode(signature, sizeof signature, out);
}

/* The compact JWS of the payload, freed with free(). */
static char *sign(struct signer *signer, const void *payload, size_t length) {
    size_t input_length = signer->header_length + BASE64URL_LENGTH(length);
    char *jws = memory_resize(NULL, input_length + 1 + BASE64URL_LENGTH(SIGNATURE_SIZE) + 1);
    memcpy(jws, signer->header, signer->header_length);
    base64url_encode(payload, length, jws + signer->header_length);
    char signature[BASE64URL_LENGTH(SIGNATURE_SIZE) + 1];
    write_signature(signer, jws, input_length, signature);
    jws[input_length] = '.';
    memcpy(jws + input_length + 1, signature, sizeof signature);
    return jws;
}

char *signature_sign_text(struct signer *signer, const char *payload, size_t length) {
    return sign(signer, payload, length);
}

struct signed_batch *signature_sign(struct signer *signer, const unsigned char (*leaves)[MERKLE_HASH_SIZE], size_t count) {
    struct signed_batch *batch = memory_new(sizeof *batch);
    size_t nodes = merkle_node_count(count);
    batch->count = count;
    batch->nodes = memory_resize(NULL, nodes * sizeof *batch->nodes);
    memcpy(batch->nodes, leaves, count * sizeof *leaves);
    merkle_build(signer->hasher, batch->nodes, count);
    batch->jws = sign(signer, batch->nodes[nodes - 1], MERKLE_HASH_SIZE);
    /* RFC 7515 appendix F: the payload is taken out. Who verifies it puts the root there that the record leads to. */
    char *payload = batch->jws + signer->header_length, *rest = payload + BASE64URL_LENGTH(MERKLE_HASH_SIZE);
    memmove(payload, rest, strlen(rest) + 1);
    return batch;
}

static void add_header(rd_kafka_headers_t *headers, const char *name, const char *value) {
    if (rd_kafka_header_add(headers, name, -1, value, -1) != RD_KAFKA_RESP_ERR_NO_ERROR)
        abort(); /* fails only for a read-only list */
}

void signature_add_headers(const struct signed_batch *batch, size_t index, rd_kafka_headers_t *headers) {
    unsigned char path[MERKLE_PATH_MAX][MERKLE_HASH_SIZE];
    char text[SIGNATURE_PATH_TEXT_MAX];
    size_t length = merkle_path((const unsigned char(*)[MERKLE_HASH_SIZE])batch->nodes, index, batch->count, path);
    int used = snprintf(text, sizeof text, length > 0 ? "%zu/%zu:" : "%zu/%zu", index, batch->count);
    if (length > 0)
        base64url_encode(path[0], length * sizeof path[0], text + used);
    add_header(headers, SIGNATURE_HEADER, batch->jws);
    add_header(headers, SIGNATURE_PATH_HEADER, text);
}

void signed_batch_free(struct signed_batch *batch) {
    if (!batch)
        return;
    free(batch->jws);
    free(batch->nodes);
    free(batch);
}
