/* Signatures of batches and texts: values computed with other libraries, and all that must not be believed. */
#include "jwk_support.h"
#include "kafka_fixture.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "common/base64url.h"
#include "common/memory.h"
#include "common/signature_internal.h"
#include "common/text.h"

#define TRACEPARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define ED_THUMBPRINT "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" /* RFC 8037 appendix A.3 */
#define PROTECTED "eyJhbGciOiJFZERTQSIsImtpZCI6ImtQcktfcW14VldhWVZBOXd3QkY2SXVvM3ZWeno3VHhIQ1R3WEJ5Z3JTNGsifQ"
/* Ed25519 signs the same to the same, so that these were computed elsewhere and must come out here. */
#define BATCH_JWS PROTECTED "..M6CH5zQFzAtRmnpHvRCRxPP6LDYl160_ihQFSaDdydrSeRoCyvwmNOILhgWdBzs8FYYVQuB4xfIBPvZEycweBQ"
#define TEXT_JWS \
    PROTECTED ".RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.dKTDn_TzrfhZ9afD5ZwIVViTW1NQrr4IJQBUBjV6EHyJ-103dDzB7YUNToJx-oIdFlOKBq3qkTiCC" \
              "OB96KV_CA"
#define NOW 1800000000

typedef unsigned char hash_t[MERKLE_HASH_SIZE];

static struct signer *signer;
static struct verifier *verifier;

static int set_up(void **state) {
    (void)state;
    struct error error = {0};
    struct jwk *key = read_key(ED_PRIVATE);
    signer = signer_new(key, &error);
    assert_non_null(signer);
    verifier = verifier_new();
    assert_int_equal(verifier_trust(verifier, key, INT64_MAX, &error), 0);
    jwk_free(key);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    signer_free(signer);
    verifier_free(verifier);
    return 0;
}

static struct cloudevent sample(void) {
    return (struct cloudevent){.id = "an id", .source = "urn:jwk-api:x", .type = "jwk.updated.v1", .subject = "projects/p/jwks/schlüssel",
                               .time = "2026-01-31T12:00:00.000Z", .dataschema = "urn:schema", .traceparent = TRACEPARENT};
}

static struct octets octets(const char *text) {
    return (struct octets){text, text ? strlen(text) : 0};
}

/* The value of a header in a list. */
static const char *header_of(const rd_kafka_headers_t *headers, const char *name) {
    const void *value;
    size_t length;
    assert_int_equal(rd_kafka_header_get_last(headers, name, &value, &length), 0);
    return value;
}

/* A signature as a record carries it. */
struct headers {
    char *signature, *path;
};

static struct headers headers_of(const struct signed_batch *batch, size_t index) {
    rd_kafka_headers_t *list = rd_kafka_headers_new(2);
    signature_add_headers(batch, index, list);
    struct headers headers = {memory_string(header_of(list, SIGNATURE_HEADER)), memory_string(header_of(list, SIGNATURE_PATH_HEADER))};
    rd_kafka_headers_destroy(list);
    return headers;
}

static void headers_free(struct headers *headers) {
    free(headers->signature);
    free(headers->path);
}

static void assert_verdict(const hash_t leaf, const char *signature, const char *path, enum signature_verdict wanted, const char *why) {
    struct error error = {0};
    char kid[SHA256_TEXT_SIZE] = "";
    enum signature_verdict verdict = signature_check_leaf(verifier, leaf, octets(signature), octets(path), NOW, kid, &error);
    if (verdict != wanted)
        fail_msg("%.120s %.60s is %s, not %s: %s", signature, path, signature_verdict_name(verdict), signature_verdict_name(wanted),
                 error.message);
    if (why && !strstr(error.message, why))
        fail_msg("expected \"%s\", got: %s", why, error.message);
    assert_string_equal(kid, wanted == SIGNATURE_VALID ? ED_THUMBPRINT : "");
    assert_int_equal(error.code, wanted == SIGNATURE_VALID ? ERROR_NONE : ERROR_DENIED);
    assert_int_equal(ERR_peek_error(), 0);
    /* The verdict needs no sentence and no kid. */
    assert_int_equal(signature_check_leaf(verifier, leaf, octets(signature), octets(path), NOW, NULL, NULL), wanted);
}

/* ---- what is signed ---- */

static void a_signer_is_known_by_its_thumbprint(void **state) {
    (void)state;
    assert_string_equal(signer_kid(signer), ED_THUMBPRINT);
    assert_string_equal(signer_public_key(signer), "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" ED_X
                                                   "\",\"use\":\"sig\",\"alg\":\"EdDSA\",\"kid\":\"" ED_THUMBPRINT "\"}");
}

