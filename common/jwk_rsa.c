/* RSA key material (RFC 7518 section 6.3).
 *
 * The relations among the numbers are checked here and not with EVP_PKEY_check(): that one knows no key without factors,
 * spends seconds on proving primes (64 Miller-Rabin rounds where our question is only whether the numbers belong together),
 * and does not say which number is wrong. */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <string.h>

#include "common/jwk_internal.h"

enum { MODULUS_BITS_MIN = 2048, MODULUS_BITS_MAX = 16384 };
/* FIPS 186-4 appendix B.3.1. Larger ones exist to make verifiers work (and OpenSSL refuses to use most of them). */
enum { EXPONENT_BITS_MAX = 256 };

enum { N, E, D, P, Q, DP, DQ, QI, NUMBER_COUNT };
static const struct {
    const char *member, *parameter;
} numbers[NUMBER_COUNT] = {
    [N] = {"n", OSSL_PKEY_PARAM_RSA_N},           [E] = {"e", OSSL_PKEY_PARAM_RSA_E},
    [D] = {"d", OSSL_PKEY_PARAM_RSA_D},           [P] = {"p", OSSL_PKEY_PARAM_RSA_FACTOR1},
    [Q] = {"q", OSSL_PKEY_PARAM_RSA_FACTOR2},     [DP] = {"dp", OSSL_PKEY_PARAM_RSA_EXPONENT1},
    [DQ] = {"dq", OSSL_PKEY_PARAM_RSA_EXPONENT2}, [QI] = {"qi", OSSL_PKEY_PARAM_RSA_COEFFICIENT1},
};

struct rsa {
    BIGNUM *number[NUMBER_COUNT]; /* NULL: absent */
    BN_CTX *context;
};

static int refuse(struct error *error, const char *sentence) {
    return error_set(error, ERROR_INVALID, "%s", sentence);
}

static int library_failed(struct error *error) {
    return error_set(error, ERROR_INTERNAL, "The cryptographic library failed on an RSA key");
}

/* A Base64urlUInt: as few octets as the number needs (RFC 7518 section 2). */
static int read_number(const cJSON *object, int index, bool required, struct rsa *rsa, struct error *error) {
    const char *member = numbers[index].member;
    struct jwk_octets octets = {0};
    if (jwk_read_octets(object, member, required, &octets, error) < 0)
        return -1;
    if (!octets.bytes)
        return 0;
    int result = 0;
    if (octets.bytes[0] == 0)
        result = error_set(error, ERROR_INVALID,
                           "Member \"%s\" begins with a zero octet: a number has as few octets as it needs", member);
    else if (octets.size > MODULUS_BITS_MAX / 8)
        result = error_set(error, ERROR_INVALID, "Member \"%s\" has more than %d bits", member, MODULUS_BITS_MAX);
    else if (!(rsa->number[index] = BN_bin2bn(octets.bytes, (int)octets.size, NULL)))
        result = library_failed(error);
    else if (index >= D)
        BN_set_flags(rsa->number[index], BN_FLG_CONSTTIME);
    jwk_octets_free(&octets);
    return result;
}

/* A modulus cut or changed by accident almost always has a small factor; a real one never has. */
static bool has_small_factor(const BIGNUM *n) {
    static const unsigned char primes[] = {
        2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107,
        109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167, 173, 179, 181, 191, 193, 197, 199, 211, 223, 227, 229,
        233, 239, 241, 251,
    };
    for (size_t i = 0; i < sizeof primes; i++) {
        if (BN_mod_word(n, primes[i]) == 0)
            return true;
    }
    return false;
}

