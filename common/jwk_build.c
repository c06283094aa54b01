/* From an OpenSSL key, or from octets, to a JWK. It is written as JSON and read again by the one reader, so that a key made
 * here is held to the same rules as one that comes from outside. */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "common/base64url.h"
#include "common/jwk_internal.h"
#include "common/memory.h"
#include "common/text.h"

/* Above the private JWK of the largest RSA key (about 13 KB) and the punctuation of all members. */
enum { MATERIAL_CAPACITY = 32 * 1024, ESCAPED_CHARACTER_MAX = 6 };

static int library_failed(struct error *error) {
    return error_set(error, ERROR_INTERNAL, "The cryptographic library did not give the numbers of a key");
}

static void write_octets(struct text *out, const char *member, const unsigned char *bytes, size_t size) {
    size_t capacity = BASE64URL_LENGTH(size) + 1;
    char *text = memory_new(capacity);
    base64url_encode(bytes, size, text);
    text_json_string(out, member, text);
    OPENSSL_cleanse(text, capacity);
    free(text);
}

/* Writes a number of a key with `size` octets, or as few as it needs when size is 0. Returns 1; 0 when the key has none of that
 * name; -1 on an error. */
static int write_number(struct text *out, const char *member, const EVP_PKEY *key, const char *parameter, size_t size,
                        struct error *error) {
    BIGNUM *number = NULL;
    if (EVP_PKEY_get_bn_param(key, parameter, &number) <= 0)
        return 0;
    size = size > 0 ? size : (size_t)BN_num_bytes(number);
    unsigned char *bytes = memory_new(size);
    bool fits = BN_bn2binpad(number, bytes, (int)size) >= 0;
    if (fits)
        write_octets(out, member, bytes, size);
    OPENSSL_cleanse(bytes, size);
    free(bytes);
    BN_clear_free(number);
    return fits ? 1 : library_failed(error);
}

static int refuse_without_private(struct error *error) {
    return error_set(error, ERROR_INVALID, "The key has no private half");
}

static int write_rsa(struct text *out, const EVP_PKEY *key, bool with_private, struct error *error) {
    static const char *const members[] = {"p", "q", "dp", "dq", "qi"};
    static const char *const parameters[] = {OSSL_PKEY_PARAM_RSA_FACTOR1, OSSL_PKEY_PARAM_RSA_FACTOR2,
                                             OSSL_PKEY_PARAM_RSA_EXPONENT1, OSSL_PKEY_PARAM_RSA_EXPONENT2,
                                             OSSL_PKEY_PARAM_RSA_COEFFICIENT1};
    BIGNUM *third = NULL;
    text_json_string(out, "kty", "RSA");
    if (write_number(out, "n", key, OSSL_PKEY_PARAM_RSA_N, 0, error) <= 0 ||
        write_number(out, "e", key, OSSL_PKEY_PARAM_RSA_E, 0, error) <= 0)
        return library_failed(error);
    if (!with_private)
        return 0;
    if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR3, &third) > 0) {
        BN_clear_free(third);
        return error_set(error, ERROR_INVALID, "RSA keys with more than two factors are not supported");
    }
    int written = write_number(out, "d", key, OSSL_PKEY_PARAM_RSA_D, 0, error);
    if (written == 0)
        return refuse_without_private(error);
    /* A key of n, e and d alone has none of these; the reader refuses one that has some. */
    for (size_t i = 0; written > 0 && i < sizeof members / sizeof members[0]; i++)
        written = write_number(out, members[i], key, parameters[i], 0, error) < 0 ? -1 : written;
    return written > 0 ? 0 : -1;
}

static int write_ec(struct text *out, const EVP_PKEY *key, bool with_private, struct error *error) {
    char group[64] = "";
    size_t length = 0;
    if (EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group, &length) <= 0)
        return error_set(error, ERROR_INVALID, "The EC key does not name its curve: explicit parameters are not supported");
    const struct jwk_curve *curve = jwk_curve_of_group(group);
    if (!curve)
        return error_set(error, ERROR_INVALID, "The curve %s is not supported: it must be P-256, P-384, P-521 or secp256k1",
                         group);
    text_json_string(out, "kty", "EC");
    text_json_string(out, "crv", curve->name);
    if (write_number(out, "x", key, OSSL_PKEY_PARAM_EC_PUB_X, curve->size, error) <= 0 ||
        write_number(out, "y", key, OSSL_PKEY_PARAM_EC_PUB_Y, curve->size, error) <= 0)
        return error_set(error, ERROR_INVALID, "The EC key has no public point");
    if (!with_private)
        return 0;
    int written = write_number(out, "d", key, OSSL_PKEY_PARAM_PRIV_KEY, curve->size, error);
    return written == 0 ? refuse_without_private(error) : written < 0 ? -1 : 0;
}