static void only_a_private_ed25519_key_signs(void **state) {
    (void)state;
    static const char *const others[] = {ED_PUBLIC, EC_PRIVATE, OCT_HMAC, RSA_PRIVATE};
    for (size_t i = 0; i < COUNT(others); i++) {
        struct error error = {0};
        struct jwk *key = read_key(others[i]);
        assert_null(signer_new(key, &error));
        assert_string_equal(error.message, "The key can not sign: it must be a private Ed25519 JWK");
        jwk_free(key);
    }
}

static void generated_keys_differ_and_sign(void **state) {
    (void)state;
    struct error error = {0};
    struct signer *one = signer_generate(), *other = signer_generate();
    assert_string_not_equal(signer_kid(one), signer_kid(other));
    struct verifier *trusting = verifier_new();
    struct jwk *key = read_key(signer_public_key(one));
    assert_false(jwk_has_private(key));
    assert_int_equal(verifier_trust(trusting, key, INT64_MAX, &error), 0);
    jwk_free(key);
    char *jws = signature_sign_text(one, "{}", 2), *foreign = signature_sign_text(other, "{}", 2);
    struct text payload = TEXT_EMPTY;
    assert_int_equal(verifier_check_text(trusting, jws, strlen(jws), NOW, &payload, &error), SIGNATURE_VALID);
    assert_string_equal(payload.bytes, "{}");
    assert_int_equal(verifier_check_text(trusting, foreign, strlen(foreign), NOW, &payload, &error), SIGNATURE_UNKNOWN_KEY);
    text_free(&payload);
    free(jws);
    free(foreign);
    verifier_free(trusting);
    signer_free(one);
    signer_free(other);
}

static void assert_leaf(const hash_t leaf, const char *expected) {
    char hex[2 * MERKLE_HASH_SIZE + 1];
    for (size_t i = 0; i < MERKLE_HASH_SIZE; i++)
        snprintf(hex + 2 * i, 3, "%02x", leaf[i]);
    assert_string_equal(hex, expected);
}

static void a_batch_is_signed_as_written_down(void **state) {
    (void)state;
    hash_t leaves[2];
    struct cloudevent attributes = sample();
    signature_leaf("a key", &attributes, "{\"a\":1}", 7, leaves[0]);
    attributes.subject = attributes.traceparent = NULL;
    signature_leaf("a key", &attributes, NULL, 0, leaves[1]);
    assert_leaf(leaves[0], "8ddba252e3037f45c6440f4b714515d50fb360c7b06c865a2fa0b47228d79510");
    assert_leaf(leaves[1], "daae1c8919b1377696103474dcc55029b0f5ff8f941fd95fa22e74897353a909");
    struct signed_batch *batch = signature_sign(signer, (const hash_t *)leaves, 2);
    struct headers first = headers_of(batch, 0), second = headers_of(batch, 1);
    assert_string_equal(first.signature, BATCH_JWS);
    assert_string_equal(second.signature, BATCH_JWS);
    assert_string_equal(first.path, "0/2:2q4ciRmxN3aWEDR03MVQKbD1_4-UH9lfoi50iXNTqQk");
    assert_string_equal(second.path, "1/2:jduiUuMDf0XGRA9LcUUV1Q-zYMewbIZaL6C0cijXlRA");
    assert_verdict(leaves[0], first.signature, first.path, SIGNATURE_VALID, NULL);
    assert_verdict(leaves[1], second.signature, second.path, SIGNATURE_VALID, NULL);
    headers_free(&first);
    headers_free(&second);
    signed_batch_free(batch);
}

/* What moves a byte from one member to the next, or takes an empty one for none, must not hash the same. */
static void every_member_counts_and_none_runs_into_the_next(void **state) {
    (void)state;
    const struct cloudevent base = sample();
    hash_t leaves[16];
    size_t count = 0;
    struct cloudevent changed;
    signature_leaf("a key", &base, "{}", 2, leaves[count++]);
    signature_leaf("a kez", &base, "{}", 2, leaves[count++]);
    signature_leaf("a key", &base, "{]", 2, leaves[count++]);
    signature_leaf("a key", &base, NULL, 0, leaves[count++]);
    signature_leaf("a key", &base, "", 0, leaves[count++]);
    signature_leaf(NULL, &base, "{}", 2, leaves[count++]);
    const char **const members[] = {&changed.id, &changed.source, &changed.type, &changed.subject, &changed.time, &changed.dataschema,
                                    &changed.traceparent};
    for (size_t i = 0; i < COUNT(members); i++) {
        changed = base;
        *members[i] = "x";
        signature_leaf("a key", &changed, "{}", 2, leaves[count++]);
    }
    changed = base;
    changed.id = "an ";
    changed.source = "idurn:jwk-api:x";
    signature_leaf("a key", &changed, "{}", 2, leaves[count++]);
    changed = base;
    changed.subject = NULL;
    signature_leaf("a key", &changed, "{}", 2, leaves[count++]);
    changed.subject = "";
    signature_leaf("a key", &changed, "{}", 2, leaves[count++]);
    assert_int_equal(count, COUNT(leaves));
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(leaves[i], leaves[j], sizeof leaves[i]);
    }
}