static int check_public(const struct rsa *rsa, struct error *error) {
    int bits = BN_num_bits(rsa->number[N]);
    if (bits < MODULUS_BITS_MIN)
        return error_set(error, ERROR_INVALID, "The RSA key has %d bits; at least %d are needed", bits, MODULUS_BITS_MIN);
    if (has_small_factor(rsa->number[N]))
        return refuse(error, "The modulus (n) has a small factor: it is not that of an RSA key");
    const BIGNUM *e = rsa->number[E];
    if (!BN_is_odd(e) || BN_is_one(e))
        return refuse(error, "The public exponent (e) must be odd and at least 3");
    if (BN_num_bits(e) > EXPONENT_BITS_MAX)
        return error_set(error, ERROR_INVALID, "The public exponent (e) has more than %d bits", EXPONENT_BITS_MAX);
    return 0;
}

/* Without its factors a private exponent shows that it fits by undoing the public one on a random number. */
static int check_exponents(const struct rsa *rsa, struct error *error) {
    BN_CTX_start(rsa->context);
    BIGNUM *message = BN_CTX_get(rsa->context), *result = BN_CTX_get(rsa->context);
    int status;
    if (!result || !BN_rand_range(message, rsa->number[N]) ||
        !BN_mod_exp(result, message, rsa->number[D], rsa->number[N], rsa->context) ||
        !BN_mod_exp(result, result, rsa->number[E], rsa->number[N], rsa->context))
        status = library_failed(error);
    else
        status = BN_cmp(result, message) == 0 ? 0 : refuse(error, "The private exponent (d) does not match n and e");
    BN_CTX_end(rsa->context);
    return status;
}

/* One Fermat test to a random base: enough against accidents, which is what this is about. */
static int check_prime(const struct rsa *rsa, int index, struct error *error) {
    const BIGNUM *prime = rsa->number[index];
    BN_CTX_start(rsa->context);
    BIGNUM *base = BN_CTX_get(rsa->context), *result = BN_CTX_get(rsa->context), *exponent = BN_CTX_get(rsa->context);
    int status = 0;
    if (!exponent || !BN_sub(exponent, prime, BN_value_one()) || !BN_rand_range(base, exponent) || !BN_add_word(base, 1))
        status = library_failed(error);
    else {
        BN_set_flags(exponent, BN_FLG_CONSTTIME);
        if (!BN_mod_exp(result, base, exponent, prime, rsa->context))
            status = library_failed(error);
        else if (!BN_is_one(result))
            status = error_set(error, ERROR_INVALID, "The factor %s is not a prime", numbers[index].member);
    }
    BN_CTX_end(rsa->context);
    return status;
}

/* For a factor: e * d is 1 modulo it less one, and its CRT exponent is d modulo that (RFC 8017 section 3.2). */
static int check_factor_exponent(const struct rsa *rsa, int factor, int exponent, struct error *error) {
    BN_CTX_start(rsa->context);
    BIGNUM *less = BN_CTX_get(rsa->context), *result = BN_CTX_get(rsa->context);
    int status = 0;
    if (!result || !BN_sub(less, rsa->number[factor], BN_value_one()) ||
        !BN_mod_mul(result, rsa->number[E], rsa->number[D], less, rsa->context))
        status = library_failed(error);
    else if (!BN_is_one(result))
        status = refuse(error, "The private exponent (d) does not match e and the factors");
    else if (!BN_nnmod(result, rsa->number[D], less, rsa->context))
        status = library_failed(error);
    else if (BN_cmp(result, rsa->number[exponent]) != 0)
        status = error_set(error, ERROR_INVALID, "Member \"%s\" does not match d and %s", numbers[exponent].member,
                           numbers[factor].member);
    BN_CTX_end(rsa->context);
    return status;
}

