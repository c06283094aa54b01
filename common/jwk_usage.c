/* What a key may be used for: `use`, `key_ops` and `alg` held against each other and against the key (RFC 7517 sections 4.2 to
 * 4.4). One table of algorithms answers all of it. */
#include <stdio.h>
#include <string.h>

#include "common/jwk_internal.h"
#include "common/text.h"

enum { SIGNATURE = 1, ENCRYPTION = 2 };

/* Sets of key types. */
enum { TYPE_RSA = 1U << JWK_RSA, TYPE_EC = 1U << JWK_EC, TYPE_OCT = 1U << JWK_OCT, TYPE_OKP = 1U << JWK_OKP };
/* Sets of curves, by jwk_curve.bit. RFC 8812 has secp256k1 for ES256K alone. */
enum { P256 = 1U << 0, P384 = 1U << 1, P521 = 1U << 2, SECP256K1 = 1U << 3, ED25519 = 1U << 4, X25519 = 1U << 5 };
enum { AGREEMENT = P256 | P384 | P521 | X25519, NONE = 0 };

/* An HMAC key has at least the octets of the hash (RFC 7518 section 3.2); a key of AES exactly its own. */
static const struct algorithm {
    const char *name;
    unsigned types, curves;
    unsigned use;
    size_t octets_min, octets_max; /* of an oct key; 0: no bound */
} algorithms[] = {
    {"RS256", TYPE_RSA, NONE, SIGNATURE, 0, 0},
    {"RS384", TYPE_RSA, NONE, SIGNATURE, 0, 0},
    {"RS512", TYPE_RSA, NONE, SIGNATURE, 0, 0},
    {"PS256", TYPE_RSA, NONE, SIGNATURE, 0, 0},
    {"PS384", TYPE_RSA, NONE, SIGNATURE, 0, 0},
    {"PS512", TYPE_RSA, NONE, SIGNATURE, 0, 0},
    {"RSA1_5", TYPE_RSA, NONE, ENCRYPTION, 0, 0},
    {"RSA-OAEP", TYPE_RSA, NONE, ENCRYPTION, 0, 0},
    {"RSA-OAEP-256", TYPE_RSA, NONE, ENCRYPTION, 0, 0},
    {"RSA-OAEP-384", TYPE_RSA, NONE, ENCRYPTION, 0, 0},
    {"RSA-OAEP-512", TYPE_RSA, NONE, ENCRYPTION, 0, 0},
    {"ES256", TYPE_EC, P256, SIGNATURE, 0, 0},
    {"ES384", TYPE_EC, P384, SIGNATURE, 0, 0},
    {"ES512", TYPE_EC, P521, SIGNATURE, 0, 0},
    {"ES256K", TYPE_EC, SECP256K1, SIGNATURE, 0, 0},
    {"EdDSA", TYPE_OKP, ED25519, SIGNATURE, 0, 0},
    {"Ed25519", TYPE_OKP, ED25519, SIGNATURE, 0, 0},
    {"ECDH-ES", TYPE_EC | TYPE_OKP, AGREEMENT, ENCRYPTION, 0, 0},
    {"ECDH-ES+A128KW", TYPE_EC | TYPE_OKP, AGREEMENT, ENCRYPTION, 0, 0},
    {"ECDH-ES+A192KW", TYPE_EC | TYPE_OKP, AGREEMENT, ENCRYPTION, 0, 0},
    {"ECDH-ES+A256KW", TYPE_EC | TYPE_OKP, AGREEMENT, ENCRYPTION, 0, 0},
    {"ECDH-1PU", TYPE_EC | TYPE_OKP, AGREEMENT, ENCRYPTION, 0, 0},
    {"ECDH-1PU+A128KW", TYPE_EC | TYPE_OKP, AGREEMENT, ENCRYPTION, 0, 0},
    {"ECDH-1PU+A192KW", TYPE_EC | TYPE_OKP, AGREEMENT, ENCRYPTION, 0, 0},
    {"ECDH-1PU+A256KW", TYPE_EC | TYPE_OKP, AGREEMENT, ENCRYPTION, 0, 0},
    {"HS256", TYPE_OCT, NONE, SIGNATURE, 32, 0},
    {"HS384", TYPE_OCT, NONE, SIGNATURE, 48, 0},
    {"HS512", TYPE_OCT, NONE, SIGNATURE, 64, 0},
    {"A128KW", TYPE_OCT, NONE, ENCRYPTION, 16, 16},
    {"A192KW", TYPE_OCT, NONE, ENCRYPTION, 24, 24},
    {"A256KW", TYPE_OCT, NONE, ENCRYPTION, 32, 32},
    {"A128GCMKW", TYPE_OCT, NONE, ENCRYPTION, 16, 16},
    {"A192GCMKW", TYPE_OCT, NONE, ENCRYPTION, 24, 24},
    {"A256GCMKW", TYPE_OCT, NONE, ENCRYPTION, 32, 32},
    {"dir", TYPE_OCT, NONE, ENCRYPTION, 0, 0},
    {"PBES2-HS256+A128KW", TYPE_OCT, NONE, ENCRYPTION, 0, 0},
    {"PBES2-HS384+A192KW", TYPE_OCT, NONE, ENCRYPTION, 0, 0},
    {"PBES2-HS512+A256KW", TYPE_OCT, NONE, ENCRYPTION, 0, 0},
    /* Content encryption: a key for `dir` names what it encrypts with, as those of RFC 7520 section 3.6 do. */
    {"A128GCM", TYPE_OCT, NONE, ENCRYPTION, 16, 16},
    {"A192GCM", TYPE_OCT, NONE, ENCRYPTION, 24, 24},
    {"A256GCM", TYPE_OCT, NONE, ENCRYPTION, 32, 32},
    {"A128CBC-HS256", TYPE_OCT, NONE, ENCRYPTION, 32, 32},
    {"A192CBC-HS384", TYPE_OCT, NONE, ENCRYPTION, 48, 48},
    {"A256CBC-HS512", TYPE_OCT, NONE, ENCRYPTION, 64, 64},
};
enum { ALGORITHM_COUNT = sizeof algorithms / sizeof algorithms[0] };