static void batches_of_every_size_verify(void **state) {
    (void)state;
    static const size_t counts[] = {1, 2, 3, 5, 16, 17, 100, SIGNATURE_BATCH_MAX - 1, SIGNATURE_BATCH_MAX};
    hash_t *leaves = memory_new(SIGNATURE_BATCH_MAX * sizeof *leaves);
    for (size_t i = 0; i < SIGNATURE_BATCH_MAX; i++)
        sha256_bytes(&i, sizeof i, leaves[i]);
    for (size_t i = 0; i < COUNT(counts); i++) {
        struct signed_batch *batch = signature_sign(signer, (const hash_t *)leaves, counts[i]);
        const size_t indexes[] = {0, counts[i] / 3, counts[i] / 2, counts[i] - 1};
        for (size_t j = 0; j < COUNT(indexes); j++) {
            size_t index = indexes[j];
            struct headers headers = headers_of(batch, index);
            assert_verdict(leaves[index], headers.signature, headers.path, SIGNATURE_VALID, NULL);
            assert_verdict(leaves[(index + 1) % SIGNATURE_BATCH_MAX], headers.signature, headers.path, SIGNATURE_WRONG,
                           "does not fit the record");
            headers_free(&headers);
        }
        signed_batch_free(batch);
    }
    free(leaves);
}

/* ---- what is not believed ---- */

static void records_without_or_with_half_a_signature_are_refused(void **state) {
    (void)state;
    const hash_t leaf = {1};
    assert_verdict(leaf, NULL, NULL, SIGNATURE_MISSING, "The record is not signed");
    assert_verdict(leaf, NULL, "0/1", SIGNATURE_MISSING, "The record is not signed");
    assert_verdict(leaf, BATCH_JWS, NULL, SIGNATURE_MALFORMED, "ce_signaturepath is missing");
}

#define SIBLING "2q4ciRmxN3aWEDR03MVQKbD1_4-UH9lfoi50iXNTqQk"
/* The encoding of 13 hashes, one more than the longest path has. */
#define SIBLINGS_3 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define SIBLINGS_13 SIBLINGS_3 SIBLINGS_3 SIBLINGS_3 SIBLINGS_3 SIBLING
static void paths_have_one_spelling(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "", "/", "0", "0/", "/2:" SIBLING, "0/2", "0/2:", "0/0", "1/1", "2/2:" SIBLING, "3/2:" SIBLING, "0/1:", "0/1:" SIBLING,
        "0/2:" SIBLING SIBLING, "0/2:" SIBLING "A", "0/2:" SIBLING "=", "0/2:" SIBLING " ", " 0/2:" SIBLING, "00/2:" SIBLING,
        "0/02:" SIBLING, "+0/2:" SIBLING, "-0/2:" SIBLING, "0/2 :" SIBLING, "0/2;" SIBLING, "0x0/2:" SIBLING, "0/4097:" SIBLING,
        "0/99999:" SIBLING, "0/4294967298:" SIBLING, "99999999999999999999/2:" SIBLING, "0/18446744073709551618:" SIBLING,
        "0/4:" SIBLING, "2/3:" SIBLING SIBLING, "4096/4097:" SIBLING, "0/4097:" SIBLINGS_13, "0/4096:" SIBLINGS_13, "0/2:" SIBLINGS_13,
        /* Bits beyond the hash are set, or one character is none of the alphabet. */
        "0/2:2q4ciRmxN3aWEDR03MVQKbD1_4-UH9lfoi50iXNTqQl", "0/2:2q4ciRmxN3aWEDR03MVQKbD1/4-UH9lfoi50iXNTqQk",
    };
    hash_t leaf;
    const struct cloudevent attributes = sample();
    signature_leaf("a key", &attributes, "{\"a\":1}", 7, leaf);
    assert_verdict(leaf, BATCH_JWS, "0/2:" SIBLING, SIGNATURE_VALID, NULL);
    for (size_t i = 0; i < COUNT(wrong); i++)
        assert_verdict(leaf, BATCH_JWS, wrong[i], SIGNATURE_MALFORMED, "ce_signaturepath is missing or no path");
    /* A path to another root than the one that was signed. */
    assert_verdict(leaf, BATCH_JWS, "1/2:" SIBLING, SIGNATURE_WRONG, NULL);
    assert_verdict(leaf, BATCH_JWS, "0/1", SIGNATURE_WRONG, NULL);
    assert_verdict(leaf, BATCH_JWS, "2/3:" SIBLING, SIGNATURE_WRONG, NULL);
    /* Each part of the path that is cut off. */
    static const char whole[] = "0/2:" SIBLING;
    for (size_t length = 0; length < sizeof whole - 1; length++) {
        struct error error;
        assert_int_equal(signature_check_leaf(verifier, leaf, octets(BATCH_JWS), (struct octets){whole, length}, NOW, NULL, &error),
                         SIGNATURE_MALFORMED);
    }
}