static int check_factors(const struct rsa *rsa, struct error *error) {
    const BIGNUM *p = rsa->number[P], *q = rsa->number[Q];
    BN_CTX_start(rsa->context);
    BIGNUM *result = BN_CTX_get(rsa->context);
    int status = -1;
    if (!result || !BN_mul(result, p, q, rsa->context)) {
        library_failed(error);
        goto out;
    }
    /* From here on neither factor is 1 or even: their product has no small factor, and both are shorter than it. */
    if (BN_cmp(result, rsa->number[N]) != 0 || BN_is_one(p) || BN_is_one(q) || BN_cmp(p, q) == 0) {
        refuse(error, "The factors p and q do not match n");
        goto out;
    }
    if (check_prime(rsa, P, error) < 0 || check_prime(rsa, Q, error) < 0 || check_factor_exponent(rsa, P, DP, error) < 0 ||
        check_factor_exponent(rsa, Q, DQ, error) < 0)
        goto out;
    if (!BN_mod_mul(result, rsa->number[QI], q, p, rsa->context))
        library_failed(error);
    else if (!BN_is_one(result) || BN_cmp(rsa->number[QI], p) >= 0)
        refuse(error, "Member \"qi\" does not match p and q");
    else
        status = 0;
out:
    BN_CTX_end(rsa->context);
    return status;
}

static int check_private(const struct rsa *rsa, struct error *error) {
    if (BN_cmp(rsa->number[D], rsa->number[N]) >= 0)
        return refuse(error, "The private exponent (d) is not less than n");
    return rsa->number[P] ? check_factors(rsa, error) : check_exponents(rsa, error);
}

/* Private members come as d alone or all together (RFC 7518 section 6.3.2). */
static int read_private(const cJSON *object, struct rsa *rsa, struct error *error) {
    if (cJSON_GetObjectItemCaseSensitive(object, "oth"))
        return refuse(error, "RSA keys with more than two factors (\"oth\") are not supported");
    int present = 0;
    for (int i = D; i < NUMBER_COUNT; i++) {
        if (read_number(object, i, false, rsa, error) < 0)
            return -1;
        present += rsa->number[i] != NULL;
    }
    if (present > 0 && !rsa->number[D])
        return refuse(error, "A private RSA key must have the member \"d\"");
    if (present > 1) {
        for (int i = P; i < NUMBER_COUNT; i++) {
            if (!rsa->number[i])
                return error_set(error, ERROR_INVALID,
                                 "A private RSA key has either \"d\" alone or also p, q, dp, dq and qi: \"%s\" is missing",
                                 numbers[i].member);
        }
    }
    return 0;
}

static EVP_PKEY *make_key(const struct rsa *rsa) {
    EVP_PKEY *key = NULL;
    OSSL_PARAM *parameters = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (!context || !builder)
        goto out;
    for (int i = 0; i < NUMBER_COUNT; i++) {
        if (rsa->number[i] && !OSSL_PARAM_BLD_push_BN(builder, numbers[i].parameter, rsa->number[i]))
            goto out;
    }
    parameters = OSSL_PARAM_BLD_to_param(builder);
    if (parameters && EVP_PKEY_fromdata_init(context) > 0 &&
        EVP_PKEY_fromdata(context, &key, rsa->number[D] ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, parameters) <= 0)
        key = NULL;
out:
    for (OSSL_PARAM *parameter = parameters; parameter && parameter->key; parameter++)
        OPENSSL_cleanse(parameter->data, parameter->data_size);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(builder);
    EVP_PKEY_CTX_free(context);
    return key;
}

int jwk_rsa_read(const cJSON *object, struct jwk_material *material, struct error *error) {
    struct rsa rsa = {.context = BN_CTX_new()};
    int result = -1;
    if (!rsa.context) {
        library_failed(error);
        goto out;
    }
    if (read_number(object, N, true, &rsa, error) < 0 || read_number(object, E, true, &rsa, error) < 0 ||
        read_private(object, &rsa, error) < 0 || check_public(&rsa, error) < 0)
        goto out;
    material->has_private = rsa.number[D] != NULL;
    if (material->has_private && check_private(&rsa, error) < 0)
        goto out;
    material->key = make_key(&rsa);
    result = material->key ? 0 : library_failed(error);
out:
    for (int i = 0; i < NUMBER_COUNT; i++)
        BN_clear_free(rsa.number[i]);
    BN_CTX_free(rsa.context);
    return result;
}
