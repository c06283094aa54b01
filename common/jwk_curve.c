/* Key material on curves: EC (RFC 7518 section 6.2, RFC 8812) and OKP (RFC 8037). */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <string.h>

#include "common/jwk_internal.h"

static const struct jwk_curve curves[] = {
    {"P-256", "prime256v1", JWK_EC, 32, 1U << 0},     {"P-384", "secp384r1", JWK_EC, 48, 1U << 1},
    {"P-521", "secp521r1", JWK_EC, 66, 1U << 2},      {"secp256k1", "secp256k1", JWK_EC, 32, 1U << 3},
    {"Ed25519", "ED25519", JWK_OKP, 32, 1U << 4},     {"X25519", "X25519", JWK_OKP, 32, 1U << 5},
};
enum { CURVE_COUNT = sizeof curves / sizeof curves[0], COORDINATE_SIZE_MAX = 66 };

const struct jwk_curve *jwk_curve_find(enum jwk_type type, const char *name) {
    for (size_t i = 0; i < CURVE_COUNT; i++) {
        if (curves[i].type == type && strcmp(curves[i].name, name) == 0)
            return &curves[i];
    }
    return NULL;
}

const struct jwk_curve *jwk_curve_of_group(const char *group) {
    for (size_t i = 0; i < CURVE_COUNT; i++) {
        /* Providers may say either OpenSSL's or NIST's name. */
        if (curves[i].type == JWK_EC && (strcmp(curves[i].group, group) == 0 || strcmp(curves[i].name, group) == 0))
            return &curves[i];
    }
    return NULL;
}

static int library_failed(const struct jwk_curve *curve, struct error *error) {
    return error_set(error, ERROR_INTERNAL, "The cryptographic library failed on a key on the curve %s", curve->name);
}

static int read_curve(const cJSON *object, struct jwk_material *material, struct error *error) {
    const char *name = NULL;
    if (json_get_string(object, "crv", true, &name, error) < 0)
        return -1;
    material->curve = jwk_curve_find(material->type, name);
    if (material->curve)
        return 0;
    if (material->type == JWK_OKP && (strcmp(name, "Ed448") == 0 || strcmp(name, "X448") == 0))
        return error_set(error, ERROR_INVALID, "The curve %s is not supported: use %s", name,
                         name[0] == 'E' ? "Ed25519" : "X25519");
    char shown[JSON_SHOWN_SIZE];
    return error_set(error, ERROR_INVALID, "The curve (crv) \"%s\" is not supported: for %s it must be %s",
                     json_shown(name, shown), jwk_type_phrase(material->type),
                     material->type == JWK_EC ? "P-256, P-384, P-521 or secp256k1" : "Ed25519 or X25519");
}

/* A member of exactly the curve's size. */
static int read_sized(const cJSON *object, const char *name, bool required, const struct jwk_curve *curve,
                      struct jwk_octets *octets, struct error *error) {
    if (jwk_read_octets(object, name, required, octets, error) < 0)
        return -1;
    if (octets->bytes && octets->size != curve->size)
        return error_set(error, ERROR_INVALID, "Member \"%s\" must have %zu octets on the curve %s, not %zu", name, curve->size,
                         curve->name, octets->size);
    return 0;
}

/* Makes an EC key of an uncompressed point and, unless it is NULL, a private number. NULL when OpenSSL refuses: for a
 * public key that is a point that is not on the curve, which is checked where the point is read. */
static EVP_PKEY *make_ec_key(const struct jwk_curve *curve, const unsigned char *point, size_t point_size, const BIGNUM *d) {
    EVP_PKEY *key = NULL;
    OSSL_PARAM *parameters = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (context && builder && OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, curve->group, 0) &&
        OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, point_size) &&
        (!d || OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, d)))
        parameters = OSSL_PARAM_BLD_to_param(builder);
    if (parameters && EVP_PKEY_fromdata_init(context) > 0 &&
        EVP_PKEY_fromdata(context, &key, d ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, parameters) <= 0)
        key = NULL;
    for (OSSL_PARAM *parameter = parameters; parameter && parameter->key; parameter++)
        OPENSSL_cleanse(parameter->data, parameter->data_size);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(builder);
    EVP_PKEY_CTX_free(context);
    return key;
}