/* A node of the tree is no leaf: nobody may pass off two records as one. */
static void an_inner_node_is_no_record(void **state) {
    (void)state;
    hash_t leaves[4] = {{1}, {2}, {3}, {4}};
    struct signed_batch *batch = signature_sign(signer, (const hash_t *)leaves, 4);
    struct headers headers = headers_of(batch, 0);
    char shorter[SIGNATURE_PATH_TEXT_MAX];
    unsigned char path[2 * MERKLE_HASH_SIZE];
    assert_int_equal(base64url_decode(headers.path + 4, strlen(headers.path + 4), path), sizeof path);
    memcpy(shorter, "0/2:", 4);
    base64url_encode(path + MERKLE_HASH_SIZE, MERKLE_HASH_SIZE, shorter + 4);
    /* The content whose hash would be the node: 0x01 and both leaves, but a leaf begins with 0x00. */
    struct merkle_hasher *hasher = merkle_hasher_new();
    hash_t leaf;
    merkle_leaf_begin(hasher);
    merkle_leaf_add(hasher, leaves, 2 * MERKLE_HASH_SIZE);
    merkle_leaf_finish(hasher, leaf);
    merkle_hasher_free(hasher);
    assert_verdict(leaf, headers.signature, shorter, SIGNATURE_WRONG, NULL);
    headers_free(&headers);
    signed_batch_free(batch);
}

/* A JWS of that protected header over a root, signed with the RFC's key: well signed, whatever the header says. */
static char *jws_of(const char *header, const hash_t root, bool detached) {
    struct jwk *jwk = read_key(ED_PRIVATE);
    EVP_PKEY *key = jwk_to_key(jwk);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    char *encoded = memory_new(BASE64URL_LENGTH(strlen(header)) + 1), payload[BASE64URL_LENGTH(sizeof(hash_t)) + 1];
    char text[BASE64URL_LENGTH(SIGNATURE_SIZE) + 1];
    unsigned char signature[SIGNATURE_SIZE];
    size_t size = sizeof signature;
    base64url_encode((const unsigned char *)header, strlen(header), encoded);
    base64url_encode(root, sizeof(hash_t), payload);
    char *input = memory_format("%s.%s", encoded, payload);
    assert_int_equal(EVP_DigestSignInit(context, NULL, NULL, NULL, key), 1);
    assert_int_equal(EVP_DigestSign(context, signature, &size, (unsigned char *)input, strlen(input)), 1);
    base64url_encode(signature, sizeof signature, text);
    char *jws = memory_format("%s.%s.%s", encoded, detached ? "" : payload, text);
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    jwk_free(jwk);
    free(encoded);
    free(input);
    return jws;
}

