/* A key handed in as PEM or DER: what a stored key object is made of, and the JWK that is made from one.
 *
 * Taken: PKCS#8 (RFC 5958), SubjectPublicKeyInfo (RFC 5280), PKCS#1 (RFC 8017 appendix A.1), SEC1 (RFC 5915), as PEM
 * (RFC 7468, text before it allowed) or DER. One key, unencrypted, and nothing behind it. A key of type RSASSA-PSS (RFC 4055)
 * becomes an RSA one for the PS algorithms alone. */
#ifndef API_SOURCE_KEY_H
#define API_SOURCE_KEY_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/algorithm.h"
#include "common/error.h"
#include "common/jwk.h"

/* Far above any key (RSA of 16384 bits as PEM has 13 KB), far below what could hurt. */
enum { SOURCE_KEY_SIZE_MAX = 256 * 1024 };

/* A key that a JWK can carry. Cleared with source_key_clear(). */
struct source_key {
    EVP_PKEY *pkey;  /* owned */
    bool is_private; /* pkey has its private half */
    enum jwk_type type;
    const char *curve; /* static, the JWK's name of it; NULL for RSA */
    unsigned bits;     /* of the RSA modulus or of the curve */
};

#define SOURCE_KEY_EMPTY ((struct source_key){0})

/* Reads one key, public or private. label ("Key", "Public key", "Private key") begins each sentence of an error.
 * Returns 0, or -1 with ERROR_INVALID. Thread-safe, as all functions here. */
int source_key_read(const char *label, const void *bytes, size_t size, struct source_key *key, struct error *error) MUST_CHECK;
/* The same from the text of a key object's member: base64 of PEM or of DER; PEM as it is is taken too. */
int source_key_read_text(const char *label, const char *text, size_t length, struct source_key *key, struct error *error)
    MUST_CHECK;
/* Takes pkey (also on failure) and says what it is; ERROR_INVALID when no JWK can carry it. */
int source_key_take(const char *label, EVP_PKEY *pkey, bool is_private, struct source_key *key, struct error *error) MUST_CHECK;
void source_key_clear(struct source_key *key);

/* What a certificate adds to the JWK of its key. */
struct source_key_certificates {
    const char *const *x5c; /* base64 of DER, the key's own certificate first */
    size_t count;
    const char *x5t_s256; /* base64url of the first one's SHA-256 */
    int64_t not_before;   /* seconds since 1970 */
    int64_t not_after;    /* seconds since 1970; it becomes exp */
};

/* The JWK of a key. Without with_private only its public half is taken; with it the key must have a private one. The kid is
 * the RFC 7638 thumbprint: the contract asks for none here, and one that changes with the key, and only with it, is what
 * caches of verifiers need when the JWK is made again from its source. certificates may be NULL. */
struct jwk *source_key_jwk(const struct source_key *key, bool with_private, const struct algorithm_request *request,
                           const struct source_key_certificates *certificates, struct error *error) MUST_CHECK;

/* What is told of a stored key object; holds no secret. */
struct source_key_description {
    enum jwk_type type;
    const char *curve; /* static; NULL for RSA */
    unsigned bits;
    bool has_private;
    char thumbprint[SHA256_TEXT_SIZE]; /* RFC 7638 */
};

/* Validates the two members of a key object's environment, each of which may be NULL, not both: each is the half that its name
 * says, the private one is whole, and both belong together. */
int source_key_describe(const char *public_key, const char *private_key, struct source_key_description *description,
                        struct error *error) MUST_CHECK;

/* Makes the JWK of a key object's environment. with_private (PRIVATE_KEY) asks for the private half; without it (PUBLIC_KEY)
 * the public key is taken, or the public half of the private one where no public key is stored. */
struct jwk *source_key_object_jwk(const char *public_key, const char *private_key, bool with_private,
                                  const struct algorithm_request *request, struct error *error) MUST_CHECK;

#endif