static const char *use_phrase(unsigned use) {
    return use == SIGNATURE ? "signatures" : "encryption";
}

/* 0 when it is neither. */
static unsigned use_of(const char *name) {
    return strcmp(name, "sig") == 0 ? SIGNATURE : strcmp(name, "enc") == 0 ? ENCRYPTION : 0;
}

static const struct algorithm *find_algorithm(const char *name) {
    for (size_t i = 0; i < ALGORITHM_COUNT; i++) {
        if (strcmp(algorithms[i].name, name) == 0)
            return &algorithms[i];
    }
    return NULL;
}

/* curves is the set that the key may be on; uses the set of uses that are left open. */
static bool suits(const struct algorithm *algorithm, enum jwk_type type, unsigned curves, unsigned uses) {
    return (algorithm->types & 1U << type) && (algorithm->use & uses) &&
           (type == JWK_RSA || type == JWK_OCT || (algorithm->curves & curves));
}

/* The uses that some algorithm gives to such a key. */
static unsigned possible_uses(enum jwk_type type, unsigned curves) {
    unsigned uses = 0;
    for (size_t i = 0; i < ALGORITHM_COUNT; i++) {
        if (suits(&algorithms[i], type, curves, SIGNATURE | ENCRYPTION))
            uses |= algorithms[i].use;
    }
    return uses;
}

/* "an EC key on P-256" */
static void describe_key(enum jwk_type type, const char *curve, char out[64]) {
    snprintf(out, 64, "%s%s%s", jwk_type_phrase(type), curve ? " on " : "", curve ? curve : "");
}

