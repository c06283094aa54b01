/* The certificates that a JWK brings along: x5c, x5t and x5t#S256 (RFC 7517 sections 4.7 to 4.9).
 *
 * That the chain belongs to the key and hangs together is checked. Whether its root is trusted and its dates are good is
 * for those who use the key: they know their roots, and the time at which they ask. */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "common/base64url.h"
#include "common/jwk_internal.h"
#include "common/memory.h"

/* Real chains have two to four certificates. */
enum { CHAIN_MAX = 16 };

struct chain {
    X509 *certificates[CHAIN_MAX];
    size_t count;
};

static int read_certificate(const char *text, struct chain *chain, struct error *error) {
    size_t number = chain->count + 1, length = strlen(text);
    if (strpbrk(text, "-_"))
        return error_set(error, ERROR_INVALID,
                         "Certificate %zu of x5c is in base64url: x5c has plain base64 (RFC 7517 section 4.7)", number);
    unsigned char *der = memory_new(length * 3 / 4 + 1);
    /* The decoder skips white space, which PEM has and a JSON string has not. */
    long size = strpbrk(text, " \t\r\n\v\f") ? -1 : base64_decode(text, length, der);
    const unsigned char *end = der;
    X509 *certificate = size > 0 ? d2i_X509(NULL, &end, size) : NULL;
    bool whole = certificate && end == der + size;
    free(der);
    if (size <= 0)
        return error_set(error, ERROR_INVALID, "Certificate %zu of x5c is not base64", number);
    if (!whole) {
        X509_free(certificate);
        return error_set(error, ERROR_INVALID, "Certificate %zu of x5c is not a DER certificate", number);
    }
    chain->certificates[chain->count++] = certificate;
    return 0;
}

static int read_chain(const cJSON *x5c, struct chain *chain, struct error *error) {
    int count = cJSON_GetArraySize(x5c);
    if (count == 0)
        return error_set(error, ERROR_INVALID, "Member \"x5c\" is empty");
    if (count > CHAIN_MAX)
        return error_set(error, ERROR_INVALID, "Member \"x5c\" has %d certificates; at most %d are taken", count, CHAIN_MAX);
    const cJSON *item;
    cJSON_ArrayForEach (item, x5c) {
        if (!cJSON_IsString(item))
            return error_set(error, ERROR_INVALID, "Member \"x5c\" must be an array of strings");
        if (read_certificate(item->valuestring, chain, error) < 0)
            return -1;
    }
    return 0;
}

static bool same_number(const EVP_PKEY *left, const EVP_PKEY *right, const char *parameter) {
    BIGNUM *a = NULL, *b = NULL;
    bool same = EVP_PKEY_get_bn_param(left, parameter, &a) > 0 && EVP_PKEY_get_bn_param(right, parameter, &b) > 0 &&
                BN_cmp(a, b) == 0;
    BN_free(a);
    BN_free(b);
    return same;
}

/* RSA is compared by its numbers: to EVP_PKEY_eq() a key that its certificate restricts to PSS is of another type. */
static bool same_key(enum jwk_type type, const EVP_PKEY *key, const EVP_PKEY *certified) {
    if (!certified)
        return false;
    if (type != JWK_RSA)
        return EVP_PKEY_eq(key, certified) == 1;
    return (EVP_PKEY_is_a(certified, "RSA") || EVP_PKEY_is_a(certified, "RSA-PSS")) &&
           same_number(key, certified, OSSL_PKEY_PARAM_RSA_N) && same_number(key, certified, OSSL_PKEY_PARAM_RSA_E);
}

static int check_chain(const struct chain *chain, const struct jwk_material *material, struct error *error) {
    if (!same_key(material->type, material->key, X509_get0_pubkey(chain->certificates[0])))
        return error_set(error, ERROR_INVALID, "The key of the first certificate of x5c is not the key of the JWK");
    for (size_t i = 0; i + 1 < chain->count; i++) {
        X509 *certified = chain->certificates[i], *issuer = chain->certificates[i + 1];
        EVP_PKEY *key = X509_get0_pubkey(issuer);
        if (X509_check_issued(issuer, certified) != X509_V_OK || !key || X509_verify(certified, key) <= 0)
            return error_set(error, ERROR_INVALID, "Certificate %zu of x5c does not certify the one before it", i + 2);
    }
    return 0;
}

/* A thumbprint of the first certificate. Without x5c only its form can be checked. */
static int check_thumbprint(const cJSON *object, const char *member, const EVP_MD *digest, const struct chain *chain,
                            struct error *error) {
    struct jwk_octets octets = {0};
    if (jwk_read_octets(object, member, false, &octets, error) < 0)
        return -1;
    if (!octets.bytes)
        return 0;
    unsigned char computed[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    int result = 0;
    if (octets.size != (size_t)EVP_MD_get_size(digest))
        result = error_set(error, ERROR_INVALID, "Member \"%s\" must have %d octets, not %zu", member,
                           EVP_MD_get_size(digest), octets.size);
    else if (chain->count > 0 && !X509_digest(chain->certificates[0], digest, computed, &size))
        result = error_set(error, ERROR_INTERNAL, "The cryptographic library failed on a certificate");
    else if (chain->count > 0 && memcmp(computed, octets.bytes, octets.size) != 0)
        result = error_set(error, ERROR_INVALID, "Member \"%s\" is not the thumbprint of the first certificate of x5c", member);
    jwk_octets_free(&octets);
    return result;
}

int jwk_certificates_check(const cJSON *object, const struct jwk_material *material, struct error *error) {
    static const char *const members[] = {"x5c", "x5t", "x5t#S256", "x5u"};
    struct chain chain = {.count = 0};
    const cJSON *x5c = NULL;
    const char *x5u = NULL;
    int result = -1;
    for (size_t i = 0; material->type == JWK_OCT && i < sizeof members / sizeof members[0]; i++) {
        if (cJSON_GetObjectItemCaseSensitive(object, members[i]))
            return error_set(error, ERROR_INVALID, "Member \"%s\" does not belong to an oct key: it has no certificate",
                             members[i]);
    }
    if (json_get_array(object, "x5c", false, &x5c, error) < 0 || json_get_string(object, "x5u", false, &x5u, error) < 0)
        return -1;
    if (x5c && (read_chain(x5c, &chain, error) < 0 || check_chain(&chain, material, error) < 0))
        goto out;
    if (check_thumbprint(object, "x5t", EVP_sha1(), &chain, error) < 0 ||
        check_thumbprint(object, "x5t#S256", EVP_sha256(), &chain, error) < 0)
        goto out;
    result = 0;
out:
    for (size_t i = 0; i < chain.count; i++)
        X509_free(chain.certificates[i]);
    return result;
}