/* Whether d is within 1 and the order less one, and d times the generator is the public point. */
static bool pair_matches(EVP_PKEY *key) {
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    bool matches = context && EVP_PKEY_private_check(context) > 0 && EVP_PKEY_pairwise_check(context) > 0;
    EVP_PKEY_CTX_free(context);
    return matches;
}

static int read_ec(const cJSON *object, struct jwk_material *material, struct error *error) {
    const struct jwk_curve *curve = material->curve;
    struct jwk_octets x = {0}, y = {0}, d = {0};
    EVP_PKEY *public_key = NULL, *private_key = NULL;
    BIGNUM *number = NULL;
    int result = -1;
    if (read_sized(object, "x", true, curve, &x, error) < 0 || read_sized(object, "y", true, curve, &y, error) < 0 ||
        read_sized(object, "d", false, curve, &d, error) < 0)
        goto out;

    unsigned char point[1 + 2 * COORDINATE_SIZE_MAX] = {POINT_CONVERSION_UNCOMPRESSED};
    memcpy(point + 1, x.bytes, curve->size);
    memcpy(point + 1 + curve->size, y.bytes, curve->size);
    public_key = make_ec_key(curve, point, 1 + 2 * curve->size, NULL);
    if (!public_key) {
        error_set(error, ERROR_INVALID, "The point (x, y) is not on the curve %s", curve->name);
        goto out;
    }
    if (d.bytes) {
        number = BN_bin2bn(d.bytes, (int)d.size, NULL);
        if (!number) {
            library_failed(curve, error);
            goto out;
        }
        private_key = make_ec_key(curve, point, 1 + 2 * curve->size, number);
        if (!private_key || !pair_matches(private_key)) {
            error_set(error, ERROR_INVALID, "The private part (d) does not match the public point (x, y)");
            goto out;
        }
    }
    material->has_private = private_key != NULL;
    material->key = private_key ? private_key : public_key;
    if (private_key)
        EVP_PKEY_free(public_key);
    public_key = private_key = NULL;
    result = 0;
out:
    EVP_PKEY_free(public_key);
    EVP_PKEY_free(private_key);
    BN_clear_free(number);
    jwk_octets_free(&x);
    jwk_octets_free(&y);
    jwk_octets_free(&d);
    return result;
}

static int read_okp(const cJSON *object, struct jwk_material *material, struct error *error) {
    const struct jwk_curve *curve = material->curve;
    struct jwk_octets x = {0}, d = {0};
    int result = -1;
    if (read_sized(object, "x", true, curve, &x, error) < 0 || read_sized(object, "d", false, curve, &d, error) < 0)
        goto out;
    if (!jwk_okp_point_is_valid(curve, x.bytes)) {
        error_set(error, ERROR_INVALID, "Member \"x\" is not a usable point on the curve %s", curve->name);
        goto out;
    }
    material->key = d.bytes ? EVP_PKEY_new_raw_private_key_ex(NULL, curve->group, NULL, d.bytes, d.size)
                            : EVP_PKEY_new_raw_public_key_ex(NULL, curve->group, NULL, x.bytes, x.size);
    if (!material->key) {
        library_failed(curve, error);
        goto out;
    }
    material->has_private = d.bytes != NULL;
    unsigned char derived[COORDINATE_SIZE_MAX];
    size_t size = sizeof derived;
    if (d.bytes && (EVP_PKEY_get_raw_public_key(material->key, derived, &size) <= 0 || size != x.size ||
                    CRYPTO_memcmp(derived, x.bytes, size) != 0)) {
        EVP_PKEY_free(material->key);
        material->key = NULL;
        error_set(error, ERROR_INVALID, "The private part (d) does not match the public one (x)");
        goto out;
    }
    result = 0;
out:
    jwk_octets_free(&x);
    jwk_octets_free(&d);
    return result;
}

int jwk_curve_key_read(const cJSON *object, struct jwk_material *material, struct error *error) {
    if (read_curve(object, material, error) < 0)
        return -1;
    return material->type == JWK_EC ? read_ec(object, material, error) : read_okp(object, material, error);
}