#define LONG "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
static void protected_headers_are_judged(void **state) {
    (void)state;
    static const struct {
        const char *header;
        enum signature_verdict verdict;
        const char *why;
    } cases[] = {
        {"{\"alg\":\"EdDSA\",\"kid\":\"" ED_THUMBPRINT "\"}", SIGNATURE_VALID, NULL},
        {" {\"kid\":\"" ED_THUMBPRINT "\",\"typ\":\"JOSE\", \"alg\":\"EdDSA\"}", SIGNATURE_VALID, NULL},
        {"{\"alg\":\"none\",\"kid\":\"" ED_THUMBPRINT "\"}", SIGNATURE_MALFORMED, "\"none\": it must be EdDSA"},
        {"{\"alg\":\"HS256\",\"kid\":\"" ED_THUMBPRINT "\"}", SIGNATURE_MALFORMED, "\"HS256\": it must be EdDSA"},
        {"{\"alg\":\"eddsa\",\"kid\":\"" ED_THUMBPRINT "\"}", SIGNATURE_MALFORMED, "it must be EdDSA"},
        {"{\"alg\":[\"EdDSA\"],\"kid\":\"" ED_THUMBPRINT "\"}", SIGNATURE_MALFORMED, "\"alg\""},
        {"{\"kid\":\"" ED_THUMBPRINT "\"}", SIGNATURE_MALFORMED, "\"alg\""},
        {"{\"alg\":\"EdDSA\"}", SIGNATURE_MALFORMED, "\"kid\""},
        {"{\"alg\":\"EdDSA\",\"kid\":7}", SIGNATURE_MALFORMED, "\"kid\""},
        {"{\"alg\":\"EdDSA\",\"alg\":\"EdDSA\",\"kid\":\"" ED_THUMBPRINT "\"}", SIGNATURE_MALFORMED, "stands twice"},
        {"{\"alg\":\"EdDSA\",\"kid\":\"" ED_THUMBPRINT "\",\"crit\":[\"exp\"],\"exp\":1}", SIGNATURE_MALFORMED, "\"crit\""},
        {"{\"alg\":\"EdDSA\",\"kid\":\"" ED_THUMBPRINT "\",\"crit\":[]}", SIGNATURE_MALFORMED, "\"crit\""},
        {"{\"alg\":\"EdDSA\",\"kid\":\"" ED_THUMBPRINT "\",\"b64\":false}", SIGNATURE_MALFORMED, "\"b64\""},
        {"{\"alg\":\"EdDSA\",\"kid\":\"" ED_THUMBPRINT "\",\"b64\":true}", SIGNATURE_MALFORMED, "\"b64\""},
        {"{\"alg\":\"EdDSA\",\"kid\":\"" ED_THUMBPRINT "\\u0000\"}", SIGNATURE_MALFORMED, "NUL"},
        {"{\"alg\":\"EdDSA\",\"kid\":\"\"}", SIGNATURE_UNKNOWN_KEY, "is not trusted"},
        {"{\"alg\":\"EdDSA\",\"kid\":\"kPrK\"}", SIGNATURE_UNKNOWN_KEY, "The signing key kPrK is not trusted"},
        {"{\"alg\":\"EdDSA\",\"kid\":\"a\\nb\"}", SIGNATURE_UNKNOWN_KEY, "The signing key a?b is not trusted"},
        {"{\"alg\":\"EdDSA\",\"kid\":\"" ED_THUMBPRINT "\"}x", SIGNATURE_MALFORMED, "JSON"},
        {"[\"EdDSA\"]", SIGNATURE_MALFORMED, "no JSON object"},
        {"", SIGNATURE_MALFORMED, "JSON"},
        {"{\"alg\":\"EdDSA\",\"kid\":\"" ED_THUMBPRINT "\",\"x\":\"" LONG LONG LONG LONG "\"}", SIGNATURE_MALFORMED, "no compact JWS"},
        /* A key that comes along is not the one that is trusted. */
        {"{\"alg\":\"EdDSA\",\"jwk\":" ED_PUBLIC "}", SIGNATURE_MALFORMED, "\"kid\""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const hash_t leaf = {(unsigned char)i};
        char *jws = jws_of(cases[i].header, leaf, true);
        assert_verdict(leaf, jws, "0/1", cases[i].verdict, cases[i].why);
        free(jws);
    }
}

static void signatures_that_are_none_are_refused(void **state) {
    (void)state;
    const hash_t leaf = {9};
    char *good = jws_of("{\"alg\":\"EdDSA\",\"kid\":\"" ED_THUMBPRINT "\"}", leaf, true);
    /* Each end that is cut off, first: nothing is remembered yet. */
    for (size_t length = 0; length < strlen(good); length++)
        assert_int_equal(signature_check_leaf(verifier, leaf, (struct octets){good, length}, octets("0/1"), NOW, NULL, NULL),
                         SIGNATURE_MALFORMED);
    /* Each character that is another one. */
    for (size_t i = 0; i < strlen(good); i++) {
        char *changed = memory_string(good);
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        assert_int_not_equal(signature_check_leaf(verifier, leaf, octets(changed), octets("0/1"), NOW, NULL, NULL), SIGNATURE_VALID);
        free(changed);
    }
    assert_verdict(leaf, good, "0/1", SIGNATURE_VALID, NULL);
    /* The payload may not come along, nor anything behind the signature: one signature has one spelling. */
    char *attached = jws_of("{\"alg\":\"EdDSA\",\"kid\":\"" ED_THUMBPRINT "\"}", leaf, false);
    assert_verdict(leaf, attached, "0/1", SIGNATURE_MALFORMED, "detached payload");
    static const char *const formats[] = {"%s.", "%s=", "%s ", " %s", ".%s", "%s.AAAA"};
    for (size_t i = 0; i < COUNT(formats); i++) {
        char longer[SIGNATURE_DETACHED_MAX];
        const char *insert = strstr(formats[i], "%s");
        snprintf(longer, sizeof longer, "%.*s%s%s", (int)(insert - formats[i]), formats[i], good, insert + 2);
        assert_verdict(leaf, longer, "0/1", SIGNATURE_MALFORMED, NULL);
    }
    free(attached);
    free(good);
}

/* ---- trust ---- */

static void trust_ends_in_time_for_remembered_roots_too(void **state) {
    (void)state;
    struct error error = {0};
    const hash_t leaf = {5};
    struct jwk *key = read_key(ED_PUBLIC);
    struct signed_batch *batch = signature_sign(signer, &leaf, 1);
    struct headers headers = headers_of(batch, 0);
    struct octets signature = octets(headers.signature), path = octets(headers.path);
    struct verifier *trusting = verifier_new();
    assert_int_equal(verifier_count(trusting), 0);
    assert_int_equal(signature_check_leaf(trusting, leaf, signature, path, NOW, NULL, &error), SIGNATURE_UNKNOWN_KEY);
    assert_int_equal(verifier_trust(trusting, key, NOW, &error), 0);
    assert_int_equal(verifier_count(trusting), 1);
    assert_int_equal(signature_check_leaf(trusting, leaf, signature, path, NOW, NULL, &error), SIGNATURE_EXPIRED_KEY);
    assert_string_equal(error.message, "The signing key " ED_THUMBPRINT " is no longer trusted");
    assert_int_equal(signature_check_leaf(trusting, leaf, signature, path, NOW - 1, NULL, &error), SIGNATURE_VALID);
    assert_int_equal(signature_check_leaf(trusting, leaf, signature, path, NOW, NULL, &error), SIGNATURE_EXPIRED_KEY);
    assert_int_equal(verifier_trust(trusting, key, NOW + 1, &error), 0);
    assert_int_equal(verifier_count(trusting), 1);
    assert_int_equal(signature_check_leaf(trusting, leaf, signature, path, NOW, NULL, &error), SIGNATURE_VALID);
    verifier_forget_all(trusting);
    assert_int_equal(verifier_count(trusting), 0);
    assert_int_equal(signature_check_leaf(trusting, leaf, signature, path, NOW, NULL, &error), SIGNATURE_UNKNOWN_KEY);
    jwk_free(key);

    key = read_key("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" ED_X "\",\"exp\":1800000000}");
    assert_int_equal(verifier_trust(trusting, key, INT64_MAX, &error), 0);
    assert_int_equal(signature_check_leaf(trusting, leaf, signature, path, NOW, NULL, &error), SIGNATURE_EXPIRED_KEY);
    assert_int_equal(signature_check_leaf(trusting, leaf, signature, path, NOW - 1, NULL, &error), SIGNATURE_VALID);
    assert_int_equal(verifier_trust(trusting, key, NOW - 1, &error), 0);
    assert_int_equal(signature_check_leaf(trusting, leaf, signature, path, NOW - 1, NULL, &error), SIGNATURE_EXPIRED_KEY);
    jwk_free(key);
    verifier_free(trusting);
    headers_free(&headers);
    signed_batch_free(batch);
}

static void only_ed25519_keys_are_trusted(void **state) {
    (void)state;
    static const char *const others[] = {EC_PUBLIC, OCT_HMAC, RSA_PUBLIC, X25519_BOB};
    for (size_t i = 0; i < COUNT(others); i++) {
        struct error error = {0};
        struct jwk *key = read_key(others[i]);
        assert_int_equal(verifier_trust(verifier, key, INT64_MAX, &error), -1);
        assert_string_equal(error.message, "The key can not verify signatures: it must be an Ed25519 JWK");
        jwk_free(key);
    }
    assert_int_equal(verifier_count(verifier), 1);
}

/* More batches than are remembered, in turns: what was forgotten is verified again, and what is remembered is believed for its
 * own root alone. */
static void many_batches_stand_between_each_other(void **state) {
    (void)state;
    enum { BATCHES = 70 };
    struct headers headers[BATCHES];
    hash_t leaves[BATCHES] = {{0}};
    for (size_t i = 0; i < BATCHES; i++) {
        leaves[i][0] = (unsigned char)(i + 1);
        struct signed_batch *batch = signature_sign(signer, (const hash_t *)&leaves[i], 1);
        headers[i] = headers_of(batch, 0);
        signed_batch_free(batch);
    }
    for (size_t turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < BATCHES; i++) {
            assert_verdict(leaves[i], headers[i].signature, headers[i].path, SIGNATURE_VALID, NULL);
            assert_verdict(leaves[i], headers[(i + 1) % BATCHES].signature, headers[i].path, SIGNATURE_WRONG, NULL);
        }
    }
    for (size_t i = 0; i < BATCHES; i++)
        headers_free(&headers[i]);
}

