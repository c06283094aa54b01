/* The table of algorithms behind create and generate. */
#include "api/algorithm.h"

#include <stddef.h>
#include <string.h>

#define SIG ALGORITHM_USE_SIGNATURE
#define ENC ALGORITHM_USE_ENCRYPTION

/* An HMAC key must be as long as the hash's output (RFC 7518 section 3.2), a key wrapping key exactly as long as its AES key.
 */
static const struct algorithm algorithms[] = {
    {"RS256", "RSA256", SIG, NULL, 0, 0, false},
    {"RS384", "RSA384", SIG, NULL, 0, 0, false},
    {"RS512", "RSA512", SIG, NULL, 0, 0, false},
    {"PS256", "PS256", SIG, NULL, 0, 0, false},
    {"PS384", "PS384", SIG, NULL, 0, 0, false},
    {"PS512", "PS512", SIG, NULL, 0, 0, false},
    {"RSA1_5", "RSA1_5", ENC, NULL, 0, 0, false},
    {"RSA-OAEP", "RSA_OAEP", ENC, NULL, 0, 0, false},
    {"RSA-OAEP-256", "RSA_OAEP_256", ENC, NULL, 0, 0, false},
    {"RSA-OAEP-384", "RSA_OAEP_384", ENC, NULL, 0, 0, false},
    {"RSA-OAEP-512", "RSA_OAEP_512", ENC, NULL, 0, 0, false},
    {"ES256", "ES256", SIG, "P-256", 0, 0, false},
    {"ES384", "ES384", SIG, "P-384", 0, 0, false},
    {"ES512", "ES512", SIG, "P-521", 0, 0, false},
    {"ES256K", "ES256K", SIG, "secp256k1", 0, 0, false},
    {"EdDSA", "EdDSA", SIG, "Ed25519", 0, 0, false},
    {"Ed25519", "Ed25519", SIG, "Ed25519", 0, 0, false},
    {"ECDH-ES", "ECDH_ES", ENC, NULL, 0, 0, false},
    {"ECDH-ES+A128KW", "ECDH_ES_A128KW", ENC, NULL, 0, 0, false},
    {"ECDH-ES+A192KW", "ECDH_ES_A192KW", ENC, NULL, 0, 0, false},
    {"ECDH-ES+A256KW", "ECDH_ES_A256KW", ENC, NULL, 0, 0, false},
    {"ECDH-1PU", "ECDH_1PU", ENC, NULL, 0, 0, false},
    {"ECDH-1PU+A128KW", "ECDH_1PU_A128KW", ENC, NULL, 0, 0, false},
    {"ECDH-1PU+A192KW", "ECDH_1PU_A192KW", ENC, NULL, 0, 0, false},
    {"ECDH-1PU+A256KW", "ECDH_1PU_A256KW", ENC, NULL, 0, 0, false},
    {"HS256", "HS256", SIG, NULL, 256, 0, false},
    {"HS384", "HS384", SIG, NULL, 384, 0, false},
    {"HS512", "HS512", SIG, NULL, 512, 0, false},
    {"A128KW", "A128KW", ENC, NULL, 128, 128, false},
    {"A192KW", "A192KW", ENC, NULL, 192, 192, false},
    {"A256KW", "A256KW", ENC, NULL, 256, 256, false},
    {"A128GCMKW", "A128GCMKW", ENC, NULL, 128, 128, false},
    {"A192GCMKW", "A192GCMKW", ENC, NULL, 192, 192, false},
    {"A256GCMKW", "A256GCMKW", ENC, NULL, 256, 256, false},
    {"dir", "DIR", ENC, NULL, 0, 0, false},
    {"PBES2-HS256+A128KW", "PBES2_HS256_A128KW", ENC, NULL, 0, 0, true},
    {"PBES2-HS384+A192KW", "PBES2_HS384_A192KW", ENC, NULL, 0, 0, true},
    {"PBES2-HS512+A256KW", "PBES2_HS512_A256KW", ENC, NULL, 0, 0, true},
};

#undef SIG
#undef ENC

enum { ALGORITHM_COUNT = sizeof algorithms / sizeof algorithms[0] };

const struct algorithm *algorithm_find(const char *name) {
    for (size_t i = 0; name != NULL && i < ALGORITHM_COUNT; i++)
        if (strcmp(algorithms[i].name, name) == 0 || strcmp(algorithms[i].generate_name, name) == 0)
            return &algorithms[i];
    return NULL;
}

int algorithm_use_parse(const char *member, const char *name, enum algorithm_use *use, struct error *error) {
    if (name == NULL || *name == '\0')
        *use = ALGORITHM_USE_NONE;
    else if (strcmp(name, "SIGNATURE") == 0)
        *use = ALGORITHM_USE_SIGNATURE;
    else if (strcmp(name, "ENCRYPTION") == 0)
        *use = ALGORITHM_USE_ENCRYPTION;
    else
        return error_set(error, ERROR_INVALID, "%s (%.64s) is not supported! It must be SIGNATURE or ENCRYPTION.", member,
                         name);
    return 0;
}

const char *algorithm_use_name(enum algorithm_use use) {
    switch (use) {
    case ALGORITHM_USE_SIGNATURE:
        return "sig";
    case ALGORITHM_USE_ENCRYPTION:
        return "enc";
    default:
        return NULL;
    }
}

/* An oct key's length against the algorithm's; keys of other types are judged by their curve or at their reading. */
static int check_bits(const struct algorithm *algorithm, const struct algorithm_key *key, struct error *error) {
    if (key->type != JWK_OCT)
        return 0;
    if (algorithm->bits_max != 0 && key->bits != algorithm->bits_min)
        return error_set(error, ERROR_INVALID, "Algorithm (%s) needs a key of %u bits, not %u!", algorithm->name,
                         algorithm->bits_min, key->bits);
    if (key->bits < algorithm->bits_min)
        return error_set(error, ERROR_INVALID, "Algorithm (%s) needs a key of %u bits or more, not %u!", algorithm->name,
                         algorithm->bits_min, key->bits);
    return 0;
}

int algorithm_check(const struct algorithm *algorithm, const struct algorithm_key *key, enum algorithm_use *use,
                    struct error *error) {
    if (!jwk_algorithm_suits(key->type, key->curve, algorithm_use_name(*use), algorithm == NULL ? NULL : algorithm->name,
                             error))
        return -1;
    if (algorithm == NULL)
        return 0;
    if (check_bits(algorithm, key, error) < 0)
        return -1;
    *use = algorithm->use;
    return 0;
}

int algorithm_choose(const struct algorithm_request *request, const struct algorithm_key *key, struct algorithm_choice *choice,
                     struct error *error) {
    enum algorithm_use use;
    const struct algorithm *algorithm = NULL;

    if (algorithm_use_parse("useType", request->use_type, &use, error) < 0)
        return -1;
    if (request->algorithm != NULL && *request->algorithm != '\0') {
        algorithm = algorithm_find(request->algorithm);
        if (algorithm == NULL)
            return error_set(error, ERROR_INVALID, "Algorithm (%.64s) is not supported!", request->algorithm);
    }
    if (algorithm_check(algorithm, key, &use, error) < 0)
        return -1;
    choice->use = algorithm_use_name(use);
    choice->algorithm = algorithm == NULL ? NULL : algorithm->name;
    return 0;
}
