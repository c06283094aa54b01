/* JSON Web Encryption for several recipients: a secret that each of them opens with a key of its own.
 *
 * ECDH-ES+A256KW with A256GCM, general JSON serialization. Sources: RFC 7516 sections 5 and 7.2.1, RFC 7518 sections 4.6 and
 * 5.3, RFC 8037 section 3.2 (X25519). The cryptography is OpenSSL's. All functions are thread-safe. */
#ifndef COMMON_JWE_H
#define COMMON_JWE_H

#include <openssl/types.h>
#include <stddef.h>

#include "error.h"
#include "text.h"

enum {
    JWE_RECIPIENTS_MAX = 256,      /* of one JWE */
    JWE_SIZE_MAX = 512 * 1024,     /* bytes of a JWE that is opened */
    JWE_PLAINTEXT_MAX = 64 * 1024, /* bytes that are sealed */
};

struct jwe_recipient {
    const char *kid; /* of its key, told in its header */
    EVP_PKEY *key;   /* P-256, P-384, P-521 or X25519: the public half to seal, with the private one to open */
};

/* Appends the JWE of length bytes for each of the recipients (at least one), compact JSON. aad is bound to it: who opens it
 * must give the same. -1 with ERROR_INVALID when a key does not suit. */
int jwe_seal(const struct jwe_recipient *recipients, size_t count, const void *plaintext, size_t length, const char *aad,
             struct text *out, struct error *error) MUST_CHECK;

/* Opens a JWE with the first of the keys that it names (by kid). Strict: other algorithms, "zip", "crit", duplicate members, a
 * wrong aad, an epk that is not on the curve are refused. ERROR_NOT_FOUND when it is for none of the keys, with a sentence that
 * names those that it is for; ERROR_INVALID when it is broken or was changed. The plaintext is appended; wipe it. */
int jwe_open(const struct jwe_recipient *keys, size_t count, const char *jwe, size_t length, const char *aad,
             struct text *plaintext, struct error *error) MUST_CHECK;

#endif