static int refuse_algorithm(enum jwk_type type, const char *curve, unsigned curves, unsigned uses, const char *name,
                            struct error *error) {
    struct text list = TEXT_EMPTY;
    for (size_t i = 0; i < ALGORITHM_COUNT; i++) {
        if (suits(&algorithms[i], type, curves, uses))
            text_add_format(&list, "%s%s", list.length > 0 ? ", " : "", algorithms[i].name);
    }
    char shown[JSON_SHOWN_SIZE], key[64];
    describe_key(type, curve, key);
    const struct algorithm *algorithm = find_algorithm(name);
    if (algorithm && suits(algorithm, type, curves, SIGNATURE | ENCRYPTION))
        error_set(error, ERROR_INVALID, "The algorithm %s is for %s, but the key is for %s; suitable: %s", name,
                  use_phrase(algorithm->use), use_phrase(uses), list.bytes);
    else
        error_set(error, ERROR_INVALID, "The algorithm \"%s\" %s; suitable for %s: %s", json_shown(name, shown),
                  algorithm ? "does not suit the key" : "is not known", key, list.length > 0 ? list.bytes : "none");
    text_free(&list);
    return -1;
}

/* Judges type, curve, use and algorithm; *uses holds what is left open, and is narrowed. */
static int check_algorithm(enum jwk_type type, const char *curve, unsigned curves, const char *use, const char *algorithm,
                           unsigned *uses, struct error *error) {
    if (use) {
        unsigned wanted = use_of(use);
        char shown[JSON_SHOWN_SIZE], key[64];
        if (!wanted)
            return error_set(error, ERROR_INVALID, "The use \"%s\" is not known: it must be sig or enc",
                             json_shown(use, shown));
        describe_key(type, curve, key);
        if (!(wanted & possible_uses(type, curves)))
            return error_set(error, ERROR_INVALID, "The use \"%s\" does not suit %s: there is no algorithm for %s with it", use,
                             key, use_phrase(wanted));
        *uses &= wanted;
    }
    if (algorithm) {
        const struct algorithm *row = find_algorithm(algorithm);
        if (!row || !suits(row, type, curves, *uses))
            return refuse_algorithm(type, curve, curves, *uses, algorithm, error);
        *uses &= row->use;
    }
    return 0;
}

bool jwk_algorithm_suits(enum jwk_type type, const char *curve, const char *use, const char *algorithm, struct error *error) {
    unsigned curves = ~0U, uses = SIGNATURE | ENCRYPTION;
    if (curve) {
        const struct jwk_curve *row = jwk_curve_find(type, curve);
        if (!row) {
            char shown[JSON_SHOWN_SIZE];
            error_set(error, ERROR_INVALID, "The curve \"%s\" does not suit %s", json_shown(curve, shown),
                      jwk_type_phrase(type));
            return false;
        }
        curves = row->bit;
    }
    return check_algorithm(type, curve, curves, use, algorithm, &uses, error) == 0;
}

static int check_octets(const struct algorithm *algorithm, size_t octets, struct error *error) {
    if (octets < algorithm->octets_min || (algorithm->octets_max > 0 && octets > algorithm->octets_max))
        return error_set(error, ERROR_INVALID, "The algorithm %s needs a key of %s%zu octets, not %zu", algorithm->name,
                         algorithm->octets_max > 0 ? "" : "at least ", algorithm->octets_min, octets);
    return 0;
}

/* RFC 7517 section 4.3. `public_part` is what the public half of such a key does, NULL for nothing. */
static const struct operation {
    const char *name;
    unsigned use;
    unsigned types;
    bool needs_private;
    const char *public_part;
} operations[] = {
    {"sign", SIGNATURE, TYPE_RSA | TYPE_EC | TYPE_OCT | TYPE_OKP, true, "verify"},
    {"verify", SIGNATURE, TYPE_RSA | TYPE_EC | TYPE_OCT | TYPE_OKP, false, "verify"},
    {"encrypt", ENCRYPTION, TYPE_RSA | TYPE_OCT, false, "encrypt"},
    {"decrypt", ENCRYPTION, TYPE_RSA | TYPE_OCT, true, "encrypt"},
    /* Some libraries say wrapKey for ECDH-ES+A128KW and its like. */
    {"wrapKey", ENCRYPTION, TYPE_RSA | TYPE_EC | TYPE_OCT | TYPE_OKP, false, "wrapKey"},
    {"unwrapKey", ENCRYPTION, TYPE_RSA | TYPE_EC | TYPE_OCT | TYPE_OKP, true, "wrapKey"},
    /* Public keys say it too: the other side's part of the agreement. */
    {"deriveKey", ENCRYPTION, TYPE_EC | TYPE_OCT | TYPE_OKP, false, NULL},
    {"deriveBits", ENCRYPTION, TYPE_EC | TYPE_OCT | TYPE_OKP, false, NULL},
};
enum { OPERATION_COUNT = sizeof operations / sizeof operations[0] };