/* ---- texts ---- */

static enum signature_verdict check_text(const char *jws, struct text *payload, struct error *error) {
    return verifier_check_text(verifier, jws, strlen(jws), NOW, payload, error);
}

static void texts_are_signed_as_others_do(void **state) {
    (void)state;
    struct error error = {0};
    struct text payload = TEXT_EMPTY;
    char *jws = signature_sign_text(signer, "Example of Ed25519 signing", 26);
    assert_string_equal(jws, TEXT_JWS);
    free(jws);
    text_add_string(&payload, "before ");
    assert_int_equal(check_text(TEXT_JWS, &payload, &error), SIGNATURE_VALID);
    assert_string_equal(payload.bytes, "before Example of Ed25519 signing");
    text_free(&payload);
    jws = signature_sign_text(signer, "", 0);
    assert_int_equal(check_text(jws, &payload, &error), SIGNATURE_VALID);
    assert_int_equal(payload.length, 0);
    text_free(&payload);
    free(jws);
}

static void texts_that_were_changed_are_refused(void **state) {
    (void)state;
    struct error error = {0};
    struct text payload = TEXT_EMPTY;
    static const char good[] = TEXT_JWS;
    for (size_t i = 0; i < sizeof good - 1; i++) {
        char changed[sizeof good];
        memcpy(changed, good, sizeof good);
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        assert_int_not_equal(check_text(changed, &payload, &error), SIGNATURE_VALID);
        assert_int_equal(verifier_check_text(verifier, good, i, NOW, &payload, &error), SIGNATURE_MALFORMED);
    }
    /* RFC 8037 appendix A.4: a good signature, of a key that it does not name. */
    assert_int_equal(check_text("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4k"
                                "i4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg", &payload, &error), SIGNATURE_MALFORMED);
    /* A batch's signature is none of a text. */
    assert_int_equal(check_text(BATCH_JWS, &payload, &error), SIGNATURE_WRONG);
    assert_int_equal(payload.length, 0);
    char *large = memory_new(SIGNATURE_TEXT_MAX), *jws = signature_sign_text(signer, large, SIGNATURE_TEXT_MAX);
    assert_int_equal(check_text(jws, &payload, &error), SIGNATURE_MALFORMED);
    free(jws);
    free(large);
    text_free(&payload);
}

