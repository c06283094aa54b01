/* X.509 certificates: what a stored certificate object is made of, and the JWK that is made from one.
 *
 * PEM (one certificate, or a chain with the key's own certificate first) or DER of one. The JWK is the public key with x5c,
 * x5t#S256, nbf and exp of the certificate.
 *
 * A certificate outside its validity is taken: the JWK made from it carries nbf and exp, so one that is not valid yet is served
 * ahead of its time and an expired one is not served, exactly as with every other JWK. Refusing it would stop users from
 * storing next month's certificate today, and from updating a certificate without its JWK. source_certificate_is_expired() lets
 * the caller say so. Trust (roots, revocation, names) is not judged: whoever may create JWKs may say which keys are theirs. */
#ifndef API_SOURCE_CERTIFICATE_H
#define API_SOURCE_CERTIFICATE_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/source_key.h"

enum {
    SOURCE_CERTIFICATE_SIZE_MAX = 256 * 1024,
    SOURCE_CERTIFICATE_CHAIN_MAX = 10, /* certificates; public hierarchies have three or four */
};

/* Cleared with source_certificate_clear(). */
struct source_certificate {
    struct source_key key;                   /* the public key of the first certificate */
    char *x5c[SOURCE_CERTIFICATE_CHAIN_MAX]; /* base64 of DER */
    size_t count;                            /* certificates in x5c */
    char x5t_s256[SHA256_TEXT_SIZE];
    int64_t not_before; /* seconds since 1970 */
    int64_t not_after;  /* seconds since 1970, the last second of validity */
    char *subject;      /* RFC 2253 form, UTF-8 */
    char *issuer;
    char *serial; /* hexadecimal, upper case */
};

#define SOURCE_CERTIFICATE_EMPTY ((struct source_certificate){0})

/* Reads the file of a certificate object. ERROR_INVALID with a sentence for everything that is not a certificate or an ordered
 * chain of them, each signed by the next, with a key that a JWK can carry. Thread-safe, as all functions here. */
int source_certificate_read(const void *bytes, size_t size, struct source_certificate *certificate, struct error *error)
    MUST_CHECK;
/* The same from certificates read elsewhere (a keystore), the key's own first. The certificates are not taken. */
int source_certificate_from_chain(X509 *const *chain, size_t count, struct source_certificate *certificate, struct error *error)
    MUST_CHECK;
void source_certificate_clear(struct source_certificate *certificate);

bool source_certificate_is_expired(const struct source_certificate *certificate, int64_t now_seconds);

/* The public JWK of the certificate. */
struct jwk *source_certificate_jwk(const struct source_certificate *certificate, const struct algorithm_request *request,
                                   struct error *error) MUST_CHECK;
/* The certificates' part of a JWK, pointing into certificate: for a key whose private half comes from elsewhere. */
struct source_key_certificates source_certificate_members(const struct source_certificate *certificate);

#endif