static int write_okp(struct text *out, const EVP_PKEY *key, const char *curve, bool with_private, struct error *error) {
    unsigned char bytes[64];
    size_t size = sizeof bytes;
    if (EVP_PKEY_get_raw_public_key(key, bytes, &size) <= 0)
        return library_failed(error);
    text_json_string(out, "kty", "OKP");
    text_json_string(out, "crv", curve);
    write_octets(out, "x", bytes, size);
    if (!with_private)
        return 0;
    size = sizeof bytes;
    if (EVP_PKEY_get_raw_private_key(key, bytes, &size) <= 0)
        return refuse_without_private(error);
    write_octets(out, "d", bytes, size);
    OPENSSL_cleanse(bytes, sizeof bytes);
    return 0;
}

static int write_key(struct text *out, const EVP_PKEY *key, bool with_private, const char *algorithm, struct error *error) {
    if (EVP_PKEY_is_a(key, "RSA"))
        return write_rsa(out, key, with_private, error);
    if (EVP_PKEY_is_a(key, "RSA-PSS")) {
        if (algorithm && strncmp(algorithm, "PS", 2) != 0)
            return error_set(error, ERROR_INVALID,
                             "The algorithm %s does not suit an RSA-PSS key: it must be PS256, PS384 or PS512", algorithm);
        return write_rsa(out, key, with_private, error);
    }
    if (EVP_PKEY_is_a(key, "EC"))
        return write_ec(out, key, with_private, error);
    if (EVP_PKEY_is_a(key, "ED25519"))
        return write_okp(out, key, "Ed25519", with_private, error);
    if (EVP_PKEY_is_a(key, "X25519"))
        return write_okp(out, key, "X25519", with_private, error);
    const char *name = EVP_PKEY_get0_type_name(key);
    return error_set(error, ERROR_INVALID, "Keys of the type %s are not supported: it must be RSA, EC, Ed25519 or X25519",
                     name ? name : "unknown");
}

static void write_attributes(struct text *out, const struct jwk_attributes *attributes) {
    if (attributes->use)
        text_json_string(out, "use", attributes->use);
    if (attributes->algorithm)
        text_json_string(out, "alg", attributes->algorithm);
    if (attributes->kid)
        text_json_string(out, "kid", attributes->kid);
    if (attributes->not_before != INT64_MIN)
        text_json_integer(out, "nbf", attributes->not_before);
    if (attributes->expires != INT64_MAX)
        text_json_integer(out, "exp", attributes->expires);
    if (attributes->x5c_count > 0) {
        text_json_open(out, "x5c", '[');
        for (size_t i = 0; i < attributes->x5c_count; i++)
            text_json_string(out, NULL, attributes->x5c[i]);
        text_json_close(out, ']');
    }
    if (attributes->x5t_s256)
        text_json_string(out, "x5t#S256", attributes->x5t_s256);
}

static size_t escaped_bound(const char *text) {
    return text ? strlen(text) * ESCAPED_CHARACTER_MAX : 0;
}

/* A text that need not grow, which would leave a copy of the secret in freed memory. octets is the size of an oct key. */
static struct text begin_text(size_t octets, const struct jwk_attributes *attributes) {
    size_t capacity = MATERIAL_CAPACITY + BASE64URL_LENGTH(octets) + escaped_bound(attributes->kid) +
                      escaped_bound(attributes->use) + escaped_bound(attributes->algorithm) +
                      escaped_bound(attributes->x5t_s256);
    for (size_t i = 0; i < attributes->x5c_count; i++)
        capacity += escaped_bound(attributes->x5c[i]) + strlen("\"\",");
    struct text text = {.bytes = memory_new(capacity), .capacity = capacity};
    text_json_open(&text, NULL, '{');
    return text;
}

/* Closes the text, reads it and wipes it. */
static struct jwk *finish_text(struct text *text, const struct jwk_attributes *attributes, struct error *error) {
    write_attributes(text, attributes);
    text_json_close(text, '}');
    struct jwk *jwk = jwk_from_text(text->bytes, text->length, NULL, error);
    text_wipe(text);
    return jwk;
}

struct jwk *jwk_from_key(EVP_PKEY *key, bool with_private, const struct jwk_attributes *attributes, struct error *error) {
    struct text text = begin_text(0, attributes);
    ERR_set_mark();
    int written = write_key(&text, key, with_private, attributes->algorithm, error);
    ERR_pop_to_mark();
    if (written == 0)
        return finish_text(&text, attributes, error);
    text_wipe(&text);
    return NULL;
}

struct jwk *jwk_from_octets(const unsigned char *bytes, size_t size, const struct jwk_attributes *attributes,
                            struct error *error) {
    struct text text = begin_text(size, attributes);
    text_json_string(&text, "kty", "oct");
    write_octets(&text, "k", bytes, size);
    return finish_text(&text, attributes, error);
}
