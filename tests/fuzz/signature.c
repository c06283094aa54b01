/* The headers by which a record is judged, a line each (the signature, the path), then the JWS of a text. Nobody signs anything
 * by chance, and each signature and path has one spelling: what is valid is what was signed, to the letter. */
#include "fuzz.h"

#include <openssl/err.h>

#include "common/signature_internal.h"
#include "common/text.h"

/* The key of RFC 8037 appendix A. */
static const char PUBLIC_KEY[] = "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}";
#define PROTECTED "eyJhbGciOiJFZERTQSIsImtpZCI6ImtQcktfcW14VldhWVZBOXd3QkY2SXVvM3ZWeno3VHhIQ1R3WEJ5Z3JTNGsifQ"
static const char BATCH[] = PROTECTED "..M6CH5zQFzAtRmnpHvRCRxPP6LDYl160_ihQFSaDdydrSeRoCyvwmNOILhgWdBzs8FYYVQuB4xfIBPvZEycweBQ";
static const char PATH[] = "0/2:2q4ciRmxN3aWEDR03MVQKbD1_4-UH9lfoi50iXNTqQk";
static const char TEXT[] = PROTECTED ".RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
                                     ".dKTDn_TzrfhZ9afD5ZwIVViTW1NQrr4IJQBUBjV6EHyJ-103dDzB7YUNToJx-oIdFlOKBq3qkTiCCOB96KV_CA";

/* The first record of that batch of two. */
static void leaf_of_record(unsigned char leaf[MERKLE_HASH_SIZE]) {
    const struct cloudevent attributes = {.id = "an id", .source = "urn:jwk-api:x", .type = "jwk.updated.v1",
                                          .subject = "projects/p/jwks/schlüssel", .time = "2026-01-31T12:00:00.000Z",
                                          .dataschema = "urn:schema",
                                          .traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"};
    signature_leaf("a key", &attributes, "{\"a\":1}", 7, leaf);
}

static struct verifier *verifier(void) {
    static struct verifier *made;
    if (!made) {
        struct error error;
        struct jwk *key = jwk_from_text(PUBLIC_KEY, sizeof PUBLIC_KEY - 1, NULL, &error);
        made = verifier_new();
        REQUIRE(key && verifier_trust(made, key, INT64_MAX, &error) == 0);
        jwk_free(key);
    }
    return made;
}

static void require_verdict(enum signature_verdict verdict, bool is_ours, const struct error *error) {
    REQUIRE((verdict == SIGNATURE_VALID) == is_ours);
    if (verdict != SIGNATURE_VALID) {
        REQUIRE(error->code == ERROR_DENIED);
        require_sentence(error->message);
    }
    REQUIRE(signature_verdict_name(verdict)[0] != '\0');
    REQUIRE(ERR_peek_error() == 0);
}

static void check_record(const char *signature, const char *path) {
    unsigned char leaf[MERKLE_HASH_SIZE];
    bool is_ours = strcmp(signature, BATCH) == 0 && strcmp(path, PATH) == 0;
    leaf_of_record(leaf);
    for (int turn = 0; turn < 2; turn++) { /* the second time it may be remembered */
        struct error error = {0};
        enum signature_verdict verdict =
            signature_check_leaf(verifier(), leaf, (struct octets){signature, strlen(signature)},
                                 (struct octets){path, strlen(path)}, 0, NULL, &error);
        require_verdict(verdict, is_ours, &error);
    }
}

static void check_text(const char *jws, size_t size) {
    struct error error = {0};
    struct text payload = TEXT_EMPTY;
    enum signature_verdict verdict = verifier_check_text(verifier(), jws, size, 0, &payload, &error);
    require_verdict(verdict, size == sizeof TEXT - 1 && memcmp(jws, TEXT, size) == 0, &error);
    REQUIRE((payload.length > 0) == (verdict == SIGNATURE_VALID));
    text_free(&payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char *signature = take_line(&bytes, &size), *path = take_line(&bytes, &size), *jws = take_rest(bytes, size);
    check_record(signature, path);
    check_text(jws, size);
    free(signature);
    free(path);
    free(jws);
    return 0;
}