static const struct operation *find_operation(const char *name) {
    for (size_t i = 0; i < OPERATION_COUNT; i++) {
        if (strcmp(operations[i].name, name) == 0)
            return &operations[i];
    }
    return NULL;
}

/* An empty list is taken: WebCrypto writes it into public keys for key agreement. */
static int check_operations(const cJSON *key_ops, const struct jwk_material *material, unsigned *uses, struct error *error) {
    const cJSON *item;
    unsigned seen = 0, named = 0;
    cJSON_ArrayForEach (item, key_ops) {
        if (!cJSON_IsString(item))
            return error_set(error, ERROR_INVALID, "Member \"key_ops\" must be an array of strings");
        const struct operation *operation = find_operation(item->valuestring);
        char shown[JSON_SHOWN_SIZE];
        if (!operation)
            return error_set(error, ERROR_INVALID, "The key operation (key_ops) \"%s\" is not known",
                             json_shown(item->valuestring, shown));
        unsigned bit = 1U << (operation - operations);
        if (seen & bit)
            return error_set(error, ERROR_INVALID, "The key operation (key_ops) %s stands twice", operation->name);
        seen |= bit;
        named |= operation->use;
        if (!(operation->types & 1U << material->type))
            return error_set(error, ERROR_INVALID, "The key operation (key_ops) %s does not suit %s", operation->name,
                             jwk_type_phrase(material->type));
        if (operation->needs_private && !material->has_private)
            return error_set(error, ERROR_INVALID, "The key operation (key_ops) %s needs a private key, but this one is public",
                             operation->name);
    }
    if (named == (SIGNATURE | ENCRYPTION))
        return error_set(error, ERROR_INVALID, "The key operations (key_ops) mix signatures and encryption");
    if (named && !(named & *uses))
        return error_set(error, ERROR_INVALID, "The key operations (key_ops) are for %s, but the key is for %s",
                         use_phrase(named), use_phrase(*uses));
    *uses = named ? named : *uses;
    return 0;
}

int jwk_usage_check(const cJSON *object, const struct jwk_material *material, const char **use, const char **algorithm,
                    struct error *error) {
    const cJSON *key_ops = NULL;
    *use = *algorithm = NULL;
    if (json_get_string(object, "use", false, use, error) < 0 || json_get_string(object, "alg", false, algorithm, error) < 0 ||
        json_get_array(object, "key_ops", false, &key_ops, error) < 0)
        return -1;
    unsigned curves = material->curve ? material->curve->bit : 0;
    unsigned uses = SIGNATURE | ENCRYPTION;
    if (check_algorithm(material->type, material->curve ? material->curve->name : NULL, curves, *use, *algorithm, &uses,
                        error) < 0)
        return -1;
    const struct algorithm *known = *algorithm ? find_algorithm(*algorithm) : NULL;
    if (known && material->type == JWK_OCT && check_octets(known, material->octets, error) < 0)
        return -1;
    /* Without use and alg it is the key alone that says what operations there can be. */
    uses &= possible_uses(material->type, curves);
    return key_ops ? check_operations(key_ops, material, &uses, error) : 0;
}

void jwk_write_public_operations(struct text *out, const cJSON *key_ops) {
    const cJSON *item;
    unsigned seen = 0;
    text_json_open(out, "key_ops", '[');
    cJSON_ArrayForEach (item, key_ops) {
        const struct operation *operation = find_operation(item->valuestring);
        const char *part = operation ? operation->public_part : NULL;
        unsigned bit = part ? 1U << (find_operation(part) - operations) : 0;
        if (bit && !(seen & bit))
            text_json_string(out, NULL, part);
        seen |= bit;
    }
    text_json_close(out, ']');
}