static void each_of_several_keys_verifies_what_it_signed(void **state) {
    (void)state;
    struct error error;
    struct signer *signers[] = {signer_generate(), signer_generate()};
    struct verifier *both = verifier_new();
    for (int i = 0; i < 2; i++) {
        const char *text = signer_public_key(signers[i]);
        struct jwk *key = jwk_from_text(text, strlen(text), NULL, &error);
        assert_int_equal(verifier_trust(both, key, INT64_MAX, &error), 0);
        jwk_free(key);
    }
    for (int i = 0; i < 4; i++) {
        struct text payload = TEXT_EMPTY;
        char *jws = signature_sign_text(signers[i % 2], "{}", 2);
        assert_int_equal(verifier_check_text(both, jws, strlen(jws), NOW, &payload, &error), SIGNATURE_VALID);
        text_free(&payload);
        free(jws);
    }
    verifier_free(both);
    for (int i = 0; i < 2; i++)
        signer_free(signers[i]);
}

/* Who is trusted for its own name is not for another's, whichever key was used before. */
static void a_key_does_not_sign_for_another(void **state) {
    (void)state;
    struct error error;
    const hash_t leaf = {7};
    struct signer *other = signer_generate();
    struct jwk *key = read_key(signer_public_key(other));
    assert_int_equal(verifier_trust(verifier, key, INT64_MAX, &error), 0);
    char *header = memory_format("{\"alg\":\"EdDSA\",\"kid\":\"%s\"}", signer_kid(other)), *forged = jws_of(header, leaf, true);
    char *own = jws_of("{\"alg\":\"EdDSA\",\"kid\":\"" ED_THUMBPRINT "\"}", leaf, true);
    assert_verdict(leaf, own, "0/1", SIGNATURE_VALID, NULL);
    assert_verdict(leaf, forged, "0/1", SIGNATURE_WRONG, "does not fit the record");
    free(header);
    free(forged);
    free(own);
    jwk_free(key);
    signer_free(other);
}

/* ---- through Kafka ---- */

