/* The credentials of an environment: what its workers open private halves and enrol with, and whose events they believe.
 *
 * A JSON object {"environment", "keys": [private JWKs], "apiKeys": {"keys": [public JWKs]}}: at least one key of use "enc"
 * (ECDH-ES+A256KW; P-256, P-384, P-521 or X25519) and one of use "sig" (Ed25519). Of several, the first is the present one. */
#ifndef COMMON_CREDENTIALS_H
#define COMMON_CREDENTIALS_H

#include <stddef.h>

#include "error.h"
#include "jwe.h"
#include "jwk.h"
#include "text.h"

enum { CREDENTIAL_KEYS_MAX = 16 }; /* of each kind */

/* The keys of one environment: whole ones in credentials, public ones at the API. */
struct environment_keys {
    struct jwe_recipient encryption[CREDENTIAL_KEYS_MAX]; /* kid and key are owned */
    size_t encryption_count;
    struct jwk *signature[CREDENTIAL_KEYS_MAX]; /* owned */
    size_t signature_count;
};
void environment_keys_clear(struct environment_keys *keys);

struct credentials {
    char *environment;
    struct environment_keys keys; /* private */
    struct jwk *api_keys[CREDENTIAL_KEYS_MAX];
    size_t api_key_count; /* 0: to be given apart */
};

/* Reads credentials; ERROR_INVALID with a sentence without key material. */
int credentials_parse(const char *text, size_t length, struct credentials *credentials, struct error *error) MUST_CHECK;
void credentials_clear(struct credentials *credentials); /* wipes what was secret */

/* Makes new keys for an environment (P-256 and Ed25519; kid is the thumbprint): the credentials as JSON, with api_keys (a JWK
 * Set as JSON text) put in, and the public JWK Set. Both are appended; wipe the first. */
void credentials_generate(const char *environment, const char *api_keys, struct text *credentials, struct text *public_keys);
/* Reads the public JWK Set of an environment. Private members are refused: only the public part is to be handed in. */
int environment_keys_parse(const char *text, size_t length, struct environment_keys *keys, struct error *error) MUST_CHECK;
/* Reads a JWK Set of public Ed25519 keys, at most CREDENTIAL_KEYS_MAX; the caller frees each. */
int api_keys_parse(const char *text, size_t length, struct jwk *keys[CREDENTIAL_KEYS_MAX], size_t *count,
                   struct error *error) MUST_CHECK;

#endif
