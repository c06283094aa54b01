/* What the files that make up the JWE module promise each other, and to the tests. Keys are 32 octets throughout: of A256KW and
 * of A256GCM alike. */
#ifndef COMMON_JWE_INTERNAL_H
#define COMMON_JWE_INTERNAL_H

#include <stdbool.h>

#include "common/jwe.h"
#include "common/octets.h"

#define JWE_KEY_ALGORITHM     "ECDH-ES+A256KW"
#define JWE_CONTENT_ALGORITHM "A256GCM"

enum {
    JWE_KEY_SIZE = 32,
    JWE_WRAPPED_SIZE = JWE_KEY_SIZE + 8, /* RFC 3394 puts one block of 64 bits before the key */
    JWE_IV_SIZE = 12,                    /* RFC 7518 section 5.3 */
    JWE_TAG_SIZE = 16,
    JWE_PARTY_MAX = 256, /* octets of apu and of apv */
    JWE_FIELD_MAX = 66,  /* octets of a coordinate: P-521 */
};

/* A curve that keys are agreed on. */
struct jwe_curve {
    const char *name;  /* the `crv` */
    const char *group; /* OpenSSL's name of the EC group; NULL for X25519 */
    size_t size;       /* octets of a coordinate */
};
/* The curve of a key; NULL when keys can not be agreed with it. */
const struct jwe_curve *jwe_curve_of(const EVP_PKEY *key);

/* The key derivation of RFC 7518 section 4.6.2 for that value of AlgorithmID. */
bool jwe_derive_key(struct octets secret, const char *algorithm, struct octets apu, struct octets apv, unsigned char *key,
                    size_t size) MUST_CHECK;
/* Agrees on the key that wraps (RFC 7518 section 4.6, RFC 8037 section 3.2): own is whole, peer a public key on the same curve
 * that was validated. */
bool jwe_agree(EVP_PKEY *own, EVP_PKEY *peer, struct octets apu, struct octets apv, unsigned char key[JWE_KEY_SIZE]) MUST_CHECK;
/* RFC 3394. */
bool jwe_wrap(const unsigned char key[JWE_KEY_SIZE], const unsigned char content_key[JWE_KEY_SIZE],
              unsigned char wrapped[JWE_WRAPPED_SIZE]) MUST_CHECK;
bool jwe_unwrap(const unsigned char key[JWE_KEY_SIZE], const unsigned char wrapped[JWE_WRAPPED_SIZE],
                unsigned char content_key[JWE_KEY_SIZE]) MUST_CHECK;
/* AES-256-GCM; out has as many octets as go in. When jwe_decrypt() fails, out has been wiped. */
bool jwe_encrypt(const unsigned char key[JWE_KEY_SIZE], const unsigned char iv[JWE_IV_SIZE], struct octets aad,
                 struct octets plaintext, unsigned char *out, unsigned char tag[JWE_TAG_SIZE]) MUST_CHECK;
bool jwe_decrypt(const unsigned char key[JWE_KEY_SIZE], const unsigned char iv[JWE_IV_SIZE], struct octets aad,
                 struct octets ciphertext, const unsigned char tag[JWE_TAG_SIZE], unsigned char *out) MUST_CHECK;

#endif