static void records_are_judged_as_they_come(void **state) {
    (void)state;
    struct kafka_fixture kafka;
    struct error error = {0};
    kafka_open(&kafka);
    rd_kafka_t *reader = kafka_reader(&kafka, kafka.topics.acks, 1);
    const struct cloudevent attributes = sample();
    static const struct {
        const char *value, *signed_value;
        enum signature_verdict verdict;
    } cases[] = {{"{\"a\":1}", "{\"a\":1}", SIGNATURE_VALID}, {NULL, NULL, SIGNATURE_VALID}, {"", "", SIGNATURE_VALID},
                 {"{\"a\":2}", "{\"a\":1}", SIGNATURE_WRONG}, {NULL, "", SIGNATURE_WRONG},   {"{}", NULL, SIGNATURE_MISSING}};
    hash_t leaves[COUNT(cases)];
    for (size_t i = 0; i < COUNT(cases); i++)
        signature_leaf("a key", &attributes, cases[i].signed_value, cases[i].signed_value ? strlen(cases[i].signed_value) : 0, leaves[i]);
    struct signed_batch *batch = signature_sign(signer, (const hash_t *)leaves, COUNT(cases));
    for (size_t i = 0; i < COUNT(cases); i++) {
        rd_kafka_headers_t *headers = cloudevent_headers(&attributes);
        if (cases[i].verdict != SIGNATURE_MISSING)
            signature_add_headers(batch, i, headers);
        assert_int_equal(rd_kafka_producev(kafka.producer, RD_KAFKA_V_TOPIC(kafka.topics.acks), RD_KAFKA_V_PARTITION(0),
                                           RD_KAFKA_V_KEY("a key", 5),
                                           RD_KAFKA_V_VALUE((void *)(uintptr_t)cases[i].value, cases[i].value ? strlen(cases[i].value) : 0),
                                           RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END), 0);
        assert_int_equal(rd_kafka_flush(kafka.producer, KAFKA_WAIT_MS), 0);
        rd_kafka_message_t *record = kafka_read(reader);
        struct cloudevent_storage storage;
        struct cloudevent read;
        char kid[SHA256_TEXT_SIZE] = "";
        assert_int_equal(cloudevent_read(record, &storage, &read, &error), 0);
        enum signature_verdict verdict = verifier_check(verifier, record, &read, NOW, kid, &error);
        if (verdict != cases[i].verdict)
            fail_msg("case %zu is %s: %s", i, signature_verdict_name(verdict), error.message);
        assert_string_equal(kid, verdict == SIGNATURE_VALID ? ED_THUMBPRINT : "");
        rd_kafka_message_destroy(record);
    }
    signed_batch_free(batch);
    kafka_client_free(reader);
    kafka_close(&kafka);
}

static void verdicts_have_names(void **state) {
    (void)state;
    assert_string_equal(signature_verdict_name(SIGNATURE_VALID), "valid");
    assert_string_equal(signature_verdict_name(SIGNATURE_MISSING), "missing");
    assert_string_equal(signature_verdict_name(SIGNATURE_MALFORMED), "malformed");
    assert_string_equal(signature_verdict_name(SIGNATURE_UNKNOWN_KEY), "unknown-key");
    assert_string_equal(signature_verdict_name(SIGNATURE_EXPIRED_KEY), "expired-key");
    assert_string_equal(signature_verdict_name(SIGNATURE_WRONG), "wrong");
    signer_free(NULL);
    verifier_free(NULL);
    signed_batch_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signer_is_known_by_its_thumbprint),
        cmocka_unit_test(only_a_private_ed25519_key_signs),
        cmocka_unit_test(generated_keys_differ_and_sign),
        cmocka_unit_test(a_batch_is_signed_as_written_down),
        cmocka_unit_test(every_member_counts_and_none_runs_into_the_next),
        cmocka_unit_test(batches_of_every_size_verify),
        cmocka_unit_test(records_without_or_with_half_a_signature_are_refused),
        cmocka_unit_test(paths_have_one_spelling),
        cmocka_unit_test(an_inner_node_is_no_record),
        cmocka_unit_test(protected_headers_are_judged),
        cmocka_unit_test(signatures_that_are_none_are_refused),
        cmocka_unit_test(trust_ends_in_time_for_remembered_roots_too),
        cmocka_unit_test(only_ed25519_keys_are_trusted),
        cmocka_unit_test(many_batches_stand_between_each_other),
        cmocka_unit_test(texts_are_signed_as_others_do),
        cmocka_unit_test(texts_that_were_changed_are_refused),
        cmocka_unit_test(each_of_several_keys_verifies_what_it_signed),
        cmocka_unit_test(a_key_does_not_sign_for_another),
        cmocka_unit_test(records_are_judged_as_they_come),
        cmocka_unit_test(verdicts_have_names),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
