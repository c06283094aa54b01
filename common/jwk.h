/* One JSON Web Key: parsed strictly, validated, immutable.
 *
 * Sources: RFC 7517 (JWK), RFC 7518 section 6 (RSA, EC, oct), RFC 8037 (OKP), RFC 8812 (secp256k1), RFC 7638 (thumbprint),
 * RFC 9864 (fully specified algorithms). */
#ifndef COMMON_JWK_H
#define COMMON_JWK_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "identifier.h"
#include "json.h"

enum jwk_type { JWK_RSA, JWK_EC, JWK_OCT, JWK_OKP };

/* Of one JWK: less than of a JSON text, since the event around it is one, and has it deeper and with those that it replaced
 * (message.c). */
enum {
    JWK_DEPTH_MAX = 16,    /* levels of its members' values */
    JWK_VALUES_MAX = 4096, /* of all kinds, without the object itself */
};

struct jwk;

/* Validates one JWK object: required members, canonical base64url, sizes (RSA 2048 to 16384 bits), the point on the curve, the
 * private part matching the public one, use / key_ops / alg consistent with each other and with the key, x5c matching the key,
 * nbf and exp integers (seconds). Ed448 and X448 are refused by name. Members it does not know are kept, as RFC 7517 section 4
 * asks, unless they are private ones of other keys, or have a private key inside. The tree is not taken. NULL with ERROR_INVALID and a sentence without key material. Thread-safe. */
struct jwk *jwk_from_json(const cJSON *object, struct error *error) MUST_CHECK;
/* Reads a JWK, or a JWK Set (RFC 7517 section 5) of which kid picks one key. A set of several without kid, or without that
 * kid, is an error that lists the kids. kid may be NULL. */
struct jwk *jwk_from_text(const char *text, size_t length, const char *kid, struct error *error) MUST_CHECK;
void jwk_free(struct jwk *jwk); /* wipes it; NULL is allowed */
/* Whether a member of that name, of length bytes, holds private material in a key of some type: never to be shown. Thread-safe. */
bool jwk_member_is_private(const char *name, size_t length);

enum jwk_type jwk_type(const struct jwk *jwk);
/* "RSA", "EC", "OCT", "OKP": as the management API names them. */
const char *jwk_type_name(enum jwk_type type);
/* The member in which `get` shows the material: "rsa", "ec", "oct", "okp". */
const char *jwk_type_member(enum jwk_type type);
const char *jwk_curve(const struct jwk *jwk);     /* the `crv`, static; NULL for RSA and oct */
const char *jwk_kid(const struct jwk *jwk);       /* NULL when it has none */
const char *jwk_use(const struct jwk *jwk);       /* the `use`, "sig" or "enc"; NULL when it has none */
const char *jwk_algorithm(const struct jwk *jwk); /* the `alg`; NULL when it has none */
bool jwk_has_private(const struct jwk *jwk);      /* a private half, or a symmetric key */
int64_t jwk_not_before(const struct jwk *jwk);    /* seconds since 1970; INT64_MIN when it has no nbf */
int64_t jwk_expires(const struct jwk *jwk);       /* seconds since 1970; INT64_MAX when it has no exp */

/* The whole key as compact JSON with its members in the order of the input: a secret when jwk_has_private(). Owned by the
 * jwk. */
const char *jwk_text(const struct jwk *jwk);
/* The public half as compact JSON: all members but the private ones (d, p, q, dp, dq, qi, oth, k), in the order of the
 * input. Where a private half is dropped, `key_ops` says what the public one can do (verify for sign, encrypt for decrypt,
 * wrapKey for unwrapKey, nothing for deriveKey and deriveBits): readers such as WebCrypto refuse a public key that claims
 * to sign. NULL for an oct key, which has no public half. Owned by the jwk. */
const char *jwk_public_text(const struct jwk *jwk);
/* RFC 7638 with SHA-256, base64url. For an oct key too (its thumbprint reveals a weak secret: never publish it). */
void jwk_thumbprint(const struct jwk *jwk, char out[SHA256_TEXT_SIZE]);
/* The key as OpenSSL has it (an HMAC key for oct), to be freed with EVP_PKEY_free(). Never NULL. */
EVP_PKEY *jwk_to_key(const struct jwk *jwk) MUST_CHECK;

/* What a JWK says beside its key material. Strings are borrowed; a NULL one is left out. */
struct jwk_attributes {
    const char *kid;
    const char *use;       /* "sig" or "enc" */
    const char *algorithm; /* as registered: "RS256", "ECDH-ES+A128KW" */
    int64_t not_before;    /* seconds since 1970; INT64_MIN leaves nbf out */
    int64_t expires;       /* seconds since 1970; INT64_MAX leaves exp out */
    const char *const *x5c; /* base64 of each certificate's DER, the key's own first */
    size_t x5c_count;       /* 0 leaves x5c out */
    const char *x5t_s256;   /* base64url of the SHA-256 of the first certificate's DER */
};
#define JWK_ATTRIBUTES_NONE ((struct jwk_attributes){.not_before = INT64_MIN, .expires = INT64_MAX})

/* Makes a JWK of an OpenSSL key: RSA (RSA-PSS too, for the PS algorithms), EC on a supported curve, Ed25519, X25519; others are
 * refused by name. with_private takes the private half along and asks that there is one. The result is held to all the rules of
 * jwk_from_json(). The key is not taken. NULL with ERROR_INVALID. Thread-safe for different keys. */
struct jwk *jwk_from_key(EVP_PKEY *key, bool with_private, const struct jwk_attributes *attributes,
                         struct error *error) MUST_CHECK;
/* Makes an oct JWK of size bytes. NULL with ERROR_INVALID. Thread-safe. */
struct jwk *jwk_from_octets(const unsigned char *bytes, size_t size, const struct jwk_attributes *attributes,
                            struct error *error) MUST_CHECK;

/* Whether a key of that type, on that curve (NULL: none, or any of its type), can be for that use ("sig", "enc"; NULL: either)
 * and algorithm (NULL: any). When not, error (may be NULL) says what would suit. The length that an oct key needs for an
 * algorithm is judged by the functions above. Sources: RFC 7518 sections 3.1, 4.1 and 5.1, RFC 8037 section 3, RFC 8812
 * section 3, RFC 9864, draft-madden-jose-ecdh-1pu. */
bool jwk_algorithm_suits(enum jwk_type type, const char *curve, const char *use, const char *algorithm, struct error *error);

#endif
